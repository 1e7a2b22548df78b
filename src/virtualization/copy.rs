//! Copies by kind: which way the caller says that bytes go, against where the pointers lie.

use crate::device::Place;
use crate::memory;
use crate::tenant::Tenant;
use crate::{Error, Result};

/// Which way a copy goes; the numbers are `cudaMemcpyKind`'s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum CopyKind {
    /// Both ends are the program's own memory.
    HostToHost = 0,
    /// From the program's memory to the virtual GPU's.
    HostToDevice = 1,
    /// From the virtual GPU's memory to the program's.
    DeviceToHost = 2,
    /// Both ends are the virtual GPU's.
    DeviceToDevice = 3,
    /// As the pointers lie.
    Default = 4,
}

impl CopyKind {
    /// The kind with this number.
    pub fn from_number(n: i32) -> Result<CopyKind> {
        Ok(match n {
            0 => CopyKind::HostToHost,
            1 => CopyKind::HostToDevice,
            2 => CopyKind::DeviceToHost,
            3 => CopyKind::DeviceToDevice,
            4 => CopyKind::Default,
            _ => return Err(Error::argument("kind", format!("{n} is no cudaMemcpyKind (0 to 4)"))),
        })
    }

    /// CUDA's name of it.
    pub fn name(self) -> &'static str {
        match self {
            CopyKind::HostToHost => "cudaMemcpyHostToHost",
            CopyKind::HostToDevice => "cudaMemcpyHostToDevice",
            CopyKind::DeviceToHost => "cudaMemcpyDeviceToHost",
            CopyKind::DeviceToDevice => "cudaMemcpyDeviceToDevice",
            CopyKind::Default => "cudaMemcpyDefault",
        }
    }

    /// Whether destination and source must be device memory.
    fn ends(self) -> Option<(bool, bool)> {
        Some(match self {
            CopyKind::HostToHost => (false, false),
            CopyKind::HostToDevice => (true, false),
            CopyKind::DeviceToHost => (false, true),
            CopyKind::DeviceToDevice => (true, true),
            CopyKind::Default => return None,
        })
    }
}

/// Refuses a copy whose kind says other than where its ends lie.
pub(super) fn check(tenant: &Tenant, kind: CopyKind, dst: u64, src: u64) -> Result<()> {
    for (argument, address) in [("dst", dst), ("src", src)] {
        if address == 0 {
            return Err(Error::argument(argument, "is null"));
        }
    }
    let Some((dst_device, src_device)) = kind.ends() else { return Ok(()) };
    for (argument, address, wanted) in [("dst", dst, dst_device), ("src", src, src_device)] {
        let is = memory::tenant_of(address).is_some() || tenant.device().place(address) == Place::Device;
        if is != wanted {
            let (what, instead) = if is { ("device", "host") } else { ("host", "device") };
            return Err(Error::argument(
                "kind",
                format!(
                    "{} wants `{argument}` in {instead} memory, {address:#x} is {what} memory",
                    kind.name()
                ),
            )
            .advise("cudaMemcpyDefault goes by where the pointers lie"));
        }
    }
    Ok(())
}
