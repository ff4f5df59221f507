//! `[observe]`: what is seen of the daemon from outside.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use super::document::Section;

/// The incumbent's port, so that what scrapes the one finds the other.
const PORT: u16 = 61678;

/// `[observe]`: what is seen of the daemon from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observe {
    /// Where `/metrics`, `/healthz` and `/readyz` are served over HTTP. Default `0.0.0.0:61678`, where the incumbent has
    /// its metrics; none of them names a pod. `None`: nowhere.
    pub listen: Option<SocketAddr>,
}

impl Default for Observe {
    fn default() -> Self {
        Self { listen: Some(SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, PORT))) }
    }
}

impl Observe {
    pub(super) fn read(section: &mut Section<'_, '_>) -> Self {
        let allowed =
            "an IP address and a port from 1024 on, like \"127.0.0.1:61678\" or \"[::]:61678\", or \"off\"";
        Self { listen: section.text("listen", allowed, listen).unwrap_or(Self::default().listen) }
    }
}

fn listen(text: &str) -> Option<Option<SocketAddr>> {
    match text {
        "" | "off" => Some(None),
        // The daemon has no right to those below.
        address => address.parse().ok().filter(|address: &SocketAddr| address.port() >= 1024).map(Some),
    }
}
