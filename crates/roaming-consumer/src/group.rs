//! Membership of the consumer group: which partitions are ours.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{mem, thread};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaRespErr;
use roaming_service::kafka::{
    CONSUMER_GROUP, KafkaSettings, KnownBrokers, REPLACED_INTERVAL, fatal_or, log_library_error,
    log_library_line,
};
use roaming_service::telemetry::chain;
use roaming_service::topics;
use tracing::{debug, error, warn};

use crate::ConsumerError;
use crate::last_record::log_time_ms;

/// The longest that the client library takes to move a position; it answers from its own thread.
const SEEK_TIMEOUT: Duration = Duration::from_secs(5);

/// The longest that [`KafkaGroup::rouse`] waits for an answer of which it needs nothing.
const ROUSE_TIMEOUT: Duration = Duration::from_millis(20);

/// What changed about the assignment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Partitions are ours now. They are paused.
    Assigned(Vec<u16>),
    /// Partitions are to be given up; the group waits for [`Group::give_up`].
    Revoked(Vec<u16>),
}

/// A member of the consumer group, as the intake uses it. The members of a group share the partitions of
/// `roaming.events` cooperatively: those that do not move are read on while others do.
pub trait Group {
    /// Calls `take` with the next record, or with what keeps it from being read, where one is there.
    fn poll<R>(&self, take: impl FnOnce(Result<Arrival<'_>, KafkaError>) -> R) -> Option<R>;

    /// Returns what changed since the last call.
    fn changes(&self) -> Vec<Change>;

    /// Lets a paused partition go on from `offset`.
    ///
    /// Returns `false` where the client is not ready for that yet: call again.
    ///
    /// # Errors
    /// Fails where the client refuses what must work; so do the other methods.
    fn resume(&self, partition: u16, offset: u64) -> Result<bool, ConsumerError>;

    /// Makes the client fetch resumed partitions at once.
    fn rouse(&self, partitions: &[u16]);

    /// Stops reading a partition. What was read ahead is dropped and comes again after a resume.
    fn pause(&self, partition: u16) -> Result<(), ConsumerError>;

    /// Tells the group how far partitions are stored: for lag tools, autoscalers and the producer's
    /// flow control. Where to go on is read from the store alone.
    ///
    /// [`CommitMode::Async`] does not say what came of it: the library logs a failure and nothing else.
    fn commit(
        &self,
        offsets: impl IntoIterator<Item = (u16, u64)>,
        mode: CommitMode,
    ) -> KafkaResult<()>;

    /// Whether the group has given our partitions away already: nothing can be committed to it then.
    fn has_lost_assignment(&self) -> bool;

    /// Gives revoked partitions up; called once for each [`Change::Revoked`], with its partitions.
    fn give_up(&self, partitions: &[u16]) -> Result<(), ConsumerError>;
}

/// A record as it came.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    /// Its partition of `roaming.events`.
    pub partition: u16,
    /// Its offset there.
    pub offset: u64,
    /// The time that the log gives it, where it gives one.
    pub log_time_ms: Option<u64>,
    /// Its message key.
    pub key: &'a [u8],
    /// Its payload.
    pub payload: &'a [u8],
}

/// A member of the group on Kafka, subscribed to `roaming.events`; or who reads all of it alone.
///
/// A client that is lost is given up for another, once its partitions are given up: to the intake that is a
/// rebalance like any other.
pub(crate) struct KafkaGroup {
    settings: KafkaSettings,
    share: Share,
    consumer: RefCell<BaseConsumer<Context>>,
    /// Partitions that were told as assigned and not given up. A lost client may know of none any more.
    held: RefCell<BTreeSet<u16>>,
    /// Those of them for which [`Group::give_up`] is owed.
    owed: RefCell<BTreeSet<u16>>,
    condition: Cell<Condition>,
    /// Whether this client took the place of one that the group took for another member.
    is_second: Cell<bool>,
    /// When this client was assigned partitions first.
    joined: Cell<Option<Instant>>,
}

/// What is read.
#[derive(Clone, Copy)]
enum Share {
    /// What the group gives its member.
    OfMember,
    /// All of so many partitions, outside of any group, which is told nothing.
    Whole(u16),
}

/// How the client is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Condition {
    Well,
    /// It reads nothing any more, and the intake has not heard of it.
    Lost,
    /// The intake gives its partitions up.
    Leaving,
}

/// Collects changes of the assignment, which the library tells from within a poll.
#[derive(Default)]
struct Context {
    changes: Mutex<Vec<Change>>,
    has_changes: AtomicBool,
    /// Set when the member leaves for good: nobody will call [`Group::give_up`] any more.
    is_leaving: AtomicBool,
    brokers: KnownBrokers,
}

impl KafkaGroup {
    pub(crate) fn join(settings: &KafkaSettings) -> Result<Self, ConsumerError> {
        Self::open(settings, Share::OfMember)
    }

    /// Takes all partitions, outside of any group.
    pub(crate) fn whole(settings: &KafkaSettings, partitions: u16) -> Result<Self, ConsumerError> {
        Self::open(settings, Share::Whole(partitions))
    }

    fn open(settings: &KafkaSettings, share: Share) -> Result<Self, ConsumerError> {
        let failed = |source| settings.explain("join the consumer group", source);
        Ok(Self {
            consumer: RefCell::new(connect(settings, share).map_err(failed)?),
            settings: settings.clone(),
            share,
            held: RefCell::default(),
            owed: RefCell::default(),
            condition: Cell::new(Condition::Well),
            is_second: Cell::default(),
            joined: Cell::default(),
        })
    }

    /// Whether the group took this member for another one because of this very member, see [`REPLACED_INTERVAL`].
    fn was_taken_for_two(&self, error: &KafkaError) -> bool {
        let has_time_passed =
            || self.joined.get().is_some_and(|joined| joined.elapsed() > REPLACED_INTERVAL);
        *error == KafkaError::MessageConsumptionFatal(RDKafkaErrorCode::FencedInstanceId)
            && (!self.is_second.get() || has_time_passed())
    }

    /// Keeps account of what the intake is told.
    fn tell(&self, changes: Vec<Change>) -> Vec<Change> {
        for change in &changes {
            match change {
                Change::Assigned(partitions) => {
                    self.held.borrow_mut().extend(partitions);
                    self.joined.set(self.joined.get().or_else(|| Some(Instant::now())));
                }
                Change::Revoked(partitions) => self.owed.borrow_mut().extend(partitions),
            }
        }
        changes
    }

    /// Returns what the intake has to give up because the client is lost.
    fn leave(&self) -> Vec<Change> {
        self.condition.set(Condition::Leaving);
        self.consumer.borrow().context().is_leaving.store(true, Ordering::Release);
        let (held, owed) = (self.held.borrow(), self.owed.borrow());
        let partitions: Vec<u16> = held.difference(&owed).copied().collect();
        if partitions.is_empty() { Vec::new() } else { vec![Change::Revoked(partitions)] }
    }

    /// Takes another client in place of the lost one, whose partitions are given up.
    fn replace(&self) -> KafkaResult<()> {
        let lost = self.consumer.replace(connect(&self.settings, self.share)?);
        self.condition.set(Condition::Well);
        self.joined.set(None);
        // It waits for brokers that it does not know before it ends.
        thread::spawn(move || {
            answer(&lost);
            drop(lost);
        });
        Ok(())
    }
}

/// Gives a lost client the answer that it may wait for: without it, it never ends.
fn answer(lost: &BaseConsumer<Context>) {
    let answered = lost.assignment().and_then(|assigned| lost.incremental_unassign(&assigned));
    if let Err(error) = answered {
        debug!(error = chain(&error), "a lost client has nothing to give up");
    }
}

fn connect(settings: &KafkaSettings, share: Share) -> KafkaResult<BaseConsumer<Context>> {
    let consumer: BaseConsumer<Context> =
        settings.consumer(CONSUMER_GROUP).create_with_context(Context::default())?;
    match share {
        Share::OfMember => consumer.subscribe(&[topics::EVENTS])?,
        Share::Whole(partitions) => {
            let numbers: Vec<u16> = (0..partitions).collect();
            Context::assign(&consumer, &mut list(&numbers))?;
            consumer.context().push(Change::Assigned(numbers));
        }
    }
    Ok(consumer)
}

impl Group for KafkaGroup {
    fn poll<R>(&self, take: impl FnOnce(Result<Arrival<'_>, KafkaError>) -> R) -> Option<R> {
        match self.condition.get() {
            Condition::Well => {}
            Condition::Leaving if self.owed.borrow().is_empty() => {
                if let Err(error) = self.replace() {
                    return Some(take(Err(error)));
                }
            }
            Condition::Lost | Condition::Leaving => return None,
        }
        let consumer = self.consumer.borrow();
        let Some(polled) = consumer.poll(Duration::ZERO) else {
            if consumer.context().brokers.are_forgotten() {
                warn!("the client has forgotten all brokers, another one takes its place");
                self.is_second.set(false);
                self.condition.set(Condition::Lost);
            }
            return None;
        };
        Some(match &polled {
            Ok(message) => take(Ok(Arrival {
                partition: message.partition().unsigned_abs() as u16,
                offset: message.offset().unsigned_abs(),
                log_time_ms: log_time_ms(message),
                key: message.key().unwrap_or_default(),
                payload: message.payload().unwrap_or_default(),
            })),
            Err(error) => {
                let error = fatal_or(consumer.client(), error.clone());
                if self.was_taken_for_two(&error) {
                    self.is_second.set(true);
                    warn!(error = chain(&error), "the client is lost, another one takes its place");
                    self.condition.set(Condition::Lost);
                    return None;
                }
                take(Err(error))
            }
        })
    }

    fn changes(&self) -> Vec<Change> {
        let mut changes = self.tell(self.consumer.borrow().context().take());
        if self.condition.get() == Condition::Lost {
            changes.extend(self.tell(self.leave()));
        }
        changes
    }

    fn resume(&self, partition: u16, offset: u64) -> Result<bool, ConsumerError> {
        if self.condition.get() != Condition::Well {
            return Ok(false);
        }
        let place = Offset::Offset(offset.cast_signed());
        match self.consumer.borrow().seek(topics::EVENTS, i32::from(partition), place, SEEK_TIMEOUT)
        {
            Ok(()) => {}
            // A partition that was assigned a moment ago has not started yet.
            Err(KafkaError::Seek(_)) => return Ok(false),
            Err(source) => {
                return Err(ConsumerError::Operation { operation: "move to an offset", source });
            }
        }
        self.consumer.borrow().resume(&list(&[partition])).map_err(|source| {
            ConsumerError::Operation { operation: "resume a partition", source }
        })?;
        Ok(true)
    }

    /// A broker's thread of the library that has nothing to fetch sleeps for up to a second and is not
    /// woken by a resume, but by a question to that broker, whatever the answer.
    fn rouse(&self, partitions: &[u16]) {
        let mut leaders = list(partitions);
        let asked = leaders
            .set_all_offsets(Offset::End)
            .and_then(|()| self.consumer.borrow().offsets_for_times(leaders, ROUSE_TIMEOUT));
        if let Err(error) = asked {
            debug!(error = chain(&error), "partitions are fetched when their broker is asked next");
        }
    }

    fn pause(&self, partition: u16) -> Result<(), ConsumerError> {
        // A lost client reads nothing, and may not know the partition any more.
        if self.condition.get() != Condition::Well {
            return Ok(());
        }
        let failed = |source| ConsumerError::Operation { operation: "pause a partition", source };
        self.consumer.borrow().pause(&list(&[partition])).map_err(failed)
    }

    fn commit(
        &self,
        offsets: impl IntoIterator<Item = (u16, u64)>,
        mode: CommitMode,
    ) -> KafkaResult<()> {
        if matches!(self.share, Share::Whole(_)) || self.has_lost_assignment() {
            return Ok(());
        }
        let mut list = TopicPartitionList::new();
        for (partition, offset) in offsets {
            let offset = Offset::Offset(offset.cast_signed());
            list.add_partition_offset(topics::EVENTS, i32::from(partition), offset)?;
        }
        if list.count() == 0 { Ok(()) } else { self.consumer.borrow().commit(&list, mode) }
    }

    fn has_lost_assignment(&self) -> bool {
        self.condition.get() != Condition::Well || self.consumer.borrow().assignment_lost()
    }

    fn give_up(&self, partitions: &[u16]) -> Result<(), ConsumerError> {
        let failed = |source| ConsumerError::Operation { operation: "give partitions up", source };
        for account in [&self.held, &self.owed] {
            account.borrow_mut().retain(|partition| !partitions.contains(partition));
        }
        if self.condition.get() != Condition::Well {
            return Ok(());
        }
        self.consumer.borrow().incremental_unassign(&list(partitions)).map_err(failed)
    }
}

impl Drop for KafkaGroup {
    /// Leaves the group. What was not stored is read again by the next owner.
    fn drop(&mut self) {
        // Dropping the client asks once more to give everything up and waits for the answer, which from
        // here on is given at once; one that was asked for before is owed still.
        self.consumer.borrow().context().is_leaving.store(true, Ordering::Release);
        if self.condition.get() != Condition::Well {
            answer(&self.consumer.borrow());
            return;
        }
        for change in self.changes() {
            if let Change::Revoked(partitions) = change
                && let Err(error) = self.give_up(&partitions)
            {
                warn!(error = chain(&error), "assignment not given up");
            }
        }
    }
}

fn list(partitions: &[u16]) -> TopicPartitionList {
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for partition in partitions {
        list.add_partition(topics::EVENTS, i32::from(*partition));
    }
    list
}

fn numbers(list: &TopicPartitionList) -> Vec<u16> {
    list.elements().iter().map(|element| element.partition().unsigned_abs() as u16).collect()
}

impl Context {
    fn lock(&self) -> MutexGuard<'_, Vec<Change>> {
        // Every write is one push, so that a poisoned lock holds nothing half-done.
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns what changed since the last call.
    fn take(&self) -> Vec<Change> {
        if self.has_changes.swap(false, Ordering::Acquire) {
            mem::take(&mut *self.lock())
        } else {
            Vec::new()
        }
    }

    fn push(&self, change: Change) {
        self.lock().push(change);
        self.has_changes.store(true, Ordering::Release);
    }

    /// Takes new partitions over, paused: where to go on stands in the store.
    fn assign(
        consumer: &BaseConsumer<Self>,
        partitions: &mut TopicPartitionList,
    ) -> KafkaResult<()> {
        // An absolute offset, never read from: the library looks `Beginning` up, and where the answer
        // comes after the move to the stored offset it goes back to the beginning half a second later.
        partitions.set_all_offsets(Offset::Offset(0))?;
        // Before, so that nothing is fetched from there. After, for partitions that the client had not
        // heard of before.
        consumer.pause(partitions)?;
        consumer.incremental_assign(partitions)?;
        consumer.pause(partitions)
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log_library_line(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        log_library_error(&error, reason);
    }

    fn stats_raw(&self, statistics: &[u8]) {
        self.brokers.read(statistics);
    }
}

impl ConsumerContext for Context {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        what: RDKafkaRespErr,
        partitions: &mut TopicPartitionList,
    ) {
        let numbers = numbers(partitions);
        let is_leaving = self.is_leaving.load(Ordering::Acquire);
        match RDKafkaErrorCode::from(what) {
            RDKafkaErrorCode::AssignPartitions if !is_leaving => {
                match Self::assign(consumer, partitions) {
                    Ok(()) => self.push(Change::Assigned(numbers)),
                    Err(error) => error!(error = chain(&error), "assignment not taken over"),
                }
            }
            RDKafkaErrorCode::RevokePartitions if !is_leaving => {
                self.push(Change::Revoked(numbers));
            }
            _ => {
                if let Err(error) = consumer.incremental_unassign(partitions) {
                    warn!(error = chain(&error), "assignment not given up");
                }
            }
        }
    }
}
