//! The statistics by which executions are judged.

/// The probability that the `recent` values are larger than those of the `baseline` by as much as seen if both come
/// from the same distribution: the one-sided Mann-Whitney U test by its normal approximation, corrected for ties and for
/// continuity. Good from about 8 values a side; 1 where a side is empty or all values are equal.
pub fn larger_by_chance(recent: &[f64], baseline: &[f64]) -> f64 {
    let (n, m) = (recent.len() as f64, baseline.len() as f64);
    if recent.is_empty() || baseline.is_empty() {
        return 1.0;
    }
    let mut all: Vec<(f64, bool)> =
        recent.iter().map(|x| (*x, true)).chain(baseline.iter().map(|x| (*x, false))).collect();
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut ranks, mut ties, mut at) = (0f64, 0f64, 0);
    while at < all.len() {
        let same = all[at..].iter().take_while(|x| x.0 == all[at].0).count();
        // Ranks count from 1; equal values share their mean.
        let rank = at as f64 + (same as f64 + 1.0) / 2.0;
        ranks += rank * all[at..at + same].iter().filter(|x| x.1).count() as f64;
        ties += (same as f64).powi(3) - same as f64;
        at += same;
    }
    let u = ranks - n * (n + 1.0) / 2.0;
    let total = n + m;
    let variance = n * m / 12.0 * (total + 1.0 - ties / (total * (total - 1.0)).max(1.0));
    if variance <= 0.0 {
        return 1.0;
    }
    upper_tail((u - n * m / 2.0 - 0.5) / variance.sqrt())
}

/// The probability that a standard normal number is above `z`.
pub fn upper_tail(z: f64) -> f64 {
    if z < 0.0 {
        return 1.0 - upper_tail(-z);
    }
    if z > 38.0 {
        return 0.0;
    }
    if z < 3.0 {
        // The series of the distribution function around 0.
        let (mut term, mut sum, mut k) = (z, z, 0.0);
        while term.abs() > 1e-18 {
            k += 1.0;
            term *= -z * z / (2.0 * k);
            sum += term / (2.0 * k + 1.0);
        }
        return 0.5 - sum / (2.0 * std::f64::consts::PI).sqrt();
    }
    // The continued fraction of Mills' ratio.
    let fraction = (1..=80).rev().fold(z, |inner, k| z + f64::from(k) / inner);
    (-z * z / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt() / fraction
}

/// The value below which a part `q` (0 to 1) lies; `None` of nothing.
pub fn quantile(values: &[f64], q: f64) -> Option<f64> {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|x| !x.is_nan()).collect();
    if sorted.is_empty() {
        return None;
    }
    sorted.sort_by(f64::total_cmp);
    let at = q.clamp(0.0, 1.0) * (sorted.len() - 1) as f64;
    let (low, high) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
    Some(low + (high - low) * at.fract())
}

/// The straight line of least squares.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Trend {
    /// Growth for each unit of x, with its sign.
    pub slope: f64,
    /// The standard error of the slope, from the distances to the line; assumes that these are independent.
    pub standard_error: f64,
    /// Mean of the values.
    pub mean: f64,
    /// Points.
    pub count: usize,
}

impl Trend {
    /// Whether the slope is more than three of its standard errors from 0, of at least 8 points.
    pub fn is_significant(&self) -> bool {
        self.count >= 8 && self.slope != 0.0 && self.slope.abs() > 3.0 * self.standard_error
    }
}

/// The line through points `(x, y)`; `None` of fewer than 3, or when all have the same x.
pub fn trend(points: &[(f64, f64)]) -> Option<Trend> {
    let n = points.len() as f64;
    if points.len() < 3 {
        return None;
    }
    let (x, y) = (points.iter().map(|p| p.0).sum::<f64>() / n, points.iter().map(|p| p.1).sum::<f64>() / n);
    let sxx: f64 = points.iter().map(|p| (p.0 - x).powi(2)).sum();
    if sxx <= 0.0 {
        return None;
    }
    let slope = points.iter().map(|p| (p.0 - x) * (p.1 - y)).sum::<f64>() / sxx;
    let rest: f64 = points.iter().map(|p| (p.1 - y - slope * (p.0 - x)).powi(2)).sum();
    let standard_error = (rest / (n - 2.0) / sxx).sqrt();
    Some(Trend { slope, standard_error, mean: y, count: points.len() })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Numbers between 0 and 1, the same in every run.
    pub fn random(seed: u64) -> impl FnMut() -> f64 {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 11) as f64 / (1u64 << 53) as f64
        }
    }

    #[test]
    fn the_normal_tail_is_right() {
        // Abramowitz and Stegun, table 26.1.
        for (z, p) in [
            (0.0, 0.5),
            (1.0, 0.158_655_253_931_457),
            (2.0, 0.022_750_131_948_179),
            (2.999, 0.001_354_336_533_742),
            (3.0, 0.001_349_898_031_630),
            (4.0, 3.167_124_183_312e-5),
            (6.0, 9.865_876_450_377e-10),
        ] {
            let got = upper_tail(z);
            assert!((got / p - 1.0f64).abs() < 1e-7, "{z}: {got:e}");
            assert!((upper_tail(-z) - (1.0 - p)).abs() < 1e-9);
        }
    }

    /// Against counting all ways to deal the values out.
    #[test]
    fn the_test_agrees_with_counting() {
        let mut next = random(3);
        for _ in 0..20 {
            let values: Vec<f64> = (0..16).map(|_| (next() * 12.0).floor()).collect();
            let u = |mask: u32| {
                let side = |is: u32| (0..16).filter(move |i| mask >> i & 1 == is).map(|i| values[i]);
                let beats = |a: f64, b: f64| {
                    if a > b {
                        1.0
                    } else if a == b {
                        0.5
                    } else {
                        0.0
                    }
                };
                side(1).map(|a| side(0).map(|b| beats(a, b)).sum::<f64>()).sum::<f64>()
            };
            let seen = u(0xff);
            let ways: Vec<u32> = (0..1u32 << 16).filter(|m| m.count_ones() == 8).collect();
            let as_large = ways.iter().filter(|m| u(**m) >= seen).count() as f64;
            let exact = as_large / ways.len() as f64;
            let got = larger_by_chance(&values[..8], &values[8..]);
            assert!((got - exact).abs() < 0.02, "{got} for {exact}");
        }
        assert_eq!(larger_by_chance(&[1.0; 9], &[1.0; 9]), 1.0);
        assert_eq!(larger_by_chance(&[], &[1.0]), 1.0);
    }

    #[test]
    fn quantiles_and_lines() {
        let values: Vec<f64> = (0..=100).rev().map(f64::from).collect();
        assert_eq!(
            (quantile(&values, 0.5), quantile(&values, 0.99), quantile(&[], 0.5)),
            (Some(50.0), Some(99.0), None)
        );
        let line: Vec<(f64, f64)> = (0..50).map(|x| (f64::from(x), 3.0 + 0.5 * f64::from(x))).collect();
        let t = trend(&line).unwrap();
        assert!((t.slope - 0.5).abs() < 1e-12 && t.standard_error < 1e-12 && t.is_significant());
        assert_eq!(trend(&[(1.0, 1.0); 5]), None);
    }

    #[test]
    fn the_slopes_error_is_as_large_as_slopes_vary() {
        let mut next = random(9);
        let (mut far, mut sum) = (0, 0.0);
        for _ in 0..2000 {
            let points: Vec<(f64, f64)> =
                (0..40).map(|x| (f64::from(x), (0..12).map(|_| next()).sum::<f64>() - 6.0)).collect();
            let t = trend(&points).unwrap();
            far += usize::from(t.slope.abs() > 2.0 * t.standard_error);
            sum += (t.slope / t.standard_error).powi(2);
        }
        // Student's t with 38 degrees: variance 38/36, 5.3 % beyond 2.
        assert!((70..150).contains(&far), "{far}");
        assert!((0.9..1.25).contains(&(sum / 2000.0)), "{sum}");
    }
}
