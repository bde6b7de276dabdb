//! Is the file what was written? Asked before it is used, and by `belfry check`.
//!
//! Not here: what is done about it (`salvage`).

use std::io::{BufReader, Read as _};
use std::path::{Path, PathBuf};

use rusqlite::types::Value;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::error::OpenError;
use crate::log;
use crate::migrate::{SCHEMA_VERSION, Table, tables_of};

/// What a database of SQLite begins with; <https://www.sqlite.org/fileformat.html#the_database_header>.
pub(crate) const MAGIC: &[u8] = b"SQLite format 3\0";
pub(crate) const HEADER_BYTES: usize = 100;
/// Formats that may be a later Belfry's. A number beyond is no format, but a header that is damaged.
const NEWER_FORMATS_MAX: i64 = 1_000;
/// Up to here the entries of indexes are compared with their tables, too, which takes 25 ms for 10 MB, but 4 s for 256 MB.
/// Without that it is 10 ms for 10 MB, and 0.2 to 0.5 s for 256 MB, which the largest journal has twice.
const COMPARED_BYTES_MAX: i64 = 32 << 20;
/// Every start reads them whole, and a text among them that is none would end it.
const READ_AT_START: [&str; 5] = ["alert", "notify_group", "rule_alert", "rule_group", "rule_text"];
/// What is read at once when all of the file is.
pub(crate) const READ_BYTES: usize = 1 << 20;

/// The file, with an ending.
pub(crate) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

/// What a file that is there is: refuses what is damaged and what is newer. Leaves its log as it is.
pub(crate) fn look_at(path: &Path) -> Result<(), OpenError> {
    if !is_begun(path)? {
        return Ok(());
    }
    match has_log(path) {
        true => check_log(path)?,
        false => check_header(path)?,
    }
    // One page after the other is many times slower, where the file is not in memory yet.
    if let Ok(file) = std::fs::File::open(path) {
        let _ = std::io::copy(&mut BufReader::with_capacity(READ_BYTES, file), &mut std::io::sink());
    }
    let connection = open_aside(path).map_err(|e| OpenError::from_sqlite(path, &e))?;
    look(&connection, path)
}

/// [`look_at`], but nothing is made or changed beside it. Whoever has it open knows better.
pub(crate) fn look_only(path: &Path) -> Result<(), OpenError> {
    let fail = |e: rusqlite::Error| OpenError::from_sqlite(path, &e);
    if !is_begun(path)? {
        return Ok(());
    }
    if has_log(path) {
        let connection = open_aside(path).map_err(fail)?;
        connection.busy_timeout(std::time::Duration::ZERO).map_err(fail)?;
        // Whoever is alone keeps the index of the log in memory, not in a file.
        let alone = connection.pragma_update(None, "locking_mode", "EXCLUSIVE");
        let looked = alone.map_err(fail).and_then(|()| look(&connection, path));
        return match looked {
            // Its log is being written.
            Err(OpenError::InUse { .. }) => Ok(()),
            Ok(()) | Err(OpenError::Damaged { .. }) => check_log(path).and(looked),
            other => other,
        };
    }
    check_header(path)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    // Of an immutable file SQLite makes no log.
    let connection = Connection::open_with_flags(format!("file:{}?immutable=1", escaped(path)), flags).map_err(fail)?;
    look(&connection, path)
}

/// Opens a file that may be damaged: closing it must not move pages from its log into it.
pub(crate) fn open_aside(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    connection.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.busy_timeout(crate::open::BUSY_TIMEOUT)?;
    Ok(connection)
}

/// Pages that stand in the log count, and the first one may be among them.
pub(crate) fn has_log(path: &Path) -> bool {
    beside(path, "-wal").metadata().is_ok_and(|found| found.len() > 0)
}

/// Is there something to look at? What is not is made anew, or opening it says what it is. An empty file must not be opened
/// beside a log: SQLite would remove that.
fn is_begun(path: &Path) -> Result<bool, OpenError> {
    match path.metadata() {
        Ok(found) if !found.is_file() => Ok(false),
        Ok(found) if found.len() >= HEADER_BYTES as u64 => Ok(true),
        Ok(found) if found.len() > 0 => {
            Err(damaged(path, format!("it has {} bytes, which is less than its header", found.len())))
        }
        Ok(_) if has_log(path) => Err(damaged(path, "it is empty, and there is a log of it")),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound && has_log(path) => {
            Err(damaged(path, "it is gone, and there is a log of it"))
        }
        Ok(_) | Err(_) => Ok(false),
    }
}

/// What SQLite passes over.
fn check_log(path: &Path) -> Result<(), OpenError> {
    let not_readable =
        |reason: std::io::Error| OpenError::NotWritable { path: beside(path, "-wal"), reason: reason.to_string() };
    log::damage(path).map_err(not_readable)?.map_or(Ok(()), |reason| Err(damaged(path, reason)))
}

fn escaped(path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt as _;
    let mut text = String::new();
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => text.push(char::from(*byte)),
            other => text.push_str(&format!("%{other:02x}")),
        }
    }
    text
}

fn damaged(path: &Path, reason: impl Into<String>) -> OpenError {
    OpenError::Damaged { path: path.to_owned(), reason: reason.into() }
}

pub(crate) fn check_header(path: &Path) -> Result<(), OpenError> {
    let mut begin = Vec::with_capacity(HEADER_BYTES);
    let read = std::fs::File::open(path).and_then(|file| file.take(HEADER_BYTES as u64).read_to_end(&mut begin));
    read.map_err(|e| OpenError::NotWritable { path: path.to_owned(), reason: e.to_string() })?;
    if is_header(&begin) { Ok(()) } else { Err(damaged(path, "file is not a database")) }
}

/// Some of the fields have one value in every file that was ever written here; SQLite itself takes odd ones for a file
/// that is read-only, or of a version that it does not know.
pub(crate) fn is_header(begin: &[u8]) -> bool {
    let Some(header) = begin.first_chunk::<HEADER_BYTES>() else { return false };
    let formats = [1, 2];
    let page_bytes = u16::from_be_bytes([header[16], header[17]]);
    header.starts_with(MAGIC)
        // 1 says 65,536.
        && (page_bytes == 1 || page_bytes >= 512 && page_bytes.is_power_of_two())
        && formats.contains(&header[18])
        && formats.contains(&header[19])
        && header[20..24] == [0, 64, 32, 32]
        && header[44..47] == [0, 0, 0]
        && header[47] <= 4
        && header[52..59] == [0; 7]
        && header[59] <= 1
        && header[64..68] == [0; 4]
}

fn look(c: &Connection, path: &Path) -> Result<(), OpenError> {
    let fail = |e: rusqlite::Error| OpenError::from_sqlite(path, &e);
    let number = |pragma: &str| c.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0)).map_err(fail);
    let newest = i64::from(SCHEMA_VERSION);
    let found = match number("user_version")? {
        found if (0..=newest).contains(&found) => u32::try_from(found).unwrap_or_default(),
        found if found > newest && found <= newest + NEWER_FORMATS_MAX => {
            let found = u32::try_from(found).unwrap_or(u32::MAX);
            return Err(OpenError::Newer { path: path.to_owned(), found, known: SCHEMA_VERSION });
        }
        found => return Err(damaged(path, format!("its format is {found}"))),
    };
    let compared = number("page_count")?.saturating_mul(number("page_size")?) <= COMPARED_BYTES_MAX;
    let question = if compared { "PRAGMA integrity_check(1)" } else { "PRAGMA quick_check(1)" };
    let verdict: String = c.query_row(question, [], |row| row.get(0)).map_err(fail)?;
    if verdict != "ok" {
        return Err(damaged(path, verdict.replace('\n', " ")));
    }
    for table in tables_of(found).map_err(fail)? {
        look_into(c, &table, path)?;
    }
    Ok(())
}

/// A table must have its columns, and texts that must be read must be such.
fn look_into(c: &Connection, table: &Table, path: &Path) -> Result<(), OpenError> {
    let missing = |e: rusqlite::Error| match e.sqlite_error_code() {
        Some(ErrorCode::Unknown) | None => damaged(path, e.to_string()),
        _ => OpenError::from_sqlite(path, &e),
    };
    let sql = format!("SELECT {} FROM {}", table.columns.join(", "), table.name);
    let mut statement = c.prepare(&sql).map_err(missing)?;
    if READ_AT_START.contains(&table.name.as_str()) {
        let mut rows = statement.raw_query();
        while let Some(row) = rows.next().map_err(missing)? {
            (0..table.columns.len()).try_for_each(|i| row.get::<_, Value>(i).map(drop)).map_err(missing)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_escaped_for_a_uri_byte_by_byte() {
        assert_eq!(escaped(Path::new("/a b/50%/x?.db#")), "/a%20b/50%25/x%3f.db%23");
    }
}
