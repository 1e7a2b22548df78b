//! How busy the host is.

use crate::device::DeviceHealth;
use parking_lot::Mutex;
use std::fs;
use std::path::Path;

/// The system's counters when they were read last: ticks busy, ticks in all.
#[derive(Default)]
pub(super) struct Load(Mutex<Option<(u64, u64)>>);

impl Load {
    /// Figures now; `memory` is free and total bytes.
    pub fn read(&self, root: &Path, memory: Option<(u64, u64)>) -> DeviceHealth {
        let stat = fs::read_to_string(root.join("proc/stat")).ok();
        let now = stat.as_deref().and_then(ticks);
        let before = std::mem::replace(&mut *self.0.lock(), now);
        let part = |(a, b): ((u64, u64), (u64, u64))| {
            let all = b.1.checked_sub(a.1).filter(|&all| all > 0)?;
            Some((b.0.saturating_sub(a.0) as f64 / all as f64).min(1.0))
        };
        let cpuinfo = fs::read_to_string(root.join("proc/cpuinfo")).ok();
        DeviceHealth {
            utilization: before.zip(now).and_then(part),
            memory_used: memory.map(|(free, total)| total.saturating_sub(free)),
            memory_total: memory.map(|(_, total)| total),
            clock: cpuinfo.as_deref().and_then(clock),
            ..DeviceHealth::default()
        }
    }
}

/// Of the first line of `/proc/stat`: ticks not idle and not waiting for disks, and all ticks.
fn ticks(stat: &str) -> Option<(u64, u64)> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    // user nice system idle iowait irq softirq steal; what follows is part of user already.
    let fields: Vec<u64> = line.split_whitespace().take(8).map_while(|f| f.parse().ok()).collect();
    let all: u64 = fields.iter().sum();
    let idle = fields.get(3)? + fields.get(4).copied().unwrap_or(0);
    Some((all - idle, all))
}

/// The mean clock in Hz of the cores that `/proc/cpuinfo` tells about.
fn clock(cpuinfo: &str) -> Option<f64> {
    let lines = cpuinfo.lines().filter(|l| l.starts_with("cpu MHz"));
    let clocks: Vec<f64> = lines.filter_map(|l| l.split(':').nth(1)?.trim().parse().ok()).collect();
    let sum: f64 = clocks.iter().sum();
    (sum > 0.0).then(|| sum / clocks.len() as f64 * 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn load_is_the_part_between_two_readings() {
        let root = tempfile::tempdir().unwrap();
        let proc = root.path().join("proc");
        fs::create_dir(&proc).unwrap();
        fs::write(proc.join("cpuinfo"), "cpu MHz\t\t: 2000.0\nflags: x\ncpu MHz : 3000.0\n").unwrap();
        fs::write(proc.join("stat"), "cpu  100 0 100 700 100 0 0 0 50 0\ncpu0 1 2 3\n").unwrap();
        let load = Load::default();
        let first = load.read(root.path(), Some((25, 100)));
        assert_eq!((first.utilization, first.memory_used, first.clock), (None, Some(75), Some(2.5e9)));
        fs::write(proc.join("stat"), "cpu  160 0 115 715 110 0 0 0 50 0\n").unwrap();
        assert_eq!(load.read(root.path(), None).utilization, Some(0.75));
        assert_eq!(load.read(root.path(), None).utilization, None, "no time has passed");
        fs::remove_file(proc.join("stat")).unwrap();
        assert_eq!(load.read(root.path(), None).utilization, None);
    }
}
