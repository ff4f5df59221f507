//! The model and the network side by side: the model is right, the network follows.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use enid_core::ids::{InstanceId, VpcId};
use enid_core::time::Timestamp;
use enid_core::wiring::gateway_of;
use enid_sim::ec2::Ec2;
use enid_sim::ec2::instance::Instance;
use enid_sim::ec2::interface::NetworkInterface;
use ipnet::Ipv4Net;

use crate::fabric::{Fabric, FabricEni, FabricError, OUTSIDE};
use crate::lab::landscape::REGION;
use crate::lab::region::Region;
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
        let Region { ec2, vpc, nodes } = region;
        let network = Mutex::new(Network { fabric, shown: None, diverged: Vec::new() });
        Self { name, ec2: Arc::new(Mutex::new(ec2)), network, vpc, nodes }
    }

    /// The model, for the endpoints.
    pub(crate) fn ec2(&self) -> Arc<Mutex<Ec2>> {
        Arc::clone(&self.ec2)
    }

    /// Makes the network show the model as it is now. Cheap when nothing changed; blocks while it works.
    pub(crate) fn settle(&self) {
        // Taken first, and held: two callers must not show an older world after a newer one.
        let mut network = self.network();
        let (generation, wanted) = {
            let mut ec2 = lock(&self.ec2);
            ec2.advance(now());
            if network.shown == Some(ec2.generation()) {
                return;
            }
            (ec2.generation(), self.plugged(&ec2))
        };
        match network.fabric.converge(&wanted) {
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
                cidr: subnet.cidr,
                free_addresses: subnet.free(),
                free_blocks: subnet.free_blocks(),
            })
            .collect();
        subnets.sort_by_key(|subnet| subnet.cidr);
        let mut nodes: Vec<NodeStatus> = ec2
            .instances()
            .filter_map(|instance| {
                let name = self.nodes.get(&instance.id)?;
                let primary = ec2.interfaces_of(&instance.id).find(|eni| is_primary(instance, eni))?;
                Some(NodeStatus {
                    name: name.clone(),
                    instance: instance.id.clone(),
                    instance_type: instance.instance_type.name.clone(),
                    zone: instance.zone.clone(),
                    address: primary.primary,
                    namespace: footprint.nodes.get(name)?.clone(),
                })
            })
            .collect();
        nodes.sort_by(|a, b| a.name.cmp(&b.name));
        Status {
            name: self.name.clone(),
            region: REGION.to_owned(),
            ec2_endpoint: ec2_endpoint(),
            imds_endpoint: imds_endpoint(),
            vpc: self.vpc.clone(),
            vpc_namespace: footprint.vpc.clone(),
            inet_namespace: footprint.inet.clone(),
            outside: OUTSIDE,
            subnets,
            nodes,
            enis: ec2.interfaces().map(|eni| self.eni_status(eni)).collect(),
            drops: drops.unwrap_or_default(),
            calls: ec2.calls().into_iter().map(|(call, count)| (call.to_owned(), count)).collect(),
            diverged,
        }
    }

    /// A change that broke off leaves `shown` as it was, and the next one converges again.
    fn network(&self) -> MutexGuard<'_, Network> {
        self.network.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn eni_status(&self, eni: &NetworkInterface) -> EniStatus {
        let attached = eni.attachment.as_ref();
        EniStatus {
            id: eni.id.clone(),
            mac: eni.mac,
            subnet: eni.subnet.clone(),
            status: attached.map_or("available", |at| at.state.as_str()).to_owned(),
            attached: attached.and_then(|at| Some((self.nodes.get(&at.instance)?.clone(), at.seat.device))),
            primary_address: eni.primary,
            addresses: eni.secondary.clone(),
            prefixes: eni.prefixes.clone(),
        }
    }

    /// The ENIs whose links nodes have. Instances that are no nodes of the lab live in EC2 only.
    fn plugged(&self, ec2: &Ec2) -> Vec<FabricEni> {
        let mut plugged = Vec::new();
        for instance in ec2.instances() {
            let Some(node) = self.nodes.get(&instance.id) else { continue };
            plugged.extend(
                ec2.interfaces_of(&instance.id)
                    .filter(|eni| eni.is_plugged())
                    .filter_map(|eni| link_of(ec2, instance, node, eni)),
            );
        }
        plugged
    }
}

fn link_of(ec2: &Ec2, instance: &Instance, node: &str, eni: &NetworkInterface) -> Option<FabricEni> {
    let subnet = ec2.subnet(&eni.subnet)?.cidr;
    let device = eni.attachment.as_ref()?.seat.device;
    let own = Ipv4Net::new(eni.primary, subnet.prefix_len()).ok()?;
    Some(FabricEni {
        id: eni.id.clone(),
        node: node.to_owned(),
        ifname: format!("eth{device}").parse().ok()?,
        mac: eni.mac,
        primary: is_primary(instance, eni).then(|| (own, gateway_of(subnet))),
        addresses: eni.addresses().map(Ipv4Net::from).chain(eni.prefixes.iter().copied()).collect(),
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
