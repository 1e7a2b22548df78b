//! From logits to a token.

mod rng;
mod sampler;
mod stops;

pub use rng::Rng;
pub use sampler::{Choice, Sampler};
pub use stops::Stops;

use crate::{Error, Result};

/// How tokens are drawn.
///
/// In this order: log-probabilities are read off the model's own distribution; bias; forbidden tokens; repeat,
/// presence and frequency penalties; with temperature 0 the most likely token is taken, else: division by the
/// temperature, top-k, top-p, min-p, and one draw from what is left. Probabilities are computed in f64. One random
/// number is used for each drawn token, so draw `i` depends on the seed, on `i` and on the logits only.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    /// Divides the logits; 0 takes the most likely token (the lowest id among equals) and ignores the rest but
    /// penalties and bias.
    pub temperature: f32,
    /// Only this many of the most likely tokens; 0 for all.
    pub top_k: u32,
    /// Only the most likely tokens that together have at least this probability; 1 for all.
    pub top_p: f32,
    /// Only tokens at least this fraction as likely as the most likely one; 0 for all.
    pub min_p: f32,
    /// Logits of tokens seen among the last [`Sampling::penalty_window`] tokens of prompt and answer are divided by
    /// this when positive and multiplied when negative; 1 for none.
    pub repeat_penalty: f32,
    /// Taken once from the logit of each token that the answer already holds; 0 for none.
    pub presence_penalty: f32,
    /// Taken from a token's logit for each time that the answer holds it; 0 for none.
    pub frequency_penalty: f32,
    /// Tokens that `repeat_penalty` looks back on; 0 for all.
    pub penalty_window: u32,
    /// The seed; `None` takes a fresh one, which the output reports.
    pub seed: Option<u64>,
    /// Added to the logits of single tokens.
    pub logit_bias: Vec<(u32, f32)>,
}

impl Default for Sampling {
    fn default() -> Sampling {
        Sampling {
            temperature: 0.8,
            top_k: 40,
            top_p: 0.95,
            min_p: 0.0,
            repeat_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            penalty_window: 64,
            seed: None,
            logit_bias: Vec::new(),
        }
    }
}

impl Sampling {
    /// Always the most likely token.
    pub fn greedy() -> Sampling {
        Sampling { temperature: 0.0, ..Sampling::default() }
    }

    /// Refuses values outside their domain, naming the field.
    pub fn check(&self, vocab: u32) -> Result<()> {
        let within = |name: &str, value: f32, low: f32, high: f32| {
            if value >= low && value <= high {
                return Ok(());
            }
            Err(Error::argument(name, format!("{value} is not in {low} to {high}")))
        };
        within("temperature", self.temperature, 0.0, 100.0)?;
        within("top_p", self.top_p, 0.0, 1.0)?;
        within("min_p", self.min_p, 0.0, 1.0)?;
        within("repeat_penalty", self.repeat_penalty, 0.01, 100.0)?;
        within("presence_penalty", self.presence_penalty, -100.0, 100.0)?;
        within("frequency_penalty", self.frequency_penalty, -100.0, 100.0)?;
        for (token, bias) in &self.logit_bias {
            if *token >= vocab {
                return Err(Error::argument(
                    "logit_bias",
                    format!("token {token} is outside the vocabulary of {vocab}"),
                ));
            }
            if bias.is_nan() || *bias == f32::INFINITY {
                return Err(Error::argument("logit_bias", format!("{bias} for token {token} is no bias")));
            }
        }
        Ok(())
    }
}
