//! Memory partitions: named reservations of one kind of memory. One file a kind.
//!
//! | kind | what it is | charged |
//! |---|---|---|
//! | global | device memory of the tenant's pool | its bytes, rounded up to 256 |
//! | shared | whole granules that another process can map by a descriptor | its granules |
//! | constant | whole granules, written once by [`Kernel::write_partition`], else mapped for reading only | its granules |
//! | texture | device memory bound as a texture of f32 | its bytes, rounded up to 256 |
//! | local | a bound of the stack of each thread | CPU: a stack for each task that runs (at least one); GPU: a stack for each thread that the GPU can hold |
//!
//! Whole granules are multiples of [`crate::device::Device::granularity`] (2 MiB); the partition's size says how many
//! bytes they have.

mod constant;
mod global;
mod local;
mod shared;
mod texture;

pub use texture::TextureShape;

use super::Kernel;
use crate::device::DeviceKind;
use crate::tenant::Tenant;
use crate::{Error, Result, Status};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::SystemTime;

/// The kinds of memory that can be partitioned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum PartitionType {
    /// Device memory.
    Global = 0,
    /// Memory that another process can map.
    Shared = 1,
    /// Memory that is written once, then read-only.
    Constant = 2,
    /// Memory read through texture units.
    Texture = 3,
    /// Per-thread memory: the stack.
    Local = 4,
}

impl PartitionType {
    /// The type with this number.
    pub fn from_number(n: i32) -> Result<PartitionType> {
        Ok(match n {
            0 => PartitionType::Global,
            1 => PartitionType::Shared,
            2 => PartitionType::Constant,
            3 => PartitionType::Texture,
            4 => PartitionType::Local,
            _ => return Err(Error::argument("type", format!("{n} is no MemoryPartitionType (0 to 4)"))),
        })
    }
}

/// What is known of a partition.
#[derive(Clone, Debug)]
pub struct Partition {
    /// Identifier, unique in its kernel manager.
    pub id: i32,
    /// Its kind.
    pub kind: PartitionType,
    /// Bytes: as asked for, for shared and constant memory rounded up to whole granules. Local: of one thread's stack.
    pub bytes: u64,
    /// Bytes from the start of the tenant's address range; 0 for local memory, which has no address.
    pub offset: u64,
    /// Its device address; 0 for local memory.
    pub device_ptr: u64,
    /// Its address for the host, where the host can reach it; else 0.
    pub host_ptr: u64,
    /// What kernels read a texture by (the `CUtexObject` on a GPU); 0 for other kinds.
    pub texture: u64,
    /// Its tenant.
    pub owner: String,
    /// When it was made.
    pub created: SystemTime,
}

/// What a partition is made of. Given back when dropped.
enum Body {
    Global(global::Global),
    Shared(shared::Shared),
    Constant(constant::Constant),
    Texture(texture::Bound),
    Local(local::Local),
}

impl Body {
    /// First byte, and bytes.
    fn place(&self) -> (u64, u64) {
        match self {
            Body::Global(b) => b.place(),
            Body::Shared(b) => b.place(),
            Body::Constant(b) => b.place(),
            Body::Texture(b) => b.place(),
            Body::Local(b) => (0, b.bytes()),
        }
    }
}

#[derive(Clone)]
pub(super) struct Held {
    pub(super) tenant: Arc<Tenant>,
    pub(super) info: Partition,
    /// Shared with calls that use it now, so that its memory outlives them.
    body: Arc<Body>,
}

impl Kernel {
    /// Makes a partition of the tenant's memory; its id. Errors leave nothing behind.
    pub fn create_partition(&self, bytes: u64, kind: PartitionType, llm: &str) -> Result<i32> {
        if bytes == 0 {
            return Err(Error::argument("size", "must not be 0"));
        }
        let tenant = self.tenant(llm)?;
        let body = match kind {
            PartitionType::Global => Body::Global(global::Global::new(&tenant, bytes)?),
            PartitionType::Shared => Body::Shared(shared::Shared::new(&tenant, bytes)?),
            PartitionType::Constant => Body::Constant(constant::Constant::new(&tenant, bytes)?),
            PartitionType::Texture => Body::Texture(texture::Bound::new(&tenant, bytes)?),
            PartitionType::Local => Body::Local(local::Local::new(&tenant, bytes)?),
        };
        self.hold(tenant, kind, body)
    }

    /// Maps the memory behind a descriptor of [`Kernel::export_partition`], of this or another process, into the tenant's
    /// range as a shared partition of its own. `bytes` is the size that the partition has there. The tenant is charged
    /// all of it. The descriptor stays the caller's.
    pub fn import_partition(&self, fd: BorrowedFd<'_>, bytes: u64, llm: &str) -> Result<i32> {
        let tenant = self.tenant(llm)?;
        let body = Body::Shared(shared::Shared::import(&tenant, fd, bytes)?);
        self.hold(tenant, PartitionType::Shared, body)
    }

    fn hold(&self, tenant: Arc<Tenant>, kind: PartitionType, body: Body) -> Result<i32> {
        let (ptr, bytes) = body.place();
        let seen = ptr != 0 && tenant.device().kind() == DeviceKind::Cpu;
        let texture = if let Body::Texture(bound) = &body { bound.handle() } else { 0 };
        let body = Arc::new(body);
        // When it was shut down meanwhile, the body is dropped here.
        self.write(|s| {
            let id = s.next_partition;
            s.next_partition += 1;
            let info = Partition {
                id,
                kind,
                bytes,
                offset: if ptr == 0 { 0 } else { ptr - tenant.space().base() },
                device_ptr: ptr,
                host_ptr: if seen { ptr } else { 0 },
                texture,
                owner: tenant.id().to_owned(),
                created: SystemTime::now(),
            };
            s.partitions.insert(id, Held { tenant: tenant.clone(), info, body: body.clone() });
            Ok(id)
        })
    }

    /// Gives a partition's memory back, once no other call uses it.
    pub fn destroy_partition(&self, id: i32) -> Result<()> {
        let held = self.write(|s| s.partitions.remove(&id).ok_or_else(|| unknown(id)))?;
        // Waits for work, so outside of the lock.
        drop(held);
        Ok(())
    }

    /// All partitions, by id.
    pub fn partitions(&self) -> Result<Vec<Partition>> {
        self.read(|s| Ok(s.partitions.values().map(|h| h.info.clone()).collect()))
    }

    /// The partition with this id.
    pub fn partition(&self, id: i32) -> Result<Partition> {
        Ok(self.held(id)?.info)
    }

    /// Writes host bytes at `offset` and waits. Constant memory is written once: what the call leaves out is zero for
    /// good, and a second call is [`Status::AlreadyExists`]. Until it has returned nothing but [`Kernel::read_partition`]
    /// may use constant memory, which is mapped anew.
    pub fn write_partition(&self, id: i32, offset: u64, data: &[u8]) -> Result<()> {
        let held = self.held(id)?;
        let at = held.range(offset, data.len() as u64)?;
        if data.is_empty() {
            return Ok(());
        }
        match &*held.body {
            Body::Constant(constant) => constant.fill(&held.tenant, at, data),
            _ => {
                let _door = held.tenant.space().enter_for(&[(at, data.len() as u64)])?;
                held.tenant.device().write(at, data)
            }
        }
    }

    /// Reads bytes from `offset` to the host and waits.
    pub fn read_partition(&self, id: i32, offset: u64, data: &mut [u8]) -> Result<()> {
        let held = self.held(id)?;
        let at = held.range(offset, data.len() as u64)?;
        if data.is_empty() {
            return Ok(());
        }
        match &*held.body {
            Body::Constant(constant) => constant.read(&held.tenant, data, at),
            _ => {
                let _door = held.tenant.space().enter_for(&[(at, data.len() as u64)])?;
                held.tenant.device().read(data, at)
            }
        }
    }

    /// A descriptor by which another process can map a shared partition; close it after use. Its memory lives for as long
    /// as somebody has it mapped or holds a descriptor.
    pub fn export_partition(&self, id: i32) -> Result<OwnedFd> {
        let held = self.held(id)?;
        match &*held.body {
            Body::Shared(shared) => shared.export(),
            _ => Err(held.not("shared", "SHARED_MEMORY")),
        }
    }

    /// Changes the shape and the filter of a texture partition; its new texture handle. At first it is one row, or rows of
    /// 65536 elements when there are more, read with a linear filter. No work that reads the texture may be in flight:
    /// the former handle is invalid afterwards.
    pub fn bind_texture(&self, id: i32, shape: TextureShape) -> Result<u64> {
        let held = self.held(id)?;
        let Body::Texture(bound) = &*held.body else { return Err(held.not("texture", "TEXTURE_MEMORY")) };
        let handle = bound.bind(&held.tenant, shape)?;
        self.write(|s| {
            if let Some(held) = s.partitions.get_mut(&id) {
                // What it is bound to by now: of two calls at a time the later one counts.
                held.info.texture = bound.handle();
            }
            Ok(handle)
        })
    }

    /// Reads a texture partition at places (x, y), in elements: element (i, j) lies at (i + 0.5, j + 0.5). On a GPU a
    /// kernel on a stream of the tenant does it. Waits.
    pub fn sample_texture(&self, id: i32, at: &[[f32; 2]], out: &mut [f32]) -> Result<()> {
        let held = self.held(id)?;
        let Body::Texture(bound) = &*held.body else { return Err(held.not("texture", "TEXTURE_MEMORY")) };
        bound.sample(&held.tenant, at, out)
    }

    fn held(&self, id: i32) -> Result<Held> {
        self.read(|s| s.partitions.get(&id).cloned().ok_or_else(|| unknown(id)))
    }
}

impl Held {
    /// The address of `bytes` bytes at `offset`.
    fn range(&self, offset: u64, bytes: u64) -> Result<u64> {
        let (ptr, size) = self.body.place();
        if ptr == 0 {
            return Err(Error::unsupported("local memory has no address: each thread has its own"));
        }
        if offset.checked_add(bytes).is_none_or(|end| end > size) {
            let text = format!("{bytes} bytes at {offset} go beyond the partition, which has {size}");
            return Err(Error::argument("offset", text));
        }
        Ok(ptr + offset)
    }

    fn not(&self, kind: &str, name: &str) -> Error {
        Error::argument("id", format!("memory partition {} is no {kind} memory", self.info.id))
            .advise(format!("create it as MemoryPartitionType::{name}"))
    }
}

fn unknown(id: i32) -> Error {
    Error::new(Status::NotFound, format!("memory partition {id} does not exist"))
}
