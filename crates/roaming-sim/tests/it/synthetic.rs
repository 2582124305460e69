//! No identifier of ours can belong to a live network, number or device.

use roaming_events::Body;
use roaming_sim::Profile;
use roaming_sim::profile::BUILTIN;

use crate::{events, simulation};

#[test]
fn all_identifiers_are_from_test_ranges() {
    for (name, _) in BUILTIN {
        let profile = Profile { subscribers: 60, ..Profile::builtin(name).unwrap() };
        for event in events(&simulation(profile, 1)) {
            assert!(event.subscriber.imsi.digits().starts_with("999"));
            assert!(event.subscriber.msisdn.digits().starts_with("999"));
            assert!(event.subscriber.imei.digits().starts_with("00"));
            assert_eq!((event.home_plmn.mcc(), event.visited_plmn.mcc()), (999, 999));
            if let Body::Voice { other_party, .. } | Body::Sms { other_party, .. } = event.body {
                assert!(other_party.digits().starts_with("999"));
            }
        }
    }
}

#[test]
fn subscribers_have_identities_of_their_own() {
    let profile = Profile { subscribers: 3000, ..Profile::builtin("demo").unwrap() };
    let all = events(&simulation(profile, 1));
    let distinct = |key: fn(&roaming_events::Event) -> u64| {
        let mut keys: Vec<u64> = all.iter().map(key).collect();
        keys.sort_unstable();
        keys.dedup();
        keys.len()
    };
    assert_eq!(distinct(|event| event.subscriber.imsi.value().0), 3000);
    assert_eq!(distinct(|event| event.subscriber.msisdn.value()), 3000);
    assert_eq!(distinct(|event| event.subscriber.imei.value()), 3000);
}

#[test]
fn pinned_sims_are_the_first_subscribers() {
    let profile = Profile { subscribers: 60, ..Profile::builtin("demo").unwrap() };
    let sims = profile.test_sims.clone();
    assert!(!sims.is_empty());
    let all = events(&simulation(profile, 1));
    for sim in sims {
        let event = all.iter().find(|event| event.subscriber.imsi == sim.imsi).unwrap();
        assert_eq!(event.subscriber.msisdn, sim.msisdn);
        assert_eq!(event.subscriber.imei, sim.imei);
        assert!(sim.imsi.digits().starts_with(&event.home_plmn.to_string()));
    }
}
