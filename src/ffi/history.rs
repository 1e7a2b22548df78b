//! The history of errors across the border.

use super::guard::{guard, out};
use super::map::{Map, export};
use super::types::{cw_map, cw_status};
use crate::telemetry::history::{self, Count, Entry};
use crate::telemetry::recovery::{self, Recovery};
use crate::{Category, Error, Status};
use std::time::{SystemTime, UNIX_EPOCH};

/// How many errors the history of this process holds: the newest 256, or as many as `cw_error_history_set_capacity`
/// allows. Errors that only ask for a larger buffer are not written down.
///
/// # Safety
/// `count` must be valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_error_history_count(count: *mut usize) -> cw_status {
    guard(call!("cw_error_history_count", count), || {
        // SAFETY: the caller's promise.
        *unsafe { out("count", count)? } = history::count();
        Ok(())
    })
}

/// The error at `index`, 0 being the newest, as text: `sequence` (counts up from 1), `time_us` (since 1970), `status`
/// and `category` (their names), `message`; and, where there is something to say, `advice`, `call` (of the driver or
/// the operating system, with arguments), `function` (the exported function, with arguments), `driver_code`, `os_code`.
/// Free the map.
///
/// # Safety
/// `entry` must be valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_error_history_at(index: usize, entry: *mut *mut cw_map) -> cw_status {
    guard(call!("cw_error_history_at", index, entry), || {
        // SAFETY: the caller's promise.
        let entry = unsafe { out("entry", entry)? };
        let found = history::at(index).ok_or_else(|| {
            Error::argument(
                "index",
                format!("{index} is beyond the {} errors that are kept", history::count()),
            )
        })?;
        *entry = export(describe(&found));
        Ok(())
    })
}

fn describe(entry: &Entry) -> Map {
    let e = &entry.error;
    let mut map = Map::new();
    let mut put = |key: &str, value: Option<String>| {
        if let Some(value) = value {
            map.insert(key.to_owned(), value);
        }
    };
    put("sequence", Some(entry.sequence.to_string()));
    put("time_us", Some(microseconds(Some(entry.time)).to_string()));
    put("status", Some(e.status().name().to_owned()));
    put("category", Some(e.category().name().to_owned()));
    put("message", Some(e.message().to_owned()));
    put("advice", e.advice().map(str::to_owned));
    put("call", e.call().map(str::to_owned));
    put("function", e.place().map(str::to_owned));
    put("driver_code", e.driver_code().map(|c| c.to_string()));
    put("os_code", e.os_code().map(|c| c.to_string()));
    map
}

fn microseconds(time: Option<SystemTime>) -> u128 {
    time.and_then(|t| t.duration_since(UNIX_EPOCH).ok()).map_or(0, |d| d.as_micros())
}

/// Forgets all errors and sets the counts of `cw_error_statistics` to 0, except those of recoveries.
#[unsafe(no_mangle)]
pub extern "C" fn cw_error_history_clear() -> cw_status {
    guard(call!("cw_error_history_clear"), || {
        history::clear();
        Ok(())
    })
}

/// Keeps at most `capacity` errors from now on, at most 1048576; 0 only counts them. The oldest go first.
#[unsafe(no_mangle)]
pub extern "C" fn cw_error_history_set_capacity(capacity: usize) -> cw_status {
    guard(call!("cw_error_history_set_capacity", capacity), || history::set_capacity(capacity))
}

/// How many errors there were, as text: `total.count`, `total.first_us`, `total.last_us` (microseconds since 1970); the
/// same for each status and category that occurred (`status.out_of_memory.count`, `category.memory.count`);
/// `recovery.memory.attempts` and `.successes` (memory ran out, caches were freed, the call made again),
/// `recovery.context.…` (a lost device opened anew), `recovery.fallback.…` (the CPU device in place of a GPU);
/// `history.held`, `history.capacity`. Free the map.
///
/// # Safety
/// `statistics` must be valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_error_statistics(statistics: *mut *mut cw_map) -> cw_status {
    guard(call!("cw_error_statistics", statistics), || {
        // SAFETY: the caller's promise.
        let statistics = unsafe { out("statistics", statistics)? };
        let s = history::statistics();
        let mut map = Map::new();
        let mut put = |key: String, count: Count| {
            map.insert(format!("{key}.count"), count.count.to_string());
            map.insert(format!("{key}.first_us"), microseconds(count.first).to_string());
            map.insert(format!("{key}.last_us"), microseconds(count.last).to_string());
        };
        put("total".to_owned(), s.total);
        for (status, count) in Status::ALL.iter().zip(s.by_status).filter(|(_, c)| c.count > 0) {
            put(format!("status.{}", status.name()), count);
        }
        for (category, count) in Category::ALL.iter().zip(s.by_category).filter(|(_, c)| c.count > 0) {
            put(format!("category.{}", category.name()), count);
        }
        for way in Recovery::ALL {
            let (attempts, successes) = recovery::counts(way);
            map.insert(format!("recovery.{}.attempts", way.name()), attempts.to_string());
            map.insert(format!("recovery.{}.successes", way.name()), successes.to_string());
        }
        map.insert("history.held".to_owned(), s.held.to_string());
        map.insert("history.capacity".to_owned(), s.capacity.to_string());
        *statistics = export(map);
        Ok(())
    })
}
