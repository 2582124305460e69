use std::collections::VecDeque;
use std::sync::{Arc, LazyLock};

use proptest::prelude::*;
use roaming_events::{Event, LaneDigest, Record, SimDuration};
use roaming_sim::{Profile, STREAM_VERSION, Simulation, Specification};

use super::*;

static SIMULATION: LazyLock<Arc<Simulation>> = LazyLock::new(|| {
    let mut profile = Profile::builtin("demo").expect("built in");
    profile.subscribers = 12;
    profile.duration = SimDuration::from_secs(6 * 3600);
    let specification = Specification {
        name: "lane-test".to_owned(),
        profile,
        seed: 7,
        lanes: 1,
        events_partitions: 1,
        lanes_partitions: 1,
        stream_version: STREAM_VERSION,
    };
    Arc::new(Simulation::try_new(Arc::new(specification)).expect("a good specification"))
});

fn bounds() -> (SimTime, SimTime) {
    (SIMULATION.specification().start(), SIMULATION.specification().end())
}

fn owner(progress: Option<&Progress>) -> LaneSender {
    LaneSender::resume(Arc::clone(&SIMULATION), LaneId::default(), progress, None)
}

/// The lane's events as the engine gives them without any owner.
fn straight() -> Vec<Event> {
    SIMULATION.lane(LaneId::default()).collect()
}

/// Sends all before `until` and returns the sequences; the end marker's is among them.
fn send_before(lane: &mut LaneSender, until: SimTime) -> Vec<Sequence> {
    let mut payload = Vec::new();
    let mut sent = Vec::new();
    loop {
        match lane.next(until, &mut payload) {
            Step::Event { id, .. } | Step::End { id } => sent.push(id.sequence),
            Step::Forwarding => {}
            Step::Wait | Step::Done => return sent,
        }
    }
}

#[test]
fn an_undisturbed_lane_sends_the_engine_s_bytes_and_its_end() {
    let mut lane = owner(None);
    let (mut payload, mut sent) = (Vec::new(), LaneDigest::default());
    let end = loop {
        match lane.next(SimTime::MAX, &mut payload) {
            Step::Event { id, .. } => sent.add(&id.text(), &payload),
            Step::End { id } => break id,
            Step::Forwarding => {}
            step => panic!("{step:?}"),
        }
    };
    let mut expected = LaneDigest::default();
    for event in straight() {
        expected.add(&event.id.text(), &serde_json::to_vec(&event).expect("JSON"));
    }
    assert_eq!(sent, expected);
    assert_eq!(end.sequence.get(), straight().len() as u64);
    let Ok(Record::End(marker)) = Record::decode(&end.text(), &payload) else { panic!("no end") };
    assert_eq!(marker.emission_time, bounds().1);
    assert_eq!(lane.next(SimTime::MAX, &mut payload), Step::Done);
    assert_eq!(lane.time(), None);
}

#[test]
fn nothing_leaves_before_its_time_and_the_end_marker_not_before_the_end() {
    let (start, end) = bounds();
    let mut lane = owner(None);
    assert_eq!(send_before(&mut lane, start), []);
    let middle = start + SimDuration::from_secs(3 * 3600);
    let early = send_before(&mut lane, middle).len();
    let due = straight().iter().filter(|event| event.emission_time < middle).count();
    assert_eq!(early, due);
    let almost = SimTime::from_unix_ms(end.unix_ms() - 1);
    let rest = send_before(&mut lane, almost).len();
    assert_eq!(early + rest, straight().len());
    assert_eq!(send_before(&mut lane, end).len(), 1);
}

#[test]
fn a_marker_is_true_and_is_not_repeated() {
    let mut lane = owner(None);
    let mut payload = Vec::new();
    let middle = bounds().0 + SimDuration::from_secs(3 * 3600);
    assert_eq!(lane.marker(&mut payload), None, "nothing is known yet");
    send_before(&mut lane, middle);
    let marker = lane.marker(&mut payload).expect("quiet until the middle");
    assert_eq!(marker.emission_time, middle);
    let next = &straight()[marker.next.get() as usize];
    assert!(next.emission_time >= middle);
    let read = Record::decode(&marker.key(), &payload).expect("a record");
    assert_eq!(read, Record::Marker(marker));
    assert_eq!(lane.marker(&mut payload), None, "already said");
    send_before(&mut lane, SimTime::MAX);
    assert_eq!(lane.marker(&mut payload), None, "the end marker says more");
}

#[test]
fn progress_follows_acknowledgements_and_nothing_else() {
    let mut lane = owner(None);
    assert_eq!(lane.progress(), None);
    let sent = send_before(&mut lane, SimTime::MAX);
    assert_eq!(lane.progress(), None, "sent is not acknowledged");
    lane.acknowledged(sent[0]).expect("in order");
    lane.acknowledged(sent[1]).expect("in order");
    let progress = lane.progress().expect("changed");
    assert_eq!((progress.acknowledged.get(), progress.ended), (2, false));
    assert_eq!(progress.emission_time, straight()[1].emission_time);
    assert_eq!(lane.progress(), None, "unchanged");
    for &sequence in &sent[2..] {
        assert!(!lane.position().ended);
        lane.acknowledged(sequence).expect("in order");
    }
    let last = lane.progress().expect("changed");
    assert_eq!((last.acknowledged.get(), last.ended), (straight().len() as u64, true));
    assert!(lane.is_recorded_to_its_end());
}

#[test]
fn an_acknowledgement_out_of_order_is_refused_and_changes_nothing() {
    let mut lane = owner(None);
    assert!(lane.acknowledged(Sequence::ZERO).is_err(), "nothing was sent");
    let sent = send_before(&mut lane, SimTime::MAX);
    let error = lane.acknowledged(sent[1]).expect_err("a gap");
    assert_eq!((error.expected, error.found), (sent[0], sent[1]));
    lane.acknowledged(sent[0]).expect("in order");
    assert!(lane.acknowledged(sent[0]).is_err(), "twice");
    assert_eq!(lane.position().acknowledged.get(), 1);
}

#[test]
fn a_finished_lane_has_nothing_to_say_to_its_next_owner() {
    let mut lane = owner(None);
    for sequence in send_before(&mut lane, SimTime::MAX) {
        lane.acknowledged(sequence).expect("in order");
    }
    let mut next = owner(Some(&lane.position()));
    assert_eq!(next.next(SimTime::MAX, &mut Vec::new()), Step::Done);
    assert_eq!(next.progress(), None);
}

#[test]
fn damaged_progress_beyond_the_lane_s_end_ends_the_lane_where_it_ends() {
    let mut progress = owner(None).position();
    progress.acknowledged = Sequence::try_new(1_000_000).expect("a sequence");
    let mut lane = owner(Some(&progress));
    let sent = send_before(&mut lane, SimTime::MAX);
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].get(), straight().len() as u64);
    lane.acknowledged(sent[0]).expect("the end marker");
    assert_eq!(lane.progress().map(|progress| progress.acknowledged), Some(sent[0]));
}

/// What can happen to a lane between its first event and its last.
#[derive(Clone, Copy, Debug)]
enum Happening {
    /// The owner sends some.
    Send(u8),
    /// The broker appends some of the owner's records and says so.
    Acknowledge(u8),
    /// The broker records progress and says so.
    Record,
    /// The owner dies; what it had sent may still arrive.
    Crash,
    /// Records of dead owners arrive, in their order.
    Late(u8),
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        3 => (1u8..40).prop_map(Happening::Send),
        3 => (1u8..40).prop_map(Happening::Acknowledge),
        2 => Just(Happening::Record),
        1 => Just(Happening::Crash),
        1 => (1u8..40).prop_map(Happening::Late),
    ]
}

/// A lane, its owner, and the log, with everything that is on its way.
struct World {
    owner: LaneSender,
    on_its_way: VecDeque<Sequence>,
    /// What dead owners had on their way, oldest first.
    zombies: VecDeque<Sequence>,
    log: Vec<Sequence>,
    recorded: Option<Progress>,
}

impl World {
    fn new() -> Self {
        Self {
            owner: owner(None),
            on_its_way: VecDeque::new(),
            zombies: VecDeque::new(),
            log: Vec::new(),
            recorded: None,
        }
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Send(count) => {
                let mut payload = Vec::new();
                for _ in 0..count {
                    match self.owner.next(SimTime::MAX, &mut payload) {
                        Step::Event { id, .. } | Step::End { id } => {
                            self.on_its_way.push_back(id.sequence);
                        }
                        Step::Forwarding | Step::Wait | Step::Done => {}
                    }
                }
            }
            Happening::Acknowledge(count) => {
                for _ in 0..count {
                    let Some(sequence) = self.on_its_way.pop_front() else { break };
                    self.log.push(sequence);
                    self.owner.acknowledged(sequence).expect("the broker keeps the order");
                }
            }
            Happening::Record => {
                if let Some(progress) = self.owner.progress() {
                    self.recorded = Some(progress);
                }
            }
            Happening::Crash => {
                self.zombies.append(&mut self.on_its_way);
                self.owner = owner(self.recorded.as_ref());
            }
            Happening::Late(count) => {
                let count = usize::from(count).min(self.zombies.len());
                self.log.extend(self.zombies.drain(..count));
            }
        }
    }

    /// Lets the last owner finish in peace.
    fn finish(&mut self) {
        while !self.owner.position().ended {
            self.happen(Happening::Send(u8::MAX));
            self.happen(Happening::Acknowledge(u8::MAX));
        }
    }
}

proptest! {
    #[test]
    fn whatever_happens_a_sequence_repeats_but_never_jumps(
        happenings in prop::collection::vec(happening(), 0..60)
    ) {
        let mut world = World::new();
        for happening in happenings {
            world.happen(happening);
        }
        world.finish();
        let mut next = 0;
        for sequence in &world.log {
            prop_assert!(sequence.get() <= next, "{sequence} after {next}");
            next = next.max(sequence.get() + 1);
        }
        // The end marker's sequence is the number of events.
        prop_assert_eq!(next, straight().len() as u64 + 1);
    }

    #[test]
    fn an_owner_goes_on_with_the_bytes_of_the_one_before(taken in 0usize..400) {
        let mut first = owner(None);
        for sequence in send_before(&mut first, SimTime::MAX).into_iter().take(taken) {
            first.acknowledged(sequence).expect("in order");
        }
        let mut second = owner(Some(&first.position()));
        let (mut payload, mut resent) = (Vec::new(), 0);
        let expected = straight();
        loop {
            match second.next(SimTime::MAX, &mut payload) {
                Step::Event { id, .. } => {
                    let event = &expected[id.sequence.get() as usize];
                    prop_assert_eq!(&payload, &serde_json::to_vec(event).expect("JSON"));
                    resent += 1;
                }
                Step::Forwarding => {}
                Step::End { .. } | Step::Wait | Step::Done => break,
            }
        }
        prop_assert_eq!(resent, expected.len().saturating_sub(taken));
    }
}

#[test]
fn a_snapshot_shortens_the_way_unless_it_is_ahead() {
    let mut engine = SIMULATION.lane(LaneId::default());
    let sequence = |number: usize| Sequence::try_new(number as u64).expect("a sequence");
    let (at, reached) = (straight().len() / 3, straight().len() / 2);
    engine.forward_to(sequence(at));
    let snapshot = Arc::new(Snapshot::of(&engine).expect("small"));
    let mut progress = owner(None).position();
    for (acknowledged, way) in [(reached, reached - at), (at, 0), (at - 1, at - 1)] {
        progress.acknowledged = sequence(acknowledged);
        let snapshot = Some(Arc::clone(&snapshot));
        let mut lane = LaneSender::resume(
            Arc::clone(&SIMULATION),
            LaneId::default(),
            Some(&progress),
            snapshot,
        );
        assert!(lane.is_behind(), "the engine is to be made");
        assert_eq!(lane.next(SimTime::MAX, &mut Vec::new()), Step::Forwarding);
        assert_eq!(lane.way(), way as u64);
        let sent = send_before(&mut lane, SimTime::MAX);
        let expected: Vec<_> = (acknowledged..=straight().len()).map(sequence).collect();
        assert_eq!(sent, expected);
    }
}
