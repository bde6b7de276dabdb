//! JSON as it comes in: pieces go in, tokens come out, and no more than one token is held.
//!
//! Invariant: whatever the bytes are, and wherever the pieces end, the tokens are the same; what is no JSON is an error,
//! never a panic. Several documents may follow each other.
//! Not here: what the tokens mean (`answer`).

/// Bytes of one text: the longest field that InfluxDB keeps, with room for escapes.
const TOKEN_BYTES_MAX: usize = 1 << 20;
/// Arrays and objects within each other. InfluxDB's answers have eight.
const DEPTH_MAX: usize = 32;

/// One token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Token<'a> {
    /// `{`
    ObjectStart,
    /// `}`
    ObjectEnd,
    /// `[`
    ArrayStart,
    /// `]`
    ArrayEnd,
    /// The name of an object's member.
    Key(&'a str),
    /// A string, unescaped.
    Text(&'a str),
    /// As it was written.
    Number(&'a str),
    /// `true`, `false`
    Bool(bool),
    /// `null`
    Null,
}

/// These bytes are no JSON.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("{what} at byte {at}")]
pub struct BadJson {
    what: &'static str,
    at: u64,
}

/// What may come next.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Expect {
    Value,
    ValueOrEnd,
    Key,
    KeyOrEnd,
    Colon,
    CommaOrEnd,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Within {
    Nothing,
    Text { escaped: bool },
    Word,
}

/// Takes pieces.
#[derive(Debug)]
pub struct Lexer {
    /// `true` for an object.
    open: Vec<bool>,
    expect: Expect,
    within: Within,
    /// The token so far, raw.
    raw: Vec<u8>,
    at: u64,
    documents: u64,
}

impl Default for Lexer {
    fn default() -> Self {
        Self { open: Vec::new(), expect: Expect::Value, within: Within::Nothing, raw: Vec::new(), at: 0, documents: 0 }
    }
}

impl Lexer {
    /// Takes the next bytes and hands out the tokens that they complete.
    pub fn feed<E: From<BadJson>>(
        &mut self,
        mut bytes: &[u8],
        mut each: impl FnMut(Token<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        while let Some((&b, rest)) = bytes.split_first() {
            match self.within {
                Within::Text { escaped } => {
                    let used = self.text(bytes, escaped, &mut each)?;
                    self.at += used as u64;
                    bytes = bytes.get(used..).unwrap_or_default();
                    continue;
                }
                Within::Word if is_word(b) => self.keep(&[b])?,
                Within::Word => {
                    self.word(&mut each)?;
                    continue;
                }
                Within::Nothing => self.between(b, &mut each)?,
            }
            self.at += 1;
            bytes = rest;
        }
        Ok(())
    }

    /// Nothing more comes: was it at least one whole document?
    pub fn end(&self) -> Result<(), BadJson> {
        let whole = self.open.is_empty() && self.within == Within::Nothing && self.documents > 0;
        if whole { Ok(()) } else { Err(self.bad("the answer ends early")) }
    }

    fn bad(&self, what: &'static str) -> BadJson {
        BadJson { what, at: self.at }
    }

    fn keep(&mut self, bytes: &[u8]) -> Result<(), BadJson> {
        if self.raw.len() + bytes.len() > TOKEN_BYTES_MAX {
            return Err(self.bad("a text is too long"));
        }
        self.raw.extend_from_slice(bytes);
        Ok(())
    }

    fn between<E: From<BadJson>>(&mut self, b: u8, each: &mut impl FnMut(Token<'_>) -> Result<(), E>) -> Result<(), E> {
        let value = matches!(self.expect, Expect::Value | Expect::ValueOrEnd);
        let key = matches!(self.expect, Expect::Key | Expect::KeyOrEnd);
        match b {
            b' ' | b'\t' | b'\r' | b'\n' => {}
            b'"' if value || key => self.within = Within::Text { escaped: false },
            b'{' | b'[' if value => {
                if self.open.len() >= DEPTH_MAX {
                    return Err(self.bad("too many arrays and objects within each other").into());
                }
                let object = b == b'{';
                self.open.push(object);
                self.expect = if object { Expect::KeyOrEnd } else { Expect::ValueOrEnd };
                each(if object { Token::ObjectStart } else { Token::ArrayStart })?;
            }
            b'}' if self.may_end(true) => self.close(each, Token::ObjectEnd)?,
            b']' if self.may_end(false) => self.close(each, Token::ArrayEnd)?,
            b':' if self.expect == Expect::Colon => self.expect = Expect::Value,
            b',' if self.expect == Expect::CommaOrEnd => {
                self.expect = if self.open.last() == Some(&true) { Expect::Key } else { Expect::Value };
            }
            b if value && is_word(b) => {
                self.within = Within::Word;
                self.keep(&[b])?;
            }
            _ => return Err(self.bad("that is no JSON").into()),
        }
        Ok(())
    }

    fn may_end(&self, object: bool) -> bool {
        let empty = if object { Expect::KeyOrEnd } else { Expect::ValueOrEnd };
        self.open.last() == Some(&object) && (self.expect == Expect::CommaOrEnd || self.expect == empty)
    }

    fn close<E>(&mut self, each: &mut impl FnMut(Token<'_>) -> Result<(), E>, token: Token<'_>) -> Result<(), E> {
        self.open.pop();
        self.value_ended();
        each(token)
    }

    fn value_ended(&mut self) {
        if self.open.is_empty() {
            self.documents += 1;
            self.expect = Expect::Value;
        } else {
            self.expect = Expect::CommaOrEnd;
        }
    }

    /// Takes bytes of a text; how many.
    fn text<E: From<BadJson>>(
        &mut self,
        bytes: &[u8],
        escaped: bool,
        each: &mut impl FnMut(Token<'_>) -> Result<(), E>,
    ) -> Result<usize, E> {
        if escaped {
            self.keep(&bytes[..1])?;
            self.within = Within::Text { escaped: false };
            return Ok(1);
        }
        let Some(stop) = bytes.iter().position(|b| matches!(b, b'"' | b'\\')) else {
            self.keep(bytes)?;
            return Ok(bytes.len());
        };
        self.keep(&bytes[..stop])?;
        if bytes[stop] == b'\\' {
            self.keep(b"\\")?;
            self.within = Within::Text { escaped: true };
            return Ok(stop + 1);
        }
        self.within = Within::Nothing;
        let raw = std::mem::take(&mut self.raw);
        let text = unescape(&raw).ok_or_else(|| self.bad("a text has an escape that JSON does not know"))?;
        if matches!(self.expect, Expect::Key | Expect::KeyOrEnd) {
            self.expect = Expect::Colon;
            each(Token::Key(&text))?;
        } else {
            self.value_ended();
            each(Token::Text(&text))?;
        }
        drop(text);
        self.raw = raw;
        self.raw.clear();
        Ok(stop + 1)
    }

    fn word<E: From<BadJson>>(&mut self, each: &mut impl FnMut(Token<'_>) -> Result<(), E>) -> Result<(), E> {
        self.within = Within::Nothing;
        self.value_ended();
        let raw = std::mem::take(&mut self.raw);
        let token = match raw.as_slice() {
            b"null" => Some(Token::Null),
            b"true" => Some(Token::Bool(true)),
            b"false" => Some(Token::Bool(false)),
            number => std::str::from_utf8(number).ok().filter(|t| is_number(t)).map(Token::Number),
        };
        each(token.ok_or_else(|| self.bad("that is no JSON"))?)?;
        self.raw = raw;
        self.raw.clear();
        Ok(())
    }
}

fn is_word(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'-' | b'+' | b'.')
}

/// Rust reads all of JSON's numbers, and words beside them that JSON has not.
fn is_number(text: &str) -> bool {
    text.bytes().any(|b| b.is_ascii_digit()) && text.parse::<f64>().is_ok()
}

/// `None` for an escape that there is not; bytes that are no UTF-8 are replaced.
fn unescape(raw: &[u8]) -> Option<std::borrow::Cow<'_, str>> {
    let text = String::from_utf8_lossy(raw);
    if !text.contains('\\') {
        return Some(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        out.push(match chars.next()? {
            c @ ('"' | '\\' | '/') => c,
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => unicode(&mut chars)?,
            _ => return None,
        });
    }
    Some(out.into())
}

fn unicode(chars: &mut std::str::Chars<'_>) -> Option<char> {
    let first = hex4(chars)?;
    if !(0xd800..0xdc00).contains(&first) {
        return Some(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER));
    }
    let mut ahead = chars.clone();
    let second = (ahead.next() == Some('\\') && ahead.next() == Some('u')).then(|| hex4(&mut ahead)).flatten();
    match second.filter(|s| (0xdc00..0xe000).contains(s)) {
        Some(second) => {
            *chars = ahead;
            char::from_u32(0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00))
        }
        None => Some(char::REPLACEMENT_CHARACTER),
    }
}

fn hex4(chars: &mut std::str::Chars<'_>) -> Option<u32> {
    let mut value = 0;
    for _ in 0..4 {
        value = value * 16 + chars.next()?.to_digit(16)?;
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tokens(pieces: &[&[u8]]) -> Result<Vec<String>, BadJson> {
        let (mut lexer, mut out) = (Lexer::default(), Vec::new());
        for piece in pieces {
            lexer.feed(piece, |t| {
                out.push(format!("{t:?}"));
                Ok::<_, BadJson>(())
            })?;
        }
        lexer.end()?;
        Ok(out)
    }

    #[test]
    fn tokens_come_in_order() {
        let text = br#" {"a":[1,-0.5e3,null,true],"b\n":"\u00e9\ud83c\udf89\u003c"} {} "#;
        let expected = [
            "ObjectStart",
            "Key(\"a\")",
            "ArrayStart",
            "Number(\"1\")",
            "Number(\"-0.5e3\")",
            "Null",
            "Bool(true)",
            "ArrayEnd",
            "Key(\"b\\n\")",
            "Text(\"é🎉<\")",
            "ObjectEnd",
            "ObjectStart",
            "ObjectEnd",
        ];
        assert_eq!(tokens(&[text]).expect("it is JSON"), expected);
    }

    #[test]
    fn what_is_no_json_is_told() {
        for text in [
            "",
            "{",
            "[1",
            "\"a",
            "{\"a\"}",
            "{\"a\":}",
            "[1,]",
            "[1 2]",
            "{\"a\":1,}",
            "]",
            "[}",
            "nan",
            "\"\\x\"",
            "[inf]",
            "{1:2}",
            "<html>",
        ] {
            assert!(tokens(&[text.as_bytes()]).is_err(), "{text}");
        }
        let deep = "[".repeat(DEPTH_MAX + 1);
        assert!(tokens(&[deep.as_bytes()]).is_err());
        let long = format!("\"{}\"", "x".repeat(TOKEN_BYTES_MAX + 1));
        assert!(tokens(&[long.as_bytes()]).is_err());
    }

    fn json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            "\\PC{0,6}|[\u{0}-\u{1f}\"\\\\]{0,4}".prop_map(Into::into),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
                prop::collection::btree_map("\\PC{0,4}", inner, 0..4)
                    .prop_map(|m| serde_json::Value::Object(m.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn where_pieces_end_does_not_matter(value in json(), cut in any::<prop::sample::Index>()) {
            let text = format!("[{value}]");
            let (a, b) = text.as_bytes().split_at(cut.index(text.len()));
            let whole = tokens(&[text.as_bytes()]).expect("it is JSON");
            prop_assert_eq!(&tokens(&[a, b]).expect("it is JSON"), &whole);
            let bytes: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
            prop_assert_eq!(tokens(&bytes).expect("it is JSON"), whole);
        }

        #[test]
        fn arbitrary_bytes_never_make_it_fail_badly(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            tokens(&[&bytes]).ok();
        }

        #[test]
        fn nearly_json_never_makes_it_fail_badly(text in "([\\[\\]{}:,\"\\\\u0-9a-e. +-]|null|true){0,32}") {
            let ours = tokens(&[text.as_bytes()]).is_ok();
            // What serde takes, this takes.
            if serde_json::from_str::<serde_json::Value>(&text).is_ok_and(|v| v.is_object() || v.is_array()) {
                prop_assert!(ours, "{}", text);
            }
        }
    }
}
