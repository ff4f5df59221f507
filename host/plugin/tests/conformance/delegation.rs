//! Obligations towards delegated plugins, which enid has none of: C11, C60, C64, C72, C80, C81.
//!
//! A configuration that asks for one is refused where it could mean something, and forgiven by DEL; no program is run in any
//! case.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::stage::{Runtime, Stage};
use crate::{serving, wanted_by};

/// A `CNI_PATH` with an address manager in it that tells when it is run.
struct Trap {
    stage: Stage,
    path: PathBuf,
}

impl Trap {
    fn new() -> Trap {
        let stage = Stage::new();
        let path = stage.spool().with_file_name("bin");
        fs::create_dir(&path).unwrap();
        let trap = Trap { stage, path };
        let program = trap.path.join("host-local");
        fs::write(&program, format!("#!/bin/sh\ntouch {}\necho '{{}}'\n", trap.mark().display())).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        trap
    }

    fn mark(&self) -> PathBuf {
        self.path.join("was-run")
    }

    fn call(&self, verb: &str, extra: Value) -> Runtime {
        let mut all = wanted_by(verb);
        for (key, value) in extra.as_object().unwrap() {
            all[key] = value.clone();
        }
        self.stage.runtime(verb, all).set("CNI_PATH", &self.path)
    }

    /// The call is refused because of `ipam`, and nothing was run.
    fn refuses(&self, verb: &str, ipam: Value) {
        let (code, message) = self.call(verb, json!({ "ipam": ipam })).run().failed();
        assert!(code == 2 && message.contains("`ipam`"), "{verb} {message}");
        assert!(!self.mark().exists());
    }
}

#[test]
fn c11_types_are_never_used_as_paths() {
    let trap = Trap::new();
    let _daemon = serving(&trap.stage);
    for kind in ["../../bin/sh", "/bin/sh", "a/b", "a\\b", ".\\host-local"] {
        for verb in ["ADD", "CHECK", "DEL", "GC", "STATUS"] {
            let (code, message) = trap.call(verb, json!({ "type": kind })).run().failed();
            assert!(code == 7 && message.contains("`type`"), "{message}");
        }
        trap.refuses("ADD", json!({ "type": kind }));
    }
    assert!(!trap.mark().exists());
}

#[test]
fn c60_check_delegates_to_no_address_manager() {
    let trap = Trap::new();
    let _daemon = serving(&trap.stage);
    trap.refuses("CHECK", json!({ "type": "host-local" }));
    trap.call("CHECK", json!({ "ipam": {} })).run().succeeded();
}

#[test]
fn c64_status_delegates_to_no_address_manager() {
    let trap = Trap::new();
    let _daemon = serving(&trap.stage);
    trap.refuses("STATUS", json!({ "type": "host-local" }));
}

#[test]
fn c72_gc_delegates_to_no_address_manager() {
    let trap = Trap::new();
    let _daemon = serving(&trap.stage);
    trap.refuses("GC", json!({ "type": "host-local" }));
}

#[test]
fn c80_no_program_is_looked_for_in_the_plugin_path() {
    let trap = Trap::new();
    let _daemon = serving(&trap.stage);
    trap.refuses("ADD", json!({ "type": "host-local" }));
    // What ADD refused was never allocated, so DEL has nothing to hand on.
    trap.call("DEL", json!({ "ipam": { "type": "host-local" } })).run().succeeded();
    for verb in ["ADD", "CHECK", "DEL", "GC", "STATUS", "VERSION"] {
        trap.call(verb, json!({})).run().succeeded();
    }
    assert!(!trap.mark().exists());
}

#[test]
fn c81_the_result_is_a_whole_plugin_s_and_never_an_address_manager_s() {
    let trap = Trap::new();
    let _daemon = serving(&trap.stage);
    for version in ["0.3.1", "0.4.0", "1.0.0", "1.1.0"] {
        let outcome = trap.call("ADD", json!({ "cniVersion": version })).run();
        let result: Value = serde_json::from_str(outcome.succeeded()).unwrap();
        assert!(!result["interfaces"].as_array().unwrap().is_empty());
        assert!(result["ips"].as_array().unwrap().iter().all(|ip| ip["interface"].is_u64()), "{result}");
    }
}
