// SPDX-License-Identifier: MIT OR Apache-2.0
// The documented header of the bridge and its manager. Its names are visible without a namespace.
#ifndef COGNIWARE_CORE_PYTHON_CPP_BRIDGE_H
#define COGNIWARE_CORE_PYTHON_CPP_BRIDGE_H

#ifdef COGNIWARE_WITH_PYBIND11
#include <cogniware/python/array.h>
#endif

#include <cogniware/core/bridge_manager.h>
#include <cogniware/core/dlpack.hpp>
#include <cogniware/error.hpp>

using cogniware::AdvancedPythonCppBridge;
using cogniware::PythonCppBridgeManager;

#endif
