// What the user asks for on the command line.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>

namespace multi_llm {

struct Arguments {
    std::string model;           // path; empty: the small model that ships with Cogniware
    std::uint32_t llms = 4;      // how many tenants
    std::string device;          // empty: COGNIWARE_DEVICE, else auto
    std::uint32_t tokens = 128;  // the most tokens a tenant makes
    bool json = false;
    bool help = false;
};

// A wrong command line; what() names the argument.
class BadArgument : public std::invalid_argument {
public:
    using std::invalid_argument::invalid_argument;
};

Arguments parse(int argc, char** argv);

// What --help prints.
const char* usage();

}  // namespace multi_llm
