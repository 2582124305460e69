//! Which replica owns which partitions, as the replicas' own logs say.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::Daemon;

/// What producers and consumers log when their group gives them partitions.
const ASSIGNED: [&str; 2] =
    ["partitions of lanes assigned, reading their progress", "partitions assigned"];

/// Partitions that the group gave to a daemon at once; never none.
pub struct Assignment {
    /// When it was logged, in a form that sorts.
    at: String,
    partitions: BTreeSet<u16>,
}

/// Returns what the group has given to a daemon so far, in order.
///
/// # Errors
/// Fails where its log cannot be read.
pub fn assignments(daemon: &Daemon) -> Result<Vec<Assignment>> {
    let log = daemon.log()?;
    let found = log.lines().filter(|line| line.contains("assigned")).map(assignment);
    Ok(found.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
}

/// Returns which partitions each of several replicas owns: those that it was given after all others.
///
/// # Errors
/// As [`assignments`].
pub fn owned(replicas: &[&Daemon]) -> Result<Vec<BTreeSet<u16>>> {
    let mut all = Vec::new();
    for (replica, daemon) in replicas.iter().enumerate() {
        all.extend(assignments(daemon)?.into_iter().map(|assignment| (assignment, replica)));
    }
    all.sort_by(|(left, _), (right, _)| left.at.cmp(&right.at));
    let mut owners = BTreeMap::new();
    for (Assignment { partitions, .. }, replica) in all {
        owners.extend(partitions.into_iter().map(|partition| (partition, replica)));
    }
    let mut owned = vec![BTreeSet::new(); replicas.len()];
    for (partition, replica) in owners {
        owned[replica].insert(partition);
    }
    Ok(owned)
}

/// Whether each of several replicas owns a partition.
///
/// # Errors
/// As [`assignments`].
pub fn is_shared(replicas: &[&Daemon]) -> Result<bool> {
    Ok(owned(replicas)?.iter().all(|partitions| !partitions.is_empty()))
}

#[derive(Deserialize)]
struct Line {
    timestamp: String,
    message: String,
    /// A list or a set of numbers, as `Debug` writes it.
    #[serde(default)]
    partitions: String,
}

/// Reads a line of a log; `None` where it gives no partitions.
fn assignment(line: &str) -> Result<Option<Assignment>> {
    let Line { timestamp, message, partitions } =
        serde_json::from_str(line).with_context(|| format!("no line of a log: {line}"))?;
    if !ASSIGNED.contains(&message.as_str()) {
        return Ok(None);
    }
    let numbers = partitions.trim_matches(['[', ']', '{', '}']).split(", ");
    let partitions = numbers
        .filter(|number| !number.is_empty())
        .map(str::parse)
        .collect::<Result<BTreeSet<u16>, _>>()
        .with_context(|| format!("no partitions: {line}"))?;
    // A replica that joins is given none until the others have let go of some.
    Ok((!partitions.is_empty()).then_some(Assignment { at: timestamp, partitions }))
}
