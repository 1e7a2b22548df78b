//! What is usual for a kernel at a size, and whether what it does now is slower.

use super::history::KernelId;
use super::statistic::{larger_by_chance, quantile};
use crate::lowbit::selection::files;
use crate::{Error, Result};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::Path;

const KIND: &str = "cogniware kernel baselines 1";
/// Baselines in a file, and executions in one.
const MOST_BASELINES: usize = 4096;
const MOST_SECONDS: usize = 256;

/// How executions are judged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RegressionConfiguration {
    /// Executions that make a baseline, 8 to 256.
    pub baseline: usize,
    /// Executions that are judged together, 8 to 256. Windows do not overlap: each execution is judged once.
    pub window: usize,
    /// The probability of chance below which a window counts as slower: the rate of false alarms per window.
    pub significance: f64,
    /// The growth of the median that counts at least: 0.05 for 5 %.
    pub effect: f64,
    /// Whether the first executions of a kernel without a baseline become its baseline.
    pub establish: bool,
}

impl Default for RegressionConfiguration {
    fn default() -> Self {
        RegressionConfiguration {
            baseline: 64,
            window: 20,
            significance: 0.001,
            effect: 0.05,
            establish: true,
        }
    }
}

impl RegressionConfiguration {
    /// Itself, if it can be worked with.
    pub fn checked(self) -> Result<RegressionConfiguration> {
        for (name, n) in [("baseline", self.baseline), ("window", self.window)] {
            if !(8..=MOST_SECONDS).contains(&n) {
                return Err(Error::argument(name, format!("{n} is not within 8 and {MOST_SECONDS}")));
            }
        }
        if !(self.significance > 0.0 && self.significance < 0.5) {
            return Err(Error::argument("significance", "must be above 0 and below 0.5"));
        }
        if !(self.effect >= 0.0 && self.effect.is_finite()) {
            return Err(Error::argument("effect", "must be 0 or more"));
        }
        Ok(self)
    }
}

/// What judging said.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RegressionAnalysis {
    /// There is no baseline yet; so many executions of those that make it were seen.
    Establishing {
        /// Seen.
        have: usize,
        /// Wanted.
        need: usize,
    },
    /// The window is not full.
    Collecting {
        /// Seen.
        have: usize,
        /// Wanted.
        need: usize,
    },
    /// A full window was judged.
    Judged {
        /// Whether it is slower, beyond chance and by the effect that counts.
        regressed: bool,
        /// Median of the window over that of the baseline.
        ratio: f64,
        /// Probability of chance ([`larger_by_chance`]).
        chance: f64,
    },
}

impl RegressionAnalysis {
    /// Whether this is a regression.
    pub fn is_regression(&self) -> bool {
        matches!(self, RegressionAnalysis::Judged { regressed: true, .. })
    }
}

/// Judges a window against a baseline: slower if the medians' ratio is above 1 + `effect` and the one-sided Mann-Whitney
/// U test gives less than `significance`.
pub fn judge(
    recent: &[f64],
    baseline: &[f64],
    configuration: &RegressionConfiguration,
) -> RegressionAnalysis {
    let chance = larger_by_chance(recent, baseline);
    let median = |values: &[f64]| quantile(values, 0.5).unwrap_or(f64::NAN);
    let ratio = median(recent) / median(baseline);
    let regressed = chance < configuration.significance && ratio > 1.0 + configuration.effect;
    RegressionAnalysis::Judged { regressed, ratio, chance }
}

/// Baselines by kernel and size.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PerformanceBaselineDatabase {
    all: BTreeMap<KernelId, Vec<f64>>,
}

impl PerformanceBaselineDatabase {
    /// The seconds of the executions that make a baseline.
    pub fn get(&self, id: &KernelId) -> Option<&[f64]> {
        self.all.get(id).map(Vec::as_slice)
    }

    /// Sets a baseline, in the place of an earlier one; the newest 256 executions count.
    ///
    /// Errors: fewer than 8 executions, or one that is no time.
    pub fn set(&mut self, id: KernelId, seconds: &[f64]) -> Result<()> {
        if seconds.len() < 8 || seconds.iter().any(|s| !(*s > 0.0 && s.is_finite())) {
            return Err(Error::argument("seconds", "a baseline is made of at least 8 times above 0"));
        }
        if !self.all.contains_key(&id) && self.all.len() >= MOST_BASELINES {
            return Err(Error::argument("id", format!("{MOST_BASELINES} baselines are kept at most"))
                .advise("remove some"));
        }
        self.all.insert(id, seconds[seconds.len().saturating_sub(MOST_SECONDS)..].to_vec());
        Ok(())
    }

    /// Forgets a baseline; whether there was one.
    pub fn remove(&mut self, id: &KernelId) -> bool {
        self.all.remove(id).is_some()
    }

    /// Kernels and sizes that have one.
    pub fn ids(&self) -> impl Iterator<Item = &KernelId> {
        self.all.keys()
    }

    /// Those of a file for this machine (`identity`: devices, drivers, versions). `None` where there is no file; the text
    /// says why one is not used.
    pub fn load(
        path: &Path,
        identity: &str,
    ) -> std::result::Result<Option<PerformanceBaselineDatabase>, String> {
        let Some(body) = files::read(path, KIND, &files::key(&[KIND, identity]))? else { return Ok(None) };
        let mut found = PerformanceBaselineDatabase::default();
        let wrong = || format!("{} is not used: a baseline cannot be read", path.display());
        for (kernel, shapes) in body.as_object().ok_or_else(wrong)? {
            for (shape, seconds) in shapes.as_object().ok_or_else(wrong)? {
                let seconds = seconds.as_array().ok_or_else(wrong)?;
                let seconds: Option<Vec<f64>> =
                    seconds.iter().take(MOST_SECONDS).map(Value::as_f64).collect();
                let id = KernelId::new(kernel, shape);
                found.set(id, &seconds.ok_or_else(wrong)?).map_err(|_| wrong())?;
            }
        }
        Ok(Some(found))
    }

    /// Writes them down for this machine. Readers see the old file or the new one whole.
    pub fn save(&self, path: &Path, identity: &str) -> Result<()> {
        let mut body = Map::new();
        for (id, seconds) in &self.all {
            let shapes = body.entry(id.kernel.clone()).or_insert_with(|| json!({}));
            if let Some(shapes) = shapes.as_object_mut() {
                shapes.insert(id.shape.clone(), json!(seconds));
            }
        }
        files::write(path, KIND, &files::key(&[KIND, identity]), Value::Object(body))
    }
}

#[cfg(test)]
mod tests {
    use super::super::statistic::tests::random;
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// Times as kernels have them: a floor and a tail of disturbances.
    fn times(next: &mut impl FnMut() -> f64, count: usize, scale: f64) -> Vec<f64> {
        (0..count).map(|_| scale * (1e-3 + 2e-5 * -(next().max(1e-12)).ln())).collect()
    }

    #[test]
    fn equal_distributions_alarm_at_the_stated_rate_at_most() {
        let mut next = random(17);
        let windows = 20_000;
        for (significance, effect) in [(0.01, 0.0), (0.001, 0.0), (0.001, 0.05)] {
            let configuration = RegressionConfiguration { significance, effect, ..Default::default() };
            let mut alarms = 0;
            for _ in 0..windows {
                let (baseline, recent) = (times(&mut next, 64, 1.0), times(&mut next, 20, 1.0));
                alarms += u32::from(judge(&recent, &baseline, &configuration).is_regression());
            }
            let expected = significance * f64::from(windows);
            let most = expected + 4.0 * expected.sqrt();
            assert!(
                f64::from(alarms) <= most,
                "{alarms} alarms of {windows}, at most {most} at {significance}"
            );
            if effect == 0.0 {
                // And not for want of looking.
                assert!(f64::from(alarms) >= expected / 3.0, "{alarms} at {significance}");
            }
        }
    }

    #[test]
    fn planted_regressions_are_found() {
        let mut next = random(5);
        let configuration = RegressionConfiguration::default();
        let mut found = [0; 3];
        for _ in 0..500 {
            let baseline = times(&mut next, 64, 1.0);
            // 10 % and 8 % slower are told, 2 % is too little to count.
            for (at, scale) in [1.10, 1.08, 1.02].into_iter().enumerate() {
                found[at] +=
                    u32::from(judge(&times(&mut next, 20, scale), &baseline, &configuration).is_regression());
            }
        }
        assert!(found[0] == 500 && found[1] > 495 && found[2] == 0, "{found:?}");
    }

    #[test]
    fn baselines_come_back_for_the_same_machine_alone() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o700)).unwrap();
        let path = folder.path().join("baselines.json");
        assert_eq!(PerformanceBaselineDatabase::load(&path, "here"), Ok(None));
        let mut all = PerformanceBaselineDatabase::default();
        let mut next = random(1);
        for shape in ["1x1", "a \"b\"\n"] {
            all.set(KernelId::new("k", shape), &times(&mut next, 300, 1.0)).unwrap();
        }
        assert_eq!(all.get(&KernelId::new("k", "1x1")).unwrap().len(), 256);
        assert!(all.set(KernelId::new("k", "2"), &[1.0; 7]).is_err());
        assert!(all.set(KernelId::new("k", "2"), &[f64::NAN; 9]).is_err());
        all.save(&path, "here").unwrap();
        let read = PerformanceBaselineDatabase::load(&path, "here").unwrap().unwrap();
        assert!(read.ids().eq(all.ids()));
        for id in all.ids() {
            let near = |(a, b): (&f64, &f64)| (a / b - 1.0).abs() < 1e-14;
            assert!(read.get(id).unwrap().iter().zip(all.get(id).unwrap()).all(near));
        }
        assert!(PerformanceBaselineDatabase::load(&path, "there").is_err());
        let key = files::key(&[KIND, "here"]);
        for bad in [
            json!([1]),
            json!({ "k": 1 }),
            json!({ "k": { "s": [1, "x"] } }),
            json!({ "k": { "s": [1e-3] } }),
        ] {
            files::write(&path, KIND, &key, bad).unwrap();
            assert!(PerformanceBaselineDatabase::load(&path, "here").unwrap_err().contains("cannot be read"));
        }
    }
}
