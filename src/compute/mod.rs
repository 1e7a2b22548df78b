//! Compute of tenants: nodes made of processors, the gate that orders work where nodes overlap, and tasks.

mod gate;
mod nodes;
mod share;
mod tasks;

pub use gate::{Gate, Permit};
pub use nodes::{NodeInfo, Nodes};
pub use share::Share;
pub(crate) use tasks::serve;
pub use tasks::{Ended, Priority, Stack, Task, TaskBody, TaskContext, TaskInfo, TaskSpec, TaskState, Tasks};
