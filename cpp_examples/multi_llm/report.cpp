#include "report.hpp"

#include "fleet.hpp"

#include <iomanip>
#include <sstream>

namespace multi_llm {
namespace {

std::string mebibytes(std::uint64_t bytes) {
    std::ostringstream out;
    out << std::fixed << std::setprecision(1) << static_cast<double>(bytes) / (1024 * 1024);
    return out.str();
}

}  // namespace

std::string table(const Fleet& fleet) {
    std::ostringstream out;
    out << std::fixed;
    out << std::left << std::setw(7) << "llm" << std::right << std::setw(7) << "weight" << std::setw(8) << "tokens"
        << std::setw(10) << "tokens/s" << std::setw(12) << "first ms" << std::setw(20) << "MiB held/quota"
        << std::setw(14) << "node (size)" << std::setw(14) << "device time" << "\n";
    const auto figures = fleet.figures();
    for (std::size_t at = 0; at < figures.size(); ++at) {
        const auto& member = fleet.members()[at];
        const auto& figure = figures[at];
        std::ostringstream first;
        first << std::fixed << std::setprecision(1) << figure.ttft_ms;
        const std::string node =
            figure.node < 0 ? "-" : std::to_string(figure.node) + " (" + std::to_string(figure.processors) + ")";
        out << std::left << std::setw(7) << member.id << std::right << std::setprecision(1) << std::setw(7)
            << member.weight << std::setw(8) << figure.tokens << std::setw(10) << figure.tokens_per_second
            << std::setw(12) << (member.ended ? first.str() : "-") << std::setw(20)
            << mebibytes(figure.memory_bytes) + "/" + mebibytes(figure.memory_limit_bytes) << std::setw(14) << node
            << std::setw(12) << 100 * figure.device_time_share << " %\n";
    }
    return out.str();
}

std::string texts(const Fleet& fleet) {
    std::string out;
    for (const auto& member : fleet.members()) {
        out += member.id + ": " + member.prompt + "\n" + member.generation.text() + "\n\n";
    }
    return out;
}

}  // namespace multi_llm
