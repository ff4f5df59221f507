//! The model and the network side by side: the model is right, the network follows.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use enid_core::ids::{InstanceId, VpcId};
use enid_core::time::Timestamp;
use enid_core::wiring::gateway_of;
use enid_sim::ec2::Ec2;
use enid_sim::ec2::instance::Instance;
use enid_sim::ec2::interface::{InterfaceType, NetworkInterface};
use enid_sim::ec2::refusal::CallError;
use enid_sim::ec2::vpc::Vpc;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::fabric::{
    CORPORATE, Fabric, FabricEni, FabricError, Footprint, Ground, OUTSIDE, OUTSIDE_V6, Primary,
};
use crate::lab::deed::Deed;
use crate::lab::landscape::{EC2_ADDRESS, IMDS_ADDRESS, REGION};
use crate::lab::region::{self, Region};
use crate::lab::status::{EniStatus, NodeStatus, Status, SubnetStatus};
use crate::lab::{ec2_endpoint, imds_endpoint};
use crate::wire::{lock, now};

/// A region with its network.
pub(crate) struct World {
    name: String,
    ec2: Arc<Mutex<Ec2>>,
    network: Mutex<Network>,
    vpc: VpcId,
    /// Node names by instance.
    nodes: BTreeMap<InstanceId, String>,
    /// Names of instances that are not of the cluster.
    neighbours: BTreeMap<InstanceId, String>,
}

/// The fabric and how far it has followed the model.
struct Network {
    fabric: Fabric,
    /// The model's generation that the fabric shows; `None` when it shows none completely.
    shown: Option<u64>,
    diverged: Vec<String>,
}

impl World {
    pub(crate) fn new(name: String, region: Region, fabric: Fabric) -> Self {
        let Region { ec2, vpc, nodes, neighbours } = region;
        let network = Mutex::new(Network { fabric, shown: None, diverged: Vec::new() });
        Self { name, ec2: Arc::new(Mutex::new(ec2)), network, vpc, nodes, neighbours }
    }

    /// The model, for the endpoints.
    pub(crate) fn ec2(&self) -> Arc<Mutex<Ec2>> {
        Arc::clone(&self.ec2)
    }

    /// Makes the network show the model as it is now. Cheap when nothing changed; blocks while it works.
    pub(crate) fn settle(&self) {
        // Taken first, and held: two callers must not show an older world after a newer one.
        let mut network = self.network();
        let (generation, ground, wanted) = {
            let mut ec2 = lock(&self.ec2);
            ec2.advance(now());
            if network.shown == Some(ec2.generation()) {
                return;
            }
            (ec2.generation(), ground(&ec2, &self.vpc), self.plugged(&ec2))
        };
        let lain = network.fabric.lie_on(&ground).map_err(|failure| vec![failure]);
        match lain.and_then(|_| network.fabric.converge(&wanted)) {
            Ok(changes) => {
                tracing::debug!(?changes, generation, "network follows");
                network.shown = Some(generation);
                network.diverged.clear();
            }
            Err(failures) => {
                network.shown = None;
                network.diverged = failures.iter().map(chain).collect();
                tracing::error!(failures = ?network.diverged, "the network does not follow EC2");
            }
        }
    }

    /// Lets others do something in the VPC, and the network show it.
    pub(crate) fn perform(&self, deed: &Deed) -> Result<(), CallError> {
        region::perform(&mut lock(&self.ec2), &self.vpc, deed)?;
        self.settle();
        Ok(())
    }

    /// When the model next changes by itself.
    pub(crate) fn next_change(&self) -> Option<Timestamp> {
        lock(&self.ec2).next_change()
    }

    /// The world for people.
    pub(crate) fn status(&self) -> Status {
        self.settle();
        let network = self.network();
        let drops = network.fabric.drops();
        let mut diverged = network.diverged.clone();
        diverged.extend(drops.as_ref().err().map(chain));
        let footprint = network.fabric.footprint();
        let ec2 = lock(&self.ec2);
        let mut subnets: Vec<SubnetStatus> = ec2
            .subnets()
            .map(|subnet| SubnetStatus {
                id: subnet.id.clone(),
                zone: subnet.zone.clone(),
                name: subnet.tags.get("Name").cloned().unwrap_or_default(),
                cidr: subnet.cidr,
                ipv6_cidr: subnet.ipv6_cidr,
                free_addresses: subnet.free(),
                free_blocks: subnet.free_blocks(),
            })
            .collect();
        subnets.sort_by_key(|subnet| subnet.cidr);
        let groups = ec2.security_groups().filter(|group| group.vpc == self.vpc);
        Status {
            name: self.name.clone(),
            region: REGION.to_owned(),
            ec2_endpoint: ec2_endpoint(),
            imds_endpoint: imds_endpoint(),
            vpc: self.vpc.clone(),
            ranges: ec2.vpcs().filter(|vpc| vpc.id == self.vpc).flat_map(ranges).collect(),
            security_groups: groups.map(|group| (group.name.clone(), group.id.clone())).collect(),
            vpc_namespace: footprint.vpc.clone(),
            inet_namespace: footprint.inet.clone(),
            outside: OUTSIDE,
            outside_ipv6: OUTSIDE_V6,
            corporate: CORPORATE,
            subnets,
            nodes: dwellers(&ec2, footprint, &self.nodes),
            neighbours: dwellers(&ec2, footprint, &self.neighbours),
            enis: ec2.interfaces().map(|eni| self.eni_status(eni, &network.fabric)).collect(),
            drops: drops.unwrap_or_default(),
            calls: ec2.calls().into_iter().map(|(call, count)| (call.to_owned(), count)).collect(),
            diverged,
        }
    }

    /// A change that broke off leaves `shown` as it was, and the next one converges again.
    fn network(&self) -> MutexGuard<'_, Network> {
        self.network.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What an instance is called in the lab.
    fn dweller(&self, instance: &InstanceId) -> Option<&String> {
        self.nodes.get(instance).or_else(|| self.neighbours.get(instance))
    }

    fn eni_status(&self, eni: &NetworkInterface, fabric: &Fabric) -> EniStatus {
        let attached = eni.attachment.as_ref();
        EniStatus {
            id: eni.id.clone(),
            mac: eni.mac,
            subnet: eni.subnet.clone(),
            status: attached.map_or("available", |at| at.state.as_str()).to_owned(),
            attached: attached.and_then(|at| Some((self.dweller(&at.instance)?.clone(), at.seat.device))),
            card: attached.map_or(0, |at| at.seat.card),
            interface_type: eni.interface_type.as_str().to_owned(),
            link: fabric.ifname(&eni.id).cloned(),
            primary_address: eni.primary,
            addresses: eni.secondary.clone(),
            prefixes: eni.prefixes.clone(),
            ipv6_addresses: eni.ipv6_addresses.clone(),
            ipv6_prefixes: eni.ipv6_prefixes.clone(),
        }
    }

    /// The ENIs whose links namespaces have. Other instances live in EC2 only.
    fn plugged(&self, ec2: &Ec2) -> Vec<FabricEni> {
        let mut plugged = Vec::new();
        for instance in ec2.instances() {
            let Some(node) = self.dweller(&instance.id) else { continue };
            plugged.extend(
                ec2.interfaces_of(&instance.id)
                    .filter(|eni| eni.is_plugged())
                    .filter_map(|eni| link_of(ec2, instance, node, eni)),
            );
        }
        plugged
    }
}

/// Instances that have a name and a namespace, in order of their names.
fn dwellers(ec2: &Ec2, footprint: &Footprint, names: &BTreeMap<InstanceId, String>) -> Vec<NodeStatus> {
    let found = ec2.instances().filter_map(|instance| {
        let name = names.get(&instance.id)?;
        let primary = ec2.interfaces_of(&instance.id).find(|eni| is_primary(instance, eni))?;
        Some(NodeStatus {
            name: name.clone(),
            instance: instance.id.clone(),
            instance_type: instance.instance_type.name.clone(),
            zone: instance.zone.clone(),
            address: primary.primary?,
            ipv6: primary.ipv6_addresses.first().copied(),
            namespace: footprint.nodes.get(name)?.clone(),
        })
    });
    let mut dwellers: Vec<NodeStatus> = found.collect();
    dwellers.sort_by(|a, b| a.name.cmp(&b.name));
    dwellers
}

/// What the network lies on: the VPC's ranges, and the router in each of its subnets.
pub(super) fn ground(ec2: &Ec2, vpc: &VpcId) -> Ground {
    let gateways = ec2.subnets().filter(|subnet| subnet.vpc == *vpc).map(|subnet| gateway_of(subnet.cidr));
    Ground {
        ranges: ec2.vpcs().filter(|known| known.id == *vpc).flat_map(ranges).collect(),
        router_addresses: gateways.chain([EC2_ADDRESS, IMDS_ADDRESS]).collect(),
    }
}

fn ranges(vpc: &Vpc) -> impl Iterator<Item = IpNet> + '_ {
    let (ipv4, ipv6) = (vpc.cidrs.iter().copied(), vpc.ipv6_cidrs.iter().copied());
    ipv4.map(IpNet::from).chain(ipv6.map(IpNet::from))
}

/// The link of an attached ENI; an EFA-only one has none.
fn link_of(ec2: &Ec2, instance: &Instance, node: &str, eni: &NetworkInterface) -> Option<FabricEni> {
    match eni.interface_type {
        InterfaceType::Interface | InterfaceType::Efa => {}
        InterfaceType::EfaOnly => return None,
    }
    let subnet = ec2.subnet(&eni.subnet)?.cidr;
    let primary = Primary {
        address: Ipv4Net::new(eni.primary?, subnet.prefix_len()).ok()?,
        gateway: gateway_of(subnet),
        ipv6: eni.ipv6_addresses.first().copied(),
    };
    let ipv4 = eni.addresses().map(Ipv4Net::from).chain(eni.prefixes.iter().copied());
    let ipv6 = eni.ipv6_addresses.iter().copied().map(Ipv6Net::from).chain(eni.ipv6_prefixes.iter().copied());
    Some(FabricEni {
        id: eni.id.clone(),
        node: node.to_owned(),
        seat: eni.attachment.as_ref()?.seat,
        mac: eni.mac,
        primary: is_primary(instance, eni).then_some(primary),
        addresses: ipv4.map(IpNet::from).chain(ipv6.map(IpNet::from)).collect(),
    })
}

fn is_primary(instance: &Instance, eni: &NetworkInterface) -> bool {
    eni.attachment.as_ref().is_some_and(|at| at.seat == instance.primary_seat())
}

fn chain(error: &FabricError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}
