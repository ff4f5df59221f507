//! What is left to the process of `enid run` once it knows its settings: a few capabilities, for good, and a list of
//! system calls.
//!
//! Both go before the first thread is started, so that every thread and every child has no more. The daemon remains root,
//! and whoever takes it over owns the node's network; what is kept from them is most of the kernel. It is no prison for
//! such a one: `CAP_SYS_PTRACE` opens `/proc/PID/mem` of any process, and root may write what it owns in `/proc/sys`, unless
//! its surroundings mount that read-only, as `deploy/enid.service` does. Strangers' components are kept from all of it:
//! children give up the rest themselves (`enid_policy_wasm`), for which the list has what they need.
//!
//! Map: `calls` the list · `filter` the list as the kernel wants it · `profile` the list for container runtimes.

mod calls;
mod filter;
mod profile;

use std::io;

use rustix::io::Errno;
use rustix::thread::{CapabilitySet, CapabilitySets};

use crate::settings::Confinement;

pub(crate) use profile::profile;

/// The capabilities that stay, and what for.
const KEPT: &[(CapabilitySet, &str)] = &[
    (
        CapabilitySet::NET_ADMIN,
        "links, addresses, routes, rules, nftables, and where a peer of the socket is",
    ),
    (CapabilitySet::SYS_ADMIN, "entering pods' network namespaces, and a child's own"),
    (CapabilitySet::SYS_PTRACE, "finding the namespace of a pod that its runtime names by a process"),
    (CapabilitySet::SETPCAP, "a child gives up its bounding set"),
    (CapabilitySet::SETUID, "a child becomes nobody"),
    (CapabilitySet::SETGID, "a child becomes nobody"),
    (CapabilitySet::KILL, "ending a child that is nobody"),
];
/// The numbers of all capabilities that a kernel can have.
const NUMBERS: u32 = 64;

/// A right that could not be given up.
#[derive(Debug, thiserror::Error)]
#[error(
    "{attempt}: what the daemon does not need must be out of its reach; allow it CAP_SETPCAP and seccomp, or set \
     node.confinement = \"off\""
)]
pub(crate) struct ConfinementError {
    attempt: &'static str,
    #[source]
    why: io::Error,
}

/// Gives up what the daemon does not need. To be called while the process has one thread.
pub(crate) fn enter(how: Confinement) -> Result<(), ConfinementError> {
    match how {
        Confinement::Off => return Ok(()),
        Confinement::Enforced | Confinement::Logged => {}
    }
    let failed = |attempt| move |why: Errno| ConfinementError { attempt, why: why.into() };
    keep_capabilities().map_err(failed("give up capabilities"))?;
    rustix::thread::set_no_new_privs(true).map_err(failed("renounce new privileges"))?;
    filter::install(how).map_err(|why| ConfinementError { attempt: "filter system calls", why })
}

/// Leaves [`KEPT`], as far as it is there, and nothing that an executed program could inherit beyond it.
fn keep_capabilities() -> Result<(), Errno> {
    let kept = KEPT.iter().fold(CapabilitySet::empty(), |all, (capability, _)| all | *capability);
    rustix::thread::clear_ambient_capability_set()?;
    for number in 0..NUMBERS {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        match rustix::thread::capability_is_in_bounding_set(capability) {
            Ok(true) if !kept.contains(capability) => {
                rustix::thread::remove_capability_from_bounding_set(capability)?;
            }
            Ok(_) => {}
            // Beyond the last one that this kernel knows.
            Err(_) => break,
        }
    }
    let left = rustix::thread::capabilities(None)?.permitted & kept;
    let inheritable = CapabilitySet::empty();
    rustix::thread::set_capabilities(None, CapabilitySets { effective: left, permitted: left, inheritable })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const UNIT: &str = include_str!("../../../deploy/enid.service");

    /// What a line of the unit lists.
    fn listed(key: &str) -> BTreeSet<&'static str> {
        let lines = UNIT.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        lines.flat_map(str::split_whitespace).collect()
    }

    #[test]
    fn the_unit_grants_the_capabilities_that_are_kept_and_the_one_that_is_given_up_at_start() {
        let names = CapabilitySet::all().iter_names();
        let names = names.filter(|(_, one)| KEPT.iter().any(|(kept, _)| kept == one));
        let kept: Vec<String> = names.map(|(name, _)| format!("CAP_{name}")).collect();
        assert_eq!(kept.len(), KEPT.len());
        let mut wanted: BTreeSet<&str> = kept.iter().map(String::as_str).collect();
        wanted.insert("CAP_SYS_NICE");
        assert_eq!(listed("CapabilityBoundingSet"), wanted);
        assert_eq!(listed("AmbientCapabilities"), BTreeSet::new());
        assert_eq!(listed("NoNewPrivileges"), ["yes"].into());
    }

    #[test]
    fn the_unit_allows_the_system_calls_of_the_list() {
        // systemd's list has one answer only; what must look absent is refused by the daemon's own.
        let both = calls::ALLOWED.iter().chain(calls::ABSENT);
        let names: BTreeSet<&str> = both.map(|call| call.name).collect();
        let line: Vec<&str> = names.iter().copied().collect();
        assert_eq!(listed("SystemCallFilter"), names, "SystemCallFilter={}", line.join(" "));
        assert_eq!(listed("SystemCallErrorNumber"), ["EPERM"].into());
        assert_eq!(listed("SystemCallArchitectures"), ["native"].into());
    }

    #[test]
    fn the_profile_for_container_runtimes_is_the_list() {
        let published = include_str!("../../../deploy/seccomp.json");
        assert_eq!(published, profile(), "write what `enid config seccomp` prints to deploy/seccomp.json");
    }
}
