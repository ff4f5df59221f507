//! What the kernel has in one namespace, by the tools that everybody has.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use enid_vpc_lab::iproute::{ip_batch, ip_query, nft, nft_query};
use enid_vpc_lab::namespace::NetNs;
use serde_json::Value;

/// The network of one namespace.
#[derive(Clone, Debug)]
pub struct Kernel(NetNs);

impl Kernel {
    pub(crate) fn of(namespace: &NetNs) -> Self {
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
    pub fn mentions(&self, address: Ipv4Addr) -> Vec<String> {
        let rules = ip_query(Some(&self.0), &["rule"]).unwrap();
        let routes = ip_query(Some(&self.0), &["route", "show", "table", "all"]).unwrap();
        let text = address.to_string();
        let names = |line: &&str| line.split_whitespace().any(|word| word == text);
        rules.lines().chain(routes.lines()).filter(names).map(|line| line.trim().to_owned()).collect()
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
