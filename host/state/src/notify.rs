//! Groups being notified: the notification log. The rows are notify's own JSON.

use belfry_model::TimestampMs;
use rusqlite::params;

use crate::error::StateError;
use crate::open::State;
use crate::worker::Durability;

impl State {
    /// Every group: its key and what notify remembers of it.
    pub async fn notify_groups(&self) -> Result<Vec<(String, String)>, StateError> {
        self.workers
            .read(|c| {
                let mut statement = c.prepare_cached("SELECT key, body FROM notify_group ORDER BY key")?;
                let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
                Ok(rows.collect::<Result<_, _>>()?)
            })
            .await
    }

    /// Remembers groups or (with `None`) forgets them, all or nothing; survives the loss of power.
    pub async fn persist_notify_groups(
        &self,
        at: TimestampMs,
        groups: Vec<(String, Option<String>)>,
    ) -> Result<(), StateError> {
        self.workers
            .write(Durability::Power, move |c| {
                for (key, state) in &groups {
                    match state {
                        Some(body) => c
                            .prepare_cached(
                                "INSERT OR REPLACE INTO notify_group (key, updated_ms, body) VALUES (?1, ?2, ?3)",
                            )?
                            .execute(params![key, at.0, body])?,
                        None => c.prepare_cached("DELETE FROM notify_group WHERE key = ?1")?.execute([key])?,
                    };
                }
                Ok(())
            })
            .await
    }
}
