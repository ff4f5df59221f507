//! What the kernel has for a pod, compared with its wiring. Pure: the tables have been read before.

use std::net::IpAddr;

use enid_core::ids::{IfName, Mac};
use enid_core::wiring::{MAIN_TABLE, PodLink, RULE_FROM_POD, RULE_TO_POD};
use enid_engine::ports::DatapathError;
use ipnet::IpNet;

use crate::Dad;
use crate::address::{self, Standing};
use crate::family::Family;
use crate::fault::{Fault, Faults, Mend};
use crate::link::{self, DOOMED, Link};
use crate::netlink::{Netlink, Request};
use crate::route::{self, Route};
use crate::rule::{self, Rule, Selector};
use crate::sysctl;
use crate::tables::Tables;

/// A link of a pod, counted from 0.
#[derive(Clone, Copy)]
pub(crate) struct Nth<'a> {
    pub(crate) index: usize,
    pub(crate) link: &'a PodLink,
}

/// The pod's side: its tables, and the host end of its pair if that exists.
pub(crate) struct Inside<'a> {
    pub(crate) tables: &'a Tables,
    pub(crate) outside: Option<&'a Link>,
    /// How an address that is missing is added.
    pub(crate) dad: Dad,
}

/// Whose a namespace is, as far as the links in it tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whose {
    /// The pod's: its first interface is there.
    ThePods,
    /// Nothing in it is the pod's, nor in the pod's way.
    Nobodys,
    /// Something else has the interface's name, or the host end's other end is elsewhere.
    Anothers,
}

/// Whether two links are the ends of one veth pair, as far as their indexes tell.
pub(crate) fn are_a_pair(outside: &Link, inside: &Link) -> bool {
    outside.peer == Some(inside.index) && inside.peer == Some(outside.index)
}

/// Whose the namespace is whose links and addresses these are, `outside` being the host end of the pod's first
/// interface.
pub(crate) fn whose(inside: &Tables, first: &PodLink, outside: Option<&Link>) -> Whose {
    let named = inside.link_named(first.ifname.as_str());
    let has_its_address = |link: &Link| inside.has_address(link.index, first.address.into());
    match (outside, named) {
        (Some(outside), _) if inside.links().any(|link| are_a_pair(outside, link)) => Whose::ThePods,
        (_, Some(named)) if has_its_address(named) => Whose::ThePods,
        (None, None) => Whose::Nobodys,
        (Some(_), None) | (_, Some(_)) => Whose::Anothers,
    }
}

/// The tables of the node in which one link of a pod has something, `outside` being its host end.
pub(crate) fn read_host(
    netlink: &mut Netlink,
    pod: &PodLink,
    outside: Option<Link>,
) -> Result<Tables, DatapathError> {
    let mut tables = Tables::default();
    outside.into_iter().for_each(|link| tables.put_link(link));
    for family in families(pod) {
        tables.read_routes(netlink, family, MAIN_TABLE)?;
        tables.read_rules(netlink, family)?;
        if family == Family::Ipv6 {
            tables.read_neighbours(netlink, family)?;
        }
    }
    Ok(tables)
}

/// The tables of a pod whose links have been read, as far as they are about these links.
pub(crate) fn read_pod(
    netlink: &mut Netlink,
    tables: &mut Tables,
    links: &[Nth<'_>],
) -> Result<(), DatapathError> {
    for family in Family::spoken() {
        // What else is on a pod's link is looked at in both families.
        tables.read_addresses(netlink, *family)?;
        if !links.iter().any(|nth| families(nth.link).any(|spoken| spoken == *family)) {
            continue;
        }
        tables.read_neighbours(netlink, *family)?;
        for nth in links {
            tables.read_routes(netlink, *family, Route::table_in_pod(nth.index))?;
        }
        if links.iter().any(|nth| nth.index > 0) {
            tables.read_rules(netlink, *family)?;
        }
    }
    Ok(())
}

/// Differences on the node's side. `mac` is the pod end's, if it is known.
pub(crate) fn on_host(tables: &Tables, pod: &PodLink, mac: Option<Mac>) -> Vec<Fault> {
    let veth = &pod.host_veth;
    let outside = tables.link_named(veth.as_str());
    let mut faults = Faults::default();
    match outside {
        None => faults.add(format!("host veth {veth} is missing"), Mend::Pair),
        Some(link) => {
            faults.link(link, pod.mtu);
            let doomed = link.group == DOOMED;
            faults.unless(!doomed, || (format!("host veth {veth} is about to be deleted"), Mend::Nothing));
        }
    }
    for (address, table) in pod.addresses() {
        let to = IpNet::from(address);
        faults.host_route(tables.routes(MAIN_TABLE, to), address, veth, outside);
        if let (IpAddr::V6(_), Some(link)) = (address, outside) {
            let answer = tables.permanent(link.index, address);
            let right = answer.is_some() && (mac.is_none() || answer == mac);
            faults.unless(right, || {
                let add = |mac| address::answered_by(address, mac, link.index, veth.as_str());
                let what = match answer {
                    None => format!("permanent neighbour {address} dev {veth} is missing"),
                    Some(wrong) => format!("neighbour {address} dev {veth} has MAC {wrong}, not the pod's"),
                };
                (what, mac.map_or(Mend::Beyond, |mac| Mend::request(add(mac))))
            });
        }
        let wanted = [Some(Rule::to_pod(address)), Rule::from_pod(address, table)];
        for rule in wanted.iter().flatten() {
            faults.unless(tables.has_rule(rule), || missing_rule(rule, ""));
        }
        for (priority, selector) in [(RULE_TO_POD, Selector::To(to)), (RULE_FROM_POD, Selector::From(to))] {
            for rule in tables.rules(priority, selector) {
                let right = wanted.contains(&Some(*rule));
                faults.unless(right, || {
                    let elsewhere = if priority == RULE_TO_POD {
                        "past the main table".to_owned()
                    } else {
                        format!("to another ENI than table {table}")
                    };
                    (format!("rule {rule} leads {elsewhere}"), Mend::request(rule::delete(rule)))
                });
            }
        }
    }
    faults.0
}

/// Differences in the settings of a host end that is there.
pub(crate) fn settings_of_host_end(pod: &PodLink) -> Result<Vec<Fault>, DatapathError> {
    let mut faults = Faults::default();
    faults.setting(sysctl::refuse_router_advertisements(&pod.host_veth))?;
    if families(pod).any(|family| family == Family::Ipv6) {
        faults.setting(sysctl::speak_ipv6(&pod.host_veth))?;
        for setting in sysctl::be_a_host_to_the_pod(pod.host_veth.as_str()) {
            faults.setting(setting)?;
        }
    }
    Ok(faults.0)
}

/// The difference that a loopback link makes that is not up.
pub(crate) fn loopback(tables: &Tables) -> Option<Fault> {
    let is_down = tables.link_named("lo").is_some_and(|loopback| !loopback.up);
    let mend = || Mend::request(link::loopback_up());
    is_down.then(|| Fault { what: "lo is down in the pod".to_owned(), mend: mend() })
}

/// Differences inside the pod.
pub(crate) fn in_pod(nth: Nth<'_>, inside: &Inside<'_>) -> Vec<Fault> {
    let Inside { tables, outside, dad } = *inside;
    let Nth { index, link: pod } = nth;
    let ifname = &pod.ifname;
    let mut faults = Faults::default();
    let Some(link) = tables.link_named(ifname.as_str()) else {
        let renamed = outside.and_then(|outside| tables.links().find(|link| are_a_pair(outside, link)));
        let mend = if renamed.is_some() { Mend::Beyond } else { Mend::Pair };
        faults.add(format!("{ifname} is missing in the pod"), mend);
        return faults.0;
    };
    faults.unless(link.up, || {
        (format!("{ifname} is down"), Mend::request(link::end_up(link.index, ifname.as_str())))
    });
    // A chained plugin may have given it another one.
    faults.unless(link.mtu == pod.mtu, || {
        (format!("{ifname} has MTU {}, not {}", link.mtu, pod.mtu), Mend::Nothing)
    });
    faults.unless(outside.is_none_or(|outside| are_a_pair(outside, link)), || {
        (format!("{ifname} in the pod is not the other end of {}", pod.host_veth), Mend::Beyond)
    });
    faults.addresses(tables, pod, link, dad);
    for (address, _) in pod.addresses() {
        let family = Family::of(address);
        if let Some(rule) = Rule::inside_pod(address, index) {
            faults.unless(tables.has_rule(&rule), || missing_rule(&rule, " in the pod"));
        }
        for route in Route::of_pod(family, index, link.index) {
            faults.pod_route(tables, &route, ifname);
        }
        let gateway = family.gateway(index);
        let answer = tables.permanent(link.index, gateway);
        let host_mac = outside.and_then(|outside| outside.mac);
        let mend = || {
            let add = |mac| Mend::request(address::answered_by(gateway, mac, link.index, ifname.as_str()));
            host_mac.map_or(Mend::Beyond, add)
        };
        match (answer, host_mac) {
            (None, _) => {
                faults
                    .add(format!("permanent neighbour {gateway} dev {ifname} is missing in the pod"), mend());
            }
            (Some(mac), Some(host_mac)) => faults.unless(mac == host_mac, || {
                let what =
                    format!("neighbour {gateway} in the pod has MAC {mac}, the host veth has {host_mac}");
                (what, mend())
            }),
            (Some(_), None) => {}
        }
    }
    faults.0
}

/// The families of a link's addresses.
pub(crate) fn families(pod: &PodLink) -> impl Iterator<Item = Family> {
    pod.addresses().map(|(address, _)| Family::of(address))
}

fn missing_rule(rule: &Rule, place: &str) -> (String, Mend) {
    (format!("rule {rule} is missing{place}"), Mend::request(rule::add(rule)))
}

impl Faults {
    /// The first of these routes to the pod is the one that is used.
    fn host_route(&mut self, routes: &[Route], address: IpAddr, veth: &IfName, outside: Option<&Link>) {
        let to = IpNet::from(address);
        let wanted = outside.map(|link| Route::to_neighbour(address, link.index, MAIN_TABLE));
        let wrong = || routes.iter().take_while(|route| Some(*route) != wanted.as_ref());
        let what = match routes.first() {
            Some(first) if Some(first) == wanted.as_ref() => return,
            Some(_) => format!("route {to} does not lead to {veth}"),
            None => format!("route {to} dev {veth} is missing"),
        };
        let Some(wanted) = &wanted else {
            self.add(what, Mend::Pair);
            return;
        };
        let mut requests = vec![route::replace(wanted, veth.as_str())];
        // What stood in the same place has been replaced; what was preferred still is.
        let preferred = wrong().filter(|route| route.link.is_some());
        requests.extend(preferred.map(|route| route::delete(route, "another link")));
        self.add(what, Mend::Requests(requests));
    }

    fn pod_route(&mut self, tables: &Tables, route: &Route, ifname: &IfName) {
        let to_the_same = tables.routes(route.table, route.to);
        self.unless(to_the_same.contains(route), || {
            // Another one in its place is the pod's own doing, as that of a VPN is.
            let mend = match to_the_same {
                [] => Mend::request(route::add(route, ifname.as_str())),
                [_, ..] => Mend::Nothing,
            };
            (format!("route {route} dev {ifname} is missing in the pod"), mend)
        });
    }

    /// The addresses on the pod's end.
    fn addresses(&mut self, tables: &Tables, pod: &PodLink, link: &Link, dad: Dad) {
        let (ifname, dev) = (&pod.ifname, pod.ifname.as_str());
        let held: Vec<_> = tables.held(link.index).collect();
        for (address, _) in pod.addresses() {
            let net = IpNet::from(address);
            let add = || address::add_to_pod(address, dad, link.index, dev);
            match held.iter().find(|held| held.net == net).map(|held| held.standing) {
                None => {
                    self.add(
                        format!("address {net} is missing on {ifname} in the pod"),
                        Mend::request(add()),
                    );
                }
                Some(Standing::Settled) => {}
                Some(Standing::Tentative) => {
                    self.add(format!("address {net} on {ifname} in the pod is tentative"), Mend::Nothing);
                }
                Some(Standing::Duplicate) => {
                    let requests: Vec<Request> = vec![address::delete(net, link.index, dev), add()];
                    let what = format!("address {net} on {ifname} in the pod is somebody else's, too");
                    self.add(what, Mend::Requests(requests));
                }
            }
        }
        for other in held.iter().filter(|held| !pod.addresses().any(|(own, _)| held.net == IpNet::from(own)))
        {
            self.add(format!("address {} on {ifname} in the pod is not the pod's", other.net), Mend::Nothing);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(index: u32, name: &str, peer: Option<u32>) -> Link {
        Link { index, name: name.to_owned(), up: true, mtu: 9001, peer, ..Link::default() }
    }

    fn pod() -> PodLink {
        PodLink {
            host_veth: "enia".parse().unwrap(),
            ifname: "eth0".parse().unwrap(),
            address: "10.7.0.50".parse().unwrap(),
            table: 2,
            mtu: 9001,
            second: None,
        }
    }

    fn tables(links: Vec<Link>) -> Tables {
        let mut tables = Tables::default();
        links.into_iter().for_each(|link| tables.put_link(link));
        tables
    }

    #[test]
    fn a_namespace_is_the_pods_by_its_pair_and_anothers_by_its_name() {
        let outside = link(7, "enia", Some(3));
        let lo = || link(1, "lo", None);
        for (outside, links, expected) in [
            (Some(&outside), vec![lo(), link(3, "eth0", Some(7))], Whose::ThePods),
            (Some(&outside), vec![lo(), link(3, "renamed", Some(7))], Whose::ThePods),
            (Some(&outside), vec![lo(), link(3, "eth0", Some(8))], Whose::Anothers),
            (Some(&outside), vec![lo()], Whose::Anothers),
            (None, vec![lo(), link(3, "eth0", Some(8))], Whose::Anothers),
            (None, vec![lo(), link(3, "net1", Some(8))], Whose::Nobodys),
            (None, vec![lo()], Whose::Nobodys),
        ] {
            let case = format!("{outside:?} {links:?}");
            assert_eq!(whose(&tables(links), &pod(), outside), expected, "{case}");
        }
    }

    #[test]
    fn without_the_pair_everything_waits_for_a_new_one() {
        let faults = on_host(&tables(Vec::new()), &pod(), None);
        let (pairs, rules): (Vec<_>, Vec<_>) =
            faults.iter().partition(|fault| matches!(fault.mend, Mend::Pair));
        let words = |faults: Vec<&Fault>| -> Vec<String> {
            faults.into_iter().map(|fault| fault.what.clone()).collect()
        };
        assert_eq!(words(pairs), ["host veth enia is missing", "route 10.7.0.50/32 dev enia is missing"]);
        assert_eq!(
            words(rules),
            [
                "rule to 10.7.0.50 lookup main (512) is missing",
                "rule from 10.7.0.50 lookup 2 (1536) is missing"
            ]
        );
    }
}
