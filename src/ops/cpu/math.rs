//! Functions of one f32 without branches or fused products, so that loops over them become vector code with the same
//! bits on every level.

use crate::ops::Activation;

/// `e^x`, relative error below 2e-7 (normal results); overflows to infinity, underflows to 0, keeps NaN.
/// Range reduction by multiples of ln 2 in two parts, then a polynomial of degree 7 (coefficients of Cephes' expf).
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    // Adding 1.5 * 2^23 rounds to an integer and leaves that integer in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let x = if x > 88.8 { 88.8 } else { x };
    let x = if x < -104.0 { -104.0 } else { x };
    let t = x * std::f32::consts::LOG2_E + ROUND;
    let n = t - ROUND;
    let r = x - n * 0.693_359_4;
    let r = r - n * -2.121_944_4e-4;
    let mut p = 1.987_569_1e-4;
    p = p * r + 1.398_199_9e-3;
    p = p * r + 8.333_452e-3;
    p = p * r + 4.166_579_6e-2;
    p = p * r + 1.666_666_5e-1;
    p = p * r + 0.5;
    let p = p * (r * r) + r + 1.0;
    // 2^n in two factors, since n may be 128 or below -126.
    let n = (t.to_bits() as i32).wrapping_sub(0x4b40_0000);
    let half = n >> 1;
    let power = |n: i32| f32::from_bits((n.wrapping_add(127) as u32) << 23);
    p * power(half) * power(n.wrapping_sub(half))
}

/// `0.5 x (1 + erf(x / sqrt 2))`, absolute error below 1e-6. erfc by formula 7.1.26 of Abramowitz and Stegun.
#[inline(always)]
pub fn gelu(x: f32) -> f32 {
    let z = x.abs() * std::f32::consts::FRAC_1_SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * z);
    let mut p = 1.061_405_4;
    p = p * t - 1.453_152;
    p = p * t + 1.421_413_8;
    p = p * t - 0.284_496_72;
    p = p * t + 0.254_829_6;
    let half_erfc = 0.5 * (p * t) * exp(-(z * z));
    if x < 0.0 { x * half_erfc } else { x * (1.0 - half_erfc) }
}

/// The tanh approximation of GELU.
#[inline(always)]
fn gelu_tanh(x: f32) -> f32 {
    // 0.5 (1 + tanh u) = 1 / (1 + e^(-2u)).
    let u = 0.797_884_6 * (x + 0.044_715 * x * x * x);
    x / (1.0 + exp(-2.0 * u))
}

/// `x * sigmoid(x)`.
#[inline(always)]
fn silu(x: f32) -> f32 {
    x / (1.0 + exp(-x))
}

/// NaN stays NaN.
#[inline(always)]
fn squared_relu(x: f32) -> f32 {
    let positive = if x < 0.0 { 0.0 } else { x };
    positive * positive
}

/// The function for `activation`, by number so that it can be an argument of a compiled loop.
#[inline(always)]
pub fn activate<const WHICH: u8>(x: f32) -> f32 {
    const SILU: u8 = Activation::Silu as u8;
    const GELU: u8 = Activation::Gelu as u8;
    const SQUARED_RELU: u8 = Activation::SquaredRelu as u8;
    match WHICH {
        SILU => silu(x),
        GELU => gelu(x),
        SQUARED_RELU => squared_relu(x),
        _ => gelu_tanh(x),
    }
}

/// Sum of `f(0) .. f(n - 1)` in 16 partial sums by index modulo 16, then pairwise: a fixed order.
#[inline(always)]
pub fn sum(n: usize, f: impl Fn(usize) -> f32) -> f32 {
    let mut sums = [0.0f32; 16];
    let whole = n / 16;
    for i in 0..whole {
        for (l, sum) in sums.iter_mut().enumerate() {
            *sum += f(16 * i + l);
        }
    }
    // The sums are indexed by constants only, so that they stay in registers.
    if 16 * whole < n {
        let mut rest = [0.0f32; 16];
        for i in 16 * whole..n {
            rest[i % 16] = f(i);
        }
        for l in 0..16 {
            sums[l] += rest[l];
        }
    }
    for l in 0..8 {
        sums[l] += sums[l + 8];
    }
    for l in 0..4 {
        sums[l] += sums[l + 4];
    }
    (sums[0] + sums[2]) + (sums[1] + sums[3])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_close_everywhere() {
        let mut worst = 0f64;
        for i in -870_000..=887_000 {
            let x = i as f32 * 1e-4;
            let want = f64::from(x).exp();
            worst = worst.max((f64::from(exp(x)) / want - 1.0).abs());
        }
        assert!(worst < 2e-7, "{worst}");
        assert_eq!((exp(0.0), exp(f32::NEG_INFINITY), exp(-1e30)), (1.0, 0.0, 0.0));
        assert_eq!((exp(f32::INFINITY), exp(89.0)), (f32::INFINITY, f32::INFINITY));
        assert!(exp(f32::NAN).is_nan());
    }

    /// erf by its Taylor series, which converges for every x and is exact enough below 6.
    fn erf(x: f64) -> f64 {
        let (mut term, mut sum) = (x, x);
        for n in 1..200 {
            term *= -x * x / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        sum * 2.0 / std::f64::consts::PI.sqrt()
    }

    #[test]
    fn activations_are_close_everywhere() {
        for i in -6000..6000 {
            let x = i as f32 * 1e-3;
            let d = f64::from(x);
            let tanh =
                0.5 * d * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (d + 0.044715 * d * d * d)).tanh());
            for (got, want) in [
                (gelu(x), 0.5 * d * (1.0 + erf(d / 2f64.sqrt()))),
                (gelu_tanh(x), tanh),
                (silu(x), d / (1.0 + (-d).exp())),
            ] {
                assert!((f64::from(got) - want).abs() < 1e-6, "{x}: {got} {want}");
            }
        }
        for f in [silu, gelu, gelu_tanh] {
            assert_eq!((f(100.0), f(0.0)), (100.0, 0.0));
            assert!(f(-100.0).abs() < 1e-30 && f(f32::NAN).is_nan());
        }
    }

    #[test]
    fn sums_hold_every_element() {
        for n in [0, 1, 15, 16, 17, 100] {
            assert_eq!(sum(n, |i| (i + 1) as f32), (n * (n + 1) / 2) as f32);
        }
    }
}
