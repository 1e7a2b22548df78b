//! Frequencies of rotary embeddings, with the scalings that lengthen a model's context.
//!
//! Frequency i of a head of d elements is `base^(-2i/d)` (arXiv:2104.09864). Linear scaling divides all of them by a
//! factor (arXiv:2306.15595). Llama 3 divides the slow ones, keeps the fast ones and blends between. YaRN does the
//! same with bounds counted in turns over the original context, and scales the rotated values (arXiv:2309.00071).

use crate::{Error, Result};
use std::f64::consts::TAU;

/// What a file says about lengthening the context.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Scaling {
    None,
    Linear { factor: f64 },
    Llama3 { factor: f64, low: f64, high: f64, original: f64 },
    Yarn { factor: f64, original: f64, beta_fast: f64, beta_slow: f64, truncate: bool, magnitude: f64 },
}

/// YaRN's factor on the rotated values for a context lengthened `factor` times.
pub(super) fn yarn_magnitude(factor: f64, multiplier: f64) -> f64 {
    if factor <= 1.0 { 1.0 } else { 0.1 * multiplier * factor.ln() + 1.0 }
}

/// The frequencies and the magnitude. `head_dim` is even.
pub(super) fn frequencies(head_dim: u32, base: f64, scaling: &Scaling) -> Result<(Vec<f32>, f32)> {
    positive("the rotary base", base)?;
    let dim = f64::from(head_dim);
    let plain = (0..head_dim / 2).map(|i| base.powf(-2.0 * f64::from(i) / dim));
    let mut magnitude = 1.0;
    let scaled: Vec<f64> = match *scaling {
        Scaling::None => plain.collect(),
        Scaling::Linear { factor } => {
            positive("the rotary scaling factor", factor)?;
            plain.map(|f| f / factor).collect()
        }
        Scaling::Llama3 { factor, low, high, original } => {
            positive("the rotary scaling factor", factor)?;
            positive("low_freq_factor", low)?;
            positive("high_freq_factor", high)?;
            positive("original_max_position_embeddings", original)?;
            plain
                .map(|f| {
                    let turns = original * f / TAU;
                    // Kept: 1 for frequencies that turn often within the original context, 0 for slow ones.
                    let kept = if turns < low {
                        0.0
                    } else if turns > high || high <= low {
                        1.0
                    } else {
                        (turns - low) / (high - low)
                    };
                    f / factor * (1.0 - kept) + f * kept
                })
                .collect()
        }
        Scaling::Yarn { factor, original, beta_fast, beta_slow, truncate, magnitude: m } => {
            positive("the rotary scaling factor", factor)?;
            positive("the original context", original)?;
            positive("beta_fast", beta_fast)?;
            positive("beta_slow", beta_slow)?;
            positive("the attention factor", m)?;
            magnitude = m;
            // The pair that turns `turns` times within the original context.
            let pair = |turns: f64| dim * (original / (turns * TAU)).ln() / (2.0 * base.ln());
            let (mut low, mut high) = (pair(beta_fast), pair(beta_slow));
            if truncate {
                (low, high) = (low.floor(), high.ceil());
            }
            let (low, high) = (low.max(0.0), high.min(dim - 1.0));
            let width = if high == low { 0.001 } else { high - low };
            plain
                .enumerate()
                .map(|(i, f)| {
                    let slow = ((i as f64 - low) / width).clamp(0.0, 1.0);
                    f / factor * slow + f * (1.0 - slow)
                })
                .collect()
        }
    };
    let out: Vec<f32> = scaled.into_iter().map(|f| f as f32).collect();
    if out.iter().any(|f| !f.is_finite()) {
        return Err(Error::format("the rotary settings give frequencies that are not finite"));
    }
    Ok((out, magnitude as f32))
}

fn positive(what: &str, x: f64) -> Result<()> {
    if x.is_finite() && x > 0.0 {
        Ok(())
    } else {
        Err(Error::format(format!("{what} is {x}; it must be positive and finite")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_frequencies_are_powers_of_the_base() {
        let (f, m) = frequencies(8, 10_000.0, &Scaling::None).unwrap();
        assert_eq!(m, 1.0);
        for (got, want) in f.iter().zip([1.0, 0.1, 0.01, 0.001]) {
            assert!((got - want).abs() <= want * 1e-6, "{got} {want}");
        }
    }

    #[test]
    fn llama3_keeps_fast_and_divides_slow_frequencies() {
        let s = Scaling::Llama3 { factor: 8.0, low: 1.0, high: 4.0, original: 8192.0 };
        let (plain, _) = frequencies(128, 500_000.0, &Scaling::None).unwrap();
        let (f, _) = frequencies(128, 500_000.0, &s).unwrap();
        assert_eq!(f[0], plain[0]);
        assert_eq!(f[63], plain[63] / 8.0);
        // The 30th pair turns 8192 * 500000^(-60/128) / 2 pi = 2.78 times: kept (2.78 - 1) / 3 of it.
        let turns = 8192.0 * f64::from(plain[30]) / TAU;
        let kept = (turns - 1.0) / 3.0;
        let want = f64::from(plain[30]) * (kept + (1.0 - kept) / 8.0);
        assert!((f64::from(f[30]) - want).abs() < want * 1e-6);
    }

    #[test]
    fn settings_that_give_no_finite_frequency_are_refused() {
        assert!(frequencies(8, 0.0, &Scaling::None).is_err());
        assert!(frequencies(8, f64::NAN, &Scaling::None).is_err());
        assert!(frequencies(8, 1e4, &Scaling::Linear { factor: 0.0 }).is_err());
        let s = Scaling::Yarn {
            factor: 4.0,
            original: 1e3,
            beta_fast: 32.0,
            beta_slow: 1.0,
            truncate: true,
            magnitude: 1.0,
        };
        assert!(frequencies(8, 1.0, &s).is_err());
    }
}
