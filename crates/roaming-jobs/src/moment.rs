//! Wall time, as a value.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chrono::{DateTime, Utc};

/// A moment of wall time, in UTC, to the second where it is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(DateTime<Utc>);

impl Moment {
    /// Returns what the clock of this machine says.
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self::from_unix_ms(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    /// Makes a moment from milliseconds since 1970; what is beyond the calendar is its last moment.
    pub fn from_unix_ms(ms: u64) -> Self {
        let moment = i64::try_from(ms).ok().and_then(DateTime::from_timestamp_millis);
        Self(moment.unwrap_or(DateTime::<Utc>::MAX_UTC))
    }

    /// Returns the milliseconds since 1970.
    pub fn unix_ms(self) -> u64 {
        self.0.timestamp_millis().cast_unsigned()
    }

    pub(crate) fn utc(self) -> DateTime<Utc> {
        self.0
    }

    /// Returns the time since `earlier`, zero where that is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.unix_ms().saturating_sub(earlier.unix_ms()))
    }

    /// Returns the name of a folder for what is made now. Such names sort as the moments do, and hold no
    /// colon, which not every file system takes.
    pub fn folder(self) -> String {
        self.0.format("%Y-%m-%dT%H%M%SZ").to_string()
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.format("%Y-%m-%dT%H:%M:%SZ"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_written_in_utc() {
        let moment = Moment::from_unix_ms(1_795_548_001_234);
        assert_eq!(moment.to_string(), "2026-11-24T19:20:01Z");
        assert_eq!(moment.folder(), "2026-11-24T192001Z");
        assert_eq!(moment.unix_ms(), 1_795_548_001_234);
        assert!(Moment::from_unix_ms(u64::MAX) > moment);
    }
}
