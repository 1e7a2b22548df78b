//! Watching virtual GPUs: figures as Prometheus text, and a function that is called again and again.

use super::Driver;
use super::info::GpuInfo;
use crate::telemetry::prometheus::{Text, Type};
use crate::{Error, Result};
use once_cell::sync::Lazy;
use parking_lot::{Condvar, Mutex};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Told of all virtual GPUs at a time.
pub type Watcher = Box<dyn FnMut(&[GpuInfo]) + Send>;

/// The shortest time between two calls.
const SHORTEST: Duration = Duration::from_millis(1);

#[derive(Default)]
struct Watch {
    over: AtomicBool,
    lock: Mutex<()>,
    wake: Condvar,
}

static WATCHES: Lazy<Mutex<BTreeMap<u64, Arc<Watch>>>> = Lazy::new(Mutex::default);
static NEXT: AtomicU64 = AtomicU64::new(1);

impl Driver {
    /// Calls `watcher` with the figures of all virtual GPUs every `interval`, on a thread of its own, until
    /// [`Driver::unwatch`] of the number that this returns, or [`Driver::shutdown`]. It is dropped on that thread.
    pub fn watch(&self, interval: Duration, mut watcher: Watcher) -> Result<u64> {
        self.must_be_on()?;
        if interval < SHORTEST {
            return Err(Error::argument("intervalMs", "must be at least 1"));
        }
        let watch = Arc::new(Watch::default());
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        WATCHES.lock().insert(number, watch.clone());
        let body = move || {
            let mut due = Instant::now();
            while !watch.over.load(Ordering::SeqCst) {
                // Shut down meanwhile: nothing to tell any more.
                let Ok(all) = Driver::global().all_info() else { break };
                // What it panics with is its own matter, and must not end the process.
                if std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| watcher(&all))).is_err() {
                    break;
                }
                due = (due + interval).max(Instant::now());
                let mut asleep = watch.lock.lock();
                while !watch.over.load(Ordering::SeqCst) && Instant::now() < due {
                    watch.wake.wait_until(&mut asleep, due);
                }
            }
            drop(watcher);
            WATCHES.lock().remove(&number);
        };
        let thread = std::thread::Builder::new().name("cw-watch".into()).spawn(body);
        thread.map(|_| number).map_err(|e| {
            WATCHES.lock().remove(&number);
            Error::io("starting the thread that watches virtual GPUs", e)
        })
    }

    /// Ends a watch. A call that runs is not waited for, so that it may end its own.
    pub fn unwatch(&self, number: u64) -> Result<()> {
        let watch = WATCHES.lock().remove(&number);
        let watch = watch.ok_or_else(|| Error::not_found(format!("there is no watch {number}")))?;
        watch.end();
        Ok(())
    }

    pub(super) fn end_watches(&self) {
        let all = std::mem::take(&mut *WATCHES.lock());
        all.values().for_each(|watch| watch.end());
    }

    /// The figures of all virtual GPUs as Prometheus text (exposition format 0.0.4), labels `virtual_gpu` and `name`.
    pub fn prometheus(&self) -> Result<String> {
        let all = self.all_info()?;
        let mut text = Text::default();
        for (name, kind, help, value) in FIGURES {
            let mut family = text.family(name, kind, help);
            for info in &all {
                family.sample(&[("virtual_gpu", &info.id.to_string()), ("name", &info.name)], value(info));
            }
        }
        Ok(text.finish())
    }
}

impl Watch {
    fn end(&self) {
        self.over.store(true, Ordering::SeqCst);
        let _asleep = self.lock.lock();
        self.wake.notify_all();
    }
}

type Figure = (&'static str, Type, &'static str, fn(&GpuInfo) -> f64);

const FIGURES: [Figure; 21] = [
    ("cogniware_vgpu_memory_limit_bytes", Type::Gauge, "The most bytes it may hold.", |i| {
        i.memory.limit as f64
    }),
    ("cogniware_vgpu_memory_floor_bytes", Type::Gauge, "Bytes set aside for it.", |i| i.floor as f64),
    ("cogniware_vgpu_memory_held_bytes", Type::Gauge, "Bytes charged now.", |i| i.memory.held as f64),
    ("cogniware_vgpu_memory_peak_bytes", Type::Gauge, "The most bytes ever charged.", |i| {
        i.memory.peak as f64
    }),
    ("cogniware_vgpu_memory_physical_bytes", Type::Gauge, "Physical bytes mapped for it.", |i| {
        i.memory.physical as f64
    }),
    ("cogniware_vgpu_memory_spilled_bytes", Type::Gauge, "Bytes moved to the host now.", |i| {
        i.spill.spilled as f64
    }),
    ("cogniware_vgpu_allocations", Type::Gauge, "Live allocations.", |i| i.memory.allocations as f64),
    ("cogniware_vgpu_rejections_total", Type::Counter, "Requests refused because of the limit.", |i| {
        i.memory.rejections as f64
    }),
    ("cogniware_vgpu_compactions_total", Type::Counter, "Compactions of its memory.", |i| {
        i.compactions.compactions as f64
    }),
    (
        "cogniware_vgpu_compaction_pause_seconds_total",
        Type::Counter,
        "Time its work waited for compaction.",
        |i| i.compactions.total_pause.as_secs_f64(),
    ),
    ("cogniware_vgpu_device_time_seconds_total", Type::Counter, "Measured device time.", |i| {
        i.unit.device_time.as_secs_f64()
    }),
    ("cogniware_vgpu_processor_time_seconds_total", Type::Counter, "Device time times processors.", |i| {
        i.unit.processor_time.as_secs_f64()
    }),
    ("cogniware_vgpu_queue_wait_seconds_total", Type::Counter, "Time work waited before its stream.", |i| {
        i.unit.work.waited.as_secs_f64()
    }),
    ("cogniware_vgpu_launches_total", Type::Counter, "Work put on its streams.", |i| {
        i.unit.work.launches as f64
    }),
    ("cogniware_vgpu_pending", Type::Gauge, "Work that is queued now.", |i| i.unit.work.pending as f64),
    ("cogniware_vgpu_failed_total", Type::Counter, "Executions that failed.", |i| i.unit.work.failed as f64),
    ("cogniware_vgpu_processors", Type::Gauge, "Cores or SMs of its node.", |i| f64::from(i.unit.processors)),
    (
        "cogniware_vgpu_utilization_ratio",
        Type::Gauge,
        "Part of the last second in which its work ran.",
        |i| i.unit.utilization.second,
    ),
    (
        "cogniware_vgpu_utilization_minute_ratio",
        Type::Gauge,
        "Part of the last minute in which its work ran.",
        |i| i.unit.utilization.minute,
    ),
    ("cogniware_vgpu_share_due_ratio", Type::Gauge, "Its weight over those of all virtual GPUs.", |i| {
        f64::from(i.unit.share_due)
    }),
    ("cogniware_vgpu_share_got_ratio", Type::Gauge, "Its part of what was used in the last second.", |i| {
        f64::from(i.unit.share_got)
    }),
];
