//! Columns.

/// Rows under a head, each column as wide as it needs. Numbers are set right.
#[derive(Debug)]
pub(super) struct Table {
    rows: Vec<Vec<String>>,
    is_number: Vec<bool>,
}

impl Table {
    /// A column whose name begins with `>` is one of numbers.
    pub(super) fn new(head: &[&str]) -> Self {
        let is_number = head.iter().map(|name| name.starts_with('>')).collect();
        let head = head.iter().map(|name| name.trim_start_matches('>').to_owned()).collect();
        Self { rows: vec![head], is_number }
    }

    pub(super) fn push(&mut self, row: impl Into<Vec<String>>) {
        self.rows.push(row.into());
    }

    pub(super) fn text(&self) -> String {
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.is_number.len()).map(width).collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for ((cell, &width), &is_number) in row.iter().zip(&widths).zip(&self.is_number) {
                if !line.is_empty() {
                    line.push_str("  ");
                }
                line.push_str(&if is_number {
                    format!("{cell:>width$}")
                } else {
                    format!("{cell:<width$}")
                });
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_they_need() {
        let mut table = Table::new(&["NODE", ">QUEUED", "NAMES"]);
        table.push(["s\u{f6}".to_owned(), "12".to_owned(), String::new()]);
        table.push(["longer".to_owned(), "7".to_owned(), "a, b".to_owned()]);
        assert_eq!(
            table.text(),
            "NODE    QUEUED  NAMES\ns\u{f6}          12\nlonger       7  a, b\n"
        );
    }
}
