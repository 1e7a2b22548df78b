# SPDX-License-Identifier: MIT OR Apache-2.0
"""The kernel and the driver: each method does something that can be seen."""

from __future__ import annotations

import datetime
import threading

import numpy as np
import pytest

import cogniware_core as cw


def test_devices(kernel):
    devices = kernel.get_available_devices()
    assert devices and devices[0].name and devices[0].total_memory > devices[0].free_memory // 2 > 0
    assert [device.device_id for device in devices] == list(range(len(devices)))
    assert kernel.select_device(0)
    assert kernel.get_current_device().name == devices[0].name
    assert not kernel.select_device(99)
    assert "99" in cw.last_error() and cw.last_status() == cw.Status.INVALID_ARGUMENT
    assert list(cw.devices().values())[0].name == devices[0].name


def test_compute_nodes(kernel, name):
    free = kernel.get_available_compute_nodes()
    node = free[0]
    assert not node.is_allocated and node.allocated_cores and isinstance(node.type, cw.ComputeNodeType)
    assert kernel.allocate_compute_node(node.node_id, name)
    assert kernel.get_compute_node(node.node_id).is_allocated
    assert node.node_id not in [n.node_id for n in kernel.get_available_compute_nodes()]
    assert not kernel.allocate_compute_node(node.node_id, name + "-other") and cw.last_error()
    assert kernel.deallocate_compute_node(node.node_id)
    assert not kernel.get_compute_node(node.node_id).is_allocated
    assert not kernel.deallocate_compute_node(node.node_id)
    with pytest.raises(cw.NotFoundError):
        kernel.get_compute_node(10**6)


def test_partitions(kernel, name):
    before = {p.partition_id for p in kernel.get_memory_partitions()}
    assert kernel.create_memory_partition(1 << 20, cw.MemoryPartitionType.GLOBAL_MEMORY, name)
    (made,) = [p for p in kernel.get_memory_partitions() if p.partition_id not in before]
    assert made.size >= 1 << 20 and made.owner_llm == name and made.device_ptr and made.is_allocated
    assert made.type is cw.MemoryPartitionType.GLOBAL_MEMORY
    age = datetime.datetime.now(datetime.timezone.utc) - made.allocated_at
    assert datetime.timedelta(0) <= age < datetime.timedelta(minutes=1)
    assert kernel.get_memory_partition(made.partition_id).size == made.size
    assert kernel.destroy_memory_partition(made.partition_id)
    assert not kernel.destroy_memory_partition(made.partition_id)
    with pytest.raises(cw.NotFoundError):
        kernel.get_memory_partition(made.partition_id)


def test_memory(kernel, name):
    memory = kernel.allocate_memory(4096, name)
    source = np.arange(1024, dtype=np.float32)
    back = np.zeros_like(source)
    assert kernel.copy_memory(memory, source, source.nbytes)
    assert kernel.copy_memory(back, memory, back.nbytes)
    assert (back == source).all()
    assert kernel.deallocate_memory(memory)
    assert not kernel.deallocate_memory(memory) and "freed" in cw.last_error()
    with pytest.raises(cw.QuotaExceededError) as refused:
        kernel.allocate_memory(1 << 50, name)
    assert isinstance(refused.value, MemoryError) and refused.value.name == "quota_exceeded"


def test_buffers_are_checked_before_a_copy(kernel, name):
    memory = kernel.allocate_memory(4096, name)
    with pytest.raises(ValueError, match="destination.*has 8 bytes"):
        kernel.copy_memory(bytearray(8), memory, 4096)
    with pytest.raises(ValueError, match="read-only"):
        kernel.copy_memory(bytes(4096), memory, 4096)
    with pytest.raises(ValueError, match="contiguous"):
        kernel.copy_memory(memory, np.zeros(8192, np.uint8)[::2], 4096)
    with pytest.raises(TypeError, match="source"):
        kernel.copy_memory(memory, "text", 4)
    with pytest.raises(TypeError):
        kernel.copy_memory(memory, memory, -1)
    assert kernel.deallocate_memory(memory)


def test_streams(kernel, name):
    stream = kernel.create_stream(name)
    assert stream in kernel.get_streams_for_llm(name)
    memory = kernel.allocate_memory(1 << 20, name)
    assert kernel.copy_memory_async(memory, bytearray(b"\x07" * (1 << 20)), 1 << 20, stream)
    back = bytearray(1 << 20)
    assert kernel.copy_memory_async(back, memory, len(back), stream)
    with pytest.raises(BufferError):
        back.append(1)  # held until the stream was waited for
    assert kernel.synchronize_stream(stream)
    assert back == b"\x07" * len(back)
    back.append(1)
    assert kernel.destroy_stream(stream)
    assert stream not in kernel.get_streams_for_llm(name)
    assert not kernel.synchronize_stream(stream)
    assert kernel.deallocate_memory(memory)


def test_tasks(kernel, name):
    thread = []

    def work():
        thread.append(threading.get_ident())

    task = cw.ComputeTask(llm_id=name, priority=cw.TaskPriority.HIGH, required_cores=1)
    task.task_function = work
    assert task.task_function is work
    task_id = kernel.schedule_task(task)
    assert kernel.wait_for_task(task_id, 30)
    done = kernel.get_task_status(task_id)
    assert done.is_completed and done.llm_id == name and done.task_function is None
    assert done.created_at <= done.scheduled_at <= done.completed_at
    assert thread and thread[0] != threading.get_ident()
    assert task_id not in [t.task_id for t in kernel.get_active_tasks()]
    assert not kernel.cancel_task(task_id)


def test_a_failing_task_keeps_the_exceptions_text(kernel, name):
    def work():
        raise KeyError("absent")

    task_id = kernel.schedule_task(cw.ComputeTask(llm_id=name, task_function=work))
    assert kernel.wait_for_task(task_id, 30)
    failed = kernel.get_task_status(task_id)
    assert not failed.is_completed and "KeyError" in failed.result and "absent" in failed.result


def test_a_waiting_task_can_be_cancelled(kernel, name):
    ran = []
    with cw.Tenant(name, memory_limit=64 << 20) as tenant:
        held = tenant.allocate(32 << 20)
        # It waits until so much of the limit is free.
        task = cw.ComputeTask(llm_id=name, required_memory=48 << 20, task_function=lambda: ran.append(1))
        waiting, cancelled = kernel.schedule_task(task), kernel.schedule_task(task)
        assert {waiting, cancelled} <= {t.task_id for t in kernel.get_active_tasks()}
        assert not kernel.wait_for_task(waiting, 0.05) and not ran
        assert kernel.cancel_task(cancelled)
        held.free()
        assert kernel.wait_for_task(waiting, 30) and kernel.wait_for_task(cancelled, 30)
        assert kernel.get_task_status(waiting).is_completed and not kernel.get_task_status(cancelled).is_completed
        assert ran == [1]
    assert not kernel.wait_for_task("no such task", 1) and cw.last_status() == cw.Status.NOT_FOUND
    with pytest.raises(cw.NotFoundError):
        kernel.get_task_status("no such task")


def test_wrong_tasks_are_refused(kernel, name):
    with pytest.raises(cw.InvalidArgumentError):
        kernel.schedule_task(cw.ComputeTask(llm_id=name))
    with pytest.raises(cw.InvalidArgumentError):
        kernel.schedule_task(cw.ComputeTask(task_function=lambda: None))
    with pytest.raises(TypeError):
        cw.ComputeTask(task_function=3)
    with pytest.raises(TypeError):
        cw.ComputeTask().task_function = "text"


def test_virtual_nodes(kernel, name):
    assert kernel.create_virtual_compute_node(name, 1 << 20, 1)
    assert not kernel.create_virtual_compute_node(name, 1 << 20, 1)
    assert name in kernel.get_active_llms()
    assert kernel.destroy_virtual_compute_node(name)
    assert not kernel.destroy_virtual_compute_node(name)


def test_figures(kernel, system):
    for figures in (
        kernel.get_performance_metrics(),
        kernel.get_resource_usage(),
        system.get_system_performance_metrics(),
        system.get_system_resource_usage(),
    ):
        assert figures and all(isinstance(value, (int, float)) for value in figures.values())


def test_driver(system):
    driver = system.get_driver()
    assert driver.initialize()
    assert driver.get_driver_info()["driver_initialized"] == "true"
    assert driver.get_kernel().is_initialized()
    own = cw.AdvancedCustomizedDriver()
    assert own.get_driver_info()["driver_initialized"] == "false"
    with pytest.raises(cw.NotInitializedError):
        own.get_kernel()


def test_a_kernel_of_ones_own_is_not_initialised():
    kernel = cw.AdvancedCustomizedKernel()
    assert not kernel.is_initialized()
    with pytest.raises(cw.NotInitializedError) as refused:
        kernel.get_available_devices()
    assert refused.value.status is cw.Status.NOT_INITIALIZED
    assert not kernel.select_device(0)
    assert kernel.initialize() and kernel.is_initialized()
    kernel.shutdown()
    assert not kernel.is_initialized()


def test_structs_have_their_fields():
    node = cw.ComputeNode()
    node.custom_data = {"mine": 4096}
    node.last_used = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)
    assert node.custom_data == {"mine": 4096} and node.last_used.year == 2026
    assert cw.ComputeNode().last_used is None
    assert "node_id=-1" in repr(node)
    assert {priority.name: priority.value for priority in cw.TaskPriority} == {
        "CRITICAL": 0, "HIGH": 1, "NORMAL": 2, "LOW": 3, "BACKGROUND": 4,
    }  # fmt: skip
