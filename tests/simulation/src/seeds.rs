//! Many seeds on all cores.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::ordeal::Failure;
use crate::safety::{Rule, Wrong};

/// Things counted, by name.
pub type Tally = BTreeMap<&'static str, u64>;

/// Runs `one` for every seed below `seeds`; the sum of what they counted, or the first failure.
pub fn all(seeds: u64, one: impl Fn(u64) -> Result<Tally, Failure> + Sync) -> Result<Tally, Failure> {
    let (next, sum) = (AtomicU64::new(0), Mutex::new((Tally::new(), None::<Failure>)));
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds {
                return;
            }
            let result = guarded(seed, &one);
            let mut sum = sum.lock().expect("nobody panics while counting");
            match result {
                Ok(tally) => add(&mut sum.0, &tally),
                Err(failure) => {
                    next.store(seeds, Ordering::Relaxed);
                    // Seeds that were under way may fail too: the smallest is told, as a run one by one would.
                    if sum.1.as_ref().is_none_or(|first| first.seed > seed) {
                        sum.1 = Some(failure);
                    }
                }
            }
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| (0..cores).for_each(|_| drop(scope.spawn(work))));
    let (tally, failure) = sum.into_inner().expect("nobody panics while counting");
    failure.map_or(Ok(tally), Err)
}

/// Runs one seed; an assertion of the daemon's own that does not hold is a failure like any other.
pub fn guarded(seed: u64, one: impl Fn(u64) -> Result<Tally, Failure>) -> Result<Tally, Failure> {
    catch_unwind(AssertUnwindSafe(|| one(seed))).unwrap_or_else(|payload| {
        let text = payload.downcast_ref::<String>().cloned();
        let text = text.or_else(|| payload.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        let what = text.unwrap_or_else(|| "a panic without words".to_owned());
        let report = format!("ENID_SEED={seed}: {what}");
        Err(Failure { seed, wrong: Wrong { rule: Rule::Assertion, what }, report })
    })
}

/// Adds one tally to another.
pub fn add(sum: &mut Tally, more: &Tally) {
    for (what, count) in more {
        *sum.entry(what).or_default() += count;
    }
}

/// A tally in one line, for people.
pub fn told(tally: &Tally) -> String {
    tally.iter().map(|(what, count)| format!("{count} {what}")).collect::<Vec<_>>().join(", ")
}

/// The number in an environment variable.
pub fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}
