//! When the platform counts again.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::wait::wait_for;
use crate::{Platform, store};

/// Waits until in every partition something is counted that came onto the topic after this was called, and
/// returns how long after `start` that was.
///
/// So a partition that nobody sends to, or nobody counts, is waited for, whoever sends and counts the others.
/// What is there comes from Kafka (kcat), what is counted from PostgreSQL (psql), neither from the daemons.
///
/// # Errors
/// Fails where it does not within `limit`, and says where the partitions stand.
pub fn counted_anew(platform: &Platform, start: Instant, limit: Duration) -> Result<Duration> {
    let (ends, _) =
        wait_for("the ends of roaming.events", limit, || Ok(platform.topic_ends().ok()))?;
    let mut last = BTreeMap::new();
    let counted = wait_for("something new in every partition", limit, || {
        // The store may be away.
        if let Ok(offsets) = store::offsets(&platform.dsn) {
            last = offsets;
        }
        Ok(ends.iter().all(|(partition, end)| last.get(partition) > Some(end)).then_some(()))
    });
    counted.with_context(|| format!("the log ended at {ends:?}, counted is up to {last:?}"))?;
    Ok(start.elapsed())
}

/// Returns the brokers in sync, and the leader, of each partition of a topic.
pub(super) fn partitions(platform: &Platform, topic: &str) -> Result<Vec<Replicas>> {
    let servers = platform.kafka.bootstrap_servers();
    let output = Command::new("kcat").args(["-b", &servers, "-L", "-J", "-t", topic]).output()?;
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let partitions = metadata["topics"][0]["partitions"].as_array().context("no partitions")?;
    let replicas = |partition: &serde_json::Value| {
        let in_sync = partition["isrs"].as_array()?;
        let in_sync = in_sync.iter().filter_map(|replica| replica["id"].as_u64()).collect();
        let leader = partition["leader"].as_u64().and_then(|leader| leader.try_into().ok());
        Some(Replicas { leader: leader.unwrap_or(0), in_sync })
    };
    partitions.iter().map(replicas).collect::<Option<_>>().context("a partition without replicas")
}

/// Where a partition is.
pub(super) struct Replicas {
    /// Number of the node that leads it; 0 where none does.
    pub(super) leader: usize,
    /// Numbers of the nodes that hold all of it.
    pub(super) in_sync: Vec<u64>,
}
