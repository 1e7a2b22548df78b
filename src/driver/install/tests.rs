//! The rules of installing, on trees in temporary folders.

use super::*;
use proptest::prelude::*;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

/// A manager that installs below `root`; the library is a file that only looks like one.
fn driver(root: &Path, library: &Path) -> Driver {
    let driver = Driver::new(Arc::default());
    driver.initialize().unwrap();
    std::fs::write(library, b"\x7fELF and more").unwrap();
    let keys = [
        ("install_root", root.to_str().unwrap()),
        ("library", library.to_str().unwrap()),
        ("load_modules", "nvidia, nvidia_uvm"),
        ("stream_memory_operations", "true"),
        ("nvidia.NVreg_RegistryDwords", "PowerMizerEnable=0x1;Other=2"),
    ];
    driver.configure_installation(&map(&keys)).unwrap();
    driver
}

/// Everything below a folder: path, kind, mode, content. `folders` without content are left out if asked.
fn snapshot(folder: &Path) -> Vec<(String, u32, Vec<u8>)> {
    let mut out = Vec::new();
    let mut todo = vec![folder.to_owned()];
    while let Some(at) = todo.pop() {
        for entry in std::fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            let about = path.symlink_metadata().unwrap();
            let content = if about.is_dir() {
                todo.push(path.clone());
                Vec::new()
            } else if about.is_symlink() {
                path.read_link().unwrap().into_os_string().into_encoded_bytes()
            } else {
                std::fs::read(&path).unwrap()
            };
            let name = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
            out.push((name, about.permissions().mode(), content));
        }
    }
    out.sort();
    out
}

/// What may stand at each place before: nothing, a file with content and mode, or a link.
#[derive(Clone, Debug)]
enum Before {
    Nothing,
    Folder,
    File(Vec<u8>, u32),
    Link(String),
}

fn before() -> impl Strategy<Value = Before> {
    prop_oneof![
        Just(Before::Nothing),
        Just(Before::Folder),
        (any::<Vec<u8>>(), prop_oneof![Just(0o600), Just(0o644), Just(0o4755), Just(0o444)])
            .prop_map(|(content, mode)| Before::File(content, mode)),
        prop_oneof![Just("/etc/passwd".to_owned()), Just("../other".to_owned())].prop_map(Before::Link),
    ]
}

fn plant(root: &Path, places: &[Before]) {
    let paths = [OPTIONS.to_owned(), MODULES.to_owned(), LOADER.to_owned(), library_path()];
    for (path, before) in paths.iter().zip(places) {
        let path = root.join(path);
        match before {
            Before::Nothing => continue,
            _ => std::fs::create_dir_all(path.parent().unwrap()).unwrap(),
        }
        match before {
            Before::File(content, mode) => {
                std::fs::write(&path, content).unwrap();
                std::fs::set_permissions(&path, std::fs::Permissions::from_mode(*mode)).unwrap();
            }
            Before::Link(target) => symlink(target, &path).unwrap(),
            _ => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn uninstalling_is_the_opposite_of_installing(
        places in prop::collection::vec(before(), 4), patch_first: bool, again: bool, edit: bool
    ) {
        let (root, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        plant(root.path(), &places);
        let was = snapshot(root.path());
        let driver = driver(root.path(), &other.path().join("libcogniware.so"));
        if patch_first {
            driver.patch_kernel_module().unwrap();
            driver.verify_installation().unwrap();
        }
        driver.install().unwrap();
        driver.verify_installation().unwrap();
        if again {
            driver.configure_installation(&map(&[("load_modules", "nvidia")])).unwrap();
            driver.install().unwrap();
            driver.verify_installation().unwrap();
        }
        if edit {
            std::fs::write(root.path().join(OPTIONS), "edited").unwrap();
            prop_assert_eq!(driver.verify_installation().unwrap_err().status(), Status::Format);
        }
        driver.uninstall().unwrap();
        prop_assert_eq!(snapshot(root.path()), was);
    }
}

/// Fails, or ends the process as far as the tree can tell, at the `at`-th change. True when there were so many.
fn disturb(root: &Root, at: u32, crash: bool) -> std::rc::Rc<std::cell::Cell<bool>> {
    let reached = std::rc::Rc::new(std::cell::Cell::new(false));
    let (seen, mut count) = (reached.clone(), 0);
    *root.hook.borrow_mut() = Some(Box::new(move |_| {
        count += 1;
        if count == at && crash {
            seen.set(true);
            std::panic::resume_unwind(Box::new("the process ends here"));
        }
        if count == at {
            seen.set(true);
            return Err(std::io::Error::from_raw_os_error(libc::ENOSPC));
        }
        Ok(())
    }));
    reached
}

/// Folders on the way to the state are made before anything can say that they are ours.
fn without_empty_folders_of_the_state(mut list: Vec<(String, u32, Vec<u8>)>) -> Vec<(String, u32, Vec<u8>)> {
    list.retain(|(name, ..)| !change::STATE.starts_with(&format!("{name}/")));
    list
}

#[test]
fn a_failure_or_a_crash_at_any_step_leaves_all_or_nothing() {
    let places = [
        Before::File(b"options nvidia old=1\n".to_vec(), 0o600),
        Before::Nothing,
        Before::Folder,
        Before::Link("libcogniware.so.9".into()),
    ];
    for installed_before in [false, true] {
        for crash in [false, true] {
            for at in 1.. {
                let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
                plant(folder.path(), &places);
                let untouched = snapshot(folder.path());
                let driver = driver(folder.path(), &other.path().join("libcogniware.so"));
                if installed_before {
                    driver.install().unwrap();
                }
                let was = snapshot(folder.path());
                let changes = [("stream_memory_operations", "false"), ("load_modules", "nvidia")];
                driver.configure_installation(&map(&changes)).unwrap();
                let settings = driver.installer.lock().settings.clone();
                let root = Root::open(folder.path()).unwrap();
                let wanted = everything(&settings, &root).unwrap();
                let reached = disturb(&root, at, crash);
                let result = catch_unwind(AssertUnwindSafe(|| change::install(&root, &wanted)));
                *root.hook.borrow_mut() = None;
                let case = format!("step {at}, crash {crash}, installed {installed_before}");
                if !reached.get() {
                    assert!(at > 15 && matches!(result, Ok(Ok(_))), "{case}");
                    break;
                }
                let now = snapshot(folder.path());
                match &result {
                    // Only the removal of what is not needed any more may fail without a word.
                    Ok(Ok(_)) => driver.verify_installation().unwrap(),
                    Ok(Err(e)) => {
                        assert!(e.message().contains("No space left"), "{case}: {e}");
                        assert!(now == was, "{case}: a failure changed something:\n{now:?}\n{was:?}");
                    }
                    Err(_) => {}
                }
                // Whatever was left: the next calls find their way.
                if crash && installed_before {
                    let phase = driver.installation().unwrap()["phase"].clone();
                    let verified = driver.verify_installation();
                    assert_eq!(verified.is_ok(), phase == "installed", "{case}: {verified:?}");
                }
                if crash && at % 2 == 0 {
                    driver.install().unwrap();
                    driver.verify_installation().unwrap();
                }
                match driver.uninstall() {
                    Err(e) if e.status() == Status::NotFound => {}
                    other => other.unwrap(),
                }
                let end = without_empty_folders_of_the_state(snapshot(folder.path()));
                assert_eq!(end, without_empty_folders_of_the_state(untouched), "{case}");
            }
        }
    }
}

#[test]
fn a_removal_that_fails_or_crashes_is_finished_by_the_next_call() {
    for crash in [false, true] {
        for at in 1.. {
            let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
            plant(folder.path(), &[Before::File(b"old".to_vec(), 0o640), Before::Folder, Before::Nothing]);
            let was = snapshot(folder.path());
            let driver = driver(folder.path(), &other.path().join("libcogniware.so"));
            driver.install().unwrap();
            let root = Root::open(folder.path()).unwrap();
            let reached = disturb(&root, at, crash);
            let result = catch_unwind(AssertUnwindSafe(|| change::uninstall(&root)));
            *root.hook.borrow_mut() = None;
            if !reached.get() {
                assert!(at > 8 && matches!(result, Ok(Ok(_))));
                break;
            }
            match driver.uninstall() {
                Err(e) if e.status() == Status::NotFound => {}
                other => other.unwrap(),
            }
            let end = without_empty_folders_of_the_state(snapshot(folder.path()));
            assert_eq!(end, without_empty_folders_of_the_state(was), "step {at}, crash {crash}");
        }
    }
}

#[test]
fn verifying_names_each_difference() {
    let (root, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let driver = driver(root.path(), &other.path().join("libcogniware.so"));
    assert_eq!(driver.verify_installation().unwrap_err().status(), Status::NotFound);
    assert_eq!(driver.uninstall().unwrap_err().status(), Status::NotFound);
    assert_eq!(driver.installation().unwrap()["phase"], "none");
    driver.install().unwrap();
    let report = driver.installation().unwrap();
    assert_eq!((&*report["phase"], &*report["ldconfig_needed"]), ("installed", "true"));
    assert_eq!(report[&format!("file./{OPTIONS}")], "ok");
    assert_eq!(report["parameter.NVreg_EnableStreamMemOPs"], "1");
    let text = std::fs::read_to_string(root.path().join(OPTIONS)).unwrap();
    let line =
        "options nvidia NVreg_EnableStreamMemOPs=1 NVreg_RegistryDwords=PowerMizerEnable=0x1;Other=2\n";
    assert!(text.ends_with(line), "{text}");

    let library = root.path().join(library_path());
    std::fs::set_permissions(&library, std::fs::Permissions::from_mode(0o777)).unwrap();
    std::fs::write(root.path().join(MODULES), "other").unwrap();
    let e = driver.verify_installation().unwrap_err();
    assert_eq!(e.status(), Status::Format);
    for said in [format!("/{}: mode", library_path()), format!("/{MODULES}: changed")] {
        assert!(e.message().contains(&said), "{e}");
    }
    assert!(!e.message().contains(OPTIONS), "{e}");
    std::fs::remove_file(root.path().join(LOADER)).unwrap();
    let e = driver.verify_installation().unwrap_err();
    assert!(e.status() == Status::NotFound && e.message().contains(&format!("/{LOADER}: missing")), "{e}");
    // The same content elsewhere is not the file.
    std::fs::rename(&library, other.path().join("moved")).unwrap();
    symlink(other.path().join("moved"), &library).unwrap();
    assert!(driver.verify_installation().unwrap_err().message().contains("no file"));
    driver.uninstall().unwrap();
    assert!(snapshot(root.path()).is_empty(), "{:?}", snapshot(root.path()));
}

#[test]
fn nothing_outside_of_the_root_is_reached() {
    let (root, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let elsewhere = outside.path().join("etc");
    std::fs::create_dir(&elsewhere).unwrap();
    symlink(&elsewhere, root.path().join("etc")).unwrap();
    let driver = driver(root.path(), &outside.path().join("libcogniware.so"));
    let was = (snapshot(root.path()), snapshot(&elsewhere));
    let e = driver.install().unwrap_err();
    assert!(e.message().contains("symbolic link"), "{e}");
    assert_eq!((snapshot(root.path()), snapshot(&elsewhere)), was);
    // The state is a user's file too: what it names stays below the root.
    let state = root.path().join(change::STATE);
    std::fs::create_dir_all(state.parent().unwrap()).unwrap();
    let victim = outside.path().join("victim");
    std::fs::write(&victim, "precious").unwrap();
    let path = format!("../{}/victim", outside.path().file_name().unwrap().to_str().unwrap());
    let text = format!(
        "{{\"version\":1,\"phase\":\"Removing\",\"folders\":[],\"before\":null,\"files\":[{{\"path\":{path:?},\
         \"sha256\":\"\",\"mode\":0,\"original\":null,\"touched\":false,\"absent\":false}}]}}"
    );
    std::fs::write(&state, text).unwrap();
    let e = driver.uninstall().unwrap_err();
    assert!(e.message().contains("leads elsewhere"), "{e}");
    assert!(victim.exists());
    std::fs::write(&state, "{").unwrap();
    assert_eq!(driver.uninstall().unwrap_err().status(), Status::Format);
}

#[test]
fn what_is_in_the_way_or_locked_is_named_and_nothing_changes() {
    let (root, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let driver = driver(root.path(), &other.path().join("libcogniware.so"));
    let holder = Root::open(root.path()).unwrap();
    holder.lock(true).unwrap();
    for result in
        [driver.install(), driver.uninstall(), driver.patch_kernel_module(), driver.verify_installation()]
    {
        assert_eq!(result.unwrap_err().status(), Status::Busy);
    }
    drop(holder);
    std::fs::create_dir_all(root.path().join("etc/modprobe.d")).unwrap();
    let saved = root.path().join(change::saved(OPTIONS));
    std::fs::write(&saved, "somebody's").unwrap();
    let was = snapshot(root.path());
    let e = driver.install().unwrap_err();
    assert!(e.status() == Status::AlreadyExists && e.message().contains("cogniware-saved"), "{e}");
    std::fs::remove_file(&saved).unwrap();
    std::fs::create_dir(root.path().join(OPTIONS)).unwrap();
    assert!(driver.install().unwrap_err().message().contains("neither a regular file"));
    std::fs::remove_dir(root.path().join(OPTIONS)).unwrap();
    std::fs::write(&saved, "somebody's").unwrap();
    assert_eq!(snapshot(root.path()), was);
    // A kept original that somebody took away: nothing is removed.
    std::fs::remove_file(&saved).unwrap();
    std::fs::write(root.path().join(OPTIONS), "original").unwrap();
    driver.install().unwrap();
    std::fs::remove_file(&saved).unwrap();
    let was = snapshot(root.path());
    let e = driver.uninstall().unwrap_err();
    assert!(e.message().contains("nothing was removed"), "{e}");
    assert_eq!(snapshot(root.path()), was);
}

#[test]
fn keys_are_checked_by_name_all_or_none() {
    let driver = Driver::new(Arc::default());
    let was = driver.installation_settings();
    for (key, value) in [
        ("root", "/x"),
        ("install_root", "relative"),
        ("library", "relative.so"),
        ("load_modules", "nvidia,;rm"),
        ("profiling_for_all", "yes"),
        ("nvidia.modeset", "1"),
        ("nvidia.NVreg_X Y", "1"),
        ("nvidia.NVreg_X", "1 NVreg_Y=2"),
        ("nvidia.NVreg_X", "1\ninstall nvidia /bin/sh"),
    ] {
        let e = driver.configure_installation(&map(&[("resizable_bar", "true"), (key, value)])).unwrap_err();
        assert!(e.status() == Status::InvalidArgument && e.message().contains(key), "{e}");
        assert_eq!(driver.installation_settings(), was);
    }
    assert_eq!(driver.install().unwrap_err().status(), Status::NotInitialized);
    driver.initialize().unwrap();
    let root = tempfile::tempdir().unwrap();
    let keys =
        [("install_root", root.path().to_str().unwrap()), ("library", "none"), ("load_modules", "none")];
    driver.configure_installation(&map(&keys)).unwrap();
    assert!(driver.install().unwrap_err().message().contains("nothing to install"));
    assert!(driver.patch_kernel_module().unwrap_err().message().contains("no parameter"));
    driver.configure_installation(&map(&[("profiling_for_all", "true")])).unwrap();
    // The module that is loaded has the last word.
    std::fs::create_dir_all(root.path().join("proc/driver/nvidia")).unwrap();
    let list = root.path().join("proc/driver/nvidia/params");
    std::fs::write(&list, "EnableStreamMemOPs: 0\nRegistryDwords: \"\"\n").unwrap();
    let e = driver.patch_kernel_module().unwrap_err();
    assert!(e.message().contains("NVreg_RestrictProfilingToAdminUsers"), "{e}");
    assert!(e.advice().unwrap().contains("NVreg_EnableStreamMemOPs"), "{e}");
    std::fs::write(&list, "RestrictProfilingToAdminUsers: 1\n").unwrap();
    driver.patch_kernel_module().unwrap();
    let report = driver.installation().unwrap();
    assert_eq!(report["reload_needed"], "true", "{report:?}");
    assert_eq!(report["loaded.NVreg_RestrictProfilingToAdminUsers"], "1");
    std::fs::write(&list, "RestrictProfilingToAdminUsers: 0\n").unwrap();
    assert_eq!(driver.installation().unwrap()["reload_needed"], "false");
    driver.configure_installation(&map(&[("profiling_for_all", "")])).unwrap();
    assert!(!driver.installation_settings().contains_key("profiling_for_all"));
}

/// Without the rights nothing is touched. Runs as another user where the tests run as root.
#[test]
fn without_permission_nothing_is_touched() {
    let (root, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let driver = driver(root.path(), &other.path().join("libcogniware.so"));
    std::fs::create_dir_all(root.path().join("etc/modprobe.d")).unwrap();
    let mode = |m| std::fs::set_permissions(root.path(), std::fs::Permissions::from_mode(m)).unwrap();
    mode(0o555);
    let was = snapshot(root.path());
    // SAFETY: plain numbers. These raw calls are for this thread alone, unlike libc's own functions.
    let user = |id: u32| unsafe { libc::syscall(libc::SYS_setresuid, -1, id, -1) };
    // SAFETY: it takes nothing.
    let me = unsafe { libc::geteuid() };
    if me == 0 {
        std::fs::set_permissions(other.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(user(65_534), 0);
    }
    let results = [driver.install(), driver.patch_kernel_module()];
    let now = snapshot(root.path());
    assert_eq!(user(me), 0);
    mode(0o755);
    for result in results {
        let e = result.unwrap_err();
        assert!(e.status() == Status::Io && e.message().contains("ermission"), "{e}");
    }
    assert_eq!(now, was);
    driver.install().unwrap();
}
