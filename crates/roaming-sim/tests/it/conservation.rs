//! What must hold of every stream: states, charges, types.

use std::collections::{BTreeMap, BTreeSet};

use roaming_events::{
    Body, Cause, Event, EventType, LaneId, Outcome, Service, SimTime, TapRecord, UpdateType,
};

use crate::{events, simulation, small_demo};

#[derive(Default)]
struct Records {
    out: Vec<TapRecord>,
    taken_in: Vec<TapRecord>,
}

/// Returns service and units of a usage event that is charged.
fn charged(event: &Event) -> Option<(Service, u64)> {
    use roaming_events::CallDirection::{Originated, Terminated};
    if event.outcome != Outcome::Success {
        return None;
    }
    match event.body {
        Body::Voice { call_direction: Originated, duration_s, .. } => {
            Some((Service::VoiceOriginated, duration_s.into()))
        }
        Body::Voice { call_direction: Terminated, duration_s, .. } => {
            Some((Service::VoiceTerminated, duration_s.into()))
        }
        Body::Sms { call_direction: Originated, .. } => Some((Service::SmsOriginated, 1)),
        Body::Sms { call_direction: Terminated, .. } => Some((Service::SmsTerminated, 1)),
        Body::Data { octets_uplink, octets_downlink, .. } => {
            Some((Service::Data, octets_uplink + octets_downlink))
        }
        _ => None,
    }
}

#[test]
fn every_usage_has_one_record_out_and_one_in_with_the_same_charge() {
    let simulation = simulation(small_demo(1500), 2);
    let mut usages = BTreeMap::new();
    let mut records: BTreeMap<_, Records> = BTreeMap::new();
    for event in LaneId::all(2).flat_map(|lane| simulation.lane(lane)) {
        if let Some(used) = charged(&event) {
            usages.insert(event.id, (used, event));
        }
        match event.body {
            Body::TapOut(record) => {
                assert!(usages.contains_key(&record.usage_id), "a record before its usage");
                records.entry(record.usage_id).or_default().out.push(record);
            }
            Body::TapIn(record) => {
                let known = records.get_mut(&record.usage_id).expect("out comes before in");
                known.taken_in.push(record);
            }
            _ => {}
        }
    }
    assert!(usages.len() > 10_000);
    assert_eq!(usages.keys().collect::<Vec<_>>(), records.keys().collect::<Vec<_>>());
    for (id, ((service, units), event)) in usages {
        let Records { out, taken_in } = &records[&id];
        assert_eq!((out.len(), taken_in.len()), (1, 1), "{event:?}");
        assert_eq!(out, taken_in);
        assert_eq!((out[0].service, out[0].chargeable_units), (service, units), "{event:?}");
        assert!(out[0].charged_units >= units && out[0].charge.units() >= 0);
    }
}

#[test]
fn a_subscriber_acts_only_while_attached_and_authenticates_before_it_registers() {
    let simulation = simulation(small_demo(1500), 2);
    let mut attached: BTreeMap<_, SimTime> = BTreeMap::new();
    let mut authenticated = BTreeSet::new();
    let mut acted = 0;
    for event in LaneId::all(2).flat_map(|lane| simulation.lane(lane)) {
        let who = event.subscriber.imsi;
        match event.body {
            Body::Authentication { .. } if event.outcome == Outcome::Success => {
                authenticated.insert(who);
            }
            Body::LocationUpdate { update_type: UpdateType::Initial, .. } => {
                assert!(authenticated.remove(&who), "{event:?}");
                if event.outcome == Outcome::Success {
                    attached.insert(who, event.event_time);
                }
            }
            Body::LocationUpdate { .. } => {
                assert!(authenticated.remove(&who), "{event:?}");
                assert!(attached.contains_key(&who), "{event:?}");
            }
            Body::Detach { .. } => {
                assert!(attached.remove(&who).is_some(), "{event:?}");
            }
            Body::Voice { duration_s, .. } | Body::Data { duration_s, .. } => {
                let since = attached[&who];
                let lasted = event.event_time.since(since).secs();
                assert!(u64::from(duration_s) <= lasted.max(1), "{event:?} since {since}");
                acted += 1;
            }
            Body::Sms { .. } | Body::Policy { .. } | Body::Handover { .. } => {
                assert!(attached.contains_key(&who), "{event:?}");
                acted += 1;
            }
            Body::Steering { .. } => assert!(!attached.contains_key(&who), "{event:?}"),
            _ => {}
        }
    }
    assert!(acted > 10_000);
}

#[test]
fn steering_refuses_up_to_four_times_and_then_lets_through() {
    let simulation = simulation(small_demo(2500), 1);
    let mut refusals: BTreeMap<_, u8> = BTreeMap::new();
    let (mut elsewhere, mut here) = (0, 0);
    let mut refused_by = BTreeMap::new();
    for event in events(&simulation) {
        let who = event.subscriber.imsi;
        match event.body {
            Body::Steering { attempt, preferred_plmn } => {
                let count = refusals.entry(who).or_default();
                *count += 1;
                assert_eq!(attempt, *count);
                assert!(attempt <= 4 && preferred_plmn != event.visited_plmn);
                refused_by.insert(who, (event.visited_plmn, preferred_plmn));
            }
            Body::LocationUpdate { update_type: UpdateType::Initial, .. }
                if event.outcome == Outcome::Success =>
            {
                if let Some(count) = refusals.remove(&who) {
                    assert_eq!(count, 4, "{event:?}");
                    let (refusing, preferred) = refused_by[&who];
                    match event.visited_plmn {
                        plmn if plmn == preferred => elsewhere += 1,
                        plmn => {
                            assert_eq!(plmn, refusing);
                            here += 1;
                        }
                    }
                }
            }
            _ => {}
        }
    }
    assert!(elsewhere > here && here > 5, "{elsewhere} {here}");
}

#[test]
fn demo_has_every_type_outcome_and_cause() {
    let simulation = simulation(small_demo(4000), 1);
    let mut types = BTreeSet::new();
    let mut outcomes = BTreeSet::new();
    let mut causes = BTreeSet::new();
    for event in events(&simulation) {
        types.insert(event.body.event_type());
        outcomes.insert(event.outcome);
        causes.extend(event.cause);
        assert_eq!(event.cause.is_none(), event.outcome == Outcome::Success, "{event:?}");
    }
    assert_eq!(types.into_iter().collect::<Vec<_>>(), EventType::ALL);
    assert_eq!(outcomes.into_iter().collect::<Vec<_>>(), Outcome::ALL);
    assert_eq!(causes.into_iter().collect::<Vec<_>>(), Cause::ALL);
}

#[test]
fn demo_is_a_bit_more_than_a_million_events() {
    let simulation = simulation(crate::small_demo(19_000), 64);
    let profile = &simulation.specification().profile;
    assert_eq!(*profile, roaming_sim::Profile::builtin("demo").unwrap());
    let count: u64 = LaneId::all(64).map(|lane| simulation.lane(lane).count() as u64).sum();
    assert!((1_050_000..1_200_000).contains(&count), "{count}");
}
