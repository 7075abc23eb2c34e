//! What was measured, for people and for programs.

use serde::Serialize;

use crate::mesh::table::Table;
use crate::mesh::{print, print_json};
use crate::problem::Problem;

/// One measurement.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Figure {
    what: &'static str,
    unit: Unit,
    value: f64,
    /// The same by raw TCP.
    pub(super) raw: Option<f64>,
}

#[derive(Debug, Clone, Copy, Serialize)]
pub(super) enum Unit {
    #[serde(rename = "per second")]
    PerSecond,
    #[serde(rename = "microseconds")]
    Micros,
    #[serde(rename = "bytes per second")]
    BytesPerSecond,
}

impl Figure {
    pub(super) fn new(what: &'static str, unit: Unit, value: f64) -> Self {
        Self { what, unit, value, raw: None }
    }

    pub(super) fn beside(self, raw: Option<f64>) -> Self {
        Self { raw, ..self }
    }
}

pub(super) fn print_figures(figures: &[Figure], is_json: bool, to: &str) -> Result<(), Problem> {
    if is_json {
        return figures.iter().try_for_each(print_json);
    }
    let head = format!("TO {to}");
    let mut table = Table::new(&[&head, ">PLEIAD", ">RAW TCP", ">RATIO"]);
    for figure in figures {
        let raw = figure.raw;
        table.push([
            figure.what.to_owned(),
            show(figure.unit, figure.value),
            raw.map_or_else(|| "-".to_owned(), |raw| show(figure.unit, raw)),
            raw.map_or_else(|| "-".to_owned(), |raw| format!("{:.2}", figure.value / raw)),
        ]);
    }
    print(&table.text())
}

fn show(unit: Unit, value: f64) -> String {
    match unit {
        Unit::PerSecond => match value {
            1e6.. => format!("{:.2} M/s", value / 1e6),
            1e3.. => format!("{:.1} k/s", value / 1e3),
            _ => format!("{value:.0} /s"),
        },
        Unit::Micros => format!("{value:.1} \u{b5}s"),
        Unit::BytesPerSecond => format!("{:.2} GB/s", value / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_shown_in_units_that_people_read() {
        let shown = [
            show(Unit::PerSecond, 4_512_345.0),
            show(Unit::PerSecond, 45_123.0),
            show(Unit::PerSecond, 451.0),
            show(Unit::Micros, 65.04),
            show(Unit::BytesPerSecond, 3.301e9),
        ];
        assert_eq!(shown, ["4.51 M/s", "45.1 k/s", "451 /s", "65.0 \u{b5}s", "3.30 GB/s"]);
    }
}
