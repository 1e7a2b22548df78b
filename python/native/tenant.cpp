// SPDX-License-Identifier: MIT OR Apache-2.0
// Tenant, Buffer, Stream, Task.
#include "tenant.hpp"

#include "bindings.hpp"
#include "dlpack.hpp"
#include "error.hpp"
#include "gil.hpp"
#include "task_context.hpp"
#include "values.hpp"

#include <cogniware/core/kernel_types.h>
#include <cogniware/detail/task_status.hpp>

#include <mutex>
#include <optional>

namespace cogniware_python {
namespace {

using cogniware::Task;
using cogniware::TaskPriority;

// --- memory ---

// Bytes of a tenant; freed with their last owner.
struct Memory {
    std::shared_ptr<Hold> tenant;
    void* data = nullptr;
    std::uint64_t bytes = 0;
    dl::Device device{dl::cpu, 0};

    Memory(std::shared_ptr<Hold> of, std::uint64_t size, const std::string& tag) : tenant(std::move(of)), bytes(size) {
        std::int32_t kind = CW_DEVICE_CPU;
        std::int32_t ordinal = 0;
        cogniware::detail::check(cw_tenant_device(tenant->get(), &kind, &ordinal));
        if (kind != CW_DEVICE_CPU) {
            device = {dl::cuda, ordinal};
        }
        const char* name = tag.empty() ? nullptr : cogniware::detail::c_text("tag", tag);
        cogniware::detail::check(cw_memory_alloc(tenant->get(), bytes, name, &data));
    }
    Memory(const Memory&) = delete;
    Memory& operator=(const Memory&) = delete;
    ~Memory() { static_cast<void>(cw_memory_free(tenant->get(), data)); }
};

struct PyBuffer {
    std::shared_ptr<Memory> memory;

    const Memory& live() const {
        if (!memory) {
            throw cogniware::Error(CW_ERROR_INVALID_ARGUMENT, "the buffer was freed");
        }
        return *memory;
    }

    // All of it as elements of a type; without a shape, one row.
    View view(const py::dtype& dtype, const std::optional<std::vector<std::int64_t>>& shape) const {
        const Memory& of = live();
        View view;
        view.owner = memory;
        view.data = of.data;
        view.device = of.device;
        view.dtype = to_dl(dtype);
        const auto item = static_cast<std::uint64_t>(dtype.itemsize());
        if (shape) {
            std::uint64_t bytes = item;
            for (const std::int64_t size : *shape) {
                if (size < 0 || (size > 0 && bytes > of.bytes / static_cast<std::uint64_t>(size))) {
                    throw py::value_error("argument `shape`: does not fit into " + std::to_string(of.bytes) + " bytes");
                }
                bytes *= static_cast<std::uint64_t>(size);
            }
            view.shape = *shape;
        } else {
            view.shape = {static_cast<std::int64_t>(of.bytes / item)};
        }
        view.strides = contiguous_strides(view.shape);
        return view;
    }

    View bytes() const { return view(py::dtype("u1"), std::nullopt); }

    bool on_host() const { return live().device.type == dl::cpu; }
};

void bind_buffer(py::module_& module) {
    py::class_<PyBuffer>(
        module, "Buffer",
        "Bytes of a tenant's memory, aligned to 256. On the CPU device the object has the buffer protocol\n"
        "(`memoryview(buffer)`, `numpy.frombuffer(buffer, numpy.float32)`); on a GPU __cuda_array_interface__; DLPack "
        "on\n"
        "both. What shows the memory keeps it alive and charged: free() gives it back with the last of them.",
        py::buffer_protocol(), py::release_gil_before_calling_cpp_dtor())
        .def_buffer([](PyBuffer& self) {
            if (!self.memory) {
                throw py::buffer_error("the buffer was freed");
            }
            if (!self.on_host()) {
                throw py::buffer_error("the buffer is device memory: take it by DLPack, or copy it with Tenant.copy");
            }
            return py::buffer_info(static_cast<std::uint8_t*>(self.memory->data),
                                   static_cast<py::ssize_t>(self.memory->bytes), false);
        })
        .def_property_readonly(
            "address", [](const PyBuffer& self) { return from_address(self.live().data); },
            "On the CPU an ordinary address, on a GPU a device address.")
        .def_property_readonly("nbytes", [](const PyBuffer& self) { return self.memory ? self.memory->bytes : 0; })
        .def(
            "view",
            [](const PyBuffer& self, const py::object& dtype,
               const std::optional<std::vector<std::int64_t>>& shape) -> py::object {
                View view = self.view(py::dtype::from_args(dtype), shape);
                if (self.on_host()) {
                    return to_numpy_array(view);
                }
                return device_array(std::move(view));
            },
            py::arg("dtype") = "uint8", py::arg("shape") = py::none(),
            "The memory as elements of a numpy dtype, of this shape (None: one row), without a copy: a numpy array on "
            "the CPU,\n"
            "a DeviceArray on a GPU.")
        .def(
            "free", [](PyBuffer& self) { self.memory.reset(); }, NoGil(),
            "Gives the memory back, now or with the last array that shows it. No work that uses it may be in flight.")
        .def("__enter__", [](const py::object& self) { return self; })
        .def("__exit__",
             [](PyBuffer& self, const py::args&) {
                 auto last = std::move(self.memory);
                 const py::gil_scoped_release release;
                 last.reset();
             })
        .def("__dlpack_device__",
             [](const PyBuffer& self) { return std::make_pair(self.live().device.type, self.live().device.id); })
        .def(
            "__dlpack__",
            [](const PyBuffer& self, const py::object& stream, const py::object& max_version,
               const py::object& dl_device, const py::object& copy) {
                return to_capsule(self.bytes(), self.on_host(), stream, max_version, dl_device, copy);
            },
            py::kw_only(), py::arg("stream") = py::none(), py::arg("max_version") = py::none(),
            py::arg("dl_device") = py::none(), py::arg("copy") = py::none())
        .def_property_readonly("__cuda_array_interface__",
                               [](const PyBuffer& self) { return cuda_array_interface(self.bytes()); });
}

// --- tasks ---

void bind_task(py::module_& module) {
    py::class_<PyContext, std::shared_ptr<PyContext>>(
        module, "TaskContext", "What the function of a running task sees of its task. Valid only inside that function.")
        .def_property_readonly(
            "cancelled", [](const PyContext& self) { return ending() || self.live().is_cancelled(); },
            "Somebody asked for the end of the task, or the interpreter is ending: long work should look and return.")
        .def(
            "set_result",
            [](PyContext& self, const Text& text) {
                self.live().set_result(text);
                self.result = text;
            },
            py::arg("text"), "The text that the task's result will be.");
    py::class_<Task>(module, "Task", "A handle to a task. Dropping it leaves the task alone. Usable from any thread.",
                     py::release_gil_before_calling_cpp_dtor())
        .def_static(
            "find", [](const Text& task_id) { return Task::find(task_id); }, py::arg("task_id"), NoGil(),
            "The task with this id: waiting, running, or one of the last few thousand that ended.")
        .def_property_readonly("task_id", &Task::id)
        .def_property_readonly(
            "status", [](const Task& self) { return cogniware::detail::state_name(self.info().state); },
            "\"pending\", \"running\", \"completed\", \"failed\" or \"cancelled\".")
        .def_property_readonly("text", &Task::result,
                               "The text that it set, or that of its error; empty before the end.")
        .def(
            "wait",
            [](const Task& self, const py::object& timeout) {
                return wait(
                    Deadline(timeout), [&](std::chrono::milliseconds slice) { return self.wait_for(slice); }, [] {});
            },
            py::arg("timeout") = py::none(),
            "Waits for the end, at most `timeout` seconds (None: without end); False when it has not come by then. "
            "Looks for\n"
            "Ctrl-C meanwhile, which leaves the task alone.")
        .def(
            "result",
            [](const Task& self, const py::object& timeout) {
                if (!wait(
                        Deadline(timeout), [&](std::chrono::milliseconds slice) { return self.wait_for(slice); },
                        [] {})) {
                    throw cogniware::Error(CW_ERROR_TIMEOUT, "the task has not ended in time");
                }
                const auto info = self.info();
                if (info.state != CW_TASK_COMPLETED) {
                    throw cogniware::detail::task_error(info, self.result());
                }
                return self.result();
            },
            py::arg("timeout") = py::none(),
            "Waits like wait() and returns the text; raises the error with which it ended.")
        .def("cancel", &Task::cancel, NoGil(), "What has not started never will; a running function is told.");
}

// Runs the Python function with a context; a result that is no None becomes the task's text.
std::function<void(cogniware::TaskContext&)> work_of(const py::object& function) {
    if (PyCallable_Check(function.ptr()) == 0) {
        throw py::type_error("argument `work`: must be callable with a TaskContext");
    }
    const Callable callable(function);
    return [callable](cogniware::TaskContext& context) {
        callable.run([&](const py::object& call) {
            const SeenContext seen(context);
            const py::object result = call(seen.get());
            if (!result.is_none()) {
                context.set_result(py::str(result));
            }
        });
    };
}

// --- streams ---

struct PyStream {
    PyStream(std::shared_ptr<PyTenant> of, std::int32_t priority)
        : tenant(std::move(of)), stream(std::make_shared<cogniware::Stream>(tenant->tenant.stream(priority))) {}
    PyStream(const PyStream&) = delete;
    PyStream& operator=(const PyStream&) = delete;
    // With the GIL; what is held goes after the work that uses it has ended.
    ~PyStream() {
        const py::gil_scoped_release release;
        stream.reset();
        tenant.reset();
    }

    std::shared_ptr<PyTenant> tenant;
    std::shared_ptr<cogniware::Stream> stream;
    std::vector<py::object> held;  // what queued copies use
};

void bind_stream(py::module_& module) {
    py::class_<PyStream>(module, "Stream", "An ordered queue on a tenant's compute node. Its end waits for its work.")
        .def(
            "synchronize",
            [](PyStream& self) {
                {
                    const py::gil_scoped_release release;
                    self.stream->synchronize();
                }
                self.held.clear();
            },
            "Waits for everything queued so far; raises an error that it raised.")
        .def_property_readonly(
            "native", [](const PyStream& self) { return from_address(self.stream->native()); },
            "The cudaStream_t behind it; None on the CPU.");
}

// --- tenants ---

py::dict usage_of(const PyTenant& self) {
    const cw_usage usage = self.tenant.usage();
    py::dict answer;
    answer["memory_limit"] = usage.memory_limit;
    answer["memory_held"] = usage.memory_held;
    answer["memory_peak"] = usage.memory_peak;
    answer["memory_shared"] = usage.memory_shared;
    answer["memory_regions"] = usage.memory_regions;
    answer["memory_physical"] = usage.memory_physical;
    answer["allocations"] = usage.allocations;
    answer["rejections"] = usage.rejections;
    answer["device_time_ns"] = usage.device_time_ns;
    answer["wait_time_ns"] = usage.wait_time_ns;
    answer["admissions"] = usage.admissions;
    answer["processors"] = usage.processors;
    return answer;
}

cogniware::Priority to_priority(TaskPriority priority) { return static_cast<cogniware::Priority>(priority); }

template <class Class>
void bind_tenant_memory(Class& cls) {
    cls.def(
           "allocate",
           [](PyTenant& self, std::uint64_t bytes, const Text& tag) {
               if (self.tenant.get() == nullptr) {
                   throw cogniware::Error(CW_ERROR_INVALID_ARGUMENT, "the tenant was closed");
               }
               return PyBuffer{std::make_shared<Memory>(self.hold, bytes, tag)};
           },
           py::arg("bytes"), py::arg("tag") = "", NoGil(),
           "A Buffer of this tenant's memory. `tag` names it in reports. Raises QuotaExceededError beyond the limit.")
        .def(
            "copy",
            [](const std::shared_ptr<PyTenant>& self, const py::object& destination, const py::object& source,
               std::uint64_t bytes, PyStream* stream) {
                const auto range = [&](const char* name, const py::object& given, bool writable) {
                    if (!py::isinstance<PyBuffer>(given)) {
                        return Range(name, given, bytes, writable);
                    }
                    const Memory& memory = given.cast<PyBuffer&>().live();
                    if (memory.bytes < bytes) {
                        throw py::value_error("argument `" + std::string(name) + "`: has " +
                                              std::to_string(memory.bytes) + " bytes");
                    }
                    return Range(name, py::int_(reinterpret_cast<std::uintptr_t>(memory.data)), bytes, writable);
                };
                const Range to = range("destination", destination, true);
                const Range from = range("source", source, false);
                const auto queue = stream == nullptr ? nullptr : stream->stream;
                {
                    const py::gil_scoped_release release;
                    if (queue == nullptr) {
                        self->tenant.copy(to.address(), from.address(), bytes);
                    } else {
                        self->tenant.copy(to.address(), from.address(), bytes, *queue);
                    }
                }
                if (stream != nullptr) {
                    stream->held.insert(stream->held.end(), {destination, source, to.held(), from.held()});
                }
            },
            py::arg("destination"), py::arg("source"), py::arg("bytes"), py::arg("stream") = py::none(),
            "Copies between host memory and memory of this tenant, in any direction, and waits; with a Stream it is "
            "queued\n"
            "there, and what it uses is held until Stream.synchronize(). Each end is a Buffer, an object with the "
            "buffer\n"
            "protocol, or an address.")
        .def(
            "fill",
            [](PyTenant& self, const PyBuffer& destination, std::uint8_t value) {
                const auto memory = destination.memory;
                const Memory& of = destination.live();
                const py::gil_scoped_release release;
                self.tenant.fill(of.data, value, of.bytes);
            },
            py::arg("destination"), py::arg("value"), "Sets every byte of a Buffer and waits.");
}

}  // namespace

void bind_tenant(py::module_& module) {
    bind_buffer(module);
    bind_task(module);
    bind_stream(module);
    py::class_<PyTenant, std::shared_ptr<PyTenant>> cls(
        module, "Tenant",
        "An account on a device with a hard memory quota, processors of its own, and figures. It is closed by close(), "
        "at the\n"
        "end of a `with` block, or with its object: tasks end as cancelled, nodes and streams go back, and memory with "
        "the\n"
        "last array that shows it. Usable from any thread; calls release the GIL. Failures raise Error.",
        py::release_gil_before_calling_cpp_dtor());
    cls.def(py::init([](const Text& id, const Text& device, std::uint64_t memory_limit, std::uint64_t memory_floor,
                        double weight, std::uint32_t processors, TaskPriority priority) {
                cogniware::TenantOptions options;
                options.device = device;
                options.memory_limit = memory_limit;
                options.memory_floor = memory_floor;
                options.weight = weight;
                options.processors = processors;
                options.priority = to_priority(priority);
                return std::make_shared<PyTenant>(id, options);
            }),
            py::arg("id"), py::kw_only(), py::arg("device") = "", py::arg("memory_limit") = 0,
            py::arg("memory_floor") = 0, py::arg("weight") = 1.0, py::arg("processors") = 0,
            py::arg("priority") = TaskPriority::NORMAL, NoGil(),
            "`device`: \"cpu\", \"cuda\", \"cuda:1\", \"auto\"; empty: COGNIWARE_DEVICE, else auto. `memory_limit`: "
            "the most bytes it may\n"
            "hold (0: a quarter of the device); `memory_floor`: bytes set aside for it. `weight`: of its share where "
            "processors\n"
            "are contended. `processors`: cores or SMs of its own node (0: a quarter of the device).")
        .def_readonly("id", &PyTenant::id)
        .def(
            "close", [](PyTenant& self) { return self.tenant.close(); }, NoGil(),
            "Closes it now. Returns the bytes that were still allocated.")
        .def("__enter__", [](const py::object& self) { return self; })
        .def("__exit__",
             [](PyTenant& self, const py::args&) {
                 const py::gil_scoped_release release;
                 if (self.tenant.get() != nullptr) {
                     self.tenant.close();
                 }
             })
        .def("usage", &usage_of, "The figures now: bytes, counts and nanoseconds.")
        .def(
            "allocations",
            [](const PyTenant& self) {
                std::string json;
                {
                    const py::gil_scoped_release release;
                    json = self.tenant.allocations();
                }
                return py::module_::import("json").attr("loads")(json);
            },
            "What is allocated: a list of dicts with address, bytes, tag and age_ms, oldest first.")
        .def(
            "schedule",
            [](PyTenant& self, const py::object& work, const Text& task_id, TaskPriority priority, std::uint32_t cores,
               std::uint64_t memory) {
                auto body = work_of(work);
                cogniware::TaskOptions options;
                options.id = task_id;
                options.priority = to_priority(priority);
                options.cores = cores;
                options.memory = memory;
                const py::gil_scoped_release release;
                return self.tenant.schedule(std::move(body), options);
            },
            py::arg("work"), py::kw_only(), py::arg("task_id") = "", py::arg("priority") = TaskPriority::NORMAL,
            py::arg("cores") = 0, py::arg("memory") = 0,
            "Runs work(context) on a thread of Cogniware, with the GIL, once its needs are met: `cores` or SMs, and "
            "`memory`\n"
            "bytes free within the limit. What it returns (if not None) becomes the task's text; what it raises ends "
            "the task\n"
            "as failed with the exception's text.")
        .def(
            "stream",
            [](const std::shared_ptr<PyTenant>& self, std::int32_t priority) {
                return std::make_unique<PyStream>(self, priority);
            },
            py::arg("priority") = 0, NoGil(), "A Stream on this tenant's node. Lower priority runs first; 0 is normal.")
        .def(
            "take_node", [](PyTenant& self, std::uint32_t node) { self.tenant.take_node(node); }, py::arg("node"),
            NoGil(), "A free node of the device's ladder becomes this tenant's.")
        .def(
            "make_node", [](PyTenant& self, std::uint32_t processors) { return self.tenant.make_node(processors); },
            py::arg("processors"), NoGil(), "Makes a node of so many cores or SMs for this tenant; returns its id.")
        .def(
            "give_node_back", [](PyTenant& self, std::uint32_t node) { self.tenant.give_node_back(node); },
            py::arg("node"), NoGil())
        .def(
            "set_memory_limit", [](PyTenant& self, std::uint64_t bytes) { self.tenant.set_memory_limit(bytes); },
            py::arg("bytes"), NoGil())
        .def(
            "set_weight", [](PyTenant& self, double weight) { self.tenant.set_weight(weight); }, py::arg("weight"),
            NoGil())
        .def(
            "set_priority",
            [](PyTenant& self, TaskPriority priority) { self.tenant.set_priority(to_priority(priority)); },
            py::arg("priority"), NoGil());
    bind_tenant_memory(cls);
}

}  // namespace cogniware_python
