//! Changes of several files as one: all of them are made, or none is.
//!
//! What was at a file's place is kept beside it as `.NAME.cogniware-saved`, so that it comes back as the very same file.
//! [`STATE`] says what is installed and, while a change is under way, what it would do. Writing it is the one step that
//! counts: a process that ends in the middle leaves a state from which the next call takes the change back, or, when
//! it was a removal, finishes it.

use super::root::{Found, Root, sha256};
use crate::{Error, Result, Status};
use serde::{Deserialize, Serialize};

/// Where the state is kept, below the root.
pub const STATE: &str = "var/lib/cogniware/install.json";
const STATE_NEW: &str = "var/lib/cogniware/install.json.new";

/// How far a change is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Files are being put in place; [`State::before`] is what holds if this ends here.
    Changing,
    /// All files are in place.
    Installed,
    /// What was before is being put back.
    Removing,
}

/// One file of ours.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// Below the root.
    pub path: String,
    /// Of our content.
    pub sha256: String,
    /// Our permission bits.
    pub mode: u32,
    /// What was there before; it is kept beside the file.
    pub original: Option<Found>,
    /// While changing: this change puts it there.
    touched: bool,
    /// While changing: nothing was there.
    absent: bool,
}

/// What is installed below a root.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct State {
    version: u32,
    /// How far it is.
    pub phase: Phase,
    /// Our files.
    pub files: Vec<Entry>,
    /// Folders that did not exist before, outermost first.
    pub folders: Vec<String>,
    before: Option<Box<State>>,
}

/// A file that is to be put in place.
pub struct Wanted {
    pub path: String,
    pub bytes: Vec<u8>,
    pub mode: u32,
}

fn beside(path: &str, ending: &str) -> String {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    format!("{folder}/.{name}.cogniware-{ending}")
}

fn fresh(path: &str) -> String {
    beside(path, "new")
}

/// Where the original of a file is kept.
pub fn saved(path: &str) -> String {
    beside(path, "saved")
}

/// Where an older file of ours is kept while it is replaced.
fn previous(path: &str) -> String {
    beside(path, "previous")
}

impl State {
    fn entry(&self, path: &str) -> Option<&Entry> {
        self.files.iter().find(|e| e.path == path)
    }

    /// What is installed below the root, or was begun.
    pub fn read(root: &Root) -> Result<Option<State>> {
        if root.look(STATE)?.is_none() {
            return Ok(None);
        }
        let state: State = serde_json::from_slice(&root.read(STATE)?)
            .map_err(|e| Error::format(format!("{}: {e}", root.path().join(STATE).display())))?;
        if state.version != 1 {
            return Err(Error::unsupported(format!(
                "{} is of version {}, this library knows version 1",
                root.path().join(STATE).display(),
                state.version
            )));
        }
        Ok(Some(state))
    }

    fn write(&self, root: &Root) -> Result<()> {
        let bytes =
            serde_json::to_vec_pretty(self).map_err(|e| Error::new(Status::Internal, e.to_string()))?;
        root.remove(STATE_NEW)?;
        root.write_new(STATE_NEW, &bytes, 0o644)?;
        root.rename(STATE_NEW, STATE)
    }
}

/// Ends what an interrupted call began. Answers what is installed, and whether a removal was finished.
pub fn recover(root: &Root) -> Result<(Option<State>, bool)> {
    let Some(state) = State::read(root)? else {
        if root.look(STATE_NEW)?.is_some() {
            root.remove(STATE_NEW)?;
        }
        return Ok((None, false));
    };
    match state.phase {
        Phase::Installed => {
            for e in &state.files {
                root.remove(&previous(&e.path))?;
            }
            Ok((Some(state), false))
        }
        Phase::Changing => {
            undo(root, &state)?;
            Ok((state.before.map(|b| *b), false))
        }
        Phase::Removing => {
            finish_removal(root, &state)?;
            Ok((None, true))
        }
    }
}

/// Puts these files in place, all or none.
pub fn install(root: &Root, wanted: &[Wanted]) -> Result<State> {
    let (before, _) = recover(root)?;
    let mut state = before.clone().unwrap_or(State {
        version: 1,
        phase: Phase::Installed,
        files: Vec::new(),
        folders: Vec::new(),
        before: None,
    });
    // Everything that can be known beforehand, before anything is touched.
    let mut folders = root.missing_folders(STATE)?;
    root.check_writable(STATE)?;
    for w in wanted {
        root.check_writable(&w.path)?;
        let found = root.look(&w.path)?;
        let ours = before.as_ref().and_then(|b| b.entry(&w.path));
        for name in [fresh(&w.path), if ours.is_some() { previous(&w.path) } else { saved(&w.path) }] {
            if root.look(&name)?.is_some() {
                return Err(Error::new(
                    Status::AlreadyExists,
                    format!("{} is in the way; nothing was changed", root.path().join(name).display()),
                )
                .advise("nobody else makes files of this name: look what it is, then remove it"));
            }
        }
        folders.extend(root.missing_folders(&w.path)?);
        let entry = Entry {
            path: w.path.clone(),
            sha256: sha256(&w.bytes),
            mode: w.mode,
            original: ours.map_or_else(|| found.clone(), |o| o.original.clone()),
            touched: true,
            absent: found.is_none(),
        };
        match state.files.iter_mut().find(|e| e.path == w.path) {
            Some(e) => *e = entry,
            None => state.files.push(entry),
        }
    }
    let mut made: Vec<String> = Vec::new();
    for folder in folders {
        if !made.contains(&folder) {
            made.push(folder);
        }
    }
    state.folders.extend(made.iter().filter(|f| !state.folders.contains(f)).cloned().collect::<Vec<_>>());
    state.phase = Phase::Changing;
    state.before = before.map(Box::new);
    let done = put(root, wanted, &state, &made);
    if let Err(e) = done {
        // The first error is the one that says why. If taking back fails too, the state on the disk says what is left.
        return Err(match undo(root, &state) {
            Ok(()) => e,
            Err(second) => {
                e.advise(format!("taking it back failed too: {second}; the next call will try again"))
            }
        });
    }
    state.phase = Phase::Installed;
    state.before = None;
    for e in &mut state.files {
        // What is in place does not matter any more; only what was before does.
        e.touched = false;
        e.absent = false;
        // Not an error: it is installed, and the next call removes it.
        let _ = root.remove(&previous(&e.path));
    }
    Ok(state)
}

fn put(root: &Root, wanted: &[Wanted], state: &State, made: &[String]) -> Result<()> {
    // The state's own folders first; the others only when the state says that they are ours.
    let (own, other): (Vec<_>, Vec<_>) = made.iter().partition(|f| STATE.starts_with(&format!("{f}/")));
    for folder in own {
        root.make_folder(folder)?;
    }
    state.write(root)?;
    for folder in other {
        root.make_folder(folder)?;
    }
    for w in wanted {
        root.write_new(&fresh(&w.path), &w.bytes, w.mode)?;
    }
    for w in wanted {
        let ours = state.before.as_ref().is_some_and(|b| b.entry(&w.path).is_some());
        if state.entry(&w.path).is_some_and(|e| !e.absent) {
            root.keep(&w.path, &if ours { previous(&w.path) } else { saved(&w.path) })?;
        }
        root.rename(&fresh(&w.path), &w.path)?;
    }
    let mut done = state.clone();
    done.phase = Phase::Installed;
    done.before = None;
    for e in &mut done.files {
        (e.touched, e.absent) = (false, false);
    }
    done.write(root)
}

/// Takes back a change that was not finished.
fn undo(root: &Root, state: &State) -> Result<()> {
    for e in state.files.iter().filter(|e| e.touched) {
        root.remove(&fresh(&e.path))?;
        let ours = state.before.as_ref().is_some_and(|b| b.entry(&e.path).is_some());
        let kept = if ours { previous(&e.path) } else { saved(&e.path) };
        if e.absent {
            // Only our own file goes; one that came meanwhile is somebody's.
            if matches!(root.look(&e.path)?, Some(Found::File { sha256, .. }) if sha256 == e.sha256) {
                root.remove(&e.path)?;
            }
        } else if root.look(&kept)?.is_some() {
            root.rename(&kept, &e.path)?;
        }
    }
    let stay = state.before.as_ref().map_or(&[][..], |b| &b.folders);
    let gone: Vec<&String> = state.folders.iter().filter(|f| !stay.contains(f)).collect();
    match &state.before {
        Some(before) => {
            remove_folders(root, &gone)?;
            before.write(root)
        }
        None => remove_state(root, &gone),
    }
}

fn remove_folders(root: &Root, folders: &[&String]) -> Result<()> {
    folders.iter().rev().try_for_each(|f| root.remove_folder(f))
}

/// Folders go twice: the state's own are not empty before it is gone.
fn remove_state(root: &Root, folders: &[&String]) -> Result<()> {
    remove_folders(root, folders)?;
    root.remove(STATE_NEW)?;
    root.remove(STATE)?;
    remove_folders(root, folders)
}

/// Puts back what was before, byte for byte. Answers the files of ours that had been changed by somebody.
pub fn uninstall(root: &Root) -> Result<Vec<String>> {
    let (state, finished) = recover(root)?;
    let Some(mut state) = state else {
        if finished {
            return Ok(Vec::new());
        }
        return Err(Error::not_found(format!("nothing is installed below {}", root.path().display()))
            .advise("install first, or set install_root to where it was installed"));
    };
    root.check_writable(STATE)?;
    let mut changed = Vec::new();
    for e in &state.files {
        root.check_writable(&e.path)?;
        let kept = root.look(&saved(&e.path))?;
        if e.original.is_some() && kept != e.original {
            return Err(Error::format(format!(
                "{}, which was there before, is missing or changed; nothing was removed",
                root.path().join(saved(&e.path)).display()
            )));
        }
        if !matches!(root.look(&e.path)?, Some(Found::File { sha256, .. }) if sha256 == e.sha256) {
            changed.push(e.path.clone());
        }
    }
    state.phase = Phase::Removing;
    state.write(root)?;
    finish_removal(root, &state)?;
    Ok(changed)
}

fn finish_removal(root: &Root, state: &State) -> Result<()> {
    for e in &state.files {
        if e.original.is_none() {
            root.remove(&e.path)?;
        } else if root.look(&saved(&e.path))?.is_some() {
            root.rename(&saved(&e.path), &e.path)?;
        }
    }
    remove_state(root, &state.folders.iter().collect::<Vec<_>>())
}
