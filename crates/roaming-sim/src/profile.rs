//! Profiles: what a run simulates, as a person writes it and as the engine reads it.
//!
//! The YAML that a person writes has its units in its keys and is checked key by key: an error names
//! file, line and column, and what is allowed there. What comes of it is a [`Profile`], of typed
//! integers alone: it is part of the run's identity, so it must serialise to the same bytes everywhere.

mod bounded;
mod builtin;
mod check;
mod error;
mod raw;
mod resolve;

use roaming_events::{Apn, Iccid, Imei, Imsi, Msisdn, PlmnId, Rat, SimDuration, SimTime, Tadig};
use serde::{Deserialize, Serialize};

pub use builtin::BUILTIN;
pub use error::ProfileError;
pub(crate) use resolve::is_of;

/// What a run simulates, checked and resolved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    /// When the run begins, simulated.
    pub start: SimTime,
    /// How long subscribers act; wholesale records follow for up to [`Profile::tail`].
    pub duration: SimDuration,
    /// Number of subscribers.
    pub subscribers: u32,
    /// Networks that subscribers belong to.
    pub home_networks: Vec<HomeNetwork>,
    /// Networks that they travel to.
    pub visited_networks: Vec<VisitedNetwork>,
    /// Device classes.
    pub devices: Vec<DeviceClass>,
    /// How subscribers travel.
    pub trips: Trips,
    /// How registrations are steered and refused.
    pub registration: Registration,
    /// What subscribers do.
    pub traffic: Traffic,
    /// What home networks allow.
    pub policy: Policy,
    /// What visited networks charge.
    pub tariff: Tariff,
    /// When wholesale records come.
    pub records: RecordDelays,
    /// What goes wrong, and when.
    pub conditions: Vec<ScheduledCondition>,
    /// Subscribers that misbehave.
    pub fraud: Vec<Fraud>,
    /// Identities of the first subscribers.
    pub test_sims: Vec<TestSim>,
}

impl Profile {
    /// Parses a profile from YAML; `source_name` (a file's name) stands in front of error messages.
    ///
    /// # Errors
    /// Fails where the text is no YAML, a key is unknown or missing, a value is out of range or no
    /// identifier, or a name is not defined. The message says where, and what is allowed.
    pub fn parse(source_name: &str, yaml: &str) -> Result<Self, ProfileError> {
        resolve::parse(source_name, yaml)
    }

    /// Returns a profile that comes with the platform, see [`BUILTIN`].
    ///
    /// # Errors
    /// Fails where there is none of that name; the message lists them.
    pub fn builtin(name: &str) -> Result<Self, ProfileError> {
        builtin::find(name)
    }

    /// Returns when subscribers stop.
    pub fn end_of_activity(&self) -> SimTime {
        self.start + self.duration
    }

    /// Returns the longest time that late reports and wholesale records take after subscribers stop.
    pub fn tail(&self) -> SimDuration {
        self.traffic.late_report_max + self.records.tap_out_max + self.records.tap_in_max
    }
}

/// A network that subscribers belong to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HomeNetwork {
    /// Name, used for references in the profile.
    pub name: String,
    /// Identity of the network.
    pub plmn: PlmnId,
    /// Code in wholesale records.
    pub tadig: Tadig,
    /// Weight of the network among subscribers.
    pub share_ppm: u32,
    /// Indices of the visited networks that it prefers, one for each country at most.
    pub preferred: Vec<u16>,
}

/// A network that subscribers travel to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VisitedNetwork {
    /// Name, used for references in the profile.
    pub name: String,
    /// Identity of the network.
    pub plmn: PlmnId,
    /// Code in wholesale records.
    pub tadig: Tadig,
    /// Country; a subscriber chooses among the networks of one.
    pub country: String,
    /// Weight of the network in the choice of subscribers.
    pub share_ppm: u32,
    /// Technologies and their weights.
    pub rats: Vec<RatShare>,
    /// Latency and loss.
    pub link: Link,
}

/// How often a technology serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RatShare {
    /// The technology.
    pub rat: Rat,
    /// Its weight.
    pub share_ppm: u32,
}

/// Latency and loss of signalling between a visited network and the home network, without incidents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// The least latency of an exchange, in microseconds.
    pub latency_min_us: u32,
    /// The most, where no message is lost.
    pub latency_max_us: u32,
    /// The part of the range between them that differs from message to message.
    pub jitter_us: u32,
    /// The least probability that an exchange loses a message, in parts per million.
    pub loss_min_ppm: u32,
    /// The most.
    pub loss_max_ppm: u32,
}

/// A class of devices.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceClass {
    /// Name.
    pub name: String,
    /// Type allocation code, from the test range `00`.
    pub tac: u32,
    /// Weight of the class among subscribers.
    pub share_ppm: u32,
    /// Calls and messages, relative to the profile's traffic, in parts per thousand.
    pub voice_permille: u32,
    /// Data sessions, likewise.
    pub data_permille: u32,
    /// Movement, likewise.
    pub mobility_permille: u32,
}

/// How subscribers travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trips {
    /// First trips begin evenly within this time.
    pub arrival: SimDuration,
    /// The shortest stay.
    pub stay_min: SimDuration,
    /// The mean of what a stay lasts beyond that.
    pub stay_mean: SimDuration,
    /// The mean time at home between trips.
    pub pause_mean: SimDuration,
}

/// How registrations are steered and refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registration {
    /// How often one subscriber is refused in a network that is not preferred before it is let through.
    pub refusals_max: u8,
    /// How often such a registration is steered at all.
    pub steered_ppm: u32,
    /// How often the preferred network can be received where a subscriber is.
    pub coverage_ppm: u32,
    /// Subscribers that their home network does not know.
    pub unknown_subscriber_ppm: u32,
    /// Authentications that fail.
    pub authentication_failure_ppm: u32,
    /// Registrations that fail inside the home network.
    pub system_failure_ppm: u32,
    /// Registrations with a technology that the subscription does not include.
    pub rat_not_allowed_ppm: u32,
    /// Time without signalling after which an attached device registers again (T3412).
    pub periodic_update: SimDuration,
}

/// What subscribers do while attached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// Calls, in thousandths a day.
    pub calls_per_day_milli: u32,
    /// Messages, in thousandths a day.
    pub sms_per_day_milli: u32,
    /// Data sessions, in thousandths a day.
    pub sessions_per_day_milli: u32,
    /// Changes of cell or area, in thousandths a day.
    pub moves_per_day_milli: u32,
    /// Share of calls and messages that the subscriber originates.
    pub originated_ppm: u32,
    /// Mean duration of a call.
    pub call_mean: SimDuration,
    /// Mean duration of a data session.
    pub session_mean: SimDuration,
    /// Median volume of a data session, in octets.
    pub volume_median: u64,
    /// Spread of the volume: the standard deviation of its logarithm, in thousandths.
    pub volume_sigma_permille: u32,
    /// Share of sessions that leave to the internet in the visited network.
    pub local_breakout_ppm: u32,
    /// Access point name.
    pub apn: Apn,
    /// Usage that fails in the network.
    pub failure_ppm: u32,
    /// Usage events that are reported late.
    pub late_report_ppm: u32,
    /// The most by which they are late.
    pub late_report_max: SimDuration,
    /// Activity by hour of the day (UTC), in parts per thousand of the mean.
    pub diurnal_permille: Vec<u32>,
}

/// What home networks allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Volume of a trip from which data is throttled, in octets.
    pub fair_use: u64,
    /// Spend of a trip from which data is blocked, in millionths of a special drawing right.
    pub spend_cap_millionths: u64,
    /// Subscribers whose subscription does not include data abroad.
    pub barred_ppm: u32,
}

/// What visited networks charge home networks, in special drawing rights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tariff {
    /// Decimal places of charges in wholesale records.
    pub decimals: u8,
    /// An originated call, in millionths a minute.
    pub call_originated_millionths: u32,
    /// A terminated call, in millionths a minute.
    pub call_terminated_millionths: u32,
    /// Calls are charged in multiples of this many seconds.
    pub call_interval_s: u32,
    /// An originated message, in millionths.
    pub sms_originated_millionths: u32,
    /// Data, in millionths for 1,000,000 octets.
    pub data_millionths: u32,
    /// Data is charged in multiples of this many octets.
    pub data_interval_octets: u32,
}

/// When wholesale records come after usage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordDelays {
    /// The least time from usage to the record at the visited network.
    pub tap_out_min: SimDuration,
    /// The most.
    pub tap_out_max: SimDuration,
    /// The least time from there to the home network.
    pub tap_in_min: SimDuration,
    /// The most.
    pub tap_in_max: SimDuration,
}

/// What goes wrong in a network during a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduledCondition {
    /// Index of the visited network.
    pub network: u16,
    /// From this time after the start.
    pub from: SimDuration,
    /// For this long.
    pub lasts: SimDuration,
    /// What it is.
    pub kind: ConditionKind,
}

/// A kind of incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConditionKind {
    /// Messages to the home network are lost.
    Outage {
        /// How many, in parts per million.
        loss_ppm: u32,
        /// Requests that an agent on the way answers as undeliverable, in parts per million.
        undeliverable_ppm: u32,
    },
    /// The network is overloaded: requests wait, and some are refused.
    Congestion {
        /// Latency, in parts per thousand of the usual.
        latency_permille: u32,
        /// Requests that are refused, in parts per million.
        refused_ppm: u32,
    },
}

/// Subscribers that misbehave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fraud {
    /// What they do.
    pub pattern: FraudPattern,
    /// How many they are.
    pub subscribers: u32,
    /// From this time after the start.
    pub from: SimDuration,
    /// For this long.
    pub lasts: SimDuration,
}

/// A pattern of misbehaviour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FraudPattern {
    /// International revenue share fraud: long calls in quick succession to a few costly numbers.
    Irsf,
    /// A device that registers again and again without backing off.
    RegistrationStorm,
}

/// The pinned identity of one subscriber.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestSim {
    /// Identity of the subscription; its network is one of the home networks.
    pub imsi: Imsi,
    /// Number of the SIM card.
    pub iccid: Iccid,
    /// Number of the subscription.
    pub msisdn: Msisdn,
    /// Identity of the device.
    pub imei: Imei,
}
