//! The instance's interfaces as metadata describes them.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use enid_core::cloud::{CloudEni, CloudError, CloudErrorKind, EniAttachment};
use enid_core::ids::{EniId, Mac, SecurityGroupId, SubnetId};
use enid_core::wiring::Seat;
use ipnet::{Ipv4Net, Ipv6Net};
use tokio::try_join;

use super::{Metadata, if_there, interface};
use crate::failure::{IMDS, unreadable};
use crate::prefix::Delegated;

/// The directory with an entry for each interface.
const MACS: &str = "network/interfaces/macs/";
/// Interfaces read: the types with the most network cards take 80.
const MAX_INTERFACES: usize = 128;

/// What an interface's own directory says.
struct Described {
    seat: Seat,
    subnet: SubnetId,
    /// Of the subnet; none in an IPv6-only one.
    range: Option<Ipv4Net>,
    /// The primary one first; none on an EFA-only interface.
    addresses: Vec<Ipv4Addr>,
    prefixes: Vec<Delegated<Ipv4Net>>,
    ipv6_prefixes: Vec<Delegated<Ipv6Net>>,
    security_groups: Vec<SecurityGroupId>,
}

impl Metadata {
    /// All attached interfaces. One that leaves while they are read is left out.
    ///
    /// An instance always has its `primary`: an answer without it is not to be believed about the others.
    pub(crate) async fn enis(&self, primary: Mac) -> Result<Vec<CloudEni>, CloudError> {
        let mut enis = Vec::new();
        // One interface after the other, which bounds the questions under way to the pieces of one:
        // metadata shares a packet budget with DNS and the clock.
        for mac in self.macs().await? {
            enis.extend(self.eni(mac).await?);
        }
        if enis.iter().any(|eni| eni.mac == primary) {
            Ok(enis)
        } else {
            Err(unreadable(IMDS, MACS, format!("without the primary interface {primary}")))
        }
    }

    async fn macs(&self) -> Result<BTreeSet<Mac>, CloudError> {
        let entries = self.list::<String>(MACS).await?;
        let read = |entry: &String| {
            let name = entry.trim_end_matches('/');
            name.parse().map_err(|why| unreadable(IMDS, MACS, why))
        };
        let macs: BTreeSet<Mac> = entries.iter().map(read).collect::<Result<_, _>>()?;
        if macs.len() > MAX_INTERFACES {
            let many = format!("{} interfaces, more than {MAX_INTERFACES}", macs.len());
            return Err(unreadable(IMDS, MACS, many));
        }
        Ok(macs)
    }

    /// `None` when the interface has left.
    async fn eni(&self, mac: Mac) -> Result<Option<CloudEni>, CloudError> {
        let described = match self.described(mac).await {
            Err(error) if error.kind != CloudErrorKind::Gone => return Err(error),
            described => described,
        };
        // Asked last: that a piece is missing means something only while the interface is still there.
        match if_there(self.parsed(&interface(mac, "interface-id")).await)? {
            Some(id) => read(id, mac, described?).map(Some),
            None => Ok(None),
        }
    }

    async fn described(&self, mac: Mac) -> Result<Described, CloudError> {
        let path = |leaf| interface(mac, leaf);
        let (device, card) = (path("device-number"), path("network-card"));
        let (subnet, range, groups) =
            (path("subnet-id"), path("subnet-ipv4-cidr-block"), path("security-group-ids"));
        let (addresses, prefixes, ipv6_prefixes) =
            (path("local-ipv4s"), path("ipv4-prefix"), path("ipv6-prefix"));
        let (device, card, subnet, range, addresses, prefixes, ipv6_prefixes, security_groups) = try_join!(
            self.parsed(&device),
            async { if_there(self.parsed(&card).await) },
            self.parsed(&subnet),
            async { if_there(self.parsed(&range).await) },
            self.any(&addresses),
            self.any(&prefixes),
            self.any(&ipv6_prefixes),
            self.any(&groups),
        )?;
        // Types with one network card need not name it.
        let seat = Seat { card: card.unwrap_or(0), device };
        Ok(Described { seat, subnet, range, addresses, prefixes, ipv6_prefixes, security_groups })
    }
}

/// The interface as the engine sees it.
///
/// Metadata shows an interface once it is attached. Whether EC2 deletes it with the instance, who created it
/// and which tags it has are not told; an interface without IPv4 (EFA-only, or in an IPv6-only subnet) takes a
/// seat and is not ours.
fn read(id: EniId, mac: Mac, described: Described) -> Result<CloudEni, CloudError> {
    let Described { seat, subnet, range, addresses, prefixes, ipv6_prefixes, security_groups } = described;
    let mut addresses = addresses.into_iter();
    let (primary_address, subnet_cidr, managed) = match (addresses.next(), range) {
        (Some(primary), Some(range)) => (primary, range, true),
        (Some(_), None) => {
            return Err(unreadable(IMDS, &interface(mac, "subnet-ipv4-cidr-block"), "missing"));
        }
        (None, _) if seat == Seat::PRIMARY => {
            return Err(unreadable(IMDS, &interface(mac, "local-ipv4s"), "missing"));
        }
        (None, range) => {
            let nowhere = Ipv4Net::from(Ipv4Addr::UNSPECIFIED);
            (Ipv4Addr::UNSPECIFIED, range.unwrap_or(nowhere), false)
        }
    };
    Ok(CloudEni {
        id,
        mac,
        subnet,
        subnet_cidr,
        primary_address,
        addresses: addresses.collect(),
        prefixes: prefixes.into_iter().map(|Delegated(prefix)| prefix).collect(),
        ipv6_prefixes: ipv6_prefixes.into_iter().map(|Delegated(prefix)| prefix).collect(),
        security_groups,
        attachment: Some(EniAttachment { id: None, seat, settled: true, delete_on_termination: false }),
        managed,
        created_for_pods: false,
    })
}
