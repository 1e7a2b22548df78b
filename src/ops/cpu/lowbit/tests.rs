use super::layout::{ROWS, pack, packed_bytes, unpack_row};
use super::*;
use crate::ops::cpu::Isa;
use crate::ops::cpu::testing::{Buffer, Random, Threads, bits};
use crate::ops::{Product, Weight};
use crate::quant::DType;
use crate::quant::lowbit;

/// Levels that this machine has.
fn levels() -> Vec<Level> {
    Level::ALL.into_iter().filter(|level| level.is_in(Features::here(Isa::highest()))).collect()
}

struct Matrix {
    rows: usize,
    cols: usize,
    /// 0, 1, 2.
    codes: Vec<u8>,
    scale: f32,
    packed: Buffer,
}

impl Matrix {
    /// `code` tells each weight. Rows times cols is made a multiple of 128 by the caller.
    fn new(rows: usize, cols: usize, scale: f32, mut code: impl FnMut(usize) -> u8) -> Matrix {
        let codes: Vec<u8> = (0..rows * cols).map(&mut code).collect();
        let values: Vec<i8> = codes.iter().map(|c| *c as i8 - 1).collect();
        let mut file = vec![0; rows * cols / 4 + lowbit::I2S_TAIL];
        lowbit::i2s_pack(&values, scale, &mut file).unwrap();
        let mut packed = Buffer::new(packed_bytes(rows as u32, cols as u32).unwrap() as usize);
        pack(rows as u32, cols as u32, &file, packed.bytes_mut()).unwrap();
        Matrix { rows, cols, codes, scale, packed }
    }

    /// The reference's outputs for these tokens.
    fn expected(&self, x: &[f32]) -> Vec<f32> {
        let mut all = Vec::new();
        let mut codes = vec![0i8; self.cols];
        for x in x.chunks_exact(self.cols) {
            let token = lowbit::quantize_token(x, &mut codes).unwrap();
            for row in self.codes.chunks_exact(self.cols) {
                all.push(lowbit::product(row, 1, self.scale, &codes, token).unwrap());
            }
        }
        all
    }

    fn weight(&self) -> Weight {
        let (rows, cols) = (self.rows as u32, self.cols as u32);
        Weight { dtype: DType::I2_S, rows, cols, ptr: self.packed.ptr() }
    }

    fn got(&self, level: Level, threads: usize, x: &[f32]) -> Vec<f32> {
        let n = x.len() / self.cols;
        let mut out = vec![f32::NAN; n * self.rows];
        let mut scratch = Buffer::new(scratch_bytes(n, self.cols));
        scratch.bytes_mut().fill(0xEE);
        let product = Product { weight: self.weight(), bias: None, out: out.as_mut_ptr() as u64, add: false };
        let crew = Threads(threads);
        // SAFETY: buffers of the sizes that are asked for.
        unsafe {
            products_at(level, Isa::highest(), &crew, x.as_ptr() as u64, n, &[&product], scratch.ptr());
        }
        out
    }
}

#[test]
fn rows_come_back_and_padding_counts_for_nothing() {
    let mut random = Random::new(3);
    for (rows, cols) in [(1, 128), (64, 64), (70, 640), (130, 192), (128, 100)] {
        let mut m = Matrix::new(rows, cols, 0.5, |_| random.below(3) as u8);
        let mut codes = vec![0; cols];
        for (row, want) in m.codes.chunks(cols).enumerate() {
            assert_eq!(unpack_row(cols, m.packed.bytes_mut(), row, &mut codes), 0.5);
            assert_eq!(codes, want, "{rows}x{cols} row {row}");
        }
        assert_eq!(packed_bytes(rows as u32, cols as u32).unwrap() % (ROWS as u64 * 4), 0);
    }
}

#[test]
fn every_level_gives_the_reference_bit_for_bit() {
    let mut random = Random::new(5);
    for (rows, cols) in [(64, 128), (1, 128), (65, 640), (192, 260), (130, 1088), (256, 2560)] {
        let m = Matrix::new(rows, cols, 0.0371, |_| random.below(3) as u8);
        for n in [1, 2, 3, 4, 5, 6, 7, 12, 13, 16, 17, 40] {
            let x: Vec<f32> = (0..n * cols).map(|_| random.normal()).collect();
            let want = m.expected(&x);
            for level in levels() {
                for threads in [1, 3] {
                    let got = m.got(level, threads, &x);
                    assert!(bits(&got) == bits(&want), "{} {rows}x{cols}, {n} tokens", level.name());
                }
            }
        }
    }
}

/// All weights 1 and activations at their most: what wraps around in 16 bits in other kernels, here by every level.
#[test]
fn the_largest_sums_do_not_wrap() {
    for cols in [4096, 4104, 6912, 14336, 16384, 262_208] {
        for (code, sign) in [(2, 1.0), (2, -1.0), (0, 1.0)] {
            let m = Matrix::new(16, cols, 1.0, |_| code);
            for n in [1, 3, 6, 18] {
                let x = vec![sign; n * cols];
                let want = m.expected(&x);
                for level in levels() {
                    assert_eq!(m.got(level, 1, &x), want, "{} at {cols}, {n} tokens", level.name());
                }
            }
        }
    }
}

#[test]
fn what_is_not_finite_shows_in_its_own_token_only() {
    let mut random = Random::new(9);
    let m = Matrix::new(64, 128, 1.0, |_| random.below(3) as u8);
    for bad in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut x: Vec<f32> = (0..8 * 128).map(|_| random.normal()).collect();
        x[3 * 128 + 77] = bad;
        for level in levels() {
            let got = m.got(level, 1, &x);
            assert!(got.chunks(64).enumerate().all(|(t, o)| o.iter().all(|o| o.is_nan() == (t == 3))));
        }
    }
    for level in levels() {
        assert!(m.got(level, 1, &[0.0; 128]).iter().all(|o| *o == 0.0));
    }
}

#[test]
fn a_level_is_chosen_only_where_all_of_it_is_there() {
    let flags = |n: u32| Features {
        sse41: n & 1 > 0,
        avx2: n & 2 > 0,
        avx_vnni: n & 4 > 0,
        avx512_vnni: n & 8 > 0,
        amx: n & 16 > 0,
    };
    for has in (0..32).map(flags) {
        let level = Level::best(has);
        assert!(level.is_in(has));
        assert!(Level::ALL.into_iter().filter(|l| *l > level).all(|l| !l.is_in(has)));
        assert!(level < Level::Avx512Vnni || has.avx512_vnni);
        assert!(level != Level::AvxVnni || (has.avx2 && has.avx_vnni));
        assert_eq!(Level::best(has.within(Isa::Scalar)), Level::Scalar);
        assert!(Level::best(has.within(Isa::Avx2)) <= Level::AvxVnni);
    }
}
