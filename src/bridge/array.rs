//! Arrays of f32 in a tenant's memory that host code reads and writes directly.

use crate::device::{DeviceKind, HostMemory};
use crate::memory::Charge;
use crate::tenant::Tenant;
use crate::{Error, Result, Status};
use once_cell::sync::Lazy;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Arrays in host memory by their address: how many bytes, and whose. Those in a space are known to it.
static HOSTED: Lazy<Mutex<BTreeMap<u64, (u64, String)>>> = Lazy::new(Mutex::default);

/// Whether the range lies in one host array of tenant `id`.
pub(super) fn covers(id: &str, address: u64, bytes: u64) -> bool {
    let hosted = HOSTED.lock();
    let below = hosted.range(..=address).next_back();
    below.is_some_and(|(start, (size, owner))| {
        owner == id && address - start <= *size && bytes <= size - (address - start)
    })
}

/// An array of f32, zero at first. On the CPU device it is memory of the tenant's space; on a GPU it is pinned host
/// memory that the GPU addresses directly, charged to the tenant. Its memory goes back when the last reference is
/// dropped.
pub struct Array {
    tenant: Arc<Tenant>,
    count: u64,
    address: u64,
    /// Set where the memory is not the space's: what keeps it, and what it is charged with.
    host: Option<(Box<dyn HostMemory>, Charge)>,
}

impl Array {
    /// An array of `count` elements (at least 1).
    pub fn new(tenant: &Arc<Tenant>, count: u64) -> Result<Array> {
        if count == 0 {
            return Err(Error::argument("size", "must not be 0"));
        }
        let bytes = count
            .checked_mul(4)
            .filter(|&b| b <= isize::MAX as u64)
            .ok_or_else(|| Error::argument("size", format!("{count} elements overflow the address space")))?;
        let tenant = tenant.clone();
        if tenant.device().kind() == DeviceKind::Cpu {
            let address = tenant.space().alloc(bytes, 256, "array")?;
            // Whole before it is filled, so that it goes back when that fails.
            let array = Array { tenant, count, address, host: None };
            array.tenant.fill(address, 0, bytes, None)?;
            return Ok(array);
        }
        let charge = tenant.account().charge(bytes, "array")?;
        let memory = tenant.device().host_memory(bytes)?;
        HOSTED.lock().insert(memory.address(), (bytes, tenant.id().to_owned()));
        Ok(Array { tenant, count, address: memory.address(), host: Some((memory, charge)) })
    }

    /// The tenant whose memory it is.
    pub fn tenant(&self) -> &Arc<Tenant> {
        &self.tenant
    }

    /// Elements.
    pub fn len(&self) -> u64 {
        self.count
    }

    /// Always false: an array has at least one element.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes.
    pub fn bytes(&self) -> u64 {
        self.count * 4
    }

    /// Where it lies, for host and device alike.
    pub fn address(&self) -> u64 {
        self.address
    }

    /// Copies the whole array to `dst`: memory of the same tenant (this array's own included) or host memory.
    ///
    /// # Safety
    /// A host range must be valid for writes of [`Array::bytes`].
    pub unsafe fn copy_to(&self, dst: u64) -> Result<()> {
        // SAFETY: the caller's promise; the array's own range is valid.
        unsafe { self.copy("gpuPtr", dst, dst, self.address) }
    }

    /// Fills the whole array from `src`: memory of the same tenant (this array's own included) or host memory.
    ///
    /// # Safety
    /// A host range must be valid for reads of [`Array::bytes`].
    pub unsafe fn copy_from(&self, src: u64) -> Result<()> {
        // SAFETY: the caller's promise; the array's own range is valid.
        unsafe { self.copy("gpuPtr", src, self.address, src) }
    }

    /// # Safety
    /// As for the two above; `other` is the end that is not this array.
    unsafe fn copy(&self, argument: &str, other: u64, dst: u64, src: u64) -> Result<()> {
        self.tenant.check_range(argument, other, self.bytes())?;
        if dst == src {
            return Ok(());
        }
        if dst < src + self.bytes() && src < dst + self.bytes() {
            return Err(Error::argument(argument, "overlaps the array without being its start"));
        }
        // SAFETY: both ends were checked or promised.
        unsafe { self.tenant.device().copy(dst, src, self.bytes(), None) }
    }

    /// Refuses an array of another tenant.
    pub fn check_owner(&self, llm: &str) -> Result<()> {
        if self.tenant.id() == llm {
            return Ok(());
        }
        Err(Error::new(
            Status::NotOwner,
            format!("argument `array`: it belongs to tenant {:?}, not to {llm:?}", self.tenant.id()),
        ))
    }
}

impl Drop for Array {
    fn drop(&mut self) {
        if self.host.is_some() {
            HOSTED.lock().remove(&self.address);
        } else {
            // Ours until now; nobody else can have freed it.
            let _ = self.tenant.space().free(self.address);
        }
    }
}
