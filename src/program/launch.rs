//! The shape of a launch.

use crate::{Error, Result};

/// How a kernel or a host function is launched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Launch {
    /// Blocks in x, y and z.
    pub grid: [u32; 3],
    /// Threads of a block in x, y and z.
    pub block: [u32; 3],
    /// Bytes of dynamic shared memory of each block.
    pub shared_bytes: u32,
    /// All blocks run at once, so that the kernel may synchronise its whole grid.
    pub cooperative: bool,
}

impl Default for Launch {
    fn default() -> Self {
        Launch::new([1; 3], [1; 3])
    }
}

impl Launch {
    /// A launch of this many blocks of this many threads, without dynamic shared memory.
    pub const fn new(grid: [u32; 3], block: [u32; 3]) -> Launch {
        Launch { grid, block, shared_bytes: 0, cooperative: false }
    }

    /// Blocks of the whole grid; `u64::MAX` where there are more.
    pub fn blocks(&self) -> u64 {
        product(self.grid)
    }

    /// Threads of a block; `u64::MAX` where there are more.
    pub fn threads(&self) -> u64 {
        product(self.block)
    }

    /// Errors: a dimension that is 0 or above its limit, by name and axis.
    pub(super) fn check(&self, most_blocks: [u32; 3], most_threads: [u32; 3]) -> Result<()> {
        for (name, given, most) in [("grid", self.grid, most_blocks), ("block", self.block, most_threads)] {
            for (axis, (n, most)) in ["x", "y", "z"].iter().zip(given.into_iter().zip(most)) {
                if n == 0 || n > most {
                    return Err(Error::argument(name, format!("{axis} is {n}, not 1 to {most}")));
                }
            }
        }
        Ok(())
    }
}

fn product(dims: [u32; 3]) -> u64 {
    dims.iter().fold(1u64, |all, &n| all.saturating_mul(u64::from(n)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dimension_out_of_its_limits_is_named() {
        let most = ([10, 10, 10], [4, 4, 4]);
        Launch::new([10, 1, 1], [4, 4, 4]).check(most.0, most.1).unwrap();
        for (launch, said) in [
            (Launch::new([0, 1, 1], [1; 3]), "`grid`: x is 0, not 1 to 10"),
            (Launch::new([1, 11, 1], [1; 3]), "`grid`: y is 11"),
            (Launch::new([1; 3], [1, 1, 5]), "`block`: z is 5, not 1 to 4"),
        ] {
            let e = launch.check(most.0, most.1).unwrap_err();
            assert!(e.message().contains(said), "{e}");
        }
        let huge = Launch::new([u32::MAX; 3], [u32::MAX; 3]);
        assert_eq!((huge.blocks(), huge.threads()), (u64::MAX, u64::MAX));
    }
}
