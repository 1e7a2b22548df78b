#include "table.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>

namespace cogniware_top {
namespace {

struct Character {
    std::size_t length = 1;  // bytes
    std::uint32_t code = 0;
    bool shown = false;  // a terminal may get it
};

// The UTF-8 character at `at`.
Character character(const std::string& text, std::size_t at) {
    const auto byte = [&](std::size_t i) { return static_cast<std::uint32_t>(static_cast<unsigned char>(text[i])); };
    const std::uint32_t first = byte(at);
    Character found;
    if (first < 0x80) {
        found.shown = first >= 0x20 && first != 0x7f;
        found.code = first;
        return found;
    }
    const std::size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
    if (first < 0xc2 || first > 0xf4 || at + length > text.size()) {
        return found;
    }
    found.code = first & (0xffU >> (length + 1));
    for (std::size_t i = 1; i < length; ++i) {
        if ((byte(at + i) & 0xc0) != 0x80) {
            return found;
        }
        found.code = found.code << 6 | (byte(at + i) & 0x3f);
    }
    const std::uint32_t code = found.code;
    const bool long_form = (length == 3 && code < 0x800) || (length == 4 && code < 0x10000);
    const bool no_character = (code >= 0xd800 && code <= 0xdfff) || code > 0x10ffff;
    // Controls, and marks that turn the direction of writing or have no width.
    const bool control = code < 0xa0 || (code >= 0x200b && code <= 0x200f) || (code >= 0x2028 && code <= 0x202e) ||
                         (code >= 0x2060 && code <= 0x206f) || code == 0xfeff || code >= 0xe0000;
    found.length = length;
    found.shown = !long_form && !no_character && !control;
    return found;
}

// Columns of a terminal that a character takes, nearly.
std::size_t columns_of(std::uint32_t code) {
    if (code >= 0x300 && code <= 0x36f) {
        return 0;
    }
    const bool wide = (code >= 0x1100 && code <= 0x115f) || (code >= 0x2e80 && code <= 0xa4cf) ||
                      (code >= 0xac00 && code <= 0xd7a3) || (code >= 0xf900 && code <= 0xfaff) ||
                      (code >= 0xfe30 && code <= 0xfe6f) || (code >= 0xff00 && code <= 0xff60) ||
                      (code >= 0x1f300 && code <= 0x1faff) || code >= 0x20000;
    return wide ? 2 : 1;
}

std::string formatted(const char* format, double value) {
    char text[64];
    std::snprintf(text, sizeof text, format, value);
    return text;
}

// Three digits that matter.
std::string three_digits(double value) {
    return formatted(value < 9.995 ? "%.2f" : value < 99.95 ? "%.1f" : "%.0f", value);
}

}  // namespace

std::string clean(const std::string& text, std::size_t most) {
    std::string shown;
    std::string cut;  // what is shown when there is more than fits
    std::size_t columns = 0;
    for (std::size_t at = 0; at < text.size();) {
        const Character one = character(text, at);
        const std::size_t wide = one.shown ? columns_of(one.code) : 1;
        // Marks without a width could go on for ever.
        if (columns + wide > most || shown.size() > 4 * most) {
            return most == 0 ? "" : cut + "~";
        }
        shown += one.shown ? text.substr(at, one.length) : "?";
        at += one.length;
        columns += wide;
        if (columns < most) {
            cut = shown;
        }
    }
    return shown;
}

std::size_t width(const std::string& text) {
    std::size_t columns = 0;
    for (std::size_t at = 0; at < text.size();) {
        const Character one = character(text, at);
        columns += one.shown ? columns_of(one.code) : 1;
        at += one.length;
    }
    return columns;
}

std::string padded(const std::string& text, std::size_t columns, bool right) {
    const std::size_t used = width(text);
    const std::string blanks(columns > used ? columns - used : 0, ' ');
    return right ? blanks + text : text + blanks;
}

std::string bytes(const Figure& value) {
    if (!value) {
        return "-";
    }
    double rest = *value;
    if (rest < 1024.0) {
        return formatted("%.0f", rest);
    }
    const char* unit = "KMGTPE";
    for (rest /= 1024.0; rest >= 999.5 && unit[1] != '\0'; ++unit) {
        rest /= 1024.0;
    }
    if (rest >= 99999.5) {
        return "lots";
    }
    return formatted(rest < 9.95 ? "%.1f" : "%.0f", rest) + *unit;
}

std::string percent(const Figure& value) {
    // More than this is no part of anything.
    return value && *value < 99.0 ? formatted("%.0f%%", *value * 100.0) : "-";
}

std::string milliseconds(const Figure& seconds) {
    if (!seconds || *seconds >= 1e5) {
        return "-";
    }
    const double ms = *seconds * 1e3;
    return ms < 0.9995 ? formatted("%.3f", ms) : three_digits(ms);
}

std::string count(const Figure& value) {
    if (!value) {
        return "-";
    }
    double rest = *value;
    const char* unit = " kMGTPE";
    for (; rest >= 9999.5 && unit[1] != '\0'; ++unit) {
        rest /= 1000.0;
    }
    if (rest >= 9999.5) {
        return "lots";
    }
    if (*unit == ' ') {
        return rest < 9.95 && rest != std::floor(rest) ? formatted("%.1f", rest) : formatted("%.0f", rest);
    }
    return three_digits(rest) + *unit;
}

std::string bar(const Figure& part, const Figure& mark, std::size_t columns) {
    if (columns < 3) {
        return std::string(columns, ' ');
    }
    const std::size_t cells = columns - 2;
    const auto cell = [&](double p) {
        return static_cast<std::size_t>(std::lround(std::min(std::max(p, 0.0), 1.0) * static_cast<double>(cells)));
    };
    std::string inside(cells, '.');
    if (part) {
        std::fill_n(inside.begin(), static_cast<std::ptrdiff_t>(cell(*part)), '#');
    }
    if (mark && *mark > 0.0) {
        const std::size_t at = std::max<std::size_t>(cell(*mark), 1) - 1;
        if (inside[at] == '.') {
            inside[at] = '|';
        }
    }
    return "[" + inside + "]";
}

std::vector<std::string> table(const std::vector<Column>& columns) {
    std::size_t rows = 0;
    std::vector<std::size_t> widths;
    for (const Column& column : columns) {
        std::size_t widest = width(column.title);
        for (const std::string& cell : column.cells) {
            widest = std::max(widest, width(cell));
        }
        widths.push_back(widest);
        rows = std::max(rows, column.cells.size());
    }
    std::vector<std::string> lines(rows + 1);
    for (std::size_t at = 0; at < columns.size(); ++at) {
        const Column& column = columns[at];
        for (std::size_t row = 0; row <= rows; ++row) {
            const std::string& cell = row == 0 ? column.title : column.cells[row - 1];
            lines[row] += (at == 0 ? "" : " ") + padded(cell, widths[at], column.right);
        }
    }
    for (std::string& line : lines) {
        line.resize(line.find_last_not_of(' ') + 1);
    }
    return lines;
}

}  // namespace cogniware_top
