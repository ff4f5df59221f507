//! The system calls that the daemon and its children make, each with the arguments that it may have.
//!
//! Found by tracing both through every address mode, reload, restart and end, on glibc; with their siblings that
//! another libc or a later one may prefer. Left out are above all the calls that reach into other processes, load code
//! into the kernel, or keep keys; and of those that make namespaces and file systems, all but the few words that the
//! child says before it runs a stranger's component.

/// A call that may be made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    /// As the kernel has it.
    pub(super) name: &'static str,
    /// Its number on x86-64, where it exists. Numbers are the kernel's promise and never change.
    x86_64: Option<i64>,
    /// The same on aarch64.
    aarch64: Option<i64>,
    /// When. One of these must hold; without any, it is always allowed.
    pub(super) when: &'static [When],
}

/// A condition on one argument, counted from 0, of which the lower half counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    /// It is this.
    Is(u8, u64),
    /// It has none of these bits.
    Lacks(u8, u64),
}

impl Call {
    /// Its number on the machine that this is compiled for.
    pub(super) fn number(self) -> Option<i64> {
        if cfg!(target_arch = "aarch64") { self.aarch64 } else { self.x86_64 }
    }
}

use When::{Is, Lacks};

const ALWAYS: &[When] = &[];
/// Commands of `fcntl`: another descriptor for the same, flags, locks, seals. Above all not `F_SETOWN` and `F_SETSIG`,
/// which have the kernel send signals.
const DESCRIPTOR: &[When] = &[
    Is(1, 0),
    Is(1, 1),
    Is(1, 2),
    Is(1, 3),
    Is(1, 4),
    Is(1, 5),
    Is(1, 6),
    Is(1, 7),
    Is(1, 36),
    Is(1, 37),
    Is(1, 38),
    Is(1, 1030),
    Is(1, 1033),
    Is(1, 1034),
];
/// Requests of `ioctl`: whether it is a terminal and how large (`TCGETS`, `TCGETS2`, `TIOCGWINSZ`), `FIONREAD`,
/// `FIONBIO`, `FIOCLEX`, a link's name and index (`SIOCGIFNAME`, `SIOCGIFINDEX`), a socket's namespace (`SIOCGSKNS`).
/// Above all not `TIOCSTI`, which types for somebody else.
const ASKING: &[When] = &[
    Is(1, 0x5401),
    Is(1, 0x802c_542a),
    Is(1, 0x5413),
    Is(1, 0x541b),
    Is(1, 0x5421),
    Is(1, 0x5451),
    Is(1, 0x8910),
    Is(1, 0x8933),
    Is(1, 0x894c),
];
/// A protection that is not both `PROT_WRITE` and `PROT_EXEC`.
const NEVER_BOTH: &[When] = &[Lacks(2, 2), Lacks(2, 4)];
/// `SIGKILL`: ending a child.
const KILLING: &[When] = &[Is(1, 9)];
/// `SIGABRT`, by which a process that gives up ends itself, and the signal by which glibc has all threads change user.
const ABORTING: &[When] = &[Is(2, 6), Is(2, 33)];
/// None of the namespaces that `clone` can make: those of mounts, cgroups, host names, IPC, users, processes, network.
const NEVER_ELSEWHERE: &[When] = &[Lacks(0, 0x7e02_0000)];
/// Options of `prctl`: dying with the parent, being dumped, names, capabilities out of the bounding and ambient sets, no
/// new privileges, and glibc's labels on memory.
const RENOUNCING: &[When] = &[
    Is(0, 1),
    Is(0, 3),
    Is(0, 4),
    Is(0, 15),
    Is(0, 16),
    Is(0, 23),
    Is(0, 24),
    Is(0, 38),
    Is(0, 39),
    Is(0, 47),
    Is(0, 0x5356_4d41),
];
/// Domains of `socket`: `AF_UNIX`, `AF_INET`, `AF_INET6`, `AF_NETLINK`.
const FAMILY: &[When] = &[Is(0, 1), Is(0, 2), Is(0, 10), Is(0, 16)];
/// `SECCOMP_SET_MODE_FILTER`: a child's own, narrower list.
const FILTERING: &[When] = &[Is(0, 1)];
/// `CLONE_NEWNET`: a pod's network, and back. No other namespace is entered.
const NETWORK: &[When] = &[Is(1, 0x4000_0000)];
/// `CLONE_NEWNET | NEWIPC | NEWUTS | NEWNS`, and the same with `NEWUSER`: where a child goes.
const PLACE: &[When] = &[Is(0, 0x4c02_0000), Is(0, 0x5c02_0000)];
/// `MS_REC | MS_PRIVATE`, and a new file system with `MS_RDONLY | NOSUID | NODEV | NOEXEC`: a child's empty root. Nothing is
/// bound, moved or mounted otherwise.
const EMPTY: &[When] = &[Is(3, 0x4_4000), Is(3, 15)];
/// `MNT_DETACH`: the root that a child leaves.
const DETACH: &[When] = &[Is(1, 2)];

const fn call(name: &'static str, x86_64: Option<i64>, aarch64: Option<i64>, when: &'static [When]) -> Call {
    Call { name, x86_64, aarch64, when }
}

/// What fails as in a kernel that does not have it. A filter sees only where `clone3` has its flags, not which they are;
/// libraries that do not find it use `clone`.
pub(super) const ABSENT: &[Call] = &[call("clone3", Some(435), Some(435), ALWAYS)];

/// All that is allowed.
pub(super) const ALLOWED: &[Call] = &[
    // Files.
    call("read", Some(0), Some(63), ALWAYS),
    call("write", Some(1), Some(64), ALWAYS),
    call("readv", Some(19), Some(65), ALWAYS),
    call("writev", Some(20), Some(66), ALWAYS),
    call("pread64", Some(17), Some(67), ALWAYS),
    call("pwrite64", Some(18), Some(68), ALWAYS),
    call("lseek", Some(8), Some(62), ALWAYS),
    call("open", Some(2), None, ALWAYS),
    call("openat", Some(257), Some(56), ALWAYS),
    call("close", Some(3), Some(57), ALWAYS),
    call("close_range", Some(436), Some(436), ALWAYS),
    call("dup", Some(32), Some(23), ALWAYS),
    call("dup2", Some(33), None, ALWAYS),
    call("dup3", Some(292), Some(24), ALWAYS),
    call("fcntl", Some(72), Some(25), DESCRIPTOR),
    call("flock", Some(73), Some(32), ALWAYS),
    call("fsync", Some(74), Some(82), ALWAYS),
    call("fdatasync", Some(75), Some(83), ALWAYS),
    call("ftruncate", Some(77), Some(46), ALWAYS),
    call("fallocate", Some(285), Some(47), ALWAYS),
    call("stat", Some(4), None, ALWAYS),
    call("fstat", Some(5), Some(80), ALWAYS),
    call("lstat", Some(6), None, ALWAYS),
    call("newfstatat", Some(262), Some(79), ALWAYS),
    call("statx", Some(332), Some(291), ALWAYS),
    call("statfs", Some(137), Some(43), ALWAYS),
    call("fstatfs", Some(138), Some(44), ALWAYS),
    call("access", Some(21), None, ALWAYS),
    call("faccessat", Some(269), Some(48), ALWAYS),
    call("faccessat2", Some(439), Some(439), ALWAYS),
    call("readlink", Some(89), None, ALWAYS),
    call("readlinkat", Some(267), Some(78), ALWAYS),
    call("getcwd", Some(79), Some(17), ALWAYS),
    call("chdir", Some(80), Some(49), ALWAYS),
    call("getdents64", Some(217), Some(61), ALWAYS),
    call("mkdir", Some(83), None, ALWAYS),
    call("mkdirat", Some(258), Some(34), ALWAYS),
    call("rename", Some(82), None, ALWAYS),
    call("renameat", Some(264), Some(38), ALWAYS),
    call("renameat2", Some(316), Some(276), ALWAYS),
    call("unlink", Some(87), None, ALWAYS),
    call("unlinkat", Some(263), Some(35), ALWAYS),
    call("rmdir", Some(84), None, ALWAYS),
    call("chmod", Some(90), None, ALWAYS),
    call("fchmod", Some(91), Some(52), ALWAYS),
    call("fchmodat", Some(268), Some(53), ALWAYS),
    call("umask", Some(95), Some(166), ALWAYS),
    call("utimensat", Some(280), Some(88), ALWAYS),
    call("copy_file_range", Some(326), Some(285), ALWAYS),
    call("sendfile", Some(40), Some(71), ALWAYS),
    call("ioctl", Some(16), Some(29), ASKING),
    // Memory.
    call("mmap", Some(9), Some(222), NEVER_BOTH),
    call("mprotect", Some(10), Some(226), NEVER_BOTH),
    call("munmap", Some(11), Some(215), ALWAYS),
    call("brk", Some(12), Some(214), ALWAYS),
    call("mremap", Some(25), Some(216), ALWAYS),
    call("madvise", Some(28), Some(233), ALWAYS),
    call("memfd_create", Some(319), Some(279), ALWAYS),
    call("membarrier", Some(324), Some(283), ALWAYS),
    // Threads, children and their ends.
    call("clone", Some(56), Some(220), NEVER_ELSEWHERE),
    call("vfork", Some(58), None, ALWAYS),
    call("execve", Some(59), Some(221), ALWAYS),
    call("wait4", Some(61), Some(260), ALWAYS),
    call("waitid", Some(247), Some(95), ALWAYS),
    call("exit", Some(60), Some(93), ALWAYS),
    call("exit_group", Some(231), Some(94), ALWAYS),
    call("kill", Some(62), Some(129), KILLING),
    call("tgkill", Some(234), Some(131), ABORTING),
    call("pidfd_open", Some(434), Some(434), ALWAYS),
    call("pidfd_send_signal", Some(424), Some(424), KILLING),
    call("set_tid_address", Some(218), Some(96), ALWAYS),
    call("set_robust_list", Some(273), Some(99), ALWAYS),
    call("rseq", Some(334), Some(293), ALWAYS),
    call("arch_prctl", Some(158), None, ALWAYS),
    call("futex", Some(202), Some(98), ALWAYS),
    call("gettid", Some(186), Some(178), ALWAYS),
    call("getpid", Some(39), Some(172), ALWAYS),
    call("getppid", Some(110), Some(173), ALWAYS),
    call("sched_yield", Some(24), Some(124), ALWAYS),
    call("sched_getaffinity", Some(204), Some(123), ALWAYS),
    call("rt_sigaction", Some(13), Some(134), ALWAYS),
    call("rt_sigprocmask", Some(14), Some(135), ALWAYS),
    call("rt_sigreturn", Some(15), Some(139), ALWAYS),
    call("sigaltstack", Some(131), Some(132), ALWAYS),
    call("restart_syscall", Some(219), Some(128), ALWAYS),
    call("prctl", Some(157), Some(167), RENOUNCING),
    call("getpriority", Some(140), Some(141), ALWAYS),
    call("setpriority", Some(141), Some(140), ALWAYS),
    call("getrlimit", Some(97), Some(163), ALWAYS),
    call("prlimit64", Some(302), Some(261), ALWAYS),
    call("getrusage", Some(98), Some(165), ALWAYS),
    call("uname", Some(63), Some(160), ALWAYS),
    call("sysinfo", Some(99), Some(179), ALWAYS),
    call("getrandom", Some(318), Some(278), ALWAYS),
    // Time.
    call("clock_gettime", Some(228), Some(113), ALWAYS),
    call("clock_getres", Some(229), Some(114), ALWAYS),
    call("clock_nanosleep", Some(230), Some(115), ALWAYS),
    call("nanosleep", Some(35), Some(101), ALWAYS),
    call("gettimeofday", Some(96), Some(169), ALWAYS),
    // Waiting.
    call("epoll_create1", Some(291), Some(20), ALWAYS),
    call("epoll_ctl", Some(233), Some(21), ALWAYS),
    call("epoll_wait", Some(232), None, ALWAYS),
    call("epoll_pwait", Some(281), Some(22), ALWAYS),
    call("epoll_pwait2", Some(441), Some(441), ALWAYS),
    call("poll", Some(7), None, ALWAYS),
    call("ppoll", Some(271), Some(73), ALWAYS),
    call("select", Some(23), None, ALWAYS),
    call("pselect6", Some(270), Some(72), ALWAYS),
    call("eventfd2", Some(290), Some(19), ALWAYS),
    call("pipe2", Some(293), Some(59), ALWAYS),
    call("inotify_init1", Some(294), Some(26), ALWAYS),
    call("inotify_add_watch", Some(254), Some(27), ALWAYS),
    call("inotify_rm_watch", Some(255), Some(28), ALWAYS),
    // Sockets.
    call("socket", Some(41), Some(198), FAMILY),
    call("socketpair", Some(53), Some(199), ALWAYS),
    call("bind", Some(49), Some(200), ALWAYS),
    call("listen", Some(50), Some(201), ALWAYS),
    call("accept", Some(43), Some(202), ALWAYS),
    call("accept4", Some(288), Some(242), ALWAYS),
    call("connect", Some(42), Some(203), ALWAYS),
    call("getsockname", Some(51), Some(204), ALWAYS),
    call("getpeername", Some(52), Some(205), ALWAYS),
    call("getsockopt", Some(55), Some(209), ALWAYS),
    call("setsockopt", Some(54), Some(208), ALWAYS),
    call("sendto", Some(44), Some(206), ALWAYS),
    call("sendmsg", Some(46), Some(211), ALWAYS),
    call("sendmmsg", Some(307), Some(269), ALWAYS),
    call("recvfrom", Some(45), Some(207), ALWAYS),
    call("recvmsg", Some(47), Some(212), ALWAYS),
    call("recvmmsg", Some(299), Some(243), ALWAYS),
    call("shutdown", Some(48), Some(210), ALWAYS),
    // Rights: who this is, and giving them up.
    call("getuid", Some(102), Some(174), ALWAYS),
    call("geteuid", Some(107), Some(175), ALWAYS),
    call("getgid", Some(104), Some(176), ALWAYS),
    call("getegid", Some(108), Some(177), ALWAYS),
    call("getgroups", Some(115), Some(158), ALWAYS),
    call("setgroups", Some(116), Some(159), ALWAYS),
    call("setresuid", Some(117), Some(147), ALWAYS),
    call("setresgid", Some(119), Some(149), ALWAYS),
    call("capget", Some(125), Some(90), ALWAYS),
    call("capset", Some(126), Some(91), ALWAYS),
    call("setsid", Some(112), Some(157), ALWAYS),
    call("seccomp", Some(317), Some(277), FILTERING),
    // Namespaces: a pod's network; and the empty place that a child goes to before it runs a component.
    call("setns", Some(308), Some(268), NETWORK),
    call("unshare", Some(272), Some(97), PLACE),
    call("mount", Some(165), Some(40), EMPTY),
    call("umount2", Some(166), Some(39), DETACH),
    call("pivot_root", Some(155), Some(41), ALWAYS),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_call_is_listed_once() {
        let listed = [ALLOWED, ABSENT].concat();
        let names: BTreeSet<&str> = listed.iter().map(|call| call.name).collect();
        let numbers =
            |of: fn(&Call) -> Option<i64>| listed.iter().filter_map(of).collect::<BTreeSet<_>>().len();
        assert_eq!(names.len(), listed.len());
        assert_eq!(numbers(|call| call.x86_64), listed.len());
        assert_eq!(numbers(|call| call.aarch64), listed.iter().filter(|call| call.aarch64.is_some()).count());
    }

    #[test]
    fn nothing_that_reaches_into_others_or_into_the_kernel_is_listed() {
        for name in [
            "acct",
            "add_key",
            "bpf",
            "chroot",
            "delete_module",
            "execveat",
            "finit_module",
            "fsconfig",
            "fsmount",
            "fsopen",
            "init_module",
            "io_uring_setup",
            "ioperm",
            "iopl",
            "kcmp",
            "kexec_file_load",
            "kexec_load",
            "keyctl",
            "mknod",
            "mknodat",
            "move_mount",
            "name_to_handle_at",
            "open_by_handle_at",
            "open_tree",
            "perf_event_open",
            "personality",
            "pidfd_getfd",
            "process_madvise",
            "process_vm_readv",
            "process_vm_writev",
            "ptrace",
            "quotactl",
            "reboot",
            "request_key",
            "sethostname",
            "settimeofday",
            "swapoff",
            "swapon",
            "syslog",
            "userfaultfd",
            "clock_settime",
            "clock_adjtime",
            "adjtimex",
            "vhangup",
        ] {
            assert!(ALLOWED.iter().all(|call| call.name != name), "{name}");
        }
    }
}
