//! Queues side by side on the same units: shares, caps, pieces, moving and stopping. On the CPU device, on the mock driver
//! (host logic and faults), and on a GPU where there is one.

#[cfg(feature = "cuda")]
mod mock_driver;

use cogniware::compute::{Gate, Queue};
use cogniware::device::{self, Device, DeviceChoice, DeviceKind, Stream};
use cogniware::memory::Space;
use cogniware::tenant::{self, Tenant, TenantConfig};
use cogniware::{Result, Status};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::time::{Duration, Instant};

const MS: Duration = Duration::from_millis(1);
const US: Duration = Duration::from_micros(1);

/// Puts work on a stream that takes so long on the device.
type Spin = Arc<dyn Fn(&dyn Stream, Duration) -> Result<()> + Send + Sync>;

fn cpu() -> (Arc<dyn Device>, Spin) {
    let spin: Spin = Arc::new(|stream, time| {
        stream.host_fn(Box::new(move || {
            let begun = Instant::now();
            while begun.elapsed() < time {
                std::hint::spin_loop();
            }
        }))
    });
    (device::open(DeviceChoice::Cpu).unwrap(), spin)
}

/// A tenant that is closed in the end.
struct Home(Arc<Tenant>);

impl Home {
    fn new(device: &Arc<dyn Device>, weight: f64) -> Home {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let id = format!("shares-{}", NEXT.fetch_add(1, SeqCst));
        let config = TenantConfig {
            memory_limit: 64 << 20,
            processors: 1,
            weight,
            ..TenantConfig::default_on(device).unwrap()
        };
        Home(tenant::open(&id, device, &config).unwrap())
    }

    /// A queue on the first unit.
    fn queue(&self) -> Arc<Queue> {
        let t = &self.0;
        let node = t.device().node_create(&[0]).unwrap();
        Queue::new(t.device(), t.share(), t.space(), &node, 0).unwrap()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = tenant::close_this(&self.0);
    }
}

/// What each got of the device time that all used in `window`, and how much of the window that was.
fn saturate(
    device: &Arc<dyn Device>,
    spin: &Spin,
    tenants: &[(f64, Duration, Option<f32>)],
    window: Duration,
) -> (Vec<f64>, f64) {
    let homes: Vec<_> = tenants.iter().map(|(weight, _, _)| Home::new(device, *weight)).collect();
    let queues: Vec<_> = homes.iter().map(Home::queue).collect();
    for (home, (_, _, cap)) in homes.iter().zip(tenants) {
        home.0.share().set_cap(*cap).unwrap();
    }
    let stop = AtomicBool::new(false);
    let used = || homes.iter().map(|h| h.0.share().used().as_secs_f64()).collect::<Vec<_>>();
    let (got, busy) = std::thread::scope(|scope| {
        for (queue, (_, piece, _)) in queues.iter().zip(tenants) {
            let (stop, piece) = (&stop, *piece);
            scope.spawn(move || {
                while !stop.load(SeqCst) {
                    let spin = spin.clone();
                    if queue.run(move |stream| spin(stream, piece)).is_err() {
                        return;
                    }
                }
            });
        }
        std::thread::sleep(300 * MS);
        let (begun, before) = (Instant::now(), used());
        std::thread::sleep(window);
        let (took, after) = (begun.elapsed().as_secs_f64(), used());
        stop.store(true, SeqCst);
        for queue in &queues {
            queue.end(cogniware::Error::new(Status::Cancelled, "enough"));
        }
        let each: Vec<f64> = after.iter().zip(before).map(|(a, b)| a - b).collect();
        let all: f64 = each.iter().sum();
        (each.iter().map(|e| e / all).collect::<Vec<_>>(), all / took)
    });
    for queue in &queues {
        queue.synchronize().unwrap();
    }
    let minute: Vec<f64> = homes.iter().map(|h| h.0.share().utilization().minute).collect();
    println!("{tenants:?}: got {got:.3?} of {busy:.3}; of the last minute {minute:.3?}");
    (got, busy)
}

fn shares_are_got(device: &Arc<dyn Device>, spin: &Spin, window: Duration, busy_at_least: f64) {
    let (short, middle, long) = (50 * US, 2 * MS, 20 * MS);
    for tenants in [
        &[(0.1, long, None), (0.9, short, None)][..],
        &[(0.1, short, None), (0.9, middle, None)],
        &[(0.25, middle, None), (0.75, short, None)],
        &[(0.5, short, None), (0.5, long, None)],
        &[(0.2, short, None), (0.3, long, None), (0.5, middle, None)],
    ] {
        let (got, busy) = saturate(device, spin, tenants, window);
        for (got, (want, _, _)) in got.iter().zip(tenants) {
            assert!((got - want).abs() <= 0.03, "{got:.3} for {want} of {tenants:?}");
        }
        assert!(busy > busy_at_least, "the unit was busy for {busy}");
    }
    // Alone it gets everything, whatever its weight, and its cap where it has one.
    let (_, busy) = saturate(device, spin, &[(0.1, short, None)], window / 2);
    assert!(busy > busy_at_least, "alone and busy for {busy}");
    let (_, busy) = saturate(device, spin, &[(1.0, short, Some(0.25))], window / 2);
    assert!((0.1..=0.28).contains(&busy), "capped at 0.25 it used {busy}");
}

#[test]
fn shares_hold_on_the_cpu() {
    let (device, spin) = cpu();
    shares_are_got(&device, &spin, 2000 * MS, 0.4);
}

/// Steps that come for each piece, as a model's do, beside a queue.
#[test]
fn a_queue_and_steps_of_a_model_share_as_asked() {
    let (device, spin) = cpu();
    let (model, home) = (Home::new(&device, 0.5), Home::new(&device, 0.5));
    let queue = home.queue();
    let node = device.node_create(&[0]).unwrap();
    let stream = node.stream_create(0).unwrap();
    let gate = Gate::of(&device);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(SeqCst) {
                let spin = spin.clone();
                if queue.run(move |stream| spin(stream, 50 * US)).is_err() {
                    return;
                }
            }
        });
        scope.spawn(|| {
            while !stop.load(SeqCst) {
                let permit = gate.enter(model.0.share(), &[0], &|| stop.load(SeqCst));
                let Ok(permit) = permit else { return };
                let before = stream.record().unwrap();
                spin(&*stream, MS).unwrap();
                let after = stream.record().unwrap();
                after.synchronize().unwrap();
                permit.finish(after.since(&*before).unwrap());
            }
        });
        std::thread::sleep(300 * MS);
        let used = || (model.0.share().used().as_secs_f64(), home.0.share().used().as_secs_f64());
        let before = used();
        std::thread::sleep(2000 * MS);
        let after = used();
        stop.store(true, SeqCst);
        queue.end(cogniware::Error::new(Status::Cancelled, "enough"));
        let (steps, work) = (after.0 - before.0, after.1 - before.1);
        let got = steps / (steps + work);
        println!("steps {steps:.3} s, queue {work:.3} s");
        assert!((got - 0.5).abs() <= 0.04, "the model got {got:.3} of 0.5");
    });
}

/// What the tenant's own interface promises.
fn tenants_queues(device: &Arc<dyn Device>, spin: &Spin) {
    let (home, other) = (Home::new(device, 1.0), Home::new(device, 1.0));
    let t = &home.0;
    let own = t.queue(0).unwrap();
    assert!(Arc::ptr_eq(&own, &t.queue(0).unwrap()));
    assert_eq!(t.queue(7).err().unwrap().status(), Status::NotFound);
    let number = t.open_stream(0).unwrap();
    let numbered = t.queue(number).unwrap();
    assert!(Arc::ptr_eq(&numbered, &t.queue_of(&t.stream(number).unwrap()).unwrap()));
    assert!(Arc::ptr_eq(&own, &t.queue_of(&own.stream()).unwrap()));
    assert_eq!(other.0.queue_of(&own.stream()).err().unwrap().status(), Status::NotOwner);
    assert_eq!(t.queues(), [0, number]);
    let ran = Arc::new(AtomicU32::new(0));
    let run = |queue: &Arc<Queue>| {
        let (ran, spin) = (ran.clone(), spin.clone());
        let work = move |stream: &dyn Stream| {
            spin(stream, 100 * US)?;
            stream.host_fn(Box::new(move || {
                ran.fetch_add(1, SeqCst);
            }))
        };
        queue.run(work).unwrap();
    };
    let units = device.units();
    let most: u32 = units.iter().map(|u| u.processors).sum();
    assert_eq!(t.scale(0).unwrap_err().status(), Status::InvalidArgument);
    assert_eq!(t.scale(most + 1).unwrap_err().status(), Status::InvalidArgument);
    for processors in [most, units[0].processors, most, 1] {
        for _ in 0..100 {
            run(&own);
            run(&numbered);
        }
        let held = t.scale(processors).unwrap();
        assert!(held >= processors && t.processors_now() == held, "{held} for {processors}");
        assert_eq!(own.node().processors(), held);
        assert_eq!(t.nodes_held().len(), 1, "the old node is given back");
        assert!(Arc::ptr_eq(&numbered, &t.queue_of(&t.stream(number).unwrap()).unwrap()));
    }
    own.synchronize().unwrap();
    numbered.synchronize().unwrap();
    assert_eq!(ran.load(SeqCst), 800);
    let used = own.figures().device_time + numbered.figures().device_time;
    assert!(used > Duration::ZERO && t.share().used() <= used + MS, "{used:?} {:?}", t.share().used());
    t.close_stream(number).unwrap();
    assert_eq!(t.queues(), [0]);
    let held = own.clone();
    tenant::close_this(t).unwrap();
    assert_eq!(held.run(|_| Ok(())).unwrap_err().status(), Status::NotInitialized);
    assert!(t.queue(0).is_err() && t.scale(1).is_err());
}

#[test]
fn queues_of_a_tenant_move_with_its_processors() {
    let (device, spin) = cpu();
    tenants_queues(&device, &spin);
}

/// The tenant's fence waits for its queues' work, and moving memory does not meet it.
fn memory_moves_between_work(device: &Arc<dyn Device>, spin: &Spin) {
    let home = Home::new(device, 1.0);
    let space: Arc<Space> = home.0.space().clone();
    let queue = home.0.queue(0).unwrap();
    let (running, stop) = (Arc::new(AtomicU32::new(0)), AtomicBool::new(false));
    let on_host = device.kind() == DeviceKind::Cpu;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(SeqCst) {
                let (spin, running) = (spin.clone(), running.clone());
                let work = move |stream: &dyn Stream| {
                    let (up, down) = (running.clone(), running);
                    if on_host {
                        stream.host_fn(Box::new(move || _ = up.fetch_add(1, SeqCst)))?;
                    }
                    spin(stream, 50 * US)?;
                    if on_host {
                        stream.host_fn(Box::new(move || _ = down.fetch_sub(1, SeqCst)))?;
                    }
                    Ok(())
                };
                queue.run(work).unwrap();
            }
        });
        for _ in 0..50 {
            let closed = space.door().close();
            queue.stream().synchronize().unwrap();
            // Marks may come on the stream meanwhile, but no work.
            let launches = queue.figures().launches;
            assert_eq!(running.load(SeqCst), 0, "work is running that was waited for");
            std::thread::sleep(MS / 5);
            let now = (running.load(SeqCst), queue.figures().launches);
            assert_eq!(now, (0, launches), "work passed a closed door");
            drop(closed);
            std::thread::sleep(MS);
        }
        stop.store(true, SeqCst);
    });
    queue.synchronize().unwrap();
}

#[test]
fn memory_moves_while_work_waits() {
    let (device, spin) = cpu();
    memory_moves_between_work(&device, &spin);
}

#[test]
fn shares_change_while_work_runs() {
    let (device, spin) = cpu();
    let homes = [Home::new(&device, 0.5), Home::new(&device, 0.5)];
    let queues = [homes[0].queue(), homes[1].queue()];
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for queue in &queues {
            let (stop, spin) = (&stop, &spin);
            scope.spawn(move || {
                while !stop.load(SeqCst) {
                    let spin = spin.clone();
                    if queue.run(move |stream| spin(stream, 200 * US)).is_err() {
                        return;
                    }
                }
            });
        }
        std::thread::sleep(200 * MS);
        homes[0].0.share().set_weight(0.8).unwrap();
        homes[1].0.share().set_weight(0.2).unwrap();
        let used = || [0, 1].map(|i| homes[i].0.share().used().as_secs_f64());
        let before = used();
        std::thread::sleep(1500 * MS);
        let after = used();
        stop.store(true, SeqCst);
        for queue in &queues {
            queue.end(cogniware::Error::new(Status::Cancelled, "enough"));
        }
        let each = [0, 1].map(|i| after[i] - before[i]);
        let got = each[0] / (each[0] + each[1]);
        assert!((got - 0.8).abs() <= 0.03, "{got:.3} for 0.8");
    });
}

#[cfg(feature = "cuda")]
mod cuda {
    use super::*;
    use cogniware::compute::{Cancelled, ExecutionState, Work};
    use cogniware::device::cuda::{CudaDevice, CudaStream, Function, Graph, Module};
    use mock_driver::{IMAGE, Mock, erased, real_gpu};
    use std::ffi::c_void;

    /// `spin(ns, flag)`: takes so many nanoseconds of the GPU's clock, or until the word at `flag` (0: none) is not 0.
    const SPIN: &[u8] = b"
.version 6.3
.target sm_75
.address_size 64
.visible .entry spin(.param .u64 ns, .param .u64 flag)
{
    .reg .pred %q; .reg .u32 %v; .reg .u64 %n, %s, %t, %f;
    ld.param.u64 %n, [ns]; ld.param.u64 %f, [flag];
    mov.u64 %s, %globaltimer;
AGAIN:
    mov.u64 %t, %globaltimer;
    sub.u64 %t, %t, %s;
    setp.ge.u64 %q, %t, %n;
    @%q bra END;
    setp.eq.u64 %q, %f, 0;
    @%q bra AGAIN;
    ld.volatile.global.u32 %v, [%f];
    setp.eq.u32 %q, %v, 0;
    @%q bra AGAIN;
END:
    ret;
}
\0";

    fn launch(f: &Function, stream: &dyn Stream, time: Duration, mut flag: u64) -> Result<()> {
        let mut ns = time.as_nanos() as u64;
        let mut args: [*mut c_void; 2] = [(&raw mut ns).cast(), (&raw mut flag).cast()];
        // SAFETY: the kernel's two parameters; the flag outlives the work.
        unsafe { f.launch(CudaStream::of(stream, "stream")?, [1; 3], [1; 3], 0, &mut args) }
    }

    fn gpu() -> Option<(Arc<CudaDevice>, Function)> {
        let device = real_gpu()?;
        let spin = Module::load(&device, SPIN).unwrap().function("spin").unwrap();
        Some((device, spin))
    }

    fn spins(f: &Function) -> Spin {
        let f = f.clone();
        Arc::new(move |stream, time| launch(&f, stream, time, 0))
    }

    #[test]
    fn shares_hold_on_a_gpu() {
        let Some((device, f)) = gpu() else { return };
        shares_are_got(&erased(&device), &spins(&f), 3000 * MS, 0.9);
    }

    #[test]
    fn graphs_count_as_one_piece_of_work_on_a_gpu() {
        let Some((device, f)) = gpu() else { return };
        let erased = erased(&device);
        let homes = [Home::new(&erased, 0.25), Home::new(&erased, 0.75)];
        let queues = [homes[0].queue(), homes[1].queue()];
        let stream = queues[0].stream();
        let body = || (0..20).try_for_each(|_| launch(&f, &*stream, 100 * US, 0));
        let graph = Arc::new(Graph::capture(CudaStream::of(&*stream, "stream").unwrap(), body).unwrap());
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(SeqCst) {
                    let graph = graph.clone();
                    let work = move |s: &dyn Stream| graph.launch(CudaStream::of(s, "stream")?);
                    if queues[0].run(work).is_err() {
                        return;
                    }
                }
            });
            scope.spawn(|| {
                while !stop.load(SeqCst) {
                    let f = f.clone();
                    if queues[1].run(move |s| launch(&f, s, 50 * US, 0)).is_err() {
                        return;
                    }
                }
            });
            std::thread::sleep(300 * MS);
            let used = || [0, 1].map(|i| homes[i].0.share().used().as_secs_f64());
            let before = used();
            std::thread::sleep(3000 * MS);
            let after = used();
            stop.store(true, SeqCst);
            for queue in &queues {
                queue.end(cogniware::Error::new(Status::Cancelled, "enough"));
            }
            let each = [0, 1].map(|i| after[i] - before[i]);
            let got = each[0] / (each[0] + each[1]);
            println!("graphs {:.3} s, kernels {:.3} s", each[0], each[1]);
            assert!((got - 0.25).abs() <= 0.03, "graphs got {got:.3} of 0.25");
        });
        for queue in &queues {
            queue.synchronize().unwrap();
        }
    }

    #[test]
    fn running_kernels_that_poll_stop_on_a_gpu() {
        let Some((device, f)) = gpu() else { return };
        let home = Home::new(&erased(&device), 1.0);
        let queue = home.queue();
        let long = Duration::from_secs(20);
        for _ in 0..20 {
            let f = f.clone();
            let work = Work::polled("spin", move |s, flag| launch(&f, s, long, flag.address()));
            let id = queue.submit(work).unwrap();
            while queue.state(id).unwrap().state == ExecutionState::Queued {
                std::thread::yield_now();
            }
            std::thread::sleep(MS);
            let asked = Instant::now();
            assert_eq!(queue.cancel(id).unwrap(), Cancelled::Stopping);
            queue.synchronize().unwrap();
            let took = asked.elapsed();
            assert!(took < 5 * MS, "stopped after {took:?}");
            assert_eq!(queue.state(id).unwrap().state, ExecutionState::Cancelled);
        }
        let late = f.clone();
        let work = Work::polled("late", move |s, flag| launch(&late, s, long, flag.address()));
        let id = queue.submit(work.timeout(20 * MS)).unwrap();
        let end = queue.wait(id, Duration::from_secs(5)).unwrap();
        assert_eq!((end.state, end.running), (ExecutionState::TimedOut, false));
        assert_eq!(queue.synchronize().unwrap_err().status(), Status::Timeout);
        // The module is not to go with the launch: unloading waits for its kernels.
        let last = f.clone();
        let hard = queue.run(move |s| launch(&last, s, 30 * MS, 0)).unwrap();
        assert_eq!(queue.cancel(hard).unwrap_err().status(), Status::Unsupported);
        queue.synchronize().unwrap();
        assert_eq!(queue.cancel(hard).unwrap(), Cancelled::Ended);
    }

    #[test]
    fn device_time_is_what_kernels_take_on_a_gpu() {
        let Some((device, f)) = gpu() else { return };
        let home = Home::new(&erased(&device), 1.0);
        let queue = home.queue();
        let run = |time: Duration| {
            let f = f.clone();
            queue.run(move |s| launch(&f, s, time, 0)).unwrap();
        };
        run(MS);
        queue.synchronize().unwrap();
        let before = queue.figures().device_time;
        // With pauses, waited for, and in a burst: 100 ms in all.
        for _ in 0..20 {
            run(MS);
            std::thread::sleep(3 * MS);
        }
        for _ in 0..40 {
            run(MS);
            queue.synchronize().unwrap();
        }
        for _ in 0..400 {
            run(100 * US);
        }
        queue.synchronize().unwrap();
        let took = queue.figures().device_time - before;
        println!("{took:?} for 100 ms of kernels; {:?}", queue.figures());
        assert!((95 * MS..110 * MS).contains(&took), "{took:?} for 100 ms");
        tenants_queues(&erased(&device), &spins(&f));
        memory_moves_between_work(&erased(&device), &spins(&f));
    }

    fn fills(device: &Arc<CudaDevice>) -> impl Fn(&Queue, u64) -> Result<u64> + use<> {
        let fill = Module::load(device, IMAGE).unwrap().function("mock_fill").unwrap();
        move |queue, address| {
            let fill = fill.clone();
            queue.run(move |stream| {
                let (mut address, mut value, mut n) = (address, 7u32, 16u32);
                let mut args: [*mut c_void; 3] =
                    [(&raw mut address).cast(), (&raw mut value).cast(), (&raw mut n).cast()];
                // SAFETY: the kernel's three parameters; the memory stays.
                unsafe { fill.launch(CudaStream::of(stream, "stream")?, [1; 3], [16, 1, 1], 0, &mut args) }
            })
        }
    }

    #[test]
    fn on_the_mock_faults_reach_their_executions_and_nothing_is_left() {
        let mock = Mock::new();
        let device = mock.device();
        {
            let home = Home::new(&erased(&device), 1.0);
            let queue = home.queue();
            let address = home.0.space().alloc(4096, 256, "fill").unwrap();
            let fill = fills(&device);
            for _ in 0..5000 {
                fill(&queue, address).unwrap();
            }
            queue.synchronize().unwrap();
            let f = queue.figures();
            assert_eq!((f.launches, f.failed, f.pending, f.in_flight), (5000, 0, 0, 0));
            assert_eq!(f.processor_time, f.device_time * 8, "a group of 8 SMs");
            assert!(mock.calls("cuEventRecord") < 2000, "an event for each launch");

            // A launch that the driver refuses.
            mock.fail("cuLaunchKernel:2:701");
            fill(&queue, address).unwrap();
            let refused = fill(&queue, address);
            fill(&queue, address).unwrap();
            let late = queue.synchronize();
            assert!(refused.is_err() || late.is_err());
            queue.synchronize().unwrap();
            assert_eq!(queue.figures().failed, 1);

            // Events that cannot be recorded: the launch is told as failed, and nobody waits without end.
            mock.fail("cuEventRecord:1:2");
            let first = fill(&queue, address);
            let _ = queue.synchronize();
            assert!(first.is_err() || queue.figures().failed == 2);
            mock.fail("");
            fill(&queue, address).unwrap();
            queue.synchronize().unwrap();

            // Page-locked flags for work that polls.
            let polled = |stream: &dyn Stream, flag: &cogniware::compute::CancelFlag| {
                let flag = flag.clone();
                stream.host_fn(Box::new(move || {
                    while !flag.is_raised() {
                        std::thread::yield_now();
                    }
                }))
            };
            let id = queue.submit(Work::polled("polls", polled)).unwrap();
            while queue.state(id).unwrap().state != ExecutionState::Running {
                std::thread::yield_now();
            }
            assert_eq!(queue.cancel(id).unwrap(), Cancelled::Stopping);
            queue.synchronize().unwrap();
            assert_eq!(queue.state(id).unwrap().state, ExecutionState::Cancelled);

            // The context breaks: what is there and what comes fails, and nothing hangs.
            mock.fail("cuEventQuery:1:700,cuLaunchKernel:-1:700,cuStreamSynchronize:-1:700");
            let _ = fill(&queue, address);
            assert!(queue.synchronize().is_err());
            assert!(fill(&queue, address).is_err() || queue.synchronize().is_err());
            mock.fail("");
        }
        drop(device);
    }

    #[test]
    fn on_the_mock_nothing_is_left_behind() {
        let mock = Mock::new();
        let device = mock.device();
        {
            let home = Home::new(&erased(&device), 1.0);
            let spin: Spin = Arc::new(|stream, _| stream.host_fn(Box::new(|| ())));
            tenants_queues(&erased(&device), &spin);
            let queue = home.queue();
            let address = home.0.space().alloc(4096, 256, "fill").unwrap();
            let fill = fills(&device);
            for _ in 0..100 {
                fill(&queue, address).unwrap();
            }
            queue.synchronize().unwrap();
        }
        // The lanes' threads let go of what they had a little later.
        let begun = Instant::now();
        while Arc::strong_count(&device) > 1 && begun.elapsed() < Duration::from_secs(5) {
            std::thread::sleep(MS);
        }
        drop(device);
        mock.assert_clean();
    }
}
