//! A damaged file: the start goes on with what can be read, tells of it, and removes nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use belfry_model::report::{Document, Report};
use belfry_model::{Alert, AlertState, Fingerprint, JournalEntry, Labels, Severity, TimeRange, TimestampMs};
use belfry_state::{JournalQuery, OpenError, SCHEMA_VERSION, Salvaged, State, StateError};
use rusqlite::Connection;

const T0: TimestampMs = TimestampMs(1_700_000_000_000);
const PAGE: usize = 4_096;

type Rows = BTreeMap<String, u64>;

struct Home {
    folder: tempfile::TempDir,
    file: PathBuf,
}

impl Home {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("state.sqlite");
        Self { folder, file }
    }

    /// Names of all that is there, without SQLite's own of the state that is in use.
    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.folder.path()).expect("the folder");
        let names = entries.map(|e| e.expect("an entry").file_name().into_string().expect("a name"));
        let mut names: Vec<String> = names.filter(|n| n != "state.sqlite-wal" && n != "state.sqlite-shm").collect();
        names.sort();
        names
    }

    /// A file as a start finds it: in a folder of its own, as whoever had it before may not have closed it yet.
    fn with(bytes: &[u8]) -> Self {
        let home = Self::new();
        std::fs::write(&home.file, bytes).expect("written");
        home
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn start(&self) -> State {
        State::open(&self.file).expect("it starts")
    }
}

fn alert(n: usize) -> Alert {
    let labels = Labels::from_pairs([("alertname", "hot"), ("core", n.to_string().as_str())]);
    Alert {
        fingerprint: Fingerprint::of(&labels),
        rule: "hot".into(),
        severity: Severity::Error,
        labels,
        annotations: Labels::empty(),
        state: AlertState::Firing,
        value: 95.5,
        active_since: T0,
        fired_at: Some(T0),
        resolved_at: None,
    }
}

fn entry(n: usize) -> JournalEntry {
    JournalEntry::UserAction { user: "ada".into(), action: "reload".into(), subject: format!("subject number {n}") }
}

fn report(n: usize) -> (Report, Vec<Document>) {
    let report = Report {
        name: "weekly".into(),
        title: format!("Week {n}"),
        start: T0,
        end: TimestampMs(T0.0 + 1),
        made_at: T0,
        time_zone: "Europe/Berlin".into(),
        made_up_for: None,
        sections: Vec::new(),
    };
    let documents = (0..2).map(|part| Document {
        file_name: format!("{part}.html"),
        media_type: "text/html".into(),
        data: vec![b'x'; 9_000],
    });
    (report, documents.collect())
}

/// A state with something in every table, as one file without a log.
async fn whole() -> Vec<u8> {
    let home = Home::new();
    let state = State::open(&home.file).unwrap();
    state.journal_append(T0, (0..300).map(entry).collect()).await.unwrap();
    state.persist_alerts((0..40).map(alert).collect(), vec![]).await.unwrap();
    for n in 0..40 {
        state.episode_put(alert(n)).await.unwrap();
    }
    let groups =
        (0..40).map(|n| (format!("group-{n:03}"), Some(format!("{{\"of\":{n},\"text\":\"{}\"}}", "y".repeat(300)))));
    state.persist_notify_groups(T0, groups.collect()).await.unwrap();
    for n in 0..30 {
        state.kv_put("plugin", &format!("key-{n:03}"), Some(vec![7; 500]), 1_000_000).await.unwrap();
        state.component_started(&format!("plugin-{n:03}"), &"d".repeat(200), "1.0", T0).await.unwrap();
        state.rule_group_seen(format!("{n:03}{}", "k".repeat(200)), T0).await.unwrap();
    }
    let alerts = (0..30).map(|n| (format!("rule-{n:03}"), Fingerprint(n), "b".repeat(300)));
    state.persist_rule_alerts(alerts.collect(), vec![]).await.unwrap();
    for n in 0..4 {
        let (report, documents) = report(n);
        state.report_insert(report, None, documents).await.unwrap();
    }
    let texts = (0..3).map(|n| (format!("/rules/{n}.yml"), "t".repeat(6_000)));
    state.keep_rule_texts(texts.collect(), vec![]).await.unwrap();
    let copy = home.at("copy");
    state.backup(&copy).await.unwrap();
    std::fs::read(copy).unwrap()
}

/// Rows of each table.
fn rows(file: &Path) -> Rows {
    let connection = Connection::open(file).unwrap();
    let mut names =
        connection.prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'").unwrap();
    let names: Vec<String> = names.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap();
    let count = |name: &String| {
        let count: i64 = connection.query_row(&format!("SELECT count(*) FROM {name}"), [], |row| row.get(0)).unwrap();
        count as u64
    };
    names.iter().map(|name| (name.clone(), count(name))).collect()
}

/// What a page belongs to.
#[derive(Debug)]
struct Page {
    number: usize,
    of: String,
    kind: String,
    cells: u64,
    is_root: bool,
}

fn pages(bytes: &[u8]) -> Vec<Page> {
    let home = Home::new();
    std::fs::write(&home.file, bytes).unwrap();
    let connection = Connection::open(&home.file).unwrap();
    let mut all = connection.prepare("SELECT pageno, name, pagetype, ncell, path FROM dbstat").unwrap();
    let all = all.query_map([], |row| {
        Ok(Page {
            number: row.get::<_, i64>(0)? as usize,
            of: row.get(1)?,
            kind: row.get(2)?,
            cells: row.get::<_, i64>(3)? as u64,
            is_root: row.get::<_, String>(4)? == "/",
        })
    });
    all.unwrap().collect::<Result<_, _>>().unwrap()
}

fn leaves<'a>(pages: &'a [Page], table: &'a str) -> Vec<&'a Page> {
    pages.iter().filter(|p| p.of == table && p.kind == "leaf").collect()
}

fn xored(bytes: &[u8], page: usize, length: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[(page - 1) * PAGE..][..length].iter_mut().for_each(|byte| *byte ^= 0x5a);
    bytes
}

/// How many rows of a table may be gone with a page: as many as are in it, or below it. With a report its documents go.
fn may_be_lost(page: &Page, table: &str, had: u64) -> u64 {
    match page.kind.as_str() {
        // Of page 1 only the header is damaged here, which is the same in all files.
        _ if page.of == "sqlite_schema" => {
            if page.number == 1 {
                0
            } else {
                had
            }
        }
        _ if page.of == "report" && table == "report_document" => had,
        _ if page.of != table => 0,
        "leaf" => page.cells,
        "overflow" => 1,
        _ => had,
    }
}

trait Told {
    fn of(&self, table: &str) -> (u64, bool);
}

impl Told for Salvaged {
    fn of(&self, table: &str) -> (u64, bool) {
        let found = self.tables.iter().find(|t| t.name == table).expect("every table is told of");
        (found.rows, found.may_lack)
    }
}

#[tokio::test]
async fn one_damaged_page_costs_the_rows_in_it_and_the_start_goes_on() {
    let bytes = whole().await;
    let had = rows(&Home::with(&bytes).file);
    assert!(had.values().all(|n| *n > 0), "{had:?}");
    let all = pages(&bytes);
    assert_eq!(all.len(), bytes.len() / PAGE, "every page is of something");
    for page in all {
        let damaged = xored(&bytes, page.number, 64);
        let home = Home::with(&damaged);
        let state = home.start();
        let told = state.salvaged().unwrap_or_else(|| panic!("{page:?} is found damaged"));
        assert_eq!(std::fs::read(&told.aside).unwrap(), damaged, "{page:?}: it is kept as it was");
        let has = rows(&home.file);
        for (table, had) in &had {
            let lost = had - has[table];
            assert!(lost <= may_be_lost(&page, table, *had), "{page:?}: {lost} of {had} {table}: {told}");
            let (taken, may_lack) = told.of(table);
            assert!(taken == has[table] && (may_lack || lost == 0), "{page:?} {table}: {told}");
        }
        assert_eq!(state.ping().await, Ok(()));
        drop(state);
        assert_eq!(home.start().salvaged(), None, "{page:?}: it is told once");
    }
}

#[tokio::test]
async fn pages_between_two_damaged_ones_are_read() {
    let bytes = whole().await;
    let all = pages(&bytes);
    let journal = leaves(&all, "journal");
    assert!(journal.len() >= 6, "{journal:?}");
    let [first, second, third] = [1, journal.len() / 2, journal.len() - 2].map(|n| journal[n]);
    let damaged = [first, second, third].iter().fold(bytes, |bytes, page| xored(&bytes, page.number, PAGE));
    let home = Home::with(&damaged);
    let state = home.start();
    let told = state.salvaged().unwrap().clone();
    assert_eq!(told.of("journal"), (300 - first.cells - second.cells - third.cells, true), "{told}");
    assert_eq!(told.of("alert"), (40, false), "{told}");
    assert_eq!(state.journal(JournalQuery::default()).await.unwrap().len() as u64, told.of("journal").0);
    let text = told.to_string();
    for part in ["state.sqlite.damaged-", "40 alert", "something may be missing of: journal"] {
        assert!(text.contains(part), "{text}");
    }
}

#[tokio::test]
async fn without_a_list_of_tables_it_begins_anew_and_says_so() {
    let bytes = whole().await;
    for damaged in [xored(&bytes, 1, PAGE), b"garbage".to_vec(), bytes[..PAGE / 2].to_vec(), vec![0; 3 * PAGE]] {
        let home = Home::with(&damaged);
        let state = home.start();
        let told = state.salvaged().unwrap();
        assert!(told.to_string().contains("the state begins anew"), "{told}");
        assert!(told.tables.iter().all(|t| t.rows == 0 && t.may_lack), "{told}");
        assert_eq!(std::fs::read(&told.aside).unwrap(), damaged);
        state.journal_append(T0, vec![entry(0)]).await.unwrap();
    }
}

/// One number in the header that every file has can make SQLite say anything but "damaged".
#[tokio::test]
async fn a_byte_of_the_header_keeps_nothing_from_starting() {
    let bytes = whole().await;
    // But for the last byte of the format: that is one of a later Belfry then.
    for at in (0..100).filter(|at| *at != 63) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0xff;
        let home = Home::with(&damaged);
        let state = home.start();
        assert_eq!(state.alerts().await.unwrap().len(), 40, "byte {at}: {:?}", state.salvaged());
    }
}

#[tokio::test]
async fn a_text_that_is_none_any_more_costs_its_row() {
    let mut bytes = whole().await;
    let place = bytes.windows(9).position(|w| w == b"{\"of\":17,").expect("group 17");
    bytes[place..place + 9].fill(0xff);
    let home = Home::with(&bytes);
    let state = home.start();
    assert_eq!(state.notify_groups().await.unwrap().len(), 39);
    assert_eq!(state.salvaged().unwrap().of("notify_group"), (39, true));
}

/// Where no start reads it, it is left out of what is read.
#[tokio::test]
async fn a_text_that_is_none_does_not_take_the_rest_of_the_journal_or_the_episodes_away() {
    let mut bytes = whole().await;
    for text in [&b"\"subject\":\"subject number 123\""[..], &b"{\"alertname\":\"hot\",\"core\":\"17\"}"[..]] {
        let places = bytes.windows(text.len()).enumerate().filter(|(_, w)| *w == text).map(|(at, _)| at);
        for at in places.collect::<Vec<_>>() {
            bytes[at..at + text.len()].fill(0xff);
        }
    }
    let home = Home::with(&bytes);
    let state = home.start();
    assert_eq!(state.journal(JournalQuery::default()).await.unwrap().len(), 299);
    assert_eq!(state.episodes(TimeRange::ALL).await.unwrap().len(), 39);
}

#[tokio::test]
async fn where_no_new_file_can_be_made_the_damaged_one_stays_and_the_help_says_what_is_wanted() {
    let damaged = xored(&whole().await, 1, PAGE);
    let home = Home::with(&damaged);
    std::fs::create_dir(home.at("state.sqlite.salvaging")).unwrap();
    let refused = State::open(&home.file).unwrap_err();
    assert!(matches!(refused, OpenError::Damaged { .. }), "{refused}");
    assert!(refused.to_string().contains("cannot be put into a new file"), "{refused}");
    assert!(refused.help().contains("there must be room"), "{}", refused.help());
    assert_eq!(std::fs::read(&home.file).unwrap(), damaged);
    std::fs::remove_dir(home.at("state.sqlite.salvaging")).unwrap();
    assert!(home.start().salvaged().is_some(), "it is done once it can be");
}

/// What was committed stands in the log until SQLite moves it.
#[tokio::test]
async fn what_stands_in_the_log_of_a_damaged_file_is_taken_over() {
    let home = Home::new();
    std::fs::write(&home.file, whole().await).unwrap();
    let state = State::open(&home.file).unwrap();
    state.persist_alerts(vec![alert(99)], vec![]).await.unwrap();
    let (file, log) = (std::fs::read(&home.file).unwrap(), std::fs::read(home.at("state.sqlite-wal")));
    let crashed = Home::new();
    let log = log.unwrap();
    let journal = leaves(&pages(&file), "journal")[0].number;
    let damaged = xored(&file, journal, 64);
    std::fs::write(&crashed.file, &damaged).unwrap();
    std::fs::write(crashed.at("state.sqlite-wal"), &log).unwrap();
    let state = State::open(&crashed.file).unwrap();
    let told = state.salvaged().unwrap();
    assert_eq!(told.of("alert"), (41, false), "{told}");
    assert_eq!(std::fs::read(&told.aside).unwrap(), damaged);
    let mut aside = told.aside.clone().into_os_string();
    aside.push("-wal");
    assert_eq!(std::fs::read(aside).unwrap(), log);
}

#[tokio::test]
async fn a_start_that_was_interrupted_is_ended_by_the_next_one() {
    let bytes = whole().await;
    let all = pages(&bytes);
    let damaged = xored(&bytes, leaves(&all, "journal")[2].number, 64);
    let done = Home::with(&damaged);
    done.start().backup(done.at("new")).await.unwrap();
    let new = std::fs::read(done.at("new")).unwrap();
    let aside = "state.sqlite.damaged-20260102T030405Z";
    // As far as it came, and what is in the folder then.
    for (came_to, in_folder) in [
        ("reading", &[("", &damaged), (".salvaging", &new)][..]),
        ("the new file is whole", &[("", &damaged), ("-wal", &new), (".salvaged-20260102T030405Z", &new)]),
        (
            "the log is moved",
            &[("", &damaged), (".damaged-20260102T030405Z-wal", &new), (".salvaged-20260102T030405Z", &new)],
        ),
        ("all is moved", &[(".damaged-20260102T030405Z", &damaged), (".salvaged-20260102T030405Z", &new)]),
    ] {
        let home = Home::new();
        for (ending, bytes) in in_folder {
            std::fs::write(home.at(&format!("state.sqlite{ending}")), bytes).unwrap();
        }
        let state = home.start();
        let told = state.salvaged().unwrap_or_else(|| panic!("{came_to}: it is told"));
        assert_eq!(std::fs::read(&told.aside).unwrap(), damaged, "{came_to}");
        assert_eq!(told.aside.ends_with(aside), came_to != "reading", "{came_to}: {told}");
        assert_eq!(rows(&home.file), rows(&done.file), "{came_to}");
        assert!(!home.names().iter().any(|n| n.contains("salvag")), "{came_to}: {:?}", home.names());
        let has_log = home.at(&format!("{aside}-wal")).exists();
        assert_eq!(has_log, came_to.starts_with("the"), "{came_to}: {:?}", home.names());
    }
}

/// A start that was killed after it had moved all, and before anybody could read of it.
#[tokio::test]
async fn what_was_done_and_not_told_is_told_by_the_next_start() {
    let bytes = whole().await;
    for (is_kept, ending) in [(true, "20260102T030405Z"), (false, "20260102T030405Z-2")] {
        let home = Home::with(&bytes);
        let aside = home.at(&format!("state.sqlite.damaged-{ending}"));
        if is_kept {
            std::fs::write(&aside, "the damaged one").unwrap();
        }
        for left in [&format!("salvage-untold-{ending}"), "salvaging-from", "salvaging-from-wal", "salvaging"] {
            std::fs::write(home.at(&format!("state.sqlite.{left}")), "").unwrap();
        }
        let state = home.start();
        let told = state.salvaged().map(|told| (told.aside.clone(), told.of("alert")));
        assert_eq!(told, is_kept.then_some((aside, (40, true))));
        assert!(!home.names().iter().any(|n| n.contains("salvag")), "{:?}", home.names());
        drop(state);
        assert_eq!(home.start().salvaged(), None, "it is told once");
    }
}

#[tokio::test]
async fn earlier_damaged_files_are_kept_and_counted() {
    let home = Home::with(&xored(&whole().await, 1, PAGE));
    let earlier = ["state.sqlite.damaged-20250102T030405Z", "state.sqlite.damaged-20260102T030405Z"];
    for name in earlier {
        std::fs::write(home.at(name), name).unwrap();
        std::fs::write(home.at(&format!("{name}-wal")), "its log").unwrap();
    }
    let state = home.start();
    let told = state.salvaged().unwrap();
    assert_eq!(told.kept, 3, "{:?}", home.names());
    assert!(told.help().contains("3 such files"), "{}", told.help());
    for name in earlier {
        assert_eq!(std::fs::read_to_string(home.at(name)).unwrap(), name);
    }
}

#[tokio::test]
async fn a_check_finds_the_damage_that_a_start_finds_and_changes_nothing() {
    let bytes = whole().await;
    let home = Home::new();
    std::fs::write(&home.file, &bytes).unwrap();
    State::check(&home.file).unwrap();
    for page in pages(&bytes) {
        let damaged = xored(&bytes, page.number, 64);
        std::fs::write(&home.file, &damaged).unwrap();
        let found = State::check(&home.file).unwrap_err();
        assert!(matches!(found, OpenError::Damaged { .. }), "{page:?}: {found}");
        assert!(
            found.to_string().contains("state.sqlite is damaged") && found.help().contains("takes over"),
            "{found}"
        );
        assert_eq!(std::fs::read(&home.file).unwrap(), damaged);
        assert_eq!(home.names(), ["state.sqlite"]);
        assert_eq!(std::fs::read_dir(home.folder.path()).unwrap().count(), 1, "{page:?}");
    }
}

/// In a log each page stands behind 24 bytes that begin with its number; <https://www.sqlite.org/fileformat.html#walformat>.
fn has_page(log: &[u8], number: usize) -> bool {
    log[32..].chunks_exact(24 + PAGE).any(|frame| frame[..4] == (number as u32).to_be_bytes())
}

/// What a `kill -9` leaves; beside it there need be no `-shm`.
#[tokio::test]
async fn a_check_looks_into_the_log_and_changes_neither() {
    let home = Home::with(&whole().await);
    let state = home.start();
    state.persist_alerts(vec![alert(99)], vec![]).await.unwrap();
    let (file, log) = (std::fs::read(&home.file).unwrap(), std::fs::read(home.at("state.sqlite-wal")).unwrap());
    State::check(&home.file).unwrap();
    let journal = leaves(&pages(&file), "journal")[0].number;
    // What is in the log counts there, whatever the file has in its place.
    let all = pages(&file);
    let in_log = leaves(&all, "alert").into_iter().map(|p| p.number).find(|n| has_page(&log, *n));
    assert!(in_log.is_some(), "the alert is in the log");
    for (page, is_damaged) in [(None, false), (in_log, false), (Some(1), true), (Some(journal), true)] {
        let file = page.map_or(file.clone(), |page| xored(&file, page, 64));
        let home = Home::with(&file);
        std::fs::write(home.at("state.sqlite-wal"), &log).unwrap();
        let checked = State::check(&home.file);
        assert_eq!(matches!(checked, Err(OpenError::Damaged { .. })), is_damaged, "{page:?}: {checked:?}");
        assert_eq!(checked.is_err(), is_damaged, "{page:?}: {checked:?}");
        assert_eq!(std::fs::read(&home.file).unwrap(), file, "{page:?}");
        assert_eq!(std::fs::read(home.at("state.sqlite-wal")).unwrap(), log, "{page:?}");
        assert_eq!(std::fs::read_dir(home.folder.path()).unwrap().count(), 2, "{page:?}");
        assert_eq!(home.start().salvaged().is_some(), is_damaged, "{page:?}: as the start finds it");
    }
}

#[tokio::test]
async fn what_is_newer_or_held_by_others_is_not_damaged() {
    let home = Home::new();
    std::fs::write(&home.file, whole().await).unwrap();
    let connection = Connection::open(&home.file).unwrap();
    connection.pragma_update(None, "user_version", SCHEMA_VERSION + 1).unwrap();
    assert!(matches!(State::open(&home.file), Err(OpenError::Newer { .. })));
    connection.pragma_update(None, "user_version", SCHEMA_VERSION).unwrap();
    connection.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let held = State::open(&home.file).unwrap_err();
    assert!(matches!(held, OpenError::InUse { .. }), "{held}");
    assert!(!home.names().iter().any(|n| n.contains("damaged")), "{:?}", home.names());
}

#[tokio::test]
async fn damage_that_is_met_while_it_runs_names_the_file_and_the_way_out() {
    let bytes = whole().await;
    let home = Home::with(&bytes);
    let state = home.start();
    let all = pages(&bytes);
    let alerts = all.iter().find(|p| p.of == "alert" && p.is_root).expect("a root").number;
    std::fs::write(&home.file, xored(&std::fs::read(&home.file).unwrap(), alerts, PAGE)).unwrap();
    let met = state.alerts().await.unwrap_err();
    assert!(matches!(met, StateError::Damaged(_)), "{met:?}");
    for told in [met.to_string(), state.damage().unwrap()] {
        assert!(told.contains("state.sqlite: ") && told.contains("restart Belfry"), "{told}");
    }
    let copy = state.backup(home.at("copy")).await.unwrap_err();
    assert!(copy.to_string().contains("restart Belfry"), "{copy}");
    assert_eq!(home.names(), ["state.sqlite"], "nothing of the copy is left");
}
