//! The installed package works for a user's project in each way of finding it, also after it was moved.
//!
//! Everything runs in one test, since each step needs the one before it.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The folder of the crate.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A program of `.cache/venv` (which scripts/setup fills) or of the PATH.
fn program(name: &str) -> Command {
    let own = root().join(".cache/venv/bin").join(name);
    Command::new(if own.exists() { own } else { PathBuf::from(name) })
}

/// Runs a command; on failure the test ends with everything it said.
fn run(command: &mut Command) -> String {
    let done = command
        .output()
        .unwrap_or_else(|e| panic!("{command:?}: {e}; scripts/setup installs what is missing"));
    let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "{command:?}: {}\n{out}\n{err}", done.status);
    out.into_owned()
}

/// `target/` of this test, and the name that cargo gives its profile.
fn cargo_target() -> (PathBuf, &'static str) {
    let test = std::env::current_exe().expect("the test's own path");
    let profile = test.ancestors().nth(2).expect("target/<profile>");
    let name = if profile.ends_with("debug") { "dev" } else { "release" };
    (profile.parent().expect("target").to_owned(), name)
}

fn configure(source: &Path, build: &Path, more: &[String]) {
    let mut command = program("cmake");
    command.arg("-S").arg(source).arg("-B").arg(build).args(more);
    if program("ninja").arg("--version").output().is_ok_and(|o| o.status.success()) {
        command.args(["-G", "Ninja"]);
        let ninja = program("ninja").get_program().to_owned();
        command.arg(format!("-DCMAKE_MAKE_PROGRAM={}", ninja.to_string_lossy()));
    }
    run(&mut command);
}

fn build(folder: &Path) {
    run(program("cmake").arg("--build").arg(folder).args(["--parallel", "2"]));
}

/// Runs a program of a consumer and looks for its last word.
fn passes(program: &Path, word: &str) {
    let said = run(&mut Command::new(program));
    assert!(said.contains(word), "{}: {said}", program.display());
}

fn pkg_config(prefix: &Path, what: &[&str]) -> Vec<String> {
    let said = run(Command::new("pkg-config")
        .env("PKG_CONFIG_PATH", prefix.join("lib/pkgconfig"))
        .args(what)
        .arg("cogniware"));
    said.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn the_package_serves_every_kind_of_project() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let at = |name: &str| folder.path().join(name);
    let (target, profile) = cargo_target();
    let cargo = [
        format!("-DCOGNIWARE_CARGO_TARGET_DIR={}", target.display()),
        format!("-DCOGNIWARE_CARGO_PROFILE={profile}"),
        "-DCMAKE_INSTALL_LIBDIR=lib".to_owned(),
    ];

    // Build, install, move.
    configure(root(), &at("build"), &cargo);
    build(&at("build"));
    run(program("cmake").arg("--install").arg(at("build")).arg("--prefix").arg(at("first")));
    std::fs::rename(at("first"), at("moved")).expect("the prefix moves");
    let prefix = at("moved");

    // What is where.
    let library = prefix.join("lib");
    let version = env!("CARGO_PKG_VERSION");
    assert!(
        library.join(format!("libcogniware.so.{version}")).symlink_metadata().expect("the library").is_file()
    );
    let link = std::fs::read_link(library.join("libcogniware.so")).expect("the link for linking");
    assert_eq!(
        std::fs::read_link(library.join(link)).expect("the SONAME link"),
        Path::new(&format!("libcogniware.so.{version}"))
    );
    assert!(prefix.join("include/cogniware/core/customized_kernel.h").exists());
    assert!(prefix.join("share/cogniware/models").read_dir().is_ok_and(|mut d| d.next().is_some()));
    for file in ["CogniwareConfig.cmake", "CogniwareTargets.cmake", "CogniwareConfigVersion.cmake"] {
        let text =
            std::fs::read_to_string(library.join("cmake/Cogniware").join(file)).expect("a package file");
        for place in ["first", "build"] {
            assert!(!text.contains(at(place).to_str().expect("a path in UTF-8")), "{file} names {place}");
        }
    }

    // find_package, shared and static.
    let consumer = root().join("tests/consumer");
    let found = format!("-DCMAKE_PREFIX_PATH={}", prefix.display());
    for component in ["cogniware", "static"] {
        let folder = at(component);
        configure(&consumer, &folder, &[found.clone(), format!("-DCOMPONENT={component}")]);
        build(&folder);
        passes(&folder.join("consumer"), "consumer: passed");
        passes(&folder.join("consumer_c"), "consumer_c: passed");
        let needs = run(Command::new("readelf").arg("-d").arg(folder.join("consumer")));
        assert_eq!(needs.contains("libcogniware.so"), component == "cogniware", "{component}: {needs}");
    }

    // The component pybind11.
    let pybind11 = run(program("python3").args(["-m", "pybind11", "--cmakedir"]));
    let python = run(program("python3").args(["-c", "import sys; print(sys.executable)"]));
    let more = [
        found.clone(),
        "-DCOGNIWARE_PYTHON=ON".to_owned(),
        format!("-Dpybind11_DIR={}", pybind11.trim()),
        format!("-DPython_EXECUTABLE={}", python.trim()),
    ];
    configure(&consumer, &at("python"), &more);
    run(program("cmake").arg("--build").arg(at("python")).args(["--target", "consumer_python"]));
    let script = "import consumer_python as c; a = c.make(); assert a.dtype == 'float32' and a[7] == 7.5 and a.sum() == 7.5; \
                  b = a[5:9]; del a; assert b[2] == 7.5; a = c.make(); assert c.give_back(a); print('python: passed')";
    let said = run(program("python3")
        .args(["-c", script])
        .env("PYTHONPATH", at("python"))
        .env("COGNIWARE_DEVICE", "cpu"));
    assert!(said.contains("python: passed"), "{said}");

    // add_subdirectory.
    let mut source =
        vec!["-DCOGNIWARE_FROM=source".to_owned(), format!("-DCOGNIWARE_SOURCE={}", root().display())];
    source.extend(cargo);
    configure(&consumer, &at("source"), &source);
    build(&at("source"));
    passes(&at("source").join("consumer"), "consumer: passed");

    // pkg-config, shared and static.
    for (name, libraries) in
        [("shared", &["--cflags", "--libs"][..]), ("static", &["--cflags", "--libs", "--static"])]
    {
        let binary = at(&format!("pkg_{name}"));
        let mut flags = pkg_config(&prefix, libraries);
        if name == "static" {
            // The linker takes a shared library when it finds both; a user names the archive.
            let archive = library.join("libcogniware.a").display().to_string();
            flags.iter_mut().filter(|f| *f == "-lcogniware").for_each(|f| f.clone_from(&archive));
        }
        run(Command::new("gcc")
            .args(["-std=c11", "-o"])
            .arg(&binary)
            .arg(consumer.join("main.c"))
            .args(&flags));
        let said = run(Command::new(&binary)
            .env("LD_LIBRARY_PATH", if name == "shared" { &library } else { folder.path() }));
        assert!(said.contains("passed"), "{said}");
    }

    // The installed examples run where they were moved to, and compile against the package.
    for example in [
        "hello",
        "hello_c",
        "complete_system_setup",
        "patent_claims_demonstration",
        "integration_test",
        "virtual_gpus",
    ] {
        let said = run(Command::new(prefix.join("bin").join(example)).env("COGNIWARE_DEVICE", "cpu"));
        assert!(!said.is_empty() && !said.contains("FAILED"), "{example}: {said}");
    }
    main_job(&prefix.join("bin/multi_llm"));
    viewer(&prefix.join("bin/cogniware-top"));
    configure(&root().join("cpp_examples"), &at("examples"), std::slice::from_ref(&found));
    build(&at("examples"));
    main_job(&at("examples").join("bin/multi_llm"));

    // Every documented method does what it says, and every documented fragment compiles and runs.
    let more = [
        found,
        "-DCOGNIWARE_FRAGMENTS=ON".to_owned(),
        format!("-Dpybind11_DIR={}", pybind11.trim()),
        format!("-DPython_EXECUTABLE={}", python.trim()),
        format!("-DCUDA_HOME={}", cuda_home().display()),
    ];
    configure(&root().join("tests/documented"), &at("documented"), &more);
    build(&at("documented"));
    for name in ["basic_usage", "multi_tenant", "quick_start"] {
        let documented = at("documented").join(format!("documented_virtual_{name}"));
        run(Command::new(documented).env("COGNIWARE_DEVICE", "cpu"));
    }
    let documented = at("documented").join("documented_virtual_memory_management");
    let said = run(Command::new(documented).env("COGNIWARE_DEVICE", "cpu"));
    assert!(said.contains("Virtual GPU 2 fragmentation: "), "{said}");
    for (name, word) in [
        ("test_customized_kernel_driver", " 0 failed"),
        ("documented_fragments", "fragments: passed"),
        ("documented_virtual_fragments", "virtual fragments: passed"),
    ] {
        let packages = run(program("python3").args(["-c", "import site; print(site.getsitepackages()[0])"]));
        let said = run(Command::new(at("documented").join(name))
            .env("COGNIWARE_DEVICE", "cpu")
            .env("PYTHONPATH", packages.trim()));
        assert!(said.contains(word), "{name}: {said}");
    }
}

/// The folder of CUDA's headers and runtime: the wheels of the compiler that builds the kernels.
fn cuda_home() -> PathBuf {
    let libraries = root().join(".cache/nvcc-13.0.88/lib");
    let python = std::fs::read_dir(libraries).into_iter().flatten().flatten().next();
    python.expect("CUDA's wheels; scripts/setup installs them").path().join("site-packages/nvidia/cu13")
}

/// `cogniware-top` shows a process, and nothing that a file holds brings it down.
fn viewer(top: &Path) {
    let said = run(Command::new(top).args([
        "--demo",
        "--seconds",
        "2",
        "--once",
        "--columns",
        "160",
        "--device",
        "cpu",
    ]));
    for word in ["cpu:0", "tenants/device", "training", "search", "chat", "50%", "30%", "20%", "[#", "p99 ms"]
    {
        assert!(said.contains(word), "{word} is not in\n{said}");
    }
    assert!(!said.contains('\u{1b}') && said.lines().all(|l| l.chars().count() <= 160), "{said}");

    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("metrics.prom");
    let show = |content: &[u8], columns: &str| {
        std::fs::write(&file, content).expect("a file");
        let done =
            Command::new(top).arg(&file).args(["--once", "--columns", columns]).output().expect("it runs");
        let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        (done.status.code(), format!("{out}{err}"))
    };
    // Another process's file: a hostile name, a figure that is none, and the time at which it was written, long ago.
    let text = "cogniware_build_info{version=\"0\"} 1\ncogniware_published_timestamp_seconds 1000\n\
                cogniware_publish_interval_seconds 0.1\n\
                cogniware_device_busy_ratio{device=\"cuda:0\"} 0.5\n\
                cogniware_vgpu_info{tenant=\"vgpu:7\",vgpu=\"7\",name=\"\u{1b}[2Jevil\\nname \u{202e}\"} 1\n\
                cogniware_tenant_memory_limit_bytes{tenant=\"vgpu:7\"} 2147483648\n\
                cogniware_tenant_memory_held_bytes{tenant=\"vgpu:7\"} 1073741824\n\
                cogniware_tenant_memory_peak_bytes{tenant=\"vgpu:7\"} NaN\n\
                cogniware_tenant_utilization_ratio{tenant=\"vgpu:7\",window=\"1s\"} -1e300\n";
    for columns in ["80", "200"] {
        let (code, said) = show(text.as_bytes(), columns);
        assert_eq!(code, Some(0), "{said}");
        assert!(
            said.contains("1.0G/2.0G") && said.contains("stale") && said.contains("?[2Jevil?name"),
            "{said}"
        );
        let most: usize = columns.parse().expect("a number");
        assert!(!said.contains('\u{1b}') && said.lines().all(|l| l.chars().count() <= most), "{said}");
    }
    let bad: [(&[u8], &str); 8] = [
        (b"", "empty"),
        (b"\xff\xfe\x00", "line 1"),
        (b"up 1\n", "cogniware_build_info"),
        (b"a{b=\"c} 1\n", "line 1"),
        (b"a 1\nb two\n", "line 2"),
        (b"a{b=\"c\",b=\"d\"} 1\n", "twice"),
        (b"cogniware_build_info 1", "middle"),
        (b"a 0x10\n", "number"),
    ];
    for (content, word) in bad {
        let (code, said) = show(content, "80");
        assert!(code == Some(1) && said.contains(word), "{word}: {said}");
    }
    for (arguments, word) in [
        (&["/none/at/all"][..], "/none/at/all"),
        (&["/dev/zero"], "regular"),
        (&[], "--demo"),
        (&["x", "--columns", "1"], "--columns"),
        (&["--demo", "x"], "--demo"),
        (&["--what"], "--what"),
    ] {
        let done = Command::new(top).args(arguments).output().expect("it runs");
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(matches!(done.status.code(), Some(1 | 2)) && said.contains(word), "{arguments:?}: {said}");
    }
}

/// `multi_llm` does what the README's first command promises.
fn main_job(multi_llm: &Path) {
    let said = run(Command::new(multi_llm).args(["--json", "--device", "cpu", "--tokens", "24"]));
    let result: serde_json::Value = serde_json::from_str(&said).unwrap_or_else(|e| panic!("{e}: {said}"));
    assert!(result["device"].is_string());
    let tenants = result["tenants"].as_array().expect("tenants");
    assert_eq!(tenants.len(), 4);
    let mut share = 0.0;
    for tenant in tenants {
        let number = |key: &str| tenant[key].as_f64().unwrap_or_else(|| panic!("{key} of {tenant}"));
        assert!(tenant["id"].is_string() && !tenant["text"].as_str().expect("a text").is_empty());
        assert!(number("tokens") > 0.0 && number("tokens") <= 24.0);
        assert!(number("tokens_per_second") > 0.0 && number("ttft_ms") > 0.0);
        assert!(number("memory_bytes") > 0.0 && number("memory_bytes") <= number("memory_limit_bytes"));
        assert!(number("node") >= 0.0);
        share += number("device_time_share");
    }
    assert!((share - 1.0).abs() < 1e-3, "shares sum to {share}");

    let lines = run(Command::new(multi_llm).args(["--llms", "2", "--device=cpu", "--tokens", "16"]));
    assert!(lines.contains("llm2") && lines.contains("tokens/s") && !lines.contains('\u{1b}'), "{lines}");
    for (wrong, named) in
        [(["--llms", "0"], "--llms"), (["--device", "toaster"], "toaster"), (["--model", "/none"], "/none")]
    {
        let done = Command::new(multi_llm).args(wrong).output().expect("multi_llm");
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.code() == Some(2) && said.contains(named), "{wrong:?}: {said}");
    }
}
