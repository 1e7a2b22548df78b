// The figures as a table, and the texts.
#pragma once

#include <string>

namespace multi_llm {

class Fleet;

// A table of every member's figures, with a heading; every line ends.
std::string table(const Fleet& fleet);

// Every member's prompt and text.
std::string texts(const Fleet& fleet);

}  // namespace multi_llm
