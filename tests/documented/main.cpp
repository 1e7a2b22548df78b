// Runs every test of a documented method on the device that COGNIWARE_DEVICE names, or those whose name contains the
// first argument.
#include "harness.hpp"

#include <cogniware/cogniware.hpp>

#include <chrono>
#include <cstring>

void failed(const char* file, int line, const char* condition) {
    const std::string reason = cogniware::last_error();
    throw std::runtime_error(std::string(file) + ":" + std::to_string(line) + ": not true: " + condition +
                             (reason.empty() ? "" : "\n    the last error: " + reason));
}

int main(int count, char** arguments) {
    const char* wanted = count > 1 ? arguments[1] : "";
    int good = 0;
    int bad = 0;
    int left_out = 0;
    for (const Method& method : methods()) {
        if (std::strstr(method.name, wanted) == nullptr) {
            continue;
        }
        const auto start = std::chrono::steady_clock::now();
        std::string outcome = "passed";
        std::string detail;
        try {
            method.run();
            ++good;
        } catch (const Skipped& why) {
            outcome = "skipped";
            detail = why.what();
            ++left_out;
        } catch (const std::exception& why) {
            outcome = "FAILED";
            detail = why.what();
            ++bad;
        }
        const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - start;
        std::printf("%-8s %8.1f ms  %s%s%s\n", outcome.c_str(), took.count(), method.name,
                    detail.empty() ? "" : "\n    ", detail.c_str());
        std::fflush(stdout);
    }
    std::printf("%d passed, %d failed, %d skipped\n", good, bad, left_out);
    return bad == 0 && good > 0 ? 0 : 1;
}
