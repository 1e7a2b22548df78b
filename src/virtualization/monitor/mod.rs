//! Figures of virtual GPUs for others: a function that is called with them, a file that they are published to.

mod device;
mod got;
mod hook;
mod publish;
mod ticker;

pub use device::{DeviceUsage, WINDOW};
pub use got::share_got;
pub use hook::{hook, unhook};
pub use publish::{Metrics, publish, publishing, stop_publishing};
pub use ticker::{LONGEST, SHORTEST};
