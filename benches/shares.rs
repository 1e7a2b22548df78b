//! Whether shares of a device's time are got as asked for: tenants that always have work, on the same processors, through
//! queues. `cargo bench --bench shares -- [--device cpu|cuda] [--seconds S]`.
//!
//! What a tenant got is counted in work done, not taken from the gate's own account: kernels of a fixed number of rounds
//! that fill every SM (on the CPU device, host functions that use a processor's time), whose length alone was measured first.
//! Beside it, what the same tenants get from plain streams, as they would without Cogniware: there nobody heeds weights.

use cogniware::compute::Queue;
use cogniware::device::{self, Device, DeviceKind, Stream};
use cogniware::tenant::{self, Tenant, TenantConfig};
use cogniware::{Error, Result, Status};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

/// Launches that a tenant has waiting at most.
const AHEAD: u64 = 64;

/// Puts work of about so many microseconds on a stream; as one CUDA graph of pieces where the second is true.
type Launch = Arc<dyn Fn(&dyn Stream) -> Result<()> + Send + Sync>;

/// A way to make work, and how long one takes alone.
trait Maker {
    fn make(&self, tenant: &Arc<Tenant>, micros: u64, graph: bool) -> Launch;
}

struct Cpu;

impl Maker for Cpu {
    fn make(&self, _: &Arc<Tenant>, micros: u64, graph: bool) -> Launch {
        let pieces = if graph { 8 } else { 1 };
        Arc::new(move |stream| {
            for _ in 0..pieces {
                stream.host_fn(Box::new(move || {
                    let until = processor_time() + Duration::from_micros(micros / pieces);
                    while processor_time() < until {
                        std::hint::spin_loop();
                    }
                }))?;
            }
            Ok(())
        })
    }
}

/// What the calling thread has had of a processor.
fn processor_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: fills the struct.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

#[cfg(feature = "cuda")]
mod gpu {
    use super::{Launch, Maker};
    use cogniware::device::Device;
    use cogniware::device::cuda::{CudaDevice, CudaStream, Function, Graph, Module};
    use cogniware::tenant::Tenant;
    use std::sync::Arc;
    use std::time::Instant;

    /// See benches/kernels/isolation.cu.
    const IMAGE: &[u8] = include_bytes!("kernels/isolation.fatbin");

    pub struct Gpu {
        spin: Arc<Function>,
        blocks: u32,
        rounds_a_micro: f64,
    }

    fn launch(spin: &Function, stream: &CudaStream, blocks: u32, rounds: u64) -> cogniware::Result<()> {
        let (mut rounds, mut out) = (rounds, 0u64);
        let args = &mut [std::ptr::from_mut(&mut rounds).cast(), std::ptr::from_mut(&mut out).cast()];
        // SAFETY: the arguments are those of the kernel, which writes nothing.
        unsafe { spin.launch(stream, [blocks, 1, 1], [1024, 1, 1], 0, args) }
    }

    impl Gpu {
        pub fn new(device: &Arc<dyn Device>) -> Gpu {
            let cuda = CudaDevice::of(&**device, "device").expect("a GPU");
            let module =
                Module::load(cuda, IMAGE).expect("the image; it is for compute capability 9.0 and newer");
            let spin = Arc::new(module.function("spin").expect("the kernel"));
            let blocks = 2 * device.units().iter().map(|u| u.processors).sum::<u32>();
            let units: Vec<u32> = (0..device.units().len() as u32).collect();
            let stream = device.node_create(&units).and_then(|n| n.stream_create(0)).expect("a stream");
            let queue = CudaStream::of(&*stream, "stream").expect("a stream");
            let mut best = f64::MAX;
            for _ in 0..30 {
                let begun = Instant::now();
                launch(&spin, queue, blocks, 100_000).expect("work");
                stream.synchronize().expect("work");
                best = best.min(begun.elapsed().as_secs_f64() * 1e6);
            }
            Gpu { spin, blocks, rounds_a_micro: 100_000.0 / best }
        }
    }

    impl Maker for Gpu {
        fn make(&self, tenant: &Arc<Tenant>, micros: u64, graph: bool) -> Launch {
            let rounds = |micros: f64| (micros * self.rounds_a_micro) as u64;
            let (spin, blocks) = (self.spin.clone(), self.blocks);
            if !graph {
                let rounds = rounds(micros as f64);
                return Arc::new(move |stream| {
                    launch(&spin, CudaStream::of(stream, "stream")?, blocks, rounds)
                });
            }
            let stream = tenant.queue(0).expect("a queue").stream();
            let queue = CudaStream::of(&*stream, "stream").expect("a stream");
            let pieces = 16;
            let rounds = rounds(micros as f64 / f64::from(pieces));
            let record = || (0..pieces).try_for_each(|_| launch(&spin, queue, blocks, rounds));
            let graph = Graph::capture(queue, record).expect("a graph");
            Arc::new(move |stream| graph.launch(CudaStream::of(stream, "stream")?))
        }
    }
}

/// A tenant with its weight and its work.
struct Member {
    tenant: Arc<Tenant>,
    queue: Arc<Queue>,
    /// The same units, without a queue before them.
    stream: Arc<dyn Stream>,
    launch: Launch,
    weight: f64,
    what: String,
    /// Seconds that one takes alone.
    length: f64,
    done: AtomicU64,
}

impl Member {
    fn new(
        device: &Arc<dyn Device>,
        maker: &dyn Maker,
        n: usize,
        weight: f64,
        micros: u64,
        graph: bool,
    ) -> Member {
        let processors = device.units().iter().map(|u| u.processors).sum();
        let mut config = TenantConfig::default_on(device).expect("defaults");
        config.memory_limit = 64 << 20;
        // One core of a CPU for all of them, all of a GPU.
        config.processors = if device.kind() == DeviceKind::Cpu { 1 } else { processors };
        config.weight = weight;
        let tenant = tenant::open(&format!("shares-{n}"), device, &config).expect("a tenant");
        let (queue, stream) = match device.kind() {
            DeviceKind::Cpu => {
                let node = device.node_create(&[0]).expect("a node");
                let queue = Queue::new(device, tenant.share(), tenant.space(), &node, 0).expect("a queue");
                (queue, node.stream_create(0).expect("a stream"))
            }
            _ => (tenant.queue(0).expect("a queue"), tenant.new_stream(0).expect("a stream")),
        };
        let launch = maker.make(&tenant, micros, graph);
        let what = format!("{micros} us{}", if graph { " graph" } else { "" });
        let done = AtomicU64::new(0);
        let mut member = Member { tenant, queue, stream, launch, weight, what, length: 0.0, done };
        // A CPU's work is measured in its processor's time and so is what it says.
        if device.kind() == DeviceKind::Cpu {
            member.length = micros as f64 / 1e6;
            return member;
        }
        // How long it takes, alone and at full speed.
        let rounds = (200_000 / micros).clamp(4, 2000);
        for _ in 0..2 {
            let begun = Instant::now();
            for _ in 0..rounds {
                let launch = member.launch.clone();
                member.queue.run(move |s| launch(s)).expect("work");
            }
            member.queue.synchronize().expect("work");
            member.length = begun.elapsed().as_secs_f64() / rounds as f64;
        }
        member
    }

    /// Always has work until told to stop.
    fn saturate(&self, stop: &AtomicBool) {
        let mut ids = std::collections::VecDeque::new();
        while !stop.load(SeqCst) {
            let launch = self.launch.clone();
            let Ok(id) = self.queue.run(move |s| launch(s)) else { return };
            ids.push_back(id);
            if ids.len() as u64 >= AHEAD {
                let first = ids.pop_front().expect("one");
                let Ok(_) = self.queue.wait(first, Duration::from_secs(30)) else { return };
                self.done.fetch_add(1, SeqCst);
            }
        }
    }
}

/// How tenants put their work on the device.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    Queues,
    Streams,
}

impl Member {
    /// The same on its stream.
    fn saturate_stream(&self, stop: &AtomicBool) {
        let mut ends = std::collections::VecDeque::new();
        while !stop.load(SeqCst) {
            (self.launch)(&*self.stream).expect("work");
            ends.push_back(self.stream.record().expect("an event"));
            if ends.len() as u64 >= AHEAD {
                ends.pop_front().expect("one").synchronize().expect("work");
                self.done.fetch_add(1, SeqCst);
            }
        }
        self.stream.synchronize().expect("work");
    }
}

/// What each got of all the work done, and how much work was done a second (1 is a device that is never idle).
fn measure(members: &[Member], time: Duration, way: Way) -> (Vec<f64>, Vec<f64>, f64) {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for member in members {
            let stop = &stop;
            scope.spawn(move || match way {
                Way::Queues => member.saturate(stop),
                Way::Streams => member.saturate_stream(stop),
            });
        }
        std::thread::sleep(Duration::from_millis(500));
        let now = || -> (Vec<f64>, Vec<f64>) {
            let work = members.iter().map(|m| m.done.load(SeqCst) as f64 * m.length).collect();
            (work, members.iter().map(|m| m.tenant.share().used().as_secs_f64()).collect())
        };
        let (begun, before) = (Instant::now(), now());
        std::thread::sleep(time);
        let (took, after) = (begun.elapsed().as_secs_f64(), now());
        stop.store(true, SeqCst);
        for member in members.iter().filter(|_| way == Way::Queues) {
            member.queue.end(Error::new(Status::Cancelled, "enough"));
        }
        let part = |after: &[f64], before: &[f64]| {
            let each: Vec<f64> = after.iter().zip(before).map(|(a, b)| a - b).collect();
            let all: f64 = each.iter().sum();
            (each.iter().map(|e| e / all).collect::<Vec<_>>(), all)
        };
        let (work, all) = part(&after.0, &before.0);
        (work, part(&after.1, &before.1).0, all / took)
    })
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let option = |name: &str| args.iter().position(|a| a == name).and_then(|i| args.get(i + 1)).cloned();
    let wanted = option("--device").unwrap_or("auto".into());
    let device =
        device::open(device::parse_choice("--device", &wanted).expect("--device")).expect("the device");
    let cpu = device.kind() == DeviceKind::Cpu;
    let default = if cpu { 2.0 } else { 10.0 };
    let time =
        Duration::from_secs_f64(option("--seconds").map_or(default, |s| s.parse().expect("--seconds")));
    #[cfg(feature = "cuda")]
    let maker: Box<dyn Maker> = if cpu { Box::new(Cpu) } else { Box::new(gpu::Gpu::new(&device)) };
    #[cfg(not(feature = "cuda"))]
    let maker: Box<dyn Maker> = Box::new(Cpu);

    println!("# {} ({}), {} s each", device.info().expect("figures").name, device.kind(), time.as_secs_f64());
    println!(
        "{:<16} {:<36} {:<20} {:<20} {:>6} {:>6}  plain streams",
        "asked", "work", "got (work)", "got (account)", "error", "busy"
    );
    let mut worst = 0f64;
    for setting in [
        &[(0.1, 200, false), (0.9, 200, false)][..],
        &[(0.1, 2000, false), (0.9, 50, false)],
        &[(0.1, 1000, true), (0.9, 200, false)],
        &[(0.25, 1000, true), (0.75, 1000, true)],
        &[(0.25, 200, false), (0.75, 2000, true)],
        &[(0.5, 50, false), (0.5, 20_000, false)],
        &[(0.5, 1000, true), (0.5, 200, false)],
        &[(0.2, 50, false), (0.3, 2000, false), (0.5, 1000, true)],
        &[(0.1, 200, false)],
        &[(0.1, 1000, true)],
    ] {
        let members: Vec<Member> = setting
            .iter()
            .enumerate()
            .map(|(n, (weight, micros, graph))| Member::new(&device, &*maker, n, *weight, *micros, *graph))
            .collect();
        let (plain, ..) = measure(&members, time.min(Duration::from_secs(2)), Way::Streams);
        let (work, account, busy) = measure(&members, time, Way::Queues);
        let total: f64 = members.iter().map(|m| m.weight).sum();
        let error =
            work.iter().zip(&members).map(|(g, m)| (g - m.weight / total).abs() * 100.0).fold(0.0, f64::max);
        worst = worst.max(error);
        let list = |x: &[f64]| x.iter().map(|v| format!("{:.1}", v * 100.0)).collect::<Vec<_>>().join(" / ");
        let asked: Vec<f64> = members.iter().map(|m| m.weight).collect();
        let what: Vec<&str> = members.iter().map(|m| m.what.as_str()).collect();
        println!(
            "{:<16} {:<36} {:<20} {:<20} {error:>6.2} {busy:>6.3}  {}",
            list(&asked),
            what.join(" / "),
            list(&work),
            list(&account),
            list(&plain)
        );
        for member in members {
            let id = member.tenant.id().to_owned();
            drop(member);
            tenant::close(&id).expect("closing");
        }
    }
    println!("worst error {worst:.2} points (goal 3)");
}
