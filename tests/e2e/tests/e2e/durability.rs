//! What a query has shown is there after `kill -9`.

use std::collections::{BTreeMap, BTreeSet};

use belfry_e2e::{Belfry, Home, SOON, wait_until};

const ROUNDS: usize = 5;

const CONFIG: &str = r#"
[collection]
interval = "100ms"
timeout = "100ms"

[[plugin]]
name = "system"
source = "builtin:collector-system"
grants = { system = ["cpu", "memory", "disk", "network", "process", "sensors", "host"] }
"#;

type Kept = BTreeMap<BTreeMap<String, String>, BTreeSet<(i64, u64)>>;

/// All samples of this machine, by series; values by their bits.
async fn kept(belfry: &Belfry) -> Kept {
    let all = belfry.query(r#"{source="system"}[10m]"#).await;
    all.into_iter().map(|s| (s.labels, s.samples.into_iter().map(|(t, v)| (t, v.to_bits())).collect())).collect()
}

fn count(kept: &Kept) -> usize {
    kept.values().map(BTreeSet::len).sum()
}

#[tokio::test]
async fn no_sample_that_was_seen_is_lost_by_being_killed() {
    let home = Home::new(CONFIG);
    let mut seen = Kept::new();
    for round in 1..=ROUNDS {
        let belfry = home.start().await;
        let found = kept(&belfry).await;
        for (labels, samples) in &seen {
            let now = found.get(labels).unwrap_or_else(|| panic!("round {round}: {labels:?} is gone"));
            let lost: Vec<_> = samples.difference(now).collect();
            assert!(lost.is_empty(), "round {round}: {labels:?} lost {lost:?}");
        }
        let before = count(&found);
        seen = wait_until("more samples", SOON, async || {
            let now = kept(&belfry).await;
            (count(&now) > before + 300).then_some(now)
        })
        .await;
        // In the middle of a pull or a write, as it happens.
        belfry.kill().await;
    }
    assert!(count(&seen) > 300 * ROUNDS, "{} samples", count(&seen));
}
