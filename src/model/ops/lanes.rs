//! Arithmetic over rows of f32, written so that the compiler can use the widest registers of the machine.
//!
//! Sums always use the same number of lanes. So the result depends neither on the number of threads nor on the width of the
//! registers. Must not know: tensors, threads.

/// Lanes of a sum: two registers of eight floats, so that the compiler can use vector adds.
const LANES: usize = 16;

/// Runs the work compiled for the best instruction set of this machine, chosen at run time. What it calls must be
/// inlined into it.
#[inline(always)]
pub fn vectorised<R>(work: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(work)
}

/// Σ f(aᵢ, bᵢ) in [`LANES`] running sums, which are added at the end.
#[inline(always)]
pub fn sum(a: &[f32], b: &[f32], f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [0.0_f32; LANES];
    let (heads_a, tail_a) = a.as_chunks::<LANES>();
    let (heads_b, tail_b) = b.as_chunks::<LANES>();
    for (a, b) in heads_a.iter().zip(heads_b) {
        for lane in 0..LANES {
            lanes[lane] += f(a[lane], b[lane]);
        }
    }
    lanes.iter().sum::<f32>() + tail_a.iter().zip(tail_b).map(|(a, b)| f(*a, *b)).sum::<f32>()
}

/// The highest value of a row.
#[inline(always)]
pub fn maximum(row: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (heads, tail) = row.as_chunks::<LANES>();
    for values in heads {
        for lane in 0..LANES {
            lanes[lane] = if values[lane] > lanes[lane] { values[lane] } else { lanes[lane] };
        }
    }
    lanes.iter().chain(tail).fold(f32::NEG_INFINITY, |high, value| high.max(*value))
}

/// eˣ to about one unit in the last place, written so that the compiler can vectorise it: Cody and Waite's
/// reduction by ln 2 and a polynomial of degree 6 (Cephes' `expf`).
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0; // 1.5 * 2^23: adding it rounds to a whole number
    // With plain comparisons a NaN stays a NaN, and whoever reads the result can report it.
    let x = if x > 88.376_26 { 88.376_26 } else { x };
    let x = if x < -87.336_54 { -87.336_54 } else { x };
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (x - n * 0.693_359_4) + n * 2.121_944_4e-4;
    let mut p = 1.987_569_1e-4_f32;
    p = p * r + 1.398_199_9e-3;
    p = p * r + 8.333_452e-3;
    p = p * r + 4.166_579_6e-2;
    p = p * r + 1.666_666_6e-1;
    p = p * r + 0.5;
    let value = p * r * r + r + 1.0;
    // 2ⁿ is made from the exponent bits: n, in [-126, 127], is in the low bits of `shifted`, and the shift drops the others.
    // A checked sum or a checked conversion would keep the compiler from vectorising the function.
    let power = f32::from_bits(shifted.to_bits().wrapping_add(127) << 23);
    value * power
}

/// 1 / (1 + e⁻ˣ).
#[inline(always)]
pub fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// tanh(x) to about one unit in the last place (Cephes' `tanhf`): a polynomial near zero, where 1 - 2 / (e²ˣ + 1) would lose
/// its digits. Both are computed and one is chosen, so that the compiler can vectorise it.
#[inline(always)]
pub fn tanh(x: f32) -> f32 {
    let square = x * x;
    let mut p = -5.704_989e-3_f32;
    p = p * square + 0.020_639_09;
    p = p * square - 0.053_739_715;
    p = p * square + 0.133_314_42;
    p = p * square - 0.333_332_8;
    let near = p * square * x + x;
    let magnitude = x.abs();
    let far = (1.0 - 2.0 / (exp(2.0 * magnitude) + 1.0)).copysign(x);
    if magnitude < 0.625 { near } else { far }
}

/// softmax(scale * x) of the visible part of a row, in place; zero elsewhere.
#[inline(always)]
pub fn softmax(row: &mut [f32], visible: std::ops::Range<usize>, scale: f32) {
    row[..visible.start].fill(0.0);
    row[visible.end..].fill(0.0);
    let seen = &mut row[visible];
    let high = maximum(seen) * scale;
    for value in seen.iter_mut() {
        *value = exp(*value * scale - high);
    }
    let inverse = 1.0 / sum(seen, seen, |value, _| value);
    for value in seen.iter_mut() {
        *value *= inverse;
    }
}

/// dL/dx of a row of [`softmax`], given its result p and dL/dp, which it replaces.
#[inline(always)]
pub fn softmax_backward(dp: &mut [f32], p: &[f32], scale: f32) {
    let along = sum(p, dp, |p, dp| p * dp);
    for (dp, p) in dp.iter_mut().zip(p) {
        *dp = *p * (*dp - along) * scale;
    }
}

#[cfg(test)]
mod tests {
    use super::{exp, tanh};

    #[test]
    fn tanh_is_right_to_the_last_places_over_its_whole_range() {
        let mut worst = 0.0_f64;
        for step in 1..200_000 {
            #[expect(clippy::cast_precision_loss, reason = "a grid")]
            let x = 10.0 * (step as f32 / 200_000.0).powi(3);
            let exact = f64::from(x).tanh();
            worst = worst.max((f64::from(tanh(x)) - exact).abs() / exact);
            assert_eq!(tanh(-x), -tanh(x));
        }
        assert!(worst < 2.5e-7, "{worst}");
        assert!(tanh(0.0) == 0.0 && tanh(1e30) == 1.0 && tanh(f32::NAN).is_nan());
    }

    #[test]
    fn exp_is_right_to_the_last_places_over_its_whole_range() {
        let mut worst = 0.0_f64;
        for step in 0..200_000 {
            #[expect(clippy::cast_precision_loss, reason = "a grid")]
            let x = -87.0 + 175.0 * (step as f32) / 200_000.0;
            let exact = f64::from(x).exp();
            worst = worst.max((f64::from(exp(x)) - exact).abs() / exact);
        }
        assert!(worst < 2.5e-7, "{worst}");
        assert!(exp(f32::NAN).is_nan() && exp(-1e30) >= 0.0 && exp(1e30).is_finite());
        assert!(exp(f32::NEG_INFINITY) < 1e-37);
    }
}
