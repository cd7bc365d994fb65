-- The first schema on PostgreSQL: what SQLite has after its second migration. docs/formats/store.md says what each column means.
-- COLLATE "C": names compare byte by byte, as on SQLite.

CREATE TABLE streams (
  stream_key         BIGINT PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
  id                 TEXT COLLATE "C" NOT NULL UNIQUE CHECK (id <> ''),
  num_variants       INTEGER NOT NULL CHECK (num_variants > 0),
  packets_per_symbol INTEGER NOT NULL CHECK (packets_per_symbol > 0),
  num_channels       INTEGER NOT NULL CHECK (num_channels > 0),
  bitrate_bps        INTEGER NOT NULL CHECK (bitrate_bps > 0),
  reference_kind     INTEGER NOT NULL CHECK (reference_kind IN (0, 1)),
  code_version       INTEGER NOT NULL,
  state              INTEGER NOT NULL CHECK (state IN (0, 1)),
  key_id             TEXT    NOT NULL,
  salt               BYTEA   NOT NULL CHECK (length(salt) = 16),
  input_digest       TEXT    NOT NULL,
  created_unix_us    BIGINT  NOT NULL,
  updated_unix_us    BIGINT  NOT NULL,
  num_packets        BIGINT  NOT NULL DEFAULT 0 CHECK (num_packets >= 0),
  num_erased_slots   BIGINT  NOT NULL DEFAULT 0 CHECK (num_erased_slots >= 0),
  num_samples        BIGINT  NOT NULL DEFAULT 0 CHECK (num_samples >= 0),
  live               INTEGER NOT NULL DEFAULT 0,
  retention_days     INTEGER NOT NULL DEFAULT 0,
  owner              TEXT    NOT NULL DEFAULT '',
  epoch              BIGINT  NOT NULL DEFAULT 1,
  lease_us           BIGINT  NOT NULL DEFAULT 0,
  leased_until_unix_us BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX streams_by_creation ON streams (created_unix_us, id);

CREATE TABLE reference_chunks (
  stream_key       BIGINT  NOT NULL REFERENCES streams ON DELETE CASCADE,
  source           INTEGER NOT NULL CHECK (source >= 0),
  first_packet     BIGINT  NOT NULL CHECK (first_packet >= 0),
  num_packets      INTEGER NOT NULL CHECK (num_packets > 0),
  num_erased_slots INTEGER NOT NULL CHECK (num_erased_slots >= 0),
  sealed           BYTEA   NOT NULL,
  PRIMARY KEY (stream_key, source, first_packet)
);
-- Sealed bytes do not compress.
ALTER TABLE reference_chunks ALTER COLUMN sealed SET STORAGE EXTERNAL;

CREATE TABLE fingerprints (
  stream_key   BIGINT  NOT NULL,
  source       INTEGER NOT NULL,
  first_packet BIGINT  NOT NULL,
  fingerprint  BYTEA   NOT NULL,
  PRIMARY KEY (stream_key, source, first_packet),
  FOREIGN KEY (stream_key, source, first_packet) REFERENCES reference_chunks ON DELETE CASCADE
);

CREATE TABLE sources (
  stream_key BIGINT  NOT NULL REFERENCES streams ON DELETE CASCADE,
  source     INTEGER NOT NULL CHECK (source >= 0),
  name       TEXT COLLATE "C" NOT NULL CHECK (name <> ''),
  settings   TEXT    NOT NULL,
  PRIMARY KEY (stream_key, source),
  UNIQUE (stream_key, name)
);

-- One account may hold several live grants of one interval, told apart by their ids; those without an id are told apart by what they say.
CREATE TABLE grants (
  grant_key      BIGINT PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
  stream_key     BIGINT NOT NULL REFERENCES streams ON DELETE CASCADE,
  account        TEXT COLLATE "C" NOT NULL CHECK (account <> ''),
  from_stream_us BIGINT NOT NULL,
  to_stream_us   BIGINT NOT NULL,
  grant_id       TEXT COLLATE "C",
  delivery       TEXT,
  CHECK (from_stream_us < to_stream_us)
);
CREATE INDEX grants_by_stream ON grants (stream_key, account, from_stream_us, to_stream_us);
CREATE UNIQUE INDEX grants_without_id ON grants (stream_key, account, from_stream_us, to_stream_us) WHERE grant_id IS NULL;
CREATE INDEX grants_by_account ON grants (account);
CREATE UNIQUE INDEX grants_by_id ON grants (grant_id) WHERE grant_id IS NOT NULL;

CREATE TABLE findings (
  id              BIGINT PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
  created_unix_us BIGINT NOT NULL,
  clip_name       TEXT   NOT NULL,
  clip_sha256     TEXT   NOT NULL,
  verdict         TEXT   NOT NULL CHECK (verdict IN ('accused', 'no_accusation', 'unknown_audio', 'unreadable')),
  scan_id         TEXT COLLATE "C" UNIQUE,
  case_label      TEXT COLLATE "C" NOT NULL DEFAULT '',
  report_json     TEXT   NOT NULL
);
CREATE INDEX findings_by_case ON findings (case_label) WHERE case_label <> '';

CREATE TABLE accusations (
  finding_id  BIGINT  NOT NULL REFERENCES findings ON DELETE CASCADE,
  position    INTEGER NOT NULL,
  account     TEXT COLLATE "C" NOT NULL,
  stream      TEXT COLLATE "C" NOT NULL,
  log10_p     DOUBLE PRECISION NOT NULL,
  log10_bound DOUBLE PRECISION NOT NULL,
  PRIMARY KEY (finding_id, position)
);
CREATE INDEX accusations_by_account ON accusations (account, stream);
CREATE INDEX accusations_by_stream ON accusations (stream);

CREATE TABLE scans (
  scan_key        BIGINT PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
  id              TEXT COLLATE "C" NOT NULL UNIQUE,
  idempotency_key TEXT COLLATE "C" UNIQUE,
  request_digest  TEXT    NOT NULL,
  created_unix_us BIGINT  NOT NULL,
  name            TEXT    NOT NULL,
  stream          TEXT,
  case_label      TEXT    NOT NULL,
  max_false_accusation DOUBLE PRECISION NOT NULL,
  clip_sha256     TEXT    NOT NULL,
  state           INTEGER NOT NULL CHECK (state BETWEEN 0 AND 4),
  attempt         INTEGER NOT NULL DEFAULT 0,
  num_released    INTEGER NOT NULL DEFAULT 0,
  worker          TEXT    NOT NULL DEFAULT '',
  leased_until_unix_us BIGINT NOT NULL DEFAULT 0,
  cancel_wanted   INTEGER NOT NULL DEFAULT 0,
  stage           TEXT    NOT NULL DEFAULT '',
  fraction        DOUBLE PRECISION NOT NULL DEFAULT 0,
  finding_id      BIGINT,
  error           TEXT    NOT NULL DEFAULT ''
);
CREATE INDEX scans_open ON scans (scan_key) WHERE state < 2;

CREATE TABLE clip_parts (
  scan_key BIGINT  NOT NULL REFERENCES scans ON DELETE CASCADE,
  part     INTEGER NOT NULL,
  bytes    BYTEA   NOT NULL,
  PRIMARY KEY (scan_key, part)
);
ALTER TABLE clip_parts ALTER COLUMN bytes SET STORAGE EXTERNAL;

CREATE TABLE answers (
  scope           TEXT COLLATE "C" NOT NULL,
  idempotency_key TEXT COLLATE "C" NOT NULL,
  request_digest  TEXT   NOT NULL,
  answer          BYTEA  NOT NULL,
  created_unix_us BIGINT NOT NULL,
  PRIMARY KEY (scope, idempotency_key)
);
