//! Questions for native tests: start from a plain node and change what the test is about.
//!
//! One decision needs no more than `decide` itself:
//!
//! ```
//! # use enid_guest::{Answer, Failure, MaxPods, Mode, NoSettings, max_pods::Snapshot};
//! # struct PerVcpu;
//! # impl MaxPods for PerVcpu {
//! #     type Settings = NoSettings;
//! #     type State = ();
//! #     fn decide(_: &NoSettings, (): &mut (), now: &Snapshot) -> Result<Answer<u32>, Failure> {
//! #         Ok(Answer::new(now.vcpus * 10, "ten per vCPU"))
//! #     }
//! # }
//! use enid_guest::testing::{instance, settings};
//! let answer = PerVcpu::decide(&settings(&[]), &mut (), &instance(Mode::SecondaryIp)).unwrap();
//! assert_eq!(answer.target, 20);
//! ```
//!
//! What a strategy makes of its memory shows over several questions, which a [`Host`] asks.

use crate::settings::Settings;
use crate::warm_pool::{EniPhase, EniUse, Limits, PodCounts, Pressure};
use crate::{
    ClusterTag, Context, Failure, MaxPods, Mode, RoleTag, Setting, SubnetSelection, SubnetUse, Value,
    WarmPool, export, max_pods, subnet_selection, warm_pool,
};

/// Asks one strategy question after question, as the host does: with its settings, and with the memory of
/// its last answer as bytes.
#[derive(Clone, Debug)]
pub struct Host {
    settings: Vec<Setting>,
    state: Vec<u8>,
    sequence: u64,
}

impl Host {
    /// A host whose operator set this.
    pub fn new(settings: &[Setting]) -> Self {
        Self { settings: settings.to_vec(), state: Vec::new(), sequence: 0 }
    }

    /// Asks how many addresses to hold ready.
    pub fn warm_pool<S: WarmPool>(
        &mut self,
        mut snapshot: warm_pool::Snapshot,
    ) -> Result<warm_pool::Proposal, Failure> {
        self.fill(&mut snapshot.context);
        export::warm_pool::<S>(&snapshot).inspect(|proposal| self.keep(&proposal.outcome.state))
    }

    /// Asks how many pods the node can run.
    pub fn max_pods<S: MaxPods>(
        &mut self,
        mut snapshot: max_pods::Snapshot,
    ) -> Result<max_pods::Proposal, Failure> {
        self.fill(&mut snapshot.context);
        export::max_pods::<S>(&snapshot).inspect(|proposal| self.keep(&proposal.outcome.state))
    }

    /// Asks in which subnet the next ENI is created.
    pub fn subnet_selection<S: SubnetSelection>(
        &mut self,
        mut snapshot: subnet_selection::Snapshot,
    ) -> Result<subnet_selection::Proposal, Failure> {
        self.fill(&mut snapshot.context);
        export::subnet_selection::<S>(&snapshot).inspect(|proposal| self.keep(&proposal.outcome.state))
    }

    /// What the host knows and the snapshot's author need not: times stay the author's.
    fn fill(&mut self, context: &mut Context) {
        context.settings.clone_from(&self.settings);
        context.state.clone_from(&self.state);
        context.sequence = self.sequence;
        self.sequence += 1;
    }

    fn keep(&mut self, state: &[u8]) {
        self.state = state.to_vec();
    }
}

/// An integer setting.
pub fn int(key: &str, value: i64) -> Setting {
    Setting { key: key.to_owned(), value: Value::Int(value) }
}

/// A boolean setting.
pub fn flag(key: &str, value: bool) -> Setting {
    Setting { key: key.to_owned(), value: Value::Flag(value) }
}

/// A text setting.
pub fn text(key: &str, value: &str) -> Setting {
    Setting { key: key.to_owned(), value: Value::Text(value.to_owned()) }
}

/// Settings that must be right.
///
/// # Panics
/// With the issues when they are not.
pub fn settings<S: Settings>(given: &[Setting]) -> S {
    S::parse(given).unwrap_or_else(|issues| panic!("settings are refused: {issues:?}"))
}

/// The first question ever, with these settings.
pub fn context(settings: Vec<Setting>) -> Context {
    Context {
        sequence: 0,
        now_ms: 1_000_000,
        wall_secs: 1_800_000_000,
        seed: (1, 2),
        settings,
        state: Vec::new(),
        hints: Vec::new(),
    }
}

/// A node with one empty ENI: 3 ENIs of 9 slots, as an m5.large has.
pub fn node(mode: Mode) -> warm_pool::Snapshot {
    let limits = Limits {
        max_enis: 3,
        slots_per_eni: 9,
        addresses_per_slot: match mode {
            Mode::SecondaryIp => 1,
            Mode::Prefix => 16,
        },
        prefixes: true,
        trunk_reserve: 0,
    };
    warm_pool::Snapshot {
        context: context(Vec::new()),
        mode,
        limits,
        enis: vec![eni(0, limits)],
        blocks: Vec::new(),
        bucket_ms: 10_000,
        history: Vec::new(),
        subnets: vec![subnet(100)],
        pressure: Pressure {
            throttled: false,
            budget_milli: 10_000,
            in_flight_enis: 0,
            in_flight_addresses: 0,
        },
        pods: PodCounts { bound: 0, waiting: 0, expected: 0, max: 29 },
    }
}

/// An ENI in service that holds nothing yet; the one in slot 0 is the primary.
pub fn eni(slot: u16, limits: Limits) -> EniUse {
    EniUse {
        slot,
        card: 0,
        subnet: 0,
        phase: EniPhase::Ready,
        primary: slot == 0,
        age_ms: 600_000,
        capacity: limits.slots_per_eni * limits.addresses_per_slot,
        assigned: 0,
        free: 0,
        bound: 0,
        cooling: 0,
        prefixes: 0,
        idle_ms: 600_000,
    }
}

/// An untagged subnet of 251 addresses with so many free.
pub fn subnet(free: u32) -> SubnetUse {
    SubnetUse {
        free,
        total: 251,
        free_blocks: free / 16,
        primary: false,
        role: RoleTag::Absent,
        cluster: ClusterTag::Any,
        recent_failures: 0,
        in_flight: 0,
        enis: 0,
        hints: Vec::new(),
    }
}

/// An m5.large that asks how many pods it can run.
pub fn instance(mode: Mode) -> max_pods::Snapshot {
    max_pods::Snapshot {
        context: context(Vec::new()),
        mode,
        instance_type: "m5.large".to_owned(),
        max_enis: 3,
        ipv4_per_eni: 10,
        prefixes: true,
        vcpus: 2,
        memory_mib: 8192,
        custom_networking: false,
        reserved_enis: 0,
        uncapped: false,
    }
}

/// A choice between subnets.
pub fn choice(candidates: Vec<SubnetUse>) -> subnet_selection::Snapshot {
    subnet_selection::Snapshot {
        context: context(Vec::new()),
        mode: Mode::SecondaryIp,
        wanted: 10,
        candidates,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subnet_selection::Ranked;
    use crate::{Answer, State};

    /// Tries the subnets in turn.
    struct InTurn;

    #[derive(Default, State)]
    #[state(version = 1)]
    struct Turn {
        next: u16,
        ballast: Vec<u8>,
    }

    #[derive(Settings)]
    struct Knobs {
        /// Bytes to remember besides.
        #[setting(default = 0, range = 0..=65_536)]
        ballast: u32,
    }

    impl SubnetSelection for InTurn {
        type Settings = Knobs;
        type State = Turn;

        fn decide(
            knobs: &Knobs,
            turn: &mut Turn,
            now: &subnet_selection::Snapshot,
        ) -> Result<Answer<Vec<Ranked>>, Failure> {
            let candidate = turn.next;
            turn.next = (candidate + 1) % u16::try_from(now.candidates.len()).unwrap();
            turn.ballast = vec![0; usize::try_from(knobs.ballast).unwrap()];
            Ok(Answer::new(
                vec![Ranked { candidate, weight: 0 }],
                format!("question {}", now.context.sequence),
            ))
        }
    }

    #[test]
    fn the_host_hands_memory_on() {
        let mut host = Host::new(&[]);
        for (sequence, expected) in [0, 1, 0, 1].into_iter().enumerate() {
            let proposal = host.subnet_selection::<InTurn>(choice(vec![subnet(1), subnet(2)])).unwrap();
            assert_eq!(proposal.target[0].candidate, expected);
            assert_eq!(proposal.outcome.reason, format!("question {sequence}"));
        }
    }

    #[test]
    fn the_host_refuses_settings_as_the_component_does() {
        let refused = Host::new(&[int("balast", 1)]).subnet_selection::<InTurn>(choice(vec![subnet(1)]));
        let expected = "balast: unknown setting, known are ballast".to_owned();
        assert_eq!(refused, Err(Failure::Settings(expected)));
    }

    #[test]
    fn state_that_the_host_would_not_keep_is_a_failure() {
        // Two bytes of version, two of the turn, two of the length.
        let fits = 16_384 - 6;
        assert!(
            Host::new(&[int("ballast", fits)]).subnet_selection::<InTurn>(choice(vec![subnet(1)])).is_ok()
        );
        let beyond =
            Host::new(&[int("ballast", fits + 1)]).subnet_selection::<InTurn>(choice(vec![subnet(1)]));
        let expected = "the state has 16385 bytes, and the host keeps 16384".to_owned();
        assert_eq!(beyond, Err(Failure::Internal(expected)));
    }
}
