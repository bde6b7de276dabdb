//! Bytes that are needed again when a block is sealed: a few wait in memory, more in a file beside the block's.
//!
//! With a million series that is some 20 MB which a head that becomes a block takes less.
//!
//! Invariant: what was put is read back in order, as often as it is asked for, and what was put at once is never divided.
//! A piece that the disk gives back otherwise is an error. The file is gone with the value, or at the next start.
//! Not here: what the bytes mean (`write_index`).

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::disk::{Disk, DiskFile};

/// Bytes are kept in pieces of this size: one long vector would be copied each time it grows.
pub(super) const PIECE_BYTES: usize = 1 << 20;
/// So many pieces wait in memory: as much as 200,000 series take.
const PIECES_KEPT: usize = 4;

/// See the module.
pub(super) struct Spill {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    /// Pieces that are not in the file; the last one is being filled.
    pieces: Vec<Vec<u8>>,
    /// Made when it is needed.
    file: Option<Arc<dyn DiskFile>>,
    /// Of each piece in the file: its length and its checksum.
    spilled: Vec<(usize, u32)>,
}

impl Spill {
    /// A file is made at `path` if it comes to that. The name must end as those do that a start removes.
    pub fn new(disk: Arc<dyn Disk>, path: PathBuf) -> Self {
        Self { disk, path, pieces: Vec::new(), file: None, spilled: Vec::new() }
    }

    pub fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.pieces.last().is_none_or(|p| p.len() + bytes.len() > p.capacity()) {
            if self.pieces.len() >= PIECES_KEPT {
                self.spill()?;
            }
            self.pieces.push(Vec::with_capacity(PIECE_BYTES.max(bytes.len())));
        }
        if let Some(piece) = self.pieces.last_mut() {
            piece.extend_from_slice(bytes);
        }
        Ok(())
    }

    fn spill(&mut self) -> io::Result<()> {
        let file = match &self.file {
            Some(file) => file,
            None => self.file.insert(self.disk.create(&self.path)?),
        };
        for piece in self.pieces.drain(..) {
            file.append(&piece)?;
            self.spilled.push((piece.len(), crc32fast::hash(&piece)));
        }
        Ok(())
    }

    /// Hands all pieces to `f`, until that fails.
    pub fn try_for_each(&self, mut f: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        if !self.spilled.is_empty() {
            let file = self.disk.open_read(&self.path)?;
            let (mut piece, mut at) = (Vec::new(), 0);
            for (len, crc) in &self.spilled {
                piece.resize(*len, 0);
                file.read_at(at, &mut piece)?;
                if crc32fast::hash(&piece) != *crc {
                    let what = format!("{} is not what was written", self.path.display());
                    return Err(io::Error::new(io::ErrorKind::InvalidData, what));
                }
                f(&piece)?;
                at += *len as u64;
            }
        }
        self.pieces.iter().try_for_each(|piece| f(piece))
    }

    /// Pieces in the file and in memory.
    #[cfg(test)]
    pub fn pieces(&self) -> (usize, usize) {
        (self.spilled.len(), self.pieces.len())
    }
}

impl Drop for Spill {
    fn drop(&mut self) {
        if self.file.take().is_some() {
            // The next start does it otherwise.
            let _ = self.disk.remove(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::disk::SimDisk;

    const PATH: &str = "/b/0000000001.series.unfinished";

    fn of_entries(disk: &SimDisk, n: u32) -> Spill {
        let mut spill = Spill::new(Arc::new(disk.clone()), PATH.into());
        (0..n).for_each(|i| spill.put(&i.to_le_bytes().repeat(25_000)).unwrap());
        spill
    }

    #[test]
    fn what_was_put_is_read_back_twice_and_leaves_no_file() {
        for (n, pieces) in [(0, (0, 0)), (40, (0, 4)), (41, (4, 1)), (95, (8, 2))] {
            let disk = SimDisk::default();
            let spill = of_entries(&disk, n);
            assert_eq!((spill.pieces(), disk.read(Path::new(PATH)).is_ok()), (pieces, pieces.0 > 0));
            for _ in 0..2 {
                let mut found = Vec::new();
                let read = spill.try_for_each(|piece| {
                    assert!(piece.len() <= PIECE_BYTES && piece.len().is_multiple_of(100_000));
                    found.extend(piece.chunks(100_000).map(|e| u32::from_le_bytes([e[0], e[1], e[2], e[3]])));
                    Ok(())
                });
                read.unwrap();
                assert_eq!(found, (0..n).collect::<Vec<_>>());
            }
            drop(spill);
            assert!(disk.read(Path::new(PATH)).is_err());
        }
    }

    #[test]
    fn a_piece_that_the_disk_gives_back_otherwise_is_an_error() {
        let disk = SimDisk::default();
        let spill = of_entries(&disk, 95);
        disk.tamper(Path::new(PATH), |b| b[5_000_000] ^= 1);
        let mut pieces = 0;
        let read = spill.try_for_each(|_| {
            pieces += 1;
            Ok(())
        });
        assert_eq!((read.unwrap_err().kind(), pieces), (io::ErrorKind::InvalidData, 5));
    }
}
