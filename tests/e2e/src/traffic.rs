//! Who reaches whom, and is seen as whom: connections between real sockets.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use enid_vpc_lab::namespace::NetNs;
use enid_vpc_lab::probe::{self, Mirror};

use crate::pod::Placed;

/// Where everybody listens.
pub const PORT: u16 = 7000;
/// A packet on one machine takes microseconds; the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(3);
/// What is dropped never comes, however long one waits; a second attempt of TCP is in it.
const SHUT_OUT: Duration = Duration::from_millis(1500);

/// A listener that says whom it sees.
#[track_caller]
pub fn listen(namespace: &NetNs, address: impl Into<IpAddr>) -> Mirror {
    let address = address.into();
    let listening = Mirror::listen(namespace, SocketAddr::new(address, PORT));
    listening.unwrap_or_else(|error| panic!("listen at {address} in {namespace}: {error}"))
}

/// Whoever is in `from` reaches a listener, and is seen there as `seen_as`.
#[track_caller]
pub fn reaches(from: &NetNs, target: impl Into<IpAddr>, seen_as: impl Into<IpAddr>) {
    let (target, seen_as) = (target.into(), seen_as.into());
    let seen = probe::connect(from, SocketAddr::new(target, PORT), PATIENCE);
    let seen = seen.unwrap_or_else(|error| panic!("{from} → {target}: {error}"));
    assert_eq!(seen.ip(), seen_as, "{from} → {target}");
}

/// Whoever is in `from` does not reach a listener, and hears nothing.
#[track_caller]
pub fn is_shut_out(from: &NetNs, target: impl Into<IpAddr>) {
    let target = target.into();
    let answer = probe::connect(from, SocketAddr::new(target, PORT), SHUT_OUT);
    assert!(answer.is_err(), "{from} → {target}: seen there as {answer:?}");
}

/// Pods reach each other at all their addresses, and are seen as who they are.
#[track_caller]
pub fn all_reach_each_other(pods: &[&Placed]) {
    for to in pods {
        for address in to.addresses() {
            let _mirror = listen(&to.pod.namespace, address);
            for from in pods.iter().filter(|from| from.pod.name != to.pod.name) {
                let own = from.addresses().into_iter().find(|own| own.is_ipv4() == address.is_ipv4());
                let own =
                    own.unwrap_or_else(|| panic!("{} has no address of {address}'s family", from.pod.name));
                reaches(&from.pod.namespace, address, own);
            }
        }
    }
}
