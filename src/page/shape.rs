//! What the template takes: tables, figures and lists of sentences. Nothing in here is HTML, except drawings.
//!
//! Must not know: what any of it means.

use serde::Serialize;

/// A table as the page shows it. Texts are escaped by the template.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct TableView {
    pub caption: String,
    /// Titles above several columns, with how many there are; none where no column has one.
    pub groups: Vec<(String, usize)>,
    pub head: Vec<Head>,
    pub rows: Vec<RowView>,
}

/// The title of a column.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Head {
    pub title: String,
    /// Whether its cells are numbers, which stand to the right.
    pub number: bool,
}

/// A row, and what kind of row it is: `base`, `control`, `front`, `best` or nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct RowView {
    pub kind: String,
    pub cells: Vec<CellView>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct CellView {
    pub text: String,
    /// What the column is sorted by, where that is not its text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order: Option<f64>,
    pub strong: bool,
}

/// A figure in both colours, with what it says in words and the numbers behind it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct FigureView {
    /// Unique on the page, and the name of the file that it is saved as.
    pub id: String,
    pub title: String,
    pub caption: String,
    /// SVG.
    pub light: String,
    pub dark: String,
    pub table: TableView,
}

/// A claim with what it rests on.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Claim {
    pub what: String,
    pub numbers: String,
    /// `shown`, `same`, `open`: whether a change is shown, or that there is none, or neither.
    pub kind: &'static str,
    pub verdict: &'static str,
}

impl TableView {
    /// A table without rows. A title that ends in `#` is that of a column of numbers.
    pub fn new(caption: &str, titles: &[&str]) -> Self {
        let head = |title: &&str| match title.strip_suffix('#') {
            Some(title) => Head { title: title.into(), number: true },
            None => Head { title: (*title).into(), number: false },
        };
        Self { caption: caption.into(), head: titles.iter().map(head).collect(), ..Self::default() }
    }

    pub fn row(&mut self, cells: impl IntoIterator<Item = impl Into<CellView>>) {
        self.kind_of_row("", cells);
    }

    pub fn kind_of_row(&mut self, kind: &str, cells: impl IntoIterator<Item = impl Into<CellView>>) {
        self.rows.push(RowView { kind: kind.into(), cells: cells.into_iter().map(Into::into).collect() });
    }
}

impl CellView {
    pub fn number(text: String, order: Option<f64>) -> Self {
        Self { text, order: order.filter(|order| order.is_finite()), strong: false }
    }
}

impl From<String> for CellView {
    fn from(text: String) -> Self {
        Self { text, order: None, strong: false }
    }
}

impl From<&str> for CellView {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

impl From<u64> for CellView {
    #[expect(clippy::cast_precision_loss, reason = "what a column is sorted by")]
    fn from(count: u64) -> Self {
        Self::number(count.to_string(), Some(count as f64))
    }
}
