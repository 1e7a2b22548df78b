//! Choosing the kernel for a piece of work by measurement.
//!
//! Kernels are [`Candidate`]s. For an operation and a class of sizes all of them are timed against each other once, in
//! bounded time; the result stays in memory and on the disk ([`PerformanceCache`]). A choice takes the figures, what the
//! caller requires ([`PerformanceRequirements`]), and what somebody ordered (an override) into account, and holds the
//! order in which the others are tried when the chosen one fails.

mod candidate;
mod choose;
mod comparing;
mod execute;
pub mod files;
mod inventory;
mod known;
mod level;
mod measure;
pub mod plain;
mod validate;
mod work;

pub use candidate::{Candidate, Description, DeviceId, Trial, sample};
pub use comparing::Comparing;
pub use execute::{
    Executed, OptimizedQuantizationResult, OwnedTensor, Pending, PerformanceAchieved, QuantizedTensor,
};
pub use inventory::{DeviceEntry, DeviceInventory};
pub use known::{Measurement, PerformanceCache};
pub use level::{Features, below};
pub use measure::{Timing, race};
pub use plain::Plain;
pub use validate::{ValidationResult, validate};
pub use work::{
    OperationKind, PerformanceRequirements, Preference, QuantizationFormat, QuantizationOperation,
    ShapeClass, Tensor, TensorCharacteristics, Work, scale_count,
};

use crate::{Error, Result, Status};
use choose::Runner;
use parking_lot::{Mutex, RwLock};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The environment variable that names kernels: `quantize=plain/avx2/1,gemv=…`; with `@cpu:0` behind a name for one device.
pub const OVERRIDE_VARIABLE: &str = "COGNIWARE_LOWBIT_KERNEL";
/// The environment variable with the milliseconds of a measurement.
pub const MEASURE_VARIABLE: &str = "COGNIWARE_LOWBIT_MEASURE_MS";
/// Time of a measurement of all kernels for one class of sizes, unless [`MEASURE_VARIABLE`] says otherwise.
pub const MEASURE_TIME: Duration = Duration::from_millis(150);

/// From where a choice came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Measured now.
    Measured,
    /// Measured by this process before.
    Memory,
    /// Measured by an earlier process.
    Disk,
    /// Ordered by an override.
    Override,
}

/// A kernel that was considered.
#[derive(Clone, Debug)]
pub struct Ranked {
    /// Its name.
    pub name: String,
    /// Its device.
    pub device: DeviceId,
    /// Seconds that an execution is expected to take.
    pub seconds: f64,
    /// Its measured error; `None` without a reference.
    pub error: Option<f64>,
    /// Bytes that it takes besides inputs and outputs.
    pub memory: u64,
}

/// The kernel that was chosen.
#[derive(Clone)]
pub struct OptimalKernelSelection {
    /// It.
    pub candidate: Arc<dyn Candidate>,
    /// Its name.
    pub kernel: String,
    /// Its device.
    pub device: DeviceId,
    /// What is known of it.
    pub description: Description,
    /// Seconds that an execution is expected to take; `None` when it was ordered and never measured.
    pub seconds: Option<f64>,
    /// All that keep the requirements, it first, in the order in which they are tried.
    pub ranking: Vec<Ranked>,
    /// Requirements of time that even it does not keep.
    pub unmet: Vec<String>,
    /// From where the choice came.
    pub source: Source,
    order: Vec<Arc<dyn Candidate>>,
}

/// What happens when a chosen kernel fails.
#[derive(Clone, Copy, Debug)]
pub struct FallbackConfiguration {
    /// Whether the next one is tried.
    pub enabled: bool,
    /// Whether that may be on another device.
    pub other_devices: bool,
}

impl Default for FallbackConfiguration {
    fn default() -> Self {
        FallbackConfiguration { enabled: true, other_devices: true }
    }
}

/// One measurement at a time in a process: two would disturb each other.
static MEASURING: Mutex<()> = Mutex::new(());

/// Chooses kernels by device and by measurement. Usable from any thread; one measurement runs at a time.
pub struct DeviceAwareKernelManager {
    inventory: DeviceInventory,
    candidates: RwLock<Vec<Arc<dyn Candidate>>>,
    cache: PerformanceCache,
    overrides: Mutex<BTreeMap<OperationKind, String>>,
    fallback: Mutex<FallbackConfiguration>,
    /// Those that failed, with why; they are left out until [`DeviceAwareKernelManager::reinstate`].
    failing: Mutex<Vec<(DeviceId, String, Error)>>,
    time: Mutex<Duration>,
}

impl DeviceAwareKernelManager {
    /// Finds all devices, and registers the element-wise kernels of each instruction level and thread count of the host. The
    /// cache's folder and overrides are the environment's.
    ///
    /// Errors: no device answers; an override that cannot be read.
    pub fn new_with_detection() -> Result<DeviceAwareKernelManager> {
        let inventory = DeviceInventory::detect()?;
        let manager = Self::with(inventory, PerformanceCache::at(files::folder_of_environment()));
        if let Some(text) = std::env::var(OVERRIDE_VARIABLE).ok().filter(|t| !t.trim().is_empty()) {
            manager.set_overrides(&text)?;
        }
        if let Some(text) = std::env::var(MEASURE_VARIABLE).ok().filter(|t| !t.trim().is_empty()) {
            let ms = text.trim().parse().map_err(|_| {
                Error::argument(MEASURE_VARIABLE, format!("{text:?} is no whole number of milliseconds"))
            })?;
            manager.set_measuring_time(Duration::from_millis(ms));
        }
        if let Some(host) = manager.inventory.get(DeviceId::CPU) {
            for kernel in Plain::all(&host.device, &host.levels)? {
                manager.register(Arc::new(kernel))?;
            }
            for kernel in Comparing::all(&host.device, &host.levels)? {
                manager.register(Arc::new(kernel))?;
            }
        }
        Ok(manager)
    }

    /// A manager of these devices with nothing registered.
    pub fn with(inventory: DeviceInventory, cache: PerformanceCache) -> DeviceAwareKernelManager {
        DeviceAwareKernelManager {
            inventory,
            candidates: RwLock::default(),
            cache,
            overrides: Mutex::default(),
            fallback: Mutex::default(),
            failing: Mutex::default(),
            time: Mutex::new(MEASURE_TIME),
        }
    }

    /// Adds a kernel. From now on it takes part, and classes measured before are measured anew.
    ///
    /// Errors: its device is not among those found; one of this name is there.
    pub fn register(&self, candidate: Arc<dyn Candidate>) -> Result<()> {
        let (name, device) = (candidate.name().to_owned(), candidate.device());
        if name.is_empty() || name.contains(['@', ',', '=', ';']) {
            return Err(Error::argument("candidate", format!("{name:?} is no name for a kernel")));
        }
        if self.inventory.get(device).is_none() {
            return Err(Error::argument("candidate", format!("{name} is for {device}, which is not here")));
        }
        let mut all = self.candidates.write();
        if all.iter().any(|c| c.name() == name && c.device() == device) {
            return Err(Error::new(
                Status::AlreadyExists,
                format!("a kernel {name} is registered on {device}"),
            ));
        }
        all.push(candidate);
        Ok(())
    }

    /// The devices.
    pub fn inventory(&self) -> &DeviceInventory {
        &self.inventory
    }

    /// Names and devices of all kernels, in order of registration, with what is known of them.
    pub fn candidates(&self) -> Vec<(String, DeviceId, Description)> {
        let all = self.candidates.read();
        all.iter().map(|c| (c.name().to_owned(), c.device(), c.describe())).collect()
    }

    /// What was measured, and where it is kept.
    pub fn cache(&self) -> &PerformanceCache {
        &self.cache
    }

    /// Forgets all measurements, in memory and on the disk.
    pub fn forget_measurements(&self) {
        let identities: Vec<String> = self.inventory.devices.iter().map(DeviceEntry::identity).collect();
        self.cache.clear(&identities);
    }

    /// Sets the time that one measurement may take.
    pub fn set_measuring_time(&self, time: Duration) {
        *self.time.lock() = time.max(Duration::from_millis(1));
    }

    /// Orders this kernel for a kind of work, or lets measurement decide again (`None`). `name@cpu:0` names one on a device.
    ///
    /// Errors: an empty name. Whether a kernel is there is seen when it is needed: it may be registered later.
    pub fn set_override(&self, kind: OperationKind, name: Option<&str>) -> Result<()> {
        let mut all = self.overrides.lock();
        match name.map(str::trim) {
            Some("") => return Err(Error::argument("name", "is empty")),
            Some(name) => drop(all.insert(kind, name.to_owned())),
            None => drop(all.remove(&kind)),
        }
        Ok(())
    }

    /// Sets overrides as [`OVERRIDE_VARIABLE`] has them.
    pub fn set_overrides(&self, text: &str) -> Result<()> {
        for part in text.split([',', ';']).map(str::trim).filter(|p| !p.is_empty()) {
            let (kind, name) = part.split_once('=').ok_or_else(|| {
                Error::argument(OVERRIDE_VARIABLE, format!("{part:?} is not operation=kernel"))
                    .advise("as in quantize=plain/avx2/1,gemv=…")
            })?;
            self.set_override(OperationKind::parse(kind.trim())?, Some(name))?;
        }
        Ok(())
    }

    /// Sets what happens when a chosen kernel fails.
    pub fn set_fallback(&self, configuration: FallbackConfiguration) {
        *self.fallback.lock() = configuration;
    }

    /// Kernels that failed and are left out, with why.
    pub fn failing(&self) -> Vec<(DeviceId, String, Error)> {
        self.failing.lock().clone()
    }

    /// Lets those that failed take part again.
    pub fn reinstate(&self) {
        self.failing.lock().clear();
    }

    /// The kernel for this work at this size. Measures the first time, within the time set, and answers from memory or
    /// disk from then on.
    ///
    /// Errors: no kernel does this work; none keeps accuracy or memory; the one that was ordered is not there.
    pub fn select_optimal_kernel(
        &self,
        operation: QuantizationOperation,
        shape: &TensorCharacteristics,
        requirements: &PerformanceRequirements,
    ) -> Result<OptimalKernelSelection> {
        let able: Vec<Arc<dyn Candidate>> = {
            let failing = self.failing.lock();
            let out = |c: &Arc<dyn Candidate>| failing.iter().any(|f| f.0 == c.device() && f.1 == c.name());
            let all = self.candidates.read();
            all.iter().filter(|c| c.supports(operation, shape) && !out(c)).cloned().collect()
        };
        let ordered = self.overrides.lock().get(&operation.kind).cloned();
        if let Some(name) = ordered {
            return self.ordered(&name, operation, shape, able);
        }
        if able.is_empty() {
            return Err(Error::unsupported(format!("no kernel that works does {}", operation.name()))
                .advise("register one; `failing` names those that failed"));
        }
        let (measured, source) = self.measurements(operation, shape, &able)?;
        let runners = measured.into_iter().enumerate().filter_map(|(at, m)| {
            let one = *m.seconds.as_ref().ok()?;
            let seconds = one * (shape.items().max(1) as f64 / m.items as f64);
            let memory = able[at].memory(operation, shape);
            let threads = able[at].describe().threads;
            Some(Runner { at, measured: m, seconds, memory, threads })
        });
        let (order, unmet) = choose::order(runners.collect(), shape, requirements)?;
        let first = &order[0];
        let candidate = able[first.at].clone();
        let ranked = |r: &Runner| Ranked {
            name: r.measured.name.clone(),
            device: r.measured.device,
            seconds: r.seconds,
            error: r.measured.error,
            memory: r.memory,
        };
        Ok(OptimalKernelSelection {
            kernel: candidate.name().to_owned(),
            device: candidate.device(),
            description: candidate.describe(),
            seconds: Some(first.seconds),
            ranking: order.iter().map(ranked).collect(),
            unmet,
            source,
            order: order.iter().map(|r| able[r.at].clone()).collect(),
            candidate,
        })
    }

    /// The one that an override names, with all others behind it.
    fn ordered(
        &self,
        name: &str,
        operation: QuantizationOperation,
        shape: &TensorCharacteristics,
        able: Vec<Arc<dyn Candidate>>,
    ) -> Result<OptimalKernelSelection> {
        let (kernel, device) = name.split_once('@').map_or((name, None), |(k, d)| (k, Some(d)));
        let is = |c: &&Arc<dyn Candidate>| {
            c.name() == kernel && device.is_none_or(|d| c.device().to_string() == d)
        };
        let candidate = able.iter().find(is).cloned().ok_or_else(|| {
            let there: Vec<&str> = able.iter().map(|c| c.name()).collect();
            Error::not_found(format!(
                "the override for {} names {name:?}, which does not do it",
                operation.name()
            ))
            .advise(format!("these do: {}", there.join(", ")))
        })?;
        let memory = candidate.memory(operation, shape);
        let mut order = vec![candidate.clone()];
        order.extend(able.into_iter().filter(|c| !Arc::ptr_eq(c, &candidate)));
        let (kernel, device) = (candidate.name().to_owned(), candidate.device());
        let ranked = Ranked { name: kernel.clone(), device, seconds: f64::NAN, error: None, memory };
        Ok(OptimalKernelSelection {
            kernel,
            device,
            description: candidate.describe(),
            seconds: None,
            ranking: vec![ranked],
            unmet: vec![],
            source: Source::Override,
            order,
            candidate,
        })
    }

    /// A measurement for each of these, made now where one is missing.
    fn measurements(
        &self,
        operation: QuantizationOperation,
        shape: &TensorCharacteristics,
        able: &[Arc<dyn Candidate>],
    ) -> Result<(Vec<Measurement>, Source)> {
        let key = (operation, shape.class());
        // The usual case, without asking what devices are called.
        let recalled: Option<Vec<Measurement>> =
            able.iter().map(|c| self.cache.recall(key, c.name(), c.device(), c.describe().version)).collect();
        if let Some(all) = recalled {
            return Ok((all, Source::Memory));
        }
        let identity = |id: DeviceId| self.inventory.get(id).map(DeviceEntry::identity).unwrap_or_default();
        let mut identities: Vec<(DeviceId, String)> = Vec::new();
        for c in able {
            if !identities.iter().any(|(id, _)| *id == c.device()) {
                identities.push((c.device(), identity(c.device())));
            }
        }
        let known = || -> Option<Vec<Measurement>> {
            let of = |c: &Arc<dyn Candidate>| {
                let identity = &identities.iter().find(|(id, _)| *id == c.device())?.1;
                self.cache.get(key, c.name(), c.device(), c.describe().version, identity)
            };
            able.iter().map(of).collect()
        };
        let source = |all: &[Measurement]| {
            if all.iter().any(|m| m.from_disk) { Source::Disk } else { Source::Memory }
        };
        if let Some(all) = known() {
            let source = source(&all);
            self.cache.keep(key, &all);
            return Ok((all, source));
        }
        let _one = MEASURING.lock();
        // Somebody else may have been at it.
        if let Some(all) = known() {
            let source = source(&all);
            return Ok((all, source));
        }
        let all = self.measure(operation, shape, able);
        self.cache.put(key, &all, &identities);
        Ok((all, Source::Measured))
    }

    fn measure(
        &self,
        operation: QuantizationOperation,
        shape: &TensorCharacteristics,
        able: &[Arc<dyn Candidate>],
    ) -> Vec<Measurement> {
        // Nothing to do takes no time; the size of one is measured in its place.
        let shape = TensorCharacteristics {
            rows: shape.rows.max(1),
            columns: shape.columns.max(1),
            batch: shape.batch.max(1),
            ..*shape
        };
        // The reference first, so that there is something to compare with.
        let mut order: Vec<usize> = (0..able.len()).collect();
        order.sort_by_key(|at| !able[*at].is_reference());
        let mut failed: Vec<Option<Error>> = able.iter().map(|_| None).collect();
        let (mut trials, mut racers) = (Vec::new(), Vec::new());
        let mut items = vec![shape.items().max(1); able.len()];
        for at in order {
            match able[at].prepare(operation, &shape) {
                Ok(trial) => {
                    items[at] = trial.items().unwrap_or(items[at]).max(1);
                    trials.push(trial);
                    racers.push(at);
                }
                Err(e) => failed[at] = Some(e),
            }
        }
        let mut reference: Option<Vec<f32>> = None;
        let mut errors: Vec<Option<f64>> = vec![None; able.len()];
        let raced = race(trials, *self.time.lock(), |racer, trial| {
            let at = racers[racer];
            let Ok(output) = trial.output() else { return };
            if able[at].is_reference() && reference.is_none() {
                reference = Some(output.clone());
            }
            errors[at] = reference.as_ref().and_then(|reference| difference(&output, reference));
        });
        let mut seconds: Vec<std::result::Result<f64, Error>> = failed
            .into_iter()
            .map(|fail| Err(fail.unwrap_or_else(|| Error::new(Status::Internal, "no result"))))
            .collect();
        for (at, timing) in racers.iter().zip(raced) {
            seconds[*at] = timing.map(|t| t.seconds);
        }
        able.iter()
            .zip(seconds)
            .enumerate()
            .map(|(at, (c, seconds))| Measurement {
                name: c.name().to_owned(),
                device: c.device(),
                version: c.describe().version,
                error: errors[at],
                seconds,
                items: items[at],
                from_disk: false,
            })
            .collect()
    }

    /// A table of all kernels with what was measured for one class of sizes, for people.
    pub fn describe(&self, operation: QuantizationOperation, shape: &TensorCharacteristics) -> String {
        use std::fmt::Write;
        let mut text = String::new();
        for c in self.candidates.read().iter().filter(|c| c.supports(operation, shape)) {
            let identity = self.inventory.get(c.device()).map(DeviceEntry::identity).unwrap_or_default();
            let key = (operation, shape.class());
            let m = self.cache.get(key, c.name(), c.device(), c.describe().version, &identity);
            let figure = match m.map(|m| m.seconds) {
                Some(Ok(seconds)) => format!("{:10.2} us", seconds * 1e6),
                Some(Err(e)) => e.message().to_owned(),
                None => "not measured".into(),
            };
            // Writing to a string does not fail.
            let _ = writeln!(text, "{:<28} {:<7} {figure}", c.name(), c.device().to_string());
        }
        text
    }

    /// Whether work may go from one device to another when a kernel fails.
    fn may_follow(&self, from: DeviceId, to: DeviceId) -> bool {
        let fallback = *self.fallback.lock();
        fallback.enabled && (fallback.other_devices || from == to)
    }
}

/// Largest difference over the reference's largest value; infinite where a NaN has no twin or lengths differ.
fn difference(output: &[f32], reference: &[f32]) -> Option<f64> {
    if output.len() != reference.len() {
        return Some(f64::INFINITY);
    }
    let peak = reference.iter().filter(|x| x.is_finite()).fold(0f64, |m, x| m.max(f64::from(x.abs())));
    let mut most = 0f64;
    for (a, b) in output.iter().zip(reference) {
        let gap = match a.to_bits() == b.to_bits() || a == b || a.is_nan() && b.is_nan() {
            true => 0.0,
            false => (f64::from(*a) - f64::from(*b)).abs(),
        };
        most = most.max(if gap.is_nan() { f64::INFINITY } else { gap });
    }
    Some(if most == 0.0 { 0.0 } else { most / if peak > 0.0 { peak } else { 1.0 } })
}

#[cfg(test)]
mod tests;
