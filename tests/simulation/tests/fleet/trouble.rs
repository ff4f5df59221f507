//! Fleets in trouble: daemons that die, an account that others use up, an EC2 that does not answer.

use std::collections::BTreeMap;
use std::time::Duration;

use enid_sim::ec2::call::Call;
use enid_sim::ec2::fault::{Fault, FaultKind};
use enid_sim::ec2::refusal::Code;
use enid_sim::ec2::throttle::{Bucket, Rate, Throttling};
use simulation::say;

use crate::account::by_api;
use crate::town::Town;
use crate::{DEFAULT, HOUR, within_share};

#[test]
fn daemons_that_keep_dying_stay_within_the_share() {
    for (seed, nodes, pods) in [(1, 100, 30), (2, 24, 50)] {
        let what = format!("dying {seed}");
        let mut town = Town::new(seed, nodes, 500, DEFAULT);
        town.scale_out(pods);
        let begin = town.fleet.now();
        town.pass(Duration::from_secs(6));
        let mut deaths = 0;
        while town.fleet.now() < begin + Duration::from_secs(120) {
            town.pass(Duration::from_millis(100));
            let dying = town.instances[deaths * 7 % town.instances.len()].clone();
            town.crash(&dying);
            deaths += 1;
        }
        let pods = usize::try_from(nodes * pods).unwrap();
        assert!(town.pass_until(begin + HOUR, |town| town.taken.len() == pods), "{}", town.taken.len());
        say(format_args!(
            "{what}: {pods} pods have an address after {:?} and {deaths} deaths",
            town.last_bound.since(begin)
        ));
        town.pass(Duration::from_secs(600));
        town.check();
        within_share(&mut town, &what);
    }
}

/// The account's buckets hold much less than documented, because others draw on them too: a fleet cannot know that
/// before it is throttled.
#[test]
fn a_fleet_in_a_busy_account_slows_down_and_comes_through() {
    let mut town = Town::new(1, 20, 500, DEFAULT);
    let scarce = Rate { burst: 10, per_second: 1 };
    let buckets = [Bucket::CreateNetworkInterface, Bucket::Mutating, Bucket::AssignPrivateIpAddresses];
    let scarce: BTreeMap<Bucket, Rate> = buckets.map(|bucket| (bucket, scarce)).into();
    town.fleet.ec2.set_throttling(Throttling::Custom(scarce));
    town.scale_out(50);
    let begin = town.fleet.now();
    let all = town.pass_until(begin + HOUR, |town| town.taken.len() == 1000);
    let calls = town.calls();
    let throttled = calls.iter().filter(|made| made.throttled).count();
    say(format_args!(
        "busy account: {} pods have an address after {:?}; {throttled} of {} calls throttled; {:?}",
        town.taken.len(),
        town.last_bound.since(begin),
        calls.len(),
        by_api(&calls)
    ));
    assert!(all && throttled > 0);
    // Each call that must be made is refused a few times at most before it is granted.
    let granted = calls.len() - throttled;
    assert!(throttled < granted, "{throttled} of {}", calls.len());
    town.pass(Duration::from_secs(900));
    town.check();
}

#[test]
fn a_fleet_without_ec2_hardly_calls_and_comes_back_within_its_share() {
    let mut town = Town::new(1, 100, 500, DEFAULT);
    town.scale_out(30);
    let begin = town.fleet.now();
    assert!(town.pass_until(begin + HOUR, |town| town.taken.len() >= 1000));
    let away = Fault { call: None, times: u32::MAX, kind: FaultKind::Error(Code::InternalError) };
    town.fleet.ec2.inject(away).unwrap();
    town.pass(Duration::from_secs(600));
    within_share(&mut town, "outage begins");
    town.pass(Duration::from_secs(1200));
    let calls = town.calls();
    say(format_args!("outage: in twenty minutes {} nodes make {:?}", town.instances.len(), by_api(&calls)));
    assert!(calls.iter().all(|made| made.call == Call::DescribeNetworkInterfaces), "probes and nothing else");
    assert!(
        (900..=1200).contains(&calls.len()),
        "{} probes, one of each node every two minutes",
        calls.len()
    );

    town.fleet.ec2.clear_faults();
    let back = town.fleet.now();
    assert!(town.pass_until(back + HOUR, |town| town.taken.len() == 3000), "{}", town.taken.len());
    say(format_args!("outage: the last pod has its address {:?} after its end", town.last_bound.since(back)));
    town.pass(Duration::from_secs(600));
    town.check();
    within_share(&mut town, "outage over");
}
