//! `[engine]`: how strategy components are run, and which are trusted.

use std::path::{Path, PathBuf};

use enid_component_store::TrustedKeys;
use enid_policy_wasm::runtime::Place as Isolation;

use super::document::Section;
use super::is_path;

/// Keys whose signatures count; each is tried on every component.
const MAX_KEYS: usize = 16;

/// `[engine]`: how strategy components are run, and which are trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Engine {
    /// Where components run. Default `process`: a child without rights, so that not even a fault in the engine
    /// itself reaches the daemon. `in-process` saves its memory, and leaves WebAssembly's own walls.
    pub isolation: Isolation,
    /// Where compiled components are kept. Default `/var/cache/enid`; it may be emptied at any time.
    pub cache_dir: PathBuf,
    /// Where `enid strategy pull` puts components and digests are looked up. Default `/var/lib/enid/components`.
    pub store_dir: PathBuf,
    /// Keys whose signatures count. Default: none.
    pub trusted_keys: TrustedKeys,
    /// Whether a component that is not shipped and has no signature of a trusted key is refused. Default false: a
    /// digest says which component it is, and whoever can write the settings can write that.
    pub require_signatures: bool,
}

impl Default for Engine {
    fn default() -> Self {
        Self {
            isolation: Isolation::default(),
            cache_dir: "/var/cache/enid".into(),
            store_dir: "/var/lib/enid/components".into(),
            trusted_keys: TrustedKeys::default(),
            require_signatures: false,
        }
    }
}

impl Engine {
    pub(super) fn read(section: &mut Section<'_, '_>, directory: &Path) -> Self {
        let default = Self::default();
        let path = |section: &mut Section<'_, '_>, key| {
            section.text(key, "the path of a directory", |path| is_path(path).then(|| directory.join(path)))
        };
        let mut keys: Vec<String> = Vec::new();
        let mut trusted_keys = default.trusted_keys;
        let key =
            "a minisign public key that is not listed yet, alone (\"RWQ…\") or with a name (\"NAME=RWQ…\")";
        section.texts("trusted_keys", 0..=MAX_KEYS, key, |text| {
            keys.push(text.to_owned());
            let all = TrustedKeys::parse(&keys);
            if all.is_err() {
                keys.pop();
            }
            trusted_keys = all.ok()?;
            Some(())
        });
        let required = if trusted_keys.is_empty() {
            "false: no key is trusted, see trusted_keys"
        } else {
            "true or false"
        };
        Self {
            isolation: section
                .text("isolation", "\"process\" or \"in-process\"", isolation)
                .unwrap_or(default.isolation),
            cache_dir: path(section, "cache_dir").unwrap_or(default.cache_dir),
            store_dir: path(section, "store_dir").unwrap_or(default.store_dir),
            require_signatures: section
                .flag_if("require_signatures", required, |flag| !flag || !trusted_keys.is_empty())
                .unwrap_or(default.require_signatures),
            trusted_keys,
        }
    }
}

fn isolation(text: &str) -> Option<Isolation> {
    match text {
        "process" => Some(Isolation::Process),
        "in-process" => Some(Isolation::InProcess),
        _ => None,
    }
}
