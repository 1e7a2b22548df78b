#include "terminal.hpp"

#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <iostream>

namespace cogniware_top {
namespace {

volatile std::sig_atomic_t ended = 0;

void end(int) { ended = 1; }

winsize size() {
    winsize found{};
    return ioctl(STDOUT_FILENO, TIOCGWINSZ, &found) == 0 ? found : winsize{};
}

}  // namespace

void catch_signals() {
    struct sigaction action{};
    action.sa_handler = end;
    sigemptyset(&action.sa_mask);
    // Without SA_RESTART: a wait ends at once.
    for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
        sigaction(signal, &action, nullptr);
    }
    // A reader that has gone away is an error of the stream, seen below.
    std::signal(SIGPIPE, SIG_IGN);
}

bool is_ended() { return ended != 0; }

Terminal::Terminal(bool refresh) : in_place_(refresh && isatty(STDOUT_FILENO) != 0) {
    if (!in_place_) {
        return;
    }
    // Another screen, so that what was there comes back; no cursor.
    std::cout << "\x1b[?1049h\x1b[?25l" << std::flush;
    if (isatty(STDIN_FILENO) != 0 && tcgetattr(STDIN_FILENO, &before_) == 0) {
        termios raw = before_;
        raw.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO);
        raw.c_cc[VMIN] = 0;
        raw.c_cc[VTIME] = 0;
        keys_ = tcsetattr(STDIN_FILENO, TCSANOW, &raw) == 0;
    }
}

Terminal::~Terminal() {
    if (keys_) {
        tcsetattr(STDIN_FILENO, TCSANOW, &before_);
    }
    if (in_place_) {
        std::cout << "\x1b[?25h\x1b[?1049l" << std::flush;
    }
}

std::size_t Terminal::columns(std::size_t otherwise) {
    const winsize found = size();
    return found.ws_col > 0 ? found.ws_col : otherwise;
}

void Terminal::show(const std::vector<std::string>& lines) const {
    std::string text;
    if (!in_place_) {
        for (const std::string& line : lines) {
            text += line + "\n";
        }
        std::cout << text << std::flush;
        return;
    }
    // To the upper left, each line over the old one, the rest of it away; then all below. Nothing blinks so.
    const std::size_t rows = size().ws_row;
    const std::size_t most = rows == 0 ? lines.size() : std::min<std::size_t>(lines.size(), rows);
    text = "\x1b[H";
    for (std::size_t at = 0; at < most; ++at) {
        text += lines[at] + "\x1b[K" + (at + 1 < most ? "\r\n" : "");
    }
    std::cout << text << "\x1b[J" << std::flush;
}

bool Terminal::wait(double seconds) const {
    using Clock = std::chrono::steady_clock;
    const auto until =
        Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
    bool listen = keys_;
    while (!is_ended() && std::cout.good()) {
        const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(until - Clock::now()).count();
        if (left <= 0) {
            return false;
        }
        // A signal between the look above and the wait is seen after this long.
        const int piece = static_cast<int>(std::min<long long>(left, 200));
        pollfd input{STDIN_FILENO, POLLIN, 0};
        const int ready = poll(&input, listen ? 1 : 0, piece);
        if (ready <= 0) {
            continue;
        }
        char key = 0;
        const ssize_t got = read(STDIN_FILENO, &key, 1);
        if (got == 1 && (key == 'q' || key == 'Q')) {
            return true;
        }
        // The end of the input is no key: nobody can press any from here on.
        listen = got > 0 || (got < 0 && errno == EINTR);
    }
    return true;
}

}  // namespace cogniware_top
