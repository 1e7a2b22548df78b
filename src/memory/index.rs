//! From a unit to the block that starts there, or that starts nearest before.
//!
//! One table a granule, made when the first block starts in it: 4 bytes and 2 bits a unit, 1.6 % of memory that is cut
//! into small blocks and next to nothing of memory that is not.

pub(super) struct Index {
    slot_units: u32,
    shift: u32,
    tables: Vec<Option<Box<Table>>>,
    /// A bit for each table with a block start in it.
    filled: Vec<u64>,
}

struct Table {
    starts: Box<[u64]>,
    marks: Box<[u64]>,
    ids: Box<[u32]>,
    count: u32,
}

fn last_bit(words: &[u64], upto: usize) -> Option<usize> {
    let mut word = upto / 64;
    let mut bits = words.get(word)? & (u64::MAX >> (63 - upto % 64));
    while bits == 0 {
        word = word.checked_sub(1)?;
        bits = words[word];
    }
    Some(word * 64 + bits.ilog2() as usize)
}

fn first_bit(words: &[u64], from: usize) -> Option<usize> {
    let mut word = from / 64;
    let mut bits = words.get(word)? & (u64::MAX << (from % 64));
    while bits == 0 {
        word += 1;
        bits = *words.get(word)?;
    }
    Some(word * 64 + bits.trailing_zeros() as usize)
}

impl Index {
    /// `slot_units` must be a power of two.
    pub fn new(slot_units: u32) -> Index {
        Index { slot_units, shift: slot_units.trailing_zeros(), tables: Vec::new(), filled: Vec::new() }
    }

    fn split(&self, unit: u32) -> (usize, usize) {
        ((unit >> self.shift) as usize, (unit & (self.slot_units - 1)) as usize)
    }

    fn table(&self, unit: u32) -> Option<(&Table, usize)> {
        let (slot, at) = self.split(unit);
        Some((self.tables.get(slot)?.as_deref()?, at))
    }

    pub fn get(&self, unit: u32) -> Option<u32> {
        let (table, at) = self.table(unit)?;
        (table.starts[at / 64] >> (at % 64) & 1 == 1).then(|| table.ids[at])
    }

    pub fn set(&mut self, unit: u32, id: u32) {
        let (slot, at) = self.split(unit);
        if slot >= self.tables.len() {
            self.tables.resize_with(slot + 1, || None);
            self.filled.resize(slot / 64 + 1, 0);
        }
        let units = self.slot_units as usize;
        let table = self.tables[slot].get_or_insert_with(|| {
            let words = units.div_ceil(64);
            Box::new(Table {
                starts: vec![0; words].into(),
                marks: vec![0; words].into(),
                ids: vec![0; units].into(),
                count: 0,
            })
        });
        let bit = 1 << (at % 64);
        if table.starts[at / 64] & bit == 0 {
            table.starts[at / 64] |= bit;
            table.count += 1;
            self.filled[slot / 64] |= 1 << (slot % 64);
        }
        table.ids[at] = id;
    }

    pub fn clear(&mut self, unit: u32) {
        let (slot, at) = self.split(unit);
        let Some(table) = self.tables.get_mut(slot).and_then(Option::as_mut) else { return };
        table.starts[at / 64] &= !(1 << (at % 64));
        table.count -= 1;
        if table.count == 0 {
            self.filled[slot / 64] &= !(1 << (slot % 64));
        }
    }

    /// The block that starts at `unit`, or the nearest one before.
    pub fn before(&self, unit: u32) -> Option<u32> {
        let (slot, at) = self.split(unit);
        if let Some(table) = self.tables.get(slot).and_then(Option::as_deref)
            && let Some(at) = last_bit(&table.starts, at)
        {
            return Some(table.ids[at]);
        }
        let upto = slot.min(self.tables.len()).checked_sub(1)?;
        let slot = last_bit(&self.filled, upto)?;
        let table = self.tables[slot].as_deref()?;
        last_bit(&table.starts, self.slot_units as usize - 1).map(|at| table.ids[at])
    }

    /// The block that starts at `unit` or nearest after it, below `end`.
    pub fn after(&self, unit: u32, end: u32) -> Option<u32> {
        let (slot, at) = self.split(unit);
        let within = |slot: usize, from: usize| {
            let table = self.tables.get(slot)?.as_deref()?;
            let at = first_bit(&table.starts, from)?;
            let unit = (slot as u64) << self.shift | at as u64;
            Some((unit < u64::from(end)).then(|| table.ids[at]))
        };
        if let Some(found) = within(slot, at) {
            return found;
        }
        within(first_bit(&self.filled, slot + 1)?, 0)?
    }

    /// Remembers that an allocation started here.
    pub fn mark(&mut self, unit: u32) {
        let (slot, at) = self.split(unit);
        if let Some(table) = self.tables.get_mut(slot).and_then(Option::as_mut) {
            table.marks[at / 64] |= 1 << (at % 64);
        }
    }

    pub fn marked(&self, unit: u32) -> bool {
        self.table(unit).is_some_and(|(table, at)| table.marks[at / 64] >> (at % 64) & 1 == 1)
    }

    /// Gives up the tables of whole granules in which no block starts any more.
    pub fn forget(&mut self, start: u32, units: u32) {
        let (first, last) = (start.div_ceil(self.slot_units), (start + units) / self.slot_units);
        for slot in first as usize..(last as usize).min(self.tables.len()) {
            if self.tables[slot].as_ref().is_some_and(|t| t.count == 0) {
                self.tables[slot] = None;
            }
        }
    }
}
