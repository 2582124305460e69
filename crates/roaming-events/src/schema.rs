//! JSON Schema of the wire form, made from the types, and one example of each type.

use schemars::{JsonSchema, SchemaGenerator, json_schema};
use serde_json::{Map, Value, json};

use crate::event::{
    Body, CallDirection, Cause, Decision, DetachType, Event, EventType, Outcome, PolicyRule, Rat,
    Routing, Service, Subscriber, TapRecord, UpdateType,
};
use crate::{EventId, Imei, Imsi, LaneId, Money, Msisdn, PlmnId, RunId, Sequence, SimTime, Tadig};

/// Identity of the schema. It changes only where a change is not additive.
pub const SCHEMA_ID: &str = "https://roaming-sim.example/schema/event-1.json";

/// The fields that every event has.
///
/// Only for its schema; the wire form is written and read by [`crate::json`].
#[derive(JsonSchema)]
#[expect(dead_code, reason = "the derived schema is what it is for")]
struct Common {
    /// Identity of the event, and the message key: run, lane and sequence in a UUID version 8.
    id: EventId,
    /// When it happened, simulated.
    event_time: SimTime,
    /// When it left the source, simulated; never before `event_time`.
    emission_time: SimTime,
    /// Whom it happened to.
    imsi: Imsi,
    /// The subscriber's number.
    msisdn: Msisdn,
    /// The subscriber's device.
    imei: Imei,
    /// The home network.
    home_plmn: PlmnId,
    /// The visited network.
    visited_plmn: PlmnId,
    /// The radio access technology.
    rat: Rat,
    /// What came of it.
    outcome: Outcome,
    /// Why, where the outcome is not success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Cause")]
    cause: Option<Cause>,
    /// From the request to its answer, in microseconds; 0 where nothing is asked.
    latency_us: u32,
}

/// The fields of a wholesale record on the wire.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "the derived schema is what it is for")]
struct TapFields {
    /// The usage event that is charged.
    usage_id: EventId,
    /// Operator that sends the record: the visited one.
    sender: Tadig,
    /// Operator that is charged: the home one.
    recipient: Tadig,
    /// What was used.
    service: Service,
    /// Seconds, messages or octets used.
    #[schemars(range(max = crate::json::UNITS_MAX))]
    chargeable_units: u64,
    /// The same after rounding up to the tariff's charging interval.
    #[schemars(range(max = crate::json::UNITS_MAX))]
    charged_units: u64,
    /// The charge before tax, an integer to be read with `tap_decimal_places`.
    charge: i64,
    /// Number of decimal places of `charge`, 0 to 6.
    #[schemars(range(max = 6))]
    tap_decimal_places: u8,
    /// Currency of `charge` (ISO 4217).
    #[schemars(regex(pattern = "^XDR$"))]
    tap_currency: String,
}

impl JsonSchema for TapRecord {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "TapRecord".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> schemars::Schema {
        TapFields::json_schema(generator)
    }
}

impl JsonSchema for SimTime {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "SimTime".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> schemars::Schema {
        json_schema!({
            "type": "string",
            "description": "Simulated UTC time (RFC 3339) with milliseconds",
            "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{3}Z$",
        })
    }
}

/// Returns the JSON Schema (draft 2020-12) of an event on the wire.
///
/// What every event has stands in `properties`; what its type adds, in one alternative of `oneOf`.
pub fn event_schema() -> Value {
    let mut generator = SchemaGenerator::default();
    let common: Value = generator.root_schema_for::<Common>().into();
    let mut generator = SchemaGenerator::default();
    let body: Value = generator.root_schema_for::<Body>().into();
    let mut definitions = take_object(&common, "$defs");
    definitions.append(&mut take_object(&body, "$defs"));
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA_ID,
        "title": "Roaming event",
        "description": "One event of the topic roaming.events. Readers ignore fields and types that they do not know.",
        "type": "object",
        "required": common["required"],
        "properties": common["properties"],
        "oneOf": body["oneOf"],
        "$defs": definitions,
    })
}

fn take_object(schema: &Value, key: &str) -> Map<String, Value> {
    schema.get(key).and_then(Value::as_object).cloned().unwrap_or_default()
}

/// Returns one example of each event type, in the order of [`EventType::ALL`].
///
/// # Panics
/// Never: the identifiers are constants that pass their own checks.
pub fn examples() -> Vec<Event> {
    let bodies = EventType::ALL.iter().map(|event_type| example_body(*event_type));
    bodies.enumerate().map(|(index, body)| example(index as u64, body)).collect()
}

fn example(sequence: u64, body: Body) -> Event {
    const KNOWN: &str = "a constant that passes its own check";
    // 2026-06-01T08:00:00.000Z, and an event each minute.
    let event_time = SimTime::from_unix_ms(1_780_300_800_000 + sequence * 60_000);
    let steered = matches!(body, Body::Steering { .. });
    Event {
        id: example_id(sequence),
        event_time,
        emission_time: event_time,
        subscriber: Subscriber {
            imsi: Imsi::try_new(999_010_000_000_042, 15).expect(KNOWN),
            msisdn: Msisdn::try_new(999_010_000_042).expect(KNOWN),
            imei: Imei::from_parts(10_017, 42),
        },
        home_plmn: plmn(1),
        visited_plmn: plmn(21),
        rat: Rat::Eutran,
        outcome: if steered { Outcome::Rejected } else { Outcome::Success },
        cause: steered.then_some(Cause::RoamingNotAllowed),
        latency_us: 84_250,
        body,
    }
}

fn example_id(sequence: u64) -> EventId {
    EventId {
        run: RunId::from_hash(0x0123_4567_89ab_cdef),
        lane: LaneId::try_new(42).expect("below 4096"),
        sequence: Sequence::try_new(sequence).expect("a small number"),
    }
}

fn plmn(mnc: u16) -> PlmnId {
    PlmnId::try_new(999, mnc, 2).expect("MCC 999 with two digits is valid")
}

fn example_body(event_type: EventType) -> Body {
    const KNOWN: &str = "a constant that passes its own check";
    let other_party = Msisdn::try_new(999_010_000_077).expect(KNOWN);
    match event_type {
        EventType::LocationUpdate => {
            Body::LocationUpdate { update_type: UpdateType::Initial, attempt: 1 }
        }
        EventType::Authentication => Body::Authentication { vectors: 1 },
        EventType::Steering => Body::Steering { preferred_plmn: plmn(22), attempt: 1 },
        EventType::Handover => Body::Handover { source_cell: 11_008, target_cell: 11_009 },
        EventType::Voice => {
            Body::Voice { call_direction: CallDirection::Originated, other_party, duration_s: 95 }
        }
        EventType::Sms => Body::Sms { call_direction: CallDirection::Terminated, other_party },
        EventType::Data => Body::Data {
            apn: "internet".parse().expect(KNOWN),
            routing: Routing::HomeRouted,
            charging_id: 4_217,
            duration_s: 600,
            octets_uplink: 1_250_000,
            octets_downlink: 18_400_000,
        },
        EventType::Policy => {
            Body::Policy { decision: Decision::Throttle, rule: PolicyRule::FairUse }
        }
        EventType::TapOut => Body::TapOut(example_tap()),
        EventType::TapIn => Body::TapIn(example_tap()),
        EventType::Detach => Body::Detach { detach_type: DetachType::SwitchOff },
    }
}

fn example_tap() -> TapRecord {
    const KNOWN: &str = "a constant that passes its own check";
    TapRecord {
        usage_id: example_id(4),
        sender: "BBB21".parse().expect(KNOWN),
        recipient: "AAA01".parse().expect(KNOWN),
        service: Service::VoiceOriginated,
        chargeable_units: 95,
        charged_units: 120,
        charge: Money::try_new(5_280, 5).expect(KNOWN),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The schema as it stands in the repository.
    const PUBLISHED: &str = include_str!("../schema/event.schema.json");

    #[test]
    fn published_schema_is_the_one_the_types_make() {
        let published: Value = serde_json::from_str(PUBLISHED).unwrap();
        assert_eq!(published, event_schema(), "run `cargo xtask gen` and review the difference");
    }

    #[test]
    fn every_example_is_valid_and_every_field_described() {
        let schema = event_schema();
        let validator = jsonschema::validator_for(&schema).unwrap();
        for event in examples() {
            let json = serde_json::to_value(event).unwrap();
            assert!(validator.is_valid(&json), "{json}: {:?}", validator.iter_errors(&json).next());
            let event_type = json["type"].clone();
            let alternatives = schema["oneOf"].as_array().unwrap();
            let own = alternatives
                .iter()
                .find(|alternative| alternative["properties"]["type"]["const"] == event_type)
                .unwrap();
            for field in json.as_object().unwrap().keys() {
                let described = |part: &Value| part["properties"].get(field).is_some();
                assert!(described(&schema) || described(own), "{event_type} {field}");
            }
        }
    }

    #[test]
    fn schema_refuses_what_the_types_refuse() {
        let validator = jsonschema::validator_for(&event_schema()).unwrap();
        for event in examples() {
            let json = serde_json::to_value(event).unwrap();
            for field in json.as_object().unwrap().keys() {
                let mut json = json.clone();
                json.as_object_mut().unwrap().remove(field);
                let readable = serde_json::from_value::<Event>(json.clone()).is_ok();
                assert_eq!(validator.is_valid(&json), readable, "{json} without {field}");
            }
        }
    }
}
