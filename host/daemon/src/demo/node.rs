//! A node of the demo: its settings file, its unmodified `enid run`, and what that daemon answers.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use enid_vpc_lab::lab::client_environment;
use enid_vpc_lab::lab::status::{NodeStatus, Status};
use enid_vpc_lab::namespace::NetNs;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use toml_edit::{DocumentMut, InlineTable, Item, Table, value};

use super::patience::{wait_for, wait_for_exit};
use super::policy::Chosen;
use crate::lab_command::{node_settings, ourselves_inside};

/// How long a daemon may take until it could serve an ADD at once.
const READY: Duration = Duration::from_secs(20);
/// How long it may take to stop.
const STOP: Duration = Duration::from_secs(10);
/// How long an address rests after its pod is gone: short, so that the demo can show what follows.
const COOLDOWN_SECS: i64 = 4;
/// Lines of a daemon's log that an error quotes.
const LOG_LINES: usize = 12;

/// A node and its daemon.
#[derive(Debug)]
pub(super) struct Node {
    /// What the lab says about it.
    pub(super) place: NodeStatus,
    settings: PathBuf,
    runtime: PathBuf,
    log: PathBuf,
    daemon: Child,
}

/// What `enid status` says, as far as the demo asks.
#[derive(Clone, Debug)]
pub(super) struct Report(Value);

impl Node {
    /// Writes the settings and starts the daemon in the node's namespace.
    pub(super) fn start(directory: &Path, lab: &Status, place: NodeStatus) -> Result<Self> {
        let file = |suffix: &str| directory.join(format!("{}{suffix}", place.name));
        let (settings, runtime, log) = (file(".toml"), file(""), file(".log"));
        let mut document: DocumentMut = node_settings(lab, &runtime).parse().context("write settings")?;
        document["pool"]["cooldown_secs"] = value(COOLDOWN_SECS);
        fs::write(&settings, document.to_string())
            .with_context(|| format!("write {}", settings.display()))?;
        fs::create_dir_all(&runtime).with_context(|| format!("create {}", runtime.display()))?;

        let output = fs::File::create(&log).with_context(|| format!("create {}", log.display()))?;
        let errors = output.try_clone().context("share the log")?;
        let config = settings.to_str().context("the directory's name is not text")?;
        let daemon = ourselves_inside(&place.namespace, &["run", "--config", config])?
            .envs(client_environment())
            // The settings alone say where EC2 is.
            .env_remove("AWS_ENDPOINT_URL_EC2")
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            // Ctrl-C is for the demo, which ends the daemon in order.
            .process_group(0)
            .spawn()
            .with_context(|| format!("start `enid run` on {}", place.name))?;
        Ok(Self { place, settings, runtime, log, daemon })
    }

    /// Its name.
    pub(super) fn name(&self) -> &str {
        &self.place.name
    }

    /// Its namespace.
    pub(super) fn namespace(&self) -> &NetNs {
        &self.place.namespace
    }

    /// Where the daemon answers.
    pub(super) fn socket(&self) -> PathBuf {
        self.runtime.join("enid.sock")
    }

    /// The settings file.
    pub(super) fn settings(&self) -> &Path {
        &self.settings
    }

    /// The daemon's process id: the same before and after a change shows that nothing was restarted.
    pub(super) fn pid(&self) -> u32 {
        self.daemon.id()
    }

    /// Waits until the daemon could serve an ADD at once.
    pub(super) fn wait_until_ready(&mut self) -> Result<Report> {
        let what = format!("`enid run` on {} ready to serve", self.name());
        let outcome = wait_for(&what, READY, || {
            if let Ok(Some(status)) = self.daemon.try_wait() {
                return Ok(Err(status));
            }
            match self.report() {
                Ok(report) if report.is_ready() => Ok(Ok(report)),
                Ok(report) => Err(report.trouble()),
                Err(error) => Err(format!("{error:#}")),
            }
        });
        match outcome.with_context(|| self.log_tail())? {
            Ok(report) => Ok(report),
            Err(status) => bail!("`enid run` on {} ended with {status}: {}", self.name(), self.log_tail()),
        }
    }

    /// What `enid status --output json` says.
    pub(super) fn report(&self) -> Result<Report> {
        let text = self.ask(&["status", "--output", "json"])?;
        Ok(Report(serde_json::from_str(&text).context("read `enid status --output json`")?))
    }

    /// What `enid explain` says about an ENI or an address.
    pub(super) fn explain(&self, kind: &str, subject: &str) -> Result<String> {
        self.ask(&["explain", kind, subject])
    }

    fn ask(&self, words: &[&str]) -> Result<String> {
        // From the node itself: the daemon answers nobody else.
        let mut asking = ourselves_inside(self.namespace(), words)?;
        let output = asking.arg("--socket").arg(self.socket()).output();
        let output = output.with_context(|| format!("run `enid {}`", words.join(" ")))?;
        ensure!(
            output.status.success(),
            "`enid {}` ended with {}: {}",
            words.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// Edits `[strategy.warm-pool]` in the settings file as an editor does: a new file takes the old one's place.
    pub(super) fn choose_warm_pool(&self, choice: Chosen<'_>, settings: &[(&str, i64)]) -> Result<()> {
        let text = fs::read_to_string(&self.settings).context("read the settings")?;
        let mut document: DocumentMut = text.parse().context("read the settings")?;
        let mut chosen = InlineTable::new();
        chosen.extend(settings.iter().map(|(key, number)| (*key, *number)));
        let warm_pool = document["strategy"]["warm-pool"]
            .or_insert(Item::Table(Table::new()))
            .as_table_mut()
            .context("[strategy.warm-pool] is not a table")?;
        warm_pool.insert("use", value(choice.component));
        warm_pool.remove("digest");
        if let Some(digest) = choice.digest {
            warm_pool.insert("digest", value(digest.to_string()));
        }
        warm_pool.insert("settings", value(chosen));
        let half = self.settings.with_extension("toml.new");
        fs::write(&half, document.to_string()).with_context(|| format!("write {}", half.display()))?;
        fs::rename(&half, &self.settings).with_context(|| format!("replace {}", self.settings.display()))
    }

    /// Stops the daemon with SIGTERM; an error when it does not end by itself or ends badly.
    pub(super) fn stop(&mut self) -> Result<()> {
        if let Some(status) = self.daemon.try_wait()? {
            bail!("`enid run` on {} had ended already, with {status}: {}", self.name(), self.log_tail());
        }
        let pid = i32::try_from(self.daemon.id()).ok().and_then(Pid::from_raw).context("invariant: a pid")?;
        kill_process(pid, Signal::TERM).context("send SIGTERM")?;
        match wait_for_exit(&mut self.daemon, STOP)? {
            Some(status) if status.success() => Ok(()),
            Some(status) => {
                bail!("`enid run` on {} ended with {status}: {}", self.name(), self.log_tail())
            }
            None => {
                self.daemon.kill().context("kill")?;
                self.daemon.wait().context("wait")?;
                bail!("`enid run` on {} did not end within {} s of SIGTERM", self.name(), STOP.as_secs())
            }
        }
    }

    /// Lines of the daemon's log at WARN and above.
    pub(super) fn complaints(&self) -> Vec<String> {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let bad =
            |line: &&str| line.contains(" ERROR ") || line.contains(" WARN ") || line.contains("panicked");
        text.lines().filter(bad).map(str::to_owned).collect()
    }

    fn log_tail(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let tail = lines[lines.len().saturating_sub(LOG_LINES)..].join("\n");
        format!("the end of its log:\n{tail}")
    }
}

impl Report {
    /// Whether an ADD could be served at once.
    pub(super) fn is_ready(&self) -> bool {
        self.0["ready"] == true
    }

    /// One number of the pool.
    pub(super) fn pool(&self, what: &str) -> u64 {
        self.0["pool"][what].as_u64().unwrap_or(0)
    }

    /// The pool in one line.
    pub(super) fn pool_line(&self) -> String {
        let number = |what| self.pool(what);
        format!(
            "{} addresses: {} bound, {} free, {} cooling",
            number("total"),
            number("bound"),
            number("free"),
            number("cooling")
        )
    }

    /// The last decision of one strategy: who answered on which rung, the target, the reason.
    pub(super) fn decision(&self, kind: &str) -> Option<Decision> {
        let all = self.0["strategies"].as_array()?;
        let found = all.iter().find(|strategy| strategy["kind"] == kind)?;
        let text = |key: &str| found[key].as_str().unwrap_or_default().to_owned();
        Some(Decision {
            strategy: text("strategy"),
            rung: text("rung"),
            target: text("target"),
            reason: text("reason"),
        })
    }

    /// Why it is not ready or not well.
    pub(super) fn trouble(&self) -> String {
        let why = [&self.0["degraded"], &self.0["waiting_for"]];
        let said: Vec<&str> = why.into_iter().filter_map(Value::as_str).collect();
        if said.is_empty() { self.pool_line() } else { said.join("; ") }
    }
}

/// A strategy's last decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Decision {
    /// Name and digest.
    pub(super) strategy: String,
    /// Which step of the ladder answered.
    pub(super) rung: String,
    /// In words.
    pub(super) target: String,
    /// Its own words.
    pub(super) reason: String,
}
