//! Sixteen floats in the registers of an instruction set, and which instruction set this machine has.
//!
//! All instruction sets compute the same bits: a product and a sum are rounded once together, and [`Floats::totals`] adds in
//! one order. Must not know: what is summed.
#![expect(unsafe_code, reason = "registers are loaded from pointers, by instructions that not every machine has")]

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

/// How many floats [`Floats`] are.
pub const WIDTH: usize = 16;

/// The instruction sets that products are written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstructionSet {
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// What the compiler makes of it for any machine.
    Portable,
}

impl InstructionSet {
    /// Those that this machine has, the best one first.
    pub fn all() -> impl Iterator<Item = Self> {
        #[cfg(target_arch = "x86_64")]
        let (avx2, avx512) = {
            let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            (avx2.then_some(Self::Avx2), (avx2 && is_x86_feature_detected!("avx512f")).then_some(Self::Avx512))
        };
        #[cfg(not(target_arch = "x86_64"))]
        let (avx2, avx512): (Option<Self>, Option<Self>) = (None, None);
        [avx512, avx2, Some(Self::Portable)].into_iter().flatten()
    }

    /// The best one that this machine has.
    pub fn best() -> Self {
        Self::all().next().unwrap_or(Self::Portable)
    }
}

/// [`WIDTH`] floats.
///
/// # Safety
/// The machine must have the instruction set of the type, and pointers must point to [`WIDTH`] floats.
pub trait Floats: Copy {
    unsafe fn splat(value: f32) -> Self;
    unsafe fn load(at: *const f32) -> Self;
    unsafe fn store(self, at: *mut f32);
    /// self + a * b, rounded once.
    unsafe fn plus_product(self, a: Self, b: Self) -> Self;
    /// The sum of each of the four: floats whose places differ by 8 are added first, then by 4, by 2, by 1.
    unsafe fn totals(sums: [Self; 4]) -> [f32; 4];
    /// self + other.
    unsafe fn plus(self, other: Self) -> Self;
    /// Reads eight floats of each of [`WIDTH`] rows, which are `stride` apart, and writes them column by column: the columns are
    /// `distance` apart.
    unsafe fn transpose_eight(from: *const f32, stride: usize, to: *mut f32, distance: usize);
}

/// For any machine.
#[derive(Clone, Copy)]
pub struct Portable([f32; WIDTH]);

impl Floats for Portable {
    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        Self([value; WIDTH])
    }

    #[inline(always)]
    unsafe fn load(at: *const f32) -> Self {
        // SAFETY: as the trait demands.
        Self(unsafe { at.cast::<[f32; WIDTH]>().read_unaligned() })
    }

    #[inline(always)]
    unsafe fn store(self, at: *mut f32) {
        // SAFETY: as the trait demands.
        unsafe { at.cast::<[f32; WIDTH]>().write_unaligned(self.0) }
    }

    #[inline(always)]
    unsafe fn plus_product(self, a: Self, b: Self) -> Self {
        Self(std::array::from_fn(|i| a.0[i].mul_add(b.0[i], self.0[i])))
    }

    #[inline(always)]
    unsafe fn plus(self, other: Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i] + other.0[i]))
    }

    #[inline(always)]
    unsafe fn transpose_eight(from: *const f32, stride: usize, to: *mut f32, distance: usize) {
        for column in 0..8 {
            // SAFETY: as the trait demands.
            (0..WIDTH).for_each(|row| unsafe { *to.add(column * distance + row) = *from.add(row * stride + column) });
        }
    }

    #[inline(always)]
    unsafe fn totals(sums: [Self; 4]) -> [f32; 4] {
        sums.map(|Self(sum)| {
            let eight: [f32; 8] = std::array::from_fn(|i| sum[i] + sum[i + 8]);
            let four: [f32; 4] = std::array::from_fn(|i| eight[i] + eight[i + 4]);
            (four[0] + four[2]) + (four[1] + four[3])
        })
    }
}

#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
pub struct Avx2(__m256, __m256);

// SAFETY of every block: as the trait demands.
#[cfg(target_arch = "x86_64")]
impl Floats for Avx2 {
    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        let half = unsafe { _mm256_set1_ps(value) };
        Self(half, half)
    }

    #[inline(always)]
    unsafe fn load(at: *const f32) -> Self {
        unsafe { Self(_mm256_loadu_ps(at), _mm256_loadu_ps(at.add(8))) }
    }

    #[inline(always)]
    unsafe fn store(self, at: *mut f32) {
        unsafe {
            _mm256_storeu_ps(at, self.0);
            _mm256_storeu_ps(at.add(8), self.1);
        }
    }

    #[inline(always)]
    unsafe fn plus_product(self, a: Self, b: Self) -> Self {
        unsafe { Self(_mm256_fmadd_ps(a.0, b.0, self.0), _mm256_fmadd_ps(a.1, b.1, self.1)) }
    }

    #[inline(always)]
    unsafe fn plus(self, other: Self) -> Self {
        unsafe { Self(_mm256_add_ps(self.0, other.0), _mm256_add_ps(self.1, other.1)) }
    }

    #[inline(always)]
    unsafe fn transpose_eight(from: *const f32, stride: usize, to: *mut f32, distance: usize) {
        unsafe { transpose_eight(from, stride, to, distance) }
    }

    #[inline(always)]
    unsafe fn totals(sums: [Self; 4]) -> [f32; 4] {
        unsafe {
            let [p, q, r, s] = sums;
            let (p, q) = (_mm256_add_ps(p.0, p.1), _mm256_add_ps(q.0, q.1));
            let (r, s) = (_mm256_add_ps(r.0, r.1), _mm256_add_ps(s.0, s.1));
            // Four floats of p and four of q in one register, then of r and s.
            let pq = _mm256_add_ps(_mm256_permute2f128_ps::<0x20>(p, q), _mm256_permute2f128_ps::<0x31>(p, q));
            let rs = _mm256_add_ps(_mm256_permute2f128_ps::<0x20>(r, s), _mm256_permute2f128_ps::<0x31>(r, s));
            // Two floats each of p and r, then of q and s.
            let two = _mm256_add_ps(_mm256_shuffle_ps::<0x44>(pq, rs), _mm256_shuffle_ps::<0xEE>(pq, rs));
            let one = _mm256_add_ps(two, _mm256_permute_ps::<0b10_11_00_01>(two));
            let [p, r, q, s] = {
                let halves = (_mm256_castps256_ps128(one), _mm256_extractf128_ps::<1>(one));
                let mut found = [0.0; 4];
                _mm_storeu_ps(found.as_mut_ptr(), _mm_shuffle_ps::<0b10_00_10_00>(halves.0, halves.1));
                found
            };
            [p, q, r, s]
        }
    }
}

/// Two squares of eight by eight, with AVX2.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn transpose_eight(from: *const f32, stride: usize, to: *mut f32, distance: usize) {
    unsafe {
        for half in [0, 8] {
            for side in [0, 4] {
                // Four floats of a row, and four of the row four below it.
                let at = from.add(half * stride + side);
                let mut pairs = [_mm256_setzero_ps(); 4];
                for (row, pair) in pairs.iter_mut().enumerate() {
                    let upper = _mm256_castps128_ps256(_mm_loadu_ps(at.add(row * stride)));
                    *pair = _mm256_insertf128_ps::<1>(upper, _mm_loadu_ps(at.add((row + 4) * stride)));
                }
                let [p, q, r, s] = pairs;
                let (low, high) = (_mm256_unpacklo_ps(p, q), _mm256_unpackhi_ps(p, q));
                let (low_below, high_below) = (_mm256_unpacklo_ps(r, s), _mm256_unpackhi_ps(r, s));
                let to = to.add(side * distance + half);
                _mm256_storeu_ps(to, _mm256_shuffle_ps::<0x44>(low, low_below));
                _mm256_storeu_ps(to.add(distance), _mm256_shuffle_ps::<0xEE>(low, low_below));
                _mm256_storeu_ps(to.add(2 * distance), _mm256_shuffle_ps::<0x44>(high, high_below));
                _mm256_storeu_ps(to.add(3 * distance), _mm256_shuffle_ps::<0xEE>(high, high_below));
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
pub struct Avx512(__m512);

// SAFETY of every block: as the trait demands.
#[cfg(target_arch = "x86_64")]
impl Floats for Avx512 {
    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        Self(unsafe { _mm512_set1_ps(value) })
    }

    #[inline(always)]
    unsafe fn load(at: *const f32) -> Self {
        Self(unsafe { _mm512_loadu_ps(at) })
    }

    #[inline(always)]
    unsafe fn store(self, at: *mut f32) {
        unsafe { _mm512_storeu_ps(at, self.0) }
    }

    #[inline(always)]
    unsafe fn plus_product(self, a: Self, b: Self) -> Self {
        Self(unsafe { _mm512_fmadd_ps(a.0, b.0, self.0) })
    }

    #[inline(always)]
    unsafe fn plus(self, other: Self) -> Self {
        Self(unsafe { _mm512_add_ps(self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn transpose_eight(from: *const f32, stride: usize, to: *mut f32, distance: usize) {
        unsafe { transpose_eight(from, stride, to, distance) }
    }

    #[inline(always)]
    unsafe fn totals(sums: [Self; 4]) -> [f32; 4] {
        unsafe {
            let [Self(p), Self(q), Self(r), Self(s)] = sums;
            // Eight floats of p and eight of q in one register, then of r and s.
            let pq = _mm512_add_ps(_mm512_shuffle_f32x4::<0x44>(p, q), _mm512_shuffle_f32x4::<0xEE>(p, q));
            let rs = _mm512_add_ps(_mm512_shuffle_f32x4::<0x44>(r, s), _mm512_shuffle_f32x4::<0xEE>(r, s));
            // Four floats of each.
            let four = _mm512_add_ps(_mm512_shuffle_f32x4::<0x88>(pq, rs), _mm512_shuffle_f32x4::<0xDD>(pq, rs));
            let two = _mm512_add_ps(four, _mm512_permute_ps::<0b01_00_11_10>(four));
            let one = _mm512_add_ps(two, _mm512_permute_ps::<0b10_11_00_01>(two));
            let firsts = _mm512_setr_epi32(0, 4, 8, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
            let mut found = [0.0; 4];
            _mm_storeu_ps(found.as_mut_ptr(), _mm512_castps512_ps128(_mm512_permutexvar_ps(firsts, one)));
            found
        }
    }
}
