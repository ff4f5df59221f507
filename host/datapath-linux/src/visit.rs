//! A visit to a pod's namespace, found again where it was when the pod was wired.
//!
//! A path says where to look, not whose namespace is there: the runtime may have reused it. Whatever is done there is
//! done only when what is in it agrees.

use std::os::fd::{AsFd, OwnedFd};

use enid_core::event::WantedPod;
use enid_engine::ports::DatapathError;

use crate::family::Family;
use crate::inspection::{self, Nth, Whose};
use crate::link::Link;
use crate::namespace::NodeNamespace;
use crate::netlink::Netlink;
use crate::tables::Tables;

/// Process ids are used again, names that runtimes give are not.
const BY_PROCESS: &str = "/proc/";

/// A pod's namespace, and what is in it.
pub(crate) struct Visit {
    pub(crate) netns: OwnedFd,
    pub(crate) netlink: Netlink,
    /// The links, and what belongs to the pod's.
    pub(crate) tables: Tables,
}

impl Visit {
    /// Visits a pod, `outside` being the host end of its first interface; `None` when its namespace is not there.
    ///
    /// A namespace in which nothing is the pod's, nor in its way, is the pod's with its interfaces lost, if it was
    /// found by a name that nobody else gets.
    pub(crate) fn pay(
        namespace: &NodeNamespace,
        pod: &WantedPod,
        outside: Option<&Link>,
    ) -> Result<Option<Self>, DatapathError> {
        let Some(path) = pod.netns.as_deref() else { return Ok(None) };
        let Some(netns) = namespace.find(path)? else { return Ok(None) };
        let mut netlink = match namespace.inside(netns.as_fd(), Netlink::open_in_pod) {
            Ok(netlink) => netlink,
            Err(DatapathError::BadNamespace { .. }) => return Ok(None),
            Err(
                error @ (DatapathError::NoSuchLink { .. }
                | DatapathError::IfNameTaken { .. }
                | DatapathError::Kernel { .. }),
            ) => return Err(error),
        };
        let mut tables = Tables::default();
        let first = &pod.wiring.first;
        tables.read_links(&mut netlink)?;
        tables.read_addresses(&mut netlink, Family::of(first.address))?;
        match inspection::whose(&tables, first, outside) {
            Whose::ThePods => {}
            Whose::Nobodys if !path.starts_with(BY_PROCESS) => {}
            Whose::Nobodys | Whose::Anothers => return Ok(None),
        }
        let links: Vec<Nth<'_>> =
            pod.wiring.links().enumerate().map(|(index, link)| Nth { index, link }).collect();
        inspection::read_pod(&mut netlink, &mut tables, &links)?;
        Ok(Some(Self { netns, netlink, tables }))
    }
}
