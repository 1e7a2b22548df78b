//! Host memory that counts as a tenant's: the device addresses it as the host does.

use super::registry::{self, Kind, Owner};
use super::space::Space;
use super::{Allocation, Charge, age, now};
use crate::device::{DevicePtr, HostMemory};
use crate::{Error, Result, Status};
use std::sync::{Arc, Weak};

/// Host memory charged to a tenant and known by its address like memory of its space. Given back when dropped; work of
/// the tenant's streams is waited for then.
pub struct Hosted(Arc<Inner>);

struct Inner {
    space: Arc<Space>,
    memory: Option<Box<dyn HostMemory>>,
    bytes: u64,
    tag: String,
    born: u64,
    _charge: Charge,
}

impl Hosted {
    /// Charges `bytes` and then calls `make` for the memory.
    pub fn new(
        space: &Arc<Space>,
        bytes: u64,
        tag: &str,
        make: impl FnOnce() -> Result<Box<dyn HostMemory>>,
    ) -> Result<Hosted> {
        if bytes == 0 {
            return Err(Error::argument("size", "must not be 0"));
        }
        let charge = space.account.charge(bytes, tag)?;
        let memory = make()?;
        let address = memory.address();
        if registry::owner(address).is_some() {
            return Err(Error::new(Status::Internal, "host memory inside of a tenant's range"));
        }
        let inner = Arc::new(Inner {
            space: space.clone(),
            memory: Some(memory),
            bytes,
            tag: tag.to_owned(),
            born: now(),
            _charge: charge,
        });
        let owner: Weak<Inner> = Arc::downgrade(&inner);
        registry::add(address, bytes, Arc::as_ptr(space), owner);
        Ok(Hosted(inner))
    }

    /// First byte, for host and device alike.
    pub fn ptr(&self) -> DevicePtr {
        self.0.address()
    }

    /// Bytes.
    pub fn bytes(&self) -> u64 {
        self.0.bytes
    }
}

impl Inner {
    fn address(&self) -> DevicePtr {
        self.memory.as_ref().map_or(0, |m| m.address())
    }
}

impl Owner for Inner {
    fn kind(&self) -> Kind {
        Kind::Hosted
    }

    fn space(&self) -> &Space {
        &self.space
    }

    fn lookup(&self, address: DevicePtr) -> Option<Allocation> {
        let ptr = self.address();
        let inside = address.checked_sub(ptr).is_some_and(|offset| offset < self.bytes);
        inside.then(|| Allocation { ptr, bytes: self.bytes, tag: self.tag.clone(), age: age(self.born) })
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        registry::remove(self.address());
        // A device that cannot be waited for any more (lost) has no work in flight either.
        let _ = self.space.wait_for_work();
        self.memory = None;
    }
}
