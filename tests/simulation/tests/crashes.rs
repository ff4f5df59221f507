//! The daemon dies before and after every single effect of a fixed day, and before every outcome of one: nothing is
//! leaked, nothing is given to two pods, and pods that run are left alone.

use std::time::Duration;

use enid_core::limits::Mode;
use enid_core::node::Config;
use enid_core::wiring::Families;
use enid_sim::ec2::instance::RunInstances;
use enid_sim::ec2::{self, Ec2, Tags};
use enid_sim::node::SimNode;
use enid_sim::witness::Moment;
use simulation::runtime::{Loss, Runtime};
use simulation::safety::Watch;
use simulation::{Knobs, START, mutations, out_of_place, say};

/// Which node lives the day.
#[derive(Clone, Copy, Debug)]
struct Kind {
    mode: Mode,
    families: Families,
}

const KINDS: [Kind; 3] = [
    Kind { mode: Mode::SecondaryIp, families: Families::Ipv4 },
    Kind { mode: Mode::Prefix, families: Families::Ipv4 },
    Kind { mode: Mode::SecondaryIp, families: Families::DualStack },
];

/// One node's day.
struct Day {
    node: SimNode<Knobs>,
    runtime: Runtime,
    watch: Watch,
    life: u64,
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn ready(ready: u32) -> Knobs {
    Knobs { warm_ip: ready, ..Knobs::default() }
}

impl Day {
    fn begin(kind: Kind) -> Self {
        let mut ec2 = Ec2::new(11, ec2::Config::default());
        let zone = ec2.config().zones[0].clone();
        let vpc = ec2.add_vpc("10.0.0.0/16".parse().expect("a range")).expect("a VPC");
        let range = "10.0.0.0/22".parse().expect("a range");
        let subnet = ec2.add_subnet(&vpc, &zone, range, Tags::new()).expect("a subnet");
        ec2.add_ipv6_range(&vpc, "2a05:d014:9:aa00::/56".parse().expect("a range")).expect("a range");
        ec2.give_ipv6(&subnet, "2a05:d014:9:aa00::/64".parse().expect("a range")).expect("a range");
        let instance = ec2.launch(START, &RunInstances::one("t3.small", subnet)).expect("an instance");
        let config = Config {
            mode: kind.mode,
            families: kind.families,
            cooldown: secs(5),
            cluster: Some("one".to_owned()),
            ..Config::default()
        };
        let mut node =
            SimNode::start(ec2, instance, config, ready(2), START + secs(60)).expect("metadata answers");
        node.watch();
        Self { node, runtime: Runtime::default(), watch: Watch::default(), life: 0 }
    }

    /// Boot, growth by an ENI, DEL, drift and repair, GC, a sandbox without DEL, shrinking by an ENI.
    fn live_through(&mut self) -> Result<(), String> {
        self.live(secs(20))?;
        for pod in 0..5 {
            self.runtime.start(&mut self.node, pod);
            self.live(Duration::from_millis(700))?;
        }
        self.live(secs(30))?;
        self.runtime.end(&mut self.node, 0);
        self.live(secs(10))?;
        if let Some(address) = self.runtime.running().map(|(_, address)| address).next() {
            self.node.kernel.lose_rule(address);
            self.node.kernel.lacks_nft = self.node.kernel.node.is_some();
        }
        self.live(secs(70))?;
        self.runtime.lose(&mut self.node, 0, Loss::Forgotten);
        self.runtime.lose(&mut self.node, 0, Loss::Killed);
        self.runtime.collect_exactly(&mut self.node);
        self.live(secs(150))?;
        self.runtime.end(&mut self.node, 0);
        self.node.replace_strategist(ready(1));
        self.live(secs(240))
    }

    /// Whatever became of the day, the next is as it should be.
    fn recover(&mut self) -> Result<(), String> {
        self.live(secs(300))?;
        self.runtime.collect_exactly(&mut self.node);
        // Longer than anything waits, a sweep for ENIs without an owner included.
        self.live(secs(3600))?;
        let before = (mutations(&self.node), self.node.kernel.writes);
        self.live(secs(600))?;
        if before != (mutations(&self.node), self.node.kernel.writes) {
            return Err(format!("still busy: {before:?} became {:?}", mutations(&self.node)));
        }
        if let Some(what) = out_of_place(&self.node).into_iter().next() {
            return Err(what);
        }
        let state = self.node.state();
        let leaked = self.node.ec2.interfaces().find(|eni| state.eni(&eni.id).is_none());
        if let Some(eni) = leaked {
            return Err(format!("{} leaked", eni.id));
        }
        let kernel = &self.node.kernel;
        let running: Vec<_> = self.runtime.running().map(|(_, address)| address).collect();
        let wired: Vec<_> = kernel.pods.keys().copied().collect();
        let mut sorted = running;
        sorted.sort();
        if wired != sorted {
            return Err(format!("{wired:?} in the kernel, {sorted:?} run"));
        }
        let held = state.addresses(self.node.now()).into_iter().filter(|lease| lease.attachment.is_some());
        if let Some(lease) = held.into_iter().find(|lease| lease.state != "bound") {
            return Err(format!("{} is {}", lease.address, lease.state));
        }
        let pods = state.status(self.node.now()).pool.bound;
        if usize::try_from(pods).ok() != Some(wired.len()) {
            return Err(format!("{pods} pods hold addresses, {} are wired", wired.len()));
        }
        if !kernel.rules.is_empty()
            || kernel.pods.values().any(|pod| !pod.lacks.is_empty())
            || kernel.lacks_nft
        {
            return Err(format!("left over or missing in the kernel: {:?} {:?}", kernel.rules, kernel.pods));
        }
        let set_up = |id| state.eni(id).is_some_and(|eni| eni.serves() && !eni.is_primary());
        match kernel.enis.keys().find(|id| !set_up(id)) {
            Some(eni) => Err(format!("{eni} is still set up")),
            None => Ok(()),
        }
    }

    fn live(&mut self, time: Duration) -> Result<(), String> {
        let deadline = self.node.world_time() + time;
        loop {
            while self.node.lives() != self.life {
                self.life = self.node.lives();
                self.runtime.disconnect(&mut self.node);
            }
            self.runtime.listen(&mut self.node);
            let wrongs = self.watch.wrongs(&mut self.node, &self.runtime);
            if let Some(wrong) = wrongs.first() {
                return Err(wrong.to_string());
            }
            if !self.node.step_until(deadline) {
                return Ok(());
            }
        }
    }
}

/// How often a moment comes in a day without deaths.
fn times(kind: Kind, moment: Moment) -> u64 {
    let mut day = Day::begin(kind);
    day.live_through().and_then(|()| day.recover()).expect("a day without deaths");
    match moment {
        Moment::BeforeEffect | Moment::AfterEffect => day.node.effects_performed(),
        Moment::BeforeOutcome => day.node.outcomes_heard(),
    }
}

fn die_at_every(moment: Moment) {
    for kind in KINDS {
        // Some come while the daemon starts, before anybody can say when it is to die; the last ones come in the quiet
        // after the day.
        let mut day = Day::begin(kind);
        let already = match moment {
            Moment::BeforeEffect | Moment::AfterEffect => day.node.effects_performed(),
            Moment::BeforeOutcome => day.node.outcomes_heard(),
        };
        day.live_through().expect("a day without deaths");
        let all = match moment {
            Moment::BeforeEffect | Moment::AfterEffect => day.node.effects_performed(),
            Moment::BeforeOutcome => day.node.outcomes_heard(),
        };
        assert!(all < times(kind, moment), "the quiet after the day is not all quiet");
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let next = std::sync::atomic::AtomicU64::new(0);
        let work = || {
            loop {
                let at = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                if at >= all - already {
                    return;
                }
                let mut day = Day::begin(kind);
                day.node.crash_at(moment, at);
                if let Err(what) = day.live_through().and_then(|()| day.recover()) {
                    panic!("{kind:?} that dies at {moment:?} {at}: {what}");
                }
                assert_eq!(day.node.lives(), 1, "it died");
            }
        };
        std::thread::scope(|scope| (0..cores).for_each(|_| drop(scope.spawn(work))));
        say(format_args!("{kind:?}: survived {} deaths, one at each {moment:?}", all - already));
    }
}

#[test]
fn a_death_before_any_effect_leaks_nothing_and_touches_no_pod() {
    die_at_every(Moment::BeforeEffect);
}

#[test]
fn a_death_after_any_effect_leaks_nothing_and_touches_no_pod() {
    die_at_every(Moment::AfterEffect);
}

#[test]
fn a_death_before_any_outcome_leaks_nothing_and_touches_no_pod() {
    die_at_every(Moment::BeforeOutcome);
}
