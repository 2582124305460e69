//! One request to the home network and its answer: legs of latency, lost messages, refusals.

use roaming_events::{Cause, EventType, Outcome, Rat};

use super::Step;
use crate::network::{CROWDING_MAX, Conditions};

/// The first wait for an answer; each further one is twice as long.
const ANSWER_TIMER_US: u32 = 1_000_000;
/// How often a request without an answer is sent again before the procedure fails.
const RESENDS_MAX: u32 = 3;

/// What the range of latency beyond its least, without jitter, is made of, in 100ths: radio access,
/// visited core, interconnect, home core.
const RADIO: u64 = 40;
const VISITED_CORE: u64 = 15;
const INTERCONNECT: u64 = 30;
const HOME_CORE: u64 = 15;

/// What came of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Exchange {
    /// From the first request to the answer, or to giving up, in microseconds.
    pub(super) latency_us: u32,
    pub(super) answer: Answer,
}

/// How a request was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The home network has it.
    Given,
    /// The visited network was too busy to pass it on.
    Refused,
    /// An agent on the way could not deliver it.
    Undeliverable,
    /// None came, and the request was not sent again.
    Missing,
}

impl Answer {
    /// Returns outcome and cause where the exchange itself failed.
    pub(super) fn failure(self) -> Option<(Outcome, Cause)> {
        match self {
            Self::Given => None,
            Self::Refused => Some((Outcome::Rejected, Cause::Congestion)),
            Self::Undeliverable => Some((Outcome::Failed, Cause::UnableToDeliver)),
            Self::Missing => Some((Outcome::Failed, Cause::NoAnswer)),
        }
    }
}

impl Exchange {
    /// Returns the latency in milliseconds, rounded up.
    pub(super) fn latency_ms(self) -> u32 {
        self.latency_us.div_ceil(1000)
    }
}

impl Step<'_> {
    /// Sends a request of a procedure to the home network, as often as it takes.
    pub(super) fn exchange(&self, procedure: EventType, counter: u32) -> Exchange {
        let simulation = self.simulation;
        let conditions = simulation.weather.at(self.subscriber.visited, self.now);
        let mut fate = simulation.keys.loss(procedure, self.index, counter);
        let mut waited_us = 0;
        for resend in 0..=RESENDS_MAX {
            if !fate.happens(conditions.loss) {
                let answer = if fate.lower().happens(conditions.refused) {
                    Answer::Refused
                } else if fate.again().happens(conditions.undeliverable) {
                    Answer::Undeliverable
                } else {
                    Answer::Given
                };
                let legs = self.legs(procedure, counter, conditions);
                let latency_us = waited_us + scaled(legs.visited_us + legs.home_us, conditions);
                return Exchange { latency_us, answer };
            }
            waited_us += ANSWER_TIMER_US << resend;
            fate = fate.again();
        }
        Exchange { latency_us: waited_us, answer: Answer::Missing }
    }

    /// Hands the subscriber over within the visited network: the home network is not asked.
    pub(super) fn handover(&self, counter: u32) -> Exchange {
        let simulation = self.simulation;
        let conditions = simulation.weather.at(self.subscriber.visited, self.now);
        let fate = simulation.keys.loss(EventType::Handover, self.index, counter);
        let refused = fate.happens(conditions.refused);
        let legs = self.legs(EventType::Handover, counter, conditions);
        Exchange {
            latency_us: scaled(legs.visited_us, conditions),
            answer: if refused { Answer::Refused } else { Answer::Given },
        }
    }

    /// Returns the legs of an exchange that loses nothing.
    fn legs(&self, procedure: EventType, counter: u32, conditions: &Conditions) -> Legs {
        let simulation = self.simulation;
        let visited = usize::from(self.subscriber.visited);
        let link = &simulation.profile().visited_networks[visited].link;
        let bits = simulation.keys.latency(procedure, self.index, counter).bits();
        // Five independent numbers of 12 bits.
        let part = |n: u32| (bits >> (12 * n)) & 0xfff;
        // Queues fill what is left of a leg's range, so crowding slows the many, not the slowest.
        let crowded = |u: u64| {
            u + (0x1000 - u) * u64::from(conditions.crowding) / (2 * u64::from(CROWDING_MAX))
        };
        let distance = u64::from(simulation.distances[usize::from(self.subscriber.home)][visited]);
        let near = RADIO * crowded(part(0)) * radio_percent(self.subscriber.rat) / 100
            + VISITED_CORE * crowded(part(1));
        let far = INTERCONNECT * u64::midpoint(distance, part(2)) + HOME_CORE * part(3);
        let (least, jitter) = (u64::from(link.latency_min_us), u64::from(link.jitter_us));
        let range = u64::from(link.latency_max_us) - least - jitter;
        // What a leg takes at least is as large a part of the least as its range is of the range.
        let visited_us = least * (RADIO + VISITED_CORE) / 100
            + range * near / (100 << 12)
            + jitter * part(4) / (1 << 12);
        let home_us = least * (INTERCONNECT + HOME_CORE) / 100 + range * far / (100 << 12);
        Legs { visited_us, home_us }
    }
}

/// Latency in the visited network, and from there to the home network and back, in microseconds.
struct Legs {
    visited_us: u64,
    home_us: u64,
}

/// Returns a latency as it is under the conditions, in microseconds.
fn scaled(latency_us: u64, conditions: &Conditions) -> u32 {
    (latency_us * u64::from(conditions.latency_permille) / 1000) as u32
}

/// Returns how much of the radio leg's range a technology uses, in percent.
fn radio_percent(rat: Rat) -> u64 {
    match rat {
        Rat::Geran => 100,
        Rat::Utran => 90,
        Rat::Eutran => 75,
        Rat::Nr => 60,
    }
}
