//! Compiled for real where NVRTC is; without a GPU.

use super::job::values;
use super::*;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

/// The library that building the kernels installs, or the machine's own.
fn compiler() -> Option<Arc<Compiler>> {
    let root = std::env::var("COGNIWARE_SOURCE").unwrap_or_else(|_| env!("CARGO_MANIFEST_DIR").into());
    let mut own = Vec::new();
    for python in std::fs::read_dir(format!("{root}/.cache/nvcc-13.0.88/lib")).into_iter().flatten().flatten()
    {
        own.push(python.path().join("site-packages/nvidia/cu13/lib/libnvrtc.so.13"));
    }
    let found = match own.iter().find(|p| p.is_file()) {
        Some(path) => Compiler::open(path),
        None => Compiler::find(0),
    };
    match found {
        Ok(compiler) => Some(compiler),
        Err(e) => {
            println!("skipped, no NVRTC (scripts/build_kernels --install brings it): {e}");
            None
        }
    }
}

fn hopper() -> Architecture {
    Architecture::parse("sm_90").unwrap()
}

fn scale() -> CudaSource {
    CudaSource::new(
        "scale.cu",
        "extern \"C\" __global__ void scale(float* x, float f, int n) {\n\
         int i = blockIdx.x * blockDim.x + threadIdx.x;\n    if (i < n) x[i] /= f;\n}\n",
    )
}

fn private() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o700)).unwrap();
    folder
}

#[test]
fn source_becomes_machine_code() {
    let Some(c) = compiler() else { return };
    assert!(
        c.version().0 >= 12 && c.architectures().contains(&90),
        "{:?} {:?}",
        c.version(),
        c.architectures()
    );
    let image = c.compile(&scale(), hopper(), None).unwrap();
    assert_eq!((image.kind, image.architecture.as_str(), image.cached), (ImageKind::Cubin, "sm_90", false));
    let elf = super::super::Elf::parse(&image.bytes).unwrap();
    assert!(elf.section(".text.scale").is_some());
    let codes: Vec<String> = image.parameters["scale"].iter().map(|p| p.code()).collect();
    assert_eq!(codes, ["i8", "f4", "i4"]);
    // A GPU that is newer than the compiler gets PTX.
    let newer = c.compile(&scale(), Architecture::parse("sm_990").unwrap(), None).unwrap();
    assert_eq!(newer.kind, ImageKind::Ptx);
    assert!(newer.architecture.starts_with("compute_") && !newer.bytes.contains(&0));
    // One that it no longer knows is refused.
    let e = c.compile(&scale(), Architecture::parse("sm_20").unwrap(), None).unwrap_err();
    assert!(e.status() == Status::Unsupported && e.to_string().contains("older CUDA"), "{e}");
    // Options are given as they are.
    let ptx = |source: CudaSource| {
        let image = c.compile(&source.option("--gpu-architecture=compute_80"), hopper(), None).unwrap();
        String::from_utf8(image.bytes.clone()).unwrap()
    };
    assert!(ptx(scale()).contains("div.rn.f32"));
    assert!(ptx(scale().option("--use_fast_math")).contains("div.approx"));
    // CUDA's own headers are there without a path.
    if !c.headers().is_empty() {
        let half = "#include <cuda_fp16.h>\n__global__ void h(__half* x) { *x = __hadd(*x, *x); }\n";
        c.compile(&CudaSource::new("half.cu", half), hopper(), None).unwrap();
    }
}

#[test]
fn name_expressions_have_names() {
    let Some(c) = compiler() else { return };
    let text =
        "namespace n { template <typename T, int N> __global__ void add(T* x) { x[threadIdx.x] += N; } }\n";
    let source = CudaSource::new("t.cu", text).expression("n::add<float, 3>").expression("n::add<int, 4>");
    let folder = private();
    for cached in [false, true] {
        // One that has nothing in memory.
        let image = c.compile(&source, hopper(), Some(&Cache::at(folder.path(), 1 << 20))).unwrap();
        assert_eq!(image.cached, cached);
        let name = &image.lowered["n::add<float, 3>"];
        let elf = super::super::Elf::parse(&image.bytes).unwrap();
        assert!(elf.section(&format!(".text.{name}")).is_some(), "{name}");
        assert_ne!(name, &image.lowered["n::add<int, 4>"]);
    }
    let e = c.compile(&source.expression("n::sub<float>"), hopper(), None).unwrap_err();
    assert!(e.message().contains("sub"), "{e}");
}

#[test]
fn what_fails_is_told_with_the_compilers_words() {
    let Some(c) = compiler() else { return };
    let wrong = CudaSource::new("wrong.cu", "__global__ void k() {\n  int x = ;\n}\n");
    let e = c.compile(&wrong, hopper(), None).unwrap_err();
    assert_eq!(e.status(), Status::Format);
    assert!(e.message().contains("wrong.cu(2)") && e.message().contains("sm_90"), "{e}");
    let e = c.compile(&scale().option("--no-such-option"), hopper(), None).unwrap_err();
    assert_eq!(e.status(), Status::InvalidArgument);
    assert!(e.message().contains("`options`") && e.message().contains("no-such-option"), "{e}");
    for (option, said) in
        [("-dlto", "-dlto"), ("-arch=sm_100", "newer than the device"), ("-arch=x", "-arch=x")]
    {
        let e = c.compile(&scale().option(option), hopper(), None).unwrap_err();
        assert!(e.status() == Status::InvalidArgument && e.message().contains(said), "{e}");
    }
    let missing = CudaSource::new("m.cu", "#include \"nowhere.h\"\n");
    assert!(c.compile(&missing, hopper(), None).unwrap_err().message().contains("nowhere.h"));
    // Thousands of errors are not told in full.
    let many: String = (0..2000).map(|n| format!("int a{n} = undefined_{n};\n")).collect();
    let e = c.compile(&CudaSource::new("many.cu", many), hopper(), None).unwrap_err();
    assert!(e.message().len() < MOST_LOG + 500 && e.message().contains("undefined_1"));
    assert_eq!(shorten(&"ö".repeat(MOST_LOG)).matches('ö').count(), MOST_LOG / 2);
    // A success with a warning keeps it.
    let unused = CudaSource::new("u.cu", "__global__ void k() { int unused = 1; }\n");
    let log = c.compile(&unused, hopper(), None).unwrap().log.clone();
    assert!(log.contains("unused"), "{log:?}");
}

#[test]
fn everything_that_matters_is_in_the_key() {
    let Some(c) = compiler() else { return };
    let folder = private();
    let headers = tempfile::tempdir().unwrap();
    let write = |text: &str| std::fs::write(headers.path().join("n.h"), text).unwrap();
    write("#define N 1\n");
    let base = CudaSource::new(
        "k.cu",
        "#include \"n.h\"\n#include \"m.h\"\n__global__ void k(int* x) { *x = N + M; }\n",
    )
    .include_path(headers.path())
    .header("m.h", "#define M 1\n");
    let hit = |source: &CudaSource, architecture: Architecture| {
        c.compile(source, architecture, Some(&Cache::at(folder.path(), 1 << 24))).unwrap().cached
    };
    assert!(!hit(&base, hopper()) && hit(&base, hopper()));
    let mut text = base.clone();
    text.text.push('\n');
    let mut header = base.clone();
    header.headers[0].1.push('\n');
    let other = [text, header, base.clone().option("-DX"), base.clone().expression("k")];
    for source in &other {
        assert!(!hit(source, hopper()) && hit(source, hopper()), "{source:?}");
    }
    assert!(!hit(&base, Architecture::parse("sm_80").unwrap()));
    write("#define N 2\n");
    assert!(!hit(&base, hopper()) && hit(&base, hopper()));
    // A file that comes before it on the way.
    let first = tempfile::tempdir().unwrap();
    let mut before = base.clone();
    before.include_paths.insert(0, first.path().into());
    assert!(!hit(&before, hopper()) && hit(&before, hopper()));
    std::fs::write(first.path().join("n.h"), "#define N 2\n").unwrap();
    assert!(!hit(&before, hopper()));
    // What cannot be known is compiled anew each time.
    for source in [
        CudaSource::new("k.cu", "#define H \"m.h\"\n#include H\n").header("m.h", ""),
        CudaSource::new("k.cu", "__device__ const char* t = __TIME__;\n"),
    ] {
        assert!(!hit(&source, hopper()) && !hit(&source, hopper()), "{source:?}");
    }
}

#[test]
fn a_damaged_image_is_compiled_again() {
    let Some(c) = compiler() else { return };
    let folder = private();
    let get = || c.compile(&scale(), hopper(), Some(&Cache::at(folder.path(), 1 << 24))).unwrap();
    let good = get();
    let path = std::fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let again = get();
    assert!(!again.cached && again.bytes == good.bytes);
    assert!(get().cached);
}

/// Eight processes that compile the same five sources into one small cache, each several times.
#[test]
fn processes_race_for_one_cache() {
    const FOLDER: &str = "COGNIWARE_TEST_RACE";
    let source = |n: u32| {
        let mut s = scale();
        s.text.push_str(&format!("__device__ int filler_{n}[{}] = {{1}};\n", 2000 + n));
        s
    };
    let Some(c) = compiler() else { return };
    if let Some(folder) = std::env::var_os(FOLDER) {
        let id = std::process::id();
        for round in 0..8 {
            let n = (id + round) % 5;
            let cache = Cache::at(&folder, 40_000);
            let image = c.compile(&source(n), hopper(), Some(&cache)).unwrap();
            assert_eq!(ImageKind::of(&image.bytes).unwrap(), ImageKind::Cubin);
            let elf = super::super::Elf::parse(&image.bytes).unwrap();
            assert!(elf.section(".text.scale").is_some());
        }
        return;
    }
    let folder = private();
    let name = "program::nvrtc::tests::processes_race_for_one_cache";
    let children: Vec<_> = (0..8)
        .map(|_| {
            std::process::Command::new(std::env::current_exe().unwrap())
                .args(["--exact", name, "--nocapture"])
                .env(FOLDER, folder.path())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    for child in children {
        let out = child.wait_with_output().unwrap();
        assert!(
            out.status.success(),
            "{}{}",
            String::from_utf8_lossy(&out.stdout),
            String::from_utf8_lossy(&out.stderr)
        );
    }
    let mut sum = 0;
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(path.extension().unwrap(), "image", "{} is left", path.display());
        sum += path.metadata().unwrap().len();
    }
    assert!(sum > 0 && sum <= 40_000, "{sum}");
}

#[test]
fn without_a_library_it_says_what_to_install() {
    let e = Compiler::open(Path::new("/nowhere/libnvrtc.so.13")).err().unwrap();
    assert!(e.status() == Status::Unsupported && e.message().contains("/nowhere"), "{e}");
    // Some other library.
    let e = Compiler::open(Path::new("libm.so.6")).err().unwrap();
    assert!(e.message().contains("is no NVRTC"), "{e}");
}

#[test]
fn values_of_options_are_found_in_every_form() {
    let options =
        ["-I/a", "-I", "/b", "--include-path=/c", "--include-path /d", "-I=/e", "--include-pathology", "-DX"]
            .map(String::from);
    assert_eq!(values(&options, &["--include-path", "-I"]), ["/a", "/b", "/c", "/d", "/e"]);
    assert!(named("--pch", "--pch") && named("--pch=true", "--pch") && !named("--pch-dir=x", "--pch"));
}
