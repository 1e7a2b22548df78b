// Reads a source again and again and shows it.
#pragma once

#include "arguments.hpp"
#include "source.hpp"

namespace cogniware_top {

// The program's exit status.
int view(Source& source, const Arguments& arguments);

}  // namespace cogniware_top
