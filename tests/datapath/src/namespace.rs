//! A network namespace of a test's own, gone when the test ends.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use netlink_sys::protocols::{NETLINK_NETFILTER, NETLINK_ROUTE};
use netlink_sys::{Socket, SocketAddr as NetlinkAddr};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::Value;

/// How long a connection may take before it counts as impossible.
const PATIENCE: Duration = Duration::from_secs(3);

static CREATED: AtomicU32 = AtomicU32::new(0);

/// A network namespace, named so that no other test has it, deleted by that name.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Creates it, with loopback down as a container runtime does.
    pub fn new(label: &str) -> Result<Self> {
        require_privilege_and_programs()?;
        let name = format!("edt{}x{}{label}", std::process::id(), CREATED.fetch_add(1, Ordering::Relaxed));
        run(Command::new("ip").args(["netns", "add", &name]))?;
        Ok(Self { name })
    }

    /// Its name, for `ip -n`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it is found, as a runtime says in `CNI_NETNS`.
    pub fn path(&self) -> String {
        format!("/run/netns/{}", self.name)
    }

    /// A descriptor of it, as a runtime hands it to a plugin.
    pub fn fd(&self) -> Result<OwnedFd> {
        let path = self.path();
        Ok(File::open(&path).with_context(|| path)?.into())
    }

    /// `ip -n NAME ARGUMENTS`.
    pub fn ip(&self, arguments: &str) -> Result<String> {
        run(Command::new("ip").args(["-n", &self.name]).args(arguments.split_whitespace()))
    }

    /// What `ip -j ARGUMENTS` lists; empty when it lists nothing or what was asked for is not there.
    pub fn list(&self, arguments: &str) -> Result<Vec<Value>> {
        let Ok(text) = self.ip(&format!("-j -d {arguments}")) else { return Ok(Vec::new()) };
        if text.trim().is_empty() {
            return Ok(Vec::new());
        }
        let listed: Vec<Value> = serde_json::from_str(&text)?;
        Ok(listed
            .into_iter()
            .filter(|entry| entry.as_object().is_some_and(|entry| !entry.is_empty()))
            .collect())
    }

    /// The one entry that `ip -j ARGUMENTS` lists.
    pub fn only(&self, arguments: &str) -> Result<Value> {
        let mut listed = self.list(arguments)?;
        ensure!(listed.len() == 1, "`ip {arguments}` in {} lists {listed:?}", self.name);
        Ok(listed.remove(0))
    }

    /// Whether a link of that name exists.
    pub fn has_link(&self, name: &str) -> Result<bool> {
        Ok(!self.list(&format!("link show dev {name}"))?.is_empty())
    }

    /// `ip -n NAME -batch -` with these lines.
    pub fn ip_batch(&self, lines: &str) -> Result<()> {
        let mut command = Command::new("ip");
        feed(command.args(["-n", &self.name, "-batch", "-"]), lines)
    }

    /// `nft -f -` with this text.
    pub fn nft(&self, text: &str) -> Result<()> {
        feed(&mut self.command("nft", &["-f", "-"]), text)
    }

    /// The rules and sets of a table, as `nft -j list table` has them.
    pub fn nft_table(&self, family_and_name: &str) -> Result<Vec<Value>> {
        let mut arguments = vec!["-j", "list", "table"];
        arguments.extend(family_and_name.split_whitespace());
        let listing: Value = serde_json::from_str(&run(&mut self.command("nft", &arguments))?)?;
        Ok(listing["nftables"].as_array().cloned().unwrap_or_default())
    }

    /// Reads a file under `/proc/sys/net` as this namespace sees it.
    pub fn sysctl(&self, name: &str) -> Result<String> {
        let path = format!("/proc/sys/net/{name}");
        let text =
            self.inside(move || std::fs::read_to_string(&path).map_err(|error| anyhow!("{path}: {error}")))?;
        Ok(text?.trim().to_owned())
    }

    /// Writes a file under `/proc/sys/net` as this namespace sees it.
    pub fn set_sysctl(&self, name: &str, value: &'static str) -> Result<()> {
        let path = format!("/proc/sys/net/{name}");
        self.inside(move || std::fs::write(&path, value).map_err(|error| anyhow!("{path}: {error}")))?
    }

    /// Whether one ping comes back.
    pub fn reaches(&self, address: &str) -> Result<bool> {
        Ok(self.command("ping", &["-c1", "-W1", "-q", address]).output()?.status.success())
    }

    /// What a named counter has counted.
    pub fn counted(&self, table: &str, counter: &str) -> Result<u64> {
        let entries = self.nft_table(table)?;
        let counter_of = |entry: &Value| {
            let counted = &entry["counter"];
            (counted["name"] == counter).then(|| counted["packets"].as_u64()).flatten()
        };
        entries.iter().find_map(counter_of).with_context(|| format!("no counter {counter} in {table}"))
    }

    /// `ping ARGUMENTS`, running until it ends by itself.
    pub fn ping(&self, arguments: &str) -> Result<JoinHandle<Result<String>>> {
        let arguments: Vec<&str> = arguments.split_whitespace().collect();
        let child = self.command("ping", &arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        Ok(std::thread::spawn(move || {
            Ok(String::from_utf8_lossy(&child.wait_with_output()?.stdout).into_owned())
        }))
    }

    /// Runs `work` on a thread of its own inside this namespace.
    pub fn inside<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        self.spawn(work)?.join().map_err(|_| anyhow!("the work inside {} panicked", self.name))
    }

    fn spawn<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<JoinHandle<T>> {
        let fd = self.fd()?;
        Ok(std::thread::spawn(move || {
            move_into_link_name_space(fd.as_fd(), Some(LinkNameSpaceType::Network))
                .expect("enter a test's namespace");
            work()
        }))
    }

    /// Listens for one TCP connection on all addresses of a family, given by its unspecified address.
    pub fn listen(&self, on: IpAddr) -> Result<Listener> {
        let listener = self.inside(move || TcpListener::bind((on, 0)))??;
        listener.set_nonblocking(true)?;
        Ok(Listener { port: listener.local_addr()?.port(), listener })
    }

    /// Gets ready to send one packet to a port that nobody listens on.
    pub fn knocker(&self, at: IpAddr) -> Result<Knocker> {
        let any: IpAddr =
            if at.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let socket = self.inside(move || UdpSocket::bind((any, 0)))??;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(Knocker { socket, at: SocketAddr::new(at, 9) })
    }

    /// Connects over TCP and reads the greeting.
    pub fn connects(&self, to: impl Into<SocketAddr>) -> Result<()> {
        self.call(to).map(drop)
    }

    /// Connects over TCP, reads the greeting and stays connected.
    pub fn call(&self, to: impl Into<SocketAddr>) -> Result<TcpStream> {
        let to = to.into();
        self.inside(move || {
            let mut stream = TcpStream::connect_timeout(&to, PATIENCE)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            let mut greeting = [0; 2];
            stream.read_exact(&mut greeting).context("read the greeting")?;
            Ok(stream)
        })?
    }

    /// Watches links, addresses, routes and rules from now on.
    pub fn watch(&self) -> Result<Watch> {
        // RTNLGRP_LINK, then RTNLGRP_IPV4_IFADDR, _ROUTE and _RULE, and the same of IPv6.
        Ok(Watch { sockets: vec![self.listen_to(NETLINK_ROUTE, &[1, 5, 7, 8, 9, 11, 19])?] })
    }

    /// Watches permanent neighbours, settings of links and nftables, too.
    pub fn watch_everything(&self) -> Result<Watch> {
        let mut watch = self.watch()?;
        // RTNLGRP_NEIGH, RTNLGRP_IPV4_NETCONF and RTNLGRP_IPV6_NETCONF; NFNLGRP_NFTABLES.
        watch.sockets.push(self.listen_to(NETLINK_ROUTE, &[3, 24, 25])?);
        watch.sockets.push(self.listen_to(NETLINK_NETFILTER, &[7])?);
        Ok(watch)
    }

    fn listen_to(&self, protocol: isize, groups: &'static [u32]) -> Result<Socket> {
        self.inside(move || -> Result<Socket> {
            let mut socket = Socket::new(protocol)?;
            socket.bind(&NetlinkAddr::new(0, 0))?;
            for group in groups {
                socket.add_membership(*group)?;
            }
            socket.set_non_blocking(true)?;
            Ok(socket)
        })?
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, program]).args(arguments);
        command
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // A test that fails because of this says so by the namespace it leaves.
        let _ = Command::new("ip").args(["netns", "del", &self.name]).output();
    }
}

/// A TCP port inside a namespace.
#[derive(Debug)]
pub struct Listener {
    /// Where it listens.
    pub port: u16,
    listener: TcpListener,
}

impl Listener {
    /// Greets the next caller and says where it came from.
    pub fn greet(&self) -> Result<SocketAddr> {
        self.answer().map(|(_, peer)| peer)
    }

    /// Greets the next caller and stays connected.
    pub fn answer(&self) -> Result<(TcpStream, SocketAddr)> {
        let timeout = Timespec { tv_sec: PATIENCE.as_secs().cast_signed(), tv_nsec: 0 };
        poll(&mut [PollFd::new(&self.listener, PollFlags::IN)], Some(&timeout))?;
        let (mut stream, peer) = self.listener.accept().context("nobody called")?;
        stream.write_all(b"hi")?;
        Ok((stream, peer))
    }

    /// The connection that `call` makes.
    pub fn connection(self, call: impl FnOnce() -> Result<TcpStream>) -> Result<Connection> {
        let answerer = std::thread::spawn(move || self.answer());
        let caller = call();
        let (answering, peer) = answerer.join().map_err(|_| anyhow!("the listener panicked"))??;
        answering.set_nonblocking(false)?;
        answering.set_read_timeout(Some(PATIENCE))?;
        Ok(Connection { peer, ends: [caller?, answering] })
    }

    /// Where the next caller comes from, `call` being made meanwhile.
    pub fn caller(self, call: impl FnOnce() -> Result<()>) -> Result<SocketAddr> {
        let greeter = std::thread::spawn(move || self.greet());
        let called = call();
        let peer = greeter.join().map_err(|_| anyhow!("the listener panicked"))?;
        called?;
        peer
    }
}

/// Sends one packet and waits to be told that nobody listens, which only happens when it gets there.
#[derive(Debug)]
pub struct Knocker {
    socket: UdpSocket,
    at: SocketAddr,
}

impl Knocker {
    /// Sends the packet; `false` when nothing comes back.
    pub fn is_refused(self) -> Result<bool> {
        self.socket.connect(self.at)?;
        self.socket.send(b"x")?;
        match self.socket.recv(&mut [0]) {
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(true),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::HostUnreachable) => {
                Ok(false)
            }
            Err(error) => Err(error.into()),
            Ok(_) => bail!("somebody answered"),
        }
    }
}

/// A TCP connection with both its ends.
#[derive(Debug)]
pub struct Connection {
    /// Where the listener saw it come from.
    pub peer: SocketAddr,
    ends: [TcpStream; 2],
}

impl Connection {
    /// Fails unless a byte gets through in each direction.
    pub fn carries_both_ways(&mut self) -> Result<()> {
        for (from, to) in [(0, 1), (1, 0)] {
            self.ends[from].write_all(b"x")?;
            self.ends[to].read_exact(&mut [0]).context("the connection is dead")?;
        }
        Ok(())
    }
}

/// The changes in a namespace.
#[derive(Debug)]
pub struct Watch {
    sockets: Vec<Socket>,
}

impl Watch {
    /// The message types seen since it started: `RTM_NEWROUTE` is 24, `RTM_DELROUTE` 25, those of nftables begin at
    /// 2560. Neighbours that the kernel found by itself do not count.
    pub fn seen(&self) -> Result<Vec<u16>> {
        let mut types = Vec::new();
        let mut buffer = vec![0; 64 * 1024];
        for socket in &self.sockets {
            loop {
                match socket.recv(&mut &mut buffer[..], 0) {
                    Ok(length) if length >= 6 => types.extend(change(&buffer[..length])),
                    Ok(_) => bail!("a short message"),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(types)
    }
}

/// The type of a notification, unless it is about a neighbour that is not permanent.
fn change(message: &[u8]) -> Option<u16> {
    const RTM_NEIGHBOUR: std::ops::RangeInclusive<u16> = 28..=29;
    const NUD_PERMANENT: u8 = 0x80;
    let kind = u16::from_ne_bytes([message[4], message[5]]);
    let is_permanent = message.get(24).is_some_and(|state| *state == NUD_PERMANENT);
    (!RTM_NEIGHBOUR.contains(&kind) || is_permanent).then_some(kind)
}

fn require_privilege_and_programs() -> Result<()> {
    ensure!(
        rustix::process::geteuid().is_root(),
        "these tests create network namespaces: run them as root, for example `sudo -E cargo test -p datapath`"
    );
    for (program, argument, package) in
        [("ip", "-V", "iproute2"), ("nft", "-v", "nftables"), ("ping", "-V", "iputils-ping")]
    {
        ensure!(
            Command::new(program).arg(argument).output().is_ok(),
            "these tests need `{program}`: install it with `apt-get install {package}`"
        );
    }
    Ok(())
}

fn run(command: &mut Command) -> Result<String> {
    let line = format!("{command:?}");
    checked(command.stdin(Stdio::null()).output().with_context(|| line.clone())?, &line)
}

fn feed(command: &mut Command, input: &str) -> Result<()> {
    let line = format!("{command:?}");
    let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    child.stdin.take().context("stdin")?.write_all(input.as_bytes())?;
    checked(child.wait_with_output()?, &line).map(drop)
}

fn checked(output: Output, line: &str) -> Result<String> {
    if !output.status.success() {
        bail!("{line}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
