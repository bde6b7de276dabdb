//! `belfry rules backtest`

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use belfry_model::duration::{format_duration, parse_duration};
use belfry_model::read::Cancel;
use belfry_model::{Clock as _, Labels, TimestampMs};
use belfry_promql::{MatrixRow, PointValue, Query, QueryLimits, QueryTime, QueryValue};
use belfry_rules::backtest::{Around, Backtest, EVALUATIONS_MAX, Steps, backtest};
use belfry_rules::file::{self, Group, Rule, RuleFile, RuleKind};
use belfry_rules::groups::{DataValue, QuerySample, template_value};
use belfry_store::{RealDisk, Store, StoreConfig};
use http::Method;
use serde_json::{Value, json};

use super::super::time;
use super::{BacktestArgs, files};
use crate::cli::{Output, ServerArgs};
use crate::client::{ask, escape};
use crate::say;

/// Steps of one question: Prometheus refuses more than 11,000.
const STEPS_PER_QUESTION: u64 = 10_000;
/// Firings that are listed for people; JSON has all.
const LISTED_MAX: usize = 20;

/// Where the data is.
enum Source {
    Server(ServerArgs),
    Folder(Arc<Store>),
}

/// What templates see of the Belfry that would evaluate them.
#[derive(Default)]
struct Host {
    external_labels: Labels,
    external_url: String,
}

/// A rule with what became of it.
struct Replayed {
    group: String,
    rule: String,
    expr: String,
    result: Backtest,
    live: Live,
}

/// The version that is live now.
enum Live {
    /// Nobody could be asked.
    Unknown,
    /// There is none of this name.
    None,
    /// It is the same.
    Same,
    Other {
        expr: String,
        result: Box<Backtest>,
    },
}

pub(super) fn run(arguments: &BacktestArgs) -> Result<ExitCode> {
    let now = crate::clock::SystemClock::new().now();
    let (from, to) = (time(&arguments.from, now)?, time(&arguments.to, now)?);
    let interval = parse_duration(&arguments.interval).context("--interval")?;
    if from > to || interval.is_zero() {
        bail!(
            "nothing to replay from {from} to {to} every {}\n  help: --from comes before --to",
            format_duration(interval)
        );
    }
    let host = arguments.config.as_deref().map(host).transpose()?.unwrap_or_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let source = source(arguments, now)?;
        let live = live_rules(&source).await;
        let rule_files = if arguments.files.is_empty() {
            match &live {
                Some(file) => vec![file.clone()],
                None => bail!("no rule file is given and the live rules cannot be asked for\n  help: name a rule file"),
            }
        } else {
            read(&arguments.files)?
        };
        // Who cannot be asked at all is no fault of a rule.
        range(&source, "vector(0)", to, to, interval).await?;
        let given = !arguments.files.is_empty();
        let mut all = Vec::new();
        let mut skipped = 0;
        for file in &rule_files {
            for (g, group) in file.groups.iter().enumerate() {
                for (r, rule) in group.rules.iter().enumerate() {
                    if arguments.rule.as_ref().is_some_and(|n| n != rule.name.as_str()) {
                        continue;
                    }
                    if rule.kind == RuleKind::Record {
                        skipped += 1;
                        continue;
                    }
                    let interval = group.interval.map(|i| i.value).filter(|d| !d.is_zero()).unwrap_or(interval);
                    let offset = group.query_offset.map_or(Duration::ZERO, |o| o.value);
                    let steps = Steps { from, to, interval };
                    let result = one((&source, &host), file, g, r, steps, offset).await?;
                    let live = match live.as_ref().filter(|_| given) {
                        None => Live::Unknown,
                        Some(live) => compare((&source, &host), live, (group, rule), steps).await?,
                    };
                    all.push(Replayed {
                        group: group.name.as_str().to_owned(),
                        rule: rule.name.as_str().to_owned(),
                        expr: rule.query.to_string(),
                        result,
                        live,
                    });
                }
            }
        }
        if all.is_empty() {
            let named = arguments.rule.as_ref().map(|n| format!(" called {n}")).unwrap_or_default();
            bail!("there is no alerting rule{named} to replay\n  help: recording rules never fire");
        }
        match arguments.output {
            Output::Json => say!("{}", in_json(&all, from, to)),
            Output::Text => print(&all, from, to, skipped),
        }
        Ok(ExitCode::SUCCESS)
    })
}

fn read(arguments: &[String]) -> Result<Vec<RuleFile>> {
    let mut all = Vec::new();
    for path in files::named(arguments)? {
        let read = files::rules(&path, files::unknown(false))?;
        match read.parsed {
            Ok(file) => all.push(file),
            Err(problems) => bail!("{}", files::told(&read.name, &problems)),
        }
    }
    Ok(all)
}

fn source(arguments: &BacktestArgs, now: TimestampMs) -> Result<Source> {
    let Some(folder) = &arguments.data else {
        let (server, token) = (arguments.server.clone(), arguments.token.clone());
        return Ok(Source::Server(ServerArgs { server, token, output: Output::Json }));
    };
    if !folder.is_dir() {
        bail!("there is no data folder {}\n  help: --data names the folder of `[storage] path`", folder.display());
    }
    // Nothing may be deleted by looking at it.
    let config = StoreConfig { retention: None, retention_bytes: None, ..StoreConfig::folder(folder) };
    let (store, _) = Store::open(config, Arc::new(RealDisk), now).context("the data folder cannot be opened")?;
    Ok(Source::Folder(store))
}

fn host(config: &Path) -> Result<Host> {
    let config = super::check::load(config)?;
    let external_url = config.server.external_url.unwrap_or_else(|| format!("http://{}", config.server.listen));
    Ok(Host { external_labels: config.rule_settings.external_labels, external_url })
}

async fn one(
    (source, host): (&Source, &Host),
    file: &RuleFile,
    group: usize,
    rule: usize,
    steps: Steps,
    offset: Duration,
) -> Result<Backtest> {
    if steps.count() > EVALUATIONS_MAX {
        let own = file.groups.get(group).filter(|g| g.interval.is_some_and(|i| !i.value.is_zero()));
        let longer = match own {
            // It goes before the flag.
            Some(own) => format!("give the group {} a longer interval", own.name.as_str()),
            None => "give a longer --interval".to_owned(),
        };
        bail!("{} evaluations are more than {EVALUATIONS_MAX}\n  help: look at less time, or {longer}", steps.count());
    }
    let Some(spec) = file.groups.get(group).and_then(|g| g.rules.get(rule)) else { bail!("no such rule") };
    let expr = spec.query.to_string();
    if is_bound_to_range(&expr) {
        return each((source, host), file, (group, rule), steps, offset, &expr).await;
    }
    let at = |i: u64| TimestampMs(steps.from.0 + i as i64 * steps.interval.as_millis() as i64) - offset;
    let (mut rows, mut failures) = (Vec::<MatrixRow>::new(), BTreeMap::<String, u64>::new());
    // Parts yet to be asked for, the next one last.
    let begins = (0..steps.count()).step_by(STEPS_PER_QUESTION as usize);
    let mut parts: Vec<(u64, u64)> =
        begins.map(|first| (first, (first + STEPS_PER_QUESTION).min(steps.count()) - 1)).collect();
    parts.reverse();
    while let Some((first, last)) = parts.pop() {
        match range(source, &expr, at(first), at(last), steps.interval).await {
            Ok(part) => merge(&mut rows, part, offset),
            // As live: it fails at the times at which it fails, and at no other. Halves tell which those are.
            Err(_) if first < last && failures.values().sum::<u64>() < FAILURES_SOUGHT => {
                let middle = first + (last - first) / 2;
                parts.extend([(middle + 1, last), (first, middle)]);
            }
            Err(error) => *failures.entry(format!("{error:#}")).or_default() += last - first + 1,
        }
    }
    let mut result = replay((source, host), file, (group, rule), &rows, steps);
    for (reason, n) in failures {
        *result.failures.entry(reason).or_default() += n;
    }
    Ok(result)
}

/// Does it say another thing over a range than at one time of it? Live every evaluation is a range of its own: `start()` and
/// `end()` are its time. As the expression is printed; a text within it that only looks so costs questions, nothing else.
fn is_bound_to_range(expr: &str) -> bool {
    ["start()", "end()", "step()", "range()"].iter().any(|f| expr.contains(f))
}

/// As [`one`], with a question for each evaluation.
async fn each(
    (source, host): (&Source, &Host),
    file: &RuleFile,
    (group, rule): (usize, usize),
    steps: Steps,
    offset: Duration,
    expr: &str,
) -> Result<Backtest> {
    let (mut rows, mut failures) = (BTreeMap::<Labels, MatrixRow>::new(), BTreeMap::<String, u64>::new());
    for i in 0..steps.count() {
        let at = TimestampMs(steps.from.0 + i as i64 * steps.interval.as_millis() as i64) - offset;
        match instant(source, expr, at).await {
            Ok(answer) => {
                for mut row in answer {
                    row.points.iter_mut().for_each(|(t, _)| *t = *t + offset);
                    match rows.get_mut(&row.labels) {
                        Some(there) => there.points.append(&mut row.points),
                        None => drop(rows.insert(row.labels.clone(), row)),
                    }
                }
            }
            Err(error) => *failures.entry(format!("{error:#}")).or_default() += 1,
        }
    }
    let rows: Vec<MatrixRow> = rows.into_values().collect();
    let mut result = replay((source, host), file, (group, rule), &rows, steps);
    for (reason, n) in failures {
        *result.failures.entry(reason).or_default() += n;
    }
    Ok(result)
}

/// Moves the alerts over what the expression gave; templates ask the same source.
fn replay(
    (source, host): (&Source, &Host),
    file: &RuleFile,
    (group, rule): (usize, usize),
    rows: &[MatrixRow],
    steps: Steps,
) -> Backtest {
    let query = |text: &str, at: TimestampMs| ask_beside(source, text, at).map_err(|e| format!("{e:#}"));
    let Host { external_labels, external_url } = host;
    backtest(file, group, rule, rows, steps, &Around { external_labels, external_url, query: &query })
}

/// Answers from where nothing can be awaited. A thread and a runtime each time: few labels ask anything.
fn ask_beside(source: &Source, text: &str, at: TimestampMs) -> Result<Vec<QuerySample<DataValue>>> {
    let answer = std::thread::scope(|scope| {
        let ask = || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(range(source, text, at, at, Duration::from_secs(1)))
        };
        scope.spawn(ask).join().unwrap_or_else(|_| bail!("the query was given up"))
    });
    let sample = |row: MatrixRow| {
        let value = template_value(&row.points.first()?.1);
        Some(QuerySample { labels: row.labels, value })
    };
    Ok(answer?.into_iter().filter_map(sample).collect())
}

/// Points come in order of time; evaluation times are what the offset is added back to.
fn merge(rows: &mut Vec<MatrixRow>, part: Vec<MatrixRow>, offset: Duration) {
    for mut row in part {
        row.points.iter_mut().for_each(|(t, _)| *t = *t + offset);
        match rows.iter_mut().find(|r| r.labels == row.labels) {
            Some(there) => there.points.append(&mut row.points),
            None => rows.push(row),
        }
    }
}

async fn range(
    source: &Source,
    expr: &str,
    from: TimestampMs,
    to: TimestampMs,
    step: Duration,
) -> Result<Vec<MatrixRow>> {
    match source {
        Source::Folder(store) => {
            let time = QueryTime::Range { start: from, end: to, step };
            let query = Query::parse(expr, time, QueryLimits::default())?;
            match query.fetch(&**store).await?.evaluate(&Cancel::default())?.value {
                QueryValue::Matrix(rows) => Ok(rows),
                _ => bail!("the expression gives no series"),
            }
        }
        Source::Server(server) => {
            let path = format!(
                "/api/v1/query_range?query={}&start={}&end={}&step={}",
                escape(expr),
                from.as_secs_f64(),
                to.as_secs_f64(),
                step.as_secs_f64()
            );
            let answer = ask(server, Method::GET, &path).await?;
            let rows = answer["data"]["result"].as_array().context("the answer has no result")?;
            rows.iter().map(row).collect()
        }
    }
}

/// The answer at one time, as rows of one point.
async fn instant(source: &Source, expr: &str, at: TimestampMs) -> Result<Vec<MatrixRow>> {
    let one = |labels, value| MatrixRow { labels, points: vec![(at, value)] };
    match source {
        Source::Folder(store) => {
            let query = Query::parse(expr, QueryTime::Instant(at), QueryLimits::default())?;
            match query.fetch(&**store).await?.evaluate(&Cancel::default())?.value {
                QueryValue::Vector(points) => Ok(points.into_iter().map(|p| one(p.labels, p.value)).collect()),
                QueryValue::Scalar(_, v) => Ok(vec![one(Labels::empty(), PointValue::Float(v))]),
                _ => bail!("the expression gives no series"),
            }
        }
        Source::Server(server) => {
            let path = format!("/api/v1/query?query={}&time={}", escape(expr), at.as_secs_f64());
            let answer = ask(server, Method::GET, &path).await?;
            let result = &answer["data"]["result"];
            if answer["data"]["resultType"] == "scalar" {
                return Ok(vec![row(&json!({"values": [result]}))?]);
            }
            let found = result.as_array().context("the answer has no result")?;
            let points = |v: &Value, name: &str| v.get(name).map(|p| vec![p.clone()]).unwrap_or_default();
            found
                .iter()
                .map(|v| {
                    row(&json!({
                        "metric": v["metric"], "values": points(v, "value"), "histograms": points(v, "histogram")
                    }))
                })
                .collect()
        }
    }
}

fn row(value: &Value) -> Result<MatrixRow> {
    let labels = value["metric"].as_object().into_iter().flatten();
    let labels = Labels::from_pairs(labels.filter_map(|(n, v)| Some((n.clone(), v.as_str()?.to_owned()))));
    let mut points = Vec::new();
    for point in value["values"].as_array().into_iter().flatten() {
        let at = point[0].as_f64().map(TimestampMs::from_secs_f64).context("a point without a time")?;
        let text = point[1].as_str().unwrap_or("NaN");
        points.push((at, PointValue::Float(text.trim_start_matches('+').parse().unwrap_or(f64::NAN))));
    }
    for point in value["histograms"].as_array().into_iter().flatten() {
        let at = point[0].as_f64().map(TimestampMs::from_secs_f64).context("a point without a time")?;
        // Only that there is one matters for an alert.
        points.push((at, PointValue::Float(point[1]["sum"].as_str().and_then(|s| s.parse().ok()).unwrap_or(f64::NAN))));
    }
    points.sort_by_key(|(t, _)| *t);
    Ok(MatrixRow { labels, points })
}

/// Failing evaluations that are told apart from those beside them; behind them a part counts as a whole.
const FAILURES_SOUGHT: u64 = 2_000;

/// The rules that are live, written as a rule file; `None` when nobody can be asked.
async fn live_rules(source: &Source) -> Option<RuleFile> {
    let Source::Server(server) = source else { return None };
    let answer = ask(server, Method::GET, "/api/v1/rules").await.ok()?;
    let mut groups = Vec::new();
    for (i, group) in answer["data"]["groups"].as_array()?.iter().enumerate() {
        let mut rules = Vec::new();
        for rule in group["rules"].as_array().into_iter().flatten().filter(|r| r["type"] == "alerting") {
            let seconds = |name: &str| format!("{}ms", (rule[name].as_f64().unwrap_or(0.0) * 1000.0).max(0.0) as u64);
            rules.push(json!({
                "alert": rule["name"], "expr": rule["query"], "labels": rule["labels"],
                "for": seconds("duration"), "keep_firing_for": seconds("keepFiringFor"),
            }));
        }
        // Names are unique within a file only, and these come from several.
        let name = format!("{}#{i}", group["name"].as_str().unwrap_or(""));
        let interval = format!("{}ms", (group["interval"].as_f64().unwrap_or(60.0) * 1000.0).max(1.0) as u64);
        groups.push(json!({"name": name, "interval": interval, "rules": rules}));
    }
    // JSON is YAML.
    file::parse(&json!({"groups": groups}).to_string(), "live rules").ok()
}

fn same(a: &Rule, b: &Rule) -> bool {
    let length = |d: Option<belfry_rules::file::Located<Duration>>| d.map_or(Duration::ZERO, |d| d.value);
    a.query.to_string() == b.query.to_string()
        && length(a.hold) == length(b.hold)
        && length(a.keep_firing_for) == length(b.keep_firing_for)
}

/// The live rule of the same name and labels, or of the name if there is only one.
async fn compare(
    from: (&Source, &Host),
    live: &RuleFile,
    (group, rule): (&Group, &Rule),
    steps: Steps,
) -> Result<Live> {
    let of_name: Vec<(usize, usize, &Group, &Rule)> = live
        .groups
        .iter()
        .enumerate()
        .flat_map(|(g, group)| group.rules.iter().enumerate().map(move |(r, rule)| (g, r, group, rule)))
        .filter(|(.., l)| l.name == rule.name)
        .collect();
    // What is live is told with the labels of its group.
    let labels = rule.labels_in(group);
    let alike = |(_, _, g, l): &&(usize, usize, &Group, &Rule)| l.labels_in(g) == labels;
    if of_name.iter().any(|found| alike(&found) && same(found.3, rule)) {
        return Ok(Live::Same);
    }
    let other = of_name.iter().find(alike).or(of_name.first().filter(|_| of_name.len() == 1));
    let Some((g, r, _, other)) = other else { return Ok(Live::None) };
    let result = Box::new(one(from, live, *g, *r, steps, Duration::ZERO).await?);
    Ok(Live::Other { expr: other.query.to_string(), result })
}

fn seconds(s: f64) -> String {
    format_duration(Duration::from_secs_f64(s.clamp(0.0, 1e12).round()))
}

fn print(all: &[Replayed], from: TimestampMs, to: TimestampMs, skipped: usize) {
    say!("from {from} to {to}");
    let head = ["rule", "fired", "series", "longest", "firing for", "breached"].map(str::to_owned).to_vec();
    let line = |name: String, b: &Backtest| {
        let count = b.firings.len() as u64 + b.further;
        vec![
            name,
            count.to_string(),
            b.series.to_string(),
            seconds(b.seconds_longest),
            seconds(b.seconds_firing),
            b.breached.to_string(),
        ]
    };
    let mut rows = vec![head];
    for r in all {
        rows.push(line(r.rule.clone(), &r.result));
        match &r.live {
            Live::Other { result, .. } => rows.push(line("  live now".to_owned(), result)),
            Live::Same => rows.push(vec!["  live now: the same".to_owned()]),
            Live::None => rows.push(vec!["  live now: none".to_owned()]),
            Live::Unknown => {}
        }
    }
    let width = |i: usize| rows.iter().filter_map(|r| r.get(i)).map(|c| c.chars().count()).max().unwrap_or(0);
    for row in &rows {
        let cells: Vec<String> = row.iter().enumerate().map(|(i, c)| format!("{c:<0$}", width(i))).collect();
        say!("{}", cells.join("  ").trim_end());
    }
    for r in all {
        for f in r.result.firings.iter().take(LISTED_MAX) {
            let end =
                f.to.map_or("still firing".to_owned(), |t| format!("until {t} ({})", format_duration(t.since(f.from))));
            say!("{}  {} {end}  {}", f.from, r.rule, f.labels.without(&["alertname"]));
        }
        let more = r.result.firings.len().saturating_sub(LISTED_MAX) as u64 + r.result.further;
        if more > 0 {
            say!("  and {more} further times: see --output json");
        }
        for (reason, n) in &r.result.failures {
            say!("{}: {n} evaluations failed: {reason}", r.rule);
        }
    }
    if skipped > 0 {
        say!("note: {skipped} recording rules were not replayed; alerts see what was recorded then");
    }
}

fn in_json(all: &[Replayed], from: TimestampMs, to: TimestampMs) -> Value {
    let rules: Vec<Value> = all
        .iter()
        .map(|r| {
            let live = match &r.live {
                Live::Unknown => Value::Null,
                Live::None => json!({"state": "none"}),
                Live::Same => json!({"state": "same"}),
                Live::Other { expr, result } => json!({"state": "other", "expr": expr, "result": result}),
            };
            json!({"group": r.group, "rule": r.rule, "expr": r.expr, "result": r.result, "live": live})
        })
        .collect();
    json!({"from": from, "to": to, "rules": rules})
}
