//! Which nodes a device offers.

use super::{Entry, NodeKind};
use crate::device::{Device, DeviceInfo, DeviceKind};
use crate::{Error, Result};
use std::collections::BTreeMap;
use std::sync::Arc;

/// How a device's units are cut into nodes that can be taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Layout {
    /// One node a unit.
    #[default]
    Units,
    /// So many slices of the same size for as many tenants. Where there are fewer units, slices share them and their
    /// tenants take turns.
    Slices(u32),
    /// One node of all units.
    Whole,
}

/// The most slices of [`Layout::Slices`].
pub const MOST_SLICES: u32 = 16;
/// Banks of a device, and the part of its memory that each is.
const BANKS: u32 = 8;
const BANK_PART: u64 = 64;

impl Layout {
    /// `slices` slices.
    pub fn slices(slices: u32) -> Result<Layout> {
        if slices == 0 || slices > MOST_SLICES {
            return Err(Error::argument("llms", format!("{slices} is not in 1 to {MOST_SLICES}")));
        }
        Ok(Layout::Slices(slices))
    }

    /// The units of each node.
    fn cut(self, units: u32) -> Vec<Vec<u32>> {
        match self {
            Layout::Units => (0..units).map(|u| vec![u]).collect(),
            Layout::Whole => vec![(0..units).collect()],
            Layout::Slices(n) if n > units => (0..n).map(|i| vec![i % units]).collect(),
            Layout::Slices(n) => (0..n).map(|i| (i * units / n..(i + 1) * units / n).collect()).collect(),
        }
    }
}

/// The numbers of a device's own nodes: processors with matrix circuits from 0, without them from `without`, everything
/// else from `others`. They do not depend on the layout, so that an id means the same kind for as long as the process runs.
pub(super) struct Numbers {
    pub with: Option<u32>,
    pub without: u32,
    pub others: u32,
}

impl Numbers {
    pub fn of(units: u32, info: &DeviceInfo, kind: DeviceKind) -> Numbers {
        let room = units.max(MOST_SLICES);
        match kind == DeviceKind::Cpu || info.tensor_cores > 0 {
            true => Numbers { with: Some(0), without: room, others: 2 * room },
            false => Numbers { with: None, without: 0, others: room },
        }
    }
}

/// The processor nodes of a layout, by id.
pub(super) fn processors(
    device: &dyn Device,
    numbers: &Numbers,
    layout: Layout,
    memory: u64,
    words: &Words,
) -> BTreeMap<u32, Entry> {
    let units = device.units();
    let mut nodes = BTreeMap::new();
    for (first, kind) in [(numbers.with, NodeKind::TensorCore), (Some(numbers.without), NodeKind::CudaCore)] {
        let Some(first) = first else { continue };
        for (i, own) in layout.cut(units.len() as u32).into_iter().enumerate() {
            let processors = own.iter().map(|&u| units[u as usize].processors).sum();
            let detail = words.of(kind);
            nodes.insert(first + i as u32, Entry::new(kind, own, processors, memory, detail));
        }
    }
    nodes
}

/// Banks, shared memory and parts of the cache.
pub(super) fn others(device: &Arc<dyn Device>, info: &DeviceInfo, numbers: &Numbers) -> BTreeMap<u32, Entry> {
    let mut list = Vec::new();
    let granularity = device.granularity();
    let bank = (info.total_memory / BANK_PART / granularity * granularity).max(granularity);
    let numa = if device.kind() == DeviceKind::Cpu { info.numa_nodes.as_slice() } else { &[] };
    for i in 0..BANKS {
        let on = (numa.len() > 1).then(|| numa[i as usize % numa.len()]);
        let place = on.map_or_else(String::new, |n| format!(" on NUMA node {n}"));
        let detail = format!("physical memory{place}, kept for the holder from the moment it is taken");
        list.push(Entry { numa_node: on, ..Entry::new(NodeKind::MemoryBank, vec![], 0, bank, detail) });
    }
    for unit in device.units() {
        let (bytes, detail) = match device.kind() {
            DeviceKind::Cpu => (
                info.l2_cache / 2 / 4096 * 4096,
                "memory of half the size of the core's own L2 cache, in the holder's space".to_string(),
            ),
            _ => (
                u64::from(info.shared_memory_per_multiprocessor) * u64::from(unit.processors),
                "the holder's kernels run with the largest carve-out of shared memory".to_string(),
            ),
        };
        if bytes > 0 {
            let kind = NodeKind::SharedMemory;
            list.push(Entry::new(kind, vec![unit.index], unit.processors, bytes, detail));
        }
    }
    for part in device.cache_parts() {
        let processors = part.units.iter().map(|&u| device.units()[u as usize].processors).sum();
        let detail = match part.units.is_empty() {
            true => "a slice of L2 in which a window of the holder's memory persists".to_string(),
            false => format!("the last-level cache of {processors} cores, on which the holder stays"),
        };
        list.push(Entry::new(NodeKind::L2Cache, part.units, processors, part.bytes, detail));
    }
    (numbers.others..).zip(list).collect()
}

/// What processors are on a device, in words.
pub(super) struct Words {
    with: String,
    without: String,
}

impl Words {
    pub fn new(kind: DeviceKind, info: &DeviceInfo) -> Words {
        match kind {
            DeviceKind::Cpu => {
                let with = match info.isa.as_str() {
                    "avx512-vnni" => "cores with 8-bit dot products (AVX-512 VNNI)".to_string(),
                    "scalar" => {
                        "cores without 8-bit dot products: 8-bit arithmetic in plain code".to_string()
                    }
                    isa => format!("cores without 8-bit dot products (VNNI): 8-bit arithmetic by {isa}"),
                };
                Words { with, without: "cores for f32 arithmetic alone".into() }
            }
            _ => {
                let each = info.tensor_cores.checked_div(info.multiprocessors).unwrap_or(0);
                Words {
                    with: format!("SMs with {each} tensor cores each"),
                    without: "SMs for f32 arithmetic alone: no tensor-core instruction".into(),
                }
            }
        }
    }

    fn of(&self, kind: NodeKind) -> String {
        match kind {
            NodeKind::TensorCore => self.with.clone(),
            _ => self.without.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_cover_all_units_and_share_them_only_when_there_are_too_few() {
        assert_eq!(Layout::Slices(4).cut(16)[3], [12, 13, 14, 15]);
        let uneven = Layout::Slices(3).cut(16);
        assert_eq!(uneven.iter().map(Vec::len).collect::<Vec<_>>(), [5, 5, 6]);
        assert_eq!(uneven.concat(), (0..16).collect::<Vec<_>>());
        assert_eq!(Layout::Slices(4).cut(2), [[0], [1], [0], [1]]);
        assert_eq!(Layout::Whole.cut(2), [[0, 1]]);
        assert_eq!(Layout::Units.cut(2), [[0], [1]]);
        assert!(Layout::slices(0).is_err() && Layout::slices(17).is_err());
    }
}
