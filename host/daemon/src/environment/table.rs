//! The table: every documented variable of the Amazon VPC CNI, and those undocumented ones that people set.

use super::Meaning;
use super::reading::{self, Asked, Reading};

/// One of the incumbent's variables.
pub(super) struct Variable {
    /// Its name.
    pub(super) name: &'static str,
    /// What it means here.
    pub(super) meaning: Meaning,
}

const fn stands(
    name: &'static str,
    keys: &'static [&'static str],
    how: &'static str,
    read: fn(&Asked<'_>) -> Reading,
) -> Variable {
    Variable { name, meaning: Meaning::Setting { keys, how, read } }
}

const fn nothing(name: &'static str, why: &'static str) -> Variable {
    Variable { name, meaning: Meaning::Nothing(why) }
}

const KUBERNETES: &str =
    "of the API server the daemon asks only how many nodes there are, as kubernetes.kubeconfig says";
const POD_GROUPS: &str = "security groups for pods are not supported yet";
const INSTALLER: &str = "enid installs nothing: its files are copied by whoever deploys it";
const LOG_FILE: &str = "the daemon logs to standard error, and the service manager keeps it";
const PLUGIN_LOG: &str =
    "the plugin keeps no log: its errors go to the runtime, everything else is the daemon's to log";
const INTROSPECTION: &str = "`enid status`, `enid explain` and `enid diff` ask over the socket in node.runtime_dir; no port tells of pods";
const METRICS_HELPER: &str =
    "it is the metrics helper's, which reads the incumbent's metrics; METRICS.md has their counterparts here";

/// All of them, in the order of the incumbent's own documentation by and large.
pub(super) const TABLE: &[Variable] = &[
    // Pool, ENIs and subnets.
    stands(
        "WARM_ENI_TARGET",
        &["strategy.warm-pool.settings.warm_eni_target"],
        "less than 0 counts as 1, more than 128 is refused",
        reading::warm_eni_target,
    ),
    stands(
        "WARM_IP_TARGET",
        &["strategy.warm-pool.settings.warm_ip_target"],
        "0 and less count as not set, more than 10000 is refused",
        reading::address_target,
    ),
    stands(
        "MINIMUM_IP_TARGET",
        &["strategy.warm-pool.settings.minimum_ip_target"],
        "0 and less count as not set, more than 10000 is refused",
        reading::address_target,
    ),
    stands(
        "WARM_PREFIX_TARGET",
        &["strategy.warm-pool.settings.warm_prefix_target"],
        "less than 0 counts as 0, more than 625 is refused; left out it is 1, also where the incumbent refuses to \
         start",
        reading::warm_prefix_target,
    ),
    stands(
        "MAX_ENI",
        &["pool.max_enis"],
        "less than 1 counts as not set, more than 128 as 128",
        reading::max_eni,
    ),
    stands(
        "ENABLE_PREFIX_DELEGATION",
        &["pool.mode"],
        "true is \"prefix\": on an instance that is neither Nitro nor bare metal the daemon refuses to start with it, \
         where the incumbent falls back to single addresses; IPv6 addresses always come out of a prefix",
        reading::prefix_delegation,
    ),
    stands("IP_COOLDOWN_PERIOD", &["pool.cooldown_secs"], "more than 3600 is refused", reading::number),
    stands(
        "AWS_MANAGE_ENIS_NON_SCHEDULABLE",
        &["pool.manage_enis_when_unschedulable"],
        "whether the node is unschedulable is node.unschedulable in the file: its taint is not seen, and false alone \
         holds nothing back",
        reading::flag,
    ),
    stands(
        "DISABLE_NETWORK_RESOURCE_PROVISIONING",
        &["pool.provisioning"],
        "true is \"look-only\"",
        reading::no_provisioning,
    ),
    stands(
        "ENABLE_IMDS_ONLY_MODE",
        &["pool.provisioning"],
        "true is \"metadata-only\", whatever the variable above says",
        reading::metadata_only,
    ),
    stands("ENABLE_SUBNET_DISCOVERY", &["pool.subnet_discovery"], "", reading::flag),
    stands(
        "AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG",
        &["custom_networking.enabled"],
        "ENIConfigs are [eni_config.NAME] tables in the file",
        reading::flag,
    ),
    nothing(
        "ENI_CONFIG_ANNOTATION_DEF",
        "the daemon does not see the node's annotations; name the ENIConfig by a label in [node] labels",
    ),
    stands(
        "ENI_CONFIG_LABEL_DEF",
        &["custom_networking.label"],
        "the labels are those in [node] labels",
        reading::text,
    ),
    stands(
        "ADDITIONAL_ENI_TAGS",
        &[reading::TAGS],
        "a JSON object; keys with `k8s.amazonaws.com` are refused, not dropped",
        reading::tags,
    ),
    stands("CLUSTER_NAME", &["node.cluster_name"], "", reading::text),
    nothing("CLUSTER_ENDPOINT", KUBERNETES),
    stands(
        "DISABLE_LEAKED_ENI_CLEANUP",
        &["pool.sweep"],
        "true is false here; what this node itself creates it finds again after a restart either way",
        reading::no_sweep,
    ),
    stands("ENABLE_MULTI_NIC", &["pool.network_cards"], "true is \"every\"", reading::multi_nic),
    stands("MANAGE_UNTAGGED_ENI", &["pool.manage_foreign_enis"], "", reading::flag),
    // The data plane.
    stands("AWS_VPC_ENI_MTU", &["network.mtu"], "576 (1280 when pods have IPv6) to 9001", reading::number),
    stands(
        "POD_MTU",
        &["network.pod_mtu"],
        "the same, and more than AWS_VPC_ENI_MTU is refused, which the incumbent takes",
        reading::number,
    ),
    stands("AWS_VPC_K8S_CNI_VETHPREFIX", &["network.veth_prefix"], "", reading::text),
    stands("AWS_VPC_K8S_CNI_EXTERNALSNAT", &["network.external_snat"], "", reading::flag),
    stands("AWS_VPC_K8S_CNI_RANDOMIZESNAT", &["network.snat_ports"], "", reading::text),
    stands(
        "AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS",
        &["network.exclude_snat_cidrs"],
        "with commas, at most 256; what is no IPv4 range is refused, not passed over",
        reading::list,
    ),
    stands("AWS_VPC_CNI_NODE_PORT_SUPPORT", &["network.node_port"], "", reading::flag),
    stands(
        "AWS_VPC_K8S_CNI_CONNMARK",
        &["network.connmark"],
        "decimal, 0x…, 0b… or 0…; a single bit: several are refused, and so are kube-proxy's 0x4000 and 0x8000",
        reading::mark,
    ),
    stands(
        "AWS_EXTERNAL_SERVICE_CIDRS",
        &["network.external_service_cidrs"],
        "with commas, at most 64; what is no IPv4 range is refused, not passed over, and so is 0.0.0.0/0",
        reading::list,
    ),
    nothing("AWS_VPC_K8S_CNI_CONFIGURE_RPFILTER", "deprecated; it does nothing in the incumbent either"),
    nothing("ENABLE_NFTABLES", "deprecated; enid always uses nftables, in a table of its own"),
    nothing("DISABLE_TCP_EARLY_DEMUX", POD_GROUPS),
    stands(
        "ENABLE_IPv4",
        &["network.ip_family"],
        "with ENABLE_IPv6: both true, which the incumbent refuses, is \"dual-stack\"",
        reading::ipv4,
    ),
    stands(
        "ENABLE_IPv6",
        &["network.ip_family"],
        "\"ipv6\" needs ENABLE_IPv4=false beside it, which is true when left out",
        reading::ipv6,
    ),
    stands("ENABLE_V4_EGRESS", &["network.egress"], "counts for IPv6 pods only", reading::ipv4_egress),
    stands("ENABLE_V6_EGRESS", &["network.egress"], "counts for IPv4 pods only", reading::ipv6_egress),
    nothing("DISABLE_POD_V6", "chain the plugin `tuning` in the network configuration list yourself"),
    nothing(
        "ENABLE_BANDWIDTH_PLUGIN",
        "chain the plugin `bandwidth` in the network configuration list yourself",
    ),
    nothing("ENABLE_POD_ENI", POD_GROUPS),
    nothing("POD_SECURITY_GROUP_ENFORCING_MODE", POD_GROUPS),
    nothing("NETWORK_POLICY_ENFORCING_MODE", "network policy is not supported yet"),
    nothing("ANNOTATE_POD_IP", KUBERNETES),
    // Paths, logs, endpoints.
    nothing("HOST_CNI_BIN_PATH", INSTALLER),
    nothing("HOST_CNI_CONFDIR_PATH", INSTALLER),
    nothing("AWS_VPC_K8S_CNI_LOGLEVEL", "ENID_LOG says what is logged, \"info\" unless it is set"),
    nothing("AWS_VPC_K8S_CNI_LOG_FILE", LOG_FILE),
    nothing("AWS_VPC_K8S_PLUGIN_LOG_FILE", PLUGIN_LOG),
    nothing("AWS_VPC_K8S_PLUGIN_LOG_LEVEL", PLUGIN_LOG),
    nothing("AWS_VPC_K8S_EGRESS_V4_PLUGIN_LOG_FILE", PLUGIN_LOG),
    nothing("AWS_VPC_K8S_EGRESS_V6_PLUGIN_LOG_FILE", PLUGIN_LOG),
    nothing("INTROSPECTION_BIND_ADDRESS", INTROSPECTION),
    nothing("DISABLE_INTROSPECTION", INTROSPECTION),
    stands(
        "DISABLE_METRICS",
        &["observe.listen"],
        "true is \"off\", which takes /healthz and /readyz away as well",
        reading::no_metrics,
    ),
    stands("AWS_EC2_ENDPOINT", &["cloud.ec2_endpoint"], "it holds for every call to EC2", reading::text),
    stands(
        "HTTP_TIMEOUT",
        &["cloud.timeout_secs"],
        "less than 10 counts as not set, more than 60 is refused",
        reading::http_timeout,
    ),
    nothing("AWS_VPC_K8S_CNI_BACKING_STORE", "what pods have is in the journal, in node.runtime_dir"),
    nothing("MY_NODE_NAME", KUBERNETES),
    nothing("MY_POD_NAME", KUBERNETES),
    nothing("VPC_CNI_VERSION", "it is the incumbent's; `enid --version` tells enid's"),
    nothing("USE_CLOUDWATCH", METRICS_HELPER),
    nothing("USE_PROMETHEUS", METRICS_HELPER),
    nothing("METRIC_UPDATE_INTERVAL", METRICS_HELPER),
    nothing("AWS_CLUSTER_ID", METRICS_HELPER),
    stands("AWS_REGION", &["cloud.region"], "also the SDK's own", reading::text),
];
