//! A draw in one place changes nothing elsewhere.

use roaming_events::{Body, Event, Outcome, SimDuration};
use roaming_sim::Profile;

use crate::{events, short_demo, simulation};

/// Compares two runs event by event after `blind` has hidden what may differ, and counts what did.
#[track_caller]
fn differ_only_by(changed: Profile, blind: impl Fn(&mut Event)) {
    let hide_run = |mut event: Event| {
        event.id.run = roaming_events::RunId::from_hash(0);
        if let Body::TapOut(record) | Body::TapIn(record) = &mut event.body {
            record.usage_id.run = event.id.run;
        }
        event
    };
    let before: Vec<Event> = events(&simulation(base(), 3)).into_iter().map(hide_run).collect();
    let after: Vec<Event> = events(&simulation(changed, 3)).into_iter().map(hide_run).collect();
    assert_eq!(before.len(), after.len());
    assert_ne!(before, after, "the change must change something");
    for (mut before, mut after) in before.into_iter().zip(after) {
        blind(&mut before);
        blind(&mut after);
        assert_eq!(before, after);
    }
}

/// A profile without a spend cap or a fair use volume within reach: these couple usage by intent.
fn base() -> Profile {
    let mut profile = short_demo(300, 6);
    profile.policy.fair_use = u64::MAX;
    profile.policy.spend_cap_millionths = u64::MAX;
    profile
}

#[test]
fn routing_of_sessions_is_decided_apart() {
    let mut changed = base();
    changed.traffic.local_breakout_ppm = 500_000;
    differ_only_by(changed, |event| {
        if let Body::Data { routing, .. } = &mut event.body {
            *routing = roaming_events::Routing::HomeRouted;
        }
    });
}

#[test]
fn duration_of_calls_is_decided_apart() {
    let mut changed = base();
    changed.traffic.call_mean = SimDuration::from_secs(300);
    differ_only_by(changed, |event| match &mut event.body {
        Body::Voice { duration_s, .. } => *duration_s = 0,
        Body::TapOut(record) | Body::TapIn(record) => {
            record.chargeable_units = 0;
            record.charged_units = 0;
            record.charge = roaming_events::Money::try_new(0, 0).unwrap();
        }
        _ => {}
    });
}

#[test]
fn failures_of_sessions_do_not_move_other_activities() {
    let mut changed = base();
    changed.traffic.failure_ppm = 300_000;
    let times = |profile| {
        let mut times: Vec<_> = events(&simulation(profile, 3))
            .into_iter()
            .filter(|event| !matches!(event.body, Body::TapOut(_) | Body::TapIn(_)))
            .map(|event| (event.emission_time, event.subscriber.imsi, event.body.event_type()))
            .collect();
        times.sort_unstable();
        times
    };
    assert_eq!(times(base()), times(changed.clone()));
    let failed = |profile| {
        let all = events(&simulation(profile, 3));
        all.iter().filter(|event| event.outcome == Outcome::Rejected).count()
    };
    assert!(failed(changed) > failed(base()) + 100);
}

#[test]
fn a_subscriber_more_leaves_the_others_as_they_are() {
    let one_lane = |subscribers| {
        let profile = Profile { fraud: Vec::new(), ..short_demo(subscribers, 4) };
        let mut all: Vec<_> = events(&simulation(profile, 1))
            .into_iter()
            .filter(|event| !matches!(event.body, Body::TapOut(_) | Body::TapIn(_)))
            .map(|event| {
                (
                    event.subscriber.imsi,
                    event.emission_time,
                    event.latency_us,
                    event.body.event_type(),
                )
            })
            .collect();
        all.sort_unstable();
        all
    };
    let (fewer, more) = (one_lane(60), one_lane(61));
    let added = more.len() - fewer.len();
    assert!(added > 0);
    let kept: Vec<_> =
        more.iter().filter(|event| fewer.binary_search(event).is_ok()).copied().collect();
    assert_eq!(kept, fewer);
}
