-- Clips that are kept for a while after their scan, and how often anybody was scored. docs/formats/store.md says what each column means.

ALTER TABLE scans ADD COLUMN keep_clip_us BIGINT NOT NULL DEFAULT 0 CHECK (keep_clip_us >= 0);
ALTER TABLE scans ADD COLUMN clip_until_unix_us BIGINT;
CREATE INDEX scans_by_clip_end ON scans (clip_until_unix_us) WHERE clip_until_unix_us IS NOT NULL;

ALTER TABLE findings ADD COLUMN num_scored BIGINT NOT NULL DEFAULT 0 CHECK (num_scored >= 0);
-- What is known of findings from before.
UPDATE findings SET num_scored = greatest(1, (SELECT count(DISTINCT stream) FROM accusations WHERE finding_id = findings.id))
  WHERE verdict IN ('accused', 'no_accusation');
-- One row: sums over all findings, kept so that nobody has to add up millions.
CREATE TABLE finding_totals (
  id         INTEGER PRIMARY KEY CHECK (id = 1),
  num_scored BIGINT NOT NULL
);
INSERT INTO finding_totals SELECT 1, coalesce(sum(num_scored), 0) FROM findings;
