//! Client tokens: asking twice with one token acts once.

use std::collections::BTreeMap;
use std::time::Duration;

use enid_core::ids::{EniId, InstanceId};
use enid_core::time::Timestamp;

use super::instance::RunInstances;
use super::interface::CreateNetworkInterface;
use super::refusal::{CallError, Code};

/// How long EC2 remembers a token at least ("Ensuring idempotency").
const REMEMBERED_FOR: Duration = Duration::from_secs(24 * 3600);
/// Tokens kept: the oldest leave first, which only a test that makes this many ENIs a day can notice.
const MAX_KEPT: usize = 10_000;

/// What each token was used for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tokens {
    used: BTreeMap<String, Used>,
    order: BTreeMap<(Timestamp, u64), String>,
    count: u64,
}

#[derive(Clone, Debug)]
enum Used {
    Interface(CreateNetworkInterface, EniId),
    Instances(RunInstances, Vec<InstanceId>),
}

impl Tokens {
    pub(crate) fn interface(
        &self,
        token: &str,
        request: &CreateNetworkInterface,
    ) -> Result<Option<EniId>, CallError> {
        match self.used.get(token) {
            None => Ok(None),
            Some(Used::Interface(earlier, eni)) if earlier == request => Ok(Some(eni.clone())),
            Some(Used::Interface(..) | Used::Instances(..)) => Err(mismatch()),
        }
    }

    pub(crate) fn instances(
        &self,
        token: &str,
        request: &RunInstances,
    ) -> Result<Option<Vec<InstanceId>>, CallError> {
        match self.used.get(token) {
            None => Ok(None),
            Some(Used::Instances(earlier, ids)) if earlier == request => Ok(Some(ids.clone())),
            Some(Used::Interface(..) | Used::Instances(..)) => Err(mismatch()),
        }
    }

    pub(crate) fn remember_interface(
        &mut self,
        token: &str,
        request: &CreateNetworkInterface,
        eni: &EniId,
        now: Timestamp,
    ) {
        self.remember(token, Used::Interface(request.clone(), eni.clone()), now);
    }

    pub(crate) fn remember_instances(
        &mut self,
        token: &str,
        request: &RunInstances,
        ids: &[InstanceId],
        now: Timestamp,
    ) {
        self.remember(token, Used::Instances(request.clone(), ids.to_vec()), now);
    }

    fn remember(&mut self, token: &str, used: Used, now: Timestamp) {
        self.count += 1;
        self.order.insert((now, self.count), token.to_owned());
        self.used.insert(token.to_owned(), used);
        while let Some(entry) = self.order.first_entry() {
            if now.since(entry.key().0) <= REMEMBERED_FOR && self.used.len() <= MAX_KEPT {
                break;
            }
            self.used.remove(&entry.remove());
        }
    }
}

fn mismatch() -> CallError {
    CallError::refuse(
        Code::IdempotentParameterMismatch,
        "The client token has been used before with different parameters.",
    )
}
