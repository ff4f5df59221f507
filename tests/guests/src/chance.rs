//! Chance from a seed that a failing test prints, and how often it is tried.

use std::hash::{BuildHasher as _, RandomState};
use std::io::Write as _;

use anyhow::Context as _;

/// An endless sequence of numbers that a seed decides (SplitMix64).
#[derive(Clone, Debug)]
pub struct Chance {
    state: u64,
}

impl Chance {
    /// The sequence of this seed.
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Less than `end`, which is not 0.
    pub fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end).unwrap_or(u64::MAX);
        usize::try_from(self.number() % end).unwrap_or_default()
    }

    /// So many bytes.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(count + 8);
        while bytes.len() < count {
            bytes.extend_from_slice(&self.number().to_le_bytes());
        }
        bytes.truncate(count);
        bytes
    }

    /// One of several.
    pub fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len())]
    }
}

/// The seeds of a fuzz target: `ENID_FUZZ_RUNS` of them, or `usually`, from `ENID_FUZZ_SEED` on, or from
/// anywhere.
///
/// The first one goes to the terminal whatever becomes of the test, even if that ends the process.
pub fn seeds(target: &str, usually: u64) -> anyhow::Result<impl Iterator<Item = u64>> {
    let runs = number("ENID_FUZZ_RUNS")?.unwrap_or(usually);
    let first = number("ENID_FUZZ_SEED")?.unwrap_or_else(|| RandomState::new().hash_one(target));
    writeln!(std::io::stderr(), "{target}: {runs} runs; again with ENID_FUZZ_SEED={first}")?;
    Ok((0..runs).map(move |run| first.wrapping_add(run)))
}

fn number(variable: &str) -> anyhow::Result<Option<u64>> {
    let text = std::env::var(variable).ok();
    text.map(|text| text.parse().with_context(|| format!("{variable}={text}: it must be a number")))
        .transpose()
}
