//! Random settings of the shipped strategies, mostly right: wrong ones must be refused in the same words on
//! both sides.

use enid_core::snapshot::{Setting, Value};
use proptest::collection::vec;
use proptest::prelude::*;

pub(crate) fn batched() -> impl Strategy<Value = Vec<Setting>> {
    vec(
        prop_oneof![
            int("batch", 260),
            int("least_free_percent", 420),
            int("release_after_secs", 600),
            text("batch", "many"),
            text("colour", "blue"),
        ],
        0..4,
    )
}

/// Settings of `batched` that are right.
pub(crate) fn right_for_batched() -> impl Strategy<Value = Vec<Setting>> {
    let one = |key: &'static str, value: i64| Setting { key: key.into(), value: Value::Int(value) };
    let (batch, percent) = (prop::option::of(1..=256i64), prop::option::of(0..=400i64));
    (batch, percent, prop::option::of(0..=86_400i64)).prop_map(move |(batch, percent, release)| {
        let given = [
            batch.map(|value| one("batch", value)),
            percent.map(|value| one("least_free_percent", value)),
            release.map(|value| one("release_after_secs", value)),
        ];
        given.into_iter().flatten().collect()
    })
}

/// Settings of `batched` of which at least one is wrong.
pub(crate) fn wrong_for_batched() -> impl Strategy<Value = Vec<Setting>> {
    let wrong = prop_oneof![
        beyond("batch", 0, 257),
        beyond("least_free_percent", -1, 401),
        beyond("release_after_secs", -1, 86_401),
        text("batch", "16"),
        text("", ""),
        text("Batch", "16"),
        any::<bool>().prop_map(|on| Setting { key: "least_free_percent".into(), value: Value::Flag(on) }),
    ];
    (right_for_batched(), wrong).prop_map(|(mut settings, wrong)| {
        settings.retain(|setting| setting.key != wrong.key);
        settings.push(wrong);
        settings
    })
}

pub(crate) fn warm_targets() -> impl Strategy<Value = Vec<Setting>> {
    vec(
        prop_oneof![
            int("warm_eni_target", 130),
            int("warm_ip_target", 40),
            int("minimum_ip_target", 40),
            int("warm_prefix_target", 5),
            int("release_after_secs", 600),
            text("placement", "pack"),
            text("placement", "spread"),
            text("placement", "tetris"),
            text("colour", "blue"),
        ],
        0..4,
    )
}

pub(crate) fn eks_max_pods() -> impl Strategy<Value = Vec<Setting>> {
    vec(prop_oneof![int("host_network_pods", 9), int("cap", 300)], 0..2)
}

pub(crate) fn most_free() -> impl Strategy<Value = Vec<Setting>> {
    vec(any::<bool>().prop_map(|on| Setting { key: "discovery".into(), value: Value::Flag(on) }), 0..2)
}

fn int(key: &'static str, most: i64) -> BoxedStrategy<Setting> {
    (-1..=most).prop_map(move |value| Setting { key: key.into(), value: Value::Int(value) }).boxed()
}

/// Numbers up to `low` and from `high`, the edges of 64 bits among them.
fn beyond(key: &'static str, low: i64, high: i64) -> BoxedStrategy<Setting> {
    prop_oneof![Just(low), Just(high), Just(i64::MIN), Just(i64::MAX), i64::MIN..=low, high..=i64::MAX]
        .prop_map(move |value| Setting { key: key.into(), value: Value::Int(value) })
        .boxed()
}

fn text(key: &'static str, value: &'static str) -> BoxedStrategy<Setting> {
    Just(Setting { key: key.into(), value: Value::Text(value.into()) }).boxed()
}
