//! Fraud that a profile asks for happens, and the truth tells where.

use std::collections::{BTreeMap, BTreeSet};

use roaming_events::{Body, LaneId, Outcome, UpdateType};
use roaming_sim::profile::FraudPattern;
use roaming_sim::{Profile, truth};

use crate::{events, simulation, small_demo};

#[test]
fn labels_name_the_events_of_each_pattern() {
    let simulation = simulation(small_demo(1000), 2);
    let labels: BTreeMap<_, _> = LaneId::all(2)
        .flat_map(|lane| truth::lane(&simulation, lane))
        .map(|label| (label.event_id, label))
        .collect();
    let mut registrations: BTreeMap<_, u32> = BTreeMap::new();
    let mut costly = BTreeSet::new();
    for event in events(&simulation) {
        let Some(label) = labels.get(&event.id) else { continue };
        assert_eq!(label.event_time, event.event_time);
        let storm = label.pattern == FraudPattern::RegistrationStorm;
        if let Body::LocationUpdate { update_type: UpdateType::Initial, .. } = event.body
            && storm
            && event.outcome == Outcome::Success
        {
            *registrations.entry(event.subscriber.imsi).or_default() += 1;
        }
        if let Body::Voice { other_party, .. } = event.body
            && !storm
            && other_party.digits().starts_with("999979")
        {
            costly.insert((event.subscriber.imsi, other_party));
        }
    }
    // The storm lasts an hour.
    assert_eq!(registrations.len(), 3);
    assert!(registrations.values().all(|count| *count > 50), "{registrations:?}");
    assert!(costly.len() > 50, "{}", costly.len());
}

#[test]
fn costly_numbers_are_called_by_offenders_alone() {
    let simulation = simulation(small_demo(1000), 1);
    let labels: BTreeSet<_> =
        truth::lane(&simulation, crate::lane(0)).map(|label| label.event_id).collect();
    let costly = |event: &roaming_events::Event| matches!(event.body, Body::Voice { other_party, .. } if other_party.digits().starts_with("999979"));
    assert!(events(&simulation).iter().filter(|e| costly(e)).all(|e| labels.contains(&e.id)));
}

#[test]
fn a_profile_without_fraud_has_no_labels() {
    let simulation = simulation(Profile { fraud: Vec::new(), ..small_demo(200) }, 1);
    assert_eq!(truth::lane(&simulation, crate::lane(0)).next(), None);
}
