//! The driver's configuration: text keys, checked, each of which takes effect. What is read back is what is in force.

use super::{Driver, install};
use crate::{Error, Result, Status};
use std::collections::BTreeMap;

/// Keys to values.
pub type Map = BTreeMap<String, String>;

/// How much is switched on by `optimization_level`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    /// Nothing: the standard path.
    None,
    /// The direct path. The default.
    Low,
    /// And transfers on streams of their own.
    Medium,
    /// And pools that keep more; peer access between GPUs where they can.
    High,
}

const LEVELS: [(&str, Level); 4] =
    [("none", Level::None), ("low", Level::Low), ("medium", Level::Medium), ("high", Level::High)];

/// A key whose value is `true` or `false`.
struct Switch {
    name: &'static str,
    /// The lowest level at which it is on.
    from: Level,
    /// Whether every machine has it. One that has not goes without at its level; asking for it by its key is an error.
    everywhere: bool,
    on: fn(&Driver) -> Result<bool>,
    set: fn(&Driver, bool) -> Result<()>,
}

/// All switches, in the order in which they are set. A new optimisation is one more entry.
const SWITCHES: &[Switch] = &[
    Switch {
        name: "direct_access",
        from: Level::Low,
        everywhere: true,
        on: Driver::direct_access,
        set: |d, on| if on { d.enable_direct_access() } else { d.disable_direct_access() },
    },
    Switch {
        name: "async_transfers",
        from: Level::Medium,
        everywhere: true,
        on: Driver::async_transfers,
        set: |d, on| if on { d.enable_async_transfers() } else { d.disable_async_transfers() },
    },
    Switch {
        name: "memory_optimization",
        from: Level::High,
        everywhere: true,
        on: Driver::memory_optimization,
        set: |d, on| if on { d.enable_memory_optimization() } else { d.disable_memory_optimization() },
    },
    Switch {
        name: "nvlink",
        from: Level::High,
        everywhere: false,
        on: |d| Ok(!d.nvlink_pairs().is_empty()),
        set: |d, on| if on { d.enable_nvlink().map(drop) } else { d.disable_nvlink() },
    },
    Switch {
        name: "tensor_cores",
        from: Level::High,
        everywhere: false,
        on: Driver::tensor_cores,
        set: |d, on| if on { d.enable_tensor_cores() } else { d.disable_tensor_cores() },
    },
];

/// A key whose value is text of its own.
struct Setting {
    name: &'static str,
    check: fn(&str) -> Result<()>,
    get: fn(&Driver) -> Result<String>,
    set: fn(&Driver, &str) -> Result<()>,
}

/// All settings. No level changes them.
const SETTINGS: &[Setting] = &[Setting {
    name: "multiple_llms",
    check: |text| super::tenancy::parse(text).map(drop),
    get: Driver::arrangement,
    set: |d, text| d.set_arrangement(super::tenancy::parse(text)?),
}];

const LEVEL_KEY: &str = "optimization_level";

/// What a configuration asks of each switch: nothing, or on or off, and whether it was asked for by its own key.
fn wanted(config: &Map) -> Result<Vec<Option<(bool, bool)>>> {
    let level = match config.get(LEVEL_KEY).map(String::as_str) {
        None => None,
        // What is read back when the switches fit no level: it changes none.
        Some("custom") => None,
        Some(text) => Some(LEVELS.iter().find(|(name, _)| *name == text).map(|l| l.1).ok_or_else(|| {
            Error::argument(LEVEL_KEY, format!("{text:?} is not one of none, low, medium, high"))
        })?),
    };
    let one = |switch: &Switch| match config.get(switch.name).map(String::as_str) {
        None => Ok(level.map(|level| (level >= switch.from, false))),
        Some("true" | "1") => Ok(Some((true, true))),
        Some("false" | "0") => Ok(Some((false, true))),
        Some(other) => Err(Error::argument(switch.name, format!("{other:?} is not true or false"))),
    };
    SWITCHES.iter().map(one).collect()
}

/// The keys of the installation in a configuration, which the installer checks and keeps, and the others.
fn split(config: &Map) -> (Map, Map) {
    config.iter().map(|(k, v)| (k.clone(), v.clone())).partition(|(key, _)| install::is_key(key))
}

/// Refuses unknown keys and values, by name.
fn check(config: &Map) -> Result<Vec<Option<(bool, bool)>>> {
    let known = || {
        let settings = SETTINGS.iter().map(|s| s.name);
        std::iter::once(LEVEL_KEY)
            .chain(SWITCHES.iter().map(|s| s.name))
            .chain(settings)
            .chain(install::keys())
    };
    if let Some(key) = config.keys().find(|key| !known().any(|k| k == *key)) {
        let mut list: Vec<_> = known().collect();
        list.sort_unstable();
        return Err(Error::argument(key, "is no known key").advise(format!("known are: {}", list.join(", "))));
    }
    for setting in SETTINGS {
        if let Some(value) = config.get(setting.name) {
            (setting.check)(value).map_err(|e| e.within(setting.name))?;
        }
    }
    wanted(config)
}

/// The level at which the switches are just so; `custom` when there is none. One that not every machine has may be off.
fn level_of(on: &[bool]) -> &'static str {
    let fits = |level: Level| {
        SWITCHES.iter().zip(on).all(|(s, &on)| on == (level >= s.from) || (!on && !s.everywhere))
    };
    LEVELS.iter().find(|(_, level)| fits(*level)).map_or("custom", |l| l.0)
}

impl Driver {
    /// Changes keys; the others stay. All of them take effect or none does. A key's own value goes before what
    /// `optimization_level` says of it. Before `initialize` it is checked and kept, and takes effect there.
    ///
    /// | key | values | default |
    /// |---|---|---|
    /// | `optimization_level` | `none`, `low`, `medium`, `high`: sets the switches below | `low` |
    /// | `direct_access` | `true`, `false` | on from `low` |
    /// | `async_transfers` | `true`, `false` | on from `medium` |
    /// | `memory_optimization` | `true`, `false` | on at `high` |
    /// | `nvlink` | `true` (an error where no two GPUs can), `false` | on at `high` where GPUs can |
    /// | `tensor_cores` | `true` (an error where there are none), `false` | on at `high` where there are some |
    /// | `multiple_llms` | `any` (one node a unit), `1` (one node of all), `2` to `16` (slices) | `any` |
    ///
    /// And the keys of the installation; see [`Driver::configure_installation`].
    pub fn configure(&self, config: &Map) -> Result<()> {
        let (installation, config) = split(config);
        let wanted = check(&config)?;
        let installation = self.checked_installation(&installation)?;
        self.configure_rest(&config, &wanted)?;
        self.put_installation(installation);
        Ok(())
    }

    fn configure_rest(&self, config: &Map, wanted: &[Option<(bool, bool)>]) -> Result<()> {
        let mut pending = self.pending.lock();
        if !self.is_initialized() {
            if config.contains_key(LEVEL_KEY) {
                // It speaks for every switch, as it would if they were set one after the other.
                pending.retain(|key, _| !SWITCHES.iter().any(|s| s.name == key));
            }
            pending.extend(config.iter().map(|(k, v)| (k.clone(), v.clone())));
            return Ok(());
        }
        let mut done: Vec<Box<dyn Fn() -> Result<()> + '_>> = Vec::new();
        let applied = self.apply(config, wanted, &mut done);
        if applied.is_err() {
            for undo in done.iter().rev() {
                // The error that matters is the one that brought us here.
                let _ = undo();
            }
        }
        applied
    }

    fn apply<'a>(
        &'a self,
        config: &Map,
        wanted: &[Option<(bool, bool)>],
        done: &mut Vec<Box<dyn Fn() -> Result<()> + 'a>>,
    ) -> Result<()> {
        for (switch, wanted) in SWITCHES.iter().zip(wanted) {
            let Some((on, named)) = *wanted else { continue };
            let before = (switch.on)(self)?;
            if before == on {
                continue;
            }
            match (switch.set)(self, on) {
                Ok(()) => done.push(Box::new(move || (switch.set)(self, before))),
                Err(e) if e.status() == Status::Unsupported && !switch.everywhere && !named => {}
                Err(e) => return Err(e.within(switch.name)),
            }
        }
        for setting in SETTINGS {
            let Some(value) = config.get(setting.name) else { continue };
            let before = (setting.get)(self)?;
            (setting.set)(self, value).map_err(|e| e.within(setting.name))?;
            done.push(Box::new(move || (setting.set)(self, &before)));
        }
        Ok(())
    }

    /// Puts what was configured before `initialize` into force.
    pub(super) fn apply_pending(&self) -> Result<()> {
        let config = self.pending.lock().clone();
        if config.is_empty() {
            return Ok(());
        }
        self.configure(&config)?;
        self.pending.lock().clear();
        Ok(())
    }

    /// What is in force, every key; before `initialize` what will be.
    pub fn configuration(&self) -> Result<Map> {
        let mut out = Map::new();
        let on: Vec<bool> = if self.is_initialized() {
            SWITCHES.iter().map(|s| (s.on)(self)).collect::<Result<_>>()?
        } else {
            let wanted = wanted(&self.pending.lock())?;
            let default = |s: &Switch| Level::Low >= s.from;
            SWITCHES.iter().zip(wanted).map(|(s, w)| w.map_or(default(s), |w| w.0)).collect()
        };
        out.insert(LEVEL_KEY.into(), level_of(&on).into());
        for (switch, on) in SWITCHES.iter().zip(&on) {
            out.insert(switch.name.into(), on.to_string());
        }
        for setting in SETTINGS {
            let value = match self.is_initialized() {
                true => (setting.get)(self)?,
                false => self.pending.lock().get(setting.name).cloned().unwrap_or_else(|| "any".into()),
            };
            out.insert(setting.name.into(), value);
        }
        out.extend(self.installation_settings());
        Ok(out)
    }
}
