//! One pod's wiring: made in four batches, unmade in three, undone completely when it fails half way.

use std::hash::{BuildHasher, RandomState};
use std::os::fd::BorrowedFd;

use enid_core::ids::Mac;
use enid_core::wiring::{MAIN_TABLE, PodWiring};
use enid_engine::ports::{DatapathError, Wired};
use ipnet::Ipv4Net;
use rustix::io::Errno;

use crate::address;
use crate::inspection::{self, Inside};
use crate::link::{self, DOOMED, Link};
use crate::namespace::NodeNamespace;
use crate::netlink::{Answer, Netlink, failed};
use crate::reaper::Doom;
use crate::route::{self, Route};
use crate::rule::{self, Rule};
use crate::sysctl;

/// Creation, once more after a leftover has been cleared away, and once more if another appeared meanwhile.
const CREATE_ATTEMPTS: u32 = 3;

/// Wires and unwires pods, one after the other.
pub(crate) struct PodWirer {
    namespace: NodeNamespace,
    netlink: Netlink,
    doom: Doom,
    ipv6: bool,
    random: RandomState,
    macs_made: u64,
}

/// Both ends of a new pair, by index in their namespaces.
#[derive(Clone, Copy)]
struct Pair {
    outside: u32,
    inside: u32,
}

/// What was in the way of a new pair.
enum InTheWay {
    /// Exactly what was asked for: an ADD repeated.
    AlreadyWired(Wired),
    /// A leftover, now gone.
    Cleared,
}

impl PodWirer {
    /// Works from `namespace`, which the calling thread has settled in.
    pub(crate) fn new(namespace: NodeNamespace, doom: Doom) -> Result<Self, DatapathError> {
        let netlink = Netlink::open().map_err(|error| failed("open a netlink socket", error))?;
        let ipv6 = sysctl::has_ipv6();
        Ok(Self { namespace, netlink, doom, ipv6, random: RandomState::new(), macs_made: 0 })
    }

    /// Wires a pod; afterwards either all of it is there or nothing.
    pub(crate) fn wire(&mut self, pod: &PodWiring, netns: BorrowedFd<'_>) -> Result<Wired, DatapathError> {
        let mut inside = self.namespace.open_inside(netns)?;
        for _ in 0..CREATE_ATTEMPTS {
            let macs = Wired { host_mac: self.random_mac(), pod_mac: self.random_mac() };
            if let Some(pair) = self.create(pod, netns, macs)? {
                return self.complete(pod, &mut inside, pair, macs);
            }
            match self.clear_the_way(pod, &mut inside)? {
                InTheWay::AlreadyWired(macs) => return Ok(macs),
                InTheWay::Cleared => {}
            }
        }
        Err(failed(format!("create veth {}", pod.host_veth), "its name is taken again and again"))
    }

    /// Creates the pair; `None` when one of its names is taken.
    fn create(
        &mut self,
        pod: &PodWiring,
        netns: BorrowedFd<'_>,
        macs: Wired,
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
        pod: &PodWiring,
        inside: &mut Netlink,
        pair: Pair,
        macs: Wired,
    ) -> Result<Wired, DatapathError> {
        let dev = pod.ifname.as_str();
        let [gateway, default] = Route::of_pod(pair.inside);
        // The host end first: the pod end is opened with a carrier then, and can send at once.
        let host_end_up = self.netlink.apply(vec![link::end_up(pair.outside, pod.host_veth.as_str())]);
        let pod_side = host_end_up.and_then(|()| {
            inside.apply(vec![
                link::loopback_up(),
                link::end_up(pair.inside, dev),
                address::add_to_pod(pod.address, pair.inside, dev),
                route::add(&gateway, dev),
                route::add(&default, dev),
                address::gateway_is(macs.host_mac, pair.inside, dev),
            ])
        });
        if let Err(error) = pod_side {
            return Err(self.with_undo(error, |wirer| wirer.delete_pair(pod, pair)));
        }
        if self.ipv6
            && let Err(error) = sysctl::refuse_router_advertisements(&pod.host_veth)
        {
            return Err(self.with_undo(error, |wirer| wirer.delete_pair(pod, pair)));
        }
        let mut requests = vec![
            route::replace(
                &Route::to_neighbour(pod.address, pair.outside, MAIN_TABLE),
                pod.host_veth.as_str(),
            ),
            rule::add(&Rule::to_pod(pod)),
            rule::delete_from_pod(pod),
        ];
        requests.extend(Rule::from_pod(pod).as_ref().map(rule::add));
        // The host end waits for the kernel to notice its carrier and drops all packets until then: the first
        // ARP request, and a second is lost. Since Linux 6.8, reading a link makes the kernel notice at once.
        requests.push(link::find(&pod.host_veth));
        let answers = match self.netlink.batch(requests) {
            Ok(answers) => answers,
            Err(error) => return Err(self.with_undo(error, |wirer| wirer.undo(pod, pair, [true, true]))),
        };
        match answers.iter().find_map(Answer::refusal) {
            None => Ok(macs),
            Some(error) => {
                let from_pod = pod.table != MAIN_TABLE && answers[3].done();
                let added = [answers[1].done(), from_pod];
                Err(self.with_undo(error.clone(), |wirer| wirer.undo(pod, pair, added)))
            }
        }
    }

    /// Finds out what holds a name that the pair needs, and removes it if it is a leftover of ours.
    fn clear_the_way(&mut self, pod: &PodWiring, inside: &mut Netlink) -> Result<InTheWay, DatapathError> {
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
                if let Some(other) = inspection::other_end(inside, &outside_link)? {
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
                let mut drift = inspection::host_drift(&mut self.netlink, pod, Some(&outside_link))?;
                drift.extend(inspection::pod_drift(
                    pod,
                    Inside { netlink: inside, outside: Some(&outside_link) },
                )?);
                if let (true, Some(host_mac), Some(pod_mac)) =
                    (drift.is_empty(), outside_link.mac, inside_link.mac)
                {
                    return Ok(InTheWay::AlreadyWired(Wired { host_mac, pod_mac }));
                }
                let addresses = address::on_link(inside, inside_link.index, &inside_link.name)?;
                if addresses.iter().any(|address| *address != Ipv4Net::from(pod.address)) {
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

    /// Removes what `pod.host_veth` still owns: rules and route now, the pair soon.
    pub(crate) fn unwire(&mut self, pod: &PodWiring) -> Result<(), DatapathError> {
        let veth = link::by_name(&mut self.netlink, &pod.host_veth)?;
        let owned = match &veth {
            Some(veth) => {
                let route = Route::to_neighbour(pod.address, veth.index, MAIN_TABLE);
                match self.netlink.batch(vec![route::delete(&route, &veth.name)])?.pop() {
                    Some(Answer::Refused(_, error)) => return Err(error),
                    Some(Answer::Done(_)) => true,
                    Some(Answer::Tolerated) | None => false,
                }
            }
            None => false,
        };
        let mut requests = Vec::new();
        // The hot path asks for no dump: who had the route has the rules.
        let routes = if owned { Vec::new() } else { route::in_table(&mut self.netlink, MAIN_TABLE)? };
        let to = Ipv4Net::from(pod.address);
        if !routes.iter().any(|route| route.to == to) {
            requests.push(rule::delete(&Rule::to_pod(pod)));
            requests.extend(Rule::from_pod(pod).as_ref().map(rule::delete));
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

    fn delete_by_name(&mut self, pod: &PodWiring) -> Vec<DatapathError> {
        match link::by_name(&mut self.netlink, &pod.host_veth) {
            Ok(Some(link)) => problems(self.netlink.batch(vec![link::delete(link.index, &link.name)])),
            Ok(None) => Vec::new(),
            Err(error) => vec![error],
        }
    }

    /// The routes and everything in the pod leave with the pair.
    fn delete_pair(&mut self, pod: &PodWiring, pair: Pair) -> Vec<DatapathError> {
        problems(self.netlink.batch(vec![link::delete(pair.outside, pod.host_veth.as_str())]))
    }

    fn undo(&mut self, pod: &PodWiring, pair: Pair, [to_pod, from_pod]: [bool; 2]) -> Vec<DatapathError> {
        let mut requests = vec![link::delete(pair.outside, pod.host_veth.as_str())];
        requests.extend(to_pod.then(|| rule::delete(&Rule::to_pod(pod))));
        requests.extend(Rule::from_pod(pod).filter(|_| from_pod).as_ref().map(rule::delete));
        problems(self.netlink.batch(requests))
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

fn problems(answers: Result<Vec<Answer>, DatapathError>) -> Vec<DatapathError> {
    match answers {
        Ok(answers) => answers.iter().filter_map(Answer::refusal).cloned().collect(),
        Err(error) => vec![error],
    }
}
