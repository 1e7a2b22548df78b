// SPDX-License-Identifier: MIT OR Apache-2.0
#include "dlpack.hpp"

#include "bindings.hpp"
#include "gil.hpp"
#include "values.hpp"

#include <array>
#include <limits>

namespace cogniware_python {
namespace {

constexpr const char* legacy_name = "dltensor";
constexpr const char* versioned_name = "dltensor_versioned";

template <class Managed>
struct Names;
template <>
struct Names<dl::Managed> {
    static constexpr const char* fresh = "dltensor";
    static constexpr const char* used = "used_dltensor";
};
template <>
struct Names<dl::ManagedVersioned> {
    static constexpr const char* fresh = "dltensor_versioned";
    static constexpr const char* used = "used_dltensor_versioned";
};

// A tensor that was exported: the struct that the consumer sees, and what it refers to.
template <class Managed>
struct Exported {
    explicit Exported(const View& from) : view(from) {}

    View view;
    Managed managed{};
};

template <class Managed>
void destroy_capsule(PyObject* capsule) {
    // A capsule that was consumed has another name and belongs to the consumer.
    if (PyCapsule_IsValid(capsule, Names<Managed>::fresh)) {
        auto* managed = static_cast<Managed*>(PyCapsule_GetPointer(capsule, Names<Managed>::fresh));
        if (managed->deleter != nullptr) {
            managed->deleter(managed);
        }
    }
}

template <class Managed>
py::object capsule_of(const View& view, std::uint64_t flags) {
    auto exported = std::make_unique<Exported<Managed>>(view);
    Managed& managed = exported->managed;
    dl::Tensor& tensor = managed.tensor;
    tensor.data = view.data;
    tensor.device = view.device;
    tensor.ndim = static_cast<std::int32_t>(view.shape.size());
    tensor.dtype = view.dtype;
    tensor.shape = exported->view.shape.data();
    tensor.strides = exported->view.strides.data();
    if constexpr (std::is_same_v<Managed, dl::Managed>) {
        // Old consumers refuse strides, even those that say nothing.
        if (view.contiguous()) {
            tensor.strides = nullptr;
        }
        static_cast<void>(flags);
    } else {
        managed.version = {1, 0};
        managed.flags = flags | (view.read_only ? dl::read_only : 0);
    }
    managed.context = exported.get();
    managed.deleter = [](Managed* self) { delete static_cast<Exported<Managed>*>(self->context); };
    PyObject* capsule = PyCapsule_New(&managed, Names<Managed>::fresh, destroy_capsule<Managed>);
    if (capsule == nullptr) {
        throw py::error_already_set();
    }
    static_cast<void>(exported.release());
    return py::reinterpret_steal<py::object>(capsule);
}

bool gpu(const dl::Device& device) { return device.type == dl::cuda || device.type == dl::cuda_managed; }

// What a consumer's stream means: 1 the legacy default stream, 2 the thread's own, others a cudaStream_t, -1 no waiting. Copies of
// Cogniware have ended when they return, so there is nothing that a consumer's stream would have to wait for.
void check_stream(const View& view, const py::object& stream) {
    if (stream.is_none()) {
        return;
    }
    if (!py::isinstance<py::int_>(stream)) {
        throw py::type_error("argument `stream`: must be an int or None");
    }
    const auto number = stream.cast<std::int64_t>();
    if (gpu(view.device)) {
        if (number == 0 || number < -1) {
            throw py::value_error(
                "argument `stream`: " + std::to_string(number) +
                " is not allowed for CUDA: 1 is the legacy default stream, 2 the thread's own, -1 none");
        }
    } else if (number != -1) {
        throw py::value_error("argument `stream`: must be None for memory of the host");
    }
}

bool wants_versioned(const py::object& max_version) {
    if (max_version.is_none()) {
        return false;
    }
    const auto version = max_version.cast<std::pair<int, int>>();
    return version.first >= 1;
}

std::string device_text(const dl::Device& device) {
    return "(" + std::to_string(device.type) + ", " + std::to_string(device.id) + ")";
}

// Where the capsule shall say that the memory is.
dl::Device wanted_device(const View& view, bool host, const py::object& dl_device) {
    if (dl_device.is_none()) {
        return view.device;
    }
    const auto given = dl_device.cast<std::pair<int, int>>();
    const dl::Device wanted{given.first, given.second};
    const bool same = wanted.type == view.device.type && wanted.id == view.device.id;
    const bool as_host = host && wanted.type == dl::cpu;
    if (!same && !as_host) {
        throw py::buffer_error("the memory is on device " + device_text(view.device) + ", not on " +
                               device_text(wanted));
    }
    return wanted;
}

// --- import ---

template <class Managed>
View taken(const py::object& capsule) {
    auto* managed = static_cast<Managed*>(PyCapsule_GetPointer(capsule.ptr(), Names<Managed>::fresh));
    if (managed == nullptr) {
        throw py::error_already_set();
    }
    if constexpr (std::is_same_v<Managed, dl::ManagedVersioned>) {
        if (managed->version.major != 1) {
            throw py::buffer_error("the capsule has version " + std::to_string(managed->version.major) +
                                   " of DLPack; 1 is known here");
        }
    }
    const dl::Tensor& tensor = managed->tensor;
    if (tensor.ndim < 0 || tensor.ndim > 64 || (tensor.ndim > 0 && tensor.shape == nullptr)) {
        throw py::buffer_error("the capsule has " + std::to_string(tensor.ndim) + " dimensions");
    }
    View view;
    view.device = tensor.device;
    view.dtype = tensor.dtype;
    for (std::int32_t at = 0; at < tensor.ndim; ++at) {
        if (tensor.shape[at] < 0) {
            throw py::buffer_error("the capsule has a negative size");
        }
        view.shape.push_back(tensor.shape[at]);
    }
    view.strides = tensor.strides == nullptr ? contiguous_strides(view.shape)
                                             : std::vector<std::int64_t>(tensor.strides, tensor.strides + tensor.ndim);
    view.data = static_cast<char*>(tensor.data) + tensor.byte_offset;
    if constexpr (std::is_same_v<Managed, dl::ManagedVersioned>) {
        view.read_only = (managed->flags & dl::read_only) != 0;
    }
    // From here on it is ours, and the capsule must not free it.
    if (PyCapsule_SetName(capsule.ptr(), Names<Managed>::used) != 0) {
        throw py::error_already_set();
    }
    view.owner = std::shared_ptr<void>(managed, [](void* owned) {
        auto* self = static_cast<Managed*>(owned);
        if (self->deleter == nullptr) {
            return;
        }
        // Deleters of Python libraries may need the GIL.
        const Stay stay;
        if (stay.open) {
            const py::gil_scoped_acquire acquire;
            self->deleter(self);
        }
    });
    return view;
}

py::object call_dlpack(const py::object& source) {
    const py::object method = source.attr("__dlpack__");
    try {
        return method(py::arg("max_version") = py::make_tuple(1, 0));
    } catch (py::error_already_set& error) {
        // Older producers do not know the argument.
        if (!error.matches(PyExc_TypeError)) {
            throw;
        }
    }
    return method();
}

py::object from_dlpack(const py::object& source) {
    if (!py::isinstance<py::capsule>(source) && !py::hasattr(source, "__dlpack__")) {
        throw py::type_error("argument `source`: has no __dlpack__");
    }
    const py::object capsule = py::isinstance<py::capsule>(source) ? source : call_dlpack(source);
    View view;
    if (PyCapsule_IsValid(capsule.ptr(), versioned_name)) {
        view = taken<dl::ManagedVersioned>(capsule);
    } else if (PyCapsule_IsValid(capsule.ptr(), legacy_name)) {
        view = taken<dl::Managed>(capsule);
    } else {
        throw py::buffer_error("the object is no DLPack capsule, or was consumed before");
    }
    if (view.device.type == dl::cpu || view.device.type == dl::cuda_host) {
        return to_numpy_array(view);
    }
    return device_array(std::move(view));
}

// --- DeviceArray ---

struct DeviceArray {
    View view;
};

py::object text_of(const DeviceArray& self) {
    return py::str("<DeviceArray shape={} dtype={} device={}>")
        .format(py::tuple(py::cast(self.view.shape)), to_numpy_dtype(self.view.dtype), device_text(self.view.device));
}

}  // namespace

std::int64_t View::elements() const {
    std::int64_t count = 1;
    for (const std::int64_t size : shape) {
        count *= size;
    }
    return count;
}

bool View::contiguous() const {
    if (elements() == 0) {
        return true;
    }
    const auto wanted = contiguous_strides(shape);
    for (std::size_t at = 0; at < shape.size(); ++at) {
        if (shape[at] != 1 && strides[at] != wanted[at]) {
            return false;
        }
    }
    return true;
}

std::vector<std::int64_t> contiguous_strides(const std::vector<std::int64_t>& shape) {
    std::vector<std::int64_t> strides(shape.size());
    std::int64_t step = 1;
    for (std::size_t at = shape.size(); at-- > 0;) {
        strides[at] = step;
        step *= shape[at];
    }
    return strides;
}

std::shared_ptr<void> owning(py::object object) { return std::make_shared<Callable>(std::move(object)); }

dl::DataType to_dl(const py::dtype& dtype) {
    const char kind = dtype.kind();
    const auto bits = dtype.itemsize() * 8;
    const bool native = dtype.byteorder() != '>' && dtype.byteorder() != '<';
    const std::string kinds = "iufcb";
    const std::array<std::uint8_t, 5> codes = {dl::integer, dl::natural, dl::real, dl::complex, dl::boolean};
    const std::size_t at = kinds.find(kind);
    if (at == std::string::npos || !native || bits > 128) {
        throw py::buffer_error("DLPack has no type for " + std::string(py::str(dtype)));
    }
    return {codes[at], static_cast<std::uint8_t>(bits), 1};
}

py::dtype to_numpy_dtype(dl::DataType dtype) {
    const char* kind = nullptr;
    switch (dtype.code) {
        case dl::integer: kind = "i"; break;
        case dl::natural: kind = "u"; break;
        case dl::real: kind = "f"; break;
        case dl::complex: kind = "c"; break;
        case dl::boolean: kind = "b"; break;
        default: break;
    }
    if (kind == nullptr || dtype.lanes != 1 || dtype.bits % 8 != 0) {
        throw py::buffer_error(dtype.code == dl::brain
                                   ? "numpy has no bfloat16: view the tensor as 16-bit integers first"
                                   : "numpy has no type for DLPack's type code " + std::to_string(dtype.code) + " of " +
                                         std::to_string(dtype.bits) + " bits");
    }
    if (dtype.code == dl::boolean) {
        return py::dtype("?");
    }
    return py::dtype(std::string(kind) + std::to_string(dtype.bits / 8));
}

py::object to_capsule(const View& view, bool host, const py::object& stream, const py::object& max_version,
                      const py::object& dl_device, const py::object& copy) {
    check_stream(view, stream);
    View exported = view;
    exported.device = wanted_device(view, host, dl_device);
    std::uint64_t flags = 0;
    if (!copy.is_none() && copy.cast<bool>()) {
        if (!host) {
            throw py::buffer_error("a copy of device memory is not made here: let the consumer make it");
        }
        exported.device = {dl::cpu, 0};
        const py::array fresh = to_numpy_array(view).attr("copy")("C");
        exported.data = const_cast<void*>(fresh.data());
        exported.owner = owning(fresh);
        exported.strides = contiguous_strides(exported.shape);
        exported.read_only = false;
        flags = dl::copied;
    }
    if (wants_versioned(max_version)) {
        return capsule_of<dl::ManagedVersioned>(exported, flags);
    }
    if (exported.read_only) {
        throw py::buffer_error("a read-only array needs a versioned capsule: ask with max_version=(1, 0)");
    }
    return capsule_of<dl::Managed>(exported, flags);
}

py::dict cuda_array_interface(const View& view) {
    if (!gpu(view.device)) {
        throw py::attribute_error("__cuda_array_interface__: the memory is not on a CUDA device");
    }
    py::dict answer;
    answer["shape"] = py::tuple(py::cast(view.shape));
    answer["typestr"] = to_numpy_dtype(view.dtype).attr("str");
    answer["data"] = py::make_tuple(reinterpret_cast<std::uintptr_t>(view.data), view.read_only);
    answer["version"] = 3;
    // No work is left in flight, so there is no stream to wait for.
    answer["stream"] = py::none();
    answer["strides"] = py::none();
    if (!view.contiguous()) {
        std::vector<std::int64_t> bytes;
        for (const std::int64_t stride : view.strides) {
            bytes.push_back(stride * view.item_bytes());
        }
        answer["strides"] = py::tuple(py::cast(bytes));
    }
    return answer;
}

py::array to_numpy_array(const View& view) {
    const py::dtype dtype = to_numpy_dtype(view.dtype);
    std::vector<py::ssize_t> shape(view.shape.begin(), view.shape.end());
    std::vector<py::ssize_t> strides;
    for (const std::int64_t stride : view.strides) {
        strides.push_back(stride * view.item_bytes());
    }
    const py::capsule base(new std::shared_ptr<void>(view.owner), [](void* owner) {
        auto* shared = static_cast<std::shared_ptr<void>*>(owner);
        delete shared;
    });
    py::array array(dtype, std::move(shape), std::move(strides), view.data, base);
    if (view.read_only) {
        array.attr("flags").attr("writeable") = false;
    }
    return array;
}

py::object device_array(View view) { return py::cast(DeviceArray{std::move(view)}); }

void bind_dlpack(py::module_& module) {
    py::class_<DeviceArray>(
        module, "DeviceArray",
        "A tensor in device memory, by reference. torch, cupy, jax and others take it without a copy: by DLPack\n"
        "(torch.from_dlpack(array)) or __cuda_array_interface__. It keeps the memory alive.",
        py::release_gil_before_calling_cpp_dtor())
        .def_property_readonly("shape", [](const DeviceArray& self) { return py::tuple(py::cast(self.view.shape)); })
        .def_property_readonly(
            "strides", [](const DeviceArray& self) { return py::tuple(py::cast(self.view.strides)); }, "In elements.")
        .def_property_readonly(
            "dtype", [](const DeviceArray& self) { return to_numpy_dtype(self.view.dtype); }, "A numpy dtype.")
        .def_property_readonly(
            "size", [](const DeviceArray& self) { return self.view.elements(); }, "Elements.")
        .def_property_readonly("nbytes",
                               [](const DeviceArray& self) { return self.view.elements() * self.view.item_bytes(); })
        .def_property_readonly(
            "data_ptr", [](const DeviceArray& self) { return from_address(self.view.data); }, "The device address.")
        .def("__dlpack_device__",
             [](const DeviceArray& self) { return std::make_pair(self.view.device.type, self.view.device.id); })
        .def(
            "__dlpack__",
            [](const DeviceArray& self, const py::object& stream, const py::object& max_version,
               const py::object& dl_device,
               const py::object& copy) { return to_capsule(self.view, false, stream, max_version, dl_device, copy); },
            py::kw_only(), py::arg("stream") = py::none(), py::arg("max_version") = py::none(),
            py::arg("dl_device") = py::none(), py::arg("copy") = py::none())
        .def_property_readonly("__cuda_array_interface__",
                               [](const DeviceArray& self) { return cuda_array_interface(self.view); })
        .def("__repr__", text_of);
    module.def("from_dlpack", from_dlpack, py::arg("source"),
               "The memory of another library's tensor, without a copy: a numpy array for host memory, a DeviceArray "
               "for a GPU's.\n"
               "`source` has __dlpack__, or is such a capsule (legacy or versioned), which it consumes.");
    // For cogniware_core.MemoryArray, which is written in Python.
    module.def(
        "_export_array",
        [](const py::array& array, const py::object& stream, const py::object& max_version, const py::object& dl_device,
           const py::object& copy, int kind, int ordinal) {
            View view;
            view.dtype = to_dl(array.dtype());
            view.data = const_cast<void*>(array.data());
            view.device = kind == 0 ? dl::Device{dl::cpu, 0} : dl::Device{dl::cuda, ordinal};
            view.read_only = !array.writeable();
            for (py::ssize_t at = 0; at < array.ndim(); ++at) {
                if (array.strides(at) % array.itemsize() != 0) {
                    throw py::buffer_error("the array's strides are no whole number of elements");
                }
                view.shape.push_back(array.shape(at));
                view.strides.push_back(array.strides(at) / array.itemsize());
            }
            view.owner = owning(array);
            return to_capsule(view, true, stream, max_version, dl_device, copy);
        },
        py::arg("array"), py::arg("stream"), py::arg("max_version"), py::arg("dl_device"), py::arg("copy"),
        py::arg("kind"), py::arg("ordinal"));
}

}  // namespace cogniware_python
