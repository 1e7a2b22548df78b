// SPDX-License-Identifier: MIT OR Apache-2.0
// Tenants: accounts on a device with a hard memory quota, processors of their own, and figures.
#ifndef COGNIWARE_TENANT_HPP
#define COGNIWARE_TENANT_HPP

#include <cogniware/buffer.hpp>
#include <cogniware/stream.hpp>
#include <cogniware/task.hpp>

#include <cstdint>
#include <functional>
#include <string>
#include <utility>

namespace cogniware {

// What a tenant asks for.
struct TenantOptions {
    std::string device;              // "cpu", "cuda", "cuda:1", "auto"; empty: COGNIWARE_DEVICE, else auto
    std::uint64_t memory_limit = 0;  // the most bytes it may hold; 0: a quarter of the device
    std::uint64_t memory_floor = 0;  // bytes set aside for it
    double weight = 1.0;             // of its share where processors are contended
    std::uint32_t processors = 0;    // cores or SMs of its own node; 0: a quarter of the device
    Priority priority = Priority::normal;
};

// A tenant. The one that was opened closes when its object ends: tasks end as cancelled, memory, nodes and streams go
// back. One that was found by its id only lets go of the handle. Usable from any thread; moving is not.
class Tenant {
public:
    explicit Tenant(const std::string& id, const TenantOptions& options = {}) {
        cw_tenant_config config{};
        detail::check(cw_tenant_config_default(&config));
        config.memory_limit = options.memory_limit;
        config.memory_floor = options.memory_floor;
        config.weight = options.weight;
        config.processors = options.processors;
        config.priority = static_cast<std::int32_t>(options.priority);
        const char* device = options.device.empty() ? nullptr : options.device.c_str();
        detail::check(cw_tenant_open(id.c_str(), device, &config, &tenant_));
        owned_ = true;
    }

    // The open tenant with this id, which goes on living when this object ends.
    static Tenant find(const std::string& id) {
        cw_tenant* raw = nullptr;
        detail::check(cw_tenant_find(id.c_str(), &raw));
        return Tenant(raw, false);
    }

    Tenant(Tenant&& other) noexcept
        : tenant_(std::exchange(other.tenant_, nullptr)), owned_(std::exchange(other.owned_, false)) {}
    Tenant& operator=(Tenant&& other) noexcept {
        std::swap(tenant_, other.tenant_);
        std::swap(owned_, other.owned_);
        return *this;
    }
    Tenant(const Tenant&) = delete;
    Tenant& operator=(const Tenant&) = delete;
    ~Tenant() {
        if (owned_) {
            static_cast<void>(cw_tenant_close(tenant_, nullptr));
        } else {
            static_cast<void>(cw_tenant_free(tenant_));
        }
    }

    // Closes it now. Returns the bytes that were still allocated; they go back to the device all the same.
    std::uint64_t close() {
        std::uint64_t leaked = 0;
        detail::check(cw_tenant_close(tenant_, &leaked));
        tenant_ = nullptr;
        owned_ = false;
        return leaked;
    }

    // Memory of this tenant; throws Error with status CW_ERROR_QUOTA_EXCEEDED beyond its limit. `tag` names it in reports.
    Buffer allocate(std::uint64_t bytes, const std::string& tag = {}) {
        void* pointer = nullptr;
        detail::check(cw_memory_alloc(tenant_, bytes, tag.empty() ? nullptr : tag.c_str(), &pointer));
        return Buffer(tenant_, pointer, bytes);
    }

    // Copies between host memory and memory of this tenant, in any direction, and waits.
    void copy(void* destination, const void* source, std::uint64_t bytes) {
        detail::check(cw_memory_copy(tenant_, destination, source, bytes, 0));
    }

    // The same, queued: both ranges must stay valid until the stream has run it.
    void copy(void* destination, const void* source, std::uint64_t bytes, const Stream& stream) {
        detail::check(cw_memory_copy(tenant_, destination, source, bytes, stream.id()));
    }

    // Sets bytes of this tenant's memory to `value` and waits.
    void fill(void* destination, std::uint8_t value, std::uint64_t bytes) {
        detail::check(cw_memory_fill(tenant_, destination, value, bytes, 0));
    }

    // A stream on this tenant's node. Lower priority runs first; 0 is normal.
    Stream stream(std::int32_t priority = 0) {
        std::uint64_t id = 0;
        detail::check(cw_stream_create(tenant_, priority, &id));
        return Stream(tenant_, id);
    }

    // A free node of the device's ladder becomes this tenant's, in addition to those that it was given.
    void take_node(std::uint32_t node) { detail::check(cw_node_take(tenant_, node)); }

    // Makes a node of so many cores or SMs (a GPU rounds up to whole groups) for this tenant; returns its id.
    std::uint32_t make_node(std::uint32_t processors) {
        std::uint32_t node = 0;
        detail::check(cw_node_make(tenant_, processors, &node));
        return node;
    }

    void give_node_back(std::uint32_t node) { detail::check(cw_node_give_back(tenant_, node)); }

    // Runs `work` as a task on a thread of Cogniware. An exception ends the task as failed with its text, nothing else.
    Task schedule(std::function<void(TaskContext&)> work, const TaskOptions& options = {}) {
        if (!work) {
            throw Error(CW_ERROR_INVALID_ARGUMENT, "argument `work`: is empty");
        }
        cw_task_config config{};
        detail::check(cw_task_config_default(&config));
        config.id = options.id.empty() ? nullptr : options.id.c_str();
        config.priority = static_cast<std::int32_t>(options.priority);
        config.cores = options.cores;
        config.memory = options.memory;
        cw_task* task = nullptr;
        detail::check(cw_task_schedule(tenant_, &config, detail::TaskCallback::run,
                                       detail::task_user_data(std::move(work)), detail::TaskCallback::drop, &task));
        return Task(task);
    }

    Task schedule(std::function<void()> work, const TaskOptions& options = {}) {
        std::function<void(TaskContext&)> with_context;
        if (work) {
            with_context = [work = std::move(work)](TaskContext&) { work(); };
        }
        return schedule(std::move(with_context), options);
    }

    // The figures now: bytes and nanoseconds.
    cw_usage usage() const {
        cw_usage usage{};
        usage.struct_size = sizeof usage;
        detail::check(cw_tenant_usage(tenant_, &usage));
        return usage;
    }

    // What is allocated, as JSON: address, bytes, tag and age_ms of each, oldest first.
    std::string allocations() const {
        return detail::read_text([this](char* buffer, std::size_t length, std::size_t* needed) {
            return cw_tenant_allocations(tenant_, buffer, length, needed);
        });
    }

    void set_memory_limit(std::uint64_t bytes) { detail::check(cw_tenant_set_memory_limit(tenant_, bytes)); }
    void set_weight(double weight) { detail::check(cw_tenant_set_weight(tenant_, weight)); }
    void set_priority(Priority priority) {
        detail::check(cw_tenant_set_priority(tenant_, static_cast<std::int32_t>(priority)));
    }

    cw_tenant* get() const noexcept { return tenant_; }

private:
    Tenant(cw_tenant* tenant, bool owned) noexcept : tenant_(tenant), owned_(owned) {}

    cw_tenant* tenant_ = nullptr;
    bool owned_ = false;
};

}  // namespace cogniware

#endif
