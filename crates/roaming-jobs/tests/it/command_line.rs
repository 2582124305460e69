//! What the program prints, and the status it ends with.

use std::process::{Command, Output};

use roaming_store::Store;

use crate::sample::Bench;

fn jobs(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_roaming-jobs"))
        .args(arguments)
        .env_clear()
        .envs(variables.iter().copied())
        .output()
        .unwrap()
}

#[track_caller]
fn check(output: &Output, status: i32, says: &str) {
    let said = [output.stdout.clone(), output.stderr.clone()].concat();
    let said = String::from_utf8(said).unwrap();
    assert_eq!(output.status.code(), Some(status), "{said}");
    assert!(said.contains(says), "{said}");
    assert!(!said.contains("secret"), "{said}");
}

#[test]
fn what_is_missing_or_wrong_is_named() {
    let dsn = ("POSTGRES_DSN", "postgres://me:secret@127.0.0.1:1/roaming");
    check(&jobs(&["backup"], &[]), 64, "POSTGRES_DSN");
    check(&jobs(&["backup"], &[dsn]), 64, "--to, or with ROAMING_BACKUPS");
    check(&jobs(&["restore"], &[dsn]), 64, "--from, or with ROAMING_BACKUPS");
    check(&jobs(&["archive"], &[dsn]), 64, "--to, or with ROAMING_ARCHIVE");
    check(&jobs(&["backup", "--to", "file:///no/such"], &[dsn]), 64, "create it or mount its disk");
    check(&jobs(&["backup"], &[dsn, ("ROAMING_BACKUP", "x")]), 64, "ROAMING_BACKUPS");
    let wrong = ("POSTGRES_DSN", "postgres://me:secret@host:x/roaming");
    check(&jobs(&["config", "--check"], &[wrong]), 64, "invalid port");
}

#[test]
fn a_server_that_is_away_is_told() {
    let bench = Bench::empty();
    let url = bench.url();
    let dsn = ("POSTGRES_DSN", "postgres://me:secret@127.0.0.1:1/roaming");
    check(&jobs(&["backup", "--to", &url], &[dsn]), 1, "the store is not available");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_made_restored_and_told() {
    let (source, target) = (Bench::with_runs().await, Bench::empty());
    let url = source.url();
    let variables = [("POSTGRES_DSN", source.dsn.as_str()), ("ROAMING_BACKUPS", url.as_str())];
    check(&jobs(&["backup"], &variables), 0, "8 tables, ");
    check(&jobs(&["restore"], &variables), 64, "holds rows already");
    let from = ["restore", "--from", &url];
    check(&jobs(&from, &[("POSTGRES_DSN", &target.dsn)]), 0, "are restored from file://");
    assert_eq!(target.store.runs().await.unwrap().len(), 2);

    let archive = [variables[0], ("ROAMING_ARCHIVE", url.as_str())];
    check(&jobs(&["archive"], &archive), 0, "runs archived: 1, with 44 rows");
    let clean_up = ["clean-up", "--keep-days", "7"];
    check(&jobs(&clean_up, &variables), 0, "runs cleaned up: 0, rows removed: 0");
    check(&jobs(&["clean-up", "--keep-days", "0"], &variables), 64, "keep-days");
    let done = source.store.jobs().await.unwrap();
    assert_eq!(
        done.iter().map(|job| &*job.last.job).collect::<Vec<_>>(),
        ["archive", "backup", "clean-up"]
    );

    let empty = Bench::empty();
    let variables = [("POSTGRES_DSN", empty.dsn.as_str()), ("ROAMING_BACKUPS", url.as_str())];
    check(&jobs(&["backup"], &variables), 64, "no store at postgres://");
}
