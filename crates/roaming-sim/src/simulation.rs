//! What all lanes of a run share: tables made from the specification, never changed.

use std::sync::Arc;

use roaming_events::{LaneId, Rat, RunId, SimDuration, SimTime};

use crate::distribution::{Choice, FRACTION_BITS, exponential};
use crate::identity::Identities;
use crate::lane::Lane;
use crate::network::Weather;
use crate::profile::{Profile, VisitedNetwork};
use crate::queue::Tick;
use crate::rng::{Chance, Draw, Keys, Purpose};
use crate::specification::{Specification, SpecificationError};

const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;
/// No network: a home network need not prefer one in each country.
pub(crate) const NO_NETWORK: u8 = u8::MAX;

/// A run, ready to be simulated: immutable, shared by its lanes.
#[derive(Debug)]
pub struct Simulation {
    pub(crate) specification: Arc<Specification>,
    pub(crate) run: RunId,
    pub(crate) keys: Keys,
    pub(crate) identities: Identities,
    pub(crate) weather: Weather,
    pub(crate) homes: Choice,
    pub(crate) devices: Choice,
    pub(crate) visited: Choice,
    pub(crate) classes: Vec<ClassTraffic>,
    pub(crate) networks: Vec<NetworkTables>,
    pub(crate) chances: Chances,
    /// By home network: the part of the interconnect leg that its distance decides, by visited network.
    pub(crate) distances: Vec<Vec<u16>>,
    /// Subscribers with a pattern of misbehaviour, by number, and which.
    pub(crate) offenders: Vec<(u32, u8)>,
    /// When subscribers stop.
    pub(crate) end: Tick,
    start_of_day_ms: u64,
}

/// What the subscribers of a device class do.
#[derive(Clone, Debug)]
pub(crate) struct ClassTraffic {
    /// Mean time between activities at the mean of the day, in milliseconds; 0 for never.
    pub(crate) gap_ms: u64,
    /// Which activity it is, see [`Activity`].
    pub(crate) kinds: Choice,
}

/// Something that an attached subscriber does, in the order of [`ClassTraffic::kinds`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Activity {
    CallOriginated,
    CallTerminated,
    SmsOriginated,
    SmsTerminated,
    Session,
    Move,
}

impl Activity {
    pub(crate) const ALL: [Self; 6] = [
        Self::CallOriginated,
        Self::CallTerminated,
        Self::SmsOriginated,
        Self::SmsTerminated,
        Self::Session,
        Self::Move,
    ];
}

/// What the choice of a technology and of the preferred network needs.
#[derive(Clone, Debug)]
pub(crate) struct NetworkTables {
    pub(crate) rats: Vec<Rat>,
    pub(crate) rat: Choice,
    /// By home network: the network that it prefers in this network's country.
    pub(crate) preferred: Vec<u8>,
}

/// The profile's probabilities.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chances {
    pub(crate) steered: Chance,
    pub(crate) coverage: Chance,
    pub(crate) unknown_subscriber: Chance,
    pub(crate) authentication_failure: Chance,
    pub(crate) system_failure: Chance,
    pub(crate) rat_not_allowed: Chance,
    pub(crate) local_breakout: Chance,
    pub(crate) usage_failure: Chance,
    pub(crate) late_report: Chance,
    pub(crate) barred: Chance,
}

impl Simulation {
    /// Prepares a run.
    ///
    /// # Errors
    /// Fails where another version of the engine made the specification, or where it is damaged.
    pub fn try_new(specification: Arc<Specification>) -> Result<Self, SpecificationError> {
        specification.check()?;
        let profile = &specification.profile;
        let keys = Keys::new(specification.seed);
        let choice = |weights: Vec<u32>| {
            Choice::try_new(weights).expect("the check refuses weights that are all 0")
        };
        Ok(Self {
            run: specification.run_id(),
            identities: Identities::new(profile),
            weather: Weather::solve(profile, &keys),
            homes: choice(profile.home_networks.iter().map(|home| home.share_ppm).collect()),
            devices: choice(profile.devices.iter().map(|device| device.share_ppm).collect()),
            visited: choice(profile.visited_networks.iter().map(|net| net.share_ppm).collect()),
            classes: classes(profile),
            networks: profile.visited_networks.iter().map(|net| tables(profile, net)).collect(),
            chances: chances(profile),
            distances: distances(profile, &keys),
            offenders: offenders(profile, &keys),
            end: profile.duration.ms() as Tick,
            start_of_day_ms: profile.start.unix_ms() % DAY_MS,
            keys,
            specification,
        })
    }

    /// Returns the specification.
    pub fn specification(&self) -> &Arc<Specification> {
        &self.specification
    }

    /// Returns the run's id.
    pub fn run(&self) -> RunId {
        self.run
    }

    /// Returns a lane at its beginning.
    ///
    /// # Panics
    /// Panics where the run has no such lane.
    pub fn lane(self: &Arc<Self>, lane: LaneId) -> Lane {
        Lane::new(Arc::clone(self), lane)
    }

    /// Returns the numbers of a lane's subscribers.
    pub(crate) fn subscribers_of(
        &self,
        lane: LaneId,
    ) -> impl ExactSizeIterator<Item = u32> + use<> {
        let lanes = usize::from(self.specification.lanes);
        (u32::from(lane.get())..self.profile().subscribers).step_by(lanes)
    }

    pub(crate) fn profile(&self) -> &Profile {
        &self.specification.profile
    }

    pub(crate) fn time(&self, tick: Tick) -> SimTime {
        self.profile().start + SimDuration::from_ms(u64::from(tick))
    }

    /// Returns when the next activity of a class comes after `now`, by the curve of the day; `None`
    /// where it does not come before `until`.
    pub(crate) fn next_activity(
        &self,
        class: u8,
        draw: Draw,
        now: Tick,
        until: Tick,
    ) -> Option<Tick> {
        let gap_ms = self.classes[usize::from(class)].gap_ms;
        if gap_ms == 0 {
            return None;
        }
        let curve = &self.profile().traffic.diurnal_permille;
        // Activity that is still to pass, in milliseconds at the mean of the day, times 1000.
        let mut need = ((gap_ms * exponential(draw)) >> FRACTION_BITS) * 1000;
        let mut at = u64::from(now);
        let mut hour = (self.start_of_day_ms + at) / HOUR_MS;
        loop {
            let weight = u64::from(curve[(hour % 24) as usize]);
            hour += 1;
            let end_of_hour = hour * HOUR_MS - self.start_of_day_ms;
            let here = (end_of_hour - at) * weight;
            if need < here {
                // At least one millisecond on, so that a subscriber never does two things at once.
                let due = (at + need / weight).max(u64::from(now) + 1);
                return (due < u64::from(until)).then_some(due as Tick);
            }
            need -= here;
            at = end_of_hour;
            if at >= u64::from(until) {
                return None;
            }
        }
    }

    /// Returns the draw of a purpose for a subscriber.
    pub(crate) fn draw(&self, purpose: Purpose, subscriber: u32, counter: u32) -> Draw {
        self.keys.draw(purpose, subscriber, counter)
    }
}

fn classes(profile: &Profile) -> Vec<ClassTraffic> {
    let traffic = &profile.traffic;
    let split = |rate: u64, ppm: u32| {
        let part = rate * u64::from(ppm) / 1_000_000;
        (part, rate - part)
    };
    profile
        .devices
        .iter()
        .map(|device| {
            let scaled = |rate: u32, permille: u32| u64::from(rate) * u64::from(permille) / 1000;
            let calls = scaled(traffic.calls_per_day_milli, device.voice_permille);
            let sms = scaled(traffic.sms_per_day_milli, device.voice_permille);
            let (calls_out, calls_in) = split(calls, traffic.originated_ppm);
            let (sms_out, sms_in) = split(sms, traffic.originated_ppm);
            let sessions = scaled(traffic.sessions_per_day_milli, device.data_permille);
            let moves = scaled(traffic.moves_per_day_milli, device.mobility_permille);
            let rates = [calls_out, calls_in, sms_out, sms_in, sessions, moves];
            let total: u64 = rates.iter().sum();
            let kinds = Choice::try_new(rates.map(|rate| rate.min(u64::from(u32::MAX)) as u32));
            ClassTraffic {
                gap_ms: (DAY_MS * 1000).checked_div(total).unwrap_or(0),
                // A class without activity never chooses one.
                kinds: kinds.or_else(|| Choice::try_new([1])).expect("a weight of 1 is not 0"),
            }
        })
        .collect()
}

fn tables(profile: &Profile, network: &VisitedNetwork) -> NetworkTables {
    let preferred_by = |home: &crate::profile::HomeNetwork| {
        home.preferred
            .iter()
            .copied()
            .find(|index| profile.visited_networks[usize::from(*index)].country == network.country)
            .map_or(NO_NETWORK, |index| index as u8)
    };
    NetworkTables {
        rats: network.rats.iter().map(|share| share.rat).collect(),
        rat: Choice::try_new(network.rats.iter().map(|share| share.share_ppm))
            .expect("the check refuses weights that are all 0"),
        preferred: profile.home_networks.iter().map(preferred_by).collect(),
    }
}

fn chances(profile: &Profile) -> Chances {
    let (registration, traffic) = (&profile.registration, &profile.traffic);
    Chances {
        steered: Chance::from_ppm(registration.steered_ppm),
        coverage: Chance::from_ppm(registration.coverage_ppm),
        unknown_subscriber: Chance::from_ppm(registration.unknown_subscriber_ppm),
        authentication_failure: Chance::from_ppm(registration.authentication_failure_ppm),
        system_failure: Chance::from_ppm(registration.system_failure_ppm),
        rat_not_allowed: Chance::from_ppm(registration.rat_not_allowed_ppm),
        local_breakout: Chance::from_ppm(traffic.local_breakout_ppm),
        usage_failure: Chance::from_ppm(traffic.failure_ppm),
        late_report: Chance::from_ppm(traffic.late_report_ppm),
        barred: Chance::from_ppm(profile.policy.barred_ppm),
    }
}

/// How far each visited network is from each home network, of 4096: a part of the interconnect leg.
fn distances(profile: &Profile, keys: &Keys) -> Vec<Vec<u16>> {
    let pair = |home: usize, visited: usize| {
        keys.draw(Purpose::PairDistance, home as u32, visited as u32).below(4096) as u16
    };
    (0..profile.home_networks.len())
        .map(|home| (0..profile.visited_networks.len()).map(|net| pair(home, net)).collect())
        .collect()
}

/// Chooses who misbehaves, by number.
fn offenders(profile: &Profile, keys: &Keys) -> Vec<(u32, u8)> {
    let mut offenders: Vec<(u32, u8)> = Vec::new();
    for (index, fraud) in profile.fraud.iter().enumerate() {
        for n in 0..fraud.subscribers {
            let subscriber =
                keys.draw(Purpose::FraudStart, index as u32, n).below(profile.subscribers);
            // Of two patterns that meet in one subscriber, the first stays.
            if let Err(place) = offenders.binary_search_by_key(&subscriber, |(who, _)| *who) {
                offenders.insert(place, (subscriber, index as u8));
            }
        }
    }
    offenders
}
