//! Keyed random numbers: a number is a function of (seed, purpose, subscriber, counter) and of nothing
//! else.
//!
//! No generator has state, so no draw can disturb another: a purpose that is added, or that draws more
//! often, changes what hangs on it and nothing beside it. The order of calls, lanes and threads do not
//! matter.

use roaming_events::EventType;

/// Odd, near 2^64 divided by the golden ratio: it spreads consecutive counters over all bits.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// What a random number decides. Each has its own key; see [`Keys`].
///
/// New purposes come last: the place in this list is in the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Home,
    Device,
    Provisioning,
    Barring,
    FirstTrip,
    TripLength,
    TripPause,
    Destination,
    Coverage,
    SteeringQuota,
    Rat,
    AuthenticationOutcome,
    RegistrationOutcome,
    RetryDelay,
    ActivityGap,
    ActivityKind,
    CallDuration,
    SessionVolume,
    SessionDuration,
    SessionRouting,
    UsageOutcome,
    OtherParty,
    Cell,
    HandoverRat,
    DetachKind,
    TapOutDelay,
    TapInDelay,
    LateReport,
    Weather,
    PairDistance,
    FraudStart,
    /// The legs of a signalling exchange; one key for each event type.
    Latency,
    /// The fate of the messages of a signalling exchange; one key for each event type.
    Loss = Purpose::Latency as isize + EVENT_TYPES,
}

/// Room for the event types in [`Purpose::Latency`] and [`Purpose::Loss`].
const EVENT_TYPES: isize = 16;
const KEYS: usize = (Purpose::Loss as isize + EVENT_TYPES).cast_unsigned();

/// The keys of one run: one for each purpose, made from its seed.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    keys: [u64; KEYS],
}

impl Keys {
    pub(crate) fn new(seed: u64) -> Self {
        let mut keys = [0; KEYS];
        let seed = mix(seed ^ SPREAD);
        for (purpose, key) in keys.iter_mut().enumerate() {
            *key = mix(seed.wrapping_add((purpose as u64 + 1).wrapping_mul(SPREAD)));
        }
        Self { keys }
    }

    /// Returns the random number of a purpose for `subject` (a subscriber, most often) at `counter`.
    pub(crate) fn draw(&self, purpose: Purpose, subject: u32, counter: u32) -> Draw {
        Draw::of(self.keys[purpose as usize], subject, counter)
    }

    /// Returns the random number that decides the legs of an exchange.
    pub(crate) fn latency(&self, event_type: EventType, subject: u32, counter: u32) -> Draw {
        Draw::of(self.keys[Purpose::Latency as usize + event_type as usize], subject, counter)
    }

    /// Returns the random number that decides the fate of an exchange's messages.
    pub(crate) fn loss(&self, event_type: EventType, subject: u32, counter: u32) -> Draw {
        Draw::of(self.keys[Purpose::Loss as usize + event_type as usize], subject, counter)
    }
}

/// 64 random bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Draw(u64);

impl Draw {
    fn of(key: u64, subject: u32, counter: u32) -> Self {
        let place = u64::from(subject) << 32 | u64::from(counter);
        Self(mix(place.wrapping_mul(SPREAD) ^ key))
    }

    pub(crate) fn bits(self) -> u64 {
        self.0
    }

    /// Returns a number from 0 to `bound` - 1; 0 where `bound` is 0.
    pub(crate) fn below(self, bound: u32) -> u32 {
        (((self.0 >> 32) * u64::from(bound)) >> 32) as u32
    }

    /// Returns a number from `low` to `high`, both included; `low` where `high` is less.
    pub(crate) fn between(self, low: u32, high: u32) -> u32 {
        low + self.below(high.saturating_sub(low).saturating_add(1))
    }

    /// Whether something of this chance happens.
    pub(crate) fn happens(self, chance: Chance) -> bool {
        (self.0 >> 32) < chance.0
    }

    /// Returns the lower half of the bits as a draw of its own, for a second decision: those above use
    /// the upper half.
    pub(crate) fn lower(self) -> Self {
        Self(self.0 << 32)
    }

    /// Returns further bits of the same decision, for the rare case that needs more than 64.
    pub(crate) fn again(self) -> Self {
        Self(mix(self.0.wrapping_add(SPREAD)))
    }
}

/// A probability, as a multiple of 2^-32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn from_ppm(ppm: u32) -> Self {
        Self((u64::from(ppm) << 32) / 1_000_000)
    }
}

/// The finaliser of `SplitMix64` (Stafford's variant 13): each bit of the input moves each of the output.
fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_draw_depends_on_each_part_of_its_key_and_on_nothing_else() {
        let keys = Keys::new(7);
        let draw = keys.draw(Purpose::Home, 3, 5);
        assert_eq!(draw, Keys::new(7).draw(Purpose::Home, 3, 5));
        assert_ne!(draw, Keys::new(8).draw(Purpose::Home, 3, 5));
        assert_ne!(draw, keys.draw(Purpose::Device, 3, 5));
        assert_ne!(draw, keys.draw(Purpose::Home, 4, 5));
        assert_ne!(draw, keys.draw(Purpose::Home, 3, 6));
    }

    #[test]
    fn numbers_spread_evenly_over_counters_and_subjects() {
        let keys = Keys::new(1);
        let mut cells = [0u32; 64];
        for subject in 0..400 {
            for counter in 0..160 {
                cells[keys.draw(Purpose::Rat, subject, counter).below(64) as usize] += 1;
            }
        }
        // 64,000 draws over 64 cells: 1,000 each, standard deviation 31.
        assert!(cells.iter().all(|n| (860..1140).contains(n)), "{cells:?}");
    }

    #[test]
    fn chances_reach_from_never_to_always() {
        let keys = Keys::new(1);
        let count = |ppm| {
            (0..10_000)
                .filter(|n| keys.draw(Purpose::Rat, 0, *n).happens(Chance::from_ppm(ppm)))
                .count()
        };
        assert_eq!(count(0), 0);
        assert_eq!(count(1_000_000), 10_000);
        assert!((900..1100).contains(&count(100_000)));
    }
}
