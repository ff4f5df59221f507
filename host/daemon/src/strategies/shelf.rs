//! Where components come from: shipped with enid, kept in the component store, or anywhere else as a file.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use enid_component_store::{Digest, Store, StoreError};
use enid_policy_wasm::Source as Component;

use crate::settings::{Settings, Source};

/// What lists the shipped components, next to them: `<hex>  <name>.wasm`, as sha256sum writes it.
const SUMS: &str = "SHA256SUMS";
/// Bytes that it may have: some hundred lines.
const MAX_SUMS: u64 = 64 << 10;

/// Why it cannot be told which component is meant.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unresolved {
    /// A name without a digest that is not shipped.
    #[error(
        "no shipped strategy has this name ({shipped}); for one in the component store, set `digest` as well"
    )]
    NotShipped {
        /// Those that are, in words.
        shipped: String,
    },
    /// A shipped name with a digest that is not the shipped one's.
    #[error("must be \"{shipped}\", which is what enid ships, or be left out")]
    NotTheShipped {
        /// The shipped component's.
        shipped: Digest,
    },
    /// A digest that is not in the component store.
    #[error("no component with this digest is in {}; `enid strategy pull` gets it", .store.display())]
    NotInStore {
        /// The store's directory.
        store: PathBuf,
    },
    /// The component store cannot be used.
    #[error("the component store cannot be used")]
    Store(#[from] StoreError),
    /// A file without a digest.
    #[error("a component that is not shipped needs its digest")]
    Unpinned,
}

impl Unresolved {
    /// The setting of the strategy that would have to change.
    pub(crate) fn key(&self) -> &'static str {
        match self {
            Unresolved::NotShipped { .. } => "use",
            Unresolved::NotTheShipped { .. }
            | Unresolved::NotInStore { .. }
            | Unresolved::Store(_)
            | Unresolved::Unpinned => "digest",
        }
    }
}

/// Where shipped strategies are: what the settings say, `strategies` next to the program, or where a
/// package puts them.
pub(crate) fn directory(settings: &Settings) -> PathBuf {
    if let Some(directory) = &settings.node.strategy_dir {
        return directory.clone();
    }
    let program = std::env::current_exe().unwrap_or_default();
    let beside = program.parent().unwrap_or(Path::new("/")).join("strategies");
    if beside.is_dir() { beside } else { PathBuf::from("/usr/share/enid/strategies") }
}

/// The components that can be had by name.
#[derive(Debug)]
pub(crate) struct Shelf {
    directory: PathBuf,
    shipped: Result<BTreeMap<String, Digest>, String>,
    store: PathBuf,
}

impl Shelf {
    /// What the settings make available; looked at now.
    pub(crate) fn of(settings: &Settings) -> Self {
        let directory = directory(settings);
        let shipped = read_sums(&directory.join(SUMS));
        Self { directory, shipped, store: settings.engine.store_dir.clone() }
    }

    /// The file that says what is shipped.
    pub(crate) fn sums(&self) -> PathBuf {
        self.directory.join(SUMS)
    }

    /// The component behind a name or path, under the name that it has in decisions.
    pub(crate) fn find(
        &self,
        source: &Source,
        pinned: Option<Digest>,
    ) -> Result<(String, Component), Unresolved> {
        match (source, pinned) {
            (Source::Named(name), _) if *source == Source::builtin() => {
                Ok((name.clone(), Component::Builtin))
            }
            (Source::Named(name), pinned) => Ok((name.clone(), self.by_name(name, pinned)?)),
            (Source::File(path), Some(digest)) => {
                let name =
                    path.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
                Ok((name, Component::Component { path: path.clone(), digest }))
            }
            (Source::File(_), None) => Err(Unresolved::Unpinned),
        }
    }

    fn by_name(&self, name: &str, pinned: Option<Digest>) -> Result<Component, Unresolved> {
        let shipped = self.shipped.as_ref().ok().and_then(|shipped| shipped.get(name)).copied();
        match (shipped, pinned) {
            (Some(shipped), Some(pinned)) if shipped != pinned => Err(Unresolved::NotTheShipped { shipped }),
            (Some(digest), _) => {
                Ok(Component::Shipped { path: self.directory.join(format!("{name}.wasm")), digest })
            }
            (None, Some(digest)) => {
                let path = Store::open(&self.store)?.path_of(&digest);
                if !path.is_file() {
                    return Err(Unresolved::NotInStore { store: self.store.clone() });
                }
                Ok(Component::Component { path, digest })
            }
            (None, None) => Err(Unresolved::NotShipped { shipped: self.shipped_in_words() }),
        }
    }

    fn shipped_in_words(&self) -> String {
        match &self.shipped {
            Ok(shipped) => {
                let names: Vec<&str> = shipped.keys().map(String::as_str).collect();
                format!("{} has {}", self.directory.display(), names.join(", "))
            }
            Err(why) => format!("{}: {why}", self.sums().display()),
        }
    }
}

/// Reads `<hex>  <name>.wasm` line by line; the first line that is something else makes the file unusable.
fn read_sums(path: &Path) -> Result<BTreeMap<String, Digest>, String> {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(MAX_SUMS).read_to_string(&mut text));
    read.map_err(|why| why.to_string())?;
    let mut shipped = BTreeMap::new();
    for (index, line) in text.lines().enumerate() {
        let parsed = line.split_once("  ").and_then(|(hex, file)| {
            let plain = !file.contains('/');
            let name = file.strip_suffix(".wasm").filter(|name| plain && !name.is_empty())?;
            Some((name.to_owned(), Digest::from_hex(hex).ok()?))
        });
        let (name, digest) = parsed.ok_or_else(|| {
            format!("line {} is not 64 hexadecimal digits, two spaces, NAME.wasm", index + 1)
        })?;
        shipped.insert(name, digest);
    }
    Ok(shipped)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shelf(sums: &str) -> (tempfile::TempDir, Shelf) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(SUMS), sums).unwrap();
        let mut settings = Settings::default();
        settings.node.strategy_dir = Some(dir.path().to_owned());
        settings.engine.store_dir = dir.path().join("store");
        let shelf = Shelf::of(&settings);
        (dir, shelf)
    }

    fn named(name: &str) -> Source {
        Source::Named(name.to_owned())
    }

    #[test]
    fn a_shipped_name_is_its_file_and_its_listed_digest() {
        let digest = Digest::of(b"pool");
        let (dir, shelf) = shelf(&format!("{}  pool.wasm\n", digest.hex()));
        let expected = Component::Shipped { path: dir.path().join("pool.wasm"), digest };
        for pinned in [None, Some(digest)] {
            assert_eq!(shelf.find(&named("pool"), pinned).unwrap(), ("pool".to_owned(), expected.clone()));
        }
        let other = shelf.find(&named("pool"), Some(Digest::of(b"other"))).unwrap_err();
        assert!(matches!(other, Unresolved::NotTheShipped { shipped } if shipped == digest));
    }

    #[test]
    fn an_unknown_name_is_told_those_that_are_shipped() {
        let (_dir, shelf) = shelf(&format!("{0}  a.wasm\n{0}  b.wasm\n", Digest::of(b"").hex()));
        let refused = shelf.find(&named("c"), None).unwrap_err();
        assert_eq!(refused.key(), "use");
        assert!(refused.to_string().contains(" has a, b)"), "{refused}");
    }

    #[test]
    fn a_name_with_a_digest_is_looked_for_in_the_store() {
        let (dir, shelf) = shelf("");
        let digest = Digest::of(b"component");
        let absent = shelf.find(&named("mine"), Some(digest)).unwrap_err();
        assert!(matches!(&absent, Unresolved::NotInStore { .. }), "{absent}");
        let store = Store::open(dir.path().join("store")).unwrap();
        let path = store.path_of(&digest);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, b"component").unwrap();
        let found = shelf.find(&named("mine"), Some(digest)).unwrap();
        assert_eq!(found, ("mine".to_owned(), Component::Component { path, digest }));
    }

    #[test]
    fn a_file_is_pinned_or_refused() {
        let (_dir, shelf) = shelf("");
        let file = Source::File("/opt/pool.wasm".into());
        assert!(matches!(shelf.find(&file, None), Err(Unresolved::Unpinned)));
        let digest = Digest::of(b"x");
        let expected = Component::Component { path: "/opt/pool.wasm".into(), digest };
        assert_eq!(shelf.find(&file, Some(digest)).unwrap(), ("pool".to_owned(), expected));
    }

    #[test]
    fn a_damaged_list_ships_nothing_and_names_the_line() {
        let hex = Digest::of(b"").hex();
        for bad in
            ["nonsense", &format!("{hex} a.wasm"), &format!("{hex}  ../a.wasm"), &format!("{hex}  .wasm")]
        {
            let (_dir, shelf) = shelf(&format!("{hex}  a.wasm\n{bad}\n"));
            let refused = shelf.find(&named("a"), None).unwrap_err().to_string();
            assert!(refused.contains("SHA256SUMS: line 2 "), "{refused}");
        }
    }
}
