//! Service level objectives: `[[slo]]` as groups of rules.
//!
//! Not here: which rules (`belfry_rules::slo`), when they are evaluated (`belfry_rules::groups`).

use belfry_config::types::slo as config;
use belfry_rules::groups::{Defaults, GroupSpec};
use belfry_rules::slo::{Indicator, Slo, Windows};

/// A group for each objective. One that cannot be made is named in the log: the config has checked what it is made of.
pub fn groups(slos: &[config::Slo], defaults: &Defaults) -> Vec<GroupSpec> {
    let mut groups = Vec::new();
    for slo in slos {
        match spec(slo).rules() {
            Ok(file) => groups.extend(GroupSpec::of_file(&file, defaults)),
            Err(problems) => {
                for problem in problems {
                    tracing::error!(slo = slo.name, "an objective is not watched: {}", problem.message);
                }
            }
        }
    }
    groups
}

/// As the rules take it.
pub fn spec(slo: &config::Slo) -> Slo {
    let indicator = match slo.indicator.clone() {
        config::Indicator::Ratio { good, total } => Indicator::Ratio { good, total },
        config::Indicator::Threshold { query, condition, threshold } => {
            Indicator::Threshold { query, condition: crate::spec::condition(condition), threshold }
        }
    };
    Slo {
        name: slo.name.clone(),
        objective: slo.objective,
        window: slo.window,
        interval: slo.interval.unwrap_or_else(|| Windows::of(slo.window).interval()),
        indicator,
        labels: slo.labels.clone(),
    }
}
