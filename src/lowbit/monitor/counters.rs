//! What the calling thread used while a kernel ran: processor time, switches, page faults, and the processor's own counters
//! where the system lets this process read them.

use crate::{Error, Result, Status};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// What the calling thread used.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// Seconds of processor time.
    pub cpu_seconds: f64,
    /// How often it was put aside for another thread.
    pub preempted: u64,
    /// Pages that had to be made.
    pub page_faults: u64,
    /// The processor's counters; `None` where nobody may read them.
    pub hardware: Option<Hardware>,
}

/// Counters of the processor, in user mode, of the calling thread.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Hardware {
    /// Core cycles.
    pub cycles: u64,
    /// Instructions that were completed.
    pub instructions: u64,
    /// Accesses of the last level of cache; 0 where it is not counted.
    pub cache_references: u64,
    /// Those that it did not have.
    pub cache_misses: u64,
}

/// The begin of `perf_event_attr`, as its first published version has it.
#[repr(C)]
#[derive(Default)]
struct Attributes {
    kind: u32,
    size: u32,
    config: u64,
    sample: u64,
    sample_type: u64,
    read_format: u64,
    flags: u64,
    wakeup: u32,
    bp_type: u32,
    bp_addr: u64,
}

const HARDWARE: u32 = 0;
const CYCLES: u64 = 0;
const INSTRUCTIONS: u64 = 1;
const CACHE_REFERENCES: u64 = 2;
const CACHE_MISSES: u64 = 3;
/// The kernel's and the hypervisor's work is not counted: that needs no privilege at most settings.
const USER_ONLY: u64 = 1 << 5 | 1 << 6;
/// One read gives all counters of the group.
const GROUP: u64 = 1 << 3;

/// Counters of the thread that opened them.
pub struct Counters {
    leader: OwnedFd,
    members: Vec<(u64, OwnedFd)>,
    _of_thread: std::marker::PhantomData<*const ()>,
}

impl Counters {
    /// Opens the counters of this thread.
    ///
    /// Errors: [`Status::Unsupported`] where the system forbids it or the processor (a virtual machine's) has none; the
    /// message says which.
    pub fn open() -> Result<Counters> {
        let leader = open(CYCLES, -1)?;
        let mut members = Vec::new();
        for event in [INSTRUCTIONS, CACHE_REFERENCES, CACHE_MISSES] {
            // A processor may lack some; the others still tell.
            if let Ok(fd) = open(event, leader.as_raw_fd()) {
                members.push((event, fd));
            }
        }
        Ok(Counters { leader, members, _of_thread: std::marker::PhantomData })
    }

    /// What was counted since they were opened.
    pub fn read(&self) -> Result<Hardware> {
        let mut values = [0u64; 8];
        // SAFETY: at most the size of `values` is written.
        let got =
            unsafe { libc::read(self.leader.as_raw_fd(), values.as_mut_ptr().cast(), size_of_val(&values)) };
        let want = (2 + self.members.len()) * 8;
        if got != want as isize {
            return Err(Error::io("reading the processor's counters", std::io::Error::last_os_error()));
        }
        let mut found = Hardware { cycles: values[1], ..Default::default() };
        for ((event, _), value) in self.members.iter().zip(&values[2..]) {
            match *event {
                INSTRUCTIONS => found.instructions = *value,
                CACHE_REFERENCES => found.cache_references = *value,
                _ => found.cache_misses = *value,
            }
        }
        Ok(found)
    }
}

fn open(event: u64, group: i32) -> Result<OwnedFd> {
    let attributes = Attributes {
        kind: HARDWARE,
        size: size_of::<Attributes>() as u32,
        config: event,
        read_format: GROUP,
        flags: USER_ONLY,
        ..Default::default()
    };
    const CLOSE_ON_EXEC: libc::c_ulong = 8;
    // SAFETY: the attributes outlive the call and say their size; this thread, on any processor.
    let fd = unsafe { libc::syscall(libc::SYS_perf_event_open, &attributes, 0, -1, group, CLOSE_ON_EXEC) };
    if fd >= 0 {
        // SAFETY: a new descriptor that nobody else has.
        return Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) });
    }
    let e = std::io::Error::last_os_error();
    let (why, advice) = match e.raw_os_error() {
        Some(libc::EACCES | libc::EPERM) => (
            "the system does not let this process read the processor's counters",
            "set kernel.perf_event_paranoid to 2 or less, or give the process CAP_PERFMON; containers often forbid the call",
        ),
        Some(libc::ENOENT | libc::ENODEV | libc::EOPNOTSUPP) => (
            "this processor has no counters that can be read",
            "virtual machines often hide them: give the machine a virtual PMU",
        ),
        Some(libc::ENOSYS) => ("this system has no perf_event_open", "run on a Linux kernel that has it"),
        _ => ("the processor's counters cannot be opened", "see the error number"),
    };
    Err(Error::new(Status::Unsupported, format!("{why}: {e}")).advise(advice))
}

/// What this thread has used so far, without the processor's counters.
fn so_far() -> Usage {
    // SAFETY: both structures are plain numbers that the calls fill; where one fails they stay 0.
    unsafe {
        let mut time: libc::timespec = std::mem::zeroed();
        libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time);
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_THREAD, &mut usage);
        Usage {
            cpu_seconds: time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9,
            preempted: usage.ru_nivcsw as u64,
            page_faults: usage.ru_minflt as u64 + usage.ru_majflt as u64,
            hardware: None,
        }
    }
}

/// A begin, from which [`Session::end`] tells what was used.
pub struct Session {
    before: Usage,
    counters: Option<Counters>,
}

impl Session {
    /// Begins on this thread; with the processor's counters if wanted and allowed.
    pub fn begin(hardware: bool) -> Session {
        let counters = if hardware { Counters::open().ok() } else { None };
        Session { before: so_far(), counters }
    }

    /// What this thread used since.
    pub fn end(self) -> Usage {
        let hardware = self.counters.and_then(|c| c.read().ok());
        let now = so_far();
        Usage {
            cpu_seconds: (now.cpu_seconds - self.before.cpu_seconds).max(0.0),
            preempted: now.preempted.saturating_sub(self.before.preempted),
            page_faults: now.page_faults.saturating_sub(self.before.page_faults),
            hardware,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    #[test]
    fn what_a_thread_used_is_told() {
        let session = Session::begin(true);
        let begun = Instant::now();
        let fresh = vec![1u8; 8 << 20];
        let mut sum = 0u64;
        while begun.elapsed() < Duration::from_millis(20) {
            sum = sum.wrapping_add(u64::from(std::hint::black_box(fresh[sum as usize % fresh.len()])));
        }
        let wall = begun.elapsed().as_secs_f64();
        let used = session.end();
        assert!(used.cpu_seconds > 1e-4 && used.cpu_seconds <= wall * 1.05 + 1e-3, "{used:?} in {wall}");
        assert!(used.page_faults > 0);
        match Counters::open() {
            Ok(_) => {
                let h = used.hardware.unwrap();
                assert!(h.cycles > 100_000 && h.instructions > 100_000, "{h:?}");
            }
            Err(e) => {
                assert_eq!(e.status(), Status::Unsupported);
                assert!(e.advice().is_some());
                println!("skipped, no counters: {e}");
                assert_eq!(used.hardware, None);
            }
        }
    }
}
