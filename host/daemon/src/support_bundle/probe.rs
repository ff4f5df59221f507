//! What the system says: the kernel's network, versions, and the daemon's own HTTP.

use std::fmt::Display;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

/// Bytes of one answer that are kept: a full node's routes are a tenth of it.
const MAX_ANSWER: u64 = 8 * 1024 * 1024;
/// How long the daemon may take for one page, and a program for all that it prints.
const PATIENCE: Duration = Duration::from_secs(10);
/// What enid's own nftables tables begin with.
const TABLES: &str = "enid";

/// A file's name, what it is, and what is in it.
type Found = (&'static str, &'static str, Result<Vec<u8>, String>);

/// What the kernel has: links, rules, routes, and our tables.
pub(super) fn kernel() -> Vec<Found> {
    vec![
        ("links.json", "ip -j -d link", run("ip", &["-j", "-d", "link"])),
        ("addresses-of-links.json", "ip -j address", run("ip", &["-j", "address"])),
        ("rules-ipv4.json", "ip -j -4 rule", run("ip", &["-j", "-4", "rule"])),
        ("rules-ipv6.json", "ip -j -6 rule", run("ip", &["-j", "-6", "rule"])),
        (
            "routes-ipv4.json",
            "ip -j -4 route show table all",
            run("ip", &["-j", "-4", "route", "show", "table", "all"]),
        ),
        (
            "routes-ipv6.json",
            "ip -j -6 route show table all",
            run("ip", &["-j", "-6", "route", "show", "table", "all"]),
        ),
        ("nftables.txt", "nft list table, of enid's own", tables()),
    ]
}

fn tables() -> Result<Vec<u8>, String> {
    let listed = run("nft", &["-j", "list", "tables"])?;
    let listed: Value =
        serde_json::from_slice(&listed).map_err(|why| format!("nft -j list tables: {why}"))?;
    let mut text = Vec::new();
    for table in listed["nftables"].as_array().into_iter().flatten().map(|item| &item["table"]) {
        let (Some(family), Some(name)) = (table["family"].as_str(), table["name"].as_str()) else { continue };
        if name.starts_with(TABLES) {
            text.extend(run("nft", &["list", "table", family, name])?);
        }
    }
    if text.is_empty() { Err("enid has no table in this network namespace".to_owned()) } else { Ok(text) }
}

/// Who is who, a line each.
pub(super) fn versions() -> Vec<u8> {
    let mut text = format!("enid {}\n", env!("CARGO_PKG_VERSION"));
    for file in ["/proc/version", "/etc/os-release"] {
        let said = fs::read_to_string(file).unwrap_or_else(|why| format!("{file}: {why}\n"));
        text.push_str(&said);
    }
    for (program, word) in [("ip", "-Version"), ("nft", "--version"), ("containerd", "--version")] {
        let said = run(program, &[word]).map(|said| String::from_utf8_lossy(&said).into_owned());
        text.push_str(&said.unwrap_or_else(|why| format!("{why}\n")));
    }
    text.into_bytes()
}

/// What a program prints. One that hangs in the kernel, which is what a bundle may be about, holds nobody up.
fn run(program: &str, arguments: &[&str]) -> Result<Vec<u8>, String> {
    let failed = |why: &dyn Display| format!("{program} {}: {why}", arguments.join(" "));
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|why| failed(&why))?;
    let (printed, complained) = (to_the_end(child.stdout.take()), to_the_end(child.stderr.take()));
    let deadline = Instant::now() + PATIENCE;
    let mut receive = |end: &Receiver<Vec<u8>>| {
        end.recv_timeout(deadline.saturating_duration_since(Instant::now())).map_err(|_| {
            // Nobody waits for it: what hangs in the kernel does not end by that either.
            let _ended_itself = child.kill();
            failed(&format_args!("no end within {} s", PATIENCE.as_secs()))
        })
    };
    let (printed, complained) = (receive(&printed)?, receive(&complained)?);
    if printed.len() as u64 == MAX_ANSWER {
        let _ended_itself = child.kill();
        return Err(failed(&format_args!("more than {} MiB", MAX_ANSWER >> 20)));
    }
    // Both its outputs are closed, so that it is about to end.
    let status = child.wait().map_err(|why| failed(&why))?;
    if !status.success() {
        return Err(failed(&String::from_utf8_lossy(&complained).trim()));
    }
    Ok(printed)
}

/// What comes out of a pipe until its end, or as much as is kept of an answer.
fn to_the_end(pipe: Option<impl Read + Send + 'static>) -> Receiver<Vec<u8>> {
    let (all, end) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _as_far_as_it_went = pipe.map(|pipe| pipe.take(MAX_ANSWER).read_to_end(&mut bytes));
        let _nobody_waits = all.send(bytes);
    });
    end
}

/// The body of a page, whatever its status: a page that says what is wrong is what is looked for.
pub(super) fn http(address: SocketAddr, path: &str) -> Result<Vec<u8>, String> {
    let failed = |why: std::io::Error| format!("http://{address}{path}: {why}");
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE).map_err(failed)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
    stream.set_write_timeout(Some(PATIENCE)).map_err(failed)?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(failed)?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer).map_err(failed)?;
    let body = answer.windows(4).position(|window| window == b"\r\n\r\n");
    let body = body.ok_or_else(|| format!("http://{address}{path}: no HTTP answer"))?;
    Ok(answer.split_off(body + 4))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_program_prints_is_bounded_and_its_complaint_is_kept() {
        assert_eq!(run("sh", &["-c", "echo said"]).unwrap(), b"said\n");
        assert_eq!(run("sh", &["-c", "echo no >&2; exit 3"]).unwrap_err(), "sh -c echo no >&2; exit 3: no");
        assert!(run("yes", &[]).unwrap_err().ends_with("more than 8 MiB"));
        assert!(run("/nonexistent/program", &[]).unwrap_err().contains("No such file"));
    }
}
