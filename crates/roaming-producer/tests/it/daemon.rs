//! The daemon, in this process and as a process of its own.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::{Offset, TopicPartitionList};
use roaming_events::RunId;
use roaming_producer::{App, AppError, Config, Observer};
use roaming_service::kafka::CONSUMER_GROUP;
use roaming_service::topics;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::broker::{DEADLINE, EVENTS_PARTITIONS, LANES, TestBroker, within_deadline};

/// A daemon in this process.
pub(crate) struct Daemon {
    pub(crate) observer: Observer,
    address: SocketAddr,
    stop: CancellationToken,
    ended: JoinHandle<Result<(), AppError>>,
}

pub(crate) fn config(broker: &TestBroker) -> Config {
    Config { listen: SocketAddr::from(([127, 0, 0, 1], 0)), ..Config::new(broker.settings.clone()) }
}

impl Daemon {
    pub(crate) async fn start(config: Config) -> Self {
        let app = App::build(config).await.expect("an app");
        let (observer, address) = (app.observer(), app.address());
        let stop = CancellationToken::new();
        let ended = tokio::spawn(app.run(stop.clone()));
        Self { observer, address, stop, ended }
    }

    pub(crate) async fn finish(&self, run: RunId) {
        let observer = &self.observer;
        within_deadline("all lanes finished")(&|| {
            observer.lanes_finished(run) == usize::from(LANES)
        })
        .await;
    }

    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.ended.await.expect("no panic").expect("a clean end");
    }

    pub(crate) async fn ask(&self, path: &str) -> (u16, String) {
        let url = format!("http://{}{path}", self.address);
        let asked = tokio::task::spawn_blocking(move || {
            let agent: ureq::Agent =
                ureq::Agent::config_builder().http_status_as_error(false).build().into();
            let mut answer = agent.get(&url).call().expect("an answer");
            let text = answer.body_mut().read_to_string().expect("text");
            (answer.status().as_u16(), text)
        });
        asked.await.expect("no panic")
    }
}

/// Does what the consumers do about flow control: commits everything that stands on the topic.
pub(crate) fn commit_all(broker: &TestBroker) {
    let consumer: BaseConsumer =
        broker.settings.consumer(CONSUMER_GROUP).create().expect("a client");
    let mut offsets = TopicPartitionList::new();
    for partition in 0..i32::from(EVENTS_PARTITIONS) {
        let (_, end) = consumer
            .fetch_watermarks(topics::EVENTS, partition, Duration::from_secs(10))
            .expect("watermarks");
        offsets
            .add_partition_offset(topics::EVENTS, partition, Offset::Offset(end))
            .expect("an offset");
    }
    consumer.commit(&offsets, CommitMode::Sync).expect("committed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_reaches_the_log_byte_for_byte_and_is_not_run_again() {
    let broker = TestBroker::start().await;
    broker.load(&["--speed", "max"]).await.expect("loaded");
    let (run, expected) = broker.expected("small").await;
    let first = Daemon::start(config(&broker)).await;
    first.finish(run).await;
    assert_eq!(first.observer.events_acknowledged(), expected.events());
    let (ready, body) = first.ask("/readyz").await;
    assert_eq!(ready, 200, "{body}");
    let (_, metrics) = first.ask("/metrics").await;
    let line = format!("roaming_producer_events_acknowledged_total {}", expected.events());
    assert!(metrics.contains(&line), "{metrics}");
    first.stop().await;

    let log = broker.log().await;
    log.assert_holds(run, &expected);
    assert_eq!(log.repeated(), 0);

    let second = Daemon::start(config(&broker)).await;
    second.finish(run).await;
    second.stop().await;
    assert_eq!(broker.log().await.repeated(), 0, "a finished run is not run again");
}

#[tokio::test(flavor = "multi_thread")]
async fn flow_control_holds_what_nobody_reads_and_a_restart_leaves_no_hole() {
    const UNREAD_BYTES: u64 = 64 << 10;
    let broker = TestBroker::start().await;
    broker.load(&["--speed", "max"]).await.expect("loaded");
    let (run, expected) = broker.expected("small").await;
    let narrow = Config { unread_bytes_max: UNREAD_BYTES, ..config(&broker) };

    let first = Daemon::start(narrow).await;
    let held = async |times: u64| {
        within_deadline("flow control holds")(&|| {
            metric(&first, "roaming_producer_flow_control_waits_total") >= times
                && metric(&first, "roaming_producer_records_in_flight") == 0
        })
        .await;
    };
    held(1).await;
    assert!(broker.log().await.events() < expected.events(), "the run must not fit the bound");
    let bound = (UNREAD_BYTES + 4096) * u64::from(EVENTS_PARTITIONS);
    let bytes = || metric(&first, "roaming_producer_acknowledged_bytes_total");
    assert!(bytes() < bound, "{}", bytes());
    let waiting = "lanes wait for consumers";
    until_ready_is(&first, 503, waiting).await;

    within_deadline("the run goes on when the consumers do")(&|| {
        commit_all(&broker);
        bytes() > bound
    })
    .await;
    held(2).await;
    let (_, said) = first.ask("/readyz").await;
    assert!(!said.contains(waiting), "{said}");
    first.stop().await;

    // Progress was recorded at the stop, so that the next owner repeats nothing.
    commit_all(&broker);
    let second = Daemon::start(config(&broker)).await;
    second.finish(run).await;
    second.stop().await;
    let log = broker.log().await;
    log.assert_holds(run, &expected);
    assert_eq!(log.repeated(), 0);
}

pub(crate) async fn until_ready_is(daemon: &Daemon, status: u16, says: &str) {
    let start = Instant::now();
    loop {
        let (found, said) = daemon.ask("/readyz").await;
        if found == status && said.contains(says) {
            return;
        }
        assert!(start.elapsed() < DEADLINE, "{found} {said}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

pub(crate) fn metric(daemon: &Daemon, name: &str) -> u64 {
    let url = format!("http://{}/metrics", daemon.address);
    let mut answer = ureq::get(&url).call().expect("an answer");
    value(&answer.body_mut().read_to_string().expect("text"), name)
}

/// The value of a metric without labels.
fn value(metrics: &str, name: &str) -> u64 {
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)).expect("the metric");
    line.trim().parse().expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sent_before_the_gate_opens() {
    let broker = TestBroker::start().await;
    broker.load(&["--speed", "max"]).await.expect("loaded");
    let (run, expected) = broker.expected("small").await;
    let (open, gate) = watch::channel(false);
    let daemon = Daemon::start(Config { gate: Some(gate), ..config(&broker) }).await;
    let owned = || metric(&daemon, "roaming_producer_lanes_owned") == u64::from(LANES);
    within_deadline("lanes owned")(&owned).await;
    assert_eq!(broker.log().await.events(), 0);
    open.send(true).expect("the daemon listens");
    daemon.finish(run).await;
    daemon.stop().await;
    broker.log().await.assert_holds(run, &expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_record_costs_a_client_and_no_event() {
    let broker = TestBroker::start().await;
    broker.load(&["--speed", "1200"]).await.expect("loaded");
    let (run, expected) = broker.expected("small").await;
    let daemon = Daemon::start(config(&broker)).await;
    within_deadline("events")(&|| daemon.observer.events_acknowledged() > 100).await;
    broker.refuse_next();
    within_deadline("clients given up")(&|| {
        metric(&daemon, "roaming_producer_delivery_failures_total") > 0
    })
    .await;
    broker.resume_at_full_speed("small").await;
    daemon.finish(run).await;
    daemon.stop().await;
    broker.log().await.assert_holds(run, &expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_member_takes_lanes_over_where_the_first_left_them() {
    let broker = TestBroker::start().await;
    broker.load(&["--speed", "600"]).await.expect("loaded");
    let (run, expected) = broker.expected("small").await;
    let first = Daemon::start(config(&broker)).await;
    within_deadline("events")(&|| first.observer.events_acknowledged() > 100).await;
    let second = Daemon::start(config(&broker)).await;
    let owned = |daemon| metric(daemon, "roaming_producer_lanes_owned");
    let half = u64::from(LANES) / 2;
    within_deadline("lanes shared")(&|| owned(&first) == half && owned(&second) == half).await;
    within_deadline("both send")(&|| second.observer.events_acknowledged() > 100).await;
    broker.resume_at_full_speed("small").await;
    within_deadline("all lanes finished")(&|| {
        let finished = [&first, &second].map(|daemon| daemon.observer.lanes_finished(run));
        finished.iter().sum::<usize>() == usize::from(LANES)
    })
    .await;
    first.stop().await;
    second.stop().await;
    let log = broker.log().await;
    log.assert_holds(run, &expected);
    assert_eq!(log.repeated(), 0, "a revoked lane's progress is recorded before it moves");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_run_stops_exactly_at_its_anchor_and_goes_on_from_there() {
    let broker = TestBroker::start().await;
    broker.load(&["--speed", "1200"]).await.expect("loaded");
    let (run, expected) = broker.expected("small").await;
    let daemon = Daemon::start(config(&broker)).await;
    within_deadline("events")(&|| daemon.observer.events_acknowledged() > 100).await;
    broker.pause("small").await;
    let anchor = broker.record("small").await.anchor.sim;
    // Every lane says that it is quiet up to the anchor.
    let start = Instant::now();
    let log = loop {
        let log = broker.log().await;
        if log.lanes.values().filter(|lane| lane.marked == anchor).count() == usize::from(LANES) {
            break log;
        }
        assert!(start.elapsed() < DEADLINE, "markers at the anchor in time");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert!(log.latest < anchor, "{} is not before {anchor}", log.latest);
    assert_eq!(
        log.events(),
        broker.due("small", anchor).await,
        "all that was due before the anchor, and no more"
    );
    broker.resume_at_full_speed("small").await;
    daemon.finish(run).await;
    daemon.stop().await;
    let log = broker.log().await;
    log.assert_holds(run, &expected);
    assert_eq!(log.repeated(), 0);
}

/// A daemon as a process of its own, killed when dropped.
struct Process(Child);

impl Process {
    fn start(broker: &TestBroker) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_roaming-producer"))
            .args(["run", "--listen", "127.0.0.1:0", "--log", "warn"])
            .env("BOOTSTRAP_SERVERS", &broker.settings.bootstrap_servers)
            .stdout(Stdio::null())
            .spawn()
            .expect("a process");
        Self(child)
    }

    fn kill(mut self) {
        self.0.kill().expect("killed");
        self.0.wait().expect("gone");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It is gone already where the test went well.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_owner_leaves_repeats_and_no_hole() {
    let broker = TestBroker::start().await;
    // Slow enough for the kill to come in the middle: this broker tells no settings, so that the process
    // starts some seconds late.
    broker.load(&["--speed", "1200"]).await.expect("loaded");
    let (run, expected) = broker.expected("small").await;
    let first = Process::start(&broker);
    let start = Instant::now();
    loop {
        let events = broker.log().await.events();
        assert!(events < expected.events(), "killed too late");
        if events > expected.events() / 4 {
            break;
        }
        assert!(start.elapsed() < DEADLINE, "a quarter of the run in time");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    first.kill();
    broker.resume_at_full_speed("small").await;
    let second = Daemon::start(config(&broker)).await;
    second.finish(run).await;
    second.stop().await;
    let log = broker.log().await;
    log.assert_holds(run, &expected);
}
