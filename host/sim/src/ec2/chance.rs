//! Chance with a seed: the same seed gives the same world.

/// A splitmix64 generator (Steele, Lea, Flood 2014): enough for ids and address choice, never for secrets.
#[derive(Clone, Debug)]
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(seed: u64) -> Chance {
        Chance(seed)
    }

    /// The next 64 bits.
    pub(crate) fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`; zero when the bound is zero. The bias is below 2⁻³² for the sizes used here.
    pub(crate) fn below(&mut self, bound: u32) -> u32 {
        let high = u32::try_from(self.draw() >> 32).expect("invariant: 64 - 32 bits");
        u32::try_from((u64::from(high) * u64::from(bound)) >> 32).expect("invariant: below a u32 bound")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_draws_the_same_numbers_within_bounds() {
        let (mut one, mut two) = (Chance::new(7), Chance::new(7));
        for bound in 1..500 {
            let drawn = one.below(bound);
            assert_eq!(drawn, two.below(bound));
            assert!(drawn < bound);
        }
        assert_eq!(one.below(0), 0);
    }
}
