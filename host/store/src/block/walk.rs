//! All series of a block, one after the other, for a merge: the index is read in pieces, of which two are in memory.
//!
//! A merge takes some blocks with all their series: of a million, each index is 40 MB. Only symbols are held whole.
//!
//! Invariant: each piece is one of a section whose checksum was right, and has not changed since.
//! Not here: looking for one series, which needs the index as a whole (`index`).

use std::sync::Arc;

use belfry_model::Labels;
use belfry_model::labels::Label;
use belfry_model::read::ReadError;

use super::index::{Table, read_chunks};
use super::read::{Block, PartError, Times};
use super::{BlockSeries, Section};
use crate::codec::{Corrupt, Reader};
use crate::disk::DiskRead;

/// A part of a section with a checksum of its own, which is made when the section's is looked at.
const PIECE_BYTES: usize = 64 << 10;
/// Strings that are kept, by their number: most series share theirs with the one before.
const STRINGS_KEPT: usize = 1 << 12;

/// See the module.
pub struct Walk<'a> {
    block: &'a Block,
    symbols: Vec<u8>,
    times: Arc<Times>,
    /// How many series.
    len: u32,
    next: u32,
    crcs: Vec<u32>,
    /// Of the offsets and of the entries of the series.
    offsets: Window,
    entries: Window,
    strings: Vec<Option<(u32, Arc<str>)>>,
}

impl<'a> Walk<'a> {
    pub(super) fn new(block: &'a Block) -> Result<Self, PartError> {
        let sections = block.sections();
        let symbols = block.section(sections.symbols)?;
        Table::new(&symbols)?;
        let mut crcs = Vec::new();
        check(block.file(), sections.series, |piece| crcs.push(crc32fast::hash(piece)))?;
        let mut walk = Self {
            block,
            symbols,
            times: block.times_table()?,
            len: 0,
            next: 0,
            crcs,
            offsets: Window::default(),
            entries: Window::default(),
            strings: vec![None; STRINGS_KEPT],
        };
        let mut count = [0; 4];
        count.copy_from_slice(walk.offsets.bytes(block.file(), sections.series, &walk.crcs, 0, 4)?);
        walk.len = u32::from_le_bytes(count);
        Ok(walk)
    }

    /// The next series. Chunks of which everything was deleted are left out.
    #[allow(clippy::should_implement_trait, reason = "it may fail, and whoever merges needs to know at once")]
    pub fn next(&mut self) -> Result<Option<BlockSeries>, ReadError> {
        if self.next >= self.len {
            return Ok(None);
        }
        let number = self.next;
        self.next += 1;
        let mut series = self.read(number).map_err(|e| self.block.failed(&e))?;
        let gone = self.block.gone();
        if !gone.is_empty() {
            series.chunks.retain(|c| !gone.covers(number, c.min, c.max));
        }
        Ok(Some(series))
    }

    fn read(&mut self, number: u32) -> Result<BlockSeries, PartError> {
        let (file, section) = (self.block.file(), self.block.sections().series);
        let place = 4 + u64::from(number) * 4;
        let mut r = Reader::new(self.offsets.bytes(file, section, &self.crcs, place, place + 8)?);
        let base = 4 + (u64::from(self.len) + 1) * 4;
        let (from, to) = (base + u64::from(r.u32()?), base + u64::from(r.u32()?));
        let mut r = Reader::new(self.entries.bytes(file, section, &self.crcs, from, to)?);
        let symbols = Table::new(&self.symbols)?;
        let n = r.count()?;
        let mut labels = Vec::with_capacity(n);
        for _ in 0..n {
            let name = string(&mut self.strings, &symbols, r.uvarint()?)?;
            labels.push(Label { name, value: string(&mut self.strings, &symbols, r.uvarint()?)? });
        }
        let mut chunks = Vec::new();
        read_chunks(self.block.version(), self.times.bytes(), &mut r, number, &mut chunks)?;
        Ok(BlockSeries { labels: Labels::from_sorted(labels), chunks })
    }
}

fn string(kept: &mut [Option<(u32, Arc<str>)>], symbols: &Table<'_>, number: u64) -> Result<Arc<str>, Corrupt> {
    let slot = kept.get_mut(number as usize % STRINGS_KEPT);
    if let Some(Some((of, string))) = &slot
        && u64::from(*of) == number
    {
        return Ok(string.clone());
    }
    let string: Arc<str> = symbols.str(number)?.into();
    if let Some(slot) = slot {
        *slot = Some((number as u32, string.clone()));
    }
    Ok(string)
}

/// Looks at a section's checksum, piece by piece.
pub(super) fn check(file: &dyn DiskRead, s: Section, mut each: impl FnMut(&[u8])) -> Result<(), PartError> {
    inside(file, s)?;
    let mut crc = crc32fast::Hasher::new();
    let mut piece = vec![0; PIECE_BYTES.min(s.len as usize)];
    let mut at = 0;
    while at < s.len {
        let n = (s.len - at).min(PIECE_BYTES as u64) as usize;
        let bytes = piece.get_mut(..n).unwrap_or_default();
        file.read_at(s.offset + at, bytes)?;
        crc.update(bytes);
        each(bytes);
        at += n as u64;
    }
    if crc.finalize() == s.crc { Ok(()) } else { Err(Corrupt("the index's checksum does not match").into()) }
}

/// Is a section a part of the file?
pub(super) fn inside(file: &dyn DiskRead, s: Section) -> Result<(), Corrupt> {
    let end = s.offset.checked_add(s.len);
    if end.is_none_or(|end| end > file.size()) { Err(Corrupt("the index stands outside the file")) } else { Ok(()) }
}

/// A piece of a section, or some in a row where that is asked for.
#[derive(Default)]
struct Window {
    /// Where in the section it begins.
    begin: u64,
    bytes: Vec<u8>,
}

impl Window {
    fn bytes(
        &mut self,
        file: &dyn DiskRead,
        section: Section,
        crcs: &[u32],
        from: u64,
        to: u64,
    ) -> Result<&[u8], PartError> {
        if from > to || to > section.len {
            return Err(Corrupt("an entry stands outside its table").into());
        }
        if from < self.begin || to > self.begin + self.bytes.len() as u64 {
            let size = PIECE_BYTES as u64;
            let (first, end) = (from / size, to.div_ceil(size));
            let begin = first * size;
            self.bytes.clear();
            self.begin = begin;
            self.bytes.resize(((end * size).min(section.len) - begin) as usize, 0);
            file.read_at(section.offset + begin, &mut self.bytes)?;
            let crcs = crcs.get(first as usize..).unwrap_or_default();
            if !self.bytes.chunks(PIECE_BYTES).zip(crcs).all(|(piece, crc)| crc32fast::hash(piece) == *crc) {
                self.bytes.clear();
                return Err(Corrupt("the index is not what it was").into());
            }
        }
        let from = (from - self.begin) as usize;
        let bytes = self.bytes.get(from..(to - self.begin) as usize);
        Ok(bytes.ok_or(Corrupt("an entry stands outside its table"))?)
    }
}
