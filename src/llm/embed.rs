//! Embeddings: a text as one vector.

use super::config::Pooling;
use super::engine::{Canceller, Want};
use super::model::Model;
use crate::compute::Effort;
use crate::{Error, Result};
use std::sync::Arc;

/// How vectors are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EmbedOptions {
    /// How the vectors of a text's tokens become one; default what the model's files say, else the mean.
    pub pooling: Option<Pooling>,
    /// Scale to length 1; default what the model's files say.
    pub normalize: Option<bool>,
    /// Cut texts that are longer than the context instead of refusing them. The last token is kept (an encoder's SEP).
    pub truncate: bool,
}

impl Model {
    /// One vector of [`super::ModelConfig::dim`] elements a text, in order. Texts are batched with each other and with
    /// everything else that the model does. Any model can: an encoder gives its last layer, a decoder what its last
    /// norm yields.
    pub fn embed<S: AsRef<str>>(&self, texts: &[S], options: &EmbedOptions) -> Result<Vec<Vec<f32>>> {
        self.embed_tokens(&self.ids_of(texts, options)?, options)
    }

    /// The same for work of its own weight that can be cancelled: `started` gets what does so.
    pub fn embed_watched<S: AsRef<str>>(
        &self,
        texts: &[S],
        options: &EmbedOptions,
        effort: &Arc<Effort>,
        started: impl FnOnce(Vec<Canceller>),
    ) -> Result<Vec<Vec<f32>>> {
        self.vectors(&self.ids_of(texts, options)?, options, effort, started)
    }

    fn ids_of<S: AsRef<str>>(&self, texts: &[S], options: &EmbedOptions) -> Result<Vec<Vec<u32>>> {
        let mut ids = Vec::with_capacity(texts.len());
        for (at, text) in texts.iter().enumerate() {
            let mut tokens = self.tokenizer()?.encode(text.as_ref(), true, false)?;
            let most = self.context() as usize;
            if tokens.len() > most {
                if !options.truncate {
                    return Err(Error::argument(
                        "texts",
                        format!("text {at} has {} tokens, the context holds {most}", tokens.len()),
                    )
                    .advise("shorten it, or set `truncate`"));
                }
                tokens.drain(most - 1..tokens.len() - 1);
            }
            ids.push(tokens);
        }
        Ok(ids)
    }

    /// The same for token ids, taken as they are.
    pub fn embed_tokens(&self, ids: &[Vec<u32>], options: &EmbedOptions) -> Result<Vec<Vec<f32>>> {
        self.vectors(ids, options, &Arc::default(), |_| ())
    }

    fn vectors(
        &self,
        ids: &[Vec<u32>],
        options: &EmbedOptions,
        effort: &Arc<Effort>,
        started: impl FnOnce(Vec<Canceller>),
    ) -> Result<Vec<Vec<f32>>> {
        let pooling = options.pooling.or(self.config().pooling).unwrap_or(Pooling::Mean);
        let normalize = options.normalize.unwrap_or(self.config().normalize);
        let sequences = ids
            .iter()
            .map(|ids| {
                let mut sequence = self.bare(Want::Pooled(pooling), ids.clone())?;
                sequence.effort = effort.clone();
                Ok(sequence)
            })
            .collect::<Result<Vec<_>>>()?;
        let mut vectors = self.values_watched(sequences, started)?;
        if normalize {
            vectors.iter_mut().for_each(|vector| scale_to_unit(vector));
        }
        Ok(vectors)
    }

    /// The last layer's vectors of all tokens, f32 `[ids][dim]`. `types` gives the token types of an encoder's text
    /// pair; empty for zeros.
    pub fn token_vectors(&self, ids: &[u32], types: &[u32]) -> Result<Vec<f32>> {
        let known = self.config().type_vocab;
        if !types.is_empty() && (types.len() != ids.len() || types.iter().any(|t| *t >= known)) {
            let problem = format!("must be one for each id, below {known}");
            return Err(Error::argument("types", problem));
        }
        let mut sequence = self.bare(Want::Vectors, ids.to_vec())?;
        sequence.types = types.to_vec();
        self.values(vec![sequence]).map(|mut v| v.remove(0))
    }
}

/// Scales to Euclidean length 1; a zero vector stays as it is.
fn scale_to_unit(vector: &mut [f32]) {
    let length = vector.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt();
    if length > 0.0 {
        vector.iter_mut().for_each(|x| *x = (f64::from(*x) / length) as f32);
    }
}
