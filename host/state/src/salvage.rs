//! A damaged file: it is put aside, and what can be read of it goes into a new one.
//!
//! Invariant: nothing of the damaged file is removed or written over. With a loss of power at any moment the next start
//! does it again, or finds it done: the new file has its last name only once all of it is on the disk.
//! Not here: when a file is damaged (`sound`), and what one table's rows are read by (`take`).

use std::fs::{self, File};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode};

use crate::error::OpenError;
use crate::log::{self, PAGE_BYTES};
use crate::migrate::{MigrateError, SCHEMA_VERSION, migrate, tables_of};
use crate::sound::{HEADER_BYTES, MAGIC, beside, check_header, has_log, is_header, open_aside};
use crate::take;

/// What is put aside is called so, with the time behind it.
const ASIDE: &str = ".damaged-";
/// A new file that is whole, with the time at which the damaged one is put aside.
const READY: &str = ".salvaged-";
/// A new file, and what it is read from where the damaged one's header is not one: of no use when they are met later.
const WORK: [&str; 2] = [".salvaging", ".salvaging-from"];
/// Of a database: the file itself, its log, and the index of that, which is made anew.
const PARTS: [&str; 3] = ["", "-wal", "-shm"];
/// With the same time: what became of the damaged one was not told yet.
const UNTOLD: &str = ".salvage-untold-";

/// What became of a damaged file at this start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Salvaged {
    /// Where the damaged file is now. Its log has the same name with `-wal` behind it.
    pub aside: PathBuf,
    /// What is wrong with it; `None` when an earlier start found it and was interrupted.
    pub reason: Option<String>,
    /// What was read of it.
    pub tables: Vec<SalvagedTable>,
    /// Damaged files that are kept beside the new one, with this one.
    pub kept: usize,
}

/// What was read of one table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SalvagedTable {
    /// Its name.
    pub name: String,
    /// Rows that are in the new file.
    pub rows: u64,
    /// May there have been more?
    pub may_lack: bool,
}

impl std::fmt::Display for Salvaged {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let reason = self.reason.as_deref().unwrap_or("an earlier start found it and was interrupted");
        write!(f, "the state's file was damaged ({reason}) and is now {}; {}", self.aside.display(), self.taken())
    }
}

impl Salvaged {
    /// What was read of it, and of what something may be missing.
    pub fn taken(&self) -> String {
        let taken: Vec<String> =
            self.tables.iter().filter(|t| t.rows > 0).map(|t| format!("{} {}", t.rows, t.name)).collect();
        let taken = match taken.is_empty() {
            true => "nothing could be read of it: the state begins anew".to_owned(),
            false => format!("rows taken over: {}", taken.join(", ")),
        };
        let lacking: Vec<&str> = self.tables.iter().filter(|t| t.may_lack).map(|t| t.name.as_str()).collect();
        match lacking.is_empty() {
            true => format!("{taken}; nothing is missing"),
            false => format!("{taken}; something may be missing of: {}", lacking.join(", ")),
        }
    }

    /// What to do.
    pub fn help(&self) -> String {
        let count = match self.kept {
            0 | 1 => String::new(),
            n => format!(" ({n} such files are there)"),
        };
        format!(
            "look at the disk; if what is missing is wanted, stop Belfry and restore a backup, or try `sqlite3 FILE .recover` \
             on the file that was put aside; Belfry never removes it{count}: remove it when it is not needed any more"
        )
    }
}

/// Ends what a start before this one was interrupted in.
pub(crate) fn resume(path: &Path) -> Result<Option<Salvaged>, OpenError> {
    let fail = |e: io::Error| failed(path, None, &e);
    clear(path);
    let Some(stamp) = names(path, READY).into_iter().next() else { return Ok(None) };
    let aside = swap(path, &stamp).map_err(fail)?;
    let tables = count(path).map_err(|e| OpenError::from_sqlite(path, &e))?;
    Ok(Some(Salvaged { aside, reason: None, tables, kept: kept(path) }))
}

/// What a start before this one has done and could not tell of; the file that is there now is sound.
pub(crate) fn untold(path: &Path) -> Option<Salvaged> {
    let stamp = names(path, UNTOLD).into_iter().next()?;
    let aside = beside(path, &format!("{ASIDE}{stamp}"));
    // It was interrupted before it moved anything, or somebody has removed it since.
    let is_there = aside.symlink_metadata().is_ok();
    let tables = is_there.then(|| count(path).ok()).flatten();
    tables.map(|tables| Salvaged { aside, reason: None, tables, kept: kept(path) })
}

/// From here on whoever has opened it tells of it.
pub(crate) fn known(path: &Path) {
    for stamp in names(path, UNTOLD) {
        let _ = fs::remove_file(beside(path, &format!("{UNTOLD}{stamp}")));
    }
}

/// Puts the damaged file aside and a new one in its place.
pub(crate) fn salvage(path: &Path, reason: String) -> Result<Salvaged, OpenError> {
    if path.symlink_metadata().is_err() {
        // Of one that is gone the log is left: an empty file goes aside with it.
        File::create(path).map_err(|e| failed(path, Some(&reason), &e))?;
    }
    let outcome = make(path).and_then(|(stamp, tables)| Ok((swap(path, &stamp).map_err(Stopped::Disk)?, tables)));
    clear(path);
    match outcome {
        Ok((aside, tables)) => Ok(Salvaged { aside, reason: Some(reason), tables, kept: kept(path) }),
        Err(Stopped::Disk(e)) => Err(failed(path, Some(&reason), &e)),
        Err(Stopped::Sqlite(e)) => Err(failed(path, Some(&reason), &e)),
    }
}

enum Stopped {
    Disk(io::Error),
    Sqlite(rusqlite::Error),
}

impl From<rusqlite::Error> for Stopped {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<MigrateError> for Stopped {
    fn from(error: MigrateError) -> Self {
        match error {
            MigrateError::Sqlite(error) => Self::Sqlite(error),
            // Of a new file it cannot be.
            MigrateError::Newer { .. } => Self::Sqlite(rusqlite::Error::InvalidQuery),
        }
    }
}

fn failed(path: &Path, reason: Option<&str>, error: &dyn std::error::Error) -> OpenError {
    let reason = reason.map(|r| format!("{r}; ")).unwrap_or_default();
    let reason = format!("{reason}what can be read of it cannot be put into a new file: {error}");
    OpenError::Damaged { path: path.to_owned(), reason }
}

/// Makes the new file whole, and answers when the damaged one is said to have been put aside.
fn make(path: &Path) -> Result<(String, Vec<SalvagedTable>), Stopped> {
    clear(path);
    let new = beside(path, WORK[0]);
    let mut target = Connection::open(&new)?;
    // One that is not finished is thrown away. What a transaction adds to a file is in no journal, so that this one is small.
    target.pragma_update(None, "journal_mode", "MEMORY")?;
    target.pragma_update(None, "synchronous", "OFF")?;
    target.pragma_update(None, "foreign_keys", false)?;
    migrate(&mut target)?;
    let source = source(path)?;
    let transaction = target.transaction()?;
    let mut tables = Vec::new();
    // A table that this format has and the damaged file's had not yet is no loss.
    let expected = match source.as_ref().map(version) {
        Some(version @ 1..) => tables_of(version)?.len(),
        _ => usize::MAX,
    };
    for (at, table) in tables_of(SCHEMA_VERSION)?.iter().enumerate() {
        let taken = match &source {
            Some(source) => take::over(source, &transaction, table)?,
            None => None,
        };
        let (rows, may_lack) = taken.map_or((0, at < expected), |t| (t.rows, t.may_lack));
        tables.push(SalvagedTable { name: table.name.clone(), rows, may_lack });
    }
    // Documents of a report that is lost could not be reached.
    let orphans =
        transaction.execute("DELETE FROM report_document WHERE report_id NOT IN (SELECT id FROM report)", [])?;
    if let Some(documents) = tables.iter_mut().find(|t| t.name == "report_document") {
        documents.rows = documents.rows.saturating_sub(orphans as u64);
        documents.may_lack |= orphans > 0;
    }
    transaction.commit()?;
    if log::damage(path).map_err(Stopped::Disk)?.is_some() {
        tables.iter_mut().for_each(|table| table.may_lack = true);
    }
    let stamp = stamp(&target, path)?;
    drop(source);
    target.close().map_err(|(_, e)| e)?;
    settle(path, &new, &stamp).map_err(Stopped::Disk)?;
    Ok((stamp, tables))
}

/// From here on the next start needs nothing of the damaged file.
fn settle(path: &Path, new: &Path, stamp: &str) -> io::Result<()> {
    if let Ok(found) = path.metadata() {
        fs::set_permissions(new, found.permissions())?;
    }
    File::open(new)?.sync_all()?;
    File::create(beside(path, &format!("{UNTOLD}{stamp}")))?;
    fs::rename(new, beside(path, &format!("{READY}{stamp}")))?;
    sync_folder(path)
}

/// Moves the damaged file away and the new one in; may begin in the middle.
fn swap(path: &Path, stamp: &str) -> io::Result<PathBuf> {
    let aside = beside(path, &format!("{ASIDE}{stamp}"));
    // The log first: beside the new file it would be taken for its own.
    for part in PARTS.into_iter().rev() {
        let (from, to) = (beside(path, part), beside(&aside, part));
        if from.symlink_metadata().is_ok() {
            if to.symlink_metadata().is_ok() {
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("{} is in the way", to.display())));
            }
            fs::rename(from, to)?;
        }
    }
    sync_folder(path)?;
    fs::rename(beside(path, &format!("{READY}{stamp}")), path)?;
    sync_folder(path)?;
    Ok(aside)
}

/// The damaged file, if its list of tables can be read at all.
fn source(path: &Path) -> Result<Option<Connection>, Stopped> {
    if check_header(path).is_ok() {
        return Ok(readable(path)?);
    }
    let copy = beside(path, WORK[1]);
    with_header(path, &copy).map_err(Stopped::Disk)?;
    match readable(&copy)? {
        // With a log it is the log's first page that counts. Beside an empty file SQLite would remove it.
        None if has_log(path) && path.metadata().is_ok_and(|found| found.len() > 0) => Ok(readable(path)?),
        found => Ok(found),
    }
}

/// Fails where the file is not the reason: nothing of it must be given up for that.
fn readable(path: &Path) -> rusqlite::Result<Option<Connection>> {
    let begun = open_aside(path).and_then(|connection| {
        // Of a list that breaks off what stands before that is taken.
        connection.pragma_update(None, "writable_schema", true)?;
        // Until the end nobody else writes to it.
        connection.execute_batch("BEGIN")?;
        let tables = "SELECT count(*) FROM pragma_table_list WHERE schema = 'main' AND name NOT LIKE 'sqlite_%'";
        let tables: i64 = connection.query_row(tables, [], |row| row.get(0))?;
        Ok((tables > 0).then_some(connection))
    });
    match begun {
        Err(e)
            if matches!(
                e.sqlite_error_code(),
                Some(
                    ErrorCode::DatabaseBusy
                        | ErrorCode::DatabaseLocked
                        | ErrorCode::OutOfMemory
                        | ErrorCode::SystemIoFailure
                        | ErrorCode::CannotOpen
                        | ErrorCode::PermissionDenied
                        | ErrorCode::DiskFull
                )
            ) =>
        {
            Err(e)
        }
        Err(_) => Ok(None),
        found => found,
    }
}

/// Copies a file whose header is not one, with the header that all files of Belfry have.
fn with_header(path: &Path, copy: &Path) -> io::Result<()> {
    let bytes = fs::copy(path, copy)?;
    if has_log(path) {
        fs::copy(beside(path, "-wal"), beside(copy, "-wal"))?;
    }
    let pages = u32::try_from(bytes / PAGE_BYTES as u64).unwrap_or(u32::MAX);
    let mut header = [0; HEADER_BYTES];
    header[..MAGIC.len()].copy_from_slice(MAGIC);
    // Page size, two versions that say "with a log", and what SQLite wants there.
    header[16..24].copy_from_slice(&[0x10, 0, 2, 2, 0, 64, 32, 32]);
    // The count of changes, here and at 92, where it says that the number of pages is right.
    header[24..28].copy_from_slice(&1_u32.to_be_bytes());
    header[28..32].copy_from_slice(&pages.to_be_bytes());
    header[92..96].copy_from_slice(&1_u32.to_be_bytes());
    // The schema's format, and UTF-8.
    (header[47], header[59]) = (4, 1);
    header[60..64].copy_from_slice(&SCHEMA_VERSION.to_be_bytes());
    debug_assert!(is_header(&header));
    let mut file = fs::OpenOptions::new().write(true).open(copy)?;
    file.seek(SeekFrom::Start(0))?;
    file.write_all(&header)
}

fn version(source: &Connection) -> u32 {
    let found = source.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0));
    found.ok().and_then(|n| u32::try_from(n).ok()).unwrap_or_default()
}

/// The time, and a number where there is such a file of that second already.
fn stamp(connection: &Connection, path: &Path) -> rusqlite::Result<String> {
    let now: String = connection.query_row("SELECT strftime('%Y%m%dT%H%M%SZ', 'now')", [], |row| row.get(0))?;
    let is_free = |stamp: &String| {
        let aside = beside(path, &format!("{ASIDE}{stamp}"));
        PARTS.iter().all(|part| beside(&aside, part).symlink_metadata().is_err())
    };
    let numbered = (2_u64..).map(|n| format!("{now}-{n}"));
    Ok(std::iter::once(now.clone()).chain(numbered).find(is_free).unwrap_or(now))
}

/// Every row that is there.
fn count(path: &Path) -> rusqlite::Result<Vec<SalvagedTable>> {
    let connection = open_aside(path)?;
    let rows_of = |name: String| {
        let rows: i64 = connection.query_row(&format!("SELECT count(*) FROM {name}"), [], |row| row.get(0))?;
        Ok(SalvagedTable { name, rows: u64::try_from(rows).unwrap_or_default(), may_lack: true })
    };
    tables_of(SCHEMA_VERSION)?.into_iter().map(|table| rows_of(table.name)).collect()
}

/// Removes what an interrupted attempt has left. Best effort: what cannot be removed cannot be written either.
fn clear(path: &Path) {
    for name in WORK {
        for part in PARTS.into_iter().chain(["-journal"]) {
            let _ = fs::remove_file(beside(&beside(path, name), part));
        }
    }
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(folder(path))?.sync_all()
}

/// What follows the file's name and `ending` in the names beside it, in order.
fn names(path: &Path, ending: &str) -> Vec<String> {
    let Some(begin) = path.file_name().and_then(|n| n.to_str()).map(|n| format!("{n}{ending}")) else {
        return Vec::new();
    };
    let Ok(entries) = fs::read_dir(folder(path)) else { return Vec::new() };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut found: Vec<String> = names.filter_map(|n| n.strip_prefix(&begin).map(str::to_owned)).collect();
    found.sort();
    found
}

fn kept(path: &Path) -> usize {
    let is_part = |name: &String| name.ends_with("-wal") || name.ends_with("-shm");
    names(path, ASIDE).iter().filter(|name| !is_part(name)).count()
}
