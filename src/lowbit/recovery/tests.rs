//! Each strategy of the CPU, provoked, and the result compared with that of the plain formula.

use super::*;
use crate::lowbit::selection::{Features, QuantizationFormat, plain, sample, scale_count};

const FORMAT: QuantizationFormat = QuantizationFormat::I2S;

fn right(values: &[f32]) -> (Vec<f32>, Vec<i8>) {
    let (mut scales, mut codes) = (vec![0.0; scale_count(values.len(), 32)], vec![0; values.len()]);
    plain::quantize(Isa::Scalar, None, FORMAT, values, 32, &mut scales, &mut codes).unwrap();
    (scales, codes)
}

fn assert_right(operation: &Quantize<'_>, values: &[f32]) {
    let (scales, codes) = right(values);
    assert_eq!(operation.result().0, scales);
    assert_eq!(operation.result().1, codes);
}

fn only(strategy: CpuRecoveryStrategy) -> Vec<RecoveryStrategy> {
    vec![RecoveryStrategy::Cpu(strategy)]
}

/// An operation with a fault in it: fails as it is told, else quantizes.
struct Faulty<'a, F> {
    inner: Quantize<'a>,
    fault: F,
    spoiled: Option<f32>,
}

impl<F: FnMut(&Parameters) -> Option<KernelError>> Operation for Faulty<'_, F> {
    fn name(&self) -> &str {
        "faulty"
    }
    fn items(&self) -> u64 {
        self.inner.items()
    }
    fn run(&mut self, parameters: &Parameters) -> std::result::Result<(), KernelError> {
        if let Some(error) = (self.fault)(parameters) {
            return Err(error);
        }
        self.inner.run(parameters)?;
        Ok(())
    }
    fn output(&self) -> Option<&[f32]> {
        self.inner.output()
    }
    fn reference(&self, at: usize) -> Option<f32> {
        self.spoiled.or_else(|| self.inner.reference(at))
    }
}

#[test]
fn nothing_happens_when_nothing_fails() {
    let (handler, values) = (KernelErrorHandler::new(), sample(1, 5000));
    let mut operation = Quantize::new(FORMAT, &values, 32);
    let mut context = ExecutionContext::new(&mut operation, Parameters::cpu(2));
    assert!(handler.execute(&mut context).unwrap().is_none());
    assert_right(&operation, &values);
    assert!(handler.history().is_empty() && handler.statistics().executions == 1);
}

#[test]
fn a_level_that_the_processor_lacks_is_lowered() {
    let (handler, values) = (KernelErrorHandler::new(), sample(1, 5000));
    // As a processor would be that has nothing above AVX2, and one with nothing at all.
    for (features, level, steps) in
        [(Features::required(Isa::Avx2), Isa::Avx2, 2), (Features::default(), Isa::Scalar, 3)]
    {
        if level.checked().is_err() {
            continue;
        }
        let mut operation = Quantize::new(FORMAT, &values, 32);
        let parameters = Parameters { level: Isa::Avx512Vnni, features, ..Parameters::cpu(1) };
        let mut context = ExecutionContext::new(&mut operation, parameters);
        let done = handler.execute(&mut context).unwrap().unwrap();
        assert_eq!(done.steps, vec![RecoveryStrategy::Cpu(CpuRecoveryStrategy::ReduceSIMDLevel); steps]);
        assert_eq!(done.parameters.level, level);
        assert_eq!(done.diagnostics.get("level"), Some("avx512-vnni"));
        assert!(done.recommendations[0].contains(level.name()), "{:?}", done.recommendations);
        assert_right(&operation, &values);
    }
}

#[test]
fn data_at_odd_addresses_is_copied() {
    let (handler, values) = (KernelErrorHandler::new(), Aligned::copy(&sample(1, 5001)).unwrap());
    assert!((values.values().as_ptr() as usize).is_multiple_of(ALIGNMENT));
    let odd = &values.values()[1..];
    let mut operation = Quantize::new(FORMAT, odd, 32).with_alignment();
    let mut context = ExecutionContext::new(&mut operation, Parameters::cpu(1));
    let done = handler.execute(&mut context).unwrap().unwrap();
    assert_eq!(done.steps, only(CpuRecoveryStrategy::MemoryRealignment));
    assert!(done.parameters.aligned);
    assert_right(&operation, odd);
}

#[test]
fn threads_that_the_system_does_not_give_are_done_without() {
    let (handler, values) = (KernelErrorHandler::new(), sample(1, 5000));
    for shortage in [Status::Io, Status::OutOfMemory] {
        let fault = |p: &Parameters| {
            let refused = || KernelError::of(DeviceChoice::Cpu, Error::new(shortage, "no more threads"));
            (p.threads > 2).then(refused)
        };
        let mut operation = Faulty { inner: Quantize::new(FORMAT, &values, 32), fault, spoiled: None };
        let mut context = ExecutionContext::new(&mut operation, Parameters::cpu(8));
        let done = handler.execute(&mut context).unwrap().unwrap();
        let reduce = RecoveryStrategy::Cpu(CpuRecoveryStrategy::ThreadCountReduction);
        assert_eq!((done.steps, done.parameters.threads), (vec![reduce; 2], 2));
        assert_right(&operation.inner, &values);
    }
    let s = handler.statistics();
    assert_eq!((s.failures, s.recovered, s.given_up), (4, 2, 0));
    assert_eq!(s.by_strategy["thread_count_reduction"], (4, 2));
    assert_eq!((s.by_fault["cpu.threads"], s.by_fault["cpu.memory"]), (2, 2));
}

#[test]
fn a_panic_and_wrong_numbers_go_to_the_scalar_code() {
    let (handler, values) = (KernelErrorHandler::new(), sample(1, 5000));
    let fault = |p: &Parameters| {
        assert!(p.level == Isa::Scalar && p.threads == 1, "planted");
        None
    };
    let mut operation = Faulty { inner: Quantize::new(FORMAT, &values, 32), fault, spoiled: None };
    // Whatever this processor has.
    let parameters = Parameters { threads: 2, ..Parameters::cpu(2) };
    let mut context = ExecutionContext::new(&mut operation, parameters);
    let done = handler.execute(&mut context).unwrap().unwrap();
    assert_eq!(done.steps, only(CpuRecoveryStrategy::FallbackToScalar));
    assert_right(&operation.inner, &values);
    assert!(handler.history()[0].error.error().message().contains("planted"));

    // A level that gives NaN: seen once the check is on.
    struct Nan<'a>(Quantize<'a>, Vec<f32>);
    impl Operation for Nan<'_> {
        fn name(&self) -> &str {
            "nan"
        }
        fn items(&self) -> u64 {
            self.0.items()
        }
        fn run(&mut self, p: &Parameters) -> std::result::Result<(), KernelError> {
            self.0.run(p)?;
            self.1 = self.0.result().0.to_vec();
            if p.threads > 1 {
                self.1[7] = f32::NAN;
            }
            Ok(())
        }
        fn output(&self) -> Option<&[f32]> {
            Some(&self.1)
        }
        fn reference(&self, at: usize) -> Option<f32> {
            self.0.reference(at)
        }
    }
    let mut operation = Nan(Quantize::new(FORMAT, &values, 32), vec![]);
    let mut context = ExecutionContext::new(&mut operation, parameters);
    assert!(handler.execute(&mut context).unwrap().is_none(), "checks are off at first");
    handler.set_checks(NumericalChecks::all(0.0));
    let mut context = ExecutionContext::new(&mut operation, parameters);
    let done = handler.execute(&mut context).unwrap().unwrap();
    assert_eq!(done.steps, only(CpuRecoveryStrategy::FallbackToScalar));
    assert_eq!(operation.1, right(&values).0);
}

#[test]
fn what_nothing_helps_against_is_said() {
    let handler = KernelErrorHandler::new();
    // The caller's fault: no step.
    let values = [1.0, f32::NAN];
    let mut operation = Quantize::new(FORMAT, &values, 32);
    let mut context = ExecutionContext::new(&mut operation, Parameters::cpu(2));
    let e = handler.execute(&mut context).unwrap_err();
    assert!(e.status() == Status::InvalidArgument && e.message().contains("number 1"), "{e}");
    // A reference that nothing reaches: the scalar code was tried, too.
    let values = sample(1, 5000);
    handler.set_checks(NumericalChecks::all(1e-6));
    let inner = Quantize::new(FORMAT, &values, 32);
    let mut operation = Faulty { inner, fault: |_: &Parameters| None, spoiled: Some(77.0) };
    let mut context = ExecutionContext::new(&mut operation, Parameters { threads: 2, ..Parameters::cpu(2) });
    let e = handler.execute(&mut context).unwrap_err();
    assert!(e.status() == Status::Internal && e.advice().unwrap().contains("fallback_to_scalar"), "{e}");
    handler.set_checks(NumericalChecks::default());
    // No end of failures: the steps are bounded.
    let fault = |_: &Parameters| Some(KernelError::of(DeviceChoice::Cpu, Error::new(Status::Io, "none")));
    let mut operation = Faulty { inner: Quantize::new(FORMAT, &values, 32), fault, spoiled: None };
    handler.set_configuration(RecoveryConfiguration { most_steps: 3, ..Default::default() });
    let mut context = ExecutionContext::new(&mut operation, Parameters::cpu(1 << 20));
    assert!(handler.execute(&mut context).is_err());
    assert_eq!(context.parameters.threads, 1 << 17);
    let s = handler.statistics();
    assert_eq!((s.executions, s.given_up, s.recovered), (3, 3, 0));
    // The history is bounded.
    for _ in 0..MOST_ERRORS {
        let mut context = ExecutionContext::new(&mut operation, Parameters::cpu(1));
        assert!(handler.execute(&mut context).is_err());
    }
    let history = handler.history();
    assert_eq!(history.len(), MOST_ERRORS);
    assert_eq!(history[0].sequence, handler.statistics().failures);
}

#[test]
fn work_without_a_gpu_kernel_goes_to_the_cpu() {
    let (handler, values) = (KernelErrorHandler::new(), sample(1, 5000));
    let mut operation = Quantize::new(FORMAT, &values, 32);
    let mut context = ExecutionContext::new(&mut operation, Parameters::cuda(0, 2));
    let done = handler.execute(&mut context).unwrap().unwrap();
    assert_eq!(done.steps, [RecoveryStrategy::Cuda(CudaRecoveryStrategy::FallbackToCPU)]);
    assert_right(&operation, &values);
    handler.set_configuration(RecoveryConfiguration { fall_back_to_cpu: false, ..Default::default() });
    let mut context = ExecutionContext::new(&mut operation, Parameters::cuda(0, 2));
    assert_eq!(handler.execute(&mut context).unwrap_err().status(), Status::Unsupported);
}
