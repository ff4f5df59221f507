//! Runs `nft`: our tables are replaced as a whole in one transaction, which drops no packet.

use std::io::{self, Read, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use enid_engine::ports::DatapathError;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::family::Family;
use crate::netlink::failed;
use crate::ruleset::{Ruleset, table_name};

/// `nft` talks to the kernel only; on a healthy node it takes some milliseconds.
const DEADLINE: Duration = Duration::from_secs(10);
/// A listing of one of our tables with a thousand ranges is some 30 KiB.
const OUTPUT_BYTES: usize = 1 << 20;

/// Runs `nft`, and remembers what our tables looked like after they were last written.
pub(crate) struct Nft {
    program: PathBuf,
    applied: Option<(Ruleset, String)>,
}

impl Nft {
    /// Works with this program, looked for in `PATH` unless it has a directory.
    pub(crate) fn new(program: PathBuf) -> Self {
        Self { program, applied: None }
    }

    /// Makes our tables these, unless the kernel still has them exactly as they were written.
    pub(crate) fn apply(&mut self, ruleset: &Ruleset) -> Result<(), DatapathError> {
        let standing = self.standing()?;
        if let Some((applied, listing)) = &self.applied
            && applied == ruleset
            && *listing == self.listing(&standing)?
        {
            return Ok(());
        }
        self.applied = None;
        if let Some(transaction) = ruleset.transaction(&standing) {
            self.run(&["-f", "-"], &transaction)
                .map_err(|why| failed("replace the nftables tables `enid`", why))?;
        }
        self.applied = Some((ruleset.clone(), self.listing(&self.standing()?)?));
        Ok(())
    }

    /// The families whose table of ours is there.
    fn standing(&self) -> Result<Vec<Family>, DatapathError> {
        let tables =
            self.run(&["list", "tables"], "").map_err(|why| failed("list the nftables tables", why))?;
        let is_there = |family: &Family| {
            tables.lines().any(|line| line.trim().strip_prefix("table ") == Some(table_name(*family)))
        };
        Ok([Family::Ipv4, Family::Ipv6].into_iter().filter(is_there).collect())
    }

    /// Our tables without their counters' values.
    fn listing(&self, standing: &[Family]) -> Result<String, DatapathError> {
        let mut listing = String::new();
        for family in standing {
            let name = table_name(*family);
            let mut arguments = vec!["--stateless", "list", "table"];
            arguments.extend(name.split(' '));
            listing += &self
                .run(&arguments, "")
                .map_err(|why| failed(format!("read the nftables table `{name}`"), why))?;
        }
        Ok(listing)
    }

    /// Runs `nft` in the calling thread's network namespace.
    fn run(&self, arguments: &[&str], input: &str) -> Result<String, String> {
        let spawned = Command::new(&self.program)
            .args(arguments)
            .env("LC_ALL", "C")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = match spawned {
            Ok(child) => child,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(format!(
                    "`{}` is not installed; it is in the package nftables",
                    self.program.display()
                ));
            }
            Err(error) => return Err(format!("run nft: {error}")),
        };
        let outcome = converse(&mut child, input);
        if outcome.is_err() {
            // It may have ended by itself, which is just as well.
            let _ = child.kill();
        }
        let status = child.wait().map_err(|error| format!("wait for nft: {error}"))?;
        let (output, complaint) = outcome?;
        if status.success() {
            return Ok(output);
        }
        let first_line = complaint.lines().next().unwrap_or("it gave no reason");
        Err(format!("nft failed ({status}): {first_line}"))
    }
}

/// Gives the child its input and reads both its outputs to the end, or until the deadline.
fn converse(child: &mut Child, input: &str) -> Result<(String, String), String> {
    let (Some(mut stdin), Some(mut stdout), Some(mut stderr)) =
        (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return Err("run nft: its pipes are missing".to_owned());
    };
    let deadline = Instant::now() + DEADLINE;
    // `nft` reads all its input before it writes anything.
    match stdin.write_all(input.as_bytes()) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        Err(error) => return Err(format!("write to nft: {error}")),
    }
    drop(stdin);
    let (mut output, mut complaint) = (Vec::new(), Vec::new());
    let (mut output_open, mut complaint_open) = (true, true);
    while output_open || complaint_open {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(format!("nft did not end within {} seconds", DEADLINE.as_secs()));
        }
        let timeout = Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() };
        let listen = |open: bool| if open { PollFlags::IN } else { PollFlags::empty() };
        let mut ready =
            [PollFd::new(&stdout, listen(output_open)), PollFd::new(&stderr, listen(complaint_open))];
        match poll(&mut ready, Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(format!("wait for nft: {error}")),
        }
        let [output_ready, complaint_ready] =
            [!ready[0].revents().is_empty(), !ready[1].revents().is_empty()];
        if output_open && output_ready {
            output_open = read_some(&mut stdout, &mut output)?;
        }
        if complaint_open && complaint_ready {
            complaint_open = read_some(&mut stderr, &mut complaint)?;
        }
    }
    Ok((String::from_utf8_lossy(&output).into_owned(), String::from_utf8_lossy(&complaint).into_owned()))
}

/// Reads what there is; `false` at the end.
fn read_some(from: &mut impl Read, into: &mut Vec<u8>) -> Result<bool, String> {
    let mut chunk = [0; 4096];
    let length = from.read(&mut chunk).map_err(|error| format!("read from nft: {error}"))?;
    if into.len() + length > OUTPUT_BYTES {
        return Err(format!("nft wrote more than {OUTPUT_BYTES} bytes"));
    }
    into.extend_from_slice(&chunk[..length]);
    Ok(length > 0)
}
