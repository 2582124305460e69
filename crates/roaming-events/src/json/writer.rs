//! Writes events.

use crate::event::{Body, Event, TapRecord};
use crate::{Money, PlmnId};

/// Appends the wire form of `event` to `out`.
pub fn encode(event: &Event, out: &mut Vec<u8>) {
    let mut json = Writer { out };
    json.key("{\"type\":\"").text(event.body.event_type().as_str());
    json.key("\",\"id\":\"").bytes(&event.id.text());
    json.key("\",\"event_time\":\"").bytes(&event.event_time.text());
    json.key("\",\"emission_time\":\"").bytes(&event.emission_time.text());
    let (imsi, imsi_len) = event.subscriber.imsi.value();
    json.key("\",\"imsi\":\"").digits(imsi, imsi_len);
    json.key("\",\"msisdn\":\"").number(event.subscriber.msisdn.value());
    json.key("\",\"imei\":\"").digits(event.subscriber.imei.value(), 15);
    json.key("\",\"home_plmn\":\"").plmn(event.home_plmn);
    json.key("\",\"visited_plmn\":\"").plmn(event.visited_plmn);
    json.key("\",\"rat\":\"").text(event.rat.as_str());
    json.key("\",\"outcome\":\"").text(event.outcome.as_str());
    if let Some(cause) = event.cause {
        json.key("\",\"cause\":\"").text(cause.as_str());
    }
    json.key("\",\"latency_us\":").number(u64::from(event.latency_us));
    encode_body(&event.body, &mut json);
    json.key("}");
}

fn encode_body(body: &Body, json: &mut Writer<'_>) {
    match *body {
        Body::LocationUpdate { update_type, attempt } => {
            json.key(",\"update_type\":\"").text(update_type.as_str());
            json.key("\",\"attempt\":").number(u64::from(attempt));
        }
        Body::Authentication { vectors } => {
            json.key(",\"vectors\":").number(u64::from(vectors));
        }
        Body::Steering { preferred_plmn, attempt } => {
            json.key(",\"attempt\":").number(u64::from(attempt));
            json.key(",\"preferred_plmn\":\"").plmn(preferred_plmn);
            json.key("\"");
        }
        Body::Handover { source_cell, target_cell } => {
            json.key(",\"source_cell\":").number(u64::from(source_cell));
            json.key(",\"target_cell\":").number(u64::from(target_cell));
        }
        Body::Voice { call_direction, other_party, duration_s } => {
            json.key(",\"call_direction\":\"").text(call_direction.as_str());
            json.key("\",\"other_party\":\"").number(other_party.value());
            json.key("\",\"duration_s\":").number(u64::from(duration_s));
        }
        Body::Sms { call_direction, other_party } => {
            json.key(",\"call_direction\":\"").text(call_direction.as_str());
            json.key("\",\"other_party\":\"").number(other_party.value());
            json.key("\"");
        }
        Body::Data { apn, routing, charging_id, duration_s, octets_uplink, octets_downlink } => {
            json.key(",\"duration_s\":").number(u64::from(duration_s));
            json.key(",\"apn\":\"").text(apn.as_str());
            json.key("\",\"routing\":\"").text(routing.as_str());
            json.key("\",\"charging_id\":").number(u64::from(charging_id));
            json.key(",\"octets_uplink\":").number(octets_uplink);
            json.key(",\"octets_downlink\":").number(octets_downlink);
        }
        Body::Policy { decision, rule } => {
            json.key(",\"decision\":\"").text(decision.as_str());
            json.key("\",\"rule\":\"").text(rule.as_str());
            json.key("\"");
        }
        Body::TapOut(ref record) | Body::TapIn(ref record) => encode_tap(record, json),
        Body::Detach { detach_type } => {
            json.key(",\"detach_type\":\"").text(detach_type.as_str());
            json.key("\"");
        }
    }
}

fn encode_tap(record: &TapRecord, json: &mut Writer<'_>) {
    json.key(",\"usage_id\":\"").bytes(&record.usage_id.text());
    json.key("\",\"sender\":\"").text(record.sender.as_str());
    json.key("\",\"recipient\":\"").text(record.recipient.as_str());
    json.key("\",\"service\":\"").text(record.service.as_str());
    json.key("\",\"chargeable_units\":").number(record.chargeable_units);
    json.key(",\"charged_units\":").number(record.charged_units);
    json.key(",\"charge\":").signed(record.charge.units());
    json.key(",\"tap_decimal_places\":").number(u64::from(record.charge.decimals()));
    json.key(",\"tap_currency\":\"").text(Money::CURRENCY);
    json.key("\"");
}

/// Appends JSON to a buffer. Nothing that it writes needs escaping: names and validated ASCII only.
struct Writer<'a> {
    out: &'a mut Vec<u8>,
}

impl Writer<'_> {
    fn key(&mut self, key: &str) -> &mut Self {
        self.out.extend_from_slice(key.as_bytes());
        self
    }

    fn text(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    fn number(&mut self, value: u64) {
        self.out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
    }

    fn signed(&mut self, value: i64) {
        self.out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
    }

    /// Writes `value` with `len` digits, leading zeros counted.
    fn digits(&mut self, value: u64, len: u8) {
        let mut buffer = itoa::Buffer::new();
        let digits = buffer.format(value).as_bytes();
        for _ in digits.len()..usize::from(len) {
            self.out.push(b'0');
        }
        self.out.extend_from_slice(digits);
    }

    fn plmn(&mut self, plmn: PlmnId) {
        let (prefix, len) = plmn.prefix();
        self.digits(prefix, len);
    }
}
