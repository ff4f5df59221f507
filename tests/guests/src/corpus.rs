//! The hostile guests: each in a folder under `hostile/`, with one line saying what it attacks and one saying
//! how it must end.
//!
//! The lines are comments at the top of `guest.wat`:
//!
//! * `;; attacks: <whom and how>`
//! * `;; ends in: <step>: <failure>`, of admission; `an answer` when it is let in, because the attack comes to
//!   nothing.
//! * `;; asked: <failure>`, or `an answer`: how it ends when it is loaded without admission and asked. Only of
//!   guests that load at all.
//! * `;; kind: <kind>`, when it is not a warm-pool strategy. `;; fuel:`, `;; deadline-ms:`: other limits.
//! * `;; then: <alteration>`: what is done to the finished bytes. `;; beside: <fields>`: of the component around
//!   its module. `;; compiled: in a child only`, when only the compiler's limits stop it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use enid_core::kind::Kind;
use enid_policy_wasm::{Limits, Place};

use crate::assembly::{Assembly, altered, repeated};

/// One hostile guest.
#[derive(Clone, Debug)]
pub struct Hostile {
    /// Its folder's name.
    pub name: String,
    /// What it attacks, in one line.
    pub attacks: String,
    /// How its admission must end.
    pub ends_in: String,
    /// How it must end when it is loaded without admission and asked; `None` when it does not load.
    pub asked: Option<String>,
    /// The kind of strategy that it is offered as.
    pub kind: Kind,
    /// Whether it must not be compiled in a process that is to survive.
    pub needs_child: bool,
    /// What is offered to the host.
    pub bytes: Vec<u8>,
    /// The limits under which it runs.
    pub limits: Limits,
}

/// Where this crate is now: with a target directory that outlives checkouts, it may have been compiled in another.
pub fn crate_directory() -> anyhow::Result<PathBuf> {
    let here = std::env::var_os("CARGO_MANIFEST_DIR").context("run this with cargo or xtask")?;
    Ok(PathBuf::from(here))
}

impl Hostile {
    /// All of them, by name.
    pub fn all() -> anyhow::Result<Vec<Hostile>> {
        let dir = crate_directory()?.join("hostile");
        let mut folders: Vec<PathBuf> = Vec::new();
        for entry in std::fs::read_dir(&dir).with_context(|| format!("read {}", dir.display()))? {
            folders.push(entry?.path());
        }
        folders.sort();
        folders.iter().map(|folder| Self::read(folder)).collect()
    }

    /// The one in this folder.
    pub fn named(name: &str) -> anyhow::Result<Hostile> {
        Self::read(&crate_directory()?.join("hostile").join(name))
    }

    /// Those that a place can be tried with.
    pub fn all_for(place: Place) -> anyhow::Result<Vec<Hostile>> {
        let mut all = Self::all()?;
        all.retain(|hostile| place == Place::Process || !hostile.needs_child);
        Ok(all)
    }

    /// Whether admission is to let it in.
    pub fn is_let_in(&self) -> bool {
        self.ends_in == "an answer"
    }

    fn read(folder: &Path) -> anyhow::Result<Hostile> {
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let path = folder.join("guest.wat");
        let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        let line = |key: &str| text.lines().find_map(|line| line.strip_prefix(&format!(";; {key}: ")));
        let number = |key: &str| {
            let number = line(key).map(str::parse::<u64>).transpose();
            number.with_context(|| format!("{name}: `{key}`"))
        };
        // The longest deadline there is, unless the deadline is under attack: a busy machine must not turn
        // another fault into this one.
        let mut limits = Limits { deadline: Limits::most().deadline, ..Limits::default() };
        if let Some(fuel) = number("fuel")? {
            limits.fuel = fuel;
        }
        if let Some(millis) = number("deadline-ms")? {
            limits.deadline = Duration::from_millis(millis);
        }
        let kind = line("kind").map_or(Ok(Kind::WarmPool), str::parse).with_context(|| name.clone())?;
        let bytes = if text.contains("\n(component") {
            wat::parse_str(repeated(&text)?).with_context(|| name.clone())?
        } else {
            let beside = line("beside").unwrap_or_default();
            Assembly { kind, fields: &text, beside }.bytes().with_context(|| name.clone())?
        };
        let bytes = altered(bytes, line("then")).with_context(|| name.clone())?;
        let required =
            |key: &str| line(key).map(str::to_owned).with_context(|| format!("{name} lacks `;; {key}:`"));
        Ok(Hostile {
            attacks: required("attacks")?,
            ends_in: required("ends in")?,
            asked: line("asked").map(str::to_owned),
            needs_child: line("compiled") == Some("in a child only"),
            name,
            kind,
            bytes,
            limits,
        })
    }
}
