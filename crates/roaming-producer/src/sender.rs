//! The thread that sends: it drives all lanes of this process, in turn.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::SyncSender;
use std::thread;
use std::time::{Duration, Instant};

use roaming_service::backoff::Backoff;
use roaming_service::health::Health;
use roaming_service::kafka::ClientError;
use roaming_service::telemetry::chain;
use roaming_sim::control::ControlRecord;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::{mpsc, watch};
use tracing::{error, info, warn};

use crate::client::{Connect, Slot};
use crate::clock::Moment;
use crate::fleet::{Fleet, Recorded, TopicPartitions};
use crate::lane::FORWARD_STEP;
use crate::metrics::ProducerMetrics;
use crate::observer::Observer;
use crate::snapshot_writer::SnapshotWriter;
use crate::watch::Committed;
use crate::wire::{Pace, Turn, Wire, WireError};

/// How often progress is recorded.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);
/// How long the thread rests where no lane can move.
const IDLE_WAIT: Duration = Duration::from_millis(5);
/// The same where nothing is on its way either.
const REST_WAIT: Duration = Duration::from_millis(10);
/// How long lanes that are handed over wait for what is on their way. Later than that they are left with
/// what was recorded: the next owner repeats the rest.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a new client must have lost nothing before it counts as sound: long enough for progress, which
/// goes to another topic than events, to have been recorded and acknowledged.
const SOUND_AFTER: Duration = PROGRESS_INTERVAL.saturating_mul(3);
/// How long the broker may acknowledge nothing of what is on its way before the daemon is not ready.
const SILENCE_MAX: Duration = Duration::from_secs(10);
/// How long lanes may wait for consumers that read nothing before the daemon is not ready.
const UNREAD_MAX: Duration = Duration::from_secs(10);
/// What is said then.
const UNREAD_ADVICE: &str = "lanes wait for consumers: as many bytes stand unread as may, and none was read for over 10 s; start roaming-consumer, or look at its /readyz; the lanes go on by themselves";
/// The part that holds readiness while lanes wait for consumers.
const HEALTH_CONSUMERS: &str = "consumers";
/// The part that holds readiness while records are not delivered.
const HEALTH_DELIVERY: &str = "delivery";
/// The part that holds readiness while runs are refused.
const HEALTH_RUNS: &str = "runs";
/// The part that holds readiness while the broker says nothing.
const HEALTH_SILENCE: &str = "broker";

/// What the other tasks tell the sender; in a bounded channel.
#[derive(Debug)]
pub enum Command {
    /// A run's control record; `None` where the topic holds none any more.
    Control {
        /// The run's name.
        name: String,
        /// The record.
        record: Option<Box<ControlRecord>>,
    },
    /// A run's control record cannot be read.
    Unreadable {
        /// The run's name.
        name: String,
        /// Where it breaks.
        error: serde_json::Error,
    },
    /// The topics have another number of partitions.
    Partitions(TopicPartitions),
    /// A partition of `roaming.lanes` was assigned and read to its end.
    Owned {
        /// The partition.
        partition: u16,
        /// What is recorded there.
        recorded: Recorded,
    },
    /// Partitions are taken away; their lanes stop, and `done` is told so. The others go on.
    Revoked {
        /// The partitions.
        partitions: BTreeSet<u16>,
        /// Answered when their lanes are at rest and their progress is recorded.
        done: SyncSender<()>,
    },
}

/// What the sender is made of.
pub struct SenderParts<K> {
    /// What opens its clients.
    pub kafka: K,
    /// Bound of flow control, for each partition.
    pub unread_bytes_max: u64,
    /// How far the consumers are.
    pub committed: Committed,
    /// Where it counts.
    pub metrics: ProducerMetrics,
    /// How many partitions the topics have.
    pub partitions: TopicPartitions,
    /// Where it says what keeps it from sending.
    pub health: Health,
    /// Where it shows how far lanes are.
    pub observer: Observer,
    /// A lane of few subscribers gets a snapshot when its next owner would have a longer way than this, in
    /// events; no lane does where there is none.
    pub snapshot_way_max: Option<u64>,
    /// Nothing is sent while this says `false`.
    pub gate: Option<watch::Receiver<bool>>,
}

/// The sender: a state machine that is told what to do and what time it is, and waits for nothing. Only
/// [`run`](Self::run), the loop of its thread, reads clocks and rests.
pub struct Sender<K: Connect> {
    parts: SenderParts<K>,
    fleet: Fleet,
    wire: Wire<K::Client>,
    backoff: Backoff,
    /// Runs that are refused, with the reasons as they were logged.
    refused: BTreeMap<String, String>,
    snapshots: Option<SnapshotWriter>,
    /// Keys of deleted runs and of snapshots of lanes that ended, with their partitions: to go from the topic.
    forgotten: Vec<(u16, String)>,
    recorded: Instant,
    /// When a lane could move, or none wanted to, last.
    unhindered: Instant,
    /// Whether it is said that lanes wait for consumers.
    is_hindered: bool,
    /// When the broker acknowledged something, or owed nothing, last.
    answered: Instant,
    /// From when on the client in use may send, where another was given up for it; `None` once it has
    /// proved sound.
    renewed: Option<Instant>,
    /// While there is one nothing else is obeyed.
    hand_over: Option<HandOver>,
}

/// Lanes that come to rest, and what is to be done when they are.
struct HandOver {
    /// They send nothing new; all others go on.
    slots: BTreeSet<Slot>,
    command: Command,
    /// When they are let go with what was recorded.
    deadline: Instant,
}

impl<K: Connect> Sender<K> {
    /// Makes a sender; nothing is connected yet.
    ///
    /// # Errors
    /// Fails where the client library refuses the settings.
    pub fn try_new(mut parts: SenderParts<K>, now: Moment) -> Result<Self, ClientError> {
        let wire = Wire::new(
            parts.kafka.connect()?,
            parts.unread_bytes_max,
            parts.committed.clone(),
            parts.metrics.clone(),
        );
        let mut fleet = Fleet::default();
        fleet.lay_out(parts.partitions);
        let snapshots = parts.snapshot_way_max.map(|way_max| SnapshotWriter::new(way_max, now));
        Ok(Self {
            parts,
            fleet,
            wire,
            backoff: Backoff::new(Duration::from_millis(100), Duration::from_secs(2)),
            refused: BTreeMap::new(),
            snapshots,
            forgotten: Vec::new(),
            recorded: now.instant,
            unhindered: now.instant,
            is_hindered: false,
            answered: now.instant,
            renewed: None,
            hand_over: None,
        })
    }

    /// Sends until nobody can tell it anything more.
    ///
    /// # Errors
    /// Fails where the client library refuses the settings. A broker that is away is waited for.
    pub fn run(mut self, mut commands: mpsc::Receiver<Command>) -> Result<(), ClientError> {
        loop {
            if !self.is_handing_over() {
                match commands.try_recv() {
                    Ok(command) => {
                        self.obey(command, Moment::now());
                        continue;
                    }
                    Err(TryRecvError::Disconnected) => return Ok(()),
                    Err(TryRecvError::Empty) => {}
                }
            }
            // Not in the client's own wait, which spins for its last millisecond: half of a processor at two
            // of them.
            thread::sleep(self.step(Moment::now())?);
        }
    }

    /// Takes what the broker says, gives every lane its turn, and goes on with the hand-over; returns for
    /// how long nothing is to be done then, unless there is a command.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn step(&mut self, now: Moment) -> Result<Duration, ClientError> {
        if let Some(from) = self.renewed.filter(|&from| now.instant < from) {
            return Ok((from - now.instant).min(REST_WAIT));
        }
        match self.go_on(now) {
            Ok(rest) => Ok(rest),
            Err(error) => self.recover(&error, now).map(|()| Duration::ZERO),
        }
    }

    /// Whether lanes come to rest for what was told last: until they are, nothing else can be told.
    pub fn is_handing_over(&self) -> bool {
        self.hand_over.is_some()
    }

    /// Does as it is told, or begins to: lanes that must stop for it come to rest in further
    /// [steps](Self::step) first.
    ///
    /// # Panics
    /// Panics where the command before [is still being obeyed](Self::is_handing_over).
    pub fn obey(&mut self, command: Command, now: Moment) {
        assert!(!self.is_handing_over(), "commands wait for the hand-over before them");
        let slots = match &command {
            Command::Control { name, record } => self.fleet.superseded(name, record.as_deref()),
            Command::Partitions(partitions) => self.fleet.misplaced(*partitions),
            Command::Revoked { partitions, .. } => self.fleet.slots_in(partitions),
            Command::Unreadable { .. } | Command::Owned { .. } => BTreeSet::new(),
        };
        if slots.is_empty() {
            return self.carry_out(command);
        }
        info!(lanes = slots.len(), "lanes come to rest, the others go on");
        let deadline = now.instant + DRAIN_TIMEOUT;
        self.hand_over = Some(HandOver { slots, command, deadline });
    }

    fn go_on(&mut self, now: Moment) -> Result<Duration, WireError> {
        let acknowledged = self.wire.settle(&mut self.fleet)?;
        self.watch_broker(acknowledged, now);
        let turn = self.turn(now)?;
        self.watch_consumers(turn, now);
        if now.since(self.recorded) >= PROGRESS_INTERVAL {
            self.recorded = now.instant;
            self.record()?;
        }
        if let Some(snapshots) = &mut self.snapshots {
            let leaving = self.hand_over.as_ref().map(|hand_over| &hand_over.slots);
            snapshots.go_on(&mut self.fleet, &mut self.wire, leaving, now)?;
        }
        self.go_on_handing_over(now)?;
        Ok(match turn {
            _ if acknowledged > 0 => Duration::ZERO,
            Turn::Moved => Duration::ZERO,
            _ if self.wire.in_flight() > 0 || self.wire.is_held() => IDLE_WAIT,
            _ => REST_WAIT,
        })
    }

    /// Says in `/readyz` whether the broker takes what is sent.
    fn watch_broker(&mut self, acknowledged: usize, now: Moment) {
        let health = &self.parts.health;
        let is_answered = acknowledged > 0 || self.wire.in_flight() == 0;
        if is_answered
            && self.wire.progress_in_flight() == 0
            && self.renewed.is_some_and(|at| now.since(at) > SOUND_AFTER)
        {
            self.renewed = None;
            self.backoff.reset();
            health.release(HEALTH_DELIVERY);
            info!("what was not delivered before is delivered");
        }
        if is_answered {
            self.answered = now.instant;
            health.release(HEALTH_SILENCE);
        } else if now.since(self.answered) > SILENCE_MAX {
            let in_flight = self.wire.in_flight();
            health.hold(
                HEALTH_SILENCE,
                format!(
                    "{in_flight} records are on their way and the broker has acknowledged none for over {} s; they are sent as soon as it is back",
                    SILENCE_MAX.as_secs()
                ),
            );
        }
    }

    /// Says in the log and in `/readyz` where lanes wait for consumers that read nothing.
    fn watch_consumers(&mut self, turn: Turn, now: Moment) {
        // Where their offsets are not known, that is what is wrong, and said elsewhere.
        let is_known = self.parts.committed.are_known();
        if turn != Turn::Held || self.wire.in_flight() > 0 || !is_known {
            if self.is_hindered {
                info!("lanes wait for consumers no more");
                self.parts.health.release(HEALTH_CONSUMERS);
            }
            (self.unhindered, self.is_hindered) = (now.instant, false);
        } else if now.since(self.unhindered) > UNREAD_MAX && !self.is_hindered {
            self.is_hindered = true;
            warn!(partitions = ?self.wire.held(), "{UNREAD_ADVICE}");
            self.parts.health.hold(HEALTH_CONSUMERS, UNREAD_ADVICE);
        }
    }

    /// Gives every lane its turn; says whether any moved, or at least wanted to.
    fn turn(&mut self, now: Moment) -> Result<Turn, WireError> {
        if self.parts.gate.as_ref().is_some_and(|gate| !*gate.borrow()) {
            return Ok(Turn::Quiet);
        }
        let leaving = self.hand_over.as_ref().map(|hand_over| &hand_over.slots);
        let stays = |slot: &Slot| !leaving.is_some_and(|slots| slots.contains(slot));
        let (mut moved, mut held) = (false, false);
        // What lanes may go forward in one step: it takes long, and nobody is to wait for all of them.
        let mut way_left = FORWARD_STEP;
        let Fleet { runs, lanes, .. } = &mut self.fleet;
        let running = runs.values_mut().filter(|run| run.record.state.is_alive());
        for run in running {
            let pace = Pace::of(run, now.unix_ms);
            let mut all_quiet = true;
            for slot in run.slots.values().copied().filter(stays) {
                let Some(lane) = &mut lanes[usize::from(slot)] else { continue };
                let way = lane.sender.way();
                if way > 0 && way_left == 0 {
                    all_quiet = false;
                    continue;
                }
                let turn = self.wire.drive(slot, lane, &pace, now)?;
                way_left = way_left.saturating_sub(way.saturating_sub(lane.sender.way()));
                moved |= turn == Turn::Moved;
                held |= turn == Turn::Held;
                all_quiet &= turn == Turn::Quiet;
            }
            if all_quiet && pace.until == run.window_end {
                let waiting = run.slots.values().copied().filter(stays);
                let times: Vec<_> = waiting
                    .filter_map(|slot| lanes[usize::from(slot)].as_ref()?.sender.time())
                    .collect();
                moved |= run.open_window(times.into_iter());
            }
        }
        Ok(match (moved, held) {
            (true, _) => Turn::Moved,
            (false, true) => Turn::Held,
            (false, false) => Turn::Quiet,
        })
    }

    /// Records how far the lanes are, and lets go of those that are at their end.
    fn record(&mut self) -> Result<(), WireError> {
        let mut ended = Vec::new();
        for (slot, lane) in (0..).zip(&mut self.fleet.lanes) {
            let Some(lane) = lane else { continue };
            if lane.progress_in_flight == 0 && lane.sender.is_recorded_to_its_end() {
                ended.push(slot);
            }
            self.wire.record(slot, lane)?;
        }
        let has_room = !ended.is_empty();
        for &slot in &ended {
            self.forgotten.extend(self.fleet.forget_snapshots(slot));
        }
        self.fleet.release(ended);
        // Lanes that come to rest are not to be taken up again; what they rest for takes up the others.
        if has_room && self.hand_over.is_none() {
            self.fleet.take_up_left_out();
            self.note_refusals();
        }
        while let Some((partition, key)) = self.forgotten.last() {
            if !self.wire.forget(*partition, key)? {
                break;
            }
            self.forgotten.pop();
        }
        self.show();
        Ok(())
    }

    fn show(&self) {
        let positions: Vec<_> = self.fleet.positions().collect();
        let finished = positions.iter().filter(|progress| progress.ended).count();
        let metrics = &self.parts.metrics;
        metrics.lanes_owned.set(self.fleet.lanes().count().try_into().unwrap_or(i64::MAX));
        metrics.lanes_finished.set(finished.try_into().unwrap_or(i64::MAX));
        metrics.simulated_time.reset();
        for (name, run) in &self.fleet.runs {
            let own = positions.iter().filter(|progress| progress.run == run.record.run);
            let reached = own
                .map(|progress| {
                    if progress.ended { run.specification().end() } else { progress.emission_time }
                })
                .min();
            if let Some(reached) = reached {
                let seconds = i64::try_from(reached.unix_ms() / 1000).unwrap_or(i64::MAX);
                metrics.simulated_time.with_label_values(&[name.as_str()]).set(seconds);
            }
        }
        self.parts.committed.set_busy(self.fleet.lanes().next().is_some());
        self.parts.observer.show(positions);
    }

    /// Records how far lanes are that come to rest, and does what they rest for when all are there.
    fn go_on_handing_over(&mut self, now: Moment) -> Result<(), WireError> {
        let Some(hand_over) = &self.hand_over else { return Ok(()) };
        let mut outstanding = 0;
        for &slot in &hand_over.slots {
            let Some(lane) = self.fleet.lane_mut(slot) else { continue };
            if lane.sender.in_flight() == 0 {
                self.wire.record(slot, lane)?;
            }
            outstanding += lane.outstanding();
        }
        if outstanding == 0 {
            self.end_hand_over();
        } else if now.instant >= hand_over.deadline {
            return Err(WireError::Late { in_flight: outstanding, waited: DRAIN_TIMEOUT });
        }
        Ok(())
    }

    /// Lets the lanes of the hand-over go, and does what they were stopped for.
    fn end_hand_over(&mut self) {
        if let Some(HandOver { slots, command, .. }) = self.hand_over.take() {
            self.fleet.release(slots);
            self.carry_out(command);
        }
    }

    /// Does as it is told, when no lane is in the way of it.
    fn carry_out(&mut self, command: Command) {
        match command {
            Command::Control { name, record } => {
                let state = record.as_ref().map(|record| record.state.as_str());
                info!(run = name, state, "control record");
                self.fleet.apply(&name, record.map(|record| *record));
            }
            Command::Unreadable { name, error } => self.fleet.refuse(name, error),
            Command::Partitions(partitions) => {
                info!(partitions.events, partitions.lanes, "topics have other partitions");
                self.fleet.lay_out(partitions);
            }
            Command::Owned { partition, recorded } => {
                let (lanes, snapshots) = (recorded.progress.len(), recorded.snapshots.len());
                info!(
                    partition,
                    lanes_with_progress = lanes,
                    lanes_with_snapshots = snapshots,
                    "partition of lanes owned"
                );
                self.fleet.own(partition, recorded);
            }
            Command::Revoked { partitions, done } => {
                self.fleet.disown(&partitions);
                info!(?partitions, "partitions of lanes given up");
                // Who asked may have stopped waiting.
                let _ = done.send(());
            }
        }
        self.note_refusals();
        self.forgotten.extend(self.fleet.forget_deleted());
        for run in self.fleet.runs.values() {
            for partition in 0..run.specification().events_partitions {
                self.parts.committed.watch(partition);
            }
        }
        self.show();
    }

    /// Keeps visible what is not driven here: says it once and in `/readyz`, and counts it.
    fn note_refusals(&mut self) {
        let refused = self.fleet.refused();
        let told: BTreeMap<String, String> =
            refused.iter().map(|(run, refusal)| (run.clone(), chain(refusal))).collect();
        for (run, reason) in &told {
            if self.refused.get(run) != Some(reason) {
                error!(run, reason, "run refused, the others go on");
            }
        }
        for run in self.refused.keys().filter(|run| !told.contains_key(*run)) {
            info!(run, "run not refused any more");
        }
        if told != self.refused {
            let reasons: Vec<_> = told
                .iter()
                .map(|(run, reason)| format!("run `{run}` is refused: {reason}"))
                .collect();
            if reasons.is_empty() {
                self.parts.health.release(HEALTH_RUNS);
            } else {
                self.parts.health.hold(HEALTH_RUNS, reasons.join("; "));
            }
        }
        self.refused = told;
        self.parts.metrics.runs_refused.set(i64::try_from(self.refused.len()).unwrap_or(i64::MAX));
    }

    /// Gives the client up, and starts every lane again from what was acknowledged.
    fn recover(&mut self, failure: &WireError, now: Moment) -> Result<(), ClientError> {
        let pause = self.backoff.pause();
        self.parts.metrics.delivery_failures.inc();
        let reason = chain(failure);
        warn!(error = reason, ?pause, "client given up, its lanes resume");
        self.parts.health.hold(HEALTH_DELIVERY, reason);
        self.wire.replace(self.parts.kafka.connect()?);
        if let Some(snapshots) = &mut self.snapshots {
            snapshots.give_up();
        }
        self.renewed = Some(now.instant + pause);
        // Reports of lanes that come to rest would find no lane, or another: they go with the client.
        self.end_hand_over();
        self.fleet.restart();
        Ok(())
    }
}

#[cfg(test)]
mod tests;
