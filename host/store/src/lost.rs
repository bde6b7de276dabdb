//! What was lost of the log: it is remembered when the log that shows it is long gone.
//!
//! Damage in a block stays where it is. That of the log goes with it once the head has become a block, and what was lost
//! would be forgotten. So a start that finds damage writes a note, `wal/lost`: byte by byte in `docs/formats/store.md`.
//!
//! Invariant: no log is deleted before what it lacks is noted; a time for which the log lacks a sample is within the span
//! that is noted, as far as the samples around it tell; the note is bounded.
//! Not here: finding damage (`wal`), whose samples they were: nobody knows.

use std::io;
use std::path::{Path, PathBuf};

use belfry_model::{TimeRange, TimestampMs};

use crate::codec::{Corrupt, Reader, put_ivarint, put_str, put_uvarint};
use crate::config::{Damage, OpenError, Recovery};
use crate::disk::{Disk, is_of_medium};

/// The note, beside the log.
pub const FILE: &str = "lost";
/// The note while it is written.
const UNFINISHED: &str = "lost.unfinished";
/// A note that could not be read.
pub const DAMAGED: &str = "lost.damaged";
/// The format that this program writes, and the highest that it reads.
pub const VERSION: u32 = 1;

const MAGIC: &[u8; 8] = b"BELFLOS\n";
/// Magic, version, checksum.
const HEADER_BYTES: usize = 16;
/// Files that are remembered one by one; of more the oldest are put together. Who has so many has lost the disk.
const FILES_MAX: usize = 64;
/// Bytes of a reason that are kept: a few words and what the system says.
const WHAT_BYTES_MAX: usize = 200;

/// What one file of the log lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// The file's name; empty where no file is known.
    pub name: String,
    /// The first place in it.
    pub offset: u64,
    /// What was wrong there.
    pub what: String,
    /// How many places there are.
    pub places: u64,
    /// The first time for which samples may be missing; `None` where nothing is known from before.
    pub from: Option<i64>,
    /// The last one.
    pub to: i64,
    /// When it was found.
    pub found: i64,
}

impl Loss {
    fn overlaps(&self, range: TimeRange) -> bool {
        self.from.is_none_or(|from| from < range.end().0) && self.to >= range.start().0
    }

    /// Takes up another one's times.
    fn widen(&mut self, other: &Self) {
        self.from = self.from.zip(other.from).map(|(a, b)| a.min(b));
        self.to = self.to.max(other.to);
        self.found = self.found.min(other.found);
    }

    fn told(&self, dir: &Path) -> String {
        let file = if self.name.is_empty() { dir.to_owned() } else { dir.join(&self.name) };
        let more = if self.places > 1 { format!(" (and {} more)", self.places - 1) } else { String::new() };
        let since = self.from.map_or_else(|| "until".to_owned(), |from| format!("between {} and", TimestampMs(from)));
        format!(
            "{}: damage at byte {}{more}, found {}: {}; samples {since} {} may be missing",
            file.display(),
            self.offset,
            TimestampMs(self.found),
            self.what,
            TimestampMs(self.to)
        )
    }
}

/// All that was lost of the log and that retention has not passed yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    dir: PathBuf,
    /// In order of their ends.
    all: Vec<Loss>,
    /// A note could not be read: it is not known what else was lost.
    unread: Option<String>,
    /// The note does not say what is here.
    is_unsaved: bool,
}

impl Losses {
    /// Reads the note beside the log. One that is damaged gets another name, and every start tells of it as long as it is
    /// there.
    pub fn read(disk: &dyn Disk, dir: &Path, recovery: &mut Recovery) -> Result<Self, OpenError> {
        let mut out = Self { dir: dir.to_owned(), ..Self::default() };
        let (file, damaged) = (dir.join(FILE), dir.join(DAMAGED));
        let failed = |source| OpenError::Io { file: file.clone(), source };
        let why = match disk.read(&file) {
            Ok(bytes) => match Self::newer_version(&bytes) {
                Some(found) => return Err(OpenError::Version { file, found, known: VERSION }),
                None => from_bytes(&bytes).map(|all| out.all = all).err().map(|e| e.0.to_owned()),
            },
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            Err(e) if is_of_medium(&e) => Some(e.to_string()),
            Err(e) => return Err(failed(e)),
        };
        if why.is_some() {
            disk.rename(&file, &damaged).and_then(|()| disk.sync_dir(dir)).map_err(failed)?;
        }
        if why.is_some() || disk.list(dir).map_err(failed)?.iter().any(|name| name == DAMAGED) {
            let why = why.map_or_else(String::new, |why| format!(" ({why})"));
            let what = format!(
                "what it says was lost of the log cannot be read{why}; remove it when nobody needs to be told any more"
            );
            out.unread = Some(format!("{}: {what}", damaged.display()));
            recovery.damage.push(Damage { file: damaged, offset: 0, what });
        }
        Ok(out)
    }

    /// The version of a note that a newer Belfry wrote.
    pub fn newer_version(bytes: &[u8]) -> Option<u32> {
        let mut r = Reader::new(bytes.strip_prefix(MAGIC)?);
        let (version, crc) = (r.u32().ok()?, r.u32().ok()?);
        (version > VERSION && crc == checksum(version, r.rest())).then_some(version)
    }

    /// Is there a note, or should there be none?
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Is one there that could not be read?
    pub fn has_unread(&self) -> bool {
        self.unread.is_some()
    }

    /// How many places are known.
    pub fn places(&self) -> usize {
        self.all.iter().map(|l| usize::try_from(l.places).unwrap_or(usize::MAX)).fold(0, usize::saturating_add)
    }

    /// What is known of files that are not among `found`, which this start has met.
    pub fn others(&self, found: &[Loss]) -> Vec<String> {
        let is_known = |l: &&Loss| !found.iter().any(|f| f.name == l.name);
        self.all.iter().filter(is_known).map(|l| l.told(&self.dir)).collect()
    }

    /// Does it tell of damage in this file?
    pub fn tells_of(&self, file: &Path) -> bool {
        // Samples whose series or rows are lost are lost with what introduced them, in some file.
        self.all.iter().any(|l| file == self.dir || file == self.dir.join(&l.name))
    }

    /// The oldest one, and how many places there are beside it.
    pub fn first(&self) -> Option<String> {
        self.all.first().map(|l| l.told(&self.dir))
    }

    /// What answers over the range may lack.
    pub fn missing(&self, range: TimeRange) -> impl Iterator<Item = String> {
        let mut met = self.all.iter().filter(|l| l.overlaps(range));
        let first = met.next().map(|l| (l.told(&self.dir), met.count()));
        let known = first.map(|(first, more)| crate::read::and_more(first, more));
        known.into_iter().chain(self.unread.clone())
    }

    /// Adds what a start has found. What an earlier one had found of the same file is the same damage.
    pub fn add(&mut self, found: Vec<Loss>) {
        for new in found {
            let before = self.all.clone();
            match self.all.iter_mut().find(|l| l.name == new.name) {
                Some(known) => {
                    known.widen(&new);
                    known.places = known.places.max(new.places);
                }
                None => self.all.push(new),
            }
            self.is_unsaved |= self.all != before;
        }
        self.all.sort_by_key(|l| l.to);
        while self.all.len() > FILES_MAX {
            let oldest = self.all.remove(0);
            if let Some(next) = self.all.first_mut() {
                next.widen(&oldest);
                next.places = next.places.saturating_add(oldest.places);
            }
        }
    }

    /// Does any end before this time?
    pub fn has_before(&self, at: i64) -> bool {
        self.all.iter().any(|l| l.to < at)
    }

    /// Forgets what ends before this time, with all else of that age.
    pub fn forget_before(&mut self, at: i64) {
        let known = self.all.len();
        self.all.retain(|l| l.to >= at);
        self.is_unsaved |= self.all.len() < known;
    }

    /// Does the note say all of it?
    pub fn is_saved(&self) -> bool {
        !self.is_unsaved
    }

    /// It does now.
    pub fn note_saved(&mut self) {
        self.is_unsaved = false;
    }

    /// Writes the note, durably; without a loss there is none.
    pub fn save(&self, disk: &dyn Disk) -> io::Result<()> {
        let file = self.dir.join(FILE);
        if self.all.is_empty() {
            match disk.remove(&file) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => return disk.sync_dir(&self.dir),
            }
        }
        let unfinished = self.dir.join(UNFINISHED);
        let new = disk.create(&unfinished)?;
        new.append(&self.to_bytes())?;
        new.sync()?;
        disk.rename(&unfinished, &file)?;
        disk.sync_dir(&self.dir)
    }

    /// As a file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut body = Vec::new();
        put_uvarint(&mut body, self.all.len() as u64);
        for l in &self.all {
            put_str(&mut body, &l.name);
            put_uvarint(&mut body, l.offset);
            put_str(&mut body, &l.what);
            put_uvarint(&mut body, l.places);
            body.push(u8::from(l.from.is_some()));
            put_ivarint(&mut body, l.from.unwrap_or(0));
            put_ivarint(&mut body, l.to);
            put_ivarint(&mut body, l.found);
        }
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&checksum(VERSION, &body).to_le_bytes());
        out.extend_from_slice(&body);
        out
    }
}

/// Reads what [`Losses::to_bytes`] wrote.
fn from_bytes(bytes: &[u8]) -> Result<Vec<Loss>, Corrupt> {
    let (header, body) = bytes.split_at_checked(HEADER_BYTES).ok_or(Corrupt("it ends in its header"))?;
    let mut r = Reader::new(header.strip_prefix(MAGIC).ok_or(Corrupt("it does not begin as such a note does"))?);
    let (version, crc) = (r.u32()?, r.u32()?);
    if crc != checksum(version, body) {
        return Err(Corrupt("its checksum does not match"));
    }
    if version != VERSION {
        return Err(Corrupt("its version is not one there is"));
    }
    let mut r = Reader::new(body);
    let mut all = Vec::new();
    for _ in 0..r.count()? {
        let (name, offset, what, places) = (r.str()?.to_owned(), r.uvarint()?, r.str()?.to_owned(), r.uvarint()?);
        let is_known = r.u8()? != 0;
        let from = Some(r.ivarint()?).filter(|_| is_known);
        all.push(Loss { name, offset, what, places, from, to: r.ivarint()?, found: r.ivarint()? });
    }
    Ok(all)
}

/// It covers the version, too.
fn checksum(version: u32, body: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(MAGIC);
    crc.update(&version.to_le_bytes());
    crc.update(body);
    crc.finalize()
}

/// Of one damaged file, while the log is read.
struct Gap {
    name: String,
    offset: u64,
    what: String,
    places: u64,
    /// Between what stands before and what stands behind.
    around: Option<(Option<i64>, i64)>,
    /// Times of samples that are known to be lost.
    known: Option<(i64, i64)>,
    /// Nothing has come behind the damage yet; what was the newest time before it.
    open: Option<Option<i64>>,
}

/// Finds out for which times samples may be lost, while the log is read.
///
/// A lost record was written between those around it, so its samples are about as old: no newer than the newest before
/// it or in what follows, and as late as others in this log are at most.
#[derive(Default)]
pub struct Gaps {
    gaps: Vec<Gap>,
    /// The newest time before the log; of blocks.
    before: Option<i64>,
    /// The newest time so far.
    newest: Option<i64>,
    /// How far a record has gone back behind the newest time before it.
    late: i64,
    /// First and last time of the record that is being read.
    record: Option<(i64, i64)>,
}

impl Gaps {
    /// Of a log that begins when this was the newest time.
    pub fn new(before: Option<i64>) -> Self {
        Self { before, ..Self::default() }
    }

    /// The record has a sample at this time.
    pub fn sample(&mut self, at: i64) {
        let (first, last) = self.record.get_or_insert((at, at));
        (*first, *last) = (at.min(*first), at.max(*last));
    }

    /// And it is lost: its series or its row is not known.
    pub fn lost_sample(&mut self, at: i64) {
        if self.gaps.is_empty() {
            let what = "series or rows whose beginning is not there".to_owned();
            self.gaps.push(Gap { what, ..Gap::of("", 0) });
        }
        if let Some(gap) = self.gaps.last_mut() {
            let (first, last) = gap.known.get_or_insert((at, at));
            (*first, *last) = (at.min(*first), at.max(*last));
        }
    }

    /// The record ends.
    pub fn end_record(&mut self) {
        let Some((first, last)) = self.record.take() else { return };
        for gap in &mut self.gaps {
            if let Some(before) = gap.open.take() {
                gap.surround(before.map(|b| b.min(first)), before.map_or(last, |b| b.max(last)));
            }
        }
        let newest = self.newest.unwrap_or(first);
        self.late = self.late.max(newest.saturating_sub(first));
        self.newest = Some(newest.max(last));
    }

    /// Here something is lost.
    pub fn damage(&mut self, found: &Damage) {
        let name = found.file.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        if self.gaps.last().is_none_or(|g| g.name != name) {
            let mut what = found.what.clone();
            what.truncate(what.floor_char_boundary(WHAT_BYTES_MAX));
            self.gaps.push(Gap { what, ..Gap::of(name, found.offset) });
        }
        let before = self.newest.or(self.before);
        if let Some(gap) = self.gaps.last_mut() {
            gap.places += 1;
            gap.open.get_or_insert(before);
        }
    }

    /// What was lost, as far as is known at `now`.
    pub fn finish(self, now: TimestampMs) -> Vec<Loss> {
        let late = self.late;
        let finish = |mut gap: Gap| {
            if let Some(before) = gap.open.take() {
                gap.surround(before, before.map_or(now.0, |b| b.max(now.0)));
            }
            let around = gap.around.map(|(from, to)| (from.map(|from| from.saturating_sub(late)), to));
            let known = gap.known.map(|(from, to)| (Some(from), to));
            let (from, to) = both(around, known).unwrap_or((None, now.0));
            let Gap { name, offset, what, places, .. } = gap;
            Loss { name, offset, what, places: places.max(1), from, to, found: now.0 }
        };
        self.gaps.into_iter().map(finish).collect()
    }
}

impl Gap {
    fn of(name: &str, offset: u64) -> Self {
        let (name, what) = (name.to_owned(), String::new());
        Self { name, offset, what, places: 0, around: None, known: None, open: None }
    }

    fn surround(&mut self, from: Option<i64>, to: i64) {
        self.around = both(self.around, Some((from, to)));
    }
}

type Times = (Option<i64>, i64);

/// From the earlier beginning to the later end.
fn both(a: Option<Times>, b: Option<Times>) -> Option<Times> {
    match (a, b) {
        (Some(a), Some(b)) => Some((a.0.zip(b.0).map(|(a, b)| a.min(b)), a.1.max(b.1))),
        (a, b) => a.or(b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn damage(name: &str, offset: u64) -> Damage {
        Damage { file: Path::new("/wal").join(name), offset, what: "wrong".to_owned() }
    }

    /// Reads records of these times; `None` is damage.
    fn spans(before: Option<i64>, log: &[Option<&[i64]>]) -> Vec<(Option<i64>, i64)> {
        let mut gaps = Gaps::new(before);
        for record in log {
            match record {
                Some(times) => {
                    times.iter().for_each(|t| gaps.sample(*t));
                    gaps.end_record();
                }
                None => gaps.damage(&damage("1.wal", 5)),
            }
        }
        gaps.finish(TimestampMs(1000)).into_iter().map(|l| (l.from, l.to)).collect()
    }

    #[test]
    fn samples_may_be_missing_from_the_newest_before_to_what_follows_and_as_late_as_others_are() {
        let (a, b): (&[i64], &[i64]) = (&[100], &[120]);
        assert_eq!(spans(None, &[Some(a), None, Some(b)]), [(Some(100), 120)]);
        // What has no samples tells nothing.
        assert_eq!(spans(None, &[Some(a), None, Some(&[]), None, Some(b), Some(&[130])]), [(Some(100), 120)]);
        // What one record has of several times is not late.
        assert_eq!(spans(None, &[Some(&[10, 100]), None, Some(&[101, 120])]), [(Some(100), 120)]);
        // Somewhere a sample came 7 later than another.
        assert_eq!(spans(None, &[Some(a), None, Some(b), Some(&[113, 121])]), [(Some(93), 120)]);
        // One who is ahead does not turn it around.
        assert_eq!(spans(None, &[Some(&[100, 500]), None, Some(b)]), [(Some(120 - 380), 500)]);
        assert_eq!(spans(Some(90), &[None, Some(b)]), [(Some(90), 120)]);
        assert_eq!(spans(None, &[None, Some(b)]), [(None, 120)]);
        assert_eq!(spans(None, &[Some(a), None]), [(Some(100), 1000)]);
        assert_eq!(spans(None, &[Some(a), None, Some(b), Some(&[200]), None, Some(&[210])]), [(Some(100), 210)]);
        assert_eq!(spans(None, &[Some(a), Some(b)]), []);
    }

    #[test]
    fn samples_whose_series_are_lost_are_missing_too() {
        let mut gaps = Gaps::default();
        gaps.sample(100);
        gaps.end_record();
        gaps.damage(&damage("1.wal", 5));
        for at in [110, 180] {
            gaps.sample(at);
            gaps.lost_sample(at);
            gaps.end_record();
        }
        let found = gaps.finish(TimestampMs(1000));
        assert_eq!((found.len(), found[0].from, found[0].to), (1, Some(100), 180));
    }

    fn loss(name: &str, from: i64, to: i64) -> Loss {
        Loss { name: name.to_owned(), offset: 7, what: "w".to_owned(), places: 1, from: Some(from), to, found: 1 }
    }

    #[test]
    fn there_are_never_more_than_so_many_and_none_of_their_times_is_forgotten() {
        let mut losses = Losses::default();
        for i in 0..1000i64 {
            losses.add(vec![loss(&format!("{i}.wal"), i * 10, i * 10 + 5)]);
        }
        assert_eq!((losses.all.len(), losses.places()), (FILES_MAX, 1000));
        for i in 0..1000i64 {
            let at = TimeRange::inclusive(TimestampMs(i * 10), TimestampMs(i * 10 + 5)).unwrap();
            assert_eq!(losses.missing(at).count(), 1, "{i}");
        }
        let apart = TimeRange::inclusive(TimestampMs(9986), TimestampMs(9989)).unwrap();
        assert_eq!(losses.missing(apart).count(), 0, "the newest are told apart");
        // A second start finds the same.
        losses.note_saved();
        losses.add(vec![loss("999.wal", 9990, 9995)]);
        assert_eq!((losses.places(), losses.is_saved()), (1000, true));
        losses.forget_before(9995);
        assert_eq!((losses.all.len(), losses.is_saved()), (1, false));
    }

    #[test]
    fn a_note_of_a_newer_version_says_so_and_one_of_a_wrong_number_is_damaged() {
        let losses = Losses { all: vec![loss("a", 1, 2)], ..Losses::default() };
        let mut bytes = losses.to_bytes();
        assert_eq!(Losses::newer_version(&bytes), None);
        bytes[8] = 2;
        assert_eq!((Losses::newer_version(&bytes), from_bytes(&bytes).is_err()), (None, true));
        let crc = checksum(2, &bytes[HEADER_BYTES..]);
        bytes[12..16].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(Losses::newer_version(&bytes), Some(2));
    }

    proptest! {
        #[test]
        fn a_note_reads_back_and_a_flipped_bit_is_noticed(
            spans in proptest::collection::vec((any::<Option<i64>>(), any::<i64>(), "[a-zä]{0,9}"), 0..5),
            at in any::<prop::sample::Index>(),
            bit in 0u8..8,
        ) {
            let all: Vec<Loss> =
                spans.into_iter().map(|(from, to, name)| Loss { from, to, ..loss(&name, 0, 0) }).collect();
            let mut bytes = Losses { all: all.clone(), ..Losses::default() }.to_bytes();
            prop_assert_eq!(from_bytes(&bytes).unwrap(), all);
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            prop_assert!(from_bytes(&bytes).is_err());
            prop_assert_eq!(Losses::newer_version(&bytes), None);
        }
    }
}
