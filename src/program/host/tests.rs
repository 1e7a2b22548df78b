use super::*;
use crate::device::cpu::CpuDevice;
use crate::device::{Device, Stream};
use std::sync::Barrier;
use std::sync::atomic::AtomicU32;
use std::sync::mpsc;
use std::time::Duration;

fn stream() -> Arc<dyn Stream> {
    let device: Arc<dyn Device> = CpuDevice::open().unwrap();
    let all: Vec<u32> = (0..device.units().len() as u32).collect();
    device.node_create(&all).unwrap().stream_create(0).unwrap()
}

fn function(
    calls: Calls,
    body: impl Fn(&HostLaunch<'_>, &[Argument]) -> Result<()> + Send + Sync + 'static,
) -> Arc<HostFunction> {
    let kinds = vec![ParameterKind::Pointer, ParameterKind::U32];
    HostFunctions::default().register("f", kinds, calls, Arc::new(body)).unwrap()
}

/// Queues it and waits for its end.
fn run(f: &Arc<HostFunction>, launch: Launch, cells: &[AtomicU32]) -> Result<()> {
    let stream = stream();
    let arguments = [Argument::Pointer(cells.as_ptr() as u64), Argument::U32(cells.len() as u32)];
    let (send, receive) = mpsc::channel();
    let ended: Ended = Box::new(move |outcome| send.send(outcome.clone()).unwrap());
    // SAFETY: the cells outlive the wait below.
    unsafe { f.launch(&*stream, &launch, &arguments, Run { stop: None, ended: Some(ended) })? };
    stream.synchronize().unwrap();
    assert_eq!(f.in_flight(), 0);
    receive.recv().unwrap()
}

fn cell(arguments: &[Argument], at: usize) -> &'static AtomicU32 {
    let Argument::Pointer(base) = arguments[0] else { panic!("no pointer") };
    // SAFETY: the tests give arrays of words that live until the work has run.
    unsafe { &*((base + 4 * at as u64) as *const AtomicU32) }
}

#[test]
fn every_block_is_called_once() {
    let f = function(Calls::PerBlock, |l, a| {
        assert_eq!((l.grid, l.block), ([5, 4, 3], [2, 1, 1]));
        assert!(l.worker < l.workers);
        let (shared, bytes) = l.shared();
        assert!(bytes == 100 && (shared as usize).is_multiple_of(64));
        // SAFETY: it is this block's own.
        unsafe { std::ptr::write_bytes(shared, 7, bytes) };
        let at = l.index[0] + 5 * (l.index[1] + 4 * l.index[2]);
        cell(a, at as usize).fetch_add(1, Ordering::Relaxed);
        Ok(())
    });
    let cells: Vec<AtomicU32> = (0..60).map(|_| AtomicU32::new(0)).collect();
    run(&f, Launch { shared_bytes: 100, ..Launch::new([5, 4, 3], [2, 1, 1]) }, &cells).unwrap();
    assert!(cells.iter().all(|c| c.load(Ordering::Relaxed) == 1));

    let f = function(Calls::Once, |l, a| {
        assert_eq!(l.index, [0; 3]);
        cell(a, 0).fetch_add(1, Ordering::Relaxed);
        Ok(())
    });
    run(&f, Launch::new([5, 4, 3], [1; 3]), &cells).unwrap();
    assert_eq!(cells[0].load(Ordering::Relaxed), 2);
}

#[test]
fn failures_belong_to_their_execution() {
    let cells = [AtomicU32::new(0), AtomicU32::new(0)];
    let f = function(Calls::PerBlock, |l, _| match l.index[0] {
        3 => panic!("block {} is bad", l.index[0]),
        _ => Ok(()),
    });
    let e = run(&f, Launch::new([9, 1, 1], [1; 3]), &cells).unwrap_err();
    assert_eq!(e.status(), Status::Callback);
    assert!(e.message().contains("block 3 is bad") && e.message().contains("\"f\""), "{e}");
    // What was not begun is left out.
    let f = function(Calls::PerBlock, |l, a| {
        if l.index[0] == 3 {
            return Err(Error::format("enough"));
        }
        std::thread::sleep(Duration::from_micros(10));
        cell(a, 0).fetch_add(1, Ordering::Relaxed);
        Ok(())
    });
    let blocks = 1_000_000;
    assert_eq!(run(&f, Launch::new([blocks, 1, 1], [1; 3]), &cells).unwrap_err().status(), Status::Format);
    assert!(cells[0].load(Ordering::Relaxed) < blocks / 2, "the rest was run");
    let f = function(Calls::Once, |_, _| Err(Error::new(Status::Timeout, "mine")));
    let e = run(&f, Launch::default(), &cells).unwrap_err();
    assert!(e.status() == Status::Timeout && e.message().ends_with("mine"), "{e}");
    // Where nobody listens, the stream tells.
    let stream = stream();
    let arguments = [Argument::Pointer(cells.as_ptr() as u64), Argument::U32(2)];
    // SAFETY: it reads nothing.
    unsafe { f.launch(&*stream, &Launch::default(), &arguments, Run::default()).unwrap() };
    assert_eq!(stream.synchronize().unwrap_err().status(), Status::Timeout);
}

#[test]
fn an_execution_can_be_stopped_between_blocks() {
    let cells = [AtomicU32::new(0), AtomicU32::new(0)];
    let f = function(Calls::PerBlock, |_, a| {
        cell(a, 0).fetch_add(1, Ordering::Relaxed);
        Ok(())
    });
    let stream = stream();
    let counted = cells.as_ptr() as u64;
    let stop = move || cell(&[Argument::Pointer(counted)], 0).load(Ordering::Relaxed) >= 10;
    let (send, receive) = mpsc::channel();
    let run =
        Run { stop: Some(Box::new(stop)), ended: Some(Box::new(move |o| send.send(o.clone()).unwrap())) };
    let arguments = [Argument::Pointer(counted), Argument::U32(2)];
    // SAFETY: the cells outlive the wait.
    unsafe { f.launch(&*stream, &Launch::new([1 << 20, 1, 1], [1; 3]), &arguments, run).unwrap() };
    assert_eq!(receive.recv().unwrap().unwrap_err().status(), Status::Cancelled);
    stream.synchronize().unwrap();
    assert!(cells[0].load(Ordering::Relaxed) < 1 << 19);
}

#[test]
fn wrong_launches_are_named_before_anything_runs() {
    let f = function(Calls::PerBlock, |_, _| panic!("it ran"));
    let good = [Argument::Pointer(4096), Argument::U32(1)];
    let one = Launch::default();
    for (launch, arguments, said) in [
        (Launch::new([0, 1, 1], [1; 3]), &good[..], "`grid`: x is 0"),
        (Launch::new([1; 3], [1025, 1, 1]), &good[..], "`block`: x is 1025"),
        (Launch::new([1; 3], [1024, 2, 1]), &good[..], "2048 threads"),
        (Launch { shared_bytes: 1 << 30, ..one }, &good[..], "`shared_bytes`"),
        (one, &good[..1], "1 are given, \"f\" has 2"),
        (one, &[Argument::U64(1), Argument::U32(1)], "argument 0 is u64 of 8 bytes, \"f\" takes pointer"),
        (one, &[Argument::Pointer(1), Argument::I32(1)], "argument 1 is i32"),
    ] {
        let e = f.check(&launch, arguments, None).unwrap_err();
        assert!(e.status() == Status::InvalidArgument && e.message().contains(said), "{said}: {e}");
    }
    let e = f.check(&Launch { cooperative: true, ..one }, &good, None).unwrap_err();
    assert_eq!(e.status(), Status::Unsupported);
    assert!(ParameterKind::Bytes(3).takes(&Argument::Bytes(vec![0; 3])));
    assert!(!ParameterKind::Bytes(3).takes(&Argument::Bytes(vec![0; 4])));
}

#[test]
fn what_is_in_flight_is_not_unregistered() {
    let all = Arc::new(HostFunctions::default());
    let gate = Arc::new(Barrier::new(2));
    let (inside, token) = (gate.clone(), Arc::new(()));
    let kept = Arc::downgrade(&token);
    let body = move |_: &HostLaunch<'_>, _: &[Argument]| {
        let _kept = &token;
        inside.wait();
        inside.wait();
        Ok(())
    };
    let f = all.register("f", vec![], Calls::Once, Arc::new(body)).unwrap();
    let e = all.register("f", vec![], Calls::Once, Arc::new(|_, _| Ok(()))).err().unwrap();
    assert_eq!(e.status(), Status::AlreadyExists);
    assert_eq!(
        all.register(" ", vec![], Calls::Once, Arc::new(|_, _| Ok(()))).err().unwrap().status(),
        Status::InvalidArgument
    );
    let stream = stream();
    // SAFETY: it reads nothing.
    unsafe { f.launch(&*stream, &Launch::default(), &[], Run::default()).unwrap() };
    gate.wait();
    assert_eq!(all.unregister("f").unwrap_err().status(), Status::Busy);
    gate.wait();
    stream.synchronize().unwrap();
    all.unregister("f").unwrap();
    let e = all.unregister("f").unwrap_err();
    assert_eq!(e.status(), Status::NotFound);
    drop(f);
    assert!(kept.upgrade().is_none(), "the function's own data is still there");
}
