//! The subnet-selection strategy that ships as the default: tagged subnets, most free addresses first.
//!
//! Decides from tags and free addresses alone; never leaves out a subnet because it looks short, since EC2's
//! count lags and the host tries the next one anyway. The tags mean what they mean to the Amazon VPC CNI: the
//! primary ENI's subnet counts unless tagged out, any other only if tagged in, and cluster tags narrow both.

use enid_guest::subnet_selection::{Ranked, Snapshot};
use enid_guest::{Answer, ClusterTag, Failure, RoleTag, Settings, SubnetSelection, SubnetUse};

/// What the operator can set.
#[derive(Clone, Debug, PartialEq, Eq, Settings)]
pub struct Rules {
    /// Whether other subnets than the primary ENI's may be used.
    #[setting(default = true)]
    pub discovery: bool,
}

/// The strategy.
#[derive(Clone, Copy, Debug)]
pub struct MostFree;

impl SubnetSelection for MostFree {
    type Settings = Rules;
    type State = ();

    fn decide(rules: &Rules, (): &mut (), snapshot: &Snapshot) -> Result<Answer<Vec<Ranked>>, Failure> {
        let mut order: Vec<Ranked> = (0u16..)
            .zip(&snapshot.candidates)
            .filter(|(_, subnet)| eligible(subnet) && (rules.discovery || subnet.primary))
            .map(|(candidate, subnet)| Ranked { candidate, weight: subnet.free })
            .collect();
        // Stable: among equals the earlier candidate stays first.
        order.sort_by_key(|ranked| core::cmp::Reverse(ranked.weight));
        let offered = snapshot.candidates.len();
        let scope = if rules.discovery { "" } else { ", the primary's alone without discovery" };
        let reason = match order.first() {
            Some(best) => {
                let (eligible, free) = (order.len(), best.weight);
                format!("{eligible} of {offered} subnets eligible{scope}; the best has {free} free addresses")
            }
            None => format!("none of {offered} subnets is eligible by its tags{scope}"),
        };
        Ok(Answer::new(order, reason))
    }
}

/// Whether pods may have addresses of this subnet.
fn eligible(subnet: &SubnetUse) -> bool {
    let ours = match subnet.cluster {
        ClusterTag::Any | ClusterTag::Ours => true,
        ClusterTag::Foreign => false,
    };
    match subnet.role {
        RoleTag::Absent => subnet.primary,
        RoleTag::Excluded => false,
        RoleTag::Included => ours,
    }
}

enid_guest::export_subnet_selection!(MostFree);

#[cfg(test)]
mod tests {
    use super::*;
    use enid_guest::Setting;
    use enid_guest::testing::{choice, flag, settings, subnet};
    use proptest::prelude::*;

    fn decide(given: &[Setting], candidates: Vec<SubnetUse>) -> Answer<Vec<Ranked>> {
        MostFree::decide(&settings(given), &mut (), &choice(candidates)).unwrap()
    }

    fn order(given: &[Setting], candidates: Vec<SubnetUse>) -> Vec<u16> {
        decide(given, candidates).target.iter().map(|ranked| ranked.candidate).collect()
    }

    fn tagged(primary: bool, role: RoleTag, cluster: ClusterTag, free: u32) -> SubnetUse {
        SubnetUse { primary, role, cluster, ..subnet(free) }
    }

    #[test]
    fn tags_decide_who_is_eligible() {
        use ClusterTag::{Any, Foreign, Ours};
        use RoleTag::{Absent, Excluded, Included};
        let table = [
            (true, Absent, Any, true),
            (true, Absent, Foreign, true),
            (true, Excluded, Any, false),
            (true, Included, Any, true),
            (true, Included, Ours, true),
            (true, Included, Foreign, false),
            (false, Absent, Any, false),
            (false, Absent, Ours, false),
            (false, Excluded, Ours, false),
            (false, Included, Any, true),
            (false, Included, Ours, true),
            (false, Included, Foreign, false),
        ];
        for (primary, role, cluster, expected) in table {
            let got = !order(&[], vec![tagged(primary, role, cluster, 5)]).is_empty();
            assert_eq!(got, expected, "primary {primary}, {role:?}, {cluster:?}");
        }
    }

    #[test]
    fn most_free_comes_first_and_equals_keep_their_order() {
        let included = |free| tagged(false, RoleTag::Included, ClusterTag::Any, free);
        let candidates = vec![
            included(5),
            tagged(true, RoleTag::Absent, ClusterTag::Any, 9),
            included(9),
            included(0),
            included(70),
        ];
        assert_eq!(order(&[], candidates), [4, 1, 2, 0, 3]);
    }

    #[test]
    fn without_discovery_only_the_primary_counts() {
        let included = tagged(false, RoleTag::Included, ClusterTag::Any, 90);
        let primary = tagged(true, RoleTag::Absent, ClusterTag::Any, 3);
        assert_eq!(order(&[flag("discovery", false)], vec![included.clone(), primary.clone()]), [1]);
        let excluded = SubnetUse { role: RoleTag::Excluded, ..primary };
        assert!(order(&[flag("discovery", false)], vec![included, excluded]).is_empty());
    }

    #[test]
    fn nothing_eligible_is_said() {
        assert_eq!(
            decide(&[], vec![subnet(5), subnet(6)]).reason,
            "none of 2 subnets is eligible by its tags"
        );
    }

    proptest! {
        #[test]
        fn the_order_is_a_sorted_choice_of_the_candidates(free in proptest::collection::vec(0u32..50, 0..64)) {
            let candidates: Vec<SubnetUse> =
                free.iter().map(|free| tagged(false, RoleTag::Included, ClusterTag::Any, *free)).collect();
            let order = decide(&[], candidates).target;
            prop_assert_eq!(order.len(), free.len());
            let sorted =
                order.windows(2).all(|pair| (pair[0].weight, pair[1].candidate) > (pair[1].weight, pair[0].candidate));
            prop_assert!(sorted);
        }
    }
}
