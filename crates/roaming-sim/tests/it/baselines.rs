//! The profiles stay within the published baselines of latency and loss.

use roaming_events::{Body, EventType, LaneId, Outcome, SimDuration, UpdateType};
use roaming_sim::Profile;

use crate::simulation;

/// The time after which a request without an answer is sent again: a latency above it tells a loss.
const ANSWER_TIMER_US: u32 = 1_000_000;

#[track_caller]
fn check(name: &str, latency_ms: (u32, u32), loss_ppm: (u64, u64)) {
    let profile = Profile {
        subscribers: 4000,
        duration: SimDuration::from_secs(8 * 3600),
        ..Profile::builtin(name).unwrap()
    };
    let simulation = simulation(profile, 1);
    let mut attaches = Vec::new();
    let (mut exchanges, mut lost) = (0_u64, 0_u64);
    for event in LaneId::all(1).flat_map(|lane| simulation.lane(lane)) {
        if let Body::LocationUpdate { update_type: UpdateType::Initial, .. } = event.body
            && event.outcome == Outcome::Success
        {
            attaches.push(event.latency_us);
        }
        if matches!(event.body.event_type(), EventType::Authentication | EventType::LocationUpdate)
        {
            exchanges += 1;
            lost += u64::from(event.latency_us >= ANSWER_TIMER_US);
        }
    }
    attaches.sort_unstable();
    assert!(attaches.len() > 2000);
    let at = |percent: usize| attaches[attaches.len() * percent / 100];
    let (low, high) = (latency_ms.0 * 1000, latency_ms.1 * 1000);
    assert!(at(5) >= low && at(95) <= high, "{name}: {} to {} us", at(5), at(95));
    // Not only inside: they use the range.
    assert!(at(95) - at(5) > (high - low) / 4, "{name}: {} to {} us", at(5), at(95));
    let ppm = lost * 1_000_000 / exchanges;
    assert!((loss_ppm.0..=loss_ppm.1).contains(&ppm), "{name}: {ppm} ppm");
}

#[test]
fn urban_is_within_its_baseline() {
    check("urban", (40, 120), (1_000, 5_000));
}

#[test]
fn rural_is_within_its_baseline() {
    check("rural", (80, 200), (5_000, 15_000));
}

#[test]
fn cross_border_is_within_its_baseline() {
    check("cross_border", (120, 280), (10_000, 30_000));
}

#[test]
fn an_outage_is_seen_in_its_network_and_time_only() {
    let profile = crate::small_demo(6000);
    let condition = profile.conditions[0];
    let plmn = profile.visited_networks[usize::from(condition.network)].plmn;
    let from = profile.start + condition.from;
    let simulation = simulation(profile, 1);
    let (mut inside, mut outside) = ((0_u32, 0_u32), (0_u32, 0_u32));
    for event in crate::events(&simulation) {
        if event.body.event_type() != EventType::Authentication {
            continue;
        }
        let within = event.event_time >= from && event.event_time < from + condition.lasts;
        let count = if within && event.visited_plmn == plmn { &mut inside } else { &mut outside };
        count.0 += 1;
        count.1 += u32::from(event.outcome == Outcome::Failed);
    }
    // Four messages in a row are lost: 0.7^4 = 24 %.
    assert!(inside.1 * 100 > inside.0 * 15, "{inside:?}");
    assert!(outside.1 * 1000 < outside.0, "{outside:?}");
}
