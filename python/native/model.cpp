// SPDX-License-Identifier: MIT OR Apache-2.0
// Model.
#include "bindings.hpp"
#include "generation.hpp"
#include "tenant.hpp"
#include "values.hpp"

#include <cogniware/model.hpp>

#include <pybind11/numpy.h>

namespace cogniware_python {
namespace {

struct PyModel {
    PyModel(std::shared_ptr<PyTenant> of, const std::string& path, const TextMap& options)
        : tenant(std::move(of)), model(tenant->tenant, path, options) {}

    std::shared_ptr<PyTenant> tenant;
    cogniware::Model model;
};

// One row a text.
py::array_t<float> embed(const PyModel& self, const std::vector<std::string>& texts, const Text& pooling,
                         bool normalize) {
    std::vector<std::vector<float>> rows;
    {
        const py::gil_scoped_release release;
        rows = self.model.embed(texts, pooling, normalize);
    }
    const std::size_t width = rows.empty() ? 0 : rows.front().size();
    py::array_t<float> answer({rows.size(), width});
    for (std::size_t at = 0; at < rows.size(); ++at) {
        std::copy(rows[at].begin(), rows[at].end(), answer.mutable_data(static_cast<py::ssize_t>(at), 0));
    }
    return answer;
}

}  // namespace

void bind_model(py::module_& module) {
    py::class_<PyModel, std::shared_ptr<PyModel>> cls(module, "Model",
                                                      "Weights and architecture, loaded into a tenant, which it keeps. "
                                                      "Usable from any thread: several generations run\n"
                                                      "together as one batch. Failures raise Error.",
                                                      py::release_gil_before_calling_cpp_dtor());
    const auto start = [](const std::shared_ptr<PyModel>& self, const Text& prompt, const py::kwargs& options) {
        const cogniware::GenerateOptions how = to_options(options);
        const py::gil_scoped_release release;
        return std::make_unique<PyGeneration>(self->model.get(), prompt, how, self);
    };
    cls.def(py::init([](std::shared_ptr<PyTenant> tenant, const py::object& path, const py::object& options) {
                const TextMap map = to_settings("options", options);
                const std::string file = py::module_::import("os").attr("fspath")(path).cast<std::string>();
                const py::gil_scoped_release release;
                return std::make_shared<PyModel>(std::move(tenant), file, map);
            }),
            py::arg("tenant").none(false), py::arg("path") = "", py::arg("options") = py::none(),
            "Loads a GGUF file, a Hugging Face folder, or (with an empty path) the small model that ships with "
            "Cogniware.\n"
            "`options`: \"context\" and \"max_sequences\" (numbers), \"kv_type\" (\"f16\" or \"f32\"), \"exact_head\" "
            "(\"true\").")
        .def(
            "info", [](const PyModel& self) { return self.model.info(); }, NoGil(),
            "Architecture, sizes and format, as text.")
        .def("generate", start, py::arg("prompt"),
             "Starts generating and returns at once: a Generation, to iterate over (`for` or `async for`) or to wait "
             "for.\n"
             "Options: max_tokens, temperature (0: always the likeliest token), top_k, top_p, min_p, repeat_penalty,\n"
             "presence_penalty, frequency_penalty, seed, stop (a str or a list of them), chat (the prompt is a user's "
             "message,\n"
             "put through the model's chat template), system (the system message of a chat), ignore_eos, logprobs. "
             "Unknown ones\n"
             "are refused by name.")
        .def(
            "agenerate",
            [start](const std::shared_ptr<PyModel>& self, const Text& prompt, const py::kwargs& options) {
                const py::object generation = py::cast(start(self, prompt, options));
                return py::module_::import("cogniware_core._async").attr("tokens")(generation);
            },
            py::arg("prompt"),
            "The same as an asynchronous generator of tokens for `async for`; leaving the loop cancels the work.")
        .def(
            "tokenize",
            [](const PyModel& self, const Text& text, bool add_special) {
                return self.model.tokenize(text, add_special);
            },
            py::arg("text"), py::arg("add_special") = false, NoGil(),
            "The ids of a text's tokens; with `add_special` also those that begin or end every text of this model.")
        .def(
            "detokenize",
            [](const PyModel& self, const std::vector<std::uint32_t>& ids) { return self.model.detokenize(ids); },
            py::arg("ids"), NoGil(), "The text of tokens.")
        .def("embed", &embed, py::arg("texts"), py::arg("pooling") = "", py::arg("normalize") = true,
             "One vector a text: a float32 array of shape (len(texts), dim). `pooling`: \"mean\", \"cls\", \"last\" or "
             "empty for\n"
             "the model's own.")
        .def_property_readonly("tenant", [](const PyModel& self) { return self.tenant; });
}

}  // namespace cogniware_python
