// SPDX-License-Identifier: MIT OR Apache-2.0
// MemoryArray as pybind11::array_t<float> and back, without a copy: a capsule keeps the memory while Python holds it.
// Needs pybind11 and Python's headers; the CMake component pybind11 brings both and defines COGNIWARE_WITH_PYBIND11.
#ifndef COGNIWARE_PYTHON_ARRAY_H
#define COGNIWARE_PYTHON_ARRAY_H

// Python.h wants to come before the standard headers.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cogniware/core/memory_array.hpp>

#include <memory>

namespace cogniware {
namespace detail {

template <int Flags>
struct ArrayCast<pybind11::array_t<float, Flags>> {
    static constexpr bool enabled = true;
    static constexpr const char* capsule_name = "cogniware.MemoryArray";

    // Needs the GIL.
    static pybind11::array_t<float, Flags> to(const MemoryArray& array) {
        auto kept = std::make_unique<MemoryArray>(array);
        float* data = kept->data();
        const auto size = static_cast<pybind11::ssize_t>(kept->size());
        pybind11::capsule owner(kept.get(), capsule_name, [](PyObject* capsule) {
            delete static_cast<MemoryArray*>(PyCapsule_GetPointer(capsule, capsule_name));
        });
        static_cast<void>(kept.release());
        return pybind11::array_t<float, Flags>({size}, {static_cast<pybind11::ssize_t>(sizeof(float))}, data, owner);
    }

    // The MemoryArray that such an array was made from; empty for any other array. Needs the GIL.
    static MemoryArray from(const pybind11::array_t<float, Flags>& array) {
        const pybind11::object owner = array.base();
        if (!owner || !PyCapsule_IsValid(owner.ptr(), capsule_name)) {
            return {};
        }
        return *static_cast<MemoryArray*>(PyCapsule_GetPointer(owner.ptr(), capsule_name));
    }
};

}  // namespace detail
}  // namespace cogniware

#endif
