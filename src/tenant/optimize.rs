//! Named requirements of an LLM, and what they become: limits, what is set aside, share and priorities.

use super::Tenant;
use super::keys::{self, Map};
use crate::compute::Priority;
use crate::{Error, Result};

/// Keys of [`Requirements`].
pub const REQUIREMENT_KEYS: [&str; 7] = [
    "memory_priority",
    "compute_priority",
    "stream_priority",
    "max_memory",
    "max_cores",
    "weight",
    "enable_profiling",
];

/// What an LLM is to have. `None` leaves as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Requirements {
    /// How much of the memory limit is set aside so that others cannot take it: all of it for critical, half for high,
    /// nothing for the others.
    pub memory: Option<Priority>,
    /// Its priority at the gate, and with it that of its model's stream unless `streams` says another.
    pub compute: Option<Priority>,
    /// The priority of its model's stream and of streams that are made from now on.
    pub streams: Option<Priority>,
    /// The most bytes it may hold.
    pub limit: Option<u64>,
    /// Cores or SMs of its own node.
    pub cores: Option<u32>,
    /// Its weight at the gate.
    pub weight: Option<f64>,
    /// Whether its work is profiled.
    pub profiling: Option<bool>,
}

impl Requirements {
    /// Reads [`REQUIREMENT_KEYS`]; others are refused by name.
    pub fn read(map: &Map) -> Result<Requirements> {
        keys::check_keys(map, &[&REQUIREMENT_KEYS])?;
        let priority = |key: &str| {
            let named = map.get(key).map(|p| Priority::from_name(p)).transpose();
            named.map_err(|_| {
                let known = "critical, high, normal, low or background";
                Error::argument(key, format!("{:?} is not {known}", map[key]))
            })
        };
        Ok(Requirements {
            memory: priority("memory_priority")?,
            compute: priority("compute_priority")?,
            streams: priority("stream_priority")?,
            limit: keys::mib(map, "max_memory")?,
            cores: keys::positive(map, "max_cores")?,
            weight: keys::weight(map, "weight")?,
            profiling: keys::flag(map, "enable_profiling")?,
        })
    }
}

/// What an optimisation changes, to undo it.
struct Before {
    limit: u64,
    floor: u64,
    aside: u64,
    weight: f64,
    priority: u8,
    streams: Option<i32>,
    processors: u32,
}

impl Tenant {
    /// Gives the tenant what is asked for, all of it or nothing.
    ///
    /// Its model moves to a stream of the new priority, and to a node of the new size, between two steps; streams that
    /// the application holds keep the priority they were made with. `cores` is the size of the node that is made for
    /// it; nodes that it was given stay.
    pub fn optimize(&self, wanted: &Requirements) -> Result<()> {
        let mut aside = self.aside.lock();
        let streams = self.compute.lock().stream_priority;
        let before = Before {
            limit: self.account.limit(),
            floor: self.account.floor(),
            aside: *aside,
            weight: self.share.weight(),
            priority: self.share.priority(),
            streams,
            processors: self.processors_wanted(),
        };
        let limit = wanted.limit.unwrap_or(before.limit);
        let part = match wanted.memory {
            Some(Priority::Critical) => limit,
            Some(Priority::High) => limit / 2,
            Some(_) => 0,
            None => before.aside.min(limit),
        };
        // What a slice has set aside stays, within the limit.
        let floor = before.floor.saturating_sub(before.aside).saturating_add(part).min(limit);
        let done = self.apply(wanted, &before, limit, floor);
        match done {
            Ok(()) => *aside = part,
            Err(_) => self.undo(&before),
        }
        done
    }

    fn apply(&self, wanted: &Requirements, before: &Before, limit: u64, floor: u64) -> Result<()> {
        // The floor is never above the limit, whichever way both move.
        self.account.set_floor(floor.min(before.floor)).map_err(|e| e.within("memory_priority"))?;
        self.account.set_limit(limit).map_err(|e| e.within("max_memory"))?;
        self.account.set_floor(floor).map_err(|e| e.within("memory_priority"))?;
        if let Some(cores) = wanted.cores {
            self.set_processors(cores).map_err(|e| e.within("max_cores"))?;
        }
        wanted.weight.map_or(Ok(()), |w| self.share.set_weight(w))?;
        wanted.compute.map_or(Ok(()), |p| self.set_priority(p as u8))?;
        if let Some(streams) = wanted.streams {
            self.set_stream_priority(Some(i32::from(streams as u8) - 2));
        }
        if let Some(on) = wanted.profiling {
            self.subject().set(on);
        }
        Ok(())
    }

    fn undo(&self, before: &Before) {
        // Back to what was allowed a moment ago; the error that matters is the one that brought us here.
        let _ = self.account.set_floor(before.floor.min(self.account.floor()));
        let _ = self.account.set_limit(before.limit);
        let _ = self.account.set_floor(before.floor);
        let _ = self.set_processors(before.processors);
        let _ = self.share.set_weight(before.weight);
        let _ = self.set_priority(before.priority);
        self.set_stream_priority(before.streams);
    }
}
