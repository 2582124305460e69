//! What the intake thread asks of store and broker, done beside it: it never waits for either.

use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaResult;
use roaming_analytics::{Checkpoint, Snapshot};
use roaming_events::{RowKey, RunId};
use roaming_service::kafka::{ClientError, KafkaSettings, LogContext};
use roaming_service::topics;
use roaming_store::{Acquired, Disposition, Epoch, Store, StoreError, StoredRow};
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;

use crate::ConsumerError;
use crate::dead_letter::{DeadLetter, DeadLetters};
use crate::last_record::LastRecords;
use crate::runs::{LearnError, Runs};

/// The longest that the broker may take to say where a partition begins and ends.
const ENDS_TIMEOUT: Duration = Duration::from_secs(5);

/// Pause before the control topic is read again after it could not be.
const LEARN_PAUSE: Duration = Duration::from_millis(500);

/// The parts that hold readiness while partitions wait for what was asked.
pub(crate) const HEALTH_STORE: &str = "store";
pub(crate) const HEALTH_BROKER: &str = "broker";
pub(crate) const HEALTH_DEAD_LETTERS: &str = "dead_letters";

/// Names one ownership of a partition, or one look at the log: an answer to a ticket that is gone is dropped.
pub(crate) type Ticket = u64;

/// An answer to what was asked for a partition.
pub(crate) struct Answer {
    pub(crate) ticket: Ticket,
    pub(crate) what: What,
}

/// What came of it.
pub(crate) enum What {
    Acquired(Result<TakenOver, JobError>),
    Rows(Result<Vec<StoredRow>, JobError>),
    Written(Written),
    /// The runs are known that stood on the control topic when the partition ended at this offset.
    Learned(Result<u64, JobError>),
    Ends(KafkaResult<Ends>),
    /// Whether the log can be looked at; of no partition.
    Looked(KafkaResult<Ends>),
    /// Whether a broker answers; of no partition.
    Answered(KafkaResult<()>),
}

/// A partition as the store and the log have it.
pub(crate) struct TakenOver {
    pub(crate) acquired: Acquired,
    pub(crate) ends: Ends,
    /// Whether the log has another record where the last one stood that was counted.
    pub(crate) has_other_record: bool,
}

/// What came of writing a checkpoint.
pub(crate) struct Written {
    pub(crate) result: Result<(), JobError>,
    /// Time that the store took.
    pub(crate) took: Duration,
    /// How many dead letters are acknowledged.
    pub(crate) letters_acknowledged: usize,
    /// Those that are not.
    pub(crate) letters_left: Vec<DeadLetter>,
}

/// Offsets at which a partition begins and ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ends {
    pub(crate) low: u64,
    pub(crate) high: u64,
}

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JobError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Client(#[from] ClientError),
    /// Dead letters are not written, and so not what was counted beside them.
    #[error(
        "roaming.events.dlq does not take what cannot be read; `roaming-producer topics check` says what is wrong with it, and counting goes on as soon as it is mended"
    )]
    DeadLetters(#[source] ClientError),
}

impl JobError {
    /// Returns what the error asks for. A broker that is away comes back, and a right may be given back.
    pub(crate) fn disposition(&self) -> Disposition {
        match self {
            Self::Store(error) => error.disposition(),
            Self::Client(_) | Self::DeadLetters(_) => Disposition::Retry,
        }
    }

    /// Gives the error back where waiting may mend it, fails with any other.
    pub(crate) fn waitable(self) -> Result<Self, ConsumerError> {
        match self {
            Self::Store(error) if error.disposition() == Disposition::Fatal => Err(error.into()),
            error => Ok(error),
        }
    }

    /// Returns the part of readiness that the error holds.
    pub(crate) fn part(&self) -> &'static str {
        match self {
            Self::Store(_) => HEALTH_STORE,
            Self::Client(_) => HEALTH_BROKER,
            Self::DeadLetters(_) => HEALTH_DEAD_LETTERS,
        }
    }

    /// Returns the error's name in metrics.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Store(error) => error.kind(),
            Self::Client(_) => "broker",
            Self::DeadLetters(_) => "dead_letter",
        }
    }
}

impl From<LearnError> for JobError {
    fn from(error: LearnError) -> Self {
        match error {
            LearnError::Store(error) => Self::Store(error),
            LearnError::Client(error) => Self::Client(error),
        }
    }
}

/// Takes requests, does each in a task of its own and sends one [`Answer`]. A partition asks for one thing
/// at a time, so that there are never more tasks than twice its partitions and two.
pub(crate) struct Desk<S> {
    store: Arc<S>,
    runs: Arc<Runs<S>>,
    letters: DeadLetters,
    /// A client of its own, so that questions do not queue behind fetches.
    ends: Arc<LogEnds>,
    last_records: Arc<LastRecords>,
    owner: String,
    runtime: Handle,
    answers: Sender<Answer>,
}

impl<S: Store> Desk<S> {
    pub(crate) fn open(
        settings: &KafkaSettings,
        store: Arc<S>,
        runs: Arc<Runs<S>>,
        owner: String,
        answers: Sender<Answer>,
    ) -> Result<Self, ClientError> {
        Ok(Self {
            store,
            runs,
            letters: DeadLetters::open(settings)?,
            ends: Arc::new(LogEnds::open(settings)?),
            last_records: Arc::new(LastRecords::new(settings.clone())),
            owner,
            runtime: Handle::current(),
            answers,
        })
    }

    /// Acquires a partition, and says what the log has of it now.
    pub(crate) fn acquire(&self, ticket: Ticket, partition: u16) {
        let (store, ends) = (Arc::clone(&self.store), Arc::clone(&self.ends));
        let (last_records, owner) = (Arc::clone(&self.last_records), self.owner.clone());
        self.spawn(ticket, async move {
            What::Acquired(acquire(&*store, ends, last_records, partition, &owner).await)
        });
    }

    /// Loads rows of a partition.
    pub(crate) fn load(&self, ticket: Ticket, partition: u16, keys: Vec<(RunId, RowKey)>) {
        let store = Arc::clone(&self.store);
        self.spawn(ticket, async move {
            What::Rows(store.load_rows(partition, &keys).await.map_err(JobError::from))
        });
    }

    /// Writes dead letters, and then a checkpoint: a letter may be written twice, but never be missing.
    pub(crate) fn write(
        &self,
        ticket: Ticket,
        epoch: Epoch,
        checkpoint: Checkpoint,
        letters: Vec<DeadLetter>,
    ) {
        let (store, dead_letters) = (Arc::clone(&self.store), self.letters.clone());
        self.spawn(ticket, async move {
            if let Err(error) = dead_letters.write(&letters).await {
                return What::Written(Written {
                    result: Err(JobError::DeadLetters(error)),
                    took: Duration::ZERO,
                    letters_acknowledged: 0,
                    letters_left: letters,
                });
            }
            let begin = Instant::now();
            let result = store.commit(epoch, &checkpoint).await.map_err(JobError::from);
            What::Written(Written {
                result,
                took: begin.elapsed(),
                letters_acknowledged: letters.len(),
                letters_left: Vec::new(),
            })
        });
    }

    /// Reads the control topic to its end.
    pub(crate) fn learn(&self, ticket: Ticket, partition: u16) {
        let (runs, ends) = (Arc::clone(&self.runs), Arc::clone(&self.ends));
        self.spawn(ticket, async move {
            let result = learn(&runs, ends, partition).await;
            if result.is_err() {
                // It is asked again at once: not faster than this.
                tokio::time::sleep(LEARN_PAUSE).await;
            }
            What::Learned(result)
        });
    }

    /// Asks where a partition begins and ends.
    pub(crate) fn measure(&self, ticket: Ticket, partition: u16) {
        let ends = Arc::clone(&self.ends);
        self.spawn(ticket, async move { What::Ends(of_partition(ends, partition).await) });
    }

    /// Looks whether the log is there, and can be looked at.
    pub(crate) fn look(&self, ticket: Ticket) {
        let ends = Arc::clone(&self.ends);
        self.spawn(ticket, async move { What::Looked(of_partition(ends, 0).await) });
    }

    /// Asks whether a broker answers, whichever it is.
    pub(crate) fn call_broker(&self, ticket: Ticket) {
        let ends = Arc::clone(&self.ends);
        self.spawn(ticket, async move {
            let called = spawn_blocking(move || ends.call_broker());
            What::Answered(called.await.expect("asking for metadata does not panic"))
        });
    }

    fn spawn(&self, ticket: Ticket, job: impl Future<Output = What> + Send + 'static) {
        let answers = self.answers.clone();
        self.runtime.spawn(async move {
            // Nobody listens only where the intake thread has ended, and then nobody asks.
            let _ = answers.send(Answer { ticket, what: job.await });
        });
    }
}

async fn acquire<S: Store>(
    store: &S,
    ends: Arc<LogEnds>,
    last_records: Arc<LastRecords>,
    partition: u16,
    owner: &str,
) -> Result<TakenOver, JobError> {
    let acquired = store.acquire(partition, owner).await?;
    let settings = ends.settings.clone();
    let ends = of_partition(ends, partition)
        .await
        .map_err(|source| settings.explain("ask where a partition begins and ends", source))?;
    let has_other_record =
        has_other_record(last_records, partition, &acquired.snapshot, ends).await?;
    Ok(TakenOver { acquired, ends, has_other_record })
}

/// Compares the last record that was counted with what stands there, where store and log have both.
async fn has_other_record(
    last_records: Arc<LastRecords>,
    partition: u16,
    snapshot: &Snapshot,
    ends: Ends,
) -> Result<bool, ClientError> {
    let Snapshot { next_offset: Some(next_offset @ 1..), last_record_ms: Some(counted), .. } =
        *snapshot
    else {
        return Ok(false);
    };
    let offset = next_offset - 1;
    if offset < ends.low || offset >= ends.high {
        return Ok(false);
    }
    let found = spawn_blocking(move || last_records.time_of(partition, offset))
        .await
        .expect("reading a record does not panic")?;
    Ok(found.is_some_and(|found| found != counted))
}

async fn learn<S: Store>(
    runs: &Runs<S>,
    ends: Arc<LogEnds>,
    partition: u16,
) -> Result<u64, JobError> {
    let settings = ends.settings.clone();
    // First the end of the partition: a run is on the control topic before its first event is in the log.
    let ends = of_partition(ends, partition)
        .await
        .map_err(|source| settings.explain("ask where a partition begins and ends", source))?;
    runs.refresh().await?;
    Ok(ends.high)
}

async fn of_partition(ends: Arc<LogEnds>, partition: u16) -> KafkaResult<Ends> {
    spawn_blocking(move || ends.of(partition)).await.expect("asking for offsets does not panic")
}

/// Asks the broker where partitions begin and end.
struct LogEnds {
    client: BaseConsumer<LogContext>,
    settings: KafkaSettings,
}

impl LogEnds {
    fn open(settings: &KafkaSettings) -> Result<Self, ClientError> {
        let client = settings
            .reader()
            .create_with_context(LogContext::default())
            .map_err(|source| settings.explain("create a client", source))?;
        Ok(Self { client, settings: settings.clone() })
    }

    /// Blocks for at most three times [`ENDS_TIMEOUT`].
    fn of(&self, partition: u16) -> KafkaResult<Ends> {
        let ask =
            || self.client.fetch_watermarks(topics::EVENTS, i32::from(partition), ENDS_TIMEOUT);
        let mut found = ask();
        if found.is_err() {
            // A broker that has just started may say that the topic has no partitions, which this
            // client, having nothing assigned, would go on believing until it is told to look.
            self.client.fetch_metadata(Some(topics::EVENTS), ENDS_TIMEOUT)?;
            found = ask();
        }
        let (low, high) = found?;
        Ok(Ends { low: low.max(0).cast_unsigned(), high: high.max(0).cast_unsigned() })
    }

    /// Blocks for at most [`ENDS_TIMEOUT`]. What the broker says of the topic is another matter.
    fn call_broker(&self) -> KafkaResult<()> {
        self.client.fetch_metadata(Some(topics::EVENTS), ENDS_TIMEOUT).map(drop)
    }
}
