// What is shown.
#pragma once

#include "figures.hpp"

#include <string>
#include <vector>

namespace cogniware_top {

struct View {
    std::string source;
    const Snapshot* before = nullptr;  // an earlier moment, for what is counted by second
    const Snapshot* now = nullptr;     // null: nothing was ever read
    std::string problem;               // why there is nothing newer
    double clock = 0.0;                // seconds since 1970
    bool keys = false;                 // somebody can press q
};

// Lines of at most `columns` columns.
std::vector<std::string> lines(const View& view, std::size_t columns);

}  // namespace cogniware_top
