// AdvancedCustomizedDriver.
#include "core/customized_kernel.h"
#include "harness.hpp"
#include "rig.hpp"

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include <unistd.h>

namespace fs = std::filesystem;

namespace {

// A driver manager that is initialised.
class Driver {
public:
    Driver() { CHECK(driver_->initialize()); }
    ~Driver() { driver_->shutdown(); }
    Driver(const Driver&) = delete;
    Driver& operator=(const Driver&) = delete;
    AdvancedCustomizedDriver* operator->() const { return driver_.get(); }
    bool on_gpu() const { return driver_->getKernel()->getCurrentDevice().computeCapability > 0; }

private:
    std::shared_ptr<AdvancedCustomizedDriver> driver_ = std::make_shared<AdvancedCustomizedDriver>();
};

// An empty folder in which a driver is installed; gone at the end.
class Root {
public:
    Root() : path_(fs::temp_directory_path() / ("cogniware_root_" + std::to_string(::getpid()))) {
        fs::remove_all(path_);
        fs::create_directories(path_);
        ::setenv("COGNIWARE_INSTALL_ROOT", path_.c_str(), 1);
    }
    ~Root() {
        ::unsetenv("COGNIWARE_INSTALL_ROOT");
        std::error_code ignored;
        fs::remove_all(path_, ignored);
    }
    std::size_t files() const {
        std::size_t count = 0;
        for (const auto& entry : fs::recursive_directory_iterator(path_)) {
            count += entry.is_regular_file() ? 1 : 0;
        }
        return count;
    }
    const fs::path& path() const { return path_; }

private:
    fs::path path_;
};

}  // namespace

METHOD(AdvancedCustomizedDriver, initialize) {
    AdvancedCustomizedDriver driver;
    CHECK(driver.getKernel() == nullptr && driver.initialize() && driver.getKernel() != nullptr && driver.initialize());
}

METHOD(AdvancedCustomizedDriver, shutdown) {
    AdvancedCustomizedDriver driver;
    CHECK(driver.initialize());
    driver.shutdown();
    CHECK(driver.getKernel() == nullptr && driver.getDriverInfo()["driver_initialized"] == "false");
}

METHOD(AdvancedCustomizedDriver, getKernel) {
    const Driver driver;
    const auto kernel = driver->getKernel();
    CHECK(kernel != nullptr && kernel->isInitialized() && !kernel->getAvailableDevices().empty());
}

METHOD(AdvancedCustomizedDriver, loadKernelModule) {
    const Driver driver;
    CHECK(!driver->loadKernelModule("/path/to/module.ko"));
    CHECK(cogniware::last_error().find("/path/to/module.ko") != std::string::npos);
    const fs::path file = fs::temp_directory_path() / ("cogniware_no_module_" + std::to_string(::getpid()) + ".ko");
    std::ofstream(file) << "this is no ELF file at all, only text that somebody renamed";
    CHECK(!driver->loadKernelModule(file.string()) && cogniware::last_error().find("neither") != std::string::npos);
    fs::remove(file);
    const fs::path image = fs::temp_directory_path() / ("cogniware_module_" + std::to_string(::getpid()) + ".ptx");
    std::ofstream(image) << ".version 7.0\n.target sm_52\n.address_size 64\n.visible .entry nothing() { ret; }\n";
    const bool loaded = driver->loadKernelModule(image.string());
    fs::remove(image);
    CHECK(loaded == driver.on_gpu());
    if (loaded) {
        CHECK(driver->unloadKernelModule());
    }
}

METHOD(AdvancedCustomizedDriver, unloadKernelModule) {
    const Driver driver;
    CHECK(!driver->unloadKernelModule() && !cogniware::last_error().empty());
}

METHOD(AdvancedCustomizedDriver, bypassStandardDriver) {
    const Driver driver;
    CHECK(driver->disableDirectHardwareAccess());
    const auto standard = driver->getDriverInfo();
    CHECK(driver->bypassStandardDriver());
    const auto direct = driver->getDriverInfo();
    CHECK(standard.at("device.0.path") == "standard" && direct.at("device.0.path") == "direct");
}

METHOD(AdvancedCustomizedDriver, enableDirectHardwareAccess) {
    const Driver driver;
    CHECK(driver->disableDirectHardwareAccess() && driver->enableDirectHardwareAccess());
    CHECK(driver->getDriverInfo()["device.0.path"] == "direct");
}

METHOD(AdvancedCustomizedDriver, disableDirectHardwareAccess) {
    const Driver driver;
    CHECK(driver->disableDirectHardwareAccess() && driver->getDriverInfo()["device.0.path"] == "standard");
    const auto kernel = driver->getKernel();
    void* memory = kernel->allocateMemory(1 << 20, "standard");
    CHECK(memory != nullptr && kernel->deallocateMemory(memory));
    CHECK(driver->enableDirectHardwareAccess());
}

METHOD(AdvancedCustomizedDriver, optimizeForMultipleLLMs) {
    const Driver driver;
    const auto kernel = driver->getKernel();
    CHECK(driver->optimizeForSingleLLM());
    const auto before = kernel->getAvailableComputeNodes();
    CHECK(driver->optimizeForMultipleLLMs());
    const auto after = kernel->getAvailableComputeNodes();
    CHECK(before.size() != after.size() || before[0].allocatedCores != after[0].allocatedCores);
}

METHOD(AdvancedCustomizedDriver, enableTensorCoreOptimization) {
    const Driver driver;
    const bool enabled = driver->enableTensorCoreOptimization();
    CHECK(enabled || !cogniware::last_error().empty());
    CHECK(enabled || !driver.on_gpu());
}

METHOD(AdvancedCustomizedDriver, enableMemoryOptimization) {
    const Driver driver;
    CHECK(driver->disableMemoryOptimization());
    const auto off = driver->getDriverInfo();
    CHECK(driver->enableMemoryOptimization());
    CHECK(driver->getDriverInfo() != off);
}

METHOD(AdvancedCustomizedDriver, getDriverInfo) {
    const Driver driver;
    const auto info = driver->getDriverInfo();
    CHECK(info.at("driver_initialized") == "true" && !info.at("device.0.name").empty() && !info.at("version").empty());
}

METHOD(AdvancedCustomizedDriver, getPerformanceStats) {
    const Driver driver;
    const auto kernel = driver->getKernel();
    const auto before = driver->getPerformanceStats();
    const auto sent = numbers(1 << 18);
    void* memory = kernel->allocateMemory(bytes(sent), "stats");
    CHECK(kernel->copyMemory(memory, sent.data(), bytes(sent)));
    CHECK(!before.empty() && driver->getPerformanceStats() != before);
}

METHOD(AdvancedCustomizedDriver, runDiagnostics) {
    const Driver driver;
    CHECK(driver->runDiagnostics());
    const auto results = driver->getDiagnosticResults();
    CHECK(mentions(results, "isolation") && mentions(results, "seconds"));
}

METHOD(AdvancedCustomizedDriver, patchKernelModule) {
    const Root root;
    const Driver driver;
    CHECK(!driver->patchKernelModule() && driver->setInstallConfiguration({{"profiling_for_all", "true"}}));
    CHECK(driver->patchKernelModule());
    bool options = false;
    for (const auto& entry : fs::recursive_directory_iterator(root.path())) {
        if (entry.is_regular_file() && entry.path().string().find("modprobe.d") != std::string::npos) {
            std::ifstream file(entry.path());
            const std::string text((std::istreambuf_iterator<char>(file)), {});
            options = options || text.find("options nvidia") != std::string::npos;
        }
    }
    CHECK(options);
}

METHOD(AdvancedCustomizedDriver, installCustomDriver) {
    const Root root;
    const Driver driver;
    CHECK(driver->setInstallConfiguration({{"load_modules", "nvidia"}}));
    CHECK(driver->installCustomDriver() && root.files() >= 2 && driver->verifyDriverInstallation());
}

METHOD(AdvancedCustomizedDriver, uninstallCustomDriver) {
    const Root root;
    const Driver driver;
    CHECK(driver->setInstallConfiguration({{"profiling_for_all", "true"}}));
    fs::create_directories(root.path() / "etc/modprobe.d");
    std::ofstream(root.path() / "etc/modprobe.d/cogniware.conf") << "# was here before\n";
    CHECK(driver->installCustomDriver() && driver->uninstallCustomDriver() && root.files() == 1);
    std::ifstream file(root.path() / "etc/modprobe.d/cogniware.conf");
    const std::string text((std::istreambuf_iterator<char>(file)), {});
    CHECK(text == "# was here before\n" && !driver->uninstallCustomDriver());
}

METHOD(AdvancedCustomizedDriver, verifyDriverInstallation) {
    const Root root;
    const Driver driver;
    CHECK(!driver->verifyDriverInstallation() && driver->setInstallConfiguration({{"load_modules", "nvidia"}}));
    CHECK(driver->installCustomDriver() && driver->verifyDriverInstallation());
    std::ofstream(root.path() / "etc/modules-load.d/cogniware.conf", std::ios::app) << "another\n";
    CHECK(!driver->verifyDriverInstallation());
    CHECK(cogniware::last_error().find("etc/modules-load.d/cogniware.conf") != std::string::npos);
}

METHOD(AdvancedCustomizedDriver, getSupportedGPUs) {
    const Driver driver;
    const auto supported = driver->getSupportedGPUs();
    CHECK(!supported.empty() && supported.back().find("sm_") == 0);
}

METHOD(AdvancedCustomizedDriver, enableNVLinkOptimization) {
    const Driver driver;
    std::size_t gpus = 0;
    for (const auto& device : driver->getKernel()->getAvailableDevices()) {
        gpus += device.computeCapability > 0 ? 1 : 0;
    }
    const bool enabled = driver->enableNVLinkOptimization();
    CHECK(enabled || !cogniware::last_error().empty());
    CHECK(!enabled || gpus > 1);
    if (enabled) {
        CHECK(driver->disableNVLinkOptimization());
    }
}

METHOD(AdvancedCustomizedDriver, enableAsyncMemoryTransfers) {
    const Driver driver;
    const auto kernel = driver->getKernel();
    CHECK(driver->enableAsyncMemoryTransfers());
    const auto sent = numbers(1 << 20);
    void* memory = kernel->allocateMemory(bytes(sent), "async");
    cudaStream_t stream = kernel->createStream("async");
    std::vector<std::uint32_t> back(sent.size());
    for (int round = 0; round < 20; ++round) {
        CHECK(kernel->copyMemoryAsync(memory, sent.data() + round, bytes(sent) - 128, stream));
        CHECK(kernel->copyMemoryAsync(back.data(), memory, bytes(sent) - 128, stream));
        CHECK(kernel->synchronizeStream(stream) && back[0] == sent[static_cast<std::size_t>(round)]);
    }
    CHECK(driver->disableAsyncMemoryTransfers());
}
