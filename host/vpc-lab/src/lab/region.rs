//! A landscape in the model: the same world for the lab and for simulations of it.

use std::collections::BTreeMap;

use enid_core::ids::{InstanceId, VpcId};
use enid_core::time::Timestamp;
use enid_sim::ec2::addresses::Placement;
use enid_sim::ec2::instance::RunInstances;
use enid_sim::ec2::refusal::CallError;
use enid_sim::ec2::throttle::Throttling;
use enid_sim::ec2::{Config, Ec2, Tags};

use super::landscape::{Landscape, REGION};

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
}

impl Region {
    /// Builds the landscape in a fresh model, as of `now`.
    pub fn build(landscape: &Landscape, now: Timestamp) -> Result<Self, CallError> {
        let mut zones: Vec<String> = landscape.subnets.iter().map(|plot| plot.zone.to_owned()).collect();
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
        let mut subnets = Vec::new();
        for plot in &landscape.subnets {
            let subnet = ec2.add_subnet(&vpc, plot.zone, plot.cidr, plot_tags(plot.name))?;
            ec2.occupy(&subnet, &plot.taken)?;
            subnets.push(subnet);
        }
        let mut nodes = BTreeMap::new();
        for dwelling in &landscape.nodes {
            let request = RunInstances {
                tags: Tags::from([("Name".to_owned(), dwelling.name.clone())]),
                ..RunInstances::one(dwelling.instance_type, subnets[dwelling.subnet].clone())
            };
            nodes.insert(ec2.launch(now, &request)?, dwelling.name.clone());
        }
        Ok(Self { ec2, vpc, nodes })
    }
}

/// Subnets that pods may use say so by the incumbent's tag.
fn plot_tags(name: &str) -> Tags {
    Tags::from([("Name".to_owned(), name.to_owned()), ("kubernetes.io/role/cni".to_owned(), "1".to_owned())])
}
