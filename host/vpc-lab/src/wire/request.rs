//! Parameters of a request as the model's own requests.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use enid_core::ids::{EniAttachmentId, EniId, InstanceId, SecurityGroupId, SubnetId, VpcId};
use enid_core::wiring::Seat;
use enid_sim::ec2::Tags;
use enid_sim::ec2::assignment::{AssignPrivateIpAddresses, UnassignPrivateIpAddresses};
use enid_sim::ec2::describe::Query;
use enid_sim::ec2::filter::Filter;
use enid_sim::ec2::instance::{FurtherInterface, RunInstances};
use enid_sim::ec2::interface::{CreateNetworkInterface, InterfaceChange, InterfaceType, Secondary};
use enid_sim::ec2::ipv6::{AssignIpv6Addresses, Ipv6Supply, UnassignIpv6Addresses};
use enid_sim::ec2::refusal::{CallError, Code};
use ipnet::{Ipv4Net, Ipv6Net};

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
    let mut tags = tag_specifications(form, &["network-interface"])?;
    Ok(CreateNetworkInterface {
        tags: tags.pop().unwrap_or_default(),
        client_token: form.text("ClientToken").map(str::to_owned),
        ..new_interface(form)?
    })
}

/// What an interface to be made is, on its own or with its instance.
fn new_interface(form: &Form) -> Result<CreateNetworkInterface, CallError> {
    let (primary, secondary) = addresses_at_birth(form)?;
    Ok(CreateNetworkInterface {
        primary,
        secondary,
        ipv6: ipv6_at_birth(form)?,
        interface_type: interface_type(form)?,
        groups: form.list("SecurityGroupId").into_iter().map(group).collect::<Result<_, _>>()?,
        description: form.text("Description").unwrap_or_default().to_owned(),
        ..CreateNetworkInterface::within(subnet(form.required("SubnetId")?)?)
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
    let mut tags = tag_specifications(form, &["instance", "network-interface"])?;
    let (eni_tags, tags) = (tags.pop().unwrap_or_default(), tags.pop().unwrap_or_default());
    let (first, further) = launched_interfaces(form)?;
    Ok(RunInstances {
        instance_type,
        count,
        image,
        tags,
        eni_tags,
        subnet: first.interface.subnet,
        primary: first.interface.primary,
        secondary: first.interface.secondary,
        ipv6: first.interface.ipv6,
        interface_type: first.interface.interface_type,
        groups: first.interface.groups,
        delete_on_termination: first.delete_on_termination,
        further,
        client_token: form.text("ClientToken").map(str::to_owned),
    })
}

/// The primary interface and the others: said by the instance itself, or one by one.
fn launched_interfaces(form: &Form) -> Result<(FurtherInterface, Vec<FurtherInterface>), CallError> {
    let members = form.members("NetworkInterface");
    if members.is_empty() {
        let own = FurtherInterface {
            seat: Seat::PRIMARY,
            interface: new_interface(form)?,
            delete_on_termination: true,
        };
        return Ok((own, Vec::new()));
    }
    let nested = |name| form.text(name).is_some() || !form.list(name).is_empty();
    if ["SubnetId", "SecurityGroupId", "PrivateIpAddress"].into_iter().any(nested) {
        return Err(CallError::Refused {
            code: Code::InvalidParameterCombination,
            message: "Network interfaces and an instance-level subnet ID, security groups or private address may not be specified on the same request".to_owned(),
        });
    }
    let mut interfaces = members.iter().map(launched_interface).collect::<Result<Vec<_>, _>>()?;
    match interfaces.iter().position(|interface| interface.seat == Seat::PRIMARY) {
        Some(at) => Ok((interfaces.remove(at), interfaces)),
        None => Err(CallError::Refused {
            code: Code::InvalidParameterCombination,
            message: "A network interface with device index 0 and network card index 0 is required."
                .to_owned(),
        }),
    }
}

fn launched_interface(form: &Form) -> Result<FurtherInterface, CallError> {
    form.ignore(&["AssociatePublicIpAddress"]);
    let interface = FurtherInterface {
        seat: Seat {
            card: form.parsed("NetworkCardIndex")?.unwrap_or(0),
            device: form.parsed("DeviceIndex")?.unwrap_or(0),
        },
        interface: new_interface(form)?,
        delete_on_termination: form.flag("DeleteOnTermination")?.unwrap_or(true),
    };
    form.finish()?;
    Ok(interface)
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

pub(super) fn assign_ipv6(form: &Form) -> Result<AssignIpv6Addresses, CallError> {
    let eni = eni(form.required("NetworkInterfaceId")?)?;
    let (addresses, prefixes) = (form.parsed_list("Ipv6Addresses")?, form.parsed_list("Ipv6Prefix")?);
    Ok(AssignIpv6Addresses { eni, supply: ipv6(form, addresses, prefixes)? })
}

pub(super) fn unassign_ipv6(form: &Form) -> Result<UnassignIpv6Addresses, CallError> {
    Ok(UnassignIpv6Addresses {
        eni: eni(form.required("NetworkInterfaceId")?)?,
        addresses: form.parsed_list("Ipv6Addresses")?,
        prefixes: form.parsed_list("Ipv6Prefix")?,
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

fn ipv6_at_birth(form: &Form) -> Result<Ipv6Supply, CallError> {
    let addresses = form.members("Ipv6Addresses").into_iter().map(|member| {
        let address = member.parsed("Ipv6Address")?.ok_or_else(|| missing("Ipv6Addresses.Ipv6Address"))?;
        member.finish()?;
        Ok(address)
    });
    let addresses = addresses.collect::<Result<_, CallError>>()?;
    let prefixes = form.members("Ipv6Prefix").into_iter().map(|member| {
        let prefix = member.parsed("Ipv6Prefix")?.ok_or_else(|| missing("Ipv6Prefix"))?;
        member.finish()?;
        Ok(prefix)
    });
    let prefixes = prefixes.collect::<Result<_, CallError>>()?;
    ipv6(form, addresses, prefixes)
}

/// IPv6 supply, said in one of the four ways that EC2 knows; a count of zero says that there shall be none.
fn ipv6(form: &Form, exact: Vec<Ipv6Addr>, prefixes: Vec<Ipv6Net>) -> Result<Ipv6Supply, CallError> {
    let count: Option<u32> = form.parsed("Ipv6AddressCount")?;
    let prefix_count: Option<u32> = form.parsed("Ipv6PrefixCount")?;
    let mut ways = Vec::new();
    ways.extend(count.filter(|count| *count > 0).map(Ipv6Supply::Addresses));
    ways.extend(prefix_count.filter(|count| *count > 0).map(Ipv6Supply::Prefixes));
    ways.extend((!exact.is_empty()).then_some(Ipv6Supply::ExactAddresses(exact)));
    ways.extend((!prefixes.is_empty()).then_some(Ipv6Supply::ExactPrefixes(prefixes)));
    match (ways.pop(), ways.is_empty()) {
        (Some(way), true) => Ok(way),
        (None, _) if count.is_none() => Ok(Ipv6Supply::Usual),
        (None, _) => Ok(Ipv6Supply::Addresses(0)),
        // Another code than for IPv4, where EC2 speaks of a combination.
        (Some(_), false) => Err(CallError::Refused {
            code: Code::InvalidParameterValue,
            message: "Only one of ipv6-addresses, ipv6-address-count, ipv6-prefixes and ipv6-prefix-count may be given."
                .to_owned(),
        }),
    }
}

fn interface_type(form: &Form) -> Result<InterfaceType, CallError> {
    match form.text("InterfaceType") {
        None | Some("interface") => Ok(InterfaceType::Interface),
        Some("efa") => Ok(InterfaceType::Efa),
        Some("efa-only") => Ok(InterfaceType::EfaOnly),
        Some("branch" | "trunk") => Err(unsupported("This model has no trunk and branch interfaces.")),
        Some(other) => Err(invalid(other, "InterfaceType")),
    }
}

fn exclusive(what: &str) -> CallError {
    let message = format!("Only one of these may be given in one request: {what}.");
    CallError::Refused { code: Code::InvalidParameterCombination, message }
}

fn unsupported(message: &str) -> CallError {
    CallError::Refused { code: Code::UnsupportedOperation, message: message.to_owned() }
}
