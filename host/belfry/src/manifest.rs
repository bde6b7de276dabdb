//! What a backup should hold: `backup.json`, written into it last (docs/formats/backup.md).
//!
//! Invariant: a folder in which [`wrong`] finds nothing has every file that was backed up, each of its length.
//! Not here: whether what is in the files is right, which each format says itself.

use std::io::{self, Read as _, Write as _};
use std::path::Path;

use serde::{Deserialize, Serialize};

/// The file in a backup.
pub const FILE: &str = "backup.json";
const UNFINISHED: &str = "backup.json.new";
/// The format that is written.
const VERSION: u32 = 1;
/// The root of a file system has this folder from the beginning.
const LOST_AND_FOUND: &str = "lost+found";
/// Files are read in pieces of this size.
const READ_BYTES: usize = 1 << 20;
/// Files without checksums of their own, which are therefore here.
const SUMMED: [&str; 2] = [crate::app::STATE_FILE, crate::retention::FILE];

#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    version: u32,
    /// The Belfry that made it.
    belfry: String,
    files: Vec<Listed>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Listed {
    /// Within the backup, with `/`.
    name: String,
    bytes: u64,
    /// Of those that have no checksums of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    crc32: Option<u32>,
}

/// Lists what is in a backup that is otherwise finished. The list is whole or not there.
pub fn write(backup: &Path) -> io::Result<()> {
    let mut files = Vec::new();
    list(backup, "", &mut files)?;
    files.sort_by(|a, b| a.name.cmp(&b.name));
    for file in files.iter_mut().filter(|f| SUMMED.contains(&f.name.as_str())) {
        file.crc32 = Some(sum(&backup.join(&file.name))?);
    }
    let manifest = Manifest { version: VERSION, belfry: env!("CARGO_PKG_VERSION").to_owned(), files };
    let unfinished = backup.join(UNFINISHED);
    let mut new = std::fs::File::create(&unfinished)?;
    new.write_all(&serde_json::to_vec(&manifest)?)?;
    new.sync_all()?;
    std::fs::rename(&unfinished, backup.join(FILE))?;
    std::fs::File::open(backup)?.sync_all()
}

/// Of a file's bytes, a piece at a time: the state may be long.
fn sum(file: &Path) -> io::Result<u32> {
    let mut file = std::fs::File::open(file)?;
    let (mut sum, mut piece) = (crc32fast::Hasher::new(), vec![0; READ_BYTES]);
    loop {
        match file.read(&mut piece) {
            Ok(0) => return Ok(sum.finalize()),
            Ok(read) => sum.update(piece.get(..read).unwrap_or_default()),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

/// Takes it back, whole or not.
pub fn remove(backup: &Path) {
    for name in [UNFINISHED, FILE] {
        let _ = std::fs::remove_file(backup.join(name));
    }
}

fn list(folder: &Path, prefix: &str, files: &mut Vec<Listed>) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let found = entry.metadata()?;
        if found.is_dir() {
            if !prefix.is_empty() || name != LOST_AND_FOUND {
                list(&entry.path(), &format!("{prefix}{name}/"), files)?;
            }
        } else if found.is_file() {
            files.push(Listed { name: format!("{prefix}{name}"), bytes: found.len(), crc32: None });
        }
    }
    Ok(())
}

/// What a backup lacks, for people; `None` when nobody can tell, since an older Belfry made it without a list.
pub fn wrong(backup: &Path) -> Option<Vec<String>> {
    let file = backup.join(FILE);
    let bytes = match std::fs::read(&file) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return None,
        Err(e) => return Some(vec![format!("{}, which lists its files, cannot be read: {e}", file.display())]),
    };
    let unreadable = |why: String| Some(vec![format!("{}, which lists its files, {why}", file.display())]);
    let manifest: Manifest = match serde_json::from_slice(&bytes) {
        Ok(manifest) => manifest,
        Err(e) => return unreadable(format!("is damaged: {e}")),
    };
    if manifest.version > VERSION {
        return unreadable(format!(
            "has format version {}, this Belfry reads up to {VERSION}: run a newer Belfry",
            manifest.version
        ));
    }
    Some(manifest.files.iter().filter_map(|listed| wrong_with(backup, listed)).collect())
}

fn wrong_with(backup: &Path, listed: &Listed) -> Option<String> {
    let file = backup.join(&listed.name);
    let name = file.display();
    match file.metadata() {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Some(format!("{name} is missing")),
        Err(e) => Some(format!("{name} cannot be read: {e}")),
        Ok(found) if found.len() != listed.bytes => {
            Some(format!("{name} has {} bytes of {}", found.len(), listed.bytes))
        }
        Ok(_) => {
            let sum = listed.crc32?;
            match self::sum(&file) {
                Ok(found) if found == sum => None,
                Ok(_) => Some(format!("{name} is not what was written")),
                Err(e) => Some(format!("{name} cannot be read: {e}")),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_is_missing_or_shorter_or_other_is_named_and_what_came_since_is_not() {
        let home = tempfile::tempdir().expect("a folder");
        let backup = home.path();
        for folder in ["blocks", "wal", "lost+found/below"] {
            fs::create_dir_all(backup.join(folder)).expect("made");
        }
        for file in ["blocks/1.block", "blocks/2.block", "wal/1.wal", "state.sqlite", "lost+found/below/x"] {
            fs::write(backup.join(file), file).expect("written");
        }
        assert_eq!(wrong(backup), None, "nobody can tell");
        write(backup).expect("listed");
        assert_eq!(wrong(backup), Some(vec![]));
        fs::remove_dir_all(backup.join("lost+found")).expect("it is no part of the backup");
        fs::write(backup.join("LOCK"), "").expect("written");
        assert_eq!(wrong(backup), Some(vec![]));

        fs::remove_file(backup.join("blocks/2.block")).expect("removed");
        fs::write(backup.join("wal/1.wal"), "short").expect("written");
        fs::write(backup.join("state.sqlite"), "statE.sqlite").expect("written");
        let told = wrong(backup).expect("there is a list");
        let [block, state, log] = &told[..] else { panic!("{told:?}") };
        assert!(block.ends_with("blocks/2.block is missing"), "{block}");
        assert!(state.ends_with("state.sqlite is not what was written"), "{state}");
        assert!(log.ends_with("wal/1.wal has 5 bytes of 9"), "{log}");
    }

    #[test]
    fn a_list_that_cannot_be_read_is_no_backup_without_one() {
        let home = tempfile::tempdir().expect("a folder");
        for (list, why) in
            [("{\"version\": 1, \"fi", "is damaged"), (r#"{"version":2,"belfry":"9","files":[]}"#, "newer")]
        {
            fs::write(home.path().join(FILE), list).expect("written");
            let told = wrong(home.path()).expect("there is a list");
            assert!(told.len() == 1 && told[0].contains(why), "{told:?}");
        }
    }
}
