#include "source.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace cogniware_top {
namespace {

// Thousands of tenants take a few megabytes.
constexpr std::size_t largest = std::size_t{64} << 20;

// A descriptor that is closed in the end.
class Descriptor {
public:
    explicit Descriptor(int fd) : fd_(fd) {}
    Descriptor(const Descriptor&) = delete;
    Descriptor& operator=(const Descriptor&) = delete;
    ~Descriptor() {
        if (fd_ >= 0) {
            close(fd_);
        }
    }
    int get() const { return fd_; }

private:
    int fd_;
};

}  // namespace

std::string File::text() {
    const auto failed = [this](const std::string& why) { return NoMetrics(path_ + ": " + why); };
    // Without waiting for the other end of a pipe.
    const Descriptor file(open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    struct stat status{};
    if (file.get() < 0 || fstat(file.get(), &status) != 0) {
        const int error = errno;
        throw failed(std::string(std::strerror(error)) +
                     (error == ENOENT ? "; does the process call publishMetrics with this path?" : ""));
    }
    if (!S_ISREG(status.st_mode)) {
        throw failed("is no regular file");
    }
    std::string text;
    char buffer[1 << 16];
    for (;;) {
        const ssize_t got = read(file.get(), buffer, sizeof buffer);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            throw failed(std::strerror(errno));
        }
        if (got == 0) {
            break;
        }
        text.append(buffer, static_cast<std::size_t>(got));
        if (text.size() > largest) {
            throw failed("has more than " + std::to_string(largest >> 20) + " MiB");
        }
    }
    if (text.empty()) {
        throw failed("is empty");
    }
    return text;
}

}  // namespace cogniware_top
