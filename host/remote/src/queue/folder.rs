//! A queue's folder as a whole: looked at without opening it, and copied.
//!
//! Invariant: a copy is what waited at one moment, or less at its front, which the engine has got meanwhile or a full
//! queue has shed; looking changes nothing.

use std::collections::VecDeque;
use std::io;
use std::path::Path;

use belfry_store::SNAPSHOT_MARGIN_BYTES;
use belfry_store::disk::Disk;

use super::position::{self, Position};
use super::{Queue, Segment, segment};

/// Files are copied in pieces of this size.
const COPY_BYTES: u64 = 1 << 20;

/// What is in a queue's folder that the engine has not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Bytes of records.
    pub bytes: u64,
    /// Files.
    pub files: u64,
}

/// What waits in a folder that nobody has open; nothing where there is none. Fails where [`Queue::open`] would.
pub fn look(folder: &Path, disk: &dyn Disk) -> io::Result<Waiting> {
    let segments = match segments(disk, folder) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Waiting::default()),
        segments => segments?,
    };
    refuse_newer(disk, folder, &segments)?;
    Ok(waits(&segments, position::load(disk, folder)))
}

/// Copies the folder of a queue that nobody has open to `into`, which must not be there; nothing where there is none.
pub fn copy_closed(folder: &Path, into: &Path, disk: &dyn Disk) -> io::Result<Waiting> {
    let segments = match segments(disk, folder) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Waiting::default()),
        segments => segments?,
    };
    let position = position::load(disk, folder);
    copy(disk, folder, into, &segments, position)?;
    Ok(waits(&segments, position))
}

impl Queue {
    /// Copies what waits now to the folder `into`, which must not be there, and answers how much that is. Appending,
    /// sending and shedding go on meanwhile. After an error a part of it may be there.
    pub fn copy_to(&self, into: &Path) -> io::Result<Waiting> {
        let (segments, position) = {
            // Between two records: the lengths are those of whole ones.
            let inner = self.inner.lock();
            (inner.segments.clone(), inner.position)
        };
        copy(&*self.disk, &self.config.folder, into, &segments, Some(position))?;
        Ok(waits(&segments, Some(position)))
    }
}

/// The files and their lengths, in order.
pub(super) fn segments(disk: &dyn Disk, folder: &Path) -> io::Result<VecDeque<Segment>> {
    let numbers = disk.list(folder).map_err(|e| named(folder, &e))?;
    let size = |number: u64| {
        let file = segment::path(folder, number);
        Ok(Segment { number, bytes: disk.open_read(&file).map_err(|e| named(&file, &e))?.size() })
    };
    numbers.iter().filter_map(|n| segment::number(n)).map(size).collect()
}

pub(super) fn refuse_newer(disk: &dyn Disk, folder: &Path, segments: &VecDeque<Segment>) -> io::Result<()> {
    for s in segments {
        let file = segment::path(folder, s.number);
        // What the disk does not give is met, and told, when it is read.
        let begin = segment::read(disk, &file, 0, Some(segment::HEADER_BYTES)).unwrap_or_default();
        if let Some(found) = segment::newer_version(&begin)
            && !segment::holds_ours(disk, &file)
        {
            let (file, known) = (file.display(), segment::version());
            let why = format!("{file} has format version {found}, this Belfry reads up to {known}: run a newer Belfry");
            return Err(io::Error::new(io::ErrorKind::Unsupported, why));
        }
    }
    Ok(())
}

/// What the system says, and of which file.
pub(super) fn named(path: &Path, e: &io::Error) -> io::Error {
    io::Error::new(e.kind(), format!("{}: {e}", path.display()))
}

fn waits(segments: &VecDeque<Segment>, position: Option<Position>) -> Waiting {
    Waiting { bytes: waiting_of(segments, position.unwrap_or_default()), files: segments.len() as u64 }
}

/// Bytes of records behind the position.
pub(super) fn waiting_of(segments: &VecDeque<Segment>, position: Position) -> u64 {
    let of = |s: &Segment| match s.number.cmp(&position.segment) {
        std::cmp::Ordering::Less => 0,
        std::cmp::Ordering::Equal => s.bytes.saturating_sub(position.offset.max(segment::HEADER_BYTES)),
        std::cmp::Ordering::Greater => s.bytes.saturating_sub(segment::HEADER_BYTES),
    };
    segments.iter().map(of).sum()
}

pub(super) fn copy(
    disk: &dyn Disk,
    from: &Path,
    into: &Path,
    segments: &VecDeque<Segment>,
    position: Option<Position>,
) -> io::Result<()> {
    disk.create_dir_all(into)?;
    let mut left = Vec::new();
    // The newest first: files go away at the front, and none must be missing between two.
    for (i, s) in segments.iter().rev().enumerate() {
        let (old, new) = (segment::path(from, s.number), segment::path(into, s.number));
        // The last one is being written to here, and would be by whoever starts on the copy.
        let linked = if i == 0 { Ok(false) } else { disk.link_only(&old, &new) };
        match linked {
            Ok(true) => {}
            Ok(false) => left.push((old, new, s.bytes)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => break,
            Err(e) => return Err(e),
        }
    }
    let wanted = left.iter().map(|l| l.2).sum::<u64>().saturating_add(SNAPSHOT_MARGIN_BYTES);
    if disk.room(into)?.is_some_and(|room| room < wanted) {
        let why = format!("no room in {} for what waits for the storage engine", into.display());
        return Err(io::Error::new(io::ErrorKind::StorageFull, why));
    }
    for (old, new, bytes) in left {
        match copy_file(disk, &old, &new, bytes) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => break,
            outcome => outcome?,
        }
    }
    if let Some(position) = position {
        position::save(disk, into, position)?;
        disk.open_append(&into.join(position::FILE))?.sync()?;
    }
    disk.sync_dir(into)
}

fn copy_file(disk: &dyn Disk, from: &Path, to: &Path, bytes: u64) -> io::Result<()> {
    let open = disk.open_read(from)?;
    let file = disk.create(to)?;
    let (mut at, mut piece) = (0, Vec::new());
    let bytes = bytes.min(open.size());
    while at < bytes {
        piece.resize(COPY_BYTES.min(bytes - at) as usize, 0);
        if let Err(e) = open.read_at(at, &mut piece) {
            // Whoever reads the copy meets it as damage, and reads on behind it.
            tracing::error!("a part of {} is not in the copy: {e}", from.display());
            piece.fill(0);
        }
        file.append(&piece)?;
        at += piece.len() as u64;
    }
    file.sync()
}
