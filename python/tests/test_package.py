# SPDX-License-Identifier: MIT OR Apache-2.0
"""The package itself: the documented program, names, stubs, errors, the log, leaks."""

from __future__ import annotations

import ast
import gc
import os
import pathlib
import pickle
import re
import subprocess
import sys

import numpy as np
import pytest

import cogniware_core as cw
from conftest import child

HERE = pathlib.Path(__file__).resolve().parent
DOCUMENTED = {
    "kernel.h": ("AdvancedCustomizedKernel", cw.AdvancedCustomizedKernel),
    "driver.h": ("AdvancedCustomizedDriver", cw.AdvancedCustomizedDriver),
    "bridge.h": ("AdvancedPythonCppBridge", cw.AdvancedPythonCppBridge),
    "kernel_driver_manager.h": ("KernelDriverManager", cw.KernelDriverManager),
    "bridge_manager.h": ("PythonCppBridgeManager", cw.PythonCppBridgeManager),
}
# C++ methods that Python has no use for, or under another name.
NOT_IN_PYTHON = {"get", "address"}


def snake(name: str) -> str:
    name = name.replace("GPUs", "Gpus").replace("LLMs", "Llms").replace("NVLink", "Nvlink").replace("DLPack", "Dlpack")
    return re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1_\2", name)).lower()


def test_the_names_rule():
    assert [snake(n) for n in ("getActiveLLMs", "copyToGPU", "registerLLM", "getSupportedGPUs", "getLLMConfig")] == [
        "get_active_llms", "copy_to_gpu", "register_llm", "get_supported_gpus", "get_llm_config",
    ]  # fmt: skip


@pytest.mark.parametrize("header", DOCUMENTED)
def test_every_method_of_the_headers_is_there(header):
    name, cls = DOCUMENTED[header]
    text = (pathlib.Path(cw.get_include()) / "cogniware" / "core" / header).read_text()
    body = text[text.index(f"class {name}") :].split("\nprivate:")[0]
    # Methods begin at the class's own indentation with their result's type.
    methods = set(re.findall(r"^    (?:static |explicit )?[A-Za-z][\w:<>,&* ]*? [*&]?(\w+)\([^;]*?\)[^;{]*\{", body, re.M))
    methods -= {name} | NOT_IN_PYTHON
    assert len(methods) >= 4, methods
    missing = sorted(m for m in methods if not hasattr(cls, snake(m)))
    assert not missing, f"{name}: {missing}"


@pytest.mark.parametrize("name, cls", DOCUMENTED.values())
def test_every_documented_method_is_there(name, cls):
    page = HERE.parent.parent / "docs" / "api.md"
    if not page.exists():
        pytest.skip("only in the source tree")
    sections = page.read_text().split(f"\n## {name}\n")
    if len(sections) < 2:
        pytest.skip(f"the page has no section {name}")
    section = sections[1].split("\n## ")[0]
    methods = set(re.findall(r"^\| `(\w+)` \|", section, re.M)) - NOT_IN_PYTHON
    assert len(methods) > 5, methods
    missing = sorted(m for m in methods if not hasattr(cls, snake(m)))
    assert not missing, f"{name}: {missing}"


def test_the_documented_program_runs_as_it_stands():
    program = HERE.parent / "examples" / "documented.py"
    ended = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr
    assert "Diagnostics passed: True" in ended.stdout and "Allocated memory array of size 1000" in ended.stdout
    assert ended.stderr == ""


def test_everything_has_a_docstring():
    for name in cw.__all__:
        assert getattr(cw, name).__doc__, name


def test_the_stub_says_what_the_module_has():
    stub = ast.parse((pathlib.Path(cw.__file__).parent / "_core.pyi").read_text())
    from cogniware_core import _core

    defined = {}
    for node in stub.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            defined[node.name] = node
    there = {n for n in vars(_core) if not n.startswith("_")}
    assert there == {n for n in defined if not n.startswith("_")}
    for name, node in defined.items():
        if isinstance(node, ast.ClassDef):
            has = {n for n in vars(getattr(_core, name)) if not n.startswith("_")}
            says = {
                n.name if isinstance(n, ast.FunctionDef) else n.target.id
                for n in node.body
                if isinstance(n, (ast.FunctionDef, ast.AnnAssign))
            }
            says |= {t.id for n in node.body if isinstance(n, ast.Assign) for t in n.targets}
            assert {n for n in says if not n.startswith("_")} == has, name


def test_files_of_the_package():
    assert os.path.isfile(cw.get_library()) and os.path.isfile(cw.get_model())
    assert os.path.isfile(os.path.join(cw.get_include(), "cogniware", "cogniware.h"))
    assert cw.__version__ == cw.version() and re.fullmatch(r"\d+\.\d+\.\d+", cw.__version__)
    assert (pathlib.Path(cw.__file__).parent / "py.typed").exists()


def test_statuses_are_those_of_the_header():
    header = (pathlib.Path(cw.get_include()) / "cogniware" / "cogniware.h").read_text()
    numbers = {name: int(number) for name, number in re.findall(r"#define CW_ERROR_(\w+) (\d+)", header)}
    assert {status.name: status.value for status in cw.Status if status} == numbers
    for status in cw.Status:
        assert cw.status_name(status) == status.name.lower()


def test_errors_can_be_pickled_and_caught_by_pythons_classes():
    error = cw.QuotaExceededError("no", cw.Status.QUOTA_EXCEEDED)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is cw.QuotaExceededError and again.status is cw.Status.QUOTA_EXCEEDED and str(again) == "no"
    for ours, theirs in (
        (cw.InvalidArgumentError, ValueError),
        (cw.NotFoundError, LookupError),
        (cw.OutOfMemoryError, MemoryError),
        (cw.NotOwnerError, PermissionError),
        (cw.TimeoutError, TimeoutError),
        (cw.SystemIOError, OSError),
        (cw.UnsupportedError, NotImplementedError),
    ):
        assert issubclass(ours, theirs) and issubclass(ours, cw.Error)
        assert str(ours("text", 1)) == "text"


def test_history_and_statistics(kernel):
    cw.clear_error_history()
    assert not kernel.select_device(77)
    newest = cw.error_history()[0]
    assert newest["status"] == "invalid_argument" and "77" in newest["message"] and newest["time"].tzinfo
    assert sum(cw.error_statistics().values()) > 0
    cw.clear_error_history()
    assert cw.error_history() == []


def test_the_log(name):
    records = []
    cw.set_logger(cw.LogLevel.TRACE, lambda *record: records.append(record))
    try:
        cw.write_log(cw.LogLevel.INFO, "test", "from Python")
        assert (cw.LogLevel.INFO, "test", "from Python") in records
        with cw.Tenant(name) as tenant:
            cw.Model(tenant)
        assert any(target != "test" for _, target, _ in records)
    finally:
        cw.set_logger(cw.LogLevel.OFF, None)
    count = len(records)
    cw.write_log(cw.LogLevel.ERROR, "test", "nobody listens")
    assert len(records) == count
    with pytest.raises(TypeError):
        cw.set_logger(cw.LogLevel.INFO, "text")


def test_wrong_arguments_are_type_errors(kernel, bridge, name):
    for call in (
        lambda: kernel.select_device("zero"),
        lambda: kernel.allocate_memory("many", name),
        lambda: kernel.create_memory_partition(10, 0, name),
        lambda: kernel.allocate_compute_node(None, name),
        lambda: bridge.register_llm(None),
        lambda: bridge.allocate_memory_array(2.5, name),
        lambda: cw.Tenant(),
        lambda: cw.Tenant(name, 3),
        lambda: cw.Model(None),
        lambda: cw.Model("tenant"),
    ):
        with pytest.raises(TypeError):
            call()
    for call in (
        lambda: bridge.register_llm("a\0b"),
        lambda: cw.Tenant("a\0b"),
        lambda: kernel.get_task_status("\0"),
        lambda: bridge.register_llm(name, {"model_type": "g\0pt"}),
    ):
        with pytest.raises(ValueError, match="null character"):
            call()
    with pytest.raises(UnicodeEncodeError):
        bridge.is_llm_active("\ud800")
    assert not bridge.register_llm(name, {"model_path": "/no/such/file"})
    assert cw.last_status() == cw.Status.NOT_FOUND and "/no/such/file" in cw.last_error()


def test_nothing_leaks(bridge, kernel, name):
    class Marker:
        pass

    import weakref

    def turn():
        array = bridge.allocate_memory_array(256, name)
        np.from_dlpack(array) if array.device == "cpu" else None
        array.__dlpack__(max_version=(1, 0))
        cw.from_dlpack(np.zeros(4))
        bridge.deallocate_memory_array(array, name)
        marker = Marker()
        task = kernel.schedule_task(cw.ComputeTask(llm_id=name, task_function=lambda: marker and None))
        assert kernel.wait_for_task(task, 30)
        list(bridge.stream(name, "x", {"max_tokens": 2}))
        with pytest.raises(cw.Error):
            kernel.get_compute_node(10**6)
        return weakref.ref(marker)

    for _ in range(3):
        turn()
    gc.collect()
    held, objects = bridge.get_memory_usage(name)["held_bytes"], len(gc.get_objects())
    markers = [turn() for _ in range(20)]
    gc.collect()
    assert bridge.get_memory_usage(name)["held_bytes"] == held
    assert len(gc.get_objects()) - objects < 100
    # A task's function goes with the task, on whatever thread that is.
    assert sum(marker() is not None for marker in markers) <= 1


def test_importing_is_quiet_and_needs_no_device():
    ended = child("import os; os.environ['COGNIWARE_DEVICE'] = 'cuda:9'; import cogniware_core; print(cogniware_core.__version__)")
    assert ended.returncode == 0 and ended.stderr == "" and ended.stdout.strip() == cw.__version__
