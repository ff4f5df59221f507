//! `cargo xtask test`: every tier in order, each announced with what it needs, counted at the end.
//!
//! All test programs are built by one cargo call and then run from here, tier by tier. A cargo call per tier
//! would select other packages each time, resolve other features, and compile the heavy crates again.

use std::fmt;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::setup::{self, Scope};
use crate::workspace::{Workspace, shown};
use crate::{artifacts, bench, guests};

/// Longest that one test program may run. The slowest tier attaches ENIs and takes tens of seconds; whatever
/// needs more than this hangs.
const DEADLINE: Duration = Duration::from_secs(900);

/// A group of tests with one kind of need.
struct Tier {
    name: &'static str,
    /// What it shows.
    shows: &'static str,
    need: Need,
    tests: Tests,
}

/// What a tier needs beyond a compiler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    Nothing,
    /// Root, for network namespaces.
    Root,
}

/// Where a tier's tests are.
#[derive(Clone, Copy)]
enum Tests {
    /// Test programs of these packages.
    Packages(&'static [&'static str]),
    /// Test programs of all packages that no other tier names.
    OtherPackages,
    /// Examples in the documentation.
    Documentation,
    /// `enid demo`, which checks itself.
    Demo,
    /// Every measurement, whatever it comes to: durations of a machine that is busy with tests say nothing.
    Bench,
}

const TIERS: [Tier; 9] = [
    Tier {
        name: "tidy",
        shows: "the tree keeps its rules",
        need: Need::Nothing,
        tests: Tests::Packages(&["tidy"]),
    },
    Tier {
        name: "unit",
        shows: "units and properties, crate by crate",
        need: Need::Nothing,
        tests: Tests::OtherPackages,
    },
    Tier {
        name: "documentation",
        shows: "the examples compile and hold",
        need: Need::Nothing,
        tests: Tests::Documentation,
    },
    Tier {
        name: "simulation",
        shows: "the node against a model of EC2 with faults",
        need: Need::Nothing,
        tests: Tests::Packages(&["simulation"]),
    },
    Tier {
        name: "guests",
        shows: "good and hostile components",
        need: Need::Nothing,
        tests: Tests::Packages(&["guests"]),
    },
    Tier {
        name: "datapath",
        shows: "real links, rules and routes in own network namespaces",
        need: Need::Root,
        tests: Tests::Packages(&["datapath", "enid-datapath-linux", "enid-vpc-lab"]),
    },
    Tier {
        name: "e2e",
        shows: "real plugin, daemon, SDK and kernel on a VPC in this machine",
        need: Need::Root,
        tests: Tests::Packages(&["e2e"]),
    },
    Tier {
        name: "demo",
        shows: "what a user sees first, with its own checks",
        need: Need::Root,
        tests: Tests::Demo,
    },
    Tier {
        name: "bench",
        shows: "everything that is measured can be measured; no bar counts here",
        need: Need::Root,
        tests: Tests::Bench,
    },
];

/// Whether a tier that cannot run here is a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Required {
    /// Every tier must run.
    All,
    /// Tiers that this user cannot run are named and left out.
    Possible,
}

/// Passed and failed tests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    passed: u64,
    failed: u64,
}

impl Tally {
    const ONE_FAILURE: Tally = Tally { passed: 0, failed: 1 };

    fn add(&mut self, other: Tally) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)
    }
}

/// A built test program.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Program {
    package: String,
    /// For people: `enid-core (lib)`.
    label: String,
    executable: PathBuf,
    /// The package's directory, where tests expect to be.
    directory: PathBuf,
}

/// Sets up, builds and runs the tiers named in `only`, or all; ends with the count alone on a line.
pub(crate) fn test(workspace: &Workspace, only: &[String], required: Required) -> Result<ExitCode> {
    for name in only {
        let known = TIERS.iter().any(|tier| tier.name == name);
        let names = TIERS.map(|tier| tier.name).join(", ");
        ensure!(known, "no tier is called `{name}`; there are {names}");
    }
    let chosen: Vec<&Tier> =
        TIERS.iter().filter(|tier| only.is_empty() || only.iter().any(|name| name == tier.name)).collect();
    let prepared = prepare(workspace, required);
    let mut total = Tally::default();
    let mut summary = Vec::new();
    match prepared {
        Ok(programs) => {
            for tier in chosen {
                let (tally, line) = run_tier(workspace, tier, &programs, required);
                total.add(tally);
                summary.push(line);
            }
        }
        Err(why) => {
            eprintln!("error: {why:#}");
            summary.push("nothing ran: the build failed".to_owned());
            total.add(Tally::ONE_FAILURE);
        }
    }
    println!("\n{}\n{total}", summary.join("\n"));
    // Nothing after the count, not even an error: the exit code says it.
    Ok(if total.failed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn prepare(workspace: &Workspace, required: Required) -> Result<Vec<Program>> {
    setup::run_setup(workspace, Scope::of_tests())?;
    match guests::install_toolchains() {
        Ok(None) => {}
        Ok(Some(to_type)) => {
            println!("strategies in some languages are left out until you type:\n  {to_type}")
        }
        Err(why) if required == Required::Possible => println!("toolchains of other languages: {why:#}"),
        Err(why) => return Err(why),
    }
    artifacts::build(workspace)?;
    guests::build(workspace, required)?;
    let programs = build_programs(workspace)?;
    artifacts::place_plugin(workspace)?;
    Ok(programs)
}

fn run_tier(workspace: &Workspace, tier: &Tier, programs: &[Program], required: Required) -> (Tally, String) {
    println!("\n==> {}: {} (needs {})", tier.name, tier.shows, tier.need.described());
    if !tier.need.is_met() {
        let line = format!("{:<14} not run: it needs {}", tier.name, tier.need.described());
        println!("{line}; {}", tier.need.remedy());
        let tally = if required == Required::All { Tally::ONE_FAILURE } else { Tally::default() };
        return (tally, line);
    }
    let begun = Instant::now();
    let tally = match tier.tests {
        Tests::Packages(names) => run_programs(
            workspace,
            programs.iter().filter(|program| names.contains(&program.package.as_str())),
        ),
        Tests::OtherPackages => {
            run_programs(workspace, programs.iter().filter(|program| !has_own_tier(&program.package)))
        }
        Tests::Documentation => run_documentation(workspace),
        Tests::Demo => one(passed(Command::new(workspace.daemon()).arg("demo"), |_| {})),
        Tests::Bench => one(bench::measure(workspace, &bench::Options::default()).map(drop)),
    };
    (tally, format!("{:<14} {tally} ({:.1} s)", tier.name, begun.elapsed().as_secs_f64()))
}

fn has_own_tier(package: &str) -> bool {
    TIERS.iter().any(|tier| match tier.tests {
        Tests::Packages(names) => names.contains(&package),
        Tests::OtherPackages | Tests::Documentation | Tests::Demo | Tests::Bench => false,
    })
}

impl Need {
    fn is_met(self) -> bool {
        match self {
            Need::Nothing => true,
            Need::Root => setup::is_root(),
        }
    }

    fn described(self) -> &'static str {
        match self {
            Need::Nothing => "nothing",
            Need::Root => "root, for network namespaces",
        }
    }

    fn remedy(self) -> &'static str {
        match self {
            Need::Nothing => "nothing is missing",
            Need::Root => "run `cargo xtask test` as root",
        }
    }
}

/// Builds all test programs at once and lists them, in cargo's order.
fn build_programs(workspace: &Workspace) -> Result<Vec<Program>> {
    println!("==> test programs");
    let mut build = workspace.cargo();
    build.args(["test", "--release", "--workspace", "--no-run", "--message-format=json-render-diagnostics"]);
    let out = build
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("run {}", shown(&build)))?;
    ensure!(out.status.success(), "{} ended with {}", shown(&build), out.status);
    let mut programs: Vec<Program> = String::from_utf8_lossy(&out.stdout)
        .lines()
        .filter_map(|line| program_of(&serde_json::from_str(line).ok()?))
        .collect();
    programs.sort_by(|a, b| a.label.cmp(&b.label));
    ensure!(!programs.is_empty(), "cargo built no test program");
    Ok(programs)
}

/// The test program that one of cargo's messages announces, if it does.
fn program_of(message: &Value) -> Option<Program> {
    if message["reason"] != "compiler-artifact" || message["profile"]["test"] != true {
        return None;
    }
    let executable = message["executable"].as_str()?;
    let directory = Path::new(message["manifest_path"].as_str()?).parent()?;
    let package = package_name(message["package_id"].as_str()?)?;
    let target = message["target"]["name"].as_str()?;
    let kind = message["target"]["kind"][0].as_str()?;
    Some(Program {
        label: format!("{package} ({kind} {target})"),
        package,
        executable: executable.into(),
        directory: directory.to_owned(),
    })
}

/// The name in a package id: `path+file:///…/host/core#enid-core@0.1.0`, or `…/tests/e2e#0.1.0`.
fn package_name(id: &str) -> Option<String> {
    let (path, fragment) = id.split_once('#')?;
    match fragment.split_once('@') {
        Some((name, _)) => Some(name.to_owned()),
        None => path.rsplit('/').next().map(str::to_owned),
    }
}

fn run_programs<'a>(workspace: &Workspace, programs: impl Iterator<Item = &'a Program>) -> Tally {
    let strategies = workspace.release().join("strategies");
    let mut tally = Tally::default();
    for program in programs {
        println!("--- {}", program.label);
        let mut command = Command::new(&program.executable);
        command
            .current_dir(&program.directory)
            .env("CARGO_MANIFEST_DIR", &program.directory)
            .env("ENID_STRATEGIES", &strategies)
            .env("ENID_GUESTS", guests::directory(workspace))
            .env("ENID_BIN", workspace.daemon());
        tally.add(counted(&mut command));
    }
    tally
}

fn run_documentation(workspace: &Workspace) -> Tally {
    counted(workspace.cargo().args(["test", "--release", "--workspace", "--doc", "--quiet"]))
}

/// What counts as one test.
fn one(outcome: Result<()>) -> Tally {
    match outcome {
        Ok(()) => Tally { passed: 1, failed: 0 },
        Err(why) => {
            eprintln!("error: {why:#}");
            Tally::ONE_FAILURE
        }
    }
}

/// Runs a test program and adds up what it says; a program that dies without a failed test counts as one.
fn counted(command: &mut Command) -> Tally {
    let mut tally = Tally::default();
    let ended = passed(command, |line| tally.add(result_line(line).unwrap_or_default()));
    if let Err(why) = ended {
        eprintln!("error: {why:#}");
        if tally.failed == 0 {
            tally.add(Tally::ONE_FAILURE);
        }
    }
    tally
}

/// Runs `command` to its end, showing its output as it comes.
fn passed(command: &mut Command, mut on_line: impl FnMut(&str)) -> Result<()> {
    let name = shown(command);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("start {name}"))?;
    let ended = watch(&mut child, &mut on_line).with_context(|| format!("watch {name}"))?;
    if !ended {
        child.kill().with_context(|| format!("kill {name}"))?;
        child.wait()?;
        bail!("{name} did not end within {} s", DEADLINE.as_secs());
    }
    let status = child.wait().with_context(|| format!("wait for {name}"))?;
    ensure!(status.success(), "{name} ended with {status}");
    Ok(())
}

/// Passes lines on until the child closes its output; false when it has not at the deadline.
fn watch(child: &mut Child, on_line: &mut impl FnMut(&str)) -> Result<bool> {
    let out = child.stdout.take().context("the child has no output")?;
    // Bounded, so that a program that floods its output waits for us instead of filling memory.
    let (to_us, lines) = mpsc::sync_channel(64);
    thread::spawn(move || {
        for line in BufReader::new(out).split(b'\n').map_while(Result::ok) {
            if to_us.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                break;
            }
        }
    });
    let begun = Instant::now();
    loop {
        match lines.recv_timeout(DEADLINE.saturating_sub(begun.elapsed())) {
            Ok(line) => {
                println!("{line}");
                on_line(&line);
            }
            Err(RecvTimeoutError::Disconnected) => return Ok(true),
            Err(RecvTimeoutError::Timeout) => return Ok(false),
        }
    }
}

/// What libtest's closing line counts: `test result: ok. 12 passed; 0 failed; …`.
fn result_line(line: &str) -> Option<Tally> {
    let counts = line.strip_prefix("test result: ")?.split_once(". ")?.1;
    let count = |word: &str| counts.split("; ").find_map(|part| part.strip_suffix(word)?.trim().parse().ok());
    Some(Tally { passed: count("passed")?, failed: count("failed")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_lines_are_counted() {
        let ok =
            "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.02s";
        assert_eq!(result_line(ok), Some(Tally { passed: 12, failed: 0 }));
        let failed =
            "test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1s";
        assert_eq!(result_line(failed), Some(Tally { passed: 3, failed: 2 }));
        assert_eq!(result_line("test adds_result ... ok"), None);
    }

    #[test]
    fn the_count_is_one_plain_line() {
        assert_eq!(Tally { passed: 7, failed: 1 }.to_string(), "7 passed, 1 failed");
    }

    #[test]
    fn a_program_that_dies_without_a_result_is_a_failure() {
        assert_eq!(counted(Command::new("sh").args(["-c", "kill -9 $$"])), Tally::ONE_FAILURE);
        assert_eq!(counted(&mut Command::new("no-such-program-here")), Tally::ONE_FAILURE);
    }

    #[test]
    fn a_programs_own_count_is_taken() {
        let script = "echo 'test result: FAILED. 3 passed; 2 failed; 0 ignored'; exit 101";
        assert_eq!(counted(Command::new("sh").args(["-c", script])), Tally { passed: 3, failed: 2 });
    }

    #[test]
    fn package_ids_give_names_in_both_forms() {
        assert_eq!(package_name("path+file:///a/host/core#enid-core@0.1.0").as_deref(), Some("enid-core"));
        assert_eq!(package_name("path+file:///a/tests/e2e#0.1.0").as_deref(), Some("e2e"));
    }

    #[test]
    fn every_tier_has_its_own_name() {
        for (index, tier) in TIERS.iter().enumerate() {
            assert!(TIERS[index + 1..].iter().all(|other| other.name != tier.name), "{}", tier.name);
        }
    }
}
