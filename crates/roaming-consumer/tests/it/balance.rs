//! The balance can fail: each tampering makes `verify` end with status 2 and name the lane or row. An
//! emptied store is a tampering like the others and names each lane; where the store's file is gone, the
//! status is 64 and the file is named.

use std::fs;
use std::panic::catch_unwind;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::Arc;

use roaming_analytics::{Checkpoint, LaneRow, Observation, Partition, PartitionConfig, RunView};
use roaming_events::{
    Event, EventId, LaneId, Record, RowKey, RunId, Sequence, SimDuration, Totals,
};
use roaming_sim::Simulation;
use roaming_store::{RunRow, SqliteStore, Store};
use sqlx::Connection;
use tempfile::TempDir;

use crate::harness::{LANES, PARTITIONS, Produced, records, simulation};

const WINDOW: SimDuration = SimDuration::from_secs(900);
const CONFIG: PartitionConfig =
    PartitionConfig { window: WINDOW, gaps_max: 100, rows_max: 100_000 };

/// A run that was counted, and the store that holds it.
struct Counted {
    simulation: Arc<Simulation>,
    records: Vec<Produced>,
    store: SqliteStore,
    path: PathBuf,
    _folder: TempDir,
}

impl Counted {
    /// Counts a run, without the records that `drop` names.
    async fn without(drop: impl Fn(usize, &Produced) -> bool) -> Self {
        Self::edited(|records| {
            let mut index = 0;
            records.retain(|record| {
                index += 1;
                !drop(index - 1, record)
            });
        })
        .await
    }

    /// Counts a run of which `edit` changed the records.
    async fn edited(edit: impl FnOnce(&mut Vec<Produced>)) -> Self {
        let simulation = simulation("sheet");
        let mut records = records(&simulation);
        edit(&mut records);
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("run.db");
        let store = SqliteStore::open(&path).await.unwrap();
        store.bind_window(WINDOW).await.unwrap();
        store.put_run(&run_row(&simulation)).await.unwrap();
        let counted = Self { simulation, records, store, path, _folder: folder };
        for partition in 0..PARTITIONS {
            counted.count(partition).await;
        }
        counted
    }

    async fn whole() -> Self {
        let counted = Self::edited(|_| {}).await;
        check_holds(&counted.verify());
        counted
    }

    async fn count(&self, number: u16) {
        let acquired = self.store.acquire(number, "test").await.unwrap();
        let mut partition = Partition::restore(number, CONFIG, acquired.snapshot);
        partition.register_run(self.view());
        let mine = self.records.iter().filter(|record| record.partition == number);
        for (offset, record) in (0..).zip(mine) {
            let decoded = Record::decode(&record.key, &record.payload);
            let what = partition.observe(offset, decoded, &record.key, &record.payload);
            assert!(!matches!(what, Observation::Rejected(_)), "{what:?}");
        }
        let checkpoint = partition.checkpoint().unwrap();
        self.store.commit(acquired.epoch, &checkpoint).await.unwrap();
    }

    fn run(&self) -> RunId {
        self.simulation.specification().run_id()
    }

    fn view(&self) -> RunView {
        let RunRow { run, lanes, start, .. } = run_row(&self.simulation);
        RunView { run, lanes, partitions: PARTITIONS, start }
    }

    /// Writes what no consumer would: a checkpoint made by hand.
    async fn forge(&self, partition: u16, lanes: Vec<LaneRow>, rows: Vec<(RowKey, Totals)>) {
        let acquired = self.store.acquire(partition, "forger").await.unwrap();
        let rows = rows.into_iter().map(|(key, totals)| (self.run(), key, totals)).collect();
        let checkpoint = Checkpoint {
            partition,
            next_offset: acquired.snapshot.next_offset.unwrap(),
            last_record_ms: None,
            lanes,
            new_rows: Vec::new(),
            changed_rows: rows,
            runs: Vec::new(),
            unattributed_rejects: 0,
        };
        self.store.commit(acquired.epoch, &checkpoint).await.unwrap();
    }

    /// An event of partition 0, and its row there.
    async fn some_row(&self, number: usize) -> (Event, Produced, RowKey, Totals) {
        let record =
            self.records.iter().filter(|record| record.partition == 0).nth(number).unwrap();
        let Ok(Record::Event(event)) = Record::decode(&record.key, &record.payload) else {
            panic!("an event")
        };
        let key = RowKey::of(&event, WINDOW);
        let loaded = self.store.load_rows(0, &[(self.run(), key)]).await.unwrap();
        (event, record.clone(), key, loaded[0].2.unwrap())
    }

    /// The last event of the first lane of partition 0, and its record.
    fn last_event(&self) -> (Event, &Produced) {
        let lane = lane_of(&self.records[0]);
        let mut records = self.records.iter().rev().filter(|record| lane_of(record) == lane);
        let (_end, record) = (records.next().unwrap(), records.next().unwrap());
        match Record::decode(&record.key, &record.payload) {
            Ok(Record::Event(event)) => (event, record),
            other => panic!("an event, not {other:?}"),
        }
    }

    /// Rewinds the lane of [`Counted::last_event`] by one and counts that event and the end once more, as
    /// a consumer does.
    async fn count_last_event_again(&self) {
        let (event, record) = self.last_event();
        let mut acquired = self.store.acquire(0, "test").await.unwrap();
        let is_its = |lane: &&mut LaneRow| lane.lane == event.id.lane;
        let lane = acquired.snapshot.lanes.iter_mut().find(is_its).unwrap();
        lane.end = None;
        lane.next = Sequence::try_new(lane.next.get() - 1).unwrap();
        let rewound = acquired.snapshot.clone();
        let refused = catch_unwind(|| Partition::restore(0, CONFIG, rewound)).unwrap_err();
        let said = refused.downcast_ref::<String>().unwrap();
        assert!(said.contains("INV-1 "), "{said}");

        let lane = acquired.snapshot.lanes.iter_mut().find(is_its).unwrap();
        lane.tally.events -= 1;
        let offset = acquired.snapshot.next_offset.unwrap();
        let mut partition = Partition::restore(0, CONFIG, acquired.snapshot);
        partition.register_run(self.view());
        let mine = self.records.iter().filter(|other| lane_of(other) == event.id.lane);
        let last_two = mine.skip_while(|other| other.key != record.key);
        for (offset, record) in (offset..).zip(last_two) {
            let decoded = Record::decode(&record.key, &record.payload);
            let what = partition.observe(offset, decoded, &record.key, &record.payload);
            let is_taken =
                matches!(what, Observation::Counted | Observation::Corrected | Observation::End);
            assert!(is_taken, "{what:?}");
        }
        let rows = self.store.load_rows(0, &partition.missing_rows()).await.unwrap();
        partition.supply_rows(rows);
        let checkpoint = partition.checkpoint().unwrap();
        self.store.commit(acquired.epoch, &checkpoint).await.unwrap();
    }

    fn verify(&self) -> Output {
        verify(&self.path, &["--run", "sheet"])
    }
}

fn verify(path: &std::path::Path, which: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_roaming-consumer"))
        .arg("verify")
        .args(which)
        .arg("--store")
        .arg(path)
        .env("ROAMING_LOG", "off")
        .output()
        .unwrap()
}

fn run_row(simulation: &Simulation) -> RunRow {
    let specification = simulation.specification();
    RunRow {
        run: specification.run_id(),
        name: specification.name.clone(),
        lanes: specification.lanes,
        partitions: specification.events_partitions,
        start: specification.start(),
        end: specification.end(),
        state: "running".to_owned(),
        specification_json: serde_json::to_string(specification.as_ref()).unwrap(),
    }
}

fn lane_of(record: &Produced) -> LaneId {
    EventId::from_key(&record.key).unwrap().lane
}

#[track_caller]
fn check_holds(output: &Output) {
    let sheet = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{sheet}");
    assert!(sheet.contains("the balance holds: "), "{sheet}");
}

/// Checks that the balance does not hold and that some line of the sheet has all of `words`.
#[track_caller]
fn check_broken(output: &Output, words: &[&str]) {
    let sheet = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(2), "{sheet}");
    assert!(sheet.contains("the balance does not hold"), "{sheet}");
    let is_named = sheet.lines().any(|line| words.iter().all(|word| line.contains(word)));
    assert!(is_named, "no line with {words:?} in:\n{sheet}");
}

fn name(key: &RowKey) -> String {
    format!("window {} home {} visited {}", key.window_start, key.home_plmn, key.visited_plmn)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_tampering_is_found_and_the_untampered_run_passes() {
    check_holds(&Counted::whole().await.verify());
    an_aggregate_row_is_one_off().await;
    the_store_is_deleted().await;
    an_event_is_removed_from_the_log().await;
    an_event_is_counted_twice().await;
    two_edits_compensate_each_other().await;
}

/// Tampering 1: one aggregate row has an event more, or less.
async fn an_aggregate_row_is_one_off() {
    let counted = Counted::whole().await;
    let (event, _, key, totals) = counted.some_row(0).await;

    let mut more = totals;
    more.add(&event);
    counted.forge(0, Vec::new(), vec![(key, more)]).await;
    check_broken(&counted.verify(), &[&name(&key), key.procedure.as_str(), "events expected"]);

    let mut less = totals;
    less.events -= 1;
    counted.forge(0, Vec::new(), vec![(key, less)]).await;
    check_broken(&counted.verify(), &[&name(&key), key.procedure.as_str(), "events expected"]);

    counted.forge(0, Vec::new(), vec![(key, totals)]).await;
    check_holds(&counted.verify());
}

/// Tampering 2: the store is deleted.
async fn the_store_is_deleted() {
    let counted = Counted::whole().await;
    counted.store.close().await;
    fs::remove_file(&counted.path).unwrap();

    let output = counted.verify();
    assert_eq!(output.status.code(), Some(64));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("no store at") && said.contains("--store"), "{said}");
    assert!(said.contains(counted.path.to_str().unwrap()), "the file is named: {said}");
    assert!(!counted.path.exists(), "verify makes no store");

    // A consumer that starts on the empty place knows the run, and finds nothing to read any more.
    let store = SqliteStore::open(&counted.path).await.unwrap();
    store.bind_window(WINDOW).await.unwrap();
    store.put_run(&run_row(&counted.simulation)).await.unwrap();
    let emptied = counted.verify();
    let sheet = String::from_utf8_lossy(&emptied.stdout);
    assert_eq!(emptied.status.code(), Some(2), "{sheet}");
    assert!(sheet.contains("the run is not finished: 0 of 8 lanes are"), "{sheet}");
    for lane in 0..LANES {
        let start = format!("{lane:>5} ");
        let is_named =
            sheet.lines().any(|line| line.starts_with(&start) && line.ends_with("unseen"));
        assert!(is_named, "lane {lane} in:\n{sheet}");
    }
}

/// Tampering 3: one event is removed from the log.
async fn an_event_is_removed_from_the_log() {
    let counted = Counted::without(|index, _| index == 10).await;
    check_broken(&counted.verify(), &["    0 ", "events differ, digest differs, events missing"]);
}

/// Tampering 4: a consumer with deduplication switched off counts one event twice.
///
/// Deduplication is that `next` of a lane has passed an event. Where `next` alone is rewound, the state
/// machine refuses the lane (INV-1). Where the count goes back with it, it counts the event again and its
/// invariants hold. A consumer without those checks would count one more, which only a forged checkpoint
/// can show. The balance finds both.
async fn an_event_is_counted_twice() {
    let counted = Counted::whole().await;
    counted.count_last_event_again().await;
    let (event, _) = counted.last_event();
    let key = RowKey::of(&event, WINDOW);
    let output = counted.verify();
    check_broken(&output, &[&format!("{:>5} ", event.id.lane.get()), "digest differs"]);
    check_broken(&output, &[&name(&key), key.procedure.as_str()]);

    let counted = Counted::whole().await;
    let (event, record, key, mut totals) = counted.some_row(7).await;
    let found = counted.store.found(counted.run()).await.unwrap();
    let mut lane = found.lanes.into_iter().find(|lane| lane.lane == event.id.lane).unwrap();
    lane.tally.add(&record.key, &record.payload);
    totals.add(&event);
    counted.forge(0, vec![lane], vec![(key, totals)]).await;
    let output = counted.verify();
    let lane_words = format!("{:>5} ", event.id.lane.get());
    check_broken(&output, &[&lane_words, "events differ, digest differs"]);
    check_broken(&output, &[&name(&key), key.procedure.as_str()]);
}

/// Tampering 5: two edits compensate each other.
async fn two_edits_compensate_each_other() {
    let counted = Counted::whole().await;
    let (first, _, first_key, mut first_totals) = counted.some_row(0).await;
    let mut number = 1;
    let (_, _, second_key, mut second_totals) = loop {
        let row = counted.some_row(number).await;
        if row.2 != first_key && row.3.events > 1 {
            break row;
        }
        number += 1;
    };
    // One event moves from a row to another: the sum over all rows stays what it was.
    let mut moved = Totals::default();
    moved.add(&first);
    first_totals.merge(&moved);
    second_totals.events -= 1;
    *second_totals.latency_buckets.iter_mut().find(|events| **events > 0).unwrap() -= 1;
    counted
        .forge(0, Vec::new(), vec![(first_key, first_totals), (second_key, second_totals)])
        .await;
    let output = counted.verify();
    check_broken(&output, &[&name(&first_key), first_key.procedure.as_str()]);
    check_broken(&output, &[&name(&second_key), second_key.procedure.as_str()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_runs_are_compared_that_have_ended() {
    let counted = Counted::whole().await;
    let mut other = run_row(&counted.simulation);
    other.run = RunId::from_hash(1 << 60);
    other.name = "going on".to_owned();
    counted.store.put_run(&other).await.unwrap();
    let output = verify(&counted.path, &["--all"]);
    check_holds_of_all(&output, &["run sheet", "finished: the balance holds, "]);
    check_holds_of_all(&output, &["run going on", "running: left out, it goes on"]);

    let mut unknown = other;
    (unknown.name, unknown.state) = ("stranger".to_owned(), "stopped".to_owned());
    unknown.specification_json = "{}".to_owned();
    unknown.run = RunId::from_hash(2 << 60);
    counted.store.put_run(&unknown).await.unwrap();
    let output = verify(&counted.path, &["--all"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).contains("run stranger"));

    let (_, _, key, mut totals) = counted.some_row(0).await;
    totals.events += 1;
    *totals.latency_buckets.last_mut().unwrap() += 1;
    counted.forge(0, Vec::new(), vec![(key, totals)]).await;
    let output = verify(&counted.path, &["--all"]);
    check_broken(&output, &[&name(&key), key.procedure.as_str()]);
}

/// Checks that all balance and that some line has all of `words`.
#[track_caller]
fn check_holds_of_all(output: &Output, words: &[&str]) {
    let lines = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{lines}");
    assert!(lines.lines().any(|line| words.iter().all(|word| line.contains(word))), "{lines}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_changed_byte_of_one_payload_is_found() {
    const FIELD: &[u8] = b"\"latency_us\":";
    let counted = Counted::edited(|records| {
        let record = records.iter_mut().find(|record| lane_of(record).get() == 3).unwrap();
        let payload = &mut record.payload;
        let value = FIELD.len() + payload.windows(FIELD.len()).position(|at| at == FIELD).unwrap();
        let digits = payload[value..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        // Another digit: the record can be read as before, and its key is the same.
        payload[value + digits - 1] ^= 1;
    })
    .await;
    let output = counted.verify();
    check_broken(&output, &["    3 ", "digest differs"]);
    let sheet = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(!sheet.contains("events differ"), "no event is missing: {sheet}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_was_cleaned_up_is_told_and_is_no_broken_one() {
    let counted = Counted::whole().await;
    let file = sqlx::sqlite::SqliteConnectOptions::new().filename(&counted.path);
    let mut jobs = sqlx::SqliteConnection::connect_with(&file).await.unwrap();
    let clean_up = "DELETE FROM aggregates; UPDATE runs SET cleaned_ms = 1795548000000";
    sqlx::raw_sql(clean_up).execute(&mut jobs).await.unwrap();
    let output = counted.verify();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    let told = "the rows of run `sheet` were cleaned up at 2026-11-24T19:20:00.000Z and cannot be compared";
    assert!(said.contains(told), "{said}");
    let output = verify(&counted.path, &["--all"]);
    let told = "finished: left out, its rows were cleaned up at 2026-11-24T19:20:00.000Z";
    check_holds_of_all(&output, &["run sheet", told]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finished_run_is_listed_as_finished() {
    let counted = Counted::whole().await;
    let list = Command::new(env!("CARGO_BIN_EXE_roaming-consumer"))
        .args(["runs", "--store"])
        .arg(&counted.path)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&list.stdout);
    let line = said.lines().find(|line| line.starts_with("sheet ")).unwrap();
    assert!(line.contains(" finished ") && line.contains(" 8/8 "), "{said}");
    let sheet = counted.verify();
    let sheet = String::from_utf8_lossy(&sheet.stdout);
    let events = sheet.lines().find_map(|line| line.strip_prefix("  all ")).unwrap();
    let events = events.split_whitespace().next().unwrap();
    assert!(events.contains(',') && line.contains(&format!(" {events} ")), "{events}: {said}");
    assert!(list.stderr.is_empty(), "{}", String::from_utf8_lossy(&list.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_event_of_a_lane_removed_from_the_log_is_found() {
    let whole = records(&simulation("sheet"));
    let end =
        whole.iter().position(|record| record.payload.starts_with(b"{\"type\":\"end\"")).unwrap();
    let counted = Counted::without(|index, _| index == end - 1).await;
    check_broken(&counted.verify(), &["    0 ", "events missing"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn digests_swapped_between_lanes_are_found() {
    let counted = Counted::whole().await;
    let found = counted.store.found(counted.run()).await.unwrap();
    let mut lanes: Vec<LaneRow> =
        found.lanes.into_iter().filter(|lane| lane.lane.partition(PARTITIONS) == 0).collect();
    let first = lanes[0].tally.digest;
    lanes[0].tally.digest = lanes[1].tally.digest;
    lanes[1].tally.digest = first;
    counted.forge(0, lanes, Vec::new()).await;
    let output = counted.verify();
    check_broken(&output, &["    0 ", "digest differs"]);
    check_broken(&output, &["    4 ", "digest differs"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_run_is_compared_up_to_where_it_stopped() {
    // Of lane 3 nothing after its hundredth event was sent, and no end.
    let counted = Counted::without(|_, record| {
        let id = EventId::from_key(&record.key).unwrap();
        id.lane.get() == 3 && id.sequence.get() >= 100
    })
    .await;
    let unfinished = counted.verify();
    let sheet = String::from_utf8_lossy(&unfinished.stdout).into_owned();
    assert_eq!(unfinished.status.code(), Some(2), "{sheet}");
    assert!(sheet.contains("the run is not finished: 7 of 8 lanes are"), "{sheet}");
    assert!(sheet.contains("so far at 100") && !sheet.contains("stopped"), "{sheet}");

    let stopped = RunRow { state: "stopped".to_owned(), ..run_row(&counted.simulation) };
    counted.store.put_run(&stopped).await.unwrap();
    let output = counted.verify();
    let sheet = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{sheet}");
    assert!(sheet.contains("stopped at 100"), "{sheet}");
}
