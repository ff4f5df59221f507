//! Prefix mode grows and shrinks as the incumbent's published formulas say, for any instance type and targets: they are
//! written down here from its rules, not from our planner.
//!
//! Two differences are meant, as in secondary-IP mode: a waiting pod counts as one address short, and every step that
//! a target needs is taken at once.

use enid_core::limits::InstanceType;
use proptest::prelude::*;
use simulation::{a_node_of, check, expect_converged};

use super::*;

const PER_PREFIX: u32 = 16;

/// The incumbent's loop, pass by pass: prefixes per ENI, and pods that found an address.
fn grown(enis: u32, slots: u32, knobs: Knobs, pods: u32) -> (Vec<u32>, u32) {
    let targets = knobs.warm_ip > 0 || knobs.minimum_ip > 0;
    let mut held = vec![0u32];
    let mut bound = 0;
    for pod in 0..=pods {
        loop {
            let prefixes: u32 = held.iter().sum();
            let total = prefixes * PER_PREFIX;
            let available = total - bound;
            let waiting = u32::from(pod > bound && available == 0);
            let free_prefixes = prefixes - bound.div_ceil(PER_PREFIX);
            let short = (knobs.warm_ip + waiting)
                .saturating_sub(available)
                .max(knobs.minimum_ip.saturating_sub(total));
            let low = if targets {
                short > 0
            } else {
                available < knobs.warm_prefix * PER_PREFIX || knobs.warm_prefix == 0 && available == 0
            };
            if !low {
                break;
            }
            let want = if targets {
                short.div_ceil(PER_PREFIX).max(1)
            } else {
                knobs.warm_prefix.saturating_sub(free_prefixes).max(1)
            };
            if let Some(eni) = held.iter_mut().find(|eni| **eni < slots) {
                *eni += want.min(slots - *eni);
            } else if u32::try_from(held.len()).is_ok_and(|count| count < enis) {
                held.push(want.min(slots));
            } else {
                break;
            }
        }
        bound += u32::from(bound < pods && bound < held.iter().sum::<u32>() * PER_PREFIX);
    }
    (held, bound)
}

/// Prefixes that are left of `prefixes` when `assigned` pods, packed, are.
fn shrunk(prefixes: u32, assigned: u32, knobs: Knobs) -> u32 {
    let free = prefixes - assigned.div_ceil(PER_PREFIX);
    let over = if knobs.warm_ip > 0 || knobs.minimum_ip > 0 {
        let for_warm = (assigned + knobs.warm_ip).div_ceil(PER_PREFIX);
        let for_minimum = knobs.minimum_ip.div_ceil(PER_PREFIX);
        free.min(prefixes.saturating_sub(for_warm)).min(prefixes.saturating_sub(for_minimum))
    } else if knobs.warm_prefix > 0 {
        free.saturating_sub(knobs.warm_prefix)
    } else {
        // The incumbent has no rule to shrink by. Here the last free address stays.
        free - u32::from(assigned.is_multiple_of(PER_PREFIX) && free > 0)
    };
    prefixes - over
}

fn prefixes_per_eni(node: &Node) -> Vec<u32> {
    let per_eni = enis(node).into_iter().map(|eni| u32::try_from(eni.prefixes.len()).expect("few"));
    per_eni.collect()
}

fn targets() -> impl Strategy<Value = Knobs> {
    prop_oneof![
        (0u32..5).prop_map(warm_prefixes),
        (0u32..60, 0u32..90).prop_map(|(warm_ip, minimum_ip)| Knobs {
            warm_ip,
            minimum_ip,
            ..Knobs::default()
        }),
    ]
}

fn with_prefixes() -> Vec<InstanceType> {
    enid_core::instance_types::all()
        .filter(|kind| kind.max_enis() > 0 && kind.slots_per_eni() > 0 && kind.supports_prefixes())
        .collect()
}

#[test]
fn the_documented_example_holds() {
    // WARM_PREFIX_TARGET=1: a second prefix comes with the first pod, a third with the seventeenth.
    let mut node = Region::of("m5.large").settled(in_prefixes(), warm_prefixes(1));
    for (pods, prefixes) in [(0, 1), (1, 2), (16, 2), (17, 3)] {
        let there = usize::try_from(node.state().pool_status(node.now()).bound).expect("few");
        fill(&mut node, &format!("from{there}x"), pods - there);
        assert_eq!(held(&node), (0, prefixes), "{pods} pods");
    }
    expect_converged(&mut node);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 80, ..ProptestConfig::default() })]

    #[test]
    fn growth_equals_the_incumbents(
        at in any::<prop::sample::Index>(), knobs in targets(), pods in 0u32..90,
    ) {
        let types = with_prefixes();
        let kind = at.get(&types);
        let mut node = a_node_of(kind, knobs, in_prefixes());
        let mut placed = 0;
        for pod in 0..pods {
            placed += u32::from(add_settled(&mut node, &format!("pod{pod}")).is_some());
        }
        let (held, bound) = grown(kind.max_enis(), kind.slots_per_eni(), knobs, pods);
        prop_assert_eq!(prefixes_per_eni(&node), held, "{} {:?} {} pods", &kind.name, knobs, pods);
        prop_assert_eq!(placed, bound);
        check(&node);
    }

    #[test]
    fn giving_back_equals_the_incumbents(knobs in targets(), pods in 0u32..120, gone in 0u32..120) {
        let mut node = Region::of("m5.4xlarge").settled(in_prefixes(), knobs);
        fill(&mut node, "pod", pods as usize);
        let before: u32 = prefixes_per_eni(&node).iter().sum();
        let left = pods.saturating_sub(gone);
        delete(&mut node, "pod", left as usize..pods as usize);
        node.pass(secs(900));
        settle(&mut node);
        let after: u32 = prefixes_per_eni(&node).iter().sum();
        prop_assert_eq!(after, shrunk(before, left, knobs), "{:?}: {} of {} pods left", knobs, left, pods);
        expect_converged(&mut node);
    }
}
