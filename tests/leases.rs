//! Memory that goes from process to process: this program runs itself as the importer, with the lease as an inherited
//! descriptor. On the CPU device always, on a GPU where there is one.

#[cfg(feature = "cuda")]
mod mock_driver;

use cogniware::Status;
use cogniware::device::{Access, Device, DeviceChoice, open};
use cogniware::memory::{Export, Import, Ledger, Space};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const MIB: u64 = 1 << 20;
const SOON: Duration = Duration::from_secs(30);

fn device(kind: &str) -> Option<Arc<dyn Device>> {
    match kind {
        "cpu" => Some(open(DeviceChoice::Cpu).unwrap()),
        #[cfg(feature = "cuda")]
        "gpu" => mock_driver::real_gpu().map(|gpu| mock_driver::erased(&gpu)),
        _ => None,
    }
}

fn space(device: &Arc<dyn Device>, name: &str) -> Arc<Space> {
    Space::new(device.clone(), Ledger::of(device).open(name, 256 * MIB, 0).unwrap()).unwrap()
}

/// What the other process does; does nothing where nobody asks.
#[test]
fn importer() {
    let Ok(task) = std::env::var("COGNIWARE_TEST_LEASE") else { return };
    let mut words = task.split(' ');
    let mut word = || words.next().unwrap();
    let (kind, part, fd) = (word(), word(), word().parse().unwrap());
    // SAFETY: inherited for this purpose.
    let lease = unsafe { OwnedFd::from_raw_fd(fd) };
    let device = device(kind).unwrap();
    let space = space(&device, "importer");
    if part == "die-before" {
        std::process::exit(0);
    }
    let import = Import::new(&space, lease, "leased", SOON).unwrap();
    assert_eq!((space.usage().held, space.account().imported()), (0, import.bytes()));
    let mut content = vec![0u8; import.bytes() as usize];
    device.read(&mut content, import.ptr()).unwrap();
    // What is left out is where another importer writes.
    assert!(content[..100].iter().chain(&content[200..]).all(|b| *b == 0x5A));
    match part {
        "die" => std::process::abort(),
        "write" => {
            assert_eq!(import.access(), Access::ReadWrite);
            device.write(import.ptr() + 100, &[0xC3; 50]).unwrap();
        }
        _ => {
            assert_eq!(import.access(), Access::Read);
            assert!(device.write(import.ptr(), &[1]).is_err(), "it was leased for reading");
        }
    }
    assert!(import.wait_revoked(SOON).unwrap() && import.is_revoked());
    drop(import);
    assert_eq!(space.account().imported(), 0);
    std::process::exit(0);
}

/// Runs `part` with the lease in another process.
fn run(kind: &str, part: &str, lease: OwnedFd) -> Child {
    // One at a time: a descriptor without the flag goes to every process that is started meanwhile.
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap();
    // SAFETY: takes the flag off a descriptor that is ours.
    unsafe { libc::fcntl(lease.as_raw_fd(), libc::F_SETFD, 0) };
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["importer", "--exact", "--nocapture", "--test-threads=1"])
        .env("COGNIWARE_TEST_LEASE", format!("{kind} {part} {}", lease.as_raw_fd()))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    // The other process holds its end alone.
    drop(lease);
    child
}

fn between_processes(kind: &str) {
    let Some(device) = device(kind) else { return };
    let space = space(&device, "exporter");
    let ptr = space.alloc_exportable(3 * MIB, "exported").unwrap();
    let export = Export::new(&space, ptr).unwrap();
    device.write(ptr, &vec![0x5A; export.bytes() as usize]).unwrap();
    // Who dies gives its lease back, mapped or not.
    for part in ["die-before", "die"] {
        let mut child = run(kind, part, export.lease(Access::Read).unwrap());
        child.wait().unwrap();
        export.wait(SOON).unwrap();
        assert_eq!(export.leases().len(), 0);
    }
    let mut reader = run(kind, "read", export.lease(Access::Read).unwrap());
    // So that the reader sees what it expects before the other writes.
    let mapped = |n: usize| {
        for _ in 0..3000 {
            if export.leases().iter().filter(|l| l.mapped).count() >= n {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("nobody maps");
    };
    mapped(1);
    assert_eq!(space.free(ptr).unwrap_err().status(), Status::Busy);
    let mut writer = run(kind, "write", export.lease(Access::ReadWrite).unwrap());
    mapped(2);
    let mut seen = [0u8; 50];
    for _ in 0..3000 {
        device.read(&mut seen, ptr + 100).unwrap();
        if seen == [0xC3; 50] {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(seen, [0xC3; 50], "what the importer wrote");
    assert_eq!(export.leases().len(), 2);
    assert_eq!(export.wait(Duration::from_millis(50)).unwrap_err().status(), Status::Timeout);
    assert_eq!(export.revoke(), 2);
    export.wait(SOON).unwrap();
    for child in [&mut reader, &mut writer] {
        assert!(child.wait().unwrap().success());
    }
    space.free(ptr).unwrap();
    assert_eq!(space.usage().held, 0);
}

#[test]
fn cpu() {
    between_processes("cpu");
}

#[cfg(feature = "cuda")]
#[test]
fn gpu() {
    between_processes("gpu");
}
