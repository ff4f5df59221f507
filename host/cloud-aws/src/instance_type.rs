//! EC2's description of an instance type, read into a domain type.

use aws_sdk_ec2::types::{InstanceTypeHypervisor, InstanceTypeInfo};
use enid_core::cloud::CloudError;
use enid_core::limits::{Hypervisor, InstanceType, NetworkCard};

use crate::failure::unreadable;

/// Reads what pods' networking depends on; a missing limit is an error, never a guess.
pub(crate) fn read(call: &str, info: &InstanceTypeInfo) -> Result<InstanceType, CloudError> {
    let count = |what: &str, value: Option<i32>| {
        let value = value.ok_or_else(|| unreadable(call, what, "missing"))?;
        u32::try_from(value).map_err(|_| unreadable(call, what, value))
    };
    let network = info.network_info().ok_or_else(|| unreadable(call, "network limits", "missing"))?;
    let mut cards = network
        .network_cards()
        .iter()
        .map(|card| {
            let index = count("network card index", card.network_card_index())?;
            Ok(NetworkCard { index, max_enis: count("ENIs of a card", card.maximum_network_interfaces())? })
        })
        .collect::<Result<Vec<_>, CloudError>>()?;
    cards.sort_by_key(|card| card.index);
    let default_card =
        count("default network card", Some(network.default_network_card_index().unwrap_or(0)))?;
    if cards.is_empty() {
        // Without a list of cards there is one, and the total is its own.
        let max_enis = count("ENIs", network.maximum_network_interfaces())?;
        cards.push(NetworkCard { index: default_card, max_enis });
    }
    if !cards.iter().any(|card| card.index == default_card) {
        return Err(unreadable(call, "network cards", format!("card {default_card} is missing")));
    }
    let memory = info.memory_info().and_then(|memory| memory.size_in_mib()).unwrap_or(0);
    Ok(InstanceType {
        name: info.instance_type().ok_or_else(|| unreadable(call, "name", "missing"))?.as_str().to_owned(),
        vcpus: count("vCPUs", info.v_cpu_info().and_then(|vcpus| vcpus.default_v_cpus()))?,
        memory_mib: u64::try_from(memory).map_err(|_| unreadable(call, "memory", memory))?,
        hypervisor: match info.hypervisor() {
            Some(InstanceTypeHypervisor::Nitro) => Hypervisor::Nitro,
            Some(InstanceTypeHypervisor::Xen) => Hypervisor::Xen,
            // Bare metal has none; one that the SDK does not know earns no privileges.
            _ => Hypervisor::None,
        },
        bare_metal: info.bare_metal().unwrap_or(false),
        default_card,
        cards,
        ipv4_per_eni: count("IPv4 addresses per ENI", network.ipv4_addresses_per_interface())?,
        ipv6_per_eni: count(
            "IPv6 addresses per ENI",
            Some(network.ipv6_addresses_per_interface().unwrap_or(0)),
        )?,
        trunking: None,
    })
}
