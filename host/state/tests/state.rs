//! The state as others use it: what is told to be kept is there after it is opened again.

use std::time::Duration;

use belfry_model::report::{Document, Report, Section};
use belfry_model::{
    Alert, AlertEvent, AlertState, Fingerprint, JournalEntry, Labels, Severity, TimeRange, TimestampMs,
};
use belfry_state::{
    ComponentRun, JournalQuery, KV_KEY_BYTES_MAX, OpenError, RULE_TEXTS_BYTES_MAX, Retention, SCHEMA_VERSION, State,
    StateError,
};

const T0: TimestampMs = TimestampMs(1_700_000_000_000);
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);

fn at(minutes: u32) -> TimestampMs {
    T0 + MINUTE * minutes
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

fn alert(core: &str, state: AlertState, since: TimestampMs) -> Alert {
    let labels = Labels::from_pairs([("alertname", "hot"), ("core", core)]);
    Alert {
        fingerprint: Fingerprint::of(&labels),
        rule: "hot".into(),
        severity: Severity::Error,
        labels,
        annotations: Labels::empty(),
        state,
        value: 95.5,
        active_since: since,
        fired_at: matches!(state, AlertState::Firing | AlertState::Resolved).then(|| since + MINUTE),
        resolved_at: (state == AlertState::Resolved).then(|| since + MINUTE * 5),
    }
}

fn user_action(n: usize) -> JournalEntry {
    JournalEntry::UserAction { user: "ada".into(), action: "reload".into(), subject: format!("s{n}") }
}

/// Every test of behaviour runs on a file and in memory: callers cannot tell them apart.
async fn on_both(test: impl AsyncFn(State)) {
    let folder = folder();
    test(State::open(folder.path().join("state.db")).unwrap()).await;
    test(State::in_memory().unwrap()).await;
}

#[tokio::test]
async fn what_was_kept_is_there_after_a_restart() {
    let folder = folder();
    let path = folder.path().join("state.db");
    let firing = alert("0", AlertState::Firing, T0);
    {
        let state = State::open(&path).unwrap();
        state.persist_alerts(vec![firing.clone()], vec![]).await.unwrap();
        state.persist_notify_groups(T0, vec![("k".into(), Some("{}".into()))]).await.unwrap();
        state.kv_put("p", "cursor", Some(b"7".to_vec()), 100).await.unwrap();
        state.journal_append(T0, vec![user_action(1)]).await.unwrap();
    }
    let state = State::open(&path).unwrap();
    assert_eq!(state.alerts().await.unwrap(), [firing]);
    assert_eq!(state.notify_groups().await.unwrap(), [("k".to_owned(), "{}".to_owned())]);
    assert_eq!(state.kv_get("p", "cursor").await.unwrap(), Some(b"7".to_vec()));
    assert_eq!(state.journal(JournalQuery::default()).await.unwrap()[0].entry, user_action(1));
}

#[tokio::test]
async fn alerts_are_put_and_removed_by_rule_and_fingerprint() {
    on_both(async |state| {
        let (a, b) = (alert("0", AlertState::Pending, T0), alert("1", AlertState::Firing, T0));
        state.persist_alerts(vec![a.clone(), b.clone()], vec![]).await.unwrap();
        let fired = alert("0", AlertState::Firing, T0);
        state.persist_alerts(vec![fired.clone()], vec![("hot".into(), b.fingerprint)]).await.unwrap();
        assert_eq!(state.alerts().await.unwrap(), [fired]);
    })
    .await;
}

#[tokio::test]
async fn the_journal_is_read_by_time_kind_and_subject_newest_first() {
    on_both(async |state| {
        for n in 0..10 {
            state.journal_append(at(n as u32), vec![user_action(n)]).await.unwrap();
        }
        let event = AlertEvent { at: at(3), from: AlertState::Pending, alert: alert("0", AlertState::Firing, at(2)) };
        state.alert_event(event.clone()).await.unwrap();

        let hour = TimeRange::new(at(2), at(5));
        let found = state.journal(JournalQuery { range: hour, ..Default::default() }).await.unwrap();
        assert_eq!(found.len(), 4);
        assert!(found.windows(2).all(|w| w[0].id > w[1].id));

        let query = JournalQuery { kind: Some("transition".into()), subject: Some("hot".into()), ..Default::default() };
        assert_eq!(state.journal(query).await.unwrap()[0].entry, JournalEntry::Transition(event));

        let page = state.journal(JournalQuery { limit: 3, ..Default::default() }).await.unwrap();
        let before_id = page.last().map(|r| r.id);
        let next = state.journal(JournalQuery { before_id, limit: 3, ..Default::default() }).await.unwrap();
        assert!(next.iter().all(|r| r.id < before_id.unwrap()) && next.len() == 3);
    })
    .await;
}

#[tokio::test]
async fn episodes_tell_an_alerts_past_and_may_be_told_twice() {
    on_both(async |state| {
        let tell = async |minute, core: &str, alert_state, since| {
            let event =
                AlertEvent { at: at(minute), from: AlertState::Inactive, alert: alert(core, alert_state, since) };
            state.alert_event(event.clone()).await.unwrap();
            state.alert_event(event).await.unwrap();
        };
        tell(0, "0", AlertState::Pending, at(0)).await;
        tell(1, "0", AlertState::Firing, at(0)).await;
        tell(5, "0", AlertState::Resolved, at(0)).await;
        // One that never fired leaves nothing behind.
        tell(10, "1", AlertState::Pending, at(10)).await;
        tell(11, "1", AlertState::Inactive, at(10)).await;
        // One whose end nobody saw ends at the latest when the next begins.
        tell(20, "2", AlertState::Firing, at(20)).await;
        tell(40, "2", AlertState::Firing, at(40)).await;

        let all = state.episodes(TimeRange::ALL).await.unwrap();
        let times: Vec<_> = all
            .iter()
            .map(|e| {
                let minutes = |t: TimestampMs| t.since(T0).as_secs() / 60;
                (e.labels.get("core").unwrap().to_owned(), minutes(e.started), e.resolved.map(minutes))
            })
            .collect();
        assert_eq!(times, [("2".into(), 40, None), ("2".into(), 20, Some(40)), ("0".into(), 0, Some(5))]);
        assert_eq!(all[2].severity, "error");

        let overlapping = |from, to| state.episodes(TimeRange::new(at(from), at(to)).unwrap());
        assert_eq!(overlapping(3, 4).await.unwrap().len(), 1);
        assert_eq!(overlapping(6, 20).await.unwrap().len(), 0);
        assert_eq!(overlapping(50, 60).await.unwrap().len(), 1);
    })
    .await;
}

#[tokio::test]
async fn notify_groups_are_replaced_and_forgotten_together() {
    on_both(async |state| {
        let put = |key: &str, body: &str| (key.to_owned(), Some(body.to_owned()));
        state.persist_notify_groups(T0, vec![put("a", "1"), put("b", "1")]).await.unwrap();
        state.persist_notify_groups(T0, vec![put("b", "2"), ("a".into(), None)]).await.unwrap();
        assert_eq!(state.notify_groups().await.unwrap(), [("b".to_owned(), "2".to_owned())]);
    })
    .await;
}

#[tokio::test]
async fn a_plugins_keys_are_its_own_and_bounded() {
    on_both(async |state| {
        let put = |plugin, key, bytes| state.kv_put(plugin, key, Some(vec![0; bytes]), 100);
        put("a", "x/1", 50).await.unwrap();
        put("a", "x/2", 30).await.unwrap();
        put("b", "x/1", 90).await.unwrap();
        assert_eq!(
            put("a", "y", 20).await,
            Err(StateError::KvFull { plugin: "a".into(), bytes: 50 + 30 + 6 + 20 + 1, limit: 100 })
        );
        put("a", "x/1", 60).await.expect("replacing counts the new value alone");
        assert_eq!(state.kv_keys("a", "x/").await.unwrap(), ["x/1", "x/2"]);
        assert_eq!(state.kv_keys("a", "").await.unwrap().len(), 2);
        assert_eq!(state.kv_keys("a", "%").await.unwrap().len(), 0, "a prefix is no pattern");
        state.kv_put("a", "x/1", None, 100).await.unwrap();
        assert_eq!(state.kv_get("a", "x/1").await.unwrap(), None);
        assert_eq!(state.kv_get("b", "x/1").await.unwrap(), Some(vec![0; 90]));
        let long = "k".repeat(KV_KEY_BYTES_MAX + 1);
        assert!(matches!(put("a", &long, 1).await, Err(StateError::KeyTooLong { .. })));
        state.kv_clear("b").await.unwrap();
        assert_eq!(state.kv_get("b", "x/1").await.unwrap(), None);
    })
    .await;
}

#[tokio::test]
async fn component_history_says_what_ran_when() {
    on_both(async |state| {
        state.component_started("p", "d1", "1.0", at(0)).await.unwrap();
        state.component_started("p", "d1", "1.0", at(1)).await.unwrap();
        state.component_started("p", "d2", "1.1", at(2)).await.unwrap();
        state.component_ended("p", at(3)).await.unwrap();
        state.component_started("q", "d1", "1.0", at(4)).await.unwrap();
        let run = |digest: &str, version: &str, from, to| ComponentRun {
            plugin: "p".into(),
            digest: digest.into(),
            version: version.into(),
            from: at(from),
            to: Some(at(to)),
        };
        assert_eq!(state.component_history(Some("p")).await.unwrap(), [run("d2", "1.1", 2, 3), run("d1", "1.0", 0, 2)]);
        assert_eq!(state.component_history(None).await.unwrap().len(), 3);
    })
    .await;
}

fn report(name: &str, made_at: TimestampMs) -> (Report, Vec<Document>) {
    let report = Report {
        name: name.into(),
        title: "Daily".into(),
        start: made_at - DAY,
        end: made_at,
        made_at,
        time_zone: "Europe/Berlin".into(),
        made_up_for: None,
        sections: Vec::new(),
    };
    let document = |file_name: &str, media_type: &str| Document {
        media_type: media_type.into(),
        file_name: file_name.into(),
        data: b"<p>".to_vec(),
    };
    (report, vec![document("daily.json", "application/json"), document("daily.html", "text/html")])
}

#[tokio::test]
async fn the_archive_tells_of_failed_sections_and_made_up_runs_page_by_page() {
    on_both(async |state| {
        let (mut late, _) = report("daily", at(5));
        late.made_up_for = Some(at(1));
        let section = |outcome| Section { title: "s".into(), plugin: "p".into(), outcome };
        late.sections = vec![section(Ok(Vec::new())), section(Err("it trapped".into()))];
        let first = state.report_insert(late, Some(at(1)), vec![]).await.unwrap();
        let second = state.report_insert(report("daily", at(9)).0, Some(at(9)), vec![]).await.unwrap();

        let newest = state.reports(None, None, 1).await.unwrap();
        assert_eq!((newest[0].id, newest[0].failed_sections, newest[0].made_up_for), (second, 0, None));
        let next_page = state.reports(None, Some(second), 1).await.unwrap();
        assert_eq!((next_page[0].id, next_page[0].failed_sections), (first, 1));
        assert_eq!(next_page[0].made_up_for, Some(at(1)));
    })
    .await;
}

#[tokio::test]
async fn reports_are_archived_with_their_files() {
    on_both(async |state| {
        let (first, documents) = report("daily", at(0));
        let id = state.report_insert(first.clone(), Some(at(0)), documents.clone()).await.unwrap();
        let by_hand = report("daily", at(10)).0;
        state.report_insert(by_hand, None, vec![]).await.unwrap();
        state.report_insert(report("weekly", at(20)).0, Some(at(20)), vec![]).await.unwrap();

        assert_eq!(state.report_last_due("daily").await.unwrap(), Some(at(0)));
        assert_eq!(state.report_last_due("never").await.unwrap(), None);
        assert_eq!(state.reports(None, None, 0).await.unwrap().len(), 3);
        let daily = state.reports(Some("daily"), None, 0).await.unwrap();
        assert_eq!(daily.iter().map(|r| r.made_at).collect::<Vec<_>>(), [at(10), at(0)]);
        let files: Vec<_> = daily[1].documents.iter().map(|d| (d.file_name.as_str(), d.bytes)).collect();
        assert_eq!(files, [("daily.html", 3), ("daily.json", 3)]);

        assert_eq!(state.report(id).await.unwrap().unwrap().1, first);
        assert_eq!(state.report_document(id, "daily.html").await.unwrap(), Some(documents[1].clone()));
        assert_eq!(state.report_document(id, "../daily.html").await.unwrap(), None);
        assert!(state.report_remove(id).await.unwrap());
        assert_eq!(state.report_document(id, "daily.html").await.unwrap(), None, "its files went with it");
    })
    .await;
}

#[tokio::test]
async fn what_is_old_or_too_many_is_pruned_and_nothing_else() {
    on_both(async |state| {
        let now = T0 + DAY * 1000;
        let old = now - DAY * 401;
        for n in 0..5 {
            state.journal_append(if n < 2 { old } else { now }, vec![user_action(n)]).await.unwrap();
        }
        state.episode_put(alert("0", AlertState::Resolved, old)).await.unwrap();
        state.episode_put(alert("1", AlertState::Firing, old)).await.unwrap();
        for n in 0..4 {
            let (report, documents) = report("daily", now - MINUTE * n);
            state.report_insert(report, None, documents).await.unwrap();
        }
        state.component_started("p", "d1", "1", old - DAY).await.unwrap();
        state.component_started("p", "d2", "1", old).await.unwrap();

        let retention = Retention { journal_rows: 2, reports_per_name: 3, ..Retention::default() };
        let pruned = state.prune(now, retention).await.unwrap();
        assert_eq!((pruned.journal, pruned.episodes, pruned.reports, pruned.components), (3, 1, 1, 1));
        assert_eq!(state.prune(now, retention).await.unwrap(), belfry_state::Pruned::default());
        let open = state.episodes(TimeRange::ALL).await.unwrap();
        assert_eq!(open.len(), 1, "what still fires is kept, however old");
        assert_eq!(state.reports(None, None, 0).await.unwrap().last().unwrap().made_at, now - MINUTE * 2);
    })
    .await;
}

#[tokio::test]
async fn a_backup_is_a_whole_state_and_replaces_the_one_before() {
    let folder = folder();
    let state = State::open(folder.path().join("state.db")).unwrap();
    let copy = folder.path().join("copy.db");
    for n in 0..2 {
        state.persist_alerts(vec![alert(&n.to_string(), AlertState::Firing, T0)], vec![]).await.unwrap();
        state.backup(&copy).await.unwrap();
    }
    let restored = State::open(&copy).unwrap();
    assert_eq!(restored.alerts().await.unwrap(), state.alerts().await.unwrap());
    assert_eq!(restored.alerts().await.unwrap().len(), 2);
    assert!(!folder.path().join("copy.db.partial").exists());
    let err = state.backup(folder.path().join("no/such/folder/copy.db")).await.unwrap_err();
    assert!(matches!(err, StateError::Failed(_)), "{err}");
}

#[tokio::test]
async fn writes_that_wait_together_share_a_commit_and_one_that_fails_fails_alone() {
    let folder = folder();
    let state = State::open(folder.path().join("state.db")).unwrap();
    let tasks: Vec<_> = (0..500)
        .map(|n| {
            let state = state.clone();
            tokio::spawn(async move {
                // Every fifth is refused.
                let limit = if n % 5 == 0 { 1 } else { 100 };
                state.kv_put(&format!("p{n}"), "k", Some(vec![1; 10]), limit).await
            })
        })
        .collect();
    let mut refused = 0;
    for task in tasks {
        refused += usize::from(task.await.unwrap().is_err());
    }
    assert_eq!(refused, 100);
    for n in 0..500 {
        let kept = state.kv_get(&format!("p{n}"), "k").await.unwrap().is_some();
        assert_eq!(kept, n % 5 != 0, "{n}");
    }
    let stats = state.stats();
    assert!(stats.commits < stats.writes, "{stats:?}");
    assert_eq!((stats.failures, stats.waiting), (0, 0), "a refusal is no failure");
    assert!(stats.bytes > 0);
}

#[tokio::test]
async fn a_check_finds_nothing_wrong_with_what_can_be_opened_and_changes_nothing() {
    let folder = folder();
    let file = folder.path().join("state.db");
    State::check(&file).unwrap();
    assert!(!file.exists());
    // A copy stands in no log.
    State::open(folder.path().join("other.db")).unwrap().backup(&file).await.unwrap();
    let others = std::fs::read_dir(folder.path()).unwrap().count();
    let before = std::fs::read(&file).unwrap();
    State::check(&file).unwrap();
    assert_eq!(std::fs::read(&file).unwrap(), before);
    assert!(std::fs::read_dir(folder.path()).unwrap().count() <= others);
    std::fs::write(&file, "garbage").unwrap();
    assert!(matches!(State::check(&file), Err(OpenError::Damaged { .. })));
    std::fs::write(&file, "").unwrap();
    State::check(&file).unwrap();
    let err = State::check(folder.path()).unwrap_err();
    assert!(matches!(err, OpenError::NotWritable { .. }), "{err}");
}

#[tokio::test]
async fn a_file_that_cannot_be_used_says_why_and_what_to_do() {
    let folder = folder();
    let newer = folder.path().join("newer.db");
    let connection = rusqlite::Connection::open(&newer).unwrap();
    connection.pragma_update(None, "user_version", SCHEMA_VERSION + 1).unwrap();
    drop(connection);
    let told = State::check(&newer).unwrap_err().to_string();
    assert!(matches!(State::open(&newer), Err(e @ OpenError::Newer { .. }) if e.to_string() == told), "{told}");

    let err = State::open(folder.path().join("missing/state.db")).unwrap_err();
    assert!(matches!(err, OpenError::NotWritable { .. }), "{err}");
}

/// What is on the disk when a write has been answered is enough: a copy of the files taken then, as after a crash,
/// opens and has it.
#[tokio::test]
async fn an_answered_write_is_in_the_files() {
    let folder = folder();
    let path = folder.path().join("state.db");
    let state = State::open(&path).unwrap();
    for n in 0..20 {
        let key = n.to_string();
        state.persist_notify_groups(T0, vec![(key.clone(), Some("x".into()))]).await.unwrap();
        let crashed = tempfile::tempdir().unwrap();
        for suffix in ["", "-wal"] {
            let name = format!("state.db{suffix}");
            std::fs::copy(folder.path().join(&name), crashed.path().join(&name)).unwrap();
        }
        let reopened = State::open(crashed.path().join("state.db")).unwrap();
        assert!(reopened.notify_groups().await.unwrap().iter().any(|(k, _)| *k == key), "write {n}");
    }
}

#[tokio::test]
async fn alerts_of_rule_files_and_the_times_of_their_groups_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let state = State::open(folder.path().join("state.db")).unwrap();
    let row = |rule: &str, n: u64, body: &str| (rule.to_owned(), Fingerprint(n), body.to_owned());
    state.persist_rule_alerts(vec![row("a", 1, "x"), row("a", 2, "y"), row("b", 1, "z")], Vec::new()).await.unwrap();
    state.persist_rule_alerts(vec![row("a", 2, "w")], vec![("a".to_owned(), Fingerprint(1))]).await.unwrap();
    state.rule_group_seen("g".to_owned(), TimestampMs(1)).await.unwrap();
    state.rule_group_seen("g".to_owned(), TimestampMs(2)).await.unwrap();
    drop(state);
    let state = State::open(folder.path().join("state.db")).unwrap();
    assert_eq!(state.rule_alerts().await.unwrap(), ["w", "z"]);
    assert_eq!(state.rule_groups().await.unwrap(), [("g".to_owned(), TimestampMs(2))]);
}

fn texts(all: &[(&str, &str)]) -> Vec<(String, String)> {
    all.iter().map(|(path, body)| ((*path).to_owned(), (*body).to_owned())).collect()
}

#[tokio::test]
async fn the_last_good_text_of_a_rule_file_is_kept_over_a_restart_and_in_a_backup() {
    let folder = folder();
    let path = folder.path().join("state.db");
    let state = State::open(&path).unwrap();
    let kept = state.keep_rule_texts(texts(&[("a.yml", "1"), ("b.yml", "2"), ("c.yml", "3")]), Vec::new()).await;
    assert_eq!(kept.unwrap(), [""; 0]);
    state.keep_rule_texts(texts(&[("b.yml", "2 again")]), vec!["a.yml".to_owned()]).await.unwrap();
    state.backup(folder.path().join("copy.db")).await.unwrap();
    drop(state);
    for name in ["state.db", "copy.db"] {
        let state = State::open(folder.path().join(name)).unwrap();
        assert_eq!(state.rule_texts().await.unwrap(), texts(&[("b.yml", "2 again"), ("c.yml", "3")]), "{name}");
    }
}

#[tokio::test]
async fn a_rule_file_that_there_is_no_room_for_keeps_no_older_text_either() {
    on_both(async |state| {
        state.keep_rule_texts(texts(&[("a.yml", "small"), ("b.yml", "small")]), Vec::new()).await.unwrap();
        let long = "x".repeat(RULE_TEXTS_BYTES_MAX - 12);
        let refused = state.keep_rule_texts(texts(&[("a.yml", &long)]), Vec::new()).await.unwrap();
        assert_eq!(refused, ["a.yml"]);
        assert_eq!(state.rule_texts().await.unwrap(), texts(&[("b.yml", "small")]));
        // Once another has gone there is room.
        let refused = state.keep_rule_texts(texts(&[("a.yml", &long)]), vec!["b.yml".to_owned()]).await.unwrap();
        assert!(refused.is_empty());
        assert_eq!(state.rule_texts().await.unwrap().len(), 1);
    })
    .await;
}

/// Overwrites the root page of the table `journal`.
fn damage_the_journal(file: &std::path::Path) {
    let connection = rusqlite::Connection::open(file).unwrap();
    connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    let page: i64 = connection
        .query_row("SELECT rootpage FROM sqlite_schema WHERE name = 'journal'", [], |row| row.get(0))
        .unwrap();
    let size: i64 = connection.pragma_query_value(None, "page_size", |row| row.get(0)).unwrap();
    drop(connection);
    let mut bytes = std::fs::read(file).unwrap();
    bytes[((page - 1) * size) as usize..(page * size) as usize].fill(0xa5);
    std::fs::write(file, bytes).unwrap();
}

#[tokio::test]
async fn a_file_that_cannot_be_written_to_any_more_is_not_well() {
    let folder = folder();
    let file = folder.path().join("state.sqlite");
    let started = || vec![JournalEntry::Stopped {}];
    let state = State::open(&file).unwrap();
    state.journal_append(T0, started()).await.unwrap();
    assert_eq!((state.ping().await, state.damage()), (Ok(()), None));
    drop(state);
    // With nothing of the journal in memory.
    let state = State::open(&file).unwrap();
    damage_the_journal(&file);
    assert_eq!(state.ping().await, Ok(()), "nobody has met it yet");
    let refused = state.journal_append(T0, started()).await.unwrap_err();
    assert!(matches!(refused, StateError::Damaged(_)), "{refused:?}");
    assert_eq!(state.ping().await, Err(refused));
    assert!(state.damage().is_some());
    // What stands beside the damage can be written: the last commit is well, the file is not.
    state.kv_put("a", "key", Some(b"value".to_vec()), 1_000).await.unwrap();
    assert_eq!(state.ping().await, Ok(()));
    assert!(state.damage().is_some());
}
