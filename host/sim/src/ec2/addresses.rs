//! The addresses of one subnet: which are taken, which /28 blocks are whole.

use std::net::Ipv4Addr;

use enid_core::limits::PREFIX_ADDRESSES;
use ipnet::Ipv4Net;

use super::chance::Chance;

/// Where the model takes the next free address or block from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Placement {
    /// The lowest free one: easy to read in a demonstration.
    Ascending,
    /// Anywhere, as EC2 does: single addresses scattered over a subnet are what breaks up its /28 blocks.
    #[default]
    Scattered,
}

/// Subnet base address + 0..=3 and the last address are EC2's own (VPC user guide, "Subnet sizing").
const RESERVED_AT_START: u32 = 4;

/// A bitmap over one subnet of /28 to /16. Reserved addresses count as taken from the start.
#[derive(Clone, Debug)]
pub(crate) struct AddressSpace {
    cidr: Ipv4Net,
    /// One bit per address, set when taken. Sizes are powers of two from 16 bits up.
    taken: Vec<u64>,
    free: u32,
}

impl AddressSpace {
    pub(crate) fn new(cidr: Ipv4Net) -> AddressSpace {
        let size = 1u32 << (32 - u32::from(cidr.prefix_len()));
        let words = usize::try_from(size.div_ceil(64)).expect("invariant: at most 1024 words in a /16");
        let mut space = AddressSpace { cidr, taken: vec![0; words], free: size };
        for index in (0..RESERVED_AT_START).chain([size - 1]) {
            space.set(index);
        }
        space
    }

    /// `AvailableIpAddressCount`.
    pub(crate) fn free(&self) -> u32 {
        self.free
    }

    /// Addresses that could ever be free: all but EC2's five.
    pub(crate) fn total(&self) -> u32 {
        self.size() - RESERVED_AT_START - 1
    }

    /// Whole free /28 blocks.
    pub(crate) fn free_blocks(&self) -> u32 {
        let free = (0..self.blocks()).filter(|block| self.block_is_free(*block)).count();
        u32::try_from(free).expect("invariant: at most 4096 blocks in a /16")
    }

    pub(crate) fn contains(&self, address: Ipv4Addr) -> bool {
        self.cidr.contains(&address)
    }

    pub(crate) fn is_reserved(&self, address: Ipv4Addr) -> bool {
        let index = self.index(address);
        index < RESERVED_AT_START || index == self.size() - 1
    }

    pub(crate) fn is_free(&self, address: Ipv4Addr) -> bool {
        !self.is_set(self.index(address))
    }

    pub(crate) fn block_is_whole(&self, block: Ipv4Net) -> bool {
        self.block_is_free(self.index(block.network()) / PREFIX_ADDRESSES)
    }

    /// Takes `address`, which must be free and inside.
    pub(crate) fn take(&mut self, address: Ipv4Addr) {
        let index = self.index(address);
        assert!(!self.is_set(index), "{address} is taken already");
        self.set(index);
    }

    /// Takes any free address.
    pub(crate) fn take_any(&mut self, placement: Placement, chance: &mut Chance) -> Option<Ipv4Addr> {
        let start = start(placement, chance, self.size());
        let index = (start..self.size()).chain(0..start).find(|index| !self.is_set(*index))?;
        self.set(index);
        Some(self.address(index))
    }

    /// Takes every address of `block`, which must be whole and inside.
    pub(crate) fn take_block(&mut self, block: Ipv4Net) {
        assert!(self.block_is_whole(block), "{block} is not whole");
        let first = self.index(block.network());
        (first..first + PREFIX_ADDRESSES).for_each(|index| self.set(index));
    }

    /// Takes any whole /28 block.
    pub(crate) fn take_any_block(&mut self, placement: Placement, chance: &mut Chance) -> Option<Ipv4Net> {
        let start = start(placement, chance, self.blocks());
        let block = (start..self.blocks()).chain(0..start).find(|block| self.block_is_free(*block))?;
        let net = self.block_net(block);
        self.take_block(net);
        Some(net)
    }

    /// Makes `address` free again.
    pub(crate) fn give_back(&mut self, address: Ipv4Addr) {
        let index = self.index(address);
        assert!(self.is_set(index), "{address} is free already");
        self.clear(index);
    }

    /// Makes every address of `block` free again.
    pub(crate) fn give_back_block(&mut self, block: Ipv4Net) {
        let first = self.index(block.network());
        (first..first + PREFIX_ADDRESSES).for_each(|index| self.clear(index));
    }

    /// All aligned /28 blocks, whole or not.
    pub(crate) fn all_blocks(&self) -> impl Iterator<Item = Ipv4Net> + '_ {
        (0..self.blocks()).map(|block| self.block_net(block))
    }

    fn size(&self) -> u32 {
        1u32 << (32 - u32::from(self.cidr.prefix_len()))
    }

    fn blocks(&self) -> u32 {
        self.size() / PREFIX_ADDRESSES
    }

    fn block_net(&self, block: u32) -> Ipv4Net {
        Ipv4Net::new(self.address(block * PREFIX_ADDRESSES), 28).expect("invariant: 28 is a prefix length")
    }

    fn block_is_free(&self, block: u32) -> bool {
        let (word, bit) = place(block * PREFIX_ADDRESSES);
        (self.taken[word] >> bit) & 0xffff == 0
    }

    fn address(&self, index: u32) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.cidr.network()) + index)
    }

    fn index(&self, address: Ipv4Addr) -> u32 {
        assert!(self.contains(address), "{address} is outside {}", self.cidr);
        u32::from(address) - u32::from(self.cidr.network())
    }

    fn is_set(&self, index: u32) -> bool {
        let (word, bit) = place(index);
        (self.taken[word] >> bit) & 1 == 1
    }

    fn set(&mut self, index: u32) {
        if !self.is_set(index) {
            let (word, bit) = place(index);
            self.taken[word] |= 1 << bit;
            self.free -= 1;
        }
    }

    fn clear(&mut self, index: u32) {
        if self.is_set(index) {
            let (word, bit) = place(index);
            self.taken[word] &= !(1 << bit);
            self.free += 1;
        }
    }
}

fn place(index: u32) -> (usize, u32) {
    (usize::try_from(index / 64).expect("invariant: a word index fits"), index % 64)
}

fn start(placement: Placement, chance: &mut Chance, size: u32) -> u32 {
    match placement {
        Placement::Ascending => 0,
        Placement::Scattered => chance.below(size),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space(cidr: &str) -> AddressSpace {
        AddressSpace::new(cidr.parse().unwrap())
    }

    #[test]
    fn five_addresses_are_never_free() {
        for (cidr, free) in
            [("10.0.0.0/24", 251), ("10.0.0.0/20", 4091), ("10.0.0.0/28", 11), ("10.0.0.0/16", 65531)]
        {
            assert_eq!((space(cidr).free(), space(cidr).total()), (free, free), "{cidr}");
        }
    }

    #[test]
    fn the_first_and_last_block_are_never_whole() {
        assert_eq!(space("10.0.0.0/28").free_blocks(), 0);
        assert_eq!(space("10.0.0.0/27").free_blocks(), 0);
        assert_eq!(space("10.0.0.0/24").free_blocks(), 14);
    }

    #[test]
    fn one_address_breaks_a_block_until_it_is_given_back() {
        let mut space = space("10.0.0.0/24");
        space.take("10.0.0.37".parse().unwrap());
        assert_eq!((space.free(), space.free_blocks()), (250, 13));
        space.give_back("10.0.0.37".parse().unwrap());
        assert_eq!((space.free(), space.free_blocks()), (251, 14));
    }

    #[test]
    fn every_address_is_handed_out_once_whatever_the_placement() {
        for placement in [Placement::Ascending, Placement::Scattered] {
            let (mut space, mut chance) = (space("10.0.0.0/25"), Chance::new(1));
            let mut seen: Vec<_> = std::iter::from_fn(|| space.take_any(placement, &mut chance)).collect();
            seen.sort();
            seen.dedup();
            assert_eq!((seen.len(), space.free()), (123, 0));
        }
    }

    #[test]
    fn blocks_are_aligned_and_run_out() {
        let (mut space, mut chance) = (space("10.0.0.0/25"), Chance::new(1));
        let blocks: Vec<_> =
            std::iter::from_fn(|| space.take_any_block(Placement::Scattered, &mut chance)).collect();
        assert_eq!(blocks.len(), 6);
        assert!(blocks.iter().all(|block| u32::from(block.network()) % 16 == 0));
        assert_eq!(space.free(), 123 - 96);
    }
}
