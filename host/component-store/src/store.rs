//! The directory of components.
//!
//! ```text
//! blobs/sha256/<hex>            the component
//! blobs/sha256/<hex>.minisig    who vouches for it, when somebody does
//! index.json                    names, sources and dates; for people only, nothing is looked up by it
//! lock                          held by who writes
//! partial                       a write that is not complete, or was never completed
//! ```
//!
//! Reading takes no lock and writes nothing, so it works for other users and on a read-only mount. Files appear
//! whole or not at all. Bytes are checked against their name at every read: whoever can write here can take
//! components away, and cannot change one.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::signature::MAX_SIGNATURE;

mod error;

pub use error::StoreError;

/// Bytes that a component may have: the most that the host can be told to accept.
pub const MAX_COMPONENT: usize = 32 << 20;

/// Components that a store may hold: some versions each of a few dozen strategies, 8 GiB at the very most.
pub const MAX_COMPONENTS: usize = 256;

/// Bytes of a component's name.
pub const MAX_NAME: usize = 200;

/// Bytes of what a component's source is called.
pub const MAX_SOURCE: usize = 1000;

/// Bytes of the index: more than [`MAX_COMPONENTS`] of the longest names and sources need.
const MAX_INDEX: usize = 1 << 20;

/// The only format of the index so far.
const INDEX_FORMAT: u32 = 1;

/// Components by their digests, in a directory.
#[derive(Clone, Debug)]
pub struct Store {
    dir: PathBuf,
}

/// What is put into a store.
#[derive(Clone, Copy, Debug)]
pub struct Deposit<'a> {
    /// What the bytes must be.
    pub digest: Digest,
    /// The component.
    pub bytes: &'a [u8],
    /// The text of its `.minisig` file; without one, a signature that the store has stays.
    pub signature: Option<&'a str>,
    /// What people call it.
    pub name: &'a str,
    /// Where it comes from: a reference, or a path.
    pub source: &'a str,
    /// Now, in seconds since 1970.
    pub stored_at_secs: u64,
}

/// A component whose bytes are what its digest says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Component {
    /// The component.
    pub bytes: Vec<u8>,
    /// The text of its `.minisig` file. Not verified: see [`TrustedKeys`](crate::TrustedKeys).
    pub signature: Option<String>,
}

/// What a store holds, for people. The bytes are not checked for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What it is.
    pub digest: Digest,
    /// Its bytes, counted.
    pub size: u64,
    /// Whether a signature is there, good or not.
    pub signed: bool,
    /// What the index says; nothing after a crash in the middle of a put.
    pub origin: Option<Origin>,
}

/// What people want to know about a component.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    /// What it was called when it was put here last.
    pub name: String,
    /// Where it came from then.
    pub source: String,
    /// Its bytes, counted.
    pub size: u64,
    /// When that was, in seconds since 1970.
    pub stored_at_secs: u64,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Index {
    format: u32,
    components: BTreeMap<Digest, Origin>,
}

/// The right to write; the kernel takes it back when the process ends.
struct WriteLock {
    _file: File,
}

impl Store {
    /// The store in `dir`, which the first put creates if need be.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let store = Self { dir: dir.into() };
        // The directory itself may be a link, as operators move things; inside of it nothing is.
        match fs::metadata(&store.dir) {
            Ok(meta) if meta.is_dir() => {}
            Ok(_) => return Err(StoreError::NotADirectory { path: store.dir }),
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(store),
            Err(e) => return Err(io_at("look at", &store.dir)(e)),
        }
        for dir in [store.dir.join("blobs"), store.blobs()] {
            match fs::symlink_metadata(&dir) {
                Ok(meta) if meta.is_dir() => {}
                Ok(_) => return Err(StoreError::NotADirectory { path: dir }),
                Err(e) if e.kind() == io::ErrorKind::NotFound => break,
                Err(e) => return Err(io_at("look at", &dir)(e)),
            }
        }
        Ok(store)
    }

    /// Where the component with this digest is, or would be.
    pub fn path_of(&self, digest: &Digest) -> PathBuf {
        self.blobs().join(digest.hex())
    }

    /// Where that component's signature is, or would be.
    pub fn signature_path_of(&self, digest: &Digest) -> PathBuf {
        self.blobs().join(format!("{}.minisig", digest.hex()))
    }

    /// Keeps a component, after checking that it is what it is said to be.
    ///
    /// When this returns, the component survives a power failure. Putting what is there already renews its
    /// name, and heals it if it was damaged.
    pub fn put(&self, deposit: &Deposit<'_>) -> Result<Entry, StoreError> {
        check(deposit)?;
        self.create_directories()?;
        let _lock = self.lock()?;
        let mut index = self.read_index()?;
        let held = self.held()?;
        if held.len() >= MAX_COMPONENTS && !held.contains_key(&deposit.digest) {
            return Err(StoreError::Full { dir: self.dir.clone(), limit: MAX_COMPONENTS });
        }
        // The signature first: a component that has one is never seen without it.
        let signature_path = self.signature_path_of(&deposit.digest);
        if let Some(signature) = deposit.signature {
            self.replace(&signature_path, signature.as_bytes())?;
        }
        self.replace(&self.path_of(&deposit.digest), deposit.bytes)?;
        let origin = Origin {
            name: deposit.name.to_owned(),
            source: deposit.source.to_owned(),
            size: deposit.bytes.len() as u64,
            stored_at_secs: deposit.stored_at_secs,
        };
        index.components.retain(|digest, _| held.contains_key(digest));
        index.components.insert(deposit.digest, origin.clone());
        self.write_index(&index)?;
        Ok(Entry {
            digest: deposit.digest,
            size: origin.size,
            signed: is_file(&signature_path),
            origin: Some(origin),
        })
    }

    /// The component with this digest. Bytes that are not what their name says are never returned.
    pub fn get(&self, digest: &Digest) -> Result<Component, StoreError> {
        let path = self.path_of(digest);
        let bytes = read_bounded(&path, MAX_COMPONENT)?
            .ok_or_else(|| StoreError::NotFound { digest: *digest, dir: self.dir.clone() })?;
        let found = Digest::of(&bytes);
        if found != *digest {
            return Err(StoreError::Corrupt { path, found });
        }
        let signature_path = self.signature_path_of(digest);
        let signature = match read_bounded(&signature_path, MAX_SIGNATURE)? {
            None => None,
            Some(text) => Some(
                String::from_utf8(text).map_err(|_| StoreError::NotText { path: signature_path.clone() })?,
            ),
        };
        Ok(Component { bytes, signature })
    }

    /// What is there, by name and then by digest; what has no name comes first.
    pub fn list(&self) -> Result<Vec<Entry>, StoreError> {
        let mut index = self.read_index()?;
        let mut entries: Vec<Entry> = self
            .held()?
            .into_iter()
            .map(|(digest, size)| Entry {
                digest,
                size,
                signed: is_file(&self.signature_path_of(&digest)),
                origin: index.components.remove(&digest),
            })
            .collect();
        entries.sort_by(|a, b| {
            let name = |entry: &Entry| entry.origin.as_ref().map(|origin| origin.name.clone());
            name(a).cmp(&name(b)).then(a.digest.cmp(&b.digest))
        });
        Ok(entries)
    }

    /// Takes a component and its signature away, intact or not.
    pub fn remove(&self, digest: &Digest) -> Result<(), StoreError> {
        let not_found = || StoreError::NotFound { digest: *digest, dir: self.dir.clone() };
        if !self.blobs().is_dir() {
            return Err(not_found());
        }
        let _lock = self.lock()?;
        let mut index = self.read_index()?;
        let was_there = unlink(&self.path_of(digest))?;
        unlink(&self.signature_path_of(digest))?;
        if index.components.remove(digest).is_some() {
            self.write_index(&index)?;
        }
        sync_directory(&self.blobs())?;
        if was_there { Ok(()) } else { Err(not_found()) }
    }

    fn blobs(&self) -> PathBuf {
        self.dir.join("blobs/sha256")
    }

    fn index_path(&self) -> PathBuf {
        self.dir.join("index.json")
    }

    /// Components by their files' names and sizes.
    fn held(&self) -> Result<BTreeMap<Digest, u64>, StoreError> {
        let blobs = self.blobs();
        let listing = match fs::read_dir(&blobs) {
            Ok(listing) => listing,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
            Err(e) => return Err(io_at("list", &blobs)(e)),
        };
        let mut held = BTreeMap::new();
        for file in listing {
            let file = file.map_err(io_at("list", &blobs))?;
            let Some(digest) = file.file_name().to_str().and_then(|name| Digest::from_hex(name).ok()) else {
                continue;
            };
            // Not found: removed since the directory was read.
            match fs::symlink_metadata(file.path()) {
                Ok(meta) if meta.is_file() => {
                    held.insert(digest, meta.len());
                }
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(io_at("look at", &file.path())(e)),
            }
        }
        Ok(held)
    }

    fn create_directories(&self) -> Result<(), StoreError> {
        if let Some(parent) = self.dir.parent() {
            fs::create_dir_all(parent).map_err(io_at("create", parent))?;
        }
        for dir in [self.dir.clone(), self.dir.join("blobs"), self.blobs()] {
            match DirBuilder::new().mode(0o755).create(&dir) {
                // Whatever the umask: the daemon may be another user.
                Ok(()) => fs::set_permissions(&dir, Permissions::from_mode(0o755))
                    .map_err(io_at("set permissions of", &dir))?,
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => {}
                Err(e) => return Err(io_at("create", &dir)(e)),
            }
        }
        Ok(())
    }

    /// Waits for other writers, which take as long as a component takes to be written.
    fn lock(&self) -> Result<WriteLock, StoreError> {
        let path = self.dir.join("lock");
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(NO_LINKS)
            .open(&path)
            .map_err(|e| open_error(&path, e))?;
        file.lock().map_err(io_at("lock", &path))?;
        Ok(WriteLock { _file: file })
    }

    fn read_index(&self) -> Result<Index, StoreError> {
        let path = self.index_path();
        let Some(text) = read_bounded(&path, MAX_INDEX)? else {
            return Ok(Index { format: INDEX_FORMAT, components: BTreeMap::new() });
        };
        let index: Index = serde_json::from_slice(&text)
            .map_err(|e| StoreError::Index { path: path.clone(), why: e.to_string() })?;
        if index.format != INDEX_FORMAT {
            let why = format!("it has format {}, and this enid reads {INDEX_FORMAT}", index.format);
            return Err(StoreError::Index { path, why });
        }
        Ok(index)
    }

    fn write_index(&self, index: &Index) -> Result<(), StoreError> {
        let path = self.index_path();
        let mut text = serde_json::to_vec_pretty(index)
            .map_err(|e| StoreError::Index { path: path.clone(), why: e.to_string() })?;
        text.push(b'\n');
        self.replace(&path, &text)
    }

    /// Puts a whole file in place of whatever is at `path`. Only one writer is here at a time, so the unfinished
    /// file of one that crashed is in nobody's use.
    fn replace(&self, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
        let partial = self.dir.join("partial");
        unlink(&partial)?;
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o644)
            .open(&partial)
            .map_err(io_at("create", &partial))?;
        let written = file
            .write_all(bytes)
            .and_then(|()| file.set_permissions(Permissions::from_mode(0o644)))
            .and_then(|()| file.sync_all())
            .map_err(io_at("write", &partial))
            .and_then(|()| fs::rename(&partial, path).map_err(io_at("put in place", path)));
        if let Err(error) = written {
            // What failed first is what is reported.
            let _ = fs::remove_file(&partial);
            return Err(error);
        }
        sync_directory(path.parent().unwrap_or(&self.dir))
    }
}

/// How files here are opened: neither through a link nor waiting for the other end of a pipe.
const NO_LINKS: i32 = OFlags::NOFOLLOW.union(OFlags::NONBLOCK).bits() as i32;

fn check(deposit: &Deposit<'_>) -> Result<(), StoreError> {
    let too_large = |what, size, limit| Err(StoreError::TooLarge { what, size, limit });
    if deposit.bytes.len() > MAX_COMPONENT {
        return too_large("component", deposit.bytes.len(), MAX_COMPONENT);
    }
    if let Some(signature) = deposit.signature.filter(|signature| signature.len() > MAX_SIGNATURE) {
        return too_large("signature", signature.len(), MAX_SIGNATURE);
    }
    for (what, text, limit) in [("name", deposit.name, MAX_NAME), ("source", deposit.source, MAX_SOURCE)] {
        if text.len() > limit {
            return too_large(what, text.len(), limit);
        }
        if text.is_empty() || text.chars().any(char::is_control) {
            return Err(StoreError::Label { what, given: text.to_owned() });
        }
    }
    let found = Digest::of(deposit.bytes);
    if found != deposit.digest {
        return Err(StoreError::WrongDigest { expected: deposit.digest, found });
    }
    Ok(())
}

/// The bytes of a regular file of at most `limit` bytes; nothing if there is none.
fn read_bounded(path: &Path, limit: usize) -> Result<Option<Vec<u8>>, StoreError> {
    let file = match OpenOptions::new().read(true).custom_flags(NO_LINKS).open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(open_error(path, e)),
    };
    let meta = file.metadata().map_err(io_at("look at", path))?;
    if !meta.is_file() {
        return Err(StoreError::NotAFile { path: path.to_owned() });
    }
    let mut bytes = Vec::with_capacity(usize::try_from(meta.len()).map_or(limit, |size| size.min(limit)));
    file.take(limit as u64 + 1).read_to_end(&mut bytes).map_err(io_at("read", path))?;
    if bytes.len() > limit {
        return Err(StoreError::FileTooLarge { path: path.to_owned(), limit });
    }
    Ok(Some(bytes))
}

/// Whether something was there to be unlinked.
fn unlink(path: &Path) -> Result<bool, StoreError> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(io_at("remove", path)(e)),
    }
}

fn sync_directory(dir: &Path) -> Result<(), StoreError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(io_at("write", dir))
}

fn is_file(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|meta| meta.is_file())
}

fn open_error(path: &Path, error: io::Error) -> StoreError {
    if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) {
        return StoreError::NotAFile { path: path.to_owned() };
    }
    io_at("open", path)(error)
}

fn io_at(attempt: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let attempt = format!("{attempt} {}", path.display());
    move |source| StoreError::Io { attempt, source }
}
