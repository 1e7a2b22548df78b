// SPDX-License-Identifier: MIT OR Apache-2.0
// Streams: ordered queues on a tenant's compute node.
#ifndef COGNIWARE_STREAM_HPP
#define COGNIWARE_STREAM_HPP

#include <cogniware/cuda_compat.h>
#include <cogniware/detail/check.hpp>

#include <cstdint>
#include <utility>

namespace cogniware {

// A stream of a tenant. Its end waits for everything queued on it. Usable from any thread; must not outlive the program's
// main function. A stream that outlives its tenant is dead and refuses everything.
class Stream {
public:
    Stream(cw_tenant* tenant, std::uint64_t id) noexcept : tenant_(tenant), id_(id) {}
    Stream(Stream&& other) noexcept : tenant_(other.tenant_), id_(std::exchange(other.id_, 0)) {}
    Stream& operator=(Stream&& other) noexcept {
        std::swap(tenant_, other.tenant_);
        std::swap(id_, other.id_);
        return *this;
    }
    Stream(const Stream&) = delete;
    Stream& operator=(const Stream&) = delete;
    ~Stream() {
        if (id_ != 0) {
            static_cast<void>(cw_stream_destroy(tenant_, id_));
        }
    }

    // Waits for everything queued so far; throws an error that it raised.
    void synchronize() const { detail::check(cw_stream_synchronize(tenant_, id_)); }

    // CUDA's own object behind the stream, owned by Cogniware; null on the CPU.
    cudaStream_t native() const {
        void* native = nullptr;
        detail::check(cw_stream_native(tenant_, id_, &native));
        return static_cast<cudaStream_t>(native);
    }

    std::uint64_t id() const noexcept { return id_; }

private:
    cw_tenant* tenant_;
    std::uint64_t id_;
};

}  // namespace cogniware

#endif
