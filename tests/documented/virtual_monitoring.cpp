// Monitoring of CUDAVirtualizationDriver.
#include "virtual_rig.hpp"

#include <atomic>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <memory>
#include <stdexcept>
#include <thread>

#include <unistd.h>

namespace {

template <class Done>
bool within_seconds(int seconds, Done&& done) {
    const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
    while (!done()) {
        if (std::chrono::steady_clock::now() > until) {
            return false;
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    return true;
}

std::string content(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(file), {});
}

// Counts how many of it there are.
struct Counted {
    explicit Counted(std::shared_ptr<std::atomic<int>> counter) : there(std::move(counter)) { ++*there; }
    Counted(const Counted& other) : there(other.there) { ++*there; }
    Counted& operator=(const Counted&) = delete;
    ~Counted() { --*there; }
    std::shared_ptr<std::atomic<int>> there;
};

}  // namespace

METHOD(CUDAVirtualizationDriver, getDeviceUsage) {
    CHECK(CUDAVirtualizationDriver::getInstance().getDeviceUsage().device.empty());
    const Virtual all;
    all.create(1);
    const auto before = all.driver.getDeviceUsage();
    CHECK(!before.device.empty() && before.numProcessors > 0 && before.memoryTotal >= before.memoryUsed);
    const std::vector<float> values(64 * 64, 1.0F);
    float* a = all.upload(1, values);
    float* b = all.upload(1, values);
    float* c = all.upload(1, values);
    for (int i = 0; i < 50; ++i) {
        CHECK(all.driver.matrixMultiply(1, a, b, c, 64, 64, 64, CUDA_R_32F, 0));
    }
    CHECK(all.driver.synchronize(1));
    CHECK(within_seconds(10, [&] {
        const auto now = all.driver.getDeviceUsage();
        return now.tenantsBusySeconds > before.tenantsBusySeconds &&
               now.tenantsProcessorSeconds > before.tenantsProcessorSeconds && now.tenantsUtilization > 0.0F;
    }));
    CHECK(within_seconds(10, [&] { return all.driver.getVirtualGPUInfo(1).compute.latencyP99Ms > 0.0; }));
    const auto compute = all.driver.getVirtualGPUInfo(1).compute;
    CHECK(compute.gotShare > 0.0F && compute.latencyP50Ms <= compute.latencyP99Ms && compute.latencyMeanMs > 0.0);
}

METHOD(CUDAVirtualizationDriver, setMonitoringCallback) {
    const Virtual all;
    all.create(3);
    std::atomic<int> calls{0};
    const auto there = std::make_shared<std::atomic<int>>(0);
    const Counted counted(there);
    const auto count = [&calls, counted](const std::vector<VirtualGPUInfo>& infos) {
        calls += infos.size() == 1 && infos[0].virtualGPUId == 3 ? 1 : 0;
        throw std::runtime_error("stays inside");
    };
    const int mine = *there;
    CHECK(!all.driver.setMonitoringCallback(1, count) && refused(CW_ERROR_INVALID_ARGUMENT, "intervalMs"));
    CHECK(!all.driver.setMonitoringCallback(-5, count) && *there == mine);
    CHECK(all.driver.setMonitoringCallback(10, count));
    CHECK(within_seconds(30, [&] { return calls >= 3; }));
    // Replaced: the first has had its last call and is gone.
    std::atomic<int> others{0};
    CHECK(all.driver.setMonitoringCallback(10, [&](const std::vector<VirtualGPUInfo>&) { ++others; }));
    CHECK(*there == mine);
    const int last = calls;
    CHECK(within_seconds(30, [&] { return others >= 2; }) && calls == last);
    CHECK(all.driver.setMonitoringCallback(0, nullptr));
    const int ended = others;
    std::this_thread::sleep_for(std::chrono::milliseconds(40));
    CHECK(others == ended);
    // Ended by itself, and by the end of the driver.
    CHECK(all.driver.setMonitoringCallback(10, [&](const std::vector<VirtualGPUInfo>&) {
        ++others;
        all.driver.setMonitoringCallback(0, nullptr);
    }));
    CHECK(within_seconds(30, [&] { return others > ended; }));
    std::this_thread::sleep_for(std::chrono::milliseconds(40));
    CHECK(others == ended + 1);
    CHECK(all.driver.setMonitoringCallback(10, count));
    all.driver.shutdown();
    CHECK(*there == mine && !all.driver.setMonitoringCallback(10, count));
    CHECK(refused(CW_ERROR_NOT_INITIALIZED, "driver"));
}

METHOD(CUDAVirtualizationDriver, publishMetrics) {
    const Virtual all;
    all.create(4);
    const std::string path = "/tmp/cogniware-" + std::to_string(getpid()) + ".prom";
    CHECK(!all.driver.publishMetrics("/nowhere/at/all.prom", 100) && refused(CW_ERROR_NOT_FOUND, "/nowhere/at/all.prom"));
    CHECK(!all.driver.publishMetrics(path, 0) && refused(CW_ERROR_INVALID_ARGUMENT, "intervalMs"));
    CHECK(all.driver.publishMetrics(path, 20));
    const std::string first = content(path);
    CHECK(first.find("cogniware_vgpu_info{tenant=\"vgpu:4\"") != std::string::npos);
    CHECK(within_seconds(30, [&] { return content(path) != first; }));
    CHECK(all.driver.exportPrometheus().find("cogniware_tenant_memory_limit_bytes{tenant=\"vgpu:4\"}") !=
          std::string::npos);
    CHECK(all.driver.stopPublishing() && all.driver.stopPublishing());
    const std::string last = content(path);
    std::this_thread::sleep_for(std::chrono::milliseconds(60));
    CHECK(content(path) == last && std::remove(path.c_str()) == 0);
}

METHOD(CUDAVirtualizationDriver, exportPrometheus) {
    const Virtual all;
    all.create(3);
    const std::string text = all.driver.exportPrometheus();
    CHECK(text.find("cogniware_tenant_memory_limit_bytes{tenant=\"vgpu:3\"} 67108864\n") != std::string::npos);
    CHECK(text.find("# TYPE cogniware_vgpu_info gauge\n") != std::string::npos);
}

METHOD(CUDAVirtualizationDriver, stopPublishing) {
    const Virtual all;
    const std::string path = "/tmp/cogniware-stop-" + std::to_string(getpid()) + ".prom";
    CHECK(all.driver.publishMetrics(path, 3600 * 1000) && std::remove(path.c_str()) == 0);
    // Written once more.
    CHECK(all.driver.stopPublishing() && !content(path).empty() && std::remove(path.c_str()) == 0);
    CHECK(all.driver.stopPublishing() && content(path).empty());
}
