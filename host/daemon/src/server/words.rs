//! Between the wire's words and the domain's.

use std::net::IpAddr;

use enid_core::event::{Answer, Refusal};
use enid_core::ids::{Attachment, InvalidId};
use enid_core::node::{Difference, Readiness};
use enid_core::report::WaitReason;
use enid_core::wiring::{POD_GATEWAY_V6, PodLink, PodWiring, pod_gateway};
use enid_engine::ports::{DatapathError, Macs, Wired};
use enid_engine::run::Reply as Answered;
use enid_protocol::cni::code::Code;
use enid_protocol::message::{Added, Address, Failed, Further, Interface, Reply};

/// The attachment that a request names.
pub(super) fn attachment(container: &str, network: &str, ifname: &str) -> Result<Attachment, Reply> {
    let parse = || {
        Ok(Attachment { container: container.parse()?, network: network.parse()?, ifname: ifname.parse()? })
    };
    parse().map_err(|error: InvalidId| invalid(&error))
}

/// What is not an identifier.
pub(super) fn invalid(error: &InvalidId) -> Reply {
    Reply::Failed(Failed::new(Code::InvalidEnvironment, error.to_string(), ""))
}

/// The engine is gone, or on its way: the next daemon serves the same call.
pub(super) fn stopping() -> Reply {
    let reason = WaitReason::Stopping;
    Reply::Failed(Failed::new(Code::TryAgainLater, reason.to_string(), details(&reason)))
}

/// STATUS's answer. The reason is the same, to the letter, as that of an ADD that waits for it.
pub(super) fn readiness(readiness: &Readiness) -> Reply {
    let (code, message, reason) = match readiness {
        // A node that carries all that it may is in order: the scheduler counts its pods.
        Readiness::Ready | Readiness::Full { .. } => return Reply::Done,
        Readiness::NotReady { reason: reason @ WaitReason::Stopping } => {
            (Code::Unavailable, reason.to_string(), reason)
        }
        Readiness::NotReady { reason } => {
            (Code::Unavailable, format!("no address for another pod: {reason}"), reason)
        }
        Readiness::Impaired { what, reason } => {
            (Code::LimitedConnectivity, format!("{what}: {reason}"), reason)
        }
    };
    Reply::Failed(Failed::new(code, message, details(reason)))
}

/// A reason for programs: a JSON object with `reason`.
fn details(reason: &WaitReason) -> String {
    // Words, numbers and enums: there is nothing in it that JSON could not say.
    serde_json::to_string(reason).unwrap_or_default()
}

/// The same for what is no reason to wait for an address; `reason` never changes, and `hint` is for people.
fn hinted(reason: &str, hint: &str) -> String {
    serde_json::json!({ "reason": reason, "hint": hint }).to_string()
}

/// Something could not be looked at, so that nobody knows whether it differs.
pub(super) fn unseen(why: &str) -> Reply {
    Reply::Failed(Failed::new(Code::TryAgainLater, why, hinted("not-looked-at", "ask again")))
}

/// A document of the daemon's own.
pub(super) fn report(document: &impl serde::Serialize) -> Reply {
    serde_json::to_value(document).map_or_else(
        |error| Reply::Failed(Failed::new(Code::Internal, format!("render the report: {error}"), "")),
        Reply::Report,
    )
}

/// Differences that one reply has room for; a node that somebody flushed has thousands.
const MOST_DIFFERENCES: usize = 300;

/// What differs, or as much of it as one reply has room for, and how much more there is.
pub(super) fn differing(mut differences: Vec<Difference>) -> Reply {
    let more = differences.len().saturating_sub(MOST_DIFFERENCES);
    if more > 0 {
        differences.truncate(MOST_DIFFERENCES);
        let unsaid = "not shown".to_owned();
        differences.push(Difference { of: format!("{more} more"), journal: unsaid.clone(), others: unsaid });
    }
    report(&differences)
}

/// The addresses that the daemon holds for an attachment and the runtime was not told of, for people; empty when
/// there are none. Node-local ones are not held, and not told of.
pub(super) fn unlisted(held: impl Iterator<Item = IpAddr>, listed: &[IpAddr]) -> String {
    let unlisted: Vec<String> =
        held.filter(|address| !listed.contains(address)).map(|address| address.to_string()).collect();
    unlisted.join(", ")
}

/// The engine's answer as the plugin reads it.
pub(super) fn in_wire_words(answered: &Answered) -> Reply {
    let failed = |code, message: String, details: &str| Reply::Failed(Failed::new(code, message, details));
    match answered {
        Answered::Answer { answer: Answer::Added(holder), wired: Some(Ok(wired)) } => {
            added(&holder.wiring, wired).map_or_else(
                || {
                    let message = format!(
                        "the pod has {} interfaces and the kernel named {}",
                        holder.wiring.links().count(),
                        wired.0.len()
                    );
                    failed(Code::Internal, message, "")
                },
                Added::into_reply,
            )
        }
        Answered::Answer { answer: Answer::Added(_), wired: None | Some(Err(_)) } => {
            failed(Code::Internal, "the pod was wired without a word from the kernel".to_owned(), "")
        }
        Answered::Answer { answer: Answer::Deleted | Answer::Collected { .. }, .. } => Reply::Done,
        Answered::Answer { answer: Answer::TryLater(reason), .. } => {
            failed(Code::TryAgainLater, format!("no address for the pod yet: {reason}"), &details(reason))
        }
        Answered::Answer { answer: Answer::Refused(refusal), wired } => {
            let later = |reason, hint| (Code::TryAgainLater, hinted(reason, hint));
            let (code, details) = match refusal {
                Refusal::UnknownAttachment(_) => {
                    (Code::NotAttached, "it was never added, or was deleted".to_owned())
                }
                Refusal::AlreadyUnderWay(_) => later("already-under-way", "wait for the first call's answer"),
                Refusal::DeletedMeanwhile(_) => {
                    later("deleted-meanwhile", "a DEL came while ADD was under way")
                }
                Refusal::Kernel { .. } => {
                    (kernel_code(wired.as_ref()), "nothing of it was left in the kernel".to_owned())
                }
                Refusal::Unseen { .. } => later("not-looked-at", "the next GC finds a kernel that can be"),
                Refusal::NotCollected { .. } => (
                    Code::Kernel,
                    hinted("not-collected", "the next GC tries again, and so does the DEL of each"),
                ),
                Refusal::Journal { .. } => {
                    later("journal", "make room on the file system of node.runtime_dir")
                }
                Refusal::QueueFull { .. } => later("queue-full", "the node is short of addresses"),
            };
            failed(code, refusal.to_string(), &details)
        }
        Answered::Checked(drifts) if drifts.is_empty() => Reply::Checked,
        Answered::Checked(drifts) => {
            let all: Vec<&str> = drifts.iter().map(|drift| drift.what.as_str()).collect();
            let message = format!("the pod's network is not as ADD left it: {}", all.join("; "));
            failed(Code::Drifted, message, "a repeated ADD mends it, and so does a new sandbox")
        }
        Answered::Unreadable(error) => failed(datapath_code(error), error.to_string(), ""),
    }
}

/// A wired pod, if the kernel spoke of each of its interfaces.
fn added(wiring: &PodWiring, wired: &Wired) -> Option<Added> {
    if wiring.links().count() != wired.0.len() {
        return None;
    }
    let mut pairs = wiring.links().zip(&wired.0).enumerate();
    let (index, (link, macs)) = pairs.next()?;
    let first = interface(index, link, *macs);
    let further = pairs.map(|(index, (link, macs))| {
        let table = u32::try_from(index).ok()?;
        Some(Further { ifname: link.ifname.to_string(), table, interface: interface(index, link, *macs) })
    });
    Some(Added { first, further: further.collect::<Option<_>>()? })
}

/// One interface, counted from 0. A node-local address is kept from the runtime; its gateway is not, for the
/// route through it is there.
fn interface(index: usize, link: &PodLink, macs: Macs) -> Interface {
    let reported = link.second.filter(|second| !second.node_local).map(|second| second.address);
    let gateway = |address| match address {
        IpAddr::V4(_) => IpAddr::V4(pod_gateway(index)),
        IpAddr::V6(_) => IpAddr::V6(POD_GATEWAY_V6),
    };
    Interface {
        addresses: std::iter::once(link.address).chain(reported).map(Address::alone).collect(),
        gateways: link.addresses().map(|(address, _)| gateway(address)).collect(),
        host_veth: link.host_veth.to_string(),
        host_mac: macs.host.to_string(),
        pod_mac: macs.pod.to_string(),
        mtu: link.mtu,
    }
}

fn kernel_code(wired: Option<&Result<Wired, DatapathError>>) -> Code {
    match wired {
        Some(Err(error)) => datapath_code(error),
        Some(Ok(_)) | None => Code::Kernel,
    }
}

fn datapath_code(error: &DatapathError) -> Code {
    match error {
        DatapathError::BadNamespace { .. } => Code::InvalidNetns,
        DatapathError::IfNameTaken { .. } => Code::AlreadyAttached,
        DatapathError::NoSuchLink { .. } | DatapathError::Kernel { .. } => Code::Kernel,
    }
}

#[cfg(test)]
mod tests {
    use enid_core::lease::Holder;
    use enid_core::time::Timestamp;
    use enid_core::wiring::SecondAddress;
    use enid_protocol::message::AddedIpv4;

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn link(index: usize, address: &str) -> PodLink {
        let ifname = if index == 0 { "eth0".to_owned() } else { format!("mNicIf{index}") };
        PodLink {
            host_veth: format!("eni{index}").parse().unwrap(),
            ifname: ifname.parse().unwrap(),
            address: ip(address),
            table: 254,
            mtu: 9001,
            second: None,
        }
    }

    fn second(address: &str, node_local: bool) -> Option<SecondAddress> {
        Some(SecondAddress { address: ip(address), table: 254, node_local })
    }

    fn macs() -> Macs {
        Macs { host: "02:00:00:00:00:01".parse().unwrap(), pod: "02:00:00:00:00:02".parse().unwrap() }
    }

    fn reply(first: PodLink, further: Vec<PodLink>, wired: usize) -> Reply {
        let attachment = attachment("c1", "enid", "eth0").unwrap();
        let wiring = PodWiring { first, further };
        let holder = Holder { attachment, pod: None, netns: None, wiring, asked: Timestamp(0) };
        let answer = Answer::Added(Box::new(holder));
        in_wire_words(&Answered::Answer { answer, wired: Some(Ok(Wired(vec![macs(); wired]))) })
    }

    fn interfaces(reply: Reply) -> Added {
        let Reply::AddedInterfaces(added) = reply else { panic!("{reply:?}") };
        *added
    }

    fn addresses(interface: &Interface) -> Vec<String> {
        interface.addresses.iter().map(|own| format!("{}/{}", own.address, own.prefix)).collect()
    }

    #[test]
    fn a_node_on_which_everything_differs_can_say_so() {
        let longest = |number| Difference {
            of: format!("pod {}/{}-{number}", "n".repeat(63), "p".repeat(240)),
            journal: "j".repeat(100),
            others: "o".repeat(200),
        };
        let reply = differing((0..5000).map(longest).collect());
        assert!(reply.to_frame().is_ok());
        let Reply::Report(report) = reply else { panic!("{reply:?}") };
        let rows = report.as_array().unwrap();
        assert_eq!((rows.len(), &rows[300]["of"]), (301, &"4700 more".into()));
    }

    #[test]
    fn an_ordinary_pod_is_told_of_in_the_form_that_every_plugin_reads() {
        let Reply::Added(added) = reply(link(0, "10.0.1.7"), Vec::new(), 1) else { panic!("another form") };
        let expected = AddedIpv4 {
            address: [10, 0, 1, 7].into(),
            gateway: [169, 254, 1, 1].into(),
            host_veth: "eni0".to_owned(),
            host_mac: "02:00:00:00:00:01".to_owned(),
            pod_mac: "02:00:00:00:00:02".to_owned(),
            mtu: 9001,
        };
        assert_eq!(added, expected);
    }

    #[test]
    fn both_addresses_of_a_dual_stack_pod_are_told_of() {
        let pod = PodLink { second: second("2001:db8::7", false), ..link(0, "10.0.1.7") };
        let added = interfaces(reply(pod, Vec::new(), 1));
        assert_eq!(addresses(&added.first), ["10.0.1.7/32", "2001:db8::7/128"]);
        assert_eq!(added.first.gateways, [ip("169.254.1.1"), ip("fe80::1")]);
    }

    #[test]
    fn a_node_local_address_is_kept_back_and_its_route_is_not() {
        for (own, local, told, gateways) in [
            ("2001:db8::7", "169.254.172.2", "2001:db8::7/128", ["fe80::1", "169.254.1.1"]),
            ("10.0.1.7", "fd00::ac:2", "10.0.1.7/32", ["169.254.1.1", "fe80::1"]),
        ] {
            let pod = PodLink { second: second(local, true), ..link(0, own) };
            let added = interfaces(reply(pod, Vec::new(), 1));
            assert_eq!(addresses(&added.first), [told]);
            assert_eq!(added.first.gateways, gateways.map(ip));
        }
    }

    #[test]
    fn every_interface_has_its_own_name_gateway_and_table() {
        let added = interfaces(reply(link(0, "10.0.1.7"), vec![link(1, "10.0.2.9"), link(2, "10.0.3.9")], 3));
        let further: Vec<_> = added
            .further
            .iter()
            .map(|further| (further.ifname.as_str(), further.table, further.interface.gateways[0]))
            .collect();
        assert_eq!(further, [("mNicIf1", 1, ip("169.254.1.2")), ("mNicIf2", 2, ip("169.254.1.3"))]);
        assert_eq!(added.further[1].interface.host_veth, "eni2");
    }

    #[test]
    fn a_pod_that_the_kernel_named_by_halves_is_a_fault_and_not_a_result() {
        for wired in [0, 1, 3] {
            let reply = reply(link(0, "10.0.1.7"), vec![link(1, "10.0.2.9")], wired);
            assert!(matches!(&reply, Reply::Failed(failed) if failed.code == Code::Internal.number()));
        }
    }

    fn refused(refusal: Refusal) -> Failed {
        let answered = Answered::Answer { answer: Answer::Refused(refusal), wired: None };
        let Reply::Failed(failed) = in_wire_words(&answered) else { panic!("not a failure") };
        failed
    }

    fn reason_in(failed: &Failed) -> String {
        let details: serde_json::Value = serde_json::from_str(&failed.details).unwrap();
        details["reason"].as_str().unwrap().to_owned()
    }

    #[test]
    fn whoever_is_to_try_again_is_told_a_reason_that_a_program_reads() {
        let whose = || attachment("c1", "enid", "eth0").unwrap();
        for (refusal, reason) in [
            (Refusal::AlreadyUnderWay(whose()), "already-under-way"),
            (Refusal::DeletedMeanwhile(whose()), "deleted-meanwhile"),
            (Refusal::Journal { why: "disk full".to_owned() }, "journal"),
            (Refusal::QueueFull { waiting: 5000 }, "queue-full"),
        ] {
            let failed = refused(refusal);
            assert_eq!((failed.code, reason_in(&failed).as_str()), (11, reason));
        }
        let Reply::Failed(failed) = stopping() else { panic!("not a failure") };
        assert_eq!((failed.code, reason_in(&failed).as_str()), (11, "stopping"));
        let waits = Answer::TryLater(WaitReason::MaxPods { max_pods: 9 });
        let Reply::Failed(failed) = in_wire_words(&Answered::Answer { answer: waits, wired: None }) else {
            panic!("not a failure")
        };
        assert_eq!(failed.details, r#"{"reason":"max-pods","max_pods":9}"#);
    }

    #[test]
    fn what_gc_left_over_is_an_error_and_what_it_kept_is_not() {
        let failed = refused(Refusal::NotCollected { failed: 2, why: "busy".to_owned() });
        assert_eq!((failed.code, reason_in(&failed).as_str()), (105, "not-collected"));
        let kept = vec![(attachment("c1", "enid", "eth0").unwrap(), enid_core::report::Quarantine::Young)];
        let answer = Answer::Collected { released: 3, kept };
        assert_eq!(in_wire_words(&Answered::Answer { answer, wired: None }), Reply::Done);
    }

    #[test]
    fn status_fails_when_no_pod_could_be_added_and_not_when_none_may() {
        let reason = WaitReason::SubnetsExhausted { subnet: "subnet-1".parse().unwrap() };
        for (state, code) in [
            (Readiness::Ready, None),
            (Readiness::Full { reason: WaitReason::MaxPods { max_pods: 9 } }, None),
            (Readiness::NotReady { reason: reason.clone() }, Some(50)),
            (Readiness::Impaired { what: "pods have no rules".to_owned(), reason }, Some(51)),
        ] {
            match (readiness(&state), code) {
                (Reply::Done, None) => {}
                (Reply::Failed(failed), Some(code)) => {
                    assert_eq!((failed.code, reason_in(&failed).as_str()), (code, "subnets-exhausted"));
                    assert!(failed.message.contains("subnet-1"), "{failed:?}");
                }
                (reply, _) => panic!("{state:?}: {reply:?}"),
            }
        }
    }

    #[test]
    fn check_misses_any_address_that_prev_result_lacks() {
        let held = || ["10.0.1.7", "2001:db8::7"].map(ip).into_iter();
        assert_eq!(unlisted(held(), &[ip("2001:db8::7"), ip("10.0.1.7"), ip("10.9.9.9")]), "");
        assert_eq!(unlisted(held(), &[ip("10.0.1.7")]), "2001:db8::7");
        assert_eq!(unlisted(held(), &[]), "10.0.1.7, 2001:db8::7");
    }
}
