//! Files below a root folder. Every path is walked name by name from the root's descriptor, and no symbolic link is
//! followed on the way, so nothing outside of the root is reached whatever the tree holds.

use crate::{Error, Result, Status};
use sha2::{Digest, Sha256};
use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// What stands at a path.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Found {
    /// A regular file: its SHA-256 in hexadecimal digits, and its permission bits.
    File {
        /// Of its content.
        sha256: String,
        /// Permission bits.
        mode: u32,
    },
    /// A symbolic link: its SHA-256 stands for where it points.
    Link {
        /// Of its target's text.
        sha256: String,
    },
}

#[cfg(test)]
pub type Hook = Box<dyn FnMut(&str) -> io::Result<()>>;

/// A root folder.
pub struct Root {
    fd: OwnedFd,
    path: PathBuf,
    /// Called before each change with its name; an error is the change's.
    #[cfg(test)]
    pub hook: std::cell::RefCell<Option<Hook>>,
}

pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

fn text(name: &str) -> io::Result<CString> {
    CString::new(name).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))
}

fn answer(code: libc::c_int) -> io::Result<libc::c_int> {
    if code < 0 { Err(io::Error::last_os_error()) } else { Ok(code) }
}

fn open_at(folder: RawFd, name: &str, flags: libc::c_int, mode: u32) -> io::Result<OwnedFd> {
    let name = text(name)?;
    let flags = flags | libc::O_NOFOLLOW | libc::O_CLOEXEC;
    // SAFETY: the name outlives the call; a descriptor that is answered is ours alone.
    unsafe { answer(libc::openat(folder, name.as_ptr(), flags, mode)).map(|fd| OwnedFd::from_raw_fd(fd)) }
}

impl Root {
    /// Opens an existing folder.
    pub fn open(path: &Path) -> Result<Root> {
        let place = format!("install root {}", path.display());
        let path = path.canonicalize().map_err(|e| Error::io(&place, e))?;
        let file = File::open(&path).map_err(|e| Error::io(&place, e))?;
        if !file.metadata().map_err(|e| Error::io(&place, e))?.is_dir() {
            return Err(Error::argument("install_root", format!("{} is no folder", path.display())));
        }
        Ok(Root {
            fd: file.into(),
            path,
            #[cfg(test)]
            hook: Default::default(),
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Locks the root among all processes until it is dropped.
    pub fn lock(&self, alone: bool) -> Result<()> {
        let how = if alone { libc::LOCK_EX } else { libc::LOCK_SH } | libc::LOCK_NB;
        // SAFETY: the descriptor is open.
        answer(unsafe { libc::flock(self.fd.as_raw_fd(), how) }).map(drop).map_err(|e| {
            match e.raw_os_error() {
                Some(libc::EWOULDBLOCK) => {
                    Error::new(Status::Busy, format!("somebody else installs below {}", self.path.display()))
                        .advise("try again when that is done")
                }
                _ => Error::io(format_args!("lock of {}", self.path.display()), e),
            }
        })
    }

    fn step(&self, what: &str) -> io::Result<()> {
        #[cfg(test)]
        if let Some(hook) = self.hook.borrow_mut().as_mut() {
            hook(what)?;
        }
        let _ = what;
        Ok(())
    }

    /// The folder at `path`; `None` when it, or one above it, does not exist.
    fn folder(&self, path: &str) -> io::Result<Option<OwnedFd>> {
        let mut at = self.fd.try_clone()?;
        for name in path.split('/').filter(|n| !n.is_empty()) {
            if name == "." || name == ".." {
                return Err(io::Error::other("a path that leads elsewhere"));
            }
            at = match open_at(at.as_raw_fd(), name, libc::O_RDONLY | libc::O_DIRECTORY, 0) {
                Ok(fd) => fd,
                Err(e) if e.raw_os_error() == Some(libc::ENOENT) => return Ok(None),
                Err(e) if matches!(e.raw_os_error(), Some(libc::ELOOP | libc::ENOTDIR)) => {
                    return Err(io::Error::other(format!(
                        "{name:?} on its way is a symbolic link or no folder; links are not followed"
                    )));
                }
                Err(e) => return Err(e),
            };
        }
        Ok(Some(at))
    }

    fn parent<'p>(&self, path: &'p str) -> io::Result<(OwnedFd, &'p str)> {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        if matches!(name, "" | "." | "..") {
            return Err(io::Error::other("a path that leads elsewhere"));
        }
        let folder = self.folder(folder)?.ok_or_else(|| io::Error::from_raw_os_error(libc::ENOENT))?;
        Ok((folder, name))
    }

    fn explain<T>(&self, what: &str, path: &str, result: io::Result<T>) -> Result<T> {
        result.map_err(|e| {
            let e = Error::io(format_args!("{what} {}", self.path.join(path).display()), e);
            if e.status() == Status::Io {
                e.advise("installing needs the rights of the root folder's owner")
            } else {
                e
            }
        })
    }

    /// Which folders of a file's path do not exist, the outermost first.
    pub fn missing_folders(&self, path: &str) -> Result<Vec<String>> {
        let mut missing = Vec::new();
        for (end, _) in path.match_indices('/') {
            let folder = &path[..end];
            if self.explain("look at", path, self.folder(folder))?.is_none() {
                missing.push(folder.to_owned());
            }
        }
        Ok(missing)
    }

    /// Refuses when the folder in which `path` would be made or replaced cannot be written to.
    pub fn check_writable(&self, path: &str) -> Result<()> {
        let mut folder = path;
        let check = loop {
            folder = folder.rsplit_once('/').map_or("", |(f, _)| f);
            match self.folder(folder) {
                Ok(Some(fd)) => {
                    // SAFETY: descriptor and text outlive the call.
                    let code = unsafe {
                        libc::faccessat(
                            fd.as_raw_fd(),
                            c".".as_ptr(),
                            libc::W_OK | libc::X_OK,
                            libc::AT_EACCESS,
                        )
                    };
                    break answer(code).map(drop);
                }
                Ok(None) => {}
                Err(e) => break Err(e),
            }
        };
        self.explain("no permission to write, nothing was changed:", path, check)
    }

    /// What is at `path`; `None` when nothing is.
    pub fn look(&self, path: &str) -> Result<Option<Found>> {
        self.explain("look at", path, self.look_inner(path))
    }

    fn look_inner(&self, path: &str) -> io::Result<Option<Found>> {
        let (folder, name) = match self.parent(path) {
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) => return Ok(None),
            other => other?,
        };
        let c_name = text(name)?;
        // SAFETY: all bytes zero is a valid `stat`.
        let mut stat: libc::stat = unsafe { std::mem::zeroed() };
        // SAFETY: descriptor, name and output outlive the call.
        let code = unsafe {
            libc::fstatat(folder.as_raw_fd(), c_name.as_ptr(), &mut stat, libc::AT_SYMLINK_NOFOLLOW)
        };
        match answer(code) {
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) => return Ok(None),
            other => other?,
        };
        match stat.st_mode & libc::S_IFMT {
            libc::S_IFREG => {
                let bytes = self.read_inner(path)?;
                Ok(Some(Found::File { sha256: sha256(&bytes), mode: stat.st_mode & 0o7777 }))
            }
            libc::S_IFLNK => {
                let mut target = vec![0u8; 4096];
                // SAFETY: the buffer has the length given.
                let n = unsafe {
                    libc::readlinkat(
                        folder.as_raw_fd(),
                        c_name.as_ptr(),
                        target.as_mut_ptr().cast(),
                        target.len(),
                    )
                };
                target.truncate(usize::try_from(n).map_err(|_| io::Error::last_os_error())?);
                Ok(Some(Found::Link { sha256: sha256(&std::ffi::OsString::from_vec(target).into_vec()) }))
            }
            _ => Err(io::Error::other("neither a regular file nor a symbolic link stands there")),
        }
    }

    /// The content of a regular file.
    pub fn read(&self, path: &str) -> Result<Vec<u8>> {
        self.explain("read", path, self.read_inner(path))
    }

    fn read_inner(&self, path: &str) -> io::Result<Vec<u8>> {
        let (folder, name) = self.parent(path)?;
        // Without O_NONBLOCK a pipe that took the file's place would hang it.
        let mut file = File::from(open_at(folder.as_raw_fd(), name, libc::O_RDONLY | libc::O_NONBLOCK, 0)?);
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// The names in a folder; none when it does not exist.
    pub fn names(&self, folder: &str) -> Vec<String> {
        let Ok(Some(fd)) = self.folder(folder) else { return Vec::new() };
        let list = std::fs::read_dir(format!("/proc/self/fd/{}", fd.as_raw_fd()));
        list.into_iter().flatten().flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect()
    }

    /// Makes a folder; one that exists is fine.
    pub fn make_folder(&self, path: &str) -> Result<()> {
        let make = || {
            self.step("make folder")?;
            let (folder, name) = self.parent(path)?;
            let name = text(name)?;
            // SAFETY: descriptor and name outlive the call.
            match answer(unsafe { libc::mkdirat(folder.as_raw_fd(), name.as_ptr(), 0o755) }) {
                Err(e) if e.raw_os_error() != Some(libc::EEXIST) => return Err(e),
                _ => {}
            }
            sync(&folder)
        };
        self.explain("make the folder", path, make())
    }

    /// Writes a file that must not exist, and sees it on the disk.
    pub fn write_new(&self, path: &str, bytes: &[u8], mode: u32) -> Result<()> {
        let write = || {
            self.step("write")?;
            let (folder, name) = self.parent(path)?;
            let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL;
            let mut file = File::from(open_at(folder.as_raw_fd(), name, flags, 0o600)?);
            file.write_all(bytes)?;
            self.step("set the mode")?;
            // SAFETY: the descriptor is open.
            answer(unsafe { libc::fchmod(file.as_raw_fd(), mode) })?;
            file.sync_all()?;
            self.step("written")
        };
        self.explain("write", path, write())
    }

    /// Keeps what is at `path` under another name of the same folder too: the same file, with everything it has.
    pub fn keep(&self, path: &str, kept: &str) -> Result<()> {
        let keep = || {
            self.step("keep")?;
            let ((folder, name), (_, kept_name)) = (self.parent(path)?, self.parent(kept)?);
            let (from, to) = (text(name)?, text(kept_name)?);
            let fd = folder.as_raw_fd();
            // SAFETY: descriptors and names outlive the call.
            if answer(unsafe { libc::linkat(fd, from.as_ptr(), fd, to.as_ptr(), 0) }).is_err() {
                // A file system without hard links: the name moves. What then fails puts it back.
                // SAFETY: as above.
                answer(unsafe { libc::renameat(fd, from.as_ptr(), fd, to.as_ptr()) })?;
            }
            sync(&folder)
        };
        self.explain("keep", path, keep())
    }

    /// Gives a file another name of the same folder, in place of what has it.
    pub fn rename(&self, from: &str, to: &str) -> Result<()> {
        let rename = || {
            self.step("rename")?;
            let ((folder, from), (_, to)) = (self.parent(from)?, self.parent(to)?);
            let (from, to) = (text(from)?, text(to)?);
            let fd = folder.as_raw_fd();
            // SAFETY: descriptors and names outlive the call.
            answer(unsafe { libc::renameat(fd, from.as_ptr(), fd, to.as_ptr()) })?;
            // Two names of one file stay as they are when one is given the other's place: then this one goes.
            // SAFETY: as above.
            match answer(unsafe { libc::unlinkat(fd, from.as_ptr(), 0) }) {
                Err(e) if e.raw_os_error() != Some(libc::ENOENT) => return Err(e),
                _ => {}
            }
            sync(&folder)
        };
        self.explain("rename", from, rename())
    }

    /// Removes a file or a link; none there is fine.
    pub fn remove(&self, path: &str) -> Result<()> {
        let remove = || {
            let (folder, name) = match self.parent(path) {
                Err(e) if e.raw_os_error() == Some(libc::ENOENT) => return Ok(()),
                other => other?,
            };
            self.step("remove")?;
            let name = text(name)?;
            // SAFETY: descriptor and name outlive the call.
            match answer(unsafe { libc::unlinkat(folder.as_raw_fd(), name.as_ptr(), 0) }) {
                Err(e) if e.raw_os_error() != Some(libc::ENOENT) => return Err(e),
                _ => {}
            }
            sync(&folder)
        };
        self.explain("remove", path, remove())
    }

    /// Removes a folder if it is empty.
    pub fn remove_folder(&self, path: &str) -> Result<()> {
        let remove = || {
            let (folder, name) = match self.parent(path) {
                Err(e) if e.raw_os_error() == Some(libc::ENOENT) => return Ok(()),
                other => other?,
            };
            self.step("remove folder")?;
            let name = text(name)?;
            // SAFETY: descriptor and name outlive the call.
            match answer(unsafe { libc::unlinkat(folder.as_raw_fd(), name.as_ptr(), libc::AT_REMOVEDIR) }) {
                Err(e)
                    if !matches!(e.raw_os_error(), Some(libc::ENOENT | libc::ENOTEMPTY | libc::EEXIST)) =>
                {
                    Err(e)
                }
                _ => Ok(()),
            }
        };
        self.explain("remove the folder", path, remove())
    }
}

fn sync(folder: &OwnedFd) -> io::Result<()> {
    // SAFETY: the descriptor is open.
    answer(unsafe { libc::fsync(folder.as_raw_fd()) }).map(drop)
}
