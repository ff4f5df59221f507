//! Programs that builds call, the versions that are pinned, and what to type when something is missing.

use std::env;
use std::ffi::OsStr;
use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::{Error, Language};

/// The npm package that puts JavaScript and its engine into a component.
pub const COMPONENTIZE_QJS: Pin = Pin { package: "componentize-qjs", version: "0.4.5" };

/// The PyPI package that puts Python and its interpreter into a component.
pub const COMPONENTIZE_PY: Pin = Pin { package: "componentize-py", version: "0.25.1" };

/// The target of C strategies.
pub const C_TARGET: &str = "wasm32-wasi";

/// A package and the one version of it that builds use: another one gives other components.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pin {
    /// Its name in its registry.
    pub package: &'static str,
    /// Its version.
    pub version: &'static str,
}

/// Something a build needs and the machine lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// What it is.
    pub what: &'static str,
    /// The Debian packages that bring it; empty where Debian has none that would do.
    pub packages: &'static [&'static str],
    /// What to do, in words.
    pub remedy: &'static str,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is missing: {}", self.what, self.remedy)
    }
}

pub(crate) fn list(missing: &[Missing]) -> String {
    missing.iter().map(Missing::to_string).collect::<Vec<_>>().join("\n")
}

const CARGO: Missing = Missing {
    what: "cargo",
    packages: &[],
    remedy: "install rustup from https://rustup.rs, then `rustup target add wasm32-unknown-unknown`",
};
const CLANG: Missing = Missing { what: "clang", packages: &["clang"], remedy: "apt-get install clang" };
const LLD: Missing =
    Missing { what: "wasm-ld, clang's linker", packages: &["lld"], remedy: "apt-get install lld" };
const WASI_LIBC: Missing = Missing {
    what: "the C library for wasm32-wasi",
    packages: &["wasi-libc"],
    remedy: "apt-get install wasi-libc",
};
const COMPILER_RT: Missing = Missing {
    what: "clang's run-time library for wasm32",
    packages: &["libclang-rt-dev-wasm32"],
    remedy: "apt-get install libclang-rt-dev-wasm32",
};
const NODE: Missing = Missing {
    what: "node 18 or newer",
    packages: &["nodejs"],
    remedy: "apt-get install nodejs, or see https://nodejs.org",
};
const NPM: Missing =
    Missing { what: "npm", packages: &["npm"], remedy: "apt-get install npm, or see https://nodejs.org" };
const PYTHON: Missing = Missing {
    what: "python3 with venv and ensurepip",
    packages: &["python3-venv"],
    remedy: "apt-get install python3-venv",
};

/// What this machine lacks to build strategies in `language`, packages from npm and PyPI aside: builds fetch
/// those themselves.
pub fn missing(language: Language) -> Vec<Missing> {
    let lacking: &[(bool, Missing)] = match language {
        Language::C => return missing_for_c(),
        Language::JavaScript => {
            &[(!succeeds("node", &["--version"]), NODE), (!succeeds("npm", &["--version"]), NPM)]
        }
        Language::Python => &[(!succeeds("python3", &["-c", "import ensurepip, venv"]), PYTHON)],
        Language::Rust => &[(!succeeds("cargo", &["--version"]), CARGO)],
    };
    lacking.iter().filter(|(lacks, _)| *lacks).map(|(_, what)| what.clone()).collect()
}

fn missing_for_c() -> Vec<Missing> {
    if !succeeds("clang", &["--version"]) {
        return vec![CLANG, LLD, WASI_LIBC, COMPILER_RT];
    }
    let target = format!("--target={C_TARGET}");
    let prints_path = |question: &str| {
        let answer = Command::new("clang").args([&target, "-rtlib=compiler-rt", question]).output();
        answer.is_ok_and(|answer| Path::new(String::from_utf8_lossy(&answer.stdout).trim()).is_absolute())
    };
    let mut missing = Vec::new();
    if !succeeds("wasm-ld", &["--version"]) && !prints_path("-print-prog-name=wasm-ld") {
        missing.push(LLD);
    }
    if !prints_path("-print-file-name=libc.a") {
        missing.push(WASI_LIBC);
    }
    let runtime =
        Command::new("clang").args([&target, "-rtlib=compiler-rt", "-print-libgcc-file-name"]).output();
    if !runtime.is_ok_and(|path| Path::new(String::from_utf8_lossy(&path.stdout).trim()).is_file()) {
        missing.push(COMPILER_RT);
    }
    missing
}

fn succeeds(program: &str, args: &[&str]) -> bool {
    let run = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    run.is_ok_and(|status| status.success())
}

/// Fails with all that `language` lacks.
pub(crate) fn require(language: Language) -> Result<(), Error> {
    let missing = missing(language);
    if missing.is_empty() { Ok(()) } else { Err(Error::Missing(missing)) }
}

/// Installs componentize-qjs under `tools` unless it is there in the pinned version; returns its entry point.
pub(crate) fn componentize_qjs(tools: &Path) -> Result<PathBuf, Error> {
    let Pin { package, version } = COMPONENTIZE_QJS;
    let prefix = tools.join(format!("{package}-{version}"));
    let entry = prefix.join("node_modules").join(package).join("cli.mjs");
    if !entry.is_file() {
        create(&prefix)?;
        let mut install = Command::new("npm");
        install.args(["install", "--no-save", "--no-audit", "--no-fund", "--loglevel=error", "--prefix"]);
        run(install.arg(&prefix).arg(format!("{package}@{version}")).current_dir(&prefix))?;
    }
    Ok(entry)
}

/// Installs componentize-py into a virtual environment under `tools` unless it is there; returns the program.
pub(crate) fn componentize_py(tools: &Path) -> Result<PathBuf, Error> {
    let Pin { package, version } = COMPONENTIZE_PY;
    let venv = tools.join(format!("{package}-{version}"));
    let program = venv.join("bin").join(package);
    if !program.is_file() {
        create(tools)?;
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv))?;
        let mut install = Command::new(venv.join("bin/pip"));
        install.args(["install", "--quiet", "--disable-pip-version-check", "--no-input"]);
        run(install.arg(format!("{package}=={version}")))?;
    }
    Ok(program)
}

fn create(dir: &Path) -> Result<(), Error> {
    std::fs::create_dir_all(dir).map_err(Error::file("create", dir))
}

/// Runs a tool to its end; what it prints is shown only when it fails.
pub(crate) fn run(command: &mut Command) -> Result<Output, Error> {
    let output = command.stdin(Stdio::null()).output().map_err(|source| started(command, source))?;
    if output.status.success() {
        return Ok(output);
    }
    let mut said = String::from_utf8_lossy(&output.stdout).into_owned();
    said.push_str(&String::from_utf8_lossy(&output.stderr));
    Err(Error::Failed { command: shown(command), status: output.status, output: tail(&said).to_owned() })
}

/// Why `command` could not be started.
pub(crate) fn started(command: &Command, source: std::io::Error) -> Error {
    let program = command.get_program().to_string_lossy().into_owned();
    let known = [
        ("cargo", CARGO),
        ("rustc", CARGO),
        ("clang", CLANG),
        ("node", NODE),
        ("npm", NPM),
        ("python3", PYTHON),
    ];
    match known.into_iter().find(|(name, _)| *name == program) {
        Some((_, missing)) if source.kind() == ErrorKind::NotFound => Error::Missing(vec![missing]),
        Some(_) | None => Error::Start { program, source },
    }
}

/// The command as one would type it.
pub(crate) fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let words = std::iter::once(program).chain(command.get_args());
    words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}

/// The end of a long text: compilers say what matters last.
fn tail(text: &str) -> &str {
    const KEPT: usize = 4096;
    let text = text.trim_end();
    let mut start = text.len().saturating_sub(KEPT);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    &text[start..]
}

/// Cargo as whoever runs us called it, without what it told us about ourselves.
///
/// Build scripts watch variables like `CARGO_PKG_NAME`: inherited, they would make a build from here differ
/// from the same build typed by hand.
pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    let ours = ["CARGO_BIN_", "CARGO_CRATE_", "CARGO_MANIFEST_", "CARGO_PKG_", "CARGO_PRIMARY_"];
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(|name| ours.iter().any(|prefix| name.starts_with(prefix))) {
            cargo.env_remove(name);
        }
    }
    cargo
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_comes_with_its_remedy() {
        let error = run(&mut Command::new("no-such-compiler")).unwrap_err();
        assert!(matches!(error, Error::Start { ref program, .. } if program == "no-such-compiler"));
        let gone = || std::io::Error::from(ErrorKind::NotFound);
        let Error::Missing(missing) = started(&Command::new("clang"), gone()) else {
            panic!("clang is known")
        };
        assert_eq!(missing[0].packages, ["clang"]);
        assert!(Error::Missing(missing).to_string().contains("apt-get install clang"));
    }

    #[test]
    fn what_a_failing_tool_printed_is_in_the_error() {
        let error = run(Command::new("sh").args(["-c", "echo here; echo there >&2; exit 3"])).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("here\nthere") && text.contains("exit status: 3"), "{text}");
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let text = "é".repeat(4096);
        assert!(tail(&text).len() <= 4096 && tail(&text).starts_with('é'));
        assert_eq!(tail("short\n"), "short");
    }
}
