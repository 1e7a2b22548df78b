//! Compaction after checkerboard frees: how much of what is free one allocation can have before and after, how fast memory is
//! moved beside what a copy can do, and the longest pause. `cargo bench --bench compaction -- [--device cpu|cuda] [--mib N]`.

#[path = "common/ceiling.rs"]
mod ceiling;

use cogniware::device::{self, DeviceKind};
use cogniware::tenant::{self, TenantConfig};
use std::time::Duration;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let option = |name: &str| args.iter().position(|a| a == name).and_then(|i| args.get(i + 1)).cloned();
    let wanted = option("--device").unwrap_or("auto".into());
    let device =
        device::open(device::parse_choice("--device", &wanted).expect("--device")).expect("the device");
    let cpu = device.kind() == DeviceKind::Cpu;
    let default = if cpu { 256 } else { 16 << 10 };
    let limit = option("--mib").map_or(default, |n| n.parse().expect("--mib")) << 20;
    let roof = ceiling::ceiling(&device, 1);
    println!(
        "# {} ({}), a tenant of {} MiB",
        device.info().expect("figures").name,
        device.kind(),
        limit >> 20
    );
    println!("ceiling: {:.0} GB/s ({})", roof.gbs, roof.what);
    println!(
        "{:>10} {:>9} {:>8} {:>8} {:>9} {:>9} {:>7} {:>9} {:>9} {:>8} {:>8}",
        "block",
        "max_pause",
        "before",
        "after",
        "moved",
        "GB/s r+w",
        "/copy",
        "longest",
        "all paused",
        "slices",
        "back"
    );
    for (block, pause) in [(64 << 10, 10), (1 << 20, 10), (1 << 20, 2), (2 << 20, 10), (8 << 20, 10)] {
        let mut config = TenantConfig::default_on(&device).expect("defaults");
        config.memory_limit = limit;
        let tenant = tenant::open("compaction", &device, &config).expect("a tenant");
        let space = tenant.space();
        let mut blocks = Vec::new();
        while let Ok(ptr) = space.alloc(block, 256, "block") {
            blocks.push(ptr);
        }
        for (n, ptr) in blocks.iter().enumerate() {
            if n % 2 == 0 {
                space.free(*ptr).expect("freeing");
            } else if n % 64 == 1 {
                device.write(*ptr, &(n as u64).to_le_bytes()).expect("a mark");
            }
        }
        let share = || {
            let f = space.fragmentation();
            f.largest as f64 / f.free as f64
        };
        let before = share();
        let done = space.compact(Duration::from_millis(pause)).expect("compaction");
        let after = share();
        // Moved bytes are read and written.
        let speed = 2.0 * done.moved as f64 / done.time.as_secs_f64() / 1e9;
        println!(
            "{:>6} KiB {:>6} ms {:>8.4} {:>8.4} {:>5} MiB {speed:>9.1} {:>7.2} {:>6.2} ms {:>6.1} ms {:>8} {:>4} MiB",
            block >> 10,
            pause,
            before,
            after,
            done.moved >> 20,
            speed / roof.gbs,
            done.longest_pause.as_secs_f64() * 1e3,
            done.paused.as_secs_f64() * 1e3,
            done.slices,
            done.given_back >> 20
        );
        // It is as it says, and nothing was lost.
        let largest = space.fragmentation().largest;
        let one = space.alloc(largest, 256, "one piece").expect("the largest piece");
        for (n, ptr) in blocks.iter().enumerate().skip(1).step_by(64) {
            let mut word = [0; 8];
            device.read(&mut word, *ptr).expect("a mark");
            assert_eq!(u64::from_le_bytes(word), n as u64, "the content of a block changed");
        }
        space.free(one).expect("freeing");
        tenant::close("compaction").expect("closing");
    }
}
