//! Functions of blocks of f32, plain loops that become vector code.

use super::convert::{BLOCK, Floats};
use crate::ops::cpu::isa::by_level;
use crate::ops::cpu::math::{self, exp};
use crate::ops::tensor::Function;

/// ln(m 2^e) for normal and subnormal numbers; coefficients of Cephes' logf, error below 2e-7 (absolute or relative).
#[inline(always)]
fn log(x: f32) -> f32 {
    let tiny = x < f32::MIN_POSITIVE;
    let scaled = if tiny { x * 8_388_608.0 } else { x };
    let bits = scaled.to_bits();
    // The mantissa between sqrt(1/2) and sqrt 2.
    let shifted = bits.wrapping_sub(0x3f35_04f3);
    let e = (shifted as i32 >> 23) as f32 - if tiny { 23.0 } else { 0.0 };
    let m = f32::from_bits((shifted & 0x007f_ffff) + 0x3f35_04f3) - 1.0;
    let z = m * m;
    let mut p = 7.037_683_6e-2;
    p = p * m - 1.151_461e-1;
    p = p * m + 1.167_699_9e-1;
    p = p * m - 1.242_014_1e-1;
    p = p * m + 1.424_932_3e-1;
    p = p * m - 1.666_805_8e-1;
    p = p * m + 2.000_071_5e-1;
    p = p * m - 2.499_999_4e-1;
    p = p * m + 3.333_333e-1;
    let y = p * m * z + e * -2.121_944_4e-4 - 0.5 * z;
    let y = m + y + e * 0.693_359_4;
    let y = if x == f32::INFINITY { f32::INFINITY } else { y };
    let y = if x == 0.0 { f32::NEG_INFINITY } else { y };
    if x < 0.0 || x.is_nan() { f32::NAN } else { y }
}

/// ln(1 + u) for u from 0 to 1.
#[inline(always)]
fn log1p(u: f32) -> f32 {
    let w = 1.0 + u;
    // What rounding took from w is put right to first order.
    if w == 1.0 { u } else { log(w) * (u / (w - 1.0)) }
}

/// tanh x: a polynomial of Cephes' tanhf near 0, else by e^2x.
#[inline(always)]
fn tanh(x: f32) -> f32 {
    let z = x * x;
    let mut p = -5.704_988_7e-3;
    p = p * z + 2.063_909e-2;
    p = p * z - 5.373_971_5e-2;
    p = p * z + 1.333_144_2e-1;
    p = p * z - 3.333_328e-1;
    let near = p * z * x + x;
    let far = 1.0 - 2.0 / (exp(2.0 * x.abs()) + 1.0);
    let far = if x < 0.0 { -far } else { far };
    if x.abs() < 0.625 { near } else { far }
}

#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// GELU, 0 at minus infinity.
#[inline(always)]
fn gelu(x: f32) -> f32 {
    let y = math::gelu(x);
    if x < -20.0 { -0.0 } else { y }
}

#[inline(always)]
fn gelu_tanh(x: f32) -> f32 {
    // 0.5 (1 + tanh u) = 1 / (1 + e^(-2u)). Beyond 10 the cube may overflow, and the result is x or 0.
    let u = 0.797_884_6 * (x + 0.044_715 * x * x * x);
    let y = x / (1.0 + exp(-2.0 * u));
    let y = if x > 10.0 { x } else { y };
    if x < -10.0 { -0.0 } else { y }
}

/// x / (1 + e^-x), 0 at minus infinity.
#[inline(always)]
fn silu(x: f32) -> f32 {
    let y = x / (1.0 + exp(-x));
    if x < -110.0 { -0.0 } else { y }
}

#[inline(always)]
fn expm1(x: f32) -> f32 {
    // For x below 0 alone. Near 0 the difference would cancel.
    let mut p = 1.388_888_9e-3;
    p = p * x + 8.333_333e-3;
    p = p * x + 4.166_666_8e-2;
    p = p * x + 1.666_666_7e-1;
    p = p * x + 0.5;
    let near = p * x * x + x;
    if x > -0.4 { near } else { exp(x) - 1.0 }
}

#[inline(always)]
fn softplus(x: f32) -> f32 {
    let l = log1p(exp(-x.abs()));
    if x > 0.0 { x + l } else { l }
}

#[inline(always)]
fn mish(x: f32) -> f32 {
    // tanh(ln(1 + e^x)) = n / (n + 2) with n = e^x (e^x + 2).
    let e = exp(if x > 20.0 { 20.0 } else { x });
    let n = e * (e + 2.0);
    let y = x * (n / (n + 2.0));
    if x < -110.0 { -0.0 } else { y }
}

#[inline(always)]
fn six(x: f32) -> f32 {
    let y = if x < 0.0 { 0.0 } else { x };
    if y > 6.0 { 6.0 } else { y }
}

macro_rules! each {
    ($x:ident, $y:ident, $out:ident, |$u:ident, $v:ident| $value:expr) => {
        for i in 0..BLOCK {
            let ($u, $v) = ($x.0[i], $y.0[i]);
            let _ = ($u, $v);
            $out.0[i] = $value;
        }
    };
}

by_level! {
    /// `out = function(x, y)` for a whole block.
    ///
    /// # Safety
    /// The level was checked.
    pub unsafe fn apply(function: Function, a: f32, b: f32, x: &Floats, y: &Floats, out: &mut Floats) {
        match function {
            Function::Identity => each!(x, y, out, |u, _v| u),
            Function::Relu => each!(x, y, out, |u, _v| if u < 0.0 { 0.0 } else { u }),
            Function::LeakyRelu => each!(x, y, out, |u, _v| if u < 0.0 { a * u } else { u }),
            Function::Sigmoid => each!(x, y, out, |u, _v| sigmoid(u)),
            Function::Tanh => each!(x, y, out, |u, _v| tanh(u)),
            Function::Gelu => each!(x, y, out, |u, _v| gelu(u)),
            Function::GeluTanh => each!(x, y, out, |u, _v| gelu_tanh(u)),
            Function::Silu => each!(x, y, out, |u, _v| silu(u)),
            Function::Elu => each!(x, y, out, |u, _v| if u < 0.0 { a * expm1(u) } else { u }),
            Function::Softplus => each!(x, y, out, |u, _v| softplus(u)),
            Function::HardSwish => each!(x, y, out, |u, _v| u * (six(u + 3.0) * (1.0 / 6.0))),
            Function::HardSigmoid => each!(x, y, out, |u, _v| six(u + 3.0) * (1.0 / 6.0)),
            Function::Mish => each!(x, y, out, |u, _v| mish(u)),
            Function::Relu6 => each!(x, y, out, |u, _v| six(u)),
            Function::Softsign => each!(x, y, out, |u, _v| u / (1.0 + u.abs())),
            Function::Selu => each!(x, y, out, |u, _v| {
                1.050_701 * if u < 0.0 { 1.673_263_2 * expm1(u) } else { u }
            }),
            Function::Exp => each!(x, y, out, |u, _v| exp(u)),
            Function::Log => each!(x, y, out, |u, _v| log(u)),
            Function::Sqrt => each!(x, y, out, |u, _v| u.sqrt()),
            Function::Rsqrt => each!(x, y, out, |u, _v| 1.0 / u.sqrt()),
            Function::Abs => each!(x, y, out, |u, _v| u.abs()),
            Function::Negate => each!(x, y, out, |u, _v| -u),
            Function::Reciprocal => each!(x, y, out, |u, _v| 1.0 / u),
            Function::Square => each!(x, y, out, |u, _v| u * u),
            Function::Scale => each!(x, y, out, |u, _v| a * u),
            Function::Shift => each!(x, y, out, |u, _v| u + a),
            Function::Clamp => each!(x, y, out, |u, _v| {
                let w = if u < a { a } else { u };
                if w > b { b } else { w }
            }),
            Function::Fill => each!(x, y, out, |u, _v| a),
            Function::Add => each!(x, y, out, |u, v| u + v),
            Function::Subtract => each!(x, y, out, |u, v| u - v),
            Function::Multiply => each!(x, y, out, |u, v| u * v),
            Function::Divide => each!(x, y, out, |u, v| u / v),
            Function::Maximum => each!(x, y, out, |u, v| if u > v || u.is_nan() { u } else { v }),
            Function::Minimum => each!(x, y, out, |u, v| if u < v || u.is_nan() { u } else { v }),
            Function::Axpy => each!(x, y, out, |u, v| a * u + v),
        }
    }
}

by_level! {
    /// `x = x * a + b`, `times` times over.
    ///
    /// # Safety
    /// The level was checked.
    pub unsafe fn iterate(x: &mut Floats, a: f32, b: f32, times: u64) {
        // A few vectors at a time stay in registers for all steps.
        for part in x.0.chunks_exact_mut(64) {
            let mut v = [0f32; 64];
            v.copy_from_slice(part);
            for _ in 0..times {
                for v in &mut v {
                    *v = *v * a + b;
                }
            }
            part.copy_from_slice(&v);
        }
    }
}

by_level! {
    /// `out = e^(x - m)` for a whole block.
    ///
    /// # Safety
    /// The level was checked.
    pub unsafe fn exp_of_difference(x: &Floats, m: f32, out: &mut Floats) {
        for i in 0..BLOCK {
            out.0[i] = exp(x.0[i] - m);
        }
    }
}

/// What a block is folded to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fold {
    Sum,
    /// Of the squares of what is left when `shift` is taken off.
    Squares,
    Max,
    Min,
    /// The largest of the absolute values, as bits, so that a NaN is the largest.
    Largest,
}

by_level! {
    /// Folds a whole block to `out`, in sixteen parts by index modulo 16.
    ///
    /// # Safety
    /// The level was checked.
    pub unsafe fn fold(how: Fold, x: &Floats, shift: f32, out: &mut [f32; 16]) {
        macro_rules! parts {
            ($first:expr, $step:expr) => {{
                let mut parts = [$first; 16];
                for x in x.0.chunks_exact(16) {
                    for l in 0..16 {
                        parts[l] = $step(parts[l], x[l]);
                    }
                }
                *out = parts;
            }};
        }
        match how {
            Fold::Sum => parts!(0.0f32, |p: f32, x: f32| p + x),
            Fold::Squares => parts!(0.0f32, |p: f32, x: f32| p + (x - shift) * (x - shift)),
            Fold::Max => parts!(f32::NEG_INFINITY, |p: f32, x: f32| if x > p || x.is_nan() { x } else { p }),
            Fold::Min => parts!(f32::INFINITY, |p: f32, x: f32| if x < p || x.is_nan() { x } else { p }),
            Fold::Largest => {
                parts!(0.0f32, |p: f32, x: f32| f32::from_bits(p.to_bits().max(x.to_bits() & 0x7fff_ffff)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logarithms_are_close_everywhere() {
        for i in 1..200_000u32 {
            let x = f32::from_bits(i * 10_000);
            if !x.is_finite() {
                break;
            }
            let want = f64::from(x).ln();
            assert!((f64::from(log(x)) - want).abs() < 2e-7 * want.abs().max(1.0), "{x} {} {want}", log(x));
            let u = i as f32 / 200_000.0;
            let want = f64::from(u).ln_1p();
            assert!((f64::from(log1p(u)) - want).abs() < 3e-7 * want, "{u} {} {want}", log1p(u));
        }
        assert!(log(-1.0).is_nan() && log(f32::NAN).is_nan());
        assert_eq!((log(0.0), log(f32::INFINITY)), (f32::NEG_INFINITY, f32::INFINITY));
    }

    #[test]
    fn others_are_close_everywhere() {
        for i in -40_000..40_000 {
            let x = i as f32 * 5e-4;
            let d = f64::from(x);
            let close = |got: f32, want: f64, name: &str| {
                assert!(
                    (f64::from(got) - want).abs() < 1e-6 * want.abs().max(1.0),
                    "{name} {x}: {got} {want}"
                );
            };
            close(tanh(x), d.tanh(), "tanh");
            close(softplus(x), d.exp().ln_1p(), "softplus");
            close(mish(x), d * d.exp().ln_1p().tanh(), "mish");
            close(silu(x), d / (1.0 + (-d).exp()), "silu");
            if x < 0.0 {
                close(expm1(x), d.exp_m1(), "expm1");
            }
        }
        for f in [silu, gelu, gelu_tanh, mish] {
            assert_eq!((f(f32::INFINITY), f(1e30)), (f32::INFINITY, 1e30));
            assert!(f(f32::NAN).is_nan() && f(-1e30) == 0.0);
        }
    }
}
