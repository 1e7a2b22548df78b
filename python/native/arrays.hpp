// SPDX-License-Identifier: MIT OR Apache-2.0
// The bridge's arrays as numpy arrays of the class cogniware_core.MemoryArray, without a copy.
#ifndef COGNIWARE_PYTHON_ARRAYS_HPP
#define COGNIWARE_PYTHON_ARRAYS_HPP

#include <cogniware/python/array.h>

#include <cogniware/core/bridge.h>

#include <string>

namespace cogniware_python {

namespace py = pybind11;

// As the class cogniware_core.MemoryArray. Needs the GIL.
py::object to_numpy(const cogniware::MemoryArray& array);

// The array that this one, or this view of all of it, is; empty for any other, which the library then refuses. Needs the GIL.
cogniware::MemoryArray to_memory_array(const py::array& array);

py::object allocate_array(cogniware::AdvancedPythonCppBridge& bridge, std::size_t size, const std::string& llm_id);
bool deallocate_array(cogniware::AdvancedPythonCppBridge& bridge, const py::array& array, const std::string& llm_id);

}  // namespace cogniware_python

#endif
