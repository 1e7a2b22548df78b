//! Configurations as text: keys to values, checked and named when they are wrong.

use crate::{Error, Result};
use std::collections::BTreeMap;
use std::str::FromStr;

/// Configurations, requirements and parameters: keys to values.
pub type Map = BTreeMap<String, String>;

const MIB: u64 = 1 << 20;

/// Refuses keys that are not in `known`, by name.
pub fn check_keys(map: &Map, known: &[&[&str]]) -> Result<()> {
    match map.keys().find(|key| !known.iter().any(|list| list.contains(&key.as_str()))) {
        None => Ok(()),
        Some(key) => {
            let mut list: Vec<_> = known.concat();
            list.sort_unstable();
            Err(Error::argument(key, "is no known key").advise(format!("known are: {}", list.join(", "))))
        }
    }
}

/// The number under `key`, if there is one.
pub fn number<T: FromStr>(map: &Map, key: &str) -> Result<Option<T>> {
    let Some(text) = map.get(key) else { return Ok(None) };
    let kind = match std::any::type_name::<T>() {
        "u32" => "whole number from 0 to 4294967295",
        "u64" | "usize" => "whole number of 0 or more",
        _ => "number",
    };
    text.trim().parse().map(Some).map_err(|_| Error::argument(key, format!("{text:?} is no {kind}")))
}

/// The same for a number that must not be 0.
pub fn positive<T: FromStr + Default + PartialEq>(map: &Map, key: &str) -> Result<Option<T>> {
    match number(map, key)? {
        Some(n) if n == T::default() => Err(Error::argument(key, "must not be 0")),
        other => Ok(other),
    }
}

/// Bytes out of a number of MiB.
pub fn mib(map: &Map, key: &str) -> Result<Option<u64>> {
    match number::<u64>(map, key)? {
        None => Ok(None),
        Some(0) => Err(Error::argument(key, "must not be 0 (it is in MiB)")),
        Some(mib) => match mib.checked_mul(MIB) {
            Some(bytes) => Ok(Some(bytes)),
            None => Err(Error::argument(key, "is too large (it is in MiB)")),
        },
    }
}

/// A weight: a finite number above 0.
pub fn weight(map: &Map, key: &str) -> Result<Option<f64>> {
    match number::<f64>(map, key)? {
        Some(w) if !(w.is_finite() && w > 0.0) => {
            Err(Error::argument(key, format!("{w} is not a finite number above 0")))
        }
        other => Ok(other),
    }
}

/// `true`, `1`, `false` or `0`.
pub fn flag(map: &Map, key: &str) -> Result<Option<bool>> {
    match map.get(key).map(String::as_str) {
        None => Ok(None),
        Some("false" | "0") => Ok(Some(false)),
        Some("true" | "1") => Ok(Some(true)),
        Some(other) => Err(Error::argument(key, format!("{other:?} is not true or false"))),
    }
}
