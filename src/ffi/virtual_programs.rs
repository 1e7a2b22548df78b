//! Programs and host functions of virtual GPUs across the border.

use super::callback::UserData;
use super::guard::{few, guard};
use super::text::{text, write_text};
use super::types::{CW_OK, cw_drop_function, cw_status};
use super::virtual_gpu::flag;
use super::virtual_types::{
    CW_ARGUMENT_BYTES, CW_ARGUMENT_F32, CW_ARGUMENT_F64, CW_ARGUMENT_I32, CW_ARGUMENT_I64,
    CW_ARGUMENT_POINTER, CW_ARGUMENT_U32, CW_ARGUMENT_U64, cw_argument, cw_host_function, cw_host_launch,
    cw_program_source,
};
use super::virtual_work::to_c;
use crate::ops::tensor::Argument;
use crate::program::{Calls, CudaSource, HostLaunch, ParameterKind, Source};
use crate::virtualization::ComputeManager;
use crate::{Error, Result, Status};
use std::ffi::{c_char, c_void};
use std::sync::Arc;

/// Largest image, most parameters of a host function, most texts of a list: more is a length that is none.
const MOST_IMAGE: usize = 1 << 30;
const MOST_PARAMETERS: usize = 4096;
const MOST_TEXTS: usize = 65_536;

/// Texts of the caller.
///
/// # Safety
/// Each must be NUL-terminated.
unsafe fn texts(argument: &str, list: *const *const c_char, count: usize) -> Result<Vec<String>> {
    // SAFETY: the caller's promise.
    let list = unsafe { few(argument, list, argument, count, MOST_TEXTS)? };
    // SAFETY: the caller's promise.
    list.iter().map(|&one| unsafe { text(argument, one) }.map(str::to_owned)).collect()
}

/// Loads PTX, a cubin or a fatbin (told by its content) as the module `module` of the virtual GPU.
///
/// # Safety
/// `module` must be NUL-terminated, `image` valid for reads of `size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_vcompute_module_load(
    virtual_gpu: i32,
    module: *const c_char,
    image: *const c_void,
    size: usize,
) -> cw_status {
    guard(call!("cw_vcompute_module_load", virtual_gpu, module, image, size), || {
        // SAFETY: the caller's promise.
        let (module, image) = unsafe {
            (text("module", module)?, few("image", image.cast::<u8>(), "size", size, MOST_IMAGE)?.to_vec())
        };
        if image.is_empty() {
            return Err(Error::argument("size", "must not be 0"));
        }
        ComputeManager::global().gpu(virtual_gpu)?.library().load(module, Source::Image(image)).map(drop)
    })
}

/// The same from a file.
///
/// # Safety
/// Texts must be NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_vcompute_module_load_file(
    virtual_gpu: i32,
    module: *const c_char,
    path: *const c_char,
) -> cw_status {
    guard(call!("cw_vcompute_module_load_file", virtual_gpu, module, path), || {
        // SAFETY: the caller's promise.
        let (module, path) = unsafe { (text("module", module)?, text("path", path)?) };
        let gpu = ComputeManager::global().gpu(virtual_gpu)?;
        let image = std::fs::read(path).map_err(|e| Error::io(format_args!("reading {path:?}"), e))?;
        gpu.library().load(module, Source::Image(image)).map(drop)
    })
}

/// Compiles CUDA C++ by NVRTC, which is found at run time, and loads it as the module `module`. Images are kept on disk by a
/// hash of all that they depend on. What the compiler said goes to the caller's buffer, which may be `NULL` with a `length` of 0;
/// when it refuses, what it said is in the error.
///
/// # Safety
/// Texts must be NUL-terminated, `source` valid; the buffer as the contract says, `needed` may be `NULL`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_vcompute_module_compile(
    virtual_gpu: i32,
    module: *const c_char,
    source: *const cw_program_source,
    buffer: *mut c_char,
    length: usize,
    needed: *mut usize,
) -> cw_status {
    guard(call!("cw_vcompute_module_compile", virtual_gpu, module, source, buffer, length, needed), || {
        // SAFETY: the caller's promise.
        let (module, s) = unsafe { (text("module", module)?, super::guard::input("source", source)?) };
        super::guard::struct_size::<cw_program_source>("source", s.struct_size)?;
        // SAFETY: the caller's promise.
        let cuda = unsafe {
            let names = texts("header_names", s.header_names, s.header_count)?;
            let headers = texts("headers", s.headers, s.header_count)?;
            CudaSource {
                name: super::text::optional_text("name", s.name)?.unwrap_or(module).to_owned(),
                text: text("text", s.text)?.to_owned(),
                options: texts("options", s.options, s.option_count)?,
                include_paths: texts("include_paths", s.include_paths, s.include_path_count)?
                    .into_iter()
                    .map(Into::into)
                    .collect(),
                headers: names.into_iter().zip(headers).collect(),
                expressions: texts("expressions", s.expressions, s.expression_count)?,
            }
        };
        let library_owner = ComputeManager::global().gpu(virtual_gpu)?;
        let program = library_owner.library().load(module, Source::Cuda(cuda))?;
        if buffer.is_null() && length == 0 && needed.is_null() {
            return Ok(());
        }
        // SAFETY: the caller's promise. A log that does not fit undoes nothing: the module is loaded.
        unsafe { write_text(program.log(), buffer, length, needed) }
    })
}

/// Unloads a module after everything on the device has finished.
///
/// # Safety
/// `module` must be NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_vcompute_module_unload(virtual_gpu: i32, module: *const c_char) -> cw_status {
    guard(call!("cw_vcompute_module_unload", virtual_gpu, module), || {
        // SAFETY: the caller's promise.
        let module = unsafe { text("module", module)? };
        ComputeManager::global().gpu(virtual_gpu)?.library().unload(module)
    })
}

/// What a host function's parameters are.
fn parameters(kinds: &[i32], sizes: &[u32]) -> Result<Vec<ParameterKind>> {
    let one = |(at, &kind): (usize, &i32)| {
        Ok(match kind {
            CW_ARGUMENT_POINTER => ParameterKind::Pointer,
            CW_ARGUMENT_I32 => ParameterKind::I32,
            CW_ARGUMENT_U32 => ParameterKind::U32,
            CW_ARGUMENT_I64 => ParameterKind::I64,
            CW_ARGUMENT_U64 => ParameterKind::U64,
            CW_ARGUMENT_F32 => ParameterKind::F32,
            CW_ARGUMENT_F64 => ParameterKind::F64,
            CW_ARGUMENT_BYTES => match sizes.get(at) {
                Some(&size) if size > 0 => ParameterKind::Bytes(size as usize),
                _ => {
                    return Err(Error::argument(
                        "sizes",
                        format!("parameter {at} is a struct without a size"),
                    ));
                }
            },
            _ => return Err(Error::argument("kinds", format!("parameter {at} is of kind {kind}"))),
        })
    };
    kinds.iter().enumerate().map(one).collect()
}

/// Registers a function of the application as the kernel `name` of the virtual GPU. It runs on the CPU device alone; on a GPU
/// it may be registered, and executing it is an error. `kinds` are `CW_ARGUMENT_*` of its parameters, `sizes` the bytes of those
/// that are structs (`NULL` when none is). With `per_block` 1 it is called for each block of the grid, by all cores of the unit;
/// with 0 once a launch. `drop` runs once, when it was unregistered and its last execution has ended, or the virtual GPU is
/// gone; at once when this call fails.
///
/// # Safety
/// `name` must be NUL-terminated, the arrays readable for `count` elements, the function callable with `user_data` from any
/// thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_vcompute_register_kernel(
    virtual_gpu: i32,
    name: *const c_char,
    kinds: *const i32,
    sizes: *const u32,
    count: usize,
    per_block: i32,
    function: cw_host_function,
    user_data: *mut c_void,
    drop: cw_drop_function,
) -> cw_status {
    let user = UserData::new(user_data, drop);
    let what = call!(
        "cw_vcompute_register_kernel",
        virtual_gpu,
        name,
        kinds,
        sizes,
        count,
        per_block,
        function,
        user_data,
        drop
    );
    guard(what, || {
        // SAFETY: the caller's promise.
        let (name, kinds) =
            unsafe { (text("name", name)?, few("kinds", kinds, "count", count, MOST_PARAMETERS)?) };
        let sizes = match sizes.is_null() {
            true => &[],
            // SAFETY: the caller's promise.
            false => unsafe { few("sizes", sizes, "count", count, MOST_PARAMETERS)? },
        };
        let function = function.ok_or_else(|| Error::argument("function", "is NULL"))?;
        let calls = if flag("per_block", per_block)? { Calls::PerBlock } else { Calls::Once };
        let body = move |launch: &HostLaunch<'_>, arguments: &[Argument]| {
            let user = &user;
            let (shared, bytes) = launch.shared();
            let told = cw_host_launch {
                struct_size: size_of::<cw_host_launch>(),
                grid: launch.grid,
                block: launch.block,
                index: launch.index,
                worker: launch.worker as u32,
                workers: launch.workers as u32,
                shared_bytes: bytes as u32,
                shared: shared.cast(),
            };
            let list: Vec<cw_argument> = to_c(arguments);
            // SAFETY: the caller's promise; all arguments live until the function returns.
            match unsafe { function(user.data, &raw const told, list.as_ptr(), list.len()) } {
                CW_OK => Ok(()),
                status => Err(Error::new(Status::Callback, format!("the function answered {status}"))),
            }
        };
        let gpu = ComputeManager::global().gpu(virtual_gpu)?;
        gpu.library().register(name, parameters(kinds, sizes)?, calls, Arc::new(body)).map(std::mem::drop)
    })
}

/// Takes a registered function out; `CW_ERROR_BUSY` while it is queued or runs.
///
/// # Safety
/// `name` must be NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_vcompute_unregister_kernel(virtual_gpu: i32, name: *const c_char) -> cw_status {
    guard(call!("cw_vcompute_unregister_kernel", virtual_gpu, name), || {
        // SAFETY: the caller's promise.
        let name = unsafe { text("name", name)? };
        ComputeManager::global().gpu(virtual_gpu)?.library().unregister(name)
    })
}
