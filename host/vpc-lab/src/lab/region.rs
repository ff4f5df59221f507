//! A landscape in the model: the same world for the lab and for simulations of it.

use std::collections::BTreeMap;
use std::time::Duration;

use enid_core::ids::{InstanceId, SubnetId, VpcId};
use enid_core::time::Timestamp;
use enid_sim::ec2::addresses::Placement;
use enid_sim::ec2::call::UnknownCall;
use enid_sim::ec2::fault::{Fault, FaultKind};
use enid_sim::ec2::instance::RunInstances;
use enid_sim::ec2::refusal::{CallError, Code};
use enid_sim::ec2::throttle::Throttling;
use enid_sim::ec2::{Config, Ec2, Tags};

use super::deed::{Breakage, Deed};
use super::landscape::{Dwelling, Landscape, Plot, REGION};

/// The lab's chance: every lab has the same ids, so that output can be compared.
const SEED: u64 = 7;

/// The region that a landscape describes, before it has a network.
pub struct Region {
    /// The model.
    pub ec2: Ec2,
    /// Its VPC.
    pub vpc: VpcId,
    /// Node names by instance.
    pub nodes: BTreeMap<InstanceId, String>,
    /// Names of instances that are not of the cluster.
    pub neighbours: BTreeMap<InstanceId, String>,
}

/// Why a landscape is none.
#[derive(Debug, thiserror::Error)]
pub enum RegionError {
    /// EC2 would not have it.
    #[error(transparent)]
    Refused(#[from] CallError),
    /// An instance stands nowhere.
    #[error("`{dwelling}` is to be in subnet {subnet}, and the landscape has {subnets}, counted from 0")]
    NoSuchSubnet {
        /// The instance's name.
        dwelling: String,
        /// The index.
        subnet: usize,
        /// How many there are.
        subnets: usize,
    },
}

impl Region {
    /// Builds the landscape in a fresh model, as of `now`.
    pub fn build(landscape: &Landscape, now: Timestamp) -> Result<Self, RegionError> {
        let mut zones: Vec<String> = landscape.subnets.iter().map(|plot| plot.zone.clone()).collect();
        zones.sort();
        zones.dedup();
        let config = Config {
            region: REGION.to_owned(),
            zones,
            throttling: Throttling::Documented,
            placement: Placement::Ascending,
            ..Config::default()
        };
        let mut ec2 = Ec2::new(SEED, config);
        let vpc = ec2.add_vpc(landscape.vpc)?;
        for range in &landscape.ranges {
            ec2.add_vpc_cidr(&vpc, *range)?;
        }
        if let Some(range) = landscape.ipv6 {
            ec2.add_ipv6_range(&vpc, range)?;
        }
        for name in &landscape.security_groups {
            ec2.add_security_group(&vpc, name)?;
        }
        let mut subnets = Vec::new();
        for plot in &landscape.subnets {
            subnets.push(lay_out(&mut ec2, &vpc, plot)?);
        }
        let mut settle = |dwellings: &[Dwelling]| -> Result<BTreeMap<InstanceId, String>, RegionError> {
            let mut settled = BTreeMap::new();
            for dwelling in dwellings {
                let nowhere = || RegionError::NoSuchSubnet {
                    dwelling: dwelling.name.clone(),
                    subnet: dwelling.subnet,
                    subnets: subnets.len(),
                };
                let subnet = subnets.get(dwelling.subnet).ok_or_else(nowhere)?;
                let request = RunInstances {
                    tags: Tags::from([("Name".to_owned(), dwelling.name.clone())]),
                    ..RunInstances::one(&dwelling.instance_type, subnet.clone())
                };
                settled.insert(ec2.launch(now, &request)?, dwelling.name.clone());
            }
            Ok(settled)
        };
        let (nodes, neighbours) = (settle(&landscape.nodes)?, settle(&landscape.neighbours)?);
        Ok(Self { ec2, vpc, nodes, neighbours })
    }
}

/// Makes a subnet.
fn lay_out(ec2: &mut Ec2, vpc: &VpcId, plot: &Plot) -> Result<SubnetId, CallError> {
    let subnet = ec2.add_subnet(vpc, &plot.zone, plot.cidr, plot.tags.clone())?;
    if let Some(range) = plot.ipv6 {
        ec2.give_ipv6(&subnet, range)?;
    }
    ec2.occupy(&subnet, &plot.taken)?;
    Ok(subnet)
}

/// Lets somebody else do something in the VPC.
pub(crate) fn perform(ec2: &mut Ec2, vpc: &VpcId, deed: &Deed) -> Result<(), CallError> {
    match deed {
        Deed::AddSubnet(plot) => lay_out(ec2, vpc, plot).map(drop),
        Deed::Fragment(subnet) => ec2.fragment(subnet).map(drop),
        Deed::Occupy { subnet, addresses } => ec2.occupy(subnet, addresses),
        Deed::Vacate(subnet) => ec2.vacate(subnet),
        Deed::Break { api, times, breakage } => break_calls(ec2, api.as_deref(), *times, *breakage),
        Deed::Mend => {
            ec2.clear_faults();
            Ok(())
        }
    }
}

fn break_calls(ec2: &mut Ec2, api: Option<&str>, times: u32, breakage: Breakage) -> Result<(), CallError> {
    let wrong = |why: String| CallError::Refused { code: Code::InvalidParameterValue, message: why };
    let call = api.map(|api| api.parse().map_err(|why: UnknownCall| wrong(why.to_string()))).transpose()?;
    let kind = match breakage {
        Breakage::Slow(millis) => FaultKind::Delay(Duration::from_millis(millis)),
        Breakage::Lost => FaultKind::LostReply,
        Breakage::Throttled => FaultKind::Throttle,
        Breakage::Failed => FaultKind::Error(Code::InternalError),
    };
    ec2.inject(Fault { call, times, kind }).map_err(|why| wrong(why.to_string()))
}
