-- Who may call a service, what was looked at, and what each scan spent of the bound on false accusations. docs/formats/store.md says what each column means.

CREATE TABLE access_tokens (
  id                TEXT    NOT NULL PRIMARY KEY CHECK (length(id) = 16),
  name              TEXT    NOT NULL,
  role              INTEGER NOT NULL CHECK (role IN (0, 1, 2)),
  secret_hash       BLOB    NOT NULL CHECK (length(secret_hash) = 32),
  created_unix_us   INTEGER NOT NULL,
  expires_unix_us   INTEGER,
  revoked_unix_us   INTEGER,
  last_used_unix_us INTEGER
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX access_tokens_by_creation ON access_tokens (created_unix_us, id);

CREATE TABLE access_log (
  id         INTEGER PRIMARY KEY AUTOINCREMENT,
  at_unix_us INTEGER NOT NULL,
  token_id   TEXT    NOT NULL,
  call       TEXT    NOT NULL CHECK (call <> ''),
  subject    TEXT    NOT NULL,
  reason     TEXT    NOT NULL
) STRICT;
CREATE INDEX access_log_by_time ON access_log (at_unix_us);
CREATE INDEX access_log_by_token ON access_log (token_id, id);

ALTER TABLE findings ADD COLUMN alpha_spent REAL NOT NULL DEFAULT 0 CHECK (alpha_spent BETWEEN 0 AND 1);
-- It holds all that the sum needs, so that this reads no reports.
CREATE INDEX findings_by_alpha ON findings (created_unix_us, alpha_spent) WHERE alpha_spent > 0;
