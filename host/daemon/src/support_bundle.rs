//! `enid support-bundle`: everything that somebody far away needs to understand a node, in one file.
//!
//! Works with what there is: what cannot be had is named with its reason in the manifest, and is no failure. Reads only;
//! the journal is read as it stands on disk, so that it can be had while no daemon runs.

mod archive;
mod journal;
mod probe;

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, anyhow};
use clap::Args;
use enid_core::time::Timestamp;
use enid_protocol::message::{Reply, Request};
use serde_json::Value;

use crate::ask::exchange;
use crate::failure::Failure;
use crate::settings::{self, Document};
use crate::status_command::screen;

use archive::Archive;

/// How long the daemon may take for one answer; a difference needs an answer of EC2's.
const PATIENCE: Duration = Duration::from_secs(30);

/// `enid support-bundle`.
#[derive(Debug, Args)]
#[command(after_help = "\
The file is a tar archive that only its owner may read. In it are: the status, the strategies, what differs between journal,
kernel and EC2; the journal's records and the addresses as they follow from them; the settings file, and which settings are not the
default; the node's links, rules, routes and enid's nftables tables; the metrics; versions. Pods are in it by namespace, name
and container id, addresses and EC2 ids as they are. Credentials are not: enid's settings hold none, and no variable of the
environment is read but the Amazon VPC CNI's. MANIFEST.txt says what is missing and why. Run it on the node, as root.")]
pub(crate) struct SupportBundle {
    /// Where to write it [default: enid-support-TIME.tar in this directory]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The settings file
    #[arg(long, default_value = "/etc/enid/enid.toml")]
    config: PathBuf,
    /// The daemon's socket [default: the one in node.runtime_dir]
    #[arg(long)]
    socket: Option<PathBuf>,
}

/// One file of the bundle: its name, and what is in it or why it is missing.
struct Item {
    name: &'static str,
    about: &'static str,
    content: Result<Vec<u8>, String>,
}

impl SupportBundle {
    /// Gathers and writes it.
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let at = Timestamp(u64::try_from(now.as_millis()).unwrap_or(u64::MAX));
        let written = at.rfc3339().replace(':', "");
        let output = self.output.clone().unwrap_or_else(|| format!("enid-support-{written}.tar").into());
        // First, so that nobody waits for what cannot be kept.
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(&output).map_err(|why| {
                Failure::in_use(anyhow!(
                    "write the bundle to {}: {why}; name another file with --output",
                    output.display()
                ))
            })?;
        let items = self.gather(at);
        let missing = items.iter().filter(|item| item.content.is_err()).count();
        let bytes = pack(&items, at);
        let kept = file.write_all(&bytes).and_then(|()| file.sync_all());
        if kept.is_err() {
            // Half of a bundle tells nobody anything.
            let _not_there = fs::remove_file(&output);
        }
        kept.with_context(|| format!("write the bundle to {}", output.display()))?;
        println!(
            "{}: {} files, {missing} more could not be had; see MANIFEST.txt in it",
            output.display(),
            items.len() - missing
        );
        Ok(())
    }

    fn gather(&self, now: Timestamp) -> Vec<Item> {
        let document = settings::load(&self.config);
        let in_force = document.as_ref().map_or_else(|_| Document::defaults(), Clone::clone);
        let runtime_dir = in_force.settings.node.runtime_dir.clone();
        let socket = self.socket.clone().unwrap_or_else(|| runtime_dir.join("enid.sock"));
        let status = report(&socket, &Request::Status);
        let shown = status.as_ref().map(|status| screen(status).join("\n") + "\n").map_err(Clone::clone);
        let read = journal::read(&runtime_dir.join("journal/journal"));
        let mut items = vec![
            item("status.txt", "`enid status`", shown.map(String::into_bytes)),
            item("status.json", "the same for programs", status.map(pretty)),
            item(
                "strategies.json",
                "`enid strategy list`",
                report(&socket, &Request::Strategies).map(pretty),
            ),
            item("diff.json", "`enid diff`", report(&socket, &Request::Diff).map(pretty)),
            item(
                "addresses.json",
                "the addresses as they follow from the journal",
                read.as_ref()
                    .map_err(Clone::clone)
                    .and_then(|read| journal::addresses(read, &in_force, now))
                    .map(pretty),
            ),
            item(
                "journal.jsonl",
                "the journal's last records, one a line",
                read.as_ref().map_err(Clone::clone).map(|read| journal::lines(read)),
            ),
            item("enid.toml", "the settings file", fs::read(&self.config).map_err(|why| why.to_string())),
            item(
                "settings-in-force.txt",
                "settings that are not the default, and where each comes from",
                document.map_err(|problems| problems.to_string()).map(|document| in_words(&document)),
            ),
            item("metrics.txt", "what Prometheus is told", fetch(&in_force, "/metrics")),
            item("readyz.txt", "what a probe is told", fetch(&in_force, "/readyz")),
            item("versions.txt", "enid, the kernel, the system, the tools", Ok(probe::versions())),
            item("logs.txt", "where the daemon's log is", Ok(LOGS.as_bytes().to_vec())),
        ];
        items.extend(probe::kernel().into_iter().map(|(name, about, content)| item(name, about, content)));
        items
    }
}

const LOGS: &str = "\
The daemon logs to standard error; it is not in this bundle. Add it, from before the trouble began:

  journalctl -u enid --since '2 hours ago'          where systemd runs it
  kubectl -n kube-system logs NAME --previous       where a pod does
";

fn item(name: &'static str, about: &'static str, content: Result<Vec<u8>, String>) -> Item {
    Item { name, about, content }
}

fn pretty(value: Value) -> Vec<u8> {
    format!("{value:#}\n").into_bytes()
}

/// A daemon's answer, or why there is none.
fn report(socket: &Path, request: &Request) -> Result<Value, String> {
    match exchange(socket, request, PATIENCE).map_err(|why| why.to_string())? {
        Reply::Report(report) => Ok(report),
        Reply::Failed(failed) => Err(format!("{} (code {})", failed.message, failed.code)),
        Reply::Added(_) | Reply::AddedInterfaces(_) | Reply::Checked | Reply::Done | Reply::Hello { .. } => {
            Err("the daemon answered something else than a report".to_owned())
        }
    }
}

fn in_words(document: &Document) -> Vec<u8> {
    let problems = document.problems.iter().map(|problem| format!("{problem}\n"));
    let remarks = document.remarks.iter().map(|remark| format!("{remark}\n"));
    let said: String = problems.chain(remarks).collect();
    format!("{}{said}", document.effective()).into_bytes()
}

/// What the daemon serves over HTTP on this node.
fn fetch(document: &Document, path: &str) -> Result<Vec<u8>, String> {
    let listen = document.settings.observe.listen.ok_or("not served: observe.listen is \"off\"")?;
    let ip = match listen.ip() {
        IpAddr::V4(any) if any.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(any) if any.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        one @ (IpAddr::V4(_) | IpAddr::V6(_)) => one,
    };
    probe::http(SocketAddr::new(ip, listen.port()), path)
}

fn pack(items: &[Item], now: Timestamp) -> Vec<u8> {
    let mut archive = Archive::at(now);
    let mut manifest = format!("enid {} support bundle, {}\n\n", env!("CARGO_PKG_VERSION"), now.rfc3339());
    for Item { name, about, content } in items {
        match content {
            Ok(bytes) => manifest.push_str(&format!("{name:<24} {about} ({} bytes)\n", bytes.len())),
            Err(why) => {
                manifest.push_str(&format!("{name:<24} {about}: MISSING: {}\n", why.replace('\n', "; ")))
            }
        }
    }
    archive.add("MANIFEST.txt", manifest.as_bytes());
    for Item { name, content, .. } in items {
        if let Ok(bytes) = content {
            archive.add(name, bytes);
        }
    }
    archive.end()
}
