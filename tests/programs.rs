//! Programs and their kernels: on the mock driver (by running this program again), and on a GPU where there is one.
//! What needs NVRTC looks for it as an application would, and in the folder that building the kernels fills.
#![cfg(feature = "cuda")]

mod mock_driver;

use cogniware::device::{Device, DeviceKind, Stream};
use cogniware::ops::tensor::Argument;
use cogniware::program::{
    Architecture, Cache, Callable, Calls, Compiler, CudaSource, ImageKind, Launch, Library, Program, Source,
};
use cogniware::tenant::{self, Tenant};
use cogniware::{Error, Result, Status};
use std::path::PathBuf;
use std::sync::Arc;

const AGAIN: &str = "COGNIWARE_TEST_ON_THE_MOCK";

/// Runs a test of this file once more, on the mock driver.
fn again_on_the_mock(name: &str) {
    if std::env::var_os(AGAIN).is_some() {
        return;
    }
    let library = mock_driver::build(&[]);
    let out = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env("COGNIWARE_LIBCUDA", &library)
        .env(AGAIN, "1")
        .output()
        .unwrap();
    std::fs::remove_file(library).unwrap();
    let text = String::from_utf8_lossy(&out.stdout);
    let all = format!("{text}{}", String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success() && text.contains("1 passed") && !text.contains("skipped"), "{all}");
}

fn mocked() -> bool {
    std::env::var_os(AGAIN).is_some()
}

/// The first GPU of the process's driver.
fn gpu() -> Option<Arc<dyn Device>> {
    let real = mock_driver::real_gpu()?;
    Some(mock_driver::erased(&real))
}

struct World {
    device: Arc<dyn Device>,
    tenant: Arc<Tenant>,
    stream: Arc<dyn Stream>,
}

fn world(id: &str) -> Option<World> {
    let device = gpu()?;
    let tenant = tenant::open_default(&format!("programs-{id}-{}", std::process::id()), &device).unwrap();
    let stream = device.node_create(&[0]).unwrap().stream_create(0).unwrap();
    Some(World { device, tenant, stream })
}

impl World {
    fn words(&self, count: usize) -> u64 {
        let at = self.tenant.space().alloc(4 * count as u64, 256, "words").unwrap();
        self.device.write(at, &vec![0; 4 * count]).unwrap();
        at
    }

    fn read(&self, at: u64, count: usize) -> Vec<u32> {
        self.stream.synchronize().unwrap();
        let mut bytes = vec![0u8; 4 * count];
        self.device.read(&mut bytes, at).unwrap();
        bytes.chunks_exact(4).map(|w| u32::from_le_bytes(w.try_into().unwrap())).collect()
    }

    /// Checks as the owner of the memory would, then launches.
    fn launch(&self, kernel: &Callable, launch: &Launch, arguments: &[Argument]) -> Result<()> {
        kernel.check(launch, arguments, Some(self.tenant.space()))?;
        let Callable::Kernel(kernel) = kernel else { panic!("no kernel") };
        // SAFETY: checked, and the tests give what their kernels take.
        unsafe { kernel.launch(&*self.stream, launch, arguments) }
    }
}

/// NVRTC, where an application would find it or where building the kernels put it.
fn compiler() -> Option<Arc<Compiler>> {
    let root = std::env::var("COGNIWARE_SOURCE").unwrap_or_else(|_| env!("CARGO_MANIFEST_DIR").into());
    let mut own: Vec<PathBuf> = Vec::new();
    for python in std::fs::read_dir(format!("{root}/.cache/nvcc-13.0.88/lib")).into_iter().flatten().flatten()
    {
        own.push(python.path().join("site-packages/nvidia/cu13/lib/libnvrtc.so.13"));
    }
    let found = match own.iter().find(|p| p.is_file()) {
        Some(path) => Compiler::open(path),
        None => Compiler::find(0),
    };
    found.inspect_err(|e| println!("skipped, no NVRTC: {e}")).ok()
}

/// Compiles for the device and loads.
fn compiled(device: &Arc<dyn Device>, source: &CudaSource) -> Option<Result<Arc<Program>>> {
    let architecture = Architecture::of(&device.info().unwrap()).unwrap();
    let image = compiler()?.compile(source, architecture, None);
    Some(image.and_then(|image| Program::of_image(device, image)))
}

fn refused(result: Result<()>) -> Error {
    result.expect_err("it was accepted")
}

#[test]
fn launches_are_checked_on_the_mock() {
    again_on_the_mock("launches_are_checked");
}

/// PTX that the mock and a real driver take: see `mock_driver::IMAGE`.
#[test]
fn launches_are_checked() {
    let Some(w) = world("checked") else { return };
    let library = Library::new(w.device.clone());
    let program = library.load("fill", Source::Image(mock_driver::IMAGE.to_vec())).unwrap();
    assert_eq!((program.image().kind, program.log()), (ImageKind::Ptx, ""));
    assert_eq!(program.names().unwrap(), ["mock_fill", "mock_smid"]);
    let fill = library.find("mock_fill", None).unwrap();
    let Callable::Kernel(kernel) = &fill else { panic!("no kernel") };
    let sizes = |k: &cogniware::program::Kernel| {
        k.parameters().map(|all| all.iter().map(|p| p.bytes).collect::<Vec<_>>())
    };
    assert_eq!(sizes(kernel), Some(vec![8, 4, 4]));
    assert!(kernel.attributes().max_threads_per_block > 0 && kernel.most_shared_bytes() > 48 << 10);

    let at = w.words(1000);
    let good = [Argument::Pointer(at), Argument::U32(7), Argument::U32(1000)];
    let shape = Launch::new([4, 1, 1], [128, 1, 1]);
    w.launch(&fill, &shape, &good).unwrap();
    // More shared memory than without opting in.
    w.launch(&fill, &Launch { shared_bytes: 100 << 10, ..shape }, &good).unwrap();
    w.launch(&fill, &Launch { shared_bytes: 60 << 10, ..shape }, &good).unwrap();
    w.launch(&fill, &Launch { cooperative: true, ..shape }, &good).unwrap();
    w.stream.set_shared_carveout(Some(50)).unwrap();
    w.launch(&fill, &Launch { cooperative: true, ..shape }, &good).unwrap();
    w.stream.set_shared_carveout(None).unwrap();
    assert!(w.read(at, 1000).iter().all(|&v| v == 7));

    let foreign =
        tenant::open_default(&format!("programs-foreign-{}", std::process::id()), &w.device).unwrap();
    let other = foreign.space().alloc(4096, 256, "words").unwrap();
    let host = [0u32; 4];
    let with = |first| [Argument::Pointer(first), Argument::U32(7), Argument::U32(1)];
    let invalid = Status::InvalidArgument;
    for (launch, arguments, status, said) in [
        (Launch { grid: [0, 1, 1], ..shape }, &good[..], invalid, "`grid`: x is 0"),
        (Launch { grid: [1, 65_536, 1], ..shape }, &good[..], invalid, "`grid`: y is 65536"),
        (Launch { block: [1, 1, 65], ..shape }, &good[..], invalid, "`block`: z"),
        (Launch { block: [1024, 2, 1], ..shape }, &good[..], invalid, "2048 threads"),
        (Launch { shared_bytes: u32::MAX, ..shape }, &good[..], invalid, "`shared_bytes`"),
        (Launch { grid: [1 << 30, 1, 1], cooperative: true, ..shape }, &good[..], invalid, "`cooperative`"),
        (shape, &good[..2], invalid, "2 are given, \"mock_fill\" has 3"),
        (shape, &[], invalid, "0 are given"),
        (
            shape,
            &[Argument::U32(1), Argument::U32(7), Argument::U32(1)],
            invalid,
            "argument 0 has 4 bytes (u32), \"mock_fill\" takes 8",
        ),
        (
            shape,
            &[good[0].clone(), Argument::F32(7.0), Argument::U32(1)],
            invalid,
            "argument 1 is f32, \"mock_fill\" takes an integer of 4 bytes",
        ),
        (
            shape,
            &[Argument::F64(7.0), Argument::U32(7), Argument::U32(1)],
            invalid,
            "argument 0 is f64, \"mock_fill\" takes an integer of 8 bytes",
        ),
        (shape, &with(0), invalid, "argument 0 is a null pointer"),
        (shape, &with(other), Status::NotOwner, "argument 0"),
        (shape, &with(host.as_ptr() as u64), Status::NotOwner, "argument 0"),
    ] {
        let e = refused(w.launch(&fill, &launch, arguments));
        assert!(e.status() == status && e.message().contains(said), "{said}: {:?} {e}", e.status());
    }
    let freed = w.words(16);
    w.tenant.space().free(freed).unwrap();
    assert!(refused(w.launch(&fill, &shape, &with(freed))).message().contains("argument 0"));

    if !mocked() {
        let e = library.find("mock_fil", None).err().unwrap();
        assert!(e.status() == Status::NotFound && e.to_string().contains("mock_fill"), "{e}");
    }
    let e = library.find("missing", Some("fill")).err().unwrap();
    assert_eq!(e.status(), Status::NotFound, "{e}");
    let again = library.load("fill", Source::Image(mock_driver::IMAGE.to_vec())).err().unwrap();
    assert_eq!(again.status(), Status::AlreadyExists);
    for (bytes, status) in [(&b"nothing"[..], Status::Format), (b"", Status::Format)] {
        let e = library.load("bad", Source::Image(bytes.to_vec())).err().unwrap();
        assert!(e.status() == status && e.message().contains("`image`"), "{e}");
    }
    // What does not assemble is told with the assembler's words.
    let e = library.load("bad", Source::Image(b".version 6.3\nsyntax_error\n".to_vec())).err().unwrap();
    assert!(e.status() == Status::Format && e.message().contains("assembler said:\n"), "{e}");
    // A host function is for the CPU device.
    library.register("missing_host", vec![], Calls::Once, Arc::new(|_, _| Ok(()))).unwrap();
    let e = library.find("missing_host", None).err().unwrap();
    assert!(e.status() == Status::Unsupported && e.to_string().contains("load a program"), "{e}");

    library.unload("fill").unwrap();
    assert!(library.modules().is_empty());
    // Held kernels keep their code.
    w.launch(&fill, &shape, &[Argument::Pointer(at), Argument::U32(9), Argument::U32(1000)]).unwrap();
    assert!(w.read(at, 1000).iter().all(|&v| v == 9));
    w.tenant.space().free(at).unwrap();
    foreign.space().free(other).unwrap();
}

#[test]
fn an_older_driver_tells_no_parameters() {
    let mock = mock_driver::Mock::without(&["cuFuncGetParamInfo", "cuModuleGetFunctionCount"]);
    let device = mock_driver::erased(&mock.device());
    let stream = device.node_create(&[0]).unwrap().stream_create(0).unwrap();
    let program = Program::load_cached(&device, Source::Image(mock_driver::IMAGE.to_vec()), None).unwrap();
    let kernel = program.kernel("mock_fill").unwrap();
    // The text itself tells; of machine code nothing is known.
    assert_eq!(kernel.parameters().unwrap().len(), 3);
    let kernel =
        Program::load_cached(&device, Source::Image(elf()), None).unwrap().kernel("mock_fill").unwrap();
    assert!(kernel.parameters().is_none());
    let granule = device.granule_create(device.granularity()).unwrap();
    let at = device.range_reserve(device.granularity()).unwrap();
    device.map(at, &granule, cogniware::device::Access::ReadWrite).unwrap();
    let arguments = [Argument::Pointer(at), Argument::U32(5), Argument::U32(64)];
    // SAFETY: there are 64 words; the second call's missing parameters read zeros.
    unsafe {
        kernel.launch(&*stream, &Launch::default(), &arguments).unwrap();
        kernel.launch(&*stream, &Launch::default(), &arguments[..1]).unwrap();
    }
    stream.synchronize().unwrap();
    let mut bytes = [0u8; 256];
    device.read(&mut bytes, at).unwrap();
    assert!(bytes.chunks(4).all(|w| w == [5, 0, 0, 0]));
    let e = kernel.check(&Launch::default(), &vec![Argument::U32(0); 5000], None).unwrap_err();
    assert!(e.message().contains("more than any kernel"), "{e}");
    device.unmap(at, device.granularity()).unwrap();
    device.range_release(at, device.granularity());
    device.granule_release(granule);
}

/// A GPU's ELF file with nothing in it, as far as the mock looks.
fn elf() -> Vec<u8> {
    let mut bytes = vec![0u8; 64];
    bytes[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    bytes[18] = 190;
    bytes
}

const TEMPLATES: &str = r#"
#include "bias.h"
template <typename T, int N>
__global__ void shift(T* x, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) x[i] = x[i] * (T)N + (T)BIAS;
}
__global__ void count(unsigned* out) { atomicAdd(out, 1u); }
struct Pair { unsigned a, b, c; };
extern "C" __global__ void sum(unsigned* out, Pair p, unsigned char one) { *out = p.a + p.b + p.c + one; }
extern "C" __global__ void __launch_bounds__(64) narrow(unsigned* out) { *out = 1; }
extern "C" __global__ void shared(unsigned* out, int n) {
    extern __shared__ unsigned s[];
    for (int i = threadIdx.x; i < n; i += blockDim.x) s[i] = i;
    __syncthreads();
    if (threadIdx.x == 0) *out = s[n - 1];
}
"#;

fn templates() -> CudaSource {
    CudaSource::new("templates.cu", TEMPLATES)
        .header("bias.h", "#define BIAS 5\n")
        .expression("shift<unsigned, 3>")
        .expression("shift<float, 2>")
}

#[test]
fn source_runs_on_a_gpu() {
    let Some(w) = world("source") else { return };
    let Some(program) = compiled(&w.device, &templates()) else { return };
    let library = Library::new(w.device.clone());
    library.add("templates", program.unwrap()).unwrap();
    let at = w.words(256);
    let shape = Launch::new([2, 1, 1], [128, 1, 1]);
    let find = |name| library.find(name, Some("templates")).unwrap();
    let numbers = [Argument::Pointer(at), Argument::I32(256)];
    w.launch(&find("shift<unsigned, 3>"), &shape, &numbers).unwrap();
    w.launch(&find("shift<unsigned, 3>"), &shape, &numbers).unwrap();
    assert!(w.read(at, 256).iter().all(|&v| v == 20));
    w.device.write(at, &[0; 1024]).unwrap();
    w.launch(&find("shift<float, 2>"), &shape, &numbers).unwrap();
    assert!(w.read(at, 256).iter().all(|&v| f32::from_bits(v) == 5.0));
    // Kinds are known of what was compiled from source.
    let e = refused(w.launch(&find("shift<float, 2>"), &shape, &[numbers[0].clone(), Argument::F32(1.0)]));
    assert!(e.message().contains("argument 1 is f32") && e.message().contains("an integer of 4"), "{e}");
    // A C++ function that is no template has one kernel of its name.
    w.device.write(at, &[0; 1024]).unwrap();
    w.launch(&find("count"), &shape, &[Argument::Pointer(at)]).unwrap();
    assert_eq!(w.read(at, 1), [256]);
    // Structs by value, and small types.
    let pair: Vec<u8> = [1u32, 2, 3].iter().flat_map(|v| v.to_le_bytes()).collect();
    let sum = [Argument::Pointer(at), Argument::Bytes(pair), Argument::Bytes(vec![4])];
    w.launch(&find("sum"), &Launch::default(), &sum).unwrap();
    assert_eq!(w.read(at, 1), [10]);
    let e = refused(w.launch(
        &find("sum"),
        &Launch::default(),
        &[sum[0].clone(), sum[2].clone(), sum[2].clone()],
    ));
    assert!(e.message().contains("argument 1 has 1 bytes (bytes), \"sum\" takes 12"), "{e}");
    // What the compiler was promised.
    let e = refused(w.launch(&find("narrow"), &Launch::new([1; 3], [65, 1, 1]), &[Argument::Pointer(at)]));
    assert!(e.message().contains("65 threads") && e.message().contains("64"), "{e}");
    // All of the shared memory that a block may have, and one byte more.
    let shared = find("shared");
    let Callable::Kernel(kernel) = &shared else { panic!("no kernel") };
    let most = kernel.most_shared_bytes();
    let all = Launch { shared_bytes: most, ..Launch::new([1; 3], [256, 1, 1]) };
    w.launch(&shared, &all, &[Argument::Pointer(at), Argument::I32(most as i32 / 4)]).unwrap();
    assert_eq!(w.read(at, 1), [most / 4 - 1]);
    let more = Launch { shared_bytes: most + 1, ..all };
    assert!(refused(w.launch(&shared, &more, &numbers)).message().contains("`shared_bytes`"));
    let e = library.find("shift<int, 3>", Some("templates")).err().unwrap();
    assert!(e.status() == Status::NotFound && e.to_string().contains("shift<unsigned, 3>"), "{e}");
    w.tenant.space().free(at).unwrap();
}

/// PTX, a cubin, and a fatbin of Cogniware's own.
#[test]
fn images_of_every_kind_load_on_a_gpu() {
    let Some(w) = world("images") else { return };
    let fatbin = include_bytes!("../kernels/images/cogniware.fatbin");
    let program = Program::load_cached(&w.device, Source::Image(fatbin.to_vec()), None).unwrap();
    assert_eq!(program.image().kind, ImageKind::Fatbin);
    assert!(program.names().unwrap().iter().any(|n| n == "cw_add"));
    let Some(compiler) = compiler() else { return };
    let own = Architecture::of(&w.device.info().unwrap()).unwrap();
    for (form, kind) in [("sm", ImageKind::Cubin), ("compute", ImageKind::Ptx)] {
        let source = templates().option(format!("-arch={form}_{}", own.number));
        let image = compiler.compile(&source, own, None).unwrap();
        assert_eq!(image.kind, kind);
        let program = Program::load_cached(&w.device, Source::Image(image.bytes.clone()), None).unwrap();
        let at = w.words(1);
        let count = Callable::Kernel(program.kernel("count").unwrap());
        w.launch(&count, &Launch::new([3, 1, 1], [32, 1, 1]), &[Argument::Pointer(at)]).unwrap();
        assert_eq!(w.read(at, 1), [96]);
        w.tenant.space().free(at).unwrap();
    }
    // Code for another generation alone.
    let other = if own.number == 80 { 90 } else { 80 };
    let image =
        compiler.compile(&templates(), Architecture::parse(&format!("sm_{other}")).unwrap(), None).unwrap();
    let e = Program::of_image(&w.device, image).err().unwrap();
    assert_eq!(e.status(), Status::Unsupported, "{e}");
}

#[test]
fn a_program_finds_its_compiler_and_its_cache() {
    let Some(w) = world("found") else { return };
    if Compiler::find(0).is_err() {
        println!("skipped, no NVRTC where an application would find it");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let cache = || Cache::at(folder.path().join("kernels"), 1 << 24);
    for cached in [false, true] {
        let program = Program::load_cached(&w.device, Source::Cuda(templates()), Some(&cache())).unwrap();
        assert_eq!(program.image().cached, cached);
        program.kernel("shift<float, 2>").unwrap();
    }
    let wrong = Source::Cuda(CudaSource::new("w.cu", "__global__ void k() { int x = ; }"));
    let e = Program::load_cached(&w.device, wrong, Some(&cache())).err().unwrap();
    assert!(e.status() == Status::Format && e.message().contains("w.cu(1)"), "{e}");
}

#[test]
fn on_the_cpu_device_the_answer_says_what_would_help() {
    let device = cogniware::device::cpu::CpuDevice::open().unwrap();
    assert_eq!(device.kind(), DeviceKind::Cpu);
    for source in [Source::Image(mock_driver::IMAGE.to_vec()), Source::Cuda(templates())] {
        let e = Program::load(&device, source).err().unwrap();
        assert!(e.status() == Status::Unsupported && e.to_string().contains("host function"), "{e}");
    }
}
