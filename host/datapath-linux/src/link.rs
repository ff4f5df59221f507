//! Links: veth pairs born in two namespaces, and the few facts about a link that wiring needs.

use std::os::fd::{AsRawFd, BorrowedFd};

use enid_core::ids::{IfName, Mac};
use enid_core::wiring::PodLink;
use enid_engine::ports::{DatapathError, Macs};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NlasIterator};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVeth, LinkAttribute, LinkExtentMask, LinkFlags, LinkInfo, LinkMessage,
};
use rustix::io::Errno;

use crate::netlink::{Netlink, Request, failed};

/// The group of host veths whose pods are gone, deleted together: "enid" in ASCII, so that nobody else uses it.
pub(crate) const DOOMED: u32 = 0x656e_6964;
/// The loopback link is the first one of every namespace.
const LOOPBACK: u32 = 1;

/// A link as the kernel describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) name: String,
    pub(crate) up: bool,
    pub(crate) mac: Option<Mac>,
    pub(crate) mtu: u32,
    pub(crate) group: u32,
    /// For a veth, the other end's index in the other end's namespace.
    pub(crate) peer: Option<u32>,
}

impl Link {
    /// Reads what is named here and skips the rest: each kernel adds attributes, and this is the hot path.
    pub(crate) fn parse(payload: &[u8]) -> Result<Self, String> {
        const HEADER_BYTES: usize = 16;
        const IFLA_ADDRESS: u16 = 1;
        const IFLA_IFNAME: u16 = 3;
        const IFLA_MTU: u16 = 4;
        const IFLA_LINK: u16 = 5;
        const IFLA_GROUP: u16 = 27;
        let number = |bytes: &[u8]| bytes.first_chunk::<4>().map(|bytes| u32::from_ne_bytes(*bytes));
        let header = payload.get(..HEADER_BYTES).ok_or("a link message is too short")?;
        let mut link = Link {
            index: number(&header[4..]).unwrap_or_default(),
            up: number(&header[8..])
                .is_some_and(|flags| LinkFlags::from_bits_retain(flags).contains(LinkFlags::Up)),
            ..Link::default()
        };
        for attribute in NlasIterator::new(&payload[HEADER_BYTES..]) {
            let attribute = attribute.map_err(|error| error.to_string())?;
            let value = attribute.value();
            match attribute.kind() {
                IFLA_ADDRESS => link.mac = <[u8; 6]>::try_from(value).ok().map(Mac),
                IFLA_IFNAME => link.name = String::from_utf8_lossy(value).trim_end_matches('\0').to_owned(),
                IFLA_MTU => link.mtu = number(value).unwrap_or_default(),
                IFLA_LINK => link.peer = number(value),
                IFLA_GROUP => link.group = number(value).unwrap_or_default(),
                _ => {}
            }
        }
        Ok(link)
    }
}

/// Creates both ends where they will live, with their MTU: moving a link between namespaces afterwards
/// would wait for a grace period of the whole kernel, a hundred times the cost of everything else.
///
/// Both ends say that they have one queue each way. That is what a veth uses anyway; unasked, the kernel makes
/// one per CPU and takes them out of use again, a grace period for each end. The host end is not born up, either:
/// looking for it would make the kernel notice that it has no carrier, and that waits for one more.
/// The host end's MAC is ours so that udev does not replace it; the pod end's, so that nobody need ask for it.
pub(crate) fn create_veth(pod: &PodLink, netns: BorrowedFd<'_>, macs: Macs) -> Request {
    let mut inside = LinkMessage::default();
    inside.attributes = vec![
        LinkAttribute::IfName(pod.ifname.as_str().to_owned()),
        LinkAttribute::NumTxQueues(1),
        LinkAttribute::NumRxQueues(1),
        LinkAttribute::Mtu(pod.mtu),
        LinkAttribute::Address(macs.pod.0.to_vec()),
        LinkAttribute::NetNsFd(netns.as_raw_fd()),
    ];
    let mut outside = LinkMessage::default();
    outside.attributes = vec![
        LinkAttribute::IfName(pod.host_veth.as_str().to_owned()),
        LinkAttribute::NumTxQueues(1),
        LinkAttribute::NumRxQueues(1),
        LinkAttribute::Mtu(pod.mtu),
        LinkAttribute::Address(macs.host.0.to_vec()),
        LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(inside))),
        ]),
    ];
    let attempt = format!("create veth {} with {} in the pod", pod.host_veth, pod.ifname);
    Request::new(attempt, RouteNetlinkMessage::NewLink(outside), NLM_F_CREATE | NLM_F_EXCL)
}

/// Asks for a link by name; absence is tolerated.
pub(crate) fn find(name: &IfName) -> Request {
    let mut message = LinkMessage::default();
    message.attributes = vec![
        LinkAttribute::IfName(name.as_str().to_owned()),
        LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]),
    ];
    Request::new(format!("look for link {name}"), RouteNetlinkMessage::GetLink(message), 0)
        .tolerating(&[Errno::NODEV])
}

/// The link of that name, if there is one.
pub(crate) fn by_name(netlink: &mut Netlink, name: &IfName) -> Result<Option<Link>, DatapathError> {
    match netlink.read(find(name))? {
        Some(payload) => {
            Link::parse(&payload).map(Some).map_err(|why| failed(format!("read link {name}"), why))
        }
        None => Ok(None),
    }
}

/// The link with that index, if there is one.
pub(crate) fn by_index(netlink: &mut Netlink, index: u32) -> Result<Option<Link>, DatapathError> {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.attributes = vec![LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats])];
    let request = Request::new(format!("look for link {index}"), RouteNetlinkMessage::GetLink(message), 0)
        .tolerating(&[Errno::NODEV]);
    match netlink.read(request)? {
        Some(payload) => {
            Link::parse(&payload).map(Some).map_err(|why| failed(format!("read link {index}"), why))
        }
        None => Ok(None),
    }
}

/// All links of the namespace. Never on a pod's path, but seen while pods come and go.
pub(crate) fn all(netlink: &mut Netlink) -> Result<Vec<Link>, DatapathError> {
    netlink.survey(&list(), |payload| Link::parse(payload).map(Some))
}

/// The links with this MAC. Never on a pod's path, but found while pods come and go.
pub(crate) fn by_mac(netlink: &mut Netlink, mac: Mac) -> Result<Vec<Link>, DatapathError> {
    let parse = |payload: &[u8]| Ok(Some(Link::parse(payload)?).filter(|link| link.mac == Some(mac)));
    netlink.dump_until(&list(), parse, |found| !found.is_empty())
}

fn list() -> Request {
    let mut message = LinkMessage::default();
    message.attributes = vec![LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats])];
    Request::new("list the links", RouteNetlinkMessage::GetLink(message), 0)
}

/// Takes the loopback link up.
pub(crate) fn loopback_up() -> Request {
    Request::new("set lo up", RouteNetlinkMessage::SetLink(up(LOOPBACK)), 0)
}

/// Takes one end of a pair up.
pub(crate) fn end_up(link: u32, dev: &str) -> Request {
    Request::new(format!("set {dev} up"), RouteNetlinkMessage::SetLink(up(link)), 0)
}

/// Takes a link up with an MTU.
pub(crate) fn set_up_with_mtu(link: &Link, mtu: u32) -> Request {
    let mut message = up(link.index);
    message.attributes = vec![LinkAttribute::Mtu(mtu)];
    let attempt = format!("set {} up with MTU {mtu}", link.name);
    Request::new(attempt, RouteNetlinkMessage::SetLink(message), 0)
}

/// Puts a host veth in the group that is deleted soon.
pub(crate) fn doom(link: &Link) -> Request {
    let mut message = LinkMessage::default();
    message.header.index = link.index;
    message.attributes = vec![LinkAttribute::Group(DOOMED)];
    let attempt = format!("move {} to the group of doomed links", link.name);
    Request::new(attempt, RouteNetlinkMessage::SetLink(message), 0).tolerating(&[Errno::NODEV])
}

/// Deletes one link now. The kernel takes tens of milliseconds for it: not on a path that is hot.
pub(crate) fn delete(index: u32, name: &str) -> Request {
    let mut message = LinkMessage::default();
    message.header.index = index;
    Request::new(format!("delete {name}"), RouteNetlinkMessage::DelLink(message), 0)
        .tolerating(&[Errno::NODEV])
}

/// Deletes all doomed links in one go, which costs about as much as deleting one. `ENODEV`: there are none.
pub(crate) fn delete_doomed() -> Request {
    let mut message = LinkMessage::default();
    message.attributes = vec![LinkAttribute::Group(DOOMED)];
    Request::new("delete the doomed links", RouteNetlinkMessage::DelLink(message), 0)
        .tolerating(&[Errno::NODEV])
}

fn up(index: u32) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.header.flags = LinkFlags::Up;
    message.header.change_mask = LinkFlags::Up;
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_message_of_any_length_is_read_or_refused() {
        for length in 0..64 {
            let _ = Link::parse(&vec![0xff; length]);
            let _ = Link::parse(&vec![0; length]);
        }
        assert!(Link::parse(&[0; 15]).is_err());
        assert_eq!(Link::parse(&[0; 16]), Ok(Link::default()));
    }
}
