//! Floats of one series, compressed as they come: one or two bytes for most, and no buffer of raw samples beside them.
//!
//! Times are second differences, values decimals scaled to whole numbers and their differences; a value that is no
//! short decimal is the XOR with the one before. This form stays in memory and is in no file.
//!
//! Invariant: times ascend strictly; every bit reads back.
//! Not here: histograms and late samples (`series`), which series it is (`head`).

use std::sync::Arc;

use belfry_model::{SampleBuf, TimeRange};

use crate::chunk::{PLACES_MAX, POW10, scaled};
use crate::codec::{Corrupt, Reader, put_ivarint, unzigzag, uvarint_of, zigzag};

/// A chunk is closed at this many samples: what reading one sample decodes at most.
pub const CHUNK_SAMPLES: u16 = 240;

/// So many bytes are decoded while others wait: about as long as it takes to copy them.
const SHORT_BYTES: usize = 64;

/// Room that a buffer has for the next sample.
const BYTES_ROOM: usize = 24;

// A sample begins with one byte:
//   0vvvvvvv            time on step, value's difference in 7 bits
//   10vvvvvv vvvvvvvv   time on step, value's difference in 14 bits
//   11.svvt.            t: a time difference follows; vv: see below; s: a start timestamp's difference follows
const SHORT_BITS: u32 = 7;
const MEDIUM: u8 = 0x80;
const MEDIUM_BITS: u32 = 14;
const GENERAL: u8 = 0xc0;
const HAS_TIME: u8 = 2;
const HAS_START: u8 = 16;
const VALUE_SHIFT: u8 = 2;
/// A difference of scaled values.
const VALUE_STEP: u8 = 0;
/// XOR with the last value: a byte that tells how many zero bytes it ends in and how many follow, and these.
const VALUE_XOR: u8 = 1;
/// A new number of places, then the scaled value.
const VALUE_PLACES: u8 = 2;
/// The last value's bits.
const VALUE_SAME: u8 = 3;

/// After so many values in a row that are no decimals, only every [`RETRY_EVERY`]th is tried.
const GIVE_UP_AFTER: u8 = 4;
const RETRY_EVERY: u16 = 16;

/// A chunk that is finished.
#[derive(Clone)]
struct Closed {
    min: i64,
    max: i64,
    count: u16,
    /// Shared with whoever reads.
    bytes: Arc<[u8]>,
}

/// What decoding and encoding carry from sample to sample.
#[derive(Clone, Copy)]
struct Cursor {
    at: i64,
    step: i64,
    bits: u64,
    scaled: i64,
    start: i64,
    places: u8,
    /// `bits` are those of `scaled`.
    on_scale: bool,
    /// Values in a row that are no decimals. Only encoding counts these and the next.
    misses: u8,
    /// Samples of the open chunk.
    count: u16,
}

const ORIGIN: Cursor =
    Cursor { at: 0, step: 0, bits: 0, scaled: 0, start: 0, places: 0, on_scale: true, misses: 0, count: 0 };

// 96 bytes with what an allocator adds; 8 more would make it 112.
const _: () = assert!(size_of::<crate::own::Own>() <= 88);

/// See the module. It is small: there may be one a series.
#[derive(Clone)]
pub struct Stream {
    last: Cursor,
    bytes: Vec<u8>,
    /// Shared with whoever reads. Most streams have none, and 16 bytes a series are worth a look more.
    closed: Option<Arc<Vec<Closed>>>,
}

impl Default for Stream {
    fn default() -> Self {
        Self { last: ORIGIN, bytes: Vec::new(), closed: None }
    }
}

impl Stream {
    fn closed(&self) -> &[Closed] {
        self.closed.as_deref().map_or(&[], Vec::as_slice)
    }

    /// Time of the first sample of the open chunk.
    fn open_min(&self) -> Option<i64> {
        if self.last.count == 0 {
            return None;
        }
        // Nearly always a time follows, of up to eight bytes.
        if let Some(first) = ahead(&self.bytes, 0).filter(|first| first[0] & (GENERAL | HAS_TIME) == GENERAL | HAS_TIME)
            && let Some((at, _)) = uvarint_of(word(first, 1))
        {
            return Some(unzigzag(at));
        }
        let mut first = ORIGIN;
        // What was just encoded can be decoded.
        next(&mut Reader::new(&self.bytes), &mut first).ok().map(|()| first.at)
    }

    /// No samples?
    pub fn is_empty(&self) -> bool {
        self.last.count == 0 && self.closed.is_none()
    }

    /// Time of the first sample.
    pub fn min(&self) -> Option<i64> {
        self.closed().first().map(|c| c.min).or_else(|| self.open_min())
    }

    /// Time of the last sample.
    pub fn max(&self) -> Option<i64> {
        if self.last.count > 0 { Some(self.last.at) } else { self.closed().last().map(|c| c.max) }
    }

    /// What the samples take: the sum of what [`Stream::push`] yielded.
    pub fn bytes(&self) -> usize {
        self.bytes.len() + self.closed().iter().map(|c| c.bytes.len()).sum::<usize>()
    }

    /// How many finished chunks.
    pub fn chunks(&self) -> usize {
        self.closed().len()
    }

    /// The last sample, where it is known without decoding.
    pub fn last(&self) -> Option<(i64, u64)> {
        (self.last.count > 0).then_some((self.last.at, self.last.bits))
    }

    /// Adds a sample later than all others; yields how many bytes it took.
    pub fn push(&mut self, at: i64, value: f64, start: i64) -> usize {
        // Room for a long sample in small steps: doubling would leave much of every series' buffer empty.
        if self.bytes.capacity() - self.bytes.len() < BYTES_ROOM {
            let more = BYTES_ROOM + self.bytes.len() / 8;
            self.bytes.reserve_exact(more);
        }
        let before = self.bytes.len();
        self.put(at, value, start);
        let took = self.bytes.len() - before;
        self.last.count += 1;
        if self.last.count == CHUNK_SAMPLES {
            let min = self.open_min().unwrap_or(at);
            let closed = Closed { min, max: at, count: self.last.count, bytes: self.bytes.as_slice().into() };
            Arc::make_mut(self.closed.get_or_insert_default()).push(closed);
            self.bytes.clear();
            self.last = Cursor { misses: self.last.misses, ..ORIGIN };
        }
        took
    }

    fn put(&mut self, at: i64, value: f64, start: i64) {
        let last = &mut self.last;
        let step = at.wrapping_sub(last.at);
        let (time_change, start_change) = (step.wrapping_sub(last.step), start.wrapping_sub(last.start));
        let bits = value.to_bits();
        (last.at, last.step, last.start) = (at, step, start);
        let regular = time_change == 0 && start_change == 0;
        let number = if bits == last.bits && last.on_scale {
            Some(last.scaled)
        } else {
            scaled(value, usize::from(last.places))
        };
        if regular && let Some(n) = number {
            let change = zigzag(n.wrapping_sub(last.scaled));
            if change < 1 << MEDIUM_BITS {
                if change < 1 << SHORT_BITS {
                    self.bytes.push(change as u8);
                } else {
                    self.bytes.extend_from_slice(&[MEDIUM | (change >> 8) as u8, change as u8]);
                }
                (last.scaled, last.bits, last.on_scale) = (n, bits, true);
                last.misses = 0;
                return;
            }
        }
        let mut header = GENERAL;
        if time_change != 0 {
            header |= HAS_TIME;
        }
        if start_change != 0 {
            header |= HAS_START;
        }
        let head = self.bytes.len();
        self.bytes.push(header);
        if time_change != 0 {
            put_ivarint(&mut self.bytes, time_change);
        }
        if start_change != 0 {
            put_ivarint(&mut self.bytes, start_change);
        }
        let kind = match number {
            Some(n) => {
                put_ivarint(&mut self.bytes, n.wrapping_sub(last.scaled));
                (last.scaled, last.on_scale) = (n, true);
                last.misses = 0;
                VALUE_STEP
            }
            None if bits == last.bits => VALUE_SAME,
            None => {
                let tries = last.misses < GIVE_UP_AFTER || last.count.is_multiple_of(RETRY_EVERY);
                let more = (usize::from(last.places) + 1..=PLACES_MAX).filter(|_| tries && value.is_finite());
                let mut found = more.filter_map(|p| Some((p, scaled(value, p)?)));
                if let Some((places, n)) = found.next() {
                    self.bytes.push(places as u8);
                    put_ivarint(&mut self.bytes, n);
                    (last.places, last.scaled, last.on_scale) = (places as u8, n, true);
                    last.misses = 0;
                    VALUE_PLACES
                } else {
                    let x = bits ^ last.bits;
                    let zeros = x.trailing_zeros() / 8;
                    let length = 8 - x.leading_zeros() / 8 - zeros;
                    self.bytes.push((zeros << 4 | length) as u8);
                    self.bytes.extend_from_slice(&(x >> (zeros * 8)).to_le_bytes()[..length as usize]);
                    last.on_scale = false;
                    last.misses = last.misses.saturating_add(1);
                    VALUE_XOR
                }
            }
        };
        last.bits = bits;
        if let Some(b) = self.bytes.get_mut(head) {
            *b |= kind << VALUE_SHIFT;
        }
    }

    /// Appends the samples within `range` to `into`, whose last time must be before them.
    pub fn decode(&self, range: TimeRange, into: &mut SampleBuf) -> Result<(), Corrupt> {
        let hit = |min: i64, max: i64| min < range.end().0 && max >= range.start().0;
        for c in self.closed().iter().filter(|c| hit(c.min, c.max)) {
            decode(&c.bytes, c.count, range, into)?;
        }
        if self.open_min().is_some_and(|min| hit(min, self.last.at)) {
            decode(&self.bytes, self.last.count, range, into)?;
        }
        Ok(())
    }

    /// The newest sample within `range`. `None`: finding it takes a longer look.
    pub fn newest(&self, range: TimeRange) -> Option<Option<(i64, f64)>> {
        let (from, to) = (range.start().0, range.end().0);
        let within = |at: i64, bits: u64| (at >= from).then_some((at, f64::from_bits(bits)));
        if self.last.count > 0 && self.last.at < to {
            return Some(within(self.last.at, self.last.bits));
        }
        if self.last.count > 0 {
            if self.bytes.len() > SHORT_BYTES {
                return None;
            }
            let (mut r, mut c, mut before) = (Reader::new(&self.bytes), ORIGIN, None);
            for _ in 0..self.last.count {
                next(&mut r, &mut c).ok()?;
                if c.at >= to {
                    break;
                }
                before = Some((c.at, c.bits));
            }
            if let Some((at, bits)) = before {
                return Some(within(at, bits));
            }
        }
        // What is finished is not looked into here.
        self.closed().is_empty().then_some(None)
    }

    /// A copy of what overlaps `range`, and perhaps of more: reading cuts it.
    pub fn snapshot(&self, range: TimeRange) -> Option<Self> {
        let hit = |min: i64, max: i64| min < range.end().0 && max >= range.start().0;
        let closed = self.closed.as_ref().filter(|closed| closed.iter().any(|c| hit(c.min, c.max)));
        let open = self.open_min().is_some_and(|min| hit(min, self.last.at));
        match open {
            true => Some(Self { closed: closed.cloned(), bytes: self.bytes.clone(), last: self.last }),
            false => closed.map(|closed| Self { closed: Some(closed.clone()), ..Self::default() }),
        }
    }

    /// How many samples within `range`, assuming that they are evenly spread within a chunk.
    pub fn estimate(&self, range: TimeRange) -> u64 {
        let of = |min, max, count| crate::series::estimate(min, max, u32::from(count), range);
        let open = self.open_min().map_or(0, |min| of(min, self.last.at, self.last.count));
        self.closed().iter().map(|c| of(c.min, c.max, c.count)).sum::<u64>() + open
    }
}

fn decode(bytes: &[u8], count: u16, range: TimeRange, into: &mut SampleBuf) -> Result<(), Corrupt> {
    let mut r = Reader::new(bytes);
    let mut c = ORIGIN;
    let (from, to) = (range.start().0, range.end().0);
    let begin = into.times.len();
    let count = usize::from(count);
    // Written as slices: a push looks at the room each time.
    into.times.resize(begin + count, 0);
    into.floats.resize(begin + count, 0.0);
    let (times, floats) = (&mut into.times[begin..], &mut into.floats[begin..]);
    let had_starts = !into.starts.is_empty();
    let mut starts = had_starts;
    let mut outcome = Ok(());
    let mut n = 0;
    while n < count && (n == 0 || c.at < to) {
        let end = count.min(n + RUN_SAMPLES);
        let mut run = on_step(&mut r, &mut c, &mut floats[n..end]);
        for time in &mut times[n..n + run] {
            c.at = c.at.wrapping_add(c.step);
            *time = c.at;
        }
        if run == 0 {
            outcome = next(&mut r, &mut c);
            if outcome.is_err() {
                break;
            }
            (times[n], floats[n]) = (c.at, f64::from_bits(c.bits));
            run = 1;
        }
        if starts || c.start != 0 {
            starts = true;
            into.starts.resize(begin + n, 0);
            into.starts.resize(begin + n + run, c.start);
        }
        n += run;
    }
    let (first, last) = (times[..n].partition_point(|t| *t < from), times[..n].partition_point(|t| *t < to));
    let kept = last.max(first) - first;
    if first > 0 {
        times.copy_within(first..first + kept, 0);
        floats.copy_within(first..first + kept, 0);
    }
    into.times.truncate(begin + kept);
    into.floats.truncate(begin + kept);
    if starts {
        into.starts.drain(begin..begin + first);
        into.starts.truncate(begin + kept);
        // They may all have been of samples outside.
        if !had_starts && into.starts.iter().all(|s| *s == 0) {
            into.starts.clear();
        }
    }
    if !into.histograms.is_empty() {
        into.histograms.resize(begin + kept, None);
    }
    outcome
}

/// Samples between two looks at whether there are enough.
const RUN_SAMPLES: usize = 48;

/// No sample of those that [`on_step`] reads is longer.
const AHEAD_BYTES: usize = 10;

const ONE_STEP: u8 = GENERAL | VALUE_STEP << VALUE_SHIFT;
const ONE_XOR: u8 = GENERAL | VALUE_XOR << VALUE_SHIFT;
const ONE_SAME: u8 = GENERAL | VALUE_SAME << VALUE_SHIFT;

/// Reads the values of samples that are on step and have no new start, as many as follow and have room, and stops before
/// any that is not what most are: [`next`] reads that. Yields how many.
///
/// Where a sample ends is only known when it was read. So those that are as long as the one before are read in loops in
/// which that length does not change: the processor goes on to the next one while it makes a number of the last.
fn on_step(r: &mut Reader<'_>, c: &mut Cursor, out: &mut [f64]) -> usize {
    let Some(scale) = POW10.get(usize::from(c.places)).copied() else { return 0 };
    // By value: what has an address lives in memory instead of in registers.
    let (bytes, mut scaled, mut bits) = (r.rest(), c.scaled, c.bits);
    let (mut at, mut n) = (0, 0);
    while let (Some(first), true) = (ahead(bytes, at), n < out.len()) {
        let before = n;
        let rest = &mut out[n..];
        match first[0] {
            ..GENERAL => {
                let (count, read) = same_lengths(bytes.get(at..).unwrap_or_default(), rest, &mut scaled, scale);
                (at, n) = (at + read, n + count);
                for value in rest.iter_mut().skip(count).take(MIXED_SAMPLES) {
                    let Some([first, second, ..]) = ahead(bytes, at).copied() else { break };
                    let change = match first {
                        ..MEDIUM => u64::from(first),
                        MEDIUM..GENERAL => u64::from(first & 0x3f) << 8 | u64::from(second),
                        _ => break,
                    };
                    at += 1 + usize::from(first >= MEDIUM);
                    scaled = scaled.wrapping_add(unzigzag(change));
                    (*value, n) = (scaled as f64 / scale, n + 1);
                }
            }
            ONE_STEP => {
                let Some((_, length)) = uvarint_of(word(first, 1)) else { break };
                for value in rest {
                    let Some(next) = ahead(bytes, at).filter(|next| next[0] == ONE_STEP) else { break };
                    let Some((change, _)) = uvarint_of(word(next, 1)).filter(|(_, l)| *l == length) else { break };
                    at += 1 + length;
                    scaled = scaled.wrapping_add(unzigzag(change));
                    (*value, n) = (scaled as f64 / scale, n + 1);
                }
            }
            ONE_XOR => {
                let length = first[1] & 15;
                let Some(dropped) = u64::BITS.checked_sub(8 * u32::from(length)).filter(|d| *d < u64::BITS) else {
                    break;
                };
                for value in rest {
                    let Some(next) = ahead(bytes, at).filter(|next| next[0] == ONE_XOR) else { break };
                    let zeros = u32::from(next[1] >> 4);
                    if next[1] & 15 != length || zeros > 7 {
                        break;
                    }
                    at += 2 + usize::from(length);
                    bits ^= word(next, 2) << dropped >> dropped << (8 * zeros);
                    (*value, n) = (f64::from_bits(bits), n + 1);
                }
            }
            ONE_SAME => {
                at += 1;
                if let Some(value) = rest.first_mut() {
                    (*value, n) = (f64::from_bits(bits), n + 1);
                }
            }
            _ => break,
        }
        if n == before {
            break;
        }
        bits = out[n - 1].to_bits();
    }
    (c.scaled, c.bits) = (scaled, bits);
    // What was looked at is there.
    let _ = r.bytes(at);
    n
}

/// Samples that are read one by one before it is tried again whether several are as long as each other.
const MIXED_SAMPLES: usize = 6;

/// Reads samples of one byte, eight at a time, and of two bytes, four at a time, while so many follow each other: which
/// they are is seen by one look. Yields how many samples and bytes.
#[inline(always)]
fn same_lengths(bytes: &[u8], out: &mut [f64], scaled: &mut i64, scale: f64) -> (usize, usize) {
    let (mut sum, mut n, mut at) = (*scaled, 0, 0);
    let value = |sum: i64| if scale == 1.0 { sum as f64 } else { sum as f64 / scale };
    while let Some(word) = bytes.get(at..).and_then(|b| b.first_chunk()) {
        let word = u64::from_le_bytes(*word);
        if word & 0x8080_8080_8080_8080 == 0 {
            let Some(room) = out.get_mut(n..).and_then(|o| o.first_chunk_mut::<8>()) else { break };
            for (k, room) in room.iter_mut().enumerate() {
                sum = sum.wrapping_add(unzigzag(word >> (8 * k) & 0x7f));
                *room = value(sum);
            }
            n += 8;
        } else if word & 0x00c0_00c0_00c0_00c0 == 0x0080_0080_0080_0080 {
            let Some(room) = out.get_mut(n..).and_then(|o| o.first_chunk_mut::<4>()) else { break };
            // High bits come first.
            let word = word & 0xff3f_ff3f_ff3f_ff3f;
            let word = (word & 0x00ff_00ff_00ff_00ff) << 8 | word >> 8 & 0x00ff_00ff_00ff_00ff;
            for (k, room) in room.iter_mut().enumerate() {
                sum = sum.wrapping_add(unzigzag(word >> (16 * k) & 0xffff));
                *room = value(sum);
            }
            n += 4;
        } else {
            break;
        }
        at += 8;
    }
    *scaled = sum;
    (n, at)
}

#[inline(always)]
fn ahead(bytes: &[u8], at: usize) -> Option<&[u8; AHEAD_BYTES]> {
    bytes.get(at..)?.first_chunk()
}

/// Eight bytes from this one on.
#[inline(always)]
fn word(ahead: &[u8; AHEAD_BYTES], from: usize) -> u64 {
    ahead[from..].first_chunk().map_or(0, |w| u64::from_le_bytes(*w))
}

#[inline(always)]
fn next(r: &mut Reader<'_>, c: &mut Cursor) -> Result<(), Corrupt> {
    let first = r.u8()?;
    if first < GENERAL {
        let change = if first < MEDIUM { u64::from(first) } else { u64::from(first & 0x3f) << 8 | u64::from(r.u8()?) };
        c.at = c.at.wrapping_add(c.step);
        return step(c, change);
    }
    if first & HAS_TIME != 0 {
        c.step = c.step.wrapping_add(r.ivarint()?);
    }
    if first & HAS_START != 0 {
        c.start = c.start.wrapping_add(r.ivarint()?);
    }
    c.at = c.at.wrapping_add(c.step);
    match first >> VALUE_SHIFT & 3 {
        VALUE_STEP => step(c, r.uvarint()?),
        VALUE_XOR => {
            let control = r.u8()?;
            let (zeros, length) = (u32::from(control >> 4), usize::from(control & 15));
            let bits = 8 * length as u32;
            let dropped = u64::BITS.checked_sub(bits).ok_or(Corrupt("a float is too long"))?;
            let x = r.peek().checked_shl(dropped).unwrap_or(0) >> (dropped & 63);
            r.bytes(length)?;
            c.bits ^= x.checked_shl(zeros * 8).unwrap_or(0);
            c.on_scale = false;
            Ok(())
        }
        VALUE_PLACES => {
            c.places = r.u8()?;
            c.scaled = 0;
            step(c, r.uvarint()?)
        }
        _ => Ok(()),
    }
}

#[inline(always)]
fn step(c: &mut Cursor, change: u64) -> Result<(), Corrupt> {
    let scale = POW10.get(usize::from(c.places)).ok_or(Corrupt("a stream's scale is out of range"))?;
    c.scaled = c.scaled.wrapping_add(unzigzag(change));
    c.bits = (c.scaled as f64 / scale).to_bits();
    c.on_scale = true;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use belfry_model::TimestampMs;
    use belfry_model::sample::stale_nan;
    use proptest::prelude::*;

    fn of(samples: &[(i64, f64, i64)]) -> Stream {
        let mut s = Stream::default();
        for (at, value, start) in samples {
            s.push(*at, *value, *start);
        }
        s
    }

    fn read(s: &Stream, range: TimeRange) -> Vec<(i64, u64, i64)> {
        let mut buf = SampleBuf::default();
        s.decode(range, &mut buf).unwrap();
        let start = |i: usize| buf.starts.get(i).copied().unwrap_or(0);
        (0..buf.len()).map(|i| (buf.times[i], buf.floats[i].to_bits(), start(i))).collect()
    }

    fn bits(samples: &[(i64, f64, i64)]) -> Vec<(i64, u64, i64)> {
        samples.iter().map(|(t, v, s)| (*t, v.to_bits(), *s)).collect()
    }

    #[test]
    fn regular_samples_of_small_changes_take_a_byte_or_two() {
        for (what, value, at_most) in [
            ("a constant", (|_| 4096.5) as fn(i64) -> f64, 1.1),
            ("a counter", |i| (i * 31 + i % 7) as f64, 1.2),
            ("a gauge of two places", |i| (i * 37 % 500) as f64 / 100.0, 2.2),
            ("noise", |i| (i as f64).sqrt(), 9.5),
        ] {
            let samples: Vec<_> = (0..230).map(|i| (1_700_000_000_000 + i * 15_000, value(i), 0)).collect();
            let s = of(&samples);
            assert!(s.bytes.len() as f64 <= 230.0 * at_most + 20.0, "{what}: {} bytes", s.bytes.len());
            assert_eq!(read(&s, TimeRange::ALL), bits(&samples), "{what}");
        }
    }

    #[test]
    fn a_long_stream_is_closed_chunk_by_chunk_and_a_snapshot_has_what_was_asked_for() {
        let samples: Vec<_> = (0..1000).map(|i| (i * 10, (i % 13) as f64, if i < 500 { 7 } else { 0 })).collect();
        let s = of(&samples);
        assert_eq!((s.chunks(), s.min(), s.max()), (4, Some(0), Some(9990)));
        for (from, to) in [(0, 1), (2000, 2600), (2390, 2400), (9980, 20_000), (0, 20_000)] {
            let range = TimeRange::new(TimestampMs(from), TimestampMs(to)).unwrap();
            let expected: Vec<_> = bits(&samples).into_iter().filter(|s| from <= s.0 && s.0 < to).collect();
            assert_eq!(read(&s.snapshot(range).unwrap(), range), expected, "{from}..{to}");
        }
        assert!(s.snapshot(TimeRange::new(TimestampMs(9991), TimestampMs(9999)).unwrap()).is_none());
    }

    proptest! {
        #[test]
        fn every_bit_reads_back(
            samples in proptest::collection::vec((
                prop_oneof![3 => Just(15_000i64), 1 => 1i64..100_000, 1 => 1i64..1 << 60],
                prop_oneof![
                    2 => (-50i64..50).prop_map(|n| n as f64),
                    2 => (-5000i64..5000).prop_map(|n| n as f64 / 100.0),
                    1 => any::<u64>().prop_map(f64::from_bits),
                    1 => Just(stale_nan()),
                    1 => Just(-0.0),
                    1 => Just(1e17),
                ],
                prop_oneof![3 => Just(0i64), 1 => any::<i64>()],
            ), 0..600),
            cut in (0.0..1.2f64, 0.0..1.2f64),
        ) {
            let mut at = -5_000_000i64;
            let mut all = Vec::new();
            for (gap, value, start) in samples {
                let Some(next) = at.checked_add(gap) else { break };
                at = next;
                all.push((at, value, start));
            }
            prop_assert_eq!(read(&of(&all), TimeRange::ALL), bits(&all));
            // A part of it: the times at these parts of the list.
            let time = |part: f64| all.get((part * all.len() as f64) as usize).map_or(i64::MAX, |s| s.0);
            if let Some(range) = TimeRange::new(TimestampMs(time(cut.0)), TimestampMs(time(cut.1))) {
                let within: Vec<_> = all.iter().filter(|s| range.contains(TimestampMs(s.0))).copied().collect();
                prop_assert_eq!(read(&of(&all), range), bits(&within));
                let newest = of(&all).newest(range).map(|s| s.map(|(t, v)| (t, v.to_bits())));
                prop_assert!(newest.is_none_or(|s| s == within.last().map(|(t, v, _)| (*t, v.to_bits()))));
            }
        }

        #[test]
        fn runs_of_small_and_larger_changes_read_back(
            runs in proptest::collection::vec((prop_oneof![Just(60i64), Just(8_000), Just(9_000)], 1usize..40), 1..20),
            places in 0i32..3,
            seed in any::<u32>(),
        ) {
            let (mut n, mut samples) = (i64::from(seed), Vec::new());
            for (most, length) in runs {
                for k in 0..length {
                    n += (i64::from(seed) + k as i64 * 7_919) % most - most / 3;
                    samples.push((samples.len() as i64 * 15_000 + 1, n as f64 / 10f64.powi(places), 0));
                }
            }
            prop_assert_eq!(read(&of(&samples), TimeRange::ALL), bits(&samples));
            prop_assert_eq!(of(&samples).min(), Some(1));
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&bytes, 100, TimeRange::ALL, &mut SampleBuf::default());
        }
    }
}
