-- The last text of each rule file that could be read: what is evaluated when the file is bad or away at the next start.
CREATE TABLE rule_text (
    path TEXT PRIMARY KEY,
    body TEXT NOT NULL
) STRICT;
