//! What a call may touch: memory and tables up to their limits, and the log.

use wasmtime::ResourceLimiter;

use crate::limits::Limits;

/// Bytes of one log line that are kept.
const MAX_LINE: usize = 512;

/// The state behind one instance; dropped with it.
#[derive(Debug)]
pub(crate) struct Sandbox {
    strategy: String,
    limits: Limits,
    memory: usize,
    memory_refused: bool,
    table_elements: usize,
    table_refused: bool,
    lines: u32,
}

/// How much a log line matters to its author.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    Debug,
    Info,
    Warn,
}

impl Sandbox {
    pub(crate) fn new(strategy: &str, limits: &Limits) -> Self {
        Self {
            strategy: strategy.to_owned(),
            limits: limits.clone(),
            memory: 0,
            memory_refused: false,
            table_elements: 0,
            table_refused: false,
            lines: 0,
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

    /// Writes a line of the component to the host's log, until it has written too many.
    ///
    /// All levels become DEBUG: what an operator must see comes as a fault or a reason, not as chatter.
    pub(crate) fn log(&mut self, level: Level, message: &str) {
        self.lines = self.lines.saturating_add(1);
        if self.lines > self.limits.log_lines {
            if self.lines == self.limits.log_lines + 1 {
                tracing::debug!(
                    strategy = self.strategy,
                    "strategy logs too much; the rest of this call is dropped"
                );
            }
            return;
        }
        let line = escaped(message, MAX_LINE);
        tracing::debug!(strategy = self.strategy, level = ?level, line, "strategy says");
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
        let mut sandbox = Sandbox::new("x", &Limits { memory: 100, ..Limits::default() });
        assert!(sandbox.memory_growing(0, 60, None).unwrap());
        assert!(!sandbox.memory_growing(0, 60, None).unwrap());
        assert!(sandbox.memory_refused());
    }

    #[test]
    fn a_memory_that_refuses_itself_is_not_our_refusal() {
        let mut sandbox = Sandbox::new("x", &Limits::default());
        assert!(!sandbox.memory_growing(0, 60, Some(50)).unwrap());
        assert!(!sandbox.memory_refused());
    }

    #[test]
    fn log_lines_cannot_forge_others() {
        assert_eq!(escaped("a\nERROR fake\u{1b}[2J", 512), "a\\nERROR fake\\u{1b}[2J");
        assert_eq!(escaped(&"ü".repeat(400), 512).len(), 512);
    }
}
