// SPDX-License-Identifier: MIT OR Apache-2.0
// Tensors across libraries without a copy: DeviceArray, DLPack capsules in both forms, __cuda_array_interface__.
#ifndef COGNIWARE_PYTHON_DLPACK_HPP
#define COGNIWARE_PYTHON_DLPACK_HPP

#include "dlpack_abi.hpp"

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace cogniware_python {

namespace py = pybind11;

// Memory with a shape, on any device, and what keeps it. Dropping the last owner must not need the GIL.
struct View {
    std::shared_ptr<void> owner;
    void* data = nullptr;
    dl::Device device{dl::cpu, 0};
    dl::DataType dtype{dl::real, 32, 1};
    std::vector<std::int64_t> shape;
    std::vector<std::int64_t> strides;  // in elements
    bool read_only = false;

    std::int64_t elements() const;
    std::int64_t item_bytes() const { return (dtype.bits * dtype.lanes + 7) / 8; }
    bool contiguous() const;
};

// Strides of rows after rows without gaps.
std::vector<std::int64_t> contiguous_strides(const std::vector<std::int64_t>& shape);

// An owner that holds a Python object; it takes the GIL when it goes.
std::shared_ptr<void> owning(py::object object);

// A numpy dtype and the DLPack type of the same elements. Both raise what __dlpack__ should: BufferError.
dl::DataType to_dl(const py::dtype& dtype);
py::dtype to_numpy_dtype(dl::DataType dtype);

// What __dlpack__(stream=, max_version=, dl_device=, copy=) answers: a capsule, versioned only when max_version asks for 1 or
// newer. `host` tells that the host may read the memory whatever its device.
py::object to_capsule(const View& view, bool host, const py::object& stream, const py::object& max_version,
                      const py::object& dl_device, const py::object& copy);

// What __cuda_array_interface__ answers (version 3); raises AttributeError for memory that no GPU addresses.
py::dict cuda_array_interface(const View& view);

// A numpy array over host memory.
py::array to_numpy_array(const View& view);

// Makes a DeviceArray, the Python object of a view.
py::object device_array(View view);

}  // namespace cogniware_python

#endif
