//! Cutting an operation into pieces that a device does in about a millisecond, so that others get their turn between.

/// What an operation asks of a device.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cost {
    /// Floating-point (or integer) operations.
    pub flops: f64,
    /// Bytes read and written, each tensor once.
    pub bytes: f64,
    /// Whether the operations are those of a matrix product.
    pub matrix: bool,
}

/// About how fast the node of some operations is, for cutting work into pieces. From the device's figures, not measured:
/// good to a factor of two or so.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace {
    /// Operations of products a second.
    pub products: f64,
    /// Other operations a second.
    pub others: f64,
    /// Bytes of memory a second.
    pub bytes: f64,
}

/// Seconds that a piece should take.
const PIECE: f64 = 1e-3;

impl Cost {
    /// Seconds that it takes at this pace.
    pub fn seconds(&self, pace: &Pace) -> f64 {
        let rate = if self.matrix { pace.products } else { pace.others };
        (self.flops / rate).max(self.bytes / pace.bytes)
    }

    /// Pieces to cut into.
    pub(super) fn pieces(&self, pace: &Pace) -> u64 {
        match self.seconds(pace) {
            // A rest of half a piece is not worth a launch of its own.
            seconds if seconds < 1.5 * PIECE => 1,
            seconds => (seconds / PIECE).ceil().min(1e9) as u64,
        }
    }
}

/// A part of an extent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cut {
    pub first: u64,
    pub count: u64,
}

/// How up to three extents, from the outermost, are cut into a wanted number of parts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cutter {
    wanted: u64,
    /// Extent and extent of a part.
    axes: [(u64, u64); 3],
    used: usize,
}

impl Cutter {
    pub fn new(wanted: u64) -> Cutter {
        Cutter { wanted: wanted.max(1), axes: [(0, 0); 3], used: 0 }
    }

    /// Cuts the next extent into as many parts as are still wanted, each (but the last) a multiple of `unit`.
    pub fn cut(&mut self, extent: u64, unit: u64) {
        let parts = self.wanted.min(extent.div_ceil(unit).max(1));
        let size = extent.div_ceil(parts).next_multiple_of(unit).max(1);
        self.axes[self.used] = (extent, size);
        self.used += 1;
        self.wanted = self.wanted.div_ceil(extent.div_ceil(size).max(1));
    }

    pub fn pieces(&self) -> u64 {
        self.axes[..self.used].iter().map(|(extent, size)| extent.div_ceil(*size).max(1)).product()
    }

    /// The parts of all three extents that make piece `index`.
    pub fn piece(&self, mut index: u64) -> [Cut; 3] {
        let mut cuts = [Cut { first: 0, count: 0 }; 3];
        for i in (0..self.used).rev() {
            let (extent, size) = self.axes[i];
            let parts = extent.div_ceil(size).max(1);
            let first = index % parts * size;
            cuts[i] = Cut { first, count: extent.saturating_sub(first).min(size) };
            index /= parts;
        }
        cuts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_each_extent_once() {
        for (wanted, extents) in [(1, [3, 500, 7]), (5, [3, 5000, 7]), (64, [2, 700, 900]), (9, [0, 4, 4])] {
            let mut cutter = Cutter::new(wanted);
            for (extent, unit) in extents.into_iter().zip([1, 256, 64]) {
                cutter.cut(extent, unit);
            }
            let mut cells = 0;
            for i in 0..cutter.pieces() {
                cells += cutter.piece(i).map(|c| c.count).iter().product::<u64>();
            }
            assert_eq!(cells, extents.iter().product::<u64>(), "{wanted} {extents:?}");
            assert!(wanted == 1 || extents[0] == 0 || cutter.pieces() > 1);
        }
    }

    #[test]
    fn a_millisecond_a_piece() {
        let pace = Pace { products: 1e12, others: 1e12, bytes: 1e12 };
        let cost = |flops| Cost { flops, bytes: 0.0, matrix: true };
        assert_eq!(cost(1.4e9).pieces(&pace), 1);
        assert_eq!(cost(1e10).pieces(&pace), 10);
    }
}
