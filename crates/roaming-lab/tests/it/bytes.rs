use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;

use roaming_events::{LaneId, LaneTally, json};
use roaming_service::topics::PARTITIONS;
use roaming_sim::Simulation;

use crate::setup::{DEADLINE, config, small_demo, start};

/// Where one bit of a payload is flipped: in a lane, its event of this number.
type Damage = Option<(LaneId, u64)>;

#[tokio::test(flavor = "multi_thread")]
async fn the_bytes_on_the_topic_are_those_of_any_order_and_number_of_threads() {
    let dir = tempfile::tempdir().expect("a folder");
    let scenario = small_demo(dir.path());
    let mut lab = start(config(dir.path())).await.expect("started");
    let report = tokio::time::timeout(DEADLINE, lab.run(&scenario))
        .await
        .expect("a run ends within the deadline")
        .expect("a run that nothing disturbs");
    lab.stop().await.expect("a clean end");
    // The consumer makes these from the keys and payloads that it reads.
    let found: BTreeMap<LaneId, LaneTally> = report
        .verification
        .balance
        .lanes()
        .iter()
        .filter_map(|line| Some((line.lane, line.found.as_ref()?.tally)))
        .collect();
    assert_eq!(found.len(), 64);

    let specification = scenario.specification(PARTITIONS, PARTITIONS).expect("a good profile");
    let simulation = Simulation::try_new(Arc::new(specification)).expect("this engine's stream");
    let simulation = Arc::new(simulation);
    for threads in [1, 2, 7] {
        assert_eq!(generated(&simulation, threads, None), found, "{threads} threads");
    }
    let lane = LaneId::try_new(17).expect("below 64");
    let damaged = generated(&simulation, 2, Some((lane, 100)));
    let differing: Vec<LaneId> = found
        .iter()
        .filter(|(lane, tally)| damaged[lane] != **tally)
        .map(|(lane, _)| *lane)
        .collect();
    assert_eq!(differing, [lane], "one changed octet is seen, in its lane");
}

/// Generates every lane on so many threads, in an order that depends on their number.
fn generated(
    simulation: &Arc<Simulation>,
    threads: usize,
    damage: Damage,
) -> BTreeMap<LaneId, LaneTally> {
    let mut lanes: Vec<LaneId> = LaneId::all(64).collect();
    lanes.rotate_left(threads * 5);
    lanes.reverse();
    thread::scope(|scope| {
        let lanes = &lanes;
        let workers: Vec<_> = (0..threads)
            .map(|worker| {
                scope.spawn(move || {
                    let mine = lanes.iter().skip(worker).step_by(threads);
                    mine.map(|lane| (*lane, tally(simulation, *lane, damage))).collect::<Vec<_>>()
                })
            })
            .collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("no panic")).collect()
    })
}

fn tally(simulation: &Arc<Simulation>, lane: LaneId, damage: Damage) -> LaneTally {
    let mut tally = LaneTally::default();
    let mut payload = Vec::new();
    for event in simulation.lane(lane) {
        payload.clear();
        json::encode(&event, &mut payload);
        if damage == Some((lane, event.id.sequence.get())) {
            payload[42] ^= 1;
        }
        tally.add(&event.id.text(), &payload);
    }
    tally
}
