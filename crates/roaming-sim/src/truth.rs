//! What detectors should have found: the events that are part of a pattern of misbehaviour.

use std::sync::Arc;

use roaming_events::{EventId, LaneId, SimTime};
use serde::{Deserialize, Serialize};

use crate::profile::FraudPattern;
use crate::{Lane, Simulation};

/// States that an event is part of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Label {
    /// Key of the event, as on the topic.
    #[serde(with = "text")]
    pub event_id: EventId,
    /// When it happened, simulated.
    pub event_time: SimTime,
    /// The pattern.
    pub pattern: FraudPattern,
}

/// Returns the labels of one lane, in the order of its events; none where the profile has no fraud.
///
/// # Panics
/// Panics where the run has no such lane.
pub fn lane(simulation: &Arc<Simulation>, lane: LaneId) -> Labels {
    Labels { lane: simulation.lane(lane) }
}

/// The labels of one lane, see [`lane`].
#[derive(Debug)]
pub struct Labels {
    lane: Lane,
}

impl Iterator for Labels {
    type Item = Label;

    fn next(&mut self) -> Option<Label> {
        loop {
            let (event_id, event_time, pattern) = self.lane.next_labelled()?;
            if let Some(pattern) = pattern {
                return Some(Label { event_id, event_time, pattern });
            }
        }
    }
}

/// An event id as its text.
mod text {
    use roaming_events::EventId;
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(id: &EventId, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(id)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<EventId, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}
