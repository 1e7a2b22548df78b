//! Operations on tensors that an application brings: products, convolutions, activations and the built-in kernels.

mod argument;

pub use argument::Argument;
