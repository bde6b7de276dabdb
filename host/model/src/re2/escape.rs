//! A backslash and what follows it, where that is one character.

use super::{Error, Reason, error};

/// The number of the character that `text` starts with a backslash for, and the rest. It may be half of a pair of
/// UTF-16, which is no `char`.
pub(super) fn character(text: &str) -> Result<(u32, &str), Error> {
    let mut chars = text.chars();
    chars.next();
    let c = chars.next().ok_or_else(|| error(Reason::TrailingBackslash, ""))?;
    let rest = chars.as_str();
    let code = match c {
        // Alone it would refer back to a group, which there is not.
        '1'..='7' if !rest.starts_with(is_octal) => None,
        '0'..='7' => {
            let more = rest.bytes().take(2).take_while(|b| is_octal(char::from(*b))).count();
            let code = rest[..more].bytes().fold(c as u32 - '0' as u32, |n, b| n * 8 + u32::from(b - b'0'));
            return Ok((code, &rest[more..]));
        }
        'x' => return hexadecimal(text, rest),
        'a' => Some(0x07),
        'f' => Some(0x0c),
        'n' => Some(0x0a),
        'r' => Some(0x0d),
        't' => Some(0x09),
        'v' => Some(0x0b),
        c if c.is_ascii() && !c.is_ascii_alphanumeric() => Some(c as u32),
        _ => None,
    };
    code.map(|code| (code, rest)).ok_or_else(|| bad(text, rest))
}

fn is_octal(c: char) -> bool {
    ('0'..='7').contains(&c)
}

fn bad(text: &str, rest: &str) -> Error {
    error(Reason::InvalidEscape, &text[..text.len() - rest.len()])
}

/// `\x7f`, `\x{10ffff}`; `rest` follows the `x`.
fn hexadecimal<'p>(text: &'p str, rest: &'p str) -> Result<(u32, &'p str), Error> {
    let mut chars = rest.chars();
    let mut next = || {
        let c = chars.next();
        (c, chars.as_str())
    };
    let (first, after) = next();
    if first != Some('{') {
        let (second, after) = if first.is_some() { next() } else { (None, after) };
        let digit = |c: Option<char>| c.and_then(|c| c.to_digit(16));
        return match (digit(first), digit(second)) {
            (Some(high), Some(low)) => Ok((high * 16 + low, after)),
            _ => Err(bad(text, after)),
        };
    }
    let mut code = None;
    loop {
        let (c, after) = next();
        match (c, c.and_then(|c| c.to_digit(16)), code) {
            (Some('}'), _, Some(code)) => return Ok((code, after)),
            (Some(_), Some(digit), _) if code.unwrap_or(0) * 16 + digit <= char::MAX as u32 => {
                code = Some(code.unwrap_or(0) * 16 + digit);
            }
            _ => return Err(bad(text, after)),
        }
    }
}
