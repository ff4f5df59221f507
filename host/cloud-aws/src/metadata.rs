//! What instance metadata says (IMDSv2): who this node is, and, below, which interfaces it has.

mod interface;

use std::fmt::Display;
use std::net::Ipv6Addr;
use std::str::FromStr;
use std::time::Duration;

use aws_config::imds;
use aws_config::provider_config::ProviderConfig;
use aws_smithy_http_client::Builder as HttpClientBuilder;
use enid_core::cloud::{CloudError, CloudErrorKind, NodeIdentity, VpcRanges};
use enid_core::ids::{Mac, SecurityGroupId};
use ipnet::{Ipv4Net, Ipv6Net};
use tokio::try_join;

use crate::failure::{self, IMDS};
use crate::options::{ConnectError, Options};

/// How long a session token is used.
///
/// The SDK renews a token two minutes before its end and at no other occasion: one that metadata has
/// forgotten (an instance restored from a snapshot, a restarted lab) is a nuisance for three minutes at most.
const TOKEN_TTL: Duration = Duration::from_secs(300);
/// Items read of one list: no interface holds as many addresses, no VPC has as many ranges.
const MAX_ITEMS: usize = 1024;

/// Instance metadata.
#[derive(Debug)]
pub(crate) struct Metadata {
    client: imds::Client,
}

impl Metadata {
    /// Prepares to ask; makes no call.
    pub(crate) fn new(options: &Options) -> Result<Self, ConnectError> {
        // Metadata is plain HTTP and link-local: no TLS set-up to pay for, and no proxy from the
        // environment, which would answer with the proxy's own identity.
        let provider =
            ProviderConfig::without_region().with_http_client(HttpClientBuilder::new().build_http());
        let mut builder = imds::Client::builder()
            .configure(&provider)
            .max_attempts(1)
            .token_ttl(TOKEN_TTL)
            .connect_timeout(options.timeouts.connect)
            .read_timeout(options.timeouts.operation)
            .operation_attempt_timeout(options.timeouts.operation)
            .operation_timeout(options.timeouts.operation);
        if let Some(endpoint) = &options.imds_endpoint {
            builder = builder.endpoint(endpoint).map_err(|_| ConnectError::BadEndpoint {
                service: "metadata",
                endpoint: endpoint.clone(),
                allowed: "`http://`",
            })?;
        }
        Ok(Self { client: builder.build() })
    }

    /// The same metadata for the SDK's credential chain.
    pub(crate) fn client(&self) -> imds::Client {
        self.client.clone()
    }

    /// Reads all of the node's identity; an absent or malformed piece is an error that names its path. Only
    /// IPv6 may be absent.
    pub(crate) async fn identity(&self) -> Result<NodeIdentity, CloudError> {
        let (instance, instance_type, region, zone, mac, primary_address) = try_join!(
            self.parsed("instance-id"),
            self.word("instance-type"),
            self.region(),
            self.word("placement/availability-zone"),
            self.parsed::<Mac>("mac"),
            self.parsed("local-ipv4"),
        )?;
        let (eni_path, subnet_path) = (interface(mac, "interface-id"), interface(mac, "subnet-id"));
        let (vpc_path, groups_path) = (interface(mac, "vpc-id"), interface(mac, "security-group-ids"));
        let (primary_eni, subnet, vpc, security_groups, ranges, primary_ipv6) = try_join!(
            self.parsed(&eni_path),
            self.parsed(&subnet_path),
            self.parsed(&vpc_path),
            self.list::<SecurityGroupId>(&groups_path),
            self.vpc_ranges(mac),
            self.own_ipv6(mac),
        )?;
        Ok(NodeIdentity {
            instance,
            instance_type,
            region,
            zone,
            vpc,
            primary_eni,
            primary_mac: mac,
            primary_address,
            subnet,
            security_groups,
            vpc_cidrs: ranges.ipv4,
            primary_ipv6,
            vpc_ipv6_cidrs: ranges.ipv6,
            pod_ranges: Vec::new(),
        })
    }

    /// The region of this instance.
    pub(crate) async fn region(&self) -> Result<String, CloudError> {
        self.word("placement/region").await
    }

    /// The ranges of the VPC that the attached interface with this MAC is in.
    pub(crate) async fn vpc_ranges(&self, mac: Mac) -> Result<VpcRanges, CloudError> {
        let ipv4_path = interface(mac, "vpc-ipv4-cidr-blocks");
        let ipv6_path = interface(mac, "vpc-ipv6-cidr-blocks");
        let (ipv4, ipv6) = try_join!(self.list::<Ipv4Net>(&ipv4_path), self.any::<Ipv6Net>(&ipv6_path))?;
        Ok(VpcRanges { ipv4, ipv6 })
    }

    /// The range of the subnet of the attached interface with this MAC.
    pub(crate) async fn subnet_range(&self, mac: Mac) -> Result<Ipv4Net, CloudError> {
        self.parsed(&interface(mac, "subnet-ipv4-cidr-block")).await
    }

    /// The interface's first IPv6 address that is its own: those out of a delegated prefix are pods'.
    async fn own_ipv6(&self, mac: Mac) -> Result<Option<Ipv6Addr>, CloudError> {
        let (addresses_path, prefixes_path) = (interface(mac, "ipv6s"), interface(mac, "ipv6-prefix"));
        let (addresses, prefixes) =
            try_join!(self.any::<Ipv6Addr>(&addresses_path), self.any::<Ipv6Net>(&prefixes_path))?;
        let delegated = |address: &Ipv6Addr| prefixes.iter().any(|prefix| prefix.contains(address));
        Ok(addresses.into_iter().find(|address| !delegated(address)))
    }

    async fn text(&self, path: &str) -> Result<String, CloudError> {
        let answer = self.client.get(format!("/latest/meta-data/{path}")).await;
        answer.map(String::from).map_err(|error| failure::imds(path, &error))
    }

    async fn word(&self, path: &str) -> Result<String, CloudError> {
        let text = self.text(path).await?;
        let word = text.trim();
        if word.is_empty() || word.len() > 64 || word.contains(|c: char| !c.is_ascii_graphic()) {
            return Err(failure::unreadable(IMDS, path, "not one word"));
        }
        Ok(word.to_owned())
    }

    async fn parsed<T: FromStr<Err: Display>>(&self, path: &str) -> Result<T, CloudError> {
        let text = self.text(path).await?;
        text.trim().parse().map_err(|why| failure::unreadable(IMDS, path, why))
    }

    /// A list that is never empty.
    async fn list<T: FromStr<Err: Display>>(&self, path: &str) -> Result<Vec<T>, CloudError> {
        let items = items(path, &self.text(path).await?)?;
        if items.is_empty() { Err(failure::unreadable(IMDS, path, "an empty list")) } else { Ok(items) }
    }

    /// A list that may be empty: metadata has no path for it then.
    async fn any<T: FromStr<Err: Display>>(&self, path: &str) -> Result<Vec<T>, CloudError> {
        match if_there(self.text(path).await)? {
            Some(text) => items(path, &text),
            None => Ok(Vec::new()),
        }
    }
}

fn items<T: FromStr<Err: Display>>(path: &str, text: &str) -> Result<Vec<T>, CloudError> {
    let words: Vec<&str> = text.split_whitespace().take(MAX_ITEMS + 1).collect();
    if words.len() > MAX_ITEMS {
        return Err(failure::unreadable(IMDS, path, format!("more than {MAX_ITEMS} items")));
    }
    let read = |word: &str| word.parse().map_err(|why| failure::unreadable(IMDS, path, why));
    words.into_iter().map(read).collect()
}

/// What was read, unless metadata has no such path.
fn if_there<T>(read: Result<T, CloudError>) -> Result<Option<T>, CloudError> {
    match read {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind == CloudErrorKind::Gone => Ok(None),
        Err(error) => Err(error),
    }
}

fn interface(mac: Mac, leaf: &str) -> String {
    format!("network/interfaces/macs/{mac}/{leaf}")
}
