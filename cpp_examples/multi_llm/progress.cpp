#include "progress.hpp"

#include "fleet.hpp"
#include "report.hpp"

#include <algorithm>
#include <ostream>
#include <sstream>

namespace multi_llm {

void Progress::show(const Fleet& fleet) {
    if (terminal_) {
        const std::string text = table(fleet);
        clear();
        out_ << text << std::flush;
        for (const char c : text) {
            lines_ += c == '\n' ? 1 : 0;
        }
        return;
    }
    // A line every second, and whenever one has ended.
    const auto& members = fleet.members();
    const auto ended = static_cast<std::size_t>(
        std::count_if(members.begin(), members.end(), [](const Member& member) { return member.ended; }));
    if (fleet.seconds() < next_line_ && ended == ended_) {
        return;
    }
    next_line_ = fleet.seconds() + 1;
    ended_ = ended;
    std::ostringstream line;
    line.precision(1);
    line << std::fixed << fleet.seconds() << " s:";
    const auto figures = fleet.figures();
    for (std::size_t at = 0; at < figures.size(); ++at) {
        line << " " << members[at].id << " " << figures[at].tokens << " tokens" << (members[at].ended ? " (done)" : "")
             << (at + 1 < figures.size() ? "," : "");
    }
    out_ << line.str() << std::endl;
}

void Progress::clear() {
    if (lines_ > 0) {
        // Up so many lines, to their start, and away with what is below.
        out_ << "\x1b[" << lines_ << "F\x1b[J";
        lines_ = 0;
    }
}

}  // namespace multi_llm
