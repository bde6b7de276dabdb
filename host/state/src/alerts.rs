//! Alerts: their present state, and their past as episodes.

use belfry_model::{Alert, AlertEvent, AlertState, Fingerprint, JournalEntry, Labels, TimeRange, TimestampMs};
use rusqlite::{Connection, params};

use crate::error::StateError;
use crate::journal;
use crate::open::State;
use crate::worker::Durability;

/// Episodes of one answer.
pub const EPISODES_PER_QUERY_MAX: usize = 10_000;

/// One alert's life from its start to its end.
#[derive(Clone, Debug, PartialEq)]
pub struct Episode {
    /// Name of the rule.
    pub rule: String,
    /// Identity of the alert.
    pub fingerprint: Fingerprint,
    /// How bad.
    pub severity: String,
    /// The alert's labels.
    pub labels: Labels,
    /// When its condition began to hold.
    pub started: TimestampMs,
    /// When it fired.
    pub fired: Option<TimestampMs>,
    /// When it was resolved.
    pub resolved: Option<TimestampMs>,
}

impl State {
    /// Every alert that is remembered; one that cannot be read is left out, and its rule finds it anew.
    pub async fn alerts(&self) -> Result<Vec<Alert>, StateError> {
        self.workers
            .read(|c| {
                let mut statement = c.prepare_cached("SELECT body FROM alert ORDER BY rule, fingerprint")?;
                let bodies = statement.query_map([], |row| row.get::<_, String>(0))?;
                let mut alerts = Vec::new();
                for body in bodies {
                    match serde_json::from_str(&body?) {
                        Ok(alert) => alerts.push(alert),
                        Err(error) => tracing::warn!(%error, "an alert's row cannot be read"),
                    }
                }
                Ok(alerts)
            })
            .await
    }

    /// Remembers `put` and forgets `remove`, all or nothing; survives the loss of power.
    pub async fn persist_alerts(&self, put: Vec<Alert>, remove: Vec<(String, Fingerprint)>) -> Result<(), StateError> {
        self.workers
            .write(Durability::Power, move |c| {
                let mut delete = c.prepare_cached("DELETE FROM alert WHERE rule = ?1 AND fingerprint = ?2")?;
                for (rule, fingerprint) in &remove {
                    delete.execute(params![rule, fingerprint.to_string()])?;
                }
                let mut insert =
                    c.prepare_cached("INSERT OR REPLACE INTO alert (rule, fingerprint, body) VALUES (?1, ?2, ?3)")?;
                for alert in &put {
                    let body = serde_json::to_string(alert)?;
                    insert.execute(params![alert.rule, alert.fingerprint.to_string(), body])?;
                }
                Ok(())
            })
            .await
    }

    /// An alert changed its state: a line of the journal and its episode, both or none. May be told twice.
    pub async fn alert_event(&self, event: AlertEvent) -> Result<(), StateError> {
        self.workers
            .write(Durability::Process, move |c| {
                upsert_episode(c, &event.alert)?;
                journal::append(c, event.at, &JournalEntry::Transition(event)).map(drop)
            })
            .await
    }

    /// Remembers an alert's episode as it stands now.
    pub async fn episode_put(&self, alert: Alert) -> Result<(), StateError> {
        self.workers.write(Durability::Process, move |c| upsert_episode(c, &alert)).await
    }

    /// Episodes that were going on within `range`, the latest first; at most [`EPISODES_PER_QUERY_MAX`].
    pub async fn episodes(&self, range: TimeRange) -> Result<Vec<Episode>, StateError> {
        self.workers.read(move |c| select(c, range)).await
    }
}

pub(crate) fn upsert_episode(c: &Connection, alert: &Alert) -> Result<(), StateError> {
    let (fingerprint, started) = (alert.fingerprint.to_string(), alert.active_since.0);
    if alert.state == AlertState::Inactive {
        // It never fired: nothing happened that a report should tell.
        c.prepare_cached("DELETE FROM alert_episode WHERE rule = ?1 AND fingerprint = ?2 AND fired_ms IS NULL")?
            .execute(params![alert.rule, fingerprint])?;
        return Ok(());
    }
    // What was open before this one began has ended without anybody seeing it: at the latest now.
    c.prepare_cached(
        "DELETE FROM alert_episode WHERE rule = ?1 AND fingerprint = ?2 AND started_ms <> ?3 AND fired_ms IS NULL",
    )?
    .execute(params![alert.rule, fingerprint, started])?;
    c.prepare_cached(
        "UPDATE alert_episode SET resolved_ms = max(?3, fired_ms)
         WHERE rule = ?1 AND fingerprint = ?2 AND started_ms <> ?3 AND resolved_ms IS NULL",
    )?
    .execute(params![alert.rule, fingerprint, started])?;
    c.prepare_cached(
        "INSERT INTO alert_episode (rule, fingerprint, severity, labels, started_ms, fired_ms, resolved_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
         ON CONFLICT (rule, fingerprint, started_ms)
         DO UPDATE SET severity = excluded.severity, fired_ms = excluded.fired_ms, resolved_ms = excluded.resolved_ms",
    )?
    .execute(params![
        alert.rule,
        fingerprint,
        alert.severity.as_str(),
        serde_json::to_string(&alert.labels)?,
        started,
        alert.fired_at.map(|t| t.0),
        alert.resolved_at.map(|t| t.0),
    ])?;
    Ok(())
}

fn select(c: &Connection, range: TimeRange) -> Result<Vec<Episode>, StateError> {
    let mut statement = c.prepare_cached(
        "SELECT rule, fingerprint, severity, labels, started_ms, fired_ms, resolved_ms FROM alert_episode
         WHERE started_ms < ?2 AND (resolved_ms IS NULL OR resolved_ms >= ?1)
         ORDER BY started_ms DESC, id DESC LIMIT ?3",
    )?;
    let rows = statement.query_map(params![range.start().0, range.end().0, EPISODES_PER_QUERY_MAX as i64], |row| {
        let (fingerprint, labels): (String, String) = (row.get(1)?, row.get(3)?);
        Ok((
            fingerprint,
            labels,
            Episode {
                rule: row.get(0)?,
                fingerprint: Fingerprint(0),
                severity: row.get(2)?,
                labels: Labels::empty(),
                started: TimestampMs(row.get(4)?),
                fired: row.get::<_, Option<i64>>(5)?.map(TimestampMs),
                resolved: row.get::<_, Option<i64>>(6)?.map(TimestampMs),
            },
        ))
    })?;
    let mut episodes = Vec::new();
    for row in rows {
        let (fingerprint, labels, episode) = match row {
            // A text that is none must not take the others away.
            Err(error) if error.sqlite_error_code().is_none() => {
                tracing::warn!(%error, "an episode's row cannot be read");
                continue;
            }
            row => row?,
        };
        match (fingerprint.parse(), serde_json::from_str(&labels)) {
            (Ok(fingerprint), Ok(labels)) => episodes.push(Episode { fingerprint, labels, ..episode }),
            _ => tracing::warn!(rule = episode.rule, "an episode's row cannot be read"),
        }
    }
    Ok(episodes)
}
