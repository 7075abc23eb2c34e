//! What has been measured, for people and for programs.

use std::fmt::Write;

use crate::row::{Row, Unit};

/// The figures of one peer in one row: nanoseconds or bytes for each, one a round.
pub(crate) struct Line {
    pub(crate) peer: &'static str,
    pub(crate) each: Vec<f64>,
    /// Why there are none.
    pub(crate) left_out: Option<String>,
}

struct Spread {
    median: f64,
    least: f64,
    most: f64,
}

impl Line {
    /// In the unit of the row.
    fn spread(&self, unit: Unit) -> Option<Spread> {
        let mut values: Vec<f64> = self.each.iter().map(|each| value(*each, unit)).collect();
        values.sort_by(f64::total_cmp);
        let (least, most) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = if values.len().is_multiple_of(2) {
            f64::midpoint(values[middle - 1], values[middle])
        } else {
            values[middle]
        };
        Some(Spread { median, least, most })
    }
}

fn value(each: f64, unit: Unit) -> f64 {
    match unit {
        Unit::Rate(_) => 1e9 / each,
        Unit::Bytes | Unit::Nanoseconds => each,
    }
}

/// Three digits, and the letter of thousands or millions.
fn short(value: f64) -> String {
    let (value, letter) = match value {
        _ if value >= 1e6 => (value / 1e6, " M"),
        _ if value >= 1e4 => (value / 1e3, " k"),
        _ => (value, "  "),
    };
    let places = match value {
        _ if value >= 100.0 || letter == "  " => 0,
        _ if value >= 10.0 => 1,
        _ => 2,
    };
    format!("{value:.places$}{letter}")
}

fn unit(unit: Unit) -> String {
    match unit {
        Unit::Rate(what) => format!("{what}/s, more is better"),
        Unit::Bytes => "bytes, less is better".to_owned(),
        Unit::Nanoseconds => "ns, less is better".to_owned(),
    }
}

fn base(lines: &[Line], row: &Row) -> Option<f64> {
    let base = lines.iter().find(|line| line.peer == crate::peer::PEERS[0].name)?;
    Some(base.spread(row.unit)?.median)
}

/// A row as text, in columns.
pub(crate) fn text(row: &Row, lines: &[Line]) -> String {
    let base = base(lines, row);
    let mut text = format!("{}: {} ({})\n", row.id, row.title, unit(row.unit));
    let _ = writeln!(
        text,
        "  {:<12}{:>10}  {:>10}{:>10}  {:>14}",
        "", "median", "least", "most", "ratio to tokio"
    );
    for line in lines {
        let Some(spread) = line.spread(row.unit) else {
            let why = line.left_out.as_deref().unwrap_or("no figure");
            let _ = writeln!(text, "  {:<12}left out: {why}", line.peer);
            continue;
        };
        let ratio = base.map_or("-".to_owned(), |base| format!("{:.2}", spread.median / base));
        let _ = writeln!(
            text,
            "  {:<12}{:>10}  {:>10}{:>10}  {:>14}",
            line.peer,
            short(spread.median),
            short(spread.least),
            short(spread.most),
            ratio
        );
    }
    text
}

/// A row as lines of JSON, one for each peer.
pub(crate) fn json(row: &Row, lines: &[Line]) -> String {
    let base = base(lines, row);
    let unit = match row.unit {
        Unit::Rate(what) => format!("{what}/s"),
        Unit::Bytes => "bytes".to_owned(),
        Unit::Nanoseconds => "ns".to_owned(),
    };
    let mut text = String::new();
    for line in lines {
        let _ = write!(text, r#"{{"row":"{}","peer":"{}","unit":"{unit}""#, row.id, line.peer);
        if let Some(spread) = line.spread(row.unit) {
            let Spread { median, least, most } = spread;
            let rounds = line.each.len();
            let _ = write!(
                text,
                r#","median":{median:.2},"min":{least:.2},"max":{most:.2},"rounds":{rounds}"#
            );
            if let Some(base) = base {
                let _ = write!(text, r#","ratio":{:.4}"#, median / base);
            }
        } else {
            let why = line.left_out.as_deref().unwrap_or("no figure");
            let why = why.escape_default();
            let _ = write!(text, r#","left_out":"{why}""#);
        }
        text.push_str("}\n");
    }
    text
}
