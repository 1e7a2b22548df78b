//! Where granules come from: the account's bound, the ledger and the device are asked in this order, and what was
//! taken is given back when a later one refuses.
//!
//! **Scrubbing.** Memory of a device whose new granules are not zero by themselves is set to zero when it is created,
//! before anybody sees its address. Doing it at this end, and not when memory is given back, covers every way by which
//! it can have got its content: a tenant that freed it, one that died, another library, another process. Granules go
//! from a tenant straight back to the device, never to another tenant, so there is no second way. Those that come out of
//! a tenant's own bank are set to zero on every device: they may have been its own before.

use super::away::Copied;
use super::{Account, Ledger};
use crate::device::{Access, Device, DeviceKind, DevicePtr, Granule};
use crate::telemetry::recovery::{self, Recovery};
use crate::{Error, Result, Status};
use std::sync::Arc;

pub(super) struct Source {
    pub device: Arc<dyn Device>,
    pub ledger: Arc<Ledger>,
}

/// A granule with the address at which it is mapped.
pub(super) struct Piece {
    pub address: DevicePtr,
    pub granule: Granule,
    /// Bytes of it that have no memory: see [`Source::discard`].
    pub vacant: u64,
    /// Whether it ever had any.
    pub holed: bool,
    pub lies: Lies,
}

/// Where the content of a piece is.
pub(super) enum Lies {
    /// In its granule, which may be replaced by another with the same content.
    Here,
    /// In its granule, which must stay: others know the physical memory.
    Fixed,
    /// In its granule, which is somebody else's: nobody here is charged for it.
    Borrowed,
    /// In host memory. Nothing is mapped and there is no granule; the one in the piece only says its size.
    Away(Copied),
}

impl Piece {
    /// Memory that may move.
    pub fn new(address: DevicePtr, granule: Granule) -> Piece {
        Piece { address, granule, vacant: 0, holed: false, lies: Lies::Here }
    }

    /// Whether its granule may be replaced by another with the same content.
    pub fn is_movable(&self) -> bool {
        matches!(self.lies, Lies::Here)
    }

    /// Whether it lies in host memory.
    pub fn is_away(&self) -> bool {
        matches!(self.lies, Lies::Away(_))
    }

    /// Bytes of it that have memory of the device.
    pub fn held(&self) -> u64 {
        if self.is_away() { 0 } else { self.granule.bytes - self.vacant }
    }
}

/// Why there is no granule.
pub(super) enum Shortage {
    /// The account has as many granules as it may.
    Account,
    /// The device has no memory left, or all that is left is set aside.
    Device(Error),
    /// Anything else.
    Other(Error),
}

impl Source {
    /// Creates `bytes` of memory for `account` (or for all) and maps it at `address`, with zeros in it. It stays where it
    /// is.
    pub fn take(
        &self,
        account: Option<&Account>,
        address: DevicePtr,
        bytes: u64,
    ) -> std::result::Result<Piece, Shortage> {
        self.take_as(account, address, bytes, Lies::Fixed)
    }

    /// As [`Source::take`], for memory that may move.
    pub fn take_movable(
        &self,
        account: &Account,
        address: DevicePtr,
        bytes: u64,
    ) -> std::result::Result<Piece, Shortage> {
        self.take_as(Some(account), address, bytes, Lies::Here)
    }

    fn take_as(
        &self,
        account: Option<&Account>,
        address: DevicePtr,
        bytes: u64,
        lies: Lies,
    ) -> std::result::Result<Piece, Shortage> {
        if account.is_some_and(|a| !a.take_footprint(bytes)) {
            return Err(Shortage::Account);
        }
        if let Some(a) = account
            && let Some(granule) = a.draw(bytes)
        {
            return match self.place(address, granule, true) {
                Ok(piece) => Ok(Piece { lies, ..piece }),
                Err((granule, e)) => {
                    self.release(account, granule);
                    Err(Shortage::Other(e))
                }
            };
        }
        let given = self
            .ledger
            .take_as(account, bytes, matches!(lies, Lies::Here))
            .and_then(|()| self.create(address, bytes).inspect_err(|_| self.uncount(account, bytes)));
        given.map(|piece| Piece { lies, ..piece }).map_err(|e| {
            if let Some(a) = account {
                a.give_footprint(bytes);
            }
            if e.status() == Status::OutOfMemory { Shortage::Device(e) } else { Shortage::Other(e) }
        })
    }

    /// Undoes [`Ledger::take`].
    fn uncount(&self, account: Option<&Account>, bytes: u64) {
        match account {
            Some(_) => self.ledger.give(bytes),
            None => self.ledger.give_image(bytes),
        }
    }

    /// Runs `again` after everything that is kept for reuse was given back, by all tenants and by the device itself:
    /// for when the device had no memory left. Counted as a recovery.
    pub fn relieved<T, E>(
        &self,
        again: impl FnOnce() -> std::result::Result<T, E>,
    ) -> std::result::Result<T, E> {
        self.relieve();
        let result = again();
        self.relief(result.is_ok());
        result
    }

    /// The first half of [`Source::relieved`].
    pub fn relieve(&self) {
        self.ledger.reclaim(None);
        self.device.free_caches();
    }

    /// The second half of [`Source::relieved`]: whether it helped.
    pub fn relief(&self, helped: bool) {
        recovery::note(Recovery::Memory, helped);
        let (device, end) = (self.device.kind(), if helped { "and it was enough" } else { "in vain" });
        crate::log_later!(Warn, "memory", "device {device} ran out of memory: caches were freed, {end}");
    }

    fn create(&self, address: DevicePtr, bytes: u64) -> Result<Piece> {
        let granule = {
            let _nobody_divides = self.ledger.dividing.read();
            self.device.granule_create(bytes)?
        };
        self.place(address, granule, false).map_err(|(granule, e)| {
            self.device.granule_release(granule);
            e
        })
    }

    /// A granule mapped at `address` with the content of host memory; its bytes are in the books. `copied` is
    /// told how long the copy took.
    pub fn create_from(
        &self,
        address: DevicePtr,
        bytes: u64,
        host: u64,
        copied: impl FnOnce(std::time::Duration),
    ) -> Result<Granule> {
        let granule = {
            let _nobody_divides = self.ledger.dividing.read();
            self.device.granule_create(bytes)?
        };
        if let Err(e) = self.device.map(address, &granule, Access::ReadWrite) {
            self.device.granule_release(granule);
            return Err(e);
        }
        let begun = std::time::Instant::now();
        // SAFETY: mapped writable just now, the host memory is as long, and the copy has run when this returns.
        if let Err(e) = unsafe { self.device.copy(address, host, bytes, None) } {
            // The error that matters is the copy's.
            let _ = self.device.unmap(address, bytes);
            self.device.granule_release(granule);
            return Err(e);
        }
        copied(begun.elapsed());
        Ok(granule)
    }

    /// Maps a granule with zeros in it. On an error the granule comes back.
    fn place(
        &self,
        address: DevicePtr,
        granule: Granule,
        used: bool,
    ) -> std::result::Result<Piece, (Granule, Error)> {
        let bytes = granule.bytes;
        if let Err(e) = self.device.map(address, &granule, Access::ReadWrite) {
            return Err((granule, e));
        }
        if let Err(e) = self.scrub(address, bytes, used) {
            // An unmap that fails too leaves the granule mapped; releasing it is still right, the driver keeps it
            // until the mapping goes.
            let _ = self.device.unmap(address, bytes);
            return Err((granule, e));
        }
        Ok(Piece::new(address, granule))
    }

    fn scrub(&self, address: DevicePtr, bytes: u64, used: bool) -> Result<()> {
        if self.device.kind() == DeviceKind::Cpu && !used {
            return Ok(());
        }
        // SAFETY: mapped writable just now, and nobody else knows the address.
        unsafe { self.device.fill(address, 0, bytes, None) }
    }

    /// Unmaps and gives back. When the device refuses to unmap, the piece comes back with the error.
    pub fn give(&self, account: Option<&Account>, piece: Piece) -> std::result::Result<(), (Piece, Error)> {
        let bytes = piece.granule.bytes;
        if piece.is_away() {
            return Ok(());
        }
        if let Err(e) = self.device.unmap(piece.address, bytes) {
            return Err((piece, e));
        }
        self.let_go(account, piece);
        Ok(())
    }

    /// Gives back a granule that is mapped nowhere.
    pub fn release(&self, account: Option<&Account>, granule: Granule) {
        self.release_part(account, granule, 0);
    }

    /// The same of one of which `vacant` bytes have no memory: those are in nobody's books.
    fn release_part(&self, account: Option<&Account>, granule: Granule, vacant: u64) {
        let bytes = granule.bytes - vacant;
        let leaving = match account {
            Some(a) if vacant == 0 => a.park(granule),
            _ => Some(granule),
        };
        if let Some(granule) = leaving {
            self.device.granule_release(granule);
            self.uncount(account, bytes);
        }
        if let Some(a) = account {
            a.give_footprint(bytes);
        }
    }

    /// Gives back the granule of a piece that is mapped no more.
    fn let_go(&self, account: Option<&Account>, piece: Piece) {
        match piece.lies {
            // Whoever made it is charged for it.
            Lies::Borrowed => self.device.granule_release(piece.granule),
            _ => self.release_part(account, piece.granule, piece.vacant),
        }
    }

    /// Gives back without a way to go on when the device refuses: used when the owner is being dropped.
    pub fn abandon(&self, account: Option<&Account>, piece: Piece) {
        if let Err((piece, _)) = self.give(account, piece) {
            self.let_go(account, piece);
        }
    }

    /// As [`Source::take`], with memory in the first `used` bytes only. For devices with [`Device::granule_page`].
    pub fn take_part(
        &self,
        account: &Account,
        address: DevicePtr,
        bytes: u64,
        used: u64,
    ) -> std::result::Result<Piece, Shortage> {
        self.booked(account, used, || {
            let granule = self.device.granule_create_bare(bytes)?;
            let filled = self.device.granule_fill(&granule, 0, used);
            match filled.and_then(|()| self.device.map(address, &granule, Access::ReadWrite)) {
                Ok(()) => Ok(Piece { vacant: bytes - used, holed: true, ..Piece::new(address, granule) }),
                Err(e) => {
                    self.device.granule_release(granule);
                    Err(e)
                }
            }
        })
    }

    /// Puts zeroed memory into a part of a piece that has none.
    pub fn fill(
        &self,
        account: &Account,
        piece: &mut Piece,
        offset: u64,
        bytes: u64,
    ) -> std::result::Result<(), Shortage> {
        self.booked(account, bytes, || self.device.granule_fill(&piece.granule, offset, bytes))?;
        piece.vacant -= bytes;
        Ok(())
    }

    /// Gives the memory of a part of a piece back to the device. Nobody may use it, and no work in flight may.
    pub fn discard(&self, account: &Account, piece: &mut Piece, offset: u64, bytes: u64) -> Result<()> {
        self.device.granule_discard(&piece.granule, offset, bytes)?;
        (piece.vacant, piece.holed) = (piece.vacant + bytes, true);
        self.ledger.give(bytes);
        account.give_footprint(bytes);
        Ok(())
    }

    /// Runs `make` with `bytes` more in all books.
    fn booked<T>(
        &self,
        account: &Account,
        bytes: u64,
        make: impl FnOnce() -> Result<T>,
    ) -> std::result::Result<T, Shortage> {
        if !account.take_footprint(bytes) {
            return Err(Shortage::Account);
        }
        let made = self.ledger.take(Some(account), bytes).and_then(|()| {
            let _nobody_divides = self.ledger.dividing.read();
            make().inspect_err(|_| self.ledger.give(bytes))
        });
        made.map_err(|e| {
            account.give_footprint(bytes);
            if e.status() == Status::OutOfMemory { Shortage::Device(e) } else { Shortage::Other(e) }
        })
    }
}
