//! `enid plan` and `enid max-pods`, the installed binary with the shipped components, against the
//! incumbent's rules written down a second time.

use e2e::program::run_enid;
use enid_core::instance_types;
use enid_core::limits::InstanceType;
use serde_json::{Value, json};

/// A sequence that is the same on every run: which types and targets are asked about.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    fn number(&mut self, bound: u32) -> u32 {
        u32::try_from(self.below(bound.into())).expect("invariant: below a number of 32 bits")
    }

    fn instance_type(&mut self) -> InstanceType {
        let types: Vec<InstanceType> = instance_types::all().collect();
        let at = self.below(types.len() as u64);
        types.into_iter().nth(at as usize).expect("invariant: below the number of types")
    }
}

/// WARM_ENI_TARGET, WARM_IP_TARGET, MINIMUM_IP_TARGET and WARM_PREFIX_TARGET; zero is unset for the middle two.
#[derive(Clone, Copy, Debug)]
struct Targets {
    warm_eni: u32,
    warm_ip: u32,
    minimum_ip: u32,
    warm_prefix: u32,
}

impl Targets {
    fn roll(dice: &mut Dice) -> Self {
        let mut below = |bound| dice.number(bound);
        let none = Self { warm_eni: 1, warm_ip: 0, minimum_ip: 0, warm_prefix: 1 };
        match below(3) {
            0 => Self { warm_eni: below(4), warm_prefix: below(6), ..none },
            1 => Self { warm_ip: 1 + below(40), warm_prefix: below(6), ..none },
            _ => Self { warm_ip: below(40), minimum_ip: 1 + below(80), ..none },
        }
    }
}

/// How a node gets its addresses.
#[derive(Clone, Copy, Debug)]
struct Ways {
    prefix: bool,
    custom_networking: bool,
    max_enis: Option<u32>,
}

impl Ways {
    fn roll(dice: &mut Dice) -> Self {
        let (prefix, custom_networking) = (dice.below(2) == 1, dice.below(2) == 1);
        let max_enis = (dice.below(2) == 1).then(|| 1 + dice.number(8));
        Self { prefix, custom_networking, max_enis }
    }

    /// Addresses in one slot of an ENI.
    fn unit(self) -> u32 {
        if self.prefix { 16 } else { 1 }
    }

    /// ENIs that the node may have, its primary included.
    fn enis(self, kind: &InstanceType) -> u32 {
        self.max_enis.map_or(kind.max_enis(), |max| max.min(kind.max_enis()))
    }

    fn words(self) -> Vec<String> {
        let mut words =
            vec!["--mode".to_owned(), if self.prefix { "prefix" } else { "secondary-ip" }.to_owned()];
        words.extend(self.custom_networking.then(|| "--custom-networking".to_owned()));
        words.extend(self.max_enis.map(|max| format!("--max-enis={max}")));
        words
    }
}

/// The incumbent's loop, one step per pass; besides, a pod that waits is one address short. What ENIs have, the
/// primary first, and how many pods have an address.
fn incumbent(kind: &InstanceType, ways: Ways, targets: &Targets, pods: u32) -> (Vec<u32>, u32) {
    let (enis, slots, unit) = (ways.enis(kind) as usize, kind.ipv4_per_eni - 1, ways.unit());
    // With custom networking the primary has none, and takes a place all the same.
    let full = |index: usize| if ways.custom_networking && index == 0 { 0 } else { slots };
    let by_address = targets.warm_ip > 0 || targets.minimum_ip > 0;
    // Slots that are filled, per ENI.
    let (mut held, mut bound) = (vec![0u32], 0);
    for pod in 0..=pods {
        loop {
            let total: u32 = held.iter().sum::<u32>() * unit;
            let available = total - bound;
            let waiting = u32::from(pod > bound && available == 0);
            let short = (targets.warm_ip + waiting)
                .saturating_sub(available)
                .max(targets.minimum_ip.saturating_sub(total));
            let (low, want) = if by_address {
                (short > 0, short.div_ceil(unit))
            } else if ways.prefix {
                // Without a disorder of comings and goings all used addresses are in the fullest prefixes.
                let wholly_free = (total / unit) - bound.div_ceil(unit);
                let wanted = targets.warm_prefix;
                let low = available < wanted * unit || (wanted == 0 && available == 0);
                (low, wanted.saturating_sub(wholly_free).max(1))
            } else {
                let wanted = targets.warm_eni;
                (available < wanted * slots || (wanted == 0 && available == 0), slots)
            };
            if !low {
                break;
            }
            let roomy = held.iter().enumerate().position(|(index, filled)| *filled < full(index));
            match roomy {
                Some(index) => held[index] += want.min(slots - held[index]),
                None if held.len() < enis => held.push(want.min(slots)),
                None => break,
            }
        }
        if bound < pods && bound < held.iter().sum::<u32>() * unit {
            bound += 1;
        }
    }
    (held.into_iter().map(|filled| filled * unit).collect(), bound)
}

#[test]
fn plan_agrees_with_the_incumbent_for_any_type_and_targets() {
    let mut dice = Dice(2026);
    let mut seen = [0; 4];
    for _ in 0..160 {
        let kind = dice.instance_type();
        let (targets, mut ways) = (Targets::roll(&mut dice), Ways::roll(&mut dice));
        ways.prefix &= kind.supports_prefixes();
        let pods = dice.number(70);
        let (per_eni, placed) = incumbent(&kind, ways, &targets, pods);
        let mut words = vec!["plan".to_owned(), "--instance-type".to_owned(), kind.name.clone()];
        words.extend(["--pods".to_owned(), pods.to_string()]);
        words.extend(ways.words());
        for (name, target) in [
            ("warm_eni_target", targets.warm_eni),
            ("warm_ip_target", targets.warm_ip),
            ("minimum_ip_target", targets.minimum_ip),
            ("warm_prefix_target", targets.warm_prefix),
        ] {
            words.extend(["--set".to_owned(), format!("{name}={target}")]);
        }
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let mut plan: Value = serde_json::from_str(&run_enid(&words).ok()).unwrap();
        let calls = plan.as_object_mut().unwrap().remove("calls").unwrap();
        let total: u32 = per_eni.iter().sum();
        let expected = json!({
            "enis": per_eni.len(), "addresses": total, "prefixes": if ways.prefix { total / 16 } else { 0 },
            "unused": total - placed, "per_eni": per_eni, "pods": placed, "settled": true,
        });
        assert_eq!(plan, expected, "{}", words.join(" "));
        let created = calls["CreateNetworkInterface"].as_u64().unwrap_or(0);
        assert_eq!(created, per_eni.len() as u64 - 1, "{}: {calls}", kind.name);
        seen[usize::from(ways.prefix) * 2 + usize::from(ways.custom_networking)] += 1;
    }
    assert!(seen.iter().all(|times| *times >= 20), "every way was asked about: {seen:?}");
}

#[test]
fn max_pods_agrees_with_the_incumbents_calculator() {
    let mut dice = Dice(7);
    for _ in 0..60 {
        let kind = dice.instance_type();
        let (ways, uncapped) = (Ways::roll(&mut dice), dice.below(2) == 1);
        // The incumbent's calculator asks for prefixes only where there are any.
        let each = Ways { prefix: ways.prefix && kind.supports_prefixes(), ..ways }.unit();
        let enis = ways.enis(&kind) - u32::from(ways.custom_networking);
        let formula = enis * (kind.ipv4_per_eni - 1) * each + 2;
        let cap = match (uncapped, kind.vcpus) {
            (true, _) => u32::MAX,
            (false, 0..=30) => 110,
            (false, _) => 250,
        };
        let mut words = vec!["max-pods".to_owned(), "--instance-type".to_owned(), kind.name.clone()];
        words.extend(ways.words());
        words.extend(uncapped.then(|| "--no-cap".to_owned()));
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        assert_eq!(run_enid(&words).ok(), format!("{}\n", formula.min(cap)), "{words:?}");
    }
}
