//! Our own nftables table: source translation of pods' off-VPC traffic, and the marks that bring replies back
//! through the primary ENI. Replaced as a whole in one transaction, which drops no packet.

use std::fmt::Write as _;
use std::io::{self, Read, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use enid_core::wiring::{MARK, NodeWiring, SnatPorts};
use enid_engine::ports::DatapathError;
use ipnet::Ipv4Net;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::netlink::failed;

/// `nft` talks to the kernel only; on a healthy node it takes some milliseconds.
const DEADLINE: Duration = Duration::from_secs(10);
/// A listing of our own table with a thousand ranges is some 30 KiB.
const OUTPUT_BYTES: usize = 1 << 20;

/// The text of our table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ruleset(String);

impl Ruleset {
    /// Our table for this wiring, `primary` being the link of the primary ENI.
    pub(crate) fn of(node: &NodeWiring, primary: &str) -> Result<Self, DatapathError> {
        let attempt = "write the nftables rules";
        if node.vpc_cidrs.is_empty() {
            return Err(failed(
                attempt,
                "without a single VPC range all traffic would count as leaving the VPC",
            ));
        }
        if !primary.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.@".contains(&byte)) {
            return Err(failed(
                attempt,
                format_args!("the name of the link `{primary}` cannot be written there"),
            ));
        }
        // One transaction: whatever was there is gone and the new table is there, or nothing has happened.
        let mut text = String::from("add table ip enid\ndelete table ip enid\n");
        if node.node_port || node.snat.is_some() {
            Self::write(&mut text, node, primary).expect("invariant: writing to a string succeeds");
        }
        Ok(Self(text))
    }

    fn write(text: &mut String, node: &NodeWiring, primary: &str) -> std::fmt::Result {
        let pods = format!("iifname \"{}*\"", node.veth_prefix.as_str());
        writeln!(text, "table ip enid {{")?;
        if node.snat.is_some() {
            write_set(text, "vpc", &node.vpc_cidrs)?;
            write_set(text, "exclude", &node.snat_exclude)?;
        }
        if node.node_port {
            // Before kube-proxy translates the destination, while it is still an address of the primary ENI.
            writeln!(text, "\tchain node-port {{")?;
            writeln!(text, "\t\ttype filter hook prerouting priority mangle; policy accept;")?;
            writeln!(
                text,
                "\t\tiifname \"{primary}\" fib daddr . iif type local ct mark set ct mark or {MARK:#x}"
            )?;
            writeln!(text, "\t}}")?;
        }
        // After kube-proxy has translated the destination: a Service's address says nothing about where the
        // packet goes. A filter chain, because a translated connection skips all later nat chains.
        writeln!(text, "\tchain pods {{")?;
        writeln!(text, "\t\ttype filter hook prerouting priority -90; policy accept;")?;
        if node.snat.is_some() {
            writeln!(text, "\t\t{pods} ct state new jump leaving")?;
        }
        writeln!(text, "\t\t{pods} ct mark and {MARK:#x} == {MARK:#x} meta mark set meta mark or {MARK:#x}")?;
        writeln!(text, "\t}}")?;
        if let Some(ports) = node.snat {
            writeln!(text, "\tchain leaving {{")?;
            writeln!(text, "\t\tfib daddr type local return")?;
            writeln!(text, "\t\tip daddr @vpc return")?;
            writeln!(text, "\t\tip daddr @exclude return")?;
            writeln!(text, "\t\tct mark set ct mark or {MARK:#x}")?;
            writeln!(text, "\t}}")?;
            let ports = match ports {
                SnatPorts::Prng => " fully-random",
                SnatPorts::HashRandom => " random",
                SnatPorts::None => "",
            };
            writeln!(text, "\tchain translate {{")?;
            writeln!(text, "\t\ttype nat hook postrouting priority srcnat; policy accept;")?;
            writeln!(text, "\t\tip daddr @vpc return")?;
            writeln!(text, "\t\tip daddr @exclude return")?;
            // Branch ENIs of pods with their own security groups translate nothing.
            writeln!(text, "\t\toifname \"vlan*\" return")?;
            writeln!(text, "\t\tfib daddr type local return")?;
            writeln!(text, "\t\tcounter snat to {}{ports}", node.primary_address)?;
            writeln!(text, "\t}}")?;
        }
        writeln!(text, "}}")
    }
}

/// Overlapping ranges are merged here: `nft` refuses them in a set.
fn write_set(text: &mut String, name: &str, ranges: &[Ipv4Net]) -> std::fmt::Result {
    let mut ranges = Ipv4Net::aggregate(&ranges.to_vec());
    ranges.sort();
    write!(text, "\tset {name} {{ type ipv4_addr; flags interval; ")?;
    if !ranges.is_empty() {
        let ranges: Vec<String> = ranges.iter().map(ToString::to_string).collect();
        write!(text, "elements = {{ {} }}; ", ranges.join(", "))?;
    }
    writeln!(text, "}}")
}

/// Runs `nft`, and remembers what our table looked like after it was last written.
pub(crate) struct Nft {
    program: PathBuf,
    applied: Option<(Ruleset, String)>,
}

impl Nft {
    /// Works with this program, looked for in `PATH` unless it has a directory.
    pub(crate) fn new(program: PathBuf) -> Self {
        Self { program, applied: None }
    }

    /// Makes our table this one, unless the kernel still has it exactly as it was written.
    pub(crate) fn apply(&mut self, ruleset: &Ruleset) -> Result<(), DatapathError> {
        if let Some((applied, listing)) = &self.applied
            && applied == ruleset
            && *listing == self.listing()?
        {
            return Ok(());
        }
        self.applied = None;
        self.run(&["-f", "-"], &ruleset.0)
            .map_err(|why| failed("replace the nftables table `ip enid`", why))?;
        self.applied = Some((ruleset.clone(), self.listing()?));
        Ok(())
    }

    /// Our table without its counters' values; empty when it is not there.
    fn listing(&self) -> Result<String, DatapathError> {
        let attempt = "read the nftables table `ip enid`";
        let tables = self.run(&["list", "tables", "ip"], "").map_err(|why| failed(attempt, why))?;
        if !tables.lines().any(|line| line.trim() == "table ip enid") {
            return Ok(String::new());
        }
        self.run(&["--stateless", "list", "table", "ip", "enid"], "").map_err(|why| failed(attempt, why))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn node(snat: Option<SnatPorts>, node_port: bool) -> NodeWiring {
        NodeWiring {
            primary_mac: "02:00:00:00:00:01".parse().unwrap(),
            primary_address: "10.10.10.20".parse().unwrap(),
            veth_prefix: Default::default(),
            vpc_cidrs: vec!["10.10.0.0/16".parse().unwrap(), "10.11.0.0/16".parse().unwrap()],
            snat_exclude: vec!["10.12.0.0/16".parse().unwrap()],
            snat,
            node_port,
        }
    }

    fn text(node: &NodeWiring) -> String {
        Ruleset::of(node, "eth0").unwrap().0
    }

    #[test]
    fn every_setting_replaces_the_table_in_one_transaction() {
        for snat in [None, Some(SnatPorts::Prng), Some(SnatPorts::HashRandom), Some(SnatPorts::None)] {
            for node_port in [false, true] {
                assert!(
                    text(&node(snat, node_port)).starts_with("add table ip enid\ndelete table ip enid\n")
                );
            }
        }
    }

    #[test]
    fn the_chains_follow_the_settings() {
        for (snat, node_port, node_port_chain, pods, leaving, translation) in [
            (Some(SnatPorts::Prng), true, true, true, true, true),
            (None, true, true, true, false, false),
            (Some(SnatPorts::Prng), false, false, true, true, true),
            (None, false, false, false, false, false),
        ] {
            let text = text(&node(snat, node_port));
            for (chain, there) in [
                ("node-port", node_port_chain),
                ("pods", pods),
                ("leaving", leaving),
                ("translate", translation),
            ] {
                assert_eq!(text.contains(&format!("chain {chain} ")), there, "{chain} in\n{text}");
            }
        }
    }

    #[test]
    fn ports_are_chosen_as_configured() {
        let line = |ports| {
            text(&node(Some(ports), false)).lines().find(|l| l.contains("snat to")).unwrap().to_owned()
        };
        assert!(line(SnatPorts::Prng).ends_with("snat to 10.10.10.20 fully-random"));
        assert!(line(SnatPorts::HashRandom).ends_with("snat to 10.10.10.20 random"));
        assert!(line(SnatPorts::None).ends_with("snat to 10.10.10.20"));
    }

    #[test]
    fn overlapping_ranges_are_merged() {
        let mut node = node(Some(SnatPorts::Prng), false);
        node.snat_exclude =
            ["10.12.4.0/24", "10.12.0.0/16", "10.12.4.0/24"].map(|net| net.parse().unwrap()).to_vec();
        assert!(text(&node).contains("elements = { 10.12.0.0/16 }"));
    }

    #[test]
    fn a_node_without_vpc_ranges_is_refused() {
        let mut node = node(Some(SnatPorts::Prng), true);
        node.vpc_cidrs.clear();
        assert!(Ruleset::of(&node, "eth0").is_err());
    }

    #[test]
    fn a_link_name_cannot_smuggle_rules_in() {
        for name in ["eth0\"", "eth*", "a;b", "a{b"] {
            assert!(Ruleset::of(&node(None, true), name).is_err(), "{name}");
        }
    }
}
