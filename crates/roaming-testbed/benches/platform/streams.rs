//! The Kafka Streams program under `bench/kafka-streams`: the same aggregation, `exactly_once_v2`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::bare::Measured;

/// Flags of its JVM: a heap as large as the broker's, and the collector for throughput.
const JVM: [&str; 3] = ["-Xms1g", "-Xmx1g", "-XX:+UseParallelGC"];

/// The program, built.
pub(crate) struct Streams {
    target: PathBuf,
}

/// What it prints.
#[derive(Deserialize)]
struct Counted {
    #[serde(flatten)]
    measured: Measured,
    events: u64,
    rows: u64,
}

impl Streams {
    /// Builds the program with Maven.
    ///
    /// # Errors
    /// Fails where it cannot be built, with what Maven said.
    pub(crate) fn build() -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize()?;
        let output = Command::new("mvn")
            .args(["--quiet", "--batch-mode", "package", "--file"])
            .arg(root.join("bench/kafka-streams/pom.xml"))
            .output()
            .context("Maven cannot be started: run scripts/setup build test bench")?;
        let said = String::from_utf8_lossy(&output.stdout);
        ensure!(output.status.success(), "the Kafka Streams program cannot be built: {said}");
        Ok(Self { target: root.join("target/kafka-streams") })
    }

    /// Lets it count all events of the topic under an application id of its own, which must come to as many
    /// rows as the consumer wrote.
    ///
    /// # Errors
    /// Fails where it counts anything else, or takes too long.
    pub(crate) fn count(
        &self,
        servers: &str,
        round: usize,
        events: u64,
        rows: u64,
    ) -> Result<Measured> {
        let state = tempfile::tempdir()?;
        let target = self.target.to_string_lossy();
        let output = Command::new("java")
            .args(JVM)
            .args(["-cp", &format!("{target}/roaming-streams.jar:{target}/lib/*")])
            .args(["roaming.streams.RoamingStreams", servers, &format!("round{round}")])
            .arg(state.path())
            .arg(events.to_string())
            .env("JAVA_TOOL_OPTIONS", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error")
            .output()
            .context("java cannot be started")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "Kafka Streams ended with {}: {said}", output.status);
        let counted: Counted = serde_json::from_slice(&output.stdout)
            .with_context(|| format!("it printed no figures: {said}"))?;
        ensure!(
            (counted.events, counted.rows) == (events, rows),
            "Kafka Streams counted {} events into {} rows, the consumer {events} into {rows}",
            counted.events,
            counted.rows
        );
        Ok(counted.measured)
    }
}
