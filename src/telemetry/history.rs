//! The last errors of this process, and how many of each kind there were.
//!
//! An error is written down once: where it crosses the C border, or where work that nobody waits for (a task, a
//! request of a model) ends with it, whichever comes first. Errors that only ask for a larger buffer are not written
//! down. Rust callers have the error itself and note what they like with [`record`].

use crate::{Category, Error, Status};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::time::SystemTime;

/// How many errors are kept unless [`set_capacity`] says otherwise.
pub const CAPACITY: usize = 256;

/// The most that [`set_capacity`] takes: an error takes a few hundred bytes.
pub const LARGEST: usize = 1 << 20;

/// One error of the history.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Counts up from 1 over the life of the process.
    pub sequence: u64,
    /// When it was written down.
    pub time: SystemTime,
    /// The error.
    pub error: Error,
}

/// How often, and when first and last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// How often.
    pub count: u64,
    /// When first; `None` for never.
    pub first: Option<SystemTime>,
    /// When last; `None` for never.
    pub last: Option<SystemTime>,
}

impl Count {
    fn add(&mut self, now: SystemTime) {
        self.count += 1;
        self.first.get_or_insert(now);
        self.last = Some(now);
    }
}

/// Counts since the process began or since [`clear`].
#[derive(Clone, Debug)]
pub struct Statistics {
    /// All errors.
    pub total: Count,
    /// By status, in the order of [`Status::ALL`].
    pub by_status: [Count; Status::ALL.len()],
    /// By category, in the order of [`Category::ALL`].
    pub by_category: [Count; Category::ALL.len()],
    /// How many are kept now.
    pub held: usize,
    /// How many are kept at most.
    pub capacity: usize,
}

struct State {
    ring: VecDeque<Entry>,
    capacity: usize,
    sequence: u64,
    total: Count,
    by_status: [Count; Status::ALL.len()],
    by_category: [Count; Category::ALL.len()],
}

const NONE: Count = Count { count: 0, first: None, last: None };

static STATE: Mutex<State> = Mutex::new(State::new());

impl State {
    const fn new() -> State {
        State {
            ring: VecDeque::new(),
            capacity: CAPACITY,
            sequence: 0,
            total: NONE,
            by_status: [NONE; Status::ALL.len()],
            by_category: [NONE; Category::ALL.len()],
        }
    }

    fn add(&mut self, error: &Error, now: SystemTime) {
        self.sequence += 1;
        self.total.add(now);
        self.by_status[error.status() as usize - 1].add(now);
        self.by_category[error.category() as usize - 1].add(now);
        if self.capacity == 0 {
            return;
        }
        while self.ring.len() >= self.capacity {
            self.ring.pop_front();
        }
        self.ring.push_back(Entry { sequence: self.sequence, time: now, error: error.clone() });
    }

    fn statistics(&self) -> Statistics {
        Statistics {
            total: self.total,
            by_status: self.by_status,
            by_category: self.by_category,
            held: self.ring.len(),
            capacity: self.capacity,
        }
    }
}

/// Writes an error down, unless it or a clone of it was written down before, or it only asks for a larger buffer.
pub fn record(error: &Error) {
    if error.status() == Status::BufferTooSmall || !error.record_once() {
        return;
    }
    STATE.lock().add(error, SystemTime::now());
    crate::log!(Debug, "error", "{}: {}: {error}", error.category().name(), error.status().name());
}

/// The errors that are kept, the newest first.
pub fn list() -> Vec<Entry> {
    STATE.lock().ring.iter().rev().cloned().collect()
}

/// The error at `index`, 0 being the newest.
pub fn at(index: usize) -> Option<Entry> {
    STATE.lock().ring.iter().rev().nth(index).cloned()
}

/// How many errors are kept.
pub fn count() -> usize {
    STATE.lock().ring.len()
}

/// Counts by status and category.
pub fn statistics() -> Statistics {
    STATE.lock().statistics()
}

/// Forgets all errors and sets all counts to 0. Sequence numbers go on.
pub fn clear() {
    let mut state = STATE.lock();
    *state = State { capacity: state.capacity, sequence: state.sequence, ..State::new() };
}

/// Keeps at most `capacity` errors from now on (0: counts only); the oldest go first.
pub fn set_capacity(capacity: usize) -> crate::Result<()> {
    if capacity > LARGEST {
        return Err(Error::argument("capacity", format!("{capacity} errors are more than {LARGEST}")));
    }
    let mut state = STATE.lock();
    state.capacity = capacity;
    let surplus = state.ring.len().saturating_sub(capacity);
    state.ring.drain(..surplus);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_stay_and_all_are_counted() {
        let mut state = State::new();
        state.capacity = 3;
        let start = SystemTime::UNIX_EPOCH;
        for n in 0..5u64 {
            let status = if n == 4 { Status::OutOfMemory } else { Status::InvalidArgument };
            state.add(&Error::new(status, n.to_string()), start + std::time::Duration::from_secs(n));
        }
        let kept: Vec<_> = state.ring.iter().map(|e| (e.sequence, e.error.message().to_owned())).collect();
        assert_eq!(kept, [(3, "2".into()), (4, "3".into()), (5, "4".into())]);
        let s = state.statistics();
        assert_eq!((s.total.count, s.held, s.capacity), (5, 3, 3));
        let wrong = s.by_status[Status::InvalidArgument as usize - 1];
        assert_eq!(
            (wrong.count, wrong.first, wrong.last),
            (4, Some(start), Some(start + std::time::Duration::from_secs(3)))
        );
        assert_eq!(s.by_category[Category::Memory as usize - 1].count, 1);
        assert_eq!(s.by_category.iter().map(|c| c.count).sum::<u64>(), 5);
        state.capacity = 0;
        state.ring.clear();
        state.add(&Error::argument("a", "b"), start);
        assert_eq!((state.ring.len(), state.total.count), (0, 6));
    }

    #[test]
    fn asking_for_a_size_is_no_error_and_clones_count_once() {
        let mark = format!("history test {:?}", std::thread::current().id());
        let mine = || list().iter().filter(|e| e.error.message().contains(&mark)).count();
        record(&Error::new(Status::BufferTooSmall, mark.clone()));
        assert_eq!(mine(), 0);
        let e = Error::argument("a", &mark);
        record(&e);
        record(&e.clone().within("further out"));
        record(&e);
        assert_eq!(mine(), 1);
        assert!(set_capacity(usize::MAX).is_err());
    }
}
