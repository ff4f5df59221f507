//! What a contract promised when it was released still holds.
//!
//! Strategies that were built against `enid:strategy@0.1.0` run on every host of 0.1. So every interface and
//! world of the released text must stand in today's as it was, but for comments and layout; only the log may
//! learn something new, because nobody has to import it.

use std::collections::BTreeMap;

/// The interface that may grow.
const GROWING: &str = "interface log";

/// What today's contract broke of the one that was released, both as WIT.
pub fn violations(released: &str, today: &str) -> Vec<String> {
    let (released, today) = (Contract::read(released), Contract::read(today));
    let mut violations = Vec::new();
    if released.minor() != today.minor() {
        violations.push(format!(
            "the contract is `{}` and no longer compatible with `{}` by its number: keep what was built against it \
             beside what is frozen already, and compare with that",
            today.package, released.package
        ));
        return violations;
    }
    for (name, items) in &released.blocks {
        let Some(now) = today.blocks.get(name) else {
            violations.push(format!("{name} is gone"));
            continue;
        };
        for item in items.iter().filter(|item| !now.contains(item)) {
            violations.push(format!("{name} has no longer `{item}`"));
        }
        for item in now.iter().filter(|item| name != GROWING && !items.contains(item)) {
            violations.push(format!("{name} has `{item}`, which was not released"));
        }
        if violations.is_empty() && name != GROWING && items != now {
            violations.push(format!("{name} has its items in another order"));
        }
    }
    for name in today.blocks.keys().filter(|name| !released.blocks.contains_key(*name)) {
        violations.push(format!("{name} was not released"));
    }
    violations
}

/// A contract without comments and layout.
struct Contract {
    package: String,
    /// Interfaces and worlds, each with its items in order.
    blocks: BTreeMap<String, Vec<String>>,
}

impl Contract {
    fn read(text: &str) -> Self {
        let mut contract = Self { package: String::new(), blocks: BTreeMap::new() };
        let mut name = String::new();
        let mut item: Vec<&str> = Vec::new();
        let mut depth = 0;
        let spaced = spaced(text);
        for word in spaced.split_whitespace() {
            match (word, depth) {
                ("{", 0) => {
                    name = item.join(" ");
                    item.clear();
                    contract.blocks.insert(name.clone(), Vec::new());
                    depth = 1;
                    continue;
                }
                ("}", 1) => {
                    depth = 0;
                    continue;
                }
                ("{", _) => depth += 1,
                ("}", _) => depth -= 1,
                (_, _) => {}
            }
            item.push(word);
            let ends = depth == 1 && matches!(word, ";" | "}") && !goes_on(&item);
            if depth == 0 && word == ";" {
                contract.package = item.join(" ");
                item.clear();
            } else if ends {
                let items = contract.blocks.entry(name.clone()).or_default();
                items.push(item.join(" "));
                item.clear();
            }
        }
        contract
    }

    /// Package and minor version, which decide what is compatible.
    fn minor(&self) -> &str {
        let end = self.package.rfind('.').unwrap_or(self.package.len());
        &self.package[..end]
    }
}

/// `use types.{…};` closes a brace before it ends.
fn goes_on(item: &[&str]) -> bool {
    item.first() == Some(&"use") && item.last() == Some(&"}")
}

/// Every word and sign by itself, comments left out. A comma before a closing brace says nothing.
fn spaced(text: &str) -> String {
    let mut out = String::new();
    for line in text.lines() {
        let code = line.split_once("//").map_or(line, |(code, _)| code);
        for sign in code.chars() {
            if "{}();,<>=".contains(sign) {
                out.extend([' ', sign, ' ']);
            } else {
                out.push(sign);
            }
        }
        out.push('\n');
    }
    let words: Vec<&str> = out.split_whitespace().collect();
    let kept = words.iter().enumerate().filter(|(index, word)| {
        let next = words.get(index + 1);
        !(**word == "," && matches!(next, Some(&"}" | &")" | &">")))
    });
    kept.map(|(_, word)| *word).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const RELEASED: &str = "
        /// Words.
        package a:b@0.1.0;
        interface types {
            use other.{one, two};
            record pair { left: u32, right: tuple<u8, u8>, }
            ask: func(pair: pair) -> result<u32, string>;
        }
        interface log { emit: func(message: string); }
        world w { import log; export types; }";

    fn changed(from: &str, to: &str) -> Vec<String> {
        assert!(RELEASED.contains(from), "{from}");
        violations(RELEASED, &RELEASED.replace(from, to))
    }

    #[test]
    fn comments_layout_patch_versions_and_a_larger_log_are_fine() {
        let none = Vec::<String>::new();
        assert_eq!(violations(RELEASED, RELEASED), none);
        assert_eq!(changed("/// Words.", "// Others, { and more"), none);
        assert_eq!(
            changed("{ left: u32, right: tuple<u8, u8>, }", "{\nleft:\n u32,\nright: tuple<u8,u8>\n}"),
            none
        );
        assert_eq!(changed("0.1.0", "0.1.7"), none);
        assert_eq!(changed("emit: func", "flush: func(); emit: func"), none);
    }

    #[test]
    fn whatever_a_released_strategy_would_notice_is_a_violation() {
        for (from, to) in [
            ("left: u32", "left: u64"),
            ("left: u32", "left: u32, middle: u32"),
            ("left: u32, right: tuple<u8, u8>,", "right: tuple<u8, u8>, left: u32"),
            ("result<u32, string>", "u32"),
            ("ask: func(pair: pair) -> result<u32, string>;", ""),
            ("ask: func", "more: func(); ask: func"),
            ("use other.{one, two};", "use other.{one};"),
            ("message: string", "text: string"),
            ("interface log", "interface logs"),
            ("export types;", ""),
            ("world w", "world v { import log; } world w"),
            ("0.1.0", "0.2.0"),
        ] {
            assert!(!changed(from, to).is_empty(), "{from} became {to}");
        }
    }
}
