//! The books of a device.

use super::Account;
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
}

#[derive(Default)]
pub(super) struct Books {
    accounts: Vec<Weak<Account>>,
    physical: u64,
    /// Bounds on `physical`, each by whoever set it.
    caps: BTreeMap<usize, u64>,
}

/// The books of one device: every account that was opened on it, and the physical bytes of all of them. Shared images
/// count once here, however many tenants map (and are charged for) them.
pub struct Ledger {
    capacity: u64,
    granularity: u64,
    books: Mutex<Books>,
    /// Written while a bank gives granules back to make others of them, read while any granule is created: so that nobody
    /// takes the memory in between.
    pub(super) dividing: RwLock<()>,
    idle: Mutex<Vec<Weak<dyn Idle>>>,
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

    /// Takes physical bytes for `who`, unless they are set aside for others.
    pub(super) fn take(&self, who: Option<&Account>, bytes: u64) -> Result<()> {
        let mut books = self.books.lock();
        let after = books.physical.saturating_add(bytes);
        if let Some(&cap) = books.caps.values().min()
            && after > cap
        {
            return Err(Error::new(
                Status::OutOfMemory,
                format!(
                    "{bytes} bytes more than the {} in use pass max_memory, which allows all tenants of this device \
                     {cap} bytes together",
                    books.physical
                ),
            )
            .advise("free memory, or raise max_memory in the kernel's configuration"));
        }
        let mut aside = 0;
        for account in books.accounts.iter().filter_map(Weak::upgrade) {
            if !who.is_some_and(|w| std::ptr::eq(w, &*account)) {
                aside += account.floor().saturating_sub(account.footprint());
            }
        }
        // With nothing set aside the device itself decides.
        if aside > 0 && after.saturating_add(aside) > self.capacity {
            return Err(Error::new(
                Status::OutOfMemory,
                format!(
                    "{bytes} bytes are not left: {} of the device's {} bytes are in use and {aside} are set aside for \
                     other tenants",
                    books.physical, self.capacity
                ),
            )
            .advise("lower the floors of other tenants or free memory"));
        }
        books.physical = after;
        Ok(())
    }

    /// The most bytes that [`Ledger::take`] gives `who` now. The device itself may have less.
    pub(super) fn room(&self, who: &Account) -> u64 {
        let books = self.books.lock();
        let cap = books.caps.values().min().copied().unwrap_or(u64::MAX);
        let others = books.accounts.iter().filter_map(Weak::upgrade).filter(|a| !std::ptr::eq(who, &**a));
        let aside: u64 = others.map(|a| a.floor().saturating_sub(a.footprint())).sum();
        let most = if aside > 0 { cap.min(self.capacity.saturating_sub(aside)) } else { cap };
        most.saturating_sub(books.physical)
    }

    pub(super) fn give(&self, bytes: u64) {
        let mut books = self.books.lock();
        books.physical = books.physical.saturating_sub(bytes);
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
        let all: Vec<_> = self.idle.lock().iter().filter_map(Weak::upgrade).collect();
        for idle in all {
            if only.is_none_or(|account| std::ptr::eq(account, &**idle.account())) {
                idle.give_back();
            }
        }
    }
}
