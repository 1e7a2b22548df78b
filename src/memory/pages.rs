//! The page table of a space, as a list.

use super::UNIT;
use super::source::Lies;
use super::space::Space;
use crate::device::DevicePtr;

/// What is in a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageState {
    /// Nothing is allocated in it.
    Free,
    /// Part of it is allocated.
    Partly,
    /// All of it is allocated.
    Used,
    /// It holds memory of an owner that frees it as a whole, and stays where it is: an extent, an array, a partition.
    Kept,
}

/// One mapped page of a space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// First byte.
    pub address: DevicePtr,
    /// Bytes: [`Space::page_size`].
    pub bytes: u64,
    /// The physical piece behind it, by the device's own number: pages with the same number are one piece, which goes
    /// back to the device as a whole.
    pub granule: u64,
    /// What is in it.
    pub state: PageState,
    /// Bytes of it that are allocated.
    pub live: u64,
    /// Bytes of it that have memory: less than all of it after its free parts were given back.
    pub resident: u64,
    /// Compaction leaves its piece where it is.
    pub pinned: bool,
    /// Its content lies in host memory.
    pub away: bool,
    /// It belongs to memory that can be handed to other processes ([`super::Export`]), or that another has handed over.
    pub exported: bool,
}

impl Space {
    /// Bytes of a page: what was configured, raised to the device's granularity.
    pub fn page_size(&self) -> u64 {
        u64::from(self.slot) * UNIT
    }

    /// Every mapped page of its pool, by address. Regions and shared mappings have pages of their own and are not in it.
    pub fn pages(&self) -> Vec<Page> {
        let maps = self.maps.lock();
        let exportable: Vec<DevicePtr> = self.exportables.lock().keys().copied().collect();
        let heap = self.heap.lock();
        let mut all = Vec::new();
        for (&at, piece) in &maps.pieces {
            let range = self.range_of(at, piece);
            let first = all.len();
            all.extend(range.clone().step_by(self.slot as usize).map(|start| Page {
                address: self.address(start),
                bytes: self.page_size(),
                granule: piece.granule.handle,
                state: PageState::Free,
                live: 0,
                resident: if piece.is_away() { 0 } else { self.page_size() },
                pinned: false,
                away: piece.is_away(),
                exported: exportable.contains(&piece.address) || matches!(piece.lies, Lies::Borrowed),
            }));
            let pages = &mut all[first..];
            let mut pinned = !piece.is_movable();
            for block in heap.between(range.start, range.end).filter(|b| !b.is_free()) {
                pinned |= block.is_kept();
                self.each_page(
                    block.start.max(range.start),
                    block.end().min(range.end),
                    &range,
                    |page, units| {
                        pages[page].live += u64::from(units) * UNIT;
                        if block.is_kept() {
                            pages[page].state = PageState::Kept;
                        }
                    },
                );
            }
            for (start, units) in maps.holes.within(range.clone()) {
                self.each_page(start, start + units, &range, |page, units| {
                    pages[page].resident -= u64::from(units) * UNIT;
                });
            }
            for page in pages {
                page.pinned = pinned;
                page.state = match page.state {
                    PageState::Kept => PageState::Kept,
                    _ if page.live == 0 => PageState::Free,
                    _ if page.live == page.bytes => PageState::Used,
                    _ => PageState::Partly,
                };
            }
        }
        all
    }

    /// Calls `f` with each page of a piece that units reach into, and how many of them lie in it.
    fn each_page(&self, start: u32, end: u32, piece: &std::ops::Range<u32>, mut f: impl FnMut(usize, u32)) {
        let mut at = start;
        while at < end {
            let page = (at - piece.start) / self.slot;
            let stop = end.min(piece.start + (page + 1) * self.slot);
            f(page as usize, stop - at);
            at = stop;
        }
    }
}
