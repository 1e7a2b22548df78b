//! Checks of numbers that a kernel gave. All are off at first: they read the whole output once more.

use crate::{Error, Status};

/// Which checks are made.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct NumericalChecks {
    /// Whether a NaN is a failure.
    pub nan: bool,
    /// The largest magnitude that is no failure; infinities are one.
    pub overflow: Option<f32>,
    /// Comparison of a sample with the plain formula.
    pub drift: Option<DriftCheck>,
}

/// How far numbers may be from the plain formula.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DriftCheck {
    /// The largest difference, relative to the largest magnitude of the sample's references.
    pub tolerance: f64,
    /// Numbers that are compared, spread over the output.
    pub samples: usize,
}

impl NumericalChecks {
    /// All on: no NaN, nothing beyond the largest f32, 256 samples within `tolerance`.
    pub fn all(tolerance: f64) -> NumericalChecks {
        let drift = Some(DriftCheck { tolerance, samples: 256 });
        NumericalChecks { nan: true, overflow: Some(f32::MAX), drift }
    }

    /// Whether any is on.
    pub fn is_on(&self) -> bool {
        self.nan || self.overflow.is_some() || self.drift.is_some()
    }

    /// Looks at an output. `reference` tells what should stand at a place, where that is known.
    ///
    /// Errors: [`Status::Internal`] with the first number that is wrong.
    pub fn check(&self, output: &[f32], reference: impl Fn(usize) -> Option<f32>) -> Result<(), Error> {
        let wrong = |text: String| Err(Error::new(Status::Internal, text));
        if self.nan
            && let Some(at) = output.iter().position(|x| x.is_nan())
        {
            return wrong(format!("number {at} of the output is no number"));
        }
        if let Some(most) = self.overflow
            && let Some(at) = output.iter().position(|x| x.abs() > most)
        {
            return wrong(format!("number {at} of the output is {:e}, beyond {most:e}", output[at]));
        }
        let Some(drift) = self.drift.filter(|d| d.samples > 0 && !output.is_empty()) else { return Ok(()) };
        let step = output.len().div_ceil(drift.samples).max(1);
        let places = || (0..output.len()).step_by(step).filter_map(|at| Some((at, reference(at)?)));
        let peak = places().fold(0f64, |m, (_, r)| if r.is_finite() { m.max(f64::from(r.abs())) } else { m });
        for (at, want) in places() {
            let got = output[at];
            if got.to_bits() == want.to_bits() || got.is_nan() && want.is_nan() {
                continue;
            }
            let gap = (f64::from(got) - f64::from(want)).abs();
            // A NaN on one side alone is no difference that can be compared.
            if gap.is_nan() || gap > drift.tolerance * peak {
                return wrong(format!("number {at} of the output is {got:e}, by the plain formula {want:e}"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_check_sees_its_fault_and_only_when_it_is_on() {
        let good = [1.0f32, -2.0, 0.5, 0.0];
        let right = |at: usize| Some(good[at]);
        let mut bad = good;
        bad[2] = f32::NAN;
        let off = NumericalChecks::default();
        assert!(!off.is_on() && off.check(&bad, right).is_ok());
        let nan = NumericalChecks { nan: true, ..off };
        assert!(nan.check(&good, right).is_ok());
        assert!(nan.check(&bad, right).unwrap_err().message().contains("number 2"));
        let overflow = NumericalChecks { overflow: Some(100.0), ..off };
        assert!(overflow.check(&bad, right).is_ok());
        bad[2] = f32::NEG_INFINITY;
        assert!(nan.check(&bad, right).is_ok() && overflow.check(&bad, right).is_err());
        bad[2] = 101.0;
        assert!(overflow.check(&bad, right).is_err());
        let drift = NumericalChecks { drift: Some(DriftCheck { tolerance: 1e-3, samples: 4 }), ..off };
        bad[2] = 0.501;
        assert!(drift.check(&bad, right).is_ok());
        bad[2] = 0.503;
        assert!(drift.check(&bad, right).is_err() && drift.check(&bad, |_| None).is_ok());
        bad[2] = f32::NAN;
        assert!(drift.check(&bad, right).is_err());
        assert!(NumericalChecks::all(1e-6).check(&good, right).is_ok());
        assert!(NumericalChecks::all(1e-6).check(&[], right).is_ok());
    }
}
