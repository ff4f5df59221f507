//! A node of the lab: its files, the questions an operator asks it, and what its runtime asks the plugin.

use std::fs::{self, File};
use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use enid_vpc_lab::lab::client_environment;
use enid_vpc_lab::lab::status::NodeStatus;
use enid_vpc_lab::namespace::NetNs;
use serde_json::Value;

use crate::daemon::Daemon;
use crate::kernel::Kernel;
use crate::program::{Ended, enid, run_enid};
use crate::settings::Settings;

/// A node: a place for a daemon.
#[derive(Clone, Debug)]
pub struct Node {
    /// What the lab says about it.
    pub place: NodeStatus,
    settings_file: PathBuf,
    runtime_dir: PathBuf,
    log: PathBuf,
}

impl Node {
    pub(crate) fn new(directory: &Path, place: &NodeStatus) -> Self {
        let file = |suffix: &str| directory.join(format!("{}{suffix}", place.name));
        let node = Self {
            place: place.clone(),
            settings_file: file(".toml"),
            runtime_dir: file(""),
            log: file(".log"),
        };
        node.configure(&node.settings());
        node
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.place.name
    }

    /// Its namespace.
    pub fn namespace(&self) -> &NetNs {
        &self.place.namespace
    }

    /// Its kernel.
    pub fn kernel(&self) -> Kernel {
        Kernel::of(self.namespace())
    }

    /// Where the daemon answers.
    pub fn socket(&self) -> PathBuf {
        self.runtime_dir.join("enid.sock")
    }

    /// The daemon's runtime directory.
    pub fn runtime_dir(&self) -> &Path {
        &self.runtime_dir
    }

    /// The settings file.
    pub fn settings_file(&self) -> &Path {
        &self.settings_file
    }

    pub(crate) fn log_file(&self) -> &Path {
        &self.log
    }

    /// The usual settings of this node, to be varied.
    pub fn settings(&self) -> Settings {
        Settings::usual(&self.runtime_dir)
    }

    /// Writes the settings as an editor does: a new file takes the old one's place.
    pub fn configure(&self, settings: &Settings) {
        self.write_settings(&settings.to_string());
    }

    /// Writes any text as the settings file.
    pub fn write_settings(&self, text: &str) {
        let half = self.settings_file.with_extension("toml.new");
        fs::write(&half, text).unwrap();
        fs::rename(&half, &self.settings_file).unwrap();
    }

    /// `enid run` in the node's namespace, which ends with the calling thread.
    pub(crate) fn command(&self) -> Command {
        self.command_of(&enid())
    }

    /// The same with another copy of the program.
    fn command_of(&self, program: &Path) -> Command {
        let mut command = Command::new(enid());
        command.args(["lab", "enter", self.namespace().name(), "--"]).arg(program);
        command.args(["run", "--config"]).arg(&self.settings_file);
        command.env_remove("ENID_LOG").envs(client_environment()).env_remove("AWS_ENDPOINT_URL_EC2");
        // CI may run in a pod of somebody's cluster.
        command.env_remove("KUBERNETES_SERVICE_HOST");
        command.stdin(Stdio::null());
        command
    }

    /// Starts the daemon and waits until it serves its socket.
    pub fn start(&self) -> Daemon {
        Daemon::start(self, self.command())
    }

    /// The same from another copy of the program.
    pub fn start_from(&self, program: &Path) -> Daemon {
        Daemon::start(self, self.command_of(program))
    }

    /// The same with variables in its environment.
    pub fn start_with(&self, variables: &[(&str, &str)]) -> Daemon {
        let mut command = self.command();
        command.envs(variables.iter().copied());
        Daemon::start(self, command)
    }

    /// Starts a daemon that is expected to end by itself, and waits for that.
    pub fn run_to_end(&self) -> Ended {
        self.run_to_end_with(&[])
    }

    /// The same with variables in its environment.
    pub fn run_to_end_with(&self, variables: &[(&str, &str)]) -> Ended {
        let output = self.log.with_extension("out");
        let errors = self.log.with_extension("err");
        let mut command = self.command();
        command.envs(variables.iter().copied());
        command.stdout(File::create(&output).unwrap()).stderr(File::create(&errors).unwrap());
        let code = crate::daemon::end_of(command.spawn().unwrap()).code();
        Ended {
            code,
            stdout: fs::read_to_string(output).unwrap(),
            stderr: fs::read_to_string(errors).unwrap(),
        }
    }

    /// What the daemon logged so far, over all its lives.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// `enid status`, in a form that does not fail while no daemon runs.
    pub fn try_status(&self) -> Result<Value, String> {
        let socket = self.socket();
        let ended = self.enid(&["status", "--output", "json", "--socket", socket.to_str().unwrap()]);
        if ended.code == Some(0) {
            Ok(serde_json::from_str(&ended.stdout).unwrap())
        } else {
            Err(ended.stderr)
        }
    }

    /// `enid status --output json`.
    #[track_caller]
    pub fn status(&self) -> Value {
        self.try_status().unwrap()
    }

    /// One number of the pool.
    #[track_caller]
    pub fn pool(&self, what: &str) -> u64 {
        let status = self.status();
        status["pool"][what].as_u64().unwrap_or_else(|| panic!("no pool.{what} in {status}"))
    }

    /// A connection to the daemon from its own node.
    pub fn connect(&self) -> io::Result<UnixStream> {
        self.namespace().inside(|| UnixStream::connect(self.socket())).unwrap()
    }

    /// Runs `enid` on the node: its daemon answers nobody who is elsewhere.
    pub fn enid(&self, words: &[&str]) -> Ended {
        self.namespace().inside(|| run_enid(words)).unwrap()
    }

    /// Runs `enid` on the node, with its socket.
    pub fn ask(&self, words: &[&str]) -> Ended {
        let socket = self.socket();
        let all: Vec<&str> = words.iter().copied().chain(["--socket", socket.to_str().unwrap()]).collect();
        self.enid(&all)
    }
}
