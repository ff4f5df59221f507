//! What a strategy is shown: closed, bounded, integers only, no names of pods.
//!
//! These types mirror `wit/strategy.wit` one to one; `policy-wasm` converts between the two. A snapshot
//! is built by [`crate::node::NodeState`] and never changes afterwards.
//!
//! They are written in two ways. In JSON, for people: what a file leaves out has the default that
//! `wit/README.md` names, unknown fields are refused, settings are an object, state is hexadecimal. And in
//! compact binary formats, which carry everything in order and describe nothing. A type tells them apart by
//! `is_human_readable`.

mod authored;
pub(crate) mod bytes;
pub(crate) mod setting_list;

use std::fmt;

use serde::de::{Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::limits::{InstanceType, Mode};

/// Demand buckets that a snapshot carries at most, oldest first.
pub const MAX_HISTORY: usize = 64;
/// ENIs that a snapshot carries at most; no instance type has more.
pub const MAX_ENIS: usize = 128;
/// Prefix blocks that a snapshot carries at most.
pub const MAX_BLOCKS: usize = 1024;
/// Subnets that a snapshot carries at most; the rest are the least free and are left out.
pub const MAX_SUBNETS: usize = 64;
/// Bytes of opaque state that a strategy may hand to its next decision.
pub const MAX_STATE: usize = 16 * 1024;

/// A typed setting or hint: integers, booleans and text; no floats, so that every host agrees.
///
/// In JSON the bare value: `true`, `12`, `"text"`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self", rename_all = "lowercase")]
pub enum Value {
    /// A boolean.
    Flag(bool),
    /// An integer.
    Int(i64),
    /// Text.
    Text(String),
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !serializer.is_human_readable() {
            return Self::serialize(self, serializer);
        }
        match self {
            Value::Flag(flag) => serializer.serialize_bool(*flag),
            Value::Int(number) => serializer.serialize_i64(*number),
            Value::Text(text) => serializer.serialize_str(text),
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            deserializer.deserialize_any(Bare)
        } else {
            Self::deserialize(deserializer)
        }
    }
}

/// Reads a [`Value`] that says by its form what it is.
struct Bare;

impl Visitor<'_> for Bare {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("true, false, an integer of 64 bits with sign, or text")
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Value, E> {
        Ok(Value::Flag(flag))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Int(number))
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Value, E> {
        let int = i64::try_from(number);
        int.map(Value::Int).map_err(|_| E::invalid_value(Unexpected::Unsigned(number), &self))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(Value::Text(text))
    }
}

/// One setting, hint or annotation. Nested tables of the settings file become dotted keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setting {
    /// For example `warm_ip_target`.
    pub key: String,
    /// Its value.
    pub value: Value,
}

/// What every question carries: time, chance, settings and memory come in as values.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default = "authored::context")]
pub struct Context {
    /// Rises by one with every question to one strategy.
    pub sequence: u64,
    /// Milliseconds on a clock that never runs backwards; only differences mean something.
    pub now_ms: u64,
    /// Seconds since the Unix epoch.
    pub wall_secs: u64,
    /// Chance, fixed per question.
    pub seed: (u32, u32),
    /// The operator's settings for this strategy.
    #[serde(with = "setting_list")]
    pub settings: Vec<Setting>,
    /// What the strategy's last answer asked to remember; at most [`MAX_STATE`] bytes.
    #[serde(with = "bytes")]
    pub state: Vec<u8>,
    /// Facts that later contract versions may type: node labels that the operator exposes, and the like.
    #[serde(with = "setting_list")]
    pub hints: Vec<Setting>,
}

/// What bounds the node's supply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// ENIs that may carry pods: instance limit, operator's limit, less unmanaged and reserved ones.
    pub max_enis: u32,
    /// Slots per ENI: an address each, or a prefix each in prefix mode.
    pub slots_per_eni: u32,
    /// Pod addresses that one slot yields: 1, or 16 in prefix mode.
    pub addresses_per_slot: u32,
    /// Whether EC2 delegates prefixes to this instance type.
    pub prefixes: bool,
    /// ENI slots kept back for a trunk ENI.
    pub trunk_reserve: u32,
}

/// Where an ENI is in its life, as far as a strategy needs to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EniPhase {
    /// Being created, attached or set up: its addresses cannot be used yet.
    Coming,
    /// In service.
    Ready,
    /// Draining, being detached or deleted.
    Leaving,
}

/// One ENI of the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EniUse {
    /// Device index, or the index it will get.
    pub slot: u16,
    /// Network card.
    pub card: u16,
    /// Index into [`WarmPoolSnapshot::subnets`]; `u16::MAX` when the subnet is not listed.
    pub subnet: u16,
    /// Where it is in its life.
    pub phase: EniPhase,
    /// Whether this is the instance's primary ENI, which never leaves.
    pub primary: bool,
    /// Milliseconds since it was first known.
    pub age_ms: u64,
    /// Pod addresses it could hold.
    pub capacity: u32,
    /// Pod addresses it holds: free + reserved or bound + cooling + quarantined.
    pub assigned: u32,
    /// Ready to be bound now.
    pub free: u32,
    /// Reserved for or bound to a pod.
    pub bound: u32,
    /// Released by a pod and not yet reusable.
    pub cooling: u32,
    /// Prefixes it holds.
    pub prefixes: u32,
    /// Milliseconds since any of its addresses was last bound or released.
    pub idle_ms: u64,
}

/// One delegated prefix.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BlockUse {
    /// Device index of its ENI.
    pub slot: u16,
    /// Addresses reserved or bound.
    pub bound: u16,
    /// Addresses cooling.
    pub cooling: u16,
}

/// What happened in one bucket of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Demand {
    /// Pods that asked for an address.
    pub added: u32,
    /// Pods that gave theirs up.
    pub removed: u32,
    /// Of those added, how many had to wait.
    pub waited: u32,
    /// Of those added, how many were refused in the end.
    pub failed: u32,
    /// Most pods bound at once.
    pub peak: u32,
}

/// What the role tag `kubernetes.io/role/cni` of a subnet says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RoleTag {
    /// No such tag, or (on a subnet that is not the primary) an empty value.
    #[default]
    Absent,
    /// The value `0`: keep pods out.
    Excluded,
    /// Any other value: pods may use it.
    Included,
}

/// What the tags `cni.networking.k8s.aws/cluster/<name>` of a subnet say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClusterTag {
    /// No such tag, or our cluster's name is not configured.
    #[default]
    Any,
    /// One of them names our cluster.
    Ours,
    /// They name other clusters only.
    Foreign,
}

/// One subnet in the node's VPC and zone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self", deny_unknown_fields)]
pub struct SubnetUse {
    /// Addresses EC2 reports as free, less our own that are in flight.
    pub free: u32,
    /// Addresses in the subnet that could ever be free.
    pub total: u32,
    /// An upper bound on whole free /28 blocks: free addresses divided by 16. EC2 does not tell how fragmented
    /// the subnet is, so there may be fewer, down to none.
    pub free_blocks: u32,
    /// Whether it is the subnet of the node's primary ENI.
    pub primary: bool,
    /// What its role tag says.
    pub role: RoleTag,
    /// What its cluster tags say.
    pub cluster: ClusterTag,
    /// Failures to get an address or block here in the last ten minutes.
    pub recent_failures: u32,
    /// Our addresses in flight here.
    pub in_flight: u32,
    /// ENIs of this node in it.
    pub enis: u32,
    /// Facts that later contract versions may type.
    #[serde(with = "setting_list")]
    pub hints: Vec<Setting>,
}

impl Serialize for SubnetUse {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Self::serialize(self, serializer)
    }
}

impl<'de> Deserialize<'de> for SubnetUse {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            authored::Subnet::deserialize(deserializer).map(authored::Subnet::completed)
        } else {
            Self::deserialize(deserializer)
        }
    }
}

/// How hard EC2 pushes back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default = "authored::pressure")]
pub struct Pressure {
    /// Whether EC2 throttled us within the last minute.
    pub throttled: bool,
    /// Mutating calls that the node may make at once, in thousandths.
    pub budget_milli: u32,
    /// ENIs being created or attached.
    pub in_flight_enis: u32,
    /// Addresses being assigned.
    pub in_flight_addresses: u32,
}

/// Pods, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pods {
    /// Addresses reserved or bound.
    pub bound: u32,
    /// ADDs waiting for an address.
    pub waiting: u32,
    /// Pods scheduled to this node that have not asked yet.
    pub expected: u32,
    /// Most pods the node runs.
    pub max: u32,
}

/// The question to a warm-pool strategy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self", deny_unknown_fields)]
pub struct WarmPoolSnapshot {
    /// Time, chance, settings, memory.
    pub context: Context,
    /// How addresses are supplied.
    pub mode: Mode,
    /// What bounds supply.
    pub limits: Limits,
    /// The node's ENIs in slot order.
    pub enis: Vec<EniUse>,
    /// The node's prefixes.
    pub blocks: Vec<BlockUse>,
    /// Length of one demand bucket, milliseconds.
    pub bucket_ms: u64,
    /// Demand, oldest first, at most [`MAX_HISTORY`] buckets.
    pub history: Vec<Demand>,
    /// Subnets in the node's VPC and zone.
    pub subnets: Vec<SubnetUse>,
    /// EC2's push-back.
    pub pressure: Pressure,
    /// Pods, counted.
    pub pods: Pods,
}

impl Serialize for WarmPoolSnapshot {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Self::serialize(self, serializer)
    }
}

impl<'de> Deserialize<'de> for WarmPoolSnapshot {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            authored::WarmPool::deserialize(deserializer).map(authored::WarmPool::completed)
        } else {
            Self::deserialize(deserializer)
        }
    }
}

/// The question to a max-pods strategy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default = "authored::instance")]
pub struct MaxPodsSnapshot {
    /// Time, chance, settings, memory.
    pub context: Context,
    /// How addresses are supplied.
    pub mode: Mode,
    /// For example `m5.large`.
    pub instance_type: String,
    /// ENIs of the default network card that the operator lets us use.
    pub max_enis: u32,
    /// IPv4 addresses per ENI, its primary included.
    pub ipv4_per_eni: u32,
    /// Whether EC2 delegates prefixes to this type.
    pub prefixes: bool,
    /// vCPUs.
    pub vcpus: u32,
    /// Memory, MiB.
    pub memory_mib: u64,
    /// Whether the primary ENI carries no pods.
    pub custom_networking: bool,
    /// ENIs kept back for a trunk ENI and the like.
    pub reserved_enis: u32,
    /// Whether to ignore the recommended caps and answer what the addresses allow.
    pub uncapped: bool,
}

impl MaxPodsSnapshot {
    /// The question about a node of `kind` that may use `max_enis`, with nothing reserved and caps in force.
    pub fn of(kind: &InstanceType, mode: Mode, max_enis: u32) -> Self {
        Self {
            context: Context::default(),
            mode,
            instance_type: kind.name.clone(),
            max_enis,
            ipv4_per_eni: kind.ipv4_per_eni,
            prefixes: kind.supports_prefixes(),
            vcpus: kind.vcpus,
            memory_mib: kind.memory_mib,
            custom_networking: false,
            reserved_enis: 0,
            uncapped: false,
        }
    }
}

/// The question to a subnet-selection strategy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default = "authored::choice")]
pub struct SubnetSnapshot {
    /// Time, chance, settings, memory.
    pub context: Context,
    /// How addresses are supplied.
    pub mode: Mode,
    /// Addresses wanted on the new ENI, its primary included.
    pub wanted: u32,
    /// Subnets to choose from; the answer refers to them by index.
    pub candidates: Vec<SubnetUse>,
}
