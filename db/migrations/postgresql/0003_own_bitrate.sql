-- 0 as the bit rate: the packets are as long as the source's own. docs/formats/store.md says what each column means.

ALTER TABLE streams DROP CONSTRAINT streams_bitrate_bps_check;
ALTER TABLE streams ADD CONSTRAINT streams_bitrate_bps_check CHECK (bitrate_bps >= 0);
UPDATE streams SET bitrate_bps = 0 WHERE reference_kind = 2;
