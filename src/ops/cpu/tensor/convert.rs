//! Blocks of elements to f32 and back.

use crate::ops::cpu::isa::{Isa, by_level};
use crate::ops::tensor::Element;
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

/// Elements that are turned to f32 at once.
pub const BLOCK: usize = 256;

/// A block of f32, of its own memory, so that loops over several need no check whether they overlap.
#[repr(align(64))]
#[derive(Clone)]
pub struct Floats(pub [f32; BLOCK]);

impl Floats {
    pub const ZERO: Floats = Floats([0.0; BLOCK]);
}

by_level! {
    unsafe fn bf16_to_f32(x: &[u16], out: &mut [f32]) {
        for (o, x) in out.iter_mut().zip(x) {
            *o = f32::from_bits(u32::from(*x) << 16);
        }
    }
}

by_level! {
    unsafe fn f32_to_bf16(x: &[f32], out: &mut [u16]) {
        for (o, x) in out.iter_mut().zip(x) {
            let bits = x.to_bits();
            let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
            // Rounding must not make an infinity of a NaN.
            *o = if bits & 0x7fff_ffff > 0x7f80_0000 { (bits >> 16) | 0x40 } else { rounded } as u16;
        }
    }
}

by_level! {
    unsafe fn bytes_to_f32(x: &[i8], out: &mut [f32]) {
        for (o, x) in out.iter_mut().zip(x) {
            *o = f32::from(*x);
        }
    }
}

/// Reads `out.len()` elements as f32.
///
/// # Safety
/// `from` holds as many elements, of type f32, f16, bf16 or int8.
pub unsafe fn load(isa: Isa, element: Element, from: *const u8, out: &mut [f32]) {
    let n = out.len();
    // SAFETY: the caller's promise; the level was checked when it was chosen.
    unsafe {
        match element {
            Element::F32 => out.copy_from_slice(std::slice::from_raw_parts(from.cast(), n)),
            Element::F16 => std::slice::from_raw_parts(from.cast::<f16>(), n).convert_to_f32_slice(out),
            Element::BF16 => bf16_to_f32(isa, std::slice::from_raw_parts(from.cast(), n), out),
            _ => bytes_to_f32(isa, std::slice::from_raw_parts(from.cast(), n), out),
        }
    }
}

/// Writes f32 as elements, rounded to nearest even; to int8 for whole numbers of its range alone.
///
/// # Safety
/// `to` has room for as many elements, of type f32, f16, bf16 or int8.
pub unsafe fn store(isa: Isa, element: Element, x: &[f32], to: *mut u8) {
    let n = x.len();
    // SAFETY: the caller's promise; the level was checked when it was chosen.
    unsafe {
        match element {
            Element::F32 => std::slice::from_raw_parts_mut(to.cast(), n).copy_from_slice(x),
            Element::F16 => std::slice::from_raw_parts_mut(to.cast::<f16>(), n).convert_from_f32_slice(x),
            Element::BF16 => f32_to_bf16(isa, x, std::slice::from_raw_parts_mut(to.cast(), n)),
            _ => {
                let to = std::slice::from_raw_parts_mut(to.cast::<i8>(), n);
                to.iter_mut().zip(x).for_each(|(to, x)| *to = *x as i8);
            }
        }
    }
}

/// Reads `out.len()` elements of type f32 or bf16 as bf16.
///
/// # Safety
/// As for [`load`].
pub unsafe fn load_bf16(isa: Isa, element: Element, from: *const u8, out: &mut [u16]) {
    let n = out.len();
    // SAFETY: as for `load`.
    unsafe {
        match element {
            Element::F32 => f32_to_bf16(isa, std::slice::from_raw_parts(from.cast(), n), out),
            _ => out.copy_from_slice(std::slice::from_raw_parts(from.cast(), n)),
        }
    }
}

/// f64 as f32 whose last bit says whether anything was lost ("round to odd"), so that rounding it further is right.
fn odd(x: f64) -> f32 {
    let near = x as f32;
    if f64::from(near) == x || x.is_nan() {
        return near;
    }
    let bits = near.to_bits();
    // Towards zero, then odd.
    let down = if f64::from(near).abs() > x.abs() { bits - 1 } else { bits };
    f32::from_bits(down | 1)
}

/// One element as f64, which holds every value of every type.
///
/// # Safety
/// `from` holds an element of this type.
pub unsafe fn load_one(element: Element, from: *const u8) -> f64 {
    // SAFETY: the caller's promise.
    unsafe {
        match element {
            Element::F32 => f64::from(*from.cast::<f32>()),
            Element::F64 => *from.cast::<f64>(),
            Element::F16 => (*from.cast::<f16>()).to_f64(),
            Element::BF16 => (*from.cast::<bf16>()).to_f64(),
            Element::I8 => f64::from(*from.cast::<i8>()),
            Element::I32 => f64::from(*from.cast::<i32>()),
        }
    }
}

/// Writes one element, rounded once.
///
/// # Safety
/// `to` has room for an element of this type.
pub unsafe fn store_one(element: Element, x: f64, to: *mut u8) {
    // SAFETY: the caller's promise.
    unsafe {
        match element {
            Element::F32 => *to.cast() = x as f32,
            Element::F64 => *to.cast() = x,
            Element::F16 => *to.cast() = f16::from_f32(odd(x)),
            Element::BF16 => *to.cast() = bf16::from_f32(odd(x)),
            Element::I8 => *to.cast() = x.round_ties_even() as i8,
            Element::I32 => *to.cast() = x.round_ties_even() as i32,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f64_is_rounded_once() {
        // Just above the middle of two f16: by way of f32 it would be the middle, and go to the even one.
        let x = 1.0 + 2f64.powi(-11) + 2f64.powi(-40);
        assert_eq!(f16::from_f32(odd(x)), f16::from_bits(0x3c01));
        assert_eq!(f16::from_f32(odd(1.0 + 2f64.powi(-11))), f16::from_bits(0x3c00));
        assert_eq!(odd(1e300), f32::MAX);
        assert_eq!(bf16::from_f32(odd(1e300)), bf16::INFINITY);
        assert_eq!(odd(-0.0).to_bits(), (-0.0f32).to_bits());
        assert!(odd(f64::NAN).is_nan() && odd(f64::INFINITY) == f32::INFINITY);
    }

    #[test]
    fn all_levels_convert_alike() {
        let x: Vec<f32> =
            (0..1000).map(|i| (i as f32 - 500.0) * 1.2345e-3).chain([f32::NAN, f32::INFINITY]).collect();
        for isa in Isa::ALL.into_iter().filter(|&isa| isa <= Isa::highest()) {
            for element in [Element::F32, Element::F16, Element::BF16] {
                let mut raw = vec![0u8; x.len() * 4];
                let mut back = vec![0f32; x.len()];
                // SAFETY: room for all elements.
                unsafe {
                    store(isa, element, &x, raw.as_mut_ptr());
                    load(isa, element, raw.as_ptr(), &mut back);
                }
                for (x, b) in x.iter().zip(&back) {
                    let want = match element {
                        Element::F16 => f16::from_f32(*x).to_f32(),
                        Element::BF16 => bf16::from_f32(*x).to_f32(),
                        _ => *x,
                    };
                    assert!(
                        *b == want || (b.is_nan() && want.is_nan()),
                        "{isa:?} {element:?} {x} {b} {want}"
                    );
                }
            }
        }
    }
}
