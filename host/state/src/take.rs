//! What can be read of one table of a damaged file, row by row.
//!
//! Invariant: one row is in memory at a time (and the one before it); each scan ends, whatever the file says. A page that
//! cannot be read costs the rows in it.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use rusqlite::types::Value;
use rusqlite::{Connection, ErrorCode, Statement};

use crate::migrate::Table;

/// Looks into what neither end leads to: pages between two that cannot be read.
const PROBES_MAX: usize = 10_000;
/// Rows out of their order in one scan: pages that lead to each other must not be read for ever.
const MISPLACED_ROWS_MAX: usize = 10_000;
/// How far numbers are looked for where the table's last (or first) row cannot be read.
const NUMBERS_GUESSED: i64 = 1 << 20;

/// What came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Taken {
    pub rows: u64,
    /// Something could not be read.
    pub may_lack: bool,
}

/// Takes over what can be read. Fails only where the new file does; `None` when the damaged one has no such table.
pub(crate) fn over(source: &Connection, target: &Connection, table: &Table) -> rusqlite::Result<Option<Taken>> {
    let columns = table.columns.join(", ");
    let marks = vec!["?"; table.columns.len()].join(", ");
    let insert = target.prepare(&format!("INSERT OR IGNORE INTO {} ({columns}) VALUES ({marks})", table.name))?;
    let (key, from) = match table.key.is_empty() {
        // Of an index that is read instead, other pages might be the damaged ones.
        true => (vec!["rowid".to_owned()], format!("{} NOT INDEXED WHERE rowid > ?1 AND rowid < ?2", table.name)),
        false => (table.key.clone(), table.name.clone()),
    };
    let prepared = |order: &str| {
        let by: Vec<String> = key.iter().map(|column| format!("{column} {order}")).collect();
        source.prepare(&format!("SELECT {}, {columns} FROM {from} ORDER BY {}", key.join(", "), by.join(", ")))
    };
    let (Ok(up), Ok(down)) = (prepared("ASC"), prepared("DESC")) else { return Ok(None) };
    let mut taking = Taking { up, down, insert, key: key.len(), taken: Taken::default() };
    match table.key.is_empty() {
        true => taking.numbered()?,
        false => taking.keyed()?,
    }
    Ok(Some(taking.taken))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Up,
    Down,
}

/// How a scan ended.
struct Scan {
    /// The key of the last row that was in its order.
    last: Option<Vec<Value>>,
    /// It came to its end.
    is_whole: bool,
}

struct Taking<'a> {
    up: Statement<'a>,
    down: Statement<'a>,
    insert: Statement<'a>,
    /// Columns of the key, which are selected first.
    key: usize,
    taken: Taken,
}

impl Taking<'_> {
    /// From the begin until something cannot be read, then from the end back.
    fn keyed(&mut self) -> rusqlite::Result<()> {
        let up = self.scan(Way::Up, None, None)?;
        if !up.is_whole {
            self.taken.may_lack = true;
            self.scan(Way::Down, None, up.last.as_deref())?;
        }
        Ok(())
    }

    /// The same, and then what is between, the largest gap first: any number can be looked for.
    fn numbered(&mut self) -> rusqlite::Result<()> {
        let up = self.scan(Way::Up, Some((i64::MIN, i64::MAX)), None)?;
        if up.is_whole {
            return Ok(());
        }
        self.taken.may_lack = true;
        let low = number(&up);
        let down = self.scan(Way::Down, Some((low.unwrap_or(i64::MIN), i64::MAX)), None)?;
        if down.is_whole {
            return Ok(());
        }
        let (low, high) = match (low, number(&down)) {
            (Some(low), Some(high)) => (low, high),
            (Some(low), None) => (low, low.saturating_add(NUMBERS_GUESSED)),
            (None, Some(high)) => (high.saturating_sub(NUMBERS_GUESSED).max(0).min(high), high),
            (None, None) => (0, NUMBERS_GUESSED),
        };
        let mut gaps = BinaryHeap::from([Gap::new(low, high)]);
        for _ in 0..PROBES_MAX {
            let Some(Gap { numbers, low, high }) = gaps.pop().filter(|gap| gap.numbers > 0) else { break };
            // Above what was looked at first.
            let middle = i64::try_from(i128::from(low) + 1 + numbers / 2).unwrap_or(high);
            let upper = self.scan(Way::Up, Some((middle.saturating_sub(1), high)), None)?;
            let lower = self.scan(Way::Down, Some((low, middle)), None)?;
            if numbers == 1 {
                continue;
            }
            if !upper.is_whole {
                gaps.push(Gap::new(number(&upper).unwrap_or(middle.saturating_sub(1)), high));
            }
            if !lower.is_whole {
                gaps.push(Gap::new(low, number(&lower).unwrap_or(middle)));
            }
        }
        Ok(())
    }

    /// Takes over rows until the end, `until` (a key that was read already), or one that cannot be read. A row that is out
    /// of its order is none: kept with a wrong number it would stand for others.
    fn scan(&mut self, way: Way, between: Option<(i64, i64)>, until: Option<&[Value]>) -> rusqlite::Result<Scan> {
        let select = if way == Way::Up { &mut self.up } else { &mut self.down };
        if let Some((low, high)) = between {
            select.raw_bind_parameter(1, low)?;
            select.raw_bind_parameter(2, high)?;
        }
        let mut rows = select.raw_query();
        let (mut last, mut waiting): (Option<Vec<Value>>, Option<Vec<Value>>) = (None, None);
        let mut misplaced = 0;
        let is_whole = loop {
            let row = match rows.next() {
                Ok(Some(row)) => row,
                Ok(None) => break true,
                Err(_) => break false,
            };
            let columns = row.as_ref().column_count();
            let Ok(values) = (0..columns).map(|i| row.get(i)).collect::<rusqlite::Result<Vec<Value>>>() else {
                // A text that is none.
                self.taken.may_lack = true;
                continue;
            };
            let key = &values[..self.key];
            if until.is_some_and(|until| compare(key, until) != Ordering::Greater) {
                break true;
            }
            let follows = |before: &[Value]| match way {
                Way::Up => compare(before, key) == Ordering::Less,
                Way::Down => compare(before, key) == Ordering::Greater,
            };
            match waiting.take() {
                Some(before) if follows(&before[..self.key]) => {
                    last = Some(before[..self.key].to_vec());
                    keep(&mut self.insert, &mut self.taken, &before[self.key..])?;
                    waiting = Some(values);
                }
                None => waiting = Some(values),
                Some(before) => {
                    self.taken.may_lack = true;
                    misplaced += 1;
                    // Whichever of the two does not go with the one before them.
                    let is_in_order = last.as_deref().is_none_or(follows);
                    waiting = Some(if is_in_order { values } else { before });
                    if misplaced > MISPLACED_ROWS_MAX {
                        break false;
                    }
                }
            }
        };
        if let Some(row) = waiting {
            last = Some(row[..self.key].to_vec());
            keep(&mut self.insert, &mut self.taken, &row[self.key..])?;
        }
        Ok(Scan { last, is_whole })
    }
}

fn keep(insert: &mut Statement<'_>, taken: &mut Taken, row: &[Value]) -> rusqlite::Result<()> {
    for (i, value) in row.iter().enumerate() {
        insert.raw_bind_parameter(i + 1, value)?;
    }
    match insert.raw_execute() {
        Ok(0) => taken.may_lack = true,
        Ok(_) => taken.rows += 1,
        // A value that its column does not take was not written there.
        Err(e) if matches!(e.sqlite_error_code(), Some(ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch)) => {
            taken.may_lack = true;
        }
        Err(e) => return Err(e),
    }
    Ok(())
}

/// Numbers between two that are known, which may be rows.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Gap {
    numbers: i128,
    low: i64,
    high: i64,
}

impl Gap {
    fn new(low: i64, high: i64) -> Self {
        Self { numbers: i128::from(high) - i128::from(low) - 1, low, high }
    }
}

fn number(scan: &Scan) -> Option<i64> {
    match scan.last.as_deref() {
        Some([Value::Integer(number)]) => Some(*number),
        _ => None,
    }
}

/// SQLite's order.
fn compare(a: &[Value], b: &[Value]) -> Ordering {
    let kind = |value: &Value| match value {
        Value::Null => 0,
        Value::Integer(_) | Value::Real(_) => 1,
        Value::Text(_) => 2,
        Value::Blob(_) => 3,
    };
    let each = a.iter().zip(b).map(|pair| match pair {
        (Value::Integer(a), Value::Integer(b)) => a.cmp(b),
        (Value::Text(a), Value::Text(b)) => a.as_bytes().cmp(b.as_bytes()),
        (Value::Blob(a), Value::Blob(b)) => a.cmp(b),
        (Value::Real(a), Value::Real(b)) => a.total_cmp(b),
        (a, b) => kind(a).cmp(&kind(b)),
    });
    each.fold(Ordering::Equal, Ordering::then)
}
