// The documented line `pybind11::array_t<float> array = bridge->allocateMemoryArray(…)`, in a Python module.
#include "core/python_cpp_bridge.h"

#include "check.hpp"

namespace {

pybind11::array_t<float> make() {
    auto& manager = PythonCppBridgeManager::getInstance();
    CHECK(manager.initializeBridge());
    auto bridge = manager.getBridge();
    pybind11::array_t<float> array = bridge->allocateMemoryArray(1000, "python");
    CHECK(array.size() == 1000 && array.ndim() == 1);
    // No copy: the pointer is the same.
    CHECK(bridge->getMemoryPointer(array) == array.mutable_data());
    CHECK(bridge->copyToGPU(array, bridge->getMemoryPointer(array)));
    array.mutable_at(7) = 7.5F;
    const pybind11::array_t<float> foreign(10);
    CHECK(bridge->getMemoryPointer(foreign) == nullptr && !cogniware::last_error().empty());
    return array;
}

bool give_back(const pybind11::array_t<float>& array) {
    return PythonCppBridgeManager::getInstance().deallocateMemoryArray(array, "python");
}

}  // namespace

PYBIND11_MODULE(consumer_python, module) {
    module.def("make", make);
    module.def("give_back", give_back);
}
