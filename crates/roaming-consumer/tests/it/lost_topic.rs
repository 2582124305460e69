//! Topics that may not be read any more, or are gone: readiness says so until it is over, also where no
//! record comes.

use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use roaming_service::topics;
use tempfile::TempDir;

use crate::harness::{Log, Running, config, store, until};

const DENIED: RDKafkaRespErr = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
const UNKNOWN: RDKafkaRespErr = RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;

/// Starts a consumer on an empty log, and returns when it reads.
async fn idle(log: &Log, folder: &TempDir) -> Running {
    let store = store(&folder.path().join("run.db")).await;
    let consumer = Running::start_with(config(log), store).await;
    until("it reads", async || {
        let (_, metrics) = consumer.get("/metrics").await;
        metrics.contains("roaming_partitions_owned 4\n") && consumer.get("/readyz").await.0 == 200
    })
    .await;
    consumer
}

/// Waits until readiness holds a part and says something.
async fn says(consumer: &Running, part: &str, text: &str) {
    until("readiness says so", async || {
        let (status, ready) = consumer.get("/readyz").await;
        let ready: serde_json::Value = serde_json::from_str(&ready).unwrap();
        status == 503 && ready["reasons"][part].as_str().is_some_and(|said| said.contains(text))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_right_to_read_events_is_told_until_it_is_back() {
    let (log, folder) = (Log::start().await, TempDir::new().unwrap());
    let consumer = idle(&log, &folder).await;
    log.cluster.request_errors(RDKafkaApiKey::Fetch, &[DENIED; 10]);
    says(&consumer, "log", "grant the right").await;
    until("it is ready again", async || consumer.get("/readyz").await.0 == 200).await;
    consumer.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_right_to_read_runs_is_told_until_it_is_back() {
    let (log, folder) = (Log::start().await, TempDir::new().unwrap());
    let consumer = idle(&log, &folder).await;
    log.cluster.request_errors(RDKafkaApiKey::Fetch, &[DENIED; 10]);
    says(&consumer, "scenarios", "grant the right").await;
    until("it is ready again", async || consumer.get("/readyz").await.0 == 200).await;
    consumer.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_goes_missing_is_told_until_it_is_back() {
    let (log, folder) = (Log::start().await, TempDir::new().unwrap());
    let consumer = idle(&log, &folder).await;
    log.cluster.topic_error(topics::EVENTS, UNKNOWN).unwrap();
    // The client looks for the topic as soon as a partition's leader does not know it.
    log.cluster.request_errors(RDKafkaApiKey::Fetch, &[UNKNOWN; 100]);
    says(&consumer, "log", "roaming-producer topics create").await;
    log.cluster.topic_error(topics::EVENTS, RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR).unwrap();
    until("it is ready again", async || consumer.get("/readyz").await.0 == 200).await;
    consumer.stop().await.unwrap();
}
