//! Wholesale records under way: from the usage to the visited network, and on to the home network.

use roaming_events::{Rat, Sequence, Service};
use serde::{Deserialize, Serialize};

/// A wholesale record under way. Its charge is not in it: it follows from units and tariff.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Pending {
    /// The subscriber, counted within the lane; in a free place, the next free one.
    pub(crate) subscriber: u32,
    units_low: u32,
    sequence_low: u32,
    sequence_high: u16,
    units_high: u8,
    pub(crate) visited: u8,
    pub(crate) rat: Rat,
    pub(crate) service: Service,
    pub(crate) stage: Stage,
}

/// What comes next for a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Stage {
    /// The visited network makes it.
    Out,
    /// The home network takes it in.
    In,
}

/// What a usage was, for its record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Charged {
    pub(crate) subscriber: u32,
    pub(crate) usage: Sequence,
    pub(crate) service: Service,
    pub(crate) units: u64,
    pub(crate) visited: u8,
    pub(crate) rat: Rat,
}

impl Pending {
    /// No free place.
    pub(crate) const NONE: u32 = u32::MAX;

    pub(crate) fn new(charged: Charged) -> Self {
        let sequence = charged.usage.get();
        debug_assert!(charged.units >> 40 == 0);
        Self {
            subscriber: charged.subscriber,
            units_low: charged.units as u32,
            sequence_low: sequence as u32,
            sequence_high: (sequence >> 32) as u16,
            units_high: (charged.units >> 32) as u8,
            visited: charged.visited,
            rat: charged.rat,
            service: charged.service,
            stage: Stage::Out,
        }
    }

    /// Returns the sequence of the usage event.
    pub(crate) fn usage(&self) -> Sequence {
        Sequence::try_new(self.usage_number()).expect("it was a sequence of 48 bits")
    }

    fn usage_number(&self) -> u64 {
        u64::from(self.sequence_high) << 32 | u64::from(self.sequence_low)
    }

    /// Whether it can be a record of a lane of so many subscribers, in a run of so many networks, before
    /// the event `next`.
    pub(crate) fn is_of(&self, subscribers: usize, networks: usize, next: Sequence) -> bool {
        (self.subscriber as usize) < subscribers
            && usize::from(self.visited) < networks
            && self.usage_number() < next.get()
    }

    /// Returns the seconds, messages or octets used.
    pub(crate) fn units(&self) -> u64 {
        u64::from(self.units_high) << 32 | u64::from(self.units_low)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_keeps_its_numbers_in_twenty_octets() {
        let usage = Sequence::try_new((1 << 48) - 2).unwrap();
        let record = Pending::new(Charged {
            subscriber: 7,
            usage,
            service: Service::Data,
            units: (1 << 40) - 1,
            visited: 3,
            rat: Rat::Nr,
        });
        assert_eq!((record.usage(), record.units()), (usage, (1 << 40) - 1));
        assert!(size_of::<Pending>() <= 20);
    }
}
