//! What of a space lies in host memory, and the page-locked memory it lies in.

use super::Account;
use crate::Result;
use crate::device::{Device, HostMemory};
use parking_lot::{Mutex, RwLock};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes of page-locked memory that a tenant keeps for the next time: making it takes longer than copying into it.
const SPARE: u64 = 256 << 20;

/// Slots of a space that lie in host memory.
#[derive(Default)]
pub(super) struct Away {
    bytes: AtomicU64,
    /// Bytes by first address. Nothing else is locked while this is.
    ranges: RwLock<BTreeMap<u64, u64>>,
}

impl Away {
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Acquire)
    }

    /// Whether any of these bytes is away.
    pub fn touches(&self, (at, bytes): (u64, u64)) -> bool {
        let end = at.saturating_add(bytes.max(1));
        let ranges = self.ranges.read();
        ranges.range(..end).next_back().is_some_and(|(start, size)| start + size > at)
    }

    /// The first addresses of all.
    pub fn starts(&self) -> Vec<u64> {
        self.ranges.read().keys().copied().collect()
    }
}

/// Keeps a range in the list and in the account's figures.
struct Mark {
    away: Arc<Away>,
    account: Arc<Account>,
    at: u64,
    bytes: u64,
}

impl Mark {
    fn new(away: &Arc<Away>, account: &Arc<Account>, at: u64, bytes: u64) -> Mark {
        account.count_spilled(bytes, 0);
        away.ranges.write().insert(at, bytes);
        away.bytes.fetch_add(bytes, Ordering::AcqRel);
        Mark { away: away.clone(), account: account.clone(), at, bytes }
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        self.away.ranges.write().remove(&self.at);
        self.away.bytes.fetch_sub(self.bytes, Ordering::AcqRel);
        self.account.count_spilled(0, self.bytes);
    }
}

/// Page-locked memory kept for use again. Of one space, since it goes with its device.
#[derive(Default)]
pub(super) struct Spares {
    all: Mutex<Vec<(u64, Box<dyn HostMemory>)>>,
    /// Bytes in use and spare.
    bytes: AtomicU64,
}

impl Spares {
    /// Bytes in use and spare.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Acquire)
    }

    /// Memory of exactly `bytes`, its content undefined.
    pub fn take(self: &Arc<Self>, device: &dyn Device, bytes: u64) -> Result<Arc<Block>> {
        let spare = {
            let mut all = self.all.lock();
            let at = all.iter().position(|(size, _)| *size == bytes);
            at.map(|at| all.swap_remove(at).1)
        };
        let memory = match spare {
            Some(memory) => memory,
            None => {
                let memory = device.host_buffer(bytes)?;
                self.bytes.fetch_add(bytes, Ordering::AcqRel);
                memory
            }
        };
        Ok(Arc::new(Block { memory: Some(memory), bytes, spares: self.clone() }))
    }

    /// Gives back what is not in use.
    pub fn free(&self) {
        let all = std::mem::take(&mut *self.all.lock());
        self.bytes.fetch_sub(all.iter().map(|(size, _)| size).sum(), Ordering::AcqRel);
    }
}

/// Page-locked memory in which one or several pieces lie.
pub(super) struct Block {
    memory: Option<Box<dyn HostMemory>>,
    bytes: u64,
    spares: Arc<Spares>,
}

impl Drop for Block {
    fn drop(&mut self) {
        let Some(memory) = self.memory.take() else { return };
        let mut all = self.spares.all.lock();
        if all.iter().map(|(size, _)| size).sum::<u64>() + self.bytes <= SPARE {
            all.push((self.bytes, memory));
            return;
        }
        drop(all);
        // Without the lock: the driver takes its time.
        drop(memory);
        self.spares.bytes.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

/// The content of a piece in host memory.
pub(super) struct Copied {
    block: Arc<Block>,
    offset: u64,
    mark: Mark,
}

impl Copied {
    /// `block` holds what lay at `at`.
    pub fn new(block: Arc<Block>, away: &Arc<Away>, account: &Arc<Account>, at: u64) -> Copied {
        let mark = Mark::new(away, account, at, block.bytes);
        Copied { block, offset: 0, mark }
    }

    /// Where it lies.
    pub fn address(&self) -> u64 {
        self.block.address() + self.offset
    }

    /// It in parts of `size` bytes.
    pub fn divide(self, size: u64) -> Vec<Copied> {
        let Copied { block, offset, mark } = self;
        let (away, account, at, bytes) = (mark.away.clone(), mark.account.clone(), mark.at, mark.bytes);
        let parts = (0..bytes / size).map(|i| i * size);
        // Counted twice for a moment rather than not at all; the first part then takes the place of the whole in the list.
        account.count_spilled(bytes, 0);
        away.bytes.fetch_add(bytes, Ordering::AcqRel);
        drop(mark);
        let parts = parts
            .map(|part| Copied {
                block: block.clone(),
                offset: offset + part,
                mark: Mark::new(&away, &account, at + part, size),
            })
            .collect();
        away.bytes.fetch_sub(bytes, Ordering::AcqRel);
        account.count_spilled(0, bytes);
        parts
    }
}

impl Block {
    /// Its first byte.
    pub fn address(&self) -> u64 {
        self.memory.as_ref().map_or(0, |m| m.address())
    }
}
