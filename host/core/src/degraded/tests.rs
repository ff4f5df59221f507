use proptest::prelude::*;

use super::*;
use Outcome::{Failed, Served};

fn at(secs: u64) -> Timestamp {
    Timestamp(1_000_000_000 + secs * 1000)
}

/// Outcomes, so many each, a second apart from `from` on; and the time after them.
fn told(health: &mut Health, from: u64, outcomes: &[(Outcome, u64)]) -> u64 {
    let mut secs = from;
    for (outcome, times) in outcomes {
        for _ in 0..*times {
            health.record(*outcome, at(secs));
            secs += 1;
        }
    }
    secs
}

#[test]
fn modes_are_entered_on_error_rate() {
    for (outcomes, mode, rate) in [
        (vec![], Degraded::No, 0),
        (vec![(Served, 50)], Degraded::No, 0),
        (vec![(Failed, 3)], Degraded::No, 1000),
        (vec![(Failed, 4)], Degraded::NoRelease, 1000),
        (vec![(Served, 13), (Failed, 4)], Degraded::No, 235),
        (vec![(Served, 12), (Failed, 4)], Degraded::NoRelease, 250),
        (vec![(Failed, 7)], Degraded::NoRelease, 1000),
        (vec![(Failed, 8)], Degraded::NoCalls, 1000),
        (vec![(Served, 3), (Failed, 11)], Degraded::NoRelease, 785),
        (vec![(Served, 3), (Failed, 12)], Degraded::NoRelease, 800),
        (vec![(Served, 22), (Failed, 89)], Degraded::NoRelease, 801),
        (vec![(Served, 22), (Failed, 91)], Degraded::NoCalls, 805),
    ] {
        let mut health = Health::new();
        let now = at(told(&mut health, 0, &outcomes));
        assert_eq!((health.mode(now), health.error_rate_milli(now)), (mode, rate), "{outcomes:?}");
    }
}

#[test]
fn modes_are_told_in_the_words_of_the_log() {
    let words = [Degraded::No, Degraded::NoRelease, Degraded::NoCalls].map(|mode| mode.to_string());
    assert_eq!(words, ["none", "no-release", "no-calls"]);
    for mode in [Degraded::No, Degraded::NoRelease, Degraded::NoCalls] {
        assert_eq!(serde_json::to_string(&mode).unwrap(), format!("\"{mode}\""));
    }
}

#[test]
fn only_silence_and_throttling_speak_against_ec2() {
    for (kind, outcome) in [
        (CloudErrorKind::Throttled, Some(Failed)),
        (CloudErrorKind::Unavailable, Some(Failed)),
        (CloudErrorKind::NoFreeAddresses, Some(Served)),
        (CloudErrorKind::Denied, Some(Served)),
        (CloudErrorKind::Rejected, Some(Served)),
        (CloudErrorKind::NotAsked, None),
    ] {
        assert_eq!(Outcome::of(kind), outcome, "{kind}");
    }
}

#[test]
fn giving_back_begins_again_well_below_the_rate_at_which_it_stopped() {
    let mut health = Health::new();
    let secs = told(&mut health, 0, &[(Failed, 4)]);
    assert_eq!(health.since(), at(3));
    // 36 answers bring the rate down to a tenth, one more below it.
    let secs = told(&mut health, secs, &[(Served, 36)]);
    assert_eq!((health.mode(at(secs)), health.error_rate_milli(at(secs))), (Degraded::NoRelease, 100));
    let secs = told(&mut health, secs, &[(Served, 1)]);
    assert_eq!((health.mode(at(secs)), health.since()), (Degraded::No, at(secs - 1)));
}

#[test]
fn silence_ends_no_release_when_the_failures_no_longer_count() {
    let mut health = Health::new();
    told(&mut health, 0, &[(Failed, 5)]);
    let end = at(120);
    assert_eq!(health.next_change(at(10)), Some(end));
    assert_eq!((health.mode(Timestamp(end.0 - 1)), health.mode(end)), (Degraded::NoRelease, Degraded::No));
    health.age(at(500));
    assert_eq!((health.since(), health.next_change(at(500))), (end, None));
}

#[test]
fn only_an_answer_ends_no_calls() {
    let mut health = Health::new();
    told(&mut health, 0, &[(Failed, 8)]);
    assert_eq!(health.mode(at(100_000)), Degraded::NoCalls);
    assert_eq!(health.next_change(at(100_000)), None);
    health.record(Served, at(100_000));
    // One answer is no proof: growth goes on, giving back a little later.
    assert_eq!(health.mode(at(100_000)), Degraded::NoRelease);
    assert_eq!(health.next_change(at(100_000)), Some(at(100_030)));
    assert_eq!(health.mode(at(100_030)), Degraded::No);
}

#[test]
fn one_answer_buys_a_minute_and_a_half_of_calls() {
    let mut health = Health::new();
    let secs = told(&mut health, 0, &[(Failed, 20), (Served, 1)]);
    assert_eq!(health.mode(at(secs)), Degraded::NoRelease);
    let answered = secs - 1;
    told(&mut health, secs, &[(Failed, 89)]);
    assert_eq!(health.mode(at(answered + 89)), Degraded::NoRelease);
    health.record(Failed, at(answered + 90));
    assert_eq!(health.mode(at(answered + 90)), Degraded::NoCalls);
    assert_eq!(health.probe_at(at(answered + 90)), at(answered + 120));
}

#[test]
fn probes_go_rarer_and_rarer_but_never_rarer_than_every_two_minutes() {
    let mut health = Health::new();
    assert_eq!(health.probe_at(at(3)), at(3), "nothing to probe for");
    told(&mut health, 0, &[(Failed, 8)]);
    // Calls that were under way when calling stopped.
    told(&mut health, 8, &[(Failed, 2)]);
    let mut now = at(9);
    for wait in [30, 60, 120, 120, 120] {
        let probe = health.probe_at(now);
        assert_eq!(probe.since(now), Duration::from_secs(wait));
        health.record(Failed, probe);
        now = probe;
    }
    health.record(Served, now);
    told(&mut health, (now.0 - at(0).0) / 1000, &[(Failed, 100)]);
    let stopped = health.since();
    assert_eq!(health.mode(stopped), Degraded::NoCalls);
    assert!(
        health.probe_at(stopped).since(stopped) < Duration::from_secs(80),
        "counted from the start again"
    );
}

proptest! {
    /// With EC2 well again and asked when it may be asked, everything is done again within two and a half
    /// minutes of the last failure; the mode is never anything that asking in between would change.
    #[test]
    fn it_always_ends(
        outcomes in prop::collection::vec((prop::bool::weighted(0.6), 0..20_000u64), 0..200),
        asked_between in any::<bool>(),
    ) {
        let (mut health, mut quiet) = (Health::new(), Health::new());
        let mut now = at(0);
        for (failed, pause) in outcomes {
            let outcome = if failed { Failed } else { Served };
            health.record(outcome, now);
            quiet.record(outcome, now);
            prop_assert!(health.counts.len() <= 25);
            for step in 0..5 {
                let between = Timestamp(now.0 + pause * step / 5);
                if asked_between {
                    health.age(between);
                }
                prop_assert_eq!(health.mode(between), quiet.mode(between));
                if let Some(change) = quiet.next_change(between) {
                    prop_assert_eq!(quiet.mode(Timestamp(change.0 - 1)), quiet.mode(between));
                    prop_assert_ne!(quiet.mode(change), quiet.mode(between));
                }
            }
            now = Timestamp(now.0 + pause);
        }
        let probe = health.probe_at(now).max(now);
        prop_assert!(probe.since(now) <= LAST_PROBE);
        health.record(Served, probe);
        let well = probe + Duration::from_millis(WINDOW) + CAUTIOUS_FOR;
        prop_assert_ne!(health.mode(probe), Degraded::NoCalls);
        prop_assert_eq!(health.mode(well), Degraded::No);
    }

    /// Outcomes of a clock that goes to and fro are counted, in bounded memory.
    #[test]
    fn any_clock_will_do(outcomes in prop::collection::vec((any::<bool>(), any::<u64>()), 0..100)) {
        let mut health = Health::new();
        for (failed, now) in outcomes {
            health.record(if failed { Failed } else { Served }, Timestamp(now));
            health.age(Timestamp(now / 2));
            let _ = (health.mode(Timestamp(now)), health.probe_at(Timestamp(now)), health.next_change(Timestamp(0)));
            prop_assert!(health.counts.len() <= 25);
        }
    }
}
