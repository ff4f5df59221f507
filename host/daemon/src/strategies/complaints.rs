//! What is wrong with the operator's strategies, each complaint with its place in the settings file.

use enid_core::kind::Kind;
use enid_policy_wasm::policy::LoadError;
use enid_policy_wasm::{Inadmissible, Issue, Lineup, Policy, PolicyConfig, Step, StrategyConfig};
use std::error::Error;

use super::shelf::{Shelf, Unresolved};
use super::{strategy, trust, with_lineup};
use crate::settings::{self, Document, Problem, Role};

/// What the document chooses, and what is wrong with it as far as can be told without running a component; a
/// strategy that cannot be told is the built-in there.
pub(super) fn resolve(document: &Document, shelf: &Shelf) -> (PolicyConfig, Vec<Problem>) {
    let settings = &document.settings;
    let mut problems = document.problems.clone();
    let mut config = PolicyConfig { trust: trust(settings), ..PolicyConfig::default() };
    for kind in Kind::ALL {
        let mut lineup = Lineup { fallbacks: Vec::new(), ..config.of(kind).clone() };
        for (role, chosen) in settings.strategies.of(kind).roles() {
            let path = role.path(kind);
            let resolved = strategy(chosen, shelf).unwrap_or_else(|unresolved| {
                problems.extend(unresolved_at(document, &path, chosen, &unresolved));
                StrategyConfig::builtin()
            });
            match role {
                Role::Active => lineup.active = resolved,
                Role::Fallback(_) => lineup.fallbacks.push(resolved),
                Role::Shadow => lineup.shadow = Some(resolved),
            }
        }
        config = with_lineup(config, kind, lineup);
    }
    (config, problems)
}

/// The complaint about a strategy that cannot be told; none when there is one already.
fn unresolved_at(
    document: &Document,
    path: &str,
    chosen: &settings::Strategy,
    unresolved: &Unresolved,
) -> Option<Problem> {
    let complaint = at(document, path, unresolved.key(), chosen, chain(unresolved));
    (!is_unclear(path, &document.problems)).then_some(complaint)
}

/// What the components themselves, and the host when it lets them in, find wrong: with every strategy that is
/// clear in spite of `known`.
pub(super) fn of_components(
    document: &Document,
    shelf: &Shelf,
    checker: &Policy,
    known: &[Problem],
) -> Vec<Problem> {
    let mut found = Vec::new();
    for kind in Kind::ALL {
        for (role, chosen) in document.settings.strategies.of(kind).roles() {
            let path = role.path(kind);
            let Some(resolved) = strategy(chosen, shelf).ok().filter(|_| !is_unclear(&path, known)) else {
                continue;
            };
            let alone = PolicyConfig { trust: trust(&document.settings), ..PolicyConfig::default() };
            let alone = with_lineup(alone, kind, Lineup::only(resolved));
            if let Err(LoadError::Strategy { why, .. }) = checker.try_out(kind, &alone) {
                found.extend(complaints(document, &path, chosen, &why));
            }
        }
    }
    // A value that was refused as such has not reached the component.
    found.retain(|problem| known.iter().all(|known| known.key() != problem.key()));
    found
}

/// Whether it is not clear which component the strategy at `path` is.
fn is_unclear(path: &str, known: &[Problem]) -> bool {
    let about = |key: &str| known.iter().any(|problem| problem.key() == Some(key));
    about(&format!("{path}.use")) || about(&format!("{path}.digest"))
}

fn complaints(
    document: &Document,
    path: &str,
    chosen: &settings::Strategy,
    why: &Inadmissible,
) -> Vec<Problem> {
    if !why.issues().is_empty() {
        return why.issues().iter().map(|issue| about_setting(document, path, issue)).collect();
    }
    let key = match why.step() {
        Step::Digest => "digest",
        Step::Limits => "limits",
        Step::Read
        | Step::Size
        | Step::Signature
        | Step::Form
        | Step::Compile
        | Step::Imports
        | Step::Kind
        | Step::Start
        | Step::Describe
        | Step::Schema
        | Step::Settings
        | Step::Corners
        | Step::Replay => "use",
    };
    vec![at(document, path, key, chosen, format!("step `{}`: {}", why.step(), chain(why)))]
}

/// The complaint about `key` of a strategy; about `use` where the file does not set that key, and about the
/// default where it does not set that either.
fn at(document: &Document, path: &str, key: &str, chosen: &settings::Strategy, why: String) -> Problem {
    let keys = [format!("{path}.{key}"), format!("{path}.use")];
    let placed = keys.iter().find_map(|key| Some((key, document.places.exactly(key)?)));
    let (key, line, value) = match placed {
        Some((key, place)) => (key.clone(), place.line(), place.to_string()),
        None => (format!("{path}.use"), None, format!("\"{}\"", chosen.source)),
    };
    Problem::Refused { file: document.file.clone(), line, key, value: Some(value), why }
}

/// What a component or its schema says about one of its settings. One that the file does not set is placed where
/// it belongs.
fn about_setting(document: &Document, path: &str, issue: &Issue) -> Problem {
    let key = format!("{path}.settings.{}", issue.key);
    let (line, value) = match document.places.exactly(&key) {
        Some(place) => (place.line(), Some(place.to_string())),
        None => (document.places.around(&key).and_then(|(_, place)| place.line()), None),
    };
    Problem::Refused { file: document.file.clone(), line, key, value, why: issue.message.clone() }
}

/// An error with its causes, on one line.
fn chain(error: &dyn Error) -> String {
    let causes = std::iter::successors(Some(error), |error| (*error).source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
