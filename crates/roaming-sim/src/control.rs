//! The desired state of a run, and what ties simulated time to wall time.
//!
//! One record a run stands on the topic `roaming.scenarios`, keyed by the run's name. Time is an
//! argument here too: each change says at which wall time it is made.

use std::sync::Arc;

use roaming_events::{RunId, SimTime};
use serde::{Deserialize, Serialize};

use crate::Specification;

/// The desired state of one run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ControlRecord {
    /// The run.
    pub run: RunId,
    /// What it is.
    #[serde(with = "shared")]
    pub specification: Arc<Specification>,
    /// Whether it is to go on.
    pub state: RunState,
    /// How fast.
    pub speed: Speed,
    /// Where simulated time stood at a wall time.
    pub anchor: Anchor,
}

/// Whether a run is to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// Events are emitted as simulated time passes.
    Running,
    /// Simulated time stands still.
    Paused,
    /// The run has ended early, for good.
    Stopped,
    /// Stopped, and its producers have forgotten it. The record stays: what stands in the log of the run is
    /// known by it, and no other run gets its id.
    Deleted,
}

impl RunState {
    /// Returns the state's name, as it stands in control records and as people read it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
            Self::Deleted => "deleted",
        }
    }

    /// Whether lanes of the run are to be driven, now or later.
    pub fn is_alive(self) -> bool {
        matches!(self, Self::Running | Self::Paused)
    }
}

/// Simulated seconds per wall second.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Speed {
    /// As fast as back-pressure allows.
    Max,
    /// This many times as fast as the wall clock; above 0.
    Factor(f64),
}

/// A simulated time and the wall time at which it was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Anchor {
    /// Simulated.
    pub sim: SimTime,
    /// Wall time, in milliseconds since the Unix epoch.
    pub wall_unix_ms: u64,
}

impl ControlRecord {
    /// Makes the record of a run that starts now.
    pub fn start(specification: Arc<Specification>, speed: Speed, wall_unix_ms: u64) -> Self {
        let anchor = Anchor { sim: specification.start(), wall_unix_ms };
        let run = specification.run_id();
        Self { run, specification, state: RunState::Running, speed, anchor }
    }

    /// Returns the simulated time before which events may be emitted at a wall time.
    pub fn allowed_until(&self, wall_unix_ms: u64) -> SimTime {
        match (self.state, self.speed) {
            (RunState::Paused | RunState::Stopped | RunState::Deleted, _) => self.anchor.sim,
            (RunState::Running, Speed::Max) => SimTime::MAX,
            (RunState::Running, Speed::Factor(factor)) => {
                let elapsed = wall_unix_ms.saturating_sub(self.anchor.wall_unix_ms);
                // Pacing, not content: when an event leaves is no part of its bytes.
                #[expect(clippy::cast_sign_loss, reason = "a factor is above 0; a cast saturates")]
                let simulated = (elapsed as f64 * factor) as u64;
                SimTime::from_unix_ms(self.anchor.sim.unix_ms().saturating_add(simulated))
            }
        }
    }

    /// Returns the record with simulated time standing still from `wall_unix_ms` on.
    ///
    /// At [`Speed::Max`] simulated time is where the lanes are, which only their owner knows: `reached`
    /// tells it, the least time that the lanes have reached.
    #[must_use]
    pub fn pause(&self, wall_unix_ms: u64, reached: SimTime) -> Self {
        self.anchored(RunState::Paused, self.speed, wall_unix_ms, reached)
    }

    /// Returns the record with simulated time going on from where it stands.
    ///
    /// Lanes that were paused at [`Speed::Max`] stand beyond the pause's anchor: `reached`, as in
    /// [`ControlRecord::pause`], keeps a pace from waiting for what is done.
    #[must_use]
    pub fn resume(&self, wall_unix_ms: u64, reached: SimTime) -> Self {
        let anchor = Anchor { sim: self.anchor.sim.max(reached), wall_unix_ms };
        Self { state: RunState::Running, anchor, ..self.clone() }
    }

    /// Returns the record of a run that has ended early. `reached` as in [`ControlRecord::pause`].
    #[must_use]
    pub fn stop(&self, wall_unix_ms: u64, reached: SimTime) -> Self {
        self.anchored(RunState::Stopped, self.speed, wall_unix_ms, reached)
    }

    /// Returns the record of a run that is deleted. `reached` as in [`ControlRecord::pause`].
    #[must_use]
    pub fn delete(&self, wall_unix_ms: u64, reached: SimTime) -> Self {
        self.anchored(RunState::Deleted, self.speed, wall_unix_ms, reached)
    }

    /// Returns the record with another speed. `reached` as in [`ControlRecord::pause`].
    #[must_use]
    pub fn with_speed(&self, speed: Speed, wall_unix_ms: u64, reached: SimTime) -> Self {
        self.anchored(self.state, speed, wall_unix_ms, reached)
    }

    fn anchored(&self, state: RunState, speed: Speed, wall_unix_ms: u64, reached: SimTime) -> Self {
        let allowed = self.allowed_until(wall_unix_ms);
        let sim = if allowed == SimTime::MAX { reached } else { allowed };
        Self { state, speed, anchor: Anchor { sim, wall_unix_ms }, ..self.clone() }
    }
}

/// A shared specification, in the place of a plain one.
mod shared {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::Specification;

    pub(super) fn serialize<S: Serializer>(
        specification: &Arc<Specification>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        specification.as_ref().serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Arc<Specification>, D::Error> {
        Specification::deserialize(deserializer).map(Arc::new)
    }
}
