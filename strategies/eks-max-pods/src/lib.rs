//! The max-pods strategy that ships as the default: the formula of the EKS max-pods calculator.
//!
//! Decides from the instance's ENIs and addresses alone; never looks at memory or CPU beyond the recommended
//! cap. `enis × (addresses − 1) + 2`, sixteen times the addresses in prefix mode, one ENI fewer when the
//! primary carries no pods; at most 110 up to 30 vCPUs and 250 above.

use enid_guest::max_pods::Snapshot;
use enid_guest::{Answer, Failure, MaxPods, Mode, Settings};

/// Addresses in one delegated prefix.
const PREFIX_ADDRESSES: u32 = 16;
/// Up to so many vCPUs a node counts as small.
const SMALL_VCPUS: u32 = 30;
/// Most pods that Kubernetes recommends for a small node.
const SMALL_CAP: u32 = 110;
/// Most pods that EKS recommends for any node.
const LARGE_CAP: u32 = 250;
/// More pods than any node runs.
const MOST_PODS: u32 = 10_000;

/// What the operator can set.
#[derive(Clone, Debug, PartialEq, Eq, Settings)]
pub struct Rules {
    /// Pods on the host network, which need no address: the incumbent counts its own and kube-proxy.
    #[setting(default = 2, range = 0..=1000)]
    pub host_network_pods: u32,
    /// Most pods whatever the addresses allow; 0 means 110 up to 30 vCPUs and 250 above.
    #[setting(default = 0, range = 0..=MOST_PODS)]
    pub cap: u32,
}

/// The strategy.
#[derive(Clone, Copy, Debug)]
pub struct EksMaxPods;

impl MaxPods for EksMaxPods {
    type Settings = Rules;
    type State = ();

    fn decide(rules: &Rules, (): &mut (), snapshot: &Snapshot) -> Result<Answer<u32>, Failure> {
        let enis = snapshot
            .max_enis
            .saturating_sub(u32::from(snapshot.custom_networking))
            .saturating_sub(snapshot.reserved_enis);
        let slots = snapshot.ipv4_per_eni.saturating_sub(1);
        let (per_slot, note) = match snapshot.mode {
            Mode::Prefix if snapshot.prefixes => (PREFIX_ADDRESSES, ""),
            Mode::Prefix => (1, " (no prefixes on this instance type, so secondary IPs)"),
            Mode::SecondaryIp => (1, ""),
        };
        let host = rules.host_network_pods;
        let formula = enis.saturating_mul(slots).saturating_mul(per_slot).saturating_add(host);
        let times = if per_slot == 1 { String::new() } else { format!(" × {per_slot}") };
        let mut reason = format!("{enis} ENIs × {slots} addresses{times} + {host} = {formula}{note}");
        let cap = cap(rules, snapshot);
        let pods = cap.map_or(formula, |cap| formula.min(cap));
        if pods < formula {
            reason.push_str(&format!(", capped at {pods}"));
            if rules.cap == 0 {
                reason.push_str(&format!(" for {} vCPUs", snapshot.vcpus));
            }
        }
        Ok(Answer::new(pods, reason))
    }
}

fn cap(rules: &Rules, snapshot: &Snapshot) -> Option<u32> {
    match (snapshot.uncapped, rules.cap) {
        (true, _) => None,
        (false, 0) if snapshot.vcpus <= SMALL_VCPUS => Some(SMALL_CAP),
        (false, 0) => Some(LARGE_CAP),
        (false, cap) => Some(cap),
    }
}

enid_guest::export_max_pods!(EksMaxPods);

#[cfg(test)]
mod tests {
    use super::*;
    use enid_guest::Setting;
    use enid_guest::testing::{instance, int, settings};
    use proptest::prelude::*;

    fn decide(given: &[Setting], snapshot: &Snapshot) -> Answer<u32> {
        EksMaxPods::decide(&settings(given), &mut (), snapshot).unwrap()
    }

    fn shape(mode: Mode, max_enis: u32, ipv4_per_eni: u32, vcpus: u32) -> Snapshot {
        Snapshot { max_enis, ipv4_per_eni, vcpus, ..instance(mode) }
    }

    #[test]
    fn known_instance_types_get_their_published_number() {
        // ENIs, addresses, vCPUs, secondary IP, prefix
        let table = [
            (3, 4, 2, 11, 110),     // t3.small
            (3, 10, 2, 29, 110),    // m5.large
            (2, 4, 1, 8, 98),       // t2.small, had it prefixes
            (4, 15, 4, 58, 110),    // m5.xlarge
            (8, 30, 16, 110, 110),  // m5.4xlarge
            (8, 30, 32, 234, 250),  // m5.8xlarge
            (15, 50, 96, 250, 250), // m5.24xlarge
        ];
        for (enis, addresses, vcpus, secondary, prefix) in table {
            assert_eq!(decide(&[], &shape(Mode::SecondaryIp, enis, addresses, vcpus)).target, secondary);
            assert_eq!(decide(&[], &shape(Mode::Prefix, enis, addresses, vcpus)).target, prefix);
        }
    }

    #[test]
    fn uncapped_answers_what_the_addresses_allow() {
        let snapshot = Snapshot { uncapped: true, ..shape(Mode::SecondaryIp, 15, 50, 96) };
        assert_eq!(decide(&[], &snapshot).target, 737);
        assert_eq!(decide(&[int("cap", 10)], &snapshot).target, 737);
    }

    #[test]
    fn custom_networking_and_reserved_enis_cost_an_eni_each() {
        let snapshot = Snapshot { custom_networking: true, ..instance(Mode::SecondaryIp) };
        assert_eq!(decide(&[], &snapshot).target, 20);
        let snapshot = Snapshot { reserved_enis: 1, ..snapshot };
        assert_eq!(decide(&[], &snapshot).target, 11);
        let snapshot = Snapshot { reserved_enis: 9, ..snapshot };
        assert_eq!(decide(&[], &snapshot).target, 2);
    }

    #[test]
    fn prefix_mode_without_prefixes_falls_back_and_says_so() {
        let snapshot = Snapshot { prefixes: false, ..instance(Mode::Prefix) };
        let answer = decide(&[], &snapshot);
        assert_eq!(answer.target, 29);
        assert!(answer.reason.contains("no prefixes on this instance type"), "{}", answer.reason);
    }

    #[test]
    fn settings_change_the_cap_and_the_host_network_pods() {
        assert_eq!(decide(&[int("cap", 20)], &instance(Mode::SecondaryIp)).target, 20);
        assert_eq!(decide(&[int("host_network_pods", 5)], &instance(Mode::SecondaryIp)).target, 32);
    }

    #[test]
    fn the_reason_shows_the_sum() {
        assert_eq!(decide(&[], &instance(Mode::SecondaryIp)).reason, "3 ENIs × 9 addresses + 2 = 29");
        assert_eq!(
            decide(&[], &instance(Mode::Prefix)).reason,
            "3 ENIs × 9 addresses × 16 + 2 = 434, capped at 110 for 2 vCPUs"
        );
    }

    proptest! {
        #[test]
        fn any_numbers_give_an_answer(
            max_enis: u32, ipv4_per_eni: u32, vcpus: u32, reserved_enis: u32, custom_networking: bool, uncapped: bool,
        ) {
            let snapshot = Snapshot { custom_networking, uncapped, reserved_enis, ..shape(Mode::Prefix, max_enis, ipv4_per_eni, vcpus) };
            let pods = decide(&[], &snapshot).target;
            prop_assert!(uncapped || pods <= LARGE_CAP);
        }
    }
}
