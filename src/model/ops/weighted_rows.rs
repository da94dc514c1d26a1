//! Sums of the rows of a matrix with weights: how attention's probabilities meet the values.
//!
//! Each row of the result takes a range of the matrix's rows of its own, and adds them one after the other. A product and its
//! sum are rounded once together. So a row of the result has the same bits whatever rows are beside it, on every instruction
//! set, and a range may be taken in several parts. Must not know: sequences, masks.
#![expect(unsafe_code, reason = "kernels read and write by pointers")]
#![expect(clippy::needless_range_loop, reason = "iterators take closures, which are compiled for no instruction set")]

use std::ops::Range;

use super::product::Matrix;
#[cfg(target_arch = "x86_64")]
use super::registers::{Avx2, Avx512};
use super::registers::{Floats, InstructionSet, Portable, WIDTH};

/// Rows of one kernel.
const ROWS: usize = 6;

/// Some weights and the matrix's rows that they belong to, and where their sums go.
#[derive(Clone, Copy)]
struct Operands {
    /// [rows, range], `weights_stride` apart.
    weights: *const f32,
    weights_stride: usize,
    /// [range, columns], `values_stride` apart.
    values: *const f32,
    values_stride: usize,
    /// [rows, columns], `sums_stride` apart.
    sums: *mut f32,
    sums_stride: usize,
}

/// R rows and C times [`WIDTH`] columns of sums over `range`.
///
/// # Safety
/// The operands have these sizes, and the machine has the instruction set of F.
#[inline(always)]
unsafe fn tile<F: Floats, const R: usize, const C: usize>(on: Operands, range: Range<usize>) {
    // SAFETY: all addresses lie inside what the caller promises.
    unsafe {
        let mut sums = [[F::splat(0.0); C]; R];
        let mut values = [F::splat(0.0); C];
        for r in 0..R {
            for c in 0..C {
                sums[r][c] = F::load(on.sums.add(r * on.sums_stride + c * WIDTH));
            }
        }
        for at in range {
            for c in 0..C {
                values[c] = F::load(on.values.add(at * on.values_stride + c * WIDTH));
            }
            for r in 0..R {
                let weight = F::splat(*on.weights.add(r * on.weights_stride + at));
                for c in 0..C {
                    sums[r][c] = sums[r][c].plus_product(weight, values[c]);
                }
            }
        }
        for r in 0..R {
            for c in 0..C {
                sums[r][c].store(on.sums.add(r * on.sums_stride + c * WIDTH));
            }
        }
    }
}

/// R rows of sums over one range, all columns.
///
/// # Safety
/// As for [`tile`], of `columns` columns.
#[inline(always)]
unsafe fn rows<F: Floats, const R: usize, const C: usize>(on: Operands, columns: usize, range: Range<usize>) {
    // SAFETY: all addresses lie inside what the caller promises.
    unsafe {
        let from = |column: usize| Operands { values: on.values.add(column), sums: on.sums.add(column), ..on };
        let mut column = 0;
        while column + C * WIDTH <= columns {
            tile::<F, R, C>(from(column), range.clone());
            column += C * WIDTH;
        }
        while column + WIDTH <= columns {
            tile::<F, R, 1>(from(column), range.clone());
            column += WIDTH;
        }
        for column in column..columns {
            let on = from(column);
            for r in 0..R {
                let sum = on.sums.add(r * on.sums_stride);
                for at in range.clone() {
                    let weight = *on.weights.add(r * on.weights_stride + at);
                    *sum = weight.mul_add(*on.values.add(at * on.values_stride), *sum);
                }
            }
        }
    }
}

/// All rows: those of a kernel together over what their ranges share, and each alone over the rest.
///
/// # Safety
/// As for [`tile`], of as many rows as there are ranges and `columns` columns.
#[inline(always)]
unsafe fn all<F: Floats, const C: usize>(on: Operands, columns: usize, ranges: &[Range<usize>]) {
    for (index, ranges) in ranges.chunks(ROWS).enumerate() {
        let start = ranges.iter().map(|range| range.start).max().unwrap_or(0);
        let end = ranges.iter().map(|range| range.end).min().unwrap_or(0);
        let shared = if ranges.len() == ROWS && start < end { start..end } else { 0..0 };
        // SAFETY: all addresses lie inside what the caller promises.
        unsafe {
            let row = |row: usize| Operands {
                weights: on.weights.add((index * ROWS + row) * on.weights_stride),
                sums: on.sums.add((index * ROWS + row) * on.sums_stride),
                ..on
            };
            if shared.is_empty() {
                for (r, range) in ranges.iter().enumerate() {
                    rows::<F, 1, C>(row(r), columns, range.clone());
                }
                continue;
            }
            for (r, range) in ranges.iter().enumerate() {
                rows::<F, 1, C>(row(r), columns, range.start..shared.start);
            }
            rows::<F, ROWS, C>(row(0), columns, shared.clone());
            for (r, range) in ranges.iter().enumerate() {
                rows::<F, 1, C>(row(r), columns, shared.end..range.end);
            }
        }
    }
}

/// sums [m, n] += Σ weights[·, j] * values[j, ·] over each row's own range of j. `weights` are m rows, `stride` apart; values
/// are [k, n] without gaps between columns, and sums have no gaps at all.
///
/// # Panics
/// If the shapes do not fit each other, or a range goes past the values.
pub fn add_weighted_rows(
    set: InstructionSet,
    sums: &mut [f32],
    (weights, stride): (&[f32], usize),
    values: Matrix<'_>,
    ranges: &[Range<usize>],
) {
    let columns = values.columns();
    assert_eq!(sums.len(), ranges.len() * columns, "the result has another size");
    let end = ranges.iter().map(|range| range.end).max().unwrap_or(0);
    assert!(end <= values.rows() && end <= stride, "a range of {end} rows goes past the values");
    let all_weights = ranges.len().saturating_sub(1) * stride + ranges.last().map_or(0, |range| range.end);
    assert!(all_weights <= weights.len(), "there are fewer weights");
    let (values, values_stride) = values.gapless_rows();
    let on = Operands {
        weights: weights.as_ptr(),
        weights_stride: stride,
        values: values.as_ptr(),
        values_stride,
        sums: sums.as_mut_ptr(),
        sums_stride: columns,
    };
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx2,fma")]
    unsafe fn avx512(on: Operands, columns: usize, ranges: &[Range<usize>]) {
        // SAFETY: as the caller promises.
        unsafe { all::<Avx512, 4>(on, columns, ranges) }
    }
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn avx2(on: Operands, columns: usize, ranges: &[Range<usize>]) {
        // SAFETY: as the caller promises.
        unsafe { all::<Avx2, 1>(on, columns, ranges) }
    }
    // SAFETY: the sizes were checked above, and `InstructionSet` only names what the machine has.
    unsafe {
        match set {
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx512 => avx512(on, columns, ranges),
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx2 => avx2(on, columns, ranges),
            InstructionSet::Portable => all::<Portable, 1>(on, columns, ranges),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn values(count: usize, seed: usize) -> Vec<f32> {
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        (0..count).map(|i| ((i * 7919 + seed * 104_729) % 2003) as f32 / 1001.0 - 1.0).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]

        #[test]
        fn every_instruction_set_and_every_company_give_the_bits_of_the_plain_sum(
            m in 1..20_usize, n in 1..90_usize, k in 1..50_usize, step in 0..3_usize, window in 1..60_usize, cut in 0..50_usize,
        ) {
            let stride = k + 3;
            let (weights, matrix) = (values(m * stride, 1), values(k * n, 2));
            let ranges: Vec<Range<usize>> = (0..m)
                .map(|row| (1 + row * step).min(k))
                .map(|end| end.saturating_sub(window)..end)
                .collect();
            let mut expected = vec![0.0_f32; m * n];
            for (row, range) in ranges.iter().enumerate() {
                for at in range.clone() {
                    for column in 0..n {
                        let sum = &mut expected[row * n + column];
                        *sum = weights[row * stride + at].mul_add(matrix[at * n + column], *sum);
                    }
                }
            }
            let of = |cut: Range<usize>| -> Vec<Range<usize>> {
                ranges.iter().map(|range| {
                    let start = range.start.clamp(cut.start, cut.end);
                    start..range.end.clamp(start, cut.end)
                }).collect()
            };
            let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
            for set in InstructionSet::all() {
                let mut sums = vec![0.0; m * n];
                for part in [0..cut.min(k), cut.min(k)..k] {
                    let values = Matrix::new(&matrix, k, n, n);
                    add_weighted_rows(set, &mut sums, (&weights, stride), values, &of(part));
                }
                prop_assert_eq!(bits(&sums), bits(&expected), "{:?}", set);
            }
        }
    }
}
