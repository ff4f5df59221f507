//! What an instance type allows: network cards, ENIs, addresses.

use serde::{Deserialize, Serialize};

/// Addresses in one delegated IPv4 prefix: EC2 hands out /28 blocks.
pub const PREFIX_ADDRESSES: u32 = 16;

/// Whether pods get single secondary addresses or addresses out of delegated prefixes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Secondary private IPv4 addresses, one per pod.
    #[default]
    SecondaryIp,
    /// Delegated /28 prefixes.
    Prefix,
}

/// The virtualisation under an instance type (`InstanceTypeInfo.Hypervisor`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Hypervisor {
    /// AWS Nitro.
    Nitro,
    /// Xen, the previous generation.
    Xen,
    /// None: bare metal, or not stated by EC2.
    None,
}

/// One network card of an instance type (`NetworkCardInfo`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkCard {
    /// `NetworkCardIndex`.
    pub index: u32,
    /// `MaximumNetworkInterfaces` of this card.
    pub max_enis: u32,
}

/// The networking facts of one instance type (`DescribeInstanceTypes`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceType {
    /// For example `m5.large`.
    pub name: String,
    /// `VCpuInfo.DefaultVCpus`.
    pub vcpus: u32,
    /// `MemoryInfo.SizeInMiB`.
    pub memory_mib: u64,
    /// The virtualisation.
    pub hypervisor: Hypervisor,
    /// `BareMetal`.
    pub bare_metal: bool,
    /// `DefaultNetworkCardIndex`.
    pub default_card: u32,
    /// Cards in index order; at least the default one.
    pub cards: Vec<NetworkCard>,
    /// IPv4 addresses per ENI, its primary included.
    pub ipv4_per_eni: u32,
    /// IPv6 addresses per ENI.
    pub ipv6_per_eni: u32,
    /// Whether trunk ENIs are possible, where known.
    pub trunking: Option<bool>,
}

impl InstanceType {
    /// The ENI limit that pods live under: that of the default card, not the sum over cards.
    ///
    /// The top-level `MaximumNetworkInterfaces` counts all cards of multi-card types; the incumbent and
    /// its published tables use the default card.
    pub fn max_enis(&self) -> u32 {
        self.max_enis_on(self.default_card)
    }

    /// The ENI limit of one network card; a card that the type lacks has none.
    pub fn max_enis_on(&self, card: u32) -> u32 {
        self.cards.iter().find(|known| known.index == card).map_or(0, |known| known.max_enis)
    }

    /// Pod-assignable slots on one ENI: every IPv4 address but the ENI's own primary.
    ///
    /// In prefix mode each slot holds one /28.
    pub fn slots_per_eni(&self) -> u32 {
        self.ipv4_per_eni.saturating_sub(1)
    }

    /// Whether EC2 delegates prefixes to this type: Nitro or bare metal.
    pub fn supports_prefixes(&self) -> bool {
        self.hypervisor == Hypervisor::Nitro || self.bare_metal
    }

    /// Pod addresses that one full ENI yields in `mode`.
    pub fn addresses_per_eni(&self, mode: Mode) -> u32 {
        match mode {
            Mode::SecondaryIp => self.slots_per_eni(),
            Mode::Prefix => self.slots_per_eni() * PREFIX_ADDRESSES,
        }
    }
}
