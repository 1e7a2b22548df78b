//! Choosing and opening devices. Each device is opened once per process and shared.

use super::{Device, DeviceKind};
use crate::{Error, Result, Status};
use once_cell::sync::Lazy;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Which device to use: `cpu`, `cuda`, `cuda:1` or `auto`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceChoice {
    /// The first CUDA GPU that answers, else the CPU.
    Auto,
    /// The host.
    Cpu,
    /// The CUDA GPU with this ordinal.
    Cuda(u32),
}

/// Reads `cpu`, `cuda`, `cuda:N` or `auto`; anything else is an error that names `argument`.
pub fn parse_choice(argument: &str, text: &str) -> Result<DeviceChoice> {
    let bad = || Error::argument(argument, format!("{text:?} is not one of cpu, cuda, cuda:N, auto"));
    match text {
        "" | "auto" => Ok(DeviceChoice::Auto),
        "cpu" | "cpu:0" => Ok(DeviceChoice::Cpu),
        "cuda" => Ok(DeviceChoice::Cuda(0)),
        other => {
            let n = other.strip_prefix("cuda:").ok_or_else(bad)?;
            n.parse().map(DeviceChoice::Cuda).map_err(|_| bad())
        }
    }
}

type Opened = Mutex<BTreeMap<(u8, u32), Arc<dyn Device>>>;
static OPENED: Lazy<Opened> = Lazy::new(Default::default);

/// Opens a device, or returns the one opened before. `Auto` falls back to the CPU only when no GPU is there;
/// a GPU that is there and broken is an error.
pub fn open(choice: DeviceChoice) -> Result<Arc<dyn Device>> {
    match choice {
        DeviceChoice::Cpu => open_one(DeviceKind::Cpu, 0),
        DeviceChoice::Cuda(n) => {
            open_one(DeviceKind::Cuda, n).or_else(|e| super::recover::instead_of(DeviceKind::Cuda, e))
        }
        DeviceChoice::Auto => match open_one(DeviceKind::Cuda, 0) {
            Err(e) if matches!(e.status(), Status::NoDevice | Status::Unsupported) => {
                open_one(DeviceKind::Cpu, 0)
            }
            Err(e) => super::recover::instead_of(DeviceKind::Cuda, e),
            other => other,
        },
    }
}

/// The device that `COGNIWARE_DEVICE` names; `auto` when it is not set.
pub fn default_device() -> Result<Arc<dyn Device>> {
    open(default_choice()?)
}

/// What `COGNIWARE_DEVICE` says.
pub fn default_choice() -> Result<DeviceChoice> {
    let text = std::env::var("COGNIWARE_DEVICE").unwrap_or_default();
    parse_choice("COGNIWARE_DEVICE", &text)
}

/// Every device that can be opened: the GPUs first, then the CPU. One that was lost is left out, and so is one that fails
/// otherwise, with those behind it.
pub fn open_all() -> Vec<Arc<dyn Device>> {
    /// More than a machine has.
    const MOST: u32 = 64;
    let mut all = Vec::new();
    for n in 0..MOST {
        match open_one(DeviceKind::Cuda, n) {
            Ok(gpu) => all.push(gpu),
            // Those behind it may answer.
            Err(e) if e.status() == Status::DeviceLost => {}
            Err(_) => break,
        }
    }
    all.extend(open_one(DeviceKind::Cpu, 0));
    all
}

/// The devices that this process has opened so far: the CPU, then the GPUs.
pub fn opened() -> Vec<Arc<dyn Device>> {
    OPENED.lock().values().cloned().collect()
}

/// The default device first, then every other that can be opened.
pub fn list() -> Result<Vec<Arc<dyn Device>>> {
    let first = default_device()?;
    let mut all = open_all();
    all.retain(|d| (d.kind(), d.ordinal()) != (first.kind(), first.ordinal()));
    all.insert(0, first);
    Ok(all)
}

/// The device that is open under this name, lost or not.
pub(super) fn current(kind: DeviceKind, ordinal: u32) -> Option<Arc<dyn Device>> {
    OPENED.lock().get(&(kind as u8, ordinal)).cloned()
}

/// Makes room for a new device in the place of this one.
pub(super) fn forget(device: &Arc<dyn Device>) {
    let mut map = OPENED.lock();
    let key = (device.kind() as u8, device.ordinal());
    let former = match map.get(&key) {
        Some(there) if Arc::ptr_eq(there, device) => map.remove(&key),
        _ => None,
    };
    drop(map);
    drop(former);
}

/// An open device; a lost one is opened anew when `COGNIWARE_RECOVER=auto` says so, else it is an error.
fn open_one(kind: DeviceKind, ordinal: u32) -> Result<Arc<dyn Device>> {
    if let Some(lost) = current(kind, ordinal).filter(|d| d.is_lost()) {
        if std::env::var("COGNIWARE_RECOVER").is_ok_and(|v| v == "auto") {
            return super::recover(&lost);
        }
        return Err(Error::new(Status::DeviceLost, format!("device {kind}:{ordinal} was lost"))
            .advise("recover it (recoverDevice, cw_device_recover), or set COGNIWARE_RECOVER=auto"));
    }
    open_new(kind, ordinal)
}

/// The device under this name, opened when it is not.
pub(super) fn open_new(kind: DeviceKind, ordinal: u32) -> Result<Arc<dyn Device>> {
    let mut map = OPENED.lock();
    let key = (kind as u8, ordinal);
    if let Some(device) = map.get(&key) {
        return Ok(device.clone());
    }
    let device: Arc<dyn Device> = match kind {
        DeviceKind::Cpu => super::cpu::CpuDevice::open()?,
        #[cfg(feature = "cuda")]
        DeviceKind::Cuda => super::cuda::CudaDevice::open(ordinal)?,
        #[cfg(not(feature = "cuda"))]
        DeviceKind::Cuda => {
            return Err(Error::unsupported("this build of Cogniware has no CUDA support")
                .advise("build it with the feature `cuda`, or use COGNIWARE_DEVICE=cpu"));
        }
    };
    crate::log_later!(Info, "device", "opened {kind}:{ordinal}");
    map.insert(key, device.clone());
    Ok(device)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_read_and_nonsense_is_named() {
        assert_eq!(parse_choice("d", "cuda:3").unwrap(), DeviceChoice::Cuda(3));
        assert_eq!(parse_choice("d", "auto").unwrap(), DeviceChoice::Auto);
        for bad in ["gpu", "cuda:", "cuda:-1", "cpu:1", "CUDA"] {
            let e = parse_choice("COGNIWARE_DEVICE", bad).unwrap_err();
            assert!(e.message().contains("COGNIWARE_DEVICE"), "{e}");
        }
    }
}
