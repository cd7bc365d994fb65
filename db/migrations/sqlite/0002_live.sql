-- What live rooms need: an owner with an epoch and a lease, named sources, grants that open now and close later; and scans as jobs.
-- docs/formats/store.md says what each column means.

ALTER TABLE streams ADD COLUMN live           INTEGER NOT NULL DEFAULT 0;
ALTER TABLE streams ADD COLUMN retention_days INTEGER NOT NULL DEFAULT 0;
ALTER TABLE streams ADD COLUMN owner          TEXT    NOT NULL DEFAULT '';
ALTER TABLE streams ADD COLUMN epoch          INTEGER NOT NULL DEFAULT 1;
ALTER TABLE streams ADD COLUMN lease_us       INTEGER NOT NULL DEFAULT 0;
ALTER TABLE streams ADD COLUMN leased_until_unix_us INTEGER NOT NULL DEFAULT 0;

CREATE TABLE sources (
  stream_key INTEGER NOT NULL REFERENCES streams ON DELETE CASCADE,
  source     INTEGER NOT NULL CHECK (source >= 0),
  name       TEXT    NOT NULL CHECK (name <> ''),
  settings   TEXT    NOT NULL,
  PRIMARY KEY (stream_key, source),
  UNIQUE (stream_key, name)
) STRICT, WITHOUT ROWID;

-- One account may hold several live grants of one interval, told apart by their ids; those without an id are told apart by what they say.
CREATE TABLE new_grants (
  grant_key      INTEGER PRIMARY KEY,
  stream_key     INTEGER NOT NULL REFERENCES streams ON DELETE CASCADE,
  account        TEXT    NOT NULL CHECK (account <> ''),
  from_stream_us INTEGER NOT NULL,
  to_stream_us   INTEGER NOT NULL,
  grant_id       TEXT,
  delivery       TEXT,
  CHECK (from_stream_us < to_stream_us)
) STRICT;
INSERT INTO new_grants (stream_key, account, from_stream_us, to_stream_us)
  SELECT stream_key, account, from_stream_us, to_stream_us FROM grants ORDER BY stream_key, account, from_stream_us, to_stream_us;
DROP TABLE grants;
ALTER TABLE new_grants RENAME TO grants;
CREATE INDEX grants_by_stream ON grants (stream_key, account, from_stream_us, to_stream_us);
CREATE UNIQUE INDEX grants_without_id ON grants (stream_key, account, from_stream_us, to_stream_us) WHERE grant_id IS NULL;
CREATE UNIQUE INDEX grants_by_id ON grants (grant_id) WHERE grant_id IS NOT NULL;
CREATE INDEX grants_by_account ON grants (account);

-- A new table, because SQLite cannot change the CHECK of an old one; accusations are kept aside meanwhile, since dropping the findings
-- would take them along.
CREATE TABLE kept_accusations AS SELECT * FROM accusations;
DROP TABLE accusations;
CREATE TABLE new_findings (
  id              INTEGER PRIMARY KEY AUTOINCREMENT,
  created_unix_us INTEGER NOT NULL,
  clip_name       TEXT    NOT NULL,
  clip_sha256     TEXT    NOT NULL,
  verdict         TEXT    NOT NULL CHECK (verdict IN ('accused', 'no_accusation', 'unknown_audio', 'unreadable')),
  scan_id         TEXT    UNIQUE,
  case_label      TEXT    NOT NULL DEFAULT '',
  report_json     TEXT    NOT NULL
) STRICT;
INSERT INTO new_findings (id, created_unix_us, clip_name, clip_sha256, verdict, report_json)
  SELECT id, created_unix_us, clip_name, clip_sha256, verdict, report_json FROM findings;
-- Ids are never used again, also those of findings that are gone.
UPDATE sqlite_sequence SET seq = max(seq, coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'findings'), 0)) WHERE name = 'new_findings';
INSERT INTO sqlite_sequence (name, seq)
  SELECT 'new_findings', seq FROM sqlite_sequence WHERE name = 'findings' AND NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'new_findings');
DROP TABLE findings;
ALTER TABLE new_findings RENAME TO findings;
CREATE TABLE accusations (
  finding_id  INTEGER NOT NULL REFERENCES findings ON DELETE CASCADE,
  position    INTEGER NOT NULL,
  account     TEXT    NOT NULL,
  stream      TEXT    NOT NULL,
  log10_p     REAL    NOT NULL,
  log10_bound REAL    NOT NULL,
  PRIMARY KEY (finding_id, position)
) STRICT, WITHOUT ROWID;
INSERT INTO accusations SELECT finding_id, position, account, stream, log10_p, log10_bound FROM kept_accusations;
DROP TABLE kept_accusations;
CREATE INDEX accusations_by_account ON accusations (account, stream);
CREATE INDEX accusations_by_stream ON accusations (stream);
CREATE INDEX findings_by_case ON findings (case_label) WHERE case_label <> '';

CREATE TABLE scans (
  scan_key        INTEGER PRIMARY KEY AUTOINCREMENT,
  id              TEXT    NOT NULL UNIQUE,
  idempotency_key TEXT    UNIQUE,
  request_digest  TEXT    NOT NULL,
  created_unix_us INTEGER NOT NULL,
  name            TEXT    NOT NULL,
  stream          TEXT,
  case_label      TEXT    NOT NULL,
  max_false_accusation REAL NOT NULL,
  clip_sha256     TEXT    NOT NULL,
  state           INTEGER NOT NULL CHECK (state BETWEEN 0 AND 4),
  attempt         INTEGER NOT NULL DEFAULT 0,
  num_released    INTEGER NOT NULL DEFAULT 0,
  worker          TEXT    NOT NULL DEFAULT '',
  leased_until_unix_us INTEGER NOT NULL DEFAULT 0,
  cancel_wanted   INTEGER NOT NULL DEFAULT 0,
  stage           TEXT    NOT NULL DEFAULT '',
  fraction        REAL    NOT NULL DEFAULT 0,
  finding_id      INTEGER,
  error           TEXT    NOT NULL DEFAULT ''
) STRICT;
-- The queue: what waits (0) or runs (1).
CREATE INDEX scans_open ON scans (scan_key) WHERE state < 2;

-- The uploaded file in parts; gone when the scan is over.
CREATE TABLE clip_parts (
  scan_key INTEGER NOT NULL REFERENCES scans ON DELETE CASCADE,
  part     INTEGER NOT NULL,
  bytes    BLOB    NOT NULL,
  PRIMARY KEY (scan_key, part)
) STRICT;

-- First answers to requests that change something, for those that come again.
CREATE TABLE answers (
  scope           TEXT    NOT NULL,
  idempotency_key TEXT    NOT NULL,
  request_digest  TEXT    NOT NULL,
  answer          BLOB    NOT NULL,
  created_unix_us INTEGER NOT NULL,
  PRIMARY KEY (scope, idempotency_key)
) STRICT, WITHOUT ROWID;
