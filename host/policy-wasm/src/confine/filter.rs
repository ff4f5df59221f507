//! The system calls that are left: none that opens, connects, starts or signals anything.

use std::collections::BTreeMap;
use std::io;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch,
};

/// Which list of system calls applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Calls {
    /// Compiling: reading, writing, memory.
    Compile,
    /// Running components: besides, receiving and answering questions, and loading code.
    Run,
}

/// `PROT_WRITE`.
const WRITE: u64 = 2;
/// `PROT_EXEC`.
const EXEC: u64 = 4;

/// When a call is let through.
#[derive(Clone, Copy)]
enum When {
    /// Always.
    Always,
    /// Running only: the compiler has no use for it.
    Running,
    /// The third argument is a protection without execution.
    NeverExecutable,
    /// The third argument is a protection without execution; running, also one without writing.
    WritableOrExecutable,
    /// The second argument is one of [`HARMLESS`].
    Harmless,
    /// The first argument is this process.
    Itself,
}

/// What may be done to a descriptor with `fcntl`: looking at its flags, another one for the same, seals. Above all
/// not `F_SETOWN` and `F_SETSIG`, which have the kernel send signals to others.
const HARMLESS: [u64; 5] = [1, 3, 1030, 1033, 1034];

/// A call's number.
///
/// The first is that of x86-64, the second that of aarch64: they are the kernel's promise and never change.
struct Number(i64, i64);

impl Number {
    fn here(&self) -> i64 {
        if cfg!(target_arch = "aarch64") { self.1 } else { self.0 }
    }
}

/// All that is allowed.
const ALLOWED: &[(Number, When)] = &[
    // Memory. Code is either writable or executable, never both, and never mapped executable.
    (Number(9, 222), When::NeverExecutable),       // mmap
    (Number(10, 226), When::WritableOrExecutable), // mprotect
    (Number(11, 215), When::Always),               // munmap
    (Number(12, 214), When::Always),               // brk
    (Number(25, 216), When::Always),               // mremap
    (Number(28, 233), When::Always),               // madvise
    (Number(319, 279), When::Running),             // memfd_create: images of linear memories
    (Number(324, 283), When::Running),             // membarrier: new code on aarch64
    // Descriptors that are there: anonymous memory, the socket.
    (Number(1, 64), When::Always),    // write
    (Number(3, 57), When::Always),    // close
    (Number(5, 80), When::Always),    // fstat
    (Number(17, 67), When::Always),   // pread64
    (Number(18, 68), When::Always),   // pwrite64
    (Number(72, 25), When::Harmless), // fcntl
    (Number(44, 206), When::Running), // sendto
    (Number(47, 212), When::Running), // recvmsg
    // Threads that are there, time, chance for hash tables.
    (Number(202, 98), When::Always),  // futex
    (Number(24, 124), When::Always),  // sched_yield
    (Number(228, 113), When::Always), // clock_gettime
    (Number(219, 128), When::Always), // restart_syscall
    (Number(318, 278), When::Always), // getrandom
    // Traps of compiled code, and ending, orderly or not.
    (Number(13, 134), When::Always),  // rt_sigaction
    (Number(14, 135), When::Always),  // rt_sigprocmask
    (Number(15, 139), When::Always),  // rt_sigreturn
    (Number(131, 132), When::Always), // sigaltstack
    (Number(39, 172), When::Always),  // getpid
    (Number(186, 178), When::Always), // gettid
    (Number(234, 131), When::Itself), // tgkill
    (Number(60, 93), When::Always),   // exit
    (Number(231, 94), When::Always),  // exit_group
];

/// Installs the list on every thread; any other call ends the process.
pub(super) fn install(calls: Calls) -> io::Result<()> {
    let program = program(calls)?;
    seccompiler::apply_filter_all_threads(&program).map_err(io::Error::other)
}

fn program(calls: Calls) -> io::Result<BpfProgram> {
    let mut rules = BTreeMap::new();
    for (number, when) in ALLOWED {
        if let Some(rule) = when.rules(calls)? {
            rules.insert(number.here(), rule);
        }
    }
    let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(io::Error::other)?;
    let filter = SeccompFilter::new(rules, SeccompAction::KillProcess, SeccompAction::Allow, arch)
        .map_err(io::Error::other)?;
    filter.try_into().map_err(io::Error::other)
}

impl When {
    /// `None`: not allowed. Empty: always allowed. Otherwise any rule that matches allows.
    fn rules(self, calls: Calls) -> io::Result<Option<Vec<SeccompRule>>> {
        Ok(match (self, calls) {
            (When::Always, Calls::Compile | Calls::Run) | (When::Running, Calls::Run) => Some(Vec::new()),
            (When::Running, Calls::Compile) => None,
            (When::NeverExecutable, Calls::Compile | Calls::Run)
            | (When::WritableOrExecutable, Calls::Compile) => Some(vec![without(EXEC)?]),
            (When::WritableOrExecutable, Calls::Run) => Some(vec![without(EXEC)?, without(WRITE)?]),
            (When::Harmless, Calls::Compile | Calls::Run) => {
                let rules = HARMLESS.map(|command| rule(1, SeccompCmpOp::Eq, command));
                Some(rules.into_iter().collect::<io::Result<_>>()?)
            }
            (When::Itself, Calls::Compile | Calls::Run) => {
                let this = u64::from(std::process::id());
                Some(vec![rule(0, SeccompCmpOp::Eq, this)?])
            }
        })
    }
}

/// The third argument, a protection, has none of these bits.
fn without(bits: u64) -> io::Result<SeccompRule> {
    rule(2, SeccompCmpOp::MaskedEq(bits), 0)
}

fn rule(argument: u8, compare: SeccompCmpOp, value: u64) -> io::Result<SeccompRule> {
    let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Dword, compare, value);
    SeccompRule::new(vec![condition.map_err(io::Error::other)?]).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the program as the kernel does; for what it consists of, see linux/filter.h and linux/bpf_common.h.
    fn allows(program: &BpfProgram, number: u32, arguments: [u64; 6]) -> bool {
        let arch: u32 = if cfg!(target_arch = "aarch64") { 0xc000_00b7 } else { 0xc000_003e };
        let mut data = Vec::new();
        data.extend_from_slice(&number.to_le_bytes());
        data.extend_from_slice(&arch.to_le_bytes());
        data.extend_from_slice(&0u64.to_le_bytes());
        for argument in arguments {
            data.extend_from_slice(&argument.to_le_bytes());
        }
        let (mut at, mut accumulator) = (0, 0u32);
        loop {
            let step = &program[at];
            at += 1;
            let jump = |taken: bool| usize::from(if taken { step.jt } else { step.jf });
            match step.code {
                0x20 => {
                    let from = usize::try_from(step.k).unwrap();
                    accumulator = u32::from_le_bytes(data[from..from + 4].try_into().unwrap());
                }
                0x54 => accumulator &= step.k,
                0x05 => at += usize::try_from(step.k).unwrap(),
                0x15 => at += jump(accumulator == step.k),
                0x25 => at += jump(accumulator > step.k),
                0x35 => at += jump(accumulator >= step.k),
                0x06 => return step.k == 0x7fff_0000,
                code => panic!("instruction {code:#x}"),
            }
        }
    }

    fn number(number: &Number) -> u32 {
        u32::try_from(number.here()).unwrap()
    }

    #[test]
    fn whatever_is_not_listed_ends_the_process() {
        for calls in [Calls::Compile, Calls::Run] {
            let program = program(calls).unwrap();
            let this = u64::from(std::process::id());
            let listed: Vec<u32> = ALLOWED
                .iter()
                .filter(|(_, when)| when.rules(calls).unwrap().is_some())
                .map(|(listed, _)| number(listed))
                .collect();
            for number in 0..1024 {
                let allowed = allows(&program, number, [this, HARMLESS[0], 0, 0, 0, 0]);
                assert_eq!(allowed, listed.contains(&number), "{calls:?}: {number}");
            }
            // The same numbers of the 32-bit calling convention on x86-64.
            assert!(!allows(&program, 0x4000_0000 | listed[0], [0; 6]));
        }
    }

    #[test]
    fn nothing_can_be_opened_started_connected_or_signalled() {
        // open, openat, openat2, socket, connect, execve, execveat, clone, clone3, fork, vfork, kill, tkill,
        // ptrace, process_vm_writev, mount, unshare, setns, bpf, io_uring_setup, userfaultfd, keyctl,
        // perf_event_open, prctl, seccomp, ioctl.
        let forbidden = if cfg!(target_arch = "aarch64") {
            vec![
                56, 437, 198, 203, 221, 281, 220, 435, 129, 130, 117, 271, 40, 97, 268, 280, 425, 282, 219,
                241, 167, 277, 29,
            ]
        } else {
            vec![
                2, 257, 437, 41, 42, 59, 322, 56, 435, 57, 58, 62, 200, 101, 311, 165, 272, 308, 321, 425,
                323, 250, 298, 157, 317, 16,
            ]
        };
        for calls in [Calls::Compile, Calls::Run] {
            let program = program(calls).unwrap();
            for number in &forbidden {
                assert!(!allows(&program, *number, [0; 6]), "{calls:?}: {number}");
            }
        }
    }

    #[test]
    fn no_descriptor_is_made_to_signal_somebody() {
        let fcntl = number(&Number(72, 25));
        for calls in [Calls::Compile, Calls::Run] {
            let program = program(calls).unwrap();
            for command in 0..2048 {
                let allowed = allows(&program, fcntl, [0, command, 0, 0, 0, 0]);
                assert_eq!(allowed, HARMLESS.contains(&command), "{calls:?}: {command}");
            }
        }
    }

    #[test]
    fn memory_is_never_writable_and_executable() {
        let (map, protect) = (Number(9, 222), Number(10, 226));
        let protection = |bits| [0x1000, 0x1000, bits, 0, 0, 0];
        let run = program(Calls::Run).unwrap();
        let compile = program(Calls::Compile).unwrap();
        for (program, name) in [(&run, "run"), (&compile, "compile")] {
            for bits in [0, 1, 3] {
                assert!(allows(program, number(&map), protection(bits)), "{name}: map {bits}");
                assert!(allows(program, number(&protect), protection(bits)), "{name}: protect {bits}");
            }
            for bits in [4, 5, 7] {
                assert!(!allows(program, number(&map), protection(bits)), "{name}: map {bits}");
            }
            for bits in [6, 7] {
                assert!(!allows(program, number(&protect), protection(bits)), "{name}: protect {bits}");
            }
        }
        assert!(allows(&run, number(&protect), protection(5)));
        // With branch targets enforced, on aarch64.
        assert!(allows(&run, number(&protect), protection(0x15)));
        assert!(!allows(&compile, number(&protect), protection(5)));
    }

    #[test]
    fn a_process_signals_only_itself() {
        let program = program(Calls::Run).unwrap();
        let this = u64::from(std::process::id());
        let signal = number(&Number(234, 131));
        assert!(allows(&program, signal, [this, 1, 6, 0, 0, 0]));
        assert!(!allows(&program, signal, [this + 1, 1, 6, 0, 0, 0]));
        assert!(!allows(&program, signal, [0, 1, 6, 0, 0, 0]));
    }
}
