//! What EC2 and metadata answer to a daemon's calls, and what they say when they do not tell the truth.

use std::time::Duration;

use enid_core::cloud::{CloudEni, CloudError, Supply};
use enid_core::event::{CloudCall, CloudReply};
use enid_core::time::Timestamp;
use enid_engine::ports::Strategist;

use super::SimNode;
use crate::ec2::call::Call;

/// How long metadata takes to answer.
const METADATA_LATENCY: Duration = Duration::from_millis(1);

/// How far EC2 lags behind itself at most.
const LAG: Duration = Duration::from_secs(30);

/// What a look at the ENIs says instead of the truth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// Every other address and prefix is missing.
    Half,
    /// An ENI is missing: this one of them, counted around.
    Without(usize),
    /// What the last honest look said, unless that is longer ago than EC2 lags behind itself.
    Old,
    /// Nothing is there.
    Nothing,
}

impl Lie {
    fn instead_of(self, mut truth: Vec<CloudEni>, old: Option<&Vec<CloudEni>>) -> Vec<CloudEni> {
        match self {
            Lie::Half => {
                for eni in &mut truth {
                    eni.addresses = eni.addresses.iter().copied().step_by(2).collect();
                    eni.prefixes = eni.prefixes.iter().copied().skip(1).step_by(2).collect();
                }
                truth
            }
            Lie::Without(which) => {
                if let Some(which) = which.checked_rem(truth.len()) {
                    truth.remove(which);
                }
                truth
            }
            Lie::Old => old.cloned().unwrap_or(truth),
            Lie::Nothing => Vec::new(),
        }
    }
}

impl<S: Strategist> SimNode<S> {
    /// How long a call takes.
    pub(super) fn call_takes(&mut self, call: &CloudCall) -> Duration {
        modelled(call).map_or(METADATA_LATENCY, |call| self.ec2.latency(call))
    }

    pub(super) fn call(&mut self, call: &CloudCall) -> Result<CloudReply, CloudError> {
        let cluster = self.state.config().cluster.clone();
        let mut view = self.ec2.node_view(&self.instance, self.now);
        let identity = &self.identity;
        match call {
            CloudCall::Enis => {
                let truth = view.enis(identity)?;
                Ok(CloudReply::Enis(self.as_told(truth)))
            }
            CloudCall::MetadataEnis => {
                let truth = view.metadata_enis(identity)?;
                Ok(CloudReply::Enis(self.as_told(truth)))
            }
            CloudCall::VpcRanges => view.vpc_ranges(identity).map(CloudReply::VpcRanges),
            CloudCall::Subnets => {
                view.subnets(&identity.vpc, &identity.zone, cluster.as_deref()).map(CloudReply::Subnets)
            }
            CloudCall::Orphans => view.orphans(identity, cluster.as_deref()).map(CloudReply::Orphans),
            CloudCall::Create(new) => view.create_eni(new).map(|eni| CloudReply::Created(Box::new(eni))),
            CloudCall::Attach { eni, seat } => {
                view.attach_eni(identity, eni, *seat).map(CloudReply::Attached)
            }
            CloudCall::DeleteWithInstance { eni, attachment } => {
                view.delete_with_instance(eni, attachment).map(|()| CloudReply::Done)
            }
            CloudCall::SetSecurityGroups { eni, groups } => {
                view.set_security_groups(eni, groups).map(|()| CloudReply::Done)
            }
            CloudCall::Detach { attachment } => view.detach_eni(attachment).map(|()| CloudReply::Done),
            CloudCall::Delete { eni } => view.delete_eni(eni).map(|()| CloudReply::Done),
            CloudCall::Assign { eni, supply } => view.assign(eni, *supply).map(CloudReply::Assigned),
            CloudCall::Unassign { eni, give_back } => {
                view.unassign(eni, give_back).map(|()| CloudReply::Done)
            }
        }
    }

    fn as_told(&mut self, truth: Vec<CloudEni>) -> Vec<CloudEni> {
        match self.faults.lies.pop_front() {
            Some(lie) => {
                self.lied_to = true;
                let lags = |at: &Timestamp| self.now.since(*at) <= LAG;
                let old = self.last_told.as_ref().filter(|(at, _)| lags(at)).map(|(_, told)| told);
                lie.instead_of(truth, old)
            }
            None => {
                self.last_told = Some((self.now, truth.clone()));
                truth
            }
        }
    }
}

/// The API of a call to EC2; metadata has none.
fn modelled(call: &CloudCall) -> Option<Call> {
    Some(match call {
        CloudCall::MetadataEnis | CloudCall::VpcRanges => return None,
        CloudCall::Enis | CloudCall::Orphans => Call::DescribeNetworkInterfaces,
        CloudCall::Subnets => Call::DescribeSubnets,
        CloudCall::Create(_) => Call::CreateNetworkInterface,
        CloudCall::Attach { .. } => Call::AttachNetworkInterface,
        CloudCall::DeleteWithInstance { .. } | CloudCall::SetSecurityGroups { .. } => {
            Call::ModifyNetworkInterfaceAttribute
        }
        CloudCall::Detach { .. } => Call::DetachNetworkInterface,
        CloudCall::Delete { .. } => Call::DeleteNetworkInterface,
        CloudCall::Assign { supply: Supply::Ipv6Prefixes(_), .. } => Call::AssignIpv6Addresses,
        CloudCall::Assign { supply: Supply::Addresses(_) | Supply::Prefixes(_), .. } => {
            Call::AssignPrivateIpAddresses
        }
        CloudCall::Unassign { .. } => Call::UnassignPrivateIpAddresses,
    })
}
