# SPDX-License-Identifier: MIT OR Apache-2.0
# Written by python/scripts/write_stubs; change the bindings instead.
"""
Cogniware's C++ classes. Use the package cogniware_core, which has all of this.
"""
from __future__ import annotations
import collections.abc
import enum
import numpy
import numpy.typing
import typing
import os
from collections.abc import AsyncGenerator, Callable, Generator
from typing import Dict, Union

from cogniware_core._array import MemoryArray
from cogniware_core._token import Token

Settings = Dict[str, Union[str, int, float, bool]]
# An address, or what has the buffer protocol.
Memory = Union[int, bytes, bytearray, memoryview, numpy.ndarray, Buffer]
__all__: list[str] = ['AdvancedCustomizedDriver', 'AdvancedCustomizedKernel', 'AdvancedPythonCppBridge', 'Buffer', 'ComputeNode', 'ComputeNodeType', 'ComputeTask', 'DeviceArray', 'ErrorCategory', 'GPUDeviceInfo', 'Generation', 'KernelDriverManager', 'LogLevel', 'MemoryPartition', 'MemoryPartitionType', 'Model', 'PythonCppBridgeManager', 'Stream', 'Task', 'TaskContext', 'TaskPriority', 'Tenant', 'clear_error_history', 'devices', 'error_history', 'error_statistics', 'from_dlpack', 'last_error', 'last_status', 'recover_device', 'set_error_history_capacity', 'set_fallback_device', 'set_logger', 'status_name', 'version', 'write_log']
class AdvancedCustomizedDriver:
    """
    What is known of the installed drivers, and the kernel manager above them. Methods that return bool never raise
    an Error: False leaves its reason in last_error(). Usable from any thread.
    """
    def __init__(self) -> None:
        ...
    def bypass_standard_driver(self) -> bool:
        """
        Work goes by Cogniware's own way, the default; get_driver_info shows what that saves.
        """
    def disable_async_memory_transfers(self) -> bool:
        """
        Ends that.
        """
    def disable_direct_hardware_access(self) -> bool:
        """
        Work goes by the standard way. Quotas hold.
        """
    def disable_memory_optimization(self) -> bool:
        """
        Ends that.
        """
    def disable_nvlink_optimization(self) -> bool:
        """
        Ends that.
        """
    def disable_tensor_core_optimization(self) -> bool:
        """
        Products keep to strict precision.
        """
    def enable_async_memory_transfers(self) -> bool:
        """
        Large queued copies run on transfer streams of their own.
        """
    def enable_direct_hardware_access(self) -> bool:
        """
        The same.
        """
    def enable_memory_optimization(self) -> bool:
        """
        Pools grow in larger pieces and keep what falls free.
        """
    def enable_nvlink_optimization(self) -> bool:
        """
        GPUs use each other's memory directly. False with fewer than two GPUs that can.
        """
    def enable_tensor_core_optimization(self) -> bool:
        """
        Products may use tensor cores, with their precision.
        """
    def get_configuration(self) -> dict[str, str]:
        """
        Every key with what is in force for it.
        """
    def get_diagnostic_results(self) -> dict[str, str]:
        """
        Of the last run: name -> "passed", "failed" or "skipped"; name.detail; name.seconds.
        """
    def get_driver_info(self) -> dict[str, str]:
        """
        "driver_initialized" ("true" or "false"), versions and devices, as text. Answers before initialize() too.
        """
    def get_install_configuration(self) -> dict[str, str]:
        """
        What is in force.
        """
    def get_installation_report(self) -> dict[str, str]:
        """
        What was done, or what differs.
        """
    def get_kernel(self) -> AdvancedCustomizedKernel:
        """
        The kernel manager of this driver; raises NotInitializedError before initialize().
        """
    def get_loaded_modules(self) -> dict[str, str]:
        """
        By path: kind and name of what load_kernel_module loaded.
        """
    def get_module_functions(self, module: str = '') -> dict[str, str]:
        """
        The functions of the last GPU module, or of the one of this name, and what each takes.
        """
    def get_performance_stats(self) -> dict[str, float]:
        """
        Figures with their unit in the name.
        """
    def get_supported_gpus(self) -> list[str]:
        """
        The GPUs that the embedded kernels run on, one a text.
        """
    def initialize(self) -> bool:
        ...
    def install_custom_driver(self) -> bool:
        """
        Installs the library's files and the modules' configuration; all or nothing.
        """
    def launch_function(self, name: str, grid: typing.Any, block: typing.Any, *args, shared_bytes: typing.SupportsInt | typing.SupportsIndex = 0, stream: typing.SupportsInt | typing.SupportsIndex = 0) -> bool:
        """
        Runs a function of the GPU module that was loaded last: launch_function(name, grid, block, *arguments). `grid` and
        `block` are an int or up to three. Arguments need exact types: numpy.int32(1), numpy.uint64(address). Without a stream
        it has run when this returns.
        """
    def load_kernel_module(self, path: str, parameters: str = '') -> bool:
        """
        Loads a kernel module (.ko, needs root; `parameters` as "name=value name=value"), or GPU code (PTX, a cubin, a fatbin)
        as a module on the current device, by the file's content.
        """
    def optimize_for_multiple_llms(self, llms: typing.SupportsInt | typing.SupportsIndex = 4) -> bool:
        """
        Cuts the current device's processors into slices of the same size (1 to 16), one an LLM. Nodes that are held keep
        their units until they are given back.
        """
    def optimize_for_single_llm(self) -> bool:
        """
        One node of all processors; no unit is kept idle for anybody.
        """
    def patch_kernel_module(self) -> bool:
        """
        Writes the parameters of NVIDIA's module.
        """
    def reset_llm_optimization(self) -> bool:
        """
        Back to one node a core or group of SMs.
        """
    def run_diagnostics(self) -> bool:
        """
        Tests the current device; False when a part failed.
        """
    def set_configuration(self, config: Settings) -> bool:
        """
        Changes keys, all of them or none. Unknown ones are refused by name.
        """
    def set_install_configuration(self, settings: typing.Any) -> bool:
        """
        Sets keys, all or none; `install_root` is the folder that stands for "/".
        """
    def shutdown(self) -> None:
        """
        The kernel manager lives on.
        """
    def uninstall_custom_driver(self) -> bool:
        """
        Puts back byte for byte what was there.
        """
    def unload_kernel_module(self, name: str = '') -> bool:
        """
        Unloads the module that was loaded last, or the one of this name or path.
        """
    def verify_driver_installation(self) -> bool:
        """
        False when something differs; last_error() names it.
        """
class AdvancedCustomizedKernel:
    """
    Devices, compute nodes, memory, tasks and streams. An `llm_id` names a tenant; one that nobody registered is
    opened with default limits on first use. Sizes are bytes. Methods that return bool never raise an Error: False
    means that nothing was done, and last_error() says why; the others raise Error. Usable from any thread; calls
    release the GIL.
    
    Making one makes a kernel manager of its own; KernelDriverManager.get_kernel() gives the process-wide one.
    """
    def __init__(self) -> None:
        ...
    def allocate_compute_node(self, node_id: typing.SupportsInt | typing.SupportsIndex, llm_id: str) -> bool:
        """
        Gives a free node to a tenant. False when it is held or unknown.
        """
    def allocate_memory(self, size: typing.SupportsInt | typing.SupportsIndex, llm_id: str) -> int:
        """
        `size` bytes of the tenant's memory, as an address: on a GPU a device address, for copies and kernels only.
        Yours until deallocate_memory or the tenant's end. Raises QuotaExceededError beyond the tenant's limit.
        """
    def bind_texture(self, partition_id: typing.SupportsInt | typing.SupportsIndex, width: typing.SupportsInt | typing.SupportsIndex, height: typing.SupportsInt | typing.SupportsIndex = 1, linear: bool = True, pitch: typing.SupportsInt | typing.SupportsIndex = 0) -> int:
        """
        Binds a TEXTURE partition anew as `height` rows of `width` floats, read with or without a linear filter. `pitch`:
        bytes from row to row; 0 for the least.
        """
    def cancel_task(self, task_id: str) -> bool:
        """
        What has not started never will. False when the task had ended or is unknown.
        """
    def copy_memory(self, destination: Memory, source: Memory, size: typing.SupportsInt | typing.SupportsIndex) -> bool:
        """
        Copies `size` bytes between host memory and memory of one tenant, in any direction, and waits. Each end is an
        address (int; the range is yours to keep valid) or an object with the buffer protocol (its size is checked).
        """
    def copy_memory_async(self, destination: Memory, source: Memory, size: typing.SupportsInt | typing.SupportsIndex, stream: typing.SupportsInt | typing.SupportsIndex) -> bool:
        """
        The same, queued on a stream of create_stream. Objects are held until synchronize_stream or destroy_stream.
        """
    def create_memory_partition(self, size: typing.SupportsInt | typing.SupportsIndex, type: MemoryPartitionType, llm_id: str) -> bool:
        """
        Reserves `size` bytes of the tenant's memory; get_memory_partitions lists it with its id.
        """
    def create_partition(self, size: typing.SupportsInt | typing.SupportsIndex, type: MemoryPartitionType, llm_id: str) -> int:
        """
        create_memory_partition that returns the new partition's id.
        """
    def create_stream(self, llm_id: str) -> int:
        """
        An ordered queue on the tenant's node, as an int: a cudaStream_t on a GPU; on the CPU a value that only these
        methods understand.
        """
    def create_virtual_compute_node(self, llm_id: str, memory_size: typing.SupportsInt | typing.SupportsIndex, core_count: typing.SupportsInt | typing.SupportsIndex) -> bool:
        """
        More guaranteed memory (bytes), a node and a stream for the tenant; one a tenant.
        """
    def deallocate_compute_node(self, node_id: typing.SupportsInt | typing.SupportsIndex) -> bool:
        """
        Takes a node back from whoever holds it. False when nobody does.
        """
    def deallocate_memory(self, memory: typing.SupportsInt | typing.SupportsIndex) -> bool:
        """
        Frees what allocate_memory gave. No work that uses it may be in flight.
        """
    def destroy_memory_partition(self, partition_id: typing.SupportsInt | typing.SupportsIndex) -> bool:
        """
        Gives the memory back. No work that uses it may be in flight.
        """
    def destroy_stream(self, stream: typing.SupportsInt | typing.SupportsIndex) -> bool:
        """
        Waits for everything queued, then ends the stream.
        """
    def destroy_virtual_compute_node(self, llm_id: str) -> bool:
        """
        Takes them back. False when there is none.
        """
    def disable_direct_memory_access(self, llm_id: str) -> bool:
        """
        Ends that.
        """
    def disable_profiling(self) -> bool:
        """
        The figures stay.
        """
    def enable_direct_memory_access(self, llm_id: str) -> bool:
        """
        The host reads and writes the tenant's new allocations without copies.
        """
    def enable_profiling(self) -> bool:
        """
        Records kernels, copies, steps, tasks and waits of every LLM; get_performance_metrics has their figures.
        """
    def export_memory_partition(self, partition_id: typing.SupportsInt | typing.SupportsIndex) -> int:
        """
        A file descriptor of SHARED memory for another process; yours to close.
        """
    def export_prometheus(self) -> str:
        """
        Figures of tenants, tasks, devices and the profiler as Prometheus text.
        """
    def export_trace(self, path: str) -> bool:
        """
        Writes a trace for Perfetto or chrome://tracing.
        """
    def get_active_llms(self) -> list[str]:
        """
        The ids of all tenants.
        """
    def get_active_tasks(self) -> list[ComputeTask]:
        """
        Tasks that have not ended, of all tenants.
        """
    def get_available_compute_nodes(self) -> list[ComputeNode]:
        """
        The compute nodes of the current device that nobody holds.
        """
    def get_available_devices(self) -> list[GPUDeviceInfo]:
        """
        Every device as GPUDeviceInfo, the default one first. The CPU is a device too.
        """
    def get_cache_window(self, llm_id: str) -> tuple[int, int]:
        """
        First byte and bytes of that memory; (0, 0) when nothing persists.
        """
    def get_compute_node(self, node_id: typing.SupportsInt | typing.SupportsIndex) -> ComputeNode:
        """
        The node with this id, held or free. Raises NotFoundError.
        """
    def get_current_device(self) -> GPUDeviceInfo:
        """
        The device on which tenants are opened.
        """
    def get_direct_pointer(self, memory: typing.SupportsInt | typing.SupportsIndex, size: typing.SupportsInt | typing.SupportsIndex = 1) -> int:
        """
        Where the host reads and writes `size` bytes of an allocation, once direct memory access is enabled for its LLM.
        """
    def get_math_mode(self, llm_id: str) -> int:
        """
        How the tenant's products are computed: CW_MATH_PLAIN (0), CW_MATH_EXACT or CW_MATH_FAST.
        """
    def get_memory_partition(self, partition_id: typing.SupportsInt | typing.SupportsIndex) -> MemoryPartition:
        """
        The partition with this id. Raises NotFoundError.
        """
    def get_memory_partitions(self) -> list[MemoryPartition]:
        """
        The partitions of all tenants.
        """
    def get_performance_metrics(self) -> dict[str, float]:
        """
        Figures with their unit in the name: seconds, shares from 0 to 1, counts.
        """
    def get_resource_usage(self) -> dict[str, int]:
        """
        Bytes and counts in use.
        """
    def get_streams_for_llm(self, llm_id: str) -> list[int]:
        """
        The tenant's streams.
        """
    def get_task_status(self, task_id: str) -> ComputeTask:
        """
        What is known of a task: waiting, running, or one of the last few thousand that ended.
        """
    def get_texture_object(self, partition_id: typing.SupportsInt | typing.SupportsIndex) -> int:
        """
        What kernels read a TEXTURE partition by (a cudaTextureObject_t on a GPU).
        """
    def import_memory_partition(self, fd: typing.SupportsInt | typing.SupportsIndex, size: typing.SupportsInt | typing.SupportsIndex, llm_id: str) -> int:
        """
        Maps what another process exported, `size` being the partition's there; returns its id here. The descriptor stays
        yours.
        """
    def initialize(self) -> bool:
        """
        Finds the devices; the default one becomes the current one.
        """
    def is_initialized(self) -> bool:
        ...
    def optimize_for_llm(self, llm_id: str, requirements: Settings) -> bool:
        """
        Gives a tenant what an LLM requires, all of it or nothing: memory_priority, compute_priority, stream_priority,
        max_memory (MiB), max_cores, weight, enable_profiling. Unknown keys are refused by name.
        """
    def profiling_summary(self) -> str:
        """
        A table for people, of all tenants.
        """
    def read_memory_partition(self, partition_id: typing.SupportsInt | typing.SupportsIndex, data: typing_extensions.Buffer, offset: typing.SupportsInt | typing.SupportsIndex = 0) -> bool:
        """
        Fills all of such an object from there.
        """
    def recover_device(self, device_id: typing.SupportsInt | typing.SupportsIndex) -> bool:
        """
        Opens a device that was lost anew: its tenants are closed, and what ran on them ends with DeviceLostError.
        """
    def reset_profiling(self) -> bool:
        """
        Forgets all figures and trace events, of everybody.
        """
    def sample_texture(self, partition_id: typing.SupportsInt | typing.SupportsIndex, places: collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex]) -> list[float]:
        """
        Reads a TEXTURE partition at places (x and y of each in turn): element (i, j) lies at (i + 0.5, j + 0.5).
        """
    def schedule_task(self, task: ComputeTask) -> str:
        """
        Runs task.task_function on a thread of Cogniware, with the GIL, once its needs are met. Returns the task's id.
        """
    def select_device(self, device_id: typing.SupportsInt | typing.SupportsIndex) -> bool:
        """
        Tenants opened from now on are on this device. False when there is none with this id.
        """
    def set_cache_window(self, llm_id: str, memory: typing.SupportsInt | typing.SupportsIndex, bytes: typing.SupportsInt | typing.SupportsIndex) -> bool:
        """
        Names the memory that persists in the slices of L2 that the tenant holds. 0 bytes leave the choice to Cogniware.
        """
    def set_task_weightage(self, task_id: str, weight: typing.SupportsFloat | typing.SupportsIndex) -> bool:
        """
        The weight of the task's work from now on, 1 is normal. False when it has ended or is unknown.
        """
    def shutdown(self) -> None:
        """
        Ends what was made through this manager.
        """
    def synchronize_stream(self, stream: typing.SupportsInt | typing.SupportsIndex) -> bool:
        """
        Waits for everything queued; False also when that raised an error.
        """
    def wait_for_task(self, task_id: str, timeout: float | None = None) -> bool:
        """
        Waits for a task's end, at most `timeout` seconds (None: without end); False when it has not ended by then or is
        unknown. Looks for Ctrl-C meanwhile.
        """
    def write_memory_partition(self, partition_id: typing.SupportsInt | typing.SupportsIndex, data: typing_extensions.Buffer, offset: typing.SupportsInt | typing.SupportsIndex = 0) -> bool:
        """
        Writes all of an object with the buffer protocol and waits. CONSTANT memory is written once.
        """
class AdvancedPythonCppBridge:
    """
    LLMs by name, their arrays, nodes and tasks. An LLM that nobody registered is opened with defaults on first use.
    Methods that return bool never raise an Error: False means that nothing was done, and last_error() says why; the
    others raise Error. Sizes are bytes unless they count elements. Usable from any thread; calls release the GIL.
    """
    def __init__(self) -> None:
        ...
    def allocate_compute_node(self, node_id: typing.SupportsInt | typing.SupportsIndex, llm_id: str) -> bool:
        """
        Gives a free node to the LLM. False when it is held or unknown.
        """
    def allocate_memory_array(self, size: typing.SupportsInt | typing.SupportsIndex, llm_id: str) -> MemoryArray:
        """
        `size` elements of float32, zero at first, in the LLM's memory: a numpy array of shape (size,) that shows this
        very memory, no copy. The LLM is charged for it until it was deallocated and its last view has gone. Raises
        QuotaExceededError.
        """
    def cancel_task(self, task_id: str) -> bool:
        ...
    def copy_from_gpu(self, gpu_ptr: typing.SupportsInt | typing.SupportsIndex, array: numpy.ndarray[typing.Any, numpy.dtype[typing.Any]]) -> bool:
        """
        Fills the whole array from there and waits.
        """
    def copy_to_gpu(self, array: numpy.ndarray[typing.Any, numpy.dtype[typing.Any]], gpu_ptr: typing.SupportsInt | typing.SupportsIndex) -> bool:
        """
        Copies the whole array to memory of the same LLM (an address) and waits. The array's own address is allowed.
        """
    def create_shared_memory_array(self, size: typing.SupportsInt | typing.SupportsIndex, llm_id: str) -> typing.Any:
        """
        allocate_memory_array whose memory other processes can open by get_shared_memory_name.
        """
    def create_virtual_compute_node(self, llm_id: str, memory_size: typing.SupportsInt | typing.SupportsIndex, core_count: typing.SupportsInt | typing.SupportsIndex) -> bool:
        """
        More guaranteed memory (bytes), a node and a stream for the LLM; one an LLM.
        """
    def deallocate_compute_node(self, node_id: typing.SupportsInt | typing.SupportsIndex, llm_id: str) -> bool:
        ...
    def deallocate_memory_array(self, array: numpy.ndarray[typing.Any, numpy.dtype[typing.Any]], llm_id: str) -> bool:
        """
        Gives the array up: methods of the bridge refuse it from now on, and its memory goes back with the last numpy
        array (or torch tensor, or memoryview) that still shows it. Until then these stay valid.
        """
    def destroy_shared_memory_array(self, array: numpy.ndarray[typing.Any, numpy.dtype[typing.Any]], llm_id: str) -> bool:
        """
        Gives it up here, as deallocate_memory_array does. Other processes keep what they opened.
        """
    def destroy_virtual_compute_node(self, llm_id: str) -> bool:
        ...
    def disable_profiling(self, llm_id: str) -> bool:
        """
        The figures stay.
        """
    def enable_profiling(self, llm_id: str) -> bool:
        """
        Records the LLM's kernels, copies, steps, tasks and waits from now on.
        """
    def export_prometheus(self) -> str:
        """
        Figures of tenants, tasks, devices and the profiler as Prometheus text.
        """
    def export_trace(self, path: str) -> bool:
        """
        Writes a trace for Perfetto or chrome://tracing.
        """
    def generate(self, llm_id: str, prompt: str, callback: Callable[[Token], object] | Settings | None = None, parameters: Settings | None = None) -> str:
        """
        Generates and returns the text. `callback` is called in this thread with each Token as it is made; False from it
        ends the generation, what it raises ends it and is raised from here. `parameters` as for an "inference" task, a
        dict that may stand in the place of `callback` too. Ctrl-C cancels.
        """
    def get_active_llms(self) -> list[str]:
        """
        The ids of the registered LLMs.
        """
    def get_active_tasks(self, llm_id: str) -> list[str]:
        """
        The ids of the LLM's tasks that have not ended.
        """
    def get_available_compute_nodes(self) -> list[int]:
        """
        The ids of the compute nodes of the current device that nobody holds.
        """
    def get_compute_node_info(self, node_id: typing.SupportsInt | typing.SupportsIndex) -> dict[str, str]:
        """
        What is known of a compute node, held or free, as text.
        """
    def get_diagnostic_results(self) -> dict[str, str]:
        """
        Of the last run: name -> "passed", "failed" or "skipped"; name.detail; name.seconds.
        """
    def get_llm_config(self, llm_id: str) -> dict[str, str]:
        """
        Its settings as registered and updated, as text.
        """
    def get_memory_pointer(self, array: numpy.ndarray[typing.Any, numpy.dtype[typing.Any]]) -> int:
        """
        The address of an array, or of a view of one, for host and device alike.
        """
    def get_memory_usage(self, llm_id: str) -> dict[str, int]:
        """
        Bytes and counts.
        """
    def get_performance_metrics(self) -> dict[str, float]:
        """
        Figures with their unit in the name.
        """
    def get_profiling_data(self, llm_id: str) -> dict[str, str]:
        """
        `<kind>.<name>.<figure>`, each with its unit, as text.
        """
    def get_resource_figures(self, llm_id: str) -> dict[str, float]:
        """
        get_resource_usage with fractions.
        """
    def get_resource_usage(self, llm_id: str) -> dict[str, int]:
        """
        Bytes, counts, whole seconds and shares: fractions are cut off.
        """
    def get_shared_memory_descriptor(self, array: numpy.ndarray[typing.Any, numpy.dtype[typing.Any]]) -> int:
        """
        A descriptor of it to pass on; yours to close.
        """
    def get_shared_memory_name(self, array: numpy.ndarray[typing.Any, numpy.dtype[typing.Any]]) -> str:
        """
        What a process of the same user opens it by while this process has it.
        """
    def get_shared_memory_pointer(self, array: numpy.ndarray[typing.Any, numpy.dtype[typing.Any]]) -> int:
        """
        Its address for host and device alike.
        """
    def get_system_info(self) -> dict[str, str]:
        """
        The device, its driver and its memory, as text.
        """
    def get_task_result(self, task_id: str) -> str:
        """
        The text of a task that completed; empty for any other.
        """
    def get_task_status(self, task_id: str) -> dict[str, str]:
        """
        task_id; llm_id; status: pending, running, completed, failed or cancelled; result: the text of one that completed;
        error: what is wrong with one that did not; created_us, started_us, finished_us: microseconds since 1970, 0 for
        not yet. Raises NotFoundError.
        """
    def get_task_types(self) -> list[str]:
        """
        The names of all task types.
        """
    def initialize(self) -> bool:
        """
        Does nothing when that was done.
        """
    def is_initialized(self) -> bool:
        ...
    def is_llm_active(self, llm_id: str) -> bool:
        ...
    def open_shared_memory_array(self, name: str, llm_id: str) -> typing.Any:
        """
        The shared array of another process, by its name there or the number of a descriptor that this process got (as
        text). The LLM is charged all of it.
        """
    def optimize_for_llm(self, llm_id: str, requirements: Settings) -> bool:
        """
        Gives the LLM what it requires; see AdvancedCustomizedKernel.optimize_for_llm. get_llm_config shows it.
        """
    def profiling_summary(self) -> str:
        """
        A table for people, of all tenants.
        """
    def register_llm(self, llm_id: str, config: Settings | None = None) -> bool:
        """
        Opens the LLM's tenant and loads its model. `config`: a dict of settings; values may be str, int, float or bool.
        Keys that are not known are refused by name; on failure nothing is left behind.
        """
    def register_task_type(self, name: str, function: typing.Any) -> bool:
        """
        Adds a type of task: schedule_task with this name then runs function(context, llm_id, parameters) with the GIL; what
        it returns is the task's result. False when the name is taken.
        """
    def reset_profiling(self) -> bool:
        """
        Forgets all figures and trace events, of everybody.
        """
    def run_diagnostics(self) -> bool:
        """
        Tests the device in use, arrays and a generation; False when a part failed.
        """
    def schedule_task(self, llm_id: str, task_type: str, parameters: Settings | None = None) -> str:
        """
        Returns the task's id. Types: "inference" (`prompt` and how to generate are parameters, over the LLM's settings;
        the result is the text), "embedding" and "tokenize" (parameter `text`), "memory_copy" (`source`, `destination`: addresses;
        `bytes`), "matrix_multiply" (`a`, `b`, `c`: addresses of float32; `m`, `n`, `k`; `transpose`), those of
        register_task_type. Every type takes `task_id`, `priority` and `weight`.
        """
    def set_task_weightage(self, task_id: str, weight: typing.SupportsFloat | typing.SupportsIndex) -> bool:
        """
        The weight of the task's work from now on, 1 is normal. False when it has ended or is unknown.
        """
    def shutdown(self) -> None:
        """
        Unregisters every LLM: what they generate ends as cancelled. May be initialised again.
        """
    def stream(self, llm_id: str, prompt: str, parameters: Settings | None = None) -> Generation:
        """
        Starts generating and returns at once: a Generation to iterate over.
        """
    def unregister_llm(self, llm_id: str) -> bool:
        """
        What it generates ends as cancelled; its memory goes back, arrays that Python still has with their last view.
        """
    def unregister_task_type(self, name: str) -> bool:
        """
        Takes a registered type away; its tasks that are scheduled already go on.
        """
    def update_llm_config(self, llm_id: str, config: Settings) -> bool:
        """
        Changes settings; the others stay. What cannot change while it is registered is refused by name.
        """
    def wait_for_task(self, task_id: str, timeout: float | None = None) -> bool:
        """
        Waits for a task's end, at most `timeout` seconds (None: without end); False when it has not ended by then or is
        unknown. Looks for Ctrl-C meanwhile.
        """
class Buffer:
    """
    Bytes of a tenant's memory, aligned to 256. On the CPU device the object has the buffer protocol
    (`memoryview(buffer)`, `numpy.frombuffer(buffer, numpy.float32)`); on a GPU __cuda_array_interface__; DLPack on
    both. What shows the memory keeps it alive and charged: free() gives it back with the last of them.
    """
    def __dlpack__(self, *, stream: int | None = None, max_version: tuple[int, int] | None = None, dl_device: tuple[int, int] | None = None, copy: bool | None = None) -> typing.Any:
        ...
    def __dlpack_device__(self) -> tuple[int, int]:
        ...
    def __enter__(self) -> Buffer:
        ...
    def __exit__(self, *args) -> None:
        ...
    def free(self) -> None:
        """
        Gives the memory back, now or with the last array that shows it. No work that uses it may be in flight.
        """
    def view(self, dtype: typing.Any = 'uint8', shape: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex] | None = None) -> typing.Any:
        """
        The memory as elements of a numpy dtype, of this shape (None: one row), without a copy: a numpy array on the CPU,
        a DeviceArray on a GPU.
        """
    @property
    def __cuda_array_interface__(self) -> dict:
        ...
    @property
    def address(self) -> typing.Any:
        """
        On the CPU an ordinary address, on a GPU a device address.
        """
    @property
    def nbytes(self) -> int:
        ...
class ComputeNode:
    """
    One compute node of the current device.
    """
    type: ComputeNodeType
    def __init__(self) -> None:
        ...
    def __repr__(self) -> str:
        ...
    @property
    def allocated_cores(self) -> list[int]:
        """
        Cores, or indices of groups of SMs (a copy).
        """
    @allocated_cores.setter
    def allocated_cores(self, arg0: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex]) -> None:
        ...
    @property
    def allocated_memory(self) -> list[int]:
        """
        Bytes of each reservation (a copy).
        """
    @allocated_memory.setter
    def allocated_memory(self, arg0: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex]) -> None:
        ...
    @property
    def compute_capability(self) -> int:
        """
        90 for 9.0; 0 on the CPU.
        """
    @compute_capability.setter
    def compute_capability(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None:
        ...
    @property
    def custom_data(self) -> dict:
        """
        The application's: names and addresses (a copy).
        """
    @custom_data.setter
    def custom_data(self, arg1: collections.abc.Mapping[str, typing.SupportsInt | typing.SupportsIndex]) -> None:
        ...
    @property
    def detail(self) -> str:
        """
        What it is on this device, in words.
        """
    @detail.setter
    def detail(self, arg0: str) -> None:
        ...
    @property
    def is_active(self) -> bool:
        """
        It is held, and work has run on it.
        """
    @is_active.setter
    def is_active(self, arg0: bool) -> None:
        ...
    @property
    def is_allocated(self) -> bool:
        """
        A tenant holds it.
        """
    @is_allocated.setter
    def is_allocated(self, arg0: bool) -> None:
        ...
    @property
    def last_used(self) -> typing.Any:
        """
        When work last ran, in UTC; None: never.
        """
    @last_used.setter
    def last_used(self, arg1: typing.Any) -> None:
        ...
    @property
    def memory_size(self) -> int:
        """
        Bytes.
        """
    @memory_size.setter
    def memory_size(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None:
        ...
    @property
    def node_id(self) -> int:
        """
        Unique on its device.
        """
    @node_id.setter
    def node_id(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None:
        ...
class ComputeNodeType(enum.Enum):
    """
    What a compute node is made of.
    """
    CUDA_CORE: typing.ClassVar[ComputeNodeType]  # value = <ComputeNodeType.CUDA_CORE: 1>
    L2_CACHE: typing.ClassVar[ComputeNodeType]  # value = <ComputeNodeType.L2_CACHE: 4>
    MEMORY_BANK: typing.ClassVar[ComputeNodeType]  # value = <ComputeNodeType.MEMORY_BANK: 2>
    SHARED_MEMORY: typing.ClassVar[ComputeNodeType]  # value = <ComputeNodeType.SHARED_MEMORY: 3>
    TENSOR_CORE: typing.ClassVar[ComputeNodeType]  # value = <ComputeNodeType.TENSOR_CORE: 0>
class ComputeTask:
    """
    A task: what to do when it is given to schedule_task, and what is known of it when get_task_status returns it.
    """
    priority: TaskPriority
    def __init__(self, task_id: str = '', llm_id: str = '', priority: TaskPriority = ..., required_memory: typing.SupportsInt | typing.SupportsIndex = 0, required_cores: typing.SupportsInt | typing.SupportsIndex = 0, task_function: Callable[[], object] | None = None) -> None:
        ...
    def __repr__(self) -> str:
        ...
    @property
    def completed_at(self) -> typing.Any:
        """
        When it ended, however, in UTC; None: not yet.
        """
    @completed_at.setter
    def completed_at(self, arg1: typing.Any) -> None:
        ...
    @property
    def created_at(self) -> typing.Any:
        """
        In UTC.
        """
    @created_at.setter
    def created_at(self, arg1: typing.Any) -> None:
        ...
    @property
    def is_completed(self) -> bool:
        """
        It ended well.
        """
    @is_completed.setter
    def is_completed(self, arg0: bool) -> None:
        ...
    @property
    def llm_id(self) -> str:
        """
        The tenant; opened with default limits on first use.
        """
    @llm_id.setter
    def llm_id(self, arg0: str) -> None:
        ...
    @property
    def required_cores(self) -> int:
        """
        Cores or SMs that it needs to start.
        """
    @required_cores.setter
    def required_cores(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None:
        ...
    @property
    def required_memory(self) -> int:
        """
        Bytes that must be free within the tenant's limit for it to start.
        """
    @required_memory.setter
    def required_memory(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None:
        ...
    @property
    def result(self) -> str:
        """
        Empty until it ended; the error's text when it failed.
        """
    @result.setter
    def result(self, arg0: str) -> None:
        ...
    @property
    def scheduled_at(self) -> typing.Any:
        """
        When it started, in UTC; None: not yet.
        """
    @scheduled_at.setter
    def scheduled_at(self, arg1: typing.Any) -> None:
        ...
    @property
    def task_function(self) -> typing.Any:
        """
        Called without arguments on a thread of Cogniware, with the GIL. What it raises ends the task as failed with
        the exception's text. None in what get_task_status returns.
        """
    @task_function.setter
    def task_function(self, arg1: typing.Any) -> None:
        ...
    @property
    def task_id(self) -> str:
        """
        Empty for a new id.
        """
    @task_id.setter
    def task_id(self, arg0: str) -> None:
        ...
class DeviceArray:
    """
    A tensor in device memory, by reference. torch, cupy, jax and others take it without a copy: by DLPack
    (torch.from_dlpack(array)) or __cuda_array_interface__. It keeps the memory alive.
    """
    def __dlpack__(self, *, stream: int | None = None, max_version: tuple[int, int] | None = None, dl_device: tuple[int, int] | None = None, copy: bool | None = None) -> typing.Any:
        ...
    def __dlpack_device__(self) -> tuple[int, int]:
        ...
    def __repr__(self) -> typing.Any:
        ...
    @property
    def __cuda_array_interface__(self) -> dict:
        ...
    @property
    def data_ptr(self) -> typing.Any:
        """
        The device address.
        """
    @property
    def dtype(self) -> numpy.dtype[typing.Any]:
        """
        A numpy dtype.
        """
    @property
    def nbytes(self) -> int:
        ...
    @property
    def shape(self) -> tuple:
        ...
    @property
    def size(self) -> int:
        """
        Elements.
        """
    @property
    def strides(self) -> tuple:
        """
        In elements.
        """
class ErrorCategory(enum.IntEnum):
    """
    What part of the work an error belongs to.
    """
    ARGUMENT: typing.ClassVar[ErrorCategory]  # value = <ErrorCategory.ARGUMENT: 11>
    BRIDGE: typing.ClassVar[ErrorCategory]  # value = <ErrorCategory.BRIDGE: 7>
    DEVICE: typing.ClassVar[ErrorCategory]  # value = <ErrorCategory.DEVICE: 3>
    DRIVER: typing.ClassVar[ErrorCategory]  # value = <ErrorCategory.DRIVER: 2>
    INITIALIZATION: typing.ClassVar[ErrorCategory]  # value = <ErrorCategory.INITIALIZATION: 1>
    INTERNAL: typing.ClassVar[ErrorCategory]  # value = <ErrorCategory.INTERNAL: 12>
    KERNEL: typing.ClassVar[ErrorCategory]  # value = <ErrorCategory.KERNEL: 5>
    MEMORY: typing.ClassVar[ErrorCategory]  # value = <ErrorCategory.MEMORY: 4>
    MODEL: typing.ClassVar[ErrorCategory]  # value = <ErrorCategory.MODEL: 8>
    NONE: typing.ClassVar[ErrorCategory]  # value = <ErrorCategory.NONE: 0>
    SYSTEM: typing.ClassVar[ErrorCategory]  # value = <ErrorCategory.SYSTEM: 10>
    TASK: typing.ClassVar[ErrorCategory]  # value = <ErrorCategory.TASK: 6>
    TENANT: typing.ClassVar[ErrorCategory]  # value = <ErrorCategory.TENANT: 9>
    @classmethod
    def __new__(cls, value):
        ...
    def __format__(self, format_spec):
        ...
class GPUDeviceInfo:
    """
    What is known of a device (the CPU is one too). What has no meaning on it is 0.
    """
    name: str
    supports_nvlink: bool
    def __init__(self) -> None:
        ...
    def __repr__(self) -> str:
        ...
    @property
    def compute_capability(self) -> int:
        """
        90 for 9.0; 0 on the CPU.
        """
    @compute_capability.setter
    def compute_capability(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None:
        ...
    @property
    def cuda_core_count(self) -> int:
        """
        FP32 lanes.
        """
    @cuda_core_count.setter
    def cuda_core_count(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None:
        ...
    @property
    def device_id(self) -> int:
        """
        What select_device takes.
        """
    @device_id.setter
    def device_id(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None:
        ...
    @property
    def free_memory(self) -> int:
        """
        Bytes free when this was read.
        """
    @free_memory.setter
    def free_memory(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None:
        ...
    @property
    def max_blocks_per_grid(self) -> int:
        """
        In the first dimension.
        """
    @max_blocks_per_grid.setter
    def max_blocks_per_grid(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None:
        ...
    @property
    def max_threads_per_block(self) -> int:
        ...
    @max_threads_per_block.setter
    def max_threads_per_block(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None:
        ...
    @property
    def max_threads_per_multi_processor(self) -> int:
        ...
    @max_threads_per_multi_processor.setter
    def max_threads_per_multi_processor(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None:
        ...
    @property
    def multi_processor_count(self) -> int:
        """
        SMs, or cores that this process may use.
        """
    @multi_processor_count.setter
    def multi_processor_count(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None:
        ...
    @property
    def nvlink_connections(self) -> list[int]:
        """
        CUDA ordinals at the other ends of links that are up (a copy: assign a list to change it).
        """
    @nvlink_connections.setter
    def nvlink_connections(self, arg0: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex]) -> None:
        ...
    @property
    def tensor_core_count(self) -> int:
        ...
    @tensor_core_count.setter
    def tensor_core_count(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None:
        ...
    @property
    def total_memory(self) -> int:
        """
        Bytes.
        """
    @total_memory.setter
    def total_memory(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None:
        ...
class Generation:
    """
    Text that is being generated. Iterate over it (`for token in generation`, or `async for`): each Token is a str with
    the token's id and log-probability. Ctrl-C, `break` followed by the object's end, or cancel() end the work. Usable
    from any thread; waiting releases the GIL. As a context manager it cancels at the end of the block.
    """
    def __aiter__(self) -> AsyncGenerator[Token, None]:
        ...
    def __await__(self) -> Generator[object, None, str]:
        ...
    def __enter__(self) -> Generation:
        ...
    def __exit__(self, *args) -> None:
        ...
    def __iter__(self) -> Generation:
        ...
    def __next__(self) -> Token:
        ...
    def _check(self) -> None:
        ...
    def _clear_wakeup(self) -> None:
        ...
    def _drain(self) -> tuple[list, bool]:
        ...
    def _wakeup(self) -> int:
        ...
    def cancel(self) -> None:
        """
        Asks for the end. Does nothing when it has ended.
        """
    def result(self, timeout: float | None = None) -> str:
        """
        Waits like wait() and returns the whole text. Raises TimeoutError.
        """
    def wait(self, timeout: float | None = None) -> bool:
        """
        Waits for the end, at most `timeout` seconds (None: without end); False when it has not come by then. Raises the
        error with which it ended. Being cancelled is no error.
        """
    @property
    def done(self) -> bool:
        """
        It has ended, however.
        """
    @property
    def logprobs(self) -> list[float]:
        """
        Their log-probabilities, when `logprobs` was asked for.
        """
    @property
    def stats(self) -> dict:
        """
        Counts, the finish reason (stop, stop_string, length, cancelled, error), the seed, and timings in milliseconds.
        """
    @property
    def text(self) -> str:
        """
        The whole text. Raises BusyError before the end, as do those below.
        """
    @property
    def tokens(self) -> list[int]:
        """
        The ids of the tokens.
        """
class KernelDriverManager:
    """
    The process-wide kernel and driver managers. Methods that return bool never raise an Error: False leaves its
    reason in last_error(). Usable from any thread; calls release the GIL.
    """
    @staticmethod
    def get_instance() -> KernelDriverManager:
        """
        The one object of this class.
        """
    def disable_system_profiling(self) -> bool:
        """
        The figures stay.
        """
    def enable_system_profiling(self) -> bool:
        """
        Records the work of every LLM from now on.
        """
    def export_prometheus(self) -> str:
        """
        Figures of tenants, tasks, devices and the profiler as Prometheus text.
        """
    def export_trace(self, path: str) -> bool:
        """
        Writes a trace for Perfetto or chrome://tracing.
        """
    def get_driver(self) -> AdvancedCustomizedDriver:
        """
        The process-wide driver manager.
        """
    def get_driver_configuration(self) -> dict[str, str]:
        """
        Every key with what is in force for it.
        """
    def get_kernel(self) -> AdvancedCustomizedKernel:
        """
        The process-wide kernel manager; before initialize_system() its methods fail and say so.
        """
    def get_kernel_configuration(self) -> dict[str, str]:
        """
        Every key with what is in force for it.
        """
    def get_system_performance_metrics(self) -> dict[str, float]:
        """
        Figures with their unit in the name: seconds, shares from 0 to 1, counts.
        """
    def get_system_resource_usage(self) -> dict[str, int]:
        """
        Bytes and counts in use.
        """
    def initialize_system(self) -> bool:
        """
        Finds the devices. Does nothing when that was done.
        """
    def is_system_initialized(self) -> bool:
        ...
    def profiling_summary(self) -> str:
        """
        A table for people, of all tenants.
        """
    def reset_profiling(self) -> bool:
        """
        Forgets all figures and trace events, of everybody.
        """
    def set_driver_configuration(self, config: Settings) -> bool:
        """
        The same for the driver's.
        """
    def set_kernel_configuration(self, config: Settings) -> bool:
        """
        Changes keys of the kernel's configuration, all of them or none. Unknown ones are refused by name.
        """
    def shutdown_system(self) -> None:
        """
        What was made through the process-wide managers ends. May be initialised again.
        """
class LogLevel(enum.IntEnum):
    """
    How important a record of the log is.
    """
    DEBUG: typing.ClassVar[LogLevel]  # value = <LogLevel.DEBUG: 4>
    ERROR: typing.ClassVar[LogLevel]  # value = <LogLevel.ERROR: 1>
    INFO: typing.ClassVar[LogLevel]  # value = <LogLevel.INFO: 3>
    OFF: typing.ClassVar[LogLevel]  # value = <LogLevel.OFF: 0>
    TRACE: typing.ClassVar[LogLevel]  # value = <LogLevel.TRACE: 5>
    WARN: typing.ClassVar[LogLevel]  # value = <LogLevel.WARN: 2>
    @classmethod
    def __new__(cls, value):
        ...
    def __format__(self, format_spec):
        ...
class MemoryPartition:
    """
    Reserved bytes of one tenant's memory.
    """
    is_allocated: bool
    type: MemoryPartitionType
    def __init__(self) -> None:
        ...
    def __repr__(self) -> str:
        ...
    @property
    def allocated_at(self) -> typing.Any:
        """
        When it was made, in UTC.
        """
    @allocated_at.setter
    def allocated_at(self, arg1: typing.Any) -> None:
        ...
    @property
    def device_ptr(self) -> typing.Any:
        """
        Its address for the device; owned by Cogniware until the partition is destroyed.
        """
    @property
    def host_ptr(self) -> typing.Any:
        """
        The same memory for the host; None where it cannot reach it.
        """
    @property
    def offset(self) -> int:
        """
        Bytes from the start of the tenant's address range.
        """
    @offset.setter
    def offset(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None:
        ...
    @property
    def owner_llm(self) -> str:
        """
        The tenant.
        """
    @owner_llm.setter
    def owner_llm(self, arg0: str) -> None:
        ...
    @property
    def partition_id(self) -> int:
        ...
    @partition_id.setter
    def partition_id(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None:
        ...
    @property
    def size(self) -> int:
        """
        Bytes.
        """
    @size.setter
    def size(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None:
        ...
    @property
    def texture_object(self) -> int:
        """
        What kernels read TEXTURE memory by; 0 for other types.
        """
    @texture_object.setter
    def texture_object(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None:
        ...
class MemoryPartitionType(enum.Enum):
    """
    What a memory partition is.
    """
    CONSTANT_MEMORY: typing.ClassVar[MemoryPartitionType]  # value = <MemoryPartitionType.CONSTANT_MEMORY: 2>
    GLOBAL_MEMORY: typing.ClassVar[MemoryPartitionType]  # value = <MemoryPartitionType.GLOBAL_MEMORY: 0>
    LOCAL_MEMORY: typing.ClassVar[MemoryPartitionType]  # value = <MemoryPartitionType.LOCAL_MEMORY: 4>
    SHARED_MEMORY: typing.ClassVar[MemoryPartitionType]  # value = <MemoryPartitionType.SHARED_MEMORY: 1>
    TEXTURE_MEMORY: typing.ClassVar[MemoryPartitionType]  # value = <MemoryPartitionType.TEXTURE_MEMORY: 3>
class Model:
    """
    Weights and architecture, loaded into a tenant, which it keeps. Usable from any thread: several generations run
    together as one batch. Failures raise Error.
    """
    def __init__(self, tenant: Tenant, path: str | os.PathLike[str] = '', options: Settings | None = None) -> None:
        """
        Loads a GGUF file, a Hugging Face folder, or (with an empty path) the small model that ships with Cogniware.
        `options`: "context" and "max_sequences" (numbers), "kv_type" ("f16" or "f32"), "exact_head" ("true").
        """
    def agenerate(self, prompt: str, **options: object) -> AsyncGenerator[Token, None]:
        """
        The same as an asynchronous generator of tokens for `async for`; leaving the loop cancels the work.
        """
    def detokenize(self, ids: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex]) -> str:
        """
        The text of tokens.
        """
    def embed(self, texts: collections.abc.Sequence[str], pooling: str = '', normalize: bool = True) -> numpy.typing.NDArray[numpy.float32]:
        """
        One vector a text: a float32 array of shape (len(texts), dim). `pooling`: "mean", "cls", "last" or empty for
        the model's own.
        """
    def generate(self, prompt: str, **options: object) -> Generation:
        """
        Starts generating and returns at once: a Generation, to iterate over (`for` or `async for`) or to wait for.
        Options: max_tokens, temperature (0: always the likeliest token), top_k, top_p, min_p, repeat_penalty,
        presence_penalty, frequency_penalty, seed, stop (a str or a list of them), chat (the prompt is a user's message,
        put through the model's chat template), system (the system message of a chat), ignore_eos, logprobs. Unknown ones
        are refused by name.
        """
    def info(self) -> dict[str, str]:
        """
        Architecture, sizes and format, as text.
        """
    def tokenize(self, text: str, add_special: bool = False) -> list[int]:
        """
        The ids of a text's tokens; with `add_special` also those that begin or end every text of this model.
        """
    @property
    def tenant(self) -> Tenant:
        ...
class PythonCppBridgeManager:
    """
    Short ways to the process-wide bridge; AdvancedPythonCppBridge says what each method does.
    """
    @staticmethod
    def get_instance() -> PythonCppBridgeManager:
        """
        The one object of this class.
        """
    def allocate_memory_array(self, size: typing.SupportsInt | typing.SupportsIndex, llm_id: str) -> MemoryArray:
        ...
    def deallocate_memory_array(self, array: numpy.ndarray[typing.Any, numpy.dtype[typing.Any]], llm_id: str) -> bool:
        ...
    def get_active_llms(self) -> list[str]:
        ...
    def get_bridge(self) -> AdvancedPythonCppBridge:
        """
        The process-wide bridge; before initialize_bridge() its methods fail and say so.
        """
    def get_bridge_configuration(self) -> dict[str, str]:
        """
        Every key with what is in force for it.
        """
    def get_resource_usage(self, llm_id: str) -> dict[str, int]:
        ...
    def initialize_bridge(self) -> bool:
        """
        Does nothing when that was done.
        """
    def is_bridge_initialized(self) -> bool:
        ...
    def register_llm(self, llm_id: str, config: Settings | None = None) -> bool:
        ...
    def schedule_task(self, llm_id: str, task_type: str, parameters: Settings | None = None) -> str:
        ...
    def set_bridge_configuration(self, config: Settings) -> bool:
        """
        Changes keys of the bridge's configuration, all of them or none. Unknown ones are refused by name.
        """
    def shutdown_bridge(self) -> None:
        """
        Unregisters every LLM: what they generate ends as cancelled. May be initialised again.
        """
    def unregister_llm(self, llm_id: str) -> bool:
        ...
class Stream:
    """
    An ordered queue on a tenant's compute node. Its end waits for its work.
    """
    def synchronize(self) -> None:
        """
        Waits for everything queued so far; raises an error that it raised.
        """
    @property
    def native(self) -> typing.Any:
        """
        The cudaStream_t behind it; None on the CPU.
        """
class Task:
    """
    A handle to a task. Dropping it leaves the task alone. Usable from any thread.
    """
    @staticmethod
    def find(task_id: str) -> Task:
        """
        The task with this id: waiting, running, or one of the last few thousand that ended.
        """
    def cancel(self) -> None:
        """
        What has not started never will; a running function is told.
        """
    def result(self, timeout: float | None = None) -> str:
        """
        Waits like wait() and returns the text; raises the error with which it ended.
        """
    def wait(self, timeout: float | None = None) -> bool:
        """
        Waits for the end, at most `timeout` seconds (None: without end); False when it has not come by then. Looks for
        Ctrl-C meanwhile, which leaves the task alone.
        """
    @property
    def status(self) -> str:
        """
        "pending", "running", "completed", "failed" or "cancelled".
        """
    @property
    def task_id(self) -> str:
        ...
    @property
    def text(self) -> str:
        """
        The text that it set, or that of its error; empty before the end.
        """
class TaskContext:
    """
    What the function of a running task sees of its task. Valid only inside that function.
    """
    def set_result(self, text: str) -> None:
        """
        The text that the task's result will be.
        """
    @property
    def cancelled(self) -> bool:
        """
        Somebody asked for the end of the task, or the interpreter is ending: long work should look and return.
        """
class TaskPriority(enum.IntEnum):
    """
    Who goes first when several want the same processors.
    """
    BACKGROUND: typing.ClassVar[TaskPriority]  # value = <TaskPriority.BACKGROUND: 4>
    CRITICAL: typing.ClassVar[TaskPriority]  # value = <TaskPriority.CRITICAL: 0>
    HIGH: typing.ClassVar[TaskPriority]  # value = <TaskPriority.HIGH: 1>
    LOW: typing.ClassVar[TaskPriority]  # value = <TaskPriority.LOW: 3>
    NORMAL: typing.ClassVar[TaskPriority]  # value = <TaskPriority.NORMAL: 2>
    @classmethod
    def __new__(cls, value):
        ...
    def __format__(self, format_spec):
        ...
class Tenant:
    """
    An account on a device with a hard memory quota, processors of its own, and figures. It is closed by close(), at the
    end of a `with` block, or with its object: tasks end as cancelled, nodes and streams go back, and memory with the
    last array that shows it. Usable from any thread; calls release the GIL. Failures raise Error.
    """
    def __enter__(self) -> Tenant:
        ...
    def __exit__(self, *args) -> None:
        ...
    def __init__(self, id: str, *, device: str = '', memory_limit: typing.SupportsInt | typing.SupportsIndex = 0, memory_floor: typing.SupportsInt | typing.SupportsIndex = 0, weight: typing.SupportsFloat | typing.SupportsIndex = 1.0, processors: typing.SupportsInt | typing.SupportsIndex = 0, priority: TaskPriority = ...) -> None:
        """
        `device`: "cpu", "cuda", "cuda:1", "auto"; empty: COGNIWARE_DEVICE, else auto. `memory_limit`: the most bytes it may
        hold (0: a quarter of the device); `memory_floor`: bytes set aside for it. `weight`: of its share where processors
        are contended. `processors`: cores or SMs of its own node (0: a quarter of the device).
        """
    def allocate(self, bytes: typing.SupportsInt | typing.SupportsIndex, tag: str = '') -> typing_extensions.Buffer:
        """
        A Buffer of this tenant's memory. `tag` names it in reports. Raises QuotaExceededError beyond the limit.
        """
    def allocations(self) -> typing.Any:
        """
        What is allocated: a list of dicts with address, bytes, tag and age_ms, oldest first.
        """
    def close(self) -> int:
        """
        Closes it now. Returns the bytes that were still allocated.
        """
    def copy(self, destination: Memory, source: Memory, bytes: typing.SupportsInt | typing.SupportsIndex, stream: Stream = None) -> None:
        """
        Copies between host memory and memory of this tenant, in any direction, and waits; with a Stream it is queued
        there, and what it uses is held until Stream.synchronize(). Each end is a Buffer, an object with the buffer
        protocol, or an address.
        """
    def fill(self, destination: typing_extensions.Buffer, value: typing.SupportsInt | typing.SupportsIndex) -> None:
        """
        Sets every byte of a Buffer and waits.
        """
    def give_node_back(self, node: typing.SupportsInt | typing.SupportsIndex) -> None:
        ...
    def make_node(self, processors: typing.SupportsInt | typing.SupportsIndex) -> int:
        """
        Makes a node of so many cores or SMs for this tenant; returns its id.
        """
    def schedule(self, work: Callable[[TaskContext], object], *, task_id: str = '', priority: TaskPriority = ..., cores: typing.SupportsInt | typing.SupportsIndex = 0, memory: typing.SupportsInt | typing.SupportsIndex = 0) -> Task:
        """
        Runs work(context) on a thread of Cogniware, with the GIL, once its needs are met: `cores` or SMs, and `memory`
        bytes free within the limit. What it returns (if not None) becomes the task's text; what it raises ends the task
        as failed with the exception's text.
        """
    def set_memory_limit(self, bytes: typing.SupportsInt | typing.SupportsIndex) -> None:
        ...
    def set_priority(self, priority: TaskPriority) -> None:
        ...
    def set_weight(self, weight: typing.SupportsFloat | typing.SupportsIndex) -> None:
        ...
    def stream(self, priority: typing.SupportsInt | typing.SupportsIndex = 0) -> Stream:
        """
        A Stream on this tenant's node. Lower priority runs first; 0 is normal.
        """
    def take_node(self, node: typing.SupportsInt | typing.SupportsIndex) -> None:
        """
        A free node of the device's ladder becomes this tenant's.
        """
    def usage(self) -> dict:
        """
        The figures now: bytes, counts and nanoseconds.
        """
    @property
    def id(self) -> str:
        ...
def _array_device(array: numpy.ndarray[typing.Any, numpy.dtype[typing.Any]]) -> tuple[bool, int, int]:
    ...
def _export_array(array: numpy.ndarray[typing.Any, numpy.dtype[typing.Any]], stream: typing.Any, max_version: typing.Any, dl_device: typing.Any, copy: typing.Any, kind: typing.SupportsInt | typing.SupportsIndex, ordinal: typing.SupportsInt | typing.SupportsIndex) -> typing.Any:
    ...
def clear_error_history() -> None:
    """
    Forgets all errors and sets their counts to 0.
    """
def devices() -> dict:
    """
    Every device as {name: GPUDeviceInfo}, the default one first. The name ("cpu", "cuda:0") is what Tenant takes.
    """
def error_history() -> list:
    """
    The errors that the process keeps (the newest 256 unless set otherwise), the newest first: dicts with sequence, time,
    status, category, message, advice, call, function, driver_code, os_code.
    """
def error_statistics() -> dict[str, int]:
    """
    Counts by status and category, and of recoveries.
    """
def from_dlpack(source: typing.Any) -> typing.Any:
    """
    The memory of another library's tensor, without a copy: a numpy array for host memory, a DeviceArray for a GPU's.
    `source` has __dlpack__, or is such a capsule (legacy or versioned), which it consumes.
    """
def last_error() -> str:
    """
    What went wrong in this thread's last call of Cogniware: what failed, which argument, and what would help.
    Empty after a call that succeeded. Methods that return False leave their reason here.
    """
def last_status() -> int:
    """
    The status of this thread's last call of Cogniware as a number of Status; 0 after one that succeeded.
    """
def recover_device(device: str) -> None:
    """
    Opens a lost device ("cuda", "cuda:1") anew. Its tenants are closed, and what ran on them ends with
    DeviceLostError. Does nothing to a device that answers.
    """
def set_error_history_capacity(capacity: typing.SupportsInt | typing.SupportsIndex) -> None:
    """
    Keeps at most this many errors from now on; 0 only counts them.
    """
def set_fallback_device(device: str) -> None:
    """
    What takes the place of a GPU that does not answer or has no memory left when an LLM is registered: "cpu", or
    "none" for an error instead, which is the default.
    """
def set_logger(level: LogLevel, logger: Callable[[LogLevel, str, str], object] | None) -> None:
    """
    Calls logger(level, target, message) with records of `level` and more important ones, on the threads that do the work,
    with the GIL. None, or LogLevel.OFF, turns logging off, which is the default.
    """
def status_name(status: typing.SupportsInt | typing.SupportsIndex) -> str:
    """
    The short stable name of a status, such as "quota_exceeded"; "unknown" for a number that is none.
    """
def version() -> str:
    """
    The version of the library that is loaded, such as "0.1.0".
    """
def write_log(level: LogLevel, target: str, message: str) -> None:
    """
    Writes a record of the application into the same log.
    """
