//! The IPv6 addresses of one subnet: who holds which, alone or in a /80.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;

use enid_core::ids::EniId;
use ipnet::Ipv6Net;

use super::PREFIX_LENGTH;
use crate::ec2::addresses::Placement;
use crate::ec2::chance::Chance;

/// Subnet base address + 0..=3 and the last address are EC2's own (VPC user guide, "Subnet sizing for IPv6").
const RESERVED_AT_START: u64 = 4;
/// /80 blocks in a /64.
const BLOCKS: u32 = 1 << 16;
/// Address bits below a /80.
const BLOCK_BITS: u32 = 48;

/// Holders over a /64; it never runs out of single addresses, so that only what is held is noted.
#[derive(Clone, Debug)]
pub(crate) struct Ipv6Space {
    cidr: Ipv6Net,
    addresses: BTreeMap<Ipv6Addr, EniId>,
    /// Delegated /80 blocks by base address.
    blocks: BTreeMap<Ipv6Addr, EniId>,
}

impl Ipv6Space {
    /// All of `cidr`, a /64, is free.
    pub(crate) fn new(cidr: Ipv6Net) -> Ipv6Space {
        Ipv6Space { cidr, addresses: BTreeMap::new(), blocks: BTreeMap::new() }
    }

    pub(crate) fn contains(&self, address: Ipv6Addr) -> bool {
        self.cidr.contains(&address)
    }

    pub(crate) fn is_reserved(&self, address: Ipv6Addr) -> bool {
        let offset = offset(address);
        offset < RESERVED_AT_START || offset == u64::MAX
    }

    /// The ENI that `address` is assigned or delegated to.
    pub(crate) fn owner(&self, address: Ipv6Addr) -> Option<&EniId> {
        self.addresses.get(&address).or_else(|| self.blocks.get(&self.address(block_base(offset(address)))))
    }

    /// Whether `block`, an aligned /80 of this subnet, could be delegated.
    pub(crate) fn block_is_whole(&self, block: Ipv6Net) -> bool {
        let (first, last) = (block.network(), block.broadcast());
        !self.blocks.contains_key(&first)
            && self.addresses.range(first..=last).next().is_none()
            && !self.is_reserved(first)
            && !self.is_reserved(last)
    }

    /// Gives `address`, which must be free and inside, to `eni`.
    pub(crate) fn take(&mut self, address: Ipv6Addr, eni: EniId) {
        assert!(self.contains(address) && self.owner(address).is_none(), "{address} is not free");
        self.addresses.insert(address, eni);
    }

    /// Gives any free address to `eni`.
    pub(crate) fn take_any(&mut self, placement: Placement, chance: &mut Chance, eni: EniId) -> Ipv6Addr {
        let mut offset = match placement {
            Placement::Ascending => RESERVED_AT_START,
            Placement::Scattered => chance.draw(),
        };
        // Each step leaves one held address or block behind, and far fewer are held than a /64 has.
        loop {
            let address = self.address(offset);
            offset = if self.blocks.contains_key(&self.address(block_base(offset))) {
                block_base(offset).wrapping_add(1 << BLOCK_BITS)
            } else if self.is_reserved(address) || self.addresses.contains_key(&address) {
                offset.wrapping_add(1)
            } else {
                self.addresses.insert(address, eni);
                return address;
            };
        }
    }

    /// Gives `block`, which must be whole and inside, to `eni`.
    pub(crate) fn take_block(&mut self, block: Ipv6Net, eni: EniId) {
        assert!(self.block_is_whole(block), "{block} is not whole");
        self.blocks.insert(block.network(), eni);
    }

    /// Gives any whole /80 block to `eni`.
    pub(crate) fn take_any_block(
        &mut self,
        placement: Placement,
        chance: &mut Chance,
        eni: EniId,
    ) -> Option<Ipv6Net> {
        let start = match placement {
            Placement::Ascending => 0,
            Placement::Scattered => chance.below(BLOCKS),
        };
        let mut blocks = (start..BLOCKS).chain(0..start).map(|block| self.block(block));
        let block = blocks.find(|block| self.block_is_whole(*block))?;
        self.take_block(block, eni);
        Some(block)
    }

    /// Makes `address` free again.
    pub(crate) fn give_back(&mut self, address: Ipv6Addr) {
        self.addresses.remove(&address);
    }

    /// Makes `block` whole again.
    pub(crate) fn give_back_block(&mut self, block: Ipv6Net) {
        self.blocks.remove(&block.network());
    }

    /// How many addresses and blocks are held.
    pub(crate) fn held(&self) -> (usize, usize) {
        (self.addresses.len(), self.blocks.len())
    }

    fn block(&self, index: u32) -> Ipv6Net {
        let base = self.address(u64::from(index) << BLOCK_BITS);
        Ipv6Net::new(base, PREFIX_LENGTH).expect("invariant: 80 is a prefix length")
    }

    fn address(&self, offset: u64) -> Ipv6Addr {
        Ipv6Addr::from(u128::from(self.cidr.network()) | u128::from(offset))
    }
}

/// Where `address` is within its /64.
fn offset(address: Ipv6Addr) -> u64 {
    let [.., a, b, c, d, e, f, g, h] = address.octets();
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

/// Where the /80 around `offset` starts.
fn block_base(offset: u64) -> u64 {
    offset >> BLOCK_BITS << BLOCK_BITS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space() -> Ipv6Space {
        Ipv6Space::new("2001:db8:0:1::/64".parse().unwrap())
    }

    fn eni() -> EniId {
        "eni-1".parse().unwrap()
    }

    #[test]
    fn ec2s_own_addresses_and_their_blocks_are_never_given() {
        let (mut space, mut chance) = (space(), Chance::new(1));
        let first = space.take_any(Placement::Ascending, &mut chance, eni());
        assert_eq!(first, "2001:db8:0:1::4".parse::<Ipv6Addr>().unwrap());
        for whole in
            [("2001:db8:0:1::/80", false), ("2001:db8:0:1:1::/80", true), ("2001:db8:0:1:ffff::/80", false)]
        {
            assert_eq!(space.block_is_whole(whole.0.parse().unwrap()), whole.1, "{}", whole.0);
        }
    }

    #[test]
    fn single_addresses_and_blocks_never_overlap() {
        for placement in [Placement::Ascending, Placement::Scattered] {
            let (mut space, mut chance) = (space(), Chance::new(7));
            let mut blocks = Vec::new();
            for _ in 0..200 {
                blocks.push(space.take_any_block(placement, &mut chance, eni()).unwrap());
                let address = space.take_any(placement, &mut chance, eni());
                assert!(blocks.iter().all(|block| !block.contains(&address)), "{address}");
            }
            assert_eq!(space.held(), (200, 200));
            assert!(blocks.iter().all(|block| block.prefix_len() == 80 && block.trunc() == *block));
        }
    }

    #[test]
    fn blocks_run_out_and_one_address_breaks_a_block() {
        let (mut space, mut chance) = (space(), Chance::new(1));
        let address = "2001:db8:0:1:5::9".parse().unwrap();
        space.take(address, eni());
        let all: Vec<Ipv6Net> = (0..BLOCKS).map(|index| space.block(index)).collect();
        let whole: Vec<Ipv6Net> = all.into_iter().filter(|block| space.block_is_whole(*block)).collect();
        assert_eq!(whole.len(), 65_536 - 3);
        whole.into_iter().for_each(|block| space.take_block(block, eni()));
        assert_eq!(space.take_any_block(Placement::Ascending, &mut chance, eni()), None);
        space.give_back(address);
        let last = space.take_any_block(Placement::Scattered, &mut chance, eni());
        assert_eq!(last, Some("2001:db8:0:1:5::/80".parse().unwrap()));
    }
}
