//! The CPU device: the reference implementation, a real device without a driver.
//!
//! | part | what it is here |
//! |---|---|
//! | granule | a `memfd`, filled with real pages when it is created and sealed against shrinking and growing |
//! | range | addresses of this process that nothing else gets (`PROT_NONE`), aligned to the granularity |
//! | mapping | `mmap(MAP_SHARED \| MAP_FIXED)` of the granule; [`Access::Read`] makes writing fault |
//! | unit | a core that this process may use, with its hardware threads |
//! | node | a set of cores; work on it uses a [`Team`] of threads that may run on these cores only |
//! | stream | an ordered queue with a thread of its own, kept on the node's cores |
//!
//! **Fork.** Threads do not survive `fork`. A child process gets an error from every node and stream that was made
//! before; it can open what it needs anew through [`CpuDevice::open`].

mod granule;
mod health;
mod mempolicy;
mod node;
mod ranges;
mod stream;
mod team;
mod texture;
mod topology;

#[cfg(test)]
mod tests;

pub use granule::GRANULARITY;
pub use node::CpuNode;
pub use stream::{CpuEvent, CpuStream, submitted};
pub use team::Team;
pub use topology::{Core, Topology};

use super::{
    Access, CachePart, Count, DEVICE_TO_HOST, Device, DeviceHealth, DeviceInfo, DeviceKind, DevicePtr,
    Direction, Granule, HOST_TO_DEVICE, Node, Path as Way, Place, Stream, Texture, TextureView, Unit,
};
use crate::telemetry::profiler::{self, Kind, Span};
use crate::{Error, Result};
use parking_lot::Mutex;
use ranges::Ranges;
use std::any::Any;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use stream::Queue;

/// How many bytes may be created between two readings of the system's free memory.
const CHECK_EVERY: u64 = 64 << 20;

/// The host's processor and memory.
pub struct CpuDevice {
    topology: Topology,
    units: Vec<Unit>,
    ranges: Arc<Ranges>,
    queues: Arc<Mutex<Vec<Weak<Queue>>>>,
    unchecked: AtomicU64,
    load: health::Load,
    way: Way,
}

impl CpuDevice {
    /// Opens the host.
    pub fn open() -> Result<Arc<dyn Device>> {
        Ok(Arc::new(Self::with_root(Path::new("/"))?))
    }

    /// Opens the host as the `proc` and `sys` folders under `root` describe it (`/` for the true ones). The cores
    /// are still limited to those that this process may use.
    pub fn with_root(root: &Path) -> Result<CpuDevice> {
        let topology = Topology::read(root)?;
        let units = topology.units();
        Ok(CpuDevice {
            topology,
            units,
            ranges: Arc::default(),
            queues: Arc::default(),
            unchecked: AtomicU64::new(CHECK_EVERY),
            load: health::Load::default(),
            way: Way::default(),
        })
    }

    /// Cores, caches and NUMA nodes.
    pub fn topology(&self) -> &Topology {
        &self.topology
    }

    /// Refuses what would drive the system into its out-of-memory killer. The figures are read anew every
    /// [`CHECK_EVERY`] bytes only, since reading them costs as much as creating a small granule.
    fn check_free(&self, bytes: u64) -> Result<()> {
        if self.unchecked.fetch_add(bytes, Ordering::Relaxed) + bytes < CHECK_EVERY {
            return Ok(());
        }
        self.unchecked.store(0, Ordering::Relaxed);
        let (free, total) = self.memory()?;
        // The kernel itself and page tables need some room beside.
        let spare = (total / 128).min(CHECK_EVERY);
        if bytes > free.saturating_sub(spare) {
            self.unchecked.store(CHECK_EVERY, Ordering::Relaxed);
            return Err(granule::out_of_memory(bytes, &format!("{free} of {total} bytes are free")));
        }
        Ok(())
    }
}

impl Device for CpuDevice {
    fn kind(&self) -> DeviceKind {
        DeviceKind::Cpu
    }

    fn ordinal(&self) -> u32 {
        0
    }

    fn info(&self) -> Result<DeviceInfo> {
        let (free, total) = self.memory()?;
        let t = &self.topology;
        Ok(DeviceInfo {
            name: t.name.clone(),
            total_memory: total,
            free_memory: free,
            isa: topology::isa().to_string(),
            multiprocessors: self.units.len() as u32,
            warp_size: 1,
            max_threads_per_block: 1,
            max_threads_per_multiprocessor: t.threads_per_core(),
            l1_cache: t.l1_cache,
            l2_cache: t.l2_cache,
            l3_cache: t.l3_cache,
            clock_khz: t.clock_khz,
            integrated: true,
            unified_addressing: true,
            concurrent_kernels: self.units.len() > 1,
            numa_nodes: t.numa_nodes.clone(),
            ..DeviceInfo::default()
        })
    }

    fn health(&self) -> DeviceHealth {
        self.load.read(self.topology.root(), self.memory().ok())
    }

    fn busy(&self, window: Duration) -> Option<f64> {
        self.load.busy(self.topology.root(), window)
    }

    fn memory(&self) -> Result<(u64, u64)> {
        self.topology.memory()
    }

    fn granularity(&self) -> u64 {
        GRANULARITY
    }

    fn granule_create(&self, bytes: u64) -> Result<Granule> {
        if bytes == 0 || !bytes.is_multiple_of(GRANULARITY) {
            return Err(Error::argument("bytes", format!("{bytes} is not a multiple of {GRANULARITY}")));
        }
        self.check_free(bytes)?;
        self.way.count(Count::Granules, 1);
        granule::create(bytes)
    }

    fn granule_create_on(&self, bytes: u64, numa_node: Option<u32>) -> Result<Granule> {
        match numa_node.filter(|_| self.topology.numa_nodes.len() > 1) {
            None => self.granule_create(bytes),
            Some(node) => mempolicy::on_node(node, || self.granule_create(bytes))?,
        }
    }

    fn granule_release(&self, granule: Granule) {
        granule::close(granule);
    }

    fn granule_page(&self) -> Option<u64> {
        Some(granule::PAGE as u64)
    }

    fn granule_create_bare(&self, bytes: u64) -> Result<Granule> {
        if bytes == 0 || !bytes.is_multiple_of(GRANULARITY) {
            return Err(Error::argument("bytes", format!("{bytes} is not a multiple of {GRANULARITY}")));
        }
        self.way.count(Count::Granules, 1);
        granule::create_bare(bytes)
    }

    fn granule_fill(&self, granule: &Granule, offset: u64, bytes: u64) -> Result<()> {
        granule::check_part(granule, offset, bytes)?;
        self.check_free(bytes)?;
        granule::fill(granule, offset, bytes)
    }

    fn granule_discard(&self, granule: &Granule, offset: u64, bytes: u64) -> Result<()> {
        granule::check_part(granule, offset, bytes)?;
        granule::discard(granule, offset, bytes)
    }

    fn granule_export(&self, granule: &Granule) -> Result<OwnedFd> {
        granule::export(granule)
    }

    fn granule_import(&self, fd: BorrowedFd<'_>, bytes: u64) -> Result<Granule> {
        granule::import(fd, bytes)
    }

    fn range_reserve(&self, bytes: u64) -> Result<DevicePtr> {
        self.ranges.reserve(bytes)
    }

    fn range_release(&self, address: DevicePtr, bytes: u64) {
        self.ranges.release(address, bytes);
    }

    fn map(&self, address: DevicePtr, granule: &Granule, access: Access) -> Result<()> {
        self.ranges.map(address, granule, access)
    }

    fn unmap(&self, address: DevicePtr, bytes: u64) -> Result<()> {
        self.ranges.unmap(address, bytes)
    }

    fn write(&self, dst: DevicePtr, src: &[u8]) -> Result<()> {
        self.ranges.check("dst", dst, src.len() as u64, Access::ReadWrite)?;
        profiler::measured(Kind::Copy, HOST_TO_DEVICE, src.len() as u64, None, || {
            // SAFETY: the range is mapped writable; a Rust slice cannot overlap memory that only this device hands out
            // unless the caller made it so, which `copy` tolerates.
            self.waited(Direction::Up, src.len() as u64, || unsafe {
                std::ptr::copy(src.as_ptr(), dst as *mut u8, src.len());
            });
            Ok(())
        })
    }

    fn read(&self, dst: &mut [u8], src: DevicePtr) -> Result<()> {
        self.ranges.check("src", src, dst.len() as u64, Access::Read)?;
        profiler::measured(Kind::Copy, DEVICE_TO_HOST, dst.len() as u64, None, || {
            // SAFETY: the range is mapped readable; see `write` about overlap.
            self.waited(Direction::Down, dst.len() as u64, || unsafe {
                std::ptr::copy(src as *const u8, dst.as_mut_ptr(), dst.len());
            });
            Ok(())
        })
    }

    unsafe fn copy(&self, dst: u64, src: u64, bytes: u64, stream: Option<&dyn Stream>) -> Result<()> {
        if bytes == 0 {
            return Ok(());
        }
        if dst == 0 || src == 0 {
            return Err(Error::argument(if dst == 0 { "dst" } else { "src" }, "is null"));
        }
        self.touch("dst", dst, bytes, Access::ReadWrite)?;
        self.touch("src", src, bytes, Access::Read)?;
        let run = move || {
            // SAFETY: the caller promised both ranges until the copy has run.
            unsafe { std::ptr::copy(src as *const u8, dst as *mut u8, bytes as usize) }
        };
        let (to, from) = (self.place(dst), self.place(src));
        let name = super::direction(to, from);
        let direction = match (to, from) {
            (Place::Device, Place::Host) => Direction::Up,
            (Place::Host, _) => Direction::Down,
            (Place::Device, Place::Device) => Direction::Within,
        };
        let Some(stream) = stream else {
            return profiler::measured(Kind::Copy, name, bytes, None, || {
                self.waited(direction, bytes, run);
                Ok(())
            });
        };
        self.way.copied(direction, bytes, None);
        if profiler::on() {
            let run = seen(Kind::Copy, name, bytes, Some(stream), run);
            return self.queue_copy(stream, direction, bytes, run);
        }
        self.queue_copy(stream, direction, bytes, run)
    }

    unsafe fn fill(&self, dst: DevicePtr, value: u8, bytes: u64, stream: Option<&dyn Stream>) -> Result<()> {
        if bytes == 0 {
            return Ok(());
        }
        if dst == 0 {
            return Err(Error::argument("dst", "is null"));
        }
        self.touch("dst", dst, bytes, Access::ReadWrite)?;
        let run = move || {
            // SAFETY: the caller promised the range until the fill has run.
            unsafe { std::ptr::write_bytes(dst as *mut u8, value, bytes as usize) }
        };
        if profiler::on() {
            return on(stream, seen(Kind::Fill, "fill", bytes, stream, run));
        }
        on(stream, run)
    }

    fn place(&self, address: u64) -> Place {
        if self.ranges.contains(address) { Place::Device } else { Place::Host }
    }

    fn path(&self) -> &Way {
        &self.way
    }

    fn plain_alloc(&self, bytes: u64) -> Result<DevicePtr> {
        let pages = whole_pages(bytes)?;
        self.check_free(pages)?;
        let address = self.ranges.plain(pages)?;
        self.way.count(Count::StandardAllocations, 1);
        Ok(address)
    }

    fn plain_free(&self, address: DevicePtr, bytes: u64) -> Result<()> {
        if self.ranges.plain_release(address, whole_pages(bytes)?) {
            return Ok(());
        }
        Err(Error::argument("address", format!("no allocation of {bytes} bytes was made at {address:#x}")))
    }

    fn texture(&self, view: TextureView) -> Result<Box<dyn Texture>> {
        Ok(Box::new(texture::CpuTexture::new(view, &self.ranges)))
    }

    fn units(&self) -> &[Unit] {
        &self.units
    }

    fn node_create(&self, units: &[u32]) -> Result<Arc<dyn Node>> {
        Ok(CpuNode::new(&self.topology, units, self.queues.clone())?)
    }

    fn cache_parts(&self) -> Vec<CachePart> {
        self.topology.cache_parts.clone()
    }

    fn synchronize(&self) -> Result<()> {
        stream::synchronize_all(&self.queues)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl CpuDevice {
    /// Queues a copy on its stream, or on a transfer stream beside it.
    fn queue_copy(
        &self,
        stream: &dyn Stream,
        direction: Direction,
        bytes: u64,
        run: impl FnOnce() + Send + 'static,
    ) -> Result<()> {
        if self.way.own_streams() && bytes >= TRANSFER {
            self.way.count(Count::OwnStreamCopies, 1);
            return own(stream)?.submit_beside(direction == Direction::Down, move || {
                run();
                Ok(())
            });
        }
        on(Some(stream), run)
    }

    /// Runs a copy that the caller waits for, and notes it.
    fn waited(&self, direction: Direction, bytes: u64, run: impl FnOnce()) {
        let begun = Instant::now();
        run();
        self.way.copied(direction, bytes, Some(begun.elapsed()));
    }

    /// Judges addresses in ranges of this device; other host memory is the caller's word.
    fn touch(&self, argument: &str, address: u64, bytes: u64, access: Access) -> Result<()> {
        if self.ranges.contains(address) || address.checked_add(bytes).is_none() {
            self.ranges.check(argument, address, bytes, access)?;
        }
        Ok(())
    }
}

/// `run`, measured on the thread that runs it.
fn seen(
    kind: Kind,
    name: &'static str,
    bytes: u64,
    stream: Option<&dyn Stream>,
    run: impl FnOnce() + Send + 'static,
) -> impl FnOnce() + Send + 'static {
    let place = profiler::Place::of(stream.and_then(|s| s.track()));
    move || {
        let span = Span::at(kind, name, place).bytes(bytes);
        run();
        span.end();
    }
}

/// Copies shorter than this stay on their own stream: two events cost as much as they take.
const TRANSFER: u64 = 64 << 10;

/// `bytes` (at least 1) rounded up to pages.
fn whole_pages(bytes: u64) -> Result<u64> {
    let pages = bytes.checked_next_multiple_of(4096).filter(|&p| p > 0);
    pages.ok_or_else(|| Error::argument("bytes", format!("{bytes} is 0 or beyond the address space")))
}

fn own(stream: &dyn Stream) -> Result<&CpuStream> {
    stream
        .as_any()
        .downcast_ref::<CpuStream>()
        .ok_or_else(|| Error::argument("stream", "belongs to another device"))
}

fn on(stream: Option<&dyn Stream>, run: impl FnOnce() + Send + 'static) -> Result<()> {
    match stream {
        None => {
            run();
            Ok(())
        }
        Some(s) => own(s)?.submit(move || {
            run();
            Ok(())
        }),
    }
}
