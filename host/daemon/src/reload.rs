//! Settings and components that change under a running daemon: validated first, then taken over.
//!
//! A bad file changes nothing: the running settings stay, and the log says what is wrong with the new ones.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use enid_component_store::Digest;
use enid_core::cloud::NodeIdentity;
use enid_core::limits::InstanceType;
use enid_engine::run::Request;
use enid_policy_wasm::policy::{LoadError, Prepared};
use enid_policy_wasm::{Kind, Policy, PolicyConfig};
use futures::StreamExt;
use inotify::{EventStream, Inotify, WatchMask};
use tokio::signal::unix::Signal;
use tokio::sync::{mpsc, watch};
use tracing::{error, info, warn};

use crate::settings::{self, Document, Settings, node_config};
use crate::strategies::{self, Shelf};

/// How long files must be quiet before they are read: editors write in several steps.
const QUIET: Duration = Duration::from_millis(150);

/// Watches the settings file and the components it names.
pub(crate) struct Reloader {
    file: PathBuf,
    settings: Settings,
    /// The strategies in force, as they were configured.
    chosen: PolicyConfig,
    policy: Arc<Policy>,
    engine: mpsc::Sender<Request>,
    place: Place,
    listen: watch::Sender<Option<SocketAddr>>,
    contents: Contents,
    /// What was refused last, so that it is said once and not with every change of another file.
    refused: Option<String>,
}

/// What a reloader starts from.
pub(crate) struct Begun {
    /// The settings file.
    pub(crate) file: PathBuf,
    /// What it said.
    pub(crate) settings: Settings,
    /// The strategies that it chose.
    pub(crate) chosen: PolicyConfig,
    /// Those strategies, loaded.
    pub(crate) policy: Arc<Policy>,
    /// Where this node is.
    pub(crate) place: Place,
    /// Where metrics are served.
    pub(crate) listen: watch::Sender<Option<SocketAddr>>,
}

/// What settings must fit besides themselves.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// Who the node was when it started.
    pub(crate) identity: NodeIdentity,
    /// What its type allows.
    pub(crate) instance_type: InstanceType,
}

impl Reloader {
    /// A reloader that tells `engine`.
    pub(crate) fn new(begun: Begun, engine: mpsc::Sender<Request>) -> Self {
        let Begun { file, settings, chosen, policy, place, listen } = begun;
        let file = std::path::absolute(&file).unwrap_or(file);
        let contents = Contents::of(&[&chosen]);
        Self { file, settings, chosen, policy, engine, place, listen, contents, refused: None }
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
                    self.refused = None;
                }
                () = changed => tokio::time::sleep(QUIET).await,
            }
        }
    }

    /// Every file whose change matters.
    fn watched(&self) -> BTreeSet<PathBuf> {
        let mut files: BTreeSet<PathBuf> = self.contents.0.keys().cloned().collect();
        files.insert(self.file.clone());
        files.insert(Shelf::of(&self.settings).sums());
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
        let mut document = match settings::load(&self.file) {
            Ok(document) => document,
            Err(problems) => {
                return self
                    .refuse(&problems, "the settings file is not taken over; the running settings stay");
            }
        };
        self.keep_what_needs_a_restart(&mut document.settings);
        let zone = self.place.identity.zone.clone();
        let config = node_config(&document.settings, &zone);
        if let Err(why) = config.check(&self.place.identity, &self.place.instance_type) {
            return self.refuse(&why, "the settings file is not taken over; the running settings stay");
        }
        // Reads files, and asks components when something is wrong: EC2's replies must not wait for that.
        let after = match tokio::task::block_in_place(|| strategies::choose(&document)) {
            Ok(after) => PolicyConfig { house: self.chosen.house.clone(), ..after },
            Err(problems) => {
                return self
                    .refuse(&problems, "the settings file is not taken over; the running settings stay");
            }
        };
        let differs = |kind: &Kind| after.of(*kind) != self.chosen.of(*kind);
        let changed: Vec<Kind> = Kind::ALL.into_iter().filter(differs).collect();
        // Also what a refused change names is watched: another file may put it right.
        let found = tokio::task::block_in_place(|| Contents::of(&[&after, &self.chosen]));
        self.note_strays(&found, &changed);
        self.contents = found;
        let prepared = match self.prepare(&document, &after, &changed).await {
            Ok(prepared) => prepared,
            Err(why) => {
                let stays = "nothing of the change is taken over; the running settings and strategies stay";
                return self.refuse(&why, stays);
            }
        };
        self.refused = None;
        for prepared in prepared {
            let report = self.policy.switch(prepared);
            info!(kind = %report.kind, strategy = %report.label, replaced = ?report.replaced, "strategy taken over");
        }
        let taken = document.settings;
        self.chosen = after;
        if config != node_config(&self.settings, &zone) {
            info!("settings taken over");
            // The engine is gone only at shutdown.
            let _gone = self.engine.send(Request::Reconfigure { config: Box::new(config) }).await;
        }
        if !changed.is_empty() {
            let _gone = self.engine.send(Request::StrategyReplaced).await;
        }
        self.listen.send_if_modified(|listen| std::mem::replace(listen, taken.observe.listen) != *listen);
        self.settings = taken;
    }

    /// Puts the running settings in place of those that take effect at the next start, so that until then the
    /// running ones hold everywhere.
    fn keep_what_needs_a_restart(&self, new: &mut Settings) {
        let running = &self.settings;
        let new_trust = (new.engine.trusted_keys.clone(), new.engine.require_signatures);
        let (trusted_keys, require_signatures) = new_trust;
        let engine = settings::Engine { trusted_keys, require_signatures, ..running.engine.clone() };
        for (part, changed) in [
            (
                "[node] runtime_dir, confinement",
                (&new.node.runtime_dir, new.node.confinement)
                    != (&running.node.runtime_dir, running.node.confinement),
            ),
            ("[cloud]", new.cloud != running.cloud),
            ("[kubernetes]", new.kubernetes != running.kubernetes),
            (
                "[network] veth_prefix, connmark, ip_family, egress, duplicate_address_detection",
                as_wired(&new.network, &running.network) != new.network,
            ),
            ("[engine] isolation, cache_dir, store_dir", new.engine != engine),
        ] {
            if changed {
                warn!(
                    part,
                    "takes effect at the next start; pods that run then keep what they have: drain the node first"
                );
            }
        }
        new.node.runtime_dir.clone_from(&running.node.runtime_dir);
        new.node.confinement = running.node.confinement;
        new.cloud.clone_from(&running.cloud);
        new.kubernetes.clone_from(&running.kubernetes);
        new.network = as_wired(&new.network, &running.network);
        new.engine = engine;
    }

    /// Says what is refused, unless it was refused for the same reason just before.
    fn refuse(&mut self, why: &dyn fmt::Display, what_stays: &str) {
        let why = why.to_string();
        if self.refused.as_ref() != Some(&why) {
            error!(reason = %why, "{what_stays}");
            self.refused = Some(why);
        }
    }

    /// Says once of every component file in force that it became another one while its digest in the settings
    /// stayed the same.
    fn note_strays(&self, found: &Contents, changed: &[Kind]) {
        for kind in Kind::ALL.into_iter().filter(|kind| !changed.contains(kind)) {
            for (file, pinned) in strategies::components(self.chosen.of(kind)) {
                let (before, now) = (self.contents.0.get(file), found.0.get(file));
                if before == now || now == Some(&Some(*pinned)) {
                    continue;
                }
                let digest = now.copied().flatten().map(|digest| digest.to_string());
                error!(
                    %kind, file = %file.display(), %pinned, found = digest.as_deref().unwrap_or("unreadable"),
                    "the component file changed and its digest in the settings did not: it is refused, and the \
                     running component stays"
                );
            }
        }
    }

    /// Loads all changed strategies beside those in force: a change is taken over as a whole or not at all. When the
    /// trusted keys changed, the others must stand up to them, too.
    async fn prepare(
        &self,
        document: &Document,
        after: &PolicyConfig,
        changed: &[Kind],
    ) -> Result<Vec<Prepared>, String> {
        let trust_changed = after.trust != self.chosen.trust;
        let unchanged = |kind: &Kind| trust_changed && !changed.contains(kind);
        let unchanged: Vec<Kind> = Kind::ALL.into_iter().filter(unchanged).collect();
        let changed = changed.to_vec();
        let (policy, document, after) = (Arc::clone(&self.policy), document.clone(), after.clone());
        let prepared = tokio::task::spawn_blocking(move || {
            let all = || {
                unchanged.iter().try_for_each(|kind| policy.try_out(*kind, &after))?;
                changed
                    .iter()
                    .map(|kind| policy.prepare(*kind, &after))
                    .collect::<Result<Vec<_>, LoadError>>()
            };
            all().map_err(|why| strategies::refused(&document, &policy, why).to_string())
        });
        prepared.await.map_err(|why| why.to_string())?
    }
}

/// The new settings with what running pods are wired with: their rules and connections refer to it.
fn as_wired(new: &settings::Network, running: &settings::Network) -> settings::Network {
    settings::Network {
        veth_prefix: running.veth_prefix.clone(),
        connmark: running.connmark,
        families: running.families,
        egress: running.egress,
        duplicate_address_detection: running.duplicate_address_detection,
        ..new.clone()
    }
}

/// What component files hold now; `None` for a file that cannot be read.
#[derive(Debug, PartialEq, Eq)]
struct Contents(BTreeMap<PathBuf, Option<Digest>>);

impl Contents {
    /// Of all files behind `configs`.
    fn of(configs: &[&PolicyConfig]) -> Self {
        let lineups = configs.iter().flat_map(|config| Kind::ALL.map(|kind| config.of(kind)));
        let files = lineups.flat_map(strategies::components).map(|(file, _)| file);
        Self(files.map(|file| (file.clone(), strategies::digest_of(file).ok())).collect())
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
