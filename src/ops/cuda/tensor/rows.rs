//! Softmax, reductions, norms and quantization: a warp or a block a row.

use super::super::kernels::args;
use super::{CudaTensorOps, blocks, suffix};
use crate::Result;
use crate::ops::tensor::{Norm, Quantize, Reduce, SoftMax};

/// Rows of up to so many columns have a warp each.
const WARP: u64 = 1024;
/// Columns of a part of a long row, at least.
const SPAN: u64 = 16 << 10;

/// Whether rows of this length have a warp each, and the grid for them.
fn rows_grid(rows: u64, cols: u64) -> Result<(i32, [u32; 3])> {
    let by_warp = cols <= WARP;
    Ok((i32::from(by_warp), blocks(rows, if by_warp { 8 } else { 1 })?))
}

impl CudaTensorOps {
    pub(super) fn softmax(&self, o: &SoftMax) -> Result<()> {
        let (x, out, log) = (o.x, o.out, i32::from(o.log));
        let (rows, cols) = (o.outer, o.axis as i32);
        if o.inner == 1 && o.pitch == 1 {
            let (by_warp, grid) = rows_grid(o.outer, o.axis)?;
            let name = format!("cw_softmax_{}", suffix(o.element));
            // SAFETY: the arguments are those of the kernel; the caller of `queue_checked` answers for the memory.
            return unsafe { self.launch(&name, grid, args![x, out, rows, cols, log, by_warp]) };
        }
        let (inner, pitch) = (o.inner, o.pitch);
        let name = format!("cw_softmax_columns_{}", suffix(o.element));
        // SAFETY: as above.
        unsafe {
            self.launch(&name, blocks(rows * inner, 256)?, args![x, out, rows, cols, inner, pitch, log])
        }
    }

    pub(super) fn reduce(&self, o: &Reduce) -> Result<()> {
        let (how, x, out, rows, cols, ld) = (o.reduction as i32, o.x, o.out, o.rows, o.cols as i32, o.ld);
        let name = format!("cw_reduce_{}", suffix(o.element));
        let (scratch, held) = self.scratch();
        // Few long rows: cut so that every SM of the node has work, where there is memory for what the cuts give.
        let wanted = (u64::from(self.processors) * 4 / rows.max(1)).min(o.cols / SPAN).min(4096);
        if wanted >= 2 && rows * wanted * 8 <= held {
            let span = (o.cols.div_ceil(wanted)) as i32;
            let spans = o.cols.div_ceil(span as u64) as i32;
            let by_block = 0i32;
            // SAFETY: as in `softmax`; the scratch holds 8 bytes for each span of each row.
            unsafe {
                let grid = [rows as u32, spans as u32, 1];
                self.launch(&name, grid, args![how, x, out, scratch, rows, cols, ld, span, by_block])?;
                return self.launch(
                    "cw_reduce_join",
                    blocks(rows, 8)?,
                    args![how, scratch, out, rows, cols, spans],
                );
            }
        }
        let (by_warp, grid) = rows_grid(rows, o.cols)?;
        let (none, span) = (0u64, cols);
        // SAFETY: as in `softmax`.
        unsafe { self.launch(&name, grid, args![how, x, out, none, rows, cols, ld, span, by_warp]) }
    }

    pub(super) fn norm(&self, o: &Norm) -> Result<()> {
        let (rms, x, weight, bias, out) = (i32::from(o.rms), o.x, o.weight, o.bias, o.out);
        let (rows, cols, eps) = (o.rows, o.cols as i32, o.eps);
        let (by_warp, grid) = rows_grid(rows, o.cols)?;
        let name = format!("cw_norm_{}", suffix(o.element));
        // SAFETY: as in `softmax`.
        unsafe { self.launch(&name, grid, args![rms, x, weight, bias, out, rows, cols, eps, by_warp]) }
    }

    pub(super) fn quantize(&self, o: &Quantize) -> Result<()> {
        let (x, q, scales, rows, cols) = (o.x, o.codes, o.scales, o.rows, o.cols as i32);
        let (by_warp, grid) = rows_grid(rows, o.cols)?;
        let kind = if o.back { "dequantize" } else { "quantize" };
        let name = format!("cw_{kind}_{}", suffix(o.element));
        // SAFETY: as in `softmax`.
        unsafe {
            match o.back {
                false => self.launch(&name, grid, args![x, q, scales, rows, cols, by_warp]),
                true => self.launch(&name, grid, args![q, scales, x, rows, cols, by_warp]),
            }
        }
    }
}
