//! Kernels that fail on a GPU, by faults injected into the mock driver: each strategy acts, and the operation's result is
//! right afterwards. These say nothing about a real GPU's answers.
#![cfg(feature = "cuda")]

mod mock_driver;

use cogniware::device::cuda::{CudaDevice, CudaStream, Module};
use cogniware::device::{self, Device, DeviceChoice};
use cogniware::lowbit::recovery::{
    CudaRecoveryStrategy as Strategy, ExecutionContext, KernelError, KernelErrorHandler, Operation,
    Parameters, RecoveryConfiguration, RecoveryStrategy,
};
use cogniware::{Error, Result, Status};
use mock_driver::{IMAGE, Mock};
use std::ffi::c_void;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// The driver of this process is the mock, and one test at a time plays with it.
fn mock() -> (&'static Mock, MutexGuard<'static, ()>) {
    static MOCK: OnceLock<Mock> = OnceLock::new();
    static ONE: Mutex<()> = Mutex::new(());
    let one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mock = MOCK.get_or_init(|| {
        let mock = Mock::new();
        // SAFETY: the first thing that the first test does, while the others wait.
        unsafe {
            std::env::set_var("COGNIWARE_LIBCUDA", mock.path());
            std::env::set_var("COGNIWARE_DEVICE", "cuda");
            std::env::remove_var("COGNIWARE_FALLBACK");
            std::env::remove_var("COGNIWARE_RECOVER");
        }
        mock
    });
    mock.fail("");
    (mock, one)
}

/// Words that a kernel sets, by launches of a part at a time, each with memory of that size.
struct Fill {
    words: Vec<u32>,
    value: u32,
    /// Threads of each launch, and its words.
    launches: Vec<(u32, u64)>,
    /// A block of more threads is refused by the driver.
    most_threads: u32,
    /// Launches of more words are.
    most_words: u64,
}

impl Fill {
    fn new(count: usize) -> Fill {
        Fill {
            words: vec![0; count],
            value: 0xabcd_0123,
            launches: vec![],
            most_threads: 1024,
            most_words: u64::MAX,
        }
    }

    fn on_gpu(&mut self, p: &Parameters, mock: Option<&Mock>) -> Result<()> {
        let opened = device::open(p.device)?;
        let device = CudaDevice::of(&*opened, "device")?;
        let stream = device.node_create(&[0])?.stream_create(0)?;
        let kernel = Module::load(device, IMAGE)?.function("mock_fill")?;
        let part = p.launch.at_once(self.items()) as usize;
        for words in self.words.chunks_mut(part) {
            let bytes = words.len() as u64 * 4;
            if let Some(mock) = mock {
                // What this driver refuses at this size.
                if p.launch.block_threads > self.most_threads {
                    mock.fail("cuLaunchKernel:1:701");
                } else if words.len() as u64 > self.most_words {
                    mock.fail("cuMemAlloc_v2:1:2");
                } else {
                    mock.fail("");
                }
            }
            let address = opened.plain_alloc(bytes)?;
            let mut run = || -> Result<()> {
                let (mut at, mut value, mut count) = (address, self.value, words.len() as u32);
                let mut args: [*mut c_void; 3] =
                    [(&raw mut at).cast(), (&raw mut value).cast(), (&raw mut count).cast()];
                let own = CudaStream::of(stream.as_ref(), "stream")?;
                let blocks = count.div_ceil(p.launch.block_threads);
                // SAFETY: an address, a value and a count, as the kernel has them; waited for below.
                unsafe { kernel.launch(own, [blocks, 1, 1], [p.launch.block_threads, 1, 1], 0, &mut args)? };
                stream.synchronize()?;
                // SAFETY: the words of this part, read as bytes.
                let out = unsafe {
                    std::slice::from_raw_parts_mut(words.as_mut_ptr().cast::<u8>(), words.len() * 4)
                };
                opened.read(out, address)
            };
            let ran = run();
            // A lost device's went with it.
            let freed = opened.plain_free(address, bytes);
            ran?;
            freed?;
            self.launches.push((p.launch.block_threads, words.len() as u64));
        }
        Ok(())
    }
}

/// The operation, and the driver that is told what to refuse.
struct On<'a>(Fill, Option<&'a Mock>);

impl Operation for On<'_> {
    fn name(&self) -> &str {
        "fill"
    }
    fn items(&self) -> u64 {
        self.0.items()
    }
    fn run(&mut self, p: &Parameters) -> std::result::Result<(), KernelError> {
        let (fill, mock) = (&mut self.0, self.1);
        fill.words.fill(0);
        fill.launches.clear();
        if p.device == DeviceChoice::Cpu {
            fill.words.fill(fill.value);
            return Ok(());
        }
        fill.on_gpu(p, mock).map_err(|e| KernelError::of(p.device, e))
    }
}

impl Fill {
    fn items(&self) -> u64 {
        self.words.len() as u64
    }

    fn assert_right(&self) {
        assert!(self.words.iter().all(|w| *w == self.value));
    }
}

fn cuda(all: &[Strategy]) -> Vec<RecoveryStrategy> {
    all.iter().map(|s| RecoveryStrategy::Cuda(*s)).collect()
}

#[test]
fn a_gpu_that_works_is_left_alone() {
    let (mock, _one) = mock();
    let handler = KernelErrorHandler::new();
    let mut fill = On(Fill::new(10_000), None);
    let done = handler.execute(&mut ExecutionContext::new(&mut fill, Parameters::cuda(0, 1))).unwrap();
    assert!(done.is_none());
    fill.0.assert_right();
    assert_eq!(fill.0.launches, [(256, 10_000)]);
    assert_eq!(mock.violations(), 0);
}

#[test]
fn a_lost_context_is_made_anew_and_the_result_is_right() {
    let (mock, _one) = mock();
    let handler = KernelErrorHandler::new();
    for (code, strategy) in [
        (700, Strategy::ContextRecreate),
        (719, Strategy::ContextRecreate),
        (214, Strategy::DeviceReset),
        (702, Strategy::DeviceReset),
    ] {
        let before = device::open(DeviceChoice::Cuda(0)).unwrap();
        let mut fill = On(Fill::new(10_000), None);
        mock.fail(&format!("cuStreamSynchronize:1:{code}"));
        let mut context = ExecutionContext::new(&mut fill, Parameters::cuda(0, 1));
        let done = handler.execute(&mut context).unwrap().unwrap();
        assert_eq!(done.steps, cuda(&[strategy]), "{code}");
        assert_eq!(done.diagnostics.get("driver_code"), Some(code.to_string().as_str()));
        assert_eq!(done.diagnostics.get("lost"), Some("true"));
        fill.0.assert_right();
        assert_eq!(fill.0.launches.len(), 1, "on the GPU");
        assert!(before.is_lost() && !device::open(DeviceChoice::Cuda(0)).unwrap().is_lost());
    }
    assert_eq!(mock.violations(), 0);
}

#[test]
fn a_launch_that_is_too_large_is_made_smaller() {
    let (mock, _one) = mock();
    let handler = KernelErrorHandler::new();
    let mut fill = On(Fill { most_threads: 64, ..Fill::new(10_000) }, Some(mock));
    let mut context = ExecutionContext::new(&mut fill, Parameters::cuda(0, 1));
    let done = handler.execute(&mut context).unwrap().unwrap();
    assert_eq!(done.steps, cuda(&[Strategy::RetryWithReducedParameters; 2]));
    fill.0.assert_right();
    assert_eq!(fill.0.launches, [(64, 10_000)]);
    assert_eq!(done.diagnostics.get("block_threads"), Some("256"));
    assert!(done.recommendations[0].contains("64 threads"), "{:?}", done.recommendations);
    mock.fail("");
    assert_eq!(mock.violations(), 0);
}

#[test]
fn memory_that_runs_out_is_used_in_smaller_parts() {
    let (mock, _one) = mock();
    let handler = KernelErrorHandler::new();
    let mut fill = On(Fill { most_words: 3000, ..Fill::new(10_000) }, Some(mock));
    let mut context = ExecutionContext::new(&mut fill, Parameters::cuda(0, 1));
    let done = handler.execute(&mut context).unwrap().unwrap();
    assert_eq!(done.steps, cuda(&[Strategy::RetryWithReducedParameters; 2]));
    fill.0.assert_right();
    assert_eq!(fill.0.launches, [(256, 2500); 4]);
    mock.fail("");
    // Never enough: the CPU does it.
    let mut fill = On(Fill { most_words: 0, ..Fill::new(10_000) }, Some(mock));
    let mut context = ExecutionContext::new(&mut fill, Parameters::cuda(0, 1));
    let done = handler.execute(&mut context).unwrap().unwrap();
    let mut steps = vec![Strategy::RetryWithReducedParameters; 4];
    steps.push(Strategy::FallbackToCPU);
    assert_eq!(done.steps, cuda(&steps));
    assert!(fill.0.launches.is_empty());
    fill.0.assert_right();
    mock.fail("");
    assert_eq!(mock.violations(), 0);
}

#[test]
fn the_cpu_does_it_when_the_gpu_cannot() {
    let (mock, _one) = mock();
    let handler = KernelErrorHandler::new();
    // No code for this GPU.
    mock.fail("cuModuleLoadData:-1:209,cuModuleLoadDataEx:-1:209");
    let mut fill = On(Fill::new(10_000), None);
    let mut context = ExecutionContext::new(&mut fill, Parameters::cuda(0, 1));
    let done = handler.execute(&mut context).unwrap().unwrap();
    assert_eq!(done.steps, cuda(&[Strategy::FallbackToCPU]));
    assert_eq!(done.parameters.device, DeviceChoice::Cpu);
    fill.0.assert_right();
    // No such GPU.
    mock.fail("");
    let mut context = ExecutionContext::new(&mut fill, Parameters::cuda(7, 1));
    assert_eq!(handler.execute(&mut context).unwrap().unwrap().steps, cuda(&[Strategy::FallbackToCPU]));
    fill.0.assert_right();
    // A lost context, and a driver that gives no new one.
    mock.fail("cuStreamSynchronize:1:700,cuDevicePrimaryCtxReset_v2:-1:800");
    let mut context = ExecutionContext::new(&mut fill, Parameters::cuda(0, 1));
    let done = handler.execute(&mut context).unwrap().unwrap();
    assert_eq!(done.steps, cuda(&[Strategy::ContextRecreate, Strategy::FallbackToCPU]));
    fill.0.assert_right();
    mock.fail("");
    device::recover_choice(DeviceChoice::Cuda(0)).unwrap();
    let s = handler.statistics();
    assert_eq!((s.executions, s.recovered, s.given_up), (3, 3, 0));
    assert_eq!(s.by_strategy["fallback_to_cpu"], (3, 3));
    assert_eq!(s.by_strategy["context_recreate"], (1, 0));
}

#[test]
fn what_is_not_allowed_or_nobodys_fault_is_an_error() {
    let (mock, _one) = mock();
    let handler = KernelErrorHandler::new();
    let strict = RecoveryConfiguration { rebuild: false, fall_back_to_cpu: false, ..Default::default() };
    handler.set_configuration(strict);
    mock.fail("cuStreamSynchronize:1:700");
    let mut fill = On(Fill::new(10_000), None);
    let e = handler.execute(&mut ExecutionContext::new(&mut fill, Parameters::cuda(0, 1))).unwrap_err();
    assert_eq!((e.status(), e.driver_code()), (Status::DeviceLost, Some(700)));
    mock.fail("");
    handler.set_configuration(RecoveryConfiguration::default());
    // An error that somebody else saw is recovered as well.
    let lost = KernelError::of(DeviceChoice::Cuda(0), e);
    let KernelError::Cuda(lost) = lost else { panic!("a GPU's") };
    let mut context = ExecutionContext::new(&mut fill, Parameters::cuda(0, 1));
    let done = handler.handle_cuda_error(lost, &mut context).unwrap();
    assert_eq!(done.steps, cuda(&[Strategy::ContextRecreate]));
    fill.0.assert_right();
    let wrong = Error::argument("x", "is wrong");
    let mut context = ExecutionContext::new(&mut fill, Parameters::cuda(0, 1));
    let e = handler.handle_cuda_error(wrong.into(), &mut context).unwrap_err();
    assert_eq!(e.status(), Status::InvalidArgument);
    assert_eq!(handler.history()[0].strategy, RecoveryStrategy::Cuda(Strategy::NoRecovery));
}
