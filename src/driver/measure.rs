//! What the direct path saves on a device, measured here and now: the same calls on both paths.

use crate::device::{Device, DeviceKind, Path, Stream};
use crate::tenant::{self, Tenant, TenantConfig};
use crate::{Result, Status};
use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Bytes of the allocations and of the copies that are measured. The last is one that goes through page-locked buffers.
pub(super) const ALLOCATION: u64 = 1 << 20;
const COPIES: [(&str, usize); 3] = [("64KiB", 64 << 10), ("1MiB", 1 << 20), ("32MiB", 32 << 20)];
/// Kernels of a step.
const KERNELS: u32 = 64;

/// A tenant that is closed again when this is dropped.
pub(super) struct Guest(pub Arc<Tenant>);

impl Guest {
    /// A tenant of `bytes` with the smallest node, whose name nobody else has.
    pub(super) fn new(device: &Arc<dyn Device>, what: &str, bytes: u64) -> Result<Guest> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let id = format!("cogniware-{what}-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let config = TenantConfig {
            memory_limit: bytes,
            memory_floor: 0,
            processors: device.units().iter().map(|u| u.processors).min().unwrap_or(1),
            weight: 1.0,
            priority: 2,
        };
        Ok(Guest(tenant::open(&id, device, &config)?))
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // Closed by somebody else already: nothing left to do.
        let _ = tenant::close_this(&self.0);
    }
}

/// The least mean of a few rounds: what disturbs a measurement only adds to it.
fn least(rounds: u32, each: u32, mut run: impl FnMut() -> Result<()>) -> Result<Duration> {
    let mut best = Duration::MAX;
    for _ in 0..rounds {
        let begun = Instant::now();
        for _ in 0..each {
            run()?;
        }
        best = best.min(begun.elapsed() / each);
    }
    Ok(best)
}

/// The figures of a device; keys end in their unit.
pub(super) fn measure(device: &Arc<dyn Device>) -> Result<BTreeMap<String, f64>> {
    let guest = Guest::new(device, "measure", 96 << 20)?;
    let mut out = BTreeMap::new();
    for (path, direct) in [("direct", true), ("standard", false)] {
        Path::with_direct(direct, || -> Result<()> {
            out.insert(format!("alloc_free_1MiB_{path}_ns"), nanos(allocations(&guest.0)?));
            for (name, bytes) in COPIES {
                out.insert(format!("copy_{name}_{path}_us"), nanos(copies(&guest.0, bytes)?) / 1e3);
            }
            out.insert(format!("launch_{path}_us"), nanos(launches(&guest.0, direct)?) / 1e3);
            Ok(())
        })?;
    }
    for (name, bytes) in COPIES {
        match pinned(&guest.0, bytes) {
            Ok(time) => {
                out.insert(format!("copy_{name}_pinned_us"), nanos(time) / 1e3);
            }
            // The CPU device's memory is host memory: there is nothing to pin.
            Err(e) if e.status() == Status::Unsupported => {}
            Err(e) => return Err(e),
        }
    }
    #[cfg(feature = "cuda")]
    if let Ok(cuda) = crate::device::cuda::CudaDevice::of(device.as_ref(), "device")
        && let Ok(time) = cuda.time_driver_pool(ALLOCATION, 100)
    {
        out.insert("alloc_free_1MiB_driver_pool_ns".into(), nanos(time));
    }
    Ok(out)
}

fn nanos(time: Duration) -> f64 {
    time.as_secs_f64() * 1e9
}

fn allocations(tenant: &Tenant) -> Result<Duration> {
    let space = tenant.space();
    // Two stay, so that the pool has what it needs, as in a program that runs.
    let held = [space.alloc(ALLOCATION, 256, "measure")?, space.alloc(ALLOCATION, 256, "measure")?];
    let each = if tenant.device().path().direct() { 1000 } else { 20 };
    let time = least(3, each, || {
        let ptr = space.alloc(black_box(ALLOCATION), 256, "measure")?;
        space.free(ptr)
    });
    held.into_iter().try_for_each(|ptr| space.free(ptr))?;
    time
}

fn copies(tenant: &Tenant, bytes: usize) -> Result<Duration> {
    let source = vec![7u8; bytes];
    let ptr = tenant.space().alloc(bytes as u64, 256, "measure")?;
    let each = if bytes > 4 << 20 { 1 } else { 8 };
    let time = least(3, each, || tenant.device().write(ptr, black_box(&source)));
    tenant.space().free(ptr)?;
    time
}

fn pinned(tenant: &Tenant, bytes: usize) -> Result<Duration> {
    let source = tenant.device().host_memory(bytes as u64)?;
    let ptr = tenant.space().alloc(bytes as u64, 256, "measure")?;
    let each = if bytes > 4 << 20 { 1 } else { 8 };
    // SAFETY: both are that long and live until the copy has run.
    let time = least(3, each, || unsafe { tenant.device().copy(ptr, source.address(), bytes as u64, None) });
    tenant.space().free(ptr)?;
    time
}

/// Time of one kernel of a recorded step, or of a step whose kernels are launched one by one. On the CPU device: of one
/// piece of work given to a stream, or to a thread started for it.
fn launches(tenant: &Tenant, direct: bool) -> Result<Duration> {
    if tenant.device().kind() == DeviceKind::Cpu {
        if direct {
            let stream: Arc<dyn Stream> = tenant.new_stream(0)?;
            return least(5, 20, || {
                stream.host_fn(Box::new(|| ()))?;
                stream.synchronize()
            });
        }
        return least(5, 20, || {
            let thread = std::thread::Builder::new().spawn(|| ());
            let thread = thread.map_err(|e| crate::Error::io("starting a thread", e))?;
            // It cannot panic.
            let _ = thread.join();
            Ok(())
        });
    }
    let (space, ops) = (tenant.space(), tenant.ops()?);
    let (x, y) = (space.alloc(4096, 256, "measure")?, space.alloc(4096, 256, "measure")?);
    let add = ops.clone();
    let time = least(6, 1, || {
        let mut body = || (0..KERNELS).try_for_each(|_| add.add(x, y, 256));
        ops.step(Some(1), &[], &mut body, &mut []).map(drop)
    });
    ops.forget();
    let freed = space.free(x).and(space.free(y));
    time.and_then(|time| freed.map(|()| time / KERNELS))
}
