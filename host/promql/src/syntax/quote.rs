//! Strings as Go writes and reads them: Prometheus' language and messages use Go's quoting.
//!
//! A PromQL string may hold bytes that are no UTF-8 (`"\xc5"`). Rust strings cannot, so each such byte `b` is kept as the
//! private character U+10FF00 + b, and written back as `\xb`. Nothing else uses these characters.

const RAW_BYTE: u32 = 0x10_ff00;

/// The character that stands for a byte which is not part of valid UTF-8.
fn raw_byte(b: u8) -> char {
    char::from_u32(RAW_BYTE + u32::from(b)).unwrap_or(char::REPLACEMENT_CHARACTER)
}

fn as_raw_byte(c: char) -> Option<u8> {
    (0x80..=0xff).contains(&(c as u32).wrapping_sub(RAW_BYTE)).then(|| ((c as u32) - RAW_BYTE) as u8)
}

/// Was this string valid UTF-8 where it was written?
pub fn is_valid_utf8(s: &str) -> bool {
    !s.chars().any(|c| as_raw_byte(c).is_some())
}

/// For a form that knows no such bytes (JSON): U+FFFD stands for each, as Go writes it.
pub fn replace_raw_bytes(s: &str) -> String {
    s.chars().map(|c| if as_raw_byte(c).is_some() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// Puts `s` into double quotes as Go's `strconv.Quote` does.
pub fn quote(s: &str) -> String {
    let mut out = String::with_capacity(s.len() + 2);
    out.push('"');
    for c in s.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{b}' => out.push_str("\\v"),
            c if as_raw_byte(c).is_some() => out.push_str(&format!("\\x{:02x}", as_raw_byte(c).unwrap_or(0))),
            c if (c as u32) < 0x20 || c as u32 == 0x7f => out.push_str(&format!("\\x{:02x}", c as u32)),
            c if c.is_control() || is_unprintable(c) => {
                let n = c as u32;
                out.push_str(&if n < 0x1_0000 { format!("\\u{n:04x}") } else { format!("\\U{n:08x}") });
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Spaces other than U+0020, separators, format and private characters: Go escapes them. U+FFFD is not read where it stands
/// in a query, so it is escaped, too.
fn is_unprintable(c: char) -> bool {
    (c != ' ' && c.is_whitespace())
        || matches!(c as u32, 0xad | 0x200b..=0x200f | 0x202a..=0x202e | 0x2060..=0x206f | 0xe000..=0xf8ff | 0xfeff
            | 0xfff0..=0xfffb | 0xfffd | 0xf_0000..=0x10_ffff)
}

/// A short form for messages: at most ten characters, then `...`.
pub fn quote_short(s: &str) -> String {
    if s.len() > 10 {
        let head: String = s.chars().take(10).collect();
        format!("{}...", quote(&head))
    } else {
        quote(s)
    }
}

/// Reads what a quoted token says. The lexer has checked its escapes.
pub fn unquote(token: &str) -> Option<String> {
    let quote = token.chars().next()?;
    let inner = token.get(1..token.len().checked_sub(1)?)?;
    if quote == '`' {
        return Some(inner.to_owned());
    }
    let mut bytes: Vec<u8> = Vec::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        match chars.next()? {
            'a' => bytes.push(7),
            'b' => bytes.push(8),
            'f' => bytes.push(12),
            'n' => bytes.push(b'\n'),
            'r' => bytes.push(b'\r'),
            't' => bytes.push(b'\t'),
            'v' => bytes.push(11),
            '\\' => bytes.push(b'\\'),
            c @ '0'..='7' => {
                let mut n = c.to_digit(8)?;
                for _ in 0..2 {
                    n = n * 8 + chars.next()?.to_digit(8)?;
                }
                bytes.push(u8::try_from(n).ok()?);
            }
            'x' => {
                bytes.push(u8::try_from(hex(&mut chars, 2)?).ok()?);
            }
            c @ ('u' | 'U') => {
                let n = hex(&mut chars, if c == 'u' { 4 } else { 8 })?;
                bytes.extend_from_slice(char::from_u32(n)?.encode_utf8(&mut [0; 4]).as_bytes());
            }
            c if c == quote => bytes.push(c as u8),
            _ => return None,
        }
    }
    Some(from_bytes(&bytes))
}

fn hex(chars: &mut std::str::Chars<'_>, digits: usize) -> Option<u32> {
    (0..digits).try_fold(0u32, |n, _| n.checked_mul(16)?.checked_add(chars.next()?.to_digit(16)?))
}

/// A string of these bytes, with stand-ins where they are no UTF-8.
fn from_bytes(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        out.push_str(chunk.valid());
        out.extend(chunk.invalid().iter().map(|b| raw_byte(*b)));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_read_and_written_as_go_does() {
        for (token, value, written) in [
            (r#""a\nb""#, "a\nb", r#""a\nb""#),
            (r#"'it\'s'"#, "it's", r#""it's""#),
            (r#""\x41\101é""#, "AAé", r#""AAé""#),
            ("`a\\b`", "a\\b", r#""a\\b""#),
        ] {
            let read = unquote(token).unwrap_or_default();
            assert_eq!(read, value, "{token}");
            assert_eq!(quote(&read), written, "{token}");
        }
    }

    #[test]
    fn bytes_that_are_no_utf8_survive() {
        let read = unquote(r#""a\xc5z""#).unwrap_or_default();
        assert!(!is_valid_utf8(&read));
        assert_eq!(quote(&read), r#""a\xc5z""#);
    }
}
