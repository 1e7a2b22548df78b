//! One suite for every device: what the rooms above rely on. The CPU device runs it always, the mock driver shows the
//! CUDA device's host logic, and a real GPU runs it where there is one.

#[cfg(feature = "cuda")]
mod mock_driver;

use cogniware::device::{Access, Device, DeviceChoice, DeviceKind, DevicePtr, Event, Granule, Place, Stream};
use cogniware::{Result, Status};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

/// Mapped memory that unmaps itself.
struct Block {
    device: Arc<dyn Device>,
    address: DevicePtr,
    granule: Option<Granule>,
}

impl Block {
    fn new(device: &Arc<dyn Device>, at_least: u64) -> Block {
        let bytes = at_least.next_multiple_of(device.granularity());
        let granule = device.granule_create(bytes).unwrap();
        let address = device.range_reserve(bytes).unwrap();
        device.map(address, &granule, Access::ReadWrite).unwrap();
        Block { device: device.clone(), address, granule: Some(granule) }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        let granule = self.granule.take().unwrap();
        let bytes = granule.bytes;
        self.device.unmap(self.address, bytes).unwrap();
        self.device.granule_release(granule);
        self.device.range_release(self.address, bytes);
    }
}

/// Bytes that differ by seed and place.
fn pattern(seed: u64, bytes: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..bytes).map(|_| next()).collect()
}

fn read(device: &Arc<dyn Device>, address: DevicePtr, bytes: usize) -> Vec<u8> {
    let mut out = vec![0u8; bytes];
    device.read(&mut out, address).unwrap();
    out
}

fn status<T>(result: Result<T>) -> Status {
    match result {
        Ok(_) => panic!("misuse was accepted"),
        Err(e) => e.status(),
    }
}

fn stream(device: &Arc<dyn Device>) -> Arc<dyn Stream> {
    device.node_create(&[0]).unwrap().stream_create(0).unwrap()
}

fn suite(device: Arc<dyn Device>) {
    type Part = (&'static str, fn(&Arc<dyn Device>));
    let parts: [Part; 17] = [
        ("info", info),
        ("two places", granule_in_two_places),
        ("remap", remapping_keeps_content),
        ("neighbours", neighbouring_granules_make_one_range),
        ("copies", copies),
        ("fills", fills),
        ("places", places),
        ("order", streams_run_in_order),
        ("events", events_order_streams),
        ("elapsed", elapsed_times),
        ("idle", idleness),
        ("panic", host_functions_may_panic),
        ("drop", dropped_streams_finish),
        ("synchronize", device_synchronize_waits_for_all),
        ("nodes", nodes),
        ("export", export),
        ("misuse", misuse),
    ];
    for (name, part) in parts {
        let start = Instant::now();
        part(&device);
        println!("  {name}: {:.1} ms", start.elapsed().as_secs_f64() * 1e3);
    }
    threads(&device);
}

fn info(device: &Arc<dyn Device>) {
    let info = device.info().unwrap();
    assert!(!info.name.is_empty());
    assert!(info.free_memory <= info.total_memory && info.total_memory > 0);
    assert!(device.granularity().is_power_of_two());
    let units = device.units();
    assert!(!units.is_empty());
    assert!(units.iter().enumerate().all(|(i, u)| u.index as usize == i && u.processors > 0));
    assert!(units.iter().map(|u| u.processors).sum::<u32>() <= info.multiprocessors);
    if device.kind() == DeviceKind::Cuda {
        assert!(info.compute_major >= 5 && info.warp_size == 32 && info.cuda_cores > 0 && info.l2_cache > 0);
        assert_eq!(info.isa, format!("sm_{}{}", info.compute_major, info.compute_minor));
        assert!(info.shared_memory_per_block_optin >= info.shared_memory_per_block);
        assert!(info.driver_version >= 11000 && info.pci_bus_id.len() >= 12);
        let bytes = (64u64 << 20).next_multiple_of(device.granularity());
        let before = device.memory().unwrap().0;
        let granule = device.granule_create(bytes).unwrap();
        let with = device.memory().unwrap().0;
        assert!(before >= with + bytes, "free memory fell from {before} to {with} by less than {bytes}");
        device.granule_release(granule);
    }
}

fn granule_in_two_places(device: &Arc<dyn Device>) {
    let g = device.granularity();
    let granule = device.granule_create(g).unwrap();
    let range = device.range_reserve(3 * g).unwrap();
    device.map(range, &granule, Access::ReadWrite).unwrap();
    device.map(range + 2 * g, &granule, Access::ReadWrite).unwrap();
    let data = pattern(1, 5000);
    device.write(range + 77, &data).unwrap();
    assert_eq!(read(device, range + 2 * g + 77, 5000), data);
    let back = pattern(2, 300);
    device.write(range + 2 * g, &back).unwrap();
    assert_eq!(read(device, range, 300)[..77], back[..77]);
    device.unmap(range, g).unwrap();
    assert_eq!(read(device, range + 2 * g, 300), back, "the other place went with the first");
    device.unmap(range + 2 * g, g).unwrap();
    device.granule_release(granule);
    device.range_release(range, 3 * g);
}

fn remapping_keeps_content(device: &Arc<dyn Device>) {
    let g = device.granularity();
    let granule = device.granule_create(g).unwrap();
    let range = device.range_reserve(2 * g).unwrap();
    let data = pattern(3, g as usize);
    device.map(range, &granule, Access::ReadWrite).unwrap();
    device.write(range, &data).unwrap();
    device.unmap(range, g).unwrap();
    device.map(range + g, &granule, Access::Read).unwrap();
    assert_eq!(read(device, range + g, g as usize), data);
    device.unmap(range + g, g).unwrap();
    // Another granule under the address that the first one had.
    let other = device.granule_create(g).unwrap();
    device.map(range, &other, Access::ReadWrite).unwrap();
    device.write(range, &[9; 64]).unwrap();
    device.map(range + g, &granule, Access::ReadWrite).unwrap();
    assert_eq!(read(device, range + g, 64), data[..64]);
    for at in [range, range + g] {
        device.unmap(at, g).unwrap();
    }
    device.granule_release(granule);
    device.granule_release(other);
    device.range_release(range, 2 * g);
}

fn neighbouring_granules_make_one_range(device: &Arc<dyn Device>) {
    let g = device.granularity();
    let granules: Vec<Granule> = (0..4).map(|_| device.granule_create(g).unwrap()).collect();
    let range = device.range_reserve(4 * g).unwrap();
    // Out of order, so that no order of creation hides behind the addresses.
    for i in [2usize, 0, 3, 1] {
        device.map(range + i as u64 * g, &granules[i], Access::ReadWrite).unwrap();
    }
    let data = pattern(4, (4 * g) as usize - 11);
    device.write(range + 5, &data).unwrap();
    assert!(read(device, range + 5, data.len()) == data, "a copy across granules differs");
    // SAFETY: within the four mappings.
    unsafe { device.fill(range + g - 3, 0xEE, 6, None).unwrap() };
    assert_eq!(read(device, range + g - 3, 6), [0xEE; 6]);
    for (i, granule) in granules.into_iter().enumerate() {
        device.unmap(range + i as u64 * g, g).unwrap();
        device.granule_release(granule);
    }
    device.range_release(range, 4 * g);
}

fn copies(device: &Arc<dyn Device>) {
    let largest = (16usize << 20) + 3;
    let (a, b) = (Block::new(device, largest as u64 + 64), Block::new(device, largest as u64 + 64));
    let stream = stream(device);
    for (n, bytes) in
        [1usize, 2, 3, 31, 255, 256, 257, 4096, 4097, (1 << 20) + 7, largest].into_iter().enumerate()
    {
        let offset = (n as u64 * 7) % 64;
        let (from, to) = (a.address + offset, b.address + 13);
        let data = pattern(n as u64 + 10, bytes);
        device.write(from, &data).unwrap();
        for queued in [false, true] {
            let s = queued.then_some(stream.as_ref());
            let mut host = vec![0u8; bytes];
            let mut other_host = vec![0u8; bytes];
            // SAFETY: all ranges are alive until the stream was waited for.
            unsafe {
                device.fill(b.address, 0, bytes as u64 + 13, s).unwrap();
                device.copy(to, from, bytes as u64, s).unwrap();
                device.copy(host.as_mut_ptr() as u64, to, bytes as u64, s).unwrap();
                device.copy(other_host.as_mut_ptr() as u64, host.as_ptr() as u64, bytes as u64, s).unwrap();
                device.copy(to, other_host.as_ptr() as u64, bytes as u64, s).unwrap();
            }
            stream.synchronize().unwrap();
            assert!(host == data, "device to host, {bytes} bytes, queued {queued}");
            assert!(other_host == data, "host to host, {bytes} bytes, queued {queued}");
            assert!(read(device, to, bytes) == data, "host to device, {bytes} bytes, queued {queued}");
        }
    }
    // Nothing to copy is no error; onto itself neither.
    // SAFETY: within the block.
    unsafe {
        device.copy(a.address, b.address, 0, None).unwrap();
        device.copy(a.address, a.address, 100, None).unwrap();
    }
    device.write(a.address, &[]).unwrap();
    device.read(&mut [], a.address).unwrap();
}

fn fills(device: &Arc<dyn Device>) {
    let block = Block::new(device, 1 << 20);
    let stream = stream(device);
    for bytes in [1u64, 3, 16, 255, 4096, 65_537, (1 << 20) - 9] {
        for (value, s) in [(0x5A, None), (0xA5, Some(stream.as_ref()))] {
            // SAFETY: within the block.
            unsafe {
                device.fill(block.address, 0, 1 << 20, s).unwrap();
                device.fill(block.address + 5, value, bytes, s).unwrap();
            }
            stream.synchronize().unwrap();
            let got = read(device, block.address, bytes as usize + 9);
            let end = bytes as usize + 5;
            assert!(
                got[..5].iter().all(|&x| x == 0) && got[end..].iter().all(|&x| x == 0),
                "{bytes}: spilled"
            );
            assert!(got[5..end].iter().all(|&x| x == value), "{bytes}: not filled");
        }
    }
}

fn places(device: &Arc<dyn Device>) {
    let block = Block::new(device, 1);
    let host = [0u8; 100];
    assert_eq!(device.place(block.address), Place::Device);
    assert_eq!(device.place(block.address + 4321), Place::Device);
    assert_eq!(device.place(host.as_ptr() as u64), Place::Host);
    assert_eq!(device.place(0), Place::Host);
    let address = block.address;
    drop(block);
    assert_eq!(device.place(address), Place::Host, "a released range is nobody's");
}

fn streams_run_in_order(device: &Arc<dyn Device>) {
    let s = stream(device);
    let seen = Arc::new(Mutex::new(Vec::new()));
    for i in 0..500 {
        let seen = seen.clone();
        s.host_fn(Box::new(move || seen.lock().unwrap().push(i))).unwrap();
    }
    s.synchronize().unwrap();
    assert_eq!(*seen.lock().unwrap(), (0..500).collect::<Vec<_>>());
    let block = Block::new(device, 1 << 20);
    let mut out = vec![0u8; 1 << 18];
    // SAFETY: alive until the stream was waited for.
    unsafe {
        for round in 0..32u8 {
            device.fill(block.address, round, 1 << 18, Some(s.as_ref())).unwrap();
            device.copy(block.address + (1 << 19), block.address, 1 << 18, Some(s.as_ref())).unwrap();
        }
        device.copy(out.as_mut_ptr() as u64, block.address + (1 << 19), 1 << 18, Some(s.as_ref())).unwrap();
    }
    s.synchronize().unwrap();
    assert!(out.iter().all(|&x| x == 31));
}

/// A host function in `stream` that waits until the returned sender is used or dropped.
fn hold(stream: &Arc<dyn Stream>) -> mpsc::Sender<()> {
    let (open, gate) = mpsc::channel();
    stream
        .host_fn(Box::new(move || {
            let _ = gate.recv_timeout(Duration::from_secs(20));
        }))
        .unwrap();
    open
}

fn events_order_streams(device: &Arc<dyn Device>) {
    let (a, b) = (stream(device), stream(device));
    let block = Block::new(device, 1 << 16);
    device.write(block.address, &[1; 1 << 16]).unwrap();
    let gate = hold(&a);
    // SAFETY: the block outlives both streams' work.
    unsafe { device.fill(block.address, 2, 1 << 16, Some(a.as_ref())).unwrap() };
    let filled = a.record().unwrap();
    b.wait(&filled).unwrap();
    // SAFETY: as above.
    unsafe { device.copy(block.address + (1 << 15), block.address, 1 << 15, Some(b.as_ref())).unwrap() };
    let copied = b.record().unwrap();
    assert!(!filled.is_done().unwrap() && !copied.is_done().unwrap(), "work ran ahead of what it waits for");
    gate.send(()).unwrap();
    copied.synchronize().unwrap();
    assert!(filled.is_done().unwrap() && copied.is_done().unwrap());
    assert_eq!(read(device, block.address + (1 << 15), 100), [2; 100]);
    // An event that is gone still holds back what waits for it.
    let gate = hold(&a);
    let late = a.record().unwrap();
    b.wait(&late).unwrap();
    drop(late);
    let after = b.record().unwrap();
    assert!(!after.is_done().unwrap());
    drop(gate);
    after.synchronize().unwrap();
    a.synchronize().unwrap();
}

fn elapsed_times(device: &Arc<dyn Device>) {
    let s = stream(device);
    let first = s.record().unwrap();
    s.host_fn(Box::new(|| std::thread::sleep(Duration::from_millis(20)))).unwrap();
    let second = s.record().unwrap();
    second.synchronize().unwrap();
    let time = second.since(first.as_ref()).unwrap();
    assert!((19..2000).contains(&time.as_millis()), "20 ms were measured as {time:?}");
    assert!(first.since(second.as_ref()).is_err(), "time ran backwards");
    let gate = hold(&s);
    let pending = s.record().unwrap();
    assert!(pending.since(first.as_ref()).is_err(), "an event that is not done has a time");
    drop(gate);
    s.synchronize().unwrap();
}

fn idleness(device: &Arc<dyn Device>) {
    let s = stream(device);
    assert!(s.is_idle().unwrap());
    let gate = hold(&s);
    assert!(!s.is_idle().unwrap());
    drop(gate);
    s.synchronize().unwrap();
    assert!(s.is_idle().unwrap());
}

fn host_functions_may_panic(device: &Arc<dyn Device>) {
    let s = stream(device);
    s.host_fn(Box::new(|| panic!("a host function that panics, on purpose"))).unwrap();
    let ran = Arc::new(AtomicBool::new(false));
    let flag = ran.clone();
    s.host_fn(Box::new(move || flag.store(true, Ordering::SeqCst))).unwrap();
    // The wait may report the panic, once; the stream goes on.
    let _ = s.synchronize();
    assert!(ran.load(Ordering::SeqCst));
    s.synchronize().unwrap();
}

fn dropped_streams_finish(device: &Arc<dyn Device>) {
    let s = stream(device);
    let (done, waiting) = mpsc::channel();
    s.host_fn(Box::new(|| std::thread::sleep(Duration::from_millis(10)))).unwrap();
    s.host_fn(Box::new(move || done.send(1).unwrap())).unwrap();
    drop(s);
    assert_eq!(waiting.recv_timeout(Duration::from_secs(20)), Ok(1));
}

fn device_synchronize_waits_for_all(device: &Arc<dyn Device>) {
    let count = Arc::new(AtomicUsize::new(0));
    let last = device.units().len() as u32 - 1;
    let streams: Vec<_> =
        [0, last].iter().map(|&u| device.node_create(&[u]).unwrap().stream_create(0).unwrap()).collect();
    for s in &streams {
        let count = count.clone();
        s.host_fn(Box::new(move || {
            std::thread::sleep(Duration::from_millis(15));
            count.fetch_add(1, Ordering::SeqCst);
        }))
        .unwrap();
    }
    device.synchronize().unwrap();
    assert_eq!(count.load(Ordering::SeqCst), 2);
}

fn nodes(device: &Arc<dyn Device>) {
    let units = device.units().to_vec();
    let all: Vec<u32> = (0..units.len() as u32).collect();
    let whole = device.node_create(&all).unwrap();
    assert_eq!(whole.units(), all);
    assert_eq!(whole.processors(), device.info().unwrap().multiprocessors);
    let block = Block::new(device, all.len() as u64 * 4096);
    let mut streams = Vec::new();
    for &u in &all {
        let node = device.node_create(&[u]).unwrap();
        assert_eq!(node.units(), [u]);
        assert_eq!(node.processors(), units[u as usize].processors);
        for priority in [0, -1, i32::MIN, i32::MAX] {
            node.stream_create(priority).unwrap();
        }
        let s = node.stream_create(0).unwrap();
        drop(node);
        // SAFETY: each stream has its own part of the block.
        unsafe { device.fill(block.address + u64::from(u) * 4096, u as u8, 4096, Some(s.as_ref())).unwrap() };
        streams.push(s);
    }
    for s in &streams {
        s.synchronize().unwrap();
    }
    let got = read(device, block.address, all.len() * 4096);
    assert!(got.chunks(4096).enumerate().all(|(u, part)| part.iter().all(|&x| x == u as u8)));
    if all.len() >= 4 {
        let some = device.node_create(&[3, 1]).unwrap();
        assert_eq!(some.units(), [1, 3]);
        assert_eq!(some.processors(), units[1].processors + units[3].processors);
        some.stream_create(0).unwrap().synchronize().unwrap();
    }
    assert_eq!(status(device.node_create(&[])), Status::InvalidArgument);
    assert_eq!(status(device.node_create(&[0, 0])), Status::InvalidArgument);
    assert_eq!(status(device.node_create(&[all.len() as u32])), Status::InvalidArgument);
}

fn export(device: &Arc<dyn Device>) {
    let granule = device.granule_create(device.granularity()).unwrap();
    let fd = device.granule_export(&granule).unwrap();
    // SAFETY: asks for the descriptor's flags only.
    let flags = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFD) };
    assert!(flags >= 0 && flags & libc::FD_CLOEXEC != 0, "a child process would inherit the descriptor");
    let again = device.granule_export(&granule).unwrap();
    assert_ne!(fd.as_raw_fd(), again.as_raw_fd());
    device.granule_release(granule);
}

fn misuse(device: &Arc<dyn Device>) {
    use Status::InvalidArgument as Bad;
    let g = device.granularity();
    for bytes in [0, 1, g + 1] {
        assert_eq!(status(device.granule_create(bytes)), Bad, "granule of {bytes}");
        assert_eq!(status(device.range_reserve(bytes)), Bad, "range of {bytes}");
    }
    let (granule, other) = (device.granule_create(g).unwrap(), device.granule_create(2 * g).unwrap());
    let range = device.range_reserve(2 * g).unwrap();
    assert_eq!(status(device.map(range + 1, &granule, Access::ReadWrite)), Bad, "misaligned");
    assert_eq!(status(device.map(range + g, &other, Access::ReadWrite)), Bad, "past the range's end");
    assert_eq!(status(device.map(0, &granule, Access::ReadWrite)), Bad, "null");
    device.map(range + g, &granule, Access::ReadWrite).unwrap();
    assert_eq!(status(device.map(range + g, &granule, Access::ReadWrite)), Status::Busy, "mapped twice");
    assert_eq!(status(device.map(range, &other, Access::ReadWrite)), Status::Busy, "overlaps");
    assert_eq!(status(device.unmap(range, g)), Bad, "nothing there");
    assert_eq!(status(device.unmap(range + g, 2 * g)), Bad, "wrong size");
    // What was refused changed nothing.
    device.write(range + g, &[7; 10]).unwrap();
    assert_eq!(read(device, range + g, 10), [7; 10]);
    // A copy that leaves what is mapped, or writes what is for reading only.
    assert_eq!(status(device.write(range, &[1; 10])), Bad, "nothing is mapped there");
    assert_eq!(status(device.read(&mut vec![0; g as usize + 1], range + g)), Bad, "runs past the mapping");
    device.unmap(range + g, g).unwrap();
    device.map(range, &granule, Access::Read).unwrap();
    let s = stream(device);
    for queued in [None, Some(s.as_ref())] {
        // SAFETY: refused before anything is touched.
        unsafe {
            assert_eq!(status(device.fill(range + 3, 1, 8, queued)), Bad, "read-only");
            assert_eq!(status(device.copy(range + 3, range + 100, 8, queued)), Bad, "read-only");
        }
    }
    assert_eq!(status(device.write(range, &[1])), Bad, "read-only");
    assert_eq!(read(device, range, 10), [7; 10]);
    device.unmap(range, g).unwrap();
    device.map(range, &other, Access::ReadWrite).unwrap();
    device.unmap(range, 2 * g).unwrap();
    device.granule_release(granule);
    device.granule_release(other);
    device.range_release(range, 2 * g);
    assert_eq!(status(device.write(0, &[1])), Bad);
    assert_eq!(status(device.read(&mut [1], 0)), Bad);
    // SAFETY: refused before anything is touched.
    unsafe {
        assert_eq!(status(device.copy(0, 4096, 8, None)), Bad);
        assert_eq!(status(device.fill(0, 1, 8, None)), Bad);
        assert_eq!(status(device.copy(u64::MAX - 2, 4096, 8, None)), Bad);
    }
}

fn threads(device: &Arc<dyn Device>) {
    std::thread::scope(|scope| {
        for t in 0..8u64 {
            scope.spawn(move || {
                let units = device.units().len() as u64;
                for round in 0..12 {
                    let node = device.node_create(&[((t + round) % units) as u32]).unwrap();
                    let s = node.stream_create((round % 3) as i32 - 1).unwrap();
                    let block = Block::new(device, 1 << 16);
                    let data = pattern(t * 100 + round, 30_000);
                    device.write(block.address, &data).unwrap();
                    let mut out = vec![0u8; 30_000];
                    // SAFETY: alive until the stream was waited for.
                    unsafe {
                        device.copy(block.address + 32_768, block.address, 30_000, Some(s.as_ref())).unwrap();
                        device.fill(block.address, 0, 30_000, Some(s.as_ref())).unwrap();
                        let to = out.as_mut_ptr() as u64;
                        device.copy(to, block.address + 32_768, 30_000, Some(s.as_ref())).unwrap();
                    }
                    let event: Arc<dyn Event> = s.record().unwrap();
                    event.synchronize().unwrap();
                    assert!(out == data, "thread {t}, round {round}");
                }
            });
        }
    });
}

#[test]
fn cpu() {
    suite(cogniware::device::open(DeviceChoice::Cpu).unwrap());
}

#[cfg(feature = "cuda")]
mod cuda {
    use super::*;
    use mock_driver::Mock;

    #[test]
    fn mock() {
        let mock = Mock::new();
        let device = mock.device();
        suite(device.clone());
        assert_eq!(device.driver().release_failures().0, 0, "{:?}", device.driver().release_failures().1);
        drop(device);
        mock.assert_clean();
    }

    #[test]
    fn gpu() {
        let Some(device) = mock_driver::real_gpu() else { return };
        println!("{:#?}\n{:#?}", device.info().unwrap(), device.capabilities());
        suite(device.clone());
        assert_eq!(device.driver().release_failures().0, 0, "{:?}", device.driver().release_failures().1);
    }
}
