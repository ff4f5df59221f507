//! Compiling in a child: the most intricate code there is, run on a stranger's bytes.
//!
//! The component comes as a sealed anonymous file on standard input, the machine code goes to an anonymous
//! file on standard output, and a few words about what went wrong to a pipe on standard error.

use std::ffi::OsStr;
use std::io::{PipeReader, Read};
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ExitCode, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};

use super::{CompileError, ROLE};
use crate::artifact::{Artifact, MAX_CODE, anonymous, read_all, sealed_file, write_all};
use crate::confine::{Bounds, Calls, Child, Confined};
use crate::engine;
use crate::fault::words;

/// Processor time of one compilation, seconds.
const CPU_SECS: u64 = 60;
/// Memory of one compilation, bytes.
const MEMORY: u64 = 1 << 30;
/// Wall time of one compilation: on a busy node it gets half a processor.
const DEADLINE: Duration = Duration::from_secs(120);
/// Bytes that the child may say about what went wrong.
const MAX_SAID: u64 = 1 << 10;

/// Exit codes of the child.
mod exit {
    /// The component is not valid, and standard error says why.
    pub(super) const INVALID: u8 = 2;
    /// The child could not work, and standard error says why.
    pub(super) const UNABLE: u8 = 3;
    /// The machine code is larger than what is accepted.
    pub(super) const TOO_LARGE: u8 = 4;
}

/// What a signal that ended the child says.
mod signal {
    /// Out of memory or stack: there is no other way for the program to end itself.
    pub(super) const ABORT: i32 = 6;
    /// From outside; mostly the machine has no memory left.
    pub(super) const KILL: i32 = 9;
    /// Too much processor time.
    pub(super) const CPU: i32 = 24;
    /// Too large a file.
    pub(super) const FILE_SIZE: i32 = 25;
}

const BOUNDS: Bounds = Bounds {
    address_space: 2 * MEMORY,
    data: MEMORY,
    cpu_secs: Some(CPU_SECS),
    file_size: MAX_CODE as u64,
    files: 16,
    nice: 10,
};

/// Compiles in a child, and waits for it.
pub(super) fn compile(program: &Path, digest: &str, component: &[u8]) -> Result<Artifact, CompileError> {
    let failed =
        |what: &str, error: std::io::Error| CompileError::NoCompiler { why: format!("{what}: {error}") };
    let input =
        sealed_file("strategy-component", component).map_err(|error| failed("hand it over", error))?;
    let code = anonymous("strategy-code").map_err(|error| failed("make room for its code", error))?;
    let output = code.try_clone().map_err(|error| failed("make room for its code", error))?;
    let (said, saying) = std::io::pipe().map_err(|error| failed("make a pipe", error))?;
    let streams = [Stdio::from(input), Stdio::from(output), Stdio::from(saying)];
    let deadline = Instant::now() + DEADLINE;
    let child =
        Child::start(program, OsStr::new(ROLE), streams).map_err(|error| failed("start it", error))?;
    let status = child.wait_until(deadline).map_err(|error| failed("wait for it", error))?;
    let said = heard(said);
    match status {
        Some(status) if status.success() => {
            // The child wrote it and is gone; sealed, nobody else can.
            Artifact::seal(digest, code).map_err(|error| failed("take its code over", error))
        }
        Some(status) => Err(told(status, said)),
        None => Err(CompileError::TooCostly { limit: format!("{} s", DEADLINE.as_secs()) }),
    }
}

/// What the child said, cut to size.
fn heard(said: PipeReader) -> String {
    let mut text = Vec::new();
    // Nobody writes any more, so this ends; what cannot be read was not said.
    let _ = said.take(MAX_SAID).read_to_end(&mut text);
    words(&String::from_utf8_lossy(&text))
}

fn told(status: ExitStatus, said: String) -> CompileError {
    let costly = |limit: String| CompileError::TooCostly { limit };
    match (status.code().and_then(|code| u8::try_from(code).ok()), status.signal()) {
        (Some(exit::INVALID), _) => CompileError::Invalid { why: said },
        (Some(exit::TOO_LARGE), _) | (_, Some(signal::FILE_SIZE)) => {
            costly(format!("{} MiB of machine code", MAX_CODE >> 20))
        }
        (_, Some(signal::ABORT)) => costly(format!("{} MiB of memory", MEMORY >> 20)),
        (_, Some(signal::CPU)) => costly(format!("{CPU_SECS} s of processor time")),
        (_, Some(signal::KILL)) => costly("the machine has memory for".into()),
        (_, _) if said.is_empty() => CompileError::NoCompiler { why: status.to_string() },
        (_, _) => CompileError::NoCompiler { why: said },
    }
}

/// The main function of the child that compiles one component; the daemon starts it with the component on
/// standard input.
///
/// To be called before anything else in the process, while it has one thread.
pub fn compile_component() -> ExitCode {
    let (code, why) = match compile_here() {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Failed::Orphan) => return ExitCode::FAILURE,
        Err(Failed::TooLarge) => (exit::TOO_LARGE, String::new()),
        Err(Failed::Invalid(why)) => (exit::INVALID, why),
        Err(Failed::Unable(why)) => (exit::UNABLE, words(&why)),
    };
    // Nobody else can be told.
    let _ = rustix::io::write(std::io::stderr(), why.as_bytes());
    ExitCode::from(code)
}

enum Failed {
    Orphan,
    TooLarge,
    Invalid(String),
    Unable(String),
}

fn compile_here() -> Result<(), Failed> {
    let unable = |error: &dyn std::fmt::Display| Failed::Unable(error.to_string());
    let confined = Confined::enter(c"enid-compile", &BOUNDS).map_err(|error| unable(&error))?;
    // From here on it ends with the daemon; the daemon may have ended just before.
    if orphaned() {
        return Err(Failed::Orphan);
    }
    confined.seal(Calls::Compile).map_err(|error| unable(&error))?;
    let input = std::io::stdin();
    let size = rustix::fs::fstat(input.as_fd()).map_err(|error| unable(&error))?.st_size;
    let size = usize::try_from(size).map_err(|error| unable(&error))?;
    let component = read_all(input.as_fd(), size).map_err(|error| unable(&error))?;
    let code = engine::precompile(&component).map_err(Failed::Invalid)?;
    if code.len() > MAX_CODE {
        return Err(Failed::TooLarge);
    }
    write_all(std::io::stdout().as_fd(), &code).map_err(|error| unable(&error))
}

/// Whether nobody listens to what goes wrong any more.
fn orphaned() -> bool {
    let error = std::io::stderr();
    let error = error.as_fd();
    let mut polled = [PollFd::from_borrowed_fd(error, PollFlags::OUT)];
    let polled_now = rustix::event::poll(&mut polled, Some(&Timespec::default()));
    polled_now.is_ok() && polled[0].revents().intersects(PollFlags::ERR | PollFlags::HUP)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_end_has_its_reason() {
        let exited = |code: u8| ExitStatus::from_raw(i32::from(code) << 8);
        let said = || "said".to_owned();
        assert_eq!(told(exited(exit::INVALID), said()), CompileError::Invalid { why: said() });
        assert_eq!(told(exited(exit::UNABLE), said()), CompileError::NoCompiler { why: said() });
        assert!(matches!(told(exited(101), String::new()), CompileError::NoCompiler { .. }));
        assert!(matches!(told(exited(exit::TOO_LARGE), said()), CompileError::TooCostly { .. }));
        for signal in [signal::ABORT, signal::KILL, signal::CPU, signal::FILE_SIZE] {
            let ended = told(ExitStatus::from_raw(signal), said());
            assert!(matches!(ended, CompileError::TooCostly { .. }), "{signal}: {ended}");
        }
        assert!(matches!(told(ExitStatus::from_raw(31), String::new()), CompileError::NoCompiler { .. }));
    }
}
