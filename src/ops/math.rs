//! How exactly, and on which circuits, products are computed.

use crate::device::{Device, DeviceKind, PerDevice};
use crate::{Error, Result};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

/// The rules for matrix products. What an answer may lose in the last digits differs, what it means does not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Math {
    /// No matrix circuits. GPU: no tensor-core instruction and no library call that may use one; weights become f32 in
    /// registers and are multiplied with f32 activations. CPU: no 8-bit or bf16 dot products; likewise f32 times f32.
    Plain,
    /// Matrix circuits where they cost no accuracy that the weights have. GPU: tensor cores with split f16 activations (22
    /// bits), F32 matrices in f32. CPU: 8-bit dot products for quantized weights, f32 for all others.
    #[default]
    Exact,
    /// Matrix circuits wherever there are some. GPU: from 16 rows on F32 matrices with TF32 inputs, BF16 and F16 matrices with
    /// activations of the same 16 bits. CPU: F32 and BF16 matrices with bf16 dot products.
    Fast,
}

impl Math {
    /// The name in figures: `plain`, `exact`, `fast`.
    pub fn name(self) -> &'static str {
        match self {
            Math::Plain => "plain",
            Math::Exact => "exact",
            Math::Fast => "fast",
        }
    }
}

/// The default of one device, for tenants whose nodes leave the choice.
#[derive(Default)]
pub struct MathPolicy {
    math: Mutex<Math>,
    version: AtomicU64,
}

static POLICIES: PerDevice<MathPolicy> = PerDevice::new();

impl MathPolicy {
    /// The policy of a device; one per device and process.
    pub fn of(device: &Arc<dyn Device>) -> Arc<MathPolicy> {
        POLICIES.get(device, MathPolicy::default)
    }

    /// What holds now.
    pub fn math(&self) -> Math {
        *self.math.lock()
    }

    /// How often it changed. Long-running work compares it between steps.
    pub fn version(&self) -> u64 {
        self.version.load(SeqCst)
    }

    /// Sets the default; models that run change to it at their next step.
    pub fn set(&self, math: Math) {
        if std::mem::replace(&mut *self.math.lock(), math) != math {
            self.version.fetch_add(1, SeqCst);
        }
    }
}

/// What [`Math::Fast`] uses on a device.
///
/// Errors: [`crate::Status::Unsupported`] where the device has nothing that would make it differ from [`Math::Exact`].
pub fn fast_means(device: &Arc<dyn Device>) -> Result<&'static str> {
    match device.kind() {
        DeviceKind::Cpu if super::cpu::isa::has_bf16() => Ok("bf16 dot products (AVX-512 BF16)"),
        DeviceKind::Cpu => Err(Error::unsupported(
            "this processor has no bf16 dot products (AVX-512 BF16), so its products of f32 numbers stay f32",
        )
        .advise("nothing to do: quantized models use 8-bit dot products already")),
        _ => {
            let info = device.info()?;
            if info.tensor_cores == 0 || info.compute_major < 8 {
                return Err(Error::unsupported(format!(
                    "{} (compute capability {}.{}) has no tensor cores that take TF32 or BF16",
                    info.name, info.compute_major, info.compute_minor
                ))
                .advise("use a GPU of compute capability 8.0 or newer"));
            }
            Ok("tensor cores with TF32 and BF16 inputs")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_counted_and_no_change_is_not() {
        let policy = MathPolicy::default();
        assert_eq!((policy.math(), policy.version()), (Math::Exact, 0));
        policy.set(Math::Exact);
        assert_eq!(policy.version(), 0);
        policy.set(Math::Fast);
        assert_eq!((policy.math(), policy.version()), (Math::Fast, 1));
    }
}
