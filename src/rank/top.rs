//! The highest scores of one matrix, in the order that the whole project uses: score descending, then flat index ascending.
//!
//! A matrix of a 7B model has up to 2e8 weights, and a table usually holds a thousandth of them. So nothing of the matrix'
//! size is sorted or allocated. Two histograms over the bits of the scores find the exact score at the cut. One more pass
//! gathers the entries above it.
//! Must not know: rules, Parquet, where scores come from.

use rayon::prelude::*;

use crate::error::{Error, Result};

/// Scores handled by one task; a histogram of 512 KiB is spent on each, so pieces are much larger than that.
const PIECE: usize = 1 << 22;

/// How many of `numel` weights a fraction is: Python's `int(fraction * numel)`, in f64.
///
/// NaN and negative fractions give 0.
pub fn k(fraction: f64, numel: u64) -> u64 {
    // `as` truncates towards zero and saturates, which is what is wanted of a product beyond u64.
    (fraction * numel as f64) as u64
}

/// The top of one matrix: its `floor(cap * numel)` best entries.
#[derive(Clone, Debug, PartialEq)]
pub struct MatrixRanks {
    /// The Hugging Face name, with `.weight`.
    pub tensor: String,
    /// How many weights the matrix has.
    pub numel: u64,
    /// Flat indices, row-major over [out, in]; the position in this list is the rank.
    pub index: Vec<u32>,
    /// The scores, parallel to `index`: finite, not negative, descending.
    pub score: Vec<f32>,
    /// The best score below the cut; `None` if the table holds the whole matrix.
    pub next: Option<f32>,
    /// How many entries of the *whole* matrix have the score at the cut; 0 for an empty table. If the table holds fewer of
    /// them, the index decided which.
    pub ties: u64,
}

impl MatrixRanks {
    /// The lowest score in the table; `None` for an empty one.
    pub fn cut(&self) -> Option<f32> {
        self.score.last().copied()
    }
}

/// The `floor(cap * N)` highest scores of a matrix of `columns` columns.
///
/// # Errors
/// A score that is not finite or is negative (named by matrix, row and column), a matrix that does
/// not fill its rows or has more entries than an u32 can count, a cap outside 0 to 1.
pub fn top(tensor: &str, scores: &[f32], columns: usize, cap: f64) -> Result<MatrixRanks> {
    if !(0.0..=1.0).contains(&cap) {
        return Err(Error::user(format!("score.cap is {cap}, which is not a part of a matrix"))
            .hint("choose a number from 0 to 1, such as score.cap = 1e-3"));
    }
    let numel = u32::try_from(scores.len()).map(u64::from).map_err(|_| {
        Error::user(format!("{tensor} has {} weights, more than a rank table can index ({})", scores.len(), u32::MAX))
            .hint("leave this matrix out with score.modules")
    })?;
    refuse_bad_scores(tensor, scores, columns)?;
    let rows = usize::try_from(k(cap, numel)).unwrap_or(usize::MAX).min(scores.len());
    if rows == 0 {
        let next = highest(scores, |_| true);
        return Ok(MatrixRanks { tensor: tensor.into(), numel, index: vec![], score: vec![], next, ties: 0 });
    }

    let cut = nth_highest(scores, rows);
    let mut above = keys_above(scores, cut);
    above.par_sort_unstable();
    let (mut index, mut score): (Vec<u32>, Vec<f32>) = above.into_iter().map(entry).unzip();
    // Entries at the cut come last, and already in the order of their index. There may be very many, for example all zeros.
    // So only as many as needed are visited.
    let (wanted, at_cut) = (rows - index.len(), scores.iter().enumerate().filter(|&(_, &score)| bits(score) == cut));
    index.extend(at_cut.take(wanted).map(|(at, _)| at as u32));
    score.resize(index.len(), f32::from_bits(cut));

    let count = |piece: &[f32]| piece.iter().filter(|&&score| bits(score) == cut).count();
    let ties: usize = scores.par_chunks(PIECE).map(count).sum();
    let next = if ties > wanted { Some(f32::from_bits(cut)) } else { highest(scores, |bits| bits < cut) };
    Ok(MatrixRanks { tensor: tensor.into(), numel, index, score, next, ties: ties as u64 })
}

/// The highest of those scores whose bits pass.
fn highest(scores: &[f32], passes: impl Fn(u32) -> bool + Sync) -> Option<f32> {
    let of_piece = |piece: &[f32]| piece.iter().map(|&score| bits(score)).filter(|&bits| passes(bits)).max();
    scores.par_chunks(PIECE).filter_map(of_piece).max().map(f32::from_bits)
}

/// The [`key`]s of all entries above the score with these bits.
fn keys_above(scores: &[f32], cut: u32) -> Vec<u64> {
    let of_piece = |(piece, scores): (usize, &[f32])| {
        let entries = (piece * PIECE..).zip(scores).filter(|&(_, &score)| bits(score) > cut);
        entries.map(|(at, &score)| key(score, at)).collect::<Vec<u64>>()
    };
    scores.par_chunks(PIECE).enumerate().map(of_piece).collect::<Vec<_>>().concat()
}

fn refuse_bad_scores(tensor: &str, scores: &[f32], columns: usize) -> Result<()> {
    if scores.len().checked_rem(columns).unwrap_or(scores.len()) != 0 {
        return Err(Error::fault(format!("{tensor} has {} scores, not whole rows of {columns}", scores.len())));
    }
    // The bits of infinity, NaN and negative numbers are not below those of infinity. A maximum over bits is quick, so the
    // place is looked for only if there is a bad score.
    let bad = |score: &f32| bits(*score) >= f32::INFINITY.to_bits();
    let any = |piece: &[f32]| piece.iter().map(|&score| bits(score)).max().is_some_and(|max| bad(&f32::from_bits(max)));
    if !scores.par_chunks(PIECE).any(any) {
        return Ok(());
    }
    let Some(at) = scores.iter().position(bad) else { return Ok(()) };
    let (row, column, score) = (at / columns.max(1), at % columns.max(1), scores.get(at).copied().unwrap_or(f32::NAN));
    Err(Error::user(format!(
        "the score of {tensor} at row {row}, column {column} is {score}; scores must be finite and not negative"
    ))
    .hint("look for damaged weights in the model, or for calibration rows that overflow; model.dtype = \"f32\" has the widest range"))
}

/// Bits whose order as integers is the order of the scores, which are not negative. Adding zero makes -0 a 0.
fn bits(score: f32) -> u32 {
    (score + 0.0).to_bits()
}

/// Ascending keys are entries by descending score and ascending index.
fn key(score: f32, index: usize) -> u64 {
    u64::from(!bits(score)) << 32 | index as u64
}

/// The inverse of [`key`]; both halves are cut to 32 bits on purpose.
fn entry(key: u64) -> (u32, f32) {
    (key as u32, f32::from_bits(!((key >> 32) as u32)))
}

/// The bits of the `n`-th highest score, 1 <= n <= scores.len(): first its upper half, then its lower one.
fn nth_highest(scores: &[f32], n: usize) -> u32 {
    let (high, left) = bin_of(&histogram(scores, |bits| Some(bits >> 16)), n);
    let (low, _) = bin_of(&histogram(scores, |bits| (bits >> 16 == high).then_some(bits & 0xffff)), left);
    high << 16 | low
}

/// How many scores fall into each of 2^16 bins; `bin` must answer below that.
fn histogram(scores: &[f32], bin: impl Fn(u32) -> Option<u32> + Sync) -> Vec<usize> {
    let empty = || vec![0_usize; 1 << 16];
    let count = |piece: &[f32]| {
        let mut counts = empty();
        piece.iter().filter_map(|&score| bin(bits(score))).for_each(|bin| counts[bin as usize] += 1);
        counts
    };
    let add = |mut sum: Vec<usize>, other: Vec<usize>| {
        sum.iter_mut().zip(other).for_each(|(sum, other)| *sum += other);
        sum
    };
    scores.par_chunks(PIECE).map(count).reduce_with(add).unwrap_or_else(empty)
}

/// The bin of the `n`-th entry counted from the highest bin down, and its place within that bin.
fn bin_of(counts: &[usize], n: usize) -> (u32, usize) {
    let mut left = n;
    for (bin, &count) in counts.iter().enumerate().rev() {
        if left <= count {
            return (bin as u32, left);
        }
        left -= count;
    }
    (0, left)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The definition, without any cleverness.
    fn by_sorting(scores: &[f32], cap: f64) -> MatrixRanks {
        let mut order: Vec<usize> = (0..scores.len()).collect();
        order.sort_by(|&a, &b| scores[b].partial_cmp(&scores[a]).unwrap().then(a.cmp(&b)));
        let (kept, left) = order.split_at((cap * scores.len() as f64) as usize);
        let cut = kept.last().map(|&at| scores[at]);
        MatrixRanks {
            tensor: "w".into(),
            numel: scores.len() as u64,
            index: kept.iter().map(|&at| at as u32).collect(),
            score: kept.iter().map(|&at| scores[at] + 0.0).collect(),
            next: left.first().map(|&at| scores[at] + 0.0),
            ties: scores.iter().filter(|&&score| Some(score) == cut).count() as u64,
        }
    }

    proptest! {
        #[test]
        fn the_top_is_the_beginning_of_the_sorted_whole(
            scores in prop::collection::vec(prop_oneof![
                Just(0.0_f32), Just(-0.0), Just(f32::MAX), Just(f32::from_bits(1)),
                (0_u8..6).prop_map(|n| f32::from(n) * 0.25), 0.0_f32..1.0,
            ], 0..400),
            cap in prop_oneof![Just(0.0), Just(1.0), 0.0_f64..1.0],
        ) {
            let found = top("w", &scores, 1, cap).unwrap();
            prop_assert_eq!(&found, &by_sorting(&scores, cap));
            prop_assert!(found.score.iter().chain(&found.next).all(|score| score.is_sign_positive()));
        }
    }

    #[test]
    fn a_matrix_larger_than_a_piece_is_put_together_rightly() {
        let scores: Vec<f32> = (0..PIECE as u64 + 5000).map(|n| (n * 2_654_435_761 % 1_000_003) as f32).collect();
        assert_eq!(top("w", &scores, 1, 1e-3).unwrap(), by_sorting(&scores, 1e-3));
    }

    #[test]
    fn zeros_fill_the_table_by_index_and_say_so() {
        let ranks = top("w", &[0.0, 3.0, 0.0, 0.0], 2, 0.75).unwrap();
        assert_eq!((ranks.index.as_slice(), ranks.next, ranks.ties), ([1, 0, 2].as_slice(), Some(0.0), 3));
        assert_eq!(ranks.cut(), Some(0.0));
    }

    #[test]
    fn k_is_pythons() {
        // In Python: int(0.29 * 100) is 28, because 0.29 * 100 is 28.999999999999996.
        assert_eq!([k(0.29, 100), k(5e-7, 884_736), k(5e-7, 67_895_296), k(1e-3, 884_736)], [28, 0, 33, 884]);
        assert_eq!([k(f64::NAN, 10), k(-1.0, 10), k(0.0, 10), k(1.0, u64::from(u32::MAX))], [0, 0, 0, 4_294_967_295]);
    }

    #[test]
    fn a_bad_score_is_named_by_matrix_row_and_column() {
        let message = |scores: &[f32]| top("model.w.weight", scores, 2, 0.5).unwrap_err().message().to_owned();
        insta::assert_snapshot!(message(&[0.0, 1.0, 2.0, f32::NAN]), @"the score of model.w.weight at row 1, column 1 is NaN; scores must be finite and not negative");
        insta::assert_snapshot!(message(&[0.0, 1.0, f32::INFINITY, f32::NAN]), @"the score of model.w.weight at row 1, column 0 is inf; scores must be finite and not negative");
        insta::assert_snapshot!(message(&[0.0, -1.0]), @"the score of model.w.weight at row 0, column 1 is -1; scores must be finite and not negative");
        insta::assert_snapshot!(message(&[0.0]), @"model.w.weight has 1 scores, not whole rows of 2");
        assert!(
            top("w", &[1.0], 1, 1.5).is_err()
                && top("w", &[1.0], 1, f64::NAN).is_err()
                && top("w", &[1.0], 0, 1.0).is_err()
        );
    }
}
