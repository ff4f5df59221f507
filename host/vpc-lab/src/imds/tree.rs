//! The metadata tree: paths, directories and what is there.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::time::Duration;

use enid_core::ids::SecurityGroupId;
use enid_core::time::Timestamp;
use enid_sim::ec2::interface::NetworkInterface;
use enid_sim::ec2::metadata::Metadata;
use serde_json::json;

/// The role whose dummy credentials every instance has.
const ROLE: &str = "enid-lab-node";
/// How long credentials say that they last.
const CREDENTIALS_LAST: Duration = Duration::from_secs(6 * 3600);

/// Every leaf by its path below `/latest/`; directories are the paths' beginnings.
pub(super) struct Tree {
    leaves: BTreeMap<String, String>,
}

impl Tree {
    /// The tree of one instance. `dns_name` is EC2's name for an address.
    pub(super) fn of(view: &Metadata, now: Timestamp, dns_name: impl Fn(Ipv4Addr) -> String) -> Tree {
        let mut tree = Tree { leaves: BTreeMap::new() };
        tree.add_instance(view, &dns_name);
        tree.add_credentials(view, now);
        let cidrs = view.subnet_cidrs.iter().zip(&view.subnet_ipv6_cidrs);
        for (eni, (cidr, ipv6_cidr)) in view.interfaces.iter().zip(cidrs) {
            let mut interface = Interface { tree: &mut tree, eni };
            interface.add(view, &dns_name);
            interface.leaf("subnet-ipv4-cidr-block", cidr);
            interface.list("subnet-ipv6-cidr-blocks", ipv6_cidr);
        }
        tree
    }

    /// What is at `path`: a leaf's text, or a directory's entries, one a line.
    pub(super) fn at(&self, path: &str) -> Option<String> {
        let below = path.strip_prefix('/')?;
        if below.is_empty() {
            return Some("latest".to_owned());
        }
        let (version, below) = below.split_once('/').unwrap_or((below, ""));
        if !is_version(version) {
            return None;
        }
        // AWS serves a leaf under a trailing slash too, and botocore relies on it.
        if let Some(text) = self.leaves.get(below.trim_end_matches('/')) {
            return Some(text.clone());
        }
        let directory =
            if below.is_empty() || below.ends_with('/') { below.to_owned() } else { format!("{below}/") };
        let inside =
            self.leaves.range(directory.clone()..).take_while(|(path, _)| path.starts_with(&directory));
        let entries: BTreeSet<&str> = inside
            .filter_map(|(path, _)| {
                let rest = path.get(directory.len()..)?;
                // Up to and with the slash of a directory.
                rest.split_inclusive('/').next()
            })
            .collect();
        if entries.is_empty() {
            return None;
        }
        Some(entries.into_iter().collect::<Vec<_>>().join("\n"))
    }

    fn leaf(&mut self, path: &str, text: impl ToString) {
        self.leaves.insert(format!("meta-data/{path}"), text.to_string());
    }

    fn add_instance(&mut self, view: &Metadata, dns_name: &impl Fn(Ipv4Addr) -> String) {
        let instance = &view.instance;
        self.leaf("ami-id", &instance.image);
        self.leaf("ami-launch-index", 0);
        self.leaf("instance-action", "none");
        self.leaf("instance-id", &instance.id);
        self.leaf("instance-life-cycle", "on-demand");
        self.leaf("instance-type", &instance.instance_type.name);
        self.leaf("placement/availability-zone", &instance.zone);
        self.leaf("placement/availability-zone-id", &view.zone_id);
        self.leaf("placement/region", &view.region);
        self.leaf("reservation-id", &instance.reservation);
        self.leaf("services/domain", "amazonaws.com");
        self.leaf("services/partition", "aws");
        if let Some(primary) = view.interfaces.first() {
            if let Some(address) = primary.primary {
                self.leaf("hostname", dns_name(address));
                self.leaf("local-hostname", dns_name(address));
                self.leaf("local-ipv4", address);
            }
            if let Some(address) = primary.ipv6_addresses.first() {
                self.leaf("ipv6", address);
            }
            self.leaf("mac", primary.mac);
            self.leaf("security-groups", lines(group_names(view, &primary.groups)));
        }
        let document = json!({
            "accountId": view.account,
            "architecture": "x86_64",
            "availabilityZone": instance.zone,
            "imageId": instance.image,
            "instanceId": instance.id,
            "instanceType": instance.instance_type.name,
            "pendingTime": instance.launched.rfc3339(),
            "privateIp": view.primary_address(),
            "region": view.region,
            "version": "2017-09-30",
        });
        self.leaves.insert("dynamic/instance-identity/document".to_owned(), format!("{document:#}"));
    }

    fn add_credentials(&mut self, view: &Metadata, now: Timestamp) {
        let profile = format!("arn:aws:iam::{}:instance-profile/{ROLE}", view.account);
        let info = json!({ "Code": "Success", "LastUpdated": now.rfc3339(), "InstanceProfileArn": profile });
        self.leaf("iam/info", format!("{info:#}"));
        let credentials = json!({
            "Code": "Success",
            "Type": "AWS-HMAC",
            "AccessKeyId": "ASIALABDUMMY00000000",
            "SecretAccessKey": "opens-nothing",
            "Token": "opens-nothing",
            "LastUpdated": now.rfc3339(),
            "Expiration": (now + CREDENTIALS_LAST).rfc3339(),
        });
        self.leaf(&format!("iam/security-credentials/{ROLE}"), format!("{credentials:#}"));
    }
}

/// One ENI's directory, `network/interfaces/macs/<mac>/`.
struct Interface<'a> {
    tree: &'a mut Tree,
    eni: &'a NetworkInterface,
}

impl Interface<'_> {
    fn leaf(&mut self, name: &str, text: impl ToString) {
        let path = format!("network/interfaces/macs/{}/{name}", self.eni.mac);
        self.tree.leaf(&path, text);
    }

    /// As on AWS, a key whose list is empty is absent.
    fn list<T: ToString>(&mut self, name: &str, items: impl IntoIterator<Item = T>) {
        let text = lines(items);
        if !text.is_empty() {
            self.leaf(name, text);
        }
    }

    fn add(&mut self, view: &Metadata, dns_name: &impl Fn(Ipv4Addr) -> String) {
        let eni = self.eni;
        if let Some(at) = &eni.attachment {
            self.leaf("device-number", at.seat.device);
            self.leaf("network-card", at.seat.card);
        }
        self.leaf("interface-id", &eni.id);
        self.list("ipv4-prefix", &eni.prefixes);
        self.list("ipv6-prefix", &eni.ipv6_prefixes);
        self.list("ipv6s", &eni.ipv6_addresses);
        self.list("local-hostname", eni.primary.map(dns_name));
        self.list("local-ipv4s", eni.addresses());
        self.leaf("mac", eni.mac);
        self.leaf("owner-id", &view.account);
        self.leaf("security-group-ids", lines(&eni.groups));
        self.leaf("security-groups", lines(group_names(view, &eni.groups)));
        self.leaf("subnet-id", &eni.subnet);
        self.leaf("vpc-id", &eni.vpc);
        self.list("vpc-ipv4-cidr-block", view.vpc.ipv4.first());
        self.list("vpc-ipv4-cidr-blocks", &view.vpc.ipv4);
        self.list("vpc-ipv6-cidr-blocks", &view.vpc.ipv6);
    }
}

/// `latest`, or a date: every version shows the same tree here.
fn is_version(text: &str) -> bool {
    let is_date = text.len() == 10
        && text
            .bytes()
            .enumerate()
            .all(|(at, byte)| if at == 4 || at == 7 { byte == b'-' } else { byte.is_ascii_digit() });
    text == "latest" || is_date
}

fn group_names<'a>(view: &'a Metadata, groups: &'a [SecurityGroupId]) -> impl Iterator<Item = &'a String> {
    groups.iter().filter_map(|id| view.group_names.get(id))
}

fn lines<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use enid_core::wiring::Seat;
    use enid_sim::ec2::instance::{FurtherInterface, RunInstances};
    use enid_sim::ec2::interface::{CreateNetworkInterface, InterfaceType};
    use enid_sim::ec2::ipv6::{AssignIpv6Addresses, Ipv6Supply};
    use enid_sim::ec2::{Config, Delays, Ec2, Tags};

    use super::*;

    /// The leaves of each ENI of an instance with an IPv6 prefix and an EFA-only ENI, in seat order.
    fn leaves_of_two_enis() -> Vec<(NetworkInterface, BTreeMap<String, String>)> {
        let mut ec2 = Ec2::new(1, Config { delays: Delays::none(), ..Config::default() });
        let vpc = ec2.add_vpc("10.0.0.0/16".parse().unwrap()).unwrap();
        let range = "10.0.1.0/24".parse().unwrap();
        let subnet = ec2.add_subnet(&vpc, "eu-central-1a", range, Tags::new()).unwrap();
        ec2.add_ipv6_range(&vpc, "2001:db8:0:100::/56".parse().unwrap()).unwrap();
        ec2.give_ipv6(&subnet, "2001:db8:0:101::/64".parse().unwrap()).unwrap();
        let efa_only = FurtherInterface {
            seat: Seat { card: 1, device: 1 },
            interface: CreateNetworkInterface {
                interface_type: InterfaceType::EfaOnly,
                ..CreateNetworkInterface::within(subnet.clone())
            },
            delete_on_termination: true,
        };
        let request =
            RunInstances { further: vec![efa_only], ..RunInstances::one("p4d.24xlarge", subnet.clone()) };
        let node = ec2.launch(Timestamp(0), &request).unwrap();
        let primary = ec2.interfaces_of(&node).next().unwrap().id.clone();
        let prefix = AssignIpv6Addresses { eni: primary, supply: Ipv6Supply::Prefixes(1) };
        ec2.assign_ipv6_addresses(Timestamp(1), &prefix).unwrap();
        let view = ec2.metadata(Timestamp(2), &node).unwrap();
        let tree = Tree::of(&view, Timestamp(2), |address| ec2.private_dns_name(address));
        let of = |eni: &NetworkInterface| {
            let directory = format!("meta-data/network/interfaces/macs/{}/", eni.mac);
            let inside = tree.leaves.iter();
            inside
                .filter_map(|(path, text)| Some((path.strip_prefix(&directory)?.to_owned(), text.clone())))
                .collect()
        };
        view.interfaces.iter().map(|eni| (eni.clone(), of(eni))).collect()
    }

    #[test]
    fn ipv6_is_told_where_there_is_some_and_an_efa_only_eni_has_no_addresses() {
        let enis = leaves_of_two_enis();
        let (primary, leaves) = &enis[0];
        for (leaf, text) in [
            ("ipv6s", primary.ipv6_addresses[0].to_string()),
            ("ipv6-prefix", primary.ipv6_prefixes[0].to_string()),
            ("subnet-ipv6-cidr-blocks", "2001:db8:0:101::/64".to_owned()),
            ("vpc-ipv6-cidr-blocks", "2001:db8:0:100::/56".to_owned()),
            ("local-ipv4s", primary.primary.unwrap().to_string()),
        ] {
            assert_eq!(leaves.get(leaf), Some(&text), "{leaf}");
        }
        assert!(!leaves.contains_key("ipv4-prefix"));
        let (efa_only, leaves) = &enis[1];
        for (leaf, text) in [
            ("network-card", "1".to_owned()),
            ("device-number", "1".to_owned()),
            ("interface-id", efa_only.id.to_string()),
            ("security-group-ids", efa_only.groups[0].to_string()),
        ] {
            assert_eq!(leaves.get(leaf), Some(&text), "{leaf}");
        }
        for leaf in ["local-ipv4s", "local-hostname", "ipv6s", "ipv4-prefix", "ipv6-prefix"] {
            assert!(!leaves.contains_key(leaf), "{leaf}");
        }
    }

    fn tree() -> Tree {
        let leaves = ["meta-data/instance-id", "meta-data/placement/region", "meta-data/placement/zone"];
        Tree { leaves: leaves.into_iter().map(|path| (path.to_owned(), path.to_uppercase())).collect() }
    }

    #[test]
    fn directories_list_their_entries_and_leaves_say_their_text() {
        for (path, text) in [
            ("/", Some("latest")),
            ("/latest", Some("meta-data/")),
            ("/latest/", Some("meta-data/")),
            ("/latest/meta-data/", Some("instance-id\nplacement/")),
            ("/2021-07-15/meta-data/placement", Some("region\nzone")),
            ("/latest/meta-data/instance-id", Some("META-DATA/INSTANCE-ID")),
            ("/latest/meta-data/instance-id/", Some("META-DATA/INSTANCE-ID")),
            ("/latest/meta-data/placement/nothing", None),
            ("/earliest/meta-data/", None),
            ("//latest", None),
        ] {
            assert_eq!(tree().at(path).as_deref(), text, "{path}");
        }
    }
}
