# SPDX-License-Identifier: MIT OR Apache-2.0
"""The numpy class of the bridge's arrays."""

from __future__ import annotations

from typing import Any, Optional, Tuple

import numpy as np

from . import _core


class MemoryArray(np.ndarray):
    """A numpy array over a tenant's memory, as `allocate_memory_array` gives it, or a view of one.

    It is an ordinary numpy array of float32: results of arithmetic and copies are plain numpy arrays in Python's own memory.
    The memory stays valid and charged while any array, tensor or memoryview shows it, also after it was deallocated and
    after its tenant was closed. On a GPU it is host memory that the GPU addresses too; torch.from_dlpack(array),
    cupy.asarray(array) and others then see it as device memory, without a copy.

    Threads may read together, and write alone: nothing here locks.
    """

    def __array_wrap__(self, array: Any, context: Any = None, return_scalar: bool = False) -> Any:
        # What numpy computes lies in its own memory.
        if array is self:
            return array
        plain = np.asarray(array).view(np.ndarray)
        return plain[()] if return_scalar else plain

    def copy(self, order: Any = "C") -> np.ndarray:  # type: ignore[override]
        return np.array(self, order=order, copy=True, subok=False)

    def __reduce__(self) -> Any:
        # A pickle has the numbers, not the memory.
        return self.copy().__reduce__()

    @property
    def device(self) -> str:
        """The device that addresses the memory: "cpu", "cuda:0"."""
        _, kind, ordinal = _core._array_device(self)
        return "cpu" if kind == 0 else f"cuda:{ordinal}"

    def __dlpack_device__(self) -> Tuple[int, int]:
        _, kind, ordinal = _core._array_device(self)
        return (1, 0) if kind == 0 else (2, ordinal)

    def __dlpack__(  # type: ignore[override]
        self,
        *,
        stream: Optional[int] = None,
        max_version: Optional[Tuple[int, int]] = None,
        dl_device: Optional[Tuple[int, int]] = None,
        copy: Optional[bool] = None,
    ) -> Any:
        _, kind, ordinal = _core._array_device(self)
        return _core._export_array(self, stream, max_version, dl_device, copy, kind, ordinal)

    @property
    def __cuda_array_interface__(self) -> dict:
        ours, kind, _ = _core._array_device(self)
        if not ours or kind == 0:
            raise AttributeError("__cuda_array_interface__: the memory is not addressed by a CUDA device")
        return {
            "shape": self.shape,
            "typestr": self.dtype.str,
            "data": (self.__array_interface__["data"][0], not self.flags.writeable),
            "version": 3,
            "strides": None if self.flags.c_contiguous else self.strides,
            "stream": None,
        }
