//! Texts: Go's quoting, and the text half of its `fmt`.

use std::fmt::Write as _;

use super::Printer;

impl Printer {
    /// `%s`
    pub(super) fn plain(&mut self, s: &str) {
        let s = self.cut(s);
        self.pad(s);
    }

    /// `%q`
    pub(super) fn quoted(&mut self, s: &str) {
        let s = self.cut(s);
        let quoted = match self.flags.sharp && can_backquote(s) {
            true => format!("`{s}`"),
            false => quoted(s, '"', self.flags.plus),
        };
        self.pad(&quoted);
    }

    /// `%x` and `%X`: the bytes.
    pub(super) fn bytes(&mut self, s: &str, upper: bool) {
        let f = self.flags;
        let bytes = s.as_bytes();
        let bytes = f.precision.and_then(|p| bytes.get(..p)).unwrap_or(bytes);
        let prefix = match (f.sharp, upper) {
            (false, _) => "",
            (true, false) => "0x",
            (true, true) => "0X",
        };
        let mut out = String::with_capacity(bytes.len() * 2);
        for (i, byte) in bytes.iter().enumerate() {
            if i > 0 && f.space {
                out.push(' ');
            }
            if i == 0 || f.space {
                out.push_str(prefix);
            }
            let _ = if upper { write!(out, "{byte:02X}") } else { write!(out, "{byte:02x}") };
        }
        self.pad(&out);
    }

    /// As many characters as the precision allows.
    fn cut<'a>(&self, s: &'a str) -> &'a str {
        let end = self.flags.precision.and_then(|p| s.char_indices().nth(p)).map_or(s.len(), |(i, _)| i);
        s.get(..end).unwrap_or(s)
    }
}

/// `strconv.Quote`
pub(super) fn quoted(s: &str, quote: char, ascii: bool) -> String {
    let mut out = String::with_capacity(s.len() + 2);
    out.push(quote);
    for c in s.chars() {
        let _ = match c {
            '\\' => out.write_str("\\\\"),
            c if c == quote => write!(out, "\\{c}"),
            c if is_printed(c) && (c.is_ascii() || !ascii) => write!(out, "{c}"),
            '\x07' => out.write_str("\\a"),
            '\x08' => out.write_str("\\b"),
            '\x0c' => out.write_str("\\f"),
            '\n' => out.write_str("\\n"),
            '\r' => out.write_str("\\r"),
            '\t' => out.write_str("\\t"),
            '\x0b' => out.write_str("\\v"),
            '\0'..='\x7f' => write!(out, "\\x{:02x}", u32::from(c)),
            '\u{80}'..='\u{ffff}' => write!(out, "\\u{:04x}", u32::from(c)),
            _ => write!(out, "\\U{:08x}", u32::from(c)),
        };
    }
    out.push(quote);
    out
}

/// `strconv.IsPrint`: letters, marks, numbers, punctuation, symbols and the space.
pub(super) fn is_printed(c: char) -> bool {
    if matches!(c, '"' | '\'' | '\\') {
        return true;
    }
    // Rust escapes what it does not print; marks only where they begin a text.
    let mut text = [0; 5];
    text[0] = b'a';
    let length = 1 + c.encode_utf8(&mut text[1..]).len();
    std::str::from_utf8(&text[..length]).is_ok_and(|t| t.escape_debug().nth(1) == Some(c))
}

/// `strconv.CanBackquote`
fn can_backquote(s: &str) -> bool {
    !s.chars().any(|c| (c < ' ' && c != '\t') || matches!(c, '`' | '\x7f' | '\u{feff}'))
}
