//! Can a data folder be opened? Looks without opening it.
//!
//! Invariant: changes nothing, and reads of each file no more than tells its version.

use std::io;
use std::path::Path;

use crate::block::{self, Block, BlockError};
use crate::config::OpenError;
use crate::disk::{Disk, Lock};
use crate::lost::{self, Losses};
use crate::store::{BLOCKS_DIR, LOCK_FILE, WAL_DIR};
use crate::wal;

/// Says what [`Store::open`](crate::Store::open) would say of who may write there, who does, and of files of a newer
/// version, and leaves nothing behind.
pub fn check_folder(root: &Path, disk: &dyn Disk) -> Result<(), OpenError> {
    let not_writable = |source| OpenError::NotWritable { path: root.to_owned(), source };
    match root.metadata() {
        Ok(found) if !found.is_dir() => Err(not_writable(rustix::io::Errno::EXIST.into())),
        Ok(_) if root.join(LOCK_FILE).exists() => match disk.lock(&root.join(LOCK_FILE)).map_err(not_writable)? {
            Lock::Held(_) => writable(root).map_err(not_writable).and_then(|()| parts(root, disk)),
            Lock::InUse { pid } => Err(OpenError::InUse { path: root.to_owned(), pid }),
        },
        Ok(_) => writable(root).map_err(not_writable).and_then(|()| parts(root, disk)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            // It would be made, in the nearest folder that is there.
            let above = root.ancestors().skip(1).find(|p| p.as_os_str().is_empty() || p.exists());
            let above = above.filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
            writable(above).map_err(not_writable)
        }
        Err(e) => Err(not_writable(e)),
    }
}

/// The folders in it, and the versions of their files.
fn parts(root: &Path, disk: &dyn Disk) -> Result<(), OpenError> {
    let names = |part: &str| -> Result<Vec<String>, OpenError> {
        let path = root.join(part);
        let found = match path.metadata() {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Ok(found) if !found.is_dir() => Err(rustix::io::Errno::EXIST.into()),
            found => found.and_then(|_| writable(&path)),
        };
        found.map_err(|source| OpenError::NotWritable { path: path.clone(), source })?;
        disk.list(&path).map_err(|source| OpenError::Io { file: path, source })
    };
    for name in names(BLOCKS_DIR)? {
        let path = root.join(BLOCKS_DIR).join(&name);
        if let Some(id) = block::parse_name(&name)
            && let Err(BlockError::Version(found)) = Block::open(disk, &path, id)
        {
            return Err(OpenError::Version { file: path, found, known: block::VERSION });
        }
    }
    for name in names(WAL_DIR)? {
        let file = root.join(WAL_DIR).join(&name);
        if name == lost::FILE
            && let Some(found) = disk.read(&file).ok().and_then(|bytes| Losses::newer_version(&bytes))
        {
            return Err(OpenError::Version { file, found, known: lost::VERSION });
        }
        if !wal::is_segment(&name) {
            continue;
        }
        if let Some(found) = wal::newer_version(disk, &file) {
            return Err(OpenError::Version { file, found, known: wal::VERSION });
        }
    }
    Ok(())
}

fn writable(folder: &Path) -> io::Result<()> {
    let may = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
    rustix::fs::access(folder, may).map_err(io::Error::from)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use belfry_model::TimestampMs;

    use super::*;
    use crate::{RealDisk, Store, StoreConfig};

    #[test]
    fn a_folder_that_is_not_there_can_be_made_where_its_parent_can_be_written_to_and_is_not_made() {
        let home = tempfile::tempdir().expect("a folder");
        let data = home.path().join("a/b");
        check_folder(&data, &RealDisk).expect("it could be made");
        assert!(!home.path().join("a").exists());
    }

    #[test]
    fn a_file_in_its_place_is_told() {
        let home = tempfile::tempdir().expect("a folder");
        let file = home.path().join("data");
        std::fs::write(&file, "").expect("written");
        assert!(matches!(check_folder(&file, &RealDisk), Err(OpenError::NotWritable { .. })));
        assert!(matches!(check_folder(&file.join("below"), &RealDisk), Err(OpenError::NotWritable { .. })));
    }

    #[test]
    fn a_folder_that_another_holds_is_in_use() {
        let home = tempfile::tempdir().expect("a folder");
        let lock = RealDisk.lock(&home.path().join(LOCK_FILE)).expect("locked");
        let refused = check_folder(home.path(), &RealDisk);
        assert!(matches!(refused, Err(OpenError::InUse { pid: Some(pid), .. }) if pid == std::process::id()));
        drop(lock);
        check_folder(home.path(), &RealDisk).expect("it is free again");
    }

    #[test]
    fn what_of_its_parts_would_stop_a_start_is_named_as_the_start_does() {
        let home = tempfile::tempdir().expect("a folder");
        let data = home.path().join("data");
        let open = || Store::open(StoreConfig::folder(&data), Arc::new(RealDisk), TimestampMs(0)).map(|s| s.0.close());
        open().expect("a store");
        check_folder(&data, &RealDisk).expect("it can be opened");

        let header = [&b"BELFWAL\n"[..], &9_u32.to_le_bytes()].concat();
        let crc = crc32fast::hash(&header).to_le_bytes();
        let log = data.join("wal/0000000009-000001.wal");
        std::fs::write(&log, [&header[..], &crc].concat()).expect("written");
        let told = check_folder(&data, &RealDisk).expect_err("a newer log").to_string();
        assert_eq!(told, open().expect_err("a newer log").to_string());
        assert!(told.contains("0000000009-000001.wal has format version 9"), "{told}");
        std::fs::remove_file(log).expect("removed");

        for part in ["wal", "blocks"] {
            std::fs::remove_dir_all(data.join(part)).expect("removed");
            std::fs::write(data.join(part), "x").expect("written");
            let told = check_folder(&data, &RealDisk).expect_err("a file").to_string();
            assert!(told.contains(&format!("data/{part}")), "{told}");
            assert!(open().is_err());
            std::fs::remove_file(data.join(part)).expect("removed");
        }
    }
}
