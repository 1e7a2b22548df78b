//! As what a matrix is loaded, and how it is turned into that.
//!
//! Ternary matrices of every storage become I2_S with one scale; TQ1_0 and TQ2_0 with scales that differ become Q8_0, whose f16 scales
//! round those divided by 127; the output matrix of a BitNet model, more than half of what a token reads, becomes Q8_0 unless it is wanted exact.

use super::{ModelFile, Source};
use crate::llm::config::{Architecture, TernaryStorage};
use crate::quant::{DType, dequantize, lowbit, quantize};
use crate::{Error, Result, Status};
use std::borrow::Cow;

/// As what a matrix is loaded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::llm) struct Form {
    /// What products see.
    pub dtype: DType,
    /// Outputs, inputs.
    pub shape: [u64; 2],
    /// Bytes in the file.
    pub stored: u64,
    turn: Turn,
}

/// How it gets there.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Turn {
    /// As it lies.
    Nothing,
    /// I2_S whose scale is that of the file times this.
    Scaled(f32),
    /// Any type by way of f32, block by block.
    Blocks,
    /// Blocks of ternary weights with one scale.
    Ternary(f32),
    /// Safetensors' packed bytes with this scale.
    Packed(f32),
    /// Floats by their mean magnitude.
    Mean,
}

impl ModelFile {
    /// As what the matrix of this canonical name is loaded. With `exact_head` the output matrix of a BitNet model stays as it
    /// lies; so does any of a width that is no multiple of 32.
    pub(in crate::llm) fn form(&self, name: &str, exact_head: bool) -> Result<Form> {
        self.choose(name, exact_head).map_err(|e| e.within(format!("tensor `{name}`")))
    }

    fn choose(&self, name: &str, exact_head: bool) -> Result<Form> {
        let (dtype, shape, data) =
            self.raw(name).ok_or_else(|| Error::not_found(format!("the model has no tensor `{name}`")))?;
        let dtype = dtype?;
        let &[rows, cols] = shape else {
            return Err(Error::format(format!("{shape:?} is no matrix")));
        };
        let form = |dtype, turn| Form { dtype, shape: [rows, cols], stored: data.len() as u64, turn };
        let float = matches!(dtype, DType::F32 | DType::F16 | DType::BF16);
        let config = self.config();
        let bitnet = config.architecture == Architecture::BitNet;
        let head = name == if config.tied { "token_embd.weight" } else { "output.weight" };
        if bitnet && head && float && !exact_head && cols.is_multiple_of(32) {
            return Ok(form(DType::Q8_0, Turn::Blocks));
        }
        let scale = self.extra_scale(name)?;
        if self.is_packed(name) {
            let scale = scale.ok_or_else(|| Error::format("packed weights without a `weight_scale`"))?;
            let scale = match config.ternary {
                TernaryStorage::PackedMultiplied => scale,
                TernaryStorage::PackedDivided => 1.0 / scale,
                _ => {
                    return Err(Error::format("packed weights, of which the configuration does not tell")
                        .advise(
                            "`quantization_config` of config.json must say how BitNet layers are stored",
                        ));
                }
            };
            return Ok(form(DType::I2_S, Turn::Packed(checked(scale)?)));
        }
        let whole = rows.checked_mul(cols).is_some_and(|n| n.is_multiple_of(lowbit::I2S_BLOCK as u64));
        match dtype {
            DType::I2_S => match scale {
                None => Ok(form(dtype, Turn::Nothing)),
                Some(scale) => Ok(form(dtype, Turn::Scaled(scale))),
            },
            DType::TQ1_0 | DType::TQ2_0 => {
                match lowbit::tq_uniform_scale(data, dtype.block_bytes() as usize)? {
                    Some(one) => Ok(form(DType::I2_S, Turn::Ternary(checked(one * scale.unwrap_or(1.0))?))),
                    None if scale.is_some() => {
                        Err(Error::unsupported(format!("{dtype:?} with a scale beside those of its blocks")))
                    }
                    None => Ok(form(DType::Q8_0, Turn::Blocks)),
                }
            }
            _ if scale.is_some() => Err(Error::unsupported(format!("{dtype:?} with a scale beside it"))
                .advise("only ternary matrices have one; convert the model again")),
            _ if float && config.ternary == TernaryStorage::Master && name.starts_with("blk.") => {
                if !whole {
                    return Err(Error::unsupported(format!(
                        "{rows} x {cols} weights are no whole number of blocks of 128, which ternary matrices need"
                    )));
                }
                Ok(form(DType::I2_S, Turn::Mean))
            }
            _ => Ok(form(dtype, Turn::Nothing)),
        }
    }

    /// The bytes of a matrix in the form that [`ModelFile::form`] gave.
    pub(in crate::llm) fn matrix(&self, name: &str, form: &Form) -> Result<Cow<'_, [u8]>> {
        self.turned(name, form).map_err(|e| e.within(format!("tensor `{name}`")))
    }

    fn turned(&self, name: &str, form: &Form) -> Result<Cow<'_, [u8]>> {
        let (dtype, _, data) =
            self.raw(name).ok_or_else(|| Error::not_found(format!("the model has no tensor `{name}`")))?;
        let dtype = dtype?;
        let [rows, cols] = form.shape;
        let size = |n: u64| {
            usize::try_from(n).map_err(|_| Error::new(Status::OutOfMemory, format!("{n} weights do not fit")))
        };
        let n = size(rows.saturating_mul(cols))?;
        let floats = || {
            let mut values = vec![0f32; n];
            dequantize(dtype, data, &mut values).map(|()| values)
        };
        let packed = |values: &[i8], scale: f32| {
            let mut out = vec![0; n / 4 + lowbit::I2S_TAIL];
            lowbit::i2s_pack(values, scale, &mut out).map(|()| Cow::Owned(out))
        };
        match form.turn {
            Turn::Nothing => Ok(Cow::Borrowed(data)),
            Turn::Scaled(factor) => {
                let scale = checked(lowbit::i2s_scale(data, n)? * factor)?;
                let mut out = data.to_vec();
                out[n / 4..n / 4 + 4].copy_from_slice(&scale.to_le_bytes());
                Ok(Cow::Owned(out))
            }
            Turn::Blocks => {
                let mut out = vec![0; size(form.dtype.bytes(rows, cols)?)?];
                quantize(form.dtype, &floats()?, &mut out)?;
                Ok(Cow::Owned(out))
            }
            Turn::Ternary(scale) => {
                let values: Vec<i8> = floats()?.iter().map(|x| (*x > 0.0) as i8 - (*x < 0.0) as i8).collect();
                packed(&values, scale)
            }
            Turn::Packed(scale) => {
                let mut values = vec![0; n];
                lowbit::hf_unpack(data, size(rows)?, size(cols)?, &mut values)?;
                packed(&values, scale)
            }
            Turn::Mean => {
                let mut values = vec![0; n];
                let scale = lowbit::quantize_ternary(&floats()?, lowbit::NonFinite::Refuse, &mut values)?;
                packed(&values, scale)
            }
        }
    }

    /// The scale that lies beside a matrix: one number.
    fn extra_scale(&self, name: &str) -> Result<Option<f32>> {
        let Some(stem) = name.strip_suffix(".weight") else { return Ok(None) };
        let name = format!("{stem}.scale");
        if !self.has(&name) {
            return Ok(None);
        }
        match self.tensor_f32(&name)?[..] {
            [scale] => checked(scale).map(Some),
            ref all => Err(Error::format(format!("`{name}` holds {} numbers, not one", all.len()))),
        }
    }

    fn is_packed(&self, name: &str) -> bool {
        match &self.source {
            Source::Gguf(_) => false,
            Source::Folder(f) => f.tensor(name).is_some_and(|(t, _)| t.is_packed()),
        }
    }
}

fn checked(scale: f32) -> Result<f32> {
    if scale.is_finite() && scale >= 0.0 {
        return Ok(scale);
    }
    Err(Error::format(format!("the scale is {scale}")))
}
