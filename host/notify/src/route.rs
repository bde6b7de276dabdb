//! The routing tree: which channels hear of an alert, and in which group.
//!
//! Invariant: every alert has at least one destination (the root matches everything), each only once.
//! Not here: groups themselves.

use std::collections::BTreeMap;
use std::time::Duration;

use belfry_model::{Labels, Matcher};

/// Stands for "group by all labels" in [`Route::group_by`].
pub const GROUP_BY_ALL: &str = "...";

/// A node of the routing tree.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// All must match; empty matches everything.
    pub matchers: Vec<Matcher>,
    /// Where matching alerts go; inherited from the parent when the config leaves it out.
    pub channel: String,
    /// Labels that make a group; `...` alone groups by all labels.
    pub group_by: Vec<String>,
    /// How long a new group waits for company.
    pub group_wait: Duration,
    /// At least this long between two notifications of one group that changed.
    pub group_interval: Duration,
    /// A group that goes on firing is told again after this.
    pub repeat_interval: Duration,
    /// Go on to the next sibling after a match.
    pub continue_: bool,
    /// Children, tried in order; the first that matches wins (see `continue_`).
    pub routes: Vec<Route>,
}

/// A group that an alert belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// Identity of the group: the route's matchers from the root on, the channel and the group's labels.
    pub key: String,
    /// The route's part of the key.
    pub route: String,
    /// Who hears of it.
    pub channel: String,
    /// What the group's alerts share.
    pub group_labels: Labels,
}

/// Times of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timing {
    pub group_wait: Duration,
    pub group_interval: Duration,
    pub repeat_interval: Duration,
}

impl Route {
    /// The groups that an alert with these labels belongs to, in order of the tree.
    pub fn destinations(&self, labels: &Labels) -> Vec<Destination> {
        let mut found = Vec::new();
        self.walk(labels, "", &mut found);
        if found.is_empty() {
            // The root is told to match everything; should it have matchers all the same, nobody is left out.
            self.arrive(labels, &self.path(""), &mut found);
        }
        found
    }

    fn walk(&self, labels: &Labels, parent: &str, found: &mut Vec<Destination>) -> bool {
        if !self.matchers.iter().all(|m| m.matches_labels(labels)) {
            return false;
        }
        let path = self.path(parent);
        let mut taken = false;
        for child in &self.routes {
            if child.walk(labels, &path, found) {
                taken = true;
                if !child.continue_ {
                    break;
                }
            }
        }
        if !taken {
            self.arrive(labels, &path, found);
        }
        true
    }

    fn path(&self, parent: &str) -> String {
        let matchers: Vec<String> = self.matchers.iter().map(Matcher::to_string).collect();
        format!("{parent}{{{}}}", matchers.join(","))
    }

    fn arrive(&self, labels: &Labels, path: &str, found: &mut Vec<Destination>) {
        let group_labels = if self.group_by.iter().any(|l| l == GROUP_BY_ALL) {
            labels.clone()
        } else {
            let names: Vec<&str> = self.group_by.iter().map(String::as_str).collect();
            labels.only(&names)
        };
        let route = format!("{path}/{}", self.channel);
        let key = format!("{route}:{group_labels}");
        if found.iter().all(|d| d.key != key) {
            found.push(Destination { key, route, channel: self.channel.clone(), group_labels });
        }
    }

    /// Times of every route, by [`Destination::route`].
    pub(crate) fn timings(&self) -> BTreeMap<String, Timing> {
        let mut all = BTreeMap::new();
        self.collect_timings("", &mut all);
        all
    }

    fn collect_timings(&self, parent: &str, all: &mut BTreeMap<String, Timing>) {
        let path = self.path(parent);
        all.entry(format!("{path}/{}", self.channel)).or_insert_with(|| self.timing());
        for child in &self.routes {
            child.collect_timings(&path, all);
        }
    }

    pub(crate) fn timing(&self) -> Timing {
        Timing {
            group_wait: self.group_wait,
            group_interval: self.group_interval,
            repeat_interval: self.repeat_interval,
        }
    }

    /// Every channel the tree names.
    pub fn channels(&self) -> Vec<String> {
        let mut all = vec![self.channel.clone()];
        all.extend(self.routes.iter().flat_map(Route::channels));
        all.sort();
        all.dedup();
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(matchers: &[&str], channel: &str, continue_: bool, routes: Vec<Route>) -> Route {
        Route {
            matchers: matchers.iter().map(|m| m.parse().unwrap()).collect(),
            channel: channel.into(),
            group_by: vec!["alertname".into()],
            group_wait: Duration::ZERO,
            group_interval: Duration::ZERO,
            repeat_interval: Duration::ZERO,
            continue_,
            routes,
        }
    }

    fn tree() -> Route {
        route(
            &[],
            "default",
            false,
            vec![
                route(&["team=db"], "audit", true, vec![]),
                route(&["team=db"], "db", false, vec![route(&["severity=critical"], "db-pager", false, vec![])]),
                route(&["severity=critical"], "pager", false, vec![]),
            ],
        )
    }

    #[test]
    fn the_first_child_that_matches_wins_and_continue_goes_on() {
        for (labels, channels) in [
            (vec![("alertname", "A")], vec!["default"]),
            (vec![("alertname", "A"), ("severity", "critical")], vec!["pager"]),
            (vec![("alertname", "A"), ("team", "db")], vec!["audit", "db"]),
            (vec![("alertname", "A"), ("team", "db"), ("severity", "critical")], vec!["audit", "db-pager"]),
        ] {
            let labels = Labels::from_pairs(labels);
            let found = tree().destinations(&labels);
            assert_eq!(found.iter().map(|d| d.channel.as_str()).collect::<Vec<_>>(), channels, "{labels}");
        }
    }

    #[test]
    fn alerts_share_a_group_when_they_share_its_labels() {
        let mut tree = tree();
        let a = Labels::from_pairs([("alertname", "A"), ("core", "0")]);
        let b = Labels::from_pairs([("alertname", "A"), ("core", "1")]);
        assert_eq!(tree.destinations(&a), tree.destinations(&b));
        tree.group_by = vec![GROUP_BY_ALL.into()];
        assert_ne!(tree.destinations(&a), tree.destinations(&b));
        tree.group_by.clear();
        assert_eq!(tree.destinations(&a)[0].group_labels, Labels::empty());
    }

    #[test]
    fn every_destination_has_its_times() {
        let timings = tree().timings();
        for labels in [vec![("team", "db"), ("severity", "critical")], vec![("severity", "critical")], vec![]] {
            for destination in tree().destinations(&Labels::from_pairs(labels)) {
                assert!(timings.contains_key(&destination.route), "{destination:?}");
            }
        }
    }
}
