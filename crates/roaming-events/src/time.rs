//! Simulated time.

use std::fmt;
use std::ops::{Add, AddAssign, Sub};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

const MS_PER_DAY: u64 = 86_400_000;

/// A simulated instant: milliseconds since 1970-01-01T00:00:00Z, without leap seconds.
///
/// Printed and read in one form of RFC 3339, `2026-06-01T08:00:00.000Z`, up to the year 9999. It never
/// converts to a wall-clock time by itself: only a run's anchor ties the two.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct SimTime(u64);

impl SimTime {
    /// Length of the textual form, in octets.
    pub const TEXT_LEN: usize = 24;
    /// The latest instant, 9999-12-31T23:59:59.999Z.
    pub const MAX: Self = Self(253_402_300_799_999);

    /// Makes an instant from milliseconds since the Unix epoch; later than [`SimTime::MAX`] becomes it.
    pub fn from_unix_ms(ms: u64) -> Self {
        Self(ms.min(Self::MAX.0))
    }

    /// Returns the milliseconds since the Unix epoch.
    pub fn unix_ms(self) -> u64 {
        self.0
    }

    /// Returns the time since `earlier`, zero where that is later.
    pub fn since(self, earlier: Self) -> SimDuration {
        SimDuration(self.0.saturating_sub(earlier.0))
    }

    /// Returns the start of the window of length `window` that holds this instant; windows are counted
    /// from the Unix epoch.
    ///
    /// # Panics
    /// Panics where `window` is zero.
    #[must_use]
    pub fn window_start(self, window: SimDuration) -> Self {
        Self(self.0 - self.0 % window.0)
    }

    /// Returns the textual form.
    pub fn text(self) -> [u8; Self::TEXT_LEN] {
        let (year, month, day) = civil_from_days(self.0 / MS_PER_DAY);
        let ms = self.0 % MS_PER_DAY;
        let mut text = *b"0000-00-00T00:00:00.000Z";
        put(&mut text[0..4], year);
        put(&mut text[5..7], month);
        put(&mut text[8..10], day);
        put(&mut text[11..13], ms / 3_600_000);
        put(&mut text[14..16], ms / 60_000 % 60);
        put(&mut text[17..19], ms / 1000 % 60);
        put(&mut text[20..23], ms % 1000);
        text
    }
}

/// Writes `value` in decimal, right-aligned over the zeros that stand in `field`.
fn put(field: &mut [u8], mut value: u64) {
    for digit in field.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

/// Gregorian year, month and day of a day number counted from 1970-01-01.
fn civil_from_days(days: u64) -> (u64, u64, u64) {
    // Years begin in March here, so that the leap day is the last of its year.
    let days = days + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

/// Number of days that a Gregorian month has, from 1 for January.
fn days_of_month(year: u64, month: u64) -> u64 {
    match month {
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => {
            29
        }
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Day number, counted from 1970-01-01, of a Gregorian date from that day on.
fn days_from_civil(year: u64, month: u64, day: u64) -> u64 {
    let year = year - u64::from(month <= 2);
    let shifted = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * shifted + 2) / 5 + day - 1;
    let year_of_era = year % 400;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    year / 400 * 146_097 + day_of_era - 719_468
}

impl FromStr for SimTime {
    type Err = TimeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes: &[u8; Self::TEXT_LEN] = text.as_bytes().try_into().map_err(|_| TimeError)?;
        let mut value = [0; 7];
        for (value, range) in
            value.iter_mut().zip([0..4, 5..7, 8..10, 11..13, 14..16, 17..19, 20..23])
        {
            for digit in &bytes[range] {
                if !digit.is_ascii_digit() {
                    return Err(TimeError);
                }
                *value = *value * 10 + u64::from(digit - b'0');
            }
        }
        let [year, month, day, hour, minute, second, ms] = value;
        let separators = [4, 7, 10, 13, 16, 19, 23].map(|at| bytes[at]);
        if separators != *b"--T::.Z"
            || year < 1970
            || !(1..=12).contains(&month)
            || day == 0
            || day > days_of_month(year, month)
            || hour >= 24
            || minute >= 60
            || second >= 60
        {
            return Err(TimeError);
        }
        let days = days_from_civil(year, month, day);
        Ok(Self(days * MS_PER_DAY + ((hour * 60 + minute) * 60 + second) * 1000 + ms))
    }
}

impl fmt::Display for SimTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.text()).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for SimTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for SimTime {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SimTime {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::identifiers::deserialize_text(deserializer)
    }
}

/// A length of simulated time, in milliseconds.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, Default,
)]
#[serde(transparent)]
pub struct SimDuration(u64);

impl SimDuration {
    /// No time at all.
    pub const ZERO: Self = Self(0);

    /// Makes a duration of milliseconds.
    pub const fn from_ms(ms: u64) -> Self {
        Self(ms)
    }

    /// Makes a duration of seconds.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(seconds * 1000)
    }

    /// Returns the milliseconds.
    pub const fn ms(self) -> u64 {
        self.0
    }

    /// Returns the seconds, rounded down.
    pub const fn secs(self) -> u64 {
        self.0 / 1000
    }
}

impl Add<SimDuration> for SimTime {
    type Output = Self;

    /// Stops at [`SimTime::MAX`].
    fn add(self, duration: SimDuration) -> Self {
        Self::from_unix_ms(self.0.saturating_add(duration.0))
    }
}

impl AddAssign<SimDuration> for SimTime {
    fn add_assign(&mut self, duration: SimDuration) {
        *self = *self + duration;
    }
}

impl Sub<SimDuration> for SimTime {
    type Output = Self;

    /// Stops at the Unix epoch.
    fn sub(self, duration: SimDuration) -> Self {
        Self(self.0.saturating_sub(duration.0))
    }
}

impl Add for SimDuration {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

/// A text that is no simulated instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a UTC time of the form 2026-06-01T08:00:00.000Z")]
pub struct TimeError;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(ms: u64, text: &str) {
        assert_eq!(SimTime(ms).to_string(), text);
        assert_eq!(text.parse(), Ok(SimTime(ms)));
    }

    #[test]
    fn known_instants() {
        check(0, "1970-01-01T00:00:00.000Z");
        check(951_782_400_000, "2000-02-29T00:00:00.000Z");
        check(1_780_300_800_123, "2026-06-01T08:00:00.123Z");
        check(SimTime::MAX.0, "9999-12-31T23:59:59.999Z");
    }

    #[test]
    fn what_is_no_instant_is_refused() {
        for text in [
            "2026-06-31T00:00:00.000Z",
            "2026-06-01 08:00:00.000Z",
            "2026-06-01T24:00:00.000Z",
            "2026-06-01T08:00:00Z",
            "2026-06-01T08:00:00.000+",
            "1969-12-31T23:59:59.999Z",
            "",
        ] {
            assert_eq!(text.parse::<SimTime>(), Err(TimeError), "{text}");
        }
    }

    #[test]
    fn a_month_has_the_days_that_the_calendar_counts() {
        // All of a cycle of 400 years.
        for year in 1970..2370 {
            for (month, next) in (1..=12).map(|month| (month, month % 12 + 1)) {
                let year_of_next = year + u64::from(next == 1);
                let length =
                    days_from_civil(year_of_next, next, 1) - days_from_civil(year, month, 1);
                assert_eq!(days_of_month(year, month), length, "{year}-{month}");
            }
        }
    }

    proptest! {
        #[test]
        fn every_instant_reads_back(ms in 0..=SimTime::MAX.0) {
            prop_assert_eq!(SimTime(ms).to_string().parse(), Ok(SimTime(ms)));
        }
    }
}
