-- Alerts of rule files: the rules crate's own JSON, by its key of the rule.
CREATE TABLE rule_alert (
    rule        TEXT    NOT NULL,
    fingerprint TEXT    NOT NULL,
    body        TEXT    NOT NULL,
    PRIMARY KEY (rule, fingerprint)
) STRICT, WITHOUT ROWID;

-- When a group was last evaluated while a `for` clock was running.
CREATE TABLE rule_group (
    key     TEXT    PRIMARY KEY,
    seen_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
