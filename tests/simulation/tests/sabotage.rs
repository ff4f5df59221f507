//! Deliberate bugs, one at a time, between a daemon and its world: each must be found, and by the rule that it breaks.
//! Without them the same seeds are clean.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a bug bends one kind of thing and lets all others through"
)]

use std::collections::BTreeSet;
use std::net::IpAddr;

use enid_core::cloud::CloudEni;
use enid_core::event::{Answer, CloudCall, CloudReply, Effect, Event, OpId, Record};
use enid_sim::node::SimNode;
use enid_sim::witness::Saboteur;
use simulation::ordeal;
use simulation::safety::{Rule, has};
use simulation::say;
use simulation::seeds::guarded;
use simulation::strategies::Mind;

/// Seeds in which a bug must show.
const SEEDS: u64 = 60;

type Node = SimNode<Mind>;
/// Changes what is to be performed.
type Bend = fn(&Node, Vec<Effect>, &mut Vec<Event>, &mut Memory) -> Vec<Effect>;
/// Changes what is heard.
type Mishear = fn(&Node, Event) -> Event;

/// What a bug remembers.
#[derive(Default)]
struct Memory {
    tokens: BTreeSet<String>,
    ops: u64,
}

impl Memory {
    /// An operation that the daemon never asked for.
    fn op(&mut self) -> OpId {
        self.ops += 1;
        OpId(u64::MAX - self.ops)
    }
}

struct Bug {
    bend: Bend,
    mishear: Mishear,
    memory: Memory,
}

impl Saboteur<Mind> for Bug {
    fn effects(&mut self, node: &Node, effects: Vec<Effect>, outcomes: &mut Vec<Event>) -> Vec<Effect> {
        (self.bend)(node, effects, outcomes, &mut self.memory)
    }

    fn event(&mut self, node: &Node, event: Event) -> Option<Event> {
        Some((self.mishear)(node, event))
    }
}

fn as_it_is(_: &Node, effects: Vec<Effect>, _: &mut Vec<Event>, _: &mut Memory) -> Vec<Effect> {
    effects
}

fn as_it_was(_: &Node, event: Event) -> Event {
    event
}

/// The bug is found within the seeds, first by one of these rules.
fn expect_found(name: &str, bend: Bend, mishear: Mishear, rules: &[Rule]) {
    for seed in 0..SEEDS {
        let bug = || Box::new(Bug { bend, mishear, memory: Memory::default() });
        if let Err(failure) = guarded(seed, |seed| ordeal::live_with(seed, bug())) {
            let rule = failure.wrong.rule;
            assert!(rules.contains(&rule), "{name} was found as {}", failure.report);
            say(format_args!("{name}: found in seed {seed} by {}", failure.wrong));
            if let Err(failure) = guarded(seed, ordeal::live) {
                panic!("{name}: the seed is not clean without it either: {}", failure.report);
            }
            return;
        }
    }
    panic!("{name} was not found in {SEEDS} seeds");
}

/// Effects without some of their records.
fn without(effects: Vec<Effect>, dropped: impl Fn(&Record) -> bool) -> Vec<Effect> {
    let keep = |effect| match effect {
        Effect::Journal(mut records) => {
            records.retain(|record| !dropped(record));
            Effect::Journal(records)
        }
        other => other,
    };
    effects.into_iter().map(keep).collect()
}

/// Addresses of pods in the kernel that are on an ENI.
fn used_on(node: &Node, eni: &enid_core::ids::EniId) -> Vec<IpAddr> {
    let Some(known) = node.ec2.interfaces().find(|known| known.id == *eni) else { return Vec::new() };
    let pods = node.kernel.pods.values().flat_map(|pod| pod.leased());
    pods.filter(|address| has(known, *address)).collect()
}

#[test]
fn a_pod_wired_without_a_reservation() {
    let bend: Bend = |_, effects, _, _| {
        without(effects, |record| matches!(record, Record::Reserved { .. } | Record::ReservedTogether { .. }))
    };
    expect_found("no reservation", bend, as_it_was, &[Rule::JournalFirst]);
}

#[test]
fn a_binding_that_is_not_written_down() {
    let bend: Bend = |_, effects, _, _| without(effects, |record| matches!(record, Record::Bound { .. }));
    expect_found("no binding", bend, as_it_was, &[Rule::AnswerLast]);
}

#[test]
fn a_release_that_is_not_written_down() {
    let bend: Bend = |_, effects, _, _| without(effects, |record| matches!(record, Record::Released { .. }));
    expect_found("no release", bend, as_it_was, &[Rule::AnswerLast, Rule::KernelInJournal]);
}

#[test]
fn a_creation_that_is_not_written_down() {
    let bend: Bend = |_, effects, _, _| without(effects, |record| matches!(record, Record::Creating { .. }));
    expect_found("no creation", bend, as_it_was, &[Rule::JournalFirst, Rule::EniInJournal]);
}

#[test]
fn a_giving_back_that_is_not_written_down() {
    let bend: Bend = |_, effects, _, _| without(effects, |record| matches!(record, Record::Returning { .. }));
    expect_found("no giving back", bend, as_it_was, &[Rule::JournalFirst]);
}

#[test]
fn a_journal_that_comes_after_the_effect() {
    let bend: Bend = |_, effects, _, _| {
        let (last, mut first): (Vec<_>, Vec<_>) =
            effects.into_iter().partition(|effect| matches!(effect, Effect::Journal(_)));
        first.extend(last);
        first
    };
    let rules = [Rule::JournalFirst, Rule::AnswerLast];
    expect_found("journal last", bend, as_it_was, &rules);
}

#[test]
fn an_answer_that_comes_before_the_journal() {
    let bend: Bend = |_, effects, _, _| {
        let (mut first, last): (Vec<_>, Vec<_>) = effects.into_iter().partition(|effect| {
            matches!(effect, Effect::Answer { answer: Answer::Added(_) | Answer::Deleted, .. })
        });
        first.extend(last);
        first
    };
    expect_found("answer first", bend, as_it_was, &[Rule::AnswerLast]);
}

#[test]
fn a_cooling_period_that_ends_at_the_next_start() {
    let bend: Bend = |node, effects, _, _| {
        let now = node.now();
        let cut = |record: &mut Record| {
            if let Record::Released { cool_until, .. } = record {
                *cool_until = now;
            }
        };
        let bend = |mut effect: Effect| {
            if let Effect::Journal(records) = &mut effect {
                records.iter_mut().for_each(cut);
            }
            effect
        };
        effects.into_iter().map(bend).collect()
    };
    expect_found("cooling cut", bend, as_it_was, &[Rule::Cooling]);
}

#[test]
fn a_late_delete_that_is_taken_for_one_of_now() {
    let mishear: Mishear = |_, event| match event {
        Event::Del { ticket, attachment, issued: Some(_) } => Event::Del { ticket, attachment, issued: None },
        other => other,
    };
    expect_found("DEL without its time", as_it_is, mishear, &[Rule::PodsStay]);
}

#[test]
fn an_address_given_back_that_a_pod_uses() {
    let bend: Bend = |node, effects, _, _| {
        let bend = |mut effect: Effect| {
            if let Effect::Cloud { call: CloudCall::Unassign { eni, give_back }, .. } = &mut effect {
                let used = used_on(node, eni).into_iter().find_map(|address| match address {
                    IpAddr::V4(address) => Some(address),
                    IpAddr::V6(_) => None,
                });
                give_back.addresses.extend(used);
            }
            effect
        };
        effects.into_iter().map(bend).collect()
    };
    let rules = [Rule::NothingInUseGoes, Rule::JournalFirst];
    expect_found("a pod's address given back", bend, as_it_was, &rules);
}

#[test]
fn an_eni_detached_that_pods_use() {
    let bend: Bend = |node, mut effects, _, memory| {
        let busy =
            node.ec2.interfaces_of(node.instance()).skip(1).find(|eni| !used_on(node, &eni.id).is_empty());
        if let Some(attachment) = busy.and_then(|eni| eni.attachment.as_ref())
            && memory.ops == 0
        {
            let call = CloudCall::Detach { attachment: attachment.id.clone() };
            effects.push(Effect::Cloud { op: memory.op(), call });
        }
        effects
    };
    expect_found("an ENI in use detached", bend, as_it_was, &[Rule::NothingInUseGoes]);
}

#[test]
fn an_eni_deleted_that_another_node_is_about_to_attach() {
    let bend: Bend = |node, mut effects, _, memory| {
        let theirs = node.ec2.interfaces().find(|eni| {
            let ours = eni.description == format!("aws-K8S-{}", node.instance());
            eni.attachment.is_none() && !ours && !eni.tags.is_empty()
        });
        if let Some(theirs) = theirs.filter(|_| memory.ops == 0) {
            let call = CloudCall::Delete { eni: theirs.id.clone() };
            effects.push(Effect::Cloud { op: memory.op(), call });
        }
        effects
    };
    expect_found("another node's ENI deleted", bend, as_it_was, &[Rule::HandsOff]);
}

#[test]
fn an_eni_touched_that_is_tagged_away() {
    let mishear: Mishear = |_, event| match event {
        Event::Cloud { op, result: Ok(CloudReply::Enis(enis)) } => {
            Event::Cloud { op, result: Ok(CloudReply::Enis(all_managed(enis))) }
        }
        other => other,
    };
    expect_found("the tag overlooked", as_it_is, mishear, &[Rule::HandsOff]);
}

fn all_managed(enis: Vec<CloudEni>) -> Vec<CloudEni> {
    enis.into_iter().map(|eni| CloudEni { managed: true, ..eni }).collect()
}

#[test]
fn a_retry_with_a_fresh_token() {
    let bend: Bend = |_, effects, _, memory| {
        let bend = |mut effect: Effect| {
            if let Effect::Cloud { call: CloudCall::Create(new), .. } = &mut effect
                && !memory.tokens.insert(new.client_token.clone())
            {
                new.client_token = format!("{}-{}", new.client_token, memory.op().0);
            }
            effect
        };
        effects.into_iter().map(bend).collect()
    };
    let rules = [Rule::JournalFirst, Rule::EniInJournal];
    expect_found("fresh token", bend, as_it_was, &rules);
}

#[test]
fn every_look_made_twice() {
    let bend: Bend = |_, effects, _, memory| {
        let twice = |effect: Effect| {
            let again = match &effect {
                Effect::Cloud { call: CloudCall::Enis | CloudCall::Subnets, .. } => true,
                _other => false,
            };
            let second = again.then(|| match &effect {
                Effect::Cloud { call, .. } => Effect::Cloud { op: memory.op(), call: call.clone() },
                other => other.clone(),
            });
            std::iter::once(effect).chain(second).collect::<Vec<_>>()
        };
        effects.into_iter().flat_map(twice).collect()
    };
    expect_found("looks made twice", bend, as_it_was, &[Rule::Budget]);
}

#[test]
fn an_address_wired_that_is_another_pods() {
    let bend: Bend = |node, effects, _, _| {
        let taken = node.kernel.pods.keys().copied().find(IpAddr::is_ipv4);
        let bend = |mut effect: Effect| {
            if let (Effect::Wire { wiring, .. }, Some(taken)) = (&mut effect, taken) {
                wiring.first.address = taken;
            }
            effect
        };
        effects.into_iter().map(bend).collect()
    };
    let rules = [Rule::JournalFirst, Rule::OnePodPerAddress];
    expect_found("another pod's address wired", bend, as_it_was, &rules);
}

#[test]
fn a_repair_that_takes_away_first() {
    let bend: Bend = |_, effects, _, memory| {
        let again = |effect: Effect| match effect {
            Effect::RepairPod { op, pod } => {
                let unwire = Effect::Unwire { op: memory.op(), wiring: pod.wiring.clone() };
                vec![unwire, Effect::RepairPod { op, pod }]
            }
            other => vec![other],
        };
        effects.into_iter().flat_map(again).collect()
    };
    expect_found("deleted and added again", bend, as_it_was, &[Rule::PodsStay]);
}

#[test]
fn a_repair_that_does_nothing() {
    let bend: Bend = |_, effects, outcomes, _| {
        let skip = |effect: Effect| match effect {
            Effect::RepairPod { op, .. } => {
                outcomes.push(Event::Repaired { op, result: Ok(()) });
                None
            }
            other => Some(other),
        };
        effects.into_iter().filter_map(skip).collect()
    };
    expect_found("no repair", bend, as_it_was, &[Rule::Recovery]);
}

#[test]
fn a_gc_that_does_not_see_who_lives_in_a_namespace() {
    let mishear: Mishear = |_, event| match event {
        Event::KernelSeen { op, result: Ok(mut view) } => {
            view.inhabited.clear();
            Event::KernelSeen { op, result: Ok(view) }
        }
        other => other,
    };
    expect_found("GC of the living", as_it_is, mishear, &[Rule::PodsStay]);
}

#[test]
fn a_cordon_that_is_not_heard_of() {
    let bend: Bend = |node, mut effects, _, memory| {
        let grows = node.state().config().cordoned && memory.ops == 0;
        let primary = node.state().identity().primary_eni.clone();
        if grows {
            let supply = enid_core::cloud::Supply::Addresses(1);
            let call = CloudCall::Assign { eni: primary, supply };
            effects.push(Effect::Cloud { op: memory.op(), call });
        }
        effects
    };
    expect_found("growth under cordon", bend, as_it_was, &[Rule::Cordon]);
}
