//! What a child may do: compute.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::rogue::named;
use crate::subject::child;
use crate::{Test, as_root};

/// Generous: what is waited for happens in milliseconds.
const SOON: Duration = Duration::from_secs(20);

pub(crate) const TESTS: &[Test] = &[
    ("a_child_has_no_rights", no_rights),
    ("a_child_is_alone", alone),
    ("a_child_sees_no_file", no_file),
    ("a_child_inherits_nothing", nothing_inherited),
    ("a_child_has_limits", bounds),
    ("this_machine_grants_every_layer", no_gaps),
    ("a_forbidden_system_call_ends_the_child", forbidden),
];

fn proc(process: u32, name: &str) -> PathBuf {
    Path::new("/proc").join(process.to_string()).join(name)
}

fn read(process: u32, name: &str) -> Result<String> {
    let path = proc(process, name);
    std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
}

fn status(process: u32) -> Result<BTreeMap<String, String>> {
    let text = read(process, "status")?;
    let pairs = text.lines().filter_map(|line| line.split_once(":\t"));
    Ok(pairs.map(|(key, value)| (key.to_owned(), value.trim().to_owned())).collect())
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn no_rights() -> Result<()> {
    let (_place, _guest, process) = child()?;
    let status = status(process)?;
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        ensure!(status[set] == "0000000000000000", "{set} is {}", status[set]);
    }
    ensure!(status["NoNewPrivs"] == "1", "it may gain privileges");
    ensure!(status["Seccomp"] == "2", "its system calls are not filtered");
    if is_root() {
        ensure!(status["CapBnd"] == "0000000000000000", "CapBnd is {}", status["CapBnd"]);
        for who in ["Uid", "Gid"] {
            ensure!(status[who] == "65534\t65534\t65534\t65534", "{who} is {}", status[who]);
        }
        ensure!(status["Groups"].is_empty(), "it is in groups {}", status["Groups"]);
    }
    // Every thread, not only the first.
    for thread in std::fs::read_dir(proc(process, "task"))? {
        let text = std::fs::read_to_string(thread?.path().join("status"))?;
        ensure!(text.contains("Seccomp:\t2\n") && text.contains("CapEff:\t0000000000000000\n"), "{text}");
    }
    Ok(())
}

fn alone() -> Result<()> {
    as_root()?;
    let (_place, _guest, process) = child()?;
    for space in ["net", "ipc", "uts", "mnt"] {
        let name = format!("ns/{space}");
        let theirs = std::fs::read_link(proc(process, &name))?;
        let ours = std::fs::read_link(Path::new("/proc/self").join(&name))?;
        ensure!(theirs != ours, "it shares our {space} namespace");
    }
    let devices = read(process, "net/dev")?;
    let links: Vec<&str> = devices.lines().filter_map(|line| Some(line.split_once(':')?.0.trim())).collect();
    ensure!(links == ["lo"], "it has links {links:?}");
    // An interface that is down has no address, not even the one that the loopback always has.
    let (addresses, routes) = (read(process, "net/if_inet6")?, read(process, "net/fib_trie")?);
    ensure!(addresses.is_empty() && !routes.contains("127.0.0.1"), "its loopback is up");
    Ok(())
}

fn no_file() -> Result<()> {
    as_root()?;
    let (_place, _guest, process) = child()?;
    let found = std::fs::read_dir(proc(process, "root"))?.count();
    ensure!(found == 0, "it sees {found} files in its root directory");
    let mounts = read(process, "mounts")?;
    ensure!(mounts.lines().count() == 1 && mounts.contains(" ro,"), "it sees mounts\n{mounts}");
    Ok(())
}

fn nothing_inherited() -> Result<()> {
    as_root()?;
    // One that a careless library might leave open for children.
    let leak = rustix::io::dup(std::fs::File::open("/dev/null")?)?;
    let (_place, _guest, process) = child()?;
    drop(leak);
    let mut open = Vec::new();
    for entry in std::fs::read_dir(proc(process, "fd"))? {
        let entry = entry?;
        open.push((entry.file_name(), std::fs::read_link(entry.path())?));
    }
    for (number, target) in &open {
        let target = target.to_string_lossy();
        let standard = matches!(number.to_str(), Some("0" | "1" | "2"));
        let fits = if standard {
            target.starts_with("socket:") || target == "/dev/null"
        } else {
            target.starts_with("/memfd:wasm-memory-image")
        };
        ensure!(fits, "descriptor {} is {target}", number.display());
    }
    ensure!(read(process, "environ")?.is_empty(), "it has an environment");
    Ok(())
}

fn bounds() -> Result<()> {
    let (_place, _guest, process) = child()?;
    let text = read(process, "limits")?;
    for (name, most) in [
        ("Max address space", 64 << 30),
        ("Max core file size", 0),
        ("Max data size", 768 << 20),
        ("Max file size", 96 << 20),
        ("Max locked memory", 0),
        ("Max open files", 256),
        ("Max processes", 0),
    ] {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).context(name)?;
        let found: Vec<&str> = line.split_whitespace().take(2).collect();
        let bounded = |limit: &&str| limit.parse::<u64>().is_ok_and(|limit| limit <= most);
        ensure!(found.iter().all(bounded), "{name}: {found:?}");
    }
    ensure!(read(process, "oom_score_adj")?.trim() == "1000", "others go first when memory is short");
    Ok(())
}

fn no_gaps() -> Result<()> {
    let (place, _guest, _process) = child()?;
    let gaps: Vec<String> = place.gaps().iter().map(ToString::to_string).collect();
    ensure!(gaps.is_empty() || !is_root(), "{gaps:?}");
    Ok(())
}

fn forbidden() -> Result<()> {
    const SIGSYS: i32 = 31;
    for name in ["opens", "connects", "starts-threads", "signals"] {
        let (_dir, program) = named(name)?;
        let (ours, theirs) = UnixStream::pair()?;
        let mut child = Command::new(program)
            .arg("strategy-host")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stderr(Stdio::null())
            .spawn()?;
        // It is never asked anything, so it ends by what it does itself, or not at all.
        ours.set_read_timeout(Some(SOON))?;
        let ended = (&ours).read_to_end(&mut Vec::new());
        child.kill()?;
        let status = child.wait()?;
        ensure!(ended.is_ok() && status.signal() == Some(SIGSYS), "{name}: {ended:?}, {status}");
    }
    Ok(())
}
