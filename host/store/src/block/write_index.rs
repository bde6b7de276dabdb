//! Writes the index of a block: which labels its series have, where their chunks are, which series have a label.
//!
//! A block of a million series has an index of 40 MB. So it is never in memory as it lies in the file: it goes there entry
//! by entry, sizes first and bytes in a second walk. The series by numbers (some 20 bytes each) and the postings,
//! compressed, wait in a file where there are many (`spill`), and [`MEMBERS_TOGETHER`] of their members are in memory.
//!
//! Invariant: the bytes are those of `docs/formats/store.md`, and depend on nothing but the series.
//! Not here: chunks, columns of times, the footer (`write`).

use std::io;
use std::path::Path;
use std::sync::Arc;

use belfry_model::Labels;
use hashbrown::HashMap;
use roaring::RoaringBitmap;

use super::output::{OpenSection, Output};
use super::spill::Spill;
use super::{Section, UNFINISHED, file_name};
use crate::codec::{Reader, put_uvarint};
use crate::disk::Disk;

/// Members of labels are sorted by label so many at a time, a walk over all series each: 8 MB.
const MEMBERS_TOGETHER: usize = 1 << 21;
/// A checksum that is run along costs less for many bytes at once.
const ENTRIES_BYTES: usize = 1 << 14;

/// The series so far, in order.
pub(super) struct SeriesList {
    names: Names,
    /// Of each series: length of what follows, how many labels, their numbers in `names`, and what the index says of its
    /// chunks.
    entries: Spill,
    /// Of each label in order, when all series are there: the series that have it.
    bitmaps: Spill,
    count: u32,
    scratch: Vec<u8>,
}

/// Where the sections are.
pub(super) struct Sections {
    pub symbols: Section,
    pub series: Section,
    pub postings: Section,
}

impl SeriesList {
    /// Files beside the block's in `dir` take what there is no room for in memory.
    pub fn new(disk: &Arc<dyn Disk>, dir: &Path, id: u64) -> Self {
        let spill = |what: &str| Spill::new(disk.clone(), dir.join(file_name(id, &format!("{what}.{UNFINISHED}"))));
        let (entries, bitmaps) = (spill("series"), spill("postings"));
        Self { names: Names::default(), entries, bitmaps, count: 0, scratch: Vec::new() }
    }

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
    pub fn add(&mut self, entry: &[u8]) -> io::Result<()> {
        self.scratch.clear();
        put_uvarint(&mut self.scratch, entry.len() as u64);
        self.scratch.extend_from_slice(entry);
        self.count += 1;
        self.entries.put(&self.scratch)
    }

    /// Hands all entries to `f`, in order, until that fails.
    fn entries(&self, f: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        self.entries.try_for_each(|piece| {
            let mut r = Reader::new(piece);
            while !r.is_empty() {
                f(r.uvarint().and_then(|n| r.bytes(n as usize)).map_err(|e| io::Error::other(e.0))?)?;
            }
            Ok(())
        })
    }

    /// Writes symbols, series and postings.
    pub fn write(mut self, out: &mut Output) -> io::Result<Sections> {
        let (sorted, rank) = self.names.sorted();
        let symbols = table(
            out,
            sorted.len(),
            |f| sorted.iter().try_for_each(|s| f(s.as_bytes())),
            |s, out| out.extend_from_slice(s),
        )?;
        drop(sorted);
        // Numbers are all that is needed from here on.
        let pairs = std::mem::take(&mut self.names).labels;
        let of = |label: u32| {
            let (name, value) = pairs[label as usize];
            (rank[name as usize], rank[value as usize])
        };
        let series = table(
            out,
            self.count as usize,
            |f| self.entries(f),
            |entry, out| {
                let mut r = Reader::new(entry);
                let n = r.uvarint().unwrap_or(0);
                put_uvarint(out, n);
                for label in numbers(&mut r, n) {
                    let (name, value) = of(label);
                    put_uvarint(out, u64::from(name));
                    put_uvarint(out, u64::from(value));
                }
                out.extend_from_slice(r.rest());
            },
        )?;
        let mut order: Vec<u32> = (0..pairs.len() as u32).collect();
        order.sort_unstable_by_key(|l| of(*l));
        let mut section = out.section();
        section.put_u32(small(order.len())?)?;
        self.postings(&order, of, MEMBERS_TOGETHER, |keys| section.put(keys))?;
        self.bitmaps.try_for_each(|bitmaps| section.put(bitmaps))?;
        Ok(Sections { symbols, series, postings: section.end()? })
    }

    /// The postings of the labels in `order`, as many at a time as have `together` members, or one: what the index says
    /// of them goes to `put_keys`, and the bitmaps wait.
    fn postings(
        &mut self,
        order: &[u32],
        of: impl Fn(u32) -> (u32, u32),
        together: usize,
        mut put_keys: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let counts = self.counts(order.len())?;
        let mut place = vec![NOWHERE; counts.len()];
        let (mut members, mut bitmaps_end) = (Vec::new(), 0);
        let (mut keys, mut bytes) = (Vec::new(), Vec::new());
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
            let mut i = 0;
            self.entries(&mut |entry| {
                for label in labels(entry) {
                    if let Some(at) = place.get_mut(label as usize).filter(|at| **at != NOWHERE) {
                        members[*at as usize] = i;
                        *at += 1;
                    }
                }
                i += 1;
                Ok(())
            })?;
            let mut begin = 0;
            for label in &order[from..to] {
                let end = begin + counts[*label as usize] as usize;
                let of_label = members[begin..end].iter().copied();
                let mut bitmap = RoaringBitmap::from_sorted_iter(of_label).map_err(io::Error::other)?;
                bitmap.optimize();
                bytes.clear();
                bitmap.serialize_into(&mut bytes)?;
                self.bitmaps.put(&bytes)?;
                let (name, value) = of(*label);
                for v in [name, value, small(bitmaps_end)?, small(bytes.len())?] {
                    keys.extend_from_slice(&v.to_le_bytes());
                }
                if keys.len() >= ENTRIES_BYTES {
                    put_keys(&keys)?;
                    keys.clear();
                }
                bitmaps_end += bytes.len();
                place[*label as usize] = NOWHERE;
                begin = end;
            }
            small(bitmaps_end)?;
            from = to;
        }
        put_keys(&keys)
    }

    /// How many series have each label, of so many.
    fn counts(&self, of: usize) -> io::Result<Vec<u32>> {
        let mut counts = vec![0u32; of];
        self.entries(&mut |entry| {
            labels(entry).for_each(|label| counts[label as usize] += 1);
            Ok(())
        })?;
        Ok(counts)
    }
}

/// Of a label whose members are not looked for now.
const NOWHERE: u32 = u32::MAX;

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
fn labels(entry: &[u8]) -> impl Iterator<Item = u32> {
    let mut r = Reader::new(entry);
    let n = r.uvarint().unwrap_or(0);
    (0..n).map_while(move |_| r.uvarint().ok().map(|v| v as u32))
}

fn numbers<'r>(r: &'r mut Reader<'_>, n: u64) -> impl Iterator<Item = u32> + 'r {
    (0..n).map_while(|_| r.uvarint().ok().map(|v| v as u32))
}

fn small(n: usize) -> io::Result<u32> {
    u32::try_from(n).map_err(|_| io::Error::other("the index of a block would be larger than 4 GiB"))
}

/// Writes a count, the offsets of the entries and of their end, the entries. They are walked twice.
fn table(
    out: &mut Output,
    count: usize,
    walk: impl Fn(&mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()>,
    put: impl Fn(&[u8], &mut Vec<u8>),
) -> io::Result<Section> {
    let mut section = out.section();
    section.put_u32(small(count)?)?;
    section.put_u32(0)?;
    let (mut scratch, mut offsets, mut end) = (Vec::new(), Vec::with_capacity(ENTRIES_BYTES + 4), 0);
    walk(&mut |entry| {
        scratch.clear();
        put(entry, &mut scratch);
        end += scratch.len();
        offsets.extend_from_slice(&small(end)?.to_le_bytes());
        put_if(&mut section, &mut offsets, ENTRIES_BYTES)
    })?;
    put_if(&mut section, &mut offsets, 0)?;
    scratch.clear();
    walk(&mut |entry| {
        put(entry, &mut scratch);
        put_if(&mut section, &mut scratch, ENTRIES_BYTES)
    })?;
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
    use crate::disk::SimDisk;

    #[test]
    fn postings_in_parts_are_the_same_as_at_once_and_series_that_wait_in_a_file_are_all_there() {
        let labels = |i: u32| Labels::from_pairs([("a", (i % 7).to_string()), ("b", i.to_string()), ("c", "x".into())]);
        let of_parts = |together: usize| {
            let disk: Arc<dyn Disk> = Arc::new(SimDisk::default());
            let mut list = SeriesList::new(&disk, Path::new("/b"), 1);
            let mut entry = Vec::new();
            // Some megabytes.
            for i in 0..120_000u32 {
                entry.clear();
                list.put_labels(&labels(i), &mut entry);
                entry.extend_from_slice(&[i as u8; 40]);
                list.add(&entry).unwrap();
            }
            assert_eq!(list.entries.pieces(), (4, 2));
            let mut i = 0;
            let all = list.entries(&mut |e| {
                assert!(e.ends_with(&[i as u8; 40]));
                i += 1;
                Ok(())
            });
            assert_eq!((all.unwrap(), i), ((), 120_000));
            let order: Vec<u32> = (0..list.names.labels.len() as u32).collect();
            let pairs = list.names.labels.clone();
            let append = |to: &mut Vec<u8>, bytes: &[u8]| {
                to.extend_from_slice(bytes);
                Ok(())
            };
            let (mut keys, mut bitmaps) = (Vec::new(), Vec::new());
            list.postings(&order, |l| pairs[l as usize], together, |k| append(&mut keys, k)).unwrap();
            list.bitmaps.try_for_each(|b| append(&mut bitmaps, b)).unwrap();
            assert_eq!(disk.list(Path::new("/b")).unwrap().len(), 1, "of the series alone");
            drop(list);
            assert_eq!(disk.list(Path::new("/b")).unwrap(), [""; 0]);
            assert_eq!(keys.len(), order.len() * 16);
            (keys, bitmaps)
        };
        assert!(of_parts(usize::MAX) == of_parts(30_000));
    }
}
