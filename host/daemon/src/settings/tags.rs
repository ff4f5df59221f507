//! `[tags]`: put on every ENI that is created.

use std::collections::BTreeMap;

use super::document::Section;

/// EC2 allows 50 tags on a resource; ten are kept for the daemon's own.
const MAX_TAGS: usize = 40;

pub(super) fn read(root: &mut Section<'_, '_>) -> BTreeMap<String, String> {
    let mut tags = BTreeMap::new();
    for entry in root.table("tags").unwrap_or_default() {
        let key = format!("tags.{}", entry.key);
        root.remember(&key, &entry);
        let reserved = entry.key.contains("k8s.amazonaws.com") || entry.key.starts_with("aws:");
        let key_fits = (1..=128).contains(&entry.key.chars().count());
        let value = entry.value.as_str().filter(|value| value.chars().count() <= 256);
        if reserved {
            root.refuse(
                &key,
                &entry,
                "left out: keys with `k8s.amazonaws.com` or `aws:` are not the operator's",
            );
        } else if tags.len() == MAX_TAGS {
            root.refuse(
                &key,
                &entry,
                &format!("left out: at most {MAX_TAGS} tags fit on an ENI besides our own"),
            );
        } else if let Some(value) = value.filter(|_| key_fits) {
            tags.insert(entry.key.to_owned(), value.to_owned());
        } else {
            root.refuse(&key, &entry, "text of at most 256 characters, under a key of 1 to 128");
        }
    }
    tags
}
