-- When a grant was revoked; NULL: it was not. docs/formats/store.md says what each column means.

ALTER TABLE grants ADD COLUMN revoked_unix_us INTEGER;
-- So that whoever adds many grants finds the few that are to be opened again.
CREATE INDEX grants_revoked ON grants (stream_key, account) WHERE revoked_unix_us IS NOT NULL;
