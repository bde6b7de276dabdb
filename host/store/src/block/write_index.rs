//! Writes the index of a block: which labels its series have, where their chunks are, which series have a label.
//!
//! A block of a million series has an index of 40 MB. So it is never in memory as it lies in the file: it goes there entry
//! by entry, sizes first and bytes in a second walk, and beside it there are the series by numbers (some 20 bytes each),
//! the postings compressed, and [`MEMBERS_TOGETHER`] of their members.
//!
//! Invariant: the bytes are those of `docs/formats/store.md`, and depend on nothing but the series.
//! Not here: chunks, columns of times, the footer (`write`).

use std::io;
use std::sync::Arc;

use belfry_model::Labels;
use hashbrown::HashMap;
use roaring::RoaringBitmap;

use super::Section;
use super::output::{OpenSection, Output};
use crate::codec::{Reader, put_uvarint};

/// Series are kept in pieces of this size: one long vector would be copied each time it grows.
const PIECE_BYTES: usize = 1 << 20;
/// Members of labels are sorted by label so many at a time, a walk over all series each: 8 MB.
const MEMBERS_TOGETHER: usize = 1 << 21;
/// A checksum that is run along costs less for many bytes at once.
const ENTRIES_BYTES: usize = 1 << 14;

/// The series so far, in order.
#[derive(Default)]
pub(super) struct SeriesList {
    names: Names,
    /// Of each series: length of what follows, how many labels, their numbers in `names`, and what the index says of its
    /// chunks.
    pieces: Vec<Vec<u8>>,
    count: u32,
}

/// Where the sections are.
pub(super) struct Sections {
    pub symbols: Section,
    pub series: Section,
    pub postings: Section,
}

impl SeriesList {
    /// No series?
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Begins a series' entry in `entry`, which is empty.
    pub fn put_labels(&mut self, labels: &Labels, entry: &mut Vec<u8>) {
        put_uvarint(entry, labels.len() as u64);
        for l in labels {
            let number = self.names.number(&l.name, &l.value);
            put_uvarint(entry, u64::from(number));
        }
    }

    /// Adds a series by its entry: its labels, then what the index says of its chunks.
    pub fn add(&mut self, entry: &[u8]) {
        if self.pieces.last().is_none_or(|p| p.len() + entry.len() + 10 > p.capacity()) {
            self.pieces.push(Vec::with_capacity(PIECE_BYTES.max(entry.len() + 10)));
        }
        if let Some(piece) = self.pieces.last_mut() {
            put_uvarint(piece, entry.len() as u64);
            piece.extend_from_slice(entry);
        }
        self.count += 1;
    }

    fn entries(&self) -> impl Iterator<Item = &[u8]> {
        self.pieces.iter().flat_map(|piece| {
            let mut r = Reader::new(piece);
            // What was just written can be read.
            std::iter::from_fn(
                move || if r.is_empty() { None } else { r.uvarint().and_then(|n| r.bytes(n as usize)).ok() },
            )
        })
    }

    /// Writes symbols, series and postings.
    pub fn write(self, out: &mut Output) -> io::Result<Sections> {
        let (sorted, rank) = self.names.sorted();
        let symbols = table(out, sorted.len(), || sorted.iter(), |s, out| out.extend_from_slice(s.as_bytes()))?;
        drop(sorted);
        let of = |label: u32| {
            let (name, value) = self.names.labels[label as usize];
            (rank[name as usize], rank[value as usize])
        };
        let series = table(
            out,
            self.count as usize,
            || self.entries(),
            |entry, out| {
                let mut r = Reader::new(entry);
                let n = r.uvarint().unwrap_or(0);
                put_uvarint(out, n);
                for label in labels(&mut r, n) {
                    let (name, value) = of(label);
                    put_uvarint(out, u64::from(name));
                    put_uvarint(out, u64::from(value));
                }
                out.extend_from_slice(r.rest());
            },
        )?;
        let mut order: Vec<u32> = (0..self.names.labels.len() as u32).collect();
        order.sort_unstable_by_key(|l| of(*l));
        let postings = self.postings(&order, of, MEMBERS_TOGETHER)?;
        let mut section = out.section();
        section.put_u32(small(order.len())?)?;
        postings.iter().try_for_each(|part| section.put(&part.keys))?;
        postings.iter().try_for_each(|part| section.put(&part.bitmaps))?;
        Ok(Sections { symbols, series, postings: section.end()? })
    }

    /// The postings of the labels in `order`, in parts of `together` members or of one label.
    fn postings(
        &self,
        order: &[u32],
        of: impl Fn(u32) -> (u32, u32),
        together: usize,
    ) -> io::Result<Vec<PostingsPart>> {
        let counts = self.counts();
        let mut parts = Vec::new();
        let mut place = vec![NOWHERE; counts.len()];
        let (mut members, mut bitmaps_end) = (Vec::new(), 0);
        let mut from = 0;
        while from < order.len() {
            // The labels of this part, and where the members of each begin.
            let (mut to, mut total) = (from, 0);
            while let Some(label) = order.get(to)
                && (to == from || total + counts[*label as usize] as usize <= together)
            {
                place[*label as usize] = total as u32;
                total += counts[*label as usize] as usize;
                to += 1;
            }
            members.clear();
            members.resize(total, 0u32);
            // Series are walked in order, so each label's members ascend.
            for (i, entry) in self.entries().enumerate() {
                let mut r = Reader::new(entry);
                let n = r.uvarint().unwrap_or(0);
                for label in labels(&mut r, n) {
                    if let Some(at) = place.get_mut(label as usize).filter(|at| **at != NOWHERE) {
                        members[*at as usize] = i as u32;
                        *at += 1;
                    }
                }
            }
            let mut part = PostingsPart::default();
            let mut begin = 0;
            for label in &order[from..to] {
                let end = begin + counts[*label as usize] as usize;
                let of_label = members[begin..end].iter().copied();
                let mut bitmap = RoaringBitmap::from_sorted_iter(of_label).map_err(io::Error::other)?;
                bitmap.optimize();
                let len = part.bitmaps.len();
                bitmap.serialize_into(&mut part.bitmaps)?;
                let len = part.bitmaps.len() - len;
                let (name, value) = of(*label);
                for v in [name, value, small(bitmaps_end)?, small(len)?] {
                    part.keys.extend_from_slice(&v.to_le_bytes());
                }
                bitmaps_end += len;
                place[*label as usize] = NOWHERE;
                begin = end;
            }
            small(bitmaps_end)?;
            part.keys.shrink_to_fit();
            part.bitmaps.shrink_to_fit();
            parts.push(part);
            from = to;
        }
        Ok(parts)
    }

    /// How many series have each label.
    fn counts(&self) -> Vec<u32> {
        let mut counts = vec![0u32; self.names.labels.len()];
        for entry in self.entries() {
            let mut r = Reader::new(entry);
            let n = r.uvarint().unwrap_or(0);
            labels(&mut r, n).for_each(|label| counts[label as usize] += 1);
        }
        counts
    }
}

/// Of a label whose members are not looked for now.
const NOWHERE: u32 = u32::MAX;

/// What stands in the section for some labels.
#[derive(Default)]
struct PostingsPart {
    keys: Vec<u8>,
    bitmaps: Vec<u8>,
}

/// Names and values so far, and labels as pairs of them, numbered as they come.
#[derive(Default)]
struct Names {
    symbols: HashMap<Arc<str>, u32>,
    pairs: HashMap<(u32, u32), u32>,
    labels: Vec<(u32, u32)>,
}

impl Names {
    fn number(&mut self, name: &Arc<str>, value: &Arc<str>) -> u32 {
        let pair = (self.symbol(name), self.symbol(value));
        let next = self.labels.len() as u32;
        let number = *self.pairs.entry(pair).or_insert(next);
        if number == next {
            self.labels.push(pair);
        }
        number
    }

    fn symbol(&mut self, s: &Arc<str>) -> u32 {
        if let Some(known) = self.symbols.get(s) {
            return *known;
        }
        let next = self.symbols.len() as u32;
        self.symbols.insert(s.clone(), next);
        next
    }

    /// The symbols in byte order, and where in that each number is.
    fn sorted(&self) -> (Vec<&str>, Vec<u32>) {
        let mut all: Vec<(&str, u32)> = self.symbols.iter().map(|(s, n)| (&**s, *n)).collect();
        all.sort_unstable();
        let mut rank = vec![0; all.len()];
        for (i, (_, n)) in all.iter().enumerate() {
            rank[*n as usize] = i as u32;
        }
        (all.into_iter().map(|(s, _)| s).collect(), rank)
    }
}

/// The label numbers at the front of a series' entry.
fn labels<'r>(r: &'r mut Reader<'_>, n: u64) -> impl Iterator<Item = u32> + 'r {
    (0..n).map_while(|_| r.uvarint().ok().map(|v| v as u32))
}

fn small(n: usize) -> io::Result<u32> {
    u32::try_from(n).map_err(|_| io::Error::other("the index of a block would be larger than 4 GiB"))
}

/// Writes a count, the offsets of the entries and of their end, the entries. They are made twice.
fn table<T, I: Iterator<Item = T>>(
    out: &mut Output,
    count: usize,
    entries: impl Fn() -> I,
    put: impl Fn(T, &mut Vec<u8>),
) -> io::Result<Section> {
    let mut section = out.section();
    section.put_u32(small(count)?)?;
    section.put_u32(0)?;
    let (mut scratch, mut offsets, mut end) = (Vec::new(), Vec::with_capacity(ENTRIES_BYTES + 4), 0);
    for e in entries() {
        scratch.clear();
        put(e, &mut scratch);
        end += scratch.len();
        offsets.extend_from_slice(&small(end)?.to_le_bytes());
        put_if(&mut section, &mut offsets, ENTRIES_BYTES)?;
    }
    put_if(&mut section, &mut offsets, 0)?;
    scratch.clear();
    for e in entries() {
        put(e, &mut scratch);
        put_if(&mut section, &mut scratch, ENTRIES_BYTES)?;
    }
    put_if(&mut section, &mut scratch, 0)?;
    section.end()
}

/// Hands on what waits when it is as much as that.
fn put_if(section: &mut OpenSection<'_>, waiting: &mut Vec<u8>, at_least: usize) -> io::Result<()> {
    if waiting.len() >= at_least {
        section.put(waiting)?;
        waiting.clear();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_postings_and_pieces_of_series_are_one_whole() {
        let mut list = SeriesList::default();
        let mut entry = Vec::new();
        let labels = |i: u32| Labels::from_pairs([("a", (i % 7).to_string()), ("b", i.to_string()), ("c", "x".into())]);
        // Some megabytes.
        for i in 0..40_000u32 {
            entry.clear();
            list.put_labels(&labels(i), &mut entry);
            entry.extend_from_slice(&[i as u8; 40]);
            list.add(&entry);
        }
        assert!(list.pieces.len() > 1 && list.pieces.iter().all(|p| p.len() <= PIECE_BYTES));
        assert_eq!(list.entries().count(), 40_000);
        assert!(list.entries().zip(0u32..).all(|(e, i)| e.ends_with(&[i as u8; 40])));
        let order: Vec<u32> = (0..list.names.labels.len() as u32).collect();
        let of = |label: u32| list.names.labels[label as usize];
        let whole = |together: usize| {
            let parts = list.postings(&order, of, together).unwrap();
            let all = |of: fn(&PostingsPart) -> &Vec<u8>| parts.iter().flat_map(of).copied().collect::<Vec<u8>>();
            (parts.len(), all(|p| &p.keys), all(|p| &p.bitmaps))
        };
        let (one, keys, bitmaps) = whole(usize::MAX);
        let (many, keys_of_many, bitmaps_of_many) = whole(30_000);
        assert_eq!((one, keys.len()), (1, order.len() * 16));
        assert!(many > 3 && keys == keys_of_many && bitmaps == bitmaps_of_many);
    }
}
