//! The services themselves: they keep what they hold, and leave nothing behind.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use roaming_testbed::services::{Kafka, KafkaOptions, Postgres, PostgresOptions};
use roaming_testbed::wait::wait_until;

fn kcat(kafka: &Kafka, arguments: &[&str], input: &str) -> Result<String> {
    let script = format!(
        "printf '%s' '{input}' | kcat -b {} {}",
        kafka.bootstrap_servers(),
        arguments.join(" ")
    );
    let output = Command::new("sh").args(["-c", &script]).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

#[test]
fn a_node_that_is_killed_and_started_again_keeps_what_it_acknowledged() -> Result<()> {
    let kafka = Kafka::start(&KafkaOptions::default());
    let topic = ["--create", "--topic", "kept", "--partitions", "1", "--replication-factor", "1"];
    kafka.tool("org.apache.kafka.tools.TopicCommand", &topic);
    kcat(&kafka, &["-P", "-t", "kept", "-X", "acks=all"], "something")?;
    kafka.node(0).kill();
    kafka.node(0).start();
    ensure!(kcat(&kafka, &["-C", "-t", "kept", "-e", "-q"], "")?.contains("something"));
    let folder = kafka.folder().to_owned();
    drop(kafka);
    ensure!(!folder.exists(), "the folder is left");
    ensure!(processes_that_mention(&folder)? == 0, "a process is left");
    Ok(())
}

#[test]
fn three_nodes_are_one_cluster() {
    let kafka = Kafka::start(&KafkaOptions { nodes: 3, ..KafkaOptions::default() });
    let topic = ["--create", "--topic", "three", "--partitions", "3", "--replication-factor", "3"];
    kafka.tool("org.apache.kafka.tools.TopicCommand", &topic);
    let described =
        kafka.tool("org.apache.kafka.tools.TopicCommand", &["--describe", "--topic", "three"]);
    assert!(described.contains("ReplicationFactor: 3"), "{described}");
}

#[test]
fn a_database_outlives_a_restart_of_its_server() {
    let postgres = Postgres::start(&PostgresOptions::default());
    let dsn = postgres.create_database();
    let database = dsn.rsplit('/').next().expect("a name");
    postgres.sql(database, "CREATE TABLE kept AS SELECT 42 AS answer");
    postgres.stop();
    postgres.start_again();
    assert_eq!(postgres.sql(database, "SELECT answer FROM kept").trim(), "42");
}

#[test]
fn nothing_is_left_of_the_services_of_a_process_that_ends() -> Result<()> {
    for is_killed in [false, true] {
        let folder = tempfile::TempDir::new()?;
        // PostgreSQL's user must reach its folder below this one.
        let mode = Command::new("chmod").arg("711").arg(folder.path()).status()?;
        ensure!(mode.success(), "chmod: {mode}");
        let mut holder = Command::new(std::env::current_exe()?)
            .args(["--exact", "services::a_process_with_services", "--ignored"])
            .env("TMPDIR", folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()?;
        wait_until("the services", Duration::from_mins(1), || {
            Ok(folder.path().join(SERVE).exists())
        })?;
        ensure!(processes_that_mention(folder.path())? > 2, "there are no servers");
        if is_killed {
            holder.kill()?;
        } else {
            drop(holder.stdin.take());
        }
        holder.wait()?;
        std::fs::remove_file(folder.path().join(SERVE))?;
        wait_until("the end of all", Duration::from_secs(10), || {
            let is_empty = std::fs::read_dir(folder.path())?.next().is_none();
            Ok(is_empty && processes_that_mention(folder.path())? == 0)
        })
        .with_context(|| format!("is_killed: {is_killed}"))?;
    }
    Ok(())
}

/// File that says that the services of another process serve.
const SERVE: &str = "serve";

#[test]
#[ignore = "another test starts it as a process of its own, and ends it"]
fn a_process_with_services() -> Result<()> {
    let _kafka = Kafka::start(&KafkaOptions::default());
    // It is in a static, which nothing drops.
    Postgres::shared();
    std::fs::write(std::env::temp_dir().join(SERVE), "")?;
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
    Ok(())
}

#[test]
fn a_developers_services_end_with_the_signal_that_ends_their_script() -> Result<()> {
    for signal in ["TERM", "KILL"] {
        let folder = tempfile::TempDir::with_prefix("roaming-services-")?;
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/services");
        let log = folder.path().join("said");
        // PostgreSQL's user must reach its folder below this one.
        let mode = Command::new("chmod").arg("711").arg(folder.path()).status()?;
        ensure!(mode.success(), "chmod: {mode}");
        let mut up = Command::new(script)
            .arg("up")
            .arg(folder.path().join("services"))
            .stdin(Stdio::null())
            .stdout(std::fs::File::create(&log)?)
            // Whoever reads what the tests say would wait for what is left.
            .stderr(Stdio::null())
            .spawn()?;
        wait_until("the services", Duration::from_mins(1), || {
            Ok(std::fs::read_to_string(&log)?.contains("are up"))
        })?;
        let sent = Command::new("kill").args(["-s", signal, &up.id().to_string()]).status()?;
        ensure!(sent.success(), "kill -s {signal}: {sent}");
        let ended = wait_until("their end", Duration::from_secs(30), || {
            let is_there = up.try_wait()?.is_none();
            Ok(!is_there && processes_that_mention(folder.path())? == 0)
        });
        if ended.is_err() {
            for pid in ["services/kafka/1/pid", "services/postgres/pid"] {
                let pid = std::fs::read_to_string(folder.path().join(pid))?;
                Command::new("kill").args(["-s", "KILL", pid.trim()]).status()?;
            }
            up.kill()?;
        }
        ended.with_context(|| format!("after SIG{signal}"))?;
    }
    Ok(())
}

#[test]
fn certificates_are_never_made_over_what_is_there() -> Result<()> {
    let folder = tempfile::TempDir::new()?;
    let there = ["ca.key", "CA.pem"].map(|name| folder.path().join(name));
    for file in &there {
        std::fs::write(file, "precious")?;
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/certificates");
    let output = Command::new(script).arg(folder.path()).output()?;
    let said = String::from_utf8(output.stderr)?;
    ensure!(output.status.code() == Some(1), "{}: {said}", output.status);
    ensure!(said.contains("is not empty: name a new folder"), "{said}");
    for file in &there {
        ensure!(std::fs::read_to_string(file)? == "precious", "{} is changed", file.display());
    }
    ensure!(std::fs::read_dir(folder.path())?.count() == there.len(), "something is left there");
    Ok(())
}

#[test]
fn what_the_services_need_and_nobody_may_install_is_named() -> Result<()> {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let without_java = |hidden: &[&str]| all_programs_but(&[&["java", "sudo"], hidden].concat());
    // No way to install it: no tool, and no right to use the tool.
    let no_tool = without_java(&["apt-get"])?;
    let no_right = without_java(&["id"])?;
    let id = no_right.path().join("id");
    std::fs::write(&id, "#!/bin/sh\necho 1000\n")?;
    std::fs::set_permissions(&id, Permissions::from_mode(0o755))?;
    for programs in [&no_tool, &no_right] {
        let setup = Command::new("make")
            .arg("setup")
            .current_dir(root)
            .env("PATH", programs.path())
            .output()?;
        let said = String::from_utf8(setup.stderr)?;
        ensure!(!setup.status.success(), "{}: {said}", setup.status);
        ensure!(said.contains("this user cannot install them"), "{said}");
        ensure!(said.contains("a Java runtime of version 17 or newer"), "{said}");
        ensure!(said.contains("openjdk-17-jre-headless"), "{said}");
    }

    let path = no_tool.path();
    let services = Command::new("scripts/services")
        .args(["kafka", "unused", "1"])
        .current_dir(root)
        .env("PATH", path)
        .output()?;
    let said = String::from_utf8(services.stderr)?;
    ensure!(!services.status.success() && said.contains("java is missing"), "{said}");
    Ok(())
}

/// Makes a folder that leads to every program of this machine but some.
fn all_programs_but(hidden: &[&str]) -> Result<tempfile::TempDir> {
    let programs = tempfile::TempDir::new()?;
    for folder in ["/usr/bin", "/usr/local/bin", "/bin"] {
        for program in std::fs::read_dir(folder)? {
            let program = program?;
            let name = program.file_name();
            let link = programs.path().join(&name);
            if !hidden.iter().any(|hidden| name == *hidden) && !link.exists() {
                std::os::unix::fs::symlink(program.path(), link)?;
            }
        }
    }
    Ok(programs)
}

/// How many processes have a path on their command line.
fn processes_that_mention(path: &Path) -> Result<usize> {
    let path = path.to_str().context("a path that is text")?;
    let output = Command::new("pgrep").args(["--full", "--count", path]).output()?;
    Ok(String::from_utf8(output.stdout)?.trim().parse()?)
}
