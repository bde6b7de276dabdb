//! Can a data folder be opened? Looks without opening it.

use std::io;
use std::path::Path;

use crate::config::OpenError;
use crate::disk::{Disk, Lock};
use crate::store::LOCK_FILE;

/// Says what [`Store::open`](crate::Store::open) would say of who may write there and who does, and leaves nothing
/// behind.
pub fn check_folder(root: &Path, disk: &dyn Disk) -> Result<(), OpenError> {
    let not_writable = |source| OpenError::NotWritable { path: root.to_owned(), source };
    match root.metadata() {
        Ok(found) if !found.is_dir() => Err(not_writable(rustix::io::Errno::EXIST.into())),
        Ok(_) if root.join(LOCK_FILE).exists() => match disk.lock(&root.join(LOCK_FILE)).map_err(not_writable)? {
            Lock::Held(_) => writable(root).map_err(not_writable),
            Lock::InUse { pid } => Err(OpenError::InUse { path: root.to_owned(), pid }),
        },
        Ok(_) => writable(root).map_err(not_writable),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            // It would be made, in the nearest folder that is there.
            let above = root.ancestors().skip(1).find(|p| p.as_os_str().is_empty() || p.exists());
            let above = above.filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
            writable(above).map_err(not_writable)
        }
        Err(e) => Err(not_writable(e)),
    }
}

fn writable(folder: &Path) -> io::Result<()> {
    let may = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
    rustix::fs::access(folder, may).map_err(io::Error::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RealDisk;

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
}
