//! Compute of tenants: nodes made of processors, the gate that orders work where nodes overlap, and tasks.

pub mod balance;
mod gate;
mod load;
mod nodes;
mod queue;
mod share;
mod spans;
mod tasks;

pub use gate::{GRACE, Gate, Permit, SLICE, Verdict};
pub use load::Load;
pub use nodes::{Layout, MOST_SLICES, NodeInfo, NodeKind, Nodes};
pub use queue::{
    CancelFlag, Cancelled, Execution, ExecutionState, HISTORY, MOST_PENDING, Queue, QueueFigures, Work,
};
pub use share::{CAP_WINDOW, Share, Utilization};
pub(crate) use tasks::serve;
pub use tasks::{
    Effort, Ended, Priority, Stack, Task, TaskBody, TaskContext, TaskInfo, TaskLimits, TaskSpec, TaskState,
    Tasks,
};
