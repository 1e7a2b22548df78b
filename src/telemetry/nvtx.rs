//! NVTX ranges for a tool that is attached from outside (Nsight Systems and others).
//!
//! A tool names its library in `NVTX_INJECTION64_PATH`. That library is loaded once, and asked by
//! `InitializeInjectionNvtx2` to put its functions into our table. Without the variable nothing is loaded, and the
//! ranges cost what the profiler costs when it is off: they share its one branch.

use super::profiler;
use std::ffi::{CString, c_char, c_int, c_uint, c_void};
use std::os::unix::ffi::OsStrExt;
use std::ptr::null_mut;
use std::sync::Once;
use std::sync::atomic::{AtomicPtr, Ordering::Relaxed};

// The numbers of NVTX 3: tables, modules, and the places of the functions in the module's table.
const CALLBACKS: u32 = 1;
const VERSION_INFO: u32 = 3;
const CORE: c_int = 1;
const CORE2: c_int = 5;
const RANGE_PUSH_A: usize = 9;
const RANGE_POP: usize = 11;
const PLACES: usize = 16;
/// What an application with the headers of NVTX 3 reports.
const VERSION: u32 = 3;

type Slot = AtomicPtr<c_void>;
static SLOTS: [Slot; PLACES] = [const { AtomicPtr::new(null_mut()) }; PLACES];
/// For the module of domains, which tools fill too; nothing here calls it.
static UNUSED: [Slot; PLACES] = [const { AtomicPtr::new(null_mut()) }; PLACES];

/// An array of pointers to slots, made once.
struct Table([*const Slot; PLACES]);
// SAFETY: it holds addresses of statics that are only touched atomically by us.
unsafe impl Sync for Table {}

const fn table(slots: &'static [Slot; PLACES]) -> Table {
    let mut all = [std::ptr::null(); PLACES];
    let mut at = 1; // place 0 is no function
    while at < PLACES {
        all[at] = &raw const slots[at];
        at += 1;
    }
    Table(all)
}

static CORE_TABLE: Table = table(&SLOTS);
static CORE2_TABLE: Table = table(&UNUSED);

#[repr(C)]
struct Callbacks {
    size: usize,
    module_table: unsafe extern "C" fn(c_int, *mut *const *const Slot, *mut c_uint) -> c_int,
}

#[repr(C)]
struct VersionInfo {
    size: usize,
    version: u32,
    reserved: u32,
    set_injection_version: unsafe extern "C" fn(u32),
}

static CALLBACK_TABLE: Callbacks = Callbacks { size: size_of::<Callbacks>(), module_table };
static VERSION_TABLE: VersionInfo =
    VersionInfo { size: size_of::<VersionInfo>(), version: VERSION, reserved: 0, set_injection_version };

unsafe extern "C" fn module_table(module: c_int, out: *mut *const *const Slot, size: *mut c_uint) -> c_int {
    let table = match module {
        CORE => &CORE_TABLE,
        CORE2 => &CORE2_TABLE,
        _ => return 0,
    };
    // SAFETY: the tool passes its own variables, or null for what it does not want.
    unsafe {
        if !out.is_null() {
            out.write(table.0.as_ptr());
        }
        if !size.is_null() {
            size.write(PLACES as c_uint);
        }
    }
    1
}

unsafe extern "C" fn set_injection_version(_version: u32) {}

unsafe extern "C" fn export_table(id: u32) -> *const c_void {
    match id {
        CALLBACKS => (&raw const CALLBACK_TABLE).cast(),
        VERSION_INFO => (&raw const VERSION_TABLE).cast(),
        _ => std::ptr::null(),
    }
}

type ExportTable = unsafe extern "C" fn(u32) -> *const c_void;

/// Loads the tool that `NVTX_INJECTION64_PATH` names, the first time. What cannot be loaded, or refuses, is as good as not
/// there: a profiler must not change what a program does.
pub fn attach() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let Some(path) = std::env::var_os("NVTX_INJECTION64_PATH").filter(|p| !p.is_empty()) else { return };
        let Ok(path) = CString::new(path.as_bytes()) else { return };
        // SAFETY: loading the tool's library is what the variable asks for; it stays loaded.
        let entry = unsafe {
            let library = libc::dlopen(path.as_ptr(), libc::RTLD_LAZY);
            if library.is_null() {
                return;
            }
            libc::dlsym(library, c"InitializeInjectionNvtx2".as_ptr())
        };
        if entry.is_null() {
            return;
        }
        // SAFETY: the signature is that of NVTX 3; `export_table` answers for as long as the process lives.
        let accepted = unsafe {
            let initialize =
                std::mem::transmute::<*mut c_void, unsafe extern "C" fn(ExportTable) -> c_int>(entry);
            initialize(export_table)
        };
        let has = |at: usize| !SLOTS[at].load(Relaxed).is_null();
        if accepted != 0 && has(RANGE_PUSH_A) && has(RANGE_POP) {
            profiler::attached();
        } else {
            SLOTS.iter().for_each(|slot| slot.store(null_mut(), Relaxed));
        }
    });
}

/// A range that is open on this thread until it is dropped; none when no tool is attached.
pub struct Range(std::marker::PhantomData<*const ()>);

/// Opens a range. Call only when [`profiler::on`] says so.
pub fn range(name: &str) -> Option<Range> {
    push(name).then_some(Range(std::marker::PhantomData))
}

impl Drop for Range {
    fn drop(&mut self) {
        pop();
    }
}

/// Opens a range on this thread; false when no tool is attached.
pub(super) fn push(name: &str) -> bool {
    let function = SLOTS[RANGE_PUSH_A].load(Relaxed);
    if function.is_null() {
        return false;
    }
    // A name with a zero byte is told up to there.
    let text = CString::new(name.split('\0').next().unwrap_or_default()).unwrap_or_default();
    // SAFETY: the tool put its `nvtxRangePushA` there.
    unsafe {
        let push = std::mem::transmute::<*mut c_void, unsafe extern "C" fn(*const c_char) -> c_int>(function);
        push(text.as_ptr());
    }
    true
}

/// Closes the range that [`push`] opened last on this thread.
pub(super) fn pop() {
    let function = SLOTS[RANGE_POP].load(Relaxed);
    if !function.is_null() {
        // SAFETY: the tool put its `nvtxRangePop` there.
        unsafe { std::mem::transmute::<*mut c_void, unsafe extern "C" fn() -> c_int>(function)() };
    }
}
