//! A status in 100 columns.

use enid_core::report::{Quarantine, WaitReason};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Columns of a screen.
const WIDTH: usize = 100;
/// Columns of what stands before the text.
const LABEL: usize = 11;
/// Columns of the pool's bar.
const BAR: usize = 42;
/// Waiters, quarantined addresses and drifts that are shown one by one.
const SHOWN: usize = 5;

/// The lines of the screen about a node.
pub(crate) fn screen(report: &Value) -> Vec<String> {
    let mut screen = Screen::default();
    screen.row("node", &node(report));
    screen.row("ready", &ready(report));
    degraded(report, &mut screen);
    pool(&report["pool"], &mut screen);
    enis(report, &mut screen);
    for subnet in list(report, "subnets") {
        let rank = subnet["rank"]
            .as_u64()
            .map_or_else(|| "not eligible".to_owned(), |rank| format!("choice {}", rank + 1));
        screen.row("subnet", &format!("{} {} free, {rank}", text(subnet, "id"), subnet["free"]));
    }
    strategies(report, &mut screen);
    budget(report, &mut screen);
    waiters(report, &mut screen);
    quarantine(report, &mut screen);
    kernel(&report["kernel"], &mut screen);
    screen.0
}

/// Lines, each with a label or blank before it, and none too wide.
#[derive(Default)]
struct Screen(Vec<String>);

impl Screen {
    fn row(&mut self, label: &str, text: &str) {
        let line = format!("{label:<LABEL$}{text}");
        let mut shown: String = line.chars().take(WIDTH).collect();
        if line.chars().count() > WIDTH {
            shown.pop();
            shown.push('…');
        }
        self.0.push(shown.trim_end().to_owned());
    }

    fn more(&mut self, text: &str) {
        self.row("", text);
    }

    /// In two lines at most.
    fn indented(&mut self, text: &str) {
        let fits = |end: &usize| text[..*end].chars().count() <= WIDTH - LABEL - 2;
        let mut blanks = text.match_indices(' ').map(|(at, _)| at);
        match blanks.rfind(fits).filter(|_| !fits(&text.len())) {
            Some(blank) => {
                self.more(&format!("  {}", &text[..blank]));
                self.more(&format!("  {}", &text[blank + 1..]));
            }
            None => self.more(&format!("  {text}")),
        }
    }
}

fn node(report: &Value) -> String {
    let keys = ["instance", "instance_type", "zone", "mode", "families"];
    keys.map(|key| text(report, key)).join(" ")
}

fn ready(report: &Value) -> String {
    let readiness = &report["readiness"];
    let reason = || said::<WaitReason>(&readiness["reason"]);
    match text(readiness, "state") {
        "full" => format!("an ADD would wait, and nothing is wrong: {}", reason()),
        "not-ready" => format!("an ADD would wait: {}", reason()),
        "impaired" => {
            format!("an ADD would wait, and pods may be cut off: {}: {}", text(readiness, "what"), reason())
        }
        // A daemon that says no more than that, and one that says it in words that are newer than this program.
        _ => match report["waiting_for"].as_str() {
            Some(why) => format!("an ADD would wait: {why}"),
            None => "an ADD would be served at once".to_owned(),
        },
    }
}

fn degraded(report: &Value, screen: &mut Screen) {
    let withheld = &report["withheld"];
    let means = match text(withheld, "mode") {
        "no-release" => Some("nothing is given back"),
        "no-calls" => Some("EC2 is only asked whether it answers again"),
        _ => None,
    };
    if let Some(means) = means {
        let failing = withheld["failing_milli"].as_u64().unwrap_or(0) / 10;
        let (mode, since) = (text(withheld, "mode"), &withheld["for_secs"]);
        screen.row("degraded", &format!("{mode} for {since} s: {means}"));
        screen.indented(&format!("{failing} % of the last calls failed"));
    }
    if let Some(why) = report["degraded"].as_str() {
        screen.row("degraded", why);
    }
}

fn pool(pool: &Value, screen: &mut Screen) {
    let count = |key: &str| pool[key].as_u64().unwrap_or(0);
    let idle = count("free") + count("cooling") + count("quarantined");
    let in_use = count("total").saturating_sub(idle);
    let parts = [('#', in_use), ('~', count("cooling")), ('!', count("quarantined")), ('.', count("free"))];
    if count("total") > 0 {
        screen.row("pool", &format!("[{}]  # in use  ~ cooling  ! quarantined  . free", bar(&parts, BAR)));
    }
    screen.row(
        if count("total") > 0 { "" } else { "pool" },
        &format!(
            "{} addresses: {} free, {} bound, {} cooling, {} quarantined; {} coming, {} missing",
            count("total"),
            count("free"),
            count("bound"),
            count("cooling"),
            count("quarantined"),
            count("coming"),
            count("gap"),
        ),
    );
    let max_pods = pool["max_pods"].as_u64().map_or_else(|| "unlimited".to_owned(), |max| max.to_string());
    screen.more(&format!(
        "{} ADDs wait; max pods {max_pods}; max ENIs {}; {} prefixes; {} IPv6 addresses",
        count("waiting"),
        count("max_enis"),
        count("prefixes"),
        count("ipv6"),
    ));
}

/// A bar of `width` cells in which every part that is there is seen.
fn bar(parts: &[(char, u64)], width: usize) -> String {
    let total: u64 = parts.iter().map(|(_, count)| count).sum();
    let cells = u64::try_from(width).unwrap_or(u64::MAX);
    let mut sizes: Vec<u64> = parts
        .iter()
        .map(|(_, count)| if *count == 0 { 0 } else { (count * cells / total.max(1)).max(1) })
        .collect();
    // The largest part makes up for what rounding left over or took too much.
    if let Some(largest) = (0..sizes.len()).max_by_key(|part| sizes[*part]) {
        let others: u64 = sizes.iter().sum::<u64>() - sizes[largest];
        sizes[largest] = cells.saturating_sub(others);
    }
    let part = |((mark, _), size): (&(char, u64), &u64)| {
        mark.to_string().repeat(usize::try_from(*size).unwrap_or(width).min(width))
    };
    parts.iter().zip(&sizes).map(part).collect()
}

fn enis(report: &Value, screen: &mut Screen) {
    for eni in list(report, "enis") {
        let card = eni["card"].as_u64().filter(|card| *card != 0);
        let card = card.map_or_else(String::new, |card| format!("card {card} "));
        screen.row(
            "eni",
            &format!(
                "{} {card}device {} {} {}: {} free, {} bound of {}",
                text(eni, "id"),
                eni["device"],
                text(eni, "subnet"),
                text(eni, "phase"),
                eni["free"],
                eni["bound"],
                eni["addresses"],
            ),
        );
        if eni["takes_pods"] == false {
            screen.more("  takes no new pods");
        }
    }
}

fn strategies(report: &Value, screen: &mut Screen) {
    for strategy in list(report, "strategies") {
        let decision = strategy["record"].as_u64().map_or_else(String::new, |id| format!(", decision {id}"));
        screen.row(
            "strategy",
            &format!(
                "{}: {} ({}{decision})",
                text(strategy, "kind"),
                text(strategy, "strategy"),
                text(strategy, "rung"),
            ),
        );
        screen.indented(&format!("→ {}; {}", text(strategy, "target"), text(strategy, "reason")));
        for fault in list(strategy, "faults") {
            screen.indented(&format!("fault: {}", fault.as_str().unwrap_or_default()));
        }
    }
}

fn budget(report: &Value, screen: &mut Screen) {
    let milli = |class: &Value, key: &str| class[key].as_u64().unwrap_or(0) as f64 / 1000.0;
    let classes: Vec<String> = list(report, "budget")
        .map(|class| {
            let slowed = if milli(class, "factor_milli") < 1.0 { ", slowed" } else { "" };
            format!(
                "{} {:.1} of {:.1} +{:.2}/s{slowed}",
                text(class, "class"),
                milli(class, "left_milli"),
                milli(class, "burst_milli"),
                milli(class, "per_second_milli"),
            )
        })
        .collect();
    for (index, classes) in classes.chunks(2).enumerate() {
        screen.row(if index == 0 { "EC2 calls" } else { "" }, &classes.join("   "));
    }
    let cluster = &report["cluster"];
    if let Some(parts) = cluster["parts"].as_u64() {
        let word = match (cluster["nodes"].as_u64(), cluster["counted_secs_ago"].as_u64()) {
            (Some(nodes), Some(secs)) => format!("{nodes} nodes were counted {secs} s ago"),
            _ => "as budget.nodes says".to_owned(),
        };
        screen.indented(&format!("one of {parts} parts of the cluster's share; {word}"));
    }
}

fn waiters(report: &Value, screen: &mut Screen) {
    for waiter in list(report, "waiters").take(SHOWN) {
        let who = waiter["pod"].as_str().unwrap_or_else(|| text(waiter, "attachment"));
        let why = said::<WaitReason>(&waiter["reason"]);
        screen.row("waits", &format!("{who} for {} s", waiter["for_secs"]));
        screen.indented(&why);
    }
    and_more(report["pool"]["waiting"].as_u64(), list(report, "waiters").count(), screen);
}

fn quarantine(report: &Value, screen: &mut Screen) {
    for address in list(report, "quarantined").take(SHOWN) {
        let pod = address["pod"].as_str().map_or_else(String::new, |pod| format!(" of {pod}"));
        let why = said::<Quarantine>(&address["why"]);
        screen.row("quarantine", &format!("{}{pod} for {} s", text(address, "address"), address["for_secs"]));
        screen.indented(&why);
    }
    and_more(report["pool"]["quarantined"].as_u64(), list(report, "quarantined").count(), screen);
}

/// Says how many of `all` are not shown.
fn and_more(all: Option<u64>, listed: usize, screen: &mut Screen) {
    let shown = u64::try_from(listed.min(SHOWN)).unwrap_or(u64::MAX);
    let more = all.unwrap_or(0).saturating_sub(shown);
    if more > 0 && shown > 0 {
        screen.more(&format!("and {more} more"));
    }
}

fn kernel(kernel: &Value, screen: &mut Screen) {
    let drifts: Vec<&Value> = list(kernel, "drifts").collect();
    let looked = kernel["looked_secs_ago"]
        .as_u64()
        .map_or_else(|| "not looked at yet".to_owned(), |secs| format!("looked at {secs} s ago"));
    let found = if drifts.is_empty() {
        "as it should be".to_owned()
    } else {
        format!("{} not as it should be", drifts.len())
    };
    let so_far = format!("{} found and {} repairs so far", kernel["found"], kernel["repaired"]);
    screen.row("kernel", &format!("{looked}: {found}; {so_far}"));
    for drift in drifts.iter().take(SHOWN) {
        screen.more(&format!("  {}", text(drift, "what")));
    }
    and_more(u64::try_from(drifts.len()).ok(), drifts.len(), screen);
}

/// A reason in its words; its name, when it is newer than this program.
fn said<R: DeserializeOwned + ToString>(reason: &Value) -> String {
    R::deserialize(reason).map_or_else(|_| text(reason, "reason").to_owned(), |reason| reason.to_string())
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or("-")
}

fn list<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value[key].as_array().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn report() -> Value {
        json!({
            "instance": "i-1", "instance_type": "m5.large", "zone": "eu-1a", "mode": "prefix", "families": "ipv4",
            "ready": false, "waiting_for": "…",
            "readiness": { "state": "not-ready", "reason": { "reason": "max-pods", "max_pods": 29 } },
            "withheld": { "mode": "no-calls", "for_secs": 40, "failing_milli": 1000 },
            "degraded": "DescribeSubnets: unavailable",
            "pool": { "total": 20, "free": 1, "bound": 10, "cooling": 8, "quarantined": 1, "waiting": 7, "coming": 0,
                      "gap": 4, "max_enis": 3, "max_pods": null, "prefixes": 2, "ipv6": 0 },
            "enis": [{ "id": "eni-1", "card": 0, "device": 0, "subnet": "subnet-1", "phase": "ready",
                       "takes_pods": true, "addresses": 20, "free": 1, "bound": 10 }],
            "subnets": [{ "id": "subnet-1", "free": 7, "rank": 0 }],
            "strategies": [{ "kind": "warm-pool", "strategy": "ewma@1234", "rung": "fallback", "target": "2 ready",
                             "reason": "x".repeat(300), "faults": ["out of fuel"], "record": 17 }],
            "budget": [{ "class": "describe", "left_milli": 2500, "burst_milli": 5000, "per_second_milli": 100,
                         "factor_milli": 500 }],
            "cluster": { "parts": 40, "nodes": 37, "counted_secs_ago": 12 },
            "waiters": (0..6).map(|n| json!({ "pod": format!("a/p{n}"), "for_secs": n, "attachment": "-",
                "reason": { "reason": "cooling", "cooling": 8, "secs": 12 } })).collect::<Vec<_>>(),
            "quarantined": [{ "address": "10.0.1.7", "pod": "a/b", "for_secs": 3,
                              "why": { "reason": "not-in-cloud", "eni": "eni-1" } }],
            "kernel": { "looked_secs_ago": 9, "drifts": [{ "of": "node", "what": "no rule" }], "found": 1, "repaired": 0 },
        })
    }

    #[test]
    fn everything_that_matters_is_on_the_screen_and_nothing_is_wider_than_it() {
        let lines = screen(&report());
        let text = lines.join("\n");
        for part in [
            "i-1 m5.large eu-1a prefix ipv4",
            "an ADD would wait: the node holds its maximum of 29 pod addresses",
            "no-calls for 40 s",
            "100 % of the last calls failed",
            "DescribeSubnets: unavailable",
            "20 addresses: 1 free, 10 bound, 8 cooling, 1 quarantined; 0 coming, 4 missing",
            "max pods unlimited",
            "eni-1 device 0",
            "subnet-1 7 free, choice 1",
            "ewma@1234 (fallback, decision 17)",
            "→ 2 ready;",
            "fault: out of fuel",
            "describe 2.5 of 5.0 +0.10/s, slowed",
            "  one of 40 parts of the cluster's share; 37 nodes were counted 12 s ago",
            "waits      a/p0 for 0 s",
            "  8 addresses are cooling down, the first for another 12 s",
            "and 2 more",
            "10.0.1.7 of a/b for 3 s",
            "  a pod holds it but EC2 no longer lists it on eni-1",
            "looked at 9 s ago: 1 not as it should be; 1 found",
            "no rule",
        ] {
            assert!(text.contains(part), "`{part}` is not in\n{text}");
        }
        assert!(lines.iter().all(|line| line.chars().count() <= WIDTH), "{text}");
        assert!(lines.len() <= 40, "{} lines", lines.len());
    }

    #[test]
    fn reasons_that_are_newer_than_this_program_are_shown_by_name() {
        let mut report = report();
        report["readiness"]["reason"] = json!({ "reason": "made-next-year" });
        assert!(screen(&report).join("\n").contains("an ADD would wait: made-next-year"));
    }

    #[test]
    fn an_empty_report_is_no_reason_to_fail() {
        assert!(!screen(&json!({})).is_empty());
    }

    #[test]
    fn every_part_of_the_bar_that_is_there_is_seen() {
        for parts in [[1u64, 0, 0, 1000], [500, 1, 1, 2], [0, 0, 0, 3], [1, 1, 1, 1]] {
            let parts: Vec<(char, u64)> = "#~!.".chars().zip(parts).collect();
            let bar = bar(&parts, BAR);
            assert_eq!(bar.chars().count(), BAR, "{bar}");
            for (mark, count) in &parts {
                assert_eq!(bar.contains(*mark), *count > 0, "{bar}");
            }
        }
    }
}
