//! Shared dependencies, their versions and features, are declared once: in the root manifest.
//!
//! A second feature set would compile the AWS SDK and wasmtime twice.

/// What is wrong with a member's manifest.
pub fn violations(manifest: &str) -> Vec<String> {
    let mut violations = Vec::new();
    let mut section = "";
    for line in manifest.lines().map(str::trim) {
        if let Some(header) = line.strip_prefix('[') {
            section = header.trim_end_matches(']');
            if is_dependencies(section) && !ends_in_dependencies(section) {
                violations.push(format!("[{section}]: write `name.workspace = true`"));
            }
            if section == "features" || section.starts_with("profile") {
                violations.push(format!("[{section}] belongs to the root manifest, if anywhere"));
            }
        } else if is_dependencies(section) && line.contains('=') && !line.starts_with('#') {
            let (name, rest) = line.split_once('=').unwrap_or((line, ""));
            if !name.trim().ends_with(".workspace") || rest.trim() != "true" {
                violations.push(format!(
                    "[{section}] `{line}`: write `name.workspace = true`, and the rest in the root manifest"
                ));
            }
        }
    }
    if !manifest.contains("[lints]\nworkspace = true") {
        violations.push("[lints] must have `workspace = true`".to_owned());
    }
    violations
}

fn is_dependencies(section: &str) -> bool {
    section.split('.').any(|part| part.ends_with("dependencies"))
}

fn ends_in_dependencies(section: &str) -> bool {
    section.rsplit('.').next().is_some_and(|part| part.ends_with("dependencies"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINTS: &str = "[lints]\nworkspace = true\n";

    #[test]
    fn inherited_dependencies_are_fine() {
        let manifest = format!(
            "[package]\nname = \"a\"\n{LINTS}[dependencies]\nserde.workspace = true\n# why\n[dev-dependencies]\n"
        );
        assert_eq!(violations(&manifest), Vec::<String>::new());
    }

    #[test]
    fn versions_and_features_of_a_members_own_are_refused() {
        for own in [
            "[dependencies]\nserde = \"1\"",
            "[dependencies]\nserde = { workspace = true, features = [\"derive\"] }",
            "[target.'cfg(unix)'.dependencies]\nrustix = \"1\"",
            "[dependencies.serde]\nworkspace = true",
            "[features]\ndefault = []",
        ] {
            assert!(!violations(&format!("{LINTS}{own}\n")).is_empty(), "{own}");
        }
    }

    #[test]
    fn the_workspaces_lints_are_inherited() {
        assert_eq!(violations("[package]\nname = \"a\"\n").len(), 1);
    }
}
