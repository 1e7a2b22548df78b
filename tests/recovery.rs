//! Going on after failures, by faults injected into the mock driver: a lost context, memory that runs out, no GPU. Run on
//! the mock driver: these say nothing about a real GPU's answers.
#![cfg(feature = "cuda")]

mod mock_driver;

use cogniware::bridge::Bridge;
use cogniware::device::{self, Device, DeviceChoice, DeviceKind};
use cogniware::kernel::Kernel;
use cogniware::telemetry::{
    history,
    recovery::{Recovery, counts},
};
use cogniware::tenant::{self, TenantConfig};
use cogniware::{Category, Status};
use mock_driver::Mock;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// The driver of this process is the mock, and one test at a time plays with it.
fn mock() -> (&'static Mock, MutexGuard<'static, ()>) {
    static MOCK: OnceLock<Mock> = OnceLock::new();
    static ONE: Mutex<()> = Mutex::new(());
    let one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mock = MOCK.get_or_init(|| {
        let mock = Mock::new();
        // SAFETY: the first thing that the first test does, while the others wait.
        unsafe {
            std::env::set_var("COGNIWARE_LIBCUDA", mock.path());
            std::env::set_var("COGNIWARE_DEVICE", "cuda");
            std::env::remove_var("COGNIWARE_FALLBACK");
            std::env::remove_var("COGNIWARE_RECOVER");
        }
        mock
    });
    mock.fail("");
    device::set_fallback(None).unwrap();
    (mock, one)
}

fn gpu() -> Arc<dyn Device> {
    device::open(DeviceChoice::Cuda(0)).unwrap()
}

fn config(bytes: u64) -> TenantConfig {
    TenantConfig { memory_limit: bytes, memory_floor: 0, processors: 8, weight: 1.0, priority: 2 }
}

/// A fault that loses the device for good.
fn lose(mock: &Mock, device: &Arc<dyn Device>) -> cogniware::Error {
    mock.fail("cuCtxSynchronize:1:700");
    device.synchronize().unwrap_err()
}

#[test]
fn a_lost_device_is_opened_anew_and_its_tenants_are_told() {
    let (mock, _one) = mock();
    let first = gpu();
    let kernel = Kernel::default();
    kernel.initialize().unwrap();
    let tenant = tenant::open("lost", &first, &config(64 << 20)).unwrap();
    let (told, tells) = std::sync::mpsc::channel();
    tenant.when_lost(Box::new(move || {
        let _ = told.send(());
    }));
    let memory = tenant.space().alloc(1 << 20, 256, "test").unwrap();
    let stream = tenant.open_stream(0).unwrap();
    let before = counts(Recovery::Context);

    let e = lose(mock, &first);
    assert_eq!(
        (e.status(), e.category(), e.driver_code()),
        (Status::DeviceLost, Category::Device, Some(700))
    );
    assert!(e.call().unwrap().starts_with("cuCtxSynchronize("), "{e}");
    assert!(e.advice().unwrap().contains("recover"), "{e}");
    assert!(first.is_lost());
    // Nobody gets it any more, and the error says what helps.
    let e = device::open(DeviceChoice::Cuda(0)).err().unwrap();
    assert_eq!(e.status(), Status::DeviceLost);
    assert!(e.advice().unwrap().contains("recoverDevice"), "{e}");

    kernel.recover_device(0).unwrap();
    tells.try_recv().expect("the tenant was told");
    assert_eq!(counts(Recovery::Context), (before.0 + 1, before.1 + 1));
    assert!(tenant.is_lost() && tenant.is_closed());
    // What was made there is an error, not a crash.
    assert_eq!(first.synchronize().unwrap_err().status(), Status::DeviceLost);
    assert_eq!(first.write(memory, &[1]).unwrap_err().status(), Status::DeviceLost);
    assert_eq!(tenant.node().err().unwrap().status(), Status::DeviceLost);
    assert_eq!(tenant.new_stream(0).err().unwrap().status(), Status::DeviceLost);
    assert_eq!(tenant.stream(stream).err().unwrap().status(), Status::NotFound);

    // The device works again, under the same name, with all its memory once the old tenant is gone.
    let second = gpu();
    assert!(!Arc::ptr_eq(&first, &second) && !second.is_lost());
    assert!(Arc::ptr_eq(&second, &kernel.current_device().unwrap().1));
    drop(tenant);
    assert_eq!(mock.live("phys"), 0, "the lost tenant's memory went back");
    let tenant = tenant::open("lost", &second, &config(64 << 20)).unwrap();
    let memory = tenant.space().alloc(1 << 20, 256, "test").unwrap();
    second.write(memory, &[7; 100]).unwrap();
    let mut out = [0; 100];
    second.read(&mut out, memory).unwrap();
    assert_eq!(out, [7; 100]);
    tenant.new_stream(0).unwrap().synchronize().unwrap();
    tenant::close("lost").unwrap();
    drop((tenant, first));
    assert_eq!((mock.live("phys"), mock.violations()), (0, 0));
    // A device that answers is left alone.
    kernel.recover_device(0).unwrap();
    assert!(Arc::ptr_eq(&second, &gpu()));
    assert_eq!(counts(Recovery::Context), (before.0 + 1, before.1 + 1));
    let e = kernel.recover_device(99).unwrap_err();
    assert!(e.message().contains("deviceId"), "{e}");
}

#[test]
fn page_locked_memory_in_use_keeps_a_lost_device() {
    let (mock, _one) = mock();
    let device = gpu();
    let held = device.host_memory(4096).unwrap();
    lose(mock, &device);
    let before = counts(Recovery::Context);
    let e = device::recover(&device).err().unwrap();
    assert_eq!(e.status(), Status::Busy);
    assert!(e.advice().unwrap().contains("free"), "{e}");
    assert_eq!(counts(Recovery::Context), (before.0 + 1, before.1));
    drop(held);
    assert!(!device::recover(&device).unwrap().is_lost());
}

#[test]
fn buffers_of_transfer_streams_are_a_cache_and_do_not_keep_a_lost_device() {
    let (mock, _one) = mock();
    let device = gpu();
    let tenant = tenant::open("sender", &device, &config(64 << 20)).unwrap();
    let memory = tenant.space().alloc(1 << 20, 256, "test").unwrap();
    let stream = tenant.new_stream(0).unwrap();
    let data = vec![7u8; 1 << 20];
    let send = || {
        device.path().set_own_streams(true);
        // SAFETY: both have that size, and the stream is waited for.
        unsafe { device.copy(memory, data.as_ptr() as u64, 1 << 20, Some(&*stream)).unwrap() };
        stream.synchronize().unwrap();
        assert!(mock.live("host") > 0, "kept for the next one");
    };
    send();
    device.free_caches();
    assert_eq!(mock.live("host"), 0);
    send();
    lose(mock, &device);
    assert!(!device::recover(&device).unwrap().is_lost());
}

#[test]
fn gpus_behind_a_lost_one_are_still_found() {
    let (mock, _one) = mock();
    mock.configure(2, 1 << 30);
    let (first, second) = (gpu(), device::open(DeviceChoice::Cuda(1)).unwrap());
    lose(mock, &first);
    let all = device::open_all();
    assert!(all.iter().any(|d| Arc::ptr_eq(d, &second)));
    assert!(!all.iter().any(|d| Arc::ptr_eq(d, &first)));
    device::recover(&first).unwrap();
    assert!(device::open_all().len() > all.len());
}

#[test]
fn a_lost_context_that_cannot_be_thrown_away_is_thrown_away_the_next_time() {
    let (mock, _one) = mock();
    let device = gpu();
    lose(mock, &device);
    mock.fail("cuDevicePrimaryCtxReset_v2:1:999");
    assert_eq!(device::recover(&device).err().unwrap().driver_code(), Some(999));
    mock.fail("");
    device::recover(&device).unwrap().synchronize().unwrap();
    assert!(!gpu().is_lost());
    assert_eq!(mock.violations(), 0);
}

#[test]
fn recovery_is_automatic_when_the_environment_says_so() {
    let (mock, _one) = mock();
    let device = gpu();
    let tenant = tenant::open("leaves", &device, &config(64 << 20)).unwrap();
    tenant.space().alloc(1 << 20, 256, "test").unwrap();
    lose(mock, &device);
    // It goes while the driver refuses everything: its memory goes back with the recovery.
    tenant::close("leaves").unwrap();
    drop((tenant, device));
    assert!(mock.live("phys") > 0);
    // SAFETY: the other tests wait.
    unsafe { std::env::set_var("COGNIWARE_RECOVER", "auto") };
    let opened = device::open(DeviceChoice::Cuda(0));
    // SAFETY: as above.
    unsafe { std::env::remove_var("COGNIWARE_RECOVER") };
    opened.unwrap().synchronize().unwrap();
    assert_eq!((mock.live("phys"), mock.live("mapping"), mock.violations()), (0, 0, 0));
}

#[test]
fn a_context_that_cannot_be_had_again_says_that_only_a_new_process_helps() {
    let (mock, _one) = mock();
    let device = gpu();
    lose(mock, &device);
    mock.fail("cuCtxSynchronize:1:700,cuDevicePrimaryCtxRetain:1:46");
    let _ = device.synchronize();
    let e = device::recover(&device).err().unwrap();
    assert!(e.advice().unwrap().contains("restart the process"), "{e}");
    mock.fail("");
    gpu().synchronize().unwrap();
}

#[test]
fn memory_that_runs_out_is_freed_from_caches_and_asked_for_again() {
    let (mock, _one) = mock();
    let device = gpu();
    let tenant = tenant::open("hungry", &device, &config(64 << 20)).unwrap();
    let before = counts(Recovery::Memory);
    // The first granule is refused once: caches are freed, then it is there.
    mock.fail("cuMemCreate:1:2");
    let memory = tenant.space().alloc(1 << 20, 256, "test").unwrap();
    assert_eq!(counts(Recovery::Memory), (before.0 + 1, before.1 + 1));
    // Refused for ever: an error with the driver's call, and nothing is held.
    mock.fail("cuMemCreate:-1:2");
    let e = tenant.space().alloc(32 << 20, 256, "test").unwrap_err();
    assert_eq!((e.status(), e.category(), e.driver_code()), (Status::OutOfMemory, Category::Memory, Some(2)));
    let call = e.call().unwrap();
    assert!(call.starts_with("cuMemCreate(") && call.contains("bytes="), "{call}");
    assert!(e.advice().is_some());
    assert_eq!(counts(Recovery::Memory), (before.0 + 2, before.1 + 1));
    mock.fail("");
    tenant.space().free(memory).unwrap();
    tenant::close("hungry").unwrap();
}

#[test]
fn staging_buffers_and_unused_nodes_are_given_back_when_memory_runs_out() {
    let (mock, _one) = mock();
    let device = gpu();
    drop(device.node_create(&[0, 1]).unwrap());
    device.synchronize().unwrap();
    assert!(mock.live("green") > 0, "kept for the next one");
    device.free_caches();
    assert_eq!((mock.live("green"), mock.live("host")), (0, 0));
    device.node_create(&[0, 1]).unwrap();
}

#[test]
fn the_cpu_takes_the_place_of_a_lost_gpu_when_configured() {
    let (mock, _one) = mock();
    let device = gpu();
    lose(mock, &device);
    assert_eq!(device::open(DeviceChoice::Auto).err().unwrap().status(), Status::DeviceLost);
    device::set_fallback(Some(DeviceChoice::Cpu)).unwrap();
    let before = counts(Recovery::Fallback);
    for choice in [DeviceChoice::Auto, DeviceChoice::Cuda(0)] {
        assert_eq!(device::open(choice).unwrap().kind(), DeviceKind::Cpu);
    }
    // No such GPU either.
    assert_eq!(device::open(DeviceChoice::Cuda(7)).unwrap().kind(), DeviceKind::Cpu);
    assert_eq!(counts(Recovery::Fallback), (before.0 + 3, before.1 + 3));
    device::set_fallback(None).unwrap();
    assert_eq!(device::open(DeviceChoice::Cuda(7)).err().unwrap().status(), Status::NoDevice);
    assert!(device::set_fallback(Some(DeviceChoice::Cuda(0))).is_err());
    device::recover(&device).unwrap();
}

#[test]
fn an_llm_for_which_the_gpu_has_no_memory_goes_to_the_cpu_when_configured() {
    let (mock, _one) = mock();
    gpu();
    let bridge = Bridge::default();
    bridge.initialize().unwrap();
    let small: BTreeMap<String, String> = [("max_memory", "64"), ("context", "512"), ("max_sequences", "1")]
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .into();
    mock.fail("cuMemCreate:-1:2");
    let e = bridge.register("homeless", &small).err().unwrap();
    assert_eq!((e.status(), e.category()), (Status::OutOfMemory, Category::Memory), "{e}");
    device::set_fallback(Some(DeviceChoice::Cpu)).unwrap();
    let llm = bridge.register("homeless", &small).unwrap();
    assert_eq!(llm.tenant().device().kind(), DeviceKind::Cpu);
    bridge.unregister("homeless").unwrap();
    assert!(tenant::find("homeless").is_err());
}

#[test]
fn a_lost_llm_ends_its_requests_and_can_be_registered_again() {
    let (mock, _one) = mock();
    let device = gpu();
    let bridge = Bridge::default();
    bridge.initialize().unwrap();
    let small: BTreeMap<String, String> =
        [("max_memory", "64"), ("context", "512"), ("max_sequences", "1"), ("device", "cuda:0")]
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .into();
    let llm = bridge.register("mortal", &small).unwrap();
    let request = || {
        let prompt = cogniware::llm::Prompt::Text("Once".to_owned());
        let generation = llm.model().generate(cogniware::llm::Request::new(prompt))?;
        let output = generation.wait()?;
        output.error.map_or(Ok(()), Err)
    };
    mock.fail("cuStreamSynchronize:1:719,cuEventSynchronize:1:719,cuLaunchKernel:1:719,cuGraphLaunch:1:719");
    let e: cogniware::Error = request().unwrap_err();
    assert_eq!(e.status(), Status::DeviceLost, "{e}");
    assert!(
        history::list()
            .iter()
            .any(|h| h.error.status() == Status::DeviceLost && h.error.driver_code() == Some(719))
    );
    device::recover(&device).unwrap();
    assert!(llm.tenant().is_lost());
    assert_eq!(request().unwrap_err().status(), Status::DeviceLost);
    let again = bridge.register("mortal", &small).unwrap();
    assert!(!again.tenant().is_lost() && !again.tenant().device().is_lost());
    bridge.unregister("mortal").unwrap();
    drop((llm, again));
    assert_eq!(mock.violations(), 0);
}
