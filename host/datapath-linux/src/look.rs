//! A look at everything of ours that the kernel has: every table of the node is read once, every pod's namespace
//! visited once, and all of it compared with what is wanted. Nothing is written.
//!
//! Pods come and go meanwhile. One that is being unwired is recognised by its doomed host end and left out; about
//! others the engine knows whether it worked on them since it asked. What seems to be missing is looked for again,
//! because the kernel may skip an entry when another one ahead of it goes.

use std::collections::BTreeSet;
use std::net::IpAddr;

use enid_core::event::{Drift, KernelView, KernelWanted, Part, WantedPod};
use enid_core::wiring::{EniWiring, MAIN_TABLE, VethPrefix};
use enid_engine::ports::DatapathError;
use ipnet::IpNet;

use crate::Dad;
use crate::eni;
use crate::family::Family;
use crate::fault::Fault;
use crate::inhabitants::Inhabitants;
use crate::inspection::{self, Inside, Nth};
use crate::link::{DOOMED, Link};
use crate::namespace::NodeNamespace;
use crate::netlink::Netlink;
use crate::nft::Nft;
use crate::node;
use crate::tables::Tables;
use crate::visit::Visit;

/// How often what is missing is looked for again. At worst one reading in four skips a certain entry.
const SECOND_LOOKS: u32 = 8;

/// What it takes to look.
pub(crate) struct Eyes<'a> {
    pub(crate) namespace: &'a NodeNamespace,
    pub(crate) netlink: &'a mut Netlink,
    pub(crate) nft: &'a Nft,
    pub(crate) prefix: &'a VethPrefix,
}

/// Looks, and compares.
pub(crate) fn look(eyes: Eyes<'_>, wanted: &KernelWanted) -> Result<KernelView, DatapathError> {
    let Eyes { namespace, netlink, nft, prefix } = eyes;
    let mut tables = Tables::default();
    tables.read_links(netlink)?;
    if !wanted.enis.is_empty() {
        tables.read_addresses(netlink, Family::Ipv4)?;
    }
    read(netlink, &mut tables, wanted)?;
    for _ in 0..SECOND_LOOKS {
        if !lacks_something(&tables, wanted) {
            break;
        }
        read(netlink, &mut tables, wanted)?;
    }
    let mut view = overview(&tables, prefix, wanted);
    if let Some(node) = &wanted.node {
        let drift = node::drift(&tables, nft, node)?;
        view.drifts.extend(drift.into_iter().map(|what| Drift { of: Part::Node, what }));
    }
    for eni in &wanted.enis {
        let of = || Part::Eni(eni.eni.clone());
        match eni::faults(&tables, eni) {
            Ok(faults) => view.drifts.extend(faults.into_iter().map(|fault| fault.of(of()))),
            // Its link is gone, or has another MAC: setting it up says the same until it is back.
            Err(error) => view.drifts.push(Drift { of: of(), what: error.to_string() }),
        }
    }
    // Every process of the node is looked at for it.
    let inhabitants = if wanted.pods.is_empty() { Inhabitants::Anywhere } else { Inhabitants::count() };
    for pod in &wanted.pods {
        look_at_pod((namespace, &inhabitants), &tables, pod, &mut view)?;
    }
    Ok(view)
}

/// Reads what is read again when something is missing.
fn read(netlink: &mut Netlink, tables: &mut Tables, wanted: &KernelWanted) -> Result<(), DatapathError> {
    for family in Family::spoken() {
        tables.read_routes(netlink, *family, MAIN_TABLE)?;
        tables.read_rules(netlink, *family)?;
    }
    let seats: BTreeSet<u32> = wanted.enis.iter().map(|eni| eni.seat.table()).collect();
    for table in seats.into_iter().filter(|table| *table != MAIN_TABLE) {
        tables.read_routes(netlink, Family::Ipv4, table)?;
    }
    if addresses(wanted).any(|address| address.is_ipv6()) {
        tables.read_neighbours(netlink, Family::Ipv6)?;
    }
    Ok(())
}

/// Whether the node's tables differ from what is wanted.
fn lacks_something(tables: &Tables, wanted: &KernelWanted) -> bool {
    let pod = |pod: &WantedPod| {
        let mut faults = pod.wiring.links().flat_map(|link| inspection::on_host(tables, link, None));
        faults.any(|fault| fault.is_drift())
    };
    let eni = |eni: &EniWiring| eni::faults(tables, eni).map_or(true, |faults| !faults.is_empty());
    wanted.node.as_deref().is_some_and(|node| node::lacks_rules(tables, node))
        || wanted.enis.iter().any(eni)
        || wanted.pods.iter().any(pod)
}

/// What is there, whoever wants it.
fn overview(tables: &Tables, prefix: &VethPrefix, wanted: &KernelWanted) -> KernelView {
    let is_ours = |link: &&Link| link.name.starts_with(prefix.as_str()) && link.peer.is_some();
    let to_pods = tables.used_routes().filter(|route| route.table == MAIN_TABLE && route.is_to_a_pod());
    let routed = to_pods.filter_map(|route| {
        let veth = tables.link(route.link?).filter(is_ours)?;
        Some((route.to.addr(), veth.name.clone()))
    });
    let wanted: BTreeSet<IpAddr> = addresses(wanted).collect();
    let with_rules = tables.all_rules().filter_map(|rule| rule.pod());
    let strays = with_rules.filter(|address| {
        tables.routes(MAIN_TABLE, IpNet::from(*address)).is_empty() && !wanted.contains(address)
    });
    KernelView {
        routed: routed.collect(),
        veths: tables.links().filter(is_ours).map(|link| link.name.clone()).collect(),
        strays: strays.collect(),
        ..KernelView::default()
    }
}

fn addresses(wanted: &KernelWanted) -> impl Iterator<Item = IpAddr> {
    let links = wanted.pods.iter().flat_map(|pod| pod.wiring.links());
    links.flat_map(|link| link.addresses().map(|(address, _)| address))
}

fn look_at_pod(
    (namespace, inhabitants): (&NodeNamespace, &Inhabitants),
    tables: &Tables,
    pod: &WantedPod,
    view: &mut KernelView,
) -> Result<(), DatapathError> {
    let key = pod.wiring.key();
    let host_end = |link: &str| tables.link_named(link);
    let visit = match Visit::pay(namespace, pod, host_end(pod.wiring.first.host_veth.as_str())) {
        Ok(visit) => visit,
        Err(error) => {
            tracing::warn!(pod = %key, %error, "the pod's namespace could not be looked at");
            // Whoever may live there is not taken for gone.
            view.alive.insert(key);
            view.inhabited.insert(key);
            None
        }
    };
    if let Some(visit) = &visit {
        view.alive.insert(key);
        if inhabitants.are_in(&visit.netns) {
            view.inhabited.insert(key);
        }
    }
    let is_doomed = |link: &Link| link.group == DOOMED;
    if pod.wiring.links().any(|link| host_end(link.host_veth.as_str()).is_some_and(is_doomed)) {
        return Ok(());
    }
    let mut faults: Vec<Fault> = Vec::new();
    if let Some(visit) = &visit {
        faults.extend(inspection::loopback(&visit.tables));
    }
    for (index, link) in pod.wiring.links().enumerate() {
        let outside = host_end(link.host_veth.as_str());
        let inside = visit.as_ref().map(|visit| &visit.tables);
        let mac = inside.and_then(|tables| tables.link_named(link.ifname.as_str())?.mac);
        if outside.is_some() {
            faults.extend(inspection::settings_of_host_end(link)?);
        }
        faults.extend(inspection::on_host(tables, link, mac));
        if let Some(tables) = inside {
            let inside = Inside { tables, outside, dad: Dad::default() };
            faults.extend(inspection::in_pod(Nth { index, link }, &inside));
        }
    }
    let drift = faults.into_iter().filter(Fault::is_drift);
    view.drifts.extend(drift.map(|fault| fault.of(Part::Pod(key))));
    Ok(())
}
