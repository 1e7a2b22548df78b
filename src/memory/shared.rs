//! Read-only images that several tenants map: one physical copy of a model's weights.

use super::lend::Purpose;
use super::registry::{self, Kind, Owner};
use super::source::{Piece, Shortage, Source};
use super::space::Space;
use super::{Account, Allocation, Ledger, UNIT, age, now, round_up};
use crate::device::{Access, Device, DeviceKind, DevicePtr, Granule};
use crate::{Error, Result, Status};
use once_cell::sync::Lazy;
use parking_lot::{Condvar, Mutex};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};

type Key = (DeviceKind, u32, String);

enum Entry {
    /// Somebody fills it, or the last user is giving it back.
    Changing,
    Ready(Weak<Shared>),
}

static IMAGES: Lazy<Mutex<HashMap<Key, Entry>>> = Lazy::new(Mutex::default);
static CHANGED: Condvar = Condvar::new();

/// A read-only physical image (weights) that several spaces map. One copy per device and key while anybody uses it.
///
/// The physical bytes are in the ledger's books once; each tenant that maps the image is charged its full size.
pub struct Shared {
    source: Source,
    key: Key,
    granule: Option<Granule>,
    bytes: u64,
    mappings: AtomicU32,
}

impl Shared {
    /// The image of `key` on `device`; when nobody holds it, creates `bytes` of granules, maps them writable at a
    /// private address and calls `fill` with it (loads of one key at the same time wait for the first).
    ///
    /// The content must be on the device when `fill` returns. When it fails (or panics) nothing stays behind, and the
    /// next one who waits fills for itself. An image of another size under the same key is an error.
    pub fn open(
        device: &Arc<dyn Device>,
        key: &str,
        bytes: u64,
        fill: &mut dyn FnMut(DevicePtr) -> Result<()>,
    ) -> Result<Arc<Shared>> {
        if bytes == 0 {
            return Err(Error::argument("bytes", "must not be 0"));
        }
        let bytes = round_up(bytes, device.granularity());
        let key = (device.kind(), device.ordinal(), key.to_string());
        let mut images = IMAGES.lock();
        let mut stale = None;
        loop {
            match images.get(&key) {
                None => break,
                Some(Entry::Ready(image)) => {
                    if let Some(image) = image.upgrade() {
                        // Nobody knows what is in the memory of a device that was lost.
                        if image.source.device.is_lost() {
                            stale = Some(image);
                            break;
                        }
                        // Dropping it takes the lock again.
                        drop(images);
                        return image.expect_size(bytes);
                    }
                    // Its last user is about to take it out of the table.
                    CHANGED.wait(&mut images);
                }
                Some(Entry::Changing) => CHANGED.wait(&mut images),
            }
        }
        images.insert(key.clone(), Entry::Changing);
        drop(images);
        // Without the lock, which dropping the last one takes again.
        drop(stale);
        let source = Source { device: device.clone(), ledger: Ledger::of(device) };
        let guard = Claim(Some(key.clone()));
        let granule = source.image(bytes, fill).map_err(|e| e.within(format!("loading {:?}", key.2)))?;
        let image =
            Arc::new(Shared { source, key, granule: Some(granule), bytes, mappings: AtomicU32::new(0) });
        guard.settle(&image);
        Ok(image)
    }

    fn expect_size(self: Arc<Self>, bytes: u64) -> Result<Arc<Shared>> {
        if self.bytes != bytes {
            let what = format!("{bytes} bytes asked for, but {:?} is open with {}", self.key.2, self.bytes);
            return Err(Error::argument("bytes", what));
        }
        Ok(self)
    }

    /// Size in bytes (whole granules).
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The key it was opened with.
    pub fn key(&self) -> &str {
        &self.key.2
    }

    /// How many spaces map it now.
    pub fn mappings(&self) -> u32 {
        self.mappings.load(Ordering::Acquire)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(granule) = self.granule.take() {
            self.source.release(None, granule);
        }
        let mut images = IMAGES.lock();
        // After its device was lost another image may have taken its place.
        if matches!(images.get(&self.key), Some(Entry::Ready(there)) if there.strong_count() == 0) {
            images.remove(&self.key);
        }
        CHANGED.notify_all();
    }
}

/// The right to fill an image. Dropped without [`Claim::settle`] it lets the next one try.
struct Claim(Option<Key>);

impl Claim {
    fn settle(mut self, image: &Arc<Shared>) {
        if let Some(key) = self.0.take() {
            IMAGES.lock().insert(key, Entry::Ready(Arc::downgrade(image)));
            CHANGED.notify_all();
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some(key) = self.0.take() {
            IMAGES.lock().remove(&key);
            CHANGED.notify_all();
        }
    }
}

/// A range with a piece mapped in it, both given back when dropped.
struct Desk<'a> {
    source: &'a Source,
    base: DevicePtr,
    bytes: u64,
    piece: Option<Piece>,
}

impl Drop for Desk<'_> {
    fn drop(&mut self) {
        if let Some(piece) = self.piece.take() {
            self.source.abandon(None, piece);
        }
        self.source.device.range_release(self.base, self.bytes);
    }
}

impl Source {
    /// Physical memory filled by `fill`, mapped nowhere.
    fn image(&self, bytes: u64, fill: &mut dyn FnMut(DevicePtr) -> Result<()>) -> Result<Granule> {
        let base = self.device.range_reserve(bytes)?;
        let mut desk = Desk { source: self, base, bytes, piece: None };
        let piece = match self.take(None, base, bytes) {
            Err(Shortage::Device(_)) => self.relieved(|| {
                let again = self.take(None, base, bytes);
                if !matches!(again, Err(Shortage::Device(_))) {
                    return again;
                }
                let Some(_room) = self.ledger.make_room(None, bytes, false, &Purpose::New) else {
                    return again;
                };
                self.take(None, base, bytes)
            }),
            other => other,
        };
        desk.piece = Some(piece.map_err(|shortage| match shortage {
            Shortage::Device(e) | Shortage::Other(e) => e,
            Shortage::Account => Error::new(Status::Internal, "an image has no account"),
        })?);
        fill(base)?;
        self.device.unmap(base, bytes)?;
        match desk.piece.take() {
            Some(piece) => Ok(piece.granule),
            None => Err(Error::new(Status::Internal, "an image without memory")),
        }
    }
}

/// A [`Shared`] image mapped in a space, for reading only. Unmapped and refunded when dropped; no work that touches it
/// may be in flight then.
pub struct SharedMapping(Arc<Inner>);

struct Inner {
    space: Arc<Space>,
    image: Arc<Shared>,
    base: DevicePtr,
    tag: String,
    born: u64,
    units: u32,
}

impl SharedMapping {
    pub(super) fn new(space: &Arc<Space>, image: &Arc<Shared>, tag: &str) -> Result<SharedMapping> {
        let device = &space.source.device;
        if (device.kind(), device.ordinal()) != (image.key.0, image.key.1) {
            return Err(Error::argument("image", format!("{:?} lies on another device", image.key.2)));
        }
        let granule = image.granule.as_ref().ok_or_else(|| Error::argument("image", "is being dropped"))?;
        let bytes = image.bytes;
        let hold = Hold::new(&space.account, bytes, tag)?;
        let base = device.range_reserve(bytes)?;
        if let Err(e) = device.map(base, granule, Access::Read) {
            device.range_release(base, bytes);
            return Err(e.within(format!("mapping {:?}", image.key.2)));
        }
        image.mappings.fetch_add(1, Ordering::AcqRel);
        let inner = Arc::new(Inner {
            space: space.clone(),
            image: image.clone(),
            base,
            tag: tag.to_string(),
            born: now(),
            units: hold.keep(),
        });
        let owner: Weak<Inner> = Arc::downgrade(&inner);
        registry::add(base, bytes, Arc::as_ptr(space), owner);
        Ok(SharedMapping(inner))
    }

    /// Where it is mapped.
    pub fn base(&self) -> DevicePtr {
        self.0.base
    }

    /// The image.
    pub fn image(&self) -> &Arc<Shared> {
        &self.0.image
    }
}

/// The charge of an image, refunded unless it is kept.
struct Hold<'a> {
    account: &'a Account,
    bytes: u64,
    units: u32,
}

impl<'a> Hold<'a> {
    fn new(account: &'a Account, bytes: u64, tag: &str) -> Result<Hold<'a>> {
        let units = account.take(bytes, tag)?;
        if !account.take_footprint(bytes) {
            account.ledger().reclaim(Some(account));
            if !account.take_footprint(bytes) {
                account.refund(units);
                return Err(account.scattered(bytes, tag, 0));
            }
        }
        account.count_shared(bytes, 0);
        Ok(Hold { account, bytes, units })
    }

    fn keep(self) -> u32 {
        let units = self.units;
        std::mem::forget(self);
        units
    }
}

fn give_back(account: &Account, bytes: u64, units: u32) {
    account.count_shared(0, bytes);
    account.give_footprint(bytes);
    account.refund(units);
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        give_back(self.account, self.bytes, self.units);
    }
}

impl Owner for Inner {
    fn kind(&self) -> Kind {
        Kind::Shared
    }

    fn space(&self) -> &Space {
        &self.space
    }

    fn lookup(&self, address: DevicePtr) -> Option<Allocation> {
        let bytes = self.image.bytes;
        let inside = address.checked_sub(self.base).is_some_and(|offset| offset < bytes);
        inside.then(|| Allocation { ptr: self.base, bytes, tag: self.tag.clone(), age: age(self.born) })
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        registry::remove(self.base);
        let device = &self.space.source.device;
        let bytes = self.image.bytes;
        // A mapping that cannot be undone keeps its addresses, so that nothing else is put there.
        if device.unmap(self.base, bytes).is_ok() {
            device.range_release(self.base, bytes);
        }
        self.image.mappings.fetch_sub(1, Ordering::AcqRel);
        give_back(&self.space.account, u64::from(self.units) * UNIT, self.units);
    }
}
