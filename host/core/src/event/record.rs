//! What is journaled.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use crate::cloud::NewEni;
use crate::eni::Eni;
use crate::ids::EniId;
use crate::lease::Holder;
use crate::report::{Decided, Why};
use crate::time::Timestamp;
use crate::wiring::Seat;

/// One line of the journal. Applied in order they give back the node's leases and ENIs.
///
/// Old with new: a kind that a reader does not know makes it refuse the journal as a whole, because what
/// follows may build on it. A field that it does not know is ignored, so nothing that must be understood may
/// come as a field; a field added later needs a default, so that a new reader accepts old lines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Record {
    /// Who the node is, for starts at which metadata does not answer.
    Identity {
        /// The node.
        identity: crate::cloud::NodeIdentity,
    },
    /// What the instance type allows, for starts at which EC2 does not answer.
    Limits {
        /// The type.
        instance_type: crate::limits::InstanceType,
    },
    /// An ENI is about to be created: if no outcome follows, the same call is made again, and its
    /// `ClientToken` keeps EC2 from making a second one.
    Creating {
        /// The whole request.
        new: NewEni,
        /// Where it will be attached.
        seat: Seat,
        /// The decisions behind it.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        decisions: Vec<Decided>,
    },
    /// That creation came to nothing.
    NotCreated {
        /// Its `ClientToken`.
        token: String,
    },
    /// An ENI as the node knows it; replaces what was known.
    Eni {
        /// The ENI.
        eni: Eni,
        /// All its pod addresses.
        addresses: Vec<Ipv4Addr>,
        /// Why the node has those among them that it asked for.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        origins: Vec<Origin>,
    },
    /// EC2 is about to be asked to take these back: until the ENI's next record they serve nobody, because
    /// the outcome may never be told.
    Returning {
        /// Which.
        addresses: Vec<Ipv4Addr>,
    },
    /// The delegated prefixes of the ENI whose record this follows: all of them. A kind of its own, because a
    /// daemon that knows no prefixes must not go on without them.
    Delegated {
        /// Of which.
        eni: EniId,
        /// IPv4 prefixes.
        prefixes: Vec<Ipv4Net>,
        /// IPv6 prefixes.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        ipv6_prefixes: Vec<Ipv6Net>,
        /// Why the node has those among them that it asked for.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        origins: Vec<BlockOrigin>,
    },
    /// An ENI is gone, with its addresses.
    EniGone {
        /// Which.
        eni: EniId,
    },
    /// An address is about to be wired to a pod.
    Reserved {
        /// The address.
        address: IpAddr,
        /// To whom.
        holder: Holder,
    },
    /// All addresses of a pod that has more than one, or has IPv6, are about to be wired. A kind of its own, because
    /// a daemon that knows single IPv4 addresses only must not go on without the others.
    ReservedTogether {
        /// To whom; its wiring names the addresses.
        holder: Holder,
    },
    /// The pod is wired.
    Bound {
        /// The address that stands for it.
        address: IpAddr,
        /// Since when: a DEL asked for earlier is not about this pod.
        at: Timestamp,
    },
    /// The pod is unwired, or was never wired.
    Released {
        /// The address; while a pod has it, it stands for all of the pod's.
        address: IpAddr,
        /// When it is free again.
        cool_until: Timestamp,
    },
}

/// Why the node has some prefixes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockOrigin {
    /// Why.
    pub why: Why,
    /// Which.
    pub prefixes: Vec<Ipv4Net>,
}

/// Why the node has some addresses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Why.
    pub why: Why,
    /// Which.
    pub addresses: Vec<Ipv4Addr>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENI: &str = r#"{"kind":"eni","eni":{"id":"eni-1","mac":"02:00:00:00:00:01","subnet":"subnet-1","subnet_cidr":"10.0.0.0/24","primary_address":"10.0.0.5","seat":{"card":0,"device":1},"attachment":"eni-attach-1","phase":"ready","known_since":5,"last_use":6,"why":{"reason":"journal"},"marked":true},"addresses":["10.0.0.6"]}"#;
    const GROWN: &str = r#"{"kind":"eni","eni":{"id":"eni-2","mac":"02:00:00:00:00:02","subnet":"subnet-1","subnet_cidr":"10.0.0.0/24","primary_address":"10.0.0.9","seat":{"card":0,"device":2},"attachment":null,"phase":"leaving","step":"detaching","known_since":5,"last_use":6,"why":{"reason":"grown","call":"CreateNetworkInterface","because":"1 pods waiting","decisions":[{"kind":"warm-pool","strategy":"warm-targets@ab12","record":17},{"kind":"subnet-selection","strategy":"builtin"}]},"going":{"reason":"given-back","call":"DeleteNetworkInterface","because":"9 ready"},"marked":true,"created_for_pods":true},"addresses":["10.0.0.10","10.0.0.11"],"origins":[{"why":{"reason":"grown","call":"AssignPrivateIpAddresses","because":"2 pods waiting"},"addresses":["10.0.0.11"]}]}"#;
    const CREATING: &str = r#"{"kind":"creating","new":{"subnet":"subnet-1","security_groups":[],"supply":{"addresses":3},"description":"","tags":[],"client_token":"t"},"seat":{"card":0,"device":1}}"#;
    const RESERVED: &str = r#"{"kind":"reserved","address":"10.0.0.6","holder":{"attachment":{"container":"c1","network":"enid","ifname":"eth0"},"pod":null,"wiring":{"host_veth":"eni0","ifname":"eth0","address":"10.0.0.6","table":2,"mtu":9001}}}"#;

    const DELEGATED: &str = r#"{"kind":"delegated","eni":"eni-1","prefixes":["10.0.0.16/28"],"ipv6_prefixes":["2a05:d014:9:aa00::/80"],"origins":[{"why":{"reason":"grown","call":"AssignPrivateIpAddresses","because":"2 pods waiting"},"prefixes":["10.0.0.16/28"]}]}"#;
    const TOGETHER: &str = r#"{"kind":"reserved-together","holder":{"attachment":{"container":"c1","network":"enid","ifname":"eth0"},"pod":null,"wiring":{"host_veth":"eni0","ifname":"eth0","address":"10.0.0.6","table":2,"mtu":9001,"second":{"address":"2a05:d014:9:aa00::7","table":254,"node_local":false},"further":[{"host_veth":"eni1","ifname":"mNicIf1","address":"10.0.0.7","table":10101,"mtu":9001}]},"asked":5}}"#;

    fn read(line: &str) -> Result<Record, serde_json::Error> {
        serde_json::from_str(line)
    }

    #[test]
    fn a_line_from_before_a_field_was_added_is_read_with_its_default() {
        let Record::Eni { eni, addresses, origins } = read(ENI).unwrap() else { panic!("an ENI's record") };
        assert!(!eni.created_for_pods && eni.marked);
        assert_eq!((eni.phase, addresses.len()), (crate::eni::Phase::Ready, 1));
        assert_eq!((eni.going, origins), (None, Vec::new()));
        let Record::Creating { decisions, .. } = read(CREATING).unwrap() else { panic!("a creation") };
        assert_eq!(decisions, Vec::new());
        let Record::Reserved { holder, .. } = read(RESERVED).unwrap() else { panic!("a reservation") };
        assert_eq!(holder.asked, Timestamp(0), "every DEL of its attachment is about it");
    }

    #[test]
    fn a_field_of_a_later_version_is_ignored() {
        for (line, place) in [
            (ENI, "\"marked\""),
            (ENI, "\"addresses\""),
            (RESERVED, "\"pod\""),
            (CREATING, "\"seat\""),
            (GROWN, "\"because\":\"1"),
            (GROWN, "\"strategy\":\"builtin\""),
            (GROWN, "\"origins\""),
            (DELEGATED, "\"prefixes\""),
            (TOGETHER, "\"second\""),
            (TOGETHER, "\"asked\""),
        ] {
            let later = line.replacen(place, &format!("\"made_next_year\":{{\"a\":[1]}},{place}"), 1);
            assert_ne!(later, line);
            assert_eq!(read(&later).unwrap(), read(line).unwrap(), "{later}");
        }
    }

    #[test]
    fn a_kind_of_a_later_version_is_an_error() {
        for line in [r#"{"kind":"made-next-year","address":"10.0.0.6"}"#, r#"{"address":"10.0.0.6"}"#] {
            assert!(read(line).is_err(), "{line}");
        }
    }

    #[test]
    fn the_decisions_behind_an_eni_are_kept_with_it() {
        let Record::Eni { eni, origins, .. } = read(GROWN).unwrap() else { panic!("an ENI's record") };
        assert_eq!(
            eni.why.to_string(),
            "assigned by CreateNetworkInterface because 1 pods waiting; warm-pool decision 17 by \
             warm-targets@ab12; a subnet-selection decision by builtin"
        );
        assert_eq!(eni.going.unwrap().to_string(), "given back by DeleteNetworkInterface because 9 ready");
        assert_eq!(origins[0].addresses, [Ipv4Addr::new(10, 0, 0, 11)]);
    }

    #[test]
    fn what_an_older_daemon_would_lose_is_in_kinds_that_it_refuses() {
        let Record::ReservedTogether { holder } = read(TOGETHER).unwrap() else { panic!("a reservation") };
        assert_eq!(holder.reservation(), Record::ReservedTogether { holder: holder.clone() });
        assert_eq!(holder.wiring.leased().count(), 3);
        // One address of IPv4 is what it knows, in the kind that it knows.
        let Record::Reserved { address, holder } = read(RESERVED).unwrap() else { panic!("a reservation") };
        assert_eq!(holder.reservation(), Record::Reserved { address, holder: holder.clone() });
        let mut ipv6 = holder.clone();
        ipv6.wiring.first.address = std::net::Ipv6Addr::LOCALHOST.into();
        assert!(matches!(ipv6.reservation(), Record::ReservedTogether { .. }));
        let mut node_local = holder;
        let address = crate::wiring::EGRESS_V6.network().into();
        node_local.wiring.first.second =
            Some(crate::wiring::SecondAddress { address, table: 254, node_local: true });
        assert!(matches!(node_local.reservation(), Record::ReservedTogether { .. }));
    }

    #[test]
    fn what_is_written_is_read() {
        for line in [ENI, RESERVED, GROWN, CREATING, DELEGATED, TOGETHER] {
            let record = read(line).unwrap();
            assert_eq!(read(&serde_json::to_string(&record).unwrap()).unwrap(), record);
        }
    }
}
