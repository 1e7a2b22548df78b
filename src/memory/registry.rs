//! Which tenant an address belongs to, over all devices of the process.

use super::Allocation;
use super::space::Space;
use crate::device::{Device, DevicePtr};
use once_cell::sync::Lazy;
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

/// What a registered address range is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Pool,
    Region,
    Shared,
    Hosted,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::Pool => "pool",
            Kind::Region => "region",
            Kind::Shared => "shared mapping",
            Kind::Hosted => "host memory",
        }
    }
}

/// Owner of an address range.
pub(super) trait Owner: Send + Sync {
    fn kind(&self) -> Kind;
    /// The space that it is, or belongs to.
    fn space(&self) -> &Space;
    /// What lies at an address of its range.
    fn lookup(&self, address: DevicePtr) -> Option<Allocation>;

    /// The tenant's name.
    fn tenant(&self) -> &str {
        self.space().account.name()
    }

    fn device(&self) -> &Arc<dyn Device> {
        self.space().device()
    }

    /// Whether it belongs to this space.
    fn is_of(&self, space: &Space) -> bool {
        std::ptr::eq(self.space(), space)
    }
}

struct Entry {
    bytes: u64,
    /// The address of the space that it belongs to, only ever compared.
    space: usize,
    owner: Weak<dyn Owner>,
}

static RANGES: Lazy<RwLock<BTreeMap<u64, Entry>>> = Lazy::new(RwLock::default);

pub(super) fn add(base: DevicePtr, bytes: u64, space: *const Space, owner: Weak<dyn Owner>) {
    RANGES.write().insert(base, Entry { bytes, space: space.addr(), owner });
}

/// Must come before the range is given back to the device: another thread may get the same addresses then.
pub(super) fn remove(base: DevicePtr) {
    RANGES.write().remove(&base);
}

pub(super) fn owner(address: DevicePtr) -> Option<Arc<dyn Owner>> {
    let ranges = RANGES.read();
    let (base, entry) = ranges.range(..=address).next_back()?;
    (address - base < entry.bytes).then(|| entry.owner.upgrade())?
}

/// The regions and shared mappings of a space.
pub(super) fn beside(space: &Space) -> Vec<Allocation> {
    // Only owners of this space are taken hold of: what somebody holds cannot be dropped meanwhile, and other tenants'
    // memory must go back when they drop it.
    let own = std::ptr::from_ref(space).addr();
    let owners: Vec<_> = RANGES
        .read()
        .iter()
        .filter(|(_, e)| e.space == own)
        .filter_map(|(base, e)| Some((*base, e.owner.upgrade()?)))
        .collect();
    owners.iter().filter(|(_, o)| o.kind() != Kind::Pool).filter_map(|(base, o)| o.lookup(*base)).collect()
}

/// The device, the tenant's name and the live allocation that holds `address`, whoever it belongs to: a pool
/// allocation, the mapped part of a region, or a shared mapping. `None` for memory that no tenant holds.
pub fn owner_of(address: DevicePtr) -> Option<(Arc<dyn Device>, String, Allocation)> {
    let owner = owner(address)?;
    let allocation = owner.lookup(address)?;
    Some((owner.device().clone(), owner.tenant().to_string(), allocation))
}

/// The tenant in whose address range `address` lies, whether anything is allocated there now or not.
pub fn tenant_of(address: DevicePtr) -> Option<String> {
    Some(owner(address)?.tenant().to_string())
}
