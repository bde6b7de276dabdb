//! Names and values as line protocol can carry them everywhere.
//!
//! Line protocol has no way to write a newline or a backslash at the end of a tag, and its servers disagree about a
//! backslash elsewhere; some names are the protocol's own. So such characters are written as others that look alike, and
//! reading turns them back: control characters as their pictures (`␊` for a newline), a backslash as `⧵`; a character of
//! that kind that was there from the start has `␦` before it, and so has a name that is reserved (`␦time`).
//!
//! Invariant: [`decode`] undoes [`encode`]; what is encoded holds no control character and no backslash, and is encoded
//! character by character, so that a prefix of a text is encoded as a prefix.
//! Not here: the protocol's own escapes of `,`, `=`, space and quotes (`lines`, `influxql`).

use std::borrow::Cow;

/// Before a character that stands for itself.
const ITSELF: char = '␦';
/// For a backslash.
const BACKSLASH: char = '⧵';
/// For U+007F.
const DELETE: char = '␡';
/// The measurement of series that have no name.
const NAMELESS: &str = "␦";

/// Tag keys that an InfluxDB refuses or that are columns already: its own, and the fields of this engine.
const RESERVED_KEYS: &[&str] = &["time", "_time", "_field", "_measurement", "value", "special", "histogram", "start"];

/// A label's value.
pub fn encode(text: &str) -> Cow<'_, str> {
    if !text.contains(is_changed) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '\0'..='\x1f' => out.extend(char::from_u32(0x2400 + u32::from(c))),
            '\x7f' => out.push(DELETE),
            '\\' => out.push(BACKSLASH),
            c if is_picture(c) => out.extend([ITSELF, c]),
            c => out.push(c),
        }
    }
    Cow::Owned(out)
}

/// Is this character written as another one, or as two?
pub fn is_changed(c: char) -> bool {
    c.is_ascii_control() || c == '\\' || is_picture(c)
}

fn is_picture(c: char) -> bool {
    matches!(c, '\u{2400}'..='\u{241f}' | DELETE | BACKSLASH | ITSELF)
}

/// What [`encode`] had before it. Text that others wrote comes out as it is, save what looks as if it were encoded.
pub fn decode(text: &str) -> Cow<'_, str> {
    if !text.contains(is_picture) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            ITSELF => out.push(chars.next().unwrap_or(ITSELF)),
            '\u{2400}'..='\u{241f}' => out.extend(char::from_u32(u32::from(c) - 0x2400)),
            DELETE => out.push('\x7f'),
            BACKSLASH => out.push('\\'),
            c => out.push(c),
        }
    }
    Cow::Owned(out)
}

/// A label's name as a tag key.
pub fn encode_key(name: &str) -> Cow<'_, str> {
    if RESERVED_KEYS.contains(&name) {
        return Cow::Owned(format!("{ITSELF}{name}"));
    }
    encode(name)
}

/// A metric's name as a measurement; `""` for a series without one.
pub fn encode_measurement(name: &str) -> Cow<'_, str> {
    match name {
        "" => Cow::Borrowed(NAMELESS),
        // A line that begins with it is a comment.
        name if name.starts_with('#') => Cow::Owned(format!("{ITSELF}{}", encode(name))),
        name => encode(name),
    }
}

/// A measurement's metric name; `""` when the series has none.
pub fn decode_measurement(text: &str) -> Cow<'_, str> {
    if text == NAMELESS { Cow::Borrowed("") } else { decode(text) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ordinary_text_is_left_alone() {
        for text in ["http_requests_total", "a:b", "C:/x", "it's \"q\", a=b", "grüße 🎉", "a␤b"] {
            assert_eq!(encode(text), text);
        }
    }

    #[test]
    fn what_line_protocol_cannot_carry_looks_alike() {
        assert_eq!(encode("C:\\dir\\"), "C:⧵dir⧵");
        assert_eq!(encode("two\nlines\t\x7f"), "two␊lines␉␡");
        assert_eq!(encode("␊ and ⧵ and ␦"), "␦␊ and ␦⧵ and ␦␦");
        assert_eq!(encode_key("time"), "␦time");
        assert_eq!(encode_measurement("#1"), "␦#1");
        assert_eq!(encode_measurement(""), "␦");
    }

    proptest! {
        #[test]
        fn reading_gives_back_what_was_written(text in "(\\PC|[\u{0}-\u{1f}\\\\\u{7f}␀-␦⧵#]){0,24}") {
            let encoded = encode(&text);
            prop_assert!(!encoded.contains(|c: char| c.is_ascii_control() || c == '\\'));
            prop_assert_eq!(decode(&encoded), text.as_str());
            let (key, measurement) = (encode_key(&text), encode_measurement(&text));
            prop_assert_eq!(decode(&key), text.as_str());
            prop_assert_eq!(decode_measurement(&measurement), text.as_str());
        }

        #[test]
        fn different_texts_stay_different(a in "[ab\n\\\\␊␦⧵]{0,6}", b in "[ab\n\\\\␊␦⧵]{0,6}") {
            prop_assert_eq!(a == b, encode(&a) == encode(&b));
        }

        #[test]
        fn what_others_wrote_is_read_without_fail(text in "\\PC{0,24}") {
            decode(&text);
        }
    }
}
