//! What to put into `enid.toml` for a component.

use std::path::Path;

use clap::ValueEnum;
use enid_component_store::Digest;
use enid_core::kind::Kind;

/// How a command prints a component that is ready for use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people
    #[default]
    Text,
    /// One JSON document
    Json,
    /// The table for enid.toml alone
    Toml,
}

/// The table that selects a component by file and digest.
pub(crate) fn toml(kind: Kind, component: &Path, digest: &Digest) -> String {
    let file = std::path::absolute(component).unwrap_or_else(|_| component.to_owned());
    let file = toml::Value::String(file.display().to_string());
    format!("[strategy.{kind}]\nuse = {file}\ndigest = \"{digest}\"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_file_name_makes_a_settings_file_that_can_be_read() {
        let digest = Digest::of(b"x");
        let text = toml(Kind::WarmPool, Path::new("/a \"quoted\"\\ name.wasm"), &digest);
        let read: toml::Table = toml::from_str(&text).unwrap();
        let chosen = &read["strategy"]["warm-pool"];
        assert_eq!(chosen["use"].as_str(), Some("/a \"quoted\"\\ name.wasm"));
        assert_eq!(chosen["digest"].as_str(), Some(digest.to_string().as_str()));
    }
}
