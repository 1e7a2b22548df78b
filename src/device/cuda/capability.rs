//! What a GPU and its driver can do, for those who have to choose.

use super::context::Context;
use super::info;
use super::node::Ladder;
use super::space::AddressSpace;
use super::types::attribute;
use crate::Result;

/// One thing that a device may be able to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capability {
    /// A stable name: `virtual_memory`, `memory_export`, `sm_groups`, `graphs`, `stream_priorities`.
    pub name: &'static str,
    /// Whether it is there.
    pub available: bool,
    /// Figures where it is there; else why not, and what would help.
    pub detail: String,
}

/// The list for one device.
pub(crate) fn list(context: &Context, ladder: &Ladder, space: &AddressSpace) -> Result<Vec<Capability>> {
    let driver = &context.driver;
    let yes = |name, detail: String| Capability { name, available: true, detail };
    let no = |name, detail: String| Capability { name, available: false, detail };
    let mut list = vec![yes("virtual_memory", format!("granules of {} bytes", space.granularity()))];
    list.push(match space.exportable() {
        true => yes("memory_export", "granules export as file descriptors".into()),
        false => no("memory_export", "the driver offers no file descriptors for memory".into()),
    });
    list.push(match ladder.undivided() {
        None => {
            let sms: u32 = ladder.units().iter().map(|u| u.processors).sum();
            yes("sm_groups", format!("{} units with {sms} SMs together", ladder.units().len()))
        }
        Some(e) => no("sm_groups", format!("every node is the whole device: {e}")),
    });
    let graph_calls = ["cuStreamBeginCapture_v2", "cuGraphInstantiateWithFlags", "cuGraphLaunch"];
    list.push(match graph_calls.iter().find_map(|n| driver.lacks(n).map(|since| (n, since))) {
        None => yes("graphs", "work is captured and launched as one command".into()),
        Some((name, since)) => {
            no("graphs", format!("the driver has no {name}, which came with CUDA {since}"))
        }
    });
    list.push(match info::attribute(context, attribute::STREAM_PRIORITIES)? {
        0 => no("stream_priorities", "all streams have one priority".into()),
        _ => {
            let best = context.clamp_priority(i32::MIN);
            yes("stream_priorities", format!("{best} (first) to {} (last)", context.clamp_priority(i32::MAX)))
        }
    });
    Ok(list)
}
