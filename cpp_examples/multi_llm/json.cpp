#include "json.hpp"

#include "fleet.hpp"

#include <cstdio>
#include <locale>
#include <sstream>

namespace multi_llm {

std::string quoted(const std::string& text) {
    std::string out = "\"";
    for (const char c : text) {
        switch (c) {
            case '"': out += "\\\""; break;
            case '\\': out += "\\\\"; break;
            case '\n': out += "\\n"; break;
            case '\r': out += "\\r"; break;
            case '\t': out += "\\t"; break;
            default:
                if (static_cast<unsigned char>(c) < 0x20) {
                    char escaped[8];
                    std::snprintf(escaped, sizeof escaped, "\\u%04x", static_cast<unsigned>(c));
                    out += escaped;
                } else {
                    out += c;
                }
        }
    }
    return out + "\"";
}

std::string to_json(const Fleet& fleet) {
    std::ostringstream out;
    out.imbue(std::locale::classic());
    out << "{\"device\": " << quoted(fleet.device_name()) << ", \"tenants\": [";
    const auto figures = fleet.figures();
    for (std::size_t at = 0; at < figures.size(); ++at) {
        const auto& member = fleet.members()[at];
        const auto& figure = figures[at];
        out << (at == 0 ? "" : ", ") << "{\"id\": " << quoted(member.id)
            << ", \"text\": " << quoted(member.generation.text()) << ", \"tokens\": " << figure.tokens
            << ", \"tokens_per_second\": " << figure.tokens_per_second << ", \"ttft_ms\": " << figure.ttft_ms
            << ", \"memory_bytes\": " << figure.memory_bytes
            << ", \"memory_limit_bytes\": " << figure.memory_limit_bytes
            << ", \"node\": " << (figure.node < 0 ? "null" : std::to_string(figure.node))
            << ", \"device_time_share\": " << figure.device_time_share << "}";
    }
    out << "]}";
    return out.str();
}

}  // namespace multi_llm
