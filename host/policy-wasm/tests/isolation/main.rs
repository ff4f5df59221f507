//! Children in which strategies are compiled and run: that they have no rights, that they are replaced, and
//! that nothing they do harms the daemon.
//!
//! The program is its own child, so it has no test harness but a list. Children that misbehave are the same
//! program under another name.

mod rogue;
mod subject;

use std::process::ExitCode;

use enid_policy_wasm::compile::compile_component;
use enid_policy_wasm::runtime::host_strategies;

mod compiling;
mod confinement;
mod replacement;

/// A test: what it shows, and the showing.
type Test = (&'static str, fn() -> anyhow::Result<()>);

fn main() -> ExitCode {
    let role = std::env::args_os().nth(1).unwrap_or_default();
    match role.to_str() {
        Some("strategy-host") => rogue::act().unwrap_or_else(host_strategies),
        Some("strategy-compile") => rogue::act().unwrap_or_else(compile_component),
        Some("parent") => replacement::parent(),
        Some("--list") => {
            all().iter().for_each(|(name, _)| println!("{name}: test"));
            ExitCode::SUCCESS
        }
        Some(_) | None => run(),
    }
}

fn all() -> Vec<Test> {
    [confinement::TESTS, replacement::TESTS, compiling::TESTS].concat()
}

/// What only root can look at.
#[derive(Debug, thiserror::Error)]
#[error("needs root, to look into a child that hides from everyone else")]
struct NeedsRoot;

/// For tests that look into a child.
fn as_root() -> Result<(), NeedsRoot> {
    if rustix::process::geteuid().is_root() { Ok(()) } else { Err(NeedsRoot) }
}

/// Runs those whose name contains the first argument that is no option, and tells it as libtest does.
fn run() -> ExitCode {
    let wanted = std::env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default();
    let (chosen, left): (Vec<Test>, Vec<Test>) =
        all().into_iter().partition(|(name, _)| name.contains(&wanted));
    println!("\nrunning {} tests", chosen.len());
    let (mut failed, mut ignored) = (0, 0);
    for (name, test) in &chosen {
        match std::panic::catch_unwind(test) {
            Ok(Ok(())) => println!("test {name} ... ok"),
            Ok(Err(error)) if error.is::<NeedsRoot>() => {
                ignored += 1;
                println!("test {name} ... ignored, {error}");
            }
            Ok(Err(error)) => {
                failed += 1;
                println!("test {name} ... FAILED\n{error:?}");
            }
            Err(_) => {
                failed += 1;
                println!("test {name} ... FAILED");
            }
        }
    }
    let verdict = if failed == 0 { "ok" } else { "FAILED" };
    let passed = chosen.len() - failed - ignored;
    let left = left.len();
    println!(
        "\ntest result: {verdict}. {passed} passed; {failed} failed; {ignored} ignored; 0 measured; {left} filtered out"
    );
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
