//! A matrix product into memory that the caller owns, on the thread of the caller.
//!
//! Burn's products make a new tensor each time. The fused loops of [`super::host`] need small products in a buffer that stays
//! in the cache, many at once on many threads. This file calls `gemm`, the crate that Burn's CPU backend uses too, behind a
//! safe function that checks every bound.
//! Must not know: what the matrices are.
#![expect(unsafe_code, reason = "gemm takes pointers and strides; this file is the only place that calls it")]

/// A matrix in row-major or any other strided order.
#[derive(Clone, Copy)]
pub struct Matrix<'a> {
    values: &'a [f32],
    rows: usize,
    columns: usize,
    /// Elements from one row to the next, and from one column to the next.
    strides: (usize, usize),
}

impl<'a> Matrix<'a> {
    /// The first `rows` rows of row-major values. `stride` is the distance from one row to the next.
    ///
    /// # Panics
    /// If the values have fewer rows or columns than that.
    pub fn new(values: &'a [f32], rows: usize, columns: usize, stride: usize) -> Self {
        assert!(columns <= stride, "rows of {columns} do not fit a stride of {stride}");
        assert!(
            rows == 0 || (rows - 1) * stride + columns <= values.len(),
            "{rows} rows go past the end of the values"
        );
        Self { values, rows, columns, strides: (stride, 1) }
    }

    /// The same values with rows and columns exchanged.
    pub fn transposed(self) -> Self {
        Self { rows: self.columns, columns: self.rows, strides: (self.strides.1, self.strides.0), ..self }
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    pub fn columns(&self) -> usize {
        self.columns
    }

    /// The values, and the distance from one row to the next.
    ///
    /// # Panics
    /// If the elements of a row do not lie side by side.
    pub fn gapless_rows(&self) -> (&'a [f32], usize) {
        assert!(self.strides.1 == 1, "rows must lie in memory without gaps between columns");
        (self.values, self.strides.0)
    }
}

/// What happens to the values that are already there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Onto {
    /// They are overwritten.
    Replace,
    /// The product is added to them.
    Add,
}

/// y = a b, or y += a b, for a [m, k], b [k, n] and y [m, n]. y is row-major without gaps. Runs on the calling thread, and the
/// result does not depend on other threads.
///
/// # Panics
/// If the shapes do not fit each other.
pub fn product(y: &mut [f32], a: Matrix<'_>, b: Matrix<'_>, onto: Onto) {
    let (m, n, k) = (a.rows, b.columns, a.columns);
    assert_eq!(k, b.rows, "the inner sizes differ");
    assert_eq!(y.len(), m * n, "the result has another size");
    if m == 0 || n == 0 {
        return;
    }
    let stride = |value: usize| isize::try_from(value).expect("a slice is shorter than isize::MAX");
    // SAFETY: `Matrix::new` checked that every element (i, j) of a and b lies inside its slice, exchanging rows and columns
    // keeps that true, and y is a whole row-major [m, n]. y is borrowed mutably, so it overlaps neither a nor b.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            y.as_mut_ptr(),
            1,
            stride(n),
            onto == Onto::Add,
            a.values.as_ptr(),
            stride(a.strides.1),
            stride(a.strides.0),
            b.values.as_ptr(),
            stride(b.strides.1),
            stride(b.strides.0),
            1.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(a: Matrix<'_>, b: Matrix<'_>) -> Vec<f32> {
        let at = |m: &Matrix<'_>, i: usize, j: usize| f64::from(m.values[i * m.strides.0 + j * m.strides.1]);
        let mut y = Vec::new();
        for i in 0..a.rows {
            for j in 0..b.columns {
                #[expect(clippy::cast_possible_truncation, reason = "an expectation in f32")]
                y.push((0..a.columns).map(|l| at(&a, i, l) * at(&b, l, j)).sum::<f64>() as f32);
            }
        }
        y
    }

    fn values(count: usize, seed: u64) -> Vec<f32> {
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        (0..count as u64).map(|i| ((i * 2_654_435 + seed * 97) % 1000) as f32 / 500.0 - 1.0).collect()
    }

    #[test]
    fn agrees_with_the_plain_sum_in_every_order() {
        for (m, n, k) in [(1, 1, 1), (3, 5, 7), (17, 33, 9), (64, 150, 70), (2, 200, 64)] {
            let (a, b) = (values(m * (k + 3), 1), values(k * (n + 2), 2));
            let (a, b) = (Matrix::new(&a, m, k, k + 3), Matrix::new(&b, k, n, n + 2));
            let (at, bt) = (values(k * m, 3), values(n * k, 4));
            let (at, bt) = (Matrix::new(&at, k, m, m).transposed(), Matrix::new(&bt, n, k, k).transposed());
            for (a, b) in [(a, b), (a, bt), (at, b), (at, bt)] {
                let expected = plain(a, b);
                let mut y = vec![f32::NAN; m * n];
                product(&mut y, a, b, Onto::Replace);
                let close = |x: f32, y: f32| (x - y).abs() < 1e-4;
                assert!(y.iter().zip(&expected).all(|(x, y)| close(*x, *y)), "{m} {n} {k}");
                product(&mut y, a, b, Onto::Add);
                assert!(y.iter().zip(&expected).all(|(x, y)| close(*x, 2.0 * *y)), "{m} {n} {k}, added");
            }
        }
    }

    #[test]
    fn an_empty_inner_size_gives_zeros() {
        let mut y = [f32::NAN; 4];
        product(&mut y, Matrix::new(&[], 2, 0, 0), Matrix::new(&[], 0, 2, 2), Onto::Replace);
        assert_eq!(y, [0.0; 4]);
    }

    #[test]
    #[should_panic(expected = "past the end")]
    fn a_view_past_the_end_is_refused() {
        let _ = Matrix::new(&[0.0; 5], 2, 3, 3);
    }
}
