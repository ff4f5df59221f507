//! What the kernel has in one namespace, by the tools that everybody has.

use std::collections::BTreeSet;
use std::net::IpAddr;

use enid_vpc_lab::iproute::{ip_batch, ip_query, nft, nft_query};
use enid_vpc_lab::namespace::NetNs;
use serde_json::Value;

/// The network of one namespace.
#[derive(Clone, Debug)]
pub struct Kernel(NetNs);

impl Kernel {
    /// The network of `namespace`.
    pub fn of(namespace: &NetNs) -> Self {
        Self(namespace.clone())
    }

    /// Changes it: one line of `ip -batch` each.
    #[track_caller]
    pub fn change(&self, lines: &[String]) {
        ip_batch(Some(&self.0), lines).unwrap();
    }

    /// Changes nftables: a script of `nft -f`.
    #[track_caller]
    pub fn change_nft(&self, script: &str) {
        nft(&self.0, script).unwrap();
    }

    /// What `ip -json` says.
    #[track_caller]
    pub fn ip(&self, words: &[&str]) -> Vec<Value> {
        let mut all = vec!["-j"];
        all.extend(words);
        let text = ip_query(Some(&self.0), &all).unwrap();
        // `ip -j` prints nothing at all, or empty objects, where there is nothing.
        let found: Vec<Value> =
            if text.trim().is_empty() { Vec::new() } else { serde_json::from_str(&text).unwrap() };
        found.into_iter().filter(|item| item.as_object().is_some_and(|object| !object.is_empty())).collect()
    }

    /// The link called `name`.
    #[track_caller]
    pub fn link(&self, name: &str) -> Option<Value> {
        self.ip(&["-d", "link"]).into_iter().find(|link| link["ifname"] == name)
    }

    /// The lines of `ip rule` and of `ip route` that name an address.
    pub fn mentions(&self, address: impl Into<IpAddr>) -> Vec<String> {
        let address = address.into();
        let family = if address.is_ipv4() { "-4" } else { "-6" };
        let rules = ip_query(Some(&self.0), &[family, "rule"]).unwrap();
        let routes = ip_query(Some(&self.0), &[family, "route", "show", "table", "all"]).unwrap();
        let text = address.to_string();
        let names = |line: &&str| line.split_whitespace().any(|word| word == text);
        rules.lines().chain(routes.lines()).filter(names).map(|line| line.trim().to_owned()).collect()
    }

    /// What rules and routes of both families are about pods: those of their priorities, and over their links.
    pub fn about_pods(&self, veth_prefix: &str) -> Vec<String> {
        let mut found = Vec::new();
        for family in ["-4", "-6"] {
            let rules = ip_query(Some(&self.0), &[family, "rule"]).unwrap();
            let of_pods = |line: &&str| line.starts_with("512:") || line.starts_with("1536:");
            found.extend(rules.lines().filter(of_pods).map(str::to_owned));
            let routes = ip_query(Some(&self.0), &[family, "route", "show", "table", "all"]).unwrap();
            let over_links = |line: &&str| line.contains(&format!(" dev {veth_prefix}"));
            found.extend(routes.lines().filter(over_links).map(str::to_owned));
        }
        found
    }

    /// All of nftables, without what is counted.
    pub fn ruleset(&self) -> String {
        nft_query(Some(&self.0), &["--stateless", "list", "ruleset"]).unwrap()
    }

    /// The packets that a named counter has counted; `table` is a family and a name, like `ip enid`.
    #[track_caller]
    pub fn counted(&self, table: &str, name: &str) -> u64 {
        let mut words = vec!["-j", "list", "counter"];
        words.extend(table.split(' ').chain([name]));
        let text = nft_query(Some(&self.0), &words).unwrap();
        let document: Value = serde_json::from_str(&text).unwrap();
        let mut items = document["nftables"].as_array().unwrap().iter();
        items.find_map(|item| item["counter"]["packets"].as_u64()).unwrap_or_else(|| panic!("{text}"))
    }

    /// Links, IPv4 rules and routes, and nftables tables, to be compared. Without IPv6: there the kernel is
    /// busy on its own after a link comes up.
    pub fn picture(&self) -> BTreeSet<String> {
        let mut things = BTreeSet::new();
        for words in [["-4", "rule", "show"].as_slice(), &["-4", "route", "show", "table", "all"]] {
            let text = ip_query(Some(&self.0), words).unwrap();
            things.extend(text.lines().map(|line| format!("{} {}", words[1], line.trim())));
        }
        let links = self.ip(&["link"]);
        things.extend(links.iter().map(|link| format!("link {}", link["ifname"])));
        let tables = nft_query(Some(&self.0), &["list", "tables"]).unwrap();
        things.extend(tables.lines().map(|line| format!("nft {line}")));
        things
    }

    /// From now on nothing of the AWS services at these addresses is heard: packets vanish, as they do behind
    /// a broken network.
    pub fn cut_off(&self, services: &[&str]) {
        let all = services.join(", ");
        self.change_nft(&format!(
            "table ip outage {{\n chain out {{\n type filter hook output priority 0\n ip daddr {{ {all} }} drop\n }}\n}}"
        ));
    }

    /// Ends what [`Kernel::cut_off`] began.
    pub fn restore(&self) {
        self.change_nft("delete table ip outage");
    }
}
