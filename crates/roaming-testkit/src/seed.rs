//! One number, and independent streams of random numbers from it.

use std::fmt;
use std::str::FromStr;

/// All that a simulation needs to be repeated exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Seed(pub u64);

/// What random numbers are for. Each has its own stream, so that one more draw for one purpose changes
/// nothing for the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Concern {
    /// Which faults there are, and how often.
    FaultMix,
    /// When they happen.
    Fault,
    /// How big the world is.
    Size,
    /// Who runs next, and how far.
    Schedule,
    /// What the network does.
    Network,
    /// What the store does.
    Store,
    /// What strangers write to the log.
    Stranger,
    /// What happens in the lanes.
    Lane,
    /// When runs are paused, and which.
    Control,
    /// Whether the log is lost, and how much of it.
    Disaster,
}

impl Seed {
    /// Returns the stream for a concern, from its beginning.
    pub fn stream(self, concern: Concern) -> Stream {
        Stream { state: mix(self.0 ^ mix(1 + concern as u64)) }
    }

    /// Returns the stream for one of many things of a concern, from its beginning.
    pub fn stream_of(self, concern: Concern, thing: u64) -> Stream {
        Stream { state: mix(self.stream(concern).state ^ mix(thing.wrapping_add(GOLDEN))) }
    }
}

impl fmt::Display for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Seed {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// A stream of random numbers: `SplitMix64` (Steele, Lea, Flood 2014), which has no weak seeds.
#[derive(Clone, Debug)]
pub struct Stream {
    state: u64,
}

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

fn mix(mut value: u64) -> u64 {
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

impl Stream {
    /// Returns the next number.
    pub fn draw(&mut self) -> u64 {
        self.state = self.state.wrapping_add(GOLDEN);
        mix(self.state)
    }

    /// Returns a number below `bound`.
    ///
    /// # Panics
    /// Panics where `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "no number is below zero");
        ((u128::from(self.draw()) * u128::from(bound)) >> 64) as u64
    }

    /// Returns a number from `low` to `high`, both possible.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// Returns an index into `len` things.
    pub fn index(&mut self, len: usize) -> usize {
        self.below(len as u64) as usize
    }

    /// Returns true `permille` times in a thousand.
    pub fn chance(&mut self, permille: u32) -> bool {
        self.below(1000) < u64::from(permille)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(mut stream: Stream) -> Vec<u64> {
        (0..8).map(|_| stream.draw()).collect()
    }

    #[test]
    fn streams_repeat_and_do_not_depend_on_each_other() {
        let seed = Seed(7);
        assert_eq!(first(seed.stream(Concern::Fault)), first(seed.stream(Concern::Fault)));
        assert_ne!(first(seed.stream(Concern::Fault)), first(seed.stream(Concern::Store)));
        assert_ne!(first(seed.stream(Concern::Fault)), first(Seed(8).stream(Concern::Fault)));
        assert_ne!(
            first(seed.stream_of(Concern::Lane, 0)),
            first(seed.stream_of(Concern::Lane, 1))
        );
        assert_ne!(first(seed.stream_of(Concern::Lane, 0)), first(seed.stream(Concern::Lane)));
    }

    #[test]
    fn numbers_stay_in_their_bounds_and_reach_them() {
        let mut stream = Seed(1).stream(Concern::Schedule);
        let drawn: Vec<u64> = (0..1000).map(|_| stream.between(3, 6)).collect();
        for number in 3..=6 {
            assert!(drawn.contains(&number), "{number}");
        }
        assert!(drawn.iter().all(|number| (3..=6).contains(number)));
        assert_eq!((0..100).filter(|_| stream.chance(0)).count(), 0);
        assert_eq!((0..100).filter(|_| stream.chance(1000)).count(), 100);
    }

    #[test]
    fn the_generator_is_splitmix64() {
        // The reference sequence of the published generator from state 1234567.
        let mut stream = Stream { state: 1_234_567 };
        assert_eq!(stream.draw(), 6_457_827_717_110_365_317);
        assert_eq!(stream.draw(), 3_203_168_211_198_807_973);
    }
}
