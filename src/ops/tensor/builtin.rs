//! The built-in kernels: operations by name, with typed parameters.

mod table;

pub use table::BUILTINS;

use super::pieces::Cutter;
use super::{Argument, Element, Operation, Range, Ranges, TensorOps};
use crate::device::DevicePtr;
use crate::{Error, Result};

/// What a parameter takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An address: [`Argument::Pointer`].
    Pointer,
    /// An integer from 0 up, of any width.
    Count,
    /// A type of elements, as an integer of `cudaDataType_t`.
    Element,
    /// A number: f32, f64 or an integer.
    Number,
    /// 0 or 1, as an integer.
    Flag,
}

impl Kind {
    /// What it takes, for errors.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Pointer => "a pointer",
            Kind::Count => "an integer from 0 up",
            Kind::Element => "a cudaDataType_t as an integer",
            Kind::Number => "a number",
            Kind::Flag => "0 or 1",
        }
    }
}

/// A parameter of a built-in kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Its name.
    pub name: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// Whether it may be left out, with all that follow. The kernel's text says what holds then.
    pub optional: bool,
}

/// A built-in kernel.
pub struct Builtin {
    /// Its name.
    pub name: &'static str,
    /// What it does, one line; what holds for parameters that are left out.
    pub about: &'static str,
    /// Its parameters in order.
    pub parameters: &'static [Parameter],
    make: fn(&Values<'_>) -> Result<Operation>,
}

/// The built-in kernel of this name.
///
/// Errors: [`crate::Status::NotFound`] with the names that there are.
pub fn builtin(name: &str) -> Result<&'static Builtin> {
    BUILTINS.iter().find(|b| b.name == name).ok_or_else(|| {
        let known: Vec<&str> = BUILTINS.iter().map(|b| b.name).collect();
        Error::not_found(format!("there is no built-in kernel `{name}`"))
            .advise(format!("the built-in ones are {}", known.join(", ")))
    })
}

impl Builtin {
    /// The kernel's parameters as text: `name(A: a pointer, …)`.
    pub fn signature(&self) -> String {
        let each = |p: &Parameter| {
            format!("{}: {}{}", p.name, p.kind.name(), if p.optional { " (optional)" } else { "" })
        };
        format!("{}({})", self.name, self.parameters.iter().map(each).collect::<Vec<_>>().join(", "))
    }

    /// The operation that these arguments ask for.
    ///
    /// Errors: a wrong number of arguments or one of the wrong kind (the parameter is named, and what it takes); whatever
    /// [`Operation::check`] finds.
    pub fn operation(&self, arguments: &[Argument]) -> Result<Operation> {
        let needed = self.parameters.iter().filter(|p| !p.optional).count();
        let most = self.parameters.len();
        if arguments.len() < needed || arguments.len() > most {
            let wanted = if needed == most { format!("{most}") } else { format!("{needed} to {most}") };
            let text = format!("`{}` takes {wanted} arguments, {} were given", self.name, arguments.len());
            let advice = match self.parameters.get(arguments.len()) {
                Some(missing) => format!("`{}` is missing: {}", missing.name, self.signature()),
                None => self.signature(),
            };
            return Err(Error::argument("arguments", text).advise(advice));
        }
        for (parameter, argument) in self.parameters.iter().zip(arguments) {
            let fits = match parameter.kind {
                Kind::Pointer => matches!(argument, Argument::Pointer(_)),
                Kind::Count => integer(argument).is_some_and(|v| v >= 0),
                Kind::Element => integer(argument).is_some(),
                Kind::Number => number(argument).is_some(),
                Kind::Flag => integer(argument).is_some_and(|v| v == 0 || v == 1),
            };
            if !fits {
                let text = format!(
                    "`{}` takes {} here, not {} of kind {}",
                    self.name,
                    parameter.kind.name(),
                    shown(argument),
                    argument.kind()
                );
                return Err(Error::argument(parameter.name, text).advise(self.signature()));
            }
        }
        (self.make)(&Values { builtin: self, arguments })
    }

    /// What these arguments ask for, checked and cut into pieces for the node of `ops`.
    ///
    /// Errors: as [`Builtin::operation`].
    pub fn prepare(&self, arguments: &[Argument], ops: &dyn TensorOps) -> Result<Prepared> {
        let context = |e: Error| e.within(format_args!("kernel `{}`", self.name));
        let operation = self.operation(arguments).map_err(context)?;
        Prepared::new(operation, ops).map_err(context)
    }
}

/// An argument's value, for errors.
fn shown(argument: &Argument) -> String {
    match argument {
        Argument::Pointer(p) => format!("{p:#x}"),
        Argument::I32(v) => v.to_string(),
        Argument::U32(v) => v.to_string(),
        Argument::I64(v) => v.to_string(),
        Argument::U64(v) => v.to_string(),
        Argument::F32(v) => v.to_string(),
        Argument::F64(v) => v.to_string(),
        Argument::Bytes(b) => format!("{} bytes", b.len()),
    }
}

fn integer(argument: &Argument) -> Option<i128> {
    match *argument {
        Argument::I32(v) => Some(v.into()),
        Argument::U32(v) => Some(v.into()),
        Argument::I64(v) => Some(v.into()),
        Argument::U64(v) => Some(v.into()),
        _ => None,
    }
}

fn number(argument: &Argument) -> Option<f64> {
    match *argument {
        Argument::F32(v) => Some(v.into()),
        Argument::F64(v) => Some(v),
        _ => integer(argument).map(|v| v as f64),
    }
}

/// Arguments whose number and kinds were checked, by the names of their parameters.
struct Values<'a> {
    builtin: &'a Builtin,
    arguments: &'a [Argument],
}

impl Values<'_> {
    fn get(&self, name: &str) -> Option<&Argument> {
        let index = self.builtin.parameters.iter().position(|p| p.name == name);
        debug_assert!(index.is_some(), "`{}` has no parameter `{name}`", self.builtin.name);
        self.arguments.get(index?)
    }

    fn pointer(&self, name: &str) -> DevicePtr {
        match self.get(name) {
            Some(Argument::Pointer(p)) => *p,
            _ => 0,
        }
    }

    /// An integer, or `default` when it was left out.
    fn count_or(&self, name: &str, default: u64) -> u64 {
        self.get(name).and_then(integer).map_or(default, |v| u64::try_from(v).unwrap_or(u64::MAX))
    }

    fn count(&self, name: &str) -> u64 {
        self.count_or(name, 0)
    }

    fn number_or(&self, name: &str, default: f64) -> f64 {
        self.get(name).and_then(number).unwrap_or(default)
    }

    fn flag(&self, name: &str) -> bool {
        self.count(name) != 0
    }

    fn element(&self, name: &str) -> Result<Element> {
        let value = self.get(name).and_then(integer).unwrap_or(-1);
        Element::from_number(name, i64::try_from(value).unwrap_or(-1))
    }
}

/// An operation that was checked and cut into pieces.
#[derive(Clone, Debug)]
pub struct Prepared {
    operation: Operation,
    ranges: Ranges,
    cutter: Cutter,
}

impl Prepared {
    /// Checks an operation and cuts it for the node of `ops`.
    ///
    /// Errors: as [`Operation::check`].
    pub fn new(operation: Operation, ops: &dyn TensorOps) -> Result<Prepared> {
        let ranges = operation.check()?;
        let element = match &operation {
            Operation::MatMul(o) => o.element,
            Operation::Conv2d(o) => o.element,
            _ => Element::F32,
        };
        let cutter = operation.cutter(&ops.pace(element));
        Ok(Prepared { operation, ranges, cutter })
    }

    /// The operation as a whole.
    pub fn operation(&self) -> &Operation {
        &self.operation
    }

    /// The memory that it reads and writes: the caller checks that it is the tenant's, and keeps it in place.
    pub fn ranges(&self) -> &[Range] {
        &self.ranges
    }

    /// Whether it looks at its flag while it runs; such an operation is one piece, however long.
    pub fn polls(&self) -> bool {
        self.operation.polls()
    }

    /// How many pieces it is made of, each of about a millisecond by the device's figures; at least 1. They may run one
    /// by one with other work between; together they do all of it, in any order. Results of a product that a library
    /// computes may differ in the last bits from those of the whole.
    pub fn pieces(&self) -> u64 {
        if self.operation.is_empty() { 1 } else { self.cutter.pieces() }
    }

    /// Queues piece `piece` on the stream of `ops`. `cancel` is the address of 4 bytes, aligned to 4, that the device can read: an
    /// operation that polls stops soon after they are not 0.
    ///
    /// Errors: no such piece; as [`TensorOps::queue_checked`].
    ///
    /// # Safety
    /// [`Prepared::ranges`] are memory of the device until the work has run; so is the flag.
    pub unsafe fn run(&self, ops: &dyn TensorOps, piece: u64, cancel: Option<DevicePtr>) -> Result<()> {
        let pieces = self.pieces();
        if piece >= pieces {
            return Err(Error::argument("piece", format!("{piece} of {pieces}")));
        }
        let part = if pieces == 1 { self.operation } else { self.operation.piece(&self.cutter, piece) };
        // SAFETY: a part of what was checked; the caller's duty.
        unsafe { ops.queue_checked(&part, cancel) }
    }
}
