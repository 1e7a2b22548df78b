# SPDX-License-Identifier: MIT OR Apache-2.0
"""The bridge and its manager."""

from __future__ import annotations

import pytest

import cogniware_core as cw

SHORT = {"model_type": "gpt", "max_tokens": 12, "temperature": 0.0}


def test_llms(bridge, name):
    assert bridge.register_llm(name, SHORT)
    assert bridge.is_llm_active(name) and name in bridge.get_active_llms()
    assert not bridge.register_llm(name, SHORT) and cw.last_status() == cw.Status.ALREADY_EXISTS
    config = bridge.get_llm_config(name)
    assert config["max_tokens"] == "12"
    assert bridge.update_llm_config(name, {"max_tokens": 3})
    assert bridge.get_llm_config(name)["max_tokens"] == "3"
    assert not bridge.update_llm_config(name, {"no_such_key": "1"}) and "no_such_key" in cw.last_error()
    assert bridge.unregister_llm(name)
    assert not bridge.is_llm_active(name)
    with pytest.raises(cw.NotFoundError):
        bridge.get_llm_config(name)


def test_settings_are_checked(bridge, name):
    with pytest.raises(TypeError, match="config"):
        bridge.register_llm(name, [("a", "b")])
    with pytest.raises(TypeError, match="keys must be str"):
        bridge.register_llm(name, {1: "b"})
    with pytest.raises(TypeError, match="\"stop\" must be"):
        bridge.register_llm(name, {"stop": object()})
    assert not bridge.register_llm(name, {"max_memory": "many"}) and "max_memory" in cw.last_error()
    assert not bridge.is_llm_active(name)


def test_tasks(bridge, name):
    assert bridge.register_llm(name, SHORT)
    task = bridge.schedule_task(name, "inference", {"prompt": "A fox"})
    assert bridge.wait_for_task(task, 60)
    status = bridge.get_task_status(task)
    assert status["status"] == "completed" and status["llm_id"] == name and status["result"]
    assert bridge.get_task_result(task) == status["result"]
    assert bridge.get_task_result(task) == bridge.generate(name, "A fox")
    tokens = bridge.schedule_task(name, "tokenize", {"text": "A fox"})
    assert bridge.wait_for_task(tokens, 60) and bridge.get_task_result(tokens)
    with pytest.raises(cw.InvalidArgumentError):
        bridge.schedule_task(name, "no such type", {})
    assert not bridge.cancel_task(task)
    long = bridge.schedule_task(name, "inference", {"max_tokens": 900, "ignore_eos": True, "prompt": "x"})
    assert not bridge.wait_for_task(long, 0) and cw.last_status() == cw.Status.OK or bridge.cancel_task(long)
    bridge.cancel_task(long)
    assert bridge.wait_for_task(long, 60)
    assert bridge.get_task_status(long)["status"] in ("cancelled", "completed")


def test_generate(bridge, name):
    assert bridge.register_llm(name, SHORT)
    whole = bridge.generate(name, "A fox", parameters={"max_tokens": 8})
    pieces = []
    assert bridge.generate(name, "A fox", pieces.append, {"max_tokens": 8}) == whole == "".join(pieces)
    assert [token.id for token in pieces if token.id is not None]
    assert "".join(bridge.stream(name, "A fox", {"max_tokens": 8})) == whole
    assert bridge.generate(name, "A fox", {"max_tokens": 8}) == whole, "parameters third, as in C++"
    with pytest.raises(TypeError, match="callback"):
        bridge.generate(name, "A fox", 5)
    seen = []

    def stop_soon(token):
        seen.append(token)
        return len(seen) < 3

    bridge.generate(name, "A fox", stop_soon, {"max_tokens": 500, "ignore_eos": True})
    assert len(seen) == 3

    def fail(token):
        raise ZeroDivisionError(token)

    with pytest.raises(ZeroDivisionError):
        bridge.generate(name, "A fox", fail)
    with pytest.raises(cw.InvalidArgumentError, match="warmth"):
        bridge.generate(name, "A fox", parameters={"warmth": 1})


def test_nodes(bridge, name):
    node = bridge.get_available_compute_nodes()[0]
    assert bridge.allocate_compute_node(node, name)
    assert node not in bridge.get_available_compute_nodes()
    assert not bridge.deallocate_compute_node(node, name + "-other")
    assert bridge.deallocate_compute_node(node, name)
    assert node in bridge.get_available_compute_nodes()
    assert bridge.create_virtual_compute_node(name, 1 << 20, 1)
    assert bridge.destroy_virtual_compute_node(name)


def test_figures(bridge, name):
    assert bridge.register_llm(name, SHORT)
    bridge.generate(name, "A fox")
    usage = bridge.get_resource_usage(name)
    assert usage["memory_held_bytes"] > 0 and usage["generated_tokens"] > 0
    assert bridge.get_memory_usage(name)["held_bytes"] == usage["memory_held_bytes"]
    assert bridge.get_performance_metrics()["generated_tokens"] >= usage["generated_tokens"]
    assert bridge.get_system_info()["device_name"]
    with pytest.raises(cw.NotFoundError):
        bridge.get_resource_usage(name + "-unknown")


def test_the_manager_is_one_object(bridge, name):
    manager = cw.PythonCppBridgeManager.get_instance()
    assert manager is cw.PythonCppBridgeManager.get_instance()
    assert manager.is_bridge_initialized()
    assert manager.register_llm(name, SHORT) and name in manager.get_active_llms()
    array = manager.allocate_memory_array(1000, name)
    assert manager.get_resource_usage(name)["memory_held_bytes"] >= 4000
    assert manager.deallocate_memory_array(array, name)
    assert bridge.wait_for_task(manager.schedule_task(name, "inference", {"prompt": "x"}), 60)
    assert manager.unregister_llm(name)


def test_after_shutdown_everything_says_so(bridge, name):
    manager = cw.PythonCppBridgeManager.get_instance()
    array = bridge.allocate_memory_array(10, name)
    array[:] = 5
    manager.shutdown_bridge()
    assert not manager.is_bridge_initialized()
    assert not bridge.register_llm(name, SHORT) and cw.last_status() == cw.Status.NOT_INITIALIZED
    for call in (
        bridge.get_active_llms,
        bridge.get_system_info,
        lambda: bridge.allocate_memory_array(10, name),
        lambda: bridge.get_memory_pointer(array),
        lambda: bridge.schedule_task(name, "inference"),
    ):
        with pytest.raises(cw.NotInitializedError):
            call()
    assert array.sum() == 50  # the memory outlives the bridge
    assert manager.initialize_bridge()
