//! Tags on every kind of resource.

use enid_core::time::Timestamp;

use super::call::Call;
use super::refusal::{CallError, Code};
use super::{Ec2, Tags};

/// Tags per resource (EC2 user guide, "Tag restrictions").
const MAX_TAGS: usize = 50;
const MAX_KEY: usize = 128;
const MAX_VALUE: usize = 256;

/// One tag of one resource, as `DescribeTags` lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaggedResource {
    /// The resource's id.
    pub resource: String,
    /// `network-interface`, `subnet`, …
    pub resource_type: &'static str,
    /// Its key.
    pub key: String,
    /// Its value.
    pub value: String,
    pub(crate) as_tags: Tags,
}

impl Ec2 {
    /// `CreateTags`: adds or overwrites, on all resources or on none.
    pub fn create_tags(
        &mut self,
        now: Timestamp,
        resources: &[String],
        tags: &Tags,
    ) -> Result<(), CallError> {
        self.perform(now, Call::CreateTags, |ec2| {
            check_tags(tags)?;
            for id in resources {
                let mut after = ec2.tags_of(id)?.clone();
                after.extend(tags.clone());
                check_tags(&after)?;
            }
            for id in resources {
                ec2.tags_of(id)?.extend(tags.clone());
            }
            ec2.changed();
            Ok(())
        })
    }

    /// `DeleteTags`: a value removes the tag only if it has that value; no tags at all removes all.
    pub fn delete_tags(
        &mut self,
        now: Timestamp,
        resources: &[String],
        tags: &[(String, Option<String>)],
    ) -> Result<(), CallError> {
        self.perform(now, Call::DeleteTags, |ec2| {
            for id in resources {
                ec2.tags_of(id)?;
            }
            for id in resources {
                let held = ec2.tags_of(id)?;
                if tags.is_empty() {
                    held.clear();
                }
                for (key, value) in tags {
                    if value.as_ref().is_none_or(|value| held.get(key) == Some(value)) {
                        held.remove(key);
                    }
                }
            }
            ec2.changed();
            Ok(())
        })
    }

    /// Sets a tag while building the world: no call, no fault.
    pub fn set_tag(&mut self, resource: &str, key: &str, value: &str) -> Result<(), CallError> {
        self.tags_of(resource)?.insert(key.to_owned(), value.to_owned());
        self.changed();
        Ok(())
    }

    fn tags_of(&mut self, id: &str) -> Result<&mut Tags, CallError> {
        let (found, code) = if id.starts_with("eni-") {
            let found = id.parse().ok().and_then(|id| self.interfaces.get_mut(&id)).map(|it| &mut it.tags);
            (found, Code::InvalidNetworkInterfaceIdNotFound)
        } else if id.starts_with("i-") {
            let found = id.parse().ok().and_then(|id| self.instances.get_mut(&id)).map(|it| &mut it.tags);
            (found, Code::InvalidInstanceIdNotFound)
        } else if id.starts_with("subnet-") {
            let found = id.parse().ok().and_then(|id| self.subnets.get_mut(&id)).map(|it| &mut it.tags);
            (found, Code::InvalidSubnetIdNotFound)
        } else if id.starts_with("vpc-") {
            let found = id.parse().ok().and_then(|id| self.vpcs.get_mut(&id)).map(|it| &mut it.tags);
            (found, Code::InvalidVpcIdNotFound)
        } else if id.starts_with("sg-") {
            let found = id.parse().ok().and_then(|id| self.groups.get_mut(&id)).map(|it| &mut it.tags);
            (found, Code::InvalidGroupNotFound)
        } else {
            (None, Code::InvalidId)
        };
        let shown: String = id.chars().take(80).collect();
        found.ok_or_else(|| CallError::refuse(code, format!("The ID '{shown}' does not exist")))
    }

    pub(crate) fn all_tags(&self) -> Vec<TaggedResource> {
        let interfaces =
            self.interfaces.values().map(|it| (it.id.to_string(), "network-interface", &it.tags));
        let instances = self.instances.values().map(|it| (it.id.to_string(), "instance", &it.tags));
        let subnets = self.subnets.values().map(|it| (it.id.to_string(), "subnet", &it.tags));
        let vpcs = self.vpcs.values().map(|it| (it.id.to_string(), "vpc", &it.tags));
        let groups = self.groups.values().map(|it| (it.id.to_string(), "security-group", &it.tags));
        let resources = interfaces.chain(instances).chain(subnets).chain(vpcs).chain(groups);
        resources
            .flat_map(|(resource, resource_type, tags)| {
                tags.iter().map(move |(key, value)| TaggedResource {
                    resource: resource.clone(),
                    resource_type,
                    key: key.clone(),
                    value: value.clone(),
                    as_tags: Tags::from([(key.clone(), value.clone())]),
                })
            })
            .collect()
    }
}

/// Refuses too many tags, too long ones and EC2's own `aws:` keys.
pub(crate) fn check_tags(tags: &Tags) -> Result<(), CallError> {
    if tags.len() > MAX_TAGS {
        return Err(CallError::refuse(
            Code::TagLimitExceeded,
            format!("The maximum number of Tags for a resource is {MAX_TAGS}."),
        ));
    }
    for (key, value) in tags {
        let wrong = if key.is_empty() || key.chars().count() > MAX_KEY {
            "Tag keys have 1 to 128 characters."
        } else if value.chars().count() > MAX_VALUE {
            "Tag values have at most 256 characters."
        } else if key.to_ascii_lowercase().starts_with("aws:") {
            "Tag keys starting with 'aws:' are reserved for internal use"
        } else {
            continue;
        };
        return Err(CallError::refuse(Code::InvalidParameterValue, wrong));
    }
    Ok(())
}
