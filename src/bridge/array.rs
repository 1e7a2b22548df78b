//! Arrays of f32 in a tenant's memory that host code reads and writes directly.

use super::shared::Shared;
use crate::device::DeviceKind;
use crate::memory::{Hosted, Kept};
use crate::tenant::Tenant;
use crate::{Error, Result, Status};
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// An array of f32, zero at first. On the CPU device it is memory of the tenant's space; on a GPU it is pinned host
/// memory that the GPU addresses directly, charged to the tenant. Its memory goes back when the last reference is
/// dropped.
pub struct Array {
    tenant: Arc<Tenant>,
    count: u64,
    address: u64,
    memory: Memory,
}

/// What keeps an array's memory.
enum Memory {
    /// An allocation of the tenant's space.
    Space(#[expect(dead_code, reason = "kept for its drop")] Kept),
    /// Pinned memory.
    Pinned(#[expect(dead_code, reason = "kept for its drop")] Hosted),
    /// Memory that other processes map too.
    Shared(Shared),
}

impl Array {
    /// An array of `count` elements (at least 1).
    pub fn new(tenant: &Arc<Tenant>, count: u64) -> Result<Array> {
        let bytes = bytes(count)?;
        let space = tenant.space();
        if tenant.device().kind() == DeviceKind::Cpu {
            let block = space.block(bytes, 256, "array")?;
            let address = block.ptr();
            tenant.fill(address, 0, bytes, None)?;
            return Ok(Array { tenant: tenant.clone(), count, address, memory: Memory::Space(block) });
        }
        let memory = Hosted::new(space, bytes, "array", || tenant.device().host_memory(bytes))?;
        Ok(Array { tenant: tenant.clone(), count, address: memory.ptr(), memory: Memory::Pinned(memory) })
    }

    /// An array of `count` elements (at least 1), zero at first, that other processes can open: host memory that the
    /// device addresses too, charged to the tenant.
    pub fn shared(tenant: &Arc<Tenant>, count: u64) -> Result<Array> {
        let shared = Shared::create(tenant, bytes(count)?)?;
        Ok(Array { tenant: tenant.clone(), count, address: shared.address(), memory: Memory::Shared(shared) })
    }

    /// The shared array that another process (or this one) has: by what [`Array::shared_name`] says there, or by the
    /// number of a descriptor that this process got. It is charged to this tenant in full. The memory goes when nobody has
    /// it any more.
    pub fn open_shared(tenant: &Arc<Tenant>, name: &str) -> Result<Array> {
        let (shared, bytes) = Shared::open(tenant, name)?;
        let address = shared.address();
        Ok(Array { tenant: tenant.clone(), count: bytes / 4, address, memory: Memory::Shared(shared) })
    }

    /// The path by which a process of the same user opens this shared array while this process has it.
    pub fn shared_name(&self) -> Result<String> {
        Ok(self.sharing()?.name())
    }

    /// A descriptor of a shared array, to be passed on to another process.
    pub fn shared_descriptor(&self) -> Result<OwnedFd> {
        self.sharing()?.descriptor()
    }

    /// Where a shared array lies, for host and device alike; an error for an array that is not shared.
    pub fn shared_address(&self) -> Result<u64> {
        Ok(self.sharing()?.address())
    }

    fn sharing(&self) -> Result<&Shared> {
        match &self.memory {
            Memory::Shared(shared) => Ok(shared),
            _ => Err(Error::argument("array", "is not shared with other processes")
                .advise("make it with createSharedMemoryArray")),
        }
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
        let _door = self.tenant.space().enter_for(&[(dst, self.bytes()), (src, self.bytes())])?;
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

/// Bytes of `count` elements.
fn bytes(count: u64) -> Result<u64> {
    if count == 0 {
        return Err(Error::argument("size", "must not be 0"));
    }
    count
        .checked_mul(4)
        .filter(|&b| b <= isize::MAX as u64)
        .ok_or_else(|| Error::argument("size", format!("{count} elements overflow the address space")))
}
