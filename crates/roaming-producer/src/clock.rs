//! The clocks, read in one place.

use std::time::{Duration, Instant, SystemTime};

/// A moment, as both clocks show it.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// For intervals.
    pub instant: Instant,
    /// For what others are told: milliseconds since the Unix epoch, 0 before it.
    pub unix_ms: u64,
}

impl Moment {
    /// Reads both clocks.
    pub(crate) fn now() -> Self {
        Self { instant: Instant::now(), unix_ms: wall_unix_ms() }
    }

    /// Returns how long ago `earlier` was; nothing where it is still to come.
    pub fn since(self, earlier: Instant) -> Duration {
        self.instant.saturating_duration_since(earlier)
    }
}

/// Returns the wall time in milliseconds since the Unix epoch; 0 where the clock stands before it.
pub(crate) fn wall_unix_ms() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |elapsed| u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX))
}
