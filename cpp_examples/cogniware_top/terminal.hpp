// The terminal: its size, keys without a line feed, a screen that is refreshed in place.
#pragma once

#include <termios.h>

#include <cstddef>
#include <string>
#include <vector>

namespace cogniware_top {

// Catches SIGINT, SIGTERM and SIGHUP, so that the terminal is left as it was found.
void catch_signals();

// One of them came.
bool is_ended();

class Terminal {
public:
    // Takes it over when standard output is a terminal and `refresh` is set.
    explicit Terminal(bool refresh);
    Terminal(const Terminal&) = delete;
    Terminal& operator=(const Terminal&) = delete;
    ~Terminal();

    // It refreshes in place.
    bool in_place() const { return in_place_; }

    // Somebody can press keys.
    bool keys() const { return keys_; }

    // Columns, or `otherwise` where nobody tells.
    static std::size_t columns(std::size_t otherwise);

    // Shows lines: in place of the last ones, or below them.
    void show(const std::vector<std::string>& lines) const;

    // Waits; true as soon as the end was asked for by q, Ctrl-C or a signal.
    bool wait(double seconds) const;

private:
    bool in_place_ = false;
    bool keys_ = false;
    termios before_{};
};

}  // namespace cogniware_top
