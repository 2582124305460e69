use std::time::Duration;

use roaming_events::LaneDigest;
use roaming_lab::{LabConfig, Report};
use roaming_service::Exit;
use roaming_service::telemetry::chain;

use crate::setup::{DEADLINE, config, small_demo, start};

async fn run(stall: Option<Duration>) -> Report {
    let dir = tempfile::tempdir().expect("a folder");
    let mut lab = start(LabConfig { stall, ..config(dir.path()) }).await.expect("started");
    let report = tokio::time::timeout(DEADLINE, lab.run(&small_demo(dir.path())))
        .await
        .expect("a run ends within the deadline")
        .expect("a run that nothing disturbs");
    lab.stop().await.expect("a clean end");
    report
}

#[track_caller]
fn assert_exact(report: &Report) -> LaneDigest {
    let sums = report.verification.balance.sums();
    assert_eq!(report.exit(), Exit::Done, "{report}");
    assert_eq!((sums.lanes, sums.lanes_finished, sums.gaps, sums.duplicates), (64, 64, 0, 0));
    assert!(sums.found.events > 80_000, "{} events", sums.found.events);
    assert_eq!(report.accepted, sums.found.events, "each event was sent once");
    sums.found.digest
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_balances_and_another_gives_the_same_bytes() {
    let first = assert_exact(&run(None).await);
    let second = assert_exact(&run(None).await);
    assert_eq!(first, second);
}

/// The embedded broker drops what is not read: without flow control, events would be missing.
#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_stands_still_loses_nothing() {
    let stall = Duration::from_secs(4);
    let report = run(Some(stall)).await;
    assert_exact(&report);
    assert!(report.took > stall, "the run went on without the consumer: {:?}", report.took);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_taken_is_told_with_what_to_do() {
    let dir = tempfile::tempdir().expect("a folder");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let listen = taken.local_addr().expect("bound");
    let error = start(LabConfig { listen, ..config(dir.path()) }).await.err().expect("taken");
    let text = chain(&error);
    assert!(text.contains(&listen.port().to_string()) && text.contains("--listen"), "{text}");
    assert_eq!(error.exit(), Exit::Usage);
    let producer = LabConfig { producer_listen: listen, ..config(dir.path()) };
    let error = start(producer).await.err().expect("taken");
    assert!(chain(&error).contains("--producer-listen"), "{}", chain(&error));
    assert_eq!(error.exit(), Exit::Usage);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_of_another_log_is_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    start(config(dir.path())).await.expect("a new store").stop().await.expect("a clean end");
    let error = start(config(dir.path())).await.err().expect("the broker's log is another one");
    let text = chain(&error);
    assert!(text.contains("the store holds run data of log"), "{text}");
    assert_eq!(error.exit(), Exit::Usage);
}
