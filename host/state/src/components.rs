//! Which component a plugin ran, and when: provenance of samples is a join over time.

use belfry_model::TimestampMs;
use rusqlite::{OptionalExtension, params};

use crate::error::StateError;
use crate::open::State;
use crate::worker::Durability;

/// A plugin ran one component for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComponentRun {
    /// Name of the plugin.
    pub plugin: String,
    /// Digest of the component.
    pub digest: String,
    /// The version it tells of itself.
    pub version: String,
    /// Since.
    pub from: TimestampMs,
    /// Until; `None` for now.
    pub to: Option<TimestampMs>,
}

impl State {
    /// The plugin runs this component from `at` on. Telling it again changes nothing.
    pub async fn component_started(
        &self,
        plugin: &str,
        digest: &str,
        version: &str,
        at: TimestampMs,
    ) -> Result<(), StateError> {
        let (plugin, digest, version) = (plugin.to_owned(), digest.to_owned(), version.to_owned());
        self.workers
            .write(Durability::Process, move |c| {
                let open: Option<String> = c
                    .prepare_cached("SELECT digest FROM component_history WHERE plugin = ?1 AND to_ms IS NULL")?
                    .query_row([&plugin], |row| row.get(0))
                    .optional()?;
                if open.as_ref() == Some(&digest) {
                    return Ok(());
                }
                c.prepare_cached(
                    "UPDATE component_history SET to_ms = max(from_ms, ?2) WHERE plugin = ?1 AND to_ms IS NULL",
                )?
                .execute(params![plugin, at.0])?;
                c.prepare_cached(
                    "INSERT OR REPLACE INTO component_history (plugin, digest, version, from_ms) VALUES (?1, ?2, ?3, ?4)",
                )?
                .execute(params![plugin, digest, version, at.0])?;
                Ok(())
            })
            .await
    }

    /// The plugin runs nothing from `at` on.
    pub async fn component_ended(&self, plugin: &str, at: TimestampMs) -> Result<(), StateError> {
        let plugin = plugin.to_owned();
        self.workers
            .write(Durability::Process, move |c| {
                c.prepare_cached(
                    "UPDATE component_history SET to_ms = max(from_ms, ?2) WHERE plugin = ?1 AND to_ms IS NULL",
                )?
                .execute(params![plugin, at.0])?;
                Ok(())
            })
            .await
    }

    /// What a plugin (or, with `None`, every plugin) ran, the latest first.
    pub async fn component_history(&self, plugin: Option<&str>) -> Result<Vec<ComponentRun>, StateError> {
        let plugin = plugin.map(str::to_owned);
        self.workers
            .read(move |c| {
                let mut statement = c.prepare_cached(
                    "SELECT plugin, digest, version, from_ms, to_ms FROM component_history
                     WHERE ?1 IS NULL OR plugin = ?1 ORDER BY from_ms DESC, plugin LIMIT 1000",
                )?;
                let rows = statement.query_map([plugin], |row| {
                    Ok(ComponentRun {
                        plugin: row.get(0)?,
                        digest: row.get(1)?,
                        version: row.get(2)?,
                        from: TimestampMs(row.get(3)?),
                        to: row.get::<_, Option<i64>>(4)?.map(TimestampMs),
                    })
                })?;
                Ok(rows.collect::<Result<_, _>>()?)
            })
            .await
    }
}
