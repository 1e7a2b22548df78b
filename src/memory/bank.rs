//! Physical memory that is kept for one tenant, whether it uses it or not.
//!
//! A floor is a promise in the books: no other tenant of this process gets those bytes. A bank is the memory itself: its
//! granules exist from the beginning, so neither a neighbour nor another process can have them. What the tenant's space
//! maps comes out of its banks first, and goes back into them.

use super::{Account, Ledger, round_up};
use crate::device::{Device, Granule};
use crate::{Error, Result, Status};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::SystemTime;

/// The largest granule that a bank is made of: few handles, and few bytes to divide anew when a tenant wants less.
const LARGEST_PIECE: u64 = 32 << 20;

/// Granules kept for one tenant. Dropping it gives back what the tenant does not use; what it uses stays its own.
pub struct Bank {
    device: Arc<dyn Device>,
    ledger: Arc<Ledger>,
    account: Arc<Account>,
    bytes: u64,
    numa_node: Option<u32>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    parked: Vec<Granule>,
    last_used: Option<SystemTime>,
    closed: bool,
}

impl State {
    fn parked(&self) -> u64 {
        self.parked.iter().map(|g| g.bytes).sum()
    }
}

impl Bank {
    /// Creates `bytes` (rounded up to granules) for `account`, on one NUMA node of the host where that is named.
    ///
    /// Errors: [`Status::QuotaExceeded`] when the account's limit does not cover all its banks, [`Status::OutOfMemory`]
    /// when the device has not so much left. Nothing has changed then.
    pub fn open(
        device: &Arc<dyn Device>,
        account: &Arc<Account>,
        bytes: u64,
        numa_node: Option<u32>,
    ) -> Result<Arc<Bank>> {
        if bytes == 0 {
            return Err(Error::argument("bytes", "must not be 0"));
        }
        let granularity = device.granularity();
        let bytes = round_up(bytes, granularity);
        let ledger = account.ledger().clone();
        account.add_banked(bytes)?;
        // From here on its drop gives back whatever was taken.
        let bank = Arc::new(Bank {
            device: device.clone(),
            ledger,
            account: account.clone(),
            bytes,
            numa_node,
            state: Mutex::default(),
        });
        let piece = round_up(LARGEST_PIECE, granularity);
        let mut reclaimed = false;
        let mut left = bytes;
        while left > 0 {
            let size = left.min(piece);
            match bank.create(size) {
                Ok(granule) => {
                    bank.state.lock().parked.push(granule);
                    left -= size;
                }
                Err(e) if e.status() == Status::OutOfMemory && !reclaimed => {
                    reclaimed = true;
                    bank.ledger.reclaim(None);
                }
                Err(e) => {
                    return Err(
                        e.within(format!("a memory bank of {bytes} bytes for tenant {:?}", account.name()))
                    );
                }
            }
        }
        account.attach(&bank);
        Ok(bank)
    }

    /// Takes bytes in the books, then of the device.
    fn create(&self, bytes: u64) -> Result<Granule> {
        self.ledger.take(Some(&self.account), bytes)?;
        self.device.granule_create_on(bytes, self.numa_node).inspect_err(|_| self.ledger.give(bytes))
    }

    /// Bytes it was made with.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How many of them the tenant has in use.
    pub fn used(&self) -> u64 {
        self.bytes - self.state.lock().parked().min(self.bytes)
    }

    /// When memory was last drawn from it, if ever.
    pub fn last_used(&self) -> Option<SystemTime> {
        self.state.lock().last_used
    }

    /// A granule of exactly `bytes` out of the bank, when it holds so many. Its bytes stay in the books; its content is
    /// whatever it was.
    pub(super) fn draw(&self, bytes: u64) -> Option<Granule> {
        let mut state = self.state.lock();
        if state.closed || state.parked() < bytes {
            return None;
        }
        let granule = match state.parked.iter().position(|g| g.bytes == bytes) {
            Some(at) => state.parked.swap_remove(at),
            None => self.divide(&mut state, bytes)?,
        };
        state.last_used = Some(SystemTime::now());
        Some(granule)
    }

    /// Makes granules that hold enough into one of `bytes` and one of the rest. Nobody else creates granules of this
    /// device meanwhile.
    fn divide(&self, state: &mut State, bytes: u64) -> Option<Granule> {
        let _alone = self.ledger.dividing.write();
        state.parked.sort_unstable_by_key(|g| g.bytes);
        let mut released = 0;
        // One that is large enough alone, else the largest together.
        if let Some(at) = state.parked.iter().position(|g| g.bytes > bytes) {
            let granule = state.parked.remove(at);
            released += granule.bytes;
            self.device.granule_release(granule);
        }
        while released < bytes {
            let granule = state.parked.pop()?;
            released += granule.bytes;
            self.device.granule_release(granule);
        }
        let made = self.device.granule_create_on(bytes, self.numa_node);
        let rest = released - bytes;
        if rest > 0 {
            match self.device.granule_create_on(rest, self.numa_node) {
                Ok(granule) => state.parked.push(granule),
                // Another process was faster. The bank is smaller by what it took.
                Err(_) => self.ledger.give(rest),
            }
        }
        made.inspect_err(|_| self.ledger.give(bytes)).ok()
    }

    /// Takes a granule back that the tenant does not use any more, or hands it back when the bank is full.
    pub(super) fn park(&self, granule: Granule) -> Option<Granule> {
        let mut state = self.state.lock();
        if state.closed || state.parked() + granule.bytes > self.bytes {
            return Some(granule);
        }
        state.parked.push(granule);
        None
    }
}

impl Drop for Bank {
    fn drop(&mut self) {
        let state = self.state.get_mut();
        state.closed = true;
        for granule in std::mem::take(&mut state.parked) {
            let bytes = granule.bytes;
            self.device.granule_release(granule);
            self.ledger.give(bytes);
        }
        self.account.remove_banked(self.bytes);
    }
}
