//! A node under everything at once: pods come and go, the daemon is killed every few seconds, EC2 throttles, answers late or
//! loses its answers. Nobody notices, and afterwards journal, kernel and EC2 agree to the last address.
//!
//! `ENID_SOAK_SECS` sets for how long (60 unless it says otherwise); the churn is longer on a slow machine, until a thousand
//! pods have come and gone.

mod churn;

use std::fs;
use std::io::Write;
use std::time::{Duration, Instant};

use e2e::daemon::Daemon;
use e2e::heartbeat::Heartbeat;
use e2e::lab::Lab;
use e2e::node::Node;
use e2e::patience::wait_for;
use e2e::pod::{Pod, address_of};
use enid_vpc_lab::lab::deed::{Breakage, Deed};
use enid_vpc_lab::lab::landscape::Landscape;
use enid_vpc_lab::waiting::wait_until;

use churn::{Churn, Sandbox};

/// Pods that come and go at least.
const PODS: u64 = 1000;
/// Sandboxes at once: as many as fit with room for cooling.
const SANDBOXES: usize = 150;
/// The longest that a life of the daemon lasts while it is being killed.
const LIFE: Duration = Duration::from_secs(4);
/// How much longer than it was asked for the churn may take on a slow machine.
const SLOWNESS: Duration = Duration::from_secs(600);
/// How long everything may take to come to rest.
const REST: Duration = Duration::from_secs(180);
/// What the daemon's memory may grow by, in KiB, while as many pods come and go as before: lists that are bounded fill.
const GROWTH_KIB: u64 = 8 * 1024;

fn span() -> Duration {
    let secs = std::env::var("ENID_SOAK_SECS").ok().map(|secs| secs.parse().expect("whole seconds"));
    Duration::from_secs(secs.unwrap_or(60))
}

/// What the daemon's process has open.
fn descriptors(daemon: &Daemon) -> usize {
    fs::read_dir(format!("/proc/{}/fd", daemon.pid())).expect("a process").count()
}

/// The network namespaces of the lab: others may run beside it.
fn namespaces_of(lab: &Lab) -> usize {
    let all = enid_vpc_lab::namespace::all().expect("a list");
    all.iter().filter(|namespace| namespace.name().starts_with(lab.name())).count()
}

/// Lets time pass.
fn pause(span: Duration) {
    let _nothing_comes = wait_until(Instant::now() + span, || None::<()>);
}

/// The daemon dies and comes back every few seconds, while EC2 misbehaves.
fn torment(lab: &Lab, node: &Node, mut daemon: Daemon, until: impl Fn() -> bool) -> (Daemon, u32) {
    let breakages = [Breakage::Lost, Breakage::Throttled, Breakage::Failed, Breakage::Slow(700)];
    let mut deaths = 0;
    while !until() {
        let breakage = breakages[usize::try_from(deaths).expect("few") % breakages.len()];
        lab.perform(Deed::Break { api: None, times: 3, breakage });
        // Each life has another length, so that it ends in the middle of something else.
        pause(LIFE.mul_f64(f64::from(deaths % 7 + 1) / 7.0));
        daemon.kill();
        deaths += 1;
        daemon = node.start();
    }
    lab.perform(Deed::Mend);
    (daemon, deaths)
}

/// `enid diff` finds nothing, soon.
fn agree(node: &Node) {
    wait_for("journal, kernel and EC2 agree", REST, || {
        let ended = node.ask(&["diff"]);
        let nothing = ended.code == Some(0) && ended.stdout.is_empty();
        if nothing { Ok(()) } else { Err(format!("{ended:?}")) }
    });
}

#[test]
fn nothing_is_lost_while_pods_churn_the_daemon_dies_and_ec2_fails() {
    let lab = Lab::of("soak", Landscape::large().with_instance_types(&["m5.4xlarge".to_owned()]));
    let node = lab.m5();
    let settings = node.settings().cooldown_secs(3).wait_secs(10);
    node.configure(&settings.warm_pool("warm-targets", "warm_ip_target = 20, release_after_secs = 5"));
    let daemon = node.start();
    daemon.wait_until_ready();
    let before = node.kernel().about_pods("eni").len();
    let watched = lab.pods(2);
    let (near, far) = (&watched[0], &watched[1]);
    node.add(near);
    let far_address = address_of(&node.add(far));
    let heartbeat = Heartbeat::begin(near, far, far_address);
    let sandboxes: Vec<Sandbox> = lab.pods(SANDBOXES).into_iter().map(Sandbox::of).collect();
    let namespaces = namespaces_of(&lab);

    let churn = Churn::of(&node, sandboxes);
    let begun = Instant::now();
    let enough = || {
        churn.goes_on(begun, span() + SLOWNESS);
        begun.elapsed() > span() && churn.added() >= PODS
    };
    let (daemon, deaths) = churn.during(|| torment(&lab, &node, daemon, enough));
    let (added, later, took) = (churn.added(), churn.refused(), begun.elapsed());
    assert!(deaths >= 5, "the daemon died {deaths} times only");

    // The same without anybody dying: what the daemon has open and holds does not grow.
    churn.empty();
    daemon.wait_for_pool(&[("bound", 2), ("cooling", 0), ("quarantined", 0)]);
    let quiet = |daemon: &Daemon| (descriptors(daemon), daemon.resident_kib());
    let (open, held) = quiet(&daemon);
    let (goal, begun) = (churn.added() + PODS / 4, Instant::now());
    churn.during(|| {
        while churn.added() < goal {
            churn.goes_on(begun, SLOWNESS);
            pause(Duration::from_millis(100));
        }
    });
    churn.empty();
    daemon.wait_for_pool(&[("bound", 2), ("cooling", 0), ("quarantined", 0)]);
    let beats = heartbeat.end();
    let (open_after, held_after) = quiet(&daemon);

    assert_eq!(beats.lost, 0, "{beats:?}");
    assert!(open_after <= open + 2, "{open} descriptors before, {open_after} after");
    assert!(held_after <= held + GROWTH_KIB, "{held} KiB before, {held_after} after");
    assert_eq!(churn.wrongs(), Vec::<String>::new());
    ends_clean(&lab, &node, &watched, before);
    let left = namespaces_of(&lab);
    assert_eq!(left, namespaces, "as many network namespaces as before");
    // What a test that passes prints is not seen; without anybody to read it there is nobody to tell.
    let _ = writeln!(
        std::io::stderr(),
        "{added} pods came and went in {:.0} s while the daemon died {deaths} times; {later} ADDs were told to come later; \
         {} beats, none lost; descriptors {open} → {open_after}, memory {} → {} MiB",
        took.as_secs_f64(),
        beats.answered,
        held / 1024,
        held_after / 1024
    );
}

/// The last pods go, and nothing is left anywhere.
fn ends_clean(lab: &Lab, node: &Node, watched: &[Pod], before: usize) {
    agree(node);
    watched.iter().for_each(|pod| node.del(pod));
    wait_for("the pool comes to rest", REST, || {
        let pool = node.status()["pool"].clone();
        let rest = pool["bound"] == 0 && pool["cooling"] == 0 && pool["quarantined"] == 0;
        if rest { Ok(()) } else { Err(pool.to_string()) }
    });
    agree(node);
    let about_pods = node.kernel().about_pods("eni");
    assert_eq!(about_pods.len(), before, "{about_pods:?}");
    wait_for("no link of a pod is left", REST, || {
        let links: Vec<String> = node
            .kernel()
            .ip(&["link"])
            .iter()
            .filter_map(|link| link["ifname"].as_str())
            .filter(|name| name.len() == 14 && name.starts_with("eni"))
            .map(str::to_owned)
            .collect();
        if links.is_empty() { Ok(()) } else { Err(format!("{links:?}")) }
    });
    wait_for("no ENI is left unattached", REST, || {
        let loose: Vec<String> = lab
            .status()
            .enis
            .iter()
            .filter(|eni| eni.status == "available")
            .map(|eni| eni.id.to_string())
            .collect();
        if loose.is_empty() { Ok(()) } else { Err(format!("{loose:?}")) }
    });
}
