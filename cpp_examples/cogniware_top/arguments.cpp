#include "arguments.hpp"

#include <cstdlib>

namespace cogniware_top {
namespace {

double number(const std::string& name, const std::string& text, double least, double most) {
    char* rest = nullptr;
    const bool digits = !text.empty() && text.size() <= 9 && text.find_first_not_of("0123456789.") == std::string::npos;
    const double value = digits ? std::strtod(text.c_str(), &rest) : -1.0;
    if (!digits || *rest != '\0' || value < least || value > most) {
        throw BadArgument(name + " wants a number from " + std::to_string(least).substr(0, 3) + " to " +
                          std::to_string(static_cast<long>(most)) + ", not \"" + text + "\"");
    }
    return value;
}

void check_device(const std::string& device) {
    const bool numbered = device.rfind("cuda:", 0) == 0 && device.size() > 5 && device.size() < 9 &&
                          device.find_first_not_of("0123456789", 5) == std::string::npos;
    if (device != "cpu" && device != "cuda" && device != "auto" && !numbered) {
        throw BadArgument("--device wants cpu, cuda, cuda:N or auto, not \"" + device + "\"");
    }
}

}  // namespace

Arguments read_arguments(int argc, char** argv) {
    Arguments arguments;
    for (int at = 1; at < argc; ++at) {
        std::string name = argv[at];
        std::string value;
        if (name.rfind("-", 0) != 0 || name == "-") {
            if (!arguments.file.empty() || name.empty()) {
                throw BadArgument("one file is wanted; \"" + name + "\" is " + (name.empty() ? "none" : "a second"));
            }
            arguments.file = name;
            continue;
        }
        const auto equals = name.find('=');
        const bool joined = equals != std::string::npos;
        if (joined) {
            value = name.substr(equals + 1);
            name.resize(equals);
        }
        if (name == "--help" || name == "-h" || name == "--demo" || name == "--once") {
            if (joined) {
                throw BadArgument(name + " takes no value");
            }
            arguments.help = arguments.help || name == "--help" || name == "-h";
            arguments.demo = arguments.demo || name == "--demo";
            arguments.once = arguments.once || name == "--once";
            continue;
        }
        if (name != "--seconds" && name != "--interval" && name != "--columns" && name != "--device") {
            throw BadArgument("\"" + name + "\" is no argument of cogniware-top; --help lists them");
        }
        if (!joined) {
            if (at + 1 >= argc) {
                throw BadArgument(name + " wants a value");
            }
            value = argv[++at];
        }
        if (name == "--seconds") {
            arguments.seconds = number(name, value, 0.1, 1e6);
        } else if (name == "--interval") {
            arguments.interval = number(name, value, 0.1, 3600);
        } else if (name == "--columns") {
            arguments.columns = static_cast<std::uint32_t>(number(name, value, 40, 500));
        } else {
            check_device(value);
            arguments.device = value;
        }
    }
    if (!arguments.help && arguments.demo == !arguments.file.empty()) {
        throw BadArgument("give the file that a process publishes its metrics to, or --demo; --help says more");
    }
    return arguments;
}

const char* usage() {
    return "Shows the tenants of a process: memory, shares, utilisation, waits, latency, compactions.\n"
           "\n"
           "usage: cogniware-top FILE [--once] [--seconds N] [--interval N] [--columns N]\n"
           "       cogniware-top --demo [--device cpu|cuda|cuda:N|auto] [the same]\n"
           "\n"
           "  FILE           what another process publishes with publishMetrics(FILE, intervalMs)\n"
           "  --demo         makes three virtual GPUs of different shares, gives them work and shows itself\n"
           "  --once         prints one table and ends\n"
           "  --seconds N    ends after so long\n"
           "  --interval N   seconds between two refreshes (default 1)\n"
           "  --columns N    width, where the terminal does not tell (default: the terminal's, else 120)\n"
           "  --device NAME  of the demo (default: COGNIWARE_DEVICE, else a GPU when there is one)\n"
           "  --help         prints this\n"
           "\n"
           "On a terminal it refreshes in place; q ends it. Where standard output is none it prints a table each "
           "time.\n";
}

}  // namespace cogniware_top
