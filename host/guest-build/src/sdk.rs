//! The Rust SDK as files: projects outside this repository carry a copy of it, and of the contract.

use crate::contract;

/// What the copy's manifests have in place of a version.
const VERSION: &str = "{{version}}";

macro_rules! embedded {
    ($from:literal, $to:literal, [$($file:literal),* $(,)?]) => {
        [$((concat!($to, $file), include_str!(concat!("../../../", $from, $file)))),*]
    };
}

const LIBRARY: [(&str, &str); 10] = embedded!(
    "guest-sdk/src/",
    "enid-guest/src/",
    [
        "bindings.rs",
        "export.rs",
        "lib.rs",
        "log.rs",
        "settings.rs",
        "settings/allowed.rs",
        "settings/schema.rs",
        "state.rs",
        "strategy.rs",
        "testing.rs",
    ]
);

const DERIVE: [(&str, &str); 5] = embedded!(
    "guest-sdk/derive/src/",
    "enid-guest/derive/src/",
    ["choice.rs", "declaration.rs", "lib.rs", "settings.rs", "state.rs"]
);

const MANIFESTS: [(&str, &str); 2] = [
    ("enid-guest/Cargo.toml", include_str!("../templates/sdk/enid-guest.toml")),
    ("enid-guest/derive/Cargo.toml", include_str!("../templates/sdk/derive.toml")),
];

/// Every file, by its path in the folder that holds the copy.
///
/// The contract lies beside the SDK because the SDK's bindings are generated from there.
pub fn files() -> Vec<(&'static str, String)> {
    let manifests = MANIFESTS.map(|(path, text)| (path, text.replace(VERSION, env!("CARGO_PKG_VERSION"))));
    let sources = LIBRARY.iter().chain(&DERIVE).map(|(path, text)| (*path, (*text).to_owned()));
    let contract = [("wit/strategy.wit", contract::WIT.to_owned())];
    manifests.into_iter().chain(sources).chain(contract).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::{Path, PathBuf};

    fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                sources(&path, found);
            } else {
                found.push(path);
            }
        }
    }

    #[test]
    fn every_source_file_of_the_sdk_is_copied() {
        let sdk = Path::new(&std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo and xtask tell it"))
            .join("../../guest-sdk");
        for (from, to) in [("src", "enid-guest/src"), ("derive/src", "enid-guest/derive/src")] {
            let mut found = Vec::new();
            sources(&sdk.join(from), &mut found);
            let relative = |path: PathBuf| path.strip_prefix(sdk.join(from)).unwrap().to_owned();
            let found: BTreeSet<PathBuf> =
                found.into_iter().map(|path| Path::new(to).join(relative(path))).collect();
            let copied: BTreeSet<PathBuf> = files()
                .iter()
                .map(|(path, _)| PathBuf::from(path))
                .filter(|path| path.starts_with(to))
                .collect();
            assert_eq!(copied, found, "add what is missing to the lists above");
        }
    }

    /// The dependencies of the copy are those of this workspace, feature for feature.
    #[test]
    fn the_copys_dependencies_are_the_workspaces() {
        let root = Path::new(&std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo and xtask tell it"))
            .join("../..");
        let read = |path: PathBuf| -> toml::Table { fs::read_to_string(path).unwrap().parse().unwrap() };
        let workspace = read(root.join("Cargo.toml"));
        let known = workspace["workspace"]["dependencies"].as_table().unwrap().clone();
        for (copy, original) in MANIFESTS.iter().zip(["guest-sdk", "guest-sdk/derive"]) {
            let copy: toml::Table = copy.1.parse().unwrap();
            let original = read(root.join(original).join("Cargo.toml"));
            let names = |manifest: &toml::Table| -> Vec<String> {
                manifest["dependencies"].as_table().unwrap().keys().cloned().collect()
            };
            assert_eq!(names(&copy), names(&original));
            for (name, dependency) in copy["dependencies"].as_table().unwrap() {
                if dependency.get("path").is_none() {
                    assert_eq!(dependency, &known[name], "{name}");
                }
            }
        }
    }
}
