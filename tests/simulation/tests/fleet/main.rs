//! A hundred daemons and one account: what they ask of EC2 together, and what they leave behind.
#![expect(clippy::unwrap_used, reason = "a test that cannot arrange its world fails")]

mod account;
mod town;
mod trouble;

use std::time::Duration;

use enid_core::ids::InstanceId;
use simulation::{Knobs, say};

use account::{Use, by_api, uses};
use town::Town;

const HOUR: Duration = Duration::from_secs(3600);
/// The incumbent's default: a whole ENI spare.
const DEFAULT: Knobs = Knobs {
    warm_eni: 1,
    warm_ip: 0,
    minimum_ip: 0,
    warm_prefix: 0,
    placement: enid_core::proposal::Placement::Pack,
};

/// What a fleet asked of each class, said and returned.
fn measured(town: &mut Town, what: &str) -> Vec<Use> {
    let calls = town.calls();
    let throttled = calls.iter().filter(|made| made.throttled).count();
    say(format_args!(
        "{what}: {} nodes, {throttled} calls throttled, {:?}",
        town.instances.len(),
        by_api(&calls)
    ));
    let uses = uses(&calls, &town.shared());
    for Use { class, calls, peaks: [second, ten], burst, burst_used } in &uses {
        let (whole, part) = (burst_used / 1000, burst_used % 1000);
        say(format_args!(
            "{what}: {}: {calls} calls, at most {second} in 1 s and {ten} in 10 s; {whole}.{part:03} of a burst of {} used",
            class.name(),
            burst / 1000
        ));
    }
    assert_eq!(throttled, 0, "{what}: the account's limits are never reached");
    uses
}

/// Fails when EC2 throttled, or when any window of any length has more calls of a class than the configured share.
fn within_share(town: &mut Town, what: &str) {
    for Use { class, burst, burst_used, .. } in measured(town, what) {
        assert!(burst_used <= burst, "{what}: {} exceeds the configured share", class.name());
    }
}

#[test]
fn a_hundred_nodes_and_three_thousand_pods_come_within_the_share() {
    for seed in 1..=4 {
        let what = format!("scale-out {seed}");
        let mut town = Town::new(seed, 100, 500, DEFAULT);
        town.scale_out(30);
        let begin = town.fleet.now();
        let all = town.pass_until(begin + HOUR, |town| town.taken.len() == 3000);
        let (bound, took, put_off) = (town.taken.len(), town.last_bound.since(begin), town.put_off);
        say(format_args!("{what}: {bound} pods have an address after {took:?}; {put_off} ADDs were put off"));
        assert!(all, "{what}: every pod has its address: {bound}");
        town.pass(Duration::from_secs(600));
        town.check();
        within_share(&mut town, &what);
        assert_eq!(town.unattached(), [], "every ENI has its node");
    }
}

/// Few enough nodes for a token each.
#[test]
fn a_small_fleet_bursts_within_the_share() {
    for (seed, nodes, share_milli) in [(1, 10, 500), (2, 20, 800), (3, 24, 500)] {
        let what = format!("burst {seed}");
        let mut town = Town::new(seed, nodes, share_milli, DEFAULT);
        town.scale_out(50);
        let begin = town.fleet.now();
        let pods = 50 * town.instances.len();
        assert!(town.pass_until(begin + HOUR, |town| town.taken.len() == pods));
        say(format_args!("{what}: {pods} pods have an address after {:?}", town.last_bound.since(begin)));
        town.pass(Duration::from_secs(600));
        town.check();
        within_share(&mut town, &what);
    }
}

/// Nobody tells these nodes how many they are, except the Kubernetes API, a moment after they start.
#[test]
fn a_hundred_nodes_that_are_counted_come_within_the_share() {
    let what = "counted scale-out";
    let mut town = Town::new(1, 100, 500, DEFAULT);
    (town.config.budget.nodes, town.config.expects_count) = (10, true);
    town.counted_after = Some(Duration::from_millis(100));
    town.scale_out(30);
    let begin = town.fleet.now();
    assert!(town.pass_until(begin + HOUR, |town| town.taken.len() == 3000));
    town.pass(Duration::from_secs(600));
    town.check();
    within_share(&mut town, what);
}

/// The API counts those that have registered; the operator has stated how many there may be.
#[test]
fn a_hundred_nodes_that_are_counted_while_they_come_are_within_the_share_that_was_planned() {
    let mut town = Town::new(2, 100, 500, DEFAULT);
    town.config.expects_count = true;
    town.counted_after = Some(Duration::from_millis(100));
    town.count_those_that_run = true;
    town.scale_out(30);
    let begin = town.fleet.now();
    assert!(town.pass_until(begin + HOUR, |town| town.taken.len() == 3000));
    town.check();
    within_share(&mut town, "planned scale-out");
}

#[test]
fn a_fleet_of_nodes_that_believe_themselves_alone_is_found_out() {
    let mut town = Town::new(1, 30, 500, DEFAULT);
    town.config.budget.nodes = 1;
    town.scale_out(30);
    town.pass(Duration::from_secs(60));
    let uses = uses(&town.calls(), &town.shared());
    let exceeded = uses.iter().filter(|used| used.class.is_mutating() && used.burst_used > used.burst);
    assert!(exceeded.count() >= 2, "{uses:?}");
}

#[test]
fn a_fleet_that_is_halved_while_it_grows_leaves_no_eni_behind() {
    for seed in 1..=2 {
        let what = format!("scale-in {seed}");
        let mut town = Town::new(seed, 100, 500, DEFAULT);
        town.scale_out(30);
        let begin = town.fleet.now();
        assert!(town.pass_until(begin + HOUR, |town| town.taken.len() >= 2000));
        let leaving: Vec<InstanceId> = town.instances.iter().step_by(2).cloned().collect();
        town.terminate(&leaving);
        town.pass(Duration::from_secs(15));
        let orphans = town.unattached().len();
        assert!(town.pass_until(begin + HOUR, |town| town.taken.len() == 30 * town.staying().count()));
        say(format_args!("{what}: {orphans} ENIs without a node; {} pods have an address", town.taken.len()));
        assert!(orphans > 0, "some nodes ended in the middle of it");

        let ended = town.fleet.now();
        let clean = town.pass_until(ended + 12 * HOUR, |town| town.unattached().is_empty());
        let took = town.fleet.now().since(ended);
        say(format_args!("{what}: no ENI without a node after {took:?} and {} looks", town.sweeps));
        assert!(clean, "{:?}", town.unattached());
        town.check();
        within_share(&mut town, &what);
        let staying: Vec<&InstanceId> = town.staying().collect();
        let strange = town
            .fleet
            .ec2
            .interfaces()
            .filter(|eni| eni.attachment.as_ref().is_none_or(|at| !staying.contains(&&at.instance)));
        assert_eq!(strange.count(), 0, "every ENI is a living node's");
    }
}

#[test]
fn looking_for_enis_without_a_node_costs_a_cluster_the_same_whatever_its_size() {
    let hours = 2;
    for nodes in [10, 100] {
        let mut town = Town::new(1, nodes, 500, DEFAULT);
        town.scale_out(5);
        town.pass(Duration::from_secs(1200));
        town.calls();
        town.sweeps = 0;
        town.pass(hours * HOUR);
        let (calls, sweeps) = (town.calls(), town.sweeps);
        say(format_args!(
            "sweeping: {nodes} nodes look for ENIs without one {sweeps} times in {hours} hours; {:?}",
            by_api(&calls)
        ));
        let sweeps = u32::try_from(sweeps).unwrap();
        // Six an hour on average.
        assert!(
            (2 * hours..=12 * hours).contains(&sweeps),
            "{sweeps} looks by {nodes} nodes in {hours} hours"
        );
        let uses = uses(&calls, &town.shared());
        assert!(uses.iter().all(|used| !used.class.is_mutating()), "an idle fleet changes nothing: {uses:?}");
    }
}
