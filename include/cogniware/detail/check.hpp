// SPDX-License-Identifier: MIT OR Apache-2.0
// From a status to an exception or a bool, and text by the two-call rule.
#ifndef COGNIWARE_DETAIL_CHECK_HPP
#define COGNIWARE_DETAIL_CHECK_HPP

#include <cogniware/error.hpp>

#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace cogniware {
namespace detail {

// Throws the thread's last error when `status` is one.
inline void check(cw_status status) {
    if (status != CW_OK) {
        throw Error::last(status);
    }
}

// Runs a body that returns a status, for the documented methods that return bool and never throw. An exception can
// only be an Error of an inner check, whose text the thread still has, or the host being out of memory.
template <class Body>
bool attempt(Body&& body) noexcept {
    try {
        return std::forward<Body>(body)() == CW_OK;
    } catch (...) {
        return false;
    }
}

// Text for a C function, which ends at the first NUL: what lies behind one would be lost without a word.
inline const char* c_text(const char* argument, const std::string& text) {
    const std::size_t nul = text.find('\0');
    if (nul != std::string::npos) {
        throw Error(CW_ERROR_INVALID_ARGUMENT,
                    std::string("argument `") + argument + "`: has a NUL at byte " + std::to_string(nul));
    }
    return text.c_str();
}

// The same for methods that do not throw: null when the text has a NUL, which every function refuses.
inline const char* whole(const std::string& text) noexcept {
    return text.find('\0') == std::string::npos ? text.c_str() : nullptr;
}

// Text that `call(buffer, length, needed)` writes. Asks for the size first; asks again when the text grew meanwhile.
template <class Call>
std::string read_text(Call&& call) {
    std::size_t needed = 0;
    check(call(nullptr, 0, &needed));
    std::string text;
    for (;;) {
        text.assign(needed == 0 ? 1 : needed, '\0');
        const cw_status status = call(&text[0], text.size(), &needed);
        if (status == CW_ERROR_BUFFER_TOO_SMALL && needed > text.size()) {
            continue;
        }
        check(status);
        text.resize(needed == 0 ? 0 : needed - 1);
        return text;
    }
}

// The list that `call(elements, capacity, count)` writes; asks again when it grew meanwhile. Empty when the call fails,
// whose status goes to `*status`.
template <class T, class Call>
std::vector<T> read_list(Call&& call, cw_status* status = nullptr) {
    std::vector<T> list;
    std::size_t count = 0;
    cw_status answer = call(nullptr, 0, &count);
    while ((answer == CW_OK || answer == CW_ERROR_BUFFER_TOO_SMALL) && count > list.size()) {
        list.resize(count);
        answer = call(list.data(), list.size(), &count);
    }
    list.resize(answer == CW_OK ? count : 0);
    if (status != nullptr) {
        *status = answer;
    }
    return list;
}

// Text in a fixed field of a C struct.
template <std::size_t N>
std::string field(const char (&text)[N]) {
    std::size_t length = 0;
    while (length < N && text[length] != '\0') {
        ++length;
    }
    return std::string(text, length);
}

// Frees a handle. Succeeding, it leaves the thread's last error as it was.
template <class T, cw_status (*Free)(T*)>
struct Freer {
    void operator()(T* handle) const noexcept { static_cast<void>(Free(handle)); }
};

template <class T, cw_status (*Free)(T*)>
using Handle = std::unique_ptr<T, Freer<T, Free>>;

}  // namespace detail
}  // namespace cogniware

#endif
