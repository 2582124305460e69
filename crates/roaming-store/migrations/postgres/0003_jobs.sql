-- What each batch job did, and when: wall time, in milliseconds since 1970. A row is written when the job
-- has ended; one that was killed leaves none.
CREATE TABLE job_runs (
    job        TEXT NOT NULL,
    started_ms BIGINT NOT NULL,
    ended_ms   BIGINT NOT NULL,
    outcome    TEXT NOT NULL,
    detail     TEXT NOT NULL,
    PRIMARY KEY (job, started_ms)
);

COMMENT ON TABLE job_runs IS 'What each batch job did';
COMMENT ON COLUMN job_runs.job IS 'backup, restore, clean-up, archive or report';
COMMENT ON COLUMN job_runs.started_ms IS 'When it began: wall time, milliseconds since 1970';
COMMENT ON COLUMN job_runs.ended_ms IS 'When it ended, likewise';
COMMENT ON COLUMN job_runs.outcome IS 'done or failed';
COMMENT ON COLUMN job_runs.detail IS 'What it did, or why it failed';

-- When a job first saw that a run has ended, with how many events: a stopped run's may become more while its
-- consumers are behind, and then it had not. When it was archived, and when clean-up removed its rows. Wall time
-- likewise. The run and its lanes stay: their high-water marks are what makes an event a duplicate that comes again.
ALTER TABLE runs ADD COLUMN ended_ms BIGINT;
ALTER TABLE runs ADD COLUMN ended_events BIGINT;
ALTER TABLE runs ADD COLUMN archived_ms BIGINT;
ALTER TABLE runs ADD COLUMN cleaned_ms BIGINT;

-- The batch jobs are `roaming_jobs`. `scripts/postgres-roles` makes it, and grants the same where it comes
-- after this.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'roaming_jobs') THEN
        GRANT USAGE ON SCHEMA roaming TO roaming_jobs;
        GRANT SELECT ON ALL TABLES IN SCHEMA roaming TO roaming_jobs;
        ALTER DEFAULT PRIVILEGES IN SCHEMA roaming GRANT SELECT ON TABLES TO roaming_jobs;
        GRANT INSERT, DELETE ON job_runs TO roaming_jobs;
        GRANT UPDATE (ended_ms, ended_events, archived_ms, cleaned_ms) ON runs TO roaming_jobs;
        GRANT DELETE ON aggregates TO roaming_jobs;
    END IF;
END
$$;
