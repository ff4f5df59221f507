//! What decisions about a node depend on, out of the operator's settings.

use enid_core::node::{Config, KernelConfig};

use super::custom_networking::custom_networking;
use super::{Network, Settings};

/// What decisions about a node in `zone` depend on.
pub(crate) fn node_config(settings: &Settings, zone: &str) -> Config {
    let Settings { node, budget, pool, network, .. } = settings;
    Config {
        mode: pool.mode,
        families: network.families,
        egress: network.egress,
        cooldown: pool.cooldown,
        gc_grace: pool.gc_grace,
        wait: pool.wait,
        max_enis: pool.max_enis,
        max_pods: node.max_pods,
        eni_mtu: network.mtu,
        pod_mtu: network.pod_mtu,
        veth_prefix: network.veth_prefix.clone(),
        cluster: node.cluster_name.clone(),
        tags: settings.tags.clone(),
        custom_networking: custom_networking(settings, zone),
        subnet_discovery: pool.subnet_discovery,
        security_groups: pool.security_groups.clone(),
        provisioning: pool.provisioning,
        cards: pool.network_cards,
        manage_foreign: pool.manage_foreign_enis,
        cordoned: node.unschedulable && !pool.manage_enis_when_unschedulable,
        kernel: kernel_config(network),
        budget: budget.config(),
        expects_count: false,
        sweep: pool.sweep,
    }
}

fn kernel_config(network: &Network) -> KernelConfig {
    KernelConfig {
        snat_exclude: network.exclude_snat_cidrs.clone(),
        snat: network.snat(),
        egress_ports: network.snat_ports,
        node_port: network.node_port,
        mark: network.connmark,
        external_services: network.external_service_cidrs.clone(),
        ingress: network.ingress.clone(),
    }
}
