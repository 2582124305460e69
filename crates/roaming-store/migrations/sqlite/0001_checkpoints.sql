-- What the consumers know about runs, and how far they are. Values are absolute: writing a checkpoint
-- again changes nothing. Every table that a checkpoint writes is keyed by the partition too, so that no
-- two owners share a row; the views sum over partitions.

-- What this store belongs to: the identity of the log (`log`) and the window length (`window_ms`).
CREATE TABLE bindings (
    name  TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- `run` is the run id as a number; the views print it as on the topic, in 16 hexadecimal digits.
CREATE TABLE runs (
    run           INTEGER NOT NULL PRIMARY KEY,
    load_order    INTEGER NOT NULL UNIQUE,
    name          TEXT NOT NULL,
    lanes         INTEGER NOT NULL,
    partitions    INTEGER NOT NULL,
    start_ms      INTEGER NOT NULL,
    end_ms        INTEGER NOT NULL,
    state         TEXT NOT NULL,
    specification TEXT NOT NULL
) STRICT;

-- `epoch` fences: it rises with every acquisition, and a checkpoint of an older one is refused.
CREATE TABLE partitions (
    partition            INTEGER NOT NULL PRIMARY KEY,
    epoch                INTEGER NOT NULL,
    owner                TEXT NOT NULL,
    next_offset          INTEGER,
    unattributed_rejects INTEGER NOT NULL DEFAULT 0
) STRICT;

-- `digest` holds the 64 bits of the lane's digest, as a signed number. `gaps` is a JSON array of
-- half-open intervals [first, next] of missing sequences.
CREATE TABLE lanes (
    run              INTEGER NOT NULL,
    partition        INTEGER NOT NULL,
    lane             INTEGER NOT NULL,
    next_sequence    INTEGER NOT NULL,
    gaps             TEXT NOT NULL,
    events           INTEGER NOT NULL,
    digest           INTEGER NOT NULL,
    duplicates       INTEGER NOT NULL,
    rejected         INTEGER NOT NULL,
    emission_time_ms INTEGER NOT NULL,
    end_sequence     INTEGER,
    failed           INTEGER NOT NULL,
    PRIMARY KEY (run, partition, lane)
) STRICT, WITHOUT ROWID;

CREATE INDEX lanes_by_partition ON lanes (partition);

CREATE TABLE watermarks (
    run          INTEGER NOT NULL,
    partition    INTEGER NOT NULL,
    watermark_ms INTEGER NOT NULL,
    PRIMARY KEY (run, partition)
) STRICT, WITHOUT ROWID;

-- One row for each window, pair of networks, technology, procedure and outcome. A `latency_le_…` column
-- counts the events up to that latency and above the one before it: buckets, which add.
CREATE TABLE aggregates (
    run               INTEGER NOT NULL,
    partition         INTEGER NOT NULL,
    window_start_ms   INTEGER NOT NULL,
    home_plmn         TEXT NOT NULL,
    visited_plmn      TEXT NOT NULL,
    rat               TEXT NOT NULL,
    procedure         TEXT NOT NULL,
    outcome           TEXT NOT NULL,
    events            INTEGER NOT NULL,
    latency_us        INTEGER NOT NULL,
    duration_s        INTEGER NOT NULL,
    octets_uplink     INTEGER NOT NULL,
    octets_downlink   INTEGER NOT NULL,
    charge_millionths INTEGER NOT NULL,
    latency_le_10ms   INTEGER NOT NULL,
    latency_le_20ms   INTEGER NOT NULL,
    latency_le_40ms   INTEGER NOT NULL,
    latency_le_60ms   INTEGER NOT NULL,
    latency_le_80ms   INTEGER NOT NULL,
    latency_le_100ms  INTEGER NOT NULL,
    latency_le_120ms  INTEGER NOT NULL,
    latency_le_150ms  INTEGER NOT NULL,
    latency_le_200ms  INTEGER NOT NULL,
    latency_le_280ms  INTEGER NOT NULL,
    latency_le_400ms  INTEGER NOT NULL,
    latency_le_700ms  INTEGER NOT NULL,
    latency_le_1000ms INTEGER NOT NULL,
    latency_le_2000ms INTEGER NOT NULL,
    latency_le_5000ms INTEGER NOT NULL,
    latency_above     INTEGER NOT NULL,
    PRIMARY KEY (run, partition, window_start_ms, home_plmn, visited_plmn, rat, procedure, outcome)
) STRICT, WITHOUT ROWID;

-- For people and dashboards: whole runs, whoever counted what.
CREATE VIEW run_lanes AS
SELECT
    printf('%016x', lanes.run) AS run_id,
    runs.name AS run_name,
    lane,
    partition,
    events,
    printf('%016x', digest) AS digest,
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
    strftime('%Y-%m-%dT%H:%M:%fZ', emission_time_ms / 1000.0, 'unixepoch') AS emission_time
FROM lanes LEFT JOIN runs ON runs.run = lanes.run;

CREATE VIEW run_rows AS
SELECT
    printf('%016x', aggregates.run) AS run_id,
    runs.name AS run_name,
    strftime('%Y-%m-%dT%H:%M:%SZ', window_start_ms / 1000, 'unixepoch') AS window_start,
    home_plmn,
    visited_plmn,
    rat,
    procedure,
    outcome,
    sum(events) AS events,
    sum(latency_us) AS latency_us,
    sum(duration_s) AS duration_s,
    sum(octets_uplink) AS octets_uplink,
    sum(octets_downlink) AS octets_downlink,
    sum(charge_millionths) AS charge_millionths,
    sum(latency_le_10ms) AS latency_le_10ms,
    sum(latency_le_20ms) AS latency_le_20ms,
    sum(latency_le_40ms) AS latency_le_40ms,
    sum(latency_le_60ms) AS latency_le_60ms,
    sum(latency_le_80ms) AS latency_le_80ms,
    sum(latency_le_100ms) AS latency_le_100ms,
    sum(latency_le_120ms) AS latency_le_120ms,
    sum(latency_le_150ms) AS latency_le_150ms,
    sum(latency_le_200ms) AS latency_le_200ms,
    sum(latency_le_280ms) AS latency_le_280ms,
    sum(latency_le_400ms) AS latency_le_400ms,
    sum(latency_le_700ms) AS latency_le_700ms,
    sum(latency_le_1000ms) AS latency_le_1000ms,
    sum(latency_le_2000ms) AS latency_le_2000ms,
    sum(latency_le_5000ms) AS latency_le_5000ms,
    sum(latency_above) AS latency_above
FROM aggregates LEFT JOIN runs ON runs.run = aggregates.run
GROUP BY aggregates.run, window_start_ms, home_plmn, visited_plmn, rat, procedure, outcome;
