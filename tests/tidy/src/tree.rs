//! Names, places, sizes and openings of files.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// What may lie at the top besides dot-files. Whoever wants more argues with the design first.
const TOP: [&str; 11] = [
    "Cargo.lock",
    "Cargo.toml",
    "README.md",
    "deploy",
    "guest-sdk",
    "host",
    "rust-toolchain.toml",
    "strategies",
    "target",
    "tests",
    "wit",
];

/// Names that say nothing: a module is a noun of the domain.
const EMPTY_NAMES: [&str; 9] =
    ["common", "helper", "helpers", "manager", "misc", "shared", "types", "util", "utils"];

/// Lines of a source file: beyond this, some noun inside it wants its own file.
const MAX_LINES: usize = 700;

/// Crates that may not wait for anything.
const PURE: [&str; 2] = ["host/core/src", "host/protocol/src"];

/// What lies at the top and should not.
pub fn top_violations(root: &Path) -> Result<Vec<String>> {
    let mut violations = Vec::new();
    for entry in fs::read_dir(root).with_context(|| format!("read {}", root.display()))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') && !TOP.contains(&name.as_str()) {
            violations.push(format!("{name} lies at the top, where only {} may", TOP.join(", ")));
        }
    }
    if !root.join("Cargo.lock").is_file() {
        violations.push("Cargo.lock is missing: builds must be repeatable".to_owned());
    }
    let ignored = fs::read_to_string(root.join(".gitignore")).unwrap_or_default();
    if ignored.lines().any(|line| line.trim().trim_start_matches('/') == "Cargo.lock") {
        violations.push("Cargo.lock is ignored: it must be committed".to_owned());
    }
    Ok(violations)
}

/// All files below `root` that belong to the tree, relative to it, in order.
pub fn files(root: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut ahead = vec![root.to_owned()];
    while let Some(directory) = ahead.pop() {
        for entry in fs::read_dir(&directory).with_context(|| format!("read {}", directory.display()))? {
            let entry = entry?;
            let name = entry.file_name();
            let kind = entry.file_type()?;
            if kind.is_dir() && name != "target" && name != ".git" {
                ahead.push(entry.path());
            } else if kind.is_file() {
                files.push(entry.path().strip_prefix(root).unwrap_or(&entry.path()).to_owned());
            }
        }
    }
    files.sort();
    Ok(files)
}

/// What is wrong with a source file at `path`, relative to the root.
pub fn source_violations(path: &Path, text: &str) -> Vec<String> {
    let mut violations = Vec::new();
    let shown = path.display();
    for part in path.iter().filter_map(|part| part.to_str()) {
        let name = part.strip_suffix(".rs").unwrap_or(part);
        if EMPTY_NAMES.contains(&name) {
            violations.push(format!("{shown}: `{name}` says nothing; a module is a noun of the domain"));
        }
    }
    let lines = text.lines().count();
    if lines > MAX_LINES {
        violations.push(format!("{shown}: {lines} lines; look for the noun inside that wants its own file"));
    }
    if opens_a_crate(path) && (!text.starts_with("//! ") || text.starts_with("//! Placeholder")) {
        violations.push(format!(
            "{shown}: must open with what it does, what it never does, and a map of its modules"
        ));
    }
    for (index, line) in text.lines().enumerate() {
        if let Some(fault) = fault_of(path, line.trim()) {
            violations.push(format!("{shown}:{}: {fault}", index + 1));
        }
    }
    violations
}

fn opens_a_crate(path: &Path) -> bool {
    path.ends_with("src/lib.rs") || path.ends_with("src/main.rs")
}

fn fault_of(path: &Path, line: &str) -> Option<&'static str> {
    if line.starts_with("#[ignore]") {
        return Some("an ignored test says why: `#[ignore = \"…\"]`");
    }
    let excepted =
        ["#[allow(", "#![allow(", "#[expect(", "#![expect("].iter().any(|start| line.starts_with(start));
    if excepted && line.ends_with(")]") && !line.contains("reason = ") {
        return Some("an exception is `#[expect(lint, reason = \"…\")]`");
    }
    let waits = line.contains("async fn ") || line.contains("async move") || line.contains(".await");
    if waits && !line.starts_with("//") && PURE.iter().any(|pure| path.starts_with(pure)) {
        return Some("nothing here may wait: this crate is pure");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(path: &str, text: &str) -> Vec<String> {
        source_violations(Path::new(path), text)
    }

    #[test]
    fn ordinary_sources_are_fine() {
        assert_eq!(of("host/core/src/lease.rs", "//! Leases.\n"), Vec::<String>::new());
        assert_eq!(of("host/core/src/instance_types.rs", ""), Vec::<String>::new());
    }

    #[test]
    fn names_that_say_nothing_are_refused() {
        assert_eq!(of("host/core/src/utils.rs", "").len(), 1);
        assert_eq!(of("tests/e2e/src/common/node.rs", "").len(), 1);
    }

    #[test]
    fn long_files_are_refused() {
        assert_eq!(of("host/core/src/plan.rs", &"\n".repeat(701)).len(), 1);
        assert_eq!(of("host/core/src/plan.rs", &"\n".repeat(700)).len(), 0);
    }

    #[test]
    fn crates_open_with_what_they_do() {
        assert_eq!(of("host/core/src/lib.rs", "pub mod a;").len(), 1);
        assert_eq!(of("host/core/src/lib.rs", "//! Placeholder.").len(), 1);
        assert_eq!(of("host/core/src/lib.rs", "//! Decides.").len(), 0);
    }

    #[test]
    fn ignored_tests_and_exceptions_give_reasons() {
        let a = concat!("#[", "ignore]\nfn x() {}");
        assert_eq!(of("a.rs", a).len(), 1);
        assert_eq!(of("a.rs", "#[ignore = \"needs a moon\"]").len(), 0);
        assert_eq!(of("a.rs", concat!("#[", "allow(dead_code)]")).len(), 1);
        assert_eq!(of("a.rs", "#[expect(dead_code, reason = \"later\")]").len(), 0);
    }

    #[test]
    fn pure_crates_do_not_wait() {
        assert_eq!(of("host/core/src/a.rs", "    x.await;").len(), 1);
        assert_eq!(of("host/engine/src/a.rs", "    x.await;").len(), 0);
    }
}
