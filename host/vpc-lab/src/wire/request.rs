//! Parameters of a request as the model's own requests.

use std::net::Ipv4Addr;
use std::str::FromStr;

use enid_core::ids::{EniAttachmentId, EniId, InstanceId, SecurityGroupId, SubnetId, VpcId};
use enid_core::wiring::Seat;
use enid_sim::ec2::Tags;
use enid_sim::ec2::assignment::{AssignPrivateIpAddresses, UnassignPrivateIpAddresses};
use enid_sim::ec2::describe::Query;
use enid_sim::ec2::filter::Filter;
use enid_sim::ec2::instance::RunInstances;
use enid_sim::ec2::interface::{CreateNetworkInterface, InterfaceChange, Secondary};
use enid_sim::ec2::refusal::{CallError, Code};

use ipnet::Ipv4Net;

use super::form::{Form, invalid, missing};

/// Parameters of `RunInstances` that change nothing in a world without disks, keys and billing.
const WITHOUT_EFFECT: &[&str] = &[
    "BlockDeviceMapping",
    "CapacityReservationSpecification",
    "CpuOptions",
    "CreditSpecification",
    "DisableApiStop",
    "DisableApiTermination",
    "EbsOptimized",
    "EnclaveOptions",
    "HibernationOptions",
    "IamInstanceProfile",
    "InstanceInitiatedShutdownBehavior",
    "InstanceMarketOptions",
    "KeyName",
    "MaintenanceOptions",
    "MetadataOptions",
    "Monitoring",
    "Placement",
    "PrivateDnsNameOptions",
    "UserData",
];

/// A key, and the value that it must have to be deleted.
pub(super) type TagToDelete = (String, Option<String>);

/// An id, or the code that EC2 has for one that is none.
fn id<T: FromStr>(text: &str, code: Code, what: &str) -> Result<T, CallError> {
    text.parse().map_err(|_| CallError::Refused {
        code,
        message: format!("Invalid id: \"{}\" ({what})", text.chars().take(80).collect::<String>()),
    })
}

pub(super) fn eni(text: &str) -> Result<EniId, CallError> {
    id(text, Code::InvalidNetworkInterfaceIdMalformed, "expecting \"eni-...\"")
}

pub(super) fn instance(text: &str) -> Result<InstanceId, CallError> {
    id(text, Code::InvalidInstanceIdMalformed, "expecting \"i-...\"")
}

pub(super) fn group(text: &str) -> Result<SecurityGroupId, CallError> {
    id(text, Code::InvalidGroupIdMalformed, "expecting \"sg-...\"")
}

pub(super) fn subnet(text: &str) -> Result<SubnetId, CallError> {
    id(text, Code::InvalidSubnetIdNotFound, "expecting \"subnet-...\"")
}

pub(super) fn vpc(text: &str) -> Result<VpcId, CallError> {
    id(text, Code::InvalidVpcIdNotFound, "expecting \"vpc-...\"")
}

pub(super) fn attachment(text: &str) -> Result<EniAttachmentId, CallError> {
    id(text, Code::InvalidAttachmentIdNotFound, "expecting \"eni-attach-...\"")
}

/// What every describe call takes; `ids` is the name of its list of ids.
pub(super) fn query<Id>(
    form: &Form,
    ids: &str,
    parse: impl Fn(&str) -> Result<Id, CallError>,
) -> Result<Query<Id>, CallError> {
    let filters = form.members("Filter").into_iter().map(|member| {
        let name = member.required("Name")?.to_owned();
        let values = member.list("Value").into_iter().map(str::to_owned).collect();
        member.finish()?;
        Ok(Filter { name, values })
    });
    Ok(Query {
        ids: form.list(ids).into_iter().map(parse).collect::<Result<_, _>>()?,
        filters: filters.collect::<Result<_, CallError>>()?,
        max_results: form.parsed("MaxResults")?,
        next_token: form.text("NextToken").map(str::to_owned),
    })
}

pub(super) fn create_network_interface(form: &Form) -> Result<CreateNetworkInterface, CallError> {
    let subnet = subnet(form.required("SubnetId")?)?;
    only_plain_interfaces(form)?;
    let mut tags = tag_specifications(form, &["network-interface"])?;
    let (primary, secondary) = addresses_at_birth(form)?;
    Ok(CreateNetworkInterface {
        subnet,
        primary,
        secondary,
        groups: form.list("SecurityGroupId").into_iter().map(group).collect::<Result<_, _>>()?,
        description: form.text("Description").unwrap_or_default().to_owned(),
        tags: tags.pop().unwrap_or_default(),
        client_token: form.text("ClientToken").map(str::to_owned),
    })
}

pub(super) fn run_instances(form: &Form) -> Result<RunInstances, CallError> {
    form.ignore(WITHOUT_EFFECT);
    let instance_type = form.required("InstanceType")?.to_owned();
    let image = form.required("ImageId")?.to_owned();
    let (min, max) = (form.parsed::<u32>("MinCount")?, form.parsed::<u32>("MaxCount")?);
    let (Some(min), Some(count)) = (min, max) else { return Err(missing("MinCount and MaxCount")) };
    if min > count {
        return Err(invalid(&min.to_string(), "MinCount"));
    }
    let mut interfaces = form.members("NetworkInterface");
    if interfaces.len() > 1 {
        return Err(unsupported("This model launches instances with their primary network interface only."));
    }
    let own = interfaces.pop();
    let settings = own.as_ref().unwrap_or(form);
    if own.is_some() {
        let nested = |name| form.text(name).is_some() || !form.list(name).is_empty();
        if ["SubnetId", "SecurityGroupId", "PrivateIpAddress"].into_iter().any(nested) {
            return Err(CallError::Refused {
                code: Code::InvalidParameterCombination,
                message: "Network interfaces and an instance-level subnet ID, security groups or private address may not be specified on the same request".to_owned(),
            });
        }
        if settings.parsed::<u32>("DeviceIndex")?.is_some_and(|index| index != 0) {
            return Err(invalid("not 0", "NetworkInterface.1.DeviceIndex"));
        }
        settings.ignore(&["NetworkCardIndex"]);
        only_plain_interfaces(settings)?;
    }
    let mut tags = tag_specifications(form, &["instance", "network-interface"])?;
    let (eni_tags, tags) = (tags.pop().unwrap_or_default(), tags.pop().unwrap_or_default());
    let (primary, secondary) = addresses_at_birth(settings)?;
    let request = RunInstances {
        instance_type,
        subnet: subnet(settings.required("SubnetId")?)?,
        count,
        image,
        primary,
        secondary,
        groups: settings.list("SecurityGroupId").into_iter().map(group).collect::<Result<_, _>>()?,
        tags,
        eni_tags,
        delete_on_termination: settings.flag("DeleteOnTermination")?.unwrap_or(true),
        client_token: form.text("ClientToken").map(str::to_owned),
    };
    if let Some(own) = own {
        own.ignore(&["Description", "AssociatePublicIpAddress"]);
        own.finish()?;
    }
    Ok(request)
}

pub(super) fn seat(form: &Form) -> Result<Seat, CallError> {
    let device = form.parsed("DeviceIndex")?.ok_or_else(|| missing("DeviceIndex"))?;
    Ok(Seat { card: form.parsed("NetworkCardIndex")?.unwrap_or(0), device })
}

pub(super) fn change(form: &Form) -> Result<InterfaceChange, CallError> {
    let mut changes = Vec::new();
    if let Some(delete) = form.flag("Attachment.DeleteOnTermination")? {
        let attachment = attachment(form.required("Attachment.AttachmentId")?)?;
        changes.push(InterfaceChange::DeleteOnTermination { attachment, delete });
    }
    if let Some(text) = form.text("Description.Value") {
        changes.push(InterfaceChange::Description(text.to_owned()));
    }
    let groups = form.list("SecurityGroupId");
    if !groups.is_empty() {
        changes.push(InterfaceChange::Groups(groups.into_iter().map(group).collect::<Result<_, _>>()?));
    }
    if let Some(check) = form.flag("SourceDestCheck.Value")? {
        changes.push(InterfaceChange::SourceDestCheck(check));
    }
    match (changes.pop(), changes.is_empty()) {
        (Some(change), true) => Ok(change),
        (Some(_), false) => Err(CallError::Refused {
            code: Code::InvalidParameterCombination,
            message: "Only one attribute can be modified at a time.".to_owned(),
        }),
        (None, _) => Err(missing("an attribute to modify")),
    }
}

pub(super) fn assign(form: &Form) -> Result<AssignPrivateIpAddresses, CallError> {
    let eni = eni(form.required("NetworkInterfaceId")?)?;
    let secondary = secondary(form, form.parsed_list("PrivateIpAddress")?, form.parsed_list("Ipv4Prefix")?)?;
    Ok(AssignPrivateIpAddresses {
        eni,
        secondary,
        allow_reassignment: form.flag("AllowReassignment")?.unwrap_or(false),
    })
}

pub(super) fn unassign(form: &Form) -> Result<UnassignPrivateIpAddresses, CallError> {
    Ok(UnassignPrivateIpAddresses {
        eni: eni(form.required("NetworkInterfaceId")?)?,
        addresses: form.parsed_list("PrivateIpAddress")?,
        prefixes: form.parsed_list("Ipv4Prefix")?,
    })
}

/// `ResourceId.N` and `Tag.N`, as `CreateTags` takes them.
pub(super) fn tagging(form: &Form) -> Result<(Vec<String>, Tags), CallError> {
    let (resources, tags) = untagging(form)?;
    if tags.is_empty() {
        return Err(missing("Tag"));
    }
    let tags = tags.into_iter().map(|(key, value)| (key, value.unwrap_or_default()));
    Ok((resources, tags.collect()))
}

/// `ResourceId.N` and `Tag.N`, as `DeleteTags` takes them: a tag may lack its value.
pub(super) fn untagging(form: &Form) -> Result<(Vec<String>, Vec<TagToDelete>), CallError> {
    let resources: Vec<String> = form.list("ResourceId").into_iter().map(str::to_owned).collect();
    if resources.is_empty() {
        return Err(missing("ResourceId"));
    }
    let tags = form.members("Tag").into_iter().map(|tag| {
        let pair = (tag.required("Key")?.to_owned(), tag.text("Value").map(str::to_owned));
        tag.finish()?;
        Ok(pair)
    });
    Ok((resources, tags.collect::<Result<_, CallError>>()?))
}

/// `TagSpecification.N`: tags by resource type, in the order of `types`.
fn tag_specifications(form: &Form, types: &[&str]) -> Result<Vec<Tags>, CallError> {
    let mut tags = vec![Tags::new(); types.len()];
    for specification in form.members("TagSpecification") {
        let of = specification.required("ResourceType")?;
        let at = types.iter().position(|known| *known == of);
        let Some(into) = at.and_then(|at| tags.get_mut(at)) else {
            return Err(invalid(of, "TagSpecification.ResourceType"));
        };
        for tag in specification.members("Tag") {
            let key = tag.required("Key")?.to_owned();
            into.insert(key, tag.text("Value").unwrap_or_default().to_owned());
            tag.finish()?;
        }
        specification.finish()?;
    }
    Ok(tags)
}

/// The addresses that a new interface asks for: its primary one and what else it is born with.
fn addresses_at_birth(form: &Form) -> Result<(Option<Ipv4Addr>, Secondary), CallError> {
    let mut primary = form.parsed("PrivateIpAddress")?;
    let mut exact = Vec::new();
    for member in form.members("PrivateIpAddresses") {
        let address = member.parsed("PrivateIpAddress")?;
        let address: Ipv4Addr = address.ok_or_else(|| missing("PrivateIpAddresses.PrivateIpAddress"))?;
        let is_primary = member.flag("Primary")?.unwrap_or(false);
        member.finish()?;
        if !is_primary {
            exact.push(address);
        } else if primary.replace(address).is_some() {
            return Err(exclusive("more than one primary address"));
        }
    }
    let prefixes = form.members("Ipv4Prefix").into_iter().map(|member| {
        let prefix = member.parsed("Ipv4Prefix")?.ok_or_else(|| missing("Ipv4Prefix"))?;
        member.finish()?;
        Ok(prefix)
    });
    let prefixes = prefixes.collect::<Result<_, CallError>>()?;
    Ok((primary, secondary(form, exact, prefixes)?))
}

/// Secondary supply, said in one of the four ways that EC2 knows.
fn secondary(form: &Form, exact: Vec<Ipv4Addr>, prefixes: Vec<Ipv4Net>) -> Result<Secondary, CallError> {
    let count: Option<u32> = form.parsed("SecondaryPrivateIpAddressCount")?;
    let prefix_count: Option<u32> = form.parsed("Ipv4PrefixCount")?;
    let mut ways = Vec::new();
    ways.extend(count.filter(|count| *count > 0).map(Secondary::Addresses));
    ways.extend(prefix_count.filter(|count| *count > 0).map(Secondary::Prefixes));
    ways.extend((!exact.is_empty()).then_some(Secondary::ExactAddresses(exact)));
    ways.extend((!prefixes.is_empty()).then_some(Secondary::ExactPrefixes(prefixes)));
    match (ways.pop(), ways.is_empty()) {
        (Some(way), true) => Ok(way),
        (None, _) => Ok(Secondary::None),
        (Some(_), false) => Err(exclusive("addresses, a count of addresses, prefixes, a count of prefixes")),
    }
}

fn only_plain_interfaces(form: &Form) -> Result<(), CallError> {
    match form.text("InterfaceType") {
        None | Some("interface") => Ok(()),
        Some(_) => Err(unsupported("This model makes network interfaces of type 'interface' only.")),
    }
}

fn exclusive(what: &str) -> CallError {
    let message = format!("Only one of these may be given in one request: {what}.");
    CallError::Refused { code: Code::InvalidParameterCombination, message }
}

fn unsupported(message: &str) -> CallError {
    CallError::Refused { code: Code::UnsupportedOperation, message: message.to_owned() }
}
