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
        let cidrs = view.subnet_cidrs.iter();
        for (eni, cidr) in view.interfaces.iter().zip(cidrs) {
            let mut interface = Interface { tree: &mut tree, eni };
            interface.add(view, &dns_name);
            interface.leaf("subnet-ipv4-cidr-block", cidr);
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
            let name = dns_name(primary.primary);
            self.leaf("hostname", &name);
            self.leaf("local-hostname", &name);
            self.leaf("local-ipv4", primary.primary);
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

    fn add(&mut self, view: &Metadata, dns_name: &impl Fn(Ipv4Addr) -> String) {
        let eni = self.eni;
        if let Some(at) = &eni.attachment {
            self.leaf("device-number", at.seat.device);
            self.leaf("network-card", at.seat.card);
        }
        self.leaf("interface-id", &eni.id);
        // As on AWS, the key is absent while the ENI has no prefix.
        if !eni.prefixes.is_empty() {
            self.leaf("ipv4-prefix", lines(&eni.prefixes));
        }
        self.leaf("local-hostname", dns_name(eni.primary));
        self.leaf("local-ipv4s", lines(eni.addresses()));
        self.leaf("mac", eni.mac);
        self.leaf("owner-id", &view.account);
        self.leaf("security-group-ids", lines(&eni.groups));
        self.leaf("security-groups", lines(group_names(view, &eni.groups)));
        self.leaf("subnet-id", &eni.subnet);
        self.leaf("vpc-id", &eni.vpc);
        if let Some(first) = view.vpc_cidrs.first() {
            self.leaf("vpc-ipv4-cidr-block", first);
        }
        self.leaf("vpc-ipv4-cidr-blocks", lines(&view.vpc_cidrs));
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
    use super::*;

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
