//! What does not belong on the topic goes to the dead letters, and disturbs nobody.

use std::fmt::Write;

use rdkafka::message::{Headers, Message};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use roaming_consumer::ConsumerError;
use roaming_consumer::verify::{find_run, verify};
use roaming_events::{EventId, LaneId, RunId, Sequence};
use roaming_service::{control, topics};
use roaming_store::{Store, StoreError};
use serde_json::Value;
use tempfile::TempDir;

use crate::harness::{Log, Produced, Running, records, simulation, store, until, until_finished};

/// A dead letter: its key, the reason in its headers, and its value.
fn letters(log: &Log, count: usize) -> Vec<(String, String, Value)> {
    log.read(topics::DEAD_LETTERS, count, |message| {
        let key = String::from_utf8(message.key().unwrap().to_vec()).unwrap();
        let header = message.headers().unwrap().get(0);
        assert_eq!(header.key, "reason");
        let reason = String::from_utf8(header.value.unwrap().to_vec()).unwrap();
        (key, reason, serde_json::from_slice(message.payload().unwrap()).unwrap())
    })
}

fn hex(octets: &[u8]) -> String {
    octets.iter().fold(String::new(), |mut text, octet| {
        write!(text, "{octet:02x}").unwrap();
        text
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_record_is_a_dead_letter_and_its_lane_goes_on() {
    let (log, folder) = (Log::start().await, TempDir::new().unwrap());
    let store = store(&folder.path().join("run.db")).await;
    let simulation = simulation("broken");
    let consumer = Running::start(&log, store.clone()).await;
    log.load(&simulation).await;
    let mut records = records(&simulation);
    records[20].payload = b"{\"type\":\"voice\", half a rec".to_vec();
    log.produce(&records).await;
    until_finished(&store, &simulation).await;

    let (key, reason, value) = letters(&log, 1).remove(0);
    assert_eq!(key, "roaming.events/0/20");
    assert_eq!(reason, "unreadable_payload");
    assert_eq!(value["payload_hex"], hex(&records[20].payload));
    assert_eq!(value["key_hex"], hex(&records[20].key));
    assert!(value["detail"].as_str().unwrap().contains("the payload cannot be read"), "{value}");

    // It is part of the sheet: the lane that lacks an event is named.
    let verification = verify(&store, &find_run(&store, "broken").await.unwrap()).await.unwrap();
    assert!(!verification.holds());
    let sums = verification.balance.sums();
    assert_eq!((sums.rejected, sums.lanes_finished, sums.lanes_differing), (1, 8, 1));
    let (_, metrics) = consumer.get("/metrics").await;
    let counted = r#"roaming_records_rejected_total{reason="unreadable_payload"} 1"#;
    assert!(metrics.contains(counted) && metrics.contains("roaming_dead_letters_total 1"));
    consumer.stop().await.unwrap();
}

/// Checks that a dead letter that is refused for a while is waited for, and that readiness says why.
async fn check_refused(name: &str, refusal: RDKafkaRespErr, says: [&str; 2]) {
    let (log, folder) = (Log::start().await, TempDir::new().unwrap());
    let store = store(&folder.path().join("run.db")).await;
    let simulation = simulation(name);
    log.load(&simulation).await;
    let mut records = records(&simulation);
    records[20].payload = b"not an event".to_vec();
    log.produce(&records).await;
    // Refused for as long as it takes to be seen.
    log.cluster.request_errors(RDKafkaApiKey::Produce, &[refusal; 4]);
    let consumer = Running::start(&log, store.clone()).await;
    until("readiness says what to do", async || {
        let (status, ready) = consumer.get("/readyz").await;
        status == 503
            && ready.contains("roaming.events.dlq")
            && says.iter().all(|text| ready.contains(text))
    })
    .await;
    until_finished(&store, &simulation).await;
    until("it is ready again", async || consumer.get("/readyz").await.0 == 200).await;
    assert_eq!(letters(&log, 1)[0].0, "roaming.events/0/20");
    consumer.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_that_is_too_large_is_written_when_the_topic_takes_it() {
    let refusal = RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE;
    check_refused("too large", refusal, ["topics check", "Message size too large"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_without_the_right_is_written_when_the_right_is_given() {
    let refusal = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    check_refused("no right", refusal, ["grant the right", "Topic authorization failed"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_larger_than_a_letter_is_a_dead_letter_of_its_first_octets() {
    let (log, folder) = (Log::start().await, TempDir::new().unwrap());
    let store = store(&folder.path().join("run.db")).await;
    let simulation = simulation("large");
    log.load(&simulation).await;
    let consumer = Running::start(&log, store.clone()).await;
    let mut records = records(&simulation);
    let large = vec![b'x'; 600_000];
    let payload = records[20].payload.clone();
    records.insert(20, Produced { partition: 0, key: large.clone(), payload });
    let key = records[30].key.clone();
    records.insert(30, Produced { partition: 0, key, payload: large });
    log.produce(&records).await;
    until_finished(&store, &simulation).await;

    let letters = letters(&log, 2);
    let [(_, key_reason, key), (_, payload_reason, payload)] = &letters[..] else { panic!() };
    assert_eq!(
        (key_reason.as_str(), payload_reason.as_str()),
        ("unreadable_key", "unreadable_payload")
    );
    assert_eq!(
        (&key["key_octets"], &payload["payload_octets"]),
        (&600_000.into(), &600_000.into())
    );
    assert_eq!(payload["payload_hex"], hex(&vec![b'x'; 65_536]));
    consumer.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_and_impossible_keys_are_dead_letters_and_the_run_balances() {
    let (log, folder) = (Log::start().await, TempDir::new().unwrap());
    let store = store(&folder.path().join("run.db")).await;
    let simulation = simulation("foreign");
    let run = simulation.specification().run_id();
    let consumer = Running::start(&log, store.clone()).await;
    log.load(&simulation).await;
    let mut records = records(&simulation);
    let id = |run, lane, sequence| EventId {
        run,
        lane: LaneId::try_new(lane).unwrap(),
        sequence: Sequence::try_new(sequence).unwrap(),
    };
    let payload = records[30].payload.clone();
    let with_key =
        |key: &[u8]| Produced { partition: 0, key: key.to_vec(), payload: payload.clone() };
    let bad = [
        (with_key(b"not an id"), "unreadable_key"),
        (with_key(&id(RunId::from_hash(4), 0, 0).text()), "unknown_run"),
        (with_key(&id(run, 99, 0).text()), "unknown_lane"),
        (with_key(&id(run, 1, 0).text()), "wrong_partition"),
        // The key of a lane's event far ahead, and a payload that is another's.
        (with_key(&id(run, 0, 1 << 40).text()), "unreadable_payload"),
        (with_key(b""), "unreadable_key"),
    ];
    for (record, _) in &bad {
        records.insert(10, record.clone());
    }
    log.produce(&records).await;
    until_finished(&store, &simulation).await;

    let mut reasons: Vec<_> = letters(&log, bad.len()).into_iter().map(|letter| letter.1).collect();
    let mut expected: Vec<_> = bad.iter().map(|(_, reason)| *reason).collect();
    reasons.sort_unstable();
    expected.sort_unstable();
    assert_eq!(reasons, expected);
    let verification = verify(&store, &find_run(&store, "foreign").await.unwrap()).await.unwrap();
    assert!(verification.holds(), "{verification}");
    assert_eq!(verification.balance.unattributed_rejects(), bad.len() as u64);
    consumer.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_of_another_log_is_refused() {
    let (log, folder) = (Log::start().await, TempDir::new().unwrap());
    let store = store(&folder.path().join("run.db")).await;
    store.bind_log("an earlier log").await.unwrap();
    let error = Running::start(&log, store).await.end().await.unwrap_err();
    assert!(matches!(error, ConsumerError::Store(StoreError::OtherLog { .. })), "{error}");
}

/// Stores an offset for partition 0, as if it had been counted that far.
async fn store_offset(store: &impl Store, next_offset: u64) {
    let epoch = store.acquire(0, "earlier").await.unwrap().epoch;
    let checkpoint = roaming_analytics::Checkpoint {
        partition: 0,
        next_offset,
        last_record_ms: None,
        lanes: Vec::new(),
        new_rows: Vec::new(),
        changed_rows: Vec::new(),
        runs: Vec::new(),
        unattributed_rejects: 0,
    };
    store.commit(epoch, &checkpoint).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_shorter_than_what_was_counted_is_refused() {
    let (log, folder) = (Log::start().await, TempDir::new().unwrap());
    let store = store(&folder.path().join("run.db")).await;
    store_offset(&store, 4711).await;
    let error = Running::start(&log, store).await.end().await.unwrap_err();
    assert!(
        matches!(error, ConsumerError::LogTooShort { partition: 0, next_offset: 4711, high: 0 }),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_made_anew_that_is_longer_than_what_was_counted_is_refused() {
    let (log, folder) = (Log::start().await, TempDir::new().unwrap());
    let counted = store(&folder.path().join("run.db")).await;
    let simulation = simulation("anew");
    log.load(&simulation).await;
    let consumer = Running::start(&log, counted.clone()).await;
    let records = records(&simulation);
    log.produce(&records).await;
    until_finished(&counted, &simulation).await;
    consumer.stop().await.unwrap();
    // On the same log everything is as it was.
    let consumer = Running::start(&log, counted.clone()).await;
    let owned = "roaming_partitions_owned 4\n";
    until("it reads", async || consumer.get("/metrics").await.1.contains(owned)).await;
    consumer.stop().await.unwrap();

    // Only `roaming.events` is new: the topic that bears the token of the log is not.
    let anew = Log::start().await;
    let token = control::read(&log.settings).await.unwrap().token.unwrap();
    let token = format!(r#"{{"token":"{token}"}}"#);
    control::write(&anew.settings, control::LOG_KEY, token.as_bytes()).await.unwrap();
    anew.load(&simulation).await;
    anew.produce(&records).await;
    anew.produce(&records).await;
    let error = Running::start(&anew, counted).await.end().await.unwrap_err();
    assert!(matches!(error, ConsumerError::OtherRecord { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offset_that_retention_overtook_is_reported_exactly() {
    let (log, folder) = (Log::start().await, TempDir::new().unwrap());
    let store = store(&folder.path().join("run.db")).await;
    store_offset(&store, 1).await;
    // The broker keeps 5 MiB a partition: eight times a million octets that do not compress.
    let mut state = 1_u64;
    let mut noise = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    let records: Vec<Produced> = (0..16)
        .map(|_| Produced {
            partition: 0,
            key: b"noise".to_vec(),
            payload: (0..500_000).map(|_| noise()).collect(),
        })
        .collect();
    log.produce(&records).await;
    let error = Running::start(&log, store).await.end().await.unwrap_err();
    let ConsumerError::Overtaken { partition: 0, next_offset: 1, low } = error else {
        panic!("{error}")
    };
    assert!(low > 1, "{low}");
}
