//! The CUDA device's host logic on drivers that are missing, old, broken or full. Run on the mock driver: these say
//! nothing about GPU code.
#![cfg(feature = "cuda")]

mod mock_driver;

use cogniware::device::cuda::{CudaDevice, CudaDriver, CudaStream, Graph, Module, PinnedBuffer};
use cogniware::device::{Access, CacheWindow, Count, Device, Filter, Granule, TextureView};
use cogniware::{Result, Status};
use mock_driver::{IMAGE, Mock, build};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

/// Every function of the mock, as its source defines them.
fn functions() -> Vec<String> {
    let source = include_str!("mock_driver/mock_cuda.c");
    let mut names: Vec<String> = source
        .lines()
        .filter_map(|line| line.strip_prefix("Result cu"))
        .map(|rest| format!("cu{}", rest.split('(').next().unwrap()))
        .collect();
    names.sort();
    assert!(names.len() > 60);
    names
}

/// A granule mapped in a range of its own; gives everything back whatever happened.
struct Mapped {
    device: Arc<CudaDevice>,
    range: u64,
    granule: Option<Granule>,
    mapped: bool,
}

impl Mapped {
    fn new(device: &Arc<CudaDevice>) -> Result<Mapped> {
        let g = device.granularity();
        let mut m =
            Mapped { device: device.clone(), range: device.range_reserve(g)?, granule: None, mapped: false };
        m.granule = Some(device.granule_create(g)?);
        device.map(m.range, m.granule.as_ref().unwrap(), Access::ReadWrite)?;
        m.mapped = true;
        Ok(m)
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        let g = self.device.granularity();
        // A failure half way leaves work in flight. Asked twice, since the first may be the call that fails.
        let _ = self.device.synchronize().or_else(|_| self.device.synchronize());
        if self.mapped {
            let _ = self.device.unmap(self.range, g);
        }
        if let Some(granule) = self.granule.take() {
            self.device.granule_release(granule);
        }
        self.device.range_release(self.range, g);
    }
}

/// A page of host memory.
struct Pages(u64);

impl Pages {
    fn new() -> Pages {
        // SAFETY: a layout of one page.
        Pages(unsafe { std::alloc::alloc_zeroed(std::alloc::Layout::from_size_align(4096, 4096).unwrap()) }
            as u64)
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: as allocated.
        unsafe {
            let layout = std::alloc::Layout::from_size_align(4096, 4096).unwrap();
            std::alloc::dealloc(self.0 as *mut u8, layout);
        }
    }
}

/// A bit of everything that the device can do.
fn everything(driver: Arc<CudaDriver>) -> Result<()> {
    let device = CudaDevice::with_driver(driver, 0)?;
    device.info()?;
    let memory = Mapped::new(&device)?;
    device.write(memory.range, &[1; 100])?;
    let mut out = [0u8; 100];
    device.read(&mut out, memory.range)?;
    assert_eq!(out, [1; 100]);
    device.place(memory.range);
    device.place(out.as_ptr() as u64);
    let fd = device.granule_export(memory.granule.as_ref().unwrap())?;
    let twin = device.granule_import(fd.as_fd(), device.granularity())?;
    device.granule_release(twin);
    let units = device.units().len() as u32;
    let node = device.node_create(&[0])?;
    let whole = device.node_create(&(0..units).collect::<Vec<_>>())?;
    let (a, b) = (node.stream_create(0)?, whole.stream_create(-1)?);
    let first = a.record()?;
    // SAFETY: the memory outlives both streams' work: they are waited for below, or by the device's drop.
    unsafe { device.fill(memory.range, 2, 100, Some(a.as_ref()))? };
    let (tell, told) = std::sync::mpsc::channel();
    a.host_fn(Box::new(move || {
        let _ = tell.send(());
    }))?;
    let second = a.record()?;
    b.wait(&second)?;
    b.synchronize()?;
    told.recv().unwrap();
    second.synchronize()?;
    assert!(second.is_done()?);
    second.since(first.as_ref())?;
    a.is_idle()?;
    let aside = device.cache_set_aside(1 << 20)?;
    let window = CacheWindow { base: memory.range, bytes: aside, ratio: 1.0 };
    a.set_cache_window(Some(window))?;
    assert_eq!(a.cache_window()?, Some(window));
    a.set_cache_window(None)?;
    device.cache_set_aside(0)?;
    let own = CudaStream::of(a.as_ref(), "stream")?;
    let kernel = Module::load(&device, IMAGE)?.function("other_kernel")?;
    kernel.attributes()?;
    kernel.occupancy(128, 0)?;
    kernel.set_max_dynamic_smem(60_000)?;
    // SAFETY: the mock's kernel of this name has no parameters.
    let launch = || unsafe { kernel.launch(own, [1; 3], [1; 3], 0, &mut []) };
    // SAFETY: as above.
    let together = || unsafe { kernel.launch_cooperative(own, [1; 3], [1; 3], 0, &mut []) };
    let before = device.path().counted(Count::Launches);
    launch()?;
    together()?;
    assert_eq!(device.path().counted(Count::Launches) - before, 2);
    a.set_shared_carveout(Some(100))?;
    assert_eq!(Graph::carveouts(own, launch)?, [100]);
    assert_eq!(Graph::carveouts(own, together)?, [100]);
    a.set_shared_carveout(None)?;
    let mut graph = Graph::capture(own, launch)?;
    graph.upload(own)?;
    graph.launch(own)?;
    graph.recapture(own, launch)?;
    a.synchronize()?;
    let (stack, threads) = device.thread_stack()?;
    assert_eq!((device.set_thread_stack(2 * stack)?, threads), (2 * stack, 132 * 2048));
    device.set_thread_stack(stack)?;
    let view = TextureView { address: memory.range, width: 64, height: 1, pitch: 256, filter: Filter::Point };
    let mut values = [0.0; 2];
    device.texture(view)?.sample(&[[1.5, 0.5], [-3.0, 9.0]], &mut values, a.as_ref())?;
    let pages = Pages::new();
    // SAFETY: the pages outlive the registration.
    assert_eq!(unsafe { device.host_register(pages.0, 4096)? }.address(), pages.0);
    let mut pinned = PinnedBuffer::new(&device, 10)?;
    pinned.as_mut_slice()[0] = 1;
    device.synchronize()
}

#[test]
fn everything_works_and_nothing_is_left() {
    let mock = Mock::new();
    let driver = mock.driver();
    everything(driver.clone()).unwrap();
    assert_eq!(driver.release_failures().0, 0);
    assert!(driver.missing().is_empty(), "the mock lacks {:?}", driver.missing());
    mock.assert_clean();
}

#[test]
fn a_library_that_is_no_driver_is_an_error_with_advice() {
    let text = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(text.path(), "not a library").unwrap();
    for path in [Path::new("/nonexistent/libcuda.so.1"), text.path()] {
        let e = CudaDriver::open(path).err().unwrap();
        assert_eq!(e.status(), Status::NoDevice);
        assert!(e.message().contains(path.to_str().unwrap()), "{e}");
        assert!(e.advice().unwrap().contains("COGNIWARE_DEVICE=cpu"), "{e}");
    }
    let mock = Mock::without(&["cuInit"]);
    let e = CudaDriver::open(mock.path()).err().unwrap();
    assert_eq!((e.status(), e.driver_code()), (Status::NoDevice, None), "{e}");
    assert!(e.message().contains("cuInit"), "{e}");
}

#[test]
fn what_cu_init_answers_becomes_an_error() {
    let mock = Mock::new();
    for (code, status, advice) in [
        (34, Status::NoDevice, "stub"),
        (100, Status::NoDevice, "nvidia-smi"),
        (803, Status::Driver, "reboot"),
        (999, Status::Driver, "dmesg"),
        (12345, Status::Driver, "cuda.h"),
    ] {
        mock.fail(&format!("cuInit:1:{code}"));
        let e = CudaDriver::open(mock.path()).err().unwrap();
        assert_eq!((e.status(), e.driver_code()), (status, Some(code)), "{e}");
        assert!(e.advice().unwrap().contains(advice), "{e}");
        assert!(e.message().contains("cuInit(flags=0)"), "{e}");
    }
    mock.fail("");
    mock.configure(0, 1 << 30);
    assert_eq!(CudaDriver::open(mock.path()).err().unwrap().status(), Status::NoDevice);
}

#[test]
fn an_old_driver_gives_the_whole_device_and_says_why() {
    for hidden in ["cuGreenCtxCreate", "cuGreenCtxStreamCreate", "cuDevSmResourceSplitByCount"] {
        let mock = Mock::without(&[hidden]);
        let device = mock.device();
        assert_eq!(device.driver().missing(), [hidden]);
        assert_eq!(device.units().len(), 1);
        assert_eq!(device.units()[0].processors, 132);
        let groups = device.capabilities().iter().find(|c| c.name == "sm_groups").unwrap();
        assert!(
            !groups.available && groups.detail.contains(hidden) && groups.detail.contains("12."),
            "{groups:?}"
        );
        let node = device.node_create(&[0]).unwrap();
        assert_eq!(node.processors(), 132);
        node.stream_create(0).unwrap().synchronize().unwrap();
        drop((node, device));
        mock.assert_clean();
    }
    // A GPU whose driver has the functions but refuses.
    let mock = Mock::new();
    mock.fail("cuDevSmResourceSplitByCount:-1:801");
    let device = mock.device();
    assert_eq!(device.units().len(), 1);
    assert!(device.capabilities().iter().any(|c| c.name == "sm_groups" && c.detail.contains("801")));
}

#[test]
fn each_missing_function_is_named_with_the_version_that_brings_it() {
    for name in functions() {
        let mock = Mock::without(&[&name]);
        let driver = CudaDriver::open(mock.path());
        match driver.clone().and_then(everything) {
            // Missed when something was given back, where no error can be returned.
            Ok(()) if driver.as_ref().is_ok_and(|d| d.release_failures().0 > 0) => {
                let first = driver.unwrap().release_failures().1.unwrap();
                // A failed unmap was an error to its caller; what is noted is the range that could not be freed.
                assert!(first.message().contains(&name) || name == "cuMemUnmap", "{name}: {first}");
            }
            // Functions that the workflow can do without.
            Ok(()) => assert!(
                ["Green", "Resource", "cuGraphExecUpdate", "cuPointerGetAttribute"]
                    .iter()
                    .any(|n| name.contains(n))
                    || !Mock::new().uses(&name),
                "nobody noticed that {name} is missing"
            ),
            Err(e) if name == "cuInit" => assert_eq!(e.status(), Status::NoDevice),
            Err(e) => {
                assert_eq!(e.status(), Status::Unsupported, "{name}: {e}");
                assert!(e.message().contains(&name), "{name}: {e}");
                assert!(e.advice().unwrap().contains("or newer"), "{name}: {e}");
            }
        }
        if !releases(&name) {
            mock.assert_clean();
        }
    }
}

impl Mock {
    /// Whether [`everything`] calls this function.
    fn uses(&self, name: &str) -> bool {
        self.fail("");
        everything(self.driver()).unwrap();
        self.calls(name) > 0
    }
}

/// A function that gives something back: when it fails, that stays, and nobody can help it.
fn releases(name: &str) -> bool {
    ["Destroy", "Free", "Release", "Unload", "Unmap", "Unregister", "EndCapture"]
        .iter()
        .any(|part| name.contains(part))
        || name == "cuCtxGetCurrent"
        || name == "cuCtxSetCurrent"
}

#[test]
fn each_call_may_fail_and_nothing_leaks() {
    let mock = Mock::new();
    everything(mock.driver()).unwrap();
    for name in functions() {
        for nth in 1..=4 {
            for (code, status) in
                [(2, Status::OutOfMemory), (801, Status::Unsupported), (12345, Status::Driver)]
            {
                let mock = if releases(&name) { &Mock::new() } else { &mock };
                mock.fail(&format!("{name}:{nth}:{code}"));
                let result = CudaDriver::open(mock.path()).and_then(everything);
                mock.fail("");
                if let Err(e) = result {
                    assert_eq!((e.status(), e.driver_code()), (status, Some(code)), "{name} {nth}: {e}");
                    assert!(e.message().contains(&name), "{name} {nth}: {e}");
                }
                if !releases(&name) {
                    mock.assert_clean();
                }
            }
        }
    }
}

#[test]
fn a_lost_device_stays_lost_and_drops_quietly() {
    for (name, code) in [
        ("cuLaunchKernel", 700),
        ("cuStreamSynchronize", 719),
        ("cuGraphLaunch", 716),
        ("cuMemcpyAsync", 717),
    ] {
        let mock = Mock::new();
        mock.fail(&format!("{name}:1:{code}"));
        let driver = mock.driver();
        let e = everything(driver.clone()).unwrap_err();
        assert_eq!((e.status(), e.driver_code()), (Status::DeviceLost, Some(code)), "{e}");
        assert!(e.advice().unwrap().contains("restart"), "{e}");
        let again = CudaDevice::with_driver(driver.clone(), 0).err().unwrap();
        assert_eq!(again.status(), Status::DeviceLost, "a lost device is not opened as if nothing had been");
        assert_eq!(
            driver.release_failures().0,
            0,
            "a lost device was reported once, not once more for each object"
        );
    }
}

#[test]
fn memory_runs_out_exactly_and_comes_back() {
    let mock = Mock::new();
    mock.configure(1, 64 << 20);
    let device = mock.device();
    let g = device.granularity();
    let mut held = Vec::new();
    let e = loop {
        match device.granule_create(g) {
            Ok(granule) => held.push(granule),
            Err(e) => break e,
        }
    };
    assert_eq!(held.len() as u64, (64 << 20) / g);
    assert_eq!((e.status(), e.driver_code()), (Status::OutOfMemory, Some(2)));
    assert_eq!(device.memory().unwrap(), (0, 64 << 20));
    device.granule_release(held.pop().unwrap());
    held.push(device.granule_create(g).unwrap());
    for granule in held {
        device.granule_release(granule);
    }
    assert_eq!(device.memory().unwrap().0, 64 << 20);
    drop(device);
    mock.assert_clean();
}

#[test]
fn a_mapping_that_fails_half_way_is_taken_back() {
    let mock = Mock::new();
    let device = mock.device();
    let g = device.granularity();
    let (range, granule) = (device.range_reserve(g).unwrap(), device.granule_create(g).unwrap());
    mock.fail("cuMemSetAccess:1:2");
    assert_eq!(device.map(range, &granule, Access::ReadWrite).unwrap_err().status(), Status::OutOfMemory);
    assert_eq!(mock.live("mapping"), 0);
    device.map(range, &granule, Access::ReadWrite).unwrap();
    mock.fail("cuMemUnmap:1:999");
    assert_eq!(device.unmap(range, g).unwrap_err().status(), Status::Driver);
    device.unmap(range, g).unwrap();
    device.granule_release(granule);
    device.range_release(range, g);
    drop(device);
    mock.assert_clean();
}

#[test]
fn a_large_write_may_fail_half_way_and_be_done_again() {
    let mock = Mock::new();
    let device = mock.device();
    let bytes = 24u64 << 20;
    let (range, granule) = (device.range_reserve(bytes).unwrap(), device.granule_create(bytes).unwrap());
    device.map(range, &granule, Access::ReadWrite).unwrap();
    let data: Vec<u8> = (0..bytes as usize - 5).map(|i| (i / 977) as u8).collect();
    for fault in [
        "cuMemcpyAsync:3:12345",
        "cuEventRecord:2:12345",
        "cuEventSynchronize:1:12345",
        "cuStreamSynchronize:1:12345",
    ] {
        mock.fail(fault);
        assert_eq!(device.write(range, &data).unwrap_err().driver_code(), Some(12345), "{fault}");
    }
    // With no page-locked memory to be had it is only slower.
    let fresh = CudaDevice::with_driver(device.driver().clone(), 0).unwrap();
    mock.fail("cuMemHostAlloc:-1:2");
    let foreign = range; // Another device object of the same GPU: its driver knows the address.
    fresh.write(foreign, &data).unwrap();
    mock.fail("");
    device.write(range, &data).unwrap();
    let mut out = vec![0u8; data.len()];
    device.read(&mut out, range).unwrap();
    assert!(out == data);
    device.unmap(range, bytes).unwrap();
    device.granule_release(granule);
    device.range_release(range, bytes);
    drop((device, fresh));
    mock.assert_clean();
}

#[test]
fn releasing_what_is_not_there_is_noted() {
    let mock = Mock::new();
    let device = mock.device();
    let g = device.granularity();
    device.range_release(g * 1000, g);
    let (count, last) = device.driver().release_failures();
    assert_eq!((count, last.unwrap().status()), (1, Status::InvalidArgument));
    // A range with a mapping is not given back under it.
    let m = Mapped::new(&device).unwrap();
    device.range_release(m.range, g);
    assert_eq!(device.driver().release_failures().0, 2);
    device.write(m.range, &[1]).unwrap();
}

#[test]
fn two_devices_are_told_apart() {
    let mock = Mock::new();
    mock.configure(2, 1 << 30);
    let driver = mock.driver();
    let one = CudaDevice::with_driver(driver.clone(), 0).unwrap();
    let two = CudaDevice::with_driver(driver.clone(), 1).unwrap();
    let none = CudaDevice::with_driver(driver, 2).err().unwrap();
    assert_eq!(none.status(), Status::NoDevice);
    assert!(none.message().contains("device 2"), "{none}");
    assert_eq!((one.ordinal(), two.ordinal()), (0, 1));
    assert_ne!(one.info().unwrap().pci_bus_id, two.info().unwrap().pci_bus_id);
    let memory = Mapped::new(&two).unwrap();
    assert_eq!(one.memory().unwrap().0, 1 << 30);
    assert!(two.memory().unwrap().0 < 1 << 30);
    assert_eq!(one.place(memory.range), cogniware::device::Place::Host, "it is not memory of this device");
    let foreign = one.node_create(&[0]).unwrap().stream_create(0).unwrap();
    // SAFETY: refused before anything is touched.
    let e = unsafe { two.fill(memory.range, 1, 1, Some(foreign.as_ref())) }.unwrap_err();
    assert_eq!(e.status(), Status::InvalidArgument, "{e}");
    let own = two.node_create(&[0]).unwrap().stream_create(0).unwrap();
    let e = own.wait(&foreign.record().unwrap()).unwrap_err();
    assert_eq!(e.status(), Status::InvalidArgument, "{e}");
    drop((memory, foreign, own, one, two));
    mock.assert_clean();
}

#[test]
fn the_application_keeps_its_current_context() {
    let mock = Mock::new();
    mock.configure(2, 1 << 30);
    let driver = mock.driver();
    let one = CudaDevice::with_driver(driver.clone(), 0).unwrap();
    let two = CudaDevice::with_driver(driver, 1).unwrap();
    two.make_current().unwrap();
    // SAFETY: a mock is loaded already; the function has this type.
    let current = || unsafe {
        let library = libloading::Library::new(mock.path()).unwrap();
        let get: libloading::Symbol<unsafe extern "C" fn(*mut usize) -> u32> =
            library.get(b"cuCtxGetCurrent").unwrap();
        let mut context = 0usize;
        assert_eq!(get(&mut context), 0);
        context
    };
    let before = current();
    assert_ne!(before, 0);
    drop(Mapped::new(&one).unwrap());
    one.node_create(&[0]).unwrap().stream_create(0).unwrap().record().unwrap();
    assert_eq!(current(), before);
}

#[test]
fn info_is_what_the_driver_says() {
    let mock = Mock::new();
    let info = mock.device().info().unwrap();
    assert_eq!(info.name, "Mock H200 (host memory) 0");
    assert_eq!((info.compute_major, info.compute_minor, info.isa.as_str()), (9, 0, "sm_90"));
    assert_eq!((info.multiprocessors, info.cuda_cores, info.tensor_cores), (132, 132 * 128, 132 * 4));
    assert_eq!((info.total_memory, info.free_memory), (1 << 30, 1 << 30));
    assert_eq!(
        (info.max_threads_per_block, info.max_threads_per_multiprocessor, info.warp_size),
        (1024, 2048, 32)
    );
    assert_eq!((info.max_grid_x, info.max_grid_dim), (2_147_483_647, [2_147_483_647, 65_535, 65_535]));
    assert_eq!(info.max_block_dim, [1024, 1024, 64]);
    assert_eq!((info.shared_memory_per_block, info.shared_memory_per_block_optin), (49_152, 232_448));
    assert_eq!((info.shared_memory_per_multiprocessor, info.l2_cache), (233_472, 62_914_560));
    assert_eq!((info.registers_per_block, info.registers_per_multiprocessor), (65_536, 65_536));
    assert_eq!((info.clock_khz, info.memory_clock_khz, info.memory_bus_bits), (1_980_000, 3_201_000, 6144));
    assert_eq!(
        (info.ecc, info.integrated, info.unified_addressing, info.concurrent_kernels),
        (true, false, true, true)
    );
    assert_eq!((info.async_engines, info.managed_memory, info.driver_version), (3, true, 13_000));
    assert_eq!(info.pci_bus_id, "ffff:00:1f.7");
    assert!(info.nvlinks.is_empty(), "the mock GPU has no NVLink");
}

#[test]
fn asking_for_a_node_again_is_cheap_and_the_ladder_does_not_grow() {
    let mock = Mock::new();
    let device = mock.device();
    mock.fail("");
    for _ in 0..10 {
        assert_eq!(device.node_create(&[5, 2, 9]).unwrap().processors(), 24);
        device.node_create(&[2, 5, 9]).unwrap();
    }
    assert_eq!(mock.calls("cuGreenCtxCreate"), 1);
    let held = device.node_create(&[0, 15]).unwrap();
    for a in 0..14 {
        for b in a + 1..15 {
            device.node_create(&[a, b]).unwrap();
        }
    }
    assert!(mock.live("green") <= 17, "{} green contexts are kept", mock.live("green"));
    held.stream_create(0).unwrap().synchronize().unwrap();
    drop((held, device));
    mock.assert_clean();
}

#[test]
fn what_is_left_over_is_a_unit_where_it_is_large_enough() {
    for (groups, last, together) in [(15, 12, 132), (16, 8, 128)] {
        let mock = Mock::new();
        mock.groups(groups);
        let device = mock.device();
        let sizes: Vec<u32> = device.units().iter().map(|u| u.processors).collect();
        assert_eq!((sizes.len(), sizes[0], sizes[15]), (16, 8, last));
        assert_eq!(sizes.iter().sum::<u32>(), together);
        assert_eq!(device.node_create(&[15, 3]).unwrap().processors(), 8 + last);
        let all: Vec<u32> = (0..16).collect();
        assert_eq!(device.node_create(&all).unwrap().processors(), 132);
        drop(device);
        mock.assert_clean();
    }
}

#[test]
fn a_green_context_outlives_its_last_work() {
    let mock = Mock::new();
    let device = mock.device();
    let stream = device.node_create(&[0]).unwrap().stream_create(0).unwrap();
    stream.host_fn(Box::new(|| std::thread::sleep(std::time::Duration::from_millis(30)))).unwrap();
    // All at once, work in flight: the mock counts a green context that is destroyed under it.
    drop((stream, device));
    mock.assert_clean();
}

#[test]
fn events_are_used_again() {
    let mock = Mock::new();
    let device = mock.device();
    let stream = device.node_create(&[0]).unwrap().stream_create(0).unwrap();
    mock.fail("");
    for _ in 0..1000 {
        stream.record().unwrap().synchronize().unwrap();
    }
    assert_eq!((mock.calls("cuEventCreate"), mock.calls("cuEventRecord")), (1, 1000));
}

#[test]
fn a_driver_that_shuts_down_first_is_no_failure() {
    let mock = Mock::new();
    let device = mock.device();
    let memory = Mapped::new(&device).unwrap();
    let stream = device.node_create(&[0]).unwrap().stream_create(0).unwrap();
    let event = stream.record().unwrap();
    let driver = device.driver().clone();
    let all: Vec<String> = functions().iter().map(|name| format!("{name}:-1:4")).collect();
    mock.fail(&all.join(","));
    drop((event, stream, memory, device));
    assert_eq!(driver.release_failures().0, 0, "{:?}", driver.release_failures().1);
}

#[test]
fn a_forked_child_gets_a_clear_error() {
    let mock = Mock::new();
    let device = mock.device();
    // SAFETY: the child only makes calls that the library refuses before it takes a lock, and leaves by `_exit`.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let refused = device
            .memory()
            .is_err_and(|e| e.status() == Status::NotInitialized && e.message().contains("fork"));
        // SAFETY: ends the child at once.
        unsafe { libc::_exit(if refused { 0 } else { 1 }) };
    }
    let mut status = 0;
    // SAFETY: our own child.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    assert_eq!(status, 0);
    device.memory().unwrap();
}

/// Runs [`child`] in a process of its own with these environment variables.
fn in_child(device: &str, variables: &[(&str, &str)]) -> String {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child", "--ignored", "--nocapture", "--test-threads=1"]);
    command.env("COGNIWARE_DEVICE", device).envs(variables.iter().copied());
    let out = command.output().unwrap();
    assert!(
        out.status.success(),
        "{}\n{}",
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr)
    );
    let text = String::from_utf8(out.stdout).unwrap();
    text.lines().find_map(|line| line.split_once("answer: ")).unwrap().1.to_owned()
}

#[test]
#[ignore = "runs only as a child process of the tests below"]
fn child() {
    match cogniware::device::default_device() {
        Ok(device) => {
            let stream = device.node_create(&[0]).unwrap().stream_create(0).unwrap();
            stream.host_fn(Box::new(|| ())).unwrap();
            println!("answer: {}:{}", device.kind(), device.ordinal());
            // The device stays open in the registry: the process ends under it.
        }
        Err(e) => println!("answer: {} {:?} {e}", e.status().name(), e.driver_code()),
    }
}

#[test]
fn the_environment_chooses_library_and_device() {
    let library = build(&[]);
    let path = library.to_str().unwrap();
    let with = |more: &[(&'static str, &'static str)]| {
        let mut all = vec![("COGNIWARE_LIBCUDA", path)];
        all.extend(more);
        all
    };
    assert_eq!(in_child("cuda", &with(&[])), "cuda:0");
    assert_eq!(in_child("auto", &with(&[])), "cuda:0");
    assert_eq!(in_child("cuda:1", &with(&[("COGNIWARE_MOCK_DEVICES", "2")])), "cuda:1");
    assert!(in_child("cuda:1", &with(&[])).starts_with("no_device "));
    let stub = in_child("cuda", &with(&[("COGNIWARE_MOCK_FAIL", "cuInit:1:34")]));
    assert!(stub.starts_with("no_device Some(34)") && stub.contains("stub"), "{stub}");
    let broken = in_child("auto", &with(&[("COGNIWARE_MOCK_FAIL", "cuInit:1:12345")]));
    assert!(
        broken.starts_with("driver Some(12345)"),
        "a broken GPU is no reason to run on the CPU: {broken}"
    );
    assert_eq!(in_child("auto", &[("COGNIWARE_LIBCUDA", "/nonexistent/libcuda.so")]), "cpu:0");
    let missing = in_child("cuda", &[("COGNIWARE_LIBCUDA", "/nonexistent/libcuda.so")]);
    assert!(missing.starts_with("no_device None COGNIWARE_LIBCUDA: "), "{missing}");
    std::fs::remove_file(library).unwrap();
}
