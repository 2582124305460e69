//! Messages and exit statuses.

use std::fs::{self, File};
use std::io;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};

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
    let left: Vec<_> = fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path()).collect();
    assert_eq!(left, [store], "the store is closed");
}

#[test]
fn a_store_that_cannot_be_opened_is_named() {
    check(&consumer(&["--store", "/nowhere/run.db"]), 64, &["/nowhere", "create it", "--store"]);
}

#[test]
fn a_wrong_dsn_is_refused_without_repeating_the_password() {
    for command in [&["run"][..], &["runs"], &["verify", "--run", "x"]] {
        let dsn = ["--postgres-dsn", "postgres://me:hunter2@db/roaming?sslmode=full"];
        let output = consumer(&[command, &dsn].concat());
        check(&output, 64, &["sslmode may be", "--postgres-dsn or POSTGRES_DSN"]);
        let said = [output.stdout, output.stderr].concat();
        assert!(!String::from_utf8_lossy(&said).contains("hunter2"));
    }
}

#[test]
fn a_command_says_that_the_server_is_away() {
    let output = consumer(&["runs", "--postgres-dsn", "postgres://me@127.0.0.1:1/roaming"]);
    check(&output, 1, &["the store is not available at the moment", "refused"]);
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
    for arguments in [&["--store"][..], &["runs", "--store"], &["verify", "--run", "x", "--store"]]
    {
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
    check(&full, 1, &["roaming-consumer: the output cannot be written: No space left"]);

    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    let closed = runs(writer.into());
    check(&closed, 0, &[]);
    assert!(closed.stderr.is_empty(), "{}", String::from_utf8_lossy(&closed.stderr));
}

#[test]
fn a_wrong_log_filter_says_where_it_breaks() {
    let output = consumer(&["runs", "--log", "x=y=z"]);
    check(&output, 64, &["log filter `x=y=z` cannot be read", "ROAMING_LOG): "]);
}

#[test]
fn wrong_arguments_have_a_status_of_their_own() {
    check(&consumer(&["--stoer", "x"]), 64, &["--store"]);
    check(&consumer(&["verify"]), 64, &["--run"]);
    check(&consumer(&["--window-minutes", "7"]), 64, &["divide a day"]);
    check(&consumer(&["--help"]), 0, &[]);
}
