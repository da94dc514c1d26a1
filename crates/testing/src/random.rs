//! Random numbers that are the same at every run.

/// SplitMix64 (Steele, Lea & Flood 2014).
pub struct Random(pub u64);

impl Random {
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Less than `limit`, and 0 if that is 0.
    pub fn below(&mut self, limit: usize) -> usize {
        (self.bits() >> 11) as usize % limit.max(1)
    }

    /// In [-1, 1): a multiple of 2^-23, so every f32 is as likely as any other.
    pub fn uniform(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1_u64 << 23) as f32 - 1.0
    }
}

/// Numbers in [-1, 1) that no quantised format stores exactly. Longer noise begins with the shorter.
pub fn noise(count: usize) -> Vec<f32> {
    let mut random = Random(0);
    (0..count).map(|_| random.uniform()).collect()
}
