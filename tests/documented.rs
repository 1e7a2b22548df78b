//! docs/api.md, the headers and the tests of the documented methods name the same things.

use std::collections::BTreeSet;
use std::path::Path;

/// The documented classes: their header below `include/cogniware`, the file of their tests, their methods.
const CLASSES: [(&str, &str, &str, &[&str]); 8] = [
    (
        "AdvancedCustomizedKernel",
        "core/kernel.h",
        "kernel.cpp",
        &[
            "initialize",
            "shutdown",
            "getAvailableDevices",
            "selectDevice",
            "getCurrentDevice",
            "getAvailableComputeNodes",
            "allocateComputeNode",
            "deallocateComputeNode",
            "getComputeNode",
            "getMemoryPartitions",
            "createMemoryPartition",
            "destroyMemoryPartition",
            "getMemoryPartition",
            "allocateMemory",
            "deallocateMemory",
            "copyMemory",
            "copyMemoryAsync",
            "scheduleTask",
            "cancelTask",
            "getTaskStatus",
            "getActiveTasks",
            "createStream",
            "synchronizeStream",
            "destroyStream",
            "getStreamsForLLM",
            "getPerformanceMetrics",
            "getResourceUsage",
            "enableProfiling",
            "disableProfiling",
            "optimizeForLLM",
            "createVirtualComputeNode",
            "destroyVirtualComputeNode",
            "getActiveLLMs",
            "setTaskWeightage",
            "enableDirectMemoryAccess",
            "disableDirectMemoryAccess",
        ],
    ),
    (
        "AdvancedCustomizedDriver",
        "core/driver.h",
        "driver.cpp",
        &[
            "initialize",
            "shutdown",
            "getKernel",
            "loadKernelModule",
            "unloadKernelModule",
            "bypassStandardDriver",
            "enableDirectHardwareAccess",
            "disableDirectHardwareAccess",
            "optimizeForMultipleLLMs",
            "enableTensorCoreOptimization",
            "enableMemoryOptimization",
            "getDriverInfo",
            "getPerformanceStats",
            "runDiagnostics",
            "patchKernelModule",
            "installCustomDriver",
            "uninstallCustomDriver",
            "verifyDriverInstallation",
            "getSupportedGPUs",
            "enableNVLinkOptimization",
            "enableAsyncMemoryTransfers",
        ],
    ),
    (
        "AdvancedPythonCppBridge",
        "core/bridge.h",
        "bridge.cpp",
        &[
            "initialize",
            "shutdown",
            "allocateMemoryArray",
            "deallocateMemoryArray",
            "getMemoryPointer",
            "copyToGPU",
            "copyFromGPU",
            "getResourceUsage",
            "getMemoryUsage",
            "getActiveLLMs",
            "isLLMActive",
            "getAvailableComputeNodes",
            "allocateComputeNode",
            "deallocateComputeNode",
            "getComputeNodeInfo",
            "scheduleTask",
            "cancelTask",
            "getTaskStatus",
            "getActiveTasks",
            "getPerformanceMetrics",
            "enableProfiling",
            "disableProfiling",
            "getProfilingData",
            "createSharedMemoryArray",
            "destroySharedMemoryArray",
            "getSharedMemoryPointer",
            "registerLLM",
            "unregisterLLM",
            "getLLMConfig",
            "updateLLMConfig",
            "optimizeForLLM",
            "createVirtualComputeNode",
            "destroyVirtualComputeNode",
            "getSystemInfo",
            "runDiagnostics",
            "getDiagnosticResults",
        ],
    ),
    (
        "KernelDriverManager",
        "core/kernel_driver_manager.h",
        "managers.cpp",
        &[
            "getInstance",
            "initializeSystem",
            "shutdownSystem",
            "isSystemInitialized",
            "getKernel",
            "getDriver",
            "getSystemPerformanceMetrics",
            "getSystemResourceUsage",
            "enableSystemProfiling",
            "disableSystemProfiling",
            "setKernelConfiguration",
            "getKernelConfiguration",
            "setDriverConfiguration",
            "getDriverConfiguration",
        ],
    ),
    (
        "PythonCppBridgeManager",
        "core/bridge_manager.h",
        "managers.cpp",
        &[
            "getInstance",
            "initializeBridge",
            "shutdownBridge",
            "isBridgeInitialized",
            "getBridge",
            "allocateMemoryArray",
            "deallocateMemoryArray",
            "getResourceUsage",
            "getActiveLLMs",
            "registerLLM",
            "unregisterLLM",
            "scheduleTask",
            "setBridgeConfiguration",
            "getBridgeConfiguration",
        ],
    ),
    (
        "CUDAVirtualizationDriver",
        "virtualization/driver.h",
        "virtual_driver.cpp",
        &[
            "getInstance",
            "initialize",
            "shutdown",
            "createVirtualGPU",
            "destroyVirtualGPU",
            "getVirtualGPUStatus",
            "getVirtualGPUInfo",
            "getAllVirtualGPUInfo",
            "allocateMemory",
            "freeMemory",
            "copyMemory",
            "memset",
            "matrixMultiply",
            "convolutionForward",
            "activationForward",
            "getGPUUtilization",
        ],
    ),
    (
        "MemoryVirtualizationManager",
        "virtualization/memory.h",
        "virtual_memory.cpp",
        &[
            "getInstance",
            "initialize",
            "shutdown",
            "createVirtualMemorySpace",
            "destroyVirtualMemorySpace",
            "allocateMemory",
            "freeMemory",
            "copyMemory",
            "memset",
            "defragment",
            "compact",
            "getVirtualMemoryInfo",
        ],
    ),
    (
        "ComputeVirtualizationManager",
        "virtualization/compute.h",
        "virtual_compute.cpp",
        &[
            "getInstance",
            "initialize",
            "shutdown",
            "createVirtualComputeUnit",
            "destroyVirtualComputeUnit",
            "getVirtualComputeUnitInfo",
            "executeKernel",
            "synchronize",
            "cancelKernel",
            "setComputeShare",
            "enableTensorCores",
            "disableTensorCores",
            "scaleComputeUnits",
        ],
    ),
];

/// The documented structs and enumerations of `core/kernel_types.h`, with their members.
const TYPES: [(&str, &[&str]); 7] = [
    (
        "ComputeNode",
        &[
            "nodeId",
            "type",
            "memorySize",
            "computeCapability",
            "isAllocated",
            "isActive",
            "lastUsed",
            "allocatedCores",
            "allocatedMemory",
            "customData",
        ],
    ),
    (
        "MemoryPartition",
        &[
            "partitionId",
            "type",
            "size",
            "offset",
            "isAllocated",
            "devicePtr",
            "hostPtr",
            "ownerLLM",
            "allocatedAt",
        ],
    ),
    (
        "ComputeTask",
        &[
            "taskId",
            "llmId",
            "priority",
            "requiredMemory",
            "requiredCores",
            "taskFunction",
            "createdAt",
            "scheduledAt",
            "completedAt",
            "isCompleted",
            "result",
        ],
    ),
    (
        "GPUDeviceInfo",
        &[
            "deviceId",
            "name",
            "totalMemory",
            "freeMemory",
            "computeCapability",
            "maxThreadsPerBlock",
            "maxBlocksPerGrid",
            "maxThreadsPerMultiProcessor",
            "multiProcessorCount",
            "tensorCoreCount",
            "cudaCoreCount",
            "supportsNVLink",
            "nvLinkConnections",
        ],
    ),
    ("ComputeNodeType", &["TENSOR_CORE", "CUDA_CORE", "MEMORY_BANK", "SHARED_MEMORY", "L2_CACHE"]),
    (
        "MemoryPartitionType",
        &["GLOBAL_MEMORY", "SHARED_MEMORY", "CONSTANT_MEMORY", "TEXTURE_MEMORY", "LOCAL_MEMORY"],
    ),
    ("TaskPriority", &["CRITICAL", "HIGH", "NORMAL", "LOW", "BACKGROUND"]),
];

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The public methods of a class, without its constructors.
fn methods(header: &str, class: &str) -> BTreeSet<String> {
    let start = [" {", " :"]
        .iter()
        .find_map(|end| header.find(&format!("class {class}{end}")))
        .unwrap_or_else(|| panic!("no class {class}"));
    let body = &header[start..];
    let body = &body[..body.find("\nprivate:").or_else(|| body.find("\n};")).expect("an end of the class")];
    let mut found = BTreeSet::new();
    for line in body.lines().filter(|l| l.starts_with("    ") && !l[4..].starts_with([' ', '/', '}'])) {
        let Some((before, _)) = line.split_once('(') else { continue };
        let name: String = before
            .chars()
            .rev()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect::<Vec<_>>()
            .iter()
            .rev()
            .collect();
        let special = name == class || before.contains('~') || before.contains("operator") || name == "get";
        if !special && !name.is_empty() && name.starts_with(|c: char| c.is_lowercase()) {
            found.insert(name);
        }
    }
    found
}

/// The rows of the section of docs/api.md with this title: the name in the first column, and the other columns.
fn rows(page: &str, title: &str) -> Vec<(String, Vec<String>)> {
    let start =
        page.find(&format!("\n## {title}\n")).unwrap_or_else(|| panic!("docs/api.md has no section {title}"));
    let section = &page[start + 1..];
    let section = &section[..section[3..].find("\n## ").map_or(section.len(), |at| at + 3)];
    let cells = |line: &str| -> Vec<String> {
        line.trim().trim_matches('|').split(" | ").map(|c| c.trim().to_owned()).collect()
    };
    let table = section.lines().filter(|l| l.starts_with("| `"));
    table.map(cells).map(|c| (c[0].trim_matches('`').to_owned(), c[1..].to_vec())).collect()
}

#[test]
fn every_method_is_in_its_header_in_the_table_and_has_a_test() {
    let page = read("docs/api.md");
    let mut wrong = Vec::new();
    for (class, header, tests, documented) in CLASSES {
        let header = read(&format!("include/cogniware/{header}"));
        let tests = read(&format!("tests/documented/{tests}"));
        let there = methods(&header, class);
        let told: BTreeSet<String> = rows(&page, class).into_iter().map(|(name, _)| name).collect();
        for name in documented {
            if !there.contains(*name) {
                wrong.push(format!("{class}::{name} is documented and not in the header"));
            }
            if !tests.contains(&format!("METHOD({class}, {name})")) {
                wrong.push(format!("{class}::{name} has no test in tests/documented"));
            }
        }
        wrong.extend(there.difference(&told).map(|n| format!("{class}::{n} is not in docs/api.md")));
        wrong.extend(told.difference(&there).map(|n| format!("{class}::{n} is in docs/api.md only")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_row_says_what_happens_on_each_device_and_when_it_is_refused() {
    let page = read("docs/api.md");
    for (class, ..) in CLASSES {
        for (name, cells) in rows(&page, class) {
            assert_eq!(cells.len(), 3, "{class}::{name}: {cells:?}");
            assert!(cells.iter().all(|c| !c.is_empty()), "{class}::{name} leaves a column empty");
        }
    }
}

#[test]
fn every_field_and_enumerator_is_in_the_header_and_in_the_table() {
    let (page, header) = (read("docs/api.md"), read("include/cogniware/core/kernel_types.h"));
    for (name, members) in TYPES {
        let start = ["struct", "enum class"]
            .iter()
            .find_map(|kind| header.find(&format!("\n{kind} {name} {{")))
            .unwrap_or_else(|| panic!("no type {name}"));
        let body = &header[start..];
        let body = &body[..body.find("};").expect("an end of the type")];
        let told: Vec<String> = rows(&page, name).into_iter().map(|(member, _)| member).collect();
        assert_eq!(told, members, "docs/api.md on {name}");
        let words: BTreeSet<&str> = body.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
        for member in members {
            assert!(words.contains(member), "{name} has no {member}");
        }
    }
}
