// SPDX-License-Identifier: MIT OR Apache-2.0
// Memory of a tenant that frees itself.
#ifndef COGNIWARE_BUFFER_HPP
#define COGNIWARE_BUFFER_HPP

#include <cogniware/detail/check.hpp>

#include <cstdint>
#include <utility>

namespace cogniware {

// Bytes of a tenant's memory, aligned to 256. On the CPU data() is an ordinary address; on a GPU it is a device address,
// which only copies and kernels may follow. No work that uses the memory may be in flight when it is freed.
// Closing the tenant takes the memory back; a buffer that is left then does nothing more.
class Buffer {
public:
    Buffer() noexcept = default;
    Buffer(cw_tenant* tenant, void* data, std::uint64_t bytes) noexcept : tenant_(tenant), data_(data), bytes_(bytes) {}
    Buffer(Buffer&& other) noexcept { swap(other); }
    Buffer& operator=(Buffer&& other) noexcept {
        Buffer taken(std::move(other));
        swap(taken);
        return *this;
    }
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;
    ~Buffer() {
        if (data_ != nullptr) {
            // A handle of a closed tenant is refused, not followed.
            static_cast<void>(cw_memory_free(tenant_, data_));
        }
    }

    void* data() const noexcept { return data_; }
    std::uint64_t bytes() const noexcept { return bytes_; }
    explicit operator bool() const noexcept { return data_ != nullptr; }

    // Gives the memory up to the caller, who frees it by cw_memory_free or by closing the tenant.
    void* release() noexcept {
        bytes_ = 0;
        return std::exchange(data_, nullptr);
    }

    void swap(Buffer& other) noexcept {
        std::swap(tenant_, other.tenant_);
        std::swap(data_, other.data_);
        std::swap(bytes_, other.bytes_);
    }

private:
    cw_tenant* tenant_ = nullptr;
    void* data_ = nullptr;
    std::uint64_t bytes_ = 0;
};

}  // namespace cogniware

#endif
