//! What ADD gave a pod, in the two forms that the wire has for it.

use std::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Serialize};

use super::Reply;

/// Longest prefix of IPv4.
const IPV4_BITS: u8 = 32;

/// A pod that has its interfaces. The plugin renders the CNI result from this.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Added {
    /// The interface that the runtime named with `CNI_IFNAME`.
    pub first: Interface,
    /// The others, of a pod that asked for one on every network card.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub further: Vec<Further>,
}

/// An interface that the runtime did not name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Further {
    /// Its name in the pod, which begins with [`FURTHER_INTERFACE`].
    pub ifname: String,
    /// The route table in the pod that has its routes.
    pub table: u32,
    /// What it has.
    #[serde(flatten)]
    pub interface: Interface,
}

/// How the names of interfaces begin that the runtime did not choose.
pub const FURTHER_INTERFACE: &str = "mNicIf";

/// A pair of links, one end in the pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// The pod's addresses on it. One that only the node knows, for translated connections to outside, is not
    /// among them: nobody could reach the pod there, and runtimes show every address that they are told.
    pub addresses: Vec<Address>,
    /// Its gateways, at most one per family. A family may have a gateway and no address here: then the pod's
    /// connections leave translated.
    pub gateways: Vec<IpAddr>,
    /// Name of the host end of the pair.
    pub host_veth: String,
    /// MAC of the host end.
    pub host_mac: String,
    /// MAC of the pod end.
    pub pod_mac: String,
    /// MTU of both ends.
    pub mtu: u32,
}

/// An address in its subnet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// The address.
    pub address: IpAddr,
    /// The length of its prefix.
    pub prefix: u8,
}

impl Address {
    /// An address alone in its subnet: /32 or /128.
    pub fn alone(address: IpAddr) -> Address {
        let prefix = match address {
            IpAddr::V4(_) => IPV4_BITS,
            IpAddr::V6(_) => 128,
        };
        Address { address, prefix }
    }
}

impl Interface {
    /// The gateway of the family of `address`.
    pub fn gateway_of(&self, address: IpAddr) -> Option<IpAddr> {
        self.gateways.iter().copied().find(|gateway| gateway.is_ipv4() == address.is_ipv4())
    }
}

impl Added {
    /// The reply that says it: the one that every plugin reads when that leaves nothing out.
    pub fn into_reply(self) -> Reply {
        match AddedIpv4::try_from(self) {
            Ok(added) => Reply::Added(added),
            Err(added) => Reply::AddedInterfaces(Box::new(added)),
        }
    }
}

/// A pod with one interface that has one IPv4 address and nothing of IPv6: all that plugins knew at first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddedIpv4 {
    /// The pod's address; always a /32.
    pub address: Ipv4Addr,
    /// The pod's default gateway.
    pub gateway: Ipv4Addr,
    /// Name of the host end of the pair.
    pub host_veth: String,
    /// MAC of the host end.
    pub host_mac: String,
    /// MAC of the pod end.
    pub pod_mac: String,
    /// MTU of both ends.
    pub mtu: u32,
}

impl TryFrom<Added> for AddedIpv4 {
    type Error = Added;

    /// Gives back what would lose something.
    fn try_from(added: Added) -> Result<AddedIpv4, Added> {
        let Interface { addresses, gateways, .. } = &added.first;
        let ([], &[Address { address: IpAddr::V4(address), prefix: IPV4_BITS }], &[IpAddr::V4(gateway)]) =
            (&added.further[..], &addresses[..], &gateways[..])
        else {
            return Err(added);
        };
        let Interface { host_veth, host_mac, pod_mac, mtu, .. } = added.first;
        Ok(AddedIpv4 { address, gateway, host_veth, host_mac, pod_mac, mtu })
    }
}

impl From<AddedIpv4> for Added {
    fn from(added: AddedIpv4) -> Added {
        let AddedIpv4 { address, gateway, host_veth, host_mac, pod_mac, mtu } = added;
        let addresses = vec![Address::alone(address.into())];
        let first =
            Interface { addresses, gateways: vec![gateway.into()], host_veth, host_mac, pod_mac, mtu };
        Added { first, further: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ipv4() -> AddedIpv4 {
        AddedIpv4 {
            address: Ipv4Addr::new(10, 0, 1, 7),
            gateway: Ipv4Addr::new(169, 254, 1, 1),
            host_veth: "enicc21c2d7785".to_owned(),
            host_mac: "02:00:00:00:00:01".to_owned(),
            pod_mac: "02:00:00:00:00:02".to_owned(),
            mtu: 9001,
        }
    }

    #[test]
    fn the_form_for_every_plugin_is_used_only_when_it_says_all() {
        let plain = Added::from(ipv4());
        assert_eq!(plain.clone().into_reply(), Reply::Added(ipv4()));
        let changed = |change: fn(&mut Added)| {
            let mut added = plain.clone();
            change(&mut added);
            added
        };
        for richer in [
            changed(|added| added.first.addresses.push(Address::alone("2001:db8::7".parse().unwrap()))),
            changed(|added| added.first.addresses[0] = Address::alone("2001:db8::7".parse().unwrap())),
            changed(|added| added.first.addresses[0].prefix = 24),
            changed(|added| added.first.addresses.clear()),
            changed(|added| added.first.gateways.push("fe80::1".parse().unwrap())),
            changed(|added| added.first.gateways.clear()),
            changed(|added| {
                let interface = added.first.clone();
                added.further.push(Further { ifname: "mNicIf1".to_owned(), table: 1, interface });
            }),
        ] {
            assert_eq!(richer.clone().into_reply(), Reply::AddedInterfaces(Box::new(richer)));
        }
    }
}
