//! Rights that are lost and come back while a daemon runs.

use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use roaming_producer::Config;

use crate::broker::{LANES, TestBroker, within_deadline};
use crate::daemon::{Daemon, config, metric, until_ready_is};

const NO_TOPIC: RDKafkaRespErr = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
const NO_GROUP: RDKafkaRespErr = RDKafkaRespErr::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED;

/// Starts a daemon and waits until it drives all lanes of a run.
async fn driving(config: Config) -> Daemon {
    let daemon = Daemon::start(config).await;
    let owned = || metric(&daemon, "roaming_producer_lanes_owned") == u64::from(LANES);
    within_deadline("lanes owned")(&owned).await;
    until_ready_is(&daemon, 200, "").await;
    daemon
}

/// The run stands still, so that nothing is written that would show that reading is allowed.
#[tokio::test(flavor = "multi_thread")]
async fn a_right_to_read_lanes_that_comes_back_is_noticed_without_a_rebalance() {
    let broker = TestBroker::start().await;
    broker.load(&[]).await.expect("loaded");
    broker.pause("small").await;
    let daemon = driving(config(&broker)).await;
    // Other readers take some of these answers.
    broker.answer(RDKafkaApiKey::Fetch, NO_TOPIC, 1000);
    until_ready_is(&daemon, 503, "does not allow this client to read roaming.lanes").await;
    let (_, said) = daemon.ask("/readyz").await;
    assert!(!said.contains("\"group\""), "the group is not what is denied: {said}");
    broker.answer_well(RDKafkaApiKey::Fetch);
    until_ready_is(&daemon, 200, "").await;
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_to_see_the_consumers_offsets_that_is_lost_is_what_readiness_names() {
    let broker = TestBroker::start().await;
    broker.load(&["--speed", "max"]).await.expect("loaded");
    let (run, _) = broker.expected("small").await;
    let daemon = driving(Config { unread_bytes_max: 64 << 10, ..config(&broker) }).await;
    until_ready_is(&daemon, 503, "lanes wait for consumers").await;
    broker.answer(RDKafkaApiKey::OffsetFetch, NO_GROUP, 100_000);
    // The first reason, so that it is not the consumers any more: "consumers" would come before it.
    let denied = "{\"offsets\":\"the broker does not allow this client to see how far the group";
    until_ready_is(&daemon, 503, denied).await;
    broker.answer_well(RDKafkaApiKey::OffsetFetch);
    within_deadline("the run goes on")(&|| {
        crate::daemon::commit_all(&broker);
        daemon.observer.lanes_finished(run) == usize::from(LANES)
    })
    .await;
    until_ready_is(&daemon, 200, "").await;
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_to_write_names_the_right_and_is_taken_back_once_progress_is_taken() {
    let broker = TestBroker::start().await;
    broker.load(&["--speed", "1200"]).await.expect("loaded");
    let daemon = driving(config(&broker)).await;
    within_deadline("events")(&|| daemon.observer.events_acknowledged() > 100).await;
    broker.refuse_next();
    until_ready_is(&daemon, 503, "grant this client the right to write there").await;
    let before = daemon.observer.events_acknowledged();
    within_deadline("events again")(&|| daemon.observer.events_acknowledged() > before).await;
    let (ready, said) = daemon.ask("/readyz").await;
    assert_eq!(ready, 503, "events alone show nothing of progress: {said}");
    let progress = metric(&daemon, "roaming_producer_progress_records_total");
    until_ready_is(&daemon, 200, "").await;
    assert!(metric(&daemon, "roaming_producer_progress_records_total") > progress);
    daemon.stop().await;
}
