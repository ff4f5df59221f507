//! How near the datapath comes to the kernel's own cost.
//!
//! Prints medians in microseconds for wiring and unwiring a pod, beside a bare netlink sequence that leaves the
//! same state: one socket, a message at a time, an acknowledgement each, no queue, no thread hop, no check.
//! Needs root and iproute2; works in network namespaces of its own. `cargo run --release --example floor`.

use std::fs::File;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use enid_core::wiring::{POD_GATEWAY, PodWiring, RULE_FROM_POD, RULE_TO_POD};
use enid_datapath_linux::{DatapathOptions, LinuxDatapath};
use enid_engine::ports::Datapath;
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage,
    NetlinkPayload,
};
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Pods of each kind; all are wired before the first is unwired, as on a full node.
const PODS: usize = 100;
/// A secondary ENI's table, so that both rules are needed.
const TABLE: u32 = 2;
const MTU: u32 = 9001;
const MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 1];
const NEW: u16 = NLM_F_CREATE | NLM_F_EXCL;

fn main() -> Result<()> {
    ensure!(rustix::process::geteuid().is_root(), "run this as root: it creates network namespaces");
    let node = Namespace::new("node".to_owned())?;
    let ours: Vec<Namespace> = (0..PODS).map(|n| Namespace::new(format!("a{n}"))).collect::<Result<_>>()?;
    let bare: Vec<Namespace> = (0..PODS).map(|n| Namespace::new(format!("b{n}"))).collect::<Result<_>>()?;
    let datapath =
        LinuxDatapath::start(DatapathOptions { node: Some(node.fd()?), ..DatapathOptions::default() })?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    move_into_link_name_space(node.fd()?.as_fd(), Some(LinkNameSpaceType::Network))?;
    let mut floor = Bare::new(node.fd()?)?;

    let (mut wire, mut floor_wire) = (Vec::new(), Vec::new());
    for (n, (our, bare)) in ours.iter().zip(&bare).enumerate() {
        let (wiring, netns) = (wiring('a', n)?, our.fd()?);
        wire.push(timed(|| Ok(runtime.block_on(datapath.wire_pod(&wiring, netns)).map(drop)?))?);
        let (wiring, netns) = (self::wiring('b', n)?, bare.fd()?);
        floor_wire.push(timed(|| floor.wire(&wiring, &netns))?);
    }
    let (mut unwire, mut floor_unwire) = (Vec::new(), Vec::new());
    for n in 0..PODS {
        let wiring = wiring('a', n)?;
        unwire.push(timed(|| Ok(runtime.block_on(datapath.unwire_pod(&wiring))?))?);
        let wiring = self::wiring('b', n)?;
        floor_unwire.push(timed(|| floor.unwire(&wiring))?);
    }
    report("wire", wire, floor_wire);
    report("unwire", unwire, floor_unwire);
    let started = Instant::now();
    datapath.shutdown();
    println!("last doomed veths deleted in {} µs", started.elapsed().as_micros());
    Ok(())
}

fn report(what: &str, mut ours: Vec<Duration>, mut floor: Vec<Duration>) {
    ours.sort();
    floor.sort();
    let at = |times: &[Duration], percent: usize| times[(times.len() - 1) * percent / 100].as_micros();
    println!(
        "{what}_pod: median {} µs, p95 {} µs; bare netlink: median {} µs, p95 {} µs; ratio {:.2}",
        at(&ours, 50),
        at(&ours, 95),
        at(&floor, 50),
        at(&floor, 95),
        ours[ours.len() / 2].as_secs_f64() / floor[floor.len() / 2].as_secs_f64(),
    );
}

fn timed(work: impl FnOnce() -> Result<()>) -> Result<Duration> {
    let started = Instant::now();
    work()?;
    Ok(started.elapsed())
}

fn wiring(kind: char, n: usize) -> Result<PodWiring> {
    Ok(PodWiring {
        host_veth: format!("eni{kind}{n}").parse()?,
        ifname: "eth0".parse()?,
        address: Ipv4Addr::new(10, 7, kind as u8, n as u8),
        table: TABLE,
        mtu: MTU,
    })
}

/// A network namespace of this run's own.
struct Namespace(String);

impl Namespace {
    fn new(label: String) -> Result<Self> {
        let name = format!("floor{}{label}", std::process::id());
        let status =
            Command::new("ip").args(["netns", "add", &name]).status().context("run ip (iproute2)")?;
        ensure!(status.success(), "ip netns add {name} failed");
        Ok(Self(name))
    }

    fn fd(&self) -> Result<OwnedFd> {
        Ok(File::open(format!("/run/netns/{}", self.0))?.into())
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).status();
    }
}

/// The bare sequence.
struct Bare {
    node: OwnedFd,
    socket: Socket,
}

impl Bare {
    fn new(node: OwnedFd) -> Result<Self> {
        Ok(Self { node, socket: Socket::new(NETLINK_ROUTE)? })
    }

    fn wire(&mut self, pod: &PodWiring, netns: &OwnedFd) -> Result<()> {
        ask(&self.socket, RouteNetlinkMessage::NewLink(veth(pod, netns.as_raw_fd())), NEW)?;
        let (outside, inside_index) = find(&self.socket, pod)?;
        move_into_link_name_space(netns.as_fd(), Some(LinkNameSpaceType::Network))?;
        let inside = Socket::new(NETLINK_ROUTE)?;
        move_into_link_name_space(self.node.as_fd(), Some(LinkNameSpaceType::Network))?;
        for index in [1, inside_index] {
            ask(&inside, RouteNetlinkMessage::SetLink(up(index)), 0)?;
        }
        let mut address = AddressMessage::default();
        address.header.family = AddressFamily::Inet;
        address.header.prefix_len = 32;
        address.header.index = inside_index;
        address.attributes = vec![AddressAttribute::Local(pod.address.into())];
        ask(&inside, RouteNetlinkMessage::NewAddress(address), NEW)?;
        ask(&inside, RouteNetlinkMessage::NewRoute(route(POD_GATEWAY, inside_index)), NEW)?;
        let mut default = route(POD_GATEWAY, inside_index);
        default.header.destination_prefix_length = 0;
        default.header.scope = RouteScope::Universe;
        default.attributes[0] = RouteAttribute::Gateway(RouteAddress::Inet(POD_GATEWAY));
        ask(&inside, RouteNetlinkMessage::NewRoute(default), NEW)?;
        let mut neighbour = NeighbourMessage::default();
        neighbour.header.family = AddressFamily::Inet;
        neighbour.header.ifindex = inside_index;
        neighbour.header.state = NeighbourState::Permanent;
        neighbour.attributes = vec![
            NeighbourAttribute::Destination(NeighbourAddress::Inet(POD_GATEWAY)),
            NeighbourAttribute::LinkLayerAddress(MAC.to_vec()),
        ];
        ask(&inside, RouteNetlinkMessage::NewNeighbour(neighbour), NEW)?;
        let to_pod = route(pod.address, outside);
        ask(&self.socket, RouteNetlinkMessage::NewRoute(to_pod), NLM_F_CREATE | NLM_F_REPLACE)?;
        for rule in rules(pod) {
            ask(&self.socket, RouteNetlinkMessage::NewRule(rule), NEW)?;
        }
        Ok(())
    }

    fn unwire(&mut self, pod: &PodWiring) -> Result<()> {
        let mut gone = route(pod.address, 0);
        gone.attributes.truncate(1);
        ask(&self.socket, RouteNetlinkMessage::DelRoute(gone), 0)?;
        for rule in rules(pod) {
            ask(&self.socket, RouteNetlinkMessage::DelRule(rule), 0)?;
        }
        Ok(())
    }
}

fn veth(pod: &PodWiring, netns: RawFd) -> LinkMessage {
    let mut inside = LinkMessage::default();
    inside.attributes = vec![
        LinkAttribute::IfName(pod.ifname.as_str().to_owned()),
        LinkAttribute::Mtu(pod.mtu),
        LinkAttribute::NetNsFd(netns),
    ];
    let mut outside = up(0);
    outside.attributes = vec![
        LinkAttribute::IfName(pod.host_veth.as_str().to_owned()),
        LinkAttribute::Mtu(pod.mtu),
        LinkAttribute::Address(MAC.to_vec()),
        LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(inside))),
        ]),
    ];
    outside
}

fn up(index: u32) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.header.flags = LinkFlags::Up;
    message.header.change_mask = LinkFlags::Up;
    message
}

fn route(to: Ipv4Addr, link: u32) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = AddressFamily::Inet;
    message.header.destination_prefix_length = 32;
    message.header.table = 254;
    message.header.protocol = RouteProtocol::Boot;
    message.header.scope = RouteScope::Link;
    message.header.kind = RouteType::Unicast;
    message.attributes = vec![RouteAttribute::Destination(RouteAddress::Inet(to)), RouteAttribute::Oif(link)];
    message
}

fn rules(pod: &PodWiring) -> [RuleMessage; 2] {
    [(true, 254, RULE_TO_POD), (false, TABLE, RULE_FROM_POD)].map(|(to, table, priority)| {
        let mut message = RuleMessage::default();
        message.header.family = AddressFamily::Inet;
        message.header.action = RuleAction::ToTable;
        message.header.table = table as u8;
        let address = pod.address.into();
        let selector = if to {
            message.header.dst_len = 32;
            RuleAttribute::Destination(address)
        } else {
            message.header.src_len = 32;
            RuleAttribute::Source(address)
        };
        message.attributes = vec![RuleAttribute::Priority(priority), selector];
        message
    })
}

/// Indexes of the host end and of the pod end.
fn find(socket: &Socket, pod: &PodWiring) -> Result<(u32, u32)> {
    let mut message = LinkMessage::default();
    message.attributes = vec![LinkAttribute::IfName(pod.host_veth.as_str().to_owned())];
    send(socket, RouteNetlinkMessage::GetLink(message), 0)?;
    let NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) = receive(socket)?.payload else {
        bail!("no link {}", pod.host_veth);
    };
    let peer = link
        .attributes
        .iter()
        .find_map(|attribute| if let LinkAttribute::Link(index) = attribute { Some(*index) } else { None });
    Ok((link.header.index, peer.context("the other end")?))
}

fn ask(socket: &Socket, message: RouteNetlinkMessage, flags: u16) -> Result<()> {
    send(socket, message, flags | NLM_F_ACK)?;
    let answer = receive(socket)?.payload;
    if let NetlinkPayload::Error(error) = &answer
        && error.code.is_none()
    {
        return Ok(());
    }
    bail!("refused: {answer:?}")
}

fn send(socket: &Socket, message: RouteNetlinkMessage, flags: u16) -> Result<()> {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | flags;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::from(message));
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    socket.send_to(&bytes, &SocketAddr::new(0, 0), 0)?;
    Ok(())
}

fn receive(socket: &Socket) -> Result<NetlinkMessage<RouteNetlinkMessage>> {
    let mut buffer = [0; 8192];
    let length = socket.recv(&mut &mut buffer[..], 0)?;
    Ok(NetlinkMessage::deserialize(&buffer[..length])?)
}
