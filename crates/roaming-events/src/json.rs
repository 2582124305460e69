//! The wire form of an event: one flat JSON object with its fields in a fixed order.
//!
//! The order is that of [`Wire`]: first what every event has, then what its type has; a field that does
//! not apply is absent. [`encode`] writes the same bytes as `serde_json::to_vec`, and [`decode`] reads them
//! as `serde_json::from_slice` does, both several times faster; tests hold each pair together.

mod reader;
mod writer;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::event::{
    Apn, Body, CallDirection, Cause, Decision, DetachType, Event, EventType, Outcome, PolicyRule,
    Rat, Routing, Service, Subscriber, TapRecord, UpdateType,
};
use crate::{EventId, Imei, Imsi, Money, Msisdn, PlmnId, SimTime, Tadig};

pub use writer::encode;

/// Reads an event from its wire form, its fields in any order.
///
/// # Errors
/// Fails where the octets are no JSON object, or the object is no event; says where, and why.
pub fn decode(payload: &[u8]) -> Result<Event, serde_json::Error> {
    // What `encode` writes is most of what is ever read. Anything else is for the library to read or refuse.
    reader::read(payload, None).map_or_else(|| serde_json::from_slice(payload), Ok)
}

/// As [`decode`], of a record whose key was read as `id`.
pub(crate) fn decode_keyed(
    key: &[u8],
    id: EventId,
    payload: &[u8],
) -> Result<Event, serde_json::Error> {
    reader::read(payload, Some((key, id))).map_or_else(|| serde_json::from_slice(payload), Ok)
}

/// The flat object, every field that any type has, in the order of the wire.
///
/// Fields are only ever added: common ones after `latency_us`, those of a type at the end.
#[derive(Serialize, Deserialize)]
struct Wire {
    #[serde(rename = "type")]
    event_type: EventType,
    id: EventId,
    event_time: SimTime,
    emission_time: SimTime,
    imsi: Imsi,
    msisdn: Msisdn,
    imei: Imei,
    home_plmn: PlmnId,
    visited_plmn: PlmnId,
    rat: Rat,
    outcome: Outcome,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<Cause>,
    latency_us: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    update_type: Option<UpdateType>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vectors: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    preferred_plmn: Option<PlmnId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_cell: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target_cell: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    call_direction: Option<CallDirection>,
    #[serde(skip_serializing_if = "Option::is_none")]
    other_party: Option<Msisdn>,
    #[serde(skip_serializing_if = "Option::is_none")]
    duration_s: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    apn: Option<Apn>,
    #[serde(skip_serializing_if = "Option::is_none")]
    routing: Option<Routing>,
    #[serde(skip_serializing_if = "Option::is_none")]
    charging_id: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    octets_uplink: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    octets_downlink: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    decision: Option<Decision>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<PolicyRule>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage_id: Option<EventId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sender: Option<Tadig>,
    #[serde(skip_serializing_if = "Option::is_none")]
    recipient: Option<Tadig>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<Service>,
    #[serde(skip_serializing_if = "Option::is_none")]
    chargeable_units: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    charged_units: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    charge: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tap_decimal_places: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tap_currency: Option<Currency>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detach_type: Option<DetachType>,
}

/// The only currency of wholesale records so far.
#[derive(Clone, Copy, Serialize, Deserialize)]
enum Currency {
    #[serde(rename = "XDR")]
    Xdr,
}

impl Serialize for Event {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Wire::from(self).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Event {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Wire::deserialize(deserializer)?.into_event().map_err(serde::de::Error::custom)
    }
}

impl From<&Event> for Wire {
    fn from(event: &Event) -> Self {
        let mut wire = Self {
            event_type: event.body.event_type(),
            id: event.id,
            event_time: event.event_time,
            emission_time: event.emission_time,
            imsi: event.subscriber.imsi,
            msisdn: event.subscriber.msisdn,
            imei: event.subscriber.imei,
            home_plmn: event.home_plmn,
            visited_plmn: event.visited_plmn,
            rat: event.rat,
            outcome: event.outcome,
            cause: event.cause,
            latency_us: event.latency_us,
            update_type: None,
            attempt: None,
            vectors: None,
            preferred_plmn: None,
            source_cell: None,
            target_cell: None,
            call_direction: None,
            other_party: None,
            duration_s: None,
            apn: None,
            routing: None,
            charging_id: None,
            octets_uplink: None,
            octets_downlink: None,
            decision: None,
            rule: None,
            usage_id: None,
            sender: None,
            recipient: None,
            service: None,
            chargeable_units: None,
            charged_units: None,
            charge: None,
            tap_decimal_places: None,
            tap_currency: None,
            detach_type: None,
        };
        wire.set_body(&event.body);
        wire
    }
}

impl Wire {
    fn set_body(&mut self, body: &Body) {
        match *body {
            Body::LocationUpdate { update_type, attempt } => {
                self.update_type = Some(update_type);
                self.attempt = Some(attempt);
            }
            Body::Authentication { vectors } => self.vectors = Some(vectors),
            Body::Steering { preferred_plmn, attempt } => {
                self.preferred_plmn = Some(preferred_plmn);
                self.attempt = Some(attempt);
            }
            Body::Handover { source_cell, target_cell } => {
                self.source_cell = Some(source_cell);
                self.target_cell = Some(target_cell);
            }
            Body::Voice { call_direction, other_party, duration_s } => {
                self.call_direction = Some(call_direction);
                self.other_party = Some(other_party);
                self.duration_s = Some(duration_s);
            }
            Body::Sms { call_direction, other_party } => {
                self.call_direction = Some(call_direction);
                self.other_party = Some(other_party);
            }
            Body::Data {
                apn,
                routing,
                charging_id,
                duration_s,
                octets_uplink,
                octets_downlink,
            } => {
                self.duration_s = Some(duration_s);
                self.apn = Some(apn);
                self.routing = Some(routing);
                self.charging_id = Some(charging_id);
                self.octets_uplink = Some(octets_uplink);
                self.octets_downlink = Some(octets_downlink);
            }
            Body::Policy { decision, rule } => {
                self.decision = Some(decision);
                self.rule = Some(rule);
            }
            Body::TapOut(record) | Body::TapIn(record) => {
                self.usage_id = Some(record.usage_id);
                self.sender = Some(record.sender);
                self.recipient = Some(record.recipient);
                self.service = Some(record.service);
                self.chargeable_units = Some(record.chargeable_units);
                self.charged_units = Some(record.charged_units);
                self.charge = Some(record.charge.units());
                self.tap_decimal_places = Some(record.charge.decimals());
                self.tap_currency = Some(Currency::Xdr);
            }
            Body::Detach { detach_type } => self.detach_type = Some(detach_type),
        }
    }

    fn into_event(self) -> Result<Event, WireError> {
        Ok(Event {
            id: self.id,
            event_time: self.event_time,
            emission_time: self.emission_time,
            subscriber: Subscriber { imsi: self.imsi, msisdn: self.msisdn, imei: self.imei },
            home_plmn: self.home_plmn,
            visited_plmn: self.visited_plmn,
            rat: self.rat,
            outcome: self.outcome,
            cause: self.cause,
            latency_us: self.latency_us,
            body: self.body()?,
        })
    }

    fn body(&self) -> Result<Body, WireError> {
        Ok(match self.event_type {
            EventType::LocationUpdate => Body::LocationUpdate {
                update_type: need(self.update_type, "update_type")?,
                attempt: need(self.attempt, "attempt")?,
            },
            EventType::Authentication => {
                Body::Authentication { vectors: need(self.vectors, "vectors")? }
            }
            EventType::Steering => Body::Steering {
                preferred_plmn: need(self.preferred_plmn, "preferred_plmn")?,
                attempt: need(self.attempt, "attempt")?,
            },
            EventType::Handover => Body::Handover {
                source_cell: need(self.source_cell, "source_cell")?,
                target_cell: need(self.target_cell, "target_cell")?,
            },
            EventType::Voice => Body::Voice {
                call_direction: need(self.call_direction, "call_direction")?,
                other_party: need(self.other_party, "other_party")?,
                duration_s: need(self.duration_s, "duration_s")?,
            },
            EventType::Sms => Body::Sms {
                call_direction: need(self.call_direction, "call_direction")?,
                other_party: need(self.other_party, "other_party")?,
            },
            EventType::Data => Body::Data {
                apn: need(self.apn, "apn")?,
                routing: need(self.routing, "routing")?,
                charging_id: need(self.charging_id, "charging_id")?,
                duration_s: need(self.duration_s, "duration_s")?,
                octets_uplink: bounded(self.octets_uplink, "octets_uplink")?,
                octets_downlink: bounded(self.octets_downlink, "octets_downlink")?,
            },
            EventType::Policy => Body::Policy {
                decision: need(self.decision, "decision")?,
                rule: need(self.rule, "rule")?,
            },
            EventType::TapOut => Body::TapOut(self.tap_record()?),
            EventType::TapIn => Body::TapIn(self.tap_record()?),
            EventType::Detach => {
                Body::Detach { detach_type: need(self.detach_type, "detach_type")? }
            }
        })
    }

    fn tap_record(&self) -> Result<TapRecord, WireError> {
        need(self.tap_currency, "tap_currency")?;
        let charge = Money::try_new(
            need(self.charge, "charge")?,
            need(self.tap_decimal_places, "tap_decimal_places")?,
        )?;
        bounded(Some(charge.millionths().unsigned_abs()), "charge")?;
        Ok(TapRecord {
            usage_id: need(self.usage_id, "usage_id")?,
            sender: need(self.sender, "sender")?,
            recipient: need(self.recipient, "recipient")?,
            service: need(self.service, "service")?,
            chargeable_units: bounded(self.chargeable_units, "chargeable_units")?,
            charged_units: bounded(self.charged_units, "charged_units")?,
            charge,
        })
    }
}

/// What makes a well-formed flat object no event.
#[derive(Debug, thiserror::Error)]
enum WireError {
    #[error("`{field}` is {found}, at most {UNITS_MAX} is allowed")]
    TooMuch { field: &'static str, found: u64 },
    #[error("missing field `{0}` of this event type")]
    Missing(&'static str),
    #[error(transparent)]
    Money(#[from] crate::MoneyError),
}

/// The most octets, units or millionths of a charge that one event can have. A terabyte in one session is
/// a foreign record, and eight million of them still add up within 63 bits.
pub const UNITS_MAX: u64 = 1 << 40;

/// Returns a quantity that is present and within [`UNITS_MAX`].
fn bounded(value: Option<u64>, field: &'static str) -> Result<u64, WireError> {
    let found = need(value, field)?;
    if found > UNITS_MAX { Err(WireError::TooMuch { field, found }) } else { Ok(found) }
}

fn need<T>(value: Option<T>, field: &'static str) -> Result<T, WireError> {
    value.ok_or(WireError::Missing(field))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema;

    #[test]
    fn encoder_writes_what_serde_json_writes() {
        for event in schema::examples() {
            let mut encoded = Vec::new();
            encode(&event, &mut encoded);
            let expected = serde_json::to_string(&event).unwrap();
            assert_eq!(String::from_utf8(encoded).unwrap(), expected);
        }
    }

    #[test]
    fn every_type_reads_back() {
        for event in schema::examples() {
            let json = serde_json::to_vec(&event).unwrap();
            assert_eq!(serde_json::from_slice::<Event>(&json).unwrap(), event);
        }
    }

    #[test]
    fn a_field_that_readers_do_not_know_is_ignored() {
        let event = schema::examples()[0];
        let mut json = serde_json::to_value(event).unwrap();
        json["added_next_year"] = serde_json::json!({"deep": [1, 2]});
        assert_eq!(serde_json::from_value::<Event>(json).unwrap(), event);
    }

    #[test]
    fn quantities_that_would_not_add_up_are_refused() {
        for event in schema::examples() {
            let json = serde_json::to_value(event).unwrap();
            for field in
                ["octets_uplink", "octets_downlink", "chargeable_units", "charged_units", "charge"]
            {
                if json.get(field).is_some() {
                    let mut json = json.clone();
                    json[field] = serde_json::json!(1_u64 << 62);
                    assert!(serde_json::from_value::<Event>(json).is_err(), "{field}");
                }
            }
        }
    }

    #[test]
    fn each_field_of_each_type_is_needed() {
        for event in schema::examples() {
            let json = serde_json::to_value(event).unwrap();
            for field in json.as_object().unwrap().keys() {
                let mut json = json.clone();
                json.as_object_mut().unwrap().remove(field);
                let read = serde_json::from_value::<Event>(json);
                assert_eq!(read.is_ok(), field == "cause", "{event:?} without {field}");
            }
        }
    }
}
