// SPDX-License-Identifier: MIT OR Apache-2.0
// MemoryArray: an array of float in a tenant's memory, read and written by host code directly.
#ifndef COGNIWARE_CORE_MEMORY_ARRAY_HPP
#define COGNIWARE_CORE_MEMORY_ARRAY_HPP

#include <cogniware/detail/check.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <type_traits>
#include <utility>
#include <vector>

namespace cogniware {

class MemoryArray;

namespace detail {

// How a foreign array type converts. <cogniware/python/array.h> says it for pybind11::array_t<float>.
template <class T>
struct ArrayCast {
    static constexpr bool enabled = false;
};

}  // namespace detail

// Copies share the memory, which goes back to the tenant with the last of them, or when it is deallocated: then every
// copy is empty and pointers into it are dead. Elements are zero at first. Threads may read together, and write alone.
class MemoryArray {
public:
    using value_type = float;

    MemoryArray() noexcept = default;

    // Takes over a handle.
    explicit MemoryArray(cw_array* owned) : shared_(std::make_shared<Shared>(owned)) {
        std::uint64_t count = 0;
        float* data = nullptr;
        detail::check(cw_array_data(owned, &data, &count));
        shared_->data = data;
        shared_->size = static_cast<std::size_t>(count);
    }

    template <class T, std::enable_if_t<detail::ArrayCast<T>::enabled, int> = 0>
    MemoryArray(const T& foreign) : MemoryArray(detail::ArrayCast<T>::from(foreign)) {}

    template <class T, std::enable_if_t<detail::ArrayCast<T>::enabled, int> = 0>
    operator T() const {
        return detail::ArrayCast<T>::to(*this);
    }

    float* data() noexcept { return shared_ ? shared_->data : nullptr; }
    const float* data() const noexcept { return shared_ ? shared_->data : nullptr; }
    std::size_t size() const noexcept { return shared_ ? shared_->size : 0; }
    std::vector<std::size_t> shape() const { return {size()}; }

    // True for what a failed allocation gives, and after the memory was given back.
    bool empty() const noexcept { return size() == 0; }

    float* begin() noexcept { return data(); }
    float* end() noexcept { return data() + size(); }
    const float* begin() const noexcept { return data(); }
    const float* end() const noexcept { return data() + size(); }

    // Not checked, as for std::vector.
    float& operator[](std::size_t index) noexcept { return data()[index]; }
    const float& operator[](std::size_t index) const noexcept { return data()[index]; }

    cw_array* get() const noexcept { return shared_ ? shared_->array : nullptr; }

    // For the bridge, once it has freed the handle.
    void forget() const noexcept {
        if (shared_) {
            shared_->array = nullptr;
            shared_->data = nullptr;
            shared_->size = 0;
        }
    }

private:
    struct Shared {
        explicit Shared(cw_array* owned) noexcept : array(owned) {}
        Shared(const Shared&) = delete;
        Shared& operator=(const Shared&) = delete;
        ~Shared() { static_cast<void>(cw_array_free(array)); }

        cw_array* array;
        float* data = nullptr;
        std::size_t size = 0;
    };

    std::shared_ptr<Shared> shared_;
};

}  // namespace cogniware

#endif
