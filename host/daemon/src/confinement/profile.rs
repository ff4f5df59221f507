//! The list in the form that container runtimes take (OCI runtime specification, "Seccomp").

use rustix::io::Errno;
use serde_json::{Value, json};

use super::calls::{ABSENT, ALLOWED, When};

/// The document: `deploy/seccomp.json`.
pub(crate) fn profile() -> String {
    let always = ALLOWED.iter().filter(|call| call.when.is_empty()).map(|call| call.name);
    let mut calls = vec![json!({ "names": always.collect::<Vec<_>>(), "action": "SCMP_ACT_ALLOW" })];
    // Of several entries for a call, one must hold.
    let conditional =
        ALLOWED.iter().flat_map(|call| call.when.iter().map(|when| (call.name, condition(*when))));
    calls.extend(conditional.map(
        |(name, condition)| json!({ "names": [name], "action": "SCMP_ACT_ALLOW", "args": [condition] }),
    ));
    let absent: Vec<&str> = ABSENT.iter().map(|call| call.name).collect();
    let unknown = Errno::NOSYS.raw_os_error();
    calls.push(json!({ "names": absent, "action": "SCMP_ACT_ERRNO", "errnoRet": unknown }));
    let document = json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 1,
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"],
        "syscalls": calls,
    });
    format!("{document:#}\n")
}

fn condition(when: When) -> Value {
    match when {
        When::Is(argument, value) => {
            json!({ "index": argument, "value": 0xffff_ffff_u32, "valueTwo": value, "op": "SCMP_CMP_MASKED_EQ" })
        }
        When::Lacks(argument, bits) => {
            json!({ "index": argument, "value": bits, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ" })
        }
    }
}
