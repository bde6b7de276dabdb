//! Forms: names and values in a query string or a body, as Go reads them (`net/url.ParseQuery`, `mime/multipart`).
//!
//! Invariant: a pair that cannot be read is left out and told of, the others are taken; what is taken is no longer than
//! what was sent.
//! Not here: how much is read, what the names mean.

/// Names and values in the order in which they were said.
pub(crate) type Pairs = Vec<(String, String)>;

/// Appends the pairs of `a=1&b=2`. The error is the first fault, in Go's words.
pub(crate) fn urlencoded(text: &[u8], into: &mut Pairs) -> Result<(), String> {
    let mut fault = None;
    for pair in text.split(|b| *b == b'&').filter(|p| !p.is_empty()) {
        if pair.contains(&b';') {
            fault.get_or_insert_with(|| "invalid semicolon separator in query".to_owned());
            continue;
        }
        let (name, value) = match pair.iter().position(|b| *b == b'=') {
            Some(at) => (&pair[..at], &pair[at + 1..]),
            None => (pair, &[][..]),
        };
        match unescaped(name).and_then(|name| Ok((name, unescaped(value)?))) {
            Ok(read) => into.push(read),
            Err(why) => {
                fault.get_or_insert(why);
            }
        }
    }
    fault.map_or(Ok(()), Err)
}

fn unescaped(text: &[u8]) -> Result<String, String> {
    let spaced: Vec<u8> = text.iter().map(|b| if *b == b'+' { b' ' } else { *b }).collect();
    let bytes = percent_decoded(&spaced)?;
    Ok(String::from_utf8(bytes).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned()))
}

/// The bytes behind `%41`.
pub(crate) fn percent_decoded(text: &[u8]) -> Result<Vec<u8>, String> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        match first {
            b'%' => match after {
                [high, low, after @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                    out.push(digit(*high) << 4 | digit(*low));
                    rest = after;
                }
                _ => {
                    let shown = String::from_utf8_lossy(&after[..after.len().min(2)]).into_owned();
                    return Err(format!("invalid URL escape \"%{}\"", shown.escape_debug()));
                }
            },
            other => out.push(*other),
        }
    }
    Ok(out)
}

fn digit(hex: u8) -> u8 {
    match hex {
        b'0'..=b'9' => hex - b'0',
        _ => (hex | 0x20).wrapping_sub(b'a').wrapping_add(10),
    }
}

/// Appends the fields of a `multipart/form-data` body (RFC 7578). Files are left out.
pub(crate) fn multipart(body: &[u8], boundary: &str, into: &mut Pairs) -> Result<(), String> {
    let delimiter = format!("\r\n--{boundary}");
    // The first one stands at the very start, or behind a preamble.
    let mut rest = match body.strip_prefix(&delimiter.as_bytes()[2..]) {
        Some(rest) => rest,
        None => cut(body, delimiter.as_bytes()).ok_or("multipart: NextPart: EOF")?.1,
    };
    while !rest.starts_with(b"--") {
        let (_, part) = cut(rest, b"\r\n").ok_or("multipart: NextPart: EOF")?;
        let (part, after) = cut(part, delimiter.as_bytes()).ok_or("multipart: NextPart: unexpected EOF")?;
        rest = after;
        let Some((head, content)) = cut(part, b"\r\n\r\n") else { continue };
        if let Some(name) = field_name(&String::from_utf8_lossy(head)) {
            into.push((name, String::from_utf8_lossy(content).into_owned()));
        }
    }
    Ok(())
}

/// What stands before and behind the first `separator`.
fn cut<'a>(bytes: &'a [u8], separator: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = bytes.windows(separator.len()).position(|w| w == separator)?;
    Some((&bytes[..at], &bytes[at + separator.len()..]))
}

/// The `name` of a part that is no file.
fn field_name(head: &str) -> Option<String> {
    let (_, said) = head
        .split("\r\n")
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-disposition"))?;
    match (parameter(said, "name"), parameter(said, "filename")) {
        (Some(name), None) => Some(name),
        _ => None,
    }
}

/// A parameter of a header's value: of `form-data; name="x"` or `multipart/form-data; boundary=x`.
pub(crate) fn parameter(value: &str, wanted: &str) -> Option<String> {
    let mut rest = value.split_once(';')?.1;
    loop {
        let (name, after) = rest.split_once('=')?;
        let (text, after) = match after.trim_start().strip_prefix('"') {
            Some(quoted) => {
                let (text, after) = quoted_text(quoted)?;
                (text, after.split_once(';').map(|(_, after)| after))
            }
            None => match after.split_once(';') {
                Some((text, after)) => (text.trim().to_owned(), Some(after)),
                None => (after.trim().to_owned(), None),
            },
        };
        if name.trim().eq_ignore_ascii_case(wanted) {
            return Some(text);
        }
        rest = after?;
    }
}

/// The text up to the closing quote, and what stands behind that.
fn quoted_text(text: &str) -> Option<(String, &str)> {
    let mut out = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((out, &text[at + 1..])),
            '\\' => out.push(chars.next()?.1),
            c => out.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pairs(of: &[(&str, &str)]) -> Pairs {
        of.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn a_pair_that_cannot_be_read_is_told_of_and_the_others_are_taken() {
        for (text, read, fault) in [
            ("a=1&b=x+y%20z&a=2", &[("a", "1"), ("b", "x y z"), ("a", "2")][..], None),
            ("match[]=up&empty=&bare", &[("match[]", "up"), ("empty", ""), ("bare", "")], None),
            ("%c3%A9=%2B", &[("é", "+")], None),
            ("a=%zz&b=1", &[("b", "1")], Some("invalid URL escape \"%zz\"")),
            ("a=%f", &[], Some("invalid URL escape \"%f\"")),
            ("a=1;b=2&c=3", &[("c", "3")], Some("invalid semicolon separator in query")),
            ("", &[], None),
        ] {
            let mut got = Pairs::new();
            let told = urlencoded(text.as_bytes(), &mut got);
            assert_eq!((got, told.err().as_deref()), (pairs(read), fault), "{text}");
        }
    }

    #[test]
    fn fields_of_a_multipart_form_are_read_and_files_are_not() {
        let body = "preamble\r\n--XX\r\nContent-Disposition: form-data; name=\"query\"\r\n\r\nup{a=\"b\"}\r\n\
                    --XX\r\ncontent-disposition: form-data; name=\"f\"; filename=\"x.txt\"\r\n\r\nno\r\n\
                    --XX\r\nContent-Type: text/plain\r\nContent-Disposition: form-data; name=\"q\\\"2\"\r\n\r\n\r\n--XX--\r\n";
        let mut got = Pairs::new();
        assert_eq!(multipart(body.as_bytes(), "XX", &mut got), Ok(()));
        assert_eq!(got, pairs(&[("query", "up{a=\"b\"}"), ("q\"2", "")]));
        assert!(multipart(&body.as_bytes()[..60], "XX", &mut got).is_err(), "cut off");
        assert!(multipart(body.as_bytes(), "YY", &mut got).is_err(), "another boundary");
    }

    #[test]
    fn parameters_of_a_header_may_be_quoted() {
        for (value, found) in [
            ("multipart/form-data; boundary=----x1", Some("----x1")),
            ("multipart/form-data; charset=\"a;b\"; Boundary=\"y z\"", Some("y z")),
            ("multipart/form-data", None),
            ("multipart/form-data; boundary=\"open", None),
        ] {
            assert_eq!(parameter(value, "boundary").as_deref(), found, "{value}");
        }
    }

    proptest! {
        #[test]
        fn what_is_taken_is_no_longer_than_what_was_sent(
            bytes in proptest::collection::vec(prop_oneof![Just(b'&'), Just(b'='), Just(b'%'), Just(b'-'), Just(b'\r'),
                Just(b'\n'), Just(b'"'), Just(b';'), 0x20_u8..0x7f], 0..200),
        ) {
            let mut got = Pairs::new();
            let _ = urlencoded(&bytes, &mut got);
            let _ = parameter(&String::from_utf8_lossy(&bytes), "a");
            prop_assert!(got.iter().map(|(n, v)| n.len() + v.len()).sum::<usize>() <= 3 * bytes.len());
            got.clear();
            let _ = multipart(&bytes, "-", &mut got);
            prop_assert!(got.iter().map(|(n, v)| n.len() + v.len()).sum::<usize>() <= 3 * bytes.len());
        }
    }
}
