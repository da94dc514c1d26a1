//! The sums of [`super::row_product`] for many rows: bit by bit the same, at the rate of arithmetic.
//!
//! There, a kernel reads both operands along their rows, and holds all sixteen running sums of an element. With many rows the
//! reading of x is what takes the time. Here, a kernel computes one running sum of sixteen neighbours of a row at once, so that
//! what it reads serves more products. The other running sums come after it, in the order in which they are added up: a sum waits
//! on a [`Stack`] for the one that is added to it.
//!
//! For that, operands are put in order. A *lane* is every sixteenth float of a block. Rows of x are sorted by lanes ([`sorted`]), once
//! for all weights. Sixteen rows of W stand side by side in a *panel*, sorted alike, which is made while W is read. Nothing of
//! it is kept. Must not know: layers, sequences.
#![expect(unsafe_code, reason = "kernels read and write by pointers")]
#![expect(clippy::needless_range_loop, reason = "iterators take closures, which are compiled for no instruction set")]

use std::mem::MaybeUninit;

use super::registers::{Floats, WIDTH};
use super::row_product::{DEPTH, Rows, Target};

/// The lanes in the order in which their sums are added up: of two that are added, one follows the other. It is that of
/// [`Floats::totals`], from the inside out.
const LANES: [usize; WIDTH] = [0, 8, 4, 12, 2, 10, 6, 14, 1, 9, 5, 13, 3, 11, 7, 15];

/// How many sums may wait.
const WAITING: usize = WIDTH.ilog2() as usize;

/// With fewer rows of x, or less depth, making panels takes longer than they save.
const LEAST_ROWS: usize = 24;
const LEAST_DEPTH: usize = 64;

/// Whether panels serve a product of `rows` rows over so much depth.
pub fn suit(rows: usize, depth: usize) -> bool {
    rows >= LEAST_ROWS && depth >= LEAST_DEPTH && depth.is_multiple_of(WIDTH)
}

/// The rows of x [m, k], each sorted: block by block of [`DEPTH`], lane by lane in the order of [`LANES`].
pub fn sorted(values: &[f32], stride: usize, [m, k]: [usize; 2]) -> Vec<f32> {
    let mut sorted = vec![0.0; m * k];
    sorted.chunks_mut(k.max(1)).zip(values.chunks(stride.max(1))).for_each(|(sorted, row)| {
        for (sorted, block) in sorted.chunks_mut(DEPTH).zip(row[..k].chunks(DEPTH)) {
            let lanes = sorted.chunks_mut(block.len() / WIDTH).zip(LANES);
            lanes.for_each(|(sorted, lane)| {
                sorted.iter_mut().zip(block.chunks_exact(WIDTH)).for_each(|(to, of)| *to = of[lane]);
            });
        }
    });
    sorted
}

/// Room for the panels of one kernel.
#[repr(align(64))]
struct Room<const C: usize>([MaybeUninit<[f32; DEPTH * WIDTH]>; C]);

/// Makes a panel of `columns` rows of W, at most [`WIDTH`]: floats of one place side by side, places sorted. Rows that are missing are
/// zeros.
///
/// # Safety
/// So many rows of `depth` columns lie there, the panel has room for `depth` by [`WIDTH`], and the machine has the instruction
/// set of F.
#[inline(always)]
unsafe fn pack<F: Floats>(panel: *mut f32, w: Rows, columns: usize, depth: usize) {
    let length = depth / WIDTH;
    // SAFETY: as the caller promises.
    unsafe {
        if columns == WIDTH {
            // Of eight neighbouring lanes the first four, and likewise the last four, do not lie at one distance in the order
            // of lanes; so they go through a small buffer.
            let mut columns = [0.0_f32; 8 * WIDTH];
            for at in 0..length {
                for half in [0, 8] {
                    F::transpose_eight(w.values.add(at * WIDTH + half), w.stride, columns.as_mut_ptr(), WIDTH);
                    for lane in 0..8 {
                        let to = panel.add((PLACES[half + lane] * length + at) * WIDTH);
                        F::load(columns.as_ptr().add(lane * WIDTH)).store(to);
                    }
                }
            }
            return;
        }
        for place in 0..WIDTH {
            for at in 0..length {
                for c in 0..WIDTH {
                    let value = if c < columns { *w.values.add(c * w.stride + at * WIDTH + LANES[place]) } else { 0.0 };
                    *panel.add((place * length + at) * WIDTH + c) = value;
                }
            }
        }
    }
}

/// Where each lane stands in [`LANES`].
const PLACES: [usize; WIDTH] = {
    let mut places = [0; WIDTH];
    let mut place = 0;
    while place < WIDTH {
        places[LANES[place]] = place;
        place += 1;
    }
    places
};

/// Sums of R rows by C panels that wait to be added.
type Stack<F, const R: usize, const C: usize> = [[[F; C]; R]; WAITING];

/// R rows by C panels of the result over one block; onto what is there unless it is the `first` one. There are `columns` columns in all.
///
/// There is no closure here and in what calls it: a closure is a function of its own, which would not be compiled for the
/// instruction set.
///
/// # Safety
/// x has R sorted rows of `depth` floats, the panels are made, y is R by `columns`, and the machine has the instruction set of F.
#[inline(always)]
unsafe fn tile<F: Floats, const R: usize, const C: usize>(
    x: Rows,
    panels: *const f32,
    depth: usize,
    y: Target,
    columns: usize,
    first: bool,
) {
    let length = depth / WIDTH;
    // SAFETY: all addresses lie inside what the caller promises.
    unsafe {
        let mut stack: Stack<F, R, C> = [[[F::splat(0.0); C]; R]; WAITING];
        for place in 0..WIDTH {
            let mut sums = [[F::splat(0.0); C]; R];
            let mut weights = [F::splat(0.0); C];
            for at in place * length..(place + 1) * length {
                for c in 0..C {
                    weights[c] = F::load(panels.add((c * DEPTH + at) * WIDTH));
                }
                for r in 0..R {
                    let value = F::splat(*x.values.add(r * x.stride + at));
                    for c in 0..C {
                        sums[r][c] = sums[r][c].plus_product(value, weights[c]);
                    }
                }
            }
            // As a binary counter carries: two sums of one lane make one of two lanes, two of these one of four, and so on.
            let carries = (place + 1).trailing_zeros() as usize;
            for waiting in 0..carries {
                for r in 0..R {
                    for c in 0..C {
                        sums[r][c] = stack[waiting][r][c].plus(sums[r][c]);
                    }
                }
            }
            if carries < WAITING {
                stack[carries] = sums;
                continue;
            }
            for r in 0..R {
                for c in 0..C {
                    let y = y.values.add(r * y.stride + c * WIDTH);
                    if (c + 1) * WIDTH <= columns {
                        let sum = if first { sums[r][c] } else { F::load(y).plus(sums[r][c]) };
                        sum.store(y);
                        continue;
                    }
                    let mut values = [0.0_f32; WIDTH];
                    sums[r][c].store(values.as_mut_ptr());
                    for i in 0..columns - c * WIDTH {
                        *y.add(i) = if first { values[i] } else { *y.add(i) + values[i] };
                    }
                }
            }
        }
    }
}

/// [`tile`] for all rows of x, R at a time. R is at most 8.
///
/// # Safety
/// As there, for all rows.
#[inline(always)]
unsafe fn rows<F: Floats, const R: usize, const C: usize>(
    (x, count): (Rows, usize),
    panels: *const f32,
    depth: usize,
    y: Target,
    columns: usize,
    first: bool,
) {
    let mut row = 0;
    while row < count {
        // SAFETY: as the caller promises, for every part.
        unsafe {
            let y = Target { values: y.values.add(row * y.stride), ..y };
            let x = x.from(row, 0);
            match R.min(count - row) {
                1 => tile::<F, 1, C>(x, panels, depth, y, columns, first),
                2 => tile::<F, 2, C>(x, panels, depth, y, columns, first),
                3 => tile::<F, 3, C>(x, panels, depth, y, columns, first),
                4 => tile::<F, 4, C>(x, panels, depth, y, columns, first),
                5 => tile::<F, 5, C>(x, panels, depth, y, columns, first),
                6 => tile::<F, 6, C>(x, panels, depth, y, columns, first),
                7 => tile::<F, 7, C>(x, panels, depth, y, columns, first),
                _ => tile::<F, R, C>(x, panels, depth, y, columns, first),
            }
        }
        row += R;
    }
}

/// y [m, n] = x [m, k] wᵀ for sorted x, R rows and C panels at a time.
///
/// # Safety
/// The operands have these sizes, which [`suit`], and the machine has the instruction set of F.
#[inline(always)]
pub unsafe fn tiles<F: Floats, const R: usize, const C: usize>(y: Target, [x, w]: [Rows; 2], [m, n, k]: [usize; 3]) {
    let mut room = Room([const { MaybeUninit::uninit() }; C]);
    let panels = room.0.as_mut_ptr().cast::<f32>();
    let mut outer = 0;
    while outer < k {
        let depth = DEPTH.min(k - outer);
        let mut column = 0;
        while column < n {
            let columns = (C * WIDTH).min(n - column);
            // SAFETY: rows, columns and depths lie inside the sizes, and at most C panels inside the room.
            unsafe {
                let mut panel = 0;
                while panel * WIDTH < columns {
                    let start = w.from(column + panel * WIDTH, outer);
                    pack::<F>(panels.add(panel * DEPTH * WIDTH), start, WIDTH.min(columns - panel * WIDTH), depth);
                    panel += 1;
                }
                let y = Target { values: y.values.add(column), ..y };
                let x = (x.from(0, outer), m);
                match panel {
                    1 => rows::<F, R, 1>(x, panels, depth, y, columns, outer == 0),
                    _ => rows::<F, R, C>(x, panels, depth, y, columns, outer == 0),
                }
            }
            column += columns;
        }
        outer += depth;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Equal bits are shown by the tests of `row_product`, through which panels are used.
    #[test]
    fn rows_are_sorted_block_by_block_and_lane_by_lane() {
        let k = DEPTH + 2 * WIDTH;
        let row: Vec<f32> = (0..u16::try_from(k).unwrap()).map(f32::from).collect();
        let sorted = sorted(&row, k, [1, k]);
        assert_eq!(sorted[..3], [0.0, 16.0, 32.0], "the first lane of the first block");
        assert_eq!(sorted[DEPTH / WIDTH..][..2], [8.0, 24.0], "then the one that is added to it");
        assert_eq!(sorted[DEPTH..][..4], [1024.0, 1040.0, 1032.0, 1048.0], "then the second block");
        assert!((0..WIDTH).all(|lane| LANES[PLACES[lane]] == lane));
    }

    #[test]
    fn only_products_of_many_rows_and_whole_lanes_suit() {
        assert!(suit(96, 576) && suit(24, 64));
        assert!(!suit(8, 576) && !suit(96, 32) && !suit(96, 1300));
    }
}
