//! The index of a block, as it lies in the file.
//!
//! Invariant: nothing is taken from bytes whose checksum has not been seen to be right; whatever stands in them, reading
//! is an error and not a panic.
//! Not here: when the index is read and how long it is kept (`read`).

use std::cmp::Ordering;
use std::sync::Arc;

use belfry_model::Labels;
use roaring::RoaringBitmap;

use super::read::Times;
use super::{BlockSeries, ChunkPlace, POSTING_BYTES, TIMES_BYTES};
use crate::codec::{Corrupt, Reader};

/// The sections of an index, whole.
pub struct Index {
    pub version: u32,
    pub symbols: Vec<u8>,
    pub series: Vec<u8>,
    pub postings: Vec<u8>,
    /// Empty before version 2.
    pub times: Arc<Times>,
}

/// Where a column of times is.
#[derive(Clone, Copy, Debug)]
pub struct TimesPlace {
    pub offset: u64,
    pub len: u32,
    pub count: u32,
    pub min: i64,
    pub max: i64,
}

/// A serialised bitmap of one number: cookie and count of containers; key, values less one, offset; the value.
const ONE_BYTES: usize = 18;
const ONE_COOKIE: [u8; 8] = [0x3a, 0x30, 0, 0, 1, 0, 0, 0];
/// No further value; the values begin at byte 16.
const ONE_OFFSET: [u8; 6] = [0, 0, 16, 0, 0, 0];

impl Index {
    /// What it takes in memory.
    pub fn bytes(&self) -> usize {
        self.symbols.len() + self.series.len() + self.postings.len() + self.times.bytes().len()
    }

    /// How many series.
    pub fn len(&self) -> Result<u32, Corrupt> {
        Ok(Table::new(&self.series)?.len)
    }

    /// The series with this number.
    pub fn series(&self, i: u32) -> Result<BlockSeries, Corrupt> {
        let symbols = Table::new(&self.symbols)?;
        let mut r = Reader::new(Table::new(&self.series)?.get(i)?);
        let n = r.count()?;
        let mut pairs = Vec::with_capacity(n);
        for _ in 0..n {
            pairs.push((symbols.str(r.uvarint()?)?, symbols.str(r.uvarint()?)?));
        }
        let mut chunks = Vec::new();
        self.chunks(&mut r, i, &mut chunks)?;
        Ok(BlockSeries { labels: Labels::from_pairs(pairs), chunks })
    }

    /// Reads the places of a series' chunks, which follow its labels.
    pub(super) fn chunks(&self, r: &mut Reader<'_>, series: u32, out: &mut Vec<ChunkPlace>) -> Result<(), Corrupt> {
        read_chunks(self.version, self.times.bytes(), r, series, out)
    }

    /// The number of the series with these labels.
    pub fn find(&self, labels: &Labels) -> Result<Option<u32>, Corrupt> {
        let (symbols, series) = (Table::new(&self.symbols)?, Table::new(&self.series)?);
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
            match compare(mid)? {
                Ordering::Less => lo = mid + 1,
                Ordering::Greater => hi = mid,
                Ordering::Equal => return Ok(Some(mid)),
            }
        }
        Ok(None)
    }

    /// The series with exactly this label.
    pub fn of(&self, name: &str, value: &str) -> Result<RoaringBitmap, Corrupt> {
        let symbols = Table::new(&self.symbols)?;
        let Some(label) = symbols.find(name)?.zip(symbols.find(value)?) else { return Ok(RoaringBitmap::new()) };
        let postings = PostingsTable::new(&self.postings)?;
        let i = postings.lower_bound(label)?;
        if i < postings.len && postings.label(i)? == label { postings.bitmap(i) } else { Ok(RoaringBitmap::new()) }
    }

    /// The series with one of the values of `name` that `keep` accepts.
    pub fn of_any(&self, name: &str, keep: &mut dyn FnMut(&str) -> bool) -> Result<RoaringBitmap, Corrupt> {
        let (symbols, postings) = (Table::new(&self.symbols)?, PostingsTable::new(&self.postings)?);
        let mut out = RoaringBitmap::new();
        let Some(name) = symbols.find(name)? else { return Ok(out) };
        for i in postings.lower_bound((name, 0))?..postings.len {
            let (n, value) = postings.label(i)?;
            if n != name {
                break;
            }
            if keep(symbols.str(u64::from(value))?) {
                match postings.single(i) {
                    Some(only) => drop(out.insert(only)),
                    None => out |= postings.bitmap(i)?,
                }
            }
        }
        Ok(out)
    }
}

/// Reads the places of a series' chunks in a block of format `version` with these columns of times.
pub(super) fn read_chunks(
    version: u32,
    columns: &[u8],
    r: &mut Reader<'_>,
    series: u32,
    out: &mut Vec<ChunkPlace>,
) -> Result<(), Corrupt> {
    let n = r.count()?;
    out.reserve(n);
    if version < super::VERSION_SHARED_TIMES {
        return read_chunks_1(r, n, series, out);
    }
    let (mut column, mut end) = (0i64, 0u64);
    for _ in 0..n {
        column = column.wrapping_add(r.ivarint()?);
        let number = u32::try_from(column).map_err(|_| Corrupt("a number is outside its table"))?;
        let place = times(columns, number)?;
        let offset = end.wrapping_add(r.uvarint()?);
        let len = u32::try_from(r.uvarint()?).map_err(|_| Corrupt("a chunk is too long"))?;
        out.push(ChunkPlace { min: place.min, max: place.max, count: place.count, offset, len, times: number, series });
        end = offset.wrapping_add(4 + u64::from(len));
    }
    Ok(())
}

/// Where a column of times is.
pub(super) fn times(columns: &[u8], number: u32) -> Result<TimesPlace, Corrupt> {
    let missing = Corrupt("a column of times is missing");
    let mut r = Reader::new(columns);
    let count = r.u32()?;
    let at = (number as usize).checked_mul(TIMES_BYTES).filter(|_| number < count).ok_or(missing)?;
    let mut r = Reader::new(r.rest().get(at..).ok_or(missing)?);
    let (offset, len, count) = (r.u64()?, r.u32()?, r.u32()?);
    Ok(TimesPlace { offset, len, count, min: r.u64()? as i64, max: r.u64()? as i64 })
}

/// As version 1 had it: each chunk says its own times.
fn read_chunks_1(r: &mut Reader<'_>, n: usize, series: u32, out: &mut Vec<ChunkPlace>) -> Result<(), Corrupt> {
    let (mut last_max, mut end) = (0i64, 0u64);
    for _ in 0..n {
        let min = last_max.wrapping_add(r.ivarint()?);
        let max = min.wrapping_add(r.uvarint()? as i64);
        let count = r.uvarint()? as u32;
        let offset = end.wrapping_add(r.uvarint()?);
        let len = r.uvarint()? as u32;
        out.push(ChunkPlace { min, max, count, offset, len, times: 0, series });
        (last_max, end) = (max, offset.wrapping_add(4 + u64::from(len)));
    }
    Ok(())
}

/// Labels by the numbers of name and value, in order; each with the place of its bitmap.
struct PostingsTable<'a> {
    len: usize,
    keys: &'a [u8],
    bitmaps: &'a [u8],
}

impl<'a> PostingsTable<'a> {
    fn new(section: &'a [u8]) -> Result<Self, Corrupt> {
        let mut r = Reader::new(section);
        let len = r.u32()? as usize;
        let keys = r.bytes(len.checked_mul(POSTING_BYTES).ok_or(Corrupt("the index is too long"))?)?;
        Ok(Self { len, keys, bitmaps: r.rest() })
    }

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

    /// The number in a bitmap of one, as many are: read without a bitmap. The bytes are those of the format
    /// specification of Roaring for one container with one value.
    fn single(&self, i: usize) -> Option<u32> {
        let (at, len) = (self.field(i, 2).ok()? as usize, self.field(i, 3).ok()? as usize);
        let bytes: &[u8; ONE_BYTES] = self.bitmaps.get(at..at.checked_add(len)?)?.try_into().ok()?;
        let high = u16::from_le_bytes([bytes[8], bytes[9]]);
        let low = u16::from_le_bytes([bytes[16], bytes[17]]);
        let one = bytes[..8] == ONE_COOKIE && bytes[10..16] == ONE_OFFSET;
        one.then_some(u32::from(high) << 16 | u32::from(low))
    }

    fn bitmap(&self, i: usize) -> Result<RoaringBitmap, Corrupt> {
        let (at, len) = (self.field(i, 2)? as usize, self.field(i, 3)? as usize);
        let bytes = self.bitmaps.get(at..at.saturating_add(len)).ok_or(Corrupt("postings are missing"))?;
        RoaringBitmap::deserialize_from(bytes).map_err(|_| Corrupt("postings are damaged"))
    }
}

/// A count, offsets, entries.
pub(super) struct Table<'a> {
    len: u32,
    offsets: &'a [u8],
    entries: &'a [u8],
}

impl<'a> Table<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Result<Self, Corrupt> {
        let mut r = Reader::new(bytes);
        let len = r.u32()?;
        let offsets = r.bytes((len as usize + 1).checked_mul(4).ok_or(Corrupt("a table is too long"))?)?;
        Ok(Self { len, offsets, entries: r.rest() })
    }

    pub(super) fn len(&self) -> u32 {
        self.len
    }

    pub(super) fn get(&self, i: u32) -> Result<&'a [u8], Corrupt> {
        if i >= self.len {
            return Err(Corrupt("a number is outside its table"));
        }
        let mut r = Reader::new(&self.offsets[i as usize * 4..]);
        let (from, to) = (r.u32()? as usize, r.u32()? as usize);
        self.entries.get(from..to).ok_or(Corrupt("an entry stands outside its table"))
    }

    pub(super) fn str(&self, i: u64) -> Result<&'a str, Corrupt> {
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
