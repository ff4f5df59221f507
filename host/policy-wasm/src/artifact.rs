//! A compiled component: machine code that this very engine made.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{MemfdFlags, SealFlags};

/// Bytes of machine code for one component at most; the largest interpreter compiled to WebAssembly that we
/// met has a third of it.
pub(crate) const MAX_CODE: usize = 96 << 20;

/// What makes an anonymous file immutable, for everyone and for good.
const SEALS: SealFlags =
    SealFlags::SEAL.union(SealFlags::SHRINK).union(SealFlags::GROW).union(SealFlags::WRITE);

/// Machine code for one component, made by this version of the engine on this machine.
///
/// There is no way to make one from a file that somebody hands over: it comes from the compiler, or from the
/// cache, which authenticates what it returns. The code is in a sealed anonymous file, so that it can be
/// handed to another process without a copy and cannot change under anyone.
#[derive(Clone)]
pub struct Artifact {
    digest: Arc<str>,
    code: Arc<OwnedFd>,
    len: usize,
}

impl Artifact {
    /// What the compiler made of the component with this digest.
    pub(crate) fn new(digest: &str, code: &[u8]) -> io::Result<Self> {
        let file = anonymous("strategy-code")?;
        write_all(file.as_fd(), code)?;
        Self::seal(digest, file)
    }

    /// Takes over an anonymous file that the compiler wrote, and seals it; refused when it is empty, too
    /// large, or still mapped for writing somewhere.
    pub(crate) fn seal(digest: &str, file: OwnedFd) -> io::Result<Self> {
        rustix::fs::fcntl_add_seals(&file, SEALS)?;
        Self::sealed(digest, file)
    }

    /// Takes over an anonymous file that somebody else sealed.
    pub(crate) fn sealed(digest: &str, file: OwnedFd) -> io::Result<Self> {
        if !rustix::fs::fcntl_get_seals(&file)?.contains(SEALS) {
            return Err(io::Error::other("the compiled form is not sealed"));
        }
        let len = usize::try_from(rustix::fs::fstat(&file)?.st_size).unwrap_or(usize::MAX);
        if len == 0 || len > MAX_CODE {
            let why = format!("the compiled form has {len} bytes, not between 1 and {MAX_CODE}");
            return Err(io::Error::other(why));
        }
        Ok(Self { digest: digest.into(), code: Arc::new(file), len })
    }

    /// SHA-256 of the component, 64 hexadecimal digits.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Bytes of machine code.
    pub fn bytes(&self) -> usize {
        self.len
    }

    /// The engine's own serialised form, copied out.
    pub(crate) fn code(&self) -> io::Result<Vec<u8>> {
        read_all(self.code.as_fd(), self.len)
    }

    /// The sealed file, to be handed to another process.
    pub(crate) fn file(&self) -> BorrowedFd<'_> {
        self.code.as_fd()
    }
}

impl fmt::Debug for Artifact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Artifact")
            .field("digest", &self.digest)
            .field("bytes", &self.len)
            .finish_non_exhaustive()
    }
}

/// A file without a name, which can be sealed.
pub(crate) fn anonymous(name: &str) -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // From Linux 6.3 on it can be said that nobody may execute it as a program.
    match rustix::fs::memfd_create(name, flags | MemfdFlags::NOEXEC_SEAL) {
        Ok(file) => Ok(file),
        Err(rustix::io::Errno::INVAL) => Ok(rustix::fs::memfd_create(name, flags)?),
        Err(error) => Err(error.into()),
    }
}

/// A sealed anonymous file with these bytes.
pub(crate) fn sealed_file(name: &str, bytes: &[u8]) -> io::Result<OwnedFd> {
    let file = anonymous(name)?;
    write_all(file.as_fd(), bytes)?;
    rustix::fs::fcntl_add_seals(&file, SEALS)?;
    Ok(file)
}

/// Writes at the file's beginning, whatever its position.
pub(crate) fn write_all(file: BorrowedFd<'_>, mut bytes: &[u8]) -> io::Result<()> {
    let mut at = 0u64;
    while !bytes.is_empty() {
        let written = rustix::io::retry_on_intr(|| rustix::io::pwrite(file, bytes, at))?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        bytes = &bytes[written..];
        at += written as u64;
    }
    Ok(())
}

/// Reads this many bytes from the file's beginning, whatever its position.
pub(crate) fn read_all(file: BorrowedFd<'_>, len: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; len];
    let mut filled = 0;
    while filled < len {
        let read =
            rustix::io::retry_on_intr(|| rustix::io::pread(file, &mut bytes[filled..], filled as u64))?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        filled += read;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_comes_back_as_it_went_in_and_can_never_change() {
        let code: Vec<u8> = (0..100_000u32).map(|n| n.to_le_bytes()[0]).collect();
        let artifact = Artifact::new("d", &code).unwrap();
        assert_eq!(artifact.code().unwrap(), code);
        assert_eq!(artifact.bytes(), code.len());
        assert!(write_all(artifact.file(), b"other").is_err());
        assert!(rustix::fs::ftruncate(artifact.file(), 5).is_err());
        assert_eq!(artifact.code().unwrap(), code);
    }

    #[test]
    fn an_unsealed_or_empty_file_is_no_artifact() {
        let open = anonymous("test").unwrap();
        write_all(open.as_fd(), b"code").unwrap();
        assert!(Artifact::sealed("d", open).is_err());
        assert!(Artifact::new("d", b"").is_err());
    }
}
