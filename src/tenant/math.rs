//! By which rules a tenant's products are computed.

use super::Tenant;
use crate::compute::NodeKind;
use crate::ops::Math;

impl Tenant {
    /// By which rules its products are computed: what [`Tenant::set_math`] said; else without matrix circuits when all
    /// its processors were given to it as [`NodeKind::CudaCore`], else by the device's [`crate::ops::MathPolicy`].
    pub fn math(&self) -> Math {
        if let Some(own) = *self.own_math.lock() {
            return own;
        }
        let held = self.held(&self.compute.lock());
        let mut processors = held.iter().filter(|n| n.kind.is_processors()).peekable();
        let some = processors.peek().is_some();
        let plain = some && processors.all(|n| n.kind == NodeKind::CudaCore && !n.virtual_node);
        if plain { Math::Plain } else { self.policy.math() }
    }

    /// Sets the rules for this tenant alone, or (`None`) lets them follow from its nodes and its device. Running work
    /// changes to them between two steps.
    pub fn set_math(&self, math: Option<Math>) {
        if std::mem::replace(&mut *self.own_math.lock(), math) != math {
            let old = self.compute.lock().changed();
            drop(old);
        }
    }
}
