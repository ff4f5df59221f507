//! What the loop says: events that went wrong, and transitions in the words of the journal.

use enid_core::cloud::CloudErrorKind;
use enid_core::event::{Event, Record};
use tracing::{debug, error, info, warn};

/// Differences that one look logs: a flushed node has thousands, and they say the same.
const MOST_DRIFTS: usize = 20;

/// What came in, as far as somebody should know.
pub(crate) fn log_event(event: &Event) {
    match event {
        Event::Cloud { result: Err(error), .. } => match error.kind {
            CloudErrorKind::Denied => {
                error!(call = %error.call, reason = %error, "EC2 refuses; check the IAM policy")
            }
            CloudErrorKind::Throttled
            | CloudErrorKind::NoFreeAddresses
            | CloudErrorKind::NoFreeBlocks
            | CloudErrorKind::LimitExceeded
            | CloudErrorKind::Conflict
            | CloudErrorKind::Gone
            | CloudErrorKind::Rejected
            | CloudErrorKind::NotAsked
            | CloudErrorKind::Unavailable => warn!(call = %error.call, reason = %error, "EC2 call failed"),
        },
        Event::Wired { result: Err(why), .. } => warn!(reason = %why, "pod not wired"),
        Event::Unwired { result: Err(why), .. } => warn!(reason = %why, "pod not unwired"),
        Event::EniSetUp { result: Err(Some(why)), .. } => warn!(reason = %why, "ENI not set up"),
        Event::EniTornDown { result: Err(why), .. } => warn!(reason = %why, "ENI not torn down"),
        Event::KernelSeen { result: Ok(view), .. } if !view.drifts.is_empty() => {
            for drift in view.drifts.iter().take(MOST_DRIFTS) {
                warn!(part = ?drift.of, drift = %drift.what, "the kernel differs from what was set up");
            }
        }
        Event::KernelSeen { result: Err(why), .. } => {
            warn!(reason = %why, "the kernel could not be looked at")
        }
        Event::NodeSetUp { result: Err(why), .. } => {
            error!(reason = %why, "the kernel does not take over what holds for the whole node; tried again")
        }
        Event::NodeSetUp { result: Ok(()), .. } => {
            info!("the kernel took over what changed for the whole node")
        }
        Event::WarmPoolDecided(decision) => {
            for fault in &decision.faults {
                warn!(reason = %fault, rung = %decision.rung, "warm-pool strategy failed");
            }
            debug!(strategy = %decision.strategy, target = %decision.target, reason = %decision.reason, "target");
        }
        Event::SubnetsDecided(decision) => {
            for fault in &decision.faults {
                warn!(reason = %fault, rung = %decision.rung, "subnet-selection strategy failed");
            }
        }
        Event::MaxPodsDecided(decision) => {
            for fault in &decision.faults {
                warn!(reason = %fault, rung = %decision.rung, "max-pods strategy failed");
            }
            info!(strategy = %decision.strategy, max_pods = decision.target, reason = %decision.reason, "max pods");
        }
        Event::Cloud { result: Ok(_), .. }
        | Event::Wired { result: Ok(()), .. }
        | Event::Unwired { result: Ok(()), .. }
        | Event::EniSetUp { result: Ok(()) | Err(None), .. }
        | Event::EniTornDown { result: Ok(()), .. }
        | Event::Add { .. }
        | Event::Del { .. }
        | Event::Check { .. }
        | Event::Reconfigured(_)
        | Event::NodesCounted { .. }
        | Event::StrategyReplaced
        | Event::Gc { .. }
        | Event::KernelSeen { result: Ok(_), .. }
        | Event::Repaired { .. }
        | Event::Tick
        | Event::Stop => {}
    }
}

/// One line per transition, in the words of the journal.
pub(crate) fn log_record(record: &Record) {
    match record {
        Record::Identity { .. } | Record::Limits { .. } => {}
        Record::Creating { new, seat, decisions } => {
            let decisions: Vec<String> = decisions.iter().map(ToString::to_string).collect();
            info!(
                subnet = %new.subnet, device = seat.device, supply = ?new.supply, ?decisions, "creating an ENI"
            );
        }
        Record::NotCreated { token } => info!(%token, "ENI not created"),
        Record::Eni { eni, addresses, .. } => {
            info!(eni = %eni.id, phase = eni.phase.name(), addresses = addresses.len(), "ENI");
        }
        Record::Delegated { eni, prefixes, ipv6_prefixes, .. } => {
            info!(%eni, prefixes = prefixes.len(), ?ipv6_prefixes, "prefixes");
        }
        Record::Returning { addresses } => info!(?addresses, "returning"),
        Record::EniGone { eni } => info!(%eni, "ENI gone"),
        Record::Reserved { address, holder } => {
            let pod = holder.pod.as_ref().map(ToString::to_string).unwrap_or_default();
            info!(%address, pod, attachment = %holder.attachment, "reserved");
        }
        Record::ReservedTogether { holder } => {
            let pod = holder.pod.as_ref().map(ToString::to_string).unwrap_or_default();
            let addresses: Vec<String> = holder.wiring.leased().map(|address| address.to_string()).collect();
            info!(addresses = addresses.join(" "), pod, attachment = %holder.attachment, "reserved");
        }
        Record::Bound { address, .. } => info!(%address, "bound"),
        Record::Released { address, cool_until } => info!(%address, %cool_until, "released"),
    }
}
