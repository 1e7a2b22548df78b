//! What was measured: in memory, and in one file a device.

use super::candidate::DeviceId;
use super::files;
use super::work::{QuantizationOperation, ShapeClass};
use crate::{Error, Status};
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

const KIND: &str = "cogniware kernel choices 1";
/// Classes that are kept of a device; a program that asks for more sizes than these forgets the rest.
const MOST_CLASSES: usize = 4096;

/// What one measurement of a kernel gave.
#[derive(Clone, Debug)]
pub struct Measurement {
    /// The kernel's name.
    pub name: String,
    /// Its device.
    pub device: DeviceId,
    /// The kernel's version then.
    pub version: u32,
    /// Seconds of an execution, or why there are none.
    pub seconds: Result<f64, Error>,
    /// Items of the measured size.
    pub items: u64,
    /// Largest difference from the reference, relative to the reference's largest output; `None` without a reference.
    pub error: Option<f64>,
    /// Whether it was read from the disk.
    pub from_disk: bool,
}

type Key = (QuantizationOperation, ShapeClass);

/// Measurements by operation and class of sizes. Usable from any thread; several processes may share the files.
pub struct PerformanceCache {
    folder: Option<PathBuf>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    known: HashMap<Key, Vec<Measurement>>,
    /// Files of devices as they were read, by class and kernel.
    files: HashMap<String, BTreeMap<String, Value>>,
    notes: Vec<String>,
}

impl PerformanceCache {
    /// A cache with files in this folder; `None` keeps all in memory.
    pub fn at(folder: Option<PathBuf>) -> PerformanceCache {
        PerformanceCache { folder, state: Mutex::default() }
    }

    /// Where its files are.
    pub fn folder(&self) -> Option<&std::path::Path> {
        self.folder.as_deref()
    }

    /// What was wrong with files, oldest first.
    pub fn notes(&self) -> Vec<String> {
        self.state.lock().notes.clone()
    }

    /// What this process measured of a kernel of this version.
    pub(super) fn recall(&self, key: Key, name: &str, device: DeviceId, version: u32) -> Option<Measurement> {
        let same = |m: &&Measurement| m.name == name && m.device == device && m.version == version;
        self.state.lock().known.get(&key)?.iter().find(same).cloned()
    }

    /// The measurement of a kernel of this version. `identity` is the device's.
    pub(super) fn get(
        &self,
        (operation, class): Key,
        name: &str,
        device: DeviceId,
        version: u32,
        identity: &str,
    ) -> Option<Measurement> {
        if let Some(found) = self.recall((operation, class), name, device, version) {
            return Some(found);
        }
        let mut state = self.state.lock();
        let file = self.file(&mut state, identity)?;
        let entry = file.get(&entry_name(operation, class))?.get(name)?;
        let read = measurement(entry, name, device)?;
        (read.version == version).then_some(read)
    }

    /// The file of a device, read once.
    fn file<'a>(&self, state: &'a mut State, identity: &str) -> Option<&'a BTreeMap<String, Value>> {
        let (path, key) = self.path(identity)?;
        if !state.files.contains_key(&key) {
            let entries = match files::read(&path, KIND, &key) {
                Ok(Some(Value::Object(body))) => body.into_iter().take(MOST_CLASSES).collect(),
                Ok(None) => BTreeMap::new(),
                Ok(Some(_)) => note(state, format!("{} is not used: no list of choices", path.display())),
                Err(why) => note(state, why),
            };
            state.files.insert(key.clone(), entries);
        }
        state.files.get(&key)
    }

    fn path(&self, identity: &str) -> Option<(PathBuf, String)> {
        let key = files::key(&[KIND, identity]);
        Some((self.folder.as_ref()?.join(format!("choices-{key}.json")), key))
    }

    /// Keeps the measurements of a class in memory.
    pub(super) fn keep(&self, key: Key, all: &[Measurement]) {
        let mut state = self.state.lock();
        if state.known.len() >= MOST_CLASSES {
            state.known.clear();
        }
        state.known.insert(key, all.to_vec());
    }

    /// Keeps the measurements of a class in the place of earlier ones, and writes those of each device down.
    pub(super) fn put(&self, key: Key, all: &[Measurement], identities: &[(DeviceId, String)]) {
        self.keep(key, all);
        let mut state = self.state.lock();
        for (device, identity) in identities {
            let mut own = Map::new();
            for m in all.iter().filter(|m| m.device == *device) {
                let seconds = match &m.seconds {
                    Ok(seconds) => json!(seconds),
                    // What will be so the next time, too; a shortage of memory may not.
                    Err(e) if matches!(e.status(), Status::Unsupported | Status::Timeout) => {
                        json!(e.message())
                    }
                    Err(_) => continue,
                };
                let value =
                    json!({ "seconds": seconds, "items": m.items, "error": m.error, "version": m.version });
                own.insert(m.name.clone(), value);
            }
            let Some((path, file_key)) = self.path(identity) else { continue };
            // What other processes wrote since is kept.
            let mut entries = match files::read(&path, KIND, &file_key) {
                Ok(Some(Value::Object(body))) => body,
                _ => Map::new(),
            };
            let name = entry_name(key.0, key.1);
            while entries.len() >= MOST_CLASSES {
                let Some(first) = entries.keys().next().cloned() else { break };
                entries.remove(&first);
            }
            entries.insert(name, Value::Object(own));
            if let Err(e) = files::write(&path, KIND, &file_key, Value::Object(entries.clone())) {
                note(&mut state, format!("choices are not kept: {e}"));
            }
            state.files.insert(file_key, entries.into_iter().collect());
        }
    }

    /// Forgets all that was measured, on the disk as well.
    pub fn clear(&self, identities: &[String]) {
        let mut state = self.state.lock();
        state.known.clear();
        state.files.clear();
        for (path, _) in identities.iter().filter_map(|i| self.path(i)) {
            // It may never have been there.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Each thing is told once.
fn note(state: &mut State, text: String) -> BTreeMap<String, Value> {
    if !state.notes.contains(&text) && state.notes.len() < 64 {
        crate::log_later!(Warn, "lowbit", "{text}");
        state.notes.push(text);
    }
    BTreeMap::new()
}

fn entry_name(operation: QuantizationOperation, class: ShapeClass) -> String {
    format!("{} {}", operation.name(), class.name())
}

/// Reads a measurement; `None` where it says nothing that can be.
fn measurement(value: &Value, name: &str, device: DeviceId) -> Option<Measurement> {
    let seconds = match value.get("seconds")? {
        Value::String(why) => Err(Error::unsupported(why.chars().take(500).collect::<String>())),
        // A day is longer than any measurement.
        number => Ok(number.as_f64().filter(|s| *s > 0.0 && *s < 86_400.0)?),
    };
    let error = match value.get("error")? {
        Value::Null => None,
        number => Some(number.as_f64().filter(|e| *e >= 0.0)?),
    };
    let version = u32::try_from(value.get("version")?.as_u64()?).ok()?;
    let items = value.get("items")?.as_u64().filter(|n| *n > 0)?;
    Some(Measurement { name: name.into(), device, version, seconds, items, error, from_disk: true })
}
