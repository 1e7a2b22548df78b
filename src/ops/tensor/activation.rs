//! Activations by name.

use super::map::{Function, Map};
use super::range::product;
use super::rows::SoftMax;
use super::{Element, Operation};
use crate::device::DevicePtr;
use crate::{Error, Result};

/// What a name of an activation stands for.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    /// Element by element, with this number.
    Each(Function, f32),
    /// Over the channels.
    SoftMax { log: bool },
}

/// The activations by name.
const NAMES: [(&str, Kind); 21] = [
    ("identity", Kind::Each(Function::Identity, 0.0)),
    ("linear", Kind::Each(Function::Identity, 0.0)),
    ("relu", Kind::Each(Function::Relu, 0.0)),
    ("relu6", Kind::Each(Function::Relu6, 0.0)),
    ("leaky_relu", Kind::Each(Function::LeakyRelu, 0.01)),
    ("sigmoid", Kind::Each(Function::Sigmoid, 0.0)),
    ("tanh", Kind::Each(Function::Tanh, 0.0)),
    ("gelu", Kind::Each(Function::Gelu, 0.0)),
    ("gelu_tanh", Kind::Each(Function::GeluTanh, 0.0)),
    ("silu", Kind::Each(Function::Silu, 0.0)),
    ("swish", Kind::Each(Function::Silu, 0.0)),
    ("elu", Kind::Each(Function::Elu, 1.0)),
    ("selu", Kind::Each(Function::Selu, 0.0)),
    ("softplus", Kind::Each(Function::Softplus, 0.0)),
    ("softsign", Kind::Each(Function::Softsign, 0.0)),
    ("hard_swish", Kind::Each(Function::HardSwish, 0.0)),
    ("hard_sigmoid", Kind::Each(Function::HardSigmoid, 0.0)),
    ("mish", Kind::Each(Function::Mish, 0.0)),
    ("softmax", Kind::SoftMax { log: false }),
    ("log_softmax", Kind::SoftMax { log: true }),
    ("leakyrelu", Kind::Each(Function::LeakyRelu, 0.01)),
];

/// An activation of a dense NCHW tensor `[batch][channels][height][width]`. `softmax` and `log_softmax` go over the
/// channels of each pixel; all others take each element by itself. `output` may be `input`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Activate<'a> {
    /// `relu`, `gelu`, `softmax` …: see [`activation_names`]. `leaky_relu` has a slope of 0.01, `elu` an alpha of 1.
    pub name: &'a str,
    /// f32, f16 or bf16; int8 for `relu` and `identity`.
    pub element: Element,
    /// The input.
    pub input: DevicePtr,
    /// The output.
    pub output: DevicePtr,
    /// Images.
    pub batch: u64,
    /// Channels of an image.
    pub channels: u64,
    /// Rows of an image.
    pub height: u64,
    /// Columns of an image.
    pub width: u64,
}

/// The names that [`Activate`] knows.
pub fn activation_names() -> impl Iterator<Item = &'static str> {
    NAMES.iter().map(|(name, _)| *name)
}

impl Activate<'_> {
    /// The operation of this name.
    ///
    /// Errors: an unknown name (the known ones are listed), more elements than memory can hold.
    pub fn operation(&self) -> Result<Operation> {
        let Some((_, kind)) = NAMES.iter().find(|(name, _)| *name == self.name) else {
            let known: Vec<&str> = activation_names().collect();
            return Err(Error::argument("activationType", format!("there is no activation `{}`", self.name))
                .advise(format!("the known ones are {}", known.join(", "))));
        };
        let Activate { element, input, output, batch, channels, height, width, .. } = *self;
        let pixels = product("height", &[height, width])?;
        let count = product("channels", &[batch, channels, pixels])?;
        Ok(match *kind {
            Kind::Each(function, a) => {
                Operation::Map(Map { function, element, x: input, y: 0, out: output, count, a, b: 0.0 })
            }
            Kind::SoftMax { log } => Operation::SoftMax(SoftMax {
                log,
                element,
                x: input,
                out: output,
                outer: batch,
                axis: channels,
                inner: pixels,
                pitch: pixels,
            }),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_name_lists_the_known() {
        let call = |name| Activate {
            name,
            element: Element::F32,
            input: 256,
            output: 256,
            batch: 1,
            channels: 2,
            height: 3,
            width: 4,
        };
        let error = call("rely").operation().unwrap_err();
        assert!(
            error.message().contains("rely") && error.advice().unwrap().contains("hard_swish"),
            "{error}"
        );
        for name in activation_names() {
            call(name).operation().unwrap().check().unwrap();
        }
    }
}
