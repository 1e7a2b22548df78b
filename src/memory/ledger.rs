//! The books of a device.

use super::Account;
use super::lend::{Claimed, Spilling};
use crate::device::Device;
use crate::{Error, Result, Status};
use once_cell::sync::Lazy;
use parking_lot::{Mutex, RwLock};
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

/// Something that can give back granules that nobody uses at the moment.
pub(super) trait Idle: Send + Sync {
    fn account(&self) -> &Arc<Account>;
    /// Gives back what it can without waiting for other threads of its tenant.
    fn give_back(&self);
    /// Moves about `bytes` to the host for another tenant; how many the device has got back.
    fn spill(&self, bytes: u64) -> u64;
    /// The same for its own tenant, nothing that touches `spare`.
    fn spill_own(&self, bytes: u64, spare: &[(u64, u64)]) -> u64;
}

#[derive(Default)]
pub(super) struct Books {
    pub accounts: Vec<Weak<Account>>,
    pub physical: u64,
    /// Of `physical`: shared images, which are no tenant's own.
    pub images: u64,
    /// Bounds on `physical`, each by whoever set it.
    pub caps: BTreeMap<usize, u64>,
    /// What becomes free for the owners of floors.
    pub claims: Vec<Claimed>,
    /// Claims ever made.
    pub numbered: u64,
}

/// The books of one device: every account that was opened on it, and the physical bytes of all of them. Shared images
/// count once here, however many tenants map (and are charged for) them.
pub struct Ledger {
    pub(super) capacity: u64,
    pub(super) granularity: u64,
    pub(super) books: Mutex<Books>,
    /// Written while a bank gives granules back to make others of them, read while any granule is created: so that nobody
    /// takes the memory in between.
    pub(super) dividing: RwLock<()>,
    idle: Mutex<Vec<Weak<dyn Idle>>>,
    /// Held while room is made, before any lock of a space.
    pub(super) spilling: Spilling,
}

/// By kind and ordinal of the device.
type Ledgers = BTreeMap<(u8, u32), Arc<Ledger>>;
static LEDGERS: Lazy<Mutex<Ledgers>> = Lazy::new(Mutex::default);

impl Ledger {
    /// The ledger of a device; one per device and process.
    ///
    /// When the device cannot tell how much memory it has, its capacity is taken as 0 and no floors are given.
    pub fn of(device: &Arc<dyn Device>) -> Arc<Ledger> {
        let mut all = LEDGERS.lock();
        all.entry((device.kind() as u8, device.ordinal()))
            .or_insert_with(|| {
                let total = device.memory().map_or(0, |(_, total)| total);
                Arc::new(Ledger::with_capacity(total, device.granularity()))
            })
            .clone()
    }

    pub(super) fn with_capacity(capacity: u64, granularity: u64) -> Ledger {
        Ledger {
            capacity,
            granularity,
            books: Mutex::default(),
            dividing: RwLock::default(),
            idle: Mutex::default(),
            spilling: Spilling::default(),
        }
    }

    /// Opens an account. `limit` is the most bytes it may ever hold; `floor` of them are set aside for it: others
    /// cannot take them, whether it uses them or not. It closes with its last reference.
    ///
    /// Limits of all tenants together may exceed the device, floors may not.
    pub fn open(self: &Arc<Self>, name: &str, limit: u64, floor: u64) -> Result<Arc<Account>> {
        let account = Arc::new(Account::new(name, limit, floor, self.clone())?);
        self.promise(name, floor, 0, |books| books.accounts.push(Arc::downgrade(&account)))?;
        Ok(account)
    }

    /// Sets `floor` bytes aside for tenant `name` instead of `had`: `commit` runs while nobody else can promise.
    pub(super) fn promise(
        &self,
        name: &str,
        floor: u64,
        had: u64,
        commit: impl FnOnce(&mut Books),
    ) -> Result<()> {
        let mut books = self.books.lock();
        books.accounts.retain(|a| a.strong_count() > 0);
        let floors: u64 = books.accounts.iter().filter_map(Weak::upgrade).map(|a| a.floor()).sum();
        let others = floors.saturating_sub(had);
        if floor > had && floor > self.capacity.saturating_sub(others) {
            return Err(Error::new(
                Status::OutOfMemory,
                format!(
                    "cannot set {floor} bytes aside for tenant {name:?}: {others} of the device's {} bytes are set \
                     aside for others",
                    self.capacity
                ),
            )
            .advise("lower the floors of the tenants"));
        }
        commit(&mut books);
        Ok(())
    }

    /// Bytes of the device.
    pub fn capacity(&self) -> u64 {
        self.capacity
    }

    /// The device's granularity.
    pub fn granularity(&self) -> u64 {
        self.granularity
    }

    /// Physical bytes of all tenants, shared images counted once.
    pub fn physical(&self) -> u64 {
        self.books.lock().physical
    }

    /// The most physical bytes that all tenants together may have, if anybody set a bound.
    pub fn cap(&self) -> Option<u64> {
        self.books.lock().caps.values().min().copied()
    }

    /// Bounds the physical bytes of all tenants together on behalf of `owner` (any number that is its own); `None`
    /// lifts its bound. The least of all bounds holds. [`Status::Busy`] when more is in use already.
    pub fn set_cap(&self, owner: usize, bytes: Option<u64>) -> Result<()> {
        let Some(cap) = bytes else {
            self.books.lock().caps.remove(&owner);
            return Ok(());
        };
        if self.physical() > cap {
            self.reclaim(None);
        }
        let mut books = self.books.lock();
        if books.physical > cap {
            return Err(Error::new(
                Status::Busy,
                format!("argument `max_memory`: {} bytes are in use, more than {cap}", books.physical),
            )
            .advise("free memory or unregister an LLM first"));
        }
        books.caps.insert(owner, cap);
        Ok(())
    }

    /// The open accounts.
    pub fn accounts(&self) -> Vec<Arc<Account>> {
        self.books.lock().accounts.iter().filter_map(Weak::upgrade).collect()
    }

    /// Bytes set aside for all accounts together.
    pub fn floors(&self) -> u64 {
        self.accounts().iter().map(|a| a.floor()).sum()
    }

    /// Limits of all accounts together; may be more than the capacity.
    pub fn limits(&self) -> u64 {
        self.accounts().iter().fold(0, |sum, a| sum.saturating_add(a.limit()))
    }

    /// Takes physical bytes for `who` (or for an image that several share), unless they are set aside for others.
    pub(super) fn take(&self, who: Option<&Account>, bytes: u64) -> Result<()> {
        self.take_as(who, bytes, false)
    }

    /// As [`Ledger::take`]; `movable` bytes can be moved to the host when somebody asks them back.
    pub(super) fn take_as(&self, who: Option<&Account>, bytes: u64, movable: bool) -> Result<()> {
        let mut books = self.books.lock();
        self.allows(&books, who, bytes, movable).map_err(|refusal| refusal.error)?;
        books.physical += bytes;
        if who.is_none() {
            books.images += bytes;
        }
        Ok(())
    }

    /// The most bytes that [`Ledger::take`] gives `who` now. The device itself may have less.
    pub(super) fn room(&self, who: &Account) -> u64 {
        let books = self.books.lock();
        let cap = books.caps.values().min().copied().unwrap_or(u64::MAX);
        let (mut aside, mut floors, mut lent) = (0u64, 0u64, false);
        for account in books.accounts.iter().filter_map(Weak::upgrade) {
            let unused = account.floor().saturating_sub(account.footprint());
            let lends = account.lending().lend_floor;
            floors = floors.saturating_add(account.floor());
            lent |= lends && unused > 0;
            if !lends && !std::ptr::eq(who, &*account) {
                aside += unused;
            }
        }
        let bound = if floors <= cap { cap.min(self.capacity) } else { self.capacity };
        let most = if aside > 0 || lent { cap.min(bound.saturating_sub(aside)) } else { cap };
        most.saturating_sub(books.physical)
    }

    pub(super) fn give(&self, bytes: u64) {
        let mut books = self.books.lock();
        books.physical = books.physical.saturating_sub(bytes);
    }

    /// Gives back what was taken for an image.
    pub(super) fn give_image(&self, bytes: u64) {
        let mut books = self.books.lock();
        books.physical = books.physical.saturating_sub(bytes);
        books.images = books.images.saturating_sub(bytes);
    }

    /// All that can give granules back.
    pub(super) fn holders(&self) -> Vec<Arc<dyn Idle>> {
        self.idle.lock().iter().filter_map(Weak::upgrade).collect()
    }

    pub(super) fn register(&self, idle: Weak<dyn Idle>) {
        let mut all = self.idle.lock();
        all.retain(|i| i.strong_count() > 0);
        all.push(idle);
    }

    /// Makes all tenants give the granules that they keep for reuse back to the device.
    pub fn give_back_idle(&self) {
        self.reclaim(None);
    }

    /// Makes all tenants (or one) give back the granules that they keep for reuse.
    pub(super) fn reclaim(&self, only: Option<&Account>) {
        for idle in self.holders() {
            if only.is_none_or(|account| std::ptr::eq(account, &**idle.account())) {
                idle.give_back();
            }
        }
    }
}
