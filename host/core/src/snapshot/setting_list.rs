//! Settings, hints and annotations: an object in formats for people, a list in others.
//!
//! An object cannot say a key twice. Settings and hints never do; of annotations, which are a component's
//! word, the first of each key is written.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{Error, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Setting;

pub(crate) fn serialize<S: Serializer>(settings: &[Setting], serializer: S) -> Result<S::Ok, S::Error> {
    if !serializer.is_human_readable() {
        return settings.serialize(serializer);
    }
    let mut seen = BTreeSet::new();
    let mut map = serializer.serialize_map(None)?;
    for Setting { key, value } in settings {
        if seen.insert(key) {
            map.serialize_entry(key, value)?;
        }
    }
    map.end()
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Setting>, D::Error> {
    if deserializer.is_human_readable() {
        deserializer.deserialize_map(Object)
    } else {
        Vec::deserialize(deserializer)
    }
}

struct Object;

impl<'de> Visitor<'de> for Object {
    type Value = Vec<Setting>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of settings, for example {\"warm_ip_target\": 5}")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Vec<Setting>, A::Error> {
        let mut seen = BTreeSet::new();
        let mut settings = Vec::new();
        while let Some(key) = map.next_key::<String>()? {
            if !seen.insert(key.clone()) {
                return Err(A::Error::custom(format_args!("`{key}` is given twice; give it once")));
            }
            let value = map.next_value()?;
            settings.push(Setting { key, value });
        }
        Ok(settings)
    }
}
