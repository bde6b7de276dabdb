//! Secrets: `{{secret.NAME}}` in a request becomes a value that the plugin never sees.
//!
//! Invariant: a value is put in only for an origin that its secret is granted for, after the origin was checked, and
//! never decides where a request goes unless the whole beginning of the URL is the secret; what goes back to the
//! plugin or into a log carries no value.
//! Not here: where secrets come from (`config`).

use std::collections::{BTreeMap, BTreeSet};

use url::Url;

use super::error::HttpError;
use super::origin::{Origin, OriginPattern};
use crate::Secret;

const OPEN: &[u8] = b"{{secret.";
const CLOSE: &[u8] = b"}}";
/// What stands in the place of a value.
pub const REDACTED: &str = "[redacted]";
/// Shorter values are not searched for in answers: they would be found in ordinary text.
const ECHO_BYTES_MIN: usize = 6;

/// The secrets of one plugin.
#[derive(Clone, Default)]
pub struct Secrets {
    by_name: BTreeMap<String, (String, Vec<OriginPattern>)>,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.by_name.keys()).finish()
    }
}

/// A URL whose origin was checked and whose secrets were put in.
#[derive(Clone, Debug)]
pub struct Target {
    /// Never shown to the plugin before redaction.
    pub url: Url,
    /// Granted.
    pub origin: Origin,
}

/// How a value is written at its place.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Raw,
    Path,
    Query,
}

impl Secrets {
    /// Fails when a secret names something that is no origin.
    pub fn new(secrets: &BTreeMap<String, Secret>) -> Result<Self, String> {
        let mut by_name = BTreeMap::new();
        for (name, secret) in secrets {
            let origins = secret.origins.iter().map(|text| OriginPattern::parse(text)).collect::<Result<_, _>>();
            by_name.insert(name.clone(), (secret.value.clone(), origins.map_err(|e| format!("secret `{name}`: {e}"))?));
        }
        Ok(Self { by_name })
    }

    /// Checks the origin of a URL against the grants and fills in its secrets.
    pub fn fill_url(&self, grants: &[OriginPattern], template: &str) -> Result<Target, HttpError> {
        let template = template.trim();
        let whole = template.as_bytes().starts_with(OPEN);
        if !whole {
            // The origin as the plugin wrote it, before any value is near.
            let shape = self.replace(template.as_bytes(), |_, out| {
                out.push(b'x');
                Ok(())
            })?;
            let (_, origin) = parse(&String::from_utf8_lossy(&shape))?;
            check_granted(grants, &origin)?;
        }
        let query_from = template.find('?').unwrap_or(usize::MAX);
        let mut names = BTreeSet::new();
        let filled = self.replace(template.as_bytes(), |found, out| {
            let place = match found.at {
                0 => Place::Raw,
                at if at < query_from => Place::Path,
                _ => Place::Query,
            };
            names.insert(found.name.to_owned());
            write_value(found.value, place, out);
            Ok(())
        })?;
        let (url, origin) = parse(&String::from_utf8_lossy(&filled))?;
        check_granted(grants, &origin)?;
        if !whole {
            let shape = self.replace(template.as_bytes(), |_, out| {
                out.push(b'x');
                Ok(())
            })?;
            if parse(&String::from_utf8_lossy(&shape))?.1 != origin {
                return Err(HttpError::denied("a secret may not decide the scheme, host or port of a URL"));
            }
        }
        for name in names {
            self.check_for(&name, &origin)?;
        }
        Ok(Target { url, origin })
    }

    /// Fills in the secrets of a header or a body on its way to `origin`.
    pub fn fill(&self, template: &[u8], origin: &Origin) -> Result<Vec<u8>, HttpError> {
        self.replace(template, |found, out| {
            self.check_for(found.name, origin)?;
            out.extend_from_slice(found.value.as_bytes());
            Ok(())
        })
    }

    /// Does any placeholder of `template` name a secret that may not go to `origin`?
    pub fn withheld_from(&self, template: &[u8], origin: &Origin) -> bool {
        self.fill(template, origin).is_err()
    }

    /// A URL that a server sent back carries a secret that is not for that URL's origin.
    pub fn leaks(&self, url: &Url, origin: &Origin) -> bool {
        self.by_name.iter().any(|(name, (value, _))| {
            self.check_for(name, origin).is_err()
                && forms(value).iter().any(|form| contains(url.as_str().as_bytes(), form.as_bytes()))
        })
    }

    fn check_for(&self, name: &str, origin: &Origin) -> Result<(), HttpError> {
        let granted = self
            .by_name
            .get(name)
            .is_some_and(|(_, origins)| origins.is_empty() || origins.iter().any(|pattern| pattern.matches(origin)));
        if granted {
            return Ok(());
        }
        Err(HttpError::denied(format!("secret `{name}` is not granted for `{origin}`; add it to the secret's `for`")))
    }

    fn replace(
        &self,
        template: &[u8],
        mut with: impl FnMut(Found<'_>, &mut Vec<u8>) -> Result<(), HttpError>,
    ) -> Result<Vec<u8>, HttpError> {
        let mut out = Vec::with_capacity(template.len());
        let mut at = 0;
        while let Some(start) = find(&template[at..], OPEN).map(|i| at + i) {
            let name_at = start + OPEN.len();
            let name_len = template[name_at..]
                .iter()
                .take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
                .count();
            let end = name_at + name_len;
            if name_len == 0 || !template[end..].starts_with(CLOSE) {
                // Not a placeholder: text that happens to begin like one.
                out.extend_from_slice(&template[at..name_at]);
                at = name_at;
                continue;
            }
            let name = std::str::from_utf8(&template[name_at..end]).unwrap_or_default();
            let Some((value, _)) = self.by_name.get(name) else {
                return Err(HttpError::denied(format!(
                    "there is no secret `{name}`; add it to the plugin's `secrets` in the config"
                )));
            };
            out.extend_from_slice(&template[at..start]);
            with(Found { name, value, at: start }, &mut out)?;
            at = end + CLOSE.len();
        }
        out.extend_from_slice(&template[at..]);
        Ok(out)
    }

    /// `text` without any value, however it is encoded in a URL.
    pub fn redact(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (value, _) in self.by_name.values().filter(|(value, _)| !value.is_empty()) {
            for form in forms(value) {
                text = text.replace(&form, REDACTED);
            }
        }
        text
    }

    /// What to search answers for.
    pub fn echoes(&self) -> Redactor {
        let mut needles: Vec<Vec<u8>> = self
            .by_name
            .values()
            .filter(|(value, _)| value.len() >= ECHO_BYTES_MIN)
            .flat_map(|(value, _)| forms(value).into_iter().map(String::into_bytes))
            .collect();
        // The longest first, so that no part of a secret is left beside a shorter one.
        needles.sort_by_key(|needle| std::cmp::Reverse(needle.len()));
        Redactor { needles, held: Vec::new() }
    }
}

struct Found<'a> {
    name: &'a str,
    value: &'a str,
    at: usize,
}

fn parse(text: &str) -> Result<(Url, Origin), HttpError> {
    let url = Url::parse(text).map_err(|error| HttpError::invalid(format!("not a URL: {error}")))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(HttpError::invalid("credentials in a URL are not sent; use the option `basic-auth` or a header"));
    }
    let origin = Origin::of(&url).ok_or_else(|| HttpError::invalid("only http and https URLs can be fetched"))?;
    Ok((url, origin))
}

/// The plugin is told what to ask for.
pub fn check_granted(grants: &[OriginPattern], origin: &Origin) -> Result<(), HttpError> {
    if grants.iter().any(|grant| grant.matches(origin)) {
        return Ok(());
    }
    Err(HttpError::denied(format!("`{origin}` is not granted; add it to `grants.http`")))
}

/// RFC 3986: the unreserved characters and those that may stand in a path or a query as themselves.
fn write_value(value: &str, place: Place, out: &mut Vec<u8>) {
    for byte in value.bytes() {
        let plain = match place {
            Place::Raw => true,
            _ if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => true,
            Place::Path => b"/:@!$&'()*+,;=".contains(&byte),
            Place::Query => b"/:@!$'()*,;".contains(&byte),
        };
        if plain {
            out.push(byte);
        } else {
            out.extend_from_slice(format!("%{byte:02X}").as_bytes());
        }
    }
}

/// The value as it can stand in text or in a URL; never an empty one.
fn forms(value: &str) -> Vec<String> {
    let mut forms = vec![value.to_owned()];
    for place in [Place::Path, Place::Query] {
        let mut encoded = Vec::new();
        write_value(value, place, &mut encoded);
        forms.push(String::from_utf8_lossy(&encoded).into_owned());
    }
    let escaped = serde_json::Value::from(value).to_string();
    forms.push(escaped[1..escaped.len() - 1].to_owned());
    forms.sort();
    forms.dedup();
    forms.retain(|form| !form.is_empty());
    forms
}

/// Takes values out of an answer, piece by piece.
#[derive(Clone, Default)]
pub struct Redactor {
    needles: Vec<Vec<u8>>,
    /// The end of what was pushed that may be the beginning of a value.
    held: Vec<u8>,
}

impl Redactor {
    /// Searches for another value, too.
    pub fn also(&mut self, value: &str) {
        if value.len() >= ECHO_BYTES_MIN {
            self.needles.push(value.as_bytes().to_vec());
        }
    }

    /// A header of an answer, or its URL.
    pub fn text(&self, text: &str) -> String {
        let mut one = Self { needles: self.needles.clone(), held: Vec::new() };
        let mut out = one.push(text.as_bytes());
        out.extend(one.finish());
        String::from_utf8_lossy(&out).into_owned()
    }

    /// The next piece of a body; answers what can be given on.
    pub fn push(&mut self, piece: &[u8]) -> Vec<u8> {
        let longest = self.needles.iter().map(Vec::len).max().unwrap_or(0);
        let mut text = std::mem::take(&mut self.held);
        text.extend_from_slice(piece);
        for needle in &self.needles {
            text = replaced(text, needle);
        }
        // Hold back the longest end that a value could begin with.
        let most = longest.saturating_sub(1).min(text.len());
        let held = (1..=most).rev().find(|n| {
            let end = &text[text.len() - n..];
            self.needles.iter().any(|needle| needle.starts_with(end))
        });
        self.held = text.split_off(text.len() - held.unwrap_or(0));
        text
    }

    /// The rest.
    pub fn finish(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.held)
    }
}

fn replaced(text: Vec<u8>, needle: &[u8]) -> Vec<u8> {
    let Some(mut found) = find(&text, needle) else { return text };
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    loop {
        out.extend_from_slice(&text[at..at + found]);
        out.extend_from_slice(REDACTED.as_bytes());
        at += found + needle.len();
        match find(&text[at..], needle) {
            Some(next) => found = next,
            None => break,
        }
    }
    out.extend_from_slice(&text[at..]);
    out
}

fn contains(text: &[u8], needle: &[u8]) -> bool {
    find(text, needle).is_some()
}

/// First place of `needle`, by its first byte: good enough for answers of a few megabytes.
fn find(text: &[u8], needle: &[u8]) -> Option<usize> {
    let first = *needle.first()?;
    let mut at = 0;
    while let Some(i) = text.get(at..)?.iter().position(|b| *b == first) {
        if text[at + i..].starts_with(needle) {
            return Some(at + i);
        }
        at += i + 1;
    }
    None
}

#[cfg(test)]
#[path = "secrets_tests.rs"]
mod tests;
