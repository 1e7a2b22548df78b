//! A tenant in a process of its own, told what to do by its parent's lines: how processes share a GPU today.

use super::products::{Library, Products, tflops};
use super::step::{Decode, Kernels, Latency};
use super::tenant;
use cogniware::device::Device;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The other end of the lines.
pub struct Process {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Process {
    /// Starts this program as `role` (`decode` or `products`) and waits until it is ready.
    pub fn start(role: &str, kernels: Kernels, algorithm: usize, environment: &[(&str, String)]) -> Process {
        let blocks = match kernels {
            Kernels::Plain => 0,
            Kernels::Step(blocks) => blocks,
        };
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--role", role, "--blocks", &blocks.to_string(), "--algorithm", &algorithm.to_string()])
            .envs(environment.iter().map(|(k, v)| (k, v.as_str())))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a process");
        let (to, from) =
            (child.stdin.take().expect("a pipe"), BufReader::new(child.stdout.take().expect("a pipe")));
        let mut process = Process { child, to, from };
        assert_eq!(process.line(), "ready", "the {role} process");
        process
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.from.read_line(&mut line).expect("the process");
        line.trim().to_owned()
    }

    fn ask(&mut self, what: &str) -> Option<Vec<f64>> {
        writeln!(self.to, "{what}").ok()?;
        self.line().split(' ').map(|x| x.parse().ok()).collect()
    }

    /// How the process ended, if it did.
    pub fn ended(&mut self) -> String {
        std::thread::sleep(Duration::from_millis(200));
        self.child.try_wait().map_or("unknown".into(), |s| s.map_or("still there".into(), |s| s.to_string()))
    }

    /// Lets it decode; none if it could not.
    pub fn decode(&mut self, time: Duration) -> Option<Latency> {
        let x = self.ask(&format!("run {}", time.as_secs_f64()))?;
        Some(Latency { per_second: x[0], p50_ms: x[1], p99_ms: x[2], p99_cycles: x[3] })
    }

    /// TFLOP/s over the time that `work` takes.
    pub fn during<T>(&mut self, work: impl FnOnce() -> T) -> Option<(T, f64)> {
        let (from, begun) = (self.ask("count")?[0], Instant::now());
        let answer = work();
        let products = self.ask("count")?[0] - from;
        Some((answer, tflops(products as u64, begun.elapsed())))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = writeln!(self.to, "end");
        let _ = self.child.wait();
    }
}

/// What such a process does.
pub fn run(device: &Arc<dyn Device>, role: &str, kernels: Kernels, algorithm: usize) {
    let tenant = tenant(device, role, u32::MAX);
    let lines = std::io::stdin().lines().map_while(Result::ok);
    if role == "decode" {
        let decode = Decode::new(&tenant, kernels, 0);
        println!("ready");
        for line in lines {
            let Some(time) = line.strip_prefix("run ") else { break };
            let l = decode.run(Duration::from_secs_f64(time.parse().expect("seconds")));
            println!("{} {} {} {}", l.per_second, l.p50_ms, l.p99_ms, l.p99_cycles);
        }
    } else {
        let library = Library::load().expect("cuBLASLt");
        let products = Products::start(&library, algorithm, &tenant, 0);
        println!("ready");
        for line in lines {
            if line != "count" {
                break;
            }
            println!("{}", products.done());
        }
    }
}
