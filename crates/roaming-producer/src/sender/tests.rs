use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};

use prometheus::Registry;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use roaming_events::SimDuration;
use roaming_service::topics;
use roaming_sim::control::Speed;
use roaming_sim::{Profile, STREAM_VERSION, Specification};

use super::*;
use crate::assignment::Assignment;
use crate::client::{Client, Delivery, Outgoing, Tag, Undelivered};

const TICK: Duration = Duration::from_millis(2);
const LANES: u16 = 4;

/// A broker in memory, on a clock of its own.
#[derive(Clone)]
struct Broker(Rc<RefCell<BrokerState>>);

struct BrokerState {
    now: Instant,
    /// How long it takes to acknowledge a record.
    latency: Duration,
    /// Where it acknowledges nothing.
    silent: BTreeSet<(&'static str, u16)>,
    /// Whether it refuses the next record.
    refuses: bool,
    clients: usize,
    sent: Vec<Sent>,
    /// What stands on `roaming.lanes`, by partition and key.
    lanes: BTreeMap<(u16, Vec<u8>), Vec<u8>>,
}

#[derive(Clone, Copy)]
struct Sent {
    at: Instant,
    topic: &'static str,
    tag: Tag,
}

struct BrokerClient {
    broker: Broker,
    on_their_way: VecDeque<OnItsWay>,
}

struct OnItsWay {
    sent: Sent,
    delivery: Delivery,
    /// Key and value, of a record of `roaming.lanes`.
    lanes: Option<(Vec<u8>, Option<Vec<u8>>)>,
}

impl Connect for Broker {
    type Client = BrokerClient;

    fn connect(&mut self) -> Result<BrokerClient, ClientError> {
        self.0.borrow_mut().clients += 1;
        Ok(BrokerClient { broker: self.clone(), on_their_way: VecDeque::new() })
    }
}

impl Client for BrokerClient {
    fn send(&mut self, record: &Outgoing<'_>) -> Result<(), Undelivered> {
        let mut broker = self.broker.0.borrow_mut();
        if std::mem::take(&mut broker.refuses) {
            let source = KafkaError::MessageProduction(RDKafkaErrorCode::InvalidRecord);
            return Err(Undelivered { reason: None, source });
        }
        let &Outgoing { topic, partition, tag, .. } = record;
        let sent = Sent { at: broker.now, topic, tag };
        let delivery =
            Delivery { tag, partition, offset: broker.sent.len() as u64, bytes: record.bytes() };
        let lanes = (topic == topics::LANES)
            .then(|| (record.key.to_vec(), record.payload.map(<[u8]>::to_vec)));
        broker.sent.push(sent);
        self.on_their_way.push_back(OnItsWay { sent, delivery, lanes });
        Ok(())
    }

    fn poll(&mut self, deliveries: &mut Vec<Delivery>) -> Result<(), Undelivered> {
        let BrokerState { now, latency, silent, lanes, .. } = &mut *self.broker.0.borrow_mut();
        self.on_their_way.retain_mut(|record| {
            let is_acknowledged = *now >= record.sent.at + *latency
                && !silent.contains(&(record.sent.topic, record.delivery.partition));
            if is_acknowledged {
                deliveries.push(record.delivery);
                if let Some((key, value)) = record.lanes.take() {
                    let key = (record.delivery.partition, key);
                    match value {
                        Some(value) => lanes.insert(key, value),
                        None => lanes.remove(&key),
                    };
                }
            }
            !is_acknowledged
        });
        Ok(())
    }
}

/// A sender with its broker and their clock. Its run has four lanes, those with odd numbers in partition 1
/// of `roaming.lanes` and the others in partition 0, and each in a partition of `roaming.events`.
struct World {
    broker: Broker,
    sender: Sender<Broker>,
    now: Moment,
}

impl World {
    fn new() -> Self {
        Self::of_run(4000, None, [Recorded::default(), Recorded::default()])
    }

    /// Makes a sender of a run of so many subscribers, which finds what is recorded in the two partitions.
    fn of_run(subscribers: u32, snapshot_way_max: Option<u64>, recorded: [Recorded; 2]) -> Self {
        let now = Moment::now();
        let broker = Broker(Rc::new(RefCell::new(BrokerState {
            now: now.instant,
            latency: Duration::from_millis(20),
            silent: BTreeSet::new(),
            refuses: false,
            clients: 0,
            sent: Vec::new(),
            lanes: BTreeMap::new(),
        })));
        let metrics = ProducerMetrics::register(&Registry::new()).expect("metrics");
        let parts = SenderParts {
            kafka: broker.clone(),
            unread_bytes_max: u64::MAX,
            committed: Committed::default(),
            observer: Observer::new(&metrics),
            metrics,
            partitions: TopicPartitions { events: LANES, lanes: 2 },
            health: Health::default(),
            snapshot_way_max,
            gate: None,
        };
        let sender = Sender::try_new(parts, now).expect("a sender");
        let mut world = Self { broker, sender, now };
        for (partition, recorded) in (0..).zip(recorded) {
            world.sender.obey(Command::Owned { partition, recorded }, now);
        }
        let record = Some(Box::new(record(subscribers, now.unix_ms)));
        world.sender.obey(Command::Control { name: "run".to_owned(), record }, now);
        world
    }

    fn step(&mut self) {
        self.now.instant += TICK;
        self.now.unix_ms += TICK.as_millis() as u64;
        self.broker.0.borrow_mut().now = self.now.instant;
        self.sender.step(self.now).expect("the broker opens all clients");
    }

    fn step_for(&mut self, time: Duration) {
        let end = self.now.instant + time;
        while self.now.instant < end {
            self.step();
        }
    }

    fn revoke(&mut self, partition: u16) -> Receiver<()> {
        let (done, rest) = sync_channel(1);
        let partitions = BTreeSet::from([partition]);
        self.sender.obey(Command::Revoked { partitions, done }, self.now);
        rest
    }

    fn silence(&self, topic: &'static str, partition: u16) {
        self.broker.0.borrow_mut().silent.insert((topic, partition));
    }

    fn slots_in(&self, partition: u16) -> BTreeSet<Slot> {
        self.sender.fleet.slots_in(&BTreeSet::from([partition]))
    }

    /// Returns when events, or end markers, of these lanes were sent.
    fn sent_by(&self, slots: &BTreeSet<Slot>) -> Vec<Instant> {
        let broker = self.broker.0.borrow();
        let of_slots = broker.sent.iter().filter(|sent| match sent.tag {
            Tag::Numbered(slot, _) => slots.contains(&slot),
            _ => false,
        });
        of_slots.map(|sent| sent.at).collect()
    }

    /// Returns the longest time since `begin` in which none of these lanes sent an event.
    fn longest_silence(&self, slots: &BTreeSet<Slot>, begin: Instant) -> Duration {
        let mut times = self.sent_by(slots);
        times.retain(|&at| at >= begin);
        times.insert(0, begin);
        times.push(self.now.instant);
        times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
    }

    /// Returns how many events the progress on `roaming.lanes` stands for, of the lanes in partition 1.
    fn recorded_of_odd_lanes(&self) -> u64 {
        let odd = self.recorded(1).progress;
        odd.values().map(|progress| progress.acknowledged.get()).sum()
    }

    /// Returns what the next owner of a partition of `roaming.lanes` finds.
    fn recorded(&self, partition: u16) -> Recorded {
        let mut assignment = Assignment::default();
        assignment.assigned(&BTreeSet::from([partition]));
        for ((_, key), value) in
            self.broker.0.borrow().lanes.iter().filter(|((place, _), _)| *place == partition)
        {
            assignment.read(partition, key, Some(value)).expect("a record of roaming.lanes");
        }
        assignment.read_to_end(partition).expect("it was being read")
    }

    fn sent(&self) -> usize {
        self.broker.0.borrow().sent.len()
    }

    fn clients(&self) -> usize {
        self.broker.0.borrow().clients
    }
}

/// Returns the record of a run whose lanes have something to send in most ticks.
fn record(subscribers: u32, wall_unix_ms: u64) -> ControlRecord {
    let mut profile = Profile::builtin("demo").expect("built in");
    profile.subscribers = subscribers;
    profile.duration = SimDuration::from_secs(24 * 3600);
    let specification = Specification {
        name: "run".to_owned(),
        profile,
        seed: 1,
        lanes: LANES,
        events_partitions: LANES,
        lanes_partitions: 2,
        stream_version: STREAM_VERSION,
    };
    ControlRecord::start(Arc::new(specification), Speed::Factor(1000.0), wall_unix_ms)
}

#[test]
fn lanes_that_stay_go_on_while_others_come_to_rest() {
    let mut world = World::new();
    world.broker.0.borrow_mut().latency = Duration::from_millis(300);
    world.step_for(Duration::from_secs(2));
    let (staying, leaving) = (world.slots_in(0), world.slots_in(1));
    let (before, begin) = (world.sent_by(&leaving).len(), world.now.instant);
    assert!(before > 0);

    let rest = world.revoke(1);
    while world.sender.is_handing_over() {
        assert_eq!(rest.try_recv(), Err(TryRecvError::Empty));
        world.step();
    }
    assert_eq!(rest.try_recv(), Ok(()));
    let took = world.now.instant - begin;
    assert!(took > Duration::from_millis(500), "events and their progress: {took:?}");
    let silence = world.longest_silence(&staying, begin);
    assert!(silence < took / 4, "{silence:?} of {took:?}");
    assert_eq!(world.sent_by(&leaving).len(), before);
    assert_eq!(world.clients(), 1);
    assert_eq!(world.recorded_of_odd_lanes(), before as u64, "the next owner repeats nothing");
}

#[test]
fn progress_of_lanes_that_stay_delays_no_hand_over() {
    let mut world = World::new();
    world.silence(topics::LANES, 0);
    world.step_for(Duration::from_secs(2));
    let rest = world.revoke(1);
    world.step_for(Duration::from_millis(100));
    assert_eq!((rest.try_recv(), world.clients()), (Ok(()), 1));
}

#[test]
fn a_hand_over_that_takes_too_long_ends_with_its_client() {
    let mut world = World::new();
    world.step_for(Duration::from_secs(2));
    let (staying, leaving) = (world.slots_in(0), world.slots_in(1));
    world.silence(topics::EVENTS, 1);
    world.step_for(Duration::from_millis(100));
    let (rest, begin) = (world.revoke(1), world.now.instant);
    world.step_for(DRAIN_TIMEOUT.saturating_sub(TICK));
    let silence = world.longest_silence(&staying, begin);
    assert!(silence < Duration::from_millis(500), "windows open without them: {silence:?}");
    assert_eq!((rest.try_recv(), world.clients()), (Err(TryRecvError::Empty), 1));
    let (gone, stayed) = (world.sent_by(&leaving).len(), world.sent_by(&staying).len());
    world.step();
    assert_eq!((rest.try_recv(), world.clients()), (Ok(()), 2));
    world.step_for(Duration::from_secs(1));
    assert_eq!(world.sent_by(&leaving).len(), gone);
    assert!(world.sent_by(&staying).len() > stayed, "lanes that stay resume");
    assert_eq!(world.clients(), 2);
}

#[test]
fn nothing_is_sent_for_a_while_after_a_client_was_given_up() {
    let mut world = World::new();
    world.step_for(Duration::from_secs(2));
    world.broker.0.borrow_mut().refuses = true;
    while world.clients() == 1 {
        world.step();
    }
    let leaving = world.slots_in(1);
    let lanes = world.sender.fleet.lanes().filter(|(slot, _)| leaving.contains(slot));
    let acknowledged: u64 = lanes.map(|(_, lane)| lane.sender.position().acknowledged.get()).sum();
    let (sent, pause) = (world.sent(), Duration::from_millis(100));
    let rest = world.revoke(1);
    world.step_for(pause.saturating_sub(TICK));
    assert_eq!((world.sent(), rest.try_recv()), (sent, Err(TryRecvError::Empty)));
    world.step_for(pause);
    assert!(world.sent() > sent);
    assert_eq!(rest.try_recv(), Ok(()), "what was told meanwhile is done then");
    assert_eq!(world.recorded_of_odd_lanes(), acknowledged);
}

/// Returns how many lanes are not where they send from.
fn behind(world: &World) -> usize {
    world.sender.fleet.lanes().filter(|(_, lane)| lane.sender.is_behind()).count()
}

#[test]
fn lanes_that_take_long_to_get_there_go_one_after_the_other() {
    let subscribers = u32::from(LANES) * FORWARD_STEP as u32;
    let mut world = World::of_run(subscribers, None, [Recorded::default(), Recorded::default()]);
    let lanes = usize::from(LANES);
    assert_eq!(behind(&world), lanes);
    for left in (0..lanes).rev() {
        world.step();
        assert_eq!(behind(&world), left);
    }
}

#[test]
fn a_next_owner_starts_at_snapshots_and_sends_what_the_last_one_would_have() {
    let mut world = World::of_run(400, Some(50), [Recorded::default(), Recorded::default()]);
    world.step_for(Duration::from_secs(25));
    let recorded = [world.recorded(0), world.recorded(1)];
    let mut snapshots = 0;
    for Recorded { progress, snapshots: found } in &recorded {
        for (lane, found) in found {
            let newest = found.newest().expect("whole").sequence;
            let reached = progress[lane].acknowledged;
            assert!(newest <= reached, "{newest:?} is ahead of {reached:?}");
            assert!(reached.get() - newest.get() < 1500, "{newest:?} is far behind {reached:?}");
            snapshots += 1;
        }
    }
    assert_eq!(snapshots, LANES, "each lane had its turn");
    let mut next = World::of_run(400, Some(50), recorded.clone());
    next.step();
    for (_, lane) in next.sender.fleet.lanes() {
        let partition = usize::from(lane.lanes_partition);
        let snapshot =
            recorded[partition].snapshots[&lane.name()].newest().expect("whole").sequence;
        let way = recorded[partition].progress[&lane.name()].acknowledged.get() - snapshot.get();
        assert_eq!(lane.sender.way(), way, "from the snapshot and not from the beginning");
    }
    next.step_for(Duration::from_secs(2));
    assert_eq!((behind(&next), next.clients()), (0, 1));
}

#[test]
fn a_lane_that_comes_to_rest_gets_no_snapshot_and_one_that_ends_leaves_none() {
    let mut world = World::of_run(400, Some(100), [Recorded::default(), Recorded::default()]);
    world.step_for(Duration::from_secs(20));
    assert!(!world.recorded(1).snapshots.is_empty());
    world.silence(topics::EVENTS, 1);
    let rest = world.revoke(1);
    // What is on its way arrives.
    world.step_for(Duration::from_millis(100));
    let pieces = |world: &World| world.sender.parts.metrics.snapshot_pieces.get();
    let before = (pieces(&world), world.recorded(1).snapshots);
    world.step_for(Duration::from_secs(3));
    assert_eq!(rest.try_recv(), Err(TryRecvError::Empty));
    assert!(pieces(&world) > before.0, "lanes that stay get some");
    assert_eq!(world.recorded(1).snapshots, before.1);

    let mut world = World::of_run(400, Some(100), [Recorded::default(), Recorded::default()]);
    world.step_for(Duration::from_secs(110));
    assert!(pieces(&world) > 0);
    for partition in [0, 1] {
        let Recorded { progress, snapshots } = world.recorded(partition);
        assert!(progress.values().all(|lane| lane.ended), "{progress:?}");
        assert!(snapshots.is_empty(), "{:?}", snapshots.keys());
    }
}

#[test]
#[should_panic(expected = "commands wait")]
fn one_command_at_a_time_is_obeyed() {
    let mut world = World::new();
    world.step_for(Duration::from_secs(1));
    drop(world.revoke(1));
    drop(world.revoke(0));
}
