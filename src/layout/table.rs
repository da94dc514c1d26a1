//! Tables of plain text: columns as wide as their widest cell, two spaces apart.
//!
//! Must not know: what is in the cells.

use std::fmt;

use super::{Look, Tone};

/// What stands in one column of one row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cell {
    pub text: String,
    pub tone: Option<Tone>,
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self { text, tone: None }
    }
}

/// On which side a column's cells are filled up with spaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    Left,
    Right,
}

/// One column: its title, its side, and the spaces in front of it.
#[derive(Clone, Debug)]
struct Column {
    title: String,
    align: Align,
    gap: usize,
}

/// A row of cells, or a line that runs across the columns.
#[derive(Clone, Debug)]
enum Row {
    Cells(Vec<Cell>),
    Line(String),
}

/// A table, shown with its titles and without spaces at the ends of lines.
#[derive(Clone, Debug, Default)]
pub struct Table {
    columns: Vec<Column>,
    /// Titles above titles: the column that each begins at.
    groups: Vec<(usize, String)>,
    rows: Vec<Row>,
}

impl Table {
    pub fn new() -> Self {
        Self::default()
    }

    /// One more column on the right.
    #[must_use]
    pub fn column(self, title: &str, align: Align) -> Self {
        self.close_column(title, align, 2)
    }

    /// One more column, `gap` spaces from its neighbour.
    #[must_use]
    pub fn close_column(mut self, title: &str, align: Align, gap: usize) -> Self {
        let gap = if self.columns.is_empty() { 0 } else { gap };
        self.columns.push(Column { title: title.into(), align, gap });
        self
    }

    /// A title above the titles of the columns that come next.
    #[must_use]
    pub fn group(mut self, title: &str) -> Self {
        self.groups.push((self.columns.len(), title.into()));
        self
    }

    /// A row; cells that are missing are empty.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.cells(cells);
    }

    /// A row of as many cells as there happen to be.
    pub fn cells(&mut self, cells: impl IntoIterator<Item = impl Into<Cell>>) {
        self.rows.push(Row::Cells(cells.into_iter().map(Into::into).collect()));
    }

    /// A line across the columns.
    pub fn line(&mut self, text: String) {
        self.rows.push(Row::Line(text));
    }

    fn width(&self, index: usize, column: &Column) -> usize {
        let cells = self.rows.iter().filter_map(|row| match row {
            Row::Cells(cells) => cells.get(index).map(|cell| &cell.text),
            Row::Line(_) => None,
        });
        cells.chain([&column.title]).map(|cell| cell.chars().count()).max().unwrap_or(0)
    }

    /// How many characters its longest line has.
    pub fn longest_line(&self) -> usize {
        self.to_string().lines().map(|line| line.chars().count()).max().unwrap_or(0)
    }
}

impl Table {
    /// The spaces in front of each column: its own, and more where the title above the columns before it needs room.
    fn gaps(&self, widths: &[usize]) -> Vec<usize> {
        let mut gaps: Vec<usize> = self.columns.iter().map(|column| column.gap).collect();
        for pair in self.groups.windows(2) {
            let [(first, title), (next, _)] = pair else { continue };
            let needed = start(&gaps, widths, *first) + title.chars().count() + 2;
            let missing = needed.saturating_sub(start(&gaps, widths, *next));
            if let Some(gap) = gaps.get_mut(*next) {
                *gap += missing;
            }
        }
        gaps
    }
}

/// Where a column begins.
fn start(gaps: &[usize], widths: &[usize], index: usize) -> usize {
    let before: usize = gaps.iter().zip(widths).take(index).map(|(gap, width)| gap + width).sum();
    before + gaps.get(index).copied().unwrap_or_default()
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.painted(&Look::plain(usize::MAX)))
    }
}

impl Table {
    /// The table with the tones of its cells. It is as wide as it is, whatever the look.
    pub fn painted(&self, look: &Look) -> String {
        let widths: Vec<usize> =
            self.columns.iter().enumerate().map(|(index, column)| self.width(index, column)).collect();
        let gaps = self.gaps(&widths);
        let mut lines: Vec<String> = Vec::new();
        if !self.groups.is_empty() {
            let mut line = String::new();
            for (index, title) in &self.groups {
                let gap = start(&gaps, &widths, *index).saturating_sub(line.chars().count());
                line.push_str(&" ".repeat(gap));
                line.push_str(title);
            }
            lines.push(line);
        }
        let titles = Row::Cells(self.columns.iter().map(|column| column.title.clone().into()).collect());
        for row in std::iter::once(&titles).chain(&self.rows) {
            let cells = match row {
                Row::Line(text) => {
                    lines.push(text.clone());
                    continue;
                }
                Row::Cells(cells) => cells,
            };
            let mut line = String::new();
            for (index, ((column, width), gap)) in self.columns.iter().zip(&widths).zip(&gaps).enumerate() {
                let (text, tone) = cells.get(index).map_or(("", None), |cell| (cell.text.as_str(), cell.tone));
                let fill = " ".repeat(width.saturating_sub(text.chars().count()));
                let shown = match tone {
                    Some(tone) if !text.is_empty() => (look.paint)(text, tone),
                    _ => text.to_owned(),
                };
                line.push_str(&" ".repeat(*gap));
                match column.align {
                    Align::Left => line.extend([shown, fill]),
                    Align::Right => line.extend([fill, shown]),
                }
            }
            lines.push(line);
        }
        let lines: Vec<&str> = lines.iter().map(|line| line.trim_end()).collect();
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_lines_run_across() {
        let mut table = Table::new()
            .column("node", Align::Left)
            .group("both of these")
            .column("bytes", Align::Right)
            .close_column("of", Align::Left, 1);
        table.row(["score[…]".into(), "7".into(), "[1]".into()]);
        table.line("  a remark that is longer than the table is wide".into());
        table.row(["a".into(), "1234567".into()]);
        insta::assert_snapshot!(table, @r"
                  both of these
        node        bytes of
        score[…]        7 [1]
          a remark that is longer than the table is wide
        a         1234567
        ");
    }

    #[test]
    fn a_long_title_above_moves_the_next_columns() {
        let mut table = Table::new()
            .group("longer than both")
            .column("a", Align::Left)
            .close_column("b", Align::Right, 1)
            .group("short")
            .column("c", Align::Left);
        table.row(["1".into(), "2".into(), "3".into()]);
        insta::assert_snapshot!(table, @"
        longer than both  short
        a b               c
        1 2               3
        ");
    }

    #[test]
    fn tones_take_no_room() {
        let mut table = Table::new().column("a", Align::Right).column("b", Align::Left);
        let cell = |text: &str, tone| Cell { text: text.into(), tone };
        table.cells([cell("long", Some(Tone::Strong)), cell("x", None)]);
        table.cells([cell("1", Some(Tone::Faint)), cell("", Some(Tone::Strong))]);
        let look = Look { width: 80, paint: |text, tone| format!("<{tone:?} {text}>") };
        assert_eq!(table.painted(&look), "   a  b\n<Strong long>  x\n   <Faint 1>");
        assert_eq!((table.to_string().as_str(), table.longest_line()), ("   a  b\nlong  x\n   1", 7));
    }

    #[test]
    fn an_empty_table_is_its_titles() {
        assert_eq!(Table::new().column("a", Align::Left).column("b", Align::Right).to_string(), "a  b");
    }
}
