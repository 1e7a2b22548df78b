//! Going on after a failure of a device: opening a lost one anew, and the CPU device in place of a GPU.

use super::registry::{self, DeviceChoice};
use super::{Device, DeviceKind};
use crate::telemetry::recovery::{self, Recovery};
use crate::{Error, Result, Status};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long [`recover`] waits for the work of those that were told.
const PATIENCE: Duration = Duration::from_secs(5);

/// Told of a device that is about to be thrown away: ends what is on it.
pub type Told = fn(&Arc<dyn Device>);

static TOLD: Mutex<Vec<Told>> = Mutex::new(Vec::new());
static RECOVERING: Mutex<()> = Mutex::new(());

/// Has `told` called before a lost device is thrown away. A function is called once, however often it was given.
pub fn on_recovery(told: Told) {
    let mut all = TOLD.lock();
    if !all.iter().any(|f| std::ptr::fn_addr_eq(*f, told)) {
        all.push(told);
    }
}

/// Opens a lost device anew: those who have something on it are told (tenants end with [`Status::DeviceLost`]), its
/// context is thrown away, and a new one made. Does nothing to a device that is not lost. What was made on the lost
/// device answers `DeviceLost` for ever; its memory is given back.
///
/// Errors: [`Status::Busy`] while page-locked memory of it is in use, such as arrays; what opening it answers. A GPU may
/// refuse a new context after some failures: then only a new process helps.
pub fn recover(device: &Arc<dyn Device>) -> Result<Arc<dyn Device>> {
    let _one = RECOVERING.lock();
    let (kind, ordinal) = (device.kind(), device.ordinal());
    let now = registry::current(kind, ordinal).unwrap_or_else(|| device.clone());
    if !now.is_lost() {
        return Ok(now);
    }
    let recovered = anew(&now);
    recovery::note(Recovery::Context, recovered.is_ok());
    match &recovered {
        Ok(_) => crate::log_later!(Warn, "device", "{kind}:{ordinal} was lost and opened anew"),
        Err(e) => crate::log_later!(Error, "device", "{kind}:{ordinal} was lost and stays so: {e}"),
    }
    recovered
}

/// As [`recover`], by name. A device that nobody has opened is opened.
pub fn recover_choice(choice: DeviceChoice) -> Result<()> {
    let (kind, ordinal) = match choice {
        DeviceChoice::Auto => (DeviceKind::Cuda, 0),
        DeviceChoice::Cpu => (DeviceKind::Cpu, 0),
        DeviceChoice::Cuda(n) => (DeviceKind::Cuda, n),
    };
    match registry::current(kind, ordinal) {
        Some(device) => recover(&device).map(drop),
        None => registry::open(choice).map(drop),
    }
}

fn anew(lost: &Arc<dyn Device>) -> Result<Arc<dyn Device>> {
    let told = TOLD.lock().clone();
    for f in told {
        f(lost);
    }
    let begun = Instant::now();
    // Engines that were told to end give their buffers back in their own time.
    while let Err(e) = lost.throw_away() {
        if e.status() != Status::Busy {
            return Err(refused("throwing its context away", &e));
        }
        if begun.elapsed() > PATIENCE {
            return Err(e.within("recovering the device"));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    registry::forget(lost);
    registry::open_new(lost.kind(), lost.ordinal()).map_err(|e| refused("opening it anew", &e))
}

/// The driver lets this process have no new context, as after a kernel's wrong address.
fn refused(step: &str, e: &Error) -> Error {
    let mut lost = Error::new(Status::DeviceLost, format!("recovering the device: {step}: {}", e.message()));
    if let Some(code) = e.driver_code() {
        lost = lost.with_driver_code(code);
    }
    lost.advise(
        "this driver gives the process no new context after such an error: restart the process; until then the CPU \
         device can take the GPU's place (fallback_device, COGNIWARE_FALLBACK=cpu)",
    )
}

static FALLBACK: Mutex<Option<Option<DeviceChoice>>> = Mutex::new(None);

/// Which device takes the place of a GPU that does not answer, is lost, or has no memory left when an LLM is
/// registered: `None` for none. The environment variable `COGNIWARE_FALLBACK` (`cpu` or `none`) says so at first.
pub fn fallback() -> Option<DeviceChoice> {
    *FALLBACK.lock().get_or_insert_with(fallback_at_first)
}

/// What [`fallback`] is until somebody sets it.
pub fn fallback_at_first() -> Option<DeviceChoice> {
    let text = std::env::var("COGNIWARE_FALLBACK").unwrap_or_default();
    parse_fallback("COGNIWARE_FALLBACK", &text).unwrap_or_else(|e| {
        crate::log_later!(Warn, "device", "{e}");
        None
    })
}

/// Sets [`fallback`] for the devices and registrations from now on. Only the CPU device can take a GPU's place.
pub fn set_fallback(device: Option<DeviceChoice>) -> Result<()> {
    if device.is_some_and(|d| d != DeviceChoice::Cpu) {
        return Err(Error::argument("device", "only `cpu` can take the place of a GPU"));
    }
    *FALLBACK.lock() = Some(device);
    Ok(())
}

/// Reads `cpu`, or `none` or nothing for no fallback; anything else is an error that names `argument`.
pub fn parse_fallback(argument: &str, text: &str) -> Result<Option<DeviceChoice>> {
    match text {
        "" | "none" => Ok(None),
        "cpu" => Ok(Some(DeviceChoice::Cpu)),
        other => Err(Error::argument(argument, format!("{other:?} is not one of cpu, none"))),
    }
}

/// The device that takes the place of the one that failed with `error`, if one is configured and that helps.
pub(super) fn instead_of(kind: DeviceKind, error: Error) -> Result<Arc<dyn Device>> {
    let helps = matches!(
        error.status(),
        Status::NoDevice | Status::Unsupported | Status::DeviceLost | Status::Driver | Status::OutOfMemory
    );
    if kind == DeviceKind::Cpu || !helps || fallback().is_none() {
        return Err(error);
    }
    let opened = registry::open(DeviceChoice::Cpu);
    recovery::note(Recovery::Fallback, opened.is_ok());
    crate::log_later!(Warn, "device", "the CPU device takes the place of a GPU: {error}");
    opened.map_err(|_| error)
}
