// SPDX-License-Identifier: MIT OR Apache-2.0
// MemoryArray as pybind11::array_t<float> and back, without a copy: a capsule keeps the memory while Python holds it,
// also after the array was deallocated or its LLM has gone.
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

// What the capsule under an array of Python holds: the array, and a handle of its own that keeps the memory mapped.
struct KeptArray {
    explicit KeptArray(const MemoryArray& from) : array(from), data(array.data()), size(array.size()) {
        if (array.get() != nullptr) {
            cw_array* other = nullptr;
            check(cw_array_share(array.get(), &other));
            handle.reset(other);
        }
    }

    MemoryArray array;
    Handle<cw_array, cw_array_free> handle;
    float* data;
    std::size_t size;

    static constexpr const char* capsule_name = "cogniware.MemoryArray";

    // What lies under an array or a view of one; null for memory that is not Cogniware's. Needs the GIL.
    static const KeptArray* under(pybind11::object array) {
        while (array && pybind11::isinstance<pybind11::array>(array)) {
            array = pybind11::reinterpret_borrow<pybind11::array>(array).base();
        }
        if (!array || !PyCapsule_IsValid(array.ptr(), capsule_name)) {
            return nullptr;
        }
        return static_cast<const KeptArray*>(PyCapsule_GetPointer(array.ptr(), capsule_name));
    }
};

template <int Flags>
struct ArrayCast<pybind11::array_t<float, Flags>> {
    static constexpr bool enabled = true;

    // Needs the GIL.
    static pybind11::array_t<float, Flags> to(const MemoryArray& array) {
        auto kept = std::make_unique<KeptArray>(array);
        float* data = kept->data;
        const auto size = static_cast<pybind11::ssize_t>(kept->size);
        pybind11::capsule owner(kept.get(), KeptArray::capsule_name, [](PyObject* capsule) {
            delete static_cast<KeptArray*>(PyCapsule_GetPointer(capsule, KeptArray::capsule_name));
        });
        static_cast<void>(kept.release());
        return pybind11::array_t<float, Flags>({size}, {static_cast<pybind11::ssize_t>(sizeof(float))}, data, owner);
    }

    // The MemoryArray that such an array, or a view of all of it, was made from; empty for any other array. Needs the GIL.
    static MemoryArray from(const pybind11::array_t<float, Flags>& array) {
        const KeptArray* kept = KeptArray::under(array);
        if (kept == nullptr || array.data() != kept->data || static_cast<std::size_t>(array.size()) != kept->size) {
            return {};
        }
        return kept->array;
    }
};

}  // namespace detail
}  // namespace cogniware

#endif
