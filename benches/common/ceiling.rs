//! What the machine's memory can do, measured in the same run as what is compared with it.

// Each bench uses its own part of this file.
#![allow(dead_code)]

use cogniware::device::{Access, Device, DeviceKind, Granule};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Memory of a device, mapped at an address.
pub struct Memory {
    device: Arc<dyn Device>,
    granule: Option<Granule>,
    pub ptr: u64,
    pub bytes: u64,
}

impl Memory {
    pub fn new(device: &Arc<dyn Device>, bytes: u64) -> Memory {
        let bytes = bytes.next_multiple_of(device.granularity());
        let granule = device.granule_create(bytes).expect("memory");
        let ptr = device.range_reserve(bytes).expect("addresses");
        device.map(ptr, &granule, Access::ReadWrite).expect("mapping");
        Memory { device: device.clone(), granule: Some(granule), ptr, bytes }
    }

    /// The bytes of memory of the CPU device.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        assert_eq!(self.device.kind(), DeviceKind::Cpu);
        // SAFETY: mapped, and nobody else writes it.
        unsafe { std::slice::from_raw_parts_mut(self.ptr as *mut u8, self.bytes as usize) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.device.unmap(self.ptr, self.bytes).expect("unmapping");
        self.device.range_release(self.ptr, self.bytes);
        if let Some(granule) = self.granule.take() {
            self.device.granule_release(granule);
        }
    }
}

/// A ceiling and how it was measured.
pub struct Ceiling {
    pub gbs: f64,
    pub what: &'static str,
}

/// The memory ceiling of a device: on the CPU the fastest plain read by `threads` threads, on a GPU a copy inside the
/// device (bytes read plus bytes written).
pub fn ceiling(device: &Arc<dyn Device>, threads: u32) -> Ceiling {
    if device.kind() == DeviceKind::Cpu {
        let mut memory = Memory::new(device, 1 << 30);
        memory.bytes_mut().fill(1);
        let gbs = (0..5).map(|_| read_speed(&memory, threads)).fold(0.0, f64::max);
        return Ceiling { gbs, what: "plain read, same threads" };
    }
    let (a, b) = (Memory::new(device, 2 << 30), Memory::new(device, 2 << 30));
    let units: Vec<u32> = (0..device.units().len() as u32).collect();
    let node = device.node_create(&units).expect("the whole device");
    let stream = node.stream_create(0).expect("a stream");
    let mut gbs = 0f64;
    for _ in 0..8 {
        let begun = stream.record().expect("an event");
        // SAFETY: both are mapped and of this size.
        unsafe { device.copy(a.ptr, b.ptr, a.bytes, Some(&*stream)).expect("a copy") };
        let ended = stream.record().expect("an event");
        ended.synchronize().expect("the copy");
        let time = ended.since(&*begun).expect("a time");
        gbs = gbs.max(2.0 * a.bytes as f64 / time.as_secs_f64() / 1e9);
    }
    Ceiling { gbs, what: "copy inside the device, read + written" }
}

/// The fastest plain read of the memory by `threads` threads, in GB/s. One thread is measured by its processor time,
/// more by the clock.
pub fn read_speed(memory: &Memory, threads: u32) -> f64 {
    let mut best = 0f64;
    for streams in [1, 2, 4] {
        let part = memory.bytes / u64::from(threads) / 4096 * 4096;
        let (begin, used) = (Instant::now(), processor_time());
        std::thread::scope(|scope| {
            for t in 1..u64::from(threads) {
                scope.spawn(move || std::hint::black_box(read(memory.ptr + t * part, part, streams)));
            }
            std::hint::black_box(read(memory.ptr, part, streams));
        });
        let time = if threads == 1 { processor_time() - used } else { begin.elapsed() };
        let read = part * u64::from(threads);
        best = best.max(read as f64 / time.as_secs_f64() / 1e9);
    }
    best
}

/// Reads `bytes` mapped at `ptr` as `streams` streams side by side and returns something that depends on all of it.
pub fn read(ptr: u64, bytes: u64, streams: usize) -> u64 {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx512f") {
        // SAFETY: the bytes are mapped and the instructions exist.
        return unsafe {
            match streams {
                1 => read_avx512::<1>(ptr, bytes),
                2 => read_avx512::<2>(ptr, bytes),
                _ => read_avx512::<4>(ptr, bytes),
            }
        };
    }
    // SAFETY: the bytes are mapped.
    let words = unsafe { std::slice::from_raw_parts(ptr as *const u64, bytes as usize / 8) };
    words.iter().fold(streams as u64, |a, b| a.wrapping_add(*b))
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn read_avx512<const STREAMS: usize>(ptr: u64, bytes: u64) -> u64 {
    use std::arch::x86_64::*;
    let part = bytes as usize / STREAMS / 256 * 256;
    let mut sums = [[_mm512_setzero_si512(); 4]; STREAMS];
    for at in (0..part).step_by(256) {
        for (s, sums) in sums.iter_mut().enumerate() {
            let line = (ptr as *const u8).wrapping_add(s * part + at);
            for (i, sum) in sums.iter_mut().enumerate() {
                _mm_prefetch::<_MM_HINT_T0>(line.wrapping_add(4096 + 64 * i).cast());
                // SAFETY: below `bytes`.
                *sum = _mm512_add_epi64(*sum, unsafe { _mm512_loadu_si512(line.add(64 * i).cast()) });
            }
        }
    }
    sums.iter().flatten().fold(0, |a, s| a ^ _mm512_reduce_add_epi64(*s) as u64)
}

/// What the calling thread has had of a processor.
pub fn processor_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: fills the struct.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
