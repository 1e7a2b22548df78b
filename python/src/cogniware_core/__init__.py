# SPDX-License-Identifier: MIT OR Apache-2.0
"""Cogniware: several language models on one GPU or CPU, each inside its own memory quota and on its own processors.

The documented classes are `KernelDriverManager` and `PythonCppBridgeManager`, and what they give: the kernel, the driver
and the bridge. `Tenant`, `Buffer`, `Model` and `Generation` are the same things as objects of their own.

Long calls release the GIL; every object may be used from any thread. Methods of the documented classes that return bool
answer False on failure and leave the reason in `last_error()`; everything else raises `Error`.
"""

from __future__ import annotations

import os as _os

from ._core import (
    AdvancedCustomizedDriver,
    AdvancedCustomizedKernel,
    AdvancedPythonCppBridge,
    Buffer,
    ComputeNode,
    ComputeNodeType,
    ComputeTask,
    DeviceArray,
    ErrorCategory,
    Generation,
    GPUDeviceInfo,
    KernelDriverManager,
    LogLevel,
    MemoryPartition,
    MemoryPartitionType,
    Model,
    PythonCppBridgeManager,
    Stream,
    Task,
    TaskContext,
    TaskPriority,
    Tenant,
    clear_error_history,
    devices,
    error_history,
    error_statistics,
    from_dlpack,
    last_error,
    last_status,
    recover_device,
    set_error_history_capacity,
    set_fallback_device,
    set_logger,
    status_name,
    version,
    write_log,
)
from ._array import MemoryArray
from ._errors import (
    AlreadyExistsError,
    BusyError,
    CallbackError,
    CancelledError,
    DeviceLostError,
    DriverError,
    Error,
    FormatError,
    InternalError,
    InvalidArgumentError,
    NoDeviceError,
    NotFoundError,
    NotInitializedError,
    NotOwnerError,
    OutOfMemoryError,
    QuotaExceededError,
    Status,
    SystemIOError,
    TimeoutError,  # noqa: A004
    UnsupportedError,
)
from ._token import Token

__version__ = version()

_here = _os.path.dirname(_os.path.abspath(__file__))


def get_include() -> str:
    """The folder of the C and C++ headers, for a compiler's -I: <cogniware/cogniware.hpp>."""
    return _os.path.join(_here, "include")


def get_library() -> str:
    """The file of the shared library, for a linker or for ctypes."""
    folder = _os.path.join(_here, "lib")
    return next(_os.path.join(folder, name) for name in sorted(_os.listdir(folder)) if ".so" in name)


def get_model() -> str:
    """The file of the small model that ships along."""
    return _os.path.join(_here, "share", "cogniware", "models", "cogniware-small.gguf")


__all__ = [name for name in dir() if not name.startswith("_")]
__all__.remove("annotations")
