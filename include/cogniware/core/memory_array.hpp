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

// Copies share the memory. It goes back to the tenant when the array was deallocated or its LLM unregistered, and the
// last copy is gone: a copy that is held stays readable. Elements are zero at first. Sharing between threads is safe as
// for any array: reading together, writing alone.
class MemoryArray {
public:
    using value_type = float;

    MemoryArray() noexcept = default;

    // Takes over a handle.
    explicit MemoryArray(cw_array* owned) : array_(owned, detail::Freer<cw_array, cw_array_free>()) {
        std::uint64_t count = 0;
        detail::check(cw_array_data(owned, &data_, &count));
        size_ = static_cast<std::size_t>(count);
    }

    template <class T, std::enable_if_t<detail::ArrayCast<T>::enabled, int> = 0>
    MemoryArray(const T& foreign) : MemoryArray(detail::ArrayCast<T>::from(foreign)) {}

    template <class T, std::enable_if_t<detail::ArrayCast<T>::enabled, int> = 0>
    operator T() const {
        return detail::ArrayCast<T>::to(*this);
    }

    float* data() noexcept { return data_; }
    const float* data() const noexcept { return data_; }
    std::size_t size() const noexcept { return size_; }
    std::vector<std::size_t> shape() const { return {size_}; }

    // True for what a failed allocation gives.
    bool empty() const noexcept { return size_ == 0; }

    float* begin() noexcept { return data_; }
    float* end() noexcept { return data_ + size_; }
    const float* begin() const noexcept { return data_; }
    const float* end() const noexcept { return data_ + size_; }

    // Not checked, as for std::vector.
    float& operator[](std::size_t index) noexcept { return data_[index]; }
    const float& operator[](std::size_t index) const noexcept { return data_[index]; }

    cw_array* get() const noexcept { return array_.get(); }

private:
    std::shared_ptr<cw_array> array_;
    float* data_ = nullptr;
    std::size_t size_ = 0;
};

}  // namespace cogniware

#endif
