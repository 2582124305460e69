//! What the retention of a topic does, at once.

use anyhow::{Context, Result, ensure};

use crate::platform::PARTITIONS;
use crate::{Platform, store};

const DELETE_RECORDS: &str = "org.apache.kafka.tools.DeleteRecordsCommand";

/// Removes all records that are on `roaming.events` by now, and returns what is to be said of each partition by
/// what is stored of it and what Kafka's tool says of its deletion.
///
/// # Errors
/// Fails where the store has not counted each partition, or Kafka does not remove.
pub fn overtake(platform: &Platform) -> Result<Vec<String>> {
    let stored = store::offsets(&platform.dsn)?;
    // -1 is where the partition ends.
    let ends: Vec<_> = stored
        .keys()
        .map(|partition| {
            format!(r#"{{"topic":"roaming.events","partition":{partition},"offset":-1}}"#)
        })
        .collect();
    let file = platform.kafka.folder().join("delete.json");
    std::fs::write(&file, format!(r#"{{"partitions":[{}],"version":1}}"#, ends.join(",")))?;
    let deleted =
        platform.kafka.tool(DELETE_RECORDS, &["--offset-json-file", &file.to_string_lossy()]);
    let lows = deleted.lines().filter_map(|line| {
        let (partition, low) = line.split_once("low_watermark: ")?;
        let partition = partition.trim().strip_prefix("partition: roaming.events-")?;
        Some((partition.to_owned(), low.trim().to_owned()))
    });
    let lost = lows.map(|(partition, low)| {
        let next = stored.get(&partition.parse()?).context("a partition that was not counted")?;
        Ok(format!("records {next} to {low} (exclusive) of partition {partition} were removed by the log's retention"))
    });
    let lost: Vec<String> = lost.collect::<Result<_>>()?;
    ensure!(lost.len() == usize::from(PARTITIONS), "not all partitions are in {deleted}");
    Ok(lost)
}
