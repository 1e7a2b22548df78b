# SPDX-License-Identifier: MIT OR Apache-2.0
"""Many threads, the GIL, and the interpreter's end."""

from __future__ import annotations

import concurrent.futures
import threading
import time

import numpy as np
import pytest

import cogniware_core as cw
from conftest import child


def test_long_calls_release_the_gil(model):
    """A thread of pure Python goes on while another waits inside Cogniware."""
    turns = 0
    stop = threading.Event()

    def count():
        nonlocal turns
        while not stop.is_set():
            turns += 1

    generation = model.generate("x", max_tokens=300, ignore_eos=True)
    thread = threading.Thread(target=count)
    thread.start()
    before = turns
    generation.wait()
    during = turns - before
    stop.set()
    thread.join()
    assert generation.stats["generated_tokens"] == 300
    assert during > 1000, during


def test_a_task_that_needs_the_gil_runs_while_its_waiter_waits(tenant):
    task = tenant.schedule(lambda context: sum(range(1000)))
    assert task.result(timeout=30) == "499500"


def test_thread_pool(bridge, name):
    assert bridge.register_llm(name, {"model_type": "gpt", "max_tokens": 6})

    def work(index):
        array = bridge.allocate_memory_array(100 + index, name)
        array[:] = index
        text = bridge.generate(name, f"Number {index}", parameters={"seed": index})
        assert array.sum() == index * array.size and bridge.get_memory_usage(name)["held_bytes"] > 0
        assert bridge.deallocate_memory_array(array, name)
        return text

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        texts = list(pool.map(work, range(24)))
        assert texts == list(pool.map(work, range(24)))
    assert len(set(texts)) > 1


def test_initialise_use_and_shut_down_from_many_threads(name):
    system = cw.KernelDriverManager.get_instance()
    manager = cw.PythonCppBridgeManager.get_instance()
    until = time.monotonic() + 1.0
    wrong = []

    def turn(index):
        while time.monotonic() < until:
            try:
                system.initialize_system()
                manager.initialize_bridge()
                array = manager.allocate_memory_array(64, f"{name}-{index}")
                array[:] = index
                assert array.sum() == 64 * index
                if index == 0:
                    manager.shutdown_bridge()
                    system.shutdown_system()
            except cw.Error:
                pass
            except BaseException as error:  # noqa: BLE001 (told to the test)
                wrong.append(error)
                return

    threads = [threading.Thread(target=turn, args=(index,)) for index in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert not wrong
    assert system.initialize_system()


def test_last_error_is_of_its_thread(kernel):
    assert not kernel.select_device(99)
    told = cw.last_error()
    other = []
    thread = threading.Thread(target=lambda: other.append(cw.last_error()))
    thread.start()
    thread.join()
    assert told and other == [""] and cw.last_error() == told


def test_tasks_of_a_tenant(tenant):
    seen = []

    def work(context):
        seen.append(context)
        assert not context.cancelled
        context.set_result("half")
        return "whole"

    task = tenant.schedule(work, priority=cw.TaskPriority.LOW)
    assert task.wait(30) and task.status == "completed" and task.text == "whole"
    assert cw.Task.find(task.task_id).text == "whole"
    with pytest.raises(cw.InvalidArgumentError):
        seen[0].set_result("too late")
    failing = tenant.schedule(lambda context: {}["absent"])
    with pytest.raises(cw.CallbackError, match="KeyError") as raised:
        failing.result(timeout=30)
    assert raised.value.category == cw.ErrorCategory.TASK
    with pytest.raises(TypeError, match="work"):
        tenant.schedule("text")
    told = threading.Event()

    def until_cancelled(context):
        told.set()
        while not context.cancelled:
            time.sleep(0.001)

    endless = tenant.schedule(until_cancelled)
    assert told.wait(30)
    assert not endless.wait(0.05)
    endless.cancel()
    assert endless.wait(30)


def test_closing_a_tenant_waits_for_a_task_that_needs_the_gil(name):
    tenant = cw.Tenant(name, memory_limit=64 << 20)
    begun = threading.Event()

    def work(context):
        begun.set()
        while not context.cancelled:
            time.sleep(0.001)

    task = tenant.schedule(work)
    assert begun.wait(30)
    del tenant  # closes it with the GIL released
    assert task.wait(30) and task.status in ("cancelled", "completed")


def test_buffers(tenant, on_gpu):
    source = np.arange(256, dtype=np.float32)
    with tenant.allocate(1024, "test") as buffer:
        assert buffer.nbytes == 1024 and buffer.address % 256 == 0
        assert any(entry["tag"] == "test" and entry["bytes"] == 1024 for entry in tenant.allocations())
        tenant.copy(buffer, source, 1024)
        back = np.zeros_like(source)
        tenant.copy(back, buffer, 1024)
        assert (back == source).all()
        stream = tenant.stream()
        tenant.copy(back, buffer, 512, stream)
        stream.synchronize()
        tenant.fill(buffer, 0)
        tenant.copy(back, buffer, 1024)
        assert not back.any()
        assert buffer.__dlpack_device__()[0] == (2 if on_gpu else 1)
        with pytest.raises(ValueError, match="shape"):
            buffer.view("float32", [1000])
        with pytest.raises(ValueError, match="shape"):
            buffer.view("float32", [-1, 2])
        with pytest.raises(ValueError, match="source"):
            tenant.copy(buffer, bytes(10), 1024)
        view = buffer.view("float32", (16, 16))
        if on_gpu:
            assert view.__cuda_array_interface__["data"][0] == buffer.address and view.shape == (16, 16)
            with pytest.raises(BufferError):
                memoryview(buffer)
        else:
            view[:] = 3
            assert memoryview(buffer).nbytes == 1024 and np.frombuffer(buffer, np.float32)[5] == 3
            assert not hasattr(buffer, "__cuda_array_interface__")
    with pytest.raises(cw.Error, match="freed"):
        buffer.address
    if not on_gpu:
        assert tenant.usage()["memory_held"] == 1024 and view.sum() == 768
        tenant.close()
        assert view.sum() == 768
        with pytest.raises(cw.Error):
            tenant.allocate(10)


def test_quota(tenant):
    with pytest.raises(cw.QuotaExceededError) as refused:
        tenant.allocate(1 << 40)
    error = refused.value
    assert isinstance(error, cw.Error) and isinstance(error, MemoryError)
    assert error.status is cw.Status.QUOTA_EXCEEDED and error.name == "quota_exceeded"
    assert error.category is cw.ErrorCategory.MEMORY and error.function.startswith("cw_memory_alloc(")
    tenant.set_memory_limit(1 << 30)
    tenant.set_weight(2.0)
    tenant.set_priority(cw.TaskPriority.HIGH)
    assert tenant.usage()["memory_limit"] == 1 << 30
    with pytest.raises(cw.Error):
        tenant.set_weight(-1)
    with pytest.raises(cw.AlreadyExistsError):
        cw.Tenant(tenant.id)


# --- the interpreter's end ---


@pytest.mark.parametrize(
    "left",
    [
        "cw.Model(tenant).generate('x', max_tokens=900, ignore_eos=True)",
        "next(cw.Model(tenant).generate('x', max_tokens=900, ignore_eos=True))",
        "[tenant.schedule(lambda context: 1) for _ in range(200)]",
        "tenant.schedule(lambda context: time.sleep(0.3))",
        "tenant.schedule(wait_for_cancel)",
        "tenant.schedule(never)",
        "tenant.allocate(4096).view('float32')",
        "cw.set_logger(cw.LogLevel.TRACE, lambda *record: None)",
    ],
)
def test_the_interpreter_ends_whatever_is_left(left):
    script = f"""
import time
import cogniware_core as cw

def wait_for_cancel(context):
    while not context.cancelled:
        time.sleep(0.01)

def never(context):
    while True:
        time.sleep(0.01)

tenant = cw.Tenant("left", memory_limit=256 << 20)
kept = {left}
time.sleep(0.05)
print("at its end")
"""
    ended = child(script, timeout=30)
    assert ended.returncode == 0 and "at its end" in ended.stdout, ended.stderr
    assert "Fatal" not in ended.stderr and "Traceback" not in ended.stderr, ended.stderr
