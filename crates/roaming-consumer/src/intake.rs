//! The thread that reads the log: poll, decide in pure code, apply.
//!
//! One thread decodes and counts for all partitions of this replica and never waits for store or
//! broker: what it asks of them is done at the [`Desk`], one thing at a time for each partition. While
//! the store writes, counting goes on, up to the bounds of [`Config`].

mod readiness;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use rdkafka::consumer::CommitMode;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message};
use roaming_analytics::Partition;
use roaming_service::health::Health;
use roaming_service::kafka::KafkaSettings;
use roaming_service::telemetry::chain;
use roaming_store::{Acquired, Disposition, Store, StoreError, StoredRow};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use crate::blockage::Blockage;
use crate::checkpoint::{Answer, Desk, Ends, JobError, TakenOver, Ticket, What, Written};
use crate::group::{Change, Group};
use crate::intake::readiness::BrokerCalls;
use crate::last_record::log_time_ms;
use crate::partition_task::{
    After, Arrival, Counting, Flight, Flush, Hold, OffsetCheck, PartitionTask, Stage, Trouble,
};
use crate::runs::Runs;
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

/// The intake of one replica.
pub(crate) struct Intake<S> {
    pub(crate) config: Config,
    pub(crate) group: Group,
    pub(crate) desk: Desk<S>,
    pub(crate) answers: Receiver<Answer>,
    pub(crate) runs: Arc<Runs<S>>,
    pub(crate) metrics: ConsumerMetrics,
    pub(crate) health: Health,
    /// Says how many partitions are being counted.
    pub(crate) owned: watch::Sender<usize>,
    pub(crate) state: IntakeState,
}

/// What the thread keeps.
pub(crate) struct IntakeState {
    tasks: BTreeMap<u16, PartitionTask>,
    tickets: Ticket,
    /// Stored offsets that Kafka has not been told.
    offsets: BTreeMap<u16, u64>,
    offsets_told: Option<Instant>,
    all_offsets_told: Option<Instant>,
    lag_measured: Option<Instant>,
    broker: BrokerCalls,
    /// What keeps the log from being read.
    blockage: Blockage,
}

impl<S: Store> Intake<S> {
    /// Counts until `stop`, then hands everything over.
    pub(crate) fn run(mut self, stop: &CancellationToken) -> Result<(), ConsumerError> {
        while !stop.is_cancelled() {
            if !self.poll_batch()? {
                // Not in a poll, which spins for the last millisecond of its wait.
                if let Ok(answer) = self.answers.recv_timeout(REST) {
                    self.apply(answer)?;
                }
            }
            self.tick(Instant::now())?;
        }
        let all: Vec<u16> = self.state.tasks.keys().copied().collect();
        self.hand_over(&all)
    }

    /// Takes what is there, at most [`BATCH_MAX`] records; returns whether there was anything.
    fn poll_batch(&mut self) -> Result<bool, ConsumerError> {
        let Self { config, group, runs, metrics, state, .. } = self;
        for polled in 0..BATCH_MAX {
            match group.client().poll(Duration::ZERO) {
                None => return Ok(polled > 0),
                Some(Ok(message)) => {
                    if state.blockage.is_there() {
                        state.blockage.clear();
                    }
                    state.take(&message, config, group, runs)?;
                }
                Some(Err(error)) => state.take_error(error, &config.kafka, metrics)?,
            }
        }
        Ok(true)
    }

    /// Does all that is due.
    fn tick(&mut self, now: Instant) -> Result<(), ConsumerError> {
        for change in self.group.changes() {
            match change {
                Change::Assigned(partitions) => {
                    self.state.blockage.joined();
                    self.take_over(&partitions);
                }
                Change::Revoked(partitions) => {
                    let result = self.hand_over(&partitions);
                    // Whatever became of them: the group waits for this.
                    self.group.give_up(&partitions)?;
                    result?;
                }
            }
        }
        while let Ok(answer) = self.answers.try_recv() {
            self.apply(answer)?;
        }
        self.ask_for_runs();
        self.start_due(now)?;
        self.flush_due(now, self.config.flush_interval);
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
        for partition in partitions {
            self.state.tickets += 1;
            let ticket = self.state.tickets;
            self.desk.acquire(ticket, *partition);
            self.state.tasks.insert(*partition, PartitionTask::new(*partition, ticket));
        }
    }

    /// Stores what partitions have counted and lets them go: the same for a rebalance and for a stop.
    fn hand_over(&mut self, partitions: &[u16]) -> Result<(), ConsumerError> {
        info!(?partitions, "handing partitions over");
        let deadline = Instant::now() + self.config.grace / 2;
        loop {
            let now = Instant::now();
            self.flush_due(now, Duration::ZERO);
            let is_settled =
                |partition| self.state.tasks.get(partition).is_none_or(PartitionTask::is_settled);
            if partitions.iter().all(is_settled) {
                break;
            }
            match self.answers.recv_timeout(deadline.saturating_duration_since(now).min(REST)) {
                Ok(answer) => self.apply(answer)?,
                Err(RecvTimeoutError::Timeout) if now < deadline => {}
                Err(_) => {
                    warn!(?partitions, "not all was stored in time; the next owner reads it again");
                    break;
                }
            }
        }
        if !self.group.has_lost_assignment() {
            self.tell_offsets(Instant::now() + OFFSETS_INTERVAL, CommitMode::Sync);
        }
        for partition in partitions {
            self.state.tasks.remove(partition);
            self.state.offsets.remove(partition);
            self.metrics.forget(*partition);
        }
        self.tell_troubles();
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
                self.desk.learn(ticket, number);
            }
        }
    }

    /// Starts partitions that the client is ready for, and asks again for those that rested.
    fn start_due(&mut self, now: Instant) -> Result<(), ConsumerError> {
        let mut resumed = Vec::new();
        for task in self.state.tasks.values_mut() {
            match &mut task.stage {
                Stage::Resting(until) if *until <= now => {
                    task.stage = Stage::Acquiring;
                    self.desk.acquire(task.ticket, task.number);
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

    /// Asks for a checkpoint of each partition that has something to store and stored nothing for
    /// `interval`.
    fn flush_due(&mut self, now: Instant, interval: Duration) {
        let mut is_slow = false;
        for task in self.state.tasks.values_mut() {
            let (number, ticket) = (task.number, task.ticket);
            let Some(counting) = task.counting() else { continue };
            if let Some(Flight::Writing(in_flight)) = &counting.flight {
                is_slow |= now.duration_since(in_flight.since) > SLOW_WRITE;
            }
            if counting.is_due(now, interval) {
                ask(&self.desk, number, ticket, counting, now);
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

    fn apply(&mut self, answer: Answer) -> Result<(), ConsumerError> {
        let Answer { ticket, what } = answer;
        let mut tasks = self.state.tasks.values();
        let partition = tasks.find(|task| task.ticket == ticket).map(|task| task.number);
        match (what, partition) {
            (What::Looked(result), _) => {
                self.state.blockage.end_look(ticket, result);
                Ok(())
            }
            (What::Answered(result), _) => {
                self.answered(result);
                Ok(())
            }
            (_, None) => Ok(()),
            (What::Acquired(Ok(taken)), Some(partition)) => self.begin(partition, taken),
            (What::Acquired(Err(error)), Some(partition)) => self.rest(partition, error),
            (What::Rows(result), Some(partition)) => self.supply(partition, result),
            (What::Written(written), Some(partition)) => self.conclude(partition, written),
            (What::Learned(result), Some(partition)) => self.learned(partition, result),
            (What::Ends(result), Some(partition)) => self.measured(partition, &result),
        }
    }

    /// Begins to count an acquired partition.
    fn begin(&mut self, partition: u16, taken: TakenOver) -> Result<(), ConsumerError> {
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
            self.metrics.stored(&in_doubt.delta, 0, in_doubt.since.elapsed());
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
        task.stage =
            Stage::Counting(Box::new(Counting::new(machine, epoch, ends.low, Instant::now())));
        self.tell_troubles();
        self.tell_owned();
        Ok(())
    }

    /// Throws the state of a partition away and asks for it again after a pause.
    fn rest(&mut self, partition: u16, error: JobError) -> Result<(), ConsumerError> {
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
        task.stage = Stage::Resting(Instant::now() + pause);
        self.group.pause(partition)?;
        self.tell_troubles();
        self.tell_owned();
        Ok(())
    }

    fn supply(
        &mut self,
        partition: u16,
        result: Result<Vec<StoredRow>, JobError>,
    ) -> Result<(), ConsumerError> {
        let rows = match result {
            Ok(rows) => rows,
            Err(error) => return self.retry_later(partition, error),
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
        ask(&self.desk, partition, ticket, counting, Instant::now());
        Ok(())
    }

    /// Takes the result of a checkpoint.
    fn conclude(&mut self, partition: u16, written: Written) -> Result<(), ConsumerError> {
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
                    counting.release(Instant::now());
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
            return self.rest(partition, error);
        }
        counting.open.take_back(in_flight.delta);
        letters_left.append(&mut counting.letters);
        counting.letters = letters_left;
        self.retry_later(partition, error)
    }

    /// Pauses a partition until the store takes its checkpoint. Its state is kept: nothing is dropped.
    fn retry_later(&mut self, partition: u16, error: JobError) -> Result<(), ConsumerError> {
        self.metrics.error(error.kind());
        let error = error.waitable()?;
        let Some(task) = self.state.tasks.get_mut(&partition) else { return Ok(()) };
        let pause = task.backoff.pause();
        let Some(counting) = task.counting() else { return Ok(()) };
        warn!(partition, error = chain(&error), ?pause, "partition waits for its checkpoint");
        counting.flight = None;
        counting.retry_at = Some(Instant::now() + pause);
        counting.hold = Some(Hold::Unavailable);
        task.trouble = Some(Trouble::from(&error));
        self.tell_troubles();
        self.group.pause(partition)
    }

    fn learned(
        &mut self,
        partition: u16,
        result: Result<u64, JobError>,
    ) -> Result<(), ConsumerError> {
        let Some(task) = self.state.tasks.get_mut(&partition) else { return Ok(()) };
        let Some(counting) = task.counting() else { return Ok(()) };
        counting.is_learning = false;
        match result {
            Ok(through) => {
                counting.runs_known_before = through;
                if counting.hold == Some(Hold::UnknownRun) {
                    counting.release(Instant::now());
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
    pub(crate) fn new(blockage: Blockage) -> Self {
        Self {
            tasks: BTreeMap::new(),
            tickets: 0,
            offsets: BTreeMap::new(),
            offsets_told: None,
            all_offsets_told: None,
            lag_measured: None,
            broker: BrokerCalls::default(),
            blockage,
        }
    }

    fn take<S: Store>(
        &mut self,
        message: &BorrowedMessage<'_>,
        config: &Config,
        group: &Group,
        runs: &Runs<S>,
    ) -> Result<(), ConsumerError> {
        let partition = message.partition().unsigned_abs() as u16;
        let Some(counting) = self.tasks.get_mut(&partition).and_then(PartitionTask::counting)
        else {
            // Read ahead before a pause took hold; it comes again.
            return Ok(());
        };
        let arrival = Arrival {
            offset: message.offset().unsigned_abs(),
            log_time_ms: log_time_ms(message),
            key: message.key().unwrap_or_default(),
            payload: message.payload().unwrap_or_default(),
        };
        let after = counting.observe(&arrival, config.unstored_events_max, |run| runs.get(run));
        if let After::Pause(hold) = after {
            counting.hold = Some(hold);
            group.pause(partition)?;
        }
        Ok(())
    }

    fn take_error(
        &mut self,
        error: KafkaError,
        settings: &KafkaSettings,
        metrics: &ConsumerMetrics,
    ) -> Result<(), ConsumerError> {
        metrics.error("broker");
        if let KafkaError::MessageConsumptionFatal(_) = error {
            return Err(settings.explain("read roaming.events", error).into());
        }
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AutoOffsetReset) {
            error!(error = chain(&error), "the log does not hold an offset any more");
            // The error does not say which partition's.
            for task in self.tasks.values_mut() {
                task.offset_check = OffsetCheck::Wanted;
            }
        }
        // It tries again by itself; what only a person can mend is told.
        self.blockage.find(error);
        Ok(())
    }
}

/// Returns a partition that is being counted, and how far it is stored. Of any other the next owner may have
/// stored more.
fn stored_offset(task: &PartitionTask) -> Option<(u16, u64)> {
    let is_counted = matches!(task.stage, Stage::Counting(_));
    task.stored_offset.filter(|_| is_counted).map(|offset| (task.number, offset))
}

fn ask<S: Store>(
    desk: &Desk<S>,
    partition: u16,
    ticket: Ticket,
    counting: &mut Counting,
    now: Instant,
) {
    match counting.flush(now) {
        Some(Flush::Load(keys)) => desk.load(ticket, partition, keys),
        Some(Flush::Write(checkpoint, letters)) => {
            desk.write(ticket, counting.epoch, checkpoint, letters);
        }
        None => {}
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
