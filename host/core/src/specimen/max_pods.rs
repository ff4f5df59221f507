//! Instances that ask how many pods they can run.

use super::dice::Dice;
use super::{context, last_context, random_context, strange_hints};
use crate::instance_types;
use crate::limits::Mode;
use crate::snapshot::{Context, MaxPodsSnapshot};

/// One of each sort: burstable, ordinary, old, bare metal, of many cards, of many addresses.
pub(super) const TYPES: [&str; 20] = [
    "c1.medium",
    "c5n.18xlarge",
    "c6in.32xlarge",
    "c7g.xlarge",
    "c8a.48xlarge",
    "hpc6a.48xlarge",
    "i3en.metal",
    "m1.small",
    "m4.large",
    "m5.24xlarge",
    "m5.large",
    "m8g.48xlarge",
    "mac1.metal",
    "p4d.24xlarge",
    "p5.48xlarge",
    "r5.4xlarge",
    "t2.nano",
    "t3.medium",
    "trn1.32xlarge",
    "u-6tb1.112xlarge",
];

pub(super) fn corners() -> Vec<(&'static str, MaxPodsSnapshot)> {
    let ordinary = || of("m5.large", Mode::SecondaryIp);
    let with = |change: fn(&mut MaxPodsSnapshot)| {
        let mut snapshot = ordinary();
        change(&mut snapshot);
        snapshot
    };
    vec![
        ("ordinary", ordinary()),
        ("smallest-type", of("t2.nano", Mode::SecondaryIp)),
        ("many-cards", of("p5.48xlarge", Mode::SecondaryIp)),
        ("bare-metal", of("i3en.metal", Mode::Prefix)),
        ("prefix", of("m5.large", Mode::Prefix)),
        ("prefix-unsupported", of("m4.large", Mode::Prefix)),
        ("uncapped", with(|s| s.uncapped = true)),
        (
            "uncapped-prefix-on-the-largest",
            MaxPodsSnapshot { uncapped: true, ..of("c8a.48xlarge", Mode::Prefix) },
        ),
        ("custom-networking", with(|s| s.custom_networking = true)),
        (
            "custom-networking-on-one-eni",
            with(|s| {
                s.custom_networking = true;
                s.max_enis = 1;
            }),
        ),
        ("one-eni-reserved", with(|s| s.reserved_enis = 1)),
        ("all-enis-reserved", with(|s| s.reserved_enis = 3)),
        ("more-reserved-than-there-are", with(|s| s.reserved_enis = 9)),
        ("no-eni", with(|s| s.max_enis = 0)),
        ("one-eni", with(|s| s.max_enis = 1)),
        ("no-slot-for-pods", with(|s| s.ipv4_per_eni = 1)),
        ("no-address-at-all", with(|s| s.ipv4_per_eni = 0)),
        ("thirty-vcpus", MaxPodsSnapshot { vcpus: 30, ..of("m5.24xlarge", Mode::Prefix) }),
        ("thirty-one-vcpus", MaxPodsSnapshot { vcpus: 31, ..of("m5.24xlarge", Mode::Prefix) }),
        (
            "type-without-a-name",
            with(|s| {
                s.instance_type.clear();
                s.vcpus = 0;
                s.memory_mib = 0;
            }),
        ),
        ("unknown-type", with(|s| s.instance_type = "x99gd-flex.metal-96xl".to_owned())),
        ("unknown-hints", with(|s| s.context.hints = strange_hints())),
        (
            "largest-numbers",
            MaxPodsSnapshot {
                context: last_context(),
                mode: Mode::Prefix,
                max_enis: 128,
                ipv4_per_eni: 64,
                prefixes: true,
                vcpus: 1 << 16,
                memory_mib: 1 << 32,
                uncapped: true,
                ..ordinary()
            },
        ),
    ]
}

/// About a type of the table.
fn of(name: &str, mode: Mode) -> MaxPodsSnapshot {
    let kind = instance_types::lookup(name).expect("invariant: a test looks all these names up");
    MaxPodsSnapshot { context: context(), ..MaxPodsSnapshot::of(&kind, mode, kind.max_enis()) }
}

pub(super) fn random(dice: &mut Dice) -> MaxPodsSnapshot {
    let context = random_context(dice);
    let mode = dice.pick(&[Mode::SecondaryIp, Mode::Prefix]);
    let mut snapshot = if dice.one_in(4) { invented(dice, mode) } else { of(dice.pick(&TYPES), mode) };
    snapshot.context = context;
    if dice.one_in(4) {
        snapshot.max_enis = dice.between(0, snapshot.max_enis);
    }
    if dice.one_in(4) {
        snapshot.reserved_enis = dice.between(0, snapshot.max_enis + 1);
    }
    snapshot.custom_networking = dice.one_in(4);
    snapshot.uncapped = dice.one_in(4);
    snapshot
}

/// A type that is newer than the table.
fn invented(dice: &mut Dice, mode: Mode) -> MaxPodsSnapshot {
    let vcpus = dice.skewed(1024);
    MaxPodsSnapshot {
        context: Context::default(),
        mode,
        instance_type: format!("x{}.{}xlarge", dice.below(100), dice.below(100)),
        max_enis: dice.skewed(128),
        ipv4_per_eni: dice.skewed(64),
        prefixes: !dice.one_in(3),
        vcpus,
        memory_mib: u64::from(vcpus) * u64::from(dice.between(512, 16384)),
        custom_networking: false,
        reserved_enis: 0,
        uncapped: false,
    }
}
