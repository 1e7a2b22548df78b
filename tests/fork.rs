//! A child process that was forked after Cogniware was used gets errors, never a hang; its parent goes on.

use std::ffi::{c_char, c_int};

// The exported functions themselves, as a C program links them.
unsafe extern "C" {
    fn cw_system_initialize() -> i32;
    fn cw_system_shutdown() -> i32;
    fn cw_system_is_initialized(initialized: *mut i32) -> i32;
    fn cw_last_error(buffer: *mut c_char, length: usize, needed: *mut usize) -> i32;
    fn cw_map_create(map: *mut *mut std::ffi::c_void) -> i32;
    fn cw_map_free(map: *mut std::ffi::c_void) -> i32;
}

/// What links the library in.
fn used() -> bool {
    cogniware::system::System::global().is_initialized()
}

/// Runs `body` in a forked child; what it returned, or `None` when it did not end in 20 s.
fn in_child(body: impl FnOnce() -> c_int) -> Option<c_int> {
    // SAFETY: the child runs the body only and leaves without unwinding or destructors.
    let child = unsafe { libc::fork() };
    assert!(child >= 0);
    if child == 0 {
        let answer = body();
        // SAFETY: as above.
        unsafe { libc::_exit(answer) };
    }
    for _ in 0..2000 {
        let mut status = 0;
        // SAFETY: our own child.
        if unsafe { libc::waitpid(child, &mut status, libc::WNOHANG) } == child {
            return Some(if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { 1000 });
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    // SAFETY: our own child, which hangs.
    unsafe { libc::kill(child, libc::SIGKILL) };
    None
}

#[test]
fn a_child_is_told_and_its_parent_goes_on() {
    let unsupported = cogniware::Status::Unsupported as i32;
    // SAFETY: pointers to places on the stack.
    unsafe {
        let mut initialized = -1;
        let mut map = std::ptr::null_mut();
        // A child of a parent that has not used Cogniware may use it.
        let free = in_child(|| {
            let good = cw_system_initialize() == 0 && cw_system_shutdown() == 0;
            c_int::from(!good)
        });
        assert_eq!(free, Some(0), "a child of a process that had not used Cogniware");
        assert_eq!(cw_system_initialize(), 0);
        assert_eq!(cw_map_create(&mut map), 0);
        assert!(used());
        // Somebody uses the library (and its locks) while the process forks.
        let stop = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    let mut own = std::ptr::null_mut();
                    assert_eq!(cw_map_create(&mut own), 0);
                    assert_eq!(cw_map_free(own), 0);
                }
            });
            for round in 0..20 {
                let answer = in_child(|| {
                    let mut text = [0; 512];
                    let mut own = std::ptr::null_mut();
                    let mut there = -1;
                    if cw_system_is_initialized(&mut there) != unsupported || there != -1 {
                        return 1;
                    }
                    if cw_last_error(text.as_mut_ptr(), text.len(), std::ptr::null_mut()) != 0 || text[0] == 0
                    {
                        return 2;
                    }
                    if cw_map_create(&mut own) != unsupported || !own.is_null() {
                        return 3;
                    }
                    // What destructors do at the end of a program.
                    if cw_map_free(map) != unsupported || cw_system_shutdown() != unsupported {
                        return 4;
                    }
                    // And a child's child.
                    in_child(|| c_int::from(cw_system_initialize() != unsupported)).unwrap_or(5)
                });
                assert_eq!(answer, Some(0), "round {round}");
            }
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        assert_eq!(cw_system_is_initialized(&mut initialized), 0);
        assert_eq!(initialized, 1, "the parent was shut down");
        assert_eq!(cw_map_free(map), 0);
        assert_eq!(cw_system_shutdown(), 0);
    }
}
