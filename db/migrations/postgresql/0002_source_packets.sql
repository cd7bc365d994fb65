-- The third kind of reference, the source's own packets, and its dial. docs/formats/store.md says what each column means.

ALTER TABLE streams ADD COLUMN strength INTEGER NOT NULL DEFAULT 50 CHECK (strength BETWEEN 1 AND 100);
ALTER TABLE streams DROP CONSTRAINT streams_reference_kind_check;
ALTER TABLE streams ADD CONSTRAINT streams_reference_kind_check CHECK (reference_kind IN (0, 1, 2));
