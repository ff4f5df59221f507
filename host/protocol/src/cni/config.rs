//! The network configuration on stdin (spec 1.1.0, "Plugin configuration objects").

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Map, Value};

use super::annotations::Nics;
use super::args::CniArgs;
use super::call::{Verb, is_cni_name, is_interface_name};
use super::code::Code;
use super::error::CniError;
use super::version::CniVersion;
use crate::message::{FURTHER_INTERFACE, MAX_VALID, ValidAttachment};

/// Where the daemon listens unless the configuration says otherwise.
pub const DEFAULT_SOCKET: &str = "/run/enid/enid.sock";
/// How long ADD may take: attaching an ENI takes a minute on a bad day, and runtimes give up at 220 s.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(90);
/// How long GC may take: it may have a whole node's pods to take away.
pub const GC_TIMEOUT: Duration = Duration::from_secs(30);
/// How long CHECK and DEL may take: they have nothing slow to wait for.
pub const SHORT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long STATUS may take: runtimes ask every few seconds, and the daemon answers from memory.
pub const STATUS_TIMEOUT: Duration = Duration::from_secs(2);
/// What `timeout_secs` may be.
const TIMEOUT_RANGE: std::ops::RangeInclusive<u64> = 1..=200;
/// `sun_path` has 108 bytes, the last of which is zero.
const MAX_SOCKET_PATH: usize = 107;
/// The largest stdin. A pod may have 256 KiB of annotations, and Go's JSON writes a byte as six at worst (`<` as
/// `\u003c`): that is 1.5 MiB, which must not keep a DEL from tearing down what the ADD before it made.
pub const MAX_STDIN: usize = 4 * 1024 * 1024;

/// Keys that the spec defines, each handled or meant for others.
const STANDARD_KEYS: [&str; 12] = [
    "args",
    "capabilities",
    "cniVersion",
    // Switches of the runtime's, which whoever calls all the same has decided about.
    "disableCheck",
    "disableGC",
    "dns",
    "ipMasq",
    "ipam",
    "name",
    "prevResult",
    "runtimeConfig",
    "type",
];
/// Where GC finds what is valid, the key of the spec first: libcni sends both, for the spec's text once had the other.
const VALID_KEYS: [&str; 2] = ["cni.dev/valid-attachments", "cni.dev/attachments"];
/// Keys of enid.
const OWN_KEYS: [&str; 3] = ["socket", "spool", "timeout_secs"];

/// A network configuration that can be meant.
#[derive(Clone, Debug, PartialEq)]
pub struct NetConfig {
    /// The version that the result must have.
    pub version: CniVersion,
    /// The network's name.
    pub name: String,
    /// The daemon's socket.
    pub socket: PathBuf,
    /// Where DELs wait when the daemon is away.
    pub spool: PathBuf,
    /// How long this call may take.
    pub timeout: Duration,
    /// `dns`, passed through to the result.
    pub dns: Option<Value>,
    /// `args.cni`: wins over `CNI_ARGS`.
    pub args: CniArgs,
    /// How many interfaces the pod wants. Only ADD asks.
    pub nics: Nics,
    /// `prevResult`, when there is one. Its lists are lists.
    pub previous: Option<Previous>,
    /// What GC leaves alone, each once. Only GC has any.
    pub valid: Vec<ValidAttachment>,
}

/// The result of the plugins before this one; at CHECK, of the whole chain.
#[derive(Clone, Debug, PartialEq)]
pub struct Previous(pub(super) Map<String, Value>);

impl Previous {
    /// The addresses that the result puts on the pod's interfaces: on `ifname`, and on those that enid named. In
    /// any version's form.
    pub fn addresses_of(&self, ifname: &str) -> Vec<IpAddr> {
        let interfaces = list(&self.0, "interfaces");
        let is_ours = |ip: &Value| {
            let index = ip.get("interface").and_then(Value::as_u64).and_then(|i| usize::try_from(i).ok());
            index.and_then(|index| interfaces.get(index)).is_some_and(|interface| {
                let text = |key| interface.get(key).and_then(Value::as_str).unwrap_or_default();
                let name = text("name");
                (name == ifname || name.starts_with(FURTHER_INTERFACE)) && !text("sandbox").is_empty()
            })
        };
        let address = |ip: &Value| {
            let text = ip.get("address").and_then(Value::as_str)?;
            text.split('/').next()?.parse().ok()
        };
        list(&self.0, "ips").iter().filter(|ip| is_ours(ip)).filter_map(address).collect()
    }
}

impl NetConfig {
    /// Reads stdin for `verb`. DEL forgives whatever ADD would refuse in keys that it does not need.
    pub fn parse(stdin: &[u8], verb: Verb) -> Result<NetConfig, CniError> {
        let object = decode(stdin)?;
        let version = version_of(&object)?;
        if !version.has(verb) {
            let message = format!("{verb} does not exist in cniVersion {version}");
            return Err(CniError::new(
                Code::IncompatibleVersion,
                message,
                "raise `cniVersion` in the conflist",
            ));
        }
        let mut reading = Reading { object: &object, faults: Vec::new() };
        let name = reading.name();
        reading.plugin_type();
        let (socket, spool) = reading.paths();
        let timeout = match verb {
            Verb::Add => reading.timeout().unwrap_or(DEFAULT_TIMEOUT),
            Verb::Check | Verb::Del | Verb::Version => reading.timeout_up_to(SHORT_TIMEOUT),
            Verb::Gc => reading.timeout_up_to(GC_TIMEOUT),
            Verb::Status => reading.timeout_up_to(STATUS_TIMEOUT),
        };
        let (mut previous, mut dns, mut valid) = (None, None, Vec::new());
        match verb {
            // What ADD would refuse, STATUS must not call well.
            Verb::Add | Verb::Check | Verb::Status => {
                reading.addressing();
                dns = reading.dns();
                previous = reading.previous();
                reading.unknown_keys();
            }
            // Takes away for good, so it forgives nothing that might mean something else.
            Verb::Gc => {
                reading.addressing();
                valid = reading.valid();
                reading.unknown_keys();
            }
            Verb::Del | Verb::Version => {}
        }
        if verb == Verb::Check && previous.is_none() {
            reading.wrong("`prevResult` is missing: CHECK compares with it");
        }
        let args = reading.args();
        let nics = if verb == Verb::Add { reading.nics() } else { Nics::One };
        reading.outcome()?;
        Ok(NetConfig { version, name, socket, spool, timeout, dns, args, nics, previous, valid })
    }
}

/// The version to report an error in: the configuration's when it can be read, else the newest.
pub fn version_for_errors(stdin: &[u8]) -> CniVersion {
    decode(stdin).and_then(|object| version_of(&object)).unwrap_or(CniVersion::CURRENT)
}

fn decode(stdin: &[u8]) -> Result<Map<String, Value>, CniError> {
    if stdin.len() > MAX_STDIN {
        let message = format!("the network configuration exceeds {MAX_STDIN} bytes");
        return Err(CniError::new(Code::InvalidConfig, message, "shorten what the runtime sends on stdin"));
    }
    let hint = "the container runtime sends the network configuration on stdin";
    let undecodable = |message: String| CniError::new(Code::Undecodable, message, hint);
    if stdin.iter().all(u8::is_ascii_whitespace) {
        return Err(undecodable("stdin is empty: no network configuration".to_owned()));
    }
    match serde_json::from_slice(stdin) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) => {
            Err(undecodable("the network configuration is not a JSON object".to_owned()))
        }
        Err(error) => Err(undecodable(format!("the network configuration is not JSON: {error}"))),
    }
}

fn version_of(object: &Map<String, Value>) -> Result<CniVersion, CniError> {
    let text = match object.get("cniVersion") {
        None | Some(Value::Null) => CniVersion::WHEN_ABSENT,
        Some(Value::String(text)) if text.is_empty() => CniVersion::WHEN_ABSENT,
        Some(Value::String(text)) => text,
        Some(other) => {
            let message = format!("`cniVersion` is {}, not a string", shown(other));
            return Err(CniError::new(Code::InvalidConfig, message, "write it as \"1.0.0\""));
        }
    };
    CniVersion::parse(text).ok_or_else(|| {
        let spoken = CniVersion::ALL.map(CniVersion::as_str).join(", ");
        let message = format!("cniVersion `{}` is not supported", text.chars().take(40).collect::<String>());
        CniError::new(Code::IncompatibleVersion, message, format!("supported: {spoken}"))
    })
}

/// Reads key by key and collects every fault.
struct Reading<'a> {
    object: &'a Map<String, Value>,
    faults: Vec<(Code, String)>,
}

impl Reading<'_> {
    fn wrong(&mut self, message: impl Into<String>) {
        self.faults.push((Code::InvalidConfig, message.into()));
    }

    /// A key's value; JSON null counts as absent.
    fn value(&self, key: &str) -> Option<Value> {
        self.object.get(key).filter(|value| !value.is_null()).cloned()
    }

    fn string(&mut self, key: &str) -> Option<String> {
        let value = self.value(key)?;
        if value.as_str().is_none() {
            self.wrong(format!("`{key}` is {}, not a string", shown(&value)));
        }
        value.as_str().map(str::to_owned)
    }

    fn name(&mut self) -> String {
        let faults = self.faults.len();
        let name = self.string("name").unwrap_or_default();
        if self.faults.len() == faults && !is_cni_name(&name) {
            self.wrong(if name.is_empty() {
                "`name` is missing".to_owned()
            } else {
                format!(
                    "`name` {} is malformed (letters, digits, `_`, `.`, `-`)",
                    shown(&Value::from(name.as_str()))
                )
            });
        }
        name
    }

    fn plugin_type(&mut self) {
        if let Some(kind) = self.string("type")
            && kind.contains(['/', '\\'])
        {
            self.wrong(format!("`type` {} is a path", shown(&Value::from(kind))));
        }
    }

    fn path(&mut self, key: &str, longest: usize) -> Option<PathBuf> {
        let text = self.string(key)?;
        if !text.starts_with('/') || text.contains('\0') || text.len() > longest {
            let why = format!("must be an absolute path of at most {longest} bytes");
            self.wrong(format!("`{key}` {} {why}", shown(&Value::from(text))));
            return None;
        }
        Some(PathBuf::from(text))
    }

    fn paths(&mut self) -> (PathBuf, PathBuf) {
        let socket = self.path("socket", MAX_SOCKET_PATH).unwrap_or_else(|| PathBuf::from(DEFAULT_SOCKET));
        let beside = socket.parent().unwrap_or(Path::new("/")).join("spool");
        let spool = self.path("spool", 4000).unwrap_or(beside);
        (socket, spool)
    }

    fn timeout(&mut self) -> Option<Duration> {
        let value = self.value("timeout_secs")?;
        match value.as_u64().filter(|secs| TIMEOUT_RANGE.contains(secs)) {
            Some(secs) => Some(Duration::from_secs(secs)),
            None => {
                let (low, high) = TIMEOUT_RANGE.into_inner();
                self.wrong(format!("`timeout_secs` {} must be a number from {low} to {high}", shown(&value)));
                None
            }
        }
    }

    fn timeout_up_to(&mut self, longest: Duration) -> Duration {
        self.timeout().unwrap_or(longest).min(longest)
    }

    /// The attachments that GC must leave alone. A list that cannot be read in full is as good as none, and none is
    /// not the empty one: whoever sends nothing has not said that nothing is valid.
    fn valid(&mut self) -> Vec<ValidAttachment> {
        let listed = VALID_KEYS.into_iter().find_map(|key| Some((key, self.value(key)?)));
        let Some((key, listed)) = listed else {
            self.wrong(format!("`{}` is missing: without it nothing may go", VALID_KEYS[0]));
            return Vec::new();
        };
        let Some(listed) = listed.as_array() else {
            self.wrong(format!("`{key}` is {}, not a list", shown(&listed)));
            return Vec::new();
        };
        if listed.len() > MAX_VALID {
            let count = listed.len();
            self.wrong(format!("`{key}` lists {count} attachments, and more than {MAX_VALID} are no node's"));
            return Vec::new();
        }
        let valid: Result<BTreeSet<ValidAttachment>, &Value> =
            listed.iter().map(|entry| valid_attachment(entry).ok_or(entry)).collect();
        valid.map(|valid| valid.into_iter().collect()).unwrap_or_else(|entry| {
            let form = "{\"containerID\":…,\"ifname\":…}";
            self.wrong(format!("`{key}` has {}, which is not {form} of names as CNI has them", shown(entry)));
            Vec::new()
        })
    }

    /// The daemon allocates and translates: a configuration that asks for another's work is refused.
    fn addressing(&mut self) {
        if let Some(ipam) = self.value("ipam")
            && ipam.as_object().is_none_or(|ipam| !ipam.is_empty())
        {
            self.faults
                .push((Code::UnsupportedField, format!("`ipam` {}: enid allocates itself", shown(&ipam))));
        }
        if let Some(masq) = self.value("ipMasq") {
            let off = masq == Value::Bool(false)
                || masq.as_str().is_some_and(|text| text.eq_ignore_ascii_case("false"));
            if !off {
                let message = format!("`ipMasq` {}: SNAT is a setting of the daemon", shown(&masq));
                self.faults.push((Code::UnsupportedField, message));
            }
        }
    }

    fn dns(&mut self) -> Option<Value> {
        let dns = self.value("dns")?;
        match dns.as_object() {
            Some(fields) if fields.is_empty() => None,
            Some(_) => Some(dns),
            None => {
                self.wrong(format!("`dns` is {}, not an object", shown(&dns)));
                None
            }
        }
    }

    fn previous(&mut self) -> Option<Previous> {
        let value = self.value("prevResult")?;
        let Value::Object(object) = value else {
            self.wrong(format!("`prevResult` is {}, not an object", shown(&value)));
            return None;
        };
        for key in ["interfaces", "ips", "routes"] {
            if object.get(key).is_some_and(|value| !value.is_array() && !value.is_null()) {
                self.wrong(format!("`prevResult.{key}` is not a list"));
            }
        }
        Some(Previous(object))
    }

    fn args(&mut self) -> CniArgs {
        let cni = self.object.get("args").and_then(|args| args.get("cni"));
        let text = |key| {
            let text = cni.and_then(|cni| cni.get(key)).and_then(Value::as_str);
            text.filter(|text| !text.is_empty()).map(str::to_owned)
        };
        CniArgs { namespace: text("K8S_POD_NAMESPACE"), name: text("K8S_POD_NAME"), uid: text("K8S_POD_UID") }
    }

    fn nics(&mut self) -> Nics {
        let Some(runtime_config) = self.value("runtimeConfig") else { return Nics::One };
        Nics::asked_for(&runtime_config).unwrap_or_else(|fault| {
            self.wrong(fault);
            Nics::One
        })
    }

    /// A key that is not understood may change what is asked for, so it is refused by name and value
    /// (spec 1.1.0, "Error" code 2). Keys under `cni.dev/` are reserved by CNI and ignored.
    fn unknown_keys(&mut self) {
        for (key, value) in self.object {
            let known = STANDARD_KEYS.contains(&key.as_str()) || OWN_KEYS.contains(&key.as_str());
            if !known && !key.starts_with("cni.dev/") {
                let key: String = key.chars().take(60).collect();
                self.faults.push((
                    Code::UnsupportedField,
                    format!("unknown key `{key}` with value {}", shown(value)),
                ));
            }
        }
    }

    fn outcome(self) -> Result<(), CniError> {
        let Some((code, _)) = self.faults.first() else { return Ok(()) };
        let texts: Vec<&str> = self.faults.iter().map(|(_, text)| text.as_str()).collect();
        let message = format!("network configuration: {}", texts.join("; "));
        let own = OWN_KEYS.join(", ");
        let details =
            format!("keys are changed in the conflist (enid-cni's own are {own}), annotations in the pod");
        Err(CniError::new(*code, message, details))
    }
}

fn valid_attachment(entry: &Value) -> Option<ValidAttachment> {
    let text = |key| entry.get(key).and_then(Value::as_str).map(str::to_owned);
    Some(ValidAttachment {
        container: text("containerID").filter(|container| is_cni_name(container))?,
        ifname: text("ifname").filter(|ifname| is_interface_name(ifname))?,
    })
}

fn list<'a>(object: &'a Map<String, Value>, key: &str) -> &'a [Value] {
    object.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// A value as JSON, cut short.
pub(super) fn shown(value: &Value) -> String {
    value.to_string().chars().take(60).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn parse(extra: Value, verb: Verb) -> Result<NetConfig, CniError> {
        let mut config = json!({ "cniVersion": "1.1.0", "name": "enid", "type": "enid-cni" });
        let Value::Object(extra) = extra else { panic!("not an object") };
        for (key, value) in extra {
            config[key] = value;
        }
        NetConfig::parse(config.to_string().as_bytes(), verb)
    }

    fn refused(extra: Value, verb: Verb) -> (u32, String) {
        let error = parse(extra, verb).unwrap_err();
        (error.code, error.message)
    }

    #[test]
    fn defaults_hold_when_nothing_is_said() {
        let config = parse(json!({}), Verb::Add).unwrap();
        assert_eq!(config.socket, Path::new("/run/enid/enid.sock"));
        assert_eq!(config.spool, Path::new("/run/enid/spool"));
        assert_eq!(config.timeout, Duration::from_secs(90));
        let empty = || json!({ "cni.dev/valid-attachments": [] });
        for (verb, most) in [(Verb::Del, 10), (Verb::Gc, 30), (Verb::Status, 2)] {
            assert_eq!(parse(empty(), verb).unwrap().timeout, Duration::from_secs(most), "{verb}");
            let mut longer = empty();
            longer["timeout_secs"] = json!(100);
            assert_eq!(parse(longer, verb).unwrap().timeout, Duration::from_secs(most), "{verb}");
        }
        let moved = parse(json!({ "socket": "/a/b.sock", "timeout_secs": 3 }), Verb::Del).unwrap();
        assert_eq!((moved.spool.as_path(), moved.timeout), (Path::new("/a/spool"), Duration::from_secs(3)));
    }

    #[test]
    fn what_cannot_be_read_is_code_6() {
        for stdin in ["", "  \n", "nonsense", "{", "[]", "1", "{} {}"] {
            assert_eq!(NetConfig::parse(stdin.as_bytes(), Verb::Add).unwrap_err().code, 6, "{stdin}");
        }
    }

    #[test]
    fn versions_gate_configurations_and_verbs() {
        for (version, verb, ok) in [
            (json!("0.3.1"), Verb::Add, true),
            (json!("0.3.1"), Verb::Check, false),
            (json!("1.0.0"), Verb::Status, false),
            (json!("1.0.0"), Verb::Gc, false),
            (json!("1.1.0"), Verb::Status, true),
            (json!("0.2.0"), Verb::Add, false),
            (json!("2.0.0"), Verb::Add, false),
            (json!(null), Verb::Add, false),
        ] {
            let outcome = parse(json!({ "cniVersion": version }), verb);
            assert_eq!(
                outcome.as_ref().map_err(|error| error.code).err(),
                (!ok).then_some(1),
                "{version} {verb}"
            );
        }
        assert_eq!(refused(json!({ "cniVersion": 1 }), Verb::Add).0, 7);
    }

    #[test]
    fn unknown_keys_are_named_with_their_value_and_del_forgives_them() {
        let (code, message) = refused(json!({ "vethPrefix": "eni", "mtu": "9001" }), Verb::Add);
        assert_eq!(code, 2);
        assert!(
            message.contains("`mtu` with value \"9001\"") && message.contains("`vethPrefix`"),
            "{message}"
        );
        let reserved = json!({ "cni.dev/valid-attachments": [], "runtimeConfig": { "anything": 1 }, "ipam": {}, "ipMasq": "false" });
        assert!(parse(reserved, Verb::Add).is_ok());
        assert!(parse(json!({ "mtu": "9001", "prevResult": "garbage", "ipam": 3 }), Verb::Del).is_ok());
        assert_eq!(refused(json!({ "ipam": { "type": "host-local" } }), Verb::Add).0, 2);
        assert_eq!(refused(json!({ "ipMasq": true }), Verb::Add).0, 2);
    }

    #[test]
    fn all_faults_are_told_together() {
        let (code, message) = refused(
            json!({ "name": "", "socket": "enid.sock", "timeout_secs": 0, "type": "../sh", "dns": [] }),
            Verb::Add,
        );
        assert_eq!(code, 7);
        for part in ["`name` is missing", "`socket`", "`timeout_secs` 0", "is a path", "`dns`"] {
            assert!(message.contains(part), "{part} in {message}");
        }
    }

    #[test]
    fn gc_reads_what_is_valid_once_and_in_full_or_not_at_all() {
        let entry = |container: &str| json!({ "containerID": container, "ifname": "eth0", "more": 1 });
        let containers = |extra: Value| {
            let valid = parse(extra, Verb::Gc).unwrap().valid;
            valid.into_iter().map(|valid| valid.container).collect::<Vec<_>>()
        };
        let (new, old) = ("cni.dev/valid-attachments", "cni.dev/attachments");
        assert_eq!(containers(json!({ new: [entry("b"), entry("a"), entry("b")] })), ["a", "b"]);
        assert_eq!(containers(json!({ new: [], old: [entry("a")] })), Vec::<String>::new());
        assert_eq!(containers(json!({ new: null, old: [entry("a")] })), ["a"]);
        assert_eq!(containers(json!({ old: [entry("a")] })), ["a"]);
        let many = |count: usize| (0..count).map(|n| entry(&format!("c{n}"))).collect::<Vec<_>>();
        assert_eq!(containers(json!({ new: many(MAX_VALID) })).len(), MAX_VALID);
        for (extra, part) in [
            (json!({}), "is missing"),
            (json!({ new: null }), "is missing"),
            (json!({ new: {} , old: [] }), "not a list"),
            (json!({ new: [entry("a"), entry("../a")] }), "../a"),
            (json!({ new: [{ "containerID": "a", "ifname": "" }] }), "which is not"),
            (json!({ new: [{ "containerID": "a" }] }), "which is not"),
            (json!({ new: ["a"] }), "\"a\""),
            (json!({ new: many(MAX_VALID + 1) }), "4097"),
        ] {
            let (code, message) = refused(extra, Verb::Gc);
            assert_eq!(code, 7);
            assert!(message.contains(part), "{part} in {message}");
        }
        assert!(parse(json!({}), Verb::Add).unwrap().valid.is_empty());
    }

    #[test]
    fn status_finds_wrong_what_add_would_refuse() {
        for (extra, code) in [
            (json!({ "ipam": { "type": "host-local" } }), 2),
            (json!({ "ipMasq": true }), 2),
            (json!({ "vethPrefix": "eni" }), 2),
            (json!({ "dns": [] }), 7),
            (json!({ "name": "" }), 7),
        ] {
            for verb in [Verb::Add, Verb::Status] {
                assert_eq!(refused(extra.clone(), verb).0, code, "{verb} {extra}");
            }
        }
    }

    #[test]
    fn check_needs_a_previous_result() {
        assert_eq!(refused(json!({}), Verb::Check).0, 7);
        assert_eq!(refused(json!({ "prevResult": { "ips": 3 } }), Verb::Check).0, 7);
    }

    #[test]
    fn previous_addresses_are_those_of_our_interfaces() {
        let previous = json!({ "prevResult": {
            "interfaces": [
                { "name": "eth0" },
                { "name": "eth0", "sandbox": "/n" },
                { "name": "net1", "sandbox": "/n" },
                { "name": "mNicIf1", "sandbox": "/n" },
            ],
            "ips": [
                { "version": "4", "interface": 1, "address": "10.0.0.7/32" },
                { "interface": 0, "address": "10.0.0.8/32" },
                { "interface": 2, "address": "10.0.0.9/32" },
                { "interface": 9, "address": "10.0.0.10/32" },
                { "version": "6", "interface": 1, "address": "2001:db8::7/128" },
                { "interface": 3, "address": "10.0.1.7/32" },
                { "interface": 1, "address": "2001:db8::zz/128" },
                { "address": "10.0.0.11/32" },
                7,
            ],
        } });
        let config = parse(previous, Verb::Check).unwrap();
        let seen: Vec<_> =
            config.previous.unwrap().addresses_of("eth0").iter().map(ToString::to_string).collect();
        assert_eq!(seen, ["10.0.0.7", "2001:db8::7", "10.0.1.7"]);
    }

    #[test]
    fn only_add_minds_what_the_annotations_say() {
        let asking = |value: &str| {
            let annotations = json!({ "k8s.amazonaws.com/nicConfig": value });
            json!({
                "prevResult": {},
                "runtimeConfig": { "io.kubernetes.cri.pod-annotations": annotations },
            })
        };
        assert_eq!(parse(asking("multi-nic-attachment"), Verb::Add).unwrap().nics, Nics::EveryCard);
        assert_eq!(parse(json!({}), Verb::Add).unwrap().nics, Nics::One);
        let (code, message) = refused(asking("two"), Verb::Add);
        assert_eq!(code, 7);
        assert!(message.contains("`k8s.amazonaws.com/nicConfig` is \"two\""), "{message}");
        for verb in [Verb::Check, Verb::Del] {
            assert_eq!(parse(asking("two"), verb).unwrap().nics, Nics::One, "{verb}");
        }
    }

    #[test]
    fn a_pod_may_have_all_the_annotations_that_kubernetes_allows() {
        const KUBERNETES_ALLOWS: usize = 256 * 1024;
        let annotation = "\\u003c".repeat(KUBERNETES_ALLOWS);
        let stdin = format!(
            r#"{{"cniVersion":"1.1.0","name":"pods","type":"enid-cni",
                "runtimeConfig":{{"io.kubernetes.cri.pod-annotations":{{"example.com/a":"{annotation}"}}}}}}"#
        );
        for verb in [Verb::Add, Verb::Del] {
            assert!(NetConfig::parse(stdin.as_bytes(), verb).is_ok(), "{verb}");
        }
        let more = " ".repeat(MAX_STDIN + 1);
        assert_eq!(NetConfig::parse(more.as_bytes(), Verb::Del).unwrap_err().code, 7);
    }

    #[test]
    fn args_win_over_nothing_else_in_the_file() {
        let config = parse(json!({ "args": { "cni": { "K8S_POD_NAME": "web" } } }), Verb::Add).unwrap();
        assert_eq!(config.args.name.as_deref(), Some("web"));
        assert!(parse(json!({ "args": 3 }), Verb::Add).is_ok());
    }

    proptest! {
        #[test]
        fn garbage_never_panics(stdin in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = NetConfig::parse(&stdin, Verb::Add);
        }

        #[test]
        fn any_value_under_any_key_never_panics(key in prop::sample::select(STANDARD_KEYS.into_iter().chain(OWN_KEYS).chain(VALID_KEYS).collect::<Vec<_>>()), number: i64, text in ".{0,20}") {
            for value in [json!(number), json!(text), json!([text]), json!({ &text: number }), json!(null), json!(true)] {
                for verb in [Verb::Add, Verb::Check, Verb::Del, Verb::Gc, Verb::Status] {
                    let _ = parse(json!({ key: value }), verb);
                }
            }
        }
    }
}
