//! Mounted disks: space by mount, I/O by the device below it.
//!
//! Invariant: no network file system is asked for its space: a dead server would hang the reading.
//! Not here: disks that nobody mounted.

use std::path::{Path, PathBuf};

use procfs::Current;
use procfs::process::Process;

use crate::bindings::belfry::plugin::system::Disk;

/// The kernel counts sectors of this size, whatever the disk's own (Documentation/block/stat.rst).
const SECTOR_BYTES: u64 = 512;
/// Mounts of one answer: containers bring hundreds.
const MOUNTS_MAX: usize = 256;

#[derive(Clone, Debug, PartialEq, Eq)]
struct Mount {
    number: String,
    device: String,
    path: PathBuf,
    filesystem: String,
}

pub(super) fn read() -> Result<Vec<Disk>, String> {
    let infos =
        Process::myself().and_then(|process| process.mountinfo()).map_err(|error| format!("mounts: {error}"))?;
    let mounts = infos.into_iter().map(|info| Mount {
        number: info.majmin,
        device: info.mount_source.unwrap_or_default(),
        path: info.mount_point,
        filesystem: info.fs_type,
    });
    // Space is worth having without counters (a container may hide them).
    let counters = procfs::DiskStats::current().map(|stats| stats.0).unwrap_or_default();
    Ok(real(mounts.collect(), Path::is_dir).into_iter().filter_map(|mount| disk(&mount, &counters)).collect())
}

/// One mount of each file system that holds data on this machine: the one with the shortest path.
fn real(mut mounts: Vec<Mount>, is_dir: impl Fn(&Path) -> bool) -> Vec<Mount> {
    mounts.retain(|mount| {
        let of_data = mount.device.starts_with("/dev/")
            || matches!(mount.filesystem.as_str(), "zfs" | "btrfs" | "bcachefs")
            || (mount.path == Path::new("/") && !is_remote(&mount.filesystem));
        // A squashfs is a package, always full; a file bound into a container is no disk of its own.
        of_data && mount.filesystem != "squashfs" && mount.filesystem != "iso9660" && is_dir(&mount.path)
    });
    mounts.sort_by(|a, b| (a.path.as_os_str().len(), &a.path).cmp(&(b.path.as_os_str().len(), &b.path)));
    let mut seen = Vec::new();
    mounts.retain(|mount| {
        let new = !seen.contains(&mount.number);
        if new {
            seen.push(mount.number.clone());
        }
        new
    });
    mounts.truncate(MOUNTS_MAX);
    mounts
}

fn is_remote(filesystem: &str) -> bool {
    filesystem.starts_with("nfs")
        || filesystem.starts_with("fuse.")
        || matches!(filesystem, "cifs" | "smb3" | "ceph" | "glusterfs" | "afs")
}

fn disk(mount: &Mount, counters: &[procfs::DiskStat]) -> Option<Disk> {
    let space = rustix::fs::statvfs(&mount.path).ok().filter(|space| space.f_blocks > 0)?;
    let counter = counters.iter().find(|c| format!("{}:{}", c.major, c.minor) == mount.number);
    let counted = |of: fn(&procfs::DiskStat) -> u64| counter.map_or(0, of);
    Some(Disk {
        device: mount.device.clone(),
        mount: mount.path.display().to_string(),
        filesystem: mount.filesystem.clone(),
        total: space.f_blocks * space.f_frsize,
        used: space.f_blocks.saturating_sub(space.f_bfree) * space.f_frsize,
        // What programs can still write; the rest is root's reserve.
        free: space.f_bavail * space.f_frsize,
        read_bytes: counted(|c| c.sectors_read * SECTOR_BYTES),
        written_bytes: counted(|c| c.sectors_written * SECTOR_BYTES),
        reads: counted(|c| c.reads),
        writes: counted(|c| c.writes),
        io_s: counter.map_or(0.0, |c| c.time_in_progress as f64 / 1000.0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(number: &str, device: &str, path: &str, filesystem: &str) -> Mount {
        Mount { number: number.into(), device: device.into(), path: path.into(), filesystem: filesystem.into() }
    }

    #[test]
    fn a_file_system_is_shown_once_where_it_is_nearest_to_the_root() {
        let mounts = vec![
            mount("8:1", "/dev/sda1", "/var/lib/docker/x", "ext4"),
            mount("8:1", "/dev/sda1", "/", "ext4"),
            mount("8:2", "/dev/sda2", "/home", "xfs"),
            mount("0:5", "tmpfs", "/run", "tmpfs"),
            mount("0:6", "proc", "/proc", "proc"),
            mount("0:7", "server:/data", "/mnt/nfs", "nfs4"),
            mount("7:0", "/dev/loop0", "/snap/core/1", "squashfs"),
            mount("0:8", "tank", "/tank", "zfs"),
        ];
        let shown: Vec<_> = real(mounts, |_| true).into_iter().map(|m| m.path.display().to_string()).collect();
        assert_eq!(shown, ["/", "/home", "/tank"]);
    }

    #[test]
    fn a_container_shows_its_root_and_not_the_files_bound_into_it() {
        let mounts = vec![mount("0:50", "overlay", "/", "overlay"), mount("8:1", "/dev/sda1", "/etc/hosts", "ext4")];
        let shown = real(mounts, |path| path == Path::new("/"));
        assert_eq!(shown.len(), 1);
        assert!(real(vec![mount("0:9", "server:/root", "/", "nfs")], |_| true).is_empty(), "it could hang");
    }
}
