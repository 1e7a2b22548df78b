//! How a model is loaded and run.

use crate::device::DeviceKind;
use crate::quant::DType;
use crate::{Error, Result};

/// Options of a model. `None` picks the default that the field's doc states.
#[derive(Clone, Debug, Default)]
pub struct ModelOptions {
    /// Positions per sequence, at most the model's own; default the model's own, but no more than 8192.
    pub context: Option<u32>,
    /// Sequences that run at the same time (others queue); default 16 on the CPU, 32 on a GPU. At most 256.
    pub max_sequences: Option<u32>,
    /// Rows (prompt tokens) of one step while no sequence is decoding; default 128 on the CPU, 512 on a GPU.
    pub prefill_rows: Option<u32>,
    /// Rows of prompts in a step that also decodes: smaller keeps the time between tokens short; default 32 on the
    /// CPU, 128 on a GPU; never more than `prefill_rows`.
    pub mixed_rows: Option<u32>,
    /// Element type of the key/value cache, F16 or F32; default F32 for models with F32 weights, else F16.
    pub kv: Option<DType>,
    /// Keep the output matrix of a BitNet model as the file has it. By default it is held in 8 bits (Q8_0), which halves what a
    /// token reads of it. Other models are not changed by this.
    pub exact_head: bool,
}

/// Options with every choice made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub context: u32,
    pub max_sequences: u32,
    pub prefill_rows: u32,
    pub mixed_rows: u32,
}

impl ModelOptions {
    pub(crate) fn resolve(&self, device: DeviceKind, model_context: u32) -> Result<Limits> {
        let cpu = device == DeviceKind::Cpu;
        let context = match self.context {
            None => model_context.min(8192),
            Some(n) if n >= 2 && n <= model_context => n,
            Some(n) => {
                return Err(Error::argument("context", format!("{n} is not in 2 to {model_context}"))
                    .advise("the model was made for that many positions"));
            }
        };
        let pick = |name: &str, value: Option<u32>, default: u32, most: u32| match value {
            None => Ok(default),
            Some(n) if n >= 1 && n <= most => Ok(n),
            Some(n) => Err(Error::argument(name, format!("{n} is not in 1 to {most}"))),
        };
        let max_sequences = pick("max_sequences", self.max_sequences, if cpu { 16 } else { 32 }, 256)?;
        let rows = pick("prefill_rows", self.prefill_rows, if cpu { 128 } else { 512 }, 8192)?;
        let mixed = pick("mixed_rows", self.mixed_rows, if cpu { 32 } else { 128 }, 8192)?;
        if !matches!(self.kv, None | Some(DType::F16 | DType::F32)) {
            return Err(Error::argument("kv", format!("{:?} is not F16 or F32", self.kv)));
        }
        let rows = rows.min(context);
        Ok(Limits { context, max_sequences, prefill_rows: rows, mixed_rows: mixed.min(rows) })
    }
}
