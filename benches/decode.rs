//! How fast models generate: one tenant alone, several at once, and one beside a tenant that multiplies matrices
//! without end; each beside the memory ceiling of the same machine in the same run.
//!
//! `cargo bench --bench decode -- --model FILE [--device cpu|cuda] [--tenants 1,4] [--processors P] [--tokens T]
//! [--prompt N] [--neighbour] [--json]`
//!
//! `--processors` is the size of each tenant's node (cores or SMs; default: the device divided by the most tenants).
//! Bytes per token are those of the matrices that a step reads, as stored in the file (of models whose embedding is the output
//! matrix too: as loaded); the embedding table counts only where it is the output matrix too. `--prompt` adds how fast one tenant
//! alone reads a prompt of so many tokens.

#[path = "common/ceiling.rs"]
mod ceiling;
#[path = "common/neighbour.rs"]
mod neighbour;

use cogniware::device::{self, Device};
use cogniware::llm::file::ModelFile;
use cogniware::llm::{Model, ModelOptions, Request, Sampling};
use cogniware::tenant::{self, Tenant, TenantConfig};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Barrier, Mutex};
use std::time::{Duration, Instant};

struct Arguments {
    model: PathBuf,
    device: String,
    tenants: Vec<u32>,
    processors: Option<u32>,
    tokens: u32,
    prompt: u32,
    neighbour: bool,
    json: bool,
}

fn arguments() -> Result<Arguments, String> {
    let args: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let mut wanted = Arguments {
        model: PathBuf::new(),
        device: "auto".into(),
        tenants: vec![1],
        processors: None,
        tokens: 64,
        prompt: 0,
        neighbour: false,
        json: false,
    };
    let mut rest = args.iter();
    while let Some(name) = rest.next() {
        let mut value = || rest.next().cloned().ok_or(format!("{name} needs a value"));
        match name.as_str() {
            "--model" => wanted.model = value()?.into(),
            "--device" => wanted.device = value()?,
            "--tenants" => {
                let list: Result<_, _> = value()?.split(',').map(str::parse).collect();
                wanted.tenants = list.map_err(|e| format!("--tenants: {e}"))?;
            }
            "--processors" => wanted.processors = Some(value()?.parse().map_err(|e| format!("{name}: {e}"))?),
            "--tokens" => wanted.tokens = value()?.parse().map_err(|e| format!("{name}: {e}"))?,
            "--prompt" => wanted.prompt = value()?.parse().map_err(|e| format!("{name}: {e}"))?,
            "--neighbour" => wanted.neighbour = true,
            "--json" => wanted.json = true,
            other => return Err(format!("{other} is not known")),
        }
    }
    if wanted.model.as_os_str().is_empty() {
        return Err("--model FILE is needed (scripts/random_gguf.py writes one of any size)".into());
    }
    Ok(wanted)
}

/// One tenant with its model, warmed up.
struct Subject {
    tenant: Arc<Tenant>,
    model: Arc<Model>,
}

impl Subject {
    fn new(device: &Arc<dyn Device>, name: &str, arguments: &Arguments, processors: u32) -> Subject {
        let mut config = TenantConfig::default_on(device).expect("defaults");
        config.processors = processors;
        let tenant = tenant::open(name, device, &config).expect("a tenant");
        let options = ModelOptions { context: Some(1024), max_sequences: Some(1), ..ModelOptions::default() };
        let model = Model::load(&tenant, &arguments.model, &options, None).expect("the model");
        let subject = Subject { tenant, model };
        subject.run(16);
        subject
    }

    /// Generates; the times between tokens.
    fn run(&self, tokens: u32) -> Vec<Duration> {
        let times = Arc::new(Mutex::new(Vec::with_capacity(tokens as usize)));
        let seen = times.clone();
        let mut request = Request::tokens([1u32, 2, 3, 4])
            .with_max_tokens(tokens)
            .with_sampling(Sampling::greedy())
            .with_on_token(move |_| {
                seen.lock().unwrap().push(Instant::now());
                Ok(true)
            });
        request.ignore_eos = true;
        self.model.generate(request).expect("a generation").wait().expect("its end");
        let times = times.lock().unwrap();
        times.windows(2).map(|pair| pair[1] - pair[0]).collect()
    }
}

impl Subject {
    /// How long a prompt of so many tokens takes to the first token behind it; no two prompts begin alike.
    fn read(&self, tokens: u32) -> Duration {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let first = NEXT.fetch_add(1, Relaxed);
        let ids: Vec<u32> = (0..tokens).map(|i| 3 + (i * 7 + first * 31) % 250).collect();
        let request = Request::tokens(ids).with_max_tokens(1).with_sampling(Sampling::greedy());
        let begun = Instant::now();
        self.model.generate(request).and_then(|g| g.wait()).expect("a prompt");
        begun.elapsed()
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        self.model.close();
        tenant::close(self.tenant.id()).expect("closing");
    }
}

/// Of one arrangement: tokens per second of each tenant and together, and times between tokens in milliseconds.
struct Figures {
    each: Vec<f64>,
    together: f64,
    p50: f64,
    p99: f64,
}

fn measure(subjects: &[Subject], tokens: u32) -> Figures {
    let barrier = Barrier::new(subjects.len());
    let runs: Vec<(Vec<Duration>, Duration)> = std::thread::scope(|scope| {
        let threads: Vec<_> = subjects
            .iter()
            .map(|subject| {
                let barrier = &barrier;
                scope.spawn(move || {
                    barrier.wait();
                    let begun = Instant::now();
                    (subject.run(tokens), begun.elapsed())
                })
            })
            .collect();
        threads.into_iter().map(|t| t.join().expect("a run")).collect()
    });
    let each: Vec<f64> = runs
        .iter()
        .map(|(steps, _)| steps.len() as f64 / steps.iter().sum::<Duration>().as_secs_f64())
        .collect();
    let mut all: Vec<f64> = runs.iter().flat_map(|(steps, _)| steps).map(|d| d.as_secs_f64() * 1e3).collect();
    all.sort_by(f64::total_cmp);
    let at = |q: f64| all[((all.len() - 1) as f64 * q).round() as usize];
    Figures { together: each.iter().sum(), each, p50: at(0.5), p99: at(0.99) }
}

fn main() {
    let arguments = arguments().unwrap_or_else(|problem| {
        eprintln!("decode: {problem}");
        std::process::exit(2);
    });
    let choice = device::parse_choice("--device", &arguments.device).expect("--device");
    let device = device::open(choice).expect("the device");
    let info = device.info().expect("its figures");
    let file = ModelFile::open(&arguments.model).expect("the model file");
    let tied = !file.has("output.weight");
    let embedding = file.tensor("token_embd.weight").expect("the embedding").data.len() as u64;
    let most = arguments.tenants.iter().copied().max().unwrap_or(1).max(1);
    let total: u32 = device.units().iter().map(|u| u.processors).sum();
    let unit = device.units()[0].processors;
    let processors = arguments.processors.unwrap_or((total / most / unit * unit).max(unit));
    let roof = ceiling::ceiling(&device, if info.warp_size > 1 { total } else { processors.min(total) });
    println!("# {} ({}), {}", info.name, info.isa, arguments.model.display());
    println!(
        "{:<34} {:>10} {:>10} {:>9} {:>9} {:>9} {:>8}",
        "arrangement", "tokens/s", "each", "p50 ms", "p99 ms", "GB/s", "of roof"
    );
    let mut alone_p99 = None;
    for &count in &arguments.tenants {
        let subjects: Vec<_> = (0..count)
            .map(|i| Subject::new(&device, &format!("tenant{i}"), &arguments, processors))
            .collect();
        let load = subjects[0].model.load_stats();
        let bytes = if tied { load.image_bytes } else { file.bytes() - embedding };
        if alone_p99.is_none() {
            let gb = bytes as f64 / 1e9;
            println!("# {gb:.3} GB of weights a token; ceiling {:.1} GB/s ({})", roof.gbs, roof.what);
        }
        let figures = measure(&subjects, arguments.tokens);
        report(&format!("{count} on nodes of {processors}"), &figures, bytes, roof.gbs, arguments.json);
        if count == 1 {
            alone_p99 = Some(figures.p99);
            if arguments.prompt > 0 {
                let best = (0..3).map(|_| subjects[0].read(arguments.prompt)).min().expect("a run");
                let speed = f64::from(arguments.prompt) / best.as_secs_f64();
                println!("# a prompt of {} tokens: {speed:.1} tokens/s", arguments.prompt);
            }
            let memory = subjects[0].tenant.space().usage();
            let beyond =
                memory.held as f64 - load.image_bytes as f64 - subjects[0].model.stats().kv_bytes as f64;
            println!(
                "# loading: {:.2} GB/s ({:.2} GB in {:.2} s); memory held beyond weights and KV: {:.1} MB",
                load.bytes_per_second / 1e9,
                load.file_bytes as f64 / 1e9,
                load.time.as_secs_f64(),
                beyond / 1e6
            );
        }
        if count == 1 && arguments.neighbour {
            let neighbour = neighbour::Neighbour::start(&device, total.saturating_sub(processors).max(unit));
            let figures = measure(&subjects, arguments.tokens);
            let speed = neighbour.stop();
            report(&format!("1 on {processors} beside products"), &figures, bytes, roof.gbs, arguments.json);
            println!(
                "# p99 beside over p99 alone: {:.2}; the neighbour ran at {speed:.1} TFLOP/s",
                figures.p99 / alone_p99.unwrap_or(f64::NAN)
            );
        }
    }
}

fn report(name: &str, figures: &Figures, bytes: u64, roof: f64, json: bool) {
    let gbs = figures.together * bytes as f64 / 1e9;
    let each: Vec<String> = figures.each.iter().map(|t| format!("{t:.1}")).collect();
    println!(
        "{name:<34} {:>10.1} {:>10} {:>9.3} {:>9.3} {gbs:>9.1} {:>8.2}",
        figures.together,
        each.join("/"),
        figures.p50,
        figures.p99,
        gbs / roof
    );
    if json {
        println!(
            "{{\"arrangement\":\"{name}\",\"tokens_per_second\":{},\"p50_ms\":{},\"p99_ms\":{},\"gb_per_second\":{gbs},\
             \"of_roof\":{}}}",
            figures.together,
            figures.p50,
            figures.p99,
            gbs / roof
        );
    }
}
