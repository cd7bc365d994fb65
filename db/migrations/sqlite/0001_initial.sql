-- The first schema. docs/formats/store.md says what each column means.
-- Big columns stand last in their row, so that reading the ones before them does not follow the overflow pages.

CREATE TABLE streams (
  stream_key         INTEGER PRIMARY KEY,
  id                 TEXT    NOT NULL UNIQUE CHECK (id <> ''),
  num_variants       INTEGER NOT NULL CHECK (num_variants > 0),
  packets_per_symbol INTEGER NOT NULL CHECK (packets_per_symbol > 0),
  num_channels       INTEGER NOT NULL CHECK (num_channels > 0),
  bitrate_bps        INTEGER NOT NULL CHECK (bitrate_bps > 0),
  reference_kind     INTEGER NOT NULL CHECK (reference_kind IN (0, 1)),
  code_version       INTEGER NOT NULL,
  state              INTEGER NOT NULL CHECK (state IN (0, 1)),
  key_id             TEXT    NOT NULL,
  salt               BLOB    NOT NULL CHECK (length(salt) = 16),
  input_digest       TEXT    NOT NULL,
  created_unix_us    INTEGER NOT NULL,
  updated_unix_us    INTEGER NOT NULL,
  num_packets        INTEGER NOT NULL DEFAULT 0 CHECK (num_packets >= 0),
  num_erased_slots   INTEGER NOT NULL DEFAULT 0 CHECK (num_erased_slots >= 0),
  num_samples        INTEGER NOT NULL DEFAULT 0 CHECK (num_samples >= 0)
) STRICT;

-- UNIQUE, which it is because of `id`, lets SQLite see that a walk along it needs no sorting.
CREATE UNIQUE INDEX streams_by_creation ON streams (created_unix_us, id);

CREATE TABLE reference_chunks (
  stream_key       INTEGER NOT NULL REFERENCES streams ON DELETE CASCADE,
  source           INTEGER NOT NULL CHECK (source >= 0),
  first_packet     INTEGER NOT NULL CHECK (first_packet >= 0),
  num_packets      INTEGER NOT NULL CHECK (num_packets > 0),
  num_erased_slots INTEGER NOT NULL CHECK (num_erased_slots >= 0),
  sealed           BLOB    NOT NULL,
  PRIMARY KEY (stream_key, source, first_packet)
) STRICT;

-- Apart from the sealed chunks, so that a search through all fingerprints does not page through the audio.
CREATE TABLE fingerprints (
  stream_key   INTEGER NOT NULL,
  source       INTEGER NOT NULL,
  first_packet INTEGER NOT NULL,
  fingerprint  BLOB    NOT NULL,
  PRIMARY KEY (stream_key, source, first_packet),
  FOREIGN KEY (stream_key, source, first_packet) REFERENCES reference_chunks ON DELETE CASCADE
) STRICT;

CREATE TABLE grants (
  stream_key     INTEGER NOT NULL REFERENCES streams ON DELETE CASCADE,
  account        TEXT    NOT NULL CHECK (account <> ''),
  from_stream_us INTEGER NOT NULL,
  to_stream_us   INTEGER NOT NULL,
  PRIMARY KEY (stream_key, account, from_stream_us, to_stream_us),
  CHECK (from_stream_us < to_stream_us)
) STRICT, WITHOUT ROWID;

CREATE INDEX grants_by_account ON grants (account);

CREATE TABLE findings (
  id              INTEGER PRIMARY KEY AUTOINCREMENT,
  created_unix_us INTEGER NOT NULL,
  clip_name       TEXT    NOT NULL,
  clip_sha256     TEXT    NOT NULL,
  verdict         TEXT    NOT NULL CHECK (verdict IN ('accused', 'no_accusation', 'unknown_audio')),
  report_json     TEXT    NOT NULL
) STRICT;

-- `stream` is the stream's id, not its key: a finding outlives the stream.
CREATE TABLE accusations (
  finding_id  INTEGER NOT NULL REFERENCES findings ON DELETE CASCADE,
  position    INTEGER NOT NULL,
  account     TEXT    NOT NULL,
  stream      TEXT    NOT NULL,
  log10_p     REAL    NOT NULL,
  log10_bound REAL    NOT NULL,
  PRIMARY KEY (finding_id, position)
) STRICT, WITHOUT ROWID;

CREATE INDEX accusations_by_account ON accusations (account);
CREATE INDEX accusations_by_stream ON accusations (stream);
