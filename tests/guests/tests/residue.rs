//! Nothing is left behind: not by hostile guests, not by a thousand swaps under load.
//!
//! What a process holds is measured after something that warms up, and again after the same once more. Every test here waits for the others, so that nobody else's doings are measured.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result, bail, ensure};
use enid_core::report::Rung;
use enid_policy_wasm::{House, Kind, Lineup, Place, Policy, PolicyConfig, StrategyConfig};
use guests::residue::{Residue, children};
use guests::{Hostile, Site, build, guest, policy, question, snapshot};

/// What one round may leave: allocators do not give everything back at once. A leak of one compiled
/// guest per guest or swap would be more.
const TOLERANCE: u64 = 6 << 20;
/// Times that something may leave something behind before it is a leak.
const ROUNDS: usize = 4;
/// Swaps that are measured.
const SWAPS: usize = 1000;

static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Every hostile guest, examined and asked.
fn round(site: &Site, corpus: &[Hostile]) -> Result<()> {
    for hostile in corpus {
        // How each ends is another test's affair.
        drop(site.examine(hostile.kind, &hostile.bytes, &hostile.limits));
        if let Ok(guest) = site.load(&hostile.bytes, &hostile.limits) {
            drop(guest.ask(&question::ordinary(hostile.kind)));
        }
    }
    Ok(())
}

/// Does the same again and again until one time leaves nothing behind: what leaks, leaks every time, and an
/// allocator settles.
fn leaves_nothing(who: &[(&str, u32)], mut again: impl FnMut() -> Result<()>) -> Result<()> {
    let measured = || who.iter().map(|(_, process)| Residue::of(*process)).collect::<Result<Vec<_>>>();
    let mut left = Vec::new();
    let mut before = measured()?;
    for _ in 0..ROUNDS {
        again()?;
        let after = measured()?;
        let more = who.iter().zip(after.iter().zip(&before)).flat_map(|((who, _), (after, before))| {
            after.beyond(before, TOLERANCE).into_iter().map(move |more| format!("{who}: {more}"))
        });
        let more: Vec<String> = more.collect();
        if more.is_empty() {
            return Ok(());
        }
        left.push(more.join(", "));
        before = after;
    }
    bail!("each time something was left behind:\n{}", left.join("\n"))
}

fn me() -> (&'static str, u32) {
    ("this process", std::process::id())
}

#[test]
fn hostile_guests_leave_nothing_in_this_process() -> Result<()> {
    let _alone = alone();
    let corpus = Hostile::all_for(Place::InProcess)?;
    let site = Site::in_process()?;
    round(&site, &corpus)?;
    leaves_nothing(&[me()], || round(&site, &corpus))
}

#[test]
fn hostile_guests_leave_nothing_in_the_child_and_its_parent() -> Result<()> {
    let _alone = alone();
    let corpus = Hostile::all_for(Place::Process)?;
    let childless = children()?;
    let site = Site::process()?;
    round(&site, &corpus)?;
    let child = site.child.as_ref().and_then(|child| child.process()).context("there is a child")?;
    leaves_nothing(&[me(), ("the child", child)], || round(&site, &corpus))?;
    drop(site);
    ensure!(children()? == childless, "children outlive their place: {:?}", children()?);
    Ok(())
}

/// Two shipped strategies that take turns.
struct Swap {
    policy: Policy,
    turns: [PolicyConfig; 2],
}

impl Swap {
    fn begin(house: House) -> Result<Self> {
        let turn =
            |active: StrategyConfig| policy::config(Kind::WarmPool, Lineup::only(active), house.clone());
        let turns = [turn(policy::shipped("warm-targets")?), turn(policy::shipped("batched")?)];
        Ok(Self { policy: Policy::new(&turns[0])?, turns })
    }

    /// So many swaps, while another thread asks without a pause.
    fn under_load(&self, swaps: usize) -> Result<()> {
        let stop = AtomicBool::new(false);
        let decided = AtomicU64::new(0);
        std::thread::scope(|scope| {
            let asking = scope.spawn(|| -> Result<()> {
                let question = snapshot();
                while !stop.load(Ordering::Relaxed) {
                    let decision = self.policy.decide_warm_pool(&question);
                    ensure!(decision.rung == Rung::Live && decision.faults.is_empty(), "{decision:?}");
                    decided.fetch_add(1, Ordering::Relaxed);
                }
                Ok(())
            });
            let swapped = (0..swaps).try_for_each(|swap| -> Result<()> {
                let before = decided.load(Ordering::Relaxed);
                let report = self.policy.replace(Kind::WarmPool, &self.turns[(swap + 1) % 2])?;
                ensure!(report.replaced.is_some(), "{report:?}");
                while decided.load(Ordering::Relaxed) == before && !asking.is_finished() {
                    std::thread::yield_now();
                }
                Ok(())
            });
            stop.store(true, Ordering::Relaxed);
            let asked = asking.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            swapped.and(asked)
        })?;
        self.policy.settle();
        Ok(())
    }
}

fn a_thousand_swaps(place: Place, directory: &Path) -> Result<()> {
    // As on a node: compiled in a child, once.
    let house = House {
        place,
        program: Some(build::enid()?),
        cache: Some(directory.join("cache")),
        records: Some(directory.join("records")),
    };
    let swap = Swap::begin(house)?;
    swap.under_load(100)?;
    let descendants = children()?;
    let who: Vec<(&str, u32)> =
        [me()].into_iter().chain(descendants.iter().map(|child| ("a child", *child))).collect();
    let mut swaps = 0;
    while swaps < SWAPS {
        leaves_nothing(&who, || {
            swaps += SWAPS / 4;
            swap.under_load(SWAPS / 4)
        })?;
    }
    ensure!(children()? == descendants, "children came or went: {descendants:?}, {:?}", children()?);
    Ok(())
}

#[test]
fn a_thousand_swaps_under_load_leave_nothing_in_this_process() -> Result<()> {
    let _alone = alone();
    let dir = tempfile::tempdir()?;
    a_thousand_swaps(Place::InProcess, dir.path())
}

#[test]
fn a_thousand_swaps_under_load_leave_nothing_in_children() -> Result<()> {
    let _alone = alone();
    let dir = tempfile::tempdir()?;
    let childless = children()?;
    a_thousand_swaps(Place::Process, dir.path())?;
    ensure!(children()? == childless, "children outlive their policy: {:?}", children()?);
    Ok(())
}

#[test]
fn replacing_a_strategy_by_itself_for_ever_without_a_decision_leaves_nothing() -> Result<()> {
    let _alone = alone();
    let dir = tempfile::tempdir()?;
    let same = policy::component(dir.path(), "same", &guest("")?)?;
    let config = policy::config(Kind::WarmPool, Lineup::only(same), House::default());
    let policy = Policy::new(&config)?;
    let swap = |times: usize| -> Result<()> {
        for _ in 0..times {
            policy.replace(Kind::WarmPool, &config)?;
        }
        Ok(())
    };
    swap(100)?;
    leaves_nothing(&[me()], || swap(100))
}
