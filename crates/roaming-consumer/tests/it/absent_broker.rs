//! A broker that goes away from a consumer without partitions: readiness says so until it is back.

use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use tempfile::TempDir;

use crate::harness::{Log, Running, config, store, until};

/// The only broker's number.
const BROKER: i32 = 1;
/// What a broker answers that takes nobody into the group yet.
const NOT_YET: RDKafkaRespErr = RDKafkaRespErr::RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE;

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_away_is_told_without_partitions_until_it_is_back() {
    let (log, folder) = (Log::start().await, TempDir::new().unwrap());
    log.cluster.request_errors(RDKafkaApiKey::JoinGroup, &[NOT_YET; 1000]);
    let store = store(&folder.path().join("run.db")).await;
    let consumer = Running::start_with(config(&log), store).await;
    until("it is ready", async || consumer.get("/readyz").await.0 == 200).await;

    log.cluster.broker_down(BROKER).unwrap();
    until("readiness says so", async || {
        let (status, ready) = consumer.get("/readyz").await;
        let ready: serde_json::Value = serde_json::from_str(&ready).unwrap();
        let reason = ready["reasons"]["broker"].as_str().unwrap_or_default();
        status == 503 && reason.starts_with("no broker answers at ")
    })
    .await;

    log.cluster.broker_up(BROKER).unwrap();
    until("it is ready again", async || consumer.get("/readyz").await.0 == 200).await;
    let (_, metrics) = consumer.get("/metrics").await;
    assert!(metrics.contains("roaming_partitions_owned 0\n"), "it had no partitions: {metrics}");
    consumer.stop().await.unwrap();
}
