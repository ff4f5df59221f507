//! `[pool]`: the node's supply of addresses.

use std::time::Duration;

use enid_core::ids::SecurityGroupId;
use enid_core::limits::Mode;
use enid_core::node::{Cards, Provisioning};

use super::document::Section;
use super::{narrow, once, secs};

/// Security groups of one ENI: EC2's quota is raised to 16 at most.
const MAX_GROUPS: usize = 16;

/// `[pool]`: the node's supply of addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Single secondary addresses or delegated /28 prefixes. Default `secondary-ip`. It is about IPv4 alone: IPv6
    /// addresses always come out of a delegated prefix, so that an IPv6 node ignores it.
    pub mode: Mode,
    /// What EC2 may be asked for. Default `full`; otherwise somebody else provides ENIs and addresses.
    pub provisioning: Provisioning,
    /// ENIs to use at most, the primary included. Default: what the instance type allows.
    pub max_enis: Option<u32>,
    /// How long an address rests after its pod is gone, in seconds. Default 30: time for other nodes and
    /// load balancers to forget the pod before its address means another one.
    pub cooldown: Duration,
    /// How old a pod must be before a GC that does not list it takes its addresses, in seconds. Default 60: a list may be
    /// older than the pod.
    pub gc_grace: Duration,
    /// How long an ADD waits for supply before it fails with its reason, in seconds. Default 60: an ENI takes
    /// some 20 to appear. Stay below the plugin's own patience (`timeout_secs` in the network configuration,
    /// 90 unless said otherwise), or the runtime never sees the reason.
    pub wait: Duration,
    /// Whether new ENIs may be in any subnet of the zone that its tags offer. Default true; otherwise only in the
    /// primary's. Custom networking has its own subnets.
    pub subnet_discovery: bool,
    /// Security groups of the ENIs that we create. Default: none, and they have the primary's. Those of an
    /// ENIConfig come first.
    pub security_groups: Vec<SecurityGroupId>,
    /// Which network cards carry pods. Default `default`: the instance type's default one.
    pub network_cards: Cards,
    /// Whether ENIs that somebody else attached may carry pods, unless they are tagged
    /// `node.k8s.amazonaws.com/no_manage`. Default true, as the incumbent has it.
    pub manage_foreign_enis: bool,
    /// Whether ENIs of the cluster that were created for pods and that nobody owns any more are deleted, also those of
    /// nodes that are gone. Default true: nobody else would, and they cost addresses.
    pub sweep: bool,
    /// Whether ENIs come and go on a node that takes no new pods. Default false: it is probably about to end.
    pub manage_enis_when_unschedulable: bool,
}

impl Default for Pool {
    fn default() -> Self {
        Self {
            mode: Mode::SecondaryIp,
            provisioning: Provisioning::Full,
            max_enis: None,
            cooldown: Duration::from_secs(30),
            gc_grace: Duration::from_secs(60),
            wait: Duration::from_secs(60),
            subnet_discovery: true,
            security_groups: Vec::new(),
            network_cards: Cards::Default,
            manage_foreign_enis: true,
            sweep: true,
            manage_enis_when_unschedulable: false,
        }
    }
}

impl Pool {
    pub(super) fn read(section: &mut Section<'_, '_>) -> Self {
        let default = Self::default();
        Self {
            mode: section.text("mode", "\"secondary-ip\" or \"prefix\"", mode).unwrap_or(default.mode),
            provisioning: section
                .text("provisioning", "\"full\", \"look-only\" or \"metadata-only\"", provisioning)
                .unwrap_or(default.provisioning),
            max_enis: section.integer("max_enis", 1..=128, "ENIs").map(narrow),
            cooldown: secs(section, "cooldown_secs", 0..=3600, default.cooldown),
            gc_grace: secs(section, "gc_grace_secs", 0..=3600, default.gc_grace),
            wait: secs(section, "wait_secs", 0..=110, default.wait),
            subnet_discovery: section.flag("subnet_discovery").unwrap_or(default.subnet_discovery),
            security_groups: security_groups(section).unwrap_or(default.security_groups),
            network_cards: section
                .text("network_cards", "\"default\" or \"every\"", cards)
                .unwrap_or(default.network_cards),
            manage_foreign_enis: section.flag("manage_foreign_enis").unwrap_or(default.manage_foreign_enis),
            sweep: section.flag("sweep").unwrap_or(default.sweep),
            manage_enis_when_unschedulable: section
                .flag("manage_enis_when_unschedulable")
                .unwrap_or(default.manage_enis_when_unschedulable),
        }
    }
}

/// The list `security_groups` of `section`.
pub(super) fn security_groups(section: &mut Section<'_, '_>) -> Option<Vec<SecurityGroupId>> {
    let mut seen = Vec::new();
    let allowed = "the id of a security group that is not listed yet, like \"sg-0a1b2c3d\"";
    section.texts("security_groups", 0..=MAX_GROUPS, allowed, |text| {
        text.parse().ok().and_then(|id| once(&mut seen, id))
    })
}

fn mode(text: &str) -> Option<Mode> {
    match text {
        "secondary-ip" => Some(Mode::SecondaryIp),
        "prefix" => Some(Mode::Prefix),
        _ => None,
    }
}

fn provisioning(text: &str) -> Option<Provisioning> {
    match text {
        "full" => Some(Provisioning::Full),
        "look-only" => Some(Provisioning::LookOnly),
        "metadata-only" => Some(Provisioning::MetadataOnly),
        _ => None,
    }
}

fn cards(text: &str) -> Option<Cards> {
    match text {
        "default" => Some(Cards::Default),
        "every" => Some(Cards::Every),
        _ => None,
    }
}
