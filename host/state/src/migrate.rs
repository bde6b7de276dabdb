//! Steps from one format of the file to the next, in order; the number of steps taken is `PRAGMA user_version`.
//!
//! Invariant: a step is taken whole or not at all, and a released step never changes.

use rusqlite::Connection;

const STEPS: &[&str] = &[
    include_str!("../migrations/0001_initial.sql"),
    include_str!("../migrations/0002_rule_files.sql"),
    include_str!("../migrations/0003_rule_texts.sql"),
];

/// The format this program writes.
pub const SCHEMA_VERSION: u32 = STEPS.len() as u32;

/// Why the steps could not be taken.
#[derive(Debug)]
pub(crate) enum MigrateError {
    Newer { found: u32 },
    Sqlite(rusqlite::Error),
}

impl From<rusqlite::Error> for MigrateError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

pub(crate) fn migrate(connection: &mut Connection) -> Result<(), MigrateError> {
    let found: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if found > SCHEMA_VERSION {
        return Err(MigrateError::Newer { found });
    }
    for (step, sql) in STEPS.iter().enumerate().skip(found as usize) {
        let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        transaction.execute_batch(sql)?;
        transaction.pragma_update(None, "user_version", step as u32 + 1)?;
        transaction.commit()?;
    }
    Ok(())
}
