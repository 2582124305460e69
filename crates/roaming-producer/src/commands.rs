//! What a person types: every command but the daemon itself.

mod change;
mod offline;
mod profile;
mod scenarios;
mod status;
mod topics;

use std::io;

use roaming_events::LaneId;
use roaming_service::Exit;
use roaming_service::kafka::ClientError;
use roaming_service::topics::TopicError;
use roaming_sim::{ProfileError, SpecificationError};

pub use change::{NameArgs, ResumeArgs, SpeedArgs, delete, pause, resume, speed, stop};
pub use offline::{GenerateArgs, OfflineArgs, generate, ledger, truth};
pub use profile::ProfileArgs;
pub use scenarios::{LoadArgs, list, load};
pub use status::status;
pub use topics::{TopicsArgs, check, create};

/// Why a command did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// The profile is unknown or wrong.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// No profile is named, and none is the default.
    #[error("name a profile with --profile; known: {known}")]
    NoProfile {
        /// The profiles that need no file.
        known: String,
    },
    /// A profile's file cannot be read.
    #[error(
        "profile {path} cannot be read; name a file that exists, or one of the profiles: {known}"
    )]
    ProfileFile {
        /// The file.
        path: String,
        /// The profiles that need no file.
        known: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// The run cannot be simulated as asked for.
    #[error(transparent)]
    Specification(#[from] SpecificationError),
    /// A name that no run can have.
    #[error(
        "a run cannot be named `{name}`; use 1 to 64 letters, digits, `-`, `_` or `.`, other than `log`"
    )]
    Name {
        /// The name.
        name: String,
    },
    /// The run has no such lane.
    #[error("no lane {lane}; the run has lanes 0 to {}", lanes - 1)]
    Lane {
        /// The lane asked for.
        lane: u16,
        /// How many there are.
        lanes: u16,
    },
    /// Another run has the name.
    #[error(
        "run `{name}` is loaded with another specification ({difference}); choose another name with --name, repeat the options it was loaded with, or delete it first with `roaming-producer scenarios delete {name}`"
    )]
    NameTaken {
        /// The name.
        name: String,
        /// What differs.
        difference: String,
    },
    /// No run has the name.
    #[error("unknown run `{name}`; loaded: {}", if known.is_empty() { "none" } else { known })]
    UnknownRun {
        /// The name.
        name: String,
        /// The names there are.
        known: String,
    },
    /// The run was stopped for good.
    #[error(
        "run `{name}` is stopped, for good; load it under another name with --name, or delete it with `roaming-producer scenarios delete {name}` and load it with another --seed"
    )]
    Stopped {
        /// The run's name.
        name: String,
    },
    /// The run is at its end.
    #[error(
        "run `{name}` is finished: nothing of it is left to change; load it under another name with --name, or delete it with `roaming-producer scenarios delete {name}` and load it with another --seed"
    )]
    Finished {
        /// The run's name.
        name: String,
    },
    /// The run was deleted: its id is spent.
    #[error(
        "run `{name}` is deleted, for good: the ids of its events are spent; load it under another name with --name, or with another --seed"
    )]
    Deleted {
        /// The run's name.
        name: String,
    },
    /// A control record cannot be read.
    #[error("the control record of run `{name}` cannot be read; it may be of another release")]
    Record {
        /// The run's name.
        name: String,
        /// Where it breaks.
        source: serde_json::Error,
    },
    /// Kafka.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The topics are not as they must be.
    #[error(transparent)]
    Topic(#[from] TopicError),
    /// A check found topics that are not as they must be, and said so.
    #[error("{faults} things are wrong with the topics; they are listed above with what to do")]
    Topics {
        /// How many.
        faults: usize,
    },
    /// The result cannot be written.
    #[error("the output cannot be written")]
    Output(#[source] io::Error),
}

impl CommandError {
    /// Returns the status to end with.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Profile(_)
            | Self::NoProfile { .. }
            | Self::ProfileFile { .. }
            | Self::Specification(_)
            | Self::Name { .. }
            | Self::Lane { .. }
            | Self::NameTaken { .. }
            | Self::UnknownRun { .. }
            | Self::Stopped { .. }
            | Self::Finished { .. }
            | Self::Deleted { .. } => Exit::Usage,
            Self::Record { .. }
            | Self::Client(_)
            | Self::Topic(_)
            | Self::Topics { .. }
            | Self::Output(_) => Exit::Failed,
        }
    }
}

/// Ends quietly where who reads the output has seen enough.
fn quiet_pipe(result: Result<(), CommandError>) -> Result<(), CommandError> {
    match result {
        Err(CommandError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

/// Returns the lane of this number.
fn lane(number: u16, lanes: u16) -> Result<LaneId, CommandError> {
    let lane = LaneId::try_new(number).filter(|_| number < lanes);
    lane.ok_or(CommandError::Lane { lane: number, lanes })
}
