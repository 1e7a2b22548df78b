// SPDX-License-Identifier: MIT OR Apache-2.0
#include "arrays.hpp"

#include "error.hpp"

namespace cogniware_python {

py::object to_numpy(const cogniware::MemoryArray& array) {
    const py::array_t<float> plain = array;
    return plain.attr("view")(py::module_::import("cogniware_core._array").attr("MemoryArray"));
}

cogniware::MemoryArray to_memory_array(const py::array& array) {
    if (!py::isinstance<py::array_t<float>>(array)) {
        return {};
    }
    return cogniware::MemoryArray(py::reinterpret_borrow<py::array_t<float>>(array));
}

py::object allocate_array(cogniware::AdvancedPythonCppBridge& bridge, std::size_t size, const std::string& llm_id) {
    cogniware::MemoryArray array;
    {
        const py::gil_scoped_release release;
        array = or_raise([&] { return bridge.allocateMemoryArray(size, llm_id); });
    }
    return to_numpy(array);
}

bool deallocate_array(cogniware::AdvancedPythonCppBridge& bridge, const py::array& array, const std::string& llm_id) {
    const cogniware::MemoryArray owned = to_memory_array(array);
    const py::gil_scoped_release release;
    return bridge.deallocateMemoryArray(owned, llm_id);
}

}  // namespace cogniware_python
