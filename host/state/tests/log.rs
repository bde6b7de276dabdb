//! A damaged log: what was committed in it is read, or it is told that something may be missing. A log that a crash has torn
//! is none.

use std::path::PathBuf;

use belfry_model::{JournalEntry, TimestampMs};
use belfry_state::{JournalQuery, OpenError, State};
use rusqlite::Connection;

const T0: TimestampMs = TimestampMs(1_700_000_000_000);
const FRAME: usize = 24 + 4_096;
const HEADER: usize = 32;

/// The file and its log.
#[derive(Clone)]
struct Bytes {
    file: Option<Vec<u8>>,
    log: Vec<u8>,
}

struct Home {
    folder: tempfile::TempDir,
    file: PathBuf,
}

impl Home {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("state.sqlite");
        Self { folder, file }
    }

    /// What a `kill -9` leaves; beside it there need be no `-shm`.
    fn with(bytes: &Bytes) -> Self {
        let home = Self::new();
        if let Some(file) = &bytes.file {
            std::fs::write(&home.file, file).unwrap();
        }
        std::fs::write(home.log(), &bytes.log).unwrap();
        home
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("state.sqlite-wal")
    }

    fn bytes(&self) -> Bytes {
        Bytes { file: std::fs::read(&self.file).ok(), log: std::fs::read(self.log()).unwrap_or_default() }
    }

    /// Entries of the journal, as SQLite finds them.
    fn rows(&self) -> usize {
        let connection = Connection::open(&self.file).unwrap();
        connection.query_row("SELECT count(*) FROM journal", [], |row| row.get::<_, u32>(0)).unwrap() as usize
    }

    fn names(&self) -> usize {
        std::fs::read_dir(self.folder.path()).unwrap().count()
    }
}

async fn append(state: &State, n: usize) {
    let entry = JournalEntry::UserAction {
        user: "ada".into(),
        action: "reload".into(),
        subject: format!("number {n} {}", "x".repeat(2_000)),
    };
    state.journal_append(T0, vec![entry]).await.unwrap();
}

async fn entries(state: &State) -> usize {
    state.journal(JournalQuery::default()).await.unwrap().len()
}

/// Six commits that are not in the file yet.
async fn killed() -> Bytes {
    let home = Home::new();
    let state = State::open(&home.file).unwrap();
    state.close().await.unwrap();
    for n in 0..6 {
        append(&state, n).await;
    }
    home.bytes()
}

/// The same, with all there ever was.
async fn killed_at_its_first_run() -> Bytes {
    let home = Home::new();
    let state = State::open(&home.file).unwrap();
    for n in 0..6 {
        append(&state, n).await;
    }
    home.bytes()
}

/// The same, where the log was begun anew since, and frames from before stand behind its end.
async fn killed_after_a_log_begun_anew() -> Bytes {
    let home = Home::new();
    let state = State::open(&home.file).unwrap();
    state.close().await.unwrap();
    for n in 0..3 {
        append(&state, n).await;
    }
    let other = Connection::open(&home.file).unwrap();
    other.query_row("PRAGMA wal_checkpoint(RESTART)", [], |_| Ok(())).unwrap();
    for n in 3..6 {
        append(&state, n).await;
    }
    home.bytes()
}

/// Frames that a start reads: those with the header's salts.
fn frames(log: &[u8]) -> usize {
    log[HEADER..].chunks_exact(FRAME).take_while(|frame| frame[8..16] == log[16..24]).count()
}

fn is_damaged(found: &Result<(), OpenError>) -> bool {
    matches!(found, Err(OpenError::Damaged { .. }))
}

#[tokio::test]
async fn a_clean_stop_leaves_all_of_it_in_the_file() {
    let home = Home::new();
    let state = State::open(&home.file).unwrap();
    for n in 0..6 {
        append(&state, n).await;
    }
    assert!(std::fs::metadata(home.log()).unwrap().len() > 0);
    state.close().await.unwrap();
    assert_eq!(std::fs::metadata(home.log()).unwrap().len(), 0);
    let alone = Home::with(&Bytes { log: Vec::new(), ..home.bytes() });
    assert_eq!(entries(&State::open(&alone.file).unwrap()).await, 6);
    // Somebody may be late.
    append(&state, 6).await;
    assert_eq!(entries(&State::open(&Home::with(&home.bytes()).file).unwrap()).await, 7);
    State::in_memory().unwrap().close().await.unwrap();
}

/// The last frame alone may be one that a crash interrupted.
#[tokio::test]
async fn with_any_bit_of_the_log_wrong_nothing_is_lost_or_it_is_told() {
    for bytes in [killed().await, killed_after_a_log_begun_anew().await] {
        let last = HEADER + (frames(&bytes.log) - 1) * FRAME;
        assert!(last > HEADER + 4 * FRAME, "{last}");
        let (mut told, mut kept) = (0, 0);
        // The headers are looked at byte by byte.
        let headers = (0..HEADER).chain((0..=last).step_by(FRAME).flat_map(|at| at + HEADER..at + HEADER + 24));
        for at in (0..bytes.log.len()).step_by(97).chain(headers) {
            let mut damaged = bytes.clone();
            damaged.log[at] ^= 1 << (at % 8);
            let home = Home::with(&damaged);
            let checked = State::check(&home.file);
            assert_eq!(home.bytes().log, damaged.log, "byte {at}: a check changes nothing");
            assert_eq!((home.bytes().file, home.names()), (damaged.file.clone(), 2), "byte {at}");
            if !is_damaged(&checked) {
                kept += 1;
                let is_in_last = (last..last + FRAME).contains(&at);
                assert!(Home::with(&damaged).rows() == 6 || is_in_last, "byte {at} of {}", bytes.log.len());
            } else {
                told += 1;
            }
            // A start takes longer.
            if at % 13 != 0 {
                continue;
            }
            let state = State::open(&home.file).unwrap();
            assert_eq!(is_damaged(&checked), state.salvaged().is_some(), "byte {at}: {checked:?}");
            match state.salvaged() {
                Some(salvaged) => {
                    assert!(
                        salvaged.to_string().contains("the newest changes may be missing"),
                        "byte {at}: {salvaged}"
                    );
                    assert!(salvaged.tables.iter().all(|t| t.may_lack), "byte {at}: {salvaged}");
                    assert_eq!(std::fs::read(&salvaged.aside).ok(), damaged.file);
                    let mut log = salvaged.aside.clone().into_os_string();
                    log.push("-wal");
                    assert_eq!(std::fs::read(log).unwrap(), damaged.log, "byte {at}: it is kept as it was");
                }
                None => assert_eq!(entries(&state).await, Home::with(&damaged).rows(), "byte {at}"),
            }
        }
        assert!(told > 200 && kept > 20, "{told} {kept}");
    }
}

#[tokio::test]
async fn a_log_that_a_crash_has_torn_anywhere_is_no_damage() {
    for bytes in [killed().await, killed_after_a_log_begun_anew().await] {
        let frames = frames(&bytes.log);
        for end in (0..bytes.log.len()).step_by(89).chain((0..frames).map(|n| HEADER + n * FRAME)) {
            // The system cuts it, or has not written over what stood there.
            let mut cut = bytes.clone();
            cut.log.truncate(end);
            let mut rest = cut.clone();
            rest.log.resize(bytes.log.len(), 0);
            for (how, torn) in [("cut", cut), ("zeros", rest)] {
                if how == "zeros" && end < HEADER {
                    continue;
                }
                let home = Home::with(&torn);
                assert!(!is_damaged(&State::check(&home.file)), "{how} at {end}");
                // A start takes longer.
                if end % 13 == 0 {
                    let state = State::open(&home.file).unwrap();
                    assert_eq!(state.salvaged(), None, "{how} at {end}");
                }
            }
        }
    }
}

/// SQLite removes the log of an empty file, unasked.
#[tokio::test]
async fn an_empty_or_missing_file_beside_a_log_is_damage_and_what_the_log_has_is_taken_over() {
    let bytes = killed_at_its_first_run().await;
    for file in [None, Some(0), Some(1), Some(99)] {
        let damaged = Bytes { file: file.map(|n| bytes.file.as_ref().unwrap()[..n].to_vec()), ..bytes.clone() };
        let home = Home::with(&damaged);
        let checked = State::check(&home.file);
        assert!(is_damaged(&checked), "{file:?}: {checked:?}");
        assert_eq!((home.bytes().file, home.bytes().log), (damaged.file.clone(), damaged.log.clone()), "{file:?}");
        let state = State::open(&home.file).unwrap();
        let told = state.salvaged().unwrap_or_else(|| panic!("{file:?}: it is told"));
        assert_eq!(entries(&state).await, 6, "{file:?}: {told}");
        assert_eq!(std::fs::read(&told.aside).unwrap(), damaged.file.unwrap_or_default(), "{file:?}");
        let mut log = told.aside.clone().into_os_string();
        log.push("-wal");
        assert_eq!(std::fs::read(log).unwrap(), damaged.log, "{file:?}");
    }
    // Without a log there was nothing.
    for (file, log) in [(None, 0), (Some(0), 0), (None, 1)] {
        let home = Home::new();
        if let Some(n) = file {
            std::fs::write(&home.file, vec![0; n]).unwrap();
        }
        std::fs::write(home.log(), vec![7; log]).unwrap();
        assert_eq!(State::check(&home.file).is_ok(), log == 0);
        let state = State::open(&home.file).unwrap();
        assert_eq!(state.salvaged().is_some(), log > 0);
        assert_eq!(entries(&state).await, 0);
    }
}
