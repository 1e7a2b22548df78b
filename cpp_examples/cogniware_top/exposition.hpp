// Prometheus text (exposition format 0.0.4), read without trust in who wrote it.
#pragma once

#include <map>
#include <stdexcept>
#include <string>
#include <vector>

namespace cogniware_top {

struct Sample {
    std::string name;
    std::map<std::string, std::string> labels;
    double value = 0.0;
};

// Text that is no Prometheus text; what() names the line and what is wrong with it.
class BadText : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

// All samples of a text, in order. Throws BadText.
std::vector<Sample> parse(const std::string& text);

}  // namespace cogniware_top
