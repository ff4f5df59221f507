//! What every instance type allows, without asking EC2.
//!
//! The table is generated (`cargo xtask gen-instance-types`) from `DescribeInstanceTypes` data. A type
//! that it lacks, because it is newer than the table or retired, is asked of EC2 at run time.

use crate::limits::{Hypervisor, InstanceType, NetworkCard};

const TABLE: &str = include_str!("instance_types.tsv");

/// Longest name that is compared with others: real ones have at most 20 bytes or so.
const LONGEST_NAME: usize = 40;
/// Names offered to someone who mistyped one.
const SUGGESTIONS: usize = 3;
/// Typing errors that a suggestion may repair.
const MAX_TYPOS: usize = 2;

/// The limits of the type called `name`, if the table has it.
pub fn lookup(name: &str) -> Option<InstanceType> {
    let table = rows();
    let (mut low, mut high) = (0, table.len());
    while low < high {
        // `middle` may fall inside a line; the search is over the lines that start in `low..high`.
        let middle = low + (high - low) / 2;
        let bytes = table.as_bytes();
        let start = bytes[low..middle].iter().rposition(|b| *b == b'\n').map_or(low, |at| low + at + 1);
        let end = bytes[middle..high].iter().position(|b| *b == b'\n').map_or(high, |at| middle + at);
        let line = &table[start..end];
        match name.cmp(name_of(line)) {
            std::cmp::Ordering::Less => high = start,
            std::cmp::Ordering::Equal => return Some(parsed(line)),
            std::cmp::Ordering::Greater => low = (end + 1).min(high),
        }
    }
    None
}

/// All types of the table in byte order of their names.
pub fn all() -> impl Iterator<Item = InstanceType> {
    rows().lines().map(parsed)
}

/// Names that someone who wrote `name` may have meant, likeliest first; at most three.
///
/// Names within two typing errors, or else the smallest types of the same family.
pub fn closest(name: &str) -> Vec<&'static str> {
    if name.len() > LONGEST_NAME {
        return Vec::new();
    }
    let wanted = name.to_ascii_lowercase();
    let by_typos: Vec<(usize, &'static str)> =
        rows().lines().map(|line| (typos(&wanted, name_of(line)), name_of(line))).collect();
    let fewest = by_typos.iter().map(|(typos, _)| *typos).min().unwrap_or(usize::MAX);
    if fewest <= MAX_TYPOS {
        return by_typos
            .into_iter()
            .filter(|(typos, _)| *typos == fewest)
            .map(|(_, name)| name)
            .take(SUGGESTIONS)
            .collect();
    }
    let family = wanted.split('.').next().unwrap_or(&wanted);
    let mut siblings: Vec<(u32, &'static str)> = rows()
        .lines()
        .filter(|line| name_of(line).split('.').next() == Some(family))
        .map(|line| (parsed(line).vcpus, name_of(line)))
        .collect();
    siblings.sort_unstable();
    siblings.into_iter().map(|(_, name)| name).take(SUGGESTIONS).collect()
}

/// The table without its header and its last line break.
fn rows() -> &'static str {
    let mut rows = TABLE;
    while rows.starts_with('#') {
        rows = rows.split_once('\n').map_or("", |(_, rest)| rest);
    }
    rows.trim_end()
}

fn name_of(line: &str) -> &str {
    line.split('\t').next().unwrap_or(line)
}

fn parsed(line: &str) -> InstanceType {
    parse(line).expect("invariant: the table is part of the program, and a test parses every line of it")
}

fn parse(line: &str) -> Option<InstanceType> {
    let mut fields = line.split('\t');
    let instance_type = InstanceType {
        name: fields.next()?.to_owned(),
        vcpus: fields.next()?.parse().ok()?,
        memory_mib: fields.next()?.parse().ok()?,
        hypervisor: match fields.next()? {
            "nitro" => Hypervisor::Nitro,
            "xen" => Hypervisor::Xen,
            "none" => Hypervisor::None,
            _ => return None,
        },
        bare_metal: match fields.next()? {
            "metal" => true,
            "virtual" => false,
            _ => return None,
        },
        default_card: fields.next()?.parse().ok()?,
        cards: fields.next()?.split(',').map(card).collect::<Option<_>>()?,
        ipv4_per_eni: fields.next()?.parse().ok()?,
        ipv6_per_eni: fields.next()?.parse().ok()?,
        trunking: match fields.next()? {
            "yes" => Some(true),
            "no" => Some(false),
            "-" => None,
            _ => return None,
        },
    };
    fields.next().is_none().then_some(instance_type)
}

fn card(text: &str) -> Option<NetworkCard> {
    let (index, max_enis) = text.split_once(':')?;
    Some(NetworkCard { index: index.parse().ok()?, max_enis: max_enis.parse().ok()? })
}

/// Insertions, deletions, replacements and swaps of neighbours that turn one name into the other.
fn typos(a: &str, b: &str) -> usize {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let replaced = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = replaced.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before_last[j - 2] + 1);
            }
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_parses_and_names_are_sorted_and_unique() {
        let names: Vec<&str> = rows().lines().map(name_of).collect();
        assert!(names.len() > 1000, "{}", names.len());
        assert!(names.windows(2).all(|pair| pair[0] < pair[1]));
        for line in rows().lines() {
            assert!(parse(line).is_some(), "{line}");
        }
    }

    #[test]
    fn every_type_is_found_by_its_name_and_nothing_else_is() {
        for instance_type in all() {
            assert_eq!(lookup(&instance_type.name).as_ref(), Some(&instance_type));
            let longer = format!("{}0", instance_type.name);
            assert!(lookup(&longer).is_none_or(|other| other.name == longer));
        }
        for absent in
            ["", "#", "m5", "m5.", "m5.larg", "m5.large ", "M5.large", "zzz", "a", "\t", "m5.large\t2"]
        {
            assert_eq!(lookup(absent), None, "{absent:?}");
        }
    }

    #[test]
    fn well_known_types_have_their_published_limits() {
        for (name, vcpus, enis, ipv4, hypervisor, metal) in [
            ("t2.micro", 1, 2, 2, Hypervisor::Xen, false),
            ("t3.small", 2, 3, 4, Hypervisor::Nitro, false),
            ("m5.large", 2, 3, 10, Hypervisor::Nitro, false),
            ("m5.xlarge", 4, 4, 15, Hypervisor::Nitro, false),
            ("c5.4xlarge", 16, 8, 30, Hypervisor::Nitro, false),
            ("m5.metal", 96, 15, 50, Hypervisor::None, true),
            ("p4d.24xlarge", 96, 15, 50, Hypervisor::Nitro, false),
            ("p5.48xlarge", 192, 2, 50, Hypervisor::Nitro, false),
        ] {
            let found = lookup(name).unwrap();
            assert_eq!((found.vcpus, found.max_enis(), found.ipv4_per_eni), (vcpus, enis, ipv4), "{name}");
            assert_eq!((found.hypervisor, found.bare_metal), (hypervisor, metal), "{name}");
            assert_eq!(found.supports_prefixes(), hypervisor == Hypervisor::Nitro || metal, "{name}");
        }
    }

    #[test]
    fn the_eni_limit_is_the_default_cards_not_the_sum() {
        let multi_card: Vec<InstanceType> = all().filter(|found| found.cards.len() > 1).collect();
        assert!(multi_card.len() >= 60, "{}", multi_card.len());
        for found in multi_card {
            let default = found.cards.iter().find(|card| card.index == found.default_card).unwrap();
            assert_eq!(found.max_enis(), default.max_enis, "{}", found.name);
        }
        let p5 = lookup("p5.48xlarge").unwrap();
        assert_eq!((p5.cards.len(), p5.cards.iter().map(|card| card.max_enis).sum::<u32>()), (32, 64));
    }

    #[test]
    fn limits_stay_within_what_a_snapshot_can_carry() {
        for found in all() {
            assert!(found.max_enis() >= 1, "{}", found.name);
            assert!(found.max_enis() as usize <= crate::snapshot::MAX_ENIS, "{}", found.name);
            assert!(found.ipv4_per_eni >= 2, "{}", found.name);
            assert!(found.vcpus > 0 && found.memory_mib > 0, "{}", found.name);
            assert!(found.cards.windows(2).all(|pair| pair[0].index < pair[1].index), "{}", found.name);
        }
    }

    #[test]
    fn mistyped_names_are_answered_with_the_nearest_ones() {
        assert_eq!(closest("m5.larg"), ["m5.large"]);
        assert_eq!(closest("m5.lareg"), ["m5.large"]);
        assert_eq!(closest("T3.Small"), ["t3.small"]);
        assert_eq!(closest("m5.enormous"), ["m5.large", "m5.xlarge", "m5.2xlarge"]);
        assert!(closest("completely-unknown").is_empty());
        assert!(closest(&"m".repeat(10_000)).is_empty());
    }
}
