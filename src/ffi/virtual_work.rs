//! Work of virtual GPUs across the border: operations and kernels by name.

use super::guard::{few, guard, input, out, slice, struct_size};
use super::map::export;
use super::text::{fixed, optional_text, text};
use super::types::{CW_OK, cw_map, cw_status};
use super::virtual_compute::bound;
use super::virtual_gpu::flag;
use super::virtual_types::{
    CW_ARGUMENT_BYTES, CW_ARGUMENT_F32, CW_ARGUMENT_F64, CW_ARGUMENT_I32, CW_ARGUMENT_I64,
    CW_ARGUMENT_POINTER, CW_ARGUMENT_U32, CW_ARGUMENT_U64, cw_activation, cw_argument, cw_convolution,
    cw_execution_info, cw_kernel_call, cw_matmul,
};
use crate::ops::tensor::{Argument, Element, MatMul, Matrix};
use crate::program::Launch;
use crate::virtualization::{Activation, ComputeManager, Convolution, Driver, KernelCall};
use crate::{Error, Result};
use std::ffi::c_char;

/// Largest struct that is passed by value: what a kernel's parameters may have.
const MOST_BYTES: usize = 32_768;

/// Arguments of the caller.
///
/// # Safety
/// Structs must be valid for reads of their size.
unsafe fn arguments(list: &[cw_argument]) -> Result<Vec<Argument>> {
    let one = |(at, a): (usize, &cw_argument)| {
        Ok(match a.kind {
            CW_ARGUMENT_POINTER => Argument::Pointer(a.value),
            CW_ARGUMENT_I32 => Argument::I32(a.value as i32),
            CW_ARGUMENT_U32 => Argument::U32(a.value as u32),
            CW_ARGUMENT_I64 => Argument::I64(a.value as i64),
            CW_ARGUMENT_U64 => Argument::U64(a.value),
            CW_ARGUMENT_F32 => Argument::F32(f32::from_bits(a.value as u32)),
            CW_ARGUMENT_F64 => Argument::F64(f64::from_bits(a.value)),
            CW_ARGUMENT_BYTES => {
                let size = a.size as usize;
                if size == 0 || size > MOST_BYTES {
                    let text = format!("argument {at} has {size} bytes, not 1 to {MOST_BYTES}");
                    return Err(Error::argument("arguments", text));
                }
                let bytes: *const u8 = std::ptr::with_exposed_provenance(a.value as usize);
                // SAFETY: the caller's promise.
                Argument::Bytes(unsafe { slice("arguments", bytes, size)? }.to_vec())
            }
            kind => return Err(Error::argument("arguments", format!("argument {at} is of kind {kind}"))),
        })
    };
    list.iter().enumerate().map(one).collect()
}

/// Arguments for the application. The structs stay where they are.
pub(super) fn to_c(arguments: &[Argument]) -> Vec<cw_argument> {
    let one = |a: &Argument| {
        let (kind, value) = match a {
            Argument::Pointer(p) => (CW_ARGUMENT_POINTER, *p),
            Argument::I32(v) => (CW_ARGUMENT_I32, u64::from(*v as u32)),
            Argument::U32(v) => (CW_ARGUMENT_U32, u64::from(*v)),
            Argument::I64(v) => (CW_ARGUMENT_I64, *v as u64),
            Argument::U64(v) => (CW_ARGUMENT_U64, *v),
            Argument::F32(v) => (CW_ARGUMENT_F32, u64::from(v.to_bits())),
            Argument::F64(v) => (CW_ARGUMENT_F64, v.to_bits()),
            Argument::Bytes(b) => (CW_ARGUMENT_BYTES, b.as_ptr().expose_provenance() as u64),
        };
        cw_argument { kind, size: a.size() as u32, value }
    };
    arguments.iter().map(one).collect()
}

/// Fills a kernel call with defaults: no name, one block of one thread, no arguments.
///
/// # Safety
/// `call` must be valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_kernel_call_default(call: *mut cw_kernel_call) -> cw_status {
    guard(call!("cw_kernel_call_default", call), || {
        // SAFETY: the caller's promise.
        *unsafe { out("call", call)? } = cw_kernel_call {
            struct_size: size_of::<cw_kernel_call>(),
            name: std::ptr::null(),
            module: std::ptr::null(),
            grid: [1; 3],
            block: [1; 3],
            shared: 0,
            cooperative: 0,
            arguments: std::ptr::null(),
            argument_count: 0,
            timeout_ms: 0.0,
        };
        Ok(())
    })
}

/// Queues a kernel on a stream of the unit (0 to the number of streams - 1) once its name, shape, arguments and memory were found
/// right. `*execution` (may be `NULL`) gets its number. What goes wrong later belongs to the execution and to the next
/// `cw_vcompute_synchronize`.
///
/// # Safety
/// `call` must be valid, its texts NUL-terminated, its structs readable; `execution` null or valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_vcompute_execute(
    virtual_gpu: i32,
    call: *const cw_kernel_call,
    stream: i32,
    execution: *mut i32,
) -> cw_status {
    guard(call!("cw_vcompute_execute", virtual_gpu, call, stream, execution), || {
        // SAFETY: the caller's promise.
        let execution = unsafe { optional(execution)? };
        // SAFETY: the caller's promise.
        let call = unsafe { input("call", call)? };
        struct_size::<cw_kernel_call>("call", call.struct_size)?;
        // SAFETY: the caller's promise.
        let (name, module, list) = unsafe {
            let list = few("arguments", call.arguments, "argument_count", call.argument_count, 4096)?;
            (text("kernelName", call.name)?, optional_text("module", call.module)?, arguments(list)?)
        };
        let wanted = KernelCall {
            name: name.to_owned(),
            module: module.map(str::to_owned),
            launch: Launch {
                grid: call.grid,
                block: call.block,
                shared_bytes: call.shared,
                cooperative: flag("cooperative", call.cooperative)?,
            },
            arguments: list,
            timeout: bound("timeoutMs", call.timeout_ms)?,
        };
        let number = ComputeManager::global().execute(virtual_gpu, wanted, stream)?;
        if let Some(execution) = execution {
            *execution = number;
        }
        Ok(())
    })
}

/// The number of the unit's latest execution, of whatever kind; 0 when there was none.
///
/// # Safety
/// `execution` must be valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_vcompute_last_execution(virtual_gpu: i32, execution: *mut i32) -> cw_status {
    guard(call!("cw_vcompute_last_execution", virtual_gpu, execution), || {
        // SAFETY: the caller's promise.
        let execution = unsafe { out("execution", execution)? };
        *execution = ComputeManager::global().last_execution(virtual_gpu)?;
        Ok(())
    })
}

/// Where an execution stands; waits for its end for at most `timeout_ms` milliseconds (0: not at all). Set `info->struct_size`
/// first.
///
/// # Safety
/// `info` must be valid for reads and writes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_vcompute_execution(
    virtual_gpu: i32,
    execution: i32,
    timeout_ms: f64,
    info: *mut cw_execution_info,
) -> cw_status {
    guard(call!("cw_vcompute_execution", virtual_gpu, execution, timeout_ms, info), || {
        // SAFETY: the caller's promise.
        let info = unsafe { out("info", info)? };
        struct_size::<cw_execution_info>("info", info.struct_size)?;
        let longest = bound("timeout_ms", timeout_ms)?;
        let now = ComputeManager::global().execution(virtual_gpu, execution, longest)?;
        *info = cw_execution_info {
            struct_size: info.struct_size,
            execution: now.number,
            stream: now.stream as i32,
            state: now.state as i32,
            status: now.error.as_ref().map_or(CW_OK, |e| e.status() as i32),
            running: i32::from(now.running),
            error: fixed(&now.error.map(|e| e.to_string()).unwrap_or_default()),
        };
        Ok(())
    })
}

/// Cancels an execution: queued work is withdrawn; built-in work and host functions stop at their next poll (at most 5 ms, a
/// block of a host function). `*how` (may be `NULL`) gets `CW_STOPPED_*`. Any other work on the device cannot be stopped, which is
/// `CW_ERROR_UNSUPPORTED`; what has ended is `CW_ERROR_NOT_FOUND` and says how.
///
/// # Safety
/// `how` must be null or valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_vcompute_cancel(virtual_gpu: i32, execution: i32, how: *mut i32) -> cw_status {
    guard(call!("cw_vcompute_cancel", virtual_gpu, execution, how), || {
        // SAFETY: the caller's promise.
        let how = if how.is_null() { None } else { Some(unsafe { out("how", how)? }) };
        let stopped = ComputeManager::global().cancel(virtual_gpu, execution)?;
        if let Some(how) = how {
            *how = stopped as i32;
        }
        Ok(())
    })
}

/// The names of all kernels that the virtual GPU can execute, each with `own` or the signature of the built-in one. Free the map.
///
/// # Safety
/// `kernels` must be valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_vcompute_kernels(virtual_gpu: i32, kernels: *mut *mut cw_map) -> cw_status {
    guard(call!("cw_vcompute_kernels", virtual_gpu, kernels), || {
        // SAFETY: the caller's promise.
        let kernels = unsafe { out("kernels", kernels)? };
        let all = ComputeManager::global().kernels(virtual_gpu)?;
        *kernels = export(all);
        Ok(())
    })
}

/// Fills a product with defaults: dense matrices that do not lie transposed, `alpha` 1, `beta` 0, one product of f32.
///
/// # Safety
/// `product` must be valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_matmul_default(product: *mut cw_matmul) -> cw_status {
    guard(call!("cw_matmul_default", product), || {
        // SAFETY: the caller's promise.
        *unsafe { out("product", product)? } = cw_matmul {
            struct_size: size_of::<cw_matmul>(),
            a: std::ptr::null(),
            b: std::ptr::null(),
            c: std::ptr::null_mut(),
            m: 0,
            n: 0,
            k: 0,
            data_type: Element::F32.number(),
            transpose_a: 0,
            transpose_b: 0,
            lda: 0,
            ldb: 0,
            ldc: 0,
            batch: 1,
            stride_a: -1,
            stride_b: -1,
            stride_c: -1,
            alpha: 1.0,
            beta: 0.0,
        };
        Ok(())
    })
}

fn extent(argument: &str, value: i32) -> Result<u64> {
    u64::try_from(value).map_err(|_| Error::argument(argument, format!("{value} is below 0")))
}

/// A matrix of `rows` rows and `cols` columns as the caller says that it lies.
fn matrix(name: &str, ptr: u64, rows: u64, cols: u64, ld: i32, stride: i64) -> Result<Matrix> {
    let ld = if ld == 0 { cols.max(1) } else { extent(name, ld)? };
    let stride = match stride {
        -1 => rows.saturating_mul(ld),
        other => u64::try_from(other)
            .map_err(|_| Error::argument(name, format!("a stride of {other} is below -1")))?,
    };
    Ok(Matrix { ptr, ld, stride })
}

/// Queues a matrix product on a stream of the virtual GPU and returns. `*execution` (may be `NULL`) gets its number.
///
/// # Safety
/// `product` must be valid, `execution` null or valid for a write; the matrices must stay allocated until it has run.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_vgpu_matrix_multiply(
    virtual_gpu: i32,
    product: *const cw_matmul,
    stream: i32,
    execution: *mut i32,
) -> cw_status {
    guard(call!("cw_vgpu_matrix_multiply", virtual_gpu, product, stream, execution), || {
        // SAFETY: the caller's promise.
        let (p, execution) = unsafe { (input("product", product)?, optional(execution)?) };
        struct_size::<cw_matmul>("product", p.struct_size)?;
        let (m, n, k) = (extent("m", p.m)?, extent("n", p.n)?, extent("k", p.k)?);
        let (transpose_a, transpose_b) =
            (flag("transpose_a", p.transpose_a)?, flag("transpose_b", p.transpose_b)?);
        let (a_rows, a_cols) = if transpose_a { (k, m) } else { (m, k) };
        let (b_rows, b_cols) = if transpose_b { (n, k) } else { (k, n) };
        let wanted = MatMul {
            element: Element::from_number("dataType", p.data_type.into())?,
            m,
            n,
            k,
            a: matrix("A", p.a as u64, a_rows, a_cols, p.lda, p.stride_a)?,
            b: matrix("B", p.b as u64, b_rows, b_cols, p.ldb, p.stride_b)?,
            c: matrix("C", p.c as u64, m, n, p.ldc, p.stride_c)?,
            transpose_a,
            transpose_b,
            alpha: p.alpha,
            beta: p.beta,
            batch: extent("batch", p.batch)?,
        };
        let number = Driver::global().matrix_multiply(virtual_gpu, &wanted, stream)?;
        if let Some(execution) = execution {
            *execution = number;
        }
        Ok(())
    })
}

/// A place that the caller may leave out.
///
/// # Safety
/// As for [`out`].
unsafe fn optional<'a>(execution: *mut i32) -> Result<Option<&'a mut i32>> {
    if execution.is_null() {
        return Ok(None);
    }
    // SAFETY: the caller's promise.
    unsafe { out("execution", execution) }.map(Some)
}

/// Queues a convolution on a stream of the virtual GPU and returns. `*execution` (may be `NULL`) gets its number.
///
/// # Safety
/// `convolution` must be valid, `execution` null or valid for a write; the tensors must stay allocated until it has run.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_vgpu_convolution_forward(
    virtual_gpu: i32,
    convolution: *const cw_convolution,
    stream: i32,
    execution: *mut i32,
) -> cw_status {
    guard(call!("cw_vgpu_convolution_forward", virtual_gpu, convolution, stream, execution), || {
        // SAFETY: the caller's promise.
        let (c, execution) = unsafe { (input("convolution", convolution)?, optional(execution)?) };
        struct_size::<cw_convolution>("convolution", c.struct_size)?;
        let wanted = Convolution {
            data_type: c.data_type,
            input: c.input as u64,
            filter: c.filter as u64,
            output: c.output as u64,
            batch: c.batch,
            in_channels: c.in_channels,
            out_channels: c.out_channels,
            height: c.height,
            width: c.width,
            kernel: c.kernel,
            stride: c.stride,
            padding: c.padding,
        };
        let number = Driver::global().convolution(virtual_gpu, &wanted, stream)?;
        if let Some(execution) = execution {
            *execution = number;
        }
        Ok(())
    })
}

/// Queues an activation on a stream of the virtual GPU and returns. `*execution` (may be `NULL`) gets its number.
///
/// # Safety
/// `activation` must be valid, its name NUL-terminated, `execution` null or valid for a write; the tensors must stay allocated
/// until it has run.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_vgpu_activation_forward(
    virtual_gpu: i32,
    activation: *const cw_activation,
    stream: i32,
    execution: *mut i32,
) -> cw_status {
    guard(call!("cw_vgpu_activation_forward", virtual_gpu, activation, stream, execution), || {
        // SAFETY: the caller's promise.
        let (a, execution) = unsafe { (input("activation", activation)?, optional(execution)?) };
        struct_size::<cw_activation>("activation", a.struct_size)?;
        let wanted = Activation {
            // SAFETY: the caller's promise.
            name: unsafe { text("activationType", a.name as *const c_char)? },
            data_type: a.data_type,
            input: a.input as u64,
            output: a.output as u64,
            batch: a.batch,
            channels: a.channels,
            height: a.height,
            width: a.width,
        };
        let number = Driver::global().activation(virtual_gpu, &wanted, stream)?;
        if let Some(execution) = execution {
            *execution = number;
        }
        Ok(())
    })
}
