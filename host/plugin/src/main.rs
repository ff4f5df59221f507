//! `enid-cni`: what the container runtime runs for every pod.
//!
//! Reads one CNI call, hands it to the daemon together with the pod's network namespace, and prints one
//! JSON document. Decides nothing about addresses, touches no network, keeps no state but the spool of
//! DELs that found no daemon, waits for nothing without a deadline, and never panics on what it is given.
//!
//! * [`stdin`]: the network configuration, read with a deadline.
//! * [`netns`]: the pod's namespace as a descriptor.
//! * [`daemon`]: one request, one reply.
//! * [`verb`]: what each CNI verb does with these.
//!
//! Exit codes: 0, or 1 with a CNI error on stdout whose code is of
//! [`Code`](enid_protocol::cni::code::Code)'s table.
#![forbid(unsafe_code)]

use std::env;
use std::io::{self, Write};
use std::process;

use enid_protocol::cni::call::Call;
use enid_protocol::cni::version::CniVersion;
use serde_json::Value;

mod daemon;
mod netns;
mod stdin;
mod verb;

fn main() -> ! {
    let answer = match Call::read(|name| env::var_os(name)) {
        Ok(call) => verb::perform(call),
        Err(error) => verb::Answer::Failed(error.document(CniVersion::CURRENT)),
    };
    let succeeded = match &answer {
        verb::Answer::About => {
            let versions = CniVersion::ALL.map(CniVersion::as_str).join(", ");
            // Nothing can be done for a person whose terminal is gone.
            let _ = writeln!(
                io::stderr(),
                "enid-cni {}: gives pods VPC addresses through the enid daemon; CNI versions {versions}.\n\
                 Container runtimes run it with CNI_COMMAND set (https://www.cni.dev/docs/spec/).",
                env!("CARGO_PKG_VERSION")
            );
            true
        }
        verb::Answer::Silent => true,
        verb::Answer::Document(document) => print(document).is_ok(),
        verb::Answer::Failed(document) => {
            // The exit code says it even if nobody reads the document.
            let _ = print(document);
            false
        }
    };
    // Without giving memory back piece by piece first: the runtime waits for the end.
    process::exit(i32::from(!succeeded))
}

/// The one write to stdout.
fn print(document: &Value) -> io::Result<()> {
    let mut text = document.to_string();
    text.push('\n');
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}
