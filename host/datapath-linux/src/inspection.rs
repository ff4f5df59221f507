//! What is really in the kernel for a pod, compared with its wiring. Reads whole tables; never on a pod's path.

use enid_core::event::KernelView;
use enid_core::ids::IfName;
use enid_core::wiring::{MAIN_TABLE, POD_GATEWAY, PodWiring, RULE_FROM_POD, VethPrefix};
use enid_engine::ports::{DatapathError, Drift};
use ipnet::Ipv4Net;

use crate::address;
use crate::link::{self, DOOMED, Link};
use crate::netlink::Netlink;
use crate::route::{self, Route};
use crate::rule::{self, Rule, Selector};

/// The pod's side: a socket in its namespace, and the host end of its pair if that exists.
pub(crate) struct Inside<'a> {
    pub(crate) netlink: &'a mut Netlink,
    pub(crate) outside: Option<&'a Link>,
}

/// Whether two links are the ends of one veth pair, as far as their indexes tell.
pub(crate) fn are_a_pair(outside: &Link, inside: &Link) -> bool {
    outside.peer == Some(inside.index) && inside.peer == Some(outside.index)
}

/// The name of the link in this namespace that is the other end of `outside`.
pub(crate) fn other_end(inside: &mut Netlink, outside: &Link) -> Result<Option<String>, DatapathError> {
    let links = link::all(inside)?;
    Ok(links.into_iter().find(|inside| are_a_pair(outside, inside)).map(|link| link.name))
}

/// Differences on the host's side, `outside` being the link of the host veth's name.
pub(crate) fn host_drift(
    netlink: &mut Netlink,
    pod: &PodWiring,
    outside: Option<&Link>,
) -> Result<Vec<Drift>, DatapathError> {
    let veth = &pod.host_veth;
    let mut drift = Drifts::default();
    match outside {
        None => drift.add(format!("host veth {veth} is missing")),
        Some(link) => {
            drift.link(veth, link, pod.mtu);
            drift.unless(link.group != DOOMED, || format!("host veth {veth} is about to be deleted"));
        }
    }
    let to = Ipv4Net::from(pod.address);
    let routes = route::in_table(netlink, MAIN_TABLE)?;
    match routes.iter().find(|route| route.to == to) {
        None => drift.add(format!("route {to} dev {veth} is missing")),
        Some(route) => drift.unless(
            route.via.is_none() && outside.is_some_and(|link| route.link == Some(link.index)),
            || format!("route {to} does not lead to {veth}"),
        ),
    }
    let rules = rule::all(netlink)?;
    let wanted = [Some(Rule::to_pod(pod)), Rule::from_pod(pod)];
    for rule in wanted.iter().flatten() {
        drift.unless(rules.contains(rule), || format!("rule {rule} is missing"));
    }
    for rule in &rules {
        let foreign = rule.priority == RULE_FROM_POD
            && rule.selector == Selector::From(pod.address)
            && !wanted.contains(&Some(*rule));
        drift.unless(!foreign, || format!("rule {rule} leads to another ENI than table {}", pod.table));
    }
    Ok(drift.0)
}

/// Differences inside the pod.
pub(crate) fn pod_drift(pod: &PodWiring, inside: Inside<'_>) -> Result<Vec<Drift>, DatapathError> {
    let Inside { netlink, outside } = inside;
    let ifname = &pod.ifname;
    let mut drift = Drifts::default();
    let Some(link) = link::by_name(netlink, ifname)? else {
        drift.add(format!("{ifname} is missing in the pod"));
        return Ok(drift.0);
    };
    drift.link(ifname, &link, pod.mtu);
    drift.unless(outside.is_none_or(|outside| are_a_pair(outside, &link)), || {
        format!("{ifname} in the pod is not the other end of {}", pod.host_veth)
    });
    let address = Ipv4Net::from(pod.address);
    let addresses = address::on_link(netlink, link.index, &link.name)?;
    drift.unless(addresses.contains(&address), || {
        format!("address {address} is missing on {ifname} in the pod")
    });
    for other in addresses.iter().filter(|other| **other != address) {
        drift.add(format!("address {other} on {ifname} in the pod is not the pod's"));
    }
    let routes = route::in_table(netlink, MAIN_TABLE)?;
    for route in Route::of_pod(link.index) {
        drift.unless(routes.contains(&route), || format!("route {route} dev {ifname} is missing in the pod"));
    }
    let gateway = address::permanent_gateway(netlink, link.index)?;
    match (gateway, outside.and_then(|outside| outside.mac)) {
        (None, _) => {
            drift.add(format!("permanent neighbour {POD_GATEWAY} dev {ifname} is missing in the pod"))
        }
        (Some(mac), Some(host_mac)) => drift.unless(mac == host_mac, || {
            format!("neighbour {POD_GATEWAY} in the pod has MAC {mac}, the host veth has {host_mac}")
        }),
        (Some(_), None) => {}
    }
    Ok(drift.0)
}

/// All host routes to a single address through a link with our prefix.
pub(crate) fn pods(netlink: &mut Netlink, prefix: &VethPrefix) -> Result<KernelView, DatapathError> {
    let links = link::all(netlink)?;
    let routes = route::in_table(netlink, MAIN_TABLE)?;
    let ours = || links.iter().filter(|link| link.name.starts_with(prefix.as_str()) && link.peer.is_some());
    let veth_of = |route: &Route| Some(ours().find(|link| Some(link.index) == route.link)?.name.clone());
    let single = routes.iter().filter(|route| route.to.prefix_len() == 32 && route.via.is_none());
    Ok(KernelView {
        routed: single.filter_map(|route| Some((route.to.addr(), veth_of(route)?))).collect(),
        veths: ours().map(|link| link.name.clone()).collect(),
    })
}

#[derive(Default)]
struct Drifts(Vec<Drift>);

impl Drifts {
    fn add(&mut self, what: String) {
        self.0.push(Drift { what });
    }

    fn unless(&mut self, right: bool, what: impl FnOnce() -> String) {
        if !right {
            self.add(what());
        }
    }

    fn link(&mut self, name: &IfName, link: &Link, mtu: u32) {
        self.unless(link.up, || format!("{name} is down"));
        self.unless(link.mtu == mtu, || format!("{name} has MTU {}, not {mtu}", link.mtu));
    }
}
