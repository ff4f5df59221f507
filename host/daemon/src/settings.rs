//! The operator's settings: `enid.toml` read once into values that cannot be wrong.
//!
//! `enid run` and `enid check-settings` use the same [`load`]. Every problem of a file is reported together, each
//! with line, key, value and what would be right; what components say about their settings comes on top, in
//! `strategies`. A setting that is left out has the default that its field documents; `deploy/enid.toml` shows
//! all of them.

mod document;
mod places;
mod problem;
mod strategy;

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use enid_component_store::TrustedKeys;
use enid_core::limits::Mode;
use enid_core::wiring::{MTU_RANGE, SnatPorts, VethPrefix};
use enid_policy_wasm::runtime::Place as Isolation;
use ipnet::Ipv4Net;
use toml::de::DeTable;

use document::{Reading, Section, line_of};
pub(crate) use places::Places;
pub use problem::{Problem, Problems};
pub use strategy::{Lineup, Role, Source, Strategies, Strategy, StrategyLimits};

/// Bytes that a settings file may have: far more than anyone writes, far less than hurts.
const MAX_FILE: u64 = 1024 * 1024;
/// EC2 allows 50 tags on a resource; ten are kept for the daemon's own.
const MAX_TAGS: usize = 40;
/// Ranges that are never translated; each costs a rule element, and nobody has this many.
const MAX_EXCLUDED: usize = 256;
/// Keys whose signatures count; each is tried on every component.
const MAX_KEYS: usize = 16;
/// Bytes of the runtime directory's path: sockets in it must fit the 107 that the kernel allows.
const MAX_RUNTIME_DIR: usize = 80;

/// Everything that an operator may set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// `[node]`: this node.
    pub node: Node,
    /// `[cloud]`: how EC2 and instance metadata are reached.
    pub cloud: Cloud,
    /// `[pool]`: the node's supply of addresses.
    pub pool: Pool,
    /// `[network]`: links, routes and translation.
    pub network: Network,
    /// `[tags]`: put on every ENI that is created, besides the daemon's own. Default: none. Keys that contain
    /// `k8s.amazonaws.com` are refused: they tell owners of ENIs apart.
    pub tags: BTreeMap<String, String>,
    /// `[engine]`: how strategy components are run, and which are trusted.
    pub engine: Engine,
    /// `[strategy.…]`: who decides.
    pub strategies: Strategies,
}

/// `[node]`: this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Where sockets, journal and spool are. Default `/run/enid`: on a file system that a reboot empties,
    /// because sandboxes do not survive one either.
    pub runtime_dir: PathBuf,
    /// The cluster whose subnet tags are honoured (`cni.networking.k8s.aws/cluster/NAME`). Default: none, and
    /// subnets tagged for any cluster are left alone.
    pub cluster_name: Option<String>,
    /// Pods that the node may carry. Default: none, and the max-pods strategy answers.
    pub max_pods: Option<u32>,
    /// Where strategies are found by name. Default: `strategies` next to the daemon's executable.
    pub strategy_dir: Option<PathBuf>,
}

impl Default for Node {
    fn default() -> Self {
        Self { runtime_dir: "/run/enid".into(), cluster_name: None, max_pods: None, strategy_dir: None }
    }
}

/// `[cloud]`: how EC2 and instance metadata are reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cloud {
    /// The region. Default: what instance metadata says.
    pub region: Option<String>,
    /// EC2's address. Default: the region's public endpoint; set it for VPC endpoints and for the lab.
    pub ec2_endpoint: Option<Endpoint>,
    /// Instance metadata's address. Default: `http://169.254.169.254`; set it for the lab.
    pub imds_endpoint: Option<Endpoint>,
    /// How long one attempt of one call may take, in seconds. Default 10: EC2 answers within one, and pods
    /// wait for what follows.
    pub timeout: Duration,
}

impl Default for Cloud {
    fn default() -> Self {
        Self { region: None, ec2_endpoint: None, imds_endpoint: None, timeout: Duration::from_secs(10) }
    }
}

/// The base of an HTTP service: `http://` or `https://`, a host, perhaps a port and a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint(String);

impl Endpoint {
    /// The address as text, without a trailing slash.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"))?;
        let authority = rest.split('/').next().filter(|authority| !authority.is_empty())?;
        let plain = text.len() <= 1024
            && text.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#@\\\"".contains(&byte));
        let port = authority.rsplit_once(':').map(|(_, port)| port).filter(|port| !port.ends_with(']'));
        let port_fits = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port != 0));
        let named = !authority.starts_with(':');
        (plain && port_fits && named).then(|| Self(text.trim_end_matches('/').to_owned()))
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `[pool]`: the node's supply of addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Single secondary addresses or delegated prefixes. Default `secondary-ip`, the only mode so far.
    pub mode: Mode,
    /// ENIs to use at most, the primary included. Default: what the instance type allows.
    pub max_enis: Option<u32>,
    /// How long an address rests after its pod is gone, in seconds. Default 30: time for other nodes and
    /// load balancers to forget the pod before its address means another one.
    pub cooldown: Duration,
    /// How long an ADD waits for supply before it fails with its reason, in seconds. Default 60: an ENI takes
    /// some 20 to appear. Stay below the plugin's own patience (`timeout_secs` in the network configuration,
    /// 90 unless said otherwise), or the runtime never sees the reason.
    pub wait: Duration,
}

impl Default for Pool {
    fn default() -> Self {
        Self {
            mode: Mode::SecondaryIp,
            max_enis: None,
            cooldown: Duration::from_secs(30),
            wait: Duration::from_secs(60),
        }
    }
}

/// `[network]`: links, routes and translation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// MTU of ENIs, in bytes. Default 9001, the VPC's.
    pub mtu: u32,
    /// MTU of pods' interfaces, in bytes. Default: that of ENIs, and never above it.
    pub pod_mtu: u32,
    /// Start of host veth names. Default `eni`, which other agents' rules expect.
    pub veth_prefix: VethPrefix,
    /// Whether a NAT gateway translates pods' traffic to outside the VPC, instead of this node. Default false:
    /// works in public subnets.
    pub external_snat: bool,
    /// How source ports are chosen in translation. Default `prng`: random ports avoid collisions when many
    /// pods ask the same server.
    pub snat_ports: SnatPorts,
    /// Ranges outside the VPC that are not translated either. Default: none.
    pub exclude_snat_cidrs: Vec<Ipv4Net>,
    /// Whether replies of NodePort services leave through the primary ENI, where they came in. Default true.
    pub node_port: bool,
}

impl Network {
    /// How this node translates pods' traffic to outside the VPC; `None` when a gateway does.
    pub fn snat(&self) -> Option<SnatPorts> {
        (!self.external_snat).then_some(self.snat_ports)
    }
}

impl Default for Network {
    fn default() -> Self {
        Self {
            mtu: *MTU_RANGE.end(),
            pod_mtu: *MTU_RANGE.end(),
            veth_prefix: VethPrefix::default(),
            external_snat: false,
            snat_ports: SnatPorts::Prng,
            exclude_snat_cidrs: Vec::new(),
            node_port: true,
        }
    }
}

/// `[engine]`: how strategy components are run, and which are trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Engine {
    /// Where components run. Default `process`: a child without rights, so that not even a fault in the engine
    /// itself reaches the daemon. `in-process` saves its memory, and leaves WebAssembly's own walls.
    pub isolation: Isolation,
    /// Where compiled components are kept. Default `/var/cache/enid`; it may be emptied at any time.
    pub cache_dir: PathBuf,
    /// Where `enid strategy pull` puts components and digests are looked up. Default `/var/lib/enid/components`.
    pub store_dir: PathBuf,
    /// Keys whose signatures count. Default: none.
    pub trusted_keys: TrustedKeys,
    /// Whether a component that is not shipped and has no signature of a trusted key is refused. Default false: a digest says which
    /// component it is, and whoever can write the settings can write that.
    pub require_signatures: bool,
}

impl Default for Engine {
    fn default() -> Self {
        Self {
            isolation: Isolation::default(),
            cache_dir: "/var/cache/enid".into(),
            store_dir: "/var/lib/enid/components".into(),
            trusted_keys: TrustedKeys::default(),
            require_signatures: false,
        }
    }
}

/// A settings file that was read.
#[derive(Clone, Debug)]
pub struct Document {
    /// The file.
    pub file: PathBuf,
    /// What it says; a setting with a problem has its default.
    pub settings: Settings,
    /// What is wrong with it so far.
    pub problems: Vec<Problem>,
    /// Where its settings stand.
    pub(crate) places: Places,
}

impl Document {
    /// All settings, as if no file had been read.
    pub fn defaults() -> Self {
        let places = Places::default();
        Self { file: PathBuf::new(), settings: Settings::default(), problems: Vec::new(), places }
    }
}

/// Reads a settings file and checks everything in it that can be told without running a component. An error
/// leaves nothing to go on with: the file is unreadable, or no TOML.
pub fn load(file: &Path) -> Result<Document, Problems> {
    let unreadable = |why: String| Problems(vec![Problem::Unreadable { file: file.to_owned(), why }]);
    let mut bytes = Vec::new();
    File::open(file).and_then(|open| open.take(MAX_FILE + 1).read_to_end(&mut bytes)).map_err(|why| {
        unreadable(format!("cannot read the settings: {why}; write the file, or name another"))
    })?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(unreadable(format!("larger than {MAX_FILE} bytes, and so not a settings file")));
    }
    let text = String::from_utf8(bytes).map_err(|why| unreadable(format!("not UTF-8 text: {why}")))?;
    parse(&text, file)
}

/// The same for the text of a settings file. `file` names it in problems, and paths in it are relative to its
/// directory.
pub fn parse(text: &str, file: &Path) -> Result<Document, Problems> {
    let (table, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        let syntax = errors.iter().map(|error| Problem::Syntax {
            file: file.to_owned(),
            line: line_of(text, error.span().map_or(0, |span| span.start)),
            why: error.message().replace('\n', ", "),
        });
        return Err(Problems(syntax.collect()));
    }
    let (settings, Reading { problems, places, .. }) = read(text, file, table.get_ref());
    Ok(Document { file: file.to_owned(), settings, problems, places })
}

fn read<'d>(text: &'d str, file: &'d Path, table: &'d DeTable<'d>) -> (Settings, Reading) {
    let directory = file.parent().unwrap_or(Path::new(""));
    document::read(file, text, table, |root| Settings {
        node: root.section("node", |section| Node::read(section, directory)),
        cloud: root.section("cloud", Cloud::read),
        pool: root.section("pool", Pool::read),
        network: root.section("network", Network::read),
        tags: read_tags(root),
        engine: root.section("engine", |section| Engine::read(section, directory)),
        strategies: root.section("strategy", |section| Strategies::read(section, directory)),
    })
}

impl Node {
    fn read(section: &mut Section<'_, '_>, directory: &Path) -> Self {
        let default = Self::default();
        let runtime_dir = section.text(
            "runtime_dir",
            &format!("an absolute path of at most {MAX_RUNTIME_DIR} bytes, so that sockets fit in it"),
            |path| {
                (path.starts_with('/') && path.len() <= MAX_RUNTIME_DIR && is_path(path)).then(|| path.into())
            },
        );
        Self {
            runtime_dir: runtime_dir.unwrap_or(default.runtime_dir),
            cluster_name: section.text("cluster_name", "1 to 100 letters, digits, `.`, `_` or `-`", |name| {
                is_name(name, 100, b"._-").then(|| name.to_owned())
            }),
            max_pods: section.integer("max_pods", 1..=10_000, "pods").map(narrow),
            strategy_dir: section.text("strategy_dir", "the path of a directory", |path| {
                is_path(path).then(|| directory.join(path))
            }),
        }
    }
}

impl Cloud {
    fn read(section: &mut Section<'_, '_>) -> Self {
        let url =
            "a URL that starts with http:// or https:// and names a host, like \"http://10.0.0.2:8080\"";
        Self {
            region: section.text("region", "the name of a region, like \"eu-central-1\"", |name| {
                is_name(name, 64, b"-").then(|| name.to_owned())
            }),
            ec2_endpoint: section.text("ec2_endpoint", url, Endpoint::parse),
            imds_endpoint: section.text("imds_endpoint", url, Endpoint::parse),
            timeout: secs(section, "timeout_secs", 1..=60, Self::default().timeout),
        }
    }
}

impl Pool {
    fn read(section: &mut Section<'_, '_>) -> Self {
        let default = Self::default();
        let modes = "\"secondary-ip\"; \"prefix\" is refused until the release that brings the address modes";
        Self {
            mode: section
                .text("mode", modes, |mode| (mode == "secondary-ip").then_some(Mode::SecondaryIp))
                .unwrap_or_default(),
            max_enis: section.integer("max_enis", 1..=128, "ENIs").map(narrow),
            cooldown: secs(section, "cooldown_secs", 0..=3600, default.cooldown),
            wait: secs(section, "wait_secs", 0..=110, default.wait),
        }
    }
}

impl Network {
    fn read(section: &mut Section<'_, '_>) -> Self {
        let default = Self::default();
        let (least, most) = (u64::from(*MTU_RANGE.start()), u64::from(*MTU_RANGE.end()));
        let mtu = section.integer("mtu", least..=most, "bytes").map_or(default.mtu, narrow);
        let pod_mtu = section.integer("pod_mtu", least..=u64::from(mtu), "bytes (never above `mtu`)");
        let prefix = "1 to 4 letters or digits, and none of \"eth\", \"lo\", \"vlan\"";
        let excluded = section.texts(
            "exclude_snat_cidrs",
            MAX_EXCLUDED,
            "an IPv4 range like \"10.8.0.0/16\"",
            |range| range.parse::<Ipv4Net>().ok().map(|range| range.trunc()),
        );
        Self {
            mtu,
            pod_mtu: pod_mtu.map_or(mtu, narrow),
            veth_prefix: section
                .text("veth_prefix", prefix, |text| VethPrefix::try_from(text.to_owned()).ok())
                .unwrap_or(default.veth_prefix),
            external_snat: section.flag("external_snat").unwrap_or(default.external_snat),
            snat_ports: section
                .text("snat_ports", "\"prng\", \"hashrandom\" or \"none\"", snat_ports)
                .unwrap_or(default.snat_ports),
            exclude_snat_cidrs: excluded.unwrap_or(default.exclude_snat_cidrs),
            node_port: section.flag("node_port").unwrap_or(default.node_port),
        }
    }
}

impl Engine {
    fn read(section: &mut Section<'_, '_>, directory: &Path) -> Self {
        let default = Self::default();
        let path = |section: &mut Section<'_, '_>, key| {
            section.text(key, "the path of a directory", |path| is_path(path).then(|| directory.join(path)))
        };
        let mut keys: Vec<String> = Vec::new();
        let mut trusted_keys = default.trusted_keys;
        let key =
            "a minisign public key that is not listed yet, alone (\"RWQ…\") or with a name (\"NAME=RWQ…\")";
        section.texts("trusted_keys", MAX_KEYS, key, |text| {
            keys.push(text.to_owned());
            let all = TrustedKeys::parse(&keys);
            if all.is_err() {
                keys.pop();
            }
            trusted_keys = all.ok()?;
            Some(())
        });
        let required = if trusted_keys.is_empty() {
            "false: no key is trusted, see trusted_keys"
        } else {
            "true or false"
        };
        Self {
            isolation: section
                .text("isolation", "\"process\" or \"in-process\"", isolation)
                .unwrap_or(default.isolation),
            cache_dir: path(section, "cache_dir").unwrap_or(default.cache_dir),
            store_dir: path(section, "store_dir").unwrap_or(default.store_dir),
            require_signatures: section
                .flag_if("require_signatures", required, |flag| !flag || !trusted_keys.is_empty())
                .unwrap_or(default.require_signatures),
            trusted_keys,
        }
    }
}

fn isolation(text: &str) -> Option<Isolation> {
    match text {
        "process" => Some(Isolation::Process),
        "in-process" => Some(Isolation::InProcess),
        _ => None,
    }
}

fn snat_ports(text: &str) -> Option<SnatPorts> {
    match text {
        "prng" => Some(SnatPorts::Prng),
        "hashrandom" => Some(SnatPorts::HashRandom),
        "none" => Some(SnatPorts::None),
        _ => None,
    }
}

fn read_tags(root: &mut Section<'_, '_>) -> BTreeMap<String, String> {
    let mut tags = BTreeMap::new();
    for entry in root.table("tags").unwrap_or_default() {
        let key = format!("tags.{}", entry.key);
        let reserved = entry.key.contains("k8s.amazonaws.com") || entry.key.starts_with("aws:");
        let key_fits = (1..=128).contains(&entry.key.chars().count());
        let value = entry.value.as_str().filter(|value| value.chars().count() <= 256);
        if reserved {
            root.refuse(
                &key,
                &entry,
                "left out: keys with `k8s.amazonaws.com` or `aws:` are not the operator's",
            );
        } else if tags.len() == MAX_TAGS {
            root.refuse(
                &key,
                &entry,
                &format!("left out: at most {MAX_TAGS} tags fit on an ENI besides our own"),
            );
        } else if let Some(value) = value.filter(|_| key_fits) {
            tags.insert(entry.key.to_owned(), value.to_owned());
        } else {
            root.refuse(&key, &entry, "text of at most 256 characters, under a key of 1 to 128");
        }
    }
    tags
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
