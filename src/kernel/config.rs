//! The configuration of a kernel manager: text keys to values, checked, in force at once.

use super::Kernel;
use crate::compute::{Priority, TaskLimits, Tasks};
use crate::device::{self, Device, DeviceChoice};
use crate::memory::Ledger;
use crate::tenant::TenantConfig;
use crate::tenant::keys::{self, Map};
use crate::{Error, Result, Status};
use std::sync::Arc;
use std::time::Duration;

/// Keys of [`Kernel::configure`].
pub const KERNEL_KEYS: [&str; 10] = [
    "device",
    "fallback_device",
    "max_memory",
    "default_memory_limit",
    "default_weight",
    "default_priority",
    "default_cores",
    "task_threads",
    "max_tasks",
    "task_timeout",
];

/// What a kernel manager was told, and what that means.
#[derive(Clone, Default)]
pub(super) struct Config {
    given: Map,
    settings: Settings,
}

#[derive(Clone, PartialEq)]
struct Settings {
    device: DeviceChoice,
    /// What was said of it; else the environment says it.
    fallback: Option<Option<DeviceChoice>>,
    max_memory: Option<u64>,
    memory_limit: Option<u64>,
    weight: f64,
    priority: Priority,
    cores: u32,
    tasks: TaskLimits,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            device: DeviceChoice::Auto,
            fallback: None,
            max_memory: None,
            memory_limit: None,
            weight: 1.0,
            priority: Priority::Normal,
            cores: 0,
            tasks: TaskLimits::default(),
        }
    }
}

impl Settings {
    fn read(map: &Map) -> Result<Settings> {
        keys::check_keys(map, &[&KERNEL_KEYS])?;
        let default = Settings::default();
        // What the getter calls it when there is no bound is understood here too.
        let mut map = map.clone();
        map.retain(|_, value| !["unlimited", "auto"].contains(&value.as_str()));
        let tasks = TaskLimits {
            threads: keys::positive(&map, "task_threads")?.unwrap_or(default.tasks.threads),
            tasks: keys::positive(&map, "max_tasks")?,
            timeout: match keys::number::<f64>(&map, "task_timeout")? {
                None => None,
                Some(s) if s > 0.0 => Some(Duration::try_from_secs_f64(s).map_err(|_| {
                    Error::argument("task_timeout", format!("{s} seconds are more than a clock holds"))
                })?),
                Some(s) => {
                    return Err(Error::argument("task_timeout", format!("{s} is not above 0 (seconds)")));
                }
            },
        };
        if tasks.threads > 1024 {
            return Err(Error::argument("task_threads", format!("{} is not in 1 to 1024", tasks.threads)));
        }
        let priority = map.get("default_priority").map(|p| Priority::from_name(p)).transpose();
        Ok(Settings {
            device: map.get("device").map_or(Ok(default.device), |d| device::parse_choice("device", d))?,
            fallback: map
                .get("fallback_device")
                .map(|d| device::parse_fallback("fallback_device", d))
                .transpose()?,
            max_memory: keys::mib(&map, "max_memory")?,
            memory_limit: keys::mib(&map, "default_memory_limit")?,
            weight: keys::weight(&map, "default_weight")?.unwrap_or(default.weight),
            priority: priority.map_err(|e| e.within("default_priority"))?.unwrap_or(default.priority),
            cores: keys::number(&map, "default_cores")?.unwrap_or(default.cores),
            tasks,
        })
    }
}

impl Kernel {
    /// Changes configuration keys ([`KERNEL_KEYS`]); the others stay, an empty value brings a key's default back. All
    /// of it or nothing: a key that is not known and a value that cannot be had are refused by name. May be called
    /// before `initialize`, which then brings it into force; it survives `shutdown`.
    pub fn configure(&self, changes: &Map) -> Result<()> {
        let _one = self.configuring.lock();
        let old = self.config.lock().clone();
        let mut given = old.given;
        for (key, value) in changes {
            match value.trim() {
                "" => given.remove(key),
                value => given.insert(key.clone(), value.to_owned()),
            };
        }
        keys::check_keys(changes, &[&KERNEL_KEYS])?;
        let settings = Settings::read(&given)?;
        if let Ok(devices) = self.devices() {
            let current = self.bring(&devices, &old.settings, &settings)?;
            self.write(|s| {
                s.current = current.unwrap_or(s.current);
                Ok(())
            })?;
        }
        if settings.fallback != old.settings.fallback {
            // Of the process, and at once: initialising is when it is needed first.
            device::set_fallback(settings.fallback.unwrap_or_else(device::fallback_at_first))?;
        }
        *self.config.lock() = Config { given, settings };
        Ok(())
    }

    /// Every key with what is in force for it: what was set, else the default. `device` is the current one once the
    /// kernel is initialised.
    pub fn configuration(&self) -> Map {
        let settings = self.config.lock().settings.clone();
        let current = self.current_device().ok().map(|(_, d)| format!("{}:{}", d.kind(), d.ordinal()));
        let mib = |bytes: Option<u64>, none: &str| bytes.map_or(none.to_owned(), |b| (b >> 20).to_string());
        let tasks = settings.tasks;
        let all = [
            ("device", current.unwrap_or_else(|| name(settings.device))),
            ("fallback_device", device::fallback().map_or("none", |_| "cpu").to_owned()),
            ("max_memory", mib(settings.max_memory, "unlimited")),
            ("default_memory_limit", mib(settings.memory_limit, "auto")),
            ("default_weight", settings.weight.to_string()),
            ("default_priority", settings.priority.name().to_owned()),
            ("default_cores", if settings.cores == 0 { "auto".into() } else { settings.cores.to_string() }),
            ("task_threads", tasks.threads.to_string()),
            ("max_tasks", tasks.tasks.map_or("unlimited".into(), |n| n.to_string())),
            ("task_timeout", tasks.timeout.map_or("unlimited".into(), |t| t.as_secs_f64().to_string())),
        ];
        all.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()
    }

    /// What a tenant on `device` gets that nobody opened with other wishes.
    pub fn tenant_defaults(&self, device: &Arc<dyn Device>) -> Result<TenantConfig> {
        let settings = self.config.lock().settings.clone();
        let own = TenantConfig::default_on(device)?;
        let memory_limit = match (settings.memory_limit, settings.max_memory) {
            (Some(limit), _) => limit,
            // A quarter of what all of them may have.
            (None, Some(most)) => own.memory_limit.min(most / 4).max(device.granularity()),
            (None, None) => own.memory_limit,
        };
        Ok(TenantConfig {
            memory_limit,
            processors: settings.cores,
            weight: settings.weight,
            priority: settings.priority as u8,
            ..own
        })
    }

    /// Brings the configuration into force for a state that begins; the index of the device it names. `configuring` is
    /// held, here and below.
    pub(super) fn begin(&self, devices: &[Arc<dyn Device>]) -> Result<usize> {
        let settings = self.config.lock().settings.clone();
        Ok(self.bring(devices, &Settings::default(), &settings)?.unwrap_or(0))
    }

    /// Takes back what only holds between `initialize` and `shutdown`.
    pub(super) fn finish(&self, devices: &[Arc<dyn Device>]) {
        for device in devices {
            // Lifting a bound is never refused.
            let _ = Ledger::of(device).set_cap(self.number(), None);
        }
        let tasks = self.config.lock().settings.tasks;
        if tasks != TaskLimits::default() && Tasks::global().limits() == tasks {
            let _ = Tasks::global().set_limits(TaskLimits::default());
        }
    }

    /// All of `new` in force instead of `old`, or nothing; the index of the device where that is another one. Called
    /// without the state's lock: giving memory back waits for streams, whose functions may call the kernel.
    fn bring(&self, devices: &[Arc<dyn Device>], old: &Settings, new: &Settings) -> Result<Option<usize>> {
        let chosen = find(devices, new.device)?;
        if new.cores > 0 {
            let all: u32 = devices[chosen].units().iter().map(|u| u.processors).sum();
            if new.cores > all {
                let text = format!("{} asked for, the device has {all}", new.cores);
                return Err(Error::argument("default_cores", text));
            }
        }
        for (at, device) in devices.iter().enumerate() {
            if let Err(e) = Ledger::of(device).set_cap(self.number(), new.max_memory) {
                for device in &devices[..at] {
                    let _ = Ledger::of(device).set_cap(self.number(), old.max_memory);
                }
                return Err(e);
            }
        }
        if new.tasks != old.tasks {
            Tasks::global().set_limits(new.tasks)?;
        }
        Ok((new.device != old.device).then_some(chosen))
    }

    /// Tells this kernel's bounds from those of others.
    fn number(&self) -> usize {
        std::ptr::from_ref(self) as usize
    }
}

/// The index of the device that a configuration names.
fn find(devices: &[Arc<dyn Device>], choice: DeviceChoice) -> Result<usize> {
    let (kind, ordinal) = match choice {
        DeviceChoice::Auto => return Ok(0),
        choice => {
            let device = device::open(choice).map_err(|e| e.within("device"))?;
            (device.kind(), device.ordinal())
        }
    };
    let found = devices.iter().position(|d| (d.kind(), d.ordinal()) == (kind, ordinal));
    found.ok_or_else(|| {
        let text = format!("argument `device`: {kind}:{ordinal} is not among the devices of this kernel");
        Error::new(Status::NoDevice, text)
            .advise("shut the kernel down and initialise it again to look for devices")
    })
}

fn name(choice: DeviceChoice) -> String {
    match choice {
        DeviceChoice::Auto => "auto".to_owned(),
        DeviceChoice::Cpu => "cpu".to_owned(),
        DeviceChoice::Cuda(ordinal) => format!("cuda:{ordinal}"),
    }
}
