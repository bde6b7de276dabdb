//! Doors for fuzzers: each takes any bytes, and must neither panic nor use memory beyond the bounds of a request.

use super::decoded::Decoded;
use super::intake::unfolded_length;
use super::key::Keys;
use super::v2::Symbols;
use super::{labels, v1, v2};

/// The body of a remote write 1.0, unfolded.
pub fn remote_write_1(bytes: &[u8]) {
    let mut decoded = Decoded::default();
    if v1::decode(bytes, &Keys::default(), &mut decoded).is_ok() {
        for series in &decoded.series {
            let from = if series.labels.gathered { decoded.gathered.as_slice() } else { bytes };
            if let Some(Ok(pairs)) = from.get(series.labels.range()).map(|named| labels::pairs_v1(named, 1)) {
                // Refusing them is as good as taking them.
                let _ = labels::checked_series(pairs);
            }
        }
    }
}

/// The body of a remote write 2.0, unfolded.
pub fn remote_write_2(bytes: &[u8]) {
    let (mut decoded, mut symbols) = (Decoded::default(), Symbols::default());
    if v2::decode(bytes, &Keys::default(), &mut symbols, &mut decoded).is_ok() {
        for series in &decoded.series {
            let from = if series.labels.gathered { decoded.gathered.as_slice() } else { bytes };
            if let Some(Ok(pairs)) = from.get(series.labels.range()).map(|refs| symbols.pairs(bytes, refs)) {
                let _ = labels::checked_series(pairs);
            }
        }
    }
}

/// The body of a remote write 1.0 as it comes.
pub fn remote_write_body(bytes: &[u8]) {
    let Ok(length) = unfolded_length(bytes) else { return };
    let mut unfolded = vec![0; length];
    if snap::raw::Decoder::new().decompress(bytes, &mut unfolded).is_ok() {
        remote_write_1(&unfolded);
    }
}
