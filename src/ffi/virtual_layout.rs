//! How memory spaces of virtual GPUs lie, across the border: pages, compaction, policies, gaps.

use super::guard::{guard, input, out, struct_size};
use super::text::write_text;
use super::types::cw_status;
use super::virtual_gpu::{flag, nanos};
use super::virtual_types::{
    CW_PAGE_FREE, CW_PAGE_KEPT, CW_PAGE_PARTLY, CW_PAGE_USED, cw_vmem_compaction, cw_vmem_page,
    cw_vmem_policy,
};
use crate::memory::{Page, PageState, SpacePolicy};
use crate::virtualization::MemoryManager;
use crate::{Error, Result, Status};
use std::ffi::c_char;
use std::time::Duration;

/// A time in milliseconds, above 0.
pub(super) fn pause(argument: &str, ms: f64) -> Result<Duration> {
    if ms.is_finite() && ms > 0.0 && ms <= 1e6 {
        return Ok(Duration::from_secs_f64(ms / 1e3));
    }
    Err(Error::argument(argument, format!("{ms} is not above 0 and up to 1000000")))
}

/// Compacts a memory space: all memory that is free inside of pieces in use goes back, so that (nearly) all that is free can
/// be allocated in one piece. Pointers stay valid, contents too; captured graphs still replay. Work of this virtual GPU waits
/// for at most `max_pause_ms` at a time (0: as its policy says), that of others goes on. `report` (may be `NULL`) gets what was
/// done; set its `struct_size` first.
///
/// # Safety
/// `report` must be null or valid for reads and writes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_vmem_compact(
    virtual_gpu: i32,
    max_pause_ms: f64,
    report: *mut cw_vmem_compaction,
) -> cw_status {
    guard(call!("cw_vmem_compact", virtual_gpu, max_pause_ms, report), || {
        // SAFETY: the caller's promise.
        let report = if report.is_null() { None } else { Some(unsafe { out("report", report)? }) };
        if let Some(report) = &report {
            struct_size::<cw_vmem_compaction>("report", report.struct_size)?;
        }
        let most = if max_pause_ms == 0.0 { None } else { Some(pause("max_pause_ms", max_pause_ms)?) };
        let done = MemoryManager::global().compact(virtual_gpu, most)?;
        if let Some(report) = report {
            *report = cw_vmem_compaction {
                struct_size: report.struct_size,
                bytes_moved: done.moved,
                bytes_given_back: done.given_back,
                slices: done.slices,
                complete: i32::from(done.complete),
                longest_pause_ns: nanos(done.longest_pause),
                paused_ns: nanos(done.paused),
                longest_wait_ns: nanos(done.longest_wait),
                time_ns: nanos(done.time),
            };
        }
        Ok(())
    })
}

fn to_c(page: &Page) -> cw_vmem_page {
    cw_vmem_page {
        struct_size: size_of::<cw_vmem_page>(),
        address: page.address,
        size: page.bytes,
        granule: page.granule,
        live: page.live,
        resident: page.resident,
        state: match page.state {
            PageState::Free => CW_PAGE_FREE,
            PageState::Partly => CW_PAGE_PARTLY,
            PageState::Used => CW_PAGE_USED,
            PageState::Kept => CW_PAGE_KEPT,
        },
        pinned: i32::from(page.pinned),
    }
}

/// The page table of a memory space: every mapped page by address. Set the `struct_size` of the first element first: it is the
/// step from one to the next. As many as fit are written, `*count` gets how many there are; `pages` may be `NULL` with a
/// capacity of 0 to ask for that.
///
/// # Safety
/// `pages` must be valid for reads and writes of `capacity` elements, `count` valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_vmem_pages(
    virtual_gpu: i32,
    pages: *mut cw_vmem_page,
    capacity: usize,
    count: *mut usize,
) -> cw_status {
    guard(call!("cw_vmem_pages", virtual_gpu, pages, capacity, count), || {
        // SAFETY: the caller's promise.
        let count = unsafe { out("count", count)? };
        let step = if pages.is_null() {
            if capacity > 0 {
                return Err(Error::argument("pages", "is NULL while capacity is not 0"));
            }
            0
        } else {
            // SAFETY: the caller's promise.
            let step = unsafe { out("pages", pages)? }.struct_size;
            struct_size::<cw_vmem_page>("pages", step)?;
            if !step.is_multiple_of(align_of::<cw_vmem_page>()) {
                return Err(Error::argument("pages", format!("struct_size {step} is no multiple of 8")));
            }
            step
        };
        let list = MemoryManager::global().pages(virtual_gpu)?;
        *count = list.len();
        for (at, page) in list.iter().enumerate().take(capacity) {
            let mut page = to_c(page);
            page.struct_size = step;
            // SAFETY: within the caller's elements, aligned as the first of them.
            unsafe { pages.byte_add(at * step).write(page) };
        }
        if pages.is_null() || list.len() <= capacity {
            return Ok(());
        }
        Err(Error::new(
            Status::BufferTooSmall,
            format!("argument `pages`: has room for {capacity}, there are {}", list.len()),
        ))
    })
}

/// How a memory space allocates and when it compacts itself. Set `policy->struct_size` first.
///
/// # Safety
/// `policy` must be valid for reads and writes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_vmem_policy_get(virtual_gpu: i32, policy: *mut cw_vmem_policy) -> cw_status {
    guard(call!("cw_vmem_policy_get", virtual_gpu, policy), || {
        // SAFETY: the caller's promise.
        let policy = unsafe { out("policy", policy)? };
        struct_size::<cw_vmem_policy>("policy", policy.struct_size)?;
        let now = MemoryManager::global().policy(virtual_gpu)?;
        *policy = cw_vmem_policy {
            struct_size: policy.struct_size,
            guard_bytes: now.guard_bytes,
            small_limit: now.small_limit,
            guard_pattern: i32::from(now.guard_pattern),
            small_pools: i32::from(now.small_pool),
            before_refusal: i32::from(now.before_refusal),
            automatic: i32::from(now.auto),
            threshold: now.threshold,
            max_pause_ms: now.max_pause.as_secs_f64() * 1e3,
        };
        Ok(())
    })
}

/// Changes that from now on; what was allocated before stays as it is.
///
/// # Safety
/// `policy` must be valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_vmem_policy_set(virtual_gpu: i32, policy: *const cw_vmem_policy) -> cw_status {
    guard(call!("cw_vmem_policy_set", virtual_gpu, policy), || {
        // SAFETY: the caller's promise.
        let policy = unsafe { input("policy", policy)? };
        struct_size::<cw_vmem_policy>("policy", policy.struct_size)?;
        let wanted = SpacePolicy {
            guard_bytes: policy.guard_bytes,
            guard_pattern: flag("guard_pattern", policy.guard_pattern)?,
            small_pool: flag("small_pools", policy.small_pools)?,
            small_limit: policy.small_limit,
            before_refusal: flag("before_refusal", policy.before_refusal)?,
            auto: flag("automatic", policy.automatic)?,
            threshold: policy.threshold,
            max_pause: pause("max_pause_ms", policy.max_pause_ms)?,
        };
        MemoryManager::global().set_policy(virtual_gpu, wanted)
    })
}

/// The allocations behind whose end somebody wrote, where gaps have a pattern, as JSON:
/// `[{"address": …, "bytes": …, "first_changed": …, "changed": …}, …]`. Waits for work in flight first.
///
/// # Safety
/// The buffer as the contract says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_vmem_check_guards(
    virtual_gpu: i32,
    buffer: *mut c_char,
    length: usize,
    needed: *mut usize,
) -> cw_status {
    guard(call!("cw_vmem_check_guards", virtual_gpu, buffer, length, needed), || {
        let list = MemoryManager::global().check_guards(virtual_gpu)?;
        let one = |o: &crate::memory::Overrun| {
            serde_json::json!({
                "address": o.allocation.ptr, "bytes": o.allocation.bytes, "first_changed": o.address,
                "changed": o.bytes,
            })
        };
        let text = serde_json::Value::from(list.iter().map(one).collect::<Vec<_>>()).to_string();
        // SAFETY: the caller's promise.
        unsafe { write_text(&text, buffer, length, needed) }
    })
}
