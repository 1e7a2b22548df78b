//! Gives the shared library its SONAME; cargo sets none by itself.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let version = env!("CARGO_PKG_VERSION");
    let mut parts = version.split('.');
    let (major, minor) = (parts.next().unwrap_or("0"), parts.next().unwrap_or("0"));
    // Before 1.0 a minor release may break the ABI, so it is part of the name.
    let abi = if major == "0" { format!("0.{minor}") } else { major.to_string() };
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux") {
        println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libcogniware.so.{abi}");
        // Thread-local destructors of the library may run after dlclose; it is never unloaded.
        println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
    }
}
