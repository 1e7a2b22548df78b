// SPDX-License-Identifier: MIT OR Apache-2.0
// The documented header of the kernel, the driver and their manager. Its names are visible without a namespace.
#ifndef COGNIWARE_CORE_CUSTOMIZED_KERNEL_H
#define COGNIWARE_CORE_CUSTOMIZED_KERNEL_H

#include <cogniware/core/kernel_driver_manager.h>
#include <cogniware/error.hpp>

// The documented programs use these without including them.
#include <algorithm>
#include <iostream>

using cogniware::AdvancedCustomizedDriver;
using cogniware::AdvancedCustomizedKernel;
using cogniware::ComputeNode;
using cogniware::ComputeNodeType;
using cogniware::ComputeTask;
using cogniware::GPUDeviceInfo;
using cogniware::KernelDriverManager;
using cogniware::MemoryPartition;
using cogniware::MemoryPartitionType;
using cogniware::TaskPriority;

#endif
