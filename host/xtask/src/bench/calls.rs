//! CNI calls as a container runtime makes them: one by one, in bursts, until the node is full, after restarts.

use std::path::PathBuf;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};

use super::plugin::Plugin;
use super::pods::{Sandbox, Sandboxes};
use super::samples::Samples;
use super::site::Site;
use crate::workspace::Workspace;

/// Rounds of adding and deleting the same pods.
const ROUNDS: usize = 8;
/// Pods added one after the other in a round.
const SINGLE: usize = 25;
/// ADDs at once, as after a node has come back.
pub(super) const BURST: usize = 30;
/// Restarts that are timed.
const RESTARTS: usize = 5;
/// The longest that links of deleted pods may stay before the measurement is given up.
const GONE: Duration = Duration::from_secs(10);

/// Sandboxes on a node, and the plugin as it is configured there.
pub(super) struct Calls {
    program: PathBuf,
    configuration: String,
    pods: Vec<Sandbox>,
    _sandboxes: Sandboxes,
}

impl Calls {
    /// Makes `count` sandboxes.
    pub(super) fn make(workspace: &Workspace, site: &Site, count: usize) -> Result<Self> {
        let sandboxes = Sandboxes::make("pod", count)?;
        Ok(Self {
            program: workspace.plugin(),
            configuration: site.configuration(),
            pods: sandboxes.list(),
            _sandboxes: sandboxes,
        })
    }

    /// ADDs and DELs one after the other, and the time from each round's last DEL until its links were gone.
    pub(super) fn singles(&mut self, site: &Site) -> Result<(Samples, Samples, Samples)> {
        let (mut add, mut del, mut gone) = (Vec::new(), Vec::new(), Vec::new());
        let pods = &self.pods[..SINGLE];
        for _ in 0..ROUNDS {
            for pod in pods {
                add.push(self.plugin().add(pod)?);
            }
            for pod in pods {
                del.push(self.plugin().del(pod)?);
            }
            gone.push(site.time_until_links_are_gone(0, GONE)?);
        }
        Ok((samples(add)?, samples(del)?, samples(gone)?))
    }

    /// ADDs all at once.
    pub(super) fn bursts(&mut self, site: &Site) -> Result<Samples> {
        let mut taken = Vec::new();
        for _ in 0..ROUNDS {
            let pods = &self.pods[..BURST];
            taken.extend(self.add_many(pods, BURST)?.0);
            self.del_all(pods)?;
            site.time_until_links_are_gone(0, GONE)?;
        }
        samples(taken)
    }

    /// ADDs of all pods, `at_once` at a time: each one's duration, and that of all.
    pub(super) fn fill(&mut self, site: &Site, at_once: usize) -> Result<(Samples, Duration)> {
        site.wait_for_free(self.pods.len() as u64)?;
        let (taken, all) = self.add_many(&self.pods, at_once)?;
        Ok((samples(taken)?, all))
    }

    /// From the start of a new daemon until its first ADD succeeds, with `leases` pods on the node.
    pub(super) fn restarts(&mut self, site: &mut Site, leases: usize) -> Result<Samples> {
        self.del_all(&self.pods[leases..])?;
        site.time_until_links_are_gone(leases, GONE)?;
        let mut taken = Vec::new();
        for next in &self.pods[leases..leases + RESTARTS] {
            let begun = site.restart()?;
            loop {
                match self.plugin().add(next) {
                    Ok(_) => break,
                    Err(why) if begun.elapsed() > GONE => {
                        return Err(why.context("no ADD was served after the restart"));
                    }
                    Err(_) => thread::park_timeout(Duration::from_millis(1)),
                }
            }
            taken.push(begun.elapsed());
            self.plugin().del(next)?;
        }
        samples(taken)
    }

    fn plugin(&self) -> Plugin<'_> {
        Plugin { program: &self.program, configuration: &self.configuration }
    }

    fn del_all(&self, pods: &[Sandbox]) -> Result<()> {
        pods.iter().try_for_each(|pod| self.plugin().del(pod).map(drop))
    }

    fn add_many(&self, pods: &[Sandbox], at_once: usize) -> Result<(Vec<Duration>, Duration)> {
        let share = pods.len().div_ceil(at_once);
        let shares = pods.chunks(share);
        // Nobody starts before everybody could: the threads are not what is measured.
        let start = Barrier::new(shares.len() + 1);
        let mut begun = Instant::now();
        let taken: Vec<Result<Vec<Duration>>> = thread::scope(|scope| {
            let add_all = |mine: &[Sandbox]| {
                start.wait();
                mine.iter().map(|pod| self.plugin().add(pod)).collect()
            };
            let workers: Vec<_> = shares.map(|mine| scope.spawn(move || add_all(mine))).collect();
            start.wait();
            begun = Instant::now();
            let ended = |worker: thread::ScopedJoinHandle<'_, _>| {
                worker.join().unwrap_or_else(|_| Err(anyhow!("a worker panicked")))
            };
            workers.into_iter().map(ended).collect()
        });
        let all = begun.elapsed();
        let durations: Vec<Vec<Duration>> = taken.into_iter().collect::<Result<_>>()?;
        Ok((durations.concat(), all))
    }
}

fn samples(durations: Vec<Duration>) -> Result<Samples> {
    Samples::of(durations).context("nothing was measured")
}
