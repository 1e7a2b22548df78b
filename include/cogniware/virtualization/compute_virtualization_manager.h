// SPDX-License-Identifier: MIT OR Apache-2.0
// The documented header of ComputeVirtualizationManager. Its names are visible without a namespace.
#ifndef COGNIWARE_VIRTUALIZATION_COMPUTE_VIRTUALIZATION_MANAGER_H
#define COGNIWARE_VIRTUALIZATION_COMPUTE_VIRTUALIZATION_MANAGER_H

#include <cogniware/virtualization/compute.h>
#include <cogniware/error.hpp>

// The documented programs use these without including them.
#include <chrono>
#include <iostream>
#include <string>
#include <vector>

using cogniware::ComputeVirtualizationConfig;
using cogniware::ComputeVirtualizationManager;
using cogniware::ExecutionState;
using cogniware::ExecutionStatus;
using cogniware::HostLaunch;
using cogniware::KernelArgument;
using cogniware::KernelConfig;
using cogniware::KernelParameter;
using cogniware::VirtualComputeUnitConfig;
using cogniware::VirtualComputeUnitInfo;

#endif
