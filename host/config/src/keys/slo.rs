//! The keys of `[[slo]]`.

use super::key;
use crate::spec::Kind::*;
use crate::spec::Need::*;
use crate::spec::TableSpec;

pub(super) static SLO: TableSpec = TableSpec {
    doc: "A service level objective: alerts while its error budget burns too fast.",
    keys: &[
        key("name", Text, Required, "A unique name; the label `slo`."),
        key("description", Text, Optional, "What is promised to whom, for people."),
        key("enabled", Bool, Default("true"), "Watched or not."),
        key("objective", Number, Required, "Percent that must be good, like 99.9."),
        key("window", Duration, Default("\"30d\""), "Over how long."),
        key("interval", Duration, Optional, "How often it is evaluated; else 1m for 30d, scaled with the window."),
        key("good", Text, Optional, "Good events, like 'sum(rate(requests_total{code!~\"5..\"}[$window]))'."),
        key("total", Text, Optional, "All events, like 'sum(rate(requests_total[$window]))'."),
        key("query", Text, Optional, "Instead of `good` and `total`: a value that is as it should be, or is not."),
        key(
            "condition",
            Word(&["greater_than", "less_than", "equals", "not_equals", "greater_or_equal", "less_or_equal"]),
            Optional,
            "How `query` compares with `threshold` when all is well.",
        ),
        key("threshold", Number, Optional, "With what `query` is compared."),
        key("labels", TextMap, Optional, "Added to its series and alerts."),
    ],
};
