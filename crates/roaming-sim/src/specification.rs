//! The specification of a run: all that its event stream depends on.

use roaming_events::{LaneId, RunId, SimTime};
use serde::{Deserialize, Serialize};

use crate::Profile;

/// Version of the event stream: it changes whenever the same specification would give other bytes.
pub const STREAM_VERSION: u32 = 1;

/// All that the event stream of a run depends on, and its name. The stream of two equal specifications
/// is the same, byte for byte.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Specification {
    /// Name of the run.
    pub name: String,
    /// What is simulated.
    pub profile: Profile,
    /// The seed of all random numbers.
    pub seed: u64,
    /// Number of lanes, 1 to 4096.
    pub lanes: u16,
    /// Number of partitions of the topic of events when the run was loaded.
    pub events_partitions: u16,
    /// Number of partitions of the topic of lanes when the run was loaded.
    pub lanes_partitions: u16,
    /// The engine's [`STREAM_VERSION`].
    pub stream_version: u32,
}

impl Specification {
    /// Returns the run's id: XXH3-64 of the specification's JSON. The name is in it, so that one
    /// profile and seed can run twice, side by side.
    pub fn run_id(&self) -> RunId {
        let json = serde_json::to_vec(self)
            .expect("a tree of structs, texts and integers always serialises");
        RunId::from_hash(xxhash_rust::xxh3::xxh3_64(&json))
    }

    /// Returns the time before which nothing is emitted.
    pub fn start(&self) -> SimTime {
        self.profile.start
    }

    /// Returns the time from which nothing is emitted, late reports and wholesale records included.
    pub fn end(&self) -> SimTime {
        self.profile.end_of_activity() + self.profile.tail()
    }

    /// Checks what the engine relies on.
    pub(crate) fn check(&self) -> Result<(), SpecificationError> {
        if self.stream_version != STREAM_VERSION {
            return Err(SpecificationError::StreamVersion { found: self.stream_version });
        }
        if !(1..=LaneId::COUNT_MAX).contains(&self.lanes) {
            return Err(SpecificationError::Lanes { found: self.lanes });
        }
        for (topic, found) in [("events", self.events_partitions), ("lanes", self.lanes_partitions)]
        {
            if found == 0 {
                return Err(SpecificationError::Partitions { topic });
            }
        }
        self.profile.check().map_err(|what| SpecificationError::Profile { what })
    }
}

/// Why a run cannot be simulated from a specification.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SpecificationError {
    /// Another version of the engine made it.
    #[error(
        "the run has stream version {found}, this engine makes version {STREAM_VERSION}; run it with the release that loaded it, or load it again under another name"
    )]
    StreamVersion {
        /// The version in the specification.
        found: u32,
    },
    /// The number of lanes cannot be.
    #[error("{found} lanes; allowed is 1 to {}", LaneId::COUNT_MAX)]
    Lanes {
        /// The number in the specification.
        found: u16,
    },
    /// A topic has no partitions.
    #[error("0 partitions of topic {topic}; allowed is 1 and more")]
    Partitions {
        /// The topic.
        topic: &'static str,
    },
    /// The profile is not one that [`Profile::parse`] makes.
    #[error("the profile is damaged: {what}; load it again from its file")]
    Profile {
        /// What is wrong.
        what: &'static str,
    },
}
