//! What stands beside the samples of a downsampled block: the segments, and what they say of the samples that are gone.
//!
//! Invariant: a segment lies within one chunk; damaged bytes are an error, never a panic.
//! Not here: how segments are made (`downsample`), times and values of the samples that are left (`write`, `read`).

use belfry_model::{Rollup, SampleBuf, TimeRange};

use super::Gone;
use crate::codec::{Corrupt, Reader, put_uvarint};
use crate::downsample::{Want, append_coarse};
use crate::pack::{Exceptions, pack_signed, unpack_signed};
use crate::series::append;
use crate::values::{Effort, ValueDecoder, ValueEncoder};

/// The flag of chunks with segments.
pub const HAS_SEGMENTS: u8 = 4;
/// In the place of a form of values: each is that of the segment's first sample.
const AS_FIRST: u8 = 0xfe;
/// Each is that of the segment's last sample.
const AS_LAST: u8 = 0xff;

/// Moves cuts that would part the two samples of a segment.
pub fn keep_segments_whole(rows: &[Rollup], ends: &mut [usize]) {
    for end in ends {
        if rows.get(*end).is_some_and(|r| r.count > 1) {
            *end -= 1;
        }
    }
}

/// Appends the segments of samples `from..to`.
pub fn put(samples: &SampleBuf, from: usize, to: usize, effort: Effort, values: &mut ValueEncoder, out: &mut Vec<u8>) {
    let rows = &samples.coarse.rows[from..to];
    let counts: Vec<i64> = rows.iter().filter(|r| r.count > 0).map(|r| i64::from(r.count)).collect();
    put_uvarint(out, counts.len() as u64);
    pack_signed(&counts, Exceptions::First, &mut Vec::new(), out);
    let ends: Vec<usize> = (from..to).filter(|i| samples.coarse.rows[*i].count > 1).collect();
    if ends.is_empty() {
        return;
    }
    for of in [|r: &Rollup| r.min, |r: &Rollup| r.max, |r: &Rollup| r.sum] {
        let column: Vec<f64> = ends.iter().map(|i| of(&samples.coarse.rows[*i])).collect();
        let all_are =
            |back: usize| ends.iter().zip(&column).all(|(i, v)| samples.floats[i - back].to_bits() == v.to_bits());
        if all_are(1) {
            out.push(AS_FIRST);
        } else if all_are(0) {
            out.push(AS_LAST);
        } else {
            let at = out.len();
            out.push(0);
            out[at] = values.put(&column, effort, out);
        }
    }
}

/// Reads what [`put`] wrote beside the samples of `chunk`.
pub fn read(r: &mut Reader<'_>, want: Want, values: &mut ValueDecoder, chunk: &mut SampleBuf) -> Result<(), Corrupt> {
    const WRONG: Corrupt = Corrupt("a chunk's segments do not fit its samples");
    let n = chunk.len();
    let segments = r.uvarint()? as usize;
    if segments == 0 || segments > n {
        return Err(WRONG);
    }
    let mut counts = Vec::with_capacity(segments);
    unpack_signed(r, segments, &mut counts)?;
    let mut ends = Vec::with_capacity(segments);
    let rows = &mut chunk.coarse.rows;
    let none = |at: i64| Rollup { count: 0, since: at, min: f64::NAN, max: f64::NAN, sum: f64::NAN };
    for count in counts {
        let count = u32::try_from(count).ok().filter(|c| *c > 0).ok_or(WRONG)?;
        let since = *chunk.times.get(rows.len()).ok_or(WRONG)?;
        if count > 1 {
            rows.push(none(since));
            ends.push(rows.len());
        }
        rows.push(Rollup { count, ..none(since) });
    }
    if rows.len() != n {
        return Err(WRONG);
    }
    if want != Want::All {
        return Ok(());
    }
    for (row, value) in rows.iter_mut().zip(&chunk.floats) {
        (row.min, row.max, row.sum) = (*value, *value, *value);
    }
    if ends.is_empty() {
        return Ok(());
    }
    let mut column = Vec::with_capacity(ends.len());
    for set in [|r: &mut Rollup, v| r.min = v, |r: &mut Rollup, v| r.max = v, |r: &mut Rollup, v| r.sum = v] {
        column.clear();
        match r.u8()? {
            AS_FIRST => column.extend(ends.iter().map(|i| chunk.floats[i - 1])),
            AS_LAST => column.extend(ends.iter().map(|i| chunk.floats[*i])),
            form => values.read(r, form, ends.len(), &mut column)?,
        }
        ends.iter().zip(&column).for_each(|(i, v)| set(&mut rows[*i], *v));
    }
    Ok(())
}

/// Appends what a reader wants of a whole chunk: whole segments that touch the range, or the samples within it. Segments
/// of which anything was deleted are left out: nobody can say what the rest of them was.
pub fn select(chunk: &SampleBuf, gone: &Gone, series: u32, want: Want, range: TimeRange, into: &mut SampleBuf) {
    let (start, last) = (range.start().0, range.end().0 - 1);
    let spans = gone.spans(series);
    let rows = &chunk.coarse.rows;
    let mut from = 0;
    while from < rows.len() {
        let to = from + if rows[from].count == 0 { 2 } else { 1 };
        let (since, end) = (chunk.times[from], chunk.times[to - 1]);
        let deleted = spans.iter().any(|(first, last)| *first <= end && since <= *last);
        if !deleted && since <= last && end >= start {
            if want == Want::Plain {
                (from..to)
                    .filter(|i| (start..=last).contains(&chunk.times[*i]))
                    .for_each(|i| append(into, chunk, i, i + 1));
            } else {
                append_coarse(into, chunk, from, to);
            }
        }
        from = to;
    }
}
