// Tables and bars of plain characters.
#pragma once

#include "figures.hpp"

#include <string>
#include <vector>

namespace cogniware_top {

// Text that can be put on a terminal: what is no printable UTF-8 becomes '?', and what takes more than `most` columns is
// cut, which a '~' shows.
std::string clean(const std::string& text, std::size_t most);

// Columns that such a text takes.
std::size_t width(const std::string& text);

// Filled up with blanks to `columns`, on the left or on the right.
std::string padded(const std::string& text, std::size_t columns, bool right);

// "1.5G", "512M", "0"; "-" for what is not known.
std::string bytes(const Figure& value);

// "42%"; "100%".
std::string percent(const Figure& value);

// A time as milliseconds: "0.042", "12.3", "1250".
std::string milliseconds(const Figure& seconds);

// "1250", "12.3k".
std::string count(const Figure& value);

// A bar like "[####..|.]": filled up to `part`, with a mark at `mark`.
std::string bar(const Figure& part, const Figure& mark, std::size_t columns);

struct Column {
    std::string title;
    bool right;
    std::vector<std::string> cells;  // by row
};

// Lines of a table: its titles, then its rows. Columns are as wide as they need.
std::vector<std::string> table(const std::vector<Column>& columns);

}  // namespace cogniware_top
