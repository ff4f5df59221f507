//! Machine code that is remembered between starts of the daemon.
//!
//! Whoever can make us run a file owns the machine, so an entry is believed only if it carries an
//! authentication code under a key that this node drew for itself, and lies in a directory that nobody else
//! can write. Whatever does not fit is deleted and made anew; there is no other kind of damage.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawMode, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT};
use rustix::io::Errno;
use sha2::Sha256;

use crate::artifact::{Artifact, MAX_CODE, read_all, write_all};

/// The format of an entry.
const MAGIC: &[u8; 12] = b"enid-cwasm/1";
/// Hexadecimal digits of a component's digest.
const DIGEST: usize = 64;
/// Bytes of an authentication code.
const TAG: usize = 32;
/// Bytes of the key.
const KEY: usize = 32;
/// The key's file.
const KEY_NAME: &str = "key";
/// What the names of entries end in.
const SUFFIX: &str = ".cwasm";
/// What the names of files begin with that are not complete yet.
const UNFINISHED: &str = "new-";
/// Entries that are kept: a few strategies, each with a few predecessors.
const MAX_ENTRIES: usize = 64;
/// Bytes that are kept, which two interpreters' code fits in.
const MAX_BYTES: u64 = 512 << 20;

/// Why the cache cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// Somebody else could put machine code there.
    #[error("{path}: {found}; it must be a directory of the daemon's own user that only it can enter (0700)")]
    Unsafe {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it.
        found: String,
    },
    /// The file system failed.
    #[error("{attempt} {path}")]
    Io {
        /// What was attempted.
        attempt: &'static str,
        /// Where.
        path: PathBuf,
        /// The reason.
        #[source]
        why: io::Error,
    },
}

/// A directory of compiled components; cheap to clone.
#[derive(Clone)]
pub struct Cache {
    inner: Arc<Inner>,
}

struct Inner {
    path: PathBuf,
    directory: OwnedFd,
    key: [u8; KEY],
}

impl Cache {
    /// Opens the directory, making it and its key if they are not there.
    ///
    /// Refused when anyone but this process's user could write it or read its key.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, CacheError> {
        let path = path.into();
        let failed = |attempt| {
            let path = path.clone();
            move |error: Errno| CacheError::Io { attempt, path, why: error.into() }
        };
        match rustix::fs::mkdir(&path, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(failed("make")(error)),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = match rustix::fs::open(&path, flags, Mode::empty()) {
            Ok(directory) => directory,
            Err(Errno::NOTDIR | Errno::LOOP) => {
                return Err(CacheError::Unsafe {
                    path,
                    found: "it is no directory, or a link to one".into(),
                });
            }
            Err(error) => return Err(failed("open")(error)),
        };
        let stat = rustix::fs::fstat(&directory).map_err(failed("look at"))?;
        if let Some(found) = unsafe_because(stat.st_uid, stat.st_mode) {
            return Err(CacheError::Unsafe { path, found });
        }
        let key = key(&directory).map_err(failed("draw a key in"))?;
        let cache = Self { inner: Arc::new(Inner { path, directory, key }) };
        // Left behind by a daemon that ended while it wrote.
        for (name, _) in cache.entries(|name| name.starts_with(UNFINISHED)) {
            cache.remove(&name);
        }
        Ok(cache)
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// The code that this node compiled of the component with this digest, for the engine with this
    /// fingerprint. Anything else under its name is deleted.
    pub(crate) fn load(&self, digest: &str, fingerprint: &str) -> Option<Artifact> {
        let name = name(digest, fingerprint)?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(&self.inner.directory, &name, flags, Mode::empty()) {
            Ok(file) => file,
            Err(Errno::NOENT) => return None,
            Err(_) => {
                self.remove(&name);
                return None;
            }
        };
        let Some(code) = self.authentic(&file, digest, fingerprint) else {
            tracing::warn!(digest, "a remembered compilation is damaged or foreign; it is made anew");
            self.remove(&name);
            return None;
        };
        let used = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        let read = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
        // Only the order in which entries are given up depends on it.
        let _ = rustix::fs::futimens(&file, &Timestamps { last_access: read, last_modification: used });
        Artifact::new(digest, &code).ok()
    }

    /// Remembers compiled code, giving up the entries that were not used for longest.
    ///
    /// Not flushed to the disk: what a crash leaves of it is noticed like any other damage.
    pub(crate) fn store(&self, artifact: &Artifact, fingerprint: &str) -> io::Result<()> {
        let Some(name) = name(artifact.digest(), fingerprint) else {
            return Err(io::Error::other("its digest is not 64 hexadecimal digits"));
        };
        let code = artifact.code()?;
        let header = header(artifact.digest(), fingerprint);
        let tag = self.mac(&header, &code).finalize().into_bytes();
        let entry = [&header, tag.as_slice(), &code].concat();
        drop(code);
        write_whole(&self.inner.directory, &name, &entry)?;
        self.give_up();
        Ok(())
    }

    /// The code in an entry, if this node made it for exactly this.
    fn authentic(&self, file: &OwnedFd, digest: &str, fingerprint: &str) -> Option<Vec<u8>> {
        let stat = rustix::fs::fstat(file).ok()?;
        let len = usize::try_from(stat.st_size).ok()?;
        let regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        let header = header(digest, fingerprint);
        let before = header.len() + TAG;
        if !regular || len <= before || len > before + MAX_CODE {
            return None;
        }
        // Read once: what is checked is what is used.
        let mut entry = read_all(file.as_fd(), len).ok()?;
        let (tag, code) = entry.strip_prefix(header.as_slice())?.split_first_chunk::<TAG>()?;
        self.mac(&header, code).verify_slice(tag).ok()?;
        entry.drain(..before);
        Some(entry)
    }

    fn mac(&self, header: &[u8], code: &[u8]) -> Hmac<Sha256> {
        let mac = Hmac::<Sha256>::new_from_slice(&self.inner.key);
        let mut mac = mac.expect("invariant: a key of any length will do");
        mac.update(header);
        mac.update(code);
        mac
    }

    fn give_up(&self) {
        let mut entries = self.entries(|name| name.ends_with(SUFFIX));
        // Most recently used first.
        entries.sort_by_key(|(_, entry)| std::cmp::Reverse(entry.used));
        let mut bytes = 0u64;
        for (count, (name, entry)) in entries.iter().enumerate() {
            bytes = bytes.saturating_add(entry.bytes);
            // The newest stays, however large: it is in use.
            if count > 0 && (count >= MAX_ENTRIES || bytes > MAX_BYTES) {
                self.remove(name);
            }
        }
    }

    fn entries(&self, wanted: impl Fn(&str) -> bool) -> Vec<(String, Entry)> {
        let Ok(listing) = rustix::fs::Dir::read_from(&self.inner.directory) else { return Vec::new() };
        let names = listing.filter_map(|entry| {
            let name = entry.ok()?.file_name().to_str().ok()?.to_owned();
            wanted(&name).then_some(name)
        });
        names
            .filter_map(|name| {
                let stat =
                    rustix::fs::statat(&self.inner.directory, &name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
                let bytes = u64::try_from(stat.st_size).unwrap_or(0);
                Some((name, Entry { used: (stat.st_mtime, stat.st_mtime_nsec as i64), bytes }))
            })
            .collect()
    }

    fn remove(&self, name: &str) {
        // A directory in its place is not ours to empty; it just is no entry.
        let _ = rustix::fs::unlinkat(&self.inner.directory, name, AtFlags::empty());
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").field("path", &self.inner.path).finish_non_exhaustive()
    }
}

/// What is known of a file without opening it.
struct Entry {
    used: (i64, i64),
    bytes: u64,
}

/// Why others could meddle with a file of this owner and mode.
fn unsafe_because(owner: u32, mode: RawMode) -> Option<String> {
    let us = rustix::process::geteuid().as_raw();
    if owner != us {
        return Some(format!("it belongs to user {owner}, not to {us}"));
    }
    let mode = Mode::from_raw_mode(mode);
    if mode.intersects(Mode::RWXG | Mode::RWXO) {
        return Some(format!("its mode is {:04o}", mode.as_raw_mode()));
    }
    None
}

/// The name of an entry; `None` when these cannot be parts of one.
fn name(digest: &str, fingerprint: &str) -> Option<String> {
    let hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    let fits =
        digest.len() == DIGEST && hex(digest) && (16..=64).contains(&fingerprint.len()) && hex(fingerprint);
    fits.then(|| format!("{digest}-{fingerprint}{SUFFIX}"))
}

/// What an entry begins with, and what is authenticated besides the code: of fixed form, so no two entries
/// share one.
fn header(digest: &str, fingerprint: &str) -> Vec<u8> {
    [MAGIC.as_slice(), digest.as_bytes(), b"-", fingerprint.as_bytes(), b"\n"].concat()
}

/// This node's key: drawn when there is none, or none that is usable.
fn key(directory: &OwnedFd) -> Result<[u8; KEY], Errno> {
    if let Some(key) = stored_key(directory) {
        return Ok(key);
    }
    let mut drawn = [0; KEY];
    fill_randomly(&mut drawn)?;
    // What there is under its name is not ours to believe. Of two daemons that come here at once, both take
    // the key of the one that was later.
    write_whole(directory, KEY_NAME, &drawn)
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    stored_key(directory).ok_or(Errno::IO)
}

fn stored_key(directory: &OwnedFd) -> Option<[u8; KEY]> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::openat(directory, KEY_NAME, flags, Mode::empty()).ok()?;
    let stat = rustix::fs::fstat(&file).ok()?;
    let regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    let sized = usize::try_from(stat.st_size).is_ok_and(|size| size == KEY);
    if !regular || !sized || unsafe_because(stat.st_uid, stat.st_mode).is_some() {
        return None;
    }
    read_all(file.as_fd(), KEY).ok()?.try_into().ok()
}

fn fill_randomly(bytes: &mut [u8]) -> Result<(), Errno> {
    let source = rustix::fs::open("/dev/urandom", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut filled = 0;
    while filled < bytes.len() {
        filled += rustix::io::retry_on_intr(|| rustix::io::read(&source, &mut bytes[filled..]))?;
    }
    Ok(())
}

/// Writes a file that is either there completely or not at all, for whoever looks.
fn write_whole(directory: &OwnedFd, name: &str, bytes: &[u8]) -> io::Result<()> {
    let mut chance = [0; 8];
    fill_randomly(&mut chance)?;
    let unfinished = format!("{UNFINISHED}{:016x}", u64::from_le_bytes(chance));
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(directory, &unfinished, flags, Mode::RUSR | Mode::WUSR)?;
    let written = write_all(file.as_fd(), bytes)
        .and_then(|()| Ok(rustix::fs::renameat(directory, &unfinished, directory, name)?));
    if written.is_err() {
        let _ = rustix::fs::unlinkat(directory, &unfinished, AtFlags::empty());
    }
    written
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const DIGEST_A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const DIGEST_B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
    const ENGINE: &str = "0123456789abcdef";

    fn fresh() -> (tempfile::TempDir, Cache) {
        let parent = tempfile::tempdir().unwrap();
        let cache = Cache::open(parent.path().join("cache")).unwrap();
        (parent, cache)
    }

    fn artifact(digest: &str, code: &[u8]) -> Artifact {
        Artifact::new(digest, code).unwrap()
    }

    fn file(cache: &Cache, digest: &str) -> PathBuf {
        cache.path().join(name(digest, ENGINE).unwrap())
    }

    fn loaded(cache: &Cache, digest: &str) -> Option<Vec<u8>> {
        cache.load(digest, ENGINE).map(|artifact| artifact.code().unwrap())
    }

    #[test]
    fn what_was_stored_is_loaded_also_by_the_next_daemon() {
        let (_parent, cache) = fresh();
        assert!(cache.load(DIGEST_A, ENGINE).is_none());
        cache.store(&artifact(DIGEST_A, b"code"), ENGINE).unwrap();
        assert_eq!(loaded(&cache, DIGEST_A).unwrap(), b"code");
        let next = Cache::open(cache.path()).unwrap();
        assert_eq!(loaded(&next, DIGEST_A).unwrap(), b"code");
    }

    #[test]
    fn another_engine_or_component_finds_nothing() {
        let (_parent, cache) = fresh();
        cache.store(&artifact(DIGEST_A, b"code"), ENGINE).unwrap();
        assert!(cache.load(DIGEST_A, "fedcba9876543210").is_none());
        assert!(cache.load(DIGEST_B, ENGINE).is_none());
        assert!(loaded(&cache, DIGEST_A).is_some());
    }

    #[test]
    fn an_entry_under_another_name_is_deleted() {
        let (_parent, cache) = fresh();
        cache.store(&artifact(DIGEST_A, b"code"), ENGINE).unwrap();
        std::fs::rename(file(&cache, DIGEST_A), file(&cache, DIGEST_B)).unwrap();
        assert!(cache.load(DIGEST_B, ENGINE).is_none());
        assert!(!file(&cache, DIGEST_B).exists());
    }

    #[test]
    fn an_entry_of_another_node_is_deleted() {
        let (_ours, cache) = fresh();
        let (_theirs, foreign) = fresh();
        foreign.store(&artifact(DIGEST_A, b"code"), ENGINE).unwrap();
        std::fs::copy(file(&foreign, DIGEST_A), file(&cache, DIGEST_A)).unwrap();
        assert!(cache.load(DIGEST_A, ENGINE).is_none());
        assert!(!file(&cache, DIGEST_A).exists());
    }

    #[test]
    fn links_pipes_and_directories_are_no_entries() {
        let (parent, cache) = fresh();
        cache.store(&artifact(DIGEST_A, b"code"), ENGINE).unwrap();
        let elsewhere = parent.path().join("elsewhere");
        std::fs::rename(file(&cache, DIGEST_A), &elsewhere).unwrap();
        std::os::unix::fs::symlink(&elsewhere, file(&cache, DIGEST_A)).unwrap();
        assert!(cache.load(DIGEST_A, ENGINE).is_none());
        assert!(file(&cache, DIGEST_A).symlink_metadata().is_err() && elsewhere.exists());

        let pipe = file(&cache, DIGEST_A);
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, FileType::Fifo, Mode::RUSR, 0).unwrap();
        assert!(cache.load(DIGEST_A, ENGINE).is_none());
        assert!(!pipe.exists());

        std::fs::create_dir(file(&cache, DIGEST_A)).unwrap();
        assert!(cache.load(DIGEST_A, ENGINE).is_none());
    }

    #[test]
    fn a_directory_that_others_can_write_or_that_is_a_link_is_refused() {
        let (parent, cache) = fresh();
        for mode in [0o770, 0o707, 0o755, 0o711] {
            std::fs::set_permissions(cache.path(), std::fs::Permissions::from_mode(mode)).unwrap();
            assert!(matches!(Cache::open(cache.path()), Err(CacheError::Unsafe { .. })), "{mode:o}");
        }
        std::fs::set_permissions(cache.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        Cache::open(cache.path()).unwrap();
        let link = parent.path().join("link");
        std::os::unix::fs::symlink(cache.path(), &link).unwrap();
        assert!(matches!(Cache::open(link), Err(CacheError::Unsafe { .. })));
        assert!(matches!(Cache::open(parent.path().join("no/where")), Err(CacheError::Io { .. })));
    }

    #[test]
    fn a_directory_of_another_user_is_refused() {
        let us = rustix::process::geteuid().as_raw();
        assert_eq!(unsafe_because(us, 0o700), None);
        assert!(unsafe_because(us + 1, 0o700).is_some());
    }

    #[test]
    fn a_key_that_others_could_read_or_choose_is_drawn_anew() {
        let (_parent, cache) = fresh();
        let key = cache.path().join(KEY_NAME);
        assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
        cache.store(&artifact(DIGEST_A, b"code"), ENGINE).unwrap();
        let before = std::fs::read(&key).unwrap();
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
        let next = Cache::open(cache.path()).unwrap();
        assert_ne!(std::fs::read(&key).unwrap(), before);
        assert!(next.load(DIGEST_A, ENGINE).is_none());

        std::fs::write(&key, b"short").unwrap();
        Cache::open(cache.path()).unwrap();
        assert_eq!(std::fs::read(&key).unwrap().len(), KEY);
    }

    #[test]
    fn the_entries_that_were_not_used_for_longest_are_given_up() {
        let (_parent, cache) = fresh();
        let digest = |number: usize| format!("{number:064x}");
        let at = |secs| {
            let time = Timespec { tv_sec: secs, tv_nsec: 0 };
            Timestamps { last_access: time, last_modification: time }
        };
        for number in 0..MAX_ENTRIES {
            cache.store(&artifact(&digest(number), b"code"), ENGINE).unwrap();
            let file = std::fs::File::open(file(&cache, &digest(number))).unwrap();
            rustix::fs::futimens(&file, &at(1_000 + i64::try_from(number).unwrap())).unwrap();
        }
        // The oldest is used, which makes the second the oldest.
        assert!(loaded(&cache, &digest(0)).is_some());
        cache.store(&artifact(DIGEST_A, b"code"), ENGINE).unwrap();
        assert!(loaded(&cache, &digest(0)).is_some());
        assert!(loaded(&cache, &digest(1)).is_none());
        assert!(loaded(&cache, &digest(2)).is_some());
        assert!(loaded(&cache, DIGEST_A).is_some());
        assert_eq!(cache.entries(|name| name.ends_with(SUFFIX)).len(), MAX_ENTRIES);
    }

    #[test]
    fn what_was_not_finished_is_cleared_away() {
        let (_parent, cache) = fresh();
        let left = cache.path().join("new-0000000000000000");
        std::fs::write(&left, b"half").unwrap();
        Cache::open(cache.path()).unwrap();
        assert!(!left.exists());
    }

    #[test]
    fn a_digest_that_is_none_is_never_a_file_name() {
        let (_parent, cache) = fresh();
        for digest in ["", "../key", "AAAA", &"g".repeat(DIGEST), &"A".repeat(DIGEST)] {
            assert!(cache.load(digest, ENGINE).is_none());
            assert!(cache.store(&artifact(digest, b"code"), ENGINE).is_err());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

        #[test]
        fn no_damage_goes_unnoticed(
            code in proptest::collection::vec(any::<u8>(), 1..512),
            at in any::<prop::sample::Index>(),
            bit in 0..8u32,
            damage in 0..3usize,
            more in any::<u8>(),
        ) {
            let (_parent, cache) = fresh();
            cache.store(&artifact(DIGEST_A, &code), ENGINE).unwrap();
            let file = file(&cache, DIGEST_A);
            let mut entry = std::fs::read(&file).unwrap();
            match damage {
                0 => { let at = at.index(entry.len()); entry[at] ^= 1 << bit; }
                1 => entry.truncate(at.index(entry.len())),
                _ => entry.push(more),
            }
            std::fs::write(&file, entry).unwrap();
            prop_assert!(cache.load(DIGEST_A, ENGINE).is_none());
            prop_assert!(!file.exists());
            // It is made anew and fits again.
            cache.store(&artifact(DIGEST_A, &code), ENGINE).unwrap();
            prop_assert_eq!(loaded(&cache, DIGEST_A), Some(code));
        }
    }
}
