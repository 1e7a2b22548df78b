//! A tenant's address range and the pool in it.

use super::compaction::CompactionFigures;
use super::export::Exportables;
use super::growth::Maps;
use super::heap::{Block, Heap, Zone};
use super::ledger::Idle;
use super::lone::Lones;
use super::registry::{self, Kind, Owner};
use super::source::Source;
use super::spill::Spilling;
use super::{
    Account, Allocation, Door, Region, Shared, SharedMapping, SpacePolicy, UNIT, Usage, age, now, round_up,
};
use crate::device::{Count, Device, DevicePtr};
use crate::telemetry::profiler::{self, Place, Span, Subject};
use crate::{Error, Result, Status};
use parking_lot::{Mutex, MutexGuard, RwLock};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};

/// The largest page.
const LARGEST_PAGE: u64 = 1 << 30;

/// Waits until work in flight of a tenant no longer touches memory that it has freed.
pub type Fence = Box<dyn Fn() -> Result<()> + Send + Sync>;

/// A tenant's address range and what is mapped in it.
///
/// The range is reserved once, larger than the device's memory; granules are mapped into it as they are needed, and
/// allocations are cut out of them. Dropping the space gives everything in it back, live allocations too.
pub struct Space {
    pub(super) source: Source,
    pub(super) account: Arc<Account>,
    pub(super) base: DevicePtr,
    pub(super) bytes: u64,
    /// Units in a page: a granule, or several where larger pages were asked for.
    pub(super) slot: u32,
    /// Units of the parts in which the device gives and takes memory of a granule; 0 where it does not.
    pub(super) page: u32,
    pub(super) heap: Mutex<Heap>,
    /// Taken before `heap`, never after it.
    pub(super) maps: Mutex<Maps>,
    /// Units that are mapped.
    pub(super) mapped: AtomicU64,
    /// Allocations outside of the pool.
    pub(super) lones: Mutex<Lones>,
    pub(super) policy: RwLock<SpacePolicy>,
    /// Of the policy, for the fast path: units below which an allocation is small, bytes of a gap, its pattern, and
    /// whether the space compacts by itself.
    pub(super) small: AtomicU32,
    pub(super) guard: AtomicU64,
    pub(super) pattern: AtomicBool,
    pub(super) auto: AtomicBool,
    /// Whether any piece ever had holes.
    pub(super) holed: AtomicBool,
    /// Whether the process's own thread was asked to look.
    pub(super) asked: AtomicBool,
    /// Held for the length of a compaction. Taken before the door is closed.
    pub(super) compacting: Mutex<()>,
    /// Nanoseconds that moving a byte takes, a float's bits.
    pub(super) pace: AtomicU64,
    pub(super) figures: Mutex<CompactionFigures>,
    fence: RwLock<Option<Fence>>,
    door: Door,
    pub(super) spilling: Spilling,
    pub(super) exportables: Exportables,
    subject: OnceLock<Arc<Subject>>,
    pub(super) this: Weak<Space>,
}

impl Space {
    /// A space on a device, charged to `account`.
    pub fn new(device: Arc<dyn Device>, account: Arc<Account>) -> Result<Arc<Space>> {
        Space::with_pages(device, account, 0)
    }

    /// The same with pages of at least `page_size` bytes (a power of two up to 1 GiB, or 0 for the device's
    /// granularity, which is the least).
    pub fn with_pages(device: Arc<dyn Device>, account: Arc<Account>, page_size: u64) -> Result<Arc<Space>> {
        let granularity = device.granularity();
        if !granularity.is_power_of_two() || granularity < UNIT {
            return Err(Error::new(
                Status::Internal,
                format!("a device with granules of {granularity} bytes"),
            ));
        }
        if page_size != 0 && !page_size.is_power_of_two() || page_size > LARGEST_PAGE {
            let text = format!("{page_size} is not a power of two up to {LARGEST_PAGE}");
            return Err(Error::argument("page_size", text));
        }
        let page_size = page_size.max(granularity);
        account.set_page(page_size);
        let (base, bytes) = reserve(&*device, &account, page_size)?;
        let slot = (page_size / UNIT) as u32;
        // Parts count only where they are whole units.
        let page = device.granule_page().filter(|p| p.is_multiple_of(UNIT) && granularity.is_multiple_of(*p));
        let policy = SpacePolicy::default();
        let space = Arc::new_cyclic(|this: &Weak<Space>| Space {
            source: Source { device, ledger: account.ledger().clone() },
            account,
            base,
            bytes,
            slot,
            page: page.map_or(0, |page| (page / UNIT) as u32),
            heap: Mutex::new(Heap::new(slot, base / UNIT)),
            maps: Mutex::default(),
            mapped: AtomicU64::new(0),
            lones: Mutex::default(),
            policy: RwLock::new(policy),
            small: AtomicU32::new((policy.small_limit / UNIT) as u32),
            guard: AtomicU64::new(policy.guard_bytes),
            pattern: AtomicBool::new(policy.guard_pattern),
            auto: AtomicBool::new(policy.auto),
            holed: AtomicBool::new(false),
            asked: AtomicBool::new(false),
            compacting: Mutex::default(),
            pace: AtomicU64::new(0),
            figures: Mutex::default(),
            fence: RwLock::new(None),
            door: Door::of(this.clone()),
            spilling: Spilling::default(),
            exportables: Exportables::default(),
            subject: OnceLock::new(),
            this: this.clone(),
        });
        registry::add(base, bytes, Arc::as_ptr(&space), space.this.clone());
        space.source.ledger.register(space.this.clone());
        Ok(space)
    }

    /// The first address of its range.
    pub fn base(&self) -> DevicePtr {
        self.base
    }

    /// The device it is on.
    pub fn device(&self) -> &Arc<dyn Device> {
        &self.source.device
    }

    /// The account that is charged.
    pub fn account(&self) -> &Arc<Account> {
        &self.account
    }

    /// Sets what to wait for before granules are unmapped: the tenant's own streams. Without it the space waits for
    /// the whole device.
    pub fn set_fence(&self, fence: Fence) {
        *self.fence.write() = Some(fence);
    }

    /// What work of the tenant passes on its way to the device.
    pub fn door(&self) -> &Door {
        &self.door
    }

    pub(super) fn wait_for_work(&self) -> Result<()> {
        match &*self.fence.read() {
            Some(fence) => fence(),
            None => self.source.device.synchronize(),
        }
    }

    /// Allocates `bytes` (at least 1), aligned to `align` (a power of two; at least 256 is always given).
    ///
    /// Errors: [`Status::QuotaExceeded`] when the limit does not allow it, [`Status::OutOfMemory`] when the device has
    /// no memory left. Nothing has changed then.
    pub fn alloc(&self, bytes: u64, align: u64, tag: &str) -> Result<DevicePtr> {
        if profiler::on() {
            return self.seen("allocate", bytes, || self.allocate(bytes, align, tag));
        }
        self.allocate(bytes, align, tag)
    }

    /// Says whose space it is, for the profiler.
    pub(crate) fn set_subject(&self, subject: &Arc<Subject>) {
        // Said once, when the tenant is opened.
        let _ = self.subject.set(subject.clone());
    }

    /// Measures work on the space.
    #[cold]
    fn seen<T>(&self, name: &'static str, bytes: u64, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let place = self.subject.get().and_then(Place::of_thread);
        Span::at(profiler::Kind::Memory, name, place).bytes(bytes).end_if(work())
    }

    fn allocate(&self, bytes: u64, align: u64, tag: &str) -> Result<DevicePtr> {
        if bytes == 0 {
            return Err(Error::argument("bytes", "must not be 0"));
        }
        if !align.is_power_of_two() || align > u64::from(u32::MAX) {
            return Err(Error::argument("align", format!("{align} is not a power of two below 4 GiB")));
        }
        if !self.source.device.path().direct()
            && let Some(ptr) = self.alloc_lone(bytes, align, tag)?
        {
            return Ok(ptr);
        }
        let guard = self.guard.load(Ordering::Relaxed);
        if guard == 0 {
            return self.allocate_units(bytes, bytes, align, tag);
        }
        let whole = bytes.checked_add(guard).ok_or_else(|| Error::argument("bytes", "is too large"))?;
        let ptr = self.allocate_units(whole, bytes, align, tag)?;
        if self.pattern.load(Ordering::Relaxed) {
            self.guard_new(ptr, bytes)?;
        }
        Ok(ptr)
    }

    /// Allocates `whole` bytes, of which `bytes` are the caller's.
    fn allocate_units(&self, whole: u64, bytes: u64, align: u64, tag: &str) -> Result<DevicePtr> {
        let align = (align.max(UNIT) / UNIT) as u32;
        let units = self.account.take(whole, tag)?;
        let (zone, wide) = self.sort(units, align);
        let mut heap = self.heap.lock();
        let id = match heap.alloc(units, wide, zone) {
            Some(id) => id,
            None => {
                drop(heap);
                match self.grow(units, align, tag) {
                    Ok((id, locked)) => {
                        heap = locked;
                        id
                    }
                    Err(e) => {
                        self.account.refund(units);
                        return Err(e);
                    }
                }
            }
        };
        heap.describe(id, bytes, now(), tag);
        Ok(self.address(heap.block(id).start))
    }

    /// Which memory an allocation comes from, and the alignment it had best have: whole pages lie on pages where the
    /// device gives and takes pages, so that all of them can go back.
    #[inline]
    pub(super) fn sort(&self, units: u32, align: u32) -> (Zone, u32) {
        let page = self.page;
        if page > 0 && (units.is_multiple_of(page) || units >= 16 * page) {
            return (Zone::Large, align.max(page));
        }
        if units < self.small.load(Ordering::Relaxed) { (Zone::Small, align) } else { (Zone::Large, align) }
    }

    /// Frees an allocation by the very pointer that was returned. No work that touches it may be queued after the call;
    /// work in flight is waited for before the memory leaves the tenant.
    ///
    /// Errors: [`Status::InvalidArgument`] for a pointer that was freed before or that points inside of an allocation,
    /// [`Status::NotOwner`] for one that belongs to another tenant or to none.
    pub fn free(&self, ptr: DevicePtr) -> Result<()> {
        if profiler::on() {
            return self.seen("free", 0, || self.free_own(ptr));
        }
        self.free_own(ptr)
    }

    fn free_own(&self, ptr: DevicePtr) -> Result<()> {
        let Some(unit) = self.unit(ptr).filter(|_| ptr.is_multiple_of(UNIT)) else {
            return self.free_lone(ptr).unwrap_or_else(|| Err(self.refusal("ptr", ptr)));
        };
        let heap = self.heap.lock();
        let Some(id) = heap.live_at(unit) else {
            drop(heap);
            return Err(self.refusal("ptr", ptr));
        };
        if heap.is_kept(id) {
            let tag = heap.block(id).tag.as_str().to_string();
            drop(heap);
            if let Some(freed) = self.free_exportable(ptr) {
                return freed;
            }
            return Err(Error::argument("ptr", format!("{ptr:#x} is the {tag:?} of this tenant"))
                .advise("it is given back by whoever made it: destroy the partition or the array"));
        }
        self.free_live(heap, id);
        Ok(())
    }

    /// Frees what [`Space::block`] gave.
    pub(super) fn release(&self, ptr: DevicePtr) -> Result<()> {
        let heap = self.heap.lock();
        let id = self.unit(ptr).and_then(|unit| heap.live_at(unit));
        let id = id.ok_or_else(|| Error::argument("ptr", format!("{ptr:#x} is not allocated")))?;
        self.free_live(heap, id);
        Ok(())
    }

    fn free_live(&self, mut heap: MutexGuard<'_, Heap>, id: u32) {
        let units = heap.block(id).units;
        self.forget_note(&heap, heap.block(id).start);
        let merged = heap.free(id);
        let used = heap.used;
        let due = self.auto.load(Ordering::Relaxed) && self.is_due(heap.freed, used);
        // Around holes memory falls free in pieces too small to tell: there each slot's worth counts.
        let slot = u64::from(self.slot);
        let sum = self.holed.load(Ordering::Relaxed)
            && heap.freed / slot != heap.freed.saturating_sub(units.into()) / slot;
        drop(heap);
        self.account.refund(units);
        if merged >= self.slot && self.door.away() > 0 {
            self.drop_copies();
        }
        if due {
            self.look_after(false);
        }
        if (merged >= self.slot || sum) && self.mapped.load(Ordering::Relaxed) > used + self.cached(used) {
            self.trim_soon();
        }
    }

    /// How many mapped units may be free when `used` are not.
    pub(super) fn cached(&self, used: u64) -> u64 {
        let (share, least) = if self.source.device.path().pooled() { (2, 32) } else { (16, 2) };
        (used / share).max(least * u64::from(self.slot))
    }

    /// The live allocation, region or shared mapping of this space that holds `address`.
    pub fn find(&self, address: DevicePtr) -> Option<Allocation> {
        match self.unit(address) {
            Some(unit) => {
                let heap = self.heap.lock();
                heap.live_over(unit).map(|id| self.describe(heap.block(id)))
            }
            None => registry::owner(address).filter(|o| o.is_of(self))?.lookup(address),
        }
    }

    /// Checks that `bytes` bytes from `address` lie inside one live allocation, region or shared mapping; `argument`
    /// names it in the error.
    pub fn check(&self, argument: &str, address: DevicePtr, bytes: u64) -> Result<()> {
        let (ptr, size) = match self.unit(address) {
            Some(unit) => {
                let heap = self.heap.lock();
                match heap.live_over(unit).map(|id| heap.block(id)) {
                    Some(block) => (self.address(block.start), block.bytes),
                    None => {
                        drop(heap);
                        return Err(self.refusal(argument, address));
                    }
                }
            }
            None => match self.find(address) {
                Some(found) => (found.ptr, found.bytes),
                None => return Err(self.refusal(argument, address)),
            },
        };
        let offset = address - ptr;
        if offset.checked_add(bytes).is_none_or(|end| end > size) {
            return Err(Error::argument(
                argument,
                format!(
                    "{bytes} bytes at {address:#x} go beyond the allocation at {ptr:#x}, which has {size} bytes"
                ),
            ));
        }
        Ok(())
    }

    /// Reserves addresses for up to `max_bytes`, nothing mapped yet: memory that grows without moving.
    pub fn region(self: &Arc<Self>, max_bytes: u64, tag: &str) -> Result<Region> {
        Region::new(self, max_bytes, tag)
    }

    /// Maps a shared read-only image into this space and charges its full size to this tenant.
    pub fn map_shared(self: &Arc<Self>, image: &Arc<Shared>, tag: &str) -> Result<SharedMapping> {
        SharedMapping::new(self, image, tag)
    }

    /// What is still there, oldest first: allocations, regions and shared mappings.
    pub fn leaks(&self) -> Vec<Allocation> {
        let mut all: Vec<_> = self.heap.lock().live_blocks().map(|b| self.describe(b)).collect();
        all.extend(self.all_lones());
        all.extend(registry::beside(self));
        all.sort_by(|a, b| b.age.cmp(&a.age).then(a.ptr.cmp(&b.ptr)));
        all
    }

    /// Figures.
    pub fn usage(&self) -> Usage {
        let account = &self.account;
        Usage {
            limit: account.limit(),
            held: account.held(),
            peak: account.peak(),
            shared: account.shared(),
            regions: account.regions(),
            allocations: self.heap.lock().live + self.lones.lock().len() as u64,
            physical: account.physical(),
            rejections: account.rejections(),
        }
    }

    /// Allocations that its pool has made since it was opened.
    pub fn allocations_made(&self) -> u64 {
        self.heap.lock().made
    }

    pub(super) fn unit(&self, address: DevicePtr) -> Option<u32> {
        let offset = address.checked_sub(self.base).filter(|o| *o < self.bytes)?;
        Some((offset / UNIT) as u32)
    }

    pub(super) fn address(&self, unit: u32) -> DevicePtr {
        self.base + u64::from(unit) * UNIT
    }

    pub(super) fn describe(&self, block: &Block) -> Allocation {
        Allocation {
            ptr: self.address(block.start),
            bytes: block.bytes,
            tag: block.tag.as_str().to_string(),
            age: age(block.born),
        }
    }

    /// Why `address` is not one of ours to use.
    #[cold]
    fn refusal(&self, argument: &str, address: DevicePtr) -> Error {
        if address == 0 {
            return Error::argument(argument, "is null");
        }
        if let Some(unit) = self.unit(address) {
            if let Some(a) = self.find(address) {
                return inside(argument, address, &a);
            }
            let exact = address.is_multiple_of(UNIT) && self.heap.lock().was_live(unit);
            let state =
                if exact { "was freed already" } else { "is not allocated (freed, or never handed out)" };
            return Error::argument(argument, format!("{address:#x} {state}"));
        }
        match registry::owner(address) {
            Some(owner) if owner.is_of(self) && owner.kind() == Kind::Pool => match self.lone_over(address) {
                Some(a) => inside(argument, address, &a),
                None => Error::argument(argument, format!("{address:#x} was freed already")),
            },
            Some(owner) if owner.is_of(self) => {
                let kind = owner.kind().name();
                let tag = owner.lookup(address).map(|a| a.tag).unwrap_or_default();
                Error::argument(argument, format!("{address:#x} lies in the {kind} {tag:?} of this tenant"))
                    .advise(format!("a {kind} is freed as a whole, by dropping it"))
            }
            Some(owner) => Error::new(
                Status::NotOwner,
                format!(
                    "argument `{argument}`: {address:#x} belongs to tenant {:?} on {}:{}, not to {:?}",
                    owner.tenant(),
                    owner.device().kind(),
                    owner.device().ordinal(),
                    self.account.name()
                ),
            ),
            None => Error::new(
                Status::NotOwner,
                format!("argument `{argument}`: {address:#x} is foreign: no tenant of this process has it"),
            )
            .advise("pass device memory that this tenant allocated"),
        }
    }
}

#[cold]
fn inside(argument: &str, address: DevicePtr, a: &Allocation) -> Error {
    let offset = address - a.ptr;
    Error::argument(
        argument,
        format!(
            "{address:#x} is {offset} bytes inside of the allocation at {:#x} ({} bytes, {:?})",
            a.ptr, a.bytes, a.tag
        ),
    )
    .advise("pass the pointer that the allocation returned")
}

/// Reserves four times the device's memory, or the limit where that is more, so that addresses never run
/// short however memory lies scattered: what compaction gives back comes again at other addresses. Under a limit of
/// virtual memory, less.
fn reserve(device: &dyn Device, account: &Account, granularity: u64) -> Result<(DevicePtr, u64)> {
    let largest = (u64::from(u32::MAX) + 1) * UNIT - granularity;
    let wanted = account.ledger().capacity().saturating_mul(4).max(account.limit()).min(largest);
    let least = round_up(account.limit(), granularity).min(largest);
    let mut bytes = round_up(wanted, granularity).min(largest);
    loop {
        match device.range_reserve(bytes) {
            Ok(base) => return Ok((base, bytes)),
            Err(e) if bytes <= least => return Err(e.within(format!("tenant {:?}", account.name()))),
            Err(_) => bytes = round_up(bytes / 2, granularity).max(least),
        }
    }
}

impl Owner for Space {
    fn kind(&self) -> Kind {
        Kind::Pool
    }

    fn space(&self) -> &Space {
        self
    }

    fn lookup(&self, address: DevicePtr) -> Option<Allocation> {
        if self.unit(address).is_some() { self.find(address) } else { self.lone_over(address) }
    }
}

impl Idle for Space {
    fn account(&self) -> &Arc<Account> {
        &self.account
    }

    fn give_back(&self) {
        self.trim_all();
        self.free_spares();
    }

    fn spill(&self, bytes: u64) -> u64 {
        self.move_to_host(bytes, &[], false)
    }

    fn spill_own(&self, bytes: u64, spare: &[(u64, u64)]) -> u64 {
        self.move_to_host(bytes, spare, true)
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        registry::remove(self.base);
        // A device that cannot be waited for any more (lost) has no work in flight either.
        let _ = self.wait_for_work();
        let made = self.heap.get_mut().made;
        self.source.device.path().count(Count::PoolAllocations, made);
        self.abandon_lones();
        for (_, piece) in std::mem::take(&mut self.maps.get_mut().pieces) {
            self.source.abandon(Some(&self.account), piece);
        }
        for block in self.heap.get_mut().live_blocks() {
            self.account.refund(block.units);
        }
        self.source.device.range_release(self.base, self.bytes);
    }
}
