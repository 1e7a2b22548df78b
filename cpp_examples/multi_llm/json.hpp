// The result as one JSON object.
#pragma once

#include <string>

namespace multi_llm {

class Fleet;

// A JSON string with its quotes.
std::string quoted(const std::string& text);

// {"device": …, "tenants": [{"id", "text", "tokens", …}, …]}
std::string to_json(const Fleet& fleet);

}  // namespace multi_llm
