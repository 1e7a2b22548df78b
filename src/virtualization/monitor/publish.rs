//! Metrics in a file that others read.

use super::ticker::Ticker;
use crate::telemetry::file;
use crate::telemetry::log::{self, Level};
use crate::telemetry::prometheus::{Text, Type};
use crate::{Error, Result};
use parking_lot::Mutex;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// What is written: the metrics as Prometheus text.
pub type Metrics = fn() -> String;

struct Publisher {
    path: PathBuf,
    interval: Duration,
    /// Ends with it.
    _ticker: Ticker,
}

static PUBLISHER: Mutex<Option<Publisher>> = Mutex::new(None);

/// Writes `metrics` to the file at `path` now and at every `interval` (10 ms to a day), until [`stop_publishing`] or until
/// another path is published. Readers see a whole text each time; two families tell when it was written and how often that
/// is done (`cogniware_published_timestamp_seconds`, `cogniware_publish_interval_seconds`). A relative path is taken from
/// the folder of this moment. The file stays when publishing ends.
///
/// Errors: [`crate::Status::InvalidArgument`] for the interval or an empty path; what the file system says to the first
/// writing. Later failures go to the log, and the next round tries again. On an error what was published before goes on.
pub fn publish(path: &Path, interval: Duration, metrics: Metrics) -> Result<()> {
    if path.as_os_str().is_empty() {
        return Err(Error::argument("path", "is empty"));
    }
    let path = std::path::absolute(path).map_err(|e| Error::io("argument `path`", e))?;
    let to = path.clone();
    let mut failing = false;
    let ticker = Ticker::start("cw-publish", "intervalMs", interval, true, move || {
        let error = write(&to, interval, metrics).err();
        if let Some(error) = error.as_ref().filter(|_| !failing) {
            log::emit(Level::Warn, "monitor", format_args!("metrics are not published: {error}"));
        }
        failing = error.is_some();
    })?;
    // Before the old one ends: when this fails it goes on.
    if let Err(e) = write(&path, interval, metrics) {
        ticker.cancel();
        return Err(e);
    }
    let before = PUBLISHER.lock().replace(Publisher { path, interval, _ticker: ticker });
    drop(before);
    Ok(())
}

/// Ends publishing: the metrics are written once more, and the file stays. Does nothing when nothing is published.
pub fn stop_publishing() {
    let before = PUBLISHER.lock().take();
    drop(before);
}

/// Where and how often metrics are published.
pub fn publishing() -> Option<(PathBuf, Duration)> {
    PUBLISHER.lock().as_ref().map(|p| (p.path.clone(), p.interval))
}

fn write(path: &Path, interval: Duration, metrics: Metrics) -> Result<()> {
    let mut text = Text::default();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    text.family(
        "cogniware_published_timestamp_seconds",
        Type::Gauge,
        "When this was written, in seconds since 1970.",
    )
    .sample(&[], now.as_secs_f64());
    text.family("cogniware_publish_interval_seconds", Type::Gauge, "How often it is written.")
        .sample(&[], interval.as_secs_f64());
    let (metrics, own) = (metrics(), text.finish());
    file::replace(path, "the metrics", false, |to| {
        to.write_all(metrics.as_bytes())?;
        to.write_all(own.as_bytes())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One test, since what is published is the process's.
    #[test]
    fn metrics_are_written_whole_again_and_again_until_the_end() {
        fn metrics() -> String {
            "# HELP a b\n# TYPE a gauge\na 1\n".into()
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.prom");
        let at = |text: &str| -> f64 {
            let line =
                text.lines().find(|l| l.starts_with("cogniware_published_timestamp_seconds ")).unwrap();
            line.split(' ').nth(1).unwrap().parse().unwrap()
        };
        let read = || {
            let text = std::fs::read_to_string(&path).unwrap();
            assert!(text.starts_with("# HELP a b") && text.ends_with("interval_seconds 0.02\n"), "{text}");
            at(&text)
        };
        publish(&path, Duration::from_millis(20), metrics).unwrap();
        let first = read();
        let begun = std::time::Instant::now();
        while read() <= first {
            assert!(begun.elapsed() < Duration::from_secs(30), "it is not written again");
        }
        assert_eq!(publishing(), Some((path.clone(), Duration::from_millis(20))));
        // What is wrong is told, and the other goes on.
        let none = folder.path().join("none/metrics.prom");
        assert!(publish(&none, Duration::from_secs(1), metrics).unwrap_err().message().contains("none"));
        assert!(publish(&path, Duration::ZERO, metrics).unwrap_err().message().contains("intervalMs"));
        assert!(publish(Path::new(""), Duration::from_secs(1), metrics).is_err());
        assert!(publish(folder.path(), Duration::from_secs(1), metrics).is_err());
        assert_eq!(publishing().unwrap().0, path);
        stop_publishing();
        let last = read();
        std::thread::sleep(Duration::from_millis(60));
        assert!(read() == last && publishing().is_none());
        let left: Vec<_> =
            std::fs::read_dir(folder.path()).unwrap().map(|f| f.unwrap().file_name()).collect();
        assert_eq!(left, ["metrics.prom"], "nothing but the file is left");
        stop_publishing();
    }
}
