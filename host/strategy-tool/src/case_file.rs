//! Test cases in TOML: a question, and what its answer must be like.

use std::fmt::Display;
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use enid_core::document::Snapshot;
use enid_core::kind::Kind;
use enid_core::snapshot::Setting;
use serde::Deserialize;

use crate::assignment;
use crate::expectation::Expectation;
use crate::failure::Failure;
use crate::subject::{read_snapshot, read_text};

/// Made-up questions of one case: more take longer than anybody waits.
const MOST_RANDOM: u32 = 100_000;

/// One case.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Case {
    /// What it is about.
    pub(crate) name: String,
    /// What is asked.
    pub(crate) questions: Questions,
    /// Set over those of the questions.
    pub(crate) settings: Vec<Setting>,
    /// What must come back.
    pub(crate) expect: Expectation,
}

/// Where a case's questions come from.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Questions {
    /// A document.
    File(PathBuf),
    /// Written into the case; what it leaves out has its documented default.
    Inline(serde_json::Value),
    /// So many made-up ones, from this seed or a fresh one.
    Random { count: u32, seed: Option<u64> },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    case: Vec<RawCase>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCase {
    name: String,
    snapshot: Option<toml::Value>,
    random: Option<u32>,
    seed: Option<u64>,
    #[serde(default)]
    settings: toml::Table,
    #[serde(default)]
    expect: toml::Table,
}

/// Reads a file of cases; snapshots are found relative to it.
pub(crate) fn read(path: &Path) -> Result<Vec<Case>, Failure> {
    let text = read_text(path)?;
    let dir = path.parent().unwrap_or(Path::new("."));
    parse(&text, dir).map_err(|problems| {
        let lines: Vec<String> =
            problems.iter().map(|problem| format!("{}: {problem}", path.display())).collect();
        Failure::input(anyhow!("{}", lines.join("\nenid: ")))
    })
}

/// Reads cases, or says everything that is wrong with them.
fn parse(text: &str, dir: &Path) -> Result<Vec<Case>, Vec<String>> {
    let file: RawFile = toml::from_str(text).map_err(|error| vec![on_one_line(text, &error)])?;
    let mut cases = Vec::new();
    let mut problems = Vec::new();
    for raw in file.case {
        let name = raw.name.clone();
        match complete(raw, dir) {
            Ok(case) => cases.push(case),
            Err(found) => problems.extend(found.iter().map(|problem| format!("case {name:?}: {problem}"))),
        }
    }
    if problems.is_empty() { Ok(cases) } else { Err(problems) }
}

fn complete(raw: RawCase, dir: &Path) -> Result<Case, Vec<String>> {
    let mut problems = Vec::new();
    let questions = questions(&raw, dir).map_err(|problem| problems.push(problem));
    let settings = assignment::from_table(&raw.settings).map_err(|problem| problems.push(problem));
    let expect = Expectation::parse(&raw.expect).map_err(|found| problems.extend(found));
    match (questions, settings, expect) {
        (Ok(questions), Ok(settings), Ok(expect)) => Ok(Case { name: raw.name, questions, settings, expect }),
        (_, _, _) => Err(problems),
    }
}

fn questions(raw: &RawCase, dir: &Path) -> Result<Questions, String> {
    match (&raw.snapshot, raw.random, raw.seed) {
        (Some(_), Some(_), _) => Err("`snapshot` and `random` exclude each other".into()),
        (_, None, Some(seed)) => Err(format!("`seed = {seed}` needs `random = …`")),
        (None, Some(count), seed) if (1..=MOST_RANDOM).contains(&count) => {
            Ok(Questions::Random { count, seed })
        }
        (None, Some(count), _) => Err(format!("`random = {count}` is not between 1 and {MOST_RANDOM}")),
        (None, None, None) => Ok(Questions::Inline(serde_json::Value::Object(serde_json::Map::new()))),
        (Some(toml::Value::String(file)), None, None) => Ok(Questions::File(dir.join(file))),
        (Some(toml::Value::Table(table)), None, None) => serde_json::to_value(table)
            .map(Questions::Inline)
            .map_err(|error| format!("`snapshot` cannot be read: {error}")),
        (Some(other), None, None) => {
            Err(format!("`snapshot = {other}` is neither a file's name nor a table"))
        }
    }
}

impl Questions {
    /// The one question of a case that has one.
    pub(crate) fn written(&self, kind: Kind) -> Result<Option<Snapshot>, Failure> {
        match self {
            Questions::File(path) => {
                let snapshot = read_snapshot(path)?;
                if snapshot.kind() != kind {
                    let found = snapshot.kind();
                    return Err(
                        Failure::input(anyhow!("it is for a {found} strategy, not for {kind}")).of(path)
                    );
                }
                Ok(Some(snapshot))
            }
            Questions::Inline(body) => {
                let wrong = |why: &dyn Display| Failure::input(anyhow!("`snapshot`: {why}"));
                let snapshot = Snapshot::deserialize_body(kind, body).map_err(|error| wrong(&error))?;
                snapshot.check_lengths().map_err(|error| wrong(&error))?;
                Ok(Some(snapshot))
            }
            Questions::Random { .. } => Ok(None),
        }
    }
}

/// Where and what, without the drawing.
fn on_one_line(text: &str, error: &toml::de::Error) -> String {
    let message = error.message().replace('\n', " ");
    match error.span() {
        Some(span) => {
            let before = text.as_bytes().get(..span.start).unwrap_or_default();
            let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
            format!("line {line}: {message}")
        }
        None => message,
    }
}

#[cfg(test)]
mod tests {
    use enid_core::snapshot::Value;

    use super::*;

    fn problems(text: &str) -> Vec<String> {
        parse(text, Path::new("/dir")).unwrap_err()
    }

    #[test]
    fn cases_are_read_in_order() {
        let text = r#"
            [[case]]
            name = "busy"
            snapshot = "snapshots/busy.json"
            settings = { headroom = 3 }
            [case.expect]
            target = { ready_low = 3 }
            [[case]]
            name = "inline"
            snapshot = { pods = { bound = 4 } }
            [[case]]
            name = "any"
            random = 200
            seed = 7
            [[case]]
            name = "plain"
        "#;
        let cases = parse(text, Path::new("/dir")).unwrap();
        assert_eq!(cases[0].questions, Questions::File("/dir/snapshots/busy.json".into()));
        assert_eq!(cases[0].settings, [Setting { key: "headroom".into(), value: Value::Int(3) }]);
        let written = |case: &Case| case.questions.written(Kind::WarmPool).unwrap();
        let Some(Snapshot::WarmPool(inline)) = written(&cases[1]) else { panic!("no question") };
        assert_eq!((inline.pods.bound, inline.pods.max), (4, 29));
        assert_eq!(cases[2].questions, Questions::Random { count: 200, seed: Some(7) });
        assert_eq!(written(&cases[2]), None);
        assert_eq!(written(&cases[3]), Some(crate::command::decide::plain(Kind::WarmPool).unwrap()));
    }

    #[test]
    fn everything_wrong_is_told_at_once_with_the_cases_name() {
        let text = r#"
            [[case]]
            name = "first"
            snapshot = 3
            settings = { share = 0.5 }
            [[case]]
            name = "second"
            seed = 1
            [case.expect]
            admited = true
        "#;
        let problems = problems(text);
        assert_eq!(problems.len(), 4, "{problems:?}");
        assert!(problems[..2].iter().all(|problem| problem.starts_with("case \"first\": ")), "{problems:?}");
    }

    #[test]
    fn what_is_no_toml_or_has_unknown_keys_is_told_with_its_line() {
        assert!(problems("\n[[case]\n")[0].starts_with("line 2: "));
        let unknown = &problems("[[case]]\nname = \"x\"\nrandon = 3\n")[0];
        assert!(unknown.starts_with("line 3: ") && unknown.contains("randon"), "{unknown}");
        assert!(problems("")[0].contains("case"));
    }

    #[test]
    fn made_up_questions_are_bounded_and_exclude_written_ones() {
        for wrong in ["random = 0", "random = 1000000", "random = 1\nsnapshot = {}"] {
            assert_eq!(problems(&format!("[[case]]\nname = \"x\"\n{wrong}\n")).len(), 1, "{wrong}");
        }
    }

    #[test]
    fn inline_questions_with_unknown_fields_are_refused() {
        let case = &parse("[[case]]\nname = \"x\"\nsnapshot = { podds = {} }\n", Path::new(".")).unwrap()[0];
        let refused = case.questions.written(Kind::WarmPool).unwrap_err();
        assert_eq!((refused.code, refused.to_string().contains("podds")), (Failure::INPUT, true));
    }
}
