//! Children that have been taken over, each known by the name it is started under.

use std::io::Write as _;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd};
use std::path::PathBuf;
use std::process::ExitCode;

use enid_policy_wasm::runtime::host_strategies;
use rustix::net::{AddressFamily, SocketType};

use crate::subject::program;

/// A directory with this program under another name.
pub(crate) fn named(name: &str) -> anyhow::Result<(tempfile::TempDir, PathBuf)> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join(name);
    std::os::unix::fs::symlink(program()?, &path)?;
    Ok((dir, path))
}

/// Misbehaves as the name of this process says; `None` for an honest one.
pub(crate) fn act() -> Option<ExitCode> {
    let name = PathBuf::from(std::env::args_os().next()?).file_name()?.to_str()?.to_owned();
    match name.as_str() {
        "exits" => Some(ExitCode::from(7)),
        "mute" => Some(wait_for_ever()),
        "garbage" => Some(write(&[4, 0, 0, 0, 0xff, 0xff, 0xff, 0xff])),
        "boastful" => Some(write(&u32::MAX.to_le_bytes())),
        "bad-code" => Some(write_to(1, b"\x7fELF, but no more of it")),
        // None of these leaves a descriptor, because whatever is open when the process is confined is closed.
        "opens" => Some(meanwhile(|| drop(std::fs::File::open("/nonexistent")))),
        "connects" => Some(meanwhile(|| {
            let _ = rustix::net::socket(AddressFamily::from_raw(u16::MAX), SocketType::STREAM, None);
        })),
        "starts-threads" => Some(meanwhile(|| {
            let _ = std::thread::Builder::new().spawn(|| {}).map(std::thread::JoinHandle::join);
        })),
        "signals" => Some(meanwhile(|| {
            let _ = rustix::process::test_kill_process(rustix::process::getpid());
        })),
        _ => None,
    }
}

/// Behaves well, while another thread does the same over and over again: at first it may, and once the
/// process is confined it may not.
fn meanwhile(what: impl Fn() + Send + 'static) -> ExitCode {
    std::thread::spawn(move || {
        loop {
            what();
        }
    });
    host_strategies()
}

fn wait_for_ever() -> ExitCode {
    let mut byte = [0];
    // SAFETY: standard input is open; this process does nothing else with it.
    let input = unsafe { BorrowedFd::borrow_raw(0) };
    loop {
        match rustix::io::read(input, &mut byte) {
            Ok(0) | Err(_) => return ExitCode::SUCCESS,
            Ok(_) => {}
        }
    }
}

/// Sends bytes and stays.
fn write(bytes: &[u8]) -> ExitCode {
    write_to(0, bytes);
    wait_for_ever()
}

fn write_to(descriptor: i32, bytes: &[u8]) -> ExitCode {
    // SAFETY: a standard descriptor, which is open; std's handles of it are not used.
    let owned = std::mem::ManuallyDrop::new(unsafe { OwnedFd::from_raw_fd(descriptor) });
    let copy = owned.try_clone().expect("a standard descriptor is open");
    match std::fs::File::from(copy).write_all(bytes) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
