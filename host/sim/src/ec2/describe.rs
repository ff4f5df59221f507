//! The describe calls: ids, filters, pages.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use enid_core::ids::{EniId, InstanceId, SecurityGroupId, SubnetId, VpcId};
use enid_core::limits::InstanceType;
use enid_core::time::Timestamp;

use super::Ec2;
use super::call::Call;
use super::filter::{Filter, Filtered, check_filters, matches};
use super::instance::Instance;
use super::interface::NetworkInterface;
use super::refusal::{CallError, Code};
use super::tagging::TaggedResource;
use super::throttle::Bucket;
use super::vpc::{SecurityGroup, Subnet, Vpc};

/// What to describe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query<Id> {
    /// These only; each must exist.
    pub ids: Vec<Id>,
    /// All of these must match.
    pub filters: Vec<Filter>,
    /// `MaxResults`.
    pub max_results: Option<u32>,
    /// `NextToken` of the page before.
    pub next_token: Option<String>,
}

impl<Id> Default for Query<Id> {
    fn default() -> Self {
        Query { ids: Vec::new(), filters: Vec::new(), max_results: None, next_token: None }
    }
}

impl<Id> Query<Id> {
    /// Everything that matches `filters`, on one page.
    pub fn matching(filters: impl IntoIterator<Item = Filter>) -> Query<Id> {
        Query { filters: filters.into_iter().collect(), ..Query::default() }
    }

    fn is_unbounded(&self) -> bool {
        self.ids.is_empty() && self.filters.is_empty() && self.max_results.is_none()
    }
}

/// Some of what matched, in id order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// Where the next page starts, if there is one.
    pub next_token: Option<String>,
}

/// An availability zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone {
    /// `ZoneName`.
    pub name: String,
    /// `ZoneId`.
    pub id: String,
}

/// How one kind of resource is described.
struct Kind {
    not_found: Code,
    /// Whether `tag:…` filters exist.
    taggable: bool,
    max_results: RangeInclusive<u32>,
    /// Whether naming ids excludes asking for pages.
    ids_exclude_pages: bool,
}

impl Kind {
    fn tagged(not_found: Code) -> Kind {
        Kind { not_found, taggable: true, max_results: 5..=1000, ids_exclude_pages: true }
    }
}

impl Ec2 {
    /// `DescribeNetworkInterfaces`.
    pub fn describe_network_interfaces(
        &mut self,
        now: Timestamp,
        query: &Query<EniId>,
    ) -> Result<Page<NetworkInterface>, CallError> {
        self.perform_from(now, Call::DescribeNetworkInterfaces, listing_bucket(query), |ec2| {
            select(ec2, &ec2.interfaces, query, &Kind::tagged(Code::InvalidNetworkInterfaceIdNotFound))
        })
    }

    /// `DescribeInstances`.
    pub fn describe_instances(
        &mut self,
        now: Timestamp,
        query: &Query<InstanceId>,
    ) -> Result<Page<Instance>, CallError> {
        self.perform_from(now, Call::DescribeInstances, listing_bucket(query), |ec2| {
            select(ec2, &ec2.instances, query, &Kind::tagged(Code::InvalidInstanceIdNotFound))
        })
    }

    /// `DescribeSecurityGroups`.
    pub fn describe_security_groups(
        &mut self,
        now: Timestamp,
        query: &Query<SecurityGroupId>,
    ) -> Result<Page<SecurityGroup>, CallError> {
        self.perform_from(now, Call::DescribeSecurityGroups, listing_bucket(query), |ec2| {
            select(ec2, &ec2.groups, query, &Kind::tagged(Code::InvalidGroupNotFound))
        })
    }

    /// `DescribeSubnets`.
    pub fn describe_subnets(
        &mut self,
        now: Timestamp,
        query: &Query<SubnetId>,
    ) -> Result<Page<Subnet>, CallError> {
        self.perform(now, Call::DescribeSubnets, |ec2| {
            select(ec2, &ec2.subnets, query, &Kind::tagged(Code::InvalidSubnetIdNotFound))
        })
    }

    /// `DescribeVpcs`.
    pub fn describe_vpcs(&mut self, now: Timestamp, query: &Query<VpcId>) -> Result<Page<Vpc>, CallError> {
        self.perform(now, Call::DescribeVpcs, |ec2| {
            select(ec2, &ec2.vpcs, query, &Kind::tagged(Code::InvalidVpcIdNotFound))
        })
    }

    /// `DescribeInstanceTypes`: this world's own types and those of the table.
    pub fn describe_instance_types(
        &mut self,
        now: Timestamp,
        query: &Query<String>,
    ) -> Result<Page<InstanceType>, CallError> {
        self.perform(now, Call::DescribeInstanceTypes, |ec2| {
            let known: BTreeMap<String, InstanceType> = if query.ids.is_empty() {
                let table = enid_core::instance_types::all().map(|known| (known.name.clone(), known));
                table.chain(ec2.config.instance_types.clone()).collect()
            } else {
                query
                    .ids
                    .iter()
                    .map(|name| Ok((name.clone(), ec2.instance_type(name)?)))
                    .collect::<Result<_, _>>()?
            };
            let kind = Kind {
                not_found: Code::InvalidInstanceType,
                taggable: false,
                max_results: 5..=100,
                ids_exclude_pages: true,
            };
            select(ec2, &known, query, &kind)
        })
    }

    /// `DescribeAvailabilityZones`.
    pub fn describe_availability_zones(
        &mut self,
        now: Timestamp,
        query: &Query<String>,
    ) -> Result<Page<Zone>, CallError> {
        self.perform(now, Call::DescribeAvailabilityZones, |ec2| {
            let zones = ec2.config.zones.iter();
            let known: BTreeMap<String, Zone> = zones
                .map(|name| (name.clone(), Zone { name: name.clone(), id: ec2.zone_id(name) }))
                .collect();
            let kind = Kind {
                not_found: Code::InvalidParameterValue,
                taggable: false,
                max_results: 1..=1000,
                ids_exclude_pages: false,
            };
            select(ec2, &known, query, &kind)
        })
    }

    /// `DescribeTags`.
    pub fn describe_tags(
        &mut self,
        now: Timestamp,
        query: &Query<String>,
    ) -> Result<Page<TaggedResource>, CallError> {
        self.perform(now, Call::DescribeTags, |ec2| {
            let tags = ec2.all_tags().into_iter();
            let known: BTreeMap<String, TaggedResource> =
                tags.map(|tag| (format!("{} {}", tag.resource, tag.key), tag)).collect();
            select(ec2, &known, query, &Kind::tagged(Code::InvalidParameterValue))
        })
    }
}

/// Unfiltered, unpaginated lists of instances, ENIs and groups have a smaller bucket of their own.
fn listing_bucket<Id>(query: &Query<Id>) -> Bucket {
    if query.is_unbounded() { Bucket::DescribingAll } else { Bucket::Describing }
}

fn select<Id: Ord + Clone + std::fmt::Display, T: Filtered + Clone>(
    world: &Ec2,
    known: &BTreeMap<Id, T>,
    query: &Query<Id>,
    kind: &Kind,
) -> Result<Page<T>, CallError> {
    check_filters::<T>(&query.filters, kind.taggable)?;
    if let Some(max) = query.max_results {
        if !kind.max_results.contains(&max) {
            return Err(CallError::refuse(
                Code::InvalidParameterValue,
                format!(
                    "Value ( {max} ) for parameter maxResults is invalid. Expecting a value between {} and {}.",
                    kind.max_results.start(),
                    kind.max_results.end()
                ),
            ));
        }
        if kind.ids_exclude_pages && !query.ids.is_empty() {
            return Err(CallError::refuse(
                Code::InvalidParameterCombination,
                "The parameter maxResults cannot be used together with a list of ids.",
            ));
        }
    }
    let missing: Vec<String> =
        query.ids.iter().filter(|id| !known.contains_key(*id)).map(ToString::to_string).collect();
    if !missing.is_empty() {
        return Err(CallError::refuse(
            kind.not_found,
            format!("The ID '{}' does not exist", missing.join(", ")),
        ));
    }
    let after = query.next_token.as_deref().map(decode_token).transpose()?;
    let wanted: BTreeSet<&Id> = query.ids.iter().collect();
    let limit = query.max_results.map_or(usize::MAX, |max| usize::try_from(max).unwrap_or(usize::MAX));
    let mut page = Page { items: Vec::new(), next_token: None };
    let mut last = None;
    for (id, item) in known {
        if !wanted.is_empty() && !wanted.contains(id) || !matches(item, world, &query.filters) {
            continue;
        }
        if after.as_ref().is_some_and(|after| id.to_string() <= *after) {
            continue;
        }
        if page.items.len() == limit {
            page.next_token = last.map(|last: &Id| encode_token(&last.to_string()));
            break;
        }
        page.items.push(item.clone());
        last = Some(id);
    }
    Ok(page)
}

/// A token carries the last id of its page, so that pages stay right while things come and go.
fn encode_token(last: &str) -> String {
    last.bytes().map(|byte| format!("{byte:02x}")).collect()
}

fn decode_token(token: &str) -> Result<String, CallError> {
    let invalid = || CallError::refuse(Code::InvalidNextToken, "The token is not one that was given out.");
    let digits = token.as_bytes();
    if digits.is_empty() || !digits.len().is_multiple_of(2) || digits.len() > 1024 {
        return Err(invalid());
    }
    let bytes: Option<Vec<u8>> = digits
        .chunks(2)
        .map(|pair| std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok()))
        .collect();
    bytes.and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(invalid)
}
