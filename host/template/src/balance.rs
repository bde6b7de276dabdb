//! What closes what: `gotmpl`'s parser ends a list at any `{{end}}`, `{{else}}` or end of text, wherever it stands, and
//! what follows is lost without a word. Go refuses; so do we, in Go's words.
//!
//! Invariant: runs over text that `gotmpl` could split into tokens, and finds the same actions there.
//! Not here: what stands inside an action beside its keyword.

use gotmpl::parse::Pos;

/// What one `{{end}}` closes.
struct Open {
    kind: &'static str,
    /// In its plain `{{else}}`: another one cannot follow.
    in_else: bool,
}

impl Open {
    /// `{{define}}` and `{{block}}` have a body of their own, without an `{{else}}`.
    fn is_body(&self) -> bool {
        matches!(self.kind, "define" | "block")
    }
}

/// The first action that closes, continues or leaves nothing, or one that is left open.
pub(crate) fn check(source: &str) -> Result<(), (Pos, String)> {
    let mut open: Vec<Open> = Vec::new();
    let mut at = 0;
    while let Some(found) = source.get(at..).and_then(|rest| rest.find("{{")) {
        let begin = at + found;
        let action = Action::read(source, begin);
        at = action.end;
        step(&mut open, &action).map_err(|why| (Pos::new(begin, 1), why))?;
    }
    if open.is_empty() { Ok(()) } else { Err((Pos::new(source.len(), 1), "unexpected EOF".to_owned())) }
}

fn step(open: &mut Vec<Open>, action: &Action<'_>) -> Result<(), String> {
    let opened = |kind| Open { kind, in_else: false };
    match action.words {
        ["if", _] => open.push(opened("if")),
        ["with", _] => open.push(opened("with")),
        ["range", _] => open.push(opened("range")),
        ["block", _] => open.push(opened("block")),
        ["define", _] if !open.is_empty() => return Err("unexpected <define> in command".to_owned()),
        ["define", _] => open.push(opened("define")),
        ["end", _] => {
            open.pop().ok_or("unexpected {{end}}")?;
        }
        ["else", second] => {
            let within = open.last_mut().ok_or("unexpected {{else}}")?;
            match second {
                _ if within.is_body() => return Err(format!("unexpected {{{{else}}}} in {} clause", within.kind)),
                _ if within.in_else => return Err("expected end; found {{else}}".to_owned()),
                "" => within.in_else = true,
                // `{{else if}}` shares its `{{end}}` with the `{{if}}`.
                kind if kind == within.kind && kind != "range" => {}
                "if" | "with" => return Err(format!("unexpected <{second}> in input")),
                other => return Err(format!("unexpected {other:?} in else")),
            }
        }
        [word @ ("break" | "continue"), _] => {
            let body = open.iter().rposition(Open::is_body).map_or(0, |i| i + 1);
            let inside = open.iter().skip(body).any(|o| o.kind == "range" && !o.in_else);
            if !inside {
                return Err(format!("{{{{{word}}}}} outside {{{{range}}}}"));
            }
        }
        _ => {}
    }
    Ok(())
}

struct Action<'a> {
    /// The first two words where they come first; a word that is not there is empty.
    words: [&'a str; 2],
    /// Past its `}}`.
    end: usize,
}

impl<'a> Action<'a> {
    fn read(source: &'a str, begin: usize) -> Self {
        let rest = source.get(begin + 2..).unwrap_or_default();
        let trimmed = rest.strip_prefix('-').filter(|r| r.starts_with([' ', '\t', '\r', '\n'])).unwrap_or(rest);
        let inner = trimmed.trim_start();
        if let Some(comment) = inner.strip_prefix("/*") {
            let after = comment.find("*/").and_then(|i| comment.get(i + 2..)).unwrap_or_default();
            let end = source.len() - after.find("}}").and_then(|i| after.get(i + 2..)).unwrap_or_default().len();
            return Self { words: ["", ""], end };
        }
        let (first, rest) = word(inner);
        let (second, _) = if first.is_empty() { ("", "") } else { word(rest.trim_start()) };
        Self { words: [first, second], end: source.len() - past_end(inner).len() }
    }
}

fn word(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len()))
}

/// What follows the `}}` that ends the action.
fn past_end(inner: &str) -> &str {
    let mut chars = inner.char_indices();
    while let Some((i, c)) = chars.next() {
        match c {
            '}' if inner.get(i..).is_some_and(|r| r.starts_with("}}")) => {
                return inner.get(i + 2..).unwrap_or_default();
            }
            '`' => drop(chars.find(|(_, c)| *c == '`')),
            '"' | '\'' => {
                while let Some((_, inside)) = chars.next() {
                    match inside {
                        '\\' => drop(chars.next()),
                        inside if inside == c => break,
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    ""
}
