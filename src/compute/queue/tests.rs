use super::*;
use crate::compute::{GRACE, Gate};
use crate::device::{DeviceChoice, open};
use crate::memory::Ledger;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};

const MS: Duration = Duration::from_millis(1);

/// A tenant of the CPU device with one queue on one core.
struct Home {
    device: Arc<dyn Device>,
    share: Arc<Share>,
    space: Arc<Space>,
    queue: Arc<Queue>,
}

fn home(weight: f64) -> Home {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let device = open(DeviceChoice::Cpu).unwrap();
    let name = format!("queue-test-{}", NEXT.fetch_add(1, SeqCst));
    let share = Share::new(&name, weight, 2).unwrap();
    let account = Ledger::of(&device).open(&name, 64 << 20, 0).unwrap();
    let space = Space::new(device.clone(), account).unwrap();
    let node = device.node_create(&[0]).unwrap();
    let queue = Queue::new(&device, &share, &space, &node, 0).unwrap();
    Home { device, share, space, queue }
}

/// Work of the stream's thread that takes so long.
fn spin(time: Duration) -> impl FnOnce(&dyn Stream) -> Result<()> + Send + 'static {
    move |stream| {
        stream.host_fn(Box::new(move || {
            let begun = Instant::now();
            while begun.elapsed() < time {
                std::hint::spin_loop();
            }
        }))
    }
}

#[test]
fn work_runs_in_order_and_is_measured() {
    let h = home(1.0);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let mut ids = Vec::new();
    for i in 0..3000u32 {
        let seen = seen.clone();
        let id = h.queue.run(move |stream| stream.host_fn(Box::new(move || seen.lock().push(i)))).unwrap();
        assert_eq!(Queue::number_of(id), h.queue.number());
        ids.push(id);
    }
    h.queue.submit(Work::new("long", spin(20 * MS))).unwrap();
    h.queue.synchronize().unwrap();
    assert_eq!(*seen.lock(), (0..3000).collect::<Vec<_>>());
    assert!(ids.iter().all(|&id| h.queue.state(id).unwrap().state == ExecutionState::Finished));
    let f = h.queue.figures();
    assert_eq!((f.launches, f.pending, f.in_flight, f.failed), (3001, 0, 0, 0));
    assert!(f.device_time >= 20 * MS && h.share.used() == f.device_time, "{f:?} {:?}", h.share.used());
    assert_eq!(f.processor_time, f.device_time, "one core");
    assert!(h.queue.is_idle().unwrap());
    for wrong in [0, 1, ids[0] + (1 << 30), u64::MAX] {
        assert_eq!(h.queue.state(wrong).err().unwrap().status(), Status::NotFound);
        assert_eq!(h.queue.cancel(wrong).err().unwrap().status(), Status::NotFound);
    }
}

/// Moved and given work before its thread, which has left the gate, has seen either.
#[test]
fn work_that_follows_a_move_runs() {
    let h = home(1.0);
    for _ in 0..20 {
        h.queue.run(spin(MS / 10)).unwrap();
        h.queue.synchronize().unwrap();
        std::thread::sleep(2 * GRACE + 5 * MS);
        let node = h.device.node_create(&[0]).unwrap();
        h.queue.move_to(&node, 0).unwrap();
        let id = h.queue.submit(Work::new("behind", spin(MS / 10))).unwrap();
        let end = h.queue.wait(id, Duration::from_secs(20)).unwrap();
        assert_eq!(end.state, ExecutionState::Finished, "it waits for nothing");
    }
}

#[test]
fn idle_time_is_not_charged() {
    let h = home(1.0);
    for _ in 0..20 {
        h.queue.run(spin(MS / 10)).unwrap();
        std::thread::sleep(5 * MS);
    }
    h.queue.synchronize().unwrap();
    let used = h.share.used();
    // Other processes may take the core meanwhile; 100 ms of pauses would show all the same.
    assert!((2 * MS..60 * MS).contains(&used), "{used:?} for 2 ms of work");
}

#[test]
fn an_idle_queue_is_in_nobodys_way() {
    let (a, b) = (home(1.0), home(1.0));
    a.queue.run(spin(MS)).unwrap();
    a.queue.synchronize().unwrap();
    // It may still hold its lease: others get the core at once all the same.
    let gate = Gate::of(&a.device);
    let begun = Instant::now();
    gate.enter(&b.share, &[0], &|| begun.elapsed() > Duration::from_secs(5)).unwrap().finish(MS);
    a.queue.run(spin(MS)).unwrap();
    a.queue.synchronize().unwrap();
    std::thread::sleep(20 * GRACE);
    assert_eq!(a.share.admissions(), 2);
}

#[test]
fn errors_belong_to_their_execution_and_to_the_next_synchronize() {
    let h = home(1.0);
    let fails = |_: &dyn Stream| Err(Error::argument("grid", "is 0"));
    let ok = h.queue.submit(Work::new("good", spin(MS))).unwrap();
    let bad = h.queue.submit(Work::new("bad", fails)).unwrap();
    let panics = h.queue.submit(Work::new("worse", |_| panic!("no grid"))).unwrap();
    let later = h.queue.submit(Work::new("later", |stream| {
        let cpu = stream.as_any().downcast_ref::<crate::device::cpu::CpuStream>().unwrap();
        cpu.submit(|| Err(Error::new(Status::Internal, "went wrong on the device")))
    }));
    let after = h.queue.submit(Work::new("good", spin(MS))).unwrap();
    let e = h.queue.synchronize().unwrap_err();
    assert!(e.message().contains("grid") && e.message().contains("bad"), "{e}");
    h.queue.synchronize().unwrap();
    let state = |id| h.queue.state(id).unwrap();
    assert_eq!(state(ok).state, ExecutionState::Finished);
    assert_eq!(state(bad).error.unwrap().status(), Status::InvalidArgument);
    assert_eq!(state(panics).error.unwrap().status(), Status::Panic);
    assert!(state(later.unwrap()).error.unwrap().message().contains("went wrong"));
    assert_eq!((state(after).state, h.queue.figures().failed), (ExecutionState::Finished, 3));
    assert!(h.queue.run(fails).is_err());
    let (inner, again) = (Arc::downgrade(&h.queue), AtomicBool::new(false));
    let asks = move |_: &dyn Stream| {
        again.store(true, SeqCst);
        inner.upgrade().unwrap().synchronize()
    };
    assert_eq!(h.queue.run(asks).unwrap_err().status(), Status::Busy);
    assert!(h.queue.submit(Work::pieces("none", 0, |_, _| Ok(()))).is_err());
    assert!(h.queue.submit(Work::new("none", |_| Ok(())).timeout(Duration::ZERO)).is_err());
}

/// Holds the queue's core until it is dropped.
fn occupy(h: &Home) -> crate::compute::Permit {
    let urgent = Share::new("occupies", 1.0, 0).unwrap();
    Gate::of(&h.device).enter(&urgent, &[0], &|| false).unwrap()
}

#[test]
fn queued_work_is_withdrawn_and_running_work_stops_where_it_can() {
    let h = home(1.0);
    let permit = occupy(&h);
    let ran = Arc::new(AtomicU32::new(0));
    let count = |ran: &Arc<AtomicU32>| {
        let ran = ran.clone();
        move |stream: &dyn Stream| {
            stream.host_fn(Box::new(move || {
                ran.fetch_add(1, SeqCst);
            }))
        }
    };
    let first = h.queue.run(count(&ran)).unwrap();
    let second = h.queue.run(count(&ran)).unwrap();
    let late = h.queue.submit(Work::new("late", count(&ran)).timeout(3 * MS)).unwrap();
    assert_eq!(h.queue.state(first).unwrap().state, ExecutionState::Queued);
    assert_eq!(h.queue.cancel(second).unwrap(), Cancelled::Withdrawn);
    assert_eq!(h.queue.wait(late, Duration::from_secs(5)).unwrap().state, ExecutionState::TimedOut);
    drop(permit);
    assert_eq!(h.queue.synchronize().unwrap_err().status(), Status::Timeout);
    assert_eq!(ran.load(SeqCst), 1);
    assert_eq!(h.queue.cancel(second).unwrap(), Cancelled::Ended);
    assert_eq!(h.queue.state(second).unwrap().state, ExecutionState::Cancelled);

    // Running work that nobody can stop.
    let hard = h.queue.submit(Work::new("hard", spin(30 * MS)).timeout(5 * MS)).unwrap();
    assert_eq!(h.queue.cancel(hard).unwrap_err().status(), Status::Unsupported);
    std::thread::sleep(8 * MS);
    let now = h.queue.state(hard).unwrap();
    assert_eq!((now.state, now.error.unwrap().status()), (ExecutionState::TimedOut, Status::Timeout));
    let end = h.queue.wait(hard, Duration::from_secs(5)).unwrap();
    assert_eq!((end.state, end.running), (ExecutionState::TimedOut, false));
    assert!(h.queue.synchronize().is_err());

    // Work of pieces, and work that polls.
    let pieces = Arc::new(AtomicU32::new(0));
    let counted = pieces.clone();
    let long = h.queue.submit(Work::pieces("long", 10_000, move |_, stream| {
        counted.fetch_add(1, SeqCst);
        spin(MS)(stream)
    }));
    let polls = |stream: &dyn Stream, flag: &CancelFlag| {
        let flag = flag.clone();
        stream.host_fn(Box::new(move || {
            while !flag.is_raised() {
                std::thread::yield_now();
            }
        }))
    };
    let endless = h.queue.submit(Work::polled("endless", polls)).unwrap();
    let behind = h.queue.submit(Work::polled("late", polls).timeout(50 * MS)).unwrap();
    std::thread::sleep(20 * MS);
    let long = long.unwrap();
    assert_eq!(h.queue.state(long).unwrap().state, ExecutionState::Running);
    assert!((3..100).contains(&pieces.load(SeqCst)), "{pieces:?}");
    assert_eq!(h.queue.cancel(long).unwrap(), Cancelled::Stopping);
    assert!(!h.queue.wait(long, Duration::from_secs(5)).unwrap().running);
    while h.queue.state(endless).unwrap().state == ExecutionState::Queued {
        std::thread::sleep(MS / 10);
    }
    assert_eq!(h.queue.cancel(endless).unwrap(), Cancelled::Stopping);
    assert_eq!(h.queue.wait(endless, Duration::from_secs(5)).unwrap().state, ExecutionState::Cancelled);
    assert_eq!(h.queue.wait(behind, Duration::from_secs(5)).unwrap().state, ExecutionState::TimedOut);
    assert_eq!(h.queue.synchronize().unwrap_err().status(), Status::Timeout);
    let f = h.queue.figures();
    assert_eq!((f.cancelled, f.timed_out, f.pending), (3, 3, 0), "{f:?}");
}

#[test]
fn pieces_run_in_order_and_their_first_error_ends_them() {
    let h = home(1.0);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let put = seen.clone();
    let id = h.queue.submit(Work::pieces("five", 5, move |piece, stream| {
        let put = put.clone();
        stream.host_fn(Box::new(move || put.lock().push(piece)))
    }));
    h.queue.synchronize().unwrap();
    assert_eq!((seen.lock().clone(), h.queue.figures().launches), (vec![0, 1, 2, 3, 4], 5));
    assert_eq!(h.queue.state(id.unwrap()).unwrap().state, ExecutionState::Finished);
    for (late, name) in [(false, "now"), (true, "later")] {
        let count = Arc::new(AtomicU32::new(0));
        let counted = count.clone();
        let id = h.queue.submit(Work::pieces(name, 100, move |piece, stream| {
            counted.fetch_add(1, SeqCst);
            let fails = move || match piece {
                2 => Err(Error::new(Status::Internal, "third piece")),
                _ => Ok(()),
            };
            let cpu = stream.as_any().downcast_ref::<crate::device::cpu::CpuStream>().unwrap();
            if late { cpu.submit(fails) } else { fails() }
        }));
        let id = id.unwrap();
        assert!(h.queue.synchronize().unwrap_err().message().contains("third piece"));
        assert_eq!(h.queue.state(id).unwrap().state, ExecutionState::Failed, "{name}");
        assert!((3..7).contains(&count.load(SeqCst)), "{name}: {count:?}");
    }
}

#[test]
fn a_closed_door_holds_work_back_and_nobody_waits_for_it() {
    let h = home(1.0);
    let closed = h.space.door().close();
    let id = h.queue.run(spin(MS)).unwrap();
    std::thread::sleep(5 * MS);
    assert_eq!(h.queue.state(id).unwrap().state, ExecutionState::Queued);
    // The core is not kept from others by work that cannot begin.
    let other = Share::new("other", 1.0, 2).unwrap();
    let begun = Instant::now();
    Gate::of(&h.device).enter(&other, &[0], &|| begun.elapsed() > Duration::from_secs(5)).unwrap().finish(MS);
    drop(closed);
    h.queue.synchronize().unwrap();
    assert_eq!(h.queue.state(id).unwrap().state, ExecutionState::Finished);
}

#[test]
fn a_queue_moves_between_two_launches_and_keeps_its_order() {
    let h = home(1.0);
    if h.device.units().len() < 2 {
        return;
    }
    let seen = Arc::new(Mutex::new(Vec::new()));
    let both = h.device.node_create(&[0, 1]).unwrap();
    let one = h.device.node_create(&[1]).unwrap();
    for i in 0..2000u32 {
        if i % 250 == 100 {
            h.queue.move_to(if i % 500 == 100 { &both } else { &one }, 0).unwrap();
        }
        let seen = seen.clone();
        h.queue.run(move |stream| stream.host_fn(Box::new(move || seen.lock().push(i)))).unwrap();
    }
    h.queue.synchronize().unwrap();
    assert_eq!(*seen.lock(), (0..2000).collect::<Vec<_>>());
    assert_eq!(h.queue.node().units(), [1]);
    assert!(h.queue.figures().processor_time >= h.queue.figures().device_time);
}

#[test]
fn an_ended_queue_cancels_what_waits_and_takes_nothing_more() {
    let h = home(1.0);
    let permit = occupy(&h);
    let ids: Vec<_> = (0..10).map(|_| h.queue.run(spin(MS)).unwrap()).collect();
    h.queue.end(Error::new(Status::NotInitialized, "closed"));
    assert!(ids.iter().all(|&id| h.queue.state(id).unwrap().state == ExecutionState::Cancelled));
    assert_eq!(h.queue.run(spin(MS)).unwrap_err().status(), Status::NotInitialized);
    drop(permit);
    h.queue.synchronize().unwrap();
    assert_eq!(h.queue.figures().launches, 0);
}

#[test]
fn dropped_queues_finish_and_leave_nothing_behind() {
    let Home { device: _device, share, space, queue } = home(1.0);
    let ran = Arc::new(AtomicU32::new(0));
    for _ in 0..200 {
        let ran = ran.clone();
        let work = move |stream: &dyn Stream| {
            stream.host_fn(Box::new(move || {
                ran.fetch_add(1, SeqCst);
            }))
        };
        queue.run(work).unwrap();
    }
    let space = Arc::downgrade(&{ space });
    drop((queue, share));
    let begun = Instant::now();
    while ran.load(SeqCst) < 200 || space.strong_count() > 0 {
        assert!(
            begun.elapsed() < Duration::from_secs(5),
            "{ran:?}, space held {} times",
            space.strong_count()
        );
        std::thread::sleep(MS);
    }
}

#[test]
fn who_submits_too_much_waits() {
    let h = home(1.0);
    let permit = occupy(&h);
    let queue = h.queue.clone();
    let fills = std::thread::spawn(move || {
        for _ in 0..2 * MOST_PENDING {
            queue.run(|_| Ok(())).unwrap();
        }
    });
    while h.queue.figures().pending < MOST_PENDING as u64 {
        std::thread::yield_now();
    }
    std::thread::sleep(5 * MS);
    assert!(h.queue.figures().pending <= MOST_PENDING as u64 && !fills.is_finished());
    drop(permit);
    fills.join().unwrap();
    h.queue.synchronize().unwrap();
    assert_eq!(h.queue.figures().launches, 2 * MOST_PENDING as u64);
}
