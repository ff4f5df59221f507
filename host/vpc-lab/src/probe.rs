//! Connectivity as seen from inside a namespace: who reaches whom, and under which source address.
//!
//! A socket belongs to the namespace it was made in, wherever it is used afterwards. So only the making
//! happens on a thread that has entered the namespace.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
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
    pub fn listen(namespace: &NetNs, address: SocketAddrV4) -> io::Result<Self> {
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
    pub fn open(namespace: &NetNs, address: SocketAddrV4) -> io::Result<Self> {
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

/// Sends a UDP datagram from inside `namespace` under `source`, whether or not the namespace owns it.
///
/// That the kernel lets it go says nothing about its arrival.
pub fn send_as(namespace: &NetNs, source: Ipv4Addr, target: SocketAddrV4, payload: &[u8]) -> io::Result<()> {
    let packet = datagram(SocketAddrV4::new(source, DISCARD), target, payload)?;
    namespace.inside(|| -> io::Result<()> {
        // The only kind of socket whose sender may write any source: raw(7), IPPROTO_RAW.
        let raw = socket(AddressFamily::INET, SocketType::RAW, Some(ipproto::RAW))?;
        sendto(&raw, &packet, SendFlags::empty(), &target)?;
        Ok(())
    })?
}

/// An IPv4 packet with a UDP datagram in it: RFC 791, RFC 768. The kernel fills in the header's checksum;
/// the datagram goes without one, as IPv4 allows.
fn datagram(source: SocketAddrV4, target: SocketAddrV4, payload: &[u8]) -> io::Result<Vec<u8>> {
    if payload.len() > MAX_DATAGRAM {
        let what = format!("a probe sends at most {MAX_DATAGRAM} bytes, not {}", payload.len());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
    }
    let length = |header: usize| {
        u16::try_from(header + payload.len()).expect("invariant: bounded just above").to_be_bytes()
    };
    let mut packet = vec![0x45, 0];
    packet.extend(length(28));
    // Identification, fragment offset, time to live, UDP, checksum.
    packet.extend([0, 0, 0, 0, 64, 17, 0, 0]);
    packet.extend(source.ip().octets());
    packet.extend(target.ip().octets());
    packet.extend(source.port().to_be_bytes());
    packet.extend(target.port().to_be_bytes());
    packet.extend(length(8));
    packet.extend([0, 0]);
    packet.extend(payload);
    Ok(packet)
}
