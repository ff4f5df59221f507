//! Who may ask: root, or the daemon's own user, from the daemon's own network namespace.
//!
//! Whoever is root in a pod, with the socket mounted into it, is in another. The namespace is that of the socket which
//! the peer connected with; unlike the peer's process id, which may mean another process by the time it is looked up and
//! says nothing in another PID namespace, it cannot change, and the kernel tells it of the accepted end.

use std::ffi::c_void;
use std::io;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};

use enid_protocol::cni::code::Code;
use enid_protocol::message::Failed;
use rustix::ioctl::{Ioctl, IoctlOutput, Opcode};
use tokio::net::{UnixListener, UnixStream};

/// Who may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Admitted {
    user: u32,
    network: Network,
}

/// A network namespace: device and inode of the kernel's object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Network(u64, u64);

/// Why a peer is not served.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    /// It is in a pod, or in another container.
    #[error(
        "this socket serves the network namespace of its daemon only, and this request comes from another"
    )]
    OtherNamespace,
    /// It has no right to ask.
    #[error("this socket serves root only, and this request comes from user {user}")]
    OtherUser {
        /// Who it is.
        user: u32,
    },
    /// The kernel does not say who it is.
    #[error("the kernel does not say where this request comes from: {why}")]
    Unknown {
        /// Its answer.
        why: String,
    },
}

impl Admitted {
    /// The user of this process, in the namespace in which `listener` was made.
    pub(crate) fn by(listener: &UnixListener) -> io::Result<Self> {
        Ok(Self { user: rustix::process::geteuid().as_raw(), network: Network::of(listener)? })
    }

    /// Whether whoever connected may ask.
    pub(crate) fn admit(self, peer: &UnixStream) -> Result<(), Refused> {
        let unknown = |why: io::Error| Refused::Unknown { why: why.to_string() };
        let user = peer.peer_cred().map_err(unknown)?.uid();
        if user != 0 && user != self.user {
            return Err(Refused::OtherUser { user });
        }
        if Network::of(peer).map_err(unknown)? != self.network {
            return Err(Refused::OtherNamespace);
        }
        Ok(())
    }
}

impl Refused {
    /// As the peer is told.
    pub(crate) fn to_failed(&self) -> Failed {
        let advice = match self {
            Refused::OtherNamespace => {
                "ask from the host's network namespace; a container that asks needs it too (hostNetwork)"
            }
            Refused::OtherUser { .. } => "ask as root",
            Refused::Unknown { .. } => "the daemon needs CAP_NET_ADMIN to tell where its peers are",
        };
        Failed::new(Code::Forbidden, self.to_string(), advice)
    }
}

impl Network {
    /// That in which `socket` was made; of an accepted one, that of the peer's socket.
    fn of(socket: impl AsFd) -> io::Result<Self> {
        // SAFETY: the request is the one that the type stands for, which takes no argument and writes nothing.
        #[expect(unsafe_code, reason = "the kernel has no other way to ask for a socket's namespace")]
        let namespace = unsafe { rustix::ioctl::ioctl(socket, NamespaceOfSocket) }?;
        let stat = rustix::fs::fstat(namespace)?;
        Ok(Self(stat.st_dev, stat.st_ino))
    }
}

/// `SIOCGSKNS`: a descriptor of the network namespace that a socket belongs to.
struct NamespaceOfSocket;

// SAFETY: SIOCGSKNS has no argument, and returns a new descriptor that nobody else knows, or an error, which rustix
// takes out before the output is made.
#[expect(unsafe_code, reason = "the kernel has no other way to ask for a socket's namespace")]
unsafe impl Ioctl for NamespaceOfSocket {
    type Output = OwnedFd;
    const IS_MUTATING: bool = false;

    fn opcode(&self) -> Opcode {
        0x894c
    }

    fn as_ptr(&mut self) -> *mut c_void {
        std::ptr::null_mut()
    }

    unsafe fn output_from_ptr(out: IoctlOutput, _: *mut c_void) -> rustix::io::Result<OwnedFd> {
        // SAFETY: `out` is what the kernel returned: a new descriptor, close-on-exec, that nobody else owns.
        Ok(unsafe { OwnedFd::from_raw_fd(out) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_own_user_in_the_own_namespace_is_admitted_and_another_user_or_namespace_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(directory.path().join("socket")).unwrap();
        // Without CAP_NET_ADMIN the kernel does not tell, and nobody is admitted.
        let Ok(admitted) = Admitted::by(&listener) else {
            assert!(!rustix::process::geteuid().is_root());
            return;
        };
        let _peer = UnixStream::connect(directory.path().join("socket")).await.unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        assert_eq!(admitted.admit(&accepted), Ok(()));
        let elsewhere = Admitted { network: Network(0, 0), ..admitted };
        assert_eq!(elsewhere.admit(&accepted), Err(Refused::OtherNamespace));
    }
}
