// A terminal viewer of virtual GPUs and LLMs, over the public API alone. --help says how to call it.
#include "arguments.hpp"
#include "demo.hpp"
#include "source.hpp"
#include "viewer.hpp"

#include <exception>
#include <iostream>

int main(int argc, char** argv) {
    using namespace cogniware_top;
    try {
        const Arguments arguments = read_arguments(argc, argv);
        if (arguments.help) {
            std::cout << usage();
            return 0;
        }
        if (arguments.demo) {
            Demo demo(arguments.device);
            return view(demo, arguments);
        }
        File file(arguments.file);
        return view(file, arguments);
    } catch (const BadArgument& error) {
        std::cerr << "cogniware-top: " << error.what() << "\n";
        return 2;
    } catch (const std::exception& error) {
        std::cerr << "cogniware-top: " << error.what() << "\n";
        return 1;
    }
}
