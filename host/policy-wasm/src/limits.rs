//! What one call into a component may cost.

use std::time::Duration;

/// Bounds on one call; every one is enforced, and each has a most that the operator may raise it to.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Limits {
    /// Instructions, roughly: 15 million are 8 ms of empty loops, and less of other code.
    pub fuel: u64,
    /// Wall time, the backstop behind fuel; coarse, and longer on a busy machine.
    pub deadline: Duration,
    /// Linear memory, summed over all memories of the instance, bytes.
    pub memory: usize,
    /// Bytes that one returned value, or one log line, may copy to the host.
    pub hostcall_bytes: usize,
    /// Elements, summed over all tables.
    pub table_elements: usize,
    /// Core instances inside the component.
    pub instances: usize,
    /// Linear memories.
    pub memories: usize,
    /// Tables.
    pub tables: usize,
    /// Log lines that are kept; the rest is counted.
    pub log_lines: u32,
    /// Bytes of the component file.
    pub component_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            fuel: 15_000_000,
            deadline: Duration::from_millis(50),
            memory: 16 << 20,
            hostcall_bytes: 256 << 10,
            table_elements: 10_000,
            instances: 64,
            memories: 4,
            tables: 8,
            log_lines: 32,
            component_bytes: 4 << 20,
        }
    }
}

/// A limit that is zero or beyond what the host can promise to survive.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("limit {limit} = {asked} is not between 1 and {most}")]
pub struct LimitOutOfRange {
    /// Which one.
    pub limit: &'static str,
    /// What was asked, in the limit's unit.
    pub asked: u64,
    /// The most that may be asked.
    pub most: u64,
}

impl Limits {
    /// The most that each limit may be raised to: what a 2-vCPU node survives without noticing.
    pub fn most() -> Self {
        Self {
            fuel: 2_000_000_000,
            deadline: Duration::from_secs(2),
            memory: 128 << 20,
            hostcall_bytes: 1 << 20,
            table_elements: 50_000,
            instances: 256,
            memories: 8,
            tables: 16,
            log_lines: 256,
            component_bytes: 32 << 20,
        }
    }

    /// Checks every limit against [`Limits::most`].
    pub fn check(&self) -> Result<(), LimitOutOfRange> {
        let most = Self::most();
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let wide = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let pairs = [
            ("fuel", self.fuel, most.fuel),
            ("deadline_ms", millis(self.deadline), millis(most.deadline)),
            ("memory", wide(self.memory), wide(most.memory)),
            ("hostcall_bytes", wide(self.hostcall_bytes), wide(most.hostcall_bytes)),
            ("table_elements", wide(self.table_elements), wide(most.table_elements)),
            ("instances", wide(self.instances), wide(most.instances)),
            ("memories", wide(self.memories), wide(most.memories)),
            ("tables", wide(self.tables), wide(most.tables)),
            ("log_lines", self.log_lines.into(), most.log_lines.into()),
            ("component_bytes", wide(self.component_bytes), wide(most.component_bytes)),
        ];
        match pairs.into_iter().find(|(_, asked, most)| *asked == 0 || asked > most) {
            Some((limit, asked, most)) => Err(LimitOutOfRange { limit, asked, most }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_within_what_may_be_asked() {
        assert_eq!(Limits::default().check(), Ok(()));
        assert_eq!(Limits::most().check(), Ok(()));
    }

    #[test]
    fn zero_and_too_much_are_refused_by_name() {
        let none = Limits { fuel: 0, ..Limits::default() };
        assert_eq!(none.check().unwrap_err().limit, "fuel");
        let long = Limits { deadline: Duration::from_secs(3), ..Limits::default() };
        assert_eq!(
            long.check().unwrap_err(),
            LimitOutOfRange { limit: "deadline_ms", asked: 3000, most: 2000 }
        );
    }
}
