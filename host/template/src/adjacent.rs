//! What may follow an operand without a space: a field after what has fields, `|`, `)`, `,` and the action's end. `gotmpl`
//! drops or joins the rest (`$labels.`, `1.2.3`, `"x".a`); Go refuses it, and so do we, in Go's words.
//!
//! Invariant: runs over text that `gotmpl` could split into tokens, and finds the same actions there.
//! Not here: whether an operand is known, and what it is.

use gotmpl::parse::Pos;

#[derive(Clone, Copy, PartialEq)]
enum Before<'a> {
    /// A space, or what parts operands.
    Nothing,
    /// Has no fields: a number, text, constant or dot.
    Term(&'a str),
    /// May have fields: a variable, field, function or parenthesis.
    Chain,
}

/// The first token that stands where none may.
pub(crate) fn check(source: &str) -> Result<(), (Pos, String)> {
    let mut at = 0;
    while let Some(begin) = source.get(at..).and_then(|rest| rest.find("{{")).map(|found| at + found + 2) {
        let rest = source.get(begin..).unwrap_or_default();
        let inner = rest.strip_prefix('-').filter(|r| r.starts_with([' ', '\t', '\r', '\n'])).unwrap_or(rest);
        at = match inner.trim_start().strip_prefix("/*") {
            Some(comment) => source.len() - comment.find("*/").map_or(0, |i| comment.len() - i),
            None => action(source, source.len() - inner.len())?,
        };
    }
    Ok(())
}

/// Reads an action from `at` on; the answer is past its end.
fn action(source: &str, mut at: usize) -> Result<usize, (Pos, String)> {
    let mut before = Before::Nothing;
    while let Some(rest) = source.get(at..).filter(|r| !r.is_empty()) {
        if rest.starts_with("}}") {
            return Ok(at + 2);
        }
        let (length, kind) = token(rest);
        let text = rest.get(..length).unwrap_or(rest);
        let is_field = kind == Before::Chain && text.starts_with('.');
        let refused = match (before, kind) {
            (Before::Nothing, _) | (_, Before::Nothing) => None,
            (Before::Chain, Before::Chain) if is_field || text == ")" => None,
            (_, Before::Chain) if text == ")" => None,
            (Before::Term(term), _) if is_field => Some(format!("unexpected . after term {term:?}")),
            (_, Before::Term(".")) => Some("unexpected <.> in operand".to_owned()),
            _ => Some(format!("unexpected {text:?} in operand")),
        };
        if let Some(why) = refused {
            return Err((Pos::new(at, 1), why));
        }
        before = kind;
        at += text.len().max(1);
    }
    Ok(source.len())
}

/// Length and kind of the token at the start.
fn token(rest: &str) -> (usize, Before<'_>) {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let word = |from: usize| {
        let after = rest.get(from..).unwrap_or_default();
        from + after.find(|c: char| !is_word(c)).unwrap_or(after.len())
    };
    let mut chars = rest.chars();
    let (first, second) = (chars.next().unwrap_or_default(), chars.next().unwrap_or_default());
    match first {
        '"' | '\'' | '`' => {
            let length = quoted(rest, first);
            (length, Before::Term(rest.get(..length).unwrap_or(rest)))
        }
        '.' if is_word(second) && !second.is_ascii_digit() => (word(1), Before::Chain),
        '.' if !second.is_ascii_digit() => (1, Before::Term(".")),
        '.' | '0'..='9' => number(rest),
        '+' | '-' if second.is_ascii_digit() || second == '.' => number(rest),
        '$' => (word(1), Before::Chain),
        c if is_word(c) => match word(0) {
            n if matches!(rest.get(..n), Some("true" | "false" | "nil")) => {
                (n, Before::Term(rest.get(..n).unwrap_or(rest)))
            }
            n => (n, Before::Chain),
        },
        ')' => (1, Before::Chain),
        other => (other.len_utf8(), Before::Nothing),
    }
}

/// Digits, letters of a base or an exponent, one point, and the sign of an exponent.
fn number(rest: &str) -> (usize, Before<'_>) {
    let (mut points, mut last) = (0, ' ');
    let hexadecimal = rest.trim_start_matches(['+', '-']).to_ascii_lowercase().starts_with("0x");
    let ends = |(i, c): &(usize, char)| {
        let goes_on = match c {
            '+' | '-' => *i == 0 || (matches!(last, 'e' | 'E') && !hexadecimal) || matches!(last, 'p' | 'P'),
            '.' => points == 0,
            c => c.is_ascii_alphanumeric() || *c == '_',
        };
        points += usize::from(*c == '.');
        last = *c;
        !goes_on
    };
    let length = rest.char_indices().find(ends).map_or(rest.len(), |(i, _)| i);
    (length, Before::Term(rest.get(..length).unwrap_or(rest)))
}

fn quoted(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (i, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' if quote != '`' => escaped = true,
            c if c == quote => return i + 1,
            _ => {}
        }
    }
    rest.len()
}
