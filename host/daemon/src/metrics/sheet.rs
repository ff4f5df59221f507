//! The catalogue as a page for people: `deploy/METRICS.md`.

use super::catalogue::{ALL, Counts, INCUMBENT, Kind, Row};

/// The page.
pub(crate) fn sheet() -> String {
    let ours: String = ALL.iter().map(|row| row_of(row)).collect();
    let theirs = INCUMBENT.iter().map(|(name, counterparts, how)| {
        let queries: Vec<String> = counterparts.iter().map(|query| format!("`{query}`")).collect();
        let queries = if queries.is_empty() { "none".to_owned() } else { queries.join(", ") };
        format!("| `{name}` | {queries} | {how} |\n")
    });
    format!("{HEAD}{ours}{MIDDLE}{}", theirs.collect::<String>())
}

fn row_of(row: &Row) -> String {
    let kind = match row.kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram => "histogram",
    };
    let counts = match row.counts {
        Counts::Bytes => "bytes",
        Counts::Ratio => "0 to 1",
        Counts::Seconds => "seconds",
        Counts::Things(things) => things,
        Counts::Truth => "1 or 0",
    };
    let labels: Vec<String> = row.labels.iter().map(|label| format!("`{label}`")).collect();
    format!("| `{}` | {kind} | {counts} | {} | {} |\n", row.name(), labels.join(", "), row.help)
}

const HEAD: &str = "\
# Metrics

Served at `http://NODE:61678/metrics` (`observe.listen` in the settings) as OpenMetrics for those who ask for it, and in
Prometheus' own text format for everybody else. No metric names a pod or a container. `enid config metrics` prints this page.

Beside them are `/healthz`, 200 as long as the daemon answers, and `/readyz`, 200 while a pod could be added and otherwise 503 with
the reason in words: of a node that is full, too, which is no reason to restart anything.

`dashboards/enid.json` shows them in Grafana, `alerts/enid.rules.yml` has rules for Prometheus.

| metric | kind | in | labels | what it is |
| --- | --- | --- | --- | --- |
";

const MIDDLE: &str = "
## The Amazon VPC CNI's

Those of its metrics, and what says the same here.

| there | here | in particular |
| --- | --- | --- |
";
