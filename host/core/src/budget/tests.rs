use proptest::prelude::*;

use super::*;

/// Some day, so that no slot is before the beginning of time.
const DAWN: Timestamp = Timestamp(1_795_219_200_000);

/// A hash of the instance id of the `number`th node of a fleet; such ids are 17 hexadecimal digits that have
/// nothing to do with each other.
fn seed(fleet: u64, number: u32) -> u64 {
    let id = format!("i-0{:016x}", mixed(mixed(fleet) ^ u64::from(number)));
    id.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

fn config(share_milli: u32, nodes: u32) -> BudgetConfig {
    BudgetConfig { share_milli, nodes, ..BudgetConfig::default() }
}

fn fleet(config: &BudgetConfig, fleet: u64, now: Timestamp) -> Vec<Budget> {
    (0..config.nodes).map(|number| Budget::new(config.clone(), seed(fleet, number), now)).collect()
}

/// Whether in every window of any length `T` there are at most share × burst + share × rate × (T + `slack`)
/// calls. A bucket with just that never runs dry exactly then, so that no window has to be looked at.
fn within(config: &BudgetConfig, class: Class, mut calls: Vec<u64>, slack: u64) -> bool {
    calls.sort_unstable();
    let limit = config.limit(class);
    let share = u64::from(config.share_milli);
    let refill = share * u64::from(limit.per_second);
    let full = share * u64::from(limit.burst) * 1000 + refill * slack;
    let (mut left, mut at) = (full, 0);
    calls.into_iter().all(|call| {
        left = (left + refill * (call - at)).min(full);
        at = call;
        let enough = left >= 1_000_000;
        left = left.saturating_sub(1_000_000);
        enough
    })
}

/// Every node of a fleet calls whenever it may from `from` to `until`, each time `late` milliseconds late.
fn greedy(
    budgets: &mut [Budget],
    class: Class,
    from: Timestamp,
    until: Timestamp,
    mut late: impl FnMut() -> u64,
) -> Vec<u64> {
    let mut calls = Vec::new();
    for budget in budgets {
        let mut now = from;
        loop {
            let ready = budget.ready_at(class, Priority::Pod, now);
            now = Timestamp(ready.max(now).0 + late());
            if now > until {
                break;
            }
            if budget.ready_at(class, Priority::Pod, now) <= now {
                budget.spend(class, now);
                calls.push(now.0);
            }
        }
    }
    calls
}

#[test]
fn what_may_share_a_bucket_at_ec2_is_one_class() {
    for (api, class) in [
        (Api::AssignIpv6Addresses, Some(Class::Ipv6Addresses)),
        (Api::AssignPrivateIpAddresses, Some(Class::Addresses)),
        (Api::AttachNetworkInterface, Some(Class::Mutation)),
        (Api::CreateNetworkInterface, Some(Class::Interfaces)),
        (Api::DeleteNetworkInterface, Some(Class::Interfaces)),
        (Api::DescribeNetworkInterfaces, Some(Class::Describe)),
        (Api::DescribeSubnets, Some(Class::Describe)),
        (Api::DetachNetworkInterface, Some(Class::Mutation)),
        (Api::Metadata, None),
        (Api::ModifyNetworkInterfaceAttribute, Some(Class::Attributes)),
        (Api::UnassignPrivateIpAddresses, Some(Class::Addresses)),
    ] {
        assert_eq!(Class::of(api), class, "{api:?}");
    }
    for (place, class) in Class::ALL.into_iter().enumerate() {
        assert_eq!(index(class), place);
        assert_eq!(class.is_mutating(), class != Class::Describe);
    }
}

#[test]
fn a_lone_node_has_half_of_the_documented_limits_unless_told_otherwise() {
    let budget = Budget::new(BudgetConfig::default(), 7, DAWN);
    let level = |class| {
        let Level { tokens_milli, capacity_milli, per_second_milli, rate_milli } = budget.level(class, DAWN);
        (tokens_milli, capacity_milli, per_second_milli, rate_milli)
    };
    assert_eq!(level(Class::Describe), (50_000, 50_000, 10_000, 1000));
    assert_eq!(level(Class::Mutation), (25_000, 25_000, 2_500, 1000));
    for class in [Class::Interfaces, Class::Addresses, Class::Ipv6Addresses, Class::Attributes] {
        assert_eq!(level(class), (50_000, 50_000, 2_500, 1000), "{class:?}");
    }
    let raised = Limit { burst: 400, per_second: 40 };
    let config = BudgetConfig { limits: [(Class::Mutation, raised)].into(), ..config(1000, 4) };
    assert_eq!(Budget::new(config, 7, DAWN).level(Class::Mutation, DAWN).capacity_milli, 100_000);
}

#[test]
fn the_less_urgent_leave_tokens_for_the_more_urgent() {
    let mut budget = Budget::new(BudgetConfig::default(), 7, DAWN);
    let mut made = [0; 3];
    for (made, priority) in made.iter_mut().zip([Priority::Spare, Priority::Stock, Priority::Pod]) {
        while budget.ready_at(Class::Mutation, priority, DAWN) <= DAWN {
            budget.spend(Class::Mutation, DAWN);
            *made += 1;
        }
    }
    // Of 25: one more may be spent as long as 13, 7 and 1 are there.
    assert_eq!(made, [13, 6, 6]);
    assert_eq!(budget.left_milli(DAWN), 0);
    assert_eq!(budget.ready_at(Class::Mutation, Priority::Pod, DAWN), DAWN + Duration::from_millis(400));
    assert_eq!(budget.ready_at(Class::Mutation, Priority::Stock, DAWN), DAWN + Duration::from_millis(2_800));
}

#[test]
fn what_is_left_is_told_of_the_scarcest_mutating_class() {
    let mut budget = Budget::new(BudgetConfig::default(), 7, DAWN);
    for _ in 0..40 {
        budget.spend(Class::Describe, DAWN);
    }
    assert_eq!(budget.left_milli(DAWN), 1000, "looking takes nothing from anybody's growth");
    for _ in 0..10 {
        budget.spend(Class::Mutation, DAWN);
    }
    assert_eq!(budget.left_milli(DAWN), 600);
}

#[test]
fn calls_made_without_asking_are_owed_but_not_for_ever() {
    let mut budget = Budget::new(BudgetConfig::default(), 7, DAWN);
    for _ in 0..30 {
        budget.spend(Class::Mutation, DAWN);
    }
    assert_eq!(budget.level(Class::Mutation, DAWN).tokens_milli, -5_000);
    assert_eq!(budget.ready_at(Class::Mutation, Priority::Pod, DAWN), DAWN + Duration::from_millis(2_400));
    for _ in 0..1_000 {
        budget.spend(Class::Mutation, DAWN);
    }
    assert_eq!(budget.ready_at(Class::Mutation, Priority::Pod, DAWN), DAWN + Duration::from_millis(10_400));
}

#[test]
fn throttling_halves_the_rate_which_comes_back_by_tenths() {
    let mut budget = Budget::new(BudgetConfig::default(), 7, DAWN);
    budget.throttled(Class::Mutation, DAWN);
    let level = budget.level(Class::Mutation, DAWN);
    assert_eq!((level.tokens_milli, level.per_second_milli, level.rate_milli), (0, 1_250, 500));
    assert_eq!(budget.ready_at(Class::Mutation, Priority::Pod, DAWN), DAWN + Duration::from_millis(800));
    assert_eq!(budget.level(Class::Interfaces, DAWN).tokens_milli, 50_000, "the others go on");
    let rate = |budget: &Budget, secs: u64| {
        budget.level(Class::Mutation, DAWN + Duration::from_secs(secs)).rate_milli
    };
    assert_eq!([29, 30, 60, 149, 150].map(|secs| rate(&budget, secs)), [500, 600, 700, 900, 1000]);
    // 29 seconds at a half and one at six tenths of 2.5 a second.
    let after = budget.level(Class::Mutation, DAWN + Duration::from_secs(31)).tokens_milli;
    assert_eq!(after, 25_000, "no more than it holds");
    for _ in 0..20 {
        budget.throttled(Class::Mutation, DAWN);
    }
    assert_eq!([0, 30, 300].map(|secs| rate(&budget, secs)), [31, 131, 1000]);
    // 30 seconds at 0.0775 a second bring 2.325 tokens.
    let at = |secs: u64| budget.level(Class::Mutation, DAWN + Duration::from_secs(secs)).tokens_milli;
    assert_eq!((at(30), at(40)), (2_325, 5_600));
}

#[test]
fn a_node_with_slots_calls_once_in_each() {
    let config = config(500, 100);
    let mut budget = Budget::new(config, seed(1, 1), DAWN);
    assert_eq!(budget.level(Class::Mutation, DAWN).capacity_milli, 1000);
    let calls = greedy(
        std::slice::from_mut(&mut budget),
        Class::Mutation,
        DAWN,
        DAWN + Duration::from_secs(3600),
        || 0,
    );
    assert_eq!(calls.len(), 90, "a hundred nodes at 2.5 a second");
    assert!(calls.windows(2).all(|pair| pair[1] - pair[0] == 40_000), "{calls:?}");
    // One that restarts, or that slept for a day, finds its slot where it was.
    let later = DAWN + Duration::from_secs(86_400 + 7);
    let mut fresh = Budget::new(self::config(500, 100), seed(1, 1), later);
    let first = greedy(
        std::slice::from_mut(&mut fresh),
        Class::Mutation,
        later,
        later + Duration::from_secs(60),
        || 0,
    );
    assert_eq!((first[0] - calls[0]) % 40_000, 0);
}

#[test]
fn the_calls_that_bring_addresses_fit_into_one_period() {
    for nodes in [100, 500] {
        for number in 0..100 {
            let budget = Budget::new(config(500, nodes), seed(2, number), DAWN);
            let slots = Part::of(&config(500, nodes), Class::Addresses, seed(2, number)).slots.unwrap();
            let later = slots.next(DAWN + Duration::from_secs(3600));
            let assigned = Timestamp(later.0 - slots.into(later));
            let created = budget.ready_at(Class::Interfaces, Priority::Pod, assigned);
            let attached = budget.ready_at(Class::Mutation, Priority::Pod, created);
            let marked = budget.ready_at(Class::Attributes, Priority::Stock, attached);
            let after = [created, attached, marked].map(|at| at.since(assigned).as_millis());
            assert_eq!(after, [1_500, 3_500, 12_000]);
        }
    }
}

#[test]
fn a_fleet_with_slots_stays_within_its_share_when_all_wake_at_once() {
    for nodes in [26, 51, 100, 200, 500] {
        for number in 0..60 {
            let config = config(500, nodes);
            let mut budgets = fleet(&config, number, DAWN);
            for class in [Class::Mutation, Class::Interfaces, Class::Describe] {
                let mut chance = number;
                let mut late = || {
                    chance = mixed(chance);
                    below(chance, SLOT_LENGTH + 50)
                };
                let dawn = DAWN + Duration::from_secs(86_400 * 30);
                let mut calls = greedy(&mut budgets, class, DAWN, DAWN + Duration::from_secs(900), &mut late);
                calls.extend(greedy(&mut budgets, class, dawn, dawn + Duration::from_secs(900), &mut late));
                assert!(
                    calls.len() >= 180 && within(&config, class, calls, SLOT_LENGTH),
                    "{nodes} {number} {class:?}"
                );
            }
        }
    }
}

#[test]
fn waits_spread_between_the_base_and_three_times_the_last_one() {
    let (base, cap) = (Duration::from_secs(1), Duration::from_secs(60));
    let waits = |previous| (0..1000).map(move |chance| decorrelated(previous, base, cap, chance));
    assert!(waits(Duration::ZERO).all(|wait| wait == base), "nothing to spread over yet");
    let spread: Vec<Duration> = waits(Duration::from_secs(4)).collect();
    let tenth = |number: u32| {
        let (from, to) =
            (base + Duration::from_millis(1100) * number, base + Duration::from_millis(1100) * (number + 1));
        spread.iter().filter(|wait| (from..to).contains(wait)).count()
    };
    assert!(
        (0..10).all(|number| (60..140).contains(&tenth(number))),
        "{:?}",
        (0..10).map(tenth).collect::<Vec<_>>()
    );
    assert!(waits(Duration::from_secs(3600)).all(|wait| wait <= cap));
}

fn any_class() -> impl Strategy<Value = Class> {
    prop::sample::select(Class::ALL.to_vec())
}

fn any_priority() -> impl Strategy<Value = Priority> {
    prop::sample::select(vec![Priority::Pod, Priority::Stock, Priority::Spare])
}

fn any_config(nodes: std::ops::RangeInclusive<u32>) -> impl Strategy<Value = BudgetConfig> {
    let limit = (1..500u32, 1..50u32).prop_map(|(burst, per_second)| Limit { burst, per_second });
    (1..=1000u32, nodes, prop::collection::btree_map(any_class(), limit, 0..4))
        .prop_map(|(share_milli, nodes, limits)| BudgetConfig { share_milli, nodes, limits })
}

proptest! {
    /// With enough for a token each, nothing is left to chance: the share holds in every window, exactly.
    #[test]
    fn nodes_with_buckets_never_exceed_their_share(
        config in any_config(1..=40),
        class in any_class(),
        demand in prop::collection::vec((0..40usize, any_priority(), 0..5_000u64), 1..400),
    ) {
        let limit = config.limit(class);
        prop_assume!(config.share_milli * limit.burst >= 1000 * config.nodes);
        let mut budgets = fleet(&config, 3, DAWN);
        let (mut now, mut calls) = (DAWN, Vec::new());
        for (node, priority, pause) in demand {
            let node = node % budgets.len();
            while budgets[node].ready_at(class, priority, now) <= now {
                budgets[node].spend(class, now);
                calls.push(now.0);
            }
            now = Timestamp(now.0 + pause);
        }
        prop_assert!(within(&config, class, calls, 0));
    }

    /// With slots, every call uses one up.
    #[test]
    fn nodes_with_slots_call_no_more_often_than_slots_begin(
        config in any_config(1..=600),
        class in any_class(),
        seed in any::<u64>(),
        pauses in prop::collection::vec(0..30_000u64, 1..300),
        throttled in prop::collection::btree_set(0..300usize, 0..3),
    ) {
        let Some(slots) = Part::of(&config, class, seed).slots else { return Ok(()) };
        prop_assert!(slots.phase < slots.period);
        let mut budget = Budget::new(config, seed, DAWN);
        let (mut now, mut used) = (DAWN, std::collections::BTreeSet::new());
        for (step, pause) in pauses.into_iter().enumerate() {
            if budget.ready_at(class, Priority::Pod, now) <= now {
                budget.spend(class, now);
                let slot = slots.open_at(now);
                prop_assert!(slot.is_some() && used.insert(slot));
            }
            if throttled.contains(&step) {
                budget.throttled(class, now);
            }
            // Often just where a slot begins, ends or has ended.
            let open = budget.ready_at(class, Priority::Pod, now);
            let pause = if step % 2 == 0 { open.max(now).0 - now.0 + pause % (SLOT_LENGTH + 2) } else { pause };
            now = Timestamp(now.0 + pause);
        }
    }

    /// Daemons that die all the time make no more calls than those that live.
    #[test]
    fn restarts_mint_nothing(
        config in any_config(1..=60),
        class in any_class(),
        lives in prop::collection::vec((any::<bool>(), 0..4_000u64), 1..300),
    ) {
        let mut budgets = fleet(&config, 3, DAWN);
        let part = Part::of(&config, class, 0);
        let (mut now, mut calls, mut made) = (DAWN, Vec::new(), vec![std::collections::BTreeMap::new(); budgets.len()]);
        for (dies, pause) in lives {
            for (number, budget) in budgets.iter_mut().enumerate() {
                if dies {
                    *budget = Budget::resumed(config.clone(), seed(3, u32::try_from(number).unwrap()), now);
                }
                while budget.ready_at(class, Priority::Pod, now) <= now {
                    budget.spend(class, now);
                    calls.push(now.0);
                    let slot = budget.bucket(class).part.slots.and_then(|slots| slots.open_at(now));
                    *made[number].entry(slot).or_insert(0) += 1;
                }
            }
            now = Timestamp(now.0 + pause);
        }
        match part.slots {
            None => prop_assert!(within(&config, class, calls, 0)),
            Some(_) => prop_assert!(made.iter().flat_map(std::collections::BTreeMap::values).all(|calls| *calls == 1)),
        }
    }

    /// Whatever went before, every priority has its turn, and soon if EC2 does not throttle.
    #[test]
    fn every_priority_has_its_turn(
        config in any_config(1..=600),
        class in any_class(),
        priority in any_priority(),
        seed in any::<u64>(),
        spent in 0..2_000u32,
        throttles in 0..8u32,
        pause in 0..1_000_000u64,
    ) {
        let mut budget = Budget::new(config.clone(), seed, DAWN);
        for _ in 0..spent {
            budget.spend(class, DAWN);
        }
        for _ in 0..throttles {
            budget.throttled(class, DAWN);
        }
        let now = Timestamp(DAWN.0 + pause);
        let ready = budget.ready_at(class, priority, now);
        prop_assert_eq!(budget.ready_at(class, priority, ready), ready, "and then it is");
        let part = Part::of(&config, class, seed);
        let period = part.slots.map_or(0, |slots| slots.period);
        // From all that can be owed to all that can be held; no slower than full speed once recovered.
        let full = u64::try_from(quotient_up(2 * part.capacity, part.refill * 1000)).unwrap();
        let recovery = if throttles == 0 { 0 } else { 10 * RECOVERY_STEP };
        prop_assert!(ready.0 <= DAWN.0.max(now.0) + full + period + recovery);
        let recovered = Timestamp(DAWN.0 + 10 * RECOVERY_STEP);
        prop_assert_eq!(budget.level(class, recovered).rate_milli, 1000);
    }

    /// A clock that goes to and fro brings no more than the time that it covers.
    #[test]
    fn a_clock_that_steps_back_mints_nothing(
        config in any_config(1..=100),
        class in any_class(),
        times in prop::collection::vec((0..20_000u64, 1..4usize), 1..400),
    ) {
        let mut budget = Budget::new(config.clone(), 9, DAWN);
        let mut made: i128 = 0;
        for (time, most) in &times {
            let now = Timestamp(DAWN.0 + time);
            for _ in 0..*most {
                if budget.ready_at(class, Priority::Pod, now) <= now {
                    budget.spend(class, now);
                    made += 1;
                }
            }
        }
        let part = Part::of(&config, class, 9);
        let covered = i128::from(times.into_iter().map(|(time, _)| time).max().unwrap() + SLOT_LENGTH);
        prop_assert!(made * part.token <= part.capacity + part.refill * 1000 * covered);
    }

    /// A change of shares or members keeps what is there, as far as it may still be held.
    #[test]
    fn a_new_config_mints_nothing(
        before in any_config(1..=600),
        after in any_config(1..=600),
        class in any_class(),
        spent in 0..100u32,
    ) {
        let mut budget = Budget::new(before, 9, DAWN);
        for _ in 0..spent {
            budget.spend(class, DAWN);
        }
        let was = budget.level(class, DAWN).tokens_milli;
        budget.reconfigure(after.clone(), DAWN);
        let level = budget.level(class, DAWN);
        prop_assert!(level.tokens_milli <= was.max(0) && level.tokens_milli <= i64::try_from(level.capacity_milli).unwrap());
        prop_assert_eq!(level.capacity_milli, Budget::new(after, 9, DAWN).level(class, DAWN).capacity_milli);
    }

    #[test]
    fn waits_stay_within_their_bounds(
        previous in 0..u64::MAX,
        base in 0..100_000u64,
        cap in 0..1_000_000u64,
        chance in any::<u64>(),
    ) {
        let wait = decorrelated(Duration::from_millis(previous), Duration::from_millis(base), Duration::from_millis(cap), chance);
        let wait = u64::try_from(wait.as_millis()).unwrap();
        prop_assert!(wait >= base.min(cap) && wait <= cap && wait <= previous.saturating_mul(3).max(base));
    }
}
