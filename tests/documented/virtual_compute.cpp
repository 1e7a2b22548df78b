// ComputeVirtualizationManager.
#include "virtual_rig.hpp"

#include <atomic>
#include <cmath>
#include <thread>

namespace {

bool on_cpu(const Virtual& all, int id) { return all.driver.getVirtualGPUInfo(id).device == "cpu:0"; }

// A built-in kernel that adds 1 to each of `count` numbers, `times` times over.
KernelConfig add(float* memory, std::uint64_t count, std::uint64_t times) {
    KernelConfig kernel;
    kernel.kernelName = "iterate";
    kernel.arguments = {memory, count, 1.0F, 1.0F, times};
    return kernel;
}

constexpr std::uint64_t ENDLESS = 1ULL << 40;

}  // namespace

METHOD(ComputeVirtualizationManager, getInstance) {
    CHECK(&ComputeVirtualizationManager::getInstance() == &ComputeVirtualizationManager::getInstance());
}

METHOD(ComputeVirtualizationManager, initialize) {
    auto& manager = ComputeVirtualizationManager::getInstance();
    CHECK(!manager.createVirtualComputeUnit(1) && refused(CW_ERROR_NOT_INITIALIZED, "compute virtualization"));
    ComputeVirtualizationConfig config;
    config.maxVirtualComputeUnits = 0;
    CHECK(!manager.initialize(config) && refused(CW_ERROR_INVALID_ARGUMENT, "maxVirtualComputeUnits"));
    config.maxVirtualComputeUnits = 1;
    CHECK(manager.initialize(config) && manager.isInitialized() && manager.createVirtualComputeUnit(1));
    CHECK(!manager.createVirtualComputeUnit(2) && refused(CW_ERROR_QUOTA_EXCEEDED, "maxVirtualComputeUnits"));
    manager.shutdown();
}

METHOD(ComputeVirtualizationManager, shutdown) {
    const Virtual all;
    CHECK(all.compute.createVirtualComputeUnit(4));
    all.compute.shutdown();
    CHECK(!all.compute.isInitialized() && all.driver.getVirtualGPUStatus(4) == VirtualGPUStatus::NOT_CREATED);
}

METHOD(ComputeVirtualizationManager, createVirtualComputeUnit) {
    const Virtual all;
    VirtualComputeUnitConfig config;
    config.numComputeUnits = 1 << 20;  // more than there are: all of them
    config.numStreams = 3;
    config.computeShare = 0.25F;
    config.computeCap = 0.5F;
    CHECK(all.compute.createVirtualComputeUnit(1, config));
    CHECK(!all.compute.createVirtualComputeUnit(1, config) && refused(CW_ERROR_ALREADY_EXISTS, "virtual GPU 1"));
    const auto info = all.compute.getVirtualComputeUnitInfo(1);
    CHECK(info.numStreams == 3 && info.computeShare == 0.25F && info.computeCap == 0.5F && info.dueShare == 1.0F);
    CHECK(info.requestedComputeUnits == 1 << 20 && info.numComputeUnits > 0 && info.numComputeUnits < 1 << 20);
    config.computeShare = 2.0F;
    CHECK(!all.compute.createVirtualComputeUnit(2, config) && refused(CW_ERROR_INVALID_ARGUMENT, "computeShare"));
}

METHOD(ComputeVirtualizationManager, destroyVirtualComputeUnit) {
    const Virtual all;
    all.create(1);
    float* const memory = all.upload(1, std::vector<float>(1 << 16, 0.0F));
    CHECK(all.compute.executeKernel(1, add(memory, 1 << 16, ENDLESS)));
    CHECK(all.compute.executeKernel(1, add(memory, 1 << 16, 1)));
    CHECK(all.compute.destroyVirtualComputeUnit(1));
    CHECK(!all.compute.destroyVirtualComputeUnit(1) && refused(CW_ERROR_NOT_FOUND, "compute unit"));
    CHECK(!all.compute.executeKernel(1, add(memory, 1 << 16, 1)) && refused(CW_ERROR_NOT_FOUND, "compute unit"));
    CHECK(all.driver.freeMemory(1, memory) && all.compute.createVirtualComputeUnit(1));
}

METHOD(ComputeVirtualizationManager, getVirtualComputeUnitInfo) {
    const Virtual all;
    all.create(1);
    float* const memory = all.upload(1, std::vector<float>(1 << 20, 0.0F));
    CHECK(all.compute.executeKernel(1, add(memory, 1 << 20, 10)) && all.compute.synchronize(1, 0));
    const auto info = all.compute.getVirtualComputeUnitInfo(1);
    CHECK(info.virtualGPUId == 1 && info.launches >= 1 && info.deviceSeconds > 0.0 && info.pending == 0);
    CHECK(info.processorSeconds >= info.deviceSeconds && info.computeUtilization > 0.0F && info.busyStreams == 0);
    CHECK(all.driver.getVirtualGPUInfo(1).computeUtilization > 0.0F);
    CHECK(all.compute.getVirtualComputeUnitInfo(2).virtualGPUId == -1 && refused(CW_ERROR_NOT_FOUND, "virtual GPU 2"));
}

METHOD(ComputeVirtualizationManager, getStreams) {
    const Virtual all;
    all.create(1);
    const auto streams = all.compute.getStreams(1);
    CHECK(streams.size() == 2 && (streams[0] == nullptr) == on_cpu(all, 1));
    CHECK(all.compute.getStreams(2).empty());
}

METHOD(ComputeVirtualizationManager, executeKernel) {
    const Virtual all;
    all.create(1);
    float* const memory = all.upload<float>(1, {1, 2, 3, 4});
    int id = 0;
    CHECK(all.compute.executeKernel(1, add(memory, 4, 3), 1, &id) && id > 0 && all.compute.synchronize(1, 1));
    CHECK(all.download(1, memory, 4) == (std::vector<float>{4, 5, 6, 7}));
    KernelConfig kernel;
    kernel.kernelName = "matrix_multiply";
    kernel.gridDim = dim3(32, 32);
    kernel.blockDim = dim3(16, 16);
    CHECK(!all.compute.executeKernel(1, kernel) && refused(CW_ERROR_INVALID_ARGUMENT, "arguments"));
    float* const c = all.upload(1, std::vector<float>(4, 0.0F));
    kernel.arguments = {memory, memory, c, 2, 2, 2, CUDA_R_32F};
    CHECK(all.compute.executeKernel(1, kernel) && all.compute.synchronize(1));
    CHECK(all.download(1, c, 4) == (std::vector<float>{46, 55, 66, 79}));
    kernel.arguments[3] = 2.0F;
    CHECK(!all.compute.executeKernel(1, kernel) && refused(CW_ERROR_INVALID_ARGUMENT, "`m`"));
    kernel.blockDim = dim3(64, 64);
    kernel.arguments[3] = 2;
    CHECK(!all.compute.executeKernel(1, kernel) && refused(CW_ERROR_INVALID_ARGUMENT, "blockDim"));
    kernel.kernelName = "matrix_multiplication";
    CHECK(!all.compute.executeKernel(1, kernel) && refused(CW_ERROR_NOT_FOUND, "matrix_multiply"));
    CHECK(!all.compute.executeKernel(1, add(memory, 4, 1), 5) && refused(CW_ERROR_INVALID_ARGUMENT, "streamId"));
    CHECK(!all.compute.executeKernel(1, add(nullptr, 4, 1)) && refused(CW_ERROR_INVALID_ARGUMENT, "`x`"));
}

METHOD(ComputeVirtualizationManager, getLastExecutionId) {
    const Virtual all;
    all.create(1);
    float* const memory = all.upload<float>(1, {1});
    int id = 0;
    CHECK(all.compute.getLastExecutionId(1) == 0 && all.compute.getLastExecutionId(2) == -1);
    CHECK(all.compute.executeKernel(1, add(memory, 1, 1), 0, &id) && all.compute.getLastExecutionId(1) == id);
}

METHOD(ComputeVirtualizationManager, getExecutionStatus) {
    const Virtual all;
    all.create(1);
    float* const memory = all.upload<float>(1, {1});
    int id = 0;
    CHECK(all.compute.executeKernel(1, add(memory, 1, 1), 1, &id) && all.compute.synchronize(1));
    const ExecutionStatus status = all.compute.getExecutionStatus(1, id);
    CHECK(status.executionId == id && status.streamId == 1 && status.state == ExecutionState::FINISHED);
    CHECK(all.compute.getExecutionStatus(1, id + 7).executionId == -1 && refused(CW_ERROR_NOT_FOUND, "execution"));
}

METHOD(ComputeVirtualizationManager, waitForExecution) {
    const Virtual all;
    all.create(1);
    float* const memory = all.upload(1, std::vector<float>(1 << 16, 0.0F));
    int id = 0;
    CHECK(all.compute.executeKernel(1, add(memory, 1 << 16, ENDLESS), 0, &id));
    CHECK(all.compute.waitForExecution(1, id, 20.0).state != ExecutionState::FINISHED);
    CHECK(all.compute.cancelKernel(1, id));
    CHECK(all.compute.waitForExecution(1, id).state == ExecutionState::CANCELLED);
}

METHOD(ComputeVirtualizationManager, cancelKernel) {
    const Virtual all;
    all.create(1);
    float* const memory = all.upload(1, std::vector<float>(1 << 16, 0.0F));
    int running = 0;
    int queued = 0;
    CHECK(all.compute.executeKernel(1, add(memory, 1 << 16, ENDLESS), 0, &running));
    CHECK(all.compute.executeKernel(1, add(memory, 1 << 16, ENDLESS), 0, &queued));
    CHECK(all.compute.cancelKernel(1, queued) && all.compute.cancelKernel(1, running));
    CHECK(all.compute.waitForExecution(1, running).state == ExecutionState::CANCELLED);
    CHECK(all.compute.waitForExecution(1, queued).state == ExecutionState::CANCELLED);
    CHECK(!all.compute.cancelKernel(1, running) && refused(CW_ERROR_NOT_FOUND, "ended already: cancelled"));
    CHECK(!all.compute.cancelKernel(1, 12345) && refused(CW_ERROR_NOT_FOUND, "12345"));
}

METHOD(ComputeVirtualizationManager, setKernelTimeout) {
    const Virtual all;
    all.create(1);
    float* const memory = all.upload(1, std::vector<float>(1 << 16, 0.0F));
    CHECK(all.compute.setKernelTimeout(1, 20.0));
    int id = 0;
    CHECK(all.compute.executeKernel(1, add(memory, 1 << 16, ENDLESS), 0, &id));
    const ExecutionStatus status = all.compute.waitForExecution(1, id);
    CHECK(status.state == ExecutionState::TIMED_OUT && status.status == CW_ERROR_TIMEOUT && !status.error.empty());
    CHECK(all.compute.setKernelTimeout(1, 0.0) && !all.compute.setKernelTimeout(1, -1.0));
    CHECK(refused(CW_ERROR_INVALID_ARGUMENT, "timeout"));
}

METHOD(ComputeVirtualizationManager, synchronize) {
    const Virtual all;
    all.create(1);
    float* const memory = all.upload(1, std::vector<float>(1 << 20, 0.0F));
    CHECK(all.compute.executeKernel(1, add(memory, 1 << 20, 100), 1) && all.compute.synchronize(1, 1));
    CHECK(all.download(1, memory, 1)[0] == 100.0F && all.compute.synchronize(1));
    CHECK(!all.compute.synchronize(1, -1) && refused(CW_ERROR_INVALID_ARGUMENT, "streamId"));
}

METHOD(ComputeVirtualizationManager, loadKernelModule) {
    const Virtual all;
    all.create(1);
    const std::string ptx =
        ".version 7.0\n.target sm_70\n.address_size 64\n.visible .entry twice(.param .u64 x)\n{\n.reg .f32 %f<2>;\n"
        ".reg .b32 %r<2>;\n.reg .b64 %a<4>;\nld.param.u64 %a1, [x];\ncvta.to.global.u64 %a2, %a1;\nmov.u32 %r1, "
        "%tid.x;\n"
        "mul.wide.u32 %a3, %r1, 4;\nadd.s64 %a3, %a2, %a3;\nld.global.f32 %f1, [%a3];\nadd.f32 %f1, %f1, %f1;\n"
        "st.global.f32 [%a3], %f1;\nret;\n}\n";
    CHECK(!all.compute.loadKernelModule(1, "m", ptx.data(), 0) && refused(CW_ERROR_INVALID_ARGUMENT, "size"));
    CHECK(!all.compute.loadKernelModule(1, "m", "/no/such/file") && refused(CW_ERROR_NOT_FOUND, "/no/such/file"));
    const bool on_host = on_cpu(all, 1);
    const bool loaded = all.compute.loadKernelModule(1, "m", ptx.data(), ptx.size());
    if (on_host) {
        CHECK(!loaded && refused(CW_ERROR_UNSUPPORTED, "CUDA device"));
        return;
    }
    CHECK(loaded);
    float* const memory = all.upload<float>(1, {1, 2, 3, 4});
    KernelConfig kernel;
    kernel.kernelName = "twice";
    kernel.blockDim = dim3(4);
    kernel.arguments = {memory};
    CHECK(all.compute.executeKernel(1, kernel) && all.compute.synchronize(1));
    CHECK(all.download(1, memory, 4) == (std::vector<float>{2, 4, 6, 8}));
    kernel.arguments.push_back(1);
    CHECK(!all.compute.executeKernel(1, kernel) && refused(CW_ERROR_INVALID_ARGUMENT, "arguments"));
}

METHOD(ComputeVirtualizationManager, compileKernel) {
    const Virtual all;
    all.create(1);
    cogniware::CompileOptions options;
    options.nameExpressions = {"scale<float>"};
    options.headers = {{"by.h", "#define BY 3\n"}};
    const bool on_host = on_cpu(all, 1);
    const bool compiled = all.compute.compileKernel(
        1, "scales", "#include \"by.h\"\ntemplate <class T> __global__ void scale(T* x) { x[threadIdx.x] *= BY; }",
        options);
    if (on_host) {
        CHECK(!compiled && refused(CW_ERROR_UNSUPPORTED, "CUDA device"));
        return;
    }
    if (!compiled && cw_last_status() == CW_ERROR_UNSUPPORTED) {
        skip("NVRTC is not installed: " + cogniware::last_error());
    }
    CHECK(compiled);
    float* const memory = all.upload<float>(1, {1, 2});
    KernelConfig kernel;
    kernel.kernelName = "scale<float>";
    kernel.blockDim = dim3(2);
    kernel.arguments = {memory};
    CHECK(all.compute.executeKernel(1, kernel) && all.compute.synchronize(1));
    CHECK(all.download(1, memory, 2) == (std::vector<float>{3, 6}));
    CHECK(!all.compute.compileKernel(1, "bad", "__global__ void f() { nonsense; }"));
    CHECK(refused(CW_ERROR_FORMAT, "nonsense"));
}

METHOD(ComputeVirtualizationManager, unloadKernelModule) {
    const Virtual all;
    all.create(1);
    CHECK(!all.compute.unloadKernelModule(1, "none") && refused(CW_ERROR_NOT_FOUND, "none"));
}

METHOD(ComputeVirtualizationManager, registerKernel) {
    const Virtual all;
    all.create(1);
    std::atomic<int> blocks{0};
    const std::vector<KernelParameter> parameters = {KernelParameter::POINTER, KernelParameter::I32};
    const auto function = [&](const HostLaunch& launch, const std::vector<KernelArgument>& arguments) {
        auto* const numbers = static_cast<int*>(arguments[0].pointer());
        numbers[launch.blockIdx.x] += arguments[1].as<int>();
        ++blocks;
        if (arguments[1].as<int>() < 0) {
            throw std::runtime_error("negative");
        }
    };
    CHECK(all.compute.registerKernel(1, "add_to", parameters, function));
    CHECK(!all.compute.registerKernel(1, "add_to", parameters, function) && refused(CW_ERROR_ALREADY_EXISTS, "add_to"));
    CHECK(!all.compute.registerKernel(1, "none", parameters, nullptr) &&
          refused(CW_ERROR_INVALID_ARGUMENT, "function"));
    int* const memory = all.upload(1, std::vector<int>(8, 1));
    KernelConfig kernel;
    kernel.kernelName = "add_to";
    kernel.gridDim = dim3(8);
    kernel.arguments = {memory, 41};
    if (!on_cpu(all, 1)) {
        CHECK(!all.compute.executeKernel(1, kernel) && refused(CW_ERROR_UNSUPPORTED, "host function"));
        return;
    }
    CHECK(all.compute.executeKernel(1, kernel) && all.compute.synchronize(1) && blocks == 8);
    CHECK(all.download(1, memory, 8) == std::vector<int>(8, 42));
    kernel.arguments[1] = -1;
    CHECK(all.compute.executeKernel(1, kernel) && !all.compute.synchronize(1));
    kernel.arguments[1] = 1.0F;
    CHECK(!all.compute.executeKernel(1, kernel) && refused(CW_ERROR_INVALID_ARGUMENT, "arguments"));
}

METHOD(ComputeVirtualizationManager, unregisterKernel) {
    const Virtual all;
    all.create(1);
    CHECK(all.compute.registerKernel(1, "gone", {}, [](const HostLaunch&, const std::vector<KernelArgument>&) {}));
    CHECK(all.compute.unregisterKernel(1, "gone") && !all.compute.unregisterKernel(1, "gone"));
    CHECK(refused(CW_ERROR_NOT_FOUND, "gone"));
}

METHOD(ComputeVirtualizationManager, getKernels) {
    const Virtual all;
    all.create(1);
    CHECK(all.compute.registerKernel(1, "mine", {}, [](const HostLaunch&, const std::vector<KernelArgument>&) {}));
    const auto kernels = all.compute.getKernels(1);
    CHECK(kernels.at("mine") == "own" && kernels.at("matrix_multiply").find("dataType") != std::string::npos);
    CHECK(all.compute.getKernels(2).empty());
}

METHOD(ComputeVirtualizationManager, setComputeShare) {
    const Virtual all;
    all.create(1);
    all.create(2);
    CHECK(all.compute.setComputeShare(1, 0.75F) && all.compute.getVirtualComputeUnitInfo(1).dueShare == 0.75F);
    CHECK(all.compute.getVirtualComputeUnitInfo(2).dueShare == 0.25F);
    for (const float share : {0.0F, -1.0F, 1.5F, std::nanf("")}) {
        CHECK(!all.compute.setComputeShare(1, share) && refused(CW_ERROR_INVALID_ARGUMENT, "computeShare"));
    }
    CHECK(all.compute.getVirtualComputeUnitInfo(1).computeShare == 0.75F);
}

METHOD(ComputeVirtualizationManager, setComputeCap) {
    const Virtual all;
    all.create(1);
    CHECK(all.compute.setComputeCap(1, 0.5F) && all.compute.getVirtualComputeUnitInfo(1).computeCap == 0.5F);
    CHECK(!all.compute.setComputeCap(1, 1.5F) && refused(CW_ERROR_INVALID_ARGUMENT, "computeCap"));
    CHECK(all.compute.setComputeCap(1, 0.0F) && all.compute.getVirtualComputeUnitInfo(1).computeCap == 0.0F);
}

METHOD(ComputeVirtualizationManager, scaleComputeUnits) {
    const Virtual all;
    all.create(1);
    float* const memory = all.upload(1, std::vector<float>(1 << 12, 0.0F));
    const int before = all.compute.getVirtualComputeUnitInfo(1).numComputeUnits;
    for (int i = 0; i < 40; ++i) {
        CHECK(all.compute.executeKernel(1, add(memory, 1 << 12, 1)));
        CHECK(i != 20 || all.compute.scaleComputeUnits(1, 1));
    }
    CHECK(all.compute.synchronize(1) && all.download(1, memory, 1)[0] == 40.0F);
    CHECK(all.compute.getVirtualComputeUnitInfo(1).numComputeUnits < before || before == 1);
    CHECK(!all.compute.scaleComputeUnits(1, before + 1) && refused(CW_ERROR_INVALID_ARGUMENT, "numComputeUnits"));
    CHECK(!all.compute.scaleComputeUnits(1, -1) && refused(CW_ERROR_INVALID_ARGUMENT, "numComputeUnits"));
    CHECK(all.compute.scaleComputeUnits(1, 0) && all.compute.getVirtualComputeUnitInfo(1).numComputeUnits == before);
}

namespace {

// A product whose terms need more bits than 16-bit inputs have: the largest error.
float rounding(const Virtual& all) {
    const int n = 128;
    const std::vector<float> ones(n * n, 1.0F + 1.0F / 4096);
    const float* const a = all.upload(1, ones);
    float* const c = all.upload(1, std::vector<float>(n * n, 0.0F));
    CHECK(all.driver.matrixMultiply(1, a, a, c, n, n, n, CUDA_R_32F) && all.driver.synchronize(1));
    const float exact = n * (1.0F + 1.0F / 4096) * (1.0F + 1.0F / 4096);
    float error = 0.0F;
    for (const float value : all.download(1, c, n * n)) {
        error = std::max(error, std::fabs(value - exact));
    }
    return error;
}

}  // namespace

METHOD(ComputeVirtualizationManager, enableTensorCores) {
    const Virtual all;
    all.create(1);
    CHECK(all.compute.disableTensorCores(1) && all.compute.enableTensorCores(1));
    CHECK(all.compute.getVirtualComputeUnitInfo(1).tensorCoresEnabled);
    CHECK(rounding(all) < 1e-3F);
    CHECK(!all.compute.enableTensorCores(2) && refused(CW_ERROR_NOT_FOUND, "virtual GPU 2"));
}

METHOD(ComputeVirtualizationManager, disableTensorCores) {
    const Virtual all;
    all.create(1);
    CHECK(all.compute.setPrecision(1, cogniware::Precision::BF16) && all.compute.disableTensorCores(1));
    CHECK(!all.compute.getVirtualComputeUnitInfo(1).tensorCoresEnabled);
    // Without matrix circuits nothing is rounded, whatever is allowed.
    CHECK(rounding(all) < 1e-3F);
}

METHOD(ComputeVirtualizationManager, setPrecision) {
    const Virtual all;
    all.create(1);
    CHECK(rounding(all) < 1e-3F && all.compute.setPrecision(1, cogniware::Precision::BF16));
    CHECK(all.compute.getVirtualComputeUnitInfo(1).precision == cogniware::Precision::BF16);
    // A device without such circuits keeps the bits: a GPU has them from 8.0 on.
    CHECK(rounding(all) > 1e-2F || on_cpu(all, 1));
    CHECK(!all.compute.setPrecision(1, static_cast<cogniware::Precision>(9)));
    CHECK(refused(CW_ERROR_INVALID_ARGUMENT, "precision"));
}

METHOD(ComputeVirtualizationManager, chooseComputeUnit) {
    const Virtual all;
    all.create(1);
    all.create(2);
    float* const memory = all.upload(1, std::vector<float>(1 << 16, 0.0F));
    CHECK(all.compute.executeKernel(1, add(memory, 1 << 16, ENDLESS)) && all.compute.chooseComputeUnit({1, 2}) == 2);
    CHECK(all.compute.cancelKernel(1, all.compute.getLastExecutionId(1)));
    CHECK(all.compute.chooseComputeUnit({}) == -1 && refused(CW_ERROR_INVALID_ARGUMENT, "ids"));
    CHECK(all.compute.chooseComputeUnit({1, 9}) == -1 && refused(CW_ERROR_NOT_FOUND, "virtual GPU 9"));
    all.compute.shutdown();
    ComputeVirtualizationConfig config;
    config.strategy = cogniware::LoadBalancingStrategy::ROUND_ROBIN;
    CHECK(all.compute.initialize(config));
    const int first = all.compute.chooseComputeUnit({1, 2});
    CHECK(all.compute.chooseComputeUnit({1, 2}) == 3 - first && all.compute.chooseComputeUnit({1, 2}) == first);
}

METHOD(ComputeVirtualizationManager, getComputeGroups) {
    const Virtual all;
    CHECK(all.compute.getComputeGroups(0).size() == 1 && all.compute.getComputeGroups(-1).empty());
    CHECK(refused(CW_ERROR_INVALID_ARGUMENT, "deviceId"));
    all.compute.shutdown();
    ComputeVirtualizationConfig config;
    config.unitGroups = 1 << 20;
    CHECK(!all.compute.initialize(config) && refused(CW_ERROR_INVALID_ARGUMENT, "unitGroups"));
    config.unitGroups = 0;
    CHECK(all.compute.initialize(config));
    for (const auto& group : all.compute.getComputeGroups(0)) {
        CHECK(group.processors > 0 && group.computeUnits == 0 && group.utilization <= 1.0);
    }
}

METHOD(ComputeVirtualizationManager, getComputeGroup) {
    const Virtual all;
    all.compute.shutdown();
    ComputeVirtualizationConfig config;
    config.unitGroups = 0;
    CHECK(all.compute.initialize(config));
    VirtualComputeUnitConfig unit;
    unit.numComputeUnits = 1;
    CHECK(all.compute.createVirtualComputeUnit(1, unit));
    const int group = all.compute.getComputeGroup(1);
    CHECK(group >= 0 && all.compute.getComputeGroups(0).at(static_cast<std::size_t>(group)).computeUnits == 1);
    CHECK(all.compute.getComputeGroup(9) == -1 && refused(CW_ERROR_NOT_FOUND, "virtual GPU 9"));
}

METHOD(ComputeVirtualizationManager, rebalance) {
    const Virtual all;
    CHECK(all.compute.rebalance() == -1 && refused(CW_ERROR_UNSUPPORTED, "unitGroups"));
    all.compute.shutdown();
    ComputeVirtualizationConfig config;
    config.unitGroups = 0;
    config.rebalanceIntervalMs = 1.0;
    CHECK(!all.compute.initialize(config) && refused(CW_ERROR_INVALID_ARGUMENT, "rebalanceIntervalMs"));
    config.rebalanceIntervalMs = 0.0;
    CHECK(all.compute.initialize(config));
    CHECK(all.compute.rebalance() == 0);  // nobody works
}
