//! Every operation of every device against plain f64 code, on random shapes. Runs on all devices that can be opened;
//! `COGNIWARE_DEVICE=cuda` or `cpu` picks one.

mod attention;
mod matmul;
mod rig;
mod simple;
mod steps;
mod ternary;
