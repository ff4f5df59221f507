//! Many sandboxes at once, and somebody crashes in the middle: nothing is lost, and nobody who was there notices.

use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use e2e::containerd::{Containerd, Release};
use e2e::daemon::Daemon;
use e2e::heartbeat::Heartbeat;
use e2e::node::Node;
use e2e::patience::wait_until_true;
use e2e::program::{OpenCopy, enid, plugin, strategy};

use crate::Running;
use crate::kubelet::Wanted;

/// Sandboxes of a burst.
const BURST: usize = 30;
/// Pods with a network when somebody crashes: of the burst some are done, some under way, and some have not begun.
const MOMENTS: [u64; 3] = [8, 16, 24];
/// How long it may take from one to the next.
const NEXT_MOMENT: Duration = Duration::from_secs(60);

with_either_containerd!(
    a_burst_that_nobody_disturbs_is_served_at_once,
    crashes_of_containerd_in_the_middle_of_a_burst_lose_nothing,
    crashes_of_enid_in_the_middle_of_a_burst_lose_nothing,
    upgrades_of_enid_in_the_middle_of_a_burst_lose_nothing,
);

fn a_burst_that_nobody_disturbs_is_served_at_once(release: &Release) {
    let running = Running::up(release, "burst");
    let begun = Instant::now();
    let ended = running.kubelet.run_all(&Wanted::pods("burst", BURST));
    println!("{BURST} sandboxes in {:.1} s", begun.elapsed().as_secs_f64());
    assert!(ended.iter().all(Result::is_ok), "{ended:?}");
    assert_eq!(running.is_consistent().len(), BURST);
    running.ends();
}

fn crashes_of_containerd_in_the_middle_of_a_burst_lose_nothing(release: &Release) {
    let running = shaken(Running::up(release, "runtime"), |containerd, daemon, _| {
        containerd.crash();
        containerd.start_again();
        daemon
    });
    running.ends();
}

fn crashes_of_enid_in_the_middle_of_a_burst_lose_nothing(release: &Release) {
    let running = shaken(Running::up(release, "crash"), |_, daemon, node| {
        daemon.kill();
        node.start()
    });
    running.ends();
}

fn upgrades_of_enid_in_the_middle_of_a_burst_lose_nothing(release: &Release) {
    let (new_daemon, new_plugin) = (OpenCopy::of(&enid()), OpenCopy::of(&plugin()));
    // The daemon looks for what it is shipped with beside itself.
    symlink(strategies(), new_daemon.directory.join("strategies")).unwrap();
    let programs = [(enid(), plugin()), (new_daemon.program.clone(), new_plugin.program.clone())];
    let mut upgrades = programs.iter().cycle().skip(1);
    let running = shaken(Running::up(release, "upgrade"), |containerd, daemon, node| {
        let (daemon_program, plugin_program) = upgrades.next().unwrap();
        containerd.install_plugin("enid-cni", plugin_program);
        daemon.kill();
        node.start_from(daemon_program)
    });
    running.ends();
}

/// Lets something happen a few times in the middle of a burst, while kubelet tries again what fails. Afterwards it has
/// all its pods, and two that were there before have talked to each other all the time.
fn shaken(running: Running, mut happens: impl FnMut(&mut Containerd, Daemon, &Node) -> Daemon) -> Running {
    let before = Wanted::pods("before", 2);
    let [from, to] = [0, 1].map(|number| running.placed(&running.kubelet.start(&before[number])));
    let heartbeat = Heartbeat::begin(&from.pod, &to.pod, to.ipv4());
    let wanted = [before, Wanted::pods("burst", BURST)].concat();

    let Running { lab, node, daemon, mut containerd, kubelet } = running;
    let begun = Instant::now();
    let daemon = std::thread::scope(|scope| {
        let mut daemon = daemon;
        let burst = scope.spawn(|| kubelet.bring_in_sync(&wanted));
        for moment in MOMENTS {
            wait_until_true("more of the burst have a network", NEXT_MOMENT, || node.pool("bound") >= moment);
            daemon = happens(&mut containerd, daemon, &node);
        }
        burst.join().unwrap();
        daemon
    });
    let running = Running { kubelet, containerd, daemon, node, lab };
    println!(
        "{} sandboxes are there {:.1} s after the burst began",
        wanted.len(),
        begun.elapsed().as_secs_f64()
    );

    let pods = running.is_consistent();
    assert_eq!(pods.len(), wanted.len());
    for was_there in [&from, &to] {
        assert!(pods.iter().any(|placed| placed.pod.container == was_there.pod.container), "{was_there:?}");
    }
    let beats = heartbeat.end();
    assert_eq!(beats.lost, 0, "{beats:?}");
    assert!(beats.answered > 100 && beats.over_tcp > 100, "{beats:?}");
    println!("{beats:?}");
    running
}

fn strategies() -> PathBuf {
    strategy("warm-targets").parent().unwrap().to_owned()
}
