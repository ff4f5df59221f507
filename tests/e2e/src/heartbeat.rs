//! Traffic between two pods that never stops, and notices every datagram that does not come back.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use enid_vpc_lab::namespace::NetNs;

use crate::pod::Pod;

/// Where the answering side listens.
const PORT: u16 = 7100;
/// A datagram that takes longer is lost: on one machine it takes microseconds, but the machine may be busy.
const LOST: Duration = Duration::from_millis(1500);
/// Between two beats.
const PERIOD: Duration = Duration::from_millis(2);

/// UDP echoes and one TCP connection between two pods.
#[derive(Debug)]
pub struct Heartbeat {
    stop: Sender<()>,
    client: JoinHandle<Beats>,
    servers: Vec<JoinHandle<()>>,
}

/// What was seen until it ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Beats {
    /// Datagrams that came back.
    pub answered: u64,
    /// Datagrams that did not.
    pub lost: u64,
    /// Round trips over the TCP connection.
    pub over_tcp: u64,
    /// The longest time between two beats that were answered.
    pub longest_gap: Duration,
}

impl Heartbeat {
    /// Begins to beat from one pod to another; both have their addresses.
    pub fn begin(from: &Pod, to: &Pod, to_address: impl Into<IpAddr>) -> Self {
        Self::between(&from.namespace, &to.namespace, to_address)
    }

    /// Begins to beat from one namespace to an address in another.
    pub fn between(from: &NetNs, to: &NetNs, to_address: impl Into<IpAddr>) -> Self {
        let target = SocketAddr::new(to_address.into(), PORT);
        let any: IpAddr =
            if target.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let udp = to.inside(|| UdpSocket::bind(target)).unwrap().unwrap();
        let tcp = to.inside(|| TcpListener::bind(target)).unwrap().unwrap();
        let socket = from.inside(|| UdpSocket::bind((any, 0))).unwrap().unwrap();
        socket.connect(target).unwrap();
        socket.set_read_timeout(Some(LOST)).unwrap();
        let stream = from.inside(|| TcpStream::connect(target)).unwrap().unwrap();
        stream.set_read_timeout(Some(LOST)).unwrap();
        stream.set_nodelay(true).unwrap();
        let (accepted, _) = tcp.accept().unwrap();
        let (stop, stopped) = channel();
        let servers = vec![
            std::thread::spawn(move || echo_datagrams(&udp)),
            std::thread::spawn(move || echo_stream(accepted)),
        ];
        let client = std::thread::spawn(move || {
            let mut beats = Beats::default();
            let mut last = Instant::now();
            while stopped.recv_timeout(PERIOD) == Err(RecvTimeoutError::Timeout) {
                beat(&socket, &stream, &mut beats);
                if beats.lost == 0 {
                    beats.longest_gap = beats.longest_gap.max(last.elapsed());
                    last = Instant::now();
                }
            }
            // Tells the echo that it is over.
            socket.send(&[]).unwrap();
            beats
        });
        Self { stop, client, servers }
    }

    /// Ends it; what it saw.
    pub fn end(self) -> Beats {
        drop(self.stop);
        let beats = self.client.join().unwrap();
        self.servers.into_iter().for_each(|server| server.join().unwrap());
        beats
    }
}

fn beat(socket: &UdpSocket, mut stream: &TcpStream, beats: &mut Beats) {
    let number = (beats.answered + beats.lost + 1).to_be_bytes();
    socket.send(&number).unwrap();
    let mut echoed = [0; 8];
    loop {
        match socket.recv(&mut echoed) {
            Ok(8) if echoed == number => break beats.answered += 1,
            // An echo that was believed lost.
            Ok(_) => {}
            // The process got a signal.
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                break beats.lost += 1;
            }
            Err(error) => panic!("the heartbeat ends: {error}"),
        }
    }
    stream.write_all(&number).unwrap();
    stream.read_exact(&mut echoed).expect("the connection carries the beat within its patience");
    assert_eq!(echoed, number);
    beats.over_tcp += 1;
}

fn echo_datagrams(socket: &UdpSocket) {
    let mut datagram = [0; 8];
    loop {
        match socket.recv_from(&mut datagram) {
            Ok((0, _)) => return,
            Ok((length, from)) => drop(socket.send_to(&datagram[..length], from).unwrap()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => panic!("the echo ends: {error}"),
        }
    }
}

fn echo_stream(mut stream: TcpStream) {
    let mut bytes = [0; 8];
    while stream.read_exact(&mut bytes).is_ok() {
        stream.write_all(&bytes).unwrap();
    }
}
