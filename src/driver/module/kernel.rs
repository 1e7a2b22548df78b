//! Modules of the operating system's kernel: what is checked before the kernel is asked, and what its answers mean.

use super::image::Packing;
use crate::program::{Elf, RELOCATABLE};
use crate::{Error, Result, Status};
use std::ffi::{CStr, CString};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

/// The kernel that runs here.
pub struct Host {
    /// `uname -r`.
    pub release: String,
    /// `e_machine` of its modules.
    pub machine: u16,
    /// Where `/sys` is.
    pub sys: PathBuf,
}

impl Host {
    /// The running kernel.
    pub fn running() -> Result<Host> {
        // SAFETY: all bytes zero is a valid `utsname`.
        let mut name: libc::utsname = unsafe { std::mem::zeroed() };
        // SAFETY: `name` outlives the call.
        if unsafe { libc::uname(&mut name) } != 0 {
            return Err(Error::io("uname(2)", std::io::Error::last_os_error()));
        }
        // SAFETY: the kernel ends its texts with a zero byte.
        let release = unsafe { CStr::from_ptr(name.release.as_ptr()) }.to_string_lossy().into_owned();
        let machine = if cfg!(target_arch = "aarch64") { 183 } else { 62 };
        Ok(Host { release, machine, sys: "/sys".into() })
    }

    fn loaded(&self, name: &str) -> bool {
        self.sys.join("module").join(name).join("initstate").exists()
    }
}

/// The name of the module in a file: what its `.modinfo` says, else the file's name up to the first dot.
fn name_of(path: &Path, info: &[(String, String)]) -> String {
    let said = info.iter().find(|(k, _)| k == "name").map(|(_, v)| v.clone());
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    let stem = file.split('.').next().unwrap_or_default();
    said.unwrap_or_else(|| stem.to_owned()).replace('-', "_")
}

/// Checks what can be known before the kernel is asked, and answers the module's name.
pub fn check(path: &Path, bytes: &[u8], packing: Packing, parameters: &str, host: &Host) -> Result<String> {
    let mut info = Vec::new();
    if packing == Packing::Plain {
        let elf = Elf::parse(bytes)?;
        if elf.kind != RELOCATABLE {
            let what = match elf.kind {
                2 => "a program",
                3 => "a shared library or a program",
                4 => "a memory dump",
                _ => "of an unknown kind",
            };
            return Err(Error::format(format!(
                "is an ELF file, but {what}: a kernel module is a relocatable object"
            )));
        }
        if elf.machine != host.machine {
            return Err(Error::unsupported(format!(
                "is for another processor: its ELF machine is {}, this kernel's is {}",
                elf.machine, host.machine
            ))
            .advise("build the module for this machine"));
        }
        info = elf.modinfo().ok_or_else(|| {
            Error::format("is an object file, but no kernel module: it has no .modinfo").advise(
                "link it with the kernel's build system (make -C /lib/modules/$(uname -r)/build M=$PWD)",
            )
        })?;
        let magic =
            info.iter().find(|(k, _)| k == "vermagic").map(|(_, v)| v.as_str()).ok_or_else(|| {
                Error::format("has no vermagic: it does not say for which kernel it was built")
            })?;
        let built_for = magic.split(' ').next().unwrap_or_default();
        // With checksums of its symbols a module may be of another release: the kernel compares those instead.
        if built_for != host.release && elf.section("__versions").is_none() {
            return Err(Error::unsupported(format!(
                "was built for kernel {built_for:?} (vermagic {magic:?}), this one is {:?}",
                host.release
            ))
            .advise("build the module for the running kernel, or boot the kernel that it is for"));
        }
    } else {
        let known = std::fs::read_to_string(host.sys.join("module/compression")).unwrap_or_default();
        let known = known.trim();
        if !known.is_empty() && known != "none" && known != packing.name() {
            return Err(Error::unsupported(format!(
                "is packed with {}, the running kernel unpacks {known} only",
                packing.name()
            ))
            .advise("unpack the file and load the .ko"));
        }
    }
    check_parameters(parameters, &info)?;
    let name = name_of(path, &info);
    if host.loaded(&name) {
        return Err(Error::new(
            Status::AlreadyExists,
            format!("the kernel module {name:?} is loaded already"),
        )
        .advise("unload it first; its parameters can be changed in /sys/module where they are writable"));
    }
    Ok(name)
}

/// The kernel only logs parameters that it does not know; here they are refused by name.
fn check_parameters(text: &str, info: &[(String, String)]) -> Result<()> {
    if text.contains('\0') {
        return Err(Error::argument("parameters", "holds a zero byte"));
    }
    let known: Vec<&str> = info
        .iter()
        .filter(|(k, _)| k == "parm" || k == "parmtype")
        .filter_map(|(_, v)| v.split(':').next())
        .collect();
    let mut quoted = false;
    for word in text.split(|c: char| {
        quoted ^= c == '"';
        c.is_whitespace() && !quoted
    }) {
        let name = word.split('=').next().unwrap_or_default().replace('-', "_");
        // Without `.modinfo` (a packed module) nothing is known of them.
        if !name.is_empty() && !info.is_empty() && !known.iter().any(|k| k.replace('-', "_") == name) {
            let list = if known.is_empty() { "none".into() } else { known.join(", ") };
            return Err(Error::argument("parameters", format!("the module has no parameter {name:?}"))
                .advise(format!("it has: {list}")));
        }
    }
    if quoted {
        return Err(Error::argument("parameters", "has a quotation mark that is not closed"));
    }
    Ok(())
}

/// Gives the open file to `finit_module(2)`.
pub fn insert(file: &File, packing: Packing, parameters: &str) -> Result<()> {
    const COMPRESSED: libc::c_int = 4;
    let text = CString::new(parameters).map_err(|_| Error::argument("parameters", "holds a zero byte"))?;
    let flags = if packing == Packing::Plain { 0 } else { COMPRESSED };
    // SAFETY: descriptor and text outlive the call.
    let answer = unsafe { libc::syscall(libc::SYS_finit_module, file.as_raw_fd(), text.as_ptr(), flags) };
    if answer == 0 {
        return Ok(());
    }
    Err(insert_error(errno(), packing, Path::new("/proc")))
}

/// Gives the name to `delete_module(2)`; never by force.
pub fn remove(name: &str) -> Result<()> {
    let text = CString::new(name).map_err(|_| Error::argument("name", "holds a zero byte"))?;
    // SAFETY: the text outlives the call.
    let answer = unsafe { libc::syscall(libc::SYS_delete_module, text.as_ptr(), libc::O_NONBLOCK) };
    if answer == 0 {
        return Ok(());
    }
    Err(remove_error(errno(), name, Path::new("/sys")))
}

fn errno() -> i32 {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

fn not_permitted(call: &str, proc: &Path) -> Error {
    let locked = std::fs::read_to_string(proc.join("sys/kernel/modules_disabled"));
    if locked.is_ok_and(|text| text.trim() == "1") {
        return Error::new(
            Status::Io,
            format!("{call} answered EPERM: the kernel loads and unloads no modules any more"),
        )
        .advise("/proc/sys/kernel/modules_disabled is 1 until the next boot");
    }
    Error::new(Status::Io, format!("{call} answered EPERM: no permission"))
        .advise("run as root (CAP_SYS_MODULE), outside of a container; a locked-down kernel takes signed modules only")
}

/// What an answer of `finit_module(2)` means.
fn insert_error(code: i32, packing: Packing, proc: &Path) -> Error {
    let call = "finit_module(2)";
    let (status, text, advice) = match code {
        libc::EPERM => return not_permitted(call, proc),
        libc::EEXIST => (Status::AlreadyExists, "EEXIST: the module is loaded already", "unload it first"),
        libc::ENOEXEC => (
            Status::Format,
            "ENOEXEC: the kernel does not take the file as a module for it",
            "its vermagic or symbol versions differ from the kernel's; see the kernel log (dmesg)",
        ),
        libc::ENOENT => (
            Status::Unsupported,
            "ENOENT: the module needs symbols that the kernel does not have",
            "load the modules that it depends on first (modinfo -F depends); dmesg names the symbols",
        ),
        libc::EINVAL => (
            Status::InvalidArgument,
            "EINVAL: the kernel refused parameters or content of the module",
            "see the kernel log (dmesg)",
        ),
        libc::ENOKEY | libc::EKEYREJECTED => (
            Status::Unsupported,
            "EKEYREJECTED: the kernel takes only modules signed with a key that it knows",
            "sign the module with a key of the kernel or of the machine's owner (mokutil)",
        ),
        libc::EBADMSG => (Status::Format, "EBADMSG: the module's signature is damaged", "sign it anew"),
        libc::ETXTBSY => (Status::Busy, "ETXTBSY: somebody has the file open for writing", "close it first"),
        libc::EBUSY => {
            (Status::Busy, "EBUSY: a module of this name is being loaded or unloaded", "try again")
        }
        libc::ENOMEM => (Status::OutOfMemory, "ENOMEM: the kernel has no memory for it", "free memory"),
        libc::ENOSYS => (
            Status::Unsupported,
            "ENOSYS: the kernel was built without loadable modules",
            "use a kernel with CONFIG_MODULES",
        ),
        libc::EOPNOTSUPP if packing != Packing::Plain => (
            Status::Unsupported,
            "EOPNOTSUPP: the kernel does not unpack this compression",
            "unpack the file and load the .ko (unpacking in the kernel needs CONFIG_MODULE_DECOMPRESS, Linux 5.17)",
        ),
        libc::ENODEV => (
            Status::NoDevice,
            "ENODEV: the module found no device that it is for",
            "see the kernel log (dmesg)",
        ),
        _ => {
            let cause = std::io::Error::from_raw_os_error(code);
            return Error::new(Status::Io, format!("{call}: {cause}"))
                .advise("the module's own start failed, or the system refused; see the kernel log (dmesg)");
        }
    };
    Error::new(status, format!("{call} answered {text}")).advise(advice)
}

/// What an answer of `delete_module(2)` means.
fn remove_error(code: i32, name: &str, sys: &Path) -> Error {
    let call = format!("delete_module(2) of {name:?}");
    match code {
        libc::EPERM => not_permitted(&call, Path::new("/proc")),
        libc::ENOENT => Error::not_found(format!("{call} answered ENOENT: no module of this name is loaded")),
        libc::EWOULDBLOCK => {
            let module = sys.join("module").join(name);
            let count = std::fs::read_to_string(module.join("refcnt")).unwrap_or_default();
            let holders = std::fs::read_dir(module.join("holders")).into_iter().flatten().flatten();
            let holders: Vec<_> = holders.map(|h| h.file_name().to_string_lossy().into_owned()).collect();
            Error::new(
                Status::Busy,
                format!(
                    "{call} answered EWOULDBLOCK: it is in use ({} users, modules {holders:?})",
                    count.trim()
                ),
            )
            .advise("end what uses it first")
        }
        libc::EBUSY => {
            Error::new(Status::Busy, format!("{call} answered EBUSY: it is starting, or cannot be unloaded"))
                .advise("a module without an exit function stays until the next boot")
        }
        libc::ENOSYS => Error::unsupported(format!("{call} answered ENOSYS: the kernel unloads no modules"))
            .advise("use a kernel with CONFIG_MODULE_UNLOAD"),
        _ => Error::io(call, std::io::Error::from_raw_os_error(code)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::made::elf;

    fn host(sys: &Path) -> Host {
        Host { release: "6.1.0-test".into(), machine: 62, sys: sys.into() }
    }

    #[test]
    fn each_wrong_file_is_told_apart() {
        let sys = tempfile::tempdir().unwrap();
        let host = host(sys.path());
        let good = b"name=nice_module\0vermagic=6.1.0-test SMP\0parm=depth:how deep\0parmtype=depth:int\0";
        let other = b"vermagic=5.9.9 SMP\0";
        let path = Path::new("/x/my-module.v2.ko");
        let plain = |kind, machine, sections: &[(&str, &[u8])], parameters: &str| {
            check(path, &elf(kind, machine, sections), Packing::Plain, parameters, &host)
        };
        let info = |text: &'static [u8]| -> Vec<(&'static str, &'static [u8])> { vec![(".modinfo", text)] };
        assert_eq!(plain(1, 62, &info(good), "depth=3").unwrap(), "nice_module");
        for (result, status, said) in [
            (plain(2, 62, &info(good), ""), Status::Format, "a program"),
            (plain(3, 62, &info(good), ""), Status::Format, "shared library"),
            (plain(1, 183, &info(good), ""), Status::Unsupported, "another processor"),
            (plain(1, 62, &[], ""), Status::Format, "no .modinfo"),
            (plain(1, 62, &info(b"name=x\0"), ""), Status::Format, "no vermagic"),
            (plain(1, 62, &info(other), ""), Status::Unsupported, "5.9.9"),
            (plain(1, 62, &info(good), "width=3"), Status::InvalidArgument, "\"width\""),
            (plain(1, 62, &info(good), "depth=\"3"), Status::InvalidArgument, "quotation"),
            (check(path, b"text", Packing::Plain, "", &host), Status::Format, "not an ELF"),
        ] {
            let e = result.unwrap_err();
            assert!(e.status() == status && e.message().contains(said), "{said}: {e}");
        }
        // Another release with checksums of symbols is the kernel's to judge.
        let versions = [(".modinfo", &other[..]), ("__versions", &[0u8; 64][..])];
        assert_eq!(plain(1, 62, &versions, "").unwrap(), "my_module");
        // A packed one is, too, unless the kernel says that it cannot unpack it.
        assert_eq!(check(path, b"", Packing::Xz, "any=1", &host).unwrap(), "my_module");
        std::fs::create_dir_all(sys.path().join("module/my_module")).unwrap();
        std::fs::write(sys.path().join("module/compression"), "zstd\n").unwrap();
        let e = check(path, b"", Packing::Xz, "", &host).unwrap_err();
        assert!(e.message().contains("zstd only"), "{e}");
        std::fs::write(sys.path().join("module/my_module/initstate"), "live\n").unwrap();
        let e = check(path, b"", Packing::Zstd, "", &host).unwrap_err();
        assert_eq!(e.status(), Status::AlreadyExists, "{e}");
    }

    #[test]
    fn answers_of_the_kernel_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let seen: Vec<String> = [
            libc::EPERM,
            libc::EEXIST,
            libc::ENOEXEC,
            libc::ENOENT,
            libc::EINVAL,
            libc::EKEYREJECTED,
            libc::EBADMSG,
            libc::ETXTBSY,
            libc::EBUSY,
            libc::ENOMEM,
            libc::ENOSYS,
            libc::EOPNOTSUPP,
            libc::ENODEV,
            libc::EIO,
        ]
        .iter()
        .map(|&code| insert_error(code, Packing::Xz, folder.path()))
        .inspect(|e| assert!(e.advice().is_some(), "{e}"))
        .map(|e| e.message().to_owned())
        .collect();
        let mut different = seen.clone();
        different.sort();
        different.dedup();
        assert_eq!(different.len(), seen.len(), "{seen:?}");
        std::fs::create_dir_all(folder.path().join("sys/kernel")).unwrap();
        std::fs::write(folder.path().join("sys/kernel/modules_disabled"), "1\n").unwrap();
        let e = insert_error(libc::EPERM, Packing::Plain, folder.path());
        assert!(e.advice().unwrap().contains("next boot"), "{e}");
        std::fs::create_dir_all(folder.path().join("module/m/holders/other")).unwrap();
        std::fs::write(folder.path().join("module/m/refcnt"), "2\n").unwrap();
        let e = remove_error(libc::EWOULDBLOCK, "m", folder.path());
        assert!(e.status() == Status::Busy && e.message().contains("2 users, modules [\"other\"]"), "{e}");
        assert_eq!(remove_error(libc::ENOENT, "m", folder.path()).status(), Status::NotFound);
    }

    /// The calls themselves, with what no kernel takes: each answers, and nothing is loaded or unloaded.
    #[test]
    fn the_system_calls_are_made() {
        let file = tempfile::tempfile().unwrap();
        let e = insert(&file, Packing::Plain, "").unwrap_err();
        assert!(e.message().contains("finit_module(2)"), "{e}");
        // Without permission EPERM; with it an empty file is no module, or there are no modules at all.
        assert!(
            ["EPERM", "ENOEXEC", "ENOSYS", "EINVAL", "ETXTBSY"].iter().any(|c| e.message().contains(c)),
            "{e}"
        );
        let e = remove("cogniware_no_such_module").unwrap_err();
        assert!(["EPERM", "ENOENT", "ENOSYS"].iter().any(|c| e.message().contains(c)), "{e}");
    }
}
