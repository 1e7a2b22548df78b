// SPDX-License-Identifier: MIT OR Apache-2.0
// Between std::map and cw_map.
#ifndef COGNIWARE_DETAIL_MAP_HPP
#define COGNIWARE_DETAIL_MAP_HPP

#include <cogniware/detail/check.hpp>

#include <cstdlib>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace cogniware {
namespace detail {

using Map = Handle<cw_map, cw_map_free>;
using TextMap = std::map<std::string, std::string>;

inline Map to_c(const TextMap& values) {
    cw_map* raw = nullptr;
    check(cw_map_create(&raw));
    Map map(raw);
    for (const auto& value : values) {
        check(cw_map_set(map.get(), value.first.c_str(), value.second.c_str()));
    }
    return map;
}

// A copy of a map that somebody else owns.
inline TextMap copy_of(const cw_map* map) {
    TextMap values;
    std::size_t count = 0;
    check(cw_map_count(map, &count));
    for (std::size_t index = 0; index < count; ++index) {
        std::string key = read_text([&](char* buffer, std::size_t length, std::size_t* needed) {
            return cw_map_key(map, index, buffer, length, needed);
        });
        std::string value = read_text([&](char* buffer, std::size_t length, std::size_t* needed) {
            return cw_map_get(map, key.c_str(), buffer, length, needed);
        });
        values.emplace(std::move(key), std::move(value));
    }
    return values;
}

// Takes the map over and frees it.
inline TextMap from_c(cw_map* raw) {
    const Map map(raw);
    return copy_of(map.get());
}

// The map that `call(cw_map**)` makes; empty when the call fails, whose reason stays in last_error().
template <class Call>
TextMap read_map(Call&& call) {
    cw_map* raw = nullptr;
    if (call(&raw) != CW_OK) {
        return {};
    }
    return from_c(raw);
}

// The same for figures. Values that are no number are left out.
template <class Number, class Call>
std::map<std::string, Number> read_numbers(Call&& call) {
    std::map<std::string, Number> numbers;
    for (const auto& value : read_map(std::forward<Call>(call))) {
        char* end = nullptr;
        const double parsed = std::strtod(value.second.c_str(), &end);
        if (end != value.second.c_str() && *end == '\0') {
            // Whole numbers beyond 2^53 would lose their low digits as double.
            const bool whole = value.second.find_first_not_of("0123456789") == std::string::npos;
            numbers.emplace(value.first, whole ? static_cast<Number>(std::strtoull(value.second.c_str(), nullptr, 10))
                                               : static_cast<Number>(parsed));
        }
    }
    return numbers;
}

inline std::vector<std::string> keys(const TextMap& values) {
    std::vector<std::string> list;
    list.reserve(values.size());
    for (const auto& value : values) {
        list.push_back(value.first);
    }
    return list;
}

}  // namespace detail
}  // namespace cogniware

#endif
