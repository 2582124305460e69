//! The scripts for secure services say how they are used, what is missing, and what they have done.

use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Result, ensure};
use tempfile::TempDir;

fn script(name: &str) -> Command {
    Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts").join(name))
}

fn ensure_says(output: &Output, status: i32, says: &str) -> Result<()> {
    let said = [&output.stdout[..], &output.stderr[..]].concat();
    let said = String::from_utf8_lossy(&said);
    ensure!(output.status.code() == Some(status), "{}: {said}", output.status);
    ensure!(said.contains(says), "`{says}` is not in {said}");
    Ok(())
}

#[test]
fn each_script_has_a_help() -> Result<()> {
    for name in ["kafka-acls", "postgres-roles", "certificates"] {
        for flag in ["--help", "-h"] {
            ensure_says(&script(name).arg(flag).output()?, 0, &format!("scripts/{name} "))?;
        }
        ensure_says(&script(name).output()?, 64, &format!("scripts/{name} "))?;
    }
    Ok(())
}

#[test]
fn the_smoke_test_says_how_it_is_used_and_what_it_misses() -> Result<()> {
    let smoke = || script("smoke-compose");
    ensure_says(&smoke().arg("--help").output()?, 0, "scripts/smoke-compose ")?;
    ensure_says(&smoke().arg("--nothing").output()?, 64, "unknown argument --nothing")?;
    let nowhere = smoke().env("DOCKER_HOST", "tcp://127.0.0.1:1").output()?;
    ensure!(nowhere.status.code() == Some(1), "{}", nowhere.status);
    // A machine without Docker misses that first.
    let said = String::from_utf8(nowhere.stderr)?;
    ensure!(said.contains("start it, or set DOCKER_HOST") || said.contains("install"), "{said}");
    Ok(())
}

#[test]
fn a_missing_tool_of_kafka_is_told_with_the_variable_that_names_it() -> Result<()> {
    let output = script("kafka-acls")
        .args(["--bootstrap-server", "127.0.0.1:1"])
        .env("KAFKA_ACLS", "no-such-tool")
        .output()?;
    ensure_says(&output, 1, "no-such-tool is not there")?;
    ensure_says(&output, 1, "set KAFKA_ACLS to it")
}

#[test]
fn certificates_are_told_in_one_line() -> Result<()> {
    let folder = TempDir::new()?;
    let output = script("certificates").arg(folder.path()).args(["counter", "reader"]).output()?;
    ensure_says(&output, 0, "and one for each of counter reader")?;
    ensure!(String::from_utf8(output.stdout)?.lines().count() == 1);
    Ok(())
}
