//! A node's kernel as far as decisions depend on it: links, routes, rules and namespaces as facts that can each be
//! broken, and what goes wrong in it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::ops::Deref;
use std::time::Duration;

use enid_core::event::{Drift, KernelView, KernelWanted, Part, WantedPod};
use enid_core::ids::{EniId, IfName};
use enid_core::wiring::{EniWiring, NodeWiring, PodLink, PodWiring};

/// A pod in the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// How it was wired.
    pub wiring: PodWiring,
    /// Where its network namespace is found.
    pub netns: Option<String>,
    /// What somebody took away since.
    pub lacks: BTreeSet<Lack>,
    /// Whether somebody else wired it.
    pub foreign: bool,
}

impl Deref for Pod {
    type Target = PodWiring;
    fn deref(&self) -> &PodWiring {
        &self.wiring
    }
}

impl Pod {
    fn whole(wiring: PodWiring, netns: Option<String>) -> Self {
        Self { wiring, netns, lacks: BTreeSet::new(), foreign: false }
    }

    fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.wiring.links().flat_map(|link| link.addresses().map(|(address, _)| address))
    }

    fn has_route(&self, address: IpAddr) -> bool {
        self.addresses().any(|own| own == address) && !self.lacks.contains(&Lack::Route(address))
    }
}

/// Something that a pod's wiring should have and has not.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lack {
    /// A veth pair, by its host end.
    Link(IfName),
    /// The route to an address.
    Route(IpAddr),
    /// The rules of an address.
    Rule(IpAddr),
}

/// An ENI that is set up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetUp {
    /// How.
    pub wiring: EniWiring,
    /// Whether somebody took its rule away since.
    pub lacks_rule: bool,
    /// The same for its table.
    pub lacks_table: bool,
}

/// The kernel, and what goes wrong in it.
#[derive(Clone, Debug, Default)]
pub struct Kernel {
    /// Pods whose network namespace is there, each by the address that stands for it.
    pub pods: BTreeMap<IpAddr, Pod>,
    /// ENIs that are set up.
    pub enis: BTreeMap<EniId, SetUp>,
    /// What holds for the whole node.
    pub node: Option<NodeWiring>,
    /// Whether somebody deleted the nftables table since.
    pub lacks_nft: bool,
    /// Addresses that have rules although nothing else of their pods is left.
    pub rules: BTreeSet<IpAddr>,
    /// Network namespaces of sandboxes, by path.
    pub namespaces: BTreeSet<String>,
    /// Those of them that no process lives in any more.
    pub deserted: BTreeSet<String>,
    /// How long each piece of work takes.
    pub takes: Duration,
    /// How long a look takes.
    pub look_takes: Duration,
    /// Whether looks see the kernel as it was when they began; otherwise as it is when they end.
    pub looks_are_stale: bool,
    /// What the coming looks say they found, whatever is there.
    pub views: VecDeque<KernelView>,
    /// How many of the coming looks fail.
    pub refuse_looks: u32,
    /// How many of the coming wirings fail and leave nothing behind.
    pub refuse_wirings: u32,
    /// How many of the coming unwirings fail and leave everything as it was.
    pub refuse_unwirings: u32,
    /// How many of the coming repairs fail.
    pub refuse_repairs: u32,
    /// How many of the coming changes of what holds for the whole node fail.
    pub refuse_node: u32,
    /// ENIs whose links do not appear although EC2 says `attached`.
    pub without_link: BTreeSet<EniId>,
    /// Whether links of further ENIs do not appear either.
    pub hide_links: bool,
    /// Changes made so far; what was right already is none.
    pub writes: u64,
    /// Pods whose wiring was taken away, each time.
    pub unwired: u64,
    /// Wirings that no daemon may ask for: an address that another pod still has, or that is not the
    /// node's in EC2.
    pub outrages: Vec<String>,
}

impl Kernel {
    /// What a look that compares with nothing would find now.
    pub fn seen(&self) -> KernelView {
        self.look(&KernelWanted::default(), |_| true)
    }

    /// What a look finds now; `plugged` says which ENIs have links.
    pub fn look(&self, wanted: &KernelWanted, plugged: impl Fn(&EniId) -> bool) -> KernelView {
        let mut view = KernelView::default();
        for pod in self.pods.values() {
            for link in pod.links() {
                if !pod.lacks.contains(&Lack::Link(link.host_veth.clone())) {
                    view.veths.insert(link.host_veth.to_string());
                }
                let routed = link.addresses().filter(|(address, _)| pod.has_route(*address));
                view.routed.extend(routed.map(|(address, _)| (address, link.host_veth.to_string())));
            }
        }
        let ruled = self
            .pods
            .values()
            .flat_map(|pod| pod.addresses().filter(|address| !pod.lacks.contains(&Lack::Rule(*address))));
        let ruled = ruled.chain(self.rules.iter().copied());
        view.strays = ruled.filter(|address| !view.routed.contains_key(address)).collect();
        let alive = wanted.pods.iter().filter(|pod| self.is_alive(pod.netns.as_ref()));
        view.alive = alive.map(|pod| pod.wiring.key()).collect();
        let inhabited = |pod: &&WantedPod| {
            self.is_alive(pod.netns.as_ref())
                && pod.netns.as_ref().is_some_and(|path| !self.deserted.contains(path))
        };
        view.inhabited = wanted.pods.iter().filter(inhabited).map(|pod| pod.wiring.key()).collect();
        view.drifts = self.drifts(wanted, plugged);
        view
    }

    fn is_alive(&self, netns: Option<&String>) -> bool {
        netns.is_some_and(|path| self.namespaces.contains(path))
    }

    fn drifts(&self, wanted: &KernelWanted, plugged: impl Fn(&EniId) -> bool) -> Vec<Drift> {
        let mut drifts = Vec::new();
        let mut drift = |of: Part, what: &str| drifts.push(Drift { of, what: what.to_owned() });
        if let Some(node) = &wanted.node
            && (self.node.as_ref() != Some(&**node) || self.lacks_nft)
        {
            drift(Part::Node, "nftables table");
        }
        for eni in &wanted.enis {
            let of = || Part::Eni(eni.eni.clone());
            match self.enis.get(&eni.eni) {
                Some(there) if there.wiring == *eni => {
                    if there.lacks_rule {
                        drift(of(), "rule");
                    }
                    if there.lacks_table {
                        drift(of(), "table");
                    }
                    if !plugged(&eni.eni) {
                        drift(of(), "link");
                    }
                }
                Some(_) | None => drift(of(), "everything"),
            }
        }
        for wanted in &wanted.pods {
            let of = || Part::Pod(wanted.wiring.key());
            match self.pods.get(&wanted.wiring.key()) {
                Some(pod) if pod.wiring == wanted.wiring => {
                    pod.lacks.iter().for_each(|lack| drift(of(), &format!("{lack:?}")));
                }
                Some(_) | None => drift(of(), "everything"),
            }
        }
        drifts
    }

    /// Wires a pod, or says why not and leaves nothing behind.
    pub(crate) fn wire(&mut self, wiring: PodWiring, netns: Option<String>) -> Result<(), String> {
        if take_one(&mut self.refuse_wirings) {
            return Err("netlink says no".to_owned());
        }
        if netns.is_some() && !self.is_alive(netns.as_ref()) {
            return Err("the network namespace is gone".to_owned());
        }
        if self.pods.get(&wiring.key()).is_some_and(|pod| pod.foreign) {
            return Err("the route exists".to_owned());
        }
        self.insert(Pod::whole(wiring, netns));
        Ok(())
    }

    /// Begins to wire a pod and gets no further than its link and rules.
    pub(crate) fn wire_in_part(&mut self, wiring: PodWiring, netns: Option<String>) {
        if netns.is_none() || self.is_alive(netns.as_ref()) {
            let mut pod = Pod::whole(wiring, netns);
            pod.lacks = pod.addresses().map(Lack::Route).collect();
            if !self.pods.contains_key(&pod.key()) {
                self.insert(pod);
            }
        }
    }

    fn insert(&mut self, pod: Pod) {
        if self.pods.get(&pod.key()) == Some(&pod) {
            return;
        }
        self.writes += 1;
        for address in pod.addresses() {
            self.rules.remove(&address);
        }
        self.pods.insert(pod.key(), pod);
    }

    /// Unwires a pod, as far as its host link still owns what there is.
    pub(crate) fn unwire(&mut self, wiring: &PodWiring) -> Result<(), String> {
        if take_one(&mut self.refuse_unwirings) {
            return Err("netlink says no".to_owned());
        }
        let owned = |pod: &Pod| pod.first.host_veth == wiring.first.host_veth;
        if self.pods.get(&wiring.key()).is_some_and(owned) {
            self.pods.remove(&wiring.key());
            self.writes += 1;
            self.unwired += 1;
        }
        for (address, _) in wiring.links().flat_map(PodLink::addresses) {
            self.remove_stray(address);
        }
        Ok(())
    }

    /// Puts back what a pod lacks.
    pub(crate) fn repair(&mut self, wanted: &WantedPod) -> Result<(), String> {
        if take_one(&mut self.refuse_repairs) {
            return Err("netlink says no".to_owned());
        }
        let alive = self.is_alive(wanted.netns.as_ref());
        match self.pods.get_mut(&wanted.wiring.key()) {
            Some(pod) if pod.first.host_veth != wanted.wiring.first.host_veth => {
                Err(format!("{} has the route", pod.first.host_veth))
            }
            Some(pod) if !alive && pod.lacks.iter().any(|lack| matches!(lack, Lack::Link(_))) => {
                Err("the network namespace cannot be found".to_owned())
            }
            Some(pod) => {
                let mended = Pod { lacks: BTreeSet::new(), wiring: wanted.wiring.clone(), ..pod.clone() };
                if *pod != mended {
                    *pod = mended;
                    self.writes += 1;
                }
                Ok(())
            }
            None if alive => {
                self.insert(Pod::whole(wanted.wiring.clone(), wanted.netns.clone()));
                Ok(())
            }
            None => Err("the network namespace cannot be found".to_owned()),
        }
    }

    /// Removes the rules of an address that no route leads to.
    pub(crate) fn remove_stray(&mut self, address: IpAddr) {
        if self.pods.values().any(|pod| pod.has_route(address)) {
            return;
        }
        self.writes += u64::from(self.rules.remove(&address));
        for pod in self.pods.values_mut().filter(|pod| pod.addresses().any(|own| own == address)) {
            self.writes += u64::from(pod.lacks.insert(Lack::Rule(address)));
        }
    }

    /// Sets an ENI up, or mends it.
    pub(crate) fn set_up(&mut self, wiring: EniWiring) {
        let whole = SetUp { wiring, lacks_rule: false, lacks_table: false };
        if self.enis.get(&whole.wiring.eni) != Some(&whole) {
            self.enis.insert(whole.wiring.eni.clone(), whole);
            self.writes += 1;
        }
    }

    /// Removes an ENI's rule and table.
    pub(crate) fn tear_down(&mut self, eni: &EniId) {
        self.writes += u64::from(self.enis.remove(eni).is_some());
    }

    /// Takes over what holds for the whole node, or mends it.
    pub(crate) fn set_up_node(&mut self, wiring: NodeWiring) -> Result<(), String> {
        if take_one(&mut self.refuse_node) {
            return Err("nft says no".to_owned());
        }
        self.take_over(wiring);
        Ok(())
    }

    pub(crate) fn take_over(&mut self, wiring: NodeWiring) {
        if self.lacks_nft || self.node.as_ref() != Some(&wiring) {
            self.node = Some(wiring);
            self.lacks_nft = false;
            self.writes += 1;
        }
    }

    /// Whether an ENI that EC2 says is attached has a link.
    pub(crate) fn link_appears(&mut self, eni: &EniId) -> bool {
        if self.hide_links && !self.enis.contains_key(eni) {
            self.without_link.insert(eni.clone());
        }
        !self.without_link.contains(eni)
    }

    /// Somebody deletes the route to an address.
    pub fn lose_route(&mut self, address: IpAddr) {
        self.lose(address, Lack::Route(address));
    }

    /// Somebody deletes the rules of an address.
    pub fn lose_rule(&mut self, address: IpAddr) {
        self.lose(address, Lack::Rule(address));
    }

    /// Somebody deletes a pod's first link; its routes go along.
    pub fn lose_link(&mut self, key: IpAddr) {
        if let Some(pod) = self.pods.get_mut(&key) {
            pod.lacks.insert(Lack::Link(pod.first.host_veth.clone()));
            let routes: Vec<_> = pod.first.addresses().map(|(address, _)| Lack::Route(address)).collect();
            pod.lacks.extend(routes);
        }
    }

    fn lose(&mut self, address: IpAddr, lack: Lack) {
        for pod in self.pods.values_mut().filter(|pod| pod.addresses().any(|own| own == address)) {
            pod.lacks.insert(lack.clone());
        }
    }

    /// A pod's network namespace goes and takes its links and routes along; its rules stay.
    pub fn kill(&mut self, key: IpAddr) -> Option<Pod> {
        let pod = self.pods.remove(&key)?;
        let ruled = pod.addresses().filter(|address| !pod.lacks.contains(&Lack::Rule(*address)));
        self.rules.extend(ruled);
        if let Some(path) = &pod.netns {
            self.namespaces.remove(path);
        }
        Some(pod)
    }

    /// A sandbox's network namespace goes, with whatever is in it.
    pub fn end_namespace(&mut self, path: &str) {
        self.namespaces.remove(path);
        let inside = |pod: &&Pod| pod.netns.as_deref() == Some(path);
        let keys: Vec<_> = self.pods.values().filter(inside).map(|pod| pod.key()).collect();
        for key in keys {
            self.kill(key);
        }
    }

    /// Somebody else wires a pod.
    pub fn add_foreign(&mut self, wiring: PodWiring) {
        self.pods.insert(wiring.key(), Pod { foreign: true, ..Pod::whole(wiring, None) });
    }

    /// Nothing goes wrong any more; what was broken stays broken.
    pub fn heal(&mut self) {
        (self.refuse_looks, self.refuse_wirings, self.refuse_unwirings) = (0, 0, 0);
        (self.refuse_repairs, self.refuse_node) = (0, 0);
        (self.takes, self.look_takes, self.looks_are_stale) = (Duration::ZERO, Duration::ZERO, false);
        self.hide_links = false;
        self.without_link.clear();
        self.views.clear();
    }
}

/// Uses up one of so many.
pub(crate) fn take_one(left: &mut u32) -> bool {
    let some = *left > 0;
    *left = left.saturating_sub(1);
    some
}
