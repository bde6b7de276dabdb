//! Reads a block where it lies: opening one costs a look at its footer.

use std::cmp::Ordering;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use belfry_model::read::ReadError;
use belfry_model::{Labels, SampleBuf, TimeRange};
use roaring::RoaringBitmap;

use super::{BlockMeta, ChunkPlace, Footer, HEADER_BYTES, MAGIC, POSTING_BYTES, Section, TAIL_BYTES, VERSION};
use crate::chunk;
use crate::codec::{Corrupt, Reader};
use crate::disk::{Disk, FileBytes};
use crate::index::Postings;

/// An open block.
pub struct Block {
    id: u64,
    path: PathBuf,
    bytes: FileBytes,
    footer: Footer,
    /// Set once the index has been checked against its checksums.
    index_checked: OnceLock<Result<(), ReadError>>,
    damage_met: AtomicBool,
}

/// A series of a block.
#[derive(Clone, Debug)]
pub struct BlockSeries {
    /// Its labels.
    pub labels: Labels,
    /// Its chunks, in order of time.
    pub chunks: Vec<ChunkPlace>,
}

/// Why a block cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum BlockError {
    /// The system refused.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// It is not what was written.
    #[error("{0}")]
    Damaged(#[from] Corrupt),
    /// A newer Belfry wrote it.
    #[error("format version {0} is newer than this Belfry")]
    Version(u32),
}

impl Block {
    /// Opens a finished block.
    pub fn open(disk: &dyn Disk, path: &Path, id: u64) -> Result<Self, BlockError> {
        let bytes = disk.read(path)?;
        if bytes.len() < HEADER_BYTES + TAIL_BYTES || bytes[..8] != *MAGIC || bytes[bytes.len() - 8..] != *MAGIC {
            return Err(Corrupt("the file is not a whole block").into());
        }
        let version = Reader::new(&bytes[8..]).u32()?;
        if version > VERSION {
            return Err(BlockError::Version(version));
        }
        let end = bytes.len() - TAIL_BYTES;
        let mut tail = Reader::new(&bytes[end..]);
        let (len, crc) = (tail.u32()? as usize, tail.u32()?);
        let start = end.checked_sub(len).ok_or(Corrupt("the footer is longer than the file"))?;
        if crc32fast::hash(&bytes[start..end]) != crc {
            return Err(Corrupt("the footer's checksum does not match").into());
        }
        let footer = Footer::read(&bytes[start..end])?;
        Ok(Self {
            id,
            path: path.to_owned(),
            bytes,
            footer,
            index_checked: OnceLock::new(),
            damage_met: AtomicBool::new(false),
        })
    }

    /// Its number: later blocks have higher ones.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Its file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it says of itself.
    pub fn meta(&self) -> &BlockMeta {
        &self.footer.meta
    }

    /// Length of the file.
    pub fn bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Does it hold samples of this range?
    pub fn overlaps(&self, range: TimeRange) -> bool {
        self.meta().min < range.end().0 && self.meta().max >= range.start().0
    }

    /// How many series. 0 when the index is damaged; reading says so.
    pub fn len(&self) -> u32 {
        self.series_table().map_or(0, |t| t.len)
    }

    /// Is its index whole, and has no damaged chunk been met?
    pub fn is_readable(&self) -> bool {
        self.series_table().is_ok() && !self.damage_met.load(Relaxed)
    }

    /// The series with this number, below [`Block::len`].
    pub fn series(&self, i: u32) -> Result<BlockSeries, ReadError> {
        let symbols = self.symbols()?;
        let entry = self.series_table()?.get(i).map_err(|e| self.damaged(e))?;
        self.read_series(&symbols, entry).map_err(|e| self.damaged(e))
    }

    /// The number of the series with these labels.
    pub fn find(&self, labels: &Labels) -> Result<Option<u32>, ReadError> {
        let (symbols, series) = (self.symbols()?, self.series_table()?);
        let compare = |i: u32| -> Result<Ordering, Corrupt> {
            let mut r = Reader::new(series.get(i)?);
            let n = r.count()?;
            let mut wanted = labels.iter();
            for _ in 0..n {
                let (name, value) = (symbols.str(r.uvarint()?)?, symbols.str(r.uvarint()?)?);
                let Some(l) = wanted.next() else { return Ok(Ordering::Greater) };
                match name.cmp(&l.name).then_with(|| value.cmp(&l.value)) {
                    Ordering::Equal => {}
                    other => return Ok(other),
                }
            }
            Ok(if wanted.next().is_some() { Ordering::Less } else { Ordering::Equal })
        };
        let (mut lo, mut hi) = (0, series.len);
        while lo < hi {
            let mid = lo + (hi - lo) / 2;
            match compare(mid).map_err(|e| self.damaged(e))? {
                Ordering::Less => lo = mid + 1,
                Ordering::Greater => hi = mid,
                Ordering::Equal => return Ok(Some(mid)),
            }
        }
        Ok(None)
    }

    /// Appends the samples of a chunk within `range` to `into`.
    pub fn decode(&self, place: &ChunkPlace, range: TimeRange, into: &mut SampleBuf) -> Result<(), ReadError> {
        let mut read = || -> Result<(), Corrupt> {
            let rest = usize::try_from(place.offset).ok().and_then(|o| self.bytes.get(o..));
            let mut r = Reader::new(rest.ok_or(Corrupt("a chunk stands outside the file"))?);
            let crc = r.u32()?;
            let bytes = r.bytes(place.len as usize)?;
            if crc32fast::hash(bytes) != crc {
                return Err(Corrupt("a chunk's checksum does not match"));
            }
            chunk::decode(bytes, range, into)
        };
        read().map_err(|e| {
            self.damage_met.store(true, Relaxed);
            ReadError::Damaged(format!("{} at byte {}: {e}", self.path.display(), place.offset))
        })
    }

    fn damaged(&self, e: Corrupt) -> ReadError {
        ReadError::Damaged(format!("{}: {e}", self.path.display()))
    }

    fn section(&self, s: Section) -> Result<&[u8], Corrupt> {
        let range = usize::try_from(s.offset).ok().zip(usize::try_from(s.len).ok());
        let bytes = range.and_then(|(o, l)| self.bytes.get(o..o.checked_add(l)?));
        bytes.ok_or(Corrupt("the index stands outside the file"))
    }

    /// The bytes of a section, once all of the index has proved whole.
    fn checked(&self, s: Section) -> Result<&[u8], ReadError> {
        let f = &self.footer;
        let check = || {
            [f.symbols, f.series, f.postings].into_iter().try_for_each(|s| match self.section(s) {
                Ok(bytes) if crc32fast::hash(bytes) == s.crc => Ok(()),
                Ok(_) => Err(self.damaged(Corrupt("the index's checksum does not match"))),
                Err(e) => Err(self.damaged(e)),
            })
        };
        self.index_checked.get_or_init(check).clone()?;
        self.section(s).map_err(|e| self.damaged(e))
    }

    fn symbols(&self) -> Result<Table<'_>, ReadError> {
        Table::new(self.checked(self.footer.symbols)?).map_err(|e| self.damaged(e))
    }

    fn series_table(&self) -> Result<Table<'_>, ReadError> {
        Table::new(self.checked(self.footer.series)?).map_err(|e| self.damaged(e))
    }

    fn read_series(&self, symbols: &Table<'_>, entry: &[u8]) -> Result<BlockSeries, Corrupt> {
        let mut r = Reader::new(entry);
        let n = r.count()?;
        let mut pairs = Vec::with_capacity(n);
        for _ in 0..n {
            pairs.push((symbols.str(r.uvarint()?)?, symbols.str(r.uvarint()?)?));
        }
        let n = r.count()?;
        let mut chunks = Vec::with_capacity(n);
        let (mut last_max, mut end) = (0i64, 0u64);
        for _ in 0..n {
            let min = last_max.wrapping_add(r.ivarint()?);
            let max = min.wrapping_add(r.uvarint()? as i64);
            let count = r.uvarint()? as u32;
            let offset = end.wrapping_add(r.uvarint()?);
            let len = r.uvarint()? as u32;
            chunks.push(ChunkPlace { min, max, count, offset, len });
            (last_max, end) = (max, offset.wrapping_add(4 + u64::from(len)));
        }
        Ok(BlockSeries { labels: Labels::from_pairs(pairs), chunks })
    }

    fn postings(&self) -> Result<PostingsTable<'_>, ReadError> {
        let section = self.checked(self.footer.postings)?;
        let read = || -> Result<PostingsTable<'_>, Corrupt> {
            let mut r = Reader::new(section);
            let len = r.u32()? as usize;
            let keys = r.bytes(len.checked_mul(POSTING_BYTES).ok_or(Corrupt("the index is too long"))?)?;
            Ok(PostingsTable { len, keys, bitmaps: r.rest() })
        };
        read().map_err(|e| self.damaged(e))
    }

    fn label_numbers(&self, name: &str, value: &str) -> Result<Option<(u32, u32)>, ReadError> {
        let symbols = self.symbols()?;
        let find = || Ok(symbols.find(name)?.zip(symbols.find(value)?));
        find().map_err(|e| self.damaged(e))
    }
}

impl Postings for Block {
    type Error = ReadError;

    fn all(&self) -> Result<RoaringBitmap, ReadError> {
        let mut all = RoaringBitmap::new();
        all.insert_range(0..self.series_table()?.len);
        Ok(all)
    }

    fn of(&self, name: &str, value: &str) -> Result<RoaringBitmap, ReadError> {
        let Some(label) = self.label_numbers(name, value)? else { return Ok(RoaringBitmap::new()) };
        let postings = self.postings()?;
        let find = || -> Result<RoaringBitmap, Corrupt> {
            let i = postings.lower_bound(label)?;
            if i < postings.len && postings.label(i)? == label { postings.bitmap(i) } else { Ok(RoaringBitmap::new()) }
        };
        find().map_err(|e| self.damaged(e))
    }

    fn of_any(&self, name: &str, keep: &mut dyn FnMut(&str) -> bool) -> Result<RoaringBitmap, ReadError> {
        let (symbols, postings) = (self.symbols()?, self.postings()?);
        let mut find = || -> Result<RoaringBitmap, Corrupt> {
            let mut out = RoaringBitmap::new();
            let Some(name) = symbols.find(name)? else { return Ok(out) };
            for i in postings.lower_bound((name, 0))?..postings.len {
                let (n, value) = postings.label(i)?;
                if n != name {
                    break;
                }
                if keep(symbols.str(u64::from(value))?) {
                    out |= postings.bitmap(i)?;
                }
            }
            Ok(out)
        };
        find().map_err(|e| self.damaged(e))
    }
}

/// Labels by the numbers of name and value, in order; each with the place of its bitmap.
struct PostingsTable<'a> {
    len: usize,
    keys: &'a [u8],
    bitmaps: &'a [u8],
}

impl PostingsTable<'_> {
    fn field(&self, i: usize, field: usize) -> Result<u32, Corrupt> {
        Reader::new(&self.keys[i * POSTING_BYTES + field * 4..]).u32()
    }

    fn label(&self, i: usize) -> Result<(u32, u32), Corrupt> {
        Ok((self.field(i, 0)?, self.field(i, 1)?))
    }

    fn lower_bound(&self, label: (u32, u32)) -> Result<usize, Corrupt> {
        let (mut lo, mut hi) = (0, self.len);
        while lo < hi {
            let mid = lo + (hi - lo) / 2;
            if self.label(mid)? < label { lo = mid + 1 } else { hi = mid }
        }
        Ok(lo)
    }

    fn bitmap(&self, i: usize) -> Result<RoaringBitmap, Corrupt> {
        let (at, len) = (self.field(i, 2)? as usize, self.field(i, 3)? as usize);
        let bytes = self.bitmaps.get(at..at.saturating_add(len)).ok_or(Corrupt("postings are missing"))?;
        RoaringBitmap::deserialize_from(bytes).map_err(|_| Corrupt("postings are damaged"))
    }
}

/// A count, offsets, entries.
struct Table<'a> {
    len: u32,
    offsets: &'a [u8],
    entries: &'a [u8],
}

impl<'a> Table<'a> {
    fn new(bytes: &'a [u8]) -> Result<Self, Corrupt> {
        let mut r = Reader::new(bytes);
        let len = r.u32()?;
        let offsets = r.bytes((len as usize + 1).checked_mul(4).ok_or(Corrupt("a table is too long"))?)?;
        Ok(Self { len, offsets, entries: r.rest() })
    }

    fn get(&self, i: u32) -> Result<&'a [u8], Corrupt> {
        if i >= self.len {
            return Err(Corrupt("a number is outside its table"));
        }
        let mut r = Reader::new(&self.offsets[i as usize * 4..]);
        let (from, to) = (r.u32()? as usize, r.u32()? as usize);
        self.entries.get(from..to).ok_or(Corrupt("an entry stands outside its table"))
    }

    fn str(&self, i: u64) -> Result<&'a str, Corrupt> {
        let i = u32::try_from(i).map_err(|_| Corrupt("a number is outside its table"))?;
        std::str::from_utf8(self.get(i)?).map_err(|_| Corrupt("a string is not UTF-8"))
    }

    /// The number of a string; the entries ascend.
    fn find(&self, wanted: &str) -> Result<Option<u32>, Corrupt> {
        let (mut lo, mut hi) = (0, self.len);
        while lo < hi {
            let mid = lo + (hi - lo) / 2;
            match self.get(mid)?.cmp(wanted.as_bytes()) {
                Ordering::Less => lo = mid + 1,
                Ordering::Greater => hi = mid,
                Ordering::Equal => return Ok(Some(mid)),
            }
        }
        Ok(None)
    }
}
