//! The suballocator of a space: two-level segregated fit over units of 256 bytes.
//!
//! It works with numbers only and never looks at the memory that it manages, which may be a GPU's. Free blocks lie in
//! lists by size: one list a unit below 32 units, then 32 lists between two powers of two. The search takes the first
//! block of the next larger class (constant time), and falls back to looking through the block's own class, so that
//! a block that fits is found whenever there is one. What is left over is always split off, and neighbours always
//! coalesce. The method is that of M. Masmano et al., "TLSF: a new dynamic memory allocator for real-time systems",
//! 2004, with the block headers kept apart from the blocks.

use super::index::Index;
use super::tag::Tag;

/// No block.
pub(super) const NIL: u32 = u32::MAX;

const FINE: u32 = 5;
const CLASSES: usize = 1 << FINE;
const LEVELS: usize = 32 - FINE as usize + 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The record is not in use.
    Spare,
    Free,
    Live,
}

pub(super) struct Block {
    /// First unit and number of units.
    pub start: u32,
    pub units: u32,
    /// Neighbours by address, `NIL` where nothing is mapped beside.
    prev: u32,
    next: u32,
    /// Neighbours in the free list of its class.
    list_prev: u32,
    list_next: u32,
    state: State,
    /// Which of the two sorts of memory it is cut from: blocks of different zones never join.
    zone: Zone,
    /// Of a live block: it has an owner that frees it, and nobody else may.
    kept: bool,
    /// Of a live block: what lies behind its bytes was filled with a pattern.
    pub guarded: bool,
    /// Of a live block: bytes asked for, when, and what for.
    pub bytes: u64,
    pub born: u64,
    pub tag: Tag,
}

/// Small allocations are kept apart, so that few of them do not hold many large pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Zone {
    Large,
    Small,
}

impl Zone {
    pub const ALL: [Zone; 2] = [Zone::Large, Zone::Small];
}

/// The free blocks of a zone by size.
struct Lists {
    levels: u32,
    classes: [u32; LEVELS],
    heads: [[u32; CLASSES]; LEVELS],
}

pub(super) struct Heap {
    blocks: Vec<Block>,
    spare: u32,
    free: [Lists; 2],
    index: Index,
    /// The absolute unit (address / 256) of unit 0, for alignment.
    base: u64,
    /// Units in live blocks.
    pub used: u64,
    /// Live blocks.
    pub live: u64,
    /// Blocks that were ever live.
    pub made: u64,
    /// Units freed since somebody last set it to 0.
    pub freed: u64,
}

impl Block {
    pub fn is_free(&self) -> bool {
        self.state == State::Free
    }

    pub fn is_kept(&self) -> bool {
        self.kept
    }

    pub fn zone(&self) -> Zone {
        self.zone
    }

    pub fn end(&self) -> u32 {
        self.start + self.units
    }
}

fn class(units: u32) -> (usize, usize) {
    if units < CLASSES as u32 {
        return (0, units as usize);
    }
    let log = units.ilog2();
    ((log - FINE + 1) as usize, (units >> (log - FINE)) as usize & (CLASSES - 1))
}

impl Heap {
    /// A heap with nothing in it. `slot_units` is the number of units in a granule, `base` the address of unit 0 in
    /// units.
    pub fn new(slot_units: u32, base: u64) -> Heap {
        Heap {
            blocks: Vec::new(),
            spare: NIL,
            free: std::array::from_fn(|_| Lists {
                levels: 0,
                classes: [0; LEVELS],
                heads: [[NIL; CLASSES]; LEVELS],
            }),
            index: Index::new(slot_units),
            base,
            used: 0,
            live: 0,
            made: 0,
            freed: 0,
        }
    }

    pub fn block(&self, id: u32) -> &Block {
        &self.blocks[id as usize]
    }

    fn at(&mut self, id: u32) -> &mut Block {
        &mut self.blocks[id as usize]
    }

    /// Takes `units` free units from `start` into the heap and returns the free block they are in now.
    pub fn add(&mut self, start: u32, units: u32, zone: Zone) -> u32 {
        let prev = match start.checked_sub(1).and_then(|unit| self.containing(unit)) {
            Some(id) => id,
            None => NIL,
        };
        let next = self.index.get(start + units).unwrap_or(NIL);
        let id = self.record(start, units, prev, next, zone);
        self.join(id)
    }

    /// Takes `units` units from `start` into the heap as a live block, which is never part of a free one.
    pub fn add_live(&mut self, start: u32, units: u32) -> u32 {
        let prev = start.checked_sub(1).and_then(|unit| self.containing(unit)).unwrap_or(NIL);
        let next = self.index.get(start + units).unwrap_or(NIL);
        let id = self.record(start, units, prev, next, Zone::Large);
        self.split(id, units)
    }

    /// Says that the live block has an owner: see [`Heap::is_kept`].
    pub fn keep(&mut self, id: u32) {
        self.at(id).kept = true;
    }

    /// Says that what lies behind the live block's bytes was filled with a pattern.
    pub fn guard(&mut self, id: u32) {
        self.at(id).guarded = true;
    }

    /// Whether only the owner of the live block may free it.
    pub fn is_kept(&self, id: u32) -> bool {
        self.block(id).kept
    }

    /// Takes free units out of the heap; all of them must lie in one free block.
    pub fn remove(&mut self, start: u32, units: u32) {
        let Some(id) = self.containing(start) else {
            debug_assert!(false, "units to remove are not in the heap");
            return;
        };
        debug_assert!(self.block(id).state == State::Free);
        self.unlink(id);
        let Block { start: first, units: all, prev, next, zone, .. } = *self.block(id);
        debug_assert!(start + units <= first + all);
        self.drop_record(id);
        self.set_next(prev, NIL);
        self.set_prev(next, NIL);
        if start > first {
            let left = self.record(first, start - first, prev, NIL, zone);
            self.link(left);
        }
        let end = start + units;
        if end < first + all {
            let right = self.record(end, first + all - end, NIL, next, zone);
            self.link(right);
        }
        self.index.forget(start, units);
    }

    /// Allocates `units` units at a multiple of `align` units (a power of two).
    pub fn alloc(&mut self, units: u32, align: u32, zone: Zone) -> Option<u32> {
        let padded = units.checked_add(align - 1)?;
        if align > 1
            && let Some(id) = self.exact(units, align, zone)
        {
            return self.carve(id, units, align);
        }
        if let Some(id) = self.find(padded, zone) {
            return self.carve(id, units, align);
        }
        self.search(units, align, zone).and_then(|id| self.carve(id, units, align))
    }

    /// Allocates out of this free block, when it fits.
    pub fn carve(&mut self, id: u32, units: u32, align: u32) -> Option<u32> {
        let Block { start, units: all, next, zone, .. } = *self.block(id);
        let pad = self.pad(start, align);
        if pad.checked_add(units).is_none_or(|need| need > all) {
            return None;
        }
        self.unlink(id);
        if pad > 0 {
            // The front stays free: it keeps the record's start, the allocation gets a new record.
            self.at(id).units = pad;
            let live = self.record(start + pad, all - pad, id, next, zone);
            self.link(id);
            return Some(self.split(live, units));
        }
        Some(self.split(id, units))
    }

    /// Units from `start` to the next multiple of `align`.
    pub fn pad(&self, start: u32, align: u32) -> u32 {
        let at = self.base + u64::from(start);
        let pad = at.next_multiple_of(u64::from(align)) - at;
        pad.min(u64::from(u32::MAX)) as u32
    }

    /// Makes block `id`, which is in no list, live with exactly `units`; the rest becomes a free block.
    fn split(&mut self, id: u32, units: u32) -> u32 {
        let Block { start, units: all, next, zone, .. } = *self.block(id);
        if all > units {
            self.at(id).units = units;
            let rest = self.record(start + units, all - units, id, next, zone);
            self.link(rest);
        }
        self.at(id).state = State::Live;
        self.index.mark(start);
        self.used += u64::from(units);
        self.live += 1;
        self.made += 1;
        id
    }

    pub fn describe(&mut self, id: u32, bytes: u64, born: u64, tag: &str) {
        let block = self.at(id);
        block.kept = false;
        block.guarded = false;
        block.bytes = bytes;
        block.born = born;
        block.tag = Tag::new(tag);
    }

    /// Frees a live block and returns the size of the free block that it is part of now.
    pub fn free(&mut self, id: u32) -> u32 {
        let units = u64::from(self.block(id).units);
        self.used -= units;
        self.freed += units;
        self.live -= 1;
        self.at(id).tag = Tag::default();
        let id = self.join(id);
        self.block(id).units
    }

    /// The live block that starts at `unit`.
    pub fn live_at(&self, unit: u32) -> Option<u32> {
        self.index.get(unit).filter(|&id| self.block(id).state == State::Live)
    }

    /// The live block that holds `unit`.
    pub fn live_over(&self, unit: u32) -> Option<u32> {
        self.containing(unit).filter(|&id| self.block(id).state == State::Live)
    }

    /// Whether an allocation has started at `unit` since its granule was mapped.
    pub fn was_live(&self, unit: u32) -> bool {
        self.index.marked(unit)
    }

    /// Free units of this zone side by side right before `unit`.
    pub fn free_before(&self, unit: u32, zone: Zone) -> u32 {
        let id = unit.checked_sub(1).and_then(|u| self.containing(u));
        id.map(|id| self.block(id)).filter(|b| b.is_free() && b.zone == zone).map_or(0, |b| unit - b.start)
    }

    /// Free units of this zone side by side from `unit` on.
    pub fn free_after(&self, unit: u32, zone: Zone) -> u32 {
        let id = self.containing(unit).map(|id| self.block(id));
        id.filter(|b| b.is_free() && b.zone == zone).map_or(0, |b| b.start + b.units - unit)
    }

    /// The blocks that lie in a range of units, or reach into it, by address.
    pub fn between(&self, start: u32, end: u32) -> impl Iterator<Item = &Block> {
        let mut id = self.containing(start).or_else(|| self.index.after(start, end));
        std::iter::from_fn(move || {
            let block = self.block(id?);
            id = match block.next {
                NIL => block.start.checked_add(block.units).and_then(|at| self.index.after(at, end)),
                next => Some(next),
            };
            (block.start < end).then_some(block)
        })
    }

    /// All live blocks, in no order.
    pub fn live_blocks(&self) -> impl Iterator<Item = &Block> {
        self.blocks.iter().filter(|b| b.state == State::Live)
    }

    /// Free blocks of at least `units` units, as (start, units).
    pub fn free_blocks(&self, units: u32) -> Vec<(u32, u32)> {
        let mut all = Vec::new();
        for lists in &self.free {
            for level in (class(units).0..LEVELS).filter(|level| lists.classes[*level] != 0) {
                for &head in &lists.heads[level] {
                    all.extend(self.list(head).map(|b| (b.start, b.units)).filter(|b| b.1 >= units));
                }
            }
        }
        all
    }

    /// Units of the largest free block.
    pub fn largest_free(&self) -> u32 {
        let largest = |lists: &Lists| {
            let level = (lists.levels != 0).then(|| lists.levels.ilog2() as usize)?;
            let fine = lists.classes[level].ilog2() as usize;
            self.list(lists.heads[level][fine]).map(|b| b.units).max()
        };
        self.free.iter().filter_map(largest).max().unwrap_or(0)
    }

    fn list(&self, head: u32) -> impl Iterator<Item = &Block> {
        let mut id = head;
        std::iter::from_fn(move || {
            let block = (id != NIL).then(|| self.block(id))?;
            id = block.list_next;
            Some(block)
        })
    }

    fn containing(&self, unit: u32) -> Option<u32> {
        let id = self.index.before(unit)?;
        let block = self.block(id);
        (unit - block.start < block.units).then_some(id)
    }

    /// One of the first few blocks of the class itself that lies right: what was freed is used again.
    fn exact(&self, units: u32, align: u32, zone: Zone) -> Option<u32> {
        let (level, fine) = class(units);
        let mut id = self.free[zone as usize].heads[level][fine];
        for _ in 0..4 {
            let block = self.blocks.get(id as usize)?;
            if u64::from(self.pad(block.start, align)) + u64::from(units) <= u64::from(block.units) {
                return Some(id);
            }
            id = block.list_next;
        }
        None
    }

    /// Head of the first non-empty list whose blocks all have at least `units`.
    fn find(&self, units: u32, zone: Zone) -> Option<u32> {
        let lists = &self.free[zone as usize];
        let rounded = match units {
            0..32 => units,
            _ => units.checked_add((1 << (units.ilog2() - FINE)) - 1)?,
        };
        let (level, fine) = class(rounded);
        let same = lists.classes[level] & (u32::MAX << fine);
        if same != 0 {
            return Some(lists.heads[level][same.trailing_zeros() as usize]);
        }
        let above = lists.levels & u32::MAX.checked_shl(level as u32 + 1).unwrap_or(0);
        if above == 0 {
            return None;
        }
        let level = above.trailing_zeros() as usize;
        Some(lists.heads[level][lists.classes[level].trailing_zeros() as usize])
    }

    /// Any block that fits, looking at each one that may. Only reached when [`Heap::find`] has failed.
    fn search(&self, units: u32, align: u32, zone: Zone) -> Option<u32> {
        let lists = &self.free[zone as usize];
        let (first, fine) = class(units);
        for level in (first..LEVELS).filter(|level| lists.classes[*level] != 0) {
            let from = if level == first { fine } else { 0 };
            for &head in &lists.heads[level][from..] {
                let mut id = head;
                while id != NIL {
                    let block = self.block(id);
                    if u64::from(self.pad(block.start, align)) + u64::from(units) <= u64::from(block.units) {
                        return Some(id);
                    }
                    id = block.list_next;
                }
            }
        }
        None
    }

    /// Coalesces block `id`, which is in no list, with its free neighbours and puts the result into its list.
    fn join(&mut self, id: u32) -> u32 {
        let mut id = id;
        let (next, zone) = (self.block(id).next, self.block(id).zone);
        let joins = |block: &Block| block.is_free() && block.zone == zone;
        if next != NIL && joins(self.block(next)) {
            self.unlink(next);
            let Block { units, next: after, .. } = *self.block(next);
            self.drop_record(next);
            self.at(id).units += units;
            self.set_next(id, after);
            self.set_prev(after, id);
        }
        let prev = self.block(id).prev;
        if prev != NIL && joins(self.block(prev)) {
            self.unlink(prev);
            let Block { units, next: after, .. } = *self.block(id);
            self.drop_record(id);
            self.at(prev).units += units;
            self.set_next(prev, after);
            self.set_prev(after, prev);
            id = prev;
        }
        self.link(id);
        id
    }

    fn set_next(&mut self, id: u32, next: u32) {
        if id != NIL {
            self.at(id).next = next;
        }
    }

    fn set_prev(&mut self, id: u32, prev: u32) {
        if id != NIL {
            self.at(id).prev = prev;
        }
    }

    /// A new record, known to the index and to its neighbours, in no list.
    fn record(&mut self, start: u32, units: u32, prev: u32, next: u32, zone: Zone) -> u32 {
        let block = Block {
            start,
            units,
            prev,
            next,
            list_prev: NIL,
            list_next: NIL,
            state: State::Live,
            zone,
            kept: false,
            guarded: false,
            bytes: 0,
            born: 0,
            tag: Tag::default(),
        };
        let id = if self.spare == NIL {
            self.blocks.push(block);
            self.blocks.len() as u32 - 1
        } else {
            let id = self.spare;
            self.spare = self.block(id).list_next;
            *self.at(id) = block;
            id
        };
        self.set_next(prev, id);
        self.set_prev(next, id);
        self.index.set(start, id);
        id
    }

    fn drop_record(&mut self, id: u32) {
        let spare = self.spare;
        let block = self.at(id);
        block.state = State::Spare;
        block.list_next = spare;
        let start = block.start;
        self.index.clear(start);
        self.spare = id;
    }

    fn link(&mut self, id: u32) {
        let (zone, (level, fine)) = (self.block(id).zone as usize, class(self.block(id).units));
        let head = self.free[zone].heads[level][fine];
        let block = self.at(id);
        block.state = State::Free;
        block.list_prev = NIL;
        block.list_next = head;
        if head != NIL {
            self.at(head).list_prev = id;
        }
        let lists = &mut self.free[zone];
        lists.heads[level][fine] = id;
        lists.classes[level] |= 1 << fine;
        lists.levels |= 1 << level;
    }

    fn unlink(&mut self, id: u32) {
        let Block { units, list_prev, list_next, zone, .. } = *self.block(id);
        if list_next != NIL {
            self.at(list_next).list_prev = list_prev;
        }
        if list_prev != NIL {
            self.at(list_prev).list_next = list_next;
            return;
        }
        let (level, fine) = class(units);
        let lists = &mut self.free[zone as usize];
        lists.heads[level][fine] = list_next;
        if list_next == NIL {
            lists.classes[level] &= !(1 << fine);
            if lists.classes[level] == 0 {
                lists.levels &= !(1 << level);
            }
        }
    }

    /// Checks every invariant; for tests.
    #[cfg(test)]
    pub fn verify(&self) {
        let mut blocks: Vec<_> =
            (0..self.blocks.len() as u32).filter(|&i| self.block(i).state != State::Spare).collect();
        blocks.sort_by_key(|&i| self.block(i).start);
        let (mut used, mut live, mut free) = (0, 0, 0);
        for pair in blocks.windows(2) {
            let (a, b) = (self.block(pair[0]), self.block(pair[1]));
            assert!(a.start + a.units <= b.start, "blocks overlap");
            let touch = a.start + a.units == b.start;
            assert_eq!(a.next, if touch { pair[1] } else { NIL });
            assert_eq!(b.prev, if touch { pair[0] } else { NIL });
            assert!(!(touch && a.is_free() && b.is_free() && a.zone == b.zone), "free neighbours");
        }
        for &id in &blocks {
            let block = self.block(id);
            assert_eq!(self.index.get(block.start), Some(id));
            assert_eq!(self.containing(block.start + block.units - 1), Some(id));
            if block.state == State::Live {
                used += u64::from(block.units);
                live += 1;
            } else {
                free += 1;
                let (level, fine) = class(block.units);
                let lists = &self.free[block.zone as usize];
                assert!(self.list(lists.heads[level][fine]).any(|b| b.start == block.start));
                assert!(lists.levels >> level & 1 == 1 && lists.classes[level] >> fine & 1 == 1);
            }
        }
        let heads = self.free.iter().flat_map(|lists| lists.heads.iter().flatten());
        let listed: usize = heads.map(|&h| self.list(h).count()).sum();
        assert_eq!((used, live, free), (self.used, self.live, listed));
    }
}
