//! What happens when a child ends, hangs or lies, and when the daemon does.

use std::io::Read as _;
use std::os::fd::AsFd;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use enid_policy_wasm::Limits;
use enid_policy_wasm::fault::Unloadable;
use enid_policy_wasm::runtime::{Guest, InProcess, Isolated, Runtime};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags, Signal};

use crate::rogue::named;
use crate::subject::{artifact, child, fault, limits, loaded, pods, program, question};
use crate::{Test, as_root};

pub(crate) const TESTS: &[Test] = &[
    ("a_child_answers_as_this_process_does", same_answers),
    ("an_endless_loop_ends_in_its_fuel_and_harms_nobody", endless_loop),
    ("a_child_that_ends_while_idle_is_replaced_unnoticed", ends_idle),
    ("a_child_that_hangs_is_ended_and_replaced", hangs),
    ("children_that_keep_ending_are_not_started_for_ever", back_off),
    ("what_makes_no_sense_ends_the_child", nonsense),
    ("a_program_that_is_not_there_is_no_place", no_program),
    ("a_component_that_nobody_holds_is_forgotten", forgotten),
    ("handles_outlive_the_thread_that_loaded_them", other_thread),
    ("callers_on_many_threads_take_turns", many_threads),
    ("nothing_is_left_behind", nothing_left),
    ("a_child_ends_with_its_daemon", ends_with_parent),
];

/// Generous: what is waited for happens in milliseconds.
const SOON: Duration = Duration::from_secs(20);

fn handle(process: u32) -> Result<std::os::fd::OwnedFd> {
    let id = Pid::from_raw(i32::try_from(process)?).context("a process id is positive")?;
    Ok(rustix::process::pidfd_open(id, PidfdFlags::empty())?)
}

fn signal(process: u32, signal: Signal) -> Result<()> {
    Ok(rustix::process::pidfd_send_signal(handle(process)?, signal)?)
}

/// Waits until a process has ended.
fn await_end(handle: impl AsFd) -> Result<()> {
    let mut polled = [PollFd::new(&handle, PollFlags::IN)];
    let timeout = Timespec { tv_sec: i64::try_from(SOON.as_secs())?, tv_nsec: 0 };
    ensure!(rustix::event::poll(&mut polled, Some(&timeout))? == 1, "it does not end");
    Ok(())
}

fn same_answers() -> Result<()> {
    let (_place, there, _) = child()?;
    let here = InProcess::start()?.load(&artifact("")?, &limits())?;
    ensure!(there.kind() == here.kind() && there.descriptor() == here.descriptor(), "{there:?}, {here:?}");
    ensure!(there.ask(&question()) == here.ask(&question()), "they answer differently");
    ensure!(pods(&there.ask(&question()))? == 7, "it answers something else");
    ensure!(there.check_settings(&[]) == here.check_settings(&[]), "they judge settings differently");
    Ok(())
}

fn endless_loop() -> Result<()> {
    let (place, good, process) = child()?;
    let endless = place.load(&artifact("(loop $again (br $again))")?, &limits())?;
    ensure!(fault(&endless.ask(&question())) == "fuel", "it has another end");
    ensure!(pods(&good.ask(&question()))? == 7 && place.process() == Some(process), "it harmed another");
    Ok(())
}

fn ends_idle() -> Result<()> {
    let (place, guest, process) = child()?;
    let handle = handle(process)?;
    signal(process, Signal::KILL)?;
    await_end(handle)?;
    ensure!(pods(&guest.ask(&question()))? == 7, "the new child does not know the component");
    ensure!(place.process().is_some_and(|new| new != process), "there is no new child");
    Ok(())
}

fn hangs() -> Result<()> {
    let place = Isolated::new(program()?);
    let limits = Limits { deadline: Duration::from_millis(1), ..Limits::default() };
    let guest = place.load(&artifact("")?, &limits)?;
    let process = place.process().context("there is no child")?;
    let handle = handle(process)?;
    signal(process, Signal::STOP)?;
    ensure!(fault(&guest.ask(&question())) == "deadline", "a stopped child answers");
    await_end(handle)?;
    // The new child may miss this deadline on a busy machine, but it has been started for it.
    drop(guest.ask(&question()));
    ensure!(place.process() != Some(process), "the stopped child is still there");
    Ok(())
}

fn back_off() -> Result<()> {
    let (_dir, program) = named("exits")?;
    let place = Isolated::new(program);
    let artifact = artifact("")?;
    let load = || match place.load(&artifact, &limits()) {
        Err(Unloadable::NoPlace { why }) => Ok(why),
        other => anyhow::bail!("{other:?}"),
    };
    for _ in 0..3 {
        let why = load()?;
        ensure!(why.contains("exit status: 7"), "{why}");
    }
    let why = load()?;
    ensure!(why.contains("3 times in a row"), "{why}");
    Ok(())
}

fn nonsense() -> Result<()> {
    for name in ["garbage", "boastful"] {
        let (_dir, program) = named(name)?;
        let place = Isolated::new(program);
        let loaded = place.load(&artifact("")?, &limits());
        let Err(Unloadable::NoPlace { why }) = loaded else { anyhow::bail!("{name}: {loaded:?}") };
        ensure!(why.contains("makes no sense"), "{name}: {why}");
        ensure!(place.process().is_none(), "{name} is still there");
    }
    Ok(())
}

fn no_program() -> Result<()> {
    let loaded = Isolated::new("/nonexistent/program".into()).load(&artifact("")?, &limits());
    ensure!(matches!(loaded, Err(Unloadable::NoPlace { .. })), "{loaded:?}");
    Ok(())
}

fn forgotten() -> Result<()> {
    as_root()?;
    let (place, guest, process) = child()?;
    let mappings = || -> Result<usize> {
        // The answer comes after whatever was asked before.
        pods(&guest.ask(&question()))?;
        Ok(std::fs::read_to_string(format!("/proc/{process}/maps"))?.lines().count())
    };
    let before = mappings()?;
    for _ in 0..50 {
        drop(loaded(&place)?);
    }
    let after = mappings()?;
    // Each has several, so this would be hundreds.
    ensure!(after < before + 50, "{before} mappings became {after}");
    Ok(())
}

fn other_thread() -> Result<()> {
    let place = Isolated::new(program()?);
    let guest = std::thread::scope(|scope| {
        let loading = scope.spawn(|| loaded(&place));
        loading.join().map_err(|_| anyhow::anyhow!("loading panicked"))?
    })?;
    let process = place.process();
    ensure!(
        pods(&guest.ask(&question()))? == 7 && place.process() == process,
        "the child ended with the thread"
    );
    Ok(())
}

fn many_threads() -> Result<()> {
    let (place, guest, _) = child()?;
    std::thread::scope(|scope| -> Result<()> {
        let asking: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| -> Result<()> {
                    for _ in 0..50 {
                        ensure!(pods(&guest.ask(&question()))? == 7, "another answer");
                        let other: Arc<dyn Guest> = loaded(&place)?;
                        ensure!(pods(&other.ask(&question()))? == 7, "another answer");
                    }
                    Ok(())
                })
            })
            .collect();
        asking.into_iter().try_for_each(|asking| asking.join().map_err(|_| anyhow::anyhow!("it panicked"))?)
    })
}

fn descriptors() -> Result<usize> {
    Ok(std::fs::read_dir("/proc/self/fd")?.count())
}

fn threads() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir("/proc/self/task")? {
        names.push(std::fs::read_to_string(entry?.path().join("comm"))?.trim().to_owned());
    }
    Ok(names)
}

fn nothing_left() -> Result<()> {
    let artifact = artifact("")?;
    let before = descriptors()?;
    for _ in 0..5 {
        let place = Isolated::new(program()?);
        let guest = place.load(&artifact, &limits())?;
        let process = place.process().context("there is no child")?;
        drop(place);
        ensure!(pods(&guest.ask(&question()))? == 7, "the component went with the handle on its place");
        drop(guest);
        ensure!(!std::path::Path::new(&format!("/proc/{process}")).exists(), "the child is still there");
    }
    ensure!(descriptors()? == before, "{before} descriptors became {}", descriptors()?);
    let threads = threads()?;
    ensure!(!threads.iter().any(|name| name == "strategy-keeper"), "{threads:?}");
    Ok(())
}

/// A daemon that says which child it has, and waits to be killed.
pub(crate) fn parent() -> ExitCode {
    let Ok((_place, _guest, process)) = child() else { return ExitCode::FAILURE };
    println!("{process}");
    let mut forever = Vec::new();
    drop(std::io::stdin().read_to_end(&mut forever));
    ExitCode::SUCCESS
}

fn ends_with_parent() -> Result<()> {
    let mut daemon = Command::new(program()?);
    daemon.arg("parent").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut daemon = daemon.spawn()?;
    let mut said = String::new();
    let mut out = std::io::BufReader::new(daemon.stdout.take().context("it has an output")?);
    std::io::BufRead::read_line(&mut out, &mut said)?;
    let process: u32 = said.trim().parse().with_context(|| format!("it said {said:?}"))?;
    // Stopped, so that it cannot notice by itself that its socket is closed.
    let child = handle(process)?;
    signal(process, Signal::STOP)?;
    let started = Instant::now();
    daemon.kill()?;
    daemon.wait()?;
    await_end(child)?;
    ensure!(started.elapsed() < SOON, "it took long");
    Ok(())
}
