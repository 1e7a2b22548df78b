//! The manager with kernels whose behaviour is known.

use super::*;
use crate::device::{DeviceChoice, open};
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicU32, Ordering};

/// A kernel that works for as long as it is told, and does what it is told.
struct Known {
    name: &'static str,
    spin: Duration,
    reference: bool,
    wrong: bool,
    fails: Option<Status>,
    memory: u64,
    version: u32,
    runs: AtomicU32,
}

fn known(name: &'static str, us: u64) -> Known {
    Known {
        name,
        spin: Duration::from_micros(us),
        reference: false,
        wrong: false,
        fails: None,
        memory: 0,
        version: 1,
        runs: AtomicU32::new(0),
    }
}

impl Candidate for Known {
    fn name(&self) -> &str {
        self.name
    }
    fn device(&self) -> DeviceId {
        DeviceId::CPU
    }
    fn describe(&self) -> Description {
        Description { version: self.version, threads: 1, ..Default::default() }
    }
    fn supports(&self, operation: QuantizationOperation, _: &TensorCharacteristics) -> bool {
        operation.kind == OperationKind::Quantize
    }
    fn is_reference(&self) -> bool {
        self.reference
    }
    fn memory(&self, _: QuantizationOperation, _: &TensorCharacteristics) -> u64 {
        self.memory
    }
    fn run(&self, work: &mut Work<'_>) -> Result<()> {
        self.runs.fetch_add(1, Ordering::Relaxed);
        if let Some(status) = self.fails {
            return Err(Error::new(status, "told to fail"));
        }
        let start = std::time::Instant::now();
        if let Work::Quantize { format, values, block, scales, codes } = work {
            plain::quantize(crate::ops::cpu::isa::Isa::Scalar, None, *format, values, *block, scales, codes)?;
            if self.wrong {
                codes[0] = if codes[0] == 0 { 1 } else { 0 };
            }
        }
        while start.elapsed() < self.spin {
            std::hint::spin_loop();
        }
        Ok(())
    }
}

fn manager(folder: Option<&std::path::Path>) -> DeviceAwareKernelManager {
    let mut inventory = DeviceInventory::default();
    inventory.add(open(DeviceChoice::Cpu).unwrap()).unwrap();
    let manager =
        DeviceAwareKernelManager::with(inventory, PerformanceCache::at(folder.map(|f| f.to_path_buf())));
    manager.set_measuring_time(Duration::from_millis(100));
    manager
}

const OPERATION: QuantizationOperation =
    QuantizationOperation { kind: OperationKind::Quantize, format: QuantizationFormat::I2S };

fn small() -> TensorCharacteristics {
    TensorCharacteristics::elements(256, 32)
}

fn all_free() -> PerformanceRequirements {
    PerformanceRequirements::default()
}

#[test]
fn the_faster_is_chosen_measured_once_and_remembered_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o700)).unwrap();
    let (slow, fast) = (Arc::new(known("slow", 9_000)), Arc::new(known("fast", 300)));
    let first = manager(Some(folder.path()));
    first.register(slow.clone()).unwrap();
    first.register(fast.clone()).unwrap();
    assert_eq!(first.register(fast.clone()).unwrap_err().status(), Status::AlreadyExists);
    let choice = first.select_optimal_kernel(OPERATION, &small(), &all_free()).unwrap();
    assert_eq!((choice.kernel.as_str(), choice.source), ("fast", Source::Measured));
    assert_eq!(choice.ranking.iter().map(|r| r.name.as_str()).collect::<Vec<_>>(), ["fast", "slow"]);
    assert!(choice.seconds.unwrap() > 2.9e-4, "{:?}", choice.seconds);
    let runs = || slow.runs.load(Ordering::Relaxed) + fast.runs.load(Ordering::Relaxed);
    let before = runs();
    let choice = first.select_optimal_kernel(OPERATION, &small(), &all_free()).unwrap();
    assert_eq!((choice.kernel.as_str(), choice.source, runs()), ("fast", Source::Memory, before));
    assert!(first.describe(OPERATION, &small()).lines().count() == 2);

    // Another process of the same user: nothing is measured.
    let second = manager(Some(folder.path()));
    second.register(slow.clone()).unwrap();
    second.register(fast.clone()).unwrap();
    let choice = second.select_optimal_kernel(OPERATION, &small(), &all_free()).unwrap();
    assert_eq!((choice.kernel.as_str(), choice.source, runs()), ("fast", Source::Disk, before));
    // Another size, or another version of a kernel, is measured.
    let large = TensorCharacteristics::elements(1024, 32);
    let choice = second.select_optimal_kernel(OPERATION, &large, &all_free()).unwrap();
    assert!(choice.source == Source::Measured && runs() > before);
    let third = manager(Some(folder.path()));
    third.register(slow.clone()).unwrap();
    third.register(Arc::new(Known { version: 2, ..known("fast", 300) })).unwrap();
    let choice = third.select_optimal_kernel(OPERATION, &small(), &all_free()).unwrap();
    assert_eq!(choice.source, Source::Measured);
    assert!(third.cache().notes().is_empty(), "{:?}", third.cache().notes());
    third.forget_measurements();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_hostile_file_is_ignored_with_a_note() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o700)).unwrap();
    let choose = || {
        let manager = manager(Some(folder.path()));
        manager.register(Arc::new(known("slow", 9_000))).unwrap();
        manager.register(Arc::new(known("fast", 300))).unwrap();
        let choice = manager.select_optimal_kernel(OPERATION, &small(), &all_free()).unwrap();
        (choice.kernel, choice.source, manager.cache().notes())
    };
    choose();
    let path = std::fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
    let good = std::fs::read_to_string(&path).unwrap();
    for bad in
        ["", "{}", "[1,2", &good.replace("slow", "fast"), &"[".repeat(100_000), &good[..good.len() / 2]]
    {
        std::fs::write(&path, bad).unwrap();
        let (kernel, source, notes) = choose();
        assert_eq!((kernel.as_str(), source, notes.len()), ("fast", Source::Measured, 1), "{notes:?}");
    }
    // It is written anew and serves again.
    assert_eq!(choose().1, Source::Disk);
    // Well made by somebody who means harm: figures that cannot be are measured again, wrong ones only cost time.
    let json = |line| serde_json::from_str::<serde_json::Value>(good.lines().nth(line).unwrap()).unwrap();
    let (head, body) = (json(0), json(1));
    let (kind, key) = (head["kind"].as_str().unwrap(), head["key"].as_str().unwrap());
    for seconds in ["-1", "0", "1e300", "null", "[]"] {
        let seconds: serde_json::Value = serde_json::from_str(seconds).unwrap();
        let mut body = body.clone();
        for class in body.as_object_mut().unwrap().values_mut() {
            class["slow"]["seconds"] = seconds.clone();
        }
        files::write(&path, kind, key, body).unwrap();
        let (kernel, source, _) = choose();
        assert_eq!((kernel.as_str(), source), ("fast", Source::Measured), "{seconds}");
    }
}

#[test]
fn accuracy_and_memory_take_part() {
    let manager = manager(None);
    manager.register(Arc::new(Known { reference: true, memory: 100, ..known("exact", 9_000) })).unwrap();
    manager.register(Arc::new(Known { wrong: true, ..known("wrong", 100) })).unwrap();
    let choose = |wanted| manager.select_optimal_kernel(OPERATION, &small(), &wanted).map(|c| c.kernel);
    assert_eq!(choose(all_free()).unwrap(), "wrong");
    assert_eq!(choose(PerformanceRequirements { max_error: Some(1e-6), ..all_free() }).unwrap(), "exact");
    let both = PerformanceRequirements { max_error: Some(1e-6), max_memory: Some(99), ..all_free() };
    assert!(choose(both).unwrap_err().advice().unwrap().contains("100"));
    // And a kernel that is wrong is found out when its codes are looked at.
    let values = sample(1, 256);
    let tensors = [Tensor { values: &values, block: 32 }];
    let e =
        manager.execute_quantization_optimized(&tensors, QuantizationFormat::I2S, all_free()).err().unwrap();
    assert!(e.status() == Status::Internal && e.message().contains("wrong"), "{e}");
}

#[test]
fn an_override_wins_and_a_wrong_one_says_what_there_is() {
    let manager = manager(None);
    manager.register(Arc::new(known("slow", 9_000))).unwrap();
    manager.register(Arc::new(known("fast", 100))).unwrap();
    let choose = || manager.select_optimal_kernel(OPERATION, &small(), &all_free());
    manager.set_overrides("quantize=slow@cpu:0, gemv=none").unwrap();
    let choice = choose().unwrap();
    assert_eq!((choice.kernel.as_str(), choice.source), ("slow", Source::Override));
    manager.set_override(OperationKind::Quantize, Some("slow@cuda:0")).unwrap();
    let e = choose().err().unwrap();
    assert!(e.status() == Status::NotFound && e.advice().unwrap().contains("slow, fast"), "{e}");
    manager.set_override(OperationKind::Quantize, None).unwrap();
    assert_eq!(choose().unwrap().kernel, "fast");
    for bad in ["quantize", "sort=x", "quantize="] {
        assert!(manager.set_overrides(bad).is_err(), "{bad}");
    }
}

#[test]
fn the_next_one_does_it_when_the_chosen_one_fails() {
    let manager = Arc::new(manager(None));
    manager.register(Arc::new(known("slow", 9_000))).unwrap();
    manager.register(Arc::new(Known { fails: Some(Status::Driver), ..known("broken", 10) })).unwrap();
    // Broken while it is measured: not chosen.
    let choice = manager.select_optimal_kernel(OPERATION, &small(), &all_free()).unwrap();
    assert_eq!(choice.kernel, "slow");
    // Broken later.
    manager.set_override(OperationKind::Quantize, Some("broken")).unwrap();
    let tensors = vec![OwnedTensor { values: sample(1, 256), block: 32 }];
    let run = || {
        let pending = manager.execute_in_background(tensors.clone(), QuantizationFormat::I2S, all_free());
        pending.unwrap().wait()
    };
    manager.set_fallback(FallbackConfiguration { enabled: false, ..Default::default() });
    assert_eq!(run().err().unwrap().status(), Status::Driver);
    manager.reinstate();
    manager.set_fallback(FallbackConfiguration::default());
    let result = run().unwrap();
    let done = &result.quantization_result[0];
    assert_eq!((done.executed.kernel.as_str(), done.executed.failed.len()), ("slow", 1));
    assert!(result.validation_result.is_right() && result.validation_result.checked == 256);
    assert_eq!(manager.failing().len(), 1);
    // A wrong argument is nobody's failure.
    let nan = vec![OwnedTensor { values: vec![f32::NAN; 64], block: 32 }];
    manager.set_override(OperationKind::Quantize, None).unwrap();
    let pending = manager.execute_in_background(nan, QuantizationFormat::I2S, all_free()).unwrap();
    assert_eq!(pending.wait().err().unwrap().status(), Status::InvalidArgument);
    assert_eq!(manager.failing().len(), 1);
}

#[test]
fn what_is_found_here_quantizes() {
    let manager =
        DeviceAwareKernelManager::with(DeviceInventory::detect().unwrap(), PerformanceCache::at(None));
    let host = manager.inventory().get(DeviceId::CPU).unwrap().clone();
    assert!(!host.levels.is_empty() && host.identity().contains(env!("CARGO_PKG_VERSION")));
    for kernel in Plain::all(&host.device, &host.levels).unwrap() {
        manager.register(Arc::new(kernel)).unwrap();
    }
    let (a, b) = (sample(1, 10_000), sample(2, 100));
    let tensors =
        [Tensor { values: &a, block: 32 }, Tensor { values: &b, block: 0 }, Tensor { values: &[], block: 0 }];
    for format in [QuantizationFormat::I2S, QuantizationFormat::Ternary] {
        let result = manager.execute_quantization_optimized(&tensors, format, all_free()).unwrap();
        assert!(result.validation_result.is_right());
        let sizes: Vec<_> =
            result.quantization_result.iter().map(|t| (t.codes.len(), t.scales.len())).collect();
        assert_eq!(sizes, [(10_000, 313), (100, 1), (0, 0)]);
        assert!(result.performance_achieved.items_per_second > 0.0);
        assert_eq!(result.kernel_selection.ranking[0].error, Some(0.0));
    }
    // Nobody multiplies yet.
    let gemv = QuantizationOperation::of(OperationKind::Gemv, QuantizationFormat::Ternary);
    let shape = TensorCharacteristics::matrix(64, 64, 1);
    assert_eq!(
        manager.select_optimal_kernel(gemv, &shape, &all_free()).err().unwrap().status(),
        Status::Unsupported
    );
}
