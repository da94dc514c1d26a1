//! The row choice of the method's data sets: exactly `numpy.random.default_rng(seed).permutation(rows)`.
//!
//! `datasets.shuffle(seed)` draws rows this way, so a sample of ours can be compared with published
//! ones row by row. Three published pieces, each reproduced bit for bit: NumPy's `SeedSequence`
//! (M. O'Neill's `seed_seq_fe`, 2015), the generator PCG64 (XSL-RR 128/64 of "PCG: A Family of
//! Simple Fast Space-Efficient Statistically Good Algorithms", 2014), and NumPy's `Generator.shuffle`
//! (Fisher-Yates from the end, bounds by masked rejection). Must not know: what is in a row.

/// The numbers `0..rows` in the order of `numpy.random.default_rng(seed).permutation(rows)`.
///
/// The first `n` of them are the sample of `n` rows.
pub fn permutation(seed: u64, rows: usize) -> Vec<usize> {
    let mut generator = Pcg64::new(seed);
    let mut order: Vec<usize> = (0..rows).collect();
    for last in (1..rows).rev() {
        order.swap(last, generator.up_to(last));
    }
    order
}

/// Words of entropy that the seed is spread over.
const POOL: usize = 4;

/// Turns a seed into the eight words that `SeedSequence(seed).generate_state(4, uint64)` returns.
fn seed_words(seed: u64) -> [u32; 2 * POOL] {
    let mut constant: u32 = 0x43b0_d7e5;
    let mut hash = |value: u32| {
        let mixed = value ^ constant;
        constant = constant.wrapping_mul(0x931e_8875);
        let mixed = mixed.wrapping_mul(constant);
        mixed ^ (mixed >> 16)
    };
    // A seed below 2^32 is one word of entropy for NumPy; missing words hash like zeros.
    let entropy = [seed as u32, (seed >> 32) as u32, 0, 0];
    let mut pool = entropy.map(&mut hash);
    for source in 0..POOL {
        for target in 0..POOL {
            if source != target {
                let hashed = hash(pool[source]);
                let mixed = pool[target].wrapping_mul(0xca01_f9dd).wrapping_sub(hashed.wrapping_mul(0x4973_f715));
                pool[target] = mixed ^ (mixed >> 16);
            }
        }
    }

    let mut constant: u32 = 0x8b51_f9dd;
    std::array::from_fn(|word| {
        let mixed = pool[word % POOL] ^ constant;
        constant = constant.wrapping_mul(0x58f3_8ded);
        let mixed = mixed.wrapping_mul(constant);
        mixed ^ (mixed >> 16)
    })
}

/// PCG64: a 128-bit linear congruential generator whose output is a rotated xor of its halves.
struct Pcg64 {
    state: u128,
    increment: u128,
    /// The upper half of the last 64-bit draw, which serves the next 32-bit one.
    half: Option<u32>,
}

impl Pcg64 {
    const MULTIPLIER: u128 = 0x2360_ed05_1fc6_5da4_4385_df64_9fcc_f645;

    fn new(seed: u64) -> Self {
        let words = seed_words(seed).map(u128::from);
        // 64-bit words are little-endian pairs of 32-bit ones; 128-bit numbers are high word first.
        let wide = |at: usize| (words[at + 1] << 96) | (words[at] << 64) | (words[at + 3] << 32) | words[at + 2];
        let mut generator = Self { state: 0, increment: (wide(4) << 1) | 1, half: None };
        generator.step();
        generator.state = generator.state.wrapping_add(wide(0));
        generator.step();
        generator
    }

    fn step(&mut self) {
        self.state = self.state.wrapping_mul(Self::MULTIPLIER).wrapping_add(self.increment);
    }

    fn next_u64(&mut self) -> u64 {
        self.step();
        let folded = (self.state >> 64) as u64 ^ self.state as u64;
        folded.rotate_right((self.state >> 122) as u32)
    }

    /// The lower half of a fresh draw first, its upper half at the next call.
    fn next_u32(&mut self) -> u32 {
        self.half.take().unwrap_or_else(|| {
            let wide = self.next_u64();
            self.half = Some((wide >> 32) as u32);
            wide as u32
        })
    }

    /// A uniform number in `0..=max`: draws are masked to the bits of `max` and rejected above it.
    fn up_to(&mut self, max: usize) -> usize {
        let max = max as u64;
        let mask = u64::MAX.checked_shr(max.leading_zeros()).unwrap_or(0);
        loop {
            let draw = if max <= u64::from(u32::MAX) { u64::from(self.next_u32()) } else { self.next_u64() };
            if draw & mask <= max {
                return (draw & mask) as usize;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// (seed, the first eight of 1,000 rows, the first eight of 65,537 rows) from NumPy 2.4.
    const EXPECTED: [(u64, [usize; 8], [usize; 8]); 7] = [
        (0, [459, 206, 222, 162, 711, 814, 350, 890], [30033, 34725, 12778, 28263, 61473, 43036, 27713, 58892]),
        (1, [705, 649, 543, 927, 577, 471, 608, 252], [57252, 30778, 6049, 56093, 52225, 54278, 53184, 33346]),
        (42, [978, 933, 859, 916, 127, 608, 856, 260], [53304, 35663, 16109, 34182, 47268, 12707, 26566, 50861]),
        (4294967295, [886, 862, 591, 711, 394, 38, 442, 195], [51413, 27781, 12045, 7745, 54203, 56812, 51408, 47649]),
        (4294967296, [144, 255, 317, 766, 751, 94, 535, 579], [19706, 37159, 18802, 33228, 19481, 30124, 7932, 33678]),
        (
            9223372036854775808,
            [816, 156, 569, 835, 521, 628, 294, 875],
            [61914, 20295, 8130, 32680, 24005, 48352, 5425, 56021],
        ),
        (
            18446744073709551615,
            [649, 664, 775, 331, 104, 630, 392, 413],
            [38854, 22451, 12878, 37222, 24412, 6914, 58807, 1111],
        ),
    ];

    /// Sum of (position + 1) * row over the whole permutation of 65,537 rows, in the order of `EXPECTED`.
    const CHECKSUMS: [usize; 7] = [
        70470599664994,
        70348309147821,
        70171896625729,
        70404872042221,
        70361262625808,
        70436186503466,
        70343369845460,
    ];

    #[test]
    fn permutations_equal_numpys() {
        for ((seed, thousand, many), checksum) in EXPECTED.into_iter().zip(CHECKSUMS) {
            assert_eq!(permutation(seed, 1000)[..8], thousand, "seed {seed}");
            let order = permutation(seed, 65_537);
            assert_eq!(order[..8], many, "seed {seed}");
            assert_eq!(order.iter().zip(1..).map(|(row, place)| row * place).sum::<usize>(), checksum, "seed {seed}");
        }
    }

    #[test]
    fn small_permutations_equal_numpys() {
        assert_eq!(permutation(0, 0), [0usize; 0]);
        assert_eq!(permutation(0, 1), [0]);
        assert_eq!(permutation(42, 2), [1, 0]);
        assert_eq!(permutation(0, 3), [2, 0, 1]);
        assert_eq!(permutation(u64::MAX, 10), [8, 7, 3, 0, 4, 6, 1, 2, 5, 9]);
    }

    proptest! {
        #[test]
        fn every_row_is_drawn_once(seed: u64, rows in 0usize..500) {
            let mut order = permutation(seed, rows);
            order.sort_unstable();
            prop_assert!(order.into_iter().eq(0..rows));
        }

        #[test]
        fn draws_stay_within_the_bound(seed: u64, max: u64) {
            prop_assume!(max > 0);
            prop_assert!(Pcg64::new(seed).up_to(max as usize) as u64 <= max);
        }
    }
}
