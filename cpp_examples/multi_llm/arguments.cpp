#include "arguments.hpp"

#include <cstdlib>
#include <fstream>

namespace multi_llm {
namespace {

std::uint32_t number(const std::string& name, const std::string& text, std::uint32_t most) {
    const bool digits = !text.empty() && text.size() <= 9 && text.find_first_not_of("0123456789") == std::string::npos;
    const unsigned long value = digits ? std::strtoul(text.c_str(), nullptr, 10) : 0;
    if (value == 0 || value > most) {
        throw BadArgument(name + " wants a number from 1 to " + std::to_string(most) + ", not \"" + text + "\"");
    }
    return static_cast<std::uint32_t>(value);
}

void check_device(const std::string& device) {
    const bool numbered = device.rfind("cuda:", 0) == 0 && device.size() > 5 &&
                          device.find_first_not_of("0123456789", 5) == std::string::npos;
    if (device != "cpu" && device != "cuda" && device != "auto" && !numbered) {
        throw BadArgument("--device wants cpu, cuda, cuda:N or auto, not \"" + device + "\"");
    }
}

void check_model(const std::string& model) {
    if (model.empty() || !std::ifstream(model)) {
        throw BadArgument("--model: cannot read \"" + model + "\"; give a GGUF file or a Hugging Face folder");
    }
}

}  // namespace

Arguments parse(int argc, char** argv) {
    Arguments arguments;
    for (int at = 1; at < argc; ++at) {
        std::string name = argv[at];
        std::string value;
        const auto equals = name.find('=');
        const bool joined = name.rfind("--", 0) == 0 && equals != std::string::npos;
        if (joined) {
            value = name.substr(equals + 1);
            name.resize(equals);
        }
        if (name == "--help" || name == "-h") {
            arguments.help = true;
            return arguments;
        }
        if (name == "--json") {
            if (joined) {
                throw BadArgument("--json takes no value");
            }
            arguments.json = true;
            continue;
        }
        if (name != "--model" && name != "--llms" && name != "--device" && name != "--tokens") {
            throw BadArgument("\"" + name + "\" is no argument of multi_llm; --help lists them");
        }
        if (!joined) {
            if (at + 1 >= argc) {
                throw BadArgument(name + " wants a value");
            }
            value = argv[++at];
        }
        if (name == "--model") {
            check_model(value);
            arguments.model = value;
        } else if (name == "--llms") {
            arguments.llms = number(name, value, 64);
        } else if (name == "--device") {
            check_device(value);
            arguments.device = value;
        } else {
            arguments.tokens = number(name, value, 1000000);
        }
    }
    return arguments;
}

const char* usage() {
    return "Runs several language models at once on one device, each inside its own memory quota and on its own\n"
           "compute node, with its own weight of priority.\n"
           "\n"
           "usage: multi_llm [--model PATH] [--llms N] [--device cpu|cuda|cuda:N|auto] [--tokens N] [--json]\n"
           "\n"
           "  --model PATH   a GGUF file or a Hugging Face folder (default: the small model that ships along)\n"
           "  --llms N       how many run at once, 1 to 64 (default 4)\n"
           "  --device NAME  where (default: COGNIWARE_DEVICE, else a GPU when there is one)\n"
           "  --tokens N     the most tokens that each makes (default 128)\n"
           "  --json         print one JSON object instead of text\n"
           "  --help         print this\n";
}

}  // namespace multi_llm
