//! Words by which running work is told to stop.

use crate::Result;
use crate::device::{Device, DeviceKind, HostMemory};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

/// Words of a page: so much work that can be stopped may be on the device at a time, for each queue.
pub(super) const WORDS: usize = 64;
/// Bytes between two words: each has a cache line of its own, so that polling one does not slow down another.
const STEP: usize = 64;

/// Memory that host and device both see.
struct Page {
    base: u64,
    /// Owns it; on a GPU it is page-locked.
    _memory: Memory,
}

enum Memory {
    Host { _words: Box<[[AtomicU32; STEP / 4]]> },
    Mapped { _memory: Box<dyn HostMemory> },
}

/// A word of 4 bytes that is 0 until its work is to stop. Work polls it: on the host by [`CancelFlag::is_raised`], on a
/// GPU by reading the 32-bit word at [`CancelFlag::address`] (volatile; it lies in host memory, so a thread block should
/// read it with one thread, and not more often than every some microseconds).
#[derive(Clone)]
pub struct CancelFlag {
    page: Arc<Page>,
    at: usize,
}

impl CancelFlag {
    fn word(&self) -> &AtomicU32 {
        // SAFETY: inside of the page, which lives; aligned to 64; nothing but atomics (and the device) touches it.
        unsafe { AtomicU32::from_ptr(self.address() as *mut u32) }
    }

    /// Its address, for host and device alike.
    pub fn address(&self) -> u64 {
        self.page.base + (self.at * STEP) as u64
    }

    /// Whether its work is to stop.
    pub fn is_raised(&self) -> bool {
        self.word().load(SeqCst) != 0
    }

    pub(super) fn raise(&self) {
        self.word().store(1, SeqCst);
    }
}

/// The flags of a queue. Its memory is taken on first use and goes with the last flag.
#[derive(Default)]
pub(super) struct Flags(Mutex<Table>);

#[derive(Default)]
struct Table {
    page: Option<Arc<Page>>,
    used: u64,
}

impl Flags {
    /// A flag that is not raised; `None` while all are in use.
    pub fn take(&self, device: &dyn Device) -> Result<Option<CancelFlag>> {
        let mut table = self.0.lock();
        let page = match &table.page {
            Some(page) => page.clone(),
            None => {
                let page = Arc::new(Page::new(device)?);
                table.page = Some(page.clone());
                page
            }
        };
        let at = table.used.trailing_ones() as usize;
        if at >= WORDS {
            return Ok(None);
        }
        table.used |= 1 << at;
        let flag = CancelFlag { page, at };
        flag.word().store(0, SeqCst);
        Ok(Some(flag))
    }

    /// Its work has ended.
    pub fn give_back(&self, flag: &CancelFlag) {
        let mut table = self.0.lock();
        if table.page.as_ref().is_some_and(|p| Arc::ptr_eq(p, &flag.page)) {
            table.used &= !(1 << flag.at);
        }
    }

    /// Nothing polls any more.
    pub fn clear(&self) {
        *self.0.lock() = Table::default();
    }
}

impl Page {
    fn new(device: &dyn Device) -> Result<Page> {
        if device.kind() == DeviceKind::Cpu {
            // 64 bytes more than the words, so that they can begin at a multiple of 64.
            let words: Box<[[AtomicU32; STEP / 4]]> = (0..=WORDS).map(|_| Default::default()).collect();
            let base = (words.as_ptr() as u64).next_multiple_of(STEP as u64);
            return Ok(Page { base, _memory: Memory::Host { _words: words } });
        }
        let memory = device.host_memory((WORDS * STEP) as u64)?;
        Ok(Page { base: memory.address(), _memory: Memory::Mapped { _memory: memory } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{DeviceChoice, open};

    #[test]
    fn flags_are_apart_and_fresh_when_used_again() {
        let device = open(DeviceChoice::Cpu).unwrap();
        let flags = Flags::default();
        let all: Vec<_> = (0..WORDS).map(|_| flags.take(&*device).unwrap().unwrap()).collect();
        assert!(flags.take(&*device).unwrap().is_none());
        all[3].raise();
        assert!(all.iter().enumerate().all(|(i, f)| f.is_raised() == (i == 3)));
        flags.give_back(&all[3]);
        let again = flags.take(&*device).unwrap().unwrap();
        assert_eq!((again.address(), again.is_raised()), (all[3].address(), false));
        assert!(again.address().is_multiple_of(64));
    }
}
