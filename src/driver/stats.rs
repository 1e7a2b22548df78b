//! Figures of what went over the devices.

use super::Driver;
use crate::device::{Count, DeviceKind};
use crate::{Result, tenant};
use std::collections::BTreeMap;

impl Driver {
    /// For each device `device.<index>.…`, since it was opened: `allocations_pool`, `allocations_standard`,
    /// `granules_created`, `launches` (kernels and recorded steps; on the CPU device pieces of work given to streams),
    /// `copies_…`, `copied_…_bytes` and `copied_…_gb_per_s` for `up` (to the device), `down` and `within` (10^9 bytes a
    /// second, of copies that the caller waited for; absent before the first), `copies_own_stream`; of its tenants
    /// `device_time_seconds` and `wait_time_seconds` (for their processors).
    pub fn performance_stats(&self) -> Result<BTreeMap<String, f64>> {
        let mut out = BTreeMap::new();
        for (i, device) in self.kernel()?.devices()?.iter().enumerate() {
            let path = device.path();
            let mut put = |key: &str, value: f64| out.insert(format!("device.{i}.{key}"), value);
            let count = |what| path.counted(what) as f64;
            let own: Vec<_> = tenant::list()
                .into_iter()
                .filter(|t| (t.device().kind(), t.device().ordinal()) == (device.kind(), device.ordinal()))
                .collect();
            let living: u64 = own.iter().map(|t| t.space().allocations_made()).sum();
            put("allocations_pool", count(Count::PoolAllocations) + living as f64);
            put("allocations_standard", count(Count::StandardAllocations));
            put("granules_created", count(Count::Granules));
            let launches = match device.kind() {
                DeviceKind::Cpu => crate::device::cpu::submitted() as f64,
                DeviceKind::Cuda => count(Count::Launches),
            };
            put("launches", launches);
            for (name, copies, bytes, waited, time) in [
                ("up", Count::UpCopies, Count::UpBytes, Count::UpWaitedBytes, Count::UpWaitedNanos),
                ("down", Count::DownCopies, Count::DownBytes, Count::DownWaitedBytes, Count::DownWaitedNanos),
                (
                    "within",
                    Count::WithinCopies,
                    Count::WithinBytes,
                    Count::WithinWaitedBytes,
                    Count::WithinWaitedNanos,
                ),
            ] {
                put(&format!("copies_{name}"), count(copies));
                put(&format!("copied_{name}_bytes"), count(bytes));
                if path.counted(time) > 0 {
                    // Bytes a nanosecond are 10^9 bytes a second.
                    put(&format!("copied_{name}_gb_per_s"), count(waited) / count(time));
                }
            }
            put("copies_own_stream", count(Count::OwnStreamCopies));
            put("device_time_seconds", own.iter().map(|t| t.share().used().as_secs_f64()).sum());
            put("wait_time_seconds", own.iter().map(|t| t.share().waited().as_secs_f64()).sum());
        }
        Ok(out)
    }
}
