//! Cores, caches, NUMA nodes and memory, as `/proc` and `/sys` tell them.

use super::super::{CachePart, Unit};
use crate::{Error, Result, Status};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// A core with those of its hardware threads that this process may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Core {
    /// The operating system's numbers of its hardware threads, ascending; at least one.
    pub cpus: Vec<u32>,
    /// Its NUMA node.
    pub numa_node: u32,
}

/// What is known about the host's processor. Figures that cannot be read are 0 or empty.
#[derive(Clone, Debug)]
pub struct Topology {
    root: PathBuf,
    /// The processor's name.
    pub name: String,
    /// The cores that this process may use, by their first hardware thread.
    pub cores: Vec<Core>,
    /// NUMA nodes that have one of these cores, ascending.
    pub numa_nodes: Vec<u32>,
    /// Bytes of L1 data cache of a core.
    pub l1_cache: u64,
    /// Bytes of L2 cache of a core.
    pub l2_cache: u64,
    /// Bytes of all last-level (L3) caches that these cores use.
    pub l3_cache: u64,
    /// The last-level caches, each with the cores (indices into `cores`) that share it, by their first core. Where the
    /// system tells of no L3 the L2 caches are the last level.
    pub cache_parts: Vec<CachePart>,
    /// The highest clock that the system reports, in kHz.
    pub clock_khz: u32,
    /// The cgroup folders that may limit this process, nearest first.
    cgroups: Vec<PathBuf>,
}

impl Topology {
    /// Reads what the `proc` and `sys` folders under `root` say, for the processors that this process may use.
    pub fn read(root: &Path) -> Result<Topology> {
        let allowed = affinity()?;
        Self::read_for(root, &allowed)
    }

    /// As [`Topology::read`] for the hardware threads `allowed`.
    pub fn read_for(root: &Path, allowed: &[u32]) -> Result<Topology> {
        let cpu_dir = root.join("sys/devices/system/cpu");
        let nodes = numa(&root.join("sys/devices/system/node"));
        let mut cores: BTreeMap<u32, Core> = BTreeMap::new();
        let mut caches: BTreeMap<(u32, String), u64> = BTreeMap::new();
        let mut second: BTreeMap<String, u64> = BTreeMap::new();
        let (mut l1, mut l2, mut clock) = (0, 0, 0);
        for &cpu in allowed {
            let dir = cpu_dir.join(format!("cpu{cpu}"));
            let siblings = text(&dir.join("topology/thread_siblings_list")).map(|t| cpu_list(&t));
            let first = siblings.unwrap_or_default().into_iter().find(|s| allowed.contains(s)).unwrap_or(cpu);
            let numa_node = nodes.get(&cpu).copied().unwrap_or(0);
            cores.entry(first).or_insert_with(|| Core { cpus: Vec::new(), numa_node }).cpus.push(cpu);
            for index in 0..8 {
                let cache = dir.join(format!("cache/index{index}"));
                let Some(level) = number(&cache.join("level")) else { break };
                let kind = text(&cache.join("type")).unwrap_or_default();
                let size = text(&cache.join("size")).and_then(|t| size(&t)).unwrap_or(0);
                match level {
                    1 if kind == "Data" => l1 = l1.max(size),
                    2 => {
                        l2 = l2.max(size);
                        let shared = text(&cache.join("shared_cpu_list")).unwrap_or_else(|| cpu.to_string());
                        second.insert(shared, size);
                    }
                    3 => {
                        let shared = text(&cache.join("shared_cpu_list")).unwrap_or_default();
                        caches.insert((3, shared), size);
                    }
                    _ => {}
                }
            }
            clock = clock.max(number(&dir.join("cpufreq/cpuinfo_max_freq")).unwrap_or(0));
        }
        if cores.is_empty() {
            return Err(Error::new(Status::NoDevice, "this process may use no processor at all"));
        }
        let cores: Vec<Core> = cores.into_values().collect();
        let last: Vec<(&String, u64)> = match caches.is_empty() {
            false => caches.iter().map(|((_, shared), size)| (shared, *size)).collect(),
            true => second.iter().map(|(shared, size)| (shared, *size)).collect(),
        };
        let cache_parts = cache_parts(&cores, &last);
        let mut numa_nodes: Vec<u32> = cores.iter().map(|c| c.numa_node).collect();
        numa_nodes.sort_unstable();
        numa_nodes.dedup();
        Ok(Topology {
            root: root.to_path_buf(),
            name: name(root),
            cores,
            numa_nodes,
            l1_cache: l1,
            l2_cache: l2,
            l3_cache: caches.values().sum(),
            cache_parts,
            clock_khz: clock as u32,
            cgroups: cgroups(root),
        })
    }

    /// The units of the device: one a core.
    pub fn units(&self) -> Vec<Unit> {
        let unit = |(index, core): (usize, &Core)| Unit {
            index: index as u32,
            processors: 1,
            os_index: core.cpus[0],
            numa_node: core.numa_node,
        };
        self.cores.iter().enumerate().map(unit).collect()
    }

    /// The most hardware threads that one of the cores has.
    pub fn threads_per_core(&self) -> u32 {
        self.cores.iter().map(|c| c.cpus.len() as u32).max().unwrap_or(1)
    }

    /// Where the system's own files are.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Free and total bytes: what the system has available, within the limits of the cgroups of this process.
    pub fn memory(&self) -> Result<(u64, u64)> {
        let path = self.root.join("proc/meminfo");
        let info = fs::read_to_string(&path).map_err(|e| Error::io(path.display(), e))?;
        let field = |name: &str| {
            let line = info.lines().find_map(|l| l.strip_prefix(name))?;
            line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
        };
        let total =
            field("MemTotal:").ok_or_else(|| Error::format(format!("{} has no MemTotal", path.display())))?;
        let free = field("MemAvailable:").or_else(|| field("MemFree:")).unwrap_or(0);
        let (mut free, mut all) = (free.min(total), total);
        for dir in &self.cgroups {
            let v2 = number(&dir.join("memory.max"));
            let Some(limit) = v2.or_else(|| number(&dir.join("memory.limit_in_bytes"))) else { continue };
            if limit >= total {
                continue;
            }
            let (usage, key) = match v2 {
                Some(_) => ("memory.current", "inactive_file "),
                None => ("memory.usage_in_bytes", "total_inactive_file "),
            };
            // Clean file pages count as used but go away on demand.
            let stat = text(&dir.join("memory.stat")).unwrap_or_default();
            let cache = stat
                .lines()
                .find_map(|l| l.strip_prefix(key))
                .and_then(|v| v.trim().parse().ok())
                .unwrap_or(0);
            let used = number(&dir.join(usage)).unwrap_or(0).saturating_sub(cache);
            all = all.min(limit);
            free = free.min(limit.saturating_sub(used));
        }
        Ok((free, all))
    }
}

/// Caches by the hardware threads that share them, as cores.
fn cache_parts(cores: &[Core], caches: &[(&String, u64)]) -> Vec<CachePart> {
    let mut parts: Vec<CachePart> = caches
        .iter()
        .filter(|(_, bytes)| *bytes > 0)
        .map(|(shared, bytes)| {
            let cpus = cpu_list(shared);
            let of =
                |(i, core): (usize, &Core)| core.cpus.iter().any(|c| cpus.contains(c)).then_some(i as u32);
            CachePart { bytes: *bytes, units: cores.iter().enumerate().filter_map(of).collect() }
        })
        .filter(|part| !part.units.is_empty())
        .collect();
    parts.sort_by(|a, b| a.units.cmp(&b.units));
    parts
}

/// The best instruction set that this processor and the kernels of this crate have in common.
pub(super) fn isa() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    {
        let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        let avx512 = avx2
            && is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl");
        if avx512 && is_x86_feature_detected!("avx512vnni") {
            return "avx512-vnni";
        }
        if avx512 {
            return "avx512";
        }
        if avx2 {
            return "avx2";
        }
    }
    "scalar"
}

/// The hardware threads that this process may use.
fn affinity() -> Result<Vec<u32>> {
    // A machine may have more processors than fit into `cpu_set_t`: ask with more room until it is enough.
    let mut words = 16;
    loop {
        let mut set = vec![0u64; words];
        // SAFETY: the kernel writes at most the size that is told.
        let n = unsafe { libc::sched_getaffinity(0, words * 8, set.as_mut_ptr().cast::<libc::cpu_set_t>()) };
        if n == 0 {
            let bit = |i: &u32| set[*i as usize / 64] >> (i % 64) & 1 == 1;
            return Ok((0..words as u32 * 64).filter(bit).collect());
        }
        let cause = std::io::Error::last_os_error();
        if cause.raw_os_error() != Some(libc::EINVAL) || words > 1 << 12 {
            return Err(Error::io("sched_getaffinity", cause));
        }
        words *= 2;
    }
}

/// Lets the calling thread run on these hardware threads only. A refusal (a cpuset that changed since) is not fatal:
/// the thread then runs where it may.
pub(super) fn pin(cpus: &[u32]) {
    let words = cpus.iter().max().map_or(1, |m| *m as usize / 64 + 1);
    let mut set = vec![0u64; words];
    for &cpu in cpus {
        set[cpu as usize / 64] |= 1 << (cpu % 64);
    }
    // SAFETY: the kernel reads the size that is told.
    unsafe { libc::sched_setaffinity(0, words * 8, set.as_ptr().cast::<libc::cpu_set_t>()) };
}

fn text(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok().map(|t| t.trim().to_string())
}

fn number(path: &Path) -> Option<u64> {
    text(path)?.parse().ok()
}

/// `32K`, `1024K`, `32M`.
fn size(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let factor = match &text[digits.len()..] {
        "" => 1,
        "K" => 1 << 10,
        "M" => 1 << 20,
        "G" => 1 << 30,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(factor)
}

/// `0-3,8,10-11`. Nonsense is left out.
fn cpu_list(text: &str) -> Vec<u32> {
    let mut all = Vec::new();
    for part in text.trim().split(',').filter(|p| !p.is_empty()) {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(from), Ok(to)) = (from.parse::<u32>(), to.parse::<u32>()) {
            all.extend((from..=to).take(1 << 16));
        }
    }
    all
}

fn numa(dir: &Path) -> BTreeMap<u32, u32> {
    let mut of = BTreeMap::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let file = entry.file_name();
        let Some(node) = file.to_str().and_then(|n| n.strip_prefix("node")?.parse().ok()) else { continue };
        for cpu in cpu_list(&text(&entry.path().join("cpulist")).unwrap_or_default()) {
            of.insert(cpu, node);
        }
    }
    of
}

fn name(root: &Path) -> String {
    let info = text(&root.join("proc/cpuinfo")).unwrap_or_default();
    let value = |key: &str| {
        let line = info.lines().find(|l| l.starts_with(key))?;
        Some(line.split_once(':')?.1.trim().to_string())
    };
    value("model name").or_else(|| value("Model")).unwrap_or_else(|| std::env::consts::ARCH.to_string())
}

/// The folders of the memory controller that apply to this process, from its own cgroup up to the root.
fn cgroups(root: &Path) -> Vec<PathBuf> {
    let base = root.join("sys/fs/cgroup");
    let mut dirs = Vec::new();
    for line in text(&root.join("proc/self/cgroup")).unwrap_or_default().lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let top = match controllers {
            "" => base.clone(),
            c if c.split(',').any(|c| c == "memory") => base.join("memory"),
            _ => continue,
        };
        let mut dir = top.join(path.trim_start_matches('/'));
        while dir.starts_with(&top) {
            dirs.push(dir.clone());
            if !dir.pop() {
                break;
            }
        }
    }
    dirs
}
