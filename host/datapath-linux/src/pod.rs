//! One pod's wiring: made in four batches a link, unmade in three, undone completely when it fails half way.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use enid_core::ids::{IfName, Mac};
use enid_core::wiring::{MAIN_TABLE, PodLink, PodWiring};
use enid_engine::ports::{DatapathError, Macs, Wired};
use ipnet::IpNet;
use rustix::io::Errno;

use crate::Dad;
use crate::address::{self, Held};
use crate::dad::{Candidate, Claimed, Watch};
use crate::family::Family;
use crate::inspection::{self, Inside, Nth};
use crate::link::{self, DOOMED, Link};
use crate::namespace::NodeNamespace;
use crate::netlink::{Answer, Netlink, Request, failed};
use crate::reaper::Doom;
use crate::route::{self, Route};
use crate::rule::{self, Rule};
use crate::sysctl;
use crate::tables::Tables;

mod repair;

/// Creation, once more after a leftover has been cleared away, and once more if another appeared meanwhile.
const CREATE_ATTEMPTS: u32 = 3;

/// Wires and unwires pods, one after the other.
pub(crate) struct PodWirer {
    namespace: NodeNamespace,
    netlink: Netlink,
    doom: Doom,
    dad: Dad,
    ipv6: bool,
    random: RandomState,
    macs_made: u64,
}

/// The wirer in the hands of two threads: the one that wires, and the one that gives up pods whose addresses
/// turn out to be somebody else's. Nobody holds it while he waits for something.
#[derive(Clone)]
pub(crate) struct SharedWirer(Arc<Mutex<PodWirer>>);

impl SharedWirer {
    pub(crate) fn new(wirer: PodWirer) -> Self {
        Self(Arc::new(Mutex::new(wirer)))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, PodWirer> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Both ends of a new pair, by index in their namespaces.
#[derive(Clone, Copy)]
struct Pair {
    outside: u32,
    inside: u32,
}

/// Since when a link of a pod is there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Since {
    /// This attempt.
    Now,
    /// An earlier one, which may have been answered: a running pod has it.
    Before,
}

/// A link of a pod that is there, with what would have to go if the pod failed.
pub(crate) struct Made {
    since: Since,
    veth: IfName,
    pair: Pair,
    macs: Macs,
    /// The host's rules that came with it.
    rules: Vec<Rule>,
    /// The pod's own.
    rules_inside: Vec<Rule>,
}

impl Made {
    fn new(nth: Nth<'_>, pair: Pair, macs: Macs, rules: Vec<Rule>) -> Self {
        let inside = nth.link.addresses().filter_map(|(address, _)| Rule::inside_pod(address, nth.index));
        let rules_inside = inside.collect();
        Self { since: Since::Now, veth: nth.link.host_veth.clone(), pair, macs, rules, rules_inside }
    }

    /// Nothing of it would have to go.
    fn found(link: &PodLink, pair: Pair, macs: Macs) -> Self {
        let (rules, rules_inside) = (Vec::new(), Vec::new());
        Self { since: Since::Before, veth: link.host_veth.clone(), pair, macs, rules, rules_inside }
    }
}

/// How far a pod has come when all its links are there.
pub(crate) enum Progress {
    /// It can be answered.
    Wired(Wired),
    /// The kernel does not use all of its addresses yet.
    Tentative(Box<Candidate>),
}

impl Candidate {
    /// What the pod is answered with.
    pub(crate) fn wired(&self) -> Wired {
        Wired(self.made.iter().map(|made| made.macs).collect())
    }

    /// The host end of its first interface, which stands for it in messages.
    pub(crate) fn veth(&self) -> &str {
        self.made.first().map_or("no link", |made| made.veth.as_str())
    }
}

/// What was in the way of a new pair.
enum InTheWay {
    /// Exactly what was asked for: an ADD repeated.
    AlreadyWired(Made),
    /// A leftover, now gone.
    Cleared,
}

impl PodWirer {
    /// Works from `namespace`, which the calling thread has settled in.
    pub(crate) fn new(namespace: NodeNamespace, doom: Doom, dad: Dad) -> Result<Self, DatapathError> {
        let netlink = Netlink::open()?;
        let ipv6 = sysctl::has_ipv6();
        Ok(Self { namespace, netlink, doom, dad, ipv6, random: RandomState::new(), macs_made: 0 })
    }

    /// Wires a pod; afterwards either all of it is there, or nothing but what was there before.
    pub(crate) fn wire(&mut self, pod: &PodWiring, netns: BorrowedFd<'_>) -> Result<Progress, DatapathError> {
        let (mut inside, watch) = self.namespace.inside(netns, || {
            let watch = pod.links().any(has_ipv6).then(Watch::open).transpose()?;
            Ok((Netlink::open_in_pod()?, watch))
        })?;
        let mut made = Vec::new();
        let mut addresses = Vec::new();
        for (index, link) in pod.links().enumerate() {
            match self.wire_link(Nth { index, link }, netns, &mut inside) {
                Ok(link) => made.push(link),
                Err(error) => return Err(self.with_undo(error, |wirer| wirer.undo(&made, &mut inside))),
            }
            let index = made[index].pair.inside;
            addresses.extend(link.addresses().filter_map(|(address, _)| match address {
                IpAddr::V4(_) => None,
                IpAddr::V6(address) => Some(Claimed { address, link: index, dev: link.ifname.clone() }),
            }));
        }
        let Some(watch) = watch else {
            return Ok(Progress::Wired(Wired(made.iter().map(|made| made.macs).collect())));
        };
        let mut candidate = Box::new(Candidate { made, addresses, inside, watch });
        match candidate.is_settled() {
            Ok(true) => Ok(Progress::Wired(candidate.wired())),
            Ok(false) => Ok(Progress::Tentative(candidate)),
            Err(error) => Err(self.abandon(*candidate, error)),
        }
    }

    /// Undoes a pod whose addresses cannot be used.
    pub(crate) fn abandon(&mut self, mut candidate: Candidate, error: DatapathError) -> DatapathError {
        self.with_undo(error, |wirer| wirer.undo(&candidate.made, &mut candidate.inside))
    }

    fn wire_link(
        &mut self,
        nth: Nth<'_>,
        netns: BorrowedFd<'_>,
        inside: &mut Netlink,
    ) -> Result<Made, DatapathError> {
        for _ in 0..CREATE_ATTEMPTS {
            let macs = Macs { host: self.random_mac(), pod: self.random_mac() };
            if let Some(pair) = self.create(nth.link, netns, macs)? {
                return self.complete(nth, netns, inside, pair, macs);
            }
            match self.clear_the_way(nth, inside)? {
                InTheWay::AlreadyWired(made) => return Ok(made),
                InTheWay::Cleared => {}
            }
        }
        Err(failed(format!("create veth {}", nth.link.host_veth), "its name is taken again and again"))
    }

    /// Creates the pair; `None` when one of its names is taken.
    fn create(
        &mut self,
        pod: &PodLink,
        netns: BorrowedFd<'_>,
        macs: Macs,
    ) -> Result<Option<Pair>, DatapathError> {
        let mut answers = self
            .netlink
            .batch(vec![link::create_veth(pod, netns, macs), link::find(&pod.host_veth)])?
            .into_iter();
        match answers.next() {
            Some(Answer::Refused(Errno::EXIST, _)) => return Ok(None),
            Some(Answer::Refused(_, error)) => return Err(error),
            Some(Answer::Done(_) | Answer::Tolerated) | None => {}
        }
        let attempt = || format!("look for the new veth {}", pod.host_veth);
        let found = match answers.next() {
            Some(Answer::Done(Some(payload))) => Link::parse(&payload).map_err(|why| failed(attempt(), why)),
            Some(Answer::Refused(_, error)) => Err(error),
            Some(Answer::Done(None) | Answer::Tolerated) | None => Err(failed(attempt(), "it is not there")),
        };
        let pair = found.and_then(|link| match link.peer {
            Some(inside) => Ok(Pair { outside: link.index, inside }),
            None => Err(failed(attempt(), "the kernel does not name its other end")),
        });
        match pair {
            Ok(pair) => Ok(Some(pair)),
            Err(error) => Err(self.with_undo(error, |wirer| wirer.delete_by_name(pod))),
        }
    }

    fn complete(
        &mut self,
        nth: Nth<'_>,
        netns: BorrowedFd<'_>,
        inside: &mut Netlink,
        pair: Pair,
        macs: Macs,
    ) -> Result<Made, DatapathError> {
        let both_ends = self
            .ready_host_end(nth.link, pair)
            // The host end first: the pod end is opened with a carrier then, and can send at once.
            .and_then(|()| self.ready_pod_end(nth, netns, inside, pair, macs));
        if let Err(error) = both_ends {
            let made = Made::new(nth, pair, macs, Vec::new());
            return Err(self.with_undo(error, |wirer| wirer.undo(&[made], inside)));
        }
        let host_side = HostSide::of(nth.link, pair, macs);
        let answers = match self.netlink.batch(host_side.requests) {
            Ok(answers) => answers,
            Err(error) => {
                let rules = host_side.rules.into_iter().map(|(_, rule)| rule).collect();
                let made = Made::new(nth, pair, macs, rules);
                return Err(self.with_undo(error, |wirer| wirer.undo(&[made], inside)));
            }
        };
        match answers.iter().find_map(Answer::refusal) {
            None => {
                let rules = host_side.rules.into_iter().map(|(_, rule)| rule).collect();
                Ok(Made::new(nth, pair, macs, rules))
            }
            Some(error) => {
                let added = host_side.rules.into_iter().filter(|(position, _)| answers[*position].done());
                let made = Made::new(nth, pair, macs, added.map(|(_, rule)| rule).collect());
                Err(self.with_undo(error.clone(), |wirer| wirer.undo(&[made], inside)))
            }
        }
    }

    fn ready_host_end(&mut self, pod: &PodLink, pair: Pair) -> Result<(), DatapathError> {
        if self.ipv6 {
            sysctl::refuse_router_advertisements(&pod.host_veth).write()?;
        }
        if has_ipv6(pod) {
            sysctl::speak_ipv6(&pod.host_veth).apply()?;
            for setting in sysctl::be_a_host_to_the_pod(pod.host_veth.as_str()) {
                setting.write()?;
            }
        }
        self.netlink.apply(vec![link::end_up(pair.outside, pod.host_veth.as_str())])
    }

    fn ready_pod_end(
        &self,
        nth: Nth<'_>,
        netns: BorrowedFd<'_>,
        inside: &mut Netlink,
        pair: Pair,
        macs: Macs,
    ) -> Result<(), DatapathError> {
        let pod = nth.link;
        if has_ipv6(pod) {
            self.namespace.inside(netns, || sysctl::enable_ipv6(&pod.ifname))?;
        }
        let dev = pod.ifname.as_str();
        let mut requests = vec![link::loopback_up(), link::end_up(pair.inside, dev)];
        for (address, _) in pod.addresses() {
            let family = Family::of(address);
            requests.push(address::add_to_pod(address, self.dad, pair.inside, dev));
            requests.extend(Rule::inside_pod(address, nth.index).as_ref().map(rule::add));
            requests.extend(
                Route::of_pod(family, nth.index, pair.inside).iter().map(|route| route::add(route, dev)),
            );
            requests.push(address::answered_by(family.gateway(nth.index), macs.host, pair.inside, dev));
        }
        inside.apply(requests)
    }

    /// Finds out what holds a name that the pair needs, and removes it if it is a leftover of ours.
    fn clear_the_way(&mut self, nth: Nth<'_>, inside: &mut Netlink) -> Result<InTheWay, DatapathError> {
        let pod = nth.link;
        let outside_link = link::by_name(&mut self.netlink, &pod.host_veth)?;
        let inside_link = link::by_name(inside, &pod.ifname)?;
        let taken = || DatapathError::IfNameTaken { ifname: pod.ifname.clone() };
        if self.is_doomed(outside_link.as_ref(), inside_link.as_ref())? {
            // A DEL was answered a moment ago; its pair goes now, with all others that are due.
            self.netlink.apply(vec![link::delete_doomed()])?;
            return Ok(InTheWay::Cleared);
        }
        match (outside_link, inside_link) {
            (None, None) => Ok(InTheWay::Cleared),
            (None, Some(_)) => Err(taken()),
            (Some(outside_link), None) => {
                let attempt = || format!("create veth {}", pod.host_veth);
                let other_end = |link: &Link| inspection::are_a_pair(&outside_link, link);
                if let Some(Link { name: other, .. }) = link::all(inside)?.into_iter().find(other_end) {
                    return Err(failed(
                        attempt(),
                        format_args!("it is the host end of this pod's `{other}`"),
                    ));
                }
                if outside_link.peer.is_none() {
                    return Err(failed(attempt(), "a link of another kind has its name"));
                }
                self.netlink.apply(vec![link::delete(outside_link.index, &outside_link.name)])?;
                Ok(InTheWay::Cleared)
            }
            (Some(outside_link), Some(inside_link)) => {
                if !inspection::are_a_pair(&outside_link, &inside_link) {
                    return Err(taken());
                }
                let host = inspection::read_host(&mut self.netlink, pod, Some(outside_link.clone()))?;
                let mut tables = Tables::default();
                tables.put_link(inside_link.clone());
                inspection::read_pod(inside, &mut tables, &[nth])?;
                let within = Inside { tables: &tables, outside: Some(&outside_link), dad: self.dad };
                let is_right = inspection::on_host(&host, pod, inside_link.mac).is_empty()
                    && inspection::in_pod(nth, &within).is_empty();
                if let (true, Some(host), Some(pod_end)) = (is_right, outside_link.mac, inside_link.mac) {
                    let pair = Pair { outside: outside_link.index, inside: inside_link.index };
                    let macs = Macs { host, pod: pod_end };
                    return Ok(InTheWay::AlreadyWired(Made::found(pod, pair, macs)));
                }
                let is_foreign =
                    |held: &Held| !pod.addresses().any(|(address, _)| held.net == IpNet::from(address));
                if tables.held(inside_link.index).any(is_foreign) {
                    return Err(taken());
                }
                // An attempt that a crash cut short.
                self.netlink.apply(vec![link::delete(outside_link.index, &outside_link.name)])?;
                Ok(InTheWay::Cleared)
            }
        }
    }

    /// Whether one of the links that have the pair's names is about to be deleted anyway.
    fn is_doomed(&mut self, outside: Option<&Link>, inside: Option<&Link>) -> Result<bool, DatapathError> {
        if outside.is_some_and(|outside| outside.group == DOOMED) {
            return Ok(true);
        }
        let Some((inside, peer)) = inside.and_then(|inside| Some((inside, inside.peer?))) else {
            return Ok(false);
        };
        let other_end = link::by_index(&mut self.netlink, peer)?;
        Ok(other_end
            .is_some_and(|other_end| other_end.group == DOOMED && inspection::are_a_pair(&other_end, inside)))
    }

    /// Removes what the pod's host veths still own: rules and routes now, the pairs soon. One that cannot be
    /// removed does not keep the others.
    pub(crate) fn unwire(&mut self, pod: &PodWiring) -> Result<(), DatapathError> {
        let failures = pod.links().filter_map(|link| self.unwire_link(link).err());
        all_of(format!("unwire {}", pod.key()), failures.collect())
    }

    fn unwire_link(&mut self, pod: &PodLink) -> Result<(), DatapathError> {
        let veth = link::by_name(&mut self.netlink, &pod.host_veth)?;
        let addresses: Vec<(IpAddr, u32)> = pod.addresses().collect();
        let owned = match &veth {
            Some(veth) => {
                let requests = addresses.iter().map(|(address, _)| {
                    route::delete(&Route::to_neighbour(*address, veth.index, MAIN_TABLE), &veth.name)
                });
                let answers = self.netlink.batch(requests.collect())?;
                if let Some(error) = answers.iter().find_map(Answer::refusal) {
                    return Err(error.clone());
                }
                answers.iter().map(Answer::done).collect()
            }
            None => vec![false; addresses.len()],
        };
        // The hot path asks for no dump: who had the route has the rules.
        let routes = if owned.iter().all(|owned| *owned) { Vec::new() } else { self.routes_to_pods()? };
        let mut requests: Vec<Request> = Vec::new();
        for ((address, table), owned) in addresses.into_iter().zip(owned) {
            if owned || !routes.iter().any(|route| route.to == IpNet::from(address)) {
                requests.extend(rules_of((address, table)).iter().map(rule::delete));
            }
        }
        // A pod of the same name may have taken the veth's name with another address since.
        let serves_another = |veth: &Link| routes.iter().any(|route| route.link == Some(veth.index));
        let doomed = veth.filter(|veth| !serves_another(veth));
        requests.extend(doomed.as_ref().map(link::doom));
        if !requests.is_empty() {
            let done = self.netlink.apply(requests);
            if doomed.is_some() {
                self.doom.announce();
            }
            done?;
        }
        Ok(())
    }

    /// The routes of both families: a link may have changed from one to the other.
    fn routes_to_pods(&mut self) -> Result<Vec<Route>, DatapathError> {
        let mut routes = Vec::new();
        for family in Family::spoken() {
            routes.extend(route::in_table(&mut self.netlink, *family, MAIN_TABLE)?);
        }
        routes.retain(Route::is_to_a_pod);
        Ok(routes)
    }

    fn delete_by_name(&mut self, pod: &PodLink) -> Vec<DatapathError> {
        match link::by_name(&mut self.netlink, &pod.host_veth) {
            Ok(Some(link)) => problems(self.netlink.batch(vec![link::delete(link.index, &link.name)])),
            Ok(None) => Vec::new(),
            Err(error) => vec![error],
        }
    }

    /// Routes and everything on the links leave with the pairs, rules are taken away. A pair that is gone
    /// already was unwired meanwhile: its names and addresses may be another pod's by now. What was found stays:
    /// an ADD that is repeated and fails must not cut the pod that the first one made.
    fn undo(&mut self, made: &[Made], inside: &mut Netlink) -> Vec<DatapathError> {
        let mut left = Vec::new();
        let new = made.iter().filter(|made| made.since == Since::Now);
        for Made { veth, pair, rules, rules_inside, since: _, macs: _ } in new {
            match link::by_index(&mut self.netlink, pair.outside) {
                Ok(Some(link)) if link.name == veth.as_str() && link.group != DOOMED => {}
                Ok(Some(_) | None) => continue,
                Err(error) => {
                    left.push(error);
                    continue;
                }
            }
            let mut requests = vec![link::delete(pair.outside, veth.as_str())];
            requests.extend(rules.iter().map(rule::delete));
            left.extend(problems(self.netlink.batch(requests)));
            if !rules_inside.is_empty() {
                left.extend(problems(inside.batch(rules_inside.iter().map(rule::delete).collect())));
            }
        }
        left
    }

    /// The error, with what could not be undone after it.
    fn with_undo(
        &mut self,
        error: DatapathError,
        undo: impl FnOnce(&mut Self) -> Vec<DatapathError>,
    ) -> DatapathError {
        let left = undo(self);
        if left.is_empty() {
            return error;
        }
        let left: Vec<String> = left.iter().map(ToString::to_string).collect();
        let left = left.join("; ");
        match error {
            DatapathError::Kernel { attempt, why } => {
                DatapathError::Kernel { attempt, why: format!("{why}; and it could not be undone: {left}") }
            }
            other @ (DatapathError::NoSuchLink { .. }
            | DatapathError::IfNameTaken { .. }
            | DatapathError::BadNamespace { .. }) => failed("undo", format_args!("{left}; after: {other}")),
        }
    }

    /// Random, unicast, locally administered. Each pair is a wire of its own, so nothing can clash.
    fn random_mac(&mut self) -> Mac {
        self.macs_made += 1;
        let [mut first, b, c, d, e, f, _, _] = self.random.hash_one(self.macs_made).to_ne_bytes();
        first = (first & 0xfc) | 0x02;
        Mac([first, b, c, d, e, f])
    }
}

/// One failure as it is, several as one.
fn all_of(attempt: String, failures: Vec<DatapathError>) -> Result<(), DatapathError> {
    match failures.as_slice() {
        [] => Ok(()),
        [only] => Err(only.clone()),
        [_, ..] => {
            let failures: Vec<String> = failures.iter().map(ToString::to_string).collect();
            Err(failed(attempt, failures.join("; ")))
        }
    }
}

/// The requests that tie a pair to the host's tables.
struct HostSide {
    requests: Vec<Request>,
    /// The rules, with the positions of their requests.
    rules: Vec<(usize, Rule)>,
}

impl HostSide {
    fn of(pod: &PodLink, pair: Pair, macs: Macs) -> Self {
        let veth = pod.host_veth.as_str();
        let mut side = Self { requests: Vec::new(), rules: Vec::new() };
        for (address, table) in pod.addresses() {
            let route = Route::to_neighbour(address, pair.outside, MAIN_TABLE);
            side.requests.push(route::replace(&route, veth));
            if address.is_ipv6() {
                // The host end's own address is tentative for a second or two; until then it can ask nobody
                // for the pod's MAC.
                side.requests.push(address::answered_by(address, macs.pod, pair.outside, veth));
            }
            side.add(Rule::to_pod(address));
            side.requests.push(rule::delete_from_pod(address));
            if let Some(from_pod) = Rule::from_pod(address, table) {
                side.add(from_pod);
            }
        }
        // The host end waits for the kernel to notice its carrier and drops all packets until then: the first
        // ARP request, and a second is lost. Since Linux 6.8, reading a link makes the kernel notice at once.
        side.requests.push(link::find(&pod.host_veth));
        side
    }

    fn add(&mut self, rule: Rule) {
        self.rules.push((self.requests.len(), rule));
        self.requests.push(rule::add(&rule));
    }
}

fn has_ipv6(pod: &PodLink) -> bool {
    pod.addresses().any(|(address, _)| address.is_ipv6())
}

/// The host's rules for an address behind the ENI of a table.
fn rules_of((address, table): (IpAddr, u32)) -> Vec<Rule> {
    std::iter::once(Rule::to_pod(address)).chain(Rule::from_pod(address, table)).collect()
}

fn problems(answers: Result<Vec<Answer>, DatapathError>) -> Vec<DatapathError> {
    match answers {
        Ok(answers) => answers.iter().filter_map(Answer::refusal).cloned().collect(),
        Err(error) => vec![error],
    }
}
