//! From the shares that virtual GPUs ask for to their weights at the gate.

use super::table;
use crate::Result;
use parking_lot::Mutex;

/// The least weight of one that asked for nothing.
const LEAST: f64 = 0.05;

/// One at a time, so that the last change counts.
static WEIGHING: Mutex<()> = Mutex::new(());

/// Weights for shares: what was asked for is the weight; those who asked for nothing (0) divide what the others leave, at
/// least 0.05 each. When nobody asks, all have weight 1, like a tenant of the LLM side.
pub fn weights(asked: &[f32]) -> Vec<f64> {
    let sum: f64 = asked.iter().map(|&s| f64::from(s)).sum();
    let without = asked.iter().filter(|&&s| s == 0.0).count();
    let rest = match sum > 0.0 {
        true => ((1.0 - sum) / without.max(1) as f64).max(LEAST),
        false => 1.0,
    };
    asked.iter().map(|&s| if s > 0.0 { f64::from(s) } else { rest }).collect()
}

/// Gives every virtual GPU of each device the weight that its share and the others' ask for.
pub(super) fn weigh() -> Result<()> {
    let _one = WEIGHING.lock();
    let all: Vec<_> = table::list().into_iter().filter_map(|g| Some((g.parts().unit?, g))).collect();
    let place = |g: &table::VirtualGpu| (g.tenant().device().kind() as u8, g.tenant().device().ordinal());
    let mut places: Vec<_> = all.iter().map(|(_, g)| place(g)).collect();
    places.sort_unstable();
    places.dedup();
    for here in places {
        let those: Vec<_> = all.iter().filter(|(_, g)| place(g) == here).collect();
        let asked: Vec<f32> = those.iter().map(|(unit, _)| unit.asked.lock().share).collect();
        for ((_, gpu), weight) in those.iter().zip(weights(&asked)) {
            gpu.tenant().share().set_weight(weight)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asked_shares_are_weights_and_the_rest_is_divided() {
        assert_eq!(weights(&[0.0, 0.0, 0.0]), [1.0, 1.0, 1.0]);
        assert_eq!(weights(&[0.5, 0.25, 0.25]), [0.5, 0.25, 0.25]);
        let w = weights(&[0.5, 0.0, 0.0]);
        assert!((w[1] - 0.25).abs() < 1e-9 && w[1] == w[2], "{w:?}");
        // Asked for more than there is: what was asked for counts, in proportion.
        assert_eq!(weights(&[1.0, 1.0]), [1.0, 1.0]);
        assert_eq!(weights(&[1.0, 0.0])[1], LEAST);
    }
}
