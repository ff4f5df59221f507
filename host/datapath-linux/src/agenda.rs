//! What the thread that wires pods does next: a pod that waits goes before one that is mended.
//!
//! A repair reads whole tables, and when somebody deletes all rules of a node every pod needs one. Yet for any one
//! address everything is done in the order in which it was asked for, so that nothing is mended after it was unwired.

use std::collections::{BTreeSet, VecDeque};
use std::net::IpAddr;

use tokio::sync::mpsc;

use crate::thread::{PodJob, QUEUE};

/// Jobs in the order in which they are done.
pub(crate) struct Agenda {
    asked: mpsc::Receiver<PodJob>,
    /// What can wait; at most [`QUEUE`], beyond which the oldest goes before everything.
    later: VecDeque<PodJob>,
    /// A job that somebody waits for, while what was asked earlier about its addresses goes ahead of it.
    urgent: Option<PodJob>,
}

impl Agenda {
    pub(crate) fn new(asked: mpsc::Receiver<PodJob>) -> Self {
        Self { asked, later: VecDeque::new(), urgent: None }
    }

    /// Waits for a job; `None` when there will be no more.
    pub(crate) fn next(&mut self) -> Option<PodJob> {
        loop {
            if let Some(urgent) = &self.urgent {
                let concerned = addresses(urgent);
                let earlier = |job: &PodJob| !addresses(job).is_disjoint(&concerned);
                return match self.later.iter().position(earlier) {
                    Some(place) => self.later.remove(place),
                    None => self.urgent.take(),
                };
            }
            if self.later.len() > QUEUE {
                return self.later.pop_front();
            }
            let asked = if self.later.is_empty() {
                self.asked.blocking_recv()?
            } else {
                match self.asked.try_recv() {
                    Ok(job) => job,
                    // Nobody waits, now or any more.
                    Err(mpsc::error::TryRecvError::Empty | mpsc::error::TryRecvError::Disconnected) => {
                        return self.later.pop_front();
                    }
                }
            };
            match asked {
                PodJob::Wire(..) | PodJob::Unwire(..) => self.urgent = Some(asked),
                PodJob::Repair(..) | PodJob::RemoveStray(..) => self.later.push_back(asked),
            }
        }
    }
}

/// Whose job it is.
fn addresses(job: &PodJob) -> BTreeSet<IpAddr> {
    let pod = match job {
        PodJob::Wire(pod, ..) | PodJob::Unwire(pod, _) => pod,
        PodJob::Repair(pod, _) => &pod.wiring,
        PodJob::RemoveStray(address, _) => return [*address].into(),
    };
    pod.links().flat_map(|link| link.addresses().map(|(address, _)| address)).collect()
}

#[cfg(test)]
mod tests {
    use enid_core::event::WantedPod;
    use enid_core::wiring::{PodLink, PodWiring};
    use tokio::sync::oneshot;

    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([10, 7, 0, last])
    }

    fn pod(last: u8) -> PodWiring {
        let first = PodLink {
            host_veth: format!("eni{last}").parse().unwrap(),
            ifname: "eth0".parse().unwrap(),
            address: address(last),
            table: 2,
            mtu: 9001,
            second: None,
        };
        PodWiring { first, further: Vec::new() }
    }

    fn repair(last: u8) -> PodJob {
        PodJob::Repair(WantedPod { wiring: pod(last), netns: None }, oneshot::channel().0)
    }

    fn remove(last: u8) -> PodJob {
        PodJob::RemoveStray(address(last), oneshot::channel().0)
    }

    fn unwire(last: u8) -> PodJob {
        PodJob::Unwire(pod(last), oneshot::channel().0)
    }

    /// What each job is, and the last byte of its address.
    fn order(asked: Vec<PodJob>) -> Vec<(&'static str, u8)> {
        let (ask, jobs) = mpsc::channel(asked.len());
        asked.into_iter().for_each(|job| drop(ask.blocking_send(job)));
        drop(ask);
        let mut agenda = Agenda::new(jobs);
        let named = |job: PodJob| {
            let what = match &job {
                PodJob::Wire(..) => "wire",
                PodJob::Unwire(..) => "unwire",
                PodJob::Repair(..) => "repair",
                PodJob::RemoveStray(..) => "remove",
            };
            let last = |address: IpAddr| address.to_string().rsplit('.').next().unwrap().parse().unwrap();
            (what, last(*addresses(&job).first().unwrap()))
        };
        std::iter::from_fn(|| agenda.next()).map(named).collect()
    }

    #[test]
    fn who_waits_goes_before_what_is_mended() {
        let asked = vec![repair(1), remove(2), repair(3), unwire(8), unwire(9)];
        let expected = [("unwire", 8), ("unwire", 9), ("repair", 1), ("remove", 2), ("repair", 3)];
        assert_eq!(order(asked), expected);
    }

    #[test]
    fn an_address_has_its_jobs_done_in_order() {
        let asked = vec![repair(1), remove(3), repair(2), repair(3), unwire(3), repair(3), unwire(9)];
        let expected = [
            ("remove", 3),
            ("repair", 3),
            ("unwire", 3),
            ("unwire", 9),
            ("repair", 1),
            ("repair", 2),
            ("repair", 3),
        ];
        assert_eq!(order(asked), expected);
    }

    #[test]
    fn repairs_beyond_what_is_held_are_not_put_off() {
        let repairs = usize::from(u8::MAX);
        let asked = (0..3 * repairs).map(|n| repair(u8::try_from(n % repairs).unwrap()));
        let asked: Vec<PodJob> = asked.chain([unwire(255)]).collect();
        let order = order(asked);
        assert_eq!(order.iter().position(|job| *job == ("unwire", 255)), Some(3 * repairs - QUEUE));
    }
}
