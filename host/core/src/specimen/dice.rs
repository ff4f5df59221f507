//! Chance that is the same everywhere: SplitMix64.

/// An endless sequence of numbers that a seed decides.
pub(super) struct Dice {
    state: u64,
}

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Less than `end`; 0 if that is 0.
    pub(super) fn below(&mut self, end: u32) -> u32 {
        // The high half of the product of a 32-bit number and `end` is below `end`.
        let product = (self.next() >> 32) * u64::from(end);
        u32::try_from(product >> 32).unwrap_or(u32::MAX)
    }

    /// From `low` to `high`, both included; `low` if they are the wrong way round.
    pub(super) fn between(&mut self, low: u32, high: u32) -> u32 {
        match high.saturating_sub(low).checked_add(1) {
            Some(width) => low + self.below(width),
            None => u32::try_from(self.next() >> 32).unwrap_or(u32::MAX),
        }
    }

    /// Up to `most`, which it often is, as it often is 0 or close to it.
    pub(super) fn skewed(&mut self, most: u32) -> u32 {
        match self.below(6) {
            0 => 0,
            1 => most,
            2 => self.between(0, most.min(4)),
            3 => self.between(0, most.min(64)),
            _ => self.between(0, most),
        }
    }

    /// Milliseconds up to `most`, of any order of magnitude.
    pub(super) fn millis(&mut self, most: u64) -> u64 {
        let order = self.below(54);
        (self.next() >> (63 - order)).min(most)
    }

    /// True one time in `times`.
    pub(super) fn one_in(&mut self, times: u32) -> bool {
        self.below(times) == 0
    }

    /// One of `choices`.
    pub(super) fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        let length = u32::try_from(choices.len()).unwrap_or(u32::MAX);
        choices[usize::try_from(self.below(length)).expect("invariant: usize has 32 bits or more")]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_in_their_range_and_reach_its_ends() {
        let mut dice = Dice::new(7);
        let drawn: Vec<u32> = (0..1000).map(|_| dice.between(3, 5)).collect();
        assert!([3, 4, 5].iter().all(|n| drawn.contains(n)) && drawn.iter().all(|n| (3..=5).contains(n)));
        assert_eq!((dice.below(0), dice.between(9, 2)), (0, 9));
        assert!((0..1000).all(|_| dice.millis(1 << 40) <= 1 << 40));
    }

    #[test]
    fn the_sequence_is_that_of_splitmix64() {
        let mut dice = Dice::new(1_234_567);
        assert_eq!(dice.next(), 6_457_827_717_110_365_317);
        assert_eq!(dice.next(), 3_203_168_211_198_807_973);
    }
}
