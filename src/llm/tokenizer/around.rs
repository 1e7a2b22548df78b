//! Tokens put around a text.

/// Who adds the tokens that a model expects around a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Around {
    /// The post-processor of `tokenizer.json`.
    Processor,
    /// We do, as a GGUF file's keys say.
    Own { bos: bool, eos: bool },
}

impl Around {
    pub(super) fn add(self, mut ids: Vec<u32>, bos: Option<u32>, eos: Option<u32>) -> Vec<u32> {
        if let Around::Own { bos: front, eos: back } = self {
            if let Some(id) = bos.filter(|_| front) {
                ids.insert(0, id);
            }
            ids.extend(eos.filter(|_| back));
        }
        ids
    }
}
