//! Owners of sample lanes, and what they have in flight: a model of producers.

use std::collections::{BTreeMap, VecDeque};

use roaming_events::{EventId, LaneId, RunId, Sequence, SimTime};

use super::oracle::Origin;
use super::report::Outcome;
use super::{Producers, World};
use crate::sample::{SampleScenario, SampleSender, Step};
use crate::seed::Stream;

/// The most records that a session has in flight to one partition.
const IN_FLIGHT_MAX: usize = 16;

/// The most records that one record overtakes.
const OVERTAKEN_MAX: usize = 6;

/// All sessions, and the progress that was recorded.
pub(super) struct Owners<'a> {
    scenario: &'a SampleScenario,
    sessions: Vec<Session>,
    /// The compacted topic `roaming.lanes`: the last record of each key.
    progress: BTreeMap<(RunId, LaneId), Sequence>,
    network: Stream,
    /// Where paused runs stand.
    paused: BTreeMap<RunId, SimTime>,
}

/// One client of one owner of some lanes.
struct Session {
    /// The partition of `roaming.lanes` whose lanes it sends.
    lanes_partition: u16,
    state: State,
    senders: BTreeMap<(RunId, LaneId), Sending>,
    /// What was handed over and has not arrived, by partition of `roaming.events`, in order.
    flights: BTreeMap<u16, VecDeque<Flight>>,
    /// Progress that was written and has not arrived, in order.
    written: VecDeque<((RunId, LaneId), Sequence)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// It owns its lanes.
    Owner,
    /// Somebody else owns them, and it learns of it at this tick.
    Zombie(u64),
    /// It is gone; what is in flight may still arrive.
    Gone,
}

/// One lane of a session.
struct Sending {
    sender: SampleSender,
    /// The time up to which the sender has said everything.
    rested: Option<SimTime>,
}

struct Flight {
    lane: (RunId, LaneId),
    /// The number to acknowledge; a marker has none.
    sequence: Option<Sequence>,
    origin: Origin,
    /// Whether a later record of the sender has arrived before it. It is late and not lost: delivery that
    /// may lose it has no order that anybody could rely on.
    is_overtaken: bool,
    key: [u8; EventId::TEXT_LEN],
    payload: Vec<u8>,
}

impl<'a> Owners<'a> {
    pub(super) fn new(
        world: &mut World<'_>,
        scenario: &'a SampleScenario,
        lanes_partitions: u16,
        network: Stream,
    ) -> Self {
        let mut owners = Self {
            scenario,
            sessions: Vec::new(),
            progress: BTreeMap::new(),
            network,
            paused: BTreeMap::new(),
        };
        for lanes_partition in 0..lanes_partitions {
            owners.own(world, lanes_partition);
        }
        owners
    }

    /// Starts a session that owns the lanes of a partition, from their recorded progress.
    fn own(&mut self, world: &mut World<'_>, lanes_partition: u16) {
        let partitions = world.options.lanes_partitions;
        let mut senders = BTreeMap::new();
        for view in world.scenario.runs() {
            for lane in LaneId::all(view.lanes) {
                if lane.partition(partitions) == lanes_partition {
                    let key = (view.run, lane);
                    let progress = self.progress.get(&key).copied();
                    let sender = self.scenario.sender(view.run, lane, progress);
                    senders.insert(key, Sending { sender, rested: None });
                }
            }
        }
        self.sessions.push(Session {
            lanes_partition,
            state: State::Owner,
            senders,
            flights: BTreeMap::new(),
            written: VecDeque::new(),
        });
    }

    /// Returns the time before which a run's events may be sent.
    fn until_of(&self, world: &World<'_>, run: RunId) -> SimTime {
        self.paused.get(&run).copied().unwrap_or(world.until)
    }

    /// Lets some of what is in flight arrive.
    fn arrive(&mut self, world: &mut World<'_>, index: usize) -> Outcome {
        let session = &mut self.sessions[index];
        let partitions: Vec<u16> = session.flights.keys().copied().collect();
        for partition in partitions {
            // What an ended session left on its way takes its time.
            let is_slow = session.state == State::Gone && !world.is_healthy();
            if self.network.chance(if is_slow { 950 } else { 300 }) {
                continue;
            }
            for _ in 0..self.network.between(1, 8) {
                let Some(flight) = session.next_flight(world, partition, &mut self.network) else {
                    break;
                };
                world.report.count("arrival");
                world.append(partition, flight.key.to_vec(), flight.payload, flight.origin)?;
                let Some(sequence) = flight.sequence else { continue };
                if session.is_acknowledged(world, flight.lane, sequence) {
                    continue;
                }
                if session.state == State::Owner {
                    // A failed delivery report stops the lanes; the client is built anew.
                    self.replace(world, index, State::Gone);
                } else {
                    session.end(world, &mut self.network);
                }
                return Ok(());
            }
        }
        Ok(())
    }

    /// Writes progress now and then, and lets it arrive.
    fn record(&mut self, world: &mut World<'_>, index: usize) {
        let session = &mut self.sessions[index];
        if session.state != State::Gone && world.schedule.chance(150) {
            let senders = session.senders.iter_mut();
            let progress =
                senders.filter_map(|(key, sending)| Some((*key, sending.sender.progress()?)));
            session.written.extend(progress);
        }
        while !session.written.is_empty() && self.network.chance(800) {
            if let Some((key, progress)) = session.written.pop_front() {
                self.progress.insert(key, progress);
            }
        }
    }

    fn pick_owner(&self, world: &mut World<'_>) -> usize {
        let owners: Vec<usize> = (0..self.sessions.len())
            .filter(|index| self.sessions[*index].state == State::Owner)
            .collect();
        owners[world.fault.index(owners.len())]
    }

    /// Lets another session own the lanes of the one at `index`.
    fn replace(&mut self, world: &mut World<'_>, index: usize, state: State) {
        let session = &mut self.sessions[index];
        let lanes_partition = session.lanes_partition;
        world.trace.note(format!(
            "{}: lanes of {lanes_partition} get another owner, the earlier one {}",
            world.tick,
            if state == State::Gone { "is gone" } else { "goes on" }
        ));
        session.state = state;
        if state == State::Gone {
            session.end(world, &mut self.network);
        }
        self.own(world, lanes_partition);
    }
}

impl Producers for Owners<'_> {
    fn control(&mut self, world: &mut World<'_>, run: RunId, _: &mut Stream) {
        if self.paused.remove(&run).is_some() {
            world.report.count("run resumed");
        } else {
            self.paused.insert(run, world.until);
            world.report.count("run paused");
        }
    }

    fn fail(&mut self, world: &mut World<'_>) {
        if world.fault.chance(world.faults.producer_crash) {
            let index = self.pick_owner(world);
            world.report.count("producer crash");
            self.replace(world, index, State::Gone);
        }
        if world.fault.chance(world.faults.producer_rebalance) {
            let index = self.pick_owner(world);
            let ticks = world.fault.between(0, world.faults.zombie_ticks_max);
            world.report.count("producer rebalance");
            self.replace(world, index, State::Zombie(world.tick + ticks));
        }
    }

    fn heal(&mut self, world: &mut World<'_>) {
        self.paused.clear();
        for session in &mut self.sessions {
            if session.state != State::Owner {
                session.end(world, &mut self.network);
            }
        }
    }

    fn are_idle(&self, world: &World<'_>) -> bool {
        let is_idle = |session: &Session| {
            session.flights.is_empty()
                && session.written.is_empty()
                && session
                    .senders
                    .iter()
                    .all(|((run, _), sending)| sending.rested == Some(self.until_of(world, *run)))
        };
        self.sessions.iter().all(is_idle)
    }

    fn check_end(&self, _: &mut World<'_>) -> Outcome {
        Ok(())
    }

    fn tick(&mut self, world: &mut World<'_>) -> Outcome {
        for index in 0..self.sessions.len() {
            if let State::Zombie(until) = self.sessions[index].state
                && until <= world.tick
            {
                self.sessions[index].end(world, &mut self.network);
            }
            if self.sessions[index].state != State::Gone {
                self.sessions[index].hand_over(world, &self.paused);
            }
            self.arrive(world, index)?;
            self.record(world, index);
        }
        self.sessions.retain(|session| {
            session.state != State::Gone
                || !session.flights.is_empty()
                || !session.written.is_empty()
        });
        Ok(())
    }
}

impl Session {
    /// Hands over some records of each lane.
    fn hand_over(&mut self, world: &mut World<'_>, paused: &BTreeMap<RunId, SimTime>) {
        for (&(run, lane), Sending { sender, rested }) in &mut self.senders {
            let until = paused.get(&run).copied().unwrap_or(world.until);
            let partition = world
                .scenario
                .runs()
                .iter()
                .find(|view| view.run == run)
                .map_or(0, |view| lane.partition(view.partitions));
            for _ in 0..world.schedule.below(5) {
                let flights = self.flights.entry(partition).or_default();
                if flights.len() >= IN_FLIGHT_MAX {
                    break;
                }
                let mut payload = Vec::new();
                let (sequence, key, origin) = match sender.next(until, &mut payload) {
                    Step::Event(id) => {
                        (Some(id.sequence), id.text(), world.oracle.damage(id, &mut payload))
                    }
                    Step::End(id) => (Some(id.sequence), id.text(), Origin::Numbered(id)),
                    Step::Marker(marker) => (None, marker.key(), Origin::Marker),
                    Step::Wait | Step::Done => {
                        *rested = Some(until);
                        break;
                    }
                };
                let (lane, is_overtaken) = ((run, lane), false);
                flights.push_back(Flight { lane, sequence, origin, is_overtaken, key, payload });
            }
        }
        self.flights.retain(|_, flights| !flights.is_empty());
    }

    /// Tells the sender of a lane that a record arrived. Returns whether all is well: the acknowledgement may
    /// be lost, or be out of order.
    fn is_acknowledged(
        &mut self,
        world: &mut World<'_>,
        lane: (RunId, LaneId),
        sequence: Sequence,
    ) -> bool {
        if world.fault.chance(world.faults.acknowledgement_lost) {
            world.report.count("acknowledgement lost");
            world.trace.note(format!("{}: acknowledgement lost: {lane:?} {sequence}", world.tick));
            return false;
        }
        let Some(sending) = self.senders.get_mut(&lane) else { return true };
        let is_taken = sending.sender.acknowledged(sequence).is_ok();
        if !is_taken {
            world.report.count("acknowledgement out of order");
        }
        is_taken
    }

    /// Takes what arrives next at a partition.
    fn next_flight(
        &mut self,
        world: &mut World<'_>,
        partition: u16,
        network: &mut Stream,
    ) -> Option<Flight> {
        let flights = self.flights.get_mut(&partition)?;
        let mut index = 0;
        if flights.len() > 1 && network.chance(world.faults.reorder) {
            world.report.count("reorder");
            index = network.between(1, OVERTAKEN_MAX.min(flights.len() - 1) as u64) as usize;
            flights.iter_mut().take(index).for_each(|flight| flight.is_overtaken = true);
        }
        let flight = flights.remove(index);
        if flights.is_empty() {
            self.flights.remove(&partition);
        }
        flight
    }

    /// Ends the session. Of what it has in flight to a partition, a first part still arrives; the rest is
    /// lost, so that no hole is left.
    fn end(&mut self, world: &mut World<'_>, network: &mut Stream) {
        self.state = State::Gone;
        self.senders.clear();
        for flights in self.flights.values_mut() {
            let least = flights.iter().filter(|flight| flight.is_overtaken).count();
            let arriving = network.index(flights.len() + 1).max(least);
            world.report.add("record lost in flight", (flights.len() - arriving) as u64);
            flights.truncate(arriving);
        }
        self.flights.retain(|_, flights| !flights.is_empty());
    }
}
