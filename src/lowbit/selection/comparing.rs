//! I2_S with one scale by comparisons: [`crate::ops::cpu::quantize`] as a kernel that can be chosen.

use super::candidate::{Candidate, Description, DeviceId};
use super::plain::{self, largest_magnitude, thread_counts};
use super::work::{OperationKind, QuantizationFormat, QuantizationOperation, TensorCharacteristics, Work};
use crate::device::Device;
use crate::ops::cpu::isa::Isa;
use crate::ops::cpu::{Crew, NodeCrew, quantize};
use crate::quant::lowbit::{NonFinite, check_scale};
use crate::{Error, Result};
use std::sync::Arc;

/// The caller's thread.
struct Alone;

impl Crew for Alone {
    fn workers(&self) -> usize {
        1
    }

    fn run(&self, f: &(dyn Fn(usize, usize) + Sync)) {
        f(0, 1);
    }
}

/// It at one level on so many cores.
pub struct Comparing {
    name: String,
    level: Isa,
    threads: u32,
    crew: Box<dyn Crew>,
}

impl Comparing {
    /// On the first `threads` units of the CPU device (1: the caller's thread).
    ///
    /// Errors: the processor lacks the level or has fewer units.
    pub fn new(device: &Arc<dyn Device>, level: Isa, threads: u32) -> Result<Comparing> {
        level.checked()?;
        let units: Vec<u32> = (0..threads).collect();
        let crew: Box<dyn Crew> = match threads {
            0 => return Err(Error::argument("threads", "must not be 0")),
            1 => Box::new(Alone),
            _ => Box::new(NodeCrew::new(device.node_create(&units)?)?),
        };
        Ok(Comparing { name: format!("comparing/{}/{threads}", level.name()), level, threads, crew })
    }

    /// Each level of `levels` at 1 thread, at each power of two, and on all units of the CPU device.
    pub fn all(device: &Arc<dyn Device>, levels: &[Isa]) -> Result<Vec<Comparing>> {
        let counts = thread_counts(device);
        let each = levels.iter().flat_map(|level| counts.iter().map(|threads| (*level, *threads)));
        each.map(|(level, threads)| Comparing::new(device, level, threads)).collect()
    }
}

impl Candidate for Comparing {
    fn name(&self) -> &str {
        &self.name
    }

    fn device(&self) -> DeviceId {
        DeviceId::CPU
    }

    fn describe(&self) -> Description {
        let text = format!("three comparisons a number, {}, {} threads", self.level.name(), self.threads);
        Description { level: self.level.name().into(), threads: self.threads, version: 1, text }
    }

    fn supports(&self, operation: QuantizationOperation, shape: &TensorCharacteristics) -> bool {
        operation == QuantizationOperation::of(OperationKind::Quantize, QuantizationFormat::I2S)
            && (shape.block == 0 || u64::from(shape.block) >= shape.count())
    }

    fn run(&self, work: &mut Work<'_>) -> Result<()> {
        let Work::Quantize { format: QuantizationFormat::I2S, values, block, scales, codes } = work else {
            return Err(Error::unsupported(format!("{} quantizes to I2_S alone", self.name)));
        };
        if *block != 0 && (*block as usize) < values.len() {
            return Err(Error::unsupported(format!("{} has one scale for all numbers", self.name)));
        }
        let crew = (self.threads > 1).then_some(&*self.crew);
        // It says what is wrong with sizes, and has scales of any size.
        let one =
            |scale: &f32| codes.len() == values.len() && !values.is_empty() && check_scale(*scale).is_ok();
        let scale = largest_magnitude(self.level, crew, values)?;
        if scales.len() != 1 || !one(&scale) {
            return plain::quantize(self.level, crew, QuantizationFormat::I2S, values, 0, scales, codes);
        }
        // All are finite: the peak is.
        quantize::quantize_i2s(self.level, &*self.crew, values, scale, NonFinite::Map, codes)?;
        scales[0] = scale;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::candidate::sample;
    use super::*;
    use crate::device::{DeviceChoice, open};

    #[test]
    fn it_gives_the_bits_of_the_plain_loops_and_their_errors() {
        let device = open(DeviceChoice::Cpu).unwrap();
        for kernel in Comparing::all(&device, &[Isa::Scalar, Isa::highest()]).unwrap() {
            for (count, factor) in [(0usize, 1.0f32), (1, 1.0), (1000, 1e-35), (1000, 0.0), (200_001, 3.0)] {
                let values: Vec<f32> = sample(4, count).iter().map(|x| x * factor).collect();
                let size = usize::from(count > 0);
                let (mut scales, mut codes) = (vec![9.0; size], vec![9; count]);
                let (mut want_scales, mut want) = (vec![9.0; size], vec![9; count]);
                let format = QuantizationFormat::I2S;
                let mut work = Work::Quantize {
                    format,
                    values: &values,
                    block: 0,
                    scales: &mut scales,
                    codes: &mut codes,
                };
                kernel.run(&mut work).unwrap();
                plain::quantize(Isa::Scalar, None, format, &values, 0, &mut want_scales, &mut want).unwrap();
                assert!(scales == want_scales && codes == want, "{} {count} {factor}", kernel.name());
            }
            let (mut scales, mut codes) = ([9.0], [9; 4]);
            for values in [&[1.0, f32::NAN, 0.0, 0.0][..], &[1.0; 5]] {
                let format = QuantizationFormat::I2S;
                let mut work =
                    Work::Quantize { format, values, block: 0, scales: &mut scales, codes: &mut codes };
                assert_eq!(kernel.run(&mut work).unwrap_err().status(), crate::Status::InvalidArgument);
                assert_eq!((scales, codes), ([9.0], [9; 4]));
            }
        }
        assert!(Comparing::new(&device, Isa::Scalar, 0).is_err());
        assert!(Comparing::new(&device, Isa::Scalar, 1 << 20).is_err());
    }
}
