import cogniware_core

# Initialize the system
kernel_manager = cogniware_core.KernelDriverManager.get_instance()
kernel_manager.initialize_system()

bridge_manager = cogniware_core.PythonCppBridgeManager.get_instance()
bridge_manager.initialize_bridge()

# Get components
kernel = kernel_manager.get_kernel()
driver = kernel_manager.get_driver()
bridge = bridge_manager.get_bridge()

# Device management
devices = kernel.get_available_devices()
print(f"Found {len(devices)} GPU devices")

for device in devices:
    print(f"Device {device.device_id}: {device.name}")
    print(f"  Memory: {device.total_memory / (1024**3):.1f} GB total, {device.free_memory / (1024**3):.1f} GB free")
    print(f"  Tensor Cores: {device.tensor_core_count}")
    print(f"  CUDA Cores: {device.cuda_core_count}")

# Select device
kernel.select_device(0)
current_device = kernel.get_current_device()
print(f"Selected device: {current_device.name}")

# LLM registration
llm_config = {
    "model_type": "gpt",
    "max_tokens": "100",
    "temperature": "0.7"
}
bridge.register_llm("test_llm", llm_config)

# Memory management
array = bridge.allocate_memory_array(1000, "test_llm")
print(f"Allocated memory array of size {array.size}")

# Get memory pointer
ptr = bridge.get_memory_pointer(array)
print(f"Memory pointer: {ptr}")

# Compute node management
available_nodes = bridge.get_available_compute_nodes()
print(f"Available compute nodes: {available_nodes}")

if available_nodes:
    node_id = available_nodes[0]
    allocated = bridge.allocate_compute_node(node_id, "test_llm")
    print(f"Allocated compute node {node_id}: {allocated}")

# Task scheduling
task_params = {
    "task_type": "inference",
    "priority": "normal"
}
task_id = bridge.schedule_task("test_llm", "inference", task_params)
print(f"Scheduled task: {task_id}")

# Monitor task status
task_status = bridge.get_task_status(task_id)
print(f"Task status: {task_status}")

# Resource monitoring
resource_usage = bridge.get_resource_usage("test_llm")
print(f"Resource usage: {resource_usage}")

memory_usage = bridge.get_memory_usage("test_llm")
print(f"Memory usage: {memory_usage}")

# Performance monitoring
metrics = bridge.get_performance_metrics()
print(f"Performance metrics: {metrics}")

# Enable profiling
bridge.enable_profiling("test_llm")
profiling_data = bridge.get_profiling_data("test_llm")
print(f"Profiling data: {profiling_data}")

# Active LLMs
active_llms = bridge.get_active_llms()
print(f"Active LLMs: {active_llms}")

# System info
system_info = bridge.get_system_info()
print(f"System info: {system_info}")

# Diagnostics
diagnostics_passed = bridge.run_diagnostics()
print(f"Diagnostics passed: {diagnostics_passed}")

diagnostic_results = bridge.get_diagnostic_results()
print(f"Diagnostic results: {diagnostic_results}")

# Cleanup
bridge.deallocate_memory_array(array, "test_llm")
bridge.unregister_llm("test_llm")

bridge_manager.shutdown_bridge()
kernel_manager.shutdown_system()
