//! Element-wise kernels from plain loops, compiled for each instruction level and run on any number of cores. They make
//! every manager useful from the start; faster ones are registered beside them.
//!
//! I2_S: `scale = max|x|` of the block, `q = round(clamp(x / scale, -2, 1))` with ties to even, all 0 where the scale is.
//! Ternary: `scale = max(f32(sum|x| / n), 1e-5)` with the sum in f64, `q = clamp(round(x * (1 / scale)), -1, 1)`. All
//! levels and thread counts give the same bits: sums are made of stretches of fixed length.

use super::candidate::{Candidate, Description, DeviceId};
use super::work::{
    OperationKind, QuantizationFormat, QuantizationOperation, TensorCharacteristics, Work, scale_count,
};
use crate::device::Device;
use crate::ops::cpu::isa::{Isa, by_level};
use crate::ops::cpu::{Crew, NodeCrew};
use crate::{Error, Result};
use std::sync::Arc;

/// Numbers whose magnitudes are added up in one go.
const STRETCH: usize = 4096;
/// Blocks longer than this are shared among the threads; shorter ones go whole to one.
const LONG: usize = 1 << 15;

by_level! {
    /// The largest magnitude's bits: order as numbers, and what is no finite number is at least `0x7f80_0000`.
    unsafe fn largest(values: &[f32], found: &mut u32) {
        let mut lanes = [0u32; 16];
        let (whole, rest) = values.as_chunks::<16>();
        for chunk in whole {
            for (lane, x) in lanes.iter_mut().zip(chunk) {
                *lane = (*lane).max(x.to_bits() & 0x7fff_ffff);
            }
        }
        for (lane, x) in lanes.iter_mut().zip(rest) {
            *lane = (*lane).max(x.to_bits() & 0x7fff_ffff);
        }
        *found = lanes.into_iter().fold(*found, u32::max);
    }
}

by_level! {
    unsafe fn magnitudes(values: &[f32], sum: &mut f64) {
        let mut lanes = [0f64; 8];
        let (whole, rest) = values.as_chunks::<8>();
        for chunk in whole {
            for (lane, x) in lanes.iter_mut().zip(chunk) {
                *lane += f64::from(x.abs());
            }
        }
        for (lane, x) in lanes.iter_mut().zip(rest) {
            *lane += f64::from(x.abs());
        }
        *sum = lanes.into_iter().sum();
    }
}

by_level! {
    unsafe fn codes_i2s(values: &[f32], scale: f32, codes: &mut [i8]) {
        for (code, x) in codes.iter_mut().zip(values) {
            *code = nearest((x / scale).clamp(-2.0, 1.0));
        }
    }
}

by_level! {
    unsafe fn codes_ternary(values: &[f32], inverse: f32, codes: &mut [i8]) {
        for (code, x) in codes.iter_mut().zip(values) {
            *code = nearest((x * inverse).clamp(-1.0, 1.0));
        }
    }
}

by_level! {
    unsafe fn scaled(codes: &[i8], scale: f32, values: &mut [f32]) {
        for (x, code) in values.iter_mut().zip(codes) {
            *x = f32::from(*code) * scale;
        }
    }
}

/// The nearest whole number, ties to even, of a small one: adding this much leaves no bits for a fraction.
#[inline(always)]
fn nearest(x: f32) -> i8 {
    const SHIFT: f32 = 12_582_912.0;
    (x + SHIFT).to_bits() as i8
}

/// Pointers that threads use at different places.
#[derive(Clone, Copy)]
struct Shared<T>(*mut T);
// SAFETY: each thread makes a slice of a range that no other has.
unsafe impl<T> Sync for Shared<T> {}

impl<T> Shared<T> {
    /// # Safety
    /// The range lies within the slice that this was made of, and no other thread has any of it.
    #[allow(clippy::mut_from_ref)]
    unsafe fn part(&self, from: usize, to: usize) -> &mut [T] {
        // SAFETY: the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.0.add(from), to - from) }
    }
}

/// Cuts `units` pieces among a crew: `f(first, last)` on each thread, in a fixed assignment.
pub(in crate::lowbit) fn cut(crew: Option<&dyn Crew>, units: usize, f: impl Fn(usize, usize) + Sync) {
    let Some(crew) = crew else { return f(0, units) };
    crew.run(&|worker, workers| {
        let (from, to) = (units * worker / workers, units * (worker + 1) / workers);
        if from < to {
            f(from, to);
        }
    });
}

fn sizes(values: usize, codes: usize, scales: usize, block: u32) -> Result<()> {
    if codes != values {
        return Err(Error::argument("codes", format!("holds {codes}, there are {values} numbers")));
    }
    let wanted = scale_count(values, block);
    if scales != wanted {
        return Err(Error::argument("scales", format!("holds {scales}, {values} numbers have {wanted}")));
    }
    Ok(())
}

/// The bits of the largest magnitude of each stretch.
///
/// Errors: a number that is not finite.
fn peaks(level: Isa, crew: Option<&dyn Crew>, values: &[f32]) -> Result<Vec<u32>> {
    let pieces = values.len().div_ceil(STRETCH);
    let mut peaks = vec![0u32; pieces];
    let peak = Shared(peaks.as_mut_ptr());
    let peak = &peak;
    cut(crew, pieces, |from, to| {
        // SAFETY: the level was checked; each thread has its own stretches.
        unsafe {
            let own = peak.part(from, to);
            for (part, found) in values[from * STRETCH..].chunks(STRETCH).zip(own) {
                largest(level, part, found);
            }
        }
    });
    if let Some(bad) = peaks.iter().position(|p| *p >= 0x7f80_0000) {
        let at = values[bad * STRETCH..].iter().position(|x| !x.is_finite()).unwrap_or(0) + bad * STRETCH;
        return Err(Error::argument("values", format!("number {at} is {}", values[at]))
            .advise("weights must be finite: find out where it came from"));
    }
    Ok(peaks)
}

/// The largest magnitude, 0 of none; `level` was checked.
///
/// Errors: a number that is not finite.
pub(super) fn largest_magnitude(level: Isa, crew: Option<&dyn Crew>, values: &[f32]) -> Result<f32> {
    Ok(f32::from_bits(peaks(level, crew, values)?.into_iter().fold(0, u32::max)))
}

/// Quantizes with code of `level` on the threads of `crew` (none: the caller's alone). `block` 0 is one block.
///
/// Errors: sizes that do not fit together; a number that is not finite. Nothing is written then.
pub fn quantize(
    level: Isa,
    crew: Option<&dyn Crew>,
    format: QuantizationFormat,
    values: &[f32],
    block: u32,
    scales: &mut [f32],
    codes: &mut [i8],
) -> Result<()> {
    let level = level.checked()?;
    sizes(values.len(), codes.len(), scales.len(), block)?;
    if values.is_empty() {
        return Ok(());
    }
    let block = if block == 0 { values.len() } else { block as usize };
    let peaks = peaks(level, crew, values)?;
    let scale_of = |values: &[f32]| match format {
        QuantizationFormat::I2S => {
            let mut found = 0;
            // SAFETY: the level was checked.
            unsafe { largest(level, values, &mut found) };
            f32::from_bits(found)
        }
        QuantizationFormat::Ternary => {
            let sum: f64 = values
                .chunks(STRETCH)
                .map(|part| {
                    let mut sum = 0.0;
                    // SAFETY: the level was checked.
                    unsafe { magnitudes(level, part, &mut sum) };
                    sum
                })
                .sum();
            ((sum / values.len() as f64) as f32).max(1e-5)
        }
    };
    let encode = |values: &[f32], scale: f32, codes: &mut [i8]| match format {
        _ if scale == 0.0 => codes.fill(0),
        // SAFETY: the level was checked.
        QuantizationFormat::I2S => unsafe { codes_i2s(level, values, scale, codes) },
        // SAFETY: as above.
        QuantizationFormat::Ternary => unsafe { codes_ternary(level, values, 1.0 / scale, codes) },
    };
    let (scale, code) = (Shared(scales.as_mut_ptr()), Shared(codes.as_mut_ptr()));
    let (scale, code) = (&scale, &code);
    if block <= LONG {
        cut(crew, values.len().div_ceil(block), |from, to| {
            for b in from..to {
                let (begin, end) = (b * block, ((b + 1) * block).min(values.len()));
                // SAFETY: each thread has its own blocks.
                let (scale, codes) = unsafe { (scale.part(b, b + 1), code.part(begin, end)) };
                scale[0] = scale_of(&values[begin..end]);
                encode(&values[begin..end], scale[0], codes);
            }
        });
        return Ok(());
    }
    for (b, part) in values.chunks(block).enumerate() {
        let of_block = match (format, block == values.len()) {
            // The stretches are the block's.
            (QuantizationFormat::I2S, true) => f32::from_bits(peaks.iter().copied().fold(0, u32::max)),
            _ => scale_of(part),
        };
        // SAFETY: nobody else is at work.
        unsafe { scale.part(b, b + 1)[0] = of_block };
        cut(crew, part.len().div_ceil(STRETCH), |from, to| {
            let (from, to) = (from * STRETCH, (to * STRETCH).min(part.len()));
            // SAFETY: each thread has its own stretches.
            encode(&part[from..to], of_block, unsafe { code.part(b * block + from, b * block + to) });
        });
    }
    Ok(())
}

/// The way back: `codes * scale` of each block.
///
/// Errors: sizes that do not fit together.
pub fn dequantize(
    level: Isa,
    crew: Option<&dyn Crew>,
    codes: &[i8],
    scales: &[f32],
    block: u32,
    values: &mut [f32],
) -> Result<()> {
    let level = level.checked()?;
    sizes(values.len(), codes.len(), scales.len(), block)?;
    let block = if block == 0 { codes.len().max(1) } else { block as usize };
    let out = Shared(values.as_mut_ptr());
    let out = &out;
    // Pieces end with blocks, or lie within one.
    let piece = if block >= STRETCH { STRETCH } else { STRETCH / block * block };
    cut(crew, codes.len().div_ceil(piece), |from, to| {
        let (mut at, end) = (from * piece, (to * piece).min(codes.len()));
        while at < end {
            let next = ((at / block + 1) * block).min(end);
            // SAFETY: the level was checked, each thread has its own pieces.
            unsafe { scaled(level, &codes[at..next], scales[at / block], out.part(at, next)) };
            at = next;
        }
    });
    Ok(())
}

/// 1, each power of two, and all units of a device.
pub(super) fn thread_counts(device: &Arc<dyn Device>) -> Vec<u32> {
    let most = device.units().len() as u32;
    let mut counts: Vec<u32> = (0..).map(|n| 1 << n).take_while(|n| *n < most).collect();
    counts.push(most);
    counts.dedup();
    counts
}

/// These loops at one level on so many cores.
pub struct Plain {
    name: String,
    level: Isa,
    threads: u32,
    crew: Option<NodeCrew>,
}

impl Plain {
    /// On the first `threads` units of the CPU device (1: the caller's thread).
    ///
    /// Errors: the processor lacks the level or has fewer units.
    pub fn new(device: &Arc<dyn Device>, level: Isa, threads: u32) -> Result<Plain> {
        level.checked()?;
        let units: Vec<u32> = (0..threads).collect();
        let crew = match threads {
            0 => return Err(Error::argument("threads", "must not be 0")),
            1 => None,
            _ => Some(NodeCrew::new(device.node_create(&units)?)?),
        };
        Ok(Plain { name: format!("plain/{}/{threads}", level.name()), level, threads, crew })
    }

    /// Each level of `levels` at 1 thread, at each power of two, and on all units of the CPU device.
    pub fn all(device: &Arc<dyn Device>, levels: &[Isa]) -> Result<Vec<Plain>> {
        let counts = thread_counts(device);
        let each = levels.iter().flat_map(|level| counts.iter().map(|threads| (*level, *threads)));
        each.map(|(level, threads)| Plain::new(device, level, threads)).collect()
    }
}

impl Candidate for Plain {
    fn name(&self) -> &str {
        &self.name
    }

    fn device(&self) -> DeviceId {
        DeviceId::CPU
    }

    fn describe(&self) -> Description {
        let text = format!("plain loops compiled for {} on {} threads", self.level.name(), self.threads);
        Description { level: self.level.name().into(), threads: self.threads, version: 1, text }
    }

    fn supports(&self, operation: QuantizationOperation, _: &TensorCharacteristics) -> bool {
        matches!(operation.kind, OperationKind::Quantize | OperationKind::Dequantize)
    }

    fn is_reference(&self) -> bool {
        self.level == Isa::Scalar && self.threads == 1
    }

    fn memory(&self, operation: QuantizationOperation, shape: &TensorCharacteristics) -> u64 {
        match operation.kind {
            OperationKind::Quantize => shape.count().div_ceil(STRETCH as u64) * 4,
            _ => 0,
        }
    }

    fn run(&self, work: &mut Work<'_>) -> Result<()> {
        let crew = self.crew.as_ref().map(|crew| crew as &dyn Crew);
        match work {
            Work::Quantize { format, values, block, scales, codes } => {
                quantize(self.level, crew, *format, values, *block, scales, codes)
            }
            Work::Dequantize { codes, scales, block, values } => {
                dequantize(self.level, crew, codes, scales, *block, values)
            }
            Work::Multiply { .. } => Err(Error::unsupported(format!("{} multiplies nothing", self.name))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::candidate::sample;
    use super::*;

    /// The formulas, word by word.
    fn oracle(format: QuantizationFormat, values: &[f32], block: u32) -> (Vec<f32>, Vec<i8>) {
        let (mut scales, mut codes) = (vec![], vec![]);
        let block = if block == 0 { values.len().max(1) } else { block as usize };
        for part in values.chunks(block) {
            let scale = match format {
                QuantizationFormat::I2S => part.iter().fold(0f32, |m, x| m.max(x.abs())),
                QuantizationFormat::Ternary => {
                    let sum: f64 = part.iter().map(|x| f64::from(x.abs())).sum();
                    ((sum / part.len() as f64) as f32).max(1e-5)
                }
            };
            scales.push(scale);
            codes.extend(part.iter().map(|x| match format {
                _ if scale == 0.0 => 0,
                QuantizationFormat::I2S => (x / scale).clamp(-2.0, 1.0).round_ties_even() as i8,
                QuantizationFormat::Ternary => (x * (1.0 / scale)).round_ties_even().clamp(-1.0, 1.0) as i8,
            }));
        }
        (scales, codes)
    }

    #[test]
    fn all_levels_and_threads_give_the_formulas_bits() {
        let device = crate::device::open(crate::device::DeviceChoice::Cpu).unwrap();
        let node = device.node_create(&(0..device.units().len() as u32).collect::<Vec<_>>()).unwrap();
        let team = NodeCrew::new(node).unwrap();
        for count in [0usize, 1, 31, 33, 4095, 4097, 70_001] {
            // Half of the largest, exactly: a tie.
            let mut values = sample(7, count);
            values.iter_mut().step_by(3).for_each(|x| *x = 0.5);
            values.iter_mut().skip(32).take(32).for_each(|x| *x = 0.0);
            for block in [0, 1, 32, 100, 5000, 40_000] {
                for format in [QuantizationFormat::I2S, QuantizationFormat::Ternary] {
                    let want = oracle(format, &values, block);
                    for level in Isa::ALL.into_iter().filter(|l| l.checked().is_ok()) {
                        for crew in [None, Some(&team as &dyn Crew)] {
                            let mut scales = vec![9.0; scale_count(count, block)];
                            let mut codes = vec![9; count];
                            quantize(level, crew, format, &values, block, &mut scales, &mut codes).unwrap();
                            let what = format!("{count} by {block}, {level:?}, {format:?}");
                            assert_eq!(scales, want.0, "{what}");
                            assert!(codes == want.1, "{what}");
                            let mut back = vec![9.0; count];
                            dequantize(level, crew, &codes, &scales, block, &mut back).unwrap();
                            let b = if block == 0 { count.max(1) } else { block as usize };
                            let right = |i: usize| f32::from(codes[i]) * scales[i / b];
                            assert!((0..count).all(|i| back[i] == right(i)), "{what}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_wrong_is_refused_before_anything_is_written() {
        let (mut scales, mut codes) = ([7.0; 2], [7i8; 64]);
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut values = sample(3, 64);
            values[40] = bad;
            let e =
                quantize(Isa::Scalar, None, QuantizationFormat::I2S, &values, 32, &mut scales, &mut codes);
            assert!(e.unwrap_err().message().contains("number 40"));
            assert!(scales == [7.0; 2] && codes == [7; 64]);
        }
        let values = sample(3, 64);
        let e = quantize(Isa::Scalar, None, QuantizationFormat::I2S, &values, 16, &mut scales, &mut codes);
        assert!(e.unwrap_err().message().contains("scales"));
        assert!(dequantize(Isa::Scalar, None, &codes[1..], &scales, 32, &mut [0.0; 64]).is_err());
    }
}
