//! The shipped components answer exactly as the same strategies run natively, and as the same strategies
//! written in other languages; the host's built-in rules agree with their defaults.
//!
//! * `native`: between the host's types and the SDK's. `settings`: random ones. `languages`: the twins.

mod languages;
mod native;
mod settings;

use std::sync::{Arc, LazyLock};

use batched::Batched;
use eks_max_pods::EksMaxPods;
use enid_core::document::{Answer, Snapshot};
use enid_core::kind::Kind;
use enid_core::limits::Mode;
use enid_core::proposal::Proposal;
use enid_core::snapshot::{MaxPodsSnapshot, Setting, SubnetSnapshot, WarmPoolSnapshot};
use enid_core::{builtin, specimen};
use enid_guest::{MaxPods, SubnetSelection, WarmPool, export};
use enid_policy_wasm::runtime::Guest;
use enid_policy_wasm::{Fault, Limits};
use guests::Site;
use most_free::MostFree;
use native::Declined;
use proptest::prelude::*;
use warm_targets::WarmTargets;

static SITE: LazyLock<Site> = LazyLock::new(|| Site::in_process().expect("set up the engine"));
static BATCHED: LazyLock<Arc<dyn Guest>> = LazyLock::new(|| shipped(Kind::WarmPool, "batched"));
static EKS_MAX_PODS: LazyLock<Arc<dyn Guest>> = LazyLock::new(|| shipped(Kind::MaxPods, "eks-max-pods"));
static MOST_FREE: LazyLock<Arc<dyn Guest>> = LazyLock::new(|| shipped(Kind::SubnetSelection, "most-free"));
static WARM_TARGETS: LazyLock<Arc<dyn Guest>> = LazyLock::new(|| shipped(Kind::WarmPool, "warm-targets"));

fn shipped(kind: Kind, name: &str) -> Arc<dyn Guest> {
    let path = guests::shipped().expect("shipped components").join(format!("{name}.wasm"));
    let bytes = std::fs::read(path).expect("read the component");
    SITE.examine(kind, &bytes, &Limits::default()).expect("let the component in").guest
}

/// A component's answer, in the words of the native one.
fn of_component(guest: &dyn Guest, question: &Snapshot) -> Result<Answer, Declined> {
    match guest.ask(question).result {
        Ok(answer) => Ok(answer),
        Err(Fault::Failure { why }) => Err(Declined::Failure(why)),
        Err(Fault::Settings { why }) => Err(Declined::Settings(why)),
        Err(Fault::Unsupported { why }) => Err(Declined::Unsupported(why)),
        Err(fault) => panic!("the component faults: {fault}"),
    }
}

fn natively_warm<S: WarmPool>(question: &WarmPoolSnapshot) -> Result<Answer, Declined> {
    let answer = export::warm_pool::<S>(&native::warm_pool(&question.context, question));
    answer.map(native::from_warm_pool).map(Answer::WarmPool).map_err(native::from_failure)
}

fn natively_max_pods<S: MaxPods>(question: &MaxPodsSnapshot) -> Result<Answer, Declined> {
    let answer = export::max_pods::<S>(&native::max_pods(&question.context, question));
    answer.map(native::from_max_pods).map(Answer::MaxPods).map_err(native::from_failure)
}

fn natively_subnets<S: SubnetSelection>(question: &SubnetSnapshot) -> Result<Answer, Declined> {
    let answer = export::subnet_selection::<S>(&native::subnets(&question.context, question));
    answer.map(native::from_subnets).map(Answer::SubnetSelection).map_err(native::from_failure)
}

fn natively<S: enid_guest::Settings>(settings: &[Setting]) -> Vec<(String, String)> {
    let issues = export::check_settings::<S>(&native::in_settings(settings));
    issues.into_iter().map(|issue| (issue.key, issue.message)).collect()
}

fn by_component(guest: &dyn Guest, settings: &[Setting]) -> Vec<(String, String)> {
    let issues = guest.check_settings(settings).result.expect("it checks its settings");
    issues.into_iter().map(|issue| (issue.key, issue.message)).collect()
}

/// A random question with these settings and what some other strategy left as state.
fn question(kind: Kind, seed: u64, settings: Vec<Setting>, state: Vec<u8>) -> Snapshot {
    let mut question = specimen::random(kind, seed);
    let context = question.context_mut();
    context.settings = settings;
    context.state = state;
    question
}

fn state() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..100)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn batched_is_the_same_natively_and_as_a_component(
        seed in any::<u64>(), settings in settings::batched(), state in state(),
    ) {
        prop_assert_eq!(by_component(&**BATCHED, &settings), natively::<<Batched as WarmPool>::Settings>(&settings));
        let asked = question(Kind::WarmPool, seed, settings, state);
        let Snapshot::WarmPool(snapshot) = &asked else { unreachable!("a warm-pool question") };
        prop_assert_eq!(of_component(&**BATCHED, &asked), natively_warm::<Batched>(snapshot));
    }

    #[test]
    fn warm_targets_is_the_same_natively_and_as_a_component(
        seed in any::<u64>(), settings in settings::warm_targets(), state in state(),
    ) {
        prop_assert_eq!(
            by_component(&**WARM_TARGETS, &settings), natively::<<WarmTargets as WarmPool>::Settings>(&settings),
        );
        let asked = question(Kind::WarmPool, seed, settings, state);
        let Snapshot::WarmPool(snapshot) = &asked else { unreachable!("a warm-pool question") };
        prop_assert_eq!(of_component(&**WARM_TARGETS, &asked), natively_warm::<WarmTargets>(snapshot));
    }

    #[test]
    fn eks_max_pods_is_the_same_natively_and_as_a_component(
        seed in any::<u64>(), settings in settings::eks_max_pods(), state in state(),
    ) {
        prop_assert_eq!(
            by_component(&**EKS_MAX_PODS, &settings), natively::<<EksMaxPods as MaxPods>::Settings>(&settings),
        );
        let asked = question(Kind::MaxPods, seed, settings, state);
        let Snapshot::MaxPods(snapshot) = &asked else { unreachable!("a max-pods question") };
        prop_assert_eq!(of_component(&**EKS_MAX_PODS, &asked), natively_max_pods::<EksMaxPods>(snapshot));
    }

    #[test]
    fn most_free_is_the_same_natively_and_as_a_component(
        seed in any::<u64>(), settings in settings::most_free(), state in state(),
    ) {
        prop_assert_eq!(
            by_component(&**MOST_FREE, &settings), natively::<<MostFree as SubnetSelection>::Settings>(&settings),
        );
        let asked = question(Kind::SubnetSelection, seed, settings, state);
        let Snapshot::SubnetSelection(snapshot) = &asked else { unreachable!("a subnet question") };
        prop_assert_eq!(of_component(&**MOST_FREE, &asked), natively_subnets::<MostFree>(snapshot));
    }

    #[test]
    fn the_built_in_band_is_that_of_warm_targets_by_default(seed in any::<u64>()) {
        let Snapshot::WarmPool(mut snapshot) = specimen::random(Kind::WarmPool, seed) else {
            unreachable!("a warm-pool question")
        };
        snapshot.mode = Mode::SecondaryIp;
        snapshot.limits.slots_per_eni += 1;
        let native = natively_warm::<WarmTargets>(&snapshot);
        let Ok(Answer::WarmPool(Proposal { target, .. })) = native else { panic!("{native:?}") };
        prop_assert_eq!(builtin::warm_pool(&snapshot).target, target);
    }

    #[test]
    fn the_built_in_max_pods_is_that_of_eks_max_pods_by_default(seed in any::<u64>()) {
        let Snapshot::MaxPods(snapshot) = specimen::random(Kind::MaxPods, seed) else {
            unreachable!("a max-pods question")
        };
        let native = natively_max_pods::<EksMaxPods>(&snapshot);
        let Ok(Answer::MaxPods(Proposal { target, .. })) = native else { panic!("{native:?}") };
        prop_assert_eq!(builtin::max_pods(&snapshot).target, target);
    }

    #[test]
    fn the_built_in_subnet_order_is_that_of_most_free_by_default(seed in any::<u64>()) {
        let Snapshot::SubnetSelection(snapshot) = specimen::random(Kind::SubnetSelection, seed) else {
            unreachable!("a subnet question")
        };
        let native = natively_subnets::<MostFree>(&snapshot);
        let Ok(Answer::SubnetSelection(Proposal { target, .. })) = native else { panic!("{native:?}") };
        prop_assert_eq!(builtin::subnets(&snapshot).target, target);
    }
}

#[test]
fn shipped_components_say_who_they_are() {
    for (component, name) in [
        (&*BATCHED, "batched"),
        (&*EKS_MAX_PODS, "eks-max-pods"),
        (&*MOST_FREE, "most-free"),
        (&*WARM_TARGETS, "warm-targets"),
    ] {
        let descriptor = component.descriptor();
        assert_eq!(descriptor.name, name);
        assert!(!descriptor.summary.is_empty() && !descriptor.version.is_empty());
        let schema = enid_policy_wasm::schema::Schema::parse(&descriptor.settings_schema).unwrap();
        assert!(schema.properties().count() > 0, "{name} publishes no setting");
        assert!(schema.properties().all(|(_, property)| !property.description.is_empty()), "{name}");
    }
}

#[test]
fn a_decision_of_a_large_node_stays_far_below_its_fuel() {
    let mut snapshot = guests::snapshot();
    snapshot.enis = vec![snapshot.enis[0]; 128];
    snapshot.history = vec![snapshot.history[0]; 64];
    snapshot.subnets = vec![snapshot.subnets[0].clone(); 64];
    snapshot.blocks = vec![enid_core::snapshot::BlockUse { slot: 0, bound: 3, cooling: 1 }; 1024];
    let called = WARM_TARGETS.ask(&Snapshot::WarmPool(snapshot));
    assert!(called.result.is_ok(), "{called:?}");
    assert!(called.cost.fuel < Limits::default().fuel / 100, "{}", called.cost.fuel);
}
