//! Questions over the daemon's socket, and `enid explain`.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use clap::{Args, Subcommand, ValueEnum};
use enid_protocol::frame::FrameDecoder;
use enid_protocol::message::{Reply, Request, Subject};
use serde_json::Value;

use crate::failure::Failure;

/// How long the daemon may take to answer a person.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where and how.
#[derive(Debug, Args)]
pub(crate) struct How {
    /// The daemon's socket
    #[arg(long, default_value = "/run/enid/enid.sock")]
    socket: PathBuf,
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

impl How {
    /// The daemon's socket.
    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    /// How to print it.
    pub(crate) fn output(&self) -> Output {
        self.output
    }
}

/// How an answer is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people
    #[default]
    Text,
    /// For programs
    Json,
}

/// What to explain.
#[derive(Debug, Subcommand)]
pub(crate) enum What {
    /// One pod address: where it is in its life, why it is here, what happens next
    Address {
        /// For example 10.0.1.7, or 2001:db8::7
        address: std::net::IpAddr,
        #[command(flatten)]
        how: How,
    },
    /// One ENI
    Eni {
        /// For example eni-0123456789abcdef0
        id: String,
        #[command(flatten)]
        how: How,
    },
    /// One pod: its addresses, or what it waits for
    Pod {
        /// For example kube-system/coredns-57ff979f67-qqbdh
        pod: String,
        #[command(flatten)]
        how: How,
    },
}

/// `enid explain`.
pub(crate) fn explain(what: What) -> Result<(), Failure> {
    let (subject, how) = match what {
        What::Address { address, how } => (Subject::Address(address), how),
        What::Eni { id, how } => (Subject::Eni(id), how),
        What::Pod { pod, how } => {
            let (namespace, name) = pod.split_once('/').ok_or_else(|| {
                Failure::arguments(anyhow!("`{pod}` does not name a pod: write NAMESPACE/NAME"))
            })?;
            (Subject::Pod { namespace: namespace.to_owned(), name: name.to_owned() }, how)
        }
    };
    let report = ask(&how.socket, &Request::Explain { subject })?;
    match how.output {
        Output::Json => println!("{report:#}"),
        Output::Text => {
            for line in report["lines"].as_array().into_iter().flatten() {
                println!("{}", line.as_str().unwrap_or_default());
            }
        }
    }
    Ok(())
}

/// One question and its report.
pub(crate) fn ask(socket: &Path, request: &Request) -> Result<Value, Failure> {
    match exchange(socket, request, PATIENCE)? {
        Reply::Report(report) => Ok(report),
        Reply::Failed(failed) => Err(anyhow!("{} (code {})", failed.message, failed.code).into()),
        Reply::Added(_) | Reply::AddedInterfaces(_) | Reply::Checked | Reply::Done | Reply::Hello { .. } => {
            Err(anyhow!("the daemon answered something else than a report").into())
        }
    }
}

/// One question and its reply, within `patience`.
pub(crate) fn exchange(socket: &Path, request: &Request, patience: Duration) -> Result<Reply, Failure> {
    let mut stream = UnixStream::connect(socket).map_err(|why| {
        Failure::unavailable(anyhow!(
            "no daemon answers on {}: {why}; start `enid run`, or name its socket with --socket",
            socket.display()
        ))
    })?;
    // One that does not answer in time, or not to the end, is not there either.
    let reply = converse(&mut stream, request, patience);
    reply.with_context(|| format!("ask the daemon on {}", socket.display())).map_err(Failure::unavailable)
}

fn converse(stream: &mut UnixStream, request: &Request, patience: Duration) -> anyhow::Result<Reply> {
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    stream.write_all(&request.to_frame()?)?;
    let mut decoder = FrameDecoder::default();
    let mut buffer = [0u8; 16 * 1024];
    loop {
        if let Some(body) = decoder.next_body()? {
            return Ok(Reply::from_body(&body)?);
        }
        let read = stream.read(&mut buffer).context("no answer")?;
        if read == 0 {
            bail!("the daemon hung up");
        }
        decoder.push(&buffer[..read])?;
    }
}

/// A text in a report, or a dash.
pub(crate) fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or("-")
}
