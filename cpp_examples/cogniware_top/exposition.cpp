#include "exposition.hpp"

#include <cstdlib>

namespace cogniware_top {
namespace {

constexpr std::size_t most_samples = 200000;
constexpr std::size_t longest_number = 64;

bool begins_name(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == ':'; }
bool in_name(char c) { return begins_name(c) || (c >= '0' && c <= '9'); }

// One line, read from the left.
class Line {
public:
    Line(const std::string& text, std::size_t begin, std::size_t end, std::size_t number)
        : text_(text), at_(begin), end_(end), number_(number) {}

    bool ended() const { return at_ == end_; }
    char next() const { return ended() ? '\0' : text_[at_]; }
    void step() { ++at_; }

    void skip_blanks() {
        while (!ended() && (next() == ' ' || next() == '\t')) {
            step();
        }
    }

    bool take(char c) {
        if (ended() || next() != c) {
            return false;
        }
        step();
        return true;
    }

    std::string name(const char* what) {
        const std::size_t begin = at_;
        if (ended() || !begins_name(next())) {
            fail(std::string("a ") + what + " was expected");
        }
        while (!ended() && in_name(next())) {
            step();
        }
        return text_.substr(begin, at_ - begin);
    }

    std::string quoted() {
        if (!take('"')) {
            fail("a label's value must begin with a quotation mark");
        }
        std::string value;
        while (!ended() && next() != '"') {
            char c = next();
            step();
            if (c == '\\') {
                const char escaped = next();
                if (escaped != '\\' && escaped != '"' && escaped != 'n') {
                    fail("a label's value has an escape that is none");
                }
                step();
                c = escaped == 'n' ? '\n' : escaped;
            }
            value += c;
        }
        if (!take('"')) {
            fail("a label's value does not end");
        }
        return value;
    }

    double number() {
        const std::size_t begin = at_;
        while (!ended() && next() != ' ' && next() != '\t') {
            step();
        }
        const std::string word = text_.substr(begin, at_ - begin);
        if (word.empty() || word.size() > longest_number) {
            fail("a number was expected");
        }
        if (word == "NaN" || word == "+Inf" || word == "-Inf" || word == "Inf") {
            return std::strtod(word.c_str(), nullptr);
        }
        // What strtod takes beyond decimal numbers is not of this format.
        if (word.find_first_not_of("0123456789+-.eE") != std::string::npos) {
            fail("a number was expected");
        }
        char* rest = nullptr;
        const double value = std::strtod(word.c_str(), &rest);
        if (*rest != '\0') {
            fail("a number was expected");
        }
        return value;
    }

    [[noreturn]] void fail(const std::string& why) const {
        throw BadText("no Prometheus text: line " + std::to_string(number_) + ": " + why);
    }

private:
    const std::string& text_;
    std::size_t at_;
    std::size_t end_;
    std::size_t number_;
};

Sample sample(Line& line) {
    Sample found;
    found.name = line.name("metric's name");
    if (line.take('{')) {
        line.skip_blanks();
        while (!line.take('}')) {
            const std::string label = line.name("label's name");
            if (!line.take('=')) {
                line.fail("a label has no value");
            }
            if (!found.labels.emplace(label, line.quoted()).second) {
                line.fail("a label is there twice");
            }
            line.skip_blanks();
            if (!line.take(',') && line.next() != '}') {
                line.fail("labels do not end");
            }
            line.skip_blanks();
        }
    }
    line.skip_blanks();
    found.value = line.number();
    line.skip_blanks();
    if (!line.ended()) {
        // A time in milliseconds may follow.
        static_cast<void>(line.number());
        line.skip_blanks();
        if (!line.ended()) {
            line.fail("something follows the sample");
        }
    }
    return found;
}

}  // namespace

std::vector<Sample> parse(const std::string& text) {
    std::vector<Sample> samples;
    std::size_t number = 0;
    for (std::size_t begin = 0; begin < text.size();) {
        std::size_t end = text.find('\n', begin);
        ++number;
        if (end == std::string::npos) {
            // Every line of the format ends with a line feed: this one was cut.
            Line(text, begin, text.size(), number).fail("the text ends in the middle of it");
        }
        Line line(text, begin, end, number);
        begin = end + 1;
        line.skip_blanks();
        if (line.ended() || line.next() == '#') {
            continue;
        }
        if (samples.size() == most_samples) {
            line.fail("there are more than " + std::to_string(most_samples) + " samples");
        }
        samples.push_back(sample(line));
    }
    return samples;
}

}  // namespace cogniware_top
