//! All built-in kernels.

use super::{Builtin, Kind, Parameter, Values};
use crate::Result;
use crate::ops::tensor::{
    Activate, Cast, Conv2d, Copy, Element, Function, Iterate, Map, MatMul, Matrix, Norm, Operation, Quantize,
    Reduce, Reduction, Set, SoftMax, Transpose, activation_names,
};

const fn needed(name: &'static str, kind: Kind) -> Parameter {
    Parameter { name, kind, optional: false }
}

const fn optional(name: &'static str, kind: Kind) -> Parameter {
    Parameter { name, kind, optional: true }
}

const fn pointer(name: &'static str) -> Parameter {
    needed(name, Kind::Pointer)
}

const fn count(name: &'static str) -> Parameter {
    needed(name, Kind::Count)
}

const TYPE: Parameter = needed("dataType", Kind::Element);

const PRODUCT: &[Parameter] = &[
    pointer("A"),
    pointer("B"),
    pointer("C"),
    count("m"),
    count("n"),
    count("k"),
    TYPE,
    optional("alpha", Kind::Number),
    optional("beta", Kind::Number),
    optional("transposeA", Kind::Flag),
    optional("transposeB", Kind::Flag),
    optional("lda", Kind::Count),
    optional("ldb", Kind::Count),
    optional("ldc", Kind::Count),
    optional("batch", Kind::Count),
    optional("strideA", Kind::Count),
    optional("strideB", Kind::Count),
    optional("strideC", Kind::Count),
];
const CONVOLUTION: &[Parameter] = &[
    pointer("input"),
    pointer("filter"),
    pointer("output"),
    count("batchSize"),
    count("inChannels"),
    count("outChannels"),
    count("height"),
    count("width"),
    count("kernelSize"),
    count("stride"),
    count("padding"),
    TYPE,
];
const ACTIVATION: &[Parameter] = &[
    pointer("input"),
    pointer("output"),
    count("batchSize"),
    count("channels"),
    count("height"),
    count("width"),
    count("activation"),
    TYPE,
];
const UNARY: &[Parameter] = &[pointer("x"), pointer("out"), count("count"), TYPE];
const UNARY_A: &[Parameter] =
    &[pointer("x"), pointer("out"), count("count"), TYPE, needed("a", Kind::Number)];
const UNARY_A_OR: &[Parameter] =
    &[pointer("x"), pointer("out"), count("count"), TYPE, optional("a", Kind::Number)];
const CLAMP: &[Parameter] = &[
    pointer("x"),
    pointer("out"),
    count("count"),
    TYPE,
    needed("low", Kind::Number),
    needed("high", Kind::Number),
];
const FILL: &[Parameter] = &[pointer("out"), count("count"), TYPE, needed("value", Kind::Number)];
const BINARY: &[Parameter] = &[pointer("x"), pointer("y"), pointer("out"), count("count"), TYPE];
const AXPY: &[Parameter] =
    &[pointer("x"), pointer("y"), pointer("out"), count("count"), TYPE, needed("a", Kind::Number)];
const REDUCE: &[Parameter] =
    &[pointer("x"), pointer("out"), count("rows"), count("cols"), TYPE, optional("ld", Kind::Count)];
const ROWS: &[Parameter] = &[pointer("x"), pointer("out"), count("rows"), count("cols"), TYPE];
const LAYER_NORM: &[Parameter] = &[
    pointer("x"),
    pointer("weight"),
    pointer("bias"),
    pointer("out"),
    count("rows"),
    count("cols"),
    TYPE,
    optional("eps", Kind::Number),
];
const RMS_NORM: &[Parameter] = &[
    pointer("x"),
    pointer("weight"),
    pointer("out"),
    count("rows"),
    count("cols"),
    TYPE,
    optional("eps", Kind::Number),
];
const QUANTIZE: &[Parameter] =
    &[pointer("x"), pointer("q"), pointer("scales"), count("rows"), count("cols"), TYPE];
const CAST: &[Parameter] = &[
    pointer("x"),
    pointer("out"),
    count("count"),
    needed("from", Kind::Element),
    needed("to", Kind::Element),
];
const TRANSPOSE: &[Parameter] = &[
    pointer("x"),
    pointer("out"),
    count("rows"),
    count("cols"),
    TYPE,
    optional("ld", Kind::Count),
    optional("out_ld", Kind::Count),
];
const COPY: &[Parameter] = &[pointer("dst"), pointer("src"), count("bytes")];
const SET: &[Parameter] = &[pointer("dst"), count("value"), count("bytes")];
const ITERATE: &[Parameter] =
    &[pointer("x"), count("count"), needed("a", Kind::Number), needed("b", Kind::Number), count("times")];

fn matrix_multiply(v: &Values<'_>) -> Result<Operation> {
    let (m, n, k) = (v.count("m"), v.count("n"), v.count("k"));
    let matrix = |name: &str, ld: &str, stride: &str, rows: u64, cols: u64| {
        // 0 stands for dense.
        let ld = Some(v.count(ld)).filter(|l| *l > 0).unwrap_or(cols);
        Matrix { ptr: v.pointer(name), ld, stride: v.count_or(stride, rows.saturating_mul(ld)) }
    };
    let (ta, tb) = (v.flag("transposeA"), v.flag("transposeB"));
    let (ar, ac) = if ta { (k, m) } else { (m, k) };
    let (br, bc) = if tb { (n, k) } else { (k, n) };
    Ok(Operation::MatMul(MatMul {
        element: v.element("dataType")?,
        m,
        n,
        k,
        a: matrix("A", "lda", "strideA", ar, ac),
        b: matrix("B", "ldb", "strideB", br, bc),
        c: matrix("C", "ldc", "strideC", m, n),
        transpose_a: ta,
        transpose_b: tb,
        alpha: v.number_or("alpha", 1.0),
        beta: v.number_or("beta", 0.0),
        batch: v.count_or("batch", 1),
    }))
}

fn convolution_forward(v: &Values<'_>) -> Result<Operation> {
    Ok(Operation::Conv2d(Conv2d {
        element: v.element("dataType")?,
        input: v.pointer("input"),
        filter: v.pointer("filter"),
        output: v.pointer("output"),
        batch: v.count("batchSize"),
        in_channels: v.count("inChannels"),
        out_channels: v.count("outChannels"),
        height: v.count("height"),
        width: v.count("width"),
        kernel: v.count("kernelSize"),
        stride: v.count("stride"),
        padding: v.count("padding"),
    }))
}

fn activation_forward(v: &Values<'_>) -> Result<Operation> {
    let number = v.count("activation");
    let name = usize::try_from(number).ok().and_then(|i| activation_names().nth(i)).ok_or_else(|| {
        let known: Vec<String> = activation_names().enumerate().map(|(i, n)| format!("{i} {n}")).collect();
        crate::Error::argument("activation", format!("there is no activation {number}"))
            .advise(format!("the known ones are {}", known.join(", ")))
    })?;
    Activate {
        name,
        element: v.element("dataType")?,
        input: v.pointer("input"),
        output: v.pointer("output"),
        batch: v.count("batchSize"),
        channels: v.count("channels"),
        height: v.count("height"),
        width: v.count("width"),
    }
    .operation()
}

fn map(v: &Values<'_>, function: Function, a: f64, b: f64) -> Result<Operation> {
    Ok(Operation::Map(Map {
        function,
        element: v.element("dataType")?,
        x: if function.inputs() > 0 { v.pointer("x") } else { 0 },
        y: if function.inputs() > 1 { v.pointer("y") } else { 0 },
        out: v.pointer("out"),
        count: v.count("count"),
        a: a as f32,
        b: b as f32,
    }))
}

fn clamp(v: &Values<'_>) -> Result<Operation> {
    let (low, high) = (v.number_or("low", 0.0), v.number_or("high", 0.0));
    if low.is_nan() || high.is_nan() || low > high {
        return Err(crate::Error::argument("low", format!("{low} is not at most `high`, {high}")));
    }
    map(v, Function::Clamp, low, high)
}

fn reduce(v: &Values<'_>, reduction: Reduction) -> Result<Operation> {
    let cols = v.count("cols");
    Ok(Operation::Reduce(Reduce {
        reduction,
        element: v.element("dataType")?,
        x: v.pointer("x"),
        out: v.pointer("out"),
        rows: v.count("rows"),
        cols,
        ld: Some(v.count("ld")).filter(|l| *l > 0).unwrap_or(cols),
    }))
}

fn softmax(v: &Values<'_>, log: bool) -> Result<Operation> {
    Ok(Operation::SoftMax(SoftMax {
        log,
        element: v.element("dataType")?,
        x: v.pointer("x"),
        out: v.pointer("out"),
        outer: v.count("rows"),
        axis: v.count("cols"),
        inner: 1,
        pitch: 1,
    }))
}

fn norm(v: &Values<'_>, rms: bool, eps: f64) -> Result<Operation> {
    Ok(Operation::Norm(Norm {
        rms,
        element: v.element("dataType")?,
        x: v.pointer("x"),
        weight: v.pointer("weight"),
        bias: if rms { 0 } else { v.pointer("bias") },
        out: v.pointer("out"),
        rows: v.count("rows"),
        cols: v.count("cols"),
        eps: v.number_or("eps", eps) as f32,
    }))
}

fn quantize(v: &Values<'_>, back: bool) -> Result<Operation> {
    Ok(Operation::Quantize(Quantize {
        back,
        element: v.element("dataType")?,
        x: v.pointer("x"),
        codes: v.pointer("q"),
        scales: v.pointer("scales"),
        rows: v.count("rows"),
        cols: v.count("cols"),
    }))
}

fn cast(v: &Values<'_>) -> Result<Operation> {
    let (from, to): (Element, Element) = (v.element("from")?, v.element("to")?);
    Ok(Operation::Cast(Cast { from, to, x: v.pointer("x"), out: v.pointer("out"), count: v.count("count") }))
}

fn transpose(v: &Values<'_>) -> Result<Operation> {
    let (rows, cols) = (v.count("rows"), v.count("cols"));
    Ok(Operation::Transpose(Transpose {
        element: v.element("dataType")?,
        x: v.pointer("x"),
        out: v.pointer("out"),
        rows,
        cols,
        ld: Some(v.count("ld")).filter(|l| *l > 0).unwrap_or(cols),
        out_ld: Some(v.count("out_ld")).filter(|l| *l > 0).unwrap_or(rows),
    }))
}

fn copy(v: &Values<'_>) -> Result<Operation> {
    Ok(Operation::Copy(Copy { dst: v.pointer("dst"), src: v.pointer("src"), bytes: v.count("bytes") }))
}

fn set(v: &Values<'_>) -> Result<Operation> {
    let value = v.count("value");
    let value = u8::try_from(value)
        .map_err(|_| crate::Error::argument("value", format!("{value} is more than a byte holds")))?;
    Ok(Operation::Set(Set { dst: v.pointer("dst"), value, bytes: v.count("bytes") }))
}

fn iterate(v: &Values<'_>) -> Result<Operation> {
    Ok(Operation::Iterate(Iterate {
        x: v.pointer("x"),
        count: v.count("count"),
        a: v.number_or("a", 1.0) as f32,
        b: v.number_or("b", 0.0) as f32,
        times: v.count("times"),
    }))
}

/// A kernel of one element-wise function.
macro_rules! each {
    ($name:literal, $about:literal, $function:ident, $parameters:ident) => {
        each!($name, $about, $function, $parameters, 0.0)
    };
    ($name:literal, $about:literal, $function:ident, $parameters:ident, $default:expr) => {
        Builtin {
            name: $name,
            about: $about,
            parameters: $parameters,
            make: |v| {
                let has = v.builtin.parameters.iter().any(|p| p.name == "a");
                map(v, Function::$function, if has { v.number_or("a", $default) } else { $default }, 0.0)
            },
        }
    };
}

macro_rules! reduction {
    ($name:literal, $about:literal, $reduction:ident) => {
        Builtin { name: $name, about: $about, parameters: REDUCE, make: |v| reduce(v, Reduction::$reduction) }
    };
}

/// The built-in kernels. Tensors are row-major and dense where no leading dimension says otherwise.
pub static BUILTINS: &[Builtin] = &[
    Builtin {
        name: "matrix_multiply",
        about: "C = alpha op(A) op(B) + beta C, m x n x k; alpha 1, beta 0, dense, one product where left out; a leading dimension of 0 is dense",
        parameters: PRODUCT,
        make: matrix_multiply,
    },
    Builtin {
        name: "convolution_forward",
        about: "output = input (NCHW) * filter (OIHW, square), NCHW",
        parameters: CONVOLUTION,
        make: convolution_forward,
    },
    Builtin {
        name: "activation_forward",
        about: "output = activation(input), NCHW; the activation by its number in activation_names",
        parameters: ACTIVATION,
        make: activation_forward,
    },
    each!("add", "out = x + y", Add, BINARY),
    each!("subtract", "out = x - y", Subtract, BINARY),
    each!("multiply", "out = x y, element by element", Multiply, BINARY),
    each!("divide", "out = x / y", Divide, BINARY),
    each!("maximum", "out = the larger of x and y", Maximum, BINARY),
    each!("minimum", "out = the smaller of x and y", Minimum, BINARY),
    each!("axpy", "out = a x + y", Axpy, AXPY),
    each!("scale", "out = a x", Scale, UNARY_A),
    each!("shift", "out = x + a", Shift, UNARY_A),
    Builtin {
        name: "clamp",
        about: "out = x, at least low and at most high",
        parameters: CLAMP,
        make: clamp,
    },
    Builtin {
        name: "fill",
        about: "out = value",
        parameters: FILL,
        make: |v| map(v, Function::Fill, v.number_or("value", 0.0), 0.0),
    },
    each!("exp", "out = e^x", Exp, UNARY),
    each!("log", "out = ln x", Log, UNARY),
    each!("sqrt", "out = sqrt x", Sqrt, UNARY),
    each!("rsqrt", "out = 1 / sqrt x", Rsqrt, UNARY),
    each!("abs", "out = |x|", Abs, UNARY),
    each!("negate", "out = -x", Negate, UNARY),
    each!("reciprocal", "out = 1 / x", Reciprocal, UNARY),
    each!("square", "out = x x", Square, UNARY),
    each!("relu", "out = max(x, 0)", Relu, UNARY),
    each!("leaky_relu", "out = x, a x where negative; a 0.01 where left out", LeakyRelu, UNARY_A_OR, 0.01),
    each!("sigmoid", "out = 1 / (1 + e^-x)", Sigmoid, UNARY),
    each!("tanh", "out = tanh x", Tanh, UNARY),
    each!("gelu", "out = 0.5 x (1 + erf(x / sqrt 2))", Gelu, UNARY),
    each!("gelu_tanh", "out = GELU by its tanh approximation", GeluTanh, UNARY),
    each!("silu", "out = x / (1 + e^-x)", Silu, UNARY),
    each!("elu", "out = x, a (e^x - 1) where negative; a 1 where left out", Elu, UNARY_A_OR, 1.0),
    each!("softplus", "out = ln(1 + e^x)", Softplus, UNARY),
    reduction!("sum", "out[row] = sum of the row, f32", Sum),
    reduction!("mean", "out[row] = mean of the row, f32", Mean),
    reduction!("max", "out[row] = largest of the row, f32", Max),
    reduction!("min", "out[row] = smallest of the row, f32", Min),
    reduction!("l2_norm", "out[row] = square root of the sum of squares, f32", L2Norm),
    reduction!("argmax", "out[row] = column of the largest, int32", ArgMax),
    Builtin { name: "softmax", about: "softmax of each row", parameters: ROWS, make: |v| softmax(v, false) },
    Builtin {
        name: "log_softmax",
        about: "logarithm of the softmax of each row",
        parameters: ROWS,
        make: |v| softmax(v, true),
    },
    Builtin {
        name: "layer_norm",
        about: "layer norm of each row; weight and bias may be null; eps 1e-5 where left out",
        parameters: LAYER_NORM,
        make: |v| norm(v, false, 1e-5),
    },
    Builtin {
        name: "rms_norm",
        about: "norm of each row by its root mean square; weight may be null; eps 1e-6 where left out",
        parameters: RMS_NORM,
        make: |v| norm(v, true, 1e-6),
    },
    Builtin {
        name: "quantize_int8",
        about: "q, scales = x in 8 bits, row by row by its largest",
        parameters: QUANTIZE,
        make: |v| quantize(v, false),
    },
    Builtin {
        name: "dequantize_int8",
        about: "x = q times the row's scale",
        parameters: QUANTIZE,
        make: |v| quantize(v, true),
    },
    Builtin { name: "cast", about: "out = x in another type", parameters: CAST, make: cast },
    Builtin {
        name: "transpose",
        about: "out[col][row] = x[row][col]; dense where left out",
        parameters: TRANSPOSE,
        make: transpose,
    },
    Builtin { name: "copy", about: "bytes from src to dst", parameters: COPY, make: copy },
    Builtin { name: "set", about: "bytes set to value", parameters: SET, make: set },
    Builtin {
        name: "iterate",
        about: "x = a x + b (f32), times over; looks at its flag while it runs",
        parameters: ITERATE,
        make: iterate,
    },
];

#[cfg(test)]
mod tests {
    use super::super::builtin;
    use super::*;
    use crate::ops::tensor::Argument::{self, F32, I32, Pointer, U64};

    /// Arguments that every kernel takes.
    fn usual(parameters: &[Parameter]) -> Vec<Argument> {
        let mut at = 0;
        let needed = parameters.iter().filter(|p| !p.optional);
        needed
            .map(|p| match p.kind {
                Kind::Pointer => {
                    at += 1 << 20;
                    Pointer(at)
                }
                Kind::Count => I32(if p.name == "padding" { 0 } else { 1 }),
                Kind::Element if p.name == "to" => I32(2),
                Kind::Element | Kind::Flag => I32(0),
                Kind::Number => F32(1.0),
            })
            .collect()
    }

    #[test]
    fn every_kernel_takes_its_arguments_and_no_others() {
        for b in BUILTINS {
            assert_eq!(BUILTINS.iter().filter(|o| o.name == b.name).count(), 1, "{}", b.name);
            let mut arguments = usual(b.parameters);
            let ranges = b.operation(&arguments).and_then(|o| o.check()).unwrap();
            assert!(ranges.iter().any(|r| r.write), "{}", b.signature());
            for (i, p) in b.parameters.iter().enumerate().take(arguments.len()) {
                let wrong = if p.kind == Kind::Pointer { I32(1) } else { Argument::Bytes(vec![0; 4]) };
                let good = std::mem::replace(&mut arguments[i], wrong);
                let e = b.operation(&arguments).unwrap_err();
                assert!(e.message().contains(&format!("`{}`", p.name)), "{} {e}", b.name);
                if p.kind == Kind::Pointer {
                    arguments[i] = Pointer(0);
                    let null_is_fine = ["weight", "bias"].contains(&p.name);
                    let found = b.operation(&arguments).and_then(|o| o.check());
                    assert_eq!(found.is_ok(), null_is_fine, "{} {}", b.name, p.name);
                }
                if p.kind == Kind::Count {
                    arguments[i] = I32(-1);
                    assert!(b.operation(&arguments).is_err(), "{} {}", b.name, p.name);
                    arguments[i] = U64(1 << 63);
                    let found = b.operation(&arguments).and_then(|o| o.check());
                    let steps = b.name == "iterate" && p.name == "times";
                    assert_eq!(found.is_ok(), steps, "{} {}", b.name, p.name);
                }
                arguments[i] = good;
            }
            let missing = &arguments[..arguments.len() - 1];
            assert!(b.operation(missing).unwrap_err().advice().unwrap().contains("missing"));
            arguments.resize(b.parameters.len() + 1, I32(0));
            assert!(b.operation(&arguments).is_err());
        }
        assert!(builtin("no such").err().unwrap().advice().unwrap().contains("matrix_multiply"));
    }
}
