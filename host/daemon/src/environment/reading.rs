//! What the values of the incumbent's variables mean, its odd cases included.

use std::collections::BTreeMap;

use enid_core::wiring::Families;
use toml::Value;
use toml::de::{DeTable, DeValue};

use super::{Variables, path_of, sets};

/// The table that ADDITIONAL_ENI_TAGS stands for.
pub(super) const TAGS: &str = "tags";
/// The strategy whose settings the incumbent's targets are.
const WARM_TARGETS: &str = "warm-targets";
/// What its schema takes at most.
const MOST_ENIS: i64 = 128;
const MOST_ADDRESSES: i64 = 10_000;
const MOST_PREFIXES: i64 = 625;
/// ENIs that `pool.max_enis` takes at most: no instance type has more.
const MOST_MAX_ENIS: i64 = 128;

/// A variable's value in its surroundings.
pub(super) struct Asked<'a> {
    /// The value, without space around it and not empty.
    pub(super) value: &'a str,
    /// The settings that the variable stands for.
    pub(super) keys: &'a [&'static str],
    /// All that are set.
    pub(super) variables: &'a Variables,
    /// What the settings file says.
    pub(super) file: &'a DeTable<'a>,
}

/// What a value comes to.
pub(super) enum Reading {
    /// Values for settings, by their paths.
    Values(Vec<(Vec<String>, Value)>),
    /// The same as if it were not set.
    AsUsual,
    /// It does not count here, because…
    Idle(&'static str),
    /// It is not what the variable takes.
    Wrong {
        /// The part of it that is wrong.
        value: String,
        /// What would be right.
        allowed: String,
    },
}

impl Asked<'_> {
    /// `value` for the only setting.
    fn setting(&self, value: impl Into<Value>) -> Reading {
        Reading::Values(vec![(path_of(self.keys[0]), value.into())])
    }

    fn wrong(&self, allowed: &str) -> Reading {
        Reading::Wrong { value: self.value.to_owned(), allowed: allowed.to_owned() }
    }

    fn with_flag(&self, then: impl FnOnce(bool) -> Reading) -> Reading {
        flag_of(self.value).map_or_else(|| self.wrong("true or false"), then)
    }

    fn with_number(&self, then: impl FnOnce(i64) -> Reading) -> Reading {
        self.value.parse().map_or_else(|_| self.wrong("a whole number"), then)
    }

    /// Another variable's flag; what is wrong with it is told where it is read itself.
    fn other(&self, name: &str, default: bool) -> bool {
        self.variables.value(name).and_then(flag_of).unwrap_or(default)
    }

    /// Text that the file sets.
    fn in_file(&self, key: &str) -> Option<&str> {
        let mut table = self.file;
        let mut parts = key.split('.').peekable();
        while let Some(part) = parts.next() {
            match table.get(part)?.get_ref() {
                DeValue::Table(inner) => table = inner,
                DeValue::String(text) => return parts.peek().is_none().then_some(text),
                DeValue::Integer(_)
                | DeValue::Float(_)
                | DeValue::Boolean(_)
                | DeValue::Datetime(_)
                | DeValue::Array(_) => return None,
            }
        }
        None
    }

    /// The families of pods' addresses, as far as they can be told.
    fn families(&self) -> Option<Families> {
        match self.in_file("network.ip_family") {
            Some("ipv4") => Some(Families::Ipv4),
            Some("ipv6") => Some(Families::Ipv6),
            Some("dual-stack") => Some(Families::DualStack),
            Some(_) => None,
            None => families(self.other("ENABLE_IPv4", true), self.other("ENABLE_IPv6", false)),
        }
    }
}

fn families(ipv4: bool, ipv6: bool) -> Option<Families> {
    match (ipv4, ipv6) {
        (true, false) => Some(Families::Ipv4),
        (false, true) => Some(Families::Ipv6),
        (true, true) => Some(Families::DualStack),
        (false, false) => None,
    }
}

/// What the incumbent takes for a truth value.
fn flag_of(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

pub(super) fn flag(asked: &Asked<'_>) -> Reading {
    asked.with_flag(|flag| asked.setting(flag))
}

pub(super) fn number(asked: &Asked<'_>) -> Reading {
    asked.with_number(|number| asked.setting(number))
}

pub(super) fn text(asked: &Asked<'_>) -> Reading {
    asked.setting(asked.value)
}

/// A list with commas. The incumbent passes over entries that it does not understand; here each is named.
pub(super) fn list(asked: &Asked<'_>) -> Reading {
    let entries = asked.value.split(',').map(str::trim).filter(|entry| !entry.is_empty());
    asked.setting(entries.map(Value::from).collect::<Vec<_>>())
}

/// A number in any of the incumbent's notations.
pub(super) fn mark(asked: &Asked<'_>) -> Reading {
    let digits = asked.value.to_ascii_lowercase().replace('_', "");
    let parsed = match digits.as_bytes() {
        [b'0', b'x', ..] => i64::from_str_radix(&digits[2..], 16),
        [b'0', b'b', ..] => i64::from_str_radix(&digits[2..], 2),
        [b'0', b'o', ..] => i64::from_str_radix(&digits[2..], 8),
        [b'0', _, ..] => i64::from_str_radix(&digits[1..], 8),
        _ => digits.parse(),
    };
    parsed.map_or_else(|_| asked.wrong("one bit of 32, like 0x80"), |mark| asked.setting(mark))
}

pub(super) fn prefix_delegation(asked: &Asked<'_>) -> Reading {
    asked.with_flag(|prefixes| asked.setting(if prefixes { "prefix" } else { "secondary-ip" }))
}

/// Metrics are served unless somebody said otherwise.
pub(super) fn no_metrics(asked: &Asked<'_>) -> Reading {
    asked.with_flag(|off| if off { asked.setting("off") } else { Reading::AsUsual })
}

pub(super) fn no_sweep(asked: &Asked<'_>) -> Reading {
    asked.with_flag(|off| asked.setting(!off))
}

pub(super) fn multi_nic(asked: &Asked<'_>) -> Reading {
    asked.with_flag(|every| asked.setting(if every { "every" } else { "default" }))
}

/// Less than 1 is not set; more than any instance has is no limit.
pub(super) fn max_eni(asked: &Asked<'_>) -> Reading {
    asked.with_number(|enis| match enis {
        ..1 => Reading::AsUsual,
        enis => asked.setting(enis.min(MOST_MAX_ENIS)),
    })
}

pub(super) fn http_timeout(asked: &Asked<'_>) -> Reading {
    asked.with_number(|secs| if secs < 10 { Reading::AsUsual } else { asked.setting(secs) })
}

pub(super) fn no_provisioning(asked: &Asked<'_>) -> Reading {
    asked.with_flag(|off| match (off, asked.other("ENABLE_IMDS_ONLY_MODE", false)) {
        (_, true) => Reading::Idle("ENABLE_IMDS_ONLY_MODE says more"),
        (true, false) => asked.setting("look-only"),
        (false, false) => Reading::AsUsual,
    })
}

pub(super) fn metadata_only(asked: &Asked<'_>) -> Reading {
    asked.with_flag(|only| if only { asked.setting("metadata-only") } else { Reading::AsUsual })
}

/// Says which families, unless ENABLE_IPv6, which looks at both, is there to say it.
pub(super) fn ipv4(asked: &Asked<'_>) -> Reading {
    asked.with_flag(|ipv4| match (ipv4, asked.variables.value("ENABLE_IPv6")) {
        (_, Some(_)) => Reading::AsUsual,
        (true, None) => asked.setting("ipv4"),
        (false, None) => asked.wrong("true, unless ENABLE_IPv6 is true: pods have addresses of some family"),
    })
}

pub(super) fn ipv6(asked: &Asked<'_>) -> Reading {
    asked.with_flag(|ipv6| match families(asked.other("ENABLE_IPv4", true), ipv6) {
        Some(Families::Ipv4) => asked.setting("ipv4"),
        Some(Families::Ipv6) => asked.setting("ipv6"),
        Some(Families::DualStack) => asked.setting("dual-stack"),
        None => asked.wrong("true, unless ENABLE_IPv4 is true: pods have addresses of some family"),
    })
}

pub(super) fn ipv4_egress(asked: &Asked<'_>) -> Reading {
    asked.with_flag(|egress| match asked.families() {
        Some(Families::Ipv6) => asked.setting(egress),
        Some(Families::Ipv4 | Families::DualStack) | None => {
            Reading::Idle("it is about pods that have IPv6 addresses only")
        }
    })
}

pub(super) fn ipv6_egress(asked: &Asked<'_>) -> Reading {
    asked.with_flag(|egress| match asked.families() {
        Some(Families::Ipv4) => asked.setting(egress),
        Some(Families::Ipv6 | Families::DualStack) | None => {
            Reading::Idle("it is about pods that have IPv4 addresses only")
        }
    })
}

/// A JSON object of texts; each becomes a tag of its own.
pub(super) fn tags(asked: &Asked<'_>) -> Reading {
    match serde_json::from_str::<BTreeMap<String, String>>(asked.value) {
        Ok(tags) => {
            let path = |key| vec![TAGS.to_owned(), key];
            Reading::Values(tags.into_iter().map(|(key, value)| (path(key), value.into())).collect())
        }
        Err(_) => asked.wrong("a JSON object of texts, like {\"team\": \"network\"}"),
    }
}

/// Less than 0 is 1, which is what holds anyway.
pub(super) fn warm_eni_target(asked: &Asked<'_>) -> Reading {
    target(asked, MOST_ENIS, |enis| Some(enis).filter(|enis| *enis >= 0 && *enis != 1))
}

/// 0 and less is not set.
pub(super) fn address_target(asked: &Asked<'_>) -> Reading {
    target(asked, MOST_ADDRESSES, |addresses| Some(addresses).filter(|addresses| *addresses > 0))
}

/// Less than 0 is 0; 1 holds anyway.
pub(super) fn warm_prefix_target(asked: &Asked<'_>) -> Reading {
    target(asked, MOST_PREFIXES, |prefixes| Some(prefixes.max(0)).filter(|prefixes| *prefixes != 1))
}

/// A setting of the shipped strategy, unless the file has another one decide.
fn target(asked: &Asked<'_>, most: i64, meant: impl FnOnce(i64) -> Option<i64>) -> Reading {
    let chosen = asked.in_file("strategy.warm-pool.use");
    let is_shipped = chosen == Some(WARM_TARGETS) || !sets(asked.file, &path_of("strategy.warm-pool.use"));
    if !is_shipped || sets(asked.file, &path_of("strategy.warm-pool.digest")) {
        return Reading::Idle("the file has another strategy decide about the warm pool");
    }
    asked.with_number(|number| match meant(number) {
        None => Reading::AsUsual,
        Some(number) if number > most => asked.wrong(&format!("a whole number of at most {most}")),
        Some(number) => asked.setting(number),
    })
}
