//! Turns a strategy into a component: what the export macros call, and the macros themselves.

use crate::settings::Settings;
use crate::state::{MAX_BYTES, State};
use crate::{
    Answer, Context, Failure, MaxPods, Outcome, Setting, SubnetSelection, WarmPool, max_pods,
    subnet_selection, warm_pool,
};

/// Answers one warm-pool question as the component does: settings and state are read from its context.
pub fn warm_pool<S: WarmPool>(snapshot: &warm_pool::Snapshot) -> Result<warm_pool::Proposal, Failure> {
    let (target, outcome) =
        answer(&snapshot.context, |settings, state| S::decide(settings, state, snapshot))?;
    Ok(warm_pool::Proposal { target, outcome })
}

/// Answers one max-pods question as the component does: settings and state are read from its context.
pub fn max_pods<S: MaxPods>(snapshot: &max_pods::Snapshot) -> Result<max_pods::Proposal, Failure> {
    let (target, outcome) =
        answer(&snapshot.context, |settings, state| S::decide(settings, state, snapshot))?;
    Ok(max_pods::Proposal { target, outcome })
}

/// Answers one subnet question as the component does: settings and state are read from its context.
pub fn subnet_selection<S: SubnetSelection>(
    snapshot: &subnet_selection::Snapshot,
) -> Result<subnet_selection::Proposal, Failure> {
    let (target, outcome) =
        answer(&snapshot.context, |settings, state| S::decide(settings, state, snapshot))?;
    Ok(subnet_selection::Proposal { target, outcome })
}

/// Checks settings as the component does.
pub fn check_settings<S: Settings>(settings: &[Setting]) -> Vec<crate::settings::Issue> {
    S::parse(settings).err().unwrap_or_default()
}

fn answer<C: Settings, M: State, T>(
    context: &Context,
    decide: impl FnOnce(&C, &mut M) -> Result<Answer<T>, Failure>,
) -> Result<(T, Outcome), Failure> {
    let settings = C::parse(&context.settings).map_err(|issues| {
        let issues: Vec<String> =
            issues.iter().map(|issue| format!("{}: {}", issue.key, issue.message)).collect();
        Failure::Settings(issues.join("; "))
    })?;
    let mut state = M::decode(&context.state).unwrap_or_default();
    let Answer { target, reason, next_check_ms, annotations } = decide(&settings, &mut state)?;
    let state = state.encode();
    if state.len() > MAX_BYTES {
        let size = state.len();
        return Err(Failure::Internal(format!("the state has {size} bytes, and the host keeps {MAX_BYTES}")));
    }
    Ok((target, Outcome { reason, next_check_ms, state, annotations }))
}

/// Makes a panic visible: its message goes to the host's log, then the instance traps.
#[cfg(target_arch = "wasm32")]
pub fn report_panics() {
    std::panic::set_hook(Box::new(|panic| crate::log::warn(&panic.to_string())));
}

#[doc(hidden)]
#[macro_export]
macro_rules! __export_kind {
    ($strategy:ty, $kind_trait:ident, $kind:ident) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            use $crate::bindings::shared::exports::enid::strategy::plugin;
            use $crate::bindings::$kind::exports::enid::strategy::$kind;

            struct Component;

            impl plugin::Guest for Component {
                fn describe() -> plugin::Descriptor {
                    plugin::Descriptor {
                        name: env!("CARGO_PKG_NAME").to_owned(),
                        version: env!("CARGO_PKG_VERSION").to_owned(),
                        summary: env!("CARGO_PKG_DESCRIPTION").to_owned(),
                        settings_schema:
                            <<$strategy as $crate::$kind_trait>::Settings as $crate::Settings>::schema(),
                        state_format: <<$strategy as $crate::$kind_trait>::State as $crate::State>::FORMAT,
                    }
                }

                fn check_settings(settings: Vec<$crate::Setting>) -> Vec<plugin::Issue> {
                    $crate::export::check_settings::<<$strategy as $crate::$kind_trait>::Settings>(&settings)
                        .into_iter()
                        .map(|issue| plugin::Issue { key: issue.key, message: issue.message })
                        .collect()
                }
            }

            impl $kind::Guest for Component {
                fn decide(snapshot: $kind::Snapshot) -> Result<$kind::Proposal, $crate::Failure> {
                    $crate::export::report_panics();
                    $crate::export::$kind::<$strategy>(&snapshot)
                }
            }

    $crate::bindings::shared::export!(Component with_types_in $crate::bindings::shared);
    $crate::bindings::$kind::export!(Component with_types_in $crate::bindings::$kind);
        };
    };
}

/// Makes this crate a warm-pool component out of a [`WarmPool`](crate::WarmPool); name, version and summary
/// are the crate's.
#[macro_export]
macro_rules! export_warm_pool {
    ($strategy:ty) => {
        $crate::__export_kind!($strategy, WarmPool, warm_pool);
    };
}

/// Makes this crate a max-pods component out of a [`MaxPods`](crate::MaxPods); name, version and summary
/// are the crate's.
#[macro_export]
macro_rules! export_max_pods {
    ($strategy:ty) => {
        $crate::__export_kind!($strategy, MaxPods, max_pods);
    };
}

/// Makes this crate a subnet-selection component out of a [`SubnetSelection`](crate::SubnetSelection); name,
/// version and summary are the crate's.
#[macro_export]
macro_rules! export_subnet_selection {
    ($strategy:ty) => {
        $crate::__export_kind!($strategy, SubnetSelection, subnet_selection);
    };
}
