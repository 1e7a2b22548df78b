//! Functions of each element by itself.

use super::pieces::Cutter;
use super::range::{Ranges, product};
use super::{Cost, Element, Pace};
use crate::Result;
use crate::device::DevicePtr;

/// A function of one or two elements. Computed in f32 and rounded to the elements' type, to nearest even. `a` and `b` are
/// the numbers of [`Map`]. NaN in, NaN out, for all but `Fill`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Function {
    /// x
    Identity = 0,
    /// max(x, 0)
    Relu = 1,
    /// x, or a x where x is negative
    LeakyRelu = 2,
    /// 1 / (1 + e^-x)
    Sigmoid = 3,
    /// tanh x
    Tanh = 4,
    /// 0.5 x (1 + erf(x / sqrt 2))
    Gelu = 5,
    /// 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))
    GeluTanh = 6,
    /// x / (1 + e^-x)
    Silu = 7,
    /// x, or a (e^x - 1) where x is negative
    Elu = 8,
    /// ln(1 + e^x)
    Softplus = 9,
    /// x min(max(x + 3, 0), 6) / 6
    HardSwish = 10,
    /// min(max(x + 3, 0), 6) / 6
    HardSigmoid = 11,
    /// x tanh(ln(1 + e^x))
    Mish = 12,
    /// min(max(x, 0), 6)
    Relu6 = 13,
    /// x / (1 + |x|)
    Softsign = 14,
    /// 1.0507... x, or 1.0507... 1.67326... (e^x - 1) where x is negative (Klambauer et al. 2017)
    Selu = 15,
    /// e^x
    Exp = 20,
    /// ln x
    Log = 21,
    /// sqrt x
    Sqrt = 22,
    /// 1 / sqrt x
    Rsqrt = 23,
    /// |x|
    Abs = 24,
    /// -x
    Negate = 25,
    /// 1 / x
    Reciprocal = 26,
    /// x x
    Square = 27,
    /// a x
    Scale = 30,
    /// x + a
    Shift = 31,
    /// x, at least a and at most b
    Clamp = 32,
    /// a, whatever is there
    Fill = 33,
    /// x + y
    Add = 40,
    /// x - y
    Subtract = 41,
    /// x y
    Multiply = 42,
    /// x / y
    Divide = 43,
    /// The larger; NaN if either is
    Maximum = 44,
    /// The smaller; NaN if either is
    Minimum = 45,
    /// a x + y
    Axpy = 46,
}

impl Function {
    /// How many inputs it has: 0, 1 (x) or 2 (x and y).
    pub const fn inputs(self) -> u32 {
        match self {
            Function::Fill => 0,
            f if f as u32 >= Function::Add as u32 => 2,
            _ => 1,
        }
    }

    /// About how many operations an element costs.
    fn flops(self) -> f64 {
        match self {
            f if f as u32 >= Function::Log as u32 => 2.0,
            Function::Identity | Function::Relu | Function::LeakyRelu | Function::Relu6 => 1.0,
            _ => 25.0,
        }
    }
}

/// `out[i] = function(x[i], y[i])` for `count` elements. `out` may be `x` or `y` itself, but overlap them in no other way.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Map {
    /// What is computed.
    pub function: Function,
    /// f32, f16 or bf16; int8 for [`Function::Relu`] and [`Function::Identity`].
    pub element: Element,
    /// The first input, where the function has one.
    pub x: DevicePtr,
    /// The second input, where the function has two.
    pub y: DevicePtr,
    /// The output.
    pub out: DevicePtr,
    /// Elements of each.
    pub count: u64,
    /// The function's first number.
    pub a: f32,
    /// The function's second number.
    pub b: f32,
}

impl Map {
    pub(super) fn check(&self) -> Result<Ranges> {
        match self.function {
            Function::Relu | Function::Identity => {
                const WITH_BYTES: [Element; 4] = [Element::F32, Element::F16, Element::BF16, Element::I8];
                self.element.among(&WITH_BYTES, "this function")?
            }
            _ => self.element.among(&Element::FLOATS, "this function")?,
        };
        let count = product("count", &[self.count, self.element.bytes()])? / self.element.bytes();
        let mut ranges = Ranges::new();
        if self.function.inputs() > 0 {
            ranges.read("x", self.x, count, self.element)?;
        }
        if self.function.inputs() > 1 {
            ranges.read("y", self.y, count, self.element)?;
        }
        ranges.write("out", self.out, count, self.element)?;
        ranges.apart(true)
    }

    pub(super) fn cost(&self) -> Cost {
        let tensors = f64::from(self.function.inputs() + 1);
        Cost {
            flops: self.count as f64 * self.function.flops(),
            bytes: self.count as f64 * self.element.bytes() as f64 * tensors,
            matrix: false,
        }
    }

    pub(super) fn cutter(&self, pace: &Pace) -> Cutter {
        let mut cutter = Cutter::new(self.cost().pieces(pace));
        cutter.cut(self.count, 4096);
        cutter
    }

    pub(super) fn piece(&self, cutter: &Cutter, index: u64) -> Map {
        let [part, ..] = cutter.piece(index);
        let from = part.first * self.element.bytes();
        let at = |ptr: DevicePtr| if ptr == 0 { 0 } else { ptr + from };
        Map { x: at(self.x), y: at(self.y), out: at(self.out), count: part.count, ..*self }
    }
}
