//! How far a run is, as the page shows it to everybody.

use anyhow::{Context, Result};
use roaming_events::SimTime;
use serde::Deserialize;

use crate::Daemon;

/// A run as a consumer's `/api/runs` shows it, read from the store.
#[derive(Clone, Debug, Deserialize)]
pub struct Observed {
    /// Its name.
    pub name: String,
    /// Events counted.
    pub events: u64,
    /// Numbered records that had been counted before.
    pub duplicates: u64,
    /// Lanes that are finished.
    pub lanes_finished: usize,
    /// Simulated time up to which everything is counted.
    pub watermark: SimTime,
    /// Simulated time at which the run ends.
    pub end: SimTime,
}

#[derive(Deserialize)]
struct Page {
    runs: Vec<Observed>,
}

/// Asks a consumer for a run; `None` where its store does not know it yet.
///
/// # Errors
/// Fails where the consumer does not answer.
pub fn run(consumer: &mut Daemon, name: &str) -> Result<Option<Observed>> {
    let text = consumer.get("/api/runs")?;
    let page: Page = serde_json::from_str(&text).context("/api/runs cannot be read")?;
    Ok(page.runs.into_iter().find(|run| run.name == name))
}
