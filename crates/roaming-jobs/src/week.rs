//! Weeks of wall time, as reports are about.

use std::fmt;
use std::ops::Range;

use chrono::{DateTime, Datelike, Days, NaiveTime, Utc};

use crate::moment::Moment;

/// A week from Monday to Sunday in UTC, numbered as in ISO 8601.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Week {
    monday: DateTime<Utc>,
}

impl Week {
    /// Returns the week that a moment is in.
    pub(crate) fn of(moment: Moment) -> Self {
        let midnight = moment.utc().date_naive().and_time(NaiveTime::MIN).and_utc();
        Self { monday: midnight - Days::new(midnight.weekday().num_days_from_monday().into()) }
    }

    /// Returns the week before this one.
    #[must_use]
    pub(crate) fn before(self) -> Self {
        Self { monday: self.monday - Days::new(7) }
    }

    /// Returns its first moment, and that of the next week.
    pub(crate) fn span(self) -> Range<Moment> {
        let moment =
            |time: DateTime<Utc>| Moment::from_unix_ms(time.timestamp_millis().cast_unsigned());
        moment(self.monday)..moment(self.monday + Days::new(7))
    }
}

impl fmt::Display for Week {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let week = self.monday.iso_week();
        write!(f, "{}-W{:02}", week.year(), week.week())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(time: &str, expect: &str) {
        let time: DateTime<Utc> = time.parse().unwrap();
        let moment = Moment::from_unix_ms(time.timestamp_millis().cast_unsigned());
        let week = Week::of(moment);
        assert_eq!(week.to_string(), expect);
        assert!(week.span().contains(&moment) && !week.before().span().contains(&moment));
        assert_eq!(week.before().span().end, week.span().start);
    }

    #[test]
    fn a_week_is_that_of_iso_8601() {
        check("2026-11-23T00:00:00Z", "2026-W48");
        check("2026-11-29T23:59:59.999Z", "2026-W48");
        check("2026-11-30T00:00:00Z", "2026-W49");
        // The last days of a year may be in the first week of the next, and its first in the last.
        check("2026-12-31T12:00:00Z", "2026-W53");
        check("2027-01-03T12:00:00Z", "2026-W53");
        check("2024-12-30T12:00:00Z", "2025-W01");
    }
}
