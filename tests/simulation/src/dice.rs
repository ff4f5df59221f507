//! Chance from a seed: the same seed rolls the same numbers on every machine.

/// A die (SplitMix64).
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// A die that `seed` determines.
    pub fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    /// A number from 0 up to and without `sides`; 0 when there is none.
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)).checked_rem(sides).unwrap_or(0)
    }

    /// The same as a count.
    pub fn roll_u32(&mut self, sides: u32) -> u32 {
        u32::try_from(self.roll(u64::from(sides))).unwrap_or(u32::MAX)
    }

    /// Whether something with a chance of one in `n` happens.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.roll(n) == 0
    }

    /// One of `choices`.
    ///
    /// # Panics
    ///
    /// When there is no choice.
    pub fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        let at = self.roll(u64::try_from(choices.len()).unwrap_or(u64::MAX));
        &choices[usize::try_from(at).unwrap_or(0)]
    }
}
