//! One measured number: what it is compared with, what it must not exceed, and how it is shown.

use std::time::Duration;

use serde_json::{Value, json};

use super::samples::millis;

/// One line of the result.
#[derive(Clone, Debug)]
pub(super) struct Figure {
    name: String,
    value: f64,
    unit: &'static str,
    /// What it is compared with: in words, and how much.
    baseline: Option<(String, f64)>,
    /// What it must not exceed.
    bar: Option<f64>,
}

impl Figure {
    pub(super) fn millis(name: &str, value: Duration) -> Self {
        Self::of_millis(name, millis(value))
    }

    pub(super) fn of_millis(name: &str, value: f64) -> Self {
        Self::new(name, value, "ms")
    }

    pub(super) fn micros(name: &str, value: f64) -> Self {
        Self::new(name, value, "µs")
    }

    pub(super) fn mebibytes(name: &str, value: f64) -> Self {
        Self::new(name, value, "MiB")
    }

    fn new(name: &str, value: f64, unit: &'static str) -> Self {
        Self { name: name.to_owned(), value, unit, baseline: None, bar: None }
    }

    /// Compared with a baseline in the same unit.
    pub(super) fn against(mut self, what: &str, baseline: f64) -> Self {
        self.baseline = Some((what.to_owned(), baseline));
        self
    }

    pub(super) fn at_most(mut self, bar: f64) -> Self {
        self.bar = Some(bar);
        self
    }

    /// Whether the bar is met; `None` when there is no bar.
    pub(super) fn is_met(&self) -> Option<bool> {
        self.bar.map(|bar| self.value <= bar)
    }

    fn ratio(&self) -> Option<f64> {
        self.baseline.as_ref().map(|(_, baseline)| self.value / baseline)
    }

    fn json(&self) -> Value {
        json!({
            "name": self.name,
            "value": self.value,
            "unit": self.unit,
            "baseline": self.baseline.as_ref().map(|(what, value)| json!({"name": what, "value": value})),
            "ratio": self.ratio(),
            "bar": self.bar,
            "met": self.is_met(),
        })
    }

    fn row(&self) -> [String; 6] {
        let (baseline, ratio) = match (&self.baseline, self.ratio()) {
            (Some((what, value)), Some(ratio)) => {
                (format!("{} of {what}", self.amount(*value)), format!("{ratio:.2}"))
            }
            (_, _) => Default::default(),
        };
        let verdict = match self.is_met() {
            Some(true) => "yes",
            Some(false) => "NO",
            None => "",
        };
        let bar = self.bar.map_or_else(String::new, |bar| self.amount(bar));
        [self.name.clone(), self.amount(self.value), baseline, ratio, bar, verdict.to_owned()]
    }

    fn amount(&self, value: f64) -> String {
        format!("{value:.2} {}", self.unit)
    }
}

/// Everything for a program, with how busy the machine was.
pub(super) fn document(figures: &[Figure], busy_before: &str, busy_after: &str) -> Value {
    json!({
        "load_average": { "before": busy_before, "after": busy_after },
        "figures": figures.iter().map(Figure::json).collect::<Vec<_>>(),
    })
}

/// Everything for people.
pub(super) fn print_table(figures: &[Figure]) {
    let head = ["figure", "value", "baseline", "ratio", "bar", "ok"].map(str::to_owned);
    let rows: Vec<[String; 6]> = std::iter::once(head).chain(figures.iter().map(Figure::row)).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let [name, value, baseline, ratio, bar, _] = std::array::from_fn(width);
    for row in &rows {
        let line = format!(
            "{:<name$}  {:>value$}  {:<baseline$}  {:>ratio$}  {:>bar$}  {}",
            row[0], row[1], row[2], row[3], row[4], row[5]
        );
        println!("{}", line.trim_end());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_without_a_bar_judges_nothing() {
        let slow = Figure::millis("x", Duration::from_secs(3));
        assert_eq!(slow.is_met(), None);
        assert_eq!(slow.clone().at_most(2000.0).is_met(), Some(false));
        assert_eq!(slow.clone().at_most(3000.0).is_met(), Some(true));
        assert_eq!(slow.against("y", 1500.0).ratio(), Some(2.0));
    }
}
