//! One strategy, `batched`, in four languages: as a component each answers the same to the letter.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use enid_core::document::Snapshot;
use enid_core::kind::Kind;
use enid_policy_wasm::Limits;
use enid_policy_wasm::runtime::Guest;
use guests::build;
use proptest::prelude::*;
use proptest::test_runner::{TestCaseError, TestRunner};

use super::{BATCHED, SITE, by_component, of_component, question, settings};

/// Questions of each sort.
const CASES: u32 = 1000;

static C: LazyLock<Arc<dyn Guest>> = LazyLock::new(|| twin("c", &ordinary()));
static JAVASCRIPT: LazyLock<Arc<dyn Guest>> = LazyLock::new(|| twin("js", &of_an_interpreter()));
static PYTHON: LazyLock<Arc<dyn Guest>> = LazyLock::new(|| twin("python", &of_an_interpreter()));

/// The twin in this language, examined like any other component, under limits that it needs.
fn twin(language: &str, limits: &Limits) -> Arc<dyn Guest> {
    let directory = build::in_other_languages().expect("components in other languages");
    let path = directory.join(format!("batched-{language}.wasm"));
    let bytes = read(&path);
    let examined = SITE.examine(Kind::WarmPool, &bytes, limits);
    examined.unwrap_or_else(|why| panic!("let {} in, at step {}: {why}", path.display(), why.step())).guest
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path)
        .unwrap_or_else(|why| panic!("read {}: {why}; build it with `cargo xtask guests`", path.display()))
}

/// So many random questions with right settings, and as many wrong settings.
fn answers_like_the_one_in_rust(twin: &dyn Guest) {
    let runner = || {
        TestRunner::new(ProptestConfig {
            cases: CASES,
            failure_persistence: None,
            ..ProptestConfig::default()
        })
    };
    let asked = (any::<u64>(), settings::right_for_batched(), super::state());
    let same = runner().run(&asked, |(seed, settings, state)| {
        prop_assert_eq!(by_component(twin, &settings), []);
        agree(twin, &question(Kind::WarmPool, seed, settings, state))
    });
    same.unwrap_or_else(|difference| panic!("{difference}"));
    let refused = runner().run(&settings::wrong_for_batched(), |settings| {
        let mine = keys(&by_component(&**BATCHED, &settings));
        prop_assert!(!mine.is_empty(), "the one in Rust takes them");
        prop_assert_eq!(keys(&by_component(twin, &settings)), mine);
        let asked = question(Kind::WarmPool, 1, settings, Vec::new());
        prop_assert!(of_component(&**BATCHED, &asked).is_err());
        prop_assert!(of_component(twin, &asked).is_err());
        Ok(())
    });
    refused.unwrap_or_else(|difference| panic!("{difference}"));
    for (name, corner) in enid_core::specimen::corners(Kind::WarmPool) {
        agree(twin, &corner).unwrap_or_else(|difference| panic!("{name}: {difference}"));
    }
}

fn agree(twin: &dyn Guest, asked: &Snapshot) -> Result<(), TestCaseError> {
    prop_assert_eq!(of_component(twin, asked), of_component(&**BATCHED, asked));
    Ok(())
}

fn keys(issues: &[(String, String)]) -> BTreeSet<String> {
    issues.iter().map(|(key, _)| key.clone()).collect()
}

/// What every strategy gets.
fn ordinary() -> Limits {
    Limits { deadline: Limits::most().deadline, ..Limits::default() }
}

/// What an operator grants an interpreter.
fn of_an_interpreter() -> Limits {
    Limits { component_bytes: 32 << 20, memory: 64 << 20, fuel: 100_000_000, ..ordinary() }
}

#[test]
fn batched_in_c_answers_like_the_one_in_rust_under_ordinary_limits() {
    answers_like_the_one_in_rust(&**C);
}

#[test]
fn batched_in_javascript_answers_like_the_one_in_rust() {
    answers_like_the_one_in_rust(&**JAVASCRIPT);
}

#[test]
fn batched_in_python_answers_like_the_one_in_rust() {
    answers_like_the_one_in_rust(&**PYTHON);
}

#[test]
fn the_twins_publish_the_same_settings() {
    let schema = |guest: &dyn Guest| -> serde_json::Value {
        serde_json::from_str(&guest.descriptor().settings_schema).expect("a JSON document")
    };
    let mine = schema(&**BATCHED);
    for (language, twin) in [("C", &C), ("JavaScript", &JAVASCRIPT), ("Python", &PYTHON)] {
        assert_eq!(schema(&***twin), mine, "{language}");
    }
}
