//! Compiled images on disk, shared by all processes of a user.
//!
//! A file holds one image and is named by its key, a hash over everything that its compilation depends on. It is
//! written beside its place and renamed, so that nobody sees half of one, and begins with a hash of the rest: what is
//! damaged counts as not there. When there is too much, what was not used for longest goes.

use super::{Image, ImageKind, KernelParameter};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

/// Bytes that the folder may hold, unless `COGNIWARE_CACHE_BYTES` says otherwise.
pub const CACHE_BYTES: u64 = 256 << 20;
/// Images that are kept in memory as well, and their bytes.
const MOST_KEPT: usize = 64;
const MOST_KEPT_BYTES: usize = 64 << 20;
/// What somebody began to write and did not finish is removed after this time.
const STALE: Duration = Duration::from_secs(3600);
/// Changes with the layout of the files.
const MAGIC: &[u8; 8] = b"CWKERN02";
const ENDING: &str = "image";

/// A folder of compiled images, and the last ones that went through it in memory. Usable from any thread and by any
/// number of processes at once.
pub struct Cache {
    folder: Option<PathBuf>,
    most: u64,
    kept: Mutex<Vec<([u8; 32], Arc<Image>)>>,
    told: AtomicBool,
}

impl Cache {
    /// A cache of at most `most` bytes in this folder, which is made, for this user alone, when something is stored. A
    /// folder that cannot be used, or that others may write to, is told once in the log; the images are then kept in
    /// memory only. 0 bytes keep nothing.
    pub fn at(folder: impl Into<PathBuf>, most: u64) -> Cache {
        Cache { folder: Some(folder.into()), most, kept: Mutex::default(), told: AtomicBool::new(false) }
    }

    /// The cache that the environment describes: `kernels` in the folder `COGNIWARE_CACHE`, else `cogniware/kernels` in
    /// `XDG_CACHE_HOME`, else in `~/.cache`; of `COGNIWARE_CACHE_BYTES` bytes, else [`CACHE_BYTES`]. The same object
    /// for as long as these stay as they are.
    pub fn of_environment() -> Arc<Cache> {
        static LAST: Mutex<Option<Arc<Cache>>> = Mutex::new(None);
        let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        let folder = set("COGNIWARE_CACHE").map(|f| f.join("kernels")).or_else(|| {
            let caches = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")));
            // A relative path would be another folder wherever the process goes.
            caches.filter(|f| f.is_absolute()).map(|f| f.join("cogniware").join("kernels"))
        });
        let said = set("COGNIWARE_CACHE_BYTES").map(|v| v.display().to_string());
        let most = said.as_deref().map_or(Some(CACHE_BYTES), |v| v.trim().parse().ok());
        let mut last = LAST.lock();
        match &*last {
            Some(cache) if cache.folder == folder && cache.most == most.unwrap_or(CACHE_BYTES) => {
                cache.clone()
            }
            _ => {
                if let (None, Some(said)) = (most, said) {
                    crate::log_later!(
                        Warn,
                        "program",
                        "COGNIWARE_CACHE_BYTES: {said:?} is no number of bytes, {CACHE_BYTES} are used"
                    );
                }
                let most = most.unwrap_or(CACHE_BYTES);
                let cache =
                    Arc::new(Cache { folder, most, kept: Mutex::default(), told: AtomicBool::new(false) });
                *last = Some(cache.clone());
                cache
            }
        }
    }

    /// Its folder; `None` where the environment names none.
    pub fn folder(&self) -> Option<&Path> {
        self.folder.as_deref()
    }

    /// The image with this key, marked as used now. `None` where there is none, or a damaged one, which is removed.
    pub fn get(&self, key: &[u8; 32]) -> Option<Arc<Image>> {
        if self.most == 0 {
            return None;
        }
        let path = self.path(key);
        if let Some(path) = &path
            && self.usable(path.parent()?)
            && let Ok(file) = File::open(path)
        {
            let mut bytes = Vec::new();
            let whole = (&file).take(self.most + 1).read_to_end(&mut bytes).is_ok();
            match read(&bytes).filter(|_| whole) {
                Some(image) => {
                    // Somebody else's clock or a full disk: it is only used less well.
                    let _ = file.set_modified(SystemTime::now());
                    return Some(self.keep(key, Arc::new(image)));
                }
                None => {
                    crate::log!(Warn, "program", "{} is damaged and not used", path.display());
                    let _ = std::fs::remove_file(path);
                }
            }
        }
        self.kept.lock().iter().find(|(k, _)| k == key).map(|(_, image)| image.clone())
    }

    /// Keeps an image under this key.
    pub fn put(&self, key: &[u8; 32], image: &Image) {
        if self.most == 0 {
            return;
        }
        self.keep(key, Arc::new(Image { cached: true, ..image.clone() }));
        let Some(path) = self.path(key) else { return };
        let bytes = written(image);
        if bytes.len() as u64 > self.most {
            return;
        }
        let stored = self.make_folder().and_then(|folder| {
            self.store(folder, &path, &bytes)?;
            self.shrink(folder, &path)
        });
        if let Err(e) = stored {
            self.tell(&e.to_string());
        }
    }

    fn path(&self, key: &[u8; 32]) -> Option<PathBuf> {
        let name: String = key.iter().map(|b| format!("{b:02x}")).collect();
        Some(self.folder.as_ref()?.join(format!("{name}.{ENDING}")))
    }

    fn keep(&self, key: &[u8; 32], image: Arc<Image>) -> Arc<Image> {
        let mut kept = self.kept.lock();
        kept.retain(|(k, _)| k != key);
        kept.push((*key, image.clone()));
        let mut bytes: usize = kept.iter().map(|(_, i)| i.bytes.len()).sum();
        while kept.len() > MOST_KEPT || (bytes > MOST_KEPT_BYTES && kept.len() > 1) {
            bytes -= kept.remove(0).1.bytes.len();
        }
        image
    }

    fn tell(&self, why: &str) {
        if !self.told.swap(true, Ordering::Relaxed) {
            let folder = self.folder.as_deref().unwrap_or(Path::new("")).display();
            crate::log!(
                Warn,
                "program",
                "compiled kernels are not kept in {folder}: {why}; name another folder in COGNIWARE_CACHE"
            );
        }
    }

    /// Whether nobody but this user can have put anything there.
    fn usable(&self, folder: &Path) -> bool {
        let Ok(data) = std::fs::metadata(folder) else { return false };
        // SAFETY: a plain question about the process.
        let own = data.uid() == unsafe { libc::geteuid() };
        if !own || data.mode() & 0o022 != 0 {
            self.tell(if own { "others may write there" } else { "it belongs to another user" });
            return false;
        }
        data.is_dir()
    }

    fn make_folder(&self) -> std::io::Result<&Path> {
        let folder = self.folder.as_deref().ok_or_else(|| std::io::Error::other("there is no folder"))?;
        if !folder.is_dir() {
            DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        match self.usable(folder) {
            true => Ok(folder),
            false => Err(std::io::Error::other("it is not this user's alone")),
        }
    }

    fn store(&self, folder: &Path, path: &Path, bytes: &[u8]) -> std::io::Result<()> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let beside = folder.join(format!("{}-{n}.part", std::process::id()));
        // What a process of the same number left there is nobody's.
        let _ = std::fs::remove_file(&beside);
        let written = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&beside)
            .and_then(|mut file| file.write_all(bytes))
            .and_then(|()| std::fs::rename(&beside, path));
        if written.is_err() {
            let _ = std::fs::remove_file(&beside);
        }
        written
    }

    /// Removes what was not used for longest until the rest is small enough. Others may be doing the same.
    fn shrink(&self, folder: &Path, newest: &Path) -> std::io::Result<()> {
        let now = SystemTime::now();
        let (mut files, mut sum) = (Vec::new(), 0u64);
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            let Ok(data) = std::fs::symlink_metadata(&path) else { continue };
            let used = data.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            match path.extension().and_then(|e| e.to_str()) {
                Some(ENDING) => {
                    sum += data.len();
                    files.push((used, data.len(), path));
                }
                Some("part") if now.duration_since(used).is_ok_and(|age| age > STALE) => {
                    let _ = std::fs::remove_file(path);
                }
                _ => {}
            }
        }
        files.sort();
        for (_, bytes, path) in files {
            if sum <= self.most {
                break;
            }
            if path != newest {
                let _ = std::fs::remove_file(path);
                sum -= bytes;
            }
        }
        Ok(())
    }
}

/// The bytes of a file.
fn written(image: &Image) -> Vec<u8> {
    let mut body = Vec::with_capacity(image.bytes.len() + image.log.len() + 256);
    let mut field = |bytes: &[u8]| {
        body.extend((bytes.len() as u64).to_le_bytes());
        body.extend(bytes);
    };
    field(image.architecture.as_bytes());
    field(image.log.as_bytes());
    field(&(image.lowered.len() as u64).to_le_bytes());
    for (expression, name) in &image.lowered {
        field(expression.as_bytes());
        field(name.as_bytes());
    }
    field(&(image.parameters.len() as u64).to_le_bytes());
    for (name, parameters) in &image.parameters {
        field(name.as_bytes());
        let codes: Vec<String> = parameters.iter().map(KernelParameter::code).collect();
        field(codes.join(" ").as_bytes());
    }
    field(&image.bytes);
    let mut file = MAGIC.to_vec();
    file.extend(Sha256::digest(&body));
    file.extend(body);
    file
}

/// The image of a file; `None` where anything is wrong with it.
fn read(file: &[u8]) -> Option<Image> {
    let rest = file.strip_prefix(MAGIC)?;
    let (hash, mut body) = rest.split_at_checked(32)?;
    if Sha256::digest(body).as_slice() != hash {
        return None;
    }
    let mut field = || {
        let (length, rest) = body.split_first_chunk::<8>()?;
        let (bytes, rest) = rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
        body = rest;
        Some(bytes)
    };
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
    let architecture = text(field()?)?;
    let log = text(field()?)?;
    let count = u64::from_le_bytes(field()?.try_into().ok()?);
    let mut lowered = BTreeMap::new();
    for _ in 0..count {
        let expression = text(field()?)?;
        lowered.insert(expression, text(field()?)?);
    }
    let count = u64::from_le_bytes(field()?.try_into().ok()?);
    let mut parameters = BTreeMap::new();
    for _ in 0..count {
        let name = text(field()?)?;
        let codes = text(field()?)?;
        let all: Option<Vec<_>> = codes.split_whitespace().map(KernelParameter::of_code).collect();
        parameters.insert(name, all?);
    }
    let bytes = field()?.to_vec();
    let kind = ImageKind::of(&bytes).ok()?;
    Some(Image { kind, bytes, lowered, parameters, log, architecture, cached: true })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn image(text: &str) -> Image {
        let mut image = Image::new(
            format!(".version 8.0\n// {text}\n.entry k(.param .f32 x, .param .b8 y[3]) {{}}").into_bytes(),
        )
        .unwrap();
        image.lowered.insert("add<float>".into(), "_Z3addIfEvPT_".into());
        image.log = "a warning".into();
        image.architecture = "sm_90".into();
        image
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap();
        entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn what_is_kept_comes_back_for_its_key_alone() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("a/b");
        let cache = Cache::at(&folder, 1 << 20);
        assert!(cache.get(&[1; 32]).is_none());
        cache.put(&[1; 32], &image("one"));
        // Another process has nothing in memory.
        let other = Cache::at(&folder, 1 << 20);
        let found = other.get(&[1; 32]).unwrap();
        assert_eq!(*found, Image { cached: true, ..image("one") });
        assert!(other.get(&[2; 32]).is_none());
        assert_eq!(std::fs::metadata(&folder).unwrap().mode() & 0o777, 0o700);
        let file = folder.join(&names(&folder)[0]);
        assert_eq!(std::fs::metadata(file).unwrap().mode() & 0o777, 0o600);
        assert!(Cache::at(&folder, 0).get(&[1; 32]).is_none());
    }

    #[test]
    fn a_damaged_file_is_not_used() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o700)).unwrap();
        Cache::at(folder.path(), 1 << 20).put(&[1; 32], &image("one"));
        let path = folder.path().join(&names(folder.path())[0]);
        let good = std::fs::read(&path).unwrap();
        let again = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            let found = Cache::at(folder.path(), 1 << 20).get(&[1; 32]);
            assert_eq!(found.is_some(), path.exists(), "a damaged file stayed");
            found.is_some()
        };
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x40;
            assert!(!again(&bad), "byte {at}");
        }
        for end in 0..good.len() {
            assert!(!again(&good[..end]), "cut at {end}");
        }
        assert!(again(&good));
    }

    #[test]
    fn the_least_recently_used_go_when_there_is_too_much() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o700)).unwrap();
        let big = |n: u8| image(&format!("{n}{}", "x".repeat(1000)));
        let cache = Cache::at(folder.path(), 5000);
        let stale = folder.path().join("1-1.part");
        std::fs::write(&stale, "half").unwrap();
        let old = SystemTime::now() - Duration::from_secs(7200);
        File::options().write(true).open(&stale).unwrap().set_modified(old).unwrap();
        for n in 0..4 {
            cache.put(&[n; 32], &big(n));
            let file = cache.path(&[n; 32]).unwrap();
            let then = SystemTime::now() - Duration::from_secs(100 - u64::from(n));
            File::options().write(true).open(file).unwrap().set_modified(then).unwrap();
        }
        // Used now, so that the second is the oldest.
        let fresh = || Cache::at(folder.path(), 5000);
        assert!(fresh().get(&[0; 32]).is_some());
        cache.put(&[9; 32], &big(9));
        assert!(fresh().get(&[1; 32]).is_none() && fresh().get(&[0; 32]).is_some());
        assert!(fresh().get(&[9; 32]).is_some() && !stale.exists());
        let sum: u64 =
            names(folder.path()).iter().map(|n| folder.path().join(n).metadata().unwrap().len()).sum();
        assert!(sum <= 5000 && sum > 2000, "{sum}");
        // Too large for the whole cache: nothing else goes for it.
        cache.put(&[8; 32], &image(&"x".repeat(6000)));
        assert!(fresh().get(&[8; 32]).is_none() && fresh().get(&[9; 32]).is_some());
    }

    #[test]
    fn a_folder_that_others_may_write_to_is_not_trusted() {
        let folder = tempfile::tempdir().unwrap();
        Cache::at(folder.path(), 1 << 20).put(&[1; 32], &image("one"));
        assert_eq!(names(folder.path()).len(), 1);
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o777)).unwrap();
        let cache = Cache::at(folder.path(), 1 << 20);
        assert!(cache.get(&[1; 32]).is_none());
        // Memory serves where the folder cannot.
        cache.put(&[2; 32], &image("two"));
        assert!(cache.get(&[2; 32]).is_some() && names(folder.path()).len() == 1);
        let nowhere = Cache::at("/proc/cogniware", 1 << 20);
        nowhere.put(&[3; 32], &image("three"));
        assert!(nowhere.get(&[3; 32]).unwrap().cached);
    }
}
