//! The monitor with executions whose times are known, and with real ones.

use super::statistic::tests::random;
use super::*;
use std::os::unix::fs::PermissionsExt;
use std::time::UNIX_EPOCH;

fn at(second: u64, seconds: f64) -> ExecutionMetrics {
    ExecutionMetrics {
        begun: UNIX_EPOCH + Duration::from_secs(second),
        elapsed: Duration::from_secs_f64(seconds),
        succeeded: true,
        facts: ExecutionFacts::default(),
        usage: Usage { cpu_seconds: seconds, ..Default::default() },
    }
}

fn monitor() -> KernelPerformanceMonitor {
    KernelPerformanceMonitor::new(RegressionConfiguration::default()).unwrap()
}

#[test]
fn a_planted_regression_is_told_once_a_window_and_ends() {
    let (monitor, id, mut next) = (monitor(), KernelId::new("gemv/avx2", "4096x4096"), random(2));
    let mut noise = move || 1.0 + 0.02 * next();
    let mut second = 0;
    let mut feed = |count: u64, scale: f64| -> Vec<RegressionAnalysis> {
        (0..count)
            .map(|_| {
                second += 1;
                monitor.record(&id, at(second, 1e-3 * scale * noise())).0
            })
            .collect()
    };
    let first = feed(64, 1.0);
    assert_eq!(first[63], RegressionAnalysis::Establishing { have: 64, need: 64 });
    let usual = feed(200, 1.0);
    assert_eq!(usual.iter().filter(|a| matches!(a, RegressionAnalysis::Judged { .. })).count(), 10);
    assert!(!usual.iter().any(RegressionAnalysis::is_regression), "nothing was planted");
    let slower = feed(40, 1.1);
    assert_eq!(slower.iter().filter(|a| a.is_regression()).count(), 2);
    assert!(slower[19].is_regression(), "{:?}", slower[19]);
    let report = monitor.generate_performance_report(TimeRange::all());
    assert_eq!((report.overall_health, report.regressions.len()), (Health::Regressed, 2));
    assert!((report.regressions[0].ratio - 1.1).abs() < 0.01);
    // Before it began there was none.
    let to = UNIX_EPOCH + Duration::from_secs(264);
    let before = monitor.generate_performance_report(TimeRange { from: UNIX_EPOCH, to });
    assert_eq!((before.regressions.len(), before.kernels[0].executions), (0, 264));
    feed(20, 1.0);
    let report = monitor.generate_performance_report(TimeRange::all());
    assert_ne!(report.overall_health, Health::Regressed);
    // Slower on purpose: the new baseline is what it is now.
    feed(64, 1.5);
    monitor.establish_baseline(&id).unwrap();
    assert!(!feed(20, 1.5)[19].is_regression());
    assert!(feed(20, 1.7)[19].is_regression());
    assert!(monitor.establish_baseline(&KernelId::new("x", "")).is_err());
}

#[test]
fn history_is_bounded() {
    let monitor = monitor();
    for second in 0..3000 {
        monitor.record(&KernelId::new("a", "1"), at(second, 1e-3));
    }
    assert_eq!(monitor.history(&KernelId::new("a", "1"), TimeRange::all()).len(), MOST_EXECUTIONS);
    for n in 0..2 * MOST_SERIES as u64 {
        monitor.record(&KernelId::new("b", n.to_string()), at(5000 + n, 1e-3));
    }
    let report = monitor.generate_performance_report(TimeRange::all());
    assert_eq!(report.kernels.len(), MOST_SERIES);
    assert!(report.kernels.iter().all(|k| k.id.kernel == "b"), "what was quiet for longest went");
}

#[test]
fn reports_hold_trends_failures_and_valid_json() {
    let (monitor, id) = (monitor(), KernelId::new("dequantize \"x\"", "n\n1"));
    let mut next = random(8);
    for second in 0..60 {
        let grows = 1e-3 + 1e-5 * second as f64 + 1e-5 * next();
        monitor.record(&id, at(second, grows));
    }
    let failing = KernelId::new("gemm", "2");
    for second in 0..10 {
        monitor.record(&failing, ExecutionMetrics { succeeded: second < 2, ..at(second, 1e-3) });
    }
    let report = monitor.generate_performance_report(TimeRange::all());
    let (k, f) = (&report.kernels[0], &report.kernels[1]);
    let t = k.trend.unwrap();
    assert!((t.slope - 1e-5).abs() < 3.0 * t.standard_error && t.is_significant(), "{t:?}");
    assert_eq!(
        (k.health, f.health, report.overall_health),
        (Health::Watch, Health::Failing, Health::Failing)
    );
    let json: serde_json::Value = serde_json::from_str(&report.to_json()).unwrap();
    assert_eq!(json["kernels"][0]["kernel"], "dequantize \"x\"");
    assert_eq!(json["kernels"][1]["failures"], 8);
    assert_eq!(json["kernels"][1]["recommendations"][0]["kind"], "failing");
    assert_eq!(json["kernels"][0]["trend"]["significant"], true);
    let text = report.to_text();
    assert!(text.contains("trend +") && text.contains("failing"), "{text}");
    let empty = monitor.generate_performance_report(TimeRange { from: UNIX_EPOCH, to: UNIX_EPOCH });
    assert_eq!(empty.kernels.len(), 2, "both began in this second");
}

#[test]
fn real_executions_are_measured_and_errors_come_through() {
    let (monitor, id) = (monitor(), KernelId::new("spin", "1 ms"));
    let facts =
        ExecutionFacts { bytes: Some(1000), bytes_ceiling: Some(1e9), threads: 1, ..Default::default() };
    let done = monitor
        .monitor_kernel_execution(&id, facts, || {
            let start = Instant::now();
            while start.elapsed() < Duration::from_millis(1) {
                std::hint::spin_loop();
            }
            Ok(7)
        })
        .unwrap();
    assert_eq!(done.kernel_result, 7);
    assert!(done.execution_metrics.elapsed >= Duration::from_millis(1));
    assert!(done.execution_metrics.usage.cpu_seconds > 1e-5);
    assert!(done.execution_metrics.of_bytes_ceiling().unwrap() <= 1e-3);
    let failed = monitor.monitor_kernel_execution(&id, facts, || Err::<(), _>(Error::unsupported("no")));
    assert_eq!(failed.unwrap_err().status(), crate::Status::Unsupported);
    let all = monitor.history(&id, TimeRange::last(Duration::from_secs(60)));
    assert_eq!(all.iter().map(|m| m.succeeded).collect::<Vec<_>>(), [true, false]);
    assert!(monitor.overhead() < Duration::from_millis(5), "{:?}", monitor.overhead());
}

#[test]
fn baselines_are_kept_for_the_next_process() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o700)).unwrap();
    let path = folder.path().join("b.json");
    let open = || {
        KernelPerformanceMonitor::with_file(RegressionConfiguration::default(), &path, "this machine")
            .unwrap()
    };
    let (first, id) = (open(), KernelId::new("k", "1"));
    let mut next = random(4);
    for second in 0..64 {
        first.record(&id, at(second, 1e-3 * (1.0 + 0.01 * next())));
    }
    first.save_baselines().unwrap();
    let second = open();
    let slower: Vec<_> =
        (0..20).map(|s| second.record(&id, at(s, 1.2e-3 * (1.0 + 0.01 * next()))).0).collect();
    assert!(slower[19].is_regression(), "{:?}", slower[19]);
    std::fs::write(&path, "{").unwrap();
    let third = open();
    assert!(third.notes().len() == 1 && third.baselines().ids().count() == 0);
    assert!(monitor().save_baselines().is_err());
}

#[test]
fn configurations_that_cannot_be_worked_with_are_refused() {
    let good = RegressionConfiguration::default();
    for bad in [
        RegressionConfiguration { baseline: 7, ..good },
        RegressionConfiguration { window: 0, ..good },
        RegressionConfiguration { significance: 0.0, ..good },
        RegressionConfiguration { significance: f64::NAN, ..good },
        RegressionConfiguration { effect: -1.0, ..good },
    ] {
        assert!(KernelPerformanceMonitor::new(bad).is_err(), "{bad:?}");
    }
}
