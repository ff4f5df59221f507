//! The list as a program that the kernel runs before every system call.

use std::collections::BTreeMap;
use std::io;

use rustix::io::Errno;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch,
};

use super::calls::{ABSENT, ALLOWED, Call, When};
use crate::settings::Confinement;

/// Installs the list on every thread, and on all that they start.
pub(super) fn install(how: Confinement) -> io::Result<()> {
    let other = match how {
        Confinement::Enforced => SeccompAction::Errno(Errno::PERM.raw_os_error().unsigned_abs()),
        Confinement::Logged => SeccompAction::Log,
        Confinement::Off => return Ok(()),
    };
    for program in programs(other)? {
        seccompiler::apply_filter_all_threads(&program).map_err(io::Error::other)?;
    }
    Ok(())
}

/// In the order in which they are installed: of two that refuse a call, the later one says how. `other` is what happens
/// to a call that is neither allowed nor absent.
fn programs(other: SeccompAction) -> io::Result<[BpfProgram; 2]> {
    let absent = SeccompAction::Errno(Errno::NOSYS.raw_os_error().unsigned_abs());
    Ok([program(ALLOWED, SeccompAction::Allow, other)?, program(ABSENT, absent, SeccompAction::Allow)?])
}

/// What happens to the calls of a list, and to all others.
fn program(calls: &[Call], listed: SeccompAction, other: SeccompAction) -> io::Result<BpfProgram> {
    let mut rules = BTreeMap::new();
    for call in calls {
        if let Some(number) = call.number() {
            rules.insert(number, rules_of(call)?);
        }
    }
    let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(io::Error::other)?;
    let filter = SeccompFilter::new(rules, other, listed, arch).map_err(io::Error::other)?;
    filter.try_into().map_err(io::Error::other)
}

/// Any rule that matches suffices; with none at all, the call always matches.
fn rules_of(call: &Call) -> io::Result<Vec<SeccompRule>> {
    let rule = |when: &When| {
        let (argument, compare, value) = match *when {
            When::Is(argument, value) => (argument, SeccompCmpOp::Eq, value),
            When::Lacks(argument, bits) => (argument, SeccompCmpOp::MaskedEq(bits), 0),
        };
        let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Dword, compare, value);
        SeccompRule::new(vec![condition.map_err(io::Error::other)?]).map_err(io::Error::other)
    };
    call.when.iter().map(rule).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs::File;
    use std::os::fd::AsFd;

    use rustix::mount::{MountFlags, MountPropagationFlags};
    use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

    use super::*;

    /// What the kernel would do with a call: the program's answer to it (linux/filter.h, linux/seccomp.h).
    fn verdict(program: &BpfProgram, number: i64, arguments: [u64; 6]) -> u32 {
        let architecture: u32 = if cfg!(target_arch = "aarch64") { 0xc000_00b7 } else { 0xc000_003e };
        let words = [u32::try_from(number).unwrap(), architecture, 0, 0].into_iter();
        let halves = arguments.iter().flat_map(|argument| [*argument as u32, (*argument >> 32) as u32]);
        let data: Vec<u32> = words.chain(halves).collect();
        let (mut next, mut held) = (0, 0);
        loop {
            let step = &program[next];
            next += 1;
            let mut branch = |yes: bool| next += usize::from(if yes { step.jt } else { step.jf });
            match step.code {
                0x20 => held = data[step.k as usize / 4],
                0x54 => held &= step.k,
                0x05 => next += step.k as usize,
                0x15 => branch(held == step.k),
                0x25 => branch(held > step.k),
                0x35 => branch(held >= step.k),
                0x06 => return step.k,
                code => panic!("instruction {code:#x}"),
            }
        }
    }

    const ALLOW: u32 = 0x7fff_0000;
    const REFUSE: u32 = 0x0005_0000 | 1;

    const UNKNOWN: u32 = 0x0005_0000 | 38;

    fn enforced() -> [BpfProgram; 2] {
        programs(SeccompAction::Errno(1)).unwrap()
    }

    /// What the kernel would do after all programs: the strictest wins, and of equally strict ones the latest.
    fn outcome(programs: &[BpfProgram; 2], number: i64, arguments: [u64; 6]) -> u32 {
        let verdicts = programs.iter().rev().map(|program| verdict(program, number, arguments));
        verdicts.min_by_key(|verdict| verdict & 0xffff_0000).unwrap()
    }

    fn number_of(name: &str) -> i64 {
        ALLOWED.iter().find(|call| call.name == name).and_then(|call| call.number()).unwrap()
    }

    #[test]
    fn whatever_is_not_listed_is_refused() {
        let programs = enforced();
        let absent: BTreeSet<i64> = ABSENT.iter().filter_map(|call| call.number()).collect();
        let listed: BTreeSet<i64> = ALLOWED.iter().filter_map(|call| call.number()).collect();
        let unconditional: BTreeSet<i64> =
            ALLOWED.iter().filter(|call| call.when.is_empty()).filter_map(|call| call.number()).collect();
        for number in 0..1024 {
            let found = outcome(&programs, number, [u64::MAX; 6]);
            let wanted = match (unconditional.contains(&number), absent.contains(&number)) {
                (true, _) => ALLOW,
                (false, true) => UNKNOWN,
                (false, false) => REFUSE,
            };
            assert_eq!(found, wanted, "{number}, listed: {}", listed.contains(&number));
        }
        // The same numbers of the 32-bit calling convention on x86-64.
        for number in listed.into_iter().chain(absent) {
            assert_ne!(outcome(&programs, 0x4000_0000 | number, [0; 6]), ALLOW, "{number}");
        }
    }

    #[test]
    fn conditions_hold_for_their_argument() {
        let programs = enforced();
        for call in ALLOWED.iter().filter(|call| call.number().is_some()) {
            for when in call.when {
                let (argument, value) = match *when {
                    When::Is(argument, value) => (argument, value),
                    When::Lacks(argument, bits) => (argument, !bits),
                };
                let mut arguments = [u64::MAX; 6];
                arguments[usize::from(argument)] = value;
                assert_eq!(
                    outcome(&programs, call.number().unwrap(), arguments),
                    ALLOW,
                    "{} {when:?}",
                    call.name
                );
            }
        }
        for (name, argument, refused) in [
            ("clone", 0, 0x0002_0000 | 17),
            ("clone", 0, 0x1000_0000 | 17),
            ("clone", 0, 0x2000_0000 | 17),
            ("clone", 0, 0x4000_0000 | 17),
            ("fcntl", 1, 8),
            ("fcntl", 1, 10),
            ("ioctl", 1, 0x5412),
            ("kill", 1, 15),
            ("mmap", 2, 7),
            ("mprotect", 2, 6),
            ("mount", 3, 0x1000),
            ("mount", 3, 0),
            ("mount", 3, 0x20),
            ("pidfd_send_signal", 1, 15),
            ("prctl", 0, 8),
            ("prctl", 0, 22),
            ("setns", 1, 0),
            ("setns", 1, 0x2_0000),
            ("socket", 0, 17),
            ("socket", 0, 38),
            ("tgkill", 2, 9),
            ("umount2", 1, 0),
            ("unshare", 0, 0x1000_0000),
        ] {
            let mut arguments = [0; 6];
            arguments[argument] = refused;
            assert_eq!(outcome(&programs, number_of(name), arguments), REFUSE, "{name} {refused:#x}");
        }
    }

    #[test]
    fn the_kernel_refuses_what_it_would_otherwise_try_and_does_what_is_allowed() {
        // A filter stays with its thread, so one that ends here gets it.
        let refused = std::thread::spawn(|| {
            let own = File::open("/proc/thread-self/ns/net").unwrap();
            enforced().iter().for_each(|program| seccompiler::apply_filter(program).unwrap());
            let nowhere = "/nowhere/at/all";
            let refused = [
                rustix::process::chroot(nowhere),
                rustix::fs::symlink(nowhere, nowhere),
                rustix::mount::mount_bind(nowhere, nowhere),
                rustix::mount::mount(nowhere, nowhere, "none", MountFlags::empty(), c""),
                rustix::mount::mount_remount(nowhere, MountFlags::empty(), c""),
                move_into_link_name_space(own.as_fd(), None),
                move_into_link_name_space(own.as_fd(), Some(LinkNameSpaceType::Mount)),
                // SAFETY: no flag that concerns descriptors.
                #[expect(unsafe_code, reason = "no other way to try")]
                unsafe {
                    rustix::thread::unshare_unsafe(UnshareFlags::NEWPID)
                },
            ];
            assert!(std::fs::read_to_string("/proc/self/status").is_ok());
            // Both of which libraries try with `clone3` first.
            assert!(std::process::Command::new("true").status().unwrap().success());
            std::thread::spawn(|| ()).join().unwrap();
            // Let through, and refused by the kernel for its own reasons.
            let tried = rustix::mount::mount_change(
                nowhere,
                MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
            );
            assert_eq!(
                tried,
                Err(if rustix::process::geteuid().is_root() { Errno::NOENT } else { Errno::PERM })
            );
            refused
        });
        for (place, refused) in refused.join().unwrap().into_iter().enumerate() {
            assert_eq!(refused, Err(Errno::PERM), "{place}");
        }
    }
}
