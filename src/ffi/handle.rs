//! Handles: what C holds of an object.
//!
//! A handle is no address. Its bits are a type tag, a generation and a slot number, so that a handle that was freed,
//! made up, or is of another type is found out instead of being followed.

use crate::{Error, Result};
use parking_lot::RwLock;
use std::sync::Arc;

/// A table of the live objects of one type. `H` is the opaque C type.
pub(super) struct Table<H, T> {
    tag: u8,
    name: &'static str,
    slots: RwLock<Slots<T>>,
    _opaque: std::marker::PhantomData<fn(H)>,
}

struct Slots<T> {
    entries: Vec<(u32, Option<Arc<T>>)>,
    free: Vec<u32>,
}

impl<H, T> Table<H, T> {
    /// An empty table. `tag` must differ from every other table's, `name` is the C type for error texts.
    pub(super) const fn new(tag: u8, name: &'static str) -> Self {
        let slots = Slots { entries: Vec::new(), free: Vec::new() };
        Table { tag, name, slots: RwLock::new(slots), _opaque: std::marker::PhantomData }
    }

    /// Gives an object a handle.
    pub(super) fn insert(&self, object: Arc<T>) -> *mut H {
        let mut slots = self.slots.write();
        let index = match slots.free.pop() {
            Some(index) => index,
            None => {
                slots.entries.push((0, None));
                (slots.entries.len() - 1) as u32
            }
        };
        let (generation, place) = &mut slots.entries[index as usize];
        *generation = (*generation + 1) & 0xff_ffff;
        *place = Some(object);
        let bits = u64::from(self.tag) << 56 | u64::from(*generation) << 32 | u64::from(index + 1);
        std::ptr::without_provenance_mut(bits as usize)
    }

    /// The object behind a handle.
    pub(super) fn get(&self, argument: &str, handle: *const H) -> Result<Arc<T>> {
        let (index, generation) = self.parse(argument, handle)?;
        let slots = self.slots.read();
        match slots.entries.get(index) {
            Some((g, Some(object))) if *g == generation => Ok(object.clone()),
            _ => Err(self.dead(argument)),
        }
    }

    /// Takes the object out; the handle is dead from now on. `None` for a null handle.
    pub(super) fn remove(&self, argument: &str, handle: *const H) -> Result<Option<Arc<T>>> {
        if handle.is_null() {
            return Ok(None);
        }
        let (index, generation) = self.parse(argument, handle)?;
        let mut slots = self.slots.write();
        let taken = match slots.entries.get_mut(index) {
            Some((g, place)) if *g == generation => place.take(),
            _ => None,
        };
        let object = taken.ok_or_else(|| self.dead(argument))?;
        slots.free.push(index as u32);
        Ok(Some(object))
    }

    fn parse(&self, argument: &str, handle: *const H) -> Result<(usize, u32)> {
        let bits = handle.addr() as u64;
        if bits == 0 {
            return Err(Error::argument(argument, format!("the {} is NULL", self.name)));
        }
        let index = bits as u32;
        if (bits >> 56) as u8 != self.tag || index == 0 {
            return Err(Error::argument(argument, format!("{bits:#x} is no {}", self.name)));
        }
        Ok((index as usize - 1, (bits >> 32) as u32 & 0xff_ffff))
    }

    fn dead(&self, argument: &str) -> Error {
        Error::argument(argument, format!("the {} was freed", self.name))
            .advise("a handle is dead after its _free or _close function")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dead_foreign_and_made_up_handles_are_told_apart() {
        struct Opaque;
        static TABLE: Table<Opaque, u32> = Table::new(9, "cw_thing");
        let a = TABLE.insert(Arc::new(1));
        assert_eq!(*TABLE.get("thing", a).unwrap(), 1);
        assert_eq!(*TABLE.remove("thing", a).unwrap().unwrap(), 1);
        assert!(TABLE.get("thing", a).unwrap_err().message().contains("was freed"));
        let b = TABLE.insert(Arc::new(2));
        assert_ne!(a, b, "a slot that is used again gives another handle");
        assert!(TABLE.remove("thing", a).is_err());
        for made_up in [1usize, 0x7fff_0000_1000, usize::MAX] {
            assert!(TABLE.get("thing", std::ptr::without_provenance_mut(made_up)).is_err());
        }
        assert!(TABLE.remove("thing", std::ptr::null()).unwrap().is_none());
        assert!(TABLE.get("thing", std::ptr::null()).unwrap_err().message().contains("NULL"));
    }
}
