//! Components that were built against a released contract, kept as they were: every later host of that contract
//! lets them in and understands their answers.

use std::path::PathBuf;

use anyhow::{Result, bail, ensure};
use enid_core::document::{Answer, Snapshot};
use enid_core::proposal::Grain;
use enid_core::snapshot::{Setting, Value};
use enid_policy_wasm::question::{Judged, judge};
use enid_policy_wasm::{Kind, Limits};
use guests::Site;
use guests::corpus::crate_directory;
use guests::question::ordinary;

fn frozen(version: &str, name: &str) -> Result<PathBuf> {
    Ok(crate_directory()?.join("frozen").join(version).join(format!("{name}.wasm")))
}

/// Lets a component of 0.1.0 in, in both places, and has its answer to the ordinary question judged.
fn judged(kind: Kind, name: &str, settings: &[Setting]) -> Result<Judged> {
    let bytes = std::fs::read(frozen("0.1.0", name)?)?;
    let question = with(ordinary(kind), settings);
    let mut answers = Vec::new();
    for site in Site::both()? {
        let examined = site.examine_with(kind, &bytes, &Limits::default(), settings)?;
        let descriptor = examined.guest.descriptor();
        ensure!((descriptor.name.as_str(), descriptor.version.as_str()) == (name, "0.1.0"), "{descriptor:?}");
        ensure!(examined.trial.corners > 10 && examined.trial.unsupported == 0, "{:?}", examined.trial);
        let called = examined.guest.ask(&question);
        answers.push((called.result?, called.cost.fuel));
    }
    let (first, second) = (answers.swap_remove(0), answers.swap_remove(0));
    ensure!(first == second, "in another place it answers differently: {first:?}, {second:?}");
    let answer: Answer = first.0;
    Ok(judge(&question, answer)?)
}

fn with(mut question: Snapshot, settings: &[Setting]) -> Snapshot {
    question.context_mut().settings = settings.to_vec();
    question
}

#[test]
fn warm_targets_of_0_1_0_still_decides() -> Result<()> {
    let int = |key: &str, value| Setting { key: key.into(), value: Value::Int(value) };
    let settings = [int("warm_ip_target", 2), int("minimum_ip_target", 5)];
    let judged = judged(Kind::WarmPool, "warm-targets", &settings)?;
    let Judged::WarmPool(admitted) = judged else { bail!("{judged:?}") };
    let band = admitted.target;
    ensure!((band.ready_low, band.total_floor, band.grain) == (2, 5, Grain::Address), "{band:?}");
    Ok(())
}

#[test]
fn eks_max_pods_of_0_1_0_still_decides() -> Result<()> {
    let judged = judged(Kind::MaxPods, "eks-max-pods", &[])?;
    let Judged::MaxPods(admitted) = judged else { bail!("{judged:?}") };
    ensure!(admitted.target == 29, "{admitted:?}");
    Ok(())
}

#[test]
fn most_free_of_0_1_0_still_decides() -> Result<()> {
    let judged = judged(Kind::SubnetSelection, "most-free", &[])?;
    let Judged::SubnetSelection(admitted) = judged else { bail!("{judged:?}") };
    ensure!(admitted.target == [1], "{admitted:?}");
    Ok(())
}
