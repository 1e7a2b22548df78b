//! What a space's owner says about moving its memory to the host, and when allocations were last used.

use super::heap::Heap;
use super::lend::{Advice, Lending, SpillPolicy};
use super::space::Space;
use super::{UNIT, round_up};
use crate::device::{DeviceKind, DevicePtr};
use crate::{Error, Result, Status};
use parking_lot::{Mutex, MutexGuard};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How long a change of the pool is waited for.
const PATIENCE: Duration = Duration::from_secs(1);

/// Notes on allocations.
#[derive(Default)]
pub(super) struct Notes {
    /// Set with the first policy or advice: until then nothing is noted.
    on: AtomicBool,
    /// By first unit of the allocation. Locked after the heap, never before it.
    notes: Mutex<HashMap<u32, Note>>,
}

#[derive(Clone, Copy, Default)]
pub(super) struct Note {
    /// When work named it last, in nanoseconds of the monotonic clock.
    pub touched: u64,
    pub advice: Advice,
    /// Bytes that count as fixed for it.
    pinned: u64,
}

impl Notes {
    pub fn all(&self) -> MutexGuard<'_, HashMap<u32, Note>> {
        self.notes.lock()
    }

    pub fn on(&self) -> bool {
        self.on.load(Ordering::Acquire)
    }
}

/// Nanoseconds of the monotonic clock, read finely.
fn clock() -> u64 {
    // SAFETY: writes a struct on the stack.
    let t = unsafe {
        let mut t = std::mem::zeroed::<libc::timespec>();
        libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut t);
        t
    };
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}

impl Space {
    fn host_is_elsewhere(&self, what: &str) -> Result<()> {
        if self.source.device.kind() != DeviceKind::Cpu {
            return Ok(());
        }
        Err(Error::unsupported(format!(
            "argument `{what}`: the CPU device's memory is the host's, so moving it to the host would free nothing; \
             floors are not lent there"
        ))
        .advise("choose limits whose sum the machine has, or use a GPU"))
    }

    /// Says what the tenant lends to others.
    ///
    /// Errors: [`Status::Unsupported`] on the CPU device, where nobody could be made to give it back.
    pub fn set_lending(&self, lending: Lending) -> Result<()> {
        if lending.lend_floor {
            self.host_is_elsewhere("lend_floor")?;
        }
        self.account.set_lending(lending);
        Ok(())
    }

    /// Says which of the tenant's memory is moved to the host when what it has above its floor is asked back. With
    /// [`SpillPolicy::Never`] it gets nothing of others' floors.
    ///
    /// Errors: [`Status::Unsupported`] on the CPU device; [`Status::Busy`] for `Never` while it holds what others lend.
    pub fn set_spill_policy(&self, policy: SpillPolicy) -> Result<()> {
        if policy != SpillPolicy::Never {
            self.host_is_elsewhere("spill_policy")?;
            // Seen to work before anybody relies on it.
            drop(self.source.device.host_buffer(UNIT)?);
            self.spilling.notes.on.store(true, Ordering::Release);
        }
        self.account.set_spill_policy(policy)
    }

    /// Bounds the host memory that the tenant's moved memory may take; `None`: no bound, which is so at first.
    ///
    /// Errors: [`Status::Busy`] when more is there already.
    pub fn set_spill_limit(&self, bytes: Option<u64>) -> Result<()> {
        let now = self.account.spilled();
        match bytes {
            Some(0) => return Err(Error::argument("bytes", "must not be 0").advise("set the policy Never")),
            Some(most) if most < now => {
                return Err(Error::new(
                    Status::Busy,
                    format!(
                        "argument `bytes`: {now} bytes of tenant {:?} lie in host memory",
                        self.account.name()
                    ),
                )
                .advise("fetch them first"));
            }
            _ => {}
        }
        self.spilling.most.store(bytes.unwrap_or(0), Ordering::Relaxed);
        Ok(())
    }

    /// Says something about the allocation at `ptr`, by the very pointer that was returned. Pinning fetches it.
    ///
    /// Errors: [`Status::InvalidArgument`] and [`Status::NotOwner`] as for [`Space::free`]; [`Status::Busy`] when what is to
    /// be pinned lies in floors that others lend; [`Status::OutOfMemory`] when it cannot be fetched.
    pub fn advise(&self, ptr: DevicePtr, advice: Advice) -> Result<()> {
        let found = self.find(ptr).filter(|a| a.ptr == ptr);
        let Some(found) = found else {
            self.check("ptr", ptr, 1)?;
            return Err(Error::argument("ptr", format!("{ptr:#x} is inside of an allocation"))
                .advise("pass the pointer that the allocation returned"));
        };
        let Some(unit) = self.unit(ptr) else {
            // Regions, shared images and host memory never move.
            return Ok(());
        };
        let pinned = if advice == Advice::Pinned { self.pieces_of(ptr, found.bytes)? } else { 0 };
        // Inside the door nothing moves.
        let _inside = match advice {
            Advice::Pinned => self.enter_for(&[(ptr, found.bytes)])?,
            _ => self.door().enter_as_is(),
        };
        if pinned > 0 {
            self.account.pin(pinned)?;
        }
        self.spilling.notes.on.store(true, Ordering::Release);
        let heap = self.heap.lock();
        let before = if heap.live_at(unit).is_some() {
            let mut notes = self.spilling.notes.all();
            let note = notes.entry(unit).or_default();
            note.advice = advice;
            std::mem::replace(&mut note.pinned, pinned)
        } else {
            // Freed meanwhile.
            pinned
        };
        self.account.unfix(before);
        Ok(())
    }

    /// Bytes of the pieces that an allocation lies in.
    fn pieces_of(&self, ptr: DevicePtr, bytes: u64) -> Result<u64> {
        let maps = self.maps.try_lock_for(PATIENCE).ok_or_else(|| {
            Error::new(Status::Busy, format!("tenant {:?} is mapping memory", self.account.name()))
        })?;
        let size = u64::from(self.slot) * UNIT;
        let from = (ptr - self.base) / size * size + self.base;
        let end = round_up(ptr + bytes.max(1) - self.base, size) + self.base;
        let before = maps.pieces.range(..=self.slot_of(from)).next_back().map(|(slot, _)| *slot);
        let first = before.unwrap_or_else(|| self.slot_of(from));
        let pieces = maps.pieces.range(first..self.slot_of(end)).map(|(_, piece)| piece);
        Ok(pieces.filter(|p| p.address + p.granule.bytes > from).map(|p| p.granule.bytes).sum())
    }

    /// Notes that work names these ranges.
    pub(super) fn note_touch(&self, ranges: &[(DevicePtr, u64)]) {
        if !self.spilling.notes.on() {
            return;
        }
        let now = clock();
        let heap = self.heap.lock();
        let mut notes = self.spilling.notes.all();
        for (ptr, _) in ranges {
            let id = self.unit(*ptr).and_then(|unit| heap.live_over(unit));
            if let Some(id) = id {
                notes.entry(heap.block(id).start).or_default().touched = now;
            }
        }
    }

    /// Forgets what is noted of an allocation that is being freed; the heap is locked.
    pub(super) fn forget_note(&self, _heap: &Heap, unit: u32) {
        if self.spilling.notes.on()
            && let Some(note) = self.spilling.notes.all().remove(&unit)
        {
            self.account.unfix(note.pinned);
        }
    }
}
