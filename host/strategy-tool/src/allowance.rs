//! What one decision may cost, as options.

use std::time::Duration;

use clap::Args;
use enid_policy_wasm::Limits;

use crate::failure::Failure;

/// The limits that an operator can set in `[strategy.….limits]`, with the same defaults but for the deadline: it
/// depends on how busy the author's machine is, and fuel, which does not, ends what runs too long.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Allowance {
    /// Fuel for one call [default: 50000000]
    #[arg(long, value_name = "UNITS", help_heading = "Limits")]
    fuel: Option<u64>,
    /// Wall time for one call, in milliseconds [default: 2000; on a node 50]
    #[arg(long, value_name = "MS", help_heading = "Limits")]
    deadline_ms: Option<u64>,
    /// Memory for one call, in MiB [default: 16]
    #[arg(long, value_name = "MIB", help_heading = "Limits")]
    memory_mib: Option<u64>,
    /// Size of a component file, in MiB [default: 4]
    #[arg(long, value_name = "MIB", help_heading = "Limits")]
    component_mib: Option<u64>,
}

impl Allowance {
    /// The limits, or which one is out of range.
    pub(crate) fn limits(&self) -> Result<Limits, Failure> {
        let mut limits = self.limits_on_a_node()?;
        if self.deadline_ms.is_none() {
            limits.deadline = Limits::most().deadline;
        }
        Ok(limits)
    }

    /// The limits as a node has them.
    pub(crate) fn limits_on_a_node(&self) -> Result<Limits, Failure> {
        let mut limits = Limits::default();
        if let Some(fuel) = self.fuel {
            limits.fuel = fuel;
        }
        if let Some(millis) = self.deadline_ms {
            limits.deadline = Duration::from_millis(millis);
        }
        let from_mib = |mib: u64| usize::try_from(mib.saturating_mul(1 << 20)).unwrap_or(usize::MAX);
        if let Some(mib) = self.memory_mib {
            limits.memory = from_mib(mib);
        }
        if let Some(mib) = self.component_mib {
            limits.component_bytes = from_mib(mib);
        }
        limits.check().map_err(Failure::input)?;
        Ok(limits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_out_of_range_are_refused_by_name() {
        let allowance = |fuel, memory_mib| Allowance { fuel, memory_mib, ..Allowance::default() };
        let refused = allowance(Some(0), None).limits().unwrap_err();
        assert_eq!((refused.code, refused.to_string().contains("fuel = 0")), (Failure::INPUT, true));
        assert!(allowance(None, Some(u64::MAX)).limits().is_err());
        assert_eq!(allowance(None, Some(32)).limits().unwrap().memory, 32 << 20);
    }

    #[test]
    fn only_a_deadline_that_was_asked_for_is_short() {
        let free = Allowance::default();
        assert_eq!(free.limits().unwrap().deadline, Limits::most().deadline);
        assert_eq!(free.limits_on_a_node().unwrap(), Limits::default());
        let asked = Allowance { deadline_ms: Some(7), ..Allowance::default() };
        assert_eq!(asked.limits().unwrap().deadline, Duration::from_millis(7));
    }
}
