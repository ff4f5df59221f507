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
use enid_policy_wasm::{Kind, Policy, PolicyConfig};
use futures::StreamExt;
use inotify::{EventStream, Inotify, WatchMask};
use tokio::signal::unix::{SignalKind, signal};
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
    digests: BTreeMap<PathBuf, Option<u64>>,
}

impl Reloader {
    /// A reloader for `settings`, which were read from `file`.
    pub(crate) fn new(
        file: &Path,
        settings: Settings,
        policy: Arc<Policy>,
        engine: mpsc::Sender<Request>,
        identity: NodeIdentity,
    ) -> Self {
        let file = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
        let digests = fingerprints(&strategies::policy(&settings));
        Self { file, settings, policy, engine, identity, digests }
    }

    /// Reloads on SIGHUP and on changes, until aborted.
    pub(crate) async fn run(mut self) {
        let mut hangup = match signal(SignalKind::hangup()) {
            Ok(hangup) => hangup,
            Err(why) => return error!(%why, "SIGHUP cannot be listened to; restart to change settings"),
        };
        let mut watch = self.watch();
        loop {
            let files = self.watched();
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
            self.reload().await;
            watch = self.watch();
        }
    }

    /// Every file whose change matters.
    fn watched(&self) -> BTreeSet<PathBuf> {
        let mut files: BTreeSet<PathBuf> =
            strategies::files(&strategies::policy(&self.settings)).into_iter().collect();
        files.insert(self.file.clone());
        files
    }

    fn watch(&self) -> Option<Watch> {
        match Watch::new(&self.watched()) {
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
        let before = strategies::policy(&self.settings);
        let mut taken = new.clone();
        let digests = fingerprints(&strategies::policy(&new));
        let mut replaced = false;
        for kind in [Kind::WarmPool, Kind::MaxPods, Kind::SubnetSelection] {
            match self.replace(kind, &before, &strategies::policy(&new), &digests).await {
                Ok(changed) => replaced |= changed,
                Err(()) => keep(kind, &self.settings, &mut taken),
            }
        }
        self.digests = digests;
        if node_config(&taken) != node_config(&self.settings) || taken.network != self.settings.network {
            info!("settings taken over");
            let config = Box::new(node_config(&taken));
            let wiring = Box::new(node_wiring(&taken, &self.identity));
            // The engine is gone only at shutdown.
            let _gone = self.engine.send(Request::Reconfigure { config, wiring }).await;
        }
        if replaced {
            let _gone = self.engine.send(Request::StrategyReplaced).await;
        }
        self.settings = taken;
    }

    /// Replaces the strategy of one kind when its configuration or its file changed; says whether it did.
    async fn replace(
        &self,
        kind: Kind,
        before: &PolicyConfig,
        after: &PolicyConfig,
        digests: &BTreeMap<PathBuf, Option<u64>>,
    ) -> Result<bool, ()> {
        let (old, new) = (before.of(kind), after.of(kind));
        let one = |config| PolicyConfig { warm_pool: config, ..PolicyConfig::default() };
        let touched = strategies::files(&one(new.clone()))
            .iter()
            .any(|file| digests.get(file) != self.digests.get(file));
        if old == new && !touched {
            return Ok(false);
        }
        let policy = Arc::clone(&self.policy);
        let config = new.clone();
        match tokio::task::spawn_blocking(move || policy.replace(kind, config)).await {
            Ok(Ok(report)) => {
                info!(kind = %kind, strategy = %report.label, replaced = ?report.replaced, "strategy taken over");
                Ok(true)
            }
            Ok(Err(why)) => {
                error!(%kind, reason = %format!("{:#}", anyhow::Error::from(why)), "the strategy is not taken over; the running one stays");
                Err(())
            }
            Err(why) => {
                error!(%kind, %why, "loading the strategy failed; the running one stays");
                Err(())
            }
        }
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

/// A number per component file that changes with its bytes; `None` when it cannot be read.
fn fingerprints(config: &PolicyConfig) -> BTreeMap<PathBuf, Option<u64>> {
    use std::hash::{DefaultHasher, Hasher};
    let fingerprint = |path: &PathBuf| {
        let bytes = std::fs::read(path).ok()?;
        let mut hasher = DefaultHasher::new();
        hasher.write(&bytes);
        Some(hasher.finish())
    };
    strategies::files(config).into_iter().map(|path| (path.clone(), fingerprint(&path))).collect()
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
                Ok(event) if event.name.as_deref().is_some_and(|name| names.contains(name)) => return,
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
