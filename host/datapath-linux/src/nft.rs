//! Runs `nft`: our tables are replaced as a whole in one transaction, which drops no packet.
//!
//! Whether the kernel still has a table as it was written is told by comparing its listing with the one that was
//! read right after writing it. The text that was written would not do: `nft` says many things in other words than it
//! was told, and differently from version to version. A process that has just started has no listing; it leaves alone what
//! bears the seal of an earlier one ([`Listing::seal`]), and writes the rest.

use std::collections::BTreeMap;
use std::io::{self, Read, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use enid_engine::ports::DatapathError;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::family::Family;
use crate::listing::Listing;
use crate::netlink::failed;
use crate::ruleset::{self, Ruleset, Table, table_name};

/// `nft` talks to the kernel only; on a healthy node it takes some milliseconds.
const DEADLINE: Duration = Duration::from_secs(10);
/// A listing of one of our tables with a thousand ranges is some 60 KiB.
const OUTPUT_BYTES: usize = 1 << 20;

/// Runs `nft`, and remembers what our tables looked like after they were last written.
pub(crate) struct Nft {
    program: PathBuf,
    written: BTreeMap<Family, Written>,
}

/// A table as it was written last, and as the kernel had it right afterwards; one that is not needed is listed empty.
struct Written {
    table: Table,
    listing: Listing,
}

impl Nft {
    /// Works with this program, looked for in `PATH` unless it has a directory.
    pub(crate) fn new(program: PathBuf) -> Self {
        Self { program, written: BTreeMap::new() }
    }

    /// Makes our tables these. One that the kernel still has exactly as it was written is left alone, with what it
    /// has counted.
    pub(crate) fn apply(&mut self, ruleset: &Ruleset) -> Result<(), DatapathError> {
        let standing = self.standing()?;
        let mut wrong = Vec::new();
        for table in ruleset.tables() {
            // What an earlier process wrote is from now on compared as if this one had.
            if !self.written.contains_key(&table.family())
                && let Some(listing) = self.sealed(table, &standing)?
            {
                self.written.insert(table.family(), Written { table: table.clone(), listing });
            }
            if !self.differences(table, &standing)?.is_empty() {
                wrong.push(table);
                self.written.remove(&table.family());
            }
        }
        if let Some(transaction) = ruleset::transaction(&wrong, &standing) {
            self.run(&["-f", "-"], &transaction)
                .map_err(|why| failed("replace the nftables tables `enid`", why))?;
        }
        if wrong.is_empty() {
            return Ok(());
        }
        let standing = self.standing()?;
        for table in wrong {
            let listing = self.listing(table.family(), &standing)?;
            if standing.contains(&table.family()) {
                let name = table_name(table.family());
                let seal = format!("add chain {name} {}\n", listing.seal(&table.text()));
                self.run(&["-f", "-"], &seal)
                    .map_err(|why| failed(format!("seal the nftables table `{name}`"), why))?;
            }
            self.written.insert(table.family(), Written { table: table.clone(), listing });
        }
        Ok(())
    }

    /// In words, what applying these tables would change.
    pub(crate) fn drift(&self, ruleset: &Ruleset) -> Result<Vec<String>, DatapathError> {
        let standing = self.standing()?;
        let mut drift = Vec::new();
        for table in ruleset.tables() {
            drift.extend(self.differences(table, &standing)?);
        }
        Ok(drift)
    }

    fn differences(&self, table: &Table, standing: &[Family]) -> Result<Vec<String>, DatapathError> {
        let name = table_name(table.family());
        let is_there = standing.contains(&table.family());
        let whole = |what: &str| Ok(vec![format!("nftables table `{name}` {what}")]);
        match (self.written.get(&table.family()), table.is_needed(), is_there) {
            (_, true, false) => whole("is missing"),
            (_, false, true) => whole("is from earlier settings"),
            (_, false, false) => Ok(Vec::new()),
            (Some(written), true, true) if written.table == *table => {
                let now = self.listing(table.family(), standing)?;
                let differences = written.listing.differences(&now);
                Ok(differences.iter().map(|what| format!("nftables table `{name}`: {what}")).collect())
            }
            (None, true, true) if self.sealed(table, standing)?.is_some() => Ok(Vec::new()),
            (Some(_) | None, true, true) => whole("was not written with these settings"),
        }
    }

    /// The kernel's table, where it stands as it was written for these settings, by whichever process.
    fn sealed(&self, table: &Table, standing: &[Family]) -> Result<Option<Listing>, DatapathError> {
        if !table.is_needed() {
            return Ok(None);
        }
        let listing = self.listing(table.family(), standing)?;
        Ok(listing.is_sealed(&table.text()).then_some(listing))
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

    /// The table of a family; empty when it is not there.
    fn listing(&self, family: Family, standing: &[Family]) -> Result<Listing, DatapathError> {
        if !standing.contains(&family) {
            return Ok(Listing::default());
        }
        let name = table_name(family);
        let mut arguments = vec!["--json", "list", "table"];
        arguments.extend(name.split(' '));
        let listing = self.run(&arguments, "").and_then(|text| Listing::parse(&text));
        listing.map_err(|why| failed(format!("read the nftables table `{name}`"), why))
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
