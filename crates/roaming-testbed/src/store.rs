//! What the consumers stored, by PostgreSQL's own client.

use std::collections::BTreeMap;
use std::process::Command;

use anyhow::{Context, Result};

use crate::platform::successful;

/// Returns the next offset of each partition that a store has counted.
///
/// # Errors
/// Fails where the store cannot be read.
pub fn offsets(dsn: &str) -> Result<BTreeMap<u16, u64>> {
    let rows = successful(
        Command::new("psql")
            .args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--command"])
            .arg("SELECT partition, next_offset FROM roaming.partitions")
            .arg(dsn),
    )?;
    let row = |row: &str| -> Result<_> {
        let (partition, offset) = row.split_once('|').context("a row has two columns")?;
        Ok((partition.parse()?, offset.parse()?))
    };
    rows.lines().map(row).collect()
}
