//! `cw_map`: configurations and figures as text, key by key.

use super::guard::{guard, out};
use super::handle::Table;
use super::text::{text, write_text};
use super::types::{cw_map, cw_status};
use crate::{Error, Result};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::ffi::c_char;
use std::sync::Arc;

pub(super) type Map = BTreeMap<String, String>;

static MAPS: Table<cw_map, Mutex<Map>> = Table::new(1, "cw_map");

/// Gives a map a handle.
pub(super) fn export(map: Map) -> *mut cw_map {
    MAPS.insert(Arc::new(Mutex::new(map)))
}

/// Lends a map to a function of the application for the time of its call.
pub(super) fn lend<T>(map: Map, call: impl FnOnce(*const cw_map) -> T) -> T {
    struct Lent(*mut cw_map);
    impl Drop for Lent {
        fn drop(&mut self) {
            // The application may have freed it against the contract; then it is gone, which is all that is wanted.
            let _ = MAPS.remove("map", self.0);
        }
    }
    let lent = Lent(export(map));
    call(lent.0)
}

/// A copy of the caller's map; null counts as empty.
pub(super) fn import(argument: &str, map: *const cw_map) -> Result<Map> {
    if map.is_null() {
        return Ok(Map::new());
    }
    Ok(MAPS.get(argument, map)?.lock().clone())
}

/// Makes an empty map. Free it with `cw_map_free`.
///
/// # Safety
/// `map` must be valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_map_create(map: *mut *mut cw_map) -> cw_status {
    guard(call!("cw_map_create", map), || {
        // SAFETY: the caller's promise.
        *unsafe { out("map", map)? } = export(Map::new());
        Ok(())
    })
}

/// Sets `key` to `value`, replacing what was there.
///
/// # Safety
/// `key` and `value` must be NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_map_set(map: *mut cw_map, key: *const c_char, value: *const c_char) -> cw_status {
    guard(call!("cw_map_set", map, key, value), || {
        // SAFETY: the caller's promise.
        let (key, value) = unsafe { (text("key", key)?, text("value", value)?) };
        MAPS.get("map", map)?.lock().insert(key.to_owned(), value.to_owned());
        Ok(())
    })
}

/// The value of `key`, to the caller's buffer; `CW_ERROR_NOT_FOUND` when there is none.
///
/// # Safety
/// `key` must be NUL-terminated; the buffer as the contract says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_map_get(
    map: *const cw_map,
    key: *const c_char,
    buffer: *mut c_char,
    length: usize,
    needed: *mut usize,
) -> cw_status {
    guard(call!("cw_map_get", map, key, buffer, length, needed), || {
        // SAFETY: the caller's promise.
        let key = unsafe { text("key", key)? };
        let map = MAPS.get("map", map)?;
        let map = map.lock();
        let value = map.get(key).ok_or_else(|| Error::not_found(format!("the map has no key {key:?}")))?;
        // SAFETY: the caller's promise.
        unsafe { write_text(value, buffer, length, needed) }
    })
}

/// How many keys the map has.
///
/// # Safety
/// `count` must be valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_map_count(map: *const cw_map, count: *mut usize) -> cw_status {
    guard(call!("cw_map_count", map, count), || {
        // SAFETY: the caller's promise.
        let count = unsafe { out("count", count)? };
        *count = MAPS.get("map", map)?.lock().len();
        Ok(())
    })
}

/// The key at `index` (0 to count - 1, in the order of the keys), to the caller's buffer.
///
/// # Safety
/// The buffer as the contract says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_map_key(
    map: *const cw_map,
    index: usize,
    buffer: *mut c_char,
    length: usize,
    needed: *mut usize,
) -> cw_status {
    guard(call!("cw_map_key", map, index, buffer, length, needed), || {
        let map = MAPS.get("map", map)?;
        let map = map.lock();
        let key = map.keys().nth(index).ok_or_else(|| {
            Error::argument("index", format!("{index} is beyond the map's {} keys", map.len()))
        })?;
        // SAFETY: the caller's promise.
        unsafe { write_text(key, buffer, length, needed) }
    })
}

/// Frees a map. `NULL` is ignored.
///
/// # Safety
/// Always safe; marked so like every exported function that takes a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_map_free(map: *mut cw_map) -> cw_status {
    guard(call!("cw_map_free", map), || MAPS.remove("map", map).map(drop))
}
