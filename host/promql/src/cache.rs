//! Answers of range queries, kept so that the next refresh only evaluates what is new.
//!
//! Invariant: a step's value is kept only when no sample that it depends on may still change: the caller says up to
//! when samples are final, and a query whose steps look ahead, or depend on the query's own range, is never kept.
//! Answers with warnings or infos are not kept either: those belong to the whole range.
//! Not here: a clock (times are arguments), locks.
//!
//! Whoever changes samples before that time after all (a late write, backfill, deletion) calls
//! [`ResultCache::forget_from`]; what is missed that way is gone after [`ENTRY_AGE_MAX`].

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use belfry_model::TimestampMs;

use crate::{Answer, MatrixRow, PointValue, Query, QueryTime, QueryValue};

/// Memory that kept answers may take.
pub const CACHE_BYTES_MAX: usize = 64 << 20;
/// A larger answer is not kept: it would drive out all others.
const ENTRY_BYTES_MAX: usize = CACHE_BYTES_MAX / 8;
/// A kept answer is evaluated anew after this, whatever happened: samples may come later than they should.
pub const ENTRY_AGE_MAX: Duration = Duration::from_secs(600);

/// Changes that are remembered for answers on their way; one that began before them is not kept.
const CHANGES_MAX: usize = 256;

/// What two queries must share for one to use the other's steps.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CacheKey {
    expression: String,
    step: i64,
    /// Where the steps stand between multiples of `step`.
    phase: i64,
    lookback: Duration,
    subquery_step: Duration,
}

struct Entry {
    start: i64,
    /// The last step that counts; the answer may have more.
    end: i64,
    answer: Arc<Answer>,
    bytes: usize,
    made: TimestampMs,
    used: u64,
}

/// Kept answers, the least recently used of which go first.
pub struct ResultCache {
    entries: HashMap<CacheKey, Entry>,
    bytes: usize,
    bytes_max: usize,
    uses: u64,
    generation: u64,
    /// From when on samples changed, the newest last: of generations up to the one of now.
    changes: VecDeque<i64>,
    /// No entry has a later step.
    newest: i64,
    counts: CacheCounts,
}

/// What became of queries since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheCounts {
    /// Queries of which all or some steps were known.
    pub hits: u64,
    /// Queries that might have been known and were not.
    pub misses: u64,
    /// Answers driven out by others.
    pub evicted: u64,
    /// Bytes held now.
    pub bytes: u64,
}

/// The part of a query that is known.
#[derive(Clone, Debug)]
pub struct Known {
    rows: Vec<MatrixRow>,
    /// What remains to be evaluated; `None` when nothing does.
    pub rest: Option<QueryTime>,
}

impl Query {
    /// The key of its answer; `None` when no part of it may be used again.
    pub fn cache_key(&self) -> Option<CacheKey> {
        let QueryTime::Range { start, end, step } = self.time else { return None };
        let step = i64::try_from(step.as_millis()).ok().filter(|s| *s > 0)?;
        // What depends on where the query begins or ends, or on another time, is not a matter of the step alone. A
        // label's value may contain such a word, too: then nothing is lost but speed.
        let about_the_query = ["start()", "end()", "range()", " @ "];
        if self.expression.is_empty() || about_the_query.iter().any(|w| self.expression.contains(w)) {
            return None;
        }
        // A negative offset, `smoothed`: reads samples behind the step.
        if self.selections.iter().any(|s| s.range.end().0 > end.0.saturating_add(1)) {
            return None;
        }
        Some(CacheKey {
            expression: self.expression.clone(),
            step,
            phase: start.0.rem_euclid(step),
            lookback: self.limits.lookback,
            subquery_step: self.limits.subquery_step,
        })
    }
}

impl Default for ResultCache {
    fn default() -> Self {
        Self::new(CACHE_BYTES_MAX)
    }
}

impl ResultCache {
    /// Holds at most `bytes_max`.
    pub fn new(bytes_max: usize) -> Self {
        Self {
            entries: HashMap::new(),
            bytes: 0,
            bytes_max,
            uses: 0,
            generation: 0,
            changes: VecDeque::new(),
            newest: i64::MIN,
            counts: CacheCounts::default(),
        }
    }

    /// Hits, misses, what was driven out, and what is held.
    pub fn counts(&self) -> CacheCounts {
        CacheCounts { bytes: self.bytes as u64, ..self.counts }
    }

    /// Changes with every [`ResultCache::forget_from`].
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// From when on samples changed since that generation; `None`: none did. An answer that was read meanwhile may be kept
    /// up to then.
    pub fn changed_since(&self, generation: u64) -> Option<TimestampMs> {
        let since = usize::try_from(self.generation.saturating_sub(generation)).unwrap_or(usize::MAX);
        if since > self.changes.len() {
            return Some(TimestampMs::MIN);
        }
        self.changes.iter().rev().take(since).min().copied().map(TimestampMs)
    }

    /// The first steps of the query, if they are known.
    pub fn find(&mut self, key: &CacheKey, time: QueryTime, now: TimestampMs) -> Option<Known> {
        let found = self.look(key, time, now);
        if found.is_some() {
            self.counts.hits += 1;
        } else {
            self.counts.misses += 1;
        }
        found
    }

    fn look(&mut self, key: &CacheKey, time: QueryTime, now: TimestampMs) -> Option<Known> {
        let QueryTime::Range { start, end, step } = time else { return None };
        let entry = self.entries.get_mut(key)?;
        if now.since(entry.made) > ENTRY_AGE_MAX || now < entry.made {
            self.remove(key);
            return None;
        }
        if start.0 < entry.start || start.0 > entry.end {
            return None;
        }
        self.uses += 1;
        entry.used = self.uses;
        let last = entry.end.min(end.0);
        let rows = rows_of(&entry.answer).iter().filter_map(|r| part(r, start.0, last)).collect();
        let next = entry.end.saturating_add(key.step);
        let rest = (next <= end.0).then_some(QueryTime::Range { start: TimestampMs(next), end, step });
        Some(Known { rows, rest })
    }

    /// Keeps the steps of an answer up to `final_until`: no sample up to then will change. Nothing is copied.
    pub fn keep(
        &mut self,
        key: CacheKey,
        time: QueryTime,
        answer: &Arc<Answer>,
        final_until: TimestampMs,
        now: TimestampMs,
    ) {
        let QueryTime::Range { start, end, .. } = time else { return };
        if !matches!(answer.value, QueryValue::Matrix(_)) || !answer.warnings.is_empty() || !answer.infos.is_empty() {
            return;
        }
        let until = end.0.min(final_until.0);
        if until < start.0 {
            return;
        }
        let last = start.0.saturating_add((until - start.0) / key.step * key.step);
        // Samples that come late are found when the oldest of the parts is too old.
        let made = match self.entries.get(&key) {
            Some(old) if old.start <= start.0 && old.end >= start.0 => old.made,
            _ => now,
        };
        self.remove(&key);
        let bytes = entry_bytes(&key, answer);
        if bytes > ENTRY_BYTES_MAX.min(self.bytes_max) {
            return;
        }
        while self.bytes + bytes > self.bytes_max {
            let Some(oldest) = self.entries.iter().min_by_key(|(_, e)| e.used).map(|(k, _)| k.clone()) else { break };
            self.remove(&oldest);
            self.counts.evicted += 1;
        }
        self.uses += 1;
        self.bytes += bytes;
        self.newest = self.newest.max(last);
        let answer = answer.clone();
        self.entries.insert(key, Entry { start: start.0, end: last, answer, bytes, made, used: self.uses });
    }

    /// Samples at `at` and later changed that may have been thought final: steps from then on do not count any more. No step
    /// reads samples behind it. Answers on their way may have been read before: see [`ResultCache::changed_since`].
    pub fn forget_from(&mut self, at: TimestampMs) {
        self.generation += 1;
        if self.changes.len() == CHANGES_MAX {
            self.changes.pop_front();
        }
        self.changes.push_back(at.0);
        // Whoever is late always comes behind what was cut last time.
        if at.0 > self.newest {
            return;
        }
        self.entries.retain(|key, entry| {
            if entry.end < at.0 {
                return true;
            }
            if entry.start >= at.0 {
                return false;
            }
            entry.end = entry.start + (at.0 - 1 - entry.start) / key.step * key.step;
            true
        });
        self.bytes = self.entries.values().map(|e| e.bytes).sum();
        self.newest = self.entries.values().map(|e| e.end).max().unwrap_or(i64::MIN);
    }

    fn remove(&mut self, key: &CacheKey) {
        if let Some(e) = self.entries.remove(key) {
            self.bytes -= e.bytes;
        }
    }
}

impl Known {
    /// The whole answer when nothing remains to be evaluated.
    pub fn alone(self) -> Answer {
        let value = QueryValue::Matrix(self.rows);
        Answer { value, warnings: Vec::new(), infos: Vec::new(), samples_read: 0, points_peak: 0 }
    }

    /// The whole answer, of which `rest` is the evaluated part.
    pub fn join(self, rest: Answer) -> Answer {
        let QueryValue::Matrix(rest_rows) = rest.value else { return rest };
        Answer { value: QueryValue::Matrix(join_rows(self.rows, rest_rows)), ..rest }
    }
}

/// Earlier points and later ones by series; both are in order of labels.
pub(crate) fn join_rows(earlier: Vec<MatrixRow>, later: Vec<MatrixRow>) -> Vec<MatrixRow> {
    let mut rows: Vec<MatrixRow> = Vec::with_capacity(earlier.len().max(later.len()));
    let mut earlier = earlier.into_iter().peekable();
    for mut row in later {
        while let Some(before) = earlier.next_if(|e| e.labels < row.labels) {
            rows.push(before);
        }
        if let Some(mut same) = earlier.next_if(|e| e.labels == row.labels) {
            same.points.append(&mut row.points);
            row = same;
        }
        rows.push(row);
    }
    rows.extend(earlier);
    rows
}

/// The series of a range query's answer.
fn rows_of(answer: &Answer) -> &[MatrixRow] {
    match &answer.value {
        QueryValue::Matrix(rows) => rows,
        _ => &[],
    }
}

/// The points from `start` to `end`, both inside.
fn part(row: &MatrixRow, start: i64, end: i64) -> Option<MatrixRow> {
    let from = row.points.partition_point(|(t, _)| t.0 < start);
    let to = row.points.partition_point(|(t, _)| t.0 <= end);
    (from < to).then(|| MatrixRow { labels: row.labels.clone(), points: row.points[from..to].to_vec() })
}

fn entry_bytes(key: &CacheKey, answer: &Answer) -> usize {
    key.expression.len() + rows_of(answer).iter().map(bytes_of).sum::<usize>() + size_of::<Entry>()
}

fn bytes_of(row: &MatrixRow) -> usize {
    let histogram = |v: &PointValue| match v {
        PointValue::Float(_) => 0,
        PointValue::Histogram(h) => {
            size_of_val(&**h)
                + 8 * (h.positive_counts.len() + h.negative_counts.len() + h.custom_bounds.len())
                + 8 * (h.positive_spans.len() + h.negative_spans.len())
        }
    };
    let labels: usize = row.labels.iter().map(|l| 64 + l.name.len() + l.value.len()).sum();
    let points = row.points.len() * size_of::<(TimestampMs, PointValue)>();
    size_of::<MatrixRow>() + labels + points + row.points.iter().map(|(_, v)| histogram(v)).sum::<usize>()
}
