//! What is installed, and where: the keys that a user sets.

use super::root::Root;
use crate::{Error, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

type Map = BTreeMap<String, String>;

/// Keys of their own for parameters of NVIDIA's kernel module: key, parameter, its value for `true` and for `false`.
const SWITCHES: [(&str, &str, &str, &str); 5] = [
    ("profiling_for_all", "NVreg_RestrictProfilingToAdminUsers", "0", "1"),
    ("stream_memory_operations", "NVreg_EnableStreamMemOPs", "1", "0"),
    ("preserve_video_memory", "NVreg_PreserveVideoMemoryAllocations", "1", "0"),
    ("page_attribute_table", "NVreg_UsePageAttributeTable", "1", "0"),
    ("resizable_bar", "NVreg_EnableResizableBar", "1", "0"),
];

const LISTED: [&str; 3] = ["install_root", "library", "load_modules"];

/// The keys with a name of their own.
pub fn keys() -> impl Iterator<Item = &'static str> {
    LISTED.into_iter().chain(SWITCHES.iter().map(|s| s.0))
}

/// Whether a key is one of the installation's: those of [`keys`], and `nvidia.NVreg_…`.
pub fn is_key(key: &str) -> bool {
    key.starts_with("nvidia.") || keys().any(|k| k == key)
}

/// Checked settings.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    given: Map,
}

impl Settings {
    /// The settings with `changes` on top; an empty value takes a key back to its default. All or none are taken.
    ///
    /// Errors: `InvalidArgument` naming the key.
    pub fn with(&self, changes: &Map) -> Result<Settings> {
        let mut given = self.given.clone();
        for (key, value) in changes {
            check(key, value)?;
            if value.is_empty() {
                given.remove(key);
            } else {
                given.insert(key.clone(), value.clone());
            }
        }
        Ok(Settings { given })
    }

    /// What is in force: what was given, and the defaults.
    pub fn map(&self) -> Map {
        let mut map = self.given.clone();
        map.insert("install_root".into(), self.root().display().to_string());
        let library = self.library().map_or_else(|| "none".into(), |p| p.display().to_string());
        map.insert("library".into(), library);
        map.entry("load_modules".into()).or_insert_with(|| "auto".into());
        map
    }

    /// The folder that stands for `/`.
    pub fn root(&self) -> PathBuf {
        let env = || std::env::var_os("COGNIWARE_INSTALL_ROOT").filter(|v| !v.is_empty()).map(PathBuf::from);
        self.given.get("install_root").map(PathBuf::from).or_else(env).unwrap_or_else(|| "/".into())
    }

    /// The file that is installed as the library; the one that this code runs from, where that is a library.
    pub fn library(&self) -> Option<PathBuf> {
        match self.given.get("library").map(String::as_str) {
            Some("none") => None,
            Some(path) => Some(path.into()),
            None => own_library(),
        }
    }

    /// Kernel modules that are loaded when the system starts.
    pub fn load_modules(&self, root: &Root) -> Vec<String> {
        match self.given.get("load_modules").map(String::as_str) {
            Some("none") => Vec::new(),
            Some("auto") | None => {
                // Where NVIDIA's driver is not, asking for it would make the start of the system complain.
                let there = root.names("sys/module").iter().any(|m| m == "nvidia");
                if there { vec!["nvidia".into(), "nvidia_uvm".into()] } else { Vec::new() }
            }
            Some(list) => list.split(',').map(|m| m.trim().to_owned()).collect(),
        }
    }

    /// The parameters of NVIDIA's kernel module.
    pub fn parameters(&self) -> Map {
        let mut out = Map::new();
        for (key, value) in &self.given {
            if let Some(name) = key.strip_prefix("nvidia.") {
                out.insert(name.into(), value.clone());
            } else if let Some((_, name, on, off)) = SWITCHES.iter().find(|s| s.0 == key) {
                out.insert((*name).into(), (*if value == "true" { on } else { off }).into());
            }
        }
        out
    }
}

fn check(key: &str, value: &str) -> Result<()> {
    let wrong = |problem: String| Err(Error::argument(key, problem));
    if value.contains(['\n', '\r', '\0']) {
        return wrong("holds a line break or a zero byte".into());
    }
    if let Some(name) = key.strip_prefix("nvidia.") {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if !name.starts_with("NVreg_") || !name.chars().all(plain) {
            return wrong("is no parameter of NVIDIA's kernel module: those are named NVreg_…".into());
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || "_-+.,:;=/@%".contains(c);
        if value.len() > 1000 || !value.chars().all(allowed) {
            return wrong(format!("{value:?} cannot be a value: letters, digits and _-+.,:;=/@% can"));
        }
        return Ok(());
    }
    if SWITCHES.iter().any(|s| s.0 == key) {
        if !matches!(value, "true" | "false" | "") {
            return wrong(format!("{value:?} is neither true nor false"));
        }
        return Ok(());
    }
    match key {
        "install_root" | "library" => {
            let path = Path::new(value);
            let absent = value.is_empty() || (key == "library" && value == "none");
            if !absent && !path.is_absolute() {
                return wrong(format!("{value:?} is no absolute path"));
            }
        }
        "load_modules" => {
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
            let name = |m: &str| !m.trim().is_empty() && m.trim().chars().all(plain);
            if !value.is_empty() && !value.split(',').all(name) {
                return wrong(format!(
                    "{value:?} is no list of module names with commas, and not none or auto"
                ));
            }
        }
        _ => {
            let switches = SWITCHES.iter().map(|s| s.0);
            let all: Vec<&str> = LISTED.into_iter().chain(switches).collect();
            return Err(Error::argument(key, "is no key of the installation")
                .advise(format!("there are {}, and nvidia.NVreg_…", all.join(", "))));
        }
    }
    Ok(())
}

/// The shared library that holds this function; `None` when it is linked into a program.
fn own_library() -> Option<PathBuf> {
    // SAFETY: all bytes zero is a valid `Dl_info`.
    let mut info: libc::Dl_info = unsafe { std::mem::zeroed() };
    let address = own_library as fn() -> Option<PathBuf> as *const std::ffi::c_void;
    // SAFETY: the output outlives the call; the name that it points to lives as long as the library.
    let name = unsafe {
        if libc::dladdr(address, &mut info) == 0 || info.dli_fname.is_null() {
            return None;
        }
        std::ffi::CStr::from_ptr(info.dli_fname)
    };
    let path = Path::new(name.to_str().ok()?).canonicalize().ok()?;
    let file = path.file_name()?.to_str()?;
    file.contains(".so").then(|| path.clone())
}

/// The parameters that the loaded module has, with their values now; empty when it is not loaded. NVIDIA's module
/// lists most in `/proc/driver/nvidia/params`, without the `NVreg_` of their names.
pub fn loaded_parameters(root: &Root) -> Map {
    let mut out = Map::new();
    for name in root.names("sys/module/nvidia/parameters") {
        let value = root.read(&format!("sys/module/nvidia/parameters/{name}")).unwrap_or_default();
        out.insert(name, String::from_utf8_lossy(&value).trim().to_owned());
    }
    let list = root.read("proc/driver/nvidia/params").unwrap_or_default();
    for line in String::from_utf8_lossy(&list).lines() {
        if let Some((name, value)) = line.split_once(':') {
            out.insert(format!("NVreg_{}", name.trim()), value.trim().trim_matches('"').to_owned());
        }
    }
    out
}

/// Refuses parameters that the loaded module does not have.
pub fn check_parameters(wanted: &Map, root: &Root) -> Result<()> {
    let known = loaded_parameters(root);
    let unknown = wanted.keys().find(|name| !known.is_empty() && !known.contains_key(*name));
    let Some(name) = unknown else { return Ok(()) };
    let list: BTreeSet<&str> = known.keys().map(String::as_str).collect();
    Err(Error::argument(&format!("nvidia.{name}"), "the loaded NVIDIA kernel module has no such parameter")
        .advise(format!("it has {}", list.into_iter().collect::<Vec<_>>().join(", "))))
}
