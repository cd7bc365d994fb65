-- 0 as the bit rate: the packets are as long as the source's own. docs/formats/store.md says what each column means.

-- As in 0003: a column takes its CHECK along when it goes.
ALTER TABLE streams ADD COLUMN new_bitrate_bps INTEGER NOT NULL DEFAULT 0 CHECK (new_bitrate_bps >= 0);
UPDATE streams SET new_bitrate_bps = CASE reference_kind WHEN 2 THEN 0 ELSE bitrate_bps END;
ALTER TABLE streams DROP COLUMN bitrate_bps;
ALTER TABLE streams RENAME COLUMN new_bitrate_bps TO bitrate_bps;
