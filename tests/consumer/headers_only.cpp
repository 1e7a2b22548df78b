#include <cogniware/cogniware.hpp>

static_assert(CW_VERSION_NUMBER == CW_VERSION_MAJOR * 1000000 + CW_VERSION_MINOR * 1000 + CW_VERSION_PATCH, "version");
