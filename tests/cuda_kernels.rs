//! Modules, kernels, graphs and pinned memory of the CUDA device: host logic on the mock driver, all of it on a real
//! GPU where there is one. Figures are printed (`--nocapture`).
#![cfg(feature = "cuda")]

mod mock_driver;

use cogniware::Status;
use cogniware::device::cuda::{CudaDevice, CudaStream, Function, Graph, Module, PinnedBuffer};
use cogniware::device::{Access, Device, Granule, Node, Stream};
use mock_driver::{IMAGE, Mock, real_gpu};
use std::collections::BTreeSet;
use std::ffi::c_void;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

struct Block(Arc<CudaDevice>, u64, Option<Granule>);

impl Block {
    fn new(device: &Arc<CudaDevice>) -> Block {
        let g = device.granularity();
        let (granule, address) = (device.granule_create(g).unwrap(), device.range_reserve(g).unwrap());
        device.map(address, &granule, Access::ReadWrite).unwrap();
        Block(device.clone(), address, Some(granule))
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        let g = self.0.granularity();
        self.0.unmap(self.1, g).unwrap();
        self.0.granule_release(self.2.take().unwrap());
        self.0.range_release(self.1, g);
    }
}

fn words(device: &CudaDevice, address: u64, n: usize) -> Vec<u32> {
    let mut bytes = vec![0u8; n * 4];
    device.read(&mut bytes, address).unwrap();
    bytes.chunks(4).map(|c| u32::from_ne_bytes(c.try_into().unwrap())).collect()
}

fn launch_fill(
    f: &Function,
    stream: &dyn Stream,
    mut address: u64,
    mut value: u32,
    mut n: u32,
) -> cogniware::Result<()> {
    let mut args: [*mut c_void; 3] =
        [(&raw mut address).cast(), (&raw mut value).cast(), (&raw mut n).cast()];
    // SAFETY: the kernel's three parameters; callers keep the memory.
    unsafe { f.launch(CudaStream::of(stream, "stream")?, [4, 1, 1], [128, 1, 1], 0, &mut args) }
}

fn kernels_and_graphs(device: &Arc<CudaDevice>) {
    let module = Module::load(device, IMAGE).unwrap();
    let fill = module.function("mock_fill").unwrap();
    drop(module);
    let attributes = fill.attributes().unwrap();
    println!("mock_fill: {attributes:?}");
    assert!(attributes.registers > 0 && attributes.max_threads_per_block >= 128);
    assert!(fill.occupancy(128, 0).unwrap() > 0);
    let optin = device.info().unwrap().shared_memory_per_block_optin;
    fill.set_max_dynamic_smem(optin).unwrap();
    assert_eq!(fill.attributes().unwrap().max_dynamic_shared_bytes, optin);
    assert_eq!(fill.set_max_dynamic_smem(optin + 1).unwrap_err().status(), Status::InvalidArgument);

    let block = Block::new(device);
    let node = device.node_create(&[0]).unwrap();
    let stream = node.stream_create(-1).unwrap();
    launch_fill(&fill, stream.as_ref(), block.1 + 4, 0xDEAD_BEEF, 1000).unwrap();
    stream.synchronize().unwrap();
    let got = words(device, block.1 + 4, 1001);
    assert!(got[..1000].iter().all(|&x| x == 0xDEAD_BEEF) && got[1000] != 0xDEAD_BEEF);

    let own = CudaStream::of(stream.as_ref(), "stream").unwrap();
    let step = |value: u32| {
        let (fill, stream, address, device) = (&fill, &stream, block.1, device);
        move || {
            launch_fill(fill, stream.as_ref(), address, value, 100)?;
            // SAFETY: the block outlives the graph.
            unsafe { device.copy(address + 4096, address, 400, Some(stream.as_ref())) }
        }
    };
    let mut graph = Graph::capture(own, step(1)).unwrap();
    assert_eq!(graph.nodes(), 2);
    assert!(words(device, block.1, 1)[0] != 1, "captured work ran");
    graph.upload(own).unwrap();
    for _ in 0..3 {
        graph.launch(own).unwrap();
    }
    stream.synchronize().unwrap();
    assert_eq!(words(device, block.1 + 4096, 100), [1; 100]);
    assert!(graph.recapture(own, step(2)).unwrap(), "the same shape needs no new instance");
    graph.launch(own).unwrap();
    stream.synchronize().unwrap();
    assert_eq!(words(device, block.1 + 4096, 100), [2; 100]);
    let single = || launch_fill(&fill, stream.as_ref(), block.1 + 4096, 3, 100);
    assert!(!graph.recapture(own, single).unwrap(), "another shape needs a new instance");
    graph.launch(own).unwrap();
    stream.synchronize().unwrap();
    assert_eq!(words(device, block.1 + 4096, 100), [3; 100]);

    // A capture that fails leaves the stream usable, whatever the failure.
    let error = Graph::capture(own, || Err(cogniware::Error::argument("x", "is wrong"))).err().unwrap();
    assert_eq!(error.message(), "argument `x`: is wrong");
    let waited = Graph::capture(own, || stream.synchronize()).err().unwrap();
    println!("waiting while capturing: {waited}");
    let host = Graph::capture(own, || stream.host_fn(Box::new(|| ()))).err().unwrap();
    assert_eq!(host.status(), Status::Unsupported, "{host}");
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _ = Graph::capture(own, || panic!("a capture that panics, on purpose"));
    }));
    assert!(caught.is_err() && !own.is_capturing().unwrap());
    launch_fill(&fill, stream.as_ref(), block.1, 5, 10).unwrap();
    stream.synchronize().unwrap();
    assert_eq!(words(device, block.1, 10), [5; 10]);
    // The graph's memory is still there; only then may it go.
    drop(graph);
}

fn bad_images_and_launches(device: &Arc<CudaDevice>) {
    for bad in [&b""[..], b"short", b"PTX text without its zero byte ......", b"\x7fEL"] {
        assert_eq!(Module::load(device, bad).err().unwrap().status(), Status::InvalidArgument);
    }
    let e = Module::load(device, b"this is no PTX at all, but ends as PTX does\0").err().unwrap();
    println!("nonsense image: {e}");
    assert_eq!(e.status(), Status::Format);
    let module = Module::load(device, IMAGE).unwrap();
    let e = module.function("missing_kernel").err().unwrap();
    assert_eq!(e.status(), Status::NotFound);
    assert!(e.message().contains("missing_kernel"));
    assert_eq!(module.function("a\0b").err().unwrap().status(), Status::InvalidArgument);
    let fill = module.function("mock_fill").unwrap();
    let stream = device.node_create(&[0]).unwrap().stream_create(0).unwrap();
    let own = CudaStream::of(stream.as_ref(), "stream").unwrap();
    let (mut a, mut b, mut c) = (0u64, 0u32, 0u32);
    let mut args: [*mut c_void; 3] = [(&raw mut a).cast(), (&raw mut b).cast(), (&raw mut c).cast()];
    // SAFETY: a block of 4096 threads is refused before anything runs.
    let e = unsafe { fill.launch(own, [1, 1, 1], [4096, 1, 1], 0, &mut args) }.unwrap_err();
    assert_eq!(e.status(), Status::InvalidArgument, "{e}");
    assert!(e.message().contains("mock_fill") && e.message().contains("block_x=4096"), "{e}");
    stream.synchronize().unwrap();
}

fn pinned_memory(device: &Arc<CudaDevice>) {
    assert_eq!(PinnedBuffer::new(device, 0).err().unwrap().status(), Status::InvalidArgument);
    let mut pinned = PinnedBuffer::new(device, 5000).unwrap();
    assert!(pinned.len() == 5000 && pinned.as_slice().iter().all(|&x| x == 0));
    pinned.as_mut_slice()[4999] = 77;
    let block = Block::new(device);
    let stream = device.node_create(&[0]).unwrap().stream_create(0).unwrap();
    // SAFETY: both outlive the wait.
    unsafe { device.copy(block.1, pinned.address(), 5000, Some(stream.as_ref())).unwrap() };
    stream.synchronize().unwrap();
    assert_eq!(words(device, block.1, 1250)[1249].to_ne_bytes()[3], 77);
    assert_eq!(device.place(pinned.address()), cogniware::device::Place::Host);
}

fn exported_granules_come_back(device: &Arc<CudaDevice>) {
    let g = device.granularity();
    let block = Block::new(device);
    device.write(block.1, &[42; 100]).unwrap();
    let fd = device.granule_export(block.2.as_ref().unwrap()).unwrap();
    let twin = device.granule_import(fd.as_fd(), g).unwrap();
    let at = device.range_reserve(g).unwrap();
    device.map(at, &twin, Access::ReadWrite).unwrap();
    assert_eq!(words(device, at, 25), [0x2A2A_2A2A; 25]);
    device.unmap(at, g).unwrap();
    device.granule_release(twin);
    device.range_release(at, g);
}

fn all(device: &Arc<CudaDevice>) {
    kernels_and_graphs(device);
    bad_images_and_launches(device);
    pinned_memory(device);
    exported_granules_come_back(device);
    assert_eq!(device.driver().release_failures().0, 0, "{:?}", device.driver().release_failures().1);
}

#[test]
fn mock() {
    let mock = Mock::new();
    let device = mock.device();
    all(&device);
    drop(device);
    mock.assert_clean();
}

#[test]
fn gpu() {
    let Some(device) = real_gpu() else { return };
    all(&device);
}

/// The SMs on which a grid on this stream runs.
fn sms(device: &CudaDevice, f: &Function, stream: &dyn Stream, block: u64) -> BTreeSet<u32> {
    const BLOCKS: u32 = 8192;
    let mut address = block;
    let mut args: [*mut c_void; 1] = [(&raw mut address).cast()];
    let own = CudaStream::of(stream, "stream").unwrap();
    // SAFETY: the block has room for the grid's words.
    unsafe { f.launch(own, [BLOCKS, 1, 1], [128, 1, 1], 0, &mut args).unwrap() };
    stream.synchronize().unwrap();
    words(device, block, BLOCKS as usize).into_iter().collect()
}

#[test]
fn gpu_nodes_run_on_their_own_processors() {
    let Some(device) = real_gpu() else { return };
    println!("units: {:?}", device.units().iter().map(|u| u.processors).collect::<Vec<_>>());
    let f = Module::load(&device, IMAGE).unwrap().function("mock_smid").unwrap();
    let block = Block::new(&device);
    let n = device.units().len() as u32;
    let mut seen: BTreeSet<u32> = BTreeSet::new();
    let mut times = Vec::new();
    let free = device.memory().unwrap().0;
    let mut nodes: Vec<Arc<dyn Node>> = Vec::new();
    for u in 0..n {
        let start = Instant::now();
        nodes.push(device.node_create(&[u]).unwrap());
        times.push(start.elapsed());
        let s = nodes[u as usize].stream_create(0).unwrap();
        let used = sms(&device, &f, s.as_ref(), block.1);
        assert!(used.len() as u32 <= device.units()[u as usize].processors, "unit {u} ran on {used:?}");
        assert!(seen.is_disjoint(&used), "unit {u} shares SMs");
        seen.extend(used);
    }
    println!("{n} units ran on {} SMs in all; green contexts took {times:?}", seen.len());
    println!("they hold {} bytes of device memory", free - device.memory().unwrap().0);
    let start = Instant::now();
    device.node_create(&[0]).unwrap();
    println!("asking again took {:?}", start.elapsed());
    // Groups of one split together.
    for units in [vec![0, 1], vec![0, 1, 2, 3], vec![1, 3], (0..n - 1).collect::<Vec<_>>()] {
        if units.iter().any(|&u| u >= n) {
            continue;
        }
        let start = Instant::now();
        let node = device.node_create(&units).unwrap();
        let time = start.elapsed();
        let s = node.stream_create(0).unwrap();
        let used = sms(&device, &f, s.as_ref(), block.1);
        println!(
            "units {units:?}: {} processors, ran on {} SMs, made in {time:?}",
            node.processors(),
            used.len()
        );
        assert!(used.len() as u32 <= node.processors());
        let parts: BTreeSet<u32> = units
            .iter()
            .flat_map(|&u| {
                let s = nodes[u as usize].stream_create(0).unwrap();
                sms(&device, &f, s.as_ref(), block.1)
            })
            .collect();
        assert!(used.is_subset(&parts), "{used:?} is not within {parts:?}");
    }
    let whole = device.node_create(&(0..n).collect::<Vec<_>>()).unwrap();
    let used = sms(&device, &f, whole.stream_create(0).unwrap().as_ref(), block.1);
    println!("the whole device ran on {} SMs of {}", used.len(), whole.processors());
}

#[test]
fn gpu_costs() {
    let Some(device) = real_gpu() else { return };
    let per = |n: u32, what: &str, f: &mut dyn FnMut()| {
        let mut best = Duration::MAX;
        for _ in 0..5 {
            let start = Instant::now();
            (0..n).for_each(|_| f());
            best = best.min(start.elapsed() / n);
        }
        println!("{what}: {best:?}");
    };
    let module = Module::load(&device, IMAGE).unwrap();
    let fill = module.function("mock_fill").unwrap();
    let block = Block::new(&device);
    let stream = device.node_create(&[0]).unwrap().stream_create(0).unwrap();
    let own = CudaStream::of(stream.as_ref(), "stream").unwrap();
    per(200, "launch and wait", &mut || {
        launch_fill(&fill, stream.as_ref(), block.1, 1, 1).unwrap();
        stream.synchronize().unwrap();
    });
    per(500, "launch", &mut || launch_fill(&fill, stream.as_ref(), block.1, 1, 1).unwrap());
    stream.synchronize().unwrap();
    let graph =
        Graph::capture(own, || (0..20).try_for_each(|_| launch_fill(&fill, stream.as_ref(), block.1, 1, 1)))
            .unwrap();
    per(100, "graph of 20 kernels, launch", &mut || graph.launch(own).unwrap());
    stream.synchronize().unwrap();
    per(500, "record an event", &mut || drop(stream.record().unwrap()));
    per(2000, "is_idle", &mut || assert!(stream.is_idle().is_ok()));
    per(200, "stream_create and drop", &mut || {
        drop(device.node_create(&[0]).unwrap().stream_create(0).unwrap());
    });
    let other = device.node_create(&[1]).unwrap().stream_create(0).unwrap();
    let start = Instant::now();
    for s in [&stream, &other] {
        s.host_fn(Box::new(|| std::thread::sleep(Duration::from_millis(20)))).unwrap();
    }
    device.synchronize().unwrap();
    println!("a host function of 20 ms on each of two streams: {:?}", start.elapsed());
    per(2000, "place", &mut || assert!(device.place(block.1) == cogniware::device::Place::Device));
    let g = device.granularity();
    per(100, "granule, map, unmap, release", &mut || {
        let granule = device.granule_create(g).unwrap();
        let at = device.range_reserve(g).unwrap();
        device.map(at, &granule, Access::ReadWrite).unwrap();
        device.unmap(at, g).unwrap();
        device.granule_release(granule);
        device.range_release(at, g);
    });
    let big = 1u64 << 30;
    let (granule, at) = (device.granule_create(big).unwrap(), device.range_reserve(big).unwrap());
    device.map(at, &granule, Access::ReadWrite).unwrap();
    let host = vec![1u8; 256 << 20];
    for (what, bytes) in
        [("64 KiB", 1usize << 16), ("1 MiB", 1 << 20), ("16 MiB", 16 << 20), ("256 MiB", 256 << 20)]
    {
        let mut best = Duration::MAX;
        for _ in 0..4 {
            let start = Instant::now();
            device.write(at, &host[..bytes]).unwrap();
            best = best.min(start.elapsed());
        }
        println!("write {what} from pageable memory: {:.2} GB/s", bytes as f64 / best.as_secs_f64() * 1e-9);
        let mut out = vec![0u8; bytes];
        best = Duration::MAX;
        for _ in 0..4 {
            let start = Instant::now();
            device.read(&mut out, at).unwrap();
            best = best.min(start.elapsed());
        }
        assert!(out[bytes - 1] == 1);
        println!("read {what} to pageable memory: {:.2} GB/s", bytes as f64 / best.as_secs_f64() * 1e-9);
    }
    let pinned = PinnedBuffer::new(&device, 256 << 20).unwrap();
    let (start, n) = (Instant::now(), pinned.len() as u64);
    // SAFETY: both outlive the wait.
    unsafe { device.copy(at, pinned.address(), n, None).unwrap() };
    println!("pinned to device: {:.2} GB/s", n as f64 / start.elapsed().as_secs_f64() * 1e-9);
    drop(host);
    device.unmap(at, big).unwrap();
    device.granule_release(granule);
    device.range_release(at, big);
}
