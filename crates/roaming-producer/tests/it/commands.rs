//! The commands: what they say, and the status they end with.

use std::io::{BufRead, BufReader, Lines};
use std::net::TcpListener;
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::time::Instant;

use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use roaming_producer::commands::CommandError;
use roaming_service::Exit;
use roaming_service::kafka::REACH_TIMEOUT;
use roaming_sim::control::RunState;

use crate::broker::{TestBroker, small_profile};

pub(crate) const PRODUCER: &str = env!("CARGO_BIN_EXE_roaming-producer");
const LOAD: &str = env!("CARGO_BIN_EXE_load-scenarios");

/// Runs a command to its end; no broker is there unless `servers` names one.
pub(crate) fn run(binary: &str, servers: &str, args: &[&str]) -> Output {
    Command::new(binary)
        .args(args)
        .env("BOOTSTRAP_SERVERS", servers)
        .env_remove("SCENARIO_PATH")
        .output()
        .expect("a process")
}

#[track_caller]
pub(crate) fn check(output: &Output, status: Exit, says: &str) {
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(said.contains(says), "{said}");
    assert_eq!(output.status.code(), Some(i32::from(status.status())), "{said}");
}

const NOWHERE: &str = "127.0.0.1:1";

#[test]
fn what_is_typed_wrong_ends_with_64_and_says_what_is_right() {
    let check_usage = |binary, args: &[&str], says| {
        check(&run(binary, NOWHERE, args), Exit::Usage, says);
    };
    check_usage(LOAD, &["--profile", "urbn"], "did you mean `urban`");
    check_usage(PRODUCER, &["ledger", "--profile", "urbn"], "did you mean `urban`");
    check_usage(LOAD, &["--profile", "demo", "--speed", "fast"], "allowed is `max`");
    check_usage(LOAD, &["--profile", "demo", "--name", "log"], "cannot be named `log`");
    check_usage(PRODUCER, &["generate", "--profile", "demo", "--lane", "64"], "lanes 0 to 63");
    check_usage(PRODUCER, &["ledger", "--profile", "demo", "--lanes", "0"], "1 to 4096");
    check_usage(PRODUCER, &["scenarios", "halt"], "subcommand");
    check_usage(LOAD, &["--profile", "demo", "--lanes", "70000"], "from 1 to 4096");
    check_usage(LOAD, &["--profile", "demo", "--seed", "abc"], "allowed is a whole number from 0");
    check_usage(LOAD, &["--profile", "demo", "--scenario-path", "/no/such"], "/no/such` cannot be");
    check_usage(LOAD, &[], "name a profile with --profile; known: demo, urban");
    check_usage(PRODUCER, &["run", "--listen", "foo"], "an IP address and a port, such as");
    check_usage(PRODUCER, &["topics", "create", "--events-partitions", "0"], "events-partitions");
}

#[test]
fn a_command_says_in_one_line_that_no_broker_answers() {
    let commands: [(&str, &[&str]); 3] = [
        (PRODUCER, &["scenarios", "status"]),
        (PRODUCER, &["topics", "check"]),
        (LOAD, &["--profile", "demo"]),
    ];
    // Each waits for a broker as long as that may take to start.
    let waiting =
        commands.map(|(binary, args)| std::thread::spawn(move || run(binary, NOWHERE, args)));
    for output in waiting {
        let output = output.join().expect("a command");
        check(&output, Exit::Failed, "error: no broker answers at 127.0.0.1:1; start it");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}

#[test]
fn a_taken_port_ends_with_64_and_names_the_setting() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let output = run(PRODUCER, NOWHERE, &["run", "--listen", &address]);
    check(&output, Exit::Usage, "ROAMING_PRODUCER_LISTEN");
}

/// A producer that was started with a broker, and its log.
struct Process {
    child: Child,
    log: Lines<BufReader<ChildStderr>>,
}

impl Process {
    fn start(servers: &str) -> Self {
        let mut child = Command::new(PRODUCER)
            .args(["run", "--listen", "127.0.0.1:0", "--bootstrap-servers", servers])
            .stderr(Stdio::piped())
            .spawn()
            .expect("a process");
        let log = BufReader::new(child.stderr.take().expect("a pipe")).lines();
        Self { child, log }
    }

    /// Sends it SIGTERM once its log says this.
    fn terminate_after(&mut self, said: &str) {
        let line = self.log.by_ref().map(|line| line.expect("text")).find(|it| it.contains(said));
        assert!(line.is_some(), "it ended without `{said}` in its log");
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", "TERM", &pid]).status().expect("kill").success());
    }
}

#[test]
fn a_signal_ends_a_daemon_that_still_waits_for_a_broker() {
    // It takes connections and never answers.
    let frozen = TcpListener::bind("127.0.0.1:0").expect("a port");
    let mut daemon = Process::start(&frozen.local_addr().expect("an address").to_string());
    daemon.terminate_after("serving /metrics");
    let signalled = Instant::now();
    let status = daemon.child.wait().expect("an end");
    assert_eq!(status.code(), Some(0), "{status}");
    // The question is given up by itself shortly before the whole of it.
    assert!(signalled.elapsed() < REACH_TIMEOUT / 3, "it waited for an answer that nobody needs");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_a_daemon_whose_lanes_do_not_come_to_rest() {
    const SIGTERM: i32 = 15;
    let broker = TestBroker::start().await;
    broker.load(&["--speed", "max"]).await.expect("loaded");
    // What is sent stays on its way.
    broker.answer(
        RDKafkaApiKey::Produce,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
        10_000,
    );
    let mut daemon = Process::start(broker.settings.bootstrap_servers.as_str());
    daemon.terminate_after("partition of lanes owned");
    daemon.terminate_after("lanes come to rest");
    let status = daemon.child.wait().expect("an end");
    assert_eq!(status.code(), Some(128 + SIGTERM), "{status}");
}

#[test]
fn the_ledger_needs_no_broker_and_is_the_same_twice() {
    let folder = tempfile::tempdir().expect("a folder");
    let profile = folder.path().join("tiny.yaml");
    std::fs::write(&profile, small_profile(40)).expect("a profile");
    let args = ["ledger", "--lanes", "4", "--profile", profile.to_str().expect("text")];
    let (first, second) = (run(PRODUCER, NOWHERE, &args), run(PRODUCER, NOWHERE, &args));
    check(&first, Exit::Done, r#""kind":"run""#);
    assert_eq!(first.stdout, second.stdout);
    let lanes = String::from_utf8_lossy(&first.stdout).matches(r#""kind":"lane""#).count();
    assert_eq!(lanes, 4);
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let mut child = Command::new(PRODUCER)
        .args(["generate", "--profile", "demo"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a process");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut line).expect("a line");
    assert!(line.starts_with(r#"{"type":""#), "{line}");
    let output = child.wait_with_output().expect("an end");
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn loading_twice_changes_nothing_and_another_run_of_the_name_is_refused() {
    let broker = TestBroker::start().await;
    let first = broker.load(&["--speed", "max"]).await.expect("loaded");
    assert!(first.starts_with("run `small` loaded"), "{first}");
    let record = broker.record("small").await;
    let second = broker.load(&["--speed", "1"]).await.expect("harmless");
    assert!(second.contains("loaded already") && second.contains("nothing changed"), "{second}");
    let change = "its speed is max, change that with `roaming-producer scenarios speed small 1`";
    assert!(second.trim_end().ends_with(change), "{second}");
    let third = broker.load(&[]).await.expect("harmless");
    assert!(third.trim_end().ends_with("nothing changed"), "{third}");
    assert_eq!(broker.record("small").await, record);
    let error = broker.load(&["--seed", "2"]).await.expect_err("refused");
    assert!(matches!(error, CommandError::NameTaken { .. }), "{error}");
    assert!(error.to_string().contains("(seed 1, not 2); choose another name"), "{error}");
    assert_eq!(error.exit(), Exit::Usage);
    broker.load(&["--seed", "2", "--name", "other"]).await.expect("another name");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_paused_resumed_and_stopped_by_name() {
    let broker = TestBroker::start().await;
    let servers = broker.settings.bootstrap_servers.clone();
    broker.load(&[]).await.expect("loaded");
    let scenarios = |args: &[&str]| run(PRODUCER, &servers, &[&["scenarios"], args].concat());
    check(&scenarios(&["pause", "smal"]), Exit::Usage, "unknown run `smal`; loaded: small");
    check(&scenarios(&["list"]), Exit::Done, "small: running");
    check(&scenarios(&["pause", "small"]), Exit::Done, "stands still from 2026-06-01T");
    assert_eq!(broker.record("small").await.state, RunState::Paused);
    check(&scenarios(&["status"]), Exit::Done, "small: paused, 0.0 %");
    check(&scenarios(&["resume", "small", "--speed", "max"]), Exit::Done, "at speed max");
    assert_eq!(broker.record("small").await.state, RunState::Running);
    check(&scenarios(&["stop", "small"]), Exit::Done, "is stopped");
    check(&scenarios(&["stop", "small"]), Exit::Done, "is stopped already");
    check(&scenarios(&["resume", "small"]), Exit::Usage, "is stopped, for good");
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_topics_are_named_with_the_command_that_makes_them() {
    let empty = rdkafka::mocking::MockCluster::new(1).expect("a broker");
    let servers = empty.bootstrap_servers();
    let says =
        "topic roaming.events does not exist; create it with `roaming-producer topics create`";
    check(&run(LOAD, &servers, &["--profile", "demo"]), Exit::Failed, says);
    check(&run(PRODUCER, &servers, &["topics", "check"]), Exit::Failed, says);
    // In one stream the list stands before the line that speaks of it.
    let mixed = format!("{PRODUCER} topics check 2>&1");
    let mixed = run("sh", &servers, &["-c", &mixed]);
    let said = String::from_utf8_lossy(&mixed.stdout);
    let last = said.lines().last().expect("lines");
    assert!(last.contains("they are listed above"), "{said}");
}
