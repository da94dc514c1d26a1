//! Products x Wᵀ in which a row of the result has the same bits whatever rows are beside it.
//!
//! The CPU backend's products choose their kernel, and with it the order of sums, by the size of the result. That is right
//! for scoring. But a token that is generated must not depend on what else is generated, and one sequence alone must not be
//! padded to the size of many. So every element of the result is computed here in one order, whatever the shapes:
//!
//! * Products over the inner size go to sixteen running sums, the first to the first, the seventeenth to the first again. A
//!   product and its sum are rounded once together.
//! * After every [`DEPTH`] products, and at the end, the sixteen sums are added up ([`Floats::totals`]), and the total is
//!   added to the element.
//!
//! The order depends neither on threads nor on the instruction set, so the bits are those of every machine. Both operands
//! are read as they lie in memory, along their rows: nothing is packed, and with few rows the rate is that of reading the
//! weights once. For many rows [`super::panels`] has kernels that compute the same bits faster. Must not know: layers,
//! sequences.
#![expect(unsafe_code, reason = "kernels read by pointers, and threads write disjoint columns of one result")]
#![expect(clippy::needless_range_loop, reason = "iterators take closures, which are compiled for no instruction set")]

use rayon::prelude::*;

use super::panels;
use super::product::Matrix;
#[cfg(target_arch = "x86_64")]
use super::registers::{Avx2, Avx512};
use super::registers::{Floats, InstructionSet, Portable, WIDTH};

/// The inner size of one block. A block of a few rows of W stays in a core's first cache while all rows of x pass by. It is
/// part of the order of sums, so a change raises the versions of the stages that generate.
pub const DEPTH: usize = 1024;

/// Rows of x that stay in a core's second cache while W passes by.
const ROWS: usize = 120;

/// Rows of W of a task are a multiple of this, so that no kernel of [`on`] has a rest but at the end of W.
const GRAIN: usize = 12;

/// The same for the kernels that read panels.
const PANELS: usize = 2 * WIDTH;

/// Rows that a kernel reads: the first one's address, and the distance from one to the next.
#[derive(Clone, Copy)]
pub struct Rows {
    pub values: *const f32,
    pub stride: usize,
}

impl Rows {
    /// # Safety
    /// The element must lie inside the matrix.
    #[inline(always)]
    pub unsafe fn from(self, row: usize, column: usize) -> Self {
        Self { values: unsafe { self.values.add(row * self.stride + column) }, ..self }
    }
}

/// Where a kernel writes: elements [rows, columns] of a row-major result.
#[derive(Clone, Copy)]
pub struct Target {
    pub values: *mut f32,
    pub stride: usize,
}

/// The last, incomplete sixteen floats of a row, with zeros behind them.
///
/// # Safety
/// `count` floats lie there, less than [`WIDTH`], and the machine has the instruction set of F.
#[inline(always)]
unsafe fn rest<F: Floats>(at: *const f32, count: usize) -> F {
    let mut padded = [0.0_f32; WIDTH];
    // SAFETY: as the caller promises.
    unsafe {
        std::ptr::copy_nonoverlapping(at, padded.as_mut_ptr(), count);
        F::load(padded.as_ptr())
    }
}

/// R by C elements of the result over `depth` products each; onto what is there unless they are the `first` ones.
///
/// There is no closure here and in what calls it: a closure is a function of its own, which would not be compiled for the
/// instruction set.
///
/// # Safety
/// x has R rows of that many columns, w has C, y is R by C, and the machine has the instruction set of F.
#[inline(always)]
unsafe fn tile<F: Floats, const R: usize, const C: usize>(x: Rows, w: Rows, depth: usize, y: Target, first: bool) {
    // SAFETY: all addresses lie inside what the caller promises.
    unsafe {
        let mut sums = [[F::splat(0.0); C]; R];
        let mut weights = [F::splat(0.0); C];
        let mut at = 0;
        while at + WIDTH <= depth {
            for c in 0..C {
                weights[c] = F::load(w.values.add(c * w.stride + at));
            }
            for r in 0..R {
                let value = F::load(x.values.add(r * x.stride + at));
                for c in 0..C {
                    sums[r][c] = sums[r][c].plus_product(value, weights[c]);
                }
            }
            at += WIDTH;
        }
        if at < depth {
            for r in 0..R {
                let value = rest::<F>(x.values.add(r * x.stride + at), depth - at);
                for c in 0..C {
                    let weight = rest::<F>(w.values.add(c * w.stride + at), depth - at);
                    sums[r][c] = sums[r][c].plus_product(value, weight);
                }
            }
        }
        for r in 0..R {
            let mut c = 0;
            while c < C {
                let last = C - 1;
                let (two, three, four) = ((c + 1).min(last), (c + 2).min(last), (c + 3).min(last));
                let totals = F::totals([sums[r][c], sums[r][two], sums[r][three], sums[r][four]]);
                for i in 0..(C - c).min(4) {
                    let y = y.values.add(r * y.stride + c + i);
                    *y = if first { totals[i] } else { *y + totals[i] };
                }
                c += 4;
            }
        }
    }
}

/// [`tile`] for at most R rows and at most C columns.
///
/// # Safety
/// As there.
#[inline(always)]
unsafe fn tile_of<F: Floats, const R: usize, const C: usize>(
    (rows, columns): (usize, usize),
    [x, w]: [Rows; 2],
    depth: usize,
    y: Target,
    first: bool,
) {
    // SAFETY: as the caller promises, for every part.
    unsafe {
        if columns == C {
            match rows {
                1 => tile::<F, 1, C>(x, w, depth, y, first),
                2 => tile::<F, 2, C>(x, w, depth, y, first),
                3 => tile::<F, 3, C>(x, w, depth, y, first),
                _ => tile::<F, R, C>(x, w, depth, y, first),
            }
            return;
        }
        for row in 0..rows {
            for column in 0..columns {
                let y = Target { values: y.values.add(row * y.stride + column), ..y };
                tile::<F, 1, 1>(x.from(row, 0), w.from(column, 0), depth, y, first);
            }
        }
    }
}

/// y [m, n] = x [m, k] wᵀ in tiles of R by C. R is 3 or 4.
///
/// # Safety
/// The operands have these sizes, and the machine has the instruction set of F.
#[inline(always)]
unsafe fn tiles<F: Floats, const R: usize, const C: usize>(y: Target, [x, w]: [Rows; 2], [m, n, k]: [usize; 3]) {
    // With few rows, W is read once, row by row. With many, a block of W meets all rows before the next one.
    let block = if m <= R { k } else { DEPTH };
    let mut outer = 0;
    while outer < k {
        let mut top = 0;
        while top < m {
            let bottom = m.min(top + ROWS);
            let mut column = 0;
            while column < n {
                let columns = C.min(n - column);
                let mut row = top;
                while row < bottom {
                    let rows = R.min(bottom - row);
                    let mut depth = outer;
                    while depth < k.min(outer + block) {
                        let count = DEPTH.min(k - depth);
                        // SAFETY: rows, columns and depths lie inside the sizes.
                        unsafe {
                            let y = Target { values: y.values.add(row * y.stride + column), ..y };
                            let operands = [x.from(row, depth), w.from(column, depth)];
                            tile_of::<F, R, C>((rows, columns), operands, count, y, depth == 0);
                        }
                        depth += count;
                    }
                    row += rows;
                }
                column += columns;
            }
            top = bottom;
        }
        outer += block;
    }
}

/// How x lies in memory.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    /// Row by row.
    Plain,
    /// As [`panels::sorted`] puts it.
    Sorted,
}

/// y [m, n] = x [m, k] wᵀ, with kernels of the size that suits the registers of an instruction set.
///
/// # Safety
/// The operands have these sizes. If x is sorted, the sizes suit panels.
unsafe fn on(set: InstructionSet, order: Order, y: Target, operands: [Rows; 2], sizes: [usize; 3]) {
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx2,fma")]
    unsafe fn avx512(order: Order, y: Target, operands: [Rows; 2], sizes: [usize; 3]) {
        // SAFETY: as the caller promises.
        unsafe {
            match order {
                Order::Plain => tiles::<Avx512, 4, 6>(y, operands, sizes),
                Order::Sorted => panels::tiles::<Avx512, 8, 2>(y, operands, sizes),
            }
        }
    }
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn avx2(order: Order, y: Target, operands: [Rows; 2], sizes: [usize; 3]) {
        // SAFETY: as the caller promises. One row alone leaves registers for more columns.
        unsafe {
            match (order, sizes[0]) {
                (Order::Plain, 1) => tiles::<Avx2, 3, 6>(y, operands, sizes),
                (Order::Plain, _) => tiles::<Avx2, 3, 2>(y, operands, sizes),
                (Order::Sorted, _) => panels::tiles::<Avx2, 6, 1>(y, operands, sizes),
            }
        }
    }
    // SAFETY: `InstructionSet` only names what the machine has; otherwise as the caller promises.
    unsafe {
        match (set, order) {
            #[cfg(target_arch = "x86_64")]
            (InstructionSet::Avx512, _) => avx512(order, y, operands, sizes),
            #[cfg(target_arch = "x86_64")]
            (InstructionSet::Avx2, _) => avx2(order, y, operands, sizes),
            (InstructionSet::Portable, Order::Plain) => tiles::<Portable, 3, 2>(y, operands, sizes),
            (InstructionSet::Portable, Order::Sorted) => panels::tiles::<Portable, 4, 1>(y, operands, sizes),
        }
    }
}

/// y = x wᵀ for x [m, k], w [n, k] and y [m, n], whose rows are `stride` apart. The rows have no gaps between columns. Runs on
/// the calling thread.
///
/// # Panics
/// If the shapes do not fit each other.
pub fn row_product(set: InstructionSet, (y, stride): (&mut [f32], usize), x: Matrix<'_>, w: Matrix<'_>) {
    let ([m, n, k], operands) = checked(&x, &w);
    assert!(n <= stride && m.saturating_sub(1) * stride + n <= y.len(), "the result has too little room");
    if k == 0 {
        return y.chunks_mut(stride.max(1)).take(m).for_each(|row| row[..n].fill(0.0));
    }
    let sorted = sorted(&x);
    let (order, operands) = match &sorted {
        Some(sorted) => (Order::Sorted, [Rows { values: sorted.as_ptr(), stride: k }, operands[1]]),
        None => (Order::Plain, operands),
    };
    // SAFETY: `checked` and the line above checked the sizes.
    unsafe { on(set, order, Target { values: y.as_mut_ptr(), stride }, operands, [m, n, k]) }
}

/// x wᵀ for x [m, k] and every w [n, k], each [m, n], on all threads. The rows of the operands have no gaps between columns.
///
/// # Panics
/// If the shapes do not fit each other.
pub fn row_products(set: InstructionSet, x: Matrix<'_>, weights: &[Matrix<'_>]) -> Vec<Vec<f32>> {
    let mut results: Vec<Vec<f32>> = weights.iter().map(|w| vec![0.0; x.rows() * w.rows()]).collect();
    let all: usize = weights.iter().map(Matrix::rows).sum();
    let sorted = sorted(&x);
    let (order, grain) = match sorted {
        Some(_) => (Order::Sorted, PANELS),
        None => (Order::Plain, GRAIN),
    };
    let grain = all.div_ceil(4 * rayon::current_num_threads()).next_multiple_of(grain);
    let mut tasks = Vec::new();
    for (result, w) in results.iter_mut().zip(weights) {
        let ([m, n, k], [x, w]) = checked(&x, w);
        if k == 0 {
            continue;
        }
        let x = sorted.as_ref().map_or(x, |sorted| Rows { values: sorted.as_ptr(), stride: k });
        for start in (0..n).step_by(grain) {
            // SAFETY: `checked` checked the sizes, and the result was made with m by n elements.
            let (y, w) = unsafe { (Target { values: result.as_mut_ptr().add(start), stride: n }, w.from(start, 0)) };
            tasks.push(Task { y, operands: [x, w], sizes: [m, grain.min(n - start), k] });
        }
    }
    // SAFETY: as above. Tasks write different columns, and x, the weights and the results outlive them.
    tasks.into_par_iter().for_each(|Task { y, operands, sizes }| unsafe { on(set, order, y, operands, sizes) });
    results
}

/// The rows of x as panels want them, where panels suit.
fn sorted(x: &Matrix<'_>) -> Option<Vec<f32>> {
    let (values, stride) = x.gapless_rows();
    let sizes = [x.rows(), x.columns()];
    panels::suit(sizes[0], sizes[1]).then(|| panels::sorted(values, stride, sizes))
}

/// Some columns of a result.
struct Task {
    y: Target,
    operands: [Rows; 2],
    sizes: [usize; 3],
}

// SAFETY: tasks read what nobody writes, and each writes elements that no other task touches.
unsafe impl Send for Task {}

/// m, n and k of x wᵀ, and its operands as kernels take them.
fn checked(x: &Matrix<'_>, w: &Matrix<'_>) -> ([usize; 3], [Rows; 2]) {
    assert_eq!(x.columns(), w.columns(), "the inner sizes differ");
    let rows = |matrix: &Matrix<'_>| {
        let (values, stride) = matrix.gapless_rows();
        Rows { values: values.as_ptr(), stride }
    };
    ([x.rows(), w.rows(), x.columns()], [rows(x), rows(w)])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The sum of the file's first comment, one operation after the other.
    fn element(x: &[f32], w: &[f32]) -> f32 {
        let mut element = None;
        for (x, w) in x.chunks(DEPTH).zip(w.chunks(DEPTH)) {
            let mut sums = [0.0_f32; WIDTH];
            for (x, w) in x.chunks(WIDTH).zip(w.chunks(WIDTH)) {
                for (sum, (x, w)) in sums.iter_mut().zip(x.iter().zip(w)) {
                    *sum = x.mul_add(*w, *sum);
                }
            }
            for half in [8, 4, 2, 1] {
                for i in 0..half {
                    sums[i] += sums[i + half];
                }
            }
            element = Some(element.map_or(sums[0], |before| before + sums[0]));
        }
        element.unwrap_or(0.0)
    }

    fn values(count: usize, seed: u64) -> Vec<f32> {
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1 << 23) as f32 - 1.0
        };
        (0..count).map(|_| next()).collect()
    }

    fn bits(values: &[f32]) -> Vec<u32> {
        values.iter().map(|value| value.to_bits()).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]

        #[test]
        fn every_instruction_set_and_every_company_give_the_bits_of_the_plain_sum(
            m in prop_oneof![1..20_usize, 20..40_usize], n in 1..40_usize,
            k in prop_oneof![0..70_usize, 1000..2100_usize, (4..132_usize).prop_map(|blocks| blocks * WIDTH)],
            gap in 0..3_usize, seed in 0..1000_u64,
        ) {
            let (x, w) = (values(m * (k + gap), seed), values(n * k, seed + 1));
            let mut expected = Vec::new();
            for x in (0..m).map(|row| &x[row * (k + gap)..][..k]) {
                expected.extend((0..n).map(|column| element(x, &w[column * k..][..k])));
            }
            for set in InstructionSet::all() {
                let (x, w) = (Matrix::new(&x, m, k, k + gap), Matrix::new(&w, n, k, k));
                let mut y = vec![f32::NAN; m * n];
                row_product(set, (&mut y, n), x, w);
                prop_assert_eq!(bits(&y), bits(&expected), "{:?}", set);
                let threaded = row_products(set, x, &[w, w]);
                prop_assert!(threaded.iter().all(|y| bits(y) == bits(&expected)), "{:?} on threads", set);
            }
        }
    }

    #[test]
    fn wide_results_of_many_rows_are_those_of_each_row_alone() {
        for (m, n, k) in [(300, 100, 1300), (301, 100, 1296)] {
            let (x, w) = (values(m * k, 1), values(n * k, 2));
            let w = Matrix::new(&w, n, k, k);
            for set in InstructionSet::all() {
                let together = row_products(set, Matrix::new(&x, m, k, k), &[w]);
                for row in (0..m).step_by(37) {
                    let alone = row_products(set, Matrix::new(&x[row * k..], 1, k, k), &[w]);
                    assert_eq!(bits(&alone[0]), bits(&together[0][row * n..][..n]), "{set:?}, row {row}");
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "without gaps")]
    fn a_transposed_operand_is_refused() {
        let x = [0.0; 6];
        row_product(
            InstructionSet::Portable,
            (&mut [0.0; 9], 3),
            Matrix::new(&x, 3, 2, 2).transposed(),
            Matrix::new(&x, 2, 3, 3),
        );
    }
}
