//! The driver's handle and structure types, laid out as in CUDA 13.0's `cuda.h` (stable since CUDA 11).

use std::ffi::c_void;

/// An opaque object of the driver. The driver's objects may be used from any thread.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handle(pub *mut c_void);

// SAFETY: the driver documents its API as thread safe; a handle is only a name for its object.
unsafe impl Send for Handle {}
// SAFETY: as above.
unsafe impl Sync for Handle {}

impl Handle {
    /// No object; for streams, the legacy default stream.
    pub const NULL: Handle = Handle(std::ptr::null_mut());

    /// Whether this names nothing.
    pub fn is_null(self) -> bool {
        self.0.is_null()
    }
}

pub type Context = Handle;
pub type Stream = Handle;
pub type Event = Handle;
pub type Module = Handle;
pub type Function = Handle;
pub type Graph = Handle;
pub type GraphExec = Handle;
pub type GreenCtx = Handle;
pub type ResourceDesc = Handle;

/// `CUhostFn`.
pub type HostCallback = unsafe extern "C" fn(*mut c_void);

/// `CUmemLocation`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct MemLocation {
    pub kind: u32,
    pub id: i32,
}

pub const MEM_LOCATION_DEVICE: u32 = 1;
pub const MEM_ALLOCATION_PINNED: u32 = 1;
pub const MEM_HANDLE_POSIX_FD: u32 = 1;
pub const MEM_GRANULARITY_MINIMUM: u32 = 0;
pub const MEM_ACCESS_NONE: u32 = 0;
pub const MEM_ACCESS_READ: u32 = 1;
pub const MEM_ACCESS_READ_WRITE: u32 = 3;

/// `CUmemAllocationProp`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct MemProp {
    pub kind: u32,
    pub handle_types: u32,
    pub location: MemLocation,
    pub win32: *mut c_void,
    pub compression: u8,
    pub rdma: u8,
    pub usage: u16,
    pub reserved: [u8; 4],
}

/// `CUmemAccessDesc`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct MemAccess {
    pub location: MemLocation,
    pub flags: u32,
}

/// `CUdevResource` of CUDA 12.4 to 13.0; of the union only the SM part is used. Later drivers keep this layout for
/// the symbols without a version suffix.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct DevResource {
    pub kind: u32,
    pub padding: [u8; 92],
    pub sm_count: u32,
    pub sm_min_partition: u32,
    pub sm_alignment: u32,
    pub rest: [u8; 36],
}

pub const RESOURCE_SM: u32 = 1;
pub const GREEN_CTX_DEFAULT_STREAM: u32 = 1;
pub const STREAM_NON_BLOCKING: u32 = 1;
pub const CAPTURE_THREAD_LOCAL: u32 = 1;
pub const POINTER_MEMORY_TYPE: i32 = 2;
pub const POINTER_DEVICE_ORDINAL: i32 = 9;
pub const MEMORY_TYPE_DEVICE: u32 = 2;

impl DevResource {
    /// A resource of no type.
    pub const EMPTY: DevResource = DevResource {
        kind: 0,
        padding: [0; 92],
        sm_count: 0,
        sm_min_partition: 0,
        sm_alignment: 0,
        rest: [0; 36],
    };
}

/// `CUDA_RESOURCE_DESC` with its part for rows of linear memory.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ResourceView {
    pub kind: u32,
    pub address: u64,
    pub format: u32,
    pub channels: u32,
    pub width: usize,
    pub height: usize,
    pub pitch: usize,
    pub rest: [u8; 88],
    pub flags: u32,
}

pub const RESOURCE_PITCH_2D: u32 = 3;
pub const FORMAT_FLOAT: u32 = 0x20;
pub const ADDRESS_CLAMP: u32 = 1;

/// `CUDA_TEXTURE_DESC`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct TextureSettings {
    pub address_mode: [u32; 3],
    pub filter: u32,
    pub flags: u32,
    pub anisotropy: u32,
    pub mipmap_filter: u32,
    pub mipmap_bias: f32,
    pub mipmap_clamp: [f32; 2],
    pub border: [f32; 4],
    pub reserved: [i32; 12],
}

impl TextureSettings {
    /// Nothing set.
    pub const NONE: TextureSettings = TextureSettings {
        address_mode: [0; 3],
        filter: 0,
        flags: 0,
        anisotropy: 0,
        mipmap_filter: 0,
        mipmap_bias: 0.0,
        mipmap_clamp: [0.0; 2],
        border: [0.0; 4],
        reserved: [0; 12],
    };
}

/// `CUgraphExecUpdateResultInfo`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct GraphUpdate {
    pub result: u32,
    pub error_node: *mut c_void,
    pub error_from_node: *mut c_void,
}

/// `CUlaunchAttributeValue` (which is also `CUstreamAttrValue`), with the members that are used.
#[repr(C)]
#[derive(Clone, Copy)]
pub union AttributeValue {
    pub pad: [u64; 8],
    pub window: AccessWindow,
    pub carveout: u32,
    pub cooperative: i32,
    pub overlapped: i32,
}

impl AttributeValue {
    /// All zeros.
    pub const ZERO: AttributeValue = AttributeValue { pad: [0; 8] };
}

/// `CUaccessPolicyWindow`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AccessWindow {
    pub base: u64,
    pub bytes: usize,
    pub ratio: f32,
    pub hit: u32,
    pub miss: u32,
}

/// `CUlaunchAttribute`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct LaunchAttribute {
    pub id: u32,
    pub pad: u32,
    pub value: AttributeValue,
}

/// `CUlaunchConfig`.
#[repr(C)]
pub struct LaunchConfig {
    pub grid: [u32; 3],
    pub block: [u32; 3],
    pub shared: u32,
    pub stream: Stream,
    pub attributes: *const LaunchAttribute,
    pub count: u32,
}

pub const JIT_ERROR_LOG: u32 = 5;
pub const JIT_ERROR_LOG_BYTES: u32 = 6;
pub const LIMIT_PERSISTING_L2: u32 = 6;
pub const ATTRIBUTE_ACCESS_WINDOW: u32 = 1;
pub const ATTRIBUTE_COOPERATIVE: u32 = 2;
/// `CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION`.
pub const ATTRIBUTE_OVERLAPPED: u32 = 6;
pub const ATTRIBUTE_CARVEOUT: u32 = 14;
pub const ACCESS_NORMAL: u32 = 0;
pub const ACCESS_STREAMING: u32 = 1;
pub const ACCESS_PERSISTING: u32 = 2;

/// Numbers of `CUdevice_attribute` that are read here.
pub mod attribute {
    pub const MAX_THREADS_PER_BLOCK: i32 = 1;
    pub const MAX_BLOCK_DIM_X: i32 = 2;
    pub const MAX_GRID_DIM_X: i32 = 5;
    pub const MAX_SHARED_PER_BLOCK: i32 = 8;
    pub const WARP_SIZE: i32 = 10;
    pub const MAX_REGISTERS_PER_BLOCK: i32 = 12;
    pub const CLOCK_RATE: i32 = 13;
    pub const MULTIPROCESSORS: i32 = 16;
    pub const INTEGRATED: i32 = 18;
    pub const CONCURRENT_KERNELS: i32 = 31;
    pub const ECC_ENABLED: i32 = 32;
    pub const MEMORY_CLOCK_RATE: i32 = 36;
    pub const MEMORY_BUS_WIDTH: i32 = 37;
    pub const L2_CACHE: i32 = 38;
    pub const MAX_THREADS_PER_SM: i32 = 39;
    pub const ASYNC_ENGINES: i32 = 40;
    pub const UNIFIED_ADDRESSING: i32 = 41;
    pub const TEXTURE_2D_LINEAR_WIDTH: i32 = 70;
    pub const TEXTURE_2D_LINEAR_HEIGHT: i32 = 71;
    pub const TEXTURE_2D_LINEAR_PITCH: i32 = 72;
    pub const MAJOR: i32 = 75;
    pub const MINOR: i32 = 76;
    pub const STREAM_PRIORITIES: i32 = 78;
    pub const MAX_SHARED_PER_SM: i32 = 81;
    pub const MAX_REGISTERS_PER_SM: i32 = 82;
    pub const MANAGED_MEMORY: i32 = 83;
    pub const MAX_SHARED_PER_BLOCK_OPTIN: i32 = 97;
    pub const VIRTUAL_MEMORY: i32 = 102;
    pub const POSIX_FD_HANDLES: i32 = 103;
    pub const MAX_PERSISTING_L2: i32 = 108;
    pub const MAX_ACCESS_WINDOW: i32 = 109;
}

/// Numbers of `CUfunction_attribute` that are read or set here.
pub mod function_attribute {
    pub const MAX_THREADS_PER_BLOCK: i32 = 0;
    pub const SHARED_BYTES: i32 = 1;
    pub const CONST_BYTES: i32 = 2;
    pub const LOCAL_BYTES: i32 = 3;
    pub const REGISTERS: i32 = 4;
    pub const BINARY_VERSION: i32 = 6;
    pub const MAX_DYNAMIC_SHARED: i32 = 8;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::mem::{offset_of, size_of};

    #[test]
    fn layouts_are_those_of_the_driver_header() {
        use cudarc::driver::sys;
        assert_eq!(size_of::<MemProp>(), size_of::<sys::CUmemAllocationProp>());
        assert_eq!(size_of::<MemAccess>(), size_of::<sys::CUmemAccessDesc>());
        assert_eq!(size_of::<DevResource>(), size_of::<sys::CUdevResource>());
        assert_eq!(size_of::<ResourceView>(), size_of::<sys::CUDA_RESOURCE_DESC>());
        assert_eq!(offset_of!(ResourceView, address), offset_of!(sys::CUDA_RESOURCE_DESC, res));
        assert_eq!(offset_of!(ResourceView, flags), offset_of!(sys::CUDA_RESOURCE_DESC, flags));
        type Rows = sys::CUDA_RESOURCE_DESC_st__bindgen_ty_1__bindgen_ty_4;
        let row = offset_of!(ResourceView, address);
        assert_eq!(offset_of!(ResourceView, width) - row, offset_of!(Rows, width));
        assert_eq!(offset_of!(ResourceView, pitch) - row, offset_of!(Rows, pitchInBytes));
        assert_eq!(size_of::<TextureSettings>(), size_of::<sys::CUDA_TEXTURE_DESC>());
        assert_eq!(offset_of!(TextureSettings, border), offset_of!(sys::CUDA_TEXTURE_DESC, borderColor));
        assert_eq!(size_of::<GraphUpdate>(), size_of::<sys::CUgraphExecUpdateResultInfo>());
        assert_eq!(size_of::<AttributeValue>(), size_of::<sys::CUlaunchAttributeValue>());
        assert_eq!(size_of::<AccessWindow>(), size_of::<sys::CUaccessPolicyWindow>());
        assert_eq!(size_of::<LaunchAttribute>(), size_of::<sys::CUlaunchAttribute>());
        assert_eq!(offset_of!(LaunchAttribute, value), offset_of!(sys::CUlaunchAttribute, value));
        assert_eq!(size_of::<LaunchConfig>(), size_of::<sys::CUlaunchConfig>());
        assert_eq!(offset_of!(LaunchConfig, stream), offset_of!(sys::CUlaunchConfig, hStream));
        assert_eq!(offset_of!(LaunchConfig, attributes), offset_of!(sys::CUlaunchConfig, attrs));
        assert_eq!(offset_of!(AccessWindow, ratio), offset_of!(sys::CUaccessPolicyWindow, hitRatio));
        assert_eq!(offset_of!(AccessWindow, hit), offset_of!(sys::CUaccessPolicyWindow, hitProp));
        assert_eq!(offset_of!(DevResource, sm_count), offset_of!(sys::CUdevResource, __bindgen_anon_1));
        assert_eq!(offset_of!(MemProp, compression), offset_of!(sys::CUmemAllocationProp, allocFlags));
        assert_eq!(offset_of!(MemProp, location), offset_of!(sys::CUmemAllocationProp, location));
        assert_eq!(
            offset_of!(GraphUpdate, error_node),
            offset_of!(sys::CUgraphExecUpdateResultInfo, errorNode)
        );
    }

    #[test]
    fn numbers_are_those_of_the_driver_header() {
        use cudarc::driver::sys::{self, CUdevice_attribute as A, CUfunction_attribute as F};
        assert_eq!(attribute::MULTIPROCESSORS, A::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT as i32);
        assert_eq!(
            attribute::MAX_SHARED_PER_BLOCK_OPTIN,
            A::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN as i32
        );
        assert_eq!(
            attribute::VIRTUAL_MEMORY,
            A::CU_DEVICE_ATTRIBUTE_VIRTUAL_ADDRESS_MANAGEMENT_SUPPORTED as i32
        );
        assert_eq!(
            attribute::POSIX_FD_HANDLES,
            A::CU_DEVICE_ATTRIBUTE_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR_SUPPORTED as i32
        );
        assert_eq!(
            attribute::MAX_REGISTERS_PER_SM,
            A::CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_MULTIPROCESSOR as i32
        );
        assert_eq!(
            attribute::TEXTURE_2D_LINEAR_WIDTH,
            A::CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE2D_LINEAR_WIDTH as i32
        );
        assert_eq!(
            attribute::TEXTURE_2D_LINEAR_PITCH,
            A::CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE2D_LINEAR_PITCH as i32
        );
        assert_eq!(RESOURCE_PITCH_2D, sys::CUresourcetype::CU_RESOURCE_TYPE_PITCH2D as u32);
        assert_eq!(FORMAT_FLOAT, sys::CUarray_format::CU_AD_FORMAT_FLOAT as u32);
        assert_eq!(ADDRESS_CLAMP, sys::CUaddress_mode::CU_TR_ADDRESS_MODE_CLAMP as u32);
        assert_eq!(attribute::ASYNC_ENGINES, A::CU_DEVICE_ATTRIBUTE_ASYNC_ENGINE_COUNT as i32);
        assert_eq!(
            attribute::MAX_THREADS_PER_SM,
            A::CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR as i32
        );
        assert_eq!(attribute::MAX_PERSISTING_L2, A::CU_DEVICE_ATTRIBUTE_MAX_PERSISTING_L2_CACHE_SIZE as i32);
        assert_eq!(attribute::MAX_ACCESS_WINDOW, A::CU_DEVICE_ATTRIBUTE_MAX_ACCESS_POLICY_WINDOW_SIZE as i32);
        {
            use cudarc::driver::sys::CUjit_option as J;
            use cudarc::driver::sys::{CUaccessProperty as P, CUlaunchAttributeID as L, CUlimit};
            assert_eq!(JIT_ERROR_LOG, J::CU_JIT_ERROR_LOG_BUFFER as u32);
            assert_eq!(JIT_ERROR_LOG_BYTES, J::CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES as u32);
            assert_eq!(LIMIT_PERSISTING_L2, CUlimit::CU_LIMIT_PERSISTING_L2_CACHE_SIZE as u32);
            assert_eq!(ATTRIBUTE_ACCESS_WINDOW, L::CU_LAUNCH_ATTRIBUTE_ACCESS_POLICY_WINDOW as u32);
            assert_eq!(ATTRIBUTE_COOPERATIVE, L::CU_LAUNCH_ATTRIBUTE_COOPERATIVE as u32);
            assert_eq!(ATTRIBUTE_CARVEOUT, L::CU_LAUNCH_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT as u32);
            assert_eq!(ACCESS_PERSISTING, P::CU_ACCESS_PROPERTY_PERSISTING as u32);
            assert_eq!(ACCESS_STREAMING, P::CU_ACCESS_PROPERTY_STREAMING as u32);
        }
        assert_eq!(
            function_attribute::MAX_DYNAMIC_SHARED,
            F::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES as i32
        );
    }
}
