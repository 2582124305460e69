//! A run balances, whatever happens to its consumers.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;

use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use roaming_consumer::verify::{Completeness, find_run, verify};
use roaming_events::Tally;
use roaming_sim::Simulation;
use roaming_store::{SqliteStore, Store};
use tempfile::TempDir;

use crate::harness::{
    Log, Process, Running, records, simulation, store, until, until_counted, until_finished,
};

async fn check_balance(store: &SqliteStore, name: &str) -> roaming_analytics::Balance {
    let run = find_run(store, name).await.unwrap();
    let verification = verify(store, &run).await.unwrap();
    assert!(verification.holds(), "{verification}");
    assert_eq!(verification.completeness, Completeness::Whole);
    verification.balance
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_balances_and_the_metrics_are_the_ledger() {
    let (log, folder) = (Log::start().await, TempDir::new().unwrap());
    let store = store(&folder.path().join("run.db")).await;
    let simulation = simulation("whole");
    log.load(&simulation).await;
    let records = records(&simulation);
    let consumer = Running::start(&log, store.clone()).await;
    log.produce(&records).await;
    until_finished(&store, &simulation).await;

    let balance = check_balance(&store, "whole").await;
    let sums = balance.sums();
    assert_eq!(sums.found.events, (records.len() - 8) as u64);
    assert_eq!((sums.duplicates, sums.missing, sums.rejected), (0, 0, 0));

    let (status, metrics) = consumer.get("/metrics").await;
    assert_eq!(status, 200);
    let window = store.window().await.unwrap().unwrap();
    let ledger = roaming_consumer::verify::ledger(&simulation, window, &BTreeMap::new());
    check_metrics(&metrics, &ledger);
    check_with_promtool(&metrics);

    until("offsets are committed to Kafka", async || {
        log.committed().into_iter().sum::<u64>() == records.len() as u64
    })
    .await;
    consumer.stop().await.unwrap();
}

/// Every counter of events equals what the ledger says.
fn check_metrics(metrics: &str, ledger: &Tally) {
    let mut expected = BTreeMap::new();
    let mut attaches = BTreeMap::new();
    for (key, totals) in &ledger.rows {
        *expected.entry((key.procedure.as_str(), key.outcome.as_str())).or_insert(0) +=
            totals.events;
        if key.procedure.as_str() == "location_update" {
            *attaches.entry(key.visited_plmn.to_string()).or_insert(0) += totals.events;
        }
    }
    for ((procedure, outcome), events) in expected {
        let line = format!(
            "roaming_events_processed_total{{outcome=\"{outcome}\",procedure=\"{procedure}\"}} {events}\n"
        );
        assert!(metrics.contains(&line), "{line}");
    }
    for (network, events) in attaches {
        let line = format!(
            "roaming_attach_latency_seconds_count{{visited_plmn=\"{network}\"}} {events}\n"
        );
        assert!(metrics.contains(&line), "{line}");
    }
    for zero in ["roaming_duplicates_dropped_total 0\n", "roaming_anomalies_total 0\n"] {
        assert!(metrics.contains(zero), "{zero}");
    }
    assert!(!metrics.contains("roaming_db_write_seconds_count 0\n"));
}

fn check_with_promtool(metrics: &str) {
    use std::io::Write;
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("promtool, of the Debian package prometheus");
    promtool.stdin.take().unwrap().write_all(metrics.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_killed_in_the_middle_counts_nothing_twice() {
    let (log, folder) = (Log::start().await, TempDir::new().unwrap());
    let path = folder.path().join("run.db");
    let simulation = simulation("killed");
    log.load(&simulation).await;
    let records = records(&simulation);
    // A producer that died and sent its last hundred records again.
    let (first, second) = records.split_at(records.len() / 2);
    let repeated = &first[first.len() - 100..];

    let mut killed = Process::start(&log, &path);
    log.produce(first).await;
    until("the store is there", async || path.exists()).await;
    let watching = store(&path).await;
    until_counted(&watching, &simulation, 500).await;
    killed.kill();
    watching.close().await;

    let restarted = store(&path).await;
    let consumer = Running::start(&log, restarted.clone()).await;
    log.produce(repeated).await;
    log.produce(second).await;
    until_finished(&restarted, &simulation).await;
    let balance = check_balance(&restarted, "killed").await;
    assert_eq!(balance.sums().duplicates, 100);
    consumer.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_stores_everything_and_the_next_start_goes_on_from_there() {
    let (log, folder) = (Log::start().await, TempDir::new().unwrap());
    let path = folder.path().join("run.db");
    let simulation = simulation("stopped");
    log.load(&simulation).await;
    let records = records(&simulation);
    let half = records.len() / 2;

    let before = store(&path).await;
    let consumer = Running::start(&log, before.clone()).await;
    log.produce(&records[..half]).await;
    until_counted(&before, &simulation, 1).await;
    consumer.stop().await.unwrap();
    let run = simulation.specification().run_id();
    let counted: u64 =
        before.progress(run).await.unwrap().lanes.iter().map(|lane| lane.tally.events).sum();
    let told: u64 = log.committed().into_iter().sum();
    let ends = before.progress(run).await.unwrap().lanes.iter().filter(|l| l.end.is_some()).count();
    assert_eq!(told, counted + ends as u64, "stored and told to Kafka is the same");

    let consumer = Running::start(&log, before.clone()).await;
    log.produce(&records[half..]).await;
    until_finished(&before, &simulation).await;
    assert_eq!(check_balance(&before, "stopped").await.sums().duplicates, 0);
    consumer.stop().await.unwrap();
}

/// Loads a run that is all in the log; the group's coordinator refuses every commit of offsets.
async fn refusing(name: &str) -> (Log, Arc<Simulation>, u64) {
    let log = Log::start().await;
    let simulation = simulation(name);
    log.load(&simulation).await;
    let records = records(&simulation);
    log.produce(&records).await;
    let refusal = RDKafkaRespErr::RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS;
    log.cluster.request_errors(RDKafkaApiKey::OffsetCommit, &[refusal; 1000]);
    (log, simulation, records.len() as u64)
}

async fn until_told(log: &Log, records: u64) {
    until("Kafka knows all that is stored", async || {
        log.committed().into_iter().sum::<u64>() == records
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_that_kafka_refused_at_the_end_of_the_log_are_told_again() {
    let (log, simulation, records) = refusing("refused").await;
    let folder = TempDir::new().unwrap();
    let store = store(&folder.path().join("run.db")).await;
    let consumer = Running::start(&log, store.clone()).await;
    until_finished(&store, &simulation).await;
    assert_eq!(log.committed(), [0; 4], "every commit was refused");
    log.cluster.clear_request_errors(RDKafkaApiKey::OffsetCommit);
    until_told(&log, records).await;
    consumer.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_owner_tells_kafka_what_the_last_one_stored() {
    let (log, simulation, records) = refusing("untold").await;
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("run.db");
    let mut killed = Process::start(&log, &path);
    until("the store is there", async || path.exists()).await;
    let store = store(&path).await;
    until_finished(&store, &simulation).await;
    killed.kill();
    assert_eq!(log.committed(), [0; 4], "every commit was refused");
    log.cluster.clear_request_errors(RDKafkaApiKey::OffsetCommit);
    let consumer = Running::start(&log, store.clone()).await;
    until_told(&log, records).await;
    consumer.stop().await.unwrap();
}
