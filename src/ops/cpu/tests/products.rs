//! Matrix products.

use super::super::testing::{Buffer, DTYPES, Random, Threads, bits, random_weights};
use super::super::{Isa, activations, kernels, matmul, pack};
use super::levels;
use crate::ops::{Math, Product, Weight};
use crate::quant::{DType, dequantize, quantize};

/// A matrix in both layouts.
struct Matrix {
    stored: Vec<u8>,
    packed: Buffer,
    dtype: DType,
    rows: usize,
    cols: usize,
}

impl Matrix {
    fn random(random: &mut Random, dtype: DType, rows: usize, cols: usize) -> Self {
        let stored = random_weights(random, dtype, rows as u32, cols as u32);
        Matrix::of(dtype, rows, cols, stored)
    }

    fn of(dtype: DType, rows: usize, cols: usize, stored: Vec<u8>) -> Self {
        let mut packed = Buffer::new(pack::packed_bytes(dtype, rows as u32, cols as u32).unwrap() as usize);
        pack::pack(dtype, rows as u32, cols as u32, &stored, packed.bytes_mut()).unwrap();
        Matrix { stored, packed, dtype, rows, cols }
    }

    fn weight(&self) -> Weight {
        Weight { dtype: self.dtype, rows: self.rows as u32, cols: self.cols as u32, ptr: self.packed.ptr() }
    }

    fn product(&self, out: &Buffer) -> Product {
        Product { weight: self.weight(), bias: None, out: out.ptr(), add: false }
    }
}

fn multiply(isa: Isa, threads: usize, x: &[f32], products: &[Product]) {
    multiply_by(isa, Math::Exact, threads, x, products);
}

fn multiply_by(isa: Isa, math: Math, threads: usize, x: &[f32], products: &[Product]) {
    let cols = products[0].weight.cols as usize;
    let (n, x) = (x.len() / cols, Buffer::of(x));
    let scratch = Buffer::new(matmul::scratch_bytes(n, cols));
    // SAFETY: all buffers are as long as the product needs.
    unsafe { matmul::matmul(isa, math, &Threads(threads), x.ptr(), n, products, scratch.ptr()) };
}

fn product(isa: Isa, threads: usize, x: &[f32], w: &Matrix) -> Vec<f32> {
    let out = Buffer::new(x.len() / w.cols * w.rows * 4);
    multiply(isa, threads, x, &[w.product(&out)]);
    out.floats()
}

/// What the kernel sees of `x`, and `x` times weights in f64 with the sum of magnitudes beside it.
fn exact(x: &[f32], w: &Matrix) -> Vec<(f64, f64)> {
    let mut seen = x.to_vec();
    if kernels::takes_blocks(w.dtype) {
        for x in seen.chunks_exact_mut(32) {
            let mut block = std::mem::MaybeUninit::<activations::Block>::uninit();
            // SAFETY: one block is written.
            let block = unsafe {
                activations::quantize_row(Isa::Scalar, x.as_ptr(), 1, block.as_mut_ptr());
                block.assume_init()
            };
            for (x, q) in x.iter_mut().zip(block.q) {
                *x = block.scale * f32::from(q);
            }
        }
    }
    let mut row = vec![0.0; w.cols];
    let mut out = vec![(0.0, 0.0); seen.len() / w.cols * w.rows];
    for (r, stored) in w.stored.chunks_exact(w.stored.len() / w.rows).enumerate() {
        dequantize(w.dtype, stored, &mut row).unwrap();
        for (t, x) in seen.chunks_exact(w.cols).enumerate() {
            let terms = || row.iter().zip(x).map(|(w, x)| f64::from(*w) * f64::from(*x));
            out[t * w.rows + r] = (terms().sum(), terms().map(f64::abs).sum());
        }
    }
    out
}

#[test]
fn every_type_and_level_gives_the_exact_product_within_rounding() {
    let mut random = Random::new(11);
    for dtype in DTYPES {
        let step = dtype.block() as usize;
        for _ in 0..8 {
            let rows = 1 + random.below(70);
            let cols = match step {
                1 => 1 + random.below(700),
                32 => 32 * (1 + random.below(20)),
                _ => 256 * (1 + random.below(4)),
            };
            let n = 1 + random.below(15);
            let (w, x) = (Matrix::random(&mut random, dtype, rows, cols), random.floats(n * cols));
            let want = exact(&x, &w);
            for isa in levels() {
                for (i, (got, (want, size))) in product(isa, 1, &x, &w).iter().zip(&want).enumerate() {
                    // Q4_K subtracts minima that may be larger than the result.
                    let bound = size * if dtype == DType::Q4_K { 4e-6 } else { 1e-6 } + 1e-9;
                    assert!(
                        (f64::from(*got) - want).abs() <= bound,
                        "{dtype:?} {isa:?} {rows}x{cols} n={n} [{i}]: {got} {want} of {size}"
                    );
                }
            }
        }
    }
}

#[test]
fn quantized_products_have_the_same_bits_on_every_level() {
    let mut random = Random::new(12);
    for dtype in DTYPES.into_iter().filter(|&d| kernels::takes_blocks(d)) {
        let cols = 768;
        let (w, x) = (Matrix::random(&mut random, dtype, 50, cols), random.floats(9 * cols));
        let want = product(Isa::Scalar, 1, &x, &w);
        for isa in levels() {
            assert_eq!(bits(&product(isa, 1, &x, &w)), bits(&want), "{dtype:?} {isa:?}");
        }
    }
}

#[test]
fn bits_depend_on_neither_batch_nor_threads() {
    let mut random = Random::new(13);
    for dtype in DTYPES {
        let (rows, cols) = (150, 512);
        let (w, x) = (Matrix::random(&mut random, dtype, rows, cols), random.floats(64 * cols));
        for isa in levels() {
            let alone: Vec<f32> = x.chunks_exact(cols).flat_map(|x| product(isa, 1, x, &w)).collect();
            for n in [2, 3, 5, 6, 7, 8, 17, 64] {
                for threads in [1, 2, 3] {
                    for (first, x) in x.chunks_exact(n * cols).enumerate().take(2) {
                        let want = &alone[first * n * rows..][..n * rows];
                        let got = product(isa, threads, x, &w);
                        assert_eq!(bits(&got), bits(want), "{dtype:?} {isa:?} n={n} threads={threads}");
                    }
                }
            }
        }
    }
}

#[test]
fn extreme_codes_do_not_saturate() {
    let cols = 4096;
    for (code, sign) in [(-128i8, -1.0), (127, 1.0)] {
        let mut stored = half::f16::ONE.to_le_bytes().to_vec();
        stored.extend([code as u8; 32]);
        let w = Matrix::of(DType::Q8_0, 1, cols, stored.repeat(cols / 32));
        for x in [127.0, -127.0] {
            let want = x * f32::from(code) * cols as f32;
            for isa in levels() {
                assert_eq!(product(isa, 1, &vec![x; cols], &w), [want], "{isa:?} {sign}");
            }
        }
    }
}

#[test]
fn several_products_share_an_input_and_take_bias_and_residual() {
    let mut random = Random::new(14);
    let (n, cols) = (5, 256);
    let shapes = [(DType::Q8_0, 40), (DType::F32, 33), (DType::Q6_K, 16), (DType::Q4_0, 7)];
    let matrices = shapes.map(|(dtype, rows)| Matrix::random(&mut random, dtype, rows, cols));
    let x = random.floats(n * cols);
    for isa in levels() {
        for (biased, add) in [(false, false), (true, false), (false, true), (true, true)] {
            let before: Vec<_> = matrices.iter().map(|w| random.floats(n * w.rows)).collect();
            let biases: Vec<_> = matrices.iter().map(|w| random.floats(w.rows)).collect();
            let outs: Vec<_> = before.iter().map(|b| Buffer::of(b)).collect();
            let bias_buffers: Vec<_> = biases.iter().map(|b| Buffer::of(b)).collect();
            let products: Vec<_> = (0..matrices.len())
                .map(|i| Product {
                    bias: biased.then(|| bias_buffers[i].ptr()),
                    add,
                    ..matrices[i].product(&outs[i])
                })
                .collect();
            multiply(isa, 2, &x, &products);
            for (i, w) in matrices.iter().enumerate() {
                for (j, (got, plain)) in outs[i].floats().iter().zip(product(isa, 1, &x, w)).enumerate() {
                    let mut want = plain;
                    if biased {
                        want += biases[i][j % w.rows];
                    }
                    if add {
                        want += before[i][j];
                    }
                    assert!((got - want).abs() <= 1e-5 * (1.0 + want.abs()), "{isa:?} {i} {j}: {got} {want}");
                }
            }
        }
    }
}

#[test]
fn bad_scales_and_activations_spoil_their_own_outputs_only() {
    let mut random = Random::new(15);
    let cols = 256;
    for dtype in [DType::Q8_0, DType::Q4_0, DType::Q4_K, DType::Q6_K] {
        let mut stored = random_weights(&mut random, dtype, 20, cols as u32);
        let row = stored.len() / 20;
        let at = if dtype == DType::Q6_K { 3 * row + 208 } else { 3 * row };
        for bad in [half::f16::NAN, half::f16::INFINITY] {
            stored[at..at + 2].copy_from_slice(&bad.to_le_bytes());
            let w = Matrix::of(dtype, 20, cols, stored.clone());
            let mut x = random.floats(3 * cols);
            x[cols + 7] = f32::NAN;
            x[2 * cols + 9] = f32::INFINITY;
            for isa in levels() {
                for (i, y) in product(isa, 1, &x, &w).iter().enumerate() {
                    assert_eq!(y.is_finite(), i / 20 == 0 && i % 20 != 3, "{dtype:?} {isa:?} [{i}] {y}");
                }
            }
        }
    }
}

#[test]
fn quantized_models_stay_close_to_the_float_product() {
    let mut random = Random::new(16);
    let (rows, cols) = (64, 1024);
    let (floats, x) = (random.floats(rows * cols), random.floats(cols));
    let want: Vec<f64> =
        floats.chunks_exact(cols).map(|w| w.iter().zip(&x).map(|(w, x)| f64::from(w * x)).sum()).collect();
    for (dtype, bound) in
        [(DType::F16, 1e-3), (DType::BF16, 6e-3), (DType::Q8_0, 1.5e-2), (DType::Q4_0, 0.15)]
    {
        let mut stored = vec![0; dtype.bytes(rows as u64, cols as u64).unwrap() as usize];
        quantize(dtype, &floats, &mut stored).unwrap();
        let w = Matrix::of(dtype, rows, cols, stored);
        let got = product(Isa::highest(), 1, &x, &w);
        let error: f64 = got.iter().zip(&want).map(|(g, w)| (f64::from(*g) - w).powi(2)).sum();
        let size: f64 = want.iter().map(|w| w * w).sum();
        assert!((error / size).sqrt() < bound, "{dtype:?}: {}", (error / size).sqrt());
    }
}

fn product_by(isa: Isa, math: Math, threads: usize, x: &[f32], w: &Matrix) -> Vec<f32> {
    let out = Buffer::new(x.len() / w.cols * w.rows * 4);
    multiply_by(isa, math, threads, x, &[w.product(&out)]);
    out.floats()
}

/// The error of `got` against f64, over the sum of magnitudes, where nothing but the weights is rounded.
fn loss(x: &[f32], w: &Matrix, got: &[f32]) -> f64 {
    let mut row = vec![0.0; w.cols];
    let mut worst = 0.0f64;
    for (r, stored) in w.stored.chunks_exact(w.stored.len() / w.rows).enumerate() {
        dequantize(w.dtype, stored, &mut row).unwrap();
        for (t, x) in x.chunks_exact(w.cols).enumerate() {
            let terms = || row.iter().zip(x).map(|(w, x)| f64::from(*w) * f64::from(*x));
            let (sum, size) = (terms().sum::<f64>(), terms().map(f64::abs).sum::<f64>());
            worst = worst.max((f64::from(got[t * w.rows + r]) - sum).abs() / size);
        }
    }
    worst
}

#[test]
fn plain_products_keep_every_bit_of_the_activations_at_every_level() {
    let mut random = Random::new(71);
    for dtype in [DType::Q8_0, DType::Q4_0, DType::Q4_K, DType::Q6_K] {
        let w = Matrix::random(&mut random, dtype, 37, 768);
        let x: Vec<f32> = (0..7 * 768).map(|_| random.normal()).collect();
        let want = product_by(Isa::Scalar, Math::Plain, 1, &x, &w);
        assert!(loss(&x, &w, &want) < 1e-6, "{dtype:?}: {:.1e}", loss(&x, &w, &want));
        let rounded = loss(&x, &w, &product(Isa::highest(), 1, &x, &w));
        assert!(rounded > 1e-5, "{dtype:?}: 8-bit activations should show, {rounded:.1e}");
        for isa in levels() {
            assert_eq!(bits(&product_by(isa, Math::Plain, 3, &x, &w)), bits(&want), "{dtype:?} {isa:?}");
            let one = product_by(isa, Math::Plain, 1, &x[768..2 * 768], &w);
            assert_eq!(bits(&one), bits(&want[37..2 * 37]), "{dtype:?} {isa:?}: one row alone");
        }
    }
}

#[test]
fn fast_products_round_f32_to_bf16_where_the_processor_has_it() {
    if !crate::ops::cpu::isa::has_bf16() {
        return;
    }
    let mut random = Random::new(72);
    for (dtype, cols) in [(DType::F32, 771), (DType::BF16, 771), (DType::F32, 64), (DType::BF16, 1)] {
        let w = Matrix::random(&mut random, dtype, 37, cols);
        let x: Vec<f32> = (0..7 * cols).map(|_| random.normal()).collect();
        let isa = Isa::highest();
        let fast = product_by(isa, Math::Fast, 1, &x, &w);
        let (fast_loss, exact_loss) = (loss(&x, &w, &fast), loss(&x, &w, &product(isa, 1, &x, &w)));
        assert!(exact_loss < 1e-6 && fast_loss < 8e-3, "{dtype:?}: {exact_loss:.1e} {fast_loss:.1e}");
        assert!(fast_loss > 1e-5, "{dtype:?}: nothing was rounded, {fast_loss:.1e}");
        assert_eq!(bits(&product_by(isa, Math::Fast, 3, &x, &w)), bits(&fast), "{dtype:?}: threads");
        let one = product_by(isa, Math::Fast, 1, &x[cols..2 * cols], &w);
        assert_eq!(bits(&one), bits(&fast[37..2 * 37]), "{dtype:?}: one row alone");
        // Lower levels have no such instruction and stay exact.
        let low = product_by(Isa::Avx2, Math::Fast, 1, &x, &w);
        assert_eq!(bits(&low), bits(&product(Isa::Avx2, 1, &x, &w)));
    }
    // What quantized weights take stays what it was.
    let w = Matrix::random(&mut random, DType::Q8_0, 16, 256);
    let x: Vec<f32> = (0..256).map(|_| random.normal()).collect();
    assert_eq!(
        bits(&product_by(Isa::highest(), Math::Fast, 1, &x, &w)),
        bits(&product(Isa::highest(), 1, &x, &w))
    );
}
