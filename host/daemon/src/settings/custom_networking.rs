//! `[custom_networking]` and `[eni_config.NAME]`: pods' ENIs in other subnets than the primary's.

use std::collections::BTreeMap;

use enid_core::ids::SubnetId;
use enid_core::node::{self, EniConfig};
use enid_core::wiring::Families;

use super::document::Section;
use super::node::{LABEL, is_domain, is_label};
use super::{Settings, once, pool};

/// ENIConfigs in one file, which many nodes may share.
const MAX_ENI_CONFIGS: usize = 256;
/// Subnets of one ENIConfig: each may cost a refused call before the next is tried.
const MAX_SUBNETS: usize = 32;
/// The label whose ENIConfig comes before any other's, as with the incumbent.
const EXTERNAL: &str = "vpc.amazonaws.com/externalEniConfig";
/// Labels that every node has without their being listed.
const ZONE_LABELS: [&str; 2] = ["topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone"];
/// The ENIConfig of a node that nothing else names one for.
const FALLBACK: &str = "default";

/// `[custom_networking]`: whether pods' ENIs are where an ENIConfig says, and which one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CustomNetworking {
    /// Whether it is so. Default false. The primary ENI then carries no pods; not with IPv6 nodes, whose
    /// addresses are the primary's.
    pub enabled: bool,
    /// The node's label that names the ENIConfig. Default `k8s.amazonaws.com/eniConfig`.
    pub label: String,
}

impl Default for CustomNetworking {
    fn default() -> Self {
        Self { enabled: false, label: "k8s.amazonaws.com/eniConfig".to_owned() }
    }
}

impl CustomNetworking {
    pub(super) fn read(section: &mut Section<'_, '_>, families: Families) -> Self {
        let default = Self::default();
        let (possible, allowed) = match families {
            Families::Ipv4 | Families::DualStack => (true, "true or false"),
            Families::Ipv6 => {
                (false, "false: with ip_family = \"ipv6\" pods' addresses are the primary ENI's")
            }
        };
        Self {
            enabled: section
                .flag_if("enabled", allowed, |enabled| possible || !enabled)
                .unwrap_or(default.enabled),
            label: section
                .text("label", &format!("the key of a label: {LABEL}"), |label| {
                    is_label(label).then(|| label.to_owned())
                })
                .unwrap_or(default.label),
        }
    }
}

/// The tables under `[eni_config]`.
pub(super) fn read_eni_configs(root: &mut Section<'_, '_>) -> BTreeMap<String, EniConfig> {
    let allowed = format!(
        "a table with subnets = [\"subnet-…\"]; at most {MAX_ENI_CONFIGS}, named by lower-case letters, digits, \
         `-` and dots"
    );
    let configs =
        root.named_sections("eni_config", MAX_ENI_CONFIGS, &allowed, is_domain, |name, section| EniConfig {
            name: name.to_owned(),
            subnets: read_subnets(section),
            security_groups: pool::security_groups(section).unwrap_or_default(),
        });
    configs.into_iter().map(|config| (config.name.clone(), config)).collect()
}

/// `subnets`, or one `subnet` as in the incumbent's ENIConfig.
fn read_subnets(section: &mut Section<'_, '_>) -> Vec<SubnetId> {
    let subnet = "the id of a subnet, like \"subnet-0a1b2c3d\"";
    if section.sets("subnets") {
        section.text("subnet", "left out: `subnets` is set", |_| None::<SubnetId>);
        let mut seen = Vec::new();
        let allowed = format!("{subnet}, that is not listed yet");
        let subnets = section.texts("subnets", 1..=MAX_SUBNETS, &allowed, |text| {
            text.parse().ok().and_then(|id| once(&mut seen, id))
        });
        return subnets.unwrap_or_default();
    }
    if !section.sets("subnet") {
        section.missing("subnets", "", &format!("an ENIConfig has at least one, {subnet}"));
    }
    section.text("subnet", subnet, |text| text.parse().ok()).into_iter().collect()
}

/// Says when only one half of custom networking is there.
pub(super) fn remark(root: &mut Section<'_, '_>, settings: &Settings) {
    match (settings.custom_networking.enabled, settings.eni_configs.is_empty()) {
        (true, true) => root.remark(
            "custom_networking.enabled",
            "no [eni_config.NAME] describes a subnet, so that no ENI is created for pods",
        ),
        (false, false) => {
            root.remark("eni_config", "without effect as long as custom_networking.enabled is not true")
        }
        (true, false) | (false, true) => {}
    }
}

/// Where pods' ENIs of a node in `zone` are.
///
/// The node's label [`EXTERNAL`] names the ENIConfig; else the label of the settings; else it is called as the
/// zone, or `default`. A label that names an ENIConfig that is not there is not passed over. Without a label the one
/// that is missing is the zone's.
pub(crate) fn custom_networking(settings: &Settings, zone: &str) -> node::CustomNetworking {
    if !settings.custom_networking.enabled {
        return node::CustomNetworking::Off;
    }
    let label = |key: &str| {
        let known = ZONE_LABELS.contains(&key).then_some(zone);
        settings.node.labels.get(key).map(String::as_str).or(known).filter(|name| !name.is_empty())
    };
    let named = label(EXTERNAL).or_else(|| label(&settings.custom_networking.label));
    let candidates = named.map_or_else(|| vec![zone, FALLBACK], |name| vec![name]);
    match candidates.iter().find_map(|name| settings.eni_configs.get(*name)) {
        Some(config) => node::CustomNetworking::Use(config.clone()),
        None => node::CustomNetworking::Missing { name: candidates[0].to_owned() },
    }
}
