//! Rule files: read at the start, at every reload and when they change.
//!
//! Invariant: a file that cannot be read keeps its last good version, over a restart as well, and is named in the log, as a
//! notice, among the rules and in readiness until it is mended or gone. What the config names no more is forgotten.
//! Not here: what is in them (`belfry_rules::file`), when they are evaluated (`belfry_rules::groups`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Result;
use belfry_config::types::RuleSettings;
use belfry_dashboard::dto::{Notice, NoticeLevel};
use belfry_model::Fingerprint;
use belfry_rules::file::{self, RuleFile};
use belfry_rules::groups::{Defaults, GroupSnapshot, GroupSpec, Groups, GroupsInput, StoredAlert};
use belfry_state::{RULE_TEXTS_BYTES_MAX, State};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::changes::Changed;
use crate::driver::{self, Letters, Mailbox, mailbox};

/// How often the files are looked at. Folders of mounted volumes send no events, so looking is what always works.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What is known of the rule files, and who evaluates them.
pub struct RuleFiles {
    organ: Arc<Mutex<Groups>>,
    inputs: Mailbox<GroupsInput>,
    letters: Mutex<Option<Letters<GroupsInput>>>,
    files: Mutex<BTreeMap<PathBuf, Known>>,
    remembered: Vec<Fingerprint>,
}

/// One file.
#[derive(Debug, Default)]
struct Known {
    good: Option<RuleFile>,
    refused: Option<String>,
    /// `None`: it could not be read, or nobody has looked yet.
    text: Option<String>,
}

/// A file that is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The file.
    pub file: String,
    /// All its problems.
    pub problems: String,
    /// An older version of it is evaluated.
    pub has_good: bool,
}

impl RuleFiles {
    /// With what was kept of their alerts, and the last good version of each.
    pub async fn open(state: &State) -> Result<Self> {
        let mut kept: Vec<StoredAlert> = Vec::new();
        for body in state.rule_alerts().await? {
            match serde_json::from_str(&body) {
                Ok(alert) => kept.push(alert),
                Err(error) => tracing::warn!(%error, "an alert's row cannot be read"),
            }
        }
        let remembered = kept.iter().map(|k| k.alert.fingerprint).collect();
        let organ = Groups::new(kept, state.rule_groups().await?);
        let (inputs, letters) = mailbox();
        Ok(Self {
            organ: Arc::new(Mutex::new(organ)),
            inputs,
            letters: Mutex::new(Some(letters)),
            files: Mutex::new(kept_versions(state).await?),
            remembered,
        })
    }

    /// Alerts that were kept over the restart.
    pub fn remembered(&self) -> &[Fingerprint] {
        &self.remembered
    }

    /// Every group as it stands.
    pub fn snapshot(&self) -> Vec<GroupSnapshot> {
        self.organ.lock().snapshot()
    }

    /// Files that are refused now.
    pub fn refused(&self) -> Vec<Refused> {
        let refused = |(path, known): (&PathBuf, &Known)| {
            let problems = known.refused.clone()?;
            Some(Refused { file: path.display().to_string(), problems, has_good: known.good.is_some() })
        };
        self.files.lock().iter().filter_map(refused).collect()
    }
}

/// The last good versions that were kept. Nothing is evaluated before [`apply`] has seen whether they are still named.
async fn kept_versions(state: &State) -> Result<BTreeMap<PathBuf, Known>> {
    let mut files = BTreeMap::new();
    for (name, text) in state.rule_texts().await? {
        let good = file::parse(&text, &name).ok();
        if good.is_none() {
            // Another release kept it, which took more.
            tracing::warn!(file = name, "the version of a rule file that was kept cannot be read");
        }
        files.insert(PathBuf::from(name), Known { good, ..Known::default() });
    }
    Ok(files)
}

/// Reads the files of the config of now; its objectives come along. Called under the lock of reloads.
pub async fn apply(app: &App) {
    let loaded = app.loaded.load_full();
    let settings = loaded.config.rule_settings.clone();
    let texts = match tokio::task::spawn_blocking(move || read_all(&settings.patterns)).await {
        Ok(texts) => texts,
        // No file is taken for gone because nobody could look.
        Err(error) => return tracing::error!(%error, "the rule files were not looked at"),
    };
    let gone = app.rule_files.forget_others(&texts);
    for path in &gone {
        app.no_notice(&notice_code(path));
    }
    let mut good: Vec<(String, String)> = Vec::new();
    for (path, text) in texts {
        let Some(news) = app.rule_files.take(&path, text) else { continue };
        let file = path.display().to_string();
        match news {
            Ok(warnings) => {
                tracing::info!(file, "rule file read");
                warnings.iter().for_each(|w| tracing::warn!("{w}"));
                app.no_notice(&notice_code(&path));
                good.extend(app.rule_files.text(&path).map(|text| (file, text)));
            }
            Err(refused) => {
                let goes_on = if refused.has_good { "; its last good version goes on" } else { "" };
                tracing::error!("rule file {file} is refused{goes_on}:\n{}", refused.problems);
                app.notice(Notice {
                    code: notice_code(&path),
                    level: NoticeLevel::Error,
                    title: format!("Rule file {file} is refused{goes_on}"),
                    text: refused.problems,
                    help: Some("mend it: it is read again when it changes".to_owned()),
                    since_ms: app.clock.now(),
                });
            }
        }
    }
    keep(app, good, gone).await;
    let defaults = defaults(&loaded.config.rule_settings, &app.external_url);
    let (mut groups, unread) = app.rule_files.groups(&defaults);
    groups.extend(crate::slos::groups(&loaded.config.slos, &defaults));
    app.rule_files.inputs.send(GroupsInput::Configure { groups, unread }).await;
    app.changes.tell(Changed::Alerts);
}

/// Keeps what a start with a bad file will need. Without it the rules are evaluated all the same.
async fn keep(app: &App, good: Vec<(String, String)>, gone: Vec<PathBuf>) {
    if good.is_empty() && gone.is_empty() {
        return;
    }
    let gone = gone.iter().map(|path| path.display().to_string()).collect();
    match app.state.keep_rule_texts(good, gone).await {
        Ok(no_room) => no_room.iter().for_each(|file| {
            tracing::warn!(
                file,
                "its last good version is not kept over a restart: rule files take more than {RULE_TEXTS_BYTES_MAX} bytes"
            );
        }),
        Err(error) => tracing::error!(%error, "the last good versions of rule files were not kept"),
    }
}

fn notice_code(path: &Path) -> String {
    format!("rule_file_{}", path.display())
}

fn defaults(settings: &RuleSettings, external_url: &str) -> Defaults {
    Defaults {
        interval: settings.interval,
        query_offset: settings.query_offset,
        external_labels: settings.external_labels.clone(),
        external_url: external_url.to_owned(),
    }
}

/// Is it one file, and no pattern of files?
fn is_named(pattern: &Path) -> bool {
    !pattern.to_string_lossy().contains('*')
}

type Texts = Vec<(PathBuf, Result<String, String>)>;

fn read_all(patterns: &[PathBuf]) -> Texts {
    let read = |path: &Path| {
        let length = std::fs::metadata(path).map_err(|e| e.to_string())?.len();
        if length > file::FILE_BYTES_MAX as u64 {
            return Err(format!("it has more than {} bytes", file::FILE_BYTES_MAX));
        }
        std::fs::read_to_string(path).map_err(|e| e.to_string())
    };
    let mut texts: Texts =
        belfry_config::rule_files(patterns).into_iter().map(|path| (path.clone(), read(&path))).collect();
    // What was named by itself was meant to be there: a volume that is not mounted takes no alerts away.
    for named in patterns.iter().filter(|p| is_named(p)) {
        if texts.iter().all(|(path, _)| path != named) {
            texts.push((named.clone(), Err("there is no such file".to_owned())));
        }
    }
    texts
}

impl RuleFiles {
    /// Forgets the files that are not among these; which they were.
    fn forget_others(&self, texts: &Texts) -> Vec<PathBuf> {
        let mut files = self.files.lock();
        let gone: Vec<PathBuf> = files.keys().filter(|k| texts.iter().all(|(path, _)| path != *k)).cloned().collect();
        for path in &gone {
            tracing::info!(file = %path.display(), "rule file gone");
            files.remove(path);
        }
        gone
    }

    /// Takes a file as it is now. `None` when it says what it said before; else its warnings, or why it is refused.
    fn take(&self, path: &Path, text: Result<String, String>) -> Option<Result<Vec<String>, Refused>> {
        let mut files = self.files.lock();
        let known = files.entry(path.to_owned()).or_default();
        let name = path.display().to_string();
        let outcome = match text {
            Ok(text) if known.text.as_ref() == Some(&text) => return None,
            Ok(text) => {
                let read = file::parse(&text, &name);
                known.text = Some(text);
                read.map_err(|problems| problems.iter().map(|p| p.in_file(&name)).collect::<Vec<_>>().join("\n"))
            }
            Err(error) => {
                let problem = format!("{name}: cannot be read: {error}");
                if known.refused.as_ref() == Some(&problem) {
                    return None;
                }
                known.text = None;
                Err(problem)
            }
        };
        Some(match outcome {
            Ok(good) => {
                let warnings = good.warnings.iter().map(|w| w.in_file(&name)).collect();
                known.good = Some(good);
                known.refused = None;
                Ok(warnings)
            }
            Err(problems) => {
                known.refused = Some(problems.clone());
                Err(Refused { file: name, problems, has_good: known.good.is_some() })
            }
        })
    }

    /// Is a file that is named by itself neither there nor kept?
    pub fn lacks_a_version(&self, patterns: &[PathBuf]) -> bool {
        let files = self.files.lock();
        let has = |path: &PathBuf| path.is_file() || files.get(path).is_some_and(|known| known.good.is_some());
        patterns.iter().filter(|p| is_named(p)).any(|p| !has(p))
    }

    /// What the file said when it was last read.
    fn text(&self, path: &Path) -> Option<String> {
        self.files.lock().get(path).and_then(|known| known.text.clone())
    }

    /// What is evaluated, and the files of which nothing can be.
    fn groups(&self, defaults: &Defaults) -> (Vec<GroupSpec>, Vec<String>) {
        let files = self.files.lock();
        let groups = files.values().filter_map(|k| k.good.as_ref()).flat_map(|f| GroupSpec::of_file(f, defaults));
        let unread = files.iter().filter(|(_, k)| k.good.is_none()).map(|(path, _)| path.display().to_string());
        (groups.collect(), unread.collect())
    }
}

/// Evaluates the groups until `stop`.
pub async fn evaluate(app: Arc<App>, stop: CancellationToken) {
    let Some(letters) = app.rule_files.letters.lock().take() else { return };
    let hands = Arc::new(driver::groups::GroupHands {
        queries: app.queries.clone(),
        ingest: app.ingest.clone(),
        state: app.state.clone(),
        inputs: app.rule_files.inputs.clone(),
        notify: app.inputs.notify.clone(),
        changes: app.changes.clone(),
        clock: app.clock.clone(),
        places: driver::groups::places(),
    });
    driver::drive(app.rule_files.organ.clone(), letters, hands, app.clock.clone(), stop).await;
}

/// What of a file changes when it does. A link that is swapped leads to another file, which may be as long and as old.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mark {
    path: PathBuf,
    modified: Option<SystemTime>,
    length: u64,
    file: (u64, u64),
    changed: (i64, i64),
}

type Marks = Vec<Mark>;

fn marks(patterns: &[PathBuf]) -> Marks {
    use std::os::unix::fs::MetadataExt as _;
    let mark = |path: PathBuf| {
        let meta = std::fs::metadata(&path).ok();
        let of = |f: fn(&std::fs::Metadata) -> (u64, u64)| meta.as_ref().map(f).unwrap_or_default();
        Mark {
            path,
            modified: meta.as_ref().and_then(|m| m.modified().ok()),
            length: of(|m| (m.len(), 0)).0,
            file: of(|m| (m.dev(), m.ino())),
            changed: meta.as_ref().map(|m| (m.ctime(), m.ctime_nsec())).unwrap_or_default(),
        }
    };
    belfry_config::rule_files(patterns).into_iter().map(mark).collect()
}

/// Reads the files again when they change, until `stop`. A change counts once it stands still from one look to the next:
/// half a file is not read.
pub async fn watch(app: Arc<App>, stop: CancellationToken) {
    let mut applied: Option<Marks> = None;
    let mut before: Option<Marks> = None;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        let patterns = app.loaded.load().config.rule_settings.patterns.clone();
        if patterns.is_empty() && applied.as_ref().is_none_or(Vec::is_empty) {
            continue;
        }
        let Ok(now) = tokio::task::spawn_blocking(move || marks(&patterns)).await else { continue };
        let still = before.as_ref() == Some(&now);
        if still && applied.as_ref() != Some(&now) {
            let _one = app.reloading.lock().await;
            apply(&app).await;
            applied = Some(now.clone());
        }
        before = Some(now);
    }
}
