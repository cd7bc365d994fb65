-- Who may call a service, what was looked at, and what each scan spent of the bound on false accusations. docs/formats/store.md says what each column means.

CREATE TABLE access_tokens (
  id                TEXT COLLATE "C" PRIMARY KEY CHECK (length(id) = 16),
  name              TEXT    NOT NULL,
  role              INTEGER NOT NULL CHECK (role IN (0, 1, 2)),
  secret_hash       BYTEA   NOT NULL CHECK (length(secret_hash) = 32),
  created_unix_us   BIGINT  NOT NULL,
  expires_unix_us   BIGINT,
  revoked_unix_us   BIGINT,
  last_used_unix_us BIGINT
);
CREATE UNIQUE INDEX access_tokens_by_creation ON access_tokens (created_unix_us, id);

CREATE TABLE access_log (
  id         BIGINT PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
  at_unix_us BIGINT NOT NULL,
  token_id   TEXT COLLATE "C" NOT NULL,
  call       TEXT COLLATE "C" NOT NULL CHECK (call <> ''),
  subject    TEXT   NOT NULL,
  reason     TEXT   NOT NULL
);
CREATE INDEX access_log_by_time ON access_log (at_unix_us);
CREATE INDEX access_log_by_token ON access_log (token_id, id);

ALTER TABLE findings ADD COLUMN alpha_spent DOUBLE PRECISION NOT NULL DEFAULT 0 CHECK (alpha_spent BETWEEN 0 AND 1);
-- It holds all that the sum needs, so that this reads no reports.
CREATE INDEX findings_by_alpha ON findings (created_unix_us, alpha_spent) WHERE alpha_spent > 0;
