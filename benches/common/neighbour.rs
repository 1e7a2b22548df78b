//! A tenant that multiplies large matrices without end, through the same operations as models.

use cogniware::compute::Gate;
use cogniware::device::{Device, DeviceKind};
use cogniware::ops::{Product, Weight};
use cogniware::quant::DType;
use cogniware::tenant::{self, TenantConfig};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The running tenant.
pub struct Neighbour {
    stop: Arc<AtomicBool>,
    products: Arc<AtomicU64>,
    flops: f64,
    begun: Instant,
    thread: Option<JoinHandle<()>>,
}

impl Neighbour {
    /// Starts it on a node of `processors`.
    pub fn start(device: &Arc<dyn Device>, processors: u32) -> Neighbour {
        let n: u32 = if device.kind() == DeviceKind::Cuda { 8192 } else { 512 };
        let mut config = TenantConfig::default_on(device).expect("defaults");
        config.processors = processors;
        let tenant = tenant::open("neighbour", device, &config).expect("a tenant");
        let (stop, products) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (ended, counted) = (stop.clone(), products.clone());
        let device = device.clone();
        let (ready, started) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let ops = tenant.ops().expect("operations");
            let space = tenant.space();
            let bytes = u64::from(n) * u64::from(n) * 4;
            let packed = ops.packed_bytes(DType::BF16, n, n).expect("size");
            let source: Vec<u8> = (0..n * n)
                .flat_map(|i| half::bf16::from_f32((i % 251) as f32 / 251.0 - 0.5).to_le_bytes())
                .collect();
            let mut host = vec![0u8; packed as usize];
            ops.pack(DType::BF16, n, n, &source, &mut host).expect("packing");
            let weight = space.alloc(packed, 256, "w").expect("weights");
            device.write(weight, &host).expect("weights");
            let (x, y) = (space.alloc(bytes, 256, "x").expect("x"), space.alloc(bytes, 256, "y").expect("y"));
            let row: Vec<u8> =
                (0..n * n).flat_map(|i| ((i % 127) as f32 / 127.0 - 0.5).to_le_bytes()).collect();
            device.write(x, &row).expect("x");
            let scratch = ops.scratch_bytes(n, n, n, 1, 1, 64).max(256);
            let area = space.alloc(scratch, 256, "scratch").expect("scratch");
            ops.set_scratch(area, scratch).expect("scratch");
            let weight = Weight { dtype: DType::BF16, rows: n, cols: n, ptr: weight };
            let product = Product { weight, bias: None, out: y, add: false };
            let gate = Gate::of(&device);
            let node = tenant.node().expect("node");
            let step = || {
                let permit = gate.enter(tenant.share(), node.units(), &|| false).expect("the gate");
                let time =
                    ops.step(None, &[], &mut || ops.matmul(x, n, &[product]), &mut []).expect("a product");
                permit.finish(time.device);
            };
            step();
            ready.send(()).expect("somebody waits");
            while !ended.load(Relaxed) {
                step();
                counted.fetch_add(1, Relaxed);
            }
            for ptr in [weight.ptr, x, y, area] {
                space.free(ptr).expect("freeing");
            }
            tenant::close("neighbour").expect("closing");
        });
        started.recv().expect("the neighbour");
        // Let it run at full speed before anything is measured beside it.
        std::thread::sleep(Duration::from_millis(200));
        products.store(0, Relaxed);
        let flops = 2.0 * f64::from(n).powi(3);
        Neighbour { stop, products, flops, begun: Instant::now(), thread: Some(thread) }
    }

    /// Ends it; its speed in TFLOP/s.
    pub fn stop(mut self) -> f64 {
        let speed =
            self.products.load(Relaxed) as f64 * self.flops / self.begun.elapsed().as_secs_f64() / 1e12;
        self.stop.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the neighbour");
        }
        speed
    }
}
