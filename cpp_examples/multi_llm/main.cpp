// Several language models at once on one device: the main job of Cogniware. --help says how to call it.
#include "arguments.hpp"
#include "fleet.hpp"
#include "json.hpp"
#include "progress.hpp"
#include "report.hpp"

#include <unistd.h>

#include <cstdio>
#include <exception>
#include <iomanip>
#include <iostream>

int main(int argc, char** argv) {
    using namespace multi_llm;
    try {
        const Arguments arguments = parse(argc, argv);
        if (arguments.help) {
            std::cout << usage();
            return 0;
        }
        Fleet fleet(arguments);
        // With --json, standard output holds the object alone.
        std::ostream& out = arguments.json ? std::cerr : std::cout;
        const bool terminal = isatty(arguments.json ? STDERR_FILENO : STDOUT_FILENO) != 0;
        if (!arguments.json || terminal) {
            out << arguments.llms << (arguments.llms == 1 ? " model on " : " models on ") << fleet.device_name()
                << "\n";
        }
        Progress progress(out, terminal);
        fleet.start(arguments.tokens);
        do {
            progress.show(fleet);
        } while (!fleet.wait(Progress::interval));
        progress.show(fleet);
        progress.clear();
        if (arguments.json) {
            std::cout << to_json(fleet) << std::endl;
        } else {
            std::cout << "\n"
                      << texts(fleet) << table(fleet) << "all in " << std::fixed << std::setprecision(3)
                      << fleet.seconds() << " s\n";
        }
        return 0;
    } catch (const BadArgument& error) {
        std::cerr << "multi_llm: " << error.what() << "\n";
        return 2;
    } catch (const std::exception& error) {
        std::cerr << "multi_llm: " << error.what() << "\n";
        return 1;
    }
}
