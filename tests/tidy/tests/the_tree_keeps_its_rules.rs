//! The rules, held against the tree that this test was built from.

use std::fs;

use tidy::edges::Graph;
use tidy::{contract, manifests, root, tree};

fn none(violations: &[String]) {
    assert!(violations.is_empty(), "\n{}", violations.join("\n"));
}

#[test]
fn dependencies_point_inward() {
    none(&Graph::read(&root()).unwrap().violations());
}

#[test]
fn the_top_holds_what_the_design_says() {
    none(&tree::top_violations(&root()).unwrap());
}

#[test]
fn sources_keep_to_names_sizes_and_openings() {
    let mut violations = Vec::new();
    for file in tree::files(&root()).unwrap() {
        if file.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(root().join(&file)).unwrap();
            violations.extend(tree::source_violations(&file, &text));
        }
    }
    none(&violations);
}

#[test]
fn members_declare_no_versions_and_features() {
    let mut violations = Vec::new();
    for (name, member) in Graph::read(&root()).unwrap().members {
        let manifest = fs::read_to_string(root().join(&member.directory).join("Cargo.toml")).unwrap();
        violations.extend(manifests::violations(&manifest).into_iter().map(|why| format!("{name}: {why}")));
    }
    none(&violations);
}

#[test]
fn the_contract_keeps_what_was_released() {
    let read = |path: &str| fs::read_to_string(root().join(path)).unwrap();
    none(&contract::violations(&read("tests/guests/frozen/0.1.0/strategy.wit"), &read("wit/strategy.wit")));
}
