//! Devices: a processor with its memory. One trait, one folder an implementation.
//!
//! A [`Device`] hands out raw means only: physical memory by the granule, address ranges to map it into, nodes made
//! of processors, ordered streams. Quotas, pools, tasks and shares are built on top, the same for every device.

pub mod cpu;
#[cfg(feature = "cuda")]
pub mod cuda;
mod fork;
mod health;
mod info;
mod path;
mod recover;
mod registry;
mod table;
mod texture;

pub use health::DeviceHealth;
pub use info::{DeviceInfo, DeviceKind, NvLink, Unit};
pub use path::{Count, Direction, Path};
pub use recover::{
    fallback, fallback_at_first, on_recovery, parse_fallback, recover, recover_choice, set_fallback,
};
pub use registry::{
    DeviceChoice, default_choice, default_device, list, open, open_all, opened, parse_choice,
};

pub use table::PerDevice;
pub use texture::{Filter, Texture, TextureView};

/// Whether this process is a fork of one that had used this function: threads and devices of that one are not here.
pub fn is_forked() -> bool {
    fork::generation() != 0
}

use crate::Result;
use crate::telemetry::profiler::Track;
use once_cell::sync::Lazy;
use std::any::Any;
use std::ffi::c_void;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

/// An address in a device's address space. On the CPU device it is an address of this process; on a CUDA device a
/// `CUdeviceptr`. Zero is never a valid address.
pub type DevicePtr = u64;

/// One physical allocation of a device, not yet visible at any address. Owned by whoever created it; give it back
/// with [`Device::granule_release`] exactly once.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Granule {
    /// The device's own handle: a `CUmemGenericAllocationHandle`, or the file descriptor of a `memfd`.
    pub handle: u64,
    /// Size in bytes, a multiple of [`Device::granularity`].
    pub bytes: u64,
}

/// A part of a device's last-level cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CachePart {
    /// Bytes.
    pub bytes: u64,
    /// The units (indices into [`Device::units`]) whose cache it is; empty: all use it.
    pub units: Vec<u32>,
}

/// Memory that is to persist in the cache.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CacheWindow {
    /// First byte.
    pub base: DevicePtr,
    /// Bytes; the device shortens what is longer than its longest window.
    pub bytes: u64,
    /// Part of the window's lines that persist, 0 to 1: what is set aside over `bytes`.
    pub ratio: f32,
}

/// What may be done through a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reads only (shared weights).
    Read,
    /// Reads and writes.
    ReadWrite,
}

/// Where an address lies, as far as the device can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Ordinary or pinned host memory.
    Host,
    /// Memory of this device.
    Device,
}

/// Names of copies in the profiler, by where they go.
pub(crate) const HOST_TO_DEVICE: &str = "host_to_device";
/// See [`HOST_TO_DEVICE`].
pub(crate) const DEVICE_TO_HOST: &str = "device_to_host";

/// The name of a copy between these places.
pub(crate) fn direction(dst: Place, src: Place) -> &'static str {
    match (dst, src) {
        (Place::Device, Place::Host) => HOST_TO_DEVICE,
        (Place::Host, Place::Device) => DEVICE_TO_HOST,
        (Place::Device, Place::Device) => "device_to_device",
        (Place::Host, Place::Host) => "host_to_host",
    }
}

/// A processor with its memory. All methods may be called from any thread.
///
/// Errors: everything a driver can answer comes back as an [`crate::Error`] with advice; nothing panics.
pub trait Device: Send + Sync + Any {
    /// The kind of device.
    fn kind(&self) -> DeviceKind;

    /// The index among devices of the same kind, from 0.
    fn ordinal(&self) -> u32;

    /// True figures of this device; free memory is read anew.
    fn info(&self) -> Result<DeviceInfo>;

    /// How the device is at this moment, as far as it can be read: see [`DeviceHealth`].
    fn health(&self) -> DeviceHealth {
        DeviceHealth::default()
    }

    /// Part of the last `window` (at most 5 s) in which it was busy with work of all programs, 0 to 1. A GPU: the time in which any
    /// kernel ran, by NVML, which samples it some times a second. The CPU: the mean of its cores, between this
    /// reading of the system's counters and an earlier one that is nearest to `window` ago. `None` where nobody tells, or
    /// when it was never asked before.
    fn busy(&self, window: Duration) -> Option<f64> {
        let _ = window;
        self.health().utilization
    }

    /// Free and total bytes of physical memory at this moment.
    fn memory(&self) -> Result<(u64, u64)>;

    /// The unit in which physical memory is created and mapped, in bytes (a power of two).
    fn granularity(&self) -> u64;

    /// Creates physical memory of `bytes` (a multiple of [`Device::granularity`]). Its content is undefined on a GPU
    /// and zero on the CPU.
    fn granule_create(&self, bytes: u64) -> Result<Granule>;

    /// Like [`Device::granule_create`], on one NUMA node of the host where the device's memory is the host's and has
    /// several; elsewhere the same.
    fn granule_create_on(&self, bytes: u64, numa_node: Option<u32>) -> Result<Granule> {
        let _ = numa_node;
        self.granule_create(bytes)
    }

    /// Gives physical memory back. It must not be mapped anywhere.
    fn granule_release(&self, granule: Granule);

    /// The unit, in bytes, in which memory of a granule can be given back and had again while the granule stays mapped
    /// ([`Device::granule_discard`]); none where a granule goes only as a whole.
    fn granule_page(&self) -> Option<u64> {
        None
    }

    /// As [`Device::granule_create`], with no memory in it yet: each part gets some with [`Device::granule_fill`], and
    /// must not be touched before.
    fn granule_create_bare(&self, bytes: u64) -> Result<Granule> {
        let _ = bytes;
        Err(crate::Error::unsupported("memory of this device comes and goes by whole granules"))
    }

    /// Puts memory, with zeros in it, into a part of a granule that has none. `offset` and `bytes` are multiples of
    /// [`Device::granule_page`]. On an error the part has none, as before.
    fn granule_fill(&self, granule: &Granule, offset: u64, bytes: u64) -> Result<()> {
        let _ = (granule, offset, bytes);
        Err(crate::Error::unsupported("memory of this device comes and goes by whole granules"))
    }

    /// Gives the memory of a part of a granule back to the device. Nobody may touch that part before it is filled again;
    /// no work that touches it may be in flight.
    fn granule_discard(&self, granule: &Granule, offset: u64, bytes: u64) -> Result<()> {
        let _ = (granule, offset, bytes);
        Err(crate::Error::unsupported("memory of this device comes and goes by whole granules"))
    }

    /// A file descriptor by which another process can map this granule.
    fn granule_export(&self, granule: &Granule) -> Result<OwnedFd>;

    /// The granule of `bytes` bytes behind a descriptor that [`Device::granule_export`] gave, in this or another process.
    /// Both then own the same physical memory; it is freed when both have released it. The descriptor stays the
    /// caller's.
    fn granule_import(&self, fd: BorrowedFd<'_>, bytes: u64) -> Result<Granule> {
        let _ = (fd, bytes);
        Err(crate::Error::unsupported("this device takes no memory of other processes"))
    }

    /// Reserves an address range of `bytes` (a multiple of the granularity) with nothing behind it.
    fn range_reserve(&self, bytes: u64) -> Result<DevicePtr>;

    /// Gives an address range back. Nothing may be mapped in it.
    fn range_release(&self, address: DevicePtr, bytes: u64);

    /// Maps a whole granule at `address` inside a reserved range. A granule may be mapped in several places.
    fn map(&self, address: DevicePtr, granule: &Granule, access: Access) -> Result<()>;

    /// Undoes one [`Device::map`]: the same address and the granule's size. No work that touches it may be in flight.
    fn unmap(&self, address: DevicePtr, bytes: u64) -> Result<()>;

    /// Copies host bytes to the device and waits.
    fn write(&self, dst: DevicePtr, src: &[u8]) -> Result<()>;

    /// Copies device bytes to the host and waits.
    fn read(&self, dst: &mut [u8], src: DevicePtr) -> Result<()>;

    /// Copies `bytes` between two addresses, each of which may be a host or a device address of this device. With a
    /// stream the copy is ordered on it and may still run when the call returns; without one the call waits.
    ///
    /// # Safety
    /// Both ranges must be readable/writable for `bytes` until the copy has run.
    unsafe fn copy(&self, dst: u64, src: u64, bytes: u64, stream: Option<&dyn Stream>) -> Result<()>;

    /// Sets `bytes` bytes to `value`; ordering as in [`Device::copy`].
    ///
    /// # Safety
    /// The range must be mapped and writable until the fill has run.
    unsafe fn fill(&self, dst: DevicePtr, value: u8, bytes: u64, stream: Option<&dyn Stream>) -> Result<()>;

    /// Whether an address belongs to device memory or to the host. On the CPU device everything is host memory
    /// unless it lies in a range reserved by this device.
    fn place(&self, address: u64) -> Place;

    /// Zeroed host memory that the device addresses directly, at the same address as the host. Devices whose own
    /// memory is host memory have no need of it and answer [`crate::Status::Unsupported`].
    fn host_memory(&self, bytes: u64) -> Result<Box<dyn HostMemory>> {
        let _ = bytes;
        Err(crate::Error::unsupported("this device's memory is host memory: allocate from it"))
    }

    /// As [`Device::host_memory`], with undefined content and for copies alone: work of nobody uses it, so that a lost
    /// device can be thrown away while it exists.
    fn host_buffer(&self, bytes: u64) -> Result<Box<dyn HostMemory>> {
        self.host_memory(bytes)
    }

    /// How work reaches this device, and counts of it.
    fn path(&self) -> &Path {
        static PLAIN: Lazy<Path> = Lazy::new(Path::default);
        &PLAIN
    }

    /// One allocation of the device's own driver (`cuMemAlloc`; anonymous pages on the CPU device), aligned to at least
    /// 256 bytes, writable, its content undefined on a GPU and zero on the CPU. Give it back with
    /// [`Device::plain_free`].
    ///
    /// Errors: [`crate::Status::Unsupported`] where a device has none; [`crate::Status::OutOfMemory`].
    fn plain_alloc(&self, bytes: u64) -> Result<DevicePtr> {
        let _ = bytes;
        Err(crate::Error::unsupported("this device has no allocations beside granules"))
    }

    /// Gives back what [`Device::plain_alloc`] gave, of the same size. No work that touches it may be in flight.
    fn plain_free(&self, address: DevicePtr, bytes: u64) -> Result<()> {
        let _ = (address, bytes);
        Err(crate::Error::unsupported("this device has no allocations beside granules"))
    }

    /// Lets the device address host memory where it is, until the result is dropped. Devices whose own memory is host
    /// memory do that anyway and answer [`crate::Status::Unsupported`].
    ///
    /// # Safety
    /// `bytes` bytes at `address` must stay mapped until the result is dropped.
    unsafe fn host_register(&self, address: u64, bytes: u64) -> Result<Box<dyn HostMemory>> {
        let _ = (address, bytes);
        Err(crate::Error::unsupported("this device addresses host memory without being told"))
    }

    /// Binds memory of this device as a texture.
    fn texture(&self, view: TextureView) -> Result<Box<dyn Texture>> {
        let _ = view;
        Err(crate::Error::unsupported("this device has no textures"))
    }

    /// Bytes of stack that a thread of a kernel may have now, and how many such threads the device holds at most. Devices
    /// without kernels answer [`crate::Status::Unsupported`]: their threads are the host's.
    fn thread_stack(&self) -> Result<(u64, u64)> {
        Err(crate::Error::unsupported("threads of this device are threads of the host"))
    }

    /// Sets the bytes of stack that a thread of a kernel may have, for every kernel of this process on the device; what
    /// the driver made of it.
    fn set_thread_stack(&self, bytes: u64) -> Result<u64> {
        let _ = bytes;
        Err(crate::Error::unsupported("threads of this device are threads of the host"))
    }

    /// The smallest processors that can be given away one by one: single cores, or groups of SMs.
    fn units(&self) -> &[Unit];

    /// A node made of these units (indices into [`Device::units`], each once, at least one). Nodes may overlap.
    fn node_create(&self, units: &[u32]) -> Result<Arc<dyn Node>>;

    /// Gives back memory of the device that is kept only for reuse: staging buffers, spare streams, nodes that nobody
    /// uses. Never waits for other threads; what is in use stays.
    fn free_caches(&self) {}

    /// Whether the device was lost: every call on it fails from now on; see [`recover`].
    fn is_lost(&self) -> bool {
        false
    }

    /// The parts of its last-level cache that can be given away one by one. CPU: the caches that cores share, with these
    /// cores. GPU: equal slices of what the driver lets persist in L2, which belong to no SMs. Empty where nothing is
    /// known of the cache.
    fn cache_parts(&self) -> Vec<CachePart> {
        Vec::new()
    }

    /// Sets `bytes` of the cache aside for what streams name with [`Stream::set_cache_window`]; 0 ends that and lets go
    /// what persists. Returns how many the driver set aside.
    fn cache_set_aside(&self, bytes: u64) -> Result<u64> {
        let _ = bytes;
        Err(crate::Error::unsupported("this device's cache cannot be set aside")
            .advise("on the CPU device an L2_CACHE node keeps its tenant on the cores of one cache"))
    }

    /// Throws a lost device away with everything in it, so that it can be opened anew; see [`recover`]. Every later call
    /// on this object answers [`crate::Status::DeviceLost`], but memory can still be given back.
    fn throw_away(&self) -> Result<()> {
        Err(crate::Error::unsupported("this kind of device cannot be lost"))
    }

    /// Waits until all work of this process on the device has finished.
    fn synchronize(&self) -> Result<()>;

    /// For implementations in this crate: the concrete type.
    fn as_any(&self) -> &dyn Any;
}

/// Host memory that a device addresses directly. Given back when dropped; no work that uses it may be in flight.
pub trait HostMemory: Send + Sync {
    /// Its first byte, for host and device alike.
    fn address(&self) -> u64;
}

/// Processors on which streams run. Dropping the last reference gives them back; streams keep their node alive.
pub trait Node: Send + Sync + Any {
    /// The units it is made of, ascending.
    fn units(&self) -> &[u32];

    /// How many processors (cores or SMs) these units have together.
    fn processors(&self) -> u32;

    /// An ordered queue on this node. `priority` 0 is normal; lower runs first; the device clamps it.
    fn stream_create(&self, priority: i32) -> Result<Arc<dyn Stream>>;

    /// For implementations in this crate: the concrete type.
    fn as_any(&self) -> &dyn Any;
}

/// Work that the host asks to run in stream order.
pub type HostFn = Box<dyn FnOnce() + Send + 'static>;

/// An ordered queue of work on a node. Dropping it waits for nothing: queued work still runs.
pub trait Stream: Send + Sync + Any {
    /// Queues a host function. It must not call the device's API and must not panic (a panic is caught and dropped).
    fn host_fn(&self, f: HostFn) -> Result<()>;

    /// Waits until everything queued so far has run; reports an error that the device raised meanwhile.
    fn synchronize(&self) -> Result<()>;

    /// True when everything queued so far has run.
    fn is_idle(&self) -> Result<bool>;

    /// Marks this point of the queue.
    fn record(&self) -> Result<Arc<dyn Event>>;

    /// Lets work queued from now on wait for `event`, which may belong to another stream of the same device.
    fn wait(&self, event: &Arc<dyn Event>) -> Result<()>;

    /// Whose work it carries, for the profiler; none unless somebody said so.
    fn track(&self) -> Option<&Arc<Track>> {
        None
    }

    /// Says whose work it carries; the first time counts.
    fn set_track(&self, track: Arc<Track>) {
        let _ = track;
    }

    /// Lets accesses of work queued from now on persist in the part of the cache that was set aside
    /// ([`Device::cache_set_aside`]) where they fall into the window; `None` ends that.
    fn set_cache_window(&self, window: Option<CacheWindow>) -> Result<()> {
        match window {
            None => Ok(()),
            Some(_) => Err(crate::Error::unsupported("streams of this device have no cache windows")),
        }
    }

    /// The window in force, read back from the driver.
    fn cache_window(&self) -> Result<Option<CacheWindow>> {
        Ok(None)
    }

    /// Percent of an SM's L1 that kernels launched from now on want as shared memory; `None` leaves it to the driver.
    fn set_shared_carveout(&self, percent: Option<u32>) -> Result<()> {
        match percent {
            None => Ok(()),
            Some(_) => Err(crate::Error::unsupported("this device has no shared memory to carve out")),
        }
    }

    /// What [`Stream::set_shared_carveout`] set.
    fn shared_carveout(&self) -> Option<u32> {
        None
    }

    /// The native stream (`CUstream`), or null on devices without one.
    fn raw(&self) -> *mut c_void;

    /// For implementations in this crate: the concrete type.
    fn as_any(&self) -> &dyn Any;
}

/// A marked point of a stream.
pub trait Event: Send + Sync + Any {
    /// True once the stream has passed this point.
    fn is_done(&self) -> Result<bool>;

    /// Waits until the stream has passed this point.
    fn synchronize(&self) -> Result<()>;

    /// Device time between an `earlier` event and this one; both must be done.
    fn since(&self, earlier: &dyn Event) -> Result<Duration>;

    /// Of the time between an `earlier` event of the same stream and this one, both done, the part in which the stream
    /// ran something. `None` where the device cannot tell that from time in which it had nothing to do.
    fn busy_since(&self, earlier: &dyn Event) -> Option<Duration> {
        let _ = earlier;
        None
    }

    /// The first error of work of the stream between the event before this one and this one, once it is done. `None`
    /// also where the device reports errors by other means: a CUDA device answers them to every call.
    fn failure(&self) -> Option<crate::Error> {
        None
    }

    /// For implementations in this crate: the concrete type.
    fn as_any(&self) -> &dyn Any;
}
