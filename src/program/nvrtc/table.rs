//! The functions of an NVRTC library.

use crate::{Error, Result, Status};
use libloading::Library;
use std::ffi::{CStr, c_char, c_void};
use std::path::{Path, PathBuf};

/// `nvrtcProgram`.
pub(super) type Handle = *mut c_void;

macro_rules! table {
    ({ $($field:ident: $name:literal ($($ty:ty),*);)* } optional { $($other:ident: $more:literal ($($arg:ty),*);)* }) => {
        /// Every function answers a plain number, 0 when all is well.
        pub(super) struct Table {
            $(pub $field: unsafe extern "C" fn($($ty),*) -> u32,)*
            $(pub $other: Option<unsafe extern "C" fn($($arg),*) -> u32>,)*
            pub error_string: Option<unsafe extern "C" fn(u32) -> *const c_char>,
        }

        impl Table {
            /// Errors: the name of the function that is missing.
            fn look_up(library: &Library) -> std::result::Result<Table, &'static str> {
                // SAFETY: the types are those of nvrtc.h, with its enum as the number that it is.
                unsafe {
                    Ok(Table {
                        $($field: *library.get(concat!($name, "\0").as_bytes()).map_err(|_| $name)?,)*
                        $($other: library.get(concat!($more, "\0").as_bytes()).ok().map(|s| *s),)*
                        error_string: library.get(b"nvrtcGetErrorString\0").ok().map(|s| *s),
                    })
                }
            }
        }
    };
}

table! { {
    version: "nvrtcVersion" (*mut i32, *mut i32);
    create: "nvrtcCreateProgram" (*mut Handle, *const c_char, *const c_char, i32, *const *const c_char, *const *const c_char);
    destroy: "nvrtcDestroyProgram" (*mut Handle);
    compile: "nvrtcCompileProgram" (Handle, i32, *const *const c_char);
    ptx_size: "nvrtcGetPTXSize" (Handle, *mut usize);
    ptx: "nvrtcGetPTX" (Handle, *mut c_char);
    log_size: "nvrtcGetProgramLogSize" (Handle, *mut usize);
    log: "nvrtcGetProgramLog" (Handle, *mut c_char);
    add_expression: "nvrtcAddNameExpression" (Handle, *const c_char);
    lowered: "nvrtcGetLoweredName" (Handle, *const c_char, *mut *const c_char);
    cubin_size: "nvrtcGetCUBINSize" (Handle, *mut usize);
    cubin: "nvrtcGetCUBIN" (Handle, *mut c_char);
} optional {
    architecture_count: "nvrtcGetNumSupportedArchs" (*mut i32);
    architectures: "nvrtcGetSupportedArchs" (*mut i32);
} }

impl Table {
    /// Loads a library by its path, or by a name that the system's loader knows; where it was found.
    pub fn open(path: &Path) -> Result<(Table, PathBuf)> {
        let place = path.display();
        if path.components().count() > 1 {
            load_builtins(path);
        }
        // SAFETY: NVIDIA's library; its initialisers have no other effect.
        let library = unsafe { Library::new(path) }.map_err(|e| {
            let cause = std::error::Error::source(&e).map_or_else(|| e.to_string(), |c| c.to_string());
            Error::unsupported(format!("cannot load the compiler library NVRTC from {place}: {cause}"))
                .with_call(format!("dlopen({place})"))
        })?;
        let table = Table::look_up(&library).map_err(|name| {
            Error::unsupported(format!("{place} is no NVRTC of CUDA 11.1 or newer: it has no {name}"))
        })?;
        let found = file_of(table.version as *const c_void).unwrap_or_else(|| path.to_owned());
        // It has threads and destructors of its own: it stays for as long as the process.
        std::mem::forget(library);
        Ok((table, found))
    }

    /// The name of an answer.
    pub fn name(&self, code: u32) -> String {
        let text = self.error_string.map_or(std::ptr::null(), |f| {
            // SAFETY: any number may be asked for; the text is static.
            unsafe { f(code) }
        });
        if text.is_null() {
            return format!("answer {code}");
        }
        // SAFETY: a static text that ends in a zero byte.
        unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
    }

    /// An error where the answer of `call` is one.
    pub fn check(&self, call: &str, code: u32) -> Result<()> {
        match code {
            0 => Ok(()),
            code => Err(Error::new(Status::Driver, format!("{call} answered {}", self.name(code)))
                .with_driver_code(code)
                .with_call(call.to_owned())),
        }
    }
}

/// The library looks for its second half by name alone, where a folder of its own is not known: loaded before by path, it
/// is there already.
fn load_builtins(library: &Path) {
    let Some(folder) = library.parent() else { return };
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with("libnvrtc-builtins.so.")
            // SAFETY: as for the library itself.
            && let Ok(builtins) = unsafe { Library::new(entry.path()) }
        {
            std::mem::forget(builtins);
        }
    }
}

/// The file in which an address lies.
fn file_of(address: *const c_void) -> Option<PathBuf> {
    // SAFETY: the structure is plain data; dladdr only reads the address.
    let name = unsafe {
        let mut info: libc::Dl_info = std::mem::zeroed();
        if libc::dladdr(address, &mut info) == 0 || info.dli_fname.is_null() {
            return None;
        }
        CStr::from_ptr(info.dli_fname).to_string_lossy().into_owned()
    };
    std::fs::canonicalize(name).ok()
}
