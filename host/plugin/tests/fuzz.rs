//! Whatever a runtime or a daemon sends: no panic, one JSON document with a known code, and an end.
//!
//! The program itself is run some hundreds of times on mutated calls, its parsers many thousands of times in process. A run
//! that fails names its seed; `ENID_FUZZ_SEED=<seed> ENID_FUZZ_RUNS=1` repeats it, and more runs look further.
#![allow(clippy::unwrap_used, reason = "a test that cannot arrange its world fails")]

mod stage;

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::sync::{Arc, Mutex};

use enid_protocol::cni::call::{Call, Verb};
use enid_protocol::cni::code::Code;
use enid_protocol::cni::config::{NetConfig, version_for_errors};
use enid_protocol::cni::error::CniError;
use enid_protocol::cni::result::{self, Answering};
use enid_protocol::cni::version::{CniVersion, version_document};
use enid_protocol::message::{Failed, Reply, Request};
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use stage::{Act, Outcome, Runtime, Stage, added, added_two_cards, annotated};

const VERBS: [&str; 6] = ["ADD", "CHECK", "DEL", "GC", "STATUS", "VERSION"];
const VARIABLES: [&str; 11] = [
    "BAGGAGE",
    "CNI_ARGS",
    "CNI_COMMAND",
    "CNI_CONTAINERID",
    "CNI_IFNAME",
    "CNI_NETNS",
    "CNI_NETNS_OVERRIDE",
    "CNI_PATH",
    "LD_PRELOAD_OF_NOBODY",
    "TRACEPARENT",
    "TRACESTATE",
];

/// A code that no version of the plugin has.
const OF_THE_DAEMON: u32 = 4711;

/// Chance from a seed (splitmix64).
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    fn one_of<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }

    fn bytes(&mut self, longest: usize) -> Vec<u8> {
        let length = self.below(longest);
        (0..length).map(|_| self.next() as u8).collect()
    }

    /// Some bytes changed, doubled, cut out or put in.
    fn mutate(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len());
            let end = (at + self.below(40)).min(bytes.len());
            match self.below(6) {
                0 if !bytes.is_empty() => bytes[at] ^= 1 << self.below(8),
                1 => drop(bytes.drain(at..end)),
                2 => {
                    let part = bytes[at..end].to_vec();
                    bytes.splice(at..at, part);
                }
                3 => drop(bytes.splice(at..at, self.bytes(16))),
                4 => bytes.truncate(at),
                _ => {
                    let tokens: [&[u8]; 8] = [
                        b"null",
                        b"{}",
                        b"[]",
                        b"-1e999",
                        b"\"\\ud800\"",
                        b"18446744073709551616",
                        b",",
                        b"\xff",
                    ];
                    let token = self.one_of(&tokens).to_vec();
                    bytes.splice(at..end, token);
                }
            }
        }
    }

    fn value(&mut self) -> Value {
        match self.below(8) {
            0 => Value::Null,
            1 => json!(self.next() & 1 == 0),
            2 => json!(self.next() as i64),
            3 => json!("x".repeat(self.below(5000))),
            4 => json!(String::from_utf8_lossy(&self.bytes(40))),
            5 => json!([self.next(), "a", null]),
            6 => json!({ "type": "host-local", "cni": { "K8S_POD_NAME": "a\u{7f}\n" }, "ips": [{}] }),
            _ => {
                json!({ "interfaces": [{}, 1], "ips": [{ "interface": 0, "address": "::/0" }], "routes": null })
            }
        }
    }
}

/// A call that was right before something was done to it. Whatever comes of it, it names this stage's socket and spool, or
/// is no configuration: nothing else of the machine is touched.
fn mutated(stage: &Stage, chance: &mut Chance) -> Runtime {
    let verb = *chance.one_of(&VERBS);
    let previous = json!({
        "interfaces": [{ "name": "eth0", "sandbox": "/n" }],
        "ips": [{ "interface": 0, "address": "10.0.1.7/32" }],
    });
    let mut extra = json!({ "prevResult": previous, "timeout_secs": 1, "cni.dev/valid-attachments": [{ "containerID": "c1", "ifname": "eth0" }] });
    if chance.below(3) == 0 {
        extra["runtimeConfig"] = annotated("multi-nic-attachment")["runtimeConfig"].take();
    }
    let version = *chance.one_of(&["0.3.1", "0.4.0", "1.0.0", "1.1.0", "1.1.0", "1.1.0"]);
    let mut config = stage.config(version, extra);
    let keys: Vec<String> =
        config.as_object().unwrap().keys().filter(|key| *key != "socket").cloned().collect();
    let mut call = Runtime::new(verb);
    for _ in 0..chance.below(3) {
        let key = if chance.below(4) == 0 { "ipam".to_owned() } else { chance.one_of(&keys).clone() };
        config[key] = chance.value();
    }
    let mut stdin = config.to_string().into_bytes();
    if chance.below(2) == 0 {
        let whole = stdin.clone();
        chance.mutate(&mut stdin);
        let object: Option<Map<String, Value>> = serde_json::from_slice(&stdin).ok();
        let at_home = |object: Map<String, Value>| {
            object.get("socket") == config.get("socket") && object.get("spool").is_none()
        };
        if !object.is_none_or(at_home) {
            stdin = whole;
        }
    }
    for _ in 0..chance.below(3) {
        let variable = *chance.one_of(&VARIABLES);
        call = match chance.below(4) {
            0 => call.unset(variable),
            1 => call.set(variable, "x;=/".repeat(chance.below(20_000))),
            _ => {
                let mut bytes = chance.bytes(60);
                bytes.retain(|byte| *byte != 0);
                call.set(variable, OsString::from_vec(bytes))
            }
        };
    }
    call.stdin(stdin)
}

/// What a daemon that may be anything answers.
fn act(request: &Request, chance: &mut Chance) -> Act {
    let reply = match request.verb() {
        "add" => Reply::Added(added()),
        "add_every_card" => added_two_cards().into_reply(),
        "check" => Reply::Checked,
        _ => Reply::Done,
    };
    match chance.below(5) {
        0 => Act::Raw(chance.bytes(400)),
        1 => {
            let mut bytes = reply.to_frame().unwrap();
            chance.mutate(&mut bytes);
            Act::Raw(bytes)
        }
        2 => {
            let message = String::from_utf8_lossy(&chance.bytes(3000)).into_owned();
            Act::Reply(Reply::Failed(Failed { code: OF_THE_DAEMON, details: message.clone(), message }))
        }
        _ => Act::Reply(reply),
    }
}

/// What holds for every call.
fn judge(outcome: &Outcome) -> Result<(), String> {
    let wrong = |what: &str| Err(format!("{what}: {outcome:?}"));
    let about =
        outcome.code == Some(0) && outcome.stdout.is_empty() && outcome.stderr.starts_with("enid-cni ");
    if !outcome.stderr.is_empty() && !about {
        return wrong("something on stderr");
    }
    let document: Value = match (outcome.code, outcome.stdout.as_str()) {
        (Some(0), "") => return Ok(()),
        (Some(0 | 1), text) if text.lines().count() == 1 => match serde_json::from_str(text) {
            Ok(document) => document,
            Err(_) => return wrong("no JSON on stdout"),
        },
        _ => return wrong("neither success nor an error with one document"),
    };
    if !document["cniVersion"].is_string() {
        return wrong("no version");
    }
    let code = document["code"].as_u64();
    // A mutated reply may have any code, and the plugin passes on what it does not know.
    let known = code
        .is_some_and(|code| code > 111 || Code::ALL.iter().any(|known| u64::from(known.number()) == code));
    match outcome.code {
        Some(0) if code.is_some() => wrong("success with an error's document"),
        Some(1) if !known => wrong("an unknown code"),
        _ => Ok(()),
    }
}

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).map_or(otherwise, |text| text.parse().unwrap())
}

#[test]
fn no_call_and_no_reply_makes_the_program_panic_or_say_anything_but_one_document() {
    let (seed, runs) = (number("ENID_FUZZ_SEED", 1), number("ENID_FUZZ_RUNS", 400));
    let mut succeeded = 0;
    for seed in seed..seed + runs {
        let mut chance = Chance(seed);
        let stage = Stage::new();
        let call = mutated(&stage, &mut chance);
        let there = chance.below(4) > 0;
        let chance = Arc::new(Mutex::new(chance));
        let _daemon =
            there.then(|| stage.daemon(move |heard| act(&heard.request, &mut chance.lock().unwrap())));
        // It ends by itself: `run` waits for no longer than its patience.
        let outcome = call.run();
        judge(&outcome).unwrap_or_else(|why| panic!("seed {seed}: {why}"));
        succeeded += u64::from(outcome.code == Some(0));
    }
    assert!(
        runs < 100 || (runs / 20..runs).contains(&succeeded),
        "{succeeded} of {runs} succeeded: too one-sided"
    );
    println!("{runs} calls from seed {seed}, {succeeded} of which succeeded");
}

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,20}".prop_map(Value::from),
        prop::sample::select(vec![
            "1.1.0",
            "0.3.1",
            "eth0",
            "10.0.1.7/32",
            "/n",
            "c1",
            "multi-nic-attachment"
        ])
        .prop_map(Value::from),
    ];
    let keys = vec![
        "address",
        "args",
        "cni",
        "cniVersion",
        "cni.dev/attachments",
        "cni.dev/valid-attachments",
        "containerID",
        "dns",
        "ifname",
        "interface",
        "interfaces",
        "io.kubernetes.cri.pod-annotations",
        "ipMasq",
        "ipam",
        "ips",
        "k8s.amazonaws.com/nicConfig",
        "name",
        "prevResult",
        "routes",
        "runtimeConfig",
        "sandbox",
        "socket",
        "spool",
        "timeout_secs",
        "type",
        "odd",
    ];
    leaf.prop_recursive(4, 40, 6, move |inner| {
        let key = prop_oneof![prop::sample::select(keys.clone()).prop_map(str::to_owned), ".{0,8}"];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(key, inner, 0..8)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

/// A result as earlier plugins may have printed it: nearly right, with indices that point anywhere.
fn results() -> impl Strategy<Value = Value> {
    let interface = prop_oneof![
        values(),
        (prop::sample::select(vec!["eth0", "lo", "mNicIf1", ""]), prop::sample::select(vec!["/n", ""]))
            .prop_map(|(name, sandbox)| json!({ "name": name, "sandbox": sandbox })),
    ];
    let index = prop_oneof![any::<i64>().prop_map(Value::from), (0..4).prop_map(Value::from), values()];
    let address = prop::sample::select(vec![
        "10.0.1.7/32",
        "10.0.1.7",
        "::/0",
        "2001:db8::7/128",
        "/",
        "10.0.1.777/32",
    ]);
    let ip = (index, address).prop_map(|(index, address)| json!({ "interface": index, "address": address }));
    let lists = (prop::collection::vec(interface, 0..4), prop::collection::vec(ip, 0..4), values());
    lists.prop_map(
        |(interfaces, ips, routes)| json!({ "interfaces": interfaces, "ips": ips, "routes": routes }),
    )
}

/// A configuration with some keys that may be anything.
fn configurations() -> impl Strategy<Value = Vec<u8>> {
    (values(), prop::option::of(results()), any::<bool>()).prop_map(|(mut value, previous, whole)| {
        if let Some(fields) = value.as_object_mut().filter(|_| whole) {
            fields.insert("cniVersion".to_owned(), json!("1.1.0"));
            fields.insert("name".to_owned(), json!("enid"));
            fields.extend(previous.map(|previous| ("prevResult".to_owned(), previous)));
        }
        value.to_string().into_bytes()
    })
}

/// A configuration that is right but for its previous result.
fn with_a_previous_result() -> impl Strategy<Value = Vec<u8>> {
    results().prop_map(|previous| {
        let config =
            json!({ "cniVersion": "1.1.0", "name": "enid", "type": "enid-cni", "prevResult": previous });
        config.to_string().into_bytes()
    })
}

fn is_an_error(error: &CniError, version: CniVersion) {
    assert!(Code::ALL.iter().any(|code| code.number() == error.code), "{error}");
    let document = error.document(version).to_string();
    assert!(document.len() < 100_000 && document.lines().count() == 1, "{document}");
    assert!(!error.message.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, max_shrink_iters: 2000, ..ProptestConfig::default() })]

    #[test]
    fn any_configuration_is_read_or_refused_by_a_code(
        stdin in prop_oneof![configurations(), with_a_previous_result()],
        verb in prop::sample::select(vec![Verb::Add, Verb::Check, Verb::Del, Verb::Gc, Verb::Status]),
    ) {
        match NetConfig::parse(&stdin, verb) {
            Err(error) => is_an_error(&error, version_for_errors(&stdin)),
            Ok(config) => {
                let answering = Answering {
                    version: config.version,
                    ifname: "eth0",
                    netns: "/n",
                    dns: config.dns.as_ref(),
                    previous: config.previous.as_ref(),
                };
                let result = result::document(&added_two_cards(), answering);
                prop_assert_eq!(&result["cniVersion"], config.version.as_str());
                if let Some(previous) = &config.previous {
                    drop(previous.addresses_of("eth0"));
                }
            }
        }
        prop_assert!(version_document(&stdin)["cniVersion"].is_string());
    }

    #[test]
    fn any_environment_is_read_or_refused_by_a_code(
        verb in prop::sample::select(VERBS.to_vec()),
        variables in prop::collection::btree_map(prop::sample::select(VARIABLES.to_vec()), prop::collection::vec(any::<u8>(), 0..300), 0..11),
        texts in prop::collection::btree_map(prop::sample::select(VARIABLES.to_vec()), "[ -~]{0,40}", 0..11),
    ) {
        let call = Call::read(|name| {
            let text = texts.get(name).map(OsString::from);
            let bytes = || variables.get(name).map(|bytes| OsString::from_vec(bytes.clone()));
            if name == "CNI_COMMAND" { Some(verb.into()) } else { text.or_else(bytes) }
        });
        if let Err(error) = call {
            is_an_error(&error, CniVersion::CURRENT);
        }
    }

    #[test]
    fn any_reply_is_read_or_refused(body in prop_oneof![
        prop::collection::vec(any::<u8>(), 0..200),
        values().prop_map(|value| json!({ "v": 1, "reply": { "added_interfaces": value } }).to_string().into_bytes()),
        values().prop_map(|value| json!({ "v": 1, "reply": value }).to_string().into_bytes()),
        values().prop_map(|value| json!({ "v": 1, "reply": { "failed": value } }).to_string().into_bytes()),
    ]) {
        if let Err(error) = Reply::from_body(&body) {
            prop_assert!(!error.to_string().is_empty());
        }
        if let Err(error) = Request::from_body(&body) {
            prop_assert!(matches!(error.to_reply(), Reply::Failed(_)));
        }
    }
}
