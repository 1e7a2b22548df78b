//! The stack of each thread. On the CPU device the tenant's tasks run on threads with exactly this stack. On a GPU the
//! driver has one limit for every kernel of the process: it is the largest that a partition asks for, never below what it
//! was before the first.

use crate::compute::Stack;
use crate::device::{Device, DeviceKind};
use crate::memory::Charge;
use crate::tenant::Tenant;
use crate::{Error, Result, Status};
use parking_lot::Mutex;
use std::sync::Arc;

pub(super) enum Local {
    Host(Arc<Stack>),
    Gpu(OnGpu),
}

impl Local {
    pub(super) fn new(tenant: &Arc<Tenant>, bytes: u64) -> Result<Local> {
        if tenant.device().kind() == DeviceKind::Cpu {
            let stack = Stack::new(tenant.account(), bytes)?;
            tenant.bound_stack(&stack);
            return Ok(Local::Host(stack));
        }
        Ok(Local::Gpu(OnGpu::new(tenant, bytes)?))
    }

    /// Bytes of each thread.
    pub(super) fn bytes(&self) -> u64 {
        match self {
            Local::Host(stack) => stack.bytes(),
            Local::Gpu(gpu) => gpu.bytes,
        }
    }
}

/// What the partitions of one GPU ask for.
struct Wanted {
    /// The device's address, which is its own for as long as a partition holds it.
    device: usize,
    /// The limit before the first.
    before: u64,
    bytes: Vec<u64>,
}

fn address(device: &dyn Device) -> usize {
    std::ptr::from_ref(device).cast::<()>().addr()
}

static WANTED: Mutex<Vec<Wanted>> = Mutex::new(Vec::new());

pub(super) struct OnGpu {
    device: Arc<dyn Device>,
    bytes: u64,
    _charge: Charge,
}

impl OnGpu {
    fn new(tenant: &Tenant, bytes: u64) -> Result<OnGpu> {
        let device = tenant.device().clone();
        let mut wanted = WANTED.lock();
        let (before, threads) = device.thread_stack()?;
        // The driver keeps a stack for every thread that the GPU can hold.
        let total = bytes.checked_mul(threads.max(1)).ok_or_else(|| {
            Error::argument("size", format!("{bytes} bytes for {threads} threads overflow"))
        })?;
        let charge = tenant.account().charge(total, "local partition")?;
        let address = address(&*device);
        let at = wanted.iter().position(|w| w.device == address).unwrap_or_else(|| {
            wanted.push(Wanted { device: address, before, bytes: Vec::new() });
            wanted.len() - 1
        });
        wanted[at].bytes.push(bytes);
        let made = wanted[at].apply(&*device).and_then(|have| {
            if have >= bytes {
                return Ok(());
            }
            let text = format!("the driver gives a thread {have} bytes of stack, {bytes} were asked for");
            Err(Error::new(Status::OutOfMemory, text))
        });
        if let Err(e) = made {
            forget(&mut wanted, &*device, bytes);
            return Err(e);
        }
        Ok(OnGpu { device, bytes, _charge: charge })
    }
}

impl Wanted {
    /// Sets the device's limit; what it is then.
    fn apply(&self, device: &dyn Device) -> Result<u64> {
        let most = self.bytes.iter().copied().max().unwrap_or(0).max(self.before);
        device.set_thread_stack(most)
    }
}

fn forget(wanted: &mut Vec<Wanted>, device: &dyn Device, bytes: u64) {
    let Some(at) = wanted.iter().position(|w| w.device == address(device)) else { return };
    if let Some(i) = wanted[at].bytes.iter().position(|&b| b == bytes) {
        wanted[at].bytes.swap_remove(i);
    }
    // A device that is lost has no limit left to change.
    let _ = wanted[at].apply(device);
    if wanted[at].bytes.is_empty() {
        wanted.remove(at);
    }
}

impl Drop for OnGpu {
    fn drop(&mut self) {
        forget(&mut WANTED.lock(), &*self.device, self.bytes);
    }
}
