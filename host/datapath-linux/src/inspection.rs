//! What is really in the kernel for a pod, compared with its wiring. Reads whole tables; never on a pod's
//! path.

use enid_core::event::KernelView;
use enid_core::ids::IfName;
use enid_core::wiring::{MAIN_TABLE, PodLink, RULE_FROM_POD, VethPrefix};
use enid_engine::ports::{DatapathError, Drift};
use ipnet::IpNet;

use crate::address::{self, Standing};
use crate::family::Family;
use crate::link::{self, DOOMED, Link};
use crate::netlink::Netlink;
use crate::route::{self, Route};
use crate::rule::{self, Rule, Selector};

/// A link of a pod, counted from 0.
#[derive(Clone, Copy)]
pub(crate) struct Nth<'a> {
    pub(crate) index: usize,
    pub(crate) link: &'a PodLink,
}

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
    pod: &PodLink,
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
    for (address, table) in pod.addresses() {
        let family = Family::of(address);
        let to = IpNet::from(address);
        let routes = route::in_table(netlink, family, MAIN_TABLE)?;
        match routes.iter().find(|route| route.to == to) {
            None => drift.add(format!("route {to} dev {veth} is missing")),
            Some(route) => drift.unless(
                route.via.is_none() && outside.is_some_and(|link| route.link == Some(link.index)),
                || format!("route {to} does not lead to {veth}"),
            ),
        }
        if let (Family::Ipv6, Some(link)) = (family, outside) {
            let answer = address::permanent_answer(netlink, address, link.index)?;
            drift.unless(answer.is_some(), || format!("permanent neighbour {address} dev {veth} is missing"));
        }
        let rules = rule::all(netlink, family)?;
        let wanted = [Some(Rule::to_pod(address)), Rule::from_pod(address, table)];
        for rule in wanted.iter().flatten() {
            drift.unless(rules.contains(rule), || format!("rule {rule} is missing"));
        }
        for rule in &rules {
            let foreign = rule.priority == RULE_FROM_POD
                && rule.selector == Selector::From(to)
                && !wanted.contains(&Some(*rule));
            drift.unless(!foreign, || format!("rule {rule} leads to another ENI than table {table}"));
        }
    }
    Ok(drift.0)
}

/// Differences inside the pod.
pub(crate) fn pod_drift(nth: Nth<'_>, inside: Inside<'_>) -> Result<Vec<Drift>, DatapathError> {
    let Inside { netlink, outside } = inside;
    let Nth { index, link: pod } = nth;
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
    for family in Family::spoken() {
        drift.addresses(netlink, *family, pod, &link)?;
    }
    for (address, _) in pod.addresses() {
        let family = Family::of(address);
        for route in Route::of_pod(family, index, link.index) {
            let routes = route::in_table(netlink, family, route.table)?;
            drift.unless(routes.contains(&route), || {
                format!("route {route} dev {ifname} is missing in the pod")
            });
        }
        if let Some(rule) = Rule::inside_pod(address, index) {
            let there = rule::all(netlink, family)?.contains(&rule);
            drift.unless(there, || format!("rule {rule} is missing in the pod"));
        }
        let gateway = family.gateway(index);
        let answer = address::permanent_answer(netlink, gateway, link.index)?;
        match (answer, outside.and_then(|outside| outside.mac)) {
            (None, _) => {
                drift.add(format!("permanent neighbour {gateway} dev {ifname} is missing in the pod"));
            }
            (Some(mac), Some(host_mac)) => drift.unless(mac == host_mac, || {
                format!("neighbour {gateway} in the pod has MAC {mac}, the host veth has {host_mac}")
            }),
            (Some(_), None) => {}
        }
    }
    Ok(drift.0)
}

/// All host routes to a single address through a link with our prefix.
pub(crate) fn pods(netlink: &mut Netlink, prefix: &VethPrefix) -> Result<KernelView, DatapathError> {
    let links = link::all(netlink)?;
    let ours = || links.iter().filter(|link| link.name.starts_with(prefix.as_str()) && link.peer.is_some());
    let veth_of = |route: &Route| Some(ours().find(|link| Some(link.index) == route.link)?.name.clone());
    let mut view = KernelView { veths: ours().map(|link| link.name.clone()).collect(), ..Default::default() };
    for family in Family::spoken() {
        let routes = route::in_table(netlink, *family, MAIN_TABLE)?;
        let to_pods = routes.iter().filter(|route| route.is_to_a_pod());
        view.routed.extend(to_pods.filter_map(|route| Some((route.to.addr(), veth_of(route)?))));
    }
    Ok(view)
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

    /// The addresses of one family on the pod's end.
    fn addresses(
        &mut self,
        netlink: &mut Netlink,
        family: Family,
        pod: &PodLink,
        link: &Link,
    ) -> Result<(), DatapathError> {
        let ifname = &pod.ifname;
        let held = address::on_link(netlink, family, link.index, &link.name)?;
        let wanted: Vec<IpNet> = pod
            .addresses()
            .filter(|(address, _)| Family::of(*address) == family)
            .map(|(address, _)| address.into())
            .collect();
        for address in &wanted {
            match held.iter().find(|held| held.net == *address).map(|held| held.standing) {
                None => self.add(format!("address {address} is missing on {ifname} in the pod")),
                Some(Standing::Settled) => {}
                Some(Standing::Tentative) => {
                    self.add(format!("address {address} on {ifname} in the pod is tentative"));
                }
                Some(Standing::Duplicate) => {
                    self.add(format!("address {address} on {ifname} in the pod is somebody else's, too"));
                }
            }
        }
        for other in held.iter().filter(|held| !wanted.contains(&held.net)) {
            self.add(format!("address {} on {ifname} in the pod is not the pod's", other.net));
        }
        Ok(())
    }
}
