//! Reads events in the very form in which they are written.

use std::str::FromStr;

use super::UNITS_MAX;
use crate::event::{Body, Event, EventType, Subscriber, TapRecord};
use crate::{EventId, Money};

/// Reads an event whose fields stand as [`encode`](super::encode) writes them, without spaces and with
/// nothing escaped; `None` for everything else, which may be an event all the same. `key` is the text of an
/// id that need not be read again, with that id.
pub(super) fn read(payload: &[u8], key: Option<(&[u8], EventId)>) -> Option<Event> {
    let mut json = Reader { rest: std::str::from_utf8(payload).ok()? };
    let event_type = json.text("{\"type\":\"")?;
    json.skip("\",\"id\":\"")?;
    let text = json.take(|octet| octet != b'"')?;
    let event = Event {
        id: match key {
            Some((key, id)) if text.as_bytes() == key => id,
            _ => text.parse().ok()?,
        },
        event_time: json.text("\",\"event_time\":\"")?,
        emission_time: json.text("\",\"emission_time\":\"")?,
        subscriber: Subscriber {
            imsi: json.text("\",\"imsi\":\"")?,
            msisdn: json.text("\",\"msisdn\":\"")?,
            imei: json.text("\",\"imei\":\"")?,
        },
        home_plmn: json.text("\",\"home_plmn\":\"")?,
        visited_plmn: json.text("\",\"visited_plmn\":\"")?,
        rat: json.text("\",\"rat\":\"")?,
        outcome: json.text("\",\"outcome\":\"")?,
        cause: if json.is_next("\",\"cause\":\"") {
            Some(json.text("\",\"cause\":\"")?)
        } else {
            None
        },
        latency_us: json.number("\",\"latency_us\":")?,
        body: json.body(event_type)?,
    };
    (json.rest == "}").then_some(event)
}

/// Takes one field after the other. Each is given with all that stands before its value, from the end of
/// the value before it.
struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn is_next(&self, expected: &str) -> bool {
        self.rest.starts_with(expected)
    }

    fn skip(&mut self, expected: &str) -> Option<()> {
        self.rest = self.rest.strip_prefix(expected)?;
        Some(())
    }

    /// Takes the octets before the first that is not of a value.
    fn take(&mut self, is_value: impl Fn(u8) -> bool) -> Option<&'a str> {
        let len = self.rest.bytes().position(|octet| !is_value(octet))?;
        let (value, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(value)
    }

    /// Takes a text. Its type knows no quotation marks, backslashes and control characters, and so
    /// refuses a text that would need escapes.
    fn text<T: FromStr>(&mut self, lead: &str) -> Option<T> {
        self.skip(lead)?;
        self.take(|octet| octet != b'"')?.parse().ok()
    }

    /// Takes a text and its closing quotation mark.
    fn last_text<T: FromStr>(&mut self, lead: &str) -> Option<T> {
        let text = self.text(lead)?;
        self.skip("\"")?;
        Some(text)
    }

    /// Takes a number without superfluous zeros, which JSON does not know.
    fn number<T: FromStr>(&mut self, lead: &str) -> Option<T> {
        self.skip(lead)?;
        let digits = self.take(|octet| octet.is_ascii_digit() || octet == b'-')?;
        let is_plain = !digits.trim_start_matches('-').starts_with('0') || digits == "0";
        digits.parse().ok().filter(|_| is_plain)
    }

    /// Takes a quantity that is within [`UNITS_MAX`].
    fn quantity(&mut self, lead: &str) -> Option<u64> {
        self.number(lead).filter(|quantity| *quantity <= UNITS_MAX)
    }

    fn body(&mut self, event_type: EventType) -> Option<Body> {
        Some(match event_type {
            EventType::LocationUpdate => Body::LocationUpdate {
                update_type: self.text(",\"update_type\":\"")?,
                attempt: self.number("\",\"attempt\":")?,
            },
            EventType::Authentication => {
                Body::Authentication { vectors: self.number(",\"vectors\":")? }
            }
            EventType::Steering => Body::Steering {
                attempt: self.number(",\"attempt\":")?,
                preferred_plmn: self.last_text(",\"preferred_plmn\":\"")?,
            },
            EventType::Handover => Body::Handover {
                source_cell: self.number(",\"source_cell\":")?,
                target_cell: self.number(",\"target_cell\":")?,
            },
            EventType::Voice => Body::Voice {
                call_direction: self.text(",\"call_direction\":\"")?,
                other_party: self.text("\",\"other_party\":\"")?,
                duration_s: self.number("\",\"duration_s\":")?,
            },
            EventType::Sms => Body::Sms {
                call_direction: self.text(",\"call_direction\":\"")?,
                other_party: self.last_text("\",\"other_party\":\"")?,
            },
            EventType::Data => Body::Data {
                duration_s: self.number(",\"duration_s\":")?,
                apn: self.text(",\"apn\":\"")?,
                routing: self.text("\",\"routing\":\"")?,
                charging_id: self.number("\",\"charging_id\":")?,
                octets_uplink: self.quantity(",\"octets_uplink\":")?,
                octets_downlink: self.quantity(",\"octets_downlink\":")?,
            },
            EventType::Policy => Body::Policy {
                decision: self.text(",\"decision\":\"")?,
                rule: self.last_text("\",\"rule\":\"")?,
            },
            EventType::TapOut => Body::TapOut(self.tap_record()?),
            EventType::TapIn => Body::TapIn(self.tap_record()?),
            EventType::Detach => {
                Body::Detach { detach_type: self.last_text(",\"detach_type\":\"")? }
            }
        })
    }

    fn tap_record(&mut self) -> Option<TapRecord> {
        let usage_id = self.text(",\"usage_id\":\"")?;
        let sender = self.text("\",\"sender\":\"")?;
        let recipient = self.text("\",\"recipient\":\"")?;
        let service = self.text("\",\"service\":\"")?;
        let chargeable_units = self.quantity("\",\"chargeable_units\":")?;
        let charged_units = self.quantity(",\"charged_units\":")?;
        let units = self.number(",\"charge\":")?;
        let decimals = self.number(",\"tap_decimal_places\":")?;
        self.skip(",\"tap_currency\":\"")?;
        self.skip(Money::CURRENCY)?;
        self.skip("\"")?;
        let charge = Money::try_new(units, decimals).ok()?;
        (charge.millionths().unsigned_abs() <= UNITS_MAX).then_some(TapRecord {
            usage_id,
            sender,
            recipient,
            service,
            chargeable_units,
            charged_units,
            charge,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::encode;
    use crate::schema;

    fn encoded(event: &Event) -> Vec<u8> {
        let mut payload = Vec::new();
        encode(event, &mut payload);
        payload
    }

    #[test]
    fn what_is_written_is_read_without_the_library() {
        for event in schema::examples() {
            assert_eq!(read(&encoded(&event), None), Some(event));
        }
    }

    #[test]
    fn another_form_of_an_event_is_left_to_the_library() {
        let event = schema::examples()[0];
        let text = String::from_utf8(encoded(&event)).unwrap();
        let reversed = serde_json::to_string(&serde_json::to_value(event).unwrap()).unwrap();
        for other in [
            text.replacen(':', ": ", 1),
            text.replacen("\"msisdn\":\"9", "\"msisdn\":\"\\u0039", 1),
            format!("{},\"added_next_year\":1}}", text.trim_end_matches('}')),
            reversed,
        ] {
            assert_ne!(other, text);
            assert_eq!(read(other.as_bytes(), None), None, "{other}");
            assert_eq!(crate::json::decode(other.as_bytes()).unwrap(), event, "{other}");
        }
    }

    #[test]
    fn quantities_that_would_not_add_up_are_refused() {
        let mut fields = 0;
        for event in schema::examples() {
            let text = String::from_utf8(encoded(&event)).unwrap();
            for field in ["octets_uplink", "octets_downlink", "chargeable_units", "charged_units"] {
                if let Some((before, after)) = text.split_once(&format!("\"{field}\":")) {
                    let after = after.trim_start_matches(|digit: char| digit.is_ascii_digit());
                    let huge = format!("{before}\"{field}\":{}{after}", UNITS_MAX + 1);
                    assert_eq!(read(huge.as_bytes(), None), None, "{huge}");
                    let most = format!("{before}\"{field}\":{UNITS_MAX}{after}");
                    assert_eq!(
                        read(most.as_bytes(), None),
                        serde_json::from_str(&most).ok(),
                        "{most}"
                    );
                    fields += 1;
                }
            }
        }
        assert_eq!(fields, 6);
    }

    /// Nothing is read that the library refuses or reads otherwise.
    #[test]
    fn damage_is_judged_as_the_library_judges_it() {
        let mut read_all_the_same = 0;
        for payload in schema::examples().iter().map(encoded) {
            for (at, cut) in (0..payload.len()).flat_map(|at| [0, 1, 2].map(|cut| (at, cut))) {
                for put in ["", "0", "9", "-", "+", ".", "e", "A", "\"", "\\", " ", "}", "\u{e9}"] {
                    let mut damaged = payload.clone();
                    damaged.splice(at..(at + cut).min(payload.len()), put.bytes());
                    if let Some(event) = read(&damaged, None) {
                        let text = String::from_utf8_lossy(&damaged);
                        assert_eq!(serde_json::from_slice(&damaged).ok(), Some(event), "{text}");
                        read_all_the_same += 1;
                    }
                }
            }
        }
        assert!(read_all_the_same > 1000, "{read_all_the_same}");
    }
}
