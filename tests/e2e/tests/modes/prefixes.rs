//! Delegated /28 blocks: packed, mixed with single addresses where a subnet has no whole block, and changed live.

use std::collections::BTreeSet;
use std::time::Duration;

use e2e::heartbeat::Heartbeat;
use e2e::lab::Lab;
use e2e::patience::wait_for;
use e2e::pod::Placed;
use e2e::traffic::all_reach_each_other;
use enid_vpc_lab::lab::deed::Deed;

use crate::{GROWTH, Running, distinct, in_ec2, is_out_of_a_prefix, is_seen_outside, known, owner};

const PREFIX: &str = "mode = \"prefix\"";
/// A subnet without a whole block is asked again after two minutes.
const MAKESHIFT: Duration = Duration::from_secs(200);

/// Single addresses on the node's ENIs, as EC2 has it.
fn single_addresses(lab: &Lab, running: &Running) -> usize {
    lab.enis_of(&running.node).iter().map(|eni| eni.addresses.len()).sum()
}

#[test]
fn pods_out_of_prefixes_reach_each_other_and_the_outside() {
    let lab = Lab::up("prefix");
    let [m5, t3] = [lab.m5(), lab.t3()].map(|node| {
        let settings = node.settings().pool(PREFIX);
        Running::start(node, &settings)
    });
    let (near, far) = (m5.pods(&lab, 18), t3.pods(&lab, 3));
    distinct(&[near.clone(), far.clone()].concat());
    assert!(near.iter().all(|placed| is_out_of_a_prefix(&lab, &m5.node, placed)));
    assert!(far.iter().all(|placed| is_out_of_a_prefix(&lab, &t3.node, placed)));
    // One prefix is filled before the next is begun.
    let blocks = lab.enis_of(&m5.node)[0].prefixes.clone();
    let packed = |placed: &&Placed| blocks.iter().position(|block| block.contains(&placed.ipv4()));
    let begun: BTreeSet<usize> = near[..16].iter().filter_map(|placed| packed(&placed)).collect();
    assert_eq!(begun.len(), 1, "16 pods and one whole prefix: {blocks:?}");
    assert_eq!((single_addresses(&lab, &m5), single_addresses(&lab, &t3)), (0, 0));

    all_reach_each_other(&[&near[0], &near[15], &near[17], &far[0], &far[2]]);
    is_seen_outside(&lab, &near[17], m5.node.place.address);
    is_seen_outside(&lab, &far[0], t3.node.place.address);
    for placed in &near {
        m5.node.is_intact(placed);
    }
    m5.ends(&lab, &near);
    t3.ends(&lab, &far);
}

#[test]
fn a_prefix_goes_back_whole_once_all_its_pods_are_gone() {
    let lab = Lab::up("whole");
    let node = lab.m5();
    let settings = node.settings().pool(PREFIX).cooldown_secs(1);
    let m5 = Running::start(
        node,
        &settings.warm_pool("warm-targets", "warm_prefix_target = 0, release_after_secs = 0"),
    );
    let pods = m5.pods(&lab, 40);
    m5.daemon.wait_for_pool(&[("prefixes", 3), ("bound", 40)]);
    let block = |placed: &Placed| {
        let owner = owner(&lab, &m5.node, placed.ipv4());
        *owner.prefixes.iter().find(|block| block.contains(&placed.ipv4())).unwrap()
    };
    // Everything but one pod of the second prefix.
    let second = block(&pods[16]);
    let stays = [&pods[..16], &pods[20..=20]].concat();
    for placed in pods[16..20].iter().chain(&pods[21..]) {
        m5.node.del(&placed.pod);
    }
    wait_for("the third prefix goes back", GROWTH, || {
        let prefixes = lab.enis_of(&m5.node)[0].prefixes.clone();
        if prefixes.len() == 2 { Ok(()) } else { Err(format!("{prefixes:?}")) }
    });
    let prefixes = lab.enis_of(&m5.node)[0].prefixes.clone();
    assert!(prefixes.contains(&second), "a pod holds {second}: {prefixes:?}");
    all_reach_each_other(&[&stays[0], &stays[16]]);
    m5.ends(&lab, &stays);
}

#[test]
fn a_subnet_without_a_whole_block_serves_single_addresses_until_blocks_come_back() {
    let lab = Lab::up("fragments");
    let subnet = lab.subnet("pods-1a").id;
    lab.perform(Deed::Fragment(subnet.clone()));
    let node = lab.m5();
    let settings = node.settings().pool(PREFIX).cooldown_secs(1);
    let m5 = Running::start(node, &settings);
    let singles = m5.pods(&lab, 12);
    distinct(&singles);
    assert!(singles.iter().all(|placed| !is_out_of_a_prefix(&lab, &m5.node, placed)));
    m5.daemon.wait_for_pool(&[("prefixes", 0), ("bound", 12)]);
    all_reach_each_other(&[&singles[0], &singles[11]]);
    is_seen_outside(&lab, &singles[11], m5.node.place.address);

    lab.perform(Deed::Vacate(subnet));
    wait_for("prefixes come", MAKESHIFT, || {
        let status = m5.node.try_status()?;
        if status["pool"]["prefixes"].as_u64() > Some(0) { Ok(()) } else { Err(status["pool"].to_string()) }
    });
    // Those that are there stay as they are; new ones come out of the prefix.
    let blocks = m5.pods(&lab, 3);
    assert!(blocks.iter().all(|placed| is_out_of_a_prefix(&lab, &m5.node, placed)), "{blocks:?}");
    assert!(singles.iter().all(|placed| !is_out_of_a_prefix(&lab, &m5.node, placed)));
    all_reach_each_other(&[&singles[0], &singles[11], &blocks[0]]);
    // When they go, their addresses go as well.
    let (gone, stay) = singles.split_at(6);
    gone.iter().for_each(|placed| m5.node.del(&placed.pod));
    wait_for("only single addresses in use are left", GROWTH, || {
        let left = single_addresses(&lab, &m5);
        if left == 6 { Ok(()) } else { Err(format!("{left} instead of 6")) }
    });
    m5.ends(&lab, &[stay, &blocks].concat());
}

#[test]
fn the_mode_changes_both_ways_while_pods_run() {
    let lab = Lab::up("switch");
    let node = lab.m5();
    let settings = node.settings().cooldown_secs(1);
    let m5 = Running::start(node, &settings);
    let singles = m5.pods(&lab, 12);
    // Between the primary ENI and a further one.
    assert_ne!(owner(&lab, &m5.node, singles[0].ipv4()).id, owner(&lab, &m5.node, singles[11].ipv4()).id);
    let heartbeat = Heartbeat::begin(&singles[0].pod, &singles[11].pod, singles[11].ipv4());

    m5.node.configure(&settings.clone().pool(PREFIX));
    m5.daemon.wait_for_status("prefixes are there", |status| {
        status["mode"] == "prefix" && status["pool"]["prefixes"].as_u64() > Some(0)
    });
    let blocks = m5.pods(&lab, 3);
    assert!(blocks.iter().all(|placed| is_out_of_a_prefix(&lab, &m5.node, placed)), "{blocks:?}");
    all_reach_each_other(&[&singles[1], &singles[10], &blocks[0]]);
    wait_for("single addresses that nobody uses go back", GROWTH, || {
        let singles = single_addresses(&lab, &m5);
        if singles == 12 { Ok(()) } else { Err(format!("{singles} instead of 12")) }
    });
    // A crash in between changes nothing: what is mixed is journaled.
    let Running { node, daemon } = m5;
    daemon.kill();
    let m5 = Running::start(node, &settings.clone().pool(PREFIX));
    m5.daemon.wait_for_pool(&[("bound", 15), ("quarantined", 0)]);

    m5.node.configure(&settings);
    m5.daemon.wait_for_status("the mode is back", |status| status["mode"] == "secondary-ip");
    wait_for("single addresses are there", GROWTH, || {
        let there = single_addresses(&lab, &m5);
        let knows = in_ec2(&lab, &m5.node) == known(&m5.node);
        if there >= 14 && knows { Ok(()) } else { Err(format!("{there}")) }
    });
    let late = m5.pods(&lab, 2);
    assert!(late.iter().all(|placed| !is_out_of_a_prefix(&lab, &m5.node, placed)), "{late:?}");
    assert!(blocks.iter().all(|placed| is_out_of_a_prefix(&lab, &m5.node, placed)), "{blocks:?}");
    all_reach_each_other(&[&singles[1], &blocks[0], &late[0]]);
    blocks.iter().for_each(|placed| m5.node.del(&placed.pod));
    m5.daemon.wait_for_pool(&[("prefixes", 0)]);
    let all = [singles, late].concat();
    all.iter().for_each(|placed| m5.node.is_intact(placed));
    let beats = heartbeat.end();
    assert_eq!(beats.lost, 0, "{beats:?}");
    assert!(beats.answered > 100 && beats.over_tcp > 100, "{beats:?}");
    m5.ends(&lab, &all);
}
