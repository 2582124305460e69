//! The event types, with their outcome, cause and latency.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::identifiers::{IdentifierError, text_serde};
use crate::{EventId, Imei, Imsi, Money, Msisdn, PlmnId, SimTime, Tadig};

/// One thing that happened to one subscriber, and what came of it.
///
/// On the wire it is one flat JSON object, see [`json`](crate::json).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// Identity, and the message key.
    pub id: EventId,
    /// When it happened, simulated.
    pub event_time: SimTime,
    /// When it leaves the source, simulated; later than `event_time` only where the scenario delays it.
    pub emission_time: SimTime,
    /// Whom it happened to.
    pub subscriber: Subscriber,
    /// The home network (HPLMN).
    pub home_plmn: PlmnId,
    /// The visited network (VPLMN).
    pub visited_plmn: PlmnId,
    /// The radio access technology.
    pub rat: Rat,
    /// What came of it.
    pub outcome: Outcome,
    /// Why, where the outcome is not success.
    pub cause: Option<Cause>,
    /// From the request to its answer, in microseconds; 0 where nothing is asked.
    pub latency_us: u32,
    /// What it was.
    pub body: Body,
}

/// A subscriber and the device that carries the SIM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Subscriber {
    /// Identity of the subscription.
    pub imsi: Imsi,
    /// Number of the subscription.
    pub msisdn: Msisdn,
    /// Identity of the device.
    pub imei: Imei,
}

/// Radio access technology (TS 29.274 §8.17).
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Rat {
    /// 2G.
    Geran,
    /// 3G.
    Utran,
    /// 4G.
    Eutran,
    /// 5G.
    Nr,
}

/// What came of a procedure.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was done.
    Success,
    /// It was answered with a refusal.
    Rejected,
    /// It was not answered, or the network could not do it.
    Failed,
}

/// Why a procedure was refused or failed, in the words of MAP (TS 29.002 §17.6), S6a (TS 29.272 §7.4)
/// and GTPv2-C (TS 29.274 §8.4).
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The home network does not know the IMSI (MAP error 1, S6a 5001).
    UnknownSubscriber,
    /// The home network refuses this visited network (MAP error 8, S6a 5004).
    RoamingNotAllowed,
    /// The subscription does not include this technology (S6a 5421).
    RatNotAllowed,
    /// The SIM's answer to the challenge is wrong (GTP cause 92).
    UserAuthenticationFailed,
    /// The home network had an internal fault (MAP error 34).
    SystemFailure,
    /// The request could not be routed to the home network (Diameter 3002).
    UnableToDeliver,
    /// No answer came in time.
    NoAnswer,
    /// The radio or core network was overloaded (NAS cause 22).
    Congestion,
    /// No resources for the session (GTP cause 73).
    NoResourcesAvailable,
    /// The access point name is missing or unknown (GTP cause 78).
    MissingOrUnknownApn,
    /// The called or addressed party cannot be reached (MAP error 27).
    AbsentSubscriber,
    /// A policy of the home network blocked it.
    BlockedByPolicy,
}

/// The type of an event: its place in the procedures of a roaming subscriber. Also the `procedure` of
/// an aggregate row.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum EventType {
    /// A registration: `UpdateLocation` (TS 29.002 §8.1.2), Update-Location-Request (TS 29.272 §5.2.1).
    LocationUpdate,
    /// Authentication: `SendAuthenticationInfo`, Authentication-Information-Request.
    Authentication,
    /// The home network steers the subscriber away from the visited one.
    Steering,
    /// The subscriber moves to another cell or technology while attached.
    Handover,
    /// A voice call.
    Voice,
    /// A short message.
    Sms,
    /// A data session.
    Data,
    /// The home network's policy decided about usage.
    Policy,
    /// A wholesale record at the visited network.
    TapOut,
    /// The same wholesale record as the home network took it in.
    TapIn,
    /// The subscriber leaves the visited network.
    Detach,
}

/// Gives an enumeration of unit variants its names and the list of all.
macro_rules! wire_names {
    ($type:ident { $($variant:ident => $name:literal),* $(,)? }) => {
        impl $type {
            /// Every value, in the order of the declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// Returns the name on the wire, in metrics and in the store.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl FromStr for $type {
            type Err = UnknownName;

            fn from_str(name: &str) -> Result<Self, UnknownName> {
                match name {
                    $($name => Ok(Self::$variant),)*
                    _ => Err(UnknownName { what: stringify!($type), allowed: concat!($($name, " "),*) }),
                }
            }
        }
    };
}

/// A name that an enumeration of the contract does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a {what}; known: {allowed}")]
pub struct UnknownName {
    what: &'static str,
    allowed: &'static str,
}

wire_names!(Rat { Geran => "geran", Utran => "utran", Eutran => "eutran", Nr => "nr" });
wire_names!(Outcome { Success => "success", Rejected => "rejected", Failed => "failed" });
wire_names!(Cause {
    UnknownSubscriber => "unknown_subscriber",
    RoamingNotAllowed => "roaming_not_allowed",
    RatNotAllowed => "rat_not_allowed",
    UserAuthenticationFailed => "user_authentication_failed",
    SystemFailure => "system_failure",
    UnableToDeliver => "unable_to_deliver",
    NoAnswer => "no_answer",
    Congestion => "congestion",
    NoResourcesAvailable => "no_resources_available",
    MissingOrUnknownApn => "missing_or_unknown_apn",
    AbsentSubscriber => "absent_subscriber",
    BlockedByPolicy => "blocked_by_policy",
});
wire_names!(EventType {
    LocationUpdate => "location_update",
    Authentication => "authentication",
    Steering => "steering",
    Handover => "handover",
    Voice => "voice",
    Sms => "sms",
    Data => "data",
    Policy => "policy",
    TapOut => "tap_out",
    TapIn => "tap_in",
    Detach => "detach",
});
wire_names!(UpdateType { Initial => "initial", Normal => "normal", Periodic => "periodic" });
wire_names!(CallDirection { Originated => "originated", Terminated => "terminated" });
wire_names!(Routing { HomeRouted => "home_routed", LocalBreakout => "local_breakout" });
wire_names!(Decision { Allow => "allow", Throttle => "throttle", Block => "block" });
wire_names!(PolicyRule {
    Default => "default",
    FairUse => "fair_use",
    SpendCap => "spend_cap",
    ServiceBarred => "service_barred",
});
wire_names!(Service {
    VoiceOriginated => "voice_originated",
    VoiceTerminated => "voice_terminated",
    SmsOriginated => "sms_originated",
    SmsTerminated => "sms_terminated",
    Data => "data",
});
wire_names!(DetachType {
    SwitchOff => "switch_off",
    LeavesCoverage => "leaves_coverage",
    Implicit => "implicit",
});

/// What an event was: the fields of its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Body {
    /// See [`EventType::LocationUpdate`].
    LocationUpdate {
        /// Why the subscriber registers.
        update_type: UpdateType,
        /// Number of this attempt in its series, from 1.
        attempt: u8,
    },
    /// See [`EventType::Authentication`].
    Authentication {
        /// How many authentication vectors were asked for.
        vectors: u8,
    },
    /// See [`EventType::Steering`].
    Steering {
        /// The network that the home network prefers.
        preferred_plmn: PlmnId,
        /// How many times this subscriber has been steered in this series, from 1.
        attempt: u8,
    },
    /// See [`EventType::Handover`].
    Handover {
        /// Identity of the cell left (28 bits, TS 23.003 §19.6).
        source_cell: u32,
        /// Identity of the cell entered.
        target_cell: u32,
    },
    /// See [`EventType::Voice`].
    Voice {
        /// Who called.
        call_direction: CallDirection,
        /// The other party's number.
        other_party: Msisdn,
        /// Seconds from answer to release; 0 where the call was not answered.
        duration_s: u32,
    },
    /// See [`EventType::Sms`].
    Sms {
        /// Who sent it.
        call_direction: CallDirection,
        /// The other party's number.
        other_party: Msisdn,
    },
    /// See [`EventType::Data`].
    Data {
        /// Access point name, network identifier (TS 23.003 §9.1.1).
        apn: Apn,
        /// Where the traffic leaves to the internet.
        routing: Routing,
        /// Charging id of the session (TS 32.251).
        charging_id: u32,
        /// Seconds from set-up to release.
        duration_s: u32,
        /// Octets sent by the device.
        #[schemars(range(max = crate::json::UNITS_MAX))]
        octets_uplink: u64,
        /// Octets received by the device.
        #[schemars(range(max = crate::json::UNITS_MAX))]
        octets_downlink: u64,
    },
    /// See [`EventType::Policy`].
    Policy {
        /// What was decided.
        decision: Decision,
        /// The rule that decided.
        rule: PolicyRule,
    },
    /// See [`EventType::TapOut`].
    TapOut(TapRecord),
    /// See [`EventType::TapIn`].
    TapIn(TapRecord),
    /// See [`EventType::Detach`].
    Detach {
        /// How the subscriber left.
        detach_type: DetachType,
    },
}

impl Body {
    /// Returns the type.
    pub const fn event_type(&self) -> EventType {
        match self {
            Self::LocationUpdate { .. } => EventType::LocationUpdate,
            Self::Authentication { .. } => EventType::Authentication,
            Self::Steering { .. } => EventType::Steering,
            Self::Handover { .. } => EventType::Handover,
            Self::Voice { .. } => EventType::Voice,
            Self::Sms { .. } => EventType::Sms,
            Self::Data { .. } => EventType::Data,
            Self::Policy { .. } => EventType::Policy,
            Self::TapOut(_) => EventType::TapOut,
            Self::TapIn(_) => EventType::TapIn,
            Self::Detach { .. } => EventType::Detach,
        }
    }
}

/// A wholesale record (GSMA TD.57) for one usage event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TapRecord {
    /// The usage event that is charged.
    pub usage_id: EventId,
    /// Operator that sends the record: the visited one.
    pub sender: Tadig,
    /// Operator that is charged: the home one.
    pub recipient: Tadig,
    /// What was used.
    pub service: Service,
    /// Seconds, messages or octets used.
    pub chargeable_units: u64,
    /// The same after rounding up to the tariff's charging interval.
    pub charged_units: u64,
    /// The charge before tax.
    pub charge: Money,
}

/// What a usage event used: seconds and octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Usage {
    /// Seconds of voice or of a data session.
    pub duration_s: u64,
    /// Octets sent by the device.
    pub octets_uplink: u64,
    /// Octets received by the device.
    pub octets_downlink: u64,
}

impl Event {
    /// Returns what the event used; nothing, where it is no usage.
    pub fn usage(&self) -> Usage {
        match self.body {
            Body::Voice { duration_s, .. } => {
                Usage { duration_s: u64::from(duration_s), ..Usage::default() }
            }
            Body::Data { duration_s, octets_uplink, octets_downlink, .. } => {
                Usage { duration_s: u64::from(duration_s), octets_uplink, octets_downlink }
            }
            _ => Usage::default(),
        }
    }

    /// Returns the wholesale record, where the event is one.
    pub fn tap_record(&self) -> Option<&TapRecord> {
        match &self.body {
            Body::TapOut(record) | Body::TapIn(record) => Some(record),
            _ => None,
        }
    }
}

/// Why a subscriber registers (TS 24.301 §5.5.3).
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum UpdateType {
    /// First registration with this network.
    Initial,
    /// A change of area.
    Normal,
    /// The periodic timer ran out (T3412).
    Periodic,
}

/// Who called, or who sent a message, seen from the roaming subscriber.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum CallDirection {
    /// The roaming subscriber.
    Originated,
    /// The other party.
    Terminated,
}

/// Where data traffic leaves to the internet (TS 23.401 §4.2.2).
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Routing {
    /// At the home network's packet gateway.
    HomeRouted,
    /// At the visited network's.
    LocalBreakout,
}

/// A policy decision (TS 23.203 §4.3).
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// Usage goes on as it is.
    Allow,
    /// Usage goes on more slowly.
    Throttle,
    /// Usage is refused.
    Block,
}

/// The rule behind a policy decision.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum PolicyRule {
    /// Nothing else applied.
    Default,
    /// The volume of the fair use policy is used up.
    FairUse,
    /// The financial limit of the bill is reached.
    SpendCap,
    /// The subscription does not include the service.
    ServiceBarred,
}

/// The service that a wholesale record charges.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Service {
    /// An originated call; units are seconds.
    VoiceOriginated,
    /// A terminated call; units are seconds.
    VoiceTerminated,
    /// An originated short message; units are messages.
    SmsOriginated,
    /// A terminated short message; units are messages.
    SmsTerminated,
    /// A data session; units are octets.
    Data,
}

/// How a subscriber leaves (TS 24.301 §5.5.2).
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum DetachType {
    /// The device was switched off.
    SwitchOff,
    /// The subscriber travelled on.
    LeavesCoverage,
    /// The network gave up waiting for the device.
    Implicit,
}

/// An access point name, network identifier: 1 to 23 lower-case letters, digits, dots and hyphens
/// (TS 23.003 §9.1.1; ours are kept short).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Apn {
    octets: [u8; Self::LEN_MAX],
    len: u8,
}

impl Apn {
    /// The most characters that this platform's access point names have.
    pub const LEN_MAX: usize = 23;

    /// Returns the name.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.octets[..usize::from(self.len)])
            .expect("only ASCII passes the constructor")
    }
}

impl FromStr for Apn {
    type Err = IdentifierError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const ALLOWED: &str = "1 to 23 lower-case letters, digits, dots and hyphens";
        if !(1..=Self::LEN_MAX).contains(&text.len()) {
            return Err(IdentifierError::Length { what: "APN", allowed: ALLOWED });
        }
        if !text.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || b".-".contains(&c))
        {
            return Err(IdentifierError::Character { what: "APN", allowed: ALLOWED });
        }
        let mut octets = [0; Self::LEN_MAX];
        octets[..text.len()].copy_from_slice(text.as_bytes());
        Ok(Self { octets, len: text.len() as u8 })
    }
}

impl fmt::Display for Apn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Apn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

text_serde!(Apn, "Access point name, network identifier (TS 23.003 §9.1.1)", r"^[a-z0-9.-]{1,23}$");
