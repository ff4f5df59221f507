//! The trial: a component answers synthetic and recorded snapshots before it answers in earnest.

use std::sync::Arc;

use enid_core::document::Snapshot;
use enid_core::snapshot::{Context, Setting};
use enid_core::specimen;

use super::{Inadmissible, Step};
use crate::fault::{Failing, Fault};
use crate::question::{self, Judged};
use crate::runtime::Guest;

/// Fuel that asking about recorded snapshots may use in total: what compiled strategies need for all of them,
/// and some tens of answers of an interpreted one.
pub(crate) const REPLAY_FUEL: u64 = 2_000_000_000;

/// What a trial came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trial {
    /// Synthetic snapshots that it answered, each twice.
    pub corners: u32,
    /// Recorded snapshots that it answered.
    pub replayed: u32,
    /// Snapshots that it declared unsupported.
    pub unsupported: u32,
    /// Answers that had to be bent into range.
    pub bent: u32,
    /// The most fuel that an answer used.
    pub most_fuel: u64,
    /// The most memory that an answer used, bytes.
    pub most_memory: u64,
}

impl Trial {
    /// Asks about every corner twice, and about the recorded snapshots in order, newest last, as far as
    /// [`REPLAY_FUEL`] lasts.
    pub(super) fn run(
        guest: &dyn Guest,
        settings: &[Setting],
        recorded: &[Arc<Snapshot>],
    ) -> Result<Self, Inadmissible> {
        let mut trial = Self::default();
        for (name, corner) in specimen::corners(guest.kind()) {
            let question = with(&corner, settings, &[]);
            let first = trial.ask(guest, Step::Corners, name, &question)?;
            let second = trial.ask(guest, Step::Corners, name, &question)?;
            let differs = |what| Inadmissible::NotDeterministic { snapshot: name.to_owned(), what };
            if first.judged != second.judged {
                return Err(differs("target or reason"));
            }
            if first.fuel != second.fuel {
                return Err(differs("use of fuel"));
            }
            trial.corners += 1;
        }
        let mut fuel = 0_u64;
        let mut state = Vec::new();
        for snapshot in recorded.iter().filter(|snapshot| snapshot.kind() == guest.kind()) {
            if fuel > REPLAY_FUEL {
                break;
            }
            let question = with(snapshot, settings, &state);
            let name = format!("recorded snapshot {}", question.context().sequence);
            let asked = trial.ask(guest, Step::Replay, &name, &question)?;
            fuel = fuel.saturating_add(asked.fuel);
            if let Some(judged) = asked.judged {
                state = judged.state().to_vec();
            }
            trial.replayed += 1;
        }
        Ok(trial)
    }

    fn ask(
        &mut self,
        guest: &dyn Guest,
        step: Step,
        name: &str,
        question: &Snapshot,
    ) -> Result<Asked, Inadmissible> {
        let called = guest.ask(question);
        self.most_fuel = self.most_fuel.max(called.cost.fuel);
        self.most_memory = self.most_memory.max(called.cost.memory);
        let judged =
            called.result.map_err(Failing::from).and_then(|answer| question::judge(question, answer));
        let judged = match judged {
            Ok(judged) => Some(judged),
            Err(Failing::Fault(Fault::Unsupported { .. })) => None,
            Err(failing) => {
                let question = Box::new(question.clone());
                return Err(Inadmissible::Failing { step, snapshot: name.to_owned(), failing, question });
            }
        };
        match &judged {
            Some(judged) => self.bent += u32::from(judged.is_bent()),
            None => self.unsupported += 1,
        }
        Ok(Asked { judged, fuel: called.cost.fuel })
    }
}

/// What the component made of one snapshot; without an answer when it declared it unsupported.
struct Asked {
    judged: Option<Judged>,
    fuel: u64,
}

/// `snapshot` as this strategy would be asked it.
fn with(snapshot: &Snapshot, settings: &[Setting], state: &[u8]) -> Snapshot {
    let mut question = snapshot.clone();
    let context: &mut Context = question.context_mut();
    context.settings = settings.to_vec();
    context.state = state.to_vec();
    question
}
