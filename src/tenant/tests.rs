use super::*;
use crate::device::{self, DeviceChoice};
use std::sync::atomic::AtomicU32;

const MIB: u64 = 1 << 20;

fn cpu() -> Arc<dyn Device> {
    device::open(DeviceChoice::Cpu).unwrap()
}

fn name(what: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("tenant-test-{what}-{}", NEXT.fetch_add(1, SeqCst))
}

/// A tenant that is closed in the end.
struct Home(Arc<Tenant>);

impl Home {
    fn new(what: &str) -> Home {
        let config =
            TenantConfig { memory_limit: 16 * MIB, memory_floor: 0, processors: 1, weight: 1.0, priority: 2 };
        Home(open(&name(what), &cpu(), &config).unwrap())
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = close_this(&self.0);
    }
}

#[test]
fn copies_check_both_ends_by_name() {
    let (home, other) = (Home::new("copy"), Home::new("copy-other"));
    let (t, foreign) = (&home.0, other.0.space().alloc(4096, 256, "other").unwrap());
    let ptr = t.space().alloc(4096, 256, "mine").unwrap();
    let mut host = vec![7u8; 4096];
    let at = host.as_mut_ptr() as u64;
    // SAFETY: host ranges are valid for the bytes given; the others are refused.
    let copy = |dst, src, bytes| unsafe { t.copy(dst, src, bytes, None) };
    copy(ptr, at, 4096).unwrap();
    host.fill(0);
    copy(at, ptr, 4096).unwrap();
    assert_eq!(host, [7; 4096]);
    copy(ptr, ptr, 4096).unwrap();
    let freed = t.space().alloc(256, 256, "gone").unwrap();
    t.space().free(freed).unwrap();
    for bad in [0, foreign, freed, ptr + 1] {
        let e = copy(bad, at, 4096).unwrap_err();
        assert!(e.message().contains("argument `dst`"), "{bad:#x}: {e}");
        let e = copy(at, bad, 4096).unwrap_err();
        assert!(e.message().contains("argument `src`"), "{bad:#x}: {e}");
    }
    assert!(copy(at, ptr, u64::MAX).is_err());
    assert!(copy(ptr, ptr + 16, 64).unwrap_err().message().contains("overlap"));
    assert!(t.fill(foreign, 1, 16, None).unwrap_err().message().contains("`dst`"));
    t.fill(ptr, 9, 4096, None).unwrap();
    copy(at, ptr, 4096).unwrap();
    assert_eq!(host, [9; 4096]);
}

#[test]
fn more_processors_than_the_device_has_are_refused_at_once() {
    let device = cpu();
    let most: u32 = device.units().iter().map(|unit| unit.processors).sum();
    let id = name("many");
    let mut config =
        TenantConfig { memory_limit: MIB, memory_floor: 0, processors: most + 1, weight: 1.0, priority: 2 };
    let refused = open(&id, &device, &config).err().unwrap();
    assert_eq!(refused.status(), Status::InvalidArgument);
    assert!(refused.message().contains("`processors`"), "{refused}");
    config.processors = most;
    close_this(&open(&id, &device, &config).unwrap()).unwrap();
}

#[test]
fn ids_that_cannot_be_shown_whole_are_refused() {
    let device = cpu();
    let config = TenantConfig { memory_limit: MIB, memory_floor: 0, processors: 0, weight: 1.0, priority: 2 };
    for id in ["".to_owned(), "x".repeat(128), "two\nlines".to_owned(), "bell\u{7}".to_owned()] {
        let refused = open(&id, &device, &config).err().unwrap_or_else(|| panic!("{id:?} was taken"));
        assert_eq!(refused.status(), Status::InvalidArgument);
        assert!(refused.message().contains("`llmId`"), "{refused}");
    }
    let longest = format!("{:y<127}", name("long"));
    close_this(&open(&longest, &device, &config).unwrap()).unwrap();
}

#[test]
fn the_automatic_node_goes_when_the_tenant_is_given_one() {
    let home = Home::new("automatic");
    let t = &home.0;
    assert_eq!((t.nodes_held(), t.processors_now()), (vec![], 0));
    let own = t.node().unwrap();
    let automatic = t.nodes_held();
    assert_eq!((automatic.len(), t.processors_now()), (1, own.processors()));
    let version = t.node_version();
    let made = t.make_node(1).unwrap();
    assert_eq!(t.nodes_held(), [made], "the tenant runs on what it was given, nothing else");
    assert!(t.node_version() > version);
    assert!(Nodes::of(t.device()).get(automatic[0]).is_err(), "the automatic node was given back");
    assert_eq!(t.processors_now(), 1, "also before the next use");
    t.give_node(made).unwrap();
    assert_eq!(t.processors_now(), 0);
    t.node().unwrap();
    assert_eq!(t.nodes_held().len(), 1, "with the last one gone it gets one of its own again");
    let e = t.give_node(made).unwrap_err();
    assert_eq!(e.status(), Status::NotFound);
}

#[test]
fn nodes_add_up_to_one() {
    let home = Home::new("union");
    let t = &home.0;
    let all = t.device().units().len() as u32;
    let first = t.make_node(1).unwrap();
    let second = t.make_node(all).unwrap();
    assert_eq!(t.nodes_held(), [first, second]);
    assert_eq!(t.node().unwrap().units().len() as u32, all, "a unit of both counts once");
    assert_eq!(t.processors_now(), t.node().unwrap().processors());
    t.give_node(second).unwrap();
    assert_eq!(t.node().unwrap().processors(), 1);
    let too_many = t.make_node(u32::MAX).unwrap_err();
    assert!(too_many.message().contains("processors"), "{too_many}");
    assert_eq!(t.nodes_held(), [first]);
}

#[test]
fn a_new_size_moves_only_the_automatic_node() {
    let home = Home::new("size");
    let t = &home.0;
    let all: u32 = t.device().units().iter().map(|u| u.processors).sum();
    t.node().unwrap();
    t.set_processors(all).unwrap();
    assert_eq!(t.node().unwrap().processors(), all);
    assert!(t.set_processors(all + 1).is_err());
    let made = t.make_node(1).unwrap();
    t.set_processors(1).unwrap();
    assert_eq!(t.nodes_held(), [made]);
}

#[test]
fn closing_reports_what_is_left_and_ends_everything() {
    let id = name("close");
    let config =
        TenantConfig { memory_limit: 16 * MIB, memory_floor: 0, processors: 1, weight: 1.0, priority: 2 };
    let t = open(&id, &cpu(), &config).unwrap();
    assert_eq!(open(&id, &cpu(), &config).err().unwrap().status(), Status::AlreadyExists);
    let ptr = t.space().alloc(5000, 256, "forgotten").unwrap();
    let held = t.make_node(1).unwrap();
    let stream = t.open_stream(0).unwrap();
    let left = close(&id).unwrap();
    assert_eq!((left.len(), left[0].bytes, &*left[0].tag, left[0].ptr), (1, 5000, "forgotten", ptr));
    assert!(Nodes::of(t.device()).get(held).is_err());
    for e in [
        t.node().err().unwrap(),
        t.take_node(0).unwrap_err(),
        t.make_node(1).unwrap_err(),
        t.open_stream(0).unwrap_err(),
        t.schedule(None, "test", Priority::Normal, 0, 0, Box::new(|_| Ok(String::new()))).err().unwrap(),
    ] {
        assert_eq!(e.status(), Status::NotInitialized, "{e}");
    }
    assert!(t.stream(stream).is_err());
    assert!(t.nodes_held().is_empty());
    assert!(find(&id).is_err());
    // The id is free; the old tenant's end cannot touch the new one.
    let again = open(&id, &cpu(), &config).unwrap();
    assert_eq!(close_this(&t).unwrap_err().status(), Status::NotFound);
    assert!(Arc::ptr_eq(&find(&id).unwrap(), &again));
    // Memory stays usable until the last reference goes.
    t.fill(ptr, 1, 5000, None).unwrap();
    t.space().free(ptr).unwrap();
    close(&id).unwrap();
    assert_eq!(close(&id).unwrap_err().status(), Status::NotFound);
}

#[test]
fn a_task_may_close_its_own_tenant() {
    let id = name("own-end");
    let t = open_default(&id, &cpu()).unwrap();
    assert!(t.is_implicit() && t.adopt() && !t.adopt());
    let own = t.clone();
    let body = Box::new(move |_: &crate::compute::TaskContext| Ok(close_this(&own)?.len().to_string()));
    let task = t.schedule(None, "test", Priority::Normal, 0, 0, body).unwrap();
    let info = task.wait(Some(std::time::Duration::from_secs(20))).unwrap();
    assert_eq!(info.result, "0");
    assert!(t.is_closed() && find(&id).is_err());
}

#[test]
fn threads_that_take_give_and_use_nodes_leave_nothing() {
    let home = Home::new("race");
    let t = &home.0;
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..200 {
                    let made = t.make_node(1).unwrap();
                    t.node().unwrap();
                    t.give_node(made).unwrap();
                }
            });
            scope.spawn(|| (0..400).for_each(|_| assert!(t.node().unwrap().processors() > 0)));
        }
    });
    close_this(t).unwrap();
    assert!(Nodes::of(t.device()).held_by(t.id()).is_empty());
}
