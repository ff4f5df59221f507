//! Takes the subnet with the most room, leaves some of it to others, and avoids where it failed of late.

use enid_guest::subnet_selection::{Ranked, Snapshot};
use enid_guest::{Answer, ClusterTag, Failure, RoleTag, Settings, SubnetSelection, SubnetUse};

/// What the operator can set.
#[derive(Clone, Debug, PartialEq, Eq, Settings)]
pub struct Knobs {
    /// Addresses to leave to others in every subnet.
    #[setting(default = 16, range = 0..=65_536)]
    pub keep_free: u32,
    /// What a failure in the last ten minutes counts, in free addresses.
    #[setting(default = 16, range = 0..=4096)]
    pub failure_cost: u32,
}

/// The strategy.
#[derive(Clone, Copy, Debug)]
pub struct Strategy;

impl SubnetSelection for Strategy {
    type Settings = Knobs;
    type State = ();

    fn decide(
        knobs: &Knobs,
        (): &mut (),
        choice: &Snapshot,
    ) -> Result<Answer<Vec<Ranked>>, Failure> {
        let least = u64::from(choice.wanted) + u64::from(knobs.keep_free);
        let mut ranked: Vec<Ranked> = (0_u16..)
            .zip(&choice.candidates)
            .filter(|(_, subnet)| may_be_used(subnet) && u64::from(subnet.free) >= least)
            .map(|(candidate, subnet)| Ranked {
                candidate,
                weight: room(knobs, subnet),
            })
            .collect();
        // Stable: of equals the first stays first.
        ranked.sort_by_key(|ranked| u32::MAX - ranked.weight);
        let why = format!(
            "{} of {} subnets have {least} addresses free",
            ranked.len(),
            choice.candidates.len()
        );
        Ok(Answer::new(ranked, why))
    }
}

fn may_be_used(subnet: &SubnetUse) -> bool {
    subnet.role != RoleTag::Excluded && subnet.cluster != ClusterTag::Foreign
}

fn room(knobs: &Knobs, subnet: &SubnetUse) -> u32 {
    subnet
        .free
        .saturating_sub(subnet.recent_failures.saturating_mul(knobs.failure_cost))
}

enid_guest::export_subnet_selection!(Strategy);

#[cfg(test)]
mod tests {
    use super::*;
    use enid_guest::testing::{choice, settings, subnet};

    fn order(candidates: Vec<SubnetUse>) -> Vec<u16> {
        let answer = Strategy::decide(&settings(&[]), &mut (), &choice(candidates)).unwrap();
        answer
            .target
            .iter()
            .map(|ranked| ranked.candidate)
            .collect()
    }

    #[test]
    fn of_equals_the_first_stays_first() {
        assert_eq!(
            order(vec![subnet(100), subnet(100), subnet(200)]),
            [2, 0, 1]
        );
    }

    #[test]
    fn failures_never_make_a_full_subnet_out_of_an_empty_one() {
        let mut failing = subnet(100);
        failing.recent_failures = u32::MAX;
        assert_eq!(order(vec![failing, subnet(50)]), [1, 0]);
    }
}
