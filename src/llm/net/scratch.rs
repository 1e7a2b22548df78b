//! The scratch of a model's operations, which follows the model from node to node.

use super::buffer::Buffer;
use crate::Result;
use crate::memory::Space;
use crate::ops::Ops;
use std::sync::Arc;

/// The largest step that scratch is made for; see [`Ops::scratch_bytes`].
#[derive(Clone, Copy)]
pub(crate) struct LargestStep {
    pub rows: u32,
    pub cols: u32,
    pub outputs: u32,
    pub tokens: u32,
    pub heads: u32,
    pub head_dim: u32,
}

/// Device memory that operations work in.
pub(crate) struct Scratch {
    space: Arc<Space>,
    largest: LargestStep,
    buffer: Buffer,
}

impl Scratch {
    /// Scratch for `ops`, which get it.
    pub fn new(space: &Arc<Space>, largest: LargestStep, ops: &dyn Ops) -> Result<Scratch> {
        let buffer = make(space, bytes(&largest, ops))?;
        ops.set_scratch(buffer.ptr(), buffer.bytes())?;
        Ok(Scratch { space: Arc::clone(space), largest, buffer })
    }

    pub fn bytes(&self) -> u64 {
        self.buffer.bytes()
    }

    /// Gives it to the operations of another node. What they need grows with the node: where it is too small now, it is
    /// replaced. On an error it is as it was. The operations that had it before must not run any more.
    pub fn hand_over(&mut self, ops: &dyn Ops) -> Result<()> {
        let need = bytes(&self.largest, ops);
        if need <= self.buffer.bytes() {
            return ops.set_scratch(self.buffer.ptr(), self.buffer.bytes());
        }
        let larger = make(&self.space, need).map_err(|e| {
            e.within("a larger compute node").advise("raise the tenant's memory limit, or give nodes back")
        })?;
        ops.set_scratch(larger.ptr(), larger.bytes())?;
        self.buffer = larger;
        Ok(())
    }
}

fn bytes(step: &LargestStep, ops: &dyn Ops) -> u64 {
    ops.scratch_bytes(step.rows, step.cols, step.outputs, step.tokens, step.heads, step.head_dim)
}

fn make(space: &Arc<Space>, bytes: u64) -> Result<Buffer> {
    Buffer::new(space, bytes, "operation scratch")
}
