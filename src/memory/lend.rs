//! Over-commit: floors that are lent while their owners do not use them, and how room is made for who may ask for it.
//!
//! A tenant may burst above its floor into what others leave free. Where the owner of a floor lends it
//! ([`Lending::lend_floor`]) that includes the unused part of its floor. What is lent comes back when the owner asks:
//! memory of tenants above their floors is moved to the host ([`SpillPolicy`]), the most above its floor first.
//!
//! The books see to it that this is always possible. Of each account that a part is *firm* which cannot be taken back:
//! its floor, or, where that is more, what cannot be moved (regions, extents, pinned allocations; everything of a tenant
//! that is never spilled). Nobody gets memory that would make the firm parts of all together, and the shared images,
//! more than the device has, while any floor is lent.

use super::ledger::Books;
use super::{Account, Ledger, round_up};
use crate::{Error, Result, Status};
use parking_lot::Mutex;
use std::sync::Weak;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

/// What a tenant lends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lending {
    /// Others may use the part of its floor that it does not use, and give it back when it asks.
    pub lend_floor: bool,
}

/// What of a tenant is moved to host memory when its burst is asked back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SpillPolicy {
    /// Nothing: it gets no part of anybody's floor.
    #[default]
    Never,
    /// What was not named by work for the longest time.
    Coldest,
    /// The largest allocations.
    Largest,
}

/// What is known of one allocation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Advice {
    /// Nothing.
    #[default]
    Normal,
    /// It is never moved to the host.
    Pinned,
    /// It is moved before all others.
    Cold,
}

/// An account's part in lending.
#[derive(Default)]
pub(super) struct Terms {
    lends: AtomicBool,
    policy: AtomicU8,
    /// 0 is spared longest.
    rank: AtomicU8,
    /// Bytes of its granules that cannot be moved; counted before they are taken, uncounted after they are given back.
    fixed: AtomicU64,
    /// Bytes in host memory instead of the device's.
    spilled: AtomicU64,
    peak: AtomicU64,
    /// Bytes of other processes' (or tenants') memory that it maps.
    imported: AtomicU64,
}

impl Account {
    /// What it lends.
    pub fn lending(&self) -> Lending {
        Lending { lend_floor: self.terms.lends.load(Ordering::Acquire) }
    }

    pub(super) fn set_lending(&self, lending: Lending) {
        self.terms.lends.store(lending.lend_floor, Ordering::Release);
    }

    /// What is moved to the host when its burst is asked back.
    pub fn spill_policy(&self) -> SpillPolicy {
        match self.terms.policy.load(Ordering::Acquire) {
            1 => SpillPolicy::Coldest,
            2 => SpillPolicy::Largest,
            _ => SpillPolicy::Never,
        }
    }

    /// Errors: [`Status::Busy`] when it is to be never spilled and holds what others lend.
    pub(super) fn set_spill_policy(&self, policy: SpillPolicy) -> Result<()> {
        let number = match policy {
            SpillPolicy::Never => 0,
            SpillPolicy::Coldest => 1,
            SpillPolicy::Largest => 2,
        };
        let before = self.terms.policy.swap(number, Ordering::AcqRel);
        if number != 0 {
            return Ok(());
        }
        self.ledger().firm(self, || {
            self.terms.policy.store(before, Ordering::Release);
            format!(
                "tenant {:?} holds memory of floors that are lent, so it must be spilled when asked",
                self.name()
            )
        })
    }

    /// Who is spared when burst memory is asked back, 0 longest; a tenant asks back from those with a higher number than
    /// its own. Set to the tenant's priority.
    pub fn rank(&self) -> u8 {
        self.terms.rank.load(Ordering::Relaxed)
    }

    /// Changes [`Account::rank`].
    pub fn set_rank(&self, rank: u8) {
        self.terms.rank.store(rank, Ordering::Relaxed);
    }

    /// Bytes of it that lie in host memory now. They count as held, not as physical.
    pub fn spilled(&self) -> u64 {
        self.terms.spilled.load(Ordering::Acquire)
    }

    /// The most that ever lay in host memory.
    pub fn spilled_peak(&self) -> u64 {
        self.terms.peak.load(Ordering::Acquire)
    }

    /// Bytes of other processes' (or tenants') memory that it maps; its owner is charged for them.
    pub fn imported(&self) -> u64 {
        self.terms.imported.load(Ordering::Acquire)
    }

    pub(super) fn count_imported(&self, more: u64, less: u64) {
        self.terms.imported.fetch_add(more.wrapping_sub(less), Ordering::AcqRel);
    }

    pub(super) fn count_spilled(&self, more: u64, less: u64) {
        let after = self.terms.spilled.fetch_add(more.wrapping_sub(less), Ordering::AcqRel);
        let after = after.wrapping_add(more).wrapping_sub(less);
        self.terms.peak.fetch_max(after, Ordering::AcqRel);
    }

    /// Counts bytes that cannot be moved, before they are taken.
    pub(super) fn fix(&self, bytes: u64) {
        self.terms.fixed.fetch_add(bytes, Ordering::AcqRel);
    }

    pub(super) fn unfix(&self, bytes: u64) {
        self.terms.fixed.fetch_sub(bytes, Ordering::AcqRel);
    }

    /// Counts bytes that were movable as fixed from now on; refused where floors are lent on their account.
    pub(super) fn pin(&self, bytes: u64) -> Result<()> {
        self.fix(bytes);
        self.ledger().firm(self, || {
            self.unfix(bytes);
            format!("tenant {:?} cannot pin {bytes} bytes: they lie in floors that are lent", self.name())
        })
    }

    /// Whether any of it can be moved. Memory out of its own banks would free nothing for others.
    pub(super) fn can_spill(&self) -> bool {
        self.spill_policy() != SpillPolicy::Never && self.banked() == 0
    }

    /// The part of its floor that shared images do not use up.
    fn own_floor(&self) -> u64 {
        self.floor().saturating_sub(self.shared())
    }

    /// What it has beyond its floor.
    pub(super) fn burst(&self) -> u64 {
        self.physical().saturating_sub(self.own_floor())
    }

    /// What cannot be taken from it.
    fn hard(&self) -> u64 {
        let own = self.physical();
        if self.can_spill() {
            self.terms.fixed.load(Ordering::Acquire).min(own)
        } else {
            // What lies unused in its banks is nobody's to take either.
            own.saturating_add(self.banked())
        }
    }
}

/// Why the books say no.
pub(super) struct Refusal {
    /// How many bytes others have too many.
    pub excess: u64,
    pub error: Error,
    /// No moving to the host helps.
    pub hopeless: bool,
}

/// What room is made for.
pub(super) enum Purpose<'a> {
    /// New memory.
    New,
    /// Memory that is fetched back, while these addresses must stay where they are; `None`: all of the tenant's.
    Fetch(Option<&'a [(u64, u64)]>),
}

/// Bytes that nobody but their owner may take, until it is dropped.
pub(super) struct Claim<'a> {
    ledger: &'a Ledger,
    number: Option<u64>,
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            self.ledger.books.lock().claims.retain(|c| c.number != number);
        }
    }
}

pub(super) struct Claimed {
    number: u64,
    /// The address of the account, only ever compared.
    account: usize,
    bytes: u64,
}

fn same(a: Option<&Account>, b: &Account) -> bool {
    a.is_some_and(|a| std::ptr::eq(a, b))
}

impl Ledger {
    /// Whether `who` may have `bytes` more, `movable` to the host or not.
    pub(super) fn allows(
        &self,
        books: &Books,
        who: Option<&Account>,
        bytes: u64,
        movable: bool,
    ) -> std::result::Result<(), Refusal> {
        let me = who.map_or(0, |w| std::ptr::from_ref(w).addr());
        let claims: u64 = books.claims.iter().filter(|c| c.account != me).map(|c| c.bytes).sum();
        let used = books.physical.saturating_add(claims);
        let after = used.saturating_add(bytes);
        let cap = books.caps.values().min().copied();
        if let Some(cap) = cap
            && after > cap
        {
            return Err(Refusal {
                excess: after - cap,
                error: Error::new(
                    Status::OutOfMemory,
                    format!(
                        "{bytes} bytes more than the {used} in use pass max_memory, which allows all tenants of this \
                         device {cap} bytes together",
                    ),
                )
                .advise("free memory, or raise max_memory in the kernel's configuration"),
                hopeless: bytes > cap,
            });
        }
        let (mut aside, mut floors, mut firm, mut lent) = (0u64, 0u64, books.images, false);
        for account in books.accounts.iter().filter_map(Weak::upgrade) {
            let unused = account.floor().saturating_sub(account.footprint());
            let lends = account.lending().lend_floor;
            floors = floors.saturating_add(account.floor());
            firm = firm.saturating_add(account.own_floor().max(account.hard()));
            lent |= lends && unused > 0;
            if !lends && !same(who, &account) {
                aside += unused;
            }
        }
        let bound = cap.filter(|cap| floors <= *cap).unwrap_or(self.capacity).min(self.capacity);
        // With nothing set aside, lent or claimed the device itself decides.
        let decide = aside > 0 || lent || claims > 0;
        if decide && after.saturating_add(aside) > bound {
            return Err(Refusal {
                excess: after.saturating_add(aside) - bound,
                error: Error::new(
                    Status::OutOfMemory,
                    format!(
                        "{bytes} bytes are not left: {used} of the device's {bound} bytes are in use and {aside} are \
                         set aside for other tenants",
                    ),
                )
                .advise("lower the floors of other tenants or free memory"),
                hopeless: false,
            });
        }
        let harder = match who {
            Some(who) => !(movable && who.can_spill()) && who.hard() > who.own_floor(),
            None => true,
        };
        let more = if who.is_none() { bytes } else { 0 };
        if lent && harder && firm.saturating_add(more) > bound {
            return Err(Refusal {
                excess: 0,
                error: Error::new(
                    Status::OutOfMemory,
                    format!(
                        "{bytes} bytes that cannot be moved to the host are not left: floors and such memory are \
                         {firm} of {bound} bytes",
                    ),
                )
                .advise("set a spill policy for this tenant, unpin memory, or lower the floors of others"),
                hopeless: true,
            });
        }
        Ok(())
    }

    /// Looks whether all that cannot be taken back still fits, after `who` made more of its memory so; else undoes it.
    fn firm(&self, who: &Account, undo: impl FnOnce() -> String) -> Result<()> {
        let books = self.books.lock();
        match self.allows(&books, Some(who), 0, false) {
            Err(refusal) if refusal.hopeless => Err(Error::new(Status::Busy, undo()).advise(
                "free memory of this tenant, or wait until the floors of others are used by their owners",
            )),
            _ => Ok(()),
        }
    }

    /// Moves memory of tenants above their floors to the host, so that `who` can have `bytes`: all of it where that is
    /// within its floor; else only what tenants of a higher [`Account::rank`] have above theirs, and in the end its own.
    /// Memory that is fetched may also come from one of the same rank that is further above its floor.
    ///
    /// `None` when nothing could be done. Call it without locks of a space: who gives way may be in here too. Waits for
    /// work of the tenants that give way.
    pub(super) fn make_room(
        &self,
        who: Option<&Account>,
        bytes: u64,
        movable: bool,
        purpose: &Purpose<'_>,
    ) -> Option<Claim<'_>> {
        if !self.accounts().iter().any(|a| a.can_spill()) {
            return None;
        }
        let _one = self.spilling.lock();
        let entitled =
            who.is_some_and(|w| w.footprint().saturating_add(bytes) <= round_up(w.floor(), self.granularity));
        // Nobody else takes what becomes free for the owner of a floor.
        let claim = match who {
            Some(who) if entitled => self.claim(who, bytes),
            _ => Claim { ledger: self, number: None },
        };
        let mut freed = 0;
        for round in 0..8 {
            let need = match self.allows(&self.books.lock(), who, bytes, movable) {
                Err(refusal) if refusal.hopeless => return None,
                Err(refusal) => refusal.excess,
                Ok(()) if round > 0 => break,
                // The device itself has no room.
                Ok(()) => bytes,
            };
            let got = self.spill_others(who, bytes, need, entitled, purpose);
            let got = got + if got < need { self.spill_own(who, need - got, purpose) } else { 0 };
            freed += got;
            if got == 0 {
                break;
            }
        }
        (freed > 0).then_some(claim)
    }

    fn claim(&self, who: &Account, bytes: u64) -> Claim<'_> {
        let mut books = self.books.lock();
        books.numbered += 1;
        let number = books.numbered;
        books.claims.push(Claimed { number, account: std::ptr::from_ref(who).addr(), bytes });
        Claim { ledger: self, number: Some(number) }
    }

    fn spill_others(
        &self,
        who: Option<&Account>,
        bytes: u64,
        need: u64,
        entitled: bool,
        purpose: &Purpose<'_>,
    ) -> u64 {
        let fetched = matches!(purpose, Purpose::Fetch(_));
        let (rank, own) = who.map_or((2, 0), |w| (w.rank(), w.burst()));
        let mut victims: Vec<_> = self
            .holders()
            .into_iter()
            .filter(|s| !same(who, s.account()) && s.account().can_spill())
            .filter_map(|s| {
                let (burst, theirs) = (s.account().burst(), s.account().rank());
                let most = if entitled || theirs > rank {
                    burst
                } else if fetched && theirs == rank {
                    // Until both are as far above their floors.
                    burst.saturating_sub(own + bytes)
                } else {
                    0
                };
                (most > 0).then_some((burst, theirs, most, s))
            })
            .collect();
        victims.sort_by_key(|(burst, theirs, ..)| std::cmp::Reverse((*burst, *theirs)));
        let mut got = 0;
        for (_, _, most, space) in victims {
            if got >= need {
                break;
            }
            got += space.spill((need - got).min(most));
        }
        got
    }

    fn spill_own(&self, who: Option<&Account>, need: u64, purpose: &Purpose<'_>) -> u64 {
        let spare: &[(u64, u64)] = match purpose {
            Purpose::New => &[],
            Purpose::Fetch(Some(spare)) => spare,
            Purpose::Fetch(None) => return 0,
        };
        let own = self.holders().into_iter().filter(|s| same(who, s.account()) && s.account().can_spill());
        own.map(|space| space.spill_own(need, spare)).sum()
    }

    /// Who holds the device's memory, for the message of somebody who gets none.
    pub(super) fn who_holds(&self) -> String {
        let mut all = self.accounts();
        all.sort_by_key(|a| std::cmp::Reverse(a.physical()));
        let all = all.iter().filter(|a| a.physical() > 0).take(4);
        let all: Vec<_> = all
            .map(|a| {
                format!("{:?} {} (floor {}, pinned or fixed {})", a.name(), a.physical(), a.floor(), a.hard())
            })
            .collect();
        format!(
            "the memory is held by {}",
            if all.is_empty() { "no tenant here".into() } else { all.join(", ") }
        )
    }
}

/// The lock under which room is made: one at a time on a device.
pub(super) type Spilling = Mutex<()>;
