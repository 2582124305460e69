-- What each batch job did, and when: wall time, in milliseconds since 1970. The batch jobs work on PostgreSQL;
-- both databases have one version of the schema.
CREATE TABLE job_runs (
    job        TEXT NOT NULL,
    started_ms INTEGER NOT NULL,
    ended_ms   INTEGER NOT NULL,
    outcome    TEXT NOT NULL,
    detail     TEXT NOT NULL,
    PRIMARY KEY (job, started_ms)
) STRICT, WITHOUT ROWID;

ALTER TABLE runs ADD COLUMN ended_ms INTEGER;
ALTER TABLE runs ADD COLUMN ended_events INTEGER;
ALTER TABLE runs ADD COLUMN archived_ms INTEGER;
ALTER TABLE runs ADD COLUMN cleaned_ms INTEGER;
