//! A subscriber: the few octets that its next step depends on.

use roaming_events::{Decision, Rat};
use serde::{Deserialize, Serialize};

use crate::profile::is_of;
use crate::queue::Tick;
use crate::rng::Purpose;
use crate::simulation::{NO_NETWORK, Simulation};

/// No pattern of misbehaviour.
const HONEST: u8 = u8::MAX;

/// The state of one subscriber. Who it is follows from its number, see [`identity`](crate::identity);
/// when it wakes is in the queue.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Subscriber {
    /// When its next activity ends.
    pub(crate) activity_due: Tick,
    /// When it leaves the country.
    pub(crate) trip_end: Tick,
    /// When it attached.
    pub(crate) attached_at: Tick,
    /// Volume of this trip, in kilobytes.
    pub(crate) volume_kb: u32,
    /// Spend of this trip, in thousandths of a special drawing right.
    pub(crate) spend_milli: u32,
    /// Activities so far; the counter of their draws.
    pub(crate) activities: u32,
    /// Registration attempts so far; the counter of their draws.
    pub(crate) registrations: u32,
    /// Trips so far; the counter of their draws.
    pub(crate) trips: u16,
    /// Periodic updates so far; the counter of their draws.
    pub(crate) periodic_updates: u16,
    /// Changes of cell so far; they number its cells.
    pub(crate) moves: u16,
    /// Attempt of this series of registrations, from 1.
    pub(crate) attempt: u8,
    /// How often it was steered in this series.
    pub(crate) refusals: u8,
    pub(crate) home: u8,
    pub(crate) device: u8,
    /// The visited network.
    pub(crate) visited: u8,
    pub(crate) rat: Rat,
    pub(crate) state: State,
    /// Index of its pattern of misbehaviour, or [`HONEST`].
    pattern: u8,
    pub(crate) provisioning: Provisioning,
    /// Whether it had data in this trip: the first session is announced by a policy decision.
    pub(crate) had_session: Seen,
}

/// Where a subscriber is in its procedures: what happens when it wakes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum State {
    /// At home: a trip begins.
    Home,
    /// It asks for authentication.
    Authenticating,
    /// It is authenticated and asks for registration.
    Updating,
    /// It was told to go elsewhere.
    Steered,
    /// It is attached: an activity, a periodic update, or the end of the trip.
    Attached,
    /// It is attached and authenticated again, for a change of area.
    Moving,
    /// It is attached and authenticated again, because the periodic timer ran out.
    Refreshing,
    /// The policy has decided on a data session.
    Decided(Decision),
    /// An activity has ended, and is reported now.
    Reporting,
    /// The network has lost it.
    Lost,
}

/// What a subscription includes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Provisioning {
    /// All services.
    Full,
    /// No data abroad.
    DataBarred,
    /// The home network does not know it.
    Unknown,
}

/// Whether something has been seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Seen {
    No,
    Yes,
}

impl Subscriber {
    /// Returns subscriber `index` as it is before the run.
    pub(crate) fn new(simulation: &Simulation, index: u32) -> Self {
        let draw = |purpose| simulation.draw(purpose, index, 0);
        let profile = simulation.profile();
        let pinned = profile
            .test_sims
            .get(index as usize)
            .and_then(|sim| profile.home_networks.iter().position(|home| is_of(sim.imsi, home)));
        let home = pinned.unwrap_or_else(|| simulation.homes.pick(draw(Purpose::Home)));
        let chances = &simulation.chances;
        let provisioning = if draw(Purpose::Provisioning).happens(chances.unknown_subscriber) {
            Provisioning::Unknown
        } else if draw(Purpose::Barring).happens(chances.barred) {
            Provisioning::DataBarred
        } else {
            Provisioning::Full
        };
        let pattern = simulation
            .offenders
            .binary_search_by_key(&index, |(who, _)| *who)
            .map_or(HONEST, |place| simulation.offenders[place].1);
        Self {
            activity_due: Tick::MAX,
            trip_end: 0,
            attached_at: 0,
            volume_kb: 0,
            spend_milli: 0,
            activities: 0,
            registrations: 0,
            trips: 0,
            periodic_updates: 0,
            moves: 0,
            attempt: 0,
            refusals: 0,
            home: home as u8,
            device: simulation.devices.pick(draw(Purpose::Device)) as u8,
            visited: NO_NETWORK,
            rat: Rat::Eutran,
            state: State::Home,
            pattern,
            provisioning: if pattern == HONEST { provisioning } else { Provisioning::Full },
            had_session: Seen::No,
        }
    }

    /// Whether it is this subscriber, as it was before the run, in all that never changes.
    pub(crate) fn is_as_before(&self, before: &Self) -> bool {
        let constant = |of: &Self| (of.home, of.device, of.pattern, of.provisioning);
        constant(self) == constant(before)
    }

    /// Whether it is in one of so many networks, or in none where it need not be.
    pub(crate) fn is_within(&self, networks: usize) -> bool {
        usize::from(self.visited) < networks
            || self.visited == NO_NETWORK && self.state == State::Home
    }

    /// Returns the index of its pattern of misbehaviour.
    pub(crate) fn pattern(&self) -> Option<u8> {
        (self.pattern != HONEST).then_some(self.pattern)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subscriber_is_small() {
        // With its link in the queue (8) and its records under way (28 each) it must stay below 96.
        assert!(size_of::<Subscriber>() <= 44, "{}", size_of::<Subscriber>());
    }
}
