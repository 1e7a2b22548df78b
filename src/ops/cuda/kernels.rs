//! The embedded kernel image, loaded once for each device.

use crate::device::cuda::{CudaDevice, CudaStream, Function, Module};
use crate::{Error, Result};
use once_cell::sync::Lazy;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::{Arc, Weak};

/// Machine code of every kernel for every supported GPU; built by `scripts/build_kernels`.
pub(super) static IMAGE: &[u8] = include_bytes!("../../../kernels/images/cogniware.fatbin");
/// The names of the kernels in it, one a line.
static NAMES: &str = include_str!("../../../kernels/images/kernels.txt");

/// The kernels of one device, by name.
pub(crate) struct Kernels {
    functions: HashMap<&'static str, Function>,
}

static LOADED: Lazy<Mutex<HashMap<usize, Weak<Kernels>>>> = Lazy::new(Default::default);

impl Kernels {
    /// The kernels of `device`, loaded now or shared with whoever loaded them before.
    pub(crate) fn of(device: &CudaDevice) -> Result<Arc<Kernels>> {
        // The functions keep the context, so its address stays its own for as long as they live.
        let key = Arc::as_ptr(device.context()) as usize;
        let mut loaded = LOADED.lock();
        if let Some(kernels) = loaded.get(&key).and_then(Weak::upgrade) {
            return Ok(kernels);
        }
        let module = Module::load(device, IMAGE).map_err(|e| e.within("loading the kernels of Cogniware"))?;
        let functions = NAMES
            .lines()
            .map(|name| Ok((name, module.function(name)?)))
            .collect::<Result<HashMap<_, _>>>()?;
        let kernels = Arc::new(Kernels { functions });
        loaded.retain(|_, k| k.strong_count() > 0);
        loaded.insert(key, Arc::downgrade(&kernels));
        Ok(kernels)
    }

    pub(super) fn get(&self, name: &str) -> Result<&Function> {
        self.functions.get(name).ok_or_else(|| {
            Error::new(crate::Status::Internal, format!("the kernel image has no kernel {name:?}"))
        })
    }

    /// How many blocks of a kernel an SM holds at once; at least 1.
    pub(crate) fn occupancy(&self, name: &str, threads: u32, smem: u32) -> Result<u32> {
        Ok(self.get(name)?.occupancy(threads, smem)?.max(1))
    }

    /// Queues a kernel.
    ///
    /// # Safety
    /// As [`Function::launch`].
    pub(crate) unsafe fn launch(
        &self,
        stream: &CudaStream,
        name: &str,
        grid: [u32; 3],
        block: u32,
        smem: u32,
        args: &mut [*mut c_void],
    ) -> Result<()> {
        let function = self.get(name)?;
        // SAFETY: the caller's duty.
        unsafe { function.launch(stream, grid, [block, 1, 1], smem, args) }
    }
}

/// Pointers to local variables, as a launch takes its arguments.
macro_rules! args {
    ($($value:expr),* $(,)?) => {
        &mut [$( (&raw const $value).cast_mut().cast::<std::ffi::c_void>() ),*]
    };
}
pub(crate) use args;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quant::DType;

    #[test]
    fn the_image_has_every_kernel_that_is_asked_for() {
        let has: Vec<&str> = NAMES.lines().collect();
        let mut wanted: Vec<String> = [
            "cw_activate",
            "cw_add",
            "cw_attend_join",
            "cw_bias",
            "cw_gated",
            "cw_gather",
            "cw_layer_norm",
            "cw_rms_norm",
            "cw_rms_norm_small",
            "cw_rope_store_f16",
            "cw_rope_store_f32",
            "cw_split_rows",
            "cw_to_bf16",
            "cw_to_f16",
        ]
        .map(String::from)
        .into();
        for dtype in [DType::F32, DType::F16, DType::BF16, DType::Q8_0, DType::Q4_0, DType::Q4_K, DType::Q6_K]
        {
            wanted.push(super::super::simple::embed_kernel(dtype));
            wanted.extend(super::super::products::kernels(dtype));
        }
        for head_dim in [32, 64, 80, 128, 256] {
            wanted.push(super::super::attention::full_kernel(head_dim));
            for kv in [DType::F16, DType::F32] {
                wanted.push(super::super::attention::prefill_kernel(kv, head_dim));
                for heads in [1, 4] {
                    wanted.push(super::super::attention::decode_kernel(kv, head_dim, heads));
                }
            }
        }
        wanted.extend(super::super::tensor::kernels());
        wanted.extend(super::super::ternary::kernels());
        for name in &wanted {
            assert!(has.contains(&name.as_str()), "kernels/images/kernels.txt has no {name}");
        }
        for name in &has {
            assert!(wanted.iter().any(|w| w == name), "no code launches {name}");
        }
    }

    #[test]
    fn the_names_are_those_of_the_report() {
        let report = include_str!("../../../kernels/images/resources.txt");
        for name in NAMES.lines() {
            assert_eq!(report.lines().filter(|l| l.split(' ').nth(1) == Some(name)).count(), 7, "{name}");
        }
        assert!(IMAGE.starts_with(&[0x50, 0xed, 0x55, 0xba]), "the image is no fatbin");
    }
}
