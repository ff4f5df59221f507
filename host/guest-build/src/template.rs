//! New projects: a small strategy that means something, with settings, cases and a README.
//!
//! A kind's strategy answers alike in every language, and so has the same cases in every language.

use std::fs;
use std::path::{Path, PathBuf};

use crate::project::{Language, check_name};
use crate::{Error, Kind, output, sdk};

/// A file of a template: its path in the project, and its text with `{{…}}` for what differs.
type File = (&'static str, &'static str);

const README: &str = include_str!("../templates/README.md");
const IGNORED: &str = include_str!("../templates/gitignore");
const MANIFEST: &str = include_str!("../templates/strategy.toml");

/// Writes a new project called `name` into `dir`, which must be empty or not there, and returns its files.
pub fn new_project(dir: &Path, name: &str, kind: Kind, language: Language) -> Result<Vec<PathBuf>, Error> {
    check_name(name)?;
    if fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some()) || dir.is_file() {
        return Err(Error::Occupied(dir.to_owned()));
    }
    let mut written = Vec::new();
    for (path, text) in files(name, kind, language) {
        let path = dir.join(path);
        output::write_if_changed(&path, text.as_bytes())?;
        written.push(path);
    }
    Ok(written)
}

fn files(name: &str, kind: Kind, language: Language) -> Vec<(String, String)> {
    let mut template: Vec<File> =
        vec![("README.md", README), (".gitignore", IGNORED), ("tests.toml", cases(kind))];
    template.extend(sources(kind, language));
    let words = words(name, kind, language);
    let filled = |text: &str| {
        words
            .iter()
            .fold(text.to_owned(), |text, (word, value)| text.replace(&format!("{{{{{word}}}}}"), value))
    };
    let mut files: Vec<(String, String)> =
        template.into_iter().map(|(path, text)| (path.to_owned(), filled(text))).collect();
    if language == Language::Rust {
        files.extend(sdk::files().into_iter().map(|(path, text)| (format!("vendor/{path}"), text)));
    }
    files
}

/// What stands for `{{…}}`.
fn words(name: &str, kind: Kind, language: Language) -> [(&'static str, String); 8] {
    let needs = match language {
        Language::C => "clang, lld, wasi-libc and libclang-rt-dev-wasm32, as Debian calls them",
        Language::JavaScript => "node and npm; the first build fetches componentize-qjs",
        Language::Python => "python3 with venv; the first build fetches componentize-py",
        Language::Rust => "cargo, by rustup; `cargo test` runs the tests in the source natively",
    };
    let source = match language {
        Language::Rust => "src/lib.rs",
        Language::C | Language::JavaScript | Language::Python => language.marker(),
    };
    // Interpreters need more than a component may have unless the operator says so: JavaScript's for large nodes,
    // Python's from the start.
    let (flags, limits) = match language {
        Language::Python => {
            (" --component-mib 32 --memory-mib 32", "limits = { component_mib = 32, memory_mib = 32 }\n")
        }
        Language::JavaScript => (" --fuel 100000000", "limits = { fuel = 100_000_000 }\n"),
        Language::C | Language::Rust => ("", ""),
    };
    let summary = match kind {
        Kind::MaxPods => "Runs as many pods as there are addresses, and at most so many per vCPU",
        Kind::SubnetSelection => {
            "Takes the subnet with the most room, leaves some to others, avoids where it failed"
        }
        Kind::WarmPool => "Holds a few addresses ready, and more of them the more pods there are",
    };
    let settings = match kind {
        Kind::MaxPods => "pods_per_vcpu = 20, host_network = 2",
        Kind::SubnetSelection => "keep_free = 16, failure_cost = 16",
        Kind::WarmPool => "headroom = 3, percent = 10",
    };
    [
        ("name", name.to_owned()),
        ("kind", kind.to_string()),
        ("summary", summary.to_owned()),
        ("source", source.to_owned()),
        ("needs", needs.to_owned()),
        ("settings", settings.to_owned()),
        ("flags", flags.to_owned()),
        ("limits", limits.to_owned()),
    ]
}

fn cases(kind: Kind) -> &'static str {
    match kind {
        Kind::MaxPods => include_str!("../templates/tests/max-pods.toml"),
        Kind::SubnetSelection => include_str!("../templates/tests/subnet-selection.toml"),
        Kind::WarmPool => include_str!("../templates/tests/warm-pool.toml"),
    }
}

fn sources(kind: Kind, language: Language) -> Vec<File> {
    let manifest: File = ("strategy.toml", MANIFEST);
    match language {
        Language::C => vec![
            manifest,
            (
                "strategy.c",
                match kind {
                    Kind::MaxPods => include_str!("../templates/c/max-pods.c"),
                    Kind::SubnetSelection => include_str!("../templates/c/subnet-selection.c"),
                    Kind::WarmPool => include_str!("../templates/c/warm-pool.c"),
                },
            ),
            ("knobs.c", include_str!("../templates/c/knobs.c")),
            ("knobs.h", include_str!("../templates/c/knobs.h")),
            ("text.c", include_str!("../templates/c/text.c")),
            ("text.h", include_str!("../templates/c/text.h")),
        ],
        Language::JavaScript => vec![
            manifest,
            (
                "strategy.js",
                match kind {
                    Kind::MaxPods => include_str!("../templates/js/max-pods.js"),
                    Kind::SubnetSelection => include_str!("../templates/js/subnet-selection.js"),
                    Kind::WarmPool => include_str!("../templates/js/warm-pool.js"),
                },
            ),
            ("enid.js", include_str!("../templates/js/enid.js")),
        ],
        Language::Python => vec![
            manifest,
            (
                "strategy.py",
                match kind {
                    Kind::MaxPods => include_str!("../templates/python/max-pods.py"),
                    Kind::SubnetSelection => include_str!("../templates/python/subnet-selection.py"),
                    Kind::WarmPool => include_str!("../templates/python/warm-pool.py"),
                },
            ),
            ("knobs.py", include_str!("../templates/python/knobs.py")),
        ],
        Language::Rust => vec![
            ("Cargo.toml", include_str!("../templates/rust/Cargo.toml")),
            (
                "src/lib.rs",
                match kind {
                    Kind::MaxPods => include_str!("../templates/rust/max-pods.rs"),
                    Kind::SubnetSelection => include_str!("../templates/rust/subnet-selection.rs"),
                    Kind::WarmPool => include_str!("../templates/rust/warm-pool.rs"),
                },
            ),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::project::Project;

    #[test]
    fn every_template_is_a_project_without_anything_left_to_fill_in() {
        for language in Language::ALL {
            for kind in Kind::ALL {
                let home = tempfile::tempdir().unwrap();
                let dir = home.path().join("new");
                let files = new_project(&dir, "my-own", kind, language).unwrap();
                assert_eq!(Project::open(&dir).unwrap().language(), language);
                // In the SDK's sources double braces are Rust.
                let source = |file: &PathBuf| {
                    file.starts_with(dir.join("vendor")) && file.extension().is_some_and(|rs| rs == "rs")
                };
                for file in files.into_iter().filter(|file| !source(file)) {
                    let text = fs::read_to_string(&file).unwrap();
                    assert!(!text.contains("{{"), "{} of {language} {kind}", file.display());
                }
                let cases: toml::Table = fs::read_to_string(dir.join("tests.toml")).unwrap().parse().unwrap();
                assert!(cases["case"].as_array().unwrap().len() >= 2);
            }
        }
    }

    #[test]
    fn nothing_is_overwritten_and_wrong_names_are_refused() {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("precious"), "").unwrap();
        let made = |name: &str, dir: &Path| new_project(dir, name, Kind::WarmPool, Language::C);
        assert!(matches!(made("fine", home.path()), Err(Error::Occupied(_))));
        for name in ["", "Upper", "1st", "a--b", "a-", "a_b", "../up", &"x".repeat(65)] {
            assert!(matches!(made(name, &home.path().join("new")), Err(Error::Name(_))), "{name}");
        }
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
    }
}
