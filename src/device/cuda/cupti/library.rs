//! The table of CUPTI functions, looked up at run time.

use crate::{Error, Result, Status};
use libloading::Library;
use std::ffi::c_void;
use std::path::PathBuf;

/// Gives CUPTI a buffer: address, bytes, most records (0: as many as fit).
pub(super) type BufferRequested = unsafe extern "C" fn(*mut *mut u8, *mut usize, *mut usize);
/// Takes a buffer back: context and stream (unused since CUDA 6), address, bytes, bytes that hold records.
pub(super) type BufferCompleted = unsafe extern "C" fn(*mut c_void, u32, *mut u8, usize, usize);

macro_rules! table {
    ($($name:ident: ($($arg:ident: $ty:ty),*);)*) => {
        /// The functions of one CUPTI library, all of them there. Usable from any thread.
        #[allow(non_snake_case)]
        pub(super) struct Cupti {
            $($name: unsafe extern "C" fn($($ty),*) -> u32,)*
            // Kept loaded for as long as a function of it may be called.
            _library: Library,
        }

        impl Cupti {
            #[allow(non_snake_case)]
            fn look_up(library: Library) -> std::result::Result<Cupti, &'static str> {
                // SAFETY: the symbols of a CUPTI library have these signatures; only their addresses are taken.
                unsafe {
                    $(let $name = *library
                        .get(concat!(stringify!($name), "\0").as_bytes())
                        .map_err(|_| stringify!($name))?;)*
                    Ok(Cupti { $($name,)* _library: library })
                }
            }

            $(
                /// The CUPTI function of this name.
                ///
                /// # Safety
                /// Pointers must be valid for what the function does with them.
                #[allow(non_snake_case, clippy::missing_safety_doc)]
                pub unsafe fn $name(&self, $($arg: $ty),*) -> std::result::Result<(), Refusal> {
                    // SAFETY: the caller's duty.
                    match unsafe { (self.$name)($($arg),*) } {
                        0 => Ok(()),
                        code => Err(Refusal { call: stringify!($name), code }),
                    }
                }
            )*
        }
    };
}

table! {
    cuptiGetVersion: (version: *mut u32);
    cuptiGetTimestamp: (timestamp: *mut u64);
    cuptiActivityRegisterCallbacks: (requested: BufferRequested, completed: BufferCompleted);
    cuptiActivityEnable: (kind: u32);
    cuptiActivityDisable: (kind: u32);
    cuptiActivityFlushAll: (flag: u32);
    cuptiActivityGetNextRecord: (buffer: *mut u8, bytes: usize, record: *mut *mut u8);
    cuptiActivityPushExternalCorrelationId: (kind: u32, id: u64);
    cuptiActivityPopExternalCorrelationId: (kind: u32, last: *mut u64);
}

/// What a CUPTI function answered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Refusal {
    pub call: &'static str,
    pub code: u32,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let what = match self.code {
            15 => " (not initialised)",
            35 => " (this process may not profile)",
            39 => " (another profiler is attached)",
            999 => " (unknown: without a GPU or its driver)",
            _ => "",
        };
        write!(f, "{} answered {}{what}", self.call, self.code)
    }
}

/// Where CUPTI is when nobody says it: by name as `dlopen` finds it, then where toolkits put it.
const PLACES: [&str; 5] = [
    "libcupti.so.13",
    "libcupti.so.12",
    "libcupti.so",
    "/usr/local/cuda/lib64/libcupti.so",
    "/usr/local/cuda/extras/CUPTI/lib64/libcupti.so",
];

impl Cupti {
    /// The library at `chosen`, or the first that is found; and its path.
    pub fn open(chosen: Option<PathBuf>) -> Result<(Cupti, PathBuf)> {
        let places = match chosen {
            Some(path) => vec![path],
            None => PLACES.iter().map(PathBuf::from).collect(),
        };
        for path in &places {
            // SAFETY: loading the library runs its initialisers, which is what profiling with it asks for.
            let Ok(library) = (unsafe { Library::new(path) }) else { continue };
            let cupti = Cupti::look_up(library).map_err(|name| {
                Error::new(Status::Unsupported, format!("{} has no {name}", path.display()))
            })?;
            return Ok((cupti, path.clone()));
        }
        let tried: Vec<_> = places.iter().map(|p| p.display().to_string()).collect();
        Err(Error::new(Status::NotFound, format!("no CUPTI library: tried {}", tried.join(", "))))
    }

    /// Its version, when records of it are laid out as [`super::record`] reads them.
    pub fn known_version(&self) -> Result<u32> {
        let mut version = 0;
        // SAFETY: `version` outlives the call.
        unsafe { self.cuptiGetVersion(&mut version) }
            .map_err(|e| Error::new(Status::Unsupported, e.to_string()))?;
        match known(version) {
            true => Ok(version),
            false => {
                Err(Error::new(Status::Unsupported, format!("version {version} is not one that is known")))
            }
        }
    }
}

/// Versions whose records have the fields that are read at the same places: CUDA 12.6 to 12.9 (24 to 28), and 13
/// (130000 and on).
fn known(version: u32) -> bool {
    (24..=28).contains(&version) || (130_000..140_000).contains(&version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_versions_are_taken() {
        for (version, taken) in
            [(0, false), (23, false), (24, true), (28, true), (29, false), (130_001, true), (140_000, false)]
        {
            assert_eq!(known(version), taken, "{version}");
        }
    }
}
