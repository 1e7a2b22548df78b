//! Operations against plain references, at every level of instructions that this processor has.

mod attention;
mod products;
mod steps;

use super::testing::Threads;
use super::{CpuOps, Isa};
use crate::device::cpu::CpuDevice;
use crate::ops::{Math, Ops};
use std::sync::Arc;

fn levels() -> impl Iterator<Item = Isa> {
    Isa::ALL.into_iter().filter(|&isa| isa <= Isa::highest())
}

/// Operations on a stream of the CPU device, with threads of their own.
fn ops(isa: Isa, threads: usize) -> Arc<dyn Ops> {
    let device = CpuDevice::open().unwrap();
    let stream = device.node_create(&[0]).unwrap().stream_create(0).unwrap();
    CpuOps::with_level(isa, Math::Exact, Arc::new(Threads(threads)), stream).unwrap()
}
