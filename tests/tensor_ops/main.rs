//! Every operation on tensors of every device against plain f64 code and against what PyTorch and NumPy computed. Runs on
//! all devices that can be opened; `COGNIWARE_DEVICE=cuda` or `cpu` picks one.

mod convolution;
mod each;
mod fixtures;
mod product;
mod rig;
mod rows;
mod shape;
