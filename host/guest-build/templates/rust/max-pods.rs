//! Runs as many pods as there are addresses, and at most so many per vCPU.

use enid_guest::max_pods::Snapshot;
use enid_guest::{Answer, Failure, MaxPods, Mode, Settings};

/// What the operator can set.
#[derive(Clone, Debug, PartialEq, Eq, Settings)]
pub struct Knobs {
    /// Pods that a vCPU may run at most.
    #[setting(default = 20, range = 1..=250)]
    pub pods_per_vcpu: u32,
    /// Pods on the host's network, which need no address.
    #[setting(default = 2, range = 0..=32)]
    pub host_network: u32,
}

/// The strategy.
#[derive(Clone, Copy, Debug)]
pub struct Strategy;

impl MaxPods for Strategy {
    type Settings = Knobs;
    type State = ();

    fn decide(knobs: &Knobs, (): &mut (), node: &Snapshot) -> Result<Answer<u32>, Failure> {
        if node.mode == Mode::Prefix && !node.prefixes {
            let why = format!("EC2 delegates no prefixes to {}", node.instance_type);
            return Err(Failure::Unsupported(why));
        }
        let addresses = addresses(node);
        let pods = addresses.saturating_add(knobs.host_network);
        let cap = node.vcpus.saturating_mul(knobs.pods_per_vcpu);
        if node.uncapped || pods <= cap {
            let why = format!(
                "{addresses} addresses, and {} pods without one",
                knobs.host_network
            );
            return Ok(Answer::new(pods, why));
        }
        Ok(Answer::new(
            cap,
            format!(
                "{} vCPUs, which is capped: addresses suffice for {pods}",
                node.vcpus
            ),
        ))
    }
}

/// Addresses for pods: each ENI's first is its own, and in prefix mode the others are prefixes.
fn addresses(node: &Snapshot) -> u32 {
    let enis = node.max_enis.saturating_sub(node.reserved_enis);
    let enis = enis.saturating_sub(u32::from(node.custom_networking));
    let each = match node.mode {
        Mode::SecondaryIp => 1,
        Mode::Prefix => 16,
    };
    enis.saturating_mul(node.ipv4_per_eni.saturating_sub(1))
        .saturating_mul(each)
}

enid_guest::export_max_pods!(Strategy);

#[cfg(test)]
mod tests {
    use super::*;
    use enid_guest::testing::{instance, int, settings};

    #[test]
    fn reserved_enis_carry_no_pods() {
        let mut node = instance(Mode::SecondaryIp);
        node.reserved_enis = 1;
        assert_eq!(addresses(&node), 18);
        node.reserved_enis = 4;
        assert_eq!(addresses(&node), 0);
    }

    #[test]
    fn the_cap_can_be_lifted() {
        let knobs: Knobs = settings(&[int("pods_per_vcpu", 1)]);
        let mut node = instance(Mode::Prefix);
        assert_eq!(Strategy::decide(&knobs, &mut (), &node).unwrap().target, 2);
        node.uncapped = true;
        assert_eq!(
            Strategy::decide(&knobs, &mut (), &node).unwrap().target,
            27 * 16 + 2
        );
    }
}
