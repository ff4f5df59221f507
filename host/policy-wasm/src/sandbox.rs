//! What a call may touch: memory and tables up to their limits, and the log.

use wasmtime::ResourceLimiter;

use crate::limits::Limits;
use crate::runtime::{Cost, Level, LogLine};

/// Bytes of one log line that are kept.
const MAX_LINE: usize = 512;

/// The state behind one instance; dropped with it.
#[derive(Debug)]
pub(crate) struct Sandbox {
    limits: Limits,
    memory: usize,
    memory_refused: bool,
    table_elements: usize,
    table_refused: bool,
    lines: Vec<LogLine>,
    dropped: u32,
}

impl Sandbox {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            limits: limits.clone(),
            memory: 0,
            memory_refused: false,
            table_elements: 0,
            table_refused: false,
            lines: Vec::new(),
            dropped: 0,
        }
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(crate) fn memory_refused(&self) -> bool {
        self.memory_refused
    }

    pub(crate) fn table_refused(&self) -> bool {
        self.table_refused
    }

    /// Keeps a line of the component, until it has written too many.
    pub(crate) fn log(&mut self, level: Level, message: &str) {
        if self.lines.len() >= usize::try_from(self.limits.log_lines).unwrap_or(usize::MAX) {
            self.dropped = self.dropped.saturating_add(1);
        } else {
            self.lines.push(LogLine { level, text: escaped(message, MAX_LINE) });
        }
    }

    /// What the call cost, given the fuel that it used.
    pub(crate) fn cost(self, fuel: u64) -> Cost {
        let memory = u64::try_from(self.memory).unwrap_or(u64::MAX);
        Cost { fuel, memory, lines: self.lines, dropped: self.dropped }
    }
}

impl ResourceLimiter for Sandbox {
    /// Sums over all memories: a component may have several, and a limit per memory would multiply.
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        let sum = self.memory.saturating_add(desired.saturating_sub(current));
        if sum > self.limits.memory {
            self.memory_refused = true;
            return Ok(false);
        }
        self.memory = sum;
        Ok(true)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        let sum = self.table_elements.saturating_add(desired.saturating_sub(current));
        if sum > self.limits.table_elements {
            self.table_refused = true;
            return Ok(false);
        }
        self.table_elements = sum;
        Ok(true)
    }

    fn instances(&self) -> usize {
        self.limits.instances
    }

    fn tables(&self) -> usize {
        self.limits.tables
    }

    fn memories(&self) -> usize {
        self.limits.memories
    }
}

/// `text` with control characters escaped, cut to at most `bytes` bytes on a character boundary.
fn escaped(text: &str, bytes: usize) -> String {
    let mut out = String::new();
    for c in text.chars() {
        let before = out.len();
        if c.is_control() {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
        if out.len() > bytes {
            out.truncate(before);
            break;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_summed_over_all_memories() {
        let mut sandbox = Sandbox::new(&Limits { memory: 100, ..Limits::default() });
        assert!(sandbox.memory_growing(0, 60, None).unwrap());
        assert!(!sandbox.memory_growing(0, 60, None).unwrap());
        assert!(sandbox.memory_refused());
    }

    #[test]
    fn a_memory_that_refuses_itself_is_not_our_refusal() {
        let mut sandbox = Sandbox::new(&Limits::default());
        assert!(!sandbox.memory_growing(0, 60, Some(50)).unwrap());
        assert!(!sandbox.memory_refused());
    }

    #[test]
    fn log_lines_cannot_forge_others() {
        assert_eq!(escaped("a\nERROR fake\u{1b}[2J", 512), "a\\nERROR fake\\u{1b}[2J");
        assert_eq!(escaped(&"ü".repeat(400), 512).len(), 512);
    }
}
