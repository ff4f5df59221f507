//! Our own EC2 and metadata on loopback, in this process, so that a test can reach behind the wire.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use enid_core::ids::{EniId, SecurityGroupId, SubnetId, VpcId};
use enid_core::time::Timestamp;
use enid_sim::ec2::call::Call;
use enid_sim::ec2::fault::{Fault, FaultKind};
use enid_sim::ec2::instance::RunInstances;
use enid_sim::ec2::interface::{CreateNetworkInterface, InterfaceType};
use enid_sim::ec2::{Config, Delays, Ec2, Tags};
use enid_vpc_lab::{imds, wire};
use tokio::net::TcpListener;

/// The VPC's IPv6 range.
pub(crate) const VPC_IPV6: &str = "2001:db8:0:100::/56";
/// Its wide subnet's.
pub(crate) const WIDE_IPV6: &str = "2001:db8:0:101::/64";

/// An m5.large in a wide subnet, with a narrow one beside it.
pub(crate) struct LabNode {
    ec2: Arc<Mutex<Ec2>>,
    vpc: VpcId,
    /// Where EC2 answers.
    pub(crate) api: String,
    /// Where metadata answers.
    pub(crate) imds: String,
    /// A /24 with IPv6, the node's own subnet.
    pub(crate) wide: SubnetId,
    /// A /28 tagged for pods of the cluster `blue`: 11 usable addresses, no whole block, no IPv6.
    pub(crate) narrow: SubnetId,
    /// A security group that the node is not in.
    pub(crate) other_group: SecurityGroupId,
}

impl LabNode {
    /// Serves until the test's runtime ends.
    pub(crate) async fn start() -> LabNode {
        let attach = Duration::from_millis(120);
        let delays = Delays { attach, detach: attach, metadata: 3 * attach, ..Delays::none() };
        let mut ec2 = Ec2::new(7, Config { delays, ..Config::default() });
        let zone = ec2.config().zones[0].clone();
        let vpc = ec2.add_vpc("10.0.0.0/16".parse().unwrap()).unwrap();
        let wide = ec2.add_subnet(&vpc, &zone, "10.0.1.0/24".parse().unwrap(), Tags::new()).unwrap();
        ec2.add_ipv6_range(&vpc, VPC_IPV6.parse().unwrap()).unwrap();
        ec2.give_ipv6(&wide, WIDE_IPV6.parse().unwrap()).unwrap();
        let other_group = ec2.add_security_group(&vpc, "pods").unwrap();
        let tags = [("kubernetes.io/role/cni", "1"), ("cni.networking.k8s.aws/cluster/blue", "shared")];
        let tags = tags.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let narrow = ec2.add_subnet(&vpc, &zone, "10.0.2.0/28".parse().unwrap(), Tags::from(tags)).unwrap();
        let instance = ec2.launch(now(), &RunInstances::one("m5.large", wide.clone())).unwrap();

        let ec2 = Arc::new(Mutex::new(ec2));
        let api = serve(wire::router(Arc::clone(&ec2))).await;
        let imds = serve(imds::router_for(Arc::clone(&ec2), instance)).await;
        let (api, imds) = (format!("http://{api}"), format!("http://{imds}"));
        LabNode { ec2, vpc, api, imds, wide, narrow, other_group }
    }

    /// Somebody creates an EFA-only ENI in the wide subnet.
    pub(crate) fn create_efa_only(&self) -> EniId {
        let plain = CreateNetworkInterface::within(self.wide.clone());
        let request = CreateNetworkInterface { interface_type: InterfaceType::EfaOnly, ..plain };
        self.model().create_network_interface(now(), &request).unwrap().id
    }

    /// The VPC gets a secondary range.
    pub(crate) fn add_range(&self, cidr: &str) {
        self.model().add_vpc_cidr(&self.vpc, cidr.parse().unwrap()).unwrap();
    }

    /// The next call of this API goes wrong.
    pub(crate) fn fail_next(&self, call: Call, kind: FaultKind) {
        self.model().inject(Fault { call: Some(call), times: 1, kind }).unwrap();
    }

    /// This API is forbidden from now on.
    pub(crate) fn deny(&self, call: Call) {
        self.model().deny(call);
    }

    /// How often this API was called.
    pub(crate) fn calls(&self, call: Call) -> u64 {
        self.model().calls().get(call.name()).copied().unwrap_or(0)
    }

    /// How often any API was called.
    pub(crate) fn all_calls(&self) -> u64 {
        self.model().calls().values().sum()
    }

    fn model(&self) -> MutexGuard<'_, Ec2> {
        self.ec2.lock().unwrap()
    }
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Timestamp(u64::try_from(since.as_millis()).unwrap())
}

async fn serve(router: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}
