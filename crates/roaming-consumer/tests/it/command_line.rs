//! Messages and exit statuses.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Instant;

use roaming_service::kafka::REACH_TIMEOUT;
use roaming_store::{SqliteStore, Store};
use sqlx::ConnectOptions;
use tempfile::TempDir;

/// Runs the program with a broker that nobody serves.
fn consumer(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_roaming-consumer"))
        .args(arguments)
        .env("ROAMING_LOG", "off")
        .env("BOOTSTRAP_SERVERS", "127.0.0.1:1")
        .output()
        .unwrap()
}

#[track_caller]
fn check(output: &Output, status: i32, says: &[&str]) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{said}");
    for part in says {
        assert!(said.contains(part), "{part:?} is missing in: {said}");
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_taken_port_is_named_with_the_option_that_changes_it() {
    let folder = TempDir::new().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let store = folder.path().join("run.db");
    let output = consumer(&["--listen", &address, "--store", text(&store)]);
    check(&output, 64, &[&taken.local_addr().unwrap().port().to_string(), "--listen"]);
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0, "no store is left behind");
}

#[test]
fn a_daemon_tells_once_why_it_ends() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for log in ["off", "error"] {
        let output = consumer(&["--log", log, "run", "--listen", &address]);
        check(&output, 64, &["could not be opened"]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(said.matches("could not be opened").count(), 1, "{log}: {said}");
        assert_eq!(said.starts_with("error: "), log == "off", "{said}");
    }
}

#[test]
fn a_signal_ends_a_daemon_that_still_waits_for_a_broker() {
    let folder = TempDir::new().unwrap();
    // It takes connections and never answers.
    let frozen = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut daemon = Command::new(env!("CARGO_BIN_EXE_roaming-consumer"))
        .args(["run", "--listen", "127.0.0.1:0", "--store", text(&folder.path().join("run.db"))])
        .args(["--bootstrap-servers", &frozen.local_addr().unwrap().to_string()])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(daemon.stderr.take().unwrap()).lines();
    assert!(log.any(|line| line.unwrap().contains("page and metrics are served")));
    let asked = frozen.accept();
    assert!(asked.is_ok(), "it asks the broker: {asked:?}");
    let signalled = Instant::now();
    let id = daemon.id().to_string();
    assert!(Command::new("kill").args(["-s", "TERM", &id]).status().unwrap().success());
    let status = daemon.wait().unwrap();
    assert_eq!(status.code(), Some(0), "{status}");
    // The question is given up by itself after the whole of it.
    assert!(signalled.elapsed() < REACH_TIMEOUT / 3, "it waited for an answer that nobody needs");
}

#[test]
fn a_store_on_the_command_line_goes_before_a_database_in_the_environment() {
    let folder = TempDir::new().unwrap();
    let runs = |arguments: &[&str], variables: &[(&str, &str)]| {
        Command::new(env!("CARGO_BIN_EXE_roaming-consumer"))
            .arg("runs")
            .args(arguments)
            .envs(variables.iter().copied())
            .current_dir(&folder)
            .output()
            .unwrap()
    };
    let file = ["--store", "absent.db"];
    let (nobody, flag) = ("postgres://roaming@127.0.0.1:1/roaming", "--postgres-dsn");
    let dsn = ("POSTGRES_DSN", nobody);
    check(&runs(&file, &[dsn]), 64, &["absent.db"]);
    check(&runs(&[flag, nobody], &[("ROAMING_STORE", "absent.db")]), 1, &["127.0.0.1:1"]);
    let yaml = folder.path().join("roaming.yaml");
    fs::write(&yaml, format!("store:\n  postgres_dsn: {nobody}\n")).unwrap();
    let config = ["--config", text(&yaml)];
    check(&runs(&config, &[("ROAMING_STORE", "absent.db")]), 64, &["absent.db"]);
    // Of two in one place the database is meant.
    check(&runs(&[&file[..], &[flag, nobody]].concat(), &[]), 1, &["127.0.0.1:1"]);
    check(&runs(&[], &[dsn, ("ROAMING_STORE", "absent.db")]), 1, &["127.0.0.1:1"]);
}

#[test]
fn settings_are_shown_with_where_they_come_from_and_secrets_hidden() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("roaming.yaml");
    let secret = folder.path().join("password");
    fs::write(&secret, "hunter2\n").unwrap();
    let yaml = "kafka:\n  security: sasl_plaintext\n  username: counter\n  password_file: ";
    fs::write(&file, format!("{yaml}{}\n", secret.display())).unwrap();
    let arguments = ["--config", text(&file), "config", "--listen", "127.0.0.1:7", "--print"];
    let output = consumer(&arguments);
    check(&output, 0, &[]);
    let table = String::from_utf8(output.stdout).unwrap();
    let check_shown = |expected: [&str; 4]| {
        let line = table.lines().find(|line| line.starts_with(expected[0])).unwrap();
        let columns: Vec<&str> =
            line.split("  ").map(str::trim).filter(|column| !column.is_empty()).collect();
        assert_eq!(columns, expected);
    };
    let place = format!("file {}:4", file.display());
    check_shown(["kafka.password", "***", &place, "ROAMING_KAFKA_PASSWORD"]);
    check_shown(["consumer.listen", "127.0.0.1:7", "flag --listen", "ROAMING_LISTEN"]);
    check_shown([
        "kafka.bootstrap_servers",
        "127.0.0.1:1",
        "env BOOTSTRAP_SERVERS",
        "BOOTSTRAP_SERVERS",
    ]);

    let output = consumer(&[&arguments[..], &["--format", "json"]].concat());
    let json = String::from_utf8(output.stdout).unwrap();
    let settings: Vec<serde_json::Value> = serde_json::from_str(&json).unwrap();
    assert_eq!(settings.len(), table.lines().count());
    assert!(settings.iter().any(|setting| setting["env"] == "ROAMING_FLUSH_INTERVAL_MS"));
    assert!(!json.contains("hunter2"));
}

#[test]
fn a_check_says_all_that_is_wrong() {
    let wrong = ["--listen", "here", "--window-minutes", "7", "config", "--check"];
    check(&consumer(&wrong), 64, &["(flag --listen): `here`", "(flag --window-minutes): `7`"]);
    let dsn = ["--postgres-dsn", "postgres://me@db/roaming?sslmod=require"];
    let output = consumer(&[&dsn[..], &wrong].concat());
    check(
        &output,
        64,
        &["`here`", "`7`", "store.postgres_dsn (flag --postgres-dsn): *** cannot be used: "],
    );
    let right = consumer(&["config", "--check"]);
    check(&right, 0, &[]);
    assert_eq!(String::from_utf8_lossy(&right.stdout), "the configuration is fine\n");
    check(&consumer(&["config"]), 64, &["<--print|--check>"]);
    check(&consumer(&["config", "--print", "--check"]), 64, &["cannot be used with"]);
}

#[test]
fn a_store_that_cannot_be_opened_is_named() {
    // Where nothing can be written, as in a container, whoever starts it wants the database.
    for (store, says) in [("/nowhere/run.db", "create it"), ("/proc/run.db", "write to")] {
        let output = consumer(&["--listen", "127.0.0.1:0", "--store", store]);
        check(&output, 64, &[store.trim_end_matches("/run.db"), says, "another with --store"]);
        check(&output, 64, &["--postgres-dsn or POSTGRES_DSN"]);
    }
}

#[test]
fn a_wrong_dsn_is_refused_without_repeating_the_password() {
    for command in [&["run"][..], &["runs"], &["verify", "--run", "x"]] {
        let dsn = ["--postgres-dsn", "postgres://me:hunter2@db/roaming?sslmode=full"];
        let output = consumer(&[command, &dsn].concat());
        check(&output, 64, &["(flag --postgres-dsn): *** cannot be used: sslmode may be"]);
        let said = [output.stdout, output.stderr].concat();
        assert!(!String::from_utf8_lossy(&said).contains("hunter2"));
    }
}

#[test]
fn a_command_says_that_the_server_is_away() {
    let output = consumer(&["runs", "--postgres-dsn", "postgres://me@127.0.0.1:1/roaming"]);
    check(
        &output,
        1,
        &["the store is not available at the moment", "PostgreSQL at 127.0.0.1:1", "refused"],
    );
}

#[tokio::test]
async fn a_store_of_a_newer_schema_is_refused() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("run.db");
    SqliteStore::open(&path).await.unwrap().close().await;
    let mut newer =
        sqlx::sqlite::SqliteConnectOptions::new().filename(&path).connect().await.unwrap();
    sqlx::raw_sql("PRAGMA user_version = 99").execute(&mut newer).await.unwrap();
    sqlx::Connection::close(newer).await.unwrap();
    for arguments in [
        &["--listen", "127.0.0.1:0", "--store"][..],
        &["runs", "--store"],
        &["verify", "--run", "x", "--store"],
    ] {
        let output = consumer(&[arguments, &[text(&path)]].concat());
        check(&output, 64, &["schema version 99", "use a newer roaming-consumer"]);
    }
}

#[tokio::test]
async fn an_unknown_run_says_how_to_load_one() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("run.db");
    SqliteStore::open(&path).await.unwrap().close().await;
    let output = consumer(&["verify", "--run", "demo", "--store", text(&path)]);
    check(&output, 64, &["unknown run `demo`", "with `load-scenarios --profile demo`"]);
    let output = consumer(&["runs", "--store", text(&path)]);
    check(&output, 0, &[]);
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("name"));
}

#[tokio::test]
async fn output_that_cannot_be_written_is_said_and_a_closed_pipe_is_not() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("run.db");
    SqliteStore::open(&path).await.unwrap().close().await;
    let runs = |stdout: Stdio| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_roaming-consumer"));
        command.args(["runs", "--store", text(&path)]).stdout(stdout).stderr(Stdio::piped());
        command.spawn().unwrap().wait_with_output().unwrap()
    };
    let full = runs(File::options().write(true).open("/dev/full").unwrap().into());
    check(&full, 1, &["error: the output cannot be written: No space left"]);

    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    let closed = runs(writer.into());
    check(&closed, 0, &[]);
    assert!(closed.stderr.is_empty(), "{}", String::from_utf8_lossy(&closed.stderr));
}

#[test]
fn a_wrong_log_filter_says_what_a_right_one_is() {
    let output = consumer(&["runs", "--log", "x=y=z"]);
    check(
        &output,
        64,
        &[
            "telemetry.log (flag --log): `x=y=z` is not allowed",
            "a level (off, error, warn, info, ",
        ],
    );
}

#[test]
fn wrong_arguments_have_a_status_of_their_own() {
    check(&consumer(&["--stoer", "x"]), 64, &["--store"]);
    check(&consumer(&["--store", "/no/such.db", "runs"]), 64, &["folder /no for the store"]);
    check(&consumer(&["verify"]), 64, &["--run", "--all"]);
    check(&consumer(&["--window-minutes", "7"]), 64, &["divide a day"]);
    check(&consumer(&["--help"]), 0, &[]);
}
