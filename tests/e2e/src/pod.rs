//! A pod's sandbox: a namespace and a container id.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use enid_core::ids::{Attachment, PodName};
use enid_core::wiring::{VethPrefix, host_veth};
use enid_vpc_lab::iproute::ip_batch;
use enid_vpc_lab::namespace::NetNs;
use serde_json::Value;

use crate::kernel::Kernel;
use crate::plugin::{IFNAME, NETWORK};

/// The Kubernetes namespace that pods say they are in.
pub const POD_NAMESPACE: &str = "e2e";

/// A pod's sandbox.
#[derive(Clone, Debug)]
pub struct Pod {
    /// The pod's name.
    pub name: String,
    /// Its container id: 64 hexadecimal digits, as containerd's.
    pub container: String,
    /// Its network namespace.
    pub namespace: NetNs,
}

impl Pod {
    /// Makes the namespace as a runtime leaves it to the plugin: not even the loopback is up.
    pub(crate) fn make(namespace: NetNs) -> Self {
        ip_batch(None, &[format!("netns add {namespace}")]).unwrap();
        let name = namespace.name().rsplit_once("e2e-").map_or(namespace.name(), |(_, end)| end).to_owned();
        let digits: String = name.bytes().map(|byte| format!("{byte:02x}")).collect();
        Self { container: format!("{digits:0>64}").chars().take(64).collect(), name, namespace }
    }

    /// Another sandbox for the same pod, in the namespace of `other`: what a runtime makes when the first died.
    pub fn again_in(&self, other: Pod) -> Self {
        Self { name: self.name.clone(), ..other }
    }

    /// `namespace/name`.
    pub fn shown(&self) -> String {
        format!("{POD_NAMESPACE}/{}", self.name)
    }

    /// Its kernel.
    pub fn kernel(&self) -> Kernel {
        Kernel::of(&self.namespace)
    }

    /// The name of its host veth, as other agents compute it.
    pub fn host_veth(&self) -> String {
        let pod = PodName { namespace: POD_NAMESPACE.to_owned(), name: self.name.clone() };
        host_veth(&VethPrefix::default(), Some(&pod), &self.attachment(), 0).to_string()
    }

    fn attachment(&self) -> Attachment {
        Attachment {
            container: self.container.parse().unwrap(),
            network: NETWORK.parse().unwrap(),
            ifname: IFNAME.parse().unwrap(),
        }
    }

    /// Deletes its namespace, as a runtime does before or after DEL.
    pub fn remove_namespace(&self) {
        ip_batch(None, &[format!("netns del {}", self.namespace)]).unwrap();
    }
}

/// A pod with its network.
#[derive(Clone, Debug)]
pub struct Placed {
    /// Its sandbox.
    pub pod: Pod,
    /// What ADD said.
    pub result: Value,
}

impl Placed {
    /// Its addresses, as the runtime was told.
    #[track_caller]
    pub fn addresses(&self) -> Vec<IpAddr> {
        addresses_of(&self.result)
    }

    /// Its one IPv4 address.
    #[track_caller]
    pub fn ipv4(&self) -> Ipv4Addr {
        let found: Vec<Ipv4Addr> = self.addresses().into_iter().filter_map(only_v4).collect();
        let [address] = found[..] else { panic!("not one IPv4 address: {}", self.result) };
        address
    }

    /// Its one IPv6 address.
    #[track_caller]
    pub fn ipv6(&self) -> Ipv6Addr {
        let found: Vec<Ipv6Addr> = self.addresses().into_iter().filter_map(only_v6).collect();
        let [address] = found[..] else { panic!("not one IPv6 address: {}", self.result) };
        address
    }
}

fn only_v4(address: IpAddr) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    }
}

fn only_v6(address: IpAddr) -> Option<Ipv6Addr> {
    match address {
        IpAddr::V4(_) => None,
        IpAddr::V6(address) => Some(address),
    }
}

/// The addresses of an ADD result, each alone in its subnet.
#[track_caller]
pub fn addresses_of(result: &Value) -> Vec<IpAddr> {
    let ips = result["ips"].as_array().unwrap_or_else(|| panic!("no addresses in {result}"));
    assert!(!ips.is_empty(), "no address in {result}");
    let alone = |ip: &Value| {
        let (address, length) = ip["address"].as_str()?.split_once('/')?;
        let address: IpAddr = address.parse().ok()?;
        (length == if address.is_ipv4() { "32" } else { "128" }).then_some(address)
    };
    ips.iter().map(|ip| alone(ip).unwrap_or_else(|| panic!("{ip} is not an address alone"))).collect()
}

/// The one address of an ADD result.
#[track_caller]
pub fn address_of(result: &Value) -> Ipv4Addr {
    let text = result["ips"][0]["address"].as_str().unwrap_or_else(|| panic!("no address in {result}"));
    text.strip_suffix("/32").unwrap().parse().unwrap()
}
