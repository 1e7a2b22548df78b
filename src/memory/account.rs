//! What one tenant may hold and holds.

use super::lend::Terms;
use super::{Bank, Ledger, UNIT, round_up};
use crate::device::Granule;
use crate::{Error, Result, Status};
use parking_lot::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

/// What one tenant may hold and holds. Shared between threads; all counters are exact at every moment.
///
/// Bytes are charged in units of 256 and held and limit change together in one word, so no interleaving of threads
/// can exceed the limit, not even when the limit changes meanwhile.
pub struct Account {
    name: String,
    floor: AtomicU64,
    ledger: Arc<Ledger>,
    /// Units held in the low half, units allowed in the high half.
    books: AtomicU64,
    /// The limit as it was given; `books` has it rounded down to units.
    limit: AtomicU64,
    limiting: Mutex<()>,
    peak: AtomicU64,
    rejections: AtomicU64,
    /// What its granules come in: the device's granularity, or larger pages of its space.
    page: AtomicU64,
    /// Bytes of granules of its own, and of shared images that it maps.
    footprint: AtomicU64,
    shared: AtomicU64,
    regions: AtomicU64,
    /// Bytes of its banks. Changes while `limiting` is held.
    banked: AtomicU64,
    banks: Mutex<Vec<Weak<Bank>>>,
    pub(super) terms: Terms,
}

/// The most an account can hold: one unit less than 1 TiB.
pub const LARGEST_LIMIT: u64 = u32::MAX as u64 * UNIT;

fn parts(books: u64) -> (u64, u64) {
    (books & u64::from(u32::MAX), books >> 32)
}

impl Account {
    pub(super) fn new(name: &str, limit: u64, floor: u64, ledger: Arc<Ledger>) -> Result<Account> {
        let account = Account {
            name: name.to_string(),
            floor: AtomicU64::new(floor),
            page: AtomicU64::new(ledger.granularity()),
            ledger,
            books: AtomicU64::new(limit_units(limit)? << 32),
            limit: AtomicU64::new(limit),
            limiting: Mutex::new(()),
            peak: AtomicU64::new(0),
            rejections: AtomicU64::new(0),
            footprint: AtomicU64::new(0),
            shared: AtomicU64::new(0),
            regions: AtomicU64::new(0),
            banked: AtomicU64::new(0),
            banks: Mutex::default(),
            terms: Terms::default(),
        };
        if floor > limit {
            return Err(Error::argument("memory_floor", format!("{floor} is more than the limit {limit}")));
        }
        Ok(account)
    }

    /// The tenant's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The ledger that it was opened in.
    pub fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }

    /// The most bytes the tenant may hold.
    pub fn limit(&self) -> u64 {
        self.limit.load(Ordering::Acquire)
    }

    /// Bytes set aside for it.
    pub fn floor(&self) -> u64 {
        self.floor.load(Ordering::Acquire)
    }

    /// Changes what is set aside; refused when it passes the limit or what the device has left to promise.
    pub fn set_floor(&self, floor: u64) -> Result<()> {
        let _limiting = self.limiting.lock();
        if floor > self.limit() {
            return Err(Error::argument(
                "memory_floor",
                format!("{floor} is more than the limit {}", self.limit()),
            ));
        }
        self.ledger.promise(&self.name, floor, self.floor(), |_| self.floor.store(floor, Ordering::Release))
    }

    /// Bytes of memory banks that are kept for it.
    pub fn banked(&self) -> u64 {
        self.banked.load(Ordering::Acquire)
    }

    /// Counts a bank that is about to be made; refused when the limit does not cover all of them.
    pub(super) fn add_banked(&self, bytes: u64) -> Result<()> {
        let _limiting = self.limiting.lock();
        let all = self.banked().saturating_add(bytes);
        if all > self.limit() {
            return Err(Error::new(
                Status::QuotaExceeded,
                format!(
                    "tenant {:?} wanted a memory bank of {bytes} bytes, has banks of {}, and its limit is {}",
                    self.name,
                    self.banked(),
                    self.limit()
                ),
            )
            .advise("raise the tenant's limit or give a memory bank back"));
        }
        self.banked.store(all, Ordering::Release);
        Ok(())
    }

    pub(super) fn remove_banked(&self, bytes: u64) {
        let _limiting = self.limiting.lock();
        self.banked.fetch_sub(bytes, Ordering::AcqRel);
    }

    /// Lets granules come from this bank from now on.
    pub(super) fn attach(&self, bank: &Arc<Bank>) {
        let mut banks = self.banks.lock();
        banks.retain(|b| b.strong_count() > 0);
        banks.push(Arc::downgrade(bank));
    }

    fn banks(&self) -> Vec<Arc<Bank>> {
        if self.banked() == 0 {
            return Vec::new();
        }
        self.banks.lock().iter().filter_map(Weak::upgrade).collect()
    }

    /// A granule of exactly `bytes` out of its banks, its bytes already in the device's books.
    pub(super) fn draw(&self, bytes: u64) -> Option<Granule> {
        self.banks().iter().find_map(|bank| bank.draw(bytes))
    }

    /// Puts a granule back into a bank with room for it; else hands it back.
    pub(super) fn park(&self, granule: Granule) -> Option<Granule> {
        self.banks().iter().try_fold(granule, |granule, bank| bank.park(granule))
    }

    /// Bytes held now.
    pub fn held(&self) -> u64 {
        parts(self.books.load(Ordering::Acquire)).0 * UNIT
    }

    /// The most bytes ever held.
    pub fn peak(&self) -> u64 {
        self.peak.load(Ordering::Acquire) * UNIT
    }

    /// Requests refused because of the limit.
    pub fn rejections(&self) -> u64 {
        self.rejections.load(Ordering::Relaxed)
    }

    /// Changes the limit; refused when more is held.
    pub fn set_limit(&self, limit: u64) -> Result<()> {
        let units = limit_units(limit)?;
        let guard = self.limiting.lock();
        if limit < self.floor() {
            return Err(Error::argument(
                "memory_limit",
                format!("{limit} is less than the floor {}", self.floor()),
            ));
        }
        if limit < self.banked() {
            return Err(Error::new(
                Status::Busy,
                format!(
                    "tenant {:?} holds memory banks of {} bytes, more than the new limit of {limit}",
                    self.name,
                    self.banked()
                ),
            )
            .advise("give memory banks back first"));
        }
        let change = |books| {
            let (held, _) = parts(books);
            (held <= units).then_some(held | units << 32)
        };
        self.books.fetch_update(Ordering::AcqRel, Ordering::Acquire, change).map_err(|books| {
            let held = parts(books).0 * UNIT;
            Error::new(
                Status::Busy,
                format!("tenant {:?} holds {held} bytes, more than the new limit of {limit}", self.name),
            )
            .advise("free memory of this tenant first")
        })?;
        self.limit.store(limit, Ordering::Release);
        drop(guard);
        if self.footprint() > self.physical_limit() {
            self.ledger.reclaim(Some(self));
        }
        Ok(())
    }

    /// Charges `bytes`, rounded up to 256, for something that is not in a space; `what` names it in the error. The
    /// charge is refunded when the result is dropped.
    pub fn charge(self: &Arc<Self>, bytes: u64, what: &str) -> Result<Charge> {
        let units = self.take(bytes, what)?;
        Ok(Charge { account: self.clone(), units })
    }

    /// Charges `bytes` and returns the units to give to [`Account::refund`] later.
    pub(super) fn take(&self, bytes: u64, what: &str) -> Result<u32> {
        let Some(units) = u32::try_from(bytes.div_ceil(UNIT)).ok() else {
            return Err(self.refused(bytes, what));
        };
        let mut books = self.books.load(Ordering::Acquire);
        let held = loop {
            let (held, limit) = parts(books);
            let after = held + u64::from(units);
            if after > limit {
                return Err(self.refused(bytes, what));
            }
            let next = books + u64::from(units);
            match self.books.compare_exchange_weak(books, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => break after,
                Err(now) => books = now,
            }
        };
        if held > self.peak.load(Ordering::Relaxed) {
            self.peak.fetch_max(held, Ordering::AcqRel);
        }
        Ok(units)
    }

    pub(super) fn refund(&self, units: u32) {
        self.books.fetch_sub(u64::from(units), Ordering::AcqRel);
    }

    #[cold]
    fn refused(&self, bytes: u64, what: &str) -> Error {
        self.rejections.fetch_add(1, Ordering::Relaxed);
        let (held, limit) = (self.held(), self.limit());
        Error::new(
            Status::QuotaExceeded,
            format!(
                "tenant {:?} wanted {bytes} bytes for {what:?}, holds {held}, and its limit is {limit}",
                self.name
            ),
        )
        .advise("free something of this tenant or raise its limit")
    }

    /// The refusal for memory that the limit allows but that lies in pieces too small.
    #[cold]
    pub(super) fn scattered(&self, bytes: u64, what: &str, largest: u64) -> Error {
        self.rejections.fetch_add(1, Ordering::Relaxed);
        let (held, limit) = (self.held().saturating_sub(bytes.next_multiple_of(UNIT)), self.limit());
        Error::new(
            Status::QuotaExceeded,
            format!(
                "tenant {:?} wanted {bytes} bytes for {what:?}, holds {held}, and its limit is {limit}, but its free \
                 memory lies scattered over granules in use (the largest piece has {largest} bytes)",
                self.name
            ),
        )
        .advise("free neighbouring allocations, or raise the limit")
    }

    /// Says that its space has larger pages than the device's granules.
    pub(super) fn set_page(&self, bytes: u64) {
        self.page.fetch_max(bytes, Ordering::Relaxed);
    }

    /// The most bytes of granules that it may have: its limit rounded up to a granule.
    pub(super) fn physical_limit(&self) -> u64 {
        round_up(self.limit(), self.page.load(Ordering::Relaxed))
    }

    /// Bytes of its own granules and of the shared images that it maps.
    pub(super) fn footprint(&self) -> u64 {
        self.footprint.load(Ordering::Acquire)
    }

    /// Bytes of its own granules.
    pub fn physical(&self) -> u64 {
        self.footprint().saturating_sub(self.shared())
    }

    pub(super) fn take_footprint(&self, bytes: u64) -> bool {
        let most = self.physical_limit();
        // What lies in host memory comes back some day. Whoever moves it counts it in both places for a moment.
        let away = self.spilled();
        let grow = |now: u64| now.checked_add(bytes).filter(|after| after.saturating_add(away) <= most);
        self.footprint.fetch_update(Ordering::AcqRel, Ordering::Acquire, grow).is_ok()
    }

    /// Without asking: for memory that replaces other at once, or that was left room for while it was away.
    pub(super) fn force_footprint(&self, bytes: u64) {
        self.footprint.fetch_add(bytes, Ordering::AcqRel);
    }

    /// Bytes of granules that it may still get under its limit.
    pub(super) fn headroom(&self) -> u64 {
        self.physical_limit().saturating_sub(self.footprint().saturating_add(self.spilled()))
    }

    pub(super) fn give_footprint(&self, bytes: u64) {
        self.footprint.fetch_sub(bytes, Ordering::AcqRel);
    }

    /// Bytes of shared images that it is charged for.
    pub fn shared(&self) -> u64 {
        self.shared.load(Ordering::Acquire)
    }

    /// Bytes of regions that it is charged for.
    pub fn regions(&self) -> u64 {
        self.regions.load(Ordering::Acquire)
    }

    pub(super) fn count_shared(&self, more: u64, less: u64) {
        self.shared.fetch_add(more.wrapping_sub(less), Ordering::AcqRel);
    }

    pub(super) fn count_regions(&self, more: u64, less: u64) {
        self.regions.fetch_add(more.wrapping_sub(less), Ordering::AcqRel);
    }
}

fn limit_units(limit: u64) -> Result<u64> {
    if limit < UNIT {
        return Err(Error::argument("memory_limit", format!("{limit} is less than {UNIT} bytes")));
    }
    if limit > LARGEST_LIMIT {
        return Err(Error::argument("memory_limit", format!("{limit} is more than {LARGEST_LIMIT} bytes")));
    }
    Ok(limit / UNIT)
}

/// Bytes charged to an account, refunded when dropped.
pub struct Charge {
    account: Arc<Account>,
    units: u32,
}

impl Charge {
    /// Bytes charged.
    pub fn bytes(&self) -> u64 {
        u64::from(self.units) * UNIT
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.account.refund(self.units);
    }
}
