//! What Cogniware installs on a system: its library with the loader's configuration, options of NVIDIA's kernel
//! module, and which modules are loaded at start. Below a root folder that can be set, all or nothing, and undone
//! byte for byte.

mod change;
mod root;
mod settings;
#[cfg(test)]
mod tests;

use super::Driver;
use crate::{Error, Result, Status};
use change::{Phase, State, Wanted};
use root::{Found, Root};
use settings::Settings;
pub(super) use settings::{is_key, keys};
use std::collections::BTreeMap;

/// Settings of the installation.
#[derive(Default)]
pub(super) struct Installer {
    settings: Settings,
}

const OPTIONS: &str = "etc/modprobe.d/cogniware.conf";
const MODULES: &str = "etc/modules-load.d/cogniware.conf";
const LOADER: &str = "etc/ld.so.conf.d/cogniware.conf";
const LIBRARY_FOLDER: &str = "usr/lib/cogniware";

fn library_path() -> String {
    let (major, minor) = (env!("CARGO_PKG_VERSION_MAJOR"), env!("CARGO_PKG_VERSION_MINOR"));
    format!("{LIBRARY_FOLDER}/libcogniware.so.{major}.{minor}")
}

fn file(path: impl Into<String>, text: String) -> Wanted {
    Wanted { path: path.into(), bytes: text.into_bytes(), mode: 0o644 }
}

const HEAD: &str = "# Installed by Cogniware; its uninstallation puts back what was here before.\n";

/// The options file, or none when no parameter is set.
fn options(settings: &Settings, root: &Root) -> Result<Option<Wanted>> {
    let parameters = settings.parameters();
    settings::check_parameters(&parameters, root)?;
    if parameters.is_empty() {
        return Ok(None);
    }
    let list: Vec<String> = parameters.iter().map(|(k, v)| format!("{k}={v}")).collect();
    Ok(Some(file(OPTIONS, format!("{HEAD}options nvidia {}\n", list.join(" ")))))
}

fn everything(settings: &Settings, root: &Root) -> Result<Vec<Wanted>> {
    let mut wanted = Vec::new();
    if let Some(path) = settings.library() {
        let bytes = std::fs::read(&path)
            .map_err(|e| Error::io(format_args!("key `library`: {}", path.display()), e))?;
        if !bytes.starts_with(b"\x7fELF") {
            return Err(Error::argument("library", format!("{} is no library", path.display())));
        }
        wanted.push(Wanted { path: library_path(), bytes, mode: 0o755 });
        wanted.push(file(LOADER, format!("{HEAD}/{LIBRARY_FOLDER}\n")));
    }
    let modules = settings.load_modules(root);
    if !modules.is_empty() {
        wanted.push(file(MODULES, format!("{HEAD}{}\n", modules.join("\n"))));
    }
    wanted.extend(options(settings, root)?);
    Ok(wanted)
}

impl Driver {
    /// Sets keys of the installation, all or none; an empty value takes a key back to its default. Works before
    /// `initialize` too.
    ///
    /// Keys: `install_root` (default: `COGNIWARE_INSTALL_ROOT`, else `/`); `library` (the file to install; default the
    /// one this code runs from; `none`); `load_modules` (names with commas, `none`, or `auto`: NVIDIA's two when its
    /// driver is loaded); `profiling_for_all`, `stream_memory_operations`, `preserve_video_memory`,
    /// `page_attribute_table`, `resizable_bar` (`true` or `false`); `nvidia.NVreg_…` for any other parameter.
    ///
    /// Errors: `InvalidArgument` naming the key.
    pub fn configure_installation(&self, changes: &BTreeMap<String, String>) -> Result<()> {
        let checked = self.checked_installation(changes)?;
        self.put_installation(checked);
        Ok(())
    }

    /// The settings with `changes` on top, not yet in force.
    pub(super) fn checked_installation(&self, changes: &BTreeMap<String, String>) -> Result<Settings> {
        self.installer.lock().settings.with(changes)
    }

    pub(super) fn put_installation(&self, settings: Settings) {
        self.installer.lock().settings = settings;
    }

    /// The keys of the installation that are in force: those that were set, and the defaults.
    pub fn installation_settings(&self) -> BTreeMap<String, String> {
        self.installer.lock().settings.map()
    }

    /// Installs the library's file and the loader's configuration for it, the list of modules to load at start, and
    /// the options of NVIDIA's kernel module, as far as the settings name them. What stood in a file's place is kept;
    /// folders are made where they are missing. Installing again replaces the files that the settings name now; what an
    /// earlier installation put elsewhere stays until [`Driver::uninstall`].
    ///
    /// Nothing is loaded, started or run: `ldconfig`, and reloading the module, stay with the administrator;
    /// [`Driver::installation`] says what is left to do.
    ///
    /// Errors: `InvalidArgument` when the settings name nothing to install; `Io` without permission or room;
    /// `AlreadyExists` when a file's name for keeping is taken; `Busy` while another process installs. Nothing has
    /// changed then.
    pub fn install(&self) -> Result<()> {
        self.change(|settings, root| {
            let wanted = everything(settings, root)?;
            if wanted.is_empty() {
                return Err(Error::argument("library", "there is nothing to install")
                    .advise("set `library`, `load_modules`, or parameters of NVIDIA's kernel module"));
            }
            change::install(root, &wanted).map(drop)
        })
    }

    /// Puts back what was there before [`Driver::install`] and [`Driver::patch_kernel_module`]: the same files with
    /// the same content and mode, nothing where nothing was. Files of ours that somebody edited go too.
    ///
    /// Errors: `NotFound` when nothing is installed; `Format` when a kept file is missing or changed; `Io`, `Busy`.
    /// When it fails in the middle the next call finishes it.
    pub fn uninstall(&self) -> Result<()> {
        self.change(|_, root| change::uninstall(root).map(drop))
    }

    /// Sets parameters of NVIDIA's kernel module by an options file of `modprobe.d`; they hold from the next load of
    /// the module. The module's binary is never changed: that would break its signature and the licence, and would
    /// be undone by each update. Parameters that a loaded module does not have are refused.
    ///
    /// Errors: `InvalidArgument` when no parameter is set, or an unknown one; otherwise as [`Driver::install`].
    pub fn patch_kernel_module(&self) -> Result<()> {
        self.change(|settings, root| {
            let wanted = options(settings, root)?.ok_or_else(|| {
                Error::argument("nvidia.NVreg_…", "no parameter of NVIDIA's kernel module is set")
                    .advise("set one in the installation's keys, such as stream_memory_operations=true")
            })?;
            change::install(root, &[wanted]).map(drop)
        })
    }

    /// Compares each installed file with what was installed: presence, content, mode.
    ///
    /// Errors: `NotFound` when nothing is installed or a file is missing; `Format` when something differs; the message
    /// names each difference.
    pub fn verify_installation(&self) -> Result<()> {
        self.kernel()?;
        let root = self.install_root()?;
        root.lock(false)?;
        let Some(state) = State::read(&root)? else {
            return Err(Error::not_found(format!("nothing is installed below {}", root.path().display())));
        };
        let mut wrong: Vec<(String, &str)> = Vec::new();
        if state.phase != Phase::Installed {
            wrong.push(("a change".into(), "was interrupted; install or uninstall again"));
        }
        for (path, verdict) in compare(&root, &state)? {
            if verdict != "ok" {
                wrong.push((path, verdict));
            }
        }
        if wrong.is_empty() {
            return Ok(());
        }
        let missing = wrong.iter().any(|(_, verdict)| *verdict == "missing");
        let list: Vec<String> = wrong.iter().map(|(path, verdict)| format!("{path}: {verdict}")).collect();
        let status = if missing { Status::NotFound } else { Status::Format };
        Err(Error::new(status, format!("the installation differs: {}", list.join("; ")))
            .advise("install again, or uninstall"))
    }

    /// What is installed: `root`, `phase` (`none`, `installed`, or `interrupted`), for each file `file.PATH` (`ok`,
    /// `missing`, `changed`, `mode`, `no file`) and `was.PATH` (what it replaced: `nothing`, `file`, `link`), for each
    /// parameter that is set `parameter.NAME` with `loaded.NAME` where the loaded module tells its value;
    /// `reload_needed` when one differs from what is loaded, `ldconfig_needed` when a library was installed.
    pub fn installation(&self) -> Result<BTreeMap<String, String>> {
        let root = self.install_root()?;
        root.lock(false)?;
        let mut out = BTreeMap::new();
        let mut put = |key: String, value: &str| {
            out.insert(key, value.to_owned());
        };
        put("root".into(), &root.path().display().to_string());
        let state = State::read(&root)?;
        put(
            "phase".into(),
            match &state {
                None => "none",
                Some(s) if s.phase == Phase::Installed => "installed",
                Some(_) => "interrupted",
            },
        );
        let (mut reload, mut ldconfig) = (false, false);
        if let Some(state) = &state {
            for (path, verdict) in compare(&root, state)? {
                put(format!("file.{path}"), verdict);
            }
            for e in &state.files {
                let was = match e.original {
                    None => "nothing",
                    Some(Found::File { .. }) => "file",
                    Some(Found::Link { .. }) => "link",
                };
                put(format!("was./{}", e.path), was);
                ldconfig |= e.path == LOADER;
                if e.path == OPTIONS
                    && let Ok(bytes) = root.read(OPTIONS)
                {
                    let loaded = settings::loaded_parameters(&root);
                    for (name, value) in parameters_in(&String::from_utf8_lossy(&bytes)) {
                        reload |= loaded.get(&name).is_some_and(|now| *now != value);
                        if let Some(now) = loaded.get(&name) {
                            put(format!("loaded.{name}"), now);
                        }
                        put(format!("parameter.{name}"), &value);
                    }
                }
            }
        }
        put("reload_needed".into(), if reload { "true" } else { "false" });
        put("ldconfig_needed".into(), if ldconfig { "true" } else { "false" });
        Ok(out)
    }

    fn install_root(&self) -> Result<Root> {
        let path = self.installer.lock().settings.root();
        Root::open(&path)
    }

    fn change(&self, f: impl FnOnce(&Settings, &Root) -> Result<()>) -> Result<()> {
        self.kernel()?;
        let settings = self.installer.lock().settings.clone();
        let root = Root::open(&settings.root())?;
        root.lock(true)?;
        f(&settings, &root)
    }
}

/// Each file with what is wrong with it.
fn compare(root: &Root, state: &State) -> Result<Vec<(String, &'static str)>> {
    let verdict = |e: &change::Entry| {
        Ok(match root.look(&e.path) {
            Ok(None) => "missing",
            Ok(Some(Found::File { sha256, .. })) if sha256 != e.sha256 => "changed",
            Ok(Some(Found::File { mode, .. })) if mode != e.mode => "mode",
            Ok(Some(Found::File { .. })) => "ok",
            Ok(Some(Found::Link { .. })) => "no file",
            // Unreadable for this user is an error of its own; a folder in its place is a difference.
            Err(e) if e.message().contains("neither a regular file") => "no file",
            Err(e) => return Err(e),
        })
    };
    state.files.iter().map(|e| Ok((format!("/{}", e.path), verdict(e)?))).collect()
}

fn parameters_in(text: &str) -> Vec<(String, String)> {
    let lines = text.lines().filter_map(|l| l.strip_prefix("options nvidia "));
    let words = lines.flat_map(|l| l.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
    words.filter_map(|w| w.split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned()))).collect()
}
