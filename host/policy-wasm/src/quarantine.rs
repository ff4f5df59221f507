//! Components that keep failing are not asked any more, until they have proved themselves again.
//!
//! By digest, so that another build starts clean and the same build does not, whatever it is called. Pure:
//! time is an argument. Whether a fault counts is decided by [`crate::fault`].

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

/// Faults in a row that end a component's turn.
const IN_A_ROW: u32 = 5;
/// Faults among the last [`WINDOW`] decisions that do.
const IN_WINDOW: usize = 10;
/// Decisions that are remembered.
const WINDOW: usize = 50;
/// The first time out, milliseconds; it doubles with every return.
const FIRST_MS: u64 = 30_000;
/// The longest time out.
const LONGEST_MS: u64 = 3_600_000;
/// Clean probes that end it.
const CLEAN_PROBES: u32 = 3;
/// Digests that are remembered; the one that failed longest ago is forgotten first.
const MOST_DIGESTS: usize = 64;

/// What every component's record says about asking it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Ask it.
    Good,
    /// Do not.
    Out,
    /// Do not, but see in passing whether it would answer.
    Probe,
}

/// What a fault told about a component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// It counts; a fault that the same question brings again counts again.
    Counts,
    /// The same question brought something else: it cannot be trusted with anything.
    Unpredictable,
}

/// The components that failed lately.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Quarantine {
    cases: BTreeMap<String, Case>,
    /// What an earlier host wrote down; its times go on when the first question tells the time.
    written: Vec<Quarantined>,
}

/// A component in quarantine, as operators see it and as it is written down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantined {
    /// SHA-256 of the component.
    pub digest: String,
    /// What it did last.
    pub why: String,
    /// Milliseconds until the next probe.
    pub probe_in_ms: u64,
    /// How long the time out is.
    pub time_out_ms: u64,
    /// Clean probes so far; three end it.
    pub clean_probes: u32,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Case {
    /// The last decisions: whether each was a fault.
    window: VecDeque<bool>,
    in_a_row: u32,
    why: String,
    touched_ms: u64,
    out: Option<Out>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Out {
    probe_at_ms: u64,
    time_out_ms: u64,
    clean: u32,
}

impl Quarantine {
    /// What was written down. Its times go on from the first question: how long nobody asked is not known.
    pub fn restore(mut written: Vec<Quarantined>) -> Self {
        written.truncate(MOST_DIGESTS);
        Self { cases: BTreeMap::new(), written }
    }

    /// Lets the times of what was written down go on.
    fn go_on(&mut self, now_ms: u64) {
        let cases = std::mem::take(&mut self.written).into_iter().map(|quarantined| {
            let time_out_ms = quarantined.time_out_ms.clamp(FIRST_MS, LONGEST_MS);
            let out = Out {
                probe_at_ms: now_ms.saturating_add(quarantined.probe_in_ms.min(time_out_ms)),
                time_out_ms,
                clean: quarantined.clean_probes.min(CLEAN_PROBES - 1),
            };
            let case = Case { why: quarantined.why, touched_ms: now_ms, out: Some(out), ..Case::default() };
            (quarantined.digest, case)
        });
        self.cases.extend(cases);
    }

    /// Whether to ask the component with this digest.
    pub fn standing(&mut self, digest: &str, now_ms: u64) -> Standing {
        self.go_on(now_ms);
        match self.cases.get(digest).and_then(|case| case.out) {
            None => Standing::Good,
            Some(out) if now_ms >= out.probe_at_ms => Standing::Probe,
            Some(_) => Standing::Out,
        }
    }

    /// It answered admissibly, asked in earnest or as a probe; true when that ends its time out.
    pub fn answered(&mut self, digest: &str) -> bool {
        let Some(case) = self.cases.get_mut(digest) else { return false };
        if let Some(out) = &mut case.out {
            out.clean += 1;
            if out.clean < CLEAN_PROBES {
                return false;
            }
            self.cases.remove(digest);
            return true;
        }
        case.note(false);
        if case.window.iter().all(|fault| !fault) {
            self.cases.remove(digest);
        }
        false
    }

    /// It failed; true when that ends its turn.
    pub fn failed(&mut self, digest: &str, why: &str, weight: Weight, now_ms: u64) -> bool {
        self.make_room(digest);
        let case = self.cases.entry(digest.to_owned()).or_default();
        why.clone_into(&mut case.why);
        case.touched_ms = now_ms;
        if let Some(out) = &mut case.out {
            out.clean = 0;
            out.time_out_ms = out.time_out_ms.saturating_mul(2).min(LONGEST_MS);
            out.probe_at_ms = now_ms.saturating_add(out.time_out_ms);
            return false;
        }
        case.note(true);
        let too_many = case.in_a_row >= IN_A_ROW
            || case.window.iter().filter(|fault| **fault).count() >= IN_WINDOW
            || weight == Weight::Unpredictable;
        if too_many {
            let probe_at_ms = now_ms.saturating_add(FIRST_MS);
            case.out = Some(Out { probe_at_ms, time_out_ms: FIRST_MS, clean: 0 });
        }
        too_many
    }

    /// Who is out.
    pub fn list(&self, now_ms: u64) -> Vec<Quarantined> {
        let listed = self.cases.iter().filter_map(|(digest, case)| {
            let out = case.out?;
            Some(Quarantined {
                digest: digest.clone(),
                why: case.why.clone(),
                probe_in_ms: out.probe_at_ms.saturating_sub(now_ms),
                time_out_ms: out.time_out_ms,
                clean_probes: out.clean,
            })
        });
        listed.chain(self.written.iter().cloned()).collect()
    }

    /// Forgets what is held against the components whose digests start with `prefix`; says how many were out.
    pub fn clear(&mut self, prefix: &str) -> usize {
        let out =
            |all: &Self| all.written.len() + all.cases.values().filter(|case| case.out.is_some()).count();
        let before = out(self);
        self.written.retain(|quarantined| !quarantined.digest.starts_with(prefix));
        self.cases.retain(|digest, _| !digest.starts_with(prefix));
        before - out(self)
    }

    fn make_room(&mut self, digest: &str) {
        if self.cases.contains_key(digest) || self.cases.len() < MOST_DIGESTS {
            return;
        }
        let oldest = self.cases.iter().min_by_key(|(_, case)| (case.out.is_some(), case.touched_ms));
        if let Some(oldest) = oldest.map(|(digest, _)| digest.clone()) {
            self.cases.remove(&oldest);
        }
    }
}

impl Case {
    fn note(&mut self, fault: bool) {
        self.in_a_row = if fault { self.in_a_row + 1 } else { 0 };
        self.window.push_back(fault);
        if self.window.len() > WINDOW {
            self.window.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IT: &str = "ab12";

    fn out(now_ms: u64) -> Quarantine {
        let mut quarantine = Quarantine::default();
        quarantine.failed(IT, "trap", Weight::Unpredictable, now_ms);
        quarantine
    }

    #[test]
    fn five_faults_in_a_row_end_a_turn_and_four_do_not() {
        let mut quarantine = Quarantine::default();
        for _ in 0..4 {
            assert!(!quarantine.failed(IT, "fuel", Weight::Counts, 0));
            assert_eq!(quarantine.standing(IT, 0), Standing::Good);
        }
        assert!(quarantine.failed(IT, "fuel", Weight::Counts, 0));
        assert_eq!(quarantine.standing(IT, 0), Standing::Out);
    }

    #[test]
    fn ten_faults_among_fifty_end_a_turn() {
        let mut quarantine = Quarantine::default();
        for fault in 1..=10 {
            for _ in 0..4 {
                quarantine.answered(IT);
            }
            assert_eq!(quarantine.failed(IT, "trap", Weight::Counts, 0), fault == 10, "fault {fault}");
        }
    }

    #[test]
    fn rare_faults_never_do() {
        let mut quarantine = Quarantine::default();
        for _ in 0..1000 {
            for _ in 0..9 {
                quarantine.answered(IT);
            }
            assert!(!quarantine.failed(IT, "trap", Weight::Counts, 0));
        }
    }

    #[test]
    fn an_unpredictable_component_is_out_at_once() {
        assert_eq!(out(0).standing(IT, 0), Standing::Out);
    }

    #[test]
    fn three_clean_probes_end_it_and_a_fault_doubles_it() {
        let mut quarantine = out(0);
        assert_eq!(quarantine.standing(IT, FIRST_MS - 1), Standing::Out);
        assert_eq!(quarantine.standing(IT, FIRST_MS), Standing::Probe);
        assert!(!quarantine.answered(IT));
        assert!(!quarantine.failed(IT, "trap", Weight::Counts, FIRST_MS));
        assert_eq!(quarantine.standing(IT, 3 * FIRST_MS - 1), Standing::Out);
        for clean in 1..=3 {
            assert_eq!(quarantine.standing(IT, 3 * FIRST_MS), Standing::Probe);
            assert_eq!(quarantine.answered(IT), clean == 3);
        }
        assert_eq!(quarantine.standing(IT, 3 * FIRST_MS), Standing::Good);
    }

    #[test]
    fn time_out_never_exceeds_an_hour() {
        let mut quarantine = out(0);
        for _ in 0..30 {
            quarantine.failed(IT, "trap", Weight::Counts, 0);
        }
        assert_eq!(quarantine.list(0)[0].time_out_ms, LONGEST_MS);
    }

    #[test]
    fn it_survives_a_restart_whose_clock_starts_anew() {
        let written = out(1_000_000).list(1_010_000);
        assert_eq!(written[0].probe_in_ms, 20_000);
        let mut restored = Quarantine::restore(written.clone());
        assert_eq!(restored.list(77), written);
        assert_eq!(restored.standing(IT, 5), Standing::Out);
        assert_eq!(restored.standing(IT, 20_004), Standing::Out);
        assert_eq!(restored.standing(IT, 20_005), Standing::Probe);
    }

    #[test]
    fn clearing_takes_a_prefix_and_says_how_many_it_freed() {
        let mut quarantine = out(0);
        assert_eq!(quarantine.clear("ff"), 0);
        assert_eq!(Quarantine::restore(quarantine.list(0)).clear("ab"), 1);
        assert_eq!(quarantine.clear("ab"), 1);
        assert_eq!(quarantine.standing(IT, 0), Standing::Good);
    }

    #[test]
    fn strangers_in_any_number_are_bounded_and_do_not_push_out_who_is_out() {
        let mut quarantine = out(0);
        for stranger in 0..1000 {
            quarantine.failed(&format!("stranger {stranger}"), "trap", Weight::Counts, 1);
        }
        assert!(quarantine.cases.len() <= MOST_DIGESTS);
        assert_eq!(quarantine.standing(IT, 1), Standing::Out);
    }
}
