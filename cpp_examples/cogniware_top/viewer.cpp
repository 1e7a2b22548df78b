#include "viewer.hpp"

#include "figures.hpp"
#include "screen.hpp"
#include "terminal.hpp"

#include <algorithm>
#include <chrono>
#include <iostream>
#include <optional>

namespace cogniware_top {
namespace {

constexpr std::size_t usual_columns = 120;

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

double clock() { return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count(); }

// The last two moments of a source that differ.
class History {
public:
    // Reads once more. False, with the reason, when there is nothing new to read.
    bool read(Source& source, std::string& problem) {
        try {
            Snapshot snapshot = figures(source.text(), now());
            const bool again = now_ && snapshot.published && snapshot.published == now_->published;
            if (!again) {
                before_ = std::move(now_);
            }
            now_ = std::move(snapshot);
            problem.clear();
            return true;
        } catch (const NoMetrics& error) {
            problem = error.what();
        } catch (const BadText& error) {
            problem = source.name() + ": " + error.what();
        }
        return false;
    }

    const Snapshot* before() const { return before_ ? &*before_ : nullptr; }
    const Snapshot* latest() const { return now_ ? &*now_ : nullptr; }

private:
    std::optional<Snapshot> before_, now_;
};

std::size_t columns(const Arguments& arguments) {
    return arguments.columns > 0 ? arguments.columns : Terminal::columns(usual_columns);
}

// One table: of two moments, so that what is counted by second is known, unless nothing comes.
int once(Source& source, const Arguments& arguments) {
    History history;
    View view;
    view.source = source.name();
    if (!history.read(source, view.problem)) {
        std::cerr << "cogniware-top: " << view.problem << "\n";
        return 1;
    }
    const Terminal terminal(false);
    const double publisher = history.latest()->interval.value_or(arguments.interval);
    const double wait = arguments.seconds > 0.0 ? arguments.seconds : std::min(1.5 * publisher, 3.0);
    const bool stopped = terminal.wait(wait);
    if (!stopped) {
        history.read(source, view.problem);
    }
    view.before = history.before();
    view.now = history.latest();
    view.clock = clock();
    terminal.show(lines(view, columns(arguments)));
    return 0;
}

int again_and_again(Source& source, const Arguments& arguments) {
    const double begun = now();
    const Terminal terminal(true);
    History history;
    View view;
    view.source = source.name();
    view.keys = terminal.keys();
    bool good = false;
    for (;;) {
        good = history.read(source, view.problem) || good;
        if (!good && !terminal.in_place()) {
            std::cerr << "cogniware-top: " << view.problem << "\n";
            return 1;
        }
        view.before = history.before();
        view.now = history.latest();
        view.clock = clock();
        terminal.show(lines(view, columns(arguments)));
        const double left = arguments.seconds > 0.0 ? arguments.seconds - (now() - begun) : arguments.interval;
        if (left <= 0.0 || terminal.wait(std::min(left, arguments.interval))) {
            break;
        }
        if (!terminal.in_place()) {
            std::cout << "\n";
        }
    }
    return good ? 0 : 1;
}

}  // namespace

int view(Source& source, const Arguments& arguments) {
    catch_signals();
    return arguments.once ? once(source, arguments) : again_and_again(source, arguments);
}

}  // namespace cogniware_top
