# SPDX-License-Identifier: MIT OR Apache-2.0
"""Configuration, optimisation, kinds of memory, profiling, diagnostics: that each reaches the library and comes back."""

from __future__ import annotations

import json
import os
import pathlib
import threading

import numpy as np
import pytest

import cogniware_core as cw
from conftest import child

SHORT = {"model_type": "gpt", "max_tokens": 8, "temperature": 0}


def test_kernel_configuration(system):
    assert "max_memory" in system.get_kernel_configuration()
    before = system.get_kernel_configuration()["default_weight"]
    assert system.set_kernel_configuration({"default_weight": 2.5})
    assert float(system.get_kernel_configuration()["default_weight"]) == 2.5
    assert not system.set_kernel_configuration({"default_weight": 3, "no_such_key": 1})
    assert "no_such_key" in cw.last_error()
    assert float(system.get_kernel_configuration()["default_weight"]) == 2.5
    assert system.set_kernel_configuration({"default_weight": ""})
    assert system.get_kernel_configuration()["default_weight"] == before


def test_driver_configuration(system):
    assert system.set_driver_configuration({"optimization_level": "high"})
    assert system.get_driver_configuration()["optimization_level"] == "high"
    assert not system.set_driver_configuration({"no_such_key": "1"}) and "no_such_key" in cw.last_error()
    assert system.set_driver_configuration({"optimization_level": "medium"})


def test_bridge_configuration(bridge, name):
    manager = cw.PythonCppBridgeManager.get_instance()
    assert manager.set_bridge_configuration({"max_llms": 1})
    assert manager.get_bridge_configuration()["max_llms"] == "1"
    assert bridge.register_llm(name, SHORT)
    assert not bridge.register_llm(name + "-second", SHORT) and cw.last_error()
    assert manager.set_bridge_configuration({"max_llms": ""})
    assert bridge.register_llm(name + "-second", SHORT)


def test_requirements_and_weights(kernel, bridge, name):
    assert bridge.register_llm(name, SHORT)
    assert kernel.optimize_for_llm(name, {"memory_priority": "high", "compute_priority": "high"})
    wanted = {"max_memory": 1024, "max_cores": 1, "enable_profiling": True}
    assert bridge.optimize_for_llm(name, wanted), cw.last_error()
    assert not bridge.optimize_for_llm(name, {"speed": "high"}) and "speed" in cw.last_error()
    assert bridge.get_memory_usage(name)["limit_bytes"] == 1024 << 20
    release = threading.Event()
    task = kernel.schedule_task(cw.ComputeTask(llm_id=name, task_function=lambda: release.wait(30) and None))
    assert kernel.set_task_weightage(task, 0.8) and bridge.set_task_weightage(task, 0.5)
    assert task in bridge.get_active_tasks(name)
    assert not kernel.set_task_weightage(task, -1.0)
    release.set()
    assert kernel.wait_for_task(task, 30)
    assert not kernel.set_task_weightage(task, 0.8)
    assert task not in bridge.get_active_tasks(name)


def test_task_types_of_ones_own(bridge, name):
    seen = []

    def work(context, llm_id, parameters):
        seen.append((llm_id, parameters["what"], context.cancelled))
        return len(parameters["what"])

    kind = name + "-type"
    assert bridge.register_task_type(kind, work)
    assert not bridge.register_task_type(kind, work)
    assert kind in bridge.get_task_types() and "inference" in bridge.get_task_types()
    task = bridge.schedule_task(name, kind, {"what": "seven"})
    assert bridge.wait_for_task(task, 30)
    assert bridge.get_task_result(task) == "5" and seen == [(name, "seven", False)]
    failing = bridge.schedule_task(name, kind, {})
    assert bridge.wait_for_task(failing, 30)
    assert "KeyError" in bridge.get_task_status(failing)["error"]
    assert bridge.unregister_task_type(kind)
    with pytest.raises(cw.Error):
        bridge.schedule_task(name, kind, {"what": "x"})


def test_compute_node_info(bridge, kernel, name):
    node = bridge.get_available_compute_nodes()[0]
    assert bridge.allocate_compute_node(node, name)
    info = bridge.get_compute_node_info(node)
    assert info["id"] == str(node) and info["owner"] == name
    assert kernel.get_compute_node(node).detail
    assert bridge.deallocate_compute_node(node, name)
    with pytest.raises(cw.Error):
        bridge.get_compute_node_info(10**6)
    with pytest.raises(cw.NotFoundError, match="node -1 "):
        bridge.get_compute_node_info(-1)


def test_recovery(kernel):
    assert kernel.recover_device(0)  # nothing to do: it answers
    assert not kernel.recover_device(99)
    cw.recover_device("cpu")
    cw.set_fallback_device("cpu")
    cw.set_fallback_device("none")
    with pytest.raises(cw.InvalidArgumentError):
        cw.set_fallback_device("toaster")


def test_switches_of_the_driver(system):
    driver = system.get_driver()
    assert driver.disable_direct_hardware_access() and driver.get_driver_info()["device.0.path"] == "standard"
    assert driver.bypass_standard_driver() and driver.get_driver_info()["device.0.path"] == "direct"
    assert driver.enable_direct_hardware_access()
    assert driver.enable_memory_optimization() and driver.disable_memory_optimization()
    assert driver.enable_async_memory_transfers() and driver.disable_async_memory_transfers()
    if not driver.enable_nvlink_optimization():
        assert cw.last_error()
    if driver.enable_tensor_core_optimization():
        assert driver.disable_tensor_core_optimization()
    nodes = len(system.get_kernel().get_available_compute_nodes())
    assert driver.optimize_for_multiple_llms() and driver.optimize_for_multiple_llms(llms=2)
    assert not driver.optimize_for_multiple_llms(0) and cw.last_error()
    assert driver.optimize_for_single_llm() and driver.reset_llm_optimization()
    assert len(system.get_kernel().get_available_compute_nodes()) == nodes
    assert driver.get_performance_stats()
    assert any("sm_90" in gpu for gpu in driver.get_supported_gpus())


def test_diagnostics(system, bridge):
    driver = system.get_driver()
    assert driver.run_diagnostics(), cw.last_error()
    assert bridge.run_diagnostics(), cw.last_error()
    for results in (driver.get_diagnostic_results(), bridge.get_diagnostic_results()):
        told = {key: value for key, value in results.items() if "." not in key}
        assert "passed" in told.values() and "failed" not in told.values()


def test_modules(system, tmp_path):
    driver = system.get_driver()
    assert not driver.load_kernel_module("/path/to/module.ko")
    assert cw.last_status() == cw.Status.NOT_FOUND
    text = tmp_path / "module.ko"
    text.write_text("no module at all")
    assert not driver.load_kernel_module(str(text)) and cw.last_status() == cw.Status.FORMAT
    assert not driver.unload_kernel_module()
    assert driver.get_loaded_modules() == {}
    assert not driver.launch_function("absent", 1, (32, 1), np.int32(1)) and cw.last_error()
    with pytest.raises(TypeError, match="exact types"):
        driver.launch_function("absent", 1, 32, 1)
    with pytest.raises(ValueError, match="block"):
        driver.launch_function("absent", 1, (1, 1, 1, 1))


def test_installation_in_a_folder(system, tmp_path):
    driver = system.get_driver()
    before = driver.get_install_configuration().get("install_root", "")
    assert driver.set_install_configuration({"install_root": str(tmp_path)})
    try:
        assert not driver.verify_driver_installation()
        assert driver.install_custom_driver(), cw.last_error()
        assert driver.verify_driver_installation(), cw.last_error()
        assert driver.get_installation_report()
        files = [path for path in tmp_path.rglob("*") if path.is_file()]
        assert any("cogniware" in path.name for path in files)
        (changed,) = [path for path in files if path.suffix == ".conf" and "ld.so" in str(path)][:1]
        changed.write_text("changed")
        assert not driver.verify_driver_installation() and changed.name in cw.last_error()
        assert driver.uninstall_custom_driver(), cw.last_error()
    finally:
        assert driver.set_install_configuration({"install_root": before or "/"})


def test_kinds_of_partitions(kernel, name):
    kind = cw.MemoryPartitionType
    constant = kernel.create_partition(4096, kind.CONSTANT_MEMORY, name)
    source = np.arange(1024, dtype=np.float32)
    assert kernel.write_memory_partition(constant, source)
    back = np.zeros_like(source)
    assert kernel.read_memory_partition(constant, back) and (back == source).all()
    assert not kernel.write_memory_partition(constant, source)
    with pytest.raises((BufferError, ValueError)):
        kernel.read_memory_partition(constant, bytes(16))
    texture = kernel.create_partition(1024, kind.TEXTURE_MEMORY, name)
    assert kernel.get_texture_object(texture) == kernel.get_memory_partition(texture).texture_object != 0
    assert kernel.write_memory_partition(texture, np.arange(256, dtype=np.float32))
    assert kernel.bind_texture(texture, 256)
    assert kernel.sample_texture(texture, [10.5, 0.5, 11.0, 0.5]) == pytest.approx([10.0, 10.5], abs=0.01)
    shared = kernel.create_partition(1 << 20, kind.SHARED_MEMORY, name)
    fd = kernel.export_memory_partition(shared)
    try:
        again = kernel.import_memory_partition(fd, kernel.get_memory_partition(shared).size, name)
    finally:
        os.close(fd)
    assert kernel.write_memory_partition(shared, b"both see it")
    seen = bytearray(11)
    assert kernel.read_memory_partition(again, seen) and seen == b"both see it"
    with pytest.raises(cw.Error):
        kernel.create_partition(0, kind.GLOBAL_MEMORY, name)
    for partition in (constant, texture, again, shared):
        assert kernel.destroy_memory_partition(partition)


def test_direct_memory_access(kernel, name):
    assert kernel.enable_direct_memory_access(name)
    memory = kernel.allocate_memory(4096, name)
    direct = kernel.get_direct_pointer(memory, 4096)
    source = bytes(range(256)) * 16
    assert kernel.copy_memory(memory, source, 4096)
    import ctypes

    assert ctypes.string_at(direct, 4096) == source
    with pytest.raises(cw.Error):
        kernel.get_direct_pointer(memory, 8192)
    assert kernel.disable_direct_memory_access(name)
    assert not kernel.disable_direct_memory_access(name)
    with pytest.raises(cw.Error):
        kernel.get_direct_pointer(memory)


def test_shared_arrays_between_processes(bridge, name):
    array = bridge.create_shared_memory_array(1000, name)
    assert isinstance(array, cw.MemoryArray) and array.size == 1000
    assert bridge.get_shared_memory_pointer(array) == array.ctypes.data
    array[:] = 3
    script = f"""
import cogniware_core as cw
manager = cw.PythonCppBridgeManager.get_instance()
assert manager.initialize_bridge(), cw.last_error()
bridge = manager.get_bridge()
there = bridge.open_shared_memory_array({bridge.get_shared_memory_name(array)!r}, "other")
assert there.size == 1000 and there.sum() == 3000
there[7] = 70
assert bridge.destroy_shared_memory_array(there, "other")
"""
    ended = child(script)
    assert ended.returncode == 0, ended.stderr
    assert array[7] == 70
    os.close(bridge.get_shared_memory_descriptor(array))
    plain = bridge.allocate_memory_array(10, name)
    assert not bridge.destroy_shared_memory_array(plain, name)
    with pytest.raises(cw.Error):
        bridge.get_shared_memory_name(plain)
    assert bridge.destroy_shared_memory_array(array, name)
    assert not bridge.destroy_shared_memory_array(array, name)
    assert array[7] == 70  # the view keeps it


def test_profiling(system, kernel, bridge, name, tmp_path):
    assert bridge.register_llm(name, SHORT)
    assert bridge.enable_profiling(name) and kernel.enable_profiling() and system.enable_system_profiling()
    bridge.generate(name, "A fox")
    data = bridge.get_profiling_data(name)
    assert any(key.endswith("count") and float(value) > 0 for key, value in data.items())
    trace = pathlib.Path(tmp_path / "trace.json")
    assert bridge.export_trace(str(trace))
    events = json.loads(trace.read_text())
    assert events["traceEvents"] if isinstance(events, dict) else events
    assert "# TYPE" in kernel.export_prometheus()
    assert system.profiling_summary()
    assert bridge.disable_profiling(name) and kernel.disable_profiling() and system.disable_system_profiling()
    assert bridge.reset_profiling()


def test_cache_window_and_math(kernel, name):
    memory = kernel.allocate_memory(1 << 20, name)
    assert kernel.get_math_mode(name) >= 0
    if kernel.set_cache_window(name, memory, 1 << 20):
        assert kernel.get_cache_window(name) == (memory, 1 << 20)
    else:
        assert cw.last_error()
    assert kernel.deallocate_memory(memory)
