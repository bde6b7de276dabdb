//! Queries drawn from a grammar, always the same ones.

/// Queries drawn.
const DRAWN: usize = 400;
/// Another seed makes other queries.
const SEED: u64 = 20_250_615;

const COUNTERS: &[&str] = &[
    "http_requests_total",
    "http_requests_total{code=~\"2..|4..\"}",
    "request_duration_seconds_count",
    "request_duration_seconds_bucket{job=\"web\"}",
    "{\"my.metric.total\"}",
    "rpc_seconds",
    "body_bytes",
];
const GAUGES: &[&str] = &[
    "temperature_celsius",
    "memory_bytes",
    "up",
    "gappy",
    "special",
    "balance_change",
    "mixed",
    "build_info",
    "temperature_celsius{job!=\"api\"}",
];
const WINDOWS: &[&str] = &["30s", "1m", "5m", "10m", "47s", "1h"];
const OF_COUNTERS: &[&str] = &["rate", "increase", "irate", "resets", "changes", "count_over_time", "last_over_time"];
const OF_GAUGES: &[&str] = &[
    "avg_over_time",
    "min_over_time",
    "max_over_time",
    "sum_over_time",
    "stddev_over_time",
    "stdvar_over_time",
    "mad_over_time",
    "delta",
    "idelta",
    "deriv",
    "present_over_time",
    "ts_of_max_over_time",
    "ts_of_min_over_time",
];
const OF_NUMBERS: &[&str] = &[
    "abs",
    "ceil",
    "floor",
    "round",
    "sqrt",
    "ln",
    "exp",
    "sgn",
    "cos",
    "deg",
    "timestamp",
    "histogram_count",
    "sort",
];
const AGGREGATIONS: &[&str] = &["sum", "avg", "min", "max", "count", "stddev", "stdvar", "group"];
const WITH_NUMBER: &[(&str, &str)] =
    &[("topk", "2"), ("bottomk", "3"), ("quantile", "0.7"), ("limit_ratio", "0.6"), ("limit_ratio", "-0.4")];
const GROUPINGS: &[&str] =
    &["", " by (job)", " by (job, instance)", " without (instance)", " without (code, method, le)", " by (missing)"];
const ARITHMETIC: &[&str] = &["+", "-", "*", "/", "%", "^", "atan2"];
const COMPARISONS: &[&str] = &["==", "!=", ">", "<", ">=", "<="];
const SETS: &[&str] = &["and", "or", "unless"];
const MATCHING: &[&str] = &[
    "",
    "",
    "on (job, instance)",
    "ignoring (code, method, le, version)",
    "on (instance) group_left",
    "on (job, instance) group_right (version)",
    "on (job)",
];
const SHIFTS: &[&str] = &["", "", "", " offset 7m", " offset -3m", " @ 1750029000", " @ end()", " @ start() offset 2m"];
const NUMBERS: &[&str] = &["2", "-0.5", "0", "100", "1e9"];

/// All of them.
pub fn queries() -> Vec<String> {
    let mut dice = Dice(SEED);
    let mut all: Vec<String> = Vec::new();
    while all.len() < DRAWN {
        let query = dice.vector(3);
        if !all.contains(&query) {
            all.push(query);
        }
    }
    all
}

struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) as usize % sides
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.roll(all.len())]
    }

    fn vector(&mut self, depth: usize) -> String {
        if depth == 0 {
            return self.leaf();
        }
        match self.roll(12) {
            0 => self.leaf(),
            1..=2 => self.over_time(),
            3 => format!("{}({})", self.of(OF_NUMBERS), self.vector(depth - 1)),
            4..=5 => {
                let (name, grouping) = (self.of(AGGREGATIONS), self.of(GROUPINGS));
                format!("{name}{grouping} ({})", self.vector(depth - 1))
            }
            6 => {
                let ((name, number), grouping) = (self.of(WITH_NUMBER), self.of(GROUPINGS));
                format!("{name}{grouping} ({number}, {})", self.vector(depth - 1))
            }
            7 => self.two_vectors(depth),
            8 => {
                let operator = self.of(ARITHMETIC);
                format!("({}) {operator} {}", self.vector(depth - 1), self.of(NUMBERS))
            }
            9 => {
                let (operator, boolean) = (self.of(COMPARISONS), self.of(&["", " bool"]));
                format!("({}) {operator}{boolean} {}", self.vector(depth - 1), self.of(NUMBERS))
            }
            10 => self.subquery(depth),
            _ => {
                let q = self.of(&["0.5", "0.95", "0"]);
                match self.roll(2) {
                    0 => format!("histogram_quantile({q}, {})", self.vector(depth - 1)),
                    _ => format!(
                        "histogram_quantile({q}, sum by (job, le) (rate(request_duration_seconds_bucket[{}])))",
                        self.of(WINDOWS)
                    ),
                }
            }
        }
    }

    fn leaf(&mut self) -> String {
        let metric = if self.roll(3) == 0 { self.of(COUNTERS) } else { self.of(GAUGES) };
        format!("{metric}{}", self.of(SHIFTS))
    }

    fn over_time(&mut self) -> String {
        let counter = self.roll(2) == 0;
        let (function, metric) = match counter {
            true => (self.of(OF_COUNTERS), self.of(COUNTERS)),
            false => (self.of(OF_GAUGES), self.of(GAUGES)),
        };
        format!("{function}({metric}[{}]{})", self.of(WINDOWS), self.of(SHIFTS))
    }

    fn two_vectors(&mut self, depth: usize) -> String {
        let (left, right) = (self.vector(depth - 1), self.vector(depth - 1));
        let matching = self.of(MATCHING);
        match self.roll(4) {
            0 => {
                let matching = matching.split(" group").next().unwrap_or("");
                format!("({left}) {} {matching} ({right})", self.of(SETS))
            }
            1 => {
                let boolean = self.of(&["", "bool"]);
                format!("({left}) {} {boolean} {matching} ({right})", self.of(COMPARISONS))
            }
            _ => format!("({left}) {} {matching} ({right})", self.of(ARITHMETIC)),
        }
    }

    fn subquery(&mut self, depth: usize) -> String {
        let function = if self.roll(2) == 0 { self.of(OF_GAUGES) } else { self.of(OF_COUNTERS) };
        let (window, step) = (self.of(&["5m", "10m"]), self.of(&["30s", "1m", "45s", ""]));
        format!("{function}(({})[{window}:{step}]{})", self.vector(depth - 1), self.of(SHIFTS))
    }
}
