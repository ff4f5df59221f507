//! Chance from a seed, the same on every machine.

use std::hash::{BuildHasher, Hasher, RandomState};

/// A stream of numbers (SplitMix64): good enough to pick settings, useless for secrets.
#[derive(Clone, Debug)]
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, which is not 0; the bias is below what anybody could notice.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// True once in `every`.
    pub(crate) fn once_in(&mut self, every: u64) -> bool {
        self.below(every) == 0
    }

    /// A number between the two, both included.
    pub(crate) fn between(&mut self, least: i64, most: i64) -> i64 {
        let span = u64::try_from(i128::from(most) - i128::from(least)).unwrap_or(0);
        match span.checked_add(1) {
            Some(choices) => least.wrapping_add_unsigned(self.below(choices)),
            None => i64::from_ne_bytes(self.next().to_ne_bytes()),
        }
    }
}

/// A seed that nobody chose; small, because people copy it.
pub(crate) fn fresh_seed() -> u64 {
    RandomState::new().build_hasher().finish() % 1_000_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_gives_one_stream() {
        let stream = |seed| {
            let mut chance = Chance::new(seed);
            (0..4).map(|_| chance.next()).collect::<Vec<_>>()
        };
        assert_eq!(stream(7), stream(7));
        assert_ne!(stream(7), stream(8));
    }

    #[test]
    fn numbers_stay_between_their_bounds_and_reach_both() {
        let mut chance = Chance::new(1);
        let drawn: Vec<i64> = (0..200).map(|_| chance.between(-1, 2)).collect();
        assert_eq!((drawn.iter().min(), drawn.iter().max()), (Some(&-1), Some(&2)));
        assert_eq!(chance.between(5, 5), 5);
        chance.between(i64::MIN, i64::MAX);
    }
}
