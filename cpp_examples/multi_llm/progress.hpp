// What is shown while the models run: a terminal gets a table that refreshes, a pipe gets a line now and then.
#pragma once

#include <chrono>
#include <cstddef>
#include <iosfwd>

namespace multi_llm {

class Fleet;

class Progress {
public:
    Progress(std::ostream& out, bool terminal) : out_(out), terminal_(terminal) {}

    // How long to wait between two calls of show().
    static constexpr std::chrono::milliseconds interval{50};

    void show(const Fleet& fleet);

    // Takes a table away again.
    void clear();

private:
    std::ostream& out_;
    bool terminal_;
    std::size_t lines_ = 0;
    std::size_t ended_ = 0;  // members that had ended when the last line was printed
    double next_line_ = 0;   // seconds after the start
};

}  // namespace multi_llm
