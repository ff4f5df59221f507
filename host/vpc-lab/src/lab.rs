//! A lab that runs by hand: started once, found again by name, taken away by name.
//!
//! One process per lab owns the model and the network; everybody else talks to it through its control
//! socket. What a crash leaves is known from files written before the first change.

mod call;
pub(crate) mod control;
pub mod deed;
mod directory;
pub mod landscape;
pub mod region;
pub mod status;

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use self::control::{Reply, Request, ask};
use self::deed::Deed;
use self::directory::Directory;
use self::landscape::{EC2_ADDRESS, IMDS_ADDRESS, Landscape, REGION};
use self::status::Status;
use crate::fabric::{self, FabricError, Footprint};
use crate::namespace::NetNs;
use crate::requirements::{self, Unmet};
use crate::residents;
use crate::server::{self, ServeError};
use crate::waiting::wait_until;

/// Where labs keep their files unless told otherwise; a reboot empties it, as it empties the network.
pub const DEFAULT_DIRECTORY: &str = "/run/enid-lab";
/// How long a lab may take to come up; measured is less than a second.
const START: Duration = Duration::from_secs(20);
/// How long it may take to end once asked.
const STOP: Duration = Duration::from_secs(10);

/// A lab by its name: running, crashed or not there at all.
#[derive(Clone, Debug)]
pub struct Lab {
    name: String,
    footprint: Footprint,
    landscape: Landscape,
    directory: Directory,
}

/// What taking a lab away found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Whether its process was running.
    pub was_running: bool,
    /// Processes that lived in its namespaces and were ended.
    pub residents: usize,
    /// Namespaces that were there.
    pub namespaces: usize,
}

/// Why a lab could not be started, asked or taken away.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// The machine lacks something.
    #[error("{}", join(.0))]
    Unmet(Vec<Unmet>),
    /// It is up already.
    #[error(
        "the lab `{name}` is up already (process {pid}); take it down first: enid lab down --name {name}"
    )]
    AlreadyUp {
        /// Which.
        name: String,
        /// Its process.
        pid: i32,
    },
    /// An earlier lab of this name ended without taking its network away.
    #[error(
        "an earlier lab `{name}` left its network behind; take it away first: enid lab down --name {name}"
    )]
    Leftovers {
        /// Which.
        name: String,
    },
    /// It is not up.
    #[error("the lab `{name}` is not up; start it: enid lab up --name {name}")]
    NotUp {
        /// Which.
        name: String,
    },
    /// No node of that name.
    #[error("the lab has no node `{node}`; it has {known}")]
    NoSuchNode {
        /// What was asked for.
        node: String,
        /// What there is.
        known: String,
    },
    /// The lab's process ended while starting.
    #[error("the lab's process ended with {status} while starting: {log}")]
    DiedStarting {
        /// How.
        status: ExitStatus,
        /// The end of its log.
        log: String,
    },
    /// The lab's process does not end.
    #[error("the lab's process {pid} does not end")]
    WillNotEnd {
        /// Which.
        pid: i32,
    },
    /// The lab's process took too long to start.
    #[error("the lab did not answer within {} s: {log}", START.as_secs())]
    Silent {
        /// The end of its log.
        log: String,
    },
    /// The lab would not do what it was asked.
    #[error("the lab `{name}` refuses: {why}")]
    Refused {
        /// Which.
        name: String,
        /// Its word.
        why: String,
    },
    /// A file or the control socket failed.
    #[error("{attempt}")]
    Io {
        /// What was attempted.
        attempt: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The network.
    #[error(transparent)]
    Fabric(#[from] FabricError),
    /// The server.
    #[error(transparent)]
    Serve(#[from] Box<ServeError>),
}

impl Lab {
    /// The lab called `name` with its files under `base`. Its namespaces start with `name`.
    pub fn named(base: &Path, name: &str) -> Result<Self, LabError> {
        Self::with_landscape(base, name, Landscape::standard())
    }

    /// The lab that [`Lab::start`] wants its server to be: with the landscape that was noted there.
    pub fn as_started(base: &Path, name: &str) -> Result<Self, LabError> {
        let directory = Directory::at(base.join(name));
        let noted = directory.read_landscape().map_err(|source| LabError::Io {
            attempt: format!("read the landscape in {}", directory.path().display()),
            source,
        })?;
        Self::with_landscape(base, name, noted.unwrap_or_else(Landscape::standard))
    }

    /// The same with another world in it, which matters to whoever starts it.
    pub fn with_landscape(base: &Path, name: &str, landscape: Landscape) -> Result<Self, LabError> {
        let nodes: Vec<String> = landscape.dwellings().map(|dwelling| dwelling.name.clone()).collect();
        let footprint = Footprint::new(name, &nodes, landscape.pods)?;
        Ok(Self { name: name.to_owned(), footprint, landscape, directory: Directory::at(base.join(name)) })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The directory of its files, which goes when the lab goes.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The names of its namespaces.
    pub fn footprint(&self) -> &Footprint {
        &self.footprint
    }

    /// Refuses when a lab of this name is up, or when one left its network behind.
    pub fn expect_absent(&self) -> Result<(), LabError> {
        if let Some(pid) = self.holder()? {
            return Err(LabError::AlreadyUp { name: self.name.clone(), pid });
        }
        if !self.standing().is_empty() {
            return Err(LabError::Leftovers { name: self.name.clone() });
        }
        Ok(())
    }

    /// Namespaces that are there: of this landscape, and of the one that the last lab of this name noted.
    fn standing(&self) -> BTreeSet<NetNs> {
        let noted = self.directory.read_footprint().unwrap_or_default();
        let footprints = [&self.footprint].into_iter().chain(&noted);
        footprints.flat_map(Footprint::namespaces).filter(|namespace| namespace.exists()).cloned().collect()
    }

    /// Starts the lab's process with `server`, a command that ends in [`Lab::serve`] of [`Lab::as_started`], and
    /// waits for it to answer. The child lives on when the caller ends.
    pub fn start(&self, mut server: Command) -> Result<(Child, Status), LabError> {
        let unmet = requirements::unmet();
        if !unmet.is_empty() {
            return Err(LabError::Unmet(unmet));
        }
        self.expect_absent()?;
        let failed = |attempt: String| move |source| LabError::Io { attempt, source };
        let within = |what: &str| format!("{what} in {}", self.directory().display());
        // Journals of an earlier lab speak of ENIs that this one does not have.
        self.directory.remove().map_err(failed(within("clean up")))?;
        self.directory.create().map_err(failed(within("create the lab's directory")))?;
        self.directory.write_landscape(&self.landscape).map_err(failed(within("note the landscape")))?;
        let log = self.directory.fresh_log().map_err(failed(within("open the lab's log")))?;
        let copy = log.try_clone().map_err(failed(within("open the lab's log")))?;
        // A process group of its own: Ctrl-C is for whoever typed it.
        server.stdin(Stdio::null()).stdout(copy).stderr(log).process_group(0);
        let mut child = server.spawn().map_err(failed("start the lab's process".to_owned()))?;
        let outcome = wait_until(Instant::now() + START, || match child.try_wait() {
            Err(source) => Some(Err(failed("wait for the lab's process".to_owned())(source))),
            Ok(Some(status)) => Some(Err(LabError::DiedStarting { status, log: self.directory.log_tail() })),
            Ok(None) => self.status().ok().map(Ok),
        });
        let error = match outcome {
            Some(Ok(status)) => return Ok((child, status)),
            Some(Err(error)) => error,
            None => LabError::Silent { log: self.directory.log_tail() },
        };
        // A lab that did not start must not start later.
        let _ended_already = child.kill();
        let _ended_already = child.wait();
        if let Err(left) = self.down() {
            tracing::warn!(error = %left, lab = self.name, "take away what did not start");
        }
        Err(error)
    }

    /// Becomes the lab's process: builds the network, serves until told to stop, takes the network away.
    ///
    /// Must be called before the process starts any thread, because it moves into the VPC's namespace.
    pub fn serve(&self) -> Result<(), LabError> {
        let failed = |attempt: &str| {
            let attempt = format!("{attempt} in {}", self.directory().display());
            move |source| LabError::Io { attempt, source }
        };
        self.directory.create().map_err(failed("create the lab's directory"))?;
        let _held = match self.directory.hold().map_err(failed("lock the lab"))? {
            Some(held) => held,
            None => {
                let pid = self.holder()?.unwrap_or(0);
                return Err(LabError::AlreadyUp { name: self.name.clone(), pid });
            }
        };
        self.directory.write_footprint(&self.footprint).map_err(failed("note the lab's namespaces"))?;
        let plan = server::Plan {
            name: self.name.clone(),
            landscape: self.landscape.clone(),
            footprint: self.footprint.clone(),
            control: self.directory.control(),
        };
        let served = server::serve(plan).map_err(Box::new);
        let removed = fabric::down(&self.footprint);
        served?;
        Ok(removed?)
    }

    /// Asks the running lab for its world.
    pub fn status(&self) -> Result<Status, LabError> {
        match self.ask(&Request::Status)? {
            Reply::Status(status) => Ok(*status),
            other @ (Reply::Done | Reply::Stopping | Reply::Refused { .. }) => Err(self.odd(&other)),
        }
    }

    /// Lets others do something in the VPC; the network shows it when this returns.
    pub fn perform(&self, deed: Deed) -> Result<(), LabError> {
        match self.ask(&Request::Perform(deed))? {
            Reply::Done => Ok(()),
            Reply::Refused { why } => Err(LabError::Refused { name: self.name.clone(), why }),
            other @ (Reply::Status(_) | Reply::Stopping) => Err(self.odd(&other)),
        }
    }

    /// One call to EC2 from inside the VPC, such as `Action=DescribeVpcs`: the document that came back. What EC2
    /// refuses is an error that quotes it.
    pub fn call(&self, form: &str) -> Result<String, LabError> {
        let vpc = &self.footprint.vpc;
        if !vpc.exists() {
            return Err(LabError::NotUp { name: self.name.clone() });
        }
        let answer = call::ec2(vpc, form)
            .map_err(|source| LabError::Io { attempt: format!("call EC2 with `{form}`"), source })?;
        answer.map_err(|why| LabError::Refused { name: self.name.clone(), why })
    }

    /// Becomes `command` inside the namespace of `node`.
    ///
    /// Variables that point AWS clients at the lab are set unless they are set already.
    pub fn exec(&self, node: &str, mut command: Command) -> Result<Infallible, LabError> {
        // A running lab's own word about its nodes: it may have been started with another landscape.
        let noted = self.directory.read_footprint().ok().flatten();
        let nodes = &noted.as_ref().unwrap_or(&self.footprint).nodes;
        let Some(namespace) = nodes.get(node) else {
            let known = nodes.keys().cloned().collect::<Vec<_>>().join(", ");
            return Err(LabError::NoSuchNode { node: node.to_owned(), known });
        };
        if !namespace.exists() {
            return Err(LabError::NotUp { name: self.name.clone() });
        }
        let failed = |attempt: String| move |source| LabError::Io { attempt, source };
        namespace.enter().map_err(failed(format!("enter node {node}")))?;
        for (key, value) in client_environment() {
            if std::env::var_os(key).is_none() {
                command.env(key, value);
            }
        }
        let program = command.get_program().to_string_lossy().into_owned();
        Err(failed(format!("run `{program}` on {node}"))(command.exec()))
    }

    /// Takes the lab away: its residents, its process, its namespaces, its files. Nothing there is fine.
    pub fn down(&self) -> Result<Removed, LabError> {
        let failed = |attempt: String| move |source| LabError::Io { attempt, source };
        let noted = self.directory.read_footprint().unwrap_or_default();
        // An earlier version may have had other nodes: what it noted counts as well.
        let footprints: Vec<&Footprint> = [&self.footprint].into_iter().chain(&noted).collect();
        let holder = self.holder()?;
        let mut removed = Removed { was_running: holder.is_some(), ..Removed::default() };
        let lived_in: BTreeSet<&NetNs> = footprints
            .iter()
            .flat_map(|footprint| footprint.nodes.values().chain(&footprint.pods).chain([&footprint.inet]))
            .collect();
        removed.residents = residents::end(lived_in.into_iter().filter(|namespace| namespace.exists()));
        removed.namespaces = self.standing().len();
        if let Some(pid) = holder {
            self.stop(pid)?;
        }
        for footprint in footprints {
            residents::end([&footprint.vpc].into_iter().filter(|namespace| namespace.exists()));
            fabric::down(footprint)?;
        }
        let attempt = format!("remove {}", self.directory().display());
        self.directory.remove().map_err(failed(attempt))?;
        // The directory of all labs is ours alone when nobody chose another; the last one takes it along.
        let _other_labs_use_it = fs::remove_dir(DEFAULT_DIRECTORY);
        Ok(removed)
    }

    fn stop(&self, pid: i32) -> Result<(), LabError> {
        // A process that hangs does not answer; it is ended with the residents of its namespace.
        let _asked = self.ask(&Request::Stop);
        let gone = wait_until(Instant::now() + STOP, || matches!(self.holder(), Ok(None)).then_some(()));
        if gone.is_none() {
            residents::end([&self.footprint.vpc].into_iter());
        }
        match self.holder()? {
            None => Ok(()),
            Some(_) => Err(LabError::WillNotEnd { pid }),
        }
    }

    fn holder(&self) -> Result<Option<i32>, LabError> {
        self.directory.holder().map_err(|source| LabError::Io {
            attempt: format!("look whether the lab `{}` runs", self.name),
            source,
        })
    }

    fn ask(&self, request: &Request) -> Result<Reply, LabError> {
        ask(&self.directory.control(), request).map_err(|source| {
            if matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) {
                LabError::NotUp { name: self.name.clone() }
            } else {
                LabError::Io { attempt: format!("ask the lab `{}`", self.name), source }
            }
        })
    }

    fn odd(&self, reply: &Reply) -> LabError {
        LabError::Io {
            attempt: format!("ask the lab `{}`", self.name),
            source: io::Error::new(io::ErrorKind::InvalidData, format!("unexpected answer {reply:?}")),
        }
    }
}

/// Where EC2 answers, as a URL.
pub fn ec2_endpoint() -> String {
    format!("http://{EC2_ADDRESS}")
}

/// Where instance metadata answers, as a URL.
pub fn imds_endpoint() -> String {
    format!("http://{IMDS_ADDRESS}")
}

/// Variables that point AWS clients (the SDKs, boto3, the AWS CLI) at a lab from inside a node.
///
/// The credentials are placeholders: signatures are accepted unseen.
pub fn client_environment() -> [(&'static str, String); 5] {
    [
        ("AWS_ACCESS_KEY_ID", "lab".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "lab".to_owned()),
        ("AWS_REGION", REGION.to_owned()),
        ("AWS_DEFAULT_REGION", REGION.to_owned()),
        ("AWS_ENDPOINT_URL_EC2", ec2_endpoint()),
    ]
}

fn join(unmet: &[Unmet]) -> String {
    unmet.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
