//! Waiting for what must become true.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How often a condition is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// Waits until `look` returns something, and returns how long that took with it.
///
/// # Errors
/// Fails where it does not within `limit`, naming `what`, and where `look` fails.
pub fn wait_for<T>(
    what: &str,
    limit: Duration,
    mut look: impl FnMut() -> Result<Option<T>>,
) -> Result<(T, Duration)> {
    let start = Instant::now();
    loop {
        if let Some(found) = look()? {
            return Ok((found, start.elapsed()));
        }
        if start.elapsed() > limit {
            bail!("waited {limit:?} in vain for {what}");
        }
        thread::sleep(LOOK_INTERVAL);
    }
}

/// The same for a condition that has no value.
///
/// # Errors
/// As [`wait_for`].
pub fn wait_until(
    what: &str,
    limit: Duration,
    mut holds: impl FnMut() -> Result<bool>,
) -> Result<Duration> {
    wait_for(what, limit, || Ok(holds()?.then_some(()))).map(|((), took)| took)
}
