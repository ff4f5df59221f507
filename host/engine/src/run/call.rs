//! A call to EC2 as data becomes a call of the port.

use enid_core::cloud::{CloudError, NodeIdentity};
use enid_core::event::{CloudCall, CloudReply};

use crate::ports::Cloud;

/// Makes one call and wraps its answer.
pub async fn perform_call<C: Cloud>(
    cloud: &C,
    identity: &NodeIdentity,
    cluster: Option<&str>,
    call: &CloudCall,
) -> Result<CloudReply, CloudError> {
    Ok(match call {
        CloudCall::Enis => CloudReply::Enis(cloud.enis(identity).await?),
        CloudCall::MetadataEnis => CloudReply::Enis(cloud.metadata_enis(identity).await?),
        CloudCall::VpcRanges => CloudReply::VpcRanges(cloud.vpc_ranges(identity).await?),
        CloudCall::Subnets => {
            CloudReply::Subnets(cloud.subnets(&identity.vpc, &identity.zone, cluster).await?)
        }
        CloudCall::Orphans => CloudReply::Orphans(cloud.orphans(identity, cluster).await?),
        CloudCall::Create(new) => CloudReply::Created(Box::new(cloud.create_eni(new).await?)),
        CloudCall::Attach { eni, seat } => {
            CloudReply::Attached(cloud.attach_eni(identity, eni, *seat).await?)
        }
        CloudCall::DeleteWithInstance { eni, attachment } => {
            cloud.delete_with_instance(eni, attachment).await?;
            CloudReply::Done
        }
        CloudCall::SetSecurityGroups { eni, groups } => {
            cloud.set_security_groups(eni, groups).await?;
            CloudReply::Done
        }
        CloudCall::Detach { attachment } => {
            cloud.detach_eni(attachment).await?;
            CloudReply::Done
        }
        CloudCall::Delete { eni } => {
            cloud.delete_eni(eni).await?;
            CloudReply::Done
        }
        CloudCall::Assign { eni, supply } => CloudReply::Assigned(cloud.assign(eni, *supply).await?),
        CloudCall::Unassign { eni, give_back } => {
            cloud.unassign(eni, give_back).await?;
            CloudReply::Done
        }
    })
}
