//! Rule files: their alerts (the rules crate's own JSON), when their groups were last evaluated, and the last text of each
//! that could be read.

use belfry_model::{AlertEvent, Fingerprint, JournalEntry, TimestampMs};
use rusqlite::params;

use crate::alerts::upsert_episode;
use crate::error::StateError;
use crate::journal;
use crate::open::State;
use crate::worker::Durability;

/// Bytes that the texts of all rule files may take together: four of the longest. They are copied into every backup.
pub const RULE_TEXTS_BYTES_MAX: usize = 64 << 20;

impl State {
    /// The last good text of each rule file, in order of path.
    pub async fn rule_texts(&self) -> Result<Vec<(String, String)>, StateError> {
        self.workers
            .read(|c| {
                let mut statement = c.prepare_cached("SELECT path, body FROM rule_text ORDER BY path")?;
                let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
                Ok(rows.collect::<Result<_, _>>()?)
            })
            .await
    }

    /// Forgets the texts of `remove`, then keeps `put` (path and text); survives the loss of power. A text that is kept
    /// already is not written again. Answers the paths that there was no room for ([`RULE_TEXTS_BYTES_MAX`]): of those
    /// nothing is kept, as an older text would be taken for the last good one.
    pub async fn keep_rule_texts(
        &self,
        put: Vec<(String, String)>,
        remove: Vec<String>,
    ) -> Result<Vec<String>, StateError> {
        self.workers
            .write(Durability::Power, move |c| {
                let mut delete = c.prepare_cached("DELETE FROM rule_text WHERE path = ?1")?;
                for path in &remove {
                    delete.execute([path])?;
                }
                let mut others = c.prepare_cached(
                    "SELECT coalesce(sum(octet_length(path) + octet_length(body)), 0) FROM rule_text WHERE path <> ?1",
                )?;
                let mut upsert = c.prepare_cached(
                    "INSERT INTO rule_text (path, body) VALUES (?1, ?2)
                     ON CONFLICT (path) DO UPDATE SET body = excluded.body WHERE body <> excluded.body",
                )?;
                let mut no_room = Vec::new();
                for (path, body) in put {
                    let bytes: i64 = others.query_row([&path], |row| row.get(0))?;
                    let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
                    if bytes.saturating_add(path.len() + body.len()) > RULE_TEXTS_BYTES_MAX {
                        delete.execute([&path])?;
                        no_room.push(path);
                    } else {
                        upsert.execute(params![path, body])?;
                    }
                }
                Ok(no_room)
            })
            .await
    }

    /// Every alert that is remembered, in order of rule.
    pub async fn rule_alerts(&self) -> Result<Vec<String>, StateError> {
        self.workers
            .read(|c| {
                let mut statement = c.prepare_cached("SELECT body FROM rule_alert ORDER BY rule, fingerprint")?;
                let rows = statement.query_map([], |row| row.get(0))?;
                Ok(rows.collect::<Result<_, _>>()?)
            })
            .await
    }

    /// Remembers `put` (rule, fingerprint, body) and forgets `remove`, all or nothing; survives the loss of power.
    pub async fn persist_rule_alerts(
        &self,
        put: Vec<(String, Fingerprint, String)>,
        remove: Vec<(String, Fingerprint)>,
    ) -> Result<(), StateError> {
        self.workers
            .write(Durability::Power, move |c| {
                let mut delete = c.prepare_cached("DELETE FROM rule_alert WHERE rule = ?1 AND fingerprint = ?2")?;
                for (rule, fingerprint) in &remove {
                    delete.execute(params![rule, fingerprint.to_string()])?;
                }
                let mut insert = c.prepare_cached(
                    "INSERT OR REPLACE INTO rule_alert (rule, fingerprint, body) VALUES (?1, ?2, ?3)",
                )?;
                for (rule, fingerprint, body) in &put {
                    insert.execute(params![rule, fingerprint.to_string(), body])?;
                }
                Ok(())
            })
            .await
    }

    /// When each group was last evaluated.
    pub async fn rule_groups(&self) -> Result<Vec<(String, TimestampMs)>, StateError> {
        self.workers
            .read(|c| {
                let mut statement = c.prepare_cached("SELECT key, seen_ms FROM rule_group")?;
                let rows = statement.query_map([], |row| Ok((row.get(0)?, TimestampMs(row.get(1)?))))?;
                Ok(rows.collect::<Result<_, _>>()?)
            })
            .await
    }

    /// The group was evaluated at `at`; survives the death of the process.
    pub async fn rule_group_seen(&self, key: String, at: TimestampMs) -> Result<(), StateError> {
        self.workers
            .write(Durability::Process, move |c| {
                c.prepare_cached("INSERT OR REPLACE INTO rule_group (key, seen_ms) VALUES (?1, ?2)")?
                    .execute(params![key, at.0])?;
                Ok(())
            })
            .await
    }

    /// Alerts changed their states: for each a line of the journal and its episode, all or none. May be told twice.
    pub async fn alert_events(&self, events: Vec<AlertEvent>) -> Result<(), StateError> {
        self.workers
            .write(Durability::Process, move |c| {
                for event in events {
                    upsert_episode(c, &event.alert)?;
                    journal::append(c, event.at, &JournalEntry::Transition(event))?;
                }
                Ok(())
            })
            .await
    }
}
