// What the user asks for on the command line.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>

namespace cogniware_top {

struct Arguments {
    std::string file;           // metrics that another process publishes
    bool demo = false;          // own tenants instead
    bool once = false;          // one table, then the end
    double seconds = 0.0;       // how long; 0: until it is ended
    double interval = 1.0;      // seconds between two refreshes
    std::uint32_t columns = 0;  // 0: as the terminal has
    std::string device;         // of the demo; empty: COGNIWARE_DEVICE, else auto
    bool help = false;
};

// A wrong command line; what() names the argument.
class BadArgument : public std::invalid_argument {
public:
    using std::invalid_argument::invalid_argument;
};

Arguments read_arguments(int argc, char** argv);

// What --help prints.
const char* usage();

}  // namespace cogniware_top
