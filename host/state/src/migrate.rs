//! Steps from one format of the file to the next, in order; the number of steps taken is `PRAGMA user_version`.
//!
//! Invariant: a step is taken whole or not at all, and a released step never changes. What is read of a damaged file goes
//! into the newest format by the names of tables and columns (`salvage`): a step that moves data needs a word there.

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

/// A table as the steps make it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Table {
    pub name: String,
    pub columns: Vec<String>,
    /// What its rows are in order of: the columns of its key, or none where rows are numbered.
    pub key: Vec<String>,
}

/// The tables of a format, in the order in which they are made: one that refers to another comes after it.
pub(crate) fn tables_of(version: u32) -> rusqlite::Result<Vec<Table>> {
    let connection = Connection::open_in_memory()?;
    for sql in STEPS.iter().take(version as usize) {
        connection.execute_batch(sql)?;
    }
    let mut tables = connection.prepare(
        "SELECT s.name, l.wr FROM sqlite_schema s JOIN pragma_table_list l ON l.schema = 'main' AND l.name = s.name
         WHERE s.type = 'table' ORDER BY s.rowid",
    )?;
    let tables = tables.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, bool>(1)?)))?;
    tables
        .map(|found| {
            let (name, has_no_numbers) = found?;
            let mut columns = connection.prepare("SELECT name, pk FROM pragma_table_info(?1) ORDER BY cid")?;
            let columns = columns.query_map([&name], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?)))?;
            let columns: Vec<(String, i64)> = columns.collect::<Result<_, _>>()?;
            let mut key: Vec<&(String, i64)> = columns.iter().filter(|(_, at)| has_no_numbers && *at > 0).collect();
            key.sort_by_key(|(_, at)| *at);
            let key = key.into_iter().map(|(name, _)| name.clone()).collect();
            Ok(Table { name, key, columns: columns.into_iter().map(|(name, _)| name).collect() })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_told_with_their_columns_and_what_orders_their_rows() {
        let all = tables_of(SCHEMA_VERSION).unwrap();
        let names: Vec<&str> = all.iter().map(|t| t.name.as_str()).collect();
        assert_eq!(names.len(), 11, "{names:?}");
        let of = |name: &str| all.iter().find(|t| t.name == name).unwrap();
        assert_eq!(of("alert").key, ["rule", "fingerprint"]);
        assert_eq!(of("component_history").key, ["plugin", "from_ms"]);
        assert_eq!(of("component_history").columns, ["plugin", "digest", "version", "from_ms", "to_ms"]);
        assert!(of("journal").key.is_empty() && of("report_document").key.is_empty() && of("rule_text").key.is_empty());
        let older: Vec<Table> = tables_of(1).unwrap();
        assert!(older.len() < all.len() && older[..] == all[..older.len()]);
    }
}
