//! What events add up to.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::event::{Event, EventType, Outcome, Rat};
use crate::{LaneDigest, LaneId, PlmnId, SimDuration, SimTime};

/// Upper bounds of the latency buckets, inclusive, in microseconds. One more bucket, without a bound,
/// follows. Fixed, so that histograms of different partitions and windows add.
pub const LATENCY_BOUNDS_US: [u32; 15] = [
    10_000, 20_000, 40_000, 60_000, 80_000, 100_000, 120_000, 150_000, 200_000, 280_000, 400_000,
    700_000, 1_000_000, 2_000_000, 5_000_000,
];

/// What an aggregate row is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RowKey {
    /// Start of the window, by event time.
    pub window_start: SimTime,
    /// The home network.
    pub home_plmn: PlmnId,
    /// The visited network.
    pub visited_plmn: PlmnId,
    /// The radio access technology.
    pub rat: Rat,
    /// The type of the events.
    pub procedure: EventType,
    /// What came of them.
    pub outcome: Outcome,
}

impl RowKey {
    /// Returns the row that `event` belongs to, with windows of length `window`.
    pub fn of(event: &Event, window: SimDuration) -> Self {
        Self {
            window_start: event.event_time.window_start(window),
            home_plmn: event.home_plmn,
            visited_plmn: event.visited_plmn,
            rat: event.rat,
            procedure: event.body.event_type(),
            outcome: event.outcome,
        }
    }
}

/// Sums over events, all integers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Totals {
    /// Number of events.
    pub events: u64,
    /// Sum of latencies, in microseconds.
    pub latency_us: u64,
    /// Events by latency, one bucket for each of [`LATENCY_BOUNDS_US`] and one above; not cumulative.
    pub latency_buckets: [u64; LATENCY_BOUNDS_US.len() + 1],
    /// Sum of call and session durations, in seconds.
    pub duration_s: u64,
    /// Sum of octets sent by devices.
    pub octets_uplink: u64,
    /// Sum of octets received by devices.
    pub octets_downlink: u64,
    /// Sum of wholesale charges, in millionths of a special drawing right.
    pub charge_millionths: i64,
}

impl Totals {
    /// Adds one event.
    pub fn add(&mut self, event: &Event) {
        let usage = event.usage();
        self.events += 1;
        self.latency_us += u64::from(event.latency_us);
        let bucket = LATENCY_BOUNDS_US.partition_point(|bound| *bound < event.latency_us);
        self.latency_buckets[bucket] += 1;
        self.duration_s += usage.duration_s;
        self.octets_uplink += usage.octets_uplink;
        self.octets_downlink += usage.octets_downlink;
        self.charge_millionths += event.tap_record().map_or(0, |record| record.charge.millionths());
    }

    /// Returns the upper bound of the latency bucket that holds a percentile, in microseconds; `None` where
    /// there are no events, or it is above the last bound.
    pub fn latency_percentile_us(&self, percent: u64) -> Option<u32> {
        let rank = (self.events * percent).div_ceil(100);
        let mut below = 0;
        let bucket = self.latency_buckets.iter().position(|events| {
            below += events;
            rank > 0 && below >= rank
        })?;
        LATENCY_BOUNDS_US.get(bucket).copied()
    }

    /// Adds all that `other` holds.
    pub fn merge(&mut self, other: &Self) {
        self.events += other.events;
        self.latency_us += other.latency_us;
        for (bucket, more) in self.latency_buckets.iter_mut().zip(other.latency_buckets) {
            *bucket += more;
        }
        self.duration_s += other.duration_s;
        self.octets_uplink += other.octets_uplink;
        self.octets_downlink += other.octets_downlink;
        self.charge_millionths += other.charge_millionths;
    }
}

/// What a lane adds up to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LaneTally {
    /// Number of events.
    pub events: u64,
    /// Digest of their keys and payloads.
    pub digest: LaneDigest,
}

impl LaneTally {
    /// Adds one event, given as it stands on the topic.
    pub fn add(&mut self, key: &[u8], payload: &[u8]) {
        self.events += 1;
        self.digest.add(key, payload);
    }
}

/// What a run adds up to: the shape of the ledger, and of what is found in a store.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Tally {
    /// By lane.
    pub lanes: BTreeMap<LaneId, LaneTally>,
    /// By window, networks, technology, procedure and outcome.
    pub rows: BTreeMap<RowKey, Totals>,
}

impl Tally {
    /// Adds all that `other` holds. Lanes of the same number add up too.
    pub fn merge(&mut self, other: &Self) {
        for (lane, more) in &other.lanes {
            let tally = self.lanes.entry(*lane).or_default();
            tally.events += more.events;
            tally.digest.merge(more.digest);
        }
        for (key, more) in &other.rows {
            self.rows.entry(*key).or_default().merge(more);
        }
    }

    /// Returns the number of events in all lanes.
    pub fn events(&self) -> u64 {
        self.lanes.values().map(|lane| lane.events).sum()
    }

    /// Returns the digest over all lanes.
    pub fn digest(&self) -> LaneDigest {
        let mut digest = LaneDigest::default();
        for lane in self.lanes.values() {
            digest.merge(lane.digest);
        }
        digest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema;

    #[test]
    fn sums_do_not_depend_on_how_events_are_split() {
        let examples = schema::examples();
        let sum = |events: &[Event]| {
            let mut totals = Totals::default();
            for event in events {
                totals.add(event);
            }
            totals
        };
        let whole = sum(&examples);
        for cut in 0..examples.len() {
            let (left, mut right) = (sum(&examples[..cut]), sum(&examples[cut..]));
            right.merge(&left);
            assert_eq!(right, whole);
        }
        assert_eq!(whole.latency_buckets.iter().sum::<u64>(), whole.events);
        assert!(whole.charge_millionths > 0 && whole.duration_s > 0 && whole.octets_downlink > 0);
    }

    #[test]
    fn a_percentile_is_the_bound_of_its_bucket() {
        let mut totals = Totals { events: 100, ..Totals::default() };
        assert_eq!(Totals::default().latency_percentile_us(95), None);
        totals.latency_buckets[2] = 95;
        totals.latency_buckets[15] = 5;
        assert_eq!(totals.latency_percentile_us(95), Some(40_000));
        totals.latency_buckets[2] = 94;
        totals.latency_buckets[15] = 6;
        assert_eq!(totals.latency_percentile_us(95), None);
    }

    #[test]
    fn a_latency_on_a_bound_is_within_it() {
        let mut event = schema::examples()[0];
        for (index, bound) in LATENCY_BOUNDS_US.into_iter().enumerate() {
            for (latency_us, bucket) in [(bound, index), (bound + 1, index + 1)] {
                event.latency_us = latency_us;
                let mut totals = Totals::default();
                totals.add(&event);
                assert_eq!(totals.latency_buckets[bucket], 1, "{latency_us} µs");
            }
        }
    }
}
