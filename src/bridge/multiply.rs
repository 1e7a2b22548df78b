//! Tasks that multiply matrices of one tenant, on its node, through the gate.

use super::config::{self, Map};
use super::copying::{address, owned};
use crate::compute::{Gate, TaskContext};
use crate::memory::Space;
use crate::ops::{self, Ops};
use crate::quant::DType;
use crate::tenant::{Tenant, keys};
use crate::{Error, Result, Status};
use std::sync::Arc;
use std::time::Duration;

/// Rows of a step: between two steps others have their turn, and cancelling is looked for.
const ROWS: u32 = 256;

/// What a `matrix_multiply` task was asked for: `c = a b`, row-major f32.
pub(super) struct Product {
    m: u32,
    n: u32,
    k: u32,
    a: u64,
    b: u64,
    c: u64,
    /// `a` is stored as k × m.
    turn_a: bool,
    /// `b` is stored as n × k.
    turn_b: bool,
}

impl Product {
    pub(super) fn read(map: &Map) -> Result<Product> {
        config::check_keys(map, &[&["m", "n", "k", "a", "b", "c", "transpose", "dtype"]])?;
        if let Some(dtype) = map.get("dtype").filter(|d| *d != "f32") {
            return Err(Error::argument("dtype", format!("{dtype:?} is not f32, which is the one there is")));
        }
        let (turn_a, turn_b) = match map.get("transpose").map(String::as_str) {
            None | Some("none") => (false, false),
            Some("a") => (true, false),
            Some("b") => (false, true),
            Some("ab") => (true, true),
            Some(other) => {
                return Err(Error::argument("transpose", format!("{other:?} is not none, a, b or ab")));
            }
        };
        let size =
            |key: &str| keys::positive::<u32>(map, key)?.ok_or_else(|| Error::argument(key, "is missing"));
        let product = Product {
            m: size("m")?,
            n: size("n")?,
            k: size("k")?,
            a: address(map, "a")?,
            b: address(map, "b")?,
            c: address(map, "c")?,
            turn_a,
            turn_b,
        };
        for (key, address) in [("a", product.a), ("b", product.b), ("c", product.c)] {
            if !address.is_multiple_of(16) {
                return Err(Error::argument(key, format!("{address:#x} is not aligned to 16 bytes")));
            }
        }
        Ok(product)
    }

    fn bytes(rows: u32, cols: u32) -> u64 {
        // Two numbers of 32 bits and one of 3: fits where both are below 2^31, which memory sees to.
        u64::from(rows).saturating_mul(u64::from(cols)).saturating_mul(4)
    }

    /// All three must be memory of the tenant, and the result no part of what is multiplied.
    pub(super) fn check(&self, tenant: &Tenant) -> Result<()> {
        let size = Self::bytes(self.m, self.n);
        owned(tenant, "c", self.c, size)?;
        for (key, at, bytes) in
            [("a", self.a, Self::bytes(self.m, self.k)), ("b", self.b, Self::bytes(self.k, self.n))]
        {
            owned(tenant, key, at, bytes)?;
            if self.c < at + bytes && at < self.c + size {
                return Err(Error::argument("c", format!("overlaps {key}")));
            }
        }
        Ok(())
    }

    /// Runs it; nobody may free the matrices meanwhile. The right one is packed as models' weights are, in the tenant's
    /// memory (about its own size again), and so is a left one that has to be turned.
    pub(super) fn run(&self, tenant: &Tenant, context: &TaskContext) -> Result<String> {
        self.check(tenant)?;
        // The work is the node's threads'; those that start for it must not have this one's nice value.
        context.only_waits();
        let (device, space) = (tenant.device(), tenant.space());
        let node = tenant.node()?;
        let ops = tenant.ops()?;
        let right = self.right(tenant, &*ops)?;
        let left = match self.turn_a {
            true => Some(self.turned_left(tenant)?),
            false => None,
        };
        let first = left.as_ref().map_or(self.a, |l| l.at);
        let rows = ROWS.min(self.m);
        let bytes = ops.scratch_bytes(rows, self.k, self.n, 1, 1, 64).max(256);
        let scratch = Piece::new(space, bytes.next_multiple_of(256))?;
        ops.set_scratch(scratch.at, bytes.next_multiple_of(256))?;
        let weight = ops::Weight { dtype: DType::F32, rows: self.n, cols: self.k, ptr: right.at };
        let (gate, effort) = (Gate::of(device), context.effort());
        let mut spent = Duration::ZERO;
        let mut row = 0;
        while row < self.m {
            let count = rows.min(self.m - row);
            let x = first + Self::bytes(row, self.k);
            let out = self.c + Self::bytes(row, self.n);
            let permit = gate.enter(tenant.share(), node.units(), &|| context.is_cancelled())?;
            let product = [ops::Product { weight, bias: None, out, add: false }];
            let door = space.door().enter()?;
            let time = ops.step(None, &[], &mut || ops.matmul(x, count, &product), &mut [])?;
            drop(door);
            permit.finish_as(time.device, effort.weight());
            effort.charge(time.device);
            spent += time.device;
            row += count;
            if context.is_cancelled() && row < self.m {
                let text = format!("cancelled after {row} of {} rows", self.m);
                return Err(Error::new(Status::Cancelled, text));
            }
        }
        ops.forget();
        let flops = 2.0 * f64::from(self.m) * f64::from(self.n) * f64::from(self.k);
        Ok(serde_json::json!({"device_seconds": spent.as_secs_f64(), "flops": flops}).to_string())
    }

    /// The right matrix as the device wants it: n rows of k.
    fn right(&self, tenant: &Tenant, ops: &dyn Ops) -> Result<Piece> {
        let device = tenant.device();
        let mut stored = vec![0u8; Self::bytes(self.k, self.n) as usize];
        {
            let _door = tenant.space().enter_for(&[(self.b, stored.len() as u64)])?;
            device.read(&mut stored, self.b)?;
        }
        let rows = if self.turn_b { stored } else { turned(&stored, self.k as usize, self.n as usize) };
        let bytes = ops.packed_bytes(DType::F32, self.n, self.k)?;
        let piece = Piece::new(tenant.space(), bytes)?;
        let mut packed = vec![0u8; bytes as usize];
        ops.pack(DType::F32, self.n, self.k, &rows, &mut packed)?;
        let _door = tenant.space().enter_for(&[(piece.at, bytes)])?;
        device.write(piece.at, &packed)?;
        Ok(piece)
    }

    fn turned_left(&self, tenant: &Tenant) -> Result<Piece> {
        let mut stored = vec![0u8; Self::bytes(self.k, self.m) as usize];
        {
            let _door = tenant.space().enter_for(&[(self.a, stored.len() as u64)])?;
            tenant.device().read(&mut stored, self.a)?;
        }
        let piece = Piece::new(tenant.space(), stored.len() as u64)?;
        let _door = tenant.space().enter_for(&[(piece.at, stored.len() as u64)])?;
        tenant.device().write(piece.at, &turned(&stored, self.k as usize, self.m as usize))?;
        Ok(piece)
    }
}

/// The other way round: `rows` × `cols` elements of 4 bytes as `cols` × `rows`.
fn turned(stored: &[u8], rows: usize, cols: usize) -> Vec<u8> {
    let mut out = vec![0u8; stored.len()];
    for (row, line) in stored.chunks_exact(cols * 4).enumerate() {
        for (col, element) in line.chunks_exact(4).enumerate() {
            let at = (col * rows + row) * 4;
            out[at..at + 4].copy_from_slice(element);
        }
    }
    out
}

/// Memory of the tenant for the time of a product.
struct Piece {
    space: Arc<Space>,
    at: u64,
}

impl Piece {
    fn new(space: &Arc<Space>, bytes: u64) -> Result<Piece> {
        let at = space.alloc(bytes, 256, "matrix_multiply")?;
        Ok(Piece { space: space.clone(), at })
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        // Ours until now; the steps that used it have ended.
        let _ = self.space.free(self.at);
    }
}
