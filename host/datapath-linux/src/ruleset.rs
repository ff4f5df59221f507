//! The text of our nftables tables: source translation of pods' off-VPC traffic, the marks that bring replies
//! back through the primary ENI, who may open connections to pods, and which sources pods may send from.
//!
//! A pod sends from addresses that are routed to the host end it sends through, and from no others: the VPC's own check
//! knows which ENI an address is on, not which pod has it, and does not see what stays on the node. What a pod sends
//! under another's address is dropped before anything else is done with it, for every family that the node forwards.
//! The kernel's routes say whose an address is, so nothing is written here when a pod comes or goes, and a pod with
//! several interfaces or with a node-local address needs no rule of its own. Link-local and unspecified IPv6 sources,
//! which neighbour discovery uses, go no further than the link and are let through.
//!
//! `ip enid` and `ip6 enid` are made of the same chains; a table with nothing to do is not there. What is
//! dropped is counted by reason in named counters, which start anew with their table: `nft list counters`.

use std::fmt::Write as _;
use std::net::IpAddr;

use enid_core::wiring::{EGRESS_V4, EGRESS_V6, Families, Ingress, NodeWiring, SnatPorts};
use enid_engine::ports::DatapathError;
use ipnet::IpNet;

use crate::family::Family;
use crate::netlink::failed;

/// The tables of both families.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ruleset {
    tables: [Table; 2],
}

/// What is done to one family's packets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Table {
    family: Family,
    /// The link of the primary ENI.
    primary: String,
    /// The links of pods, as nftables matches them.
    pods: String,
    mark: u32,
    vpc: Vec<IpNet>,
    exclude: Vec<IpNet>,
    node_port: bool,
    /// Of traffic that leaves the VPC.
    snat: Option<Translation>,
    /// Of traffic from node-local addresses.
    egress: Option<(IpNet, Translation)>,
    /// Who may open connections to pods from elsewhere; `None`: everybody.
    sources: Option<Vec<IpNet>>,
    /// Whether the node forwards what pods send.
    forwards: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Translation {
    to: IpAddr,
    ports: SnatPorts,
}

impl Ruleset {
    /// Our tables for this wiring, `primary` being the link of the primary ENI.
    pub(crate) fn of(node: &NodeWiring, primary: &str) -> Result<Self, DatapathError> {
        let refused = |why: &str| failed("write the nftables rules", why);
        if node.vpc_cidrs.is_empty() {
            return Err(refused("without a single VPC range all traffic would count as leaving the VPC"));
        }
        if node.mark == 0 {
            return Err(refused("the mark has no bit, so everything would count as marked"));
        }
        if !primary.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.@".contains(&byte)) {
            return Err(refused(&format!("the name of the link `{primary}` cannot be written there")));
        }
        let prefix = node.veth_prefix.as_str();
        if primary.starts_with(prefix) {
            return Err(refused(&format!(
                "the primary ENI's link `{primary}` would pass for a pod's: its name starts with the veth prefix \
                 `{prefix}`, which has to be another one"
            )));
        }
        let mut ipv4 = Table::new(Family::Ipv4, node, primary, node.families.ipv4());
        ipv4.vpc = node.vpc_cidrs.iter().copied().map(IpNet::V4).collect();
        ipv4.exclude = node.snat_exclude.iter().copied().map(IpNet::V4).collect();
        let to = node.primary_address.into();
        ipv4.snat = node.snat.filter(|_| node.families.ipv4()).map(|ports| Translation { to, ports });
        let mut ipv6 = Table::new(Family::Ipv6, node, primary, node.families.ipv6());
        ipv6.vpc = node.vpc_ipv6_cidrs.iter().copied().map(IpNet::V6).collect();
        match (node.families, node.egress) {
            (Families::Ipv6, Some(ports)) => {
                ipv4.egress = Some((EGRESS_V4.into(), Translation { to, ports }));
            }
            (Families::Ipv4, Some(ports)) => {
                let to = node.primary_ipv6.ok_or_else(|| {
                    refused("pods have node-local IPv6 addresses, and the node has none to translate them to")
                })?;
                ipv6.egress = Some((EGRESS_V6.into(), Translation { to: to.into(), ports }));
            }
            (Families::DualStack, Some(_))
            | (Families::Ipv4 | Families::Ipv6 | Families::DualStack, None) => {}
        }
        Ok(Self { tables: [ipv4, ipv6] })
    }

    /// Whether packets of this family are marked.
    pub(crate) fn marks(&self, family: Family) -> bool {
        self.tables.iter().any(|table| table.family == family && table.marks())
    }

    pub(crate) fn tables(&self) -> &[Table] {
        &self.tables
    }
}

/// The transaction that brings these tables about, `standing` being the families whose table is there: it puts new
/// tables in the place of old ones, or nothing has happened. `None` when there is nothing to do.
pub(crate) fn transaction(tables: &[&Table], standing: &[Family]) -> Option<String> {
    let mut text = String::new();
    for table in tables {
        let name = table_name(table.family);
        if table.is_needed() || standing.contains(&table.family) {
            text += &format!("add table {name}\ndelete table {name}\n");
        }
        if table.is_needed() {
            text += &table.text();
        }
    }
    (!text.is_empty()).then_some(text)
}

/// What our table of a family is called, with the family as nftables has it.
pub(crate) fn table_name(family: Family) -> &'static str {
    match family {
        Family::Ipv4 => "ip enid",
        Family::Ipv6 => "ip6 enid",
    }
}

impl Table {
    /// A table without translation; `has_pods` says whether the VPC gives pods addresses of this family.
    fn new(family: Family, node: &NodeWiring, primary: &str, has_pods: bool) -> Self {
        let ours = |range: &&IpNet| Family::of(range.addr()) == family;
        let sources = match &node.ingress {
            Ingress::Open => None,
            Ingress::Cluster { sources } => Some(sources.iter().filter(ours).copied().collect()),
        };
        Self {
            family,
            primary: primary.to_owned(),
            pods: format!("\"{}*\"", node.veth_prefix.as_str()),
            mark: node.mark,
            vpc: Vec::new(),
            exclude: Vec::new(),
            node_port: has_pods && node.node_port,
            snat: None,
            egress: None,
            sources: sources.filter(|_| has_pods),
            forwards: match family {
                Family::Ipv4 => true,
                Family::Ipv6 => has_pods || node.egress.is_some(),
            },
        }
    }

    fn marks(&self) -> bool {
        self.node_port || self.snat.is_some()
    }

    pub(crate) fn family(&self) -> Family {
        self.family
    }

    /// Whether there is anything to do in it.
    pub(crate) fn is_needed(&self) -> bool {
        self.forwards || self.marks() || self.egress.is_some() || self.sources.is_some()
    }

    /// As `nft` takes it.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        self.write(&mut text).expect("invariant: writing to a string succeeds");
        text
    }

    fn write(&self, text: &mut String) -> std::fmt::Result {
        writeln!(text, "table {} {{", table_name(self.family))?;
        if self.snat.is_some() || self.sources.is_some() {
            self.write_set(text, "vpc", &self.vpc)?;
        }
        if self.snat.is_some() {
            self.write_set(text, "exclude", &self.exclude)?;
        }
        if self.forwards {
            self.write_own_sources(text)?;
        }
        if self.marks() {
            self.write_marks(text)?;
        }
        if let Some(translation) = self.snat {
            self.write_snat(text, translation)?;
        }
        if let Some((range, translation)) = self.egress {
            self.write_egress(text, range, translation)?;
        }
        if let Some(sources) = &self.sources {
            self.write_ingress(text, sources)?;
        }
        writeln!(text, "}}")
    }

    /// Before connections are tracked: what is forged is part of none.
    fn write_own_sources(&self, text: &mut String) -> std::fmt::Result {
        let Self { pods, .. } = self;
        writeln!(text, "\tcounter forged-source {{ }}")?;
        writeln!(text, "\tchain own-sources {{")?;
        writeln!(text, "\t\ttype filter hook prerouting priority raw; policy accept;")?;
        writeln!(text, "\t\tiifname != {pods} accept")?;
        if self.family == Family::Ipv6 {
            writeln!(text, "\t\tip6 saddr {{ ::, fe80::/10 }} accept")?;
        }
        writeln!(text, "\t\tfib saddr . iif oif missing counter name forged-source drop")?;
        writeln!(text, "\t}}")
    }

    fn write_marks(&self, text: &mut String) -> std::fmt::Result {
        let Self { primary, pods, mark, .. } = self;
        if self.node_port {
            // Before kube-proxy translates the destination, while it is still an address of the primary ENI.
            writeln!(text, "\tchain node-port {{")?;
            writeln!(text, "\t\ttype filter hook prerouting priority mangle; policy accept;")?;
            writeln!(
                text,
                "\t\tiifname \"{primary}\" fib daddr . iif type local ct mark set ct mark or {mark:#x}"
            )?;
            writeln!(text, "\t}}")?;
        }
        // After kube-proxy has translated the destination: a Service's address says nothing about where the
        // packet goes. A filter chain, because a translated connection skips all later nat chains.
        writeln!(text, "\tchain pods {{")?;
        writeln!(text, "\t\ttype filter hook prerouting priority -90; policy accept;")?;
        if self.snat.is_some() {
            writeln!(text, "\t\tiifname {pods} ct state new jump leaving")?;
        }
        writeln!(
            text,
            "\t\tiifname {pods} ct mark and {mark:#x} == {mark:#x} meta mark set meta mark or {mark:#x}"
        )?;
        writeln!(text, "\t}}")
    }

    fn write_snat(&self, text: &mut String, translation: Translation) -> std::fmt::Result {
        let Self { mark, .. } = self;
        let ip = self.protocol();
        writeln!(text, "\tchain leaving {{")?;
        writeln!(text, "\t\tfib daddr type local return")?;
        writeln!(text, "\t\t{ip} daddr @vpc return")?;
        writeln!(text, "\t\t{ip} daddr @exclude return")?;
        writeln!(text, "\t\tct mark set ct mark or {mark:#x}")?;
        writeln!(text, "\t}}")?;
        writeln!(text, "\tchain translate {{")?;
        writeln!(text, "\t\ttype nat hook postrouting priority srcnat; policy accept;")?;
        writeln!(text, "\t\t{ip} daddr @vpc return")?;
        writeln!(text, "\t\t{ip} daddr @exclude return")?;
        // Branch ENIs of pods with their own security groups translate nothing.
        writeln!(text, "\t\toifname \"vlan*\" return")?;
        writeln!(text, "\t\tfib daddr type local return")?;
        // What has the address already needs none. Translating it would cut the node's own connections that are
        // older than this chain: their next packet is the first that the kernel tracks, and gets another port.
        writeln!(text, "\t\t{ip} saddr {} return", translation.to)?;
        writeln!(text, "\t\tcounter {translation}")?;
        writeln!(text, "\t}}")
    }

    /// Nobody but this node knows node-local addresses: their connections are translated whatever they go to,
    /// the VPC included, and nothing but what belongs to one of these reaches them.
    fn write_egress(&self, text: &mut String, range: IpNet, translation: Translation) -> std::fmt::Result {
        let Self { pods, .. } = self;
        let ip = self.protocol();
        let refusal = match self.family {
            Family::Ipv4 => "icmp type admin-prohibited",
            Family::Ipv6 => "icmpv6 type admin-prohibited",
        };
        writeln!(text, "\tcounter node-local-refused {{ }}")?;
        writeln!(text, "\tchain node-local {{")?;
        writeln!(text, "\t\ttype filter hook forward priority filter; policy accept;")?;
        writeln!(
            text,
            "\t\t{ip} daddr {range} ct state != {{ established, related }} counter name node-local-refused \
             reject with {refusal}"
        )?;
        writeln!(text, "\t}}")?;
        writeln!(text, "\tchain egress {{")?;
        writeln!(text, "\t\ttype nat hook postrouting priority srcnat; policy accept;")?;
        writeln!(text, "\t\t{ip} saddr {range} oifname != {pods} counter {translation}")?;
        writeln!(text, "\t}}")
    }

    /// The node's own connections do not come by: they are not forwarded.
    fn write_ingress(&self, text: &mut String, sources: &[IpNet]) -> std::fmt::Result {
        let Self { pods, .. } = self;
        let ip = self.protocol();
        self.write_set(text, "sources", sources)?;
        writeln!(text, "\tcounter ingress-from-vpc {{ }}")?;
        writeln!(text, "\tcounter ingress-from-outside {{ }}")?;
        writeln!(text, "\tchain ingress {{")?;
        writeln!(text, "\t\ttype filter hook forward priority filter; policy accept;")?;
        writeln!(text, "\t\toifname != {pods} accept")?;
        writeln!(text, "\t\tct state established,related accept")?;
        // What came to a NodePort or a load balancer of this node.
        writeln!(text, "\t\tct status dnat accept")?;
        writeln!(text, "\t\tiifname {pods} accept")?;
        writeln!(text, "\t\t{ip} saddr @sources accept")?;
        writeln!(text, "\t\t{ip} saddr @vpc counter name ingress-from-vpc drop")?;
        writeln!(text, "\t\tcounter name ingress-from-outside drop")?;
        writeln!(text, "\t}}")
    }

    /// Overlapping ranges are merged here: `nft` refuses them in a set.
    fn write_set(&self, text: &mut String, name: &str, ranges: &[IpNet]) -> std::fmt::Result {
        let mut ranges = IpNet::aggregate(&ranges.to_vec());
        ranges.sort();
        let kind = match self.family {
            Family::Ipv4 => "ipv4_addr",
            Family::Ipv6 => "ipv6_addr",
        };
        write!(text, "\tset {name} {{ type {kind}; flags interval; ")?;
        if !ranges.is_empty() {
            let ranges: Vec<String> = ranges.iter().map(ToString::to_string).collect();
            write!(text, "elements = {{ {} }}; ", ranges.join(", "))?;
        }
        writeln!(text, "}}")
    }

    /// How a rule names the family's header.
    fn protocol(&self) -> &'static str {
        match self.family {
            Family::Ipv4 => "ip",
            Family::Ipv6 => "ip6",
        }
    }
}

impl std::fmt::Display for Translation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ports = match self.ports {
            SnatPorts::Prng => " fully-random",
            SnatPorts::HashRandom => " random",
            SnatPorts::None => "",
        };
        write!(f, "snat to {}{ports}", self.to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node() -> NodeWiring {
        NodeWiring {
            primary_mac: "02:00:00:00:00:01".parse().unwrap(),
            primary_address: "10.10.10.20".parse().unwrap(),
            primary_ipv6: Some("2001:db8::20".parse().unwrap()),
            families: Families::Ipv4,
            veth_prefix: Default::default(),
            vpc_cidrs: vec!["10.10.0.0/16".parse().unwrap(), "10.11.0.0/16".parse().unwrap()],
            vpc_ipv6_cidrs: vec!["2001:db8::/56".parse().unwrap()],
            snat_exclude: vec!["10.12.0.0/16".parse().unwrap()],
            snat: None,
            node_port: false,
            mark: 0x80,
            external_services: Vec::new(),
            egress: None,
            ingress: Ingress::Open,
        }
    }

    fn cluster() -> Ingress {
        let sources = ["10.10.0.0/20", "192.0.2.0/24", "2001:db8::/64"];
        Ingress::Cluster { sources: sources.map(|range| range.parse().unwrap()).to_vec() }
    }

    /// The transaction that writes all tables.
    fn whole(ruleset: &Ruleset, standing: &[Family]) -> Option<String> {
        transaction(&ruleset.tables().iter().collect::<Vec<_>>(), standing)
    }

    /// The text of one family's table; empty when it has none.
    fn table(node: &NodeWiring, family: Family) -> String {
        let text = whole(&Ruleset::of(node, "eth0").unwrap(), &[]).unwrap_or_default();
        let start = format!("table {} {{\n", table_name(family));
        text.find(&start).map_or_else(String::new, |at| text[at..].split_once("\n}\n").unwrap().0.to_owned())
    }

    fn chains(node: &NodeWiring, family: Family) -> Vec<String> {
        let chains = table(node, family);
        chains
            .lines()
            .filter_map(|line| Some(line.trim().strip_prefix("chain ")?.strip_suffix(" {")?.to_owned()))
            .collect()
    }

    #[test]
    fn the_chains_follow_the_settings() {
        use Families::{DualStack, Ipv4, Ipv6};
        let (prng, none) = (Some(SnatPorts::Prng), None);
        let translating = ["own-sources", "pods", "leaving", "translate"].as_slice();
        let everything = ["own-sources", "node-port", "pods", "leaving", "translate"].as_slice();
        let node_port = ["own-sources", "node-port", "pods"].as_slice();
        let local = ["own-sources", "node-local", "egress"].as_slice();
        let own = ["own-sources"].as_slice();
        for (families, snat, ports, egress, ipv4, ipv6) in [
            (Ipv4, prng, true, none, everything, [].as_slice()),
            (Ipv4, none, true, none, node_port, &[]),
            (Ipv4, prng, false, none, translating, &[]),
            (Ipv4, none, false, none, own, &[]),
            (Ipv4, none, false, prng, own, local),
            (Ipv6, prng, true, prng, local, node_port),
            (Ipv6, prng, false, none, own, own),
            (DualStack, prng, true, prng, everything, node_port),
        ] {
            let node = NodeWiring { families, snat, node_port: ports, egress, ..node() };
            let case = format!("{families:?} {snat:?} {ports} {egress:?}");
            assert_eq!(chains(&node, Family::Ipv4), ipv4, "{case}");
            assert_eq!(chains(&node, Family::Ipv6), ipv6, "{case}");
        }
    }

    #[test]
    fn ingress_is_restricted_for_the_families_that_pods_have() {
        for (families, ipv4, ipv6) in
            [(Families::Ipv4, true, false), (Families::Ipv6, false, true), (Families::DualStack, true, true)]
        {
            let node = NodeWiring { families, ingress: cluster(), ..node() };
            let restricted = |family| chains(&node, family).contains(&"ingress".to_owned());
            assert_eq!((restricted(Family::Ipv4), restricted(Family::Ipv6)), (ipv4, ipv6), "{families:?}");
        }
        let node = NodeWiring { families: Families::DualStack, ingress: cluster(), ..node() };
        let ipv4 = table(&node, Family::Ipv4);
        assert!(ipv4.contains(
            "set sources { type ipv4_addr; flags interval; elements = { 10.10.0.0/20, 192.0.2.0/24 }"
        ));
        assert!(table(&node, Family::Ipv6).contains("elements = { 2001:db8::/64 }"));
    }

    #[test]
    fn what_is_there_is_replaced_or_removed_in_one_transaction() {
        let both = [Family::Ipv4, Family::Ipv6];
        let replaced = "add table ip enid\ndelete table ip enid\ntable ip enid {";
        let removed = "add table ip6 enid\ndelete table ip6 enid\n";
        let node = NodeWiring { snat: Some(SnatPorts::Prng), ..node() };
        let ruleset = Ruleset::of(&node, "eth0").unwrap();
        let text = whole(&ruleset, &both).unwrap();
        assert!(text.starts_with(replaced) && text.ends_with(removed), "{text}");
        assert!(!whole(&ruleset, &[]).unwrap().contains("ip6"));
        let ipv6 = &ruleset.tables()[1];
        assert_eq!(transaction(&[ipv6], &[]), None);
        assert_eq!(transaction(&[ipv6], &[Family::Ipv6]).unwrap(), removed);
    }

    #[test]
    fn neighbour_discovery_is_no_forgery() {
        let node = NodeWiring { families: Families::DualStack, ..node() };
        let (ipv4, ipv6) = (table(&node, Family::Ipv4), table(&node, Family::Ipv6));
        let exempt = "ip6 saddr { ::, fe80::/10 } accept\n\t\tfib saddr . iif oif missing";
        assert!(!ipv4.contains("saddr {") && ipv6.contains(exempt), "{ipv6}");
    }

    #[test]
    fn pods_are_known_by_the_configured_prefix() {
        let node = NodeWiring { veth_prefix: "az".to_owned().try_into().unwrap(), ..node() };
        let text = table(&node, Family::Ipv4);
        assert!(text.contains("iifname != \"az*\" accept") && !text.contains("eni*"), "{text}");
    }

    #[test]
    fn ports_are_chosen_as_configured() {
        let line = |node: &NodeWiring, family| {
            table(node, family).lines().find(|line| line.contains("snat to")).unwrap().to_owned()
        };
        for (ports, words) in
            [(SnatPorts::Prng, " fully-random"), (SnatPorts::HashRandom, " random"), (SnatPorts::None, "")]
        {
            let snat = NodeWiring { snat: Some(ports), ..node() };
            assert!(line(&snat, Family::Ipv4).ends_with(&format!("snat to 10.10.10.20{words}")));
            let egress = NodeWiring { egress: Some(ports), ..node() };
            assert!(line(&egress, Family::Ipv6).ends_with(&format!("snat to 2001:db8::20{words}")));
        }
    }

    #[test]
    fn the_mark_is_the_configured_bit() {
        let node = NodeWiring { snat: Some(SnatPorts::Prng), node_port: true, mark: 0x4000, ..node() };
        let text = table(&node, Family::Ipv4);
        assert_eq!((text.matches("0x4000").count(), text.contains("0x80")), (5, false), "{text}");
    }

    #[test]
    fn overlapping_ranges_are_merged() {
        let mut node = NodeWiring { snat: Some(SnatPorts::Prng), ..node() };
        node.snat_exclude =
            ["10.12.4.0/24", "10.12.0.0/16", "10.12.4.0/24"].map(|net| net.parse().unwrap()).to_vec();
        assert!(table(&node, Family::Ipv4).contains("elements = { 10.12.0.0/16 }"));
    }

    #[test]
    fn wirings_that_would_translate_the_wrong_traffic_are_refused() {
        for (what, node) in [
            ("no VPC range", NodeWiring { vpc_cidrs: Vec::new(), ..node() }),
            ("no mark", NodeWiring { mark: 0, ..node() }),
            (
                "no address for IPv6",
                NodeWiring { egress: Some(SnatPorts::Prng), primary_ipv6: None, ..node() },
            ),
        ] {
            assert!(Ruleset::of(&node, "eth0").is_err(), "{what}");
        }
    }

    #[test]
    fn a_primary_link_that_would_pass_for_a_pods_is_refused_by_both_names() {
        for (prefix, primary, refused) in [
            ("e", "ens5", true),
            ("en", "ens5", true),
            ("ens5", "ens5", true),
            ("eni", "ens5", false),
            ("ns", "ens5", false),
        ] {
            let node = NodeWiring { veth_prefix: prefix.to_owned().try_into().unwrap(), ..node() };
            match Ruleset::of(&node, primary) {
                Ok(_) => assert!(!refused, "{prefix} {primary}"),
                Err(why) => {
                    let why = why.to_string();
                    assert!(
                        refused && why.contains(&format!("`{prefix}`")) && why.contains("`ens5`"),
                        "{why}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_link_name_cannot_smuggle_rules_in() {
        for name in ["eth0\"", "eth*", "a;b", "a{b"] {
            assert!(Ruleset::of(&NodeWiring { node_port: true, ..node() }, name).is_err(), "{name}");
        }
    }
}
