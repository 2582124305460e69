//! What the intake asks of store and broker, and what they answer.
//!
//! Questions and answers are values, so that the intake never waits, and that whoever answers may be a
//! simulation.

use std::time::Duration;

use rdkafka::error::KafkaResult;
use roaming_analytics::Checkpoint;
use roaming_events::{RowKey, RunId};
use roaming_service::kafka::ClientError;
use roaming_store::{Acquired, Disposition, Epoch, StoreError, StoredRow};

use crate::ConsumerError;
use crate::dead_letter::DeadLetter;
use crate::runs::LearnError;

/// Takes what is asked, and sends one [`Answer`] to each question, later.
pub trait Desk {
    /// Asks. A partition asks for one thing at a time, beside where it ends.
    fn ask(&self, ticket: Ticket, request: Request);
}

/// What is asked.
#[derive(Debug)]
pub enum Request {
    /// Acquire a partition, and say what the log has of it now: [`What::Acquired`].
    Acquire {
        /// The partition.
        partition: u16,
    },
    /// Load rows of a partition: [`What::Rows`].
    Load {
        /// The partition.
        partition: u16,
        /// Which rows.
        keys: Vec<(RunId, RowKey)>,
    },
    /// Write dead letters, and then a checkpoint: [`What::Written`]. A letter may be written twice, but
    /// never be missing.
    Write {
        /// The ownership under which it counts.
        epoch: Epoch,
        /// The checkpoint.
        checkpoint: Box<Checkpoint>,
        /// The letters.
        letters: Vec<DeadLetter>,
    },
    /// Read the control topic to its end: [`What::Learned`].
    Learn {
        /// The partition that met an unknown run.
        partition: u16,
    },
    /// Say where a partition begins and ends: [`What::Ends`].
    Measure {
        /// The partition.
        partition: u16,
    },
    /// Look whether the log is there, and can be looked at: [`What::Looked`].
    Look,
    /// Call a broker, whichever it is: [`What::Answered`].
    CallBroker,
}

/// The parts that hold readiness while partitions wait for what was asked.
pub(crate) const HEALTH_STORE: &str = "store";
pub(crate) const HEALTH_BROKER: &str = "broker";
pub(crate) const HEALTH_DEAD_LETTERS: &str = "dead_letters";

/// Names one ownership of a partition, or one look at the log: an answer to a ticket that is gone is dropped.
pub type Ticket = u64;

/// An answer to what was asked for a partition.
#[derive(Debug)]
pub struct Answer {
    /// The ticket of the question.
    pub ticket: Ticket,
    /// What came of it.
    pub what: What,
}

/// What came of a question.
#[derive(Debug)]
pub enum What {
    /// The partition is acquired.
    Acquired(Result<TakenOver, JobError>),
    /// What stands in the rows, in the order of their keys.
    Rows(Result<Vec<StoredRow>, JobError>),
    /// The checkpoint is written, or not.
    Written(Written),
    /// The runs are known that stood on the control topic when the partition ended at this offset.
    Learned(Result<u64, JobError>),
    /// Where the partition begins and ends.
    Ends(KafkaResult<Ends>),
    /// Whether the log can be looked at; of no partition.
    Looked(KafkaResult<Ends>),
    /// Whether a broker answers; of no partition.
    Answered(KafkaResult<()>),
}

/// A partition as the store and the log have it.
#[derive(Debug)]
pub struct TakenOver {
    /// What the store has.
    pub acquired: Acquired,
    /// What the log has.
    pub ends: Ends,
    /// Whether the log has another record where the last one stood that was counted.
    pub has_other_record: bool,
}

/// What came of writing a checkpoint.
#[derive(Debug)]
pub struct Written {
    /// Whether the checkpoint counts.
    pub result: Result<(), JobError>,
    /// Time that the store took.
    pub took: Duration,
    /// How many dead letters are acknowledged.
    pub letters_acknowledged: usize,
    /// Those that are not.
    pub letters_left: Vec<DeadLetter>,
}

/// Offsets at which a partition begins and ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// Offset of the first record that is kept.
    pub low: u64,
    /// Offset of the next record to be written.
    pub high: u64,
}

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JobError {
    /// The store did not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The broker did not do it.
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
