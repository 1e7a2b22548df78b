//! Modules over the driver manager: on the CPU device, on the mock driver (by running this program again), and on a
//! GPU where there is one.

#[cfg(feature = "cuda")]
mod mock_driver;

use cogniware::Status;
use cogniware::device::DeviceKind;
use cogniware::driver::Driver;
use cogniware::kernel::Kernel;
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn driver(kind: DeviceKind) -> Option<(Arc<Kernel>, Driver)> {
    let kernel = Arc::new(Kernel::default());
    let driver = Driver::new(kernel.clone());
    assert_eq!(driver.load_module(Path::new("/x"), "").unwrap_err().status(), Status::NotInitialized);
    driver.initialize().unwrap();
    let index = kernel.devices().unwrap().iter().position(|d| d.kind() == kind)?;
    kernel.select_device(index as i32).unwrap();
    Some((kernel, driver))
}

fn written(folder: &tempfile::TempDir, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn what_is_no_module_is_named() {
    let (_, driver) = driver(DeviceKind::Cpu).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let text = written(&folder, "text.ko", b"not a module");
    let empty = written(&folder, "empty.ko", b"");
    let program = std::env::current_exe().unwrap();
    for (path, status, said) in [
        (Path::new("/path/to/module.ko"), Status::NotFound, "/path/to/module.ko"),
        (Path::new(""), Status::InvalidArgument, "empty"),
        (folder.path(), Status::InvalidArgument, "folder"),
        (Path::new("/dev/null"), Status::InvalidArgument, "no regular file"),
        (&text, Status::Format, "neither"),
        (&empty, Status::Format, "is empty"),
        (&program, Status::Format, "ELF file, but"),
    ] {
        let e = driver.load_module(path, "").unwrap_err();
        assert!(e.status() == status && e.message().contains(said) && e.message().contains("`path`"), "{e}");
    }
    // What looks packed is the kernel's to judge: it is really asked.
    let packed = written(&folder, "cogniware_none.ko.xz", b"\xfd7zXZ\0nothing of use");
    let e = driver.load_module(&packed, "").unwrap_err();
    assert!(e.message().contains("finit_module(2)") || e.message().contains("unpacks"), "{e}");
    assert!(driver.modules().is_empty());
    let e = driver.unload_module(None).unwrap_err();
    assert_eq!(e.status(), Status::NotFound, "{e}");
    assert_eq!(driver.unload_module(Some("ext4")).unwrap_err().status(), Status::NotFound);
}

#[cfg(feature = "cuda")]
mod gpu {
    use super::*;
    use cogniware::driver::Launch;
    use cogniware::tenant;

    const AGAIN: &str = "COGNIWARE_TEST_ON_THE_MOCK";

    #[test]
    fn images_need_a_cuda_device() {
        let (_, driver) = driver(DeviceKind::Cpu).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = written(&folder, "fill.ptx", mock_driver::IMAGE);
        let e = driver.load_module(&path, "").unwrap_err();
        assert!(e.status() == Status::Unsupported && e.message().contains("CUDA device"), "{e}");
        assert!(driver.modules().is_empty());
    }

    #[test]
    fn on_the_mock_driver() {
        if std::env::var_os(AGAIN).is_some() {
            return;
        }
        let library = mock_driver::build(&[]);
        let out = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "gpu::functions_of_an_image_run", "--nocapture"])
            .env("COGNIWARE_LIBCUDA", &library)
            .env(AGAIN, "1")
            .output()
            .unwrap();
        std::fs::remove_file(library).unwrap();
        let text = String::from_utf8_lossy(&out.stdout);
        let all = format!("{text}{}", String::from_utf8_lossy(&out.stderr));
        assert!(out.status.success() && text.contains("1 passed") && !text.contains("skipped"), "{all}");
    }

    #[test]
    fn functions_of_an_image_run() {
        let Some((kernel, driver)) = driver(DeviceKind::Cuda) else {
            println!("skipped, no GPU");
            return;
        };
        let folder = tempfile::tempdir().unwrap();
        let path = written(&folder, "fill.ptx", mock_driver::IMAGE);
        let e = driver.load_module(&path, "x=1").unwrap_err();
        assert!(e.message().contains("`parameters`"), "{e}");
        driver.load_module(&path, "").unwrap();
        assert_eq!(driver.load_module(&path, "").unwrap_err().status(), Status::AlreadyExists);
        assert_eq!(driver.modules()[path.to_str().unwrap()], "ptx fill");
        let functions = driver.module_functions(Some("fill")).unwrap();
        assert!(functions["mock_fill"].ends_with("parameter_bytes=8,4,4"), "{functions:?}");
        assert!(functions["mock_smid"].ends_with("parameter_bytes=8"), "{functions:?}");

        let id = format!("driver-modules-{}", std::process::id());
        let tenant = tenant::open_default(&id, &kernel.current_device().unwrap().1).unwrap();
        let memory = tenant.space().alloc(4096, 256, "words").unwrap();
        let (address, value, count) = (memory.to_le_bytes(), 0x5eed_u32.to_le_bytes(), 1024u32.to_le_bytes());
        let arguments: [&[u8]; 3] = [&address, &value, &count];
        let good = Launch {
            module: None,
            function: "mock_fill",
            grid: [4, 1, 1],
            block: [128, 1, 1],
            shared: 0,
            stream: 0,
            arguments: &arguments,
        };
        // SAFETY: the addresses are valid, and the checked faults are found before anything runs.
        let launch = |l: &Launch| unsafe { driver.launch_function(l) };
        for (wrong, status, said) in [
            (Launch { function: "missing_function", ..good }, Status::NotFound, "missing_function"),
            (Launch { module: Some("other"), ..good }, Status::NotFound, "other"),
            (Launch { grid: [0, 1, 1], ..good }, Status::InvalidArgument, "`grid`: x is 0"),
            (Launch { grid: [1, 65_536, 1], ..good }, Status::InvalidArgument, "`grid`: y"),
            (Launch { block: [1, 1, 65], ..good }, Status::InvalidArgument, "`block`: z"),
            (Launch { block: [1024, 2, 1], ..good }, Status::InvalidArgument, "2048 threads"),
            (Launch { shared: u32::MAX, ..good }, Status::InvalidArgument, "`shared_bytes`"),
            (Launch { arguments: &arguments[..2], ..good }, Status::InvalidArgument, "2 are given"),
            (
                Launch { arguments: &[&value, &value, &count], ..good },
                Status::InvalidArgument,
                "argument 0 has 4",
            ),
            (Launch { stream: 0x1234_5678, ..good }, Status::NotFound, "`stream`"),
        ] {
            let e = launch(&wrong).unwrap_err();
            assert!(e.status() == status && e.message().contains(said), "{said}: {e}");
        }
        let words = |tenant: &tenant::Tenant| {
            let mut out = vec![0u8; 4096];
            tenant.device().read(&mut out, memory).unwrap();
            out.chunks_exact(4).map(|w| u32::from_le_bytes(w.try_into().unwrap())).collect::<Vec<_>>()
        };
        launch(&good).unwrap();
        assert!(
            words(&tenant).iter().all(|&w| w == 0x5eed),
            "a launch without a stream has run when it returns"
        );
        let stream = kernel.create_stream(&id).unwrap();
        let value = 7u32.to_le_bytes();
        // More shared memory than a function gets unasked.
        launch(&Launch { stream, shared: 60_000, arguments: &[&address, &value, &count], ..good }).unwrap();
        kernel.synchronize_stream(stream).unwrap();
        assert!(words(&tenant).iter().all(|&w| w == 7));
        kernel.destroy_stream(stream).unwrap();

        // What the driver does not take.
        let broken = written(&folder, "broken.ptx", b".version 6.3\n.target sm_75\nthis is no PTX\n");
        if std::env::var_os(AGAIN).is_none() {
            let e = driver.load_module(&broken, "").unwrap_err();
            assert_eq!((e.status(), e.driver_code()), (Status::Format, Some(218)), "{e}");
            let newer = written(&folder, "newer.ptx", b".version 99.0\n.target sm_75\n.address_size 64\n");
            let e = driver.load_module(&newer, "").unwrap_err();
            assert_eq!((e.status(), e.driver_code()), (Status::Unsupported, Some(222)), "{e}");
        }
        // Machine code too; of it the mock knows no names.
        let images = written(&folder, "images", include_bytes!("../kernels/images/cogniware.fatbin"));
        driver.load_module(&images, "").unwrap();
        assert_eq!(driver.modules()[images.to_str().unwrap()], "fatbin images");
        if std::env::var_os(AGAIN).is_none() {
            assert!(driver.module_functions(None).unwrap().keys().any(|name| name.starts_with("cw_")));
        }
        driver.unload_module(None).unwrap();
        assert_eq!(driver.unload_module(Some("nothing")).unwrap_err().status(), Status::NotFound);
        assert_eq!(driver.modules().len(), 1);
        driver.unload_module(None).unwrap();
        assert_eq!(launch(&good).unwrap_err().status(), Status::NotFound, "its functions are gone");
        driver.load_module(&path, "").unwrap();
        driver.unload_module(path.to_str()).unwrap();
        driver.load_module(&path, "").unwrap();
        driver.shutdown();
        assert!(driver.modules().is_empty());
        drop(tenant);
        tenant::close(&id).unwrap();
    }
}
