//! Element-wise I2_S on the CPU: the codes and values of [`crate::quant::lowbit`], bit for bit, without its divisions.
//!
//! Rounding a quotient to four codes is deciding on which side of three thresholds a value lies. The thresholds of a scale are
//! found once, with the reference's own division, as the last f32 on either side; then every value is three comparisons.

use super::crew::{Crew, share};
use super::isa::{Isa, by_level};
use crate::quant::lowbit::{NonFinite, check_scale, quantize_i2s as reference};
use crate::{Error, Result};

/// Elements that one grab hands to a thread.
const GRAIN: usize = 64 << 10;

/// Where codes change: the least value of code 1, the largest of code -1, the largest of code -2.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Thresholds {
    one: f32,
    minus_one: f32,
    minus_two: f32,
}

/// The reference's code of one value.
fn code(x: f32, scale: f32) -> i8 {
    let mut q = [0];
    // One element, and a scale that was checked.
    let _ = reference(&[x], scale, NonFinite::Map, &mut q);
    q[0]
}

impl Thresholds {
    /// Those of a scale above 0. Division is monotone, so each is next to half a scale, or one and a half.
    fn of(scale: f32) -> Thresholds {
        let mut one = 0.5 * scale;
        while code(one, scale) == 1 {
            one = one.next_down();
        }
        while code(one, scale) < 1 {
            one = one.next_up();
        }
        let last = |from: f32, most: i8| {
            let mut at = from;
            while code(at, scale) <= most {
                at = at.next_up();
            }
            while code(at, scale) > most {
                at = at.next_down();
            }
            at
        };
        Thresholds { one, minus_one: last(-0.5 * scale, -1), minus_two: last(-1.5 * scale, -2) }
    }
}

by_level! {
    /// # Safety
    /// Both have `n` elements.
    unsafe fn to_codes(x: *const f32, n: usize, at: Thresholds, q: *mut i8) {
        // SAFETY: as promised.
        let (x, q) = unsafe { (std::slice::from_raw_parts(x, n), std::slice::from_raw_parts_mut(q, n)) };
        for (x, q) in x.iter().zip(q) {
            // NaN is on no side of anything: 0.
            *q = (*x >= at.one) as i8 - (*x <= at.minus_one) as i8 - (*x <= at.minus_two) as i8;
        }
    }
}

by_level! {
    /// # Safety
    /// Both have `n` elements.
    unsafe fn to_values(q: *const i8, n: usize, scale: f32, x: *mut f32) {
        // SAFETY: as promised.
        let (x, q) = unsafe { (std::slice::from_raw_parts_mut(x, n), std::slice::from_raw_parts(q, n)) };
        for (x, q) in x.iter_mut().zip(q) {
            *x = f32::from(*q) * scale;
        }
    }
}

by_level! {
    /// Writes whether some of `n` numbers at `x` are not finite.
    ///
    /// # Safety
    /// `x` has `n` elements, `found` is one byte.
    unsafe fn has_non_finite(x: *const f32, n: usize, found: *mut bool) {
        // SAFETY: as promised.
        let (x, found) = unsafe { (std::slice::from_raw_parts(x, n), &mut *found) };
        let most = x.iter().fold(0u32, |m, x| m.max(x.to_bits() & 0x7FFF_FFFF));
        *found = most >= f32::INFINITY.to_bits();
    }
}

by_level! {
    /// Writes whether some of `n` codes at `q` are not -2 to 1.
    ///
    /// # Safety
    /// `q` has `n` elements, `found` is one byte.
    unsafe fn has_wrong_code(q: *const i8, n: usize, found: *mut bool) {
        // SAFETY: as promised.
        let (q, found) = unsafe { (std::slice::from_raw_parts(q, n), &mut *found) };
        let most = q.iter().fold(0u8, |m, q| m.max((*q as u8).wrapping_add(2)));
        *found = most > 3;
    }
}

/// Pieces of [`GRAIN`] elements of both, shared out over the crew.
fn pieces<A: Sync, B: Send>(crew: &dyn Crew, a: &[A], b: &mut [B], f: impl Fn(&[A], &mut [B]) + Sync) {
    struct Place<B>(*mut B);
    // SAFETY: each thread takes pieces of its own.
    unsafe impl<B: Send> Sync for Place<B> {}
    let (n, to) = (a.len(), Place(b.as_mut_ptr()));
    let to = &to;
    share(crew, n.div_ceil(GRAIN), 1, |first, last, _| {
        let (first, last) = (first * GRAIN, n.min(last * GRAIN));
        // SAFETY: pieces do not overlap, and both slices have `n` elements.
        let piece = unsafe { std::slice::from_raw_parts_mut(to.0.add(first), last - first) };
        f(&a[first..last], piece);
    });
}

fn same_length(name: &'static str, got: usize, want: usize) -> Result<()> {
    if got == want {
        return Ok(());
    }
    Err(Error::argument(name, format!("holds {got} elements, not {want}")))
}

/// [`crate::quant::lowbit::quantize_i2s`] by the threads of a crew: the same codes and errors. `NonFinite::Refuse` reads the values
/// twice, since nothing may be written before all were seen.
pub fn quantize_i2s(
    isa: Isa,
    crew: &dyn Crew,
    values: &[f32],
    scale: f32,
    non_finite: NonFinite,
    codes: &mut [i8],
) -> Result<()> {
    let isa = isa.checked()?;
    same_length("codes", codes.len(), values.len())?;
    check_scale(scale)?;
    if scale == 0.0 {
        return reference(values, scale, non_finite, codes);
    }
    if non_finite == NonFinite::Refuse {
        let mut found = false;
        for part in values.chunks(GRAIN) {
            // SAFETY: a slice and a byte.
            unsafe { has_non_finite(isa, part.as_ptr(), part.len(), &mut found) };
            if found {
                // Its error tells the place, and it writes nothing before.
                return reference(values, scale, non_finite, codes);
            }
        }
    }
    let at = Thresholds::of(scale);
    pieces(crew, values, codes, |x, q| {
        // SAFETY: slices of one length; the level was checked.
        unsafe { to_codes(isa, x.as_ptr(), x.len(), at, q.as_mut_ptr()) }
    });
    Ok(())
}

/// [`crate::quant::lowbit::dequantize_i2s`] by the threads of a crew: the same values and errors.
pub fn dequantize_i2s(isa: Isa, crew: &dyn Crew, codes: &[i8], scale: f32, values: &mut [f32]) -> Result<()> {
    let isa = isa.checked()?;
    same_length("values", values.len(), codes.len())?;
    check_scale(scale)?;
    for part in codes.chunks(GRAIN) {
        let mut found = false;
        // SAFETY: a slice and a byte.
        unsafe { has_wrong_code(isa, part.as_ptr(), part.len(), &mut found) };
        if found {
            // Its error tells the place, and it writes nothing before.
            return crate::quant::lowbit::dequantize_i2s(codes, scale, values);
        }
    }
    pieces(crew, codes, values, |q, x| {
        // SAFETY: slices of one length; the level was checked.
        unsafe { to_values(isa, q.as_ptr(), q.len(), scale, x.as_mut_ptr()) }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::cpu::testing::{Random, Threads};
    use crate::quant::lowbit;
    use proptest::prelude::*;

    fn levels() -> impl Iterator<Item = Isa> {
        Isa::ALL.into_iter().filter(|isa| *isa <= Isa::highest())
    }

    /// Values on and beside every threshold, and others.
    fn values(random: &mut Random, scale: f32, n: usize) -> Vec<f32> {
        let special = [0.5f32, -0.5, 1.5, -1.5, -2.0, 1.0, 0.0, -0.0, 0.25, 0.49999997, 0.50000006];
        (0..n)
            .map(|_| match random.below(3) {
                0 => {
                    let x = special[random.below(special.len())] * scale;
                    [x, x.next_up(), x.next_down()][random.below(3)]
                }
                1 => random.normal() * scale,
                _ => random.normal() * 1e3 * scale,
            })
            .collect()
    }

    proptest! {
        #[test]
        fn codes_and_values_are_the_reference_s(n in 0usize..1000, exponent in -95i32..100, fraction in 1f32..2.0, seed in 0u64..1000) {
            let scale = fraction * 2f32.powi(exponent);
            prop_assume!(check_scale(scale).is_ok());
            let x = values(&mut Random::new(seed), scale, n);
            let x: Vec<f32> = x.into_iter().map(|x| if x.is_finite() { x } else { 0.0 }).collect();
            let (mut want, mut back) = (vec![9i8; n], vec![9f32; n]);
            lowbit::quantize_i2s(&x, scale, NonFinite::Refuse, &mut want).unwrap();
            lowbit::dequantize_i2s(&want, scale, &mut back).unwrap();
            for isa in levels() {
                for how in [NonFinite::Refuse, NonFinite::Map] {
                    let (mut q, mut y) = (vec![7i8; n], vec![7f32; n]);
                    quantize_i2s(isa, &Threads(1), &x, scale, how, &mut q).unwrap();
                    prop_assert_eq!(&q, &want);
                    dequantize_i2s(isa, &Threads(1), &q, scale, &mut y).unwrap();
                    prop_assert!(y.iter().zip(&back).all(|(a, b)| a.to_bits() == b.to_bits()));
                }
            }
        }
    }

    #[test]
    fn several_threads_reach_every_element_and_errors_leave_all_as_it_was() {
        let mut random = Random::new(61);
        let n = 5 * GRAIN + 77;
        let mut x = values(&mut random, 0.3, n);
        let (mut want, mut got) = (vec![9i8; n], vec![7i8; n]);
        lowbit::quantize_i2s(&x, 0.3, NonFinite::Refuse, &mut want).unwrap();
        quantize_i2s(Isa::highest(), &Threads(3), &x, 0.3, NonFinite::Refuse, &mut got).unwrap();
        assert!(got == want);
        x[4 * GRAIN + 5] = f32::NAN;
        got.fill(7);
        let e = quantize_i2s(Isa::highest(), &Threads(3), &x, 0.3, NonFinite::Refuse, &mut got).unwrap_err();
        assert!(e.to_string().contains("element") && got.iter().all(|q| *q == 7), "{e}");
        quantize_i2s(Isa::highest(), &Threads(3), &x, 0.3, NonFinite::Map, &mut got).unwrap();
        assert_eq!(got[4 * GRAIN + 5], 0);
        got[3 * GRAIN] = 2;
        let mut y = vec![5f32; n];
        let e = dequantize_i2s(Isa::highest(), &Threads(3), &got, 0.3, &mut y).unwrap_err();
        assert!(e.to_string().contains("is 2") && y.iter().all(|y| *y == 5.0), "{e}");
        for scale in [f32::NAN, -1.0, 1e-31] {
            assert!(
                quantize_i2s(Isa::highest(), &Threads(1), &[0.0], scale, NonFinite::Map, &mut [0]).is_err()
            );
        }
    }
}
