//! The clients of producers, and what they have on its way to the broker.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use roaming_events::EventId;
use roaming_producer::client::{Client, Connect, Delivery, Outgoing, Tag, Undelivered};
use roaming_producer::progress::Progress;
use roaming_producer::snapshot::PieceKey;
use roaming_service::kafka::ClientError;
use roaming_service::topics;

use super::super::World;
use super::super::oracle::Origin;
use super::super::report::{Finding, Outcome};
use super::account::{Account, Failure};
use super::lanes_topic::LanesTopic;
use crate::seed::Stream;

/// The most records of a batch.
const BATCH_MAX: u64 = 12;

/// A partition of a topic.
pub(super) type Place = (&'static str, u16);

/// All clients, also those that were given up and have something on its way; clones share them.
#[derive(Clone, Default)]
pub(super) struct Network {
    clients: Rc<RefCell<BTreeMap<u64, Line>>>,
    account: Account,
}

/// One client.
struct Line {
    account: Account,
    queues: BTreeMap<Place, Queue>,
    /// What it has heard of and not been asked for.
    delivered: Vec<Delivery>,
    failure: Option<RDKafkaErrorCode>,
    /// Whether it delivers nothing more.
    is_lost: bool,
    is_refusing: bool,
    is_given_up: bool,
}

/// What a client has on its way to a partition, in order.
#[derive(Default)]
struct Queue {
    waiting: VecDeque<Flight>,
    arrived: Vec<Delivery>,
    /// Whether the broker holds a batch of the client, and so takes no other than the next one.
    is_known: bool,
}

struct Flight {
    key: Vec<u8>,
    payload: Option<Vec<u8>>,
    tag: Tag,
    bytes: u64,
}

impl Network {
    /// Returns what opens the clients of a process.
    pub(super) fn of_process(&self, account: Account) -> Self {
        Self { clients: Rc::clone(&self.clients), account }
    }

    /// Whether nothing is on its way.
    pub(super) fn is_idle(&self) -> bool {
        self.clients.borrow().values().all(|line| line.delivered.is_empty() && line.is_empty())
    }

    /// Lets the client in use of a process refuse the next record, where it has one.
    pub(super) fn refuse(&self, account: &Account) {
        for line in self.clients.borrow_mut().values_mut() {
            line.is_refusing |= line.account.is(account) && !line.is_given_up;
        }
    }

    /// Lets some batches arrive, and some acknowledgements.
    pub(super) fn carry(
        &self,
        world: &mut World<'_>,
        lanes: &mut LanesTopic,
        away: &BTreeMap<Place, u64>,
        stream: &mut Stream,
    ) -> Outcome {
        let mut clients = self.clients.borrow_mut();
        for (id, line) in &mut *clients {
            let places: Vec<Place> = line.queues.keys().copied().collect();
            for place in places {
                // What a client that was given up left on its way takes its time.
                let is_slow = line.is_given_up && !world.is_healthy();
                if away.contains_key(&place) || stream.chance(if is_slow { 950 } else { 300 }) {
                    continue;
                }
                let before = line.is_lost;
                line.carry(world, lanes, place, stream)?;
                if line.is_lost && !before {
                    world.trace.note(format!("{}: client {id} is lost at {place:?}", world.tick));
                }
            }
        }
        clients.retain(|_, line| !line.is_given_up || !line.is_empty());
        Ok(())
    }
}

impl Line {
    fn is_empty(&self) -> bool {
        self.queues.values().all(Queue::is_empty)
    }

    /// Lets a batch arrive at a partition, and what arrived before be acknowledged.
    fn carry(
        &mut self,
        world: &mut World<'_>,
        lanes: &mut LanesTopic,
        place: Place,
        stream: &mut Stream,
    ) -> Outcome {
        let Some(queue) = self.queues.get_mut(&place) else { return Ok(()) };
        if !queue.arrived.is_empty() && stream.chance(700) {
            if world.fault.chance(world.faults.acknowledgement_lost) {
                world.report.count("acknowledgement lost");
                self.fail(world, place, RDKafkaErrorCode::MessageTimedOut, stream);
                return Ok(());
            }
            if !self.is_lost {
                self.delivered.append(&mut queue.arrived);
            }
            queue.arrived.clear();
        }
        let count = stream.between(1, BATCH_MAX) as usize;
        if !queue.waiting.is_empty() && world.fault.chance(world.faults.delivery_failed) {
            world.report.count("delivery failed");
            queue.waiting.clear();
            self.fail(world, place, RDKafkaErrorCode::MessageTimedOut, stream);
            return Ok(());
        }
        if !queue.is_known
            && queue.waiting.len() > count
            && world.fault.chance(world.faults.first_batch_overtaken)
        {
            // The broker takes whatever comes first of a client that it does not know, and refuses what
            // precedes it after that.
            world.report.count("first batch overtaken");
            queue.waiting.drain(..count);
            queue.arrive(world, lanes, place, count)?;
            self.fail(world, place, RDKafkaErrorCode::OutOfOrderSequenceNumber, stream);
            return Ok(());
        }
        queue.arrive(world, lanes, place, count)
    }

    /// Lets the client lose what it has on its way to a partition, but for a first part.
    fn fail(
        &mut self,
        world: &mut World<'_>,
        place: Place,
        why: RDKafkaErrorCode,
        stream: &mut Stream,
    ) {
        if !self.is_lost && !self.is_given_up {
            self.failure = Some(why);
        }
        self.is_lost = true;
        if let Some(queue) = self.queues.get_mut(&place) {
            world.report.add("record lost in flight", queue.cut(stream.draw()));
        }
    }
}

impl Queue {
    fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.arrived.is_empty()
    }

    /// Lets up to `count` records arrive, in order.
    fn arrive(
        &mut self,
        world: &mut World<'_>,
        lanes: &mut LanesTopic,
        (topic, partition): Place,
        count: usize,
    ) -> Outcome {
        for _ in 0..count.min(self.waiting.len()) {
            let Some(Flight { key, payload, tag, bytes }) = self.waiting.pop_front() else { break };
            self.is_known = true;
            let offset = if topic == topics::LANES {
                check_progress(world, &key, payload.as_deref())?;
                lanes.append(partition, key, payload)
            } else {
                let mut payload = payload.unwrap_or_default();
                let origin = origin(world, &key, tag, &mut payload)?;
                world.report.count("arrival");
                let offset = world.log.end(partition);
                world.append(partition, key, payload, origin)?;
                offset
            };
            self.arrived.push(Delivery { tag, partition, offset, bytes });
        }
        Ok(())
    }

    /// Keeps a first part of what is on its way, as `random` has it, and no word of what arrived; returns
    /// how many records are lost.
    fn cut(&mut self, random: u64) -> u64 {
        self.arrived.clear();
        let count = self.waiting.len() as u64;
        let arriving = random % (count + 1);
        self.waiting.truncate(arriving as usize);
        count - arriving
    }
}

/// Says what an event or a marker is; one that is broken at its source is broken here.
fn origin(
    world: &World<'_>,
    key: &[u8],
    tag: Tag,
    payload: &mut Vec<u8>,
) -> Result<Origin, Finding> {
    if tag == Tag::Marker {
        return Ok(Origin::Marker);
    }
    let id = EventId::from_key(key)
        .map_err(|error| Finding::Producer { what: format!("sent a wrong key: {error}") })?;
    let is_end = id.sequence.get() == world.oracle.lane(id.run, id.lane).events.len() as u64;
    Ok(if is_end { Origin::Numbered(id) } else { world.oracle.damage(id, payload) })
}

/// Checks that progress is never ahead of what the log holds.
fn check_progress(world: &World<'_>, key: &[u8], value: Option<&[u8]>) -> Outcome {
    if PieceKey::read(key).is_some() {
        return Ok(());
    }
    let read = Progress::read(key, value)
        .map_err(|error| Finding::Producer { what: format!("recorded no progress: {error}") })?;
    let ((run, lane), Some(progress)) = read else { return Ok(()) };
    let held = world.oracle.lane(run, lane);
    if progress.acknowledged <= held.next && (!progress.ended || held.is_ended) {
        return Ok(());
    }
    let what = format!("recorded {progress:?}, and the log holds what is before {}", held.next);
    Err(Finding::Producer { what })
}

impl Connect for Network {
    type Client = NetworkClient;

    fn connect(&mut self) -> Result<NetworkClient, ClientError> {
        let mut clients = self.clients.borrow_mut();
        let id = clients.last_key_value().map_or(0, |(id, _)| id + 1);
        clients.insert(
            id,
            Line {
                account: self.account.clone(),
                queues: BTreeMap::new(),
                delivered: Vec::new(),
                failure: None,
                is_lost: false,
                is_refusing: false,
                is_given_up: false,
            },
        );
        drop(clients);
        self.account.opens_client();
        Ok(NetworkClient { id, network: self.clone() })
    }
}

/// A client of a process.
pub(super) struct NetworkClient {
    id: u64,
    network: Network,
}

impl Client for NetworkClient {
    fn send(&mut self, record: &Outgoing<'_>) -> Result<(), Undelivered> {
        let mut clients = self.network.clients.borrow_mut();
        let line = clients.get_mut(&self.id).expect("a client in use has its line");
        if line.is_refusing {
            self.network.account.fails(Failure::Refused);
            let source = KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull);
            return Err(Undelivered { reason: None, source });
        }
        self.network.account.sends(record);
        let Outgoing { topic, partition, key, payload, tag, .. } = *record;
        let (key, payload) = (key.to_vec(), payload.map(<[u8]>::to_vec));
        let flight = Flight { key, payload, tag, bytes: record.bytes() };
        if line.is_lost {
            // It is taken, and its report would say what the one before says.
            return Ok(());
        }
        line.queues.entry((topic, partition)).or_default().waiting.push_back(flight);
        Ok(())
    }

    fn poll(&mut self, deliveries: &mut Vec<Delivery>) -> Result<(), Undelivered> {
        let mut clients = self.network.clients.borrow_mut();
        let line = clients.get_mut(&self.id).expect("a client in use has its line");
        for delivery in &line.delivered {
            self.network.account.hears_of(delivery);
        }
        deliveries.append(&mut line.delivered);
        let failure = line.failure.take();
        failure.map_or(Ok(()), |code| {
            self.network.account.fails(Failure::Undelivered);
            let source = KafkaError::MessageProduction(code);
            Err(Undelivered { reason: None, source })
        })
    }
}

impl Drop for NetworkClient {
    fn drop(&mut self) {
        let mut clients = self.network.clients.borrow_mut();
        let Some(line) = clients.get_mut(&self.id) else { return };
        line.is_given_up = true;
        line.delivered.clear();
        for (number, queue) in (0..).zip(line.queues.values_mut()) {
            // Nothing draws here: a client may go at any time.
            queue.cut(crate::Seed(self.id).stream_of(crate::Concern::Network, number).draw());
        }
    }
}
