//! Reads series by InfluxQL.
//!
//! Invariant: what is answered satisfies all matchers, whatever the server made of them; limits hold while reading.
//! Not here: statements' parts (`influxql`), answers' form (`answer`), evaluation.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use belfry_model::read::ReadError;
use belfry_model::{
    Exemplar, Labels, METRIC_NAME, MatchOp, Matcher, MetricMetadata, SampleBuf, SampleSource, SelectHints,
    SelectLimits, Series, SeriesRead, SeriesSet, TimeRange,
};
use url::Url;

use super::answer::{AnswerReader, Rows};
use super::influxql::{Condition, Dialect, condition, identifier, within};
use super::rows::{Heads, Keys, Names, Samples};
use super::{Place, at, names};
use crate::http::{Ask, HttpClient, HttpError};

/// Bytes of one answer, unpacked: some 30 million samples.
const ANSWER_BYTES_MAX: usize = 1 << 30;
/// Rows of one part of an answer: the server holds no more of them, and nor do we.
const CHUNK_ROWS: &str = "10000";
/// Measurements asked in one statement.
const MEASUREMENTS_PER_QUERY: usize = 64;
/// Longer questions are sent in the body: servers and proxies take addresses of about 8 KiB.
const ADDRESS_BYTES_MAX: usize = 4 << 10;

/// Reads from one server.
pub struct Reader {
    client: HttpClient,
    base: Url,
    database: String,
    retention_policy: Option<String>,
    dialect: Dialect,
    /// Whether `SHOW SERIES` is known; whether lists of tags want a time.
    has_show_series: bool,
    timeout: Duration,
}

impl Reader {
    /// From this place.
    pub fn new(client: HttpClient, base: &Url, place: &Place, timeout: Duration) -> Self {
        let (database, retention_policy, old) = match place {
            Place::V1 { database, retention_policy } => (database.clone(), retention_policy.clone(), true),
            Place::V2 { bucket, database, .. } => (database.clone().unwrap_or_else(|| bucket.clone()), None, true),
            Place::V3 { database } => (database.clone(), None, false),
        };
        let dialect = Dialect { absent_is_empty: old };
        let base = base.clone();
        Self { client, base, database, retention_policy, dialect, has_show_series: old, timeout }
    }

    /// Asks one statement; whether the server cut the answer.
    async fn ask(&self, statement: &str, rows: &mut (dyn Rows + Send)) -> Result<bool, ReadError> {
        let mut reader = AnswerReader::default();
        let mut failed = None;
        let answer = self.client.ask_in_pieces(self.question(statement), |piece| {
            failed = reader.feed(piece, rows).err();
            failed.is_none()
        });
        let answer = answer.await;
        if let Some(e) = failed {
            return Err(e);
        }
        let answer = answer.map_err(|e| match e {
            HttpError::TooLarge(limit) => {
                let limit = limit >> 20;
                ReadError::Unavailable(format!("InfluxDB's answer is longer than {limit} MiB; narrow the query"))
            }
            e => ReadError::Unavailable(format!("InfluxDB: {e}")),
        })?;
        if !answer.status.is_success() {
            return Err(ReadError::Unavailable(format!("InfluxDB: {}", answer.reason())));
        }
        reader.end()
    }

    fn question(&self, statement: &str) -> Ask {
        let mut pairs = vec![("db", self.database.as_str())];
        pairs.extend(self.retention_policy.as_deref().map(|rp| ("rp", rp)));
        pairs.extend([("epoch", "ms"), ("chunked", "true"), ("chunk_size", CHUNK_ROWS), ("q", statement)]);
        let url = at(&self.base, "query", &pairs);
        if url.as_str().len() <= ADDRESS_BYTES_MAX {
            return Ask::get(url, self.timeout, ANSWER_BYTES_MAX);
        }
        let (_, without) = pairs.split_last().unwrap_or((&("", ""), &[]));
        Ask::form(at(&self.base, "query", without), &pairs, self.timeout, ANSWER_BYTES_MAX)
    }

    /// The measurements of the metrics that satisfy the matchers of the name.
    async fn measurements(&self, matchers: &[Matcher]) -> Result<Vec<String>, ReadError> {
        let of_name: Vec<_> = matchers.iter().filter(|m| m.name() == METRIC_NAME).collect();
        let mut found = Names::new("name");
        self.ask("SHOW MEASUREMENTS", &mut found).await?;
        let fits = |m: &String| of_name.iter().all(|matcher| matcher.matches(&names::decode_measurement(m)));
        Ok(found.into_sorted().into_iter().filter(fits).collect())
    }

    /// The same, without looking whether one that is named is there.
    async fn named_measurements(&self, matchers: &[Matcher]) -> Result<Vec<String>, ReadError> {
        let mut of_name = matchers.iter().filter(|m| m.name() == METRIC_NAME);
        match of_name.clone().find(|m| m.op() == MatchOp::Equal) {
            Some(m) if of_name.all(|other| other.matches(m.value())) => {
                Ok(vec![names::encode_measurement(m.value()).into_owned()])
            }
            Some(_) => Ok(Vec::new()),
            None => self.measurements(matchers).await,
        }
    }

    fn condition(&self, matchers: &[Matcher]) -> Condition {
        condition(matchers.iter().filter(|m| m.name() != METRIC_NAME), self.dialect)
    }

    /// The statements' sources of the metrics that are asked for.
    async fn sources(&self, matchers: &[Matcher], condition: &str) -> Result<Vec<String>, ReadError> {
        Ok(Self::sources_of(&self.named_measurements(matchers).await?, condition))
    }

    /// `FROM "a","b" WHERE …` for each group of measurements.
    fn sources_of(all: &[String], condition: &str) -> Vec<String> {
        let group = |group: &[String]| {
            let names: Vec<_> = group.iter().map(|m| identifier(m)).collect();
            format!("FROM {}{}", names.join(","), filter(condition))
        };
        all.chunks(MEASUREMENTS_PER_QUERY).map(group).collect()
    }

    /// What lists of tags are narrowed by. Version 3 looks at the last day only unless it is told a time.
    fn listed(&self, condition: &str, range: TimeRange) -> String {
        match (self.has_show_series, condition.is_empty()) {
            (true, _) => condition.to_owned(),
            (false, true) => within(range),
            (false, false) => format!("{condition} AND {}", within(range)),
        }
    }

    /// The label sets that satisfy the matchers.
    async fn label_sets(&self, matchers: &[Matcher], range: TimeRange, limit: usize) -> Result<Vec<Labels>, ReadError> {
        let condition = self.condition(matchers).text;
        let limits = SelectLimits::default();
        let mut found: BTreeSet<Labels> = BTreeSet::new();
        for source in self.sources(matchers, &self.listed(&condition, range)).await? {
            if self.has_show_series {
                let mut keys = Keys::new(matchers, &mut found, limits.series_max);
                self.ask(&format!("SHOW SERIES {source}"), &mut keys).await?;
            } else {
                let mut heads = Heads::new(matchers, &mut found, limits.series_max);
                let fields = r#"COUNT("value"),COUNT("special"),COUNT("histogram")"#;
                self.ask(&format!("SELECT {fields} {source} GROUP BY *"), &mut heads).await?;
            }
        }
        Ok(cut(found, limit))
    }
}

fn filter(condition: &str) -> String {
    if condition.is_empty() { String::new() } else { format!(" WHERE {condition}") }
}

fn cut<T>(found: BTreeSet<T>, limit: usize) -> Vec<T> {
    found.into_iter().take(if limit == 0 { usize::MAX } else { limit }).collect()
}

/// Samples that were read.
struct Kept(SampleBuf);

impl SampleSource for Kept {
    fn decode(&self, range: TimeRange, into: &mut SampleBuf) -> Result<(), ReadError> {
        let from = self.0.times.partition_point(|t| *t < range.start().0);
        let to = self.0.times.partition_point(|t| *t < range.end().0);
        (from..to).filter_map(|i| self.0.get(i)).for_each(|sample| into.push(&sample));
        Ok(())
    }

    fn estimate(&self) -> u64 {
        self.0.len() as u64
    }
}

#[async_trait]
impl SeriesRead for Reader {
    async fn select(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        _hints: &SelectHints,
        limits: SelectLimits,
    ) -> Result<SeriesSet, ReadError> {
        let tags = self.condition(matchers).text;
        let condition = if tags.is_empty() { within(range) } else { format!("{tags} AND {}", within(range)) };
        let mut samples = Samples::new(matchers, limits);
        let mut was_cut = false;
        for source in self.sources(matchers, &condition).await? {
            let fields = r#""value","special","histogram","start""#;
            was_cut |= self.ask(&format!("SELECT {fields} {source} GROUP BY *"), &mut samples).await?;
        }
        let mut warnings = samples.warnings();
        if was_cut {
            warnings.push("InfluxDB cut its answer: raise its `max-row-limit`".to_owned());
        }
        let series = samples.into_series().into_iter();
        let series = series.map(|(labels, samples)| Series { labels, samples: Arc::new(Kept(samples)) });
        Ok(SeriesSet { series: series.collect(), warnings })
    }

    async fn series(&self, matchers: &[Matcher], range: TimeRange, limit: usize) -> Result<Vec<Labels>, ReadError> {
        self.label_sets(matchers, range, limit).await
    }

    async fn label_names(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        limit: usize,
    ) -> Result<Vec<String>, ReadError> {
        let mut found = BTreeSet::new();
        // The keys of those series alone are not what a server with a condition answers in every version.
        if !self.condition(matchers).text.is_empty() || !self.condition(matchers).exact {
            for labels in self.label_sets(matchers, range, 0).await? {
                found.extend(labels.iter().map(|l| l.name.to_string()));
            }
            return Ok(cut(found, limit));
        }
        let all = self.measurements(matchers).await?;
        if all.iter().any(|m| !names::decode_measurement(m).is_empty()) {
            found.insert(METRIC_NAME.to_owned());
        }
        for source in Self::sources_of(&all, &self.listed("", range)) {
            let mut keys = Names::new("tagKey");
            self.ask(&format!("SHOW TAG KEYS {source}"), &mut keys).await?;
            found.extend(keys.into_sorted().iter().map(|k| names::decode(k).into_owned()));
        }
        Ok(cut(found, limit))
    }

    async fn label_values(
        &self,
        name: &str,
        matchers: &[Matcher],
        range: TimeRange,
        limit: usize,
    ) -> Result<Vec<String>, ReadError> {
        let condition = self.condition(matchers);
        let mut found = BTreeSet::new();
        // Lists of measurements with a condition leave out those that do not have the tag at all.
        let plain = condition.exact && condition.text.is_empty();
        let asked = plain || condition.exact && self.has_show_series && name != METRIC_NAME;
        if asked && name == METRIC_NAME {
            let all = self.measurements(matchers).await?;
            found.extend(all.iter().map(|m| names::decode_measurement(m).into_owned()));
        } else if asked {
            let listed = self.listed(&condition.text, range);
            let with = format!("WITH KEY = {}{}", identifier(&names::encode_key(name)), filter(&listed));
            for source in self.sources(matchers, "").await? {
                let mut values = Names::new("value");
                self.ask(&format!("SHOW TAG VALUES {source} {with}"), &mut values).await?;
                found.extend(values.into_sorted().iter().map(|v| names::decode(v).into_owned()));
            }
        } else {
            let all = self.label_sets(matchers, range, 0).await?;
            found.extend(all.iter().filter_map(|l| l.get(name)).map(str::to_owned));
        }
        found.remove("");
        Ok(cut(found, limit))
    }

    async fn exemplars(&self, _: &[Matcher], _: TimeRange) -> Result<Vec<(Labels, Vec<Exemplar>)>, ReadError> {
        Ok(Vec::new())
    }

    async fn metadata(&self, _: Option<&str>) -> Result<Vec<MetricMetadata>, ReadError> {
        Ok(Vec::new())
    }
}

#[cfg(test)]
#[path = "read_tests.rs"]
mod tests;
