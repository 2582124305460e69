//! What reads the log: poll, decide in pure code, apply.
//!
//! One thread decodes and counts for all partitions of this replica and never waits for store or
//! broker: what it asks of them is done at the [`Desk`], one thing at a time for each partition. While
//! the store writes, or partitions are handed over, counting goes on, up to the bounds of [`Config`].
//!
//! [`Intake::step`] knows no clock and no thread, so that a simulation can drive it.

mod readiness;

use std::collections::BTreeMap;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use rdkafka::consumer::CommitMode;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use roaming_analytics::Partition;
use roaming_service::health::Health;
use roaming_service::kafka::KafkaSettings;
use roaming_service::telemetry::chain;
use roaming_store::{Acquired, Disposition, StoreError, StoredRow};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use crate::blockage::Blockage;
use crate::desk::{Answer, Desk, Ends, JobError, Request, TakenOver, Ticket, What, Written};
use crate::group::{Arrival, Change, Group};
use crate::intake::readiness::BrokerCalls;
use crate::partition_task::{After, Counting, Flight, Hold, PartitionTask, Stage, Trouble};
use crate::runs::KnownRuns;
use crate::{Config, ConsumerError, ConsumerMetrics};

/// How long the log is left alone where it has nothing new.
const REST: Duration = Duration::from_millis(5);
/// The most records between two looks at answers and clocks.
const BATCH_MAX: usize = 500;
/// Time between two commits of offsets to Kafka: well below the producer's flow-control limit at speed.
const OFFSETS_INTERVAL: Duration = Duration::from_millis(50);
/// Time between two commits of every stored offset, changed or not. A commit that meets a rebalance fails,
/// and a partition that is read to its end has no later one: the producer would wait for it for ever.
const OFFSETS_REPEAT: Duration = Duration::from_secs(2);
/// The longest that the client may take to start a partition after it was asked to.
const START_MAX: Duration = Duration::from_secs(30);
/// A checkpoint that takes longer makes the replica unready; it is waited for all the same.
const SLOW_WRITE: Duration = Duration::from_secs(10);

/// What an intake is made of.
pub struct IntakeParts<G, D> {
    /// How it counts.
    pub config: Config,
    /// What it reads.
    pub group: G,
    /// What it asks.
    pub desk: D,
    /// What it is answered.
    pub answers: Receiver<Answer>,
    /// The runs that are known.
    pub runs: KnownRuns,
    /// Where it counts.
    pub metrics: ConsumerMetrics,
    /// Where it says what keeps it from counting.
    pub health: Health,
    /// Says how many partitions are being counted.
    pub owned: watch::Sender<usize>,
}

/// The intake of one replica.
pub struct Intake<G, D> {
    config: Config,
    group: G,
    desk: D,
    answers: Receiver<Answer>,
    runs: KnownRuns,
    metrics: ConsumerMetrics,
    health: Health,
    owned: watch::Sender<usize>,
    state: IntakeState,
}

/// What it keeps.
struct IntakeState {
    tasks: BTreeMap<u16, PartitionTask>,
    tickets: Ticket,
    /// Partitions on their way to other owners.
    hand_overs: Vec<HandOver>,
    /// Stored offsets that Kafka has not been told.
    offsets: BTreeMap<u16, u64>,
    offsets_told: Option<Instant>,
    all_offsets_told: Option<Instant>,
    lag_measured: Option<Instant>,
    broker: BrokerCalls,
    /// Whether the log refused an offset; of which partition is not told.
    is_refused: bool,
    /// What keeps the log from being read.
    blockage: Blockage,
}

/// Partitions that are let go as soon as what was counted of them is stored.
struct HandOver {
    partitions: Vec<u16>,
    /// When they are let go whatever is stored.
    deadline: Instant,
    /// Whether the group waits for them: it does not where the whole replica stops.
    is_revoked: bool,
}

impl<G: Group, D: Desk> Intake<G, D> {
    /// Makes an intake that has read nothing yet.
    pub fn new(parts: IntakeParts<G, D>) -> Self {
        let IntakeParts { config, group, desk, answers, runs, metrics, health, owned } = parts;
        let state = IntakeState::new(Blockage::new(config.kafka.clone(), health.clone()));
        Self { config, group, desk, answers, runs, metrics, health, owned, state }
    }

    /// Counts until `stop`, then hands everything over.
    ///
    /// # Errors
    /// Fails where a person must act: the error says what to do.
    pub fn run(self, stop: &CancellationToken) -> Result<(), ConsumerError> {
        self.run_until(|_| stop.is_cancelled())
    }

    /// Counts until `is_over` says so, then hands everything over.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn run_until(
        mut self,
        mut is_over: impl FnMut(&Self) -> bool,
    ) -> Result<(), ConsumerError> {
        while !is_over(&self) {
            if !self.step(Instant::now())? {
                self.rest()?;
            }
        }
        self.stop(Instant::now())?;
        while !self.has_stopped() {
            self.rest()?;
            self.tick(Instant::now())?;
        }
        Ok(())
    }

    /// Waits for an answer, a moment at most: not in a poll, which spins for the last millisecond of its wait.
    fn rest(&mut self) -> Result<(), ConsumerError> {
        match self.answers.recv_timeout(REST) {
            Ok(answer) => self.apply(answer, Instant::now()),
            Err(_) => Ok(()),
        }
    }

    /// Takes what the log has, [`BATCH_MAX`] records at most, and does all that is due at `now`; returns
    /// whether there was any.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn step(&mut self, now: Instant) -> Result<bool, ConsumerError> {
        let has_read = self.poll_batch(now)?;
        self.tick(now)?;
        Ok(has_read)
    }

    /// Begins to hand everything over. From here on [`tick`](Self::tick) is called, and nothing is read.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn stop(&mut self, now: Instant) -> Result<(), ConsumerError> {
        let all = self.state.tasks.keys().copied().collect();
        self.begin_hand_over(all, now, false)
    }

    /// Returns the offset up to which a partition of this replica is stored.
    pub fn stored(&self, partition: u16) -> Option<u64> {
        self.state.tasks.get(&partition)?.stored_offset
    }

    /// Whether everything is handed over.
    pub fn has_stopped(&self) -> bool {
        self.state.hand_overs.is_empty()
    }

    fn poll_batch(&mut self, now: Instant) -> Result<bool, ConsumerError> {
        let Self { config, group, runs, metrics, state, .. } = self;
        for polled in 0..BATCH_MAX {
            let taken = group.poll(|arrived| match arrived {
                Ok(arrival) => Ok(state.take(&arrival, config, runs)),
                Err(error) => state.take_error(error, now, &config.kafka, metrics).map(|()| None),
            });
            match taken.transpose()? {
                None => return Ok(polled > 0),
                Some(Some(to_pause)) => group.pause(to_pause)?,
                Some(None) => {}
            }
        }
        Ok(true)
    }

    /// Does all that is due.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn tick(&mut self, now: Instant) -> Result<(), ConsumerError> {
        for change in self.group.changes() {
            match change {
                Change::Assigned(partitions) => {
                    self.state.blockage.joined();
                    self.take_over(&partitions);
                }
                Change::Revoked(partitions) => self.begin_hand_over(partitions, now, true)?,
            }
        }
        while let Ok(answer) = self.answers.try_recv() {
            self.apply(answer, now)?;
        }
        self.acquire_refused(now)?;
        self.ask_for_runs();
        self.start_due(now)?;
        self.flush_due(now);
        self.end_hand_overs(now)?;
        self.tell_offsets(now, CommitMode::Async);
        self.measure_lag(now);
        self.look_at_log(now)
    }

    fn take_over(&mut self, partitions: &[u16]) {
        if partitions.is_empty() {
            debug!("no partitions assigned");
            return;
        }
        info!(?partitions, "partitions assigned");
        for &partition in partitions {
            self.state.tickets += 1;
            let ticket = self.state.tickets;
            self.desk.ask(ticket, Request::Acquire { partition });
            self.state.tasks.insert(partition, PartitionTask::new(partition, ticket));
        }
    }

    /// Begins to let partitions go: the same for a rebalance and for a stop.
    fn begin_hand_over(
        &mut self,
        partitions: Vec<u16>,
        now: Instant,
        is_revoked: bool,
    ) -> Result<(), ConsumerError> {
        info!(?partitions, "handing partitions over");
        for partition in &partitions {
            if let Some(task) = self.state.tasks.get_mut(partition) {
                task.is_leaving = true;
                self.group.pause(*partition)?;
            }
        }
        let deadline = now + self.config.grace / 2;
        self.state.hand_overs.push(HandOver { partitions, deadline, is_revoked });
        Ok(())
    }

    /// Lets go of partitions of which all that was counted is stored, or that have had their time.
    fn end_hand_overs(&mut self, now: Instant) -> Result<(), ConsumerError> {
        let tasks = &self.state.tasks;
        let is_settled =
            |partition: &u16| tasks.get(partition).is_none_or(PartitionTask::is_settled);
        let over: Vec<HandOver> = self
            .state
            .hand_overs
            .extract_if(.., |hand_over| {
                let is_late = now >= hand_over.deadline;
                let is_over = is_late || hand_over.partitions.iter().all(is_settled);
                if is_over && !hand_over.partitions.iter().all(is_settled) {
                    let partitions = &hand_over.partitions;
                    warn!(?partitions, "not all was stored in time; the next owner reads it again");
                }
                is_over
            })
            .collect();
        if over.is_empty() {
            return Ok(());
        }
        if !self.group.has_lost_assignment() {
            self.tell_offsets(now + OFFSETS_INTERVAL, CommitMode::Sync);
        }
        for HandOver { partitions, is_revoked, .. } in over {
            for partition in &partitions {
                self.state.tasks.remove(partition);
                self.state.offsets.remove(partition);
                self.metrics.forget(*partition);
            }
            if is_revoked {
                self.group.give_up(&partitions)?;
            }
        }
        self.tell_troubles();
        self.tell_owned();
        Ok(())
    }

    /// Acquires partitions again where the log refused an offset of one: store and log, both as they are then,
    /// say whether that is a loss.
    fn acquire_refused(&mut self, now: Instant) -> Result<(), ConsumerError> {
        if !std::mem::take(&mut self.state.is_refused) {
            return Ok(());
        }
        for task in self.state.tasks.values_mut() {
            if task.counting().is_some() {
                let pause = task.backoff.pause();
                task.rest_until(now + pause);
                self.group.pause(task.number)?;
            }
        }
        self.tell_owned();
        Ok(())
    }

    /// Has the control topic read for partitions that met an unknown run.
    fn ask_for_runs(&mut self) {
        for task in self.state.tasks.values_mut() {
            let (number, ticket) = (task.number, task.ticket);
            if let Some(counting) = task.counting()
                && counting.hold == Some(Hold::UnknownRun)
                && !counting.is_learning
            {
                counting.is_learning = true;
                self.desk.ask(ticket, Request::Learn { partition: number });
            }
        }
    }

    /// Starts partitions that the client is ready for, and asks again for those that rested.
    fn start_due(&mut self, now: Instant) -> Result<(), ConsumerError> {
        let mut resumed = Vec::new();
        let IntakeState { tasks, tickets, .. } = &mut self.state;
        for task in tasks.values_mut().filter(|task| !task.is_leaving) {
            match &mut task.stage {
                Stage::Resting(until) if *until <= now => {
                    task.stage = Stage::Acquiring;
                    // What was asked before may be answered still, and is not about what is counted anew.
                    *tickets += 1;
                    task.ticket = *tickets;
                    self.desk.ask(task.ticket, Request::Acquire { partition: task.number });
                }
                Stage::Counting(counting) if counting.hold == Some(Hold::Starting) => {
                    if self.group.resume(task.number, counting.next_offset())? {
                        counting.hold = None;
                        resumed.push(task.number);
                    } else if now.duration_since(counting.holding_since) > START_MAX {
                        return Err(ConsumerError::NotStarted { partition: task.number });
                    }
                }
                _ => {}
            }
        }
        if !resumed.is_empty() {
            self.group.rouse(&resumed);
        }
        Ok(())
    }

    /// Asks for a checkpoint of each partition that has something to store, and stored nothing for a while
    /// or is to be handed over.
    fn flush_due(&mut self, now: Instant) {
        let mut is_slow = false;
        for task in self.state.tasks.values_mut() {
            let ticket = task.ticket;
            let interval =
                if task.is_leaving { Duration::ZERO } else { self.config.flush_interval };
            let Some(counting) = task.counting() else { continue };
            if let Some(Flight::Writing(in_flight)) = &counting.flight {
                is_slow |= now.duration_since(in_flight.since) > SLOW_WRITE;
            }
            if counting.is_due(now, interval) {
                ask(&self.desk, ticket, counting, now);
            }
        }
        if is_slow {
            self.health.hold("store_speed", "a checkpoint has been waiting for over 10 s");
        } else {
            self.health.release("store_speed");
        }
    }

    fn tell_offsets(&mut self, now: Instant, mode: CommitMode) {
        let is_due = |told: Option<Instant>, interval| {
            told.is_none_or(|told| now.duration_since(told) >= interval)
        };
        if is_due(self.state.all_offsets_told, OFFSETS_REPEAT) {
            self.state.all_offsets_told = Some(now);
            self.state.offsets = self.state.tasks.values().filter_map(stored_offset).collect();
        }
        if self.state.offsets.is_empty() || !is_due(self.state.offsets_told, OFFSETS_INTERVAL) {
            return;
        }
        self.state.offsets_told = Some(now);
        let offsets = std::mem::take(&mut self.state.offsets);
        if let Err(error) = self.group.commit(offsets, mode) {
            self.metrics.error("offset_commit");
            warn!(error = chain(&error), "offsets not committed to Kafka");
        }
    }

    fn apply(&mut self, answer: Answer, now: Instant) -> Result<(), ConsumerError> {
        let Answer { ticket, what } = answer;
        let mut tasks = self.state.tasks.values();
        let partition = tasks.find(|task| task.ticket == ticket).map(|task| task.number);
        match (what, partition) {
            (What::Looked(result), _) => {
                self.state.blockage.end_look(ticket, result, now);
                Ok(())
            }
            (What::Answered(result), _) => {
                self.answered(result);
                Ok(())
            }
            (_, None) => Ok(()),
            (What::Acquired(Ok(taken)), Some(partition)) => self.begin(partition, taken, now),
            (What::Acquired(Err(error)), Some(partition)) => {
                self.rest_partition(partition, error, now)
            }
            (What::Rows(result), Some(partition)) => self.supply(partition, result, now),
            (What::Written(written), Some(partition)) => self.conclude(partition, written, now),
            (What::Learned(result), Some(partition)) => self.learned(partition, result, now),
            (What::Ends(result), Some(partition)) => {
                self.measured(partition, &result);
                Ok(())
            }
        }
    }

    /// Begins to count an acquired partition.
    fn begin(
        &mut self,
        partition: u16,
        taken: TakenOver,
        now: Instant,
    ) -> Result<(), ConsumerError> {
        let Some(task) = self.state.tasks.get_mut(&partition) else { return Ok(()) };
        let TakenOver { acquired: Acquired { epoch, snapshot }, ends, has_other_record } = taken;
        let next_offset = snapshot.next_offset;
        check_offset(partition, next_offset, ends)?;
        if has_other_record && let Some(next_offset) = next_offset {
            return Err(ConsumerError::OtherRecord { partition, offset: next_offset - 1 });
        }
        if let Some(in_doubt) = task.in_doubt.take()
            && next_offset == Some(in_doubt.next_offset)
        {
            // The checkpoint whose outcome was unknown did count.
            self.metrics.stored(&in_doubt.delta, 0, now.duration_since(in_doubt.since));
        }
        let mut machine = Partition::restore(partition, self.config.partition(), snapshot);
        for run in self.runs.newest() {
            machine.register_run(run.view());
        }
        info!(partition, %epoch, next_offset, "partition acquired");
        self.metrics.lanes(partition, machine.lanes());
        task.stored_offset = next_offset;
        task.backoff.reset();
        task.trouble = None;
        task.stage = Stage::Counting(Box::new(Counting::new(machine, epoch, ends.low, now)));
        self.tell_troubles();
        self.tell_owned();
        Ok(())
    }

    /// Throws the state of a partition away and asks for it again after a pause.
    fn rest_partition(
        &mut self,
        partition: u16,
        error: JobError,
        now: Instant,
    ) -> Result<(), ConsumerError> {
        self.metrics.error(error.kind());
        let error = error.waitable()?;
        let Some(task) = self.state.tasks.get_mut(&partition) else { return Ok(()) };
        let pause = task.backoff.pause();
        warn!(
            partition,
            error = chain(&error),
            ?pause,
            "partition is acquired again after a pause"
        );
        task.trouble = Some(Trouble::from(&error));
        task.rest_until(now + pause);
        self.group.pause(partition)?;
        self.tell_troubles();
        self.tell_owned();
        Ok(())
    }

    fn supply(
        &mut self,
        partition: u16,
        result: Result<Vec<StoredRow>, JobError>,
        now: Instant,
    ) -> Result<(), ConsumerError> {
        let rows = match result {
            Ok(rows) => rows,
            Err(error) => return self.retry_later(partition, error, now),
        };
        let Some(task) = self.state.tasks.get_mut(&partition) else { return Ok(()) };
        let ticket = task.ticket;
        let Some(counting) = task.counting() else { return Ok(()) };
        counting.flight = None;
        counting.machine.supply_rows(rows);
        if counting.has_loaded && counting.hold.is_none() {
            // Late events keep asking for rows faster than they are loaded: let the checkpoint catch up.
            self.group.pause(partition)?;
            counting.hold = Some(Hold::Checkpoint);
        }
        counting.has_loaded = true;
        ask(&self.desk, ticket, counting, now);
        Ok(())
    }

    /// Takes the result of a checkpoint.
    fn conclude(
        &mut self,
        partition: u16,
        written: Written,
        now: Instant,
    ) -> Result<(), ConsumerError> {
        let Written { result, took, letters_acknowledged, mut letters_left } = written;
        let Some(task) = self.state.tasks.get_mut(&partition) else { return Ok(()) };
        let Some(counting) = task.counting() else { return Ok(()) };
        let Some(Flight::Writing(in_flight)) = counting.flight.take() else { return Ok(()) };
        let in_flight = *in_flight;
        let error = match result {
            Ok(()) => {
                counting.machine.committed();
                counting.retry_at = None;
                self.metrics.stored(&in_flight.delta, letters_acknowledged, took);
                self.metrics.lanes(partition, counting.machine.lanes());
                let is_held = matches!(counting.hold, Some(Hold::Checkpoint | Hold::Unavailable));
                if is_held {
                    counting.release(now);
                }
                task.stored_offset = Some(in_flight.next_offset);
                task.backoff.reset();
                self.state.offsets.insert(partition, in_flight.next_offset);
                if task.trouble.take().is_some() {
                    self.tell_troubles();
                }
                return Ok(());
            }
            Err(error) => error,
        };
        if error.disposition() == Disposition::Fence {
            // A fenced checkpoint did not count, whatever the next owner has stored.
            task.in_doubt = matches!(error, JobError::Store(StoreError::UnknownOutcome { .. }))
                .then_some(in_flight);
            return self.rest_partition(partition, error, now);
        }
        counting.open.take_back(in_flight.delta);
        letters_left.append(&mut counting.letters);
        counting.letters = letters_left;
        self.retry_later(partition, error, now)
    }

    /// Pauses a partition until the store takes its checkpoint. Its state is kept: nothing is dropped.
    fn retry_later(
        &mut self,
        partition: u16,
        error: JobError,
        now: Instant,
    ) -> Result<(), ConsumerError> {
        self.metrics.error(error.kind());
        let error = error.waitable()?;
        let Some(task) = self.state.tasks.get_mut(&partition) else { return Ok(()) };
        let pause = task.backoff.pause();
        let Some(counting) = task.counting() else { return Ok(()) };
        warn!(partition, error = chain(&error), ?pause, "partition waits for its checkpoint");
        counting.flight = None;
        counting.retry_at = Some(now + pause);
        counting.hold = Some(Hold::Unavailable);
        task.trouble = Some(Trouble::from(&error));
        self.tell_troubles();
        self.group.pause(partition)
    }

    fn learned(
        &mut self,
        partition: u16,
        result: Result<u64, JobError>,
        now: Instant,
    ) -> Result<(), ConsumerError> {
        let Some(task) = self.state.tasks.get_mut(&partition) else { return Ok(()) };
        let Some(counting) = task.counting() else { return Ok(()) };
        counting.is_learning = false;
        match result {
            Ok(through) => {
                counting.runs_known_before = through;
                if counting.hold == Some(Hold::UnknownRun) {
                    counting.release(now);
                    task.trouble = None;
                }
            }
            Err(error) => {
                self.metrics.error(error.kind());
                let error = error.waitable()?;
                warn!(partition, error = chain(&error), "runs not known yet, asking again");
                task.trouble = Some(Trouble::from(&error));
            }
        }
        self.tell_troubles();
        Ok(())
    }
}

impl IntakeState {
    fn new(blockage: Blockage) -> Self {
        Self {
            tasks: BTreeMap::new(),
            tickets: 0,
            hand_overs: Vec::new(),
            offsets: BTreeMap::new(),
            offsets_told: None,
            all_offsets_told: None,
            lag_measured: None,
            broker: BrokerCalls::default(),
            is_refused: false,
            blockage,
        }
    }

    /// Counts a record; returns its partition where that is to be paused.
    fn take(&mut self, arrival: &Arrival<'_>, config: &Config, runs: &KnownRuns) -> Option<u16> {
        if self.blockage.is_there() {
            self.blockage.clear();
        }
        let task = self.tasks.get_mut(&arrival.partition).filter(|task| !task.is_leaving)?;
        // Without it the record was read ahead before a pause took hold; it comes again.
        let counting = task.counting()?;
        match counting.observe(arrival, config.unstored_events_max, |run| runs.get(run)) {
            After::GoOn => None,
            After::Pause(hold) => {
                counting.hold = Some(hold);
                Some(arrival.partition)
            }
        }
    }

    fn take_error(
        &mut self,
        error: KafkaError,
        now: Instant,
        settings: &KafkaSettings,
        metrics: &ConsumerMetrics,
    ) -> Result<(), ConsumerError> {
        metrics.error("broker");
        if let KafkaError::MessageConsumptionFatal(_) | KafkaError::ClientCreation(_) = error {
            return Err(settings.explain("read roaming.events", error).into());
        }
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AutoOffsetReset) {
            error!(error = chain(&error), "the log does not hold an offset any more");
            self.is_refused = true;
        }
        // It tries again by itself; what only a person can mend is told.
        self.blockage.find(error, now);
        Ok(())
    }
}

/// Returns a partition that is being counted, and how far it is stored. Of any other the next owner may have
/// stored more.
fn stored_offset(task: &PartitionTask) -> Option<(u16, u64)> {
    let is_counted = matches!(task.stage, Stage::Counting(_));
    task.stored_offset.filter(|_| is_counted).map(|offset| (task.number, offset))
}

fn ask(desk: &impl Desk, ticket: Ticket, counting: &mut Counting, now: Instant) {
    if let Some(request) = counting.flush(now) {
        desk.ask(ticket, request);
    }
}

/// Checks that the log holds what is to be read next.
fn check_offset(partition: u16, next_offset: Option<u64>, ends: Ends) -> Result<(), ConsumerError> {
    let Ends { low, high } = ends;
    match next_offset {
        Some(next_offset) if next_offset < low => {
            Err(ConsumerError::Overtaken { partition, next_offset, low })
        }
        Some(next_offset) if next_offset > high => {
            Err(ConsumerError::LogTooShort { partition, next_offset, high })
        }
        _ => Ok(()),
    }
}
