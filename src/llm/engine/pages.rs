//! The pages of a model's key/value cache: taken, given back, grown while the quota allows, trimmed when idle.

use crate::Result;
use crate::memory::Region;
use crate::ops::KvLayout;
use std::collections::BTreeSet;

/// Pages of one model. The lowest free page is taken first, so that the end becomes free and can be unmapped.
pub(crate) struct Pages {
    region: Region,
    layout: KvLayout,
    mapped: u32,
    free: BTreeSet<u32>,
}

impl Pages {
    /// The pages of `region`; none is mapped yet.
    pub fn new(region: Region, layout: KvLayout) -> Pages {
        Pages { region, layout, mapped: 0, free: BTreeSet::new() }
    }

    pub fn layout(&self) -> &KvLayout {
        &self.layout
    }

    /// Pages in use.
    pub fn used(&self) -> u32 {
        self.mapped - self.free.len() as u32
    }

    /// Pages that are mapped but not in use.
    pub fn spare(&self) -> u32 {
        self.free.len() as u32
    }

    /// Bytes charged.
    pub fn bytes(&self) -> u64 {
        self.region.mapped()
    }

    /// A page; maps more when none is free. On an error nothing changed.
    pub fn take(&mut self) -> Result<u32> {
        if self.free.is_empty() {
            self.region.grow(u64::from(self.mapped + 1) * self.layout.page_bytes())?;
            self.count_mapped();
        }
        Ok(self.free.pop_first().unwrap_or_default())
    }

    /// Gives pages back.
    pub fn give(&mut self, pages: impl IntoIterator<Item = u32>) {
        for page in pages {
            let fresh = self.free.insert(page);
            debug_assert!(fresh && page < self.mapped, "page {page} given back twice or never taken");
        }
    }

    /// Unmaps the free pages at the end. No step may be running.
    pub fn trim(&mut self) -> Result<()> {
        let mut end = self.mapped;
        while end > 0 && self.free.contains(&(end - 1)) {
            end -= 1;
        }
        if end == self.mapped {
            return Ok(());
        }
        self.region.shrink(u64::from(end) * self.layout.page_bytes())?;
        let whole = (self.region.mapped() / self.layout.page_bytes()) as u32;
        self.free.retain(|page| *page < whole);
        self.mapped = whole.min(self.mapped);
        Ok(())
    }

    /// Counts the pages that the mapped bytes hold: granules are larger than small pages.
    fn count_mapped(&mut self) {
        let whole = (self.region.mapped() / self.layout.page_bytes()) as u32;
        self.free.extend(self.mapped..whole);
        self.mapped = whole;
    }
}
