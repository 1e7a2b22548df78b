// CUDAVirtualizationDriver.
#include "virtual_rig.hpp"

METHOD(CUDAVirtualizationDriver, getInstance) {
    CHECK(&CUDAVirtualizationDriver::getInstance() == &CUDAVirtualizationDriver::getInstance());
}

METHOD(CUDAVirtualizationDriver, initialize) {
    auto& driver = CUDAVirtualizationDriver::getInstance();
    void* memory = nullptr;
    CHECK(!driver.isInitialized() && !driver.allocateMemory(1, 16, &memory));
    CHECK(refused(CW_ERROR_NOT_INITIALIZED, "virtualization driver"));
    VirtualizationConfig config;
    config.maxVirtualGPUs = 1;
    config.deviceId = 99;
    CHECK(!driver.initialize(config) && refused(CW_ERROR_INVALID_ARGUMENT, "deviceId"));
    config.deviceId = 0;
    CHECK(driver.initialize(config) && driver.initialize(config) && driver.isInitialized());
    config.maxVirtualGPUs = 2;
    CHECK(!driver.initialize(config) && refused(CW_ERROR_ALREADY_EXISTS, "another configuration"));
    CHECK(driver.createVirtualGPU({1, MiB, 1, true, false, 0.0F, "one"}));
    CHECK(!driver.createVirtualGPU({2, MiB, 1, true, false, 0.0F, "two"}));
    CHECK(refused(CW_ERROR_QUOTA_EXCEEDED, "maxVirtualGPUs"));
    driver.shutdown();
}

METHOD(CUDAVirtualizationDriver, shutdown) {
    const Virtual all;
    all.create(1);
    all.driver.shutdown();
    CHECK(!all.driver.isInitialized() && all.driver.getAllVirtualGPUInfo().empty());
    CHECK(all.driver.initialize(VirtualizationConfig{}));
    CHECK(all.driver.getVirtualGPUStatus(1) == VirtualGPUStatus::NOT_CREATED);
}

METHOD(CUDAVirtualizationDriver, createVirtualGPU) {
    const Virtual all;
    const VirtualGPUConfig config = {7, 2 * MiB, 3, true, false, 0.5F, "seven"};
    CHECK(all.driver.createVirtualGPU(config));
    CHECK(!all.driver.createVirtualGPU(config) && refused(CW_ERROR_ALREADY_EXISTS, "virtual GPU 7"));
    const auto info = all.driver.getVirtualGPUInfo(7);
    CHECK(info.virtualGPUId == 7 && info.name == "seven" && info.memoryLimit == 2 * MiB);
    CHECK(info.compute.numStreams == 3 && info.compute.computeShare == 0.5F && info.compute.tensorCoresEnabled);
    CHECK(cogniware::Tenant::find("vgpu:7").usage().memory_limit == 2 * MiB);
    VirtualGPUConfig bad = config;
    bad.virtualGPUId = 8;
    bad.numStreams = -1;
    CHECK(!all.driver.createVirtualGPU(bad) && refused(CW_ERROR_INVALID_ARGUMENT, "numStreams"));
    bad.numStreams = 1;
    bad.memoryLimit = 0;
    CHECK(!all.driver.createVirtualGPU(bad) && refused(CW_ERROR_INVALID_ARGUMENT, "memoryLimit"));
    bad.memoryLimit = MiB;
    bad.name = std::string("a\0b", 3);
    CHECK(!all.driver.createVirtualGPU(bad) && refused(CW_ERROR_INVALID_ARGUMENT, "name"));
    CHECK(all.driver.getVirtualGPUStatus(8) == VirtualGPUStatus::NOT_CREATED);
}

METHOD(CUDAVirtualizationDriver, destroyVirtualGPU) {
    const Virtual all;
    all.create(1);
    void* memory = nullptr;
    CHECK(all.driver.allocateMemory(1, 3 * MiB, &memory));
    std::size_t leaked = 0;
    CHECK(all.driver.destroyVirtualGPU(1, &leaked) && leaked == 3 * MiB);
    CHECK(!all.driver.destroyVirtualGPU(1) && refused(CW_ERROR_NOT_FOUND, "virtual GPU 1"));
    all.create(1);
    CHECK(all.driver.getVirtualGPUInfo(1).memoryHeld == 0);
}

METHOD(CUDAVirtualizationDriver, getVirtualGPUStatus) {
    const Virtual all;
    CHECK(all.driver.getVirtualGPUStatus(1) == VirtualGPUStatus::NOT_CREATED);
    all.create(1);
    CHECK(all.driver.getVirtualGPUStatus(1) == VirtualGPUStatus::IDLE);
    CHECK(all.driver.getVirtualGPUStatus(-1) == VirtualGPUStatus::NOT_CREATED);
}

METHOD(CUDAVirtualizationDriver, getVirtualGPUInfo) {
    const Virtual all;
    all.create(1);
    void* memory = nullptr;
    CHECK(all.driver.allocateMemory(1, 16 * MiB, &memory));
    const auto info = all.driver.getVirtualGPUInfo(1);
    CHECK(info.memoryUtilization == 0.25F && info.memoryHeld == 16 * MiB && info.memoryPeak == 16 * MiB);
    CHECK(info.allocations == 1 && info.name == "vgpu:1" && info.status == VirtualGPUStatus::IDLE);
    CHECK(!all.driver.allocateMemory(1, 64 * MiB, &memory) && all.driver.getVirtualGPUInfo(1).rejections == 1);
    CHECK(all.driver.getVirtualGPUInfo(2).virtualGPUId == -1 && refused(CW_ERROR_NOT_FOUND, "virtual GPU 2"));
}

METHOD(CUDAVirtualizationDriver, getAllVirtualGPUInfo) {
    const Virtual all;
    CHECK(all.driver.getAllVirtualGPUInfo().empty());
    all.create(5);
    all.create(2);
    CHECK(all.memory.createVirtualMemorySpace(9, MiB));
    const auto list = all.driver.getAllVirtualGPUInfo();
    CHECK(list.size() == 3 && list[0].virtualGPUId == 2 && list[1].virtualGPUId == 5 && list[2].virtualGPUId == 9);
}

METHOD(CUDAVirtualizationDriver, getGPUUtilization) {
    const Virtual all;
    const float busy = all.driver.getGPUUtilization();
    CHECK((busy >= 0.0F && busy <= 1.0F) || (busy == -1.0F && refused(CW_ERROR_UNSUPPORTED, "how busy")));
}

METHOD(CUDAVirtualizationDriver, allocateMemory) {
    const Virtual all;
    all.create(1);
    void* memory = nullptr;
    CHECK(all.driver.allocateMemory(1, 1000, &memory) && memory != nullptr);
    CHECK(reinterpret_cast<std::uintptr_t>(memory) % 256 == 0);
    void* none = nullptr;
    CHECK(!all.driver.allocateMemory(1, 0, &none) && refused(CW_ERROR_INVALID_ARGUMENT, "size") && none == nullptr);
    CHECK(!all.driver.allocateMemory(1, std::size_t{1} << 63, &none) && refused(CW_ERROR_QUOTA_EXCEEDED, "vgpu:1"));
    CHECK(!all.driver.allocateMemory(1, 16, nullptr) && refused(CW_ERROR_INVALID_ARGUMENT, "memory"));
    CHECK(!all.driver.allocateMemory(3, 16, &none) && refused(CW_ERROR_NOT_FOUND, "virtual GPU 3"));
}

METHOD(CUDAVirtualizationDriver, freeMemory) {
    const Virtual all;
    all.create(1);
    all.create(2);
    void* memory = nullptr;
    CHECK(all.driver.allocateMemory(1, MiB, &memory));
    CHECK(!all.driver.freeMemory(2, memory) && refused(CW_ERROR_NOT_OWNER, "vgpu:1"));
    CHECK(!all.driver.freeMemory(1, static_cast<char*>(memory) + 256) && refused(CW_ERROR_INVALID_ARGUMENT, "inside"));
    CHECK(all.driver.freeMemory(1, memory) && all.driver.getVirtualGPUInfo(1).memoryHeld == 0);
    CHECK(!all.driver.freeMemory(1, memory) && refused(CW_ERROR_INVALID_ARGUMENT, "freed"));
    CHECK(!all.driver.freeMemory(1, nullptr) && refused(CW_ERROR_INVALID_ARGUMENT, "null"));
}

METHOD(CUDAVirtualizationDriver, copyMemory) {
    const Virtual all;
    all.create(1);
    const std::vector<int> values = {1, 2, 3, 4, 5, 6, 7, 8};
    int* const memory = all.upload(1, values);
    CHECK(all.download(1, memory, values.size()) == values);
    CHECK(all.driver.copyMemory(1, memory + 4, memory, 16, cudaMemcpyDeviceToDevice));
    CHECK(all.download(1, memory, 8) == (std::vector<int>{1, 2, 3, 4, 1, 2, 3, 4}));
    CHECK(!all.driver.copyMemory(1, memory, values.data(), 16, cudaMemcpyDeviceToDevice));
    CHECK(refused(CW_ERROR_INVALID_ARGUMENT, "`kind`"));
    CHECK(!all.driver.copyMemory(1, memory, values.data(), 16, static_cast<cudaMemcpyKind>(17)));
    CHECK(refused(CW_ERROR_INVALID_ARGUMENT, "`kind`"));
    CHECK(!all.driver.copyMemory(1, memory + 1, memory, 16, cudaMemcpyDeviceToDevice));
    CHECK(refused(CW_ERROR_INVALID_ARGUMENT, "overlap"));
    CHECK(!all.driver.copyMemory(1, memory, values.data(), 33, cudaMemcpyHostToDevice));
    CHECK(refused(CW_ERROR_INVALID_ARGUMENT, "beyond"));
    CHECK(!all.driver.copyMemory(1, memory, values.data(), 0, cudaMemcpyHostToDevice));
    CHECK(refused(CW_ERROR_INVALID_ARGUMENT, "`size`"));
    CHECK(all.download(1, memory, 8) == (std::vector<int>{1, 2, 3, 4, 1, 2, 3, 4}));
}

METHOD(CUDAVirtualizationDriver, copyMemoryAsync) {
    const Virtual all;
    all.create(1);
    const std::vector<int> values(1 << 18, 42);
    int* const memory = all.upload(1, std::vector<int>(values.size(), 0));
    CHECK(all.driver.copyMemoryAsync(1, memory, values.data(), values.size() * 4, cudaMemcpyHostToDevice, 1));
    CHECK(all.driver.synchronize(1, 1) && all.download(1, memory, values.size()) == values);
    CHECK(!all.driver.copyMemoryAsync(1, memory, values.data(), 16, cudaMemcpyHostToDevice, -1));
    CHECK(refused(CW_ERROR_INVALID_ARGUMENT, "streamId"));
}

METHOD(CUDAVirtualizationDriver, memset) {
    const Virtual all;
    all.create(1);
    int* const memory = all.upload(1, std::vector<int>(64, 0));
    CHECK(all.driver.memset(1, memory, 0x11, 128));
    auto values = all.download(1, memory, 64);
    CHECK(values[31] == 0x11111111 && values[32] == 0);
    CHECK(!all.driver.memset(1, memory, 0, 257) && refused(CW_ERROR_INVALID_ARGUMENT, "beyond"));
    CHECK(!all.driver.memset(1, memory, 0, 0) && refused(CW_ERROR_INVALID_ARGUMENT, "`size`"));
    CHECK(!all.driver.memset(1, values.data(), 0, 16) && refused(CW_ERROR_NOT_OWNER, "foreign"));
}

METHOD(CUDAVirtualizationDriver, synchronize) {
    const Virtual all;
    all.create(1);
    CHECK(all.driver.synchronize(1) && all.driver.synchronize(1, 0) && all.driver.synchronize(1, 1));
    CHECK(!all.driver.synchronize(1, 2) && refused(CW_ERROR_INVALID_ARGUMENT, "streamId"));
    CHECK(!all.driver.synchronize(4) && refused(CW_ERROR_NOT_FOUND, "virtual GPU 4"));
}

METHOD(CUDAVirtualizationDriver, matrixMultiply) {
    const Virtual all;
    all.create(1);
    const float* const a = all.upload<float>(1, {1, 2, 3, 4, 5, 6});  // 2 x 3
    const float* const b = all.upload<float>(1, {1, 0, 0, 1, 1, 1});  // 3 x 2
    float* const c = all.upload<float>(1, {9, 9, 9, 9});
    CHECK(all.driver.matrixMultiply(1, a, b, c, 2, 2, 3, CUDA_R_32F, 1) && all.driver.synchronize(1, 1));
    CHECK(all.download(1, c, 4) == (std::vector<float>{4, 5, 10, 11}));
    cogniware::MatrixOptions options;
    options.transposeB = true;
    options.alpha = 2.0;
    options.beta = 1.0;
    CHECK(all.driver.matrixMultiply(1, a, b, c, 2, 2, 3, CUDA_R_32F, options) && all.driver.synchronize(1));
    CHECK(all.download(1, c, 4) == (std::vector<float>{4 + 2, 5 + 12, 10 + 8, 11 + 30}));
    CHECK(!all.driver.matrixMultiply(1, nullptr, b, c, 2, 2, 3, CUDA_R_32F) &&
          refused(CW_ERROR_INVALID_ARGUMENT, "`A`"));
    CHECK(!all.driver.matrixMultiply(1, a, b, c, -2, 2, 3, CUDA_R_32F) && refused(CW_ERROR_INVALID_ARGUMENT, "`m`"));
    CHECK(!all.driver.matrixMultiply(1, a, b, c, 2, 2, 1 << 30, CUDA_R_32F));
    CHECK(!all.driver.matrixMultiply(1, a, b, c, 2, 2, 3, static_cast<cudaDataType_t>(7)));
    CHECK(refused(CW_ERROR_INVALID_ARGUMENT, "dataType"));
    CHECK(!all.driver.matrixMultiply(1, a, b, c, 2, 2, 3, CUDA_R_32F, 2) &&
          refused(CW_ERROR_INVALID_ARGUMENT, "streamId"));
    all.create(2);
    CHECK(!all.driver.matrixMultiply(2, a, b, c, 2, 2, 3, CUDA_R_32F) && refused(CW_ERROR_NOT_OWNER, "vgpu:1"));
}

METHOD(CUDAVirtualizationDriver, convolutionForward) {
    const Virtual all;
    all.create(1);
    std::vector<float> image(16);
    for (std::size_t i = 0; i < image.size(); ++i) {
        image[i] = static_cast<float>(i);
    }
    const float* const input = all.upload(1, image);
    const float* const filter = all.upload<float>(1, {1, 0, 0, 0, 1, 0, 0, 0, 1});
    float* const output = all.upload(1, std::vector<float>(4, -1));
    CHECK(all.driver.convolutionForward(1, input, filter, output, 1, 1, 1, 4, 4, 3, 1, 0, CUDA_R_32F));
    CHECK(all.driver.synchronize(1));
    CHECK(all.download(1, output, 4) == (std::vector<float>{15, 18, 27, 30}));
    CHECK(!all.driver.convolutionForward(1, input, filter, output, 1, 1, 1, 4, 4, 3, 0, 0, CUDA_R_32F));
    CHECK(refused(CW_ERROR_INVALID_ARGUMENT, "stride"));
    CHECK(!all.driver.convolutionForward(1, input, filter, output, 1, 1, 1, 4, 4, 3, 1, 1, CUDA_R_32F));
    CHECK(refused(CW_ERROR_INVALID_ARGUMENT, "output"));
}

METHOD(CUDAVirtualizationDriver, activationForward) {
    const Virtual all;
    all.create(1);
    const float* const input = all.upload<float>(1, {-1, 2, -3, 4});
    float* const output = all.upload(1, std::vector<float>(4, 9));
    CHECK(all.driver.activationForward(1, input, output, 1, 2, 1, 2, "relu", CUDA_R_32F) && all.driver.synchronize(1));
    CHECK(all.download(1, output, 4) == (std::vector<float>{0, 2, 0, 4}));
    CHECK(all.driver.activationForward(1, input, output, 1, 2, 1, 2, "softmax", CUDA_R_32F) &&
          all.driver.synchronize(1));
    const auto soft = all.download(1, output, 4);
    CHECK(soft[0] + soft[2] > 0.999F && soft[0] + soft[2] < 1.001F && soft[0] > soft[2]);
    CHECK(!all.driver.activationForward(1, input, output, 1, 2, 1, 2, "rely", CUDA_R_32F));
    CHECK(refused(CW_ERROR_INVALID_ARGUMENT, "relu"));
}
