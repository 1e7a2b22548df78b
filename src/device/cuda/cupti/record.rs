//! Activity records as CUPTI writes them: packed structures, of which a few fields are read by their offsets. The
//! records of CUDA 12.6 to 13 agree in these (later ones have more at their ends).

use crate::telemetry::profiler::Kind;
use std::ffi::{CStr, c_char};

/// Kinds of activity.
pub(super) const MEMCPY: u32 = 1;
pub(super) const MEMSET: u32 = 2;
/// Calls of the driver.
pub(super) const DRIVER: u32 = 4;
/// Calls of the CUDA runtime, which libraries use.
pub(super) const RUNTIME: u32 = 5;
pub(super) const CONCURRENT_KERNEL: u32 = 10;
/// A copy between two GPUs.
pub(super) const MEMCPY_PEER: u32 = 22;
pub(super) const EXTERNAL_CORRELATION: u32 = 39;

/// `CUPTI_EXTERNAL_CORRELATION_KIND_CUSTOM2`: the others of its sort are in use by frameworks.
pub(super) const OWN_CORRELATION: u32 = 5;

/// Where fields are, all activities: bytes 0 kind, 16 start, 24 end.
const START: usize = 16;
const END: usize = 24;
/// Copies and fills.
const BYTES: usize = 8;
/// Copies: which way.
const WAY: usize = 4;
const KERNEL_CORRELATION: usize = 92;
const KERNEL_NAME: usize = 104;
const COPY_CORRELATION: usize = 44;
const PEER_CORRELATION: usize = 60;
const FILL_CORRELATION: usize = 44;
const EXTERNAL_KIND: usize = 4;
const EXTERNAL_ID: usize = 8;
const EXTERNAL_CORRELATION_ID: usize = 16;

/// Work that the device did.
pub(super) struct Activity {
    pub kind: Kind,
    pub name: Box<str>,
    /// Nanoseconds of CUPTI's clock; both 0 when it could not tell.
    pub start: u64,
    pub end: u64,
    /// Of copies and fills.
    pub bytes: u64,
    /// The call that queued it.
    pub correlation: u32,
}

/// What a record says.
pub(super) enum Item {
    Activity(Activity),
    /// The call `correlation` was made while `id` was pushed.
    External {
        correlation: u32,
        id: u64,
    },
}

/// Reads one record; `None` for what nobody asked for.
///
/// # Safety
/// `record` points to a record of a known version of CUPTI.
pub(super) unsafe fn read(record: *const u8) -> Option<Item> {
    // SAFETY: the caller's duty; fields of packed records need no alignment.
    let u32_at = |at: usize| unsafe { record.add(at).cast::<u32>().read_unaligned() };
    // SAFETY: as above.
    let u64_at = |at: usize| unsafe { record.add(at).cast::<u64>().read_unaligned() };
    let activity = |kind, name: Box<str>, bytes, correlation| {
        Some(Item::Activity(Activity {
            kind,
            name,
            start: u64_at(START),
            end: u64_at(END),
            bytes,
            correlation,
        }))
    };
    match u32_at(0) {
        CONCURRENT_KERNEL => {
            let name = u64_at(KERNEL_NAME) as *const c_char;
            let name = match name.is_null() {
                true => "(unnamed)".into(),
                // SAFETY: the record is being delivered, so its text is there.
                false => unsafe { CStr::from_ptr(name) }.to_string_lossy().into(),
            };
            activity(Kind::Kernel, name, 0, u32_at(KERNEL_CORRELATION))
        }
        MEMCPY => {
            // SAFETY: as above.
            let way = way(unsafe { record.add(WAY).read() });
            activity(Kind::Copy, way.into(), u64_at(BYTES), u32_at(COPY_CORRELATION))
        }
        MEMCPY_PEER => {
            activity(Kind::Copy, "device_to_device".into(), u64_at(BYTES), u32_at(PEER_CORRELATION))
        }
        MEMSET => activity(Kind::Fill, "fill".into(), u64_at(BYTES), u32_at(FILL_CORRELATION)),
        EXTERNAL_CORRELATION if u32_at(EXTERNAL_KIND) == OWN_CORRELATION => {
            Some(Item::External { correlation: u32_at(EXTERNAL_CORRELATION_ID), id: u64_at(EXTERNAL_ID) })
        }
        _ => None,
    }
}

/// `CUpti_ActivityMemcpyKind` by the profiler's names.
fn way(kind: u8) -> &'static str {
    match kind {
        1 | 3 => "host_to_device",
        2 | 4 => "device_to_host",
        5..=8 | 10 => "device_to_device",
        9 => "host_to_host",
        _ => "copy",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The offsets that the headers of CUPTI 13.0 and 12.9 have, by `offsetof`.
    #[test]
    fn fields_are_where_the_headers_have_them() {
        assert_eq!((START, END, KERNEL_CORRELATION, KERNEL_NAME), (16, 24, 92, 104)); // CUpti_ActivityKernel9, 10
        assert_eq!((WAY, BYTES, START, END, COPY_CORRELATION), (4, 8, 16, 24, 44)); // CUpti_ActivityMemcpy6
        assert_eq!((WAY, BYTES, START, END, PEER_CORRELATION), (4, 8, 16, 24, 60)); // CUpti_ActivityMemcpyPtoP4
        assert_eq!((BYTES, START, END, FILL_CORRELATION), (8, 16, 24, 44)); // CUpti_ActivityMemset4
        assert_eq!((EXTERNAL_KIND, EXTERNAL_ID, EXTERNAL_CORRELATION_ID), (4, 8, 16));
    }

    #[test]
    fn a_kernel_a_copy_and_a_correlation_are_read() {
        // SAFETY: a whole record.
        let read_it = |record: &[u8]| unsafe { read(record.as_ptr()) };
        let mut record = [0u8; 216];
        let put =
            |record: &mut [u8], at: usize, bytes: &[u8]| record[at..at + bytes.len()].copy_from_slice(bytes);
        let name = c"some_kernel";
        put(&mut record, 0, &10u32.to_le_bytes());
        put(&mut record, 16, &100u64.to_le_bytes());
        put(&mut record, 24, &350u64.to_le_bytes());
        put(&mut record, 92, &77u32.to_le_bytes());
        put(&mut record, 104, &(name.as_ptr() as u64).to_le_bytes());
        let Some(Item::Activity(kernel)) = read_it(&record) else { panic!("no kernel") };
        assert_eq!(
            (&*kernel.name, kernel.start, kernel.end, kernel.correlation),
            ("some_kernel", 100, 350, 77)
        );
        put(&mut record, 0, &1u32.to_le_bytes());
        put(&mut record, 4, &[2]);
        put(&mut record, 8, &4096u64.to_le_bytes());
        put(&mut record, 44, &78u32.to_le_bytes());
        let Some(Item::Activity(copy)) = read_it(&record) else { panic!("no copy") };
        assert_eq!((&*copy.name, copy.bytes, copy.correlation), ("device_to_host", 4096, 78));
        put(&mut record, 0, &39u32.to_le_bytes());
        put(&mut record, 4, &5u32.to_le_bytes());
        put(&mut record, 8, &9u64.to_le_bytes());
        put(&mut record, 16, &79u32.to_le_bytes());
        assert!(matches!(read_it(&record), Some(Item::External { correlation: 79, id: 9 })));
        put(&mut record, 4, &3u32.to_le_bytes());
        assert!(read_it(&record).is_none(), "another user's correlation");
    }
}
