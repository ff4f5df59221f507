//! Growth in secondary-IP mode equals the incumbent's published rule for any instance type and targets.
//!
//! One difference is meant: the incumbent never grows for a pod that finds the pool empty (with
//! MINIMUM_IP_TARGET alone its pool is frozen at the floor), here a waiting pod counts as one address short.

use std::time::Duration;

use enid_core::node::Config;
use proptest::prelude::*;
use simulation::{Knobs, a_node, a_node_of, add_settled, check, expect_converged};

/// The incumbent's loop, pass by pass, written from its rule and not from our planner.
fn incumbent(enis: u32, per_eni: u32, knobs: Knobs, pods: u32) -> (Vec<u32>, u32) {
    let mut held = vec![0u32];
    let mut bound = 0;
    for pod in 0..=pods {
        loop {
            let total: u32 = held.iter().sum();
            let available = total - bound;
            let waiting = u32::from(pod > bound && available == 0);
            let targets = knobs.warm_ip > 0 || knobs.minimum_ip > 0;
            let warm_ip = knobs.warm_ip + waiting;
            let short = warm_ip.saturating_sub(available).max(knobs.minimum_ip.saturating_sub(total));
            let low = if targets {
                short > 0
            } else {
                available < knobs.warm_eni * per_eni || (knobs.warm_eni == 0 && available == 0)
            };
            if !low {
                break;
            }
            let want = if targets { short } else { per_eni };
            if let Some(eni) = held.iter_mut().find(|eni| **eni < per_eni) {
                *eni += want.min(per_eni - *eni);
            } else if u32::try_from(held.len()).is_ok_and(|held| held < enis) {
                held.push(want.min(per_eni));
            } else {
                break;
            }
        }
        let total: u32 = held.iter().sum();
        if bound < pods && bound < total {
            bound += 1;
        }
    }
    (held, bound)
}

#[test]
fn the_published_examples_hold() {
    for (knobs, per_eni) in [
        (Knobs { warm_eni: 1, ..Knobs::default() }, vec![3, 3, 3]),
        (Knobs { warm_ip: 2, minimum_ip: 5, ..Knobs::default() }, vec![3, 3, 1]),
    ] {
        let mut node = a_node("t3.small", knobs, Config::default());
        for pod in 0..5 {
            assert!(add_settled(&mut node, &format!("pod{pod}")).is_some());
        }
        assert_eq!(node.state().addresses_per_eni(), per_eni);
        check(&node);
        expect_converged(&mut node);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn growth_equals_the_incumbents(
        at in any::<prop::sample::Index>(),
        warm_eni in 0u32..4, warm_ip in 0u32..40, minimum_ip in 0u32..60, by_address in any::<bool>(), pods in 0u32..60,
    ) {
        let types: Vec<_> = enid_core::instance_types::all().filter(|kind| kind.max_enis() > 0).collect();
        let kind = at.get(&types);
        let knobs = if by_address { Knobs { warm_ip, minimum_ip, ..Knobs::default() } } else { Knobs { warm_eni, ..Knobs::default() } };
        let mut node = a_node_of(kind, knobs, Config::default());
        let mut placed = 0;
        for pod in 0..pods {
            // A pod beyond the node's capacity waits out its time and is refused.
            placed += u32::from(add_settled(&mut node, &format!("pod{pod}")).is_some());
        }
        // More pods than the budget has calls saved up: what it put off comes meanwhile.
        node.pass(Duration::from_secs(60));
        let (held, bound) = incumbent(kind.max_enis(), kind.slots_per_eni(), knobs, pods);
        prop_assert_eq!(node.state().addresses_per_eni(), held, "{} {:?} {} pods", &kind.name, knobs, pods);
        prop_assert_eq!(placed, bound);
        check(&node);
    }
}
