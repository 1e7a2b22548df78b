//! Vectors of f32 for the attention kernels, one kind for each level of instructions.
//!
//! No kind fuses a product and a sum, and sums over lanes have one order, so all give the same bits.

use half::f16;

/// Lanes side by side in the order of every sum over a head's elements.
pub const STEP: usize = 16;

/// Some f32 in registers.
///
/// Every method is unsafe for the same two reasons: the processor must have the instructions of the kind, and pointers
/// must hold [`Lanes::WIDTH`] elements. All are inlined into functions that enable those instructions.
pub trait Lanes: Copy {
    /// Elements: [`STEP`], or half of it.
    const WIDTH: usize;
    unsafe fn splat(x: f32) -> Self;
    unsafe fn load(from: *const f32) -> Self;
    /// f16 to f32.
    unsafe fn load_f16(from: *const f16) -> Self;
    unsafe fn store(self, to: *mut f32);
    unsafe fn add(self, other: Self) -> Self;
    unsafe fn mul(self, other: Self) -> Self;
    /// Lane `i` of the result is the sum of the lanes of vector `i` of `Q * K == WIDTH`: lanes `WIDTH / 2` apart are
    /// added, then those half as far apart, down to neighbours.
    unsafe fn sums<const Q: usize, const K: usize>(of: &[[Self; K]; Q]) -> Self;
}

/// Plain floats, for processors without the instructions below.
#[derive(Clone, Copy)]
pub struct Plain([f32; 8]);

impl Lanes for Plain {
    const WIDTH: usize = 8;

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        Plain([x; 8])
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: promised by the caller.
        Plain(unsafe { from.cast::<[f32; 8]>().read_unaligned() })
    }

    #[inline(always)]
    unsafe fn load_f16(from: *const f16) -> Self {
        let mut out = [0.0; 8];
        for (i, out) in out.iter_mut().enumerate() {
            // SAFETY: promised by the caller.
            *out = unsafe { from.add(i).read_unaligned() }.to_f32();
        }
        Plain(out)
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: promised by the caller.
        unsafe { to.cast::<[f32; 8]>().write_unaligned(self.0) };
    }

    #[inline(always)]
    unsafe fn add(mut self, other: Self) -> Self {
        for i in 0..8 {
            self.0[i] += other.0[i];
        }
        self
    }

    #[inline(always)]
    unsafe fn mul(mut self, other: Self) -> Self {
        for i in 0..8 {
            self.0[i] *= other.0[i];
        }
        self
    }

    #[inline(always)]
    unsafe fn sums<const Q: usize, const K: usize>(of: &[[Self; K]; Q]) -> Self {
        let mut out = [0.0; 8];
        for (i, out) in out.iter_mut().enumerate() {
            let x = of[i / K][i % K].0;
            let four = [x[0] + x[4], x[1] + x[5], x[2] + x[6], x[3] + x[7]];
            *out = (four[0] + four[2]) + (four[1] + four[3]);
        }
        Plain(out)
    }
}

#[cfg(target_arch = "x86_64")]
pub use x86::{Avx2, Avx512};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{Lanes, f16};
    use std::arch::x86_64::*;

    /// AVX2 and F16C.
    #[derive(Clone, Copy)]
    pub struct Avx2(__m256);

    // SAFETY of all blocks: the instructions and pointers are promised by the caller.
    impl Lanes for Avx2 {
        const WIDTH: usize = 8;

        #[inline(always)]
        unsafe fn splat(x: f32) -> Self {
            // SAFETY: see above.
            Avx2(unsafe { _mm256_set1_ps(x) })
        }

        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            // SAFETY: see above.
            Avx2(unsafe { _mm256_loadu_ps(from) })
        }

        #[inline(always)]
        unsafe fn load_f16(from: *const f16) -> Self {
            // SAFETY: see above.
            Avx2(unsafe { _mm256_cvtph_ps(_mm_loadu_si128(from.cast())) })
        }

        #[inline(always)]
        unsafe fn store(self, to: *mut f32) {
            // SAFETY: see above.
            unsafe { _mm256_storeu_ps(to, self.0) };
        }

        #[inline(always)]
        unsafe fn add(self, other: Self) -> Self {
            // SAFETY: see above.
            Avx2(unsafe { _mm256_add_ps(self.0, other.0) })
        }

        #[inline(always)]
        unsafe fn mul(self, other: Self) -> Self {
            // SAFETY: see above.
            Avx2(unsafe { _mm256_mul_ps(self.0, other.0) })
        }

        #[inline(always)]
        unsafe fn sums<const Q: usize, const K: usize>(of: &[[Self; K]; Q]) -> Self {
            // SAFETY: see above.
            unsafe {
                let mut halves = [_mm256_setzero_ps(); 4];
                for i in 0..4 {
                    // The last step leaves the sums of these two in the same place of both halves of the register.
                    let (a, b) = (of[i / K][i % K].0, of[(i + 4) / K][(i + 4) % K].0);
                    halves[i] = _mm256_add_ps(
                        _mm256_permute2f128_ps::<0x20>(a, b),
                        _mm256_permute2f128_ps::<0x31>(a, b),
                    );
                }
                let [a, b, c, d] = halves;
                let ab = _mm256_add_ps(_mm256_shuffle_ps::<0x44>(a, b), _mm256_shuffle_ps::<0xee>(a, b));
                let cd = _mm256_add_ps(_mm256_shuffle_ps::<0x44>(c, d), _mm256_shuffle_ps::<0xee>(c, d));
                Avx2(_mm256_add_ps(_mm256_shuffle_ps::<0x88>(ab, cd), _mm256_shuffle_ps::<0xdd>(ab, cd)))
            }
        }
    }

    /// AVX-512 F.
    #[derive(Clone, Copy)]
    pub struct Avx512(__m512);

    // SAFETY of all blocks: the instructions and pointers are promised by the caller.
    impl Lanes for Avx512 {
        const WIDTH: usize = 16;

        #[inline(always)]
        unsafe fn splat(x: f32) -> Self {
            // SAFETY: see above.
            Avx512(unsafe { _mm512_set1_ps(x) })
        }

        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            // SAFETY: see above.
            Avx512(unsafe { _mm512_loadu_ps(from) })
        }

        #[inline(always)]
        unsafe fn load_f16(from: *const f16) -> Self {
            // SAFETY: see above.
            Avx512(unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(from.cast())) })
        }

        #[inline(always)]
        unsafe fn store(self, to: *mut f32) {
            // SAFETY: see above.
            unsafe { _mm512_storeu_ps(to, self.0) };
        }

        #[inline(always)]
        unsafe fn add(self, other: Self) -> Self {
            // SAFETY: see above.
            Avx512(unsafe { _mm512_add_ps(self.0, other.0) })
        }

        #[inline(always)]
        unsafe fn mul(self, other: Self) -> Self {
            // SAFETY: see above.
            Avx512(unsafe { _mm512_mul_ps(self.0, other.0) })
        }

        #[inline(always)]
        unsafe fn sums<const Q: usize, const K: usize>(of: &[[Self; K]; Q]) -> Self {
            // SAFETY: see above.
            unsafe {
                // Quarters of the result hold vectors 0..4, 4..8, 8..12 and 12..16; position i of each quarter comes
                // from vectors i, i + 4, i + 8 and i + 12.
                let mut quarters = [_mm512_setzero_ps(); 4];
                for i in 0..4 {
                    let at = |i: usize| of[i / K][i % K].0;
                    let (a, b, c, d) = (at(i), at(i + 4), at(i + 8), at(i + 12));
                    let ab =
                        _mm512_add_ps(_mm512_shuffle_f32x4::<0x44>(a, b), _mm512_shuffle_f32x4::<0xee>(a, b));
                    let cd =
                        _mm512_add_ps(_mm512_shuffle_f32x4::<0x44>(c, d), _mm512_shuffle_f32x4::<0xee>(c, d));
                    quarters[i] = _mm512_add_ps(
                        _mm512_shuffle_f32x4::<0x88>(ab, cd),
                        _mm512_shuffle_f32x4::<0xdd>(ab, cd),
                    );
                }
                let [a, b, c, d] = quarters;
                let ab = _mm512_add_ps(_mm512_shuffle_ps::<0x44>(a, b), _mm512_shuffle_ps::<0xee>(a, b));
                let cd = _mm512_add_ps(_mm512_shuffle_ps::<0x44>(c, d), _mm512_shuffle_ps::<0xee>(c, d));
                Avx512(_mm512_add_ps(_mm512_shuffle_ps::<0x88>(ab, cd), _mm512_shuffle_ps::<0xdd>(ab, cd)))
            }
        }
    }
}
