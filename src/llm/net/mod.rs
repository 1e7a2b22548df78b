//! Networks: the passes of each architecture, written once over [`crate::ops::Ops`].

pub(crate) mod buffer;
pub(crate) mod decoder;
pub(crate) mod encoder;
pub(crate) mod scratch;
pub(crate) mod weights;

use crate::Result;
use crate::device::DevicePtr;
use crate::ops::{Product, Weight};
use weights::Plan;

/// A matrix with its bias.
#[derive(Clone, Copy)]
pub(crate) struct Linear {
    weight: Weight,
    bias: Option<DevicePtr>,
}

impl Linear {
    fn bind(plan: &Plan, base: DevicePtr, name: &str, bias: bool) -> Result<Linear> {
        let weight = plan.matrix(base, &format!("{name}.weight"))?;
        let bias = if bias { Some(plan.vector(base, &format!("{name}.bias"), weight.rows)?) } else { None };
        Ok(Linear { weight, bias })
    }

    fn to(&self, out: DevicePtr) -> Product {
        Product { weight: self.weight, bias: self.bias, out, add: false }
    }

    fn onto(&self, out: DevicePtr) -> Product {
        Product { add: true, ..self.to(out) }
    }
}
