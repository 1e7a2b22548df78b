//! How fast one row is multiplied by packed matrices: weight bytes a second, on the whole device and on a node of 32
//! SMs. Each figure is one recorded step of many layers with weights of their own, so that no cache holds them.
//!
//! `cargo run --release --example gemv_bench [dtype [rows]]`

use cogniware::Result;
use cogniware::device::{self, Access};
use cogniware::ops::{self, Product, Weight};
use cogniware::quant::DType;

/// Bytes of weights that a step reads at least.
const BYTES: u64 = 1 << 30;

fn main() -> Result<()> {
    let wanted = std::env::args().nth(1).unwrap_or_default();
    let n: u32 = std::env::args().nth(2).map_or(1, |t| t.parse().expect("rows is a number"));
    let device = device::default_device()?;
    let info = device.info()?;
    println!("{} with {} multiprocessors, {n} row(s) of activations", info.name, info.multiprocessors);
    let arena_bytes = (3u64 << 30).next_multiple_of(device.granularity());
    let granule = device.granule_create(arena_bytes)?;
    let arena = device.range_reserve(arena_bytes)?;
    device.map(arena, &granule, Access::ReadWrite)?;

    let units = device.units();
    let all: Vec<u32> = units.iter().map(|u| u.index).collect();
    let part: Vec<u32> = all[..all.len().min(4)].to_vec();
    for (name, node_units) in [("whole device", &all), ("4 units", &part)] {
        let node = device.node_create(node_units)?;
        let stream = node.stream_create(0)?;
        let processors = node.processors();
        let ops = ops::for_stream(&device, node, stream)?;
        println!("{name}, {processors} processors");
        for dtype in [DType::Q8_0, DType::Q4_0, DType::Q4_K, DType::Q6_K, DType::F16, DType::BF16, DType::F32]
        {
            if !wanted.is_empty() && !format!("{dtype:?}").eq_ignore_ascii_case(&wanted) {
                continue;
            }
            for (rows, cols) in [(2048u32, 2048u32), (5632, 2048), (2048, 5632), (32000, 2048)] {
                let bytes = ops.packed_bytes(dtype, rows, cols)?;
                // One random matrix, packed once and copied: the values are alike, the addresses are not.
                let mut state = 1u64;
                let values: Vec<f32> = (0..u64::from(rows.min(256)) * u64::from(cols))
                    .map(|_| {
                        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                        (state >> 40) as f32 / 8388608.0 - 1.0
                    })
                    .collect();
                let mut file = vec![0u8; dtype.bytes(rows.min(256).into(), cols.into())? as usize];
                match dtype {
                    // The speed does not depend on the codes; small scales keep the sums finite.
                    DType::Q4_K | DType::Q6_K => {
                        for (i, byte) in file.iter_mut().enumerate() {
                            *byte = if i % 2 == 1 { 0x11 } else { (values[i].to_bits() >> 8) as u8 };
                        }
                    }
                    _ => cogniware::quant::quantize(dtype, &values, &mut file)?,
                }
                let whole: Vec<u8> = file
                    .iter()
                    .copied()
                    .cycle()
                    .take(dtype.bytes(rows.into(), cols.into())? as usize)
                    .collect();
                let mut packed = vec![0u8; bytes as usize];
                ops.pack(dtype, rows, cols, &whole, &mut packed)?;
                let layers = BYTES.div_ceil(bytes);
                let x = arena;
                let out = arena + (64 << 20);
                let weights = arena + (128 << 20);
                let scratch = arena + (2 << 30) + (512 << 20);
                ops.set_scratch(scratch, ops.scratch_bytes(n, cols, rows, 1, 1, 64))?;
                device.write(x, bytemuck(&values[..(n * cols).min(rows.min(256) * cols) as usize]))?;
                for l in 0..layers {
                    device.write(weights + l * bytes, &packed)?;
                }
                let mut best = f64::INFINITY;
                for _ in 0..8 {
                    let time = ops.step(
                        Some(1),
                        &[],
                        &mut || {
                            (0..layers).try_for_each(|l| {
                                let weight = Weight { dtype, rows, cols, ptr: weights + l * bytes };
                                ops.matmul(x, n, &[Product { weight, bias: None, out, add: false }])
                            })
                        },
                        &mut [],
                    )?;
                    best = best.min(time.device.as_secs_f64());
                }
                let rate = (bytes * layers) as f64 / best;
                println!(
                    "  {:5} {rows:5} x {cols:4}: {:7.1} GB/s, {:6.2} us a product",
                    format!("{dtype:?}"),
                    rate / 1e9,
                    best / layers as f64 * 1e6
                );
                ops.forget();
            }
        }
    }
    device.unmap(arena, arena_bytes)?;
    device.granule_release(granule);
    device.range_release(arena, arena_bytes);
    Ok(())
}

fn bytemuck(values: &[f32]) -> &[u8] {
    // SAFETY: floats have no padding.
    unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), size_of_val(values)) }
}
