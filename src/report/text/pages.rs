//! As many tables, one below the other, as the width asks for, and as much of each comparison as it allows.
//!
//! Must not know: what is in the columns.

use super::columns::{Block, Detail, is_noise};
use super::{label, point_text};
use crate::layout::{Align, Cell, Table, Tone, clip};
use crate::report::facts::VariantReport;

/// Behind the name of a variant in which nothing is significant.
pub const NOISE: &str = " ~";

/// The least that is left of a name, and of a set's.
const LEAST: usize = 12;

/// What a table has room for.
#[derive(Clone, Copy)]
struct Extent {
    detail: Detail,
    /// How many weights a variant has, in the first table.
    weights: bool,
    /// The beginning of its mask's digest, as the names of nodes have it, in the first table.
    mask: bool,
}

const EXTENTS: [Extent; 5] = [
    Extent { detail: Detail::Full, weights: true, mask: true },
    Extent { detail: Detail::Paired, weights: true, mask: true },
    Extent { detail: Detail::Paired, weights: true, mask: false },
    Extent { detail: Detail::Paired, weights: false, mask: false },
    Extent { detail: Detail::Short, weights: false, mask: false },
];

/// The first that is worth another table: what is before it is shown only where it takes no more of them.
const NEEDED: usize = 2;

/// The tables, of the greatest extent that fits.
pub fn tables(rows: &[VariantReport], best: Option<&str>, blocks: &[Block], width: usize) -> Vec<Table> {
    let shown: Vec<&Block> = blocks.iter().filter(|block| block.has_columns()).collect();
    let packed: Vec<(Vec<Table>, bool)> =
        EXTENTS.iter().map(|extent| pack(rows, best, blocks, &shown, *extent, width)).collect();
    let needed = packed.iter().skip(NEEDED).find(|(_, fits)| *fits).map_or(usize::MAX, |(tables, _)| tables.len());
    let chosen = packed.iter().position(|(tables, fits)| *fits && tables.len() <= needed);
    let chosen = chosen.unwrap_or(EXTENTS.len() - 1);
    packed.into_iter().nth(chosen).map(|(tables, _)| tables).unwrap_or_default()
}

/// The blocks, as many beside each other as fit, and whether every table fits.
fn pack(
    rows: &[VariantReport],
    best: Option<&str>,
    all: &[Block],
    shown: &[&Block],
    extent: Extent,
    width: usize,
) -> (Vec<Table>, bool) {
    let page = |blocks: &[&Block], number: usize| {
        table(rows, best.filter(|_| number == 0), all, blocks, extent, number == 0, width)
    };
    let mut pages: Vec<Vec<&Block>> = vec![Vec::new()];
    // The narrow columns of one set stay together.
    for blocks in shown.chunk_by(|one, next| one.set == next.set && !one.is_compared() && !next.is_compared()) {
        let number = pages.len() - 1;
        if let Some(last) = pages.last_mut() {
            let before = last.len();
            last.extend(blocks);
            if before > 0 && page(last, number).longest_line() > width {
                last.truncate(before);
                pages.push(blocks.to_vec());
            }
        }
    }
    let tables: Vec<Table> = pages.iter().enumerate().map(|(number, blocks)| page(blocks, number)).collect();
    let fits = tables.iter().all(|table| table.longest_line() <= width);
    (tables, fits)
}

/// One table; the first says which other points give a variant, and which variant is the best.
fn table(
    rows: &[VariantReport],
    best: Option<&str>,
    all: &[Block],
    page: &[&Block],
    extent: Extent,
    is_first: bool,
    width: usize,
) -> Table {
    let Extent { detail, weights, mask } = extent;
    let (weights, mask) = (weights && is_first, mask && is_first);
    let mut table = Table::new().column("point", Align::Left);
    if weights {
        table = table.column("weights", Align::Right);
    }
    if mask {
        table = table.column("mask", Align::Left);
    }
    let mut above = String::new();
    for block in page {
        let here = block.above(all);
        if here != above {
            table = table.group(&clip(&here, (width / 3).max(LEAST)));
            above = here;
        }
        table = block.add_columns(table, detail);
    }
    for row in rows {
        let noise = is_noise(row, all);
        // A control stands under the point that it is beside.
        let indent = if row.points.is_empty() && !row.controls.is_empty() { "  " } else { "" };
        let name = indent.to_owned() + &clip(&label(row), (width / 4).max(LEAST));
        let mut cells: Vec<Cell> = vec![(name + if noise { NOISE } else { "" }).into()];
        cells.extend(weights.then(|| Cell::from(row.weights.to_string())));
        cells.extend(mask.then(|| Cell::from(row.mask.map(|mask| mask.short()).unwrap_or_default())));
        cells.extend(page.iter().flat_map(|block| block.cells(row, detail)));
        if noise {
            cells.iter_mut().for_each(|cell| cell.tone = Some(Tone::Faint));
        }
        table.cells(cells);
        if best == Some(row.variant.as_str()) {
            table.line("  best by the goals".into());
        }
        // The base has no point of its own; those that select nothing are in the notes.
        for point in row.points.iter().skip(1).filter(|_| row.mask.is_some() && is_first) {
            table.line(clip(&format!("  also {}", point_text(point)), width));
        }
    }
    table
}
