//! The desk of the daemon: does what the intake thread asks of store and broker, beside it.

use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult};
use roaming_analytics::{Checkpoint, Snapshot};
use roaming_service::kafka::{ClientError, KafkaSettings, LogContext};
use roaming_service::topics;
use roaming_store::{Epoch, Store};
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;

use crate::dead_letter::{DeadLetter, DeadLetters};
use crate::desk::{Answer, Desk, Ends, JobError, Request, TakenOver, Ticket, What, Written};
use crate::last_record::LastRecords;
use crate::runs::Runs;

/// The longest that the broker may take to say where a partition begins and ends.
const ENDS_TIMEOUT: Duration = Duration::from_secs(5);

/// Pause before the control topic is read again after it could not be.
const LEARN_PAUSE: Duration = Duration::from_millis(500);

/// Does each request in a task of its own. A partition asks for one thing at a time, so that there are
/// never more tasks than twice its partitions and two.
pub(crate) struct ServiceDesk<S> {
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

impl<S: Store> Desk for ServiceDesk<S> {
    fn ask(&self, ticket: Ticket, request: Request) {
        let (store, ends) = (Arc::clone(&self.store), Arc::clone(&self.ends));
        match request {
            Request::Acquire { partition } => {
                let (last_records, owner) = (Arc::clone(&self.last_records), self.owner.clone());
                self.spawn(ticket, async move {
                    What::Acquired(acquire(&*store, ends, last_records, partition, &owner).await)
                });
            }
            Request::Load { partition, keys } => self.spawn(ticket, async move {
                What::Rows(store.load_rows(partition, &keys).await.map_err(JobError::from))
            }),
            Request::Write { epoch, checkpoint, letters } => {
                let dead_letters = self.letters.clone();
                self.spawn(ticket, async move {
                    What::Written(write(&*store, &dead_letters, epoch, &checkpoint, letters).await)
                });
            }
            Request::Learn { partition } => {
                let runs = Arc::clone(&self.runs);
                self.spawn(ticket, async move {
                    let result = learn(&runs, ends, partition).await;
                    if result.is_err() {
                        // It is asked again at once: not faster than this.
                        tokio::time::sleep(LEARN_PAUSE).await;
                    }
                    What::Learned(result)
                });
            }
            Request::Measure { partition } => {
                self.spawn(ticket, async move { What::Ends(of_partition(ends, partition).await) });
            }
            Request::Look => {
                self.spawn(ticket, async move { What::Looked(of_partition(ends, 0).await) });
            }
            Request::CallBroker => self.spawn(ticket, async move {
                let called = spawn_blocking(move || ends.call_broker());
                What::Answered(called.await.expect("asking for metadata does not panic"))
            }),
        }
    }
}

impl<S: Store> ServiceDesk<S> {
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
            letters: DeadLetters::new(settings.clone()),
            ends: Arc::new(LogEnds::open(settings)?),
            last_records: Arc::new(LastRecords::new(settings.clone())),
            owner,
            runtime: Handle::current(),
            answers,
        })
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

/// Writes dead letters, and then a checkpoint.
async fn write<S: Store>(
    store: &S,
    dead_letters: &DeadLetters,
    epoch: Epoch,
    checkpoint: &Checkpoint,
    letters: Vec<DeadLetter>,
) -> Written {
    if let Err(error) = dead_letters.write(&letters).await {
        return Written {
            result: Err(JobError::DeadLetters(error)),
            took: Duration::ZERO,
            letters_acknowledged: 0,
            letters_left: letters,
        };
    }
    let begin = Instant::now();
    let result = store.commit(epoch, checkpoint).await.map_err(JobError::from);
    Written {
        result,
        took: begin.elapsed(),
        letters_acknowledged: letters.len(),
        letters_left: Vec::new(),
    }
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
pub(crate) struct LogEnds {
    settings: KafkaSettings,
    /// Given up for another where a question fails: it may have
    /// [forgotten all brokers](roaming_service::kafka::KnownBrokers).
    client: Mutex<Arc<Client>>,
}

/// Nobody polls it: it only asks.
type Client = BaseConsumer<LogContext>;

impl LogEnds {
    pub(crate) fn open(settings: &KafkaSettings) -> Result<Self, ClientError> {
        let client = Mutex::new(connect(settings)?);
        Ok(Self { client, settings: settings.clone() })
    }

    pub(crate) fn settings(&self) -> &KafkaSettings {
        &self.settings
    }

    /// Blocks for at most three times [`ENDS_TIMEOUT`].
    pub(crate) fn of(&self, partition: u16) -> KafkaResult<Ends> {
        self.ask(|client| {
            let ask =
                || client.fetch_watermarks(topics::EVENTS, i32::from(partition), ENDS_TIMEOUT);
            let mut found = ask();
            if found.is_err() {
                // A broker that has just started may say that the topic has no partitions, which this
                // client, having nothing assigned, would go on believing until it is told to look.
                client.fetch_metadata(Some(topics::EVENTS), ENDS_TIMEOUT)?;
                found = ask();
            }
            let (low, high) = found?;
            Ok(Ends { low: low.max(0).cast_unsigned(), high: high.max(0).cast_unsigned() })
        })
    }

    /// Blocks for at most [`ENDS_TIMEOUT`]. What the broker says of the topic is another matter.
    fn call_broker(&self) -> KafkaResult<()> {
        self.ask(|client| client.fetch_metadata(Some(topics::EVENTS), ENDS_TIMEOUT).map(drop))
    }

    fn ask<T>(&self, question: impl FnOnce(&Client) -> KafkaResult<T>) -> KafkaResult<T> {
        let client = Arc::clone(&self.lock());
        let answer = question(&client);
        let explain = |error: &KafkaError| self.settings.explain("ask", error.clone());
        if matches!(answer.as_ref().map_err(explain), Err(ClientError::Unreachable { .. })) {
            let mut current = self.lock();
            // Where it is another one, somebody else has failed with this one before.
            if Arc::ptr_eq(&current, &client)
                && let Ok(next) = connect(&self.settings)
            {
                *current = next;
            }
        }
        answer
    }

    fn lock(&self) -> MutexGuard<'_, Arc<Client>> {
        self.client.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn connect(settings: &KafkaSettings) -> Result<Arc<Client>, ClientError> {
    let client = settings.admin().create_with_context(LogContext::default());
    client.map(Arc::new).map_err(|source| settings.explain("create a client", source))
}
