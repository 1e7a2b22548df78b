# SPDX-License-Identifier: MIT OR Apache-2.0
"""Arrays: one memory for Python and C++, how long it lives, and how other libraries take it."""

from __future__ import annotations

import ctypes
import gc
import pickle
import sys

import numpy as np
import pytest

import cogniware_core as cw


def held(bridge, llm):
    return bridge.get_memory_usage(llm)["held_bytes"]


def test_an_array_is_a_numpy_array_over_the_llms_memory(bridge, name):
    array = bridge.allocate_memory_array(1000, name)
    assert isinstance(array, np.ndarray) and isinstance(array, cw.MemoryArray)
    assert array.size == 1000 and array.shape == (1000,) and array.dtype == np.float32
    assert not array.any() and array.flags.writeable and array.flags.c_contiguous and not array.flags.owndata
    address = bridge.get_memory_pointer(array)
    assert address == array.ctypes.data
    array[7] = 7.5
    assert ctypes.c_float.from_address(address + 7 * 4).value == 7.5
    ctypes.c_float.from_address(address).value = 2.5
    assert array[0] == 2.5
    assert bridge.get_memory_pointer(array[10:20]) == address + 40
    with pytest.raises(cw.QuotaExceededError):
        bridge.allocate_memory_array(1 << 48, name)
    with pytest.raises(cw.InvalidArgumentError, match="size"):
        bridge.allocate_memory_array(0, name)
    with pytest.raises(TypeError):
        bridge.allocate_memory_array(-1, name)


def test_what_numpy_computes_is_plain(bridge, name):
    array = bridge.allocate_memory_array(16, name)
    array += 1
    assert type(array) is cw.MemoryArray and type(array[2:5]) is cw.MemoryArray
    assert type(array + 1) is np.ndarray and type(np.sqrt(array)) is np.ndarray and type(array.copy()) is np.ndarray
    assert isinstance(array.sum(), np.float32) and array.sum() == 16
    again = pickle.loads(pickle.dumps(array))
    assert type(again) is np.ndarray and (again == array).all()
    out = bridge.allocate_memory_array(16, name)
    assert np.add(array, 1, out=out) is out and out[3] == 2


def test_a_view_keeps_the_memory_and_the_charge(bridge, name):
    array = bridge.allocate_memory_array(1 << 18, name)
    array[:] = 3
    charged = held(bridge, name)
    assert charged >= 1 << 20
    view = array[5:10]
    assert bridge.deallocate_memory_array(array, name)
    # Deallocated: the bridge refuses it, and what shows it stays valid.
    assert not bridge.deallocate_memory_array(array, name)
    assert not bridge.copy_to_gpu(array, 4096)
    with pytest.raises(cw.Error):
        bridge.get_memory_pointer(array)
    del array
    assert (view == 3).all() and held(bridge, name) == charged
    del view
    gc.collect()
    assert held(bridge, name) == 0


def test_dropping_the_array_gives_the_memory_back(bridge, name):
    array = bridge.allocate_memory_array(1 << 18, name)
    matrix = array.reshape(512, 512).T[::2]
    raw = memoryview(array)
    del array
    assert held(bridge, name) >= 1 << 20
    del matrix
    assert held(bridge, name) >= 1 << 20
    raw.release()
    del raw
    assert held(bridge, name) == 0


def test_memory_outlives_its_llm(bridge, name):
    assert bridge.register_llm(name, {"model_type": "gpt"})
    array = bridge.allocate_memory_array(1000, name)
    array[:] = 9
    assert bridge.unregister_llm(name)
    assert array.sum() == 9000
    array[3] = 1
    del array
    assert bridge.register_llm(name, {"model_type": "gpt"})


def test_owners_and_foreign_arrays(bridge, name):
    array = bridge.allocate_memory_array(100, name)
    assert not bridge.deallocate_memory_array(array, name + "-other")
    assert cw.last_status() == cw.Status.NOT_OWNER
    part, foreign = array[:50], np.zeros(100, np.float32)
    for wrong in (part, foreign, foreign.astype(np.float64)):
        assert not bridge.deallocate_memory_array(wrong, name)
        assert cw.last_status() == cw.Status.INVALID_ARGUMENT
        assert not bridge.copy_to_gpu(wrong, bridge.get_memory_pointer(array))
        assert not bridge.copy_from_gpu(bridge.get_memory_pointer(array), wrong)
    with pytest.raises(cw.InvalidArgumentError):
        bridge.get_memory_pointer(foreign)
    with pytest.raises(TypeError):
        bridge.get_memory_pointer("text")
    assert bridge.deallocate_memory_array(array.reshape(10, 10), name)


def test_copies(bridge, kernel, name):
    array = bridge.allocate_memory_array(1024, name)
    memory = kernel.allocate_memory(4096, name)
    array[:] = np.arange(1024)
    assert bridge.copy_to_gpu(array, memory)
    array[:] = 0
    assert bridge.copy_from_gpu(memory, array)
    assert (array == np.arange(1024)).all()
    own = bridge.get_memory_pointer(array)
    assert bridge.copy_to_gpu(array, own) and bridge.copy_from_gpu(own, array)
    assert not bridge.copy_to_gpu(array, own + 4) and cw.last_status() == cw.Status.INVALID_ARGUMENT
    assert not bridge.copy_to_gpu(array, memory + 4) and cw.last_error()
    assert kernel.deallocate_memory(memory)


# --- DLPack ---

PyCapsule_IsValid = ctypes.pythonapi.PyCapsule_IsValid
PyCapsule_IsValid.argtypes = [ctypes.py_object, ctypes.c_char_p]
PyCapsule_GetPointer = ctypes.pythonapi.PyCapsule_GetPointer
PyCapsule_GetPointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
PyCapsule_GetPointer.restype = ctypes.c_void_p


class DLTensor(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    ]


class Managed(ctypes.Structure):
    _fields_ = [("tensor", DLTensor), ("context", ctypes.c_void_p), ("deleter", ctypes.c_void_p)]


class ManagedVersioned(ctypes.Structure):
    _fields_ = [
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("context", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
        ("flags", ctypes.c_uint64),
        ("tensor", DLTensor),
    ]


def legacy(capsule):
    assert PyCapsule_IsValid(capsule, b"dltensor")
    return Managed.from_address(PyCapsule_GetPointer(capsule, b"dltensor"))


def versioned(capsule):
    assert PyCapsule_IsValid(capsule, b"dltensor_versioned")
    return ManagedVersioned.from_address(PyCapsule_GetPointer(capsule, b"dltensor_versioned"))


def test_a_versioned_capsule_only_for_who_asks(bridge, name):
    array = bridge.allocate_memory_array(12, name)
    for asked in (None, (0, 8)):
        capsule = array.__dlpack__(max_version=asked)
        tensor = legacy(capsule).tensor
        assert tensor.data == array.ctypes.data and tensor.ndim == 1 and tensor.shape[0] == 12
        assert (tensor.code, tensor.bits, tensor.lanes) == (2, 32, 1)
        assert not tensor.strides  # old consumers refuse even those that say nothing
        assert (tensor.device_type, tensor.device_id) == array.__dlpack_device__()
    for asked in ((1, 0), (1, 2), (2, 0)):
        capsule = array.__dlpack__(max_version=asked)
        managed = versioned(capsule)
        assert managed.major == 1 and managed.flags == 0 and managed.tensor.strides[0] == 1
    every_third = array.reshape(3, 4).T
    capsule = every_third.__dlpack__()
    tensor = legacy(capsule).tensor
    assert [tensor.shape[0], tensor.shape[1], tensor.strides[0], tensor.strides[1]] == [4, 3, 1, 4]


def test_the_arguments_of_dlpack(bridge, name, on_gpu):
    array = bridge.allocate_memory_array(12, name)
    array[:] = 4
    if on_gpu:
        for stream in (None, 1, 2, -1, 12345):
            array.__dlpack__(stream=stream)
        for stream in (0, -2):
            with pytest.raises(ValueError, match="stream"):
                array.__dlpack__(stream=stream)
    else:
        for stream in (None, -1):
            array.__dlpack__(stream=stream)
        for stream in (0, 1, 2):
            with pytest.raises(ValueError, match="stream"):
                array.__dlpack__(stream=stream)
    with pytest.raises(TypeError):
        array.__dlpack__(stream="first")
    with pytest.raises(BufferError, match="device"):
        array.__dlpack__(dl_device=(2, 7))
    assert legacy(array.__dlpack__(dl_device=(1, 0))).tensor.data == array.ctypes.data
    copied = array.__dlpack__(copy=True, max_version=(1, 0))
    assert versioned(copied).tensor.data != array.ctypes.data and versioned(copied).flags == 2
    assert (np.from_dlpack(_Consumed(copied)) == 4).all()
    fixed = array[:]
    fixed.flags.writeable = False
    assert versioned(fixed.__dlpack__(max_version=(1, 0))).flags == 1
    with pytest.raises(BufferError, match="read-only"):
        fixed.__dlpack__()


class _Consumed:
    """A producer that has one capsule to give."""

    def __init__(self, capsule, device=(1, 0)):
        self.capsule, self.device = capsule, device

    def __dlpack__(self, **_):
        return self.capsule

    def __dlpack_device__(self):
        return self.device


def test_a_capsule_keeps_the_memory(bridge, name):
    array = bridge.allocate_memory_array(1 << 18, name)
    array[:] = 6
    for version in (None, (1, 0)):
        capsule = array.__dlpack__(max_version=version, dl_device=(1, 0))
        unused = array.__dlpack__(max_version=version)
        del unused
        taken = np.from_dlpack(_Consumed(capsule))
        assert taken.ctypes.data == array.ctypes.data
        last, array = array, None
        del last, capsule
        assert (taken == 6).all() and held(bridge, name) >= 1 << 20
        del taken
        assert held(bridge, name) == 0
        array = bridge.allocate_memory_array(1 << 18, name)
        array[:] = 6


def test_numpy_takes_it_by_dlpack(bridge, name):
    array = bridge.allocate_memory_array(100, name)
    same = np.from_dlpack(array) if array.device == "cpu" else np.asarray(array)
    same[4] = 4
    assert array[4] == 4


def test_from_dlpack_is_without_a_copy():
    source = np.arange(24, dtype=np.int16).reshape(4, 6)
    for given in (source, source.T, source[::2, ::3], source.__dlpack__()):
        taken = cw.from_dlpack(given)
        assert isinstance(taken, np.ndarray) and taken.dtype == np.int16
        if isinstance(given, np.ndarray):
            assert (taken == given).all() and taken.ctypes.data == given.ctypes.data
            taken[0, 0] += 1
            assert (taken == given).all()
    del taken, given
    count = sys.getrefcount(source)
    taken = cw.from_dlpack(source)
    assert sys.getrefcount(source) > count
    del taken
    assert sys.getrefcount(source) == count


def test_from_dlpack_refuses_what_it_cannot_take():
    source = np.zeros(3, np.float32)
    capsule = source.__dlpack__()
    cw.from_dlpack(capsule)
    with pytest.raises(BufferError, match="consumed"):
        cw.from_dlpack(capsule)
    with pytest.raises(TypeError, match="__dlpack__"):
        cw.from_dlpack([1, 2])

    class Broken:
        def __dlpack__(self, **_):
            raise RuntimeError("nothing here")

    with pytest.raises(RuntimeError, match="nothing here"):
        cw.from_dlpack(Broken())

    class Old:
        """Knows no arguments, like producers before the array API."""

        def __dlpack__(self):
            return source.__dlpack__()

    assert cw.from_dlpack(Old()).ctypes.data == source.ctypes.data


def test_a_read_only_source_gives_a_read_only_array():
    source = np.arange(4.0)
    source.flags.writeable = False
    try:
        source.__dlpack__(max_version=(1, 0))
    except (TypeError, BufferError):
        pytest.skip("this numpy exports nothing read-only")
    assert not cw.from_dlpack(source).flags.writeable


def test_cuda_array_interface(bridge, name):
    array = bridge.allocate_memory_array(12, name)
    if array.device == "cpu":
        assert not hasattr(array, "__cuda_array_interface__")
        return
    there = array.reshape(3, 4).T.__cuda_array_interface__
    assert there["shape"] == (4, 3) and there["strides"] == (4, 16) and there["typestr"] == "<f4"
    assert there["data"] == (array.ctypes.data, False) and there["version"] == 3


# --- other libraries, where they are installed ---


def test_torch_both_ways(bridge, name):
    torch = pytest.importorskip("torch")
    array = bridge.allocate_memory_array(100, name)
    if array.device != "cpu" and not torch.cuda.is_available():
        pytest.skip("torch sees no GPU")
    tensor = torch.from_dlpack(array)
    assert tensor.data_ptr() == bridge.get_memory_pointer(array)
    tensor[5] = 5
    if tensor.is_cuda:
        torch.cuda.synchronize()
    assert array[5] == 5
    charged = held(bridge, name)
    assert bridge.deallocate_memory_array(array, name)
    del array
    assert float(tensor[5]) == 5 and held(bridge, name) == charged
    del tensor
    assert held(bridge, name) == 0
    source = torch.arange(6).reshape(2, 3)
    taken = cw.from_dlpack(source)
    taken[1, 2] = 60
    assert int(source[1, 2]) == 60
    with pytest.raises(BufferError, match="bfloat16"):
        cw.from_dlpack(torch.zeros(3, dtype=torch.bfloat16))


def test_tensorflow_both_ways(bridge, name):
    tensorflow = pytest.importorskip("tensorflow")
    array = bridge.allocate_memory_array(1 << 10, name)
    if array.device != "cpu":
        pytest.skip("on the CPU only")
    array[:] = np.arange(1 << 10)
    tensor = tensorflow.experimental.dlpack.from_dlpack(array.__dlpack__())
    assert float(tensor[1000]) == 1000
    array[1000] = 1
    assert float(tensor[1000]) == 1
    del array
    assert held(bridge, name) >= 1 << 12
    del tensor
    source = tensorflow.range(10)
    assert (cw.from_dlpack(tensorflow.experimental.dlpack.to_dlpack(source)) == np.arange(10)).all()


def test_jax_both_ways(bridge, name):
    jax = pytest.importorskip("jax")
    array = bridge.allocate_memory_array(1 << 10, name)
    if array.device != "cpu":
        pytest.skip("on the CPU only")
    array[:] = 2
    assert float(jax.dlpack.from_dlpack(array).sum()) == 2048
    assert (cw.from_dlpack(jax.numpy.arange(5)) == np.arange(5)).all()
