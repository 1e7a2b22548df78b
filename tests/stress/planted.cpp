// The faults that the sanitizers are there to find, one for each: a run in which this program passes has looked at nothing.
#include <cogniware/core/customized_kernel.h>

#include <cstdio>
#include <limits>
#include <thread>
#include <vector>

int main([[maybe_unused]] int argc, char**) {
#if defined(__SANITIZE_THREAD__)
    // The library writes the same memory for two threads.
    AdvancedCustomizedKernel kernel;
    static_cast<void>(kernel.initialize());
    void* const one = kernel.allocateMemory(4096, "planted-one");
    void* const two = kernel.allocateMemory(4096, "planted-two");
    std::vector<char> bytes(4096);
    std::thread other([&] {
        for (int n = 0; n < 1000; ++n) {
            static_cast<void>(kernel.copyMemory(bytes.data(), one, bytes.size()));
        }
    });
    for (int n = 0; n < 1000; ++n) {
        static_cast<void>(kernel.copyMemory(bytes.data(), two, bytes.size()));
    }
    other.join();
#elif defined(__SANITIZE_ADDRESS__)
    // The library writes memory that was freed.
    AdvancedCustomizedKernel kernel;
    static_cast<void>(kernel.initialize());
    void* const memory = kernel.allocateMemory(4096, "planted");
    auto bytes = std::vector<char>(4096);
    char* const freed = bytes.data();
    std::vector<char>().swap(bytes);
    static_cast<void>(kernel.copyMemory(freed, memory, 4096));
#else
    std::printf("%d\n", std::numeric_limits<int>::max() + argc);
#endif
    std::puts("planted: nobody saw it");
    return 0;
}
