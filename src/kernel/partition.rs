//! Memory partitions: named reservations of one kind of memory.

use super::Kernel;
use crate::device::DeviceKind;
use crate::tenant::Tenant;
use crate::{Error, Result};
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
    /// Per-thread memory of kernels.
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
    /// Bytes.
    pub bytes: u64,
    /// Bytes from the start of the tenant's address range.
    pub offset: u64,
    /// Its device address.
    pub device_ptr: u64,
    /// Its address for the host, where the host can reach it; else 0.
    pub host_ptr: u64,
    /// Its tenant.
    pub owner: String,
    /// When it was made.
    pub created: SystemTime,
}

pub(super) struct Held {
    pub(super) tenant: Arc<Tenant>,
    pub(super) ptr: u64,
    info: Partition,
}

impl Kernel {
    /// Reserves `bytes` of the tenant's memory as a partition; its id. This version makes partitions of global memory.
    pub fn create_partition(&self, bytes: u64, kind: PartitionType, llm: &str) -> Result<i32> {
        if bytes == 0 {
            return Err(Error::argument("size", "must not be 0"));
        }
        if kind != PartitionType::Global {
            return Err(Error::unsupported(format!(
                "partitions of {kind:?} memory are not there in this version"
            ))
            .advise("MemoryPartitionType::GLOBAL_MEMORY is"));
        }
        let tenant = self.tenant(llm)?;
        let ptr = tenant.space().alloc(bytes, 256, "partition")?;
        let noted = self.write(|s| {
            let id = s.next_partition;
            s.next_partition += 1;
            let info = Partition {
                id,
                kind,
                bytes,
                offset: ptr - tenant.space().base(),
                device_ptr: ptr,
                host_ptr: if tenant.device().kind() == DeviceKind::Cpu { ptr } else { 0 },
                owner: llm.to_owned(),
                created: SystemTime::now(),
            };
            s.partitions.insert(id, Held { tenant: tenant.clone(), ptr, info });
            Ok(id)
        });
        noted.inspect_err(|_| {
            // Shut down meanwhile: nobody else would free it.
            let _ = tenant.space().free(ptr);
        })
    }

    /// Gives a partition's memory back.
    pub fn destroy_partition(&self, id: i32) -> Result<()> {
        let held = self.write(|s| {
            let held = s.partitions.remove(&id);
            held.ok_or_else(|| Error::not_found(format!("memory partition {id} does not exist")))
        })?;
        held.tenant.space().free(held.ptr)
    }

    /// All partitions, by id.
    pub fn partitions(&self) -> Result<Vec<Partition>> {
        self.read(|s| Ok(s.partitions.values().map(|h| h.info.clone()).collect()))
    }
}
