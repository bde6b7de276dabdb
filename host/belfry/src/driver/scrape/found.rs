//! What the discoveries of a job found last, over reloads.
//!
//! Invariant: what a discovery found goes on until it answers anew, also where the job begins again with other settings.
//! What it does not list any more when it has answered goes at once, whatever the others do.
//! Not here: looking (`discover`).

use std::collections::BTreeMap;

use belfry_config::types::scrape::Discovery;
use belfry_ingest::scrape::Group;

use super::discover::Look;

/// By file, by name of DNS, or by address.
pub type Places = BTreeMap<String, Vec<Group>>;

/// By number of the discovery.
#[derive(Debug, Default)]
pub struct Found(Vec<Entry>);

#[derive(Debug)]
struct Entry {
    discovery: Discovery,
    /// `None`: it never answered.
    places: Option<Places>,
    error: Option<String>,
    /// It came with a reload that took others away, and has not looked yet.
    is_new: bool,
}

impl Found {
    /// Of these discoveries, which know what those of `before` found that looked at the same.
    pub fn begin(discoveries: &[Discovery], before: &mut Self) -> Self {
        let entry = |discovery: &Discovery| {
            let same = before.0.iter().position(|e| same_places(&e.discovery, discovery));
            let (places, is_new) = match same.map(|n| before.0.remove(n)) {
                Some(entry) => (entry.places, entry.is_new),
                None => (None, true),
            };
            Entry { discovery: discovery.clone(), places, error: None, is_new }
        };
        Self(discoveries.iter().map(entry).collect())
    }

    /// What the discovery of this number knows.
    pub fn places(&self, number: usize) -> Option<Places> {
        self.0.get(number).and_then(|e| e.places.clone())
    }

    /// News of the discovery of this number.
    pub fn take(&mut self, number: usize, look: Look) {
        let Some(entry) = self.0.get_mut(number) else { return };
        if look.places.is_some() {
            entry.places = look.places;
        }
        (entry.error, entry.is_new) = (look.error, false);
    }

    /// All that is known.
    pub fn groups(&self) -> impl Iterator<Item = &Group> {
        self.0.iter().filter_map(|e| e.places.as_ref()).flat_map(|p| p.values().flatten())
    }

    /// What could not be had.
    pub fn errors(&self) -> impl Iterator<Item = &String> {
        self.0.iter().filter_map(|e| e.error.as_ref())
    }

    /// Has one that a reload brought not looked yet? It may find what another found that the reload took away.
    pub fn waits(&self) -> bool {
        self.0.iter().any(|e| e.is_new)
    }
}

/// Do both look at the same, however and however often they ask?
fn same_places(one: &Discovery, other: &Discovery) -> bool {
    match (one, other) {
        (Discovery::File { files, .. }, Discovery::File { files: others, .. }) => files == others,
        (Discovery::Http { url, .. }, Discovery::Http { url: other, .. }) => url == other,
        (Discovery::Dns { names, kind, port, .. }, Discovery::Dns { names: n, kind: k, port: p, .. }) => {
            (names, kind, port) == (n, k, p)
        }
        _ => false,
    }
}
