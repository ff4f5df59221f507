//! Session tokens of instance metadata.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use enid_core::ids::InstanceId;
use enid_core::time::Timestamp;

/// Lifetimes that one may ask for: up to six hours.
pub(super) const TTL_SECONDS: RangeInclusive<u32> = 1..=21_600;
/// Live tokens; the one that dies first makes room. A client needs one or two.
const MAX_LIVE: usize = 4096;

/// Tokens that are still good. They guard nothing in a lab and are not secret.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    live: BTreeMap<String, (InstanceId, Timestamp)>,
    issued: u64,
}

impl Tokens {
    pub(super) fn issue(&mut self, instance: &InstanceId, ttl_seconds: u32, now: Timestamp) -> String {
        self.live.retain(|_, (_, dies)| *dies > now);
        if self.live.len() >= MAX_LIVE
            && let Some(first) =
                self.live.iter().min_by_key(|(_, (_, dies))| *dies).map(|(token, _)| token.clone())
        {
            self.live.remove(&first);
        }
        self.issued += 1;
        let token = format!("AQAEA{:016x}{:032x}==", self.issued, now.0);
        let dies = now + Duration::from_secs(u64::from(ttl_seconds));
        self.live.insert(token.clone(), (instance.clone(), dies));
        token
    }

    /// How long `token` is still good for `instance`; a token works only where it was issued.
    pub(super) fn seconds_left(&self, token: &str, instance: &InstanceId, now: Timestamp) -> Option<u32> {
        let (owner, dies) = self.live.get(token)?;
        let left = u32::try_from(dies.since(now).as_secs()).unwrap_or(u32::MAX);
        (owner == instance && *dies > now).then_some(left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_dies_in_time_and_serves_one_instance() {
        let (mine, other): (InstanceId, InstanceId) = ("i-1".parse().unwrap(), "i-2".parse().unwrap());
        let mut tokens = Tokens::default();
        let token = tokens.issue(&mine, 10, Timestamp(0));
        assert_eq!(tokens.seconds_left(&token, &mine, Timestamp(4_000)), Some(6));
        assert_eq!(tokens.seconds_left(&token, &other, Timestamp(4_000)), None);
        assert_eq!(tokens.seconds_left(&token, &mine, Timestamp(10_000)), None);
        assert_eq!(tokens.seconds_left("AQAEA", &mine, Timestamp(0)), None);
    }

    #[test]
    fn live_tokens_are_bounded() {
        let mine: InstanceId = "i-1".parse().unwrap();
        let mut tokens = Tokens::default();
        let first = tokens.issue(&mine, 1, Timestamp(0));
        (0..MAX_LIVE).for_each(|_| drop(tokens.issue(&mine, 60, Timestamp(0))));
        assert_eq!(tokens.live.len(), MAX_LIVE);
        assert_eq!(tokens.seconds_left(&first, &mine, Timestamp(0)), None);
    }
}
