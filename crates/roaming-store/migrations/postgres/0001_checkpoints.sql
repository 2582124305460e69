-- What the consumers know about runs, and how far they are. Values are absolute: writing a checkpoint
-- again changes nothing. Every table that a checkpoint writes is keyed by the partition too, so that no
-- two owners share a row; the views sum over partitions.
--
-- All of it is in schema `roaming`, which is on the search path here.

-- One row for each migration.
CREATE TABLE schema_versions (
    version    BIGINT NOT NULL PRIMARY KEY,
    applied_at TIMESTAMPTZ NOT NULL DEFAULT now()
);

-- What this store belongs to: the identity of the log (`log`) and the window length (`window_ms`).
CREATE TABLE bindings (
    name  TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
);

-- `run` is the run id as a number; the views print it as on the topic, in 16 hexadecimal digits. Two
-- replicas may give two runs the same `load_order` only where both were loaded at the same moment.
CREATE TABLE runs (
    run           BIGINT NOT NULL PRIMARY KEY,
    load_order    BIGINT NOT NULL,
    name          TEXT NOT NULL,
    lanes         BIGINT NOT NULL,
    partitions    BIGINT NOT NULL,
    start_ms      BIGINT NOT NULL,
    end_ms        BIGINT NOT NULL,
    state         TEXT NOT NULL,
    specification TEXT NOT NULL
);

-- `epoch` fences: it rises with every acquisition, and a checkpoint of an older one is refused. The row is
-- locked from a checkpoint's first statement to its end.
CREATE TABLE partitions (
    partition            BIGINT NOT NULL PRIMARY KEY,
    epoch                BIGINT NOT NULL,
    owner                TEXT NOT NULL,
    next_offset          BIGINT,
    unattributed_rejects BIGINT NOT NULL DEFAULT 0
);

-- `digest` holds the 64 bits of the lane's digest, as a signed number. `gaps` is a JSON array of
-- half-open intervals [first, next] of missing sequences.
CREATE TABLE lanes (
    run              BIGINT NOT NULL,
    partition        BIGINT NOT NULL,
    lane             BIGINT NOT NULL,
    next_sequence    BIGINT NOT NULL,
    gaps             TEXT NOT NULL,
    events           BIGINT NOT NULL,
    digest           BIGINT NOT NULL,
    duplicates       BIGINT NOT NULL,
    rejected         BIGINT NOT NULL,
    emission_time_ms BIGINT NOT NULL,
    end_sequence     BIGINT,
    failed           BOOLEAN NOT NULL,
    PRIMARY KEY (run, partition, lane)
);

CREATE INDEX lanes_by_partition ON lanes (partition);

CREATE TABLE watermarks (
    run          BIGINT NOT NULL,
    partition    BIGINT NOT NULL,
    watermark_ms BIGINT NOT NULL,
    PRIMARY KEY (run, partition)
);

-- One row for each window, pair of networks, technology, procedure and outcome. A `latency_le_…` column
-- counts the events up to that latency and above the one before it: buckets, which add.
-- Texts are compared by their bytes, not by a language's rules. A row of an open window is written again
-- with every checkpoint: in the space that is left on its page, no index changes.
CREATE TABLE aggregates (
    run               BIGINT NOT NULL,
    partition         BIGINT NOT NULL,
    window_start_ms   BIGINT NOT NULL,
    home_plmn         TEXT COLLATE "C" NOT NULL,
    visited_plmn      TEXT COLLATE "C" NOT NULL,
    rat               TEXT COLLATE "C" NOT NULL,
    procedure         TEXT COLLATE "C" NOT NULL,
    outcome           TEXT COLLATE "C" NOT NULL,
    events            BIGINT NOT NULL,
    latency_us        BIGINT NOT NULL,
    duration_s        BIGINT NOT NULL,
    octets_uplink     BIGINT NOT NULL,
    octets_downlink   BIGINT NOT NULL,
    charge_millionths BIGINT NOT NULL,
    latency_le_10ms   BIGINT NOT NULL,
    latency_le_20ms   BIGINT NOT NULL,
    latency_le_40ms   BIGINT NOT NULL,
    latency_le_60ms   BIGINT NOT NULL,
    latency_le_80ms   BIGINT NOT NULL,
    latency_le_100ms  BIGINT NOT NULL,
    latency_le_120ms  BIGINT NOT NULL,
    latency_le_150ms  BIGINT NOT NULL,
    latency_le_200ms  BIGINT NOT NULL,
    latency_le_280ms  BIGINT NOT NULL,
    latency_le_400ms  BIGINT NOT NULL,
    latency_le_700ms  BIGINT NOT NULL,
    latency_le_1000ms BIGINT NOT NULL,
    latency_le_2000ms BIGINT NOT NULL,
    latency_le_5000ms BIGINT NOT NULL,
    latency_above     BIGINT NOT NULL,
    PRIMARY KEY (run, partition, window_start_ms, home_plmn, visited_plmn, rat, procedure, outcome)
) WITH (fillfactor = 70);

-- For people and dashboards: whole runs, whoever counted what.
CREATE VIEW run_lanes AS
SELECT
    lpad(to_hex(lanes.run), 16, '0') AS run_id,
    runs.name AS run_name,
    lane,
    partition,
    events,
    lpad(to_hex(digest), 16, '0') AS digest,
    next_sequence,
    end_sequence,
    CASE
        WHEN failed THEN 'failed'
        WHEN end_sequence = next_sequence AND gaps = '[]' THEN 'finished'
        ELSE 'running'
    END AS state,
    gaps,
    duplicates,
    rejected,
    to_timestamp(emission_time_ms / 1000.0) AS emission_time
FROM lanes LEFT JOIN runs ON runs.run = lanes.run;

CREATE VIEW run_rows AS
SELECT
    lpad(to_hex(aggregates.run), 16, '0') AS run_id,
    runs.name AS run_name,
    to_timestamp(window_start_ms / 1000.0) AS window_start,
    home_plmn,
    visited_plmn,
    rat,
    procedure,
    outcome,
    sum(events)::bigint AS events,
    sum(latency_us)::bigint AS latency_us,
    sum(duration_s)::bigint AS duration_s,
    sum(octets_uplink)::bigint AS octets_uplink,
    sum(octets_downlink)::bigint AS octets_downlink,
    sum(charge_millionths)::bigint AS charge_millionths,
    sum(latency_le_10ms)::bigint AS latency_le_10ms,
    sum(latency_le_20ms)::bigint AS latency_le_20ms,
    sum(latency_le_40ms)::bigint AS latency_le_40ms,
    sum(latency_le_60ms)::bigint AS latency_le_60ms,
    sum(latency_le_80ms)::bigint AS latency_le_80ms,
    sum(latency_le_100ms)::bigint AS latency_le_100ms,
    sum(latency_le_120ms)::bigint AS latency_le_120ms,
    sum(latency_le_150ms)::bigint AS latency_le_150ms,
    sum(latency_le_200ms)::bigint AS latency_le_200ms,
    sum(latency_le_280ms)::bigint AS latency_le_280ms,
    sum(latency_le_400ms)::bigint AS latency_le_400ms,
    sum(latency_le_700ms)::bigint AS latency_le_700ms,
    sum(latency_le_1000ms)::bigint AS latency_le_1000ms,
    sum(latency_le_2000ms)::bigint AS latency_le_2000ms,
    sum(latency_le_5000ms)::bigint AS latency_le_5000ms,
    sum(latency_above)::bigint AS latency_above
FROM aggregates LEFT JOIN runs ON runs.run = aggregates.run
GROUP BY aggregates.run, runs.name, window_start_ms, home_plmn, visited_plmn, rat, procedure, outcome;

COMMENT ON VIEW run_lanes IS 'Lanes of all runs: how far each is, and its proof';
COMMENT ON COLUMN run_lanes.run_id IS 'The run, as in the keys on the topic: 16 hexadecimal digits';
COMMENT ON COLUMN run_lanes.run_name IS 'Name under which the run was loaded; empty until it is known';
COMMENT ON COLUMN run_lanes.events IS 'Distinct events that are counted';
COMMENT ON COLUMN run_lanes.digest IS 'Sum of the events'' hashes, 16 hexadecimal digits';
COMMENT ON COLUMN run_lanes.next_sequence IS 'Sequence of the event that comes next';
COMMENT ON COLUMN run_lanes.end_sequence IS 'Number of records of the lane; empty until its end was seen';
COMMENT ON COLUMN run_lanes.state IS 'running, finished (all counted), or failed (too many gaps)';
COMMENT ON COLUMN run_lanes.gaps IS 'Missing sequences: JSON array of intervals [first, next]';
COMMENT ON COLUMN run_lanes.duplicates IS 'Records that were counted before, and dropped';
COMMENT ON COLUMN run_lanes.rejected IS 'Records that cannot be read, and are on roaming.events.dlq';
COMMENT ON COLUMN run_lanes.emission_time IS 'Latest simulated time at which a record left its source';

COMMENT ON VIEW run_rows IS 'Counts of all runs by window, networks, technology, procedure and outcome';
COMMENT ON COLUMN run_rows.run_id IS 'The run, as in the keys on the topic: 16 hexadecimal digits';
COMMENT ON COLUMN run_rows.run_name IS 'Name under which the run was loaded; empty until it is known';
COMMENT ON COLUMN run_rows.window_start IS 'Simulated time at which the window begins';
COMMENT ON COLUMN run_rows.home_plmn IS 'Network that the subscriber belongs to: MCC and MNC';
COMMENT ON COLUMN run_rows.visited_plmn IS 'Network that the subscriber is in: MCC and MNC';
COMMENT ON COLUMN run_rows.rat IS 'Radio technology';
COMMENT ON COLUMN run_rows.procedure IS 'Type of the events';
COMMENT ON COLUMN run_rows.outcome IS 'What came of the procedure';
COMMENT ON COLUMN run_rows.events IS 'Number of events';
COMMENT ON COLUMN run_rows.latency_us IS 'Sum of latencies, in microseconds';
COMMENT ON COLUMN run_rows.duration_s IS 'Sum of durations, in seconds';
COMMENT ON COLUMN run_rows.octets_uplink IS 'Sum of octets from the subscriber';
COMMENT ON COLUMN run_rows.octets_downlink IS 'Sum of octets to the subscriber';
COMMENT ON COLUMN run_rows.charge_millionths IS 'Sum of charges, in millionths of the currency unit';
COMMENT ON COLUMN run_rows.latency_le_10ms IS 'Events of up to 10 ms; each next column: above that of the one before';
COMMENT ON COLUMN run_rows.latency_above IS 'Events above 5000 ms';

-- Dashboards read as `roaming_reader`. `scripts/postgres-roles` makes it, and grants the same where it
-- comes after this.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'roaming_reader') THEN
        GRANT USAGE ON SCHEMA roaming TO roaming_reader;
        GRANT SELECT ON ALL TABLES IN SCHEMA roaming TO roaming_reader;
        ALTER DEFAULT PRIVILEGES IN SCHEMA roaming GRANT SELECT ON TABLES TO roaming_reader;
    END IF;
END
$$;
