//! The wall clock, read in one place.

use std::time::SystemTime;

/// Returns the wall time in milliseconds since the Unix epoch; 0 where the clock stands before it.
pub(crate) fn wall_unix_ms() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |elapsed| u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX))
}
