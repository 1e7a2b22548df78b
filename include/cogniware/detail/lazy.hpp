// SPDX-License-Identifier: MIT OR Apache-2.0
// A handle that is made when it is first needed, so that constructors of the documented classes cannot fail.
#ifndef COGNIWARE_DETAIL_LAZY_HPP
#define COGNIWARE_DETAIL_LAZY_HPP

#include <cogniware/detail/check.hpp>

#include <mutex>

namespace cogniware {
namespace detail {

template <class T, cw_status (*Free)(T*)>
class Lazy {
public:
    using Make = cw_status (*)(T**);

    explicit Lazy(Make make) noexcept : make_(make) {}
    explicit Lazy(T* owned) noexcept : make_(nullptr), handle_(owned) {}
    Lazy(const Lazy&) = delete;
    Lazy& operator=(const Lazy&) = delete;
    ~Lazy() { static_cast<void>(Free(handle_)); }

    // The handle, or null when it cannot be made: the call that gets the null then fails, and says so.
    T* get() const noexcept {
        const std::lock_guard<std::mutex> lock(mutex_);
        if (handle_ == nullptr && make_ != nullptr) {
            T* made = nullptr;
            if (make_(&made) == CW_OK) {
                handle_ = made;
            }
        }
        return handle_;
    }

private:
    Make make_;
    mutable T* handle_ = nullptr;
    mutable std::mutex mutex_;
};

}  // namespace detail
}  // namespace cogniware

#endif
