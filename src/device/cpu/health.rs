//! How busy the host is.

use crate::device::DeviceHealth;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// Closer together the counters, which tick 100 times a second, tell nothing.
const APART: Duration = Duration::from_millis(100);
/// How long readings are kept.
const KEPT: Duration = Duration::from_secs(6);

/// What was read last.
#[derive(Default)]
pub(super) struct Load(Mutex<Last>);

#[derive(Default)]
struct Last {
    at: Option<Instant>,
    /// The system's counters: ticks busy, ticks in all.
    ticks: Option<(u64, u64)>,
    utilization: Option<f64>,
    /// Readings of the last [`KEPT`], oldest first.
    readings: VecDeque<(Instant, (u64, u64))>,
}

/// Busy ticks over all ticks between two readings.
fn part(before: (u64, u64), now: (u64, u64)) -> Option<f64> {
    let all = now.1.checked_sub(before.1).filter(|&all| all > 0)?;
    Some((now.0.saturating_sub(before.0) as f64 / all as f64).min(1.0))
}

impl Last {
    /// Reads the counters, unless that was done a moment ago.
    fn refresh(&mut self, root: &Path, now: Instant) {
        if self.at.is_some_and(|at| now.saturating_duration_since(at) < APART) {
            return;
        }
        let stat = fs::read_to_string(root.join("proc/stat")).ok();
        let read = stat.as_deref().and_then(ticks);
        self.utilization = self.ticks.zip(read).and_then(|(before, now)| part(before, now));
        (self.at, self.ticks) = (Some(now), read);
        while self.readings.front().is_some_and(|r| now.saturating_duration_since(r.0) > KEPT) {
            self.readings.pop_front();
        }
        self.readings.extend(read.map(|ticks| (now, ticks)));
    }
}

impl Load {
    /// Figures now; `memory` is free and total bytes.
    pub fn read(&self, root: &Path, memory: Option<(u64, u64)>) -> DeviceHealth {
        self.read_at(root, memory, Instant::now())
    }

    fn read_at(&self, root: &Path, memory: Option<(u64, u64)>, now: Instant) -> DeviceHealth {
        let mut last = self.0.lock();
        last.refresh(root, now);
        let utilization = last.utilization;
        drop(last);
        let cpuinfo = fs::read_to_string(root.join("proc/cpuinfo")).ok();
        DeviceHealth {
            utilization,
            memory_used: memory.map(|(free, total)| total.saturating_sub(free)),
            memory_total: memory.map(|(_, total)| total),
            clock: cpuinfo.as_deref().and_then(clock),
            ..DeviceHealth::default()
        }
    }
}

impl Load {
    /// The busy part of the time from the reading that is nearest to `window` ago until now.
    pub fn busy(&self, root: &Path, window: Duration) -> Option<f64> {
        self.busy_at(root, window, Instant::now())
    }

    fn busy_at(&self, root: &Path, window: Duration, now: Instant) -> Option<f64> {
        let mut last = self.0.lock();
        last.refresh(root, now);
        let &(at, ticks) = last.readings.back()?;
        let off = |r: &&(Instant, (u64, u64))| at.saturating_duration_since(r.0).abs_diff(window);
        let earlier = last.readings.iter().filter(|r| r.0 < at).min_by_key(off)?;
        part(earlier.1, ticks)
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
        let (begin, mut seconds) = (Instant::now(), 0);
        let mut read = |memory| {
            seconds += 1;
            load.read_at(root.path(), memory, begin + Duration::from_secs(seconds))
        };
        let first = read(Some((25, 100)));
        assert_eq!((first.utilization, first.memory_used, first.clock), (None, Some(75), Some(2.5e9)));
        fs::write(proc.join("stat"), "cpu  160 0 115 715 110 0 0 0 50 0\n").unwrap();
        assert_eq!(read(None).utilization, Some(0.75));
        assert_eq!(
            load.read_at(root.path(), None, begin + Duration::from_millis(2050)).utilization,
            Some(0.75)
        );
        assert_eq!(read(None).utilization, None, "no tick has passed");
        fs::remove_file(proc.join("stat")).unwrap();
        assert_eq!(read(None).utilization, None);
    }

    #[test]
    fn a_window_ends_now_and_begins_at_the_nearest_reading() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("proc")).unwrap();
        let (load, begin) = (Load::default(), Instant::now());
        let busy = |second: u64, ticks: u64, window: u64| {
            // 100 ticks a second, of which so many were busy until then.
            let stat = format!("cpu {ticks} 0 0 {} 0 0 0 0\n", second * 100 - ticks);
            fs::write(root.path().join("proc/stat"), stat).unwrap();
            load.busy_at(root.path(), Duration::from_secs(window), begin + Duration::from_secs(second))
        };
        assert_eq!(busy(1, 100, 1), None, "there is no earlier reading");
        assert_eq!(busy(2, 150, 1), Some(0.5));
        assert_eq!(busy(3, 160, 1), Some(0.1));
        assert_eq!(busy(4, 260, 3), Some(160.0 / 300.0));
        assert_eq!(busy(4, 300, 1), Some(1.0), "read again too early");
        assert_eq!(busy(30, 260, 1), None, "all earlier ones are too old");
        assert_eq!(busy(31, 280, 1), Some(0.2));
    }
}
