//! Alerts of rule files, and when their groups were last evaluated. The rows are the rules crate's own JSON.

use belfry_model::{AlertEvent, Fingerprint, JournalEntry, TimestampMs};
use rusqlite::params;

use crate::alerts::upsert_episode;
use crate::error::StateError;
use crate::journal;
use crate::open::State;
use crate::worker::Durability;

impl State {
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
