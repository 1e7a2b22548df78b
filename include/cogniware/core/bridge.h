// SPDX-License-Identifier: MIT OR Apache-2.0
// AdvancedPythonCppBridge: LLMs by name, their arrays, nodes and tasks, under the documented names.
#ifndef COGNIWARE_CORE_BRIDGE_H
#define COGNIWARE_CORE_BRIDGE_H

#include <cogniware/core/memory_array.hpp>
#include <cogniware/detail/generate.hpp>
#include <cogniware/detail/lazy.hpp>
#include <cogniware/detail/map.hpp>
#include <cogniware/detail/profiling.hpp>
#include <cogniware/detail/read_options.hpp>
#include <cogniware/detail/task_status.hpp>
#include <cogniware/detail/task_type.hpp>

#include <chrono>
#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace cogniware {

// Methods that return bool never throw: false means that nothing was done, and cogniware::last_error() says why. Methods
// that return lists, maps or text give empty ones then; generate throws. Usable from any thread. An LLM that nobody
// registered is opened with defaults on first use. Sizes are bytes unless they count elements.
class AdvancedPythonCppBridge : public detail::Profiling {
public:
    using Map = std::map<std::string, std::string>;

    // A bridge of its own; PythonCppBridgeManager::getBridge() gives the process-wide one.
    AdvancedPythonCppBridge() noexcept : bridge_(cw_bridge_create) {}
    explicit AdvancedPythonCppBridge(cw_bridge* owned) noexcept : bridge_(owned) {}

    bool initialize() noexcept { return cw_bridge_initialize(bridge_.get()) == CW_OK; }

    // Unregisters every LLM: what they generate ends as cancelled.
    void shutdown() noexcept { static_cast<void>(cw_bridge_shutdown(bridge_.get())); }

    bool isInitialized() const noexcept {
        std::int32_t initialized = 0;
        return cw_bridge_is_initialized(bridge_.get(), &initialized) == CW_OK && initialized != 0;
    }

    // --- LLMs ---

    // Opens the LLM's tenant and loads its model. Keys that are not known are refused by name.
    bool registerLLM(const std::string& llmId, const Map& config) noexcept {
        return detail::attempt(
            [&] { return cw_bridge_llm_register(bridge_.get(), detail::whole(llmId), detail::to_c(config).get()); });
    }

    // What it generates ends as cancelled; its memory goes back.
    bool unregisterLLM(const std::string& llmId) noexcept {
        return cw_bridge_llm_unregister(bridge_.get(), detail::whole(llmId)) == CW_OK;
    }

    Map getLLMConfig(const std::string& llmId) const {
        return detail::read_map(
            [&](cw_map** map) { return cw_bridge_llm_config(bridge_.get(), detail::whole(llmId), map); });
    }

    // Changes keys; the others stay.
    bool updateLLMConfig(const std::string& llmId, const Map& config) noexcept {
        return detail::attempt(
            [&] { return cw_bridge_llm_update(bridge_.get(), detail::whole(llmId), detail::to_c(config).get()); });
    }

    std::vector<std::string> getActiveLLMs() const {
        return detail::keys(
            detail::read_map([this](cw_map** map) { return cw_bridge_active_llms(bridge_.get(), map); }));
    }

    bool isLLMActive(const std::string& llmId) const noexcept {
        std::int32_t active = 0;
        return cw_bridge_llm_is_active(bridge_.get(), detail::whole(llmId), &active) == CW_OK && active != 0;
    }

    // --- arrays ---

    // `size` floats, zero at first, in the LLM's memory; an empty array when that failed.
    MemoryArray allocateMemoryArray(std::size_t size, const std::string& llmId) {
        cw_array* array = nullptr;
        if (cw_bridge_array_allocate(bridge_.get(), size, detail::whole(llmId), &array) != CW_OK) {
            return {};
        }
        return MemoryArray(array);
    }

    // Gives the memory back now: every copy of the array becomes empty, and pointers into it are dead.
    bool deallocateMemoryArray(const MemoryArray& array, const std::string& llmId) noexcept {
        if (cw_bridge_array_deallocate(bridge_.get(), array.get(), detail::whole(llmId)) != CW_OK) {
            return false;
        }
        array.forget();
        return true;
    }

    // Where the array lies for the device, or null.
    void* getMemoryPointer(const MemoryArray& array) const noexcept {
        void* pointer = nullptr;
        return cw_bridge_array_pointer(bridge_.get(), array.get(), &pointer) == CW_OK ? pointer : nullptr;
    }

    // `size` floats, zero at first, that other processes can open; an empty array when that failed. On a GPU the memory is
    // pinned, so that the GPU addresses it too.
    MemoryArray createSharedMemoryArray(std::size_t size, const std::string& llmId) {
        cw_array* array = nullptr;
        if (cw_bridge_shared_array_create(bridge_.get(), size, detail::whole(llmId), &array) != CW_OK) {
            return {};
        }
        return MemoryArray(array);
    }

    // The shared array of another process, by what getSharedMemoryName() says there or by the number of a descriptor that this
    // process got; an empty array when that failed. The LLM is charged all of it.
    MemoryArray openSharedMemoryArray(const std::string& name, const std::string& llmId) {
        cw_array* array = nullptr;
        if (cw_bridge_shared_array_open(bridge_.get(), detail::whole(name), detail::whole(llmId), &array) != CW_OK) {
            return {};
        }
        return MemoryArray(array);
    }

    // Gives it back here: every copy of the array in this process becomes empty. Other processes keep what they opened.
    bool destroySharedMemoryArray(const MemoryArray& array, const std::string& llmId) noexcept {
        if (cw_bridge_shared_array_destroy(bridge_.get(), array.get(), detail::whole(llmId)) != CW_OK) {
            return false;
        }
        array.forget();
        return true;
    }

    // Where a shared array lies, for host and device alike, or null.
    void* getSharedMemoryPointer(const MemoryArray& array) const noexcept {
        void* pointer = nullptr;
        return cw_bridge_shared_array_pointer(bridge_.get(), array.get(), &pointer) == CW_OK ? pointer : nullptr;
    }

    // What a process of the same user opens a shared array by while this process has it; empty on an error.
    std::string getSharedMemoryName(const MemoryArray& array) const {
        char name[64];
        return cw_array_shared_name(array.get(), name, sizeof name, nullptr) == CW_OK ? std::string(name)
                                                                                      : std::string();
    }

    // A descriptor of a shared array to pass on, the caller's to close, or -1.
    int getSharedMemoryDescriptor(const MemoryArray& array) const noexcept {
        std::int32_t fd = -1;
        return cw_array_shared_fd(array.get(), &fd) == CW_OK ? fd : -1;
    }

    // Copies the whole array to memory of the same LLM or of the host. The array's own pointer is allowed.
    bool copyToGPU(const MemoryArray& array, void* gpuPtr) noexcept {
        return cw_bridge_copy_to_gpu(bridge_.get(), array.get(), gpuPtr) == CW_OK;
    }

    // Fills the whole array from there.
    bool copyFromGPU(const void* gpuPtr, const MemoryArray& array) noexcept {
        return cw_bridge_copy_from_gpu(bridge_.get(), gpuPtr, array.get()) == CW_OK;
    }

    // --- compute nodes of the current device ---

    // The ids of the nodes that nobody holds.
    std::vector<int> getAvailableComputeNodes() const {
        const auto raw =
            detail::read_list<std::uint32_t>([this](std::uint32_t* ids, std::size_t capacity, std::size_t* count) {
                return cw_bridge_available_nodes(bridge_.get(), ids, capacity, count);
            });
        return std::vector<int>(raw.begin(), raw.end());
    }

    bool allocateComputeNode(int nodeId, const std::string& llmId) noexcept {
        return cw_bridge_node_allocate(bridge_.get(), nodeId, detail::whole(llmId)) == CW_OK;
    }

    // What is known of a node, held or free: `id`, `type`, `processors`, `memory_bytes`, `owner` and so on, as
    // cw_bridge_node_info lists them. Empty when there is no such node.
    std::map<std::string, std::string> getComputeNodeInfo(int nodeId) const {
        return detail::read_map([&](cw_map** map) { return cw_bridge_node_info(bridge_.get(), nodeId, map); });
    }

    bool deallocateComputeNode(int nodeId, const std::string& llmId) noexcept {
        return cw_bridge_node_deallocate(bridge_.get(), nodeId, detail::whole(llmId)) == CW_OK;
    }

    // More guaranteed memory, a node and a stream for the LLM; one an LLM.
    bool createVirtualComputeNode(const std::string& llmId, std::size_t memorySize, std::size_t coreCount) noexcept {
        const std::size_t most = std::numeric_limits<std::uint32_t>::max();
        return cw_bridge_virtual_node_create(bridge_.get(), detail::whole(llmId), memorySize,
                                             static_cast<std::uint32_t>(coreCount < most ? coreCount : most)) == CW_OK;
    }

    bool destroyVirtualComputeNode(const std::string& llmId) noexcept {
        return cw_bridge_virtual_node_destroy(bridge_.get(), detail::whole(llmId)) == CW_OK;
    }

    // Gives the LLM what it requires; see AdvancedCustomizedKernel::optimizeForLLM. getLLMConfig() shows it.
    bool optimizeForLLM(const std::string& llmId, const Map& requirements) noexcept {
        return detail::attempt(
            [&] { return cw_bridge_optimize(bridge_.get(), detail::whole(llmId), detail::to_c(requirements).get()); });
    }

    // --- tasks ---

    // Types: "inference" (the prompt and how to generate are parameters, over the LLM's configuration; the result is the
    // text); "embedding" and "tokenize" (parameter "text"); "memory_copy" (source, destination, bytes); "matrix_multiply"
    // (a, b, c, m, n, k, transpose, dtype); those of registerTaskType(). Addresses are numbers, see address(); what they
    // name is the LLM's memory or an array of its, and must live until the task has ended. Every type takes task_id,
    // priority and weight. Returns the id, or nothing on an error.
    std::string scheduleTask(const std::string& llmId, const std::string& taskType, const Map& parameters) {
        cw_task* task = nullptr;
        const detail::Map map = detail::to_c(parameters);
        if (cw_bridge_task_schedule(bridge_.get(), detail::whole(llmId), detail::whole(taskType), map.get(), &task) !=
            CW_OK) {
            return {};
        }
        return detail::task_id(detail::TaskHandle(task));
    }

    // An address as a parameter of a task.
    static std::string address(const void* pointer) {
        return std::to_string(reinterpret_cast<std::uintptr_t>(pointer));
    }

    // Adds a type of task: scheduleTask() with this name then runs `function` for the LLM. False when the name is taken.
    bool registerTaskType(const std::string& name, TaskTypeFunction function) noexcept {
        return detail::attempt([&] {
            if (!function) {
                return cw_bridge_task_type_register(bridge_.get(), detail::whole(name), nullptr, nullptr, nullptr);
            }
            return cw_bridge_task_type_register(bridge_.get(), detail::whole(name), detail::TaskTypeCallback::run,
                                                new detail::TaskTypeCallback{std::move(function)},
                                                detail::TaskTypeCallback::drop);
        });
    }

    // Takes a registered type away; its tasks that are scheduled already go on.
    bool unregisterTaskType(const std::string& name) noexcept {
        return cw_bridge_task_type_unregister(bridge_.get(), detail::whole(name)) == CW_OK;
    }

    // The names of all types.
    std::vector<std::string> getTaskTypes() const {
        return detail::keys(
            detail::read_map([this](cw_map** map) { return cw_bridge_task_types(bridge_.get(), map); }));
    }

    // The ids of an LLM's tasks that have not ended.
    std::vector<std::string> getActiveTasks(const std::string& llmId) const {
        return detail::keys(detail::read_map(
            [&](cw_map** map) { return cw_bridge_active_tasks(bridge_.get(), detail::whole(llmId), map); }));
    }

    // See AdvancedCustomizedKernel::setTaskWeightage.
    bool setTaskWeightage(const std::string& taskId, float weight) noexcept {
        return detail::set_task_weight(taskId, static_cast<double>(weight));
    }

    bool cancelTask(const std::string& taskId) noexcept { return detail::cancel_task(taskId); }

    // task_id; llm_id; task_type; priority; weight; status: pending, running, completed, failed or cancelled; result: the text of one that completed; error:
    // what is wrong with one that did not; created_us, started_us, finished_us: microseconds since 1970, 0 for not yet;
    // device_time_us: measured device time of its work so far.
    Map getTaskStatus(const std::string& taskId) const {
        const detail::TaskHandle task = detail::find_task(taskId);
        if (!task) {
            return {};
        }
        const cw_task_info info = detail::task_info(task);
        const std::string text = detail::task_result(task);
        const bool good = info.state == CW_TASK_COMPLETED;
        return {{"task_id", taskId},
                {"llm_id", detail::task_tenant(task)},
                {"task_type", detail::task_type(task)},
                {"priority", detail::priority_name(info.priority)},
                {"weight", std::to_string(info.weight)},
                {"status", detail::state_name(info.state)},
                {"result", good ? text : std::string()},
                {"error", good ? std::string() : text},
                {"created_us", std::to_string(info.created_us)},
                {"started_us", std::to_string(info.started_us)},
                {"finished_us", std::to_string(info.finished_us)},
                {"device_time_us", std::to_string(info.device_time_ns / 1000)}};
    }

    // The text of a task that completed; empty for any other.
    std::string getTaskResult(const std::string& taskId) const {
        const detail::TaskHandle task = detail::find_task(taskId);
        if (!task || detail::task_info(task).state != CW_TASK_COMPLETED) {
            return {};
        }
        return detail::task_result(task);
    }

    // Waits for a task's end, at most so long (negative: without end); false when it has not ended or is unknown.
    bool waitForTask(const std::string& taskId,
                     std::chrono::milliseconds timeout = std::chrono::milliseconds(-1)) const noexcept {
        return detail::wait_for_task(taskId, timeout.count());
    }

    // --- text ---

    // Generates and waits. `parameters` as for an "inference" task, over the LLM's configuration. Throws Error.
    std::string generate(const std::string& llmId, const std::string& prompt, const Map& parameters = {}) {
        Map all = parameters;
        all["prompt"] = detail::c_text("prompt", prompt);
        cw_task* raw = nullptr;
        const detail::Map map = detail::to_c(all);
        detail::check(cw_bridge_task_schedule(bridge_.get(), detail::whole(llmId), "inference", map.get(), &raw));
        const detail::TaskHandle task(raw);
        detail::check(cw_task_wait(task.get(), -1));
        const cw_task_info info = detail::task_info(task);
        const std::string text = detail::task_result(task);
        if (info.state != CW_TASK_COMPLETED) {
            throw detail::task_error(info, text);
        }
        return text;
    }

    // The same, giving out each piece as it is made, on a thread of Cogniware; false from it ends the generation. What it
    // throws ends the generation and is thrown from here.
    std::string generate(const std::string& llmId, const std::string& prompt, OnPiece callback,
                         const Map& parameters = {}) {
        if (!isLLMActive(llmId)) {
            detail::check(cw_bridge_llm_register(bridge_.get(), detail::whole(llmId), nullptr));
        }
        GenerateOptions options;
        detail::read_options(getLLMConfig(llmId), options, false);
        detail::read_options(parameters, options, true);
        cw_model* raw = nullptr;
        detail::check(cw_bridge_model(bridge_.get(), detail::whole(llmId), &raw));
        const detail::Handle<cw_model, cw_model_free> model(raw);
        const Generation generation = detail::start(model.get(), prompt, options, std::move(callback));
        generation.wait();
        return generation.text();
    }

    // --- figures ---

    // Bytes, counts, whole seconds and shares: fractions are cut off; getResourceFigures() has them.
    std::map<std::string, std::size_t> getResourceUsage(const std::string& llmId) const {
        return detail::read_numbers<std::size_t>(
            [&](cw_map** map) { return cw_bridge_resource_usage(bridge_.get(), detail::whole(llmId), map); });
    }

    // The same with fractions: device_time_seconds, device_time_share (0 to 1), wait_time_seconds.
    std::map<std::string, double> getResourceFigures(const std::string& llmId) const {
        return detail::read_numbers<double>(
            [&](cw_map** map) { return cw_bridge_resource_usage(bridge_.get(), detail::whole(llmId), map); });
    }

    std::map<std::string, std::size_t> getMemoryUsage(const std::string& llmId) const {
        return detail::read_numbers<std::size_t>(
            [&](cw_map** map) { return cw_bridge_memory_usage(bridge_.get(), detail::whole(llmId), map); });
    }

    std::map<std::string, double> getPerformanceMetrics() const {
        return detail::read_numbers<double>([this](cw_map** map) { return cw_bridge_metrics(bridge_.get(), map); });
    }

    Map getSystemInfo() const {
        return detail::read_map([this](cw_map** map) { return cw_bridge_system_info(bridge_.get(), map); });
    }

    // --- profiling ---

    // Records the LLM's kernels, copies, steps, tasks and waits from now on.
    bool enableProfiling(const std::string& llmId) noexcept {
        return cw_bridge_profiling_enable(bridge_.get(), detail::whole(llmId)) == CW_OK;
    }

    // The figures stay.
    bool disableProfiling(const std::string& llmId) noexcept {
        return cw_bridge_profiling_disable(bridge_.get(), detail::whole(llmId)) == CW_OK;
    }

    // `<kind>.<name>.<figure>`, each with its unit (docs/profiling.md), and profiling_enabled.
    Map getProfilingData(const std::string& llmId) const {
        return detail::read_map(
            [&](cw_map** map) { return cw_bridge_profiling_data(bridge_.get(), detail::whole(llmId), map); });
    }

    // --- tests ---

    // Tests the device in use, arrays and a generation; false when a part failed, whose reason is in last_error().
    bool runDiagnostics() noexcept { return cw_bridge_diagnostics_run(bridge_.get()) == CW_OK; }

    // Of the last run: "copies" -> "passed", "failed" or "skipped"; "copies.detail"; "copies.seconds".
    Map getDiagnosticResults() const {
        return detail::read_map([this](cw_map** map) { return cw_bridge_diagnostics_results(bridge_.get(), map); });
    }

    cw_bridge* get() const noexcept { return bridge_.get(); }

private:
    detail::Lazy<cw_bridge, cw_bridge_free> bridge_;
};

}  // namespace cogniware

#endif
