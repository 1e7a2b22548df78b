//! Draws tokens from logits for one request.

use super::{Rng, Sampling};
use crate::{Error, Result, Status};
use std::cmp::Ordering;
use std::collections::HashMap;

/// A drawn token.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// Its id.
    pub token: u32,
    /// Natural logarithm of its probability, when asked for.
    pub logprob: Option<f32>,
    /// The most likely tokens with theirs, most likely first, when asked for.
    pub top: Vec<(u32, f32)>,
}

/// The state of sampling of one request.
#[derive(Clone, Debug)]
pub struct Sampler {
    how: Sampling,
    rng: Rng,
    seed: u64,
    counts: HashMap<u32, u32>,
    forbidden: Vec<u32>,
    logprobs: Option<u32>,
}

/// More likely first; the lower id first among equals, so that the order is total.
fn by_likelihood(a: &(u32, f32), b: &(u32, f32)) -> Ordering {
    b.1.total_cmp(&a.1).then(a.0.cmp(&b.0))
}

/// The `k` most likely, in order.
fn top(candidates: &mut Vec<(u32, f32)>, k: usize) {
    if k < candidates.len() {
        candidates.select_nth_unstable_by(k, by_likelihood);
        candidates.truncate(k);
    }
    candidates.sort_unstable_by(by_likelihood);
}

impl Sampler {
    /// A sampler. `forbidden` tokens are never drawn; `logprobs` asks for the chosen token's probability and those of
    /// that many alternatives.
    pub fn new(how: Sampling, forbidden: Vec<u32>, logprobs: Option<u32>) -> Sampler {
        let seed = how.seed.unwrap_or_else(Rng::fresh_seed);
        Sampler { how, rng: Rng::new(seed), seed, counts: HashMap::new(), forbidden, logprobs }
    }

    /// The seed in use.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Draws a token, in the order that [`Sampling`] states. `history` is the prompt and the answer so far.
    pub fn choose(&mut self, logits: &mut [f32], history: &[u32]) -> Result<Choice> {
        if let Some(at) = logits.iter().position(|x| x.is_nan() || *x == f32::INFINITY) {
            return Err(Error::new(
                Status::Format,
                format!("the model's logit of token {at} is {}; its weights or input are broken", logits[at]),
            ));
        }
        let report = self.logprobs.map(|n| (log_sum_exp(logits), most_likely(logits, n as usize)));
        let raw = report.is_some().then(|| logits.to_vec());
        self.adjust(logits, history);
        let token = self.draw(logits)?;
        *self.counts.entry(token).or_insert(0) += 1;
        let mut choice = Choice { token, logprob: None, top: Vec::new() };
        if let (Some((total, mut best)), Some(raw)) = (report, raw) {
            choice.logprob = Some((f64::from(raw[token as usize]) - total) as f32);
            for entry in &mut best {
                entry.1 = (f64::from(entry.1) - total) as f32;
            }
            choice.top = best;
        }
        Ok(choice)
    }

    fn adjust(&self, logits: &mut [f32], history: &[u32]) {
        for (token, bias) in &self.how.logit_bias {
            logits[*token as usize] += bias;
        }
        for token in &self.forbidden {
            logits[*token as usize] = f32::NEG_INFINITY;
        }
        if self.how.repeat_penalty != 1.0 {
            let window = match self.how.penalty_window {
                0 => history,
                n => &history[history.len().saturating_sub(n as usize)..],
            };
            let mut seen: Vec<u32> = window.to_vec();
            seen.sort_unstable();
            seen.dedup();
            for token in seen {
                let logit = &mut logits[token as usize];
                *logit = if *logit > 0.0 {
                    *logit / self.how.repeat_penalty
                } else {
                    *logit * self.how.repeat_penalty
                };
            }
        }
        if self.how.presence_penalty != 0.0 || self.how.frequency_penalty != 0.0 {
            for (token, count) in &self.counts {
                logits[*token as usize] -=
                    self.how.presence_penalty + self.how.frequency_penalty * *count as f32;
            }
        }
    }

    fn draw(&mut self, logits: &[f32]) -> Result<u32> {
        let uniform = self.rng.next_f64();
        let best = most_likely(logits, 1);
        let Some(&(first, highest)) = best.first().filter(|best| best.1 > f32::NEG_INFINITY) else {
            return Err(Error::argument("logit_bias", "no token is left to draw from"));
        };
        if self.how.temperature == 0.0 {
            return Ok(first);
        }
        let temperature = f64::from(self.how.temperature);
        let weight = |logit: f32| ((f64::from(logit) - f64::from(highest)) / temperature).exp();
        let mut candidates: Vec<(u32, f32)> =
            logits.iter().enumerate().map(|(token, logit)| (token as u32, *logit)).collect();
        if self.how.top_k > 0 {
            top(&mut candidates, self.how.top_k as usize);
        }
        if self.how.top_p < 1.0 {
            nucleus(&mut candidates, f64::from(self.how.top_p), &weight);
        }
        if self.how.min_p > 0.0 {
            // The most likely token has weight 1.
            candidates.retain(|(_, logit)| weight(*logit) >= f64::from(self.how.min_p));
        }
        let total: f64 = candidates.iter().map(|(_, logit)| weight(*logit)).sum();
        let mut left = uniform * total;
        for (token, logit) in &candidates {
            let w = weight(*logit);
            left -= w;
            if left < 0.0 && w > 0.0 {
                return Ok(*token);
            }
        }
        // Rounding used the sum up: the most likely token is always a member.
        Ok(first)
    }
}

/// Keeps the fewest most likely candidates whose weights reach `p` of the total. Sorts only as many as it needs.
fn nucleus(candidates: &mut Vec<(u32, f32)>, p: f64, weight: &dyn Fn(f32) -> f64) {
    let total: f64 = candidates.iter().map(|(_, logit)| weight(*logit)).sum();
    let mut look = 64usize;
    loop {
        let n = look.min(candidates.len());
        if n < candidates.len() {
            candidates.select_nth_unstable_by(n, by_likelihood);
        }
        candidates[..n].sort_unstable_by(by_likelihood);
        let mut sum = 0.0;
        for (at, (_, logit)) in candidates[..n].iter().enumerate() {
            sum += weight(*logit);
            if sum >= p * total {
                candidates.truncate(at + 1);
                return;
            }
        }
        if n == candidates.len() {
            return;
        }
        look *= 4;
    }
}

fn most_likely(logits: &[f32], n: usize) -> Vec<(u32, f32)> {
    if n == 1 {
        let mut best = (0u32, f32::NEG_INFINITY);
        for (token, logit) in logits.iter().enumerate() {
            if *logit > best.1 {
                best = (token as u32, *logit);
            }
        }
        return vec![best];
    }
    let mut all: Vec<(u32, f32)> = logits.iter().enumerate().map(|(t, l)| (t as u32, *l)).collect();
    top(&mut all, n);
    all
}

fn log_sum_exp(logits: &[f32]) -> f64 {
    let highest = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    highest + logits.iter().map(|l| (f64::from(*l) - highest).exp()).sum::<f64>().ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampler(how: Sampling) -> Sampler {
        Sampler::new(Sampling { seed: Some(7), ..how }, Vec::new(), None)
    }

    fn counts(how: Sampling, logits: &[f32], draws: usize) -> Vec<usize> {
        let mut sampler = sampler(how);
        let mut counts = vec![0; logits.len()];
        for _ in 0..draws {
            counts[sampler.choose(&mut logits.to_vec(), &[]).unwrap().token as usize] += 1;
        }
        counts
    }

    fn plain() -> Sampling {
        Sampling { temperature: 1.0, top_k: 0, top_p: 1.0, ..Sampling::default() }
    }

    #[test]
    fn greedy_takes_the_lowest_id_among_equals() {
        let mut s = sampler(Sampling::greedy());
        assert_eq!(s.choose(&mut [1.0, 3.0, 3.0, 2.0], &[]).unwrap().token, 1);
    }

    #[test]
    fn frequencies_follow_the_distribution() {
        // Probabilities 0.1, 0.2, 0.3, 0.4 as logits.
        let logits: Vec<f32> = [0.1f32, 0.2, 0.3, 0.4].iter().map(|p| p.ln()).collect();
        let n = 40_000;
        for (count, p) in counts(plain(), &logits, n).iter().zip([0.1, 0.2, 0.3, 0.4]) {
            // Five standard deviations.
            let spread = 5.0 * (n as f64 * p * (1.0 - p)).sqrt();
            assert!((*count as f64 - n as f64 * p).abs() < spread, "{count} for {p}");
        }
    }

    #[test]
    fn filters_keep_what_they_say() {
        let logits: Vec<f32> = [0.1f32, 0.2, 0.3, 0.4].iter().map(|p| p.ln()).collect();
        let zeros = |how| counts(how, &logits, 2000).iter().map(|c| *c == 0).collect::<Vec<_>>();
        assert_eq!(zeros(Sampling { top_k: 2, ..plain() }), [true, true, false, false]);
        assert_eq!(zeros(Sampling { top_p: 0.65, ..plain() }), [true, true, false, false]);
        assert_eq!(zeros(Sampling { top_p: 0.75, ..plain() }), [true, false, false, false]);
        assert_eq!(zeros(Sampling { min_p: 0.6, ..plain() }), [true, true, false, false]);
        assert_eq!(zeros(Sampling { temperature: 0.01, ..plain() }), [true, true, true, false]);
    }

    #[test]
    fn a_wide_nucleus_is_found_beyond_the_first_look() {
        let mut candidates: Vec<(u32, f32)> = (0..1000).map(|i| (i, 0.0)).collect();
        nucleus(&mut candidates, 0.5, &|l| f64::from(l).exp());
        assert_eq!(candidates.len(), 500);
    }

    #[test]
    fn penalties_and_bias_change_the_choice() {
        let mut s = sampler(Sampling { repeat_penalty: 2.0, ..Sampling::greedy() });
        assert_eq!(s.choose(&mut [3.0, 2.0], &[0]).unwrap().token, 1);
        let mut s = sampler(Sampling { presence_penalty: 1.5, ..Sampling::greedy() });
        assert_eq!(s.choose(&mut [3.0, 2.0], &[]).unwrap().token, 0);
        assert_eq!(s.choose(&mut [3.0, 2.0], &[0]).unwrap().token, 1);
        let mut s = sampler(Sampling { logit_bias: vec![(0, -9.0)], ..Sampling::greedy() });
        assert_eq!(s.choose(&mut [3.0, 2.0], &[]).unwrap().token, 1);
        let mut s = Sampler::new(Sampling::greedy(), vec![0], None);
        assert_eq!(s.choose(&mut [3.0, 2.0], &[]).unwrap().token, 1);
    }

    #[test]
    fn logprobs_are_those_of_the_model() {
        let how = Sampling { logit_bias: vec![(1, 50.0)], ..Sampling::greedy() };
        let mut s = Sampler::new(how, Vec::new(), Some(2));
        let logits: Vec<f32> = [0.5f32, 0.25, 0.25].iter().map(|p| p.ln()).collect();
        let choice = s.choose(&mut logits.clone(), &[]).unwrap();
        assert_eq!(choice.token, 1);
        assert!((choice.logprob.unwrap() - 0.25f32.ln()).abs() < 1e-6);
        assert_eq!(choice.top.iter().map(|t| t.0).collect::<Vec<_>>(), [0, 1]);
        assert!((choice.top[0].1 - 0.5f32.ln()).abs() < 1e-6);
    }

    #[test]
    fn broken_logits_are_an_error() {
        let mut s = sampler(Sampling::greedy());
        assert!(s.choose(&mut [1.0, f32::NAN], &[]).is_err());
        assert!(s.choose(&mut [f32::NEG_INFINITY; 2], &[]).is_err());
    }
}
