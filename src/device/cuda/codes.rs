//! The driver's result codes: their names, what they mean here, and what helps. Own numbers, because a newer driver
//! answers codes that no enum of an older header knows.

use crate::error::Category;
use crate::{Error, Status};

/// `CUDA_ERROR_DEINITIALIZED`: the driver shuts down with the process.
pub const DEINITIALIZED: u32 = 4;
/// `CUDA_ERROR_NOT_READY`: not an error, the answer of a query.
pub const NOT_READY: u32 = 600;

/// Name, status and advice of a code, or `None` for a code that is not in the table.
#[rustfmt::skip]
fn known(code: u32) -> Option<(&'static str, Status, &'static str)> {
    use Status::{DeviceLost as Lost, Driver, InvalidArgument as Invalid, NoDevice, NotInitialized, OutOfMemory, Unsupported};
    const REBUILD: &str = "the CUDA context is lost: recover the device (recoverDevice, cw_device_recover) and make \
        what was on it again, or restart the process; compute-sanitizer finds the kernel at fault";
    Some(match code {
        1 => ("CUDA_ERROR_INVALID_VALUE", Invalid, ""),
        2 => ("CUDA_ERROR_OUT_OF_MEMORY", OutOfMemory, "free memory on the device, or lower the limits of its tenants"),
        3 => ("CUDA_ERROR_NOT_INITIALIZED", NotInitialized, "cuInit has not run in this process"),
        4 => ("CUDA_ERROR_DEINITIALIZED", NotInitialized, "the driver is shutting down with the process"),
        34 => ("CUDA_ERROR_STUB_LIBRARY", NoDevice,
            "a CUDA toolkit's stub libcuda was found in place of the driver's: take its `stubs` folder out of \
             LD_LIBRARY_PATH, or set COGNIWARE_LIBCUDA to the driver's libcuda.so.1"),
        36 => ("CUDA_ERROR_CALL_REQUIRES_NEWER_DRIVER", Unsupported, "install a newer NVIDIA driver"),
        46 => ("CUDA_ERROR_DEVICE_UNAVAILABLE", Driver, "another process holds the GPU in exclusive mode"),
        100 => ("CUDA_ERROR_NO_DEVICE", NoDevice, "no NVIDIA GPU is visible: check nvidia-smi and CUDA_VISIBLE_DEVICES"),
        101 => ("CUDA_ERROR_INVALID_DEVICE", NoDevice, "there is no GPU of this number"),
        102 => ("CUDA_ERROR_DEVICE_NOT_LICENSED", Driver, "the virtual GPU has no licence"),
        200 => ("CUDA_ERROR_INVALID_IMAGE", Status::Format, "the kernel image is damaged or not for CUDA"),
        201 => ("CUDA_ERROR_INVALID_CONTEXT", NotInitialized, ""),
        205 => ("CUDA_ERROR_MAP_FAILED", Driver, ""),
        206 => ("CUDA_ERROR_UNMAP_FAILED", Driver, ""),
        208 => ("CUDA_ERROR_ALREADY_MAPPED", Status::AlreadyExists, ""),
        209 => ("CUDA_ERROR_NO_BINARY_FOR_GPU", Unsupported, "the kernel image holds no code for this GPU: rebuild it for its capability"),
        214 => ("CUDA_ERROR_ECC_UNCORRECTABLE", Lost, "the GPU found a memory error it cannot correct: recover the device or restart the process; \
            if it comes again the GPU needs service"),
        218 => ("CUDA_ERROR_INVALID_PTX", Status::Format, "the PTX does not assemble"),
        220 => ("CUDA_ERROR_NVLINK_UNCORRECTABLE", Lost, REBUILD),
        221 => ("CUDA_ERROR_JIT_COMPILER_NOT_FOUND", Unsupported, "libnvidia-ptxjitcompiler is missing: give the driver machine code (cubin)"),
        222 => ("CUDA_ERROR_UNSUPPORTED_PTX_VERSION", Unsupported, "the PTX is newer than the driver: compile to machine code (cubin), or update the driver"),
        223 => ("CUDA_ERROR_JIT_COMPILATION_DISABLED", Unsupported, "CUDA_DISABLE_PTX_JIT is set and the image holds no machine code for this GPU"),
        226 => ("CUDA_ERROR_CONTAINED", Lost, REBUILD),
        300 => ("CUDA_ERROR_INVALID_SOURCE", Status::Format, ""),
        301 => ("CUDA_ERROR_FILE_NOT_FOUND", Status::NotFound, ""),
        302 => ("CUDA_ERROR_SHARED_OBJECT_SYMBOL_NOT_FOUND", Driver, ""),
        303 => ("CUDA_ERROR_SHARED_OBJECT_INIT_FAILED", Driver, ""),
        304 => ("CUDA_ERROR_OPERATING_SYSTEM", Status::Io, "the operating system refused the driver: check limits on open files and locked memory"),
        400 => ("CUDA_ERROR_INVALID_HANDLE", Invalid, ""),
        401 => ("CUDA_ERROR_ILLEGAL_STATE", Driver, ""),
        500 => ("CUDA_ERROR_NOT_FOUND", Status::NotFound, ""),
        600 => ("CUDA_ERROR_NOT_READY", Status::Busy, ""),
        700 => ("CUDA_ERROR_ILLEGAL_ADDRESS", Lost, REBUILD),
        701 => ("CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES", Invalid, "fewer threads per block, fewer registers or less shared memory"),
        704 => ("CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED", Status::AlreadyExists, ""),
        705 => ("CUDA_ERROR_PEER_ACCESS_NOT_ENABLED", Status::NotFound, ""),
        702 => ("CUDA_ERROR_LAUNCH_TIMEOUT", Lost, REBUILD),
        708 => ("CUDA_ERROR_PRIMARY_CONTEXT_ACTIVE", Status::Busy, ""),
        709 => ("CUDA_ERROR_CONTEXT_IS_DESTROYED", Lost, REBUILD),
        710 => ("CUDA_ERROR_ASSERT", Lost, REBUILD),
        712 => ("CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED", Status::AlreadyExists, ""),
        713 => ("CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED", Invalid, ""),
        714 => ("CUDA_ERROR_HARDWARE_STACK_ERROR", Lost, REBUILD),
        715 => ("CUDA_ERROR_ILLEGAL_INSTRUCTION", Lost, REBUILD),
        716 => ("CUDA_ERROR_MISALIGNED_ADDRESS", Lost, REBUILD),
        717 => ("CUDA_ERROR_INVALID_ADDRESS_SPACE", Lost, REBUILD),
        718 => ("CUDA_ERROR_INVALID_PC", Lost, REBUILD),
        719 => ("CUDA_ERROR_LAUNCH_FAILED", Lost, REBUILD),
        720 => ("CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE", Invalid, "a cooperative grid must fit on the node's SMs at once"),
        721 => ("CUDA_ERROR_TENSOR_MEMORY_LEAK", Lost, REBUILD),
        800 => ("CUDA_ERROR_NOT_PERMITTED", Driver, ""),
        801 => ("CUDA_ERROR_NOT_SUPPORTED", Unsupported, "this GPU or its driver cannot do it"),
        802 => ("CUDA_ERROR_SYSTEM_NOT_READY", Driver, "the fabric manager of this server is not running yet"),
        803 => ("CUDA_ERROR_SYSTEM_DRIVER_MISMATCH", Driver, "libcuda and the kernel module are of different versions: reboot, or reinstall the driver"),
        804 => ("CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE", Unsupported, "the CUDA compatibility package does not support this GPU: use the driver's own libcuda"),
        805 => ("CUDA_ERROR_MPS_CONNECTION_FAILED", Driver, "the MPS daemon does not answer: check CUDA_MPS_PIPE_DIRECTORY"),
        806 => ("CUDA_ERROR_MPS_RPC_FAILURE", Lost, REBUILD),
        807 => ("CUDA_ERROR_MPS_SERVER_NOT_READY", Driver, "try again when the MPS server is up"),
        808 => ("CUDA_ERROR_MPS_MAX_CLIENTS_REACHED", Driver, "MPS serves no more processes"),
        809 => ("CUDA_ERROR_MPS_MAX_CONNECTIONS_REACHED", Driver, "MPS gives no more connections"),
        810 => ("CUDA_ERROR_MPS_CLIENT_TERMINATED", Lost, REBUILD),
        900 => ("CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED", Unsupported, "this call cannot be part of a graph"),
        901 => ("CUDA_ERROR_STREAM_CAPTURE_INVALIDATED", Driver, "an earlier call broke the capture"),
        902 => ("CUDA_ERROR_STREAM_CAPTURE_MERGE", Driver, ""),
        903 => ("CUDA_ERROR_STREAM_CAPTURE_UNMATCHED", Driver, ""),
        904 => ("CUDA_ERROR_STREAM_CAPTURE_UNJOINED", Driver, "a stream forked during the capture was not joined again"),
        905 => ("CUDA_ERROR_STREAM_CAPTURE_ISOLATION", Driver, ""),
        906 => ("CUDA_ERROR_STREAM_CAPTURE_IMPLICIT", Driver, ""),
        907 => ("CUDA_ERROR_CAPTURED_EVENT", Invalid, "an event recorded during a capture cannot be asked outside of it"),
        908 => ("CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD", Driver, ""),
        909 => ("CUDA_ERROR_TIMEOUT", Status::Timeout, ""),
        910 => ("CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE", Unsupported, "the graphs differ too much: instantiate the new one"),
        914 => ("CUDA_ERROR_INVALID_RESOURCE_TYPE", Unsupported, ""),
        915 => ("CUDA_ERROR_INVALID_RESOURCE_CONFIGURATION", Unsupported, "the driver refuses this combination of SM groups"),
        999 => ("CUDA_ERROR_UNKNOWN", Driver, "see the kernel log (dmesg) for NVRM messages"),
        _ => return None,
    })
}

/// The error for `code`, which `call` (function and arguments) answered.
#[cold]
pub fn error(call: String, code: u32) -> Error {
    let (name, status, advice) = known(code).unwrap_or((
        "a code that this version of Cogniware does not know",
        Status::Driver,
        "look the number up in the cuda.h of the installed driver's CUDA version",
    ));
    let category = Category::of_driver_call(&call);
    let e =
        Error::new(status, format!("{call} answered {code} ({name})")).with_driver_code(code).with_call(call);
    // Where the status leaves no doubt it decides; else what kind of call it was.
    let e = match status {
        Status::DeviceLost | Status::OutOfMemory | Status::NoDevice => e,
        _ => e.in_category(category),
    };
    if advice.is_empty() { e } else { e.advise(advice) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_map_to_status_name_and_advice() {
        for (code, status) in [
            (2, Status::OutOfMemory),
            (34, Status::NoDevice),
            (100, Status::NoDevice),
            (700, Status::DeviceLost),
            (719, Status::DeviceLost),
            (801, Status::Unsupported),
            (12345, Status::Driver),
        ] {
            let e = error("cuX(a=1)".into(), code);
            assert_eq!(e.status(), status, "{code}");
            assert_eq!(e.driver_code(), Some(code));
            assert!(e.advice().is_some(), "{code}");
            assert!(e.message().starts_with("cuX(a=1) answered "), "{e}");
        }
    }

    #[test]
    fn names_agree_with_the_header() {
        use cudarc::driver::sys::cudaError_enum as E;
        for e in [
            E::CUDA_ERROR_OUT_OF_MEMORY,
            E::CUDA_ERROR_STUB_LIBRARY,
            E::CUDA_ERROR_NO_BINARY_FOR_GPU,
            E::CUDA_ERROR_ILLEGAL_ADDRESS,
            E::CUDA_ERROR_LAUNCH_FAILED,
            E::CUDA_ERROR_STREAM_CAPTURE_INVALIDATED,
            E::CUDA_ERROR_INVALID_RESOURCE_CONFIGURATION,
            E::CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE,
            E::CUDA_ERROR_NOT_SUPPORTED,
            E::CUDA_ERROR_TENSOR_MEMORY_LEAK,
        ] {
            assert_eq!(known(e as u32).unwrap().0, format!("{e:?}"));
        }
    }
}
