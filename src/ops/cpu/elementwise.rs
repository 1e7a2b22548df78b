//! Norms and element-wise functions.

use super::isa::by_level;
use super::math::{activate, sum};

by_level! {
    /// One row of [`crate::ops::Ops::rms_norm`].
    ///
    /// # Safety
    /// All pointers hold `dim` floats; `out` may be `x`.
    pub unsafe fn rms_norm(x: *const f32, weight: *const f32, out: *mut f32, dim: usize, eps: f32) {
        // SAFETY: indices stay below `dim`.
        unsafe {
            let squares = sum(dim, |i| { let x = *x.add(i); x * x });
            let scale = 1.0 / (squares / dim as f32 + eps).sqrt();
            for i in 0..dim {
                *out.add(i) = *x.add(i) * scale * *weight.add(i);
            }
        }
    }
}

by_level! {
    /// One row of [`crate::ops::Ops::layer_norm`].
    ///
    /// # Safety
    /// All pointers hold `dim` floats; `out` may be `x`.
    pub unsafe fn layer_norm(
        x: *const f32,
        weight: *const f32,
        bias: *const f32,
        out: *mut f32,
        dim: usize,
        eps: f32,
    ) {
        // SAFETY: indices stay below `dim`.
        unsafe {
            let mean = sum(dim, |i| *x.add(i)) / dim as f32;
            let squares = sum(dim, |i| { let d = *x.add(i) - mean; d * d });
            let scale = 1.0 / (squares / dim as f32 + eps).sqrt();
            for i in 0..dim {
                *out.add(i) = (*x.add(i) - mean) * scale * *weight.add(i) + *bias.add(i);
            }
        }
    }
}

by_level! {
    /// `x += y`.
    ///
    /// # Safety
    /// Both hold `count` floats.
    pub unsafe fn add(x: *mut f32, y: *const f32, count: usize) {
        for i in 0..count {
            // SAFETY: below `count`.
            unsafe { *x.add(i) += *y.add(i) };
        }
    }
}

macro_rules! activations {
    ($activate:ident, $gated:ident, $which:expr) => {
        by_level! {
            /// `x = act(x)`.
            ///
            /// # Safety
            /// `x` holds `count` floats.
            pub unsafe fn $activate(x: *mut f32, count: usize) {
                for i in 0..count {
                    // SAFETY: below `count`.
                    unsafe { *x.add(i) = activate::<{ $which as u8 }>(*x.add(i)) };
                }
            }
        }

        by_level! {
            /// `gate = act(gate) * up`.
            ///
            /// # Safety
            /// Both hold `count` floats.
            pub unsafe fn $gated(gate: *mut f32, up: *const f32, count: usize) {
                for i in 0..count {
                    // SAFETY: below `count`.
                    unsafe { *gate.add(i) = activate::<{ $which as u8 }>(*gate.add(i)) * *up.add(i) };
                }
            }
        }
    };
}

activations!(silu, gated_silu, crate::ops::Activation::Silu);
activations!(gelu, gated_gelu, crate::ops::Activation::Gelu);
activations!(gelu_tanh, gated_gelu_tanh, crate::ops::Activation::GeluTanh);
activations!(squared_relu, gated_squared_relu, crate::ops::Activation::SquaredRelu);
