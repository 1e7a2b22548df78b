// SPDX-License-Identifier: MIT OR Apache-2.0
// The documented header of MemoryVirtualizationManager. Its names are visible without a namespace.
#ifndef COGNIWARE_VIRTUALIZATION_MEMORY_VIRTUALIZATION_MANAGER_H
#define COGNIWARE_VIRTUALIZATION_MEMORY_VIRTUALIZATION_MANAGER_H

#include <cogniware/virtualization/memory.h>
#include <cogniware/error.hpp>

// The documented programs use these without including them.
#include <chrono>
#include <iostream>
#include <string>
#include <vector>

using cogniware::CompactionReport;
using cogniware::MemoryPolicy;
using cogniware::MemoryVirtualizationConfig;
using cogniware::MemoryVirtualizationManager;
using cogniware::VirtualMemoryInfo;
using cogniware::VirtualPage;

#endif
