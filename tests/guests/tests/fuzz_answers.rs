//! Whatever a strategy answers, what passes the host's rules keeps every promise that the node relies on.
//!
//! The promises are written down here a second time. `ENID_FUZZ_RUNS` and `ENID_FUZZ_SEED` as for admission.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::{Result, ensure};
use enid_core::admission::Admitted;
use enid_core::document::{Answer, Snapshot};
use enid_core::kind::Kind;
use enid_core::proposal::{Band, Grain, Outcome, Placement, Proposal, Ranked};
use enid_core::snapshot::{MaxPodsSnapshot, Setting, SubnetSnapshot, Value, WarmPoolSnapshot};
use enid_core::specimen;
use enid_policy_wasm::Limits;
use enid_policy_wasm::question::{Judged, judge};
use enid_policy_wasm::runtime::Guest;
use guests::chance::{Chance, seeds};
use guests::{Assembly, Site};

const RUNS: u64 = 6_000;
const MANY: u64 = 3_000;

/// A number: small, at an edge, or any.
fn number(chance: &mut Chance) -> u32 {
    let any = u32::try_from(chance.number() >> 32).unwrap_or_default();
    let near = [0, 1, 9, 16, 27, 9_999, 10_000, 10_001, 65_535, 65_536, 65_537, u32::MAX - 1, u32::MAX];
    match chance.below(4) {
        0 => any,
        1 => *chance.pick(&near),
        _ => any % 64,
    }
}

fn millis(chance: &mut Chance) -> u64 {
    match chance.below(3) {
        0 => chance.number(),
        1 => *chance.pick(&[0, 999, 1_000, 600_000, 600_001, 86_400_000, 86_400_001, u64::MAX]),
        _ => u64::from(number(chance)),
    }
}

fn text(chance: &mut Chance) -> String {
    let length = *chance.pick(&[0, 1, 20, 255, 256, 257, 4_000]);
    let letters = ['a', ' ', '\n', '\u{1b}', '\u{7f}', '\u{9b}', 'ü', '\u{1f980}', '\u{0}', '\u{2028}'];
    (0..length).map(|_| *chance.pick(&letters)).collect()
}

fn outcome(chance: &mut Chance) -> Outcome {
    let annotation = |chance: &mut Chance| Setting {
        key: text(chance),
        value: match chance.below(3) {
            0 => Value::Flag(true),
            1 => Value::Int(i64::MIN),
            _ => Value::Text(text(chance)),
        },
    };
    let annotations = *chance.pick(&[0, 0, 1, 32, 33, 200]);
    let state = *chance.pick(&[0, 0, 1, 16 * 1024, 16 * 1024 + 1, 200_000]);
    Outcome {
        reason: text(chance),
        next_check_ms: (chance.below(2) == 0).then(|| millis(chance)),
        state: vec![7; state],
        annotations: (0..annotations).map(|_| annotation(chance)).collect(),
    }
}

fn answer(kind: Kind, chance: &mut Chance) -> Answer {
    let outcome = outcome(chance);
    match kind {
        Kind::WarmPool => {
            let target = Band {
                ready_low: number(chance),
                ready_high: (chance.below(3) > 0).then(|| number(chance)),
                total_floor: number(chance),
                grain: *chance.pick(&[Grain::Address, Grain::Prefix, Grain::Eni]),
                keep_free: number(chance),
                release_after_ms: millis(chance),
                placement: *chance.pick(&[Placement::Pack, Placement::Spread]),
            };
            Answer::WarmPool(Proposal { target, outcome })
        }
        Kind::MaxPods => Answer::MaxPods(Proposal { target: number(chance), outcome }),
        Kind::SubnetSelection => {
            let count = *chance.pick(&[0, 1, 2, 5, 64, 70_000]);
            let most = *chance.pick(&[1, 2, 64, 65_536]);
            let ranked = |chance: &mut Chance| Ranked {
                candidate: u16::try_from(chance.below(most)).unwrap_or(u16::MAX),
                weight: number(chance),
            };
            let target = (0..count).map(|_| ranked(chance)).collect();
            Answer::SubnetSelection(Proposal { target, outcome })
        }
    }
}

/// What everybody may rely on, whatever the kind.
fn keeps_outcome_promises<T>(admitted: &Admitted<T>) -> Result<()> {
    let Outcome { reason, next_check_ms, state, annotations } = &admitted.outcome;
    ensure!(reason.len() <= 256 && !reason.contains(char::is_control), "reason {reason:?}");
    ensure!(next_check_ms.is_none_or(|next| (1_000..=600_000).contains(&next)), "{next_check_ms:?}");
    ensure!(state.len() <= 16 * 1024, "{} bytes of state", state.len());
    ensure!(annotations.len() <= 32, "{} annotations", annotations.len());
    Ok(())
}

fn keeps_band_promises(node: &WarmPoolSnapshot, asked: &Band, admitted: &Admitted<Band>) -> Result<()> {
    let band = &admitted.target;
    let limits = node.limits;
    let per_eni = u64::from(limits.slots_per_eni) * u64::from(limits.addresses_per_slot);
    let ceiling = u64::from(limits.max_enis) * per_eni;
    for (field, value) in
        [("ready_low", band.ready_low), ("total_floor", band.total_floor), ("keep_free", band.keep_free)]
    {
        ensure!(u64::from(value) <= ceiling, "{field} {value} on a node of {ceiling}");
    }
    ensure!(band.release_after_ms <= 24 * 3600 * 1000, "released after {}", band.release_after_ms);
    // Growing to the least that must be ready must not make a unit releasable at once.
    if let Some(high) = band.ready_high {
        let unit = match band.grain {
            Grain::Address | Grain::Prefix => u64::from(limits.addresses_per_slot),
            Grain::Eni => per_eni,
        };
        let low = u64::from(band.ready_low);
        let leaves = u64::from(high) + unit >= low || u64::from(band.keep_free) * unit >= low;
        ensure!(leaves, "{band:?} would flap");
    }
    ensure!(
        (band.grain, band.placement, band.ready_high) == (asked.grain, asked.placement, asked.ready_high),
        "what is no amount was changed: {asked:?}, {band:?}"
    );
    ensure!((band == asked) == admitted.clamped.is_empty(), "bent in secret: {asked:?}, {admitted:?}");
    Ok(())
}

fn keeps_pods_promises(node: &MaxPodsSnapshot, asked: u32, admitted: &Admitted<u32>) -> Result<()> {
    let pods = admitted.target;
    let away = u64::from(node.reserved_enis) + u64::from(node.custom_networking);
    let has_room = u64::from(node.max_enis) > away && node.ipv4_per_eni > 1;
    ensure!(pods > 0 || !has_room, "no pods on a node with room");
    ensure!(pods <= 65_536, "{pods} pods");
    ensure!((pods == asked) == admitted.clamped.is_empty(), "bent in secret: {asked}, {admitted:?}");
    Ok(())
}

fn keeps_order_promises(
    choice: &SubnetSnapshot,
    asked: &[Ranked],
    admitted: &Admitted<Vec<u16>>,
) -> Result<()> {
    let order = &admitted.target;
    ensure!(order.iter().all(|one| usize::from(*one) < choice.candidates.len()), "{order:?}");
    ensure!(order.iter().collect::<BTreeSet<_>>().len() == order.len(), "{order:?}");
    ensure!(order.iter().copied().eq(asked.iter().map(|ranked| ranked.candidate)), "{order:?}, {asked:?}");
    Ok(())
}

/// Judges an answer; what passes keeps its promises.
fn check(question: &Snapshot, answer: &Answer) -> Result<&'static str> {
    let judged = match judge(question, answer.clone()) {
        Ok(judged) => judged,
        Err(failing) => {
            let shown = failing.to_string();
            ensure!(shown.len() < 1024 && !shown.contains(char::is_control), "{shown:?}");
            return Ok(failing.label());
        }
    };
    match (&judged, question, answer) {
        (Judged::WarmPool(admitted), Snapshot::WarmPool(node), Answer::WarmPool(asked)) => {
            keeps_outcome_promises(admitted)?;
            keeps_band_promises(node, &asked.target, admitted)?;
        }
        (Judged::MaxPods(admitted), Snapshot::MaxPods(node), Answer::MaxPods(asked)) => {
            keeps_outcome_promises(admitted)?;
            keeps_pods_promises(node, asked.target, admitted)?;
        }
        (
            Judged::SubnetSelection(admitted),
            Snapshot::SubnetSelection(choice),
            Answer::SubnetSelection(asked),
        ) => {
            keeps_outcome_promises(admitted)?;
            keeps_order_promises(choice, &asked.target, admitted)?;
        }
        (_, _, _) => anyhow::bail!("judged as another kind: {judged:?}"),
    }
    Ok(if judged.is_bent() { "bent" } else { "admitted" })
}

#[test]
fn whatever_passes_keeps_every_promise() -> Result<()> {
    let mut ends: BTreeMap<(Kind, &str), u64> = BTreeMap::new();
    let mut runs = 0;
    for seed in seeds("answers", RUNS)? {
        runs += 1;
        let mut chance = Chance::new(seed);
        let kind = *chance.pick(&Kind::ALL);
        let question = specimen::random(kind, chance.number());
        let answered = if chance.below(50) == 0 { *chance.pick(&Kind::ALL) } else { kind };
        let answer = answer(answered, &mut chance);
        let end =
            check(&question, &answer).map_err(|broken| broken.context(format!("seed {seed}: {answer:?}")))?;
        ensure!(answered == kind || end == "crashed", "seed {seed}: an answer of another kind is {end}");
        *ends.entry((kind, end)).or_default() += 1;
    }
    if runs >= MANY {
        for kind in Kind::ALL {
            ensure!(
                ends.contains_key(&(kind, "admitted")) && ends.contains_key(&(kind, "refused")),
                "{ends:?}"
            );
        }
        ensure!(ends.contains_key(&(Kind::WarmPool, "bent")), "{ends:?}");
    }
    Ok(())
}

/// Answers with the very bytes that its state has: the question chooses what the host must read.
fn parrot(kind: Kind) -> Result<Vec<u8>> {
    let fields = match kind {
        // In these questions the state has its pointer at 40 and its length at 44.
        Kind::WarmPool | Kind::MaxPods => {
            r#"(func (export "decide") (param $question i32) (result i32)
                 (memory.copy (i32.const 1024)
                   (i32.load offset=40 (local.get $question)) (i32.load offset=44 (local.get $question)))
                 (i32.const 1024))"#
        }
        Kind::SubnetSelection => {
            r#"(func (export "decide")
                 (param i64 i64 i64 i32 i32 i32 i32) (param $state i32) (param $length i32)
                 (param i32 i32 i32 i32 i32 i32) (result i32)
                 (memory.copy (i32.const 1024) (local.get $state) (local.get $length))
                 (i32.const 1024))"#
        }
    };
    Assembly { kind, fields, beside: "" }.bytes()
}

/// Bytes of an answer with its lists' contents behind it: nothing at first, then some numbers and pointers.
fn raw_answer(chance: &mut Chance) -> Vec<u8> {
    if chance.below(4) == 0 {
        return chance.bytes(2_000);
    }
    let mut bytes = vec![0; 88];
    bytes.extend(chance.bytes(1_900));
    if chance.below(8) == 0 {
        // It declines, in one of three ways or a fourth.
        bytes[0] = 1;
        bytes[8] = u8::try_from(chance.below(4)).unwrap_or_default();
    }
    for _ in 0..chance.below(8) {
        let word: u32 = match chance.below(6) {
            0 => 1_112 + u32::try_from(chance.below(1_000) * 4).unwrap_or_default(),
            1 => u32::try_from(chance.below(40)).unwrap_or_default(),
            2 => *chance.pick(&[262_140, 262_144, 0x7fff_ffff, 0x8000_0000, u32::MAX, 0x2000_0001]),
            _ => number(chance),
        };
        let at = chance.below(22) * 4;
        bytes[at..at + 4].copy_from_slice(&word.to_le_bytes());
    }
    bytes
}

#[test]
fn whatever_bytes_lie_where_the_answer_should_be_are_read_or_refused_by_name() -> Result<()> {
    let site = Site::in_process()?;
    let limits = Limits { deadline: Limits::most().deadline, ..Limits::default() };
    let mut parrots: Vec<(Kind, Arc<dyn Guest>)> = Vec::new();
    for kind in Kind::ALL {
        parrots.push((kind, site.load(&parrot(kind)?, &limits)?));
    }
    let mut ends: BTreeMap<&str, u64> = BTreeMap::new();
    let mut runs = 0;
    for seed in seeds("raw answers", RUNS)? {
        runs += 1;
        let mut chance = Chance::new(seed);
        let (kind, guest) = chance.pick(&parrots);
        let mut question = specimen::random(*kind, chance.number());
        question.context_mut().state = raw_answer(&mut chance);
        let called = guest.ask(&question);
        let end = match &called.result {
            Ok(answer) => {
                check(&question, answer).map_err(|broken| broken.context(format!("seed {seed}")))?
            }
            Err(fault) => {
                let shown = fault.to_string();
                ensure!(shown.len() < 1024 && !shown.contains(char::is_control), "seed {seed}: {shown:?}");
                fault.label()
            }
        };
        let allowed =
            ["admitted", "bent", "failure", "hostcall-bytes", "lift", "refused", "settings", "unsupported"];
        ensure!(allowed.contains(&end), "seed {seed}: {called:?}");
        *ends.entry(end).or_default() += 1;
    }
    if runs >= MANY {
        for end in ["admitted", "failure", "lift", "refused", "settings", "unsupported"] {
            ensure!(ends.contains_key(end), "no bytes came to `{end}`: {ends:?}");
        }
    }
    println!("{ends:?}");
    Ok(())
}
