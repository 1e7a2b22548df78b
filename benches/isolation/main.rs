//! A tenant that decodes beside one that multiplies large matrices without end: how late does the first get, and what is
//! left to the second, by how they share the device.
//!
//! `cargo bench --bench isolation -- [--device cpu|cuda] [--seconds S] [--without-mps]`. On a GPU: 2.15 GB of bf16 weights a
//! step in one graph beside 8192x8192x8192 bf16 products, as processes (time-sliced, MPS), as streams of one process, and on
//! nodes of their own. On the CPU: reading weights on cores beside products of 512x512.

mod child;
mod cpu;
#[path = "../common/neighbour.rs"]
mod neighbour;
mod products;
mod step;

use child::Process;
use cogniware::device::{self, Device, DeviceKind};
use cogniware::tenant::{self, Tenant, TenantConfig};
use products::{Library, Products};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use step::{Decode, Kernels, Latency};

/// A step alone on a whole H200 as an engine does it today (PyTorch, cuBLAS, one graph): what a user would compare with.
const TODAY_MS: f64 = 1.02;
/// High priority for a stream.
const HIGH: i32 = -5;

fn option(name: &str) -> Option<String> {
    let args: Vec<String> = std::env::args().collect();
    args.iter().position(|a| a == name).and_then(|i| args.get(i + 1)).cloned()
}

/// A tenant on this many SMs; on all of them if there are fewer.
fn tenant(device: &Arc<dyn Device>, name: &str, processors: u32) -> Arc<Tenant> {
    let total: u32 = device.units().iter().map(|u| u.processors).sum();
    let mut config = TenantConfig::default_on(device).expect("defaults");
    config.processors = processors.min(total);
    tenant::open(name, device, &config).expect("a tenant")
}

struct Table {
    solo: f64,
}

impl Table {
    fn head() {
        println!(
            "{:<46} {:>8} {:>7} {:>7} {:>7} {:>7} {:>7} {:>8} {:>6}",
            "arrangement", "decode/s", "p50 ms", "p99 ms", "/alone", "cycles", "/today", "TFLOP/s", "/solo"
        );
    }

    /// One arrangement: decoding beside the products, and alone on the same node.
    fn line(&self, what: &str, alone: Latency, beside: Latency, tflops: f64) {
        let cycles = match alone.p99_cycles > 0.0 {
            true => format!("{:.2}", beside.p99_cycles / alone.p99_cycles),
            false => "-".into(),
        };
        println!(
            "{what:<46} {:>8.0} {:>7.3} {:>7.3} {:>7.2} {cycles:>7} {:>7.2} {tflops:>8.0} {:>6.2}",
            beside.per_second,
            beside.p50_ms,
            beside.p99_ms,
            beside.p99_ms / alone.p99_ms,
            beside.p99_ms / TODAY_MS,
            tflops / self.solo,
        );
    }

    fn alone(what: &str, alone: Latency) {
        let speed = step::WEIGHTS as f64 / alone.p50_ms / 1e9;
        println!(
            "{what:<46} {:>8.0} {:>7.3} {:>7.3} {:>23.2} {:>15}",
            alone.per_second,
            alone.p50_ms,
            alone.p99_ms,
            alone.p99_ms / TODAY_MS,
            format!("{speed:.2} TB/s")
        );
    }
}

fn main() {
    let wanted = option("--device").unwrap_or("auto".into());
    let device =
        device::open(device::parse_choice("--device", &wanted).expect("--device")).expect("the device");
    let seconds = Duration::from_secs_f64(option("--seconds").map_or(2.0, |s| s.parse().expect("--seconds")));
    if device.kind() == DeviceKind::Cpu {
        return cpu::run(&device, seconds);
    }
    if let Some(role) = option("--role") {
        let number = |name: &str| option(name).and_then(|x| x.parse::<u32>().ok()).unwrap_or(0);
        let kernels = match number("--blocks") {
            0 => Kernels::Plain,
            blocks => Kernels::Step(blocks),
        };
        return child::run(&device, &role, kernels, number("--algorithm") as usize);
    }
    let Some(library) = Library::load() else {
        println!("isolation: cuBLASLt is not installed, so there is nothing to multiply with");
        return;
    };
    let name = device.info().expect("figures").name;
    let sms: u32 = device.units().iter().map(|u| u.processors).sum();
    println!("# {name} ({sms} SMs), {} s an arrangement", seconds.as_secs_f64());

    let whole = tenant(&device, "whole", u32::MAX);
    step::check(&whole, sms / 4 * 4);
    // The fastest algorithm alone is what the neighbour is judged by, and what it uses everywhere.
    let mut speeds = Vec::new();
    for algorithm in 0..library.algorithms() {
        let products = Products::start(&library, algorithm, &whole, 0);
        let (_, speed) = products.during(|| std::thread::sleep(seconds.mul_f64(0.4)));
        println!("products alone, {:<20} {speed:>6.0} TFLOP/s", library.name(algorithm));
        speeds.push((algorithm, speed));
    }
    speeds.sort_by(|a, b| b.1.total_cmp(&a.1));
    let best = speeds[0];
    let table = Table { solo: best.1 };
    Table::head();
    let step = Kernels::Step(sms / 4 * 4);
    for (name, kernels) in [("plain", Kernels::Plain), ("step", step)] {
        let decode = Decode::new(&whole, kernels, HIGH);
        let alone = decode.run(seconds);
        Table::alone(&format!("{name}: alone on the whole GPU"), alone);
        for (what, low) in [("streams of one process", HIGH), ("stream of high priority", 0)] {
            let products = Products::start(&library, best.0, &whole, low);
            let (beside, speed) = products.during(|| decode.run(seconds));
            table.line(&format!("{name}: {what}"), alone, beside, speed);
        }
    }
    drop(whole);
    tenant::close("whole").expect("closing");

    processes(&table, best.0, seconds, Kernels::Plain, "plain");

    // Nodes of one process, each tenant on its own SMs. 32 and 32 as the four equal parts of a GPU would be.
    // With the better kernel also beside the next fastest: they differ in what they take of L2, memory and power.
    let algorithms: Vec<usize> = speeds.iter().take(4).map(|s| s.0).collect();
    for (own, other, kernels) in [
        (32, 32, Kernels::Plain),
        (24, 108, Kernels::Plain),
        (32, 100, Kernels::Plain),
        (40, 92, Kernels::Plain),
        (24, 108, Kernels::Step(24)),
        (32, 100, Kernels::Step(32)),
        (40, 92, Kernels::Step(40)),
    ] {
        let (first, second) = (tenant(&device, "decode", own), tenant(&device, "products", other));
        let sms = |t: &Arc<Tenant>| t.node().expect("a node").processors();
        let name = if kernels == Kernels::Plain { "plain" } else { "step" };
        let what = format!("{name}: nodes of {} and {} SMs", sms(&first), sms(&second));
        let decode = Decode::new(&first, kernels, HIGH);
        let alone = decode.run(seconds);
        Table::alone(&format!("{name}: alone on a node of {} SMs", sms(&first)), alone);
        let tried = if name == "step" { &algorithms[..] } else { &[best.0] };
        for &algorithm in tried {
            let products = Products::start(&library, algorithm, &second, 0);
            let time = if algorithm == best.0 { seconds } else { seconds.mul_f64(0.5) };
            let (beside, speed) = products.during(|| decode.run(time));
            let which =
                if algorithm == best.0 { String::new() } else { format!(", {}", library.name(algorithm)) };
            table.line(&format!("{what}{which}"), alone, beside, speed);
        }
        drop((decode, first, second));
        for name in ["decode", "products"] {
            tenant::close(name).expect("closing");
        }
    }
    processes(&table, best.0, seconds, Kernels::Step(32), "step");
}

/// Two processes, without MPS and under it.
fn processes(table: &Table, algorithm: usize, seconds: Duration, kernels: Kernels, name: &str) {
    let pair = |what: &str, decoder: &[(&str, String)], multiplier: &[(&str, String)]| {
        let mut decode = Process::start("decode", kernels, algorithm, decoder);
        let alone = decode.decode(seconds);
        let mut products = Process::start("products", kernels, algorithm, multiplier);
        match (alone, products.during(|| decode.decode(seconds))) {
            (Some(alone), Some((Some(beside), speed))) => {
                table.line(&format!("{name}: {what}"), alone, beside, speed);
            }
            _ => println!("{name}: {what}: ended early ({} and {})", decode.ended(), products.ended()),
        }
    };
    pair("processes, time-sliced", &[], &[]);
    if std::env::args().any(|a| a == "--without-mps") {
        return;
    }
    let folder = std::env::temp_dir().join(format!("cogniware-mps-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let place = folder.display().to_string();
    let mps = [("CUDA_MPS_PIPE_DIRECTORY", place.clone()), ("CUDA_MPS_LOG_DIRECTORY", place)];
    let control = |input: &str, args: &[&str]| {
        let child = Command::new("nvidia-cuda-mps-control")
            .args(args)
            .envs(mps.iter().map(|(k, v)| (k, v.as_str())))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let Ok(mut child) = child else { return false };
        if let Some(mut to) = child.stdin.take() {
            let _ = std::io::Write::write_all(&mut to, input.as_bytes());
        }
        child.wait().is_ok_and(|s| s.success())
    };
    if !control("", &["-d"]) {
        println!("{name}: MPS is not here");
        return;
    }
    std::thread::sleep(Duration::from_secs(1));
    let part = |percent: u32| {
        let mut all = mps.to_vec();
        all.push(("CUDA_MPS_ACTIVE_THREAD_PERCENTAGE", percent.to_string()));
        all
    };
    pair("processes, MPS", &mps, &mps);
    pair("processes, MPS 25 % and 75 %", &part(25), &part(75));
    control("quit\n", &[]);
    let _ = std::fs::remove_dir_all(folder);
}
