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

    fn instance_type(&mut self) -> InstanceType {
        let types: Vec<InstanceType> = instance_types::all().collect();
        let at = self.below(types.len() as u64);
        types.into_iter().nth(at as usize).expect("invariant: below the number of types")
    }
}

/// WARM_ENI_TARGET, WARM_IP_TARGET and MINIMUM_IP_TARGET; zero is unset for the latter two.
struct Targets {
    warm_eni: u32,
    warm_ip: u32,
    minimum_ip: u32,
}

/// The incumbent's loop, one step per pass; besides, a pod that waits is one address short.
fn incumbent(kind: &InstanceType, targets: &Targets, pods: u32) -> (Vec<u32>, u32) {
    let (enis, per_eni) = (kind.max_enis(), kind.ipv4_per_eni - 1);
    let (mut held, mut bound) = (vec![0u32], 0);
    for pod in 0..=pods {
        loop {
            let total: u32 = held.iter().sum();
            let available = total - bound;
            let waiting = u32::from(pod > bound && available == 0);
            let by_address = targets.warm_ip > 0 || targets.minimum_ip > 0;
            let short = (targets.warm_ip + waiting)
                .saturating_sub(available)
                .max(targets.minimum_ip.saturating_sub(total));
            let low = if by_address {
                short > 0
            } else {
                available < targets.warm_eni * per_eni || (targets.warm_eni == 0 && available == 0)
            };
            let want = if by_address { short } else { per_eni };
            let may_create = held.len() < enis as usize;
            match held.iter_mut().find(|eni| **eni < per_eni) {
                Some(eni) if low => *eni += want.min(per_eni - *eni),
                None if low && may_create => held.push(want.min(per_eni)),
                Some(_) | None => break,
            }
        }
        if bound < pods && bound < held.iter().sum() {
            bound += 1;
        }
    }
    (held, bound)
}

#[test]
fn plan_agrees_with_the_incumbent_for_any_type_and_targets() {
    let mut dice = Dice(2026);
    for _ in 0..60 {
        let kind = dice.instance_type();
        let dice_u32 = |dice: &mut Dice, bound| u32::try_from(dice.below(bound)).unwrap();
        let targets = match dice.below(3) {
            0 => Targets { warm_eni: dice_u32(&mut dice, 4), warm_ip: 0, minimum_ip: 0 },
            1 => Targets { warm_eni: 1, warm_ip: 1 + dice_u32(&mut dice, 40), minimum_ip: 0 },
            _ => Targets {
                warm_eni: 1,
                warm_ip: dice_u32(&mut dice, 40),
                minimum_ip: 1 + dice_u32(&mut dice, 80),
            },
        };
        let pods = dice_u32(&mut dice, 70);
        let (per_eni, placed) = incumbent(&kind, &targets, pods);
        let ended = run_enid(&[
            "plan",
            "--instance-type",
            &kind.name,
            "--pods",
            &pods.to_string(),
            "--set",
            &format!("warm_eni_target={}", targets.warm_eni),
            "--set",
            &format!("warm_ip_target={}", targets.warm_ip),
            "--set",
            &format!("minimum_ip_target={}", targets.minimum_ip),
            "--output",
            "json",
        ]);
        let mut plan: Value = serde_json::from_str(&ended.ok()).unwrap();
        let calls = plan.as_object_mut().unwrap().remove("calls").unwrap();
        let total: u32 = per_eni.iter().sum();
        let expected = json!({
            "enis": per_eni.len(), "addresses": total, "prefixes": 0, "unused": total - placed,
            "per_eni": per_eni, "pods": placed, "settled": true,
        });
        assert_eq!(plan, expected, "{} with {} pods", kind.name, pods);
        let created = calls["CreateNetworkInterface"].as_u64().unwrap_or(0);
        assert_eq!(created, per_eni.len() as u64 - 1, "{}: {calls}", kind.name);
    }
}

#[test]
fn max_pods_agrees_with_the_incumbents_calculator() {
    let mut dice = Dice(7);
    for _ in 0..60 {
        let kind = dice.instance_type();
        let (prefix, custom, uncapped) = (dice.below(2) == 1, dice.below(2) == 1, dice.below(2) == 1);
        let max_enis = (dice.below(2) == 1).then(|| 1 + dice.below(8));
        let limit = max_enis.map_or(kind.max_enis(), |max| kind.max_enis().min(u32::try_from(max).unwrap()));
        let each = if prefix && kind.supports_prefixes() { 16 } else { 1 };
        let formula = limit.saturating_sub(u32::from(custom)) * (kind.ipv4_per_eni - 1) * each + 2;
        let cap = match (uncapped, kind.vcpus) {
            (true, _) => u32::MAX,
            (false, 0..=30) => 110,
            (false, _) => 250,
        };
        let mut words = vec!["max-pods".to_owned(), "--instance-type".to_owned(), kind.name.clone()];
        words.extend(["--mode".to_owned(), if prefix { "prefix" } else { "secondary-ip" }.to_owned()]);
        words.extend(custom.then(|| "--custom-networking".to_owned()));
        words.extend(uncapped.then(|| "--no-cap".to_owned()));
        words.extend(max_enis.map(|max| format!("--max-enis={max}")));
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        assert_eq!(run_enid(&words).ok(), format!("{}\n", formula.min(cap)), "{words:?}");
    }
}
