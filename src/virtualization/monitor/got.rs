//! What part of a device's work a tenant got.

use crate::compute::Utilization;
use crate::device::Device;
use crate::tenant::{self, Tenant};
use std::sync::Arc;

/// A tenant's part of what all tenants of its device (LLMs are among them) used of it in the last second and minute: busy time
/// times the processors of its node over the sum of theirs. 0 when none of them ran.
pub fn share_got(tenant: &Arc<Tenant>) -> Utilization {
    let same = |a: &dyn Device, b: &dyn Device| (a.kind(), a.ordinal()) == (b.kind(), b.ordinal());
    let here = tenant::list().into_iter().filter(|t| same(&**t.device(), &**tenant.device()));
    // Read once, so that it is a part of the sum even while it runs.
    let own = used(tenant);
    let (mut second, mut minute) = own;
    for other in here.filter(|t| !Arc::ptr_eq(t, tenant)) {
        let used = used(&other);
        (second, minute) = (second + used.0, minute + used.1);
    }
    let part = |own: f64, all: f64| if all > 0.0 { own / all } else { 0.0 };
    Utilization { second: part(own.0, second), minute: part(own.1, minute) }
}

fn used(tenant: &Tenant) -> (f64, f64) {
    let (utilization, processors) = (tenant.share().utilization(), f64::from(tenant.processors_now()));
    (utilization.second * processors, utilization.minute * processors)
}
