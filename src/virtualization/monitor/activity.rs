//! What a tenant did lately.

use super::share_got;
use crate::compute::Utilization;
use crate::telemetry::latency::LatencyFigures;
use crate::tenant::Tenant;
use std::sync::Arc;
use std::time::Duration;

/// Measured work of a tenant.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Activity {
    /// Device time times the processors that it was used on.
    pub processor_time: Duration,
    /// Parts of the last second and minute in which its processors ran its work.
    pub utilization: Utilization,
    /// Its part of what all tenants of the device used in the last second and minute: see [`share_got`].
    pub got: Utilization,
    /// Time that its pieces of work have waited between submission and their beginning, added up.
    pub queued: Duration,
    /// How long its work took; [`LatencyFigures::count`] is how much has ended.
    pub latency: LatencyFigures,
}

impl Activity {
    pub(in crate::virtualization) fn of(tenant: &Arc<Tenant>) -> Activity {
        let share = tenant.share();
        Activity {
            processor_time: share.processor_time(),
            utilization: share.utilization(),
            got: share_got(tenant),
            queued: share.queued(),
            latency: share.latency().figures(),
        }
    }
}
