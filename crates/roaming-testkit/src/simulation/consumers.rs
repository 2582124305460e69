//! Replicas of the consumer: its production code, over a simulated group, desk and clock.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use prometheus::Registry;
use roaming_analytics::invariant::Subject;
use roaming_analytics::{Checkpoint, LaneRow};
use roaming_consumer::intake::{Intake, IntakeParts};
use roaming_consumer::{Config, ConsumerError, ConsumerMetrics, KnownRuns, desk::Answer};
use roaming_events::LaneId;
use roaming_service::health::Health;
use roaming_service::kafka::{Broker, KafkaSettings};
use tokio::sync::watch;

use super::coordinator::{Coordinator, MemberId};
use super::desk::{self, Job, Questions};
use super::group::Member;
use super::report::{Finding, Outcome};
use super::{LIVENESS_TICKS_MAX, World, check};
use crate::fault::Faults;
use crate::store::{Epoch, StoreError};

/// The consumer group.
pub(super) const GROUP: &str = "roaming-consumer";
/// The most replicas at a time.
const REPLICAS_MAX: u64 = 3;
/// The most records that a client fetches of a partition at a time.
const FETCH_MAX: u64 = 20;
/// How many answers in a thousand wait for long, and for how many ticks at most.
const ANSWER_LATE: u32 = 30;
const ANSWER_TICKS_MAX: u64 = 60;
/// How long a partition may take to be handed over.
const GRACE: Duration = Duration::from_secs(4);

/// All replicas, the group, and what was written beside the log.
pub(super) struct Consumers {
    replicas: Vec<Replica>,
    coordinator: Coordinator,
    /// How many replicas are to run.
    wanted: usize,
    /// Checkpoints on their way to the store whose owners are gone.
    orphans: Vec<(Epoch, Box<Checkpoint>)>,
    pub(super) topics: Topics,
    partitions: u16,
    ids: MemberId,
}

/// What consumers wrote.
#[derive(Default)]
pub(super) struct Topics {
    /// The topic `roaming.events.dlq`, deduplicated by origin.
    pub(super) dead_letters: BTreeSet<(u16, u64)>,
    /// The newest epoch of each partition.
    pub(super) epochs: BTreeMap<u16, Epoch>,
}

/// One process.
struct Replica {
    id: MemberId,
    intake: Intake<Member, Questions>,
    member: Member,
    questions: Questions,
    jobs: Vec<Job>,
    /// Answers that wait for long, and the tick at which they come.
    late: Vec<(u64, Answer)>,
    answers: Sender<Answer>,
    runs: KnownRuns,
    /// The tick at which it learns that it is no member any more, where it is not.
    zombie_until: Option<u64>,
    is_stopping: bool,
}

impl Consumers {
    pub(super) fn new(partitions: u16) -> Self {
        Self {
            replicas: Vec::new(),
            coordinator: Coordinator::default(),
            wanted: 1,
            orphans: Vec::new(),
            topics: Topics::default(),
            partitions,
            ids: 0,
        }
    }

    /// Lets faults happen.
    pub(super) fn fail(&mut self, world: &mut World<'_>) {
        let Faults { consumer_crash, consumer_rebalance, rewind, truncation, .. } = world.faults;
        if world.fault.chance(consumer_crash) && !self.replicas.is_empty() {
            let replica = self.replicas.swap_remove(world.fault.index(self.replicas.len()));
            world.report.count("consumer crash");
            world.trace.note(format!("{}: consumer {} crashes", world.tick, replica.id));
            self.bury(world, replica);
        }
        if world.fault.chance(consumer_rebalance) && !self.replicas.is_empty() {
            let index = world.fault.index(self.replicas.len());
            self.rebalance(world, index);
        }
        if world.fault.chance(rewind) && !self.replicas.is_empty() {
            let index = world.fault.index(self.replicas.len());
            let back = world.fault.between(1, FETCH_MAX);
            if self.replicas[index].member.rewind(&world.log, back) {
                world.report.count("rewind");
            }
        }
        if world.fault.chance(truncation) {
            for partition in 0..self.partitions {
                let stored = world.store.inner().stored(partition).next_offset.unwrap_or(0);
                world.log.truncate(partition, stored);
            }
            world.report.count("truncation");
        }
    }

    /// Moves partitions: to others, with a replica more or less, or away from one that does not know.
    fn rebalance(&mut self, world: &mut World<'_>, index: usize) {
        let replica = &mut self.replicas[index];
        if replica.jobs.iter().any(|job| matches!(job, Job::Writing { .. })) {
            world.report.count("consumer rebalance in a flush");
        }
        match world.fault.below(4) {
            0 => {
                world.report.count("partitions moved");
                self.coordinator.rotate();
            }
            1 => {
                world.report.count("consumers scaled");
                self.wanted = world.fault.between(1, REPLICAS_MAX) as usize;
            }
            _ if !replica.is_stopping && replica.zombie_until.is_none() => {
                let ticks = world.fault.between(0, world.faults.zombie_ticks_max);
                replica.zombie_until = Some(world.tick + ticks);
                world.report.count("consumer expelled");
                world.trace.note(format!("{}: consumer {} is expelled", world.tick, replica.id));
                self.coordinator.expel(replica.id);
            }
            _ => {}
        }
    }

    /// Keeps what a process that is gone has on its way to the store.
    fn bury(&mut self, world: &mut World<'_>, replica: Replica) {
        world.trace.note(format!("{}: consumer {} is gone", world.tick, replica.id));
        let ticks = world.schedule.between(0, world.faults.zombie_ticks_max);
        self.coordinator.falls_silent(replica.id, world.tick + ticks);
        self.orphans.extend(replica.jobs.into_iter().filter_map(|job| match job {
            Job::Writing { epoch, checkpoint, .. } => Some((epoch, checkpoint)),
            Job::Asked(..) | Job::Done(_) => None,
        }));
    }

    /// Ends all processes at once; nothing of theirs is on its way any more.
    pub(super) fn crash_all(&mut self) {
        for Replica { id, .. } in self.replicas.drain(..) {
            self.coordinator.expel(id);
        }
    }

    /// Runs until a consumer tells what the log has lost, and checks that this is what it has lost.
    pub(super) fn tell_loss(&mut self, world: &mut World<'_>) -> Outcome {
        for _ in 0..LIVENESS_TICKS_MAX {
            world.tick += 1;
            let Err(finding) = self.tick(world) else { continue };
            let Finding::Consumer(error) = &finding else { return Err(finding) };
            let stored = |partition| world.store.inner().stored(partition).next_offset;
            let is_exact = match *error {
                ConsumerError::Overtaken { partition, next_offset, low } => {
                    stored(partition) == Some(next_offset) && low == world.log.start(partition)
                }
                ConsumerError::LogTooShort { partition, next_offset, high } => {
                    stored(partition) == Some(next_offset) && high == world.log.end(partition)
                }
                _ => false,
            };
            return if is_exact { Ok(()) } else { Err(finding) };
        }
        Err(Finding::Stuck { ticks: LIVENESS_TICKS_MAX })
    }

    /// Lets everybody know where they stand.
    pub(super) fn heal(&mut self, world: &mut World<'_>) -> Outcome {
        for replica in &mut self.replicas {
            replica.zombie_until = replica.zombie_until.map(|_| world.tick);
        }
        self.coordinator.time_out(u64::MAX);
        while !self.orphans.is_empty() {
            self.arrive(world)?;
        }
        Ok(())
    }

    /// Whether everything in the log is in the store, and the group knows.
    pub(super) fn are_idle(&self, world: &World<'_>) -> bool {
        let is_idle = |partition| {
            let end = world.log.end(partition);
            let stored = world.store.inner().stored(partition).next_offset.unwrap_or(0);
            stored == end && world.log.committed(GROUP, partition).unwrap_or(0) == end
        };
        self.coordinator.is_settled(self.partitions) && (0..self.partitions).all(is_idle)
    }

    /// Checks that the watermarks of all runs have come up to the time allowed.
    pub(super) fn check_watermarks(&self, world: &World<'_>) -> Outcome {
        // A number that is missing for good, because its record is broken, holds its lane's time; and a
        // lane that has ended says nothing of later times.
        if world.options.faults.damage > 0 || world.until > world.scenario.end() {
            return Ok(());
        }
        for partition in 0..self.partitions {
            let stored = world.store.inner().stored(partition);
            for view in world.scenario.runs() {
                let mut lanes =
                    LaneId::all(view.lanes).filter(|l| l.partition(view.partitions) == partition);
                let is_open =
                    |lane| !stored.lanes.get(&(view.run, lane)).is_some_and(LaneRow::is_finished);
                if lanes.any(is_open) {
                    let watermark = stored.watermarks.get(&view.run).copied().unwrap_or_default();
                    check(&Subject::Reached { watermark, sent: world.until })?;
                }
            }
        }
        Ok(())
    }

    pub(super) fn tick(&mut self, world: &mut World<'_>) -> Outcome {
        self.coordinator.time_out(world.tick);
        self.scale(world)?;
        if world.schedule.chance(300) {
            for (id, change) in self.coordinator.assign(self.partitions) {
                // One whose process is gone hears nothing.
                if let Some(replica) = self.replicas.iter().find(|replica| replica.id == id) {
                    replica.member.tell(change);
                }
            }
        }
        if !self.orphans.is_empty() && world.schedule.chance(200) {
            self.arrive(world)?;
        }
        let mut index = 0;
        while index < self.replicas.len() {
            if self.drive(world, index)? {
                index += 1;
            } else {
                let replica = self.replicas.swap_remove(index);
                self.bury(world, replica);
            }
        }
        Ok(())
    }

    /// Starts and stops replicas until there are as many as wanted.
    fn scale(&mut self, world: &mut World<'_>) -> Outcome {
        let running = self.replicas.iter().filter(|replica| !replica.is_stopping).count();
        if running < self.wanted && world.schedule.chance(300) {
            self.ids += 1;
            let replica = Replica::start(world, self.ids);
            self.coordinator.join(replica.id);
            world.trace.note(format!("{}: consumer {} joins", world.tick, replica.id));
            self.replicas.push(replica);
        } else if running > self.wanted {
            let index = world.schedule.index(self.replicas.len());
            let replica = &mut self.replicas[index];
            if !replica.is_stopping {
                world.report.count("consumer stopped");
                replica.is_stopping = true;
                replica.intake.stop(world.now()).map_err(Finding::Consumer)?;
            }
        }
        Ok(())
    }

    /// Lets a replica do a little; returns whether it goes on.
    fn drive(&mut self, world: &mut World<'_>, index: usize) -> Result<bool, Finding> {
        let replica = &mut self.replicas[index];
        if world.schedule.chance(200) {
            // Another process has the processor.
            return Ok(true);
        }
        let ended = replica.step(world, &mut self.topics)?;
        let (commits, given_up) = replica.member.take_told();
        let id = replica.id;
        for (partition, told) in commits {
            let stored = world.store.inner().stored(partition).next_offset.unwrap_or(0);
            if told > stored {
                return Err(Finding::ToldTooMuch { partition, told, stored });
            }
            let is_lost = world.fault.chance(world.faults.offset_commit_lost);
            if self.coordinator.takes_offset(id, partition) && !is_lost {
                world.log.commit(GROUP, partition, told);
            } else {
                world.report.count("offset commit lost");
            }
        }
        self.coordinator.given_up(id, &given_up);
        if let Err(error) = ended {
            return self.end(world, index, error);
        }
        if replica.is_stopping && replica.intake.has_stopped() {
            self.coordinator.expel(id);
            return Ok(false);
        }
        if replica.zombie_until.is_some_and(|until| until <= world.tick) {
            if !self.coordinator.has(id) && replica.member.has_nothing() {
                replica.member.rejoined();
                replica.zombie_until = None;
                self.coordinator.join(id);
                world.report.count("consumer joined again");
                world.trace.note(format!("{}: consumer {id} joins again", world.tick));
            } else {
                replica.member.lose();
            }
        }
        Ok(true)
    }

    /// Takes that a replica ended by itself: it may where retention overtook it after its partitions went to
    /// others.
    fn end(
        &self,
        world: &mut World<'_>,
        index: usize,
        error: ConsumerError,
    ) -> Result<bool, Finding> {
        let Replica { id, zombie_until, .. } = self.replicas[index];
        let is_zombie = zombie_until.is_some();
        world
            .trace
            .note(format!("{}: consumer {id} ends, zombie until {zombie_until:?}", world.tick));
        if matches!(error, ConsumerError::Overtaken { .. }) && is_zombie {
            world.report.count("retention overtook a zombie");
            return Ok(false);
        }
        Err(Finding::Consumer(error))
    }

    /// Lets a checkpoint whose owner is gone reach the store.
    fn arrive(&mut self, world: &mut World<'_>) -> Outcome {
        let index = world.schedule.index(self.orphans.len());
        let (epoch, checkpoint) = self.orphans.swap_remove(index);
        world.report.count("orphaned checkpoint");
        self.topics.commit(world, epoch, &checkpoint).map(|_| ())
    }
}

impl Replica {
    fn start(world: &mut World<'_>, id: MemberId) -> Self {
        let (member, questions, runs) =
            (Member::default(), Questions::default(), KnownRuns::default());
        // The control topic is read at its own pace: some runs are known at once, others on demand.
        let schedule = &mut world.schedule;
        let known: BTreeSet<_> = world.scenario.runs().iter().map(|view| view.run).collect();
        let known: BTreeSet<_> = known.into_iter().filter(|_| schedule.chance(500)).collect();
        desk::know_runs(world, &runs, |run| known.contains(&run));
        let (answers, inbox) = channel();
        let partition = world.options.config;
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let config = Config {
            owner: id.to_string(),
            window: partition.window,
            flush_interval: world.options.flush_interval,
            unstored_events_max: world.options.unstored_events_max,
            gaps_max: partition.gaps_max,
            rows_max: partition.rows_max,
            grace: GRACE,
            ..Config::new(KafkaSettings::new("simulated", Broker::Kafka), listen)
        };
        let metrics = ConsumerMetrics::register(&Registry::new())
            .expect("the names of the metrics are distinct and the registry is new");
        let intake = Intake::new(IntakeParts {
            config,
            group: member.clone(),
            desk: questions.clone(),
            answers: inbox,
            runs: runs.clone(),
            metrics,
            health: Health::default(),
            owned: watch::Sender::new(0),
        });
        Self {
            id,
            intake,
            member,
            questions,
            jobs: Vec::new(),
            late: Vec::new(),
            answers,
            runs,
            zombie_until: None,
            is_stopping: false,
        }
    }

    /// Fetches, counts, and goes on with what was asked; the inner result is why it ended.
    fn step(
        &mut self,
        world: &mut World<'_>,
        topics: &mut Topics,
    ) -> Result<Result<(), ConsumerError>, Finding> {
        let is_slow = world.schedule.chance(300);
        self.member.be_slow_to_pause(is_slow);
        let schedule = &mut world.schedule;
        self.member.fetch(&world.log, || schedule.between(0, FETCH_MAX) as usize);
        let now = world.now();
        let stepped = if self.is_stopping {
            self.intake.tick(now)
        } else {
            self.intake.step(now).map(|_| ())
        };
        if stepped.is_err() {
            return Ok(stepped);
        }
        self.jobs.extend(self.questions.take());
        for job in std::mem::take(&mut self.jobs) {
            if world.schedule.chance(300) {
                self.jobs.push(job);
                continue;
            }
            match job.step(world, topics, &self.runs)? {
                Job::Done(answer) if world.schedule.chance(ANSWER_LATE) => {
                    let ticks = world.schedule.between(1, ANSWER_TICKS_MAX);
                    self.late.push((world.tick + ticks, answer));
                }
                Job::Done(answer) if world.schedule.chance(500) => {
                    // It fails only where the intake is gone.
                    let _ = self.answers.send(answer);
                }
                job => self.jobs.push(job),
            }
        }
        for (_, answer) in self.late.extract_if(.., |(tick, _)| *tick <= world.tick) {
            let _ = self.answers.send(answer);
        }
        Ok(Ok(()))
    }
}

impl Topics {
    /// Writes a checkpoint to the store and checks what the store makes of it.
    pub(super) fn commit(
        &self,
        world: &mut World<'_>,
        epoch: Epoch,
        checkpoint: &Checkpoint,
    ) -> Result<Result<(), StoreError>, Finding> {
        let partition = checkpoint.partition;
        let before = world.store.inner().stored(partition);
        let result = world.store.commit(epoch, checkpoint);
        let after = world.store.inner().stored(partition);
        world.report.count(match &result {
            Ok(()) => "commit",
            Err(StoreError::Fenced { .. }) => "commit fenced",
            Err(StoreError::UnknownOutcome) if after == before => "commit lost",
            Err(StoreError::UnknownOutcome) => "commit unacknowledged",
            Err(_) => "commit failed",
        });
        world.trace.note(format!(
            "{}: commit {partition} epoch {} offset {} lanes {} rows {}: {result:?}",
            world.tick,
            epoch.0,
            checkpoint.next_offset,
            checkpoint.lanes.len(),
            checkpoint.new_rows.len() + checkpoint.changed_rows.len()
        ));
        if after != before {
            let newest = self.epochs.get(&partition).copied().unwrap_or_default();
            check(&Subject::Commit { epoch: epoch.0, newest: newest.0 })?;
            world.oracle.check_stored(&before, &after)?;
        }
        Ok(result)
    }
}
