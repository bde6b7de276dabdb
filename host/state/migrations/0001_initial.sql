-- What is not a time series. Times are milliseconds since the epoch.

-- What cannot be rebuilt later (belfry_model::JournalEntry): append only.
CREATE TABLE journal (
    id      INTEGER PRIMARY KEY,
    at_ms   INTEGER NOT NULL,
    kind    TEXT    NOT NULL,            -- JournalEntry's tag
    subject TEXT    NOT NULL,            -- rule, plugin, channel, report: what one would look for
    body    TEXT    NOT NULL             -- the entry as JSON
) STRICT;
CREATE INDEX journal_by_time ON journal (at_ms);
CREATE INDEX journal_by_subject ON journal (subject, kind, at_ms);

-- The truth about alert state; ALERTS in the store is output.
CREATE TABLE alert (
    rule        TEXT    NOT NULL,
    fingerprint TEXT    NOT NULL,
    body        TEXT    NOT NULL,        -- belfry_model::Alert as JSON
    PRIMARY KEY (rule, fingerprint)
) STRICT, WITHOUT ROWID;

-- Episodes of alerts, for reports and `explain`.
CREATE TABLE alert_episode (
    id          INTEGER PRIMARY KEY,
    rule        TEXT    NOT NULL,
    fingerprint TEXT    NOT NULL,
    severity    TEXT    NOT NULL,
    labels      TEXT    NOT NULL,        -- JSON object
    started_ms  INTEGER NOT NULL,
    fired_ms    INTEGER,
    resolved_ms INTEGER
) STRICT;
CREATE INDEX alert_episode_by_time ON alert_episode (started_ms);
CREATE UNIQUE INDEX alert_episode_open ON alert_episode (rule, fingerprint, started_ms);

-- Groups being notified (notify's own JSON): the notification log.
CREATE TABLE notify_group (
    key        TEXT    PRIMARY KEY,
    updated_ms INTEGER NOT NULL,
    body       TEXT    NOT NULL
) STRICT, WITHOUT ROWID;

-- Plugins' own small state.
CREATE TABLE plugin_kv (
    plugin TEXT NOT NULL,
    key    TEXT NOT NULL,
    value  BLOB NOT NULL,
    PRIMARY KEY (plugin, key)
) STRICT, WITHOUT ROWID;

-- Which component a plugin ran, and when: provenance of samples is a join over time.
CREATE TABLE component_history (
    plugin  TEXT    NOT NULL,
    digest  TEXT    NOT NULL,
    version TEXT    NOT NULL,
    from_ms INTEGER NOT NULL,
    to_ms   INTEGER,
    PRIMARY KEY (plugin, from_ms)
) STRICT, WITHOUT ROWID;

-- The archive of reports.
CREATE TABLE report (
    id          INTEGER PRIMARY KEY,
    name        TEXT    NOT NULL,
    title       TEXT    NOT NULL,
    start_ms    INTEGER NOT NULL,
    end_ms      INTEGER NOT NULL,
    made_ms     INTEGER NOT NULL,
    due_ms      INTEGER,                 -- when it had been due; NULL when asked for by hand
    body        TEXT    NOT NULL         -- belfry_model::report::Report as JSON
) STRICT;
CREATE INDEX report_by_name ON report (name, made_ms);
CREATE TABLE report_document (
    report_id  INTEGER NOT NULL REFERENCES report (id) ON DELETE CASCADE,
    file_name  TEXT    NOT NULL,
    media_type TEXT    NOT NULL,
    data       BLOB    NOT NULL,
    PRIMARY KEY (report_id, file_name)
) STRICT;
