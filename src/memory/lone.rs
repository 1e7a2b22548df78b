//! Allocations that the device's own driver makes one by one: those of the standard path
//! ([`crate::device::Path::direct`] off). They are charged, checked, found and scrubbed as the pool's are.

use super::source::Shortage;
use super::space::Space;
use super::{Allocation, UNIT, age, now, registry};
use crate::device::{DeviceKind, DevicePtr};
use crate::{Result, Status};
use std::collections::BTreeMap;

/// By address.
pub(super) type Lones = BTreeMap<DevicePtr, Lone>;

pub(super) struct Lone {
    bytes: u64,
    units: u32,
    tag: String,
    born: u64,
}

impl Lone {
    /// What was asked of the device.
    fn whole(&self) -> u64 {
        u64::from(self.units) * UNIT
    }

    fn describe(&self, ptr: DevicePtr) -> Allocation {
        Allocation { ptr, bytes: self.bytes, tag: self.tag.clone(), age: age(self.born) }
    }
}

impl Space {
    /// One allocation of the device's driver, or `None` when it has no such allocations, none so aligned, or when the
    /// pool's granules leave no room beside them: then the pool serves.
    pub(super) fn alloc_lone(&self, bytes: u64, align: u64, tag: &str) -> Result<Option<DevicePtr>> {
        let units = self.account.take(bytes, tag)?;
        let lone = Lone { bytes, units, tag: tag.to_string(), born: now() };
        let whole = lone.whole();
        let taken = match self.take_plain(whole) {
            Ok(taken) => Ok(taken),
            Err(Shortage::Account) => {
                self.source.ledger.reclaim(Some(&self.account));
                self.take_plain(whole)
            }
            Err(Shortage::Device(_)) => {
                self.source.ledger.reclaim(None);
                self.take_plain(whole)
            }
            Err(other) => Err(other),
        };
        match taken {
            Ok(ptr) if ptr.is_multiple_of(align) => {
                self.lones.lock().insert(ptr, lone);
                registry::add(ptr, whole, self, self.this.clone());
                Ok(Some(ptr))
            }
            Ok(ptr) => {
                // Nobody knows the address yet.
                let given = self.source.device.plain_free(ptr, whole);
                self.give_plain(&lone);
                given.map(|()| None)
            }
            Err(shortage) => {
                self.account.refund(units);
                match shortage {
                    // Part-filled granules of the pool count too: what is free in them may serve.
                    Shortage::Account => Ok(None),
                    Shortage::Device(e) | Shortage::Other(e) if e.status() != Status::Unsupported => {
                        let name = self.account.name();
                        Err(e.within(format!("tenant {name:?} wanted {bytes} bytes for {tag:?}")))
                    }
                    _ => Ok(None),
                }
            }
        }
    }

    fn take_plain(&self, bytes: u64) -> std::result::Result<DevicePtr, Shortage> {
        if !self.account.take_footprint(bytes) {
            return Err(Shortage::Account);
        }
        self.account.fix(bytes);
        let device = &self.source.device;
        let given = self.source.ledger.take(Some(&self.account), bytes).and_then(|()| {
            let made = device.plain_alloc(bytes).and_then(|ptr| {
                if device.kind() == DeviceKind::Cpu {
                    return Ok(ptr);
                }
                // SAFETY: ours, writable, and nobody else knows the address.
                let scrubbed = unsafe { device.fill(ptr, 0, bytes, None) };
                scrubbed.map(|()| ptr).inspect_err(|_| {
                    // The error that matters is the fill's.
                    let _ = device.plain_free(ptr, bytes);
                })
            });
            made.inspect_err(|_| self.source.ledger.give(bytes))
        });
        given.map_err(|e| {
            self.account.unfix(bytes);
            self.account.give_footprint(bytes);
            if e.status() == Status::OutOfMemory { Shortage::Device(e) } else { Shortage::Other(e) }
        })
    }

    fn give_plain(&self, lone: &Lone) {
        self.source.ledger.give(lone.whole());
        self.account.unfix(lone.whole());
        self.account.give_footprint(lone.whole());
        self.account.refund(lone.units);
    }

    /// Frees one; `None` when there is none that starts at this address. Work in flight of the tenant is waited for.
    pub(super) fn free_lone(&self, ptr: DevicePtr) -> Option<Result<()>> {
        let lone = self.lones.lock().remove(&ptr)?;
        registry::remove(ptr);
        let freed = self.wait_for_work().and_then(|()| self.source.device.plain_free(ptr, lone.whole()));
        if freed.is_ok() {
            self.give_plain(&lone);
        } else {
            registry::add(ptr, lone.whole(), self, self.this.clone());
            self.lones.lock().insert(ptr, lone);
        }
        Some(freed)
    }

    /// The one that holds an address.
    pub(super) fn lone_over(&self, address: DevicePtr) -> Option<Allocation> {
        let lones = self.lones.lock();
        let (&ptr, lone) = lones.range(..=address).next_back()?;
        (address - ptr < lone.whole()).then(|| lone.describe(ptr))
    }

    /// All of them.
    pub(super) fn all_lones(&self) -> Vec<Allocation> {
        self.lones.lock().iter().map(|(&ptr, lone)| lone.describe(ptr)).collect()
    }

    /// Gives all of them back, when the space goes. Work in flight was waited for.
    pub(super) fn abandon_lones(&mut self) {
        for (ptr, lone) in std::mem::take(self.lones.get_mut()) {
            registry::remove(ptr);
            // A device that is lost has freed it already.
            let _ = self.source.device.plain_free(ptr, lone.whole());
            self.give_plain(&lone);
        }
    }
}
