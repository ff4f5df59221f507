//! `enid run`: the composition root. Reads like a table of contents; decides nothing.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use enid_cloud_aws::{AwsCloud, Options, Timeouts};
use enid_core::cloud::{CloudError, NodeIdentity};
use enid_core::event::Record;
use enid_core::limits::InstanceType;
use enid_core::node::{Config, NodeState, Provisioning, Remembered};
use enid_datapath_linux::{Dad, DatapathOptions, LinuxDatapath};
use enid_engine::clock::{Clock, SteadyClock};
use enid_engine::ports::{Cloud, Datapath, Meter};
use enid_engine::run::{Engine, Ports, QUEUE};
use enid_policy_wasm::PolicyConfig;
use enid_protocol::message::Reply;
use enid_protocol::spool::{LockedSpool, Spool};
use enid_store_file::{Journal, JournalError};
use rustix::process::{Resource, Rlimit};
use tokio::runtime::{Builder, Handle};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tracing::{error, info, warn};

use crate::confinement;
use crate::failure::Failure;
use crate::membership;
use crate::metrics::{Metrics, Site};
use crate::observe::{self, Window};
use crate::peer::Admitted;
use crate::reload::{Begun, Place, Reloader};
use crate::server::{self, Desk};
use crate::settings::{self, Document, Settings, node_config};
use crate::strategies;

/// The priority of the threads that an ADD waits for. They need less than a millisecond for a pod; on a busy node they
/// would wait several for every turn, a whole slice of each program before them.
const NICE: i32 = -10;
/// Descriptors that may be open: of every connection and what came over it, and as many for everything else. Many systems
/// begin with a limit of 1024, which a program may lift for itself.
const DESCRIPTORS: u64 = 4 * server::CONNECTIONS as u64;
/// How long files, EC2 calls and trials of components may go on after the end.
const LAST_ERRANDS: Duration = Duration::from_secs(2);
/// Tries to reach metadata before the journal's word is taken.
const IDENTITY_TRIES: u32 = 3;
/// How long the spool may be locked by a plugin that writes to it.
const SPOOL_LOCK: Duration = Duration::from_secs(2);
/// How often the spool is looked at: a plugin also writes when the daemon is too busy to accept.
const SPOOL_EVERY: Duration = Duration::from_secs(10);

/// Runs until SIGTERM or SIGINT.
pub(crate) fn run(config: &Path) -> Result<(), Failure> {
    let document = settings::load(config)?;
    if !rustix::process::geteuid().is_root() {
        let why = anyhow!("`enid run` sets up links, routes and rules: run it as root");
        return Err(Failure::not_permitted(why));
    }
    // While CAP_SYS_NICE is there, and before the first thread: all of them have what is left.
    let usual = rustix::process::getpriority_process(None).context("ask for the priority")?;
    if let Err(why) = rustix::process::setpriority_process(None, NICE) {
        warn!(reason = %why, "ADDs get no priority on a busy node; allow CAP_SYS_NICE or start with a lower nice value");
    }
    lift_descriptor_limit();
    confinement::enter(document.settings.node.confinement).map_err(Failure::not_permitted)?;
    let chosen = strategies::choose(&document)?;
    // The main thread has the socket and the engine: an ADD wakes it and the datapath's thread, no other.
    // EC2 calls, strategies and files run elsewhere, so that parsing a long reply delays no ADD.
    let errands = Builder::new_multi_thread()
        .worker_threads(1)
        .max_blocking_threads(8)
        .thread_stack_size(1 << 20)
        .thread_name("errands")
        .on_thread_start(move || {
            // Giving priority up needs no right; without it errands are only too quick.
            let _kept = rustix::process::setpriority_process(None, usual);
        })
        .enable_all()
        .build()
        .context("start the runtime for errands")?;
    let front = Builder::new_current_thread()
        .max_blocking_threads(2)
        .enable_all()
        .build()
        .context("start the runtime")?;
    let ended = front.block_on(daemon(document, chosen, errands.handle()));
    // A component that is being tried out is not worth waiting for.
    errands.shutdown_timeout(LAST_ERRANDS);
    ended
}

fn lift_descriptor_limit() {
    let Rlimit { current, maximum } = rustix::process::getrlimit(Resource::Nofile);
    if current.is_some_and(|current| current < DESCRIPTORS) {
        let most = maximum.map_or(DESCRIPTORS, |maximum| maximum.min(DESCRIPTORS));
        let lifted = rustix::process::setrlimit(Resource::Nofile, Rlimit { current: Some(most), maximum });
        if most < DESCRIPTORS || lifted.is_err() {
            warn!(
                limit = most,
                wanted = DESCRIPTORS,
                "few descriptors: with many connections ADDs may fail; raise the limit"
            );
        }
    }
}

async fn daemon(document: Document, chosen: PolicyConfig, errands: &Handle) -> Result<(), Failure> {
    // First, so that none of them ends a daemon that is still starting.
    let mut signals = Signals::listen()?;
    let metrics = Arc::new(Metrics::begin());
    let mut settings = document.settings.clone();
    let runtime_dir = settings.node.runtime_dir.clone();
    private_directory(&runtime_dir).map_err(Failure::in_use)?;
    server::expect_unused(&runtime_dir.join("enid.sock")).map_err(Failure::in_use)?;
    let (journal, replay) = Journal::<Record>::open(runtime_dir.join("journal")).map_err(journal_failure)?;
    if let Some(torn) = &replay.torn {
        warn!(offset = torn.offset, bytes = torn.bytes, "the journal's unfinished last line was cut off");
    }
    // Compiles while the rest of the start goes on.
    let chosen = PolicyConfig { house: strategies::house(&settings), ..chosen };
    let policy = {
        let (document, chosen) = (document.clone(), chosen.clone());
        errands.spawn_blocking(move || strategies::load(&document, &chosen))
    };
    let cloud = Arc::new(AwsCloud::connect(cloud_options(&settings)).map_err(Failure::settings)?);
    let remembered = Remembered::from_records(&replay.records);
    let who = {
        // The cloud's connections live on the runtime that opened them.
        let (cloud, settings) = (Arc::clone(&cloud), settings.clone());
        async move {
            let identity = identity(&cloud, &settings, remembered.identity).await?;
            let instance_type = instance_type(&cloud, &settings, &identity, remembered.instance_type).await?;
            Ok::<_, Failure>((identity, instance_type))
        }
    };
    let (identity, instance_type) =
        errands.spawn(who).await.map_err(|error| Failure::from(anyhow!(error)))??;
    // The kernel last: settings, strategies and metadata that refuse to start leave it as it was.
    let policy = policy.await.map_err(|error| Failure::from(anyhow!(error)))?;
    let policy = Arc::new(policy?);
    let asker = membership::asker(&settings.kubernetes);
    let config = Config { expects_count: asker.is_some(), ..node_config(&settings, &identity.zone) };
    config.check(&identity, &instance_type).map_err(Failure::settings)?;
    let place = Place { identity: identity.clone(), instance_type: instance_type.clone() };

    let clock = Arc::new(SteadyClock::start());
    let (mut node, effects) =
        NodeState::restore(config, identity.clone(), instance_type, &replay.records, clock.now());
    let veth_prefix = node.config().veth_prefix.clone();
    if veth_prefix != settings.network.veth_prefix {
        warn!(
            configured = settings.network.veth_prefix.as_str(),
            in_force = veth_prefix.as_str(),
            "network.veth_prefix takes effect at a start without pods: those that are there keep their links"
        );
        settings.network.veth_prefix = veth_prefix;
    }
    let datapath = datapath(&settings, &mut node).await?;
    info!(
        instance = %identity.instance, instance_type = %identity.instance_type, zone = %identity.zone,
        journal_records = replay.records.len(), "starting"
    );
    document.effective().log(&document);

    let ports = Ports {
        cloud,
        datapath: Arc::clone(&datapath),
        store: journal,
        strategist: Arc::clone(&policy),
        clock: Arc::clone(&clock),
        meter: Arc::clone(&metrics) as Arc<dyn Meter>,
    };
    let (requests, inbox) = mpsc::channel(QUEUE);
    let (shutdown, stopped) = watch::channel(false);
    let (closed, closing) = watch::channel(false);
    let engine = tokio::spawn(Engine::new(ports, node, effects, errands.clone()).run(inbox, stopped));
    let desk =
        Desk { engine: requests.clone(), clock, policy: Arc::clone(&policy), errands: errands.clone() };

    let listener = open_for_business(&runtime_dir, &desk).await?;
    info!(socket = %runtime_dir.join("enid.sock").display(), "serving");
    metrics.serving();
    let admitted = Admitted::by(&listener).context("ask which network namespace the socket is in")?;
    let server = tokio::spawn(server::serve(listener, admitted, desk.clone(), closing));
    let spool = tokio::spawn(keep_spool_empty(runtime_dir.join("spool"), desk));
    let site =
        Site { instance_type: place.instance_type.clone(), journal: runtime_dir.join("journal/journal") };
    let (listen, listens) = watch::channel(settings.observe.listen);
    let observing =
        errands.spawn(observe::serve(Window { engine: requests.clone(), metrics, site }, listens));
    let counting = asker.map(|asker| errands.spawn(membership::keep_counted(asker, requests.clone())));
    let begun = Begun { file: document.file, settings, chosen, policy, place, listen };
    let reloader = Reloader::new(begun, requests);
    let reloading = errands.spawn(reloader.run(signals.hangup));

    wait_for_end(&engine, &datapath, &mut signals.terminate, &mut signals.interrupt).await?;
    info!("stopping");
    reloading.abort();
    observing.abort();
    let _ended = counting.inspect(JoinHandle::abort);
    spool.abort();
    // The engine first: it tells those that wait, and their connections carry the answer.
    let _nobody_listens = shutdown.send(true);
    if let Err(why) = engine.await {
        error!(%why, "the engine did not end by itself");
    }
    let _nobody_listens = closed.send(true);
    if let Err(why) = server.await {
        error!(%why, "the server did not end by itself");
    }
    // Gone before the next daemon binds; a leftover would be replaced anyway.
    let _gone = std::fs::remove_file(runtime_dir.join("enid.sock"));
    let datapath = tokio::task::spawn_blocking(move || drop(datapath));
    let _ended = datapath.await;
    info!("stopped; pods keep their network");
    Ok(())
}

/// The signals that the daemon heeds.
struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> anyhow::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup()).context("listen to SIGHUP")?,
            terminate: signal(SignalKind::terminate()).context("listen to SIGTERM")?,
            interrupt: signal(SignalKind::interrupt()).context("listen to SIGINT")?,
        })
    }
}

async fn wait_for_end(
    engine: &tokio::task::JoinHandle<()>,
    datapath: &LinuxDatapath,
    terminate: &mut Signal,
    interrupt: &mut Signal,
) -> Result<(), Failure> {
    let mut alive = tokio::time::interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            biased;
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            _ = alive.tick() => {
                if engine.is_finished() {
                    return Err(Failure::from(anyhow!("the engine ended by itself; this is a bug of enid")));
                }
                if !datapath.is_alive() {
                    return Err(Failure::from(anyhow!("a thread of the datapath ended; a new start serves again")));
                }
            }
        }
    }
}

fn private_directory(path: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.with_context(|| {
        format!("make the runtime directory {}; set node.runtime_dir to one that can be made", path.display())
    })
}

fn journal_failure(error: JournalError) -> Failure {
    match error {
        JournalError::InUse { .. } => Failure::in_use(error),
        JournalError::Corrupt { .. }
        | JournalError::Full { .. }
        | JournalError::Io { .. }
        | JournalError::Newer { .. }
        | JournalError::NotAJournal { .. }
        | JournalError::Poisoned { .. }
        | JournalError::TooLarge { .. }
        | JournalError::UnknownRecord { .. }
        | JournalError::Unencodable { .. } => Failure::settings(error),
    }
}

fn cloud_options(settings: &Settings) -> Options {
    let text = |endpoint: &Option<settings::Endpoint>| {
        endpoint.as_ref().map(|endpoint| endpoint.as_str().to_owned())
    };
    Options {
        region: settings.cloud.region.clone(),
        ec2_endpoint: text(&settings.cloud.ec2_endpoint),
        imds_endpoint: text(&settings.cloud.imds_endpoint),
        timeouts: Timeouts { operation: settings.cloud.timeout, ..Timeouts::default() },
    }
}

/// Who the node is: metadata's word, or the journal's when metadata does not answer.
async fn identity(
    cloud: &AwsCloud,
    settings: &Settings,
    remembered: Option<NodeIdentity>,
) -> Result<NodeIdentity, Failure> {
    let mut last: Option<CloudError> = None;
    for _ in 0..IDENTITY_TRIES {
        match cloud.identity().await {
            Ok(identity) => return Ok(identity),
            Err(error) => last = Some(error),
        }
        if remembered.is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let why = last.map_or_else(String::new, |error| error.to_string());
    if let Some(identity) = remembered {
        warn!(reason = %why, "metadata does not answer; degraded: the journal says who this node is");
        return Ok(identity);
    }
    let asked =
        settings.cloud.imds_endpoint.as_ref().map_or("http://169.254.169.254", settings::Endpoint::as_str);
    Err(Failure::unavailable(anyhow!(
        "instance metadata (IMDSv2) at {asked} does not say who this node is, and no journal does: {why}; \
         run enid on an EC2 instance, or set cloud.imds_endpoint"
    )))
}

/// What the type allows: the table's word, the journal's, or EC2's for a type that is newer than both.
async fn instance_type(
    cloud: &AwsCloud,
    settings: &Settings,
    identity: &NodeIdentity,
    remembered: Option<InstanceType>,
) -> Result<InstanceType, Failure> {
    let name = &identity.instance_type;
    if let Some(known) = enid_core::instance_types::lookup(name) {
        return Ok(known);
    }
    if let Some(known) = remembered.filter(|known| known.name == *name) {
        return Ok(known);
    }
    if settings.pool.provisioning == Provisioning::MetadataOnly {
        return Err(Failure::unavailable(anyhow!(
            "instance type {name} is not in the built-in table, and with pool.provisioning = \"metadata-only\" EC2 is not asked"
        )));
    }
    cloud.instance_type(name).await.map_err(|error| {
        Failure::unavailable(anyhow!(
            "instance type {name} is not in the built-in table, and EC2 does not tell: {error}"
        ))
    })
}

async fn datapath(settings: &Settings, node: &mut NodeState) -> Result<Arc<LinuxDatapath>, Failure> {
    let options = DatapathOptions {
        veth_prefix: settings.network.veth_prefix.clone(),
        duplicate_address_detection: match settings.network.duplicate_address_detection {
            true => Dad::Perform,
            false => Dad::Skip,
        },
        ..DatapathOptions::default()
    };
    let datapath = LinuxDatapath::start(options).context("start the datapath")?;
    let wiring = node.node_wiring();
    datapath.set_up_node(&wiring).await.context("set up the node's network")?;
    node.kernel_knows(wiring);
    Ok(Arc::new(datapath))
}

/// Applies the DELs that found no daemon, then listens, under one lock: none can slip in between.
async fn open_for_business(runtime_dir: &Path, desk: &Desk) -> Result<tokio::net::UnixListener, Failure> {
    let spool = Spool::new(runtime_dir.join("spool"));
    let locked = lock(spool).await;
    if let Some(locked) = &locked {
        drain(locked, desk).await;
    }
    server::bind(&runtime_dir.join("enid.sock")).map_err(Failure::in_use)
}

async fn lock(spool: Spool) -> Option<LockedSpool> {
    match tokio::task::spawn_blocking(move || spool.lock(SPOOL_LOCK)).await {
        Ok(Ok(locked)) => Some(locked),
        Ok(Err(why)) => {
            warn!(reason = %why, "spooled DELs are not applied now; tried again later");
            None
        }
        Err(why) => {
            error!(%why, "the spool's task failed");
            None
        }
    }
}

async fn keep_spool_empty(dir: std::path::PathBuf, desk: Desk) {
    let mut due = tokio::time::interval_at(tokio::time::Instant::now() + SPOOL_EVERY, SPOOL_EVERY);
    loop {
        due.tick().await;
        if let Some(locked) = lock(Spool::new(&dir)).await {
            drain(&locked, &desk).await;
        }
    }
}

async fn drain(locked: &LockedSpool, desk: &Desk) {
    let waiting = match locked.waiting() {
        Ok(waiting) => waiting,
        Err(why) => return warn!(reason = %why, "the spool cannot be read"),
    };
    for unreadable in &waiting.unreadable {
        error!(file = ?unreadable.file, reason = %unreadable.why, "a spooled DEL says nothing usable and was removed");
    }
    for spooled in waiting.dels {
        match desk.del(spooled.del.clone(), Some(spooled.at_ms)).await {
            Reply::Done => {
                info!(container = %spooled.del.container, "spooled DEL applied");
                if let Err(why) = locked.forget(&spooled) {
                    warn!(reason = %why, "an applied DEL stays in the spool; applying it again changes nothing");
                }
            }
            other @ (Reply::Added(_)
            | Reply::AddedInterfaces(_)
            | Reply::Checked
            | Reply::Failed(_)
            | Reply::Hello { .. }
            | Reply::Report(_)) => {
                warn!(container = %spooled.del.container, reply = ?other, "spooled DEL stays for later")
            }
        }
    }
}
