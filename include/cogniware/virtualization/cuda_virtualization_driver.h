// SPDX-License-Identifier: MIT OR Apache-2.0
// The documented header of CUDAVirtualizationDriver. Its names are visible without a namespace.
#ifndef COGNIWARE_VIRTUALIZATION_CUDA_VIRTUALIZATION_DRIVER_H
#define COGNIWARE_VIRTUALIZATION_CUDA_VIRTUALIZATION_DRIVER_H

#include <cogniware/virtualization/driver.h>
#include <cogniware/error.hpp>

// The documented programs use these without including them.
#include <chrono>
#include <iostream>
#include <string>
#include <vector>

using cogniware::CUDAVirtualizationDriver;
using cogniware::VirtualGPUConfig;
using cogniware::VirtualGPUInfo;
using cogniware::VirtualGPUStatus;
using cogniware::VirtualizationConfig;

#endif
