//! Plugins' own small state, each plugin's within its bound.

use rusqlite::{OptionalExtension, params};

use crate::error::StateError;
use crate::open::State;
use crate::worker::Durability;

/// Bytes of a key.
pub const KV_KEY_BYTES_MAX: usize = 512;
/// Keys of one answer.
pub const KV_KEYS_PER_LIST_MAX: usize = 10_000;

impl State {
    /// The value of a plugin's key.
    pub async fn kv_get(&self, plugin: &str, key: &str) -> Result<Option<Vec<u8>>, StateError> {
        let (plugin, key) = (plugin.to_owned(), key.to_owned());
        self.workers
            .read(move |c| {
                let mut statement = c.prepare_cached("SELECT value FROM plugin_kv WHERE plugin = ?1 AND key = ?2")?;
                Ok(statement.query_row([plugin, key], |row| row.get(0)).optional()?)
            })
            .await
    }

    /// Sets or (with `None`) deletes a plugin's key; refuses when the plugin's keys and values would take more than
    /// `bytes_max` together.
    pub async fn kv_put(
        &self,
        plugin: &str,
        key: &str,
        value: Option<Vec<u8>>,
        bytes_max: usize,
    ) -> Result<(), StateError> {
        if key.len() > KV_KEY_BYTES_MAX {
            return Err(StateError::KeyTooLong { bytes: key.len(), limit: KV_KEY_BYTES_MAX });
        }
        let (plugin, key) = (plugin.to_owned(), key.to_owned());
        self.workers
            .write(Durability::Process, move |c| {
                let Some(value) = value else {
                    c.prepare_cached("DELETE FROM plugin_kv WHERE plugin = ?1 AND key = ?2")?
                        .execute([&plugin, &key])?;
                    return Ok(());
                };
                let others: i64 = c
                    .prepare_cached(
                        "SELECT coalesce(sum(octet_length(key) + octet_length(value)), 0) FROM plugin_kv
                         WHERE plugin = ?1 AND key <> ?2",
                    )?
                    .query_row([&plugin, &key], |row| row.get(0))?;
                let bytes = usize::try_from(others).unwrap_or(usize::MAX).saturating_add(key.len() + value.len());
                if bytes > bytes_max {
                    return Err(StateError::KvFull { plugin, bytes, limit: bytes_max });
                }
                c.prepare_cached("INSERT OR REPLACE INTO plugin_kv (plugin, key, value) VALUES (?1, ?2, ?3)")?
                    .execute(params![plugin, key, value])?;
                Ok(())
            })
            .await
    }

    /// A plugin's keys with `prefix`, in order; at most [`KV_KEYS_PER_LIST_MAX`].
    pub async fn kv_keys(&self, plugin: &str, prefix: &str) -> Result<Vec<String>, StateError> {
        let (plugin, prefix) = (plugin.to_owned(), prefix.to_owned());
        self.workers
            .read(move |c| {
                let mut statement = c.prepare_cached(
                    "SELECT key FROM plugin_kv
                     WHERE plugin = ?1 AND key >= ?2 AND substr(key, 1, length(?2)) = ?2 ORDER BY key LIMIT ?3",
                )?;
                let rows =
                    statement.query_map(params![plugin, prefix, KV_KEYS_PER_LIST_MAX as i64], |row| row.get(0))?;
                Ok(rows.collect::<Result<_, _>>()?)
            })
            .await
    }

    /// Forgets everything of a plugin.
    pub async fn kv_clear(&self, plugin: &str) -> Result<(), StateError> {
        let plugin = plugin.to_owned();
        self.workers
            .write(Durability::Process, move |c| {
                c.prepare_cached("DELETE FROM plugin_kv WHERE plugin = ?1")?.execute([plugin])?;
                Ok(())
            })
            .await
    }
}
