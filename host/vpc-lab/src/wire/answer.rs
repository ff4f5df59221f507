//! One API each: parameters in, the answer's body out.

use enid_core::time::Timestamp;
use enid_sim::ec2::Ec2;
use enid_sim::ec2::assignment::Given;
use enid_sim::ec2::call::Call;
use enid_sim::ec2::describe::{Page, Query};
use enid_sim::ec2::instance::Instance;
use enid_sim::ec2::ipv6::Ipv6Given;
use enid_sim::ec2::refusal::{CallError, Code};
use ipnet::Ipv4Net;

use super::form::{Form, missing};
use super::request;
use super::resource::{
    instance, instance_type, interface, security_group, state, subnet, tagged_resource, vpc, vpc_range, zone,
};
use super::xml::Xml;

/// Does what `form` asks of `call`.
pub(super) fn answer(ec2: &mut Ec2, now: Timestamp, call: Call, form: &Form) -> Result<Xml, CallError> {
    form.ignore(&["Action", "Version"]);
    let mut world = World { ec2, now, call, form };
    match call {
        Call::AssignIpv6Addresses => world.assign_ipv6(),
        Call::AssignPrivateIpAddresses => world.assign(),
        Call::AssociateVpcCidrBlock => world.associate(),
        Call::AttachNetworkInterface => world.attach(),
        Call::CreateNetworkInterface => world.create(),
        Call::CreateTags => world.create_tags(),
        Call::DeleteNetworkInterface => world.delete(),
        Call::DeleteTags => world.delete_tags(),
        Call::DescribeAvailabilityZones => world.zones(),
        Call::DescribeInstanceTypes => world.instance_types(),
        Call::DescribeInstances => world.instances(),
        Call::DescribeNetworkInterfaces => world.interfaces(),
        Call::DescribeSecurityGroups => world.security_groups(),
        Call::DescribeSubnets => world.subnets(),
        Call::DescribeTags => world.tags(),
        Call::DescribeVpcs => world.vpcs(),
        Call::DetachNetworkInterface => world.detach(),
        Call::ModifyNetworkInterfaceAttribute => world.modify(),
        Call::RunInstances => world.run(),
        Call::TerminateInstances => world.terminate(),
        Call::UnassignIpv6Addresses => world.unassign_ipv6(),
        Call::UnassignPrivateIpAddresses => world.unassign(),
    }
}

/// The model at one moment, and what is asked of it.
struct World<'a> {
    ec2: &'a mut Ec2,
    now: Timestamp,
    call: Call,
    form: &'a Form,
}

impl World<'_> {
    /// After all parameters are read: refuses unknown ones and stops a dry run.
    fn checked(&mut self) -> Result<(), CallError> {
        let dry = self.form.flag("DryRun")?.unwrap_or(false);
        self.form.finish()?;
        if dry { Err(self.ec2.dry_run(self.now, self.call)) } else { Ok(()) }
    }

    fn assign(&mut self) -> Result<Xml, CallError> {
        let request = request::assign(self.form)?;
        self.checked()?;
        let Given { addresses, prefixes } = self.ec2.assign_private_ip_addresses(self.now, &request)?;
        let mut xml = Xml::default();
        xml.leaf("networkInterfaceId", &request.eni);
        xml.set("assignedPrivateIpAddressesSet", addresses, |xml, it| xml.leaf("privateIpAddress", it));
        xml.set("assignedIpv4PrefixSet", prefixes, |xml, it| xml.leaf("ipv4Prefix", it));
        Ok(xml)
    }

    fn unassign(&mut self) -> Result<Xml, CallError> {
        let request = request::unassign(self.form)?;
        self.checked()?;
        self.ec2.unassign_private_ip_addresses(self.now, &request)?;
        Ok(done())
    }

    fn assign_ipv6(&mut self) -> Result<Xml, CallError> {
        let request = request::assign_ipv6(self.form)?;
        self.checked()?;
        let Ipv6Given { addresses, prefixes } = self.ec2.assign_ipv6_addresses(self.now, &request)?;
        let mut xml = Xml::default();
        xml.leaf("networkInterfaceId", &request.eni);
        xml.texts("assignedIpv6Addresses", addresses);
        xml.texts("assignedIpv6PrefixSet", prefixes);
        Ok(xml)
    }

    fn unassign_ipv6(&mut self) -> Result<Xml, CallError> {
        let request = request::unassign_ipv6(self.form)?;
        self.checked()?;
        self.ec2.unassign_ipv6_addresses(self.now, &request)?;
        let mut xml = Xml::default();
        xml.leaf("networkInterfaceId", &request.eni);
        xml.texts("unassignedIpv6Addresses", request.addresses);
        xml.texts("unassignedIpv6PrefixSet", request.prefixes);
        Ok(xml)
    }

    fn associate(&mut self) -> Result<Xml, CallError> {
        let id = request::vpc(self.form.required("VpcId")?)?;
        let cidr: Ipv4Net = self.form.parsed("CidrBlock")?.ok_or_else(|| missing("CidrBlock"))?;
        self.checked()?;
        let vpc = self.ec2.associate_vpc_cidr_block(self.now, &id, cidr)?;
        let mut xml = Xml::default();
        xml.leaf("vpcId", &id);
        let index = vpc.cidrs.iter().position(|range| *range == cidr);
        if let Some(index) = index {
            xml.element("cidrBlockAssociation", |xml| vpc_range(xml, &vpc, index, &cidr));
        }
        Ok(xml)
    }

    fn create(&mut self) -> Result<Xml, CallError> {
        let request = request::create_network_interface(self.form)?;
        self.checked()?;
        let eni = self.ec2.create_network_interface(self.now, &request)?;
        let mut xml = Xml::default();
        xml.element("networkInterface", |xml| interface(xml, self.ec2, &eni));
        if let Some(token) = &request.client_token {
            xml.leaf("clientToken", token);
        }
        Ok(xml)
    }

    fn delete(&mut self) -> Result<Xml, CallError> {
        let eni = request::eni(self.form.required("NetworkInterfaceId")?)?;
        self.checked()?;
        self.ec2.delete_network_interface(self.now, &eni)?;
        Ok(done())
    }

    fn attach(&mut self) -> Result<Xml, CallError> {
        let eni = request::eni(self.form.required("NetworkInterfaceId")?)?;
        let instance = request::instance(self.form.required("InstanceId")?)?;
        let seat = request::seat(self.form)?;
        self.checked()?;
        let attachment = self.ec2.attach_network_interface(self.now, &eni, &instance, seat)?;
        let mut xml = Xml::default();
        xml.leaf("attachmentId", attachment);
        xml.leaf("networkCardIndex", seat.card);
        Ok(xml)
    }

    fn detach(&mut self) -> Result<Xml, CallError> {
        let attachment = request::attachment(self.form.required("AttachmentId")?)?;
        // Forced or not, the model detaches cleanly.
        self.form.flag("Force")?;
        self.checked()?;
        self.ec2.detach_network_interface(self.now, &attachment)?;
        Ok(done())
    }

    fn modify(&mut self) -> Result<Xml, CallError> {
        let eni = request::eni(self.form.required("NetworkInterfaceId")?)?;
        let change = request::change(self.form)?;
        self.checked()?;
        self.ec2.modify_network_interface_attribute(self.now, &eni, &change)?;
        Ok(done())
    }

    fn create_tags(&mut self) -> Result<Xml, CallError> {
        let (resources, tags) = request::tagging(self.form)?;
        self.checked()?;
        self.ec2.create_tags(self.now, &resources, &tags)?;
        Ok(done())
    }

    fn delete_tags(&mut self) -> Result<Xml, CallError> {
        let (resources, tags) = request::untagging(self.form)?;
        self.checked()?;
        self.ec2.delete_tags(self.now, &resources, &tags)?;
        Ok(done())
    }

    fn run(&mut self) -> Result<Xml, CallError> {
        let request = request::run_instances(self.form)?;
        self.checked()?;
        let launched = self.ec2.run_instances(self.now, &request)?;
        let instances: Vec<Instance> =
            self.ec2.instances().filter(|instance| launched.contains(&instance.id)).cloned().collect();
        let mut xml = Xml::default();
        self.reservation(&mut xml, &instances);
        Ok(xml)
    }

    fn terminate(&mut self) -> Result<Xml, CallError> {
        let ids = self.form.list("InstanceId");
        if ids.is_empty() {
            return Err(missing("InstanceId"));
        }
        let ids = ids.into_iter().map(request::instance).collect::<Result<Vec<_>, _>>()?;
        self.form.ignore(&["Force", "SkipOsShutdown"]);
        self.checked()?;
        let changes = self.ec2.terminate_instances(self.now, &ids)?;
        let mut xml = Xml::default();
        xml.set("instancesSet", changes, |xml, (id, before, after)| {
            xml.leaf("instanceId", id);
            state(xml, "currentState", after);
            state(xml, "previousState", before);
        });
        Ok(xml)
    }

    fn instances(&mut self) -> Result<Xml, CallError> {
        self.form.ignore(&["IncludeManagedResources"]);
        let query = request::query(self.form, "InstanceId", request::instance)?;
        self.checked()?;
        let Page { items, next_token } = self.ec2.describe_instances(self.now, &query)?;
        let mut reservations: Vec<&str> =
            items.iter().map(|instance| instance.reservation.as_str()).collect();
        reservations.sort_unstable();
        reservations.dedup();
        let mut xml = Xml::default();
        xml.set("reservationSet", reservations, |xml, reservation| {
            let own = items.iter().filter(|instance| instance.reservation == reservation);
            let own: Vec<Instance> = own.cloned().collect();
            self.reservation(xml, &own);
        });
        xml.next_token(next_token.as_deref());
        Ok(xml)
    }

    fn reservation(&self, xml: &mut Xml, instances: &[Instance]) {
        if let Some(first) = instances.first() {
            xml.leaf("reservationId", &first.reservation);
        }
        xml.leaf("ownerId", &self.ec2.config().account);
        xml.set("groupSet", None::<()>, |_, ()| {});
        xml.set("instancesSet", instances.iter().enumerate(), |xml, (index, it)| {
            instance(xml, self.ec2, it, index);
        });
    }

    fn interfaces(&mut self) -> Result<Xml, CallError> {
        self.form.ignore(&["IncludeManagedResources"]);
        let query = request::query(self.form, "NetworkInterfaceId", request::eni)?;
        self.checked()?;
        let page = self.ec2.describe_network_interfaces(self.now, &query)?;
        Ok(self.page("networkInterfaceSet", page, |xml, ec2, it| interface(xml, ec2, &it)))
    }

    fn security_groups(&mut self) -> Result<Xml, CallError> {
        let mut query = request::query(self.form, "GroupId", request::group)?;
        let names: Vec<String> = self.form.list("GroupName").into_iter().map(str::to_owned).collect();
        if !names.is_empty() {
            query
                .filters
                .push(enid_sim::ec2::filter::Filter { name: "group-name".to_owned(), values: names });
        }
        self.checked()?;
        let page = self.ec2.describe_security_groups(self.now, &query)?;
        Ok(self.page("securityGroupInfo", page, |xml, ec2, it| security_group(xml, ec2, &it)))
    }

    fn subnets(&mut self) -> Result<Xml, CallError> {
        let query = request::query(self.form, "SubnetId", request::subnet)?;
        self.checked()?;
        let page = self.ec2.describe_subnets(self.now, &query)?;
        Ok(self.page("subnetSet", page, |xml, ec2, it| subnet(xml, ec2, &it)))
    }

    fn vpcs(&mut self) -> Result<Xml, CallError> {
        let query = request::query(self.form, "VpcId", request::vpc)?;
        self.checked()?;
        let page = self.ec2.describe_vpcs(self.now, &query)?;
        Ok(self.page("vpcSet", page, |xml, ec2, it| vpc(xml, ec2, &it)))
    }

    fn zones(&mut self) -> Result<Xml, CallError> {
        self.form.ignore(&["AllAvailabilityZones"]);
        let mut query = request::query(self.form, "ZoneName", |name| Ok(name.to_owned()))?;
        let ids: Vec<String> = self.form.list("ZoneId").into_iter().map(str::to_owned).collect();
        if !ids.is_empty() {
            query.filters.push(enid_sim::ec2::filter::Filter { name: "zone-id".to_owned(), values: ids });
        }
        self.checked()?;
        let page = self.ec2.describe_availability_zones(self.now, &query)?;
        Ok(self.page("availabilityZoneInfo", page, |xml, ec2, it| zone(xml, ec2, &it)))
    }

    fn instance_types(&mut self) -> Result<Xml, CallError> {
        self.form.ignore(&["IncludeUnsupportedInRegion"]);
        let query = request::query(self.form, "InstanceType", |name| Ok(name.to_owned()))?;
        self.checked()?;
        let page = self.ec2.describe_instance_types(self.now, &query)?;
        Ok(self.page("instanceTypeSet", page, |xml, _, it| instance_type(xml, &it)))
    }

    fn tags(&mut self) -> Result<Xml, CallError> {
        let none = |name: &str| {
            let message = format!("The parameter {name} is not recognized");
            Err::<String, _>(CallError::Refused { code: Code::UnknownParameter, message })
        };
        let query: Query<String> = request::query(self.form, "ResourceId", none)?;
        self.checked()?;
        let page = self.ec2.describe_tags(self.now, &query)?;
        Ok(self.page("tagSet", page, |xml, _, it| tagged_resource(xml, &it)))
    }

    fn page<T>(&self, set: &str, page: Page<T>, write: impl Fn(&mut Xml, &Ec2, T)) -> Xml {
        let mut xml = Xml::default();
        xml.set(set, page.items, |xml, item| write(xml, self.ec2, item));
        xml.next_token(page.next_token.as_deref());
        xml
    }
}

fn done() -> Xml {
    let mut xml = Xml::default();
    xml.leaf("return", true);
    xml
}
