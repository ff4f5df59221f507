//! What a store keeps, gives and refuses.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::thread;

use anyhow::{Context, Result};
use enid_component_store::store::{MAX_COMPONENT, MAX_COMPONENTS, MAX_NAME};
use enid_component_store::{Deposit, Digest, Store, StoreError};
use tempfile::TempDir;

fn store() -> Result<(TempDir, Store)> {
    let dir = tempfile::tempdir()?;
    let store = Store::open(dir.path().join("components"))?;
    Ok((dir, store))
}

fn deposit(bytes: &[u8]) -> Deposit<'_> {
    Deposit {
        digest: Digest::of(bytes),
        bytes,
        signature: None,
        name: "batched",
        source: "oci://registry.example/batched:1.2",
        stored_at_secs: 1_700_000_000,
    }
}

fn mode(path: &Path) -> Result<u32> {
    Ok(fs::metadata(path)?.permissions().mode() & 0o777)
}

#[test]
fn what_is_put_is_given_and_listed() -> Result<()> {
    let (_dir, store) = store()?;
    let entry = store.put(&Deposit { signature: Some("a signature"), ..deposit(b"one") })?;
    let component = store.get(&Digest::of(b"one"))?;
    assert_eq!(component.bytes, b"one");
    assert_eq!(component.signature.as_deref(), Some("a signature"));
    assert_eq!(store.list()?, std::slice::from_ref(&entry));
    assert_eq!((entry.size, entry.signed), (3, true));
    let origin = entry.origin.context("no origin")?;
    assert_eq!((origin.name.as_str(), origin.stored_at_secs), ("batched", 1_700_000_000));
    Ok(())
}

#[test]
fn nothing_is_created_by_looking() -> Result<()> {
    let (dir, store) = store()?;
    assert_eq!(store.list()?, []);
    let digest = Digest::of(b"one");
    assert!(matches!(store.get(&digest), Err(StoreError::NotFound { .. })));
    assert!(matches!(store.remove(&digest), Err(StoreError::NotFound { .. })));
    assert_eq!(fs::read_dir(dir.path())?.count(), 0);
    Ok(())
}

#[test]
fn other_bytes_than_announced_are_refused() -> Result<()> {
    let (dir, store) = store()?;
    let refused = store.put(&Deposit { digest: Digest::of(b"two"), ..deposit(b"one") });
    assert!(matches!(refused, Err(StoreError::WrongDigest { .. })));
    assert_eq!(fs::read_dir(dir.path())?.count(), 0);
    Ok(())
}

#[test]
fn damaged_components_are_never_given() -> Result<()> {
    let (_dir, store) = store()?;
    let digest = store.put(&deposit(b"one"))?.digest;
    for damage in [&b"onf"[..], b"", b"one and more"] {
        fs::write(store.path_of(&digest), damage)?;
        match store.get(&digest) {
            Err(StoreError::Corrupt { path, found }) => {
                assert_eq!((path, found), (store.path_of(&digest), Digest::of(damage)));
            }
            other => panic!("{other:?}"),
        }
    }
    store.put(&deposit(b"one"))?;
    assert_eq!(store.get(&digest)?.bytes, b"one");
    Ok(())
}

#[test]
fn a_component_of_another_name_is_not_given() -> Result<()> {
    let (_dir, store) = store()?;
    let (one, two) = (store.put(&deposit(b"one"))?.digest, store.put(&deposit(b"two"))?.digest);
    fs::rename(store.path_of(&one), store.path_of(&two))?;
    assert!(matches!(store.get(&two), Err(StoreError::Corrupt { .. })));
    Ok(())
}

#[test]
fn files_can_be_read_by_all_and_written_by_the_owner() -> Result<()> {
    let (dir, store) = store()?;
    let digest = store.put(&Deposit { signature: Some("s"), ..deposit(b"one") })?.digest;
    let root = dir.path().join("components");
    for file in [store.path_of(&digest), store.signature_path_of(&digest), root.join("index.json")] {
        assert_eq!(mode(&file)?, 0o644, "{}", file.display());
    }
    for dir in [root.clone(), root.join("blobs"), root.join("blobs/sha256")] {
        assert_eq!(mode(&dir)?, 0o755, "{}", dir.display());
    }
    assert!(!root.join("partial").exists());
    Ok(())
}

#[test]
fn links_and_pipes_are_not_followed() -> Result<()> {
    let (dir, store) = store()?;
    let digest = store.put(&deposit(b"one"))?.digest;
    let (path, elsewhere) = (store.path_of(&digest), dir.path().join("elsewhere"));
    fs::write(&elsewhere, b"one")?;
    fs::remove_file(&path)?;
    symlink(&elsewhere, &path)?;
    assert!(matches!(store.get(&digest), Err(StoreError::NotAFile { .. })));
    assert_eq!(store.list()?, []);
    // A put replaces the link and not what it points to.
    fs::write(&elsewhere, b"precious")?;
    store.put(&deposit(b"one"))?;
    assert_eq!(fs::read(&elsewhere)?, b"precious");
    assert!(fs::symlink_metadata(&path)?.is_file());

    fs::remove_file(&path)?;
    rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR)?;
    assert!(matches!(store.get(&digest), Err(StoreError::NotAFile { .. })));
    Ok(())
}

#[test]
fn a_planted_partial_file_or_lock_is_not_written_through() -> Result<()> {
    let (dir, store) = store()?;
    let precious = dir.path().join("precious");
    fs::write(&precious, b"precious")?;
    let root = dir.path().join("components");
    store.put(&deposit(b"one"))?;
    symlink(&precious, root.join("partial"))?;
    store.put(&deposit(b"two"))?;
    assert_eq!(fs::read(&precious)?, b"precious");

    fs::remove_file(root.join("lock"))?;
    symlink(&precious, root.join("lock"))?;
    assert!(matches!(store.put(&deposit(b"three")), Err(StoreError::NotAFile { .. })));
    Ok(())
}

#[test]
fn directories_inside_are_not_links() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (real, root) = (dir.path().join("real"), dir.path().join("components"));
    fs::create_dir_all(real.join("sha256"))?;
    fs::create_dir(&root)?;
    symlink(&real, root.join("blobs"))?;
    assert!(matches!(Store::open(&root), Err(StoreError::NotADirectory { .. })));
    // The store itself may lie elsewhere.
    let linked = dir.path().join("linked");
    symlink(&real, &linked)?;
    Store::open(&linked)?.put(&deposit(b"one"))?;
    fs::write(dir.path().join("file"), b"")?;
    assert!(matches!(Store::open(dir.path().join("file")), Err(StoreError::NotADirectory { .. })));
    Ok(())
}

#[test]
fn what_is_too_large_or_unprintable_is_refused() -> Result<()> {
    let (_dir, store) = store()?;
    let large = vec![0; MAX_COMPONENT + 1];
    assert!(matches!(store.put(&deposit(&large)), Err(StoreError::TooLarge { what: "component", .. })));
    let long = "x".repeat(5000);
    let signed = Deposit { signature: Some(&long), ..deposit(b"one") };
    assert!(matches!(store.put(&signed), Err(StoreError::TooLarge { what: "signature", .. })));
    let named = Deposit { name: &long[..=MAX_NAME], ..deposit(b"one") };
    assert!(matches!(store.put(&named), Err(StoreError::TooLarge { what: "name", .. })));
    for name in ["", "two\nlines", "\u{1b}[2J"] {
        assert!(matches!(store.put(&Deposit { name, ..deposit(b"one") }), Err(StoreError::Label { .. })));
    }
    // What somebody else enlarged is not read to its end.
    let digest = store.put(&deposit(b"one"))?.digest;
    fs::File::options().write(true).open(store.path_of(&digest))?.set_len(1 << 40)?;
    assert!(matches!(store.get(&digest), Err(StoreError::FileTooLarge { .. })));
    Ok(())
}

#[test]
fn the_largest_component_fits() -> Result<()> {
    let (_dir, store) = store()?;
    let large = vec![7; MAX_COMPONENT];
    let digest = store.put(&deposit(&large))?.digest;
    assert!(store.get(&digest)?.bytes == large);
    Ok(())
}

#[test]
fn writers_do_not_lose_each_others_components() -> Result<()> {
    let (_dir, store) = store()?;
    let bytes: Vec<Vec<u8>> = (0..24u8).map(|n| vec![n; 1000 + usize::from(n)]).collect();
    thread::scope(|scope| {
        let puts: Vec<_> = bytes
            .iter()
            .flat_map(|bytes| [bytes, bytes])
            .map(|bytes| {
                // A handle of one's own, as another process has it.
                let store = store.clone();
                scope.spawn(move || store.put(&deposit(bytes)).map(|entry| entry.digest))
            })
            .collect();
        for put in puts {
            put.join().unwrap().unwrap();
        }
    });
    let entries = store.list()?;
    assert_eq!(entries.len(), bytes.len());
    assert!(entries.iter().all(|entry| entry.origin.is_some()));
    for bytes in &bytes {
        assert_eq!(&store.get(&Digest::of(bytes))?.bytes, bytes);
    }
    Ok(())
}

#[test]
fn readers_see_whole_components_while_they_are_put_again() -> Result<()> {
    let (_dir, store) = store()?;
    let bytes = vec![3; 300_000];
    let digest = store.put(&deposit(&bytes))?.digest;
    thread::scope(|scope| {
        let writer = scope.spawn(|| (0..30).try_for_each(|_| store.put(&deposit(&bytes)).map(drop)));
        while !writer.is_finished() {
            assert_eq!(store.get(&digest).unwrap().bytes.len(), bytes.len());
            assert_eq!(store.list().unwrap().len(), 1);
        }
        writer.join().unwrap().unwrap();
    });
    Ok(())
}

#[test]
fn a_store_holds_a_bounded_number() -> Result<()> {
    let (_dir, store) = store()?;
    let first = store.put(&deposit(b"first"))?.digest;
    for number in 1..MAX_COMPONENTS {
        let bytes = number.to_string();
        fs::write(store.path_of(&Digest::of(bytes.as_bytes())), &bytes)?;
    }
    assert!(matches!(store.put(&deposit(b"one more")), Err(StoreError::Full { .. })));
    // What is there can be put again, and room can be made.
    store.put(&deposit(b"first"))?;
    store.remove(&first)?;
    store.put(&deposit(b"one more"))?;
    Ok(())
}

#[test]
fn a_component_without_a_line_in_the_index_is_listed() -> Result<()> {
    let (_dir, store) = store()?;
    store.put(&deposit(b"one"))?;
    // As after a crash before the index was written.
    let lost = Digest::of(b"lost");
    fs::write(store.path_of(&lost), b"lost")?;
    let entries = store.list()?;
    assert_eq!(entries.len(), 2);
    assert_eq!((entries[0].digest, &entries[0].origin), (lost, &None));
    assert_eq!(store.get(&lost)?.bytes, b"lost");
    store.remove(&lost)?;
    assert_eq!(store.list()?.len(), 1);
    Ok(())
}

#[test]
fn what_is_removed_is_gone_with_its_signature() -> Result<()> {
    let (_dir, store) = store()?;
    let digest = store.put(&Deposit { signature: Some("s"), ..deposit(b"one") })?.digest;
    store.remove(&digest)?;
    assert!(matches!(store.get(&digest), Err(StoreError::NotFound { .. })));
    assert!(!store.signature_path_of(&digest).exists());
    assert_eq!(store.list()?, []);
    // Without its signature it is not signed when it comes again.
    assert!(!store.put(&deposit(b"one"))?.signed);
    Ok(())
}

#[test]
fn a_signature_stays_until_another_one_comes() -> Result<()> {
    let (_dir, store) = store()?;
    let digest = store.put(&Deposit { signature: Some("first"), ..deposit(b"one") })?.digest;
    assert!(store.put(&deposit(b"one"))?.signed);
    assert_eq!(store.get(&digest)?.signature.as_deref(), Some("first"));
    store.put(&Deposit { signature: Some("second"), ..deposit(b"one") })?;
    assert_eq!(store.get(&digest)?.signature.as_deref(), Some("second"));
    Ok(())
}

#[test]
fn an_unreadable_index_is_an_error_and_hides_no_component() -> Result<()> {
    let (dir, store) = store()?;
    let digest = store.put(&deposit(b"one"))?.digest;
    let index = dir.path().join("components/index.json");
    for text in ["{", r#"{"format":2,"components":{}}"#, r#"{"format":1,"components":{},"more":1}"#] {
        fs::write(&index, text)?;
        assert!(matches!(store.list(), Err(StoreError::Index { .. })), "{text}");
        assert!(matches!(store.put(&deposit(b"two")), Err(StoreError::Index { .. })));
        assert_eq!(store.get(&digest)?.bytes, b"one");
    }
    fs::remove_file(&index)?;
    assert_eq!(store.list()?.len(), 1);
    Ok(())
}
