//! Filters of the describe calls: what each resource can be found by.

use super::Ec2;
use super::Tags;
use super::describe::Zone;
use super::instance::Instance;
use super::interface::NetworkInterface;
use super::refusal::{CallError, Code};
use super::tagging::TaggedResource;
use super::vpc::{SecurityGroup, Subnet, Vpc};
use enid_core::limits::{Hypervisor, InstanceType};

/// `Filter.N`: a name and values, any of which may match; `*` and `?` are wildcards, `\` takes them literally.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// `Filter.N.Name`.
    pub name: String,
    /// `Filter.N.Value.M`.
    pub values: Vec<String>,
}

impl Filter {
    /// A filter on one value.
    pub fn is(name: &str, value: &str) -> Filter {
        Filter { name: name.to_owned(), values: vec![value.to_owned()] }
    }
}

/// A resource that describe calls can filter.
pub(crate) trait Filtered {
    /// Every filter but the tag ones.
    const NAMES: &'static [&'static str];
    /// What the resource has under one of [`Self::NAMES`]; empty when it has nothing.
    fn values(&self, world: &Ec2, name: &str) -> Vec<String>;
    /// Its tags, for `tag:…` and `tag-key`; `None` when the kind has none.
    fn tags(&self) -> Option<&Tags>;
}

/// Refuses filters that the resource kind does not have.
pub(crate) fn check_filters<T: Filtered>(filters: &[Filter], taggable: bool) -> Result<(), CallError> {
    for filter in filters {
        let of_tags = filter.name.starts_with("tag:") || filter.name == "tag-key";
        if !(T::NAMES.contains(&filter.name.as_str()) || taggable && of_tags) {
            let shown: String = filter.name.chars().take(80).collect();
            return Err(CallError::refuse(
                Code::InvalidParameterValue,
                format!("The filter '{shown}' is invalid"),
            ));
        }
        if filter.values.is_empty() {
            return Err(CallError::refuse(
                Code::InvalidParameterValue,
                format!("The filter '{}' has no values", filter.name),
            ));
        }
    }
    Ok(())
}

/// Whether every filter matches.
pub(crate) fn matches<T: Filtered>(item: &T, world: &Ec2, filters: &[Filter]) -> bool {
    filters.iter().all(|filter| {
        let has: Vec<String> = match (filter.name.strip_prefix("tag:"), filter.name.as_str(), item.tags()) {
            (Some(key), _, Some(tags)) => tags.get(key).cloned().into_iter().collect(),
            (None, "tag-key", Some(tags)) => tags.keys().cloned().collect(),
            (_, name, _) => item.values(world, name),
        };
        filter.values.iter().any(|pattern| has.iter().any(|text| wild(pattern, text)))
    })
}

/// Whether `text` fits `pattern`; linear in practice, at worst the product of the lengths.
pub(crate) fn wild(pattern: &str, text: &str) -> bool {
    let pattern = tokens(pattern);
    let text: Vec<char> = text.chars().collect();
    let (mut p, mut t) = (0, 0);
    let mut last_star = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(Token::Any) => {
                last_star = Some((p, t));
                p += 1;
            }
            Some(Token::One) => (p, t) = (p + 1, t + 1),
            Some(Token::Exactly(c)) if *c == text[t] => (p, t) = (p + 1, t + 1),
            Some(Token::Exactly(_)) | None => {
                let Some((star, from)) = last_star else { return false };
                // Let the last star swallow one character more.
                (p, t) = (star + 1, from + 1);
                last_star = Some((star, from + 1));
            }
        }
    }
    pattern[p..].iter().all(|token| *token == Token::Any)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Token {
    Any,
    One,
    Exactly(char),
}

fn tokens(pattern: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        tokens.push(match c {
            '*' => Token::Any,
            '?' => Token::One,
            '\\' => Token::Exactly(chars.next().unwrap_or('\\')),
            other => Token::Exactly(other),
        });
    }
    tokens
}

fn one(value: impl ToString) -> Vec<String> {
    vec![value.to_string()]
}

impl Filtered for NetworkInterface {
    const NAMES: &'static [&'static str] = &[
        "addresses.primary",
        "addresses.private-ip-address",
        "attachment.attach-time",
        "attachment.attachment-id",
        "attachment.delete-on-termination",
        "attachment.device-index",
        "attachment.instance-id",
        "attachment.instance-owner-id",
        "attachment.network-card-index",
        "attachment.status",
        "availability-zone",
        "description",
        "group-id",
        "group-name",
        "interface-type",
        "ipv6-addresses.ipv6-address",
        "mac-address",
        "network-interface-id",
        "owner-id",
        "private-dns-name",
        "private-ip-address",
        "requester-managed",
        "source-dest-check",
        "status",
        "subnet-id",
        "vpc-id",
    ];

    fn values(&self, world: &Ec2, name: &str) -> Vec<String> {
        let at = self.attachment.as_ref();
        match name {
            "addresses.primary" if self.secondary.is_empty() => one(true),
            "addresses.primary" => vec!["true".to_owned(), "false".to_owned()],
            "addresses.private-ip-address" | "private-ip-address" => {
                self.addresses().map(|address| address.to_string()).collect()
            }
            "attachment.attach-time" => at.map_or(Vec::new(), |at| one(at.since)),
            "attachment.attachment-id" => at.map_or(Vec::new(), |at| one(&at.id)),
            "attachment.delete-on-termination" => at.map_or(Vec::new(), |at| one(at.delete_on_termination)),
            "attachment.device-index" => at.map_or(Vec::new(), |at| one(at.seat.device)),
            "attachment.instance-id" => at.map_or(Vec::new(), |at| one(&at.instance)),
            "attachment.instance-owner-id" => at.map_or(Vec::new(), |_| one(&world.config.account)),
            "attachment.network-card-index" => at.map_or(Vec::new(), |at| one(at.seat.card)),
            "attachment.status" => at.map_or(Vec::new(), |at| one(at.state.as_str())),
            "availability-zone" => one(&self.zone),
            "description" => one(&self.description),
            "group-id" => self.groups.iter().map(ToString::to_string).collect(),
            "group-name" => {
                self.groups.iter().filter_map(|id| world.groups.get(id)).map(|it| it.name.clone()).collect()
            }
            "interface-type" => one(self.interface_type.as_str()),
            "ipv6-addresses.ipv6-address" => self.ipv6_addresses.iter().map(ToString::to_string).collect(),
            "mac-address" => one(self.mac),
            "network-interface-id" => one(&self.id),
            "owner-id" => one(&world.config.account),
            "private-dns-name" => {
                self.primary.map_or(Vec::new(), |primary| one(world.private_dns_name(primary)))
            }
            "requester-managed" => one(false),
            "source-dest-check" => one(self.source_dest_check),
            "status" => one(if at.is_some() { "in-use" } else { "available" }),
            "subnet-id" => one(&self.subnet),
            "vpc-id" => one(&self.vpc),
            _ => Vec::new(),
        }
    }

    fn tags(&self) -> Option<&Tags> {
        Some(&self.tags)
    }
}

impl Filtered for Instance {
    const NAMES: &'static [&'static str] = &[
        "availability-zone",
        "image-id",
        "instance-id",
        "instance-state-code",
        "instance-state-name",
        "instance-type",
        "network-interface.network-interface-id",
        "network-interface.subnet-id",
        "owner-id",
        "private-dns-name",
        "private-ip-address",
        "reservation-id",
        "subnet-id",
        "vpc-id",
    ];

    fn values(&self, world: &Ec2, name: &str) -> Vec<String> {
        let enis = || self.seats.values().filter_map(|id| world.interfaces.get(id));
        let primary = || enis().next().and_then(|eni| eni.primary);
        match name {
            "availability-zone" => one(&self.zone),
            "image-id" => one(&self.image),
            "instance-id" => one(&self.id),
            "instance-state-code" => one(self.state.code_and_name().0),
            "instance-state-name" => one(self.state.code_and_name().1),
            "instance-type" => one(&self.instance_type.name),
            "network-interface.network-interface-id" => enis().map(|eni| eni.id.to_string()).collect(),
            "network-interface.subnet-id" => enis().map(|eni| eni.subnet.to_string()).collect(),
            "owner-id" => one(&world.config.account),
            "private-dns-name" => {
                primary().map_or(Vec::new(), |address| one(world.private_dns_name(address)))
            }
            "private-ip-address" => primary().map_or(Vec::new(), one),
            "reservation-id" => one(&self.reservation),
            "subnet-id" => one(&self.subnet),
            "vpc-id" => one(&self.vpc),
            _ => Vec::new(),
        }
    }

    fn tags(&self) -> Option<&Tags> {
        Some(&self.tags)
    }
}

impl Filtered for Subnet {
    const NAMES: &'static [&'static str] = &[
        "availability-zone",
        "availability-zone-id",
        "availabilityZone",
        "available-ip-address-count",
        "cidr",
        "cidr-block",
        "default-for-az",
        "ipv6-cidr-block-association.ipv6-cidr-block",
        "owner-id",
        "state",
        "subnet-id",
        "vpc-id",
    ];

    fn values(&self, world: &Ec2, name: &str) -> Vec<String> {
        match name {
            "availability-zone" | "availabilityZone" => one(&self.zone),
            "availability-zone-id" => one(world.zone_id(&self.zone)),
            "available-ip-address-count" => one(self.free()),
            "cidr" | "cidr-block" => one(self.cidr),
            "default-for-az" => one(false),
            "ipv6-cidr-block-association.ipv6-cidr-block" => self.ipv6_cidr.map_or(Vec::new(), one),
            "owner-id" => one(&world.config.account),
            "state" => one("available"),
            "subnet-id" => one(&self.id),
            "vpc-id" => one(&self.vpc),
            _ => Vec::new(),
        }
    }

    fn tags(&self) -> Option<&Tags> {
        Some(&self.tags)
    }
}

impl Filtered for Vpc {
    const NAMES: &'static [&'static str] = &[
        "cidr",
        "cidr-block-association.cidr-block",
        "ipv6-cidr-block-association.ipv6-cidr-block",
        "is-default",
        "owner-id",
        "state",
        "vpc-id",
    ];

    fn values(&self, world: &Ec2, name: &str) -> Vec<String> {
        match name {
            "cidr" => self.cidrs.first().map_or(Vec::new(), one),
            "cidr-block-association.cidr-block" => self.cidrs.iter().map(ToString::to_string).collect(),
            "ipv6-cidr-block-association.ipv6-cidr-block" => {
                self.ipv6_cidrs.iter().map(ToString::to_string).collect()
            }
            "is-default" => one(false),
            "owner-id" => one(&world.config.account),
            "state" => one("available"),
            "vpc-id" => one(&self.id),
            _ => Vec::new(),
        }
    }

    fn tags(&self) -> Option<&Tags> {
        Some(&self.tags)
    }
}

impl Filtered for SecurityGroup {
    const NAMES: &'static [&'static str] = &["description", "group-id", "group-name", "owner-id", "vpc-id"];

    fn values(&self, world: &Ec2, name: &str) -> Vec<String> {
        match name {
            "description" => one(&self.description),
            "group-id" => one(&self.id),
            "group-name" => one(&self.name),
            "owner-id" => one(&world.config.account),
            "vpc-id" => one(&self.vpc),
            _ => Vec::new(),
        }
    }

    fn tags(&self) -> Option<&Tags> {
        Some(&self.tags)
    }
}

impl Filtered for InstanceType {
    const NAMES: &'static [&'static str] = &[
        "bare-metal",
        "hypervisor",
        "instance-type",
        "memory-info.size-in-mib",
        "network-info.ipv4-addresses-per-interface",
        "network-info.maximum-network-cards",
        "network-info.maximum-network-interfaces",
        "vcpu-info.default-vcpus",
    ];

    fn values(&self, _: &Ec2, name: &str) -> Vec<String> {
        match name {
            "bare-metal" => one(self.bare_metal),
            "hypervisor" => match self.hypervisor {
                Hypervisor::Nitro => one("nitro"),
                Hypervisor::Xen => one("xen"),
                Hypervisor::None => Vec::new(),
            },
            "instance-type" => one(&self.name),
            "memory-info.size-in-mib" => one(self.memory_mib),
            "network-info.ipv4-addresses-per-interface" => one(self.ipv4_per_eni),
            "network-info.maximum-network-cards" => one(self.cards.len()),
            "network-info.maximum-network-interfaces" => {
                one(self.cards.iter().map(|card| card.max_enis).sum::<u32>())
            }
            "vcpu-info.default-vcpus" => one(self.vcpus),
            _ => Vec::new(),
        }
    }

    fn tags(&self) -> Option<&Tags> {
        None
    }
}

impl Filtered for Zone {
    const NAMES: &'static [&'static str] =
        &["opt-in-status", "region-name", "state", "zone-id", "zone-name", "zone-type"];

    fn values(&self, world: &Ec2, name: &str) -> Vec<String> {
        match name {
            "opt-in-status" => one("opt-in-not-required"),
            "region-name" => one(&world.config.region),
            "state" => one("available"),
            "zone-id" => one(&self.id),
            "zone-name" => one(&self.name),
            "zone-type" => one("availability-zone"),
            _ => Vec::new(),
        }
    }

    fn tags(&self) -> Option<&Tags> {
        None
    }
}

impl Filtered for TaggedResource {
    const NAMES: &'static [&'static str] = &["key", "resource-id", "resource-type", "value"];

    fn values(&self, _: &Ec2, name: &str) -> Vec<String> {
        match name {
            "key" => one(&self.key),
            "resource-id" => one(&self.resource),
            "resource-type" => one(self.resource_type),
            "value" => one(&self.value),
            _ => Vec::new(),
        }
    }

    fn tags(&self) -> Option<&Tags> {
        Some(&self.as_tags)
    }
}

#[cfg(test)]
mod tests {
    use super::wild;

    #[test]
    fn wildcards_match_as_ec2_documents() {
        for (pattern, text, fits) in [
            ("aws-K8S-*", "aws-K8S-i-1", true),
            ("aws-K8S-*", "aws-K8S-", true),
            ("aws-K8S-*", "other aws-K8S-i-1", false),
            ("*k8s*", "xk8sy", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("a*b*c", "a1b2b3c", true),
            ("a*b*c", "a1b2b3", false),
            (r"\*", "*", true),
            (r"\*", "x", false),
            ("", "", true),
            ("", "x", false),
            ("*", "", true),
        ] {
            assert_eq!(wild(pattern, text), fits, "{pattern} {text}");
        }
    }
}
