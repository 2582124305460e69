//! Runs that are changed, deleted and refused, with and without a daemon that drives them.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use roaming_events::SimDuration;
use roaming_producer::Config;
use roaming_producer::fleet::WINDOW;
use roaming_service::Exit;
use roaming_sim::STREAM_VERSION;
use roaming_sim::control::RunState;

use crate::broker::{DEADLINE, LANES, TestBroker, within_deadline};
use crate::commands::{PRODUCER, check, run};
use crate::daemon::{Daemon, commit_all, config, metric, until_ready_is};

const ONE: SimDuration = SimDuration::from_ms(1);

/// Runs `roaming-producer scenarios` and checks what it says.
fn scenarios(broker: &TestBroker, args: &[&str], status: Exit, says: &str) {
    let servers = &broker.settings.bootstrap_servers;
    check(&run(PRODUCER, servers, &[&["scenarios"], args].concat()), status, says);
}

/// Waits until the log, or what else a broker holds, is so.
async fn until(what: &str, is_so: impl AsyncFn() -> bool) {
    let start = Instant::now();
    while !is_so().await {
        assert!(start.elapsed() < DEADLINE, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn wall_unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis() as u64
}

#[tokio::test(flavor = "multi_thread")]
async fn each_state_takes_what_it_can_and_says_what_to_do_otherwise() {
    let broker = TestBroker::start().await;
    broker.load(&["--speed", "1"]).await.expect("loaded");
    let (done, usage) = (Exit::Done, Exit::Usage);
    scenarios(&broker, &["speed", "small", "1"], done, "has speed 1 already");
    scenarios(&broker, &["speed", "small", "2"], done, "has speed 2 from 2026-06-01T");
    scenarios(&broker, &["pause", "small"], done, "stands still from 2026-06-01T");
    scenarios(&broker, &["pause", "small"], done, "is paused already");
    let paused = broker.record("small").await;
    scenarios(&broker, &["speed", "small", "max"], done, "scenarios resume small`");
    assert_eq!(broker.record("small").await.anchor.sim, paused.anchor.sim, "it stands still");
    scenarios(&broker, &["resume", "small"], done, "at speed max");
    scenarios(&broker, &["resume", "small"], done, "runs already");
    scenarios(&broker, &["speed", "small", "0"], usage, "a number above 0");

    scenarios(&broker, &["stop", "small"], done, "is stopped");
    for command in [&["pause", "small"][..], &["resume", "small"], &["speed", "small", "max"]] {
        scenarios(&broker, command, usage, "is stopped, for good; load it under another name");
    }
    let error = broker.load(&[]).await.expect_err("a stopped run is not run again");
    assert!(error.to_string().contains("scenarios delete small`"), "{error}");
    let error = broker.load(&["--seed", "2"]).await.expect_err("the name is taken");
    assert!(error.to_string().contains("scenarios delete small`"), "{error}");

    scenarios(&broker, &["delete", "small"], done, "is deleted");
    scenarios(&broker, &["delete", "small"], done, "is deleted already");
    scenarios(&broker, &["status"], done, "small: deleted");
    for command in [&["pause", "small"][..], &["stop", "small"], &["speed", "small", "max"]] {
        scenarios(&broker, command, usage, "is deleted, for good");
    }
    let error = broker.load(&[]).await.expect_err("its ids are spent");
    assert!(error.to_string().contains("or with another --seed"), "{error}");
    let deleted = broker.record("small").await;
    broker.load(&["--seed", "2"]).await.expect("the name is free");
    scenarios(&broker, &["list"], done, "small: running");
    let error = broker.load(&[]).await.expect_err("its ids stay spent");
    assert!(error.to_string().contains("is deleted, for good"), "{error}");
    let grave = broker.record(&format!("deleted/{}", deleted.run)).await;
    assert_eq!(grave, deleted, "consumers that read the log from its start know the run");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finished_run_is_left_alone_and_its_name_is_free_once_it_is_deleted() {
    let broker = TestBroker::start().await;
    broker.load(&["--speed", "max"]).await.expect("loaded");
    let (first, expected) = broker.expected("small").await;
    let daemon = Daemon::start(config(&broker)).await;
    daemon.finish(first).await;
    until("the end is recorded", async || {
        let servers = &broker.settings.bootstrap_servers;
        let status = run(PRODUCER, servers, &["scenarios", "status"]);
        String::from_utf8_lossy(&status.stdout).contains("small: finished, 100.0 %")
    })
    .await;
    let (done, usage) = (Exit::Done, Exit::Usage);
    scenarios(&broker, &["list"], done, "small: finished, id ");
    for command in [&["pause", "small"][..], &["resume", "small"], &["speed", "small", "1"]] {
        scenarios(&broker, command, usage, "is finished: nothing of it is left to change");
    }
    scenarios(&broker, &["stop", "small"], done, "is finished: nothing is left to stop");
    let again = broker.load(&["--speed", "max"]).await.expect("harmless");
    assert!(again.contains("finished already") && again.contains("another --seed"), "{again}");

    assert_eq!(broker.progress_keys().await.len(), usize::from(LANES));
    scenarios(&broker, &["delete", "small"], done, "is deleted");
    until("progress is gone", async || broker.progress_keys().await.is_empty()).await;
    assert_eq!(metric(&daemon, "roaming_producer_lanes_finished"), 0);
    // Nobody reads here: both runs are more than flow control lets stand unread.
    commit_all(&broker);
    broker.load(&["--speed", "max", "--seed", "2"]).await.expect("loaded");
    let (second, of_second) = broker.expected("small").await;
    daemon.finish(second).await;
    daemon.stop().await;
    let log = broker.log().await;
    log.assert_holds(first, &expected);
    log.assert_holds(second, &of_second);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_deleted_on_its_way_frees_its_lanes_and_the_others_go_on() {
    let broker = TestBroker::start().await;
    broker.load(&["--speed", "1200"]).await.expect("loaded");
    broker.load(&["--speed", "600", "--name", "other"]).await.expect("loaded");
    let (run, expected) = broker.expected("small").await;
    let (other, of_other) = broker.expected("other").await;
    let first = Daemon::start(config(&broker)).await;
    until("events", async || broker.log().await.events_of(run) > 100).await;
    until("progress", async || broker.progress_keys().await.len() > 1).await;
    broker.pause("small").await;
    scenarios(&broker, &["delete", "small"], Exit::Done, "is deleted");
    within_deadline("its lanes are free")(&|| {
        metric(&first, "roaming_producer_lanes_owned") == u64::from(LANES)
    })
    .await;
    let of_deleted = run.to_string();
    until("its progress is gone", async || {
        broker.progress_keys().await.iter().all(|key| !key.starts_with(&of_deleted))
    })
    .await;
    let sent = broker.log().await.events_of(run);
    assert!(sent < expected.events(), "deleted too late");
    first.stop().await;

    // Another owner, which never knew the run alive.
    let second = Daemon::start(config(&broker)).await;
    scenarios(&broker, &["speed", "other", "max"], Exit::Done, "has speed max");
    second.finish(other).await;
    second.stop().await;
    let log = broker.log().await;
    log.assert_holds(other, &of_other);
    assert_eq!(log.events_of(run), sent, "nothing more of the deleted run");
    assert!(log.lanes.iter().all(|((of, _), lane)| *of != run || !lane.ended));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_speed_neither_bursts_nor_jumps() {
    let broker = TestBroker::start().await;
    broker.load(&["--speed", "1800"]).await.expect("loaded");
    let (run, expected) = broker.expected("small").await;
    let daemon = Daemon::start(config(&broker)).await;
    within_deadline("events")(&|| daemon.observer.events_acknowledged() > 100).await;
    let before = broker.record("small").await;
    scenarios(&broker, &["speed", "small", "300"], Exit::Done, "has speed 300");
    let slow = broker.record("small").await;
    assert_eq!(slow.anchor.sim, before.allowed_until(slow.anchor.wall_unix_ms));
    // Up to the anchor at the old pace, from there on at the new one, and never beyond either.
    let goal = slow.anchor.sim + SimDuration::from_secs(600);
    until("it goes on at the new pace", async || {
        let latest = broker.log().await.latest;
        let now = wall_unix_ms();
        let pace = if now < slow.anchor.wall_unix_ms { &before } else { &slow };
        assert!(latest < pace.allowed_until(now), "{latest} at {now}");
        latest > goal
    })
    .await;
    broker.resume_at_full_speed("small").await;
    daemon.finish(run).await;
    daemon.stop().await;
    let log = broker.log().await;
    log.assert_holds(run, &expected);
    assert_eq!(log.repeated(), 0);
}

/// At full speed only the lanes say where the run is.
#[tokio::test(flavor = "multi_thread")]
async fn a_pace_after_full_speed_begins_where_the_lanes_are() {
    let broker = TestBroker::start().await;
    broker.load(&["--speed", "max"]).await.expect("loaded");
    let (run, expected) = broker.expected("small").await;
    // Flow control stops it on its way, so that it is not over before anybody can say anything.
    let narrow = Config { unread_bytes_max: 64 << 10, ..config(&broker) };
    let daemon = Daemon::start(narrow).await;
    within_deadline("flow control holds")(&|| {
        metric(&daemon, "roaming_producer_flow_control_waits_total") > 0
            && metric(&daemon, "roaming_producer_records_in_flight") == 0
    })
    .await;
    let latest = broker.log().await.latest;
    scenarios(&broker, &["speed", "small", "600"], Exit::Done, "has speed 600 from 2026-");
    let paced = broker.record("small").await;
    let (start, anchor) = (paced.specification.start(), paced.anchor.sim);
    assert!(latest > start + WINDOW, "the run is well on its way: {latest}");
    assert!(anchor <= latest && latest < anchor + WINDOW, "{anchor} is not where {latest} is");
    until("it goes on at its pace", async || {
        commit_all(&broker);
        let now_latest = broker.log().await.latest;
        let allowed = paced.allowed_until(wall_unix_ms()).max(latest + ONE);
        assert!(now_latest < allowed, "{now_latest} is not before {allowed}");
        now_latest > anchor + WINDOW
    })
    .await;
    broker.resume_at_full_speed("small").await;
    within_deadline("all lanes finished")(&|| {
        commit_all(&broker);
        daemon.observer.lanes_finished(run) == usize::from(LANES)
    })
    .await;
    daemon.stop().await;
    let log = broker.log().await;
    log.assert_holds(run, &expected);
    assert_eq!(log.repeated(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_of_another_engine_is_refused_and_the_others_go_on() {
    let broker = TestBroker::start().await;
    broker.load(&["--speed", "max", "--name", "foreign"]).await.expect("loaded");
    let mut foreign = broker.record("foreign").await;
    let specification = std::sync::Arc::make_mut(&mut foreign.specification);
    specification.stream_version += 1;
    foreign.run = foreign.specification.run_id();
    broker.write_record("foreign", &serde_json::to_vec(&foreign).expect("JSON")).await;
    broker.write_record("stranger", br#"{"of": "another release"}"#).await;
    broker.load(&["--speed", "max"]).await.expect("loaded beside both");
    let (run, expected) = broker.expected("small").await;
    let daemon = Daemon::start(config(&broker)).await;
    daemon.finish(run).await;
    assert_eq!(metric(&daemon, "roaming_producer_runs_refused"), 2);
    until_ready_is(&daemon, 503, "run `stranger` is refused: the control record cannot").await;
    let versions = format!(
        "run `foreign` is refused: the run cannot be simulated: the run has stream version {}, this engine makes version {STREAM_VERSION}; run it with the release that loaded it",
        STREAM_VERSION + 1
    );
    until_ready_is(&daemon, 503, &versions).await;
    // Half of its lanes wait at another producer, which says so too.
    let other = Daemon::start(config(&broker)).await;
    until_ready_is(&other, 503, &versions).await;
    other.stop().await;
    scenarios(&broker, &["status"], Exit::Done, "producers of this release make version");
    scenarios(&broker, &["status"], Exit::Done, "stranger: its control record cannot be read");
    scenarios(&broker, &["pause", "stranger"], Exit::Failed, "may be of another release");
    let log = broker.log().await;
    log.assert_holds(run, &expected);
    assert_eq!(log.events_of(foreign.run), 0);

    scenarios(&broker, &["delete", "foreign"], Exit::Done, "is deleted");
    within_deadline("a deleted run is not refused")(&|| {
        metric(&daemon, "roaming_producer_runs_refused") == 1
    })
    .await;
    let deleted = broker.record("foreign").await;
    assert_eq!(deleted.state, RunState::Deleted);
    let (_, said) = daemon.ask("/readyz").await;
    assert!(said.contains("run `stranger`") && !said.contains("run `foreign`"), "{said}");
    broker.write_record("stranger", &serde_json::to_vec(&deleted).expect("JSON")).await;
    until_ready_is(&daemon, 200, "").await;
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_of_more_partitions_than_the_topic_has_is_refused_by_name() {
    let broker = TestBroker::start().await;
    broker.load(&["--speed", "max"]).await.expect("loaded");
    let mut record = broker.record("small").await;
    std::sync::Arc::make_mut(&mut record.specification).events_partitions += 4;
    record.run = record.specification.run_id();
    broker.write_record("small", &serde_json::to_vec(&record).expect("JSON")).await;
    let daemon = Daemon::start(config(&broker)).await;
    let says =
        "run `small` is refused: topic roaming.events has 4 partitions and the run needs 8; add";
    until_ready_is(&daemon, 503, says).await;
    assert_eq!(broker.log().await.events(), 0);
    scenarios(&broker, &["delete", "small"], Exit::Done, "is deleted");
    until_ready_is(&daemon, 200, "").await;
    daemon.stop().await;
}
