//! Settings and components that change under a running daemon: validated first, then taken over.
//!
//! A bad file changes nothing: the running settings stay, and the log says what is wrong with the new ones.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use enid_core::cloud::NodeIdentity;
use enid_engine::run::Request;
use enid_policy_wasm::{Kind, Policy, PolicyConfig, StrategyConfig};
use futures::StreamExt;
use inotify::{EventStream, Inotify, WatchMask};
use tokio::signal::unix::Signal;
use tokio::sync::mpsc;
use tracing::{error, info, warn};

use crate::run::{node_config, node_wiring};
use crate::settings::{self, Settings};
use crate::strategies;

/// How long files must be quiet before they are read: editors write in several steps.
const QUIET: Duration = Duration::from_millis(150);

/// Watches the settings file and the components it names.
pub(crate) struct Reloader {
    file: PathBuf,
    settings: Settings,
    policy: Arc<Policy>,
    engine: mpsc::Sender<Request>,
    identity: NodeIdentity,
    loaded: Fingerprints,
}

impl Reloader {
    /// A reloader for `settings`, which were read from `file`, and components as `loaded`.
    pub(crate) fn new(
        file: &Path,
        settings: Settings,
        policy: Arc<Policy>,
        loaded: Fingerprints,
        engine: mpsc::Sender<Request>,
        identity: NodeIdentity,
    ) -> Self {
        let file = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
        Self { file, settings, policy, engine, identity, loaded }
    }

    /// Reloads on SIGHUP and on changes, until aborted. Looks once at the start: something may have changed
    /// while the daemon was starting.
    pub(crate) async fn run(mut self, mut hangup: Signal) {
        loop {
            // Watched before it is read, so that no change falls between the two.
            let files = self.watched();
            let mut watch = self.watch(&files);
            self.reload().await;
            if self.watched() != files {
                continue;
            }
            let changed = async {
                match &mut watch {
                    Some(watch) => watch.changed(&files).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                received = hangup.recv() => {
                    if received.is_none() {
                        return;
                    }
                    info!("SIGHUP: reading the settings again");
                }
                () = changed => tokio::time::sleep(QUIET).await,
            }
        }
    }

    /// Every file whose change matters.
    fn watched(&self) -> BTreeSet<PathBuf> {
        let mut files: BTreeSet<PathBuf> =
            strategies::files(&strategies::policy(&self.settings)).into_iter().collect();
        files.insert(self.file.clone());
        files
    }

    fn watch(&self, files: &BTreeSet<PathBuf>) -> Option<Watch> {
        match Watch::new(files) {
            Ok(watch) => Some(watch),
            Err(why) => {
                warn!(reason = %why, "files cannot be watched; send SIGHUP after a change");
                None
            }
        }
    }

    async fn reload(&mut self) {
        let new = match settings::load(&self.file) {
            Ok(new) => new,
            Err(problems) => {
                return error!(reason = %problems, "the settings file is not taken over; the running settings stay");
            }
        };
        for (part, changed) in [
            ("[node] runtime_dir", new.node.runtime_dir != self.settings.node.runtime_dir),
            ("[cloud]", new.cloud != self.settings.cloud),
            ("[network] veth_prefix", new.network.veth_prefix != self.settings.network.veth_prefix),
        ] {
            if changed {
                warn!(part, "takes effect at the next start");
            }
        }
        let (before, after) = (strategies::policy(&self.settings), strategies::policy(&new));
        let found = Fingerprints::of(&after);
        let changed: Vec<Kind> = [Kind::WarmPool, Kind::MaxPods, Kind::SubnetSelection]
            .into_iter()
            .filter(|kind| before.of(*kind) != after.of(*kind) || found.differ(&self.loaded, after.of(*kind)))
            .collect();
        let mut taken = new;
        // These take effect at the next start, so until then the old ones hold everywhere.
        taken.node.runtime_dir = self.settings.node.runtime_dir.clone();
        taken.cloud = self.settings.cloud.clone();
        taken.network.veth_prefix = self.settings.network.veth_prefix.clone();
        if !changed.is_empty() {
            if let Err(why) = self.admissible(&after).await {
                // Remembered, so that it is said once and not with every change of another file.
                self.loaded = found;
                return error!(reason = %why, "nothing of the change is taken over; the running settings and strategies stay");
            }
            for kind in &changed {
                self.replace(*kind, after.of(*kind).clone(), &mut taken).await;
            }
        }
        self.loaded = found;
        if node_config(&taken) != node_config(&self.settings) || taken.network != self.settings.network {
            info!("settings taken over");
            let config = Box::new(node_config(&taken));
            let wiring = Box::new(node_wiring(&taken, &self.identity));
            // The engine is gone only at shutdown.
            let _gone = self.engine.send(Request::Reconfigure { config, wiring }).await;
        }
        if !changed.is_empty() {
            let _gone = self.engine.send(Request::StrategyReplaced).await;
        }
        self.settings = taken;
    }

    /// Loads all strategies aside: a change is taken over as a whole or not at all.
    async fn admissible(&self, config: &PolicyConfig) -> Result<(), String> {
        let config = config.clone();
        match tokio::task::spawn_blocking(move || Policy::new(config).map(drop)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(why)) => Err(format!("{:#}", anyhow::Error::from(why))),
            Err(why) => Err(why.to_string()),
        }
    }

    /// Switches to a strategy that was found admissible a moment ago.
    async fn replace(&self, kind: Kind, config: StrategyConfig, taken: &mut Settings) {
        let policy = Arc::clone(&self.policy);
        let why = match tokio::task::spawn_blocking(move || policy.replace(kind, config)).await {
            Ok(Ok(report)) => {
                info!(kind = %kind, strategy = %report.label, replaced = ?report.replaced, "strategy taken over");
                return;
            }
            Ok(Err(why)) => format!("{:#}", anyhow::Error::from(why)),
            Err(why) => why.to_string(),
        };
        error!(kind = %kind, reason = %why, "the strategy changed while it was loaded; the running one stays");
        keep(kind, &self.settings, taken);
    }
}

/// What stays of the old settings when a strategy was refused.
fn keep(kind: Kind, old: &Settings, new: &mut Settings) {
    match kind {
        Kind::WarmPool => new.strategies.warm_pool = old.strategies.warm_pool.clone(),
        Kind::MaxPods => new.strategies.max_pods = old.strategies.max_pods.clone(),
        Kind::SubnetSelection => new.strategies.subnet_selection = old.strategies.subnet_selection.clone(),
    }
}

/// A number per component file that changes with its bytes; `None` for a file that cannot be read.
#[derive(Debug, Default)]
pub(crate) struct Fingerprints(BTreeMap<PathBuf, Option<u64>>);

impl Fingerprints {
    /// Of the files behind `config`, as they are now.
    pub(crate) fn of(config: &PolicyConfig) -> Self {
        use std::hash::{DefaultHasher, Hasher};
        let fingerprint = |path: &PathBuf| {
            let bytes = std::fs::read(path).ok()?;
            let mut hasher = DefaultHasher::new();
            hasher.write(&bytes);
            Some(hasher.finish())
        };
        Self(strategies::files(config).into_iter().map(|path| (path.clone(), fingerprint(&path))).collect())
    }

    /// Whether a file behind `strategy` is another one than in `earlier`.
    fn differ(&self, earlier: &Self, strategy: &StrategyConfig) -> bool {
        let one = PolicyConfig { warm_pool: strategy.clone(), ..PolicyConfig::default() };
        strategies::files(&one).iter().any(|file| self.0.get(file) != earlier.0.get(file))
    }
}

/// Directories under watch: files are replaced by renaming, which a watch on the file itself would miss.
struct Watch {
    events: EventStream<[u8; 4096]>,
}

impl Watch {
    fn new(files: &BTreeSet<PathBuf>) -> std::io::Result<Self> {
        let inotify = Inotify::init()?;
        let directories: BTreeSet<&Path> = files.iter().filter_map(|file| file.parent()).collect();
        for directory in directories {
            let mask = WatchMask::CLOSE_WRITE | WatchMask::MOVED_TO;
            if let Err(why) = inotify.watches().add(directory, mask) {
                warn!(directory = %directory.display(), reason = %why, "not watched");
            }
        }
        Ok(Self { events: inotify.into_event_stream([0; 4096])? })
    }

    /// Until one of `files` was written or replaced.
    async fn changed(&mut self, files: &BTreeSet<PathBuf>) {
        let names: BTreeSet<&OsStr> = files.iter().filter_map(|file| file.file_name()).collect();
        while let Some(event) = self.events.next().await {
            match event {
                // Names that start with `..` are how Kubernetes swaps a mounted directory as a whole.
                Ok(event)
                    if event.name.as_deref().is_some_and(|name| {
                        names.contains(name) || name.as_encoded_bytes().starts_with(b"..")
                    }) =>
                {
                    return;
                }
                Ok(_) => {}
                Err(why) => {
                    warn!(reason = %why, "the watch on files broke; send SIGHUP after a change");
                    break;
                }
            }
        }
        std::future::pending().await
    }
}
