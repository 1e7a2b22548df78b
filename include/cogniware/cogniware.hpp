// SPDX-License-Identifier: MIT OR Apache-2.0
// Everything of Cogniware's C++ face but the documented classes of core/, which have headers of their own.
#ifndef COGNIWARE_COGNIWARE_HPP
#define COGNIWARE_COGNIWARE_HPP

#include <cogniware/device.hpp>
#include <cogniware/error.hpp>
#include <cogniware/errors.hpp>
#include <cogniware/model.hpp>
#include <cogniware/profiler.hpp>
#include <cogniware/tenant.hpp>

#endif
