//! Stores to work on.

use roaming_analytics::{Checkpoint, LaneRow};
use roaming_events::{
    EventType, LaneDigest, LaneId, Outcome, Rat, RowKey, RunId, Sequence, SimDuration, SimTime,
    Totals,
};
use roaming_jobs::{Place, S3Options};
use roaming_store::{PostgresOptions, PostgresStore, RunRow, Store};
use roaming_testbed::services::Postgres;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tempfile::TempDir;

/// Simulated time zero of the samples, Monday 2026-06-01T08:00:00Z.
pub(crate) const START_MS: u64 = 1_780_300_800_000;

/// How many lanes a run has.
const LANES: u16 = 2;

/// A database of a test, its store, and a folder.
pub(crate) struct Bench {
    pub(crate) dsn: String,
    pub(crate) store: PostgresStore,
    folder: TempDir,
}

impl Bench {
    /// Makes a database in which nothing is.
    pub(crate) fn empty() -> Self {
        let dsn = Postgres::shared().create_database();
        let store = PostgresStore::new(dsn.parse().unwrap());
        Self { dsn, store, folder: tempfile::tempdir().unwrap() }
    }

    /// Makes a store that is tied to a log, with two runs, one of them finished.
    pub(crate) async fn with_runs() -> Self {
        let bench = Self::empty();
        bench.store.bind_log("a log").await.unwrap();
        bench.store.bind_window(SimDuration::from_secs(900)).await.unwrap();
        for (number, name) in [(1, "finished"), (2, "odd \t\n\\ näme")] {
            bench.store.put_run(&run_row(number, name)).await.unwrap();
        }
        bench.count(0, &[lane(1, 0, End::Reached), lane(1, 1, End::Reached)], 40).await;
        bench.count(1, &[lane(2, 0, End::Open), lane(2, 1, End::Reached)], 40).await;
        bench
    }

    /// Writes a checkpoint of a partition, with `rows` aggregate rows of the first lane's run.
    pub(crate) async fn count(&self, partition: u16, lanes: &[LaneRow], rows: u64) {
        let epoch = self.store.acquire(partition, "me").await.unwrap().epoch;
        let run = lanes[0].run;
        let checkpoint = Checkpoint {
            partition,
            next_offset: 100,
            last_record_ms: None,
            lanes: lanes.to_vec(),
            new_rows: Vec::new(),
            changed_rows: (0..rows).map(|n| (run, key(n), totals(n + 1))).collect(),
            runs: vec![(run, SimTime::from_unix_ms(START_MS))],
            unattributed_rejects: 3,
        };
        self.store.commit(epoch, &checkpoint).await.unwrap();
    }

    pub(crate) fn options(&self) -> PostgresOptions {
        self.dsn.parse().unwrap()
    }

    /// Returns a place that is a folder of this test.
    pub(crate) fn place(&self) -> Place {
        Place::open(&self.url(), &S3Options::default()).unwrap()
    }

    pub(crate) fn url(&self) -> String {
        format!("file://{}", self.folder.path().display())
    }

    pub(crate) fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    /// Runs statements as any SQL user would; returns the text in the last one's first row.
    pub(crate) async fn sql(&self, statements: &str) -> String {
        use sqlx::Row;
        let mut user = PgConnection::connect(&self.dsn).await.unwrap();
        let statements = AssertSqlSafe(statements.to_owned());
        let rows = sqlx::raw_sql(statements).fetch_all(&mut user).await.unwrap();
        let text = rows.last().and_then(|row| row.get::<Option<String>, _>(0));
        text.unwrap_or_default()
    }
}

pub(crate) fn run(number: u64) -> RunId {
    RunId::from_hash(number << 2)
}

pub(crate) fn run_row(number: u64, name: &str) -> RunRow {
    RunRow {
        run: run(number),
        name: name.to_owned(),
        lanes: LANES,
        partitions: 2,
        start: SimTime::from_unix_ms(START_MS),
        end: SimTime::from_unix_ms(START_MS + 36_000_000),
        state: "running".to_owned(),
        specification_json: format!("{{\"seed\":{number}}}"),
    }
}

/// Whether the end of a lane was seen.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Reached,
    Open,
}

pub(crate) fn lane(run_number: u64, number: u16, end: End) -> LaneRow {
    let start = SimTime::from_unix_ms(START_MS);
    let mut row = LaneRow::unseen(run(run_number), LaneId::try_new(number).unwrap(), start);
    row.next = Sequence::try_new(101).unwrap();
    row.tally.events = 100;
    row.tally.digest = LaneDigest::from_bits(u64::MAX - u64::from(number));
    row.duplicates = 7;
    row.end = (end == End::Reached).then_some(row.next);
    row
}

/// The key of the `number`-th row: ten to a window.
fn key(number: u64) -> RowKey {
    RowKey {
        window_start: SimTime::from_unix_ms(START_MS + number / 10 * 900_000),
        home_plmn: "99901".parse().unwrap(),
        visited_plmn: if number.is_multiple_of(2) { "99902" } else { "999003" }.parse().unwrap(),
        rat: Rat::ALL[(number / 2 % 2) as usize],
        procedure: EventType::ALL[(number % 10) as usize],
        outcome: Outcome::ALL[(number % 10 % 3) as usize],
    }
}

fn totals(events: u64) -> Totals {
    let mut totals = Totals { events, latency_us: events * 30_000, ..Totals::default() };
    totals.latency_buckets[2] = events - events / 10;
    totals.latency_buckets[8] = events / 10;
    totals.charge_millionths = -13 * events.cast_signed();
    totals
}
