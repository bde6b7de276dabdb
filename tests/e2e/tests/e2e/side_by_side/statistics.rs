//! What `stats` says: the same fields, and the same numbers where both count the same thing.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{ASKED_MAX, Pair, SHOWN, forms, grammar, lines};

/// Queries that must be left to compare.
const ENOUGH: usize = 800;

/// Names of members, all the way down; those of lists are not looked at.
fn fields(value: &Value, path: &str, into: &mut BTreeSet<String>) {
    for (name, inner) in value.as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        fields(inner, &path, into);
        into.insert(path);
    }
}

/// What differs of the two `stats`. The peak is how each engine holds samples, and the timings are the machine's.
fn difference(ours: &Value, theirs: &Value) -> Option<String> {
    let (a, b) = (&ours["data"]["stats"], &theirs["data"]["stats"]);
    let all = |v: &Value| {
        let mut names = BTreeSet::new();
        fields(v, "", &mut names);
        names
    };
    if all(a) != all(b) {
        return Some(format!("fields: {:?} / {:?}", all(a), all(b)));
    }
    ["totalQueryableSamples", "totalQueryableSamplesPerStep"].into_iter().find_map(|name| {
        let (a, b) = (&a["samples"][name], &b["samples"][name]);
        (a != b).then(|| format!("{name}: {a} / {b}"))
    })
}

impl Pair {
    /// What differs, however often both are asked, as with the answers themselves.
    async fn statistics(&self, path: &str, form: &str) -> Option<String> {
        let mut last = None;
        for _ in 0..ASKED_MAX {
            let (ours, theirs) = self.both(path, form).await;
            if ours["status"] != "success" || theirs["status"] != "success" {
                return None;
            }
            last = difference(&ours, &theirs);
            last.as_ref()?;
        }
        last
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statistics_have_the_fields_and_numbers_of_prometheus() {
    let Some(pair) = Pair::new().await else { return };
    let mut queries: Vec<String> = lines(include_str!("curated.txt")).map(str::to_owned).collect();
    queries.extend(grammar::queries());
    let known: BTreeSet<&str> =
        lines(include_str!("known.txt")).chain(lines(include_str!("known_statistics.txt"))).collect();
    queries.retain(|q| !known.contains(q.as_str()));
    let mut different = Vec::new();
    let mut compared = 0;
    for query in &queries {
        for which in ["all", "true"] {
            for (path, form) in forms(query) {
                let form = format!("{form}&stats={which}");
                compared += 1;
                if let Some(difference) = pair.statistics(path, &form).await {
                    different.push(format!("{query}\n    {path} {which}\n    {difference}"));
                    break;
                }
            }
        }
    }
    println!("{} queries, {compared} answers, {} differ", queries.len(), different.len());
    assert!(queries.len() >= ENOUGH, "{}", queries.len());
    let shown = &different[..different.len().min(SHOWN)];
    assert!(different.is_empty(), "ours / theirs:\n{}", shown.join("\n"));
}
