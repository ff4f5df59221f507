//! Files that change only when their content does, and the list of their digests.
//!
//! A daemon watches component files: one that is written again with the same content would be loaded again.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use sha2::{Digest as _, Sha256};

use crate::Error;

/// The file beside shipped components that lists them, as `sha256sum` writes and checks it.
pub const CHECKSUMS: &str = "SHA256SUMS";

/// Puts `bytes` at `path`, whole or not at all, unless `path` holds them already; makes its folder.
pub fn write_if_changed(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    if fs::read(path).is_ok_and(|existing| existing == bytes) {
        return Ok(());
    }
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).map_err(Error::file("create", dir))?;
    }
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(".new");
    let fresh = Path::new(&fresh);
    fs::write(fresh, bytes).map_err(Error::file("write", fresh))?;
    fs::rename(fresh, path).map_err(Error::file("put in place", path))
}

/// Writes [`CHECKSUMS`] into `dir` for these files of it: a digest, two spaces and a name per line.
pub fn write_checksums(dir: &Path, names: &[String]) -> Result<(), Error> {
    let mut lines = String::new();
    for name in names {
        let path = dir.join(name);
        let bytes = fs::read(&path).map_err(Error::file("read", &path))?;
        // Writing to a string cannot fail.
        let _ = writeln!(lines, "{}  {name}", sha256(&bytes));
    }
    write_if_changed(&dir.join(CHECKSUMS), lines.as_bytes())
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::with_capacity(64), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt as _;
    use std::process::Command;

    #[test]
    fn a_file_with_the_same_content_is_not_touched() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/down/a.wasm");
        write_if_changed(&path, b"one").unwrap();
        let file = || fs::metadata(&path).unwrap().ino();
        let before = file();
        write_if_changed(&path, b"one").unwrap();
        assert_eq!(file(), before, "putting it in place anew would make it another file");
        write_if_changed(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn sha256sum_accepts_the_checksums() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a.wasm"), b"abc").unwrap();
        fs::write(dir.path().join("b.wasm"), b"").unwrap();
        write_checksums(dir.path(), &["a.wasm".to_owned(), "b.wasm".to_owned()]).unwrap();
        let text = fs::read_to_string(dir.path().join(CHECKSUMS)).unwrap();
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  a.wasm";
        assert_eq!(text.lines().next(), Some(abc));
        let mut check = Command::new("sha256sum");
        let check = check.args(["--check", "--strict", CHECKSUMS]).current_dir(&dir).output().unwrap();
        assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stderr));
    }
}
