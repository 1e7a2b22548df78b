//! What was recorded: figures for each series, and the last events for a trace. Memory is bounded whatever is recorded.

use super::histogram::Histogram;
use super::{Figures, Kind, Record};
use once_cell::sync::Lazy;
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

/// Most series (kind, name and tenant). What comes beyond them counts under the name [`OTHER`].
const MOST_SERIES: usize = 2048;
/// Most events that are kept for a trace; older ones are dropped and counted.
pub const TRACE_EVENTS: usize = 1 << 18;
/// Most names of kernels, tenants and lanes.
const MOST_NAMES: usize = 1 << 14;
/// Names of which there are too many.
const OTHER: &str = "(other)";

type Key = (Kind, u32, u32);

/// One thing that happened, for a trace. Times are nanoseconds of the profiler's clock.
#[derive(Clone, Copy)]
pub(crate) struct Event {
    pub kind: Kind,
    pub name: u32,
    pub tenant: u32,
    pub lane: u32,
    pub start: u64,
    pub duration: u64,
    pub bytes: u64,
    pub items: u64,
    /// Below 0: not known.
    pub occupancy: f32,
}

struct Series {
    count: u64,
    total: u64,
    min: u64,
    max: u64,
    bytes: u64,
    items: u64,
    /// Occupancy times nanoseconds, and the nanoseconds of records that had one.
    occupied: f64,
    occupancy_of: u64,
    histogram: Histogram,
}

impl Series {
    fn new() -> Series {
        Series {
            count: 0,
            total: 0,
            min: u64::MAX,
            max: 0,
            bytes: 0,
            items: 0,
            occupied: 0.0,
            occupancy_of: 0,
            histogram: Histogram::new(),
        }
    }

    fn add(&mut self, record: &Record<'_>) {
        self.count += 1;
        self.total += record.duration;
        self.min = self.min.min(record.duration);
        self.max = self.max.max(record.duration);
        self.bytes = self.bytes.saturating_add(record.bytes);
        self.items += record.items;
        if let Some(occupancy) = record.occupancy {
            // A duration of 0 still counts a little, so that the mean is of something.
            let weight = record.duration.max(1);
            self.occupied += f64::from(occupancy) * weight as f64;
            self.occupancy_of += weight;
        }
        self.histogram.add(record.duration);
    }

    fn merge(&mut self, other: &Series) {
        self.count += other.count;
        self.total += other.total;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.items += other.items;
        self.occupied += other.occupied;
        self.occupancy_of += other.occupancy_of;
        self.histogram.merge(&other.histogram);
    }

    fn figures(&self, kind: Kind, name: &str, tenant: &str) -> Figures {
        let seconds = |ns: u64| ns as f64 / 1e9;
        let within = |ns: u64| seconds(ns.clamp(self.min, self.max));
        Figures {
            kind,
            name: name.to_owned(),
            tenant: tenant.to_owned(),
            count: self.count,
            total: seconds(self.total),
            min: seconds(self.min),
            mean: seconds(self.total) / self.count as f64,
            p50: within(self.histogram.quantile(0.5)),
            p99: within(self.histogram.quantile(0.99)),
            max: seconds(self.max),
            bytes: self.bytes,
            items: self.items,
            occupancy: (self.occupancy_of > 0).then(|| self.occupied / self.occupancy_of as f64),
        }
    }
}

/// Texts that are kept once.
#[derive(Default)]
struct Names {
    known: HashMap<Arc<str>, u32>,
    list: Vec<Arc<str>>,
}

impl Names {
    fn get(&mut self, text: &str) -> u32 {
        if let Some(&id) = self.known.get(text) {
            return id;
        }
        // The last place is for all that find none.
        let text: Arc<str> = if self.list.len() + 1 < MOST_NAMES { text.into() } else { OTHER.into() };
        let id = self.list.len() as u32;
        match self.known.get(&text) {
            Some(&other) => other,
            None => {
                self.list.push(text.clone());
                self.known.insert(text, id);
                id
            }
        }
    }
}

#[derive(Default)]
struct Store {
    names: Names,
    series: HashMap<Key, Series>,
    events: VecDeque<Event>,
    lanes: HashMap<u32, u32>,
    counts: Counts,
}

/// How much was recorded since the beginning or the last reset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Records counted in the figures.
    pub records: u64,
    /// Events that a trace exported now would hold.
    pub events: u64,
    /// Older events that made room for newer ones: the figures have them, a trace has not.
    pub dropped: u64,
    /// Device work whose time could not be read; in neither.
    pub lost: u64,
}

static STORE: Lazy<Mutex<Store>> = Lazy::new(Default::default);

/// A copy of what a trace needs.
pub(crate) struct Snapshot {
    pub events: Vec<Event>,
    pub names: Vec<Arc<str>>,
    /// Lane to the name of its name.
    pub lanes: HashMap<u32, u32>,
    pub dropped: u64,
}

pub(super) fn add(record: &Record<'_>) {
    let mut guard = STORE.lock();
    let store = &mut *guard;
    let (mut name, tenant) = (store.names.get(record.name), store.names.get(record.tenant));
    if store.series.len() >= MOST_SERIES && !store.series.contains_key(&(record.kind, name, tenant)) {
        name = store.names.get(OTHER);
    }
    let full = store.series.len() >= 2 * MOST_SERIES;
    let key = (record.kind, name, tenant);
    // So many tenants that even one series for each is too much: theirs count together.
    let key = if full && !store.series.contains_key(&key) { (record.kind, name, name) } else { key };
    store.series.entry(key).or_insert_with(Series::new).add(record);
    store.counts.records += 1;
    if store.lanes.len() < MOST_NAMES && !store.lanes.contains_key(&record.lane) {
        let lane = store.names.get(record.lane_name);
        store.lanes.insert(record.lane, lane);
    }
    if store.events.len() >= TRACE_EVENTS {
        store.events.pop_front();
        store.counts.dropped += 1;
    }
    store.events.push_back(Event {
        kind: record.kind,
        name,
        tenant,
        lane: record.lane,
        start: record.start,
        duration: record.duration,
        bytes: record.bytes,
        items: record.items,
        occupancy: record.occupancy.unwrap_or(-1.0),
    });
}

pub(super) fn lost(count: u64) {
    STORE.lock().counts.lost += count;
}

pub(super) fn counts() -> Counts {
    let store = STORE.lock();
    Counts { events: store.events.len() as u64, ..store.counts }
}

pub(super) fn clear() {
    // Large tables are freed without the lock.
    let old = std::mem::take(&mut *STORE.lock());
    drop(old);
}

/// Figures of one tenant, of each tenant, or (`merged`) of all tenants together; by kind, then the longest first.
pub(super) fn figures(tenant: Option<&str>, merged: bool) -> Vec<Figures> {
    let store = STORE.lock();
    let text = |id: u32| store.names.list[id as usize].as_ref();
    let mut list: Vec<Figures> = if merged && tenant.is_none() {
        let mut sums: BTreeMap<(Kind, u32), Series> = BTreeMap::new();
        for (&(kind, name, _), series) in &store.series {
            sums.entry((kind, name)).or_insert_with(Series::new).merge(series);
        }
        sums.iter().map(|(&(kind, name), series)| series.figures(kind, text(name), "")).collect()
    } else {
        let chosen = store.series.iter().filter(|((_, _, t), _)| tenant.is_none_or(|want| want == text(*t)));
        chosen.map(|(&(kind, name, t), series)| series.figures(kind, text(name), text(t))).collect()
    };
    drop(store);
    list.sort_by(|a, b| {
        let by_kind = a.kind.cmp(&b.kind).then(b.total.total_cmp(&a.total));
        by_kind.then_with(|| (&a.name, &a.tenant).cmp(&(&b.name, &b.tenant)))
    });
    list
}

pub(crate) fn snapshot() -> Snapshot {
    let store = STORE.lock();
    Snapshot {
        events: store.events.iter().copied().collect(),
        names: store.names.list.clone(),
        lanes: store.lanes.clone(),
        dropped: store.counts.dropped,
    }
}
