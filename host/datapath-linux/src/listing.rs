//! One of our nftables tables as `nft --json` lists it, without what changes by itself, and what differs
//! between two such listings.
//!
//! A table bears a seal: an empty chain whose name is a digest of the settings that it was written for and of how it was
//! listed then. A later process tells by it that the table stands as it was written. It is no proof against somebody
//! who wants to deceive: whoever may write to the table owns the node's network.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use serde_json::Value;

/// What the names of seals begin with.
const SEAL: &str = "written-as-";

/// A table's objects by what they are called: `chain translate`, `the rule list of chain translate`, `set vpc`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Listing {
    objects: BTreeMap<String, Vec<Value>>,
    /// The names of chains that are seals.
    seals: Vec<String>,
}

impl Listing {
    /// Reads the output of `nft --json list table …`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut document: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let Some(entries) = document.get_mut("nftables").and_then(Value::as_array_mut) else {
            return Err("it has no list of objects".to_owned());
        };
        let mut listing = Self::default();
        for entry in entries {
            let Some(entry) = entry.as_object_mut() else { continue };
            for (kind, object) in entry {
                if kind == "metainfo" {
                    continue;
                }
                forget_counts(kind, object);
                let name = |field: &str| {
                    object.get(field).and_then(Value::as_str).unwrap_or("without a name").to_owned()
                };
                let called = match kind.as_str() {
                    "rule" => format!("the rule list of chain {}", name("chain")),
                    kind => format!("{kind} {}", name("name")),
                };
                // A handle is given anew to whatever is made anew.
                if let Some(object) = object.as_object_mut() {
                    object.remove("handle");
                }
                if let Some(seal) = called.strip_prefix("chain ").filter(|name| name.starts_with(SEAL)) {
                    listing.seals.push(seal.to_owned());
                    continue;
                }
                listing.objects.entry(called).or_default().push(object.take());
            }
        }
        Ok(listing)
    }

    /// The name of the seal for a table that was written as `text` and is listed like this.
    ///
    /// Where a later build digests otherwise, or another `nft` lists otherwise, a table is written once more.
    pub(crate) fn seal(&self, text: &str) -> String {
        let mut digest = DefaultHasher::new();
        text.hash(&mut digest);
        for (called, objects) in &self.objects {
            called.hash(&mut digest);
            objects.iter().for_each(|object| object.to_string().hash(&mut digest));
        }
        format!("{SEAL}{:016x}", digest.finish())
    }

    /// Whether it bears the seal of a table that was written as `text`.
    pub(crate) fn is_sealed(&self, text: &str) -> bool {
        self.seals == [self.seal(text)]
    }

    /// In words, how `now` differs from this.
    pub(crate) fn differences(&self, now: &Self) -> Vec<String> {
        let lost = self.objects.iter().filter_map(|(called, objects)| match now.objects.get(called) {
            None => Some(format!("{called} is missing")),
            Some(other) if other != objects => Some(format!("{called} is not as it was written")),
            Some(_) => None,
        });
        let added = now.objects.keys().filter(|called| !self.objects.contains_key(*called));
        lost.chain(added.map(|called| format!("{called} was added"))).collect()
    }
}

/// Named counters and those in rules both have what they counted beside what they are.
fn forget_counts(kind: &str, value: &mut Value) {
    if let Value::Object(fields) = value {
        if kind == "counter" {
            fields.remove("packets");
            fields.remove("bytes");
        }
        fields.iter_mut().for_each(|(name, value)| forget_counts(name, value));
    } else if let Value::Array(values) = value {
        values.iter_mut().for_each(|value| forget_counts("", value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(rule_handle: u32, packets: u32, expression: &str) -> Listing {
        let text = format!(
            r#"{{"nftables": [
                {{"metainfo": {{"version": "1.0.6"}}}},
                {{"table": {{"family": "ip", "name": "enid", "handle": {rule_handle}}}}},
                {{"counter": {{"name": "refused", "table": "enid", "handle": 2, "packets": {packets}, "bytes": 7}}}},
                {{"chain": {{"table": "enid", "name": "c", "handle": 1, "prio": -300}}}},
                {{"rule": {{"chain": "c", "handle": {rule_handle}, "expr": [
                    {{"counter": {{"packets": {packets}, "bytes": 9}}}}, {expression}]}}}}
            ]}}"#
        );
        Listing::parse(&text).unwrap()
    }

    #[test]
    fn handles_and_counts_make_no_difference() {
        let before = listing(4, 0, r#"{"drop": null}"#);
        assert_eq!(before, listing(9, 17, r#"{"drop": null}"#));
        assert_eq!(before.differences(&listing(9, 17, r#"{"drop": null}"#)), Vec::<String>::new());
    }

    #[test]
    fn what_differs_is_named() {
        let before = listing(4, 0, r#"{"drop": null}"#);
        let changed = listing(4, 0, r#"{"accept": null}"#);
        assert_eq!(before.differences(&changed), ["the rule list of chain c is not as it was written"]);
        let mut less = before.clone();
        less.objects.remove("chain c");
        assert_eq!(before.differences(&less), ["chain c is missing"]);
        assert_eq!(less.differences(&before), ["chain c was added"]);
    }

    #[test]
    fn a_seal_holds_for_one_text_and_one_listing() {
        let sealed = |expression: &str, seal: &str| {
            let mut listing = listing(4, 0, expression);
            listing.seals.push(seal.to_owned());
            listing
        };
        let (drop, accept) = (r#"{"drop": null}"#, r#"{"accept": null}"#);
        let seal = listing(9, 3, drop).seal("text");
        assert!(sealed(drop, &seal).is_sealed("text"));
        assert!(!sealed(drop, &seal).is_sealed("other text"));
        assert!(!sealed(accept, &seal).is_sealed("text"));
        assert!(!listing(4, 0, drop).is_sealed("text"));
        assert_eq!(listing(4, 0, drop).differences(&sealed(drop, &seal)), Vec::<String>::new());
    }

    #[test]
    fn other_output_is_refused() {
        for text in ["", "table ip enid {}", "{}", r#"{"nftables": 1}"#, "[]"] {
            assert!(Listing::parse(text).is_err(), "{text}");
        }
    }
}
