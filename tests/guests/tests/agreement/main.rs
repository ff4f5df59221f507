//! The shipped components answer exactly as the same strategies run natively, and the host's built-in rules
//! agree with their defaults.

mod native;
mod questions;

use std::sync::LazyLock;

use enid_core::builtin;
use enid_core::limits::Mode;
use enid_core::proposal::Proposal;
use enid_core::snapshot::{Context, Setting};
use enid_guest::export;
use enid_policy_wasm::component::Metered;
use enid_policy_wasm::{Component, Engine, Fault, Limits};
use proptest::prelude::*;

use eks_max_pods::EksMaxPods;
use most_free::MostFree;
use warm_targets::WarmTargets;

static ENGINE: LazyLock<Engine> = LazyLock::new(|| Engine::new().expect("set up the engine"));
static WARM_TARGETS: LazyLock<Component> = LazyLock::new(|| shipped("warm-targets"));
static EKS_MAX_PODS: LazyLock<Component> = LazyLock::new(|| shipped("eks-max-pods"));
static MOST_FREE: LazyLock<Component> = LazyLock::new(|| shipped("most-free"));

fn shipped(name: &str) -> Component {
    let path = guests::shipped().expect("shipped components").join(format!("{name}.wasm"));
    let bytes = Component::read(&path, &Limits::default()).expect("read the component");
    Component::admit(&ENGINE, &bytes, &[], &Limits::default(), None).expect("let the component in")
}

/// A component's answer, in the words of the native one.
fn of_component<T>(asked: Option<Result<Metered<Proposal<T>>, Fault>>) -> Result<Proposal<T>, String> {
    match asked.expect("a component of the right kind") {
        Ok((proposal, _)) => Ok(proposal),
        Err(Fault::Failure { why }) => Err(why),
        Err(fault) => panic!("the component faults: {fault}"),
    }
}

fn with_settings(context: &Context, settings: Vec<Setting>) -> Context {
    Context { settings, ..context.clone() }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn warm_targets_is_the_same_natively_and_as_a_component(
        snapshot in questions::warm_pool(), settings in questions::warm_settings(),
    ) {
        let context = with_settings(&snapshot.context, settings);
        let component = of_component(WARM_TARGETS.warm_pool(&context, &snapshot));
        let native = export::warm_pool::<WarmTargets>(&native::warm_pool(&context, &snapshot));
        prop_assert_eq!(component, native.map(native::from_warm_pool).map_err(native::from_failure));
    }

    #[test]
    fn eks_max_pods_is_the_same_natively_and_as_a_component(
        snapshot in questions::max_pods(), settings in questions::max_pods_settings(),
    ) {
        let context = with_settings(&snapshot.context, settings);
        let component = of_component(EKS_MAX_PODS.max_pods(&context, &snapshot));
        let native = export::max_pods::<EksMaxPods>(&native::max_pods(&context, &snapshot));
        prop_assert_eq!(component, native.map(native::from_max_pods).map_err(native::from_failure));
    }

    #[test]
    fn most_free_is_the_same_natively_and_as_a_component(
        snapshot in questions::subnets(), settings in questions::subnet_settings(),
    ) {
        let context = with_settings(&snapshot.context, settings);
        let component = of_component(MOST_FREE.subnets(&context, &snapshot));
        let native = export::subnet_selection::<MostFree>(&native::subnets(&context, &snapshot));
        prop_assert_eq!(component, native.map(native::from_subnets).map_err(native::from_failure));
    }

    #[test]
    fn the_built_in_band_is_that_of_warm_targets_by_default(snapshot in questions::warm_pool()) {
        let mut snapshot = snapshot;
        snapshot.mode = Mode::SecondaryIp;
        snapshot.limits.slots_per_eni += 1;
        let native = export::warm_pool::<WarmTargets>(&native::warm_pool(&with_settings(&snapshot.context, vec![]), &snapshot));
        let native = native.map(native::from_warm_pool).map_err(native::from_failure).unwrap();
        prop_assert_eq!(builtin::warm_pool(&snapshot).target, native.target);
    }

    #[test]
    fn the_built_in_max_pods_is_that_of_eks_max_pods_by_default(snapshot in questions::max_pods()) {
        let native = export::max_pods::<EksMaxPods>(&native::max_pods(&with_settings(&snapshot.context, vec![]), &snapshot));
        prop_assert_eq!(builtin::max_pods(&snapshot).target, native.unwrap().target);
    }

    #[test]
    fn the_built_in_subnet_order_is_that_of_most_free_by_default(snapshot in questions::subnets()) {
        let native = export::subnet_selection::<MostFree>(&native::subnets(&with_settings(&snapshot.context, vec![]), &snapshot));
        prop_assert_eq!(builtin::subnets(&snapshot).target, native::from_subnets(native.unwrap()).target);
    }
}

#[test]
fn shipped_components_say_who_they_are_and_import_nothing_foreign() {
    for (component, name) in
        [(&*WARM_TARGETS, "warm-targets"), (&*EKS_MAX_PODS, "eks-max-pods"), (&*MOST_FREE, "most-free")]
    {
        let descriptor = component.descriptor();
        assert_eq!(descriptor.name, name);
        assert!(!descriptor.summary.is_empty() && !descriptor.version.is_empty());
        assert!(descriptor.settings_schema.starts_with(r#"{"type":"object","additionalProperties":false"#));
    }
}

#[test]
fn a_decision_of_a_large_node_stays_far_below_its_fuel() {
    let mut snapshot = guests::snapshot();
    snapshot.enis = vec![snapshot.enis[0]; 128];
    snapshot.history = vec![snapshot.history[0]; 64];
    snapshot.subnets = vec![snapshot.subnets[0].clone(); 64];
    snapshot.blocks = vec![enid_core::snapshot::BlockUse { slot: 0, bound: 3, cooling: 1 }; 1024];
    let (_, fuel) = WARM_TARGETS.warm_pool(&snapshot.context, &snapshot).unwrap().unwrap();
    assert!(fuel < Limits::default().fuel / 100, "{fuel}");
}
