//! Random work under random faults: nothing unsafe happens at any moment, and once the world heals
//! everything that fits is served and nothing leaks.
//!
//! `ENID_SEED=<n>` replays one seed, `ENID_SEEDS=<n>` sets how many are run.

use simulation::seeds::{all, guarded, number, told};
use simulation::{ordeal, say};

const SEEDS: u64 = 1000;

#[test]
fn nothing_unsafe_happens_and_the_node_recovers() {
    let outcome = match number("ENID_SEED") {
        Some(seed) => {
            say(format_args!("seed {seed}"));
            guarded(seed, ordeal::live)
        }
        None => {
            let seeds = number("ENID_SEEDS").unwrap_or(SEEDS);
            say(format_args!("seeds 0 to {}; ENID_SEED=<n> replays one", seeds.saturating_sub(1)));
            all(seeds, ordeal::live)
        }
    };
    match outcome {
        Ok(tally) => say(format_args!("survived: {}", told(&tally))),
        Err(failure) => panic!("{}", failure.report),
    }
}
