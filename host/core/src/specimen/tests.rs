//! Specimens are questions that the host could ask, and reach all bounds.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::limits::{Mode, PREFIX_ADDRESSES};
use crate::snapshot::{
    EniPhase, MAX_BLOCKS, MAX_ENIS, MAX_HISTORY, MAX_SUBNETS, SubnetUse, WarmPoolSnapshot,
};
use crate::{admission, builtin, instance_types};

const SEEDS: u64 = 2000;

/// Every corner and so many random questions, each with a name.
fn specimens(kind: Kind) -> impl Iterator<Item = (String, Snapshot)> {
    let corners = corners(kind).into_iter().map(|(name, snapshot)| (name.to_owned(), snapshot));
    corners.chain((0..SEEDS).map(move |seed| (format!("seed {seed}"), random(kind, seed))))
}

#[test]
fn corners_have_names_of_their_own() {
    for kind in Kind::ALL {
        let corners = corners(kind);
        let names: BTreeSet<&str> = corners.iter().map(|(name, _)| *name).collect();
        assert_eq!(names.len(), corners.len(), "{kind}");
        let kebab = |name: &str| name.chars().all(|c| c.is_ascii_lowercase() || c == '-');
        assert!(names.iter().all(|name| kebab(name)), "{names:?}");
        let shown: BTreeSet<String> = corners.iter().map(|(_, snapshot)| snapshot.to_json()).collect();
        assert_eq!(shown.len(), corners.len(), "{kind}: two corners ask the same");
    }
}

#[test]
fn the_same_seed_asks_the_same_and_others_ask_other_questions() {
    for kind in Kind::ALL {
        assert_eq!(random(kind, 42), random(kind, 42));
        let different: BTreeSet<String> = (0..200).map(|seed| random(kind, seed).to_json()).collect();
        assert_eq!(different.len(), 200, "{kind}");
    }
}

#[test]
fn all_named_types_are_in_the_table() {
    for name in max_pods::TYPES {
        assert!(instance_types::lookup(name).is_some(), "{name}");
    }
}

#[test]
fn the_built_in_rules_answer_every_specimen_admissibly() {
    for kind in Kind::ALL {
        for (name, snapshot) in specimens(kind) {
            let refused = match &snapshot {
                Snapshot::WarmPool(s) => admission::admit_warm_pool(s, builtin::warm_pool(s)).err(),
                Snapshot::MaxPods(s) => admission::admit_max_pods(s, builtin::max_pods(s)).err(),
                Snapshot::SubnetSelection(s) => admission::admit_subnets(s, builtin::subnets(s)).err(),
            };
            assert_eq!(refused, None, "{kind}, {name}");
        }
    }
}

#[test]
fn every_specimen_is_a_question_that_the_host_could_ask() {
    for kind in Kind::ALL {
        for (name, snapshot) in specimens(kind) {
            let mut wrong = Vec::new();
            judge(&snapshot, &mut wrong);
            assert!(wrong.is_empty(), "{kind}, {name}: {wrong:?}\n{}", snapshot.to_json());
        }
    }
}

#[test]
fn chance_reaches_both_modes_every_phase_and_every_bound() {
    let mut seen = BTreeMap::<&str, u32>::new();
    for seed in 0..SEEDS {
        let Snapshot::WarmPool(s) = random(Kind::WarmPool, seed) else { panic!("another kind") };
        let free: u32 = s.enis.iter().map(|eni| eni.free).sum();
        let facts = [
            ("secondary", s.mode == Mode::SecondaryIp),
            ("prefix", s.mode == Mode::Prefix),
            ("no eni", s.enis.is_empty()),
            ("no eni allowed", s.limits.max_enis == 0),
            ("coming", s.enis.iter().any(|eni| eni.phase == EniPhase::Coming)),
            ("leaving", s.enis.iter().any(|eni| eni.phase == EniPhase::Leaving)),
            ("nothing free", !s.enis.is_empty() && free == 0),
            ("no subnet", s.subnets.is_empty()),
            ("most subnets", s.subnets.len() == MAX_SUBNETS),
            ("most blocks", s.blocks.len() == MAX_BLOCKS),
            ("most history", s.history.len() == MAX_HISTORY),
            ("waiting", s.pods.waiting > 0),
            ("throttled", s.pressure.throttled),
            ("hints", !s.context.hints.is_empty()),
            ("unlisted subnet", s.enis.iter().any(|eni| eni.subnet == u16::MAX)),
        ];
        for (fact, holds) in facts {
            *seen.entry(fact).or_default() += u32::from(holds);
        }
    }
    assert!(seen.values().all(|times| *times >= 5), "{seen:?}");
    let lengths = |corner: &str| match corners(Kind::WarmPool).into_iter().find(|(name, _)| *name == corner) {
        Some((_, Snapshot::WarmPool(s))) => (s.enis.len(), s.blocks.len(), s.history.len(), s.subnets.len()),
        other => panic!("{other:?}"),
    };
    assert_eq!(lengths("longest-lists"), (MAX_ENIS, MAX_BLOCKS, MAX_HISTORY, MAX_SUBNETS));
}

/// Notes everything that no host would send.
fn judge(snapshot: &Snapshot, wrong: &mut Vec<String>) {
    let mut must = |holds: bool, what: String| {
        if !holds {
            wrong.push(what);
        }
    };
    must(snapshot.check_lengths().is_ok(), format!("{:?}", snapshot.check_lengths()));
    let context = snapshot.context();
    must(context.now_ms < END_OF_TIME_MS, "time".to_owned());
    must(context.wall_secs == context.now_ms / 1000, "the clocks differ".to_owned());
    must(context.settings.is_empty() && context.state.is_empty(), "settings or state".to_owned());
    let keys: BTreeSet<&str> = context.hints.iter().map(|hint| hint.key.as_str()).collect();
    must(keys.len() == context.hints.len(), "a hint twice".to_owned());
    match snapshot {
        Snapshot::WarmPool(snapshot) => {
            judge_subnets(&snapshot.subnets, &mut must);
            judge_node(snapshot, &mut must);
        }
        Snapshot::MaxPods(_) => {}
        Snapshot::SubnetSelection(snapshot) => judge_subnets(&snapshot.candidates, &mut must),
    }
}

fn judge_subnets(subnets: &[SubnetUse], must: &mut impl FnMut(bool, String)) {
    must(subnets.iter().filter(|subnet| subnet.primary).count() <= 1, "two primary subnets".to_owned());
    for (index, subnet) in subnets.iter().enumerate() {
        must(subnet.free + subnet.in_flight <= subnet.total, format!("subnet {index}: free"));
        must(subnet.free_blocks == subnet.free / PREFIX_ADDRESSES, format!("subnet {index}: blocks"));
    }
}

fn judge_node(node: &WarmPoolSnapshot, must: &mut impl FnMut(bool, String)) {
    let limits = node.limits;
    let per_slot = if node.mode == Mode::Prefix { PREFIX_ADDRESSES } else { 1 };
    must(limits.addresses_per_slot == per_slot, "addresses per slot".to_owned());
    must(node.mode == Mode::SecondaryIp || limits.prefixes, "prefixes on a type without".to_owned());
    let seats: Vec<_> = node.enis.iter().map(|eni| (eni.card, eni.slot)).collect();
    must(seats.is_sorted() && seats.windows(2).all(|two| two[0] != two[1]), "slots".to_owned());
    let mut blocks_by_slot = BTreeMap::<u16, (u32, u32, u32)>::new();
    for block in &node.blocks {
        must(block.bound + block.cooling <= 16, format!("block on {}", block.slot));
        let sums = blocks_by_slot.entry(block.slot).or_default();
        *sums = (sums.0 + 1, sums.1 + u32::from(block.bound), sums.2 + u32::from(block.cooling));
    }
    let held: u32 = node.enis.iter().map(|eni| eni.prefixes).sum();
    let all_listed = usize::try_from(held).is_ok_and(|held| held == node.blocks.len());
    must(all_listed || node.blocks.len() == MAX_BLOCKS, "blocks are missing".to_owned());
    for eni in &node.enis {
        let mut must = |holds, what: &str| must(holds, format!("eni {}: {what}", eni.slot));
        must(eni.primary == (eni.slot == 0), "primary");
        must(!eni.primary || eni.phase == EniPhase::Ready, "the primary never leaves");
        must(eni.free + eni.bound + eni.cooling <= eni.assigned, "sum");
        must(eni.assigned <= eni.capacity, "capacity");
        must(eni.capacity == limits.slots_per_eni * limits.addresses_per_slot, "slots");
        must(eni.idle_ms <= eni.age_ms && eni.age_ms <= node.context.now_ms, "age");
        must(eni.phase != EniPhase::Coming || eni.assigned == 0, "not in service and has addresses");
        must(eni.phase != EniPhase::Leaving || eni.bound == 0, "leaves with pods");
        match node.mode {
            Mode::SecondaryIp => must(eni.prefixes == 0, "prefixes"),
            Mode::Prefix => must(eni.assigned == eni.prefixes * PREFIX_ADDRESSES, "prefixes"),
        }
        let subnet = node.subnets.get(usize::from(eni.subnet));
        must(subnet.is_some() || eni.subnet == u16::MAX, "subnet");
        must(!eni.primary || subnet.is_none_or(|subnet| subnet.primary), "the primary's subnet");
        if all_listed && node.mode == Mode::Prefix {
            let sums = blocks_by_slot.get(&eni.slot).copied().unwrap_or_default();
            must(sums == (eni.prefixes, eni.bound, eni.cooling), "its blocks");
        }
    }
    for (index, subnet) in node.subnets.iter().enumerate() {
        let enis = node.enis.iter().filter(|eni| usize::from(eni.subnet) == index).count();
        must(usize::try_from(subnet.enis).is_ok_and(|n| n == enis), format!("subnet {index}: enis"));
    }
    let coming = node.enis.iter().filter(|eni| eni.phase == EniPhase::Coming).count();
    must(
        usize::try_from(node.pressure.in_flight_enis).is_ok_and(|n| n >= coming),
        "enis in flight".to_owned(),
    );
    let bound: u32 = node.enis.iter().map(|eni| eni.bound).sum();
    must(bound == node.pods.bound, "bound pods".to_owned());
    for bucket in &node.history {
        must(bucket.waited <= bucket.added && bucket.failed <= bucket.added, "history".to_owned());
    }
}
