//! What is kept of a run that has ended, and what is not.

use roaming_analytics::{Checkpoint, LaneRow};
use roaming_events::{LaneId, Sequence, SimTime};
use roaming_store::{EndedRun, PostgresStore, Retention, RunRow, Store, StoreError};
use roaming_testbed::services::Postgres;

use crate::postgres::{new, sql};
use crate::sample::{START_MS, checkpoint, run, run_row};

const PARTITION: u16 = 3;

/// A lane whose every event is counted, up to its end where `is_whole`.
fn lane(number: u16, events: u64, is_whole: bool) -> LaneRow {
    let lane = LaneId::try_new(number).unwrap();
    let mut row = LaneRow::unseen(run(1), lane, SimTime::from_unix_ms(START_MS));
    row.next = Sequence::try_new(events).unwrap();
    row.tally.events = events;
    row.end = is_whole.then_some(row.next);
    row
}

/// A store with a run of two lanes and 25 rows.
struct Bench {
    dsn: String,
    store: PostgresStore,
}

impl Bench {
    async fn with(lanes: [LaneRow; 2]) -> Self {
        let dsn = Postgres::shared().create_database();
        let bench = Self { store: new(&dsn), dsn };
        bench.put("running").await;
        bench.count(lanes).await;
        bench
    }

    async fn put(&self, state: &str) {
        let row = RunRow { lanes: 2, state: state.to_owned(), ..run_row(1, "sample") };
        self.store.put_run(&row).await.unwrap();
    }

    async fn count(&self, lanes: [LaneRow; 2]) {
        let epoch = self.store.acquire(PARTITION, "me").await.unwrap().epoch;
        let checkpoint = Checkpoint { lanes: lanes.into(), ..checkpoint(PARTITION, 4711) };
        self.store.commit(epoch, &checkpoint).await.unwrap();
    }

    async fn retention(&self) -> Retention {
        Retention::open(&self.dsn.parse().unwrap()).await.unwrap()
    }

    /// Returns the ends that jobs see at `now_ms`.
    async fn ends(&self, now_ms: u64) -> Vec<u64> {
        let ended = self.retention().await.ended(now_ms).await.unwrap();
        ended.iter().map(|run| run.ended_ms).collect()
    }

    async fn ended(&self) -> EndedRun {
        let mut ended = self.retention().await.ended(1000).await.unwrap();
        ended.remove(0)
    }

    async fn rows(&self) -> usize {
        self.store.found(run(1)).await.unwrap().rows.len()
    }
}

#[tokio::test]
async fn a_run_ends_once_when_all_its_lanes_are_finished() {
    let bench = Bench::with([lane(3, 100, true), lane(11, 200, false)]).await;
    assert!(bench.ends(1000).await.is_empty());
    bench.put("paused").await;
    assert!(bench.ends(2000).await.is_empty());
    bench.count([lane(3, 100, true), lane(11, 200, true)]).await;
    assert_eq!(bench.ends(3000).await, [3000]);
    assert_eq!(bench.ends(4000).await, [3000]);
}

#[tokio::test]
async fn a_stopped_run_ends_when_nothing_more_of_it_is_counted() {
    let bench = Bench::with([lane(3, 100, true), lane(11, 200, false)]).await;
    for state in ["stopped", "deleted"] {
        bench.put(state).await;
        assert_eq!(bench.ends(1000).await, [1000]);
    }
    // Its consumer was behind.
    let seen = bench.ended().await;
    bench.count([lane(3, 100, true), lane(11, 201, false)]).await;
    assert_eq!(bench.retention().await.clean_up(&seen, 5000).await.unwrap(), None);
    assert_eq!(bench.rows().await, 25);
    assert_eq!(bench.ends(2000).await, [2000]);
    assert_eq!(bench.retention().await.clean_up(&seen, 5000).await.unwrap(), None);
    assert_eq!(bench.rows().await, 25);
}

#[tokio::test]
async fn an_archive_counts_until_more_is_counted() {
    let bench = Bench::with([lane(3, 100, true), lane(11, 200, false)]).await;
    bench.put("stopped").await;
    let ended = bench.ended().await;
    assert_eq!(ended.archived_ms, None);
    assert!(bench.retention().await.note_archive(&ended, 5000).await.unwrap());
    assert_eq!(bench.ended().await.archived_ms, Some(5000));
    bench.count([lane(3, 100, true), lane(11, 201, false)]).await;
    assert!(!bench.retention().await.note_archive(&ended, 6000).await.unwrap());
    let ended = bench.ended().await;
    assert_eq!(ended.archived_ms, None);
    assert!(bench.retention().await.note_archive(&ended, 7000).await.unwrap());
    assert_eq!(bench.ended().await.archived_ms, Some(7000));
}

#[tokio::test]
async fn only_the_rows_go_and_only_once() {
    let bench = Bench::with([lane(3, 100, true), lane(11, 200, true)]).await;
    bench.store.put_run(&run_row(2, "other")).await.unwrap();
    let before = bench.store.acquire(PARTITION, "me").await.unwrap().snapshot;
    let run_before = bench.store.runs().await.unwrap();
    let ended = bench.ended().await;
    let mut retention = bench.retention().await;
    assert_eq!(retention.clean_up(&ended, 5000).await.unwrap(), Some(25));
    assert_eq!(retention.clean_up(&ended, 6000).await.unwrap(), None);
    let cleaned = EndedRun { cleaned_ms: Some(5000), ..ended };
    assert_eq!(retention.ended(7000).await.unwrap(), [cleaned]);

    let found = bench.store.found(run(1)).await.unwrap();
    assert!(found.rows.is_empty());
    assert_eq!(found.cleaned_ms, Some(5000));
    assert_eq!(bench.store.found(run(2)).await.unwrap().cleaned_ms, None);
    // What makes an event a duplicate that comes again.
    let after = bench.store.acquire(PARTITION, "me").await.unwrap().snapshot;
    assert!(!after.lanes.is_empty() && after.next_offset.is_some());
    assert_eq!((after.lanes, after.next_offset), (before.lanes, before.next_offset));
    assert!(bench.store.progress(run(1)).await.unwrap().watermark.is_some());
    assert_eq!(bench.store.runs().await.unwrap(), run_before);
}

#[tokio::test]
async fn a_clean_up_that_fails_removes_nothing() {
    let bench = Bench::with([lane(3, 100, true), lane(11, 200, true)]).await;
    let ended = bench.ended().await;
    let trap = "CREATE FUNCTION roaming.spring() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN IF old.events = 20 THEN RAISE SQLSTATE '57014'; END IF; RETURN old; END $$;
        CREATE TRIGGER trap BEFORE DELETE ON roaming.aggregates
            FOR EACH ROW EXECUTE FUNCTION roaming.spring()";
    sql(&bench.dsn, trap).await.unwrap();
    let mut retention = bench.retention().await;
    let error = retention.clean_up(&ended, 5000).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
    assert_eq!(bench.rows().await, 25);
    sql(&bench.dsn, "DROP TRIGGER trap ON roaming.aggregates").await.unwrap();
    assert_eq!(retention.clean_up(&ended, 6000).await.unwrap(), Some(25));
}
