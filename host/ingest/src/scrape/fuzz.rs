//! A door for fuzzers: it takes any bytes, and must neither panic nor use memory beyond the bounds of an answer.

use super::client;
use super::http1::{self, Body, Head, ToCome};

/// Of an answer, as if a job had said so.
const UNPACKED_BYTES_MAX: usize = 1 << 20;

/// What was made of an answer: its head, its body as far as it came, whether it is whole, and what stands behind it.
type Made = Result<Option<(Head, Vec<u8>, bool, Vec<u8>)>, &'static str>;

/// An answer to a scrape as it comes over the connection. What is made of it must not depend on where it is cut: that is
/// what the first byte says.
pub fn answer(bytes: &[u8]) {
    let Some((piece, bytes)) = bytes.split_first() else { return };
    // Beyond this the bounds of a head depend on what has come at a time.
    let bytes = bytes.get(..http1::HEAD_BYTES_MAX).unwrap_or(bytes);
    let whole = made(bytes, bytes.len().max(1));
    let cut = made(bytes, usize::from(*piece) + 1);
    assert_eq!(whole, cut, "pieces of {} bytes", usize::from(*piece) + 1);
    if let Ok(Some((head, packed, true, _))) = whole
        && matches!(client::is_packed(head.encoding.as_deref().map(str::as_bytes)), Ok(true))
    {
        let mut body = Vec::new();
        // Refusing it is as good as taking it; what it grows to is bounded.
        let _ = client::unpack(&packed, UNPACKED_BYTES_MAX, &mut body);
        assert!(body.len() <= UNPACKED_BYTES_MAX);
    }
}

fn made(all: &[u8], piece: usize) -> Made {
    let mut bytes = Vec::new();
    let mut begun: Option<(Head, usize, Body)> = None;
    let mut to_come = ToCome::Unknown;
    for part in all.chunks(piece) {
        bytes.extend_from_slice(part);
        if begun.is_none() {
            begun = http1::head(&bytes)?.map(|(head, start)| {
                let body = Body::new(head.length, start);
                (head, start, body)
            });
        }
        if let Some((_, start, body)) = &mut begun {
            to_come = body.take(&mut bytes)?;
            let end = start.saturating_add(body.len(&bytes));
            assert!(to_come != ToCome::Nothing || end <= bytes.len(), "a body that is whole is there");
        }
    }
    Ok(begun.map(|(head, start, body)| {
        let end = start.saturating_add(body.len(&bytes)).min(bytes.len());
        (head, bytes[start..end].to_vec(), to_come == ToCome::Nothing, bytes[end..].to_vec())
    }))
}
