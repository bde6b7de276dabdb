//! Compiled components on disk.
//!
//! Invariant: a file is mapped as native code only if this installation wrote it: the folder is private to this user,
//! and each file stands under a keyed MAC that covers its content and what it was compiled from and for.
//! Not here: compiling (`compile.rs`).

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustls::crypto::CryptoProvider;

/// Files kept; the oldest go first.
const CACHE_FILES_MAX: usize = 256;
const KEY_FILE: &str = "installation.key";

/// A private folder of `.cwasm` files.
#[derive(Debug)]
pub(crate) struct Cache {
    dir: PathBuf,
    key: [u8; 32],
}

/// What a compiled file is of and for: both are part of its name and of its MAC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CacheKey {
    /// BLAKE3 of the component, in hex.
    pub digest: String,
    /// Hash of the engine's version and settings and of the CPU's features.
    pub engine: u64,
}

impl CacheKey {
    fn stem(&self) -> String {
        format!("{}-{:016x}", &self.digest[..self.digest.len().min(32)], self.engine)
    }
}

impl Cache {
    /// Opens the folder, making it if it is not there. Refuses one that others can write to.
    pub(crate) fn open(dir: &Path, random: &CryptoProvider) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let meta = fs::symlink_metadata(dir)?;
        if !meta.is_dir() {
            return Err(refuse(format!("{} is not a folder", dir.display())));
        }
        if meta.uid() != rustix::process::geteuid().as_raw() {
            return Err(refuse(format!("{} belongs to another user", dir.display())));
        }
        if meta.mode() & 0o077 != 0 {
            return Err(refuse(format!("others may use {}: run `chmod 700` on it", dir.display())));
        }
        let key = read_or_make_key(&dir.join(KEY_FILE), random)?;
        Ok(Self { dir: dir.to_owned(), key })
    }

    /// The checked file of `key`, if there is one.
    pub(crate) fn get(&self, key: &CacheKey) -> Option<PathBuf> {
        let (file, mac) = self.paths(key);
        let content = fs::read(&file).ok()?;
        let mac = fs::read(mac).ok()?;
        let mac: [u8; 32] = mac.try_into().ok()?;
        // `blake3::Hash` compares in constant time.
        (self.mac(key, &content) == blake3::Hash::from_bytes(mac)).then_some(file)
    }

    /// Takes the compiler's output, a file in this folder, as the one of `key`.
    pub(crate) fn put(&self, key: &CacheKey, compiled: &Path) -> io::Result<PathBuf> {
        let (file, mac_file) = self.paths(key);
        let mac = self.mac(key, &fs::read(compiled)?);
        let mac_tmp = compiled.with_extension("mac-tmp");
        write_private(&mac_tmp, mac.as_bytes())?;
        // Between the two renames the pair does not match, and is compiled again: never wrong, only slow.
        fs::rename(compiled, &file)?;
        fs::rename(&mac_tmp, &mac_file)?;
        self.trim();
        Ok(file)
    }

    /// A name in this folder that nobody else has.
    pub(crate) fn scratch(&self, extension: &str) -> PathBuf {
        self.dir.join(unique(extension))
    }

    fn paths(&self, key: &CacheKey) -> (PathBuf, PathBuf) {
        let stem = key.stem();
        (self.dir.join(format!("{stem}.cwasm")), self.dir.join(format!("{stem}.mac")))
    }

    fn mac(&self, key: &CacheKey, content: &[u8]) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(&(key.digest.len() as u64).to_le_bytes());
        hasher.update(key.digest.as_bytes());
        hasher.update(&key.engine.to_le_bytes());
        hasher.update(content);
        hasher.finalize()
    }

    /// Removes the oldest files past the bound. A file that is mapped stays usable after it is unlinked.
    fn trim(&self) {
        let Ok(entries) = fs::read_dir(&self.dir) else { return };
        let mut files: Vec<_> = entries
            .flatten()
            .filter(|e| e.path().extension().is_some_and(|x| x == "cwasm"))
            .filter_map(|e| Some((e.metadata().ok()?.modified().ok()?, e.path())))
            .collect();
        files.sort();
        let surplus = files.len().saturating_sub(CACHE_FILES_MAX);
        for (_, path) in files.into_iter().take(surplus) {
            let _ = fs::remove_file(path.with_extension("mac"));
            let _ = fs::remove_file(path);
        }
    }
}

/// A file name that no other call, in whatever process of now, is given.
fn unique(extension: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    // A process that died may have left a file under the same number: the time tells them apart.
    let started = std::time::UNIX_EPOCH.elapsed().map_or(0, |d| d.as_nanos());
    format!("tmp-{}-{started:x}-{n}.{extension}", std::process::id())
}

/// A file that only this user can read.
pub(crate) fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(content)
}

fn read_or_make_key(path: &Path, random: &CryptoProvider) -> io::Result<[u8; 32]> {
    let read = || -> io::Result<[u8; 32]> {
        fs::read(path)?.try_into().map_err(|_| refuse(format!("{} is damaged: delete it", path.display())))
    };
    match read() {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        answer => return answer,
    }
    let mut key = [0; 32];
    random.secure_random.fill(&mut key).map_err(|_| io::Error::other("the system gives no randomness"))?;
    // Linked under its name only when complete, and only if no other process was first.
    let scratch = path.with_file_name(unique("tmp"));
    write_private(&scratch, &key)?;
    let linked = fs::hard_link(&scratch, path);
    let _ = fs::remove_file(&scratch);
    match linked {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(e),
        _ => read(),
    }
}

fn refuse(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, message)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn those_who_open_a_new_cache_at_once_share_its_key() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("cache");
        let keys: Vec<[u8; 32]> = std::thread::scope(|scope| {
            let open = || scope.spawn(|| open(&dir).unwrap().key);
            let threads: Vec<_> = std::iter::repeat_with(open).take(16).collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        });
        assert!(keys.iter().all(|k| *k == keys[0]));
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1, "nothing but the key is left");
    }

    fn key() -> CacheKey {
        CacheKey { digest: "ab".repeat(32), engine: 7 }
    }

    fn open(dir: &Path) -> io::Result<Cache> {
        Cache::open(dir, &rustls::crypto::ring::default_provider())
    }

    fn filled() -> (tempfile::TempDir, Cache, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let cache = open(&dir.path().join("cache")).unwrap();
        let compiled = cache.scratch("cwasm-tmp");
        write_private(&compiled, b"native code").unwrap();
        let file = cache.put(&key(), &compiled).unwrap();
        (dir, cache, file)
    }

    #[test]
    fn what_was_put_is_found_also_after_a_restart() {
        let (dir, cache, file) = filled();
        assert_eq!(cache.get(&key()), Some(file.clone()));
        assert_eq!(open(&dir.path().join("cache")).unwrap().get(&key()), Some(file));
    }

    #[test]
    fn a_file_that_was_changed_is_not_taken() {
        let (_dir, cache, file) = filled();
        fs::write(&file, b"evil code!!").unwrap();
        assert_eq!(cache.get(&key()), None);
    }

    #[test]
    fn a_file_of_another_component_or_engine_is_not_taken() {
        let (_dir, cache, file) = filled();
        let other = CacheKey { engine: 8, ..key() };
        let (other_file, other_mac) = cache.paths(&other);
        fs::copy(&file, &other_file).unwrap();
        fs::copy(file.with_extension("mac"), other_mac).unwrap();
        assert_eq!(cache.get(&other), None);
    }

    #[test]
    fn a_file_under_another_installations_key_is_not_taken() {
        let (dir, _, _) = filled();
        let folder = dir.path().join("cache");
        fs::remove_file(folder.join(KEY_FILE)).unwrap();
        assert_eq!(open(&folder).unwrap().get(&key()), None);
    }

    #[test]
    fn a_folder_that_others_may_use_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let message = open(dir.path()).unwrap_err().to_string();
        assert!(message.contains("chmod 700"), "{message}");
    }
}
