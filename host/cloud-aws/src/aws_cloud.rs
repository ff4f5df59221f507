//! The `Cloud` port over the AWS SDK.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_config::environment::EnvironmentVariableRegionProvider;
use aws_config::meta::region::ProvideRegion;
use aws_config::provider_config::ProviderConfig;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{AppName, BehaviorVersion, Region};
use aws_sdk_ec2::Client;
use aws_sdk_ec2::types::{
    Filter, InstanceType as InstanceTypeName, Ipv4PrefixSpecification, NetworkInterface,
    NetworkInterfaceAttachmentChanges, ResourceType, Tag, TagSpecification,
};
use aws_smithy_http_client::Builder as HttpClientBuilder;
use enid_core::cloud::{
    Assigned, CloudEni, CloudError, CloudErrorKind, CloudSubnet, NewEni, NodeIdentity, Orphan, Supply,
    VpcRanges,
};
use enid_core::ids::{EniAttachmentId, EniId, SecurityGroupId, SubnetId, VpcId};
use enid_core::limits::InstanceType;
use enid_core::wiring::Seat;
use enid_engine::ports::Cloud;
use ipnet::Ipv4Net;
use tokio::sync::OnceCell;
use tokio::time::timeout;

use crate::failure::{self, IMDS, failed, unreadable};
use crate::instance_type;
use crate::metadata::Metadata;
use crate::network_interface::{self, INSTANCE_TAG, parsed};
use crate::options::{ConnectError, Options};
use crate::orphan;
use crate::subnet::{self, Ranges};

/// Things per page of a paged answer.
const PAGE: i32 = 200;
/// Pages read of one answer: no instance has as many interfaces, no zone of a VPC as many subnets.
const MAX_PAGES: usize = 10;
/// Orphans per page, the most that EC2 allows: a cluster's sweep is one call nearly always.
const ORPHANS: i32 = 1000;
/// The tag that names the cluster an ENI was created in.
const CLUSTER_TAG: &str = "cluster.k8s.amazonaws.com/name";

/// EC2 and instance metadata, reached with the AWS SDK.
///
/// Every call is tried once. The EC2 client is made at the first EC2 call, because it needs the region,
/// which may have to come from metadata: a node whose metadata is late still starts.
#[derive(Debug)]
pub struct AwsCloud {
    options: Options,
    metadata: Metadata,
    client: OnceCell<Client>,
    ranges: Mutex<Ranges>,
}

impl AwsCloud {
    /// Checks the options; makes no call.
    pub fn connect(options: Options) -> Result<Self, ConnectError> {
        let options = options.checked()?;
        let metadata = Metadata::new(&options)?;
        Ok(Self { options, metadata, client: OnceCell::new(), ranges: Mutex::default() })
    }

    async fn client(&self) -> Result<&Client, CloudError> {
        self.client.get_or_try_init(|| self.new_client()).await
    }

    async fn new_client(&self) -> Result<Client, CloudError> {
        let region = match (&self.options.region, EnvironmentVariableRegionProvider::new().region().await) {
            (Some(region), _) => Region::new(region.clone()),
            (None, Some(region)) => region,
            (None, None) => Region::new(self.metadata.region().await?),
        };
        let behaviour = BehaviorVersion::v2026_01_12();
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(self.options.timeouts.connect)
            .operation_timeout(self.options.timeouts.operation)
            .build();
        let provider = ProviderConfig::without_region()
            .with_region(Some(region.clone()))
            .with_behavior_version(Some(behaviour))
            .with_timeout_config(timeouts.clone());
        let credentials = DefaultCredentialsChain::builder()
            .configure(provider)
            .region(region.clone())
            .imds_client(self.metadata.client())
            .build()
            .await;
        let mut loader = aws_config::defaults(behaviour)
            .region(region.clone())
            .credentials_provider(credentials)
            .retry_config(RetryConfig::disabled())
            .timeout_config(timeouts)
            .app_name(AppName::new("enid").expect("invariant: letters only"));
        if let Some(endpoint) = &self.options.ec2_endpoint {
            loader = loader.endpoint_url(endpoint);
            if endpoint.starts_with("http://") {
                // No trust store to load, and nothing leaves through a proxy of the environment's.
                loader = loader.http_client(HttpClientBuilder::new().build_http());
            }
        }
        tracing::debug!(%region, endpoint = self.options.ec2_endpoint.as_deref(), "EC2 client is ready");
        Ok(Client::new(&loader.load().await))
    }

    /// Ranges of the subnets that the interfaces are in: remembered, else from metadata (which knows
    /// attached interfaces and costs no EC2 budget), else `DescribeSubnets`.
    async fn ranges_of(
        &self,
        call: &str,
        described: &[NetworkInterface],
    ) -> Result<BTreeMap<SubnetId, Ipv4Net>, CloudError> {
        let mut found = BTreeMap::new();
        let mut missing = BTreeSet::new();
        for interface in described {
            let id = network_interface::subnet(call, interface)?;
            if found.contains_key(&id) || missing.contains(&id) {
                continue;
            }
            if let Some(range) = self.remembered(&id) {
                found.insert(id, range);
                continue;
            }
            let from_metadata = match interface.attachment() {
                Some(_) => {
                    self.metadata.subnet_range(parsed(call, "MAC", interface.mac_address())?).await.ok()
                }
                None => None,
            };
            match from_metadata {
                Some(range) => {
                    self.remember(id.clone(), range);
                    found.insert(id, range);
                }
                None => {
                    missing.insert(id);
                }
            }
        }
        if !missing.is_empty() {
            found.extend(self.described_ranges(&missing).await?);
        }
        Ok(found)
    }

    async fn described_ranges(
        &self,
        subnets: &BTreeSet<SubnetId>,
    ) -> Result<BTreeMap<SubnetId, Ipv4Net>, CloudError> {
        const CALL: &str = "DescribeSubnets";
        let wanted = Some(subnets.iter().map(|id| id.as_str().to_owned()).collect());
        let answer = self.client().await?.describe_subnets().set_subnet_ids(wanted).send().await;
        let answer = answer.map_err(|error| failure::ec2(CALL, &error))?;
        let mut found = BTreeMap::new();
        for described in answer.subnets() {
            let id: SubnetId = parsed(CALL, "subnet id", described.subnet_id())?;
            if let Some(range) = subnet::range(CALL, described)? {
                self.remember(id.clone(), range);
                found.insert(id, range);
            }
        }
        Ok(found)
    }

    async fn assign_ipv6_prefixes(&self, eni: &EniId, count: u32) -> Result<Assigned, CloudError> {
        const CALL: &str = "AssignIpv6Addresses";
        let request = self.client().await?.assign_ipv6_addresses().network_interface_id(eni.as_str());
        let answer = request.ipv6_prefix_count(amount(CALL, count)?).send().await;
        let answer = answer.map_err(|error| failure::ec2(CALL, &error))?;
        let prefixes = answer.assigned_ipv6_prefixes().iter().map(|prefix| Some(prefix.as_str()));
        Ok(Assigned { ipv6_prefixes: network_interface::prefixes(CALL, prefixes)?, ..Assigned::default() })
    }

    fn read_eni(
        call: &str,
        described: &NetworkInterface,
        ranges: &BTreeMap<SubnetId, Ipv4Net>,
    ) -> Result<CloudEni, CloudError> {
        let id = network_interface::subnet(call, described)?;
        network_interface::read(call, described, ranges.get(&id).copied())
    }

    fn remembered(&self, subnet: &SubnetId) -> Option<Ipv4Net> {
        self.ranges.lock().unwrap_or_else(PoisonError::into_inner).of(subnet)
    }

    fn remember(&self, subnet: SubnetId, range: Ipv4Net) {
        self.ranges.lock().unwrap_or_else(PoisonError::into_inner).remember(subnet, range);
    }
}

impl Cloud for AwsCloud {
    async fn identity(&self) -> Result<NodeIdentity, CloudError> {
        self.metadata.identity().await
    }

    async fn instance_type(&self, name: &str) -> Result<InstanceType, CloudError> {
        const CALL: &str = "DescribeInstanceTypes";
        let request =
            self.client().await?.describe_instance_types().instance_types(InstanceTypeName::from(name));
        let answer = request.send().await.map_err(|error| failure::ec2(CALL, &error))?;
        match answer.instance_types() {
            [info] => instance_type::read(CALL, info),
            none_or_many => {
                let message = format!("{} answers for instance type `{name:.40}`", none_or_many.len());
                Err(failed(CALL, CloudErrorKind::Gone, message))
            }
        }
    }

    async fn enis(&self, identity: &NodeIdentity) -> Result<Vec<CloudEni>, CloudError> {
        const CALL: &str = "DescribeNetworkInterfaces";
        let client = self.client().await?;
        let mut described = Vec::new();
        let mut next = None;
        for _ in 0..MAX_PAGES {
            let request = client
                .describe_network_interfaces()
                .filters(filter("attachment.instance-id", identity.instance.as_str()))
                .max_results(PAGE)
                .set_next_token(next);
            let page = request.send().await.map_err(|error| failure::ec2(CALL, &error))?;
            next = page.next_token().filter(|token| !token.is_empty()).map(str::to_owned);
            described.extend(page.network_interfaces.unwrap_or_default());
            if next.is_none() {
                let ranges = self.ranges_of(CALL, &described).await?;
                return described.iter().map(|interface| Self::read_eni(CALL, interface, &ranges)).collect();
            }
        }
        Err(endless(CALL))
    }

    async fn metadata_enis(&self, identity: &NodeIdentity) -> Result<Vec<CloudEni>, CloudError> {
        // Many small questions are one operation: slow answers must not add up.
        let patience = self.options.timeouts.operation;
        let read = timeout(patience, self.metadata.enis(identity.primary_mac)).await;
        read.unwrap_or_else(|_| {
            Err(CloudError::unanswered(IMDS, &format!("not all interfaces were read within {patience:?}")))
        })
    }

    async fn vpc_ranges(&self, identity: &NodeIdentity) -> Result<VpcRanges, CloudError> {
        self.metadata.vpc_ranges(identity.primary_mac).await
    }

    async fn subnets(
        &self,
        vpc: &VpcId,
        zone: &str,
        cluster: Option<&str>,
    ) -> Result<Vec<CloudSubnet>, CloudError> {
        const CALL: &str = "DescribeSubnets";
        let client = self.client().await?;
        let mut found = Vec::new();
        let mut next = None;
        for _ in 0..MAX_PAGES {
            let request = client
                .describe_subnets()
                .filters(filter("vpc-id", vpc.as_str()))
                .filters(filter("availability-zone", zone))
                .max_results(PAGE)
                .set_next_token(next);
            let page = request.send().await.map_err(|error| failure::ec2(CALL, &error))?;
            for described in page.subnets() {
                if let Some(read) = subnet::read(CALL, described, cluster)? {
                    self.remember(read.id.clone(), read.cidr);
                    found.push(read);
                }
            }
            next = page.next_token().filter(|token| !token.is_empty()).map(str::to_owned);
            if next.is_none() {
                return Ok(found);
            }
        }
        Err(endless(CALL))
    }

    async fn orphans(
        &self,
        identity: &NodeIdentity,
        cluster: Option<&str>,
    ) -> Result<Vec<Orphan>, CloudError> {
        const CALL: &str = "DescribeNetworkInterfaces";
        let client = self.client().await?;
        let ours = match cluster {
            Some(cluster) => filter(&format!("tag:{CLUSTER_TAG}"), cluster),
            None => filter(&format!("tag:{INSTANCE_TAG}"), identity.instance.as_str()),
        };
        let mut found = Vec::new();
        let mut next = None;
        for _ in 0..MAX_PAGES {
            let request = client
                .describe_network_interfaces()
                .filters(filter("vpc-id", identity.vpc.as_str()))
                .filters(filter("status", "available"))
                .filters(filter("tag-key", INSTANCE_TAG))
                .filters(ours.clone())
                .max_results(ORPHANS)
                .set_next_token(next);
            let page = request.send().await.map_err(|error| failure::ec2(CALL, &error))?;
            for described in page.network_interfaces() {
                found.extend(orphan::read(CALL, described)?);
            }
            next = page.next_token().filter(|token| !token.is_empty()).map(str::to_owned);
            if next.is_none() {
                break;
            }
        }
        // Whatever is on further pages is found once these are gone.
        Ok(found)
    }

    async fn create_eni(&self, new: &NewEni) -> Result<CloudEni, CloudError> {
        const CALL: &str = "CreateNetworkInterface";
        let tags = new
            .tags
            .iter()
            .map(|(key, value)| Tag::builder().key(key).value(value).build())
            .collect::<Vec<_>>();
        let specification = (!tags.is_empty()).then(|| {
            vec![
                TagSpecification::builder()
                    .resource_type(ResourceType::NetworkInterface)
                    .set_tags(Some(tags))
                    .build(),
            ]
        });
        let request = self
            .client()
            .await?
            .create_network_interface()
            .subnet_id(new.subnet.as_str())
            .set_groups(Some(texts(&new.security_groups)))
            .description(&new.description)
            .set_tag_specifications(specification)
            .client_token(&new.client_token);
        let request = match new.supply {
            Supply::Addresses(0) | Supply::Prefixes(0) | Supply::Ipv6Prefixes(0) => request,
            Supply::Addresses(count) => request.secondary_private_ip_address_count(amount(CALL, count)?),
            Supply::Prefixes(count) => request.ipv4_prefix_count(amount(CALL, count)?),
            Supply::Ipv6Prefixes(_) => {
                let message = "IPv6 prefixes are assigned to an ENI that exists";
                return Err(failed(CALL, CloudErrorKind::Rejected, message));
            }
        };
        let answer = request.send().await.map_err(|error| failure::ec2(CALL, &error))?;
        let created =
            answer.network_interface.ok_or_else(|| unreadable(CALL, "network interface", "missing"))?;
        let ranges = self.ranges_of(CALL, std::slice::from_ref(&created)).await?;
        Self::read_eni(CALL, &created, &ranges)
    }

    async fn attach_eni(
        &self,
        identity: &NodeIdentity,
        eni: &EniId,
        seat: Seat,
    ) -> Result<EniAttachmentId, CloudError> {
        const CALL: &str = "AttachNetworkInterface";
        // EC2 takes a card index from multi-card types only; the first card is the default everywhere.
        let card = if seat.card == 0 { None } else { Some(amount(CALL, seat.card)?) };
        let request = self
            .client()
            .await?
            .attach_network_interface()
            .instance_id(identity.instance.as_str())
            .network_interface_id(eni.as_str())
            .device_index(amount(CALL, seat.device)?)
            .set_network_card_index(card);
        let answer = request.send().await.map_err(|error| failure::ec2(CALL, &error))?;
        parsed(CALL, "attachment id", answer.attachment_id())
    }

    async fn delete_with_instance(
        &self,
        eni: &EniId,
        attachment: &EniAttachmentId,
    ) -> Result<(), CloudError> {
        let change = NetworkInterfaceAttachmentChanges::builder()
            .attachment_id(attachment.as_str())
            .delete_on_termination(true)
            .build();
        let request = self
            .client()
            .await?
            .modify_network_interface_attribute()
            .network_interface_id(eni.as_str())
            .attachment(change);
        request.send().await.map_err(|error| failure::ec2("ModifyNetworkInterfaceAttribute", &error))?;
        Ok(())
    }

    async fn set_security_groups(&self, eni: &EniId, groups: &[SecurityGroupId]) -> Result<(), CloudError> {
        const CALL: &str = "ModifyNetworkInterfaceAttribute";
        if groups.is_empty() {
            // On the wire no groups and nothing to change look the same.
            return Err(failed(CALL, CloudErrorKind::Rejected, "an ENI has at least one security group"));
        }
        let request =
            self.client().await?.modify_network_interface_attribute().network_interface_id(eni.as_str());
        let answer = request.set_groups(Some(texts(groups))).send().await;
        answer.map_err(|error| failure::ec2(CALL, &error))?;
        Ok(())
    }

    async fn detach_eni(&self, attachment: &EniAttachmentId) -> Result<(), CloudError> {
        let request = self.client().await?.detach_network_interface().attachment_id(attachment.as_str());
        request.send().await.map_err(|error| failure::ec2("DetachNetworkInterface", &error))?;
        Ok(())
    }

    async fn delete_eni(&self, eni: &EniId) -> Result<(), CloudError> {
        let request = self.client().await?.delete_network_interface().network_interface_id(eni.as_str());
        request.send().await.map_err(|error| failure::ec2("DeleteNetworkInterface", &error))?;
        Ok(())
    }

    async fn assign(&self, eni: &EniId, supply: Supply) -> Result<Assigned, CloudError> {
        const CALL: &str = "AssignPrivateIpAddresses";
        let request = self.client().await?.assign_private_ip_addresses().network_interface_id(eni.as_str());
        let request = match supply {
            // EC2 takes a request for nothing as an error.
            Supply::Addresses(0) | Supply::Prefixes(0) | Supply::Ipv6Prefixes(0) => {
                return Ok(Assigned::default());
            }
            Supply::Addresses(count) => request.secondary_private_ip_address_count(amount(CALL, count)?),
            Supply::Prefixes(count) => request.ipv4_prefix_count(amount(CALL, count)?),
            Supply::Ipv6Prefixes(count) => return self.assign_ipv6_prefixes(eni, count).await,
        };
        let answer = request.send().await.map_err(|error| failure::ec2(CALL, &error))?;
        let addresses = answer
            .assigned_private_ip_addresses()
            .iter()
            .map(|assigned| parsed(CALL, "assigned address", assigned.private_ip_address()))
            .collect::<Result<_, _>>()?;
        let prefixes = answer.assigned_ipv4_prefixes().iter().map(Ipv4PrefixSpecification::ipv4_prefix);
        let prefixes = network_interface::prefixes(CALL, prefixes)?;
        Ok(Assigned { addresses, prefixes, ipv6_prefixes: Vec::new() })
    }

    async fn unassign(&self, eni: &EniId, give_back: &Assigned) -> Result<(), CloudError> {
        const CALL: &str = "UnassignPrivateIpAddresses";
        if !give_back.ipv6_prefixes.is_empty() {
            let message = "IPv6 prefixes stay with their ENI";
            return Err(failed(CALL, CloudErrorKind::Rejected, message));
        }
        // Single addresses and prefixes are two requests: EC2 does not promise to take both in one.
        if !give_back.addresses.is_empty() {
            let addresses = give_back.addresses.iter().map(ToString::to_string).collect();
            let request =
                self.client().await?.unassign_private_ip_addresses().network_interface_id(eni.as_str());
            let answer = request.set_private_ip_addresses(Some(addresses)).send().await;
            answer.map_err(|error| failure::ec2(CALL, &error))?;
        }
        if !give_back.prefixes.is_empty() {
            let prefixes = give_back.prefixes.iter().map(ToString::to_string).collect();
            let request =
                self.client().await?.unassign_private_ip_addresses().network_interface_id(eni.as_str());
            let answer = request.set_ipv4_prefixes(Some(prefixes)).send().await;
            answer.map_err(|error| failure::ec2(CALL, &error))?;
        }
        Ok(())
    }
}

fn filter(name: &str, value: &str) -> Filter {
    Filter::builder().name(name).values(value).build()
}

fn texts(groups: &[SecurityGroupId]) -> Vec<String> {
    groups.iter().map(|group| group.as_str().to_owned()).collect()
}

fn amount(call: &str, count: u32) -> Result<i32, CloudError> {
    i32::try_from(count)
        .map_err(|_| failed(call, CloudErrorKind::Rejected, format!("{count} is out of range")))
}

fn endless(call: &str) -> CloudError {
    failed(call, CloudErrorKind::Unavailable, format!("the answer goes on after {MAX_PAGES} pages of {PAGE}"))
}
