//! The least that wiring a pod can cost: one thread, raw netlink, one acknowledged message per step, for as many
//! pods as the first argument says. Prints the nanoseconds of each pod, a line each.
//!
//! Not part of any crate: `cargo xtask bench` compiles this file by itself. It makes its own network namespaces,
//! all of them without names, so that they end with the process.
//!
//! Per pod: a socket in the pod's namespace; a veth pair whose peer is born there; in the pod, `lo` and the link
//! up, an address, the two routes and the permanent neighbour; on the host, a route and two rules. As the daemon
//! does, and nothing else.

use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Instant;

const CLONE_NEWNET: i32 = 0x4000_0000;
const AF_INET: u8 = 2;
const GATEWAY: [u8; 4] = [169, 254, 1, 1];
const HOST_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 1];

// Message types and flags of rtnetlink(7).
const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_NEWROUTE: u16 = 24;
const RTM_NEWNEIGH: u16 = 28;
const RTM_NEWRULE: u16 = 32;
const NLMSG_ERROR: u16 = 2;
const REQUEST: u16 = 0x1;
const ACK: u16 = 0x4;
const EXCLUSIVE: u16 = 0x200;
const CREATE: u16 = 0x400;
const NESTED: u16 = 0x8000;

unsafe extern "C" {
    fn unshare(flags: i32) -> i32;
    fn setns(fd: i32, kind: i32) -> i32;
    fn socket(domain: i32, kind: i32, protocol: i32) -> i32;
    fn send(fd: i32, bytes: *const u8, length: usize, flags: i32) -> isize;
    fn recv(fd: i32, bytes: *mut u8, length: usize, flags: i32) -> isize;
}

fn main() {
    let count: u32 = std::env::args().nth(1).and_then(|text| text.parse().ok()).expect("how many pods");
    let host = new_namespace();
    let mut on_host = Netlink::open();
    let mut kept = Vec::new();
    for number in 0..count {
        let pod = new_namespace();
        enter(&host);
        let begun = Instant::now();
        wire(&mut on_host, &host, &pod, number);
        println!("{}", begun.elapsed().as_nanos());
        kept.push(pod);
    }
}

fn wire(on_host: &mut Netlink, host: &File, pod: &File, number: u32) {
    enter(pod);
    let mut in_pod = Netlink::open();
    enter(host);
    let [_, _, high, low] = number.to_be_bytes();
    let address = [10, 0, high, low];
    let name = format!("p{number}");

    on_host.ask(veth(&name, pod.as_raw_fd()));
    let outside = on_host.index_of(&name);
    let inside = in_pod.index_of("eth0");
    in_pod.ask(Message::new(RTM_NEWLINK, 0).part(&link(1, 1)));
    in_pod.ask(Message::new(RTM_NEWLINK, 0).part(&link(inside, 1)));
    in_pod.ask(
        Message::new(RTM_NEWADDR, CREATE | EXCLUSIVE)
            .part(&addr(inside))
            .attribute(2, &address)
            .attribute(1, &address),
    );
    in_pod.ask(route(32, 253).attribute(1, &GATEWAY).attribute(4, &inside.to_ne_bytes()));
    in_pod.ask(route(0, 0).attribute(5, &GATEWAY).attribute(4, &inside.to_ne_bytes()));
    in_pod.ask(neighbour(inside));
    on_host.ask(route(32, 253).attribute(1, &address).attribute(4, &outside.to_ne_bytes()));
    on_host.ask(
        rule(32, 0)
            .attribute(1, &address)
            .attribute(6, &512u32.to_ne_bytes())
            .attribute(15, &254u32.to_ne_bytes()),
    );
    on_host.ask(
        rule(0, 32)
            .attribute(2, &address)
            .attribute(6, &1536u32.to_ne_bytes())
            .attribute(15, &2u32.to_ne_bytes()),
    );
}

/// A pair, the peer born in the pod. Only this end can be up at once: a peer has no peer yet.
fn veth(name: &str, pod: RawFd) -> Message {
    let mtu = 9001u32.to_ne_bytes();
    let mut peer = Message::bare();
    peer.0.extend(link(0, 0));
    let peer = peer.attribute(3, b"eth0\0").attribute(4, &mtu).attribute(28, &pod.to_ne_bytes());
    let data = Message::bare().attribute(1 | NESTED, &peer.0);
    let info = Message::bare().attribute(1, b"veth").attribute(2 | NESTED, &data.0);
    Message::new(RTM_NEWLINK, CREATE | EXCLUSIVE)
        .part(&link(0, 1))
        .attribute(3, format!("{name}\0").as_bytes())
        .attribute(4, &mtu)
        .attribute(1, &HOST_MAC)
        .attribute(18 | NESTED, &info.0)
}

/// `struct ifinfomsg`: an index, and whether it shall be up.
fn link(index: u32, up: u32) -> Vec<u8> {
    [[0; 4], index.to_ne_bytes(), up.to_ne_bytes(), up.to_ne_bytes()].concat()
}

/// `struct ifaddrmsg`: a /32.
fn addr(index: u32) -> Vec<u8> {
    [[AF_INET, 32, 0, 0], index.to_ne_bytes()].concat()
}

/// `struct rtmsg`: unicast, static, in the main table.
fn route(length: u8, scope: u8) -> Message {
    Message::new(RTM_NEWROUTE, CREATE | EXCLUSIVE)
        .part(&[AF_INET, length, 0, 0, 254, 4, scope, 1, 0, 0, 0, 0])
}

/// `struct fib_rule_hdr`: look up a table.
fn rule(to: u8, from: u8) -> Message {
    Message::new(RTM_NEWRULE, CREATE | EXCLUSIVE).part(&[AF_INET, to, from, 0, 0, 0, 0, 1, 0, 0, 0, 0])
}

/// `struct ndmsg`: the gateway is the host end, permanently.
fn neighbour(index: u32) -> Message {
    Message::new(RTM_NEWNEIGH, CREATE | EXCLUSIVE)
        .part(&[[AF_INET, 0, 0, 0], index.to_ne_bytes(), [0x80, 0, 0, 0]].concat())
        .attribute(1, &GATEWAY)
        .attribute(2, &HOST_MAC)
}

/// A netlink message being built; `struct nlmsghdr` first, unless bare.
struct Message(Vec<u8>);

impl Message {
    fn new(kind: u16, flags: u16) -> Self {
        let mut header = vec![0; 16];
        header[4..6].copy_from_slice(&kind.to_ne_bytes());
        header[6..8].copy_from_slice(&(flags | REQUEST | ACK).to_ne_bytes());
        Self(header)
    }

    fn bare() -> Self {
        Self(Vec::new())
    }

    fn part(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }

    fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        let length = u16::try_from(value.len() + 4).expect("short attributes");
        self.0.extend(length.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }
}

struct Netlink {
    socket: OwnedFd,
    answer: Vec<u8>,
}

impl Netlink {
    /// A route socket in the namespace that the thread is in.
    fn open() -> Self {
        // SAFETY: no pointers; the result is checked and owned by nobody else.
        let socket = unsafe {
            let fd = socket(16, 3 | 0x8_0000, 0);
            assert!(fd >= 0, "open a netlink socket: {}", std::io::Error::last_os_error());
            OwnedFd::from_raw_fd(fd)
        };
        Self { socket, answer: vec![0; 8192] }
    }

    fn ask(&mut self, message: Message) {
        let (kind, _) = self.exchange(message);
        let code = i32::from_ne_bytes(self.answer[16..20].try_into().expect("four bytes"));
        assert!(
            kind == NLMSG_ERROR && code == 0,
            "the kernel refused: {}",
            std::io::Error::from_raw_os_error(-code)
        );
    }

    fn index_of(&mut self, name: &str) -> u32 {
        let mut message =
            Message::new(RTM_GETLINK, 0).part(&link(0, 0)).attribute(3, format!("{name}\0").as_bytes());
        message.0[6..8].copy_from_slice(&REQUEST.to_ne_bytes());
        let (kind, _) = self.exchange(message);
        assert_eq!(kind, RTM_NEWLINK, "no link {name}");
        u32::from_ne_bytes(self.answer[20..24].try_into().expect("four bytes"))
    }

    fn exchange(&mut self, mut message: Message) -> (u16, usize) {
        let length = u32::try_from(message.0.len()).expect("short messages");
        message.0[0..4].copy_from_slice(&length.to_ne_bytes());
        let fd = self.socket.as_raw_fd();
        // SAFETY: both buffers live across the calls and their lengths are their own.
        let got = unsafe {
            assert!(
                send(fd, message.0.as_ptr(), message.0.len(), 0) > 0,
                "send: {}",
                std::io::Error::last_os_error()
            );
            recv(fd, self.answer.as_mut_ptr(), self.answer.len(), 0)
        };
        let got = usize::try_from(got).expect("an answer");
        assert!(got >= 20, "a short answer");
        (u16::from_ne_bytes([self.answer[4], self.answer[5]]), got)
    }
}

/// Moves the thread into a new network namespace.
fn new_namespace() -> File {
    // SAFETY: no pointers; the process has one thread.
    let done = unsafe { unshare(CLONE_NEWNET) };
    assert_eq!(done, 0, "make a network namespace: {}", std::io::Error::last_os_error());
    File::open("/proc/thread-self/ns/net").expect("open the namespace")
}

/// Moves the thread into a namespace.
fn enter(namespace: &File) {
    // SAFETY: the descriptor is open.
    let done = unsafe { setns(namespace.as_raw_fd(), CLONE_NEWNET) };
    assert_eq!(done, 0, "enter a namespace: {}", std::io::Error::last_os_error());
}
