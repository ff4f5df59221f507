//! What a process holds, so that a test can say whether something was left behind.

use std::fs;
use std::path::PathBuf;

use anyhow::Context as _;

/// What a process holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Residue {
    /// Memory of its own that is present, bytes.
    pub memory: u64,
    /// Mappings of its address space.
    pub mappings: usize,
    /// Open descriptors.
    pub descriptors: usize,
    /// Threads.
    pub threads: usize,
}

impl Residue {
    /// Of this process.
    pub fn here() -> anyhow::Result<Self> {
        Self::of(std::process::id())
    }

    /// Of the process with this id.
    pub fn of(process: u32) -> anyhow::Result<Self> {
        let proc = PathBuf::from(format!("/proc/{process}"));
        let entries = |name: &str| -> anyhow::Result<usize> {
            let path = proc.join(name);
            Ok(fs::read_dir(&path).with_context(|| format!("read {}", path.display()))?.count())
        };
        let text = |name: &str| {
            let path = proc.join(name);
            fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
        };
        let status = text("status")?;
        let kibibytes = |key: &str| -> anyhow::Result<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(key));
            let number = line.and_then(|line| line.split_whitespace().next());
            Ok(number.with_context(|| format!("no {key}"))?.parse()?)
        };
        Ok(Self {
            memory: (kibibytes("RssAnon:")? + kibibytes("RssShmem:")?) << 10,
            mappings: text("maps")?.lines().count(),
            descriptors: entries("fd")?,
            threads: entries("task")?,
        })
    }

    /// What is there now beyond what was `before`: more descriptors, threads or mappings, or noticeably more
    /// memory, by more than `tolerance` bytes. Mappings come and go with the allocator, so a few are forgiven.
    pub fn beyond(&self, before: &Self, tolerance: u64) -> Vec<String> {
        const MAPPINGS: usize = 40;
        let mut more = Vec::new();
        if self.descriptors > before.descriptors {
            more.push(format!("{} descriptors became {}", before.descriptors, self.descriptors));
        }
        if self.threads > before.threads {
            more.push(format!("{} threads became {}", before.threads, self.threads));
        }
        if self.mappings > before.mappings + MAPPINGS {
            more.push(format!("{} mappings became {}", before.mappings, self.mappings));
        }
        if self.memory > before.memory + tolerance {
            more.push(format!("{} KiB of memory became {}", before.memory >> 10, self.memory >> 10));
        }
        more
    }
}

/// The children of this process that have not been waited for, by id.
pub fn children() -> anyhow::Result<Vec<u32>> {
    let me = std::process::id().to_string();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Some(id) = entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        // Processes end while this looks at them.
        let Ok(stat) = fs::read_to_string(format!("/proc/{id}/stat")) else { continue };
        // After the name, which may contain anything: state, parent.
        let parent = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1));
        if parent == Some(me.as_str()) {
            found.push(id);
        }
    }
    Ok(found)
}
