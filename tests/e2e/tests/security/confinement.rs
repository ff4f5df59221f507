//! The rights of the daemon's threads and of its children, as the kernel tells them.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use e2e::lab::Lab;
use e2e::node::Node;
use e2e::patience::wait_for;
use e2e::pod::addresses_of;

use crate::{PATIENCE, ready};

/// KILL, SETGID, SETUID, SETPCAP, NET_ADMIN, SYS_PTRACE, SYS_ADMIN.
const KEPT: u64 = 1 << 5 | 1 << 6 | 1 << 7 | 1 << 8 | 1 << 12 | 1 << 19 | 1 << 21;

/// What the kernel says of a thread's rights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rights {
    bounding: u64,
    permitted: u64,
    effective: u64,
    inheritable: u64,
    ambient: u64,
    no_new_privs: u64,
    seccomp: u64,
}

impl Rights {
    /// Of all threads of a process.
    fn of_threads(process: u32) -> BTreeSet<Self> {
        let tasks = fs::read_dir(format!("/proc/{process}/task")).unwrap();
        // Threads end while this looks at them.
        tasks.filter_map(|task| Self::of(&task.ok()?.path())).collect()
    }

    fn of(task: &Path) -> Option<Self> {
        let status = fs::read_to_string(task.join("status")).ok()?;
        let text = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
            line.unwrap_or_else(|| panic!("no {key} in {status}")).trim()
        };
        let set = |key: &str| u64::from_str_radix(text(key), 16).unwrap();
        Some(Self {
            bounding: set("CapBnd"),
            permitted: set("CapPrm"),
            effective: set("CapEff"),
            inheritable: set("CapInh"),
            ambient: set("CapAmb"),
            no_new_privs: text("NoNewPrivs").parse().unwrap(),
            seccomp: text("Seccomp").parse().unwrap(),
        })
    }
}

fn of_the_daemon() -> Rights {
    Rights {
        bounding: KEPT,
        permitted: KEPT,
        effective: KEPT,
        inheritable: 0,
        ambient: 0,
        no_new_privs: 1,
        seccomp: 2,
    }
}

/// Writes the usual settings with one line more in a section.
fn set(node: &Node, section: &str, line: &str) {
    let (text, section) = (node.settings().to_string(), format!("[{section}]\n"));
    let changed = text.replacen(&section, &format!("{section}{line}\n"), 1);
    assert_ne!(text, changed);
    node.write_settings(&changed);
}

#[test]
fn components_run_in_the_daemon_itself_under_its_own_list() {
    let lab = Lab::up("inside");
    let node = lab.m5();
    set(&node, "engine", "isolation = \"in-process\"");
    let daemon = node.start();
    let status = daemon.wait_until_ready();
    assert!(status["strategies"].as_array().unwrap().iter().all(|row| row["rung"] == "live"), "{status}");
    assert_eq!(Rights::of_threads(daemon.pid()), [of_the_daemon()].into());
    node.add(&lab.pod());
}

#[test]
fn every_thread_has_the_capabilities_that_are_needed_and_no_way_to_more() {
    let (lab, node, daemon) = ready("rights");
    let pods = lab.pods(12);
    assert!(node.add_all(&pods).into_iter().all(|ended| ended.code == Some(0)));
    assert_eq!(Rights::of_threads(daemon.pid()), [of_the_daemon()].into());
    pods.iter().for_each(|pod| node.del(pod));
    assert_eq!(Rights::of_threads(daemon.pid()), [of_the_daemon()].into());
}

#[test]
fn its_children_give_up_the_rest_and_see_no_file() {
    let (_lab, node, daemon) = ready("children");
    let none = Rights { bounding: 0, permitted: 0, effective: 0, ..of_the_daemon() };
    let is_its = |process: &u32| {
        let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
        stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)) == Some(&daemon.pid().to_string())
    };
    wait_for("a child that runs strategies", PATIENCE, || {
        let entries = fs::read_dir("/proc").unwrap();
        let processes = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        let children: Vec<u32> = processes.filter(is_its).collect();
        let rights: BTreeSet<Rights> = children.iter().flat_map(|child| Rights::of_threads(*child)).collect();
        if rights != [none].into() {
            return Err(format!("{children:?}: {rights:x?}"));
        }
        for child in children {
            let files = fs::read_dir(format!("/proc/{child}/root")).unwrap().count();
            assert_eq!(files, 0, "the child's root is not empty");
        }
        Ok(())
    });
    assert!(!node.log().contains(" WARN "), "{}", node.log());
}

#[test]
fn an_operator_may_look_for_what_is_missing_or_leave_it_to_others() {
    let (lab, node, daemon) = ready("loose");
    assert!(daemon.terminate().success());
    set(&node, "node", "confinement = \"logged\"");
    let daemon = node.start();
    daemon.wait_until_ready();
    assert_eq!(Rights::of_threads(daemon.pid()), [of_the_daemon()].into());
    // Taken over at the next start only.
    set(&node, "node", "confinement = \"off\"");
    daemon.wait_for_log(&["confinement", "next start"]);
    assert_eq!(Rights::of_threads(daemon.pid()), [of_the_daemon()].into());
    assert!(daemon.terminate().success());
    let daemon = node.start();
    daemon.wait_until_ready();
    let free = Rights::of_threads(daemon.pid());
    assert!(free.iter().all(|rights| rights.seccomp == 0 && rights.no_new_privs == 0), "{free:x?}");
    addresses_of(&node.add(&lab.pod()));
}
