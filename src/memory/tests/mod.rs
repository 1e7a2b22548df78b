//! Tests of the memory room on the CPU device.

mod compaction;
mod dirty;
mod export;
mod extent;
mod heap;
mod over_commit;
mod quota;
mod refusals;
mod region;
mod shared;
mod small;
mod space;
mod spill;

use super::{Account, Ledger, Space};
use crate::device::{Device, DeviceChoice, open};
use std::sync::Arc;

const MIB: u64 = 1 << 20;
const GRANULE: u64 = 2 * MIB;

fn device() -> Arc<dyn Device> {
    open(DeviceChoice::Cpu).unwrap()
}

fn account(name: &str, limit: u64) -> Arc<Account> {
    Ledger::of(&device()).open(name, limit, 0).unwrap()
}

/// A space in books of its own, so that tests beside do not show in them.
fn space(name: &str, limit: u64) -> Arc<Space> {
    let ledger = Arc::new(Ledger::with_capacity(8 << 30, GRANULE));
    Space::new(device(), ledger.open(name, limit, 0).unwrap()).unwrap()
}

/// A small generator (xorshift) for repeatable choices.
struct Dice(u64);

impl Dice {
    fn next(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }
}
