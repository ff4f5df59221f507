//! Connectivity as seen from inside a namespace: who reaches whom, and under which source address.
//!
//! A socket belongs to the namespace it was made in, wherever it is used afterwards. So only the making
//! happens on a thread that has entered the namespace.

use std::io::{self, Read, Write};
use std::net::{
    IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, SocketAddrV6, TcpListener, TcpStream, UdpSocket,
};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::net::{AddressFamily, SendFlags, SocketType, ipproto, sendto, socket};

use crate::namespace::NetNs;

/// Longest datagram a probe sends or takes.
const MAX_DATAGRAM: usize = 512;
/// The source port of made-up datagrams; nobody answers there (RFC 863).
const DISCARD: u16 = 9;
/// How long a listener waits for a client that connected and says nothing.
const CLIENT_PATIENCE: Duration = Duration::from_secs(2);

/// A TCP listener that answers everyone with the address it saw them come from.
///
/// Dropping it ends it.
#[derive(Debug)]
pub struct Mirror {
    listener: Arc<TcpListener>,
    address: SocketAddr,
    worker: Option<JoinHandle<()>>,
}

impl Mirror {
    /// Listens inside `namespace`; port 0 takes a free one.
    pub fn listen(namespace: &NetNs, address: impl Into<SocketAddr>) -> io::Result<Self> {
        let address = address.into();
        let listener = Arc::new(namespace.inside(|| TcpListener::bind(address))??);
        let address = listener.local_addr()?;
        let accepting = Arc::clone(&listener);
        let worker = std::thread::Builder::new().name("mirror".to_owned()).spawn(move || {
            while let Ok((client, peer)) = accepting.accept() {
                // A client that leaves early is the client's business.
                let _gone = answer(client, peer);
            }
        })?;
        Ok(Self { listener, address, worker: Some(worker) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        // On Linux this ends the accept that waits, and every later one.
        let _ended_already = rustix::net::shutdown(&*self.listener, rustix::net::Shutdown::Both);
        if let Some(worker) = self.worker.take() {
            let _panicked = worker.join();
        }
    }
}

fn answer(mut client: TcpStream, peer: SocketAddr) -> io::Result<()> {
    client.set_write_timeout(Some(CLIENT_PATIENCE))?;
    client.write_all(peer.to_string().as_bytes())?;
    client.shutdown(Shutdown::Write)
}

/// Connects from inside `namespace` to a [`Mirror`]; the answer is the source address that it saw.
pub fn connect(namespace: &NetNs, target: SocketAddr, timeout: Duration) -> io::Result<SocketAddr> {
    let stream = namespace.inside(|| TcpStream::connect_timeout(&target, timeout))??;
    stream.set_read_timeout(Some(timeout))?;
    let mut said = String::new();
    stream.take(64).read_to_string(&mut said)?;
    said.parse().map_err(|_| {
        io::Error::new(io::ErrorKind::InvalidData, format!("{target} answered {said:?}, not an address"))
    })
}

/// A UDP socket that waits for datagrams.
#[derive(Debug)]
pub struct Mailbox(UdpSocket);

impl Mailbox {
    /// Opens it inside `namespace`; port 0 takes a free one.
    pub fn open(namespace: &NetNs, address: impl Into<SocketAddr>) -> io::Result<Self> {
        let address = address.into();
        namespace.inside(|| UdpSocket::bind(address))?.map(Self)
    }

    /// Where it waits.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// The next datagram and the source it carried, or `None` when none comes within `timeout`.
    pub fn receive(&self, timeout: Duration) -> io::Result<Option<(Vec<u8>, SocketAddr)>> {
        self.0.set_read_timeout(Some(timeout))?;
        let mut datagram = [0; MAX_DATAGRAM];
        match self.0.recv_from(&mut datagram) {
            Ok((length, from)) => Ok(Some((datagram[..length].to_vec(), from))),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

/// Sends a UDP datagram from inside `namespace` under `source`, whether or not the namespace owns it. Source and
/// target are of one family.
///
/// That the kernel lets it go says nothing about its arrival.
pub fn send_as(
    namespace: &NetNs,
    source: impl Into<IpAddr>,
    target: impl Into<SocketAddr>,
    payload: &[u8],
) -> io::Result<()> {
    if payload.len() > MAX_DATAGRAM {
        return Err(invalid(format!("a probe sends at most {MAX_DATAGRAM} bytes, not {}", payload.len())));
    }
    let (source, target) = (source.into(), target.into());
    let (family, packet, to) = match (source, target) {
        (IpAddr::V4(source), SocketAddr::V4(to)) => {
            (AddressFamily::INET, packet_v4(source, *to.ip(), to.port(), payload), target)
        }
        (IpAddr::V6(source), SocketAddr::V6(to)) => {
            let packet = packet_v6(source, *to.ip(), to.port(), payload);
            // Here the port is a protocol number, which the packet says itself.
            (AddressFamily::INET6, packet, SocketAddrV6::new(*to.ip(), 0, 0, to.scope_id()).into())
        }
        (IpAddr::V4(_), SocketAddr::V6(_)) | (IpAddr::V6(_), SocketAddr::V4(_)) => {
            return Err(invalid(format!("{source} and {target} are not of one family")));
        }
    };
    namespace.inside(|| -> io::Result<()> {
        // The only kind of socket whose sender may write any source: raw(7), IPPROTO_RAW.
        let raw = socket(family, SocketType::RAW, Some(ipproto::RAW))?;
        sendto(&raw, &packet, SendFlags::empty(), &to)?;
        Ok(())
    })?
}

fn invalid(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what)
}

/// An IPv4 packet (RFC 791) with a UDP datagram in it. The kernel fills in the header's checksum; the datagram
/// goes without one, as IPv4 allows.
fn packet_v4(source: Ipv4Addr, target: Ipv4Addr, port: u16, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x45, 0];
    packet.extend(length(28, payload));
    // Identification, fragment offset, time to live, UDP, checksum.
    packet.extend([0, 0, 0, 0, 64, 17, 0, 0]);
    packet.extend(source.octets());
    packet.extend(target.octets());
    packet.extend(datagram(port, payload));
    packet
}

/// An IPv6 packet (RFC 8200) with a UDP datagram in it, which must have a checksum.
fn packet_v6(source: Ipv6Addr, target: Ipv6Addr, port: u16, payload: &[u8]) -> Vec<u8> {
    let mut datagram = datagram(port, payload);
    let addresses = [source.octets(), target.octets()].concat();
    let pseudo = [addresses.as_slice(), &[0, 0], &length(8, payload), &[0, 0, 0, 17]].concat();
    let checksum = checksum(&[pseudo, datagram.clone()].concat());
    datagram[6..8].copy_from_slice(&checksum.to_be_bytes());
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend(length(8, payload));
    // UDP, hop limit.
    packet.extend([17, 64]);
    packet.extend(addresses);
    packet.extend(datagram);
    packet
}

/// A UDP datagram (RFC 768) without a checksum.
fn datagram(port: u16, payload: &[u8]) -> Vec<u8> {
    let ports = [DISCARD.to_be_bytes(), port.to_be_bytes()].concat();
    [ports.as_slice(), &length(8, payload), &[0, 0], payload].concat()
}

fn length(header: usize, payload: &[u8]) -> [u8; 2] {
    u16::try_from(header + payload.len()).expect("invariant: a probe's payload is bounded").to_be_bytes()
}

/// The Internet checksum (RFC 1071), never 0, which would mean that there is none.
fn checksum(bytes: &[u8]) -> u16 {
    let words =
        bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |low| u32::from(*low)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    match !u16::try_from(sum).expect("invariant: folded just above") {
        0 => 0xffff,
        sum => sum,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksum_is_that_of_the_rfcs_example() {
        // RFC 1071, section 3: the sum of these bytes is ddf2.
        assert_eq!(checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
        assert_eq!(checksum(&[0xff, 0xff]), 0xffff);
        assert_eq!(checksum(&[0x01]), !0x0100);
    }
}
