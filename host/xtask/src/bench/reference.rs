//! The same work by the reference plugins, `ptp` with `host-local`, in a network namespace of their own.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::plugin::Plugin;
use super::pods::{Sandbox, Sandboxes};
use super::samples::Samples;
use crate::workspace::Workspace;

/// Where Debian's `containernetworking-plugins` puts them.
const PTP: &str = "/usr/lib/cni/ptp";
/// Pods that are wired, one after the other.
const PODS: usize = 60;

/// What they took.
pub(super) struct Measured {
    pub(super) add: Samples,
    pub(super) del: Samples,
}

/// Measures them, by this program in another namespace: plugins change the one they are started in.
pub(super) fn measure(workspace: &Workspace) -> Result<Measured> {
    let host = Sandboxes::make("host", 1)?;
    let pods = Sandboxes::make("ptp", PODS)?;
    let state = workspace.target.join("bench/host-local");
    let mut inside = Command::new("nsenter");
    inside.arg(format!("--net={}", host.list()[0].netns.display())).arg(std::env::current_exe()?);
    inside.args(["bench", "--reference-in-this-namespace"]).arg(&state);
    for pod in pods.list() {
        inside.arg(pod.netns);
    }
    let out = inside.stdin(Stdio::null()).stderr(Stdio::inherit()).output().context("run nsenter")?;
    fs::remove_dir_all(&state).or_else(ignore_missing).context("remove host-local's state")?;
    ensure!(out.status.success(), "the reference plugins failed: {}", out.status);
    let text = String::from_utf8_lossy(&out.stdout);
    let taken = |verb: &str| {
        let of_verb = text.lines().filter_map(|line| line.strip_prefix(verb)?.trim().parse().ok());
        Samples::of(of_verb.map(Duration::from_nanos).collect())
            .context("the reference plugins measured nothing")
    };
    Ok(Measured { add: taken("ADD")?, del: taken("DEL")? })
}

/// The measuring half: wires and unwires `pods` from the namespace that this process is in.
pub(super) fn measure_here(state: &Path, pods: &[std::path::PathBuf]) -> Result<()> {
    let configuration = format!(
        r#"{{"cniVersion":"0.4.0","name":"bench","type":"ptp","mtu":9001,"ipam":{{"type":"host-local","dataDir":{state:?},"ranges":[[{{"subnet":"10.250.0.0/16"}}]],"routes":[{{"dst":"0.0.0.0/0"}}]}}}}"#
    );
    let ptp = Plugin { program: Path::new(PTP), configuration: &configuration };
    let sandboxes: Vec<Sandbox> = pods
        .iter()
        .enumerate()
        .map(|(number, netns)| Sandbox {
            pod: format!("ptp{number}"),
            container: format!("ptp{number}"),
            netns: netns.clone(),
        })
        .collect();
    for sandbox in &sandboxes {
        println!("ADD {}", ptp.add(sandbox)?.as_nanos());
    }
    for sandbox in &sandboxes {
        println!("DEL {}", ptp.del(sandbox)?.as_nanos());
    }
    Ok(())
}

fn ignore_missing(why: std::io::Error) -> std::io::Result<()> {
    if why.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(why) }
}
