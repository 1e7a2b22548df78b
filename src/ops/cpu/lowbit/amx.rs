//! Tiles of bytes (AMX), for many tokens.
//!
//! A tile of weights has 16 rows of 64 bytes: row `i` holds, for each of 16 outputs, the codes of inputs `4i..4i + 4`. That is what
//! a line of the packed form is when its places are taken apart, so four lines make a tile. Four strips are taken apart part by part
//! (`PART` tiles of inputs, which stay in the first cache) and multiplied with all tokens, 16 at once; sums wait in the second
//! cache meanwhile.

use super::Operands;
use super::avx512::apart;
use super::layout::{LINE, ROWS};
use std::arch::asm;
use std::arch::x86_64::*;
use std::cell::RefCell;

/// Tiles of inputs that are taken apart at once: 4 KiB each.
const PART: usize = 8;
/// Steps of a tile.
const STEPS: usize = 4;
/// Bytes of a tile.
const BYTES: usize = 1024;

#[repr(C, align(64))]
#[derive(Clone, Copy)]
struct Line([u8; 64]);

thread_local! {
    static APART: RefCell<Vec<Line>> = const { RefCell::new(Vec::new()) };
}

/// `ldtilecfg`'s operand: sums in tiles 0 to 3, tokens in 4, weights in 5 to 7.
#[repr(C, align(64))]
struct Shape {
    palette: u8,
    start: u8,
    reserved: [u8; 14],
    bytes: [u16; 16],
    rows: [u8; 16],
}

/// Sums of `n` tokens for four strips, as [`super::Kernel`] says but for any number of tokens.
///
/// # Safety
/// As there; the processor has the level, and the process leave to use tiles.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) unsafe fn any(o: Operands, n: usize, sums: *mut i32) {
    APART.with_borrow_mut(|lines| {
        lines.resize(PART * 4 * BYTES / 64, Line([0; 64]));
        let apart_at = lines.as_mut_ptr().cast::<u8>();
        let tiles = o.steps / STEPS;
        for first in (0..tiles).step_by(PART) {
            let count = PART.min(tiles - first);
            // SAFETY: `count` tiles of each strip; room for them.
            unsafe {
                take_apart(o.w.add(first * STEPS * LINE), o.apart, count, apart_at);
                multiply(apart_at, o.x.add(first * 64), o.stride, count, n, sums, first == 0);
            }
        }
    });
}

/// `count` tiles of inputs to 4 KiB each: for 16 outputs after 16 outputs, 16 rows of 64 bytes.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn take_apart(w: *const u8, apart_by: usize, count: usize, to: *mut u8) {
    for s in 0..count * STEPS {
        for strip in 0..4 {
            // SAFETY: within the strips, and within the room.
            unsafe {
                let from = w.add(strip * apart_by + s * LINE);
                _mm_prefetch::<_MM_HINT_T0>(from.wrapping_add(2048).cast());
                let places = apart(_mm512_load_si512(from.cast()));
                let to = to.add(s / STEPS * 4 * BYTES + strip * BYTES + s % STEPS * 4 * 64);
                for (j, place) in places.into_iter().enumerate() {
                    _mm512_store_si512(to.add(64 * j).cast(), place);
                }
            }
        }
    }
}

/// Adds the products of `count` tiles of inputs to the sums, which begin at 0 when they are the first.
unsafe fn multiply(
    w: *const u8,
    x: *const i8,
    stride: usize,
    count: usize,
    n: usize,
    sums: *mut i32,
    new: bool,
) {
    let mut shaped = 0;
    for t in (0..n).step_by(16) {
        let rows = 16.min(n - t);
        if rows != shaped {
            let mut shape = Shape { palette: 1, start: 0, reserved: [0; 14], bytes: [0; 16], rows: [0; 16] };
            for tile in 0..8 {
                shape.bytes[tile] = 64;
                shape.rows[tile] = if tile < 5 { rows as u8 } else { 16 };
            }
            // SAFETY: a valid shape; nobody else on this thread uses tiles.
            unsafe { asm!("ldtilecfg [{}]", in(reg) &shape, options(nostack)) };
            shaped = rows;
        }
        // SAFETY: tiles of `rows` tokens and of 16 outputs, within what the caller promised.
        unsafe {
            let sums = sums.add(t * ROWS);
            if new {
                asm!(
                    "tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3",
                    out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                    options(nostack)
                );
            } else {
                asm!(
                    "tileloadd tmm0, [{c} + {s}]",
                    "tileloadd tmm1, [{c} + {s} + 64]",
                    "tileloadd tmm2, [{c} + {s} + 128]",
                    "tileloadd tmm3, [{c} + {s} + 192]",
                    c = in(reg) sums, s = in(reg) ROWS * 4,
                    out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                    options(nostack)
                );
            }
            asm!(
                "2:",
                "tileloadd tmm4, [{a} + {sa}]",
                "tileloadd tmm5, [{b} + {sb}]",
                "tdpbsud tmm0, tmm4, tmm5",
                "tileloadd tmm6, [{b} + {sb} + 1024]",
                "tdpbsud tmm1, tmm4, tmm6",
                "tileloadd tmm7, [{b} + {sb} + 2048]",
                "tdpbsud tmm2, tmm4, tmm7",
                "tileloadd tmm5, [{b} + {sb} + 3072]",
                "tdpbsud tmm3, tmm4, tmm5",
                "add {a}, 64",
                "add {b}, 4096",
                "dec {k}",
                "jnz 2b",
                "tilestored [{c} + {sc}], tmm0",
                "tilestored [{c} + {sc} + 64], tmm1",
                "tilestored [{c} + {sc} + 128], tmm2",
                "tilestored [{c} + {sc} + 192], tmm3",
                a = inout(reg) x.add(t * stride) => _,
                b = inout(reg) w => _,
                k = inout(reg) count => _,
                sa = in(reg) stride,
                sb = in(reg) 64usize,
                c = in(reg) sums,
                sc = in(reg) ROWS * 4,
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack)
            );
        }
    }
    // SAFETY: tiles go back to their first state, so that the system need not save them.
    unsafe { asm!("tilerelease", options(nostack)) };
}
