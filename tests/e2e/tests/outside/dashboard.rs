//! A real Prometheus scrapes a real node; every query of the dashboard and every alert evaluates there. Grafana's own types
//! know everything that the dashboard says.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use e2e::lab::Lab;
use e2e::metrics::Prometheus;
use e2e::patience::wait_for;
use e2e::python;
use serde_json::Value;

use crate::GROWTH;

/// Grafana's types, and a program that reads a dashboard with them.
const GRAFANA: &str = include_str!("../../dashboard/requirements.txt");
const LOAD: &str = include_str!("../../dashboard/load.py");

fn deployed(file: &str) -> PathBuf {
    // Where cargo and xtask run tests: in the directory of their crate.
    Path::new("../../deploy").join(file).canonicalize().unwrap()
}

fn dashboard() -> Value {
    serde_json::from_str(&fs::read_to_string(deployed("dashboards/enid.json")).unwrap()).unwrap()
}

/// The panels that show something.
fn panels(dashboard: &Value) -> Vec<Value> {
    let panels = dashboard["panels"].as_array().unwrap().iter();
    panels.filter(|panel| panel["type"] != "row").cloned().collect()
}

/// A panel's queries as Grafana would send them for all nodes.
fn queries(panel: &Value) -> Vec<String> {
    let targets = panel["targets"].as_array().unwrap().iter();
    let filled = |query: &str| {
        query.replace("$__rate_interval", "1m").replace("$job", ".*").replace("$instance", ".*")
    };
    targets.map(|target| filled(target["expr"].as_str().unwrap())).collect()
}

fn names_in(query: &str) -> BTreeSet<String> {
    let words = query.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.starts_with("enid_")).map(str::to_owned).collect()
}

/// What `promtool` says to something.
#[track_caller]
fn promtool(words: &[&str], input: &str) {
    let mut command = Command::new("promtool");
    command.args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "promtool {words:?}: {said}");
    // Remarks about style do not fail it.
    assert!(!words.contains(&"metrics") || said.trim().is_empty(), "{said}");
}

#[test]
fn a_real_prometheus_understands_the_metrics_the_dashboard_and_the_alerts() {
    let lab = Lab::up("dashboard");
    let node = lab.m5();
    node.configure(&node.settings().pool("mode = \"prefix\""));
    let daemon = node.start();
    daemon.wait_until_ready();
    let pods = lab.pods(3);
    for pod in &pods {
        node.add(pod);
    }
    node.del(&pods[0]);
    // Once there was a look at the kernel, everything has been counted at least once.
    wait_for("the kernel was looked at", GROWTH, || {
        let looks = node.metrics().value("enid_kernel_look_duration_seconds_count");
        if looks > 0.0 { Ok(()) } else { Err("not yet".to_owned()) }
    });
    promtool(&["check", "metrics"], &node.page("/metrics").body);
    let rules = deployed("alerts/enid.rules.yml");
    promtool(&["check", "rules", rules.to_str().unwrap()], "");

    let prometheus = Prometheus::of(&node, lab.directory(), &rules);
    let dashboard = dashboard();
    let mut asked = BTreeSet::new();
    for panel in panels(&dashboard) {
        for query in queries(&panel) {
            prometheus.query(&query).unwrap_or_else(|why| panic!("{}: {query}: {why}", panel["title"]));
            asked.extend(names_in(&query));
        }
    }
    let evaluated = wait_for("every rule was evaluated", GROWTH, || {
        let rules = prometheus.rules();
        let pending = rules.iter().find(|rule| rule["health"] == "unknown");
        pending.map_or(Ok(rules.clone()), |rule| Err(rule.to_string()))
    });
    assert!(evaluated.len() >= 10, "{evaluated:?}");
    for rule in &evaluated {
        assert_eq!(rule["health"], "ok", "{rule}");
        // A node that is well raises none.
        assert_eq!(rule["state"], "inactive", "{rule}");
        asked.extend(names_in(rule["query"].as_str().unwrap()));
    }
    for name in &asked {
        let found = prometheus.query(&format!("count({name})")).unwrap();
        assert_eq!(found.len(), 1, "{name} is asked for and was not scraped");
    }
    // What the dashboard shows is the node.
    let shown = |query: &str| -> f64 {
        let found = prometheus.query(query).unwrap();
        found[0]["value"][1].as_str().unwrap().parse().unwrap()
    };
    assert_eq!(shown("sum(enid_pods)"), 2.0);
    assert_eq!(shown("sum(enid_readiness{state=\"ready\"})"), 1.0);
    assert_eq!(shown("sum(enid_add_duration_seconds_count{phase=\"total\",end=\"served\"})"), 3.0);
    drop(prometheus);
    assert!(daemon.terminate().success());
}

#[test]
fn the_dashboard_is_whole() {
    let dashboard = dashboard();
    let all = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<u64> = all.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), all.len(), "two panels have the same id");
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    assert!(
        variables.iter().any(|variable| variable["name"] == "datasource" && variable["type"] == "datasource")
    );
    for panel in panels(&dashboard) {
        let title = panel["title"].as_str().unwrap();
        assert!(panel["description"].as_str().is_some_and(|text| text.ends_with('.')), "{title}");
        assert!(
            panel["fieldConfig"]["defaults"]["unit"].as_str().is_some_and(|unit| !unit.is_empty()),
            "{title}"
        );
        for place in std::iter::once(&panel).chain(panel["targets"].as_array().unwrap()) {
            assert_eq!(place["datasource"]["uid"], "${datasource}", "{title}");
        }
        assert!(!queries(&panel).is_empty(), "{title}");
    }
    // Nothing lies over something else.
    let boxes: Vec<[u64; 4]> = all
        .iter()
        .map(|panel| ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().unwrap()))
        .collect();
    for (index, [x, y, w, h]) in boxes.iter().enumerate() {
        assert!(x + w <= 24);
        for [other_x, other_y, other_w, other_h] in &boxes[index + 1..] {
            let apart =
                x + w <= *other_x || other_x + other_w <= *x || y + h <= *other_y || other_y + other_h <= *y;
            assert!(apart, "panel {index} lies over another");
        }
    }
}

/// A dashboard as Grafana's types understand it.
#[track_caller]
fn loaded(dashboard: &Value) -> Value {
    let mut command = Command::new(python::environment("grafana-types", GRAFANA));
    command.args(["-c", LOAD]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(dashboard.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// What of `said` is not in `understood`, by its path. Defaults may have been added.
fn lost(said: &Value, understood: &Value, path: &str) -> Vec<String> {
    match (said, understood) {
        (Value::Object(said), Value::Object(_)) => {
            let of_key = |(key, value)| lost(value, &understood[key], &format!("{path}/{key}"));
            said.iter().flat_map(of_key).collect()
        }
        (Value::Array(said), Value::Array(understood)) if said.len() == understood.len() => {
            let of_item = |(index, (said, understood))| lost(said, understood, &format!("{path}/{index}"));
            said.iter().zip(understood).enumerate().flat_map(of_item).collect()
        }
        (said, understood) if said == understood => Vec::new(),
        (said, understood) => vec![format!("{path}: {said} became {understood}")],
    }
}

#[test]
fn grafanas_own_types_know_everything_that_the_dashboard_says() {
    let mut dashboard = dashboard();
    assert_eq!(lost(&dashboard, &loaded(&dashboard), ""), Vec::<String>::new());
    // Whatever they do not know is noticed.
    dashboard["panels"][1]["gridpos"] = dashboard["panels"][1]["gridPos"].clone();
    let options = &mut dashboard["panels"][9]["options"];
    options["legend"]["displaymode"] = "table".into();
    let lost = lost(&dashboard, &loaded(&dashboard), "");
    assert_eq!(lost.len(), 2, "{lost:?}");
}
