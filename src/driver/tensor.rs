//! The device-wide rules for products.

use super::Driver;
use crate::Result;
use crate::ops::{Math, MathPolicy, fast_means};

impl Driver {
    /// Lets products of f32 numbers on the current device run on its matrix circuits with narrower inputs: [`Math::Fast`].
    /// Models that run change to it at their next step. Tenants that were given nodes without matrix circuits stay
    /// without. Does nothing when it is so already.
    ///
    /// Errors: [`crate::Status::Unsupported`] where the device has no such circuits.
    pub fn enable_tensor_cores(&self) -> Result<()> {
        let (_, device) = self.kernel()?.current_device()?;
        fast_means(&device)?;
        MathPolicy::of(&device).set(Math::Fast);
        Ok(())
    }

    /// Whether [`Driver::enable_tensor_cores`] is in force on the current device.
    pub fn tensor_cores(&self) -> Result<bool> {
        let (_, device) = self.kernel()?.current_device()?;
        Ok(MathPolicy::of(&device).math() == Math::Fast)
    }

    /// Back to [`Math::Exact`], with which a device begins: no input of a product loses bits that its weights have.
    pub fn disable_tensor_cores(&self) -> Result<()> {
        let (_, device) = self.kernel()?.current_device()?;
        MathPolicy::of(&device).set(Math::Exact);
        Ok(())
    }
}
