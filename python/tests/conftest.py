# SPDX-License-Identifier: MIT OR Apache-2.0
"""What the tests share. COGNIWARE_DEVICE chooses the device; without it they run on the CPU."""

from __future__ import annotations

import gc
import itertools
import os
import subprocess
import sys

import pytest

os.environ.setdefault("COGNIWARE_DEVICE", "cpu")

import cogniware_core as cw  # noqa: E402

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def system():
    manager = cw.KernelDriverManager.get_instance()
    assert manager.initialize_system(), cw.last_error()
    return manager


@pytest.fixture
def kernel(system):
    assert system.initialize_system(), cw.last_error()
    return system.get_kernel()


@pytest.fixture
def bridge(system):
    manager = cw.PythonCppBridgeManager.get_instance()
    assert manager.initialize_bridge(), cw.last_error()
    yield manager.get_bridge()
    manager.shutdown_bridge()
    gc.collect()


@pytest.fixture
def name():
    """An id that no other test uses."""
    return f"test-{os.getpid()}-{next(_numbers)}"


@pytest.fixture
def tenant(name):
    with cw.Tenant(name, memory_limit=512 << 20, processors=1) as tenant:
        yield tenant


@pytest.fixture
def model(tenant):
    return cw.Model(tenant)


@pytest.fixture
def on_gpu():
    return next(iter(cw.devices())).startswith("cuda")


def child(script: str, timeout: float = 60.0) -> subprocess.CompletedProcess:
    """Runs a program of its own, for what ends a process."""
    return subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", script], capture_output=True, text=True, timeout=timeout
    )
