//! A lane's state as octets, so that another process goes on from there without going through all that was
//! before.
//!
//! The form is ours alone and may change with every version of the engine: what cannot be read is not
//! needed, only slower to do without. First the number of the layout, then a hash of all that follows
//! (XXH3, 64 bits, little-endian), then the state in postcard's encoding.

use std::borrow::Cow;
use std::sync::Arc;

use roaming_events::{LaneId, RunId, Sequence};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::lane::Lane;
use crate::procedure::Pending;
use crate::queue::{Queue, Tick};
use crate::simulation::Simulation;
use crate::subscriber::Subscriber;

/// The layout written here. Of another one nothing is known.
const LAYOUT: u8 = 1;
/// Octets before the state.
const HEAD_LEN: usize = 1 + size_of::<u64>();

/// All that a lane's events depend on, beside the specification.
#[derive(Serialize, Deserialize)]
pub(crate) struct State<'a> {
    pub(crate) run: RunId,
    pub(crate) lane: LaneId,
    pub(crate) next: Sequence,
    pub(crate) floor: u64,
    pub(crate) subscribers: Cow<'a, [Subscriber]>,
    pub(crate) records: Cow<'a, [Pending]>,
    /// The first free place in `records`.
    pub(crate) free: u32,
    /// The slot that the queue has come to.
    pub(crate) slot: u32,
    /// By node of the queue, when it wakes.
    pub(crate) due: Vec<Option<Tick>>,
}

/// Why a snapshot is of no use. The lane can always be taken from its beginning.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// It has another layout, or is cut off within its head.
    #[error("a snapshot of a layout that this engine does not read")]
    Layout,
    /// Its octets are not those that were written.
    #[error("a damaged snapshot: its hash differs")]
    Hash,
    /// Its octets are no state.
    #[error("a snapshot that cannot be read")]
    Encoding(#[from] postcard::Error),
    /// It is of another lane.
    #[error("a snapshot of lane {lane} of run {run}")]
    Foreign {
        /// The run that it names.
        run: RunId,
        /// The lane that it names.
        lane: LaneId,
    },
    /// The state is none that a lane of this run can be in.
    #[error("a snapshot that contradicts itself or the run: {what}")]
    Unsound {
        /// What is wrong.
        what: &'static str,
    },
}

impl Lane {
    /// Returns the lane's whole state: [`Simulation::restore`] makes a lane of it that returns the same
    /// events from here on.
    ///
    /// About 40 octets for a subscriber and 30 for a wholesale record under way; they compress well.
    pub fn snapshot(&self) -> Vec<u8> {
        let head = vec![0; HEAD_LEN];
        let mut octets = postcard::to_extend(&self.state(), head)
            .expect("sequences of known lengths are written to memory");
        let hash = xxh3_64(&octets[HEAD_LEN..]).to_le_bytes();
        octets[0] = LAYOUT;
        octets[1..HEAD_LEN].copy_from_slice(&hash);
        octets
    }
}

impl Simulation {
    /// Returns a lane as it was when its [snapshot](Lane::snapshot) was taken.
    ///
    /// # Errors
    /// Fails where the octets are no snapshot of this lane by this version of the engine; whatever they
    /// are, it does not panic.
    pub fn restore(self: &Arc<Self>, lane: LaneId, octets: &[u8]) -> Result<Lane, SnapshotError> {
        let (&[layout, ref hash @ ..], body) =
            octets.split_first_chunk::<HEAD_LEN>().ok_or(SnapshotError::Layout)?;
        if layout != LAYOUT {
            return Err(SnapshotError::Layout);
        }
        if xxh3_64(body).to_le_bytes() != *hash {
            return Err(SnapshotError::Hash);
        }
        let state: State<'_> = postcard::from_bytes(body)?;
        if (state.run, state.lane) != (self.run, lane) {
            return Err(SnapshotError::Foreign { run: state.run, lane: state.lane });
        }
        self.check(&state).map_err(|what| SnapshotError::Unsound { what })?;
        Ok(Lane::resume(Arc::clone(self), state))
    }

    /// Says what is wrong with a state, so that nothing in it leads out of a table.
    fn check(&self, state: &State<'_>) -> Result<(), &'static str> {
        let State { subscribers, records, due, .. } = state;
        if !Queue::has_slot(state.slot) {
            return Err("its time is beyond the queue's");
        }
        if subscribers.len() != self.subscribers_of(state.lane).count() {
            return Err("another number of subscribers");
        }
        if due.len() != subscribers.len() + records.len() {
            return Err("a queue of another size");
        }
        let networks = self.networks.len();
        for (index, subscriber) in self.subscribers_of(state.lane).zip(subscribers.iter()) {
            if !subscriber.is_as_before(&Subscriber::new(self, index)) {
                return Err("another subscriber");
            }
            if !subscriber.is_within(networks) {
                return Err("a subscriber in no network");
            }
        }
        let mut is_free = vec![false; records.len()];
        let mut free = state.free;
        while free != Pending::NONE {
            let Some(seen) = is_free.get_mut(free as usize) else {
                return Err("a free place beyond the last one");
            };
            if std::mem::replace(seen, true) {
                return Err("a place that is free twice");
            }
            free = records[free as usize].subscriber;
        }
        let wakes = &due[subscribers.len()..];
        for ((record, is_free), due) in records.iter().zip(is_free).zip(wakes) {
            if is_free == due.is_some() {
                return Err("a free place in the queue, or a record that is not");
            }
            if !is_free && !record.is_of(subscribers.len(), networks, state.next) {
                return Err("a record of nobody");
            }
        }
        Ok(())
    }
}
