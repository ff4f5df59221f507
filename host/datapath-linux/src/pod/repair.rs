//! Putting back what a running pod's wiring lacks. What is right is not touched: the same comparison as a look's says
//! what is missing, and brings the requests that add it.

use std::net::IpAddr;
use std::os::fd::AsFd;

use enid_core::event::WantedPod;
use enid_core::ids::Mac;
use enid_core::wiring::{MAIN_TABLE, PodLink};
use enid_engine::ports::DatapathError;
use ipnet::IpNet;

use super::{PodWirer, all_of, has_ipv6};
use crate::family::Family;
use crate::fault::{self, Fault};
use crate::inspection::{self, Inside, Nth};
use crate::link::{self, DOOMED, Link};
use crate::netlink::failed;
use crate::rule;
use crate::sysctl;
use crate::tables::Tables;
use crate::visit::Visit;

impl PodWirer {
    /// Makes a pod whole again; a pair that is gone is made anew while the pod's namespace is there.
    pub(crate) fn repair(&mut self, pod: &WantedPod) -> Result<(), DatapathError> {
        let wiring = &pod.wiring;
        let first = link::by_name(&mut self.netlink, &wiring.first.host_veth)?;
        let mut visit = Visit::pay(&self.namespace, pod, first.as_ref())?;
        let failures = wiring
            .links()
            .enumerate()
            .filter_map(|(index, link)| self.repair_link(Nth { index, link }, visit.as_mut()).err());
        all_of(format!("repair {}", wiring.key()), failures.collect())
    }

    fn repair_link(&mut self, nth: Nth<'_>, visit: Option<&mut Visit>) -> Result<(), DatapathError> {
        let veth = &nth.link.host_veth;
        let outside = link::by_name(&mut self.netlink, veth)?;
        let attempt = || format!("repair the pod of {}", nth.link.address);
        match (outside, visit) {
            (Some(outside), _) if outside.group == DOOMED => {
                Err(failed(attempt(), format_args!("its host veth {veth} is about to be deleted")))
            }
            (Some(_), None) => self.mend_host_end(nth.link, None),
            (Some(outside), Some(visit)) => {
                let inside = visit.tables.link_named(nth.link.ifname.as_str());
                self.mend_host_end(nth.link, inside.and_then(|link| link.mac))?;
                self.mend_pod_end(nth, &outside, visit)
            }
            (None, Some(visit)) => self.wire_link(nth, visit.netns.as_fd(), &mut visit.netlink).map(drop),
            (None, None) => Err(failed(
                attempt(),
                format_args!("neither its host veth {veth} nor its network namespace is there"),
            )),
        }
    }

    fn mend_host_end(&mut self, pod: &PodLink, mac: Option<Mac>) -> Result<(), DatapathError> {
        fault::mend_all(&mut self.netlink, |netlink| {
            // Without IPv6 on the link no route of it can be there.
            let mut faults = inspection::settings_of_host_end(pod)?;
            let outside = link::by_name(netlink, &pod.host_veth)?;
            let tables = inspection::read_host(netlink, pod, outside)?;
            faults.extend(inspection::on_host(&tables, pod, mac));
            Ok(faults)
        })
    }

    fn mend_pod_end(&mut self, nth: Nth<'_>, outside: &Link, visit: &mut Visit) -> Result<(), DatapathError> {
        if has_ipv6(nth.link) {
            self.namespace.inside(visit.netns.as_fd(), || sysctl::enable_ipv6(&nth.link.ifname))?;
        }
        fault::mend_all(&mut visit.netlink, |netlink| {
            let mut tables = Tables::default();
            tables.read_links(netlink)?;
            inspection::read_pod(netlink, &mut tables, &[nth])?;
            let mut faults: Vec<Fault> = inspection::loopback(&tables).into_iter().collect();
            let inside = Inside { tables: &tables, outside: Some(outside), dad: self.dad };
            faults.extend(inspection::in_pod(nth, &inside));
            Ok(faults)
        })
    }

    /// Removes the rules of an address that no route leads to, and no host end has a neighbour by.
    pub(crate) fn remove_stray(&mut self, address: IpAddr) -> Result<(), DatapathError> {
        let family = Family::of(address);
        let mut tables = Tables::default();
        tables.read_routes(&mut self.netlink, family, MAIN_TABLE)?;
        tables.read_neighbours(&mut self.netlink, family)?;
        let has_route = !tables.routes(MAIN_TABLE, IpNet::from(address)).is_empty();
        if has_route || tables.is_neighbour(address) {
            return Ok(());
        }
        tables.read_rules(&mut self.netlink, family)?;
        let stray = tables.all_rules().filter(|rule| rule.pod() == Some(address));
        self.netlink.apply_in_batches(stray.map(rule::delete).collect())
    }
}
