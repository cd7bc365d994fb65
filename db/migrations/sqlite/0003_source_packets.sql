-- The third kind of reference, the source's own packets, and its dial. docs/formats/store.md says what each column means.

ALTER TABLE streams ADD COLUMN strength INTEGER NOT NULL DEFAULT 50 CHECK (strength BETWEEN 1 AND 100);

-- SQLite cannot change the CHECK of a column; but a column takes its own CHECK along when it goes, so a new one takes its place. That leaves the
-- table, and with it the chunks that refer to it, where they are.
ALTER TABLE streams ADD COLUMN new_kind INTEGER NOT NULL DEFAULT 0 CHECK (new_kind IN (0, 1, 2));
UPDATE streams SET new_kind = reference_kind;
ALTER TABLE streams DROP COLUMN reference_kind;
ALTER TABLE streams RENAME COLUMN new_kind TO reference_kind;
