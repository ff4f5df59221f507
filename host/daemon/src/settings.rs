//! The operator's settings: `enid.toml` read once into values that cannot be wrong.
//!
//! `enid run` and `enid check-settings` use the same [`load`]. Every problem of a file is reported together, each
//! with line, key, value and what would be right; what components say about their settings comes on top, in
//! `strategies`. A setting that is left out has the value of the incumbent's environment variable that stands for it
//! (see `environment`), else the default that its field documents; `deploy/enid.toml` shows all of them.
//!
//! Map: `node`, `cloud`, `budget`, `kubernetes`, `pool`, `network`, `custom_networking`, `tags`, `observe`, `engine`, `strategy` the
//! sections; `document` and `written` how they are read; `places` and `problem` what is said about them; `effective`
//! which are not the default; `node_config` what decisions depend on.

mod budget;
mod cloud;
mod custom_networking;
mod document;
mod effective;
mod engine;
mod kubernetes;
mod network;
mod node;
mod node_config;
mod observe;
mod places;
mod pool;
mod problem;
mod strategy;
mod tags;
mod written;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use enid_core::node::EniConfig;
use toml::de::DeTable;

use crate::environment::{Idle, Overlay, Variables};
use document::{Reading, Section};
use written::{Written, line_of};

pub use budget::Budget;
pub use cloud::{Cloud, Endpoint};
pub use custom_networking::CustomNetworking;
pub use engine::Engine;
pub use kubernetes::{Asker, Kubernetes};
pub use network::Network;
pub use node::{Confinement, Node};
pub(crate) use node_config::node_config;
pub use observe::Observe;
pub(crate) use places::Places;
pub use pool::Pool;
pub use problem::{Problem, Problems, Remark};
pub use strategy::{Lineup, Role, Source, Strategies, Strategy, StrategyLimits};
pub(crate) use written::{Filling, sets};

/// Bytes that a settings file may have: far more than anyone writes, far less than hurts.
pub(crate) const MAX_FILE: u64 = 1024 * 1024;

/// Everything that an operator may set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// `[node]`: this node.
    pub node: Node,
    /// `[cloud]`: how EC2 and instance metadata are reached.
    pub cloud: Cloud,
    /// `[budget]`: how much of the account's EC2 call limits this node takes.
    pub budget: Budget,
    /// `[kubernetes]`: how the cluster is asked.
    pub kubernetes: Kubernetes,
    /// `[pool]`: the node's supply of addresses.
    pub pool: Pool,
    /// `[network]`: links, routes and translation.
    pub network: Network,
    /// `[custom_networking]`: whether pods' ENIs are in other subnets than the primary's.
    pub custom_networking: CustomNetworking,
    /// `[eni_config.NAME]`: those subnets, with their security groups. Default: none.
    pub eni_configs: BTreeMap<String, EniConfig>,
    /// `[tags]`: put on every ENI that is created, besides the daemon's own. Default: none. Keys that contain
    /// `k8s.amazonaws.com` are refused: they tell owners of ENIs apart.
    pub tags: BTreeMap<String, String>,
    /// `[observe]`: what is seen of the daemon from outside.
    pub observe: Observe,
    /// `[engine]`: how strategy components are run, and which are trusted.
    pub engine: Engine,
    /// `[strategy.…]`: who decides.
    pub strategies: Strategies,
}

/// A settings file that was read, and the variables beside it.
#[derive(Clone, Debug)]
pub struct Document {
    /// The file.
    pub file: PathBuf,
    /// What it says; a setting with a problem has its default.
    pub settings: Settings,
    /// What is wrong with it so far.
    pub problems: Vec<Problem>,
    /// What is allowed and probably not meant.
    pub remarks: Vec<Remark>,
    /// Variables that are set and change nothing.
    pub(crate) idle: Vec<Idle>,
    /// Where its settings stand.
    pub(crate) places: Places,
    written: Written,
}

impl Document {
    /// All settings, as if no file had been read.
    pub fn defaults() -> Self {
        Self {
            file: PathBuf::new(),
            settings: Settings::default(),
            problems: Vec::new(),
            remarks: Vec::new(),
            idle: Vec::new(),
            places: Places::default(),
            written: Written::default(),
        }
    }
}

/// Reads a settings file, with the variables of this process beside it, and checks everything that can be told
/// without running a component. An error leaves nothing to go on with: the file is unreadable, or no TOML.
pub fn load(file: &Path) -> Result<Document, Problems> {
    parse(&text_of(file)?, file, &Variables::of_process())
}

/// The text of a file of settings or variables.
pub(crate) fn text_of(file: &Path) -> Result<String, Problems> {
    let unreadable = |why: String| Problems(vec![Problem::Unreadable { file: file.to_owned(), why }]);
    let mut bytes = Vec::new();
    File::open(file).and_then(|open| open.take(MAX_FILE + 1).read_to_end(&mut bytes)).map_err(|why| {
        unreadable(format!("cannot read the settings: {why}; write the file, or name another"))
    })?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(unreadable(format!("larger than {MAX_FILE} bytes, and so not a settings file")));
    }
    String::from_utf8(bytes).map_err(|why| unreadable(format!("not UTF-8 text: {why}")))
}

/// The same for the text of a settings file. `file` names it in problems, and paths in it are relative to its
/// directory.
pub(crate) fn parse(text: &str, file: &Path, variables: &Variables) -> Result<Document, Problems> {
    let (table, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        let syntax = errors.iter().map(|error| Problem::Syntax {
            file: file.to_owned(),
            line: line_of(text, error.span().map_or(0, |span| span.start)),
            why: error.message().replace('\n', ", "),
        });
        return Err(Problems(syntax.collect()));
    }
    let mut table = table.into_inner();
    let Overlay { fillings, idle, mut problems } = Overlay::over(&table, variables);
    let written = Written::new(text, fillings);
    written.fill(&mut table);
    let (settings, reading) = read(file, &written, &table);
    let Reading { problems: of_reading, remarks, places, .. } = reading;
    problems.extend(of_reading);
    Ok(Document { file: file.to_owned(), settings, problems, remarks, idle, places, written })
}

fn read<'d>(file: &'d Path, written: &'d Written, table: &'d DeTable<'d>) -> (Settings, Reading) {
    let directory = file.parent().unwrap_or(Path::new(""));
    document::read(file, written, table, |root| {
        let network = root.section("network", Network::read);
        let settings = Settings {
            node: root.section("node", |section| Node::read(section, directory)),
            cloud: root.section("cloud", Cloud::read),
            budget: root.section("budget", Budget::read),
            kubernetes: root.section("kubernetes", |section| Kubernetes::read(section, directory)),
            pool: root.section("pool", Pool::read),
            custom_networking: root
                .section("custom_networking", |section| CustomNetworking::read(section, network.families)),
            eni_configs: custom_networking::read_eni_configs(root),
            network,
            tags: tags::read(root),
            observe: root.section("observe", Observe::read),
            engine: root.section("engine", |section| Engine::read(section, directory)),
            strategies: root.section("strategy", |section| Strategies::read(section, directory)),
        };
        custom_networking::remark(root, &settings);
        settings
    })
}

fn secs(
    section: &mut Section<'_, '_>,
    key: &'static str,
    range: std::ops::RangeInclusive<u64>,
    default: Duration,
) -> Duration {
    section.integer(key, range, "seconds").map_or(default, Duration::from_secs)
}

/// A number whose range was checked to fit.
fn narrow(number: u64) -> u32 {
    u32::try_from(number).expect("invariant: every range that is narrowed ends below 2^32")
}

/// `item`, unless it was `seen` before.
fn once<T: Clone + PartialEq>(seen: &mut Vec<T>, item: T) -> Option<T> {
    let new = !seen.contains(&item);
    new.then(|| {
        seen.push(item.clone());
        item
    })
}

/// Whether `name` is letters, digits and some of `further`, and starts with one of the former.
fn is_name(name: &str, longest: usize, further: &[u8]) -> bool {
    name.len() <= longest
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || further.contains(&byte))
}

/// Whether `path` could be one: not empty, without control characters, within the kernel's limit.
fn is_path(path: &str) -> bool {
    !path.is_empty() && path.len() < 4096 && !path.contains(char::is_control)
}

#[cfg(test)]
mod tests;
