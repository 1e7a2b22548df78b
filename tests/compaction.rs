//! Compaction against a model and under work, on every device: the CPU device always, the mock driver for the host logic of
//! the CUDA device, a GPU where there is one. `a_million_operations` is the long form of the model's test.

#[cfg(feature = "cuda")]
mod mock_driver;

use cogniware::device::{Device, DeviceChoice, DeviceKind, Stream};
use cogniware::memory::{Ledger, Space, SpacePolicy};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const MIB: u64 = 1 << 20;

/// A small generator (xorshift) for repeatable choices.
struct Dice(u64);

impl Dice {
    fn next(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }
}

/// A tenant's space whose work is that of one stream.
fn tenant(device: &Arc<dyn Device>, name: &str, limit: u64) -> (Arc<Space>, Arc<dyn Stream>) {
    let space = Space::new(device.clone(), Ledger::of(device).open(name, limit, 0).unwrap()).unwrap();
    let stream = device.node_create(&[0]).unwrap().stream_create(0).unwrap();
    let waited = stream.clone();
    space.set_fence(Box::new(move || waited.synchronize()));
    (space, stream)
}

/// Where a block is marked: its first and last bytes, and one place in each 64 KiB, so that all granules and most pages
/// of large blocks are looked at; small blocks are marked throughout.
fn places(bytes: u64) -> impl Iterator<Item = (u64, u64)> {
    let step = if bytes <= 16 << 10 { 4096 } else { 64 << 10 };
    let length = if bytes <= 16 << 10 { 4096 } else { 64 };
    (0..bytes)
        .step_by(step)
        .map(move |at| (at, length.min(bytes - at)))
        .chain([(bytes - bytes.min(64), bytes.min(64))])
}

fn mark(at: u64, seed: u64, bytes: u64) -> Vec<u8> {
    let mut state = (at ^ seed.rotate_left(17)) | 1;
    let words = bytes.div_ceil(8);
    let mut out = Vec::with_capacity(words as usize * 8);
    for _ in 0..words {
        state = state.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(0x1405_7B7E_F767_814F);
        out.extend_from_slice(&state.to_le_bytes());
    }
    out.truncate(bytes as usize);
    out
}

struct Block {
    ptr: u64,
    bytes: u64,
    seed: u64,
}

impl Block {
    /// Later places win where two overlap.
    fn content(&self) -> Vec<(u64, Vec<u8>)> {
        let mut all: Vec<(u64, Vec<u8>)> = Vec::new();
        for (at, length) in places(self.bytes) {
            all.pop_if(|(before, _)| *before >= at);
            if let Some((before, content)) = all.last_mut()
                && *before + content.len() as u64 > at
            {
                content.truncate((at - *before) as usize);
            }
            all.push((at, mark(at, self.seed, length)));
        }
        all
    }

    fn write(&self, device: &dyn Device) {
        for (at, content) in self.content() {
            device.write(self.ptr + at, &content).unwrap();
        }
    }

    fn check(&self, device: &dyn Device) {
        for (at, content) in self.content() {
            let mut found = vec![0; content.len()];
            device.read(&mut found, self.ptr + at).unwrap();
            assert!(
                found == content,
                "the content of {:#x} ({} bytes) changed at {at}",
                self.ptr,
                self.bytes
            );
        }
    }
}

struct Owner {
    space: Arc<Space>,
    stream: Arc<dyn Stream>,
    live: Vec<Block>,
    held: u64,
    limit: u64,
}

impl Owner {
    fn allocate(&mut self, dice: &mut Dice, device: &dyn Device) {
        let shift = [4, 8, 10, 12, 13][dice.next(5) as usize];
        let size = 256 << dice.next(shift);
        let bytes = match dice.next(3) {
            0 => size,
            1 => size + dice.next(size),
            _ => (size + dice.next(size)).next_multiple_of(4096),
        };
        let most = if dice.next(20) == 0 { 22 } else { 10 };
        let align = 1 << dice.next(most);
        let guard = self.space.policy().guard_bytes;
        let charged = (bytes + guard).next_multiple_of(256);
        match self.space.alloc(bytes, align, "model") {
            Ok(ptr) => {
                assert!(self.held + charged <= self.limit && ptr.is_multiple_of(align.max(256)));
                self.held += charged;
                let block = Block { ptr, bytes, seed: dice.next(u64::MAX) };
                block.write(device);
                self.live.push(block);
            }
            Err(e) => assert_eq!(e.status(), cogniware::Status::QuotaExceeded, "{e}"),
        }
    }

    fn free(&mut self, at: usize, device: &dyn Device) {
        let block = self.live.swap_remove(at);
        block.check(device);
        let before = self.space.account().held();
        self.space.free(block.ptr).unwrap();
        assert!(self.space.free(block.ptr).is_err(), "freed twice");
        self.held -= before - self.space.account().held();
    }

    fn check_books(&self) {
        let usage = self.space.usage();
        assert_eq!((usage.held, usage.allocations), (self.held, self.live.len() as u64));
        assert!(usage.physical <= self.limit.next_multiple_of(self.space.page_size()));
        let mut blocks: Vec<_> = self.live.iter().map(|b| (b.ptr, b.bytes)).collect();
        blocks.sort_unstable();
        assert!(blocks.windows(2).all(|w| w[0].0 + w[0].1 <= w[1].0), "two allocations overlap");
        let pages = self.space.pages();
        let resident: u64 = pages.iter().map(|p| p.resident).sum();
        assert_eq!(resident, usage.physical, "the page table and the books differ");
        assert_eq!(pages.iter().map(|p| p.live).sum::<u64>(), usage.held);
        let found = self.space.fragmentation();
        assert_eq!((found.mapped, found.used), (usage.physical, usage.held));
    }
}

/// Random operations of several tenants; every content is checked before it is freed and at the end, the books now and then.
fn model(device: &Arc<dyn Device>, operations: u64, seed: u64) {
    let begun = Instant::now();
    let mut dice = Dice(seed);
    let mut owners: Vec<Owner> = (0..3)
        .map(|n| {
            let limit = [24 * MIB + 512, 40 * MIB, 64 * MIB - 256][n as usize];
            let (space, stream) = tenant(device, &format!("model {n}"), limit);
            Owner { space, stream, live: Vec::new(), held: 0, limit }
        })
        .collect();
    let ledger = Ledger::of(device);
    let mut fullest: f64 = 0.0;
    for n in 0..operations {
        let owner = &mut owners[dice.next(3) as usize];
        // Tides: a while more is allocated, a while more is freed.
        let flood = (n / 3000) % 2 == 0;
        match dice.next(1000) {
            0..=2 => {
                let done = owner.space.compact(Duration::from_micros(1 + dice.next(20_000))).unwrap();
                assert!(done.complete);
                assert!(owner.space.fragmentation().level <= 1.0);
            }
            3..=6 => drop(owner.space.compact_slice(Duration::from_micros(500)).unwrap()),
            7 => ledger.give_back_idle(),
            8 => {
                let policy = SpacePolicy {
                    guard_bytes: [0, 0, 256, 4096][dice.next(4) as usize],
                    small_pool: dice.next(3) > 0,
                    small_limit: 256 << dice.next(10),
                    before_refusal: dice.next(4) > 0,
                    auto: dice.next(2) == 0,
                    threshold: 0.1,
                    ..SpacePolicy::default()
                };
                owner.space.set_policy(policy).unwrap();
            }
            9 => owner.check_books_quietly(),
            10..=99 if !owner.live.is_empty() => {
                let at = dice.next(owner.live.len() as u64) as usize;
                owner.live[at].check(&**device);
            }
            100..=149 if !owner.live.is_empty() => {
                let at = dice.next(owner.live.len() as u64) as usize;
                owner.live[at].seed = dice.next(u64::MAX);
                let _door = owner.space.door().enter().unwrap();
                owner.live[at].write(&**device);
            }
            150..=159 if !owner.live.is_empty() => {
                // Work in flight while memory is freed, moved and given back.
                let at = dice.next(owner.live.len() as u64) as usize;
                let (ptr, bytes) = (owner.live[at].ptr, owner.live[at].bytes);
                {
                    let _door = owner.space.door().enter().unwrap();
                    // SAFETY: live memory, which is given back only after the stream was waited for.
                    unsafe { device.fill(ptr, 0x77, bytes, Some(&*owner.stream)).unwrap() };
                }
                let block = owner.live.swap_remove(at);
                let before = owner.space.account().held();
                owner.space.free(block.ptr).unwrap();
                owner.held -= before - owner.space.account().held();
                // The next owner of these addresses writes after what was queued.
                owner.stream.synchronize().unwrap();
            }
            what if !owner.live.is_empty() && what % 100 < if flood { 30 } else { 64 } => {
                let at = dice.next(owner.live.len() as u64) as usize;
                owner.free(at, &**device);
            }
            _ => owner.allocate(&mut dice, &**device),
        }
        fullest = fullest.max(owner.held as f64 / owner.limit as f64);
    }
    assert!(fullest > 0.95, "the limits were never reached: {fullest}");
    let (mut compactions, mut moved, mut given) = (0, 0, 0);
    for owner in &mut owners {
        owner.space.set_policy(SpacePolicy::default()).unwrap();
        owner.space.compact(Duration::from_millis(5)).unwrap();
        owner.live.iter().for_each(|block| block.check(&**device));
        owner.check_books();
        let figures = owner.space.compaction_figures();
        compactions += figures.compactions;
        (moved, given) = (moved + figures.moved, given + figures.given_back);
        assert_eq!(figures.failed, 0);
        while !owner.live.is_empty() {
            owner.free(0, &**device);
        }
        assert_eq!(owner.space.usage().held, 0);
    }
    let accounts: Vec<_> = owners.iter().map(|o| o.space.account().clone()).collect();
    drop(owners);
    settled(|| accounts.iter().all(|a| a.held() == 0 && a.physical() == 0));
    println!(
        "  {operations} operations in {:.1} s: {compactions} compactions, {} MiB moved, {} MiB given back",
        begun.elapsed().as_secs_f64(),
        moved / MIB,
        given / MIB
    );
}

impl Owner {
    /// The same while the process's own thread may be at it: nothing that it changes for a moment is compared.
    fn check_books_quietly(&self) {
        let usage = self.space.usage();
        assert_eq!((usage.held, usage.allocations), (self.held, self.live.len() as u64));
        for block in &self.live {
            assert!(self.space.check("block", block.ptr, block.bytes).is_ok());
        }
    }
}

/// Waits until something is true that another thread is about to make true.
fn settled(mut so: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(20);
    while !so() {
        assert!(Instant::now() < until, "it never came true");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Every other block freed: after compaction 99 % of what is free comes in one piece, in pauses within the budget, while
/// another tenant goes on and this one's work in flight ends first.
fn checkerboard(device: &Arc<dyn Device>, limit: u64, block: u64) {
    let budget = Duration::from_millis(20);
    let (space, stream) = tenant(device, "board", limit);
    let (other, others) = tenant(device, "beside", 8 * MIB);
    let all: Vec<u64> = (0..limit / block).map(|_| space.alloc(block, 1, "square").unwrap()).collect();
    let mut live = Vec::new();
    for (n, ptr) in all.into_iter().enumerate() {
        if n % 2 == 0 {
            space.free(ptr).unwrap();
        } else {
            let block = Block { ptr, bytes: block, seed: n as u64 };
            block.write(&**device);
            live.push(block);
        }
    }
    let before = space.fragmentation();
    let (over, steps) = (AtomicBool::new(false), AtomicU64::new(0));
    let done = std::thread::scope(|threads| {
        threads.spawn(|| {
            let here = other.alloc(MIB, 1, "here").unwrap();
            while !over.load(Ordering::Relaxed) {
                let value = steps.load(Ordering::Relaxed) as u8;
                let mut back = vec![0u8; 4096];
                {
                    let _door = other.door().enter().unwrap();
                    // SAFETY: live until the stream was waited for.
                    unsafe { device.fill(here, value, MIB, Some(&*others)).unwrap() };
                }
                others.synchronize().unwrap();
                device.read(&mut back, here + MIB - 4096).unwrap();
                assert!(back.iter().all(|b| *b == value));
                steps.fetch_add(1, Ordering::Relaxed);
            }
        });
        while steps.load(Ordering::Relaxed) < 3 {
            std::thread::yield_now();
        }
        {
            let _door = space.door().enter().unwrap();
            // SAFETY: live memory of this tenant, waited for below.
            unsafe { device.fill(live[0].ptr, 0x5A, block, Some(&*stream)).unwrap() };
        }
        let begun = steps.load(Ordering::Relaxed);
        let done = space.compact(budget).unwrap();
        let went = steps.load(Ordering::Relaxed) - begun;
        println!("  {block}: {before:?} -> {:?}; {done:?}; {went} steps beside", space.fragmentation());
        over.store(true, Ordering::Relaxed);
        done
    });
    let after = space.fragmentation();
    assert!(done.complete && after.largest as f64 >= 0.99 * after.free as f64, "{after:?}");
    let slack =
        if device.kind() == DeviceKind::Cuda && !device.info().unwrap().name.contains("ock") { 1 } else { 5 };
    assert!(done.longest_pause <= budget * slack, "{done:?}");
    // What is idle has gone back.
    assert!(after.mapped <= after.used + after.used / 10 + 2 * space.page_size(), "{after:?}");
    stream.synchronize().unwrap();
    let mut first = vec![0u8; block as usize];
    device.read(&mut first, live[0].ptr).unwrap();
    assert!(first.iter().all(|b| *b == 0x5A), "work in flight was lost");
    live[1..].iter().for_each(|block| block.check(&**device));
    let large = space.alloc(after.free / 100 * 99, 1, "large").unwrap();
    // SAFETY: live memory of this tenant.
    unsafe { device.fill(large, 1, after.free / 100 * 99, None).unwrap() };
    live[1..].iter().for_each(|block| block.check(&**device));
}

#[test]
fn the_cpu_device_agrees_with_a_model() {
    model(&cogniware::device::open(DeviceChoice::Cpu).unwrap(), 20_000, 0x9E37_79B9);
}

#[test]
#[ignore = "a minute or more: for releases"]
fn a_million_operations() {
    model(&cogniware::device::open(DeviceChoice::Cpu).unwrap(), 1_000_000, 0x1234_5678_9ABC);
    #[cfg(feature = "cuda")]
    if let Some(gpu) = mock_driver::real_gpu() {
        gpu.path().set_pooled(true);
        model(&mock_driver::erased(&gpu), 1_000_000, 0xFEDC_BA98);
    }
}

#[test]
fn a_checkerboard_of_the_cpu_device_comes_in_one_piece() {
    let device = cogniware::device::open(DeviceChoice::Cpu).unwrap();
    for block in [4096, 64 << 10, 2 * MIB] {
        checkerboard(&device, 96 * MIB, block);
    }
}

#[cfg(feature = "cuda")]
mod cuda {
    use super::*;
    use cogniware::device::cuda::{CudaDevice, CudaStream, Graph};
    use mock_driver::{Mock, erased, real_gpu};

    /// A recorded step over memory that moves gives the same after it has moved.
    fn graphs_replay(device: &Arc<CudaDevice>) {
        let device = erased(device);
        let (space, stream) = tenant(&device, "recorded", 128 * MIB);
        let all: Vec<u64> = (0..60).map(|_| space.alloc(2 * MIB, 1, "block").unwrap()).collect();
        let cuda = stream.as_any().downcast_ref::<CudaStream>().unwrap();
        let (kept, freed): (Vec<_>, Vec<_>) = all.iter().enumerate().partition(|(n, _)| n % 2 == 1);
        let kept: Vec<u64> = kept.into_iter().map(|(_, ptr)| *ptr).collect();
        let graph = Graph::capture(cuda, || {
            for pair in kept.windows(2) {
                // SAFETY: live for as long as the graph is launched.
                unsafe { device.copy(pair[1] + 256, pair[0], MIB, Some(cuda))? };
            }
            // SAFETY: as above.
            unsafe { device.fill(kept[0] + MIB, 0x3C, 4096, Some(cuda)) }
        })
        .unwrap();
        let run = |seed: u64| -> Vec<Vec<u8>> {
            for (n, ptr) in kept.iter().enumerate() {
                device.write(*ptr, &mark(n as u64, seed, 2 * MIB)).unwrap();
            }
            {
                let _door = space.door().enter().unwrap();
                graph.launch(cuda).unwrap();
            }
            stream.synchronize().unwrap();
            let read = |ptr: &u64| {
                let mut out = vec![0u8; 2 << 20];
                device.read(&mut out, *ptr).unwrap();
                out
            };
            kept.iter().map(read).collect()
        };
        let before = run(5);
        let granules = |space: &Space| -> Vec<(u64, u64)> {
            space
                .pages()
                .iter()
                .filter(|p| kept.contains(&p.address))
                .map(|p| (p.address, p.granule))
                .collect()
        };
        let lay = granules(&space);
        for (_, ptr) in freed {
            space.free(*ptr).unwrap();
        }
        let done = space.compact(Duration::from_millis(5)).unwrap();
        assert!(done.moved > 0 && granules(&space) != lay, "{done:?}");
        assert!(run(5) == before, "the graph gives something else after its memory moved");
        assert!(run(6) != before);
    }

    fn suite(device: &Arc<CudaDevice>, limit: u64, operations: u64) {
        device.path().set_pooled(true);
        let any = erased(device);
        for block in [2 * MIB, 4 * MIB] {
            checkerboard(&any, limit, block);
        }
        graphs_replay(device);
        model(&any, operations, 0xC0FF_EE11);
        assert_eq!(device.driver().release_failures().0, 0, "{:?}", device.driver().release_failures().1);
    }

    #[test]
    fn mock() {
        let mock = Mock::new();
        mock.configure(1, 768 * MIB);
        suite(&mock.device(), 96 * MIB, 5_000);
        mock.assert_clean();
    }

    #[test]
    fn gpu() {
        let Some(device) = real_gpu() else { return };
        checkerboard(&erased(&device), 2048 * MIB, 2 * MIB);
        suite(&device, 1024 * MIB, 50_000);
    }
}
